//! What Cassandra warns of and refuses in a batch: too many bytes, too many partitions without a log.
//!
//! Sizes are counted as Cassandra 4.1 counts them (`IMutation.dataSize`: values with their timestamps, markers and
//! deletions, not keys of partitions), so that a batch that is warned of there is warned of here. What a batch costs
//! *this* engine is no part of it: its bounds are those of a mutation and of the memory for requests.

use super::Outcome;
use super::write::{PartitionWrites, Target};
use crate::error::{CqlError, CqlResult};
use crate::limits;
use crate::schema::Table;
use crate::tablet::ReadOperation;
use crate::types::row_key;
use holon_cql::request::BatchKind;
use holon_cql_language::quote_identifier;
use holon_store::{CellKind, RowPatch};
use std::collections::{BTreeMap, BTreeSet};

/// A timestamp.
const TIMESTAMP_BYTES: usize = 8;
/// A timestamp, a time to live and a local deletion time.
const CELL_BYTES: usize = TIMESTAMP_BYTES + 4 + 4;
/// A timestamp and a local deletion time.
const DELETION_BYTES: usize = TIMESTAMP_BYTES + 4;
/// The marker of a row and its deletion, which are counted whether they are there or not.
const ROW_BYTES: usize = TIMESTAMP_BYTES + DELETION_BYTES + 1;
/// What a marker that expires has besides.
const EXPIRY_BYTES: usize = 4 + 4;

/// Adds warnings to the outcome.
///
/// # Errors
/// A batch beyond [`limits::BATCH_FAIL_BYTES`].
pub fn check(kind: BatchKind, writes: &[(&Table, &Target)], outcome: &mut Outcome) -> CqlResult<()> {
    let first = writes.first();
    let same = |(table, target): &(&Table, &Target)| {
        first.is_some_and(|(other, of)| table.keyspace == other.keyspace && target.prefix == of.prefix)
    };
    if writes.iter().all(same) {
        return Ok(()); // one partition is one mutation, however large
    }
    check_size(writes, outcome)?;
    let partitions: BTreeSet<&[u8]> = writes.iter().map(|(_, target)| target.prefix.as_slice()).collect();
    if kind != BatchKind::Logged && partitions.len() > limits::UNLOGGED_BATCH_WARN_PARTITIONS {
        let names = names(writes);
        outcome.warnings.push(format!(
            "Unlogged batch covering {} partitions detected against table{} [{}]. You should use a logged batch for \
             atomicity, or asynchronous writes for performance.",
            partitions.len(),
            if names.len() == 1 { "" } else { "s" },
            names.join(", ")
        ));
    }
    Ok(())
}

fn check_size(writes: &[(&Table, &Target)], outcome: &mut Outcome) -> CqlResult<()> {
    // Statements on one row are counted twice here: never too little, and nearly always enough to be done.
    let most: usize = writes.iter().map(|(_, target)| ROW_BYTES + rough_bytes(&target.writes)).sum();
    if most <= limits::BATCH_WARN_BYTES {
        return Ok(());
    }
    let size = data_bytes(writes);
    if size > limits::BATCH_FAIL_BYTES {
        return Err(CqlError::invalid("Batch too large"));
    }
    if size > limits::BATCH_WARN_BYTES {
        outcome.warnings.push(format!(
            "Batch for [{}] is of size {size}, exceeding specified threshold of {} by {}.",
            names(writes).join(", "),
            limits::BATCH_WARN_BYTES,
            size - limits::BATCH_WARN_BYTES
        ));
    }
    Ok(())
}

fn names(writes: &[(&Table, &Target)]) -> Vec<String> {
    let quoted = |table: &Table| format!("{}.{}", quote_identifier(&table.keyspace), quote_identifier(&table.name));
    let names: BTreeSet<String> = writes.iter().map(|(table, _)| quoted(table)).collect();
    names.into_iter().collect()
}

fn rough_bytes(writes: &PartitionWrites) -> usize {
    let rows: usize = writes.rows.iter().map(|(key, patch)| key.len() + row_bytes(patch)).sum();
    let operations: usize =
        writes.operations.iter().map(|(key, operation)| key.len() + operation_bytes(operation)).sum();
    rows + operations
}

/// Each partition of each table once, each of its rows once.
fn data_bytes(writes: &[(&Table, &Target)]) -> usize {
    let mut rows: BTreeMap<(&str, &str, &[u8]), (&Table, RowPatch)> = BTreeMap::new();
    let mut partitions: BTreeSet<(&str, &str, &[u8])> = BTreeSet::new();
    let mut size = 0;
    for (table, target) in writes {
        partitions.insert((&table.keyspace, &table.name, &target.prefix));
        for (key, patch) in &target.writes.rows {
            let (_, row) = rows.entry((&table.keyspace, &table.name, key)).or_insert((table, RowPatch::default()));
            *row = std::mem::take(row).merge(patch.clone());
        }
        size +=
            target.writes.operations.iter().map(|(_, operation)| ROW_BYTES + operation_bytes(operation)).sum::<usize>();
    }
    size += partitions.len() * ROW_BYTES; // the static row of each, which is counted even when it is empty
    for ((.., key), (table, row)) in &rows {
        let Some(split) = row_key::RowKey::split(key) else { continue };
        if split.is_static {
            size += row_bytes(row) - ROW_BYTES;
        } else {
            let clustering = row_key::clustering_columns(table, split.clustering).unwrap_or_default();
            size += clustering.iter().map(|value| value.len()).sum::<usize>() + row_bytes(row);
        }
    }
    size
}

fn row_bytes(row: &RowPatch) -> usize {
    let expires = row.marker.is_some_and(|marker| marker.expiry.is_some());
    let cells: usize = row
        .cells
        .iter()
        .map(|entry| match entry.cell.kind {
            CellKind::Tombstone { .. } => CELL_BYTES + entry.path.len(),
            _ => CELL_BYTES + entry.path.len() + entry.cell.value.len(),
        })
        .sum();
    ROW_BYTES + if expires { EXPIRY_BYTES } else { 0 } + row.column_deletions.len() * DELETION_BYTES + cells
}

fn operation_bytes(operation: &ReadOperation) -> usize {
    match operation {
        ReadOperation::SetIndex { value, .. } => CELL_BYTES + value.as_ref().map_or(0, |value| value.len()),
        ReadOperation::Discard { values, .. } => values.len() * CELL_BYTES,
        ReadOperation::Add { elements, .. } => {
            elements.iter().map(|(path, value)| CELL_BYTES + path.len() + value.len()).sum()
        }
        ReadOperation::Count { .. } => CELL_BYTES + TIMESTAMP_BYTES,
    }
}
