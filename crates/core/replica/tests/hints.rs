//! Hints that are kept while those before them are being sent: none is left behind. Those of a group that is truncated: none
//! arrives after that. The replica is played by the test, behind a
//! router; time is the test's.

use bytes::Bytes;
use holon_base::{GroupId, Instant, NodeId, ShardId, TabletId};
use holon_kernel::testing::{MemoryDisk, TestMap, TestShard};
use holon_kernel::*;
use holon_replica::HintStore;
use holon_replica::own::tablet_options;
use holon_store::{Engine, EngineOptions};
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

const AWAY: NodeId = NodeId(2);
/// What the replica takes to answer.
const ANSWER: Duration = Duration::from_millis(100);

fn tablet() -> TabletId {
    TabletId::new(GroupId(1), 0)
}

/// Every tablet is at the replica that is away.
fn map(shard: &Rc<Shard>) -> TestMap {
    let record = NodeRecord {
        node: AWAY,
        address: ([127, 0, 0, 2], 7000).into(),
        data_center: Rc::from("dc"),
        rack: Rc::from("rack"),
        shards: 1,
        tokens: Rc::new([]),
        facts: Rc::new([]),
    };
    let replicas = Replicas { readers: Rc::new([AWAY]), joint: Rc::new([]), since: 1 };
    TestMap::new(shard, move |_| Some(replicas.clone())).with_nodes(Rc::new([record]))
}

fn other_tablet() -> TabletId {
    TabletId::new(GroupId(2), 0)
}

/// Answers each request with what is wanted, after a while.
struct Replica {
    shard: Rc<RefCell<Weak<Shard>>>,
    answer: Rc<RefCell<Result<(), CallError>>>,
    /// What it took, by tablet.
    taken: Rc<RefCell<Vec<TabletId>>>,
    asked: Rc<Cell<u64>>,
}

impl Router for Replica {
    fn send(&mut self, envelope: Envelope) {
        let EnvelopeKind::Request { target, .. } = envelope.kind else { return };
        let (shard, answer) = (self.shard.borrow().upgrade().expect("runs"), self.answer.clone());
        let taken = self.taken.clone();
        self.asked.set(self.asked.get() + 1);
        shard.clone().spawn(Scope::Node, Class::Foreground, async move {
            shard.sleep(ANSWER).await;
            if let (Target::Tablet(tablet), Ok(())) = (target, &*answer.borrow()) {
                taken.borrow_mut().push(tablet);
            }
            let kind = EnvelopeKind::Reply(answer.borrow().clone());
            let (source, destination, correlation) = (envelope.destination, envelope.source, envelope.correlation);
            let payload = Bytes::new();
            shard.deliver(Envelope { source, destination, correlation, map_epoch: 1, clock: 0, kind, payload });
        });
    }
}

struct World {
    test: TestShard,
    hints: Rc<HintStore>,
    engine: Engine,
    answer: Rc<RefCell<Result<(), CallError>>>,
    taken: Rc<RefCell<Vec<TabletId>>>,
    asked: Rc<Cell<u64>>,
}

async fn open_hints(shard: &Rc<Shard>, engine: &Engine) -> Rc<HintStore> {
    let grace = Rc::new(|_| Duration::from_secs(1000));
    HintStore::open(shard, engine, grace).await.expect("opens")
}

impl World {
    fn new() -> World {
        let (place, answer) = (Rc::new(RefCell::new(Weak::new())), Rc::new(RefCell::new(Ok(()))));
        let (taken, asked): (Rc<RefCell<Vec<TabletId>>>, Rc<Cell<u64>>) = Default::default();
        let replica =
            Replica { shard: place.clone(), answer: answer.clone(), taken: taken.clone(), asked: asked.clone() };
        let test = TestShard::with_router(Box::new(MemoryDisk::new()), Box::new(replica));
        *place.borrow_mut() = Rc::downgrade(&test.shard);
        test.shard.set_map(Rc::new(map(&test.shard)));
        assert_eq!(test.shard.id(), ShardId(0));
        let shard = test.shard.clone();
        let (hints, engine) = test.block_on(async move {
            let mut options = EngineOptions::new(1, 0, 1);
            options.tablet_options = Rc::new(|_| tablet_options());
            let engine = Engine::open(shard.clone(), options).await.expect("opens");
            engine.recover().await.expect("recovers");
            (open_hints(&shard, &engine).await, engine)
        });
        World { test, hints, engine, answer, taken, asked }
    }

    fn keep(&self, mutation: &'static [u8]) {
        assert!(self.keep_of(tablet(), self.test.shard.now(), mutation));
    }

    fn keep_of(&self, tablet: TabletId, began: Instant, mutation: &'static [u8]) -> bool {
        let hints = self.hints.clone();
        self.test.block_on(async move { hints.keep(AWAY, tablet, Bytes::from_static(mutation), began).await })
    }

    fn forget(&self, group: GroupId) {
        let hints = self.hints.clone();
        self.test.block_on(async move { hints.forget_group(group).await }).expect("forgets");
    }

    /// Kept, sent, waiting.
    fn figures(&self) -> (u64, u64, u64) {
        let counters = self.hints.counters();
        (counters.kept.get(), counters.sent.get(), self.hints.waiting().0)
    }
}

#[test]
fn a_hint_kept_while_others_are_sent_is_sent_too() {
    let world = World::new();
    (0..3).for_each(|_| world.keep(b"before"));
    world.hints.run();
    // The first look finds three and sends one after the other; the next is kept meanwhile, and so late that its page was read.
    world.test.advance(Duration::from_secs(1) + ANSWER * 3 / 2);
    assert_eq!(world.figures(), (3, 1, 2));
    world.keep(b"meanwhile");
    world.test.advance(Duration::from_secs(5));
    assert_eq!(world.figures(), (4, 4, 0));
}

#[test]
fn hints_wait_for_a_replica_that_cannot_take_them_yet() {
    let world = World::new();
    *world.answer.borrow_mut() = Err(CallError::Overloaded);
    world.keep(b"one");
    world.hints.run();
    world.test.advance(Duration::from_secs(5));
    assert_eq!(world.figures(), (1, 0, 1));
    *world.answer.borrow_mut() = Ok(());
    world.test.advance(Duration::from_secs(5));
    assert_eq!(world.figures(), (1, 1, 0));
}

/// A disk that is full refuses every write; there may be room tomorrow. What is refused for ever is given up when it is old.
#[test]
fn hints_that_a_replica_refuses_are_offered_again_and_do_not_flood_it() {
    let world = World::new();
    *world.answer.borrow_mut() = Err(CallError::Failed(Bytes::from_static(b"the disk is full")));
    (0..100).for_each(|_| world.keep(b"one"));
    world.hints.run();
    world.test.advance(Duration::from_secs(10));
    assert_eq!(world.figures(), (100, 0, 100));
    assert!(world.asked.get() < 60, "{} requests in ten seconds", world.asked.get());
    *world.answer.borrow_mut() = Ok(());
    world.test.advance(Duration::from_secs(30));
    assert_eq!(world.figures(), (100, 100, 0));
}

/// By a clock that is behind it would be younger than it is, and bring back what was deleted, and forgotten, since.
#[test]
fn hints_are_neither_sent_nor_kept_by_a_clock_that_is_wrong() {
    let world = World::new();
    world.keep(b"one");
    world.hints.run();
    let clock = world.test.shard.clock().clone();
    clock.judged(clock.doubts(), Some((-60_000_000, 1, 1)));
    world.test.advance(Duration::from_secs(5));
    assert_eq!((world.figures(), world.asked.get()), ((1, 0, 1), 0));
    assert!(!world.keep_of(tablet(), world.test.shard.now(), b"two"));
    clock.judged(clock.doubts(), None);
    world.test.advance(Duration::from_secs(5));
    assert_eq!(world.figures(), (1, 1, 0));
}

#[test]
fn hints_of_a_truncated_group_are_gone_and_others_are_sent() {
    let world = World::new();
    (0..100).for_each(|_| world.keep(b"before"));
    assert!(world.keep_of(other_tablet(), world.test.shard.now(), b"of another table"));
    world.forget(tablet().group());
    assert_eq!(world.hints.waiting().0, 1);
    assert_eq!(world.hints.counters().dropped.get(), 100);
    world.hints.run();
    world.test.advance(Duration::from_secs(5));
    assert_eq!(*world.taken.borrow(), [other_tablet()]);
    assert_eq!(world.hints.waiting().0, 0);
}

#[test]
fn hints_of_a_truncated_group_stay_gone_after_a_start() {
    let world = World::new();
    world.keep(b"before");
    world.forget(tablet().group());
    let (shard, engine) = (world.test.shard.clone(), world.engine.clone());
    let again = world.test.block_on(async move { open_hints(&shard, &engine).await });
    assert_eq!(again.waiting(), (0, 0));
}

#[test]
fn a_write_that_began_before_a_truncation_leaves_no_hint_after_it() {
    let world = World::new();
    let began = world.test.shard.now();
    world.test.advance(Duration::from_millis(1));
    world.forget(tablet().group());
    assert!(!world.keep_of(tablet(), began, b"late"));
    assert!(world.keep_of(other_tablet(), began, b"of another table"));
    world.test.advance(Duration::from_millis(1));
    world.keep(b"after");
    assert_eq!(world.hints.waiting().0, 2);
}

#[test]
fn a_truncation_waits_for_the_hint_that_is_on_its_way_and_sends_none_of_the_same_page_after_it() {
    let world = World::new();
    (0..3).for_each(|_| world.keep(b"before"));
    world.hints.run();
    // The first of a page of three is on its way.
    world.test.advance(Duration::from_secs(1) + ANSWER / 2);
    let (forgotten, hints) = (Rc::new(Cell::new(false)), world.hints.clone());
    let done = forgotten.clone();
    world.test.shard.spawn(Scope::Node, Class::Foreground, async move {
        hints.forget_group(tablet().group()).await.expect("forgets");
        done.set(true);
    });
    world.test.advance(ANSWER / 4);
    assert!(!forgotten.get(), "a hint is still on its way: who empties the tablet now would see it arrive afterwards");
    world.test.advance(ANSWER);
    assert!(forgotten.get());
    world.test.advance(Duration::from_secs(10));
    assert_eq!(world.taken.borrow().len(), 1, "the two that were read with it were sent all the same");
    assert_eq!(world.hints.waiting().0, 0);
}
