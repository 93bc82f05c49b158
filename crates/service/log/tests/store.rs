//! Partitions on one shard: offsets, reads from memory and from files, producers that send again, restarts.

mod common;

use common::{TIME_MS, World, batch, batch_of, checked, stamp, try_open};
use holon_base::{Random, TabletId};
use holon_kernel::testing::MemoryDisk;
use holon_log::store::{LogError, LogStore, PartitionOptions, Retention};
use holon_wal::{Durability, WalError};
use std::collections::BTreeMap;

const ONE: TabletId = TabletId(0x1_0000);
const TWO: TabletId = TabletId(0x2_0000);

#[test]
fn batches_get_offsets_without_gaps_and_are_read_from_memory_and_from_files() {
    let world = World::new();
    world.create(ONE);
    world.create(TWO);
    let mut next = 0;
    for number in 0..200u8 {
        let count = 1 + i32::from(number % 5);
        let appended = world.append(ONE, &batch(count, number)).expect("appended");
        assert_eq!((appended.base_offset, appended.start), (next, 0));
        next += i64::from(count);
    }
    assert_eq!(world.store.ends(ONE), Ok((0, next)));
    assert_eq!(world.store.ends(TWO), Ok((0, 0)), "it has its own");
    let of_memory = world.read_all(ONE, 0, 700);
    world.checkpoint();
    let stats = world.store.stats();
    assert_eq!(stats.unwritten_bytes, 0);
    assert!(stats.kept_bytes <= 8 << 10 && stats.written_bytes > 16 << 10, "{stats:?}");
    for bytes_max in [1, 700, 100_000] {
        let found = world.read_all(ONE, 0, bytes_max);
        assert_eq!(found.len(), 200);
        assert_eq!(found, of_memory);
        assert!(found.windows(2).all(|pair| pair[0].last_offset() + 1 == pair[1].base_offset));
        assert!(found.iter().all(|header| header.leader_epoch == 7));
    }
    assert!(world.store.stats().reads_of_files > 0 && world.store.stats().reads_of_memory > 0);
    // From within a batch all of it comes, as from Kafka.
    for offset in 0..next {
        let found = world.read(ONE, offset, 1).expect("reads");
        assert_eq!(found.len(), 1);
        assert!((found[0].base_offset..=found[0].last_offset()).contains(&offset), "{offset}: {found:?}");
    }
    assert_eq!(world.read(ONE, next, 100), Ok(Vec::new()), "the end is no error");
    assert_eq!(world.read(ONE, next + 1, 100), Err(LogError::OutOfRange { offset: next + 1, start: 0, end: next }));
    assert_eq!(world.read(TabletId(5 << 16), 0, 100), Err(LogError::NotHere(TabletId(5 << 16))));
}

#[test]
fn what_was_acknowledged_is_there_after_the_process_ended_at_once() {
    let mut world = World::new();
    world.create(ONE);
    let mut expected = Vec::new();
    for round in 0..6u8 {
        for number in 0..40u8 {
            world.append(ONE, &batch(2, number)).expect("appended");
        }
        if round % 2 == 1 {
            world.checkpoint();
            world.append(ONE, &batch(3, 255)).expect("appended");
        }
        expected = {
            let found = world.read_all(ONE, 0, 500);
            assert!(found.len() > expected.len() && found[..expected.len()] == expected[..]);
            found
        };
        world = world.reopen();
        assert!(world.report.replayed > 0 && world.report.logs == 1, "{:?}", world.report);
        assert_eq!(world.read_all(ONE, 0, 500), expected);
        assert_eq!(world.store.ends(ONE).expect("there").1, expected.last().expect("some").last_offset() + 1);
    }
    // A clean stop leaves nothing to replay.
    world.run(|store| async move { store.close().await }).expect("closes");
    let world = world.reopen();
    assert_eq!(world.report.replayed, 0, "{:?}", world.report);
    assert_eq!(world.read_all(ONE, 0, 500), expected);
}

#[test]
fn a_producer_that_sends_again_is_told_where_its_batch_is_also_after_a_restart() {
    let mut world = World::new();
    world.create(ONE);
    let sent = |sequence: i32| batch_of(9, 0, sequence, 3, 1, TIME_MS);
    for number in 0..8 {
        world.append(ONE, &sent(number * 3)).expect("appended");
        world.append(ONE, &batch(1, 0)).expect("another one's");
    }
    for restart in [false, true, true] {
        if restart {
            world = world.reopen();
        }
        for number in 3..8 {
            let again = world.append(ONE, &sent(number * 3));
            let base_offset = i64::from(number) * 4;
            assert_eq!(again, Err(LogError::Duplicate { base_offset, append_time_ms: -1 }), "restart {restart}");
        }
        assert_eq!(world.append(ONE, &sent(30)), Err(LogError::OutOfOrder { expected: 24, got: 30 }));
        let old_epoch = world.append(ONE, &batch_of(9, -1, 24, 1, 1, TIME_MS));
        assert_eq!(old_epoch, Err(LogError::Fenced { epoch: -1, newest: 0 }));
        world.checkpoint();
    }
    assert_eq!(world.store.ends(ONE), Ok((0, 32)));
    assert_eq!(world.append(ONE, &sent(24)).expect("next").base_offset, 32);
}

#[test]
fn batches_of_one_group_are_judged_one_after_the_other() {
    let world = World::new();
    world.create(ONE);
    let outcomes = world.run(|store| async move {
        let of = |sequence: i32| common::checked(&batch_of(9, 0, sequence, 2, 1, TIME_MS));
        let sent: Vec<_> = [0, 2, 2, 6, 4]
            .into_iter()
            .map(|sequence| store.submit(ONE, of(sequence), common::stamp(), holon_wal::Durability::Sync))
            .collect();
        let mut outcomes = Vec::new();
        for ticket in sent {
            outcomes.push(ticket.expect("there is room").wait().await.map(|appended| appended.base_offset));
        }
        outcomes
    });
    assert_eq!(
        outcomes,
        [
            Ok(0),
            Ok(2),
            Err(LogError::Duplicate { base_offset: 2, append_time_ms: -1 }),
            Err(LogError::OutOfOrder { expected: 4, got: 6 }),
            Ok(4),
        ]
    );
    assert_eq!(world.store.stats().log_syncs, 2, "one for the partition, one for the group");
}

#[test]
fn a_partition_that_was_removed_begins_anew_if_it_comes_back() {
    let mut world = World::new();
    for cut in [false, true] {
        world.create(ONE);
        world.create(TWO);
        for number in 0..60u8 {
            world.append(ONE, &batch(4, number)).expect("appended");
            world.append(TWO, &batch(1, number)).expect("appended");
        }
        world.checkpoint();
        world.append(ONE, &batch(4, 0)).expect("appended");
        world.run(|store| async move { store.remove(ONE).await }).expect("removed");
        assert!(!world.store.has(ONE));
        world.checkpoint();
        let left = world.disk.paths().into_iter().filter(|path| path.contains("0000000000010000-")).count();
        assert_eq!(left, 0, "{:?}", world.disk.paths());
        if cut {
            world = world.reopen();
            assert!(!world.store.has(ONE));
        }
        world.create(ONE);
        assert_eq!(world.store.ends(ONE), Ok((0, 0)));
        world.append(ONE, &batch(2, 77)).expect("appended");
        world = world.reopen();
        assert_eq!(world.store.ends(ONE), Ok((0, 2)));
        assert_eq!(world.read_all(ONE, 0, 100).len(), 1);
        world.run(|store| async move { store.remove(ONE).await }).expect("removed");
        world.run(|store| async move { store.remove(TWO).await }).expect("removed");
    }
}

#[test]
fn the_start_moves_for_good_and_never_back() {
    let mut world = World::new();
    world.create(ONE);
    for number in 0..50u8 {
        world.append(ONE, &batch(2, number)).expect("appended");
    }
    let moved = |world: &World, to: i64| world.run(move |store| async move { store.move_start(ONE, to).await });
    assert_eq!(moved(&world, 31), Ok(31));
    assert_eq!(moved(&world, 20), Ok(31));
    assert_eq!(moved(&world, 101), Err(LogError::OutOfRange { offset: 101, start: 31, end: 100 }));
    for restart in [false, true, true] {
        if restart {
            world = world.reopen();
        }
        assert_eq!(world.store.ends(ONE), Ok((31, 100)));
        assert_eq!(world.read(ONE, 30, 1), Err(LogError::OutOfRange { offset: 30, start: 31, end: 100 }));
        assert_eq!(world.read(ONE, 31, 1).expect("reads")[0].base_offset, 30, "the batch that has it");
        world.checkpoint();
    }
}

#[test]
fn times_are_found_in_files_and_in_memory() {
    let mut world = World::new();
    world.create(ONE);
    // Times go up, with one that is out of order.
    let time = |number: i64| TIME_MS + if number == 50 { 500 } else { number } * 10;
    for number in 0..150 {
        world.append(ONE, &batch_of(-1, -1, -1, 1, 1, time(number))).expect("appended");
    }
    let find = |world: &World, time_ms: i64| {
        let found = world.run(move |store| async move { store.find_time(ONE, time_ms, 0).await });
        found.expect("looks").map(|header| header.base_offset)
    };
    for round in 0..4 {
        if round == 1 {
            world.checkpoint();
        }
        if round == 2 {
            world = world.reopen();
        }
        if round == 3 {
            // Without any index.
            for path in world.disk.paths().into_iter().filter(|path| path.ends_with(".index")) {
                world.disk.replace(&path, b"no index".to_vec());
            }
            world = world.reopen();
        }
        assert_eq!(find(&world, 0), Some(0));
        for number in [0, 1, 49] {
            assert_eq!(find(&world, time(number)), Some(number), "round {round}");
            assert_eq!(find(&world, time(number) - 5), Some(number), "round {round}");
        }
        assert_eq!(find(&world, time(60)), Some(50), "the first that is not before it");
        assert_eq!(find(&world, TIME_MS + 5000), Some(50));
        assert_eq!(find(&world, TIME_MS + 5001), None);
    }
}

#[test]
fn the_shared_log_is_let_go_when_segments_have_what_is_in_it() {
    let world = World::new();
    world.create(ONE);
    world.create(TWO);
    world.append(TWO, &batch(1, 1)).expect("a partition that is seldom written to");
    for number in 0..4000u32 {
        world.append(ONE, &batch(50, number as u8)).expect("appended");
    }
    let logs: Vec<String> = world.disk.paths().into_iter().filter(|path| path.starts_with("log/wal")).collect();
    let bytes: usize = logs.iter().filter_map(|path| world.disk.content(path)).map(|content| content.len()).sum();
    assert!(bytes <= 1 << 20, "{bytes} bytes in {logs:?}");
    assert!(world.store.stats().checkpoints > 1);
    let world = world.reopen();
    assert_eq!(world.store.ends(ONE), Ok((0, 200_000)));
    assert_eq!(world.store.ends(TWO), Ok((0, 1)));
    assert_eq!(world.read_all(ONE, 0, 10_000).len(), 4000);
}

#[test]
fn what_is_too_old_or_too_much_goes_segment_by_segment() {
    let mut world = World::new();
    world.create(ONE);
    for number in 0..300 {
        world.append(ONE, &batch_of(-1, -1, -1, 4, 1, TIME_MS + number)).expect("appended");
    }
    world.checkpoint();
    let files = |world: &World| {
        world.disk.paths().iter().filter(|path| path.contains("partitions") && path.ends_with(".log")).count()
    };
    let retain = |world: &World, before_ms: Option<i64>, bytes: Option<u64>| {
        let keep = Retention { before_ms, bytes };
        world.run(move |store| async move { store.retain(ONE, keep).await }).expect("retained")
    };
    let before = files(&world);
    assert!(before > 5);
    assert_eq!(retain(&world, None, None), 0);
    assert_eq!(retain(&world, Some(TIME_MS), Some(1 << 30)), 0);
    // By size: as much as was asked for is left, and not a segment more.
    let start = retain(&world, None, Some(10_000));
    let left: usize = world.read_all(ONE, start, 1000).iter().map(|header| header.length).sum();
    assert!((10_000..10_000 + (4 << 10)).contains(&left), "{left}");
    // By age: what is left begins with a segment that has a record which is young enough.
    let start = retain(&world, Some(TIME_MS + 250), None);
    let found = world.read_all(ONE, start, 1000);
    assert!(found[0].max_timestamp_ms <= TIME_MS + 250 && start > 4 * 200, "{start}");
    assert!(files(&world) < before);
    for restart in [false, true] {
        if restart {
            world = world.reopen();
        }
        assert_eq!(world.store.ends(ONE), Ok((start, 1200)));
        assert_eq!(world.read_all(ONE, start, 1000), found);
    }
    // All of it, and what comes after begins where it ended.
    assert_eq!(retain(&world, Some(TIME_MS + 1000), None), 1200);
    world.checkpoint();
    assert_eq!(files(&world), 0);
    world = world.reopen();
    assert_eq!(world.store.ends(ONE), Ok((1200, 1200)));
    assert_eq!(world.append(ONE, &batch(1, 1)).expect("appended").base_offset, 1200);
    world.checkpoint();
    world = world.reopen();
    assert_eq!(world.read_all(ONE, 1200, 1000).len(), 1);
}

#[test]
fn a_segment_is_full_by_its_age() {
    let hour = 3_600_000;
    // By the timestamps of its batches, first to last; those without one by the clock.
    for (step_ms, of_each) in [(hour, 25), (hour * 24, 2), (hour * 25, 1), (0, 100)] {
        let mut world = World::new_with(|options| {
            options.partition =
                std::rc::Rc::new(|_| PartitionOptions { segment_ms: 24 * 3_600_000, ..PartitionOptions::default() });
        });
        world.create(ONE);
        for number in 0..50 {
            world.append(ONE, &batch_of(-1, -1, -1, 1, 1, TIME_MS + step_ms * number)).expect("appended");
            if number == 20 {
                world.checkpoint();
                world = world.reopen();
            }
        }
        world.checkpoint();
        let files =
            world.disk.paths().iter().filter(|path| path.contains("partitions") && path.ends_with(".log")).count();
        let expected = 50_usize.div_ceil(of_each);
        assert_eq!(files, expected, "a batch each {step_ms} ms");
        assert_eq!(world.read_all(ONE, 0, 1000).len(), 50);
    }
}

#[test]
fn a_segment_that_a_checkpoint_names_stays_until_none_does() {
    let mut world = World::new();
    world.create(ONE);
    // At once, so that few writes of the log have them all.
    let append = |world: &World, count: i64| {
        world.run(move |store| async move {
            let one = |number| {
                let (store, batch) = (store.clone(), checked(&batch_of(-1, -1, -1, 4, 1, TIME_MS + number)));
                async move { store.append(ONE, batch, stamp(), Durability::Sync).await.expect("appended") }
            };
            holon_kernel::join_all((0..count).map(one)).await;
        });
    };
    let retain = |world: &World| {
        world.run(|store| async move { store.retain(ONE, Retention::default()).await }).expect("retained");
    };
    let first_is_there =
        |world: &World| world.disk.paths().iter().any(|path| path.ends_with("/00000000000000000000.log"));
    append(&world, 5);
    world.checkpoint();
    let checkpoints = world.store.stats().checkpoints;
    // Other segments are begun, since there is too much for memory, without a checkpoint that names them.
    append(&world, 1500);
    let start = 4 * 1400;
    world.run(move |store| async move { store.move_start(ONE, start).await }).expect("moved");
    retain(&world);
    assert_eq!(world.store.stats().checkpoints, checkpoints, "none was made meanwhile");
    assert!(first_is_there(&world), "the checkpoint names it");
    for _ in 0..2 {
        world = world.reopen();
        assert_eq!(world.store.ends(ONE), Ok((start, 4 * 1505)));
        assert_eq!(world.read_all(ONE, start, 1000).len(), 105);
    }
    world.checkpoint();
    retain(&world);
    world.checkpoint();
    assert!(!first_is_there(&world), "{:?}", world.disk.paths());
    world = world.reopen();
    assert_eq!(world.read_all(ONE, start, 1000).len(), 105);
}

#[test]
fn a_partition_that_was_removed_is_not_looked_for_by_an_old_checkpoint() {
    // Later boots have little memory, so that recovery writes a part of it before it comes to the removal.
    let mut world = World::new_with(|options| {
        if options.boot > 1 {
            options.unwritten_bytes_max = 200;
        }
    });
    world.create(ONE);
    world.append(ONE, &batch(2, 1)).expect("appended");
    world.checkpoint();
    for number in 0..20 {
        world.append(ONE, &batch(2, number)).expect("appended");
    }
    // It ends before its checkpoint without the partition, and the next one before the checkpoint with it was let go.
    let removed = |store: LogStore| async move { store.remove(ONE).await.expect("removed") };
    world = world.run_and_end(removed);
    assert!(world.report.replayed > 0 && world.store.stats().checkpoints > 1, "{:?}", world.report);
    world = world.reopen();
    assert!(world.report.replayed > 0);
    assert_eq!(world.store.partitions(), []);
    assert!(!world.disk.paths().iter().any(|path| path.contains("/partitions/0")), "{:?}", world.disk.paths());
}

#[test]
fn damage_in_a_file_is_an_error_that_names_it_and_what_is_whole_is_read() {
    let world = World::new();
    world.create(ONE);
    for number in 0..300u32 {
        world.append(ONE, &batch(10, number as u8)).expect("appended");
    }
    world.run(|store| async move { store.close().await }).expect("closes");
    let segments: Vec<String> =
        world.disk.paths().into_iter().filter(|path| path.ends_with(".log") && path.contains("partitions")).collect();
    assert!(segments.len() > 5, "{segments:?}");
    let mut random = Random::new(7);
    for _ in 0..60 {
        let disk = world.disk.deep_copy();
        let path = segments[random.below(segments.len() as u64) as usize].clone();
        let mut content = disk.content(&path).expect("there");
        let at = random.below(content.len() as u64) as usize;
        content[at] ^= 1 << random.below(8);
        disk.replace(&path, content);
        let damaged = try_open(&disk, world.boot + 1).expect("a start reads no segment");
        let (mut offset, mut errors) = (0, 0);
        while offset < 3000 {
            match damaged.read(ONE, offset, 1) {
                Ok(found) => offset = found[0].last_offset() + 1,
                Err(LogError::Wal(WalError::Damaged { file, .. })) => {
                    assert_eq!(file, path);
                    errors += 1;
                    break;
                }
                Err(error) => panic!("{path} at {at}: {error}"),
            }
        }
        assert!(errors == 1, "{path}: nobody noticed byte {at}");
    }
}

/// A model of one partition: what was acknowledged, by offset.
#[derive(Default)]
struct Model {
    next: i64,
    batches: BTreeMap<i64, (i32, u8)>,
}

#[test]
fn whatever_happens_in_whatever_order_the_store_is_as_its_model() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let mut world = try_open(&MemoryDisk::new(), 1).expect("opens");
        let mut models: BTreeMap<TabletId, Model> = BTreeMap::new();
        for _ in 0..250 {
            let partition = TabletId(random.range(1, 4) << 16);
            match random.below(40) {
                0 if random.chance(1, 2) => world = world.lose_power(&mut random),
                0 if random.chance(1, 2) => world = world.reopen_twice(),
                0 => world = world.reopen(),
                1 => world.checkpoint(),
                2 => {
                    world.run(move |store| async move { store.remove(partition).await }).expect("removed");
                    models.remove(&partition);
                }
                3..6 => {
                    world.create(partition);
                    models.entry(partition).or_default();
                }
                6..10 => {
                    let Some(model) = models.get(&partition).filter(|model| model.next > 0) else { continue };
                    let offset = random.below(model.next as u64) as i64;
                    let found = world.read(partition, offset, random.below(2000) as usize).expect("reads");
                    let first = model.batches.range(..=offset).next_back().expect("some").0;
                    assert_eq!(found[0].base_offset, *first, "seed {seed}");
                }
                _ => {
                    let Some(model) = models.get_mut(&partition) else { continue };
                    let (count, value) = (random.range(1, 60) as i32, random.below(256) as u8);
                    let appended = world.append(partition, &batch(count, value)).expect("appended");
                    assert_eq!(appended.base_offset, model.next, "seed {seed}");
                    model.batches.insert(model.next, (count, value));
                    model.next += i64::from(count);
                }
            }
        }
        world = world.reopen();
        assert_eq!(world.store.partitions(), models.keys().copied().collect::<Vec<_>>(), "seed {seed}");
        for (partition, model) in &models {
            let found = world.read_all(*partition, 0, 3000);
            let found: Vec<(i64, i32)> = found.iter().map(|header| (header.base_offset, header.count)).collect();
            let expected: Vec<(i64, i32)> = model.batches.iter().map(|(offset, batch)| (*offset, batch.0)).collect();
            assert_eq!(found, expected, "seed {seed}");
        }
    }
}
