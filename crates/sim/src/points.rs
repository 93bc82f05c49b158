//! What nodes count themselves, as points that a set of runs must reach.

use crate::world::World;
use holon_kernel::metric::{Metric, MetricValue};

/// The point, and the counter that must not be zero.
pub const COUNTED: [(&str, &str); 7] = [
    ("damage found", "holon_store_damages_total"),
    ("damage made good", "holon_store_mended_total"),
    ("deletions forgotten", "holon_store_tombstones_purged_total"),
    ("tablets found unchanged", "holon_repair_unchanged_total"),
    ("replicas made equal", "holon_replica_repairs_total"),
    ("metadata log cut", "holon_metadata_snapshots_total"),
    ("metadata taken from a snapshot while running", "holon_metadata_snapshots_taken_over_total"),
];

/// What all shards count together.
pub fn total(world: &World, name: &str) -> u64 {
    let shards = (0..world.nodes.len()).filter_map(|node| world.up(node)).flatten();
    let metrics = shards.flat_map(|live| {
        let mut metrics = Vec::new();
        live.shard.services().iter().for_each(|service| service.metrics(&mut metrics));
        metrics
    });
    let count = |metric: Metric| match metric.value {
        MetricValue::Counter(count) if metric.name == name => count,
        MetricValue::Gauge(count) if metric.name == name => count as u64,
        _ => 0,
    };
    metrics.map(count).sum()
}
