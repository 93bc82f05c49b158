//! A partition as the core knows it: a tablet. Its requests are those of [`crate::calls`].

use crate::calls::{self, FoundTime, PartitionError, Reply, Request};
use crate::records::{self, RecordTime};
use crate::service::LogService;
use crate::store::{AppendTicket, LogError, LogStore, Stamp};
use bytes::Bytes;
use holon_base::TabletId;
use holon_kafka::{BatchHeader, ProduceRules, ProducedBatch};
use holon_kernel::{CallError, LocalFuture, Tablet};
use holon_wal::Durability;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// Who waits for new records is answered so long before the deadline that is usual for calls, with what there is.
const WAIT_MAX: Duration = Duration::from_secs(5);

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
            Request::Produce { version, records } => self.produce(&store, tablet, version, records).await,
            Request::Fetch { offset, bytes_max } => {
                let batches = store.read(tablet, offset, i64::MAX, bytes_max as usize).await?;
                let (start, end) = store.ends(tablet)?;
                Ok(Reply::Fetched { batches, start, end })
            }
            Request::Ends => ends(&store, tablet),
            Request::Wait { beyond } => {
                let deadline = self.shard().now() + WAIT_MAX;
                loop {
                    let moved = store.moved(tablet)?;
                    let (start, end) = store.ends(tablet)?;
                    if end > beyond || beyond < start || self.shard().timeout(deadline, moved).await.is_err() {
                        return ends(&store, tablet);
                    }
                }
            }
            Request::FindTime { time_ms } => {
                let first = store.find_time(tablet, time_ms, 0).await?;
                Ok(Reply::Found(find_record(&store, tablet, first, time_ms).await?))
            }
            Request::FindNewest => {
                let newest = store.find_newest(tablet).await?;
                let time_ms = newest.map_or(0, |header| header.max_timestamp_ms);
                Ok(Reply::Found(find_record(&store, tablet, newest, time_ms).await?))
            }
            Request::MoveStart { offset } => {
                let offset = match offset {
                    Some(offset) => offset,
                    None => store.ends(tablet)?.1,
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
    ) -> Result<Reply, PartitionError> {
        let (batch, stamp, durability) = self.checked(tablet, version, records)?;
        Ok(Reply::Appended(store.append(tablet, batch, stamp, durability).await?))
    }

    /// A batch enters the log of this shard. `None`: the partition is on another shard, or there is no room at this moment.
    pub(crate) fn begin_produce(
        &self,
        tablet: TabletId,
        version: i16,
        records: &Bytes,
    ) -> Option<Result<AppendTicket, PartitionError>> {
        let store = self.store().filter(|store| store.has(tablet) && store.has_room())?;
        let begun = self.checked(tablet, version, records.clone()).and_then(|(batch, stamp, durability)| {
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
        let append_time_ms = settings.append_time.then_some(now_ms);
        let stamp = Stamp { leader_epoch: 0, append_time_ms, wall_ms: now_ms };
        let durability = if settings.periodic { Durability::Periodic } else { Durability::Sync };
        Ok((batch, stamp, durability))
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

fn ends(store: &LogStore, tablet: TabletId) -> Result<Reply, PartitionError> {
    let (start, end) = store.ends(tablet)?;
    Ok(Reply::Ends { start, end })
}
