//! Replicas that follow a leader: what they copied they have as if it was produced there, and what is truncated was never there.

mod common;
mod following_model;

use common::stream::{Stream, append, assert_same, content, follow, truncate};
use common::{TIME_MS, World, batch, checked, stamp};
use holon_base::{Random, TabletId};
use holon_kafka::{Marker, testing};
use holon_kernel::join_all;
use holon_log::store::{CopyError, Guard, LogError, LogStore, Origin, PartitionOptions, Retention, Stamp};
use holon_wal::Durability;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

pub const ONE: TabletId = TabletId(0x1_0000);

/// Segments are written to without a checkpoint, since memory is short.
fn world() -> World {
    let world = World::new_with(|options| options.unwritten_bytes_max = 3000);
    world.create(ONE);
    world
}

/// A replica that never had more than this of a stream.
fn reference(stream: &Stream, to: i64, random: &mut Random) -> World {
    let world = World::new();
    world.create(ONE);
    follow(&world, ONE, stream, to, random);
    world
}

#[test]
fn a_follower_has_what_its_leader_has_and_answers_as_it_would() {
    let mut random = Random::new(1);
    let (mut leader, mut follower) = (world(), world());
    // What is produced at the leader is what the stream says, so that it is judged there.
    let mut stream = Stream::new(7);
    for round in 0..24 {
        stream.make_many(8, &mut random);
        follow(&leader, ONE, &stream, stream.end, &mut random);
        // The follower copies what it reads at the leader.
        loop {
            let (next, bytes_max) = (follower.store.ends(ONE).expect("there").1, random.below(1500) as usize);
            let read = leader.run(move |store| async move { store.read_to_end(ONE, next, i64::MAX, bytes_max).await });
            let read = read.expect("reads");
            if read.bytes == 0 {
                break;
            }
            assert_eq!(append(&follower, ONE, read.pieces.concat().into()), Ok((0, read.end)));
        }
        match round % 6 {
            1 => follower = follower.reopen(),
            2 => follower.checkpoint(),
            3 => follower = follower.lose_power(&mut random),
            4 => leader = leader.reopen(),
            5 => follower = follower.reopen_twice(),
            _ => {}
        }
        assert_same(&leader, &follower, ONE, &format!("round {round}"));
    }
    assert!(follower.store.stable(ONE).expect("there") < stream.end, "a transaction is open");
    assert!(follower.disk.paths().iter().any(|path| path.ends_with(".txnindex")), "some were aborted long ago");
}

#[test]
fn what_a_producer_did_at_the_leader_the_follower_knows() {
    let (leader, mut follower) = (world(), world());
    let sent = |sequence: i32| common::batch_of(9, 0, sequence, 3, 1, TIME_MS);
    for number in 0..8 {
        leader.append(ONE, &sent(number * 3)).expect("appended");
    }
    assert_eq!(append(&follower, ONE, content(&leader, ONE, 0, 1000)), Ok((0, 24)));
    for restart in [false, true] {
        if restart {
            follower = follower.reopen();
        }
        let duplicate = LogError::Duplicate { base_offset: 21, append_time_ms: -1 };
        assert_eq!(follower.append(ONE, &sent(21)), Err(duplicate));
        assert_eq!(follower.append(ONE, &sent(27)), Err(LogError::OutOfOrder { expected: 24, got: 27 }));
    }
    assert_eq!(follower.append(ONE, &sent(24)).expect("it leads now").base_offset, 24);
}

#[test]
fn what_does_not_continue_the_log_is_not_appended() {
    let mut random = Random::new(2);
    let mut world = world();
    let mut stream = Stream::new(7);
    stream.make_many(20, &mut random);
    let (half, end) = (stream.batches[10].header.base_offset, stream.end);
    follow(&world, ONE, &stream, half, &mut random);
    let rest = stream.bytes_between(half, end);
    let from = |at: usize| stream.batches[at].header.base_offset;
    let not_next = |offset: i64| Err(CopyError::NotNext { offset, next: half });
    assert_eq!(append(&world, ONE, stream.bytes_between(from(11), end)), not_next(from(11)));
    assert_eq!(append(&world, ONE, stream.bytes_between(from(9), end)), not_next(from(9)));
    let not_here = CopyError::Log(LogError::NotHere(TabletId(5 << 16)));
    assert_eq!(append(&world, TabletId(5 << 16), rest.clone()), Err(not_here));
    assert_eq!(append(&world, ONE, bytes::Bytes::new()), Ok((0, half)), "nothing is fine");
    let refused = |bytes: Vec<u8>, why: &str| match append(&world, ONE, bytes.into()) {
        Err(CopyError::NotABatch { at, detail }) => (at, detail),
        other => panic!("{why}: {other:?}"),
    };
    let first = stream.batches[10].bytes.len();
    let gap = [stream.bytes_between(half, from(11)), stream.bytes_between(from(12), end)].concat();
    assert!(refused(gap, "a gap").1.contains("begins at offset"));
    assert_eq!(refused(rest[..rest.len() - 1].to_vec(), "cut off").0, rest.len() - stream.batches[19].bytes.len());
    for at in [16, 17, 21, first - 1, first + 21, rest.len() - 1] {
        let mut damaged = rest.to_vec();
        damaged[at] ^= 1;
        refused(damaged, &format!("byte {at}"));
    }
    // An epoch of before, which no checksum has in it: within what is copied, and of all of it.
    let of_epoch = |batch: usize, epoch: i32| {
        let mut bytes = stream.batches[batch].bytes.to_vec();
        bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
        bytes
    };
    let back = [of_epoch(10, 9), of_epoch(11, 8)].concat();
    assert!(refused(back, "an epoch that goes back").1.contains("leader epoch 8"));
    let old = append(&world, ONE, of_epoch(10, 6).into());
    assert_eq!(old, Err(CopyError::OldLeader { epoch: 6, newest: 7 }));
    let produced = checked(&batch(1, 1));
    let old = Stamp { leader_epoch: 6, ..stamp() };
    let led = world.run(move |store| async move { store.append(ONE, produced, old, Durability::Sync).await });
    assert_eq!(led, Err(LogError::NotHere(ONE)), "a leader of before");
    for restart in [false, true] {
        if restart {
            world = world.reopen();
            assert_eq!(append(&world, ONE, of_epoch(10, 6).into()), Err(CopyError::OldLeader { epoch: 6, newest: 7 }));
        }
        assert_eq!(world.store.ends(ONE), Ok((0, half)));
        assert!(content(&world, ONE, 0, 900) == stream.bytes_between(0, half));
    }
    assert_eq!(append(&world, ONE, rest), Ok((0, end)));
}

/// What becomes of the process after a truncation.
#[derive(Clone, Copy, Debug)]
enum After {
    Nothing,
    Crash,
    PowerLoss,
    Checkpoint,
    CheckpointAndCrash,
    SecondTruncation,
}

fn go_on(world: World, after: After, offset: &mut i64, stream: &mut Stream, random: &mut Random) -> World {
    match after {
        After::Nothing => world,
        After::Crash => world.reopen(),
        After::PowerLoss => world.lose_power(random),
        After::Checkpoint => {
            world.checkpoint();
            world
        }
        After::CheckpointAndCrash => {
            world.checkpoint();
            world.lose_power(random)
        }
        After::SecondTruncation => {
            let lower = (*offset * 3 / 4).max(0);
            *offset = stream.truncate(lower);
            assert_eq!(truncate(&world, ONE, lower), Ok(*offset));
            world
        }
    }
}

/// Two checkpoints, more in segments, more in memory; then all from an offset on goes, and comes otherwise.
fn truncate_at(at: usize, is_within: bool, after: After, seed: u64) {
    let mut random = Random::new(seed);
    let why = format!("batch {at} within {is_within}, {after:?}");
    let mut stream = Stream::new(3);
    let mut world = world();
    for number in 0..90 {
        stream.leader_epoch = 3 + i32::from(number > 30) + i32::from(number > 75);
        stream.make(&mut random);
        if [25, 50, 89].contains(&number) {
            follow(&world, ONE, &stream, stream.end, &mut random);
        }
        if [25, 50].contains(&number) {
            world.checkpoint();
        }
    }
    let header = stream.batches.get(at).map_or(stream.batches[89].header, |batch| batch.header);
    let asked = if is_within { header.last_offset() } else { header.base_offset };
    let mut offset = stream.truncate(asked);
    assert_eq!(truncate(&world, ONE, asked), Ok(offset), "{why}");
    assert_eq!(world.store.ends(ONE), Ok((0, offset)), "{why}");
    world = go_on(world, after, &mut offset, &mut stream, &mut random);
    assert_same(&world, &reference(&stream, offset, &mut random), ONE, &why);
    // Another leader has something else there, first of an epoch that was over here.
    stream.leader_epoch = stream.batches.last().map_or(0, |batch| batch.header.leader_epoch);
    for part in 0..3 {
        stream.leader_epoch = if part == 0 { stream.leader_epoch } else { 9 };
        stream.make_many(25, &mut random);
        follow(&world, ONE, &stream, stream.end, &mut random);
        world = match (part + at) % 4 {
            0 => world.reopen(),
            1 => world.lose_power(&mut random),
            2 => world.reopen_twice(),
            _ => world,
        };
        assert!(content(&world, ONE, 0, 900) == stream.bytes_between(0, stream.end), "{why}, part {part}");
    }
    assert_same(&world, &reference(&stream, stream.end, &mut random), ONE, &why);
    world.run(|store| async move { store.close().await }).expect("closes");
    world = world.reopen();
    assert_eq!(world.report.replayed, 0, "{why}");
    assert_same(&world, &reference(&stream, stream.end, &mut random), ONE, &why);
}

#[test]
fn what_is_truncated_was_never_there() {
    let all = [
        After::Nothing,
        After::Crash,
        After::PowerLoss,
        After::Checkpoint,
        After::CheckpointAndCrash,
        After::SecondTruncation,
    ];
    for (number, after) in all.into_iter().enumerate() {
        // In memory, in segments that no checkpoint names, in those that one does, of long ago, all of it.
        for at in [89, 88, 83, 70, 60, 52, 51, 50, 45, 30, 26, 25, 10, 1, 0] {
            truncate_at(at, (at + number) % 3 == 0, after, (number * 100 + at) as u64);
        }
    }
}

#[test]
fn nothing_is_truncated_beyond_the_end_nor_before_the_start() {
    let mut random = Random::new(3);
    let mut world = world();
    let mut stream = Stream::new(1);
    stream.make_many(60, &mut random);
    follow(&world, ONE, &stream, stream.end, &mut random);
    let end = stream.end;
    let records = world.store.stats().log_bytes;
    for beyond in [0, 1, 1000] {
        assert_eq!(truncate(&world, ONE, end + beyond), Ok(end));
    }
    assert_eq!(world.store.stats().log_bytes, records, "nothing is to be said of it");
    let start = stream.batches.iter().find(|batch| batch.header.count > 2).expect("one").header.base_offset + 1;
    world.run(move |store| async move { store.move_start(ONE, start).await }).expect("moved");
    assert_eq!(truncate(&world, ONE, start - 1), Err(LogError::OutOfRange { offset: start - 1, start, end }));
    assert_eq!(truncate(&world, ONE, -1), Err(LogError::OutOfRange { offset: -1, start, end }));
    assert_eq!(truncate(&world, TabletId(5 << 16), 0), Err(LogError::NotHere(TabletId(5 << 16))));
    assert_eq!(world.store.ends(ONE), Ok((start, end)));
    // The batch that has the start goes whole: the next one comes in its place.
    assert_eq!(truncate(&world, ONE, start), Ok(start - 1));
    for restart in [false, true] {
        if restart {
            world = world.reopen();
        }
        assert_eq!(world.store.ends(ONE), Ok((start - 1, start - 1)));
    }
}

/// What to wait for, at one moment, in this order.
type Work = Pin<Box<dyn Future<Output = Result<i64, CopyError>>>>;

fn at_once(world: &World, work: Vec<Box<dyn FnOnce(LogStore) -> Work>>) -> Vec<Result<i64, CopyError>> {
    world.run(move |store| async move { join_all(work.into_iter().map(|one| one(store.clone()))).await })
}

#[test]
fn what_was_on_its_way_goes_and_what_comes_after_continues_at_the_new_end() {
    let mut random = Random::new(4);
    for (kept, restart) in [(8, false), (8, true), (10, false), (10, true)] {
        let mut world = World::new();
        world.create(ONE);
        let (mut old, mut new) = (Stream::new(1), Stream::new(2));
        old.make_many(10, &mut random);
        follow(&world, ONE, &old, old.end, &mut random);
        let end = old.end;
        old.make_many(3, &mut random);
        let under_way = old.bytes_between(end, old.end);
        let (last, offset) = (old.end, if kept == 8 { old.batches[8].header.base_offset } else { end });
        new.end = offset;
        new.make(&mut random);
        let instead = new.bytes_between(offset, new.end);
        let copied = |bytes: bytes::Bytes| -> Box<dyn FnOnce(LogStore) -> Work> {
            Box::new(move |store| {
                Box::pin(async move { Ok(store.append_copied(ONE, bytes, Durability::Sync).await?.1) })
            })
        };
        let cut: Box<dyn FnOnce(LogStore) -> Work> =
            Box::new(move |store| Box::pin(async move { Ok(store.truncate(ONE, offset).await?) }));
        if kept == 8 {
            let outcome = at_once(&world, vec![copied(under_way), cut, copied(instead.clone())]);
            assert_eq!(outcome, [Ok(last), Ok(offset), Ok(new.end)]);
        } else {
            // At the end as it is now, what is under way comes first, so that it is known.
            assert_eq!(at_once(&world, vec![copied(under_way), cut]), [Ok(last), Ok(offset)]);
            assert_eq!(append(&world, ONE, instead), Ok((0, new.end)));
        }
        if restart {
            world = world.reopen();
        }
        assert_eq!(world.store.ends(ONE), Ok((0, new.end)));
        let before = new.end;
        new.make(&mut random);
        assert_eq!(append(&world, ONE, new.bytes_between(before, new.end)), Ok((0, new.end)), "it continues there");
        let expected = [old.bytes_between(0, offset), new.bytes_between(offset, new.end)].concat();
        assert!(content(&world, ONE, 0, 900) == expected);
        assert_eq!(world.store.end_of_epoch(ONE, 1), Ok(Some((1, offset))));
        // A start that was to move beyond what is there then does not.
        let (end, offset) = (new.end, new.batches[0].header.base_offset);
        let cut: Box<dyn FnOnce(LogStore) -> Work> =
            Box::new(move |store| Box::pin(async move { Ok(store.truncate(ONE, offset).await?) }));
        let start: Box<dyn FnOnce(LogStore) -> Work> =
            Box::new(move |store| Box::pin(async move { Ok(store.move_start(ONE, end).await?) }));
        let refused = CopyError::Log(LogError::OutOfRange { offset: end, start: 0, end: offset });
        if !restart {
            assert_eq!(at_once(&world, vec![cut, start]), [Ok(offset), Err(refused)]);
        }
    }
}

#[test]
fn whoever_reads_meanwhile_reads_what_was_there_or_what_is() {
    let mut random = Random::new(5);
    for seed in 0..40 {
        let world = World::slow(seed, |options| options.unwritten_bytes_max = 3000);
        world.create(ONE);
        let mut stream = Stream::new(1);
        stream.make_many(100, &mut random);
        follow(&world, ONE, &stream, stream.end, &mut random);
        if seed % 2 == 0 {
            world.checkpoint();
        }
        let at = random.range(20, 90) as usize;
        let offset = stream.batches[at].header.base_offset;
        let old = stream.bytes_between(0, stream.end);
        stream.truncate(offset);
        stream.leader_epoch = 2;
        stream.make_many(60, &mut random);
        let (instead, new) = (stream.bytes_between(offset, stream.end), stream.bytes_between(0, stream.end));
        let bytes_max = random.below(3000) as usize;
        world.run(move |store| async move {
            let writer = store.clone();
            let write: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
                writer.truncate(ONE, offset).await.expect("truncated");
                writer.append_copied(ONE, instead, Durability::Sync).await.expect("appended");
                writer.checkpoint().await.expect("a checkpoint");
            });
            let mut work = vec![write];
            for reader in 0..8 {
                let (store, old, new) = (store.clone(), old.clone(), new.clone());
                work.push(Box::pin(async move {
                    for round in 0..30 {
                        let from = (offset + 40 - reader * 9 - round * 2).max(0);
                        match store.read_to_end(ONE, from, i64::MAX, bytes_max).await {
                            Ok(found) => {
                                let found = found.pieces.concat();
                                let is_in = |all: &[u8]| all.windows(found.len().max(1)).any(|part| part == found);
                                assert!(found.is_empty() || is_in(&old) || is_in(&new), "seed {seed} from {from}");
                            }
                            Err(LogError::OutOfRange { end, .. }) => assert!(end < from),
                            Err(error) => panic!("seed {seed}: {error}"),
                        }
                        store.find_time(ONE, TIME_MS, from).await.expect("looks");
                        store.find_newest(ONE).await.expect("looks");
                        store.aborted(ONE, from, i64::MAX).await.expect("looks");
                    }
                }));
            }
            join_all(work).await;
        });
        assert!(content(&world, ONE, 0, 900) == stream.bytes_between(0, stream.end));
    }
}

#[test]
fn a_truncation_that_nobody_waits_for_is_carried_out_or_is_not() {
    let mut random = Random::new(6);
    let mut outcomes = [0, 0];
    for seed in 0..60 {
        let world = World::slow(seed, |_| ());
        world.create(ONE);
        let mut stream = Stream::new(1);
        stream.make_many(60, &mut random);
        follow(&world, ONE, &stream, stream.end, &mut random);
        let (end, offset) = (stream.end, stream.batches[30].header.base_offset);
        let (shard, wait) = (world.shard.shard.clone(), Duration::from_micros(random.below(1500)));
        world.run(move |store| async move {
            let other = store.clone();
            let cut: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
                let deadline = shard.now() + wait;
                let _ = shard.timeout(deadline, Box::pin(store.truncate(ONE, offset))).await;
            });
            let write: Pin<Box<dyn Future<Output = ()>>> =
                Box::pin(async move { other.checkpoint().await.expect("a checkpoint") });
            join_all(if seed % 2 == 0 { [cut, write] } else { [write, cut] }).await;
        });
        world.checkpoint();
        let found = world.store.ends(ONE).expect("there").1;
        assert!(found == end || found == offset, "seed {seed}: {found}");
        outcomes[usize::from(found == offset)] += 1;
        stream.truncate(found);
        stream.make_many(30, &mut random);
        follow(&world, ONE, &stream, stream.end, &mut random);
        assert_eq!(world.store.stats().unwritten_bytes, world.store.amount(ONE).expect("there").unwritten_bytes);
        let world = world.reopen();
        assert!(content(&world, ONE, 0, 900) == stream.bytes_between(0, stream.end), "seed {seed}");
    }
    assert!(outcomes.iter().all(|count| *count > 5), "{outcomes:?}");
}

#[test]
fn a_segment_that_is_cut_and_not_written_to_again_stays_cut() {
    let wide = |value: u8| testing::batch(testing::NOBODY, 64, &[value; 20], TIME_MS);
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let mut world = World::new();
        world.create(ONE);
        for number in 0..20 {
            world.append(ONE, &batch(64, number)).expect("appended");
        }
        world.checkpoint();
        // Of the seven batches of its first segment six are left, and the next one does not fit beside them.
        assert_eq!(truncate(&world, ONE, 6 * 64), Ok(6 * 64));
        world.checkpoint();
        for number in 0..4 {
            world.append(ONE, &wide(number)).expect("appended");
        }
        world.checkpoint();
        world = world.lose_power(&mut random);
        let found = world.read_all(ONE, 0, 10_000);
        let found: Vec<(i64, usize)> = found.iter().map(|header| (header.base_offset, header.length)).collect();
        let length = |number: i64| if number < 6 { batch(64, 0).len() } else { wide(0).len() };
        assert_eq!(found, (0..10).map(|number| (number * 64, length(number))).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(world.append(ONE, &batch(1, 1)).expect("appended").base_offset, 640);
    }
}

#[test]
fn an_index_of_before_a_truncation_does_not_come_back() {
    let wide = |value: u8| testing::batch(testing::NOBODY, 64, &[value; 20], TIME_MS);
    for seed in 0..12 {
        let mut world = World::new_with(|options| {
            let segment_bytes = 64 << 10;
            options.partition = std::rc::Rc::new(move |_| PartitionOptions { segment_bytes, ..Default::default() });
        });
        world.create(ONE);
        for number in 0..40 {
            world.append(ONE, &batch(64, number)).expect("appended");
        }
        // An end in good order leaves an index of the segment that is written to.
        world.run(|store| async move { store.close().await }).expect("closes");
        world = world.reopen();
        assert_eq!(truncate(&world, ONE, 20 * 64), Ok(20 * 64));
        world.checkpoint();
        for number in 0..10 {
            world.append(ONE, &wide(number)).expect("appended");
        }
        world.checkpoint();
        world = world.lose_power(&mut Random::new(seed));
        for offset in 0..30 * 64 {
            let found = world.read(ONE, offset, 1).expect("reads");
            assert_eq!(found[0].base_offset, offset / 64 * 64, "seed {seed}");
        }
    }
}

#[test]
fn a_checkpoint_of_before_a_truncation_says_nothing_of_what_came_after() {
    let mut random = Random::new(7);
    let mut stream = Stream::new(1);
    let mut world = world();
    stream.make_many(50, &mut random);
    follow(&world, ONE, &stream, stream.end, &mut random);
    world.checkpoint();
    let (named, offset) = (stream.end, stream.batches[30].header.base_offset);
    stream.truncate(offset);
    // It ends before another one is made.
    let cut = move |store: LogStore| async move { assert_eq!(store.truncate(ONE, offset).await, Ok(offset)) };
    world = world.run_and_end(cut);
    assert!(world.report.replayed > 0);
    stream.leader_epoch = 2;
    stream.make_many(60, &mut random);
    follow(&world, ONE, &stream, stream.end, &mut random);
    let offset = stream.batches[65].header.base_offset;
    assert!(offset > named);
    assert_eq!(truncate(&world, ONE, offset), Ok(stream.truncate(offset)));
    assert_same(&world, &reference(&stream, offset, &mut random), ONE, "after a second truncation");
}

#[test]
fn what_a_coordinator_said_does_not_count_after_what_was_copied_or_truncated() {
    let world = world();
    let from = testing::From { producer_id: 1, epoch: 0, sequence: 0 };
    let sent = checked(&testing::transactional(from, 1, b"x", TIME_MS));
    let header = sent.header;
    let guard = |world: &World| world.store.to_verify(ONE, &header, false, TIME_MS).expect("it may write");
    let send = |guard: Option<Guard>| {
        let (origin, batch) = (Origin::Client { guard }, sent.clone());
        world.run(move |store| async move { store.append_from(origin, ONE, batch, stamp(), Durability::Sync).await })
    };
    let before = guard(&world);
    let marker = Marker { commits: true, coordinator_epoch: 3 }.batch(1, 0, TIME_MS).stamp(0, 7, None);
    append(&world, ONE, [marker.head, marker.records].concat().into()).expect("appended");
    assert_eq!(send(before), Err(LogError::NotInTransaction));
    let before = guard(&world);
    assert_eq!(truncate(&world, ONE, 0), Ok(0));
    assert_eq!(send(before), Err(LogError::NotInTransaction));
    assert_eq!(send(guard(&world)).expect("verified").base_offset, 0);
}

#[test]
fn consumers_see_nothing_from_the_limit_on_and_followers_do() {
    let world = world();
    for number in 0..40 {
        let one = common::batch_of(-1, -1, -1, 2, 1, TIME_MS + number);
        world.append(ONE, &one).expect("appended");
    }
    let high = |world: &World| world.store.high_watermark(ONE).expect("there");
    let stable = |world: &World| world.store.stable(ONE).expect("there");
    assert_eq!((high(&world), stable(&world)), (80, 80), "without one it is the end");
    let moved = world.store.moved(ONE).expect("there");
    world.store.set_limit(ONE, Some(51)).expect("set");
    world.run(|_| moved).expect("it moved");
    assert_eq!((high(&world), stable(&world), world.store.ends(ONE)), (51, 51, Ok((0, 80))));
    assert_eq!(world.read_all(ONE, 0, 500).last().expect("some").last_offset(), 49, "of whole batches");
    assert_eq!(world.read(ONE, 60, 500), Ok(Vec::new()), "not an error");
    assert_eq!(content(&world, ONE, 0, 500).len(), 40 * batch(2, 1).len());
    let find = |time_ms: i64| {
        let found = world.run(move |store| async move { store.find_time(ONE, time_ms, 0).await });
        found.expect("looks").map(|header| header.base_offset)
    };
    assert_eq!((find(TIME_MS + 24), find(TIME_MS + 25)), (Some(48), None));
    let newest = || world.run(|store| async move { store.find_newest(ONE).await }).expect("looks");
    assert_eq!(newest(), None, "it is one that consumers do not get");
    // A start beyond it holds it, and the end does.
    world.run(|store| async move { store.move_start(ONE, 60).await }).expect("moved");
    assert_eq!((high(&world), stable(&world)), (60, 60));
    world.store.set_limit(ONE, Some(1000)).expect("set");
    assert_eq!(high(&world), 80);
    world.store.set_limit(ONE, Some(70)).expect("set");
    assert_eq!(truncate(&world, ONE, 64), Ok(64));
    assert_eq!(high(&world), 64);
    world.store.set_limit(ONE, None).expect("set");
    assert_eq!(newest().expect("some").base_offset, 62);
    assert_eq!(high(&world.reopen()), 64);
}

#[test]
fn producers_whose_batches_are_gone_are_forgotten_only_by_a_truncation_below_the_checkpoint() {
    let sent = |id: i64, sequence: i32| common::batch_of(id, 0, sequence, 20, 1, TIME_MS);
    for is_below in [false, true] {
        let mut world = world();
        world.append(ONE, &sent(1, 0)).expect("appended");
        for number in 0..100 {
            world.append(ONE, &sent(2, number * 20)).expect("appended");
        }
        world.checkpoint();
        let end = world.store.ends(ONE).expect("there").1;
        // So many that they are in segments as well.
        for number in 0..30 {
            world.append(ONE, &sent(2, 2000 + number * 20)).expect("appended");
        }
        world.run(move |store| async move { store.move_start(ONE, end - 200).await }).expect("moved");
        world.run(|store| async move { store.retain(ONE, Retention::default()).await }).expect("retained");
        let offset = if is_below { end - 20 } else { end };
        assert_eq!(truncate(&world, ONE, offset), Ok(offset));
        for _ in 0..2 {
            let again = |id: i64, sequence: i32| world.append(ONE, &sent(id, sequence));
            let last = if is_below { 1960 } else { 1980 };
            let next = LogError::OutOfOrder { expected: last + 20, got: last + 40 };
            assert_eq!(again(2, last + 40), Err(next));
            let duplicate = LogError::Duplicate { base_offset: offset - 20, append_time_ms: -1 };
            assert_eq!(again(2, last), Err(duplicate));
            if !is_below {
                let duplicate = LogError::Duplicate { base_offset: 0, append_time_ms: -1 };
                assert_eq!(again(1, 0), Err(duplicate));
            }
            world = world.reopen();
        }
        if is_below {
            assert_eq!(world.append(ONE, &sent(1, 0)).expect("unknown").base_offset, offset);
        }
    }
}
