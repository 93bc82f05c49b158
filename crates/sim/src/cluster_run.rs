//! A seed of a cluster, whole: nodes that join one another, a table with three replicas, clients of every node. While they
//! work, further nodes join, one may be drained, replaced or forgotten, and changes are cancelled; the network, the disks and
//! the nodes fail; what comes back is held against the workload's model. Then all faults end, and the cluster must converge.

use crate::clients::{self, Clients};
use crate::clock_faults::WrongClocks;
use crate::disk_trouble::DiskTrouble;
use crate::families::{Families, Family};
use crate::faults::{DiskFaults, Fault, Faults};
use crate::network::NetworkFaults;
use crate::points::{self, COUNTED};
use crate::report::{Outcome, Rot, RunOptions};
use crate::tables_nodes::{self, newest_map};
use crate::upgrades;
use crate::world::{NodeEvent, World};
use holon_base::{Instant, Random};
use holon_kernel::{Class, Scope};
use holon_metadata::{LEVEL, Metadata};
use holon_tables::service::{TABLES_SERVICE, TablesConfig};
use holon_tables::workload::{ClusterWorkload, Workload};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

/// Replicas of each partition.
const FACTOR: u32 = 3;

/// After the last fault the clients go on for so long: all of them must be served again.
const HEALING: Duration = Duration::from_secs(20);

/// For the upgrade of all nodes of the version before, one by one.
const UPGRADING: Duration = Duration::from_secs(120);

/// After the last write, until everything is read back: longer than hints and batches take.
const QUIET: Duration = Duration::from_secs(30);

/// For reading everything back.
const READING_BACK: Duration = Duration::from_secs(200);

struct Run {
    random: Random,
    families: Families,
    rot: Rot,
    /// One or more for each node, in turn.
    clients: Clients<ClusterWorkload>,
    nodes: usize,
    /// A node that an administrator asked to leave. It may have been refused.
    drained: Option<usize>,
    /// A node that broke for good, which is replaced or forgotten. It comes back once, when it is no member any more.
    broken: Option<usize>,
    /// When an administrator next tells the cluster to forget it.
    forget_at: Option<Instant>,
    has_come_back: bool,
    /// Those that the log was seen to have, and those that it has had.
    members: BTreeSet<usize>,
    in_ring: BTreeSet<usize>,
    /// Of the map that was looked at last.
    epoch: u64,
    left: BTreeSet<usize>,
    /// Those whose doors are open.
    is_up: BTreeSet<usize>,
    clocks: WrongClocks,
    disks: DiskTrouble,
    errors: Vec<String>,
}

pub fn run(seed: u64, options: &RunOptions) -> Outcome {
    run_nodes(seed, options, false)
}

/// One node alone, whose wall clock is believed by itself only: what it has promised must hold through all.
pub fn run_alone(seed: u64, options: &RunOptions) -> Outcome {
    run_nodes(seed, options, true)
}

fn run_nodes(seed: u64, options: &RunOptions, alone: bool) -> Outcome {
    let faults = Faults::default();
    let mut random = Random::new(seed ^ 0xc105_7e20);
    let families = options.families;
    let disk = DiskFaults { misdirect_per_million: 0, capacity_bytes: usize::MAX, ..DiskFaults::random(&mut random) };
    let small = tables_nodes::small(&mut random);
    let config = TablesConfig {
        repair_interval: Duration::from_secs(random.range(3, 10)),
        mend_damage: options.rot != Rot::Kept,
        ..small
    };
    let (first, nodes) = if alone { (1, 1) } else { sizes(&mut random, seed) };
    let nodes = if families.has(Family::Join) { nodes } else { first };
    let shards = random.range(1, 3) as u16;
    let expanded = format!("nodes {first} then {nodes} shards {shards} memtable {} {disk:?}", config.memtable_bytes);
    let mut world = World::new(seed, nodes, shards, DiskFaults::NONE, faults.clone(), tables_nodes::install(config));
    world.one_cluster = true;
    upgrades::prepare(&mut world, seed, families);
    world.tell = options.tell;
    let connections = (nodes * 2).max(4);
    let mut run = Run {
        random: random.fork(),
        families,
        rot: match options.rot {
            _ if !families.has(Family::Rot) => Rot::Off,
            Rot::Some if seed.is_multiple_of(3) || families != Families::all() => Rot::Mended,
            Rot::Some => Rot::Off,
            asked => asked,
        },
        clients: Clients::new(ClusterWorkload::new(connections, if alone { 1 } else { FACTOR }), (3, 4)),
        nodes,
        drained: None,
        broken: None,
        forget_at: None,
        has_come_back: false,
        members: BTreeSet::new(),
        in_ring: BTreeSet::new(),
        epoch: 0,
        left: BTreeSet::new(),
        is_up: BTreeSet::new(),
        clocks: WrongClocks::default(),
        disks: DiskTrouble::default(),
        errors: Vec::new(),
    };
    (0..nodes).for_each(|node| run.clocks.set_right(&mut world, node, &mut run.random));
    if let Err(error) = world.form(first) {
        run.errors.push(error);
    }
    let disk = if families.has(Family::Disk) { disk } else { DiskFaults::NONE };
    (0..nodes).for_each(|node| world.nodes[node].disk.borrow_mut().options = disk);
    let end = world.now + options.simulated;
    while world.now < end && run.errors.is_empty() {
        run.turn(&mut world, true);
    }
    run.finish(&mut world);
    if !run.errors.is_empty() {
        run.errors.push(run.describe(&world));
    }
    for (what, name) in COUNTED {
        faults.sometimes(what, points::total(&world, name) > 0);
    }
    run.clients.outcome(seed, expanded, &world, run.errors)
}

/// Nodes that form the cluster, and how many there may be in the end: 3 to 6, in one of eight seeds up to 9.
fn sizes(random: &mut Random, seed: u64) -> (usize, usize) {
    let few = (random.range(3, 5) as usize, random.below(3) as usize);
    let mut many = Random::new(seed ^ 0x0900_de50);
    let (first, more) = if many.chance(1, 8) { (many.range(5, 8) as usize, many.below(3) as usize) } else { few };
    (first, first + more)
}

impl Run {
    fn turn(&mut self, world: &mut World, faults: bool) {
        let next = world.now + Duration::from_micros(self.random.range(200, 20_000));
        world.run_until(next, |_| ());
        self.look_who_is_member(world);
        for event in std::mem::take(&mut world.events) {
            match event {
                NodeEvent::Up(node) => {
                    self.is_up.insert(node);
                    self.clients.workload.restarted();
                }
                NodeEvent::StoppedCleanly(node) => self.node_gone(node),
                NodeEvent::Failed(node, reason) => {
                    let was_up = self.is_up.contains(&node);
                    self.node_gone(node);
                    let of_disk = ["error", "space", "poisoned"].iter().any(|word| reason.contains(word));
                    // The cluster did not wait for the upgrade of one that it had removed, or that had not come in yet.
                    let removed = self.left.contains(&node) && reason.contains("taken out of the cluster");
                    let is_old = !self.members.contains(&node)
                        && world.nodes[node].level < LEVEL
                        && reason.contains("start a newer holon");
                    // A start needs room, and says so; what runs goes on without.
                    if was_up && reason.contains("no space") {
                        self.errors.push(format!("node {node} stopped because its disk is full: {reason}"));
                    }
                    if !of_disk && !removed && !is_old || reason.contains("damaged") {
                        self.errors.push(format!("node {node} stopped without a disk's fault: {reason}"));
                    }
                }
            }
        }
        self.clients.receive(clients::wall(world), &mut self.errors);
        self.insist_on_forgetting(world);
        self.clocks.look(world, self.nodes, &mut self.random);
        self.disks.look(world);
        world.network.look(world.now);
        if faults {
            self.fault(world);
        } else {
            for node in 0..self.nodes {
                if world.is_down(node) && self.may_start(node) {
                    world.start(node);
                }
            }
        }
        self.send(world);
    }

    fn send(&mut self, world: &World) {
        let open: Vec<bool> = (0..self.nodes).map(|node| self.may_start(node) || world.up(node).is_some()).collect();
        let node_of = |number: usize| {
            let mut nodes = (number..number + open.len()).map(|number| number % open.len());
            nodes.find(|node| open[*node])
        };
        let wall = clients::wall(world);
        self.clients.send(world, &mut self.random, wall, node_of, &mut self.errors);
    }

    fn node_gone(&mut self, node: usize) {
        self.is_up.remove(&node);
        self.clients.node_gone(node);
    }

    fn fault(&mut self, world: &mut World) {
        let node = self.random.below(self.nodes as u64) as usize;
        let number = self.random.below(4000);
        if !self.knows(world, node, number) {
            return;
        }
        match number {
            0..4 if !world.is_down(node) => {
                world.crash(node);
                self.node_gone(node);
            }
            4..6 if world.up(node).is_some() => world.stop(node),
            6..60 if world.is_down(node) && self.may_start(node) => {
                if world.nodes[node].starts == 0 {
                    self.choose_replaced(world, node);
                    world.faults.fired(Fault::NodeJoins);
                    self.map_changes(world);
                }
                world.start(node);
            }
            6..60 if self.broken == Some(node) && self.left.contains(&node) && !self.has_come_back => {
                self.has_come_back = true;
                world.faults.fired(Fault::RemovedNodeReturns);
                world.start(node);
            }
            60..64 => {
                let number = self.random.below(self.clients.count() as u64) as usize;
                self.clients.lose(world, number);
            }
            64..68 if !world.network.is_to_heal() => self.cut(world, node),
            68..71 => {
                let cut = self.random.chance(1, 2);
                self.keep_uninformed(world, node, cut);
            }
            71..74 => {
                world.network.options = NetworkFaults {
                    lost: self.random.below(30),
                    doubled: self.random.below(30),
                    delayed: self.random.below(60),
                };
            }
            74..80 => world.network.options = NetworkFaults::default(),
            80..82 if self.drained.is_none() && self.nodes > FACTOR as usize => self.drain(world, node),
            82..84 if self.may_break() && world.is_down(node) => self.forget(world, node),
            84..87 => self.cancel(world, node),
            87..94 => Self::compact(world, node),
            94..97 => self.disks.fill_up(world, node, &mut self.random),
            97..101 if self.rot != Rot::Off && self.broken.is_none() && !self.is_alone() => {
                self.disks.rot(world, node, &mut self.random);
                self.clients.workload.copies_lost();
            }
            101..114 => self.clocks.go_wrong(world, node, &mut self.random),
            _ => {}
        }
    }

    /// Whether what this number stands for ([`Run::fault`]) may happen in this run.
    fn knows(&self, world: &World, node: usize, number: u64) -> bool {
        let is_new = world.nodes[node].starts == 0;
        self.families.has(match number {
            // Only what is down can break for good.
            0..4 if !self.families.has(Family::Loss) => Family::Crash,
            4..6 => Family::Stop,
            6..60 if is_new => Family::Join,
            6..60 if self.broken == Some(node) => Family::Loss,
            60..64 => Family::Session,
            64..68 => Family::Partition,
            68..71 => Family::News,
            71..74 => Family::Messages,
            80..82 | 84..87 => Family::Drain,
            82..84 => Family::Loss,
            94..97 => Family::Full,
            97..101 => Family::Rot,
            101..114 => Family::Clock,
            _ => return true,
        })
    }

    /// Nodes come and go as the log has it: of those that are up, the one that knows most says it.
    fn look_who_is_member(&mut self, world: &World) {
        // Else those who knew more are down.
        let Some(map) = newest_map(world).filter(|map| map.epoch() > self.epoch) else { return };
        self.epoch = map.epoch();
        let records = map.nodes();
        let owns = |node: &usize| {
            records.iter().any(|record| record.node == World::node_id(*node) && !record.tokens.is_empty())
        };
        self.in_ring = (0..self.nodes).filter(owns).collect();
        for node in 0..self.nodes {
            if records.iter().any(|record| record.node == World::node_id(node)) {
                self.members.insert(node);
            } else if self.members.remove(&node) {
                self.left.insert(node);
            }
        }
        let waits = self.broken.is_some_and(|node| self.members.contains(&node)) && self.forget_at.is_none();
        if waits && self.left.iter().any(|new| world.nodes[*new].replaces == self.broken) {
            self.forget_at = Some(world.now); // its replacement was sent away again, and there is no other
        }
    }

    fn is_alone(&self) -> bool {
        self.nodes == 1
    }

    fn may_start(&self, node: usize) -> bool {
        !self.left.contains(&node) && self.broken != Some(node)
    }

    /// A node that is about to join for the first time may come in the place of one that is down.
    fn choose_replaced(&mut self, world: &mut World, new: usize) {
        // One that owns nothing yet is not replaced, but forgotten.
        let mut down = (0..self.nodes).filter(|node| world.is_down(*node) && self.in_ring.contains(node));
        let down = down.find(|node| Self::can_be_lost(world, *node));
        let may_break = self.may_break() && self.random.chance(1, 2) && self.families.has(Family::Loss);
        if let (Some(dead), true) = (down, may_break) {
            world.nodes[new].replaces = Some(dead);
            self.broken = Some(dead);
            self.clients.workload.copies_lost();
            world.faults.fired(Fault::NodeReplaced);
        }
    }

    /// One copy of everything may be lost, and is then.
    fn may_break(&self) -> bool {
        self.broken.is_none() && !self.disks.has_rotten()
    }

    /// Two voters are, for a moment, on the way from one to three: without one of them, for good, nothing can be changed any more.
    fn can_be_lost(world: &World, node: usize) -> bool {
        let up = (0..world.nodes.len()).filter_map(|other| world.up(other)?.first());
        up.map(|live| live.metadata.voters()).all(|voters| voters.len() > 2 || !voters.contains(&World::node_id(node)))
    }

    /// An administrator gives up a node that is down, if the ring can do without it.
    fn forget(&mut self, world: &mut World, node: usize) {
        let may_go = self.members.contains(&node) && Self::can_be_lost(world, node);
        if may_go && self.ask(world, node, self.least_to_leave()).is_some() {
            self.broken = Some(node);
            self.clients.workload.copies_lost();
            self.forget_at = Some(world.now);
        }
    }

    /// It is refused while the node does not seem dead yet, and whoever was asked may crash.
    fn insist_on_forgetting(&mut self, world: &World) {
        let (Some(node), Some(at)) = (self.broken, self.forget_at) else { return };
        if world.now < at {
            return;
        }
        self.forget_at = self.members.contains(&node).then_some(world.now + Duration::from_secs(5));
        let Some((shard, metadata)) = self.ask(world, node, 0) else { return };
        let faults = world.faults.clone();
        shard.spawn(Scope::Node, Class::Foreground, async move {
            if metadata.forget(World::node_id(node)).await.is_ok() {
                faults.fired(Fault::NodeForgotten);
            }
        });
    }

    /// Nodes that the ring must have so that one more can leave it.
    fn least_to_leave(&self) -> usize {
        let leaving = self.drained.iter().chain(&self.broken).filter(|node| !self.left.contains(node)).count();
        FACTOR as usize + 1 + leaving
    }

    fn cancel(&mut self, world: &mut World, node: usize) {
        // A replacement that is cancelled leaves the dead in a ring that must be able to do without it.
        let waits_for_replacement = self.broken.is_some_and(|node| !self.left.contains(&node));
        let in_ring = if waits_for_replacement { self.least_to_leave() - 1 } else { 0 };
        let Some((shard, metadata)) = self.ask(world, node, in_ring) else { return };
        let faults = world.faults.clone();
        shard.spawn(Scope::Node, Class::Foreground, async move {
            if metadata.cancel_change().await.is_ok() {
                faults.fired(Fault::ChangeCancelled);
            }
        });
    }

    /// What may be forgotten of a table is.
    fn compact(world: &World, node: usize) {
        Self::tell_tables(world, node, &["compact", "holon_cluster", "q"]);
    }

    /// An administrator has the tables of a node do something.
    fn tell_tables(world: &World, node: usize, words: &[&str]) {
        for live in world.up(node).into_iter().flatten() {
            let Some(service) = live.shard.service(TABLES_SERVICE) else { continue };
            let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
            live.shard.spawn(Scope::Node, Class::Background, async move {
                let _ = service.command(words, Rc::new(|_| ())).await; // the table may not be there yet, or a disk fails
            });
        }
    }

    /// A node other than this one that an administrator may ask, if the ring is known to have so many nodes.
    fn ask(&self, world: &World, node: usize, in_ring: usize) -> Option<(Rc<holon_kernel::Shard>, Rc<Metadata>)> {
        let other = (0..self.nodes).find(|other| *other != node && world.up(*other).is_some())?;
        let live = world.up(other)?.first()?;
        (self.in_ring.len() >= in_ring).then(|| (live.shard.clone(), live.metadata.clone()))
    }

    /// An administrator asks some node that one may leave.
    fn drain(&mut self, world: &mut World, node: usize) {
        let Some((shard, metadata)) = self.ask(world, node, self.least_to_leave()) else { return };
        self.drained = Some(node);
        shard.spawn(Scope::Node, Class::Foreground, async move {
            let _ = metadata.drain(World::node_id(node)).await; // refused while another change is on its way
        });
        world.faults.fired(Fault::NodeDrained);
        self.map_changes(world);
    }

    /// A node hears nothing of the log and goes by its old map. If it does not reach one other node either, what it has written rests
    /// on the others alone.
    fn keep_uninformed(&mut self, world: &mut World, node: usize, cut: bool) {
        if world.network.is_to_heal() {
            return;
        }
        world.network.keep_uninformed(World::node_id(node));
        let others: Vec<usize> =
            (0..self.nodes).filter(|other| *other != node && self.members.contains(other)).collect();
        if cut && !others.is_empty() {
            let other = others[self.random.below(others.len() as u64) as usize];
            world.network.cut(World::node_id(node), World::node_id(other));
        }
        world.network.heal_at(world.now + Duration::from_millis(self.random.range(1_000, 20_000)));
    }

    /// Tablets begin to move: some node may hear nothing of it, and others late.
    fn map_changes(&mut self, world: &mut World) {
        let node = self.random.below(self.nodes as u64) as usize;
        let may_be_kept = !world.network.is_to_heal() && self.random.chance(2, 3) && self.families.has(Family::News);
        if may_be_kept && world.up(node).is_some() {
            self.keep_uninformed(world, node, true);
            world.network.heal_at(world.now + Duration::from_millis(self.random.range(10_000, 20_000)));
            world.network.options.delayed = self.random.range(10, 60);
        }
    }

    /// One node from some or all others, one way or both.
    fn cut(&mut self, world: &mut World, node: usize) {
        let (to, from) = [(true, true), (true, false), (false, true)][self.random.below(3) as usize];
        let some = self.random.chance(1, 2);
        for other in (0..self.nodes).filter(|other| *other != node) {
            if some && self.random.chance(1, 2) {
                continue;
            }
            if to {
                world.network.cut(World::node_id(node), World::node_id(other));
            }
            if from {
                world.network.cut(World::node_id(other), World::node_id(node));
            }
        }
        world.network.heal_at(world.now + Duration::from_millis(self.random.range(100, 20_000)));
    }

    /// How the nodes see the cluster.
    fn describe(&self, world: &World) -> String {
        let of_node = |node: usize| {
            let status =
                world.up(node)?.first()?.shard.services().iter().flat_map(|service| service.status()).collect();
            let rows: Vec<(String, String)> = status;
            let rows: Vec<String> = rows.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            Some(format!("node {node}: {}", rows.join("; ")))
        };
        let what =
            format!("at {:?}: drained {:?}, broken {:?}, left {:?}", world.now, self.drained, self.broken, self.left);
        let nodes = (0..self.nodes).map(|node| of_node(node).unwrap_or(format!("node {node} {}", world.phase(node))));
        std::iter::once(what).chain(nodes).collect::<Vec<_>>().join("\n    ")
    }

    /// Whoever is of the version before is upgraded: some changes wait for what only a cluster of the present one may do.
    fn upgrade(&mut self, world: &mut World) {
        let deadline = world.now + UPGRADING;
        // Some may leave meanwhile.
        let members = |run: &Run| (0..run.nodes).filter(|node| run.may_start(*node)).collect::<Vec<_>>();
        while self.errors.is_empty() && upgrades::go_on(world, &members(self)) {
            if world.now > deadline {
                self.errors
                    .push(format!("after all faults ended the nodes could not all be upgraded in {UPGRADING:?}"));
            }
            self.turn(world, false);
        }
    }

    /// Faults end, all nodes come up; after a while everything is read back, through every node.
    fn finish(&mut self, world: &mut World) {
        if !self.errors.is_empty() {
            return;
        }
        self.disks.end(world);
        world.network.heal();
        world.network.options = NetworkFaults::default();
        (0..self.nodes).for_each(|node| self.clocks.set_right(world, node, &mut self.random));
        self.upgrade(world);
        let healed = world.now + HEALING;
        while world.now < healed && self.errors.is_empty() {
            self.turn(world, false);
        }
        self.clients.workload.pause();
        // What is damaged and was not read is found like this, or with time.
        (0..self.nodes).for_each(|node| Self::tell_tables(world, node, &["verify", "holon_cluster"]));
        let (mut quiet, patience) = (world.now + QUIET, world.now + READING_BACK);
        while world.now < quiet && self.errors.is_empty() {
            self.turn(world, false);
            if world.now < patience && points::total(world, "holon_store_damaged_tablets") > 0 {
                // Replicas are not compared until it is made good.
                quiet = quiet.max(world.now + QUIET / 2);
            }
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
        if self.rot == Rot::Kept {
            return;
        }
        let damaged = |world: &World| points::total(world, "holon_store_damaged_tablets");
        while self.errors.is_empty() && damaged(world) > 0 {
            if world.now > deadline {
                let what = "after all faults ended tablets stayed damaged for";
                self.errors.push(format!("{what} {READING_BACK:?}: {}", damaged(world)));
                return;
            }
            self.turn(world, false);
        }
        if self.errors.is_empty()
            && let Err(violation) = self.clients.workload.check_transactions()
        {
            self.errors.push(violation);
        }
    }
}
