//! What the owner of an engine decides.

use holon_base::TabletId;
use std::rc::Rc;

/// Names the part of a key that reads share (a CQL partition), so that bloom filters can answer for all of it at once.
#[derive(Clone, Copy, Debug, Default)]
pub enum KeyPrefix {
    #[default]
    None,
    /// The first so many bytes; keys that are shorter have no prefix.
    Fixed(usize),
    /// The length of the prefix of this key, if it has one. `id` names the function on disk: choose a new one when
    /// the function changes (older tables are then read without their prefix filter until they are compacted).
    Function { id: u32, length: fn(&[u8]) -> Option<usize> },
}

impl KeyPrefix {
    pub(crate) fn id(&self) -> u64 {
        match self {
            KeyPrefix::None => 0,
            KeyPrefix::Fixed(length) => (1 << 32) | *length as u64,
            KeyPrefix::Function { id, .. } => (2 << 32) | u64::from(*id),
        }
    }

    pub(crate) fn of<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            KeyPrefix::None => None,
            KeyPrefix::Fixed(length) => key.get(..*length),
            KeyPrefix::Function { length, .. } => length(key).and_then(|length| key.get(..length)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Lz4,
    Zstd,
}

/// One strategy with a scaling parameter per level (Cassandra's CEP-26). `w > 0` is tiered with fan-out `w + 2`: that
/// many sorted runs gather before they are merged (cheap writes). `w < 0` is levelled with fan-out `2 - w`: a level
/// holds one run, merged with each that arrives (cheap reads). 0 is the middle of the two.
#[derive(Clone, Debug, PartialEq)]
pub struct CompactionOptions {
    /// `w` of level 0, 1, …; the last holds for all above.
    pub scaling: Vec<i32>,
    /// The size of a run that belongs to level 0; a level is a fan-out larger than the one below.
    pub level_zero_bytes: u64,
    /// A run is cut into tables of about this size.
    pub table_bytes: u64,
    /// A table with at least this share of purgeable tombstones among its rows is rewritten alone.
    pub tombstone_ratio: f64,
}

impl Default for CompactionOptions {
    fn default() -> Self {
        CompactionOptions { scaling: vec![2], level_zero_bytes: 16 << 20, table_bytes: 256 << 20, tombstone_ratio: 0.2 }
    }
}

/// Which tombstones may be forgotten, as far as other replicas are concerned. Whether data that they cover may still be
/// around on this one the engine knows itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgePolicy {
    /// All replicas have what this one has; a lone copy counts.
    pub repaired: bool,
    /// Only tombstones whose local deletion time lies before this second.
    pub before_seconds: i64,
}

impl PurgePolicy {
    pub const NEVER: PurgePolicy = PurgePolicy { repaired: false, before_seconds: i64::MIN };

    pub fn allows(&self, local_seconds: i64) -> bool {
        self.repaired && local_seconds < self.before_seconds
    }
}

#[derive(Clone)]
pub struct TabletOptions {
    pub prefix: KeyPrefix,
    pub compaction: CompactionOptions,
    /// Uncompressed bytes of a block. Larger: better compression and a smaller index; smaller: cheaper point reads,
    /// which unpack one block each. 4 KiB reads a row twice as fast as 16 KiB and scans as fast (`bench/store`).
    pub block_bytes: usize,
    pub compression: Compression,
    /// Of the largest runs (those of the highest level in use, above level 0).
    pub bottom_compression: Compression,
    /// Bits of bloom filter a key; 10 let through one absent key in a hundred.
    pub bloom_bits: u32,
    /// Other replicas have the data too: opened with a file that is damaged, the tablet refuses reads until that is made good
    /// ([`crate::Engine::begin_mending`]). Else it is not opened.
    pub has_copies: bool,
    /// Asked at the start of each compaction, with the wall clock in seconds.
    pub purge: Rc<dyn Fn(i64) -> PurgePolicy>,
}

impl Default for TabletOptions {
    fn default() -> Self {
        TabletOptions {
            prefix: KeyPrefix::None,
            compaction: CompactionOptions::default(),
            block_bytes: 4 << 10,
            compression: Compression::Lz4,
            bottom_compression: Compression::Lz4,
            bloom_bits: 10,
            has_copies: false,
            purge: Rc::new(|_| PurgePolicy::NEVER),
        }
    }
}

#[derive(Clone)]
pub struct EngineOptions {
    /// Strictly larger at each start of the node: the upper part of every log sequence number.
    pub boot: u32,
    /// This shard, of so many: it owns the tablets with `tablet.shard(shards) == shard`.
    pub shard: u16,
    pub shards: u16,
    /// Memtables of this shard together; the largest is flushed when they grow beyond it.
    pub memtable_bytes: usize,
    /// Blocks of tables kept in memory.
    pub cache_bytes: usize,
    pub segment_bytes: u64,
    /// All log segments together; beyond it the tablets that hold the oldest are flushed.
    pub log_bytes_max: u64,
    /// Mutations that wait for the log; beyond it writes wait or are refused.
    pub queue_bytes_max: usize,
    /// How long an acknowledged write of [`Durability::Periodic`] may take to reach the medium.
    pub periodic_sync_ms: u64,
    /// Sorted runs of one tablet from which on writes wait for compaction.
    pub stall_runs: usize,
    /// Whether the engine compacts by itself. Off for tests that choose the moment.
    pub automatic_compaction: bool,
    /// The options of a tablet that is found on disk, or created.
    pub tablet_options: Rc<dyn Fn(TabletId) -> TabletOptions>,
    /// Takes a line for people, when something begins to go wrong or is right again.
    pub tell: Rc<dyn Fn(String)>,
}

impl EngineOptions {
    pub fn new(boot: u32, shard: u16, shards: u16) -> Self {
        EngineOptions {
            boot,
            shard,
            shards,
            memtable_bytes: 64 << 20,
            cache_bytes: 64 << 20,
            segment_bytes: 32 << 20,
            log_bytes_max: 1 << 30,
            queue_bytes_max: 16 << 20,
            periodic_sync_ms: 10_000,
            stall_runs: 48,
            automatic_compaction: true,
            tablet_options: Rc::new(|_| TabletOptions::default()),
            tell: Rc::new(|_| ()),
        }
    }
}
