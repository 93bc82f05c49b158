//! The members of a group follow the replicas of its tablet, one at a time: who reads the tablet becomes a learner, then, when it
//! has the log, a voter; who does not any more is removed when all the others are there. A reader that seems dead is not waited
//! for: it may be dead for good, and who leaves would never be let go. What was decided is at a majority of the replicas anyway.
//!
//! A replica that gives a tablet away forgets what it promised to the group. So it asks first whether the group has let it go;
//! only the leader's word counts, when the entry is committed.

use super::group::Group;
use super::{EXCLUDES, Groups, Leadership};
use crate::limits::{APPLY_PAUSE, GROUP_LEAVE_PATIENCE};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, NodeId, TabletId};
use holon_kernel::{CallError, Class, Scope, Target};
use holon_raft::Change;
use std::rc::Rc;

/// What is to be done next for the members to be the readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Change(Change),
    /// This member is to go: another leads first.
    HandOver(NodeId),
}

impl Groups {
    fn readers(&self, tablet: TabletId) -> Rc<[NodeId]> {
        self.shard.replicas(tablet).readers
    }

    fn next_step(&self, group: &Group) -> Option<Step> {
        group.leads()?;
        let readers = self.readers(group.tablet);
        if readers.is_empty() || group.is_made_of(&readers) {
            return None;
        }
        let status = group.raft().status();
        let members = &status.members;
        if !status.members_committed {
            return None;
        }
        if let Some(new) = readers.iter().find(|node| !members.contains(**node)) {
            return Some(Step::Change(Change::AddLearner(*new)));
        }
        let is_ready =
            |node: NodeId| status.followers.iter().any(|known| known.node == node && known.has(status.commit));
        let learners = members.learners.iter().filter(|node| readers.contains(node));
        if let Some(ready) = learners.copied().find(|node| is_ready(*node)) {
            return Some(Step::Change(Change::AddVoter(ready)));
        }
        if !readers.iter().all(|node| members.voters.contains(node) || !self.shard.is_alive(*node)) {
            return None; // a learner is on its way
        }
        let gone = members.all().filter(|node| !readers.contains(node));
        // This one goes last: the others know the way.
        match gone.max_by_key(|node| *node != status.node)? {
            node if node != status.node => Some(Step::Change(Change::Remove(node))),
            _ => {
                let heir = status.followers.iter().find(|follower| follower.voter && follower.active);
                heir.map(|heir| Step::HandOver(heir.node))
            }
        }
    }

    /// Takes the next step, if there is one and this node leads.
    pub(super) fn follow_members(&self, group: &Rc<Group>) {
        let Some(step) = self.next_step(group) else {
            if group.grown.take() {
                group.growing.set(false); // the one that was to come does not
            }
            return;
        };
        group.wake();
        match step {
            Step::Change(change) => {
                if group.raft().members().voters.len() == 1 && !self.may_grow(group) {
                    return;
                }
                // Refused: it is looked at anew in a moment.
                let changed = group.step(|raft, now, out| raft.change_members(now, change, out));
                if changed.is_ok() {
                    group.growing.set(false);
                    group.grown.set(false);
                }
            }
            Step::HandOver(heir) => {
                let _ = group.step(|raft, now, out| raft.transfer_leadership(now, Some(heir), out));
            }
        }
    }

    /// A lone member transacts without the log: these have to end, and the log has to know their latest timestamp, before there
    /// are others.
    fn may_grow(&self, group: &Rc<Group>) -> bool {
        if !group.growing.replace(true) {
            let (group, term) = (group.clone(), group.leads().unwrap_or_default());
            self.shard.clone().spawn(Scope::Node, Class::Foreground, async move {
                while group.direct.get() > 0 {
                    group.shard.sleep(APPLY_PAUSE).await;
                }
                let told = group.decide(term, group.latest_timestamp(), Bytes::new()).await;
                group.grown.set(told.is_ok());
                // Else it is tried again: without an end to this the group would never get another member.
                group.growing.set(told.is_ok());
            });
        }
        group.grown.get()
    }

    /// When replicas change, groups that nobody asks have to follow too, or they would lose their majority with nodes that have left.
    pub(super) async fn follow_map(self: Rc<Self>) {
        let Some(map) = self.shard.map() else { return };
        loop {
            let open: Vec<Rc<Group>> = self.open.borrow().values().cloned().collect();
            for group in open {
                self.go_on_alone_if_told(&group);
                let readers = self.readers(group.tablet);
                let first = readers.iter().find(|node| self.shard.is_alive(**node));
                let differs = !group.is_made_of(&readers) && !group.raft().members().voters.is_empty();
                if differs && (first == Some(&self.shard.node()) || group.raft().is_leader()) {
                    self.see_to_a_leader(group.tablet);
                }
            }
            map.reached(map.epoch() + 1).await;
        }
    }

    /// When a node dies, what it decided as a leader is brought to the replicas by another, whether or not somebody asks.
    pub(super) async fn follow_liveness(self: Rc<Self>) {
        loop {
            if self.shard.liveness_changed().await.is_err() {
                return; // the shard stops
            }
            let open: Vec<Rc<Group>> = self.open.borrow().values().cloned().collect();
            open.iter().filter(|group| group.is_orphan()).for_each(|group| self.see_to_a_leader(group.tablet));
        }
    }

    /// Nobody asks, and yet somebody has to lead: whoever does is awake then, and does what there is to do.
    fn see_to_a_leader(self: &Rc<Self>, tablet: TabletId) {
        let (me, deadline) = (self.clone(), self.shard.now() + GROUP_LEAVE_PATIENCE);
        self.shard.spawn(Scope::Node, Class::Background, async move {
            drop(me.lead(tablet, None, deadline).await);
        });
    }

    /// Whether no leader of another day, elected with what this node's member has, writes anything from before a timestamp again: that
    /// may have been deleted since, and the deletion be forgotten. If one may, somebody leads now, and sees to it.
    pub(crate) async fn is_written_before(&self, tablet: TabletId, timestamp: i64) -> bool {
        if self.engine.borrow().is_none() {
            return false; // what this node has of it is not known yet
        }
        let has_group = self.shard.map().is_some_and(|map| map.founders(tablet).is_some());
        if !has_group || !self.has_ledger(tablet) {
            return true; // nobody is elected with it
        }
        let (Some(group), Some(me)) = (self.member(tablet, false).await, self.me.upgrade()) else { return false };
        let is_written = group.may_write_again().is_none_or(|oldest| oldest >= timestamp);
        if !is_written {
            // Whoever leads is asked, too, like every replica.
            group.tell_what_is_written();
            me.see_to_a_leader(tablet);
        }
        is_written
    }

    /// Returns when the group has let this node go, so that it may forget what it promised.
    ///
    /// # Errors
    /// It has not, yet.
    pub async fn leave(&self, tablet: TabletId) -> Result<(), String> {
        let node = self.shard.node();
        let founders = self.shard.map().and_then(|map| map.founders(tablet));
        let Some(founders) = founders else { return Ok(()) };
        let has_member = self.member(tablet, false).await.is_some();
        if !has_member && !founders.present.contains(&node) {
            return Ok(());
        }
        let deadline = self.shard.now() + GROUP_LEAVE_PATIENCE;
        let mut payload = ByteWriter::new();
        payload.put_u64(tablet.0);
        let payload = payload.freeze();
        loop {
            if self.readers(tablet).contains(&node) {
                return Err("it is to hold the tablet again".to_string());
            }
            for other in self.shard.replicas(tablet).writers().chain([node]) {
                let (to, target) = (self.address_of(other, tablet), Target::Service(self.service));
                if self.shard.call(to, target, EXCLUDES, payload.clone(), deadline).await.is_ok() {
                    return Ok(());
                }
            }
            if self.shard.now() >= deadline {
                return Err("its group has not let this node go yet".to_string());
            }
            self.shard.sleep(APPLY_PAUSE).await;
        }
    }

    /// Here is the leader, and the node is no member.
    pub(super) async fn answer_excludes(&self, node: NodeId, payload: Bytes) -> Result<Bytes, CallError> {
        let tablet = TabletId(ByteReader::new(payload).u64().map_err(|_| CallError::NotHere)?);
        let deadline = self.shard.now() + GROUP_LEAVE_PATIENCE;
        let Ok(Leadership { member: Some((group, _)), .. }) = self.lead(tablet, None, deadline).await else {
            return Err(CallError::NotHere);
        };
        let status = group.raft().status();
        let excluded = status.members_committed && !status.members.contains(node);
        // By the map too: else it would be taken in again.
        let wanted = self.readers(tablet).contains(&node);
        if excluded && !wanted { Ok(Bytes::new()) } else { Err(CallError::NotHere) }
    }
}
