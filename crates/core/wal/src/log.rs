//! The writing end of a log: gathers records into a chunk, writes it, syncs it.

use crate::error::WalError;
use crate::format::{BLOCK_BYTES, CHUNK_HEADER_BYTES, ChunkHeader, RECORD_HEADER_BYTES};
use crate::lsn::Lsn;
use crate::plant;
use crate::segments::{Segment, Segments};
use crate::sync::{stop, sync_or_stop};
use holon_base::TabletId;
use holon_kernel::{Class, DiskBuffer, Scope, Shard, Ticket, disk::DISK_ALIGNMENT_BYTES};
use std::rc::Rc;

/// Room of the buffer at first; it grows with the groups.
const BUFFER_BYTES: usize = 256 << 10;

/// Durable writes into blocks that were never written make the file system log a change of its own each time, which
/// takes several times as long. So zeroes are written ahead of them: when less than this is left …
const ZEROED_BYTES_MIN: u64 = 512 << 10;
/// … so much at a time. A log without durable writes, and a recycled segment, need none.
const ZERO_BYTES: u64 = 1 << 20;

struct Open {
    segment: Segment,
    /// Where the next chunk goes.
    offset: u64,
    first: Lsn,
    /// Up to here blocks were written before (or need not be).
    zeroed: u64,
    /// Zeroes on their way to the file, and up to where. No chunk is written there, and the segment is not let go,
    /// before they are down.
    zeroing: Option<Ticket<u64>>,
}

impl Open {
    fn new(segment: Segment, first: Lsn, length: u64) -> Self {
        let zeroed = if segment.recycled { length } else { BLOCK_BYTES };
        Open { segment, offset: BLOCK_BYTES, first, zeroed, zeroing: None }
    }

    async fn await_zeroes(&mut self) {
        if let Some(zeroing) = self.zeroing.take()
            && let Ok(zeroed) = zeroing.await
        {
            self.zeroed = self.zeroed.max(zeroed);
        }
    }

    fn zero_ahead(&mut self, shard: &Rc<Shard>, length: u64) {
        if self.zeroing.is_some() || self.zeroed >= length || self.zeroed >= self.offset + ZEROED_BYTES_MIN {
            return;
        }
        let (start, end) = (self.zeroed.max(self.offset), (self.zeroed.max(self.offset) + ZERO_BYTES).min(length));
        let mut zeroes = DiskBuffer::with_capacity((end - start) as usize);
        zeroes.pad_with_zeroes((end - start) as usize);
        let (completer, ticket) = shard.ticket();
        let file = self.segment.file.clone();
        shard.spawn(Scope::Node, Class::Replication, async move {
            // It is about speed only: where zeroes cannot be written, chunks will find out for themselves.
            let written = file.write_at(start, zeroes).await;
            completer.complete(if written.is_ok() { end } else { length });
        });
        self.zeroing = Some(ticket);
    }
}

pub struct Log {
    shard: Rc<Shard>,
    segments: Rc<Segments>,
    open: Option<Open>,
    buffer: DiskBuffer,
    records: u32,
    /// The last record that was given a number.
    last: Lsn,
    /// The last record that was written to a file …
    written: Lsn,
    /// … and that was synced.
    synced: Lsn,
    /// Up to where a chunk on file says that it was synced: below this, loss would be noticed.
    proven: Lsn,
    pub bytes: u64,
    pub groups: u64,
    pub syncs: u64,
}

impl Log {
    pub fn new(shard: Rc<Shard>, segments: Rc<Segments>, boot: u32) -> Self {
        let start = Lsn::new(boot, 0);
        let mut log = Log {
            shard,
            segments,
            open: None,
            buffer: DiskBuffer::with_capacity(BUFFER_BYTES),
            records: 0,
            last: start,
            written: start,
            synced: start,
            proven: start,
            bytes: 0,
            groups: 0,
            syncs: 0,
        };
        log.clear_buffer();
        log
    }

    fn clear_buffer(&mut self) {
        self.buffer.clear();
        self.buffer.extend_from_slice(&[0; CHUNK_HEADER_BYTES]);
        self.records = 0;
    }

    /// The largest record that fits into a segment of this length.
    pub fn record_bytes_max(segment_bytes: u64) -> usize {
        (segment_bytes.saturating_sub(BLOCK_BYTES) as usize).saturating_sub(CHUNK_HEADER_BYTES + RECORD_HEADER_BYTES)
    }

    /// Whether a record fits into the chunk that is being gathered.
    pub fn fits(&self, record_bytes: usize) -> bool {
        let chunk = self.buffer.len() + RECORD_HEADER_BYTES + record_bytes;
        chunk as u64 <= self.segments.length - BLOCK_BYTES
    }

    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len() - CHUNK_HEADER_BYTES
    }

    pub fn last(&self) -> Lsn {
        self.last
    }

    /// Something was written or gathered that is not synced.
    pub fn is_unsynced(&self) -> bool {
        self.synced < self.last
    }

    /// No chunk says yet that the last records were synced.
    pub fn is_unproven(&self) -> bool {
        self.proven < self.synced
    }

    /// Gathers a record. It is not on file before [`Log::write`].
    pub fn append(&mut self, tablet: TabletId, record: [&[u8]; 2]) -> Lsn {
        let length: usize = record.iter().map(|part| part.len()).sum();
        debug_assert!(self.fits(length));
        self.buffer.extend_from_slice(&tablet.0.to_le_bytes());
        self.buffer.extend_from_slice(&(length as u32).to_le_bytes());
        record.iter().for_each(|part| self.buffer.extend_from_slice(part));
        self.records += 1;
        self.last = self.last.plus(1);
        self.last
    }

    /// Makes sure that what is gathered, and `more` bytes of records, have a place. Without room on the disk this fails
    /// and nothing has happened.
    pub async fn reserve(&mut self, more: usize) -> Result<(), WalError> {
        let chunk = (self.buffer.len() + more).next_multiple_of(DISK_ALIGNMENT_BYTES) as u64;
        if let Some(open) = &self.open
            && open.offset + chunk <= self.segments.length
        {
            return Ok(());
        }
        // Numbers for the gathered records are given already; they go where the chunk goes.
        let first = Lsn(self.last.0 + 1 - u64::from(self.records));
        if self.written > self.synced {
            self.sync().await?;
        }
        let segment = self.segments.take().await?;
        let next = Open::new(segment, first, self.segments.length);
        if let Some(mut full) = self.open.replace(next) {
            full.await_zeroes().await;
            self.segments.seal(full.segment, self.written);
        }
        Ok(())
    }

    /// Writes what is gathered as one chunk (even if it is empty: then the chunk is a mark that proves the ones before
    /// it). [`Log::reserve`] comes first. An error stops the shard.
    pub async fn write(&mut self) -> Result<(), WalError> {
        self.write_chunk(false).await
    }

    /// Writes what is gathered and makes it durable: one operation of the disk, unless something before it was written
    /// and not synced, which a durable write would not cover.
    pub async fn write_and_sync(&mut self) -> Result<(), WalError> {
        if self.written > self.synced || plant::skip_fsync() {
            self.write_chunk(false).await?;
            return self.sync().await;
        }
        self.write_chunk(true).await?;
        self.synced = self.written;
        self.syncs += 1;
        Ok(())
    }

    async fn write_chunk(&mut self, durable: bool) -> Result<(), WalError> {
        let Some(open) = &mut self.open else {
            return Err(stop(&self.shard, "the log was written to without a segment".into()));
        };
        let header = ChunkHeader {
            log: self.segments.log(),
            sequence: open.segment.sequence,
            block: (open.offset / BLOCK_BYTES) as u32,
            payload_bytes: (self.buffer.len() - CHUNK_HEADER_BYTES) as u32,
            records: self.records,
            first: Lsn(self.last.0 + 1 - u64::from(self.records)),
            synced: self.synced,
            segment_first: open.first,
        };
        let mut buffer = std::mem::replace(&mut self.buffer, DiskBuffer::with_capacity(0));
        buffer.pad_to(DISK_ALIGNMENT_BYTES);
        header.seal(&mut buffer);
        let length = buffer.len() as u64;
        if open.offset + length > open.zeroed {
            open.await_zeroes().await;
        }
        let file = &open.segment.file;
        let outcome = match durable {
            true => file.write_durably_at(open.offset, buffer).await,
            false => file.write_at(open.offset, buffer).await,
        };
        match outcome {
            Ok(buffer) => self.buffer = buffer,
            Err(error) => return Err(stop(&self.shard, format!("the log could not be written: {error}"))),
        }
        open.offset += length;
        open.zeroed = open.zeroed.max(open.offset);
        if open.offset > self.segments.length / 2 {
            self.segments.prepare();
        }
        if durable {
            open.zero_ahead(&self.shard, self.segments.length);
        }
        self.written = self.last;
        self.proven = self.proven.max(header.synced);
        self.bytes += length;
        self.groups += 1;
        self.clear_buffer();
        Ok(())
    }

    /// Makes everything written durable. An error stops the shard.
    pub async fn sync(&mut self) -> Result<(), WalError> {
        if let Some(open) = &self.open
            && !plant::skip_fsync()
        {
            sync_or_stop(&self.shard, &open.segment.file).await?;
            self.syncs += 1;
        }
        self.synced = self.written;
        Ok(())
    }
}
