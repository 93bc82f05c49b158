//! Drives the Raft machine of the metadata group, on shard 0 of every node: what it wants saved goes to the log file, what it
//! wants said goes out as envelopes, what it has committed goes to [`Metadata`].
//!
//! ```text
//!   proposals, peers' messages, deadlines ──► Raft ──► saves ──► log file ──► "saved"
//!                                              ├─────► messages to peers (those that promise something wait for "saved")
//!                                              └─────► committed entries, in order, once the file says they are
//! ```
//!
//! An entry is handed on only when the file says that it is committed: a node that starts again applies all it had
//! applied before it opens its tablets, whether or not it hears of anybody. A lone voter needs no such word: whatever it
//! has written is committed.
//!
//! Every node has the machine, voter or not: a node that is no voter never campaigns, and is fed with committed entries
//! by [`crate::follow`].

use crate::follow::CONTRADICTED;
use crate::log_file::{AppendError, CompactError, LogFile, put_entries, put_hard, put_snapshot, put_void_from};
use crate::service::{METADATA_SERVICE, Metadata, RAFT};
use crate::snapshot::Handed;
use bytes::Bytes;
use holon_base::{ByteWriter, Instant, NodeId, Random, ShardId};
use holon_kernel::{Address, Class, Completer, Scope, Shard, Target};
use holon_raft::{Body, Entry, HardState, Message, Output, Raft, Role, Save, Snapshot, Status};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// Between two tries to write to a disk that refuses (a full one is emptied some day).
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What [`Metadata`] is handed.
enum Committed {
    Entry(Entry),
    /// Instead of everything up to its index.
    Snapshot(Snapshot),
}

impl Committed {
    fn index(&self) -> u64 {
        match self {
            Committed::Entry(entry) => entry.index,
            Committed::Snapshot(snapshot) => snapshot.index,
        }
    }
}

pub(crate) struct Consensus {
    me: Weak<Consensus>,
    shard: Rc<Shard>,
    metadata: Weak<Metadata>,
    raft: RefCell<Raft>,
    log: RefCell<Option<LogFile>>,
    saves: RefCell<VecDeque<Save>>,
    saving: Cell<bool>,
    /// The hard state as the file has it.
    hard: Cell<HardState>,
    /// Committed, to be handed on.
    committed: RefCell<VecDeque<Committed>>,
    /// What the timer task sleeps until, and what wakes it earlier.
    armed: Cell<Option<Instant>>,
    alarm: RefCell<Option<Completer<()>>>,
    /// To be told at the next change of role, of leader or of commit index.
    changes: RefCell<Vec<Completer<()>>>,
}

impl Consensus {
    pub(crate) fn new(metadata: &Rc<Metadata>, raft: Raft, log: LogFile, hard: HardState) -> Rc<Consensus> {
        Rc::new_cyclic(|me| Consensus {
            me: me.clone(),
            shard: metadata.shard.clone(),
            metadata: Rc::downgrade(metadata),
            raft: RefCell::new(raft),
            log: RefCell::new(Some(log)),
            saves: RefCell::default(),
            saving: Cell::new(false),
            hard: Cell::new(hard),
            committed: RefCell::default(),
            armed: Cell::new(None),
            alarm: RefCell::new(None),
            changes: RefCell::default(),
        })
    }

    /// Lets time pass for it, until the shard stops.
    pub(crate) fn run(&self) {
        let Some(me) = self.me.upgrade() else { return };
        self.shard.clone().spawn(Scope::Node, Class::Foreground, async move {
            loop {
                me.step(|raft, now, out| raft.tick(now, out));
                let deadline = me.raft.borrow().next_deadline().unwrap_or(Instant::FAR_FUTURE);
                let (completer, alarm) = me.shard.ticket();
                *me.alarm.borrow_mut() = Some(completer);
                me.armed.set(Some(deadline));
                // Either is fine: time has come, or the deadline has moved.
                let _ = me.shard.timeout(deadline, alarm).await;
                me.armed.set(None);
            }
        });
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.raft.borrow().status().role == Role::Leader
    }

    pub(crate) fn status(&self) -> Status {
        self.raft.borrow().status()
    }

    /// Committed entries from an index on, up to so many bytes; the snapshot, if the first of them are gone.
    pub(crate) fn committed_from(&self, from: u64, bytes_max: usize) -> Handed {
        let raft = self.raft.borrow();
        let status = raft.status();
        if from < status.first_index {
            return Handed { snapshot: raft.snapshot().cloned(), entries: Vec::new() };
        }
        let commit = status.commit;
        let mut bytes = 0;
        let fits = |entry: &Entry| {
            bytes += entry.size_bytes();
            bytes <= bytes_max || entry.index == from
        };
        let entries = (from..=commit).map_while(|index| raft.entry(index).cloned()).take_while(fits).collect();
        Handed { snapshot: None, entries }
    }

    /// The term of a committed entry, as far as the log goes back.
    pub(crate) fn committed_term(&self, index: u64) -> Option<u64> {
        let raft = self.raft.borrow();
        raft.term_at(index).filter(|_| index <= raft.status().commit)
    }

    /// Hands something to the machine and carries out what it asks for.
    pub(crate) fn step<T>(&self, input: impl FnOnce(&mut Raft, Instant, &mut Output) -> T) -> T {
        let before = self.status_mark();
        let mut out = Output::default();
        let result = input(&mut self.raft.borrow_mut(), self.shard.now(), &mut out);
        self.carry_out(out);
        if self.status_mark() != before {
            self.changes.take().into_iter().for_each(|completer| completer.complete(()));
        }
        result
    }

    fn status_mark(&self) -> (bool, Option<NodeId>, u64, u64) {
        let status = self.raft.borrow().status();
        (status.role == Role::Leader, status.leader, status.term, status.commit)
    }

    /// Returns at the next change of role, leader or commit index, or at the deadline.
    pub(crate) async fn changed(&self, deadline: Instant) {
        let (completer, ticket) = self.shard.ticket();
        self.changes.borrow_mut().push(completer);
        let _ = self.shard.timeout(deadline, ticket).await; // both mean: look again
    }

    pub(crate) fn receive(&self, from: NodeId, bytes: Bytes) {
        // What cannot be read is as good as lost; a newer version of the protocol is spoken only when all know it.
        let Ok(message) = Message::decode(bytes) else { return };
        if let Body::Snapshot(snapshot) = &message.body
            && self.metadata.upgrade().is_some_and(|metadata| metadata.contradicts(self, snapshot))
        {
            return self.shard.stop(CONTRADICTED.to_string());
        }
        self.step(|raft, now, out| raft.receive(now, from, message, out));
    }

    fn carry_out(&self, out: Output) {
        if out.contradicted.is_some() {
            return self.shard.stop(CONTRADICTED.to_string());
        }
        for (to, message) in out.messages {
            let to = Address { node: to, shard: ShardId(0) };
            self.shard.send(to, Target::Service(METADATA_SERVICE), RAFT, message.encode());
        }
        self.saves.borrow_mut().extend(out.saves);
        self.committed.borrow_mut().extend(out.restore.map(Committed::Snapshot));
        self.committed.borrow_mut().extend(out.committed.into_iter().map(Committed::Entry));
        self.hand_on();
        if !self.saves.borrow().is_empty() || !self.committed.borrow().is_empty() {
            self.start_saving();
        }
        let deadline = self.raft.borrow().next_deadline().unwrap_or(Instant::FAR_FUTURE);
        if self.armed.get().is_some_and(|armed| deadline < armed) {
            drop(self.alarm.borrow_mut().take());
        }
    }

    fn start_saving(&self) {
        let Some(me) = self.me.upgrade() else { return };
        if !self.saving.replace(true) {
            self.shard.spawn(Scope::Node, Class::Foreground, async move { me.save_all().await });
        }
    }

    /// Hands on what the file says is committed.
    fn hand_on(&self) {
        let Some(metadata) = self.metadata.upgrade() else { return };
        let alone = self.is_lone_voter();
        loop {
            let next = {
                let mut committed = self.committed.borrow_mut();
                let due = committed.front().is_some_and(|next| alone || next.index() <= self.hard.get().commit);
                if due { committed.pop_front() } else { None }
            };
            match next {
                Some(Committed::Entry(entry)) => metadata.committed(entry),
                Some(Committed::Snapshot(snapshot)) => metadata.restored(snapshot),
                None => return,
            }
        }
    }

    fn is_lone_voter(&self) -> bool {
        let status = self.raft.borrow().status();
        status.members.voters.len() == 1 && status.members.voters.contains(&self.shard.node())
    }

    /// One append for everything that has gathered while the last one was under way.
    async fn save_all(&self) {
        let Some(mut log) = self.log.take() else { return };
        loop {
            let waiting: Vec<Save> = self.saves.borrow_mut().drain(..).collect();
            let commit = self.committed.borrow().back().map_or(0, Committed::index);
            if waiting.is_empty() && commit <= self.hard.get().commit {
                break;
            }
            let mut hard = waiting.iter().filter_map(|save| save.hard).next_back().unwrap_or(self.hard.get());
            hard.commit = hard.commit.max(commit).max(self.hard.get().commit);
            let mut bytes = ByteWriter::new();
            for save in &waiting {
                save.truncate_from.iter().for_each(|index| put_void_from(*index, &mut bytes));
                save.snapshot.iter().for_each(|snapshot| put_snapshot(snapshot, &mut bytes));
                put_entries(&save.append, &mut bytes);
            }
            // Behind the entries: what it says is committed is there.
            put_hard(&hard, &mut bytes);
            if !self.append(&mut log, bytes.freeze()).await {
                return;
            }
            let through = waiting.iter().filter_map(|save| save.drop_through).next_back();
            if let Some(through) = through
                && !self.shorten(&mut log, through).await
            {
                return;
            }
            self.hard.set(hard);
            match waiting.last().map(|save| save.number) {
                Some(number) => self.step(|raft, _, out| raft.saved(number, out)),
                None => self.hand_on(),
            }
        }
        *self.log.borrow_mut() = Some(log);
        self.saving.set(false);
    }

    /// However long it takes; false if the shard has to stop.
    async fn append(&self, log: &mut LogFile, bytes: Bytes) -> bool {
        while let Err(error) = log.append(bytes.clone()).await {
            match error {
                AppendError::Write(error) => {
                    self.report(format!("the metadata log cannot be written ({error}); trying again"));
                    self.shard.sleep(RETRY_PAUSE).await;
                }
                AppendError::Sync(error) => {
                    let what = "what the metadata log holds is not known; check the disk and start again";
                    self.shard.stop(format!("{error}: {what}"));
                    return false;
                }
            }
        }
        true
    }

    /// The file is good without this, only longer. False if the shard has to stop.
    async fn shorten(&self, log: &mut LogFile, through: u64) -> bool {
        match log.compact(&self.shard.disk(), through).await {
            Ok(()) => true,
            Err(CompactError::Place(error)) => {
                let what = "which metadata log is in place is not known; check the disk and start again";
                self.shard.stop(format!("{error}: {what}"));
                false
            }
            Err(error) => {
                self.report(format!(
                    "the metadata log could not be shortened ({error}); it will be with the next snapshot"
                ));
                true
            }
        }
    }

    fn report(&self, text: String) {
        if let Some(metadata) = self.metadata.upgrade() {
            metadata.tell(text);
        }
    }
}

/// A seed for the machine's own choices.
pub(crate) fn random_of(shard: &Shard) -> Random {
    Random::new(shard.random_u64())
}
