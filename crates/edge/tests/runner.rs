//! Shards on threads, a door, and a toy service behind it: lines in, lines out, each answered by the *other* shard.

use bytes::{Bytes, BytesMut};
use holon_base::{NodeId, ServiceId, ShardId, TabletId};
use holon_edge::limits::ConnectionTimeouts;
use holon_edge::{
    BoundDoor, Clock, DataDir, DiskPool, Door, DoorLimits, ShardGone, ShardHandle, ShardsOptions, start_shards,
};
use holon_kernel::metric::Metric;
use holon_kernel::{
    Address, CallError, Class, Flow, LocalFuture, MetadataEffect, OpenOptions, Outbox, Scope, Service, Session,
    SessionContext, Shard, StartContext, Tablet, TabletDescriptor, Target, Verb,
};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

const TOY: ServiceId = ServiceId(9);
const ECHO: Verb = Verb(Verb::SERVICE_FIRST);
/// In flight on one connection before it is paused.
const IN_FLIGHT_MAX: usize = 8;

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
        Box::pin(async { Err("the toy has no tablets".to_string()) })
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
    fn open_session(self: Rc<Self>, context: SessionContext) -> Box<dyn Session> {
        Box::new(ToySession { shard: self.shard.clone(), session: context.session, outbox: context.outbox })
    }
    fn message(self: Rc<Self>, _: Address, _: Verb, payload: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        let shard = self.shard.clone();
        Box::pin(async move {
            // Through a file, so that every answer has crossed the disk threads, too.
            let name = format!("echo-{}-{}", shard.id().0, shard.unique_id());
            let options = OpenOptions { create: true, direct: false };
            let file = shard.disk().open(&name, options).await.map_err(|_| CallError::NotHere)?;
            file.write_at(0, holon_kernel::DiskBuffer::from(&payload[..])).await.map_err(|_| CallError::NotHere)?;
            let back = file.read_at(0, payload.len()).await.map_err(|_| CallError::NotHere)?;
            shard.disk().remove(&name).await.map_err(|_| CallError::NotHere)?;
            Ok(back)
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

struct ToySession {
    shard: Rc<Shard>,
    session: u64,
    outbox: Rc<Outbox>,
}

impl Session for ToySession {
    fn handle(&mut self, input: &mut BytesMut) -> Flow {
        while let Some(end) = input.iter().position(|&byte| byte == b'\n') {
            if self.outbox.in_flight() >= IN_FLIGHT_MAX {
                return Flow::Pause;
            }
            let line = input.split_to(end + 1).freeze();
            match &line[..] {
                b"quit\n" => return Flow::Close,
                b"where\n" => {
                    let answer = format!("{}\n", self.shard.id().0);
                    self.outbox.write(|out| out.extend_from_slice(answer.as_bytes()));
                }
                _ => self.echo(line),
            }
        }
        if input.len() > 1 << 20 { Flow::Close } else { Flow::Continue }
    }
}

impl ToySession {
    fn echo(&self, line: Bytes) {
        let (shard, outbox) = (self.shard.clone(), self.outbox.clone());
        outbox.request_started();
        self.shard.spawn(Scope::Session(self.session), Class::Foreground, async move {
            let other = ShardId((shard.id().0 + 1) % shard.shards());
            let destination = Address { node: shard.node(), shard: other };
            let deadline = shard.now() + Duration::from_secs(20);
            let answer = shard.call(destination, Target::Service(TOY), ECHO, line, deadline).await;
            match answer {
                Ok(line) => outbox.write(|out| out.extend_from_slice(&line)),
                Err(error) => outbox.write(|out| out.extend_from_slice(format!("{error}\n").as_bytes())),
            }
            outbox.request_ended();
        });
    }
}

/// Two shards and a door, on threads that live until the test process ends; the directory goes with the value.
struct Node {
    path: PathBuf,
    shards: Vec<ShardHandle>,
    door: Arc<Door>,
    address: SocketAddr,
    stopped: mpsc::Receiver<(ShardId, String)>,
    /// Ends the thread that accepts, when dropped.
    _end: tokio::sync::oneshot::Sender<()>,
}

impl Node {
    fn start(limits: DoorLimits) -> Node {
        Node::start_with(limits, ConnectionTimeouts::default())
    }

    fn start_with(limits: DoorLimits, timeouts: ConnectionTimeouts) -> Node {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("holon-runner-{}-{number}", std::process::id()));
        let data = Arc::new(DataDir::open(&path).expect("data directory"));
        let (sender, stopped) = mpsc::channel();
        let shards = start_shards(ShardsOptions {
            node: NodeId(7),
            shards: 2,
            seed: 1,
            data,
            pool: DiskPool::new(2),
            clock: Clock::start(),
            node_clock: Arc::default(),
            connection_bytes_max: 1 << 20,
            timeouts,
            peers: None,
            prepare: Arc::new(|| ()),
            stopped: Arc::new(move |shard, reason| drop(sender.send((shard, reason)))),
        })
        .expect("shards");
        let handles = shards.clone();
        let (opened, door) = mpsc::channel();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        std::thread::spawn(move || {
            block_on(async move {
                for handle in &handles {
                    let add = |shard: Rc<Shard>| -> LocalFuture<()> {
                        Box::pin(async move { shard.add_service(Rc::new(Toy { shard: shard.clone() })) })
                    };
                    handle.run(Class::Foreground, add).await.expect("the shard runs");
                }
                let bound = BoundDoor::bind("toy", "127.0.0.1:0".parse().expect("address"), "--toy-address");
                let door = bound.and_then(|bound| bound.open(TOY, handles, limits)).expect("door");
                opened.send(Arc::new(door)).expect("send");
                drop(ended.await);
            });
        });
        let door = door.recv().expect("the door opens");
        let address = door.address();
        Node { path, shards, door, address, stopped, _end: end }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
        stream
    }

    /// Polls until it holds: what is checked happens on other threads.
    fn eventually(&self, what: &str, holds: impl Fn() -> bool) {
        for _ in 0..2000 {
            if holds() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("never: {what}");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.path));
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(future)
}

const WIDE: DoorLimits = DoorLimits { connections_max: 100, connections_per_address_max: 100 };

fn ask(stream: &mut TcpStream, line: &str) -> String {
    stream.write_all(line.as_bytes()).expect("write");
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).expect("an answer");
    answer
}

/// True when the other side has closed, in whichever way.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn connections_are_spread_evenly_and_answered_across_shards() {
    let node = Node::start(WIDE);
    let mut streams: Vec<TcpStream> = (0..6).map(|_| node.connect()).collect();
    let shards: Vec<String> = streams.iter_mut().map(|stream| ask(stream, "where\n")).collect();
    assert_eq!(shards.iter().filter(|shard| *shard == "0\n").count(), 3, "{shards:?}");
    for (number, stream) in streams.iter_mut().enumerate() {
        let line = format!("hello {number}\n");
        assert_eq!(ask(stream, &line), line);
    }
    assert_eq!(node.door.figures().connections, 6);
    drop(streams);
    node.eventually("places are given back", || node.door.figures().connections == 0);
    assert!(node.shards.iter().all(|shard| shard.connections() == 0));
}

#[test]
fn a_client_that_sends_far_ahead_is_paused_and_gets_every_answer() {
    let node = Node::start(WIDE);
    let mut stream = node.connect();
    let lines = 2000;
    let mut writer = stream.try_clone().expect("clone");
    let sending = std::thread::spawn(move || {
        for number in 0..lines {
            writer.write_all(format!("{number:>100}\n").as_bytes()).expect("write");
        }
        writer.write_all(b"quit\n").expect("write");
    });
    let mut answers = String::new();
    stream.read_to_string(&mut answers).expect("read");
    sending.join().expect("sender");
    let mut seen: Vec<u64> = answers.lines().filter_map(|line| line.trim().parse().ok()).collect();
    seen.sort_unstable();
    // `quit` may overtake what is in flight, as the session closes at once; nothing before the last few may be missing.
    assert!(seen.len() >= lines as usize - IN_FLIGHT_MAX, "{} of {lines}", seen.len());
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "an answer came twice");
}

#[test]
fn half_a_message_then_the_end_closes_without_fuss_and_garbage_harms_nobody() {
    let node = Node::start(WIDE);
    let mut good = node.connect();
    let mut half = node.connect();
    half.write_all(b"no newline").expect("write");
    half.shutdown(std::net::Shutdown::Write).expect("shutdown");
    assert!(is_closed(&mut half));
    let mut endless = node.connect();
    let garbage = vec![0x80u8; 1 << 16];
    // The session gives up after 1 MiB without a line's end.
    let refused = (0..400).any(|_| endless.write_all(&garbage).is_err());
    assert!(refused && is_closed(&mut endless));
    assert_eq!(ask(&mut good, "still here\n"), "still here\n");
}

#[test]
fn clients_that_owe_something_too_long_are_closed_and_patient_ones_stay() {
    let short = Duration::from_millis(300);
    let timeouts = ConnectionTimeouts {
        handshake: short,
        read_stall: short,
        write_stall: short,
        sweep_interval: Duration::from_millis(20),
    };
    let node = Node::start_with(WIDE, timeouts);
    let mut patient = node.connect();
    assert_eq!(ask(&mut patient, "a\n"), "a\n");
    let mut silent = node.connect();
    let mut halfway = node.connect();
    assert_eq!(ask(&mut halfway, "b\n"), "b\n");
    halfway.write_all(b"no end of this line").expect("write");
    let mut deaf = node.connect();
    deaf.set_write_timeout(Some(Duration::from_secs(20))).expect("timeout");
    // Sends and never reads: the door stops reading, then gives up. Writing fails once it has closed.
    let line = [vec![b'x'; 1 << 16], b"\n".to_vec()].concat();
    let closed = (0..10_000).any(|_| deaf.write_all(&line).is_err());
    assert!(closed, "a client that reads nothing was kept");
    assert!(is_closed(&mut silent) && is_closed(&mut halfway));
    assert_eq!(ask(&mut patient, "still here\n"), "still here\n");
}

#[test]
fn when_memory_is_short_large_messages_take_turns_and_all_are_answered() {
    let node = Node::start(WIDE);
    let line = format!("{}\n", "y".repeat(900_000));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (mut stream, line) = (node.connect(), line.clone());
            std::thread::spawn(move || ask(&mut stream, &line) == line)
        })
        .collect();
    assert!(clients.into_iter().all(|client| client.join().expect("client")));
}

#[test]
fn the_last_answer_arrives_even_if_more_was_sent_than_is_read() {
    let node = Node::start(WIDE);
    for _ in 0..20 {
        let mut stream = node.connect();
        let sent = [b"where\nquit\n".to_vec(), vec![b'z'; 300_000]].concat();
        stream.write_all(&sent).expect("the rest is taken, too");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("no reset");
        assert!(["0\n", "1\n"].contains(&answer.as_str()), "{answer:?}");
    }
    node.eventually("places are given back", || node.door.figures().connections == 0);
}

#[test]
fn connections_beyond_the_limits_are_refused_and_places_come_back() {
    let node = Node::start(DoorLimits { connections_max: 10, connections_per_address_max: 2 });
    let mut first = node.connect();
    let mut second = node.connect();
    assert_eq!(ask(&mut first, "a\n"), "a\n");
    assert_eq!(ask(&mut second, "b\n"), "b\n");
    assert!(is_closed(&mut node.connect()));
    assert_eq!(node.door.figures().refused_total, 1);
    drop(first);
    node.eventually("the place comes back", || node.door.figures().connections == 1);
    assert_eq!(ask(&mut node.connect(), "c\n"), "c\n");
}

#[test]
fn draining_answers_what_is_in_flight_and_closes() {
    let node = Node::start(WIDE);
    let mut idle = node.connect();
    assert_eq!(ask(&mut idle, "x\n"), "x\n");
    drop(node.door.close()); // nothing waits for it here
    node.shards.iter().for_each(ShardHandle::drain);
    assert!(is_closed(&mut idle));
    node.eventually("all are gone", || node.shards.iter().all(|shard| shard.connections() == 0));
}

#[test]
fn a_door_that_is_closed_takes_nobody_and_frees_its_address() {
    let node = Node::start(WIDE);
    let mut open = node.connect();
    assert_eq!(ask(&mut open, "x\n"), "x\n");
    block_on(node.door.close());
    let refused = TcpStream::connect(node.address).expect_err("nobody listens").kind();
    assert_eq!(refused, ErrorKind::ConnectionRefused);
    assert_eq!(ask(&mut open, "y\n"), "y\n", "who was in stays in");
}

#[test]
fn a_shard_that_stops_says_why_and_answers_nobody_any_more() {
    let node = Node::start(WIDE);
    let stop =
        |shard: Rc<Shard>| -> LocalFuture<()> { Box::pin(async move { shard.stop("the disk lies".to_string()) }) };
    let mut stream = node.connect();
    let last = node.shards[1].clone();
    assert_eq!(block_on(async move { last.run(Class::Foreground, stop).await }), Ok(()), "it ends with this task");
    let (shard, reason) = node.stopped.recv_timeout(Duration::from_secs(20)).expect("told");
    assert_eq!((shard, reason.as_str()), (ShardId(1), "the disk lies"));
    let later = node.shards[1].clone();
    let nothing = |_: Rc<Shard>| -> LocalFuture<()> { Box::pin(async {}) };
    assert_eq!(block_on(async move { later.run(Class::Foreground, nothing).await }), Err(ShardGone));
    // Wherever the connection lives, the stopped shard has a part in the answer.
    stream.write_all(b"anybody?\n").expect("write");
    stream.set_read_timeout(Some(Duration::from_millis(200))).expect("timeout");
    let mut answer = [0; 16];
    assert!(stream.read(&mut answer).map_or(true, |count| count == 0), "answered {answer:?}");
}

#[test]
fn a_taken_port_names_the_flag_that_moves_it() {
    let node = Node::start(WIDE);
    let address = node.address;
    let refused = block_on(async move {
        let second = BoundDoor::bind("second", address, "--second-address");
        second.and_then(BoundDoor::listen).expect_err("taken").to_string()
    });
    assert!(refused.contains("--second-address") && refused.contains(&node.address.to_string()), "{refused}");
    assert!(!refused.contains('\n'));
    let elsewhere = "192.0.2.1:9042".parse().expect("address");
    let refused = BoundDoor::bind("far", elsewhere, "--far-address").err().expect("not ours").to_string();
    assert!(refused.contains("not an address of this machine"), "{refused}");
}
