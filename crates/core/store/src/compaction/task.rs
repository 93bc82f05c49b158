//! Doing it. Input is read in slices past the cache, output is written in slices; after each, others run. The result
//! counts when the manifest names it: until then a crash, an error or a truncation leaves files that nobody knows.

use crate::compaction::purge::Purge;
use crate::compaction::strategy;
use crate::cursor::{Merge, RunCursor, Source};
use crate::error::StoreError;
use crate::flush::writer_options;
use crate::inner::{Inner, stopped};
use crate::limits::{COMPACTION_RUNS_MAX, SLICE_BYTES};
use crate::manifest::TableEntry;
use crate::memtable::Patches;
use crate::range::{RangeSet, RangeTombstone};
use crate::read::KeyRange;
use crate::row_codec::{is_purgeable, row_bytes, summarize_row};
use crate::scan::{cut, merge_patches};
use crate::stats::Progress;
use crate::table::{Table, TableWriter, WrittenTable};
use crate::tree::{Run, Tree};
use bytes::Bytes;
use holon_wal::Lsn;
use std::rc::Rc;
use std::time::Duration;

/// A table holds no more rows than this, so that the hashes for its filter fit in memory (8 bytes each, twice with
/// prefixes).
const TABLE_ROWS_MAX: u64 = 8 << 20;
/// Between attempts when the disk is full.
const RETRY: Duration = Duration::from_secs(1);

/// The compacting task.
pub async fn run(inner: Rc<Inner>) {
    loop {
        let mut candidates: Vec<(Rc<Tree>, f64)> = Vec::new();
        for tree in inner.all_trees() {
            if tree.broken.borrow().is_some() || tree.mending.get() {
                continue;
            }
            let pressure = tree.compaction_pressure();
            let pressure = pressure.or_else(|| forgettable(&inner, &tree).map(|_| 0.0));
            candidates.extend(pressure.map(|pressure| (tree, pressure)));
        }
        candidates.sort_by(|a, b| b.1.total_cmp(&a.1));
        let Some((tree, _)) = candidates.into_iter().next() else {
            if inner.compaction_wanted.wait(&inner.shard).await.is_err() {
                return;
            }
            continue;
        };
        if let Err(error) = step(&inner, &tree).await {
            inner.note_background_error(&error);
            inner.shard.sleep(RETRY).await;
        }
        inner.runs_changed();
        inner.remove_garbage().await;
    }
}

/// One compaction, if the strategy wants one. False: it does not.
pub async fn step(inner: &Rc<Inner>, tree: &Rc<Tree>) -> Result<bool, StoreError> {
    let gate = tree.compacting.enter(&inner.shard).await?;
    tree.damages.check_readable()?;
    let picked = strategy::pick(&tree.version(), &tree.options().compaction);
    let outcome = if let Some((runs, _)) = picked {
        match strategy::joined(&runs).filter(|_| !has_tombstones(&runs)) {
            Some(sorted) => join(inner, tree, &runs, sorted).await,
            None => merge(inner, tree, runs, &mut |_| ()).await,
        }
    } else if let Some((run, table)) = forgettable(inner, tree) {
        rewrite(inner, tree, &run, &table).await
    } else {
        return Ok(false);
    };
    drop(gate);
    if let Err(error @ StoreError::Damaged { .. }) = &outcome {
        inner.note_damage(tree, error);
        // Trying again would find the same damage; reads that need the damaged part say so themselves. (What was damaged when it
        // was written is no part of the tree, and is written again.)
        *tree.broken.borrow_mut() = tree.damages.any().then(|| error.clone());
    }
    outcome.map(|()| true)
}

/// Flushes come first. Merges all runs into one.
pub async fn major(
    inner: Rc<Inner>,
    tree: Rc<Tree>,
    mut progress: impl FnMut(Progress) + 'static,
) -> Result<(), StoreError> {
    let _gate = tree.compacting.enter(&inner.shard).await?;
    tree.damages.check_readable()?;
    loop {
        let runs: Vec<Rc<Run>> = tree.version().runs.iter().take(COMPACTION_RUNS_MAX).cloned().collect();
        let last = runs.len() == tree.version().runs.len();
        if !runs.is_empty() {
            let merged = merge(&inner, &tree, runs, &mut progress).await;
            inner.noted(&tree, merged)?;
        }
        if last || tree.dropped.get() {
            break;
        }
    }
    inner.runs_changed();
    inner.remove_garbage().await;
    Ok(())
}

fn has_tombstones(runs: &[Rc<Run>]) -> bool {
    runs.iter().flat_map(|run| &run.tables).any(|table| table.properties().tombstones > 0)
}

/// A table of which so much may be forgotten that it is worth a compaction of its own.
fn forgettable(inner: &Inner, tree: &Tree) -> Option<(Rc<Run>, Rc<Table>)> {
    let now_seconds = inner.now_seconds();
    let options = tree.options();
    let ratio = options.compaction.tombstone_ratio;
    let totals = tree.totals();
    if totals.live_until_first_seconds > now_seconds && totals.tombstone_ratio_max < ratio {
        return None; // as of most trees: the owner need not be asked
    }
    let policy = (options.purge)(now_seconds);
    if !policy.repaired {
        return None;
    }
    for run in &tree.version().runs {
        for table in &run.tables {
            let properties = table.properties();
            let expired = properties.live_until_seconds <= now_seconds;
            if !expired && properties.tombstone_ratio() < ratio {
                continue;
            }
            let purge = Purge { tree, inputs: std::slice::from_ref(table), policy, now_seconds };
            if purge.whole_table(table) || (properties.tombstones > 0 && purge.all_tombstones(table)) {
                return Some((run.clone(), table.clone()));
            }
        }
    }
    None
}

/// Replaces runs by one that consists of the same tables.
async fn join(inner: &Inner, tree: &Tree, runs: &[Rc<Run>], sorted: Vec<Rc<Run>>) -> Result<(), StoreError> {
    let tables = sorted.iter().flat_map(|run| run.tables.iter().cloned()).collect();
    let joined = Run { id: inner.new_run_id(), tables };
    if install(inner, tree, runs, Some(joined)).await? {
        inner.counters.trivial_moves.add(runs.len() as u64);
    }
    Ok(())
}

/// Rewrites one table of a run without what may be forgotten; drops it if nothing would be left.
async fn rewrite(inner: &Rc<Inner>, tree: &Rc<Tree>, run: &Rc<Run>, table: &Rc<Table>) -> Result<(), StoreError> {
    let now_seconds = inner.now_seconds();
    let policy = (tree.options().purge)(now_seconds);
    let purge = Purge { tree, inputs: std::slice::from_ref(table), policy, now_seconds };
    let replacement = if purge.whole_table(table) {
        inner.counters.tables_dropped_expired.add(1);
        Vec::new()
    } else {
        let alone = Rc::new(Run { id: 0, tables: vec![table.clone()] });
        write_merged(inner, tree, &[alone], &[KeyRange::all()], &mut |_| ()).await?
    };
    let opened = open_all(inner, tree, &replacement).await?;
    let mut tables = Vec::new();
    for kept in &run.tables {
        if Rc::ptr_eq(kept, table) {
            tables.extend(opened.iter().cloned());
        } else {
            tables.push(kept.clone());
        }
    }
    let changed = (!tables.is_empty()).then(|| Run { id: inner.new_run_id(), tables });
    if !install(inner, tree, std::slice::from_ref(run), changed).await? {
        discard(inner, tree, &replacement);
    }
    Ok(())
}

/// Merges runs into one.
async fn merge(
    inner: &Rc<Inner>,
    tree: &Rc<Tree>,
    runs: Vec<Rc<Run>>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), StoreError> {
    let written = write_merged(inner, tree, &runs, &[KeyRange::all()], progress).await?;
    let tables = match open_all(inner, tree, &written).await {
        Ok(tables) => tables,
        Err(error) => {
            discard(inner, tree, &written);
            return Err(error);
        }
    };
    let merged = (!tables.is_empty()).then(|| Run { id: inner.new_run_id(), tables });
    match install(inner, tree, &runs, merged).await {
        Ok(true) => {
            inner.counters.compactions.add(1);
            inner.counters.compaction_read_bytes.add(runs.iter().map(|run| run.bytes()).sum());
            Ok(())
        }
        other => {
            discard(inner, tree, &written);
            other.map(drop)
        }
    }
}

pub async fn open_all(inner: &Inner, tree: &Tree, written: &[WrittenTable]) -> Result<Vec<Rc<Table>>, StoreError> {
    let mut tables = Vec::with_capacity(written.len());
    for table in written {
        let entry = TableEntry { table: table.table, length: table.length, content_crc: table.content_crc };
        tables.push(inner.open_table(tree, &entry).await?);
    }
    Ok(tables)
}

pub fn discard(inner: &Inner, tree: &Tree, written: &[WrittenTable]) {
    let paths = written.iter().map(|table| format!("{}/{}", tree.directory, table.table.file_name()));
    inner.garbage.borrow_mut().extend(paths);
}

/// Puts one run in the place of others. False: they are not there any more (truncated, restored, dropped).
async fn install(inner: &Inner, tree: &Tree, gone: &[Rc<Run>], new: Option<Run>) -> Result<bool, StoreError> {
    let gate = tree.gate.enter(&inner.shard).await?;
    let mut runs = tree.version().runs.clone();
    let before = runs.len();
    runs.retain(|run| !gone.iter().any(|other| Rc::ptr_eq(run, other)));
    if tree.dropped.get() || before - runs.len() != gone.len() {
        return Ok(false);
    }
    runs.extend(new.map(Rc::new));
    let manifest = tree.next_manifest(&runs, Lsn(0));
    manifest.store(&inner.shard, &tree.directory).await?;
    tree.install(&manifest, runs, &[]);
    drop(gate);
    Ok(true)
}

/// The output of a compaction, table by table.
struct Output<'a> {
    inner: &'a Rc<Inner>,
    tree: &'a Rc<Tree>,
    purge: Purge<'a>,
    ranges: RangeSet,
    lsn_last: Lsn,
    bottom: bool,
    writer: Option<TableWriter>,
    /// Where the key range of the table that is being written begins.
    begin: Bytes,
    written: Vec<WrittenTable>,
}

impl Output<'_> {
    async fn writer(&mut self) -> Result<&mut TableWriter, StoreError> {
        if self.writer.is_none() {
            let options = writer_options(self.inner, self.tree, self.bottom);
            self.writer = Some(TableWriter::create(self.inner.shard.clone(), options).await?);
        }
        self.writer.as_mut().ok_or_else(stopped)
    }

    /// Ends the table before `end` (`None`: the last one).
    async fn end_table(&mut self, end: Option<Bytes>) -> Result<(), StoreError> {
        let span = KeyRange { start: std::mem::replace(&mut self.begin, end.clone().unwrap_or_default()), end };
        let inside = self.ranges.overlapping(&span.start, span.end.as_deref()).map(|range| cut(range, &span));
        let mut kept: Vec<RangeTombstone> = Vec::new();
        for range in inside {
            if self.purge.range(&range) {
                self.inner.counters.tombstones_purged.add(1);
            } else {
                kept.push(range);
            }
        }
        if self.writer.is_none() && kept.is_empty() {
            return Ok(());
        }
        self.writer().await?;
        if let Some(writer) = self.writer.take() {
            let path = writer.path().to_owned();
            match writer.finish(&kept, self.lsn_last).await {
                Ok(table) => {
                    self.inner.counters.compaction_written_bytes.add(table.length);
                    self.written.push(table);
                }
                Err(error) => {
                    self.inner.garbage.borrow_mut().push(path);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    async fn add(&mut self, key: &Bytes, patches: &Patches) -> Result<(), StoreError> {
        let covering = if self.ranges.is_empty() { None } else { self.ranges.covering(key) };
        let row = match patches.as_slice() {
            [only] if covering.is_none() && !is_purgeable(only) => only.clone(),
            many => {
                let mut row = merge_patches(many)?;
                row.drop_covered(covering);
                let purged = self.purge.row(key, &mut row);
                self.inner.counters.tombstones_purged.add(purged);
                if row.is_empty() {
                    return Ok(());
                }
                row_bytes(&row)
            }
        };
        let summary = summarize_row(&row)?;
        let table_bytes = self.tree.options().compaction.table_bytes;
        if self.writer.as_ref().is_some_and(|writer| writer.bytes() >= table_bytes || writer.rows() >= TABLE_ROWS_MAX) {
            self.end_table(Some(key.clone())).await?;
        }
        let writer = self.writer().await?;
        if writer.add(key, &row, &summary) {
            writer.drain().await?;
        }
        Ok(())
    }
}

/// New tables with what runs hold in `ranges`, which ascend. Deleted ranges stay whole.
pub async fn write_merged(
    inner: &Rc<Inner>,
    tree: &Rc<Tree>,
    runs: &[Rc<Run>],
    ranges_kept: &[KeyRange],
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<WrittenTable>, StoreError> {
    let inputs: Vec<Rc<Table>> = runs.iter().flat_map(|run| run.tables.iter().cloned()).collect();
    let now_seconds = inner.now_seconds();
    let options = tree.options();
    let mut ranges = RangeSet::default();
    for fragment in inputs.iter().flat_map(|table| table.ranges().fragments()) {
        ranges.add(fragment.clone());
    }
    let bytes_total: u64 = runs.iter().map(|run| run.bytes()).sum();
    let highest = strategy::levels(&tree.version(), &options.compaction).len();
    let level = strategy::level_of(bytes_total, &options.compaction);
    let mut output = Output {
        inner,
        tree,
        purge: Purge { tree, inputs: &inputs, policy: (options.purge)(now_seconds), now_seconds },
        ranges,
        lsn_last: inputs.iter().map(|table| table.properties().lsn_last).max().unwrap_or_default(),
        bottom: level > 0 && level + 1 >= highest,
        writer: None,
        begin: Bytes::new(),
        written: Vec::new(),
    };
    tree.compaction.set(Some(Progress { bytes_done: 0, bytes_total }));
    let mut progress = |now: Progress| {
        tree.compaction.set(Some(now));
        progress(now);
    };
    let outcome = copy(&mut output, runs, ranges_kept, bytes_total, &mut progress).await;
    tree.compaction.set(None);
    if let Err(error) = outcome {
        let path = output.writer.as_ref().map(|writer| writer.path().to_owned());
        inner.garbage.borrow_mut().extend(path);
        discard(inner, tree, &output.written);
        return Err(error);
    }
    Ok(output.written)
}

async fn copy(
    output: &mut Output<'_>,
    runs: &[Rc<Run>],
    ranges: &[KeyRange],
    bytes_total: u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), StoreError> {
    let inner = output.inner.clone();
    let raw_total: u64 = output.purge.inputs.iter().map(|table| table.properties().raw_bytes).sum();
    let mut patches = Patches::new();
    let (mut raw_done, mut slice) = (0u64, 0usize);
    for range in ranges {
        let source = |run: &Rc<Run>| Source::Run(RunCursor::new(run.clone(), range.clone(), false, None, true));
        let mut merge = Merge::new(runs.iter().map(source).collect(), false);
        while let Some(key) = merge.next(&mut patches, &inner.cache).await? {
            let size = key.len() + patches.iter().map(Bytes::len).sum::<usize>();
            slice += size;
            output.add(&key, &patches).await?;
            if slice >= SLICE_BYTES {
                raw_done += slice as u64;
                slice = 0;
                if output.tree.dropped.get() {
                    return Err(StoreError::NoSuchTablet(output.tree.id));
                }
                // Bytes of the files, by the share of their content that was read.
                let share = raw_done as f64 / raw_total.max(1) as f64;
                progress(Progress { bytes_done: (share * bytes_total as f64) as u64, bytes_total });
                inner.shard.yield_now().await;
            }
        }
    }
    output.end_table(None).await?;
    progress(Progress { bytes_done: bytes_total, bytes_total });
    Ok(())
}
