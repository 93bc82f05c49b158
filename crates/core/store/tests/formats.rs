//! Bytes that released versions wrote stay readable. `tests/fixtures/v1` is a data directory as version 1 of every
//! format made it, `v2` the same with version 2 of the properties of tables; new code reads both, and as long as the
//! versions are the same, writes the latest byte for byte.
//!
//! `HOLON_WRITE_FIXTURES=1 cargo test -p holon-store --test formats` makes it anew: only ever for a new version, beside
//! the old.

mod common;

use common::{NOW, TABLET, World, options, try_open};
use holon_kernel::testing::MemoryDisk;
use holon_store::{
    Cell, CellEntry, Deletion, EngineOptions, Expiry, KeyRange, Liveness, MutationBuilder, RangeTombstone, Row,
    ScanOptions,
};
use std::rc::Rc;

type Fixtures = [(&'static str, &'static [u8]); 6];

macro_rules! fixtures {
    ($version:literal) => {
        [
            ("tablets/0000000000010000/MANIFEST", include_bytes!(concat!("fixtures/", $version, "/manifest.bin"))),
            (
                "tablets/0000000000010000/0000000100000001.table",
                include_bytes!(concat!("fixtures/", $version, "/table.bin")),
            ),
            ("wal/00000001-0000/00000000.log", include_bytes!(concat!("fixtures/", $version, "/segment.bin"))),
            (
                "snapshots/kept/0000000000010000/MANIFEST",
                include_bytes!(concat!("fixtures/", $version, "/snapshot_manifest.bin")),
            ),
            (
                "snapshots/kept/0000000000010000/SNAPSHOT",
                include_bytes!(concat!("fixtures/", $version, "/snapshot_descriptor.bin")),
            ),
            (
                "snapshots/kept/0000000000010000/0000000100000001.table",
                include_bytes!(concat!("fixtures/", $version, "/table.bin")),
            ),
        ]
    };
}

const VERSION_1: Fixtures = fixtures!("v1");
const VERSION_2: Fixtures = fixtures!("v2");
const NAMES: [&str; 5] =
    ["manifest.bin", "table.bin", "segment.bin", "snapshot_manifest.bin", "snapshot_descriptor.bin"];

fn small(options: &mut EngineOptions) {
    options.segment_bytes = 32 << 10;
}

/// A row of every kind there is.
fn rows() -> Vec<(&'static str, Row)> {
    let expiry = Expiry { ttl_seconds: 60, expires_at_seconds: NOW + 60 };
    let mut whole = Row { marker: Some(Liveness { timestamp: 10, expiry: None }), ..Row::default() };
    whole.put(CellEntry::new(1, Cell::live(10, "text")));
    whole.put(CellEntry::new(2, Cell::live(-5, "")));
    whole.put(CellEntry::new(300, Cell::expiring(i64::MAX, 60, NOW + 60, "expiring")));
    let mut collection = Row { marker: Some(Liveness { timestamp: 20, expiry: Some(expiry) }), ..Row::default() };
    collection.delete_column(3, Deletion { timestamp: 19, local_seconds: NOW });
    collection.put(CellEntry::element(3, "one", Cell::live(20, "1")));
    collection.put(CellEntry::element(3, "two", Cell::tombstone(20, NOW)));
    let deleted = Row { deletion: Some(Deletion { timestamp: 30, local_seconds: NOW }), ..Row::default() };
    vec![("a/collection", collection), ("b/deleted", deleted), ("c/whole", whole)]
}

fn in_log() -> Row {
    Row { cells: vec![CellEntry::new(1, Cell::live(40, "in the log"))], ..Row::default() }
}

fn make() -> MemoryDisk {
    let world = World::on(MemoryDisk::new(), small);
    let mut builder = MutationBuilder::new();
    for (key, row) in rows() {
        builder.row(key, &row);
    }
    let deletion = Deletion { timestamp: 7, local_seconds: NOW };
    builder.delete_range(RangeTombstone { start: "c".into(), end: "d".into(), deletion });
    world.write(builder.finish().expect("a mutation"));
    world.run(|engine| async move { engine.snapshot(TABLET, "kept").await }).expect("takes a snapshot");
    world.put(b"e/log", &in_log());
    world.run(|engine| async move { engine.close().await }).expect("closes");
    world.disk.deep_copy()
}

fn contents(disk: &MemoryDisk) -> Vec<Vec<u8>> {
    VERSION_2.iter().take(NAMES.len()).map(|(path, _)| disk.content(path).expect(path)).collect()
}

#[test]
fn the_latest_version_is_written_as_ever() {
    let made = contents(&make());
    #[allow(clippy::disallowed_methods)] // writes into the source tree, when asked to by name
    if std::env::var_os("HOLON_WRITE_FIXTURES").is_some() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/v2");
        for (name, content) in NAMES.iter().zip(&made) {
            std::fs::write(format!("{directory}/{name}"), content).expect("is written");
        }
        return;
    }
    for (((path, fixture), made), name) in VERSION_2.iter().zip(&made).zip(NAMES) {
        let differs = fixture.iter().zip(made).position(|(a, b)| a != b);
        assert_eq!((differs, fixture.len()), (None, made.len()), "{name} ({path}) differs at this byte");
    }
}

#[test]
fn every_version_is_read() {
    for fixtures in [VERSION_1, VERSION_2] {
        is_read(&fixtures);
    }
}

fn is_read(fixtures: &Fixtures) {
    let disk = MemoryDisk::new();
    let directories = holon_kernel::testing::TestShard::new(disk.clone());
    let handle = directories.shard.disk();
    let paths = fixtures.map(|(path, _)| path);
    directories.block_on(async move {
        for path in paths {
            let (parent, _) = path.rsplit_once('/').expect("a directory");
            handle.create_dir(parent).await.expect("makes a directory");
        }
    });
    for (path, content) in fixtures {
        disk.replace(path, content.to_vec());
    }
    let (shard, engine, report) = try_open(&disk, options(2, Rc::default())).expect("opens");
    assert_eq!(report.replayed, 1);
    let page = shard.block_on(async move {
        engine.verify(TABLET, |_| ()).await.expect("verifies");
        let kept = ScanOptions { keep_tombstones: true, ..ScanOptions::new(NOW) };
        let page = engine.scan(TABLET, KeyRange::all(), kept).await.expect("scans");
        engine.restore(TABLET, "kept").await.expect("restores");
        assert_eq!(engine.scan(TABLET, KeyRange::all(), kept).await.expect("scans").rows.len(), 3);
        page
    });
    let mut expected = rows();
    // The range deletion covers the cell of the year before 1970.
    expected[2].1.cells.remove(1);
    expected.push(("e/log", in_log()));
    let found: Vec<(&str, Row)> =
        page.rows.iter().map(|(key, row)| (std::str::from_utf8(key).expect("text"), row.clone())).collect();
    assert_eq!(found, expected);
    assert_eq!(page.ranges.len(), 1);
}
