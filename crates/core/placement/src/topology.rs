//! The machine that changes where tablets live: a pure fold over entries of the metadata log.
//!
//! ```text
//!   Entry ──apply──► Topology ──► Effects (which tablets changed, what ended)
//!                       │
//!        coordinators ──┤ replicas(tablet): who is read, who is written
//!        each node ─────┘ next_work(node): what it has to do now
//!
//!   a tablet:  Planned ─► Streaming ─► ReadNew ─► Clean ─► (done)
//!                  │          │all coming    │enough of old  │all leaving
//!            Cancel▼    Cancel▼streamed      │switched       │cleaned
//!               (gone)      Undo ─► (gone)   └─ Cancel: goes on, and is then moved back
//! ```
//!
//! What a cancel does, and what follows when a node is forgotten to which tablets were to go, is in `turn.rs`.
//!
//! Nodes report by proposing entries. Whoever is killed at any moment applies the log again and asks for its work
//! again; reports made twice, or for a phase that is over, change nothing. One change at a time; within it, few tablets at a time for each node.
//!
//! What it is not: it moves no bytes and knows no time. It does not decide that a node is dead; an operator does.
//!
//! Guaranteed: at every moment each tablet has readers that hold every write acknowledged at quorum (see
//! [`crate::quorum`]); a change ends, or goes back after a cancel, with each tablet on exactly its target replicas, if
//! every node that is not dead does its work at last.

use crate::change::{Change, ChangeKind, Effects, Entry, GroupPlacement, Move, NodeState, Phase, Refused, Work};
use crate::limits::TABLETS_MAX;
use crate::node::{NodeInfo, Replication};
use crate::quorum::{TabletReplicas, quorum, stayers_are_filled};
use crate::ring::{Ring, RingError};
use holon_base::{GroupId, NodeId, TabletId};
use std::collections::{BTreeMap, BTreeSet};

/// Where everything lives and what is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The entry applied last.
    pub(crate) epoch: u64,
    /// The ring the change on its way began with, or that of the last one.
    pub(crate) ring: Ring,
    pub(crate) members: BTreeMap<NodeId, NodeState>,
    pub(crate) groups: BTreeMap<GroupId, GroupPlacement>,
    pub(crate) change: Option<Change>,
    /// Moves that wait for their turn. A tablet may wait here while an earlier move of it is finishing.
    pub(crate) planned: BTreeMap<TabletId, Move>,
    pub(crate) active: BTreeMap<TabletId, Move>,
    /// Tablets whose replicas are not those they were made with: the entry that changed them last.
    pub(crate) since: BTreeMap<TabletId, u64>,
}

/// Ids of tablets are made of those of groups.
pub(crate) const GROUP_MAX: u64 = u64::MAX / TabletId::PER_ENTRY_MAX - 1;

pub(crate) fn group_of(tablet: TabletId) -> (GroupId, u32) {
    let per_group = TabletId::PER_ENTRY_MAX;
    (GroupId(tablet.0 / per_group), (tablet.0 % per_group) as u32)
}

fn same_nodes(one: &[NodeId], two: &[NodeId]) -> bool {
    one.len() == two.len() && one.iter().all(|node| two.contains(node))
}

impl Topology {
    /// A cluster of one node.
    pub fn first(node: NodeId, info: NodeInfo) -> Result<Topology, RingError> {
        Ok(Topology::of_ring(Ring::first(node, info)?))
    }

    /// A cluster that has this ring from its start.
    pub fn of_ring(ring: Ring) -> Topology {
        Topology {
            epoch: 0,
            members: ring.nodes().map(|(node, _)| (node, NodeState::Normal)).collect(),
            ring,
            groups: BTreeMap::new(),
            change: None,
            planned: BTreeMap::new(),
            active: BTreeMap::new(),
            since: BTreeMap::new(),
        }
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What nodes publish their tokens from: it changes when a change has ended.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    pub fn change(&self) -> Option<&Change> {
        self.change.as_ref()
    }

    /// Moves that wait, and moves on their way.
    pub fn moves(&self) -> (&BTreeMap<TabletId, Move>, &BTreeMap<TabletId, Move>) {
        (&self.planned, &self.active)
    }

    pub fn members(&self) -> impl Iterator<Item = (NodeId, NodeState)> + '_ {
        self.members.iter().map(|(node, state)| (*node, *state))
    }

    /// `None`: it is no member.
    pub fn state(&self, node: NodeId) -> Option<NodeState> {
        self.members.get(&node).copied()
    }

    /// Also of a node that joins or leaves.
    pub fn info(&self, node: NodeId) -> Option<&NodeInfo> {
        let target = self.change.as_ref().and_then(|change| change.target.info(node));
        let asked = match self.change.as_ref().map(|change| &change.kind) {
            Some(ChangeKind::Join { node: new, info } | ChangeKind::Replace { new, info, .. }) if *new == node => {
                Some(info)
            }
            _ => None,
        };
        target.or(self.ring.info(node)).or(asked)
    }

    pub fn groups(&self) -> impl Iterator<Item = (GroupId, &GroupPlacement)> {
        self.groups.iter().map(|(group, placement)| (*group, placement))
    }

    /// `None`: there is no such tablet.
    pub fn replicas(&self, tablet: TabletId) -> Option<TabletReplicas> {
        let (group, ordinal) = group_of(tablet);
        let placement = self.groups.get(&group).filter(|placement| ordinal < placement.tablets)?;
        let (readers, joint) = match (self.active.get(&tablet), self.planned.get(&tablet)) {
            (Some(active), _) => match active.phase {
                Phase::Planned | Phase::Undo => (active.from.clone(), Vec::new()),
                Phase::Streaming => (active.from.clone(), active.to.clone()),
                Phase::ReadNew => (active.to.clone(), active.from.clone()),
                Phase::Clean => (active.to.clone(), Vec::new()),
            },
            (None, Some(planned)) => (planned.from.clone(), Vec::new()),
            (None, None) => (self.settled(group, placement, ordinal), Vec::new()),
        };
        Some(TabletReplicas { readers, joint, since: self.since_of(tablet) })
    }

    /// Where a tablet is that waits for nothing: at the end of the change on its way.
    fn settled(&self, group: GroupId, placement: &GroupPlacement, ordinal: u32) -> Vec<NodeId> {
        let ring = self.change.as_ref().map_or(&self.ring, |change| &change.target);
        let replication = self.replication_to_be(group).unwrap_or(&placement.replication);
        ring.replicas_of_tablet(replication, ordinal, placement.tablets)
    }

    fn replication_to_be(&self, group: GroupId) -> Option<&Replication> {
        match &self.change {
            Some(Change { kind: ChangeKind::SetReplication { groups }, cancelled: false, .. }) => groups.get(&group),
            _ => None,
        }
    }

    /// What `node` has to do, in an order in which each helps. Empty: nothing, until further entries.
    pub fn next_work(&self, node: NodeId) -> Vec<Work> {
        let mut work = Vec::new();
        for (tablet, moving) in self.active.iter().filter(|(_, moving)| !moving.reported.contains(&node)) {
            let (tablet, since) = (*tablet, self.since_of(*tablet));
            match moving.phase {
                Phase::Streaming if self.filled(moving).any(|filled| filled == node) => {
                    work.push(self.stream(tablet, moving, node));
                }
                Phase::ReadNew if moving.from.contains(&node) => work.push(Work::Switch { tablet, since }),
                Phase::Clean if moving.leaving().any(|leaving| leaving == node) => {
                    work.push(Work::Clean { tablet, since });
                }
                Phase::Undo if moving.coming().any(|coming| coming == node) => {
                    work.push(Work::Clean { tablet, since });
                }
                _ => {}
            }
        }
        work
    }

    /// Those that must fetch the data before anybody reads `to`: those that come, and sometimes those that stay. The dead know
    /// nothing that helps: all others have to know it in their place.
    pub fn filled<'a>(&'a self, moving: &'a Move) -> impl Iterator<Item = NodeId> + 'a {
        let all = self.goes_to_the_dead(moving)
            || stayers_are_filled(moving.from.len(), moving.leaving().count(), moving.coming().count());
        let filled = move |node: &NodeId| (all || !moving.from.contains(node)) && !self.is_dead(*node);
        moving.to.iter().copied().filter(filled)
    }

    fn goes_to_the_dead(&self, moving: &Move) -> bool {
        moving.to.iter().any(|node| self.is_dead(*node))
    }

    /// Of the nodes that seem not to be there, those without which the move of a tablet does not go on: who has to report, and who has
    /// the data. Empty: it goes on, or does not move now.
    pub fn waits_for(&self, tablet: TabletId, is_there: impl Fn(NodeId) -> bool) -> BTreeSet<NodeId> {
        let Some(moving) = self.active.get(&tablet) else { return BTreeSet::new() };
        let missing = |node: &NodeId| !self.is_dead(*node) && !is_there(*node);
        let silent = |node: &NodeId| missing(node) && !moving.reported.contains(node);
        match moving.phase {
            Phase::Planned => BTreeSet::new(),
            Phase::Streaming => {
                let left = self.filled(moving).filter(|node| !moving.reported.contains(node));
                let mut waits = BTreeSet::new();
                for node in left {
                    if missing(&node) {
                        waits.insert(node);
                    }
                    let Work::Stream { sources, enough, instead_of, .. } = self.stream(tablet, moving, node) else {
                        continue;
                    };
                    match instead_of {
                        Some(only) => waits.extend(Some(only).filter(missing)),
                        None if sources.iter().filter(|source| !missing(source)).count() < enough => {
                            waits.extend(sources.into_iter().filter(missing));
                        }
                        None => {}
                    }
                }
                waits
            }
            Phase::ReadNew => {
                let can = moving.from.iter().filter(|node| !self.is_dead(**node) && !silent(node)).count();
                let stuck = can < self.switches_needed(moving);
                moving.from.iter().copied().filter(|node| stuck && silent(node)).collect()
            }
            Phase::Clean => moving.leaving().filter(silent).collect(),
            Phase::Undo => moving.coming().filter(silent).collect(),
        }
    }

    fn stream(&self, tablet: TabletId, moving: &Move, node: NodeId) -> Work {
        let sources: Vec<NodeId> = moving.from.iter().copied().filter(|source| !self.is_dead(*source)).collect();
        let enough = quorum(moving.from.len()).min(sources.len());
        // The i-th that comes takes the place of the i-th that leaves: all know who that is. Only while the numbers
        // are the same: a quorum of more replicas is not one of fewer. And only if all that come are filled.
        let in_turn = moving.from.len() == moving.to.len() && !self.goes_to_the_dead(moving);
        let pair = moving.coming().zip(moving.leaving()).find(|(coming, _)| in_turn && *coming == node);
        let instead_of = pair.map(|(_, leaving)| leaving).filter(|leaving| !self.is_dead(*leaving));
        Work::Stream { tablet, since: self.since_of(tablet), sources, enough, instead_of }
    }

    /// The entry that changed the tablet's replicas, or began its phase, last.
    fn since_of(&self, tablet: TabletId) -> u64 {
        self.since.get(&tablet).copied().unwrap_or(0)
    }

    pub(crate) fn is_dead(&self, node: NodeId) -> bool {
        !matches!(self.members.get(&node), Some(NodeState::Joining | NodeState::Normal | NodeState::Draining))
    }

    /// What it would be if a change of topology began now.
    ///
    /// # Errors
    /// Why it would not begin.
    pub fn begun(&self, kind: ChangeKind) -> Result<Topology, Refused> {
        let mut after = self.clone();
        after.apply(self.epoch, &Entry::Start(kind)).map(|_| after)
    }

    /// Applies an entry that is at `index`, or follows from the one at it: several of the same index come in order. A refused
    /// entry changes nothing but the epoch.
    pub fn apply(&mut self, index: u64, entry: &Entry) -> Result<Effects, Refused> {
        if index < self.epoch {
            return Err(Refused::Old(index));
        }
        self.epoch = index;
        let mut effects = Effects::default();
        match entry {
            Entry::CreateGroup { group, placement } => self.create_group(*group, placement, &mut effects)?,
            Entry::RemoveGroup { group } => self.remove_group(*group)?,
            Entry::Start(kind) => self.start(kind, &mut effects)?,
            Entry::Streamed { tablet, node, since } => self.report(*tablet, *node, *since, &[Phase::Streaming]),
            Entry::Switched { tablet, node, since } => self.report(*tablet, *node, *since, &[Phase::ReadNew]),
            Entry::Cleaned { tablet, node, since } => {
                self.report(*tablet, *node, *since, &[Phase::Clean, Phase::Undo]);
            }
            Entry::Cancel { started } => self.cancel(*started, &mut effects)?,
            Entry::Forget { node } => {
                let state = self.members.get_mut(node).ok_or(Refused::NoMember(*node))?;
                if *state != NodeState::Dead {
                    *state = NodeState::Dead;
                    self.stream_without(*node, &mut effects);
                }
            }
        }
        self.advance(entry, &mut effects);
        Ok(effects)
    }

    fn create_group(
        &mut self,
        group: GroupId,
        placement: &GroupPlacement,
        effects: &mut Effects,
    ) -> Result<(), Refused> {
        let counted = (1..=TABLETS_MAX).contains(&placement.tablets) && group.0 <= GROUP_MAX;
        if !placement.replication.is_valid() || !counted {
            return Err(Refused::InvalidPlacement);
        }
        if self.groups.contains_key(&group) {
            return Err(Refused::GroupExists(group));
        }
        // While a change is on its way they are placed where it will end: they are empty, so there is nothing to move.
        self.groups.insert(group, placement.clone());
        effects.changed.extend((0..placement.tablets).map(|ordinal| TabletId::new(group, ordinal)));
        Ok(())
    }

    fn remove_group(&mut self, group: GroupId) -> Result<(), Refused> {
        self.groups.remove(&group).ok_or(Refused::NoGroup(group))?;
        let other = |tablet: &TabletId| group_of(*tablet).0 != group;
        self.planned.retain(|tablet, _| other(tablet));
        self.active.retain(|tablet, _| other(tablet));
        self.since.retain(|tablet, _| other(tablet));
        Ok(())
    }

    fn start(&mut self, kind: &ChangeKind, effects: &mut Effects) -> Result<(), Refused> {
        if self.change.is_some() {
            return Err(Refused::Busy);
        }
        if let ChangeKind::SetReplication { groups } = kind {
            for (group, replication) in groups {
                let placement = self.groups.get(group).ok_or(Refused::NoGroup(*group))?;
                let local = |replication: &Replication| *replication == Replication::Local;
                if !replication.is_valid() || local(replication) != local(&placement.replication) {
                    return Err(Refused::InvalidPlacement);
                }
            }
        }
        let target = self.target_of(kind)?;
        let members = self.members.clone();
        match kind {
            ChangeKind::Join { node, .. } => drop(self.members.insert(*node, NodeState::Joining)),
            ChangeKind::Drain { node } if !self.is_dead(*node) => {
                self.members.insert(*node, NodeState::Draining);
            }
            ChangeKind::Replace { dead, new, .. } => {
                self.members.insert(*dead, NodeState::Dead);
                self.members.insert(*new, NodeState::Joining);
            }
            _ => {}
        }
        let before: Vec<Vec<Vec<NodeId>>> = self.all_settled();
        self.change = Some(Change { kind: kind.clone(), started: self.epoch, target, cancelled: false });
        self.plan(before);
        // Of several dead nodes one has to go first.
        let takes_out_a_dead = match kind {
            ChangeKind::Drain { node } => self.is_dead(*node),
            ChangeKind::Replace { .. } => true,
            _ => false,
        };
        let comes_to_the_dead = |moving: &Move| moving.coming().find(|node| self.is_dead(*node) && !takes_out_a_dead);
        let ends_at_the_dead =
            |moving: &Move| moving.to.iter().copied().find(|_| moving.to.iter().all(|node| self.is_dead(*node)));
        let to_the_dead = |moving: &Move| comes_to_the_dead(moving).or(ends_at_the_dead(moving));
        let refused = match self.planned.values().find_map(to_the_dead) {
            Some(dead) => Some(Refused::ToTheDead(dead)),
            None => self.plans_nowhere().then_some(Refused::Nowhere),
        };
        if let Some(refused) = refused {
            (self.change, self.planned, self.members) = (None, BTreeMap::new(), members);
            return Err(refused);
        }
        effects.lost.extend(self.begin_empty(|_| true));
        Ok(())
    }

    /// The ring at the end of a change of this kind.
    pub(crate) fn target_of(&self, kind: &ChangeKind) -> Result<Ring, Refused> {
        Ok(match kind {
            ChangeKind::Join { node, info } => self.ring.with_node(*node, info.clone())?,
            ChangeKind::Drain { node } => self.ring.without(*node)?,
            ChangeKind::Replace { dead, new, info } => self.ring.replaced(*dead, *new, info.clone())?,
            ChangeKind::Relocate { node, info } => self.ring.with_info(*node, info.clone())?,
            ChangeKind::Split { slots } => self.ring.with_slots(*slots)?,
            ChangeKind::SetReplication { .. } => self.ring.clone(),
        })
    }

    /// Of each group, of each tablet, where it settles as things are.
    pub(crate) fn all_settled(&self) -> Vec<Vec<Vec<NodeId>>> {
        let of_group = |(group, placement): (&GroupId, &GroupPlacement)| {
            (0..placement.tablets).map(|ordinal| self.settled(*group, placement, ordinal)).collect()
        };
        self.groups.iter().map(of_group).collect()
    }

    /// Plans the moves from where tablets are to where they now settle.
    pub(crate) fn plan(&mut self, before: Vec<Vec<Vec<NodeId>>>) {
        let mut planned = BTreeMap::new();
        for ((group, placement), before) in self.groups.iter().zip(before) {
            for (ordinal, from) in (0u32..).zip(before) {
                let to = self.settled(*group, placement, ordinal);
                if !same_nodes(&from, &to) {
                    planned.insert(TabletId::new(*group, ordinal), Move::new(from, to));
                }
            }
        }
        self.planned = planned;
    }

    /// Whether tablets that a living node has would be on none: the last copy would be removed, and nobody have said so.
    pub(crate) fn plans_nowhere(&self) -> bool {
        let lives = |moving: &Move| moving.from.iter().any(|node| !self.is_dead(*node));
        self.planned.values().any(|moving| moving.to.is_empty() && lives(moving))
    }

    /// Counts only if it was made for this phase of this move: `since` began it.
    fn report(&mut self, tablet: TabletId, node: NodeId, since: u64, phases: &[Phase]) {
        let made_for_this = self.since_of(tablet) == since;
        if let Some(moving) = self.active.get_mut(&tablet)
            && phases.contains(&moving.phase)
            && made_for_this
        {
            moving.reported.insert(node);
        }
    }

    /// Others have to fetch more than was asked of them before, now that this node knows nothing.
    fn stream_without(&mut self, dead: NodeId, effects: &mut Effects) {
        for (tablet, moving) in &mut self.active {
            if moving.phase == Phase::Streaming && moving.to.contains(&dead) {
                moving.reported.clear();
                self.since.insert(*tablet, self.epoch);
                effects.changed.push(*tablet);
            }
        }
    }
}
