//! Opening and recovery. Order: open the trees (manifests, tables; what no manifest names is removed), start a new log,
//! replay the logs of earlier boots into memtables, flush them. Only when **all** shards of the node have done so may
//! the old logs go, because the tablets of one old log may be spread over several shards now.

use crate::damage::Damages;
use crate::engine::LOGS;
use crate::error::{StoreError, damaged};
use crate::flush::flush_tree;
use crate::inner::Inner;
use crate::manifest::{MANIFEST_NAME, Manifest};
use crate::mutation::Mutation;
use crate::plant;
use crate::stats::{Progress, RecoveryReport};
use crate::table::TableId;
use crate::tree::{Run, TABLETS, Tree, Version, directory, parse_directory};
use holon_base::TabletId;
use holon_kernel::disk::DirectoryEntry;
use holon_wal::sync::sync_dir_or_stop;
use holon_wal::{LogReader, Lsn, ReplayChunk, old_logs};
use std::rc::Rc;

/// Marks a tablet that is being removed; replaces its manifest.
pub const DROPPED_NAME: &str = "DROPPED";

/// Opens the trees of this shard's tablets.
pub async fn open_trees(inner: &Rc<Inner>) -> Result<(), StoreError> {
    let disk = inner.shard.disk();
    // A tablet whose directory is visible but not durable must not take writes, which would vanish with it.
    sync_dir_or_stop(&inner.shard, TABLETS).await?;
    for entry in disk.list(TABLETS).await? {
        let Some(tablet) = parse_directory(&entry.name) else { continue };
        if tablet.shard(inner.options.shards).0 != inner.options.shard {
            continue;
        }
        if let Some(tree) = open_tree(inner, tablet).await? {
            inner.trees.borrow_mut().insert(tablet, tree);
        }
    }
    Ok(())
}

/// `None`: the tablet was being created or dropped when the node went down, and is not there.
async fn open_tree(inner: &Rc<Inner>, tablet: TabletId) -> Result<Option<Rc<Tree>>, StoreError> {
    let directory = directory(tablet);
    // What is visible need not be durable: the process may have ended before, or because of, a sync of the directory.
    // It is made so before anything is removed on the strength of it.
    sync_dir_or_stop(&inner.shard, &directory).await?;
    let entries = inner.shard.disk().list(&directory).await?;
    let Some(manifest) = Manifest::load(&inner.shard, &directory, tablet).await? else {
        let dropped = entries.iter().any(|entry| entry.name == DROPPED_NAME);
        let has_tables = entries.iter().any(|entry| TableId::from_file_name(&entry.name).is_some());
        if has_tables && !dropped {
            let path = format!("{directory}/{MANIFEST_NAME}");
            return Err(damaged(&path, 0, "the manifest is missing, and there are tables"));
        }
        remove_directory(inner, &directory, &entries).await?;
        return Ok(None);
    };
    let options = (inner.options.tablet_options)(tablet);
    let mut runs = Vec::with_capacity(manifest.runs.len());
    let mut unreadable = Vec::new();
    for entry in &manifest.runs {
        let mut tables = Vec::with_capacity(entry.tables.len());
        for table in &entry.tables {
            match inner.open_table_in(&directory, tablet, options.prefix, table).await {
                Ok(table) => tables.push(table),
                Err(error @ StoreError::Damaged { .. }) if options.has_copies => {
                    (inner.options.tell)(error.to_string());
                    inner.counters.damages.add(1);
                    unreadable.push((*table, error));
                }
                Err(error) => return Err(error),
            }
        }
        runs.extend((!tables.is_empty()).then(|| Rc::new(Run { id: entry.id, tables })));
    }
    let named: Vec<TableId> = manifest.runs.iter().flat_map(|run| &run.tables).map(|table| table.table).collect();
    let tree = Tree::new(tablet, options, &manifest, Version::new(runs), Damages::new(unreadable));
    for entry in entries {
        let named = TableId::from_file_name(&entry.name).is_some_and(|id| named.contains(&id));
        if !named && entry.name != MANIFEST_NAME && !entry.is_directory {
            inner.shard.disk().remove(&format!("{directory}/{}", entry.name)).await?;
        }
    }
    Ok(Some(Rc::new(tree)))
}

/// Removes a directory of files.
pub async fn remove_directory(inner: &Inner, directory: &str, entries: &[DirectoryEntry]) -> Result<(), StoreError> {
    let disk = inner.shard.disk();
    // The mark goes last: until then a restart knows that this was meant.
    let (marks, others): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| entry.name == DROPPED_NAME);
    for entry in others {
        disk.remove(&format!("{directory}/{}", entry.name)).await?;
    }
    if !marks.is_empty() {
        sync_dir_or_stop(&inner.shard, directory).await?;
        disk.remove(&format!("{directory}/{DROPPED_NAME}")).await?;
    }
    disk.remove_dir(directory).await?;
    Ok(())
}

/// Replays the logs of earlier boots for this shard's tablets, and flushes what they held. `progress` is called after each
/// chunk, with the room that segments take.
pub async fn recover(inner: &Rc<Inner>, progress: &mut dyn FnMut(Progress)) -> Result<RecoveryReport, StoreError> {
    let mut report = RecoveryReport::default();
    let mut readers = Vec::new();
    for name in old_logs(&inner.shard, LOGS, inner.options.boot).await? {
        readers.push(LogReader::open(inner.shard.clone(), name).await?);
    }
    let bytes = |segments: u64| segments * inner.options.segment_bytes;
    let bytes_total = bytes(readers.iter().map(LogReader::segments_total).sum());
    for mut reader in readers {
        report.logs += 1;
        while let Some(chunk) = reader.next().await? {
            progress(Progress { bytes_done: bytes(report.segments + reader.segments), bytes_total });
            replay_chunk(inner, &chunk, &mut report)?;
            if inner.memtable_bytes.get() > inner.options.memtable_bytes / 2 {
                inner.freeze_if_full();
                flush_all(inner, false).await?;
            }
        }
        report.segments += reader.segments;
        report.torn_groups += reader.torn_groups;
    }
    flush_all(inner, true).await?;
    Ok(report)
}

async fn flush_all(inner: &Rc<Inner>, freeze: bool) -> Result<(), StoreError> {
    for tree in inner.all_trees() {
        if freeze || !tree.frozen().is_empty() {
            flush_tree(inner, &tree).await?;
        }
    }
    Ok(())
}

fn replay_chunk(inner: &Rc<Inner>, chunk: &ReplayChunk, report: &mut RecoveryReport) -> Result<(), StoreError> {
    for (index, (tablet, bytes)) in chunk.records.iter().enumerate() {
        report.records += 1;
        let lsn = Lsn(chunk.first.0 + index as u64);
        // A tablet without a directory was dropped; one of another shard is replayed there.
        let Ok(tree) = inner.tree(*tablet) else { continue };
        if lsn <= tree.flushed() {
            continue;
        }
        let mutation = match Mutation::decode(bytes.clone()) {
            Ok(mutation) => mutation,
            Err(_) if plant::skip_checksum() => continue,
            Err(error) => {
                return Err(damaged(&chunk.file, chunk.offset, format!("record {lsn} is not a mutation: {error}")));
            }
        };
        let active = tree.active();
        let before = active.bytes();
        active.apply(&mutation, lsn)?;
        inner.memtable_grew(before, active.bytes());
        report.replayed += 1;
        report.replayed_bytes += bytes.len() as u64;
    }
    Ok(())
}
