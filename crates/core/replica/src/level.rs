//! Consistency levels as numbers of replicas, and whether they are met.

use crate::plant;
use holon_base::NodeId;
use holon_kernel::Replication;

/// What a request asks of replicas, as Cassandra names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// A hint is enough; writes only.
    Any,
    Count(u32),
    Quorum,
    All,
    /// Of the coordinator's data centre only.
    LocalCount(u32),
    LocalQuorum,
    /// A majority of each data centre.
    EachQuorum,
}

/// What is known of where nodes are.
pub trait Places {
    fn data_center_of(&self, node: NodeId) -> &str;

    /// The coordinator's own.
    fn own_data_center(&self) -> &str;
}

/// So many of these nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    nodes: Vec<NodeId>,
    needed: usize,
}

/// What a level asks of one set of replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    parts: Vec<Part>,
}

fn majority(of: usize) -> usize {
    of / 2 + 1 - usize::from(plant::get().majority_minus_one)
}

fn factor(replication: &Replication) -> usize {
    match replication {
        Replication::Simple { factor } => *factor as usize,
        Replication::PerDataCenter { factors } => factors.values().map(|factor| *factor as usize).sum(),
    }
}

fn factor_in(replication: &Replication, data_center: &str) -> usize {
    match replication {
        Replication::Simple { factor } => *factor as usize,
        Replication::PerDataCenter { factors } => factors.get(data_center).map_or(0, |factor| *factor as usize),
    }
}

impl Quota {
    /// `promised`: what the keyspace says. A majority is one of the promised replicas or of those there are, whichever is
    /// more: with too few nodes a majority is refused rather than taken of what is left (as in Cassandra), and
    /// where there are still more than promised it is a majority of them. `None`: the tablet moves, and the set itself
    /// is what counts.
    pub fn new(level: Level, set: &[NodeId], promised: Option<&Replication>, places: &dyn Places) -> Quota {
        let of = |nodes: &[NodeId], promised: Option<usize>| nodes.len().max(promised.unwrap_or(0));
        let here = |data_center: &str| -> Vec<NodeId> {
            set.iter().copied().filter(|node| places.data_center_of(*node) == data_center).collect()
        };
        let own = places.own_data_center();
        let in_own = |needed: &dyn Fn(usize) -> usize| {
            let nodes = here(own);
            let needed = needed(of(&nodes, promised.map(|promised| factor_in(promised, own))));
            Quota { parts: vec![Part { nodes, needed }] }
        };
        let in_all = |needed: usize| Quota { parts: vec![Part { nodes: set.to_vec(), needed }] };
        match level {
            Level::Any => in_all(1),
            Level::Count(count) => in_all(count as usize),
            Level::Quorum => in_all(majority(of(set, promised.map(factor)))),
            Level::All => in_all(of(set, promised.map(factor))),
            Level::LocalCount(count) => in_own(&|_| count as usize),
            Level::LocalQuorum => in_own(&majority),
            Level::EachQuorum => {
                let mut data_centers: Vec<&str> = set.iter().map(|node| places.data_center_of(*node)).collect();
                if let Some(Replication::PerDataCenter { factors }) = promised {
                    data_centers
                        .extend(factors.iter().filter(|(_, factor)| **factor > 0).map(|(name, _)| name.as_str()));
                }
                data_centers.sort_unstable();
                data_centers.dedup();
                let part = |name: &&str| {
                    let nodes = here(name);
                    let promised = match promised {
                        Some(Replication::PerDataCenter { factors }) => {
                            factors.get(*name).map(|factor| *factor as usize)
                        }
                        _ => None,
                    };
                    let needed = majority(of(&nodes, promised));
                    Part { nodes, needed }
                };
                match promised {
                    // Without factors of their own, data centres are not told apart.
                    Some(Replication::Simple { .. }) => in_all(majority(of(set, promised.map(factor)))),
                    _ => Quota { parts: data_centers.iter().map(part).collect() },
                }
            }
        }
    }

    /// How many answers it takes, in all.
    pub fn needed(&self) -> usize {
        self.parts.iter().map(|part| part.needed).sum()
    }

    /// How many of those that count are as `is` says, not more in any part than it needs.
    pub fn count(&self, is: impl Fn(NodeId) -> bool) -> usize {
        self.parts.iter().map(|part| part.nodes.iter().filter(|node| is(**node)).count().min(part.needed)).sum()
    }

    /// Whether those for whom `is` holds are enough.
    pub fn is_met(&self, is: impl Fn(NodeId) -> bool) -> bool {
        self.parts.iter().all(|part| part.nodes.iter().filter(|node| is(**node)).count() >= part.needed)
    }

    /// Adds to those who are asked as many candidates, in order of preference, as it takes for just enough.
    pub fn choose(&self, candidates: &[NodeId], chosen: &mut Vec<NodeId>) {
        for part in &self.parts {
            let already = chosen.iter().filter(|node| part.nodes.contains(node)).count();
            let others = candidates.iter().copied().filter(|node| part.nodes.contains(node) && !chosen.contains(node));
            let more: Vec<NodeId> = others.take(part.needed.saturating_sub(already)).collect();
            chosen.extend(more);
        }
    }

    /// Whether a node's answer counts.
    pub fn counts(&self, node: NodeId) -> bool {
        self.parts.iter().any(|part| part.nodes.contains(&node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Nodes below 10 are in `east`, the others in `west`.
    struct TwoPlaces;

    impl Places for TwoPlaces {
        fn data_center_of(&self, node: NodeId) -> &str {
            if node.0 < 10 { "east" } else { "west" }
        }

        fn own_data_center(&self) -> &str {
            "east"
        }
    }

    fn nodes(ids: &[u128]) -> Vec<NodeId> {
        ids.iter().map(|id| NodeId(*id)).collect()
    }

    fn per_data_center(east: u32, west: u32) -> Replication {
        Replication::PerDataCenter { factors: BTreeMap::from([("east".into(), east), ("west".into(), west)]) }
    }

    fn needed(level: Level, set: &[u128], promised: &Replication) -> usize {
        Quota::new(level, &nodes(set), Some(promised), &TwoPlaces).needed()
    }

    #[test]
    fn levels_ask_for_what_cassandra_asks_for() {
        let three = Replication::Simple { factor: 3 };
        for (level, count) in [
            (Level::Any, 1),
            (Level::Count(2), 2),
            (Level::Quorum, 2),
            (Level::All, 3),
            (Level::LocalCount(1), 1),
            (Level::LocalQuorum, 2),
            (Level::EachQuorum, 2),
        ] {
            assert_eq!(needed(level, &[1, 2, 3], &three), count, "{level:?}");
        }
        // Promised three, one node there: a majority of three is asked for, and is not there.
        assert_eq!(needed(Level::Quorum, &[1], &three), 2);
        assert_eq!(needed(Level::All, &[1], &three), 3);
        let both = per_data_center(3, 2);
        let set = [1, 2, 3, 11, 12];
        assert_eq!(needed(Level::Quorum, &set, &both), 3);
        assert_eq!(needed(Level::LocalQuorum, &set, &both), 2);
        assert_eq!(needed(Level::EachQuorum, &set, &both), 4);
        assert_eq!(needed(Level::All, &set, &both), 5);
    }

    #[test]
    fn answers_count_where_they_are_asked_for() {
        let set = nodes(&[1, 2, 3, 11, 12, 13]);
        let both = per_data_center(3, 3);
        let each = Quota::new(Level::EachQuorum, &set, Some(&both), &TwoPlaces);
        let met = |quota: &Quota, acked: &[u128]| quota.is_met(|node| acked.contains(&node.0));
        assert!(!met(&each, &[1, 2, 3, 11]));
        assert!(met(&each, &[1, 2, 11, 12]));
        assert_eq!(each.count(|node| [1, 2, 3, 11].contains(&node.0)), 3);
        let local = Quota::new(Level::LocalQuorum, &set, Some(&both), &TwoPlaces);
        assert!(!met(&local, &[1, 11, 12, 13]) && met(&local, &[1, 3]));
        assert!(!local.counts(NodeId(11)));
        let choose = |quota: &Quota, chosen: &[u128]| {
            let mut chosen = nodes(chosen);
            quota.choose(&nodes(&[11, 3, 12, 2, 1]), &mut chosen);
            chosen
        };
        assert_eq!(choose(&local, &[]), nodes(&[3, 2]));
        assert_eq!(choose(&local, &[2]), nodes(&[2, 3]));
        assert_eq!(choose(&each, &[]), nodes(&[3, 2, 11, 12]));
    }

    /// Any two majorities meet, whatever of promise and reality is larger.
    #[test]
    fn majorities_meet() {
        for there in 1..6u128 {
            for promised in 1..6 {
                let set: Vec<u128> = (0..there).collect();
                let replication = Replication::Simple { factor: promised };
                let needed = needed(Level::Quorum, &set, &replication) as u128;
                assert!(2 * needed > there, "{there} there, {promised} promised, {needed} needed");
            }
        }
    }
}
