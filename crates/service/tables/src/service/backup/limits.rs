//! Every bound of backups, with its unit and its reason.

use std::time::Duration;

/// The name of a backup becomes that of a directory, bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// One block of a file, bytes: what the largest mutation takes, and a little.
pub const BLOCK_BYTES_MAX: usize = 32 << 20;

/// The manifest, bytes: it is read into memory. A million files have room in it.
pub const MANIFEST_BYTES_MAX: usize = 64 << 20;

/// Batches that are not carried out yet when a backup is taken, bytes: they are collected in memory. More of them wait only
/// while nodes are away.
pub const BATCH_BYTES_MAX: usize = 64 << 20;

/// Tablets that are read, or files that are restored, side by side: each takes a page of each replica in memory.
pub const AT_ONCE: usize = 4;

/// A write of a restore is tried for so long, at all replicas, before the restore ends.
pub const RESTORE_PATIENCE: Duration = Duration::from_secs(30);

/// Between two tries.
pub const RESTORE_PAUSE: Duration = Duration::from_secs(1);

/// Between two lines of progress.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
