//! Takes away the end of a partition: a follower has what its leader has not, and what it fetches next comes in its place.
//!
//! ```text
//!   prepare: what is known as of the offset ─► record of the log ─► memory ─► a checkpoint that does not name it ─► files
//!            (nothing is changed)              durable              readers    only if the last one did             shorter, or gone
//! ```
//! A start expects files as long as its checkpoint says. So they are cut only when no checkpoint says that they were longer, and nothing is
//! written to them before: what comes meanwhile stays in memory. A start that finds the record in the log does all of it again.
//!
//! What is known of producers as of the offset comes from the last checkpoint and the batches after it; after a restart from the last one
//! before it, since what a follower has and its leader has not is mostly what it wrote when it stopped. Of a checkpoint that is newer than the
//! offset nothing is of use, and it comes from all batches that are left. Producers whose batches retention took are then forgotten.

use crate::store::aborted::of_segment;
use crate::store::error::{LogError, damaged};
use crate::store::partition::{Flushed, Partition};
use crate::store::producers::Producers;
use crate::store::record::{Change, Entry};
use crate::store::segment::Segment;
use crate::store::transactions::{Aborted, Transactions};
use crate::store::writer::look_up_segments;
use crate::store::{Inner, LogStore};
use bytes::Bytes;
use holon_base::TabletId;
use holon_kafka::batch::{HEADER_BYTES, NONE};
use holon_kafka::{Attributes, BatchHeader, Marker};
use holon_wal::{Durability, GateGuard, Lsn};
use std::fmt;
use std::rc::Rc;

/// What is left of a partition, and is known of what is left.
pub struct Cut {
    /// The new end.
    pub offset: i64,
    /// As of it.
    producers: Producers,
    /// Of the segment that is written to then.
    aborted: Vec<Aborted>,
    /// `None`: no segment has anything from the offset on.
    files: Option<FilesLeft>,
    /// Nobody else writes to its files until it is carried out, whoever waits for that.
    held: Option<GateGuard>,
}

impl fmt::Debug for Cut {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "a truncation to {}", self.offset)
    }
}

struct FilesLeft {
    /// The segment with the last batch that is left. `None`: there is no segment.
    last: Option<Rc<Segment>>,
}

/// What is to become of files.
#[derive(Clone)]
pub struct Uncut {
    /// When a checkpoint has this record of the log. `None`: at once.
    pub after: Option<Lsn>,
    /// It is longer than what is left.
    last: Option<Rc<Segment>>,
    gone: Vec<Rc<Segment>>,
}

impl LogStore {
    /// Takes away all batches that have this offset or come after it, durably; the new end. If the offset is within a batch all of that goes,
    /// and the new end is where it began. Nothing changes if the partition ends before.
    ///
    /// All that was submitted before is in the log before. What is submitted meanwhile is held against the end as it is when its turn
    /// comes, so it may be refused, or be taken away: a follower waits before it appends.
    ///
    /// # Errors
    /// [`LogError::OutOfRange`]: it is before the start. A disk that is full or fails, a file that is damaged. Nothing has changed then.
    pub async fn truncate(&self, partition: TabletId, offset: i64) -> Result<i64, LogError> {
        let (inner, found) = (&self.inner, self.inner.partition(partition)?);
        let check = || {
            let (start, end) = (found.start.get(), found.end.get());
            if offset < start { Err(LogError::OutOfRange { offset, start, end }) } else { Ok(()) }
        };
        check()?;
        // Nobody writes to its files, and nobody else truncates it, until it is done.
        let writing = found.writing.enter(&inner.shard).await?;
        let is_under_way = || found.next.get() != found.end.get() || inner.commits.queued_bytes() > 0;
        if offset >= found.end.get() && is_under_way() {
            // A record that says nothing new: all before it is there when it is.
            let nothing = Entry::change(Change::Start { offset: found.start.get() });
            inner.submit(partition, nothing, Durability::Sync)?.wait().await?;
        }
        if offset >= found.end.get() {
            return Ok(found.end.get());
        }
        let offset = batch_of(inner, &found, offset).await?;
        let cut = Cut { held: Some(writing), ..prepare(inner, &found, offset).await? };
        if found.removed.get() {
            return Err(LogError::NotHere(partition));
        }
        check()?;
        inner.submit(partition, Entry::truncated(cut), Durability::Sync)?.wait().await?;
        // It is done as far as anybody sees. What cannot be done with the files now is tried again by the writer.
        if found.is_uncut_after(None) {
            let _writing = found.writing.enter(&inner.shard).await?;
            let _ = cut_files(inner, &found).await;
        }
        if found.uncut.borrow().is_some() {
            inner.work.notify();
        }
        Ok(offset)
    }
}

/// Where the batch begins that has an offset.
async fn batch_of(inner: &Inner, partition: &Partition, offset: i64) -> Result<i64, LogError> {
    if let Some(header) = partition.tail.borrow().at(offset) {
        return Ok(header.base_offset);
    }
    look_up_segments(inner, partition).await?;
    let segment = partition.segments.borrow().iter().flatten().rfind(|segment| segment.base <= offset).cloned();
    let found = match segment {
        Some(segment) => segment.batch_at(&inner.shard.disk(), offset).await?,
        None => None,
    };
    let missing = || damaged(&partition.directory, 0, format!("no segment has offset {offset}"));
    found.map(|(_, header)| header.base_offset).ok_or_else(missing)
}

/// What a partition is without the batches from this offset on, where one of them begins. Changes nothing; nobody else may write to its files
/// until it is carried out.
pub async fn prepare(inner: &Inner, partition: &Partition, offset: i64) -> Result<Cut, LogError> {
    let wall_ms = inner.shard.wall().micros() / 1000;
    let written = partition.written.get().end;
    if offset >= written {
        let mut producers = partition.settled.borrow().clone();
        for batch in partition.tail.borrow().between(written, offset) {
            note(&mut producers, &batch.header, &batch.records, wall_ms);
        }
        let aborted = partition.transactions.borrow().aborted_below(offset).copied().collect();
        return Ok(Cut { offset, producers, aborted, files: None, held: None });
    }
    look_up_segments(inner, partition).await?;
    let disk = inner.shard.disk();
    let segments: Vec<Rc<Segment>> = partition.segments.borrow().iter().flatten().cloned().collect();
    let left = &segments[..segments.partition_point(|segment| segment.base < offset)];
    let (end, stored) = partition.stored_producers.borrow().clone();
    let (mut producers, from) = if end <= offset { ((*stored).clone(), end) } else { Default::default() };
    let mut length = 0;
    for (at, segment) in left.iter().enumerate() {
        let place = |found: Option<(u64, BatchHeader)>| found.map_or(segment.length.get(), |(position, _)| position);
        length = match left.get(at + 1) {
            Some(next) if next.base <= from => continue,
            Some(_) => segment.length.get(),
            None => place(segment.batch_at(&disk, offset).await?),
        };
        let begin = if from > segment.base { place(segment.batch_at(&disk, from).await?) } else { 0 };
        let look = |header: &BatchHeader, whole: &Bytes| {
            note(&mut producers, header, &whole.slice(HEADER_BYTES..), wall_ms);
        };
        segment.each(&disk, begin..length, look).await?;
    }
    let mut aborted = Vec::new();
    let mut last = None;
    if let Some(segment) = left.last() {
        let is_newest = left.len() == segments.len();
        aborted = match is_newest {
            true => partition.transactions.borrow().aborted_below(offset).copied().collect(),
            false => of_segment(inner, partition, &segments, segment.base).await?.to_vec(),
        };
        aborted.retain(|aborted| aborted.last_offset < offset);
        last = Some(Rc::new(segment.cut(&disk, length).await?));
    }
    Ok(Cut { offset, producers, aborted, files: Some(FilesLeft { last }), held: None })
}

/// A batch that is in the log.
fn note(producers: &mut Producers, header: &BatchHeader, records: &Bytes, wall_ms: i64) {
    let append_time = header.attributes.has(Attributes::LOG_APPEND_TIME).then_some(header.max_timestamp_ms);
    producers.written(header, Marker::of(header, records), append_time.unwrap_or(NONE), wall_ms);
}

impl Inner {
    /// The next batch comes at the new end.
    pub fn admit_cut(&self, partition: &Partition, cut: &Cut) {
        partition.next.set(cut.offset);
        partition.newest_epoch.set(partition.epochs.borrow().below(cut.offset).newest());
        *partition.producers.borrow_mut() = cut.producers.clone();
        *partition.verifying.borrow_mut() = Default::default();
    }

    /// The record of it is in the log.
    pub fn carry_out(&self, partition: &Rc<Partition>, cut: Cut, lsn: Lsn) {
        let Cut { offset, producers, aborted, files, held } = cut;
        let (written, unwritten) = partition.tail.borrow_mut().cut(offset);
        self.kept.set(self.kept.get().saturating_sub(written));
        self.unwritten.set(self.unwritten.get().saturating_sub(unwritten));
        partition.end.set(offset);
        // The batch that had the start is gone, too, if that was within one.
        partition.start.set(partition.start.get().min(offset));
        let epochs = partition.epochs.borrow().below(offset);
        *partition.epochs.borrow_mut() = epochs;
        *partition.transactions.borrow_mut() = Transactions::new(producers.open(), aborted);
        partition.applied.set(lsn);
        partition.truncations.set(partition.truncations.get() + 1);
        if let Some(FilesLeft { last }) = files {
            self.leave_files(partition, last, offset, lsn);
            if offset < partition.flushed.get().end {
                partition.flushed.set(partition.written.get());
            }
            if offset < partition.stored_producers.borrow().0 {
                *partition.stored_producers.borrow_mut() = (offset, Rc::new(producers.clone()));
            }
            *partition.settled.borrow_mut() = producers;
        }
        drop(held);
        self.moved(partition);
    }

    /// Nobody who asks for a segment gets one that has more than what is left.
    fn leave_files(&self, partition: &Rc<Partition>, last: Option<Rc<Segment>>, offset: i64, lsn: Lsn) {
        let base = last.as_ref().map_or(i64::MIN, |last| last.base);
        let mut segments = partition.segments.borrow_mut();
        let segments = segments.get_or_insert_default();
        let left = segments.partition_point(|segment| segment.base < base);
        let taken: Vec<Rc<Segment>> = segments.drain(left..).collect();
        let gone = taken.into_iter().filter(|segment| segment.base != base);
        let mut uncut = partition.uncut.borrow_mut();
        let before = uncut.take();
        let (after, before) = before.map_or((None, Vec::new()), |before| (before.after, before.gone));
        let is_named = offset < partition.flushed.get().end;
        let after = after.max(is_named.then_some(lsn));
        *uncut = Some(Uncut { after, last: last.clone(), gone: before.into_iter().chain(gone).collect() });
        segments.extend(last.clone());
        let mut unsynced = partition.unsynced.borrow_mut();
        let was_synced = !unsynced.iter().any(|segment| segment.base == base);
        unsynced.retain(|segment| segment.base < base);
        unsynced.extend(last.clone().filter(|_| !was_synced));
        // Those of the segment that is written to are in memory.
        partition.aborted.forget(|other| other >= base);
        let active = last.map(|last| (last.base, last.length.get()));
        partition.written.set(Flushed { lsn, end: offset, active });
        self.uncut.borrow_mut().push(partition.clone());
    }
}

impl Partition {
    /// Whether files are to be cut, and may be now that a checkpoint has all records up to this one.
    pub fn is_uncut_after(&self, lsn: Option<Lsn>) -> bool {
        self.uncut.borrow().as_ref().is_some_and(|uncut| uncut.after <= lsn)
    }
}

/// Brings the files of a partition to the length that it has, while nobody else writes to them.
///
/// # Errors
/// The disk fails: it is to be tried again.
pub async fn cut_files(inner: &Inner, partition: &Rc<Partition>) -> Result<(), LogError> {
    let uncut = partition.uncut.borrow().clone();
    if let Some(Uncut { last, gone, .. }) = uncut.filter(|_| !partition.removed.get()) {
        let disk = inner.shard.disk();
        // Before the next checkpoint: segments that are begun anew must not find what those of before left.
        partition.names_unsynced.set(true);
        for segment in gone {
            disk.remove(&segment.aborted_path()).await?;
            segment.remove(&disk).await?;
        }
        if let Some(last) = last {
            last.file(&disk, false).await?.truncate(last.length.get()).await?;
            partition.must_sync(&last);
            disk.remove(&last.index_path()).await?;
            disk.remove(&last.aborted_path()).await?;
        }
    }
    partition.uncut.take();
    inner.uncut.borrow_mut().retain(|other| !Rc::ptr_eq(other, partition));
    Ok(())
}
