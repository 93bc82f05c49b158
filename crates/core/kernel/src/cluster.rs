//! What a shard knows of the cluster: where the replicas of a tablet are, who the other nodes are, who seems alive.
//!
//! The map is truth (it is made of entries of the metadata log, the same on every node); whether a node seems alive is an
//! opinion (of gossip). Without a map the shard is a node of its own, and each tablet is where it is asked for.

use crate::service::LocalFuture;
use holon_base::{NodeId, TabletId};
use std::net::SocketAddr;
use std::rc::Rc;

/// The nodes that hold a tablet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replicas {
    /// They have all the data and are asked by reads, in the order in which drivers try them.
    pub readers: Rc<[NodeId]>,
    /// Empty, or the tablet moves: the other set of replicas. Writes go to both, and must be acknowledged by enough of each.
    pub joint: Rc<[NodeId]>,
    /// The entry of the metadata log that made it so. A request that was routed by an older map is refused.
    pub since: u64,
}

impl Replicas {
    pub fn only(node: NodeId) -> Replicas {
        Replicas { readers: Rc::new([node]), ..Replicas::default() }
    }

    /// All that a write goes to, each once, readers first.
    pub fn writers(&self) -> impl Iterator<Item = NodeId> {
        let others = self.joint.iter().filter(|node| !self.readers.contains(node));
        self.readers.iter().chain(others).copied()
    }

    pub fn holds(&self, node: NodeId) -> bool {
        self.readers.contains(&node) || self.joint.contains(&node)
    }
}

/// Who began the consensus group of a tablet. Which members it has now, its own log says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Founders {
    pub members: Rc<[NodeId]>,
    /// Those of them that still have what they promised as members: one that gave the tablet away has forgotten it, and
    /// must not begin again as if it never had.
    pub present: Rc<[NodeId]>,
}

/// A member of the cluster, as the metadata log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    pub node: NodeId,
    /// Of its door for peers.
    pub address: SocketAddr,
    pub data_center: Rc<str>,
    pub rack: Rc<str>,
    /// Cores of its process at its latest start.
    pub shards: u16,
    /// End tokens of the ranges whose first replica it is.
    pub tokens: Rc<[i64]>,
    /// What services tell clients about it (their door's address, …), by the service's name.
    pub facts: Rc<[(String, String)]>,
}

/// The map of the cluster as one shard has applied it.
pub trait ClusterMap {
    /// The index of the metadata entry applied last.
    fn epoch(&self) -> u64;

    /// `None`: there is no such tablet.
    fn replicas(&self, tablet: TabletId) -> Option<Replicas>;

    /// `None`: the tablet has no consensus group (yet), or there is no such tablet.
    fn founders(&self, tablet: TabletId) -> Option<Founders>;

    /// Has a consensus group begun for a tablet, with its readers as first members: an entry of the log. False if that
    /// is not known to be done.
    fn found(&self, tablet: TabletId) -> LocalFuture<bool>;

    /// All members, by id; this node among them.
    fn nodes(&self) -> Rc<[NodeRecord]>;

    /// Slots of the ring: a group with as many tablets is spread as evenly as nodes are; 0 before there is a ring.
    fn slots(&self) -> u32;

    /// Returns when the map is of this epoch or later.
    fn reached(&self, epoch: u64) -> LocalFuture<()>;
}
