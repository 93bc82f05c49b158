//! A disk that does everything the contract allows ([`holon_kernel::disk`]), and, when told to, what no disk should.
//!
//! Operations take effect when they complete, after a random delay, so those in flight together run in any order. Content
//! and names each have a durable and a visible state; a crash keeps the durable one and, of each write, truncation and
//! change of a name that was not synced, a random part: all of it, nothing, or some of its 512-byte sectors. Writes in
//! flight at the crash are treated the same.
//!
//! It outlives its node: the world keeps it and hands it to the next incarnation.

use crate::cost_disk::Medium;
use crate::disk_content::{SECTOR_BYTES, Unsynced, apply, apply_torn};
use crate::disk_names::{NameChange, Names, change_names};
use crate::disk_trouble::may_be_misdirected;
use crate::faults::{DiskFaults, Fault, Faults};
use bytes::Bytes;
use holon_base::{Instant, Random, ShardId};
use holon_kernel::disk::DirectoryEntry;
use holon_kernel::{
    Disk, DiskBuffer, DiskError, DiskErrorKind, DiskOperation, DiskOutput, DiskResult, FileId, OperationId,
};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

pub(crate) type InodeId = u64;

#[derive(Clone, Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    visible: Vec<u8>,
    unsynced: Vec<Unsynced>,
    poisoned: bool,
    /// Visible names.
    links: usize,
}

struct Submitted {
    shard: ShardId,
    id: OperationId,
    operation: DiskOperation,
}

/// The medium and everything between it and the node.
pub struct SimDiskState {
    inodes: BTreeMap<InodeId, Inode>,
    visible: Names,
    durable: Names,
    unsynced_names: Vec<NameChange>,
    open: BTreeMap<FileId, (Rc<str>, InodeId)>,
    /// Bytes in all files that have a name: each write asks.
    used: usize,
    next: u64,
    queue: BTreeMap<(Instant, u64), Submitted>,
    pub(crate) now: Instant,
    random: Random,
    /// How long operations take; `None`: as chance has it.
    pub medium: Option<Medium>,
    pub options: DiskFaults,
    pub faults: Faults,
    /// Writes completed, and bytes in them, for the trace.
    pub writes: u64,
}

/// A shard's handle.
#[derive(Clone)]
pub struct SimDisk {
    state: Rc<RefCell<SimDiskState>>,
    shard: ShardId,
}

impl SimDisk {
    pub fn new(state: &Rc<RefCell<SimDiskState>>, shard: ShardId) -> Self {
        SimDisk { state: state.clone(), shard }
    }
}

impl Disk for SimDisk {
    fn submit(&mut self, id: OperationId, operation: DiskOperation) -> Option<DiskResult> {
        self.state.borrow_mut().submit(self.shard, id, operation)
    }
}

fn error(kind: DiskErrorKind, operation: &str, path: &str, detail: &str) -> DiskError {
    DiskError { kind, operation: operation.to_string(), path: path.to_string(), detail: detail.to_string() }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl SimDiskState {
    pub fn new(seed: u64, options: DiskFaults, faults: Faults) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(SimDiskState {
            inodes: BTreeMap::new(),
            visible: Names::default(),
            durable: Names::default(),
            unsynced_names: Vec::new(),
            open: BTreeMap::new(),
            used: 0,
            next: 1,
            queue: BTreeMap::new(),
            now: Instant(0),
            random: Random::new(seed),
            medium: None,
            options,
            faults,
            writes: 0,
        }))
    }

    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Some operations complete at once, as a page cache lets them; the rest later.
    fn submit(&mut self, shard: ShardId, id: OperationId, operation: DiskOperation) -> Option<DiskResult> {
        let due = if self.medium.is_some() { self.due_at_cost(&operation) } else { self.due_by_chance(&operation) };
        let Some(due) = due else { return Some(self.execute(operation)) };
        let sequence = self.next();
        self.queue.insert((due, sequence), Submitted { shard, id, operation });
        None
    }

    fn due_by_chance(&mut self, operation: &DiskOperation) -> Option<Instant> {
        let cached = matches!(operation, DiskOperation::ReadAt { .. } | DiskOperation::Close { .. });
        if cached && self.random.chance(1, 2) {
            return None;
        }
        let slow = self.random.chance(self.options.slow_per_mille, 1000);
        let micros = if slow { self.random.range(10_000, 400_000) } else { self.random.range(5, 500) };
        if slow {
            self.faults.fired(Fault::SlowDisk);
        }
        Some(self.now + Duration::from_micros(micros))
    }

    pub(crate) fn inode_of(&self, file: FileId) -> u64 {
        self.open.get(&file).map_or(0, |(_, inode)| *inode)
    }

    pub fn next_due(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|((due, _), _)| *due)
    }

    /// Completes the first operation that is due.
    pub fn complete_next(&mut self, now: Instant) -> Option<(ShardId, OperationId, DiskResult)> {
        self.now = self.now.max(now);
        if self.next_due()? > now {
            return None;
        }
        let (_, Submitted { shard, id, operation }) = self.queue.pop_first()?;
        Some((shard, id, self.execute(operation)))
    }

    // ---- Operations

    fn execute(&mut self, operation: DiskOperation) -> DiskResult {
        match operation {
            DiskOperation::Open { path, options } => self.open(path, options.create),
            DiskOperation::Close { file } => {
                self.open.remove(&file);
                Ok(DiskOutput::Done)
            }
            DiskOperation::ReadAt { file, offset, length } => self.read(file, offset as usize, length),
            DiskOperation::WriteAt { file, offset, buffer, durable } => {
                self.write(file, offset as usize, buffer, durable)
            }
            DiskOperation::Sync { file } => self.sync(file),
            DiskOperation::Allocate { file, length } => self.set_length(file, length as usize, false),
            DiskOperation::Truncate { file, length } => self.set_length(file, length as usize, true),
            DiskOperation::List { path } => self.list(&path),
            DiskOperation::SyncDir { path } => self.sync_dir(&path),
            names => self.change_names(names),
        }
    }

    fn inode(&mut self, file: FileId, operation: &str) -> Result<(Rc<str>, InodeId), DiskError> {
        let (path, id) = self
            .open
            .get(&file)
            .cloned()
            .ok_or_else(|| error(DiskErrorKind::Io, operation, &format!("file {}", file.0), "it is not open"))?;
        if self.inodes.get(&id).is_some_and(|inode| inode.poisoned) {
            return Err(error(DiskErrorKind::Poisoned, operation, &path, "an earlier sync of this file failed"));
        }
        Ok((path, id))
    }

    fn io_error(&mut self, per_million: u64, fault: Fault) -> bool {
        let hit = per_million > 0 && self.random.chance(per_million, 1_000_000);
        if hit {
            self.faults.fired(fault);
        }
        hit
    }

    fn open(&mut self, path: String, create: bool) -> DiskResult {
        let id = match self.visible.files.get(&path) {
            Some(&id) => id,
            None if create && self.directory_exists(parent(&path)) => {
                let inode = self.next();
                self.inodes.insert(inode, Inode::default());
                self.change_visible(NameChange::Put { path: path.clone(), inode });
                inode
            }
            None => return Err(error(DiskErrorKind::NotFound, "open", &path, "no such file")),
        };
        let length = self.inodes.get(&id).map_or(0, |inode| inode.visible.len() as u64);
        let file = FileId(self.next());
        self.open.insert(file, (path.into(), id));
        Ok(DiskOutput::Opened { file, length })
    }

    fn read(&mut self, file: FileId, offset: usize, length: usize) -> DiskResult {
        let (path, id) = self.inode(file, "read")?;
        if self.io_error(self.options.read_error_per_million, Fault::ReadError) {
            return Err(error(DiskErrorKind::Io, &format!("read at {offset}"), &path, "input/output error"));
        }
        let content = &self.inodes[&id].visible;
        let start = offset.min(content.len());
        let end = start.saturating_add(length).min(content.len());
        Ok(DiskOutput::Read(Bytes::copy_from_slice(&content[start..end])))
    }

    fn write(&mut self, file: FileId, offset: usize, buffer: DiskBuffer, durable: bool) -> DiskResult {
        let (path, id) = self.inode(file, "write")?;
        let what = || format!("write at {offset}");
        if self.io_error(self.options.write_error_per_million, Fault::WriteError) {
            // A failed write may have changed any part of what it covers.
            self.apply_write(id, offset, buffer.as_slice(), true);
            return Err(error(DiskErrorKind::Io, &what(), &path, "input/output error"));
        }
        let growth = (offset + buffer.len()).saturating_sub(self.inodes[&id].visible.len());
        if growth > 0 && self.used() + growth > self.options.capacity_bytes {
            self.faults.fired(Fault::DiskFull);
            return Err(error(DiskErrorKind::Full, &what(), &path, "no space left on device"));
        }
        self.writes += 1;
        let misdirected = self.options.misdirect_per_million > 0
            && may_be_misdirected(&path, &self.options)
            && self.random.chance(self.options.misdirect_per_million, 1_000_000)
            && self.misdirect(id, buffer.as_slice());
        if !misdirected {
            self.apply_write(id, offset, buffer.as_slice(), false);
        }
        if durable {
            self.sync_write(id, offset, &buffer, &path)?;
        }
        Ok(DiskOutput::Written(buffer))
    }

    /// The sync of a durable write: its own bytes only. What was written to the same place before and not synced cannot
    /// come after it any more.
    fn sync_write(&mut self, id: InodeId, offset: usize, buffer: &DiskBuffer, path: &str) -> Result<(), DiskError> {
        let failed = self.io_error(self.options.sync_error_per_million, Fault::SyncError);
        let random = &mut self.random;
        let Some(inode) = self.inodes.get_mut(&id) else { return Ok(()) };
        if failed {
            inode.poisoned = true;
            for change in std::mem::take(&mut inode.unsynced) {
                apply_torn(&mut inode.durable, &change, random);
            }
            return Err(error(DiskErrorKind::Io, "write durably", path, "input/output error"));
        }
        let end = offset + buffer.len();
        // A changed length becomes durable with the bytes, and whatever was done before it may as well.
        let whole = inode.unsynced.iter().any(|change| matches!(change, Unsynced::Length(_)));
        let touches = |change: &mut Unsynced| match change {
            Unsynced::Write { offset: at, content } => whole || (*at < end && *at + content.len() > offset),
            Unsynced::Length(_) => true,
        };
        for change in inode.unsynced.extract_if(.., touches) {
            apply(&mut inode.durable, &change);
        }
        Ok(())
    }

    /// The write lands elsewhere: in another place of the same file. What it should have changed stays as it was.
    fn misdirect(&mut self, id: InodeId, content: &[u8]) -> bool {
        let length = self.inodes[&id].visible.len();
        if length < content.len() + SECTOR_BYTES {
            return false;
        }
        let place = self.random.below(((length - content.len()) / SECTOR_BYTES) as u64) as usize * SECTOR_BYTES;
        self.apply_write(id, place, content, false);
        self.faults.fired(Fault::MisdirectedWrite);
        true
    }

    fn apply_write(&mut self, id: InodeId, offset: usize, content: &[u8], torn: bool) {
        let change = Unsynced::Write { offset, content: content.to_vec() };
        let random = &mut self.random;
        let Some(inode) = self.inodes.get_mut(&id) else { return };
        let before = inode.visible.len();
        if torn {
            apply_torn(&mut inode.visible, &change, random);
            // What reached the medium, if anything, is decided once more at a crash.
        } else {
            apply(&mut inode.visible, &change);
        }
        inode.unsynced.push(change);
        if inode.links > 0 {
            self.used += inode.visible.len() - before;
        }
    }

    fn sync(&mut self, file: FileId) -> DiskResult {
        let (path, id) = self.inode(file, "sync")?;
        let failed = self.io_error(self.options.sync_error_per_million, Fault::SyncError);
        let random = &mut self.random;
        let Some(inode) = self.inodes.get_mut(&id) else { return Ok(DiskOutput::Done) };
        if failed {
            inode.poisoned = true;
            for change in std::mem::take(&mut inode.unsynced) {
                apply_torn(&mut inode.durable, &change, random);
            }
            return Err(error(DiskErrorKind::Io, "sync", &path, "input/output error"));
        }
        for change in std::mem::take(&mut inode.unsynced) {
            apply(&mut inode.durable, &change);
        }
        Ok(DiskOutput::Done)
    }

    fn set_length(&mut self, file: FileId, length: usize, may_shrink: bool) -> DiskResult {
        let (path, id) = self.inode(file, "set the length of")?;
        let old = self.inodes[&id].visible.len();
        let length = if may_shrink { length } else { length.max(old) };
        if length > old && self.used() + (length - old) > self.options.capacity_bytes {
            self.faults.fired(Fault::DiskFull);
            return Err(error(DiskErrorKind::Full, "allocate", &path, "no space left on device"));
        }
        if let Some(inode) = self.inodes.get_mut(&id) {
            inode.visible.resize(length, 0);
            inode.unsynced.push(Unsynced::Length(length));
            if inode.links > 0 {
                self.used = self.used + length - old;
            }
        }
        Ok(DiskOutput::Done)
    }

    /// Bytes in all files that have a name.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Counts the names of each file, and what is used, anew.
    fn count_names(&mut self) {
        self.inodes.values_mut().for_each(|inode| inode.links = 0);
        for id in self.visible.files.values() {
            if let Some(inode) = self.inodes.get_mut(id) {
                inode.links += 1;
            }
        }
        let named = self.inodes.values().filter(|inode| inode.links > 0);
        self.used = named.map(|inode| inode.visible.len()).sum();
    }

    // ---- Names

    /// A name comes to mean a file, or ceases to.
    fn link(&mut self, path: Option<&str>, is_new: bool) {
        let Some(id) = path.and_then(|path| self.visible.files.get(path)) else { return };
        let Some(inode) = self.inodes.get_mut(id) else { return };
        if is_new {
            self.used += if inode.links == 0 { inode.visible.len() } else { 0 };
            inode.links += 1;
        } else {
            inode.links -= 1;
            self.used -= if inode.links == 0 { inode.visible.len() } else { 0 };
        }
    }

    /// Changes the visible names; the durable ones follow when their directories are synced.
    fn change_visible(&mut self, change: NameChange) {
        let (one, other) = change.names_of_files();
        let other = other.filter(|other| Some(*other) != one);
        self.link(one, false);
        self.link(other, false);
        change_names(&mut self.visible, &change);
        self.link(one, true);
        self.link(other, true);
        self.unsynced_names.push(change);
    }

    fn directory_exists(&self, path: &str) -> bool {
        path.is_empty() || self.visible.directories.contains(path)
    }

    fn list(&self, path: &str) -> DiskResult {
        if !self.directory_exists(path) {
            return Err(error(DiskErrorKind::NotFound, "list", path, "no such directory"));
        }
        let inside = |whole: &&String| parent(whole) == path;
        // In the order of names, what begins with the path is together.
        let from = if path.is_empty() { String::new() } else { format!("{path}/") };
        let is_below = |whole: &&String| whole.starts_with(&from);
        let name = |whole: &str| whole.rsplit_once('/').map_or(whole, |(_, name)| name).to_string();
        let directories = self.visible.directories.range(from.clone()..).take_while(is_below).filter(inside);
        let directories = directories.map(|whole| DirectoryEntry { name: name(whole), is_directory: true, length: 0 });
        let files = self.visible.files.range(from.clone()..).take_while(|(whole, _)| is_below(whole));
        let files = files.filter(|(whole, _)| inside(whole));
        let files = files.map(|(whole, id)| {
            let length = self.inodes.get(id).map_or(0, |inode| inode.visible.len() as u64);
            DirectoryEntry { name: name(whole), is_directory: false, length }
        });
        let mut entries: Vec<_> = directories.chain(files).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(DiskOutput::Listed(entries))
    }

    fn change_names(&mut self, operation: DiskOperation) -> DiskResult {
        let missing = |what: &str, path: &str| error(DiskErrorKind::NotFound, what, path, "no such file");
        let change = match operation {
            DiskOperation::Rename { from, to } => {
                if !self.visible.files.contains_key(&from) || !self.directory_exists(parent(&to)) {
                    return Err(missing("rename", &from));
                }
                NameChange::Rename { from, to }
            }
            DiskOperation::Remove { path } => {
                if !self.visible.files.contains_key(&path) {
                    return Err(missing("remove", &path));
                }
                NameChange::Remove { path }
            }
            DiskOperation::Link { from, to } => {
                if self.visible.files.contains_key(&to) {
                    return Err(error(DiskErrorKind::AlreadyExists, "link", &to, "it exists"));
                }
                let inode = *self.visible.files.get(&from).ok_or_else(|| missing("link", &from))?;
                NameChange::Put { path: to, inode }
            }
            DiskOperation::RemoveDir { path } => {
                if !self.visible.directories.contains(&path) {
                    return Err(missing("remove directory", &path));
                }
                let prefix = format!("{path}/");
                let file = self.visible.files.range(prefix.clone()..).next().map(|(name, _)| name);
                let directory = self.visible.directories.range(prefix.clone()..).next();
                if file.into_iter().chain(directory).any(|name| name.starts_with(&prefix)) {
                    return Err(error(DiskErrorKind::Io, "remove directory", &path, "directory not empty"));
                }
                NameChange::RemoveDir { path }
            }
            DiskOperation::CreateDir { path } => {
                let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
                for path in ends.map(|end| path[..end].to_string()) {
                    if self.visible.directories.insert(path.clone()) {
                        self.unsynced_names.push(NameChange::MakeDir { path });
                    }
                }
                return Ok(DiskOutput::Done);
            }
            other => return Err(error(DiskErrorKind::Io, "run", &format!("{other:?}"), "not an operation on names")),
        };
        self.change_visible(change);
        Ok(DiskOutput::Done)
    }

    fn sync_dir(&mut self, path: &str) -> DiskResult {
        if !self.directory_exists(path) {
            return Err(error(DiskErrorKind::NotFound, "sync directory", path, "no such directory"));
        }
        if self.io_error(self.options.sync_error_per_million, Fault::SyncError) {
            return Err(error(DiskErrorKind::Io, "sync directory", path, "input/output error"));
        }
        // A rename between two directories is durable once either is synced; the contract asks for both, which is more.
        let touches = |change: &NameChange| match change {
            NameChange::Put { path: p, .. } | NameChange::Remove { path: p } => parent(p) == path,
            NameChange::MakeDir { path: p } | NameChange::RemoveDir { path: p } => parent(p) == path,
            NameChange::Rename { from, to } => parent(from) == path || parent(to) == path,
        };
        let (now, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.unsynced_names).into_iter().partition(touches);
        now.iter().for_each(|change| change_names(&mut self.durable, change));
        self.unsynced_names = later;
        Ok(DiskOutput::Done)
    }

    // ---- What happens to media

    /// The power goes. Durable things stay, and a random part of what was not synced or was in flight.
    pub fn crash(&mut self) {
        for (_, submitted) in std::mem::take(&mut self.queue) {
            if let DiskOperation::WriteAt { file, offset, buffer, .. } = submitted.operation
                && let Some((_, id)) = self.open.get(&file).cloned()
                && let Some(inode) = self.inodes.get_mut(&id)
            {
                inode.unsynced.push(Unsynced::Write { offset: offset as usize, content: buffer.as_slice().to_vec() });
            }
        }
        self.open.clear();
        let random = &mut self.random;
        for inode in self.inodes.values_mut() {
            let mut changes = std::mem::take(&mut inode.unsynced);
            if !changes.is_empty() {
                // Half of the crashes lose everything unsynced: the plainest way to see a missing sync.
                match random.below(4) {
                    0 | 1 => self.faults.fired(Fault::LostWrite),
                    2 => changes.iter().for_each(|change| apply(&mut inode.durable, change)),
                    _ => {
                        random.shuffle(&mut changes);
                        changes.iter().for_each(|change| apply_torn(&mut inode.durable, change, random));
                        self.faults.fired(Fault::TornWrite);
                    }
                }
            }
            inode.visible = inode.durable.clone();
            inode.poisoned = false;
        }
        let keep_all = random.chance(1, 3);
        for change in std::mem::take(&mut self.unsynced_names) {
            if keep_all || random.chance(1, 2) {
                change_names(&mut self.durable, &change);
            } else {
                self.faults.fired(Fault::LostName);
            }
        }
        // A name in a directory that was synced, while the directory's own name was not, is out of reach.
        let Names { files, directories } = &mut self.durable;
        while let Some(lost) =
            directories.iter().find(|path| !parent(path).is_empty() && !directories.contains(parent(path)))
        {
            let lost = lost.clone();
            directories.remove(&lost);
        }
        files.retain(|path, _| parent(path).is_empty() || directories.contains(parent(path)));
        self.visible = self.durable.clone();
        let named: BTreeSet<InodeId> = self.visible.files.values().copied().collect();
        self.inodes.retain(|id, _| named.contains(id));
        self.count_names();
    }

    /// The process ended, the machine did not: what it wrote stays, what it had in flight may or may not have happened.
    pub fn process_ended(&mut self) {
        for (_, submitted) in std::mem::take(&mut self.queue) {
            if self.random.chance(1, 2) {
                let _ = self.execute(submitted.operation); // nobody is left to tell
            }
        }
        self.open.clear();
        self.inodes.values_mut().for_each(|inode| inode.poisoned = false);
    }

    /// Flips a bit of a durable file whose path `eligible` accepts. Gives the path.
    pub fn rot(&mut self, eligible: impl Fn(&str) -> bool) -> Option<String> {
        let files: Vec<(String, InodeId)> = self
            .visible
            .files
            .iter()
            .filter(|(path, _)| eligible(path))
            .map(|(path, id)| (path.clone(), *id))
            .collect();
        if files.is_empty() {
            return None;
        }
        let (path, id) = files[self.random.below(files.len() as u64) as usize].clone();
        let inode = self.inodes.get_mut(&id)?;
        let length = inode.durable.len().min(inode.visible.len());
        if length == 0 {
            return None;
        }
        let (at, bit) = (self.random.below(length as u64) as usize, self.random.below(8));
        inode.durable[at] ^= 1 << bit;
        inode.visible[at] ^= 1 << bit;
        self.faults.fired(Fault::BitRot);
        Some(path)
    }

    /// Every file with its content: for the trace and for tests.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let content = |id: &InodeId| self.inodes.get(id).map(|inode| inode.visible.as_slice());
        self.visible.files.iter().filter_map(move |(path, id)| Some((path.as_str(), content(id)?)))
    }
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
