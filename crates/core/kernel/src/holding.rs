//! What a service holds for its users (a table, a topic), as one shard sees it; `holon` adds the shards up and shows it.

use crate::metric::Histogram;

/// One table, topic or the like. Sums of all shards describe it for the node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Holding {
    /// What it belongs to: a keyspace.
    pub space: String,
    pub name: String,
    /// Its group of tablets, by number.
    pub group: u64,
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

/// How much a service did on this shard since its start, and how much it keeps: cheap enough to be asked each second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Of clients that came to this shard.
    pub requests: u64,
    pub data_bytes: u64,
}

/// How much a tablet holds, or how much of one was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    pub rows: u64,
    /// Of keys and rows, before compression.
    pub bytes: u64,
}

impl std::ops::AddAssign for Load {
    fn add_assign(&mut self, more: Load) {
        self.requests += more.requests;
        self.data_bytes += more.data_bytes;
    }
}

impl std::ops::AddAssign for Amount {
    fn add_assign(&mut self, more: Amount) {
        self.rows += more.rows;
        self.bytes += more.bytes;
    }
}
