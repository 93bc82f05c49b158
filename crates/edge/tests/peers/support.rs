//! Nodes on threads of this process, with a toy service, that know each other when told so.

use bytes::Bytes;
use holon_base::{NodeId, ServiceId, ShardId, TabletId};
use holon_edge::limits::ConnectionTimeouts;
use holon_edge::peers::{PeerFigures, PeerTimeouts, RequestHandler, Security};
use holon_edge::{
    BoundDoor, Clock, DataDir, DiskPool, Door, DoorLimits, Peers, PeersOptions, ShardHandle, ShardsOptions,
    start_shards,
};
use holon_kernel::metric::Metric;
use holon_kernel::{
    Address, CallError, Class, LocalFuture, MetadataEffect, Service, Session, SessionContext, Shard, StartContext,
    Tablet, TabletDescriptor, Target, Verb,
};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

pub const TOY: ServiceId = ServiceId(9);
/// The payload comes back.
pub const ECHO: Verb = Verb(Verb::SERVICE_FIRST);
/// The number of the shard that was reached comes back.
pub const WHERE: Verb = Verb(Verb::SERVICE_FIRST + 1);
/// No answer before the deadline.
pub const SILENCE: Verb = Verb(Verb::SERVICE_FIRST + 2);
pub const CLUSTER: u128 = 0xC1;
pub const PATIENCE: Duration = Duration::from_secs(20);

struct Toy {
    shard: Rc<Shard>,
}

impl Service for Toy {
    fn id(&self) -> ServiceId {
        TOY
    }
    fn name(&self) -> &'static str {
        "toy"
    }
    fn apply_metadata(&self, _: u64, _: &Bytes) -> Result<MetadataEffect, Bytes> {
        Ok(MetadataEffect::default())
    }
    fn start(self: Rc<Self>, _: StartContext) -> LocalFuture<Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
    fn open_tablet(self: Rc<Self>, _: TabletDescriptor) -> LocalFuture<Result<Rc<dyn Tablet>, String>> {
        Box::pin(async { Err("toy tablets are put in by hand".to_string()) })
    }
    fn remove_tablet(self: Rc<Self>, _: TabletId) -> LocalFuture<Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
    fn recover(self: Rc<Self>) -> LocalFuture<Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
    fn recovered_everywhere(self: Rc<Self>) -> LocalFuture<Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
    fn stop(self: Rc<Self>) -> LocalFuture<()> {
        Box::pin(async {})
    }
    fn open_session(self: Rc<Self>, _: SessionContext) -> Box<dyn Session> {
        unreachable!("the toy has no door")
    }
    fn message(self: Rc<Self>, _: Address, verb: Verb, payload: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        let shard = self.shard.clone();
        Box::pin(async move {
            match verb {
                ECHO => Ok(payload),
                WHERE => Ok(Bytes::copy_from_slice(&shard.id().0.to_le_bytes())),
                _ => {
                    shard.sleep(Duration::from_secs(3600)).await;
                    Ok(Bytes::new())
                }
            }
        })
    }
    fn command(self: Rc<Self>, _: Vec<String>, _: Rc<dyn Fn(String)>) -> LocalFuture<Result<String, String>> {
        Box::pin(async { Ok(String::new()) })
    }
    fn metrics(&self, _: &mut Vec<Metric>) {}
    fn status(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// Says which shard it is on.
struct ToyTablet {
    shard: ShardId,
}

impl Tablet for ToyTablet {
    fn apply(self: Rc<Self>, mutation: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(async move { Ok(mutation) })
    }
    fn read(self: Rc<Self>, _: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(async move { Ok(Bytes::copy_from_slice(&self.shard.0.to_le_bytes())) })
    }
    fn digest(self: Rc<Self>, _: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(async { Err(CallError::NotHere) })
    }
}

#[derive(Clone)]
pub struct Plan {
    pub node: NodeId,
    pub shards: u16,
    pub cluster: u128,
    /// Where its door is; port 0: anywhere.
    pub address: SocketAddr,
    pub requests: Option<RequestHandler>,
    pub security: Security,
    pub timeouts: PeerTimeouts,
}

impl Plan {
    pub fn new(node: u128, shards: u16) -> Plan {
        Plan {
            node: NodeId(node),
            shards,
            cluster: CLUSTER,
            address: "127.0.0.1:0".parse().expect("address"),
            requests: None,
            security: Security::Insecure,
            timeouts: PeerTimeouts { hello: Duration::from_secs(5), ..PeerTimeouts::default() },
        }
    }
}

pub struct Node {
    pub plan: Plan,
    pub shards: Vec<ShardHandle>,
    pub peers: Arc<Peers>,
    pub door: Arc<Door>,
    pub address: SocketAddr,
    path: PathBuf,
    reports: Arc<Mutex<Vec<String>>>,
    stopped: mpsc::Receiver<ShardId>,
    /// Ends the thread that accepts, when dropped.
    _end: tokio::sync::oneshot::Sender<()>,
}

impl Node {
    pub fn start(plan: Plan) -> Node {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("holon-peers-{}-{number}", std::process::id()));
        let bound = BoundDoor::bind("peers", plan.address, "--peers-address").expect("the address is free");
        let address = bound.address();
        let reports: Arc<Mutex<Vec<String>>> = Arc::default();
        let report = reports.clone();
        let (cluster, requests) = (Arc::new(OnceLock::from(plan.cluster)), Arc::new(OnceLock::new()));
        if let Some(handler) = plan.requests.clone() {
            assert!(requests.set(handler).is_ok());
        }
        let peers = Peers::new(PeersOptions {
            node: plan.node,
            cluster,
            address,
            source: None,
            requests,
            report: Arc::new(move |line| report.lock().expect("reports").push(line)),
            security: plan.security.clone(),
            timeouts: plan.timeouts,
        });
        let (sender, stopped) = mpsc::channel();
        let shards = start_shards(ShardsOptions {
            node: plan.node,
            shards: plan.shards,
            seed: number,
            data: Arc::new(DataDir::open(&path).expect("data directory")),
            pool: DiskPool::new(1),
            clock: Clock::start(),
            node_clock: Arc::default(),
            connection_bytes_max: 1 << 20,
            timeouts: ConnectionTimeouts::default(),
            peers: Some(peers.clone()),
            prepare: Arc::new(|| ()),
            stopped: Arc::new(move |shard, _| sender.send(shard).unwrap_or_default()),
        });
        let shards = shards.expect("shards");
        let (opened, door) = mpsc::channel();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let handles = shards.clone();
        std::thread::spawn(move || {
            block_on(async move {
                for handle in &handles {
                    handle.run(Class::Foreground, |shard| Box::pin(furnish(shard))).await.expect("the shard runs");
                }
                let limits = DoorLimits { connections_max: 1000, connections_per_address_max: 1000 };
                opened.send(Arc::new(bound.open_for_peers(handles, limits).expect("door"))).expect("send");
                drop(ended.await);
            });
        });
        let door = door.recv().expect("the door opens");
        Node { plan, shards, peers, door, address, path, reports, stopped, _end: end }
    }

    pub fn id(&self) -> NodeId {
        self.plan.node
    }

    /// Tells every shard where another node is.
    pub fn know(&self, node: NodeId, address: Option<SocketAddr>) {
        for handle in &self.shards {
            let tell =
                move |shard: Rc<Shard>| -> LocalFuture<()> { Box::pin(async move { shard.know_node(node, address) }) };
            block_on(handle.run(Class::Foreground, tell)).expect("the shard runs");
        }
    }

    /// Runs on one of its shards.
    pub fn run<T: Send + 'static>(
        &self,
        shard: u16,
        task: impl FnOnce(Rc<Shard>) -> LocalFuture<T> + Send + 'static,
    ) -> T {
        block_on(self.shards[usize::from(shard)].run(Class::Foreground, task)).expect("the shard runs")
    }

    pub fn call(&self, shard: u16, to: Address, verb: Verb, payload: Bytes, wait: Duration) -> Answered {
        self.run(shard, move |shard| {
            Box::pin(async move {
                let deadline = shard.now() + wait;
                shard.call(to, Target::Service(TOY), verb, payload, deadline).await
            })
        })
    }

    /// Sends without waiting for an answer.
    pub fn send(&self, shard: u16, to: Address, payload: Bytes) {
        self.run(shard, move |shard| Box::pin(async move { shard.send(to, Target::Service(TOY), ECHO, payload) }));
    }

    pub fn figures(&self, of: NodeId) -> Option<PeerFigures> {
        self.peers.figures().into_iter().find(|figures| figures.node == of)
    }

    pub fn reports(&self) -> Vec<String> {
        self.reports.lock().expect("reports").clone()
    }

    pub fn expect_report(&self, part: &str) {
        eventually(part, || self.reports().iter().any(|line| line.contains(part)), || self.reports().join("\n"));
    }

    /// Ends its threads, its connections and its door, as a crash would.
    pub fn stop(self) -> (Plan, SocketAddr) {
        block_on(self.door.close());
        for handle in &self.shards {
            let stop = |shard: Rc<Shard>| -> LocalFuture<()> {
                Box::pin(async move { shard.stop("the test is over".to_string()) })
            };
            // It may be stopped before it can say that it is.
            let _ = block_on(handle.run(Class::Foreground, stop));
        }
        for _ in &self.shards {
            self.stopped.recv_timeout(PATIENCE).expect("a shard stops");
        }
        (self.plan.clone(), self.address)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.path));
    }
}

pub type Answered = Result<Bytes, CallError>;

/// The toy service, and those of the tablets 0 to 99 that belong to this shard.
async fn furnish(shard: Rc<Shard>) {
    shard.add_service(Rc::new(Toy { shard: shard.clone() }));
    for number in 0..100 {
        let tablet = TabletId(number);
        if shard.locate(tablet) == shard.address() {
            shard.insert_tablet(tablet, Rc::new(ToyTablet { shard: shard.id() }));
        }
    }
}

/// All know all.
pub fn introduce(nodes: &[&Node]) {
    for node in nodes {
        for other in nodes {
            node.know(other.id(), Some(other.address));
        }
    }
}

pub fn at(node: &Node, shard: u16) -> Address {
    Address { node: node.id(), shard: ShardId(shard) }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(future)
}

/// Polls until it holds: what is checked happens on other threads.
pub fn eventually(what: &str, holds: impl Fn() -> bool, otherwise: impl Fn() -> String) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "never: {what}; but:\n{}", otherwise());
        std::thread::sleep(Duration::from_millis(5));
    }
}
