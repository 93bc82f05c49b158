//! The world: nodes of shards, their disks, the network between them and time, all stepped by one thread from one seed.
//!
//! ```text
//!   step: run ready tasks of one shard ─► post what it sent ─► nothing ready? time jumps to the next completion,
//!         envelope or timer ─► the scenario acts (clients, faults, checks)
//! ```
//! Each step feeds a running hash. Two runs of a seed must end with the same hash; if they do not, something read a clock, an
//! address or an unordered map.

use crate::clock_faults::WallClock;
use crate::costs::Costs;
use crate::disk::{SimDisk, SimDiskState};
use crate::faults::{DiskFaults, Fault, Faults};
use crate::network::Network;
use holon_base::{Instant, NodeId, Random, ShardId, Wall};
use holon_kernel::{Class, Envelope, NodeClock, NodeRecord, Order, Router, Scope, Shard, ShardOptions};
use holon_metadata::{
    AdmitError, Cluster, Identity, IdentityError, JoinRequest, LEVEL, LogOptions, Metadata, NodeOptions, PEERS_PORT,
    load_or_create, save, start_shard, stop_shard,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The wall clock of every run begins here, microseconds since the epoch (2023-11-14).
const WALL_START_MICROS: i64 = 1_700_000_000_000_000;

/// The bound on skew that every node is told.
const CLOCK_SKEW_MAX: Duration = holon_kernel::limits::CLOCK_SKEW_MAX_DEFAULT;

/// Until all nodes are in the ring and know of each other.
const FORMATION: Duration = Duration::from_secs(60);

/// Adds the services under test to a new shard.
pub type Install = Rc<dyn Fn(&Rc<Shard>, &Rc<Metadata>)>;

type Outbound = Rc<RefCell<Vec<Envelope>>>;

struct Post(Outbound);

impl Router for Post {
    fn send(&mut self, envelope: Envelope) {
        self.0.borrow_mut().push(envelope);
    }
}

/// A shard of a node that runs.
#[derive(Clone)]
pub struct LiveShard {
    pub shard: Rc<Shard>,
    pub metadata: Rc<Metadata>,
}

enum Phase {
    Down,
    /// A shard of its own reads who the node is, and writes down which cluster it belongs to.
    Identity {
        shard: Rc<Shard>,
        outcome: Rc<RefCell<Option<Result<Identity, String>>>>,
    },
    /// A member was asked to let it in, until when.
    Joining {
        shard: Rc<Shard>,
        identity: Identity,
        answer: Rc<RefCell<Option<Result<Cluster, AdmitError>>>>,
        until: Instant,
    },
    Starting {
        live: Vec<LiveShard>,
        outcomes: Rc<RefCell<Vec<Result<(), String>>>>,
    },
    Up {
        live: Vec<LiveShard>,
    },
    Stopping {
        live: Vec<LiveShard>,
        stopped: Rc<Cell<usize>>,
    },
}

pub struct SimNode {
    pub disk: Rc<RefCell<SimDiskState>>,
    phase: Phase,
    clock: WallClock,
    pub shards: u16,
    pub starts: u64,
    /// The node whose place this one takes when it joins.
    pub replaces: Option<usize>,
    /// What its binary knows; a later start may be of a newer one.
    pub level: u32,
    pub(crate) outbound: Outbound,
}

/// What became of a node since the scenario last looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeEvent {
    Up(usize),
    /// It refused to start, or stopped by itself, and said why.
    Failed(usize, String),
    StoppedCleanly(usize),
}

pub struct World {
    pub now: Instant,
    pub random: Random,
    pub faults: Faults,
    pub network: Network,
    pub nodes: Vec<SimNode>,
    /// Seen before by no scenario.
    pub events: Vec<NodeEvent>,
    pub steps: u64,
    /// The first node founds a cluster that the others join; if not, each is one of its own.
    pub one_cluster: bool,
    /// Nodes are spread over so many.
    pub racks: usize,
    /// When nodes cut their metadata logs.
    pub metadata_log: LogOptions,
    /// Shows what nodes tell people.
    pub tell: bool,
    /// What work takes; `None`: none takes any time.
    pub(crate) costs: Option<Box<Costs>>,
    install: Install,
    trace: u64,
    local: BTreeMap<(Instant, u64), Envelope>,
    sequence: u64,
}

impl Drop for World {
    fn drop(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.take_down(node));
    }
}

impl World {
    pub fn new(seed: u64, nodes: usize, shards: u16, disk: DiskFaults, faults: Faults, install: Install) -> World {
        let mut random = Random::new(seed);
        let node = |_| SimNode {
            disk: SimDiskState::new(random.next_u64(), disk, faults.clone()),
            phase: Phase::Down,
            clock: WallClock { skew_micros: random.below(2_000_000) as i64 - 1_000_000, ..WallClock::default() },
            shards,
            starts: 0,
            replaces: None,
            level: LEVEL,
            outbound: Rc::default(),
        };
        let nodes = (0..nodes).map(node).collect();
        let network = Network::new(random.next_u64(), faults.clone());
        let (trace, now) = (0xcbf2_9ce4_8422_2325, Instant(1));
        let events = Vec::new();
        World {
            now,
            random,
            faults,
            network,
            nodes,
            events,
            steps: 0,
            one_cluster: false,
            racks: 3,
            metadata_log: LogOptions::default(),
            tell: false,
            costs: None,
            install,
            trace,
            local: BTreeMap::new(),
            sequence: 0,
        }
    }

    pub fn trace(&self) -> u64 {
        self.trace
    }

    /// Mixes a number into the trace (FNV-1a over 64-bit words).
    pub fn note(&mut self, value: u64) {
        self.trace = (self.trace ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    pub fn node_id(index: usize) -> NodeId {
        NodeId((0xa0 + index as u128) << 120 | 1)
    }

    pub(crate) fn wall(&self, node: usize) -> Wall {
        Wall(WALL_START_MICROS + (self.now.0 / 1000) as i64 + self.off_micros(node))
    }

    /// How far ahead of the world's time the wall clock of a node is.
    pub fn off_micros(&self, node: usize) -> i64 {
        self.nodes[node].clock.off_micros(self.now)
    }

    /// Sets the wall clock of a node so far ahead of the world's time; from now on it gains so many microseconds a second.
    pub fn set_clock(&mut self, node: usize, skew_micros: i64, drift_per_million: i64) {
        self.nodes[node].clock = WallClock { skew_micros, since: self.now, drift_per_million };
    }

    // ---- Nodes

    /// A node that is down starts next as one of the present version.
    pub fn upgrade(&mut self, node: usize) {
        self.nodes[node].level = LEVEL;
        self.faults.fired(Fault::Upgrade);
    }

    pub fn start(&mut self, node: usize) {
        assert!(matches!(self.nodes[node].phase, Phase::Down), "node {node} runs already");
        let known = &self.nodes[node];
        if known.level < LEVEL && known.starts > 0 && self.random.chance(1, 2) {
            self.upgrade(node);
        }
        let shard = self.new_shard(node, NodeId(0), 0, 1, &Arc::default());
        let disk = shard.disk();
        self.learn_identity(node, shard, async move { load_or_create(&disk, Self::node_id(node)).await });
        self.nodes[node].starts += 1;
    }

    /// Starts those of the first so many nodes that are down, and lets all become one cluster before anything else happens.
    ///
    /// # Errors
    /// They do not.
    pub fn form(&mut self, nodes: usize) -> Result<(), String> {
        for node in 0..nodes {
            if self.is_down(node) {
                self.start(node);
            }
        }
        let deadline = self.now + FORMATION;
        while self.now < deadline {
            let until = self.now + Duration::from_millis(50);
            self.run_until(until, |_| ());
            let whole = |map: Rc<[NodeRecord]>| map.len() == nodes && map.iter().all(|node| !node.tokens.is_empty());
            let knows = |live: &LiveShard| live.shard.map().is_some_and(|map| whole(map.nodes()));
            if (0..nodes).all(|node| self.up(node).is_some_and(|live| live.iter().all(knows))) {
                return Ok(());
            }
        }
        Err(format!("{nodes} nodes did not become a cluster in {FORMATION:?}"))
    }

    fn learn_identity(
        &mut self,
        node: usize,
        shard: Rc<Shard>,
        work: impl Future<Output = Result<Identity, IdentityError>> + 'static,
    ) {
        let outcome = Rc::new(RefCell::new(None));
        let place = outcome.clone();
        shard.spawn(Scope::Node, Class::Foreground, async move {
            let identity = work.await.map_err(|error| error.to_string());
            *place.borrow_mut() = Some(identity);
        });
        self.nodes[node].phase = Phase::Identity { shard, outcome };
    }

    /// Founds a cluster, or asks a member to be let in.
    fn find_cluster(&mut self, node: usize, shard: Rc<Shard>, identity: Identity) {
        if !self.one_cluster || node == 0 {
            let cluster = Cluster::founded_by(identity.node, identity.node.0);
            return self.write_cluster(node, shard, identity, cluster);
        }
        let members: Vec<usize> = (0..self.nodes.len()).filter(|member| self.up(*member).is_some()).collect();
        let answer = Rc::new(RefCell::new(None));
        let until = self.now + Duration::from_secs(if members.is_empty() { 1 } else { 30 });
        let chosen = self.random.below(members.len() as u64) as usize;
        if let Some([first, ..]) = members.get(chosen).and_then(|member| self.up(*member)) {
            let (metadata, place) = (first.metadata.clone(), answer.clone());
            let options = self.node_options(node, 0, Cluster::founded_by(identity.node, 0));
            let record = options.record(identity.node, self.nodes[node].shards);
            let replaces = self.nodes[node].replaces.map(|dead| Self::node_id(dead).to_string()).unwrap_or_default();
            first.shard.spawn(Scope::Node, Class::Foreground, async move {
                *place.borrow_mut() = Some(metadata.admit(JoinRequest { record, replaces }).await);
            });
        }
        self.nodes[node].phase = Phase::Joining { shard, identity, answer, until };
    }

    fn write_cluster(&mut self, node: usize, shard: Rc<Shard>, identity: Identity, cluster: Cluster) {
        let identity = Identity { cluster: Some(cluster), ..identity };
        let disk = shard.disk();
        self.learn_identity(node, shard, async move { save(&disk, &identity).await.map(|()| identity) });
    }

    fn node_options(&self, node: usize, boot: u32, cluster: Cluster) -> NodeOptions {
        let address = ([10, 0, 0, node as u8 + 1], PEERS_PORT).into();
        let rack = format!("rack{}", node % self.racks + 1);
        let (level, log) = (self.nodes[node].level, self.metadata_log.clone());
        NodeOptions { address, rack, level, log, ..NodeOptions::member(boot, cluster) }
    }

    /// The power of a node goes.
    pub fn crash(&mut self, node: usize) {
        self.faults.fired(Fault::Crash);
        self.take_down(node);
        self.nodes[node].disk.borrow_mut().crash();
    }

    fn take_down(&mut self, node: usize) {
        let phase = std::mem::replace(&mut self.nodes[node].phase, Phase::Down);
        let shards: Vec<Rc<Shard>> = match phase {
            Phase::Down => Vec::new(),
            Phase::Identity { shard, .. } | Phase::Joining { shard, .. } => vec![shard],
            Phase::Starting { live, .. } | Phase::Up { live } | Phase::Stopping { live, .. } => {
                live.into_iter().map(|live| live.shard).collect()
            }
        };
        // Tasks hold their shard; stopping it lets go of all of them.
        for shard in &shards {
            shard.stop("the power is off".to_string());
            shard.dismantle();
        }
        self.nodes[node].outbound.borrow_mut().clear();
        let id = Self::node_id(node);
        self.local.retain(|_, envelope| envelope.destination.node != id);
    }

    /// A clean stop, as on SIGTERM; [`NodeEvent::StoppedCleanly`] follows.
    pub fn stop(&mut self, node: usize) {
        self.faults.fired(Fault::CleanStop);
        let Phase::Up { live } = std::mem::replace(&mut self.nodes[node].phase, Phase::Down) else {
            panic!("node {node} is not up");
        };
        let stopped = Rc::new(Cell::new(0));
        for LiveShard { shard, metadata } in &live {
            let (metadata, stopped) = (metadata.clone(), stopped.clone());
            shard.spawn(Scope::Node, Class::Foreground, async move {
                stop_shard(metadata).await;
                stopped.set(stopped.get() + 1);
            });
        }
        self.nodes[node].phase = Phase::Stopping { live, stopped };
    }

    pub fn is_down(&self, node: usize) -> bool {
        matches!(self.nodes[node].phase, Phase::Down)
    }

    /// For people.
    pub fn phase(&self, node: usize) -> &'static str {
        match self.nodes[node].phase {
            Phase::Down => "is down",
            Phase::Identity { .. } => "reads who it is",
            Phase::Joining { .. } => "asks to be let in",
            Phase::Starting { .. } => "starts",
            Phase::Up { .. } => "is up",
            Phase::Stopping { .. } => "stops",
        }
    }

    /// The shards of a node whose doors are open.
    pub fn up(&self, node: usize) -> Option<&[LiveShard]> {
        match &self.nodes[node].phase {
            Phase::Up { live } => Some(live),
            _ => None,
        }
    }

    fn new_shard(&mut self, node: usize, id: NodeId, shard: u16, shards: u16, clock: &Arc<NodeClock>) -> Rc<Shard> {
        let seed = self.random.next_u64();
        let shard_id = ShardId(shard);
        Shard::new(ShardOptions {
            node: id,
            shard: shard_id,
            shards,
            seed,
            order: Order::Permuted(Random::new(seed ^ 0x5eed)),
            disk: Box::new(SimDisk::new(&self.nodes[node].disk, shard_id)),
            router: Box::new(Post(self.nodes[node].outbound.clone())),
            now: self.now,
            wall: self.wall(node),
            clock: clock.clone(),
        })
    }

    pub(crate) fn shards_of(&self, node: usize) -> impl Iterator<Item = &Rc<Shard>> {
        let (one, live): (_, &[LiveShard]) = match &self.nodes[node].phase {
            Phase::Down => (None, &[]),
            Phase::Identity { shard, .. } | Phase::Joining { shard, .. } => (Some(shard), &[]),
            Phase::Starting { live, .. } | Phase::Up { live } | Phase::Stopping { live, .. } => (None, live),
        };
        one.into_iter().chain(live.iter().map(|live| &live.shard))
    }

    /// Moves a node through its phases; notices a shard that has stopped itself.
    pub(crate) fn advance_phase(&mut self, node: usize) {
        let stopped = self.shards_of(node).find_map(|shard| shard.stopped());
        if let Some(reason) = stopped {
            // The process ends: its disk does not lose power, but what it had in flight is nobody's any more.
            self.fail(node, reason);
            return;
        }
        let identity = match &self.nodes[node].phase {
            Phase::Identity { shard, outcome } => outcome.borrow_mut().take().map(|found| (shard.clone(), found)),
            Phase::Joining { shard, identity, answer, until } => {
                let (shard, identity, answer) = (shard.clone(), identity.clone(), answer.borrow_mut().take());
                match answer {
                    Some(Ok(cluster)) => self.write_cluster(node, shard, identity, cluster),
                    // The process ends and says so; of the others it asks again.
                    Some(Err(refused @ AdmitError::Refused(_))) => self.fail(node, refused.to_string()),
                    Some(Err(_)) => {
                        let until = self.now + Duration::from_secs(1);
                        self.nodes[node].phase = Phase::Joining { shard, identity, answer: Rc::default(), until };
                    }
                    None if self.now >= *until => self.find_cluster(node, shard, identity),
                    None => {}
                }
                return;
            }
            Phase::Starting { live, outcomes } => {
                let refused = outcomes.borrow().iter().find_map(|outcome| outcome.clone().err());
                if let Some(reason) = refused {
                    return self.fail(node, reason);
                }
                if outcomes.borrow().len() == live.len() {
                    let live = live.clone();
                    self.nodes[node].phase = Phase::Up { live };
                    self.events.push(NodeEvent::Up(node));
                }
                return;
            }
            Phase::Stopping { live, stopped } => {
                if stopped.get() == live.len() {
                    self.fail_quietly(node);
                    self.events.push(NodeEvent::StoppedCleanly(node));
                }
                return;
            }
            Phase::Down | Phase::Up { .. } => return,
        };
        match identity {
            None => {}
            Some((_, Err(reason))) => self.fail(node, reason),
            Some((shard, Ok(identity))) => match identity.cluster.clone() {
                Some(cluster) => self.start_shards(node, identity, cluster),
                None => self.find_cluster(node, shard, identity),
            },
        }
    }

    fn start_shards(&mut self, node: usize, identity: Identity, cluster: Cluster) {
        // What the shard that read the identity has in flight is not for those that follow, whose operations count anew.
        self.nodes[node].disk.borrow_mut().process_ended();
        let shards = self.nodes[node].shards;
        let clock = Arc::new(NodeClock::new(CLOCK_SKEW_MAX));
        let outcomes: Rc<RefCell<Vec<Result<(), String>>>> = Rc::default();
        let mut live = Vec::new();
        for number in 0..shards {
            let shard = self.new_shard(node, identity.node, number, shards, &clock);
            let options = self.node_options(node, identity.boot, cluster.clone());
            let metadata = Metadata::new(&shard, options);
            (self.install)(&shard, &metadata);
            live.push(LiveShard { shard, metadata });
        }
        let tell = self.tell;
        for LiveShard { shard, metadata } in &live {
            let (metadata, outcomes, clock) = (metadata.clone(), outcomes.clone(), Rc::downgrade(shard));
            let told = move |line: String| {
                if tell && let Some(shard) = clock.upgrade() {
                    println!("  {:?} node {node}: {line}", shard.now().since(Instant(0)));
                }
            };
            shard.spawn(Scope::Node, Class::Foreground, async move {
                let outcome = start_shard(metadata, Rc::new(told)).await.map_err(|error| error.to_string());
                outcomes.borrow_mut().push(outcome);
            });
        }
        self.nodes[node].phase = Phase::Starting { live, outcomes };
    }

    fn fail_quietly(&mut self, node: usize) {
        self.take_down(node);
        self.nodes[node].disk.borrow_mut().process_ended();
    }

    fn fail(&mut self, node: usize, reason: String) {
        self.fail_quietly(node);
        self.note(reason.len() as u64);
        self.events.push(NodeEvent::Failed(node, reason));
    }

    // ---- Time

    /// Runs what is ready somewhere; false if nothing was.
    fn run_ready(&mut self) -> bool {
        if self.costs.is_some() {
            return self.run_at_cost();
        }
        let mut ran = false;
        for node in 0..self.nodes.len() {
            let wall = self.wall(node);
            for number in 0..self.shards_of(node).count() {
                let Some(shard) = self.shards_of(node).nth(number).cloned() else { break };
                shard.advance(self.now, wall);
                let before = shard.polls();
                shard.run_ready(1 + self.random.below(64) as usize);
                let polls = shard.polls() - before;
                if polls > 0 {
                    ran = true;
                    self.note(polls ^ (u64::from(shard.id().0) << 32) ^ ((node as u64) << 48));
                }
            }
            self.post(node);
            self.advance_phase(node);
        }
        ran
    }

    fn post(&mut self, node: usize) {
        let sent = self.nodes[node].outbound.take();
        for envelope in sent {
            self.note(envelope.correlation);
            if envelope.destination.node == Self::node_id(node) {
                // Between two cores: quick, certain, in any order.
                let due = self.now + Duration::from_nanos(self.random.below(50_000));
                self.put_local(due, envelope);
            } else {
                self.network.send(self.now, envelope);
            }
        }
    }

    pub(crate) fn put_local(&mut self, due: Instant, envelope: Envelope) {
        self.sequence += 1;
        self.local.insert((due, self.sequence), envelope);
    }

    /// One step, not beyond `until`; false when the time is there.
    pub fn step(&mut self, until: Instant) -> bool {
        self.steps += 1;
        if self.run_ready() {
            return true;
        }
        let disks = self.nodes.iter().filter_map(|node| node.disk.borrow().next_due());
        let joining = self.nodes.iter().filter_map(|node| match &node.phase {
            Phase::Joining { until, .. } => Some(*until),
            _ => None,
        });
        let timers = (0..self.nodes.len()).flat_map(|node| self.wakes_at(node));
        let local = self.local.first_key_value().map(|((due, _), _)| *due);
        let next = disks.chain(joining).chain(timers).chain(local).chain(self.network.next_due()).min();
        let Some(next) = next.filter(|next| *next < until) else {
            self.now = until;
            return false;
        };
        self.now = self.now.max(next);
        self.note(self.now.0);
        self.complete_disks();
        self.deliver();
        true
    }

    /// Runs until `until`, calling `each` after every step.
    pub fn run_until(&mut self, until: Instant, mut each: impl FnMut(&mut World)) {
        while self.step(until) {
            each(self);
        }
    }

    fn complete_disks(&mut self) {
        for node in 0..self.nodes.len() {
            loop {
                let completed = self.nodes[node].disk.borrow_mut().complete_next(self.now);
                let Some((shard, id, result)) = completed else { break };
                self.note(id.0);
                if let Some(shard) = self.shards_of(node).nth(usize::from(shard.0)) {
                    shard.complete_disk(id, result);
                }
            }
        }
    }

    fn deliver(&mut self) {
        let mut arrived = self.network.arrived(self.now);
        while let Some(entry) = self.local.first_entry()
            && entry.key().0 <= self.now
        {
            arrived.push(entry.remove());
        }
        for envelope in arrived {
            // Always through bytes, as between nodes.
            let mut envelope = Envelope::decode(envelope.encode()).expect("what was encoded here decodes here");
            let node = envelope.destination.node;
            let Some(index) = (0..self.nodes.len()).find(|index| Self::node_id(*index) == node) else { continue };
            envelope.settle(self.nodes[index].shards);
            let shard = envelope.destination.shard;
            if let Some(costs) = &mut self.costs {
                costs.came(index, &envelope);
            }
            if !matches!(self.nodes[index].phase, Phase::Identity { .. } | Phase::Joining { .. })
                && let Some(shard) = self.shards_of(index).nth(usize::from(shard.0))
            {
                shard.deliver(envelope);
            }
        }
    }
}
