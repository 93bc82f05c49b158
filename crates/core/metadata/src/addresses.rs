//! Where nodes are reached, when that is not where the metadata log says: a node that came back with another address (a
//! container, DHCP) says so by gossip, over connections that prove who it is, and the log follows when a majority is there.
//!
//! ```text
//!   gossip (newest incarnation) ──► shard 0 ── MOVED ──► every shard: router
//!   the log: its record, later ─────────────────────────► the same
//!   a node that was removed and asks for the log: its address is in the question
//! ```
//!
//! Of a member that was heard gossip knows better than the log; of one that is silent the log does. Nothing here decides who is a
//! member, and a wrong address does no more harm than silence: who answers there has to prove that it is the node that is meant.

use crate::limits::LOOKED_AT_MAX;
use crate::service::{METADATA_SERVICE, Metadata, verb};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, NodeId, ShardId, ShortInput};
use holon_kernel::{Target, Verb};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Within a node, from shard 0.
pub(crate) const MOVED: Verb = verb(19);

/// A shard's part.
#[derive(Default)]
pub(crate) struct Addresses {
    /// What the router has been told.
    known: RefCell<BTreeMap<NodeId, SocketAddr>>,
    /// Of nodes that were elsewhere than the log said when it was last looked at.
    elsewhere: RefCell<BTreeMap<NodeId, SocketAddr>>,
}

impl Metadata {
    /// At start: those that were there when this node joined.
    pub(crate) fn know_seeds(&self) {
        for (node, address) in &self.options.cluster.seeds {
            self.addresses.known.borrow_mut().insert(*node, *address);
            self.shard.know_node(*node, Some(*address));
        }
    }

    /// On every shard, when an entry said something of nodes.
    pub(crate) fn nodes_changed(&self) {
        self.route();
        if self.shard.id() == ShardId(0) {
            self.members_changed();
            self.see_whether_removed();
        }
    }

    /// Where the log says that nodes are. Who was removed may come back, ask for the log, and has to be answered: so it learns of it.
    fn addresses_of_log(&self) -> BTreeMap<NodeId, SocketAddr> {
        let cluster = self.cluster.borrow();
        let records = cluster.records();
        let members = records.iter().map(|record| (record.node, record.address));
        cluster.removed().chain(members).collect()
    }

    /// As far as this shard knows.
    pub(crate) fn is_at(&self, node: NodeId, address: SocketAddr) -> bool {
        self.addresses.known.borrow().get(&node) == Some(&address)
    }

    fn address_of_log(&self, node: NodeId) -> Option<SocketAddr> {
        let cluster = self.cluster.borrow();
        let member = cluster.record(node).map(|record| record.address);
        member.or_else(|| cluster.removed().find(|(removed, _)| *removed == node).map(|(_, address)| address))
    }

    /// Tells the router what is new.
    fn route(&self) {
        if self.cluster.borrow().records().is_empty() {
            return;
        }
        let mut reached = self.addresses_of_log();
        let mut elsewhere = self.addresses.elsewhere.borrow_mut();
        elsewhere.retain(|node, _| reached.contains_key(node));
        reached.extend(elsewhere.iter().map(|(node, address)| (*node, *address)));
        drop(elsewhere);
        let before = self.addresses.known.replace(reached.clone());
        for (node, address) in reached.iter().filter(|(node, address)| before.get(node) != Some(address)) {
            self.shard.know_node(*node, Some(*address));
        }
        for gone in before.keys().filter(|node| !reached.contains_key(node)) {
            self.shard.know_node(*gone, None);
        }
    }

    /// Shard 0: where another node is, by its own word.
    pub(crate) fn moved(&self, node: NodeId, address: Option<SocketAddr>) {
        let of_log = self.address_of_log(node);
        let (Some(of_log), Some(address)) = (of_log.filter(|_| node != self.shard.node()), address) else { return };
        let elsewhere = (address != of_log).then_some(address);
        if self.set_elsewhere(node, elsewhere) {
            let mut payload = ByteWriter::new();
            payload.put_u128(node.0);
            payload.put_prefixed(elsewhere.map(|address| address.to_string()).unwrap_or_default().as_bytes());
            let payload = payload.freeze();
            for to in self.others() {
                self.shard.send(to, Target::Service(METADATA_SERVICE), MOVED, payload.clone());
            }
        }
    }

    /// On the other shards.
    pub(crate) fn take_moved(&self, payload: Bytes) -> Result<(), ShortInput> {
        let mut input = ByteReader::new(payload);
        let (node, address) = (NodeId(input.u128()?), input.prefixed_str()?);
        self.set_elsewhere(node, address.parse().ok());
        Ok(())
    }

    /// Whether that is new.
    fn set_elsewhere(&self, node: NodeId, address: Option<SocketAddr>) -> bool {
        let before = match address {
            Some(address) => self.addresses.elsewhere.borrow_mut().insert(node, address),
            None => self.addresses.elsewhere.borrow_mut().remove(&node),
        };
        let is_new = before != address;
        if is_new {
            self.route();
        }
        is_new
    }

    pub(crate) fn says_it_is_elsewhere(&self, node: NodeId) -> bool {
        let of_log = self.cluster.borrow().record(node).map(|record| record.address);
        self.addresses.elsewhere.borrow().get(&node).is_some_and(|address| Some(*address) != of_log)
    }

    /// Shard 0: a node that was removed asks for the log, by a message of the form `index:u64 address:prefixed`. It is no part of gossip
    /// any more, so this is where it says where it is. Older nodes say no address.
    pub(crate) fn asked_from(&self, node: NodeId, input: &mut ByteReader) {
        let was_removed = self.cluster.borrow().was_removed(node);
        if was_removed && let Ok(address) = input.prefixed_str() {
            self.moved(node, address.parse().ok());
        }
    }

    /// On shard 0, while the node starts: where others were, some of them. `None`: there is nobody to look for, or the cluster knows
    /// this node as it is.
    pub fn where_to_look(&self) -> Option<Vec<SocketAddr>> {
        let records = self.cluster.borrow().records();
        let own = self.shard.node();
        let is_alone = self.takes_part() && records.len() <= 1;
        let others = records.iter().filter(|record| record.node != own).map(|record| record.address);
        (!is_alone && !self.is_known_as_it_is()).then(|| others.take(LOOKED_AT_MAX).collect())
    }

    /// On shard 0: this member answered at this address. Nothing comes of it before gossip runs: it will be met again.
    pub fn meet(&self, node: NodeId, address: SocketAddr) {
        if let Some(gossip) = self.gossip.borrow().clone() {
            gossip.meet(node, address);
        }
    }
}
