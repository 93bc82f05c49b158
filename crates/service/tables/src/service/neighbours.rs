//! The other nodes, as clients are told of them: in the system tables, and by events when one comes, goes, or seems dead.

use super::TablesService;
use crate::system::Node;
use holon_base::NodeId;
use holon_cql::response::{Event, StatusChange, TopologyChange};
use holon_kernel::{Class, NodeRecord, Scope};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

/// The name under which each node tells the others where its door for CQL is.
const DOOR: &str = "cql";

/// Where clients reach each other node, and whether it seems alive.
pub(super) type Neighbours = BTreeMap<NodeId, (SocketAddr, bool)>;

fn door(record: &NodeRecord) -> Option<SocketAddr> {
    record.facts.iter().find(|(name, _)| name == DOOR).and_then(|(_, address)| address.parse().ok())
}

fn node(record: &NodeRecord, schema_version: u128) -> Option<Node> {
    Some(Node {
        host_id: record.node.0,
        data_center: record.data_center.clone(),
        rack: record.rack.clone(),
        peer_address: record.address,
        native_address: door(record)?,
        tokens: record.tokens.to_vec(),
        generation: 1,
        schema_version,
    })
}

impl TablesService {
    fn records(&self) -> Rc<[NodeRecord]> {
        self.shard.map().map(|map| map.nodes()).unwrap_or_default()
    }

    /// The tokens of this node; none before it has any.
    pub(super) fn own_tokens(&self) -> Vec<i64> {
        let records = self.records();
        let own = records.iter().find(|record| record.node == self.shard.node());
        own.map(|record| record.tokens.to_vec()).unwrap_or_default()
    }

    /// The others that are in the ring: one that is still being filled is not shown, as in Cassandra.
    pub(super) fn peers(&self) -> Vec<Node> {
        let records = self.records();
        let others = records.iter().filter(|record| record.node != self.shard.node() && !record.tokens.is_empty());
        others.filter_map(|record| node(record, self.schema_version_of(record.node))).collect()
    }

    /// The end token of each range of the ring, with the peer address of its first replica.
    pub(super) fn ring(&self) -> Vec<(i64, Vec<String>)> {
        let records = self.records();
        let of_node = |record: &NodeRecord| {
            let address = record.address.to_string();
            record.tokens.iter().map(|token| (*token, vec![address.clone()])).collect::<Vec<_>>()
        };
        let mut ring: Vec<(i64, Vec<String>)> = records.iter().flat_map(of_node).collect();
        ring.sort_unstable();
        ring
    }

    /// Tells clients of changes, until the shard stops.
    pub(super) fn watch_neighbours(&self) {
        *self.neighbours.borrow_mut() = self.neighbours_now();
        let Some(me) = self.me.upgrade() else { return };
        self.shard.spawn(Scope::Node, Class::Background, async move {
            while me.shard.liveness_changed().await.is_ok() {
                me.tell_of_neighbours();
            }
        });
        let (Some(me), Some(map)) = (self.me.upgrade(), self.shard.map()) else { return };
        self.shard.spawn(Scope::Node, Class::Background, async move {
            loop {
                map.reached(map.epoch() + 1).await;
                me.tell_of_neighbours();
            }
        });
    }

    fn neighbours_now(&self) -> Neighbours {
        // Up at an address where it is no longer: no client could use that.
        let map = self.shard.map();
        let is_elsewhere = |node| map.as_ref().is_some_and(|map| map.is_elsewhere(node));
        let is_up = |node| self.shard.is_alive(node) && !is_elsewhere(node);
        let peers = self.peers().into_iter().map(|peer| (NodeId(peer.host_id), peer.native_address));
        peers.map(|(node, address)| (node, (address, is_up(node)))).collect()
    }

    fn tell_of_neighbours(&self) {
        let now = self.neighbours_now();
        let before = self.neighbours.replace(now.clone());
        if before == now {
            return;
        }
        let events = events(&before, &now);
        for connection in self.connections() {
            events.iter().for_each(|event| connection.event(event));
        }
    }
}

/// What clients are told when it was so and now is so. They know nodes by their addresses: one with another address is another one to
/// them, as in Cassandra.
fn events(before: &Neighbours, now: &Neighbours) -> Vec<Event> {
    let status = |node, up| {
        let change = if up { StatusChange::Up } else { StatusChange::Down };
        Event::Status { change, node }
    };
    let mut events = Vec::new();
    let is_at = |nodes: &Neighbours, id, address| nodes.get(id).is_some_and(|(at, _)| *at == address);
    for (_, (address, was_up)) in before.iter().filter(|(id, (address, _))| !is_at(now, id, *address)) {
        events.push(Event::Topology { change: TopologyChange::RemovedNode, node: *address });
        if *was_up {
            events.push(status(*address, false)); // it ends, and nobody looks for it any more
        }
    }
    for (id, (address, up)) in now {
        match before.get(id).filter(|(at, _)| at == address) {
            None => {
                events.push(Event::Topology { change: TopologyChange::NewNode, node: *address });
                events.push(status(*address, *up));
            }
            Some((_, was_up)) if was_up != up => events.push(status(*address, *up)),
            Some(_) => {}
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_at_another_address_is_another_one_to_clients() {
        let at = |last: u8| SocketAddr::from(([10, 0, 0, last], 9042));
        let nodes = |list: &[(u128, u8, bool)]| -> Neighbours {
            list.iter().map(|(id, last, up)| (NodeId(*id), (at(*last), *up))).collect()
        };
        let told = |before: &[(u128, u8, bool)], now: &[(u128, u8, bool)]| -> Vec<String> {
            let events = events(&nodes(before), &nodes(now)).into_iter();
            let text = |event| match event {
                Event::Topology { change, node } => format!("{change:?} {}", node.ip()),
                Event::Status { change, node } => format!("{change:?} {}", node.ip()),
                other => format!("{other:?}"),
            };
            events.map(text).collect()
        };
        let moved = ["RemovedNode 10.0.0.1", "NewNode 10.0.0.9", "Up 10.0.0.9"];
        assert_eq!(told(&[(1, 1, false)], &[(1, 9, true)]), moved);
        // So fast that nobody noticed that it was away.
        let moved = ["RemovedNode 10.0.0.1", "Down 10.0.0.1", "NewNode 10.0.0.9", "Up 10.0.0.9"];
        assert_eq!(told(&[(1, 1, true)], &[(1, 9, true)]), moved);
        // One has the address that another one had: it is there in the end.
        let taken = ["RemovedNode 10.0.0.1", "Down 10.0.0.1", "NewNode 10.0.0.1", "Up 10.0.0.1"];
        assert_eq!(told(&[(1, 1, true)], &[(2, 1, true)]), taken);
        assert_eq!(told(&[(1, 1, true)], &[(1, 1, false)]), ["Down 10.0.0.1"]);
        assert_eq!(told(&[(1, 1, true)], &[(1, 1, true)]), Vec::<String>::new());
    }
}
