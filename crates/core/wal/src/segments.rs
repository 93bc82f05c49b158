//! Where segments come from and where they go. The next one is made ready when the open one is half full, from a file
//! whose records are all in tables if there is one (its blocks are allocated: syncing it costs the file system nothing),
//! else a new one. Files that wait for reuse are let go when the log has rested.
//!
//! A file gets the name of a segment only when it has, durably, the header and the length of that segment. On the way
//! it is called `spare-…`, which recovery ignores:
//!
//! ```text
//! new:      create spare, allocate, write header, sync, rename, sync directory
//! recycled: rename to spare, sync directory, write header, sync, rename, sync directory
//! ```

use crate::error::WalError;
use crate::format::{LogName, SegmentHeader, segment_name};
use crate::lsn::Lsn;
use crate::sync::{Gate, Signal, stop, sync_dir_or_stop, sync_or_stop};
use holon_base::Instant;
use holon_kernel::{DiskFile, OpenOptions, Shard};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// Files kept for reuse. More than the log needs at once are removed, so that a burst does not hold its room for ever.
const SPARES_MAX: usize = 4;
/// When no segment was asked for in so long, the spare files go too.
const SPARES_KEPT: Duration = Duration::from_secs(5);

pub struct Segment {
    pub file: DiskFile,
    pub sequence: u32,
    /// All of its blocks were written before, by an earlier segment in the same file.
    pub recycled: bool,
}

struct Sealed {
    sequence: u32,
    last: Lsn,
    file: DiskFile,
}

pub struct Segments {
    shard: Rc<Shard>,
    name: LogName,
    log: u64,
    pub length: u64,
    next_sequence: Cell<u32>,
    ready: RefCell<Option<Segment>>,
    /// One is to be made ready.
    needed: Cell<bool>,
    last_needed: Cell<Instant>,
    /// Why there is none ready.
    failed: RefCell<Option<WalError>>,
    /// Full segments, oldest first.
    sealed: RefCell<VecDeque<Sealed>>,
    /// Files without a name of their own any more.
    spares: RefCell<Vec<(String, DiskFile)>>,
    next_spare: Cell<u64>,
    wanted: Signal,
    provided: Signal,
    retiring: Gate,
    pub created: Cell<u64>,
    pub recycled: Cell<u64>,
}

impl Segments {
    /// Makes the directory of a log, durably.
    pub async fn create(shard: Rc<Shard>, name: LogName, log: u64, length: u64) -> Result<Rc<Self>, WalError> {
        let directory = name.directory();
        let exists = !shard.disk().list(&directory).await?.is_empty();
        if exists {
            let detail = format!("{directory} exists: boot number {} was used before", name.boot);
            return Err(WalError::Stopped { reason: detail });
        }
        shard.disk().create_dir(&directory).await?;
        sync_dir_or_stop(&shard, name.root).await?;
        sync_dir_or_stop(&shard, "").await?;
        let now = shard.now();
        Ok(Rc::new(Segments {
            shard,
            name,
            log,
            length,
            next_sequence: Cell::new(0),
            ready: RefCell::new(None),
            needed: Cell::new(true),
            last_needed: Cell::new(now),
            failed: RefCell::new(None),
            sealed: RefCell::default(),
            spares: RefCell::default(),
            next_spare: Cell::new(0),
            wanted: Signal::new(),
            provided: Signal::new(),
            retiring: Gate::new(),
            created: Cell::new(0),
            recycled: Cell::new(0),
        }))
    }

    pub fn log(&self) -> u64 {
        self.log
    }

    /// Makes segments ready; a task for as long as the engine runs.
    pub async fn keep_ready(self: Rc<Self>) {
        loop {
            if !self.needed.get() || self.ready.borrow().is_some() || self.failed.borrow().is_some() {
                let wanted = self.wanted.wait(&self.shard);
                let rested = self.last_needed.get() + SPARES_KEPT;
                let none = self.spares.borrow().is_empty();
                let woken = if none { Ok(wanted.await) } else { self.shard.timeout(rested, wanted).await };
                match woken {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return,
                    Err(_) => self.drop_spares().await,
                }
                continue;
            }
            match self.make().await {
                Ok(segment) => {
                    *self.ready.borrow_mut() = Some(segment);
                    self.needed.set(false);
                }
                Err(error) => *self.failed.borrow_mut() = Some(error),
            }
            self.provided.notify();
        }
    }

    /// The open segment is half full: the next one will be asked for.
    pub fn prepare(&self) {
        self.last_needed.set(self.shard.now());
        if self.ready.borrow().is_none() && !self.needed.replace(true) {
            self.wanted.notify();
        }
    }

    async fn drop_spares(&self) {
        loop {
            let Some((path, file)) = self.spares.borrow_mut().pop() else { return };
            drop(file);
            if self.shard.disk().remove(&path).await.is_err() {
                return; // found and removed at the next start, as every spare
            }
        }
    }

    /// The next segment. An error (no room) is given once; asking again tries again.
    pub async fn take(&self) -> Result<Segment, WalError> {
        loop {
            let ready = self.ready.borrow_mut().take();
            let failed = self.failed.borrow_mut().take();
            if ready.is_none() {
                self.prepare();
                self.wanted.notify();
            }
            match (ready, failed) {
                (Some(segment), _) => return Ok(segment),
                (None, Some(error)) => return Err(error),
                (None, None) => {}
            }
            let stopped = || WalError::Stopped { reason: "the shard stopped".into() };
            self.provided.wait(&self.shard).await.map_err(|_| stopped())?;
        }
    }

    async fn make(&self) -> Result<Segment, WalError> {
        let directory = self.name.directory();
        let sequence = self.next_sequence.get();
        let spare = self.spares.borrow_mut().pop();
        let recycled = spare.is_some();
        let (path, file) = match spare {
            Some(spare) => {
                self.recycled.set(self.recycled.get() + 1);
                spare
            }
            None => {
                let path = self.spare_path();
                let file = self.shard.disk().open(&path, OpenOptions { create: true, direct: true }).await?;
                if let Err(error) = file.allocate(self.length).await {
                    drop(file);
                    self.shard.disk().remove(&path).await?;
                    return Err(error.into());
                }
                self.created.set(self.created.get() + 1);
                (path, file)
            }
        };
        let header = SegmentHeader { name: self.name, sequence, log: self.log, length: self.length };
        file.write_at(0, header.encode()).await?;
        sync_or_stop(&self.shard, &file).await?;
        let target = format!("{directory}/{}", segment_name(sequence));
        self.shard.disk().rename(&path, &target).await?;
        sync_dir_or_stop(&self.shard, &directory).await?;
        self.next_sequence.set(sequence + 1);
        Ok(Segment { file, sequence, recycled })
    }

    fn spare_path(&self) -> String {
        let number = self.next_spare.get();
        self.next_spare.set(number + 1);
        format!("{}/spare-{number:08x}", self.name.directory())
    }

    /// A segment is full; `last` is the last record in it.
    pub fn seal(&self, segment: Segment, last: Lsn) {
        let sealed = Sealed { sequence: segment.sequence, last, file: segment.file };
        self.sealed.borrow_mut().push_back(sealed);
    }

    pub fn sealed_bytes(&self) -> u64 {
        self.sealed.borrow().len() as u64 * self.length
    }

    pub fn sealed_count(&self) -> usize {
        self.sealed.borrow().len()
    }

    /// The last record of the oldest segment that is full.
    pub fn oldest_last(&self) -> Option<Lsn> {
        self.sealed.borrow().front().map(|sealed| sealed.last)
    }

    /// Takes back segments, oldest first, all of whose records are below `needed`. This waits for the disk, and segments
    /// are filled meanwhile: `needed` must hold for them too.
    pub async fn retire_below(&self, needed: Lsn) -> Result<(), WalError> {
        let _retiring = self.retiring.enter(&self.shard).await?;
        loop {
            let oldest = {
                let mut sealed = self.sealed.borrow_mut();
                if sealed.front().is_none_or(|oldest| oldest.last >= needed) {
                    return Ok(());
                }
                sealed.pop_front()
            };
            let Some(oldest) = oldest else { return Ok(()) };
            let directory = self.name.directory();
            let path = format!("{directory}/{}", segment_name(oldest.sequence));
            // Strictly one after the other: a later segment never goes before an earlier one.
            if self.spares.borrow().len() >= SPARES_MAX {
                if let Err(error) = self.shard.disk().remove(&path).await {
                    self.sealed.borrow_mut().push_front(oldest);
                    return Err(error.into());
                }
                sync_dir_or_stop(&self.shard, &directory).await?;
            } else {
                let spare = self.spare_path();
                if let Err(error) = self.shard.disk().rename(&path, &spare).await {
                    return Err(stop(&self.shard, format!("a log segment could not be taken back: {error}")));
                }
                sync_dir_or_stop(&self.shard, &directory).await?;
                self.spares.borrow_mut().push((spare, oldest.file));
                self.wanted.notify();
            }
        }
    }
}
