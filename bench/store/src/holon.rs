//! Holon's engine on a shard of its own, over the disk that a node uses.

use crate::workload::{Plan, SCAN_ROWS, SYNC_CLIENTS, Store, key, value};
use holon_base::{NodeId, ShardId, TabletId};
use holon_edge::{Clock, DataDir, DiskPool, RealDisk};
use holon_kernel::{
    Class, DiskResult, Envelope, OperationId, Order, Router, Scope, Shard, ShardOptions, limits::POLLS_PER_TURN,
};
use holon_store::{
    Cell, CellEntry, Durability, Engine, EngineOptions, KeyRange, Mutation, Row, ScanOptions, TabletOptions,
};
use std::cell::RefCell;
use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

const TABLET: TabletId = TabletId(1 << 16);
const EXPECT: &str = "the engine works";
/// Operations of one task before the work of a phase goes on in another: keeps the list of numbers short.
const BATCH: usize = 100_000;

struct NoRouter;

impl Router for NoRouter {
    fn send(&mut self, _: Envelope) {}
}

pub struct Holon {
    shard: Rc<Shard>,
    clock: Clock,
    completed: mpsc::Receiver<(OperationId, DiskResult)>,
    engine: Engine,
    value_bytes: usize,
}

fn block_on<T: 'static>(
    shard: &Rc<Shard>,
    clock: &Clock,
    completed: &mpsc::Receiver<(OperationId, DiskResult)>,
    work: impl Future<Output = T> + 'static,
) -> T {
    let output = Rc::new(RefCell::new(None));
    let place = output.clone();
    shard.spawn(Scope::Node, Class::Foreground, async move {
        let value = work.await;
        *place.borrow_mut() = Some(value);
    });
    loop {
        clock.advance(shard);
        let busy = shard.run_ready(POLLS_PER_TURN);
        if let Some(value) = output.borrow_mut().take() {
            return value;
        }
        if let Some(reason) = shard.stopped() {
            panic!("the shard stopped: {reason}");
        }
        let mut first = None;
        if !busy {
            let wait = shard.next_deadline().map_or(Duration::from_millis(100), |due| due.since(clock.now()));
            first = completed.recv_timeout(wait).ok();
        }
        for (id, result) in first.into_iter().chain(completed.try_iter()) {
            shard.complete_disk(id, result);
        }
    }
}

impl Holon {
    pub fn open(directory: &Path, plan: &Plan) -> Self {
        let data = Arc::new(DataDir::open(&directory.join("data")).expect(EXPECT));
        let (sender, completed) = mpsc::channel();
        let completions = Arc::new(move |id, result| drop(sender.send((id, result))));
        let clock = Clock::start();
        let shard = Shard::new(ShardOptions {
            node: NodeId(1),
            shard: ShardId(0),
            shards: 1,
            seed: 1,
            order: Order::FirstCome,
            disk: Box::new(RealDisk::new(data, DiskPool::new(2), completions)),
            router: Box::new(NoRouter),
            now: clock.now(),
            wall: clock.wall(),
        });
        let mut options = EngineOptions::new(1, 0, 1);
        options.cache_bytes = plan.cache_bytes;
        // As much as RocksDB's two write buffers of 64 MiB.
        options.memtable_bytes = 128 << 20;
        let block_bytes = plan.block_bytes;
        options.tablet_options = Rc::new(move |_| TabletOptions { block_bytes, ..TabletOptions::default() });
        let handle = shard.clone();
        let opening = async move {
            let engine = Engine::open(handle, options).await.expect(EXPECT);
            engine.recover().await.expect(EXPECT);
            engine.create_tablet(TABLET).await.expect(EXPECT);
            engine
        };
        let engine = block_on(&shard, &clock, &completed, opening);
        Holon { shard, clock, completed, engine, value_bytes: plan.value_bytes }
    }

    fn run<T: 'static, F: Future<Output = T> + 'static>(&self, work: impl FnOnce(Engine) -> F) -> T {
        block_on(&self.shard, &self.clock, &self.completed, work(self.engine.clone()))
    }

    fn batches(&self, numbers: &mut dyn Iterator<Item = u64>, mut each: impl FnMut(Vec<u64>)) {
        loop {
            let batch: Vec<u64> = numbers.take(BATCH).collect();
            if batch.is_empty() {
                return;
            }
            each(batch);
        }
    }

    fn now_seconds(&self) -> i64 {
        self.clock.wall().seconds()
    }
}

fn mutation(number: u64, seed: u64, timestamp: i64, value_bytes: usize) -> Mutation {
    let cell = Cell::live(timestamp, value(seed, value_bytes));
    let row = Row { cells: vec![CellEntry::new(1, cell)], ..Row::default() };
    Mutation::row(key(number), &row).expect(EXPECT)
}

impl Store for Holon {
    fn load(&self, numbers: &mut dyn Iterator<Item = u64>) {
        let (bytes, shard) = (self.value_bytes, self.shard.clone());
        self.batches(numbers, |batch| {
            let shard = shard.clone();
            self.run(|engine| async move {
                for number in batch {
                    let mutation = mutation(number, number, shard.timestamp_micros(), bytes);
                    engine.write(TABLET, mutation, Durability::Periodic).await.expect(EXPECT);
                }
            });
        });
    }

    fn write_synced(&self, from: u64, count: u64) {
        let (bytes, shard) = (self.value_bytes, self.shard.clone());
        self.run(|engine| async move {
            let client = |client: u64| {
                let (engine, shard) = (engine.clone(), shard.clone());
                async move {
                    for number in (from..from + count).filter(|number| number % SYNC_CLIENTS == client) {
                        let mutation = mutation(number, number, shard.timestamp_micros(), bytes);
                        engine.write(TABLET, mutation, Durability::Sync).await.expect(EXPECT);
                    }
                }
            };
            holon_kernel::join_all((0..SYNC_CLIENTS).map(client)).await;
        });
    }

    fn rest(&self, time: Duration) {
        let shard = self.shard.clone();
        self.run(|_| async move { shard.sleep(time).await });
    }

    fn settle(&self) {
        self.run(|engine| async move { engine.compact(TABLET, |_| ()).await.expect(EXPECT) });
    }

    fn read(&self, numbers: &mut dyn Iterator<Item = u64>) -> u64 {
        let now = self.now_seconds();
        let mut found = 0;
        self.batches(numbers, |batch| {
            found += self.run(|engine| async move {
                let mut found = 0;
                for number in batch {
                    let row = engine.get(TABLET, &key(number), now).await.expect(EXPECT);
                    found += u64::from(row.is_some());
                }
                found
            });
        });
        found
    }

    fn scan(&self, numbers: &mut dyn Iterator<Item = u64>) -> u64 {
        let options = ScanOptions { rows_max: SCAN_ROWS, ..ScanOptions::new(self.now_seconds()) };
        let mut bytes = 0;
        self.batches(numbers, |batch| {
            bytes += self.run(|engine| async move {
                let mut bytes = 0;
                for number in batch {
                    let range = KeyRange { start: key(number).to_vec().into(), end: None };
                    let page = engine.scan(TABLET, range, options).await.expect(EXPECT);
                    bytes += page.rows.iter().map(|(key, row)| (key.len() + row.value_bytes()) as u64).sum::<u64>();
                }
                bytes
            });
        });
        bytes
    }

    fn mix(&self, numbers: &mut dyn Iterator<Item = u64>) {
        let (bytes, shard, now) = (self.value_bytes, self.shard.clone(), self.now_seconds());
        self.batches(numbers, |batch| {
            let shard = shard.clone();
            self.run(|engine| async move {
                for (index, number) in batch.into_iter().enumerate() {
                    if index % 5 == 4 {
                        engine.get(TABLET, &key(number), now).await.expect(EXPECT);
                    } else {
                        let mutation = mutation(number, index as u64, shard.timestamp_micros(), bytes);
                        engine.write(TABLET, mutation, Durability::Periodic).await.expect(EXPECT);
                    }
                }
            });
        });
    }
}
