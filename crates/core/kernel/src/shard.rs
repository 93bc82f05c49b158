//! The shard: one core of a node, and everything that lives on it.

mod calls;

use crate::clock::{NodeClock, ShardClock};
use crate::cluster::{ClusterMap, Replicas};
use crate::disk::{Disk, DiskOperation, DiskResult, OperationId};
use crate::disk_client::DiskClient;
use crate::envelope::{Address, CallError, Envelope};
use crate::executor::{Class, Executor, Order, Scope, Turn, Yield};
use crate::permit::Pool;
use crate::service::{Service, Tablet};
use crate::ticket::{Completer, Ticket, ticket};
use crate::timer::{Elapsed, Sleep, Timers};
use bytes::Bytes;
use holon_base::{Instant, Map, NodeId, Random, ServiceId, ShardId, TabletId, Wall};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Carries envelopes to other shards and nodes. At most once, in no promised order, and it may lose them.
pub trait Router {
    fn send(&mut self, envelope: Envelope);

    /// Where a node is reached from now on; `None`: it is no member any more.
    fn know(&mut self, node: NodeId, address: Option<SocketAddr>) {
        let _ = (node, address); // a network that finds nodes by their id needs no addresses
    }
}

pub struct ShardOptions {
    pub node: NodeId,
    pub shard: ShardId,
    /// How many shards this node has.
    pub shards: u16,
    pub seed: u64,
    pub order: Order,
    pub disk: Box<dyn Disk>,
    pub router: Box<dyn Router>,
    pub now: Instant,
    pub wall: Wall,
    /// One for all shards of the node.
    pub clock: Arc<NodeClock>,
}

pub struct Shard {
    me: std::rc::Weak<Shard>,
    address: Address,
    shards: u16,
    executor: Executor,
    timers: Rc<Timers>,
    now: Cell<Instant>,
    wall: Cell<Wall>,
    pub(crate) clock: ShardClock,
    random: RefCell<Random>,
    disk: RefCell<Box<dyn Disk>>,
    disk_waiting: RefCell<Map<OperationId, Completer<DiskResult>>>,
    router: RefCell<Box<dyn Router>>,
    replies: RefCell<Map<u64, (NodeId, Reply)>>,
    credits: RefCell<BTreeMap<Address, Pool>>,
    next_id: Cell<u64>,
    services: RefCell<BTreeMap<ServiceId, Rc<dyn Service>>>,
    tablets: RefCell<BTreeMap<TabletId, Rc<dyn Tablet>>>,
    takes_tablet_requests: Cell<bool>,
    map: RefCell<Option<Rc<dyn ClusterMap>>>,
    dead: RefCell<BTreeSet<NodeId>>,
    /// To be told when a node seems alive that did not, or the other way round.
    watching: RefCell<Vec<Completer<()>>>,
    stopped: RefCell<Option<String>>,
}

/// Who waits for the answer to a question that is under way.
type Reply = Completer<Result<Bytes, CallError>>;

impl Shard {
    pub fn new(options: ShardOptions) -> Rc<Shard> {
        let random = Random::new(options.seed);
        // Ids begin elsewhere at each start: a reply that is still under way to the last incarnation must not find a
        // question of this one under its number.
        let first_id = random.clone().fork().next_u64() >> 8 | 1;
        Rc::new_cyclic(|me| Shard {
            me: me.clone(),
            address: Address { node: options.node, shard: options.shard },
            shards: options.shards,
            executor: Executor::new(options.order),
            timers: Rc::default(),
            now: Cell::new(options.now),
            wall: Cell::new(options.wall),
            clock: ShardClock::new(options.clock),
            random: RefCell::new(random),
            disk: RefCell::new(options.disk),
            disk_waiting: RefCell::default(),
            router: RefCell::new(options.router),
            replies: RefCell::default(),
            credits: RefCell::default(),
            next_id: Cell::new(first_id),
            services: RefCell::default(),
            tablets: RefCell::default(),
            takes_tablet_requests: Cell::new(true),
            map: RefCell::new(None),
            dead: RefCell::default(),
            watching: RefCell::default(),
            stopped: RefCell::new(None),
        })
    }

    fn me(&self) -> Rc<Shard> {
        self.me.upgrade().expect("a shard that runs is held by its runner")
    }

    pub fn address(&self) -> Address {
        self.address
    }

    pub fn node(&self) -> NodeId {
        self.address.node
    }

    pub fn id(&self) -> ShardId {
        self.address.shard
    }

    pub fn shards(&self) -> u16 {
        self.shards
    }

    // ---- Time and chance

    /// Hands in the time. Timers that are due fire. Monotonic time never goes back; wall time may.
    pub fn advance(&self, now: Instant, wall: Wall) {
        let now = self.now.get().max(now);
        self.clock.node.passed((self.now.get(), self.wall.get()), (now, wall));
        self.now.set(now);
        self.wall.set(wall);
        self.timers.fire(self.now.get());
    }

    pub fn now(&self) -> Instant {
        self.now.get()
    }

    pub fn wall(&self) -> Wall {
        self.wall.get()
    }

    pub fn wall_micros(&self) -> i64 {
        self.wall.get().micros()
    }

    pub fn random_u64(&self) -> u64 {
        self.random.borrow_mut().next_u64()
    }

    /// A number not given before on this shard while the node runs.
    pub fn unique_id(&self) -> u64 {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        id
    }

    // ---- Tasks

    pub fn spawn(&self, scope: Scope, class: Class, future: impl Future<Output = ()> + 'static) {
        if self.stopped.borrow().is_none() {
            self.executor.spawn(scope, class, Box::pin(future));
        }
    }

    /// Ends every task of a scope.
    pub fn cancel(&self, scope: Scope) {
        self.executor.cancel(scope);
    }

    pub fn ticket<T>(&self) -> (Completer<T>, Ticket<T>) {
        ticket(self.executor.queue())
    }

    pub fn pool(&self, name: &'static str, capacity: usize) -> Pool {
        Pool::new(self.executor.queue(), name, capacity)
    }

    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.now() + duration)
    }

    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        self.timers.sleep_until(self.executor.queue(), deadline)
    }

    pub async fn yield_now(&self) {
        Yield { queue: self.executor.queue().clone(), yielded: false }.await;
    }

    /// Gives up waiting at the deadline; what was begun may still take effect.
    pub async fn timeout<F: Future>(&self, deadline: Instant, future: F) -> Result<F::Output, Elapsed> {
        let mut future = std::pin::pin!(future);
        let mut sleep = None;
        std::future::poll_fn(|context| {
            if let std::task::Poll::Ready(output) = future.as_mut().poll(context) {
                return std::task::Poll::Ready(Ok(output));
            }
            // Made at the first wait only: most work is done without waiting and needs no timer.
            let sleep = sleep.get_or_insert_with(|| self.sleep_until(deadline));
            std::pin::Pin::new(sleep).poll(context).map(|()| Err(Elapsed))
        })
        .await
    }

    // ---- For whoever runs the shard

    /// Called when a task becomes ready while the shard is not running.
    pub fn set_notify(&self, notify: Box<dyn Fn()>) {
        self.executor.queue().set_notify(notify);
    }

    /// Polls ready tasks; true if some are still ready after `polls_max` polls.
    pub fn run_ready(&self, polls_max: usize) -> bool {
        self.executor.run_ready(polls_max, &mut Turn::default())
    }

    /// As [`Shard::run_ready`], going on where the last call left the round.
    pub fn run_turn(&self, polls_max: usize, turn: &mut Turn) -> bool {
        self.executor.run_ready(polls_max, turn)
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next_deadline()
    }

    pub fn polls(&self) -> u64 {
        self.executor.polls()
    }

    pub fn tasks(&self) -> usize {
        self.executor.live()
    }

    /// The shard must not go on: a sync failed, or its data is not what it should be. No task runs after this one yields; no
    /// reply that is not in an outbox yet is sent. The runner ends the process and prints the reason.
    pub fn stop(&self, reason: String) {
        let first = self.stopped.borrow().is_none();
        if first {
            *self.stopped.borrow_mut() = Some(reason);
            self.executor.cancel_all();
        }
    }

    /// For whoever ran the shard and is done with it: lets go of services, tablets and the map. They hold the shard, which
    /// holds them.
    pub fn dismantle(&self) {
        let services = self.services.take();
        let tablets = self.tablets.take();
        let map = self.map.take();
        drop((services, tablets, map, self.clock.keeper.take()));
    }

    pub fn stopped(&self) -> Option<String> {
        self.stopped.borrow().clone()
    }

    // ---- Disk

    pub fn disk(&self) -> DiskClient {
        DiskClient::new(self.me.clone())
    }

    pub(crate) fn submit_disk(&self, operation: DiskOperation) -> Ticket<DiskResult> {
        let id = OperationId(self.unique_id());
        let (completer, ticket) = self.ticket();
        match self.disk.borrow_mut().submit(id, operation) {
            Some(result) => completer.complete(result),
            None => {
                self.disk_waiting.borrow_mut().insert(id, completer);
            }
        }
        ticket
    }

    /// The completion of an operation that [`Disk::submit`] did not answer at once.
    pub fn complete_disk(&self, id: OperationId, result: DiskResult) {
        let waiting = self.disk_waiting.borrow_mut().remove(&id);
        if let Some(completer) = waiting {
            completer.complete(result);
        }
    }

    // ---- Services and tablets

    pub fn add_service(&self, service: Rc<dyn Service>) {
        let replaced = self.services.borrow_mut().insert(service.id(), service);
        assert!(replaced.is_none(), "two services with one id");
    }

    pub fn service(&self, id: ServiceId) -> Option<Rc<dyn Service>> {
        self.services.borrow().get(&id).cloned()
    }

    pub fn services(&self) -> Vec<Rc<dyn Service>> {
        self.services.borrow().values().cloned().collect()
    }

    pub fn insert_tablet(&self, id: TabletId, tablet: Rc<dyn Tablet>) {
        self.tablets.borrow_mut().insert(id, tablet);
    }

    /// Whether requests of other shards for tablets are taken. A shard that starts takes none until its logs are in its tablets: it
    /// says that it has too much to do, since "not here" would send the asker away for good.
    pub fn take_tablet_requests(&self, take: bool) {
        self.takes_tablet_requests.set(take);
    }

    pub fn takes_tablet_requests(&self) -> bool {
        self.takes_tablet_requests.get()
    }

    /// Forgets a tablet and ends its tasks.
    pub fn remove_tablet(&self, id: TabletId) {
        let removed = self.tablets.borrow_mut().remove(&id);
        self.cancel(Scope::Tablet(id));
        drop(removed);
    }

    pub fn tablet_count(&self) -> usize {
        self.tablets.borrow().len()
    }

    /// Where a tablet lives on this node, if it does.
    pub fn locate(&self, tablet: TabletId) -> Address {
        Address { node: self.node(), shard: tablet.shard(self.shards) }
    }

    // ---- The cluster

    pub fn set_map(&self, map: Rc<dyn ClusterMap>) {
        *self.map.borrow_mut() = Some(map);
    }

    pub fn map(&self) -> Option<Rc<dyn ClusterMap>> {
        self.map.borrow().clone()
    }

    /// The index of the metadata entry that this shard has applied last; 0 before there is a map.
    pub fn map_epoch(&self) -> u64 {
        self.map.borrow().as_ref().map_or(0, |map| map.epoch())
    }

    /// Who holds a tablet; nobody if there is no such tablet.
    pub fn replicas(&self, tablet: TabletId) -> Replicas {
        match &*self.map.borrow() {
            Some(map) => map.replicas(tablet).unwrap_or_default(),
            None => Replicas::only(self.node()),
        }
    }

    /// Where the router finds a node.
    pub fn know_node(&self, node: NodeId, address: Option<SocketAddr>) {
        self.router.borrow_mut().know(node, address);
    }

    /// Whether a node seems alive. This one always does.
    pub fn is_alive(&self, node: NodeId) -> bool {
        !self.dead.borrow().contains(&node)
    }

    /// Ready when some node seems alive that did not, or the other way round.
    pub fn liveness_changed(&self) -> Ticket<()> {
        let (completer, ticket) = self.ticket();
        self.watching.borrow_mut().push(completer);
        ticket
    }

    /// What gossip thinks. Whoever waits for an answer of a node that seems dead is told so now: the outcome is unknown.
    pub fn set_alive(&self, node: NodeId, alive: bool) {
        let changed = match alive {
            true => self.dead.borrow_mut().remove(&node),
            false => node != self.node() && self.dead.borrow_mut().insert(node),
        };
        if !changed {
            return;
        }
        self.watching.take().into_iter().for_each(|completer| completer.complete(()));
        if alive {
            return;
        }
        let asked: Vec<u64> = {
            let replies = self.replies.borrow();
            let mut asked: Vec<u64> = replies.iter().filter(|(_, (to, _))| *to == node).map(|(id, _)| *id).collect();
            asked.sort_unstable();
            asked
        };
        for correlation in asked {
            let waiting = self.replies.borrow_mut().remove(&correlation);
            if let Some((_, completer)) = waiting {
                completer.complete(Err(CallError::Gone));
            }
        }
    }
}
