//! From memory to segments, from segments to the medium, and what is let go for it.

use crate::store::aborted::aborted_base_of;
use crate::store::checkpoint::{self, Stored};
use crate::store::error::{LogError, damaged};
use crate::store::limits::{ABORTED_OF_A_SEGMENT, WRITE_BYTES, WRITE_BYTES_MAX};
use crate::store::partition::{Flushed, Partition, TailBatch};
use crate::store::segment::{PARTITIONS, Segment, base_of, index_base_of};
use crate::store::transactions::Aborted;
use crate::store::truncating::cut_files;
use crate::store::{Inner, count};
use holon_kafka::batch::NONE;
use holon_kafka::{Attributes, BatchHeader, Marker, StampedBatch};
use holon_kernel::DiskBuffer;
use holon_kernel::disk::OpenOptions;
use holon_wal::sync::{sync_dir_or_stop, sync_or_stop};
use holon_wal::{Lsn, WalError};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// Between tries while the disk is full.
const RETRY: Duration = Duration::from_millis(500);

/// The writer's task, until the store is closed or the shard stops.
///
/// What is in memory is in the shared log as well, so nothing is written before it is worth a write: a partition has enough, memory is short, or
/// a checkpoint needs it.
pub async fn run(inner: Rc<Inner>) {
    let mut checkpoint_due = inner.shard.now() + inner.options.checkpoint_interval;
    loop {
        let work = inner.work.wait(&inner.shard);
        // One that was truncated in the course of the last round is not written to until it is cut.
        let is_uncut = inner.recovered.get() && !inner.uncut.borrow().is_empty();
        let is_over = !is_uncut && matches!(inner.shard.timeout(checkpoint_due, work).await, Ok(Err(_)));
        if is_over || inner.commits.is_closing() {
            return;
        }
        let is_due = inner.shard.now() >= checkpoint_due;
        if is_due {
            checkpoint_due = inner.shard.now() + inner.options.checkpoint_interval;
        }
        if !inner.recovered.get() {
            continue;
        }
        let done = round(&inner, is_due).await;
        if matches!(done, Err(LogError::Wal(WalError::Stopped { .. }))) {
            return;
        }
        inner.written_or_not(done.as_ref().err());
        inner.progressed.notify();
        if done.is_err() {
            inner.shard.sleep(RETRY).await;
        }
    }
}

async fn round(inner: &Rc<Inner>, is_due: bool) -> Result<(), LogError> {
    if !inner.uncut.borrow().is_empty() {
        checkpoint(inner).await?;
    }
    let chosen = if inner.must_wait() { &inner.dirty } else { &inner.ready };
    let chosen: Vec<_> = chosen.borrow().iter().copied().collect();
    for tablet in chosen {
        if let Ok(partition) = inner.partition(tablet) {
            write(inner, &partition).await?;
            inner.progressed.notify();
        }
    }
    let is_long = inner.wal.sealed_bytes() > inner.options.wal_bytes_max / 2;
    let is_new = || inner.all().iter().any(|partition| partition.applied.get() > partition.flushed.get().lsn);
    if is_long || !inner.doomed.borrow().is_empty() || is_due && is_new() {
        checkpoint(inner).await?;
    }
    Ok(())
}

/// Writes what a partition has in memory to its segments.
async fn write(inner: &Inner, partition: &Rc<Partition>) -> Result<(), LogError> {
    let _writing = partition.writing.enter(&inner.shard).await?;
    look_up_segments(inner, partition).await?;
    if partition.uncut.borrow().is_some() {
        return Ok(());
    }
    loop {
        let batches = partition.tail.borrow().to_write(WRITE_BYTES_MAX);
        if batches.is_empty() || partition.removed.get() {
            inner.dirty.borrow_mut().remove(&partition.id);
            inner.ready.borrow_mut().remove(&partition.id);
            return Ok(());
        }
        let segment = open_end(inner, partition, &batches[0]).await?;
        let options = (inner.options.partition)(partition.id);
        let room = options.segment_bytes.saturating_sub(segment.length.get());
        let first = segment.first_ms.get().unwrap_or(batches[0].batch.header.max_timestamp_ms);
        let mut bytes = 0;
        let fits = |batch: &&TailBatch| {
            let BatchHeader { length, max_timestamp_ms, .. } = batch.batch.header;
            bytes += length as u64;
            let is_aged = first >= 0 && max_timestamp_ms.saturating_sub(first) > segment.age_ms_max(&options);
            bytes == length as u64 || bytes <= room && !is_aged
        };
        let batches: Vec<&TailBatch> = batches.iter().take_while(fits).collect();
        write_batches(inner, partition, &segment, &batches).await?;
    }
}

async fn write_batches(
    inner: &Inner,
    partition: &Partition,
    segment: &Rc<Segment>,
    batches: &[&TailBatch],
) -> Result<(), LogError> {
    let bytes: usize = batches.iter().map(|batch| batch.batch.header.length).sum();
    let mut buffer = DiskBuffer::with_capacity(bytes);
    for TailBatch { batch, .. } in batches {
        buffer.extend_from_slice(&batch.head);
        buffer.extend_from_slice(&batch.records);
    }
    let Some(last) = batches.last() else { return Ok(()) };
    let file = segment.file(&inner.shard.disk(), true).await?;
    partition.must_sync(segment);
    file.write_at(segment.length.get(), buffer).await?;
    if partition.removed.get() {
        return Ok(());
    }
    segment.grew(batches.iter().map(|batch| batch.batch.header));
    settle(inner, partition, batches);
    partition.tail.borrow_mut().wrote(batches.len());
    let end = last.batch.header.last_offset() + 1;
    partition.written.set(Flushed { lsn: last.lsn, end, active: Some((segment.base, segment.length.get())) });
    count(&inner.counters.written_bytes, bytes as u64);
    inner.unwritten.set(inner.unwritten.get().saturating_sub(bytes));
    inner.keep(partition, bytes);
    Ok(())
}

/// What a checkpoint says of producers is as of what segments have.
fn settle(inner: &Inner, partition: &Partition, batches: &[&TailBatch]) {
    let wall_ms = inner.shard.wall().micros() / 1000;
    let mut settled = partition.settled.borrow_mut();
    for TailBatch { batch: StampedBatch { header, records, .. }, .. } in batches {
        let append_time = header.attributes.has(Attributes::LOG_APPEND_TIME).then_some(header.max_timestamp_ms);
        settled.written(header, Marker::of(header, records), append_time.unwrap_or(NONE), wall_ms);
    }
}

/// The segment that takes the next batch: a new one if that would be too long.
async fn open_end(inner: &Inner, partition: &Rc<Partition>, next: &TailBatch) -> Result<Rc<Segment>, LogError> {
    let header = &next.batch.header;
    let newest = partition.segments.borrow().as_ref().and_then(|segments| segments.back().cloned());
    if let Some(segment) = newest {
        if !is_full(inner, partition, &segment, header).await? {
            return Ok(segment);
        }
        segment.store_index(&inner.shard.disk()).await?;
        store_aborted(inner, partition, &segment, header.base_offset).await?;
    } else {
        inner.shard.disk().create_dir(&partition.directory).await?;
    }
    let segment = Rc::new(Segment::new(partition.directory.clone(), header.base_offset, 0));
    segment.begin();
    let jitter_ms = (inner.options.partition)(partition.id).segment_jitter_ms;
    segment.jitter_ms.set((inner.shard.random_u64() >> 1).cast_signed() % jitter_ms.max(1));
    segment.since_ms.set(inner.shard.wall().micros() / 1000);
    partition.names_unsynced.set(true);
    partition.segments.borrow_mut().get_or_insert_default().push_back(segment.clone());
    Ok(segment)
}

/// Whether a batch is to begin a new segment: as Kafka's `LogSegment.shouldRoll`, and if there are many aborted transactions.
async fn is_full(
    inner: &Inner,
    partition: &Partition,
    segment: &Segment,
    next: &BatchHeader,
) -> Result<bool, LogError> {
    let (options, length) = ((inner.options.partition)(partition.id), segment.length.get());
    if length == 0 {
        return Ok(false);
    }
    let age_ms = segment.age_ms(&inner.shard.disk(), next, inner.shard.wall().micros() / 1000).await?;
    Ok(length + next.length as u64 > options.segment_bytes
        || age_ms > segment.age_ms_max(&options)
        || next.last_offset() - segment.base > i64::from(i32::MAX)
        || partition.transactions.borrow().count_below(next.base_offset) >= ABORTED_OF_A_SEGMENT)
}

/// The transactions that were aborted in a segment that is full, which ends before `next`, go to its file.
async fn store_aborted(inner: &Inner, partition: &Partition, segment: &Rc<Segment>, next: i64) -> Result<(), LogError> {
    let aborted: Rc<[Aborted]> = partition.transactions.borrow().aborted_below(next).copied().collect();
    if aborted.is_empty() {
        return Ok(());
    }
    segment.store_aborted(&inner.shard.disk(), &aborted).await?;
    partition.must_sync(segment);
    // Readers find them here or there, in one moment.
    partition.transactions.borrow_mut().take_aborted_below(next);
    partition.aborted.know(segment.base, aborted);
    Ok(())
}

/// Finds a partition's segments, once; what is there and was never said to be durable is cut off.
pub async fn look_up_segments(inner: &Inner, partition: &Partition) -> Result<(), LogError> {
    if partition.segments.borrow().is_some() {
        return Ok(());
    }
    let disk = inner.shard.disk();
    let (path, active) = (&*partition.directory, partition.written.get().active);
    let mut segments = VecDeque::new();
    let mut is_changed = false;
    for entry in disk.list(path).await? {
        // One that the checkpoint does not name is of a segment that was full after it, and is again, perhaps elsewhere.
        let is_unnamed = aborted_base_of(&entry.name).is_some_and(|base| !partition.aborted.has(base));
        // Likewise an index, of which that of the segment that is written to is looked at below.
        let is_later = index_base_of(&entry.name).is_some_and(|base| active.is_none_or(|(newest, _)| base > newest));
        if is_unnamed || is_later {
            disk.remove(&format!("{path}/{}", entry.name)).await?;
            is_changed = true;
        }
        let Some(base) = base_of(&entry.name) else { continue };
        match active {
            Some((newest, _)) if base < newest => {
                segments.push_back(Rc::new(Segment::new(partition.directory.clone(), base, entry.length)));
            }
            Some((newest, length)) if base == newest => {
                let segment = Rc::new(Segment::new(partition.directory.clone(), base, length));
                let file = segment.file(&disk, false).await?;
                if entry.length < length {
                    return Err(damaged(
                        &segment.path(),
                        entry.length,
                        format!("it is cut off, it had {length} bytes"),
                    ));
                }
                if entry.length > length {
                    file.truncate(length).await?;
                    partition.must_sync(&segment);
                }
                if segment.has_stale_index(&disk).await? {
                    disk.remove(&segment.index_path()).await?;
                    is_changed = true;
                }
                segments.push_back(segment);
            }
            // It was begun after the last checkpoint: its batches are in the log, and come to a segment again.
            _ => {
                disk.remove(&format!("{path}/{}", entry.name)).await?;
                is_changed = true;
            }
        }
    }
    if let Some((newest, _)) = active
        && segments.back().is_none_or(|segment: &Rc<Segment>| segment.base != newest)
    {
        return Err(damaged(&format!("{path}/{newest:020}.log"), 0, "the segment is missing"));
    }
    partition.names_unsynced.set(partition.names_unsynced.get() || is_changed);
    // Some may have gone after the checkpoint that names their aborted transactions.
    partition.aborted.forget(|base| !segments.iter().any(|segment| segment.base == base));
    segments.iter().for_each(|segment| segment.has_aborted.set(partition.aborted.has(segment.base)));
    if let Some(newest) = segments.back() {
        newest.since_ms.set(inner.shard.wall().micros() / 1000);
    }
    *partition.segments.borrow_mut() = Some(segments);
    Ok(())
}

async fn segments_known(inner: &Inner, partition: &Partition) -> Result<(), LogError> {
    if partition.segments.borrow().is_none() {
        let _writing = partition.writing.enter(&inner.shard).await?;
        look_up_segments(inner, partition).await?;
    }
    Ok(())
}

/// The segment that has an offset.
pub async fn segment_of(inner: &Inner, partition: &Partition, offset: i64) -> Result<Option<Rc<Segment>>, LogError> {
    segments_known(inner, partition).await?;
    let segments = partition.segments.borrow();
    let found = segments.as_ref().and_then(|segments| {
        let after = segments.partition_point(|segment| segment.base <= offset);
        after.checked_sub(1).and_then(|at| segments.get(at))
    });
    Ok(found.cloned())
}

pub async fn segments_of(inner: &Inner, partition: &Partition) -> Result<Vec<Rc<Segment>>, LogError> {
    segments_known(inner, partition).await?;
    Ok(partition.segments.borrow().iter().flatten().cloned().collect())
}

/// See [`crate::store::LogStore::checkpoint`].
pub async fn checkpoint(inner: &Rc<Inner>) -> Result<(), LogError> {
    let _checkpointing = inner.checkpointing.enter(&inner.shard).await?;
    let stored = store_checkpoint(inner).await?;
    if cut_uncut(inner, &stored).await? {
        store_checkpoint(inner).await?;
    }
    Ok(())
}

/// Cuts files that were named as longer than what is left of them, and are not any more; whether there is something to write to them now.
async fn cut_uncut(inner: &Inner, stored: &[Stored]) -> Result<bool, LogError> {
    let uncut = inner.uncut.borrow().clone();
    let mut is_left = false;
    for partition in uncut {
        let found = stored.binary_search_by_key(&partition.id, |stored| stored.tablet).ok().map(|at| &stored[at]);
        let found = found.filter(|found| found.life == partition.life);
        let _writing = partition.writing.enter(&inner.shard).await?;
        if partition.removed.get() || partition.is_uncut_after(found.map(|found| found.flushed.lsn)) {
            cut_files(inner, &partition).await?;
            is_left |= partition.tail.borrow().unwritten_bytes() > 0;
        }
    }
    Ok(is_left)
}

/// What the checkpoint says.
async fn store_checkpoint(inner: &Rc<Inner>) -> Result<Vec<Stored>, LogError> {
    // Whoever was made or removed up to here is, or is not, in what is written below.
    let mark = inner.commits.handed_over();
    let doomed = inner.doomed.borrow().clone();
    let mut names = false;
    // Each as it is at one moment: what is written meanwhile is in the log still.
    let mut stored = BTreeMap::new();
    for partition in inner.all() {
        expire(inner, &partition);
        let found = if partition.applied.get() > partition.flushed.get().lsn {
            flush(inner, &partition, &mut names).await?
        } else {
            Some(Stored::of(&partition))
        };
        stored.extend(found.map(|found| (partition.id, found)));
    }
    if names {
        sync_dir_or_stop(&inner.shard, PARTITIONS).await?;
    }
    let found = |partition: &Rc<Partition>| {
        let found = stored.remove(&partition.id).filter(|found| found.life == partition.life);
        // Or it was made meanwhile.
        let (id, life, flushed) = (partition.id, partition.life, partition.flushed.get());
        found.unwrap_or_else(|| Stored::empty(id, life, partition.start.get().min(flushed.end), flushed))
    };
    let stored: Vec<Stored> = inner.all().iter().map(found).collect();
    let left = left_behind(inner);
    checkpoint::store(&inner.shard, inner.options.boot, &stored).await?;
    count(&inner.counters.checkpoints, 1);
    for stored in &stored {
        if let Ok(partition) = inner.partition(stored.tablet) {
            partition.named.set(stored.flushed.active.map(|(base, _)| base));
            // A recovery leaves what the one before it says: that is older, and a truncation mostly follows soon.
            if inner.recovered.get() && partition.flushed.get() == stored.flushed {
                *partition.stored_producers.borrow_mut() = (stored.flushed.end, stored.producers.clone());
            }
        }
    }
    let flushed = |stored: &Stored| stored.flushed.lsn;
    let all = inner.all();
    let needed = |partition: &Rc<Partition>| {
        let stored = stored.binary_search_by_key(&partition.id, |stored| stored.tablet).ok().map(|at| &stored[at]);
        match stored {
            Some(stored) if flushed(stored) >= partition.applied.get() => None,
            Some(stored) => Some(flushed(stored).plus(1)),
            // It was made meanwhile, after the mark.
            None => None,
        }
    };
    let needed = all.iter().filter_map(needed).fold(mark.plus(1), Lsn::min);
    inner.wal.retire_below(needed).await?;
    for (partition, segment) in left {
        partition.left.borrow_mut().retain(|other| !Rc::ptr_eq(other, &segment));
        segment.remove(&inner.shard.disk()).await?;
    }
    inner.progressed.notify();
    remove_doomed(inner, &doomed).await?;
    Ok(stored)
}

/// Segments that the checkpoint that is made now does not name any more: a start looks for the one that it does.
fn left_behind(inner: &Inner) -> Vec<(Rc<Partition>, Rc<Segment>)> {
    let of = |partition: Rc<Partition>| {
        let named = partition.flushed.get().active.map(|(base, _)| base);
        let left = partition.left.borrow().clone();
        let gone = left.into_iter().filter(move |segment| Some(segment.base) != named);
        gone.map(move |segment| (partition.clone(), segment)).collect::<Vec<_>>()
    };
    inner.all().into_iter().flat_map(of).collect()
}

/// Producers that wrote nothing for long are forgotten.
fn expire(inner: &Inner, partition: &Partition) {
    let age = (inner.options.partition)(partition.id).producer_expiration;
    let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    let until_ms = (inner.shard.wall().micros() / 1000).saturating_sub(age_ms);
    partition.producers.borrow_mut().expire(until_ms);
    partition.settled.borrow_mut().expire(until_ms);
    partition.verifying.borrow_mut().expire(until_ms);
}

/// Brings what a partition has onto the medium; `names`: its directory has new ones. What the checkpoint is to say of it, if it is still
/// there.
async fn flush(inner: &Inner, partition: &Rc<Partition>, names: &mut bool) -> Result<Option<Stored>, LogError> {
    write(inner, partition).await?;
    let _writing = partition.writing.enter(&inner.shard).await?;
    if partition.removed.get() {
        return Ok(None);
    }
    if partition.uncut.borrow().is_none() {
        leave_empty(partition);
    }
    let written = partition.written.get();
    // What is no batch (a start that moved) is in no segment, and in the checkpoint.
    let before_unwritten = partition.tail.borrow().lsn_unwritten().map(|lsn| Lsn(lsn.0 - 1));
    let lsn = before_unwritten.unwrap_or(partition.applied.get()).max(written.lsn);
    let disk = inner.shard.disk();
    loop {
        let Some(segment) = partition.unsynced.borrow().first().cloned() else { break };
        sync_or_stop(&inner.shard, &segment.file(&disk, false).await?).await?;
        if segment.aborted_unsynced.replace(false) {
            let file = disk.open(&segment.aborted_path(), OpenOptions::default()).await?;
            sync_or_stop(&inner.shard, &file).await?;
        }
        partition.unsynced.borrow_mut().retain(|other| !Rc::ptr_eq(other, &segment));
    }
    if partition.names_unsynced.replace(false) {
        sync_dir_or_stop(&inner.shard, &partition.directory).await?;
        *names = true;
    }
    partition.flushed.set(Flushed { lsn, ..written });
    Ok(Some(Stored::of(partition)))
}

/// What a topic keeps of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Segments whose newest record is older go.
    pub before_ms: Option<i64>,
    /// The oldest go as long as so many bytes are left.
    pub bytes: Option<u64>,
}

/// The offset at which a partition is to begin, and the segments before it that can go at once: all but the newest one, which
/// the last checkpoint names.
pub async fn expired(
    inner: &Inner,
    partition: &Partition,
    keep: Retention,
) -> Result<(i64, Vec<Rc<Segment>>), LogError> {
    let segments = segments_of(inner, partition).await?;
    let mut start = partition.start.get();
    let mut bytes = partition.bytes();
    let mut gone = Vec::new();
    for (at, segment) in segments.iter().enumerate() {
        let next = segments.get(at + 1).map(|next| next.base);
        let length = segment.length.get();
        let is_old = match keep.before_ms {
            Some(before_ms) => length > 0 && segment.newest_ms(&inner.shard.disk()).await? < before_ms,
            None => false,
        };
        let is_much = keep.bytes.is_some_and(|most| bytes - length >= most && next.is_some());
        let is_before = next.is_some_and(|next| next <= partition.start.get());
        if !is_old && !is_much && !is_before {
            break;
        }
        bytes -= length;
        match next {
            Some(next) => {
                start = start.max(next);
                gone.push(segment.clone());
            }
            // What is in memory alone comes after it, and is younger.
            None => start = start.max(partition.written.get().end),
        }
    }
    Ok((start, gone))
}

/// Takes away segments that are before the start. One that a checkpoint names stays on the disk until none does: a start looks for it.
pub async fn trim(inner: &Inner, partition: &Partition, gone: &[Rc<Segment>]) -> Result<(), LogError> {
    let _writing = partition.writing.enter(&inner.shard).await?;
    for segment in gone {
        if partition.removed.get() {
            return Ok(());
        }
        if let Some(segments) = &mut *partition.segments.borrow_mut() {
            segments.retain(|other| !Rc::ptr_eq(other, segment));
        }
        partition.unsynced.borrow_mut().retain(|other| !Rc::ptr_eq(other, segment));
        partition.aborted.forget(|base| base == segment.base);
        let flushed = partition.flushed.get().active.map(|(base, _)| base);
        if [partition.named.get(), flushed].contains(&Some(segment.base)) {
            partition.left.borrow_mut().push(segment.clone());
        } else {
            segment.remove(&inner.shard.disk()).await?;
        }
    }
    Ok(())
}

/// The newest segment goes, too, if nothing in it counts any more. Its file stays until no checkpoint names it.
fn leave_empty(partition: &Partition) {
    let written = partition.written.get();
    let is_empty = written.end <= partition.start.get() && partition.tail.borrow().unwritten_bytes() == 0;
    if !is_empty || written.active.is_none() {
        return;
    }
    let segments = partition.segments.borrow_mut().as_mut().map(std::mem::take).unwrap_or_default();
    partition.unsynced.borrow_mut().clear();
    partition.aborted.forget(|_| true);
    partition.left.borrow_mut().extend(segments);
    partition.written.set(Flushed { active: None, ..written });
}

/// So that the next start reads no segment to know where things are in it.
pub async fn store_indexes(inner: &Inner) -> Result<(), LogError> {
    for partition in inner.all() {
        let newest = partition.segments.borrow().as_ref().and_then(|segments| segments.back().cloned());
        if let Some(segment) = newest {
            segment.store_index(&inner.shard.disk()).await?;
        }
    }
    Ok(())
}

/// The files of partitions that are not here any more, and in no checkpoint.
async fn remove_doomed(inner: &Inner, doomed: &[Rc<Partition>]) -> Result<(), LogError> {
    for partition in doomed {
        let _writing = partition.writing.enter(&inner.shard).await?;
        partition.segments.borrow().iter().flatten().for_each(|segment| segment.close());
        remove_directory(inner, &partition.directory).await?;
        inner.doomed.borrow_mut().retain(|other| !Rc::ptr_eq(other, partition));
    }
    Ok(())
}

pub async fn remove_directory(inner: &Inner, path: &str) -> Result<(), LogError> {
    let disk = inner.shard.disk();
    let entries = disk.list(path).await?;
    for entry in &entries {
        disk.remove(&format!("{path}/{}", entry.name)).await?;
    }
    disk.remove_dir(path).await?;
    Ok(sync_dir_or_stop(&inner.shard, PARTITIONS).await?)
}

impl Inner {
    /// Batches that are in a segment now stay in memory for those who follow, as long as there is room.
    fn keep(&self, partition: &Partition, bytes: usize) {
        self.kept.set(self.kept.get() + bytes);
        self.kept_order.borrow_mut().push_back((partition.id, bytes));
        while self.kept.get() > self.options.kept_bytes_max {
            let Some((tablet, bytes)) = self.kept_order.borrow_mut().pop_front() else { return };
            let Ok(oldest) = self.partition(tablet) else { continue };
            let mut tail = oldest.tail.borrow_mut();
            let kept = tail.bytes() - tail.unwritten_bytes();
            let gone = tail.shrink(kept.saturating_sub(bytes));
            self.kept.set(self.kept.get().saturating_sub(gone));
        }
    }

    /// Segments could not be written, or could. People are told when that changes.
    fn written_or_not(&self, failure: Option<&LogError>) {
        let before = self.stuck.replace(failure.cloned());
        match (before, failure) {
            (None, Some(error)) => {
                (self.options.tell)(format!("batches stay in memory, and soon none are taken: {error}"));
            }
            (Some(_), None) => (self.options.tell)("batches get to the disk again".to_string()),
            _ => {}
        }
    }
}

const _: () = assert!(WRITE_BYTES <= WRITE_BYTES_MAX);
