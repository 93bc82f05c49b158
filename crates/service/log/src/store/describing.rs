//! What people are told of a partition: its producers, and what it takes.

use crate::store::error::LogError;
use crate::store::{LogStore, writer};
use holon_base::TabletId;

/// An idempotent or transactional producer as a partition knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownProducer {
    pub id: i64,
    pub epoch: i16,
    /// -1: it wrote nothing in this epoch.
    pub last_sequence: i32,
    /// When it wrote last, by the wall clock, milliseconds.
    pub last_ms: i64,
    /// Of the coordinator that wrote its last marker; -1: none did.
    pub coordinator_epoch: i32,
    /// The first offset of its open transaction.
    pub open: Option<i64>,
}

impl LogStore {
    /// By their ids.
    ///
    /// # Errors
    /// [`LogError::NotHere`].
    pub fn producers(&self, partition: TabletId) -> Result<Vec<KnownProducer>, LogError> {
        Ok(self.inner.partition(partition)?.producers.borrow().known().collect())
    }

    /// Bytes of its batches, in segments and on the way there.
    ///
    /// # Errors
    /// Its files cannot be looked at.
    pub async fn bytes(&self, partition: TabletId) -> Result<u64, LogError> {
        let partition = self.inner.partition(partition)?;
        writer::segments_of(&self.inner, &partition).await?;
        Ok(partition.bytes())
    }
}
