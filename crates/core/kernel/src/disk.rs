//! The contract of a disk, in completion style.
//!
//! A shard owns one `Disk`. It submits operations and gets completions, at once (`Some` from [`Disk::submit`], e.g. a read
//! the page cache can answer) or later, as an input of the shard ([`crate::Shard::complete_disk`]). The buffer of a write
//! belongs to the disk until its completion hands it back.
//!
//! Paths are relative to the node's data directory, `/`-separated, without `.` or `..`.
//!
//! What a disk may do, and what code above must therefore survive:
//!
//! | operation | before its sync | after |
//! | --- | --- | --- |
//! | `WriteAt` | may vanish, may be reordered with every other write, may tear at 512 B boundaries (4 KiB on most disks) | stays, until the medium rots |
//! | `WriteAt` with `durable` | the same until its completion, which is its sync: for these bytes only, and not for writes before it | stays |
//! | `Allocate`, `Truncate` | the new length may vanish | stays after `Sync` of the file |
//! | `Open` with `create`, `Rename`, `Remove`, `Link`, `CreateDir` | may vanish, may be reordered; a rename is never torn | stays after `SyncDir` of the directory (both, if it moved between two) |
//! | `Sync`, or a durable write, that failed | everything since the last good sync is lost or not: nobody knows | the file is poisoned: each later operation on it fails; the shard stops; it is never retried |
//!
//! Operations on one file that are in flight together may run in any order. Reads see completed writes.
//!
//! One test-suite ([`crate::disk_suite`]) runs on every implementation.

use bytes::Bytes;
use thiserror::Error;

/// Alignment of buffers, offsets and lengths of files opened with `direct`.
pub const DISK_ALIGNMENT_BYTES: usize = 4096;

/// Names an operation between submission and completion; chosen by the shard, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub u64);

/// An open file of one shard's disk. Not reused while the node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u64);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Make the file if it is missing (empty). Without it a missing file is [`DiskErrorKind::NotFound`].
    pub create: bool,
    /// Bypass the page cache where the file system offers it; offsets, lengths and buffers of writes must then be aligned
    /// to [`DISK_ALIGNMENT_BYTES`]. Where it is not offered the file is opened without, silently: this is about speed only.
    pub direct: bool,
}

#[derive(Debug)]
pub enum DiskOperation {
    Open {
        path: String,
        options: OpenOptions,
    },
    Close {
        file: FileId,
    },
    ReadAt {
        file: FileId,
        offset: u64,
        length: usize,
    },
    WriteAt {
        file: FileId,
        offset: u64,
        buffer: DiskBuffer,
        /// Complete only when these bytes, and a length they changed, are on the medium: a write and its sync in one.
        durable: bool,
    },
    /// Make the content and the length of the file durable.
    Sync {
        file: FileId,
    },
    /// Reserve room and extend the file with zeroes up to `length` bytes.
    Allocate {
        file: FileId,
        length: u64,
    },
    Truncate {
        file: FileId,
        length: u64,
    },
    /// Make the entries of a directory durable (`""` is the data directory).
    SyncDir {
        path: String,
    },
    /// Replaces `to` if it exists.
    Rename {
        from: String,
        to: String,
    },
    /// A file.
    Remove {
        path: String,
    },
    /// An empty directory.
    RemoveDir {
        path: String,
    },
    /// A hard link; `to` must not exist.
    Link {
        from: String,
        to: String,
    },
    /// With its parents; fine if it exists.
    CreateDir {
        path: String,
    },
    /// The entries of a directory, sorted by name.
    List {
        path: String,
    },
}

/// What came of an operation.
pub type DiskResult = Result<DiskOutput, DiskError>;

#[derive(Debug)]
pub enum DiskOutput {
    Opened {
        file: FileId,
        length: u64,
    },
    /// At most `length` bytes; fewer only at the end of the file.
    Read(Bytes),
    /// The whole buffer was written; here it is back.
    Written(DiskBuffer),
    Listed(Vec<DirectoryEntry>),
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    pub name: String,
    pub is_directory: bool,
    pub length: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskErrorKind {
    NotFound,
    AlreadyExists,
    /// No room left (ENOSPC, EDQUOT).
    Full,
    Permission,
    /// An earlier sync of this file failed.
    Poisoned,
    /// Everything else, EIO first of all.
    Io,
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{operation} {path}: {detail}")]
pub struct DiskError {
    pub kind: DiskErrorKind,
    /// `open`, `read at 4096`, `sync`, …
    pub operation: String,
    pub path: String,
    pub detail: String,
}

/// A disk of one shard. Implemented by `edge` (files) and `sim` (memory, with faults).
pub trait Disk {
    /// Starts an operation. `Some`: it is complete already; `None`: the completion arrives later under `id`.
    fn submit(&mut self, id: OperationId, operation: DiskOperation) -> Option<DiskResult>;
}

/// An owned, growable byte buffer whose first byte is aligned to [`DISK_ALIGNMENT_BYTES`], as direct IO wants it.
pub struct DiskBuffer {
    bytes: Vec<u8>,
    start: usize,
}

impl DiskBuffer {
    pub fn with_capacity(capacity: usize) -> Self {
        let mut bytes: Vec<u8> = Vec::with_capacity(capacity + DISK_ALIGNMENT_BYTES);
        let start = bytes.as_ptr().align_offset(DISK_ALIGNMENT_BYTES);
        bytes.resize(start, 0);
        DiskBuffer { bytes, start }
    }

    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn capacity(&self) -> usize {
        self.bytes.capacity() - self.start
    }

    pub fn clear(&mut self) {
        self.bytes.truncate(self.start);
    }

    pub fn truncate(&mut self, length: usize) {
        self.bytes.truncate(self.start + length);
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }

    /// Appends; moves to a larger aligned home if the room is used up.
    pub fn extend_from_slice(&mut self, more: &[u8]) {
        self.reserve(more.len());
        self.bytes.extend_from_slice(more);
    }

    /// Appends zeroes until the length is a multiple of `alignment`.
    pub fn pad_to(&mut self, alignment: usize) {
        self.pad_with_zeroes(self.len().next_multiple_of(alignment) - self.len());
    }

    /// Appends so many zeroes.
    pub fn pad_with_zeroes(&mut self, more: usize) {
        self.reserve(more);
        self.bytes.resize(self.bytes.len() + more, 0);
    }

    fn reserve(&mut self, more: usize) {
        if self.bytes.capacity() - self.bytes.len() < more {
            let mut larger = DiskBuffer::with_capacity((self.len() + more).next_power_of_two());
            larger.bytes.extend_from_slice(self.as_slice());
            *self = larger;
        }
    }
}

impl Clone for DiskBuffer {
    fn clone(&self) -> Self {
        let mut copy = DiskBuffer::with_capacity(self.len());
        copy.extend_from_slice(self.as_slice());
        copy
    }
}

impl From<&[u8]> for DiskBuffer {
    fn from(bytes: &[u8]) -> Self {
        let mut buffer = DiskBuffer::with_capacity(bytes.len());
        buffer.extend_from_slice(bytes);
        buffer
    }
}

impl std::fmt::Debug for DiskBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DiskBuffer({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_stay_aligned_while_they_grow() {
        let mut buffer = DiskBuffer::with_capacity(10);
        for round in 0..2000usize {
            buffer.extend_from_slice(&round.to_le_bytes());
            assert_eq!(buffer.as_slice().as_ptr().align_offset(DISK_ALIGNMENT_BYTES), 0);
        }
        assert_eq!(&buffer.as_slice()[8 * 1999..], &1999usize.to_le_bytes());
        buffer.pad_to(4096);
        assert_eq!(buffer.len() % 4096, 0);
        assert_eq!(buffer.clone().as_slice(), buffer.as_slice());
    }
}
