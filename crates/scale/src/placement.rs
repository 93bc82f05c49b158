//! How even placement is and what a join moves, for one size of a cluster: three racks, three replicas.
//!
//! A table has as many tablets as the ring has slots, up to what a group may have; its replicas are counted tablet by
//! tablet.

use crate::figures::Figures;
use crate::process::{cpu_seconds, resident_bytes};
use crate::world::id;
use holon_base::{GroupId, NodeId};
use holon_placement::limits::TABLETS_MAX;
use holon_placement::{ChangeKind, Entry, GroupPlacement, NodeInfo, Replication, Ring, RingError, Topology};
use std::collections::BTreeMap;

const FACTOR: u32 = 3;
const RACKS: usize = 3;
/// Rings up to this size are also grown node by node.
pub const GROWN_MAX: usize = 1_000;

fn info(node: usize) -> NodeInfo {
    NodeInfo::new("dc1", &format!("r{}", node % RACKS), 8)
}

fn replication() -> Replication {
    Replication::NetworkTopology { factors: BTreeMap::from([("dc1".to_string(), FACTOR)]) }
}

/// Of each tablet of a table of so many, its replicas.
fn replicas(ring: &Ring, tablets: u32) -> Vec<Vec<NodeId>> {
    let replication = replication();
    (0..tablets).map(|ordinal| ring.replicas_of_tablet(&replication, ordinal, tablets)).collect()
}

/// The most that a node has over the average, and the share of nodes that have nothing.
fn balance(ring: &Ring, tablets: &[Vec<NodeId>]) -> (f64, f64) {
    let mut loads: BTreeMap<NodeId, u64> = ring.nodes().map(|(node, _)| (node, 0)).collect();
    tablets.iter().flatten().for_each(|node| *loads.entry(*node).or_default() += 1);
    let (nodes, total) = (loads.len() as f64, loads.values().sum::<u64>() as f64);
    let most = loads.values().copied().max().unwrap_or(0) as f64;
    let without = loads.values().filter(|load| **load == 0).count() as f64;
    (most * nodes / total, without / nodes)
}

/// Which part of the replicas stands elsewhere afterwards.
fn moved(before: &[Vec<NodeId>], after: &[Vec<NodeId>]) -> f64 {
    let new = |(old, new): (&Vec<NodeId>, &Vec<NodeId>)| new.iter().filter(|node| !old.contains(node)).count();
    before.iter().zip(after).map(new).sum::<usize>() as f64 / after.iter().map(Vec::len).sum::<usize>() as f64
}

/// A ring made at once, weighed as [`crate::memory::weigh`] does and before it.
pub fn weigh(nodes: usize, figures: &mut Figures) -> Result<Ring, String> {
    let before = resident_bytes();
    let ring = Ring::from_nodes((0..nodes).map(|node| (id(node), info(node)))).map_err(|error| error.to_string())?;
    figures.set("ring_resident_bytes", resident_bytes().saturating_sub(before) as f64);
    Ok(ring)
}

pub fn measure(nodes: usize, ring: Ring, figures: &mut Figures) -> Result<(), String> {
    at_once(nodes, ring, figures).map_err(|error| format!("{nodes} nodes: {error}"))?;
    if nodes <= GROWN_MAX {
        grown(nodes, figures).map_err(|error| format!("{nodes} nodes: {error}"))?;
    }
    Ok(())
}

fn at_once(nodes: usize, ring: Ring, figures: &mut Figures) -> Result<(), RingError> {
    figures.set("ring_bytes", ring.encode().len() as f64);
    figures.set("slots", f64::from(ring.slots()));
    // Of all slots: what a table with a tablet for each would have.
    let (over, _) = balance(&ring, &replicas(&ring, ring.slots()));
    figures.set("slots_max_over_average", over);
    let tablets = ring.slots().min(TABLETS_MAX);
    figures.set("tablets", f64::from(tablets));
    let placed = replicas(&ring, tablets);
    let (over, without) = balance(&ring, &placed);
    figures.set("tablets_max_over_average", over);
    figures.set("nodes_without_tablets", without);
    figures.set("tablets_per_node", f64::from(tablets * FACTOR.min(nodes as u32)) / nodes as f64);

    let began = cpu_seconds();
    let joined = ring.with_node(id(nodes), info(nodes))?;
    figures.set("ring_join_seconds", cpu_seconds() - began);
    let slots = ring.slots();
    let share = moved(&replicas(&ring, slots), &replicas(&joined, slots));
    figures.set("join_moves_times_nodes", share * (nodes + 1) as f64);
    plan_a_join(ring, nodes, tablets, figures);
    Ok(())
}

/// What every node computes when an entry of the log starts a join, with one table.
fn plan_a_join(ring: Ring, nodes: usize, tablets: u32, figures: &mut Figures) {
    let mut topology = Topology::of_ring(ring);
    let placement = GroupPlacement { tablets, replication: replication() };
    let created = topology.apply(1, &Entry::CreateGroup { group: GroupId(1), placement });
    let began = cpu_seconds();
    let kind = ChangeKind::Join { node: id(nodes), info: info(nodes) };
    let started = topology.apply(2, &Entry::Start(kind));
    figures.set("plan_join_seconds", cpu_seconds() - began);
    if created.is_ok() && started.is_ok() {
        let (planned, active) = topology.moves();
        figures.set("join_moves_tablets", (planned.len() + active.len()) as f64);
    }
}

/// The same after a life of joins and splits, as a cluster comes about that began with one node.
fn grown(nodes: usize, figures: &mut Figures) -> Result<(), RingError> {
    let mut ring = Ring::first(id(0), info(0))?;
    for node in 1..nodes {
        if ring.slots_wanted() > ring.slots() {
            ring = ring.with_slots(ring.slots_wanted())?;
        }
        ring = ring.with_node(id(node), info(node))?;
    }
    let tablets = ring.slots().min(TABLETS_MAX);
    figures.set("grown_max_over_average", balance(&ring, &replicas(&ring, tablets)).0);
    Ok(())
}
