//! Hints that are kept while those before them are being sent: none is left behind. The replica is played by the test, behind a
//! router; time is the test's.

use bytes::Bytes;
use holon_base::{GroupId, NodeId, ShardId, TabletId};
use holon_kernel::testing::{MemoryDisk, TestShard};
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

struct Map;

impl ClusterMap for Map {
    fn epoch(&self) -> u64 {
        1
    }
    fn replicas(&self, _: TabletId) -> Option<Replicas> {
        Some(Replicas { readers: Rc::new([AWAY]), joint: Rc::new([]), since: 1 })
    }
    fn founders(&self, _: TabletId) -> Option<Founders> {
        None
    }
    fn found(&self, _: TabletId) -> LocalFuture<bool> {
        Box::pin(async { false })
    }
    fn nodes(&self) -> Rc<[NodeRecord]> {
        Rc::new([NodeRecord {
            node: AWAY,
            address: ([127, 0, 0, 2], 7000).into(),
            data_center: Rc::from("dc"),
            rack: Rc::from("rack"),
            shards: 1,
            tokens: Rc::new([]),
            facts: Rc::new([]),
        }])
    }
    fn slots(&self) -> u32 {
        1
    }
    fn reached(&self, _: u64) -> LocalFuture<()> {
        Box::pin(async {})
    }
    fn ask_for(&self, _: u64, _: NodeId) {}
}

/// Answers each request with what is wanted, after a while.
struct Replica {
    shard: Rc<RefCell<Weak<Shard>>>,
    answer: Rc<Cell<Result<(), ()>>>,
}

impl Router for Replica {
    fn send(&mut self, envelope: Envelope) {
        let EnvelopeKind::Request { .. } = envelope.kind else { return };
        let (shard, answer) = (self.shard.borrow().upgrade().expect("runs"), self.answer.clone());
        shard.clone().spawn(Scope::Node, Class::Foreground, async move {
            shard.sleep(ANSWER).await;
            let kind = EnvelopeKind::Reply(answer.get().map_err(|()| CallError::Overloaded));
            let (source, destination, correlation) = (envelope.destination, envelope.source, envelope.correlation);
            let payload = Bytes::new();
            shard.deliver(Envelope { source, destination, correlation, map_epoch: 1, clock: 0, kind, payload });
        });
    }
}

struct World {
    test: TestShard,
    hints: Rc<HintStore>,
    answer: Rc<Cell<Result<(), ()>>>,
}

impl World {
    fn new() -> World {
        let (place, answer) = (Rc::new(RefCell::new(Weak::new())), Rc::new(Cell::new(Ok(()))));
        let replica = Replica { shard: place.clone(), answer: answer.clone() };
        let test = TestShard::with_router(Box::new(MemoryDisk::new()), Box::new(replica));
        *place.borrow_mut() = Rc::downgrade(&test.shard);
        test.shard.set_map(Rc::new(Map));
        assert_eq!(test.shard.id(), ShardId(0));
        let shard = test.shard.clone();
        let hints = test.block_on(async move {
            let mut options = EngineOptions::new(1, 0, 1);
            options.tablet_options = Rc::new(|_| tablet_options());
            let engine = Engine::open(shard.clone(), options).await.expect("opens");
            engine.recover().await.expect("recovers");
            let grace = Rc::new(|_| Duration::from_secs(1000));
            HintStore::open(&shard, &engine, grace).await.expect("opens")
        });
        World { test, hints, answer }
    }

    fn keep(&self, mutation: &'static [u8]) {
        let hints = self.hints.clone();
        let kept = self.test.block_on(async move { hints.keep(AWAY, tablet(), Bytes::from_static(mutation)).await });
        assert!(kept);
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
    world.answer.set(Err(()));
    world.keep(b"one");
    world.hints.run();
    world.test.advance(Duration::from_secs(5));
    assert_eq!(world.figures(), (1, 0, 1));
    world.answer.set(Ok(()));
    world.test.advance(Duration::from_secs(5));
    assert_eq!(world.figures(), (1, 1, 0));
}
