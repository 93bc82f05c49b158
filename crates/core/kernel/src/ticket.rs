//! One-shot values that tasks wait for: the only thing a task can await (with timers, which are tickets too).
//!
//! A ticket knows the run queue of its shard, so completing it makes the waiting task ready without a waker, a lock or an
//! atomic. Tickets are not for other executors: the waker in the context is ignored.

use crate::executor::{RunQueue, TaskId};
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// The completer was dropped: whoever was to answer is gone (its scope ended, or the shard stopped).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cancelled: the task that was to answer has ended")]
pub struct Cancelled;

struct Slot<T> {
    value: Option<Result<T, Cancelled>>,
    waiter: Option<TaskId>,
    queue: Rc<RunQueue>,
}

/// The waiting end.
#[must_use = "a ticket does nothing unless awaited"]
pub struct Ticket<T> {
    slot: Rc<RefCell<Slot<T>>>,
}

/// The answering end. Dropping it answers [`Cancelled`].
pub struct Completer<T> {
    slot: Option<Rc<RefCell<Slot<T>>>>,
}

pub(crate) fn ticket<T>(queue: &Rc<RunQueue>) -> (Completer<T>, Ticket<T>) {
    let slot = Rc::new(RefCell::new(Slot { value: None, waiter: None, queue: queue.clone() }));
    (Completer { slot: Some(slot.clone()) }, Ticket { slot })
}

impl<T> Completer<T> {
    pub fn complete(mut self, value: T) {
        if let Some(slot) = self.slot.take() {
            answer(&slot, Ok(value));
        }
    }

    /// Nobody waits any more.
    pub fn is_abandoned(&self) -> bool {
        self.slot.as_ref().is_none_or(|slot| Rc::strong_count(slot) == 1)
    }
}

impl<T> Drop for Completer<T> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            answer(&slot, Err(Cancelled));
        }
    }
}

fn answer<T>(slot: &RefCell<Slot<T>>, value: Result<T, Cancelled>) {
    let (waiter, queue) = {
        let mut slot = slot.borrow_mut();
        slot.value = Some(value);
        (slot.waiter.take(), slot.queue.clone())
    };
    if let Some(task) = waiter {
        queue.wake(task);
    }
}

impl<T> Ticket<T> {
    /// The answer, if it is there already.
    pub fn try_take(&mut self) -> Option<Result<T, Cancelled>> {
        self.slot.borrow_mut().value.take()
    }
}

impl<T> Future for Ticket<T> {
    type Output = Result<T, Cancelled>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.slot.borrow_mut();
        if let Some(value) = slot.value.take() {
            return Poll::Ready(value);
        }
        slot.waiter = slot.queue.current();
        Poll::Pending
    }
}

/// A future, and what came of it.
type Running<F> = (Pin<Box<F>>, Option<<F as Future>::Output>);

/// Completes with the first of them that does; never, if there are none.
pub async fn any_of<F: Future + Unpin>(mut futures: Vec<F>) -> F::Output {
    std::future::poll_fn(move |context| {
        let ready = futures.iter_mut().find_map(|future| match Pin::new(future).poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        });
        ready.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// Runs futures side by side inside one task and gives their results in the order given.
pub async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<Running<F>> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut waiting = false;
        for (future, output) in running.iter_mut().filter(|(_, output)| output.is_none()) {
            match future.as_mut().poll(context) {
                Poll::Ready(value) => *output = Some(value),
                Poll::Pending => waiting = true,
            }
        }
        if waiting { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    running.into_iter().filter_map(|(_, output)| output).collect()
}
