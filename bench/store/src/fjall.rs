//! fjall, with the same cache, compression and filters as Holon, the rest as it comes.

use crate::workload::{Plan, SCAN_ROWS, SYNC_CLIENTS, Store, key, value};
use fjall::config::{BloomConstructionPolicy, FilterPolicy, FilterPolicyEntry};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::path::Path;

const EXPECT: &str = "fjall works";

pub struct Fjall {
    database: Database,
    rows: Keyspace,
    value_bytes: usize,
}

impl Fjall {
    pub fn open(directory: &Path, plan: &Plan) -> Self {
        let database = Database::builder(directory.join("data")).cache_size(plan.cache_bytes as u64).open();
        let database = database.expect(EXPECT);
        // LZ4 is its default.
        let filter = FilterPolicy::all(FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(10.0)));
        let options = || KeyspaceCreateOptions::default().filter_policy(filter.clone());
        let rows = database.keyspace("rows", options).expect(EXPECT);
        Fjall { database, rows, value_bytes: plan.value_bytes }
    }

    fn put(&self, number: u64, seed: u64) {
        self.rows.insert(key(number), value(seed, self.value_bytes)).expect(EXPECT);
    }
}

impl Store for Fjall {
    fn load(&self, numbers: &mut dyn Iterator<Item = u64>) {
        numbers.for_each(|number| self.put(number, number));
    }

    fn write_synced(&self, from: u64, count: u64) {
        std::thread::scope(|scope| {
            for client in 0..SYNC_CLIENTS {
                scope.spawn(move || {
                    for number in (from..from + count).filter(|number| number % SYNC_CLIENTS == client) {
                        self.put(number, number);
                        self.database.persist(PersistMode::SyncData).expect(EXPECT);
                    }
                });
            }
        });
    }

    fn settle(&self) {
        self.rows.rotate_memtable_and_wait().expect(EXPECT);
        self.rows.major_compact().expect(EXPECT);
        self.database.persist(PersistMode::SyncAll).expect(EXPECT);
    }

    fn read(&self, numbers: &mut dyn Iterator<Item = u64>) -> u64 {
        numbers.filter(|number| self.rows.get(key(*number)).expect(EXPECT).is_some()).count() as u64
    }

    fn scan(&self, numbers: &mut dyn Iterator<Item = u64>) -> u64 {
        let mut bytes = 0;
        for number in numbers {
            for row in self.rows.range(key(number)..).take(SCAN_ROWS) {
                let (key, value) = row.into_inner().expect(EXPECT);
                bytes += (key.len() + value.len()) as u64;
            }
        }
        bytes
    }

    fn mix(&self, numbers: &mut dyn Iterator<Item = u64>) {
        for (index, number) in numbers.enumerate() {
            if index % 5 == 4 {
                self.rows.get(key(number)).expect(EXPECT);
            } else {
                self.put(number, index as u64);
            }
        }
    }
}
