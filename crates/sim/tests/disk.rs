//! The simulated disk keeps the contract while it works, and breaks only what was not synced when the power goes.

use holon_base::{NodeId, Random, ShardId, Wall};
use holon_kernel::*;
use holon_sim::disk::{SimDisk, SimDiskState};
use holon_sim::faults::{DiskFaults, Fault, Faults};
use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

struct Bench {
    shard: Rc<Shard>,
    state: Rc<RefCell<SimDiskState>>,
}

impl Bench {
    fn new(state: &Rc<RefCell<SimDiskState>>, seed: u64) -> Bench {
        let shard = Shard::new(ShardOptions {
            node: NodeId(1),
            shard: ShardId(0),
            shards: 1,
            seed,
            order: Order::Permuted(Random::new(seed)),
            disk: Box::new(SimDisk::new(state, ShardId(0))),
            router: Box::new(testing::NoRouter),
            now: holon_base::Instant(0),
            wall: Wall(0),
            clock: Arc::default(),
        });
        Bench { shard, state: state.clone() }
    }

    fn run<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        let place = Rc::new(RefCell::new(None));
        let output = place.clone();
        self.shard.spawn(Scope::Node, Class::Foreground, async move {
            let value = future.await;
            *output.borrow_mut() = Some(value);
        });
        loop {
            while self.shard.run_ready(1000) {}
            if let Some(value) = place.borrow_mut().take() {
                return value;
            }
            let due = self.state.borrow().next_due().expect("something is in flight");
            self.shard.advance(due, Wall(0));
            let completed = self.state.borrow_mut().complete_next(due);
            let (_, id, result) = completed.expect("it is due");
            self.shard.complete_disk(id, result);
        }
    }
}

const CREATE: OpenOptions = OpenOptions { create: true, direct: false };

#[test]
fn it_keeps_the_contract() {
    for seed in 0..50 {
        let options = DiskFaults { slow_per_mille: 50, ..DiskFaults::NONE };
        let bench = Bench::new(&SimDiskState::new(seed, options, Faults::default()), seed);
        let disk = bench.shard.disk();
        bench.run(async move { disk_suite::run(&disk).await });
    }
}

#[test]
fn what_was_synced_survives_every_crash_and_what_was_not_is_sometimes_lost_or_torn() {
    let faults = Faults::default();
    let (mut kept, mut lost, mut torn) = (0, 0, 0);
    for seed in 0..200 {
        let state = SimDiskState::new(seed, DiskFaults::NONE, faults.clone());
        let bench = Bench::new(&state, seed);
        let disk = bench.shard.disk();
        bench.run(async move {
            disk.create_dir("d").await.expect("create_dir");
            disk.sync_dir("").await.expect("sync_dir");
            let file = disk.open("d/synced", CREATE).await.expect("open");
            file.write_at(0, testing::buffer(&[7; 3000])).await.expect("write");
            file.sync().await.expect("sync");
            let other = disk.open("d/unsynced", CREATE).await.expect("open");
            disk.sync_dir("d").await.expect("sync_dir");
            other.write_at(0, testing::buffer(&[9; 3000])).await.expect("write");
            file.write_at(0, testing::buffer(&[8; 512])).await.expect("overwrite");
        });
        state.borrow_mut().crash();
        let bench = Bench::new(&state, seed + 1);
        let disk = bench.shard.disk();
        let (synced, unsynced) = bench.run(async move {
            let synced = disk.open("d/synced", OpenOptions::default()).await.expect("it was synced with its directory");
            let unsynced = disk.open("d/unsynced", OpenOptions::default()).await.expect("its name was synced");
            (synced.read_at(0, 4000).await.expect("read"), unsynced.read_at(0, 4000).await.expect("read"))
        });
        assert_eq!(synced.len(), 3000);
        assert!(synced[..512] == [7; 512] || synced[..512] == [8; 512], "a sector is whole");
        assert!(synced[512..].iter().all(|&byte| byte == 7), "seed {seed}");
        match unsynced.iter().filter(|&&byte| byte == 9).count() {
            3000 => kept += 1,
            0 => lost += 1,
            _ => torn += 1,
        }
    }
    assert!(kept > 10 && lost > 10 && torn > 10, "kept {kept}, lost {lost}, torn {torn}");
    assert!(faults.counts()[&Fault::TornWrite] > 10);
}

#[test]
fn faults_are_reported_and_a_failed_sync_poisons_the_file() {
    let faults = Faults::default();
    let options = DiskFaults { sync_error_per_million: 1_000_000, capacity_bytes: 10_000, ..DiskFaults::NONE };
    let state = SimDiskState::new(1, options, faults.clone());
    let bench = Bench::new(&state, 1);
    let disk = bench.shard.disk();
    bench.run(async move {
        let file = disk.open("f", CREATE).await.expect("open");
        let full = file.write_at(0, testing::buffer(&[1; 20_000])).await.expect_err("larger than the disk");
        assert_eq!(full.kind, DiskErrorKind::Full);
        file.write_at(0, testing::buffer(b"x")).await.expect("small enough");
        assert_eq!(file.sync().await.expect_err("told to fail").kind, DiskErrorKind::Io);
        assert_eq!(file.read_at(0, 1).await.expect_err("poisoned").kind, DiskErrorKind::Poisoned);
    });
    assert_eq!(faults.counts()[&Fault::SyncError], 1);
    assert_eq!(faults.counts()[&Fault::DiskFull], 1);
}
