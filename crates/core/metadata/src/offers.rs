//! What a node may ask of another that the metadata log says: of a member only what the member says itself. Who a node is, its
//! certificate has proved where its envelopes come in.
//!
//! | proposed | by |
//! | --- | --- |
//! | other facts of a member (its address, its doors, its level) | itself |
//! | a node that comes, or comes again because it got no answer | any member; not of a node that is in the ring, unless it says nothing new; not of one that was removed |
//! | what was done for a move, or that a member of a tablet's group goes on alone | the node that has done it, or is to go on |
//! | all else | any member |
//!
//! What it is not: a guard against a leader of the metadata group, which writes the log.

use crate::addresses::MOVED;
use crate::cluster::ClusterState;
use crate::cluster_command::ClusterCommand;
use crate::command::Command;
use crate::service::{
    ALIVE, APPLY, BARRIER, CATCH_UP, CLEAN, CLOCK_RENEW, CLOCK_SETTLE, FILL, METADATA_SERVICE, Metadata, OWN_FIGURES,
    PROPOSE, RESTORE,
};
use bytes::Bytes;
use holon_base::NodeId;
use holon_kernel::{CallError, NodeRecord, Verb};
use holon_placement::Entry;
use std::rc::Rc;
use thiserror::Error;

/// Between the shards of one node.
const WITHIN_NODE: [Verb; 12] =
    [PROPOSE, BARRIER, CLOCK_SETTLE, CLOCK_RENEW, APPLY, RESTORE, ALIVE, FILL, CLEAN, OWN_FIGURES, CATCH_UP, MOVED];

/// Why a node does not get its way.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum NotYours {
    #[error("node {from} must not say what becomes of node {of}: {what} only {of} itself proposes")]
    Facts { from: NodeId, of: NodeId, what: &'static str },
    #[error("node {of} was taken out of the cluster: nobody lets it in again")]
    Removed { of: NodeId },
    #[error("node {from} asks for what only the cores of a node ask of one another (message {number})")]
    WithinNode { from: NodeId, number: u8 },
}

impl NotYours {
    fn into_answer(self) -> CallError {
        CallError::Failed(Bytes::from(self.to_string()))
    }
}

/// Whether two records say the same. (Tokens are the log's.)
fn same(one: &NodeRecord, two: &NodeRecord) -> bool {
    NodeRecord { tokens: Rc::new([]), ..one.clone() } == NodeRecord { tokens: Rc::new([]), ..two.clone() }
}

impl ClusterState {
    /// Whether a node may propose it. What cannot be read is refused by whoever applies it.
    fn may_propose(&self, from: NodeId, command: &ClusterCommand) -> Result<(), NotYours> {
        let (of, what) = match command {
            ClusterCommand::OtherFacts(record) => (record.node, "the address and other facts of a member"),
            ClusterCommand::Node(record) if self.was_removed(record.node) => {
                return Err(NotYours::Removed { of: record.node });
            }
            ClusterCommand::Node(record) if self.state(record.node).is_some() => match self.record(record.node) {
                Some(known) if same(known, record) => return Ok(()),
                _ => (record.node, "the address and other facts of a member"),
            },
            ClusterCommand::Placement(
                Entry::Streamed { node, .. } | Entry::Switched { node, .. } | Entry::Cleaned { node, .. },
            ) => (*node, "what a node has done for a move"),
            ClusterCommand::FoundAnew { node, .. } => (*node, "that a member of a tablet's group goes on alone"),
            _ => return Ok(()),
        };
        if of == from { Ok(()) } else { Err(NotYours::Facts { from, of, what }) }
    }
}

impl Metadata {
    /// Refuses what another node must not ask.
    pub(crate) fn check_sender(&self, from: NodeId, verb: Verb) -> Result<(), CallError> {
        if from != self.shard.node() && WITHIN_NODE.contains(&verb) {
            return Err(NotYours::WithinNode { from, number: verb.0 }.into_answer());
        }
        Ok(())
    }

    /// Shard 0 of the leader: whether the log may have a command of that node.
    pub(crate) fn may_take(&self, from: NodeId, bytes: &Bytes) -> Result<(), NotYours> {
        if let Ok(Command { service: METADATA_SERVICE, bytes, .. }) = Command::decode(bytes.clone())
            && let Ok(command) = ClusterCommand::decode(bytes)
        {
            self.cluster.borrow().may_propose(from, &command)?;
        }
        Ok(())
    }

    /// Shard 0 of the leader: takes a command that another node offers.
    pub(crate) fn take_offer(&self, from: NodeId, bytes: Bytes) -> Result<Bytes, CallError> {
        self.may_take(from, &bytes).map_err(NotYours::into_answer)?;
        let consensus = self.consensus().filter(|_| self.takes_part()).ok_or(CallError::NotHere)?;
        let offered = consensus.step(|raft, now, out| raft.propose(now, bytes, out));
        offered.map(|_| Bytes::new()).map_err(|_| CallError::NotHere)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::info_of;
    use crate::identity::Cluster;
    use crate::options::NodeOptions;
    use crate::service::OFFER;
    use holon_base::{ByteWriter, ShardId, TabletId};
    use holon_kernel::testing::{MemoryDisk, TestShard};
    use holon_kernel::{Address, Service};
    use holon_placement::ChangeKind;

    /// Node 1, which knows of node 2 and 3 in the ring, of 4, which was let in, and of 5, which was removed.
    fn world() -> (TestShard, Rc<Metadata>) {
        let test = TestShard::new(MemoryDisk::new());
        let metadata = Metadata::alone(&test.shard, 1);
        let mut index = 0;
        let mut apply = |command: ClusterCommand| {
            index += 1;
            metadata.cluster.borrow_mut().apply(index, command, NodeId(1)).expect("it can be");
        };
        for number in 1..=5 {
            apply(ClusterCommand::Node(record(number)));
            if (2..=3).contains(&number) {
                let (node, info) = (NodeId(number), info_of(&record(number)));
                apply(ClusterCommand::Placement(Entry::Start(ChangeKind::Join { node, info })));
            }
        }
        apply(ClusterCommand::RemoveNode(NodeId(5)));
        (test, metadata)
    }

    fn record(number: u128) -> NodeRecord {
        NodeOptions::member(1, Cluster::founded_by(NodeId(1), 1)).record(NodeId(number), 1)
    }

    fn elsewhere(number: u128) -> NodeRecord {
        NodeRecord { address: ([10, 9, 9, 9], 7000).into(), ..record(number) }
    }

    /// `None`: it is taken, as far as anybody may say so.
    fn refused(from: u128, verb: Verb, payload: Bytes) -> Option<String> {
        let (test, metadata) = world();
        let from = Address { node: NodeId(from), shard: ShardId(0) };
        match test.block_on(metadata.message(from, verb, payload)) {
            Err(CallError::Failed(why)) => Some(String::from_utf8_lossy(&why).into_owned()),
            // There is no log here.
            Err(CallError::NotHere) | Ok(_) => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn offered(from: u128, command: &ClusterCommand) -> Option<String> {
        let bytes = command.encode();
        refused(from, OFFER, Command { id: 7, service: METADATA_SERVICE, bytes }.encode())
    }

    #[test]
    fn of_a_member_only_the_member_says_something_new() {
        let (tablet, since) = (TabletId(65_536), 3);
        let said_by_three = [
            ClusterCommand::OtherFacts(elsewhere(3)),
            ClusterCommand::Node(elsewhere(3)),
            ClusterCommand::Placement(Entry::Streamed { tablet, node: NodeId(3), since }),
            ClusterCommand::Placement(Entry::Switched { tablet, node: NodeId(3), since }),
            ClusterCommand::Placement(Entry::Cleaned { tablet, node: NodeId(3), since }),
            ClusterCommand::FoundAnew { tablet, node: NodeId(3), known: 0 },
        ];
        for command in &said_by_three {
            let why = offered(2, command).unwrap_or_else(|| panic!("taken: {command:?}"));
            assert!(why.contains(&NodeId(2).to_string()) && why.contains(&NodeId(3).to_string()), "{why}");
            assert_eq!(offered(3, command), None);
        }
        let said_by_any = [
            ClusterCommand::Node(record(3)),
            ClusterCommand::Node(record(4)),
            ClusterCommand::Node(elsewhere(4)),
            ClusterCommand::Node(record(9)),
            ClusterCommand::Placement(Entry::Forget { node: NodeId(3) }),
            ClusterCommand::Found(tablet),
        ];
        for command in &said_by_any {
            assert_eq!(offered(2, command), None, "{command:?}");
        }
    }

    /// Found by seeds 77188 and 77434 of the simulator's world of clusters: a member asked for it until it could.
    #[test]
    fn nobody_lets_in_again_who_was_removed() {
        let why = offered(2, &ClusterCommand::Node(record(5))).expect("refused");
        assert!(why.contains("taken out of the cluster") && why.contains(&NodeId(5).to_string()), "{why}");
        assert_eq!(offered(2, &ClusterCommand::Node(record(6))), None);
    }

    #[test]
    fn what_the_cores_of_a_node_ask_of_one_another_no_other_node_asks() {
        for verb in WITHIN_NODE {
            let why = refused(2, verb, Bytes::new()).unwrap_or_else(|| panic!("taken: {verb:?}"));
            assert!(why.contains("cores of a node"), "{why}");
        }
        let mut payload = ByteWriter::new();
        payload.put_u128(3);
        payload.put_u8(0);
        assert_eq!(refused(1, ALIVE, payload.freeze()), None);
    }
}
