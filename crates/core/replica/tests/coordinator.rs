//! What a coordinator does when replicas are silent, refuse what was routed by an older map, or fail half way: nobody is waited
//! for who is not needed. The replicas are played by the test, behind a router; time is the test's.

use bytes::Bytes;
use holon_base::{GroupId, NodeId, TabletId};
use holon_kernel::limits::CREDIT_PER_PEER_REQUESTS;
use holon_kernel::testing::{MemoryDisk, TestMap, TestShard};
use holon_kernel::*;
use holon_replica::coordinator::Demand;
use holon_replica::message::decode_apply;
use holon_replica::{Coordinator, Level, ReadAnswer, ReadRequest, ReplicaError, Speculation, page};
use holon_store::{Cell as StoreCell, CellEntry, KeyRange, Mutation, Row};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

const KEY: &[u8] = b"k";
const A: NodeId = NodeId(2);
const B: NodeId = NodeId(3);
const C: NodeId = NodeId(4);
/// Holds nothing by the first map.
const D: NodeId = NodeId(5);
/// What an answer takes as a rule.
const ANSWER: Duration = Duration::from_millis(1);
/// Far more than that and less than a deadline.
const SOON: Duration = Duration::from_millis(200);
const DEADLINE: Duration = Duration::from_secs(10);

fn tablet() -> TabletId {
    TabletId::new(GroupId(1), 0)
}

fn row(value: u8) -> Row {
    let mut row = Row::default();
    row.put(CellEntry::new(1, StoreCell::live(i64::from(value), vec![value])));
    row
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    Answer(Duration),
    /// Nothing comes back.
    Fall,
    /// It has a map of this epoch, and will not take it.
    Refuse(u64),
    Fail,
}

/// One row, and what becomes of requests.
struct Replica {
    row: RefCell<Row>,
    reads: Cell<Does>,
    digests: Cell<Does>,
    writes: Cell<Does>,
}

impl Default for Replica {
    fn default() -> Replica {
        let does = || Cell::new(Does::Answer(ANSWER));
        Replica { row: RefCell::default(), reads: does(), digests: does(), writes: does() }
    }
}

impl Replica {
    fn merge(&self, patch: Row) {
        let before = self.row.take();
        *self.row.borrow_mut() = before.merge(patch);
    }

    fn has(&self, value: u8) -> bool {
        *self.row.borrow() == row(value)
    }

    fn all(&self, does: Does) {
        [&self.reads, &self.digests, &self.writes].into_iter().for_each(|cell| cell.set(does));
    }

    fn answer(&self, verb: Verb, payload: Bytes) -> Bytes {
        let row = self.row.borrow().clone();
        let rows = if row.is_empty() { Vec::new() } else { vec![(Bytes::from_static(KEY), row)] };
        let page = ReadAnswer { rows, ..ReadAnswer::default() };
        match verb {
            Verb::READ => page.encode(&[]),
            Verb::DIGEST => {
                let request = ReadRequest::decode(payload).expect("a request");
                Bytes::copy_from_slice(&page::digest(&page, request.purgeable_seconds).to_be_bytes())
            }
            _ => {
                let (_, mut mutation) = decode_apply(payload).expect("a mutation");
                let mutation = Mutation::decode(mutation.rest()).expect("a mutation");
                for (_, patch) in mutation.rows().expect("well formed") {
                    self.merge(patch);
                }
                Bytes::new()
            }
        }
    }
}

type Nodes = Rc<BTreeMap<NodeId, Replica>>;

/// Brings requests to the replicas and their answers back.
struct Wires {
    shard: Rc<RefCell<Weak<Shard>>>,
    nodes: Nodes,
    /// What the replicas of requests know of the map: a request by an older one is refused.
    since: Rc<Cell<u64>>,
}

impl Router for Wires {
    fn send(&mut self, envelope: Envelope) {
        let EnvelopeKind::Request { verb, .. } = envelope.kind else { return };
        let (shard, nodes) = (self.shard.borrow().upgrade().expect("runs"), self.nodes.clone());
        let since = self.since.get();
        shard.clone().spawn(Scope::Node, Class::Foreground, async move {
            let replica = &nodes[&envelope.destination.node];
            let does = match verb {
                _ if envelope.map_epoch < since => Does::Refuse(since),
                Verb::READ => replica.reads.get(),
                Verb::DIGEST => replica.digests.get(),
                _ => replica.writes.get(),
            };
            let (outcome, map_epoch) = match does {
                Does::Fall => return,
                Does::Answer(_) => (Ok(()), 0),
                Does::Refuse(epoch) => (Err(CallError::NotHere), epoch),
                Does::Fail => (Err(CallError::Failed(Bytes::from_static(b"broken"))), 0),
            };
            shard.sleep(if let Does::Answer(after) = does { after } else { ANSWER }).await;
            let payload = if outcome.is_ok() { replica.answer(verb, envelope.payload) } else { Bytes::new() };
            shard.deliver(Envelope {
                source: envelope.destination,
                destination: envelope.source,
                correlation: envelope.correlation,
                map_epoch,
                clock: 0,
                kind: EnvelopeKind::Reply(outcome),
                payload,
            });
        });
    }
}

struct World {
    test: TestShard,
    plan: Rc<TestMap>,
    since: Rc<Cell<u64>>,
    nodes: Nodes,
    coordinator: Rc<Coordinator>,
}

impl World {
    fn new() -> World {
        let nodes: Nodes = Rc::new([A, B, C, D].map(|node| (node, Replica::default())).into());
        let place = Rc::new(RefCell::new(Weak::new()));
        let since = Rc::new(Cell::new(0));
        let wires = Wires { shard: place.clone(), nodes: nodes.clone(), since: since.clone() };
        let test = TestShard::with_router(Box::new(MemoryDisk::new()), Box::new(wires));
        *place.borrow_mut() = Rc::downgrade(&test.shard);
        let replicas = Replicas { readers: Rc::new([A, B, C]), joint: Rc::new([]), since: 1 };
        let plan = Rc::new(TestMap::new(&test.shard, move |_| Some(replicas.clone())));
        test.shard.set_map(plan.clone());
        let coordinator = Coordinator::new(&test.shard, Rc::from("dc"));
        World { test, plan, since, nodes, coordinator }
    }

    fn node(&self, node: NodeId) -> &Replica {
        &self.nodes[&node]
    }

    /// The value that was read, and how long it took.
    fn read(&self, level: Level) -> (Result<Option<u8>, ReplicaError>, Duration) {
        let (coordinator, shard) = (self.coordinator.clone(), self.test.shard.clone());
        self.test.block_on(async move {
            let begun = shard.now();
            let demand = Demand { tablet: tablet(), level, replication: None, deadline: begun + DEADLINE };
            let request = ReadRequest::all_of(vec![KeyRange { start: Bytes::new(), end: None }], 1000);
            let answer = coordinator.read(&demand, &request, Speculation::Percentile(0.99), &|_, _| ()).await;
            let value = |answer: ReadAnswer| answer.rows.first().map(|(_, row)| row.cells[0].cell.value[0]);
            (answer.map(value), shard.now().since(begun))
        })
    }

    fn write(&self, value: u8, level: Level) -> (Result<(), ReplicaError>, Duration) {
        let (coordinator, shard) = (self.coordinator.clone(), self.test.shard.clone());
        self.test.block_on(async move {
            let begun = shard.now();
            let demand = Demand { tablet: tablet(), level, replication: None, deadline: begun + DEADLINE };
            let mutation = Mutation::row(KEY, &row(value)).expect("small").bytes().clone();
            let outcome = coordinator.write(&demand, mutation, false, &|_, _| ()).await;
            (outcome, shard.now().since(begun))
        })
    }

    /// Until `until` a node is busy with as many requests as one is sent at a time.
    fn keep_busy(&self, node: NodeId, until: Duration) {
        self.node(node).reads.set(Does::Fall);
        let until = self.test.shard.now() + until;
        for _ in 0..CREDIT_PER_PEER_REQUESTS {
            let shard = self.test.shard.clone();
            self.test.shard.spawn(Scope::Node, Class::Foreground, async move {
                let to = Address { node, shard: tablet().shard(shard.shards()) };
                let asked = shard.call(to, Target::Tablet(tablet()), Verb::READ, Bytes::new(), until).await;
                assert_eq!(asked, Err(CallError::Timeout));
            });
        }
        self.test.shard.run_ready(CREDIT_PER_PEER_REQUESTS * 2);
    }

    /// In a moment news of the map come: the tablet is on A, D and C, and A takes requests.
    fn moves_in_a_moment(&self) {
        let (plan, nodes, shard) = (self.plan.clone(), self.nodes.clone(), self.test.shard.clone());
        shard.clone().spawn(Scope::Node, Class::Foreground, async move {
            shard.sleep(Duration::from_millis(30)).await;
            nodes[&A].all(Does::Answer(ANSWER));
            plan.moves_to(&[A, D, C]);
        });
    }
}

#[track_caller]
fn soon(took: Duration) {
    assert!(took < SOON, "took {took:?}");
}

#[test]
fn replicas_that_differ_are_repaired_before_the_answer() {
    let world = World::new();
    world.node(B).merge(row(7));
    let (value, took) = world.read(Level::Quorum);
    assert_eq!(value, Ok(Some(7)));
    soon(took);
    assert!(world.node(A).has(7), "the nearest replica lacked it");
    assert!(!world.node(C).has(7), "nobody asked it");
}

#[test]
fn a_replica_that_falls_silent_in_a_repair_is_replaced_by_another() {
    let world = World::new();
    world.node(B).merge(row(7));
    world.node(A).writes.set(Does::Fall);
    let (value, took) = world.read(Level::Quorum);
    assert_eq!(value, Ok(Some(7)));
    soon(took);
    assert!(world.node(C).has(7), "a majority has what was shown");
}

#[test]
fn a_repair_that_nobody_takes_is_a_timeout_at_the_deadline() {
    let world = World::new();
    world.node(B).merge(row(7));
    [A, C].into_iter().for_each(|node| world.node(node).writes.set(Does::Fall));
    let (value, took) = world.read(Level::Quorum);
    assert_eq!(value, Err(ReplicaError::Timeout { received: 1, required: 2, data: true }));
    assert_eq!(took, DEADLINE);
}

#[test]
fn whose_digest_came_late_is_asked_for_its_page() {
    let world = World::new();
    world.node(C).merge(row(7));
    // B is slow, so C is asked too, differs, and then falls silent; B would do, if it were asked for more than its digest.
    world.node(B).digests.set(Does::Answer(Duration::from_millis(80)));
    world.node(C).reads.set(Does::Fall);
    let (value, took) = world.read(Level::Quorum);
    assert_eq!(value, Ok(None), "A and B agree");
    soon(took);
}

#[test]
fn a_read_that_cannot_succeed_any_more_does_not_wait_for_the_silent() {
    let world = World::new();
    [A, B].into_iter().for_each(|node| world.node(node).all(Does::Fail));
    world.node(C).all(Does::Fall);
    let (value, took) = world.read(Level::Quorum);
    let reason = Some(Bytes::from_static(b"broken"));
    assert_eq!(value, Err(ReplicaError::Failed { received: 0, required: 2, failed: vec![A, B], reason }));
    soon(took);
}

#[test]
fn who_says_what_it_holds_and_cannot_show_it_is_not_asked_for_ever() {
    let world = World::new();
    world.node(A).all(Does::Fall);
    [B, C].into_iter().for_each(|node| world.node(node).reads.set(Does::Fail));
    let (value, took) = world.read(Level::Quorum);
    match &value {
        Err(ReplicaError::Failed { failed, .. }) => assert_eq!(failed.len(), 2),
        other => assert!(matches!(other, Err(ReplicaError::Timeout { .. })), "{other:?}"),
    }
    assert!(took <= DEADLINE);
}

#[test]
fn a_read_refused_by_a_newer_map_is_routed_anew_though_others_are_silent() {
    let world = World::new();
    world.nodes.values().for_each(|node| node.merge(row(7)));
    world.node(A).all(Does::Refuse(2));
    [B, C].into_iter().for_each(|node| world.node(node).all(Does::Fall));
    world.moves_in_a_moment();
    let (value, took) = world.read(Level::Quorum);
    assert_eq!(value, Ok(Some(7)));
    soon(took);
    assert_eq!(world.plan.asked.borrow().first(), Some(&(2, A)), "news of the map are asked for where they are");
}

#[test]
fn a_refused_read_waits_for_others_as_long_as_the_map_stays() {
    let world = World::new();
    world.nodes.values().for_each(|node| node.merge(row(7)));
    // A has not opened the tablet yet: no newer map will help, and the others are far away.
    world.node(A).all(Does::Refuse(0));
    [B, C].into_iter().for_each(|node| world.node(node).all(Does::Answer(Duration::from_millis(150))));
    let (value, took) = world.read(Level::Quorum);
    assert_eq!(value, Ok(Some(7)));
    assert!(took < Duration::from_millis(400), "took {took:?}");
    assert_eq!(world.coordinator.counters.reroutes.get(), 0);
    assert!(world.plan.asked.borrow().is_empty());
}

#[test]
fn a_write_refused_by_a_newer_map_is_routed_anew_though_another_is_silent() {
    let world = World::new();
    world.node(A).all(Does::Refuse(2));
    world.node(B).all(Does::Fall);
    world.moves_in_a_moment();
    let (outcome, took) = world.write(7, Level::Quorum);
    assert_eq!(outcome, Ok(()));
    soon(took);
    assert_eq!(world.coordinator.counters.reroutes.get(), 1);
    let holders = [A, D, C].iter().filter(|node| world.node(**node).has(7)).count();
    assert!(holders >= 2, "{holders} of three have what was acknowledged");
}

#[test]
fn a_write_that_had_to_wait_goes_out_by_the_map_that_chose_its_replicas() {
    let world = World::new();
    [A, B, C].into_iter().for_each(|node| world.keep_busy(node, Duration::from_millis(60)));
    let (plan, since, shard) = (world.plan.clone(), world.since.clone(), world.test.shard.clone());
    shard.clone().spawn(Scope::Node, Class::Foreground, async move {
        shard.sleep(Duration::from_millis(30)).await;
        plan.moves_to(&[D]);
        since.set(plan.epoch());
    });
    let (outcome, took) = world.write(7, Level::Quorum);
    assert_eq!(outcome, Ok(()));
    soon(took);
    // A, B and C would have taken it, if it had come by the new map: of which they are no replicas any more.
    assert!(world.node(D).has(7), "the only replica has what was acknowledged");
    assert_eq!(world.coordinator.counters.reroutes.get(), 1);
}

#[test]
fn what_some_replica_may_have_is_not_refused_as_if_nothing_were_done() {
    let world = World::new();
    [B, C].into_iter().for_each(|node| world.test.shard.set_alive(node, false));
    let (outcome, _) = world.write(7, Level::Quorum);
    assert_eq!(outcome, Err(ReplicaError::Unavailable { required: 2, alive: 1 }));
    let coordinator = world.coordinator.clone();
    let deadline = world.test.shard.now() + DEADLINE;
    let outcome = world.test.block_on(async move {
        let demand = Demand { tablet: tablet(), level: Level::Quorum, replication: None, deadline };
        let mutation = Mutation::row(KEY, &row(7)).expect("small").bytes().clone();
        coordinator.write_again(&demand, mutation, false, &|_, _| ()).await
    });
    assert_eq!(outcome, Err(ReplicaError::Timeout { received: 0, required: 2, data: false }));
}

#[test]
fn a_refused_write_waits_for_others_as_long_as_the_map_stays() {
    let world = World::new();
    world.node(A).all(Does::Refuse(0));
    [B, C].into_iter().for_each(|node| world.node(node).all(Does::Answer(Duration::from_millis(150))));
    let (outcome, took) = world.write(7, Level::Quorum);
    assert_eq!(outcome, Ok(()));
    soon(took);
    assert_eq!(world.coordinator.counters.reroutes.get(), 0);
}

#[test]
fn a_read_whose_replicas_are_gone_asks_those_that_have_come_back() {
    let world = World::new();
    world.nodes.values().for_each(|node| node.merge(row(7)));
    // B seems dead when the read begins; A falls silent, and is found dead just after B was found alive.
    world.node(A).all(Does::Fall);
    world.test.shard.set_alive(B, false);
    let shard = world.test.shard.clone();
    shard.clone().spawn(Scope::Node, Class::Foreground, async move {
        shard.sleep(Duration::from_millis(60)).await;
        shard.set_alive(B, true);
        shard.set_alive(A, false);
    });
    let (value, took) = world.read(Level::Quorum);
    assert_eq!(value, Ok(Some(7)));
    soon(took);
}

#[test]
fn a_read_whose_replicas_are_gone_for_good_is_refused_as_unavailable() {
    let world = World::new();
    [A, B].into_iter().for_each(|node| world.node(node).all(Does::Fall));
    let shard = world.test.shard.clone();
    shard.clone().spawn(Scope::Node, Class::Foreground, async move {
        shard.sleep(Duration::from_millis(60)).await;
        [A, B].into_iter().for_each(|node| shard.set_alive(node, false));
    });
    let (value, took) = world.read(Level::Quorum);
    assert_eq!(value, Err(ReplicaError::Unavailable { required: 2, alive: 1 }));
    soon(took);
}

#[test]
fn a_level_that_needs_the_silent_ends_at_the_deadline() {
    let world = World::new();
    world.node(B).all(Does::Fall);
    let (outcome, took) = world.write(7, Level::All);
    assert_eq!(outcome, Err(ReplicaError::Timeout { received: 2, required: 3, data: false }));
    assert_eq!(took, DEADLINE);
}
