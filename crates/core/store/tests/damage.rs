//! Every kind of file cut off, with a bit flipped, zeroed, and in the place of another: an error that names the file
//! and an offset within it, or the right answer where the bytes carry nothing. Never a wrong answer, never a panic.

mod common;

use bytes::Bytes;
use common::{Model, NOW, TABLET, World, options, try_open, write_round};
use holon_kernel::testing::MemoryDisk;
use holon_store::{Cell, CellEntry, Durability, EngineOptions, KeyRange, Row, ScanOptions, StoreError};
use std::rc::Rc;

/// What a file does for the data.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expect {
    /// Any change must be noticed.
    Error,
    /// A change is noticed, or hits what carries nothing.
    ErrorOrRight,
}

fn small_log(options: &mut EngineOptions) {
    options.segment_bytes = 16 << 10;
}

/// Rows, keys and bytes of a value ([`write_round`]).
const SHAPE: (u8, u8, usize) = (12, 17, 20);

/// A disk with two runs of tables, a log that was closed, and the model of what it holds.
fn prepare() -> (MemoryDisk, Model) {
    let world = World::on(MemoryDisk::new(), small_log);
    let mut model = Model::default();
    for round in 0..3 {
        write_round(&world, &mut model, round, SHAPE);
        world.flush();
        if round == 1 {
            world.run(|engine| async move { engine.compact(TABLET, |_| ()).await }).expect("compacts");
        }
    }
    for number in 0..2 {
        let row = Row { cells: vec![CellEntry::new(1, Cell::live(900, vec![number; 9]))], ..Row::default() };
        let mutation = holon_store::Mutation::row([b'l', number], &row).expect("a mutation");
        model.apply(&mutation);
        world.write(mutation);
    }
    world.run(|engine| async move { engine.close().await }).expect("closes");
    (world.disk.deep_copy(), model)
}

/// Opens, recovers, reads everything by key and by range, verifies.
fn read_all(disk: &MemoryDisk, model: &Model) -> Result<Vec<(Bytes, Row)>, StoreError> {
    let mut options = options(9, Rc::default());
    small_log(&mut options);
    let (shard, engine, _) = try_open(disk, options)?;
    let keys: Vec<Bytes> = model.rows.keys().cloned().collect();
    shard.block_on(async move {
        engine.verify(TABLET, |_| ()).await?;
        let mut rows = Vec::new();
        for key in keys {
            rows.extend(engine.get(TABLET, &key, NOW).await?.map(|row| (key, row)));
        }
        let page = engine.scan(TABLET, KeyRange::all(), ScanOptions::new(NOW)).await?;
        assert_eq!(page.rows, rows, "the scan and the single reads agree");
        Ok(rows)
    })
}

fn check(path: &str, content: Vec<u8>, disk: &MemoryDisk, model: &Model, what: &str, expect: Expect) {
    let length = content.len() as u64;
    let original = disk.content(path).map_or(0, |content| content.len() as u64);
    let disk = disk.deep_copy();
    disk.replace(path, content);
    match read_all(&disk, model) {
        Ok(rows) => {
            assert_eq!(expect, Expect::ErrorOrRight, "{path}, {what}: nothing was noticed");
            assert_eq!(rows, model.scan(&KeyRange::all(), false, NOW), "{path}, {what}: a wrong answer");
        }
        Err(StoreError::Damaged { file, offset, .. }) => {
            assert_eq!(file, path, "{what}: the file that was changed is named");
            assert!(offset <= length.max(original), "{path}, {what}: offset {offset} of {length}");
        }
        Err(StoreError::NewerFormat { file, .. }) => assert_eq!(file, path),
        Err(other) => panic!("{path}, {what}: {other}"),
    }
}

/// All positions of short files; of long ones the first bytes of each 512 and a sample of the rest.
fn positions(length: usize) -> impl Iterator<Item = usize> {
    (0..length).filter(move |at| length <= 1500 || at % 512 < 12 || at % 97 == 0)
}

fn damage_file(path: &str, disk: &MemoryDisk, model: &Model, expect: impl Fn(usize) -> Expect) {
    let content = disk.content(path).expect("the file");
    for at in positions(content.len()) {
        let mut flipped = content.clone();
        flipped[at] ^= 1 << (at % 8);
        check(path, flipped, disk, model, &format!("bit flipped in byte {at}"), expect(at));
    }
    for length in positions(content.len()) {
        let cut = content[..length].to_vec();
        check(path, cut, disk, model, &format!("cut to {length} bytes"), Expect::Error);
    }
    for start in (0..content.len()).step_by(512) {
        let mut zeroed = content.clone();
        let end = (start + 512).min(content.len());
        let carries = zeroed[start..end].iter().any(|byte| *byte != 0);
        zeroed[start..end].fill(0);
        let expect = if carries { expect(start) } else { Expect::ErrorOrRight };
        check(path, zeroed, disk, model, &format!("zeroed from byte {start}"), expect);
    }
    check(path, vec![0; content.len()], disk, model, "all zeroes", Expect::Error);
    let mut longer = content;
    longer.extend_from_slice(&[0; 100]);
    check(path, longer, disk, model, "longer", Expect::ErrorOrRight);
}

fn tables(disk: &MemoryDisk) -> Vec<String> {
    disk.paths().into_iter().filter(|path| path.ends_with(".table")).collect()
}

#[test]
fn the_undamaged_disk_reads_as_the_model() {
    let (disk, model) = prepare();
    assert!(tables(&disk).len() >= 2);
    assert_eq!(read_all(&disk, &model).expect("reads"), model.scan(&KeyRange::all(), false, NOW));
}

#[test]
fn a_table() {
    let (disk, model) = prepare();
    let path = tables(&disk).pop().expect("a table");
    damage_file(&path, &disk, &model, |_| Expect::Error);
}

#[test]
fn a_manifest() {
    let (disk, model) = prepare();
    let manifest = disk.paths().into_iter().find(|path| path.ends_with("MANIFEST")).expect("a manifest");
    damage_file(&manifest, &disk, &model, |_| Expect::Error);
}

#[test]
fn a_log_segment() {
    let (disk, model) = prepare();
    let segments: Vec<String> = disk.paths().into_iter().filter(|path| path.ends_with(".log")).collect();
    let chunks = |path: &String| {
        let content = disk.content(path).expect("a segment");
        // Of this segment, and not left from an earlier use of the file: the header of a chunk names its segment.
        let sequence = u32::from_str_radix(&path[path.len() - 12..path.len() - 4], 16).expect("a sequence number");
        let is_chunk = |block: &usize| {
            let at = &content[block * 4096..];
            at.starts_with(b"HCHK") && at[16..20] == sequence.to_le_bytes()
        };
        (1..4).filter(is_chunk).map(|block| (path.clone(), block)).collect::<Vec<_>>()
    };
    let all: Vec<(String, usize)> = segments.iter().flat_map(chunks).collect();
    // The chunk that closes the log is a mark, which carries nothing itself.
    let (mark, records) = all.split_last().expect("chunks");
    assert!(records.len() >= 4, "{} chunks", records.len());
    for path in &segments {
        // Most segments are alike: the first, the last ones, and some between.
        if segments.len() > 6
            && segments.iter().position(|other| other == path).is_some_and(|at| (1..segments.len() - 3).contains(&at))
        {
            continue;
        }
        damage_file(path, &disk, &model, |at| {
            let place = (path.clone(), at / 4096);
            let nothing = at >= 4096 && (place == *mark || !records.contains(&place));
            if nothing { Expect::ErrorOrRight } else { Expect::Error }
        });
    }
}

#[test]
fn files_in_each_others_place() {
    let (disk, model) = prepare();
    let files: Vec<String> = disk.paths().into_iter().filter(|path| !path.contains("spare")).collect();
    let mut swaps = 0;
    for first in &files {
        for second in &files {
            if first == second {
                continue;
            }
            // A copy of the second in the place of the first.
            let content = disk.content(second).expect("the file");
            check(first, content, &disk, &model, &format!("replaced by {second}"), Expect::Error);
            swaps += 1;
        }
    }
    assert!(swaps >= 12, "{swaps} swaps");
}

#[test]
fn an_older_version_of_a_table_or_manifest_is_not_taken_for_the_current_one() {
    let world = World::new();
    let mut model = Model::default();
    write_round(&world, &mut model, 0, SHAPE);
    world.flush();
    let before = world.disk.deep_copy();
    write_round(&world, &mut model, 1, SHAPE);
    world.flush();
    world.run(|engine| async move { engine.compact(TABLET, |_| ()).await }).expect("compacts");
    // The old manifest names tables that are gone.
    let manifest = before.paths().into_iter().find(|path| path.ends_with("MANIFEST")).expect("a manifest");
    let disk = world.disk.deep_copy();
    disk.replace(&manifest, before.content(&manifest).expect("the file"));
    assert!(matches!(read_all(&disk, &model), Err(StoreError::Damaged { .. })));
}

#[test]
fn missing_files_are_named() {
    let (disk, model) = prepare();
    for path in disk.paths() {
        if path.contains("spare") || path.ends_with(".log") {
            continue;
        }
        let damaged = MemoryDisk::new();
        let copy = disk.deep_copy();
        // A disk without the file: everything else is copied over.
        let shard = holon_kernel::testing::TestShard::new(damaged.clone());
        let paths = copy.paths();
        let handle = shard.shard.disk();
        let directories: Vec<String> =
            paths.iter().filter_map(|path| path.rsplit_once('/').map(|(parent, _)| parent.to_owned())).collect();
        shard.block_on(async move {
            for directory in directories {
                handle.create_dir(&directory).await.expect("makes a directory");
            }
        });
        for other in paths.iter().filter(|other| **other != path) {
            damaged.replace(other, copy.content(other).expect("the file"));
        }
        match read_all(&damaged, &model) {
            Err(StoreError::Damaged { file, .. }) => assert_eq!(file, path),
            other => panic!("{path} is missing: {other:?}"),
        }
    }
}

#[test]
fn a_snapshot() {
    let world = World::new();
    let mut model = Model::default();
    write_round(&world, &mut model, 0, SHAPE);
    world.run(|engine| async move { engine.snapshot(TABLET, "before").await }).expect("takes a snapshot");
    let after = Row { cells: vec![CellEntry::new(1, Cell::live(5000, "after"))], ..Row::default() };
    world.put(b"zz", &after);
    let restore = |disk: &MemoryDisk| {
        let (shard, engine, _) = try_open(disk, options(9, Rc::default()))?;
        shard.block_on(async move {
            engine.restore(TABLET, "before").await?;
            Ok(engine.scan(TABLET, KeyRange::all(), ScanOptions::new(NOW)).await?.rows)
        })
    };
    let disk = world.disk.deep_copy();
    assert_eq!(restore(&disk.deep_copy()).expect("restores"), model.scan(&KeyRange::all(), false, NOW));
    for path in disk.paths().into_iter().filter(|path| path.starts_with("snapshots/")) {
        let content = disk.content(&path).expect("the file");
        for at in (0..content.len()).step_by(7) {
            let mut flipped = content.clone();
            flipped[at] ^= 0x10;
            let mut cut = content.clone();
            cut.truncate(at);
            for (what, content) in [("flipped", flipped), ("cut", cut)] {
                let disk = disk.deep_copy();
                disk.replace(&path, content);
                let error = restore(&disk).expect_err(&format!("{path} {what} at {at}"));
                let StoreError::Damaged { file, .. } = &error else { panic!("{path} {what} at {at}: {error}") };
                assert_eq!(file, &path);
            }
        }
    }
}

#[test]
fn a_damaged_table_stops_reads_of_it_and_compaction_but_not_the_rest() {
    let (disk, _) = prepare();
    let path = tables(&disk).pop().expect("a table");
    let mut content = disk.content(&path).expect("the file");
    content[20] ^= 1;
    disk.replace(&path, content);
    let (shard, engine, _) = try_open(&disk, options(9, Rc::default())).expect("opens: blocks are read when needed");
    shard.block_on(async move {
        let scanned = engine.scan(TABLET, KeyRange::all(), ScanOptions::new(NOW)).await;
        assert!(matches!(scanned, Err(StoreError::Damaged { .. })));
        assert!(matches!(engine.compact(TABLET, |_| ()).await, Err(StoreError::Damaged { .. })));
        let row = Row { cells: vec![CellEntry::new(1, Cell::live(9000, "new"))], ..Row::default() };
        let mutation = holon_store::Mutation::row(b"zzz", &row).expect("a mutation");
        engine.write(TABLET, mutation, Durability::Sync).await.expect("writes go on");
        assert!(engine.get(TABLET, b"zzz", NOW).await.expect("reads").is_some());
    });
}
