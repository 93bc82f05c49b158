//! The cluster as plain values for people: nodes, the ring, tablets, the change on its way. Made on shard 0 when somebody looks.
//!
//! Everything is bounded, whatever the size of the cluster (see `limits`): what is beyond is counted. Whether a node is
//! up is this node's opinion; figures are what the nodes said within a moment, and are missing of those that did not.

use crate::figures::{Figures, TabletFigures};
use crate::gate::LEVEL_FACT;
use crate::leave::WaitView;
use crate::limits::{FIGURES_TABLETS_MAX, VIEW_NODES_MAX, VIEW_SLOTS_MAX, VIEW_TABLETS_MAX};
use crate::service::Metadata;
use holon_base::{GroupId, Instant, NodeId, TabletId};
use holon_kernel::NodeRecord;
use holon_kernel::holding::{Amount, Load};
use holon_member::State;
use holon_placement::{ChangeKind, Move, NodeState, Phase, Ring, Topology};
use std::collections::BTreeMap;

/// In this module nodes are named by their place in `nodes`.
#[derive(Clone, Debug, Default)]
pub struct ClusterView {
    /// The last entry of the metadata log that this is made of.
    pub index: u64,
    /// This node.
    pub me: Option<usize>,
    /// By id.
    pub nodes: Vec<NodeView>,
    /// Those that are not told of included.
    pub nodes_in_all: usize,
    /// When the nodes were asked for their figures: rates are taken over the time between two.
    pub figures_at: Instant,
    pub leader: Option<NodeId>,
    pub voters: usize,
    pub ring: Option<RingView>,
    pub groups: Vec<GroupView>,
    pub change: Option<ChangeView>,
    /// Of the change, those on their way.
    pub moves: Vec<MoveView>,
}

#[derive(Clone, Debug)]
pub struct NodeView {
    pub id: NodeId,
    /// Of its door for peers; empty: the log does not know it any more.
    pub address: String,
    /// Its other doors, by name.
    pub doors: Vec<(String, String)>,
    pub data_center: String,
    pub rack: String,
    pub shards: u16,
    /// `up`, `suspect`, `down`, `stopped`.
    pub state: &'static str,
    /// `coming`, `joining`, `normal`, `draining`, `dead`.
    pub member: &'static str,
    pub voter: bool,
    pub leader: bool,
    /// Slots of the ring it owns.
    pub slots: usize,
    /// Of the slots of its data centre.
    pub share: f64,
    /// Replicas it has or is getting.
    pub tablets: u64,
    pub load: Option<Load>,
    /// Copied to it for the change on its way.
    pub copied: Option<Amount>,
}

#[derive(Clone, Debug)]
pub struct RingView {
    pub slots: u32,
    /// Of each data centre, by name, of each slot: who owns it. Empty: the ring is cut too fine to be told.
    pub owners: Vec<(String, Vec<Option<usize>>)>,
    /// Likewise, at the end of the change on its way, where that differs.
    pub target: Vec<(String, Vec<Option<usize>>)>,
}

/// The tablets of a table, a topic, …
#[derive(Clone, Debug)]
pub struct GroupView {
    pub id: GroupId,
    pub tablets: usize,
    pub moving: usize,
}

#[derive(Clone, Debug)]
pub struct ChangeView {
    /// `join`, `drain`, `replace`, `relocate`, `replication`, `split`.
    pub kind: &'static str,
    /// Whom it is about; of a replacement first who comes.
    pub nodes: Vec<NodeId>,
    /// The entry that started it.
    pub started: u64,
    pub going_back: bool,
    pub tablets: usize,
    pub done: usize,
    pub moving: usize,
    pub waiting: usize,
    /// Nodes that are not there, and without which it does not go on.
    pub waits: Vec<WaitView>,
    /// By all nodes that told. A node that started anew has forgotten what it copied before.
    pub copied: Amount,
}

#[derive(Clone, Debug)]
pub struct MoveView {
    pub group: GroupId,
    pub ordinal: u32,
    pub slot: u32,
    pub phase: &'static str,
    pub from: Vec<usize>,
    pub to: Vec<usize>,
    /// Copied so far, to all that are filled.
    pub copied: Amount,
    /// About so much is to be copied, to all that are filled; `None`: nobody told.
    pub whole: Option<Amount>,
}

/// One tablet, for whoever asks about its group.
#[derive(Clone, Debug)]
pub struct TabletView {
    pub ordinal: u32,
    pub slot: u32,
    /// The last token of its range.
    pub end_token: i64,
    pub readers: Vec<NodeId>,
    /// While it moves: the other set of replicas.
    pub joint: Vec<NodeId>,
    /// `settled` or that of its move.
    pub phase: &'static str,
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Planned => "planned",
        Phase::Streaming => "streaming",
        Phase::ReadNew => "read new",
        Phase::Clean => "clean",
        Phase::Undo => "undo",
    }
}

fn member_name(state: Option<NodeState>) -> &'static str {
    match state {
        None => "coming",
        Some(NodeState::Joining) => "joining",
        Some(NodeState::Normal) => "normal",
        Some(NodeState::Draining) => "draining",
        Some(NodeState::Dead) => "dead",
    }
}

fn change_name(kind: &ChangeKind) -> (&'static str, Vec<NodeId>) {
    match kind {
        ChangeKind::Join { node, .. } => ("join", vec![*node]),
        ChangeKind::Drain { node } => ("drain", vec![*node]),
        ChangeKind::Replace { dead, new, .. } => ("replace", vec![*new, *dead]),
        ChangeKind::Relocate { node, .. } => ("relocate", vec![*node]),
        ChangeKind::SetReplication { .. } => ("replication", Vec::new()),
        ChangeKind::Split { .. } => ("split", Vec::new()),
    }
}

type Places = BTreeMap<NodeId, usize>;

fn owners(ring: &Ring, places: &Places) -> Vec<(String, Vec<Option<usize>>)> {
    let centers: Vec<&str> = ring.data_centers().collect();
    if centers.len().saturating_mul(ring.slots() as usize) > VIEW_SLOTS_MAX {
        return Vec::new();
    }
    let of_center = |name: &&str| {
        let owner = |slot| ring.owner(name, slot).and_then(|node| places.get(&node).copied());
        ((*name).to_string(), (0..ring.slots()).map(owner).collect())
    };
    centers.iter().map(of_center).collect()
}

/// Of a move: what was copied, and about how much it is in all, for each that is filled.
fn amounts(
    topology: &Topology,
    tablet: TabletId,
    moving: &Move,
    figures: &BTreeMap<NodeId, Figures>,
) -> (Amount, Option<Amount>) {
    let of = |node: NodeId| figures.get(&node).and_then(|figures| figures.tablets.get(&tablet));
    let whole =
        moving.from.iter().filter_map(|node| of(*node)).map(|figures| figures.held).max_by_key(|held| held.rows);
    let filled = topology.filled(moving).count() as u64;
    let whole = whole.map(|one| Amount { rows: one.rows * filled, bytes: one.bytes * filled });
    let mut copied = Amount::default();
    if moving.phase == Phase::Streaming {
        for node in topology.filled(moving) {
            let one = match of(node) {
                Some(TabletFigures { held, .. }) if moving.reported.contains(&node) => *held,
                Some(TabletFigures { copied, .. }) => copied.unwrap_or_default(),
                None => Amount::default(),
            };
            copied += one;
        }
    } else if !matches!(moving.phase, Phase::Planned | Phase::Undo) {
        copied = whole.unwrap_or_default();
    }
    (copied, whole)
}

fn moves(topology: &Topology, places: &Places, figures: &BTreeMap<NodeId, Figures>) -> Vec<MoveView> {
    let counts: BTreeMap<GroupId, u32> = topology.groups().map(|(id, group)| (id, group.tablets)).collect();
    let active = topology.moves().1;
    let place = |node: NodeId| places.get(&node).copied();
    let view = |(tablet, moving): (&TabletId, &Move)| {
        let (group, ordinal) = (tablet.group(), tablet.ordinal());
        let slot = topology.ring().slot_of_tablet(ordinal, *counts.get(&group)?);
        // Where replicas are only added, or only taken away, the others are where the data comes from, or stays.
        let mut from: Vec<usize> = moving.leaving().filter_map(place).collect();
        let mut to: Vec<usize> = moving.coming().filter_map(place).collect();
        if from.is_empty() {
            from = moving.from.iter().copied().find_map(place).into_iter().collect();
        }
        if to.is_empty() {
            to = moving.to.iter().copied().find_map(place).into_iter().collect();
        }
        let (copied, whole) = amounts(topology, *tablet, moving, figures);
        Some(MoveView { group, ordinal, slot, phase: phase_name(moving.phase), from, to, copied, whole })
    };
    active.iter().take(FIGURES_TABLETS_MAX).filter_map(view).collect()
}

impl Metadata {
    /// Shard 0: the cluster at this moment. Takes as long as the slowest of the nodes that are asked for their figures,
    /// within bounds.
    pub async fn view(&self) -> ClusterView {
        let (tablets, first) = {
            let cluster = self.cluster.borrow();
            let active = cluster.topology().map(|topology| topology.moves().1);
            let shown: Vec<(&TabletId, &Move)> = active.into_iter().flatten().take(FIGURES_TABLETS_MAX).collect();
            let first: Vec<NodeId> =
                shown.iter().flat_map(|(_, moving)| moving.from.iter().chain(&moving.to)).copied().collect();
            (shown.into_iter().map(|(tablet, _)| *tablet).collect::<Vec<_>>(), first)
        };
        let told = self.all_figures(&first, &tablets).await;
        // Other tablets may move by now: those have no figures, but they are told of.
        ClusterView { figures_at: told.at, ..self.view_with(&told.figures) }
    }

    fn view_with(&self, figures: &BTreeMap<NodeId, Figures>) -> ClusterView {
        let cluster = self.cluster.borrow();
        let (nodes, nodes_in_all) = self.nodes_in_view(figures);
        let places: Places = nodes.iter().enumerate().map(|(place, node)| (node.id, place)).collect();
        let mut view = ClusterView {
            index: self.applied(),
            me: places.get(&self.shard.node()).copied(),
            nodes,
            nodes_in_all,
            leader: self.leader(),
            voters: self.voters().len(),
            ..ClusterView::default()
        };
        let Some(topology) = cluster.topology() else { return view };
        let mut moving: BTreeMap<GroupId, usize> = BTreeMap::new();
        let (planned, active) = topology.moves();
        let under_way = planned.keys().chain(active.keys().filter(|tablet| !planned.contains_key(tablet)));
        under_way.for_each(|tablet| *moving.entry(tablet.group()).or_default() += 1);
        view.groups = cluster
            .groups()
            .map(|group| GroupView {
                id: group.id,
                tablets: group.tablets.len(),
                moving: moving.get(&group.id).copied().unwrap_or(0),
            })
            .collect();
        let ring = topology.ring();
        let now = owners(ring, &places);
        let target = topology.change().map(|change| owners(&change.target, &places)).unwrap_or_default();
        let target = if target == now { Vec::new() } else { target };
        view.ring = Some(RingView { slots: ring.slots(), owners: now, target });
        view.moves = moves(topology, &places, figures);
        view.change = topology.change().map(|change| {
            let (kind, nodes) = change_name(&change.kind);
            let mut copied = Amount::default();
            for one in figures.values().filter(|figures| figures.change == change.started) {
                copied += one.copied;
            }
            let left = planned.len() + active.len();
            let all = cluster.moves_in_all().max(left);
            ChangeView {
                kind,
                nodes,
                started: change.started,
                going_back: change.cancelled,
                tablets: all,
                done: all - left,
                moving: active.len(),
                waiting: planned.len(),
                waits: self.waits(),
                copied,
            }
        });
        view
    }

    /// By id, and how many there are in all.
    fn nodes_in_view(&self, figures: &BTreeMap<NodeId, Figures>) -> (Vec<NodeView>, usize) {
        let cluster = self.cluster.borrow();
        let (records, topology) = (cluster.records(), cluster.topology());
        let voters = self.voters();
        let leader = self.leader();
        let mut held: BTreeMap<NodeId, u64> = BTreeMap::new();
        for replicas in cluster.groups().flat_map(|group| &group.tablets) {
            replicas.writers().for_each(|node| *held.entry(node).or_default() += 1);
        }
        let started = topology.and_then(|topology| topology.change()).map(|change| change.started);
        let slots = topology.map_or(0, |topology| topology.ring().slots());
        let view = |record: &NodeRecord| {
            let node = record.node;
            let figures = figures.get(&node);
            NodeView {
                id: node,
                address: record.address.to_string(),
                doors: record.facts.iter().filter(|(name, _)| name != LEVEL_FACT).cloned().collect(),
                data_center: record.data_center.to_string(),
                rack: record.rack.to_string(),
                shards: record.shards,
                state: self.state_name(node),
                member: member_name(cluster.state(node)),
                voter: voters.contains(&node),
                leader: leader == Some(node),
                slots: record.tokens.len(),
                share: if slots == 0 { 0.0 } else { record.tokens.len() as f64 / f64::from(slots) },
                tablets: held.get(&node).copied().unwrap_or(0),
                load: figures.map(|figures| figures.load),
                copied: figures.filter(|figures| Some(figures.change) == started).map(|figures| figures.copied),
            }
        };
        let mut nodes: Vec<NodeView> = records.iter().map(view).collect();
        let in_all = nodes.len();
        if in_all > VIEW_NODES_MAX {
            let plain = |node: &NodeView| node.state == "up" && node.member == "normal" && node.id != self.shard.node();
            nodes.sort_by_key(|node| (plain(node), node.id));
            nodes.truncate(VIEW_NODES_MAX);
            nodes.sort_by_key(|node| node.id);
        }
        (nodes, in_all)
    }

    fn state_name(&self, node: NodeId) -> &'static str {
        if node == self.shard.node() {
            return "up";
        }
        match self.gossip.borrow().as_ref().and_then(|gossip| gossip.state(node)) {
            Some(State::Alive) => "up",
            Some(State::Suspect) => "suspect",
            Some(State::Dead) => "down",
            Some(State::Left) => "stopped",
            None if self.shard.is_alive(node) => "up",
            None => "down",
        }
    }

    /// The tablets of a group from an ordinal on, [`VIEW_TABLETS_MAX`] at most. Empty: there are none.
    pub fn view_tablets(&self, group: GroupId, from: u32) -> Vec<TabletView> {
        let cluster = self.cluster.borrow();
        let Some(topology) = cluster.topology() else { return Vec::new() };
        let Some((_, placement)) = topology.groups().find(|(id, _)| *id == group) else { return Vec::new() };
        let (planned, active) = topology.moves();
        let view = |ordinal: u32| {
            let tablet = TabletId::new(group, ordinal);
            let replicas = topology.replicas(tablet)?;
            let moving = active.get(&tablet).or(planned.get(&tablet));
            Some(TabletView {
                ordinal,
                slot: topology.ring().slot_of_tablet(ordinal, placement.tablets),
                end_token: holon_placement::end_token(ordinal, placement.tablets),
                readers: replicas.readers,
                joint: replicas.joint,
                phase: moving.map_or("settled", |moving| phase_name(moving.phase)),
            })
        };
        (from..placement.tablets).take(VIEW_TABLETS_MAX).filter_map(view).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holon_placement::{NodeInfo, Ring, slots_for};
    use std::collections::BTreeSet;

    const TABLET: TabletId = TabletId(5);

    fn figures(held: u64, copied: Option<u64>) -> Figures {
        let amount = |rows| Amount { rows, bytes: rows * 10 };
        let tablet = TabletFigures { held: amount(held), copied: copied.map(amount) };
        Figures { tablets: BTreeMap::from([(TABLET, tablet)]), ..Figures::default() }
    }

    #[test]
    fn a_move_is_as_far_as_the_nodes_that_fetch_it_say() {
        let [one, two, three, four] = [1, 2, 3, 4].map(NodeId);
        let infos = [one, two, three, four].map(|node| (node, NodeInfo::new("dc", "rack", 1)));
        let topology = Topology::of_ring(Ring::from_nodes(infos).expect("four nodes"));
        let (from, to) = (vec![one, two], vec![three, four]);
        let mut moving = Move { from, to, phase: Phase::Streaming, reported: BTreeSet::new() };
        let mut told =
            BTreeMap::from([(one, figures(100, None)), (two, figures(90, None)), (three, figures(31, Some(30)))]);
        let rows = |moving: &Move, told: &BTreeMap<NodeId, Figures>| {
            let (copied, whole) = amounts(&topology, TABLET, moving, told);
            (copied.rows, whole.map(|whole| whole.rows))
        };
        assert_eq!(
            rows(&moving, &told),
            (30, Some(200)),
            "two fetch what the fullest source has; the fourth is silent"
        );
        moving.reported.insert(three);
        assert_eq!(rows(&moving, &told), (31, Some(200)), "who has reported has what it holds");
        moving.phase = Phase::ReadNew;
        assert_eq!(rows(&moving, &told), (200, Some(200)));
        moving.phase = Phase::Undo;
        assert_eq!(rows(&moving, &told), (0, Some(200)));
        told.clear();
        moving.phase = Phase::Streaming;
        assert_eq!(rows(&moving, &told), (0, None), "nobody told");
    }

    #[test]
    fn owners_are_told_of_a_ring_that_can_be_drawn_and_of_no_other() {
        let ring_of = |nodes: u128| {
            let infos = (1..=nodes).map(|node| (NodeId(node), NodeInfo::new("home", "a", 1)));
            Ring::from_nodes(infos).expect("a ring")
        };
        let (three, many) = (ring_of(3), ring_of(500));
        let places =
            |nodes: u128| (0..nodes as usize).map(|place| (NodeId(place as u128 + 1), place)).collect::<Places>();
        let told = owners(&three, &places(2));
        let slots = &told[0].1;
        assert_eq!((told.len(), slots.len()), (1, slots_for(3) as usize));
        let of = |owner: Option<usize>| slots.iter().filter(|slot| **slot == owner).count();
        assert_eq!(of(Some(0)) + of(Some(1)) + of(None), slots.len());
        assert!([Some(0), Some(1), None].into_iter().all(|owner| of(owner) >= slots.len() / 3), "{slots:?}");
        assert!(many.slots() as usize > VIEW_SLOTS_MAX && owners(&many, &places(500)).is_empty());
    }
}
