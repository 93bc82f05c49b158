//! The log at its edges: torn tails, groups that were not synced, recycled segments, group commit, durability.

mod common;

use common::{NOW, TABLET, World, options, try_open};
use holon_kernel::testing::MemoryDisk;
use holon_store::{Cell, CellEntry, Durability, Engine, Mutation, Row, ScanOptions, StoreError};
use std::rc::Rc;
use std::time::Duration;

fn mutation(number: u32, size: usize) -> Mutation {
    let row = Row { cells: vec![CellEntry::new(1, Cell::live(1, vec![number as u8; size]))], ..Row::default() };
    Mutation::row(number.to_be_bytes(), &row).expect("a mutation")
}

fn segment(disk: &MemoryDisk) -> String {
    disk.paths().into_iter().find(|path| path.ends_with("00000000.log")).expect("a segment")
}

/// The numbers that are there after a restart.
fn survivors(disk: &MemoryDisk) -> Result<Vec<u32>, StoreError> {
    let (shard, engine, _) = try_open(disk, options(9, Rc::default()))?;
    let page = shard.block_on(async move {
        let options = ScanOptions { rows_max: usize::MAX, bytes_max: usize::MAX, ..ScanOptions::new(NOW) };
        engine.scan(TABLET, holon_store::KeyRange::all(), options).await
    })?;
    let number = |key: &[u8]| u32::from_be_bytes(key.try_into().expect("four bytes"));
    Ok(page.rows.iter().map(|(key, _)| number(key)).collect())
}

#[test]
fn a_torn_tail_is_the_end_and_earlier_damage_is_an_error() {
    let world = World::new();
    for number in 0..4 {
        world.write(mutation(number, 100));
    }
    // Not closed: nothing says yet that the last group was synced.
    let path = segment(&world.disk);
    let content = world.disk.content(&path).expect("the file");
    for (chunk, expected) in [(3, Some(vec![0, 1, 2])), (2, None), (1, None), (0, None)] {
        let disk = world.disk.deep_copy();
        let mut torn = content.clone();
        let at = 4096 * (1 + chunk);
        torn[at + 80..at + 512].fill(0);
        disk.replace(&path, torn);
        match (survivors(&disk), expected) {
            (Ok(found), Some(expected)) => assert_eq!(found, expected),
            (Err(StoreError::Damaged { file, offset, .. }), None) => {
                assert_eq!((file, offset), (path.clone(), at as u64), "chunk {chunk}");
            }
            (other, _) => panic!("chunk {chunk}: {other:?}"),
        }
    }
}

#[test]
fn an_idle_log_proves_its_last_group() {
    let world = World::new();
    world.write(mutation(0, 100));
    world.shard.advance(Duration::from_secs(2));
    let path = segment(&world.disk);
    let mut content = world.disk.content(&path).expect("the file");
    content[4096 + 100] ^= 1;
    world.disk.replace(&path, content);
    assert!(matches!(survivors(&world.disk), Err(StoreError::Damaged { offset: 4096, .. })));
}

#[test]
fn groups_that_were_not_synced_may_be_missing_and_later_ones_count() {
    let world = World::new();
    for number in 0..3 {
        let mutation = mutation(number, 100);
        let work = |engine: Engine| async move { engine.write(TABLET, mutation, Durability::Periodic).await };
        world.run(work).expect("is written");
        world.shard.advance(Duration::from_millis(100));
    }
    // Three chunks, none synced. The second did not land.
    let path = segment(&world.disk);
    let mut content = world.disk.content(&path).expect("the file");
    content[2 * 4096..3 * 4096].fill(0);
    let disk = world.disk.deep_copy();
    disk.replace(&path, content.clone());
    assert_eq!(survivors(&disk).expect("recovers"), [0, 2]);
    // After the sync that is due, a later group says so, and the same hole is damage.
    world.shard.advance(Duration::from_secs(12));
    world.write(mutation(3, 100));
    let mut content = world.disk.content(&path).expect("the file");
    content[2 * 4096..3 * 4096].fill(0);
    let disk = world.disk.deep_copy();
    disk.replace(&path, content);
    assert!(matches!(survivors(&disk), Err(StoreError::Damaged { offset: 8192, .. })));
}

#[test]
fn concurrent_writes_share_a_group() {
    let world = World::new();
    let before = world.engine.stats();
    world.run(|engine| async move {
        let tickets: Vec<_> = (0..100)
            .map(|number| engine.submit(TABLET, mutation(number, 50), Durability::Sync).expect("is queued"))
            .collect();
        let mut last = None;
        for ticket in tickets {
            let lsn = ticket.wait().await.expect("is written");
            assert!(last < Some(lsn), "numbers in the order of submission");
            last = Some(lsn);
        }
    });
    let groups = world.engine.stats().log_groups - before.log_groups;
    assert!(groups <= 2, "{groups} groups for 100 writes that were there at once");
    assert_eq!(survivors(&world.disk.deep_copy()).expect("recovers").len(), 100);
}

#[test]
fn a_requester_that_leaves_changes_nothing() {
    let world = World::new();
    world.run(|engine| async move {
        drop(engine.submit(TABLET, mutation(7, 50), Durability::Sync).expect("is queued"));
        // The next write is after it.
        engine.write(TABLET, mutation(8, 50), Durability::Sync).await.expect("is written");
        assert!(engine.get(TABLET, &7u32.to_be_bytes(), NOW).await.expect("reads").is_some());
    });
}

#[test]
fn segments_are_recycled_and_stale_chunks_are_not_taken_for_records() {
    let mut world = World::on(MemoryDisk::new(), |options| options.log_bytes_max = 256 << 10);
    for number in 0..600 {
        world.write(mutation(number, 2000));
    }
    world.shard.advance(Duration::from_secs(1));
    let stats = world.engine.stats();
    assert!(stats.log_segments_recycled > 5, "{stats:?}");
    assert!(stats.log_segments * (64 << 10) <= (256 << 10) + (128 << 10), "{stats:?}");
    assert_eq!(survivors(&world.disk.deep_copy()).expect("recovers").len(), 600);
    for close in [false, true] {
        world.reopen(close, false);
        world.write(mutation(1000 + u32::from(close), 10));
    }
    assert_eq!(survivors(&world.disk.deep_copy()).expect("recovers").len(), 602);
    world.reopen(true, true);
    let logs = world.disk.paths().iter().filter(|path| path.starts_with("wal/") && !path.contains("00000004-")).count();
    assert_eq!(logs, 0, "old logs are gone: {:?}", world.disk.paths());
    assert_eq!(survivors(&world.disk.deep_copy()).expect("recovers").len(), 602);
}

#[test]
fn a_mutation_that_fits_no_segment_is_refused() {
    let world = World::new();
    let outcome = world.run(|engine| async move { engine.write(TABLET, mutation(1, 70_000), Durability::Sync).await });
    assert!(matches!(outcome, Err(StoreError::TooLarge { what: "a mutation", .. })));
    // The largest that fits is taken, again and again.
    for number in 0..5 {
        world.write(mutation(number, 60_000));
    }
    assert_eq!(survivors(&world.disk.deep_copy()).expect("recovers"), [0, 1, 2, 3, 4]);
}

#[test]
fn what_was_truncated_or_dropped_does_not_come_back_from_the_log() {
    let mut world = World::new();
    world.write(mutation(1, 10));
    world.run(|engine| async move { engine.truncate(TABLET).await }).expect("truncates");
    world.write(mutation(2, 10));
    assert_eq!(survivors(&world.disk.deep_copy()).expect("recovers"), [2]);
    world.run(|engine| async move { engine.drop_tablet(TABLET).await }).expect("drops");
    assert!(world.disk.paths().iter().all(|path| !path.starts_with("tablets/")), "{:?}", world.disk.paths());
    world.run(|engine| async move { engine.create_tablet(TABLET).await }).expect("creates");
    world.write(mutation(3, 10));
    assert_eq!(survivors(&world.disk.deep_copy()).expect("recovers"), [3]);
    world.reopen(false, true);
    assert_eq!(survivors(&world.disk.deep_copy()).expect("recovers"), [3]);
}

#[test]
fn a_log_in_the_place_of_another_boots_is_refused() {
    let world = World::new();
    world.write(mutation(1, 10));
    let disk = world.disk.deep_copy();
    assert!(matches!(try_open(&disk, options(1, Rc::default())), Err(StoreError::Stopped { .. })));
}
