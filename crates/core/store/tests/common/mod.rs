//! What the tests share: a world of one engine on a memory disk that can be reopened, and the model it is held to.

#![allow(dead_code)] // each test binary uses its part

use bytes::Bytes;
use holon_base::TabletId;
use holon_kernel::testing::{MemoryDisk, TestShard};
use holon_store::{
    Cell as RowCell, CellEntry, CompactionOptions, Deletion, Durability, Engine, EngineOptions, KeyRange, Lsn,
    Mutation, MutationBuilder, PurgePolicy, RangeTombstone, RecoveryReport, Row, ScanOptions, StoreError,
    TabletOptions,
};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;

pub const TABLET: TabletId = TabletId(0x1_0000);
pub const NOW: i64 = 1_700_000_000;

pub struct World {
    pub disk: MemoryDisk,
    pub boot: u32,
    pub shard: TestShard,
    pub engine: Engine,
    pub purge_before: Rc<Cell<i64>>,
    pub report: RecoveryReport,
    pub tune: fn(&mut EngineOptions),
}

pub fn options(boot: u32, purge_before: Rc<Cell<i64>>) -> EngineOptions {
    let mut options = EngineOptions::new(boot, 0, 1);
    options.segment_bytes = 64 << 10;
    options.memtable_bytes = 64 << 10;
    options.cache_bytes = 64 << 10;
    options.log_bytes_max = 512 << 10;
    options.automatic_compaction = false;
    options.tablet_options = Rc::new(move |_| {
        let before = purge_before.clone();
        TabletOptions {
            block_bytes: 256,
            compaction: CompactionOptions {
                level_zero_bytes: 1 << 10,
                table_bytes: 1 << 10,
                ..CompactionOptions::default()
            },
            purge: Rc::new(move |_| PurgePolicy { repaired: true, before_seconds: before.get() }),
            prefix: holon_store::KeyPrefix::Fixed(1),
            ..TabletOptions::default()
        }
    });
    options
}

pub fn try_open(disk: &MemoryDisk, options: EngineOptions) -> Result<(TestShard, Engine, RecoveryReport), StoreError> {
    let shard = TestShard::new(disk.clone());
    let handle = shard.shard.clone();
    let opened = shard.block_on(async move {
        let engine = Engine::open(handle, options).await?;
        let report = engine.recover().await?;
        Ok((engine, report))
    });
    opened.map(|(engine, report)| (shard, engine, report))
}

impl World {
    pub fn new() -> World {
        Self::on(MemoryDisk::new(), |_| ())
    }

    pub fn on(disk: MemoryDisk, tune: fn(&mut EngineOptions)) -> World {
        let purge_before = Rc::new(Cell::new(i64::MIN));
        let mut options = options(1, purge_before.clone());
        tune(&mut options);
        let (shard, engine, report) = try_open(&disk, options).expect("opens");
        let world = World { disk, boot: 1, shard, engine, purge_before, report, tune };
        world.run(|engine| async move { engine.create_tablet(TABLET).await }).expect("creates a tablet");
        world
    }

    /// Runs work on the engine to its end.
    pub fn run<T: 'static, F: Future<Output = T> + 'static>(&self, work: impl FnOnce(Engine) -> F) -> T {
        self.shard.block_on(work(self.engine.clone()))
    }

    /// Starts again on the same disk, as after a crash of the process (nothing is closed) or after a clean stop.
    pub fn reopen(&mut self, close: bool, retire: bool) {
        if close {
            self.run(|engine| async move { engine.close().await }).expect("closes");
        }
        self.boot += 1;
        // The old shard must not write any more: it is dropped with its tasks.
        let mut options = options(self.boot, self.purge_before.clone());
        (self.tune)(&mut options);
        let disk = self.disk.deep_copy();
        let (shard, engine, report) = try_open(&disk, options).expect("reopens");
        (self.shard, self.engine, self.report, self.disk) = (shard, engine, report, disk);
        if retire {
            self.run(|engine| async move { engine.retire_old_logs().await }).expect("retires");
        }
    }

    pub fn write(&self, mutation: Mutation) -> Lsn {
        let work = |engine: Engine| async move { engine.write(TABLET, mutation, Durability::Sync).await };
        self.run(work).expect("is written")
    }

    pub fn put(&self, key: &[u8], row: &Row) -> Lsn {
        self.write(Mutation::row(key, row).expect("a mutation"))
    }

    pub fn get(&self, key: &[u8], now: i64) -> Result<Option<Row>, StoreError> {
        let key = key.to_vec();
        self.run(|engine| async move { engine.get(TABLET, &key, now).await })
    }

    /// Scans to the end in pages.
    pub fn scan(&self, range: KeyRange, options: ScanOptions) -> Result<Vec<(Bytes, Row)>, StoreError> {
        self.run(|engine| async move {
            let mut rows = Vec::new();
            let mut next = Some(range);
            while let Some(range) = next {
                let mut page = engine.scan(TABLET, range, options).await?;
                rows.append(&mut page.rows);
                next = page.rest;
            }
            Ok(rows)
        })
    }

    pub fn flush(&self) {
        self.run(|engine| async move { engine.flush(TABLET).await }).expect("flushes");
    }
}

/// What the engine must be equal to: every patch merged, nothing ever purged.
#[derive(Clone, Default)]
pub struct Model {
    pub rows: BTreeMap<Bytes, Row>,
    pub ranges: Vec<RangeTombstone>,
}

impl Model {
    pub fn apply(&mut self, mutation: &Mutation) {
        for (key, patch) in mutation.rows().expect("a checked mutation") {
            let row = self.rows.remove(&key).unwrap_or_default();
            self.rows.insert(key, row.merge(patch));
        }
        self.ranges.extend(mutation.ranges().iter().cloned());
    }

    pub fn covering(&self, key: &[u8]) -> Option<Deletion> {
        let covers = |range: &&RangeTombstone| range.start.as_ref() <= key && key < range.end.as_ref();
        self.ranges.iter().filter(covers).map(|range| range.deletion).max()
    }

    pub fn get(&self, key: &[u8], now: i64) -> Option<Row> {
        self.rows.get(key).cloned().and_then(|row| row.visible(self.covering(key), now))
    }

    pub fn scan(&self, range: &KeyRange, reverse: bool, now: i64) -> Vec<(Bytes, Row)> {
        let inside = self.rows.keys().filter(|key| range.contains(key));
        let mut rows: Vec<(Bytes, Row)> = inside.filter_map(|key| Some((key.clone(), self.get(key, now)?))).collect();
        if reverse {
            rows.reverse();
        }
        rows
    }
}

/// Rows over `keys` keys for each parity of the round, with values of so many bytes, deletions of cells and one of a range.
pub fn write_round(world: &World, model: &mut Model, round: u8, (rows, keys, value_bytes): (u8, u8, usize)) {
    for number in 0..rows {
        let mut builder = MutationBuilder::new();
        let time = i64::from(round) * 100 + i64::from(number);
        let value = CellEntry::new(1, RowCell::live(time, vec![number; value_bytes]));
        let mut row = Row { cells: vec![value], ..Row::default() };
        if number % 3 == round % 3 {
            row.put(CellEntry::new(2, RowCell::tombstone(time, NOW)));
        }
        builder.row([b'k', number * 3 % keys, round % 2], &row);
        if number == 5 {
            let deletion = Deletion { timestamp: time, local_seconds: NOW };
            builder.delete_range(RangeTombstone { start: "k\u{3}".into(), end: "k\u{5}".into(), deletion });
        }
        let mutation = builder.finish().expect("a mutation");
        model.apply(&mutation);
        world.write(mutation);
    }
}
