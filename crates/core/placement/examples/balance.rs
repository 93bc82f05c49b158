//! Prints what joins and drains do to a ring, as tables: how even the replicas are, how much moves.
//! `cargo run --release -p holon-placement --example balance`

use holon_base::NodeId;
use holon_placement::{NodeInfo, Replication, Ring};
use std::collections::BTreeMap;

const FACTORS: [u32; 4] = [1, 2, 3, 5];

fn node(number: u128) -> NodeId {
    NodeId((number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835))
}

fn network(factor: u32) -> Replication {
    Replication::NetworkTopology { factors: BTreeMap::from([("dc1".to_string(), factor)]) }
}

fn replicas(ring: &Ring, replication: &Replication) -> Vec<Vec<NodeId>> {
    (0..ring.slots()).map(|slot| ring.replicas(replication, slot)).collect()
}

fn max_over_average(ring: &Ring, sets: &[Vec<NodeId>]) -> f64 {
    let mut loads: BTreeMap<NodeId, usize> = ring.nodes().map(|(node, _)| (node, 0)).collect();
    sets.iter().flatten().for_each(|node| *loads.entry(*node).or_insert(0) += 1);
    let total: usize = loads.values().sum();
    loads.values().copied().max().unwrap_or(0) as f64 * loads.len() as f64 / total as f64
}

fn moved(before: &Ring, after: &Ring, replication: &Replication) -> f64 {
    let times = after.slots() / before.slots();
    let (mut moved, mut total) = (0, 0);
    for slot in 0..after.slots() {
        let (old, new) = (before.replicas(replication, slot / times), after.replicas(replication, slot));
        total += new.len();
        moved += new.iter().filter(|node| !old.contains(node)).count();
    }
    moved as f64 / total as f64
}

fn main() {
    for racks in 1..=3u128 {
        println!("\n### {racks} racks\n");
        println!("| nodes | slots | max/avg 1 | 2 | 3 | 5 | simple 3 | moved·n 1 | 2 | 3 | 5 | slots min..max |");
        println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
        let info = |number: u128| NodeInfo::new("dc1", &format!("r{}", number % racks), 2);
        let mut ring = Ring::first(node(0), info(0)).unwrap();
        let steps = (1..40u128).map(|n| (true, n)).chain((1..40u128).map(|n| (false, n * 7 % 40)));
        for (join, number) in steps {
            if ring.slots_wanted() > ring.slots() {
                let split = ring.with_slots(ring.slots_wanted()).unwrap();
                let share = FACTORS.map(|factor| format!("{:.3}", moved(&ring, &split, &network(factor))));
                println!("| split | {} | moved | {} |", split.slots(), share.join(" | "));
                ring = split;
            }
            let before = ring.clone();
            ring = if join { ring.with_node(node(number), info(number)) } else { ring.without(node(number)) }.unwrap();
            let n = ring.nodes().len().max(before.nodes().len()) as f64;
            let even =
                FACTORS.map(|factor| format!("{:.3}", max_over_average(&ring, &replicas(&ring, &network(factor)))));
            let simple = max_over_average(&ring, &replicas(&ring, &Replication::Simple { factor: 3 }));
            let share = FACTORS.map(|factor| format!("{:.2}", n * moved(&before, &ring, &network(factor))));
            let tokens: Vec<usize> = ring.tokens().values().map(Vec::len).collect();
            println!(
                "| {} | {} | {} | {simple:.3} | {} | {}..{} |",
                ring.nodes().len(),
                ring.slots(),
                even.join(" | "),
                share.join(" | "),
                tokens.iter().min().unwrap(),
                tokens.iter().max().unwrap()
            );
        }
    }
}
