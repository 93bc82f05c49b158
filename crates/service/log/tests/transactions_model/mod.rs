//! Transactions of several producers in any order, with checkpoints, restarts and losses of power that forget what was on its way, starts that move and files
//! that are lost, held against a model that knows what was acknowledged.

use crate::common::{TIME_MS, World, batch_of, checked, stamp, try_open};
use crate::{ONE, committed, committed_from, end, guard, produce, send};
use holon_base::Random;
use holon_kafka::{Attributes, BatchHeader, Marker, testing};
use holon_kernel::testing::MemoryDisk;
use holon_log::store::{EndTransaction, LogError, Origin, Retention};
use holon_wal::Durability;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Committed,
    Aborted,
}

/// Of some records: which transaction they are of, if any.
#[derive(Clone, Copy, Debug)]
struct Records {
    count: i32,
    transaction: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Producer {
    epoch: i16,
    sequence: i32,
    transaction: Option<usize>,
}

struct Model {
    batches: BTreeMap<i64, Records>,
    fates: Vec<(Fate, i64)>,
    producers: [Producer; 4],
    next: i64,
    start: i64,
    /// The greatest that was ever seen.
    stable: i64,
}

impl Model {
    fn new() -> Model {
        let producers = [Producer::default(); 4];
        Model { batches: BTreeMap::new(), fates: Vec::new(), producers, next: 0, start: 0, stable: 0 }
    }

    fn wrote(&mut self, at: usize, offset: i64, count: i32) {
        assert_eq!(offset, self.next);
        let fates = &mut self.fates;
        let transaction = *self.producers[at].transaction.get_or_insert_with(|| {
            fates.push((Fate::Open, offset));
            fates.len() - 1
        });
        self.producers[at].sequence += count;
        self.batches.insert(offset, Records { count, transaction: Some(transaction) });
        self.next += i64::from(count);
    }

    fn ended(&mut self, at: usize, epoch: i16, offset: i64, commits: bool) {
        assert_eq!(offset, self.next);
        if let Some(transaction) = self.producers[at].transaction.take() {
            self.fates[transaction].0 = if commits { Fate::Committed } else { Fate::Aborted };
        }
        if epoch != self.producers[at].epoch {
            self.producers[at] = Producer { epoch, ..Producer::default() };
        }
        self.next += 1;
    }

    fn stable_now(&self) -> i64 {
        let open = self.fates.iter().filter(|(fate, _)| *fate == Fate::Open).map(|(_, first)| *first).min();
        open.unwrap_or(self.next).max(self.start)
    }

    /// Offsets of records that are to be shown from an offset on.
    fn shown(&self, from: i64) -> Vec<i64> {
        let stable = self.stable_now();
        let is_shown = |records: &Records| {
            records.transaction.is_none_or(|transaction| self.fates[transaction].0 == Fate::Committed)
        };
        let batches = self.batches.iter().filter(|(base, records)| **base < stable && is_shown(records));
        let offsets = batches.flat_map(|(base, records)| *base..*base + i64::from(records.count));
        offsets.filter(|offset| *offset >= from).collect()
    }

    fn check(&mut self, world: &World, random: &mut Random) {
        let stable = world.store.stable(ONE).expect("there");
        assert_eq!(stable, self.stable_now());
        assert!(stable >= self.stable, "it was {}, and is {stable} now", self.stable);
        self.stable = stable;
        assert_eq!(world.store.ends(ONE), Ok((self.start, self.next)));
        let from = self.start + random.below((stable - self.start) as u64 + 1) as i64;
        let bytes_max = random.below(3000) as usize;
        let (seen, next) = committed(world, from, bytes_max);
        let expected: Vec<i64> = self.shown(from).into_iter().filter(|offset| *offset < next).collect();
        assert_eq!(seen, expected, "from {from} to {next} of {stable}");
        assert!(next > from || from == stable, "a reader gets on");
    }
}

/// What was sent and not waited for, in order.
enum Sent {
    Data { at: usize, count: u8 },
    End { at: usize, epoch: i16, commits: bool },
}

/// Sends some without waiting, perhaps until they are in the log; then the process ends. What of it is there is read.
fn crash(world: World, model: &mut Model, random: &mut Random) -> World {
    let mut sent = Vec::new();
    let mut producers: Vec<usize> = (0..4).collect();
    for _ in 0..random.below(4) {
        let at = producers.remove(random.below(producers.len() as u64) as usize);
        let Producer { epoch, sequence, transaction } = model.producers[at];
        let id = at as i64 + 1;
        let ticket = if transaction.is_some() && random.chance(1, 2) {
            let commits = random.chance(1, 2);
            sent.push(Sent::End { at, epoch: epoch + 1, commits });
            let end = EndTransaction {
                producer_id: id,
                producer_epoch: epoch + 1,
                coordinator_epoch: 3,
                commit: commits,
                version: 2,
            };
            let store = world.store.clone();
            world.shard.shard.spawn(holon_kernel::Scope::Node, holon_kernel::Class::Foreground, async move {
                let _ = store.end_transaction(ONE, end, stamp()).await;
            });
            None
        } else {
            let guard = guard(&world, (id, epoch), sequence).expect("it may write");
            let count = 1 + random.below(5) as u8;
            sent.push(Sent::Data { at, count });
            let from = testing::From { producer_id: id, epoch, sequence };
            let batch = checked(&testing::transactional(from, count, b"x", TIME_MS));
            let origin = Origin::Client { guard };
            Some(world.store.submit_from(origin, ONE, batch, stamp(), Durability::Sync).expect("room"))
        };
        drop(ticket);
    }
    if random.chance(1, 2) {
        world.checkpoint();
    }
    let world = if random.chance(1, 2) { world.reopen() } else { world.lose_power(random) };
    let found = world.read_all(ONE, model.start, 5000);
    let new: Vec<BatchHeader> = found.into_iter().filter(|header| header.base_offset >= model.next).collect();
    for header in new {
        let is_it = |sent: &Sent| match sent {
            Sent::Data { at, .. } => header.producer_id == *at as i64 + 1 && header.base_sequence >= 0,
            Sent::End { at, .. } => header.producer_id == *at as i64 + 1 && header.base_sequence < 0,
        };
        let one = sent.iter().position(is_it).map(|at| sent.remove(at));
        match one.expect("it was sent") {
            Sent::Data { at, count } => {
                assert_eq!(header.count, i32::from(count));
                model.wrote(at, header.base_offset, header.count);
            }
            Sent::End { at, epoch, commits } => {
                assert!(header.attributes.has(Attributes::CONTROL) && header.producer_epoch == epoch);
                model.ended(at, epoch, header.base_offset, commits);
            }
        }
    }
    world
}

fn step(world: &World, model: &mut Model, random: &mut Random) {
    let at = random.below(4) as usize;
    let (id, Producer { epoch, sequence, transaction }) = (at as i64 + 1, model.producers[at]);
    match random.below(10) {
        0..5 => {
            let count = 1 + random.below(6) as u8;
            let offset = produce(world, (id, epoch), sequence, count);
            model.wrote(at, offset, i32::from(count));
            if random.chance(1, 4) {
                let again = send(world, (id, epoch), sequence, count, None);
                assert_eq!(again, Err(LogError::Duplicate { base_offset: offset, append_time_ms: -1 }));
            }
        }
        5..8 => {
            let (bumps, commits) = (random.chance(1, 2), random.chance(1, 2));
            let of = if bumps { epoch + 1 } else { epoch };
            let offset = end(world, (id, of), commits, if bumps { 2 } else { 1 }).expect("ended");
            model.ended(at, of, offset, commits);
        }
        8 if transaction.is_some() => {
            let plain = world.append(ONE, &batch_of(id, epoch, sequence, 1, 1, TIME_MS));
            assert_eq!(plain, Err(LogError::InTransaction));
            let late = end(world, (id, epoch), true, 2);
            assert_eq!(late, Err(LogError::Fenced { epoch, newest: epoch }));
        }
        _ => {
            let offset = world.append(ONE, &crate::common::batch(2, 7)).expect("of nobody").base_offset;
            assert_eq!(offset, model.next);
            model.batches.insert(offset, Records { count: 2, transaction: None });
            model.next += 2;
        }
    }
}

fn count_markers(world: &World) -> usize {
    let headers = world.read_all(ONE, world.store.ends(ONE).expect("there").0, 10_000);
    headers.iter().filter(|header| header.attributes.has(Attributes::CONTROL)).count()
}

#[test]
fn committed_readers_see_whole_transactions_whatever_happens() {
    let mut markers = 0;
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let mut world = try_open(&MemoryDisk::new(), 1).expect("opens");
        world.create(ONE);
        let mut model = Model::new();
        for _ in 0..250 {
            match random.below(60) {
                0..3 => world = crash(world, &mut model, &mut random),
                3..5 => world.checkpoint(),
                5 => {
                    // One of the files of aborted transactions is damaged while the process is away.
                    let paths: Vec<String> =
                        world.disk.paths().into_iter().filter(|path| path.ends_with(".txnindex")).collect();
                    if !paths.is_empty() {
                        let path = &paths[random.below(paths.len() as u64) as usize];
                        world.disk.replace(path, vec![0; random.below(80) as usize]);
                    }
                    world = world.reopen();
                }
                6 if model.next > 0 => {
                    let to = model.start + random.below((model.next - model.start) as u64 / 4 + 1) as i64;
                    world.run(move |store| async move { store.move_start(ONE, to).await }).expect("moved");
                    let keep = Retention::default();
                    world.run(move |store| async move { store.retain(ONE, keep).await }).expect("retained");
                    model.start = model.start.max(to);
                }
                _ => step(&world, &mut model, &mut random),
            }
            model.check(&world, &mut random);
        }
        let shown = model.shown(model.start);
        for restart in [false, true] {
            if restart {
                world = world.reopen();
            }
            assert_eq!(committed_from(&world, model.start, 900), shown, "seed {seed}");
        }
        markers += count_markers(&world);
    }
    assert!(markers > 600, "{markers} transactions ended");
}

#[test]
fn a_marker_of_a_log_says_what_was_decided() {
    let world = World::new();
    world.create(ONE);
    produce(&world, (1, 0), 0, 1);
    end(&world, (1, 1), true, 2).expect("ended");
    let found = world.run(|store| async move { store.read(ONE, 1, 2, 1000).await }).expect("reads");
    let whole: Vec<u8> = found.pieces.concat();
    let header = found.first.expect("a batch");
    assert_eq!(Marker::of(&header, &whole[61..]), Some(Marker { commits: true, coordinator_epoch: 3 }));
    assert_eq!((header.leader_epoch, header.base_timestamp_ms, header.producer_epoch), (7, TIME_MS, 1));
}
