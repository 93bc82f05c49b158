//! What is read of a partition: whole batches from an offset on, or where a time is.

use crate::store::partition::{Batches, Partition};
use crate::store::{Inner, LogError, LogStore, count, error, segment, writer};
use holon_base::TabletId;
use holon_kafka::BatchHeader;
use holon_kernel::Ticket;
use std::future::Future;
use std::rc::Rc;

impl LogStore {
    /// The first offset that counts, and the next one.
    ///
    /// # Errors
    /// [`LogError::NotHere`].
    pub fn ends(&self, partition: TabletId) -> Result<(i64, i64), LogError> {
        let partition = self.inner.partition(partition)?;
        Ok((partition.start.get(), partition.end.get()))
    }

    /// The last epoch that is not after this one, and where it ended; `None`: there is none so old.
    ///
    /// # Errors
    /// [`LogError::NotHere`].
    pub fn end_of_epoch(&self, partition: TabletId, epoch: i32) -> Result<Option<(i32, i64)>, LogError> {
        let partition = self.inner.partition(partition)?;
        Ok(partition.epochs.borrow().end_of(epoch, partition.end.get()))
    }

    /// What consumers get nothing from on: the end, or the limit before it ([`LogStore::set_limit`]).
    ///
    /// # Errors
    /// [`LogError::NotHere`].
    pub fn high_watermark(&self, partition: TabletId) -> Result<i64, LogError> {
        Ok(self.inner.partition(partition)?.high_watermark())
    }

    /// Completes when the start, the end or the high watermark moves.
    ///
    /// # Errors
    /// [`LogError::NotHere`].
    pub fn moved(&self, partition: TabletId) -> Result<Ticket<()>, LogError> {
        Ok(self.inner.partition(partition)?.moved.wait(&self.inner.shard))
    }

    /// Whole batches, the first of which has `offset`: up to `bytes_max` of them, or one; all of whose records are before `below` and the high
    /// watermark.
    ///
    /// # Errors
    /// [`LogError::OutOfRange`], or the file is damaged.
    pub async fn read(
        &self,
        partition: TabletId,
        offset: i64,
        below: i64,
        bytes_max: usize,
    ) -> Result<Batches, LogError> {
        let found = self.inner.partition(partition)?;
        let below = below.min(found.high_watermark());
        self.inner.read(&found, offset, below, bytes_max).await
    }

    /// The same, up to the end: for those who have to have what consumers do not get yet.
    ///
    /// # Errors
    /// As [`LogStore::read`].
    pub async fn read_to_end(
        &self,
        partition: TabletId,
        offset: i64,
        below: i64,
        bytes_max: usize,
    ) -> Result<Batches, LogError> {
        let partition = self.inner.partition(partition)?;
        self.inner.read(&partition, offset, below, bytes_max).await
    }

    /// The first batch with a record at this time or after it; its header. `None` as well if consumers do not get it yet.
    ///
    /// # Errors
    /// A file is damaged.
    pub async fn find_time(
        &self,
        partition: TabletId,
        time_ms: i64,
        from: i64,
    ) -> Result<Option<BatchHeader>, LogError> {
        let partition = self.inner.partition(partition)?;
        let look = || self.inner.find_time(&partition, time_ms, from.max(partition.start.get()));
        let found = partition.unchanged(look).await?;
        Ok(found.filter(|header| header.last_offset() < partition.high_watermark()))
    }

    /// The first batch with the greatest timestamp; its header. `None` as well if consumers do not get it yet.
    ///
    /// # Errors
    /// A file is damaged.
    pub async fn find_newest(&self, partition: TabletId) -> Result<Option<BatchHeader>, LogError> {
        let partition = self.inner.partition(partition)?;
        let found = partition.unchanged(|| self.inner.find_newest(&partition)).await?;
        Ok(found.filter(|header| header.last_offset() < partition.high_watermark()))
    }
}

impl Partition {
    /// What is found in files, if nothing was truncated meanwhile: for they may be shorter then, and have something else.
    pub async fn unchanged<T, F: Future<Output = Result<T, LogError>>>(
        &self,
        look: impl Fn() -> F,
    ) -> Result<T, LogError> {
        loop {
            let truncations = self.truncations.get();
            let found = look().await;
            if self.truncations.get() == truncations {
                return found;
            }
        }
    }
}

impl Inner {
    async fn find_newest(&self, partition: &Rc<Partition>) -> Result<Option<BatchHeader>, LogError> {
        let mut newest = partition.tail.borrow().headers().map(|header| header.max_timestamp_ms).max();
        for segment in writer::segments_of(self, partition).await? {
            newest = newest.max(Some(segment.newest_ms(&self.shard.disk()).await?));
        }
        match newest {
            Some(newest) => self.find_time(partition, newest, partition.start.get()).await,
            None => Ok(None),
        }
    }

    async fn read(
        &self,
        partition: &Partition,
        offset: i64,
        below: i64,
        bytes_max: usize,
    ) -> Result<Batches, LogError> {
        loop {
            let truncations = partition.truncations.get();
            let is_truncated = || partition.truncations.get() != truncations;
            partition.check_offset(offset)?;
            let below = below.min(partition.end.get());
            if offset >= below {
                return Ok(Batches::default());
            }
            let in_memory = partition.tail.borrow().first_offset().is_some_and(|first| first <= offset);
            if in_memory {
                count(&self.counters.reads_of_memory, 1);
                let mut found = Batches::default();
                partition.tail.borrow().read(offset, below, bytes_max).into_iter().for_each(|batch| found.push(batch));
                return Ok(found);
            }
            let segment = writer::segment_of(self, partition, offset).await?;
            if is_truncated() {
                continue;
            }
            let Some(segment) = segment else {
                // What was looked for in files is in memory, or gone, or was never written.
                if partition.tail.borrow().first_offset().is_some_and(|first| first <= offset) {
                    continue;
                }
                return Err(error::damaged(&partition.directory, 0, format!("no segment has offset {offset}")));
            };
            let epoch_of = |offset: i64| partition.epochs.borrow().of(offset);
            let wanted = segment::Wanted { offset, below, bytes_max, epoch_of: &epoch_of };
            let read = segment.read(&self.shard.disk(), &wanted).await;
            if partition.start.get() > offset || is_truncated() {
                continue; // it was taken away meanwhile
            }
            count(&self.counters.reads_of_files, 1);
            let Some((header, bytes, end)) = read? else { return Ok(Batches::default()) };
            return Ok(Batches { bytes: bytes.len(), pieces: vec![bytes], first: Some(header), end });
        }
    }

    async fn find_time(&self, partition: &Partition, time_ms: i64, from: i64) -> Result<Option<BatchHeader>, LogError> {
        for segment in writer::segments_of(self, partition).await? {
            if segment.newest_ms(&self.shard.disk()).await? < time_ms {
                continue;
            }
            if let Some(header) = segment.find_time(&self.shard.disk(), time_ms, from).await? {
                return Ok(Some(header));
            }
        }
        let tail = partition.tail.borrow();
        Ok(tail.headers().find(|header| header.max_timestamp_ms >= time_ms && header.last_offset() >= from).copied())
    }
}
