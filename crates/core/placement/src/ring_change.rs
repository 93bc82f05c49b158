//! The ring after a change: a node more, a node fewer, another node in its place, more slots. What moves is what
//! must, and nothing else.

use crate::balance;
use crate::limits::{DATA_CENTERS_MAX, NODES_MAX, SLOTS_MAX};
use crate::node::NodeInfo;
use crate::ring::{DataCenter, Ring, RingError, slots_for};
use holon_base::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

type Nodes = BTreeMap<NodeId, NodeInfo>;

impl DataCenter {
    /// The members in order, with their racks; nobody owns anything yet.
    pub(crate) fn of<'a>(nodes: impl Iterator<Item = (NodeId, &'a NodeInfo)> + Clone) -> DataCenter {
        let places = rack_places(nodes.clone());
        let (members, racks) = nodes.map(|(node, info)| (node, places[info.rack.as_str()])).unzip();
        DataCenter { members, racks, rack_count: places.len() as u16, owners: Vec::new() }
    }

    /// The owners of `old` as members of this one; [`balance::NOBODY`] for those that are gone, or stand in another
    /// rack.
    fn owners_of(&self, old: &DataCenter, before: &Nodes, after: &Nodes) -> Vec<u32> {
        let place = |node: &NodeId| match self.members.binary_search(node) {
            Ok(place) if before.get(node).map(|info| &info.rack) == after.get(node).map(|info| &info.rack) => {
                place as u32
            }
            _ => balance::NOBODY,
        };
        let places: Vec<u32> = old.members.iter().map(place).collect();
        old.owners.iter().map(|owner| places[*owner as usize]).collect()
    }

    fn rack_names<'a>(&self, nodes: &'a Nodes) -> BTreeSet<&'a str> {
        self.members.iter().filter_map(|node| nodes.get(node)).map(|info| info.rack.as_str()).collect()
    }

    fn stands_as(&self, other: &DataCenter, before: &Nodes, after: &Nodes) -> bool {
        let rack = |nodes: &'_ Nodes, node: &NodeId| nodes.get(node).map(|info| info.rack.clone());
        self.members == other.members && self.members.iter().all(|node| rack(before, node) == rack(after, node))
    }

    fn split(&self) -> DataCenter {
        DataCenter { owners: balance::split(self), ..self.clone() }
    }
}

impl Ring {
    /// A ring made at once, as for a cluster that is restored or simulated. [`Ring::with_node`] moves less.
    pub fn from_nodes(nodes: impl IntoIterator<Item = (NodeId, NodeInfo)>) -> Result<Ring, RingError> {
        let nodes: BTreeMap<NodeId, NodeInfo> = nodes.into_iter().collect();
        let names = check(&nodes)?;
        let largest = names.values().copied().max().unwrap_or(0);
        let slots = slots_for(largest);
        let mut data_centers = BTreeMap::new();
        for name in names.keys() {
            let mut center = DataCenter::of(within(&nodes, name));
            center.owners = balance::fresh(&center, slots);
            data_centers.insert(name.clone(), Rc::new(center));
        }
        Ok(Ring { slots, nodes: Rc::new(nodes), data_centers })
    }

    /// With one node more. The other nodes give it its share; nothing else moves.
    pub fn with_node(&self, node: NodeId, info: NodeInfo) -> Result<Ring, RingError> {
        if self.contains(node) {
            return Err(RingError::Exists(node));
        }
        let mut nodes = (*self.nodes).clone();
        nodes.insert(node, info);
        self.changed(nodes)
    }

    /// With one node fewer. Its slots go to the others; nothing else moves.
    pub fn without(&self, node: NodeId) -> Result<Ring, RingError> {
        let mut nodes = (*self.nodes).clone();
        nodes.remove(&node).ok_or(RingError::Unknown(node))?;
        if nodes.is_empty() {
            return Err(RingError::LastNode(node));
        }
        self.changed(nodes)
    }

    /// With `new` in the place of `old`: slot for slot, if it stands in the same rack.
    pub fn replaced(&self, old: NodeId, new: NodeId, info: NodeInfo) -> Result<Ring, RingError> {
        let gone = self.info(old).ok_or(RingError::Unknown(old))?;
        if self.contains(new) {
            return Err(RingError::Exists(new));
        }
        if gone.data_center != info.data_center {
            return Err(RingError::OtherDataCenter(new));
        }
        let mut nodes = (*self.nodes).clone();
        nodes.remove(&old);
        nodes.insert(new, info.clone());
        check(&nodes)?;
        if gone.rack != info.rack {
            return self.changed(nodes); // the turns of the racks are kept, so more moves
        }
        let before = &self.data_centers[&info.data_center];
        let mut center = DataCenter::of(within(&nodes, &info.data_center));
        let stand_in = |node: &NodeId| if *node == old { new } else { *node };
        let places: Vec<u32> = before
            .members
            .iter()
            .map(|node| center.members.binary_search(&stand_in(node)).unwrap_or_default() as u32)
            .collect();
        center.owners = before.owners.iter().map(|owner| places[*owner as usize]).collect();
        let mut data_centers = self.data_centers.clone();
        data_centers.insert(info.data_center, Rc::new(center));
        Ok(Ring { slots: self.slots, nodes: Rc::new(nodes), data_centers })
    }

    /// With a node that stands elsewhere than it was said to. In the same data centre the slots stay.
    pub fn with_info(&self, node: NodeId, info: NodeInfo) -> Result<Ring, RingError> {
        if !self.contains(node) {
            return Err(RingError::Unknown(node));
        }
        let mut nodes = (*self.nodes).clone();
        nodes.insert(node, info);
        self.changed(nodes)
    }

    /// With more slots: each is split, and of its parts one gets another owner (see [`crate::balance`] for what
    /// moves). To be done when [`slots_for`] the largest data centre says so; until then the balance is coarser.
    pub fn with_slots(&self, slots: u32) -> Result<Ring, RingError> {
        if !slots.is_power_of_two() || slots < self.slots || slots > SLOTS_MAX {
            return Err(RingError::Slots(slots));
        }
        let mut ring = self.clone();
        while ring.slots < slots {
            ring.slots *= 2;
            ring.data_centers.values_mut().for_each(|center| *center = Rc::new(center.split()));
        }
        Ok(ring)
    }

    /// How many slots the ring should have: never fewer than it has.
    pub fn slots_wanted(&self) -> u32 {
        let largest = self.data_centers.values().map(|center| center.members.len()).max().unwrap_or(0);
        slots_for(largest).max(self.slots)
    }

    fn changed(&self, nodes: BTreeMap<NodeId, NodeInfo>) -> Result<Ring, RingError> {
        let names = check(&nodes)?;
        let mut data_centers = BTreeMap::new();
        for name in names.keys() {
            let mut center = DataCenter::of(within(&nodes, name));
            match self.data_centers.get(name) {
                Some(old) if old.stands_as(&center, &self.nodes, &nodes) => {
                    data_centers.insert(name.clone(), old.clone());
                    continue;
                }
                // With so few racks a rack more or less changes whose turn each slot is.
                Some(old) if old.rack_names(&self.nodes) == center.rack_names(&nodes) || center.rack_count > 3 => {
                    center.owners = center.owners_of(old, &self.nodes, &nodes);
                    center.owners = balance::adjusted(&center);
                }
                Some(_) => center.owners = balance::fresh(&center, self.slots),
                None => center.owners = balance::fresh(&center, self.slots),
            }
            data_centers.insert(name.clone(), Rc::new(center));
        }
        Ok(Ring { slots: self.slots, nodes: Rc::new(nodes), data_centers })
    }
}

/// The racks by name.
fn rack_places<'a>(nodes: impl Iterator<Item = (NodeId, &'a NodeInfo)>) -> BTreeMap<&'a str, u16> {
    let names: BTreeSet<&str> = nodes.map(|(_, info)| info.rack.as_str()).collect();
    names.into_iter().zip(0..).collect()
}

pub(crate) fn within<'a>(
    nodes: &'a BTreeMap<NodeId, NodeInfo>,
    data_center: &'a str,
) -> impl Iterator<Item = (NodeId, &'a NodeInfo)> + Clone {
    nodes.iter().filter(move |(_, info)| info.data_center == data_center).map(|(node, info)| (*node, info))
}

/// The data centres and their sizes, if a ring may have these nodes.
fn check(nodes: &BTreeMap<NodeId, NodeInfo>) -> Result<BTreeMap<String, usize>, RingError> {
    if nodes.len() > NODES_MAX {
        return Err(RingError::Full);
    }
    let mut sizes = BTreeMap::new();
    for info in nodes.values() {
        if !info.is_valid() {
            return Err(RingError::InvalidInfo);
        }
        *sizes.entry(info.data_center.clone()).or_insert(0) += 1;
    }
    if sizes.len() > DATA_CENTERS_MAX { Err(RingError::Full) } else { Ok(sizes) }
}
