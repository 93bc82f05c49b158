//! The leader of the metadata group starts the changes of topology that follow from who is a member: a node that came is
//! taken into the ring or takes the place of a dead one, a node that was given up leaves it, the ring gets more slots, a node
//! that stands elsewhere is placed there. One at a time.
//!
//! What an administrator asks for (drain, another replication factor) is proposed as it comes and refused
//! while another change is on its way.

use crate::cluster::{ClusterState, info_of};
use crate::cluster_command::ClusterCommand;
use crate::consensus::Consensus;
use crate::service::{METADATA_SERVICE, Metadata};
use holon_base::NodeId;
use holon_kernel::{Class, NodeRecord, Scope};
use holon_placement::{ChangeKind, Entry, NodeState};
use std::rc::Rc;
use std::time::Duration;
use thiserror::Error;

/// Between two looks, while there is more than one node; entries about nodes and tablets wake it as well.
const INTERVAL: Duration = Duration::from_secs(1);
const INTERVAL_ALONE: Duration = Duration::from_secs(3600);

/// Why what an administrator asked for was not begun.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ChangeError {
    #[error("{0}")]
    Refused(String),
    #[error("the metadata group did not answer in time: whether it was begun is unknown; see `holon status`")]
    Unknown,
}

/// What there is to do for who is there: the first change that would begin. One that is refused as things are must not keep those after it
/// from beginning: where a node joins, the places of the others may change, and none may come to one that is dead and is to leave.
///
/// `is_there`: nobody is taken in who was not heard yet, for writes would be sent to it; `is_alive`: nobody is replaced who has come back
/// meanwhile.
fn next_change(
    cluster: &ClusterState,
    is_alive: impl Fn(NodeId) -> bool,
    is_there: impl Fn(NodeId) -> bool,
) -> Option<ChangeKind> {
    let (topology, records) = (cluster.topology()?, cluster.records());
    if topology.change().is_some() {
        return None;
    }
    let member = |node: NodeId| topology.state(node).is_some();
    let coming = records.iter().filter(|record| !member(record.node) && is_there(record.node)).filter_map(|record| {
        let (new, info) = (record.node, info_of(record));
        match cluster.replaced_by(new) {
            None => Some(ChangeKind::Join { node: new, info }),
            Some(dead) => (!is_alive(dead)).then_some(ChangeKind::Replace { dead, new, info }),
        }
    });
    let leaving = cluster.forgotten().filter(|node| member(*node)).map(|node| ChangeKind::Drain { node });
    let mut waiting = coming.chain(leaving).peekable();
    if waiting.peek().is_some() {
        return waiting.find(|kind| topology.begun(kind.clone()).is_ok());
    }
    let ring = topology.ring();
    let wanted = ring.slots_wanted();
    if wanted > ring.slots() {
        return Some(ChangeKind::Split { slots: wanted });
    }
    // Cores do not weigh yet: another number of them moves nothing.
    let elsewhere = records.iter().find(|record| {
        ring.info(record.node).is_some_and(|info| info.rack != *record.rack || info.data_center != *record.data_center)
    });
    elsewhere.map(|record| ChangeKind::Relocate { node: record.node, info: info_of(record) })
}

impl Metadata {
    /// Starts changes while this node leads, until the shard stops.
    pub(crate) fn direct(&self, consensus: &Rc<Consensus>) {
        let (me, consensus) = (self.me(), consensus.clone());
        self.shard.spawn(Scope::Node, Class::Foreground, async move {
            loop {
                let records = me.cluster.borrow().records();
                let gossip = me.gossip.borrow().clone();
                let is_alive = |node| me.shard.is_alive(node);
                let has_heard = |node| gossip.as_ref().is_some_and(|gossip| gossip.has_heard(node));
                let is_there = |node| is_alive(node) && has_heard(node);
                if consensus.is_leader() {
                    me.raise_level().await;
                }
                let next =
                    if consensus.is_leader() { next_change(&me.cluster.borrow(), is_alive, is_there) } else { None };
                if let Some(kind) = next {
                    // Refused, or unknown: the next look tells.
                    let _ = me.change_topology(Entry::Start(kind)).await;
                }
                me.wait_for_members(if records.len() > 1 { INTERVAL } else { INTERVAL_ALONE }).await;
            }
        });
    }

    /// All members are upgraded: what they know may be used.
    async fn raise_level(&self) {
        let (level, known) = (self.cluster.borrow().level, self.cluster.borrow().level_known());
        if known > level {
            // Refused, or unknown: the next look tells.
            drop(self.propose(METADATA_SERVICE, ClusterCommand::Level(known.min(self.options.level)).encode()).await);
        }
    }

    /// Takes a node out of the ring; when its tablets are elsewhere it is no member any more.
    ///
    /// # Errors
    /// Another change is on its way, or there is no such node, or it seems dead: it would never hand over what it has.
    pub async fn drain(&self, node: NodeId) -> Result<(), ChangeError> {
        let forgotten = self.cluster.borrow().state(node) == Some(NodeState::Dead);
        if !forgotten && !self.shard.is_alive(node) {
            let ways = "take it out with `holon cluster forget`, or start its replacement with `--replace`";
            return Err(ChangeError::Refused(format!("node {node} seems dead: {ways}")));
        }
        self.change_topology(Entry::Start(ChangeKind::Drain { node })).await
    }

    /// Takes out a node that never comes back: nobody waits for it any more, the others fill each other with what it had. A
    /// change that waits for it goes on.
    ///
    /// # Errors
    /// There is no such node, or it seems alive.
    pub async fn forget(&self, node: NodeId) -> Result<(), ChangeError> {
        if self.shard.is_alive(node) {
            return Err(ChangeError::Refused(format!("node {node} seems alive: drain it, or stop it first")));
        }
        self.change_topology(Entry::Forget { node }).await
    }

    /// Undoes the change that is on its way as this node has it; not one that follows it meanwhile.
    ///
    /// # Errors
    /// There is none, or it cannot be undone any more.
    pub async fn cancel_change(&self) -> Result<(), ChangeError> {
        let started = self.cluster.borrow().topology().and_then(|topology| Some(topology.change()?.started));
        let nothing =
            || ChangeError::Refused("no change of topology is on its way: there is nothing to cancel".to_string());
        self.change_topology(Entry::Cancel { started: started.ok_or_else(nothing)? }).await
    }

    async fn change_topology(&self, entry: Entry) -> Result<(), ChangeError> {
        let command = ClusterCommand::Placement(entry).encode();
        let committed = self.propose(METADATA_SERVICE, command).await.map_err(|_| ChangeError::Unknown)?;
        committed.answer.map(|_| ()).map_err(|why| ChangeError::Refused(String::from_utf8_lossy(&why).into_owned()))
    }

    /// `drain NODE [--force]`, `forget NODE`, `cancel`, `clock begin-anew`: nodes by the beginning of their id, or their address.
    pub(crate) async fn cluster_command(&self, words: &[String]) -> Result<String, String> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (done, text) = match words.as_slice() {
            ["drain", node] => (self.drain_unless_unwise(self.named(node)?).await, "its tablets move to the others"),
            ["drain", node, "--force"] => (self.drain(self.named(node)?).await, "its tablets move to the others"),
            ["forget", node] => {
                (self.forget(self.named(node)?).await, "nobody waits for it any more, its tablets are copied")
            }
            ["cancel"] => (self.cancel_change().await, "the change is being undone"),
            ["clock", "begin-anew"] => return self.begin_clock_anew().await,
            _ => return Err("drain NODE [--force] | forget NODE | cancel | clock begin-anew".to_string()),
        };
        done.map(|()| format!("{text}; see `holon status`")).map_err(|error| error.to_string())
    }

    pub(crate) fn named(&self, name: &str) -> Result<NodeId, String> {
        let records = self.cluster.borrow().records();
        // Or by where it is reached, as people know their machines.
        let is_at = |record: &&NodeRecord| {
            [record.address.to_string(), record.address.ip().to_string()].iter().any(|at| at == name)
        };
        let at: Vec<NodeId> = records.iter().filter(is_at).map(|record| record.node).collect();
        let begins = records.iter().map(|record| record.node).filter(|node| node.to_string().starts_with(name));
        let named: Vec<NodeId> = if at.is_empty() { begins.collect() } else { at };
        match named.as_slice() {
            [only] => Ok(*only),
            [] => Err(format!("no node's id begins with {name:?}, and none is at that address; see `holon status`")),
            _ => Err(format!("{name:?} names {} nodes: write more of an id", named.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leave::tests::{World, record};
    use holon_kernel::Replication;

    /// Found by seed 73055 of the simulator's world of clusters.
    #[test]
    fn a_join_that_is_refused_because_of_a_dead_node_does_not_keep_that_one_from_leaving() {
        let mut world = World::new(&["a", "a"]);
        world.create(Replication::Simple { factor: 1 });
        world.apply(ClusterCommand::Placement(Entry::Forget { node: NodeId(1) }));
        let third = record(3, "a");
        world.apply(ClusterCommand::Node(third.clone()));
        let next = |world: &World| next_change(&world.state, |node| node != NodeId(1), |node| node != NodeId(1));
        // With a third rack all places are given anew, some of them to the dead.
        let join = ChangeKind::Join { node: NodeId(3), info: info_of(&third) };
        let topology = world.state.topology().expect("a ring");
        assert!(topology.begun(join.clone()).is_err());
        let drain = ChangeKind::Drain { node: NodeId(1) };
        assert_eq!(next(&world), Some(drain.clone()));
        world.start(drain);
        world.work(&[2, 3]);
        assert_eq!(next(&world), Some(join.clone()));
        world.start(join);
        world.work(&[2, 3]);
        assert_eq!(world.state.topology().map(|topology| topology.members().count()), Some(2));
    }
}
