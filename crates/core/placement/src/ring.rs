//! The ring: who owns which slot in each data centre, what each node publishes, and where the replicas of a slot are.
//!
//! The token space is cut into as many equal *slots* as a power of two. In every data centre every slot has one owner.
//! A node publishes, as its tokens, the end tokens of the slots it owns; in the k-th data centre by name each is
//! lowered by k, for no two nodes may publish the same token. Replicas are then found by walking those tokens upwards,
//! as every stock driver of Cassandra does from what it reads in `system.local` and `system.peers`.
//!
//! What it is not: a list of tablets, or of what is in motion; that is [`crate::Topology`].
//!
//! Guaranteed: every node of the ring owns slots; slots only grow in number; all functions depend on their arguments
//! only. The replicas of a slot are those of every token in it but the last k, when there are more data centres than
//! k.

use crate::limits::{NODES_MAX, SLOTS_MAX, SLOTS_MIN, SLOTS_PER_NODE_MIN};
use crate::node::{NodeInfo, Replication};
use crate::token::{end_token, ordinal_of};
use holon_base::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Why a ring cannot be changed so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    #[error("node {0} is already in the ring")]
    Exists(NodeId),
    #[error("node {0} is not in the ring")]
    Unknown(NodeId),
    #[error("node {0} is the last one of the ring: there is nobody to take over what it has")]
    LastNode(NodeId),
    #[error("node {0} stands in another data centre than the one it replaces: join it, then drain the old one")]
    OtherDataCenter(NodeId),
    #[error("names of data centre and rack must have 1 to 255 bytes")]
    InvalidInfo,
    #[error("a ring has at most {NODES_MAX} nodes in at most {} data centres", crate::limits::DATA_CENTERS_MAX)]
    Full,
    #[error("a ring has a power of two of slots, at most {SLOTS_MAX} and never fewer than before, not {0}")]
    Slots(u32),
}

/// One data centre's owners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DataCenter {
    /// By id.
    pub(crate) members: Vec<NodeId>,
    /// Of each member: the place of its rack's name among the racks of the data centre.
    pub(crate) racks: Vec<u16>,
    pub(crate) rack_count: u16,
    /// Of each slot: the place of its owner among the members.
    pub(crate) owners: Vec<u32>,
}

/// Who owns which slot. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    pub(crate) slots: u32,
    pub(crate) nodes: Rc<BTreeMap<NodeId, NodeInfo>>,
    pub(crate) data_centers: BTreeMap<String, Rc<DataCenter>>,
}

/// How many slots a ring has whose largest data centre has so many nodes.
pub fn slots_for(nodes: usize) -> u32 {
    let wanted = (nodes as u64 * u64::from(SLOTS_PER_NODE_MIN)).next_power_of_two();
    wanted.clamp(u64::from(SLOTS_MIN), u64::from(SLOTS_MAX)) as u32
}

impl Ring {
    /// The ring of a cluster of one node.
    pub fn first(node: NodeId, info: NodeInfo) -> Result<Ring, RingError> {
        Ring::from_nodes([(node, info)])
    }

    /// The number of slots; a power of two, the same in each data centre.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (NodeId, &NodeInfo)> {
        self.nodes.iter().map(|(node, info)| (*node, info))
    }

    pub fn info(&self, node: NodeId) -> Option<&NodeInfo> {
        self.nodes.get(&node)
    }

    pub fn contains(&self, node: NodeId) -> bool {
        self.nodes.contains_key(&node)
    }

    /// By name, which is also the order in which their tokens are lowered.
    pub fn data_centers(&self) -> impl Iterator<Item = &str> {
        self.data_centers.keys().map(String::as_str)
    }

    /// `None`: there is no such data centre, or no such slot.
    pub fn owner(&self, data_center: &str, slot: u32) -> Option<NodeId> {
        let center = self.data_centers.get(data_center)?;
        center.owners.get(slot as usize).map(|owner| center.members[*owner as usize])
    }

    /// What `node` publishes, ascending. Empty for a node that is not in the ring.
    pub fn tokens_of(&self, node: NodeId) -> Vec<i64> {
        let Some(info) = self.nodes.get(&node) else { return Vec::new() };
        let place = self.data_centers.keys().position(|name| *name == info.data_center);
        let center = &self.data_centers[&info.data_center];
        let (Some(place), Ok(member)) = (place, center.members.binary_search(&node)) else { return Vec::new() };
        let owned = (0u32..).zip(&center.owners).filter(|(_, owner)| **owner as usize == member);
        owned.map(|(slot, _)| end_token(slot, self.slots) - place as i64).collect()
    }

    /// What every node publishes; one pass over the slots.
    pub fn tokens(&self) -> BTreeMap<NodeId, Vec<i64>> {
        let mut tokens = BTreeMap::new();
        for (place, center) in (0i64..).zip(self.data_centers.values()) {
            let mut of_members = vec![Vec::new(); center.members.len()];
            for (slot, owner) in (0u32..).zip(&center.owners) {
                of_members[*owner as usize].push(end_token(slot, self.slots) - place);
            }
            tokens.extend(center.members.iter().copied().zip(of_members));
        }
        tokens
    }

    /// The replicas of a slot, in the order in which the drivers' walk meets them. Fewer than asked for when there are
    /// fewer nodes. None for [`Replication::Local`].
    pub fn replicas(&self, replication: &Replication, slot: u32) -> Vec<NodeId> {
        match replication {
            Replication::Simple { factor } => self.walk_simple(*factor as usize, slot),
            Replication::NetworkTopology { factors } => self.walk_racks(factors, slot),
            Replication::Everywhere => self.walk_simple(self.nodes.len(), slot),
            Replication::Local => Vec::new(),
        }
    }

    /// The replicas of the `ordinal`-th of `count` tablets: those of the slot that holds its end token.
    pub fn replicas_of_tablet(&self, replication: &Replication, ordinal: u32, count: u32) -> Vec<NodeId> {
        self.replicas(replication, self.slot_of_tablet(ordinal, count))
    }

    pub fn slot_of_tablet(&self, ordinal: u32, count: u32) -> u32 {
        ordinal_of(end_token(ordinal, count), self.slots)
    }

    pub fn slot_of_token(&self, token: i64) -> u32 {
        ordinal_of(token, self.slots)
    }

    /// The owners from a slot on, all data centres, as the published tokens follow one another: within a slot the data
    /// centre that is last by name has the lowest token.
    fn walk(&self, slot: u32) -> impl Iterator<Item = (usize, &DataCenter, u32)> {
        let start = slot % self.slots;
        let places = self.data_centers.values().enumerate().rev();
        (0..self.slots).flat_map(move |step| {
            let at = ((start + step) & (self.slots - 1)) as usize;
            places.clone().map(move |(place, center)| (place, &**center, center.owners[at]))
        })
    }

    fn walk_simple(&self, factor: usize, slot: u32) -> Vec<NodeId> {
        let wanted = factor.min(self.nodes.len());
        let mut replicas = Vec::with_capacity(wanted);
        let mut seen = BTreeSet::new(); // a factor may be the number of nodes
        for (_, center, owner) in self.walk(slot) {
            if replicas.len() == wanted {
                break;
            }
            let node = center.members[owner as usize];
            if seen.insert(node) {
                replicas.push(node);
            }
        }
        replicas
    }

    fn walk_racks(&self, factors: &BTreeMap<String, u32>, slot: u32) -> Vec<NodeId> {
        let mut walks: Vec<RackWalk> = self
            .data_centers
            .iter()
            .map(|(name, center)| RackWalk::new(factors.get(name).copied().unwrap_or(0), center))
            .collect();
        let mut replicas = Vec::with_capacity(walks.iter().map(|walk| walk.wanted).sum());
        let mut unfinished = walks.iter().filter(|walk| walk.wanted > 0).count();
        for (place, center, owner) in self.walk(slot) {
            if unfinished == 0 {
                break;
            }
            if walks[place].wanted > 0 {
                walks[place].meet(center, owner, &mut replicas);
                unfinished -= usize::from(walks[place].wanted == 0);
            }
        }
        replicas
    }
}

/// The walk of one data centre under `NetworkTopologyStrategy`: a node whose rack has been used waits until every rack
/// of the data centre has been; then those that waited go first, in the order in which they were met.
struct RackWalk {
    /// Replicas still to be found.
    wanted: usize,
    taken: Vec<u32>,
    waiting: Vec<u32>,
    racks: Vec<u16>,
}

impl RackWalk {
    fn new(factor: u32, center: &DataCenter) -> RackWalk {
        let wanted = (factor as usize).min(center.members.len());
        RackWalk { wanted, taken: Vec::new(), waiting: Vec::new(), racks: Vec::new() }
    }

    fn meet(&mut self, center: &DataCenter, owner: u32, replicas: &mut Vec<NodeId>) {
        if self.taken.contains(&owner) || self.waiting.contains(&owner) {
            return;
        }
        let rack = center.racks[owner as usize];
        let all_racks = usize::from(center.rack_count);
        if self.racks.len() < all_racks && self.racks.contains(&rack) {
            self.waiting.push(owner);
            return;
        }
        self.take(center, owner, replicas);
        if self.racks.len() < all_racks {
            self.racks.push(rack);
            if self.racks.len() == all_racks {
                for owner in std::mem::take(&mut self.waiting) {
                    self.take(center, owner, replicas);
                }
            }
        }
    }

    fn take(&mut self, center: &DataCenter, owner: u32, replicas: &mut Vec<NodeId>) {
        if self.wanted > 0 {
            self.wanted -= 1;
            self.taken.push(owner);
            replicas.push(center.members[owner as usize]);
        }
    }
}
