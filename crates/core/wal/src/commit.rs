//! Group commit. Records queue; one task takes what has gathered, gives it numbers, brings it into the log, hands it to
//! the owner in the order of its numbers, and answers. While a group is being written and synced the next one gathers.
//!
//! | group | handed over and answered | on the medium |
//! | --- | --- | --- |
//! | with a `Sync` record | after the sync | before the answer |
//! | only `Periodic` records | when in the buffer of the log | within `periodic_sync_ms` |
//!
//! It is the task that hands over, not the one who asked: a requester that is gone changes nothing about the outcome.

use crate::error::WalError;
use crate::format::RECORD_HEADER_BYTES;
use crate::log::Log;
use crate::lsn::Lsn;
use crate::sync::Signal;
use holon_base::{Instant, TabletId};
use holon_kernel::{Completer, Shard, Ticket};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// Between looks whether there is room again for a group like the one that was refused, while nobody writes.
const ROOM_LOOK: Duration = Duration::from_secs(1);

/// A group takes no more than this (but at least one record), so that its first writer need not wait for its last.
const GROUP_BYTES: usize = 1 << 20;
/// The buffer of periodic writes goes to the file (without a sync) when it holds so much …
const PERIODIC_BUFFER_BYTES: usize = 128 << 10;
/// … or is so old: a killed process loses what is only in the buffer.
const PERIODIC_WRITE: Duration = Duration::from_millis(20);
/// After so long without work a mark is written that proves the last group: damage to it is then noticed.
const IDLE_MARK: Duration = Duration::from_secs(1);

/// When a record is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When the log is on the medium.
    #[default]
    Sync,
    /// When it is in the log's buffer, which reaches the medium within a period that its owner names.
    Periodic,
}

/// What is logged. Its bytes may lie in two places, and may change until it is admitted; their number may not.
pub trait Record {
    fn bytes(&self) -> [&[u8]; 2];

    fn length(&self) -> usize {
        self.bytes().iter().map(|part| part.len()).sum()
    }
}

/// Whose log it is.
pub trait Owner {
    type Record: Record;
    /// What whoever wrote a record is told.
    type Answer;
    type Error: From<WalError> + Clone;

    /// There is room for the record, and it enters the log next, after all that were admitted before. An error keeps it out, and
    /// is told to whoever wrote it.
    ///
    /// # Errors
    /// What the owner has against it.
    fn admit(&self, _tablet: TabletId, _record: &mut Self::Record) -> Result<(), Self::Error> {
        Ok(())
    }

    /// The record is in the log as it asked for.
    ///
    /// # Errors
    /// As the owner likes; the record stays in the log.
    fn committed(&self, tablet: TabletId, record: Self::Record, lsn: Lsn) -> Result<Self::Answer, Self::Error>;

    /// All records of a group were handed over.
    fn group_committed(&self);

    /// The log had no room for a group, or has.
    fn logged_or_not(&self, failure: Option<&WalError>);

    /// The log's own task failed: once for all, if the shard stopped.
    fn failed(&self, error: &WalError);
}

/// A record and who waits for it.
pub struct Pending<O: Owner> {
    pub tablet: TabletId,
    pub record: O::Record,
    pub durability: Durability,
    pub completer: Waiting<O>,
}

/// Who is told that a record was not taken, and why.
type Refused<O> = (Waiting<O>, <O as Owner>::Error);

/// Who waits for a record.
pub type Waiting<O> = Completer<Result<<O as Owner>::Answer, <O as Owner>::Error>>;

struct Queue<O: Owner> {
    pending: RefCell<VecDeque<Pending<O>>>,
    bytes: Cell<usize>,
    arrived: Signal,
}

impl<O: Owner> Queue<O> {
    fn new() -> Self {
        Queue { pending: RefCell::default(), bytes: Cell::new(0), arrived: Signal::new() }
    }

    fn push(&self, pending: Pending<O>) {
        self.bytes.set(self.bytes.get() + pending.record.length());
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
    fn take_group(&self, log: &Log) -> (Vec<Pending<O>>, usize) {
        let mut queue = self.pending.borrow_mut();
        let mut group = Vec::new();
        let mut bytes = 0;
        while let Some(next) = queue.front() {
            let record = RECORD_HEADER_BYTES + next.record.length();
            if !log.fits(bytes + record) || (bytes + record > GROUP_BYTES && !group.is_empty()) {
                break;
            }
            bytes += record;
            group.extend(queue.pop_front());
        }
        (group, bytes)
    }

    /// So many bytes of records wait no longer.
    fn taken(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
    }
}

/// The queue in front of a log, and what is known of the log behind it. Its task is [`Commits::run`].
pub struct Commits<O: Owner> {
    shard: Rc<Shard>,
    queue: Queue<O>,
    /// How long an acknowledged record of [`Durability::Periodic`] may take to reach the medium.
    periodic_sync_ms: u64,
    /// The last record that was given a number.
    last: Cell<Lsn>,
    /// The last record of this boot that was handed to the owner.
    handed_over: Cell<Lsn>,
    /// No record gets into the log until it is false again.
    held: Cell<bool>,
    /// A group is on its way into the log and to the owner.
    committing: Cell<bool>,
    closing: Cell<bool>,
    committed_all: Cell<bool>,
    /// A group was committed or refused, or all are.
    progressed: Rc<Signal>,
    bytes: Cell<u64>,
    groups: Cell<u64>,
    syncs: Cell<u64>,
}

impl<O: Owner> Commits<O> {
    /// `progressed` is the owner's, too: it may notify it of what happens elsewhere.
    pub fn new(shard: Rc<Shard>, boot: u32, periodic_sync_ms: u64, progressed: Rc<Signal>) -> Self {
        Commits {
            shard,
            queue: Queue::new(),
            periodic_sync_ms,
            last: Cell::new(Lsn::new(boot, 0)),
            handed_over: Cell::new(Lsn::new(boot, 0)),
            held: Cell::new(false),
            committing: Cell::new(false),
            closing: Cell::new(false),
            committed_all: Cell::new(false),
            progressed,
            bytes: Cell::new(0),
            groups: Cell::new(0),
            syncs: Cell::new(0),
        }
    }

    pub fn push(&self, pending: Pending<O>) {
        self.queue.push(pending);
    }

    /// Bytes of records that wait.
    pub fn queued_bytes(&self) -> usize {
        self.queue.bytes.get()
    }

    /// The last record that was given a number.
    pub fn last(&self) -> Lsn {
        self.last.get()
    }

    /// The last record that was handed to the owner.
    pub fn handed_over(&self) -> Lsn {
        self.handed_over.get()
    }

    /// Bytes, groups and syncs of the log so far.
    pub fn figures(&self) -> (u64, u64, u64) {
        (self.bytes.get(), self.groups.get(), self.syncs.get())
    }

    pub fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// From the return of this until [`Commits::release`] nothing is handed over. The caller sees to it that this is short.
    ///
    /// # Errors
    /// The shard stopped.
    pub async fn hold(&self) -> Result<(), WalError> {
        self.held.set(true);
        while self.committing.get() {
            self.wait_for_progress().await?;
        }
        Ok(())
    }

    /// Records go on. Fine if they were not held.
    pub fn release(&self) {
        if self.held.replace(false) {
            self.queue.arrived.notify();
        }
    }

    /// Writes out what waits, syncs the log and ends the task. No records may follow.
    ///
    /// # Errors
    /// The shard stopped.
    pub async fn close(&self) -> Result<(), WalError> {
        self.closing.set(true);
        self.queue.arrived.notify();
        while !self.committed_all.get() {
            self.wait_for_progress().await?;
        }
        Ok(())
    }

    async fn wait_for_progress(&self) -> Result<(), WalError> {
        self.progressed.wait(&self.shard).await.map_err(|_| stopped())
    }

    /// The commit task.
    pub async fn run(self: Rc<Self>, owner: Rc<O>, log: Log) {
        let mut committer = Committer { commits: self, owner, log, write_due: None, sync_due: None, refused: None };
        // An error here has stopped the shard and says so; everybody who waits is told by their tickets.
        if let Err(error) = committer.run().await {
            committer.owner.failed(&error);
        }
    }
}

fn stopped() -> WalError {
    WalError::Stopped { reason: "the shard stopped".into() }
}

struct Committer<O: Owner> {
    commits: Rc<Commits<O>>,
    owner: Rc<O>,
    log: Log,
    /// When the buffer goes to the file, and when the file is synced, at the latest.
    write_due: Option<Instant>,
    sync_due: Option<Instant>,
    /// While the log has no room: the bytes that were refused, and when it is looked again.
    refused: Option<(usize, Instant)>,
}

impl<O: Owner> Committer<O> {
    async fn run(&mut self) -> Result<(), WalError> {
        loop {
            // Who closes has nothing held back any more: what waits is written.
            let held = self.commits.held.get() && !self.commits.closing.get();
            if held || self.commits.queue.is_empty() {
                if self.commits.closing.get() {
                    self.finish().await?;
                    return Ok(());
                }
                self.wait().await?;
            } else {
                self.commits.committing.set(true);
                self.commit_group().await?;
                self.commits.committing.set(false);
                if self.commits.held.get() {
                    self.commits.progressed.notify();
                }
            }
            self.write_what_is_due().await?;
            self.publish();
        }
    }

    fn publish(&self) {
        self.commits.bytes.set(self.log.bytes);
        self.commits.groups.set(self.log.groups);
        self.commits.syncs.set(self.log.syncs);
    }

    async fn wait(&mut self) -> Result<(), WalError> {
        let shard = &self.commits.shard;
        let arrived: Ticket<()> = self.commits.queue.arrived.wait(shard);
        let look = self.refused.map(|(_, look)| look);
        let due = self.write_due.into_iter().chain(self.sync_due).chain(look).min();
        let idle = self.log.is_unproven() && due.is_none();
        let deadline = due.or(idle.then(|| shard.now() + IDLE_MARK));
        let Some(deadline) = deadline else {
            return arrived.await.map_err(|_| stopped());
        };
        let elapsed = shard.timeout(deadline, arrived).await.is_err();
        if elapsed && let Some((bytes, _)) = self.refused {
            match self.log.reserve(bytes).await {
                Err(error @ WalError::Stopped { .. }) => return Err(error),
                reserved => self.has_room(bytes, reserved.err().as_ref()),
            }
        }
        if elapsed && idle && self.log.reserve(0).await.is_ok() {
            // Without room for a mark the last group stays unproven; that is no reason to stop.
            self.log.write().await?;
        }
        Ok(())
    }

    async fn commit_group(&mut self) -> Result<(), WalError> {
        let (group, bytes) = self.commits.queue.take_group(&self.log);
        let record_bytes = bytes - group.len() * RECORD_HEADER_BYTES;
        if group.is_empty() {
            // The next record does not fit beside what is buffered.
            return self.write_buffer().await;
        }
        if let Err(error) = self.log.reserve(bytes).await {
            if matches!(error, WalError::Stopped { .. }) {
                return Err(error);
            }
            self.has_room(bytes, Some(&error));
            self.commits.queue.taken(record_bytes);
            for pending in group {
                pending.completer.complete(Err(error.clone().into()));
            }
            self.commits.progressed.notify();
            return Ok(());
        }
        self.has_room(bytes, None);
        let first = self.log.last().plus(1);
        let (group, refused) = self.admit(group);
        self.commits.last.set(self.log.last());
        if group.iter().any(|pending| pending.durability == Durability::Sync) {
            self.log.write_and_sync().await?;
            self.write_due = None;
            self.sync_due = None;
        } else if !group.is_empty() {
            let now = self.commits.shard.now();
            self.write_due.get_or_insert(now + PERIODIC_WRITE);
            self.sync_due.get_or_insert(now + Duration::from_millis(self.commits.periodic_sync_ms));
        }
        self.commits.queue.taken(record_bytes);
        self.hand_over(group, first);
        // Not earlier: why a record is refused may be another one of this group, which has to be on the medium first.
        refused.into_iter().for_each(|(completer, error)| completer.complete(Err(error)));
        Ok(())
    }

    /// Gives numbers to those that the owner takes; these, and who is told that theirs is not taken.
    fn admit(&mut self, group: Vec<Pending<O>>) -> (Vec<Pending<O>>, Vec<Refused<O>>) {
        let (mut admitted, mut refused) = (Vec::with_capacity(group.len()), Vec::new());
        for mut pending in group {
            match self.owner.admit(pending.tablet, &mut pending.record) {
                Ok(()) => {
                    self.log.append(pending.tablet, pending.record.bytes());
                    admitted.push(pending);
                }
                Err(error) => refused.push((pending.completer, error)),
            }
        }
        (admitted, refused)
    }

    /// Whether the log could take a group, or could.
    fn has_room(&mut self, bytes: usize, failure: Option<&WalError>) {
        self.refused = failure.map(|_| (bytes, self.commits.shard.now() + ROOM_LOOK));
        self.owner.logged_or_not(failure);
    }

    fn hand_over(&self, group: Vec<Pending<O>>, first: Lsn) {
        self.commits.handed_over.set(self.log.last());
        for (index, pending) in group.into_iter().enumerate() {
            let outcome = self.owner.committed(pending.tablet, pending.record, first.plus(index as u64));
            pending.completer.complete(outcome);
        }
        self.owner.group_committed();
        self.commits.progressed.notify();
    }

    async fn write_buffer(&mut self) -> Result<(), WalError> {
        self.write_due = None;
        if self.log.buffered_bytes() == 0 {
            return Ok(());
        }
        if let Err(error) = self.log.reserve(0).await {
            if matches!(error, WalError::Stopped { .. }) {
                return Err(error);
            }
            // No room: these records were acknowledged, so they stay in the buffer and are tried again.
            self.owner.failed(&error);
            self.write_due = Some(self.commits.shard.now() + IDLE_MARK);
            if !self.commits.queue.is_empty() {
                self.commits.shard.sleep(PERIODIC_WRITE).await;
            }
            return Ok(());
        }
        self.log.write().await
    }

    async fn write_what_is_due(&mut self) -> Result<(), WalError> {
        let now = self.commits.shard.now();
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
    async fn finish(&mut self) -> Result<(), WalError> {
        self.write_buffer().await?;
        if self.log.is_unsynced() {
            self.log.sync().await?;
        }
        if self.log.is_unproven() && self.log.reserve(0).await.is_ok() {
            self.log.write_and_sync().await?;
        }
        self.publish();
        self.commits.committed_all.set(true);
        self.commits.progressed.notify();
        Ok(())
    }
}
