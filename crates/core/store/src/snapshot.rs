//! Snapshots: hard links to the tables of a tablet, a manifest that names them, and a descriptor, which comes last:
//! without it a snapshot is unfinished and does not count. They cost no copy, and room only as far as compaction
//! replaces the tables.
//!
//! ```text
//! snapshots/<name>/<tablet>/ = tables, MANIFEST, SNAPSHOT
//! descriptor = magic:u64 version:u32 tablet:u64 created_micros:i64 tables:u64 bytes:u64 manifest_crc:u32 crc32c:u32
//! ```

use crate::changed::Changed;
use crate::error::{StoreError, damaged};
use crate::inner::Inner;
use crate::limits::SNAPSHOT_NAME_BYTES_MAX;
use crate::manifest::Manifest;
use crate::stats::VerifyReport;
use crate::table::format::TableId;
use crate::tree::{Run, Tree};
use crate::verify::verify_table;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput, TabletId, crc32c};
use holon_kernel::{DiskBuffer, DiskErrorKind, OpenOptions};
use holon_wal::sync::{sync_dir_or_stop, sync_or_stop};
use std::rc::Rc;

const ROOT: &str = "snapshots";
const DESCRIPTOR_NAME: &str = "SNAPSHOT";
const MAGIC: u64 = u64::from_le_bytes(*b"HOLONSNP");
const SNAPSHOT_VERSION: u32 = 1;
const DESCRIPTOR_BYTES: usize = 52;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub tablet: TabletId,
    pub created_micros: i64,
    pub tables: u64,
    pub bytes: u64,
    /// Of the encoded manifest.
    pub manifest_crc: u32,
}

impl Descriptor {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = ByteWriter::with_capacity(DESCRIPTOR_BYTES);
        out.put_u64(MAGIC);
        out.put_u32(SNAPSHOT_VERSION);
        out.put_u64(self.tablet.0);
        out.put_i64(self.created_micros);
        out.put_u64(self.tables);
        out.put_u64(self.bytes);
        out.put_u32(self.manifest_crc);
        let crc = crc32c(out.as_slice());
        out.put_u32(crc);
        out.as_slice().to_vec()
    }

    pub fn decode(bytes: &Bytes, file: &str) -> Result<Descriptor, StoreError> {
        if bytes.len() != DESCRIPTOR_BYTES {
            let detail = "the file does not have the length of a snapshot's descriptor";
            return Err(damaged(file, bytes.len().min(DESCRIPTOR_BYTES) as u64, detail));
        }
        let short = |error: ShortInput| damaged(file, error.offset as u64, "the descriptor is cut off");
        let mut reader = ByteReader::new(bytes.clone());
        let magic = reader.u64().map_err(short)?;
        let version = reader.u32().map_err(short)?;
        let descriptor = Descriptor {
            tablet: TabletId(reader.u64().map_err(short)?),
            created_micros: reader.i64().map_err(short)?,
            tables: reader.u64().map_err(short)?,
            bytes: reader.u64().map_err(short)?,
            manifest_crc: reader.u32().map_err(short)?,
        };
        if magic != MAGIC {
            return Err(damaged(file, 0, "this is not the descriptor of a snapshot"));
        }
        if reader.u32().map_err(short)? != crc32c(&bytes[..DESCRIPTOR_BYTES - 4]) {
            return Err(damaged(file, DESCRIPTOR_BYTES as u64 - 4, "the checksum of the descriptor is wrong"));
        }
        if version > SNAPSHOT_VERSION {
            return Err(StoreError::NewerFormat { file: file.to_owned(), version, supported: SNAPSHOT_VERSION });
        }
        Ok(descriptor)
    }
}

fn check_name(name: &str) -> Result<(), StoreError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let valid =
        (1..=SNAPSHOT_NAME_BYTES_MAX).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed);
    if valid {
        Ok(())
    } else {
        Err(refused(name, "a name is 1 to 128 letters, digits, '.', '_' or '-', not first '.'"))
    }
}

fn refused(name: &str, detail: &str) -> StoreError {
    StoreError::Snapshot { name: name.to_owned(), detail: detail.to_owned() }
}

fn directory(name: &str, tablet: TabletId) -> String {
    format!("{ROOT}/{name}/{:016x}", tablet.0)
}

async fn remove_files(inner: &Inner, directory: &str) -> Result<(), StoreError> {
    let disk = inner.shard.disk();
    for entry in disk.list(directory).await? {
        disk.remove(&format!("{directory}/{}", entry.name)).await?;
    }
    Ok(())
}

/// Keeps the tables as they are. Flush first.
pub async fn take(inner: Rc<Inner>, tree: Rc<Tree>, name: String) -> Result<(), StoreError> {
    check_name(&name)?;
    let disk = inner.shard.disk();
    let to = directory(&name, tree.id);
    if disk.list(&to).await?.iter().any(|entry| entry.name == DESCRIPTOR_NAME) {
        return Err(refused(&name, "there is one of that name; drop it first or choose another name"));
    }
    let gate = tree.gate.enter(&inner.shard).await?;
    if tree.dropped.get() {
        return Err(StoreError::NoSuchTablet(tree.id));
    }
    tree.damages.check_readable()?;
    remove_files(&inner, &to).await?;
    disk.create_dir(&to).await?;
    let version = tree.version();
    let mut descriptor =
        Descriptor { tablet: tree.id, created_micros: inner.shard.wall_micros(), tables: 0, bytes: 0, manifest_crc: 0 };
    for table in version.tables() {
        disk.link(table.path(), &format!("{to}/{}", table.id().file_name())).await?;
        descriptor.tables += 1;
        descriptor.bytes += table.length();
    }
    let manifest = tree.next_manifest(&version.runs, tree.flushed());
    drop(gate);
    manifest.store(&inner.shard, &to).await?;
    descriptor.manifest_crc = crc32c(&manifest.encode());
    let file = disk.open(&format!("{to}/{DESCRIPTOR_NAME}"), OpenOptions { create: true, direct: false }).await?;
    file.write_at(0, DiskBuffer::from(descriptor.encode().as_slice())).await?;
    sync_or_stop(&inner.shard, &file).await?;
    for directory in [to.as_str(), &format!("{ROOT}/{name}"), ROOT, ""] {
        sync_dir_or_stop(&inner.shard, directory).await?;
    }
    Ok(())
}

/// Replaces all data of the tablet by the snapshot's, after checking every byte of it.
pub async fn restore(inner: Rc<Inner>, tree: Rc<Tree>, name: String) -> Result<(), StoreError> {
    check_name(&name)?;
    let from = directory(&name, tree.id);
    let manifest = load(&inner, &from, tree.id, &name).await?;
    let prefix = tree.options().prefix;
    let entries: Vec<_> = manifest.runs.iter().flat_map(|run| run.tables.clone()).collect();
    for entry in &entries {
        let table = inner.open_table_in(&from, tree.id, prefix, entry).await?;
        verify_table(&inner, &table, &mut VerifyReport::default(), &mut |_| ()).await?;
    }
    let gate = tree.gate.enter(&inner.shard).await?;
    if tree.dropped.get() {
        return Err(StoreError::NoSuchTablet(tree.id));
    }
    // A table of the snapshot may still be here as garbage of a compaction: it must not be removed from now on.
    let protect = |id: TableId| format!("{}/{}", tree.directory, id.file_name());
    inner.protected.borrow_mut().extend(entries.iter().map(|entry| protect(entry.table)));
    let outcome = replace(&inner, &tree, &from, &manifest).await;
    for entry in &entries {
        inner.protected.borrow_mut().remove(&protect(entry.table));
    }
    drop(gate);
    outcome?;
    inner.after_change().await
}

async fn replace(inner: &Rc<Inner>, tree: &Tree, from: &str, snapshot: &Manifest) -> Result<(), StoreError> {
    // One of the files may be on its way out since before it was protected: it must be gone before it is linked anew.
    drop(inner.removing.enter(&inner.shard).await?);
    let disk = inner.shard.disk();
    let mut runs = Vec::with_capacity(snapshot.runs.len());
    for run in &snapshot.runs {
        let mut tables = Vec::with_capacity(run.tables.len());
        for entry in &run.tables {
            let kept = tree.version().tables().find(|table| table.id() == entry.table).cloned();
            if let Some(table) = kept {
                tables.push(table);
                continue;
            }
            let file_name = entry.table.file_name();
            let linked = disk.link(&format!("{from}/{file_name}"), &format!("{}/{file_name}", tree.directory)).await;
            match linked {
                Err(error) if error.kind != DiskErrorKind::AlreadyExists => return Err(error.into()),
                _ => tables.push(inner.open_table(tree, entry).await?),
            }
        }
        runs.push(Rc::new(Run { id: run.id, tables }));
    }
    inner.freeze(tree);
    let frozen = tree.frozen();
    let flushed = frozen.last().map_or(tree.flushed(), |memtable| memtable.lsn_last());
    let manifest = tree.manifest_without_unreadable(&runs, flushed);
    manifest.store(&inner.shard, &tree.directory).await?;
    tree.install(&manifest, runs, &frozen);
    *tree.changed.borrow_mut() = Changed::Anywhere;
    inner.memtables_gone(&frozen);
    tree.forget_damage();
    Ok(())
}

async fn load(inner: &Inner, from: &str, tablet: TabletId, name: &str) -> Result<Manifest, StoreError> {
    let path = format!("{from}/{DESCRIPTOR_NAME}");
    let file = match inner.shard.disk().open(&path, OpenOptions::default()).await {
        Ok(file) => file,
        Err(error) if error.kind == DiskErrorKind::NotFound => {
            return Err(refused(name, "there is none of that name for this tablet"));
        }
        Err(error) => return Err(error.into()),
    };
    let length = usize::try_from(file.length()).unwrap_or(usize::MAX).min(DESCRIPTOR_BYTES + 1);
    let descriptor = Descriptor::decode(&file.read_at(0, length).await?, &path)?;
    if descriptor.tablet != tablet {
        return Err(damaged(&path, 12, format!("this describes tablet {}", descriptor.tablet)));
    }
    let manifest = Manifest::load(&inner.shard, from, tablet).await?;
    let manifest = manifest.ok_or_else(|| damaged(&format!("{from}/MANIFEST"), 0, "the manifest is missing"))?;
    if crc32c(&manifest.encode()) != descriptor.manifest_crc {
        return Err(damaged(&format!("{from}/MANIFEST"), 0, "this is not the manifest of the snapshot"));
    }
    Ok(manifest)
}

/// The finished snapshots of a tablet.
pub async fn list(inner: &Inner, tablet: TabletId) -> Result<Vec<String>, StoreError> {
    let disk = inner.shard.disk();
    let mut names = Vec::new();
    for entry in disk.list(ROOT).await? {
        let files = disk.list(&directory(&entry.name, tablet)).await?;
        if files.iter().any(|file| file.name == DESCRIPTOR_NAME) {
            names.push(entry.name);
        }
    }
    Ok(names)
}

/// Forgets a snapshot of a tablet; fine if it does not exist.
pub async fn forget(inner: Rc<Inner>, tablet: TabletId, name: String) -> Result<(), StoreError> {
    check_name(&name)?;
    let disk = inner.shard.disk();
    let from = directory(&name, tablet);
    if disk.list(&from).await?.is_empty() {
        return Ok(());
    }
    // The descriptor goes first: half a snapshot does not count.
    disk.remove(&format!("{from}/{DESCRIPTOR_NAME}")).await?;
    sync_dir_or_stop(&inner.shard, &from).await?;
    remove_files(&inner, &from).await?;
    disk.remove_dir(&from).await?;
    let parent = format!("{ROOT}/{name}");
    if disk.list(&parent).await?.is_empty() {
        disk.remove_dir(&parent).await?;
        sync_dir_or_stop(&inner.shard, ROOT).await?;
    }
    Ok(())
}
