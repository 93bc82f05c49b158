//! Makes a ring of so many nodes in three racks at once, then lets one node join and one leave; to be run under `time`.
//! `cargo run --release -p holon-placement --example scale -- 75000 join`

use holon_base::NodeId;
use holon_placement::{NodeInfo, Ring};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let nodes: u128 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1000);
    let step = arguments.next().unwrap_or_default();
    let node = |number: u128| NodeId((number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835));
    let info = |number: u128| NodeInfo::new("dc1", &format!("r{}", number % 3), 8);
    let mut ring = Ring::from_nodes((0..nodes).map(|number| (node(number), info(number)))).expect("a ring");
    match step.as_str() {
        "join" => ring = ring.with_node(node(nodes), info(nodes)).expect("a join"),
        "drain" => ring = ring.without(node(7)).expect("a drain"),
        "encode" => println!("| {nodes} | {} slots | {} bytes |", ring.slots(), ring.encode().len()),
        "replicas" => {
            let factors = [("dc1".to_string(), 3)].into();
            let replication = holon_placement::Replication::NetworkTopology { factors };
            let total: usize = (0..ring.slots()).map(|slot| ring.replicas(&replication, slot).len()).sum();
            println!("{total} replicas of {} slots", ring.slots());
        }
        _ => {}
    }
    println!("{} nodes, {} slots", ring.nodes().len(), ring.slots());
}
