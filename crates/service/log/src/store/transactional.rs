//! What a partition has to do with transactions, for its owner: who has one open, how one begins and ends, what readers of committed records
//! see.

use crate::store::aborted::aborted;
use crate::store::error::stopped;
use crate::store::record::{Entry, Origin, Stamp};
use crate::store::transactions::Aborted;
use crate::store::verifying::Guard;
use crate::store::{AppendTicket, Appended, LogError, LogStore};
use holon_base::TabletId;
use holon_kafka::batch::NONE;
use holon_kafka::{Attributes, BatchHeader, Marker, ProducedBatch};
use holon_wal::Durability;

/// A coordinator ends a transaction in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndTransaction {
    pub producer_id: i64,
    /// Of the marker: that of the transaction's batches, or with KIP-890 a newer one.
    pub producer_epoch: i16,
    pub coordinator_epoch: i32,
    pub commit: bool,
    /// `transaction.version`: with 2 and later the epoch of a marker is newer than that of the batches it ends, and one that is not is
    /// late and refused, lest it ends the transaction that came after (KIP-890, KIP-1228).
    pub version: i16,
}

/// Since this version of transactions each has an epoch of its own.
const BUMPS_FROM: i16 = 2;

impl LogStore {
    /// The offset from which on who reads committed records gets none: where the oldest open transaction begins, or the end.
    ///
    /// # Errors
    /// [`LogError::NotHere`].
    pub fn stable(&self, partition: TabletId) -> Result<i64, LogError> {
        Ok(self.inner.partition(partition)?.stable())
    }

    /// The transactions that were aborted and may have records from `offset` on and before `below`.
    ///
    /// # Errors
    /// A file is damaged, and so are the segments that it is made of.
    pub async fn aborted(&self, partition: TabletId, offset: i64, below: i64) -> Result<Vec<Aborted>, LogError> {
        let partition = self.inner.partition(partition)?;
        partition.unchanged(|| aborted(&self.inner, &partition, offset, below)).await
    }

    /// Whether a producer has a transaction open here, in this epoch.
    ///
    /// # Errors
    /// [`LogError::NotHere`].
    pub fn has_transaction(&self, partition: TabletId, producer_id: i64, epoch: i16) -> Result<bool, LogError> {
        Ok(self.inner.partition(partition)?.producers.borrow().has_open(producer_id, epoch))
    }

    /// Whether the coordinator has to be asked before a batch is appended: it is of a transaction, and its producer has none open here.
    /// With the guard it is appended then ([`Origin::Client`]). `adds`: the coordinator is not asked whether the partition is part of the
    /// transaction, but to make it one (KIP-890, since version 12 of Produce).
    ///
    /// # Errors
    /// [`LogError::NotHere`], [`LogError::Fenced`].
    pub fn to_verify(
        &self,
        partition: TabletId,
        header: &BatchHeader,
        adds: bool,
        wall_ms: i64,
    ) -> Result<Option<Guard>, LogError> {
        if !header.attributes.has(Attributes::TRANSACTIONAL) || header.producer_id <= NONE {
            return Ok(None);
        }
        let partition = self.inner.partition(partition)?;
        let (producers, epoch) = (partition.producers.borrow(), header.producer_epoch);
        if let Some(newest) = producers.epoch_of(header.producer_id).filter(|newest| epoch < *newest) {
            return Err(LogError::Fenced { epoch, newest });
        }
        if producers.has_open(header.producer_id, epoch) {
            return Ok(None);
        }
        let new = Guard(self.inner.next_guard.get());
        self.inner.next_guard.set(new.0 + 1);
        Ok(Some(partition.verifying.borrow_mut().begin(header, adds, new, wall_ms)))
    }

    /// [`LogStore::submit`], of a batch that may begin a transaction.
    ///
    /// # Errors
    /// As [`LogStore::submit`].
    pub fn submit_from(
        &self,
        origin: Origin,
        partition: TabletId,
        batch: ProducedBatch,
        stamp: Stamp,
        durability: Durability,
    ) -> Result<AppendTicket, LogError> {
        self.inner.partition(partition)?;
        if self.inner.must_wait() {
            return Err(LogError::Overloaded { queued_bytes: self.inner.ahead_bytes() });
        }
        self.inner.submit(partition, Entry::Produced { batch, stamp, origin }, durability)
    }

    /// [`LogStore::append`], of a batch that may begin a transaction.
    ///
    /// # Errors
    /// As [`LogStore::append`].
    pub async fn append_from(
        &self,
        origin: Origin,
        partition: TabletId,
        batch: ProducedBatch,
        stamp: Stamp,
        durability: Durability,
    ) -> Result<Appended, LogError> {
        self.wait_for_room().await?;
        self.submit_from(origin, partition, batch, stamp, durability)?.wait().await
    }

    /// One after the other: only the first looks whenever something has progressed, for else each group of the log would cost a poll of
    /// every append that waits.
    pub(super) async fn wait_for_room(&self) -> Result<(), LogError> {
        let inner = &self.inner;
        if !inner.must_wait() && !inner.entry.is_held() {
            return Ok(());
        }
        let _entry = inner.entry.enter(&inner.shard).await?;
        while inner.must_wait() {
            if let Some(error) = self.stuck() {
                return Err(error);
            }
            inner.work.notify();
            inner.progressed.wait(&inner.shard).await.map_err(|_| stopped())?;
        }
        Ok(())
    }

    /// Writes the marker that ends a producer's transaction, durably. It is written as well if none is open: as Kafka has it, so that a
    /// coordinator may say it again.
    ///
    /// # Errors
    /// [`LogError::Fenced`], [`LogError::CoordinatorFenced`]; those of [`LogStore::append`].
    pub async fn end_transaction(
        &self,
        partition: TabletId,
        end: EndTransaction,
        stamp: Stamp,
    ) -> Result<Appended, LogError> {
        let marker = Marker { commits: end.commit, coordinator_epoch: end.coordinator_epoch };
        let batch = marker.batch(end.producer_id, end.producer_epoch, stamp.wall_ms);
        let origin = Origin::Coordinator { bumps: end.version >= BUMPS_FROM };
        self.append_from(origin, partition, batch, stamp, Durability::Sync).await
    }
}
