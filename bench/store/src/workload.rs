//! What is done to each store, in this order: load without sync, settle, read, scan, overwrite, and write with sync.

use crate::measure::{Figure, directory_bytes, phase};
use holon_base::Random;
use std::path::Path;
use std::time::Duration;

/// Clients that write with sync side by side, so that they can share one.
pub const SYNC_CLIENTS: u64 = 16;
pub const SCAN_ROWS: usize = 100;

pub struct Plan {
    pub rows: u64,
    pub value_bytes: usize,
    pub cache_bytes: usize,
    pub block_bytes: usize,
}

/// Keys of 16 bytes, spread evenly: neighbours in `number` are strangers in order.
pub fn key(number: u64) -> [u8; 16] {
    let mut random = Random::new(number.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let mut key = [0; 16];
    key[..8].copy_from_slice(&random.next_u64().to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Half random, half not, as `db_bench` does it: compresses to about a half.
pub fn value(number: u64, bytes: usize) -> Vec<u8> {
    let mut random = Random::new(number);
    let mut value = vec![b'v'; bytes];
    for chunk in value[..bytes / 2].chunks_mut(8) {
        let word = random.next_u64().to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
    value
}

pub trait Store {
    /// Writes rows one by one, without sync.
    fn load(&self, numbers: &mut dyn Iterator<Item = u64>);
    /// Writes rows with sync, from [`SYNC_CLIENTS`] clients.
    fn write_synced(&self, from: u64, count: u64);
    /// Brings everything to disk and compacts it.
    fn settle(&self);
    /// Reads keys one by one; how many there were.
    fn read(&self, numbers: &mut dyn Iterator<Item = u64>) -> u64;
    /// Reads [`SCAN_ROWS`] rows from each key on; how many there were.
    fn scan(&self, numbers: &mut dyn Iterator<Item = u64>) -> u64;
    /// Four overwrites, one read, and so on, without sync.
    fn mix(&self, numbers: &mut dyn Iterator<Item = u64>);
    /// Nothing is asked of it for so long.
    fn rest(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// What is on disk when it has stopped shrinking: all three remove files behind one's back.
fn settled_bytes(store: &dyn Store, directory: &Path) -> u64 {
    let mut least = directory_bytes(directory);
    let mut unchanged = 0;
    for _ in 0..20 {
        store.rest(Duration::from_secs(1));
        let now = directory_bytes(directory);
        unchanged = if now < least { 0 } else { unchanged + 1 };
        least = least.min(now);
        if unchanged >= 7 {
            break;
        }
    }
    least
}

pub fn run(store: &dyn Store, plan: &Plan, directory: &Path) {
    let rows = plan.rows;
    let reads = (rows / 4).clamp(1, 1_000_000);
    let scans = (reads / 40).max(1);
    let synced = (rows / 100).clamp(2_000, 20_000);
    let load = phase("write", rows, || store.load(&mut (0..rows)));
    let settle = phase("settle", rows, || store.settle());
    let stored = settled_bytes(store, directory);
    let user_bytes = rows as f64 * (16 + plan.value_bytes) as f64;
    let ratio = (load.written_bytes + settle.written_bytes) / user_bytes;
    let mut random = Random::new(1);
    let mut some = move || random.below(rows);
    phase("read hit", reads, || {
        let found = store.read(&mut (0..reads).map(|_| some()));
        assert_eq!(found, reads, "every key that was written is there");
    });
    phase("read miss", reads, || {
        let found = store.read(&mut (rows..rows + reads));
        assert_eq!(found, 0, "no other key is there");
    });
    let mut random = Random::new(2);
    phase("scan (rows)", scans * SCAN_ROWS as u64, || {
        store.scan(&mut (0..scans).map(|_| random.below(rows)));
    });
    let mut random = Random::new(3);
    phase("overwrite mix", reads, || store.mix(&mut (0..reads).map(|_| random.below(rows))));
    phase("write with sync", synced, || store.write_synced(rows * 2, synced));
    let figure = |phase: &str, value: f64| Figure {
        phase: phase.into(),
        operations: value,
        seconds: 1.0,
        cpu_seconds: 0.0,
        written_bytes: 0.0,
    };
    figure("MiB on disk, with logs", stored as f64 / f64::from(1 << 20)).print();
    figure("bytes written per byte stored", ratio).print();
}
