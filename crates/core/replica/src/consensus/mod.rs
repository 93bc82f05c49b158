//! Consensus on the writes of a tablet: a group of its replicas that decides, one after the other, on mutations which depend on
//! what was read before (conditional updates, counters).
//!
//! ```text
//!   coordinator ── ask ──▶ leader: lock the partition ─▶ read at a majority ─▶ test ─▶ stamp later than all that was seen
//!                            └▶ decide: entry in the log of a majority ─▶ write to a majority of replicas ─▶ answer
//!   a new leader writes what was decided before it to a majority of the replicas, then decides itself
//! ```
//!
//! **What is where.** The data stays where all data is, in the replicas, merged by timestamp. The group's log holds
//! only decisions that may not be at a majority of the replicas yet; the rest is forgotten. So members need no snapshot of the data,
//! and the members of the group and the replicas of the tablet may differ for a while: reads and writes find each other by the tablet
//! map (`placement::quorum`), decisions by the group's log, and neither stands on the other's moment of change.
//!
//! **Linearizable per partition**, of transactions and reads at a serial level (reads at a majority that repair before they
//! answer): a leader decides only in the term in which it has read, and only after all decisions of earlier terms are at a
//! majority of the replicas; within a term the partition's lock is held until the decision is. What nobody waits for any more (it took
//! too long, the request was cancelled) may be decided yet: the leader decides nothing else until it is known, and at the replicas, and lets another one
//! lead if one can. Who lost leadership in between proposes nothing (Raft: nobody else's entry follows one of a later term), and what it read at a majority was true
//! when it was read. Plain writes at a majority are seen; their order among transactions is that of timestamps.
//!
//! **Begun lazily**, by an entry of the metadata log that names the first members ([`holon_kernel::ClusterMap::found`]), so that two
//! nodes with different maps cannot begin two groups. From then on the group's log alone says who its members are; the
//! leader follows the tablet map one member at a time ([`members`]), and a replica removes its data only when the group has let it go.
//!
//! **Asleep when nobody asks**: a group without requests exchanges no messages, and nobody waits for its leader. Who needs it
//! wakes it; a leader that slept asks a majority whether it still leads before it decides.
//!
//! Absent: leases (each transaction reads at a majority), more than one decision of a partition at a time.

mod asking;
mod group;
mod ledger;
mod lost;
mod members;

pub use asking::AskError;
pub use group::Undecided;

use crate::coordinator::{Coordinator, address_of};
use crate::limits::{GROUP_BATCH_BYTES, GROUP_HAND_OVER, GROUP_LEAD_PATIENCE, GROUP_TICK};
use bytes::Bytes;
use group::Group;
use holon_base::{ByteReader, ByteWriter, Instant, NodeId, ServiceId, ShortInput, TabletId};
use holon_kernel::{Address, CallError, Class, Completer, Founders, LocalFuture, Scope, Shard, Target, Ticket, Verb};
use holon_raft::{Members, Message};
use holon_store::{Engine, StoreError};
use ledger::Ledger;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::rc::{Rc, Weak};
use std::time::Duration;

/// Messages of Raft machines, one way.
const RAFT: Verb = Verb(Verb::SERVICE_FIRST + 32);
/// A transaction, or only the question who leads.
const ASK: Verb = Verb(Verb::SERVICE_FIRST + 33);
/// Whether the group has let a node go.
const EXCLUDES: Verb = Verb(Verb::SERVICE_FIRST + 34);
/// A leader that sleeps is to tell that it lives, one way.
const WAKE: Verb = Verb(Verb::SERVICE_FIRST + 35);

/// What the service does with a request that has come to the leader.
pub type Serve = Rc<dyn Fn(Leadership, Bytes, Instant) -> LocalFuture<Result<Bytes, CallError>>>;

/// The groups of one shard, and the way to those of others.
pub struct Groups {
    me: Weak<Groups>,
    shard: Rc<Shard>,
    service: ServiceId,
    coordinator: Rc<Coordinator>,
    serve: RefCell<Option<Serve>>,
    engine: RefCell<Option<Engine>>,
    open: RefCell<BTreeMap<TabletId, Rc<Group>>>,
    /// Those that are being opened or removed, with who waits.
    changing: RefCell<BTreeMap<TabletId, Vec<Completer<()>>>>,
    /// Those that were removed here, with who began them as the map had it then: what they had promised is forgotten, whether or not
    /// the map says so yet.
    let_go: RefCell<BTreeMap<TabletId, Founders>>,
    awake: RefCell<BTreeSet<TabletId>>,
    /// Those of which it is being looked whether their majority is lost for good.
    looking: RefCell<BTreeSet<TabletId>>,
    alarm: RefCell<Option<Completer<()>>>,
    /// Messages that leave with the next envelope.
    outgoing: RefCell<BTreeMap<Address, Vec<(TabletId, Bytes)>>>,
    leaving: Cell<bool>,
    pub(crate) asking: asking::Asking,
}

/// The right to decide on writes of a tablet, as long as it lasts.
pub struct Leadership {
    tablet: TabletId,
    /// The leader's member, and the term in which it may decide; `None` on a node that knows no other.
    member: Option<(Rc<Group>, u64)>,
}

/// Who might lead instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    Leader(NodeId),
    /// Not known here, or not yet.
    Unknown,
}

impl Groups {
    pub fn new(shard: &Rc<Shard>, service: ServiceId, coordinator: &Rc<Coordinator>) -> Rc<Groups> {
        Rc::new_cyclic(|me| Groups {
            me: me.clone(),
            shard: shard.clone(),
            service,
            coordinator: coordinator.clone(),
            serve: RefCell::new(None),
            engine: RefCell::new(None),
            open: RefCell::default(),
            changing: RefCell::default(),
            let_go: RefCell::default(),
            awake: RefCell::default(),
            looking: RefCell::default(),
            alarm: RefCell::new(None),
            outgoing: RefCell::default(),
            leaving: Cell::new(false),
            asking: asking::Asking::default(),
        })
    }

    /// From now on members may vote and lead.
    pub fn start(&self, engine: &Engine, serve: Serve) {
        *self.engine.borrow_mut() = Some(engine.clone());
        *self.serve.borrow_mut() = Some(serve);
        let Some(me) = self.me.upgrade() else { return };
        self.shard.spawn(Scope::Node, Class::Foreground, me.clone().keep_time());
        self.shard.spawn(Scope::Node, Class::Background, me.clone().follow_map());
        self.shard.spawn(Scope::Node, Class::Background, me.clone().follow_liveness());
        let earlier: Vec<TabletId> = engine.tablets().into_iter().filter_map(TabletId::of_shadow).collect();
        self.shard.spawn(Scope::Node, Class::Background, async move {
            for tablet in earlier {
                me.member(tablet, false).await;
            }
        });
    }

    /// Others lead what is led here, as far as they can be had: a planned stop is no loss of a leader. What was decided is brought to
    /// the replicas meanwhile.
    pub async fn hand_over(&self) {
        let led: Vec<Rc<Group>> =
            self.open.borrow().values().filter(|group| group.is_needed_leader()).cloned().collect();
        for group in &led {
            // Whoever has nobody to lead instead leads to the end.
            let _ = group.step(|raft, now, out| raft.transfer_leadership(now, None, out));
        }
        let deadline = self.shard.now() + GROUP_HAND_OVER;
        let is_needed = || led.iter().any(|group| group.is_needed_leader()) || self.asking.serves();
        while is_needed() && self.shard.now() < deadline {
            self.shard.sleep(GROUP_TICK).await;
        }
        if !led.is_empty() {
            // Whoever asks at this moment is told who leads now.
            self.shard.sleep(GROUP_TICK * 10).await;
        }
    }

    /// From now on none does; the engine is about to close.
    pub fn stop(&self) {
        self.engine.take();
        self.serve.take();
        self.open.take().into_values().for_each(|group| group.close());
    }

    /// How many groups have a member here that was needed since the start, and how many of these lead.
    pub fn count(&self) -> (usize, usize) {
        let open = self.open.borrow();
        (open.len(), open.values().filter(|group| group.raft().is_leader()).count())
    }

    // ---- Members

    /// This node's member of a tablet's group, if it is to have one. `invited`: a leader has spoken to it.
    async fn member(&self, tablet: TabletId, invited: bool) -> Option<Rc<Group>> {
        loop {
            if let Some(group) = self.open.borrow().get(&tablet) {
                return Some(group.clone());
            }
            if let Some(ticket) = self.change(tablet) {
                let _ = ticket.await; // means: look again
                continue;
            }
            let me = self.me.upgrade()?;
            // As a task of its own: whoever asked may go away, and others wait for it.
            let (completer, opened) = self.shard.ticket();
            self.shard.spawn(Scope::Node, Class::Foreground, async move {
                let group = me.open_member(tablet, invited).await;
                me.changed(tablet);
                completer.complete(group);
            });
            return opened.await.ok().flatten();
        }
    }

    /// From now on nobody else opens or removes the member, until [`Groups::changed`]; or somebody does already, and this is when not
    /// any more.
    fn change(&self, tablet: TabletId) -> Option<Ticket<()>> {
        match self.changing.borrow_mut().entry(tablet) {
            btree_map::Entry::Vacant(vacant) => {
                vacant.insert(Vec::new());
                None
            }
            btree_map::Entry::Occupied(mut occupied) => {
                let (completer, ticket) = self.shard.ticket();
                occupied.get_mut().push(completer);
                Some(ticket)
            }
        }
    }

    fn changed(&self, tablet: TabletId) {
        let waiting = self.changing.borrow_mut().remove(&tablet);
        waiting.into_iter().flatten().for_each(|completer| completer.complete(()));
    }

    async fn open_member(&self, tablet: TabletId, invited: bool) -> Option<Rc<Group>> {
        let engine = self.engine.borrow().clone().filter(|_| self.is_of_this_shard(tablet))?;
        let map = self.shard.map()?;
        let (founders, replicas) = (map.founders(tablet)?, map.replicas(tablet)?);
        let node = self.shard.node();
        // Who has forgotten what it promised may only be taken in anew, by a leader.
        let is_present = founders.present.contains(&node) && self.let_go.borrow().get(&tablet) != Some(&founders);
        let begins = is_present || (invited && replicas.holds(node));
        if !begins && !Ledger::exists(&engine, tablet) {
            return None;
        }
        let is_founder = founders.members.contains(&node) && is_present;
        let members =
            if is_founder { Members::of_voters(founders.members.iter().copied()) } else { Members::default() };
        let (ledger, stored) = match Ledger::open(&self.shard, &engine, tablet, members).await {
            Ok(opened) => opened,
            Err(StoreError::Damaged { file, detail, .. }) => {
                self.shard.stop(format!("{file} is damaged ({detail}): replace this replica"));
                return None;
            }
            // The engine is closing, or the disk refuses: whoever needs it asks again.
            Err(_) => return None,
        };
        let me = self.me.upgrade()?;
        match Group::new(&me, tablet, ledger, stored) {
            Ok(group) => {
                self.open.borrow_mut().insert(tablet, group.clone());
                group.step(|_, _, _| ());
                self.go_on_alone_if_told(&group);
                Some(group)
            }
            Err(error) => {
                self.shard.stop(format!("the log of the group of tablet {tablet}: {error}"));
                None
            }
        }
    }

    /// Whoever has an old idea of how many cores this node has may ask the wrong one.
    fn is_of_this_shard(&self, tablet: TabletId) -> bool {
        tablet.shard(self.shard.shards()) == self.shard.id()
    }

    fn has_ledger(&self, tablet: TabletId) -> bool {
        self.engine.borrow().as_ref().is_none_or(|engine| Ledger::exists(engine, tablet))
    }

    /// Forgets all that the member had to remember. Only when it is none any more, or the tablet is gone.
    ///
    /// # Errors
    /// The engine could not remove it.
    pub async fn remove(&self, tablet: TabletId) -> Result<(), StoreError> {
        while let Some(ticket) = self.change(tablet) {
            let _ = ticket.await; // means: look again
        }
        let Some(me) = self.me.upgrade() else { return Ok(()) };
        let (completer, removed) = self.shard.ticket();
        self.shard.spawn(Scope::Node, Class::Foreground, async move {
            let outcome = me.remove_member(tablet).await;
            me.changed(tablet);
            completer.complete(outcome);
        });
        removed.await.unwrap_or(Ok(())) // the shard stops
    }

    async fn remove_member(&self, tablet: TabletId) -> Result<(), StoreError> {
        let group = self.open.borrow_mut().remove(&tablet);
        group.iter().for_each(|group| group.close());
        if let Some(map) = self.shard.map() {
            let mut let_go = self.let_go.borrow_mut();
            let_go.retain(|tablet, founders| map.founders(*tablet).as_ref() == Some(founders));
            let_go.extend(map.founders(tablet).map(|founders| (tablet, founders)));
        }
        let engine = self.engine.borrow().clone();
        match engine {
            Some(engine) if Ledger::exists(&engine, tablet) => engine.drop_tablet(tablet.shadow()).await,
            _ => Ok(()),
        }
    }

    // ---- Time

    fn woken(&self, tablet: TabletId) {
        self.awake.borrow_mut().insert(tablet);
        drop(self.alarm.take());
    }

    /// One task for all groups that are awake.
    async fn keep_time(self: Rc<Self>) {
        loop {
            let now = self.shard.now();
            let awake: Vec<TabletId> = self.awake.borrow().iter().copied().collect();
            let mut next = Instant::FAR_FUTURE;
            for tablet in awake {
                let group = self.open.borrow().get(&tablet).filter(|group| group.is_awake()).cloned();
                let Some(group) = group else {
                    self.awake.borrow_mut().remove(&tablet);
                    continue;
                };
                if group.next_deadline() <= now {
                    group.tick();
                }
                self.follow_members(&group);
                next = next.min(group.next_deadline());
            }
            if !self.awake.borrow().is_empty() {
                // Members are looked after at a pace, whatever the machines want.
                next = next.min(now + GROUP_TICK * 5).max(now + GROUP_TICK);
            }
            let (completer, alarm) = self.shard.ticket();
            if next == Instant::FAR_FUTURE {
                *self.alarm.borrow_mut() = Some(completer);
            }
            let _ = self.shard.timeout(next, alarm).await; // both mean: look again
        }
    }

    // ---- Messages

    fn address_of(&self, node: NodeId, tablet: TabletId) -> Address {
        address_of(&self.shard, node, tablet)
    }

    /// Leaves together with what else goes to the same shard.
    fn post(&self, to: NodeId, tablet: TabletId, message: &Message) {
        let address = self.address_of(to, tablet);
        self.outgoing.borrow_mut().entry(address).or_default().push((tablet, message.encode()));
        let Some(me) = self.me.upgrade() else { return };
        if !self.leaving.replace(true) {
            self.shard.spawn(Scope::Node, Class::Foreground, async move {
                me.leaving.set(false);
                let outgoing = me.outgoing.take();
                outgoing.into_iter().for_each(|(to, messages)| me.send(to, messages));
            });
        }
    }

    fn send(&self, to: Address, messages: Vec<(TabletId, Bytes)>) {
        let mut out = ByteWriter::new();
        for (tablet, message) in messages {
            if !out.is_empty() && out.len() + message.len() > GROUP_BATCH_BYTES {
                self.shard.send(to, Target::Service(self.service), RAFT, std::mem::take(&mut out).freeze());
            }
            out.put_u64(tablet.0);
            out.put_prefixed(&message);
        }
        self.shard.send(to, Target::Service(self.service), RAFT, out.freeze());
    }

    fn receive(&self, from: NodeId, payload: Bytes) -> Result<(), ShortInput> {
        let mut input = ByteReader::new(payload);
        while !input.is_empty() {
            let tablet = TabletId(input.u64()?);
            // What cannot be read is as good as lost.
            let Ok(message) = Message::decode(input.prefixed()?) else { continue };
            let group = self.open.borrow().get(&tablet).cloned();
            match group {
                Some(group) => hand_in(&group, from, message),
                None => self.receive_first(from, tablet, message),
            }
        }
        Ok(())
    }

    /// A message for a member that was not needed before.
    fn receive_first(&self, from: NodeId, tablet: TabletId, message: Message) {
        let Some(me) = self.me.upgrade() else { return };
        self.shard.spawn(Scope::Node, Class::Foreground, async move {
            let is_vote = matches!(message.body, holon_raft::Body::Vote { .. });
            if let Some(group) = me.member(tablet, !is_vote).await {
                hand_in(&group, from, message);
            }
        });
    }

    /// Whether a message to the service is for its groups.
    pub fn takes(verb: Verb) -> bool {
        matches!(verb, RAFT | ASK | EXCLUDES | WAKE | lost::POSITION)
    }

    /// # Errors
    /// What the service says of a transaction.
    pub async fn answer(&self, from: Address, verb: Verb, payload: Bytes) -> Result<Bytes, CallError> {
        let bad = |short: ShortInput| CallError::Failed(Bytes::from(short.to_string()));
        match verb {
            RAFT => self.receive(from.node, payload).map(|()| Bytes::new()).map_err(bad),
            ASK => self.answer_ask(payload).await,
            lost::POSITION => self.answer_position(payload).await,
            EXCLUDES => self.answer_excludes(from.node, payload).await,
            WAKE => {
                let tablet = TabletId(ByteReader::new(payload).u64().map_err(bad)?);
                if let Some(group) = self.member(tablet, false).await {
                    group.wake();
                }
                Ok(Bytes::new())
            }
            _ => Err(CallError::NotHere),
        }
    }

    // ---- Leading

    /// Waits until this node's member leads and may decide, or knows who does. `doubted` did not answer to whoever asks.
    async fn lead(
        &self,
        tablet: TabletId,
        doubted: Option<NodeId>,
        deadline: Instant,
    ) -> Result<Leadership, Elsewhere> {
        let group = self.member(tablet, false).await.ok_or(Elsewhere::Unknown)?;
        group.wake();
        let deadline = deadline.min(self.shard.now() + GROUP_LEAD_PATIENCE);
        let mut stirred = false;
        loop {
            if let Some(term) = group.leads() {
                return Ok(Leadership { tablet, member: Some((group, term)) });
            }
            let (leads, leader) = (group.raft().is_leader(), group.raft().leader());
            let other = leader.filter(|leader| *leader != self.shard.node() && self.shard.is_alive(*leader));
            match other {
                Some(leader) if group.hears_leader() || doubted != Some(leader) => {
                    return Err(Elsewhere::Leader(leader));
                }
                _ if leads => group.confirm(),
                _ if stirred => {}
                Some(leader) => self.stir(leader, tablet),
                None => group.campaign(),
            }
            stirred = true;
            if self.shard.now() >= deadline {
                self.see_whether_lost(&group);
                return Err(Elsewhere::Unknown);
            }
            group.change(deadline.min(self.shard.now() + Duration::from_millis(50))).await;
        }
    }

    fn stir(&self, leader: NodeId, tablet: TabletId) {
        let mut payload = ByteWriter::new();
        payload.put_u64(tablet.0);
        self.shard.send(self.address_of(leader, tablet), Target::Service(self.service), WAKE, payload.freeze());
    }

    /// Leadership of this node's member, if it needs to ask nobody: the group has one member and the tablet one replica.
    pub fn alone(&self, tablet: TabletId) -> Option<Alone> {
        self.led_here(tablet)?.alone(&self.coordinator)
    }

    fn led_here(&self, tablet: TabletId) -> Option<Leadership> {
        if self.shard.map().is_none() {
            // A node of its own: nobody else could decide.
            return Some(Leadership { tablet, member: None });
        }
        let group = self.open.borrow().get(&tablet).cloned()?;
        let term = group.leads()?;
        Some(Leadership { tablet, member: Some((group, term)) })
    }
}

fn hand_in(group: &Rc<Group>, from: NodeId, message: Message) {
    // Somebody wants a leader: perhaps it can only be this one.
    if matches!(message.body, holon_raft::Body::Vote { .. }) {
        group.wake();
    }
    group.receive(from, message);
}

/// A transaction of a group with one member: nobody else decides while it is held.
pub struct Alone {
    group: Option<Rc<Group>>,
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.group.iter().for_each(|group| group.direct.set(group.direct.get() - 1));
    }
}

impl Alone {
    /// The latest timestamp that was ever decided on: a new one has to be later.
    pub fn latest_timestamp(&self) -> i64 {
        self.group.as_ref().map_or(i64::MIN, |group| group.latest_timestamp())
    }

    pub fn stamped(&self, timestamp: i64) {
        self.group.iter().for_each(|group| group.stamped(timestamp));
    }
}

impl Leadership {
    /// If nobody else needs to be asked.
    pub fn alone(&self, coordinator: &Coordinator) -> Option<Alone> {
        let Some((group, _)) = &self.member else { return Some(Alone { group: None }) };
        if !group.is_lone() || !coordinator.is_alone(self.tablet) {
            return None;
        }
        group.direct.set(group.direct.get() + 1);
        Some(Alone { group: Some(group.clone()) })
    }

    pub fn tablet(&self) -> TabletId {
        self.tablet
    }

    /// Lets another member lead, if there is one that can.
    pub fn hand_over(&self) {
        if let Some((group, _)) = &self.member {
            // Nobody to lead instead: then nobody does until the clock is right.
            let _ = group.step(|raft, now, out| raft.transfer_leadership(now, None, out));
        }
    }

    /// The latest timestamp that was ever decided on: a new one has to be later.
    pub fn latest_timestamp(&self) -> i64 {
        self.member.as_ref().map_or(i64::MIN, |(group, _)| group.latest_timestamp())
    }

    /// Decides on a mutation of which `timestamp` is the latest. Returns when a majority of the replicas has it.
    ///
    /// # Errors
    /// Whether it may have been decided on nevertheless.
    pub async fn decide(&self, timestamp: i64, mutation: Bytes) -> Result<(), Undecided> {
        match &self.member {
            Some((group, term)) => group.decide(*term, timestamp, mutation).await,
            None => Err(Undecided::Never),
        }
    }
}

#[cfg(test)]
mod tests;
