//! RocksDB, with the same cache, compression and filters as Holon, the rest as it comes.

use crate::workload::{Plan, SCAN_ROWS, SYNC_CLIENTS, Store, key, value};
use rocksdb::{BlockBasedOptions, Cache, DB, DBCompressionType, IteratorMode, Options, WriteOptions};
use std::path::Path;

const EXPECT: &str = "RocksDB works";

pub struct Rocks {
    database: DB,
    value_bytes: usize,
}

impl Rocks {
    pub fn open(directory: &Path, plan: &Plan) -> Self {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&Cache::new_lru_cache(plan.cache_bytes).expect(EXPECT));
        blocks.set_bloom_filter(10.0, false);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_block_based_table_factory(&blocks);
        options.increase_parallelism(2);
        let database = DB::open(&options, directory.join("data")).expect(EXPECT);
        Rocks { database, value_bytes: plan.value_bytes }
    }
}

impl Store for Rocks {
    fn load(&self, numbers: &mut dyn Iterator<Item = u64>) {
        numbers.for_each(|number| self.database.put(key(number), value(number, self.value_bytes)).expect(EXPECT));
    }

    fn write_synced(&self, from: u64, count: u64) {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        let options = &options;
        std::thread::scope(|scope| {
            for client in 0..SYNC_CLIENTS {
                scope.spawn(move || {
                    for number in (from..from + count).filter(|number| number % SYNC_CLIENTS == client) {
                        let value = value(number, self.value_bytes);
                        self.database.put_opt(key(number), value, options).expect(EXPECT);
                    }
                });
            }
        });
    }

    fn settle(&self) {
        self.database.flush().expect(EXPECT);
        self.database.compact_range(None::<&[u8]>, None::<&[u8]>);
    }

    fn read(&self, numbers: &mut dyn Iterator<Item = u64>) -> u64 {
        numbers.filter(|number| self.database.get_pinned(key(*number)).expect(EXPECT).is_some()).count() as u64
    }

    fn scan(&self, numbers: &mut dyn Iterator<Item = u64>) -> u64 {
        let mut bytes = 0;
        for number in numbers {
            let start = key(number);
            let rows = self.database.iterator(IteratorMode::From(&start, rocksdb::Direction::Forward));
            for row in rows.take(SCAN_ROWS) {
                let (key, value) = row.expect(EXPECT);
                bytes += (key.len() + value.len()) as u64;
            }
        }
        bytes
    }

    fn mix(&self, numbers: &mut dyn Iterator<Item = u64>) {
        for (index, number) in numbers.enumerate() {
            if index % 5 == 4 {
                self.database.get_pinned(key(number)).expect(EXPECT);
            } else {
                self.database.put(key(number), value(index as u64, self.value_bytes)).expect(EXPECT);
            }
        }
    }
}
