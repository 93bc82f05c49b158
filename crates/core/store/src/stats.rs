//! What the engine did and holds, as plain numbers for metrics and tests.

/// Counters since the engine was opened (`…_total` by nature) and sizes as they are now (marked *now*).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub writes: u64,
    /// Encoded mutations as they were handed in.
    pub written_user_bytes: u64,
    pub log_bytes: u64,
    pub log_groups: u64,
    pub log_syncs: u64,
    pub log_segments_created: u64,
    pub log_segments_recycled: u64,
    /// *now*
    pub log_segments: u64,
    /// *now*
    pub queued_bytes: u64,
    pub flushes: u64,
    pub flushed_bytes: u64,
    pub compactions: u64,
    pub compaction_read_bytes: u64,
    pub compaction_written_bytes: u64,
    /// Runs that changed their level without being rewritten.
    pub trivial_moves: u64,
    pub tables_dropped_expired: u64,
    pub tombstones_purged: u64,
    pub cache_hits: u64,
    pub cache_misses: u64,
    /// *now*
    pub cache_bytes: u64,
    pub bloom_skips: u64,
    pub gets: u64,
    pub scan_pages: u64,
    pub rows_examined: u64,
    pub stall_micros: u64,
    pub background_errors: u64,
    /// Damaged places found in files of tablets.
    pub damages: u64,
    /// Tablets whose damage was made good.
    pub mended: u64,
    /// With damage, *now*.
    pub damaged_tablets: u64,
    /// *now*
    pub memtable_bytes: u64,
    /// Filters and indexes of open tables, *now*.
    pub table_memory_bytes: u64,
    /// *now*
    pub tablets: u64,
    /// *now*
    pub tables: u64,
    /// *now*
    pub table_bytes: u64,
}

impl Stats {
    /// Bytes written to tables and log for each byte that the tables hold now.
    pub fn write_amplification(&self) -> f64 {
        let written = self.log_bytes + self.flushed_bytes + self.compaction_written_bytes;
        written as f64 / self.table_bytes.max(1) as f64
    }
}

/// One tablet, now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TabletStats {
    pub memtable_bytes: u64,
    pub memtables: u64,
    pub tables: u64,
    pub table_bytes: u64,
    /// Rows in all tables together: a row in two tables counts twice.
    pub table_rows: u64,
    /// Prefixes of keys in all tables together, likewise; tables of before they were counted add nothing.
    pub table_prefixes: u64,
    /// Keys and rows of all tables, before compression.
    pub table_raw_bytes: u64,
    /// Rows in memtables; those that are in tables, too, count again.
    pub memtable_rows: u64,
    pub tombstones: u64,
    /// How far the compaction is that is running, if one is.
    pub compaction: Option<Progress>,
    /// Sorted runs of each level.
    pub runs: Vec<u64>,
    /// Everything up to here is in tables.
    pub flushed: crate::Lsn,
}

/// Recovery at start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    pub logs: u64,
    pub segments: u64,
    pub records: u64,
    /// Records of this shard's tablets that were not in tables yet.
    pub replayed: u64,
    pub replayed_bytes: u64,
    /// Groups that were being written, and not acknowledged as durable, when the node went down.
    pub torn_groups: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    pub files: u64,
    pub bytes: u64,
    pub blocks: u64,
    pub rows: u64,
}

/// How far a long operation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub bytes_done: u64,
    pub bytes_total: u64,
}
