//! Batches over several tablets happen whole: the first tablet's part is one mutation with a row that holds all other
//! parts (and this one again, if the tablet has several replicas, of which perhaps one alone got it), so the batch has
//! happened as soon as that mutation is in the log. The other parts follow; then the row is removed. What a crash leaves
//! behind is replayed at start, before any door opens, or soon after where other nodes are needed for it: first that
//! mutation, until a majority of the tablet's replicas has it, then the others. Replaying twice changes nothing.
//!
//! The rows lie behind all rows of data ([`row_key::ROWS_END`]) in the first tablet. What holds: once acknowledged,
//! or once the first mutation survived a crash, every part of the batch will be seen; before that, none. In between a
//! reader may see some parts and not yet others: a batch is atomic, not isolated, as in Cassandra.

use super::{TableTablet, refusal};
use crate::types::row_key;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput, TabletId};
use holon_kernel::CallError;
use holon_replica::coordinator::Demand;
use holon_replica::{Level, ReplicaError};
use holon_store::{
    Cell, CellEntry, Deletion, Durability, KeyRange, Mutation, MutationBuilder, Row, RowPatch, ScanOptions, StoreError,
};
use std::rc::Rc;
use std::time::Duration;

const VERSION: u8 = 1;
const COLUMN: u32 = 0;

/// How long a part may take at a replay, and how long the next try is put off.
const REPLAY_TIMEOUT: Duration = Duration::from_secs(10);

/// One part of a batch: a mutation of another tablet.
pub type Part = (TabletId, Bytes);

/// The key and the row that keep the other parts of a batch.
pub fn entry(id: u128, parts: &[Part], timestamp: i64) -> (Bytes, RowPatch) {
    let mut out = ByteWriter::new();
    out.put_u8(VERSION);
    out.put_varint(parts.len() as u64);
    for (tablet, mutation) in parts {
        out.put_u64(tablet.0);
        out.put_prefixed(mutation);
    }
    let mut row = RowPatch::default();
    row.put(CellEntry::new(COLUMN, Cell::live(timestamp, out.freeze())));
    (key(id), row)
}

fn key(id: u128) -> Bytes {
    [&row_key::ROWS_END[..], &id.to_be_bytes()].concat().into()
}

/// The parts that a row of a batch keeps.
///
/// # Errors
/// What cannot be read.
pub fn parts(row: &Row) -> Result<Vec<Part>, ShortInput> {
    row.cell(COLUMN).map_or(Ok(Vec::new()), |cell| decode(cell.value.clone()))
}

fn decode(value: Bytes) -> Result<Vec<Part>, ShortInput> {
    let mut input = ByteReader::new(value);
    if input.u8()? != VERSION {
        return Err(ShortInput { offset: 0 });
    }
    let count = input.count()?;
    let parts = (0..count).map(|_| Ok((TabletId(input.u64()?), input.prefixed()?))).collect::<Result<_, _>>()?;
    input.end()?;
    Ok(parts)
}

/// The mutation that a batch begins with: the first tablet's part, if it has one to bring, and the row that keeps all parts.
///
/// # Errors
/// It is too large.
pub fn beginning<'a>(
    own: impl IntoIterator<Item = &'a Mutation>,
    key: &[u8],
    row: &RowPatch,
) -> Result<Mutation, StoreError> {
    let mut builder = MutationBuilder::new();
    for own in own {
        for (key, patch) in own.rows()? {
            builder.row(&key, &patch);
        }
        for range in own.ranges() {
            builder.delete_range(range.clone());
        }
    }
    builder.row(key, row);
    builder.finish()
}

/// What removes the row of a batch whose parts are all written.
///
/// # Errors
/// None that can be met: the mutation is a few bytes.
pub fn removal_of(id: u128, timestamp: i64, now_seconds: i64) -> Result<Mutation, CallError> {
    removal(&key(id), Some(Deletion { timestamp, local_seconds: now_seconds }))
}

fn removal(key: &[u8], deletion: Option<Deletion>) -> Result<Mutation, CallError> {
    let mut builder = MutationBuilder::new();
    builder.row(key, &RowPatch { deletion, ..RowPatch::default() });
    builder.finish().map_err(refusal)
}

/// Finishes the batches that began in a tablet and were cut off. Gives how many there were.
///
/// # Errors
/// A part that could not be written (its batch stays for the next replay), a log that cannot be read.
pub async fn replay(tablet: &Rc<TableTablet>) -> Result<u64, CallError> {
    let shard = tablet.shard.clone();
    let mut range = KeyRange { start: Bytes::from_static(&row_key::ROWS_END), end: None };
    let mut batches = 0;
    loop {
        let options = ScanOptions { rows_max: 64, ..ScanOptions::new(shard.wall().seconds()) };
        let page = tablet.engine.scan(tablet.id, range, options).await.map_err(refusal)?;
        for (key, row) in page.rows {
            let Some(cell) = row.cell(COLUMN) else { continue };
            let unreadable = |short: ShortInput| {
                crate::error::CqlError::server(format!("the batch log of tablet {} is unreadable: {short}", tablet.id))
                    .into_call()
            };
            let mut parts = decode(cell.value.clone()).map_err(unreadable)?;
            if !tablet.coordinator.is_alone(tablet.id) {
                begin_again(tablet, &key, cell, &mut parts).await?;
            }
            for (target, mutation) in parts {
                write_part(tablet, target, &mutation).await?;
            }
            let (timestamp, local_seconds) = (cell.timestamp.saturating_add(1), shard.wall().seconds());
            let mutation = removal(&key, Some(Deletion { timestamp, local_seconds }))?;
            if tablet.coordinator.is_alone(tablet.id) {
                tablet.engine.write(tablet.id, mutation, Durability::Periodic).await.map_err(refusal)?;
            } else {
                write_part(tablet, tablet.id, mutation.bytes()).await?;
            }
            batches += 1;
        }
        match page.rest {
            Some(rest) => range = rest,
            None => return Ok(batches),
        }
    }
}

/// Perhaps this replica alone knows of a batch. Before any other part of it can be seen, a majority has to know, or whoever
/// asks the others (a reader, a backup) finds a part without the batch that it belongs to.
///
/// This tablet's own part goes with it, and is taken out of `parts`, for it is written then as the others are to be: whole,
/// at the same level, with hints for whoever misses it, and to where the tablet moves if it does. A tablet that this node
/// has alone does without a beginning, and keeps its part among the others.
async fn begin_again(tablet: &TableTablet, key: &[u8], kept: &Cell, parts: &mut Vec<Part>) -> Result<(), CallError> {
    let own: Vec<Part> = parts.extract_if(.., |(target, _)| *target == tablet.id).collect();
    let own = own.into_iter().map(|(_, mutation)| Mutation::decode(mutation));
    let own = own.collect::<Result<Vec<_>, _>>().map_err(refusal)?;
    let mut row = RowPatch::default();
    row.put(CellEntry::new(COLUMN, kept.clone()));
    let beginning = beginning(&own, key, &row).map_err(refusal)?;
    write_part(tablet, tablet.id, beginning.bytes()).await
}

/// To a majority of the replicas of its tablet; the others get it or a hint, as with any write.
async fn write_part(tablet: &TableTablet, target: TabletId, mutation: &Bytes) -> Result<(), CallError> {
    let deadline = tablet.shard.now() + REPLAY_TIMEOUT;
    let demand = Demand { tablet: target, level: Level::Quorum, replication: None, deadline };
    match tablet.coordinator.write(&demand, mutation.clone(), false, &|_, _| ()).await {
        // The table was dropped: so was this part.
        Ok(()) | Err(ReplicaError::NoTablet) => Ok(()),
        Err(ReplicaError::Failed { reason: Some(reason), .. }) => Err(CallError::Failed(reason)),
        Err(_) => Err(CallError::Timeout),
    }
}

/// Whether a mutation has the row of a batch in it that may have to be finished from here.
pub fn begins_in(mutation: &Mutation) -> bool {
    let rows = mutation.encoded_rows();
    rows.len() > 1 && rows.last().is_some_and(|(key, _)| key.starts_with(&row_key::ROWS_END))
}

/// Tries until what was left of batches in this tablet is written. For a coordinator that could not finish one.
pub fn finish_later(tablet: &Rc<TableTablet>) {
    if tablet.finishing.replace(true) || holon_replica::plant::get().forget_batches {
        return;
    }
    let (tablet, shard) = (tablet.clone(), tablet.shard.clone());
    let scope = holon_kernel::Scope::Tablet(tablet.id);
    shard.clone().spawn(scope, holon_kernel::Class::Background, async move {
        loop {
            shard.sleep(REPLAY_TIMEOUT).await;
            // From here on a batch that begins needs another look.
            tablet.finishing.set(false);
            match replay(&tablet).await {
                Ok(_) | Err(CallError::NotHere | CallError::Gone) => return,
                Err(_) if tablet.finishing.replace(true) => return,
                Err(_) => {}
            }
        }
    });
}
