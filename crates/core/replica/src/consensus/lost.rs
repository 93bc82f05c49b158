//! A group that has lost the majority of its members for good: an administrator has given their nodes up (`holon cluster forget`), or
//! they were replaced, so many at a time that those that are left could decide nothing, and nobody can be taken in.
//!
//! One of those that are left goes on alone, and takes in the readers of the tablet as ever. It must be the one whose log
//! reaches furthest, and it must not be that the others have gone on without it. So it asks *every* node of the cluster that is
//! not given up for what it has of the group's log, by a map as new as its own, and proposes itself only when all have answered and
//! none has more: then no newer members exist, and those of its log have no majority with which to decide anything meanwhile. The
//! metadata log orders such proposals: of two that stand on the same state the second is refused.
//!
//! What only the lost ones had decided, and had not yet brought to a majority of the replicas, is gone with them.

use super::Groups;
use super::group::Group;
use crate::limits::GROUP_LEAD_PATIENCE;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, NodeId, TabletId};
use holon_kernel::{CallError, Class, ClusterMap, Scope, Target, Verb, join_all};
use std::rc::Rc;

/// What a node has of a group's log: the term and the index of its last entry, nothing if it has no member.
pub(super) const POSITION: Verb = Verb(Verb::SERVICE_FIRST + 36);

type Position = (u64, u64);

/// Terms beyond any that members of before can have had: elections since the last such entry are fewer than this.
fn term_of(index: u64) -> u64 {
    index << 32
}

impl Groups {
    /// Does what the map says, if it says that this node's member goes on alone and that is not done yet.
    pub(super) fn go_on_alone_if_told(&self, group: &Rc<Group>) {
        let founders = self.shard.map().and_then(|map| map.founders(group.tablet));
        let Some((node, index)) = founders.and_then(|founders| founders.anew) else { return };
        // One that gave the tablet away since, and has it again, is taken in by others.
        let votes = group.raft().members().voters.contains(&node);
        if node == self.shard.node() && votes && group.raft().term() < term_of(index) {
            group.step(|raft, now, out| raft.go_on_alone(now, term_of(index), out));
            group.wake();
        }
    }

    /// Nobody leads, as it seems: looks whether nobody ever can, and does something about it.
    pub(super) fn see_whether_lost(&self, group: &Rc<Group>) {
        let Some(me) = self.me.upgrade().filter(|_| self.has_lost_majority(group)) else { return };
        if self.looking.borrow_mut().insert(group.tablet) {
            let group = group.clone();
            self.shard.spawn(Scope::Node, Class::Background, async move {
                me.go_on(&group).await;
                me.looking.borrow_mut().remove(&group.tablet);
            });
        }
    }

    fn has_lost_majority(&self, group: &Group) -> bool {
        let Some(map) = self.shard.map() else { return false };
        let left: Vec<NodeId> = not_given_up(&*map).collect();
        let raft = group.raft();
        let voters = &raft.members().voters;
        let left = voters.iter().filter(|voter| left.contains(voter)).count();
        voters.contains(&self.shard.node()) && 2 * left <= voters.len()
    }

    async fn go_on(&self, group: &Rc<Group>) {
        let (Some(map), tablet) = (self.shard.map(), group.tablet) else { return };
        let (epoch, known) = (map.epoch(), map.founders(tablet).and_then(|founders| founders.anew));
        let known = known.map(|(_, index)| index);
        let own = position(group);
        let others = not_given_up(&*map).filter(|node| *node != self.shard.node());
        let positions = join_all(others.map(|node| self.position_at(node, tablet, epoch))).await;
        let is_furthest = positions.iter().all(|other| other.as_ref().is_ok_and(|other| *other <= Some(own)));
        // What was heard meanwhile may have changed everything.
        if is_furthest && position(group) == own && self.has_lost_majority(group) && map.found_anew(tablet, known).await
        {
            self.go_on_alone_if_told(group);
        }
    }

    async fn position_at(&self, node: NodeId, tablet: TabletId, epoch: u64) -> Result<Option<Position>, CallError> {
        let mut payload = ByteWriter::new();
        payload.put_u64(tablet.0);
        payload.put_u64(epoch);
        let (to, target) = (self.address_of(node, tablet), Target::Service(self.service));
        let deadline = self.shard.now() + GROUP_LEAD_PATIENCE;
        let answer = self.shard.call(to, target, POSITION, payload.freeze(), deadline).await?;
        let mut input = ByteReader::new(answer);
        if input.is_empty() {
            return Ok(None);
        }
        Ok(Some((input.u64().map_err(|_| CallError::NotHere)?, input.u64().map_err(|_| CallError::NotHere)?)))
    }

    pub(super) async fn answer_position(&self, payload: Bytes) -> Result<Bytes, CallError> {
        let mut input = ByteReader::new(payload);
        let (tablet, epoch) =
            (input.u64().map_err(|_| CallError::NotHere)?, input.u64().map_err(|_| CallError::NotHere)?);
        let (tablet, map) = (TabletId(tablet), self.shard.map().ok_or(CallError::NotHere)?);
        // What the asker's map says of who goes on alone is done here before the answer: it must not be done after it.
        let until = self.shard.now() + GROUP_LEAD_PATIENCE;
        self.shard.timeout(until, map.reached(epoch)).await.map_err(|_| CallError::Timeout)?;
        if !self.is_of_this_shard(tablet) {
            return Err(CallError::NotHere);
        }
        let mut out = ByteWriter::new();
        match self.member(tablet, false).await {
            Some(group) => {
                self.go_on_alone_if_told(&group);
                let (term, index) = position(&group);
                out.put_u64(term);
                out.put_u64(index);
            }
            // There is something, and it cannot be looked at.
            None if self.has_ledger(tablet) => return Err(CallError::NotHere),
            None => {}
        }
        Ok(out.freeze())
    }
}

/// Those that may have something of a group, or have yet to come back with it. A node that is forgotten is none of them even while it
/// is in the ring: it stays there until the change that is under way ends, and that may wait for the very group.
fn not_given_up(map: &dyn ClusterMap) -> impl Iterator<Item = NodeId> {
    let nodes: Vec<NodeId> = map.nodes().iter().map(|record| record.node).collect();
    nodes.into_iter().filter(|node| !map.is_forgotten(*node))
}

fn position(group: &Group) -> Position {
    let raft = group.raft();
    let last = raft.status().last_index;
    (raft.term_at(last).unwrap_or(0), last)
}
