//! One group: its state, its members, its offsets. No timer, no answer, no write: those are [`crate::groups::step`]'s.
//!
//! ```text
//!            a member joins                all joined, or time is up           the leader's assignment is durable
//!   Empty ──────────────────► Preparing ───────────────────────────► Completing ─────────────────────────────► Stable
//!     ▲  ◄────────────────── Rebalance ◄─────────────────────────── Rebalance                                    │
//!     │     nobody is left       ▲        one leaves, changes, is silent, does not sync, or the write fails      │
//!     │                          └────────────────────────────────────────────────────────────────────────────── ┘
//!     └──► Dead: its removal is being written
//! ```

use holon_base::Instant;
use std::collections::{BTreeMap, BTreeSet};

use crate::groups::error::GroupError;
use crate::groups::image::{Kept, Offsets};
use crate::groups::member::Member;
use crate::groups::record::GroupRecord;
use crate::groups::request::{Name, Protocol, RequestNumber};
use crate::groups::subscription::{self, CONSUMER};

/// Of `ClassicGroupState`; `as_str` is what clients see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No members; perhaps offsets.
    Empty,
    /// Waits for members to join.
    PreparingRebalance,
    /// Waits for the leader to say who gets what.
    CompletingRebalance,
    Stable,
    /// Is being removed, or not there.
    Dead,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
            State::Dead => "Dead",
        }
    }
}

/// What happens when the time to join is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinEnd {
    Complete,
    /// An empty group waits on while members come, but not for longer than `remaining_ms`; it waited `delay_ms` now.
    Initial {
        delay_ms: u64,
        remaining_ms: u64,
    },
}

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: Name,
    pub(crate) state: State,
    /// The state before this one.
    pub(crate) previous: State,
    /// Milliseconds of the wall clock.
    pub(crate) since_ms: i64,
    pub(crate) protocol_type: Option<Name>,
    pub(crate) protocol: Option<Name>,
    pub(crate) generation: i32,
    pub(crate) leader: Option<Name>,
    pub(crate) members: BTreeMap<Name, Member>,
    /// Instance id to member id.
    pub(crate) instances: BTreeMap<Name, Name>,
    /// Were given a member id and are to come back with it.
    pub(crate) pending: BTreeSet<Name>,
    /// Were told of the generation and have not synced.
    pub(crate) not_synced: BTreeSet<Name>,
    /// How many members have a join that waits.
    pub(crate) joining: usize,
    /// How many members know a protocol.
    known: BTreeMap<Name, usize>,
    /// Topics of all members; None if that cannot be known.
    pub(crate) subscribed: Option<BTreeSet<Name>>,
    /// Somebody came while an empty group waited for more.
    pub(crate) new_member_came: bool,
    /// A write with the assignment of this generation is under way.
    pub(crate) assigning: bool,
    pub(crate) join_timer: Option<(Instant, JoinEnd)>,
    pub(crate) sync_timer: Option<Instant>,
    /// Of members and of those to come back.
    pub(crate) sessions: BTreeMap<Name, Instant>,
    pub(crate) retention_timer: Option<Instant>,
    /// What the log has of it.
    pub(crate) durable: Option<GroupRecord>,
    /// Only what is durable.
    pub(crate) offsets: Offsets,
}

impl Group {
    pub(crate) fn new(id: Name, since_ms: i64) -> Group {
        Group {
            id,
            state: State::Empty,
            previous: State::Dead,
            since_ms,
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeSet::new(),
            not_synced: BTreeSet::new(),
            joining: 0,
            known: BTreeMap::new(),
            subscribed: None,
            new_member_came: false,
            assigning: false,
            join_timer: None,
            sync_timer: None,
            sessions: BTreeMap::new(),
            retention_timer: None,
            durable: None,
            offsets: Offsets::new(),
        }
    }

    /// As after a failover: stable if it has members, none of whom waits for anything.
    pub(crate) fn restored(id: Name, kept: Kept, now_ms: i64) -> Group {
        let mut group = Group::new(id, now_ms);
        group.offsets = kept.offsets;
        if let Some(record) = kept.record {
            group.since_ms = record.since_ms;
            group.generation = record.generation;
            group.protocol_type = record.protocol_type.clone();
            group.protocol = record.protocol.clone();
            group.leader = record.leader.clone();
            if !record.members.is_empty() {
                group.state = State::Stable;
            }
            for member in &record.members {
                if !group.members.contains_key(&member.member) {
                    group.add(Member::restored(member, record.protocol.as_ref()), None);
                }
            }
            group.subscribed = group.topics();
            group.durable = Some(record);
        }
        group
    }

    pub(crate) fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    pub(crate) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// A new generation may begin to form.
    pub(crate) fn can_rebalance(&self) -> bool {
        matches!(self.state, State::Stable | State::CompletingRebalance | State::Empty)
    }

    pub(crate) fn go(&mut self, state: State, now_ms: i64) {
        self.previous = self.state;
        self.state = state;
        self.since_ms = now_ms;
    }

    /// A member that is not there yet, and its join. Its protocol type becomes the group's if it is the first.
    pub(crate) fn add_of_type(&mut self, member: Member, protocol_type: &Name, join: RequestNumber) {
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.clone());
        }
        self.add(member, Some(join));
    }

    fn add(&mut self, mut member: Member, join: Option<RequestNumber>) {
        debug_assert!(!self.members.contains_key(&member.id), "{} is a member of {}", member.id, self.id);
        if let Some(instance) = &member.instance {
            self.instances.insert(instance.clone(), member.id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.pending.remove(&member.id);
        self.count_known(&member.protocols, true);
        member.joining = join;
        self.joining += usize::from(join.is_some());
        self.members.insert(member.id.clone(), member);
    }

    /// A member, or one to come back, goes. If it led, another member does, whichever.
    pub(crate) fn remove(&mut self, id: &str) -> Option<Member> {
        let removed = self.members.remove(id);
        if let Some(member) = &removed {
            self.count_known(&member.protocols, false);
            self.joining -= usize::from(member.joining.is_some());
            if let Some(instance) = &member.instance {
                self.instances.remove(instance);
            }
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending.remove(id);
        self.not_synced.remove(id);
        removed
    }

    fn count_known(&mut self, protocols: &[Protocol], more: bool) {
        for protocol in protocols {
            let count = self.known.entry(protocol.name.clone()).or_default();
            if more {
                *count += 1;
            } else if *count > 1 {
                *count -= 1;
            } else {
                self.known.remove(&protocol.name);
            }
        }
    }

    /// What a member says when it joins again, and its join. The join that it had is returned: nobody waits for that one.
    pub(crate) fn update(&mut self, id: &str, said: Said, join: Option<RequestNumber>) -> Option<RequestNumber> {
        let mut member = self.members.remove(id)?;
        self.count_known(&member.protocols, false);
        self.count_known(&said.protocols, true);
        member.protocols = said.protocols;
        member.session_timeout_ms = said.session_timeout_ms;
        member.rebalance_timeout_ms = said.rebalance_timeout_ms;
        let before = std::mem::replace(&mut member.joining, join);
        self.joining = self.joining - usize::from(before.is_some()) + usize::from(join.is_some());
        self.members.insert(member.id.clone(), member);
        before
    }

    /// The same static member under another id. The requests of the old one that wait are returned: join, sync.
    pub(crate) fn rename(&mut self, instance: &Name, old: &Name, new: &Name) -> [Option<RequestNumber>; 2] {
        let Some(mut member) = self.members.remove(old) else { return [None, None] };
        let waited = [member.joining.take(), member.syncing.take()];
        self.joining -= usize::from(waited[0].is_some());
        member.id = new.clone();
        member.new = false;
        self.members.insert(new.clone(), member);
        if self.is_leader(old) {
            self.leader = Some(new.clone());
        }
        if self.not_synced.remove(old) {
            self.not_synced.insert(new.clone());
        }
        self.instances.insert(instance.clone(), new.clone());
        waited
    }

    pub(crate) fn all_joined(&self) -> bool {
        self.members.len() == self.joining && self.pending.is_empty()
    }

    /// If the leader did not join, one who did leads. False: nobody did.
    pub(crate) fn leader_joined(&mut self) -> bool {
        let joined = |member: &Member| member.joining.is_some();
        if self.leader.as_ref().and_then(|leader| self.members.get(leader)).is_some_and(joined) {
            return true;
        }
        match self.members.values().find(|member| joined(member)) {
            Some(member) => self.leader = Some(member.id.clone()),
            None => return false,
        }
        true
    }

    /// The longest of its members'.
    pub(crate) fn rebalance_timeout_ms(&self) -> u64 {
        let longest = self.members.values().map(|member| member.rebalance_timeout_ms).max();
        u64::try_from(longest.unwrap_or(0)).unwrap_or(0)
    }

    /// Whether somebody with these protocols can be a member, beside those who are.
    pub(crate) fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let by_all = |protocol: &Protocol| self.known.get(&protocol.name).copied().unwrap_or(0) == self.members.len();
        self.protocol_type.as_deref() == Some(protocol_type) && protocols.iter().any(by_all)
    }

    /// Of the protocols that all know, the one that most like best; of several the first by name.
    pub(crate) fn elect_protocol(&self) -> Option<Name> {
        let by_all = self.known.iter().filter(|(_, count)| **count == self.members.len());
        let candidates: BTreeSet<&Name> = by_all.map(|(name, _)| name).collect();
        let mut votes: BTreeMap<Name, usize> = BTreeMap::new();
        for vote in self.members.values().filter_map(|member| member.vote(&candidates)) {
            *votes.entry(vote).or_default() += 1;
        }
        let most = votes.values().max().copied()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name)
    }

    /// The next generation, of those who are members now.
    pub(crate) fn begin_generation(&mut self, now_ms: i64) {
        // Two thousand million rebalances later it begins anew; a client only compares for equality.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.protocol = if self.members.is_empty() { None } else { self.elect_protocol() };
        self.subscribed = self.topics();
        self.go(if self.members.is_empty() { State::Empty } else { State::CompletingRebalance }, now_ms);
        self.not_synced.clear();
        self.assigning = false;
    }

    fn topics(&self) -> Option<BTreeSet<Name>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_ref()?;
        let metadata: Vec<_> = self.members.values().map(|member| member.metadata(protocol)).collect();
        subscription::all_topics(metadata.iter().map(|bytes| &**bytes))
    }

    /// If it cannot be known, consumers may be.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    /// Whoever speaks for a member is that member.
    pub(crate) fn check_member(&self, member: &str, instance: Option<&Name>) -> Result<(), GroupError> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(GroupError::UnknownMemberId),
                Some(current) if &**current != member => return Err(GroupError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member) { Ok(()) } else { Err(GroupError::UnknownMemberId) }
    }

    /// With what `assignment` gives to members; nothing to those of whom it says nothing.
    pub(crate) fn record(&self, assignment: &BTreeMap<Name, bytes::Bytes>) -> GroupRecord {
        let record = |member: &Member| {
            member.record(self.protocol.as_ref(), assignment.get(&member.id).cloned().unwrap_or_default())
        };
        GroupRecord {
            group: self.id.clone(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            since_ms: self.since_ms,
            members: self.members.values().map(record).collect(),
        }
    }
}

/// What a member says each time it joins.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) session_timeout_ms: i32,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) protocols: Vec<Protocol>,
}
