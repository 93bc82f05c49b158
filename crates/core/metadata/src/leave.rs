//! What an administrator is told of a node that is to leave, before it does, and of a change that waits, while it does. Advice of this
//! node at this moment: the machine that applies entries refuses none of it, and `--force` goes past it, unless no node at all would have a
//! tablet any more.

use crate::cluster::ClusterState;
use crate::direct::ChangeError;
use crate::service::Metadata;
use holon_base::{GroupId, NodeId};
use holon_kernel::Replication;
use holon_placement::{ChangeKind, Move, NodeState, Topology};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Keyspaces, and nodes, that one refusal names.
const NAMED_MAX: usize = 5;

/// A group of tablets that would have fewer replicas than it is to have.
#[derive(Debug, PartialEq, Eq)]
struct TooFew {
    group: GroupId,
    factor: u32,
    /// `None`: of all data centres together.
    data_center: Option<String>,
    /// There are so many now.
    nodes: usize,
}

/// A node that seems not to be there, and without which tablets of the change on its way do not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitView {
    pub node: NodeId,
    /// Of those that move at this moment.
    pub tablets: usize,
    /// Since this node found it dead or heard that it stopped; `None`: it did not hear of it since it started.
    pub down_for: Option<Duration>,
}

impl ClusterState {
    /// What would be below its replication factor without the node.
    fn too_few_without(&self, node: NodeId) -> Vec<TooFew> {
        let Some(topology) = self.topology() else { return Vec::new() };
        let Some(place) = topology.ring().info(node).map(|info| info.data_center.clone()) else { return Vec::new() };
        let living = || topology.ring().nodes().filter(|(node, _)| topology.state(*node) != Some(NodeState::Dead));
        let in_all = living().count();
        let there = living().filter(|(_, info)| info.data_center == place).count();
        let of_group = |group: &crate::cluster::Group| {
            let (factor, data_center, nodes) = match &group.replication {
                Replication::Simple { factor } => (*factor, None, in_all),
                Replication::PerDataCenter { factors } => {
                    (factors.get(&place).copied().unwrap_or(0), Some(place.clone()), there)
                }
            };
            let too_few = nodes.saturating_sub(1) < factor as usize;
            too_few.then_some(TooFew { group: group.id, factor, data_center, nodes })
        };
        self.groups().filter_map(of_group).collect()
    }

    /// How many tablets each node would be given if this one left.
    fn given_without(&self, node: NodeId) -> BTreeMap<NodeId, usize> {
        let mut given = BTreeMap::new();
        let Some(topology) = self.topology() else { return given };
        // Refused: whoever proposes it is told why.
        if let Ok(after) = topology.begun(ChangeKind::Drain { node }) {
            let (planned, active) = after.moves();
            for coming in planned.values().chain(active.values()).flat_map(Move::coming) {
                *given.entry(coming).or_default() += 1;
            }
        }
        given
    }
}

/// For how many of the tablets that move now each node is waited for.
fn waited_for(topology: &Topology, is_there: impl Fn(NodeId) -> bool) -> BTreeMap<NodeId, usize> {
    let mut waits = BTreeMap::new();
    for tablet in topology.moves().1.keys() {
        for node in topology.waits_for(*tablet, &is_there) {
            *waits.entry(node).or_default() += 1;
        }
    }
    waits
}

impl Metadata {
    /// As [`Metadata::drain`], unless data would be kept less often than was asked for, or would have to go to a node that is not there.
    ///
    /// # Errors
    /// Those, with what to do; and those of [`Metadata::drain`].
    pub async fn drain_unless_unwise(&self, node: NodeId) -> Result<(), ChangeError> {
        if self.cluster.borrow().state(node) == Some(NodeState::Normal) && self.shard.is_alive(node) {
            self.check_replicas(node)?;
            self.check_takers(node)?;
        }
        self.drain(node).await
    }

    fn check_replicas(&self, node: NodeId) -> Result<(), ChangeError> {
        let too_few = self.cluster.borrow().too_few_without(node);
        if too_few.is_empty() {
            return Ok(());
        }
        let holdings = self.shard.services().into_iter().flat_map(|service| service.holdings());
        let names: BTreeMap<u64, String> = holdings.map(|holding| (holding.group, holding.space)).collect();
        let named = |one: &TooFew| {
            let name = names.get(&one.group.0).cloned().unwrap_or_else(|| format!("of group {}", one.group.0));
            let place = one.data_center.as_ref().map(|place| format!(" in data centre {place}")).unwrap_or_default();
            format!("keyspace {name} (RF = {}, N = {}{place})", one.factor, one.nodes)
        };
        let named: BTreeSet<String> = too_few.iter().map(named).collect();
        let more = named.len().saturating_sub(NAMED_MAX);
        let mut list = named.into_iter().take(NAMED_MAX).collect::<Vec<_>>().join(", ");
        if more > 0 {
            list.push_str(&format!(" and {more} more"));
        }
        let ways = "add a node first, or lower the factor with ALTER KEYSPACE; --force keeps fewer replicas";
        Err(ChangeError::Refused(format!(
            "not enough nodes without {node} to keep the replication factor of {list}: {ways}"
        )))
    }

    fn check_takers(&self, node: NodeId) -> Result<(), ChangeError> {
        let given = self.cluster.borrow().given_without(node);
        let Some((taker, tablets)) = given.into_iter().find(|(taker, _)| !self.shard.is_alive(*taker)) else {
            return Ok(());
        };
        let since = self.down_for(taker).map(|down| format!(" for {} s", down.as_secs())).unwrap_or_default();
        let ways = format!(
            "start it, or take it out for good first with `holon cluster forget {taker}`; --force begins nevertheless, and waits for it"
        );
        Err(ChangeError::Refused(format!("node {taker} is down{since}, and {tablets} tablets would go there: {ways}")))
    }

    fn down_for(&self, node: NodeId) -> Option<Duration> {
        let since = self.gossip.borrow().as_ref().and_then(|gossip| gossip.dead_since(node))?;
        Some(self.shard.now().since(since))
    }

    /// Shard 0: for whom the change on its way waits.
    pub(crate) fn waits(&self) -> Vec<WaitView> {
        let cluster = self.cluster.borrow();
        let Some(topology) = cluster.topology() else { return Vec::new() };
        let waited_for = waited_for(topology, |node| self.shard.is_alive(node)).into_iter();
        waited_for.map(|(node, tablets)| WaitView { node, tablets, down_for: self.down_for(node) }).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cluster::info_of;
    use crate::cluster_command::ClusterCommand;
    use holon_base::ServiceId;
    use holon_kernel::{MetadataEffect, NewTablets, NodeRecord};
    use holon_placement::{Entry, Work};
    use std::rc::Rc;

    const ME: NodeId = NodeId(1);

    /// The cluster's state, and what is applied to it.
    pub(crate) struct World {
        pub(crate) state: ClusterState,
        index: u64,
    }

    /// Of a node in a rack of its own.
    pub(crate) fn record(number: u128, place: &str) -> NodeRecord {
        NodeRecord {
            node: NodeId(number),
            address: ([10, 0, 0, number as u8], 7000).into(),
            data_center: place.into(),
            rack: format!("rack{number}").into(),
            shards: 1,
            tokens: Rc::new([]),
            facts: Rc::new([]),
        }
    }

    impl World {
        /// Nodes 1, 2, … in these data centres, each in a rack of its own.
        pub(crate) fn new(places: &[&str]) -> World {
            let mut world = World { state: ClusterState::default(), index: 0 };
            for (number, place) in (1..).zip(places) {
                let record = record(number, place);
                world.apply(ClusterCommand::Node(record.clone()));
                if number > 1 {
                    world.start(ChangeKind::Join { node: NodeId(number), info: info_of(&record) });
                }
            }
            world
        }

        pub(crate) fn apply(&mut self, command: ClusterCommand) {
            self.index += 1;
            self.state.apply(self.index, command, ME).expect("fine");
        }

        pub(crate) fn start(&mut self, kind: ChangeKind) {
            self.apply(ClusterCommand::Placement(Entry::Start(kind)));
        }

        pub(crate) fn create(&mut self, replication: Replication) -> GroupId {
            self.index += 1;
            let create_tablets = Some(NewTablets { count: 16, replication });
            let effect = MetadataEffect { create_tablets, ..MetadataEffect::default() };
            self.state.apply_effect(self.index, ServiceId(9), &effect, ME);
            GroupId(self.index)
        }

        /// Those that are there do all they are asked to.
        pub(crate) fn work(&mut self, there: &[u128]) {
            loop {
                let topology = self.state.topology().expect("a ring");
                let work = there
                    .iter()
                    .flat_map(|node| topology.next_work(NodeId(*node)).into_iter().map(|work| (work, NodeId(*node))));
                // A copy needs those it is made from.
                let possible = |work: &Work| match work {
                    Work::Stream { instead_of: Some(only), .. } => there.contains(&only.0),
                    Work::Stream { sources, enough, .. } => {
                        sources.iter().filter(|node| there.contains(&node.0)).count() >= *enough
                    }
                    _ => true,
                };
                let Some((work, node)) = work.into_iter().find(|(work, _)| possible(work)) else { return };
                self.apply(ClusterCommand::Placement(work.report(node)));
            }
        }
    }

    fn per_center(factors: &[(&str, u32)]) -> Replication {
        Replication::PerDataCenter {
            factors: factors.iter().map(|(name, factor)| (name.to_string(), *factor)).collect(),
        }
    }

    #[test]
    fn who_leaves_must_leave_enough_nodes_for_every_group_of_its_data_center() {
        let mut world = World::new(&["a", "a", "a", "b", "b"]);
        assert_eq!(world.state.too_few_without(NodeId(1)), []);
        let group = world.create(per_center(&[("a", 3), ("b", 1)]));
        let too_few = TooFew { group, factor: 3, data_center: Some("a".to_string()), nodes: 3 };
        assert_eq!(world.state.too_few_without(NodeId(1)), [too_few]);
        assert_eq!(world.state.too_few_without(NodeId(5)), []);
        let simple = world.create(Replication::Simple { factor: 5 });
        assert_eq!(
            world.state.too_few_without(NodeId(5)),
            [TooFew { group: simple, factor: 5, data_center: None, nodes: 5 }]
        );
        world.create(Replication::Simple { factor: 4 });
        assert_eq!(world.state.too_few_without(NodeId(5)).len(), 1);
        // One that was given up keeps nothing.
        world.apply(ClusterCommand::Placement(Entry::Forget { node: NodeId(4) }));
        assert_eq!(world.state.too_few_without(NodeId(5)).len(), 3);
    }

    #[test]
    fn a_change_waits_for_those_who_are_not_there_and_says_so() {
        let mut world = World::new(&["a", "a", "a", "a"]);
        world.create(Replication::Simple { factor: 3 });
        // Each tablet of the one that leaves goes to the only one that does not have it.
        let given = world.state.given_without(NodeId(4));
        assert!(
            [1, 2, 3].iter().all(|node| given.get(&NodeId(*node)).is_some_and(|tablets| *tablets > 0)),
            "{given:?}"
        );
        assert_eq!(world.state.topology().and_then(Topology::change), None, "it was only tried");
        world.start(ChangeKind::Drain { node: NodeId(4) });
        world.work(&[1, 2, 4]);
        let topology = |world: &World| world.state.topology().expect("a ring").clone();
        let waits = waited_for(&topology(&world), |node| node != NodeId(3));
        assert_eq!(waits.keys().copied().collect::<Vec<_>>(), [NodeId(3)], "{waits:?}");
        assert_eq!(waited_for(&topology(&world), |_| true), BTreeMap::new());
        // The one that leaves has what those need that come.
        world.work(&[3]);
        let waits = waited_for(&topology(&world), |node| node != NodeId(4));
        assert_eq!(waits.keys().copied().collect::<Vec<_>>(), [NodeId(4)], "{waits:?}");
        world.work(&[1, 2, 3, 4]);
        assert_eq!(topology(&world).change(), None);
        assert_eq!(topology(&world).state(NodeId(4)), None);
    }
}
