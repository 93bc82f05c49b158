//! What becomes of records on their way into the shared log, and when they are in it.

use crate::store::error::{CopyError, LogError};
use crate::store::limits::WRITE_BYTES;
use crate::store::partition::{Partition, TailBatch};
use crate::store::producers::Verdict;
use crate::store::record::{Change, Entry, Origin, Stamp};
use crate::store::{Appended, Inner, count};
use holon_base::TabletId;
use holon_kafka::batch::HEADER_BYTES;
use holon_kafka::{Attributes, BatchHeader, Marker, ProducedBatch, StampedBatch};
use holon_wal::{Lsn, Owner, WalError};

impl Owner for Inner {
    type Record = Entry;
    type Answer = Appended;
    type Error = CopyError;

    /// A batch gets its offset here, one after the other, when there is room for it: so no offset is lost.
    fn admit(&self, tablet: TabletId, record: &mut Entry) -> Result<(), CopyError> {
        match record {
            Entry::Produced { batch, stamp, origin } => {
                *record = self.place(&*self.partition(tablet)?, batch, *stamp, *origin)?;
            }
            Entry::Batch { batch, is_refused, .. } => {
                let admitted = self.admit_copied(&*self.partition(tablet)?, batch, is_refused.get());
                is_refused.set(admitted.is_err());
                admitted?;
            }
            Entry::Truncated { cut, .. } => self.admit_cut(&*self.partition(tablet)?, cut),
            // A truncation may have come between.
            Entry::Other { change: Change::Start { offset }, .. } => {
                let partition = self.partition(tablet)?;
                let (offset, start, end) = (*offset, partition.start.get(), partition.next.get());
                if offset > end {
                    return Err(LogError::OutOfRange { offset, start, end }.into());
                }
            }
            Entry::Other { .. } => {}
        }
        Ok(())
    }

    fn committed(&self, tablet: TabletId, record: Entry, lsn: Lsn) -> Result<Appended, CopyError> {
        match record {
            Entry::Batch { batch, .. } => {
                let partition = self.partition(tablet)?;
                let header = batch.header;
                let append_time_ms =
                    header.attributes.has(Attributes::LOG_APPEND_TIME).then_some(header.max_timestamp_ms);
                self.take_in(&partition, batch, lsn);
                count(&self.counters.appended_batches, 1);
                count(&self.counters.appended_bytes, header.length as u64);
                self.moved(&partition);
                let start = partition.start.get();
                Ok(Appended { base_offset: header.base_offset, append_time_ms, start })
            }
            Entry::Other { change, .. } => {
                self.change(tablet, change, lsn);
                Ok(Appended { base_offset: 0, append_time_ms: None, start: 0 })
            }
            Entry::Truncated { cut, .. } => {
                let (base_offset, partition) = (cut.offset, self.partition(tablet)?);
                self.carry_out(&partition, *cut, lsn);
                Ok(Appended { base_offset, append_time_ms: None, start: partition.start.get() })
            }
            // It was admitted, so it is a batch with an offset.
            Entry::Produced { .. } => Err(LogError::NotHere(tablet).into()),
        }
    }

    fn group_committed(&self) {
        let is_ready = !self.ready.borrow().is_empty();
        if is_ready || self.must_wait() || self.wal.sealed_bytes() > self.options.wal_bytes_max / 2 {
            self.work.notify();
        }
    }

    /// People are told when it changes.
    fn logged_or_not(&self, failure: Option<&WalError>) {
        let before = self.log_full.replace(failure.cloned());
        match (before, failure) {
            (None, Some(error)) => (self.options.tell)(format!("nothing is appended: {error}")),
            (Some(_), None) => (self.options.tell)("batches are appended again".to_string()),
            _ => {}
        }
    }

    fn failed(&self, error: &WalError) {
        *self.stuck.borrow_mut() = Some(error.clone().into());
    }
}

impl Inner {
    fn place(
        &self,
        partition: &Partition,
        batch: &ProducedBatch,
        stamp: Stamp,
        origin: Origin,
    ) -> Result<Entry, CopyError> {
        partition.check_epoch(stamp.leader_epoch)?;
        let (header, marker) = (&batch.header, Marker::of(&batch.header, &batch.whole()[HEADER_BYTES..]));
        let verdict = match origin {
            Origin::Client { guard } => {
                let verification = partition.verifying.borrow().of(header.producer_id, guard);
                partition.producers.borrow().judge(header, &verification)
            }
            Origin::Coordinator { bumps } => {
                let coordinator_epoch = marker.map_or(-1, |marker| marker.coordinator_epoch);
                let producer = (header.producer_id, header.producer_epoch);
                partition.producers.borrow().judge_marker(producer, coordinator_epoch, bumps)
            }
        };
        match verdict {
            Verdict::Append => {}
            Verdict::Duplicate(written) => {
                count(&self.counters.duplicates, 1);
                let (base_offset, append_time_ms) = (written.base_offset, written.append_time_ms);
                return Err(LogError::Duplicate { base_offset, append_time_ms }.into());
            }
            Verdict::Fenced { epoch, newest } => return Err(LogError::Fenced { epoch, newest }.into()),
            Verdict::CoordinatorFenced { epoch, newest } => {
                return Err(LogError::CoordinatorFenced { epoch, newest }.into());
            }
            Verdict::OutOfOrder { expected, got } => return Err(LogError::OutOfOrder { expected, got }.into()),
            Verdict::NotInTransaction => return Err(LogError::NotInTransaction.into()),
            Verdict::InTransaction => return Err(LogError::InTransaction.into()),
        }
        let stamped = batch.stamp(partition.next.get(), stamp.leader_epoch, stamp.append_time_ms);
        partition.placed(&stamped.header, marker, stamp.wall_ms);
        Ok(Entry::stamped(stamped))
    }

    /// A batch is in the log: readers see it.
    pub fn take_in(&self, partition: &Partition, batch: StampedBatch, lsn: Lsn) {
        let BatchHeader { length, .. } = batch.header;
        partition.end.set(batch.header.last_offset() + 1);
        partition.applied.set(lsn);
        partition.epochs.borrow_mut().wrote(batch.header.leader_epoch, batch.header.base_offset);
        if batch.header.attributes.has(Attributes::TRANSACTIONAL) {
            let marker = Marker::of(&batch.header, &batch.records);
            if marker.is_some() || !batch.header.attributes.has(Attributes::CONTROL) {
                partition.transactions.borrow_mut().add(&batch.header, marker);
            }
        }
        partition.tail.borrow_mut().push(TailBatch { lsn, batch });
        self.unwritten.set(self.unwritten.get() + length);
        self.dirty.borrow_mut().insert(partition.id);
        if partition.tail.borrow().unwritten_bytes() >= WRITE_BYTES {
            self.ready.borrow_mut().insert(partition.id);
        }
    }

    pub fn change(&self, tablet: TabletId, change: Change, lsn: Lsn) {
        let found = self.partitions.borrow().get(&tablet).cloned();
        match (change, found) {
            (Change::Created { offset }, None) => {
                let partition = Partition::created(tablet, offset, lsn);
                self.partitions.borrow_mut().insert(tablet, partition);
            }
            (Change::Start { offset }, Some(partition)) => {
                partition.start.set(partition.start.get().max(offset));
                partition.transactions.borrow_mut().take_aborted_below(partition.start.get());
                partition.applied.set(lsn);
                self.moved(&partition);
            }
            (Change::Removed, Some(partition)) => {
                self.forget(&partition);
                self.doomed.borrow_mut().push(partition);
            }
            (Change::Created { .. }, Some(_)) | (Change::Start { .. } | Change::Removed, None) => {}
        }
    }

    /// It is not here any more; its files are still to be removed.
    fn forget(&self, partition: &Partition) {
        partition.removed.set(true);
        self.partitions.borrow_mut().remove(&partition.id);
        self.dirty.borrow_mut().remove(&partition.id);
        self.ready.borrow_mut().remove(&partition.id);
        let mut tail = partition.tail.borrow_mut();
        let unwritten = tail.unwritten_bytes();
        self.unwritten.set(self.unwritten.get().saturating_sub(unwritten));
        self.kept.set(self.kept.get().saturating_sub(tail.bytes() - unwritten));
        tail.clear();
        drop(tail);
        self.moved(partition);
    }

    /// Whoever waits for it looks again.
    pub fn moved(&self, partition: &Partition) {
        partition.moved.notify();
        (self.options.moved)(partition.id);
    }
}
