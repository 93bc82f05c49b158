//! A disk in memory that knows what of it is on the medium: a loss of power leaves that, and of each other file what was written by luck, or
//! not. Names are durable with the first sync of their files. Of partitions, a name that was removed comes back, unless its directory was synced
//! after that.

use holon_base::Random;
use holon_kernel::disk::{DiskOperation, DiskOutput, DiskResult, FileId, OperationId};
use holon_kernel::{Disk, testing::MemoryDisk};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What is on the medium, by file: names come and go.
#[derive(Default)]
struct Medium {
    names: BTreeMap<String, u64>,
    contents: BTreeMap<u64, Vec<u8>>,
    open: BTreeMap<FileId, u64>,
    removed: BTreeMap<String, Vec<u8>>,
    next: u64,
}

/// Clones share what they know.
#[derive(Clone)]
pub struct PowerDisk {
    disk: MemoryDisk,
    medium: Rc<RefCell<Medium>>,
}

impl PowerDisk {
    /// All that is there is on the medium.
    pub fn new(disk: MemoryDisk) -> PowerDisk {
        let mut medium = Medium::default();
        for path in disk.paths() {
            let content = disk.content(&path).unwrap_or_default();
            let file = medium.file(&path);
            medium.contents.insert(file, content);
        }
        PowerDisk { disk, medium: Rc::new(RefCell::new(medium)) }
    }

    /// What is left after a loss of power.
    pub fn lose(&self, random: &mut Random) -> MemoryDisk {
        let mut left = self.disk.deep_copy();
        let mut medium = self.medium.borrow_mut();
        for path in left.paths().into_iter().filter(|_| random.chance(1, 2)) {
            let file = medium.file(&path);
            match medium.contents.get(&file) {
                Some(content) => left.replace(&path, content.clone()),
                None => drop(left.submit(OperationId(0), DiskOperation::Remove { path })),
            }
        }
        for (path, content) in &medium.removed {
            if self.disk.content(path).is_none() && random.chance(1, 2) {
                left.replace(path, content.clone());
            }
        }
        left
    }
}

impl Medium {
    /// A directory was synced, or is gone.
    fn forget(&mut self, directory: &str) {
        self.removed.retain(|path, _| !path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/')));
    }

    fn file(&mut self, path: &str) -> u64 {
        let next = &mut self.next;
        *self.names.entry(path.to_string()).or_insert_with(|| {
            *next += 1;
            *next
        })
    }
}

impl Disk for PowerDisk {
    fn submit(&mut self, id: OperationId, operation: DiskOperation) -> Option<DiskResult> {
        let mut medium = self.medium.borrow_mut();
        let mut opened = None;
        match &operation {
            DiskOperation::Open { path, .. } => opened = Some(path.clone()),
            DiskOperation::WriteAt { file, offset, buffer, durable: true } => {
                let bytes = buffer.as_slice();
                if let Some(file) = medium.open.get(file).copied() {
                    let (content, from) = (medium.contents.entry(file).or_default(), *offset as usize);
                    content.resize(content.len().max(from + bytes.len()), 0);
                    content[from..from + bytes.len()].copy_from_slice(bytes);
                }
            }
            DiskOperation::Sync { file } => {
                let file = medium.open.get(file).copied();
                let path = medium.names.iter().find(|(_, other)| Some(**other) == file).map(|(path, _)| path.clone());
                if let (Some(file), Some(content)) = (file, path.and_then(|path| self.disk.content(&path))) {
                    medium.contents.insert(file, content);
                }
            }
            DiskOperation::Rename { from, to } => {
                if let Some(file) = medium.names.remove(from) {
                    medium.names.insert(to.clone(), file);
                }
            }
            DiskOperation::Link { from, to } => {
                let file = medium.file(from);
                medium.names.insert(to.clone(), file);
            }
            DiskOperation::Remove { path } => {
                let file = medium.names.remove(path);
                let synced = file.and_then(|file| medium.contents.get(&file).cloned());
                let content = synced.or_else(|| self.disk.content(path));
                if let Some(content) = content.filter(|_| path.starts_with("log/partitions/")) {
                    medium.removed.insert(path.clone(), content);
                }
            }
            DiskOperation::SyncDir { path } | DiskOperation::RemoveDir { path } => medium.forget(path),
            _ => {}
        }
        let result = self.disk.submit(id, operation);
        if let (Some(path), Some(Ok(DiskOutput::Opened { file, .. }))) = (opened, &result) {
            let of = medium.file(&path);
            medium.open.insert(*file, of);
        }
        result
    }
}
