//! What reaches a shard's thread from others: envelopes of other shards, disk completions, connections, calls.

use crate::connection::Accepted;
use holon_kernel::{DiskResult, Envelope, OperationId, Shard};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Runs on the shard's thread, between two turns.
pub(crate) type Call = Box<dyn FnOnce(&Rc<Shard>) + Send>;

pub(crate) enum Input {
    Envelope(Envelope),
    Disk(OperationId, DiskResult),
    Connection(Accepted),
    Call(Call),
    /// Connections are to end: finish what is in flight, write it, close.
    Drain,
}

/// Filled by any thread, emptied by the shard's own; filling an empty one wakes it (once).
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    notify: tokio::sync::Notify,
    envelopes_max: usize,
    envelopes_lost: AtomicU64,
}

#[derive(Default)]
struct Queue {
    inputs: VecDeque<Input>,
    envelopes: usize,
    closed: bool,
}

impl Inbox {
    /// Envelopes beyond `envelopes_max` are lost, as the contract of envelopes allows; their callers see a timeout. Everything
    /// else is bounded where it comes from: operations and calls in flight, connection limits.
    pub(crate) fn new(envelopes_max: usize) -> Inbox {
        Inbox {
            queue: Mutex::default(),
            notify: tokio::sync::Notify::new(),
            envelopes_max,
            envelopes_lost: AtomicU64::new(0),
        }
    }

    pub(crate) fn push(&self, input: Input) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.closed {
            return;
        }
        if matches!(input, Input::Envelope(_)) {
            if queue.envelopes >= self.envelopes_max {
                self.envelopes_lost.fetch_add(1, Ordering::Relaxed);
                return;
            }
            queue.envelopes += 1;
        }
        let was_empty = queue.inputs.is_empty();
        queue.inputs.push_back(input);
        drop(queue);
        if was_empty {
            self.notify.notify_one();
        }
    }

    /// Takes everything, leaving `into`'s room behind for what comes next.
    pub(crate) fn take(&self, into: &mut VecDeque<Input>) {
        debug_assert!(into.is_empty(), "inputs of the last turn were not handled");
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut queue.inputs, into);
        queue.envelopes = 0;
    }

    /// The shard has stopped: what waits and what still comes is dropped, so that whoever asked sees it gone.
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.closed = true;
        let dropped = std::mem::take(&mut queue.inputs);
        drop(queue);
        drop(dropped);
    }

    pub(crate) async fn filled(&self) {
        self.notify.notified().await;
    }

    pub(crate) fn envelopes_lost(&self) -> u64 {
        self.envelopes_lost.load(Ordering::Relaxed)
    }
}
