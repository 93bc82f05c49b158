//! Flushing: a frozen memtable becomes a table, the manifest says so, and the log below it is no longer needed.

use crate::error::StoreError;
use crate::inner::Inner;
use crate::limits::SLICE_ROWS;
use crate::manifest::TableEntry;
use crate::memtable::Memtable;
use crate::range::RangeTombstone;
use crate::row_codec::{row_bytes, summarize_row};
use crate::scan::merge_patches;
use crate::table::{TableWriter, WriterOptions, WrittenTable};
use crate::tree::{Run, Tree};
use std::ops::Bound;
use std::rc::Rc;
use std::time::Duration;

/// Between attempts when the disk is full.
const RETRY: Duration = Duration::from_millis(500);

/// So many tablets are flushed at the same time. Most of a flush is waiting for syncs of the disk, which take as long for a memtable of a
/// few kilobytes, as it is if memory is little and tablets are many: one after the other, writes soon wait for them.
pub const FLUSHES: usize = 4;

/// A flushing task, one of [`FLUSHES`].
pub async fn run(inner: Rc<Inner>) {
    loop {
        let Some((tree, memtable)) = oldest_frozen(&inner) else {
            if inner.flush_wanted.wait(&inner.shard).await.is_err() {
                return;
            }
            continue;
        };
        tree.taken_for_flush.set(true);
        flush_or_tell(&inner, &tree, &memtable).await;
        tree.taken_for_flush.set(false);
    }
}

async fn flush_or_tell(inner: &Rc<Inner>, tree: &Rc<Tree>, memtable: &Rc<Memtable>) {
    if let Err(error) = flush(inner, tree, memtable).await {
        inner.note_background_error(&error);
        inner.flushed_or_not(Some(&error));
        inner.flush_failures.set(inner.flush_failures.get() + 1);
        inner.progressed.notify();
        inner.shard.sleep(RETRY).await;
        return;
    }
    inner.flushed_or_not(None);
    if let Err(error) = inner.segments.retire_below(inner.lsn_needed()).await {
        inner.note_background_error(&error.into());
    }
    inner.runs_changed();
    inner.compaction_wanted.notify();
    inner.remove_garbage().await;
}

/// What keeps the log longest, of the tablets that no task flushes.
fn oldest_frozen(inner: &Inner) -> Option<(Rc<Tree>, Rc<Memtable>)> {
    let trees = inner.trees.borrow();
    let free = trees.values().filter(|tree| !tree.taken_for_flush.get());
    let frozen = free.filter_map(|tree| Some((tree, tree.oldest_frozen()?)));
    let (tree, memtable) = frozen.min_by_key(|(tree, memtable)| (memtable.lsn_first(), tree.id))?;
    Some((tree.clone(), memtable))
}

/// Writer options for a new table of this tree.
pub fn writer_options(inner: &Inner, tree: &Tree, bottom: bool) -> WriterOptions {
    let options = tree.options();
    let table = inner.new_table_id();
    WriterOptions {
        tablet: tree.id,
        table,
        path: format!("{}/{}", tree.directory, table.file_name()),
        block_bytes: options.block_bytes,
        compression: if bottom { options.bottom_compression } else { options.compression },
        bloom_bits: options.bloom_bits,
        prefix: options.prefix,
    }
}

async fn flush(inner: &Rc<Inner>, tree: &Rc<Tree>, memtable: &Rc<Memtable>) -> Result<(), StoreError> {
    let _flushing = tree.flushing.enter(&inner.shard).await?;
    match write_and_install(inner, tree, memtable).await {
        // It is not what was written a moment ago, and that is still in memory: another file. A node that stops, or starts,
        // waits for this, and fails if it does.
        Err(StoreError::Damaged { .. }) => write_and_install(inner, tree, memtable).await,
        done => done,
    }
}

async fn write_and_install(inner: &Rc<Inner>, tree: &Rc<Tree>, memtable: &Rc<Memtable>) -> Result<(), StoreError> {
    if tree.dropped.get() {
        return Ok(());
    }
    let options = writer_options(inner, tree, false);
    let path = options.path.clone();
    let written = match write_table(inner, memtable, options).await {
        Ok(written) => written,
        Err(error) => {
            inner.garbage.borrow_mut().push(path);
            inner.remove_garbage().await;
            return Err(error);
        }
    };
    inner.counters.flushes.add(1);
    inner.counters.flushed_bytes.add(written.length);
    let installed = install(inner, tree, memtable, &written).await;
    if !matches!(installed, Ok(true)) {
        inner.garbage.borrow_mut().push(path);
    }
    installed.map(drop)
}

/// False: the memtable was truncated or dropped meanwhile.
async fn install(
    inner: &Rc<Inner>,
    tree: &Rc<Tree>,
    memtable: &Rc<Memtable>,
    written: &WrittenTable,
) -> Result<bool, StoreError> {
    let gate = tree.gate.enter(&inner.shard).await?;
    let current = tree.oldest_frozen().is_some_and(|oldest| Rc::ptr_eq(&oldest, memtable));
    if tree.dropped.get() || !current {
        return Ok(false);
    }
    let entry = TableEntry { table: written.table, length: written.length, content_crc: written.content_crc };
    let table = inner.open_table(tree, &entry).await?;
    let mut runs = tree.version().runs.clone();
    runs.push(Rc::new(Run { id: inner.new_run_id(), tables: vec![table] }));
    let manifest = tree.next_manifest(&runs, memtable.lsn_last());
    manifest.store(&inner.shard, &tree.directory).await?;
    tree.install(&manifest, runs, std::slice::from_ref(memtable));
    inner.memtables_gone(std::slice::from_ref(memtable));
    drop(gate);
    Ok(true)
}

async fn write_table(
    inner: &Rc<Inner>,
    memtable: &Memtable,
    options: WriterOptions,
) -> Result<WrittenTable, StoreError> {
    let mut writer = TableWriter::create(inner.shard.clone(), options).await?;
    let mut after: Option<bytes::Bytes> = None;
    loop {
        let start = after.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_ref()));
        let batch = memtable.batch(start, Bound::Unbounded, false, SLICE_ROWS);
        let Some((last, _)) = batch.last() else { break };
        after = Some(last.clone());
        for (key, patches) in &batch {
            let row = match patches.as_slice() {
                [row] => row.clone(),
                many => row_bytes(&merge_patches(many)?),
            };
            let summary = summarize_row(&row)?;
            if writer.add(key, &row, &summary) {
                writer.drain().await?;
            }
        }
        inner.shard.yield_now().await;
    }
    let ranges: Vec<RangeTombstone> = memtable.ranges().iter().collect();
    writer.finish(&ranges, memtable.lsn_last()).await
}

/// Freezes a tree's memtable and waits until everything frozen is in tables.
pub async fn flush_tree(inner: &Rc<Inner>, tree: &Rc<Tree>) -> Result<(), StoreError> {
    inner.freeze(tree);
    let Some(target) = tree.frozen().last().map(|memtable| memtable.lsn_last()) else { return Ok(()) };
    let failures = inner.flush_failures.get();
    while tree.frozen().iter().any(|memtable| memtable.lsn_last() <= target) && !tree.dropped.get() {
        if inner.flush_failures.get() != failures
            && let Some(error) = inner.background_error.borrow().clone()
        {
            return Err(error);
        }
        inner.progressed.wait(&inner.shard).await.map_err(|_| crate::inner::stopped())?;
    }
    Ok(())
}
