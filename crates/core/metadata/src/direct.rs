//! The leader of the metadata group starts the changes of topology that follow from who is a member: a node that came is
//! taken into the ring, the ring gets more slots, a node that stands elsewhere is placed there. One at a time.
//!
//! What an administrator asks for (drain, replace, another replication factor) is proposed as it comes and refused
//! while another change is on its way.

use crate::cluster::{ClusterCommand, info_of};
use crate::consensus::Consensus;
use crate::service::{METADATA_SERVICE, Metadata};
use holon_base::NodeId;
use holon_kernel::{Class, NodeRecord, Scope};
use holon_placement::{ChangeKind, Entry, Topology};
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

/// What there is to do for who is there; `is_alive`: nobody is taken in who cannot be filled.
fn next_change(topology: &Topology, records: &[NodeRecord], is_alive: impl Fn(NodeId) -> bool) -> Option<ChangeKind> {
    if topology.change().is_some() {
        return None;
    }
    let member = |node: NodeId| topology.members().any(|(member, _)| member == node);
    let coming = records.iter().find(|record| !member(record.node) && is_alive(record.node));
    if let Some(record) = coming {
        return Some(ChangeKind::Join { node: record.node, info: info_of(record) });
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
                let next = match me.cluster.borrow().topology() {
                    Some(topology) if consensus.is_leader() => {
                        next_change(topology, &records, |node| me.shard.is_alive(node))
                    }
                    _ => None,
                };
                if let Some(kind) = next {
                    // Refused, or unknown: the next look tells.
                    let _ = me.change_topology(Entry::Start(kind)).await;
                }
                me.wait_for_members(if records.len() > 1 { INTERVAL } else { INTERVAL_ALONE }).await;
            }
        });
    }

    /// Takes a node out of the ring; when its tablets are elsewhere it is no member any more.
    ///
    /// # Errors
    /// Another change is on its way, or there is no such node.
    pub async fn drain(&self, node: NodeId) -> Result<(), ChangeError> {
        self.change_topology(Entry::Start(ChangeKind::Drain { node })).await
    }

    /// Puts a member that holds nothing yet in the place of one that never comes back.
    ///
    /// # Errors
    /// As for [`Metadata::drain`].
    pub async fn replace(&self, dead: NodeId, new: NodeId) -> Result<(), ChangeError> {
        let info = self.cluster.borrow().record(new).map(info_of);
        let info = info.ok_or_else(|| ChangeError::Refused(format!("node {new} is not a member")))?;
        self.change_topology(Entry::Start(ChangeKind::Replace { dead, new, info })).await
    }

    /// Says that a node never comes back: nobody waits for it any more. Drain or replace it next.
    ///
    /// # Errors
    /// There is no such node.
    pub async fn forget(&self, node: NodeId) -> Result<(), ChangeError> {
        self.change_topology(Entry::Forget { node }).await
    }

    /// Undoes the change that is on its way.
    ///
    /// # Errors
    /// There is none, or it cannot be undone any more.
    pub async fn cancel_change(&self) -> Result<(), ChangeError> {
        self.change_topology(Entry::Cancel).await
    }

    async fn change_topology(&self, entry: Entry) -> Result<(), ChangeError> {
        let command = ClusterCommand::Placement(entry).encode();
        let committed = self.propose(METADATA_SERVICE, command).await.map_err(|_| ChangeError::Unknown)?;
        committed.answer.map(|_| ()).map_err(|why| ChangeError::Refused(String::from_utf8_lossy(&why).into_owned()))
    }

    /// `drain NODE`, `replace DEAD NEW`, `forget NODE`, `cancel`: nodes by the beginning of their id.
    pub(crate) async fn cluster_command(&self, words: &[String]) -> Result<String, String> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (done, text) = match words.as_slice() {
            ["drain", node] => (self.drain(self.named(node)?).await, "its tablets move to the others"),
            ["replace", dead, new] => {
                (self.replace(self.named(dead)?, self.named(new)?).await, "the new node is being filled")
            }
            ["forget", node] => (self.forget(self.named(node)?).await, "nobody waits for it any more"),
            ["cancel"] => (self.cancel_change().await, "the change is being undone"),
            _ => return Err("drain NODE | replace DEAD NEW | forget NODE | cancel".to_string()),
        };
        done.map(|()| format!("{text}; see `holon status`")).map_err(|error| error.to_string())
    }

    fn named(&self, name: &str) -> Result<NodeId, String> {
        let records = self.cluster.borrow().records();
        let named: Vec<NodeId> =
            records.iter().map(|record| record.node).filter(|node| node.to_string().starts_with(name)).collect();
        match named.as_slice() {
            [only] => Ok(*only),
            [] => Err(format!("no node's id begins with {name:?}; see `holon status`")),
            _ => Err(format!("the ids of {} nodes begin with {name:?}: write more of it", named.len())),
        }
    }
}
