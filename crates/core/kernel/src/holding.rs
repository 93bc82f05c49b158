//! What a service holds for its users (a table, a topic), as one shard sees it; `holon` adds the shards up and shows it.

use crate::metric::Histogram;

/// One table, topic or the like. Sums of all shards describe it for the node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Holding {
    /// What it belongs to: a keyspace.
    pub space: String,
    pub name: String,
    /// Of its tablets, those that live on this shard.
    pub tablets: u64,
    /// About so many: what was written again or deleted since the last compaction counts as well.
    pub rows: u64,
    /// About so many groups of rows that are kept together (a CQL partition); 0 while nothing is known of them.
    pub partitions: u64,
    pub files: u64,
    pub disk_bytes: u64,
    /// Not in files yet.
    pub memory_bytes: u64,
    /// Requests that came to this shard, wherever they were carried out.
    pub reads: Histogram,
    pub writes: Histogram,
}

/// Work in the background that takes long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// `compacting zoo.animals, tablet 1`.
    pub what: String,
    pub bytes_done: u64,
    pub bytes_total: u64,
}
