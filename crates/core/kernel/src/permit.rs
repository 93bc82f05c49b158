//! Permits: memory (or slots) taken from a share of the shard before it is used, and given back on drop.

use crate::executor::RunQueue;
use crate::ticket::{Completer, ticket};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// A share with a capacity. Cheap to clone; all clones are the same share.
#[derive(Clone)]
pub struct Pool {
    inner: Rc<Inner>,
}

struct Inner {
    name: &'static str,
    capacity: Cell<usize>,
    used: Cell<usize>,
    used_max: Cell<usize>,
    refused: Cell<u64>,
    waiting: RefCell<VecDeque<(usize, Completer<Permit>)>>,
    queue: Rc<RunQueue>,
}

impl Pool {
    pub(crate) fn new(queue: &Rc<RunQueue>, name: &'static str, capacity: usize) -> Self {
        let inner = Inner {
            name,
            capacity: Cell::new(capacity),
            used: Cell::new(0),
            used_max: Cell::new(0),
            refused: Cell::new(0),
            waiting: RefCell::default(),
            queue: queue.clone(),
        };
        Pool { inner: Rc::new(inner) }
    }

    pub fn name(&self) -> &'static str {
        self.inner.name
    }

    pub fn capacity(&self) -> usize {
        self.inner.capacity.get()
    }

    pub fn used(&self) -> usize {
        self.inner.used.get()
    }

    pub fn used_max(&self) -> usize {
        self.inner.used_max.get()
    }

    /// How often [`Pool::try_acquire`] said no.
    pub fn refused(&self) -> u64 {
        self.inner.refused.get()
    }

    /// `None` when the share is used up or others wait already: shed load, say Overloaded.
    pub fn try_acquire(&self, amount: usize) -> Option<Permit> {
        let free = self.capacity().saturating_sub(self.used());
        if amount > free || !self.inner.waiting.borrow().is_empty() {
            self.inner.refused.set(self.inner.refused.get() + 1);
            return None;
        }
        Some(self.take(amount))
    }

    /// Waits in line. An amount above the capacity is granted when the share is otherwise unused, so that it cannot wait
    /// for ever.
    pub async fn acquire(&self, amount: usize) -> Permit {
        if self.inner.waiting.borrow().is_empty() && self.fits(amount) {
            return self.take(amount);
        }
        let (completer, waiter) = ticket(&self.inner.queue);
        self.inner.waiting.borrow_mut().push_back((amount, completer));
        // The share outlives its waiters (this clone holds it), so its completers are never dropped unanswered.
        waiter.await.unwrap_or_else(|_| self.take(amount))
    }

    /// Takes without asking: for memory that is used already. May go above the capacity; others then wait.
    pub fn take(&self, amount: usize) -> Permit {
        let used = self.used() + amount;
        self.inner.used.set(used);
        self.inner.used_max.set(self.used_max().max(used));
        Permit { pool: self.clone(), amount }
    }

    fn fits(&self, amount: usize) -> bool {
        self.used() == 0 || self.used() + amount <= self.capacity()
    }

    fn release(&self, amount: usize) {
        self.inner.used.set(self.used() - amount);
        loop {
            let next = {
                let mut waiting = self.inner.waiting.borrow_mut();
                match waiting.front() {
                    Some((_, completer)) if completer.is_abandoned() => {
                        waiting.pop_front();
                        continue;
                    }
                    Some((amount, _)) if self.fits(*amount) => waiting.pop_front(),
                    _ => None,
                }
            };
            let Some((amount, completer)) = next else { return };
            completer.complete(self.take(amount));
        }
    }
}

/// What was taken; dropping it gives it back.
pub struct Permit {
    pool: Pool,
    amount: usize,
}

impl Permit {
    pub fn amount(&self) -> usize {
        self.amount
    }

    /// Takes another permit of the same share into this one.
    pub fn merge(&mut self, mut other: Permit) {
        debug_assert!(Rc::ptr_eq(&self.pool.inner, &other.pool.inner), "permits of two shares");
        self.amount += std::mem::take(&mut other.amount);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.amount > 0 {
            self.pool.release(self.amount);
        }
    }
}
