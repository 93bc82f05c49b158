//! A consumer as stock clients behave: it joins, syncs, sends heartbeats, commits what it owns, and asks again when an answer
//! does not come. It knows only what it was told.

use bytes::{BufMut, Bytes, BytesMut};
use holon_base::{Instant, Random};
use holon_log::groups::{
    Answer, Commit, CommitPartition, CommitTopic, Fetch, FetchTopic, GroupError, Heartbeat, Join, Joined, Leave,
    Leaver, Name, OffsetDelete, Protocol, Sync, Synced,
};
use std::time::Duration;

pub const PARTITIONS: u8 = 7;
pub const TOPIC: &str = "flights";

#[derive(Clone, Debug)]
pub enum Request {
    Join(Join),
    Sync(Sync),
    Heartbeat(Heartbeat),
    Leave(Leave),
    Commit(Commit),
    Fetch(Fetch),
    OffsetDelete(OffsetDelete),
    DeleteGroups(Vec<Name>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    Out,
    /// Joined; what the leader is to say.
    Told(Vec<(Name, Bytes)>),
    In,
}

#[derive(Debug)]
pub struct Client {
    pub group: Name,
    pub instance: Option<Name>,
    pub member: Name,
    pub generation: i32,
    pub phase: Phase,
    pub owned: Vec<u8>,
    pub alive: bool,
    /// It sends heartbeats and does nothing else, ever.
    pub hangs: bool,
    /// So it will be when it first joins, if it is dynamic. (One that has synced before would stay, as in Kafka: it beats.)
    pub will_hang: bool,
    pub sleeps_until: Instant,
    version: i16,
    session_ms: i32,
    rebalance_ms: i32,
    patience: Duration,
    asked: Option<(u64, Instant)>,
    beat: Option<(u64, Instant)>,
    next_beat: Instant,
    next_commit: Instant,
    next_try: Instant,
    protocols: Vec<Protocol>,
}

impl Client {
    pub fn new(group: Name, instance: Option<Name>, random: &mut Random) -> Client {
        let protocol = |name: &str| Protocol { name: name.into(), metadata: subscription() };
        let mut protocols = vec![protocol("range"), protocol("sticky")];
        if random.chance(1, 3) {
            protocols.remove(1);
        }
        let least = if instance.is_some() { 5 } else { 0 };
        Client {
            group,
            version: random.range(least, 10) as i16,
            instance,
            member: "".into(),
            generation: -1,
            phase: Phase::Out,
            owned: Vec::new(),
            alive: true,
            hangs: false,
            will_hang: false,
            sleeps_until: Instant(0),
            session_ms: random.range(6_000, 12_000) as i32,
            rebalance_ms: random.range(4_000, 20_000) as i32,
            patience: Duration::from_millis(random.range(1_500, 6_000)),
            asked: None,
            beat: None,
            next_beat: Instant(0),
            next_commit: Instant(0),
            next_try: Instant(0),
            protocols,
        }
    }

    pub fn settled_in(&self, generation: i32) -> bool {
        self.phase == Phase::In && self.generation == generation
    }

    /// The process ends and, if it is static, may be started again.
    pub fn restart(&mut self) {
        self.alive = true;
        (self.hangs, self.will_hang) = (false, false);
        (self.member, self.generation) = ("".into(), -1);
        (self.asked, self.beat) = (None, None);
        self.out();
    }

    fn out(&mut self) {
        self.phase = Phase::Out;
        self.owned.clear();
    }

    pub fn leave(&mut self) -> Request {
        self.alive = false;
        let leaver = Leaver { member: self.member.clone(), instance: self.instance.clone() };
        Request::Leave(Leave { group: self.group.clone(), members: vec![leaver] })
    }

    /// What it sends now; `number` counts its requests.
    pub fn step(&mut self, now: Instant, number: &mut u64, random: &mut Random) -> Vec<(u64, Request)> {
        let mut sent = Vec::new();
        let mut send = |request| {
            *number += 1;
            sent.push((*number, request));
            *number
        };
        if self.beat.is_some_and(|(_, until)| until <= now) {
            self.beat = None;
        }
        if self.phase != Phase::Out && self.beat.is_none() && self.next_beat <= now && !self.member.is_empty() {
            let (group, generation) = (self.group.clone(), self.generation);
            let (member, instance) = (self.member.clone(), self.instance.clone());
            let number = send(Request::Heartbeat(Heartbeat { group, generation, member, instance }));
            self.beat = Some((number, now + Duration::from_secs(2)));
            self.next_beat = now + Duration::from_millis(self.session_ms as u64 / 4);
        }
        if self.hangs {
            return sent;
        }
        if self.asked.is_some_and(|(_, until)| until <= now) {
            // No answer: whatever it was, it joins again.
            self.asked = None;
            if self.phase != Phase::In {
                self.phase = Phase::Out;
            }
        }
        match &self.phase {
            Phase::Out if self.asked.is_none() && self.next_try <= now => {
                let number = send(Request::Join(self.join()));
                self.asked = Some((number, now + self.patience + Duration::from_millis(self.rebalance_ms as u64)));
            }
            Phase::Told(assignments) if self.asked.is_none() => {
                let number = send(Request::Sync(Sync {
                    group: self.group.clone(),
                    generation: self.generation,
                    member: self.member.clone(),
                    instance: self.instance.clone(),
                    protocol_type: Some("consumer".into()),
                    protocol: None,
                    assignments: assignments.clone(),
                }));
                self.asked = Some((number, now + self.patience));
            }
            Phase::In if self.next_commit <= now && !self.owned.is_empty() => {
                self.next_commit = now + Duration::from_millis(random.range(300, 3_000));
                send(if random.chance(1, 3) { self.fetch(random.chance(1, 2)) } else { self.commit() });
            }
            _ => {}
        }
        sent
    }

    fn join(&self) -> Join {
        Join {
            version: self.version,
            group: self.group.clone(),
            member: self.member.clone(),
            instance: self.instance.clone(),
            client_id: "client".into(),
            client_host: "host".into(),
            session_timeout_ms: self.session_ms,
            rebalance_timeout_ms: self.rebalance_ms,
            protocol_type: "consumer".into(),
            protocols: self.protocols.clone(),
        }
    }

    /// Of all that it owns; the offset is put in when it arrives.
    fn commit(&self) -> Request {
        let one = |partition: &u8| CommitPartition {
            partition: i32::from(*partition),
            offset: 0,
            leader_epoch: 3,
            metadata: None,
        };
        let partitions = self.owned.iter().map(one).collect();
        Request::Commit(Commit {
            version: 9,
            group: self.group.clone(),
            generation: self.generation,
            member: self.member.clone(),
            instance: self.instance.clone(),
            retention_ms: -1,
            topics: vec![CommitTopic { name: TOPIC.into(), id: 1, partitions }],
        })
    }

    fn fetch(&self, require_stable: bool) -> Request {
        fetch_of(&self.group, self.owned.iter().map(|partition| i32::from(*partition)).collect(), require_stable)
    }

    /// An answer arrives.
    pub fn hear(&mut self, now: Instant, number: u64, answer: Answer, random: &mut Random) {
        if self.beat.is_some_and(|(asked, _)| asked == number) {
            self.beat = None;
            if let Answer::Heartbeat(Some(error)) = answer {
                self.trouble(now, error);
            }
        } else if self.asked.is_some_and(|(asked, _)| asked == number) && !self.hangs {
            self.asked = None;
            match answer {
                Answer::Join(Joined { error: Some(GroupError::MemberIdRequired), member, .. }) => self.member = member,
                Answer::Join(Joined { error: Some(error), .. }) => self.trouble(now, error),
                Answer::Join(joined) => self.told(now, joined, random),
                Answer::Sync(Synced { error: Some(error), .. }) => self.trouble(now, error),
                Answer::Sync(synced) => {
                    self.phase = Phase::In;
                    self.owned = synced.assignment.to_vec();
                }
                _ => {}
            }
        }
    }

    fn told(&mut self, now: Instant, joined: Joined, random: &mut Random) {
        self.hangs = self.will_hang && self.instance.is_none() && self.generation < 0;
        self.member = joined.member;
        self.generation = joined.generation;
        self.next_beat = now + Duration::from_millis(self.session_ms as u64 / 4);
        self.owned.clear();
        let mut assignments: Vec<(Name, BytesMut)> = Vec::new();
        if joined.leader == self.member && !joined.skip_assignment {
            assignments = joined.members.into_iter().map(|member| (member.member, BytesMut::new())).collect();
            // Another one each time, so that a second assignment shows.
            random.shuffle(&mut assignments);
            let count = assignments.len();
            for partition in 0..PARTITIONS {
                assignments[usize::from(partition) % count].1.put_u8(partition);
            }
        }
        self.phase = Phase::Told(assignments.into_iter().map(|(member, bytes)| (member, bytes.freeze())).collect());
    }

    fn trouble(&mut self, now: Instant, error: GroupError) {
        if self.hangs {
            // It would join again, if it did anything.
            if error != GroupError::RebalanceInProgress {
                self.alive = false;
            }
            return;
        }
        match error {
            GroupError::FencedInstanceId | GroupError::GroupMaxSizeReached => self.alive = false,
            GroupError::UnknownMemberId => (self.member, self.generation) = ("".into(), -1),
            // A heartbeat may just go on; a join begins anew.
            GroupError::CoordinatorNotAvailable | GroupError::NotCoordinator if self.phase == Phase::In => return,
            _ => {}
        }
        self.next_try = now + Duration::from_millis(100);
        self.asked = None;
        self.out();
    }
}

/// What consumers without membership and administrators send.
pub fn simple(group: &Name, random: &mut Random) -> Request {
    let partition = random.below(2) as i32;
    match random.below(10) {
        0 => Request::DeleteGroups(vec![group.clone()]),
        1 => {
            Request::OffsetDelete(OffsetDelete { group: group.clone(), topics: vec![(TOPIC.into(), vec![partition])] })
        }
        2..=4 => fetch_of(group, vec![0, 1], random.chance(1, 2)),
        _ => {
            let partitions = vec![CommitPartition { partition, offset: 0, leader_epoch: -1, metadata: None }];
            Request::Commit(Commit {
                version: 8,
                group: group.clone(),
                generation: -1,
                member: "".into(),
                instance: None,
                retention_ms: -1,
                topics: vec![CommitTopic { name: TOPIC.into(), id: 0, partitions }],
            })
        }
    }
}

pub fn fetch_of(group: &Name, partitions: Vec<i32>, require_stable: bool) -> Request {
    let topics = Some(vec![FetchTopic { name: TOPIC.into(), id: 1, partitions }]);
    Request::Fetch(Fetch { group: group.clone(), topics, require_stable })
}

/// `ConsumerProtocolSubscription`, version 0, of the one topic.
pub fn subscription() -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    bytes.put_i32(1);
    bytes.put_i16(TOPIC.len() as i16);
    bytes.put_slice(TOPIC.as_bytes());
    bytes.put_i32(0);
    bytes.freeze()
}
