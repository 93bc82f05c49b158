//! A node is forgotten to which alone a change of topology would bring what others have: nothing of it is lost, nothing waits.

use holon_base::{GroupId, NodeId, TabletId};
use holon_placement::{
    ChangeKind, Effects, Entry, GroupPlacement, NodeInfo, NodeState, Phase, Refused, Replication, Ring, Topology,
};
use std::collections::BTreeMap;

const GROUP: GroupId = GroupId(1);
const TABLETS: u32 = 8;

fn node(number: u64) -> NodeId {
    NodeId(u128::from(number + 1) * 0x9E37_79B9_7F4A_7C15)
}

fn info(number: u64) -> NodeInfo {
    NodeInfo::new("dc1", "r", number as u16 + 1)
}

/// Tablets of one replica each on so many nodes.
fn of_nodes(nodes: u64) -> Topology {
    let mut topology =
        Topology::of_ring(Ring::from_nodes((0..nodes).map(|number| (node(number), info(number)))).unwrap());
    let placement = GroupPlacement { replication: Replication::Simple { factor: 1 }, tablets: TABLETS };
    apply(&mut topology, &Entry::CreateGroup { group: GROUP, placement });
    topology
}

fn apply(topology: &mut Topology, entry: &Entry) -> Effects {
    let index = topology.epoch() + 1;
    let effects = match entry {
        Entry::Forget { node } => topology.forget(index, *node),
        entry => topology.apply(index, entry),
    }
    .unwrap();
    assert_eq!(Topology::decode(topology.encode()).as_ref(), Ok(&*topology));
    effects
}

fn tablets() -> impl Iterator<Item = TabletId> {
    (0..TABLETS).map(|ordinal| TabletId::new(GROUP, ordinal))
}

fn reader(topology: &Topology, tablet: TabletId) -> NodeId {
    topology.replicas(tablet).unwrap().readers[0]
}

/// All but the dead do what there is to do, until it ends or nobody has anything to do.
fn work(topology: &mut Topology, nodes: u64) {
    while let Some((node, work)) = (0..nodes).map(node).find_map(|node| {
        let is_dead = topology.state(node).is_none_or(|state| state == NodeState::Dead);
        Some((node, topology.next_work(node).into_iter().next().filter(|_| !is_dead)?))
    }) {
        apply(topology, &work.report(node));
    }
}

fn start(topology: &mut Topology, kind: ChangeKind) -> u64 {
    apply(topology, &Entry::Start(kind));
    topology.change().expect("there are tablets to move").started
}

/// The first tablet that moves from one node to another is read there, and the change then cancelled.
fn cancel_after_one(topology: &mut Topology, started: u64, from: NodeId, to: NodeId) -> TabletId {
    loop {
        if let Some(tablet) = tablets().find(|tablet| {
            topology.moves().1.get(tablet).is_some_and(|moving| moving.from == [from])
                && reader(topology, *tablet) == to
        }) {
            apply(topology, &Entry::Cancel { started });
            return tablet;
        }
        let work = [to, from].into_iter().find_map(|node| Some((node, topology.next_work(node).into_iter().next()?)));
        let (node, work) = work.expect("a tablet moves");
        apply(topology, &work.report(node));
    }
}

#[test]
fn the_cancelling_of_a_join_is_taken_back_when_the_only_copy_would_go_to_a_forgotten_node() {
    let mut topology = of_nodes(1);
    let started = start(&mut topology, ChangeKind::Join { node: node(1), info: info(1) });
    let moved = cancel_after_one(&mut topology, started, node(0), node(1));
    assert!(topology.change().is_some_and(|change| change.cancelled));

    let effects = apply(&mut topology, &Entry::Forget { node: node(0) });
    assert!(effects.turned && !effects.stuck);
    work(&mut topology, 2);
    assert_eq!(topology.change(), None, "it waits for ever");
    assert_eq!(reader(&topology, moved), node(1));
    assert_eq!(topology.state(node(1)), Some(NodeState::Normal));
    // What the forgotten node alone had is lost, and that is said: at once of what moves now, else when the node is taken out.
    assert!(!effects.lost.contains(&moved));
    let kept: Vec<TabletId> = tablets().filter(|tablet| reader(&topology, *tablet) == node(0)).collect();
    let drained = apply(&mut topology, &Entry::Start(ChangeKind::Drain { node: node(0) }));
    assert_eq!(drained.lost, kept);
    assert!(tablets().all(|tablet| tablet == moved || kept.contains(&tablet) || effects.lost.contains(&tablet)));
    work(&mut topology, 2);
    assert_eq!(topology.members().collect::<Vec<_>>(), [(node(1), NodeState::Normal)]);
}

#[test]
fn a_change_goes_back_when_the_only_copy_would_go_to_a_forgotten_node() {
    let mut topology = of_nodes(3);
    start(&mut topology, ChangeKind::Drain { node: node(0) });
    let (planned, active) = topology.moves();
    let moves: Vec<(TabletId, NodeId)> =
        planned.iter().chain(active).map(|(tablet, moving)| (*tablet, moving.to[0])).collect();
    let other = moves[0].1;
    let effects = apply(&mut topology, &Entry::Forget { node: other });
    assert!(effects.turned);
    work(&mut topology, 3);
    assert_eq!(topology.change(), None);
    assert!(moves.iter().all(|(tablet, to)| *to != other || reader(&topology, *tablet) == node(0)));
    assert_eq!(topology.state(node(0)), Some(NodeState::Normal), "it can be drained again when the other is out");
}

/// As long as that one takes all writes.
#[test]
fn the_old_copy_is_read_again_when_the_new_one_is_forgotten() {
    let mut topology = of_nodes(2);
    start(&mut topology, ChangeKind::Join { node: node(2), info: info(2) });
    let (tablet, old) = loop {
        let read_new = topology.moves().1.iter().find(|(_, moving)| moving.phase == Phase::ReadNew);
        if let Some((tablet, moving)) = read_new {
            break (*tablet, moving.from[0]);
        }
        let work = topology.next_work(node(2)).into_iter().next().expect("a tablet to copy");
        apply(&mut topology, &work.report(node(2)));
    };
    assert_eq!(reader(&topology, tablet), node(2));
    let effects = apply(&mut topology, &Entry::Forget { node: node(2) });
    assert!(effects.changed.contains(&tablet) && effects.turned && effects.lost.is_empty(), "{effects:?}");
    assert_eq!(reader(&topology, tablet), old);
    work(&mut topology, 3);
    assert_eq!(topology.change(), None, "it waits for ever");
    assert_eq!(reader(&topology, tablet), old);
}

#[test]
fn a_tablet_of_which_both_nodes_are_forgotten_waits_for_neither() {
    let mut topology = of_nodes(3);
    let started = start(&mut topology, ChangeKind::Drain { node: node(0) });
    work(&mut topology, 3);
    assert_eq!((started, topology.change()), (2, None));
    let started = start(&mut topology, ChangeKind::Join { node: node(0), info: info(0) });
    let from = tablets()
        .find_map(|tablet| topology.moves().1.get(&tablet).map(|moving| moving.from[0]))
        .expect("something moves");
    let moved = cancel_after_one(&mut topology, started, from, node(0));
    apply(&mut topology, &Entry::Forget { node: node(0) });
    let effects = apply(&mut topology, &Entry::Forget { node: from });
    assert!(!effects.stuck);
    work(&mut topology, 3);
    assert_eq!(topology.change(), None);
    let left = node(if from == node(1) { 2 } else { 1 });
    assert_eq!(topology.members().find(|(_, state)| *state == NodeState::Normal), Some((left, NodeState::Normal)));
    // Whoever is dead and still in the ring is drained, and its tablets begin empty.
    let dead: Vec<NodeId> = topology.members().map(|(node, _)| node).filter(|node| *node != left).collect();
    for node in dead {
        assert!(apply(&mut topology, &Entry::Start(ChangeKind::Drain { node })).lost.contains(&moved));
        work(&mut topology, 3);
    }
    assert!(tablets().all(|tablet| reader(&topology, tablet) == left));
}

/// Without the turn, as in a cluster that not all nodes of are upgraded.
#[test]
fn a_cancel_says_what_is_lost() {
    let mut topology = of_nodes(2);
    let started = start(&mut topology, ChangeKind::Join { node: node(2), info: info(2) });
    let moved = loop {
        if let Some(moved) = tablets().find(|tablet| reader(&topology, *tablet) == node(2)) {
            break moved;
        }
        let (node, work) = (0..3).map(node).find_map(|node| Some((node, topology.next_work(node).pop()?))).unwrap();
        apply(&mut topology, &work.report(node));
    };
    topology.apply(topology.epoch() + 1, &Entry::Forget { node: node(2) }).unwrap();
    assert!(topology.change().is_some(), "it waits for the dead");
    assert_eq!(apply(&mut topology, &Entry::Cancel { started }).lost, [moved]);
    work(&mut topology, 3);
    assert_eq!(topology.change(), None);
}

fn far() -> NodeInfo {
    NodeInfo::new("far", "r", 1)
}

fn kept_far(factor: u32) -> Replication {
    Replication::NetworkTopology { factors: BTreeMap::from([("far".to_string(), factor)]) }
}

/// Tablets of one replica in a data centre, and nodes in this one and that.
fn with_far(near: u64, nodes: u64) -> Topology {
    let place = |number: u64| if number < near { info(number) } else { far() };
    let mut topology =
        Topology::of_ring(Ring::from_nodes((0..nodes).map(|number| (node(number), place(number)))).unwrap());
    let placement = GroupPlacement { replication: kept_far(1), tablets: TABLETS };
    apply(&mut topology, &Entry::CreateGroup { group: GROUP, placement });
    topology
}

fn refusal(topology: &Topology, entry: &Entry) -> Refused {
    let mut refused = topology.clone();
    let why = refused.apply(topology.epoch() + 1, entry).expect_err("no node would have the tablets");
    let mut as_before = topology.clone();
    let _ = as_before.apply(topology.epoch() + 1, &Entry::Cancel { started: u64::MAX });
    assert_eq!(refused, as_before, "a refused entry changes nothing but the epoch");
    why
}

/// Nobody would have what they hold, and nobody say that it has come: such a change would wait for ever.
#[test]
fn no_change_takes_tablets_from_the_last_node_that_may_have_them() {
    let mut topology = with_far(1, 2);
    let (last, groups) = (node(1), BTreeMap::from([(GROUP, kept_far(0))]));
    for kind in [
        ChangeKind::Drain { node: last },
        ChangeKind::Relocate { node: last, info: info(1) },
        ChangeKind::SetReplication { groups },
    ] {
        assert_eq!(refusal(&topology, &Entry::Start(kind)), Refused::Nowhere);
    }
    // Where they may be kept is said first.
    start(
        &mut topology,
        ChangeKind::SetReplication {
            groups: BTreeMap::from([(
                GROUP,
                Replication::NetworkTopology { factors: BTreeMap::from([("dc1".to_string(), 1)]) },
            )]),
        },
    );
    work(&mut topology, 2);
    apply(&mut topology, &Entry::Start(ChangeKind::Drain { node: last }));
    work(&mut topology, 2);
    assert_eq!(topology.members().collect::<Vec<_>>(), [(node(0), NodeState::Normal)]);
}

#[test]
fn the_last_node_that_may_have_tablets_is_taken_out_when_it_is_dead() {
    let mut topology = with_far(1, 2);
    apply(&mut topology, &Entry::Forget { node: node(1) });
    apply(&mut topology, &Entry::Start(ChangeKind::Drain { node: node(1) }));
    work(&mut topology, 2);
    assert_eq!(topology.change(), None, "it waits for ever");
    assert_eq!(topology.members().collect::<Vec<_>>(), [(node(0), NodeState::Normal)]);
    assert!(tablets().all(|tablet| topology.replicas(tablet).unwrap().readers.is_empty()));
}

/// What clients have written since has no other place.
#[test]
fn the_join_of_the_first_node_of_a_data_center_goes_back_only_while_no_tablet_is_read_there() {
    let join = ChangeKind::Join { node: node(1), info: far() };
    let mut topology = with_far(1, 1);
    let started = start(&mut topology, join.clone());
    apply(&mut topology, &Entry::Cancel { started });
    work(&mut topology, 2);
    assert_eq!((topology.change(), topology.state(node(1))), (None, None));

    let started = start(&mut topology, join);
    let streamed = topology.next_work(node(1)).into_iter().next().expect("to be filled");
    apply(&mut topology, &streamed.report(node(1)));
    assert_eq!(topology.replicas(streamed.tablet()).unwrap().readers, [node(1)]);
    assert_eq!(refusal(&topology, &Entry::Cancel { started }), Refused::TooLate);
    work(&mut topology, 2);
    assert_eq!((topology.change(), topology.state(node(1))), (None, Some(NodeState::Normal)));
}
