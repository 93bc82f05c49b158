//! What the owner of a store decides.

use crate::store::limits::{SEGMENT_BYTES, SEGMENT_MS};
use holon_base::TabletId;
use std::rc::Rc;
use std::time::Duration;

/// Of one partition, as its topic has it.
#[derive(Clone, Copy, Debug)]
pub struct PartitionOptions {
    /// A segment that would grow beyond it is full.
    pub segment_bytes: u64,
    /// A segment is full if a batch comes that is by so much younger than its first one (`segment.ms`).
    pub segment_ms: i64,
    /// Each segment is full by so much earlier, drawn for each, at most (`segment.jitter.ms`): lest those of all partitions are at once.
    pub segment_jitter_ms: i64,
    /// Producers that wrote last so long ago are forgotten (`producer.id.expiration.ms`).
    pub producer_expiration: Duration,
}

impl Default for PartitionOptions {
    fn default() -> Self {
        let producer_expiration = Duration::from_secs(24 * 3600);
        PartitionOptions {
            segment_bytes: SEGMENT_BYTES,
            segment_ms: SEGMENT_MS,
            segment_jitter_ms: 0,
            producer_expiration,
        }
    }
}

#[derive(Clone)]
pub struct StoreOptions {
    /// Strictly larger at each start of the node: the upper part of every log sequence number.
    pub boot: u32,
    pub wal_segment_bytes: u64,
    /// The shared log; when half of it is used a checkpoint is made, which lets go of what it can.
    pub wal_bytes_max: u64,
    /// Batches that wait for the log; beyond it appends wait or are refused.
    pub queue_bytes_max: usize,
    /// Batches that are in the log and in no segment; beyond it likewise.
    pub unwritten_bytes_max: usize,
    /// Batches kept in memory for readers that follow.
    pub kept_bytes_max: usize,
    /// How long an acknowledged batch of `Durability::Periodic` may take to reach the medium.
    pub periodic_sync_ms: u64,
    /// A checkpoint is made so long after the last, if there is something new.
    pub checkpoint_interval: Duration,
    pub partition: Rc<dyn Fn(TabletId) -> PartitionOptions>,
    /// An end of a partition moved, or the partition is gone.
    pub moved: Rc<dyn Fn(TabletId)>,
    /// Takes a line for people, when something begins to go wrong or is right again.
    pub tell: Rc<dyn Fn(String)>,
}

impl StoreOptions {
    pub fn new(boot: u32) -> Self {
        StoreOptions {
            boot,
            wal_segment_bytes: 64 << 20,
            wal_bytes_max: 1 << 30,
            queue_bytes_max: 64 << 20,
            unwritten_bytes_max: 256 << 20,
            kept_bytes_max: 128 << 20,
            periodic_sync_ms: 1_000,
            checkpoint_interval: Duration::from_secs(60),
            partition: Rc::new(|_| PartitionOptions::default()),
            moved: Rc::new(|_| ()),
            tell: Rc::new(|_| ()),
        }
    }
}
