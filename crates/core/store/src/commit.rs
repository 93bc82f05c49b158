//! Group commit. Writes queue; one task takes what has gathered, gives it numbers, brings it into the log, applies it
//! to the memtables in the order of its numbers, and answers. While a group is being written and synced the next one
//! gathers.
//!
//! | group | applied and answered | on the medium |
//! | --- | --- | --- |
//! | with a `Sync` write | after the sync | before the answer |
//! | only `Periodic` writes | when in the buffer of the log | within `periodic_sync_ms` |
//!
//! It is the task that applies, not the one who asked: a requester that is gone changes nothing about the outcome.

use crate::error::StoreError;
use crate::inner::Inner;
use crate::lsn::Lsn;
use crate::mutation::Mutation;
use crate::options::Durability;
use crate::sync::Signal;
use crate::wal::format::RECORD_HEADER_BYTES;
use crate::wal::log::Log;
use holon_base::{Instant, TabletId};
use holon_kernel::{Completer, Ticket};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// Between looks whether there is room again for a group like the one that was refused, while nobody writes.
const ROOM_LOOK: Duration = Duration::from_secs(1);

/// A group takes no more than this (but at least one mutation), so that its first writer need not wait for its last.
const GROUP_BYTES: usize = 1 << 20;
/// The buffer of periodic writes goes to the file (without a sync) when it holds so much …
const PERIODIC_BUFFER_BYTES: usize = 128 << 10;
/// … or is so old: a killed process loses what is only in the buffer.
const PERIODIC_WRITE: Duration = Duration::from_millis(20);
/// After so long without work a mark is written that proves the last group: damage to it is then noticed.
const IDLE_MARK: Duration = Duration::from_secs(1);

pub struct Pending {
    pub tablet: TabletId,
    pub mutation: Mutation,
    pub durability: Durability,
    pub completer: Completer<Result<Lsn, StoreError>>,
}

pub struct Queue {
    pending: RefCell<VecDeque<Pending>>,
    bytes: Cell<usize>,
    pub arrived: Signal,
}

impl Queue {
    pub fn new() -> Self {
        Queue { pending: RefCell::default(), bytes: Cell::new(0), arrived: Signal::new() }
    }

    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }

    pub fn push(&self, pending: Pending) {
        self.bytes.set(self.bytes.get() + pending.mutation.bytes().len());
        let first = {
            let mut queue = self.pending.borrow_mut();
            queue.push_back(pending);
            queue.len() == 1
        };
        if first {
            self.arrived.notify();
        }
    }

    fn is_empty(&self) -> bool {
        self.pending.borrow().is_empty()
    }

    /// The next group, as far as it fits beside `log`'s buffer.
    fn take_group(&self, log: &Log) -> (Vec<Pending>, usize) {
        let mut queue = self.pending.borrow_mut();
        let mut group = Vec::new();
        let mut bytes = 0;
        while let Some(next) = queue.front() {
            let record = RECORD_HEADER_BYTES + next.mutation.bytes().len();
            if !log.fits(bytes + record) || (bytes + record > GROUP_BYTES && !group.is_empty()) {
                break;
            }
            bytes += record;
            group.extend(queue.pop_front());
        }
        (group, bytes)
    }

    fn taken(&self, group: &[Pending]) {
        let bytes: usize = group.iter().map(|pending| pending.mutation.bytes().len()).sum();
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
    }
}

struct Committer {
    inner: Rc<Inner>,
    log: Log,
    /// When the buffer goes to the file, and when the file is synced, at the latest.
    write_due: Option<Instant>,
    sync_due: Option<Instant>,
    /// While the log has no room: the bytes that were refused, and when it is looked again.
    refused: Option<(usize, Instant)>,
}

/// The commit task.
pub async fn run(inner: Rc<Inner>, log: Log) {
    let mut committer = Committer { inner, log, write_due: None, sync_due: None, refused: None };
    // An error here has stopped the shard and says so; everybody who waits is told by their tickets.
    if let Err(error) = committer.run().await {
        committer.inner.note_background_error(&error);
    }
}

impl Committer {
    async fn run(&mut self) -> Result<(), StoreError> {
        loop {
            // Who closes has nothing held back any more: what waits is written.
            let held = self.inner.held.get() && !self.inner.closing.get();
            if held || self.inner.queue.is_empty() {
                if self.inner.closing.get() {
                    self.finish().await?;
                    return Ok(());
                }
                self.wait().await?;
            } else {
                self.inner.committing.set(true);
                self.commit_group().await?;
                self.inner.committing.set(false);
                if self.inner.held.get() {
                    self.inner.progressed.notify();
                }
            }
            self.write_what_is_due().await?;
            self.publish();
        }
    }

    fn publish(&self) {
        let counters = &self.inner.counters;
        counters.log_bytes.set(self.log.bytes);
        counters.log_groups.set(self.log.groups);
        counters.log_syncs.set(self.log.syncs);
    }

    async fn wait(&mut self) -> Result<(), StoreError> {
        let shard = &self.inner.shard;
        let arrived: Ticket<()> = self.inner.queue.arrived.wait(shard);
        let look = self.refused.map(|(_, look)| look);
        let due = self.write_due.into_iter().chain(self.sync_due).chain(look).min();
        let idle = self.log.is_unproven() && due.is_none();
        let deadline = due.or(idle.then(|| shard.now() + IDLE_MARK));
        let Some(deadline) = deadline else {
            return arrived.await.map_err(|_| crate::inner::stopped());
        };
        let elapsed = shard.timeout(deadline, arrived).await.is_err();
        if elapsed && let Some((bytes, _)) = self.refused {
            match self.log.reserve(bytes).await {
                Err(error @ StoreError::Stopped { .. }) => return Err(error),
                reserved => self.has_room(bytes, reserved.err().as_ref()),
            }
        }
        if elapsed && idle && self.log.reserve(0).await.is_ok() {
            // Without room for a mark the last group stays unproven; that is no reason to stop.
            self.log.write().await?;
        }
        Ok(())
    }

    async fn commit_group(&mut self) -> Result<(), StoreError> {
        let (group, bytes) = self.inner.queue.take_group(&self.log);
        if group.is_empty() {
            // The next mutation does not fit beside what is buffered.
            return self.write_buffer().await;
        }
        if let Err(error) = self.log.reserve(bytes).await {
            if matches!(error, StoreError::Stopped { .. }) {
                return Err(error);
            }
            self.has_room(bytes, Some(&error));
            self.inner.queue.taken(&group);
            for pending in group {
                pending.completer.complete(Err(error.clone()));
            }
            self.inner.progressed.notify();
            return Ok(());
        }
        self.has_room(bytes, None);
        let first = self.log.last().plus(1);
        for pending in &group {
            self.log.append(pending.tablet, pending.mutation.bytes());
        }
        self.inner.lsn_last.set(self.log.last());
        if group.iter().any(|pending| pending.durability == Durability::Sync) {
            self.log.write_and_sync().await?;
            self.write_due = None;
            self.sync_due = None;
        } else {
            let now = self.inner.shard.now();
            self.write_due.get_or_insert(now + PERIODIC_WRITE);
            self.sync_due.get_or_insert(now + Duration::from_millis(self.inner.options.periodic_sync_ms));
        }
        self.apply(group, first);
        Ok(())
    }

    /// Whether the log could take a group, or could.
    fn has_room(&mut self, bytes: usize, failure: Option<&StoreError>) {
        self.refused = failure.map(|_| (bytes, self.inner.shard.now() + ROOM_LOOK));
        self.inner.logged_or_not(failure);
    }

    fn apply(&self, group: Vec<Pending>, first: Lsn) {
        let inner = &self.inner;
        inner.queue.taken(&group);
        inner.lsn_applied.set(self.log.last());
        for (index, pending) in group.into_iter().enumerate() {
            let lsn = first.plus(index as u64);
            let outcome = inner.tree(pending.tablet).and_then(|tree| {
                let active = tree.active();
                let before = active.bytes();
                active.apply(&pending.mutation, lsn)?;
                tree.changed.borrow_mut().add(&pending.mutation);
                inner.memtable_grew(before, active.bytes());
                Ok(lsn)
            });
            inner.counters.writes.add(1);
            inner.counters.written_user_bytes.add(pending.mutation.bytes().len() as u64);
            pending.completer.complete(outcome);
        }
        inner.freeze_if_full();
        inner.freeze_if_log_full();
        inner.progressed.notify();
    }

    async fn write_buffer(&mut self) -> Result<(), StoreError> {
        self.write_due = None;
        if self.log.buffered_bytes() == 0 {
            return Ok(());
        }
        if let Err(error) = self.log.reserve(0).await {
            if matches!(error, StoreError::Stopped { .. }) {
                return Err(error);
            }
            // No room: these writes were acknowledged, so they stay in the buffer and are tried again.
            self.inner.note_background_error(&error);
            self.write_due = Some(self.inner.shard.now() + IDLE_MARK);
            if !self.inner.queue.is_empty() {
                self.inner.shard.sleep(PERIODIC_WRITE).await;
            }
            return Ok(());
        }
        self.log.write().await
    }

    async fn write_what_is_due(&mut self) -> Result<(), StoreError> {
        let now = self.inner.shard.now();
        let full = self.log.buffered_bytes() >= PERIODIC_BUFFER_BYTES;
        let sync = self.sync_due.is_some_and(|due| due <= now);
        if full || sync || self.write_due.is_some_and(|due| due <= now) {
            self.write_buffer().await?;
        }
        if sync && self.log.buffered_bytes() == 0 {
            self.sync_due = None;
            self.log.sync().await?;
        }
        Ok(())
    }

    /// Writes and syncs everything, and a mark that proves it.
    async fn finish(&mut self) -> Result<(), StoreError> {
        self.write_buffer().await?;
        if self.log.is_unsynced() {
            self.log.sync().await?;
        }
        if self.log.is_unproven() && self.log.reserve(0).await.is_ok() {
            self.log.write_and_sync().await?;
        }
        self.publish();
        self.inner.committed_all.set(true);
        self.inner.progressed.notify();
        Ok(())
    }
}
