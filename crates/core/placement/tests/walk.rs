//! The replicas are those a stock driver computes from the published tokens: beside a walk written for clearness only,
//! after the rules of Cassandra's strategies, over a plain sorted list of tokens.

use holon_base::NodeId;
use holon_placement::{NodeInfo, Replication, Ring, token_range};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

struct Published {
    tokens: Vec<(i64, NodeId)>,
    nodes: BTreeMap<NodeId, (String, String)>,
}

impl Published {
    fn of(ring: &Ring) -> Published {
        let mut tokens: Vec<(i64, NodeId)> = Vec::new();
        for (node, _) in ring.nodes() {
            tokens.extend(ring.tokens_of(node).into_iter().map(|token| (token, node)));
        }
        tokens.sort();
        let distinct: BTreeSet<i64> = tokens.iter().map(|(token, _)| *token).collect();
        assert_eq!(distinct.len(), tokens.len(), "two nodes publish one token");
        let place = |info: &NodeInfo| (info.data_center.clone(), info.rack.clone());
        Published { tokens, nodes: ring.nodes().map(|(node, info)| (node, place(info))).collect() }
    }

    /// Everybody from the owner of the token on, around the ring.
    fn walk_from(&self, token: i64) -> Vec<NodeId> {
        let first = self.tokens.partition_point(|(end, _)| *end < token);
        (0..self.tokens.len()).map(|step| self.tokens[(first + step) % self.tokens.len()].1).collect()
    }

    fn simple(&self, token: i64, factor: usize) -> Vec<NodeId> {
        let mut replicas = Vec::new();
        for node in self.walk_from(token) {
            if replicas.len() < factor && !replicas.contains(&node) {
                replicas.push(node);
            }
        }
        replicas
    }

    /// As drivers do: those whose rack was used wait until all racks of the data centre have been.
    fn network(&self, token: i64, factors: &BTreeMap<String, u32>) -> Vec<NodeId> {
        let mut replicas: Vec<NodeId> = Vec::new();
        let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut waiting: BTreeMap<String, Vec<NodeId>> = BTreeMap::new();
        for node in self.walk_from(token) {
            let (center, rack) = &self.nodes[&node];
            let all: BTreeSet<&String> =
                self.nodes.values().filter(|(other, _)| other == center).map(|(_, rack)| rack).collect();
            let wanted = factors.get(center).copied().unwrap_or(0) as usize;
            let here = |replicas: &[NodeId]| replicas.iter().filter(|node| self.nodes[node].0 == *center).count();
            let (used, waiting) = (used.entry(center.clone()).or_default(), waiting.entry(center.clone()).or_default());
            if here(&replicas) >= wanted || replicas.contains(&node) || waiting.contains(&node) {
                continue;
            }
            if used.contains(rack) && used.len() < all.len() {
                waiting.push(node);
                continue;
            }
            replicas.push(node);
            used.insert(rack.clone());
            if used.len() == all.len() {
                for node in std::mem::take(waiting) {
                    if here(&replicas) < wanted {
                        replicas.push(node);
                    }
                }
            }
        }
        replicas
    }

    /// As the server does since version 3: as many may repeat a rack as the factor exceeds the racks, whoever comes
    /// first. The same nodes as [`Published::network`], in another order.
    fn server(&self, token: i64, center: &str, factor: usize) -> BTreeSet<NodeId> {
        let members: Vec<&(String, String)> = self.nodes.values().filter(|(other, _)| other == center).collect();
        let racks: BTreeSet<&String> = members.iter().map(|(_, rack)| rack).collect();
        let (mut left, mut repeats) = (factor.min(members.len()), factor as i64 - racks.len() as i64);
        let (mut replicas, mut used) = (BTreeSet::new(), BTreeSet::new());
        for node in self.walk_from(token).into_iter().filter(|node| self.nodes[node].0 == center) {
            if left == 0 || replicas.contains(&node) {
                continue;
            }
            let first_of_rack = used.insert(self.nodes[&node].1.clone());
            if first_of_rack || repeats > 0 {
                repeats -= i64::from(!first_of_rack);
                replicas.insert(node);
                left -= 1;
            }
        }
        replicas
    }
}

fn check(ring: &Ring, factors: &BTreeMap<String, u32>, factor: u32, step: usize) {
    let published = Published::of(ring);
    let centers: Vec<&str> = ring.data_centers().collect();
    for slot in (0..ring.slots()).step_by(step) {
        let (start, end) = token_range(slot, ring.slots());
        // The last tokens of a slot are published by the data centres themselves.
        for token in [start.saturating_add(1), start / 2 + end / 2, end - centers.len() as i64 + 1] {
            assert_eq!(ring.slot_of_token(token), slot);
            let network = Replication::NetworkTopology { factors: factors.clone() };
            assert_eq!(ring.replicas(&network, slot), published.network(token, factors), "slot {slot}");
            let simple = Replication::Simple { factor };
            assert_eq!(ring.replicas(&simple, slot), published.simple(token, factor as usize), "slot {slot}");
            for center in &centers {
                let one = BTreeMap::from([(center.to_string(), factor)]);
                let ours = ring.replicas(&Replication::NetworkTopology { factors: one }, slot);
                assert_eq!(ours.into_iter().collect::<BTreeSet<_>>(), published.server(token, center, factor as usize));
            }
        }
    }
    assert_eq!(ring.tokens(), ring.nodes().map(|(node, _)| (node, ring.tokens_of(node))).collect());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn replicas_are_what_drivers_walk_to(
        places in proptest::collection::vec((0u8..3, 0u8..4, any::<u64>()), 1..24),
        factors in proptest::collection::btree_map("dc[0-3]", 0u32..6, 0..4),
        factor in 1u32..7,
        gone in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let node = |place: usize, seed: u64| NodeId(u128::from(seed) << 16 | place as u128);
        let mut ring: Option<Ring> = None;
        let mut nodes = Vec::new();
        for (place, (center, rack, seed)) in places.into_iter().enumerate() {
            let info = NodeInfo::new(&format!("dc{center}"), &format!("rack{rack}"), 1);
            let id = node(place, seed);
            nodes.push(id);
            ring = Some(match ring {
                None => Ring::first(id, info).unwrap(),
                Some(ring) => ring.with_node(id, info).unwrap(),
            });
        }
        let mut ring = ring.unwrap();
        for index in gone {
            let id = nodes.swap_remove(index.index(nodes.len()));
            match ring.without(id) {
                Ok(smaller) => ring = smaller,
                Err(_) => break,
            }
            if nodes.is_empty() {
                break;
            }
        }
        check(&ring, &factors, factor, 5);
        check(&ring.with_slots(ring.slots_wanted()).unwrap(), &factors, factor, 11);
    }
}

#[test]
fn racks_are_respected() {
    for racks in 1..=6u32 {
        for nodes in racks..=24 {
            let info = |number: u32| NodeInfo::new("dc1", &format!("r{}", number % racks), 1);
            let ring = Ring::from_nodes((0..nodes).map(|number| (NodeId(u128::from(number)), info(number)))).unwrap();
            for factor in 1..=6u32 {
                let factors = BTreeMap::from([("dc1".to_string(), factor)]);
                let replication = Replication::NetworkTopology { factors };
                for slot in 0..ring.slots() {
                    let replicas = ring.replicas(&replication, slot);
                    let used: BTreeSet<&str> =
                        replicas.iter().map(|node| ring.info(*node).unwrap().rack.as_str()).collect();
                    assert_eq!(replicas.len() as u32, factor.min(nodes));
                    assert_eq!(used.len() as u32, factor.min(racks), "{nodes} nodes, {racks} racks, factor {factor}");
                }
            }
        }
    }
}
