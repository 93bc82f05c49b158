//! Tablets come and go: create, truncate, drop.

use crate::changed::Changed;
use crate::damage::Damages;
use crate::error::StoreError;
use crate::inner::Inner;
use crate::manifest::{MANIFEST_NAME, Manifest};
use crate::recovery::{DROPPED_NAME, remove_directory};
use crate::tree::{TABLETS, Tree, Version, directory};
use holon_base::TabletId;
use holon_wal::sync::{stop, sync_dir_or_stop};
use std::rc::Rc;

/// Makes a tablet, durably; fine if it exists.
pub async fn create(inner: Rc<Inner>, tablet: TabletId) -> Result<(), StoreError> {
    let _making = inner.making.enter(&inner.shard).await?;
    if inner.trees.borrow().contains_key(&tablet) {
        return Ok(());
    }
    let directory = directory(tablet);
    inner.shard.disk().create_dir(&directory).await?;
    sync_dir_or_stop(&inner.shard, TABLETS).await?;
    // What the log may hold for a dropped tablet of this id is not the business of the new one.
    let manifest = Manifest { tablet, sequence: 1, flushed: inner.commits.last(), runs: Vec::new() };
    manifest.store(&inner.shard, &directory).await?;
    let options = (inner.options.tablet_options)(tablet);
    let tree = Tree::new(tablet, options, &manifest, Version::default(), Damages::default());
    inner.trees.borrow_mut().insert(tablet, Rc::new(tree));
    Ok(())
}

/// Removes all data written before, durably.
pub async fn truncate(inner: Rc<Inner>, tree: Rc<Tree>) -> Result<(), StoreError> {
    let gate = tree.gate.enter(&inner.shard).await?;
    if tree.dropped.get() {
        return Err(StoreError::NoSuchTablet(tree.id));
    }
    // Later writes go to a new memtable, whose records come after all that is removed.
    inner.freeze(&tree);
    let frozen = tree.frozen();
    let flushed = frozen.last().map_or(tree.flushed(), |memtable| memtable.lsn_last());
    let manifest = tree.manifest_without_unreadable(&[], flushed);
    manifest.store(&inner.shard, &tree.directory).await?;
    tree.install(&manifest, Vec::new(), &frozen);
    *tree.changed.borrow_mut() = Changed::Anywhere;
    inner.memtables_gone(&frozen);
    tree.forget_damage();
    drop(gate);
    inner.after_change().await
}

/// Removes a tablet and its files; fine if it does not exist.
pub async fn drop_tablet(inner: Rc<Inner>, tablet: TabletId) -> Result<(), StoreError> {
    let _making = inner.making.enter(&inner.shard).await?;
    let Some(tree) = inner.trees.borrow().get(&tablet).cloned() else { return Ok(()) };
    let gate = tree.gate.enter(&inner.shard).await?;
    let manifest = format!("{}/{MANIFEST_NAME}", tree.directory);
    let mark = format!("{}/{DROPPED_NAME}", tree.directory);
    if let Err(error) = inner.shard.disk().rename(&manifest, &mark).await {
        let reason = format!("it is unknown whether tablet {tablet} is there: {error}");
        return Err(stop(&inner.shard, reason).into());
    }
    sync_dir_or_stop(&inner.shard, &tree.directory).await?;
    tree.dropped.set(true);
    inner.trees.borrow_mut().remove(&tablet);
    let memtables: Vec<_> = tree.memtables().into_iter().collect();
    let frozen: usize = tree.frozen().iter().map(|memtable| memtable.bytes()).sum();
    let all: usize = memtables.iter().map(|memtable| memtable.bytes()).sum();
    inner.frozen_bytes.set(inner.frozen_bytes.get().saturating_sub(frozen));
    inner.memtable_bytes.set(inner.memtable_bytes.get().saturating_sub(all));
    drop(gate);
    // Background work that writes to the directory ends soon, because the tree is dropped; readers hold open files,
    // which outlive their names. Whatever is left behind is finished off at the next start, because of the mark.
    let _compacting = tree.compacting.enter(&inner.shard).await?;
    let _flushing = tree.flushing.enter(&inner.shard).await?;
    let entries = inner.shard.disk().list(&tree.directory).await?;
    if let Err(error) = remove_directory(&inner, &tree.directory, &entries).await {
        inner.note_background_error(&error);
    }
    inner.after_change().await
}
