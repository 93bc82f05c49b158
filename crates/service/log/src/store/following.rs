//! What a replica has to do that follows a leader: it appends what the leader has, and nobody consumes what not enough replicas have.

use crate::store::partition::Partition;
use crate::store::record::Entry;
use crate::store::{CopyError, Inner, LogError, LogStore};
use bytes::Bytes;
use holon_base::TabletId;
use holon_kafka::batch::{HEADER_BYTES, NONE, check_crc};
use holon_kafka::{Attributes, BatchHeader, Batches, Marker, StampedBatch};
use holon_wal::Durability;
use std::cell::Cell;
use std::rc::Rc;

impl LogStore {
    /// Appends whole batches as a leader has them, one after the other, with their offsets and epochs. They were judged by the leader: what is
    /// known of their producers is as the leader knows it, and none is a duplicate. The partition's start, and the offset after the last
    /// of them.
    ///
    /// They are submitted at once, so that they share a group of the log as far as that is large enough.
    ///
    /// # Errors
    /// [`CopyError::NotABatch`], [`LogError::TooLarge`]: nothing was appended. [`CopyError::NotNext`]: they do not begin where the partition ends.
    /// [`CopyError::OldLeader`]: the partition has batches of a newer epoch. Those of [`LogStore::append`]: the first of them may be there,
    /// and [`LogStore::ends`] says how many.
    pub async fn append_copied(
        &self,
        partition: TabletId,
        batches: Bytes,
        durability: Durability,
    ) -> Result<(i64, i64), CopyError> {
        let entries = entries_of(batches)?;
        self.wait_for_room().await?;
        let found = self.inner.partition(partition)?;
        entries.iter().try_for_each(|(_, entry)| self.inner.check_size(entry))?;
        let end = entries.last().map_or(found.end.get(), |(header, _)| header.last_offset() + 1);
        let submit = |(_, entry)| self.inner.submit(partition, entry, durability);
        let tickets = entries.into_iter().map(submit).collect::<Result<Vec<_>, _>>()?;
        let mut outcome = Ok(());
        for ticket in tickets {
            // Why the first was refused is why those after it were, but not what they are told.
            outcome = outcome.and(ticket.outcome().await.map(|_| ()));
        }
        outcome.map(|()| (found.start.get(), end))
    }

    /// Consumers get nothing from this offset on; `None`: all that there is. It is not kept over a restart, and says nothing of followers
    /// ([`LogStore::read_to_end`]).
    ///
    /// # Errors
    /// [`LogError::NotHere`].
    pub fn set_limit(&self, partition: TabletId, limit: Option<i64>) -> Result<(), LogError> {
        let partition = self.inner.partition(partition)?;
        let before = partition.high_watermark();
        partition.limit.set(limit);
        if partition.high_watermark() != before {
            self.inner.moved(&partition);
        }
        Ok(())
    }
}

impl Inner {
    /// A batch that has its offset already gets its place; none does that comes after one that did not.
    pub fn admit_copied(&self, partition: &Partition, batch: &StampedBatch, is_refused: bool) -> Result<(), CopyError> {
        let (offset, next) = (batch.header.base_offset, partition.next.get());
        if offset != next || is_refused {
            return Err(CopyError::NotNext { offset, next });
        }
        partition.check_epoch(batch.header.leader_epoch)?;
        let wall_ms = self.shard.wall().micros() / 1000;
        partition.placed(&batch.header, Marker::of(&batch.header, &batch.records), wall_ms);
        Ok(())
    }
}

impl Partition {
    /// # Errors
    /// [`CopyError::OldLeader`].
    pub fn check_epoch(&self, epoch: i32) -> Result<(), CopyError> {
        match self.newest_epoch.get().filter(|newest| epoch < *newest) {
            Some(newest) => Err(CopyError::OldLeader { epoch, newest }),
            None => Ok(()),
        }
    }

    /// A batch is the next one of the log.
    pub fn placed(&self, header: &BatchHeader, marker: Option<Marker>, wall_ms: i64) {
        self.next.set(header.last_offset() + 1);
        self.newest_epoch.set(Some(header.leader_epoch));
        let append_time = header.attributes.has(Attributes::LOG_APPEND_TIME).then_some(header.max_timestamp_ms);
        self.producers.borrow_mut().written(header, marker, append_time.unwrap_or(NONE), wall_ms);
        if header.attributes.has(Attributes::TRANSACTIONAL) {
            self.verifying.borrow_mut().end(header.producer_id);
        }
    }
}

/// # Errors
/// [`CopyError::NotABatch`].
fn entries_of(bytes: Bytes) -> Result<Vec<(BatchHeader, Entry)>, CopyError> {
    let length = bytes.len();
    let mut batches = Batches::new(bytes);
    let mut entries = Vec::new();
    let mut before: Option<BatchHeader> = None;
    let is_refused = Rc::new(Cell::new(false));
    loop {
        let at = batches.at();
        let Some(batch) = batches.next() else { break };
        let broken = |detail: String| CopyError::NotABatch { at, detail };
        let (header, whole) = batch.map_err(|error| broken(error.to_string()))?;
        check(&header, before.as_ref(), &whole, at).map_err(broken)?;
        let (head, records) = (whole.slice(..HEADER_BYTES), whole.slice(HEADER_BYTES..));
        entries.push((header, Entry::copied(StampedBatch { header, head, records }, is_refused.clone())));
        before = Some(header);
    }
    if batches.at() != length {
        return Err(CopyError::NotABatch { at: batches.at(), detail: "the last one is not whole".to_string() });
    }
    Ok(entries)
}

/// What a leader would not have. Of a compacted batch some records are gone, but not their offsets.
fn check(header: &BatchHeader, before: Option<&BatchHeader>, whole: &[u8], at: usize) -> Result<(), String> {
    let BatchHeader { base_offset, leader_epoch, last_offset_delta, count, .. } = *header;
    header.attributes.compression().map_err(|error| error.to_string())?;
    check_crc(header, whole, at).map_err(|error| error.to_string())?;
    let has_room = base_offset >= 0 && header.last_offset() < i64::MAX;
    if !has_room || last_offset_delta < 0 || count < 0 || i64::from(count) > i64::from(last_offset_delta) + 1 {
        return Err(format!("{count} records cannot be at {base_offset} and {last_offset_delta} offsets after it"));
    }
    let Some(before) = before else { return Ok(()) };
    if base_offset != before.last_offset() + 1 {
        return Err(format!(
            "it begins at offset {base_offset}, and the one before it ends at {}",
            before.last_offset()
        ));
    }
    if leader_epoch < before.leader_epoch {
        return Err(format!("its leader epoch {leader_epoch} comes after {}", before.leader_epoch));
    }
    Ok(())
}
