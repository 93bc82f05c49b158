//! For unit tests of what lives on a shard: a reliable disk in memory, a map of the cluster that the test decides on, and a
//! single shard one can block on. Faults, several nodes and seeds are the business of `sim`.

use crate::cluster::{ClusterMap, Founders, NodeRecord, Replicas};
use crate::disk::{
    DirectoryEntry, Disk, DiskBuffer, DiskError, DiskErrorKind, DiskOperation, DiskOutput, DiskResult, FileId,
    OperationId,
};
use crate::envelope::Envelope;
use crate::executor::{Class, Order, Scope};
use crate::service::LocalFuture;
use crate::shard::{Router, Shard, ShardOptions};
use crate::ticket::Completer;
use bytes::Bytes;
use holon_base::{Instant, NodeId, ShardId, TabletId, Wall};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

type Content = Rc<RefCell<Vec<u8>>>;

/// Everything written is kept at once; every operation completes at once. Clones share the files, so that a "restarted"
/// shard finds what the one before it left.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    state: Rc<RefCell<State>>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Content>,
    directories: BTreeSet<String>,
    open: BTreeMap<FileId, (String, Content)>,
    next_file: u64,
}

impl MemoryDisk {
    pub fn new() -> Self {
        Self::default()
    }

    /// The paths of all files.
    pub fn paths(&self) -> Vec<String> {
        self.state.borrow().files.keys().cloned().collect()
    }

    pub fn content(&self, path: &str) -> Option<Vec<u8>> {
        self.state.borrow().files.get(path).map(|content| content.borrow().clone())
    }

    /// Changes a file behind everybody's back, as a failing medium would.
    pub fn replace(&self, path: &str, content: Vec<u8>) {
        self.state.borrow_mut().files.insert(path.to_string(), Rc::new(RefCell::new(content)));
    }

    /// A copy that shares nothing with this one.
    pub fn deep_copy(&self) -> MemoryDisk {
        let copy = MemoryDisk::new();
        {
            let (mine, mut theirs) = (self.state.borrow(), copy.state.borrow_mut());
            theirs.directories = mine.directories.clone();
            let files = mine
                .files
                .iter()
                .map(|(path, content)| (path.clone(), Rc::new(RefCell::new(content.borrow().clone()))));
            theirs.files = files.collect();
        }
        copy
    }
}

fn error(kind: DiskErrorKind, operation: &str, path: &str) -> DiskError {
    DiskError {
        kind,
        operation: operation.to_string(),
        path: path.to_string(),
        detail: format!("{kind:?}").to_lowercase(),
    }
}

impl State {
    fn file(&self, file: FileId, operation: &str) -> Result<Content, DiskError> {
        let found = self.open.get(&file).map(|(_, content)| content.clone());
        found.ok_or_else(|| error(DiskErrorKind::Io, operation, &format!("closed file {}", file.0)))
    }

    fn parent_exists(&self, path: &str) -> bool {
        path.rsplit_once('/').is_none_or(|(parent, _)| self.directories.contains(parent))
    }

    fn run(&mut self, operation: DiskOperation) -> DiskResult {
        match operation {
            DiskOperation::Open { path, options } => self.open(path, options.create),
            DiskOperation::Close { file } => {
                self.open.remove(&file);
                Ok(DiskOutput::Done)
            }
            DiskOperation::ReadAt { file, offset, length } => {
                let content = self.file(file, "read")?;
                let content = content.borrow();
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
                let end = start.saturating_add(length).min(content.len());
                Ok(DiskOutput::Read(Bytes::copy_from_slice(&content[start..end])))
            }
            DiskOperation::WriteAt { file, offset, buffer, .. } => {
                let content = self.file(file, "write")?;
                write_at(&mut content.borrow_mut(), offset as usize, buffer.as_slice());
                Ok(DiskOutput::Written(buffer))
            }
            DiskOperation::Sync { file } => self.file(file, "sync").map(|_| DiskOutput::Done),
            DiskOperation::Allocate { file, length } => {
                let content = self.file(file, "allocate")?;
                let mut content = content.borrow_mut();
                let length = content.len().max(length as usize);
                content.resize(length, 0);
                Ok(DiskOutput::Done)
            }
            DiskOperation::Truncate { file, length } => {
                self.file(file, "truncate")?.borrow_mut().resize(length as usize, 0);
                Ok(DiskOutput::Done)
            }
            DiskOperation::SyncDir { path } => {
                if path.is_empty() || self.directories.contains(&path) {
                    return Ok(DiskOutput::Done);
                }
                Err(error(DiskErrorKind::NotFound, "sync directory", &path))
            }
            entries => self.run_on_entries(entries),
        }
    }

    fn open(&mut self, path: String, create: bool) -> DiskResult {
        if !self.files.contains_key(&path) {
            if !create || !self.parent_exists(&path) {
                return Err(error(DiskErrorKind::NotFound, "open", &path));
            }
            self.files.insert(path.clone(), Content::default());
        }
        let content = self.files[&path].clone();
        let length = content.borrow().len() as u64;
        self.next_file += 1;
        let file = FileId(self.next_file);
        self.open.insert(file, (path, content));
        Ok(DiskOutput::Opened { file, length })
    }

    fn run_on_entries(&mut self, operation: DiskOperation) -> DiskResult {
        match operation {
            DiskOperation::Rename { from, to } => {
                if !self.parent_exists(&to) {
                    return Err(error(DiskErrorKind::NotFound, "rename", &to));
                }
                let content =
                    self.files.remove(&from).ok_or_else(|| error(DiskErrorKind::NotFound, "rename", &from))?;
                self.files.insert(to, content);
            }
            DiskOperation::Remove { path } => {
                self.files.remove(&path).ok_or_else(|| error(DiskErrorKind::NotFound, "remove", &path))?;
            }
            DiskOperation::RemoveDir { path } => {
                if !self.list(&path).is_empty() {
                    return Err(error(DiskErrorKind::Io, "remove directory", &path));
                }
                if !self.directories.remove(&path) {
                    return Err(error(DiskErrorKind::NotFound, "remove directory", &path));
                }
            }
            DiskOperation::Link { from, to } => {
                if self.files.contains_key(&to) {
                    return Err(error(DiskErrorKind::AlreadyExists, "link", &to));
                }
                let content =
                    self.files.get(&from).cloned().ok_or_else(|| error(DiskErrorKind::NotFound, "link", &from))?;
                self.files.insert(to, content);
            }
            DiskOperation::CreateDir { path } => {
                let mut whole = String::new();
                for part in path.split('/') {
                    whole = if whole.is_empty() { part.to_string() } else { format!("{whole}/{part}") };
                    self.directories.insert(whole.clone());
                }
            }
            DiskOperation::List { path } => {
                if !path.is_empty() && !self.directories.contains(&path) {
                    return Err(error(DiskErrorKind::NotFound, "list", &path));
                }
                return Ok(DiskOutput::Listed(self.list(&path)));
            }
            other => return Err(error(DiskErrorKind::Io, "run", &format!("{other:?}"))),
        }
        Ok(DiskOutput::Done)
    }

    fn list(&self, path: &str) -> Vec<DirectoryEntry> {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let name = |whole: &str| whole.strip_prefix(&prefix).filter(|name| !name.contains('/')).map(str::to_string);
        let directories = self.directories.iter().filter_map(|whole| name(whole));
        let directories = directories.map(|name| DirectoryEntry { name, is_directory: true, length: 0 });
        let files =
            self.files.iter().filter_map(|(whole, content)| Some((name(whole)?, content.borrow().len() as u64)));
        let files = files.map(|(name, length)| DirectoryEntry { name, is_directory: false, length });
        let mut entries: Vec<DirectoryEntry> = directories.chain(files).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries
    }
}

fn write_at(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

impl Disk for MemoryDisk {
    fn submit(&mut self, _: OperationId, operation: DiskOperation) -> Option<DiskResult> {
        // Gives the buffer back on success only; a write to memory has no other way to fail than a closed file.
        Some(self.state.borrow_mut().run(operation))
    }
}

/// Loses every envelope: there is nobody else.
pub struct NoRouter;

impl Router for NoRouter {
    fn send(&mut self, _: Envelope) {}
}

type Of<T> = Box<dyn Fn(TabletId) -> Option<T>>;

/// The map of the cluster as a test wants it. Nothing comes into the log but by [`TestMap::moves_to`].
pub struct TestMap {
    shard: Weak<Shard>,
    epoch: Cell<u64>,
    replicas: RefCell<Of<Replicas>>,
    waiting: RefCell<BTreeMap<u64, Vec<Completer<()>>>>,
    /// The news that were asked for.
    pub asked: RefCell<Vec<(u64, NodeId)>>,
    founders: Of<Founders>,
    found_anew: Of<()>,
    nodes: Rc<[NodeRecord]>,
    forgotten: RefCell<Vec<NodeId>>,
}

impl TestMap {
    /// With one entry, no consensus groups, and nodes that nobody knows more about.
    pub fn new(shard: &Rc<Shard>, replicas: impl Fn(TabletId) -> Option<Replicas> + 'static) -> TestMap {
        TestMap {
            shard: Rc::downgrade(shard),
            epoch: Cell::new(1),
            replicas: RefCell::new(Box::new(replicas)),
            waiting: RefCell::default(),
            asked: RefCell::default(),
            founders: Box::new(|_| None),
            found_anew: Box::new(|_| None),
            nodes: Rc::new([]),
            forgotten: RefCell::default(),
        }
    }

    #[must_use]
    pub fn at_epoch(self, epoch: u64) -> TestMap {
        TestMap { epoch: Cell::new(epoch), ..self }
    }

    #[must_use]
    pub fn with_founders(self, founders: impl Fn(TabletId) -> Option<Founders> + 'static) -> TestMap {
        TestMap { founders: Box::new(founders), ..self }
    }

    /// Does what follows when somebody wants to go on alone, and says whether that came about.
    #[must_use]
    pub fn with_found_anew(self, found: impl Fn(TabletId) -> Option<()> + 'static) -> TestMap {
        TestMap { found_anew: Box::new(found), ..self }
    }

    #[must_use]
    pub fn with_nodes(self, nodes: Rc<[NodeRecord]>) -> TestMap {
        TestMap { nodes, ..self }
    }

    /// An administrator gives a node up, which stays in the ring.
    pub fn forget(&self, node: NodeId) {
        self.forgotten.borrow_mut().push(node);
    }

    /// An entry that moves all tablets.
    pub fn moves_to(&self, readers: &[NodeId]) {
        let since = self.epoch.get() + 1;
        let replicas = Replicas { readers: readers.into(), joint: Rc::new([]), since };
        *self.replicas.borrow_mut() = Box::new(move |_| Some(replicas.clone()));
        self.epoch.set(since);
        let later = self.waiting.borrow_mut().split_off(&(since + 1));
        let now = self.waiting.replace(later);
        now.into_values().flatten().for_each(|completer| completer.complete(()));
    }
}

impl ClusterMap for TestMap {
    fn epoch(&self) -> u64 {
        self.epoch.get()
    }

    fn replicas(&self, tablet: TabletId) -> Option<Replicas> {
        (self.replicas.borrow())(tablet)
    }

    fn founders(&self, tablet: TabletId) -> Option<Founders> {
        (self.founders)(tablet)
    }

    fn found(&self, tablet: TabletId) -> LocalFuture<bool> {
        let is_founded = self.founders(tablet).is_some();
        Box::pin(async move { is_founded })
    }

    fn found_anew(&self, tablet: TabletId, _known: Option<u64>) -> LocalFuture<bool> {
        let is_found = (self.found_anew)(tablet).is_some();
        Box::pin(async move { is_found })
    }

    fn nodes(&self) -> Rc<[NodeRecord]> {
        self.nodes.clone()
    }

    fn is_forgotten(&self, node: NodeId) -> bool {
        self.forgotten.borrow().contains(&node)
    }

    fn slots(&self) -> u32 {
        1
    }

    fn reached(&self, epoch: u64) -> LocalFuture<()> {
        if self.epoch.get() >= epoch {
            return Box::pin(async {});
        }
        let (completer, ticket) = self.shard.upgrade().expect("runs").ticket();
        self.waiting.borrow_mut().entry(epoch).or_default().push(completer);
        Box::pin(async move {
            let _ = ticket.await; // cancelled only when the map goes
        })
    }

    fn ask_for(&self, epoch: u64, node: NodeId) {
        self.asked.borrow_mut().push((epoch, node));
    }
}

/// One shard on a disk, driven by the test.
pub struct TestShard {
    pub shard: Rc<Shard>,
}

impl TestShard {
    pub fn new(disk: MemoryDisk) -> Self {
        Self::with_disk(Box::new(disk))
    }

    pub fn with_disk(disk: Box<dyn Disk>) -> Self {
        Self::with_router(disk, Box::new(NoRouter))
    }

    pub fn with_router(disk: Box<dyn Disk>, router: Box<dyn Router>) -> Self {
        let shard = Shard::new(ShardOptions {
            node: NodeId(1),
            shard: ShardId(0),
            shards: 1,
            seed: 1,
            order: Order::FirstCome,
            disk,
            router,
            now: Instant(0),
            wall: Wall(1_700_000_000_000_000),
            clock: Arc::default(),
        });
        TestShard { shard }
    }

    /// Lets time pass, timer by timer.
    pub fn advance(&self, duration: Duration) {
        let end = self.shard.now() + duration;
        loop {
            while self.shard.run_ready(crate::limits::POLLS_PER_TURN) {}
            match self.shard.next_deadline() {
                Some(deadline) if deadline <= end => self.jump(deadline),
                _ => break,
            }
        }
        self.jump(end);
        while self.shard.run_ready(crate::limits::POLLS_PER_TURN) {}
    }

    fn jump(&self, to: Instant) {
        let passed = to.since(self.shard.now());
        let wall = Wall(self.shard.wall_micros() + passed.as_micros() as i64);
        self.shard.advance(to, wall);
    }

    /// Runs a future to its end as a task of the shard; time jumps to the next timer whenever nothing else is to do.
    ///
    /// # Panics
    /// When the future waits for something that can no longer happen, or the shard stops.
    pub fn block_on<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        let output = Rc::new(RefCell::new(None));
        let place = output.clone();
        self.shard.spawn(Scope::Node, Class::Foreground, async move {
            let value = future.await;
            *place.borrow_mut() = Some(value);
        });
        loop {
            while self.shard.run_ready(crate::limits::POLLS_PER_TURN) {}
            if let Some(value) = output.borrow_mut().take() {
                return value;
            }
            if let Some(reason) = self.shard.stopped() {
                panic!("the shard stopped: {reason}");
            }
            let Some(deadline) = self.shard.next_deadline() else { panic!("the future waits for ever") };
            self.jump(deadline);
        }
    }
}

/// A buffer with this content.
pub fn buffer(content: &[u8]) -> DiskBuffer {
    DiskBuffer::from(content)
}
