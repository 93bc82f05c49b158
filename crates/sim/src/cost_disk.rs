//! How long a disk takes in the model of costs: a solid-state drive of a small server behind a page cache.

use crate::disk::SimDiskState;
use holon_base::Instant;
use holon_kernel::DiskOperation;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// What a drive takes and gives, all operations together.
const BYTES_PER_SECOND: u64 = 1_000_000_000;

/// What each operation occupies the drive for: 100,000 a second.
const ACCESS: Duration = Duration::from_micros(10);

/// What a read from the medium takes besides.
const READ_LATENCY: Duration = Duration::from_micros(80);

/// A write of the log that is durable when it completes (91 µs in docs/PERFORMANCE.md).
const DURABLE_WRITE_LATENCY: Duration = Duration::from_micros(80);

/// A sync of what was written before (500 to 1,100 µs in docs/PERFORMANCE.md).
const SYNC_LATENCY: Duration = Duration::from_micros(500);

/// The page cache of a node, bytes: a part of what it has, so that some reads come from the medium.
const CACHE_BYTES: u64 = 8 << 20;

/// What the page cache takes in at a time, bytes.
const CACHE_BLOCK_BYTES: u64 = 16 << 10;

type Block = (u64, u64);

/// The queue of a drive, and what of it is cached.
#[derive(Default)]
pub struct Medium {
    free_at: Instant,
    cached: BTreeSet<Block>,
    /// First in, first out.
    order: VecDeque<Block>,
    /// Since they were last taken out.
    pub read_bytes: u64,
    pub written_bytes: u64,
}

impl Medium {
    /// When an operation is done; `None`: at once, from the cache.
    fn due(&mut self, now: Instant, operation: &DiskOperation, inode: u64) -> Option<Instant> {
        let (bytes, latency) = match operation {
            DiskOperation::ReadAt { offset, length, .. } => {
                self.read_bytes += *length as u64;
                if !self.take_in(inode, *offset, *length as u64) {
                    return None;
                }
                (*length as u64, READ_LATENCY)
            }
            DiskOperation::WriteAt { offset, buffer, durable, .. } => {
                let bytes = buffer.len() as u64;
                self.written_bytes += bytes;
                self.take_in(inode, *offset, bytes);
                if !durable {
                    // It is in the page cache at once, and keeps the drive busy all the same.
                    self.occupy(now, bytes);
                    return Some(now + ACCESS);
                }
                (bytes, DURABLE_WRITE_LATENCY)
            }
            DiskOperation::Sync { .. } | DiskOperation::SyncDir { .. } => (0, SYNC_LATENCY),
            DiskOperation::Close { .. } => return None,
            _ => return Some(now + ACCESS),
        };
        Some(self.occupy(now, bytes) + latency)
    }

    fn occupy(&mut self, now: Instant, bytes: u64) -> Instant {
        self.free_at = now.max(self.free_at) + ACCESS + Duration::from_nanos(bytes * 1_000_000_000 / BYTES_PER_SECOND);
        self.free_at
    }

    /// Whether a part of it was not in the cache.
    fn take_in(&mut self, inode: u64, offset: u64, bytes: u64) -> bool {
        let mut missed = false;
        for block in offset / CACHE_BLOCK_BYTES..(offset + bytes).div_ceil(CACHE_BLOCK_BYTES) {
            if self.cached.insert((inode, block)) {
                missed = true;
                self.order.push_back((inode, block));
            }
        }
        while self.order.len() as u64 > CACHE_BYTES / CACHE_BLOCK_BYTES {
            if let Some(oldest) = self.order.pop_front() {
                self.cached.remove(&oldest);
            }
        }
        missed
    }
}

impl SimDiskState {
    /// When an operation completes by the model of costs; `None`: at once.
    pub(crate) fn due_at_cost(&mut self, operation: &DiskOperation) -> Option<Instant> {
        let inode = match operation {
            DiskOperation::ReadAt { file, .. } | DiskOperation::WriteAt { file, .. } => self.inode_of(*file),
            _ => 0,
        };
        let now = self.now;
        self.medium.as_mut()?.due(now, operation, inode)
    }
}
