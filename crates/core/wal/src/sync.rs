//! Syncing, and what follows when it fails: the shard stops. It is never retried, because after a failed sync nobody
//! knows what the medium holds. Also a mutex and a signal for tasks, made of tickets.

use crate::error::WalError;
use holon_kernel::{Completer, DiskFile, Shard, Ticket};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

pub async fn sync_or_stop(shard: &Shard, file: &DiskFile) -> Result<(), WalError> {
    match file.sync().await {
        Ok(()) => Ok(()),
        Err(error) => Err(stop(shard, format!("a sync failed and is not retried: {error}"))),
    }
}

pub async fn sync_dir_or_stop(shard: &Shard, path: &str) -> Result<(), WalError> {
    match shard.disk().sync_dir(path).await {
        Ok(()) => Ok(()),
        Err(error) => Err(stop(shard, format!("a sync failed and is not retried: {error}"))),
    }
}

pub fn stop(shard: &Shard, reason: String) -> WalError {
    shard.stop(reason.clone());
    WalError::Stopped { reason }
}

/// Wakes whoever waits. Not a counter: check the condition, then wait.
pub struct Signal {
    waiting: RefCell<Vec<Completer<()>>>,
    /// Those who gave up waiting are cleared out when there are so many.
    clear_at: Cell<usize>,
}

impl Default for Signal {
    fn default() -> Self {
        Self::new()
    }
}

impl Signal {
    pub fn new() -> Self {
        Signal { waiting: RefCell::default(), clear_at: Cell::new(16) }
    }

    pub fn wait(&self, shard: &Shard) -> Ticket<()> {
        let (completer, ticket) = shard.ticket();
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= self.clear_at.get() {
            waiting.retain(|completer| !completer.is_abandoned());
            self.clear_at.set(waiting.len().max(8) * 2);
        }
        waiting.push(completer);
        ticket
    }

    pub fn notify(&self) {
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        for completer in waiting {
            completer.complete(());
        }
    }
}

/// A mutex over awaits, first come, first served. Its guard is released by dropping it, also when its task is
/// cancelled.
pub struct Gate {
    state: Rc<GateState>,
}

struct GateState {
    held: Cell<bool>,
    waiting: RefCell<VecDeque<Completer<GateGuard>>>,
}

pub struct GateGuard {
    state: Option<Rc<GateState>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    pub fn new() -> Self {
        Gate { state: Rc::new(GateState { held: Cell::new(false), waiting: RefCell::default() }) }
    }

    pub async fn enter(&self, shard: &Shard) -> Result<GateGuard, WalError> {
        if !self.state.held.replace(true) {
            return Ok(GateGuard { state: Some(self.state.clone()) });
        }
        let (completer, ticket) = shard.ticket();
        self.state.waiting.borrow_mut().push_back(completer);
        ticket.await.map_err(|_| WalError::Stopped { reason: "the engine was dropped".into() })
    }

    pub fn is_held(&self) -> bool {
        self.state.held.get()
    }
}

impl Drop for GateGuard {
    fn drop(&mut self) {
        let Some(state) = self.state.take() else { return };
        // Passing the guard through a ticket: if the one who waited is gone, dropping the guard comes back here.
        let next = loop {
            match state.waiting.borrow_mut().pop_front() {
                Some(completer) if completer.is_abandoned() => {}
                other => break other,
            }
        };
        match next {
            Some(completer) => completer.complete(GateGuard { state: Some(state) }),
            None => state.held.set(false),
        }
    }
}
