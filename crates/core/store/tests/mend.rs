//! Damage where another replica has the data: whatever byte of whatever file is wrong, after what was lost is written again from
//! the other one, the tablet is right, whole and without damage; and what both had deleted stays deleted.

mod common;

use bytes::Bytes;
use common::{Model, NOW, TABLET, World, options, try_open, write_round};
use holon_kernel::testing::{MemoryDisk, TestShard};
use holon_store::{
    Cell, CellEntry, Durability, Engine, EngineOptions, KeyRange, MutationBuilder, Row, ScanOptions, StoreError,
    TabletOptions,
};
use std::rc::Rc;

fn tune(options: &mut EngineOptions) {
    options.segment_bytes = 16 << 10;
    let of = options.tablet_options.clone();
    options.tablet_options = Rc::new(move |tablet| TabletOptions { has_copies: true, ..of(tablet) });
}

fn row(time: i64, value: Vec<u8>) -> Row {
    Row { cells: vec![CellEntry::new(1, Cell::live(time, value))], ..Row::default() }
}

/// Rows, keys and bytes of a value ([`write_round`]).
const SHAPE: (u8, u8, usize) = (24, 29, 40);

/// A disk with three runs of tables.
fn prepare() -> (World, Model) {
    let world = World::on(MemoryDisk::new(), tune);
    let mut model = Model::default();
    for round in 0..4 {
        write_round(&world, &mut model, round, SHAPE);
        world.flush();
        if round == 1 {
            world.run(|engine| async move { engine.compact(TABLET, |_| ()).await }).expect("compacts");
        }
    }
    (world, model)
}

fn all() -> ScanOptions {
    ScanOptions { keep_tombstones: true, ..ScanOptions::new(NOW) }
}

/// What the other replica has of ranges, as mutations would bring it.
fn copy(world: &World, ranges: Vec<KeyRange>) -> Vec<holon_store::Mutation> {
    world.run(|engine| async move {
        let mut mutations = Vec::new();
        for range in ranges {
            let mut next = Some(range);
            while let Some(range) = next {
                let page = engine.scan(TABLET, range, all()).await.expect("the other one is well");
                let mut builder = MutationBuilder::new();
                let page_is_empty = page.rows.is_empty() && page.ranges.is_empty();
                page.rows.iter().for_each(|(key, row)| {
                    builder.row(key.clone(), row);
                });
                page.ranges.into_iter().for_each(|range| {
                    builder.delete_range(range);
                });
                if !page_is_empty {
                    mutations.push(builder.finish().expect("a mutation"));
                }
                next = page.rest;
            }
        }
        mutations
    })
}

/// Makes good what is known to be damaged; how many times something was.
fn mend(shard: &TestShard, engine: &Engine, other: &World) -> usize {
    for times in 0..9 {
        let handle = engine.clone();
        let begun = shard.block_on(async move { handle.begin_mending(TABLET).await }).expect("begins");
        let Some(mending) = begun else { return times };
        let lost = mending.lost().to_vec();
        assert!(!lost.is_empty());
        let mutations = copy(other, lost);
        let handle = engine.clone();
        let outcome = shard.block_on(async move {
            for mutation in mutations {
                handle.write(TABLET, mutation, Durability::Sync).await.expect("is written");
            }
            mending.finish().await
        });
        assert!(matches!(outcome, Ok(()) | Err(StoreError::Damaged { .. })), "{outcome:?}");
    }
    panic!("there is no end to it");
}

fn scan(shard: &TestShard, engine: &Engine) -> Result<Vec<(Bytes, Row)>, StoreError> {
    let engine = engine.clone();
    shard.block_on(async move {
        let mut rows = Vec::new();
        let mut next = Some(KeyRange::all());
        while let Some(range) = next {
            let mut page = engine.scan(TABLET, range, ScanOptions::new(NOW)).await?;
            rows.append(&mut page.rows);
            next = page.rest;
        }
        Ok(rows)
    })
}

/// With a file replaced: never a wrong answer, and in the end the right one.
fn check(path: &str, content: Vec<u8>, other: &World, model: &Model, what: &str) -> usize {
    let disk = other.disk.deep_copy();
    disk.replace(path, content);
    let mut opened_with = options(9, Rc::default());
    tune(&mut opened_with);
    let (shard, engine, _) = try_open(&disk, opened_with).unwrap_or_else(|error| panic!("{path}, {what}: {error}"));
    let right = model.scan(&KeyRange::all(), false, NOW);
    match scan(&shard, &engine) {
        Ok(rows) => assert_eq!(rows, right, "{path}, {what}: a wrong answer"),
        Err(StoreError::Damaged { file, .. }) => assert_eq!(file, path, "{what}"),
        Err(error) => panic!("{path}, {what}: {error}"),
    }
    let verify = || {
        let engine = engine.clone();
        shard.block_on(async move { engine.verify(TABLET, |_| ()).await })
    };
    let verified = verify();
    let times = mend(&shard, &engine, other);
    assert_eq!(verified.is_err(), times > 0, "{path}, {what}: {verified:?}, made good {times} times");
    assert_eq!(scan(&shard, &engine).as_ref(), Ok(&right), "{path}, {what}: after it was made good");
    assert!(verify().is_ok(), "{path}, {what}: after it was made good");
    assert!(engine.damaged_tablets().is_empty(), "{path}, {what}");
    let compacting = engine.clone();
    shard.block_on(async move { compacting.compact(TABLET, |_| ()).await }).expect("compacts");
    assert_eq!(scan(&shard, &engine).as_ref(), Ok(&right), "{path}, {what}: after a compaction");
    drop((engine, shard));
    let mut again = options(10, Rc::default());
    tune(&mut again);
    let (shard, engine, _) = try_open(&disk, again).unwrap_or_else(|error| panic!("{path}, {what}, again: {error}"));
    assert_eq!(scan(&shard, &engine).as_ref(), Ok(&right), "{path}, {what}: after a start");
    times
}

fn tables(disk: &MemoryDisk) -> Vec<String> {
    disk.paths().into_iter().filter(|path| path.starts_with("tablets/") && path.ends_with(".table")).collect()
}

#[test]
fn whatever_bit_is_wrong_it_is_made_good() {
    let (other, model) = prepare();
    let mut times = 0;
    for path in tables(&other.disk) {
        let content = other.disk.content(&path).expect("the file");
        for at in (0..content.len()).step_by(11) {
            let mut flipped = content.clone();
            flipped[at] ^= 1 << (at % 8);
            times += check(&path, flipped, &other, &model, &format!("bit flipped in byte {at}"));
        }
    }
    assert!(times > 100, "{times}");
}

#[test]
fn so_is_a_file_that_is_cut_off_or_gone_or_written_over_in_part() {
    let (other, model) = prepare();
    for path in tables(&other.disk) {
        let content = other.disk.content(&path).expect("the file");
        for length in [0, 1, content.len() / 2, content.len() - 1] {
            let cut = content[..length].to_vec();
            assert!(check(&path, cut, &other, &model, &format!("cut to {length} bytes")) > 0);
        }
        for at in (0..content.len()).step_by(64) {
            let end = content.len().min(at + content.len() / 2);
            let mut over = content.clone();
            over.copy_within(0..end - at, at);
            check(&path, over, &other, &model, &format!("written over from byte {at} on"));
        }
    }
}

/// What is written for it may not wait for a compaction that waits for it.
#[test]
fn a_tablet_with_more_runs_than_writes_wait_for_is_made_good() {
    let tune_more = |options: &mut EngineOptions| {
        tune(options);
        options.automatic_compaction = true;
        options.stall_runs = 3;
        let of = options.tablet_options.clone();
        options.tablet_options = Rc::new(move |tablet| {
            let mut options = of(tablet);
            options.compaction.scaling = vec![30];
            options
        });
    };
    let (world, other) = (World::on(MemoryDisk::new(), tune), World::on(MemoryDisk::new(), tune));
    for number in 0..6u8 {
        world.put(&[b'k', number], &row(1, vec![number; 40]));
        world.flush();
        other.put(&[b'k', number], &row(1, vec![number; 40]));
    }
    let disk = world.disk.deep_copy();
    let path = tables(&disk).remove(0);
    let mut content = disk.content(&path).expect("the file");
    content[3] ^= 1;
    disk.replace(&path, content);
    let mut opened_with = options(9, Rc::default());
    tune_more(&mut opened_with);
    let (shard, engine, _) = try_open(&disk, opened_with).expect("opens");
    assert!(scan(&shard, &engine).is_err(), "the damage is read");
    assert!(mend(&shard, &engine, &other) > 0);
    assert_eq!(scan(&shard, &engine).expect("is whole").len(), 6);
}

#[test]
fn what_both_had_deleted_does_not_come_back_with_the_file_that_said_so() {
    let world = World::on(MemoryDisk::new(), tune);
    world.put(b"kept", &row(1, vec![1]));
    world.put(b"kexed", &row(1, vec![1]));
    world.flush();
    let tombstone = Row { cells: vec![CellEntry::new(1, Cell::tombstone(2, NOW - 10))], ..Row::default() };
    world.put(b"kexed", &tombstone);
    let before = tables(&world.disk);
    world.flush();
    let after = tables(&world.disk);
    // Late, as a hint brings it; it is in the log and in memory.
    world.put(b"kexed", &row(1, vec![1]));
    let path = after.iter().find(|path| !before.contains(path)).expect("a new table").clone();
    // The other one has forgotten the row and its deletion: all were known to have both.
    let other = World::on(MemoryDisk::new(), tune);
    other.put(b"kept", &row(1, vec![1]));
    other.flush();
    let disk = world.disk.deep_copy();
    let content = disk.content(&path).expect("the file");
    for at in 0..content.len() {
        let disk = disk.deep_copy();
        let mut flipped = content.clone();
        flipped[at] ^= 1;
        disk.replace(&path, flipped);
        let mut opened_with = options(9, Rc::default());
        tune(&mut opened_with);
        let (shard, engine, _) = try_open(&disk, opened_with).expect("opens");
        let verifying = engine.clone();
        let _ = shard.block_on(async move { verifying.verify(TABLET, |_| ()).await });
        mend(&shard, &engine, &other);
        let rows = scan(&shard, &engine).expect("is whole");
        assert_eq!(rows.iter().map(|(key, _)| key.as_ref()).collect::<Vec<_>>(), [b"kept"], "byte {at}");
    }
}
