//! The engine as its owner sees it.

use crate::changed::Changed;
use crate::compaction;
use crate::damage::{self, Mending};
use crate::error::StoreError;
use crate::flush;
use crate::inner::Inner;
use crate::lifecycle;
use crate::mutation::Mutation;
use crate::options::{EngineOptions, TabletOptions};
use crate::read::{KeyRange, Page, ScanOptions};
use crate::recovery;
use crate::row::{Deletion, Row};
use crate::scan;
use crate::snapshot;
use crate::stats::{Progress, RecoveryReport, Stats, TabletStats, VerifyReport};
use crate::tree::{TABLETS, Tree};
use crate::verify;
use holon_base::TabletId;
use holon_kernel::{Class, Scope, Shard, Ticket};
use holon_wal::sync::sync_dir_or_stop;
use holon_wal::{Durability, Log, LogName, Lsn, Pending, Segments, retire_old_logs};
use std::rc::Rc;

/// Directory of its logs.
pub(crate) const LOGS: &str = "wal";

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
    pub(crate) inner: Rc<Inner>,
}

impl Engine {
    /// Opens the trees of this shard's tablets and starts a log. Nothing else is allowed before [`Engine::recover`].
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::NewerFormat`], [`StoreError::Disk`]: nothing was changed on disk but
    /// unnamed files.
    pub async fn open(shard: Rc<Shard>, options: EngineOptions) -> Result<Engine, StoreError> {
        let disk = shard.disk();
        disk.create_dir(TABLETS).await?;
        disk.create_dir(LOGS).await?;
        sync_dir_or_stop(&shard, "").await?;
        let name = LogName { root: LOGS, boot: options.boot, shard: options.shard };
        let segments = Segments::create(shard.clone(), name, shard.random_u64(), options.segment_bytes).await?;
        let inner = Inner::new(shard.clone(), options, segments.clone());
        recovery::open_trees(&inner).await?;
        let log = Log::new(shard.clone(), segments.clone(), inner.options.boot);
        shard.spawn(Scope::Node, Class::Foreground, inner.commits.clone().run(inner.clone(), log));
        shard.spawn(Scope::Node, Class::Replication, segments.keep_ready());
        for _ in 0..flush::FLUSHES {
            shard.spawn(Scope::Node, Class::Background, flush::run(inner.clone()));
        }
        if inner.options.automatic_compaction {
            shard.spawn(Scope::Node, Class::Background, compaction::task::run(inner.clone()));
        }
        Ok(Engine { inner })
    }

    /// Replays the logs of earlier boots for this shard's tablets and flushes what they held.
    ///
    /// # Errors
    /// [`StoreError::Damaged`]: a log does not hold what was made durable in it.
    pub async fn recover(&self) -> Result<RecoveryReport, StoreError> {
        self.recover_and_tell(|_| ()).await
    }

    /// As [`Engine::recover`]; `progress` is called again and again.
    pub async fn recover_and_tell(&self, mut progress: impl FnMut(Progress)) -> Result<RecoveryReport, StoreError> {
        let report = recovery::recover(&self.inner, &mut progress).await?;
        self.inner.recovered.set(true);
        Ok(report)
    }

    /// Removes the logs of earlier boots; how many. To be called on one shard when **all** shards have recovered.
    pub async fn retire_old_logs(&self) -> Result<u64, StoreError> {
        Ok(retire_old_logs(&self.inner.shard, LOGS, self.inner.options.boot).await?)
    }

    pub(crate) fn tree(&self, tablet: TabletId) -> Result<Rc<Tree>, StoreError> {
        if !self.inner.recovered.get() {
            return Err(StoreError::Stopped { reason: "the engine has not recovered its logs yet".into() });
        }
        self.inner.tree(tablet)
    }

    /// Writes out what waits, syncs the log and ends the background tasks. No writes may follow.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.inner.commits.close().await?;
        self.inner.remove_garbage().await;
        Ok(())
    }

    pub fn has_tablet(&self, tablet: TabletId) -> bool {
        self.inner.trees.borrow().contains_key(&tablet)
    }

    pub fn tablets(&self) -> Vec<TabletId> {
        self.inner.trees.borrow().keys().copied().collect()
    }

    /// Makes a tablet, durably; fine if it exists.
    pub async fn create_tablet(&self, tablet: TabletId) -> Result<(), StoreError> {
        self.inner.detached(Class::Foreground, lifecycle::create(self.inner.clone(), tablet)).await
    }

    /// Replaces the options of a tablet (asked from [`EngineOptions::tablet_options`] when it was opened).
    pub fn set_tablet_options(&self, tablet: TabletId, options: TabletOptions) -> Result<(), StoreError> {
        self.inner.tree(tablet)?.set_options(options);
        Ok(())
    }

    /// Removes a tablet and its files; fine if it does not exist. Snapshots stay.
    pub async fn drop_tablet(&self, tablet: TabletId) -> Result<(), StoreError> {
        self.inner.detached(Class::Foreground, lifecycle::drop_tablet(self.inner.clone(), tablet)).await
    }

    /// Removes all data that was written before.
    pub async fn truncate(&self, tablet: TabletId) -> Result<(), StoreError> {
        let tree = self.tree(tablet)?;
        self.inner.detached(Class::Foreground, lifecycle::truncate(self.inner.clone(), tree)).await
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
        self.tree(tablet)?;
        let inner = &self.inner;
        let (size, limit) = (mutation.bytes().len(), Log::record_bytes_max(inner.options.segment_bytes));
        if size > limit {
            return Err(StoreError::TooLarge { what: "a mutation", size, limit });
        }
        if inner.commits.is_closing() {
            return Err(StoreError::Stopped { reason: "the engine is closing".into() });
        }
        if inner.must_wait() {
            return Err(StoreError::Overloaded {
                queued_bytes: inner.commits.queued_bytes() + inner.memtable_bytes.get(),
            });
        }
        let (completer, ticket) = inner.shard.ticket();
        inner.commits.push(Pending { tablet, record: mutation, durability, completer });
        Ok(WriteTicket { ticket })
    }

    /// Writes, waiting for room first. Dropping the future before the mutation is queued writes nothing, after that
    /// changes nothing.
    pub async fn write(&self, tablet: TabletId, mutation: Mutation, durability: Durability) -> Result<Lsn, StoreError> {
        self.inner.wait_for_room().await?;
        self.submit(tablet, mutation, durability)?.wait().await
    }

    /// The row of a key as a reader sees it at `now_seconds`.
    pub async fn get(&self, tablet: TabletId, key: &[u8], now_seconds: i64) -> Result<Option<Row>, StoreError> {
        let tree = self.tree(tablet)?;
        let found = scan::get_merged(&self.inner, &tree, key).await;
        let (row, deletion) = self.inner.noted(&tree, found)?;
        Ok(row.and_then(|row| row.visible(deletion, now_seconds)))
    }

    /// The merged row of a key with its tombstones, and the deletion of the ranges it lies in, for replicas to compare.
    pub async fn get_with_tombstones(
        &self,
        tablet: TabletId,
        key: &[u8],
    ) -> Result<(Option<Row>, Option<Deletion>), StoreError> {
        let tree = self.tree(tablet)?;
        let found = scan::get_merged(&self.inner, &tree, key).await;
        let (row, deletion) = self.inner.noted(&tree, found)?;
        let row = row.map(|mut row| {
            row.drop_covered(deletion);
            row
        });
        Ok((row.filter(|row| !row.is_empty()), deletion))
    }

    /// One page of a range.
    pub async fn scan(&self, tablet: TabletId, range: KeyRange, options: ScanOptions) -> Result<Page, StoreError> {
        let tree = self.tree(tablet)?;
        let page = scan::scan(&self.inner, &tree, range, &options).await;
        self.inner.noted(&tree, page)
    }

    /// One page over several disjoint ranges (for IN), in the order given; the rest of them comes back with it. The
    /// `rest` of the page itself is `None`.
    pub async fn read_ranges(
        &self,
        tablet: TabletId,
        ranges: Vec<KeyRange>,
        options: ScanOptions,
    ) -> Result<(Page, Vec<KeyRange>), StoreError> {
        let tree = self.tree(tablet)?;
        let scanned = scan::scan_ranges(&self.inner, &tree, None, ranges, options).await;
        self.inner.noted(&tree, scanned)
    }

    /// Where the tablet may have changed since this was asked last, or since the start.
    pub fn take_changed(&self, tablet: TabletId) -> Result<Changed, StoreError> {
        Ok(self.tree(tablet)?.changed.replace(Changed::nowhere()))
    }

    /// Brings everything acknowledged so far into tables.
    pub async fn flush(&self, tablet: TabletId) -> Result<(), StoreError> {
        let tree = self.tree(tablet)?;
        flush::flush_tree(&self.inner, &tree).await
    }

    /// Flushes, then merges all runs into one. `progress` is called a few times a second or more.
    pub async fn compact(&self, tablet: TabletId, progress: impl FnMut(Progress) + 'static) -> Result<(), StoreError> {
        let tree = self.tree(tablet)?;
        flush::flush_tree(&self.inner, &tree).await?;
        self.inner.detached(Class::Background, compaction::task::major(self.inner.clone(), tree, progress)).await
    }

    /// One compaction, if the strategy wants one; false if it does not.
    pub async fn compact_step(&self, tablet: TabletId) -> Result<bool, StoreError> {
        let tree = self.tree(tablet)?;
        let inner = self.inner.clone();
        let work = async move {
            let done = compaction::task::step(&inner, &tree).await;
            inner.remove_garbage().await;
            done
        };
        self.inner.detached(Class::Background, work).await
    }

    /// Flushes, then keeps the tables under `snapshots/<name>/<tablet>` by hard links.
    pub async fn snapshot(&self, tablet: TabletId, name: &str) -> Result<(), StoreError> {
        let tree = self.tree(tablet)?;
        flush::flush_tree(&self.inner, &tree).await?;
        let work = snapshot::take(self.inner.clone(), tree, name.to_owned());
        self.inner.detached(Class::Background, work).await
    }

    /// Replaces all data of the tablet by that of a snapshot, which is verified first. Writes acknowledged before are
    /// gone.
    pub async fn restore(&self, tablet: TabletId, name: &str) -> Result<(), StoreError> {
        let tree = self.tree(tablet)?;
        let work = snapshot::restore(self.inner.clone(), tree, name.to_owned());
        self.inner.detached(Class::Background, work).await
    }

    /// The snapshots of a tablet, by name. It need not exist any more.
    pub async fn snapshots(&self, tablet: TabletId) -> Result<Vec<String>, StoreError> {
        snapshot::list(&self.inner, tablet).await
    }

    /// Forgets a snapshot of a tablet; fine if it does not exist.
    pub async fn drop_snapshot(&self, tablet: TabletId, name: &str) -> Result<(), StoreError> {
        let work = snapshot::forget(self.inner.clone(), tablet, name.to_owned());
        self.inner.detached(Class::Background, work).await
    }

    /// Reads every byte of the tablet's files and checks checksums, order and counts. What is only in the log so far is
    /// checked when it is read, at recovery.
    pub async fn verify(
        &self,
        tablet: TabletId,
        progress: impl FnMut(Progress) + 'static,
    ) -> Result<VerifyReport, StoreError> {
        let tree = self.tree(tablet)?;
        let verified = verify::verify_tree(self.inner.clone(), tree.clone(), progress);
        let verified = self.inner.detached(Class::Background, verified).await;
        self.inner.noted(&tree, verified)
    }

    /// The tablets in whose files damage was found that is still there.
    pub fn damaged_tablets(&self) -> Vec<TabletId> {
        damage::damaged_tablets(&self.inner)
    }

    pub fn is_damaged(&self, tablet: TabletId) -> bool {
        self.inner.tree(tablet).is_ok_and(|tree| tree.damages.any())
    }

    /// Begins to make good what is damaged of a tablet, see [`Mending`]; `None` if nothing is.
    pub async fn begin_mending(&self, tablet: TabletId) -> Result<Option<Mending>, StoreError> {
        Mending::begin(self.inner.clone(), self.tree(tablet)?).await
    }

    /// Why background work failed last, if it did.
    pub fn background_error(&self) -> Option<StoreError> {
        self.inner.background_error.borrow().clone()
    }

    /// Why the log cannot take writes at this moment, or memtables do not get to the disk: writes are refused with this error, or
    /// will be when memory is full.
    pub fn stuck(&self) -> Option<StoreError> {
        self.inner.log_full.borrow().clone().or_else(|| self.inner.stuck.borrow().clone())
    }

    pub fn stats(&self) -> Stats {
        self.inner.stats()
    }

    pub fn tablet_stats(&self, tablet: TabletId) -> Result<TabletStats, StoreError> {
        Ok(self.inner.tree(tablet)?.stats())
    }
}
