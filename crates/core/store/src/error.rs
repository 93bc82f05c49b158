//! What can go wrong in the engine. Damage always names the file and the offset.

use holon_base::{ShortInput, TabletId};
use holon_kernel::disk::DiskError;
use holon_wal::WalError;
use thiserror::Error;

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StoreError {
    /// A file does not hold what was written to it. Nothing from it was used.
    #[error("{file} is damaged at byte {offset}: {detail}; restore it from a snapshot or another replica")]
    Damaged { file: String, offset: u64, detail: String },
    #[error(
        "{file} has format version {version}, this build reads up to {supported}: run the newer build on this data"
    )]
    NewerFormat { file: String, version: u32, supported: u32 },
    #[error(transparent)]
    Disk(DiskError),
    /// No room left. Nothing was written; reads go on.
    #[error("the disk is full ({detail}): free space, then write again")]
    DiskFull { detail: String },
    /// The outcome of the write is unknown: the log may or may not hold it.
    #[error("the engine stopped: {reason}")]
    Stopped { reason: String },
    #[error("writes are ahead of the disk by {queued_bytes} bytes: write slower or try again")]
    Overloaded { queued_bytes: usize },
    #[error("tablet {0} is not on this shard")]
    NoSuchTablet(TabletId),
    #[error("{what} of {size} bytes is larger than the limit of {limit}")]
    TooLarge { what: &'static str, size: usize, limit: usize },
    /// The encoding of a mutation that was handed in; never of anything on disk.
    #[error("malformed mutation at byte {offset}: {detail}")]
    Malformed { offset: usize, detail: &'static str },
    #[error("snapshot {name:?}: {detail}")]
    Snapshot { name: String, detail: String },
}

impl From<DiskError> for StoreError {
    fn from(error: DiskError) -> Self {
        WalError::from(error).into()
    }
}

impl From<WalError> for StoreError {
    fn from(error: WalError) -> Self {
        match error {
            WalError::Damaged { file, offset, detail } => StoreError::Damaged { file, offset, detail },
            WalError::NewerFormat { file, version, supported } => StoreError::NewerFormat { file, version, supported },
            WalError::Disk(error) => StoreError::Disk(error),
            WalError::DiskFull { detail } => StoreError::DiskFull { detail },
            WalError::Stopped { reason } => StoreError::Stopped { reason },
        }
    }
}

/// Why bytes could not be decoded, relative to their start; whoever knows the file adds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    pub offset: usize,
    pub detail: &'static str,
}

impl Malformed {
    pub fn new(offset: usize, detail: &'static str) -> Self {
        Malformed { offset, detail }
    }

    pub fn in_file(self, file: &str, base: u64) -> StoreError {
        StoreError::Damaged { file: file.to_owned(), offset: base + self.offset as u64, detail: self.detail.to_owned() }
    }
}

impl From<ShortInput> for Malformed {
    fn from(short: ShortInput) -> Self {
        Malformed { offset: short.offset, detail: "a length or number runs beyond the end" }
    }
}

impl From<Malformed> for StoreError {
    fn from(malformed: Malformed) -> Self {
        StoreError::Malformed { offset: malformed.offset, detail: malformed.detail }
    }
}

pub(crate) fn damaged(file: &str, offset: u64, detail: impl Into<String>) -> StoreError {
    StoreError::Damaged { file: file.to_owned(), offset, detail: detail.into() }
}
