//! What a table's WITH says. All of it is kept and shown as Cassandra 4.1 shows it.
//!
//! What takes effect is `compression`, `bloom_filter_fp_chance` and `compaction`, as far as the engine has the like (see
//! [`crate::tablet::storage_options`]), `default_time_to_live` and `gc_grace_seconds`. The others steer what only Cassandra
//! has; they are kept for the tools that set and read them.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;

#[derive(Clone, Debug, PartialEq)]
pub struct TableOptions {
    pub additional_write_policy: SpeculativeRetry,
    /// Greater than 0, at most 1.
    pub bloom_filter_fp_chance: f64,
    pub caching: Caching,
    pub cdc: bool,
    pub comment: String,
    /// With `class`, qualified.
    pub compaction: BTreeMap<String, String>,
    /// With `class`, qualified; or only `enabled`: `false`.
    pub compression: BTreeMap<String, String>,
    /// The name of a configuration of memtables.
    pub memtable: String,
    /// Between 0 and 1.
    pub crc_check_chance: f64,
    /// 0 for none.
    pub default_time_to_live_seconds: u32,
    pub extensions: BTreeMap<String, Bytes>,
    pub gc_grace_seconds: u32,
    pub max_index_interval: u32,
    pub memtable_flush_period_in_ms: u32,
    pub min_index_interval: u32,
    pub read_repair: ReadRepair,
    pub speculative_retry: SpeculativeRetry,
}

pub const COMPACTION_PACKAGE: &str = "org.apache.cassandra.db.compaction.";
pub const COMPRESSION_PACKAGE: &str = "org.apache.cassandra.io.compress.";

fn texts(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

impl Default for TableOptions {
    fn default() -> Self {
        TableOptions {
            additional_write_policy: SpeculativeRetry::default(),
            bloom_filter_fp_chance: 0.01,
            caching: Caching::default(),
            cdc: false,
            comment: String::new(),
            compaction: texts(&[
                ("class", "org.apache.cassandra.db.compaction.SizeTieredCompactionStrategy"),
                ("max_threshold", "32"),
                ("min_threshold", "4"),
            ]),
            compression: texts(&[
                ("chunk_length_in_kb", "16"),
                ("class", "org.apache.cassandra.io.compress.LZ4Compressor"),
            ]),
            memtable: "default".to_string(),
            crc_check_chance: 1.0,
            default_time_to_live_seconds: 0,
            extensions: BTreeMap::new(),
            gc_grace_seconds: 864_000,
            max_index_interval: 2048,
            memtable_flush_period_in_ms: 0,
            min_index_interval: 128,
            read_repair: ReadRepair::Blocking,
            speculative_retry: SpeculativeRetry::default(),
        }
    }
}

/// `caching = {'keys': …, 'rows_per_partition': …}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caching {
    pub keys: bool,
    pub rows: RowsCached,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsCached {
    None,
    All,
    Head(u32),
}

impl Default for Caching {
    fn default() -> Self {
        Caching { keys: true, rows: RowsCached::None }
    }
}

impl Caching {
    pub fn map(&self) -> BTreeMap<String, String> {
        let rows = match self.rows {
            RowsCached::None => "NONE".to_string(),
            RowsCached::All => "ALL".to_string(),
            RowsCached::Head(count) => count.to_string(),
        };
        let keys = if self.keys { "ALL" } else { "NONE" };
        BTreeMap::from([("keys".to_string(), keys.to_string()), ("rows_per_partition".to_string(), rows)])
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadRepair {
    Blocking,
    None,
}

impl ReadRepair {
    pub fn name(self) -> &'static str {
        match self {
            ReadRepair::Blocking => "BLOCKING",
            ReadRepair::None => "NONE",
        }
    }
}

/// `speculative_retry` and `additional_write_policy`, in the canonical spelling that they are shown in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpeculativeRetry(pub String);

impl Default for SpeculativeRetry {
    fn default() -> Self {
        SpeculativeRetry("99p".to_string())
    }
}

impl fmt::Display for SpeculativeRetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One option with its value: what CREATE and ALTER TABLE set, and how options are stored.
#[derive(Clone, Debug, PartialEq)]
pub enum TableOption {
    AdditionalWritePolicy(SpeculativeRetry),
    BloomFilterFpChance(f64),
    Caching(Caching),
    Cdc(bool),
    Comment(String),
    Compaction(BTreeMap<String, String>),
    Compression(BTreeMap<String, String>),
    Memtable(String),
    CrcCheckChance(f64),
    DefaultTimeToLive(u32),
    Extensions(BTreeMap<String, Bytes>),
    GcGraceSeconds(u32),
    MaxIndexInterval(u32),
    MemtableFlushPeriod(u32),
    MinIndexInterval(u32),
    ReadRepair(ReadRepair),
    SpeculativeRetry(SpeculativeRetry),
}

/// The longest time to live, in seconds: 20 years, as in Cassandra.
pub const TIME_TO_LIVE_SECONDS_MAX: u32 = 20 * 365 * 24 * 60 * 60;

/// The smallest false-positive chance that a bloom filter of Cassandra can have.
pub const BLOOM_FILTER_FP_CHANCE_MIN: f64 = 6.71e-5;

impl TableOptions {
    pub fn set(&mut self, option: TableOption) {
        match option {
            TableOption::AdditionalWritePolicy(value) => self.additional_write_policy = value,
            TableOption::BloomFilterFpChance(value) => self.bloom_filter_fp_chance = value,
            TableOption::Caching(value) => self.caching = value,
            TableOption::Cdc(value) => self.cdc = value,
            TableOption::Comment(value) => self.comment = value,
            TableOption::Compaction(value) => self.compaction = value,
            TableOption::Compression(value) => self.compression = value,
            TableOption::Memtable(value) => self.memtable = value,
            TableOption::CrcCheckChance(value) => self.crc_check_chance = value,
            TableOption::DefaultTimeToLive(value) => self.default_time_to_live_seconds = value,
            TableOption::Extensions(value) => self.extensions = value,
            TableOption::GcGraceSeconds(value) => self.gc_grace_seconds = value,
            TableOption::MaxIndexInterval(value) => self.max_index_interval = value,
            TableOption::MemtableFlushPeriod(value) => self.memtable_flush_period_in_ms = value,
            TableOption::MinIndexInterval(value) => self.min_index_interval = value,
            TableOption::ReadRepair(value) => self.read_repair = value,
            TableOption::SpeculativeRetry(value) => self.speculative_retry = value,
        }
    }

    /// Every option with its value: setting them on the defaults gives these options again.
    pub fn all(&self) -> Vec<TableOption> {
        vec![
            TableOption::AdditionalWritePolicy(self.additional_write_policy.clone()),
            TableOption::BloomFilterFpChance(self.bloom_filter_fp_chance),
            TableOption::Caching(self.caching),
            TableOption::Cdc(self.cdc),
            TableOption::Comment(self.comment.clone()),
            TableOption::Compaction(self.compaction.clone()),
            TableOption::Compression(self.compression.clone()),
            TableOption::Memtable(self.memtable.clone()),
            TableOption::CrcCheckChance(self.crc_check_chance),
            TableOption::DefaultTimeToLive(self.default_time_to_live_seconds),
            TableOption::Extensions(self.extensions.clone()),
            TableOption::GcGraceSeconds(self.gc_grace_seconds),
            TableOption::MaxIndexInterval(self.max_index_interval),
            TableOption::MemtableFlushPeriod(self.memtable_flush_period_in_ms),
            TableOption::MinIndexInterval(self.min_index_interval),
            TableOption::ReadRepair(self.read_repair),
            TableOption::SpeculativeRetry(self.speculative_retry.clone()),
        ]
    }

    /// Whether the values are possible, each and together; the text is Cassandra's.
    pub fn check(&self) -> Result<(), String> {
        let chance = self.bloom_filter_fp_chance;
        if !(chance > BLOOM_FILTER_FP_CHANCE_MIN && chance <= 1.0) {
            return Err(format!(
                "bloom_filter_fp_chance must be larger than {BLOOM_FILTER_FP_CHANCE_MIN:E} and less than or equal to 1.0 \
                 (got {chance:?})"
            ));
        }
        if !(0.0..=1.0).contains(&self.crc_check_chance) {
            return Err(format!(
                "crc_check_chance must be larger than or equal to 0 and smaller than or equal to 1.0 (got {:?})",
                self.crc_check_chance
            ));
        }
        if self.default_time_to_live_seconds > TIME_TO_LIVE_SECONDS_MAX {
            return Err(format!(
                "default_time_to_live must be less than or equal to {TIME_TO_LIVE_SECONDS_MAX} (got {})",
                self.default_time_to_live_seconds
            ));
        }
        if self.min_index_interval < 1 {
            return Err(format!(
                "min_index_interval must be greater than or equal to 1 (got {})",
                self.min_index_interval
            ));
        }
        if self.max_index_interval < self.min_index_interval {
            return Err(format!(
                "max_index_interval must be greater than or equal to min_index_interval ({}) (got {})",
                self.min_index_interval, self.max_index_interval
            ));
        }
        Ok(())
    }
}
