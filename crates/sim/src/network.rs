//! The network between nodes: loses, doubles, delays and reorders envelopes, and lets some pairs not talk at all.

use crate::faults::{Fault, Faults};
use holon_base::{Instant, NodeId, Random};
use holon_kernel::{Envelope, EnvelopeKind, Target};
use holon_metadata::{LOG_VERBS, METADATA_SERVICE};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How bad it is, per mille of envelopes.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetworkFaults {
    pub lost: u64,
    pub doubled: u64,
    pub delayed: u64,
}

pub struct Network {
    pub options: NetworkFaults,
    random: Random,
    faults: Faults,
    /// (from, to) pairs that are cut, one way each.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// The metadata log does not come to them, and all else does.
    uninformed: BTreeSet<NodeId>,
    /// When all of this is to end.
    heals: Option<Instant>,
    /// What comes from them, or goes to them, takes so many microseconds longer.
    far: BTreeMap<NodeId, u64>,
    under_way: BTreeMap<(Instant, u64), Envelope>,
    sequence: u64,
}

impl Network {
    pub fn new(seed: u64, faults: Faults) -> Network {
        Network {
            options: NetworkFaults::default(),
            random: Random::new(seed),
            faults,
            cut: BTreeSet::new(),
            uninformed: BTreeSet::new(),
            heals: None,
            far: BTreeMap::new(),
            under_way: BTreeMap::new(),
            sequence: 0,
        }
    }

    /// From now on nothing gets from one to the other; the way back is another matter.
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.faults.fired(Fault::Partition);
        self.cut.insert((from, to));
    }

    /// From now on a node and the others do not hear each other.
    pub fn isolate(&mut self, node: NodeId, all: impl Iterator<Item = NodeId>) {
        for other in all.filter(|other| *other != node) {
            self.cut(node, other);
            self.cut(other, node);
        }
    }

    pub fn heal(&mut self) {
        self.cut.clear();
        self.uninformed.clear();
        self.heals = None;
    }

    /// All nodes are to hear each other again then.
    pub fn heal_at(&mut self, at: Instant) {
        self.heals = Some(at);
    }

    /// Whether it is to heal some time.
    pub fn is_to_heal(&self) -> bool {
        self.heals.is_some()
    }

    /// Heals if it is time.
    pub fn look(&mut self, now: Instant) {
        if self.heals.is_some_and(|at| now >= at) {
            self.heal();
        }
    }

    /// From now on a node hears nothing of the metadata log: it goes on with the map it has.
    pub fn keep_uninformed(&mut self, node: NodeId) {
        self.faults.fired(Fault::OldMap);
        self.uninformed.insert(node);
    }

    /// From now on a node is so many microseconds further away from all others.
    pub fn move_away(&mut self, node: NodeId, micros: u64) {
        self.far.insert(node, micros);
    }

    fn is_kept_back(&self, envelope: &Envelope) -> bool {
        let EnvelopeKind::Request { target: Target::Service(METADATA_SERVICE), verb, .. } = &envelope.kind else {
            return false;
        };
        let of = |node: &NodeId| self.uninformed.contains(node);
        LOG_VERBS.contains(verb) && (of(&envelope.source.node) || of(&envelope.destination.node))
    }

    pub fn send(&mut self, now: Instant, envelope: Envelope) {
        let (from, to) = (envelope.source.node, envelope.destination.node);
        if self.cut.contains(&(from, to)) || (from != to && self.is_kept_back(&envelope)) {
            return;
        }
        if self.random.chance(self.options.lost, 1000) {
            return self.faults.fired(Fault::MessageLost);
        }
        if self.random.chance(self.options.doubled, 1000) {
            self.faults.fired(Fault::MessageDoubled);
            self.put(now, envelope.clone());
        }
        self.put(now, envelope);
    }

    fn put(&mut self, now: Instant, envelope: Envelope) {
        let delayed = self.random.chance(self.options.delayed, 1000);
        let micros = if delayed { self.random.range(10_000, 2_000_000) } else { self.random.range(50, 1_000) };
        if delayed {
            self.faults.fired(Fault::MessageDelayed);
        }
        let (from, to) = (envelope.source.node, envelope.destination.node);
        let way = [from, to].map(|node| self.far.get(&node).copied().unwrap_or(0));
        let micros = if from == to { micros } else { micros + way[0] + way[1] };
        self.sequence += 1;
        self.under_way.insert((now + Duration::from_micros(micros), self.sequence), envelope);
    }

    /// Sends what arrives at a certain time, if the nodes are not cut from one another.
    pub fn send_for(&mut self, due: Instant, envelope: Envelope) {
        if !self.cut.contains(&(envelope.source.node, envelope.destination.node)) {
            self.sequence += 1;
            self.under_way.insert((due, self.sequence), envelope);
        }
    }

    pub fn next_due(&self) -> Option<Instant> {
        self.under_way.first_key_value().map(|((due, _), _)| *due)
    }

    pub fn arrived(&mut self, now: Instant) -> Vec<Envelope> {
        let later = self.under_way.split_off(&(now, u64::MAX));
        std::mem::replace(&mut self.under_way, later).into_values().collect()
    }
}
