//! The engine against an ordered map, under random operations with restarts in between.

mod common;

use bytes::Bytes;
use common::{Model, NOW, TABLET, World};
use holon_store::{
    Cell, CellEntry, Deletion, Durability, KeyRange, Liveness, MutationBuilder, RangeTombstone, Row, ScanOptions,
};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Operation {
    Write(Vec<Change>, bool),
    Flush,
    Compact,
    CompactSome,
    Reopen { close: bool, retire: bool },
    Purge,
    Wait(u16),
    Truncate,
    Get(u8),
    Scan { start: u8, end: u8, reverse: bool, page: u8 },
}

#[derive(Clone, Debug)]
enum Change {
    Put { key: u8, column: u8, path: u8, time: u8, value: u8, marker: bool },
    Expiring { key: u8, column: u8, time: u8, ttl: u8 },
    Tombstone { key: u8, column: u8, time: u8 },
    DeleteColumn { key: u8, column: u8, time: u8 },
    DeleteRow { key: u8, time: u8 },
    DeleteRange { start: u8, end: u8, time: u8 },
}

fn key(number: u8) -> Vec<u8> {
    // Few partitions of a few keys, of different lengths.
    let mut key = vec![b'a' + number % 3];
    key.extend_from_slice(&b"clustering"[..usize::from(number % 7)]);
    key.push(number / 3);
    key
}

fn change() -> impl Strategy<Value = Change> {
    let (key, column, time) = (0u8..48, 0u8..3, 0u8..8);
    prop_oneof![
        8 => (key.clone(), column.clone(), 0u8..3, time.clone(), any::<u8>(), any::<bool>())
            .prop_map(|(key, column, path, time, value, marker)| {
                Change::Put { key, column, path, time, value, marker }
            }),
        2 => (key.clone(), column.clone(), time.clone(), 0u8..50)
            .prop_map(|(key, column, time, ttl)| Change::Expiring { key, column, time, ttl }),
        2 => (key.clone(), column.clone(), time.clone())
            .prop_map(|(key, column, time)| Change::Tombstone { key, column, time }),
        1 => (key.clone(), column, time.clone())
            .prop_map(|(key, column, time)| Change::DeleteColumn { key, column, time }),
        1 => (key.clone(), time.clone()).prop_map(|(key, time)| Change::DeleteRow { key, time }),
        1 => (key.clone(), key, time).prop_map(|(start, end, time)| Change::DeleteRange { start, end, time }),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        16 => (prop::collection::vec(change(), 1..6), any::<bool>())
            .prop_map(|(changes, sync)| Operation::Write(changes, sync)),
        3 => Just(Operation::Flush),
        1 => Just(Operation::Compact),
        2 => Just(Operation::CompactSome),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(close, retire)| Operation::Reopen { close, retire }),
        1 => Just(Operation::Purge),
        2 => (0u16..3000).prop_map(Operation::Wait),
        1 => Just(Operation::Truncate),
        4 => (0u8..48).prop_map(Operation::Get),
        4 => (0u8..48, 0u8..48, any::<bool>(), 1u8..20)
            .prop_map(|(start, end, reverse, page)| Operation::Scan { start, end, reverse, page }),
    ]
}

fn mutation(changes: &[Change], base: i64) -> holon_store::Mutation {
    let mut builder = MutationBuilder::new();
    let stamp = |time: u8| base + i64::from(time);
    for change in changes {
        let mut row = Row::default();
        let at = match change {
            Change::Put { key, column, path, time, value, marker } => {
                let text = Bytes::from(vec![*value; usize::from(*value % 40)]);
                let path = Bytes::from(vec![b'p'; usize::from(*path)]);
                row.put(CellEntry::element(u32::from(*column), path, Cell::live(stamp(*time), text)));
                row.marker = marker.then_some(Liveness { timestamp: stamp(*time), expiry: None });
                *key
            }
            Change::Expiring { key, column, time, ttl } => {
                let cell = Cell::expiring(stamp(*time), u32::from(*ttl), NOW + i64::from(*ttl), vec![*ttl; 3]);
                row.put(CellEntry::new(u32::from(*column), cell));
                *key
            }
            Change::Tombstone { key, column, time } => {
                row.put(CellEntry::new(u32::from(*column), Cell::tombstone(stamp(*time), NOW)));
                *key
            }
            Change::DeleteColumn { key, column, time } => {
                row.delete_column(u32::from(*column), Deletion { timestamp: stamp(*time), local_seconds: NOW });
                *key
            }
            Change::DeleteRow { key, time } => {
                row.deletion = Some(Deletion { timestamp: stamp(*time), local_seconds: NOW });
                *key
            }
            Change::DeleteRange { start, end, time } => {
                let deletion = Deletion { timestamp: stamp(*time), local_seconds: NOW };
                let (start, end) = (key(*start.min(end)), key(*start.max(end)));
                builder.delete_range(RangeTombstone { start: start.into(), end: end.into(), deletion });
                continue;
            }
        };
        builder.row(key(at), &row);
    }
    builder.finish().expect("a mutation")
}

fn check_all(world: &World, model: &Model, now: i64) {
    for (reverse, page) in [(false, 1000), (true, 1000), (false, 3), (true, 2)] {
        let options = ScanOptions { reverse, rows_max: page, ..ScanOptions::new(now) };
        let found = world.scan(KeyRange::all(), options).expect("scans");
        assert_eq!(found, model.scan(&KeyRange::all(), reverse, now), "reverse {reverse}, pages of {page}");
    }
    for number in 0..48 {
        assert_eq!(world.get(&key(number), now).expect("reads"), model.get(&key(number), now), "key {number}");
    }
}

fn run(operations: Vec<Operation>) {
    let mut world = World::new();
    let mut model = Model::default();
    let mut now = NOW;
    // A purge must not be overtaken by an older write: then timestamps grow with each step. Otherwise they collide a
    // lot.
    let purges = operations.iter().any(|operation| matches!(operation, Operation::Purge));
    for (step, operation) in operations.into_iter().enumerate() {
        match operation {
            Operation::Write(changes, sync) => {
                let mutation = mutation(&changes, if purges { step as i64 * 8 } else { 0 });
                model.apply(&mutation);
                let durability = if sync { Durability::Sync } else { Durability::Periodic };
                let written = world.run(|engine| async move { engine.write(TABLET, mutation, durability).await });
                written.expect("is written");
                if !sync {
                    // What is only in the buffer may be lost; here it shall not be.
                    world.shard.advance(std::time::Duration::from_millis(50));
                }
            }
            Operation::Flush => world.flush(),
            Operation::Compact => {
                world.run(|engine| async move { engine.compact(TABLET, |_| ()).await }).expect("compacts");
            }
            Operation::CompactSome => {
                world.run(|engine| async move { engine.compact_step(TABLET).await }).expect("compacts");
            }
            Operation::Reopen { close, retire } => world.reopen(close, retire),
            // Everything deleted so far may be purged. Only the reads can tell, and they must not.
            Operation::Purge => world.purge_before.set(NOW + 1),
            Operation::Wait(seconds) => now += i64::from(seconds % 60),
            Operation::Truncate => {
                world.run(|engine| async move { engine.truncate(TABLET).await }).expect("truncates");
                model = Model::default();
            }
            Operation::Get(number) => {
                assert_eq!(world.get(&key(number), now).expect("reads"), model.get(&key(number), now));
            }
            Operation::Scan { start, end, reverse, page } => {
                let range = KeyRange::new(key(start), key(end));
                let options = ScanOptions { reverse, rows_max: usize::from(page), ..ScanOptions::new(now) };
                let found = world.scan(range.clone(), options).expect("scans");
                assert_eq!(found, model.scan(&range, reverse, now));
            }
        }
    }
    check_all(&world, &model, now);
    let verified = world.run(|engine| async move { engine.verify(TABLET, |_| ()).await });
    verified.expect("verifies");
    world.reopen(true, true);
    check_all(&world, &model, now);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_an_ordered_map(operations in prop::collection::vec(operation(), 1..120)) {
        run(operations);
    }
}
