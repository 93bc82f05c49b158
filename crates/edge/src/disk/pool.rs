//! The disk threads: a bounded pool, started as needed, shared by all shards of a node.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
}

/// Runs jobs first come, first served on at most so many threads. What is queued is bounded by what the shards have in
/// flight, which their own budgets bound. Threads end when the pool is dropped and the queue is empty.
pub struct DiskPool {
    shared: Arc<Shared>,
    threads_max: usize,
}

impl DiskPool {
    /// # Panics
    /// If no thread may be started.
    pub fn new(threads_max: usize) -> Arc<DiskPool> {
        assert!(threads_max > 0, "a disk pool without threads never completes anything");
        let shared = Shared { queue: Mutex::default(), ready: Condvar::new() };
        Arc::new(DiskPool { shared: Arc::new(shared), threads_max })
    }

    pub(crate) fn submit(&self, job: Job) {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.jobs.push_back(job);
        let start = queue.idle < queue.jobs.len() && queue.threads < self.threads_max;
        if start {
            queue.threads += 1;
        }
        drop(queue);
        if start {
            self.start_thread();
        } else {
            self.shared.ready.notify_one();
        }
    }

    fn start_thread(&self) {
        let shared = self.shared.clone();
        let started = std::thread::Builder::new().name("disk".to_string()).spawn(move || work(&shared));
        if let Err(error) = started {
            // The threads that run already do the work; only if there is none, nobody would.
            let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.threads -= 1;
            assert!(queue.threads > 0, "cannot start a disk thread: {error}");
        }
    }

    /// Operations that wait for a thread.
    pub fn queued(&self) -> usize {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).jobs.len()
    }
}

impl Drop for DiskPool {
    fn drop(&mut self) {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.shared.ready.notify_all();
    }
}

fn work(shared: &Shared) {
    let mut queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(job) = queue.jobs.pop_front() {
            drop(queue);
            job();
            queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        } else if queue.closed {
            return;
        } else {
            queue.idle += 1;
            queue = shared.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }
}
