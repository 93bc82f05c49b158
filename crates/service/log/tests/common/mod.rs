//! Batches as a producer sends them, and a store on a memory disk that can be reopened.

#![allow(dead_code)] // each test binary uses its part

pub mod door;
mod power;
mod slow;
pub mod stream;

use bytes::Bytes;
use holon_base::{Random, TabletId};
use holon_kafka::{BatchHeader, Batches, ProduceRules, ProducedBatch, Timestamps, testing};
use holon_kernel::testing::{MemoryDisk, TestShard};
use holon_log::store::{Appended, LogError, LogStore, PartitionOptions, RecoveryReport, Stamp, StoreOptions};
use holon_wal::Durability;
use power::PowerDisk;
use std::future::Future;
use std::rc::Rc;

pub const TIME_MS: i64 = 1_700_000_000_000;

/// So many records of one byte, as one batch of nobody in particular.
pub fn batch(count: i32, value: u8) -> Bytes {
    testing::batch(testing::NOBODY, count as u8, &[value], TIME_MS)
}

/// As a producer with an id sends it.
pub fn batch_of(producer_id: i64, epoch: i16, sequence: i32, count: i32, value: u8, time_ms: i64) -> Bytes {
    testing::batch(testing::From { producer_id, epoch, sequence }, count as u8, &[value], time_ms)
}

pub fn checked(bytes: &Bytes) -> ProducedBatch {
    let timestamps = Timestamps::Create { now_ms: TIME_MS, before_ms_max: i64::MAX, after_ms_max: i64::MAX };
    let rules = ProduceRules { batch_bytes_max: 1 << 20, version: 9, timestamps };
    ProducedBatch::check(bytes.clone(), &rules).expect("a good batch")
}

pub fn stamp() -> Stamp {
    Stamp { leader_epoch: 7, append_time_ms: None, wall_ms: TIME_MS }
}

pub fn options(boot: u32) -> StoreOptions {
    StoreOptions {
        wal_segment_bytes: 64 << 10,
        wal_bytes_max: 512 << 10,
        kept_bytes_max: 8 << 10,
        unwritten_bytes_max: 64 << 10,
        partition: Rc::new(|_| PartitionOptions { segment_bytes: 4 << 10, ..PartitionOptions::default() }),
        ..StoreOptions::new(boot)
    }
}

pub struct World {
    pub disk: MemoryDisk,
    pub boot: u32,
    pub shard: TestShard,
    pub store: LogStore,
    pub report: RecoveryReport,
    power: PowerDisk,
    adjust: fn(&mut StoreOptions),
}

pub fn try_open(disk: &MemoryDisk, boot: u32) -> Result<World, LogError> {
    try_open_with(disk, PowerDisk::new(disk.clone()), boot, |_| (), true)
}

fn try_open_with(
    disk: &MemoryDisk,
    power: PowerDisk,
    boot: u32,
    adjust: fn(&mut StoreOptions),
    retire: bool,
) -> Result<World, LogError> {
    let shard = TestShard::with_disk(Box::new(power.clone()));
    let handle = shard.shard.clone();
    let mut options = options(boot);
    adjust(&mut options);
    let (store, report) = shard.block_on(async move {
        let store = LogStore::open(handle, options).await?;
        let report = store.recover().await?;
        if retire {
            store.retire_old_logs().await?;
        }
        Ok::<_, LogError>((store, report))
    })?;
    Ok(World { disk: disk.clone(), boot, shard, store, report, power, adjust })
}

impl World {
    pub fn new() -> World {
        World::new_with(|_| ())
    }

    pub fn new_with(adjust: fn(&mut StoreOptions)) -> World {
        let disk = MemoryDisk::new();
        try_open_with(&disk, PowerDisk::new(disk.clone()), 1, adjust, true).expect("opens")
    }

    /// The process ends at once, and another one starts.
    pub fn reopen(self) -> World {
        let World { disk, boot, shard, store, power, adjust, .. } = self;
        drop((shard, store));
        try_open_with(&disk, power, boot + 1, adjust, true).expect("opens again")
    }

    /// It ends at the moment this work is done, before anything else happens.
    pub fn run_and_end<F: Future<Output = ()> + 'static>(self, work: impl FnOnce(LogStore) -> F) -> World {
        let World { disk, boot, shard, store, adjust, .. } = self;
        let done = work(store);
        let left = shard.block_on(async move {
            done.await;
            disk.deep_copy()
        });
        drop(shard);
        try_open_with(&left, PowerDisk::new(left.clone()), boot + 1, adjust, false).expect("opens again")
    }

    /// It ends at once, another one recovers, and ends before all shards have, and a third one starts.
    pub fn reopen_twice(self) -> World {
        let World { disk, boot, shard, store, power, adjust, .. } = self;
        drop((shard, store));
        drop(try_open_with(&disk, power.clone(), boot + 1, adjust, false).expect("opens again"));
        try_open_with(&disk, power, boot + 2, adjust, true).expect("opens a third time")
    }

    /// The power goes, and what was not synced with it, or some of it.
    pub fn lose_power(self, random: &mut Random) -> World {
        let World { boot, shard, store, power, adjust, .. } = self;
        drop((shard, store));
        let disk = power.lose(random);
        try_open_with(&disk, PowerDisk::new(disk.clone()), boot + 1, adjust, true).expect("opens again")
    }

    pub fn run<T: 'static, F: Future<Output = T> + 'static>(&self, work: impl FnOnce(LogStore) -> F) -> T {
        self.shard.block_on(work(self.store.clone()))
    }

    pub fn create(&self, partition: TabletId) {
        self.run(|store| async move { store.create(partition, 0).await }).expect("created");
    }

    pub fn append(&self, partition: TabletId, bytes: &Bytes) -> Result<Appended, LogError> {
        let batch = checked(bytes);
        self.run(move |store| async move { store.append(partition, batch, stamp(), Durability::Sync).await })
    }

    pub fn read(&self, partition: TabletId, offset: i64, bytes_max: usize) -> Result<Vec<BatchHeader>, LogError> {
        let found = self.run(move |store| async move { store.read(partition, offset, i64::MAX, bytes_max).await })?;
        let bytes: Vec<u8> = found.pieces.concat();
        assert_eq!(bytes.len(), found.bytes);
        let headers: Vec<BatchHeader> =
            Batches::new(bytes.into()).map(|batch| batch.expect("whole batches").0).collect();
        assert_eq!(headers.first(), found.first.as_ref());
        Ok(headers)
    }

    /// All batches from an offset on, read piece by piece.
    pub fn read_all(&self, partition: TabletId, mut offset: i64, bytes_max: usize) -> Vec<BatchHeader> {
        let mut all = Vec::new();
        loop {
            let next = self.read(partition, offset, bytes_max).expect("reads");
            let Some(last) = next.last() else { return all };
            offset = last.last_offset() + 1;
            all.extend(next);
        }
    }

    pub fn checkpoint(&self) {
        self.run(|store| async move { store.checkpoint().await }).expect("a checkpoint");
    }
}
