//! Holding writes, and tablets as they were while writes were held.

mod common;

use common::{NOW, TABLET, World};
use holon_kernel::{Class, Scope};
use holon_store::{Cell, CellEntry, Durability, Engine, KeyRange, Mutation, Pinned, Row, ScanOptions};
use std::rc::Rc;
use std::time::Duration;

fn row(timestamp: i64) -> Row {
    let mut row = Row::default();
    row.put(CellEntry::new(1, Cell::live(timestamp, timestamp.to_be_bytes().to_vec())));
    row
}

async fn all_of(engine: &Engine, pinned: &Pinned) -> Vec<(Vec<u8>, i64)> {
    let (mut rows, mut ranges) = (Vec::new(), vec![KeyRange::all()]);
    let options = ScanOptions { rows_max: 7, ..ScanOptions::new(NOW) };
    while !ranges.is_empty() {
        let (page, rest) = engine.read_pinned(pinned, ranges, options).await.expect("is read");
        rows.extend(page.rows.iter().map(|(key, row)| (key.to_vec(), row.cells[0].cell.timestamp)));
        ranges = rest;
    }
    rows
}

fn spawn_write(engine: &Engine, shard: &Rc<holon_kernel::Shard>, key: &'static [u8], timestamp: i64) {
    let engine = engine.clone();
    shard.spawn(Scope::Node, Class::Foreground, async move {
        let mutation = Mutation::row(key, &row(timestamp)).expect("small");
        engine.write(TABLET, mutation, Durability::Sync).await.expect("is written in the end");
    });
}

#[test]
fn while_writes_are_held_none_is_applied_and_then_all_are() {
    let world = World::new();
    world.put(b"a1", &row(1));
    let shard = world.shard.shard.clone();
    world.run(|engine| async move {
        spawn_write(&engine, &shard, b"a2", 2);
        shard.yield_now().await;
        engine.hold().await.expect("held");
        spawn_write(&engine, &shard, b"a3", 3);
        shard.sleep(Duration::from_secs(3)).await;
        let before = engine.scan(TABLET, KeyRange::all(), ScanOptions::new(NOW)).await.expect("reads go on").rows.len();
        assert!(before <= 2, "a write came through");
        engine.hold().await.expect("again is fine");
        engine.release();
        engine.release();
        let mutation = Mutation::row(b"a4", &row(4)).expect("small");
        engine.write(TABLET, mutation, Durability::Sync).await.expect("written");
        let after = engine.scan(TABLET, KeyRange::all(), ScanOptions::new(NOW)).await.expect("read").rows.len();
        assert_eq!(after, 4);
    });
}

#[test]
fn an_engine_that_closes_writes_what_was_held_back() {
    let mut world = World::new();
    let shard = world.shard.shard.clone();
    world.run(|engine| async move {
        engine.hold().await.expect("held");
        spawn_write(&engine, &shard, b"a1", 1);
        shard.sleep(Duration::from_millis(50)).await;
    });
    world.reopen(true, true);
    assert!(world.get(b"a1", NOW).expect("read").is_some());
}

#[test]
fn what_is_pinned_stays_as_it_was_whatever_happens_to_the_tablet() {
    let world = World::new();
    let key = |number: u32| format!("a{number:03}").into_bytes();
    for number in 0..40 {
        world.put(&key(number), &row(1));
        if number == 20 {
            world.flush();
        }
    }
    let expected: Vec<(Vec<u8>, i64)> = (0..40).map(|number| (key(number), 1)).collect();
    let pinned = world.run(|engine| async move { Rc::new(engine.pin(TABLET).expect("there")) });
    let check = |what: &str| {
        let pinned = pinned.clone();
        let found = world.run(|engine| async move { all_of(&engine, &pinned).await });
        assert_eq!(found, expected, "{what}");
    };
    check("at once");
    for number in 0..60 {
        world.put(&key(number), &row(2));
    }
    check("overwritten in memory");
    world.flush();
    check("flushed");
    world.run(|engine| async move { engine.compact(TABLET, |_| ()).await }).expect("compacts");
    check("compacted");
    world.run(|engine| async move { engine.truncate(TABLET).await }).expect("truncates");
    check("truncated");
    world.run(|engine| async move { engine.drop_tablet(TABLET).await }).expect("drops");
    check("dropped");
}
