//! The tree of one tablet: an active memtable, frozen ones on their way to disk, and runs of tables. Its structure
//! changes only behind its gate, and only in one step without awaits after the manifest that says so is durable.

use crate::changed::Changed;
use crate::compaction::strategy;
use crate::damage::Damages;
use crate::error::StoreError;
use crate::manifest::{Manifest, RunEntry};
use crate::memtable::Memtable;
use crate::options::TabletOptions;
use crate::stats::Progress;
use crate::table::Table;
use holon_base::TabletId;
use holon_wal::Lsn;
use holon_wal::sync::Gate;
use smallvec::SmallVec;
use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

/// Tables in ascending order that do not overlap: to a reader, one sorted sequence.
pub struct Run {
    pub id: u64,
    pub tables: Vec<Rc<Table>>,
}

impl Run {
    pub fn bytes(&self) -> u64 {
        self.tables.iter().map(|table| table.length()).sum()
    }

    /// The one table that may say something about a key.
    pub fn find(&self, key: &[u8]) -> Option<&Rc<Table>> {
        // Tables may touch: the end of a deleted range, which is exclusive, may be the first key of the next table.
        let after = self.tables.partition_point(|table| table.properties().first.as_ref() <= key);
        self.tables.get(after.checked_sub(1)?).filter(|table| table.properties().spans(key))
    }

    /// Smallest and largest key that concern this run.
    pub fn span(&self) -> Option<(&[u8], &[u8])> {
        Some((&self.tables.first()?.properties().first, &self.tables.last()?.properties().last))
    }

    pub fn entry(&self) -> RunEntry {
        RunEntry { id: self.id, tables: self.tables.iter().map(|table| table.entry()).collect() }
    }
}

/// The runs of a tree at one moment; never changed once made.
#[derive(Default)]
pub struct Version {
    /// In the order they were made.
    pub runs: Vec<Rc<Run>>,
    totals: OnceCell<Totals>,
}

/// What all tables of a version come to. Background work asks it of every tree, whatever has changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Totals {
    pub tables: u64,
    pub bytes: u64,
    pub memory_bytes: u64,
    /// The first second at which nothing in some table is live.
    pub live_until_first_seconds: i64,
    /// The largest share that tombstones have of the rows of a table.
    pub tombstone_ratio_max: f64,
}

impl Version {
    pub fn new(runs: Vec<Rc<Run>>) -> Self {
        Version { runs, totals: OnceCell::new() }
    }

    pub fn totals(&self) -> Totals {
        let totals = *self.totals.get_or_init(|| self.sum_up());
        debug_assert_eq!(totals, self.sum_up(), "tables do not change");
        totals
    }

    fn sum_up(&self) -> Totals {
        let mut totals = Totals {
            tables: 0,
            bytes: 0,
            memory_bytes: 0,
            live_until_first_seconds: i64::MAX,
            tombstone_ratio_max: 0.0,
        };
        for table in self.tables() {
            totals.tables += 1;
            totals.bytes += table.length();
            totals.memory_bytes += table.memory_bytes() as u64;
            let properties = table.properties();
            totals.live_until_first_seconds = totals.live_until_first_seconds.min(properties.live_until_seconds);
            totals.tombstone_ratio_max = totals.tombstone_ratio_max.max(properties.tombstone_ratio());
        }
        totals
    }

    pub fn tables(&self) -> impl Iterator<Item = &Rc<Table>> {
        self.runs.iter().flat_map(|run| run.tables.iter())
    }
}

/// What a read goes by: nothing it holds is removed while it does.
pub struct View {
    pub version: Rc<Version>,
    /// The active memtable last.
    pub memtables: SmallVec<[Rc<Memtable>; 2]>,
}

pub struct Tree {
    pub id: TabletId,
    pub directory: String,
    options: RefCell<Rc<TabletOptions>>,
    active: RefCell<Rc<Memtable>>,
    /// Oldest first.
    frozen: RefCell<Vec<Rc<Memtable>>>,
    version: RefCell<Rc<Version>>,
    /// How much its runs want to be merged. It follows from `version` and `options` alone.
    pressure: RefCell<OnceCell<Option<f64>>>,
    sequence: Cell<u64>,
    flushed: Cell<Lsn>,
    pub gate: Gate,
    pub dropped: Cell<bool>,
    /// Why background work on this tree was given up.
    pub broken: RefCell<Option<StoreError>>,
    /// One compaction of this tree at a time.
    pub compacting: Gate,
    /// How far it is.
    pub compaction: Cell<Option<Progress>>,
    /// Held while a memtable is being written out.
    pub flushing: Gate,
    /// By one of the flushing tasks, from its choice until it looks for another.
    pub taken_for_flush: Cell<bool>,
    /// Since somebody took it.
    pub changed: RefCell<Changed>,
    pub damages: Damages,
    /// Its damage is being made good, which holds `compacting` or waits for it.
    pub mending: Cell<bool>,
}

impl Tree {
    pub fn new(id: TabletId, options: TabletOptions, manifest: &Manifest, version: Version, damages: Damages) -> Self {
        Tree {
            id,
            directory: directory(id),
            options: RefCell::new(Rc::new(options)),
            active: RefCell::new(Rc::new(Memtable::new())),
            frozen: RefCell::default(),
            version: RefCell::new(Rc::new(version)),
            pressure: RefCell::default(),
            sequence: Cell::new(manifest.sequence),
            flushed: Cell::new(manifest.flushed),
            gate: Gate::new(),
            dropped: Cell::new(false),
            broken: RefCell::new(damages.check_readable().err()),
            compacting: Gate::new(),
            compaction: Cell::new(None),
            flushing: Gate::new(),
            taken_for_flush: Cell::new(false),
            changed: RefCell::new(Changed::Anywhere),
            damages,
            mending: Cell::new(false),
        }
    }

    pub fn options(&self) -> Rc<TabletOptions> {
        self.options.borrow().clone()
    }

    pub fn set_options(&self, options: TabletOptions) {
        *self.options.borrow_mut() = Rc::new(options);
        self.pressure.take();
    }

    pub fn active(&self) -> Rc<Memtable> {
        self.active.borrow().clone()
    }

    pub fn frozen(&self) -> Vec<Rc<Memtable>> {
        self.frozen.borrow().clone()
    }

    pub fn oldest_frozen(&self) -> Option<Rc<Memtable>> {
        self.frozen.borrow().first().cloned()
    }

    pub fn version(&self) -> Rc<Version> {
        self.version.borrow().clone()
    }

    pub fn run_count(&self) -> usize {
        self.version.borrow().runs.len()
    }

    pub fn totals(&self) -> Totals {
        self.version.borrow().totals()
    }

    /// How far a level is beyond its threshold, if one is.
    pub fn compaction_pressure(&self) -> Option<f64> {
        let pick = || strategy::pick(&self.version.borrow(), &self.options.borrow().compaction);
        let find = || pick().map(|(_, pressure)| pressure);
        let pressure = *self.pressure.borrow().get_or_init(find);
        debug_assert_eq!(pressure, find(), "of other runs or options");
        pressure
    }

    pub fn flushed(&self) -> Lsn {
        self.flushed.get()
    }

    pub fn view(&self) -> View {
        let mut memtables: SmallVec<[Rc<Memtable>; 2]> = self.frozen.borrow().iter().cloned().collect();
        memtables.push(self.active());
        View { version: self.version(), memtables }
    }

    pub fn memtables(&self) -> SmallVec<[Rc<Memtable>; 2]> {
        self.view().memtables
    }

    /// The oldest record that is only in memory and in the log; larger than any if there is none.
    pub fn lsn_needed(&self) -> Lsn {
        let active = self.active.borrow().lsn_first();
        self.frozen.borrow().iter().map(|memtable| memtable.lsn_first()).fold(active, Lsn::min)
    }

    /// Puts the active memtable in line to be flushed; `None` if it is empty.
    pub fn freeze(&self) -> Option<Rc<Memtable>> {
        let full = self.active();
        if full.is_empty() {
            return None;
        }
        *self.active.borrow_mut() = Rc::new(Memtable::new());
        self.frozen.borrow_mut().push(full.clone());
        Some(full)
    }

    /// The manifest that follows the one in force. Files that cannot be opened stay in it, each a run of its own.
    pub fn next_manifest(&self, runs: &[Rc<Run>], flushed: Lsn) -> Manifest {
        let mut manifest = self.manifest_without_unreadable(runs, flushed);
        let unreadable = self.damages.unreadable().into_iter();
        manifest.runs.extend(unreadable.map(|entry| RunEntry { id: entry.table.0, tables: vec![entry] }));
        manifest
    }

    /// Of a tree in which none of the data of these files counts any more.
    pub fn manifest_without_unreadable(&self, runs: &[Rc<Run>], flushed: Lsn) -> Manifest {
        Manifest {
            tablet: self.id,
            sequence: self.sequence.get() + 1,
            flushed: flushed.max(self.flushed.get()),
            runs: runs.iter().map(|run| run.entry()).collect(),
        }
    }

    /// No file with damage is part of the tree any more.
    pub fn forget_damage(&self) {
        self.damages.forget();
        *self.broken.borrow_mut() = None;
    }

    /// Takes over what a durable manifest says, forgets the memtables that it makes superfluous, and marks the tables
    /// that are no longer named.
    pub fn install(&self, manifest: &Manifest, runs: Vec<Rc<Run>>, flushed: &[Rc<Memtable>]) {
        let before = self.version.replace(Rc::new(Version::new(runs)));
        self.pressure.take();
        let version = self.version.borrow();
        for table in before.tables() {
            if !version.tables().any(|kept| Rc::ptr_eq(kept, table)) {
                table.set_obsolete();
            }
        }
        self.sequence.set(manifest.sequence);
        self.flushed.set(manifest.flushed);
        self.frozen.borrow_mut().retain(|memtable| !flushed.iter().any(|gone| Rc::ptr_eq(gone, memtable)));
    }
}

pub const TABLETS: &str = "tablets";

pub fn directory(id: TabletId) -> String {
    format!("{TABLETS}/{:016x}", id.0)
}

/// The tablet in whose directory a file is.
pub fn tablet_of(path: &str) -> Option<TabletId> {
    let (directory, _) = path.strip_prefix(TABLETS)?.strip_prefix('/')?.split_once('/')?;
    parse_directory(directory)
}

pub fn parse_directory(name: &str) -> Option<TabletId> {
    if name.len() != 16 {
        return None;
    }
    u64::from_str_radix(name, 16).ok().map(TabletId)
}
