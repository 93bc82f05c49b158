//! One member among played ones: their machines are real, and neither forget nor wait; what is lost on the way, and when, the test says.

use super::*;
use crate::Repairs;
use crate::limits::REPAIR_MARGIN;
use holon_base::{GroupId, Random};
use holon_kernel::testing::{MemoryDisk, TestMap, TestShard};
use holon_kernel::{
    Disk, DiskOperation, DiskResult, Envelope, EnvelopeKind, NodeRecord, OperationId, Replicas, Router, Tablet,
};
use holon_raft::{Output, Raft, Stored};
use holon_store::EngineOptions;
use std::future::Future;

const OWN: NodeId = NodeId(1);
const OTHERS: [NodeId; 2] = [NodeId(2), NodeId(3)];
const SERVICE: ServiceId = ServiceId(9);

fn tablet() -> TabletId {
    TabletId::new(GroupId(1), 0)
}

/// What the network, the other members and the map do; it outlives the node.
struct Around {
    peers: RefCell<BTreeMap<NodeId, Raft>>,
    /// Messages of the group get lost.
    silent: Cell<bool>,
    /// Replicas answer writes.
    writable: Cell<bool>,
    /// Mutations that the replicas have, each as often as it was written to one.
    written: RefCell<BTreeMap<Bytes, usize>>,
    founders: RefCell<Founders>,
    readers: RefCell<Rc<[NodeId]>>,
    joint: RefCell<Rc<[NodeId]>>,
    groups: RefCell<Weak<Groups>>,
}

impl Around {
    /// Messages to a played member, and all that follows from them.
    fn hand_to_peers(&self, messages: Vec<(NodeId, NodeId, Message)>, now: Instant) -> Vec<(NodeId, Message)> {
        let (mut queue, mut to_own) = (messages, Vec::new());
        while let Some((from, to, message)) = queue.pop() {
            if to == OWN {
                to_own.push((from, message));
                continue;
            }
            let mut peers = self.peers.borrow_mut();
            let raft = peers.get_mut(&to).expect("a member");
            let mut out = Output::default();
            raft.receive(now, from, message, &mut out);
            while let Some(number) = out.saves.drain(..).map(|save| save.number).max() {
                raft.saved(number, &mut out);
            }
            queue.extend(out.messages.into_iter().map(|(next, message)| (to, next, message)));
        }
        to_own
    }

    fn times_written(&self, mutation: &'static str) -> usize {
        self.written.borrow().get(mutation.as_bytes()).copied().unwrap_or(0)
    }
}

struct Wires {
    around: Rc<Around>,
    shard: Rc<RefCell<Weak<Shard>>>,
}

impl Router for Wires {
    fn send(&mut self, envelope: Envelope) {
        let EnvelopeKind::Request { verb, .. } = envelope.kind else { return };
        let (around, shard) = (self.around.clone(), self.shard.borrow().upgrade().expect("runs"));
        let node = envelope.destination.node;
        shard.clone().spawn(Scope::Node, Class::Foreground, async move {
            if verb == RAFT {
                let mut input = ByteReader::new(envelope.payload);
                let mut messages = Vec::new();
                while !input.is_empty() && !around.silent.get() {
                    input.u64().expect("of a tablet");
                    let message = Message::decode(input.prefixed().expect("whole")).expect("readable");
                    messages.push((OWN, node, message));
                }
                for (from, message) in around.hand_to_peers(messages, shard.now()) {
                    let groups = around.groups.borrow().upgrade();
                    groups.iter().for_each(|groups| hand_to_own(groups, from, &message));
                }
                return;
            }
            // Nobody but its members has anything of the group; of them those that are asked are gone.
            let knows = verb == lost::POSITION && !OTHERS.contains(&node);
            if verb != Verb::APPLY && verb != ASK && !knows {
                return;
            }
            // Who is asked knows of no leader: an empty answer. Who is written to has it, or too much to do.
            let outcome =
                if verb != Verb::APPLY || around.writable.get() { Ok(()) } else { Err(CallError::Overloaded) };
            if verb == Verb::APPLY && outcome.is_ok() {
                let (_, mut mutation) = crate::message::decode_apply(envelope.payload).expect("a mutation");
                *around.written.borrow_mut().entry(mutation.rest()).or_default() += 1;
            }
            shard.deliver(Envelope {
                source: envelope.destination,
                destination: envelope.source,
                correlation: envelope.correlation,
                map_epoch: 0,
                clock: 0,
                kind: EnvelopeKind::Reply(outcome),
                payload: Bytes::new(),
            });
        });
    }
}

fn hand_to_own(groups: &Groups, from: NodeId, message: &Message) {
    let mut out = ByteWriter::new();
    out.put_u64(tablet().0);
    out.put_prefixed(&message.encode());
    groups.receive(from, out.freeze()).expect("well formed");
}

/// This node's own replica has too much to do: the others are enough.
struct Mute;

impl Tablet for Mute {
    fn apply(self: Rc<Self>, _: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(async { Err(CallError::Overloaded) })
    }
    fn read(self: Rc<Self>, _: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(std::future::pending())
    }
    fn digest(self: Rc<Self>, _: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(std::future::pending())
    }
}

fn map(shard: &Rc<Shard>, around: &Rc<Around>) -> TestMap {
    let (here, begun) = (around.clone(), around.clone());
    let replicas = move |_| {
        let (readers, joint) = (here.readers.borrow().clone(), here.joint.borrow().clone());
        Some(Replicas { readers, joint, since: 1 })
    };
    let founders = move |_| Some(begun.founders.borrow().clone());
    let told = around.clone();
    let found_anew = move |_| {
        told.founders.borrow_mut().anew = Some((OWN, 9));
        Some(())
    };
    let record = |node| NodeRecord {
        node,
        address: ([127, 0, 0, 1], 7000).into(),
        data_center: "dc".into(),
        rack: "r".into(),
        shards: 1,
        tokens: Rc::new([]),
        facts: Rc::new([]),
    };
    let nodes = [OWN, OTHERS[0], OTHERS[1], NodeId(4)].map(record);
    TestMap::new(shard, replicas).with_founders(founders).with_nodes(nodes.into()).with_found_anew(found_anew)
}

/// What is in memory, and takes its time.
struct SlowDisk {
    disk: MemoryDisk,
    takes: Rc<Cell<Duration>>,
    shard: Rc<RefCell<Weak<Shard>>>,
}

impl Disk for SlowDisk {
    fn submit(&mut self, id: OperationId, operation: DiskOperation) -> Option<DiskResult> {
        let result = self.disk.submit(id, operation);
        if self.takes.get().is_zero() {
            return result;
        }
        let (shard, takes) = (self.shard.borrow().upgrade().expect("runs"), self.takes.get());
        shard.clone().spawn(Scope::Node, Class::Foreground, async move {
            shard.sleep(takes).await;
            shard.complete_disk(id, result.expect("at once"));
        });
        None
    }
}

struct World {
    test: TestShard,
    /// How long the disk takes for anything.
    takes: Rc<Cell<Duration>>,
    disk: MemoryDisk,
    around: Rc<Around>,
    engine: Engine,
    coordinator: Rc<Coordinator>,
    groups: Rc<Groups>,
    map: Rc<TestMap>,
    boot: u32,
}

impl World {
    fn new() -> World {
        let all: Rc<[NodeId]> = [OWN].into_iter().chain(OTHERS).collect();
        let peer = |node: NodeId| {
            let stored = Stored { members: Members::of_voters(all.iter().copied()), ..Stored::default() };
            let raft = Raft::new(node, group::options(), stored, Instant(0), Random::new(7)).expect("begins");
            (node, raft)
        };
        let around = Rc::new(Around {
            peers: RefCell::new(OTHERS.map(peer).into()),
            silent: Cell::new(false),
            writable: Cell::new(true),
            written: RefCell::default(),
            founders: RefCell::new(Founders { members: all.clone(), present: all.clone(), anew: None }),
            readers: RefCell::new(all),
            joint: RefCell::new(Rc::new([])),
            groups: RefCell::default(),
        });
        World::start(MemoryDisk::new(), around, 1)
    }

    fn start(disk: MemoryDisk, around: Rc<Around>, boot: u32) -> World {
        let place = Rc::new(RefCell::new(Weak::new()));
        let wires = Wires { around: around.clone(), shard: place.clone() };
        let takes = Rc::new(Cell::new(Duration::ZERO));
        let slow = SlowDisk { disk: disk.clone(), takes: takes.clone(), shard: place.clone() };
        let test = TestShard::with_router(Box::new(slow), Box::new(wires));
        *place.borrow_mut() = Rc::downgrade(&test.shard);
        let map = Rc::new(map(&test.shard, &around));
        test.shard.set_map(map.clone());
        test.shard.insert_tablet(tablet(), Rc::new(Mute));
        let shard = test.shard.clone();
        let engine = test.block_on(async move {
            let mut options = EngineOptions::new(boot, 0, 1);
            options.segment_bytes = 1 << 20;
            let engine = Engine::open(shard, options).await.expect("opened");
            engine.recover().await.expect("recovered");
            engine.create_tablet(tablet()).await.expect("made");
            engine
        });
        let coordinator = Coordinator::new(&test.shard, "dc".into());
        let groups = Groups::new(&test.shard, SERVICE, &coordinator);
        *around.groups.borrow_mut() = Rc::downgrade(&groups);
        groups.start(&engine, Rc::new(|_, _, _| Box::pin(async { Err(CallError::NotHere) })));
        World { test, takes, disk, around, engine, coordinator, groups, map, boot }
    }

    /// Ends the node without a word, and starts another on its disk. The others stay.
    fn crash(self) -> World {
        let now = self.test.shard.now();
        let world = World::start(self.disk.deep_copy(), self.around.clone(), self.boot + 1);
        self.test.shard.dismantle();
        world.test.advance(now.since(Instant(0)));
        world
    }

    fn block_on<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        self.test.block_on(future)
    }

    fn millis(&self, millis: u64) {
        self.test.advance(Duration::from_millis(millis));
    }

    /// This node's member, when it leads.
    fn lead(&self) -> (Rc<Group>, u64) {
        let (groups, deadline) = (self.groups.clone(), self.test.shard.now() + Duration::from_secs(5));
        let leadership = self.block_on(async move {
            loop {
                match groups.lead(tablet(), None, deadline).await {
                    Ok(leadership) => return leadership,
                    Err(_) => assert!(groups.shard.now() < deadline, "nobody leads"),
                }
            }
        });
        leadership.member.expect("of a group")
    }

    /// A decision that somebody waits for until the scope is cancelled; what came of it.
    fn decide(&self, member: &(Rc<Group>, u64), session: u64, mutation: &'static str) -> Decided {
        let ((group, term), place) = (member.clone(), Decided::default());
        let (timestamp, result) = (self.test.shard.wall_micros(), place.clone());
        self.test.shard.spawn(Scope::Session(session), Class::Foreground, async move {
            let outcome = group.decide(term, timestamp, Bytes::from_static(mutation.as_bytes())).await;
            result.set(Some(outcome));
        });
        place
    }

    fn cancel(&self, session: u64) {
        self.test.shard.cancel(Scope::Session(session));
    }
}

type Decided = Rc<Cell<Option<Result<(), Undecided>>>>;

#[test]
fn a_leader_decides_when_a_majority_has_the_entry_and_the_replicas_have_what_it_says() {
    let world = World::new();
    let member = world.lead();
    let decided = world.decide(&member, 1, "first");
    world.millis(20);
    assert_eq!(decided.get(), Some(Ok(())));
    assert_eq!(world.around.times_written("first"), 2);
    assert_eq!(member.0.leads(), Some(member.1), "nothing is in doubt: it goes on at once");
}

/// Its client is gone, and with it the lock of its partition: what is read now may lack it.
#[test]
fn a_leader_decides_nothing_while_what_it_proposed_may_yet_be_decided() {
    let world = World::new();
    let member = world.lead();
    world.around.silent.set(true);
    world.decide(&member, 1, "in doubt");
    world.millis(20);
    world.cancel(1);
    world.millis(100);
    assert!(member.0.raft().is_leader(), "nobody has noticed yet");
    assert_eq!(member.0.leads(), None, "what is read now may lack what is in doubt");
    let refused = world.decide(&member, 2, "too early");
    world.millis(1);
    assert_eq!(refused.get(), Some(Err(Undecided::Never)));

    // Known, and not at the replicas.
    world.around.writable.set(false);
    world.around.silent.set(false);
    world.millis(200);
    assert_eq!((member.0.raft().term(), member.0.raft().is_leader()), (member.1, true));
    assert!(member.0.raft().handed_out() >= member.0.raft().status().last_index, "it is decided");
    assert_eq!(member.0.leads(), None, "no majority of the replicas has it");

    world.around.writable.set(true);
    world.millis(5_000);
    assert!(world.around.times_written("in doubt") >= 2);
    assert_eq!(world.around.times_written("too early"), 0);
    assert_eq!(member.0.leads(), Some(member.1), "it goes on in the same term");
}

/// The replicas get what is in doubt, and meanwhile something else comes to be.
#[test]
fn what_comes_to_be_in_doubt_while_a_leader_prepares_is_waited_for_as_well() {
    let world = World::new();
    let member = world.lead();
    let group = &member.0;
    world.around.writable.set(false);
    world.decide(&member, 1, "decided");
    world.millis(20);
    assert_eq!(group.raft().handed_out(), group.raft().status().last_index, "decided, and not written");
    world.around.silent.set(true);
    world.decide(&member, 2, "proposed");
    world.millis(1);
    world.cancel(1);
    world.millis(60);
    world.cancel(2);
    world.around.writable.set(true);
    world.millis(150);
    assert!(world.around.times_written("decided") >= 2, "the leader prepares");
    assert!(group.raft().is_leader() && group.raft().handed_out() < group.raft().status().last_index);
    assert_eq!(group.leads(), None, "what is read now lacks what was proposed");
    world.around.silent.set(false);
    world.millis(1_000);
    assert!(world.around.times_written("proposed") >= 2);
    assert_eq!(group.leads(), Some(member.1));
}

/// The tablet is given away, and a message of before comes late.
#[test]
fn a_member_is_not_opened_while_it_is_removed_nor_begun_again_when_it_is_gone() {
    let world = World::new();
    world.lead();
    *world.around.readers.borrow_mut() = OTHERS.into_iter().chain([NodeId(4)]).collect();
    let vote = |world: &World| {
        let mut peers = world.around.peers.borrow_mut();
        let raft = peers.get_mut(&OTHERS[0]).expect("a member");
        let (mut out, now) = (Output::default(), world.test.shard.now() + Duration::from_secs(1));
        raft.campaign_now(now, &mut out);
        out.messages.into_iter().find(|(to, _)| *to == OWN).expect("asks all").1
    };
    let removed = Rc::new(Cell::new(false));
    let (groups, done) = (world.groups.clone(), removed.clone());
    world.test.shard.spawn(Scope::Node, Class::Foreground, async move {
        groups.remove(tablet()).await.expect("removed");
        done.set(true);
    });
    // As often as anything goes on.
    let mut late = 0;
    while !removed.get() {
        hand_to_own(&world.groups, OTHERS[0], &vote(&world));
        world.test.shard.run_ready(1);
        late += 1;
    }
    world.millis(50);
    assert!(late > 2, "nothing came in between");
    assert!(!Ledger::exists(&world.engine, tablet()), "it has begun again, without what it promised");
    assert!(!world.groups.open.borrow().contains_key(&tablet()), "it is open, without a log");
    hand_to_own(&world.groups, OTHERS[0], &vote(&world));
    world.millis(50);
    assert!(!Ledger::exists(&world.engine, tablet()) && world.groups.open.borrow().is_empty());

    // The map says that it has forgotten, and then gives the tablet back: a leader takes it in, as one without promises.
    world.around.founders.borrow_mut().present = Rc::new(OTHERS);
    *world.around.readers.borrow_mut() = [OWN].into_iter().chain(OTHERS).collect();
    hand_to_own(&world.groups, OTHERS[0], &vote(&world));
    world.millis(50);
    assert!(world.groups.open.borrow().is_empty(), "a vote is no invitation");
    let groups = world.groups.clone();
    let member = world.block_on(async move { groups.member(tablet(), true).await }).expect("invited");
    assert!(member.raft().members().voters.is_empty(), "it may not vote by what the founders were");
}

/// In whatever order, and however far the one has come when the other begins: a member without a log would stay, and when the tablet comes
/// back wait for what it has lost.
#[test]
fn of_opening_and_removing_a_member_one_ends_before_the_other_begins() {
    let world = World::new();
    world.lead();
    let (disk, around) = (world.disk.clone(), world.around.clone());
    for (millis, opens_first) in (0..12).flat_map(|millis| [(millis, true), (millis, false)]) {
        let world = World::start(disk.deep_copy(), around.clone(), 2);
        world.takes.set(Duration::from_millis(1));
        let begin = |opens: bool| {
            let groups = world.groups.clone();
            world.test.shard.spawn(Scope::Node, Class::Foreground, async move {
                match opens {
                    true => drop(groups.member(tablet(), false).await),
                    false => groups.remove(tablet()).await.expect("removed"),
                }
            });
        };
        begin(opens_first);
        world.millis(millis);
        begin(!opens_first);
        world.millis(200);
        assert!(
            world.groups.open.borrow().is_empty(),
            "no log is left, {millis} ms apart, opened first: {opens_first}"
        );
        assert!(!Ledger::exists(&world.engine, tablet()));
    }
}

/// Whether the replica here agrees to a comparison that lets deletions of before be forgotten, as whoever compares asks it.
fn begins_comparison(world: &World, before: Duration) -> bool {
    let mut message = ByteWriter::new();
    crate::message::put_version(&mut message);
    message.put_u64(1);
    message.put_u64(tablet().0);
    message.put_signed_varint((world.test.shard.wall_micros() - before.as_micros() as i64) / 1_000_000);
    let repairs = Repairs::new(&world.test.shard, SERVICE, &world.coordinator, &world.groups);
    let engine = world.engine.clone();
    let answer = world.block_on(async move {
        repairs.open(&engine).await.expect("opened");
        repairs.answer(Verb(Verb::SERVICE_FIRST + 40), message.freeze()).await
    });
    match answer {
        Ok(_) => true,
        Err(CallError::Failed(_)) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Else the deletion could be forgotten of what a leader of another day then writes again: the node fell before the log could say that
/// the replicas have it, and nobody has asked the group for anything since.
#[test]
fn no_comparison_lets_deletions_be_forgotten_of_what_a_new_leader_may_write_again() {
    let world = World::new();
    let member = world.lead();
    let decided = world.decide(&member, 1, "old");
    world.millis(1_000);
    assert_eq!((decided.get(), world.around.times_written("old")), (Some(Ok(())), 2));
    drop(member);
    let world = world.crash();
    world.millis(1_000);

    let mut refused = 0;
    while !begins_comparison(&world, Duration::ZERO) {
        refused += 1;
        assert!(refused < 60, "it never begins");
        world.millis(1_000);
    }
    // From here on a deletion of before may be forgotten.
    let before = world.around.times_written("old");
    println!("refused {refused} times, written again {before} times until then");
    let world = world.crash();
    world.lead();
    world.millis(10_000);
    assert_eq!(world.around.times_written("old"), before, "what was deleted since is back");
    assert!(refused > 0 && before > 2);
    // A log that says so is no hindrance, nor is a group that was never asked.
    assert!(begins_comparison(&world, Duration::ZERO));
    assert!(begins_comparison(&World::new(), Duration::ZERO));
}

/// A leader that is asked again and again does not hold comparisons up: what is recent is no matter.
#[test]
fn a_group_at_work_lets_comparisons_begin() {
    let world = World::new();
    let member = world.lead();
    for round in 0..20 {
        world.decide(&member, round, "again");
        world.millis(1_000);
        assert!(begins_comparison(&world, REPAIR_MARGIN));
    }
}

/// What a client is told depends on it: who hears that too few replicas live may turn to a lower level.
#[test]
fn that_nobody_leads_is_told_apart_from_that_too_few_replicas_live() {
    let ask = |world: &World| {
        let (groups, deadline) = (world.groups.clone(), world.test.shard.now() + Duration::from_secs(3));
        world.block_on(async move { groups.ask(tablet(), Bytes::from_static(b"transaction"), deadline).await })
    };
    let world = World::new();
    // The others seem alive, and vote for nobody.
    world.around.silent.set(true);
    world.test.shard.set_alive(OTHERS[0], false);
    assert_eq!(ask(&world), Err(AskError::NoLeader), "two of three live");
    world.test.shard.set_alive(OTHERS[1], false);
    assert_eq!(ask(&world), Err(AskError::Unavailable { required: 2, alive: 1 }));
    // What is decided must get to a majority of those that come, too.
    *world.around.readers.borrow_mut() = Rc::new([OWN]);
    *world.around.joint.borrow_mut() = Rc::new([NodeId(4), NodeId(5), NodeId(6), OTHERS[0]]);
    world.test.shard.set_alive(NodeId(4), false);
    assert_eq!(ask(&world), Err(AskError::Unavailable { required: 3, alive: 2 }));
}

/// It leaves the ring when the change that is under way ends, and that may wait for this group to let a member go.
#[test]
fn the_last_member_goes_on_alone_while_the_forgotten_are_still_in_the_ring() {
    let world = World::new();
    world.around.silent.set(true);
    let may_lead = |world: &World| {
        let (groups, deadline) = (world.groups.clone(), world.test.shard.now() + Duration::from_secs(10));
        world.block_on(async move {
            while groups.shard.now() < deadline {
                if groups.lead(tablet(), None, deadline).await.is_ok() {
                    return true;
                }
            }
            false
        })
    };
    world.map.forget(OTHERS[0]);
    assert!(!may_lead(&world), "the other one may come back with what the two decided");
    assert_eq!(world.around.founders.borrow().anew, None);
    world.map.forget(OTHERS[1]);
    assert!(may_lead(&world), "nobody else ever can");
    assert_eq!(world.around.founders.borrow().anew, Some((OWN, 9)));
}
