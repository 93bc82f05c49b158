//! Batches over several tablets happen whole: the first tablet's part is one mutation with a row that holds all other
//! parts, so the batch has happened as soon as that mutation is in the log. The other parts follow; then the row is
//! removed. What a crash leaves behind is replayed at start, before any door opens; replaying twice changes nothing.
//!
//! The rows lie behind all rows of data ([`row_key::ROWS_END`]) in the first tablet. What holds: once acknowledged,
//! or once the first mutation survived a crash, every part of the batch will be seen; before that, none. In between a
//! reader may see some parts and not yet others: a batch is atomic, not isolated, as in Cassandra.

use super::{TableTablet, refusal, request};
use crate::types::row_key;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput, TabletId};
use holon_kernel::{CallError, Shard, Verb};
use holon_store::{Cell, CellEntry, Deletion, Durability, KeyRange, Mutation, MutationBuilder, RowPatch, ScanOptions};
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
            for (target, mutation) in decode(cell.value.clone()).map_err(unreadable)? {
                write_part(&shard, target, &mutation).await?;
            }
            let (timestamp, local_seconds) = (cell.timestamp.saturating_add(1), shard.wall().seconds());
            let mutation = removal(&key, Some(Deletion { timestamp, local_seconds }))?;
            tablet.engine.write(tablet.id, mutation, Durability::Periodic).await.map_err(refusal)?;
            batches += 1;
        }
        match page.rest {
            Some(rest) => range = rest,
            None => return Ok(batches),
        }
    }
}

async fn write_part(shard: &Shard, target: TabletId, mutation: &Bytes) -> Result<(), CallError> {
    let deadline = shard.now() + REPLAY_TIMEOUT;
    match shard.call_tablet(target, Verb::APPLY, request::encode_write(mutation, false), deadline).await {
        // The table was dropped: so was this part.
        Ok(_) | Err(CallError::NotHere) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Tries until what was left of batches in this tablet is written. For a coordinator that could not finish one.
pub fn finish_later(tablet: &Rc<TableTablet>) {
    let (tablet, shard) = (tablet.clone(), tablet.shard.clone());
    let scope = holon_kernel::Scope::Tablet(tablet.id);
    shard.clone().spawn(scope, holon_kernel::Class::Background, async move {
        loop {
            shard.sleep(REPLAY_TIMEOUT).await;
            match replay(&tablet).await {
                Ok(_) | Err(CallError::NotHere | CallError::Gone) => return,
                Err(_) => {}
            }
        }
    });
}
