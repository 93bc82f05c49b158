//! The engine as its owner sees it.

use crate::error::StoreError;
use crate::lsn::Lsn;
use crate::mutation::Mutation;
use crate::options::{Durability, EngineOptions, TabletOptions};
use crate::read::{KeyRange, Page, ScanOptions};
use crate::row::Row;
use crate::stats::{Progress, RecoveryReport, Stats, TabletStats, VerifyReport};
use holon_base::TabletId;
use holon_kernel::{Shard, Ticket};
use std::rc::Rc;

/// A write on its way into the log. Dropping it changes nothing about the outcome of the write.
#[must_use = "a write is acknowledged only when its ticket says so"]
pub struct WriteTicket {
    ticket: Ticket<Result<Lsn, StoreError>>,
}

impl WriteTicket {
    /// # Errors
    /// [`StoreError::DiskFull`]: not written. [`StoreError::Stopped`]: the outcome is unknown.
    pub async fn wait(self) -> Result<Lsn, StoreError> {
        let stopped = || StoreError::Stopped { reason: "the shard stopped while a write was waiting".into() };
        self.ticket.await.map_err(|_| stopped())?
    }
}

/// The storage engine of one shard. Cheap to clone; single-threaded.
#[derive(Clone)]
pub struct Engine {
    inner: Rc<Inner>,
}

struct Inner {
    shard: Rc<Shard>,
    options: EngineOptions,
}

impl Engine {
    /// Opens the trees of this shard's tablets. Reads and writes are good after [`Engine::recover`].
    pub async fn open(shard: Rc<Shard>, options: EngineOptions) -> Result<Engine, StoreError> {
        Ok(Engine { inner: Rc::new(Inner { shard, options }) })
    }

    /// Replays the logs of earlier boots for this shard's tablets and flushes what they held.
    pub async fn recover(&self) -> Result<RecoveryReport, StoreError> {
        Err(self.not_yet())
    }

    /// Removes the logs of earlier boots. To be called on one shard when **all** shards have recovered.
    pub async fn retire_old_logs(&self) -> Result<u64, StoreError> {
        Err(self.not_yet())
    }

    fn not_yet(&self) -> StoreError {
        let (boot, shard) = (self.inner.options.boot, self.inner.shard.id());
        StoreError::Stopped { reason: format!("boot {boot} of {shard:?} is being written") }
    }

    /// Writes out what waits, syncs the log and ends the background tasks.
    pub async fn close(&self) -> Result<(), StoreError> {
        Err(self.not_yet())
    }

    pub fn tablets(&self) -> Vec<TabletId> {
        Vec::new()
    }

    /// Makes a tablet, durably; fine if it exists.
    pub async fn create_tablet(&self, tablet: TabletId) -> Result<(), StoreError> {
        Err(StoreError::NoSuchTablet(tablet))
    }

    /// Replaces the options of a tablet (asked from [`EngineOptions::tablet_options`] when it was opened).
    pub fn set_tablet_options(&self, tablet: TabletId, options: TabletOptions) -> Result<(), StoreError> {
        drop(options);
        Err(StoreError::NoSuchTablet(tablet))
    }

    /// Removes a tablet and its files; fine if it does not exist. Snapshots stay.
    pub async fn drop_tablet(&self, tablet: TabletId) -> Result<(), StoreError> {
        Err(StoreError::NoSuchTablet(tablet))
    }

    /// Removes all data that was written before.
    pub async fn truncate(&self, tablet: TabletId) -> Result<(), StoreError> {
        Err(StoreError::NoSuchTablet(tablet))
    }

    /// Queues a write without waiting for room.
    ///
    /// # Errors
    /// [`StoreError::NoSuchTablet`], [`StoreError::Overloaded`]: nothing was written.
    pub fn submit(
        &self,
        tablet: TabletId,
        mutation: Mutation,
        durability: Durability,
    ) -> Result<WriteTicket, StoreError> {
        let _ = (mutation, durability);
        Err(StoreError::NoSuchTablet(tablet))
    }

    /// Writes, waiting for room first. Dropping the future before the mutation is queued writes nothing, after that changes nothing.
    pub async fn write(&self, tablet: TabletId, mutation: Mutation, durability: Durability) -> Result<Lsn, StoreError> {
        self.submit(tablet, mutation, durability)?.wait().await
    }

    /// The row of a key as a reader sees it at `now_seconds`.
    pub async fn get(&self, tablet: TabletId, key: &[u8], now_seconds: i64) -> Result<Option<Row>, StoreError> {
        let _ = (key, now_seconds);
        Err(StoreError::NoSuchTablet(tablet))
    }

    /// One page of a range.
    pub async fn scan(&self, tablet: TabletId, range: KeyRange, options: ScanOptions) -> Result<Page, StoreError> {
        let _ = (range, options);
        Err(StoreError::NoSuchTablet(tablet))
    }

    /// One page over several disjoint ranges (for IN), in the order given; the rest of them comes back with it. The
    /// `rest` of the page itself is `None`.
    pub async fn read_ranges(
        &self,
        tablet: TabletId,
        ranges: Vec<KeyRange>,
        options: ScanOptions,
    ) -> Result<(Page, Vec<KeyRange>), StoreError> {
        let _ = (ranges, options);
        Err(StoreError::NoSuchTablet(tablet))
    }

    /// Brings everything acknowledged so far into tables.
    pub async fn flush(&self, tablet: TabletId) -> Result<(), StoreError> {
        Err(StoreError::NoSuchTablet(tablet))
    }

    /// Flushes, then merges all runs into one.
    pub async fn compact(&self, tablet: TabletId, progress: impl FnMut(Progress)) -> Result<(), StoreError> {
        drop(progress);
        Err(StoreError::NoSuchTablet(tablet))
    }

    /// Flushes, then keeps the tables under `snapshots/<name>/<tablet>` by hard links.
    pub async fn snapshot(&self, tablet: TabletId, name: &str) -> Result<(), StoreError> {
        let _ = name;
        Err(StoreError::NoSuchTablet(tablet))
    }

    /// Replaces all data of the tablet by that of a snapshot, which is verified first.
    pub async fn restore(&self, tablet: TabletId, name: &str) -> Result<(), StoreError> {
        let _ = name;
        Err(StoreError::NoSuchTablet(tablet))
    }

    /// The snapshots of a tablet, by name.
    pub async fn snapshots(&self, tablet: TabletId) -> Result<Vec<String>, StoreError> {
        Err(StoreError::NoSuchTablet(tablet))
    }

    /// Forgets a snapshot of a tablet; fine if it does not exist.
    pub async fn drop_snapshot(&self, tablet: TabletId, name: &str) -> Result<(), StoreError> {
        let _ = name;
        Err(StoreError::NoSuchTablet(tablet))
    }

    /// Reads every byte of the tablet's files and checks checksums, order and counts.
    pub async fn verify(&self, tablet: TabletId, progress: impl FnMut(Progress)) -> Result<VerifyReport, StoreError> {
        drop(progress);
        Err(StoreError::NoSuchTablet(tablet))
    }

    pub fn stats(&self) -> Stats {
        Stats::default()
    }

    pub fn tablet_stats(&self, tablet: TabletId) -> Result<TabletStats, StoreError> {
        Err(StoreError::NoSuchTablet(tablet))
    }
}
