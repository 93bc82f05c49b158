//! Many gossip machines in one thread, on a network that delays and loses: what is sent, who learns what when.
//!
//! The machines are [`Member`]s as a node runs them, with the options a node has. What is modelled is around them:
//!
//! - a message takes a uniformly random time and is lost with a fixed probability, each for itself; bandwidth, queues,
//!   connections and processor time are not modelled;
//! - the metadata log, which says who is a member, reaches each node after a uniformly random time;
//! - no other traffic: all signs of life are gossip's own.
//!
//! With [`Sharing::Shared`] all machines start from one and the same list and carry their differences from it; what a
//! machine does is the same either way (a test compares the two).

use crate::calendar::{Calendar, TICK_NANOS};
use bytes::Bytes;
use holon_base::{Instant, NodeId, Random};
use holon_member::{BaseList, Event, Facts, Member, Options, Output};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of each node's own facts.
const FACTS_BYTES: usize = 16;
/// Where the simulated clocks begin, ticks.
const BEGIN: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Each machine has a list of its own, as on machines of their own.
    Full,
    /// All have one base list, and each its own differences.
    Shared,
}

#[derive(Clone, Copy, Debug)]
pub struct Network {
    pub loss_per_mille: u64,
    pub delay_micros: (u64, u64),
    /// From an entry of the metadata log to its effect on a node.
    pub log_micros: (u64, u64),
}

impl Default for Network {
    fn default() -> Network {
        Network { loss_per_mille: 0, delay_micros: (500, 5_000), log_micros: (1_000, 200_000) }
    }
}

enum Happening {
    Arrive {
        from: u32,
        to: u32,
        bytes: Bytes,
    },
    Wake {
        node: u32,
    },
    /// The entry that makes `member` a member reaches `node`.
    Log {
        node: u32,
        member: u32,
    },
}

/// What was sent since the count began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    pub messages: u64,
    pub bytes: u64,
    pub sync_messages: u64,
    pub sync_bytes: u64,
}

/// Something that happened to one node, and when each of the others knew.
pub struct Watch {
    pub node: usize,
    began: Instant,
    what: What,
    known: Vec<bool>,
    /// Since it happened, in the order of learning.
    pub learned: Vec<Duration>,
    pub first_suspected: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Crash,
    Join,
}

/// What one node has learned of the facts of others.
pub struct Learner {
    known: Vec<bool>,
    count: usize,
    /// When it knew everybody's.
    pub complete: Option<Instant>,
}

pub struct World {
    pub options: Options,
    pub network: Network,
    pub members: Vec<Member>,
    pub up: Vec<bool>,
    pub traffic: Traffic,
    /// Traffic by whole seconds since the count began.
    pub seconds: Vec<Traffic>,
    pub watch: Option<Watch>,
    /// By node.
    pub learners: BTreeMap<usize, Learner>,
    /// Living nodes that somebody declared dead.
    pub wrong_deaths: u64,
    counted_from: u64,
    random: Random,
    calendar: Calendar<Happening>,
    /// Of each node: the tick of its next alarm.
    alarms: Vec<u64>,
    out: Output,
}

/// Spread over the space as random ids are; the low half says which node it is.
pub fn id(node: usize) -> NodeId {
    let high = Random::new(node as u64 ^ 0x5CA1_AB1E).next_u64();
    NodeId(u128::from(high) << 64 | node as u128)
}

fn node_of(id: NodeId) -> usize {
    id.0 as u64 as usize
}

pub fn address(node: usize) -> SocketAddr {
    let [_, a, b, c] = (node as u32).to_be_bytes();
    SocketAddr::from(([10, a, b, c], 7_000))
}

pub fn facts(node: usize) -> Facts {
    let facts = Bytes::copy_from_slice(&[node as u8; FACTS_BYTES]);
    Facts { incarnation: 1 << 32, address: address(node), facts, version: 1 }
}

/// A list of so many members of whom all is known.
pub fn list_of(nodes: usize) -> BaseList {
    BaseList::new(&(0..nodes).map(|node| (id(node), facts(node))).collect())
}

/// The members as the metadata log has them.
pub fn log_of(nodes: usize) -> BTreeMap<NodeId, Option<SocketAddr>> {
    (0..nodes).map(|node| (id(node), Some(address(node)))).collect()
}

fn instant(tick: u64) -> Instant {
    Instant(tick * TICK_NANOS)
}

impl World {
    /// A cluster in which everybody knows everybody.
    pub fn settled(seed: u64, nodes: usize, sharing: Sharing) -> World {
        let mut world = World::empty(seed);
        let shared = Arc::new(list_of(nodes));
        for node in 0..nodes {
            let list = if sharing == Sharing::Shared { shared.clone() } else { Arc::new(list_of(nodes)) };
            let random = world.random.fork();
            let member = Member::with_list(id(node), world.options.clone(), facts(node), list, world.now(), random);
            world.enter(member);
        }
        world
    }

    /// A cluster in which everybody has just started, and knows what the log says and nothing else.
    pub fn cold(seed: u64, nodes: usize) -> World {
        let mut world = World::empty(seed);
        let log = log_of(nodes);
        for node in 0..nodes {
            let member = world.machine(node, &log);
            world.enter(member);
        }
        world.learners = (0..nodes).map(|node| (node, Learner::new(node, nodes))).collect();
        world
    }

    fn empty(seed: u64) -> World {
        World {
            options: Options::default(),
            network: Network::default(),
            members: Vec::new(),
            up: Vec::new(),
            traffic: Traffic::default(),
            seconds: Vec::new(),
            watch: None,
            learners: BTreeMap::new(),
            wrong_deaths: 0,
            counted_from: BEGIN,
            random: Random::new(seed),
            calendar: Calendar::new(BEGIN),
            alarms: Vec::new(),
            out: Output::default(),
        }
    }

    /// A machine that has just started, with the members of the log.
    fn machine(&mut self, node: usize, log: &BTreeMap<NodeId, Option<SocketAddr>>) -> Member {
        let random = self.random.fork();
        let mut member = Member::new(id(node), self.options.clone(), facts(node), self.now(), random);
        member.set_members(self.now(), log, &mut Output::default());
        member
    }

    fn enter(&mut self, member: Member) {
        self.members.push(member);
        self.up.push(true);
        self.alarms.push(u64::MAX);
        self.set_alarm(self.members.len() - 1);
    }

    pub fn now(&self) -> Instant {
        instant(self.calendar.now())
    }

    /// Since the beginning.
    pub fn age(&self) -> Duration {
        self.now().since(instant(BEGIN))
    }

    pub fn living(&self) -> usize {
        self.up.iter().filter(|up| **up).count()
    }

    /// A living node by chance.
    pub fn any(&mut self) -> usize {
        loop {
            let node = self.random.below(self.members.len() as u64) as usize;
            if self.up[node] {
                return node;
            }
        }
    }

    /// Counts traffic anew from here.
    pub fn count_traffic(&mut self) {
        self.traffic = Traffic::default();
        self.seconds.clear();
        self.counted_from = self.calendar.now();
    }

    /// It stops without a word, and is watched.
    pub fn crash(&mut self, node: usize) {
        self.up[node] = false;
        self.watch_for(node, What::Crash);
    }

    /// The log names one more member, which starts at once and knows what the log says. It is watched; so is what it
    /// learns.
    pub fn join(&mut self) -> usize {
        let node = self.members.len();
        let log = log_of(node + 1);
        let member = self.machine(node, &log);
        self.enter(member);
        let mut learner = Learner::new(node, node + 1);
        // The dead say nothing of themselves any more; what others say of them is not asked of a newcomer here.
        for dead in (0..node).filter(|dead| !self.up[*dead]) {
            learner.learn(dead, instant(self.calendar.now()));
        }
        self.learners = BTreeMap::from([(node, learner)]);
        self.watch_for(node, What::Join);
        let (low, high) = self.network.log_micros;
        for other in 0..node {
            let at = self.after_micros(low, high);
            self.calendar.plan(at, Happening::Log { node: other as u32, member: node as u32 });
        }
        node
    }

    fn watch_for(&mut self, node: usize, what: What) {
        let began = self.now();
        let known = vec![false; self.members.len()];
        self.watch = Some(Watch { node, began, what, known, learned: Vec::new(), first_suspected: None });
    }

    fn after_micros(&mut self, low: u64, high: u64) -> u64 {
        self.calendar.now() + (self.random.range(low, high + 1) * 1_000).div_ceil(TICK_NANOS)
    }

    pub fn run_for(&mut self, length: Duration) {
        let end = self.now() + length;
        while self.now() < end {
            self.step();
        }
    }

    /// Runs until all of the living have learned what is watched; `false`: not within `bound`.
    pub fn run_until_learned(&mut self, bound: Duration) -> bool {
        let end = self.now() + bound;
        let others = self.living() - usize::from(self.watch.as_ref().is_some_and(|watch| self.up[watch.node]));
        while self.watch.as_ref().is_some_and(|watch| watch.learned.len() < others) {
            if self.now() >= end {
                return false;
            }
            self.step();
        }
        true
    }

    /// Runs until all learners know everybody; `false`: not within `bound`.
    pub fn run_until_complete(&mut self, bound: Duration) -> bool {
        let end = self.now() + bound;
        while self.learners.values().any(|learner| learner.complete.is_none()) {
            if self.now() >= end {
                return false;
            }
            self.step();
        }
        true
    }

    fn step(&mut self) {
        for happening in self.calendar.advance() {
            match happening {
                Happening::Arrive { from, to, bytes } => self.arrive(from as usize, to as usize, bytes),
                Happening::Wake { node } => self.wake(node as usize),
                Happening::Log { node, member } => {
                    let (node, member, now) = (node as usize, member as usize, self.now());
                    if self.up[node] {
                        self.members[node].add_member(now, id(member), Some(address(member)), &mut self.out);
                        self.carry_out(node);
                    }
                }
            }
        }
    }

    fn arrive(&mut self, from: usize, to: usize, bytes: Bytes) {
        if self.up[to] {
            let now = self.now();
            self.members[to].receive(now, id(from), bytes, &mut self.out);
            self.carry_out(to);
        }
    }

    fn wake(&mut self, node: usize) {
        if !self.up[node] || self.alarms[node] != self.calendar.now() {
            return;
        }
        self.alarms[node] = u64::MAX;
        let now = self.now();
        if self.members[node].next_deadline() <= now {
            self.members[node].tick(now, &mut self.out);
        }
        self.carry_out(node);
    }

    fn set_alarm(&mut self, node: usize) {
        let deadline = self.members[node].next_deadline();
        let at = deadline.0.div_ceil(TICK_NANOS).max(self.calendar.now() + 1);
        // An alarm that comes too early is set anew then; a later one is not needed.
        if deadline != Instant::FAR_FUTURE && at < self.alarms[node] {
            self.alarms[node] = at;
            self.calendar.plan(at, Happening::Wake { node: node as u32 });
        }
    }

    /// Sends what a machine wants sent, notes what it learned, sets its alarm.
    fn carry_out(&mut self, node: usize) {
        let mut out = std::mem::take(&mut self.out);
        for event in out.events.drain(..) {
            self.note(node, event);
        }
        for (to, _, bytes) in out.messages.drain(..) {
            self.count(&bytes);
            if !self.random.chance(self.network.loss_per_mille, 1_000) {
                let (low, high) = self.network.delay_micros;
                let at = self.after_micros(low, high);
                self.calendar.plan(at, Happening::Arrive { from: node as u32, to: node_of(to) as u32, bytes });
            }
        }
        self.out = out;
        self.set_alarm(node);
    }

    fn count(&mut self, bytes: &Bytes) {
        let second = ((self.calendar.now() - self.counted_from) * TICK_NANOS / 1_000_000_000) as usize;
        if self.seconds.len() <= second {
            self.seconds.resize(second + 1, Traffic::default());
        }
        // The kind is the second byte of a message; from 5 on it is part of a sync.
        let sync = bytes.get(1).is_some_and(|kind| *kind >= 5);
        for traffic in [&mut self.traffic, &mut self.seconds[second]] {
            traffic.messages += 1;
            traffic.bytes += bytes.len() as u64;
            if sync {
                traffic.sync_messages += 1;
                traffic.sync_bytes += bytes.len() as u64;
            }
        }
    }

    fn note(&mut self, node: usize, event: Event) {
        let now = self.now();
        if let Event::Dead(dead) = event
            && self.up[node_of(dead)]
        {
            self.wrong_deaths += 1;
        }
        if let Event::Facts(whom) = event
            && self.members[node].facts(whom).is_some_and(|facts| facts.version > 0)
            && let Some(learner) = self.learners.get_mut(&node)
        {
            learner.learn(node_of(whom), now);
        }
        let Some(watch) = &mut self.watch else { return };
        let since = now.since(watch.began);
        let learned = match (watch.what, event) {
            (What::Crash, Event::Suspect(whom)) if node_of(whom) == watch.node => {
                watch.first_suspected.get_or_insert(since);
                false
            }
            (What::Crash, Event::Dead(whom)) => node_of(whom) == watch.node,
            (What::Join, Event::Facts(whom)) => {
                node_of(whom) == watch.node && self.members[node].facts(whom).is_some_and(|facts| facts.version > 0)
            }
            _ => false,
        };
        if learned && !std::mem::replace(&mut watch.known[node], true) {
            watch.learned.push(since);
        }
    }
}

impl Learner {
    /// It knows itself.
    fn new(node: usize, nodes: usize) -> Learner {
        let mut known = vec![false; nodes];
        known[node] = true;
        Learner { known, count: 1, complete: None }
    }

    fn learn(&mut self, whom: usize, now: Instant) {
        if self.known.get(whom) == Some(&false) {
            self.known[whom] = true;
            self.count += 1;
            if self.count == self.known.len() {
                self.complete = Some(now);
            }
        }
    }
}

impl Watch {
    /// Seconds until this share of those who learned it had.
    pub fn seconds(&self, share: f64) -> f64 {
        let last = self.learned.len().saturating_sub(1);
        let at = ((self.learned.len() as f64 * share).ceil() as usize).saturating_sub(1).min(last);
        self.learned.get(at).map_or(f64::NAN, Duration::as_secs_f64)
    }
}
