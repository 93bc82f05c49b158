//! Each rule alone: a coordinator, a clock that is set, and a log whose writes succeed or fail as told.

mod admin;
mod failover;
mod joining;
mod leaving;
mod offsets;
mod rebalancing;
mod records;
mod retention;
mod static_members;
mod syncing;
mod transactional;

use bytes::{BufMut, Bytes, BytesMut};
use holon_base::{Instant, Wall};
use holon_log::groups::{
    Answer, Commit, CommitPartition, CommitTopic, Coordinator, Fetch, FetchTopic, Fetched, GroupError, Heartbeat,
    Image, Join, Joined, Leave, Leaver, Left, Name, Options, Output, Protocol, Record, RequestNumber, State, Sync,
    Synced, Time, Write, WriteError,
};
use std::collections::BTreeMap;
use std::time::Duration;

pub const GROUP: &str = "flights";

pub struct Bench {
    pub coordinator: Coordinator,
    pub options: Options,
    now_ms: u64,
    requests: u64,
    answers: BTreeMap<u64, Answer>,
    /// Under way, the oldest first.
    pub writes: Vec<Write>,
    /// Writes succeed at once.
    pub quick: bool,
    pub log: Vec<Record>,
}

impl Bench {
    pub fn new() -> Bench {
        Bench::with(Options::default())
    }

    pub fn with(options: Options) -> Bench {
        let coordinator = Coordinator::new(options.clone(), Image::default(), time(0), &mut Output::default());
        let (answers, writes, log) = (BTreeMap::new(), Vec::new(), Vec::new());
        Bench { coordinator, options, now_ms: 0, requests: 0, answers, writes, quick: true, log }
    }

    pub fn call(&mut self, what: impl FnOnce(&mut Coordinator, Time, RequestNumber, &mut Output)) -> u64 {
        self.requests += 1;
        let mut out = Output::default();
        what(&mut self.coordinator, time(self.now_ms), RequestNumber(self.requests), &mut out);
        self.take(out);
        self.requests
    }

    fn take(&mut self, out: Output) {
        for (number, answer) in out.answers {
            assert!(self.answers.insert(number.0, answer).is_none(), "request {} is answered twice", number.0);
        }
        self.writes.extend(out.writes);
        if self.quick {
            self.durable();
        }
    }

    /// All writes under way succeed.
    pub fn durable(&mut self) {
        while !self.writes.is_empty() {
            self.next_write(Ok(()));
        }
    }

    /// The oldest write ends.
    pub fn next_write(&mut self, outcome: Result<(), WriteError>) {
        let write = self.writes.remove(0);
        if outcome.is_ok() {
            self.log.extend(write.records);
        }
        let mut out = Output::default();
        self.coordinator.written(time(self.now_ms), write.number, outcome, &mut out);
        self.take(out);
    }

    /// Time passes, and whatever is due happens when it is.
    pub fn pass(&mut self, milliseconds: u64) {
        let end = self.now_ms + milliseconds;
        while let Some(deadline) = self.coordinator.next_deadline().filter(|at| at.0 <= end * 1_000_000) {
            self.now_ms = self.now_ms.max(deadline.0.div_ceil(1_000_000));
            let mut out = Output::default();
            self.coordinator.tick(time(self.now_ms), &mut out);
            self.take(out);
        }
        self.now_ms = end;
    }

    /// The coordinator is lost, and another one begins with what the log has.
    pub fn fail_over(&mut self) {
        let mut image = Image::default();
        self.log.iter().for_each(|record| image.apply(record.clone()));
        let mut out = Output::default();
        self.coordinator = Coordinator::new(self.options.clone(), image, time(self.now_ms), &mut out);
        self.writes.clear();
        self.take(out);
    }

    pub fn join(&mut self, join: &Join) -> u64 {
        let random = u128::from(self.requests) << 96 | 0xab;
        self.call(|coordinator, time, number, out| coordinator.join(time, number, random, join.clone(), out))
    }

    pub fn sync(&mut self, sync: &Sync) -> u64 {
        self.call(|coordinator, time, number, out| coordinator.sync(time, number, sync.clone(), out))
    }

    pub fn beat(&mut self, member: &str, generation: i32) -> Option<GroupError> {
        self.beat_as(member, None, generation)
    }

    pub fn beat_as(&mut self, member: &str, instance: Option<&str>, generation: i32) -> Option<GroupError> {
        let beat =
            Heartbeat { group: GROUP.into(), generation, member: member.into(), instance: instance.map(Name::from) };
        let number = self.call(|coordinator, time, number, out| coordinator.heartbeat(time, number, &beat, out));
        match self.answer(number) {
            Some(Answer::Heartbeat(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    pub fn leave(&mut self, leavers: &[(&str, Option<&str>)]) -> u64 {
        let leaver = |(member, instance): &(&str, Option<&str>)| Leaver {
            member: Name::from(*member),
            instance: instance.map(Name::from),
        };
        let leave = Leave { group: GROUP.into(), members: leavers.iter().map(leaver).collect() };
        self.call(|coordinator, time, number, out| coordinator.leave(time, number, leave, out))
    }

    pub fn commit(&mut self, commit: &Commit) -> u64 {
        self.call(|coordinator, time, number, out| coordinator.commit(time, number, commit.clone(), out))
    }

    pub fn answer(&mut self, number: u64) -> Option<Answer> {
        self.answers.remove(&number)
    }

    pub fn joined(&mut self, number: u64) -> Joined {
        match self.answer(number) {
            Some(Answer::Join(joined)) => joined,
            other => panic!("{other:?}"),
        }
    }

    pub fn synced(&mut self, number: u64) -> Synced {
        match self.answer(number) {
            Some(Answer::Sync(synced)) => synced,
            other => panic!("{other:?}"),
        }
    }

    pub fn left(&mut self, number: u64) -> Left {
        match self.answer(number) {
            Some(Answer::Leave(left)) => left,
            other => panic!("{other:?}"),
        }
    }

    /// The error of the only partition.
    pub fn committed(&mut self, number: u64) -> Option<GroupError> {
        match self.answer(number) {
            Some(Answer::Commit(committed)) => committed.topics[0].partitions[0].1,
            other => panic!("{other:?}"),
        }
    }

    pub fn fetch(&mut self, require_stable: bool) -> u64 {
        let topics = Some(vec![FetchTopic { name: "t".into(), id: 0, partitions: vec![0] }]);
        let fetch = Fetch { group: GROUP.into(), topics, require_stable };
        self.call(|coordinator, time, number, out| coordinator.fetch(time, number, fetch, out))
    }

    pub fn fetched(&mut self, number: u64) -> Fetched {
        match self.answer(number) {
            Some(Answer::Fetch(fetched)) => fetched,
            other => panic!("{other:?}"),
        }
    }

    /// What is kept for partition 0 of topic "t".
    pub fn offset(&mut self) -> i64 {
        let number = self.fetch(false);
        self.fetched(number).topics[0].partitions[0].offset
    }

    pub fn state(&self) -> State {
        self.coordinator.describe(5, &GROUP.into()).state
    }

    pub fn members(&self) -> Vec<Name> {
        let described = self.coordinator.describe(5, &GROUP.into());
        described.members.into_iter().map(|member| member.member).collect()
    }

    /// A member id for a dynamic member.
    pub fn id(&mut self) -> Name {
        let number = self.join(&join(""));
        let joined = self.joined(number);
        assert_eq!(joined.error, Some(GroupError::MemberIdRequired));
        joined.member
    }

    /// So many dynamic members in a stable group; the first leads. Their ids and the generation.
    pub fn stable(&mut self, count: usize) -> (Vec<Name>, i32) {
        let ids: Vec<Name> = (0..count).map(|_| self.id()).collect();
        let numbers: Vec<u64> = ids.iter().map(|id| self.join(&join(id))).collect();
        self.pass(if count == 1 { 3_000 } else { 6_000 });
        let generation = numbers.iter().map(|number| self.joined(*number).generation).max().expect("some");
        self.assign(&ids, generation);
        (ids, generation)
    }

    /// All sync, the first as the leader; each is given its number.
    pub fn assign(&mut self, ids: &[Name], generation: i32) {
        let mut sync = sync(&ids[0], generation);
        let assignment = |(index, id): (usize, &Name)| (id.clone(), Bytes::from(vec![index as u8]));
        sync.assignments = ids.iter().enumerate().map(assignment).collect();
        let leader = self.sync(&sync);
        assert_eq!(self.synced(leader).assignment, [0u8].as_slice());
        for (index, id) in ids.iter().enumerate().skip(1) {
            let number = self.sync(&self::sync(id, generation));
            assert_eq!(self.synced(number).assignment, [index as u8].as_slice());
        }
        assert_eq!(self.state(), State::Stable);
    }
}

pub fn time(now_ms: u64) -> Time {
    Time { now: Instant(now_ms * 1_000_000), wall: Wall(1_000_000_000 + now_ms as i64 * 1_000) }
}

/// A consumer of topic "t", of a session of 10 s, that may take 20 s to join.
pub fn join(member: &str) -> Join {
    Join {
        version: 9,
        group: GROUP.into(),
        member: member.into(),
        instance: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 20_000,
        protocol_type: "consumer".into(),
        protocols: vec![protocol("range")],
    }
}

pub fn protocol(name: &str) -> Protocol {
    let mut bytes = BytesMut::new();
    bytes.put_i16(1);
    bytes.put_i32(1);
    bytes.put_i16(1);
    bytes.put_slice(b"t");
    bytes.put_i32(-1);
    Protocol { name: name.into(), metadata: bytes.freeze() }
}

pub fn sync(member: &str, generation: i32) -> Sync {
    Sync {
        group: GROUP.into(),
        generation,
        member: member.into(),
        instance: None,
        protocol_type: None,
        protocol: None,
        assignments: Vec::new(),
    }
}

pub fn commit(member: &str, generation: i32, offset: i64) -> Commit {
    let partitions = vec![CommitPartition { partition: 0, offset, leader_epoch: 4, metadata: Some("note".into()) }];
    Commit {
        version: 9,
        group: GROUP.into(),
        generation,
        member: member.into(),
        instance: None,
        retention_ms: -1,
        topics: vec![CommitTopic { name: "t".into(), id: 0, partitions }],
    }
}

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
