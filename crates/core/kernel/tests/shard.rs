//! The shard's promises: scopes end their tasks, deadlines hold, permits come back, the disk suite passes in memory.

use bytes::Bytes;
use holon_base::{Instant, NodeId, Random, ShardId, TabletId, Wall};
use holon_kernel::testing::{MemoryDisk, NoRouter, TestMap, TestShard};
use holon_kernel::*;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn the_memory_disk_keeps_the_contract() {
    let test = TestShard::new(MemoryDisk::new());
    let disk = test.shard.disk();
    test.block_on(async move { disk_suite::run(&disk).await });
}

#[test]
fn a_scope_ends_with_all_its_tasks_and_only_those() {
    let test = TestShard::new(MemoryDisk::new());
    let ended = Rc::new(RefCell::new(Vec::new()));
    for (name, scope) in [("a", Scope::Session(1)), ("b", Scope::Session(1)), ("c", Scope::Tablet(TabletId(1)))] {
        let (shard, ended) = (test.shard.clone(), ended.clone());
        test.shard.spawn(scope, Class::Foreground, async move {
            shard.sleep(Duration::from_secs(1)).await;
            ended.borrow_mut().push(name);
        });
    }
    test.advance(Duration::from_millis(500));
    test.shard.cancel(Scope::Session(1));
    test.advance(Duration::from_secs(1));
    assert_eq!(*ended.borrow(), ["c"]);
    assert_eq!(test.shard.tasks(), 0);
}

#[test]
fn a_task_may_end_its_own_scope() {
    let test = TestShard::new(MemoryDisk::new());
    let shard = test.shard.clone();
    let went_on = Rc::new(Cell::new(false));
    let flag = went_on.clone();
    test.shard.spawn(Scope::Session(7), Class::Foreground, async move {
        shard.cancel(Scope::Session(7));
        shard.yield_now().await;
        flag.set(true);
    });
    test.advance(Duration::ZERO);
    assert!(!went_on.get());
    assert_eq!(test.shard.tasks(), 0);
}

#[test]
fn deadlines_pass_and_forgotten_timers_leave_nothing() {
    let test = TestShard::new(MemoryDisk::new());
    let shard = test.shard.clone();
    let (in_time, late) = test.block_on(async move {
        let soon = shard.now() + Duration::from_millis(10);
        let in_time = shard.timeout(soon, shard.sleep(Duration::from_millis(5))).await;
        let (completer, never) = shard.ticket::<()>();
        let late = shard.timeout(soon, never).await;
        drop(completer);
        (in_time, late)
    });
    assert_eq!((in_time, late), (Ok(()), Err(timer_elapsed())));
    assert_eq!(test.shard.next_deadline(), None);
}

fn timer_elapsed() -> Elapsed {
    Elapsed
}

#[test]
fn a_dropped_completer_answers_cancelled() {
    let test = TestShard::new(MemoryDisk::new());
    let (completer, ticket) = test.shard.ticket::<u8>();
    drop(completer);
    assert_eq!(test.block_on(ticket), Err(Cancelled));
}

#[test]
fn permits_are_given_in_line_and_come_back() {
    let test = TestShard::new(MemoryDisk::new());
    let pool = test.shard.pool("requests", 10);
    let first = pool.try_acquire(8).expect("free");
    assert!(pool.try_acquire(3).is_none());
    let order = Rc::new(RefCell::new(Vec::new()));
    for amount in [5usize, 1, 20] {
        let (pool, order) = (pool.clone(), order.clone());
        test.shard.spawn(Scope::Node, Class::Foreground, async move {
            let permit = pool.acquire(amount).await;
            order.borrow_mut().push(permit.amount());
        });
    }
    test.advance(Duration::ZERO);
    assert_eq!(*order.borrow(), [0usize; 0], "the small one does not overtake the one before it");
    drop(first);
    test.advance(Duration::ZERO);
    assert_eq!(*order.borrow(), [5, 1, 20], "one larger than the share gets it when it is free");
    assert_eq!((pool.used(), pool.used_max(), pool.refused()), (0, 20, 1));
}

#[test]
fn background_work_does_not_hold_up_the_foreground() {
    let test = TestShard::new(MemoryDisk::new());
    let slices = Rc::new(Cell::new(0u32));
    for _ in 0..100 {
        let (shard, slices) = (test.shard.clone(), slices.clone());
        test.shard.spawn(Scope::Node, Class::Background, async move {
            let mut slice = Slice::new(&shard, limits::BACKGROUND_SLICE_BYTES);
            for _ in 0..100 {
                slice.spend(limits::BACKGROUND_SLICE_BYTES).await;
                slices.set(slices.get() + 1);
            }
        });
    }
    let done_after = Rc::new(Cell::new(0));
    let (shard, slices_seen, done) = (test.shard.clone(), slices.clone(), done_after.clone());
    test.shard.spawn(Scope::Node, Class::Foreground, async move {
        for _ in 0..50 {
            shard.yield_now().await;
        }
        done.set(slices_seen.get());
    });
    test.advance(Duration::ZERO);
    assert!(done_after.get() <= 50, "{} background slices before the foreground ended", done_after.get());
    assert_eq!(slices.get(), 10_000);
}

#[test]
fn polled_one_by_one_the_classes_have_the_same_shares_as_polled_in_one_go() {
    let test = TestShard::new(MemoryDisk::new());
    let polled = Rc::new(RefCell::new([0u32; 2]));
    for (place, class) in [Class::Foreground, Class::Background].into_iter().enumerate() {
        let (shard, polled) = (test.shard.clone(), polled.clone());
        test.shard.spawn(Scope::Node, class, async move {
            loop {
                polled.borrow_mut()[place] += 1;
                shard.yield_now().await;
            }
        });
    }
    test.shard.run_ready(650);
    assert_eq!(polled.take(), [640, 10], "one of the background in 65");
    let mut turn = Turn::default();
    (0..650).for_each(|_| assert!(test.shard.run_turn(1, &mut turn)));
    assert_eq!(polled.take(), [640, 10]);
}

#[test]
fn a_stopped_shard_runs_nothing_more() {
    let test = TestShard::new(MemoryDisk::new());
    let shard = test.shard.clone();
    let went_on = Rc::new(Cell::new(false));
    let flag = went_on.clone();
    test.shard.spawn(Scope::Node, Class::Foreground, async move {
        shard.stop("sync failed".to_string());
        shard.yield_now().await;
        flag.set(true);
    });
    test.advance(Duration::from_secs(1));
    assert_eq!(test.shard.stopped().as_deref(), Some("sync failed"));
    assert!(!went_on.get());
    test.shard.spawn(Scope::Node, Class::Foreground, async {});
    assert_eq!(test.shard.tasks(), 0);
}

/// Two shards whose envelopes a test carries by hand.
struct Post(Rc<RefCell<Vec<Envelope>>>);

impl Router for Post {
    fn send(&mut self, envelope: Envelope) {
        self.0.borrow_mut().push(envelope);
    }
}

struct Doubler;

impl Tablet for Doubler {
    fn apply(self: Rc<Self>, mutation: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(async move { Ok(Bytes::from(mutation.repeat(2))) })
    }
    fn read(self: Rc<Self>, _: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(std::future::pending())
    }
    fn digest(self: Rc<Self>, request: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(async move { Err(CallError::Failed(request)) })
    }
}

fn shard(id: u16, router: Box<dyn Router>, order: Order) -> Rc<Shard> {
    Shard::new(ShardOptions {
        node: NodeId(1),
        shard: ShardId(id),
        shards: 2,
        seed: 3,
        order,
        disk: Box::new(MemoryDisk::new()),
        router,
        now: Instant(0),
        wall: Wall(0),
        clock: Arc::default(),
    })
}

#[test]
fn calls_go_to_the_shard_that_holds_the_tablet_and_come_back_once() {
    let post = Rc::new(RefCell::new(Vec::new()));
    let here = shard(0, Box::new(Post(post.clone())), Order::Permuted(Random::new(5)));
    let there = shard(1, Box::new(Post(post.clone())), Order::FirstCome);
    let tablet = (0..).map(TabletId).find(|tablet| tablet.shard(2) == ShardId(1)).expect("one of two");
    there.insert_tablet(tablet, Rc::new(Doubler));
    let answers = Rc::new(RefCell::new(Vec::new()));
    for verb in [Verb::APPLY, Verb::READ, Verb::DIGEST] {
        let (caller, answers) = (here.clone(), answers.clone());
        here.spawn(Scope::Node, Class::Foreground, async move {
            let deadline = caller.now() + Duration::from_secs(1);
            let answer = caller.call_tablet(tablet, verb, Bytes::from_static(b"ab"), deadline).await;
            answers.borrow_mut().push((verb.0, answer));
        });
    }
    for round in 0..6 {
        here.run_ready(100);
        there.run_ready(100);
        for envelope in post.take() {
            let envelope = Envelope::decode(envelope.encode()).expect("decodes");
            let to = if envelope.destination.shard == ShardId(0) { &here } else { &there };
            to.deliver(envelope.clone());
            if matches!(envelope.kind, EnvelopeKind::Reply(_)) {
                to.deliver(envelope); // a reply delivered twice finds nobody the second time
            }
        }
        if round == 4 {
            here.advance(Instant(2_000_000_000), Wall(0));
        }
    }
    let mut answers = answers.take();
    answers.sort_by_key(|(verb, _)| *verb);
    let expected = [
        (1, Ok(Bytes::from_static(b"abab"))),
        (2, Err(CallError::Timeout)),
        (3, Err(CallError::Failed(Bytes::from_static(b"ab")))),
    ];
    assert_eq!(answers, expected);
}

/// Another node asks a tablet of this shard to apply something.
fn to_tablet(there: &Shard, tablet: TabletId, correlation: u64, map_epoch: u64) -> Envelope {
    Envelope {
        source: Address { node: NodeId(2), shard: ShardId(0) },
        destination: there.address(),
        correlation,
        map_epoch,
        clock: 0,
        kind: EnvelopeKind::Request {
            target: Target::Tablet(tablet),
            verb: Verb::APPLY,
            remaining: Duration::from_secs(1),
        },
        payload: Bytes::from_static(b"ab"),
    }
}

#[test]
fn a_tablet_that_has_moved_by_an_entry_whose_tablets_are_still_being_opened_takes_nothing_by_the_map_before() {
    let post = Rc::new(RefCell::new(Vec::new()));
    let there = shard(1, Box::new(Post(post.clone())), Order::FirstCome);
    let tablet = (0..).map(TabletId).find(|tablet| tablet.shard(2) == ShardId(1)).expect("one of two");
    there.insert_tablet(tablet, Rc::new(Doubler));
    let by_map_of = |since| {
        let replicas = Replicas { since, ..Replicas::only(there.node()) };
        let map = TestMap::new(&there, move |_| Some(replicas.clone()));
        assert_eq!(map.epoch(), 1);
        there.set_map(Rc::new(map));
        there.deliver(to_tablet(&there, tablet, 1, 1));
        there.run_ready(100);
        post.take().pop().expect("an answer").kind
    };
    assert_eq!(by_map_of(1), EnvelopeKind::Reply(Ok(())));
    assert_eq!(by_map_of(2), EnvelopeKind::Reply(Err(CallError::NotHere)));
}

#[test]
fn a_shard_that_starts_refuses_requests_for_tablets_and_has_done_nothing() {
    let post = Rc::new(RefCell::new(Vec::new()));
    let there = shard(1, Box::new(Post(post.clone())), Order::FirstCome);
    let tablet = (0..).map(TabletId).find(|tablet| tablet.shard(2) == ShardId(1)).expect("one of two");
    let ask = || {
        there.deliver(to_tablet(&there, tablet, 1, 0));
        there.run_ready(100);
        post.take().pop().expect("an answer").kind
    };
    there.take_tablet_requests(false);
    // Neither before the tablet is open (it is not "not here": whoever hears that does not come back), nor after it is.
    assert_eq!(ask(), EnvelopeKind::Reply(Err(CallError::Overloaded)));
    there.insert_tablet(tablet, Rc::new(Doubler));
    assert_eq!(ask(), EnvelopeKind::Reply(Err(CallError::Overloaded)));
    there.take_tablet_requests(true);
    assert_eq!(ask(), EnvelopeKind::Reply(Ok(())));
}

/// Never done with anything.
struct Slow;

impl Tablet for Slow {
    fn apply(self: Rc<Self>, _: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(std::future::pending())
    }
    fn read(self: Rc<Self>, _: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(std::future::pending())
    }
    fn digest(self: Rc<Self>, _: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(std::future::pending())
    }
}

#[test]
fn who_waits_for_a_tablet_that_leaves_is_told_so_and_does_not_wait_in_vain() {
    let post = Rc::new(RefCell::new(Vec::new()));
    let there = shard(1, Box::new(Post(post.clone())), Order::FirstCome);
    let tablet = (0..).map(TabletId).find(|tablet| tablet.shard(2) == ShardId(1)).expect("one of two");
    there.insert_tablet(tablet, Rc::new(Slow));
    for correlation in [0, 7] {
        there.deliver(to_tablet(&there, tablet, correlation, 0));
    }
    there.run_ready(100);
    assert!(post.borrow().is_empty());
    there.remove_tablet(tablet);
    let answers = post.take();
    assert_eq!(answers.len(), 1, "whoever asked for none gets none");
    assert_eq!((&answers[0].kind, answers[0].correlation), (&EnvelopeKind::Reply(Err(CallError::NotHere)), 7));
}

#[test]
fn a_call_to_a_tablet_that_is_nowhere_says_so() {
    let here = shard(0, Box::new(NoRouter), Order::FirstCome);
    let answer = Rc::new(RefCell::new(None));
    let (caller, place) = (here.clone(), answer.clone());
    here.spawn(Scope::Node, Class::Foreground, async move {
        let tablet = (0..).map(TabletId).find(|tablet| tablet.shard(2) == ShardId(0)).expect("one of two");
        let reply = caller.call_tablet(tablet, Verb::READ, Bytes::new(), Instant::FAR_FUTURE).await;
        *place.borrow_mut() = Some(reply);
    });
    here.run_ready(10);
    assert_eq!(answer.take(), Some(Err(CallError::NotHere)));
}
