//! What can go wrong with partitions on disk, and with a batch that is to be appended.

use holon_base::TabletId;
use holon_kernel::disk::DiskError;
use holon_wal::WalError;
use thiserror::Error;

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LogError {
    /// Damage, a full disk, a stop: nothing was written.
    #[error(transparent)]
    Wal(WalError),
    #[error("partition {0} is not on this shard")]
    NotHere(TabletId),
    #[error("writes are ahead of the disk by {queued_bytes} bytes: write slower or try again")]
    Overloaded { queued_bytes: usize },
    #[error("{what} of {size} bytes is larger than the limit of {limit}")]
    TooLarge { what: &'static str, size: usize, limit: usize },
    /// Its producer has it appended already: this is where.
    #[error("the batch is at offset {base_offset} already")]
    Duplicate { base_offset: i64, append_time_ms: i64 },
    #[error("the producer's epoch {epoch} is over, {newest} is in force: another one has taken its place")]
    Fenced { epoch: i16, newest: i16 },
    #[error("the coordinator's epoch {epoch} is older than {newest}: another one has taken its place")]
    CoordinatorFenced { epoch: i32, newest: i32 },
    #[error("the batch is of a transaction, and its producer has none open in this partition")]
    NotInTransaction,
    #[error("the batch is of no transaction, and its producer has one open in this partition")]
    InTransaction,
    #[error("sequence number {got} came where {expected} is next")]
    OutOfOrder { expected: i32, got: i32 },
    #[error("offset {offset} is not in the log, which has {start} to {end}")]
    OutOfRange { offset: i64, start: i64, end: i64 },
}

/// Why batches that have their offsets already are not appended.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CopyError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("a copied batch begins at offset {offset}, and {next} is next: fetch from there")]
    NotNext { offset: i64, next: i64 },
    #[error("leader epoch {epoch} is over, {newest} has batches in the log: another leader has taken its place")]
    OldLeader { epoch: i32, newest: i32 },
    #[error("copied batches cannot be used, at byte {at}: {detail}")]
    NotABatch { at: usize, detail: String },
}

impl CopyError {
    /// Of a batch that is no copy. One of an old leader is told what it would be told where no replica is.
    pub fn of_no_copy(self, partition: TabletId) -> LogError {
        match self {
            CopyError::Log(error) => error,
            CopyError::OldLeader { .. } => LogError::NotHere(partition),
            CopyError::NotNext { offset, next } => LogError::OutOfRange { offset, start: next, end: next },
            CopyError::NotABatch { at, detail } => damaged("a batch", at as u64, detail),
        }
    }
}

impl From<WalError> for CopyError {
    fn from(error: WalError) -> Self {
        CopyError::Log(error.into())
    }
}

impl From<WalError> for LogError {
    fn from(error: WalError) -> Self {
        LogError::Wal(error)
    }
}

impl From<DiskError> for LogError {
    fn from(error: DiskError) -> Self {
        LogError::Wal(error.into())
    }
}

pub fn damaged(file: &str, offset: u64, detail: impl Into<String>) -> LogError {
    LogError::Wal(WalError::Damaged { file: file.to_owned(), offset, detail: detail.into() })
}

pub fn stopped() -> LogError {
    LogError::Wal(WalError::Stopped { reason: "the shard stopped".into() })
}
