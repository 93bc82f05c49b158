//! A seed of backups: nodes of one cluster, clients that write, and backups that are taken while nodes and disks fail and the
//! network is cut. Each that is finished is read and held against the workload's model. At the end one is brought back.

use crate::clients::{self, Clients};
use crate::faults::{DiskFaults, Faults};
use crate::network::NetworkFaults;
use crate::report::{Outcome, RunOptions};
use crate::tables_nodes;
use crate::world::{NodeEvent, World};
use holon_base::Random;
use holon_kernel::{Class, Scope, Service};
use holon_metadata::Metadata;
use holon_tables::service::TablesService;
use holon_tables::workload::{BackupWorkload, Shown, Workload};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// After the last fault: longer than hints and batches take, so that nothing from before comes after the tables were emptied.
const QUIET: Duration = Duration::from_secs(40);

/// For emptying, bringing back and reading.
const ENDING: Duration = Duration::from_secs(200);

type Words = Result<Vec<(String, holon_store::Mutation)>, String>;

/// A backup that is being taken, or brought back.
struct Job {
    node: usize,
    name: String,
    called_micros: i64,
    outcome: Rc<RefCell<Option<Words>>>,
}

struct Run {
    random: Random,
    clients: Clients<BackupWorkload>,
    /// By shard of the node, its service.
    services: Rc<RefCell<Vec<Rc<TablesService>>>>,
    nodes: usize,
    /// The first so many of them are to run.
    wanted: usize,
    job: Option<Job>,
    /// The last that was finished: on which node, by which name, and what it has.
    kept: Option<(usize, String, Shown)>,
    backups: u64,
    /// What the network does to messages while it is well: if some are late, nodes get to know of a cut at very different times.
    usual: NetworkFaults,
    errors: Vec<String>,
}

pub fn run(seed: u64, options: &RunOptions) -> Outcome {
    let faults = Faults::default();
    let mut random = Random::new(seed ^ 0xbac0_0b5e);
    let disk = DiskFaults { misdirect_per_million: 0, capacity_bytes: usize::MAX, ..DiskFaults::random(&mut random) };
    let config = tables_nodes::small(&mut random);
    let nodes = random.range(3, 6) as usize;
    let shards = random.range(1, 3) as u16;
    let few = if random.chance(2, 3) { 1 } else { 3 };
    let delayed = if random.chance(2, 3) { random.range(2, 20) } else { 0 };
    // A table that was made by a node alone has two tablets a core, of one in a cluster 64: more backups get done.
    let few_tablets = random.chance(2, 3);
    // What one node is told of a cut, and what others are, is some milliseconds apart, as it may be in a data centre.
    let far_micros = if random.chance(2, 3) { random.range(2_000, 40_000) } else { 0 };
    let usual = NetworkFaults { delayed, ..NetworkFaults::default() };
    let expanded = format!(
        "nodes {nodes} shards {shards} few {few} delayed {delayed} few tablets {few_tablets} far {far_micros} memtable {} {disk:?}",
        config.memtable_bytes
    );
    let services: Rc<RefCell<Vec<Rc<TablesService>>>> = Rc::default();
    let made = services.clone();
    let install = Rc::new(move |shard: &Rc<holon_kernel::Shard>, metadata: &Rc<Metadata>| {
        let service = TablesService::new(shard.clone(), metadata.clone(), config.clone());
        shard.add_service(service.clone());
        made.borrow_mut().push(service);
    });
    let mut world = World::new(seed, nodes, shards, DiskFaults::NONE, faults.clone(), install);
    world.one_cluster = true;
    world.tell = options.tell;
    let connections = nodes * 3;
    let mut run = Run {
        random: random.fork(),
        clients: Clients::new(BackupWorkload::new(connections, few), (1, 6)),
        services,
        nodes,
        wanted: if few_tablets { 1 } else { nodes },
        job: None,
        kept: None,
        backups: 0,
        usual,
        errors: Vec::new(),
    };
    // Off, but within the bound: a node whose clock is wrong takes no writes, and that is the cluster's world.
    (0..nodes).for_each(|node| world.set_clock(node, run.random.range(0, 200_000) as i64 - 100_000, 0));
    run.form(&mut world);
    world.network.move_away(World::node_id(run.random.below(nodes as u64) as usize), far_micros);
    (0..nodes).for_each(|node| world.nodes[node].disk.borrow_mut().options = disk);
    // Half of it is enough, since backups follow one another.
    let end = world.now + options.simulated / 2;
    world.network.options = usual;
    while world.now < end && run.errors.is_empty() {
        run.turn(&mut world, true);
    }
    run.finish(&mut world);
    run.services.borrow_mut().clear();
    let figures = run.clients.workload.figures();
    run.clients.outcome(seed, format!("{expanded}; {figures:?}"), &world, run.errors)
}

impl Run {
    fn form(&mut self, world: &mut World) {
        self.errors.extend(world.form(self.wanted).err());
        if self.wanted < self.nodes {
            while self.errors.is_empty() && !self.clients.workload.is_set_up() {
                self.turn(world, false);
            }
            self.wanted = self.nodes;
            self.errors.extend(world.form(self.wanted).err());
        }
    }

    fn turn(&mut self, world: &mut World, faults: bool) {
        // Clients are quick while a backup is taken: what it could get wrong is a matter of microseconds.
        let (least, most) = if self.job.is_some() { (20, 400) } else { (200, 3_000) };
        let next = world.now + Duration::from_micros(self.random.range(least, most));
        world.run_until(next, |_| ());
        for event in std::mem::take(&mut world.events) {
            match event {
                NodeEvent::Up(_) => self.clients.workload.restarted(),
                NodeEvent::StoppedCleanly(node) => self.node_gone(node),
                NodeEvent::Failed(node, reason) => {
                    self.node_gone(node);
                    let of_disk = ["error", "space", "poisoned"].iter().any(|word| reason.contains(word));
                    if !of_disk || reason.contains("damaged") {
                        self.errors.push(format!("node {node} stopped without a disk's fault: {reason}"));
                    }
                }
            }
        }
        let wall = clients::wall(world);
        self.clients.receive(wall, &mut self.errors);
        self.look_at_job();
        world.network.look(world.now);
        if faults {
            if self.job.is_none() || self.random.chance(1, 6) {
                self.fault(world);
            }
        } else {
            for node in 0..self.wanted {
                if world.is_down(node) {
                    world.start(node);
                }
            }
        }
        let nodes = self.nodes;
        self.clients.send(world, &mut self.random, wall, |number| Some(number % nodes), &mut self.errors);
    }

    fn node_gone(&mut self, node: usize) {
        if self.job.as_ref().is_some_and(|job| job.node == node) {
            self.job = None;
            self.clients.workload.count("backups cut off");
        }
        self.clients.node_gone(node);
    }

    fn fault(&mut self, world: &mut World) {
        let node = self.random.below(self.nodes as u64) as usize;
        match self.random.below(40_000) {
            0..4 if !world.is_down(node) => {
                world.crash(node);
                self.node_gone(node);
            }
            6..8 if world.up(node).is_some() => world.stop(node),
            8..200 if world.is_down(node) => world.start(node),
            200..204 if !world.network.is_to_heal() => {
                world.network.isolate(World::node_id(node), (0..self.nodes).map(World::node_id));
                world.network.heal_at(world.now + Duration::from_millis(self.random.range(100, 8_000)));
            }
            204..212 => {
                world.network.options = NetworkFaults {
                    lost: self.random.below(10),
                    doubled: self.random.below(30),
                    delayed: self.random.below(60),
                };
            }
            212..300 => world.network.options = self.usual,
            300..800 if self.job.is_none() && self.clients.workload.is_set_up() => {
                self.backups += 1;
                let name = format!("b{}", self.backups);
                self.begin(world, node, "create", name);
            }
            _ => {}
        }
    }

    fn service_of(&self, world: &World, node: usize) -> Option<Rc<TablesService>> {
        let live = world.up(node)?.first()?;
        let services = self.services.borrow();
        services.iter().rev().find(|service| Rc::ptr_eq(service.shard(), &live.shard)).cloned()
    }

    fn begin(&mut self, world: &World, node: usize, what: &str, name: String) {
        let Some(service) = self.service_of(world, node) else { return };
        let outcome = Rc::new(RefCell::new(None));
        let place = outcome.clone();
        let words = ["backup", what, name.as_str()].map(str::to_string).to_vec();
        let of = name.clone();
        service.shard().clone().spawn(Scope::Node, Class::Foreground, async move {
            let done = service.clone().command(words, Rc::new(|_| ())).await;
            let contents = match done {
                Ok(_) => service.backup_contents(&of).await,
                Err(error) => Err(error),
            };
            *place.borrow_mut() = Some(contents);
        });
        self.job = Some(Job { node, name, called_micros: clients::wall(world).micros(), outcome });
    }

    fn look_at_job(&mut self) {
        let Some(outcome) = self.job.as_ref().and_then(|job| job.outcome.borrow_mut().take()) else { return };
        let Some(job) = self.job.take() else { return };
        match outcome {
            _ if self.clients.workload.is_empty() => match (outcome, self.kept.take()) {
                (Ok(_), Some((_, _, shown))) => self.clients.workload.restored(shown),
                (Err(error), kept) => {
                    self.clients.workload.last_refusal = error;
                    self.kept = kept; // again
                }
                _ => {}
            },
            Ok(contents) => {
                let checked = Shown::of(&contents).and_then(|shown| {
                    self.clients.workload.check(&shown, job.called_micros)?;
                    Ok(shown)
                });
                match checked {
                    Ok(shown) => self.kept = Some((job.node, job.name, shown)),
                    Err(error) => self.errors.push(format!("backup {} on node {}: {error}", job.name, job.node)),
                }
            }
            Err(error) => {
                let known = ["replicas", "moves", "another backup", "error", "poisoned", "damaged", "starting"];
                if !known.iter().any(|words| error.contains(words)) {
                    self.errors.push(format!("backup {} on node {}: {error}", job.name, job.node));
                }
                self.clients.workload.count("backups refused");
            }
        }
    }

    /// Faults end, what is under way comes to an end, the tables are emptied and the last backup is brought back.
    fn finish(&mut self, world: &mut World) {
        for node in 0..self.nodes {
            world.nodes[node].disk.borrow_mut().options = DiskFaults::NONE;
        }
        world.network.heal();
        world.network.options = NetworkFaults::default();
        self.clients.workload.pause();
        let quiet = world.now + QUIET;
        while (world.now < quiet || self.job.is_some()) && self.errors.is_empty() {
            self.turn(world, false);
        }
        if self.kept.is_none() || !self.errors.is_empty() {
            return; // none was finished in all that
        }
        self.clients.workload.finish();
        let deadline = world.now + ENDING;
        while self.errors.is_empty() && !self.clients.workload.is_finished() {
            if world.now > deadline {
                let last = &self.clients.workload.last_refusal;
                self.errors
                    .push(format!("no backup could be brought back and read in {ENDING:?}; refused last: {last}"));
                return;
            }
            if self.clients.workload.is_empty()
                && self.job.is_none()
                && let Some((node, name, _)) = self.kept.clone()
            {
                self.begin(world, node, "restore", name);
            }
            self.turn(world, false);
        }
        world.faults.sometimes("a backup came back", self.errors.is_empty());
    }
}
