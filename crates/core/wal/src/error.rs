//! What can go wrong with a log. Damage always names the file and the offset.

use holon_kernel::disk::{DiskError, DiskErrorKind};
use thiserror::Error;

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WalError {
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
    #[error("the log stopped: {reason}")]
    Stopped { reason: String },
}

impl From<DiskError> for WalError {
    fn from(error: DiskError) -> Self {
        match error.kind {
            DiskErrorKind::Full => WalError::DiskFull { detail: error.to_string() },
            _ => WalError::Disk(error),
        }
    }
}

pub(crate) fn damaged(file: &str, offset: u64, detail: impl Into<String>) -> WalError {
    WalError::Damaged { file: file.to_owned(), offset, detail: detail.into() }
}
