//! The cluster's map as the kernel asks for it: the state of this shard's machine.

use crate::cluster_command::ClusterCommand;
use crate::gate::Gate;
use crate::service::{METADATA_SERVICE, Metadata};
use holon_base::{NodeId, TabletId};
use holon_kernel::{ClusterMap, Founders, LocalFuture, NodeRecord, Replicas};
use holon_placement::NodeState;
use std::rc::Rc;

impl ClusterMap for Metadata {
    fn epoch(&self) -> u64 {
        self.applied()
    }

    fn replicas(&self, tablet: TabletId) -> Option<Replicas> {
        self.cluster.borrow().replicas(tablet)
    }

    fn founders(&self, tablet: TabletId) -> Option<Founders> {
        self.cluster.borrow().founders(tablet)
    }

    fn found(&self, tablet: TabletId) -> LocalFuture<bool> {
        let (me, command) = (self.me(), ClusterCommand::Found(tablet).encode());
        Box::pin(async move { me.propose(METADATA_SERVICE, command).await.is_ok() })
    }

    fn found_anew(&self, tablet: TabletId, known: Option<u64>) -> LocalFuture<bool> {
        let (me, node) = (self.me(), self.shard.node());
        let command = ClusterCommand::FoundAnew { tablet, node, known: known.unwrap_or(0) }.encode();
        let is_open = Gate::GROUPS_ANEW.is_open(self.cluster.borrow().level);
        Box::pin(
            async move { is_open && me.propose(METADATA_SERVICE, command).await.is_ok_and(|done| done.answer.is_ok()) },
        )
    }

    fn nodes(&self) -> Rc<[NodeRecord]> {
        self.cluster.borrow().records()
    }

    fn is_forgotten(&self, node: NodeId) -> bool {
        self.cluster.borrow().state(node) == Some(NodeState::Dead)
    }

    fn is_elsewhere(&self, node: NodeId) -> bool {
        self.says_it_is_elsewhere(node)
    }

    fn slots(&self) -> u32 {
        self.cluster.borrow().topology().map_or(0, |topology| topology.ring().slots())
    }

    fn reached(&self, epoch: u64) -> LocalFuture<()> {
        let me = self.me();
        Box::pin(async move { me.wait_applied(epoch).await })
    }

    fn ask_for(&self, epoch: u64, node: NodeId) {
        self.expect_news(epoch, node);
    }
}

impl Metadata {
    /// This node as it wants to be known.
    pub(crate) fn own_record(&self) -> NodeRecord {
        self.options.record(self.shard.node(), self.shard.shards())
    }

    /// Whether the log says of this node what it wants to be said.
    pub(crate) fn is_known_as_it_is(&self) -> bool {
        let cluster = self.cluster.borrow();
        let own = self.own_record();
        cluster.record(own.node).is_some_and(|known| NodeRecord { tokens: own.tokens.clone(), ..known.clone() } == own)
    }

    /// Whether the log, as this shard has applied it, has the node.
    pub fn is_member(&self, node: NodeId) -> bool {
        self.cluster.borrow().record(node).is_some()
    }
}
