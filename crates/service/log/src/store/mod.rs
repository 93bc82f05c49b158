//! Partitions on one shard of a node: a write-ahead log that all of them share, and segments of each.
//!
//! ```text
//!   append ─► queue ─► commit task ─► write-ahead log ─► tail (memory) ─► segment files ─► checkpoint ─► old log goes
//!                      offset, dedup     one sync           │                  │
//!                                        for all            └────── read ──────┘
//! ```
//!
//! A batch is acknowledged when the shared log is on the medium: one sync serves all partitions. Segments are written later, without a
//! sync of their own, so that readers of one partition read one file; from time to time they are synced, a checkpoint says how far, and the log
//! up to there is let go. Batches are never taken apart ([`holon_kafka::ProducedBatch`]).
//!
//! It does no IO itself: it runs as tasks of a shard over the kernel's `Disk`. It knows no topics, no replicas and no clients.
//!
//! It guarantees: what was acknowledged under [`Durability::Sync`] survives any crash, once, at its offset and in its order; offsets have no
//! gap and are never given twice; a batch that its producer sends again is not appended again, as long as it is one of its last five; what is
//! read has the checksum it was sent with. Limits: [`limits`].

mod aborted;
mod checkpoint;
pub mod describing;
pub mod epochs;
pub mod error;
mod following;
pub mod limits;
mod options;
mod owner;
pub mod partition;
mod producers;
mod reading;
mod record;
mod recovery;
mod segment;
mod transactional;
mod transactions;
mod truncating;
mod verifying;
mod writer;

pub use error::{CopyError, LogError};
pub use options::{PartitionOptions, StoreOptions};
pub use partition::Batches;
pub use record::{Origin, Stamp};
pub use recovery::RecoveryReport;
pub use transactional::EndTransaction;
pub use transactions::Aborted;
pub use verifying::Guard;
pub use writer::Retention;

use crate::store::error::stopped;
use crate::store::partition::Partition;
use crate::store::record::{Change, Entry};
use holon_base::TabletId;
use holon_kafka::ProducedBatch;
use holon_kernel::{Class, Scope, Shard, Ticket};
use holon_wal::sync::sync_dir_or_stop;
use holon_wal::{Commits, Durability, Gate, Log, LogName, Pending, Record, Segments, Signal, WalError};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

/// Directory of the shared logs.
const LOGS: &str = "log/wal";

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Of its first record.
    pub base_offset: i64,
    /// What all its records bear, if the topic wants that.
    pub append_time_ms: Option<i64>,
    /// The first offset of the partition that counts.
    pub start: i64,
}

/// An append on its way. Dropping it changes nothing about the outcome.
#[must_use = "an append is acknowledged only when its ticket says so"]
pub struct AppendTicket {
    partition: TabletId,
    ticket: Ticket<Result<Appended, CopyError>>,
}

impl AppendTicket {
    /// # Errors
    /// Why it was not appended; or the shard stopped, and nobody knows.
    pub async fn wait(self) -> Result<Appended, LogError> {
        let partition = self.partition;
        self.outcome().await.map_err(|error| error.of_no_copy(partition))
    }

    async fn outcome(self) -> Result<Appended, CopyError> {
        self.ticket.await.map_err(|_| stopped())?
    }
}

struct Inner {
    shard: Rc<Shard>,
    options: StoreOptions,
    partitions: RefCell<BTreeMap<TabletId, Rc<Partition>>>,
    commits: Rc<Commits<Inner>>,
    wal: Rc<Segments>,
    progressed: Rc<Signal>,
    /// The first of the appends that wait for room is in it.
    entry: Gate,
    /// The writer has something to do.
    work: Signal,
    /// Partitions with batches that are in no segment.
    dirty: RefCell<BTreeSet<TabletId>>,
    /// Of them, those that have enough for a write.
    ready: RefCell<BTreeSet<TabletId>>,
    /// Bytes of batches that are in no segment, and of those that are kept for readers.
    unwritten: Cell<usize>,
    kept: Cell<usize>,
    /// What is kept, oldest first: so many bytes of a partition.
    kept_order: RefCell<VecDeque<(TabletId, usize)>>,
    checkpointing: Gate,
    /// Partitions whose files have more than they have.
    uncut: RefCell<Vec<Rc<Partition>>>,
    /// Partitions that were removed and whose files are still there.
    doomed: RefCell<Vec<Rc<Partition>>>,
    /// A partition is made or removed.
    making: Gate,
    recovered: Cell<bool>,
    next_guard: Cell<u64>,
    /// Why the log takes nothing, or segments cannot be written.
    log_full: RefCell<Option<WalError>>,
    stuck: RefCell<Option<LogError>>,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    appended_batches: Cell<u64>,
    appended_bytes: Cell<u64>,
    duplicates: Cell<u64>,
    written_bytes: Cell<u64>,
    checkpoints: Cell<u64>,
    reads_of_memory: Cell<u64>,
    reads_of_files: Cell<u64>,
}

/// What the store did and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub partitions: u64,
    pub appended_batches: u64,
    pub appended_bytes: u64,
    /// Batches that were there already.
    pub duplicates: u64,
    pub log_bytes: u64,
    pub log_syncs: u64,
    pub written_bytes: u64,
    pub checkpoints: u64,
    pub reads_of_memory: u64,
    pub reads_of_files: u64,
    /// In no segment yet, *now*.
    pub unwritten_bytes: u64,
    /// In memory for readers, *now*.
    pub kept_bytes: u64,
}

/// What a partition has, as far as that is known without a look at its files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionAmount {
    /// Offsets that count: of compacted topics some have no record.
    pub records: u64,
    pub segments: u64,
    pub segment_bytes: u64,
    pub unwritten_bytes: u64,
}

fn count(counter: &Cell<u64>, more: u64) {
    counter.set(counter.get() + more);
}

/// The partitions of one shard. Cheap to clone; single-threaded.
#[derive(Clone)]
pub struct LogStore {
    inner: Rc<Inner>,
}

impl LogStore {
    /// Finds what is there and starts a log. Nothing else is allowed before [`LogStore::recover`].
    ///
    /// # Errors
    /// Damage, a newer format, a disk that fails.
    pub async fn open(shard: Rc<Shard>, options: StoreOptions) -> Result<LogStore, LogError> {
        let disk = shard.disk();
        for directory in [LOGS, segment::PARTITIONS, checkpoint::CHECKPOINTS] {
            disk.create_dir(directory).await?;
        }
        sync_dir_or_stop(&shard, "log").await?;
        sync_dir_or_stop(&shard, "").await?;
        let (boot, number) = (options.boot, shard.id().0);
        let stored = checkpoint::load(&shard, boot).await?;
        let of = |stored: checkpoint::Stored| (stored.tablet, Partition::of(stored));
        let name = LogName { root: LOGS, boot, shard: number };
        let wal = Segments::create(shard.clone(), name, shard.random_u64(), options.wal_segment_bytes).await?;
        let progressed = Rc::new(Signal::new());
        let commits = Commits::new(shard.clone(), boot, options.periodic_sync_ms, progressed.clone());
        let inner = Rc::new(Inner {
            shard: shard.clone(),
            partitions: RefCell::new(stored.into_iter().map(of).collect()),
            commits: Rc::new(commits),
            wal: wal.clone(),
            progressed,
            entry: Gate::new(),
            work: Signal::new(),
            dirty: RefCell::default(),
            ready: RefCell::default(),
            unwritten: Cell::new(0),
            kept: Cell::new(0),
            kept_order: RefCell::default(),
            checkpointing: Gate::new(),
            uncut: RefCell::default(),
            doomed: RefCell::default(),
            making: Gate::new(),
            recovered: Cell::new(false),
            next_guard: Cell::new(0),
            log_full: RefCell::default(),
            stuck: RefCell::default(),
            counters: Counters::default(),
            options,
        });
        let log = Log::new(shard.clone(), wal.clone(), boot);
        shard.spawn(Scope::Node, Class::Foreground, inner.commits.clone().run(inner.clone(), log));
        shard.spawn(Scope::Node, Class::Replication, wal.keep_ready());
        shard.spawn(Scope::Node, Class::Background, writer::run(inner.clone()));
        Ok(LogStore { inner })
    }

    /// Replays the logs of earlier boots and writes what they had to segments.
    ///
    /// # Errors
    /// A log or a segment does not hold what was made durable in it.
    pub async fn recover(&self) -> Result<RecoveryReport, LogError> {
        let report = recovery::recover(&self.inner).await?;
        self.inner.recovered.set(true);
        Ok(report)
    }

    /// Removes logs and checkpoints of earlier boots. To be called on one shard when **all** shards have recovered.
    ///
    /// # Errors
    /// A disk that fails.
    pub async fn retire_old_logs(&self) -> Result<(), LogError> {
        let (shard, boot) = (&self.inner.shard, self.inner.options.boot);
        holon_wal::retire_old_logs(shard, LOGS, boot).await?;
        checkpoint::remove_old(shard, boot).await
    }

    pub fn has(&self, partition: TabletId) -> bool {
        self.inner.partitions.borrow().contains_key(&partition)
    }

    pub fn partitions(&self) -> Vec<TabletId> {
        self.inner.partitions.borrow().keys().copied().collect()
    }

    /// Makes an empty partition that begins at an offset, durably; fine if it is there.
    ///
    /// # Errors
    /// The disk is full, or the shard stopped.
    pub async fn create(&self, partition: TabletId, offset: i64) -> Result<(), LogError> {
        let _making = self.inner.making.enter(&self.inner.shard).await?;
        if self.has(partition) {
            return Ok(());
        }
        self.inner.submit(partition, Entry::change(Change::Created { offset }), Durability::Sync)?.wait().await?;
        Ok(())
    }

    /// Removes a partition; fine if it is not there. Its files go when no checkpoint names them any more.
    ///
    /// # Errors
    /// As [`LogStore::create`].
    pub async fn remove(&self, partition: TabletId) -> Result<(), LogError> {
        let _making = self.inner.making.enter(&self.inner.shard).await?;
        if self.has(partition) {
            self.inner.submit(partition, Entry::change(Change::Removed), Durability::Sync)?.wait().await?;
            self.inner.work.notify();
        }
        Ok(())
    }

    /// Whether a batch would be queued now.
    pub fn has_room(&self) -> bool {
        !self.inner.must_wait()
    }

    /// Queues a batch without waiting for room.
    ///
    /// # Errors
    /// Nothing was written: no such partition, too much to do, too large.
    pub fn submit(
        &self,
        partition: TabletId,
        batch: ProducedBatch,
        stamp: Stamp,
        durability: Durability,
    ) -> Result<AppendTicket, LogError> {
        self.submit_from(Origin::Client { guard: None }, partition, batch, stamp, durability)
    }

    /// Appends, waiting for room first.
    ///
    /// # Errors
    /// [`LogError::Duplicate`]: it is there, which a producer is told as if it were new. All others: it is not.
    pub async fn append(
        &self,
        partition: TabletId,
        batch: ProducedBatch,
        stamp: Stamp,
        durability: Durability,
    ) -> Result<Appended, LogError> {
        self.append_from(Origin::Client { guard: None }, partition, batch, stamp, durability).await
    }

    /// Records before this offset count no longer, durably. Fine if they did not.
    ///
    /// # Errors
    /// [`LogError::OutOfRange`]: it is beyond the end.
    pub async fn move_start(&self, partition: TabletId, offset: i64) -> Result<i64, LogError> {
        let found = self.inner.partition(partition)?;
        let (start, end) = (found.start.get(), found.end.get());
        if offset > end || offset < 0 {
            return Err(LogError::OutOfRange { offset, start, end });
        }
        if offset > start {
            self.inner.submit(partition, Entry::change(Change::Start { offset }), Durability::Sync)?.wait().await?;
            self.inner.work.notify();
        }
        Ok(found.start.get())
    }

    /// Takes away what a topic does not keep; the first offset that is left.
    ///
    /// # Errors
    /// A disk that is full or fails.
    pub async fn retain(&self, partition: TabletId, keep: Retention) -> Result<i64, LogError> {
        let found = self.inner.partition(partition)?;
        let (start, gone) = found.unchanged(|| writer::expired(&self.inner, &found, keep)).await?;
        let start = self.move_start(partition, start.max(found.start.get())).await?;
        writer::trim(&self.inner, &found, &gone).await?;
        Ok(start)
    }

    /// What is in memory alone goes to segments, they are synced, and the log up to here is let go.
    ///
    /// # Errors
    /// A disk that is full or fails.
    pub async fn checkpoint(&self) -> Result<(), LogError> {
        writer::checkpoint(&self.inner).await
    }

    /// Writes out all, syncs it, and ends the log. Nothing may follow.
    ///
    /// # Errors
    /// As [`LogStore::checkpoint`].
    pub async fn close(&self) -> Result<(), LogError> {
        self.inner.commits.close().await?;
        writer::checkpoint(&self.inner).await?;
        writer::store_indexes(&self.inner).await
    }

    /// Why nothing can be appended at this moment, or soon.
    pub fn stuck(&self) -> Option<LogError> {
        let log = self.inner.log_full.borrow().clone().map(LogError::from);
        log.or_else(|| self.inner.stuck.borrow().clone())
    }

    /// `None`: it is not here.
    pub fn amount(&self, partition: TabletId) -> Option<PartitionAmount> {
        let partition = self.inner.partition(partition).ok()?;
        let unwritten_bytes = partition.tail.borrow().unwritten_bytes() as u64;
        let segments = partition.segments.borrow().as_ref().map_or(0, |segments| segments.len()) as u64;
        Some(PartitionAmount {
            records: u64::try_from(partition.end.get() - partition.start.get()).unwrap_or(0),
            segments,
            segment_bytes: partition.bytes() - unwritten_bytes,
            unwritten_bytes,
        })
    }

    pub fn stats(&self) -> Stats {
        let (inner, counters) = (&self.inner, &self.inner.counters);
        let (log_bytes, _, log_syncs) = inner.commits.figures();
        Stats {
            partitions: inner.partitions.borrow().len() as u64,
            appended_batches: counters.appended_batches.get(),
            appended_bytes: counters.appended_bytes.get(),
            duplicates: counters.duplicates.get(),
            log_bytes,
            log_syncs,
            written_bytes: counters.written_bytes.get(),
            checkpoints: counters.checkpoints.get(),
            reads_of_memory: counters.reads_of_memory.get(),
            reads_of_files: counters.reads_of_files.get(),
            unwritten_bytes: inner.unwritten.get() as u64,
            kept_bytes: inner.kept.get() as u64,
        }
    }
}

impl Inner {
    fn partition(&self, partition: TabletId) -> Result<Rc<Partition>, LogError> {
        self.partitions.borrow().get(&partition).cloned().ok_or(LogError::NotHere(partition))
    }

    fn all(&self) -> Vec<Rc<Partition>> {
        self.partitions.borrow().values().cloned().collect()
    }

    fn ahead_bytes(&self) -> usize {
        self.commits.queued_bytes() + self.unwritten.get()
    }

    fn must_wait(&self) -> bool {
        self.commits.queued_bytes() > self.options.queue_bytes_max
            || self.unwritten.get() > self.options.unwritten_bytes_max
    }

    /// # Errors
    /// [`LogError::TooLarge`].
    fn check_size(&self, record: &Entry) -> Result<(), LogError> {
        let (size, limit) = (record.length(), Log::record_bytes_max(self.options.wal_segment_bytes));
        if size > limit { Err(LogError::TooLarge { what: "a batch", size, limit }) } else { Ok(()) }
    }

    fn submit(&self, tablet: TabletId, record: Entry, durability: Durability) -> Result<AppendTicket, LogError> {
        if !self.recovered.get() || self.commits.is_closing() {
            return Err(WalError::Stopped { reason: "the log is opening or closing".into() }.into());
        }
        self.check_size(&record)?;
        let (completer, ticket) = self.shard.ticket();
        self.commits.push(Pending { tablet, record, durability, completer });
        Ok(AppendTicket { partition: tablet, ticket })
    }
}
