//! A change of topology that turns: back, when it is cancelled; another way, when a node is forgotten that alone was to have
//! tablets which live elsewhere. Nobody removes the last copy of a tablet for the dead, so the change would wait for ever.
//!
//! ```text
//!   tablet of one replica, node a is forgotten      what becomes of it
//!   cancelled: moved to b, and to go back to a      the cancelling is taken back: it stays on b
//!   under way: on b, and to go to a                 the change goes back: it stays on b
//!   some this, some that                            a leaves the ring with this change: they go to, or stay on, others
//!   read on a, still held by b                      b is read again, and it stays there
//!   on a, to go to b                                b begins empty, and that is told
//!   on a, to go to c, which is dead too             it does not move; who takes it then begins empty
//! ```

use crate::change::{Change, Effects, Entry, Move, Phase, Refused};
use crate::ring::Ring;
use crate::topology::Topology;
use holon_base::{NodeId, TabletId};
use std::collections::BTreeSet;

impl Topology {
    pub(crate) fn cancel(&mut self, started: u64, effects: &mut Effects) -> Result<(), Refused> {
        let is_meant = |change: &&Change| change.started == started && !change.cancelled;
        self.change.as_ref().filter(is_meant).ok_or(Refused::NothingToCancel)?;
        let mut turned = self.clone();
        let changed = turned.turn(self.ring.clone(), true)?;
        let to_the_dead = turned.planned.values().flat_map(|moving| moving.coming()).any(|node| turned.is_dead(node));
        if to_the_dead || turned.plans_nowhere() {
            return Err(Refused::TooLate);
        }
        *self = turned;
        effects.changed.extend(changed);
        effects.lost.extend(self.begin_empty(|_| true));
        Ok(())
    }

    /// Applies [`Entry::Forget`] of `node`, with what follows from it since changes turn: what was there before the node had it is
    /// read there again, and a change that would wait for the dead for ever goes the other way, if that one is open.
    ///
    /// # Errors
    /// Those of [`Topology::apply`].
    pub fn forget(&mut self, index: u64, node: NodeId) -> Result<Effects, Refused> {
        let entry = Entry::Forget { node };
        if index < self.epoch || self.state(node).is_none() {
            return self.apply(index, &entry);
        }
        self.epoch = index;
        let read_old = self.read_old_without(node);
        let mut effects = self.apply(index, &entry)?;
        effects.merge(self.turn_from_the_dead(node));
        effects.changed.extend(read_old);
        Ok(effects)
    }

    /// Tablets that are read at new replicas, of which none lives without `node`, are read at the old ones again: those still
    /// take every write.
    fn read_old_without(&mut self, node: NodeId) -> Vec<TabletId> {
        let gone = |nodes: &[NodeId]| nodes.iter().all(|one| *one == node || self.is_dead(*one));
        let only_old = |moving: &Move| moving.phase == Phase::ReadNew && gone(&moving.to) && !gone(&moving.from);
        let tablets = self.active.iter().filter(|(_, moving)| !moving.to.is_empty() && only_old(moving));
        let tablets: Vec<TabletId> = tablets.map(|(tablet, _)| *tablet).collect();
        for tablet in &tablets {
            if let Some(moving) = self.active.get_mut(tablet) {
                (moving.phase, moving.reported) = (Phase::Streaming, BTreeSet::new());
                self.since.insert(*tablet, self.epoch);
            }
        }
        tablets
    }

    /// After [`Entry::Forget`] of `node`, of the same index. It changes nothing where nothing waits for the dead.
    fn turn_from_the_dead(&mut self, node: NodeId) -> Effects {
        let mut effects = Effects::default();
        if self.change.is_none() {
            return effects;
        }
        let waits = self.waits_for_the_dead();
        if !waits.is_empty() {
            let is_open = |turned: &Topology| turned.waits_for_the_dead().is_empty() && !turned.plans_nowhere();
            let way = self.other_ways(&waits).find(|(turned, _)| is_open(turned));
            match way {
                Some((turned, changed)) => {
                    *self = turned;
                    (effects.changed, effects.turned) = (changed, true);
                }
                None => effects.stuck = true,
            }
        }
        let all = effects.turned;
        effects.lost = self.begin_empty(|moving| all || moving.from.contains(&node));
        self.leave_to_the_dead(&mut effects);
        self.advance(&Entry::Forget { node }, &mut effects);
        effects
    }

    /// The dead to whom alone tablets are to go that somebody has.
    fn waits_for_the_dead(&self) -> BTreeSet<NodeId> {
        let waits = |moving: &&Move| self.all_dead(&moving.to) && !self.all_dead(&moving.from);
        let waiting = self.not_copied().map(|(_, moving)| moving).filter(waits);
        waiting.flat_map(|moving| moving.to.iter().copied()).collect()
    }

    /// Where the change may end instead: first where that is what somebody has asked for.
    fn other_ways(&self, without: &BTreeSet<NodeId>) -> impl Iterator<Item = (Topology, Vec<TabletId>)> {
        let ways = [(true, false), (false, true), (true, true)];
        ways.into_iter().filter_map(move |(other, leave)| {
            let change = self.change.as_ref()?;
            let cancelled = change.cancelled != other;
            let asked = match (other, cancelled) {
                (false, _) => change.target.clone(),
                (true, true) => self.ring.clone(),
                (true, false) => self.target_of(&change.kind).ok()?,
            };
            let leaving = without.iter().filter(|node| leave && asked.contains(**node));
            let target = leaving.copied().try_fold(asked.clone(), |ring, node| ring.without(node)).ok()?;
            let mut turned = self.clone();
            let undone = turned.turn(target, cancelled).ok()?;
            Some((turned, undone))
        })
    }

    /// Tablets whose data no living replica has, and which somebody living takes over.
    pub(crate) fn begin_empty(&self, of: impl Fn(&Move) -> bool) -> Vec<TabletId> {
        let empty = |moving: &Move| self.all_dead(&moving.from) && !self.all_dead(&moving.to) && of(moving);
        self.not_copied().filter(|(_, moving)| empty(moving)).map(|(tablet, _)| tablet).collect()
    }

    /// Moves that wait, and those of which the old replicas are read.
    fn not_copied(&self) -> impl Iterator<Item = (TabletId, &Move)> {
        let active = self.active.iter().filter(|(_, moving)| moving.phase == Phase::Streaming);
        self.planned.iter().chain(active).map(|(tablet, moving)| (*tablet, moving))
    }

    fn all_dead(&self, nodes: &[NodeId]) -> bool {
        !nodes.is_empty() && nodes.iter().all(|node| self.is_dead(*node))
    }

    /// Nothing moves, for there is nothing, and nobody to say it has come.
    fn leave_to_the_dead(&mut self, effects: &mut Effects) {
        let nobody = |moving: &Move| self.all_dead(&moving.from) && self.all_dead(&moving.to);
        let left: Vec<TabletId> = self.not_copied().filter(|(_, moving)| nobody(moving)).map(|(id, _)| id).collect();
        for tablet in left {
            if self.planned.remove(&tablet).is_none() {
                self.active.remove(&tablet);
            }
            self.since.insert(tablet, self.epoch);
            effects.changed.push(tablet);
        }
    }

    /// The change on its way ends elsewhere: moves that wait are planned anew, those of which the old replicas are read are undone, the
    /// others end first. The tablets whose moves are undone.
    fn turn(&mut self, target: Ring, cancelled: bool) -> Result<Vec<TabletId>, Refused> {
        let change = self.change.clone().ok_or(Refused::NothingToCancel)?;
        // Where each tablet is, or will be when the move it is in has ended.
        let mut before = self.all_settled();
        for (places, group) in before.iter_mut().zip(self.groups.keys()) {
            for (ordinal, place) in (0u32..).zip(places.iter_mut()) {
                let tablet = TabletId::new(*group, ordinal);
                match (self.active.get(&tablet), self.planned.get(&tablet)) {
                    (Some(moving), _) if moving.is_switched() => place.clone_from(&moving.to),
                    (Some(moving), _) | (None, Some(moving)) => place.clone_from(&moving.from),
                    // It is where the change puts it.
                    (None, None) => {}
                }
            }
        }
        self.change = Some(Change { target, cancelled, ..change });
        self.plan(before);
        let mut undone = Vec::new();
        for (tablet, moving) in &mut self.active {
            if moving.phase == Phase::Streaming {
                (moving.phase, moving.reported) = (Phase::Undo, BTreeSet::new());
                self.since.insert(*tablet, self.epoch);
                undone.push(*tablet);
            }
        }
        Ok(undone)
    }
}

impl Move {
    fn is_switched(&self) -> bool {
        matches!(self.phase, Phase::ReadNew | Phase::Clean)
    }
}
