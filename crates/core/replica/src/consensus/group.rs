//! One member of one tablet's group: drives its Raft machine, and brings what the group decides to the replicas.

use super::Groups;
use super::ledger::{Decision, Ledger};
use crate::coordinator::Demand;
use crate::level::Level;
use crate::limits::{
    APPLY_PAUSE, APPLY_TIMEOUT, DECIDE_TIMEOUT, GROUP_AWAKE, GROUP_ELECTION, GROUP_HEARTBEAT, GROUP_LOG_ENTRIES,
};
use crate::plant;
use bytes::Bytes;
use holon_base::{Instant, NodeId, Random, TabletId};
use holon_kernel::{Class, Completer, Scope, Shard};
use holon_raft::{Compaction, Entry, Message, Options, Output, Payload, Raft, Save, Stored, StoredError};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};

pub(super) struct Group {
    me: Weak<Group>,
    pub(super) tablet: TabletId,
    pub(super) shard: Rc<Shard>,
    groups: Weak<Groups>,
    ledger: Ledger,
    raft: RefCell<Raft>,
    saves: RefCell<VecDeque<Save>>,
    saving: Cell<bool>,
    /// The tablet is gone: nothing is saved any more.
    closed: Cell<bool>,
    pub(super) awake_until: Cell<Instant>,
    /// As leader of this term it has brought to the replicas all that was decided before: it may decide.
    ready: Cell<Option<u64>>,
    /// In this term entries up to this index may be decided on without anybody here who sees to them any more. What was read without
    /// them must not be the ground of another decision.
    in_doubt: Cell<(u64, u64)>,
    preparing: Cell<Option<u64>>,
    /// A majority has confirmed the leadership since the machine was ticked again.
    confirmed: Cell<bool>,
    /// Decided, and not known to be at a majority of the replicas, by index.
    unapplied: RefCell<BTreeMap<u64, Bytes>>,
    /// Something was written of which the others have not been told: they would write it again, some day.
    untold: Cell<bool>,
    /// The latest timestamp of any decision.
    timestamp: Cell<i64>,
    /// Who waits for the entry at an index, and in which term it was proposed.
    waiting: RefCell<BTreeMap<u64, (u64, Completer<bool>)>>,
    watching: RefCell<Vec<Completer<()>>>,
    /// Transactions under way that need no group, because it has one member only.
    pub(super) direct: Cell<usize>,
    /// No more of those: the group is about to have other members.
    pub(super) growing: Cell<bool>,
    /// They are over, and the log knows their latest timestamp.
    pub(super) grown: Cell<bool>,
}

pub(super) fn options() -> Options {
    Options { election_timeout: GROUP_ELECTION, heartbeat_interval: GROUP_HEARTBEAT, ..Options::default() }
}

impl Group {
    pub(super) fn new(
        groups: &Rc<Groups>,
        tablet: TabletId,
        ledger: Ledger,
        stored: Stored,
    ) -> Result<Rc<Group>, StoredError> {
        let shard = groups.shard.clone();
        let timestamp = stored.snapshot.as_ref().map_or(i64::MIN, |snapshot| timestamp_of(&snapshot.data));
        let random = Random::new(shard.random_u64());
        let raft = Raft::new(shard.node(), options(), stored, shard.now(), random)?;
        Ok(Rc::new_cyclic(|me| Group {
            me: me.clone(),
            tablet,
            groups: Rc::downgrade(groups),
            ledger,
            raft: RefCell::new(raft),
            saves: RefCell::default(),
            saving: Cell::new(false),
            closed: Cell::new(false),
            awake_until: Cell::new(shard.now()),
            ready: Cell::new(None),
            in_doubt: Cell::new((0, 0)),
            preparing: Cell::new(None),
            confirmed: Cell::new(false),
            unapplied: RefCell::default(),
            untold: Cell::new(false),
            timestamp: Cell::new(timestamp),
            waiting: RefCell::default(),
            watching: RefCell::default(),
            direct: Cell::new(0),
            growing: Cell::new(false),
            grown: Cell::new(false),
            shard,
        }))
    }

    pub(super) fn raft(&self) -> std::cell::Ref<'_, Raft> {
        self.raft.borrow()
    }

    /// The tablet is gone.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.waiting.take();
        self.changed();
    }

    // ---- Being awake

    pub(super) fn is_awake(&self) -> bool {
        self.shard.now() < self.awake_until.get()
    }

    /// Somebody needs the group: time counts for a while.
    pub(super) fn wake(&self) {
        let now = self.shard.now();
        if !self.is_awake() {
            self.raft.borrow_mut().resume(now);
            self.confirmed.set(false);
        }
        self.awake_until.set(self.awake_until.get().max(now + GROUP_AWAKE));
        if let Some(groups) = self.groups.upgrade() {
            groups.woken(self.tablet);
        }
    }

    /// When it wants to be looked at next.
    pub(super) fn next_deadline(&self) -> Instant {
        let own = self.raft.borrow().next_deadline().unwrap_or(Instant::FAR_FUTURE);
        own.min(self.awake_until.get())
    }

    /// Time has passed.
    pub(super) fn tick(&self) {
        self.step(|raft, now, out| raft.tick(now, out));
        if self.raft.borrow().is_leader() && self.doubted_in(self.raft.borrow().term()) > 0 {
            self.prepare();
        }
        let busy = !self.waiting.borrow().is_empty() || self.preparing.get().is_some();
        if busy || (self.raft.borrow().is_leader() && !self.unapplied.borrow().is_empty()) {
            self.awake_until.set(self.awake_until.get().max(self.shard.now() + GROUP_AWAKE));
        } else if self.untold.get() && self.awake_until.get().since(self.shard.now()) < GROUP_AWAKE / 2 {
            self.tell_what_is_written();
        }
    }

    /// A leader that is about to sleep, or that holds up a comparison: an old decision, written again by a leader of another day, could
    /// bring back what was deleted since and whose tombstone is gone.
    pub(super) fn tell_what_is_written(&self) {
        let (Some(me), Some(term)) = (self.me.upgrade(), self.leads()) else { return };
        self.untold.set(false);
        self.shard.spawn(Scope::Node, Class::Background, async move {
            let told = me.decide(term, me.latest_timestamp(), Bytes::new()).await;
            me.untold.set(me.untold.get() || told.is_err());
        });
    }

    /// Its leader is gone, and what that decided may not be at the replicas yet.
    pub(super) fn is_orphan(&self) -> bool {
        let leader = self.raft.borrow().leader();
        !self.unapplied.borrow().is_empty() && leader.is_some_and(|leader| !self.shard.is_alive(leader))
    }

    pub(super) fn campaign(&self) {
        self.step(|raft, now, out| raft.campaign_now(now, out));
    }

    /// A leader was heard of within the time that others wait for one.
    pub(super) fn hears_leader(&self) -> bool {
        let heard = self.raft.borrow().leader_heard();
        heard.is_some_and(|heard| self.shard.now().since(heard) < GROUP_ELECTION)
    }

    /// Returns at the next change of leader, term, commit index or readiness, or at the deadline.
    pub(super) async fn change(&self, deadline: Instant) {
        let (completer, ticket) = self.shard.ticket();
        self.watching.borrow_mut().push(completer);
        let _ = self.shard.timeout(deadline, ticket).await; // both mean: look again
    }

    fn changed(&self) {
        self.watching.take().into_iter().for_each(|completer| completer.complete(()));
    }

    // ---- The machine

    pub(super) fn receive(&self, from: NodeId, message: Message) {
        self.step(|raft, now, out| raft.receive(now, from, message, out));
    }

    /// Hands something to the machine and carries out what it asks for.
    pub(super) fn step<T>(&self, input: impl FnOnce(&mut Raft, Instant, &mut Output) -> T) -> T {
        let before = self.mark();
        let mut out = Output::default();
        let result = input(&mut self.raft.borrow_mut(), self.shard.now(), &mut out);
        self.carry_out(out);
        if self.mark() != before {
            self.changed();
        }
        result
    }

    fn mark(&self) -> (bool, Option<NodeId>, u64, Option<u64>, bool) {
        let raft = self.raft.borrow();
        (raft.is_leader(), raft.leader(), raft.term(), self.ready.get(), self.confirmed.get())
    }

    fn carry_out(&self, out: Output) {
        if let Some(groups) = self.groups.upgrade() {
            for (to, message) in &out.messages {
                groups.post(*to, self.tablet, message);
            }
        }
        for read in out.reads {
            self.confirmed.set(self.confirmed.get() || read.index.is_some());
        }
        self.saves.borrow_mut().extend(out.saves);
        self.start_saving();
        if let Some(snapshot) = out.restore {
            self.timestamp.set(self.timestamp.get().max(timestamp_of(&snapshot.data)));
            self.written_through(snapshot.index);
            // What became of these, the snapshot does not say.
            let later = self.waiting.borrow_mut().split_off(&(snapshot.index + 1));
            drop(self.waiting.replace(later));
        }
        let term = self.raft.borrow().term();
        let own_term = out.committed.iter().any(|entry| entry.term == term);
        if !out.committed.is_empty() {
            out.committed.into_iter().for_each(|entry| self.decided(entry));
            // Behind them all: until the last is noted, what is applied cannot be told.
            self.compact();
        }
        let leads = self.raft.borrow().is_leader();
        if !leads {
            self.ready.set(None);
        } else if own_term {
            if self.ready.get() != Some(term) && self.preparing.get() != Some(term) {
                // A majority has just made an entry of this term durable, at its request.
                self.confirmed.set(true);
            }
            self.prepare();
        }
    }

    fn decided(&self, entry: Entry) {
        let waiting = self.waiting.borrow_mut().remove(&entry.index);
        if let Some((term, completer)) = waiting {
            completer.complete(term == entry.term);
        }
        let Payload::Normal(bytes) = entry.payload else { return };
        let Ok(decision) = Decision::decode(bytes) else {
            let what = "holds a decision that this version cannot read; start a newer holon";
            return self.shard.stop(format!("the group of tablet {} {what} (entry {})", self.tablet, entry.index));
        };
        self.timestamp.set(self.timestamp.get().max(decision.timestamp));
        if !decision.mutation.is_empty() {
            self.unapplied.borrow_mut().insert(entry.index, decision.mutation);
        }
        self.written_through(decision.applied);
    }

    /// Everything decided up to an index is at a majority of the replicas.
    fn written_through(&self, index: u64) {
        let mut unapplied = self.unapplied.borrow_mut();
        *unapplied = unapplied.split_off(&(index + 1));
    }

    fn written(&self, index: u64) {
        if self.unapplied.borrow_mut().remove(&index).is_some() {
            self.untold.set(true);
        }
        self.compact();
    }

    /// The last entry such that all up to it are written.
    fn applied(&self) -> u64 {
        let first = self.unapplied.borrow().keys().next().copied();
        first.map_or_else(|| self.raft.borrow().handed_out(), |first| first - 1)
    }

    /// The earliest timestamp of what is in the log, decided or not, and by the log not at a majority of the replicas yet: whoever leads
    /// next with this log writes it again.
    pub(super) fn may_write_again(&self) -> Option<i64> {
        let raft = self.raft.borrow();
        let status = raft.status();
        let (mut through, mut written) = (0, BTreeMap::new());
        for index in status.first_index..=status.last_index {
            let Some(Payload::Normal(bytes)) = raft.entry(index).map(|entry| entry.payload.clone()) else { continue };
            let Ok(decision) = Decision::decode(bytes) else { return Some(i64::MIN) };
            if index <= status.commit {
                through = through.max(decision.applied);
            }
            if !decision.mutation.is_empty() {
                written.insert(index, decision.timestamp);
            }
        }
        written.split_off(&(through + 1)).into_values().min()
    }

    /// What the replicas have, the log need not keep.
    fn compact(&self) {
        let applied = self.applied();
        let through = self.raft.borrow().snapshot().map_or(0, |snapshot| snapshot.index);
        if applied < through + GROUP_LOG_ENTRIES {
            return;
        }
        let data = Bytes::copy_from_slice(&self.timestamp.get().to_be_bytes());
        let compaction = Compaction { index: applied, data, keep_entries: 0 };
        let me = self.me.clone();
        // Not from within a call of the machine.
        self.shard.spawn(Scope::Node, Class::Foreground, async move {
            if let Some(me) = me.upgrade() {
                // It may have been done meanwhile.
                let _ = me.step(|raft, _, out| raft.compact(compaction, out));
            }
        });
    }

    fn start_saving(&self) {
        let Some(me) = self.me.upgrade() else { return };
        if !self.saves.borrow().is_empty() && !self.saving.replace(true) {
            self.shard.spawn(Scope::Node, Class::Foreground, async move { me.save_all().await });
        }
    }

    /// One write for everything that has gathered while the last one was under way.
    async fn save_all(&self) {
        while !self.closed.get() {
            let waiting: Vec<Save> = self.saves.borrow_mut().drain(..).collect();
            let Some(number) = waiting.last().map(|save| save.number) else { break };
            // However long it takes: a full disk is emptied some day.
            while self.ledger.save(&waiting).await.is_err() && !self.closed.get() {
                self.shard.sleep(APPLY_PAUSE).await;
            }
            if !self.closed.get() {
                self.step(|raft, _, out| raft.saved(number, out));
            }
        }
        self.saving.set(false);
    }

    // ---- Leading

    /// Whether this member leads in a term in which it may decide.
    pub(super) fn leads(&self) -> Option<u64> {
        let raft = self.raft.borrow();
        let term = raft.term();
        (raft.is_leader() && self.ready.get() == Some(term) && self.confirmed.get()).then_some(term)
    }

    /// Leads others, and somebody has needed it lately, or its last decisions are not everywhere yet.
    pub(super) fn is_needed_leader(&self) -> bool {
        let raft = self.raft.borrow();
        let leads_others = raft.is_leader() && raft.members().voters.len() > 1;
        leads_others && self.is_awake() || !self.waiting.borrow().is_empty()
    }

    /// A leader that was not ticked for a while asks whether it still is one.
    pub(super) fn confirm(&self) {
        if !self.confirmed.get() {
            // Of no leader there is nothing to confirm.
            let _ = self.step(|raft, now, out| raft.read_index(now, 0, out));
        }
    }

    /// A new leader brings what was decided before it to the replicas, then decides itself. So does one after something was in doubt.
    fn prepare(&self) {
        let term = self.raft.borrow().term();
        let is_known = self.raft.borrow().handed_out() >= self.doubted_in(term);
        if self.ready.get() == Some(term) || self.preparing.get() == Some(term) || !is_known {
            return;
        }
        let Some(me) = self.me.upgrade() else { return };
        self.preparing.set(Some(term));
        self.shard.spawn(Scope::Node, Class::Foreground, async move {
            let through = me.raft.borrow().handed_out();
            let before: Vec<(u64, Bytes)> =
                me.unapplied.borrow().iter().map(|(index, mutation)| (*index, mutation.clone())).collect();
            let mut done = true;
            for (index, mutation) in before {
                done = me.write_to_majority(mutation, term).await;
                if !done {
                    break;
                }
                me.written(index);
            }
            if me.preparing.get() == Some(term) {
                me.preparing.set(None);
            }
            // Else something came to be in doubt meanwhile: the next tick begins again.
            if done && me.leads_in(term) && me.doubted_in(term) <= through {
                me.ready.set(Some(term));
            }
            me.changed();
        });
    }

    fn doubted_in(&self, term: u64) -> u64 {
        let (of, index) = self.in_doubt.get();
        if of == term { index } else { 0 }
    }

    /// Nobody sees to an entry any more, and it may be decided on. Decides nothing else until it is known, and at the replicas: see
    /// [`Group::tick`], because this may be called from anywhere.
    fn doubt(&self, term: u64, index: u64) {
        // Of a term that is over the next leader does it.
        if self.raft.borrow().term() == term {
            self.in_doubt.set((term, index.max(self.doubted_in(term))));
            self.ready.set(None);
        }
    }

    fn leads_in(&self, term: u64) -> bool {
        let raft = self.raft.borrow();
        raft.is_leader() && raft.term() == term && !self.closed.get()
    }

    /// Until a majority of the replicas has it; false if this member no longer leads in the term: another one does it then.
    async fn write_to_majority(&self, mutation: Bytes, term: u64) -> bool {
        loop {
            let Some(groups) = self.groups.upgrade() else { return false };
            let deadline = self.shard.now() + APPLY_TIMEOUT;
            let demand = Demand { tablet: self.tablet, level: Level::Quorum, replication: None, deadline };
            match groups.coordinator.write(&demand, mutation.clone(), false, &|_, _| ()).await {
                Ok(()) => return true,
                Err(_) if !self.leads_in(term) => return false,
                Err(_) => self.shard.sleep(APPLY_PAUSE).await,
            }
        }
    }

    /// The only member, and no other is to come.
    pub(super) fn is_lone(&self) -> bool {
        let raft = self.raft.borrow();
        let members = raft.members();
        members.voters.len() == 1 && members.learners.is_empty() && !self.growing.get()
    }

    /// Its members are these nodes, and all of them vote.
    pub(super) fn is_made_of(&self, nodes: &[NodeId]) -> bool {
        let raft = self.raft.borrow();
        let members = raft.members();
        members.all().count() == nodes.len() && nodes.iter().all(|node| members.voters.contains(node))
    }

    pub(super) fn latest_timestamp(&self) -> i64 {
        self.timestamp.get()
    }

    /// A transaction that needs no group was stamped.
    pub(super) fn stamped(&self, timestamp: i64) {
        self.timestamp.set(self.timestamp.get().max(timestamp));
    }

    /// Proposes a mutation in a term, and returns when it is decided and a majority of the replicas has it. False: this
    /// member no longer leads in that term; the outcome is unknown, unless it was over before.
    pub(super) async fn decide(&self, term: u64, timestamp: i64, mutation: Bytes) -> Result<(), Undecided> {
        // Others may have decided since, if this member led in between in another term, or not at all.
        if !self.leads_in(term) || self.ready.get() != Some(term) {
            return Err(Undecided::Never);
        }
        self.stamped(timestamp);
        let decision = Decision { applied: self.applied(), timestamp, mutation: mutation.clone() };
        let (completer, decided) = self.shard.ticket();
        let mut completer = Some(completer);
        let proposed = self.step(|raft, now, out| {
            let position = raft.propose(now, decision.encode(), out)?;
            // Before what the machine asks for is carried out: a lone member decides at once.
            if let Some(completer) = completer.take() {
                self.waiting.borrow_mut().insert(position.index, (position.term, completer));
            }
            Ok::<u64, holon_raft::NotLeader>(position.index)
        });
        let Ok(index) = proposed else { return Err(Undecided::Never) };
        let mut seen_to = SeenTo { group: self, term, index: Some(index) };
        self.wake();
        // Another leader may decide on it yet, or put something else in its place.
        match self.shard.timeout(self.shard.now() + DECIDE_TIMEOUT, decided).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => {
                seen_to.index = None;
                return Err(Undecided::Never);
            }
            Ok(Err(_)) | Err(_) => {
                // It hears no majority, or its disk is full: perhaps another one can.
                drop(seen_to);
                let _ = self.step(|raft, now, out| raft.transfer_leadership(now, None, out));
                return Err(Undecided::Perhaps);
            }
        }
        if plant::get().answer_when_decided {
            seen_to.index = None;
            return Ok(());
        }
        if !mutation.is_empty() && !self.write_to_majority(mutation, term).await {
            return Err(Undecided::Perhaps);
        }
        self.written(index);
        seen_to.index = None;
        Ok(())
    }
}

/// An entry that somebody waits for, holding the lock of its partition, until it is at the replicas. Dropped before that (it took too
/// long, the request was cancelled), the lock is free, and the entry in doubt.
struct SeenTo<'a> {
    group: &'a Group,
    term: u64,
    index: Option<u64>,
}

impl Drop for SeenTo<'_> {
    fn drop(&mut self) {
        self.index.into_iter().for_each(|index| self.group.doubt(self.term, index));
    }
}

/// Why a mutation was not decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecided {
    /// Nothing was done.
    Never,
    /// It may have been, or may yet be.
    Perhaps,
}

fn timestamp_of(data: &[u8]) -> i64 {
    data.first_chunk::<8>().map_or(i64::MIN, |bytes| i64::from_be_bytes(*bytes))
}
