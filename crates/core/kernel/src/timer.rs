//! Timers: tickets completed by the passing of the shard's monotonic time.

use crate::executor::RunQueue;
use crate::ticket::{Cancelled, Completer, Ticket, ticket};
use holon_base::Instant;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// The deadline passed before the work was done. The work may still take effect: its outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("deadline passed")]
pub struct Elapsed;

#[derive(Default)]
pub(crate) struct Timers {
    waiting: RefCell<BTreeMap<(Instant, u64), Completer<()>>>,
    sequence: Cell<u64>,
}

impl Timers {
    pub(crate) fn sleep_until(self: &Rc<Self>, queue: &Rc<RunQueue>, deadline: Instant) -> Sleep {
        let sequence = self.sequence.get();
        self.sequence.set(sequence + 1);
        let (completer, ticket) = ticket(queue);
        self.waiting.borrow_mut().insert((deadline, sequence), completer);
        Sleep { ticket, key: (deadline, sequence), timers: self.clone() }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.borrow().first_key_value().map(|((deadline, _), _)| *deadline)
    }

    pub(crate) fn fire(&self, now: Instant) {
        loop {
            let due = {
                let mut waiting = self.waiting.borrow_mut();
                match waiting.first_entry() {
                    Some(entry) if entry.key().0 <= now => entry.remove(),
                    _ => return,
                }
            };
            due.complete(());
        }
    }
}

/// Ends when its deadline has come. Dropping it forgets the timer.
pub struct Sleep {
    ticket: Ticket<()>,
    key: (Instant, u64),
    timers: Rc<Timers>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.ticket).poll(context).map(|fired: Result<(), Cancelled>| fired.unwrap_or(()))
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let forgotten = self.timers.waiting.borrow_mut().remove(&self.key);
        drop(forgotten);
    }
}
