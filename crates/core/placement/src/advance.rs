//! What follows from an entry by itself: moves whose phase is complete go on, waiting moves begin, a change without
//! moves ends.

use crate::change::{ChangeKind, Effects, Entry, Move, NodeState, Phase};
use crate::limits::{MOVES_LOOKED_AT_MAX, MOVES_PER_NODE_MAX};
use crate::quorum::fence;
use crate::topology::Topology;
use holon_base::{NodeId, TabletId};
use std::collections::{BTreeMap, BTreeSet};

impl Topology {
    pub(crate) fn advance(&mut self, entry: &Entry, effects: &mut Effects) {
        match entry {
            // Only its tablet can go on.
            Entry::Streamed { tablet, .. } | Entry::Switched { tablet, .. } | Entry::Cleaned { tablet, .. } => {
                self.advance_tablet(*tablet, effects);
            }
            _ => {
                let all: Vec<TabletId> = self.active.keys().copied().collect();
                all.into_iter().for_each(|tablet| self.advance_tablet(tablet, effects));
            }
        }
        // A move may be complete at once (replicas only leave, and those are dead): then there is room for the next.
        while self.begin_moves(effects) {}
        if self.planned.is_empty() && self.active.is_empty() {
            self.finish(effects);
        }
    }

    /// Through as many phases as are complete.
    fn advance_tablet(&mut self, tablet: TabletId, effects: &mut Effects) {
        while let Some(moving) = self.active.get(&tablet).filter(|moving| self.is_complete(moving)) {
            let next = match moving.phase {
                Phase::Planned => Some(Phase::Streaming),
                Phase::Streaming => Some(Phase::ReadNew),
                Phase::ReadNew => Some(Phase::Clean),
                Phase::Clean | Phase::Undo => None,
            };
            match (next, self.active.get_mut(&tablet)) {
                (Some(next), Some(moving)) => (moving.phase, moving.reported) = (next, BTreeSet::new()),
                _ => drop(self.active.remove(&tablet)),
            }
            self.since.insert(tablet, self.epoch);
            effects.changed.push(tablet);
        }
    }

    /// Whether all have reported of whom this phase waits. Nobody waits for the dead.
    fn is_complete(&self, moving: &Move) -> bool {
        let reported = |node: NodeId| self.is_dead(node) || moving.reported.contains(&node);
        match moving.phase {
            Phase::Planned => true,
            // Whom nobody alive would have the data after, waits. To no node at all only what the dead alone had goes: nothing.
            Phase::Streaming => {
                (moving.to.is_empty() || moving.to.iter().any(|node| !self.is_dead(*node)))
                    && self.filled(moving).all(|node| moving.reported.contains(&node))
            }
            Phase::ReadNew => {
                let switched = moving.from.iter().filter(|node| moving.reported.contains(node)).count();
                switched >= self.switches_needed(moving)
            }
            Phase::Clean => moving.leaving().all(reported),
            Phase::Undo => moving.coming().all(reported),
        }
    }

    /// So many of the old replicas have to refuse what was routed by an older map.
    pub(crate) fn switches_needed(&self, moving: &Move) -> usize {
        let living = moving.from.iter().filter(|node| !self.is_dead(**node)).count();
        fence(moving.from.len()).min(living)
    }

    /// Begins waiting moves as far as their nodes have room. Whether one of them was complete at once.
    fn begin_moves(&mut self, effects: &mut Effects) -> bool {
        let mut busy: BTreeMap<NodeId, usize> = BTreeMap::new();
        for moving in self.active.values() {
            nodes_of(moving).for_each(|node| *busy.entry(node).or_insert(0) += 1);
        }
        let mut begin = Vec::new();
        for (tablet, moving) in self.planned.iter().take(MOVES_LOOKED_AT_MAX) {
            let room = |node| busy.get(&node).is_none_or(|moves| *moves < MOVES_PER_NODE_MAX);
            if !self.active.contains_key(tablet) && nodes_of(moving).all(room) {
                nodes_of(moving).for_each(|node| *busy.entry(node).or_insert(0) += 1);
                begin.push(*tablet);
            }
        }
        let mut at_once = false;
        for tablet in begin {
            if let Some(moving) = self.planned.remove(&tablet) {
                self.active.insert(tablet, moving);
                self.advance_tablet(tablet, effects);
                at_once |= !self.active.contains_key(&tablet);
            }
        }
        at_once
    }

    fn finish(&mut self, effects: &mut Effects) {
        let Some(change) = self.change.take() else { return };
        match (&change.kind, change.cancelled) {
            (ChangeKind::Join { node, .. }, false) => self.settle(*node, NodeState::Normal),
            (ChangeKind::Join { node, .. }, true) | (ChangeKind::Drain { node }, false) => {
                self.members.remove(node);
            }
            (ChangeKind::Drain { node }, true) => self.settle(*node, NodeState::Normal),
            (ChangeKind::Replace { dead, new, .. }, false) => {
                self.members.remove(dead);
                self.settle(*new, NodeState::Normal);
            }
            (ChangeKind::Replace { new, .. }, true) => {
                self.members.remove(new);
            }
            (ChangeKind::SetReplication { groups }, false) => {
                for (group, replication) in groups {
                    if let Some(placement) = self.groups.get_mut(group) {
                        placement.replication = replication.clone();
                    }
                }
            }
            (ChangeKind::Relocate { .. } | ChangeKind::SetReplication { .. } | ChangeKind::Split { .. }, _) => {}
        }
        self.ring = change.target.clone();
        let (members, ring) = (&mut self.members, &self.ring);
        let gone = |(node, state): (&NodeId, &NodeState)| *state == NodeState::Dead && !ring.contains(*node);
        effects.left = members.iter().filter(|member| gone(*member)).map(|(node, _)| *node).collect();
        members.retain(|node, _| !effects.left.contains(node));
        effects.finished = Some(change);
    }

    fn settle(&mut self, node: NodeId, state: NodeState) {
        if !self.is_dead(node) {
            self.members.insert(node, state);
        }
    }
}

/// Those that send or receive.
fn nodes_of(moving: &Move) -> impl Iterator<Item = NodeId> + '_ {
    moving.coming().chain(moving.leaving())
}
