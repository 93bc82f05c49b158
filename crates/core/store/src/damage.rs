//! Damage of a tablet's files, where other replicas have the data: what is lost is named, the owner writes again what the others
//! have of it, and then it is dropped here, with the damaged file.
//!
//! ```text
//!   found: by a read, a compaction, a verification, at opening ─► noted and told
//!   begin ─► lost: ranges of keys ─► (the owner fills them) ─► finish: one manifest, without what was there of them at `begin`
//! ```
//!
//! Until `finish` nothing is removed: what is whole is read, what is damaged is an error. So it may be broken off at any moment, and
//! begun again.
//!
//! Of the lost keys *everything* goes that had come before `begin`, not only what was in the damaged block: that may have been the
//! deletion of what other files still hold, and the other replicas may have forgotten both. What has come since stays.

use crate::changed::Changed;
use crate::compaction::task::{discard, open_all, write_merged};
use crate::error::StoreError;
use crate::flush::flush_tree;
use crate::inner::Inner;
use crate::limits::DAMAGES_MAX;
use crate::manifest::TableEntry;
use crate::read::{KeyRange, key_after};
use crate::table::Table;
use crate::tree::{Run, Tree};
use bytes::Bytes;
use holon_base::TabletId;
use holon_kernel::Class;
use holon_wal::Lsn;
use holon_wal::sync::GateGuard;
use std::cell::RefCell;
use std::rc::Rc;

/// What is known of a tree.
#[derive(Default)]
pub struct Damages {
    /// Places in files that can be read otherwise: the file and the offset.
    places: RefCell<Vec<(String, u64)>>,
    /// Files that cannot be opened, and are part of the tree: what is in them nobody knows.
    unreadable: RefCell<Vec<(TableEntry, StoreError)>>,
}

impl Damages {
    pub fn new(unreadable: Vec<(TableEntry, StoreError)>) -> Damages {
        Damages { places: RefCell::default(), unreadable: RefCell::new(unreadable) }
    }

    pub fn any(&self) -> bool {
        !self.places.borrow().is_empty() || !self.unreadable.borrow().is_empty()
    }

    pub fn unreadable(&self) -> Vec<TableEntry> {
        self.unreadable.borrow().iter().map(|(entry, _)| *entry).collect()
    }

    /// # Errors
    /// A file cannot be opened: nothing that is read without it is known to be right.
    pub fn check_readable(&self) -> Result<(), StoreError> {
        self.unreadable.borrow().first().map_or(Ok(()), |(_, error)| Err(error.clone()))
    }

    /// False: it is known.
    fn add(&self, file: &str, offset: u64) -> bool {
        let mut places = self.places.borrow_mut();
        let is_new = places.len() < DAMAGES_MAX && !places.iter().any(|(of, at)| of == file && *at == offset);
        if is_new {
            places.push((file.to_owned(), offset));
        }
        is_new
    }

    /// The files with damage are not part of the tree any more.
    pub fn forget(&self) {
        self.places.borrow_mut().clear();
        self.unreadable.borrow_mut().clear();
    }
}

impl Inner {
    /// Takes note of damage in a file that is part of the tree, and tells of it.
    pub fn note_damage(&self, tree: &Tree, error: &StoreError) {
        let StoreError::Damaged { file, offset, .. } = error else { return };
        let is_of_tree = tree.version().tables().any(|table| table.path() == file);
        if is_of_tree && tree.damages.add(file, *offset) {
            self.counters.damages.add(1);
            (self.options.tell)(error.to_string());
        }
    }

    /// The outcome of work on a tree, with damage noted.
    pub fn noted<T>(&self, tree: &Tree, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        outcome.inspect_err(|error| self.note_damage(tree, error))
    }
}

/// A tablet whose damage is being made good. Dropped before [`Mending::finish`], it was nothing. Until then the tablet is not
/// compacted.
pub struct Mending {
    inner: Rc<Inner>,
    tree: Rc<Tree>,
    /// What there was at the begin.
    runs: Vec<Rc<Run>>,
    lost: Vec<KeyRange>,
    _compacting: GateGuard,
    _uncompacted: Uncompacted,
}

/// A tree that compaction leaves alone.
struct Uncompacted {
    inner: Rc<Inner>,
    tree: Rc<Tree>,
}

impl Uncompacted {
    fn begin(inner: &Rc<Inner>, tree: &Rc<Tree>) -> Uncompacted {
        tree.mending.set(true);
        inner.runs_changed();
        Uncompacted { inner: inner.clone(), tree: tree.clone() }
    }
}

impl Drop for Uncompacted {
    fn drop(&mut self) {
        self.tree.mending.set(false);
        self.inner.runs_changed();
        self.inner.compaction_wanted.notify();
    }
}

impl Mending {
    /// `None`: there is no damage (any more).
    pub async fn begin(inner: Rc<Inner>, tree: Rc<Tree>) -> Result<Option<Mending>, StoreError> {
        // Memory may hold what came late and a damaged file says is deleted: it goes with it.
        flush_tree(&inner, &tree).await?;
        // Before this waits: a compaction that waits behind it compacts no other tree, and writes, those of the owner too, wait for that.
        let uncompacted = Uncompacted::begin(&inner, &tree);
        let compacting = tree.compacting.enter(&inner.shard).await?;
        let runs = tree.version().runs.clone();
        let tables: Vec<Rc<Table>> = runs.iter().flat_map(|run| run.tables.iter().cloned()).collect();
        let is_there = |file: &str| tables.iter().any(|table| table.path() == file);
        tree.damages.places.borrow_mut().retain(|(file, _)| is_there(file));
        if tree.dropped.get() || !tree.damages.any() {
            return Ok(None);
        }
        let places = tree.damages.places.borrow().clone();
        let mut lost = Vec::new();
        if tree.damages.unreadable.borrow().is_empty() && places.len() < DAMAGES_MAX {
            for (file, offset) in places {
                let table = tables.iter().find(|table| table.path() == file);
                lost.extend(lost_keys(&inner, table.ok_or_else(crate::inner::stopped)?, offset).await?);
            }
        } else {
            lost.push(KeyRange::all());
        }
        let lost = joined(lost);
        Ok(Some(Mending { inner, tree, runs, lost, _compacting: compacting, _uncompacted: uncompacted }))
    }

    /// Ranges of keys of which something is lost here: ascending, apart from each other.
    pub fn lost(&self) -> &[KeyRange] {
        &self.lost
    }

    /// The tablet has again, in what was written since the begin, all that it should have of the lost keys: what was there before
    /// goes.
    ///
    /// # Errors
    /// There is more damage, or no room: as if it had not begun.
    pub async fn finish(self) -> Result<(), StoreError> {
        let inner = self.inner.clone();
        let work = async move {
            let outcome = self.replace().await;
            self.inner.noted(&self.tree, outcome)?;
            self.inner.after_change().await
        };
        inner.detached(Class::Background, work).await
    }

    async fn replace(&self) -> Result<(), StoreError> {
        let Mending { inner, tree, runs, lost, .. } = self;
        let kept = gaps(lost);
        let mut written = Vec::new();
        let mut new_runs = Vec::new();
        for run in runs {
            let outcome = self.without_lost(run, &kept).await;
            let (tables, of_run) = match outcome {
                Ok(outcome) => outcome,
                Err(error) => {
                    discard(inner, tree, &written);
                    return Err(error);
                }
            };
            written.extend(of_run);
            new_runs.extend((!tables.is_empty()).then(|| Rc::new(Run { id: inner.new_run_id(), tables })));
        }
        let gate = tree.gate.enter(&inner.shard).await?;
        let mut all = tree.version().runs.clone();
        let before = all.len();
        all.retain(|run| !runs.iter().any(|old| Rc::ptr_eq(run, old)));
        if tree.dropped.get() || before - all.len() != runs.len() {
            // Truncated, restored or dropped meanwhile.
            discard(inner, tree, &written);
            return Ok(());
        }
        new_runs.extend(all);
        let manifest = tree.manifest_without_unreadable(&new_runs, Lsn(0));
        if let Err(error) = manifest.store(&inner.shard, &tree.directory).await {
            discard(inner, tree, &written);
            return Err(error);
        }
        let unreadable = tree.damages.unreadable();
        let paths = unreadable.iter().map(|entry| format!("{}/{}", tree.directory, entry.table.file_name()));
        inner.garbage.borrow_mut().extend(paths);
        tree.install(&manifest, new_runs, &[]);
        tree.changed.borrow_mut().merge(Changed::within(lost));
        tree.forget_damage();
        inner.counters.mended.add(1);
        drop(gate);
        Ok(())
    }

    /// The tables that are to take the place of a run's, and which of them were written for that.
    async fn without_lost(
        &self,
        run: &Rc<Run>,
        kept: &[KeyRange],
    ) -> Result<(Vec<Rc<Table>>, Vec<crate::table::WrittenTable>), StoreError> {
        let Mending { inner, tree, lost, .. } = self;
        let (mut tables, mut written) = (Vec::new(), Vec::new());
        for table in &run.tables {
            let is_hit = |range: &KeyRange| table.properties().overlaps(&range.start, range.end.as_deref());
            if !lost.iter().any(is_hit) {
                tables.push(table.clone());
                continue;
            }
            if kept.is_empty() {
                continue;
            }
            let alone = Rc::new(Run { id: 0, tables: vec![table.clone()] });
            let outcome = write_merged(inner, tree, &[alone], kept, &mut |_| ()).await;
            let new = match outcome {
                Ok(new) => new,
                Err(error) => {
                    discard(inner, tree, &written);
                    return Err(error);
                }
            };
            let opened = open_all(inner, tree, &new).await;
            written.extend(new);
            match opened {
                Ok(opened) => tables.extend(opened),
                Err(error) => {
                    discard(inner, tree, &written);
                    return Err(error);
                }
            }
        }
        Ok((tables, written))
    }
}

/// The keys about which a damaged place may have said something: those of the block that is there, with the last one before it
/// (which is where cursors stop before they load it); all of the table's, if it is in none.
async fn lost_keys(inner: &Inner, table: &Table, offset: u64) -> Result<Vec<KeyRange>, StoreError> {
    let properties = table.properties();
    let whole = KeyRange { start: properties.first.clone(), end: Some(key_after(&properties.last)) };
    let Some(top) = table.top().filter(|_| offset < table.footer().filter.offset) else { return Ok(vec![whole]) };
    let mut before = properties.first.clone();
    let mut lost = Vec::new();
    for at in 0..top.len() {
        let handle = table.handle(top, at, table.footer().top)?;
        let last = Bytes::copy_from_slice(top.key(at));
        let index = table.block(handle, &inner.cache, None).await;
        match index {
            _ if handle.contains(offset) => lost.push(KeyRange::new(before.clone(), key_after(&last))),
            Err(StoreError::Damaged { .. }) => lost.push(KeyRange::new(before.clone(), key_after(&last))),
            Err(other) => return Err(other),
            Ok(index) => {
                let mut start = before.clone();
                for child in 0..index.len() {
                    let end = Bytes::copy_from_slice(index.key(child));
                    if table.handle(&index, child, handle)?.contains(offset) {
                        lost.push(KeyRange::new(start, key_after(&end)));
                    }
                    start = end;
                }
            }
        }
        before = last;
    }
    Ok(if lost.is_empty() { vec![whole] } else { lost })
}

/// Ascending; what overlaps or touches is one.
fn joined(mut ranges: Vec<KeyRange>) -> Vec<KeyRange> {
    ranges.sort_by(|a, b| a.start.cmp(&b.start));
    let mut joined: Vec<KeyRange> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.end.as_ref().is_none_or(|end| *end >= range.start) => {
                let both = last.end.take().zip(range.end);
                last.end = both.map(|(one, other)| one.max(other));
            }
            _ => joined.push(range),
        }
    }
    joined
}

/// What lies between ranges, before and behind them.
fn gaps(ranges: &[KeyRange]) -> Vec<KeyRange> {
    let mut gaps = Vec::new();
    let mut start = Some(Bytes::new());
    for range in ranges {
        gaps.extend(start.map(|start| KeyRange { start, end: Some(range.start.clone()) }));
        start = range.end.clone();
    }
    gaps.extend(start.map(|start| KeyRange { start, end: None }));
    gaps.retain(|gap| !gap.is_empty());
    gaps
}

/// The tablets of an engine with damage.
pub fn damaged_tablets(inner: &Inner) -> Vec<TabletId> {
    inner.all_trees().iter().filter(|tree| tree.damages.any()).map(|tree| tree.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, EngineOptions};
    use holon_kernel::Scope;
    use holon_kernel::testing::{MemoryDisk, TestShard};

    /// The one task that compacts would wait behind it, and so would writes, also those by which it is made good.
    #[test]
    fn while_it_waits_for_a_compaction_no_other_is_begun() {
        let test = TestShard::new(MemoryDisk::new());
        let (shard, tablet) = (test.shard.clone(), TabletId(0x1_0000));
        test.block_on(async move {
            let engine = Engine::open(shard.clone(), EngineOptions::new(1, 0, 1)).await.expect("opens");
            engine.recover().await.expect("recovers");
            engine.create_tablet(tablet).await.expect("creates a tablet");
            let tree = engine.tree(tablet).expect("is there");
            let compacts = tree.compacting.enter(&shard).await.expect("the gate is free");
            let (completer, ended) = shard.ticket();
            shard.spawn(Scope::Node, Class::Foreground, async move {
                completer.complete(engine.begin_mending(tablet).await.map(|begun| begun.is_some()));
            });
            for _ in 0..100 {
                shard.yield_now().await;
            }
            assert!(tree.mending.get(), "a compaction may be begun that waits behind it");
            drop(compacts);
            assert_eq!(ended.await.expect("it ends"), Ok(false), "there is no damage");
            assert!(!tree.mending.get());
        });
    }

    fn range(start: &'static str, end: &'static str) -> KeyRange {
        KeyRange::new(start, end)
    }

    #[test]
    fn what_is_lost_and_what_is_kept_are_everything_together() {
        let lost = joined(vec![range("m", "p"), range("b", "d"), range("c", "e"), range("e", "f")]);
        assert_eq!(lost, [range("b", "f"), range("m", "p")]);
        let behind = KeyRange { start: "p".into(), end: None };
        assert_eq!(gaps(&lost), [range("", "b"), range("f", "m"), behind.clone()]);
        assert_eq!(joined(vec![range("a", "b"), KeyRange::all()]), [KeyRange::all()]);
        assert_eq!(gaps(&[KeyRange::all()]), []);
        assert_eq!(gaps(&[range("", "p")]), [behind]);
    }
}
