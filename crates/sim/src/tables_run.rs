//! A seed of the tables service, whole: bytes of the CQL protocol into sessions on every shard, through planner, tablets and
//! engine to a disk that fails; what comes back is held against the workload's own model.

use crate::faults::{DiskFaults, Fault, Faults};
use crate::report::{Outcome, RunOptions};
use crate::world::{NodeEvent, World};
use bytes::BytesMut;
use holon_base::{Instant, Random, Wall};
use holon_kernel::{Flow, Outbox, Scope, Session, SessionContext};
use holon_metadata::Metadata;
use holon_tables::service::{TablesConfig, TablesService};
use holon_tables::workload::{TablesWorkload, TablesWorkloadOptions, Workload};
use std::rc::Rc;
use std::time::Duration;

const NODE: usize = 0;
/// The service's number, as `holon/src/services.rs` gives it.
const TABLES: holon_base::ServiceId = holon_base::ServiceId(1);

struct Client {
    session: Box<dyn Session>,
    outbox: Rc<Outbox>,
    input: BytesMut,
    id: u64,
    shard: usize,
}

struct Run {
    random: Random,
    workload: TablesWorkload,
    clients: Vec<Option<Client>>,
    next_session: u64,
    sent: u64,
    restarted: bool,
    errors: Vec<String>,
}

pub fn run(seed: u64, options: &RunOptions) -> Outcome {
    let faults = Faults::default();
    let mut random = Random::new(seed ^ 0x7ab1_e500);
    // A lone copy that rots can only refuse to serve: that is the store's world. Here the disk fails, but does not lie.
    let disk = DiskFaults { misdirect_per_million: 0, capacity_bytes: usize::MAX, ..DiskFaults::random(&mut random) };
    let config = TablesConfig {
        memtable_bytes: random.range(32 << 10, 256 << 10) as usize,
        cache_bytes: random.range(16 << 10, 1 << 20) as usize,
        log_segment_bytes: 4096 * random.range(128, 256),
        log_bytes_max: 8 << 20,
        ..TablesConfig::default()
    };
    let shards = random.range(1, 4) as u16;
    let expanded = format!("shards {shards} memtable {} cache {} {disk:?}", config.memtable_bytes, config.cache_bytes);
    let install = Rc::new(move |shard: &Rc<holon_kernel::Shard>, metadata: &Rc<Metadata>| {
        shard.add_service(TablesService::new(shard.clone(), metadata.clone(), config.clone()));
    });
    let mut world = World::new(seed, 1, shards, disk, faults.clone(), install);
    let workload = TablesWorkload::new(TablesWorkloadOptions::default());
    let clients = (0..workload.connections()).map(|_| None).collect();
    let mut run = Run {
        random: random.fork(),
        workload,
        clients,
        next_session: 1,
        sent: 0,
        restarted: false,
        errors: Vec::new(),
    };
    world.start(NODE);
    let end = Instant(0) + options.simulated;
    while world.now < end && run.errors.is_empty() {
        run.turn(&mut world, true);
    }
    run.finish(&mut world);
    for (what, count) in run.workload.figures() {
        faults.sometimes(what, count > 0);
    }
    let (now, errors) = (world.now, run.errors);
    Outcome {
        seed,
        expanded,
        simulated: now.since(Instant(0)),
        operations: run.sent,
        trace: world.trace(),
        faults,
        errors,
    }
}

impl Run {
    fn turn(&mut self, world: &mut World, faults: bool) {
        let next = world.now + Duration::from_micros(self.random.range(200, 20_000));
        world.run_until(next, |_| ());
        for event in std::mem::take(&mut world.events) {
            match event {
                NodeEvent::Up(_) if self.restarted => self.workload.restarted(),
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
        self.receive(world);
        if faults {
            self.fault(world);
        } else if world.is_down(NODE) {
            world.start(NODE);
        }
        self.send(world);
    }

    fn node_gone(&mut self) {
        for number in 0..self.clients.len() {
            if self.clients[number].take().is_some() {
                self.workload.disconnected(number);
            }
        }
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
                let number = self.random.below(self.clients.len() as u64) as usize;
                self.lose(world, number);
            }
            _ => {}
        }
    }

    fn lose(&mut self, world: &World, number: usize) {
        let Some(client) = self.clients[number].take() else { return };
        if let Some(live) = world.up(NODE) {
            live[client.shard].shard.cancel(Scope::Session(client.id));
        }
        drop(client.session);
        self.workload.disconnected(number);
        world.faults.fired(Fault::SessionLost);
    }

    fn wall(world: &World) -> Wall {
        world.up(NODE).map_or(Wall(0), |live| live[0].shard.wall())
    }

    fn connect(&mut self, world: &World, number: usize) {
        let Some(live) = world.up(NODE) else { return };
        self.next_session += 1;
        let (id, shard) = (self.next_session, self.random.below(live.len() as u64) as usize);
        let Some(service) = live[shard].shard.service(TABLES) else { return };
        let outbox = Rc::new(Outbox::new());
        let session =
            service.open_session(SessionContext { session: id, peer: None, local: None, outbox: outbox.clone() });
        let hello = self.workload.connected(number);
        self.clients[number] = Some(Client { session, outbox, input: BytesMut::from(&hello[..]), id, shard });
    }

    fn send(&mut self, world: &World) {
        if world.up(NODE).is_none() {
            return;
        }
        let wall = Self::wall(world);
        for number in 0..self.clients.len() {
            if self.clients[number].is_none() {
                self.connect(world, number);
            }
            let next = if self.random.chance(3, 4) { self.workload.next(number, &mut self.random, wall) } else { None };
            let Some(client) = &mut self.clients[number] else { continue };
            if let Some(bytes) = next {
                client.input.extend_from_slice(&bytes);
                self.sent += 1;
            }
            if !client.input.is_empty() && client.session.handle(&mut client.input) == Flow::Close {
                self.errors.push(format!("connection {number} was closed by the node"));
            }
        }
    }

    fn receive(&mut self, world: &World) {
        let wall = Self::wall(world);
        for (number, client) in self.clients.iter_mut().enumerate() {
            let Some(client) = client else { continue };
            let bytes = client.outbox.take();
            if !bytes.is_empty()
                && let Err(violation) = self.workload.received(number, &bytes, wall)
            {
                self.errors.push(violation.to_string());
            }
        }
    }

    /// Faults end; the node comes up, and everything is read back.
    fn finish(&mut self, world: &mut World) {
        if !self.errors.is_empty() {
            return;
        }
        world.nodes[NODE].disk.borrow_mut().options = DiskFaults::NONE;
        self.workload.finish();
        let deadline = world.now + Duration::from_secs(300);
        while self.errors.is_empty() && !self.workload.is_finished() {
            if world.now > deadline {
                self.errors.push("after all faults ended not everything could be read back in 300 s".to_string());
                return;
            }
            self.turn(world, false);
        }
    }
}
