//! A shard for one task over the data directory, run to its end on the caller's thread: what a node reads before its shards
//! exist (its identity).

use crate::clock::Clock;
use crate::data_dir::DataDir;
use crate::disk::{DiskPool, RealDisk};
use holon_base::{NodeId, ShardId};
use holon_kernel::limits::POLLS_PER_TURN;
use holon_kernel::{Class, DiskClient, Envelope, LocalFuture, Order, Router, Scope, Shard, ShardOptions};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, mpsc};

/// A task of disk operations only: nobody here delivers envelopes or timers.
struct NoRouter;

impl Router for NoRouter {
    fn send(&mut self, _: Envelope) {}
}

/// `None` if the task waits for something that is not the disk.
pub fn run_on_disk<T: 'static>(
    data: &Arc<DataDir>,
    pool: &Arc<DiskPool>,
    clock: Clock,
    task: impl FnOnce(DiskClient) -> LocalFuture<T>,
) -> Option<T> {
    let (sender, completed) = mpsc::channel();
    // A completion nobody waits for any more is dropped.
    let completions = Arc::new(move |id, result| drop(sender.send((id, result))));
    let disk = RealDisk::new(data.clone(), pool.clone(), completions);
    let shard = Shard::new(ShardOptions {
        node: NodeId(0),
        shard: ShardId(0),
        shards: 1,
        seed: 0,
        order: Order::FirstCome,
        disk: Box::new(disk),
        router: Box::new(NoRouter),
        now: clock.now(),
        wall: clock.wall(),
        clock: Arc::default(),
    });
    let output = Rc::new(RefCell::new(None));
    let (place, work) = (output.clone(), task(shard.disk()));
    shard.spawn(Scope::Node, Class::Foreground, async move {
        let value = work.await;
        *place.borrow_mut() = Some(value);
    });
    loop {
        while shard.run_ready(POLLS_PER_TURN) {}
        if let Some(value) = output.borrow_mut().take() {
            return Some(value);
        }
        let (id, result) = completed.recv_timeout(std::time::Duration::from_secs(60)).ok()?;
        shard.complete_disk(id, result);
    }
}
