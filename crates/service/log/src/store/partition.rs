//! One partition on this shard: which offsets it has, the batches that are still in memory, its segments.
//!
//! ```text
//!          start                                             end
//!   offsets  ├──── segments (files) ────┼──── tail (memory) ──┤- - admitted: on their way into the log
//!                              ├─ kept for readers ─┤─ to be written to the segment ─┤
//! ```

use crate::store::aborted::AbortedOfSegments;
use crate::store::checkpoint::Stored;
use crate::store::epochs::Epochs;
use crate::store::error::LogError;
use crate::store::producers::Producers;
use crate::store::segment::{Segment, directory};
use crate::store::transactions::Transactions;
use crate::store::truncating::Uncut;
use crate::store::verifying::Verifying;
use bytes::Bytes;
use holon_base::TabletId;
use holon_kafka::{BatchHeader, StampedBatch};
use holon_wal::{Gate, Lsn, Signal};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// A batch in memory.
#[derive(Clone, Debug)]
pub struct TailBatch {
    pub lsn: Lsn,
    pub batch: StampedBatch,
}

/// The newest batches, oldest first, without a gap.
#[derive(Debug, Default)]
pub struct Tail {
    batches: VecDeque<TailBatch>,
    /// So many of them are in the segment already.
    written: usize,
    written_bytes: usize,
    unwritten_bytes: usize,
}

impl Tail {
    pub fn push(&mut self, batch: TailBatch) {
        self.unwritten_bytes += batch.batch.header.length;
        self.batches.push_back(batch);
    }

    pub fn bytes(&self) -> usize {
        self.written_bytes + self.unwritten_bytes
    }

    pub fn unwritten_bytes(&self) -> usize {
        self.unwritten_bytes
    }

    pub fn first_offset(&self) -> Option<i64> {
        self.batches.front().map(|first| first.batch.header.base_offset)
    }

    /// Batches that are to be written, up to so many bytes, or one.
    pub fn to_write(&self, bytes_max: usize) -> Vec<TailBatch> {
        let mut bytes = 0;
        let fits = |next: &&TailBatch| {
            bytes += next.batch.header.length;
            bytes <= bytes_max || bytes == next.batch.header.length
        };
        self.batches.iter().skip(self.written).take_while(fits).cloned().collect()
    }

    /// The oldest so many of those that were to be written are.
    pub fn wrote(&mut self, count: usize) {
        for batch in self.batches.iter().skip(self.written).take(count) {
            self.written_bytes += batch.batch.header.length;
            self.unwritten_bytes -= batch.batch.header.length;
        }
        self.written = (self.written + count).min(self.batches.len());
    }

    /// Lets go of the oldest that are written, until so many bytes are left of them; the bytes that are gone.
    pub fn shrink(&mut self, keep_bytes: usize) -> usize {
        let before = self.written_bytes;
        while self.written > 0 && self.written_bytes > keep_bytes {
            let Some(oldest) = self.batches.pop_front() else { break };
            self.written -= 1;
            self.written_bytes -= oldest.batch.header.length;
        }
        before - self.written_bytes
    }

    /// Batches from `from` on that begin before `below`, as far as they are here.
    pub fn between(&self, from: i64, below: i64) -> impl Iterator<Item = &StampedBatch> {
        let begin = self.batches.partition_point(|batch| batch.batch.header.base_offset < from);
        let batches = self.batches.range(begin..).map(|batch| &batch.batch);
        batches.take_while(move |batch| batch.header.base_offset < below)
    }

    /// The batch that has an offset.
    pub fn at(&self, offset: i64) -> Option<&BatchHeader> {
        let at = self.batches.partition_point(|batch| batch.batch.header.last_offset() < offset);
        self.batches.get(at).map(|batch| &batch.batch.header).filter(|header| header.base_offset <= offset)
    }

    /// Lets go of those from an offset on; the bytes that are gone of what was written, and of what was not.
    pub fn cut(&mut self, offset: i64) -> (usize, usize) {
        let before = (self.written_bytes, self.unwritten_bytes);
        let left = self.batches.partition_point(|batch| batch.batch.header.base_offset < offset);
        for (at, gone) in self.batches.drain(left..).enumerate() {
            let is_written = left + at < self.written;
            let bytes = if is_written { &mut self.written_bytes } else { &mut self.unwritten_bytes };
            *bytes -= gone.batch.header.length;
        }
        self.written = self.written.min(left);
        (before.0 - self.written_bytes, before.1 - self.unwritten_bytes)
    }

    pub fn clear(&mut self) {
        *self = Tail::default();
    }

    /// The first record of the log that is in no segment.
    pub fn lsn_unwritten(&self) -> Option<Lsn> {
        self.batches.get(self.written).map(|batch| batch.lsn)
    }

    /// Batches from the one that has `offset` on, that end before `below`; up to so many bytes, or one.
    pub fn read(&self, offset: i64, below: i64, bytes_max: usize) -> Vec<&StampedBatch> {
        let begin = self.batches.partition_point(|batch| batch.batch.header.last_offset() < offset);
        let mut bytes = 0;
        let shown = |batch: &&StampedBatch| {
            bytes += batch.header.length;
            batch.header.last_offset() < below && (bytes <= bytes_max || bytes == batch.header.length)
        };
        self.batches.range(begin..).map(|batch| &batch.batch).take_while(shown).collect()
    }

    pub fn headers(&self) -> impl Iterator<Item = &BatchHeader> {
        self.batches.iter().map(|batch| &batch.batch.header)
    }
}

/// Where a partition is in its files, as far as that is on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flushed {
    /// Records of the log up to here are in segments, or count no longer.
    pub lsn: Lsn,
    /// The next offset.
    pub end: i64,
    /// The segment that is written to: its first offset and its length in bytes. `None`: there is none.
    pub active: Option<(i64, u64)>,
}

pub struct Partition {
    pub id: TabletId,
    /// The record of the log that made it.
    pub life: Lsn,
    /// Of its files.
    pub directory: Rc<str>,
    /// The first offset that counts.
    pub start: Cell<i64>,
    /// The next offset, of what is in the log.
    pub end: Cell<i64>,
    /// The next offset that is given.
    pub next: Cell<i64>,
    /// Of the last batch that got its offset.
    pub newest_epoch: Cell<Option<i32>>,
    /// Consumers get nothing from here on.
    pub limit: Cell<Option<i64>>,
    /// So many times something was taken away at the end: who reads files meanwhile looks again.
    pub truncations: Cell<u64>,
    pub tail: RefCell<Tail>,
    /// As of `next`.
    pub producers: RefCell<Producers>,
    /// As of what is written to segments.
    pub settled: RefCell<Producers>,
    /// As a checkpoint has them that was made before this moment or before the last restart, and its end.
    pub stored_producers: RefCell<(i64, Rc<Producers>)>,
    pub verifying: RefCell<Verifying>,
    /// As of `end`.
    pub epochs: RefCell<Epochs>,
    pub transactions: RefCell<Transactions>,
    /// Those of segments that are full.
    pub aborted: AbortedOfSegments,
    /// The last record of the log that was applied here.
    pub applied: Cell<Lsn>,
    pub flushed: Cell<Flushed>,
    /// What was written, and is not synced yet, is like this.
    pub written: Cell<Flushed>,
    /// Oldest first; `None`: nobody has looked yet.
    pub segments: RefCell<Option<VecDeque<Rc<Segment>>>>,
    /// Segments that were written to since they were synced last.
    pub unsynced: RefCell<Vec<Rc<Segment>>>,
    /// The first offset of the segment that the last checkpoint names: a start looks for it.
    pub named: Cell<Option<i64>>,
    /// Segments that are not part of it any more, and that the last checkpoint may name.
    pub left: RefCell<Vec<Rc<Segment>>>,
    /// What is in its files still and was truncated; until it is gone nothing is written to them.
    pub uncut: RefCell<Option<Uncut>>,
    /// Its directory, or a file in it, is new.
    pub names_unsynced: Cell<bool>,
    /// One at a time writes to its segments, or takes some away.
    pub writing: Gate,
    /// `start` or `end` moved.
    pub moved: Signal,
    pub removed: Cell<bool>,
}

impl Partition {
    /// One that is as it was on the medium.
    pub fn of(stored: Stored) -> Rc<Partition> {
        let Stored { tablet: id, life, start, flushed, producers, epochs, aborted, aborted_in } = stored;
        Rc::new(Partition {
            id,
            life,
            directory: directory(id, life).into(),
            start: Cell::new(start),
            end: Cell::new(flushed.end),
            next: Cell::new(flushed.end),
            newest_epoch: Cell::new(epochs.newest()),
            limit: Cell::new(None),
            truncations: Cell::new(0),
            tail: RefCell::default(),
            transactions: RefCell::new(Transactions::new(producers.open(), aborted)),
            aborted: AbortedOfSegments::new(aborted_in),
            producers: RefCell::new((*producers).clone()),
            settled: RefCell::new((*producers).clone()),
            stored_producers: RefCell::new((flushed.end, producers)),
            verifying: RefCell::default(),
            epochs: RefCell::new(epochs),
            applied: Cell::new(flushed.lsn),
            flushed: Cell::new(flushed),
            written: Cell::new(flushed),
            segments: RefCell::new(None),
            unsynced: RefCell::default(),
            named: Cell::new(flushed.active.map(|(base, _)| base)),
            left: RefCell::default(),
            uncut: RefCell::new(None),
            names_unsynced: Cell::new(false),
            writing: Gate::new(),
            moved: Signal::new(),
            removed: Cell::new(false),
        })
    }

    /// A new one, which begins at this offset with the record at `lsn`.
    pub fn created(id: TabletId, offset: i64, lsn: Lsn) -> Rc<Partition> {
        let flushed = Flushed { lsn, end: offset, active: None };
        let partition = Partition::of(Stored::empty(id, lsn, offset, flushed));
        *partition.segments.borrow_mut() = Some(VecDeque::new());
        partition
    }

    /// Consumers get nothing from here on.
    pub fn high_watermark(&self) -> i64 {
        let (start, end) = (self.start.get(), self.end.get());
        self.limit.get().map_or(end, |limit| limit.min(end).max(start))
    }

    /// Who reads committed records gets none from here on.
    pub fn stable(&self) -> i64 {
        let (start, end) = (self.start.get(), self.high_watermark());
        self.transactions.borrow().first_open().map_or(end, |first| first.max(start).min(end))
    }

    /// The first record of the log that it needs.
    pub fn lsn_needed(&self) -> Option<Lsn> {
        let (applied, flushed) = (self.applied.get(), self.flushed.get().lsn);
        (applied > flushed).then(|| flushed.plus(1))
    }

    /// # Errors
    /// The offset is before the start or beyond the end.
    pub fn check_offset(&self, offset: i64) -> Result<(), LogError> {
        let (start, end) = (self.start.get(), self.end.get());
        if (start..=end).contains(&offset) { Ok(()) } else { Err(LogError::OutOfRange { offset, start, end }) }
    }

    /// A segment was written to.
    pub fn must_sync(&self, segment: &Rc<Segment>) {
        let mut unsynced = self.unsynced.borrow_mut();
        if !unsynced.iter().any(|known| Rc::ptr_eq(known, segment)) {
            unsynced.push(segment.clone());
        }
    }

    /// Bytes of all its segments and of what is not written yet, as far as that is known.
    pub fn bytes(&self) -> u64 {
        let segments = self.segments.borrow();
        let written: u64 = segments.iter().flatten().map(|segment| segment.length.get()).sum();
        written + self.tail.borrow().unwritten_bytes() as u64
    }
}

/// Batches for a reader: their bytes are the pieces, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Batches {
    pub pieces: Vec<Bytes>,
    pub bytes: usize,
    /// Of the first one; `None`: there are none.
    pub first: Option<BatchHeader>,
    /// The offset after the last of them; 0 if there are none.
    pub end: i64,
}

impl Batches {
    pub fn push(&mut self, batch: &StampedBatch) {
        self.first.get_or_insert(batch.header);
        self.end = batch.header.last_offset() + 1;
        self.bytes += batch.header.length;
        self.pieces.extend([batch.head.clone(), batch.records.clone()]);
    }
}
