//! Transactions in a partition: what readers of committed records see, through checkpoints, restarts, full segments and damage.

mod common;
mod transactions_model;

use common::{TIME_MS, World, batch_of, checked, stamp};
use holon_base::TabletId;
use holon_kafka::{Batches, Marker, testing};
use holon_log::store::{Aborted, Appended, EndTransaction, Guard, LogError, Origin, Retention};
use holon_wal::Durability;

const ONE: TabletId = TabletId(0x1_0000);

/// A batch of a transaction, with what the coordinator gave for it.
pub fn send(
    world: &World,
    (id, epoch): (i64, i16),
    sequence: i32,
    count: u8,
    guard: Option<Guard>,
) -> Result<Appended, LogError> {
    let from = testing::From { producer_id: id, epoch, sequence };
    let batch = checked(&testing::transactional(from, count, &id.to_le_bytes(), TIME_MS));
    let origin = Origin::Client { guard };
    world.run(move |store| async move { store.append_from(origin, ONE, batch, stamp(), Durability::Sync).await })
}

pub fn guard(world: &World, (id, epoch): (i64, i16), sequence: i32) -> Result<Option<Guard>, LogError> {
    let from = testing::From { producer_id: id, epoch, sequence };
    let header = checked(&testing::transactional(from, 1, b"x", TIME_MS)).header;
    world.store.to_verify(ONE, &header, true, TIME_MS)
}

/// As a client whose coordinator says yes.
pub fn produce(world: &World, producer: (i64, i16), sequence: i32, count: u8) -> i64 {
    let guard = guard(world, producer, sequence).expect("it may write");
    send(world, producer, sequence, count, guard).expect("appended").base_offset
}

pub fn end(
    world: &World,
    (producer_id, producer_epoch): (i64, i16),
    commit: bool,
    version: i16,
) -> Result<i64, LogError> {
    let end = EndTransaction { producer_id, producer_epoch, coordinator_epoch: 3, commit, version };
    let ended = world.run(move |store| async move { store.end_transaction(ONE, end, stamp()).await });
    ended.map(|appended| appended.base_offset)
}

fn aborted(world: &World, offset: i64, below: i64) -> Vec<(i64, i64, i64)> {
    let found = world.run(move |store| async move { store.aborted(ONE, offset, below).await }).expect("reads");
    found.iter().map(|one: &Aborted| (one.producer_id, one.first_offset, one.last_offset)).collect()
}

fn stable(world: &World) -> i64 {
    world.store.stable(ONE).expect("there")
}

/// The offsets of records that a reader of committed records sees, as Kafka's client decides it.
pub fn committed(world: &World, offset: i64, bytes_max: usize) -> (Vec<i64>, i64) {
    let below = stable(world);
    let (batches, mut aborted) = world.run(move |store| async move {
        let batches = store.read(ONE, offset, below, bytes_max).await.expect("reads");
        let aborted = store.aborted(ONE, offset, batches.end.max(offset)).await.expect("reads");
        (batches, aborted)
    });
    aborted.sort_by_key(|one| one.first_offset);
    let (mut aborted, mut producers) = (aborted.into_iter().peekable(), Vec::new());
    let mut seen = Vec::new();
    for batch in Batches::new(batches.pieces.concat().into()) {
        let (header, whole) = batch.expect("whole");
        while let Some(one) = aborted.next_if(|one| one.first_offset <= header.last_offset()) {
            producers.push(one.producer_id);
        }
        match Marker::of(&header, &whole[61..]) {
            Some(marker) if !marker.commits => producers.retain(|id| *id != header.producer_id),
            Some(_) => {}
            None if header.attributes.has(holon_kafka::Attributes::TRANSACTIONAL)
                && producers.contains(&header.producer_id) => {}
            None => seen.extend((header.base_offset..=header.last_offset()).filter(|one| *one >= offset)),
        }
    }
    (seen, batches.end.max(offset))
}

pub fn committed_from(world: &World, mut offset: i64, bytes_max: usize) -> Vec<i64> {
    let mut all = Vec::new();
    loop {
        let (seen, next) = committed(world, offset, bytes_max);
        all.extend(seen);
        if next <= offset {
            return all;
        }
        offset = next;
    }
}

#[test]
fn readers_of_committed_records_stop_at_the_first_open_transaction_and_pass_over_aborted_ones() {
    let mut world = World::new();
    world.create(ONE);
    assert_eq!(stable(&world), 0);
    assert_eq!(produce(&world, (1, 0), 0, 2), 0);
    assert_eq!(world.append(ONE, &common::batch(1, 9)).expect("of nobody").base_offset, 2);
    assert_eq!(produce(&world, (2, 0), 0, 1), 3);
    assert_eq!((stable(&world), world.store.ends(ONE)), (0, Ok((0, 4))));
    assert_eq!(end(&world, (2, 0), false, 1), Ok(4));
    assert_eq!(stable(&world), 0, "the first is open still");
    assert_eq!(produce(&world, (1, 0), 2, 1), 5);
    for step in 0..4 {
        match step {
            1 => world = world.reopen(),
            2 => world.checkpoint(),
            3 => world = world.reopen(),
            _ => {}
        }
        assert_eq!(stable(&world), 0, "step {step}");
        assert!(committed_from(&world, 0, 1000).is_empty());
        assert!(world.store.has_transaction(ONE, 1, 0).expect("there"));
        assert!(!world.store.has_transaction(ONE, 2, 0).expect("there"));
    }
    // A producer with an open transaction goes on without being verified again, also after a restart.
    assert_eq!(guard(&world, (1, 0), 3), Ok(None));
    assert_eq!(send(&world, (1, 0), 3, 1, None).map(|appended| appended.base_offset), Ok(6));
    let plain = world.append(ONE, &batch_of(1, 0, 4, 1, 1, TIME_MS));
    assert_eq!(plain, Err(LogError::InTransaction));
    assert_eq!(end(&world, (1, 0), true, 1), Ok(7));
    for restart in [false, true] {
        if restart {
            world = world.reopen();
        }
        assert_eq!(stable(&world), 8);
        assert_eq!(aborted(&world, 0, 8), [(2, 3, 4)]);
        assert_eq!(aborted(&world, 5, 8), []);
        assert_eq!(aborted(&world, 0, 3), []);
        for bytes_max in [1, 200, 10_000] {
            assert_eq!(committed_from(&world, 0, bytes_max), [0, 1, 2, 5, 6]);
            assert_eq!(committed_from(&world, 3, bytes_max), [5, 6]);
        }
    }
    // The sequence numbers go on, since the marker had the same epoch.
    assert_eq!(produce(&world, (1, 0), 4, 1), 8);
}

#[test]
fn a_transaction_begins_only_with_what_the_coordinator_said_before_it_ended() {
    let mut world = World::new();
    world.create(ONE);
    assert_eq!(send(&world, (1, 0), 0, 1, None), Err(LogError::NotInTransaction));
    let first = guard(&world, (1, 0), 0).expect("it may write");
    assert!(first.is_some());
    assert_eq!(guard(&world, (1, 0), 1), Ok(first), "it is asked already");
    // A marker comes before the batch: whatever the coordinator said is of the transaction before.
    end(&world, (1, 0), false, 1).expect("written anyway");
    assert_eq!(send(&world, (1, 0), 0, 1, first), Err(LogError::NotInTransaction));
    let second = guard(&world, (1, 0), 0).expect("it may write");
    assert_ne!(first, second);
    assert_eq!(send(&world, (1, 0), 0, 1, second).map(|appended| appended.base_offset), Ok(1));
    // Each transaction has an epoch of its own (version 2): its marker ends it and not the one after.
    assert_eq!(end(&world, (1, 0), true, 2), Err(LogError::Fenced { epoch: 0, newest: 0 }));
    assert_eq!(end(&world, (1, 1), true, 2), Ok(2));
    assert_eq!(end(&world, (1, 1), true, 2), Ok(3), "said again, written again");
    assert_eq!(guard(&world, (1, 0), 1), Err(LogError::Fenced { epoch: 0, newest: 1 }));
    assert_eq!(send(&world, (1, 0), 1, 1, second), Err(LogError::Fenced { epoch: 0, newest: 1 }));
    let third = guard(&world, (1, 1), 1).expect("it may write");
    assert_eq!(send(&world, (1, 1), 1, 1, third), Err(LogError::OutOfOrder { expected: 0, got: 1 }));
    world = world.reopen();
    assert_eq!(send(&world, (1, 1), 0, 1, third), Err(LogError::NotInTransaction), "a guard is of one life");
    assert_eq!(produce(&world, (1, 1), 0, 1), 4);
    assert_eq!(end(&world, (1, 1), true, 2), Err(LogError::Fenced { epoch: 1, newest: 1 }), "late");
    let old = EndTransaction { producer_id: 1, producer_epoch: 2, coordinator_epoch: 2, commit: true, version: 2 };
    let fenced = world.run(move |store| async move { store.end_transaction(ONE, old, stamp()).await });
    assert_eq!(fenced, Err(LogError::CoordinatorFenced { epoch: 2, newest: 3 }));
    assert_eq!(end(&world, (1, 2), true, 2), Ok(5));
    // What is fenced is fenced also after a checkpoint, though the producer has no batch of this epoch.
    world.checkpoint();
    world = world.reopen();
    assert_eq!(world.report.replayed, 0);
    assert_eq!(guard(&world, (1, 1), 1), Err(LogError::Fenced { epoch: 1, newest: 2 }));
    let fenced = world.run(move |store| async move { store.end_transaction(ONE, old, stamp()).await });
    assert_eq!(fenced, Err(LogError::CoordinatorFenced { epoch: 2, newest: 3 }));
    assert_eq!(committed_from(&world, 0, 100), [1, 4]);
}

/// So many transactions of two producers that go on at once, every third of which is aborted; the offsets of committed records.
fn many(world: &World, count: i32) -> Vec<i64> {
    let (mut expected, mut of) = (Vec::new(), [Vec::new(), Vec::new()]);
    for number in 0..count {
        let at = (number % 2) as usize;
        let producer = (at as i64 + 1, 0);
        for part in 0..3 {
            let base = produce(world, producer, (number / 2) * 6 + part * 2, 2);
            of[at].extend([base, base + 1]);
        }
        if number > 0 {
            let before = 1 - at;
            let commits = (number - 1) % 3 != 0;
            end(world, (before as i64 + 1, 0), commits, 1).expect("ended");
            let records = std::mem::take(&mut of[before]);
            expected.extend(records.into_iter().filter(|_| commits));
        }
    }
    expected.sort_unstable();
    expected
}

#[test]
fn aborted_transactions_of_full_segments_are_in_files_that_are_made_again_if_they_are_lost() {
    let mut world = World::new();
    world.create(ONE);
    let expected = many(&world, 120);
    let files = |world: &World| -> Vec<String> {
        world.disk.paths().into_iter().filter(|path| path.ends_with(".txnindex")).collect()
    };
    world.checkpoint();
    let all = aborted(&world, 0, i64::MAX);
    assert_eq!(all.len(), 40);
    assert!(files(&world).len() > 5, "{:?}", files(&world));
    for round in 0..5 {
        match round {
            0 => {}
            1 => world = world.reopen(),
            2 | 3 => {
                for (number, path) in files(&world).into_iter().enumerate() {
                    if round == 3 || number % 2 == 0 {
                        world.disk.replace(&path, b"nothing of use".to_vec());
                    }
                }
                world = world.reopen();
            }
            _ => {
                world.run(|store| async move { store.close().await }).expect("closes");
                world = world.reopen();
            }
        }
        assert_eq!(aborted(&world, 0, i64::MAX), all, "round {round}");
        for bytes_max in [1, 500, 100_000] {
            assert_eq!(committed_from(&world, 0, bytes_max), expected, "round {round}");
        }
        let middle = expected[expected.len() / 2];
        let rest: Vec<i64> = expected.iter().copied().filter(|offset| *offset >= middle).collect();
        assert_eq!(committed_from(&world, middle, 700), rest, "round {round}");
    }
    // They go with their segments, and what is left of a transaction that began before is not shown.
    let start = expected[expected.len() / 2];
    world.run(move |store| async move { store.move_start(ONE, start).await }).expect("moved");
    let keep = Retention::default();
    world.run(move |store| async move { store.retain(ONE, keep).await }).expect("retained");
    let left = files(&world).len();
    for restart in [false, true] {
        if restart {
            world = world.reopen();
        }
        let rest: Vec<i64> = expected.iter().copied().filter(|offset| *offset >= start).collect();
        assert_eq!(committed_from(&world, start, 700), rest);
        assert!(aborted(&world, start, i64::MAX).iter().all(|(_, _, last)| *last >= start));
        assert_eq!(files(&world).len(), left);
    }
    let keep = Retention { before_ms: Some(TIME_MS + 1), bytes: None };
    world.run(move |store| async move { store.retain(ONE, keep).await }).expect("retained");
    world.checkpoint();
    assert_eq!(files(&world), Vec::<String>::new());
}

#[test]
fn a_partition_without_transactions_has_no_file_of_them() {
    let world = World::new();
    world.create(ONE);
    for number in 0..300 {
        world.append(ONE, &batch_of(7, 0, number * 4, 4, 1, TIME_MS)).expect("appended");
    }
    world.run(|store| async move { store.close().await }).expect("closes");
    assert!(!world.disk.paths().iter().any(|path| path.ends_with(".txnindex")));
    assert_eq!(stable(&world), 1200);
}

#[test]
fn records_that_are_deleted_do_not_hold_the_stable_offset() {
    let mut world = World::new();
    world.create(ONE);
    assert_eq!(produce(&world, (1, 0), 0, 4), 0);
    world.append(ONE, &common::batch(4, 1)).expect("appended");
    world.run(move |store| async move { store.move_start(ONE, 6).await }).expect("moved");
    for restart in [false, true] {
        if restart {
            world = world.reopen();
        }
        assert_eq!((stable(&world), world.store.ends(ONE)), (6, Ok((6, 8))));
    }
    assert_eq!(end(&world, (1, 0), false, 1), Ok(8));
    assert_eq!(stable(&world), 9);
    assert_eq!(committed_from(&world, 6, 1000), [6, 7]);
}
