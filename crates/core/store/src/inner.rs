//! What the tasks of an engine share.

use crate::cache::BlockCache;
use crate::error::StoreError;
use crate::manifest::TableEntry;
use crate::memtable::Memtable;
use crate::mutation::Mutation;
use crate::options::EngineOptions;
use crate::table::reader::{Garbage, OpenTable};
use crate::table::{Table, TableId};
use crate::tree::{Tree, tablet_of};
use holon_base::{Set, TabletId};
use holon_kernel::{Class, Scope, Shard};
use holon_wal::{Commits, Gate, Lsn, Owner, Record, Segments, Signal, WalError};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;

/// A number that only grows.
#[derive(Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    pub fn add(&self, more: u64) {
        self.0.set(self.0.get() + more);
    }

    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

#[derive(Default)]
pub struct Counters {
    pub writes: Counter,
    pub written_user_bytes: Counter,
    pub flushes: Counter,
    pub flushed_bytes: Counter,
    pub compactions: Counter,
    pub compaction_read_bytes: Counter,
    pub compaction_written_bytes: Counter,
    pub trivial_moves: Counter,
    pub tables_dropped_expired: Counter,
    pub tombstones_purged: Counter,
    pub bloom_skips: Counter,
    pub gets: Counter,
    pub scan_pages: Counter,
    pub rows_examined: Counter,
    pub stall_micros: Counter,
    pub background_errors: Counter,
    pub damages: Counter,
    pub mended: Counter,
}

pub struct Inner {
    pub shard: Rc<Shard>,
    pub options: EngineOptions,
    pub trees: RefCell<BTreeMap<TabletId, Rc<Tree>>>,
    pub cache: RefCell<BlockCache>,
    pub garbage: Garbage,
    pub commits: Rc<Commits<Inner>>,
    pub segments: Rc<Segments>,
    pub counters: Counters,
    /// Active and frozen memtables together, and the frozen ones alone.
    pub memtable_bytes: Cell<usize>,
    pub frozen_bytes: Cell<usize>,
    pub flush_wanted: Signal,
    pub compaction_wanted: Signal,
    /// A flush or a compaction ended, well or not: waiting writers and callers look again.
    pub progressed: Rc<Signal>,
    /// The first of the writes that wait for room is in it.
    pub entry: Gate,
    pub background_error: RefCell<Option<StoreError>>,
    /// Why memtables do not get to the disk at this moment.
    pub stuck: RefCell<Option<StoreError>>,
    /// Why the log has no room, since a group of writes was refused for it.
    pub log_full: RefCell<Option<StoreError>>,
    /// Failed attempts to flush, so that who waits for one notices.
    pub flush_failures: Cell<u64>,
    /// A tree has so many runs that writes wait for compaction.
    pub behind: Cell<bool>,
    /// Set by the owner's recovery: before it, a write could hide what the old logs still hold.
    pub recovered: Cell<bool>,
    /// One tablet is created or dropped at a time.
    pub making: Gate,
    /// Paths that are being restored: they are not garbage, whatever was said before.
    pub protected: RefCell<Set<String>>,
    /// Held while a file is removed: who protects a path and then enters finds it removed or kept, not on its way out.
    pub removing: Gate,
    next_table: Cell<u64>,
    next_number: Cell<u64>,
}

impl Inner {
    pub fn new(shard: Rc<Shard>, options: EngineOptions, segments: Rc<Segments>) -> Rc<Self> {
        let progressed = Rc::new(Signal::new());
        Rc::new(Inner {
            trees: RefCell::default(),
            cache: RefCell::new(BlockCache::new(options.cache_bytes)),
            garbage: Garbage::default(),
            commits: Rc::new(Commits::new(shard.clone(), options.boot, options.periodic_sync_ms, progressed.clone())),
            segments,
            counters: Counters::default(),
            memtable_bytes: Cell::new(0),
            frozen_bytes: Cell::new(0),
            flush_wanted: Signal::new(),
            compaction_wanted: Signal::new(),
            progressed,
            entry: Gate::new(),
            background_error: RefCell::new(None),
            stuck: RefCell::new(None),
            log_full: RefCell::new(None),
            flush_failures: Cell::new(0),
            behind: Cell::new(false),
            recovered: Cell::new(false),
            making: Gate::new(),
            protected: RefCell::default(),
            removing: Gate::new(),
            next_table: Cell::new(1),
            next_number: Cell::new(1),
            shard,
            options,
        })
    }

    pub fn tree(&self, tablet: TabletId) -> Result<Rc<Tree>, StoreError> {
        self.trees.borrow().get(&tablet).cloned().ok_or(StoreError::NoSuchTablet(tablet))
    }

    pub fn all_trees(&self) -> Vec<Rc<Tree>> {
        self.trees.borrow().values().cloned().collect()
    }

    pub fn now_seconds(&self) -> i64 {
        self.shard.wall().seconds()
    }

    /// A table id never given before: the boot, the shard, a counter.
    pub fn new_table_id(&self) -> TableId {
        let counter = self.next_table.get();
        self.next_table.set(counter + 1);
        TableId((u64::from(self.options.boot) << 32) | counter)
    }

    pub fn new_run_id(&self) -> u64 {
        self.new_table_id().0
    }

    pub async fn open_table(&self, tree: &Tree, entry: &TableEntry) -> Result<Rc<Table>, StoreError> {
        let prefix = tree.options().prefix;
        self.open_table_in(&tree.directory, tree.id, prefix, entry).await
    }

    pub async fn open_table_in(
        &self,
        directory: &str,
        tablet: TabletId,
        prefix: crate::options::KeyPrefix,
        entry: &TableEntry,
    ) -> Result<Rc<Table>, StoreError> {
        let cache_number = self.next_number.get();
        self.next_number.set(cache_number + 1);
        let disk = self.shard.disk();
        let open = OpenTable { disk: &disk, directory, tablet, entry, prefix, cache_number, garbage: &self.garbage };
        Ok(Rc::new(Table::open(open).await?))
    }

    /// Runs work as a task of the node, so that it is finished also when the one who asked for it is gone.
    pub async fn detached<T: 'static>(
        &self,
        class: Class,
        work: impl Future<Output = Result<T, StoreError>> + 'static,
    ) -> Result<T, StoreError> {
        let (completer, ticket) = self.shard.ticket();
        self.shard.spawn(Scope::Node, class, async move { completer.complete(work.await) });
        ticket.await.map_err(|_| stopped())?
    }

    // ---- Memory

    pub fn memtable_grew(&self, before: usize, after: usize) {
        self.memtable_bytes.set((self.memtable_bytes.get() + after).saturating_sub(before));
    }

    pub fn freeze(&self, tree: &Tree) -> Option<Rc<Memtable>> {
        let frozen = tree.freeze()?;
        self.frozen_bytes.set(self.frozen_bytes.get() + frozen.bytes());
        self.flush_wanted.notify();
        Some(frozen)
    }

    pub fn memtables_gone(&self, gone: &[Rc<Memtable>]) {
        let bytes: usize = gone.iter().map(|memtable| memtable.bytes()).sum();
        self.memtable_bytes.set(self.memtable_bytes.get().saturating_sub(bytes));
        self.frozen_bytes.set(self.frozen_bytes.get().saturating_sub(bytes));
    }

    /// Half of the budget is for memtables that grow, half for those that are being flushed.
    pub fn freeze_if_full(&self) {
        while self.memtable_bytes.get() - self.frozen_bytes.get() > self.options.memtable_bytes / 2 {
            let largest = self.all_trees().into_iter().max_by_key(|tree| tree.active().bytes());
            if largest.and_then(|tree| self.freeze(&tree)).is_none() {
                return;
            }
        }
    }

    /// The log is as long as it may be: flush what keeps its oldest segment.
    pub fn freeze_if_log_full(&self) {
        if self.segments.sealed_bytes() <= self.options.log_bytes_max {
            return;
        }
        let Some(oldest) = self.segments.oldest_last() else { return };
        for tree in self.all_trees() {
            if tree.active().lsn_first() <= oldest {
                self.freeze(&tree);
            }
        }
    }

    /// Below this every record is in a table, now and for ever: also when memory is empty, what is written next is
    /// needed, and whoever asked may wait for a disk before acting on the answer.
    pub fn lsn_needed(&self) -> Lsn {
        let next = self.commits.handed_over().plus(1);
        self.trees.borrow().values().map(|tree| tree.lsn_needed()).fold(next, Lsn::min)
    }

    pub fn note_background_error(&self, error: &StoreError) {
        self.counters.background_errors.add(1);
        *self.background_error.borrow_mut() = Some(error.clone());
    }

    /// A flush failed, or did not. People are told when that changes: without flushes a node soon takes no writes.
    pub fn flushed_or_not(&self, failure: Option<&StoreError>) {
        let before = self.stuck.replace(failure.cloned());
        match (before, failure) {
            (None, Some(error)) => {
                (self.options.tell)(format!("data stays in memory, and soon writes are refused: {error}"))
            }
            (Some(_), None) => (self.options.tell)("data gets to the disk again".to_string()),
            _ => {}
        }
    }

    /// Data left the memtables or the tables: let go of log segments and files.
    pub async fn after_change(&self) -> Result<(), StoreError> {
        self.segments.retire_below(self.lsn_needed()).await?;
        self.progressed.notify();
        self.remove_garbage().await;
        Ok(())
    }

    /// Whether a tree has this file in force (a snapshot may have brought it back).
    fn is_named(&self, path: &str) -> bool {
        let trees = self.trees.borrow();
        let tree = tablet_of(path).and_then(|tablet| trees.get(&tablet));
        tree.is_some_and(|tree| tree.version().tables().any(|table| table.path() == path))
    }

    /// Removes files that nobody reads and no manifest names.
    pub async fn remove_garbage(&self) {
        loop {
            let Ok(_removing) = self.removing.enter(&self.shard).await else { return };
            let Some(path) = self.garbage.borrow_mut().pop() else { return };
            if self.protected.borrow().contains(&path) || self.is_named(&path) {
                continue;
            }
            // What cannot be removed now is found at the next start: no manifest names it.
            if let Err(error) = self.shard.disk().remove(&path).await {
                self.note_background_error(&error.into());
            }
        }
    }
}

impl Record for Mutation {
    fn bytes(&self) -> [&[u8]; 2] {
        [Mutation::bytes(self), &[]]
    }
}

/// What is in the log is applied to the memtables.
impl Owner for Inner {
    type Record = Mutation;
    type Answer = Lsn;
    type Error = StoreError;

    fn committed(&self, tablet: TabletId, mutation: Mutation, lsn: Lsn) -> Result<Lsn, StoreError> {
        let outcome = self.tree(tablet).and_then(|tree| {
            let active = tree.active();
            let before = active.bytes();
            active.apply(&mutation, lsn)?;
            tree.changed.borrow_mut().add(&mutation);
            self.memtable_grew(before, active.bytes());
            Ok(lsn)
        });
        self.counters.writes.add(1);
        self.counters.written_user_bytes.add(mutation.bytes().len() as u64);
        outcome
    }

    fn group_committed(&self) {
        self.freeze_if_full();
        self.freeze_if_log_full();
    }

    /// People are told when it changes.
    fn logged_or_not(&self, failure: Option<&WalError>) {
        let before = self.log_full.replace(failure.cloned().map(StoreError::from));
        match (before, failure) {
            (None, Some(error)) => (self.options.tell)(format!("writes are refused: {error}")),
            (Some(_), None) => (self.options.tell)("writes are taken again".to_string()),
            _ => {}
        }
    }

    fn failed(&self, error: &WalError) {
        self.note_background_error(&error.clone().into());
    }
}

pub fn stopped() -> StoreError {
    StoreError::Stopped { reason: "the shard stopped".into() }
}
