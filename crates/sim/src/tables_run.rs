//! A seed of the tables service, whole: bytes of the CQL protocol into sessions on every shard, through planner, tablets and
//! engine to a disk that fails; what comes back is held against the workload's own model.

use crate::clients::Clients;
use crate::faults::{DiskFaults, Fault, Faults};
use crate::report::{Outcome, RunOptions};
use crate::tables_nodes;
use crate::world::{NodeEvent, World};
use holon_base::{Instant, Random, Wall};
use holon_tables::workload::{TablesWorkload, TablesWorkloadOptions, Workload};
use std::time::Duration;

const NODE: usize = 0;
struct Run {
    random: Random,
    clients: Clients<TablesWorkload>,
    restarted: bool,
    errors: Vec<String>,
}

pub fn run(seed: u64, options: &RunOptions) -> Outcome {
    let faults = Faults::default();
    let mut random = Random::new(seed ^ 0x7ab1_e500);
    // A lone copy that rots can only refuse to serve: that is the store's world. Here the disk fails, but does not lie.
    let disk = DiskFaults { misdirect_per_million: 0, capacity_bytes: usize::MAX, ..DiskFaults::random(&mut random) };
    let config = tables_nodes::small(&mut random);
    let shards = random.range(1, 4) as u16;
    let expanded = format!("shards {shards} memtable {} cache {} {disk:?}", config.memtable_bytes, config.cache_bytes);
    let mut world = World::new(seed, 1, shards, disk, faults.clone(), tables_nodes::install(config));
    let workload = TablesWorkload::new(TablesWorkloadOptions::default());
    let clients = Clients::new(workload, (3, 4));
    let mut run = Run { random: random.fork(), clients, restarted: false, errors: Vec::new() };
    world.start(NODE);
    let end = Instant(0) + options.simulated;
    while world.now < end && run.errors.is_empty() {
        run.turn(&mut world, true);
    }
    run.finish(&mut world);
    run.clients.outcome(seed, expanded, &world, run.errors)
}

impl Run {
    fn turn(&mut self, world: &mut World, faults: bool) {
        let next = world.now + Duration::from_micros(self.random.range(200, 20_000));
        world.run_until(next, |_| ());
        for event in std::mem::take(&mut world.events) {
            match event {
                NodeEvent::Up(_) if self.restarted => self.clients.workload.restarted(),
                NodeEvent::Up(_) => {}
                NodeEvent::StoppedCleanly(_) => self.node_gone(),
                NodeEvent::Failed(_, reason) => {
                    self.node_gone();
                    if !["error", "space", "poisoned"].iter().any(|word| reason.contains(word))
                        || reason.contains("damaged")
                    {
                        self.errors.push(format!("the node stopped without a disk's fault: {reason}"));
                    }
                }
            }
        }
        self.clients.receive(Self::wall(world), &mut self.errors);
        if faults {
            self.fault(world);
        } else if world.is_down(NODE) {
            world.start(NODE);
        }
        if world.up(NODE).is_some() {
            let wall = Self::wall(world);
            self.clients.send(world, &mut self.random, wall, |_| Some(NODE), &mut self.errors);
        }
    }

    fn node_gone(&mut self) {
        self.clients.node_gone(NODE);
        self.restarted = true;
    }

    fn fault(&mut self, world: &mut World) {
        match self.random.below(1500) {
            0..4 if !world.is_down(NODE) => {
                world.crash(NODE);
                self.node_gone();
                let shards = self.random.range(1, 4) as u16;
                if shards != world.nodes[NODE].shards {
                    world.nodes[NODE].shards = shards;
                    world.faults.fired(Fault::ShardCountChange);
                }
            }
            4..6 if world.up(NODE).is_some() => world.stop(NODE),
            6..300 if world.is_down(NODE) => world.start(NODE),
            300..303 => {
                let number = self.random.below(self.clients.count() as u64) as usize;
                self.clients.lose(world, number);
            }
            _ => {}
        }
    }

    fn wall(world: &World) -> Wall {
        world.up(NODE).map_or(Wall(0), |live| live[0].shard.wall())
    }

    /// Faults end; the node comes up, and everything is read back.
    fn finish(&mut self, world: &mut World) {
        if !self.errors.is_empty() {
            return;
        }
        world.nodes[NODE].disk.borrow_mut().options = DiskFaults::NONE;
        self.clients.workload.finish();
        let deadline = world.now + Duration::from_secs(300);
        while self.errors.is_empty() && !self.clients.workload.is_finished() {
            if world.now > deadline {
                self.errors.push("after all faults ended not everything could be read back in 300 s".to_string());
                return;
            }
            self.turn(world, false);
        }
    }
}
