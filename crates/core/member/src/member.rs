//! The machine's public face and its clockwork: what is due when. The rules are in `probe` (is it there?), `rumor`
//! (what is believed) and `sync` (comparing whole lists).

use crate::limits::{FACTS_BYTES_MAX, LEAVE_MESSAGES_MAX};
use crate::list::{BaseList, MemberList, Record};
use crate::news::News;
use crate::options::{Options, PlantedBug};
use crate::permutation::Permutation;
use crate::probe::{Probe, Relay};
use crate::suspicion::Suspicions;
use crate::sync::Sync;
use crate::wire::{Body, Claim, HEADER_BYTES_MAX, Message, put_header};
use bytes::Bytes;
use holon_base::{ByteWriter, Instant, NodeId, Random};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Boot number << 32 at start, so that a restarted node beats every claim about its earlier life; it rises by one
    /// with each refutation. At least 1.
    pub incarnation: u64,
    /// Its peers door.
    pub address: SocketAddr,
    /// Small and opaque: load, version, shards. At most [`FACTS_BYTES_MAX`] bytes.
    pub facts: Bytes,
    /// Rises with each change of `facts` within one incarnation. At least 1.
    pub version: u64,
}

/// How a member seems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Alive,
    /// Did not answer, and has not yet said that it lives.
    Suspect,
    Dead,
    /// Said that it stops.
    Left,
}

/// A change in how a member seems, or in what it says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Also of a new member, which is taken for alive until it does not answer.
    Alive(NodeId),
    Suspect(NodeId),
    Dead(NodeId),
    Left(NodeId),
    /// New facts, address or incarnation: see [`Member::facts`].
    Facts(NodeId),
}

/// What is to be done after a call: bytes to send (lost, doubled or reordered as the network likes) and what changed.
#[derive(Debug, Default)]
pub struct Output {
    pub messages: Vec<(NodeId, SocketAddr, Bytes)>,
    pub events: Vec<Event>,
}

/// Counters since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub messages_sent: u64,
    pub bytes_sent: u64,
    pub messages_received: u64,
    /// Bytes from peers that broke the format.
    pub malformed: u64,
    /// Messages of nodes that the metadata log does not know.
    pub strangers: u64,
    pub probes_failed: u64,
    pub refutations: u64,
    /// Times this machine found that it had slept.
    pub pauses: u64,
}

/// Facts beyond [`FACTS_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes of facts; at most {FACTS_BYTES_MAX} fit a gossip message")]
pub struct FactsTooLong(pub usize);

/// One node's view of all members.
pub struct Member {
    pub(crate) me: NodeId,
    pub(crate) options: Options,
    pub(crate) random: Random,
    pub(crate) list: MemberList,
    pub(crate) news: News,
    pub(crate) suspicions: Suspicions,
    /// Members that seem dead, not those that left: they are asked now and then.
    pub(crate) dead: BTreeSet<NodeId>,
    /// When a sign of life other than an answer came, within the last few probe intervals.
    pub(crate) heard: BTreeMap<NodeId, Instant>,
    pub(crate) walk: Permutation,
    pub(crate) walk_generation: u64,
    pub(crate) probe: Option<Probe>,
    pub(crate) relays: BTreeMap<u64, Relay>,
    /// Numbers of pings and syncs.
    pub(crate) number: u64,
    pub(crate) sync: Option<Sync>,
    /// A whole list was compared since the start.
    pub(crate) synced: bool,
    /// 0 in good health (Lifeguard §IV-A).
    pub(crate) local_health: u32,
    pub(crate) leaving: bool,
    pub(crate) probe_at: Instant,
    pub(crate) gossip_at: Instant,
    pub(crate) sync_at: Instant,
    pub(crate) dead_at: Instant,
    pub(crate) stats: Stats,
}

impl Member {
    /// Knows nobody yet. `facts.incarnation`: boot number << 32.
    pub fn new(me: NodeId, options: Options, facts: Facts, now: Instant, random: Random) -> Member {
        Member::with_list(me, options, facts, Arc::default(), now, random)
    }

    /// Starts from a list made earlier ([`Member::snapshot`], perhaps another machine's): shared, not copied.
    pub fn with_list(
        me: NodeId,
        options: Options,
        facts: Facts,
        list: Arc<BaseList>,
        now: Instant,
        mut random: Random,
    ) -> Member {
        let mut list = MemberList::new(list);
        let record = Record {
            incarnation: facts.incarnation.max(1),
            version: facts.version.max(1),
            address: Some(facts.address),
            facts: facts.facts,
            state: State::Alive,
        };
        let mut news = News::default();
        // Others that started from the same list know already.
        if list.get(me) != Some(&record) {
            news.push(me);
            list.put(me, record);
        }
        let within = |random: &mut Random, interval: Duration| {
            now + Duration::from_nanos(random.below(u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1)))
        };
        let synced = news.is_empty();
        let first_sync = if synced { options.full_sync_interval } else { options.gossip_interval };
        Member {
            me,
            list,
            news,
            suspicions: Suspicions::default(),
            dead: BTreeSet::new(),
            heard: BTreeMap::new(),
            walk: Permutation::default(),
            walk_generation: 0,
            probe: None,
            relays: BTreeMap::new(),
            number: 0,
            sync: None,
            synced,
            local_health: 0,
            leaving: false,
            probe_at: within(&mut random, options.probe_interval),
            gossip_at: now,
            sync_at: within(&mut random, first_sync),
            dead_at: Instant::FAR_FUTURE,
            stats: Stats::default(),
            options,
            random,
        }
    }

    /// Who is a member, from the metadata log, with the address it was last given there. New ones are taken for alive
    /// until they do not answer; those no longer in the log are forgotten.
    pub fn set_members(&mut self, now: Instant, members: &BTreeMap<NodeId, Option<SocketAddr>>, out: &mut Output) {
        let gone: Vec<NodeId> = self
            .list
            .range(crate::wire::Range::ALL)
            .map(|(node, _)| node)
            .filter(|node| !members.contains_key(node))
            .collect();
        for node in gone {
            self.remove_member(now, node);
        }
        for (node, address) in members {
            self.add_member(now, *node, *address, out);
        }
    }

    /// One more member, or another address of one, from the metadata log: as [`Member::set_members`] without the walk.
    pub fn add_member(&mut self, _now: Instant, node: NodeId, address: Option<SocketAddr>, out: &mut Output) {
        match self.list.get(node) {
            None => {
                self.list.put(node, Record::unheard(address));
                out.events.push(Event::Alive(node));
            }
            // What it says itself is newer than the log, unless it is silent.
            Some(record) if record.address != address && address.is_some() => {
                if node != self.me
                    && (record.address.is_none() || record.incarnation == 0 || record.state != State::Alive)
                {
                    self.list.put(node, Record { address, ..record.clone() });
                }
            }
            Some(_) => {}
        }
    }

    /// Whoever starts this node says where a member is. It is asked there, unless it was heard: then that is newer.
    pub fn meet(&mut self, now: Instant, node: NodeId, address: SocketAddr, out: &mut Output) {
        self.notice_sleep(now);
        let unheard = self.list.get(node).filter(|record| node != self.me && record.incarnation == 0);
        let Some(record) = unheard else { return };
        if record.address != Some(address) {
            self.list.put(node, Record { address: Some(address), ..record.clone() });
            out.events.push(Event::Facts(node));
        }
        let number = self.next_number();
        self.send(node, Body::Ping { number }, out);
    }

    /// One member less. This node itself stays in its own list.
    pub fn remove_member(&mut self, _now: Instant, node: NodeId) {
        if node == self.me {
            return;
        }
        self.list.remove(node);
        self.news.remove(node);
        self.suspicions.end(node);
        self.dead.remove(&node);
        self.heard.remove(&node);
        self.probe.take_if(|probe| probe.target == node);
        self.sync.take_if(|sync| sync.peer == node);
    }

    /// When [`Member::tick`] wants to be called next.
    pub fn next_deadline(&self) -> Instant {
        if self.leaving {
            return Instant::FAR_FUTURE;
        }
        let news = if self.news.is_empty() { Instant::FAR_FUTURE } else { self.gossip_at };
        let dead = if self.dead.is_empty() { Instant::FAR_FUTURE } else { self.dead_at };
        let sync = self.sync.as_ref().map_or(self.sync_at, |sync| sync.deadline);
        let probe = self.probe.as_ref().map_or(self.probe_at, |probe| probe.next_deadline());
        let relays = self.relays.values().map(Relay::next_deadline).min().unwrap_or(Instant::FAR_FUTURE);
        let suspicions = self.suspicions.next_deadline().unwrap_or(Instant::FAR_FUTURE);
        [news, dead, sync, probe, relays, suspicions].into_iter().min().unwrap_or(Instant::FAR_FUTURE)
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant, out: &mut Output) {
        if self.leaving {
            return;
        }
        self.notice_sleep(now);
        self.tick_relays(now, out);
        self.tick_probe(now, out);
        while let Some(node) = self.suspicions.due(now) {
            // It speaks, though it has not refuted yet.
            if let Some(silent) = self.silent_at(node).filter(|silent| *silent > now) {
                self.suspicions.postpone(node, silent);
                continue;
            }
            self.suspicions.end(node);
            if self.options.planted != Some(PlantedBug::SuspicionForgotten) {
                let incarnation = self.list.get(node).map_or(0, |record| record.incarnation);
                self.believe_dead(now, node, incarnation, State::Dead, out);
            }
        }
        self.tick_sync(now, out);
        if self.gossip_at <= now && !self.news.is_empty() {
            self.gossip_at = now + self.options.gossip_interval;
            for peer in self.choose_peers(self.options.gossip_fan_out, None) {
                self.send(peer, Body::Gossip, out);
            }
        }
    }

    /// A machine that was not called when it asked to be has slept (a paused process, a starved core): the silence was
    /// its own. Everything it waited for gets that time back, and its health falls. Without this, a process that wakes
    /// after a minute finds every suspicion expired and its probe unanswered.
    fn notice_sleep(&mut self, now: Instant) {
        let slept = now.since(self.next_deadline());
        let asleep = slept >= self.options.probe_timeout / 2;
        if asleep && self.options.planted != Some(PlantedBug::PauseIgnored) {
            self.wake(now, slept);
        }
        // Deadlines that were not waited for must not lie in the past when they are again: that would look like sleep.
        if self.news.is_empty() {
            self.gossip_at = self.gossip_at.max(now);
        }
        if self.sync.is_some() {
            self.sync_at = self.sync_at.max(now);
        }
        if self.probe.is_some() {
            self.probe_at = self.probe_at.max(now);
        }
    }

    fn wake(&mut self, now: Instant, slept: Duration) {
        self.stats.pauses += 1;
        let long = slept >= self.options.probe_interval;
        let grace = if long { self.options.suspicion(1, 0) } else { Duration::ZERO };
        self.suspicions.shift(now, slept, grace);
        self.probe = None;
        self.relays.clear();
        self.degrade(if long { 3 } else { 1 });
        // Nothing may stay due in the past: the next message would find the same sleep again.
        self.probe_at = now;
        self.gossip_at = self.gossip_at.max(now);
        self.dead_at = self.dead_at.max(now);
        self.sync_at = self.sync_at.max(now);
        if let Some(sync) = &mut self.sync {
            sync.deadline = sync.deadline.max(now);
        }
        if long {
            // Much may have happened, and others may think this node dead: ask one.
            self.sync = None;
            self.sync_at = now;
        }
    }

    /// Bytes of a peer; `from` was authenticated by whoever received them.
    pub fn receive(&mut self, now: Instant, from: NodeId, bytes: Bytes, out: &mut Output) {
        self.stats.messages_received += 1;
        if self.leaving || from == self.me {
            return;
        }
        self.notice_sleep(now);
        if self.list.get(from).is_none() {
            self.stats.strangers += 1;
            return;
        }
        let Ok(message) = Message::read(bytes) else {
            self.stats.malformed += 1;
            return;
        };
        self.believe_header(now, from, message.incarnation, message.address, out);
        self.hear(now, from, message.incarnation, out);
        if matches!(message.body, Body::SyncRecords) {
            message.claims.into_iter().for_each(|claim| self.merge(now, from, claim, out));
        } else {
            message.claims.into_iter().for_each(|claim| self.believe(now, from, claim, out));
        }
        match message.body {
            Body::Ping { number } => self.send(from, Body::Ack { number }, out),
            Body::Ack { number } => self.acknowledged(now, number, out),
            Body::Nack { number } => self.not_acknowledged(number),
            Body::PingRequest { number, target } => self.relay(now, from, number, target, out),
            Body::Gossip | Body::SyncRecords => {}
            Body::SyncQuestion { number, ranges } => self.answer_sync(from, number, ranges, out),
            Body::SyncAnswer { number, part, parts, items } => {
                self.sync_answered(now, from, (number, part, parts), items, out);
            }
        }
    }

    /// This node's own facts changed; they are spread by gossip.
    pub fn set_facts(&mut self, now: Instant, facts: Bytes) -> Result<(), FactsTooLong> {
        self.notice_sleep(now);
        if facts.len() > FACTS_BYTES_MAX {
            return Err(FactsTooLong(facts.len()));
        }
        self.change_self(|record| {
            record.facts = facts;
            record.version += 1;
        });
        Ok(())
    }

    /// Changes what this node says of itself, and says it.
    pub(crate) fn change_self(&mut self, change: impl FnOnce(&mut Record)) {
        if let Some(record) = self.list.get(self.me) {
            let mut record = record.clone();
            change(&mut record);
            self.list.put(self.me, record);
            self.news.push(self.me);
        }
    }

    /// Other traffic came from a member: a sign of life.
    pub fn heard_from(&mut self, now: Instant, node: NodeId) {
        if self.list.get(node).is_some() {
            self.heard.insert(node, now);
        }
    }

    /// A planned stop: others are told at once, and tell the rest. The machine says nothing more afterwards.
    pub fn leave(&mut self, _now: Instant, out: &mut Output) {
        if self.leaving {
            return;
        }
        self.change_self(|record| record.state = State::Left);
        for peer in self.choose_peers(LEAVE_MESSAGES_MAX, None) {
            self.send(peer, Body::Gossip, out);
        }
        self.leaving = true;
    }

    pub fn me(&self) -> NodeId {
        self.me
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// `None` for a node that is no member.
    pub fn state(&self, node: NodeId) -> Option<State> {
        self.list.get(node).map(|record| record.state)
    }

    /// Members that seem alive, suspects included: they are not given up yet. This node too.
    pub fn alive(&self) -> impl Iterator<Item = NodeId> + '_ {
        let up = |state: State| matches!(state, State::Alive | State::Suspect);
        self.list.range(crate::wire::Range::ALL).filter(move |(_, record)| up(record.state)).map(|(node, _)| node)
    }

    /// The newest that is known of a member; `None` before anything was heard.
    pub fn facts(&self, node: NodeId) -> Option<Facts> {
        let record = self.list.get(node).filter(|record| record.incarnation > 0)?;
        Some(Facts {
            incarnation: record.incarnation,
            address: record.address?,
            facts: record.facts.clone(),
            version: record.version,
        })
    }

    /// Where a member is reached: as it says itself, else as the metadata log says.
    pub fn address(&self, node: NodeId) -> Option<SocketAddr> {
        self.list.get(node)?.address
    }

    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// 0 in good health, at most `Options::local_health_max`: how little this node trusts its own silence of others.
    pub fn local_health(&self) -> u32 {
        self.local_health
    }

    /// All that is known, to start another machine from. Cheap when nothing changed since the last one.
    pub fn snapshot(&mut self) -> Arc<BaseList> {
        self.list.fold()
    }

    /// Bytes of memory: of this machine alone, and of the list that it may share with others.
    pub fn memory_bytes(&self) -> (usize, usize) {
        let maps = (self.news.len() * 2 + self.heard.len() + self.dead.len() + self.suspicions.len() * 4) * 48;
        (size_of::<Member>() + self.list.overlay_bytes() + maps, self.list.base().memory_bytes())
    }

    /// Sends a message: header, body, first what is claimed of the receiver itself (Lifeguard's buddy system: it may
    /// refute at once), then as much news as fits. A sync carries no news: it is about all there is.
    pub(crate) fn send(&mut self, to: NodeId, body: Body, out: &mut Output) {
        let (Some(me), Some(peer)) = (self.list.get(self.me), self.list.get(to)) else { return };
        let Some(address) = peer.address else { return };
        let most = self.options.message_bytes();
        let mut writer = ByteWriter::with_capacity(64);
        put_header(&mut writer, body.kind(), me.incarnation, me.address);
        debug_assert!(writer.len() <= HEADER_BYTES_MAX);
        body.put(&mut writer);
        if let Some(claim) = self.claim_of(to).filter(|claim| !matches!(claim, Claim::Alive { .. }))
            && writer.len() + claim.bytes() <= most
        {
            claim.put(&mut writer);
        }
        let carries_news = matches!(
            body,
            Body::Ping { .. } | Body::Ack { .. } | Body::PingRequest { .. } | Body::Gossip | Body::Nack { .. }
        );
        if carries_news && !self.news.is_empty() {
            let limit = self.options.retransmits(self.list.members());
            let mut news = std::mem::take(&mut self.news);
            // What a member is told of itself is not spread by that, if there is anybody else to tell.
            let are_others = || self.alive().take(3).count() == 3;
            news.tell(limit, |node| {
                if node == to {
                    return if are_others() { None } else { Some(true) };
                }
                let Some(claim) = self.claim_of(node) else { return Some(true) };
                let fits = writer.len() + claim.bytes() <= most;
                if fits {
                    claim.put(&mut writer);
                }
                Some(fits)
            });
            self.news = news;
        }
        self.send_bytes(to, address, writer.freeze(), out);
    }

    pub(crate) fn send_bytes(&mut self, to: NodeId, address: SocketAddr, bytes: Bytes, out: &mut Output) {
        self.stats.messages_sent += 1;
        self.stats.bytes_sent += bytes.len() as u64;
        debug_assert!(bytes.len() <= self.options.message_bytes(), "{} bytes", bytes.len());
        out.messages.push((to, address, bytes));
    }

    /// What this node says of another, or of itself.
    fn claim_of(&self, node: NodeId) -> Option<Claim> {
        let record = self.list.get(node)?;
        match record.state {
            State::Suspect => {
                let by = self.suspicions.last_by(node).unwrap_or(self.me);
                Some(Claim::Suspect { node, incarnation: record.incarnation, by })
            }
            _ => record.claim(node),
        }
    }
}
