//! The tables of this shard with what they take and what is asked of them: for the status page, `holon status` and
//! `system.size_estimates`.

use super::TablesService;
use crate::schema::Table;
use crate::system::SizeEstimate;
use crate::types::row_key;
use holon_base::TabletId;
use holon_kernel::holding::{Amount, Holding, Load, Work};
use holon_store::TabletStats;
use std::rc::Rc;

/// The tablets of a table that live on this shard, with their statistics.
fn tablets(service: &TablesService, table: &Table) -> Vec<(u32, TabletStats)> {
    let Some(engine) = service.engine() else { return Vec::new() };
    let of = |ordinal| {
        let tablet = TabletId::new(table.group, ordinal);
        service.tablets.get(tablet)?;
        Some((ordinal, engine.tablet_stats(tablet).ok()?))
    };
    (0..table.tablets).filter_map(of).collect()
}

fn tables(service: &TablesService) -> Vec<Rc<Table>> {
    service.schema().user_keyspaces().flat_map(|keyspace| keyspace.tables.values().cloned()).collect()
}

/// Partitions in files: one that is in two files counts twice. Files of before they were counted: no more than rows.
fn partitions(stats: &TabletStats) -> u64 {
    if stats.table_prefixes == 0 { stats.table_rows } else { stats.table_prefixes }
}

/// What is in memory is taken to be like what is in files; nothing is known before there is one.
fn partitions_with_memory(stats: &TabletStats) -> u64 {
    let share = stats.memtable_rows as f64 / stats.table_rows.max(1) as f64;
    (partitions(stats) as f64 * (1.0 + share)) as u64
}

pub(super) fn holdings(service: &TablesService) -> Vec<Holding> {
    let holding = |table: &Rc<Table>| {
        let metrics = service.requests_metrics().table(table.group);
        let mut holding = Holding {
            space: table.keyspace.to_string(),
            name: table.name.to_string(),
            group: table.group.0,
            reads: metrics.reads,
            writes: metrics.writes,
            ..Holding::default()
        };
        for (_, stats) in tablets(service, table) {
            holding.tablets += 1;
            holding.rows += stats.table_rows + stats.memtable_rows;
            holding.partitions += partitions_with_memory(&stats);
            holding.files += stats.tables;
            holding.disk_bytes += stats.table_bytes;
            holding.memory_bytes += stats.memtable_bytes;
        }
        holding
    };
    tables(service).iter().map(holding).collect()
}

pub(super) fn work(service: &TablesService) -> Vec<Work> {
    let mut work = Vec::new();
    for table in tables(service) {
        for (ordinal, stats) in tablets(service, &table) {
            let Some(progress) = stats.compaction else { continue };
            work.push(Work {
                what: format!("compacting {}.{}, tablet {ordinal}", table.keyspace, table.name),
                bytes_done: progress.bytes_done,
                bytes_total: progress.bytes_total,
            });
        }
    }
    work
}

pub(super) fn load(service: &TablesService) -> Load {
    let stats = service.engine().map(|engine| engine.stats()).unwrap_or_default();
    Load { requests: service.requests_metrics().requests(), data_bytes: stats.table_bytes + stats.memtable_bytes }
}

pub(super) fn tablet_amount(service: &TablesService, tablet: TabletId) -> Option<Amount> {
    let stats = service.engine()?.tablet_stats(tablet).ok()?;
    let rows = stats.table_rows + stats.memtable_rows;
    Some(Amount { rows, bytes: stats.table_raw_bytes + stats.memtable_bytes })
}

/// One a tablet, of what is in files, as Cassandra counts only that. Empty ranges are told of as well: whoever adds up the
/// ranges wants the whole ring.
pub(super) fn size_estimates(service: &TablesService) -> Vec<SizeEstimate> {
    let mut estimates = Vec::new();
    for table in tables(service) {
        for (ordinal, stats) in tablets(service, &table) {
            let (range_start, range_end) = token_range(ordinal, table.tablets);
            let partitions = partitions(&stats);
            estimates.push(SizeEstimate {
                keyspace: table.keyspace.clone(),
                table: table.name.clone(),
                range_start,
                range_end,
                partitions,
                mean_partition_bytes: stats.table_raw_bytes.checked_div(partitions).unwrap_or(0),
            });
        }
    }
    estimates
}

/// The tokens of a tablet, as (start, end].
fn token_range(ordinal: u32, tablets: u32) -> (i64, i64) {
    let first = |ordinal| row_key::token_of(&row_key::tablet_start(ordinal, tablets));
    let start = if ordinal == 0 { i64::MIN } else { first(ordinal) - 1 };
    (start, if ordinal + 1 == tablets { i64::MAX } else { first(ordinal + 1) - 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranges_of_the_tablets_make_the_ring() {
        for tablets in [1, 2, 4, 16] {
            let ranges: Vec<(i64, i64)> = (0..tablets).map(|ordinal| token_range(ordinal, tablets)).collect();
            assert_eq!((ranges[0].0, ranges[ranges.len() - 1].1), (i64::MIN, i64::MAX));
            assert!(ranges.windows(2).all(|pair| pair[0].1 == pair[1].0), "{ranges:?}");
            for (ordinal, (start, end)) in (0u32..).zip(ranges) {
                for token in [start.saturating_add(1), end] {
                    assert_eq!(row_key::tablet_ordinal(token, tablets), ordinal, "{token} of {tablets}");
                }
            }
        }
    }
}
