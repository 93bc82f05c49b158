//! The threads of the shards: each has a tokio runtime in which one future, the driver, runs the shard in turns.

use crate::clock::Clock;
use crate::connection::{Behind, Connections};
use crate::data_dir::DataDir;
use crate::disk::{DiskPool, RealDisk};
use crate::inbox::{Inbox, Input};
use crate::limits::ConnectionTimeouts;
use crate::peers::{Incoming, Peers, ShardRouter};
use crate::signal::Signal;
use holon_base::{Instant, NodeId, ShardId};
use holon_kernel::limits::{CREDIT_PER_PEER_REQUESTS, POLLS_PER_TURN};
use holon_kernel::{Class, LocalFuture, NodeClock, Order, Scope, Shard, ShardOptions};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use thiserror::Error;

pub struct ShardsOptions {
    pub node: NodeId,
    pub shards: u16,
    /// For the shards' own choices, not for secrets.
    pub seed: u64,
    pub data: Arc<DataDir>,
    pub pool: Arc<DiskPool>,
    pub clock: Clock,
    /// Timestamps of data, for all shards.
    pub node_clock: Arc<NodeClock>,
    /// Input and output of the connections of one shard in memory, bytes; beyond it sockets are not read.
    pub connection_bytes_max: usize,
    pub timeouts: ConnectionTimeouts,
    /// The way to other nodes; `None`: there are none.
    pub peers: Option<Arc<Peers>>,
    /// Runs first on each shard's thread.
    pub prepare: Arc<dyn Fn() + Send + Sync>,
    /// A shard has stopped and must not go on: end the process. Called once a shard, on its thread.
    pub stopped: Arc<dyn Fn(ShardId, String) + Send + Sync>,
}

/// The shard's thread has ended.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the shard has stopped")]
pub struct ShardGone;

/// Reaches one shard from any thread.
#[derive(Clone)]
pub struct ShardHandle {
    id: ShardId,
    pub(crate) inbox: Arc<Inbox>,
    /// Connections handed to it and not ended.
    pub(crate) connections: Arc<AtomicUsize>,
    /// Those of other nodes, which are no clients: they stay open until the process ends.
    pub(crate) peer_connections: Arc<AtomicUsize>,
}

impl ShardHandle {
    pub fn id(&self) -> ShardId {
        self.id
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Envelopes lost because the inbox was full.
    pub fn envelopes_lost(&self) -> u64 {
        self.inbox.envelopes_lost()
    }

    /// Runs a task on the shard, as one of the node's own, and waits for what it gives.
    pub async fn run<T: Send + 'static>(
        &self,
        class: Class,
        task: impl FnOnce(Rc<Shard>) -> LocalFuture<T> + Send + 'static,
    ) -> Result<T, ShardGone> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.inbox.push(Input::Call(Box::new(move |shard| {
            let work = task(shard.clone());
            shard.spawn(Scope::Node, class, async move {
                // Whoever asked may have gone; the work was done all the same.
                drop(sender.send(work.await));
            });
        })));
        receiver.await.map_err(|_| ShardGone)
    }

    /// Ends the shard's connections: what is in flight is answered, within [`crate::limits::DRAIN_TIMEOUT`].
    pub fn drain(&self) {
        self.inbox.push(Input::Drain);
    }
}

/// Starts one thread a shard. They run until the process ends.
///
/// # Errors
/// When the system refuses a thread or a reactor.
pub fn start_shards(options: ShardsOptions) -> std::io::Result<Vec<ShardHandle>> {
    // Requests of every other shard and replies to our own: more cannot be in flight.
    let envelopes_max = 2 * CREDIT_PER_PEER_REQUESTS * usize::from(options.shards);
    let inboxes: Vec<Arc<Inbox>> = (0..options.shards).map(|_| Arc::new(Inbox::new(envelopes_max))).collect();
    let options = Arc::new(options);
    let mut handles = Vec::new();
    for number in 0..options.shards {
        let handle = ShardHandle {
            id: ShardId(number),
            inbox: inboxes[usize::from(number)].clone(),
            connections: Arc::default(),
            peer_connections: Arc::default(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (options, inboxes, mine) = (options.clone(), inboxes.clone(), handle.clone());
        std::thread::Builder::new().name(format!("shard-{number}")).spawn(move || {
            (options.prepare)();
            let driver = Driver::new(&options, inboxes, mine);
            let reason = tokio::task::LocalSet::new().block_on(&runtime, driver.run());
            (options.stopped)(ShardId(number), reason);
        })?;
        handles.push(handle);
    }
    Ok(handles)
}

struct Driver {
    shard: Rc<Shard>,
    clock: Clock,
    inbox: Arc<Inbox>,
    ready: Rc<Signal>,
    connections: Rc<Connections>,
    incoming: Option<Rc<Incoming>>,
}

impl Driver {
    fn new(options: &ShardsOptions, inboxes: Vec<Arc<Inbox>>, handle: ShardHandle) -> Driver {
        let inbox = handle.inbox.clone();
        let completions = inbox.clone();
        let disk = RealDisk::new(
            options.data.clone(),
            options.pool.clone(),
            Arc::new(move |id, result| completions.push(Input::Disk(id, result))),
        );
        let seed = options.seed.wrapping_add(u64::from(handle.id.0));
        let router = ShardRouter::new(options.node, handle.id, inboxes.clone(), options.peers.clone(), seed);
        let shard = Shard::new(ShardOptions {
            node: options.node,
            shard: handle.id,
            shards: options.shards,
            seed,
            order: Order::FirstCome,
            disk: Box::new(disk),
            router: Box::new(router),
            now: options.clock.now(),
            wall: options.clock.wall(),
            clock: options.node_clock.clone(),
        });
        let ready = Rc::new(Signal::default());
        let raise = ready.clone();
        shard.set_notify(Box::new(move || raise.raise()));
        let bytes_max = options.connection_bytes_max;
        let connections = Connections::new(shard.clone(), options.clock, bytes_max, options.timeouts);
        let incoming = options
            .peers
            .clone()
            .map(|peers| Rc::new(Incoming { shard: shard.clone(), clock: options.clock, inboxes, peers }));
        Driver { shard, clock: options.clock, inbox, ready, connections, incoming }
    }

    /// Turns until the shard stops; gives the reason.
    async fn run(self) -> String {
        let mut inputs = VecDeque::new();
        let timer = tokio::time::sleep_until(tokio::time::Instant::now());
        let mut timer = std::pin::pin!(timer);
        // When the timer will ring. A timer that rings too early costs one empty turn; re-arming it at each turn costs more.
        let mut armed: Option<Instant> = None;
        loop {
            self.clock.advance(&self.shard);
            self.inbox.take(&mut inputs);
            for input in inputs.drain(..) {
                self.handle(input);
            }
            let more = self.shard.run_ready(POLLS_PER_TURN);
            if let Some(reason) = self.shard.stopped() {
                self.inbox.close();
                return reason;
            }
            if more {
                // Lets the reactor look at the sockets between two turns.
                tokio::task::yield_now().await;
                continue;
            }
            match (self.shard.next_deadline(), armed) {
                (Some(deadline), None) => armed = Some(deadline),
                (Some(deadline), Some(earlier)) if deadline < earlier => armed = Some(deadline),
                (_, unchanged) => {
                    self.wait(&mut timer, &mut armed, unchanged.is_some()).await;
                    continue;
                }
            }
            if let Some(deadline) = armed {
                timer.as_mut().reset(self.clock.machine_time(deadline).into());
            }
            self.wait(&mut timer, &mut armed, true).await;
        }
    }

    async fn wait(&self, timer: &mut std::pin::Pin<&mut tokio::time::Sleep>, armed: &mut Option<Instant>, timed: bool) {
        tokio::select! {
            biased;
            () = self.ready.wait() => {}
            () = self.inbox.filled() => {}
            () = timer.as_mut(), if timed => *armed = None,
        }
    }

    fn handle(&self, input: Input) {
        match input {
            Input::Envelope(envelope) => self.shard.deliver(envelope),
            Input::Disk(id, result) => self.shard.complete_disk(id, result),
            Input::Connection(accepted) => match (accepted.behind, &self.incoming) {
                (Behind::Session(service), _) => self.connections.open(accepted, service),
                (Behind::Peers, Some(incoming)) => incoming.open(accepted),
                (Behind::Peers, None) => {}
            },
            Input::Call(call) => call(&self.shard),
            Input::Drain => self.connections.drain(),
        }
    }
}
