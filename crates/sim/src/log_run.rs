//! A seed of the log on one node: producers that send again what they do not know of, readers, topics that come and go, restarts (with
//! another number of shards) on a disk that fails, against what each producer was told.

use crate::faults::{DiskFaults, Fault, Faults};
use crate::report::{Outcome, RunOptions};
use crate::world::{NodeEvent, World};
use holon_base::{GroupId, Instant, Random, TabletId};
use holon_kernel::{Class, Scope, Shard};
use holon_log::calls::{PartitionError, Reply, Request};
use holon_log::service::{LOG_SERVICE, LogConfig, LogService};
use holon_log::store::LogError;
use holon_log::topics::TopicChange;
use holon_log::workload::{self, Mark};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

const NODE: usize = 0;
const PARTITIONS: u32 = 3;
const TOPICS_MAX: usize = 2;
const PRODUCERS: usize = 6;
const READS_MAX: usize = 8;
const CALL: Duration = Duration::from_secs(5);

/// One that writes to one partition, a batch after the other; each is sent until it is known what became of it.
struct Producer {
    id: i64,
    tablet: TabletId,
    /// Of the batch that is being sent: its number, the sequence number of its first record, its records.
    number: u32,
    sequence: i32,
    count: u8,
    is_sent: bool,
    /// It was sent before, and nobody knows what became of it.
    is_unknown: bool,
}

/// What is known of a partition.
#[derive(Default)]
struct Known {
    /// By offset, as it was acknowledged or read: never to change.
    batches: BTreeMap<i64, (Mark, u8)>,
    /// Everything before this offset was read without a gap.
    acknowledged: BTreeMap<Mark, i64>,
}

enum Report {
    Produced { producer: usize, number: u32, result: Result<Reply, PartitionError> },
    Read { tablet: TabletId, offset: i64, result: Result<Reply, PartitionError> },
    Topic { change: TopicChange, is_done: bool },
}

struct Run {
    random: Random,
    reports: Rc<RefCell<Vec<Report>>>,
    services: Registry,
    producers: Vec<Producer>,
    next_producer: i64,
    topics: Vec<GroupId>,
    topic_changes: bool,
    known: BTreeMap<TabletId, Known>,
    reads: usize,
    topics_made: u32,
    operations: u64,
    errors: Vec<String>,
}

type Registry = Rc<RefCell<Vec<Rc<LogService>>>>;

pub fn run(seed: u64, options: &RunOptions) -> Outcome {
    let faults = Faults::default();
    let mut random = Random::new(seed ^ 0x0010_9a11);
    let disk = DiskFaults { misdirect_per_million: 0, ..DiskFaults::random(&mut random) };
    let wal_segment_bytes = 4096 * random.range(4, 40);
    let config = LogConfig {
        wal_segment_bytes,
        wal_bytes_max: wal_segment_bytes * random.range(3, 10),
        queue_bytes_max: 64 << 10,
        unwritten_bytes_max: random.range(2 << 10, 64 << 10) as usize,
        kept_bytes_max: random.range(0, 16 << 10) as usize,
        ..LogConfig::default()
    };
    let shards = random.range(1, 4) as u16;
    let expanded = format!("shards {shards} {config:?} {disk:?}");
    let services = Registry::default();
    let installed = services.clone();
    let install = Rc::new(move |shard: &Rc<Shard>, metadata: &_| {
        let service = LogService::new(shard.clone(), Rc::clone(metadata), config.clone());
        let mut services = installed.borrow_mut();
        services.truncate(usize::from(shard.id().0)); // the last incarnation's
        services.push(service.clone());
        shard.add_service(service);
    });
    let mut world = World::new(seed, 1, shards, disk, faults.clone(), install);
    let mut run = Run {
        random: random.fork(),
        reports: Rc::default(),
        services,
        producers: Vec::new(),
        next_producer: 1,
        topics: Vec::new(),
        topic_changes: false,
        known: BTreeMap::new(),
        reads: 0,
        topics_made: 0,
        operations: 0,
        errors: Vec::new(),
    };
    world.start(NODE);
    let end = Instant(0) + options.simulated;
    while world.now < end && run.errors.is_empty() {
        run.turn(&mut world, true);
    }
    run.finish(&mut world);
    let (now, trace) = (world.now, world.trace());
    let Run { operations, errors, .. } = run;
    Outcome { seed, expanded, simulated: now.since(Instant(0)), operations, trace, faults, errors }
}

impl Run {
    fn turn(&mut self, world: &mut World, faults: bool) {
        let next = world.now + Duration::from_micros(self.random.range(500, 30_000));
        world.run_until(next, |_| ());
        self.collect(world);
        for event in std::mem::take(&mut world.events) {
            match event {
                NodeEvent::Up(_) => world.faults.sometimes("node up", true),
                NodeEvent::StoppedCleanly(_) => self.node_gone(),
                NodeEvent::Failed(_, reason) => {
                    self.node_gone();
                    if !["error", "full", "space", "poisoned"].iter().any(|word| reason.contains(word))
                        || reason.contains("damaged")
                    {
                        self.errors.push(format!("the node stopped without a disk's fault: {reason}"));
                    }
                }
            }
        }
        if faults {
            self.fault(world);
        } else if world.is_down(NODE) {
            world.start(NODE);
        }
        self.operate(world, faults);
    }

    /// What was on its way is not known of any more.
    fn node_gone(&mut self) {
        self.reports.borrow_mut().clear();
        self.reads = 0;
        self.topic_changes = false;
        for producer in self.producers.iter_mut().filter(|producer| producer.is_sent) {
            (producer.is_sent, producer.is_unknown) = (false, true);
        }
    }

    fn fault(&mut self, world: &mut World) {
        match self.random.below(1000) {
            0..6 if !world.is_down(NODE) => {
                self.collect(world);
                world.crash(NODE);
                self.node_gone();
                let shards = self.random.range(1, 4) as u16;
                if shards != world.nodes[NODE].shards {
                    world.nodes[NODE].shards = shards;
                    world.faults.fired(Fault::ShardCountChange);
                }
            }
            6..8 if world.up(NODE).is_some() => world.stop(NODE),
            8..300 if world.is_down(NODE) => world.start(NODE),
            _ => {}
        }
    }

    fn operate(&mut self, world: &World, may_change: bool) {
        let Some(live) = world.up(NODE) else { return };
        let Some(service) = self.services.borrow().first().cloned() else { return };
        self.look_at_topics(&service);
        for _ in 0..self.random.below(6) {
            let shard = live[self.random.below(live.len() as u64) as usize].shard.clone();
            match self.random.below(100) {
                0..1 if may_change => self.change_topics(&shard),
                1..60 => self.produce(&shard),
                _ => self.read(&shard),
            }
        }
    }

    /// As the metadata log has them.
    fn look_at_topics(&mut self, service: &LogService) {
        self.topics = service.with_topics(|topics| topics.all().map(|topic| topic.group).collect());
        let topics = &self.topics;
        self.producers.retain(|producer| topics.contains(&producer.tablet.group()));
        self.known.retain(|tablet, _| topics.contains(&tablet.group()));
        while self.producers.len() < PRODUCERS && !self.topics.is_empty() {
            let group = self.topics[self.random.below(self.topics.len() as u64) as usize];
            let tablet = TabletId::new(group, self.random.below(u64::from(PARTITIONS)) as u32);
            let count = self.random.range(1, 40) as u8;
            let id = self.next_producer;
            self.next_producer += 1;
            self.producers.push(Producer {
                id,
                tablet,
                number: 0,
                sequence: 0,
                count,
                is_sent: false,
                is_unknown: false,
            });
        }
    }

    fn change_topics(&mut self, shard: &Rc<Shard>) {
        if self.topic_changes {
            return;
        }
        let change = if self.topics.len() < TOPICS_MAX {
            self.topics_made += 1;
            let name = format!("topic-{}", self.topics_made);
            // 1 MiB is the least that may be set, and more than a run writes to most partitions.
            let configs = BTreeMap::from([("segment.bytes".to_string(), "3000".to_string())]);
            TopicChange::Create { name, partitions: PARTITIONS, replication: 1, configs }
        } else {
            TopicChange::Delete { group: self.topics[self.random.below(self.topics.len() as u64) as usize] }
        };
        self.topic_changes = true;
        let service = self.services.borrow()[usize::from(shard.id().0)].clone();
        let reports = self.reports.clone();
        shard.spawn(Scope::Node, Class::Foreground, async move {
            let proposed = service.metadata().propose(LOG_SERVICE, change.encode()).await;
            let is_done = proposed.is_ok_and(|committed| committed.answer.is_ok());
            reports.borrow_mut().push(Report::Topic { change, is_done });
        });
    }

    fn produce(&mut self, shard: &Rc<Shard>) {
        let idle: Vec<usize> = (0..self.producers.len()).filter(|at| !self.producers[*at].is_sent).collect();
        if idle.is_empty() {
            return;
        }
        let at = idle[self.random.below(idle.len() as u64) as usize];
        let producer = &mut self.producers[at];
        producer.is_sent = true;
        let (tablet, number) = (producer.tablet, producer.number);
        let records = workload::batch((producer.id as u32, producer.number), producer.sequence, producer.count);
        let service = self.services.borrow()[usize::from(shard.id().0)].clone();
        let (reports, deadline) = (self.reports.clone(), shard.now() + CALL);
        let id = producer.id;
        shard.spawn(Scope::Node, Class::Foreground, async move {
            let result = service.ask(tablet, Request::Produce { version: 9, records, guard: None }, deadline).await;
            reports.borrow_mut().push(Report::Produced { producer: id as usize, number, result });
        });
    }

    fn read(&mut self, shard: &Rc<Shard>) {
        if self.reads >= READS_MAX || self.topics.is_empty() {
            return;
        }
        let group = self.topics[self.random.below(self.topics.len() as u64) as usize];
        let tablet = TabletId::new(group, self.random.below(u64::from(PARTITIONS)) as u32);
        let end = self.known.get(&tablet).and_then(|known| known.batches.last_key_value());
        let end = end.map_or(0, |(offset, (_, count))| offset + i64::from(*count));
        let offset = if self.random.chance(1, 3) { end } else { self.random.below(end as u64 + 1) as i64 };
        self.reads += 1;
        self.ask_for(shard, tablet, offset);
    }

    fn ask_for(&mut self, shard: &Rc<Shard>, tablet: TabletId, offset: i64) {
        let bytes_max = self.random.range(1, 8000) as u32;
        let service = self.services.borrow()[usize::from(shard.id().0)].clone();
        let (reports, deadline) = (self.reports.clone(), shard.now() + CALL);
        shard.spawn(Scope::Node, Class::Foreground, async move {
            let result = service.ask(tablet, Request::Fetch { offset, bytes_max, committed: false }, deadline).await;
            reports.borrow_mut().push(Report::Read { tablet, offset, result });
        });
    }

    fn collect(&mut self, world: &World) {
        let reports = self.reports.take();
        for report in reports {
            self.operations += 1;
            match report {
                Report::Produced { producer, number, result } => self.produced(world, producer as i64, number, result),
                Report::Read { tablet, offset, result } => {
                    self.reads = self.reads.saturating_sub(1);
                    self.was_read(world, tablet, offset, result);
                }
                Report::Topic { change, is_done } => {
                    self.topic_changes = false;
                    let what = match change {
                        TopicChange::Delete { .. } => "topic deleted",
                        _ => "topic made",
                    };
                    world.faults.sometimes(what, is_done);
                }
            }
        }
    }

    fn produced(&mut self, world: &World, id: i64, number: u32, result: Result<Reply, PartitionError>) {
        let Some(at) = self.producers.iter().position(|producer| producer.id == id && producer.number == number) else {
            return; // its topic is gone
        };
        let producer = &mut self.producers[at];
        producer.is_sent = false;
        let (tablet, mark, count) = (producer.tablet, (producer.id as u32, number), producer.count);
        let offset = match result {
            Ok(Reply::Appended(appended)) => {
                world.faults.sometimes("batch appended", true);
                appended.base_offset
            }
            Err(PartitionError::Log(LogError::Duplicate { base_offset, .. })) => {
                world.faults.sometimes("batch was there already", true);
                if !producer.is_unknown {
                    self.errors.push(format!("{tablet}: {mark:?} was sent once, and is said to be there already"));
                }
                base_offset
            }
            Err(error) => {
                self.allowed(world, &format!("append of {mark:?}"), &error, true);
                // It may have been written, if nobody says that it was not.
                let is_certain = matches!(&error, PartitionError::Log(LogError::Overloaded { .. }));
                self.producers[at].is_unknown |= !is_certain;
                return;
            }
            Ok(other) => return self.errors.push(format!("{tablet}: an append was answered with {other:?}")),
        };
        let (sequence, next_count) = (producer.sequence + i32::from(count), self.random.range(1, 40) as u8);
        *producer = Producer { number: number + 1, sequence, count: next_count, is_unknown: false, ..*producer };
        self.is_at(tablet, offset, mark, count);
        let known = self.known.entry(tablet).or_default();
        known.acknowledged.insert(mark, offset);
    }

    /// A batch is there, now and from now on, and nowhere else.
    fn is_at(&mut self, tablet: TabletId, offset: i64, mark: Mark, count: u8) {
        let known = self.known.entry(tablet).or_default();
        let before = known.batches.insert(offset, (mark, count));
        if before.is_some_and(|before| before != (mark, count)) {
            self.errors.push(format!("{tablet}: offset {offset} had {before:?} and has {mark:?} now"));
        }
        if let Some(other) = known.acknowledged.get(&mark).filter(|other| **other != offset) {
            self.errors.push(format!("{tablet}: {mark:?} was at offset {other} and is at {offset} now"));
        }
    }

    fn was_read(&mut self, world: &World, tablet: TabletId, offset: i64, result: Result<Reply, PartitionError>) {
        let batches = match result {
            Ok(Reply::Fetched { batches, .. }) => batches,
            Ok(other) => return self.errors.push(format!("{tablet}: a read was answered with {other:?}")),
            Err(error) => return self.allowed(world, &format!("read of {tablet} at {offset}"), &error, false),
        };
        if !self.topics.contains(&tablet.group()) {
            return;
        }
        let found = match workload::read(batches.pieces.concat().into()) {
            Ok(found) => found,
            Err(error) => return self.errors.push(format!("{tablet}: what was read at {offset} is wrong: {error}")),
        };
        let mut next = None;
        for one in found {
            let has_it = (one.base_offset..=one.last_offset()).contains(&offset);
            if !next.map_or(has_it, |next| one.base_offset == next) {
                return self.errors.push(format!("{tablet}: read at {offset}: {one:?} is not what comes there"));
            }
            next = Some(one.last_offset() + 1);
            world.faults.sometimes("batch read", true);
            self.is_at(tablet, one.base_offset, one.mark, one.count);
        }
    }

    /// Errors are allowed where the disk did something, or the node stops.
    fn allowed(&mut self, world: &World, what: &str, error: &PartitionError, is_write: bool) {
        let counts = world.faults.counts();
        let fired = |faults: &[Fault]| faults.iter().any(|fault| counts.contains_key(fault));
        let of_disk = fired(&[Fault::ReadError, Fault::WriteError, Fault::SyncError, Fault::DiskFull, Fault::SlowDisk]);
        let fine = match error {
            PartitionError::Unreachable(_) => true, // it is starting or stopping, or the disk is slow
            PartitionError::Log(LogError::Overloaded { .. }) => is_write,
            PartitionError::Log(LogError::NotHere(_)) => true,
            PartitionError::Log(LogError::Wal(holon_wal::WalError::Damaged { .. })) => false,
            PartitionError::Log(LogError::Wal(holon_wal::WalError::Stopped { .. })) => true,
            PartitionError::Log(LogError::Wal(_)) => of_disk,
            _ => false,
        };
        if !fine {
            self.errors.push(format!("{what} failed without a reason: {error}"));
        }
    }

    /// Faults end, the node comes up, what was sent is sent to its end, and everything is read.
    fn finish(&mut self, world: &mut World) {
        if !self.errors.is_empty() {
            return;
        }
        world.nodes[NODE].disk.borrow_mut().options = DiskFaults::NONE;
        let (busy_until, deadline) = (world.now + Duration::from_secs(10), world.now + Duration::from_secs(120));
        while self.errors.is_empty() && (world.now < busy_until || world.up(NODE).is_none()) {
            if world.now > deadline {
                self.errors.push("after all faults ended the node did not come up in 120 s".to_string());
            }
            self.turn(world, false);
        }
        if self.errors.is_empty() {
            self.read_everything(world);
        }
    }

    fn read_everything(&mut self, world: &mut World) {
        world.run_until(world.now + Duration::from_secs(10), |_| ());
        self.collect(world);
        let tablets: Vec<TabletId> = self.known.keys().copied().collect();
        for tablet in tablets {
            let Some(shard) = world.up(NODE).map(|live| live[0].shard.clone()) else { return };
            let mut offset = 0;
            loop {
                self.ask_for(&shard, tablet, offset);
                world.run_until(world.now + Duration::from_secs(1), |_| ());
                self.collect(world);
                let next = self.known.get(&tablet).and_then(|known| known.batches.range(offset..).next());
                let Some((at, (_, count))) = next.filter(|_| self.errors.is_empty()) else { break };
                offset = at + i64::from(*count);
            }
            let Some(known) = self.known.get(&tablet) else { continue };
            let mut end = 0;
            let mut of_producer: BTreeMap<u32, u32> = BTreeMap::new();
            for (offset, ((producer, number), count)) in &known.batches {
                if *offset != end {
                    self.errors.push(format!("{tablet}: a batch at {offset}, and the one before ends at {end}"));
                }
                end = offset + i64::from(*count);
                let expected = of_producer.entry(*producer).or_default();
                if expected != number {
                    self.errors.push(format!("{tablet}: batch {number} of {producer} comes where {expected} should"));
                }
                *expected = number + 1;
            }
            for (mark, offset) in &known.acknowledged {
                if known.batches.get(offset).is_none_or(|(other, _)| other != mark) {
                    self.errors.push(format!("{tablet}: {mark:?} was acknowledged at {offset} and is not there"));
                }
            }
        }
    }
}
