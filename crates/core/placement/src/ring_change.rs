//! The ring after a change: a node more, a node fewer, another node in its place, more slots. What moves is what must, and
//! at most a tenth more for the sake of balance ([`crate::balance`]).

use crate::balance::{self, Board};
use crate::limits::{DATA_CENTERS_MAX, NODES_MAX, SLOTS_MAX};
use crate::node::NodeInfo;
use crate::ring::{DataCenter, Ring, RingError, slots_for};
use holon_base::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

impl DataCenter {
    /// The members in order, with their racks; nobody owns anything yet.
    pub(crate) fn of<'a>(nodes: impl Iterator<Item = (NodeId, &'a NodeInfo)> + Clone) -> DataCenter {
        let names: BTreeSet<&str> = nodes.clone().map(|(_, info)| info.rack.as_str()).collect();
        let places: BTreeMap<&str, u16> = names.iter().copied().zip(0..).collect();
        let (members, racks) = nodes.map(|(node, info)| (node, places[info.rack.as_str()])).unzip();
        DataCenter { members, racks, rack_count: names.len() as u16, owners: Vec::new() }
    }

    /// The owners of `old` as members of this one; [`balance::NOBODY`] for those that are gone.
    fn owners_of(&self, old: &DataCenter) -> Vec<u32> {
        let places: Vec<u32> = old
            .members
            .iter()
            .map(|node| self.members.binary_search(node).map_or(balance::NOBODY, |place| place as u32))
            .collect();
        old.owners.iter().map(|owner| places[*owner as usize]).collect()
    }

    fn doubled(&self, times: u32) -> DataCenter {
        let owners = self.owners.iter().flat_map(|owner| std::iter::repeat_n(*owner, times as usize)).collect();
        DataCenter { owners, ..self.clone() }
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

    /// With `new` in the place of `old`, slot for slot.
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
        let before = &self.data_centers[&info.data_center];
        let mut center = DataCenter::of(within(&nodes, &info.data_center));
        center.owners = center.owners_of(before);
        let place = center.members.binary_search(&new).unwrap_or_default() as u32;
        center.owners.iter_mut().filter(|owner| **owner == balance::NOBODY).for_each(|owner| *owner = place);
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

    /// With more slots: each is split, its parts keep the owner, so that no replica moves.
    pub fn with_slots(&self, slots: u32) -> Result<Ring, RingError> {
        if !slots.is_power_of_two() || slots < self.slots || slots > SLOTS_MAX {
            return Err(RingError::Slots(slots));
        }
        let times = slots / self.slots;
        let split = |(name, center): (&String, &Rc<DataCenter>)| (name.clone(), Rc::new(center.doubled(times)));
        Ok(Ring { slots, nodes: self.nodes.clone(), data_centers: self.data_centers.iter().map(split).collect() })
    }

    fn changed(&self, nodes: BTreeMap<NodeId, NodeInfo>) -> Result<Ring, RingError> {
        let names = check(&nodes)?;
        let largest = names.values().copied().max().unwrap_or(0);
        let base = self.with_slots(slots_for(largest).max(self.slots))?;
        let mut data_centers = BTreeMap::new();
        for name in names.keys() {
            let mut center = DataCenter::of(within(&nodes, name));
            match base.data_centers.get(name) {
                Some(old) if old.members == center.members && old.racks == center.racks => {
                    data_centers.insert(name.clone(), old.clone());
                    continue;
                }
                Some(old) => {
                    center.owners = center.owners_of(old);
                    if center.owners.iter().all(|owner| *owner == balance::NOBODY) {
                        center.owners = balance::fresh(&center, base.slots);
                    } else if old.members != center.members {
                        center.owners = Board::adjusted(&center);
                    }
                }
                None => center.owners = balance::fresh(&center, base.slots),
            }
            data_centers.insert(name.clone(), Rc::new(center));
        }
        Ok(Ring { slots: base.slots, nodes: Rc::new(nodes), data_centers })
    }
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
