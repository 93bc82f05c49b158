//! What a crash left in the shared logs of earlier boots comes into memory, and from there to segments as ever.

use crate::store::error::{LogError, damaged};
use crate::store::record::{Replayed, replayed};
use crate::store::segment::{PARTITIONS, tablet_of};
use crate::store::writer::{checkpoint, remove_directory};
use crate::store::{Inner, LOGS, truncating};
use bytes::Bytes;
use holon_base::TabletId;
use holon_kafka::batch::{HEADER_BYTES, check_crc};
use holon_kafka::{BatchHeader, Marker, StampedBatch};
use holon_wal::{LogReader, Lsn, ReplayChunk, old_logs};
use std::rc::Rc;

/// What was found at a start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    pub logs: u64,
    pub records: u64,
    /// Of them, those that were not in segments.
    pub replayed: u64,
    /// Groups that were being written when the node went down.
    pub torn_groups: u64,
}

pub async fn recover(inner: &Rc<Inner>) -> Result<RecoveryReport, LogError> {
    let mut report = RecoveryReport::default();
    for name in old_logs(&inner.shard, LOGS, inner.options.boot).await? {
        let mut reader = LogReader::open(inner.shard.clone(), name).await?;
        report.logs += 1;
        while let Some(chunk) = reader.next().await? {
            replay(inner, chunk, &mut report).await?;
            if inner.must_wait() {
                checkpoint(inner).await?;
            }
        }
        report.torn_groups += reader.torn_groups;
    }
    checkpoint(inner).await?;
    remove_strays(inner).await?;
    Ok(report)
}

async fn replay(inner: &Rc<Inner>, chunk: ReplayChunk, report: &mut RecoveryReport) -> Result<(), LogError> {
    for (number, (tablet, bytes)) in chunk.records.into_iter().enumerate() {
        if tablet.shard(inner.shard.shards()) != inner.shard.id() {
            continue;
        }
        report.records += 1;
        let lsn = Lsn(chunk.first.0 + number as u64);
        let known = inner.partition(tablet).ok();
        if known.as_ref().is_some_and(|partition| lsn <= partition.flushed.get().lsn) {
            continue;
        }
        let broken = |detail: String| damaged(&chunk.file, chunk.offset, format!("record {lsn}: {detail}"));
        let record = replayed(bytes).ok_or_else(|| broken("it is none that this build knows".to_string()))?;
        report.replayed += 1;
        match record {
            Replayed::Batch(bytes) => replay_batch(inner, tablet, &bytes, lsn).map_err(broken)?,
            Replayed::Change(change) => inner.change(tablet, change, lsn),
            Replayed::Truncated { offset } => {
                let Some(partition) = known else { continue };
                let (start, end) = (partition.start.get(), partition.end.get());
                if offset > end {
                    return Err(broken(format!("it truncates to {offset}, and the partition has {start} to {end}")));
                }
                let cut = truncating::prepare(inner, &partition, offset).await?;
                inner.admit_cut(&partition, &cut);
                inner.carry_out(&partition, cut, lsn);
            }
        }
    }
    Ok(())
}

fn replay_batch(inner: &Inner, tablet: TabletId, bytes: &Bytes, lsn: Lsn) -> Result<(), String> {
    // It was removed later, and whoever has the record of that has let go of it already.
    let Ok(partition) = inner.partition(tablet) else { return Ok(()) };
    let header = BatchHeader::read(bytes, 0).map_err(|error| error.to_string())?;
    let header = header.filter(|header| header.length == bytes.len()).ok_or("it is no whole batch")?;
    check_crc(&header, bytes, 0).map_err(|error| error.to_string())?;
    let end = partition.end.get();
    if header.base_offset != end {
        return Err(format!("it begins at offset {}, and the partition ends at {end}", header.base_offset));
    }
    let wall_ms = inner.shard.wall().micros() / 1000;
    let (head, records) = (bytes.slice(..HEADER_BYTES), bytes.slice(HEADER_BYTES..));
    partition.placed(&header, Marker::of(&header, &records), wall_ms);
    inner.take_in(&partition, StampedBatch { header, head, records }, lsn);
    Ok(())
}

/// Files of partitions that are not here: a removal that a crash cut short. After a checkpoint, so that none names them.
async fn remove_strays(inner: &Rc<Inner>) -> Result<(), LogError> {
    for entry in inner.shard.disk().list(PARTITIONS).await? {
        let path = format!("{PARTITIONS}/{}", entry.name);
        let is_ours = |tablet: &TabletId| tablet.shard(inner.shard.shards()) == inner.shard.id();
        let Some(tablet) = tablet_of(&entry.name).filter(is_ours) else { continue };
        if inner.partition(tablet).ok().is_none_or(|partition| *partition.directory != *path) {
            remove_directory(inner, &path).await?;
        }
    }
    Ok(())
}
