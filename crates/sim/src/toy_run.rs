//! A seed of the toy: three nodes, clients at all of them, every kind of fault; then everything heals, and the service must
//! answer and know all that was acknowledged or read before.

use crate::faults::{DiskFaults, Fault, Faults};
use crate::network::NetworkFaults;
use crate::report::{Outcome, RunOptions};
use crate::toy::{TOY, Toy};
use crate::world::{NodeEvent, World};
use bytes::{Bytes, BytesMut};
use holon_base::{Instant, Random};
use holon_kernel::{Class, Outbox, Scope, Session, SessionContext};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

const NODES: usize = 3;
const SHARDS: u16 = 2;
const KEYS: u64 = 12;

struct Client {
    session: Box<dyn Session>,
    outbox: Rc<Outbox>,
    node: usize,
    id: u64,
    busy: Option<Asked>,
}

#[derive(Clone, Copy)]
enum Asked {
    Increment { key: u64, id: u64 },
    Get { key: u64, since: Instant },
}

struct Run {
    random: Random,
    clients: Vec<Client>,
    /// Key → increments that were acknowledged or read, with when: every later read must show them.
    known: BTreeMap<u64, BTreeMap<u64, Instant>>,
    issued: BTreeMap<u64, (u64, i64)>,
    operations: u64,
    next_id: u64,
    errors: Vec<String>,
}

/// Runs one seed.
pub fn run(seed: u64, options: &RunOptions) -> Outcome {
    let faults = Faults::default();
    let mut random = Random::new(seed);
    let disk = DiskFaults { misdirect_per_million: 0, capacity_bytes: usize::MAX, ..DiskFaults::random(&mut random) };
    let nodes: Vec<_> = (0..NODES).map(World::node_id).collect();
    let install = Rc::new(move |shard: &_, metadata: &_| Toy::install(shard, metadata, nodes.clone()));
    let mut world = World::new(seed, NODES, SHARDS, disk, faults.clone(), install);
    let network = NetworkFaults { lost: random.below(200), doubled: random.below(200), delayed: random.below(100) };
    let expanded = format!("nodes {NODES} shards {SHARDS} {disk:?} {network:?}");
    let mut run = Run {
        random: random.fork(),
        clients: Vec::new(),
        known: BTreeMap::new(),
        issued: BTreeMap::new(),
        operations: 0,
        next_id: 1,
        errors: Vec::new(),
    };
    world.one_cluster = true;
    (0..NODES).for_each(|node| world.nodes[node].disk.borrow_mut().options = DiskFaults::NONE);
    if let Err(error) = world.form(NODES) {
        run.errors.push(error);
    }
    (0..NODES).for_each(|node| world.nodes[node].disk.borrow_mut().options = disk);
    world.network.options = network;
    let end = world.now + options.simulated;
    while world.now < end && run.errors.is_empty() {
        let next = world.now + Duration::from_millis(run.random.range(1, 40));
        world.run_until(next, |world| run.collect(world));
        run.act(&mut world, true);
    }
    // Then everything heals, and it must serve.
    heal(&mut world);
    let healed = world.now + Duration::from_secs(60);
    let served = run.operations + 500;
    while world.now < healed && run.operations < served && run.errors.is_empty() {
        let next = world.now + Duration::from_millis(run.random.range(1, 40));
        world.run_until(next, |world| run.collect(world));
        run.act(&mut world, false);
    }
    if run.operations < served && run.errors.is_empty() {
        run.errors.push("after all faults ended the service did not answer 500 operations in 60 s".to_string());
    }
    let now = world.now;
    Outcome {
        seed,
        expanded,
        simulated: now.since(Instant(0)),
        operations: run.operations,
        trace: world.trace(),
        faults,
        errors: run.errors,
    }
}

fn heal(world: &mut World) {
    world.network.heal();
    world.network.options = NetworkFaults::default();
    for node in 0..NODES {
        world.nodes[node].disk.borrow_mut().options = DiskFaults::NONE;
        if world.is_down(node) {
            world.start(node);
        }
    }
}

impl Run {
    fn act(&mut self, world: &mut World, faults: bool) {
        for event in std::mem::take(&mut world.events) {
            match event {
                NodeEvent::Up(node) => self.node_up(world, node),
                NodeEvent::Failed(node, _) | NodeEvent::StoppedCleanly(node) => self.clients.retain(|c| c.node != node),
            }
        }
        let node = self.random.below(NODES as u64) as usize;
        if faults {
            self.fault(world, node);
        } else if world.is_down(node) {
            world.start(node);
        }
        for index in 0..self.clients.len() {
            if self.clients[index].busy.is_none() {
                self.ask(world, index);
            }
        }
    }

    fn fault(&mut self, world: &mut World, node: usize) {
        let other = (node + 1 + self.random.below(NODES as u64 - 1) as usize) % NODES;
        match self.random.below(1500) {
            0..5 if !world.is_down(node) => {
                world.crash(node);
                self.clients.retain(|client| client.node != node);
            }
            5..8 if world.up(node).is_some() => world.stop(node),
            8..14 => world.network.cut(World::node_id(node), World::node_id(other)),
            14..60 => world.network.heal(),
            60..120 if world.is_down(node) => world.start(node),
            120..124 => {
                let off = world.off_micros(node) + self.random.below(60_000_000) as i64 - 30_000_000;
                world.set_clock(node, off, 0);
                world.faults.fired(Fault::ClockJump);
            }
            124..128 if !self.clients.is_empty() => {
                let client = self.clients.swap_remove(self.random.below(self.clients.len() as u64) as usize);
                if let Some(live) = world.up(client.node) {
                    live[(client.id % u64::from(SHARDS)) as usize].shard.cancel(Scope::Session(client.id));
                }
                world.faults.fired(Fault::SessionLost);
                self.connect(world, client.node);
            }
            _ => {}
        }
    }

    fn node_up(&mut self, world: &mut World, node: usize) {
        if let Some([live, ..]) = world.up(node)
            && live.metadata.groups().is_empty()
        {
            let metadata = live.metadata.clone();
            live.shard.spawn(Scope::Node, Class::Foreground, async move {
                // Tried again after the next start. A second group is nobody's.
                let _ = metadata.propose(TOY, Bytes::from_static(b"create")).await;
            });
        }
        for _ in 0..4 {
            self.connect(world, node);
        }
    }

    fn connect(&mut self, world: &mut World, node: usize) {
        let Some(live) = world.up(node) else { return };
        self.next_id += 1;
        let id = self.next_id;
        let shard = &live[(id % u64::from(SHARDS)) as usize].shard;
        let outbox = Rc::new(Outbox::new());
        let Some(service) = shard.service(TOY) else { return };
        let context = SessionContext { session: id, peer: None, local: None, outbox: outbox.clone() };
        self.clients.push(Client { session: service.open_session(context), outbox, node, id, busy: None });
    }

    fn ask(&mut self, world: &World, index: usize) {
        self.next_id += 1;
        let (key, id, since) = (self.random.below(KEYS), self.next_id, world.now);
        let (line, asked) = if self.random.chance(1, 2) {
            let amount = self.random.below(100) as i64 - 50;
            self.issued.insert(id, (key, amount));
            (format!("inc {key} {id} {amount}\n"), Asked::Increment { key, id })
        } else {
            (format!("get {key}\n"), Asked::Get { key, since })
        };
        let client = &mut self.clients[index];
        client.busy = Some(asked);
        client.session.handle(&mut BytesMut::from(line.as_bytes()));
    }

    /// Takes the answers and holds them against what is known.
    fn collect(&mut self, world: &World) {
        for index in 0..self.clients.len() {
            if self.clients[index].outbox.pending_bytes() == 0 {
                continue;
            }
            let text = String::from_utf8_lossy(&self.clients[index].outbox.take()).into_owned();
            let Some(asked) = self.clients[index].busy.take() else {
                self.errors.push(format!("an answer nobody asked for: {text:?}"));
                continue;
            };
            self.operations += 1;
            let words: Vec<&str> = text.trim().split(' ').collect();
            match (asked, words[0]) {
                (Asked::Increment { key, id }, "ok") => {
                    world.faults.sometimes("increment acknowledged", true);
                    self.known.entry(key).or_default().insert(id, world.now);
                }
                (Asked::Increment { .. }, "unknown") => world.faults.sometimes("increment unknown", true),
                (Asked::Get { key, since }, "value") => {
                    self.check(world, key, since, words.get(2).copied().unwrap_or(""))
                }
                (Asked::Get { .. }, "unavailable") => world.faults.sometimes("read unavailable", true),
                _ => self.errors.push(format!("an answer that does not fit: {text:?}")),
            }
        }
    }

    fn check(&mut self, world: &World, key: u64, since: Instant, list: &str) {
        let mut found = BTreeSet::new();
        for item in list.split(',').filter(|item| !item.is_empty()) {
            let (id, amount) = item.split_once('=').unwrap_or((item, ""));
            let (id, amount) = (id.parse::<u64>().unwrap_or(0), amount.parse::<i64>().ok());
            if self.issued.get(&id).copied() != amount.map(|amount| (key, amount)) {
                self.errors
                    .push(format!("counter {key} shows {item}, which nobody issued: {:?}", self.issued.get(&id)));
            }
            found.insert(id);
        }
        let known = self.known.entry(key).or_default();
        for (id, when) in known.iter().filter(|(_, when)| **when < since) {
            if !found.contains(id) {
                self.errors.push(format!(
                    "counter {key} lost increment {id}, known since {when:?}, in a read begun {since:?}"
                ));
            }
        }
        world.faults.sometimes("read served", true);
        for id in found {
            known.entry(id).or_insert(world.now);
        }
    }
}
