//! The executor of a shard: tasks in three classes, polled in weighted turns.
//!
//! Tasks are made ready by tickets only. In production the order is first come, first served within a class; the simulator
//! permutes it by seed, so that no code comes to rely on an order nobody promised.

use holon_base::{Random, TabletId};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// What a task belongs to, and with what it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Lives until the shard stops.
    Node,
    /// Ends when the tablet leaves this shard.
    Tablet(TabletId),
    /// The requests of one client session; they end with it.
    Session(u64),
}

/// How the turns are dealt: a round polls up to [`Class::weight`] tasks of each class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    Foreground,
    Replication,
    Background,
}

impl Class {
    const ALL: [Class; 3] = [Class::Foreground, Class::Replication, Class::Background];

    /// Polls a round. A background task works ≤ 256 KiB a slice, so a round of each class costs about the same time.
    const fn weight(self) -> usize {
        match self {
            Class::Foreground => 64,
            Class::Replication => 16,
            Class::Background => 1,
        }
    }
}

/// Where a round stands, for whoever polls few tasks at a time and wants the classes to have their shares all the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    class: usize,
    polls: usize,
}

/// The order in which ready tasks of a class are polled.
pub enum Order {
    FirstCome,
    Permuted(Random),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskId {
    index: u32,
    generation: u32,
    class: Class,
}

/// The ready tasks. Shared with every ticket, so that completing one needs nothing else.
pub(crate) struct RunQueue {
    ready: RefCell<[VecDeque<TaskId>; 3]>,
    current: Cell<Option<TaskId>>,
    running: Cell<bool>,
    notify: RefCell<Option<Box<dyn Fn()>>>,
}

impl RunQueue {
    pub(crate) fn new() -> Self {
        RunQueue {
            ready: RefCell::default(),
            current: Cell::new(None),
            running: Cell::new(false),
            notify: RefCell::new(None),
        }
    }

    pub(crate) fn current(&self) -> Option<TaskId> {
        self.current.get()
    }

    pub(crate) fn set_notify(&self, notify: Box<dyn Fn()>) {
        *self.notify.borrow_mut() = Some(notify);
    }

    pub(crate) fn wake(&self, task: TaskId) {
        self.ready.borrow_mut()[task.class as usize].push_back(task);
        if !self.running.get()
            && let Some(notify) = &*self.notify.borrow()
        {
            notify();
        }
    }

    fn pop(&self, class: Class, order: &mut Order) -> Option<TaskId> {
        let queue = &mut self.ready.borrow_mut()[class as usize];
        match order {
            Order::FirstCome => queue.pop_front(),
            Order::Permuted(random) => {
                if queue.is_empty() {
                    return None;
                }
                queue.swap_remove_back(random.below(queue.len() as u64) as usize)
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ready.borrow().iter().all(VecDeque::is_empty)
    }
}

type TaskFuture = Pin<Box<dyn Future<Output = ()>>>;

struct Entry {
    generation: u32,
    scope: Scope,
    /// `None` while it is being polled.
    future: Option<TaskFuture>,
    alive: bool,
}

pub(crate) struct Executor {
    queue: std::rc::Rc<RunQueue>,
    entries: RefCell<Vec<Entry>>,
    free: RefCell<Vec<u32>>,
    order: RefCell<Order>,
    /// Polls since the start, for metrics and for the traces of the simulator.
    polls: Cell<u64>,
}

impl Executor {
    pub(crate) fn new(order: Order) -> Self {
        Executor {
            queue: std::rc::Rc::new(RunQueue::new()),
            entries: RefCell::default(),
            free: RefCell::default(),
            order: RefCell::new(order),
            polls: Cell::new(0),
        }
    }

    pub(crate) fn queue(&self) -> &std::rc::Rc<RunQueue> {
        &self.queue
    }

    pub(crate) fn polls(&self) -> u64 {
        self.polls.get()
    }

    /// Tasks that have not ended.
    pub(crate) fn live(&self) -> usize {
        self.entries.borrow().len() - self.free.borrow().len()
    }

    pub(crate) fn spawn(&self, scope: Scope, class: Class, future: TaskFuture) {
        let mut entries = self.entries.borrow_mut();
        let (index, generation) = match self.free.borrow_mut().pop() {
            Some(index) => {
                let entry = &mut entries[index as usize];
                entry.scope = scope;
                entry.future = Some(future);
                entry.alive = true;
                (index, entry.generation)
            }
            None => {
                entries.push(Entry { generation: 0, scope, future: Some(future), alive: true });
                ((entries.len() - 1) as u32, 0)
            }
        };
        drop(entries);
        self.queue.wake(TaskId { index, generation, class });
    }

    /// Drops every task of a scope. The one being polled, if it is of this scope, ends at its next await.
    pub(crate) fn cancel(&self, scope: Scope) {
        let doomed: Vec<u32> = {
            let entries = self.entries.borrow();
            let matching = entries.iter().enumerate().filter(|(_, entry)| entry.alive && entry.scope == scope);
            matching.map(|(index, _)| index as u32).collect()
        };
        for index in doomed {
            let future = {
                let entry = &mut self.entries.borrow_mut()[index as usize];
                entry.alive = false;
                entry.future.take()
            };
            if future.is_some() {
                self.release(index);
            }
            // Dropped here, with nothing borrowed: a drop may complete tickets and give back permits.
            drop(future);
        }
    }

    pub(crate) fn cancel_all(&self) {
        let scopes: Vec<Scope> = self.entries.borrow().iter().filter(|e| e.alive).map(|e| e.scope).collect();
        scopes.into_iter().for_each(|scope| self.cancel(scope));
    }

    fn release(&self, index: u32) {
        let entry = &mut self.entries.borrow_mut()[index as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.alive = false;
        self.free.borrow_mut().push(index);
    }

    /// Polls ready tasks until none is left or `polls_max` were made; true if some are still ready.
    pub(crate) fn run_ready(&self, polls_max: usize, turn: &mut Turn) -> bool {
        if self.queue.running.replace(true) {
            return true; // called from within a task: the outer call goes on
        }
        let mut polls = 0;
        while polls < polls_max
            && let Some(task) = self.next_of(turn)
        {
            self.poll(task);
            polls += 1;
        }
        self.queue.running.set(false);
        self.polls.set(self.polls.get() + polls as u64);
        !self.queue.is_empty()
    }

    /// The next ready task of a round, or of the one after it.
    fn next_of(&self, turn: &mut Turn) -> Option<TaskId> {
        for _ in 0..=Class::ALL.len() {
            let class = Class::ALL[turn.class];
            if turn.polls < class.weight()
                && let Some(task) = self.queue.pop(class, &mut self.order.borrow_mut())
            {
                turn.polls += 1;
                return Some(task);
            }
            *turn = Turn { class: (turn.class + 1) % Class::ALL.len(), polls: 0 };
        }
        None
    }

    fn poll(&self, task: TaskId) {
        let future = {
            let mut entries = self.entries.borrow_mut();
            match entries.get_mut(task.index as usize) {
                Some(entry) if entry.alive && entry.generation == task.generation => entry.future.take(),
                _ => None, // it ended after it was made ready
            }
        };
        let Some(mut future) = future else { return };
        self.queue.current.set(Some(task));
        let outcome = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        self.queue.current.set(None);
        let ended = outcome.is_ready() || !self.entries.borrow()[task.index as usize].alive;
        if ended {
            drop(future);
            self.release(task.index);
        } else {
            self.entries.borrow_mut()[task.index as usize].future = Some(future);
        }
    }
}

/// Gives the turn to other ready tasks once.
pub(crate) struct Yield {
    pub(crate) queue: std::rc::Rc<RunQueue>,
    pub(crate) yielded: bool,
}

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        if let Some(task) = self.queue.current() {
            self.queue.wake(task);
        }
        Poll::Pending
    }
}
