//! A partition as the core knows it: a tablet. Its requests are those of [`crate::calls`].

use crate::calls::{self, Ends, FoundTime, PartitionError, Reply, Request, Unverified};
use crate::records::{self, RecordTime};
use crate::service::LogService;
use crate::store::{AppendTicket, EndTransaction, Guard, LogError, LogStore, Origin, Stamp};
use bytes::Bytes;
use holon_base::TabletId;
use holon_kafka::fetch::AbortedTransaction;
use holon_kafka::{BatchHeader, ProduceRules, ProducedBatch};
use holon_kernel::{CallError, LocalFuture, Tablet};
use holon_wal::Durability;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// Who waits for new records is answered so long before the deadline that is usual for calls, with what there is.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// From this version of Produce on the first batch of a transaction makes its partition part of it (KIP-890, part 2).
const ADDS_FROM: i16 = 12;

pub struct PartitionTablet {
    pub service: Weak<LogService>,
    pub id: TabletId,
}

impl PartitionTablet {
    async fn answer(&self, bytes: Bytes) -> Result<Bytes, CallError> {
        let service = self.service.upgrade().ok_or(CallError::Gone)?;
        let request = Request::decode(bytes).map_err(|_| CallError::NotHere)?;
        Ok(calls::encode(&service.carry_out(self.id, request).await))
    }
}

impl Tablet for PartitionTablet {
    fn apply(self: Rc<Self>, mutation: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(async move { self.answer(mutation).await })
    }

    fn read(self: Rc<Self>, request: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(async move { self.answer(request).await })
    }

    /// Replicas of a partition are not compared: a follower has what its leader has, up to where it is.
    fn digest(self: Rc<Self>, _: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(async { Err(CallError::NotHere) })
    }
}

impl LogService {
    /// On the shard that has the partition.
    pub(crate) async fn carry_out(&self, tablet: TabletId, request: Request) -> Result<Reply, PartitionError> {
        let store = self.store().ok_or(LogError::NotHere(tablet))?;
        match request {
            Request::Produce { version, records, guard } => self.produce(&store, tablet, version, records, guard).await,
            Request::Fetch { offset, bytes_max, committed } => {
                fetch(&store, tablet, offset, bytes_max as usize, committed).await
            }
            Request::Ends => Ok(Reply::Ends(ends(&store, tablet)?)),
            Request::Wait { beyond, committed } => {
                let deadline = self.shard().now() + WAIT_MAX;
                loop {
                    let moved = store.moved(tablet)?;
                    let found = ends(&store, tablet)?;
                    let is_there = found.of(committed) > beyond || beyond < found.start;
                    if is_there || self.shard().timeout(deadline, moved).await.is_err() {
                        return Ok(Reply::Ends(ends(&store, tablet)?));
                    }
                }
            }
            Request::FindTime { time_ms, committed } => {
                let first = store.find_time(tablet, time_ms, 0).await?;
                found(&store, tablet, find_record(&store, tablet, first, time_ms).await?, committed)
            }
            Request::FindNewest { committed } => {
                let newest = store.find_newest(tablet).await?;
                let time_ms = newest.map_or(0, |header| header.max_timestamp_ms);
                found(&store, tablet, find_record(&store, tablet, newest, time_ms).await?, committed)
            }
            Request::EndTransaction { producer_id, producer_epoch, coordinator_epoch, commit, version } => {
                let end = EndTransaction { producer_id, producer_epoch, coordinator_epoch, commit, version };
                let stamp = self.stamp(tablet);
                Ok(Reply::Appended(store.end_transaction(tablet, end, stamp).await?))
            }
            Request::HasTransaction { producer_id, producer_epoch } => {
                Ok(Reply::HasTransaction(store.has_transaction(tablet, producer_id, producer_epoch)?))
            }
            Request::Producers => Ok(Reply::Producers(store.producers(tablet)?)),
            Request::Size => Ok(Reply::Size(store.bytes(tablet).await?)),
            Request::MoveStart { offset } => {
                let offset = match offset {
                    Some(offset) => offset,
                    None => store.high_watermark(tablet)?,
                };
                Ok(Reply::Start(store.move_start(tablet, offset).await?))
            }
            Request::EpochEnd { epoch } => {
                let end = store.end_of_epoch(tablet, epoch)?;
                let found = |(leader_epoch, offset)| FoundTime { offset, time_ms: -1, leader_epoch };
                Ok(Reply::Found(end.map(found)))
            }
        }
    }

    async fn produce(
        &self,
        store: &LogStore,
        tablet: TabletId,
        version: i16,
        records: Bytes,
        guard: Option<Guard>,
    ) -> Result<Reply, PartitionError> {
        let (batch, stamp, durability) = self.checked(tablet, version, records)?;
        if guard.is_none() {
            is_verified(store, tablet, version, &batch.header, stamp)?;
        }
        Ok(Reply::Appended(store.append_from(Origin::Client { guard }, tablet, batch, stamp, durability).await?))
    }

    /// A batch enters the log of this shard. `None`: the partition is on another shard, or there is no room at this moment.
    /// [`PartitionError::Unverified`]: it is of a transaction that is not open here; when its coordinator was asked, it is to come again, by
    /// [`Request::Produce`] with the guard.
    pub(crate) fn begin_produce(
        &self,
        tablet: TabletId,
        version: i16,
        records: &Bytes,
    ) -> Option<Result<AppendTicket, PartitionError>> {
        let store = self.store().filter(|store| store.has(tablet) && store.has_room())?;
        let begun = self.checked(tablet, version, records.clone()).and_then(|(batch, stamp, durability)| {
            is_verified(&store, tablet, version, &batch.header, stamp)?;
            store.submit(tablet, batch, stamp, durability).map_err(PartitionError::from)
        });
        Some(begun)
    }

    fn checked(
        &self,
        tablet: TabletId,
        version: i16,
        records: Bytes,
    ) -> Result<(ProducedBatch, Stamp, Durability), PartitionError> {
        let now_ms = self.shard().wall().micros() / 1000;
        let settings = self.settings_of(tablet);
        let rules = ProduceRules {
            batch_bytes_max: settings.batch_bytes_max,
            version,
            timestamps: settings.timestamps(now_ms),
        };
        let batch = ProducedBatch::check(records, &rules).map_err(|error| PartitionError::from(&error))?;
        let durability = if settings.periodic { Durability::Periodic } else { Durability::Sync };
        Ok((batch, self.stamp(tablet), durability))
    }

    fn stamp(&self, tablet: TabletId) -> Stamp {
        let wall_ms = self.shard().wall().micros() / 1000;
        let append_time_ms = self.settings_of(tablet).append_time.then_some(wall_ms);
        Stamp { leader_epoch: 0, append_time_ms, wall_ms }
    }
}

/// The first record that is not before a time, which is in this batch or in one after it: of the first batch that counts, the records
/// before the partition's start do not.
async fn find_record(
    store: &LogStore,
    tablet: TabletId,
    first: Option<BatchHeader>,
    time_ms: i64,
) -> Result<Option<FoundTime>, LogError> {
    let (start, _) = store.ends(tablet)?;
    let mut next = first;
    while let Some(header) = next {
        let from = header.base_offset.max(start);
        let whole = store.read(tablet, from, i64::MAX, 1).await?.pieces.concat();
        let found = records::first_since(&header, &whole, from, time_ms).unwrap_or(
            // Its client wrote what nobody can read: the batch is as near as one gets.
            Some(RecordTime { offset: from, time_ms: header.max_timestamp_ms }),
        );
        if let Some(RecordTime { offset, time_ms }) = found {
            return Ok(Some(FoundTime { offset, time_ms, leader_epoch: header.leader_epoch }));
        }
        next = store.find_time(tablet, time_ms, header.last_offset() + 1).await?;
    }
    Ok(None)
}

fn ends(store: &LogStore, tablet: TabletId) -> Result<Ends, LogError> {
    let (start, _) = store.ends(tablet)?;
    Ok(Ends { start, stable: store.stable(tablet)?, end: store.high_watermark(tablet)? })
}

async fn fetch(
    store: &LogStore,
    tablet: TabletId,
    offset: i64,
    bytes_max: usize,
    committed: bool,
) -> Result<Reply, PartitionError> {
    let below = ends(store, tablet)?.of(committed);
    let batches = store.read(tablet, offset, below, bytes_max).await?;
    let aborted = match (committed, batches.end) {
        (false, _) => None,
        (true, end) if end <= offset => Some(Vec::new()),
        (true, end) => {
            let aborted = store.aborted(tablet, offset, end).await?;
            let told = |aborted: crate::store::Aborted| AbortedTransaction {
                producer_id: aborted.producer_id,
                first_offset: aborted.first_offset,
            };
            Some(aborted.into_iter().map(told).collect())
        }
    };
    Ok(Reply::Fetched { batches, ends: ends(store, tablet)?, aborted })
}

/// A record that the reader would not get yet is none, as Kafka answers it.
fn found(
    store: &LogStore,
    tablet: TabletId,
    found: Option<FoundTime>,
    committed: bool,
) -> Result<Reply, PartitionError> {
    let below = ends(store, tablet)?.of(committed);
    Ok(Reply::Found(found.filter(|found| found.offset < below)))
}

/// # Errors
/// [`PartitionError::Unverified`]: the coordinator is to be asked before a batch is appended.
fn is_verified(
    store: &LogStore,
    tablet: TabletId,
    version: i16,
    header: &BatchHeader,
    stamp: Stamp,
) -> Result<(), PartitionError> {
    let adds = version >= ADDS_FROM;
    let (producer_id, producer_epoch) = (header.producer_id, header.producer_epoch);
    match store.to_verify(tablet, header, adds, stamp.wall_ms)? {
        Some(guard) => Err(PartitionError::Unverified(Unverified { producer_id, producer_epoch, guard, adds })),
        None => Ok(()),
    }
}
