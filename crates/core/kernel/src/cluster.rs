//! What a shard knows of the cluster: where the replicas of a tablet are, who the other nodes are, who seems alive.
//!
//! The map is truth (it is made of entries of the metadata log, the same on every node); whether a node seems alive is an
//! opinion (of gossip). Without a map the shard is a node of its own, and each tablet is where it is asked for.

use crate::envelope::{CallError, Target, Verb};
use crate::plant;
use crate::service::LocalFuture;
use crate::shard::Shard;
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
    /// The majority of its members was lost for good: this one goes on alone, by the entry of this index.
    pub anew: Option<(NodeId, u64)>,
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

    /// Has this node's member of a tablet's group go on alone, if nobody has since the entry that this node knows of
    /// ([`Founders::anew`]). False if that is not known to be done.
    fn found_anew(&self, _tablet: TabletId, _known: Option<u64>) -> LocalFuture<bool> {
        Box::pin(async { false })
    }

    /// All members, by id; this node among them.
    fn nodes(&self) -> Rc<[NodeRecord]>;

    /// Whether an administrator has given a member up (`holon cluster forget`): it never comes back, and leaves the ring
    /// when what it had is elsewhere.
    fn is_forgotten(&self, _node: NodeId) -> bool {
        false
    }

    /// Whether a member says that it is reached elsewhere than its record says, which follows.
    fn is_elsewhere(&self, _node: NodeId) -> bool {
        false
    }

    /// Slots of the ring: a group with as many tablets is spread as evenly as nodes are; 0 before there is a ring.
    fn slots(&self) -> u32;

    /// Returns when the map is of this epoch or later.
    fn reached(&self, epoch: u64) -> LocalFuture<()>;

    /// A node has a map of this epoch. If news of it do not come by themselves, it is asked for them.
    fn ask_for(&self, epoch: u64, node: NodeId);
}

/// Requests and maps of different age.
impl Shard {
    /// A request for a tablet was routed by a map: a newer one than this shard has is waited for; if the tablet has moved
    /// since an older one, the request is refused, and routed anew.
    ///
    /// One of the very epoch that the map has is checked too. Replicas may be those of the next entry already: the epoch
    /// follows when the tablets of that entry are open. And whoever asks may have chosen the node by an older map than the
    /// one it names: who copies a tablet asks the same nodes for every page.
    pub(crate) async fn check_epoch(&self, source: NodeId, target: Target, epoch: u64) -> Result<(), CallError> {
        let (Target::Tablet(tablet), Some(map)) = (target, self.map()) else { return Ok(()) };
        if plant::get().accept_old_maps {
            return Ok(());
        }
        if map.epoch() < epoch {
            map.ask_for(epoch, source);
            map.reached(epoch).await;
        }
        let replicas = map.replicas(tablet).ok_or(CallError::NotHere)?;
        if replicas.since > epoch || !replicas.holds(self.node()) { Err(CallError::NotHere) } else { Ok(()) }
    }

    /// A tablet was changed by a request that was routed by a map. If the tablet began to move meanwhile, whoever copies it
    /// may have read it before the change was there, so the change must not be acknowledged by that map: it is there, and
    /// has to be made once more by the new one. That the epoch is the same as before the change does not tell that nothing has
    /// moved ([`Shard::check_epoch`]).
    pub(crate) fn check_moved(&self, target: Target, verb: Verb, epoch: u64) -> Result<(), CallError> {
        let (Target::Tablet(tablet), Verb::APPLY, Some(map)) = (target, verb, self.map()) else { return Ok(()) };
        match map.replicas(tablet) {
            Some(replicas) if replicas.since > epoch && !plant::get().accept_old_maps => Err(CallError::NotHere),
            _ => Ok(()),
        }
    }

    /// A node did not take a request. If that is because its map is newer, news of it are wanted here.
    pub(crate) fn refused_by(&self, node: NodeId, epoch: u64) {
        if let Some(map) = self.map().filter(|map| map.epoch() < epoch) {
            map.ask_for(epoch, node);
        }
    }
}
