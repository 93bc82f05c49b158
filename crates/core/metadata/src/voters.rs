//! The leader of the metadata group chooses its voters: as many as the cluster can lose half of, in different zones, and
//! replaces those that seem dead for long. One change at a time.
//!
//! | members | voters |
//! | --- | --- |
//! | 1, 2 | 1: with two, the loss of either would stop the group |
//! | 3, 4 | 3 |
//! | 5 and more | 5 |

use crate::consensus::Consensus;
use crate::service::Metadata;
use holon_base::NodeId;
use holon_kernel::{Class, NodeRecord, Scope};
use holon_raft::{Change, Status};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

/// How often the leader looks, while there is more than one node.
const INTERVAL: Duration = Duration::from_secs(1);
/// While changes are due. With two voters on the way from one to three the loss of either stops the group: not for long.
const INTERVAL_CHANGING: Duration = Duration::from_millis(50);
/// A node alone has nothing to choose; an entry about nodes wakes it.
const INTERVAL_ALONE: Duration = Duration::from_secs(3600);

fn wanted(members: usize) -> usize {
    match members {
        0..=2 => 1,
        3 | 4 => 3,
        _ => 5,
    }
}

/// The next change on the way to the voters that should be; `None`: they are. `lost`: nodes that seem dead for long.
fn next_change(
    voters: &BTreeSet<NodeId>,
    nodes: &[NodeRecord],
    lost: &BTreeSet<NodeId>,
    leader: NodeId,
) -> Option<Change> {
    let is_member = |node: &NodeId| nodes.iter().any(|record| record.node == *node);
    if let Some(gone) = voters.iter().find(|voter| !is_member(voter) && **voter != leader) {
        return Some(Change::Remove(*gone));
    }
    let sound: BTreeSet<NodeId> = voters.iter().copied().filter(|voter| !lost.contains(voter)).collect();
    let wanted = wanted(nodes.len());
    let mut zones: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for record in nodes.iter().filter(|record| sound.contains(&record.node)) {
        *zones.entry((&record.data_center, &record.rack)).or_default() += 1;
    }
    let free = nodes.iter().filter(|record| !voters.contains(&record.node) && !lost.contains(&record.node));
    let crowding = |record: &&NodeRecord| zones.get(&(&*record.data_center, &*record.rack)).copied().unwrap_or(0);
    let candidate = free.min_by_key(|record| (crowding(record), record.node)).map(|record| record.node);
    match (sound.len() < wanted, candidate) {
        (true, Some(node)) => return Some(Change::AddVoter(node)),
        (true, None) => return None, // better a voter that may come back than none
        (false, _) => {}
    }
    if let Some(dead) = voters.iter().find(|voter| lost.contains(voter)) {
        return Some(Change::Remove(*dead));
    }
    let surplus = voters.len() > wanted;
    voters.iter().rev().find(|voter| surplus && **voter != leader).map(|voter| Change::Remove(*voter))
}

impl Metadata {
    /// Looks after the voters while this node leads, until the shard stops.
    pub(crate) fn choose_voters(&self, consensus: &Rc<Consensus>) {
        let (me, consensus) = (self.me(), consensus.clone());
        self.shard.spawn(Scope::Node, Class::Foreground, async move {
            loop {
                let nodes = me.cluster.borrow().records();
                let status = consensus.status();
                let changing = consensus.is_leader() && me.change_voters(&consensus, &status, &nodes);
                let interval = match (changing, nodes.len()) {
                    (true, _) => INTERVAL_CHANGING,
                    (false, 0..=1) => INTERVAL_ALONE,
                    (false, _) => INTERVAL,
                };
                me.wait_for_members(interval).await;
            }
        });
    }

    /// Whether a change is due.
    fn change_voters(&self, consensus: &Consensus, status: &Status, nodes: &[NodeRecord]) -> bool {
        let now = self.shard.now();
        let gossip = self.gossip.borrow().clone();
        let is_lost = |node: &NodeId| {
            let since = gossip.as_ref().and_then(|gossip| gossip.dead_since(*node));
            since.is_some_and(|since| now.since(since) >= self.options.voter_patience)
        };
        let others = status.members.voters.iter().any(|voter| *voter != self.shard.node());
        if others && !self.is_member(self.shard.node()) {
            // This node has left: another leader takes it out of the voters.
            let _ = consensus.step(|raft, now, out| raft.transfer_leadership(now, None, out));
            return true;
        }
        let lost = nodes.iter().map(|record| record.node).filter(is_lost).collect();
        let change = next_change(&status.members.voters, nodes, &lost, self.shard.node());
        if let Some(change) = change {
            // Refused while the last change is not committed: the next look tries again.
            let _ = consensus.step(|raft, now, out| raft.change_members(now, change, out));
        }
        change.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(zones: &[&str]) -> Vec<NodeRecord> {
        let record = |(at, zone): (usize, &&str)| NodeRecord {
            node: NodeId(at as u128 + 1),
            address: ([127, 0, 0, 1], 7000 + at as u16).into(),
            data_center: "dc".into(),
            rack: (*zone).into(),
            shards: 1,
            tokens: Rc::new([]),
            facts: Rc::new([]),
        };
        zones.iter().enumerate().map(record).collect()
    }

    /// Applies changes until there are none.
    fn settle(voters: &[u128], nodes: &[NodeRecord], lost: &[u128]) -> Vec<u128> {
        let lost = lost.iter().map(|node| NodeId(*node)).collect();
        let mut voters: BTreeSet<NodeId> = voters.iter().map(|node| NodeId(*node)).collect();
        let leader = *voters.first().expect("some");
        for _ in 0..20 {
            match next_change(&voters, nodes, &lost, leader) {
                None => return voters.iter().map(|node| node.0).collect(),
                Some(Change::AddVoter(node)) => assert!(voters.insert(node)),
                Some(Change::Remove(node)) => assert!(voters.remove(&node) && node != leader),
                Some(other) => panic!("{other:?}"),
            }
        }
        panic!("no end")
    }

    #[test]
    fn voters_follow_the_size_of_the_cluster_the_zones_and_the_dead() {
        assert_eq!(settle(&[1], &nodes(&["a"]), &[]), [1]);
        assert_eq!(settle(&[1], &nodes(&["a", "a"]), &[]), [1]);
        assert_eq!(settle(&[1], &nodes(&["a", "a", "b", "c"]), &[]), [1, 3, 4]);
        assert_eq!(settle(&[1], &nodes(&["a"; 7]), &[]), [1, 2, 3, 4, 5]);
        assert_eq!(settle(&[1, 2, 3], &nodes(&["a"; 4]), &[2]), [1, 3, 4]);
        // Nobody to take its place: it stays.
        assert_eq!(settle(&[1, 2, 3], &nodes(&["a"; 3]), &[2]), [1, 2, 3]);
        // A node that was removed from the cluster votes no more; nor does one too many.
        assert_eq!(settle(&[1, 2, 9], &nodes(&["a"; 3]), &[]), [1, 2, 3]);
        assert_eq!(settle(&[1, 2, 3], &nodes(&["a"; 2]), &[]), [1]);
    }
}
