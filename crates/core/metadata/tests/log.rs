//! Three shards of one node, their envelopes carried by the test: every shard applies every entry once, in order; a restart
//! (with another number of shards) comes to the same state; damage is told from a torn tail.

use bytes::Bytes;
use holon_base::{GroupId, Instant, NodeId, Random, ServiceId, ShardId, TabletId, Wall};
use holon_kernel::metric::Metric;
use holon_kernel::testing::MemoryDisk;
use holon_kernel::*;
use holon_metadata::*;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::Future;
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// Keeps the entries it is told; makes four tablets for "+name", removes group n for "-n", refuses what begins with "!".
#[derive(Default)]
struct Recorder {
    applied: RefCell<Vec<(u64, String)>>,
    open: RefCell<BTreeSet<TabletId>>,
    shard: RefCell<Weak<Shard>>,
    /// Shards of the node that have handed over what they lead.
    handed_over: Rc<Cell<usize>>,
}

impl Recorder {
    fn takes_requests(&self) -> bool {
        self.shard.borrow().upgrade().expect("runs").takes_tablet_requests()
    }
}

const RECORDER: ServiceId = ServiceId(9);

struct NoTablet;

impl Tablet for NoTablet {
    fn apply(self: Rc<Self>, _: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(async { Ok(Bytes::new()) })
    }
    fn read(self: Rc<Self>, _: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(async { Ok(Bytes::new()) })
    }
    fn digest(self: Rc<Self>, _: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(async { Ok(Bytes::new()) })
    }
}

impl Service for Recorder {
    fn id(&self) -> ServiceId {
        RECORDER
    }
    fn name(&self) -> &'static str {
        "recorder"
    }
    fn apply_metadata(&self, index: u64, entry: &Bytes) -> Result<MetadataEffect, Bytes> {
        let text = String::from_utf8_lossy(entry).into_owned();
        self.applied.borrow_mut().push((index, text.clone()));
        if text.starts_with('!') {
            return Err(entry.slice(1..));
        }
        let remove_groups = text.strip_prefix('-').and_then(|n| n.parse().ok()).map(GroupId).into_iter().collect();
        let replication = Replication::Simple { factor: 1 };
        let create_tablets = text.starts_with('+').then_some(NewTablets { count: 4, replication });
        let answer = Bytes::from(format!("did {text}"));
        Ok(MetadataEffect { answer, create_tablets, remove_groups, ..MetadataEffect::default() })
    }
    fn metadata_snapshot(&self) -> Option<Bytes> {
        let applied = self.applied.borrow();
        Some(applied.iter().map(|(index, text)| format!("{index} {text}\n")).collect::<String>().into())
    }
    fn restore_metadata(&self, snapshot: &Bytes) -> Result<(), String> {
        let text = std::str::from_utf8(snapshot).map_err(|error| error.to_string())?;
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        let pairs = pairs.map(|(index, text)| (index.parse().expect("an index"), text.to_string()));
        *self.applied.borrow_mut() = pairs.collect();
        Ok(())
    }
    fn start(self: Rc<Self>, _: StartContext) -> LocalFuture<Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
    fn open_tablet(self: Rc<Self>, descriptor: TabletDescriptor) -> LocalFuture<Result<Rc<dyn Tablet>, String>> {
        Box::pin(async move {
            assert!(self.open.borrow_mut().insert(descriptor.id), "opened twice: {descriptor:?}");
            Ok(Rc::new(NoTablet) as Rc<dyn Tablet>)
        })
    }
    fn remove_tablet(self: Rc<Self>, tablet: TabletId) -> LocalFuture<Result<(), String>> {
        Box::pin(async move {
            assert!(self.open.borrow_mut().remove(&tablet), "removed, but never opened: {tablet}");
            Ok(())
        })
    }
    fn recover(self: Rc<Self>) -> LocalFuture<Result<(), String>> {
        assert!(!self.takes_requests(), "what is in the log is not in the tablets yet");
        Box::pin(async { Ok(()) })
    }
    fn recovered_everywhere(self: Rc<Self>) -> LocalFuture<Result<(), String>> {
        assert!(self.takes_requests(), "other nodes' requests are to be served, so that this one can take part");
        Box::pin(async { Ok(()) })
    }
    fn hand_over(self: Rc<Self>) -> LocalFuture<()> {
        Box::pin(async move {
            let shard = self.shard.borrow().upgrade().expect("runs");
            for _ in 0..100 * shard.id().0 {
                shard.yield_now().await;
            }
            self.handed_over.set(self.handed_over.get() + 1);
        })
    }
    fn stop(self: Rc<Self>) -> LocalFuture<()> {
        let shards = usize::from(self.shard.borrow().upgrade().expect("runs").shards());
        assert_eq!(
            self.handed_over.get(),
            shards,
            "the others learn that the node leaves when no shard owes them anything"
        );
        Box::pin(async {})
    }
    fn open_session(self: Rc<Self>, _: SessionContext) -> Box<dyn Session> {
        unreachable!("it has no door")
    }
    fn message(self: Rc<Self>, _: Address, _: Verb, _: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(async { Err(CallError::NotHere) })
    }
    fn command(self: Rc<Self>, _: Vec<String>, _: Rc<dyn Fn(String)>) -> LocalFuture<Result<String, String>> {
        Box::pin(async { Err("none".to_string()) })
    }
    fn metrics(&self, _: &mut Vec<Metric>) {}
    fn status(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

struct Post(Rc<RefCell<Vec<Envelope>>>);

impl Router for Post {
    fn send(&mut self, envelope: Envelope) {
        self.0.borrow_mut().push(envelope);
    }
}

struct Node {
    shards: Vec<(Rc<Shard>, Rc<Metadata>, Rc<Recorder>)>,
    post: Rc<RefCell<Vec<Envelope>>>,
    random: RefCell<Random>,
}

impl Node {
    fn new(disk: &MemoryDisk, shards: u16, seed: u64) -> Node {
        Node::with_options(disk, shards, seed, |_| ())
    }

    fn with_options(disk: &MemoryDisk, shards: u16, seed: u64, change: impl Fn(&mut NodeOptions)) -> Node {
        let post: Rc<RefCell<Vec<Envelope>>> = Rc::default();
        let clock = Arc::default();
        let handed_over = Rc::<Cell<usize>>::default();
        let make = |id| {
            let shard = Shard::new(ShardOptions {
                node: NodeId(1),
                shard: ShardId(id),
                shards,
                seed,
                order: Order::Permuted(Random::new(seed + u64::from(id))),
                disk: Box::new(disk.clone()),
                router: Box::new(Post(post.clone())),
                now: Instant(0),
                wall: Wall(0),
                clock: Arc::clone(&clock),
            });
            let mut options = NodeOptions::founder(NodeId(1), seed as u32);
            change(&mut options);
            let metadata = Metadata::new(&shard, options);
            let recorder = Rc::new(Recorder { handed_over: handed_over.clone(), ..Recorder::default() });
            *recorder.shard.borrow_mut() = Rc::downgrade(&shard);
            shard.add_service(recorder.clone());
            (shard, metadata, recorder)
        };
        Node { shards: (0..shards).map(make).collect(), post: post.clone(), random: RefCell::new(Random::new(seed)) }
    }

    /// Runs one future on each shard; envelopes are delivered in a random order, some twice.
    fn run<T: 'static, F: Future<Output = T> + 'static>(&self, futures: Vec<(usize, F)>) -> Vec<T> {
        let outputs: Rc<RefCell<Vec<Option<T>>>> = Rc::new(RefCell::new(futures.iter().map(|_| None).collect()));
        for (slot, (shard, future)) in futures.into_iter().enumerate() {
            let outputs = outputs.clone();
            self.shards[shard].0.spawn(Scope::Node, Class::Foreground, async move {
                let output = future.await;
                outputs.borrow_mut()[slot] = Some(output);
            });
        }
        for _ in 0..100_000 {
            if outputs.borrow().iter().all(Option::is_some) {
                return outputs.borrow_mut().drain(..).flatten().collect();
            }
            self.shards.iter().for_each(|(shard, _, _)| assert!(!shard.run_ready(10_000)));
            let mut envelopes = self.post.take();
            self.random.borrow_mut().shuffle(&mut envelopes);
            for envelope in envelopes {
                self.shards[usize::from(envelope.destination.shard.0)].0.deliver(envelope);
            }
        }
        let stopped: Vec<_> = self.shards.iter().map(|(shard, _, _)| shard.stopped()).collect();
        panic!("stuck: {stopped:?}");
    }

    fn start(&self) -> Result<(), StartError> {
        let starts = self.shards.iter().enumerate();
        let starts = starts.map(|(n, (_, metadata, _))| (n, start_shard(metadata.clone(), Rc::new(|_| ()))));
        self.run(starts.collect()).into_iter().collect()
    }

    fn propose(&self, entries: &[(usize, &'static str)]) -> Vec<Committed> {
        let propose = |&(shard, text): &(usize, &'static str)| {
            let metadata = self.shards[shard].1.clone();
            (shard, async move { metadata.propose(RECORDER, Bytes::from_static(text.as_bytes())).await })
        };
        self.run(entries.iter().map(propose).collect()).into_iter().collect::<Result<_, _>>().expect("proposed")
    }

    /// What shard 0 has applied.
    fn texts(&self) -> Vec<String> {
        self.shards[0].2.applied.borrow().iter().map(|(_, text)| text.clone()).collect()
    }

    fn open(&self) -> Vec<TabletId> {
        let mut all: Vec<_> =
            self.shards.iter().flat_map(|(_, _, r)| r.open.borrow().iter().copied().collect::<Vec<_>>()).collect();
        all.sort();
        all
    }
}

#[test]
fn no_shard_stops_before_all_have_handed_over() {
    for seed in 0..10 {
        let node = Node::new(&MemoryDisk::new(), 3, seed);
        node.start().expect("starts");
        let stops = node.shards.iter().enumerate().map(|(n, (_, metadata, _))| (n, stop_shard(metadata.clone())));
        node.run(stops.collect());
        assert_eq!(node.shards[0].2.handed_over.get(), 3);
    }
}

#[test]
fn every_shard_applies_every_entry_in_order_and_a_restart_does_it_again() {
    for seed in 0..50 {
        let disk = MemoryDisk::new();
        let node = Node::new(&disk, 3, seed);
        node.start().expect("starts");
        let committed = node.propose(&[(2, "+a"), (0, "b"), (1, "!no"), (2, "+c"), (1, "d")]);
        let mut indexes: Vec<u64> = committed.iter().map(|c| c.index).collect();
        indexes.sort_unstable();
        // The leader's own entry and the node's are before them.
        assert_eq!(indexes, [3, 4, 5, 6, 7]);
        assert_eq!(committed[0].answer, Ok(Bytes::from_static(b"did +a")));
        assert_eq!(committed[2].answer, Err(Bytes::from_static(b"no")));
        assert_eq!(node.open().len(), 8);
        let removal = if committed[0].index == 3 { "-3" } else { "-99" };
        node.propose(&[(0, removal)]);
        let history = node.shards[0].2.applied.borrow().clone();
        for (_, metadata, recorder) in &node.shards {
            assert_eq!(*recorder.applied.borrow(), history, "seed {seed}");
            assert_eq!(metadata.applied(), 8);
        }
        for shards in [1, 2, 5] {
            let again = Node::new(&disk, shards, seed + 100 * u64::from(shards));
            again.start().expect("starts again");
            assert!(again.shards.iter().all(|(_, _, recorder)| *recorder.applied.borrow() == history));
            assert_eq!(again.open(), node.open(), "seed {seed}, {shards} shards");
        }
    }
}

#[test]
fn a_torn_tail_is_cut_off_and_damage_before_good_entries_is_an_error() {
    let disk = MemoryDisk::new();
    let node = Node::new(&disk, 1, 1);
    node.start().expect("starts");
    node.propose(&[(0, "first")]);
    let one = disk.content("metadata/log").expect("the log").len();
    node.propose(&[(0, "second")]);
    let whole = disk.content("metadata/log").expect("the log");
    for cut in one..whole.len() {
        let torn = disk.deep_copy();
        torn.replace("metadata/log", whole[..cut].to_vec());
        let node = Node::new(&torn, 1, 2);
        node.start().expect("a torn tail is no error");
        // An append is there whole or not at all.
        let mut texts = vec!["first"];
        assert_eq!(node.texts(), texts, "cut at {cut}");
        node.propose(&[(0, "instead")]);
        texts.push("instead");
        let node = Node::new(&torn, 1, 3);
        node.start().expect("starts");
        assert_eq!(node.texts(), texts, "cut at {cut}");
    }
    for byte in 0..one {
        for bit in [0, 3, 7] {
            let rotten = disk.deep_copy();
            let mut content = whole.clone();
            content[byte] ^= 1 << bit;
            rotten.replace("metadata/log", content);
            let node = Node::new(&rotten, 1, 2);
            let error = node.start().expect_err("damage is found").to_string();
            assert!(error.contains("metadata/log"), "{error}");
        }
    }
}

fn identity(disk: &MemoryDisk, fresh: u128) -> Result<Identity, String> {
    let test = holon_kernel::testing::TestShard::new(disk.clone());
    let client = test.shard.disk();
    test.block_on(async move { load_or_create(&client, NodeId(fresh)).await }).map_err(|error| error.to_string())
}

#[test]
fn the_identity_stays_and_the_boot_number_grows() {
    let disk = MemoryDisk::new();
    assert_eq!(identity(&disk, 7), Ok(Identity { node: NodeId(7), boot: 1, cluster: None }));
    let seeds = vec![(NodeId(3), ([127, 0, 0, 3], 7000).into())];
    let cluster = Cluster { id: 99, founder: NodeId(3), seeds };
    let joined = Identity { node: NodeId(7), boot: 1, cluster: Some(cluster) };
    let test = holon_kernel::testing::TestShard::new(disk.clone());
    let (client, written) = (test.shard.disk(), joined.clone());
    test.block_on(async move { save(&client, &written).await }).expect("written");
    assert_eq!(identity(&disk, 8), Ok(Identity { boot: 2, ..joined }));
    let whole = disk.content("node").expect("written");
    for byte in 0..whole.len() {
        let mut content = whole.clone();
        content[byte] ^= 0x10;
        disk.replace("node", content);
        let error = identity(&disk, 9).expect_err("damage or a newer format");
        assert!(error.contains("node") || error.contains("newer"), "{error}");
    }
    let mut newer = whole.clone();
    newer[8] = 9;
    disk.replace("node", newer);
    assert!(identity(&disk, 9).expect_err("newer").contains("newer format (9"));
    let foreign = MemoryDisk::new();
    foreign.replace("PG_VERSION", b"15".to_vec());
    assert!(identity(&foreign, 9).expect_err("foreign").contains("PG_VERSION"));
}

fn cut_often(options: &mut NodeOptions) {
    options.log = LogOptions { entries: 5, bytes: 1 << 20, keep_entries: 2 };
}

#[test]
fn a_log_that_is_cut_comes_to_the_same_state() {
    for seed in 0..50 {
        let disk = MemoryDisk::new();
        let node = Node::with_options(&disk, 3, seed, cut_often);
        node.start().expect("starts");
        for round in 0..8 {
            node.propose(&[(round % 3, "+table"), (0, "!no"), (1, "word")]);
        }
        let history = node.shards[0].2.applied.borrow().clone();
        assert_eq!(history.len(), 24);
        for shards in [1, 2, 5] {
            let again = Node::with_options(&disk, shards, seed + 100 * u64::from(shards), cut_often);
            again.start().expect("starts again");
            assert!(again.shards.iter().all(|(_, _, recorder)| *recorder.applied.borrow() == history));
            assert_eq!(again.open(), node.open(), "seed {seed}, {shards} shards");
            let groups = |node: &Node| node.shards[0].1.groups();
            assert_eq!(groups(&again), groups(&node));
        }
        // What was cut is not in the file any more, but in the snapshot once.
        let again = Node::with_options(&disk, 1, seed + 900, cut_often);
        again.start().expect("starts");
        let entries = |file: &[u8]| file.windows(4).filter(|bytes| *bytes == b"word").count();
        let file = disk.content("metadata/log").expect("the log");
        assert!((8..=8 + 4).contains(&entries(&file)), "{} of 8 words in the snapshot", entries(&file));
    }
}

#[test]
fn damage_in_a_log_that_was_cut_is_never_taken_for_a_torn_tail() {
    for keep_entries in [0, 2] {
        let log = LogOptions { entries: 1, bytes: 1 << 20, keep_entries };
        let disk = MemoryDisk::new();
        let node = Node::with_options(&disk, 1, 1, |options| options.log = log.clone());
        node.start().expect("starts");
        node.propose(&[(0, "+a")]);
        node.propose(&[(0, "b")]);
        let history = node.shards[0].2.applied.borrow().clone();
        let whole = disk.content("metadata/log").expect("the log");
        let mut found = 0;
        for at in 0..whole.len() {
            let rotten = disk.deep_copy();
            let mut content = whole.clone();
            content[at] ^= 4;
            rotten.replace("metadata/log", content);
            let node = Node::new(&rotten, 1, 3);
            match node.start() {
                Ok(()) => assert_eq!(*node.shards[0].2.applied.borrow(), history, "byte {at}"),
                Err(error) => {
                    assert!(error.to_string().contains("metadata/log"), "{error}");
                    found += 1;
                }
            }
        }
        // What is behind the last thing that counts may be torn.
        assert!(found + 100 > whole.len(), "{found} of {}", whole.len());
    }
}

#[test]
fn the_lone_survivor_begins_anew_and_the_lost_majority_is_no_longer_needed() {
    let disk = MemoryDisk::new();
    let node = Node::new(&disk, 1, 1);
    node.start().expect("starts");
    node.propose(&[(0, "+a"), (0, "b")]);
    drop(node);
    // Of a cluster whose two other voters are gone, it cannot go on by itself.
    let three = |disk: &MemoryDisk| {
        let test = holon_kernel::testing::TestShard::new(disk.clone());
        let client = test.shard.disk();
        test.block_on(async move { look(&client, NodeId(1), NodeId(1)).await }).expect("a log")
    };
    let position = three(&disk);
    assert_eq!((position.last_index, position.voters), (4, BTreeSet::from([NodeId(1)])));
    let test = holon_kernel::testing::TestShard::new(disk.clone());
    let client = test.shard.disk();
    let after = test.block_on(async move { begin_anew(&client, NodeId(1), NodeId(1)).await }).expect("begun");
    assert_eq!((after.last_index, after.committed), (5, 5));
    assert!(after.last_term > position.last_term + 1000);
    let node = Node::new(&disk, 2, 2);
    node.start().expect("starts");
    assert_eq!(node.texts(), ["+a", "b"]);
    node.propose(&[(1, "c")]);
    assert_eq!(node.texts(), ["+a", "b", "c"]);
    // An empty directory is nothing to begin with.
    let test = holon_kernel::testing::TestShard::new(MemoryDisk::new());
    let client = test.shard.disk();
    let error = test.block_on(async move { begin_anew(&client, NodeId(1), NodeId(1)).await }).expect_err("empty");
    assert!(error.to_string().contains("never part of a cluster"), "{error}");
}

#[test]
fn a_binary_that_knows_less_than_its_cluster_ends_and_says_so() {
    let disk = MemoryDisk::new();
    let node = Node::new(&disk, 1, 1);
    node.start().expect("starts");
    drop(node);
    let older = Node::with_options(&disk, 1, 2, |options| options.level = LEVEL - 1);
    // Its tasks end with it.
    let start = start_shard(older.shards[0].1.clone(), Rc::new(|_| ()));
    older.shards[0].0.spawn(Scope::Node, Class::Foreground, async move { drop(start.await) });
    while older.shards[0].0.stopped().is_none() && older.shards[0].0.run_ready(10_000) {}
    let why = older.shards[0].0.stopped().expect("it stops");
    assert!(why.contains("start a newer holon"), "{why}");
}
