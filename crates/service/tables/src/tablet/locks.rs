//! One holder at a time per partition, first come, first served.

use bytes::Bytes;
use holon_kernel::{Completer, Shard};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

type Waiting = RefCell<BTreeMap<Bytes, VecDeque<Completer<()>>>>;

#[derive(Clone, Default)]
pub struct Locks {
    /// The keys that are held, with who waits for them.
    held: Rc<Waiting>,
}

/// Dropping it lets the next in line go on.
pub struct LockGuard {
    held: Rc<Waiting>,
    key: Bytes,
}

impl Locks {
    pub async fn acquire(&self, shard: &Shard, key: Bytes) -> LockGuard {
        let waiter = match self.held.borrow_mut().entry(key.clone()) {
            std::collections::btree_map::Entry::Vacant(vacant) => {
                vacant.insert(VecDeque::new());
                None
            }
            std::collections::btree_map::Entry::Occupied(mut occupied) => {
                let (completer, ticket) = shard.ticket();
                occupied.get_mut().push_back(completer);
                Some(ticket)
            }
        };
        if let Some(waiter) = waiter {
            // Completers are completed by the guard before; they are never dropped while the lock exists.
            let _ = waiter.await;
        }
        LockGuard { held: self.held.clone(), key }
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        let mut held = self.held.borrow_mut();
        let Some(waiting) = held.get_mut(&self.key) else { return };
        while let Some(next) = waiting.pop_front() {
            if !next.is_abandoned() {
                drop(held);
                next.complete(());
                return;
            }
        }
        held.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holon_kernel::testing::{MemoryDisk, TestShard};
    use holon_kernel::{Class, Scope};

    #[test]
    fn one_at_a_time_in_the_order_of_asking_and_the_dead_are_passed_over() {
        let test = TestShard::new(MemoryDisk::new());
        let locks = Locks::default();
        let order = Rc::new(RefCell::new(Vec::new()));
        for (number, session) in [(1, 1), (2, 2), (3, 1)] {
            let (shard, locks, order) = (test.shard.clone(), locks.clone(), order.clone());
            test.shard.spawn(Scope::Session(session), Class::Foreground, async move {
                let guard = locks.acquire(&shard, Bytes::from_static(b"k")).await;
                order.borrow_mut().push(number);
                shard.sleep(std::time::Duration::from_secs(1)).await;
                order.borrow_mut().push(-number);
                drop(guard);
            });
        }
        test.advance(std::time::Duration::from_millis(500));
        test.shard.cancel(Scope::Session(2));
        test.advance(std::time::Duration::from_secs(5));
        assert_eq!(*order.borrow(), [1, -1, 3, -3]);
        assert!(locks.held.borrow().is_empty());
    }
}
