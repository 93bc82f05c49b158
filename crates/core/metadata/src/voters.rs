//! The leader of the metadata group chooses its voters: as many as the cluster can lose half of, in different zones, and
//! replaces those that seem dead for long. Who is to vote is a learner first, until it has the log. One change at a time.
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
use holon_raft::{Change, Members, Status};
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

/// What the leader knows of the nodes.
struct Seen<'a> {
    members: &'a Members,
    /// Of the cluster.
    nodes: &'a [NodeRecord],
    /// Seem dead for long.
    lost: BTreeSet<NodeId>,
    leader: NodeId,
}

/// What is to be done next for the voters to be those that should be; `None`: they are, or a learner is on its way.
///
/// A node that has just come may not be running yet, or may fall at once: it is a learner until it has the log, for the group
/// would wait for a voter that never was there. Learners become voters together.
fn next_change(seen: &Seen, is_alive: impl Fn(NodeId) -> bool, has_the_log: impl Fn(NodeId) -> bool) -> Option<Change> {
    let Seen { members, nodes, lost, leader } = seen;
    let (voters, learners) = (&members.voters, &members.learners);
    let is_member = |node: NodeId| nodes.iter().any(|record| record.node == node);
    if let Some(gone) = members.all().find(|node| !is_member(*node) && node != leader) {
        return Some(Change::Remove(gone));
    }
    if let Some(fallen) = learners.iter().find(|node| !is_alive(**node)) {
        return Some(Change::Remove(*fallen));
    }
    let sound: BTreeSet<NodeId> = voters.difference(lost).copied().collect();
    let wanted = wanted(nodes.len());
    let missing = wanted.saturating_sub(sound.len());
    if learners.len() > missing {
        return learners.last().map(|node| Change::Remove(*node));
    }
    let mut zones: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for record in nodes.iter().filter(|record| sound.contains(&record.node) || learners.contains(&record.node)) {
        *zones.entry((&record.data_center, &record.rack)).or_default() += 1;
    }
    let free = nodes.iter().filter(|record| !members.contains(record.node) && is_alive(record.node));
    let crowding = |record: &&NodeRecord| zones.get(&(&*record.data_center, &*record.rack)).copied().unwrap_or(0);
    let candidate = free.min_by_key(|record| (crowding(record), record.node)).map(|record| record.node);
    if learners.len() < missing
        && let Some(candidate) = candidate
    {
        return Some(Change::AddLearner(candidate));
    }
    if let Some(first) = learners.first() {
        return learners.iter().all(|node| has_the_log(*node)).then_some(Change::AddVoter(*first));
    }
    if missing > 0 {
        return None; // better a voter that may come back than none
    }
    if let Some(dead) = voters.intersection(lost).next() {
        return Some(Change::Remove(*dead));
    }
    let surplus = voters.len() > wanted;
    voters.iter().rev().find(|voter| surplus && *voter != leader).map(|voter| Change::Remove(*voter))
}

impl Metadata {
    /// On shard 0: who votes in the metadata group, as this node has it.
    pub fn voters(&self) -> BTreeSet<NodeId> {
        self.consensus().map(|consensus| consensus.status().members.voters).unwrap_or_default()
    }

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
        let seen = Seen { members: &status.members, nodes, lost, leader: self.shard.node() };
        let has_the_log =
            |node: NodeId| status.followers.iter().any(|known| known.node == node && known.has(status.commit));
        let change = next_change(&seen, |node| self.shard.is_alive(node), has_the_log);
        if let Some(change) = change {
            // Refused while the last change is not committed: the next look tries again.
            let _ = consensus.step(|raft, now, out| raft.change_members(now, change, out));
        }
        change.is_some() || !status.members.learners.is_empty()
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

    fn ids(numbers: &[u128]) -> BTreeSet<NodeId> {
        numbers.iter().map(|node| NodeId(*node)).collect()
    }

    /// Applies changes until there are none. `lost` nodes seem dead, `silent` ones seem alive and never get the log.
    fn settle(voters: &[u128], nodes: &[NodeRecord], lost: &[u128], silent: &[u128]) -> Members {
        let mut members = Members { voters: ids(voters), learners: BTreeSet::new() };
        let leader = *members.voters.first().expect("some");
        for _ in 0..30 {
            let seen = Seen { members: &members, nodes, lost: ids(lost), leader };
            let change = next_change(&seen, |node| !lost.contains(&node.0), |node| !silent.contains(&node.0));
            match change {
                None => return members,
                Some(Change::AddLearner(node)) => {
                    assert!(!members.voters.contains(&node) && members.learners.insert(node))
                }
                Some(Change::AddVoter(node)) => {
                    assert!(members.learners.remove(&node) && members.voters.insert(node));
                }
                Some(Change::Remove(node)) => {
                    assert!(node != leader && (members.voters.remove(&node) || members.learners.remove(&node)));
                }
            }
        }
        panic!("no end")
    }

    fn voters(voters: &[u128], nodes: &[NodeRecord], lost: &[u128]) -> Vec<u128> {
        let members = settle(voters, nodes, lost, &[]);
        assert_eq!(members.learners, ids(&[]));
        members.voters.iter().map(|node| node.0).collect()
    }

    #[test]
    fn voters_follow_the_size_of_the_cluster_the_zones_and_the_dead() {
        assert_eq!(voters(&[1], &nodes(&["a"]), &[]), [1]);
        assert_eq!(voters(&[1], &nodes(&["a", "a"]), &[]), [1]);
        assert_eq!(voters(&[1], &nodes(&["a", "a", "b", "c"]), &[]), [1, 3, 4]);
        assert_eq!(voters(&[1], &nodes(&["a"; 7]), &[]), [1, 2, 3, 4, 5]);
        assert_eq!(voters(&[1, 2, 3], &nodes(&["a"; 4]), &[2]), [1, 3, 4]);
        // Nobody to take its place: it stays.
        assert_eq!(voters(&[1, 2, 3], &nodes(&["a"; 3]), &[2]), [1, 2, 3]);
        // A node that was removed from the cluster votes no more; nor does one too many.
        assert_eq!(voters(&[1, 2, 9], &nodes(&["a"; 3]), &[]), [1, 2, 3]);
        assert_eq!(voters(&[1, 2, 3], &nodes(&["a"; 2]), &[]), [1]);
    }

    #[test]
    fn who_does_not_have_the_log_yet_does_not_vote() {
        // Of five two are missing, and both become voters or none: two voters of two could lose none.
        let waiting = settle(&[1], &nodes(&["a"; 3]), &[], &[3]);
        assert_eq!((waiting.voters, waiting.learners), (ids(&[1]), ids(&[2, 3])));
        // One that falls is no learner any more, and another is found.
        let nodes = nodes(&["a"; 4]);
        let seen = |members| Seen { members, nodes: &nodes, lost: ids(&[]), leader: NodeId(1) };
        let members = Members { voters: ids(&[1]), learners: ids(&[2, 3]) };
        let change = next_change(&seen(&members), |node| node != NodeId(3), |_| true);
        assert_eq!(change, Some(Change::Remove(NodeId(3))));
        assert_eq!(voters(&[1], &nodes, &[3]), [1, 2, 4]);
    }
}
