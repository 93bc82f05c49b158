//! The machine itself: its state, its public calls, and how each call ends.
//!
//! Every public call that changes something notes the time, does its work in one of the sibling modules ([`crate::election`],
//! [`crate::replication`], [`crate::membership`], [`crate::reads`]), queues messages, and ends in [`Raft::finish`], the one
//! place where saves are made and messages let go or held back.

use bytes::Bytes;
use holon_base::{Instant, NodeId, Random};
use std::collections::BTreeMap;

use crate::entry::{Entry, HardState, Members, Payload, Position, Snapshot, Stored};
use crate::log::Log;
use crate::message::{Body, Message};
use crate::options::Options;
use crate::output::{
    CompactError, Compaction, Follower, NotLeader, Output, Role, RoleChange, Save, Status, StoredError,
};
use crate::plant::{Plants, plants};
use crate::progress::{Flow, Progress};
use crate::reads::Reads;

/// What must be durable before a message may leave.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// The term and the vote in it.
    Term,
    /// Those, and the log as it is now.
    Log,
    /// Nothing; only planted bugs.
    Nothing,
}

/// What only a leader has.
pub(crate) struct Leading {
    pub(crate) followers: BTreeMap<NodeId, Progress>,
    pub(crate) heartbeat_due: Instant,
    /// When to look whether a majority was heard.
    pub(crate) quorum_check_due: Instant,
    /// The first entry of the own term: once it is committed, so is everything before.
    pub(crate) first_own_index: u64,
    pub(crate) transfer: Option<(NodeId, Instant)>,
    pub(crate) reads: Reads,
}

pub(crate) enum State {
    Follower,
    /// With `pre`, in the old term. Who answered what.
    Candidate {
        pre: bool,
        votes: BTreeMap<NodeId, bool>,
    },
    Leader(Box<Leading>),
}

/// One member's machine of one group. See the crate's documentation.
pub struct Raft {
    pub(crate) me: NodeId,
    pub(crate) options: Options,
    pub(crate) random: Random,
    /// The time of the call under way.
    pub(crate) now: Instant,
    pub(crate) term: u64,
    pub(crate) vote: Option<NodeId>,
    pub(crate) commit: u64,
    pub(crate) leader: Option<NodeId>,
    /// When the leader was last heard; `None` if not in this run.
    pub(crate) leader_heard: Option<Instant>,
    pub(crate) election_due: Instant,
    pub(crate) state: State,
    pub(crate) log: Log,
    /// The last entry handed out as committed.
    handed_out: u64,
    restore: Option<Snapshot>,
    /// Parts of the next save.
    hard_changed: bool,
    snapshot_changed: bool,
    drop_through: Option<u64>,
    /// Numbers of saves: the last made, the last that changed term or vote, the last reported durable.
    made: u64,
    made_with_term: u64,
    durable: u64,
    queue: Vec<(Needs, NodeId, Message)>,
    held: Vec<(u64, NodeId, Message)>,
    told: RoleChange,
    pub(crate) contradicted: Option<u64>,
}

impl Raft {
    /// A machine as it was left (or of a new group, when nothing is stored but members).
    ///
    /// # Errors
    /// What is stored contradicts itself.
    pub fn new(
        me: NodeId,
        options: Options,
        stored: Stored,
        now: Instant,
        random: Random,
    ) -> Result<Raft, StoredError> {
        let (hard, applied) = (stored.hard, stored.applied);
        let log = Log::new(stored)?;
        let last = log.last();
        if applied > last.index {
            return Err(StoredError::Lost { applied, last_index: last.index });
        }
        let term = hard.term.max(last.term);
        let restore = log.snapshot.clone().filter(|snapshot| snapshot.index > applied);
        let mut raft = Raft {
            me,
            options,
            random,
            now,
            term,
            // A vote of an older term than the log's says nothing any more.
            vote: hard.vote.filter(|_| hard.term == term),
            commit: hard.commit.max(applied).max(log.snapshot_index()).min(last.index),
            leader: None,
            leader_heard: None,
            election_due: now,
            state: State::Follower,
            handed_out: applied.max(log.snapshot_index()),
            log,
            restore,
            hard_changed: false,
            snapshot_changed: false,
            drop_through: None,
            made: 0,
            made_with_term: 0,
            durable: 0,
            queue: Vec::new(),
            held: Vec::new(),
            told: RoleChange { role: Role::Follower, term, leader: None },
            contradicted: None,
        };
        raft.wait_for_leader();
        Ok(raft)
    }

    /// When to call [`Raft::tick`]; `None`: time changes nothing here.
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Leader(leading) => {
                let transfer = leading.transfer.map(|(_, until)| until);
                let others = !leading.followers.is_empty();
                let beats = others.then(|| leading.heartbeat_due.min(leading.quorum_check_due));
                [transfer, beats].into_iter().flatten().min()
            }
            _ => self.may_campaign().then_some(self.election_due),
        }
    }

    /// Time has passed. Harmless when it is called too early.
    pub fn tick(&mut self, now: Instant, out: &mut Output) {
        self.now = self.now.max(now);
        match &self.state {
            State::Leader(_) => self.tick_leader(out),
            _ if self.may_campaign() && self.now >= self.election_due => self.campaign(true, false),
            _ => {}
        }
        self.finish(out);
    }

    /// Time stood still for this machine: it was not ticked, because nobody needed a leader. From now on silence counts as
    /// silence again, and a leader tells at once that it lives.
    pub fn resume(&mut self, now: Instant) {
        self.now = self.now.max(now);
        let (now, timeout) = (self.now, self.options.election_timeout);
        match &mut self.state {
            State::Leader(leading) => {
                leading.heartbeat_due = now;
                leading.quorum_check_due = now + timeout;
            }
            _ => self.wait_for_leader(),
        }
    }

    /// Asks the others at once whether they would elect this member, without waiting for the leader's silence: nobody who
    /// has heard of a leader lately would (§4.2.3, §9.6), so it disturbs none. Nothing happens on a leader, or on who is no voter.
    pub fn campaign_now(&mut self, now: Instant, out: &mut Output) {
        self.now = self.now.max(now);
        if !self.is_leader() && self.may_campaign() {
            self.campaign(true, false);
        }
        self.finish(out);
    }

    /// Goes on without the other voters, who are lost for good, as whoever drives this machine knows for certain: in a term that
    /// none of them can have had, it makes itself the only voter, and leads. All that is in its log counts from then on.
    pub fn go_on_alone(&mut self, now: Instant, term: u64, out: &mut Output) {
        self.now = self.now.max(now);
        if term > self.term {
            self.follow(term, None, out);
            self.append_own(Payload::Members(Members::of_voters([self.me])));
            self.campaign(true, false);
        }
        self.finish(out);
    }

    /// When the leader was last heard; `None` if not since the start.
    pub fn leader_heard(&self) -> Option<Instant> {
        self.leader_heard
    }

    pub fn term(&self) -> u64 {
        self.term
    }

    /// The last entry handed out as committed.
    pub fn handed_out(&self) -> u64 {
        self.handed_out
    }

    /// A message of the machine of the same group on `from`.
    pub fn receive(&mut self, now: Instant, from: NodeId, message: Message, out: &mut Output) {
        self.now = self.now.max(now);
        if from != self.me {
            self.dispatch(from, message, out);
            self.finish(out);
        }
    }

    /// Appends a command to the leader's log. It is committed when an entry comes out in [`Output::committed`] at the position
    /// returned, with that term; it is lost when an entry of another term comes out there.
    ///
    /// # Errors
    /// This machine does not lead, or hands leadership over right now.
    pub fn propose(&mut self, now: Instant, payload: Bytes, out: &mut Output) -> Result<Position, NotLeader> {
        self.propose_all(now, [payload], out)
    }

    /// Several commands with one save and one message to each follower. Returns the position of the last; the others are right
    /// before it. (Of nothing: the end of the log.)
    ///
    /// # Errors
    /// As [`Raft::propose`].
    pub fn propose_all(
        &mut self,
        now: Instant,
        payloads: impl IntoIterator<Item = Bytes>,
        out: &mut Output,
    ) -> Result<Position, NotLeader> {
        self.now = self.now.max(now);
        self.ready_leader()?;
        for payload in payloads {
            self.append_own(Payload::Normal(payload));
        }
        let position = self.log.last();
        self.finish(out);
        Ok(position)
    }

    /// Everything handed out in [`Output::saves`] with this number or a lower one is durable.
    pub fn saved(&mut self, number: u64, out: &mut Output) {
        let number = number.min(self.made);
        if number > self.durable {
            self.durable = number;
            self.log.saved(number);
        }
        self.finish(out);
    }

    /// The state machine's own snapshot: from now on it stands for the log up to its index.
    ///
    /// # Errors
    /// It is not newer than the one there is, or ahead of what was handed out.
    pub fn compact(&mut self, compaction: Compaction, out: &mut Output) -> Result<(), CompactError> {
        let Compaction { index, data, keep_entries } = compaction;
        if index <= self.log.snapshot_index() {
            return Err(CompactError::Older { index, snapshot: self.log.snapshot_index() });
        }
        let Some(term) = self.log.term_at(index).filter(|_| index <= self.handed_out) else {
            return Err(CompactError::NotApplied { index, handed_out: self.handed_out });
        };
        let through = index.saturating_sub(keep_entries).max(self.log.base().index);
        self.log.compact(Snapshot { index, term, members: self.log.members_at(index), data }, through);
        self.snapshot_changed = true;
        self.drop_through = Some(through);
        self.finish(out);
        Ok(())
    }

    pub fn status(&self) -> Status {
        let (members_index, members) = self.log.members();
        Status {
            node: self.me,
            role: self.role(),
            term: self.term,
            leader: self.leader,
            commit: self.commit,
            handed_out: self.handed_out,
            first_index: self.log.base().index + 1,
            last_index: self.log.last().index,
            durable_index: self.log.durable(),
            snapshot_index: self.log.snapshot_index(),
            members: members.clone(),
            members_committed: members_index <= self.commit,
            followers: self.followers(),
        }
    }

    pub fn is_leader(&self) -> bool {
        matches!(self.state, State::Leader(_))
    }

    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    pub fn members(&self) -> &Members {
        self.log.members().1
    }

    /// `None` when it is compacted away or not there yet.
    pub fn entry(&self, index: u64) -> Option<&Entry> {
        self.log.get(index)
    }

    /// Of an entry that is there, or of the last one that is not any more.
    pub fn term_at(&self, index: u64) -> Option<u64> {
        self.log.term_at(index)
    }

    /// Entries from `from` to before `to`, of `bytes_max` at most (but one at least); empty when `from` is compacted away or not
    /// there yet. For whoever serves the log to others: only what is at or below the commit index is true for ever.
    pub fn entries(&self, from: u64, to: u64, bytes_max: usize) -> Vec<Entry> {
        self.log.slice(from, to, usize::MAX, bytes_max)
    }

    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.log.snapshot.as_ref()
    }

    fn followers(&self) -> Vec<Follower> {
        let State::Leader(leading) = &self.state else { return Vec::new() };
        let follower = |(node, progress): (&NodeId, &Progress)| Follower {
            node: *node,
            voter: self.members().voters.contains(node),
            matched: progress.matched,
            active: self.now.since(progress.heard) < self.options.election_timeout,
            snapshot: matches!(progress.flow, Flow::Snapshot { .. }),
        };
        leading.followers.iter().map(follower).collect()
    }

    pub(crate) fn role(&self) -> Role {
        match &self.state {
            State::Follower => Role::Follower,
            State::Candidate { pre: true, .. } => Role::PreCandidate,
            State::Candidate { pre: false, .. } => Role::Candidate,
            State::Leader(_) => Role::Leader,
        }
    }

    pub(crate) fn plants(&self) -> Plants {
        plants(&self.options)
    }

    /// A voter, or one that will be none when an entry is committed which is not yet: the others may need it until then
    /// (§4.2.2). Its own vote does not count.
    fn may_campaign(&self) -> bool {
        let was_voter = || {
            let (index, _) = self.log.members();
            index > self.commit && self.log.members_at(self.commit).voters.contains(&self.me)
        };
        self.is_voter() || was_voter()
    }

    pub(crate) fn is_voter(&self) -> bool {
        self.members().voters.contains(&self.me)
    }

    pub(crate) fn majority(&self) -> usize {
        self.members().majority() - usize::from(self.plants().quorum_minus_one && self.members().voters.len() > 1)
    }

    pub(crate) fn not_leader(&self) -> NotLeader {
        NotLeader { leader: self.leader.filter(|&leader| leader != self.me) }
    }

    /// Leads, and is not handing leadership over.
    pub(crate) fn ready_leader(&mut self) -> Result<&mut Leading, NotLeader> {
        let refused = self.not_leader();
        match &mut self.state {
            State::Leader(leading) => match leading.transfer {
                Some((to, _)) => Err(NotLeader { leader: Some(to) }),
                None => Ok(leading),
            },
            _ => Err(refused),
        }
    }

    /// A new term begins for this machine.
    pub(crate) fn set_term(&mut self, term: u64, vote: Option<NodeId>) {
        debug_assert!(term > self.term || (term == self.term && self.vote.is_none()));
        self.term = term;
        self.vote = vote;
        self.hard_changed = true;
    }

    pub(crate) fn append_own(&mut self, payload: Payload) {
        let index = self.log.last().index + 1;
        self.log.append(Entry { index, term: self.term, payload });
    }

    pub(crate) fn send(&mut self, to: NodeId, body: Body) {
        self.send_when(Needs::Term, to, Message { term: self.term, body });
    }

    pub(crate) fn send_when(&mut self, needs: Needs, to: NodeId, message: Message) {
        self.queue.push((needs, to, message));
    }

    /// A snapshot came from the leader: it replaces log and state.
    pub(crate) fn install(&mut self, snapshot: Snapshot) {
        self.drop_through = Some(snapshot.index);
        self.snapshot_changed = true;
        self.commit = self.commit.max(snapshot.index);
        self.handed_out = self.handed_out.max(snapshot.index);
        self.restore = Some(snapshot.clone());
        self.log.install(snapshot);
    }

    /// How every call ends. The order matters: what is appended and sent belongs to the save made here, and messages are held
    /// back by the number of that save.
    pub(crate) fn finish(&mut self, out: &mut Output) {
        if self.is_leader() {
            self.lead_on(out);
        }
        self.make_save(out);
        self.let_go(out);
        self.hand_out(out);
        out.contradicted = out.contradicted.or(self.contradicted.take());
        let now = RoleChange { role: self.role(), term: self.term, leader: self.leader };
        if now != self.told {
            self.told = now;
            out.role_changes.push(now);
        }
    }

    fn make_save(&mut self, out: &mut Output) {
        if self.log.is_saved() && !self.hard_changed && !self.snapshot_changed {
            return;
        }
        self.made += 1;
        if self.hard_changed {
            self.made_with_term = self.made;
        }
        let (truncate_from, append) = self.log.take_unsaved();
        self.log.save_made(self.made);
        out.saves.push(Save {
            number: self.made,
            hard: Some(HardState { term: self.term, vote: self.vote, commit: self.commit }),
            snapshot: if self.snapshot_changed { self.log.snapshot.clone() } else { None },
            drop_through: self.drop_through.take(),
            truncate_from,
            append,
        });
        (self.hard_changed, self.snapshot_changed) = (false, false);
    }

    fn let_go(&mut self, out: &mut Output) {
        if !self.held.is_empty() {
            let durable = self.durable;
            let free = self.held.extract_if(.., |(number, _, _)| *number <= durable);
            out.messages.extend(free.map(|(_, to, message)| (to, message)));
        }
        for (needs, to, message) in self.queue.drain(..) {
            let number = match needs {
                Needs::Nothing => 0,
                Needs::Term => self.made_with_term,
                Needs::Log => self.made,
            };
            if number <= self.durable {
                out.messages.push((to, message));
            } else {
                self.held.push((number, to, message));
            }
        }
    }

    fn hand_out(&mut self, out: &mut Output) {
        if let Some(snapshot) = self.restore.take_if(|snapshot| snapshot.index <= self.log.durable()) {
            out.restore = Some(snapshot);
        }
        let to = self.commit.min(self.log.durable());
        if self.handed_out < to && self.restore.is_none() {
            out.committed.extend(self.log.slice(self.handed_out + 1, to + 1, usize::MAX, usize::MAX));
            self.handed_out = to;
        }
    }
}
