//! What nodes count themselves, as points that a set of runs must reach.

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
