//! Compaction: what it forgets and what it must not, its shapes, snapshots across it, and the budgets.

mod common;

use common::{NOW, TABLET, World, options, try_open};
use holon_base::TabletId;
use holon_kernel::testing::MemoryDisk;
use holon_store::{
    Cell, CellEntry, CompactionOptions, Compression, Deletion, Durability, Engine, KeyRange, MutationBuilder,
    PurgePolicy, RangeTombstone, Row, ScanOptions, StoreError, TabletOptions, TabletStats,
};
use std::rc::Rc;

fn live(timestamp: i64, size: usize) -> Row {
    Row { cells: vec![CellEntry::new(1, Cell::live(timestamp, vec![7; size]))], ..Row::default() }
}

fn tombstone(timestamp: i64) -> Row {
    Row { cells: vec![CellEntry::new(1, Cell::tombstone(timestamp, NOW))], ..Row::default() }
}

impl World {
    fn stats(&self) -> TabletStats {
        self.engine.tablet_stats(TABLET).expect("the tablet")
    }

    fn compact(&self) {
        self.run(|engine| async move { engine.compact(TABLET, |_| ()).await }).expect("compacts");
    }

    fn step(&self) -> bool {
        self.run(|engine| async move { engine.compact_step(TABLET).await }).expect("compacts")
    }

    fn delete_range(&self, start: &'static [u8], end: &'static [u8], timestamp: i64) {
        let deletion = Deletion { timestamp, local_seconds: NOW };
        let mut builder = MutationBuilder::new();
        builder.delete_range(RangeTombstone { start: start.into(), end: end.into(), deletion });
        self.write(builder.finish().expect("a mutation"));
    }

    fn tune_tablet(&self, change: impl FnOnce(&mut TabletOptions)) {
        let mut tablet = (options(1, self.purge_before.clone()).tablet_options)(TABLET);
        change(&mut tablet);
        self.engine.set_tablet_options(TABLET, tablet).expect("the tablet");
    }

    fn sees(&self, key: &[u8]) -> bool {
        self.get(key, NOW).expect("reads").is_some()
    }
}

/// An old run too large to be merged with the small ones above it, and in it the row `a`.
fn with_old_run(world: &World) {
    world.put(b"a", &live(1, 10));
    for number in 0..200u32 {
        world.put(&number.to_be_bytes(), &live(1, 200));
    }
    world.compact();
}

fn make_runs(world: &World, first: Row) {
    world.put(b"a", &first);
    world.flush();
    for number in 0..3u8 {
        world.put(&[b'x', number], &live(5, 10));
        world.flush();
    }
}

#[test]
fn a_tombstone_stays_while_what_it_covers_is_in_a_table_outside() {
    let world = World::new();
    world.purge_before.set(NOW + 1);
    with_old_run(&world);
    make_runs(&world, tombstone(2));
    assert!(!world.sees(b"a"));
    assert!(world.step(), "four small runs are merged");
    assert_eq!((world.stats().tombstones, world.sees(b"a")), (1, false));
    world.compact();
    assert_eq!((world.stats().tombstones, world.sees(b"a")), (0, false));
}

#[test]
fn a_tombstone_stays_while_what_it_covers_is_in_memory() {
    let world = World::new();
    world.purge_before.set(NOW + 1);
    make_runs(&world, tombstone(2));
    // Written late, with an old timestamp, and not flushed.
    world.put(b"a", &live(1, 10));
    assert!(world.step());
    assert_eq!((world.stats().tombstones, world.sees(b"a")), (1, false));
}

#[test]
fn a_tombstone_is_kept_until_it_is_repaired_and_old_enough() {
    let world = World::new();
    make_runs(&world, tombstone(2));
    world.compact();
    assert_eq!(world.stats().tombstones, 1, "too young");
    world.tune_tablet(|tablet| {
        tablet.purge = Rc::new(|_| PurgePolicy { repaired: false, before_seconds: i64::MAX });
    });
    world.compact();
    assert_eq!(world.stats().tombstones, 1, "not repaired");
    world.tune_tablet(|tablet| {
        tablet.purge = Rc::new(|_| PurgePolicy { repaired: true, before_seconds: NOW + 1 });
    });
    world.compact();
    assert_eq!(world.stats().tombstones, 0);
    assert_eq!(world.engine.stats().tombstones_purged, 1);
}

#[test]
fn deleted_ranges_follow_the_same_rule() {
    let world = World::new();
    world.purge_before.set(NOW + 1);
    with_old_run(&world);
    world.delete_range(b"a", b"b", 2);
    world.delete_range(b"y", b"z", 2);
    make_runs(&world, Row::default());
    assert!(world.step());
    // Nothing of y is anywhere else: that one is gone.
    assert_eq!((world.stats().tombstones, world.sees(b"a")), (1, false));
    world.compact();
    assert_eq!((world.stats().tombstones, world.sees(b"a")), (0, false));
    assert!(world.sees(&7u32.to_be_bytes()));
}

#[test]
fn a_deleted_range_over_many_tables_of_a_run() {
    let world = World::new();
    for number in 0..300u32 {
        world.put(&number.to_be_bytes(), &live(1, 100));
    }
    world.compact();
    assert!(world.stats().tables >= 4, "{:?}", world.stats());
    let deletion = Deletion { timestamp: 2, local_seconds: NOW };
    let mut builder = MutationBuilder::new();
    let (start, end) = (50u32.to_be_bytes().to_vec(), 250u32.to_be_bytes().to_vec());
    builder.delete_range(RangeTombstone { start: start.into(), end: end.into(), deletion });
    world.write(builder.finish().expect("a mutation"));
    for number in (0..300u32).step_by(10) {
        world.put(&number.to_be_bytes(), &live(3, 100));
    }
    world.compact();
    for number in 0..300u32 {
        let expected = number.is_multiple_of(10) || !(50..250).contains(&number);
        assert_eq!(world.sees(&number.to_be_bytes()), expected, "row {number}");
    }
    let kept = ScanOptions { keep_tombstones: true, ..ScanOptions::new(NOW) };
    let page = world.run(|engine| async move { engine.scan(TABLET, KeyRange::all(), kept).await }).expect("scans");
    let first = page.ranges.first().expect("a range");
    let last = page.ranges.last().expect("a range");
    assert_eq!((first.start.as_ref(), last.end.as_ref()), (&50u32.to_be_bytes()[..], &250u32.to_be_bytes()[..]));
    assert!(page.ranges.windows(2).all(|pair| pair[0].end == pair[1].start), "without holes: {:?}", page.ranges);
}

#[test]
fn a_table_of_which_all_has_expired_is_dropped_unread() {
    let world = World::new();
    for number in 0..20u8 {
        let cell = Cell::expiring(1, 10, NOW + 10, vec![1; 20]);
        world.put(&[number], &Row { cells: vec![CellEntry::new(1, cell)], ..Row::default() });
    }
    world.flush();
    assert!(!world.step());
    world.shard.advance(std::time::Duration::from_secs(20));
    world.purge_before.set(NOW + 15);
    assert!(world.step());
    let stats = world.engine.stats();
    assert_eq!((stats.tables_dropped_expired, stats.compaction_written_bytes, stats.tables), (1, 0, 0));
    assert!(world.disk.paths().iter().all(|path| !path.ends_with(".table")), "{:?}", world.disk.paths());
}

#[test]
fn runs_that_do_not_overlap_are_joined_without_rewriting() {
    let world = World::new();
    for run in 0..4u8 {
        for number in 0..5u8 {
            world.put(&[run, number], &live(1, 20));
        }
        world.flush();
    }
    assert!(world.step());
    let stats = world.engine.stats();
    assert_eq!((stats.trivial_moves, stats.compaction_written_bytes, stats.tables), (4, 0, 4));
    assert_eq!(world.stats().runs.iter().sum::<u64>(), 1);
    assert_eq!(world.scan(KeyRange::all(), ScanOptions::new(NOW)).expect("scans").len(), 20);
}

/// Loads the same rows under a scaling parameter with automatic compaction.
fn load_with_scaling(w: i32) -> (World, f64) {
    let world = World::on(MemoryDisk::new(), |options| {
        options.automatic_compaction = true;
        options.memtable_bytes = 16 << 10;
    });
    world.tune_tablet(|tablet| {
        tablet.compaction = CompactionOptions {
            scaling: vec![w],
            level_zero_bytes: 4 << 10,
            table_bytes: 16 << 10,
            ..CompactionOptions::default()
        };
    });
    for number in 0..3000u32 {
        world.put(&number.wrapping_mul(0x9E37_79B1).to_be_bytes(), &live(1, 60));
    }
    world.flush();
    world.shard.advance(std::time::Duration::from_secs(5));
    let stats = world.engine.stats();
    assert!(stats.compactions > 3, "{stats:?}");
    let amplification = (stats.flushed_bytes + stats.compaction_written_bytes) as f64 / stats.table_bytes as f64;
    assert_eq!(world.scan(KeyRange::all(), ScanOptions::new(NOW)).expect("scans").len(), 3000);
    world.run(|engine| async move { engine.verify(TABLET, |_| ()).await }).expect("verifies");
    (world, amplification)
}

#[test]
fn one_setting_reaches_from_levelled_to_tiered() {
    let (levelled, written_levelled) = load_with_scaling(-4);
    let (tiered, written_tiered) = load_with_scaling(4);
    let runs = |world: &World| world.stats().runs.iter().copied().max().unwrap_or(0);
    assert!(runs(&levelled) <= 1, "{:?}", levelled.stats().runs);
    assert!(runs(&tiered) <= 5, "{:?}", tiered.stats().runs);
    assert!(levelled.stats().runs.iter().sum::<u64>() < tiered.stats().runs.iter().sum::<u64>() + 1);
    assert!(written_levelled > written_tiered, "{written_levelled} and {written_tiered}");
}

#[test]
fn snapshots_survive_compaction_truncation_and_drop() {
    let mut world = World::new();
    for number in 0..50u8 {
        world.put(&[number], &live(1, 30));
    }
    let snapshot = |engine: Engine| async move { engine.snapshot(TABLET, "one").await };
    world.run(snapshot).expect("takes a snapshot");
    assert!(matches!(world.run(snapshot), Err(StoreError::Snapshot { .. })), "the name is taken");
    for number in 0..50u8 {
        world.put(&[number], &tombstone(2));
    }
    world.compact();
    let count = |world: &World| world.scan(KeyRange::all(), ScanOptions::new(NOW)).expect("scans").len();
    assert_eq!(count(&world), 0);
    world.run(|engine| async move { engine.restore(TABLET, "one").await }).expect("restores");
    assert_eq!(count(&world), 50);
    world.reopen(false, true);
    assert_eq!(count(&world), 50, "the log does not delete them again");
    world.run(|engine| async move { engine.truncate(TABLET).await }).expect("truncates");
    world.run(|engine| async move { engine.restore(TABLET, "one").await }).expect("restores");
    world.compact();
    world.run(|engine| async move { engine.restore(TABLET, "one").await }).expect("restores once more");
    assert_eq!(count(&world), 50);
    world.run(|engine| async move { engine.drop_tablet(TABLET).await }).expect("drops");
    world.run(|engine| async move { engine.create_tablet(TABLET).await }).expect("creates");
    world.run(|engine| async move { engine.restore(TABLET, "one").await }).expect("restores");
    assert_eq!(count(&world), 50);
    let names = world.run(|engine| async move { engine.snapshots(TABLET).await });
    assert_eq!(names.expect("lists"), ["one"]);
    world.run(|engine| async move { engine.drop_snapshot(TABLET, "one").await }).expect("forgets");
    assert!(world.disk.paths().iter().all(|path| !path.starts_with("snapshots/")));
    for name in ["", "..", "a/b", ".hidden", "ä"] {
        let outcome = world.run(move |engine| async move { engine.snapshot(TABLET, name).await });
        assert!(matches!(outcome, Err(StoreError::Snapshot { .. })), "{name:?}");
    }
    assert!(matches!(
        world.run(|engine| async move { engine.restore(TABLET, "none").await }),
        Err(StoreError::Snapshot { .. })
    ));
}

#[test]
fn memory_stays_within_its_budget_over_many_tablets() {
    let world = World::on(MemoryDisk::new(), |options| options.automatic_compaction = true);
    let tablets: Vec<TabletId> = (1..20).map(|number| TabletId((1 << 16) + number)).collect();
    for tablet in &tablets {
        let tablet = *tablet;
        world.run(move |engine| async move { engine.create_tablet(tablet).await }).expect("creates");
    }
    for round in 0..100u32 {
        for tablet in &tablets {
            let tablet = *tablet;
            let mutation = holon_store::Mutation::row(round.to_be_bytes(), &live(1, 300)).expect("a mutation");
            let written =
                world.run(move |engine| async move { engine.write(tablet, mutation, Durability::Sync).await });
            written.expect("is written");
            let bytes = world.engine.stats().memtable_bytes;
            // One group of writes may be on top of the budget.
            assert!(bytes <= (64 << 10) + 2048, "{bytes} bytes");
        }
    }
    assert!(world.engine.stats().flushes > 10);
    let copy = world.disk.deep_copy();
    let (shard, engine, _) = try_open(&copy, options(9, Rc::default())).expect("opens");
    for tablet in tablets {
        let engine = engine.clone();
        let page = shard
            .block_on(async move { engine.scan(tablet, KeyRange::all(), ScanOptions::new(NOW)).await })
            .expect("scans");
        assert_eq!(page.rows.len(), 100);
    }
}

#[test]
fn several_ranges_make_one_page() {
    let world = World::new();
    for number in 0..60u8 {
        world.put(&[number], &live(1, 10));
    }
    world.flush();
    let ranges: Vec<KeyRange> = [(5, 8), (20, 20), (30, 40), (55, 99)]
        .iter()
        .map(|(start, end)| KeyRange::new(vec![*start], vec![*end]))
        .collect();
    let expected: Vec<u8> = (5..8).chain(30..40).chain(55..60).collect();
    for page_rows in [1, 3, 4, 13, 100] {
        let (mut rest, mut found, mut pages) = (ranges.clone(), Vec::new(), 0);
        while !rest.is_empty() {
            let options = ScanOptions { rows_max: page_rows, ..ScanOptions::new(NOW) };
            let (page, left) =
                world.run(|engine| async move { engine.read_ranges(TABLET, rest, options).await }).expect("reads");
            assert!(page.rows.len() <= page_rows);
            found.extend(page.rows.iter().map(|(key, _)| key[0]));
            rest = left;
            pages += 1;
        }
        assert_eq!(found, expected, "pages of {page_rows}");
        assert!(pages <= expected.len() + ranges.len());
    }
}

#[test]
fn prefix_filters_skip_tables_and_change_no_answer() {
    let world = World::new();
    for prefix in 0..20u8 {
        for number in 0..5u8 {
            world.put(&[prefix * 3, number], &live(1, 10));
        }
        world.flush();
    }
    for prefix in 0..62u8 {
        let options = ScanOptions { one_prefix: true, ..ScanOptions::new(NOW) };
        let found = world.scan(KeyRange::prefix(vec![prefix]), options).expect("scans").len();
        assert_eq!(found, if prefix % 3 == 0 && prefix < 60 { 5 } else { 0 }, "prefix {prefix}");
    }
}

#[test]
fn changed_options_hold_for_new_tables_and_old_ones_are_read_on() {
    let world = World::new();
    let value = "all work and no play ".repeat(20);
    let row =
        |timestamp| Row { cells: vec![CellEntry::new(1, Cell::live(timestamp, value.clone()))], ..Row::default() };
    let flushed_bytes = |prefix: &str| {
        let before = world.engine.tablet_stats(TABLET).expect("a tablet").table_bytes;
        for number in 0..100 {
            world.put(format!("{prefix}{number:03}").as_bytes(), &row(10));
        }
        world.flush();
        world.engine.tablet_stats(TABLET).expect("a tablet").table_bytes - before
    };
    let packed = flushed_bytes("a");
    let mut options = TabletOptions { compression: Compression::None, ..TabletOptions::default() };
    options.compaction.scaling = vec![-8];
    world.engine.set_tablet_options(TABLET, options).expect("a tablet");
    let plain = flushed_bytes("b");
    assert!(plain > 2 * packed, "{packed} with LZ4, {plain} without");
    let stats = world.engine.tablet_stats(TABLET).expect("a tablet");
    assert!(stats.runs.len() == 1 && stats.runs[0] >= 2, "{stats:?}");
    assert_eq!((stats.table_rows, stats.memtable_rows), (200, 0));
    assert!(
        world.run(|engine| async move { engine.compact_step(TABLET).await }).expect("compacts"),
        "levelled: two are enough"
    );
    for prefix in ["a", "b"] {
        let key = format!("{prefix}042");
        assert_eq!(world.get(key.as_bytes(), NOW).expect("reads"), Some(row(10)), "{key}");
    }
    world.run(|engine| async move { engine.verify(TABLET, |_| ()).await }).expect("verifies");
}

#[test]
fn a_running_compaction_tells_how_far_it_is() {
    let world = World::new();
    for round in 0..3 {
        for number in 0..2000 {
            let row = Row { cells: vec![CellEntry::new(1, Cell::live(round, vec![b'x'; 300]))], ..Row::default() };
            world.put(format!("{number:05}").as_bytes(), &row);
        }
        world.flush();
    }
    let seen = Rc::new(std::cell::RefCell::new(Vec::new()));
    let (watcher, noted) = (world.engine.clone(), seen.clone());
    let told = move |_| noted.borrow_mut().push(watcher.tablet_stats(TABLET).expect("a tablet").compaction);
    world.run(|engine| async move { engine.compact(TABLET, told).await }).expect("compacts");
    let seen: Vec<_> = seen.borrow().iter().map(|progress| progress.expect("it runs")).collect();
    assert!(seen.len() > 2 && seen.iter().all(|progress| progress.bytes_done <= progress.bytes_total), "{seen:?}");
    assert_eq!(world.engine.tablet_stats(TABLET).expect("a tablet").compaction, None);
}
