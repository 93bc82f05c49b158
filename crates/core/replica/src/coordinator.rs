//! Coordinates requests to the replicas of a tablet: whom to ask, when enough have answered, and what is told if not.
//!
//! Any shard of any node coordinates. A coordinator holds no data and no promise: what it has begun is finished by the
//! replicas, by hints and by repair, or is never seen.

mod read;
mod write;

use crate::hints::HintStore;
use crate::latency::Latency;
use crate::level::{Level, Places, Quota};
use crate::limits::REROUTE_PAUSE;
use bytes::Bytes;
use holon_base::{Instant, NodeId, TabletId};
use holon_kernel::{Address, NodeRecord, Replicas, Replication, Shard};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use thiserror::Error;

/// One a shard.
pub struct Coordinator {
    shard: Rc<Shard>,
    data_center: Rc<str>,
    hints: RefCell<Option<Rc<HintStore>>>,
    latency: Latency,
    pub counters: Counters,
}

/// What has happened since the start, on this shard.
#[derive(Default)]
pub struct Counters {
    /// Reads that found replicas to differ.
    pub digests_differed: Cell<u64>,
    /// Mutations written to replicas that lacked them.
    pub repairs: Cell<u64>,
    /// Further replicas asked because one was slow.
    pub speculations: Cell<u64>,
    /// Requests that were routed anew because the map had changed.
    pub reroutes: Cell<u64>,
}

pub(crate) fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

/// A tablet and what is asked of its replicas.
#[derive(Clone, Debug)]
pub struct Demand<'a> {
    pub tablet: TabletId,
    pub level: Level,
    /// What the keyspace promises; `None`: what there is counts.
    pub replication: Option<&'a Replication>,
    pub deadline: Instant,
}

/// When a read asks a further replica because those asked are slow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speculation {
    Never,
    /// With the first request.
    Always,
    After(Duration),
    /// When an answer takes longer than this share (0 to 1) of the latest ones.
    Percentile(f64),
}

/// Why a request did not succeed. Counts are of replicas that matter to the level.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReplicaError {
    /// Nothing was done.
    #[error("{alive} of {required} replicas are alive")]
    Unavailable { required: usize, alive: usize },
    /// The outcome of a write is unknown.
    #[error("{received} of {required} replicas answered in time")]
    Timeout { received: usize, required: usize, data: bool },
    /// The outcome of a write is unknown. `reason`: one replica's own error, if one gave any.
    #[error("{received} of {required} replicas answered, {} failed", failed.len())]
    Failed { received: usize, required: usize, failed: Vec<NodeId>, reason: Option<Bytes> },
    /// Nothing was done: no replica took it.
    #[error("the replicas have too much to do")]
    Overloaded,
    /// There is no such tablet.
    #[error("no such tablet")]
    NoTablet,
}

impl Coordinator {
    pub fn new(shard: &Rc<Shard>, data_center: Rc<str>) -> Rc<Coordinator> {
        Rc::new(Coordinator {
            shard: shard.clone(),
            data_center,
            hints: RefCell::new(None),
            latency: Latency::default(),
            counters: Counters::default(),
        })
    }

    /// From now on writes that miss a replica leave a hint. `None`: no more.
    pub fn set_hints(&self, hints: Option<Rc<HintStore>>) {
        *self.hints.borrow_mut() = hints;
    }

    pub fn hints(&self) -> Option<Rc<HintStore>> {
        self.hints.borrow().clone()
    }

    /// Whether the tablet has one replica, which is on this node: nobody else needs to be asked.
    pub fn is_alone(&self, tablet: TabletId) -> bool {
        let replicas = self.shard.replicas(tablet);
        replicas.joint.is_empty() && matches!(&*replicas.readers, [only] if *only == self.shard.node())
    }

    /// Whether this node holds the tablet whole: it may answer reads that need one replica.
    pub fn is_reader(&self, tablet: TabletId) -> bool {
        self.shard.replicas(tablet).readers.contains(&self.shard.node())
    }

    fn places(&self) -> Map {
        let nodes = self.shard.map().map(|map| map.nodes()).unwrap_or_default();
        Map { nodes, own: self.data_center.clone() }
    }

    /// What each set of replicas has to give: the first is that of the readers.
    fn quotas(&self, replicas: &Replicas, demand: &Demand<'_>) -> Vec<Quota> {
        let places = self.places();
        let settled = replicas.joint.is_empty();
        let promised = demand.replication.filter(|_| settled);
        let mut quotas = vec![Quota::new(demand.level, &replicas.readers, promised, &places)];
        if !settled {
            quotas.push(Quota::new(demand.level, &replicas.joint, None, &places));
        }
        quotas
    }

    fn check_there(&self, tablet: TabletId) -> Result<(), ReplicaError> {
        let unknown = self.shard.map().is_some_and(|map| map.replicas(tablet).is_none());
        if unknown { Err(ReplicaError::NoTablet) } else { Ok(()) }
    }

    fn check_alive(&self, quotas: &[Quota]) -> Result<(), ReplicaError> {
        let alive = |node: NodeId| self.shard.is_alive(node);
        match quotas.iter().find(|quota| !quota.is_met(alive)) {
            None => Ok(()),
            Some(short) => Err(ReplicaError::Unavailable { required: short.needed(), alive: short.count(alive) }),
        }
    }

    /// # Errors
    /// [`ReplicaError::Unavailable`]: of the replicas that there are (while the tablet moves, of the old or of the new) fewer
    /// than a majority seem alive.
    pub(crate) fn check_majority_alive(&self, tablet: TabletId) -> Result<(), ReplicaError> {
        let demand = Demand { tablet, level: Level::Quorum, replication: None, deadline: self.shard.now() };
        self.check_alive(&self.quotas(&self.shard.replicas(tablet), &demand))
    }

    /// Replicas to ask, the nearest first: this node, those of its rack, of its data centre, others; the map's order
    /// among equals.
    fn by_distance(&self, nodes: &[NodeId]) -> Vec<NodeId> {
        let map = self.places();
        let own = self.shard.node();
        let rack = map.record(own).map(|record| record.rack.clone());
        let mut sorted: Vec<NodeId> = nodes.to_vec();
        sorted.sort_by_key(|node| {
            let far = map.data_center_of(*node) != &*self.data_center;
            let other_rack = map.record(*node).map(|record| record.rack.clone()) != rack;
            (*node != own, far, other_rack)
        });
        sorted
    }

    /// Whether a tablet has other replicas than an attempt began with: who did not take it by the old map will not do so
    /// any more, and need not be waited for.
    fn has_moved(&self, tablet: TabletId, replicas: &Replicas) -> bool {
        self.shard.replicas(tablet).since != replicas.since
    }

    /// Until when to wait for replicas at most. Who was not understood by one looks often whether the tablet is elsewhere by
    /// now; `None`: it is.
    fn look_again(&self, tablet: TabletId, replicas: &Replicas, outdated: bool, until: Instant) -> Option<Instant> {
        if !outdated {
            return Some(until);
        }
        (!self.has_moved(tablet, replicas)).then(|| until.min(self.shard.now() + REROUTE_PAUSE))
    }

    /// Some replica did not take an attempt because it knows a newer map than that of `epoch`, or an older one. Waits for a
    /// moment, unless there is a newer one here meanwhile; false at the deadline.
    async fn wait_for_map(&self, epoch: u64, deadline: Instant) -> bool {
        count(&self.counters.reroutes);
        let now = self.shard.now();
        if now >= deadline {
            return false;
        }
        let until = deadline.min(now + REROUTE_PAUSE);
        match self.shard.map() {
            Some(map) => {
                let _ = self.shard.timeout(until, map.reached(epoch + 1)).await; // both mean: try again
            }
            None => self.shard.sleep_until(until).await,
        }
        true
    }
}

/// Which shard of a node has a tablet, for requests that are not the kernel's own.
pub(crate) fn address_of(shard: &Shard, node: NodeId, tablet: TabletId) -> Address {
    let nodes = shard.map().map(|map| map.nodes()).unwrap_or_default();
    let at = nodes.binary_search_by_key(&node, |record| record.node).ok();
    let theirs = at.map_or(shard.shards(), |at| nodes[at].shards.max(1));
    let shards = if node == shard.node() { shard.shards() } else { theirs };
    Address { node, shard: tablet.shard(shards) }
}

/// The map at one moment.
struct Map {
    nodes: Rc<[NodeRecord]>,
    own: Rc<str>,
}

impl Map {
    fn record(&self, node: NodeId) -> Option<&NodeRecord> {
        self.nodes.binary_search_by_key(&node, |record| record.node).ok().map(|at| &self.nodes[at])
    }
}

impl Places for Map {
    fn data_center_of(&self, node: NodeId) -> &str {
        self.record(node).map_or("", |record| &*record.data_center)
    }

    fn own_data_center(&self) -> &str {
        &self.own
    }
}
