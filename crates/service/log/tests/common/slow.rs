//! A disk whose operations are done at once and are known to be done later, in any order, so that other tasks come between.

use super::{PowerDisk, World, options};
use holon_base::Random;
use holon_kernel::disk::{DiskOperation, DiskResult, OperationId};
use holon_kernel::testing::{MemoryDisk, TestShard};
use holon_kernel::{Class, Disk, Scope};
use holon_log::store::{LogStore, StoreOptions};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

type Waiting = Rc<RefCell<Vec<(OperationId, DiskResult)>>>;

struct SlowDisk {
    disk: MemoryDisk,
    waiting: Waiting,
}

impl Disk for SlowDisk {
    fn submit(&mut self, id: OperationId, operation: DiskOperation) -> Option<DiskResult> {
        let result = self.disk.submit(id, operation)?;
        self.waiting.borrow_mut().push((id, result));
        None
    }
}

impl World {
    pub fn slow(seed: u64, adjust: fn(&mut StoreOptions)) -> World {
        let (disk, waiting) = (MemoryDisk::new(), Waiting::default());
        let shard = TestShard::with_disk(Box::new(SlowDisk { disk: disk.clone(), waiting: waiting.clone() }));
        let (handle, clock, mut random) = (shard.shard.clone(), shard.shard.clone(), Random::new(seed));
        shard.shard.spawn(Scope::Node, Class::Foreground, async move {
            loop {
                clock.sleep(Duration::from_micros(50)).await;
                let mut all = std::mem::take(&mut *waiting.borrow_mut());
                random.shuffle(&mut all);
                let later = all.split_off(all.len().div_ceil(2));
                waiting.borrow_mut().extend(later);
                all.into_iter().for_each(|(id, result)| clock.complete_disk(id, result));
            }
        });
        let mut options = options(1);
        adjust(&mut options);
        let opened = shard.block_on(async move {
            let store = LogStore::open(handle, options).await?;
            let report = store.recover().await?;
            Ok::<_, holon_log::store::LogError>((store, report))
        });
        let (store, report) = opened.expect("opens");
        World { disk: disk.clone(), boot: 1, shard, store, report, power: PowerDisk::new(disk), adjust }
    }
}
