//! Starting, running and stopping a node.

use crate::cli::print;
use crate::config::Config;
use crate::membership::{self, Membership};
use crate::memory::MemoryShares;
use crate::report::{NodeView, State};
use crate::services::{SERVICES, ServiceContext};
use crate::settings::{Settings, flag};
use crate::size::show_bytes;
use crate::{console, control, logs};
use holon_base::{ServiceId, ShardId};
use holon_edge::{BoundDoor, Clock, ControlServer, DataDir, DiskPool, DoorLimits, ShardHandle, ShardsOptions};
use holon_kernel::{Class, NodeClock, Shard};
use holon_metadata::{Identity, Metadata, NodeOptions};
use std::cell::RefCell;
use std::io::Write;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The exit code of a node whose shard had to stop (a failed sync, damaged data).
const EXIT_SHARD_STOPPED: i32 = 70;

/// The name of the door for other nodes.
const PEERS: &str = "peers";

thread_local! {
    /// This shard's part of the metadata log, from its start to its stop.
    static METADATA: RefCell<Option<Rc<Metadata>>> = const { RefCell::new(None) };
}

/// A node whose parent is gone has so long to stop in order.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(5);

/// Runs a node until it is told to stop, or until `parent` is gone.
pub fn start(config: Config, clock: Clock, parent: Option<u32>) -> Result<ExitCode, String> {
    let mut settings = config.settings;
    logs::start(&settings.log, settings.log_format);
    holon_edge::end_process_on_panic();
    refuse_open_doors(&mut settings)?;
    holon_edge::raise_open_files_limit();
    let stop = Arc::new(tokio::sync::Notify::new());
    if let Some(parent) = parent {
        let stop = stop.clone();
        let gone = move || {
            tracing::warn!(parent, "the process that started this node is gone, so the node stops");
            stop.notify_one();
        };
        let watched = holon_edge::end_with_parent(parent, ORPHAN_PATIENCE, gone);
        watched.map_err(|error| format!("process {parent} cannot be watched: {error}"))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the system gives no reactor: {error}"))?;
    tokio::task::LocalSet::new().block_on(&runtime, run(settings, clock, stop))
}

/// Nobody is let in from elsewhere unless asked for by name.
fn refuse_open_doors(settings: &mut Settings) -> Result<(), String> {
    if settings.insecure {
        return Ok(());
    }
    let mut doors: Vec<(&str, std::net::SocketAddr)> =
        SERVICES.iter().map(|service| (service.door_key, *(service.door_address)(settings))).collect();
    doors.push(("console_address", settings.console_address));
    match doors.into_iter().find(|(_, address)| !address.ip().is_loopback()) {
        None => Ok(()),
        Some((key, address)) => Err(format!(
            "{} {address} is reachable from other machines, and there is no TLS yet: use a loopback address, or say --insecure",
            flag(key)
        )),
    }
}

/// Others cannot be told to come to every address.
fn check_advertised(settings: &Settings) -> Result<(), String> {
    match settings.advertised(settings.peer_address).ip().is_unspecified() {
        false => Ok(()),
        true => Err(format!(
            "{} {} is no address that others can reach: say {} IP",
            flag("peer_address"),
            settings.peer_address,
            flag("advertise")
        )),
    }
}

async fn run(mut settings: Settings, clock: Clock, stop: Arc<tokio::sync::Notify>) -> Result<ExitCode, String> {
    let mut doors = Vec::new();
    for service in SERVICES {
        let address = (service.door_address)(&mut settings);
        let door = BoundDoor::bind(service.door, *address, &flag(service.door_key));
        let door = door.map_err(|error| error.to_string())?;
        *address = door.address(); // clients are told it, and port 0 meant any
        doors.push((service.id, door));
    }
    let console_door = BoundDoor::bind("console", settings.console_address, &flag("console_address"));
    let console_door = console_door.map_err(|error| error.to_string())?;
    let peers_door = BoundDoor::bind(PEERS, settings.peer_address, &flag("peer_address"));
    let peers_door = peers_door.map_err(|error| error.to_string())?;
    settings.peer_address = peers_door.address();
    check_advertised(&settings)?;
    let data = Arc::new(DataDir::open(&settings.data_dir).map_err(|error| error.to_string())?);
    let pool = DiskPool::new(settings.disk_threads);
    let advertised = settings.advertised(settings.peer_address);
    let (identity, membership) = membership::prepare(&settings, &data, &pool, clock, advertised).await?;
    let shares = MemoryShares::of(settings.memory_bytes);
    let node_clock = Arc::new(NodeClock::new(settings.clock_skew_max));
    let clocks = (clock, node_clock.clone());
    let handles = start_threads(&settings, &identity, &data, &pool, clocks, &membership, shares)?;
    let view = Rc::new(NodeView {
        node: identity.node,
        boot: identity.boot,
        clock,
        node_clock,
        data: data.clone(),
        memory_bytes: settings.memory_bytes,
        shares,
        shards: handles.clone(),
        doors: RefCell::default(),
        membership,
        console: console_door.address(),
        state: std::cell::Cell::new(State::Starting),
        progress: Arc::new(Mutex::new("starting".to_string())),
    });
    let listener = console_door.listen().map_err(|error| error.to_string())?;
    tokio::task::spawn_local(holon_edge::serve_http(listener, console::handler(view.clone())));
    let control = ControlServer::bind(&data).map_err(|error| error.to_string())?;
    let ask_stop = stop.clone();
    let asked: Rc<dyn Fn()> = Rc::new(move || ask_stop.notify_one());
    tokio::task::spawn_local(control.serve(control::handler(view.clone(), asked)));

    let mut signals = Signals::new()?;
    // Before the shards start: to take part they need the others.
    let peers_door = peers_door.open_for_peers(handles.clone(), door_limits(&settings));
    view.doors.borrow_mut().push(peers_door.map_err(|error| error.to_string())?);
    look_for_others(&view, &settings, &identity);
    tokio::select! {
        started = start_shards(&view, &settings, &identity, &stop) => started?,
        () = signals.any() => return Ok(ExitCode::SUCCESS), // a start that is broken off is a crash, which is fine
        () = stop.notified() => return Ok(ExitCode::SUCCESS),
    }
    if let Some(first) = handles.first() {
        view.membership.let_others_in(first.clone());
    }
    open_doors(&view, &settings, doors)?;
    view.state.set(State::Ready);
    announce(&view, clock);
    tokio::select! {
        () = signals.any() => {}
        () = stop.notified() => {}
    }
    Ok(shut_down(&view, &mut signals).await)
}

fn start_threads(
    settings: &Settings,
    identity: &Identity,
    data: &Arc<DataDir>,
    pool: &Arc<DiskPool>,
    (clock, node_clock): (Clock, Arc<NodeClock>),
    membership: &Membership,
    shares: MemoryShares,
) -> Result<Vec<ShardHandle>, String> {
    let seed = holon_edge::random_u128().map_err(|error| format!("the system gives no random numbers: {error}"))?;
    let started = holon_edge::start_shards(ShardsOptions {
        node: identity.node,
        shards: settings.shards,
        seed: seed as u64,
        data: data.clone(),
        pool: pool.clone(),
        clock,
        node_clock,
        connection_bytes_max: (shares.connections / u64::from(settings.shards)) as usize,
        timeouts: holon_edge::limits::ConnectionTimeouts::default(),
        peers: Some(membership.peers.clone()),
        prepare: plant()?,
        stopped: Arc::new(shard_stopped),
    });
    started.map_err(|error| format!("the shards cannot start: {error}; try fewer with --shards"))
}

/// While the node starts, for to take part it needs the others.
fn look_for_others(view: &Rc<NodeView>, settings: &Settings, identity: &Identity) {
    let (Some(cluster), Some(first)) = (&identity.cluster, view.shards.first().cloned()) else { return };
    let (view, named, cluster) = (view.clone(), settings.join.clone(), cluster.id);
    tokio::task::spawn_local(async move { view.membership.look_for_others(named, cluster, first).await });
}

/// Acknowledged is what is on the disk; what is not must not be acknowledged any more. So nothing is tidied up.
fn shard_stopped(shard: ShardId, reason: String) {
    tracing::error!(shard = shard.0, reason, "a shard stopped, so the node ends");
    drop(writeln!(std::io::stderr(), "holon: shard {} stopped, so the node ends: {reason}", shard.0));
    std::process::exit(EXIT_SHARD_STOPPED);
}

#[cfg(feature = "plant")]
fn plant() -> Result<Arc<dyn Fn() + Send + Sync>, String> {
    let list = std::env::var("HOLON_TEST_PLANT").unwrap_or_default();
    let mut replica = holon_replica::plant::Plants::default();
    let of_store: Vec<&str> = list.split(',').map(str::trim).filter(|name| !replica.put(name)).collect();
    let store = holon_store::plant::Plants::parse(&of_store.join(","))
        .map_err(|name| format!("HOLON_TEST_PLANT: no bug {name:?}"))?;
    Ok(Arc::new(move || {
        holon_replica::plant::set(replica);
        holon_store::plant::set(store);
    }))
}

#[cfg(not(feature = "plant"))]
fn plant() -> Result<Arc<dyn Fn() + Send + Sync>, String> {
    Ok(Arc::new(|| ()))
}

/// Brings all shards up, at once.
async fn start_shards(
    view: &Rc<NodeView>,
    settings: &Settings,
    identity: &Identity,
    stop: &Arc<tokio::sync::Notify>,
) -> Result<(), String> {
    let options = node_options(settings, identity);
    let mut starting = tokio::task::JoinSet::new();
    for handle in view.shards.clone() {
        let (settings, shares, progress) = (settings.clone(), view.shares, view.progress.clone());
        let (options, stop) = (options.clone(), stop.clone());
        starting.spawn_local(async move {
            let ran = handle.run(Class::Foreground, move |shard| {
                Box::pin(async move { start_shard(shard, settings, shares, options, progress, stop).await })
            });
            ran.await.map_err(|gone| gone.to_string())?
        });
    }
    while let Some(ended) = starting.join_next().await {
        ended.map_err(|error| format!("a shard could not start: {error}"))??;
    }
    Ok(())
}

/// What the cluster is told of this node.
pub fn node_options(settings: &Settings, identity: &Identity) -> NodeOptions {
    let mut doors = settings.clone();
    let facts = SERVICES.iter().map(|service| {
        let address = *(service.door_address)(&mut doors);
        (service.door.to_string(), settings.advertised(address).to_string())
    });
    membership::options_of(settings, identity, facts.collect())
}

/// This shard's part of the metadata log, while it runs.
pub fn metadata() -> Option<Rc<Metadata>> {
    METADATA.with(|place| place.borrow().clone())
}

async fn start_shard(
    shard: Rc<Shard>,
    settings: Settings,
    shares: MemoryShares,
    options: NodeOptions,
    progress: Arc<Mutex<String>>,
    stop: Arc<tokio::sync::Notify>,
) -> Result<(), String> {
    let metadata = Metadata::new(&shard, options);
    metadata.when_removed(Rc::new(move |reason| {
        drop(writeln!(std::io::stderr(), "holon: the node ends: {reason}"));
        stop.notify_one();
    }));
    METADATA.with(|place| *place.borrow_mut() = Some(metadata.clone()));
    for service in SERVICES {
        let made = (service.make)(&ServiceContext { shard: &shard, metadata: &metadata, settings: &settings, shares });
        shard.add_service(made);
    }
    let number = shard.id().0;
    let report = Rc::new(move |line: String| {
        tracing::info!(shard = number, "{line}");
        *progress.lock().unwrap_or_else(PoisonError::into_inner) = format!("shard {number}: {line}");
    });
    holon_metadata::start_shard(metadata, report).await.map_err(|error| error.to_string())
}

fn door_limits(settings: &Settings) -> DoorLimits {
    DoorLimits {
        connections_max: settings.connections_max,
        connections_per_address_max: settings.connections_per_address_max,
    }
}

fn open_doors(view: &NodeView, settings: &Settings, doors: Vec<(ServiceId, BoundDoor)>) -> Result<(), String> {
    let limits = door_limits(settings);
    for (service, door) in doors {
        let door = door.open(service, view.shards.clone(), limits).map_err(|error| error.to_string())?;
        view.doors.borrow_mut().push(door);
    }
    Ok(())
}

fn announce(view: &NodeView, clock: Clock) {
    let mut text = format!(
        "holon {}: node {}, {} shards, {} of memory, data in {}\n",
        env!("CARGO_PKG_VERSION"),
        view.node,
        view.shards.len(),
        show_bytes(view.memory_bytes),
        view.data.path().display()
    );
    for door in view.doors.borrow().iter() {
        text.push_str(&format!("{:<8} {}\n", door.name(), door.address()));
    }
    text.push_str(&format!("console  http://{}/\n", view.console));
    text.push_str(&format!("ready in {} ms\n", clock.now().0 / 1_000_000));
    print(&text);
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Signals, String> {
        use tokio::signal::unix::{SignalKind, signal};
        let failed = |error| format!("signals cannot be received: {error}");
        let terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        Ok(Signals { terminate, interrupt })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Doors, then connections, then services. A second signal ends it at once, which loses nothing acknowledged.
async fn shut_down(view: &Rc<NodeView>, signals: &mut Signals) -> ExitCode {
    view.state.set(State::Stopping);
    tracing::info!("stopping");
    let orderly = async {
        // Requests under way need the other nodes' answers: their door goes with the process.
        let closing: Vec<_> = {
            let doors = view.doors.borrow();
            doors.iter().filter(|door| door.name() != PEERS).map(holon_edge::Door::close).collect()
        };
        for closed in closing {
            closed.await;
        }
        view.shards.iter().for_each(ShardHandle::drain);
        let drained = async {
            while view.shards.iter().any(|shard| shard.connections() > 0) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(holon_edge::limits::DRAIN_TIMEOUT, drained).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
        let stopping = view.shards.iter().map(|handle| {
            let handle = handle.clone();
            tokio::task::spawn_local(async move {
                let stopped = handle.run(Class::Foreground, |_| {
                    Box::pin(async {
                        if let Some(metadata) = METADATA.with(|place| place.borrow_mut().take()) {
                            holon_metadata::stop_shard(metadata).await;
                        }
                    })
                });
                if let Err(gone) = stopped.await {
                    tracing::warn!(%gone, "a shard did not stop cleanly");
                }
            })
        });
        for stopped in stopping.collect::<Vec<_>>() {
            drop(stopped.await);
        }
        // Else the others would have to find out that it is gone.
        if !view.membership.peers.all_sent(holon_edge::limits::LAST_WORDS_TIMEOUT).await {
            tracing::debug!("not all that was said to other nodes has left");
        }
    };
    tokio::select! {
        () = orderly => tracing::info!("stopped"),
        () = signals.any() => tracing::warn!("stopped at once"),
    }
    ExitCode::SUCCESS
}
