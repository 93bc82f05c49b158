//! Writes a table: rows in, in ascending order; the file grows by slices of at most 64 KiB with a yield after each.

use crate::bloom;
use crate::error::StoreError;
use crate::limits::SLICE_BYTES;
use crate::options::{Compression, KeyPrefix};
use crate::range::RangeTombstone;
use crate::row_codec::RowSummary;
use crate::table::block::{BlockHandle, put_entry, store_block};
use crate::table::format::{FOOTER_BYTES, Footer, Properties, TableId, encode_handle, encode_ranges};
use bytes::Bytes;
use holon_base::{TabletId, crc32c_append};
use holon_kernel::{DiskBuffer, DiskFile, OpenOptions, Shard};
use holon_wal::Lsn;
use holon_wal::sync::sync_or_stop;
use std::rc::Rc;

/// Uncompressed bytes of an index block.
const INDEX_BLOCK_BYTES: usize = 16 << 10;

pub struct WriterOptions {
    pub tablet: TabletId,
    pub table: TableId,
    pub path: String,
    pub block_bytes: usize,
    pub compression: Compression,
    pub bloom_bits: u32,
    pub prefix: KeyPrefix,
}

pub struct WrittenTable {
    pub table: TableId,
    pub length: u64,
    pub content_crc: u32,
}

pub struct TableWriter {
    shard: Rc<Shard>,
    file: DiskFile,
    options: WriterOptions,
    /// The open data block.
    block: Vec<u8>,
    /// Stored blocks on their way to the file, which holds the `written` bytes before them.
    out: Vec<u8>,
    written: u64,
    content_crc: u32,
    /// The last key of each data block and where it is.
    index: Vec<(Bytes, BlockHandle)>,
    hashes: Vec<u64>,
    prefix_last: Option<u64>,
    key_last: Vec<u8>,
    properties: Properties,
    summary: RowSummary,
}

impl TableWriter {
    pub async fn create(shard: Rc<Shard>, options: WriterOptions) -> Result<Self, StoreError> {
        let file = shard.disk().open(&options.path, OpenOptions { create: true, direct: false }).await?;
        if file.length() > 0 {
            file.truncate(0).await?;
        }
        let mut properties = Properties::new();
        properties.prefix_id = options.prefix.id();
        properties.created_micros = shard.wall_micros();
        Ok(TableWriter {
            shard,
            file,
            block: Vec::with_capacity(options.block_bytes + options.block_bytes / 4),
            options,
            out: Vec::with_capacity(SLICE_BYTES + SLICE_BYTES / 4),
            written: 0,
            content_crc: 0,
            index: Vec::new(),
            hashes: Vec::new(),
            prefix_last: None,
            key_last: Vec::new(),
            properties,
            summary: RowSummary::default(),
        })
    }

    pub fn path(&self) -> &str {
        &self.options.path
    }

    pub fn rows(&self) -> u64 {
        self.properties.rows
    }

    /// Bytes of the file so far.
    pub fn bytes(&self) -> u64 {
        self.written + self.out.len() as u64
    }

    /// Adds a row whose key is larger than the one before. True: call [`TableWriter::drain`] before the next.
    pub fn add(&mut self, key: &[u8], row: &[u8], summary: &RowSummary) -> bool {
        if self.properties.rows == 0 {
            self.properties.first = Bytes::copy_from_slice(key);
        }
        debug_assert!(self.properties.rows == 0 || self.key_last.as_slice() < key, "rows in ascending order");
        self.properties.rows += 1;
        self.properties.raw_bytes += (key.len() + row.len()) as u64;
        self.summary.add(summary);
        self.hashes.push(bloom::key_hash(key));
        if let Some(prefix) = self.options.prefix.of(key) {
            let hash = bloom::prefix_hash(prefix);
            if self.prefix_last.replace(hash) != Some(hash) {
                self.hashes.push(hash);
                self.properties.prefixes += 1;
            }
        }
        self.key_last.clear();
        self.key_last.extend_from_slice(key);
        put_entry(key, row, &mut self.block);
        if self.block.len() >= self.options.block_bytes {
            self.end_block();
        }
        self.out.len() >= SLICE_BYTES
    }

    fn store(&mut self, raw: &[u8], compression: Compression) -> BlockHandle {
        store_block(raw, compression, self.options.table, self.written, &mut self.out)
    }

    fn end_block(&mut self) {
        if self.block.is_empty() {
            return;
        }
        let block = std::mem::take(&mut self.block);
        let handle = self.store(&block, self.options.compression);
        self.index.push((Bytes::copy_from_slice(&self.key_last), handle));
        self.block = block;
        self.block.clear();
    }

    /// Writes out what is ready, in slices.
    pub async fn drain(&mut self) -> Result<(), StoreError> {
        let out = std::mem::take(&mut self.out);
        for slice in out.chunks(SLICE_BYTES) {
            self.content_crc = crc32c_append(self.content_crc, slice);
            self.file.write_at(self.written, DiskBuffer::from(slice)).await?;
            self.written += slice.len() as u64;
            self.shard.yield_now().await;
        }
        self.out = out;
        self.out.clear();
        Ok(())
    }

    /// Writes the rest and syncs the file (not its directory). `ranges` are the table's deleted ranges, disjoint and
    /// ascending.
    pub async fn finish(mut self, ranges: &[RangeTombstone], lsn_last: Lsn) -> Result<WrittenTable, StoreError> {
        self.end_block();
        self.properties.last = Bytes::copy_from_slice(&self.key_last);
        for range in ranges {
            self.summary.add_deletion(&range.deletion);
        }
        if let (Some(first), Some(last)) = (ranges.first(), ranges.last()) {
            let rows = self.properties.rows > 0;
            if !rows || first.start < self.properties.first {
                self.properties.first = first.start.clone();
            }
            if !rows || last.end > self.properties.last {
                self.properties.last = last.end.clone();
            }
        }
        self.properties.lsn_last = lsn_last;
        self.properties.timestamp_min = self.summary.timestamp_min;
        self.properties.timestamp_max = self.summary.timestamp_max;
        self.properties.tombstones = self.summary.tombstones;
        self.properties.live_until_seconds = self.summary.live_until_seconds;
        self.properties.deleted_last_seconds = self.summary.deleted_last_seconds;
        self.drain().await?;
        let top = self.write_index();
        self.drain().await?;
        let filter = bloom::build(&self.hashes, self.options.bloom_bits.max(1));
        let mut footer = Footer {
            tablet: self.options.tablet,
            table: self.options.table,
            filter: self.store(&filter, Compression::None),
            ranges: self.store(&encode_ranges(ranges), self.options.compression),
            top: self.store(&top, self.options.compression),
            properties: self.store(&self.properties.encode(), Compression::None),
            length: 0,
            content_crc: 0,
        };
        self.drain().await?;
        footer.length = self.written + FOOTER_BYTES as u64;
        footer.content_crc = self.content_crc;
        self.file.write_at(self.written, DiskBuffer::from(footer.encode().as_slice())).await?;
        sync_or_stop(&self.shard, &self.file).await?;
        Ok(WrittenTable { table: footer.table, length: footer.length, content_crc: footer.content_crc })
    }

    /// Stores the index blocks and gives the entries of the top block.
    fn write_index(&mut self) -> Vec<u8> {
        let mut top = Vec::new();
        let mut block = Vec::new();
        let index = std::mem::take(&mut self.index);
        for (position, (key, handle)) in index.iter().enumerate() {
            put_entry(key, &encode_handle(*handle), &mut block);
            if block.len() >= INDEX_BLOCK_BYTES || position + 1 == index.len() {
                let handle = self.store(&block, self.options.compression);
                put_entry(key, &encode_handle(handle), &mut top);
                block.clear();
            }
        }
        top
    }
}
