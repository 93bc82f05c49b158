//! A seed of the storage engine: random writes, deletions, reads, scans, flushes, compactions, snapshots and restarts (with
//! another number of shards) on a disk that fails, against the shadow of [`crate::store_model`].

use crate::faults::{DiskFaults, Fault, Faults};
use crate::report::{Outcome, RunOptions};
use crate::store_model::{COLUMNS, CellName, Effect, Model};
use crate::store_service::{PREFIX_BYTES, Registry, STORE, StoreOptions, StoreService, TABLETS};
use crate::world::{NodeEvent, World};
use bytes::Bytes;
use holon_base::{GroupId, Instant, Random, TabletId};
use holon_kernel::{Class, Scope};
use holon_store::*;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

const NODE: usize = 0;
/// Keys are two bytes of prefix (8 of them) and one or two more.
const PREFIXES: u64 = 8;
const SUFFIXES: u64 = 12;
const TASKS_MAX: usize = 24;

/// What a task of the run reports when it ends.
enum Report {
    Written { timestamp: i64, result: Result<(), StoreError> },
    Read { tablet: u32, keys: Vec<(Vec<u8>, Option<Row>)>, began: u64, now_seconds: i64 },
    ReadFailed { error: StoreError, began: u64 },
    Maintained { what: &'static str, result: Result<(), StoreError> },
}

struct Run {
    random: Random,
    model: Rc<RefCell<Model>>,
    reports: Rc<RefCell<Vec<Report>>>,
    registry: Registry,
    /// Of the tablets, once they are made: the entry that made them.
    group: GroupId,
    in_flight: Rc<RefCell<usize>>,
    timestamp: i64,
    operations: u64,
    /// A medium has lied (rot, a misdirected write): refusing to serve is then right, a wrong answer never.
    damaged: bool,
    /// The node found the damage and will not start any more.
    refused: bool,
    errors: Vec<String>,
}

pub fn run(seed: u64, options: &RunOptions) -> Outcome {
    let faults = Faults::default();
    let mut random = Random::new(seed ^ 0x0005_704e);
    let mut disk = DiskFaults::random(&mut random);
    let with_rot = random.chance(1, 4);
    if !with_rot {
        disk.misdirect_per_million = 0;
    }
    let mut store = StoreOptions {
        memtable_bytes: random.range(4 << 10, 96 << 10) as usize,
        cache_bytes: random.range(1 << 10, 256 << 10) as usize,
        segment_bytes: 4096 * random.range(16, 64),
        block_bytes: random.range(256, 8192) as usize,
        scaling: random.below(9) as i32 - 4,
        // Longer than any write takes from its timestamp to the log: an older one that came after the purge would show.
        purge_after_seconds: random.range(3, 20) as i64,
    };
    // From a stream of its own, which leaves the store seeds that were kept before (52, 496, 653) what they were.
    let mut small = Random::new(seed ^ 0x005e_6700);
    if small.chance(1, 3) {
        // Filled in the time of one slow operation of the disk, and let go all the time.
        store.segment_bytes = 4096 * small.range(3, 8);
    }
    let shards = random.range(1, 4) as u16;
    let expanded = format!("shards {shards} rot {with_rot} {store:?} {disk:?}");
    let registry = Registry::default();
    let installed = registry.clone();
    let install = Rc::new(move |shard: &_, _: &_| StoreService::install(shard, store, &installed));
    let mut world = World::new(seed, 1, shards, disk, faults.clone(), install);
    let mut run = Run {
        random: random.fork(),
        model: Rc::default(),
        reports: Rc::default(),
        registry,
        group: GroupId(0),
        in_flight: Rc::default(),
        timestamp: 1,
        operations: 0,
        damaged: false,
        refused: false,
        errors: Vec::new(),
    };
    world.start(NODE);
    let end = Instant(0) + options.simulated;
    while world.now < end && run.errors.is_empty() && !run.refused {
        run.turn(&mut world, Some(with_rot));
    }
    run.finish(&mut world);
    let now = world.now;
    let (operations, errors) = (run.operations, run.errors);
    Outcome { seed, expanded, simulated: now.since(Instant(0)), operations, trace: world.trace(), faults, errors }
}

impl Run {
    fn turn(&mut self, world: &mut World, faults: Option<bool>) {
        let next = world.now + Duration::from_micros(self.random.range(500, 30_000));
        world.run_until(next, |_| ());
        self.collect(world);
        for event in std::mem::take(&mut world.events) {
            match event {
                NodeEvent::Up(_) => self.node_up(world),
                NodeEvent::StoppedCleanly(_) => self.node_gone(true),
                NodeEvent::Failed(_, reason) => self.node_failed(world, &reason),
            }
        }
        match faults {
            Some(with_rot) => self.fault(world, with_rot),
            None if world.is_down(NODE) && !self.refused => world.start(NODE),
            None => {}
        }
        self.operate(world);
    }

    fn node_up(&mut self, world: &mut World) {
        world.faults.sometimes("node up", true);
        let Some(live) = world.up(NODE).map(|live| live[0].clone()) else { return };
        if live.metadata.groups().is_empty() {
            if self.operations > 0 {
                self.errors.push("the tablets are gone from the metadata log".to_string());
            }
            live.shard.spawn(Scope::Node, Class::Foreground, async move {
                let _ = live.metadata.propose(STORE, Bytes::new()).await; // asked again after the next start
            });
        }
    }

    /// `cleanly`: after a clean stop; else what waited in memory is gone with the process.
    fn node_gone(&mut self, cleanly: bool) {
        *self.in_flight.borrow_mut() = 0;
        self.reports.borrow_mut().clear();
        if cleanly {
            self.model.borrow_mut().ended();
        } else {
            self.model.borrow_mut().crashed();
        }
    }

    fn node_failed(&mut self, world: &mut World, reason: &str) {
        self.node_gone(false);
        let damage = reason.contains("damaged") && reason.contains("at byte");
        if damage && self.damaged {
            world.faults.sometimes("damage refused with file and offset", true);
            self.refused = true;
        } else if damage {
            self.errors.push(format!("the node sees damage where none was done: {reason}"));
        } else if !["error", "full", "space", "poisoned"].iter().any(|word| reason.contains(word)) {
            self.errors.push(format!("the node stopped without a disk's fault: {reason}"));
        }
    }

    fn fault(&mut self, world: &mut World, with_rot: bool) {
        match self.random.below(1000) {
            0..6 if !world.is_down(NODE) => {
                self.collect(world);
                world.crash(NODE);
                self.node_gone(false);
                self.change_shards(world);
            }
            6..8 if world.up(NODE).is_some() => world.stop(NODE),
            8..300 if world.is_down(NODE) => world.start(NODE),
            300..301 if with_rot => {
                let file = world.nodes[NODE].disk.borrow_mut().rot(|path| path.starts_with("tablets/"));
                self.damaged |= file.is_some();
            }
            _ => {}
        }
    }

    fn change_shards(&mut self, world: &mut World) {
        let shards = self.random.range(1, 4) as u16;
        if shards != world.nodes[NODE].shards {
            world.nodes[NODE].shards = shards;
            world.faults.fired(Fault::ShardCountChange);
        }
    }

    fn tablet(&self, number: u32) -> TabletId {
        TabletId::new(self.group, number)
    }

    fn operate(&mut self, world: &World) {
        let Some(live) = world.up(NODE) else { return };
        let Some(group) = live[0].metadata.groups().first().map(|group| group.id) else { return };
        self.group = group;
        for _ in 0..self.random.below(6) {
            if *self.in_flight.borrow() >= TASKS_MAX {
                return;
            }
            let number = self.random.below(u64::from(TABLETS)) as u32;
            let tablet = self.tablet(number);
            let shard = live[usize::from(tablet.shard(world.nodes[NODE].shards).0)].shard.clone();
            let service = self.registry.borrow().get(usize::from(shard.id().0)).cloned();
            let Some(engine) = service.and_then(|service| service.engine()) else { return };
            if !engine.has_tablet(tablet) {
                return;
            }
            let seconds = shard.wall().seconds();
            let future = self.operation(engine, number, seconds);
            *self.in_flight.borrow_mut() += 1;
            let (in_flight, reports) = (self.in_flight.clone(), self.reports.clone());
            shard.spawn(Scope::Node, Class::Foreground, async move {
                let report = future.await;
                reports.borrow_mut().push(report);
                *in_flight.borrow_mut() -= 1;
            });
        }
    }

    fn operation(
        &mut self,
        engine: Engine,
        number: u32,
        seconds: i64,
    ) -> std::pin::Pin<Box<dyn Future<Output = Report>>> {
        let tablet = self.tablet(number);
        let model = self.model.clone();
        match self.random.below(200) {
            0..110 => {
                let (timestamp, mutation, durability) = self.mutation(number, seconds);
                Box::pin(async move {
                    let result = engine.write(tablet, mutation, durability).await.map(drop);
                    Report::Written { timestamp, result }
                })
            }
            110..170 => {
                let key = self.key();
                Box::pin(async move {
                    let began = model.borrow_mut().read_begins();
                    match engine.get(tablet, &key, seconds).await {
                        Ok(row) => Report::Read { tablet: number, keys: vec![(key, row)], began, now_seconds: seconds },
                        Err(error) => Report::ReadFailed { error, began },
                    }
                })
            }
            170..195 => self.scan(engine, number, seconds),
            195..197 => {
                Box::pin(async move { Report::Maintained { what: "flush", result: engine.flush(tablet).await } })
            }
            197..198 => {
                let compact =
                    async move { Report::Maintained { what: "compact", result: engine.compact(tablet, |_| ()).await } };
                Box::pin(compact)
            }
            _ => {
                let verify = async move {
                    Report::Maintained { what: "verify", result: engine.verify(tablet, |_| ()).await.map(drop) }
                };
                Box::pin(verify)
            }
        }
    }

    fn key(&mut self) -> Vec<u8> {
        let mut key = vec![7; PREFIX_BYTES - 1];
        key.push(self.random.below(PREFIXES) as u8);
        key.push(self.random.below(SUFFIXES) as u8);
        if self.random.chance(1, 3) {
            key.push(0xff);
        }
        key
    }

    fn mutation(&mut self, number: u32, seconds: i64) -> (i64, Mutation, Durability) {
        self.timestamp += 1 + self.random.below(3) as i64;
        let timestamp = self.timestamp;
        let durability = if self.random.chance(1, 5) { Durability::Periodic } else { Durability::Sync };
        let mut builder = MutationBuilder::new();
        let mut effects = Vec::new();
        let deletion = Deletion { timestamp, local_seconds: seconds };
        if self.random.chance(1, 20) {
            let (a, b) = (self.key(), self.key());
            let (start, end) = if a <= b { (a, b) } else { (b, a) };
            for key in self.model.borrow().keys(number).into_iter().filter(|key| *key >= start && *key < end) {
                effects.extend((0..COLUMNS).map(|column| ((number, key.clone(), column), Effect::Deleted)));
            }
            builder.delete_range(RangeTombstone { start: start.into(), end: end.into(), deletion });
        } else {
            for _ in 0..1 + self.random.below(3) {
                let key = self.key();
                if effects.iter().any(|((_, other, _), _): &(CellName, Effect)| *other == key) {
                    continue;
                }
                let patch = self.patch(number, &key, timestamp, seconds, &mut effects);
                builder.row(&key, &patch);
            }
        }
        self.model.borrow_mut().begin(timestamp, durability, effects);
        let mutation = builder.finish().expect("a mutation of this size is within limits");
        (timestamp, mutation, durability)
    }

    fn patch(
        &mut self,
        number: u32,
        key: &[u8],
        timestamp: i64,
        seconds: i64,
        effects: &mut Vec<(CellName, Effect)>,
    ) -> RowPatch {
        let mut patch = RowPatch::default();
        if self.random.chance(1, 12) {
            patch.deletion = Some(Deletion { timestamp, local_seconds: seconds });
            effects.extend((0..COLUMNS).map(|column| ((number, key.to_vec(), column), Effect::Deleted)));
            return patch;
        }
        patch.marker = Some(Liveness { timestamp, expiry: None });
        for column in 0..COLUMNS {
            let name = (number, key.to_vec(), column);
            match self.random.below(10) {
                0..2 => {}
                2 => {
                    patch.put(CellEntry::new(column, Cell::tombstone(timestamp, seconds)));
                    effects.push((name, Effect::Deleted));
                }
                kind => {
                    let mut value = timestamp.to_le_bytes().to_vec();
                    value.resize(8 + self.random.below(120) as usize, column as u8);
                    let ttl = if kind == 3 { Some(1 + self.random.below(20) as u32) } else { None };
                    let expires_at_seconds = ttl.map(|ttl| seconds + i64::from(ttl));
                    let cell = match (ttl, expires_at_seconds) {
                        (Some(ttl), Some(at)) => Cell::expiring(timestamp, ttl, at, value.clone()),
                        _ => Cell::live(timestamp, value.clone()),
                    };
                    patch.put(CellEntry::new(column, cell));
                    effects.push((name, Effect::Value { value, expires_at_seconds }));
                }
            }
        }
        patch
    }

    /// Pages through a range, forwards or backwards; every key of the range that is not in a page shows nothing.
    fn scan(&mut self, engine: Engine, number: u32, seconds: i64) -> std::pin::Pin<Box<dyn Future<Output = Report>>> {
        let (a, b) = (self.key(), self.key());
        let (start, end) = if a <= b { (a, b) } else { (b, a) };
        let one_prefix = start[..PREFIX_BYTES] == end[..PREFIX_BYTES];
        let range = KeyRange::new(start.clone(), end.clone());
        let options = ScanOptions {
            reverse: self.random.chance(1, 2),
            rows_max: 1 + self.random.below(20) as usize,
            examined_max: 1 + self.random.below(200) as usize,
            one_prefix,
            ..ScanOptions::new(seconds)
        };
        let (model, tablet) = (self.model.clone(), self.tablet(number));
        Box::pin(async move {
            let began = model.borrow_mut().read_begins();
            let mut found: Vec<(Vec<u8>, Option<Row>)> = Vec::new();
            let mut rest = Some(range);
            while let Some(range) = rest {
                match engine.scan(tablet, range, options).await {
                    Ok(page) => {
                        found.extend(page.rows.into_iter().map(|(key, row)| (key.to_vec(), Some(row))));
                        rest = page.rest;
                    }
                    Err(error) => return Report::ReadFailed { error, began },
                }
            }
            let ordered = found
                .windows(2)
                .all(|pair| if options.reverse { pair[0].0 > pair[1].0 } else { pair[0].0 < pair[1].0 });
            assert!(ordered, "a scan is out of order or gives a key twice");
            let missing: Vec<Vec<u8>> = model
                .borrow()
                .keys(number)
                .into_iter()
                .filter(|key| *key >= start && *key < end && !found.iter().any(|(other, _)| other == key))
                .collect();
            found.extend(missing.into_iter().map(|key| (key, None)));
            Report::Read { tablet: number, keys: found, began, now_seconds: seconds }
        })
    }

    fn collect(&mut self, world: &World) {
        self.damaged |= world.faults.counts().contains_key(&Fault::MisdirectedWrite);
        let reports = self.reports.take();
        for report in reports {
            self.operations += 1;
            match report {
                Report::Written { timestamp, result } => self.written(world, timestamp, result),
                Report::Read { tablet, keys, began, now_seconds } => {
                    for (key, row) in keys {
                        let found = row.as_ref();
                        world.faults.sometimes("read found a row", found.is_some());
                        if let Err(error) = self.model.borrow_mut().check(tablet, &key, found, began, now_seconds) {
                            self.errors.push(format!("{error}; the row: {found:?}"));
                        }
                    }
                    self.model.borrow_mut().read_ended(began);
                }
                Report::ReadFailed { error, began } => {
                    self.model.borrow_mut().read_ended(began);
                    self.allowed(world, "read", &error);
                }
                Report::Maintained { what, result: Ok(()) } => world.faults.sometimes(what, true),
                Report::Maintained { what, result: Err(error) } => self.allowed(world, what, &error),
            }
        }
    }

    fn written(&mut self, world: &World, timestamp: i64, result: Result<(), StoreError>) {
        let mut model = self.model.borrow_mut();
        match result {
            Ok(()) => model.acknowledged(timestamp),
            Err(StoreError::DiskFull { .. }) => {
                world.faults.sometimes("write refused: disk full", true);
                model.refused(timestamp);
            }
            Err(StoreError::Overloaded { .. }) => model.refused(timestamp),
            Err(error) => {
                model.unknown(timestamp);
                drop(model);
                self.allowed(world, "write", &error);
            }
        }
    }

    /// Errors are allowed where the disk did something; damage only where there is some.
    fn allowed(&mut self, world: &World, what: &str, error: &StoreError) {
        let counts = world.faults.counts();
        let fired = |faults: &[Fault]| faults.iter().any(|fault| counts.contains_key(fault));
        let fine = match error {
            StoreError::Damaged { .. } => {
                world.faults.sometimes("damage found by a read", self.damaged);
                self.damaged
            }
            StoreError::DiskFull { .. } => fired(&[Fault::DiskFull]),
            StoreError::Disk(_) => fired(&[Fault::ReadError, Fault::WriteError, Fault::SyncError, Fault::DiskFull]),
            StoreError::Stopped { .. } => true, // a clean stop, or a failed sync
            StoreError::Overloaded { .. } => true,
            _ => false,
        };
        if !fine {
            self.errors.push(format!("{what} failed without a reason: {error}"));
        }
    }

    /// Faults end, the node comes up, and every key is read.
    fn finish(&mut self, world: &mut World) {
        if !self.errors.is_empty() || self.refused {
            return;
        }
        world.nodes[NODE].disk.borrow_mut().options = DiskFaults::NONE;
        let deadline = world.now + Duration::from_secs(120);
        let busy_until = world.now + Duration::from_secs(2);
        while self.errors.is_empty() && !self.refused && world.now < deadline {
            self.turn(world, None);
            if world.now > busy_until && world.up(NODE).is_some() {
                break;
            }
        }
        if self.errors.is_empty() && !self.refused && world.up(NODE).is_none() {
            self.errors.push("after all faults ended the node did not come up in 120 s".to_string());
        }
        if world.up(NODE).is_some_and(|live| !live[0].metadata.groups().is_empty()) {
            self.read_everything(world);
        }
    }

    fn read_everything(&mut self, world: &mut World) {
        let shards = world.nodes[NODE].shards;
        for number in 0..TABLETS {
            let tablet = self.tablet(number);
            let Some(shard) = world.up(NODE).map(|live| live[usize::from(tablet.shard(shards).0)].shard.clone()) else {
                return;
            };
            let service = self.registry.borrow()[usize::from(shard.id().0)].clone();
            let Some(engine) = service.engine() else { return };
            let keys = self.model.borrow().keys(number);
            let (model, reports, seconds) = (self.model.clone(), self.reports.clone(), shard.wall().seconds());
            shard.spawn(Scope::Node, Class::Foreground, async move {
                for key in keys {
                    let began = model.borrow_mut().read_begins();
                    let report = match engine.get(tablet, &key, seconds).await {
                        Ok(row) => Report::Read { tablet: number, keys: vec![(key, row)], began, now_seconds: seconds },
                        Err(error) => Report::ReadFailed { error, began },
                    };
                    reports.borrow_mut().push(report);
                }
            });
        }
        let end = world.now + Duration::from_secs(20);
        world.run_until(end, |_| ());
        self.collect(world);
    }
}
