//! A seed of tablets that move: some nodes, a table of few tablets whose keyspace gets another number of replicas again and again,
//! nodes that join and leave, and clients of every node. Nodes are kept without news of the map while tablets move, so that they go
//! on by an old one; messages come late, nodes and disks fail. What comes back is held against the workload's model.

use crate::clients::{self, Clients};
use crate::faults::{DiskFaults, Fault, Faults};
use crate::network::NetworkFaults;
use crate::points;
use crate::report::{Outcome, RunOptions};
use crate::tables_nodes::{self, newest_map};
use crate::world::{NodeEvent, World};
use holon_base::Random;
use holon_kernel::{Class, Scope};
use holon_tables::service::TablesConfig;
use holon_tables::workload::{MovesWorkload, Workload};
use std::collections::BTreeSet;
use std::time::Duration;

/// Replicas at most. A ring that one node leaves must have more.
const FACTOR_MAX: u64 = 3;

/// After the last fault: longer than hints take, and the moves that were begun.
const QUIET: Duration = Duration::from_secs(40);

/// For reading everything back.
const READING_BACK: Duration = Duration::from_secs(200);

struct Run {
    random: Random,
    clients: Clients<MovesWorkload>,
    nodes: usize,
    /// A node that was asked to leave. It may have been refused.
    drained: Option<usize>,
    /// Those that the log was seen to have, and whether one has left.
    members: BTreeSet<usize>,
    has_left: bool,
    in_ring: usize,
    /// Of the map that was looked at last.
    epoch: u64,
    errors: Vec<String>,
}

pub fn run(seed: u64, options: &RunOptions) -> Outcome {
    let faults = Faults::default();
    let mut random = Random::new(seed ^ 0x301e_5000);
    let disk = DiskFaults { misdirect_per_million: 0, capacity_bytes: usize::MAX, ..DiskFaults::random(&mut random) };
    let small = tables_nodes::small(&mut random);
    let config = TablesConfig { repair_interval: Duration::from_secs(random.range(3, 10)), ..small };
    let nodes = random.range(4, 7) as usize;
    let shards = random.range(1, 3) as u16;
    // A table that was made by a node alone has two tablets a core: each change moves all of it at once.
    let first = if random.chance(2, 3) { 1 } else { random.range(3, 5) as usize };
    let factor = random.range(1, FACTOR_MAX + 1) as u32;
    // Coordinators prefer replicas of their own rack to the first one, which most changes of the number leave where it is.
    let racks = random.range(1, 4) as usize;
    // What one node knows of a change, and what others do, is some milliseconds apart.
    let mut far = Random::new(seed ^ 0x000f_a500);
    let far = seed.is_multiple_of(4).then(|| (far.below(nodes as u64) as usize, far.range(2_000, 40_000)));
    let expanded = format!(
        "nodes {first} then {nodes} racks {racks} shards {shards} factor {factor} far {far:?} memtable {} {disk:?}",
        config.memtable_bytes
    );
    let mut world = World::new(seed, nodes, shards, DiskFaults::NONE, faults.clone(), tables_nodes::install(config));
    world.one_cluster = true;
    world.racks = racks;
    world.tell = options.tell;
    let workload = MovesWorkload::new(nodes * 2, factor);
    let mut run = Run {
        random: random.fork(),
        clients: Clients::new(workload, (1, 2)),
        nodes,
        drained: None,
        members: BTreeSet::new(),
        has_left: false,
        in_ring: 0,
        epoch: 0,
        errors: Vec::new(),
    };
    // Off, but within the bound: a node whose clock is wrong takes no writes, and that is the cluster's world.
    (0..nodes).for_each(|node| world.set_clock(node, run.random.range(0, 200_000) as i64 - 100_000, 0));
    if let Err(error) = world.form(first) {
        run.errors.push(error);
    }
    if let Some((node, micros)) = far {
        world.network.move_away(World::node_id(node), micros);
    }
    (0..nodes).for_each(|node| world.nodes[node].disk.borrow_mut().options = disk);
    let end = world.now + options.simulated;
    while world.now < end && run.errors.is_empty() {
        run.turn(&mut world, true);
    }
    run.finish(&mut world);
    faults.sometimes("requests routed anew", points::total(&world, "holon_replica_reroutes_total") > 0);
    run.clients.outcome(seed, expanded, &world, run.errors)
}

impl Run {
    fn turn(&mut self, world: &mut World, faults: bool) {
        let next = world.now + Duration::from_micros(self.random.range(200, 10_000));
        world.run_until(next, |_| ());
        self.look_who_is_member(world);
        for event in std::mem::take(&mut world.events) {
            match event {
                NodeEvent::Up(_) => self.clients.workload.restarted(),
                NodeEvent::StoppedCleanly(node) => self.clients.node_gone(node),
                NodeEvent::Failed(node, reason) => {
                    self.clients.node_gone(node);
                    let of_disk = ["error", "poisoned"].iter().any(|word| reason.contains(word));
                    let removed = self.has_gone(node) && reason.contains("taken out of the cluster");
                    if !of_disk && !removed || reason.contains("damaged") {
                        self.errors.push(format!("node {node} stopped without a disk's fault: {reason}"));
                    }
                }
            }
        }
        let wall = clients::wall(world);
        self.clients.receive(wall, &mut self.errors);
        world.network.look(world.now);
        if faults {
            self.fault(world);
        } else {
            for node in 0..self.nodes {
                if world.is_down(node) && !self.has_gone(node) {
                    world.start(node);
                }
            }
        }
        let nodes = self.nodes;
        let node_of = |number: usize| {
            let mut others = (number..number + nodes).map(|number| number % nodes);
            others.find(|node| world.up(*node).is_some())
        };
        self.clients.send(world, &mut self.random, wall, node_of, &mut self.errors);
    }

    fn fault(&mut self, world: &mut World) {
        let node = self.random.below(self.nodes as u64) as usize;
        let is_set_up = self.clients.workload.is_set_up();
        match self.random.below(6000) {
            0..2 if !world.is_down(node) => {
                world.crash(node);
                self.clients.node_gone(node);
            }
            2..4 if world.up(node).is_some() => world.stop(node),
            4..60 if is_set_up && world.is_down(node) && !self.has_gone(node) => {
                if world.nodes[node].starts == 0 {
                    world.faults.fired(Fault::NodeJoins);
                    self.map_changes(world);
                }
                world.start(node);
            }
            60..64 => {
                let number = self.random.below(self.clients.count() as u64) as usize;
                self.clients.lose(world, number);
            }
            64..67 if !world.network.is_to_heal() => {
                world.network.isolate(World::node_id(node), (0..self.nodes).map(World::node_id));
                world.network.heal_at(world.now + Duration::from_millis(self.random.range(100, 5_000)));
            }
            67..72 => {
                world.network.options = NetworkFaults {
                    lost: self.random.below(20),
                    doubled: self.random.below(30),
                    delayed: self.random.below(60),
                };
            }
            72..82 => world.network.options = NetworkFaults::default(),
            82..84 if self.drained.is_none() && self.in_ring > FACTOR_MAX as usize => self.drain(world, node),
            84..104 if is_set_up => {
                // Mostly from one end to the other: a majority of one set then says least of the other.
                let (factor, most) = (self.clients.workload.factor(), FACTOR_MAX as u32);
                let other = if factor == most { 1 } else { most };
                let middle = factor != 2 && self.random.chance(1, 4);
                self.clients.workload.change_factor(if middle { 2 } else { other });
                world.faults.fired(Fault::ReplicationChange);
                self.map_changes(world);
            }
            _ => {}
        }
    }

    /// Nodes come and go as the log has it: of those that are up, the one that knows most says it.
    fn look_who_is_member(&mut self, world: &World) {
        let Some(map) = newest_map(world).filter(|map| map.epoch() > self.epoch) else { return };
        self.epoch = map.epoch();
        let records = map.nodes();
        self.in_ring = records.iter().filter(|record| !record.tokens.is_empty()).count();
        let is_member = |node: &usize| records.iter().any(|record| record.node == World::node_id(*node));
        self.has_left |= self.drained.is_some_and(|node| self.members.contains(&node) && !is_member(&node));
        self.members.extend((0..self.nodes).filter(is_member));
    }

    fn has_gone(&self, node: usize) -> bool {
        self.has_left && self.drained == Some(node)
    }

    /// An administrator asks some node that one may leave.
    fn drain(&mut self, world: &mut World, node: usize) {
        let other = (0..self.nodes).find(|other| *other != node && world.up(*other).is_some());
        let Some(live) = other.and_then(|other| world.up(other)?.first()) else { return };
        let (shard, metadata) = (live.shard.clone(), live.metadata.clone());
        self.drained = Some(node);
        shard.spawn(Scope::Node, Class::Foreground, async move {
            let _ = metadata.drain(World::node_id(node)).await; // refused while another change is on its way
        });
        world.faults.fired(Fault::NodeDrained);
        self.map_changes(world);
    }

    /// Tablets begin to move: some node may hear nothing of it, and may not reach one other; and messages may be late.
    fn map_changes(&mut self, world: &mut World) {
        let up: Vec<usize> = (0..self.nodes).filter(|node| world.up(*node).is_some()).collect();
        if world.network.is_to_heal() || up.len() < 2 || self.random.chance(1, 4) {
            return;
        }
        let node = up[self.random.below(up.len() as u64) as usize];
        world.network.keep_uninformed(World::node_id(node));
        let other = up[self.random.below(up.len() as u64) as usize];
        if other != node && self.random.chance(1, 3) {
            world.network.cut(World::node_id(node), World::node_id(other));
        }
        if self.random.chance(1, 3) {
            world.network.options.delayed = self.random.range(10, 100);
        }
        world.network.heal_at(world.now + Duration::from_millis(self.random.range(500, 8_000)));
    }

    /// Faults end, all nodes come up; when all moves have ended everything is read back, through every node.
    fn finish(&mut self, world: &mut World) {
        for node in 0..self.nodes {
            world.nodes[node].disk.borrow_mut().options = DiskFaults::NONE;
        }
        world.network.heal();
        world.network.options = NetworkFaults::default();
        self.clients.workload.pause();
        let quiet = world.now + QUIET;
        while world.now < quiet && self.errors.is_empty() {
            self.turn(world, false);
        }
        self.clients.workload.finish();
        let deadline = world.now + READING_BACK;
        while self.errors.is_empty() && !self.clients.workload.is_finished() {
            if world.now > deadline {
                let last = &self.clients.workload.last_refusal;
                let what = "after all faults ended not everything could be read in";
                self.errors.push(format!("{what} {READING_BACK:?}; refused last: {last}"));
                return;
            }
            self.turn(world, false);
        }
    }
}
