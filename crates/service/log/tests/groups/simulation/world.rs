//! A coordinator, its log, and consumers, with a network between them that loses and delays; all from one seed.

use bytes::Bytes;
use holon_base::{Instant, Random, Wall};
use holon_log::groups::{
    Answer, Coordinator, GroupError, Image, Name, Options, Output, Record, RequestNumber, State, Time, WriteError,
    WriteNumber,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::checks::Checks;
use super::client::{Client, PARTITIONS, Request, fetch_of, simple};

const MILLISECOND: u64 = 1_000_000;

pub enum Event {
    Step(usize),
    Arrive {
        client: usize,
        number: u64,
        incarnation: u64,
        request: Request,
    },
    Hear {
        client: usize,
        number: u64,
        incarnation: u64,
        answer: Answer,
    },
    Written {
        incarnation: u64,
    },
    Fault,
    Recover,
    /// A consumer without membership, or an administrator, does something.
    Simple,
}

/// The client of what nobody hears the answer of.
const NOBODY: usize = usize::MAX;
/// A group without members.
const SIMPLE: &str = "green";

pub struct Asked {
    client: usize,
    number: u64,
    request: Request,
    /// Of a commit: the last generation assigned when it arrived.
    assigned: i32,
    /// Of a fetch: the last commit and the last deletion that had been answered by then.
    floors: BTreeMap<i32, [i64; 2]>,
    /// Of a deletion: its place among the commits.
    place: i64,
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Summary {
    pub failovers: u64,
    pub failed_writes: u64,
    pub assignments: u64,
    pub commits: u64,
    pub deletions: u64,
    pub answers: u64,
}

pub struct World {
    pub random: Random,
    pub summary: Summary,
    pub now: Instant,
    events: BTreeMap<(Instant, u64), Event>,
    sequence: u64,
    pub options: Options,
    pub coordinator: Option<Coordinator>,
    pub incarnation: u64,
    pub log: Vec<Bytes>,
    /// Its sum.
    pub sum: Image,
    pub snapshot: (usize, Option<Bytes>),
    /// Under way: number, records, whether they will be durable.
    pub writes: VecDeque<(WriteNumber, Vec<Record>, bool)>,
    pub last_written: Instant,
    pub asked: BTreeMap<u64, Asked>,
    requests: u64,
    pub numbers: u64,
    values: i64,
    pub clients: Vec<Client>,
    groups: Vec<Name>,
    pub checks: Checks,
    faulty: bool,
}

pub type Checked = Result<(), String>;

impl World {
    pub fn new(seed: u64, mut options: Options) -> World {
        let mut random = Random::new(seed);
        if random.chance(1, 2) {
            options.initial_rebalance_delay = Duration::from_millis(random.below(500));
        }
        if random.chance(1, 6) {
            options.members_max = 4;
        }
        // Groups that are gone begin anew at generation 1; that has tests of its own.
        options.offsets_retention_check_interval = Duration::from_secs(24 * 3600);
        let mut out = Output::default();
        let coordinator = Coordinator::new(options.clone(), Image::default(), time(Instant(0)), &mut out);
        let mut world = World {
            random,
            summary: Summary::default(),
            now: Instant(0),
            events: BTreeMap::new(),
            sequence: 0,
            options,
            coordinator: Some(coordinator),
            incarnation: 1,
            log: Vec::new(),
            sum: Image::default(),
            snapshot: (0, None),
            writes: VecDeque::new(),
            last_written: Instant(0),
            asked: BTreeMap::new(),
            requests: 0,
            numbers: 0,
            values: 0,
            clients: Vec::new(),
            groups: vec!["red".into(), "blue".into()],
            checks: Checks::default(),
            faulty: true,
        };
        for _ in 0..world.random.range(2, 9) {
            world.birth();
        }
        world.after(2_000, Event::Fault);
        world.after(1, Event::Simple);
        world
    }

    /// `milliseconds` of faults, then rest, until all is well.
    pub fn run(&mut self, milliseconds: u64) -> Checked {
        self.run_until(Instant(milliseconds * MILLISECOND))?;
        self.faulty = false;
        if self.coordinator.is_none() {
            self.recover()?;
        }
        for client in &mut self.clients {
            client.sleeps_until = Instant(0);
            client.will_hang = false;
        }
        // What is still on its way arrives.
        self.run_until(self.now + Duration::from_secs(15))?;
        let mut trouble = String::new();
        for _ in 0..400 {
            self.run_until(self.now + Duration::from_secs(3))?;
            match self.settled() {
                Ok(generations) => {
                    // And it stays so.
                    self.run_until(self.now + Duration::from_secs(60))?;
                    let later = self.settled()?;
                    if later != generations {
                        return Err(format!("a rebalance while all was quiet: {generations:?}, {later:?}"));
                    }
                    return self.commits_are_there();
                }
                Err(why) => trouble = why,
            }
        }
        Err(format!("after 20 quiet minutes: {trouble}"))
    }

    fn run_until(&mut self, end: Instant) -> Checked {
        loop {
            let next = self.events.first_key_value().map(|((at, _), _)| *at);
            let deadline = self.coordinator.as_ref().and_then(Coordinator::next_deadline);
            let at = next.into_iter().chain(deadline).min().unwrap_or(end).max(self.now);
            if at >= end {
                self.now = end;
                return Ok(());
            }
            self.now = at;
            if deadline.is_some_and(|deadline| deadline <= at) {
                self.coordinate(|coordinator, time, out| coordinator.tick(time, out))?;
            } else if let Some((_, event)) = self.events.pop_first() {
                self.handle(event)?;
            }
        }
    }

    pub fn after(&mut self, milliseconds: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now + Duration::from_millis(milliseconds), self.sequence), event);
    }

    pub fn birth(&mut self) {
        let group = self.groups[usize::from(self.random.chance(1, 3))].clone();
        let instance =
            self.random.chance(2, 5).then(|| Name::from(format!("{group}-instance{}", self.random.below(4))));
        self.clients.push(Client::new(group, instance, &mut self.random));
        self.after(1, Event::Step(self.clients.len() - 1));
    }

    fn handle(&mut self, event: Event) -> Checked {
        match event {
            Event::Step(index) => {
                let client = &mut self.clients[index];
                if client.alive && client.sleeps_until <= self.now {
                    for (number, request) in client.step(self.now, &mut self.numbers, &mut self.random) {
                        self.send(index, number, request);
                    }
                }
                let pause_ms = self.random.range(150, 350);
                self.after(pause_ms, Event::Step(index));
            }
            Event::Arrive { client, number, incarnation, request } => {
                // Of a connection to the old one nothing reaches the new.
                if incarnation == self.incarnation {
                    self.arrive(client, number, request)?;
                }
            }
            Event::Hear { client, number, incarnation, answer } => {
                let hearer = &mut self.clients[client];
                if hearer.sleeps_until > self.now {
                    let wait_ms = hearer.sleeps_until.since(self.now).as_millis() as u64 + 1;
                    self.after(wait_ms, Event::Hear { client, number, incarnation, answer });
                } else if hearer.alive {
                    hearer.will_hang &= incarnation == self.incarnation;
                    hearer.hear(self.now, number, answer, &mut self.random);
                }
            }
            Event::Written { incarnation } if incarnation == self.incarnation => self.written()?,
            Event::Written { .. } => {}
            Event::Fault if self.faulty => self.fault()?,
            Event::Fault => {}
            Event::Recover => self.recover()?,
            Event::Simple => {
                let request = simple(&SIMPLE.into(), &mut self.random);
                self.send(NOBODY, 0, request);
                let pause_ms = self.random.range(50, 4_000);
                self.after(pause_ms, Event::Simple);
            }
        }
        Ok(())
    }

    // --- the network ---

    fn delay_ms(&mut self) -> u64 {
        if self.faulty && self.random.chance(1, 40) { self.random.range(100, 12_000) } else { self.random.range(1, 20) }
    }

    fn is_lost(&mut self) -> bool {
        self.faulty && self.random.chance(1, 50)
    }

    pub fn send(&mut self, client: usize, number: u64, request: Request) {
        if !self.is_lost() {
            let (incarnation, delay_ms) = (self.incarnation, self.delay_ms());
            self.after(delay_ms, Event::Arrive { client, number, incarnation, request });
        }
    }

    fn arrive(&mut self, client: usize, number: u64, mut request: Request) -> Checked {
        if self.coordinator.is_none() {
            return Ok(());
        }
        let (mut assigned, mut floors) = (0, BTreeMap::new());
        match &mut request {
            Request::Commit(commit) => {
                self.values += 1;
                let partitions = &mut commit.topics[0].partitions;
                partitions.iter_mut().for_each(|partition| partition.offset = self.values);
                let numbers: Vec<i32> = partitions.iter().map(|partition| partition.partition).collect();
                assigned = self.checks.commit_arrived(&commit.group, &numbers, self.values);
            }
            Request::Fetch(fetch) => {
                for &partition in &fetch.topics.as_ref().expect("all are named")[0].partitions {
                    let floor = self.checks.floor(&fetch.group, partition);
                    floors.insert(partition, [floor, self.checks.deleted(&fetch.group, partition)]);
                }
            }
            Request::OffsetDelete(_) | Request::DeleteGroups(_) => self.values += 1,
            _ => {}
        }
        for (group, partition) in deleted_by(&request) {
            self.checks.delete_arrived(&group, partition, self.values);
        }
        self.requests += 1;
        let number_here = RequestNumber(self.requests);
        let place = self.values;
        self.asked.insert(self.requests, Asked { client, number, request: request.clone(), assigned, floors, place });
        let random = u128::from(self.random.next_u64()) << 64 | u128::from(self.random.next_u64());
        self.coordinate(|coordinator, time, out| match request {
            Request::Join(join) => coordinator.join(time, number_here, random, join, out),
            Request::Sync(sync) => coordinator.sync(time, number_here, sync, out),
            Request::Heartbeat(heartbeat) => coordinator.heartbeat(time, number_here, &heartbeat, out),
            Request::Leave(leave) => coordinator.leave(time, number_here, leave, out),
            Request::Commit(commit) => coordinator.commit(time, number_here, commit, out),
            Request::Fetch(fetch) => coordinator.fetch(time, number_here, fetch, out),
            Request::OffsetDelete(delete) => coordinator.delete_offsets(time, number_here, delete, out),
            Request::DeleteGroups(groups) => coordinator.delete_groups(time, number_here, groups, out),
        })
    }

    // --- the coordinator ---

    fn coordinate(&mut self, what: impl FnOnce(&mut Coordinator, Time, &mut Output)) -> Checked {
        let mut out = Output::default();
        let Some(coordinator) = &mut self.coordinator else { return Ok(()) };
        what(coordinator, time(self.now), &mut out);
        self.take(out, false)
    }

    pub fn take(&mut self, out: Output, stopping: bool) -> Checked {
        for write in out.writes {
            // Bytes are what the log has.
            let decode = |record: &Record| Record::decode(record.encode()).map_err(|error| error.to_string());
            let records = write.records.iter().map(decode).collect::<Result<Vec<_>, _>>()?;
            if records != write.records {
                return Err(format!("{:?} became {records:?}", write.records));
            }
            let delay_ms = match self.faulty && self.random.chance(1, 30) {
                true => self.random.range(500, 8_000),
                false => self.random.range(1, 60),
            };
            self.last_written = self.last_written.max(self.now + Duration::from_millis(delay_ms));
            let durable = !(self.faulty && self.random.chance(1, 12));
            self.writes.push_back((write.number, records, durable));
            self.sequence += 1;
            let event = Event::Written { incarnation: self.incarnation };
            self.events.insert((self.last_written, self.sequence), event);
        }
        for (number, answer) in out.answers {
            self.answered(number.0, answer, stopping)?;
        }
        Ok(())
    }

    fn answered(&mut self, number: u64, answer: Answer, stopping: bool) -> Checked {
        let Some(asked) = self.asked.remove(&number) else {
            return Err(format!("request {number} is answered twice: {answer:?}"));
        };
        self.summary.answers += 1;
        match (&asked.request, &answer) {
            (Request::Join(join), Answer::Join(joined)) if joined.error.is_none() => {
                self.checks.joined(&join.group, joined.generation)?;
            }
            (Request::Sync(sync), Answer::Sync(synced)) if synced.error.is_none() => {
                let who = sync.instance.as_ref().unwrap_or(&sync.member);
                self.summary.assignments += 1;
                self.checks.alive(&sync.group, sync.generation, who)?;
                self.checks.synced(&sync.group, sync.generation, who, &synced.assignment)?;
            }
            (Request::Heartbeat(beat), Answer::Heartbeat(None)) => {
                self.checks.alive(&beat.group, beat.generation, &beat.member)?;
            }
            (Request::Commit(commit), Answer::Commit(committed)) => {
                let value = commit.topics[0].partitions[0].offset;
                for (partition, error) in &committed.topics[0].partitions {
                    // This error also stands for writes of which nothing is known.
                    let unsure = stopping || *error == Some(GroupError::CoordinatorNotAvailable);
                    self.checks.commit_answered(&commit.group, *partition, value, error.is_none(), !unsure);
                    self.summary.commits += u64::from(error.is_none());
                    let simple = &*commit.group == SIMPLE;
                    if error.is_none() && commit.generation < asked.assigned && !simple {
                        let (generation, assigned) = (commit.generation, asked.assigned);
                        return Err(format!(
                            "a commit of generation {generation} is taken after {assigned} was assigned"
                        ));
                    }
                }
            }
            (Request::Fetch(fetch), Answer::Fetch(fetched)) if fetched.error.is_none() => {
                for one in &fetched.topics[0].partitions {
                    let [mut floor, deleted] = asked.floors.get(&one.partition).copied().unwrap_or_default();
                    if fetch.require_stable {
                        floor = floor.max(self.checks.floor(&fetch.group, one.partition));
                    }
                    self.checks.fetched(&fetch.group, one.partition, [floor, deleted], one.offset)?;
                }
            }
            (Request::OffsetDelete(_), Answer::OffsetDelete(deleted)) => {
                self.delete_answered(&asked, deleted.error, stopping);
            }
            (Request::DeleteGroups(_), Answer::DeleteGroups(results)) => {
                self.delete_answered(&asked, results[0].1, stopping);
            }
            _ => {}
        }
        if asked.client != NOBODY && !self.is_lost() {
            let (incarnation, delay_ms) = (self.incarnation, self.delay_ms());
            let event = Event::Hear { client: asked.client, number: asked.number, incarnation, answer };
            self.after(delay_ms, event);
        }
        Ok(())
    }

    fn delete_answered(&mut self, asked: &Asked, error: Option<GroupError>, stopping: bool) {
        let unsure = stopping || error == Some(GroupError::CoordinatorNotAvailable);
        for (group, partition) in deleted_by(&asked.request) {
            self.checks.delete_answered(&group, partition, asked.place, error.is_none(), !unsure);
        }
        self.summary.deletions += u64::from(error.is_none());
    }

    pub fn append(&mut self, records: Vec<Record>) -> Checked {
        for record in records {
            self.checks.logged(&record)?;
            self.log.push(record.encode());
            self.sum.apply(record);
        }
        Ok(())
    }

    fn written(&mut self) -> Checked {
        let Some((number, records, durable)) = self.writes.pop_front() else { return Ok(()) };
        let outcome = if durable { Ok(()) } else { Err(WriteError::NotLeader) };
        if durable {
            self.append(records)?;
        } else {
            self.summary.failed_writes += 1;
        }
        self.coordinate(|coordinator, time, out| coordinator.written(time, number, outcome, out))?;
        if self.random.chance(1, 10) {
            self.compare()?;
        }
        Ok(())
    }

    /// What the coordinator says is durable is the sum of the log.
    fn compare(&mut self) -> Checked {
        let Some(coordinator) = &self.coordinator else { return Ok(()) };
        let snapshot = coordinator.snapshot();
        if snapshot != self.sum.snapshot() {
            return Err("the coordinator's snapshot is not the sum of the log".to_owned());
        }
        self.snapshot = (self.log.len(), Some(snapshot));
        Ok(())
    }

    pub fn image(&self, from: usize, snapshot: Option<Bytes>) -> Result<Image, String> {
        let mut image = match snapshot {
            Some(bytes) => Image::from_snapshot(bytes).map_err(|error| error.to_string())?,
            None => Image::default(),
        };
        for record in &self.log[from..] {
            image.apply(Record::decode(record.clone()).map_err(|error| error.to_string())?);
        }
        Ok(image)
    }

    // --- rest ---

    /// All who live are in, own everything, and nothing waits. Returns the generations.
    fn settled(&self) -> Result<Vec<i32>, String> {
        let coordinator = self.coordinator.as_ref().ok_or("there is no coordinator")?;
        let lasting = |asked: &&Asked| asked.client != NOBODY;
        if let Some(asked) = self.asked.values().find(lasting)
            && self.writes.is_empty()
        {
            return Err(format!("a request waits: {:?}", asked.request));
        }
        let mut generations = Vec::new();
        for group in &self.groups {
            let live: Vec<&Client> =
                self.clients.iter().filter(|client| client.alive && !client.hangs && client.group == *group).collect();
            let described = coordinator.describe(6, group);
            let members: BTreeSet<Name> = described.members.iter().map(|member| member.member.clone()).collect();
            let ours: BTreeSet<Name> = live.iter().map(|client| client.member.clone()).collect();
            if members != ours {
                let ghosts = self.clients.iter().filter(|client| {
                    !client.member.is_empty() && members.contains(&client.member) && !ours.contains(&client.member)
                });
                let ghosts: Vec<String> = ghosts.map(|client| format!("{client:?}")).collect();
                return Err(format!("{group} has the members {members:?}; {ours:?} live; of the others: {ghosts:?}"));
            }
            if live.is_empty() {
                if !matches!(described.state, State::Empty | State::Dead) {
                    return Err(format!("{group} is {:?} and has no members", described.state));
                }
                continue;
            }
            let generation = live[0].generation;
            let mut owned: Vec<u8> = live.iter().flat_map(|client| client.owned.clone()).collect();
            owned.sort_unstable();
            let all_in = live.iter().all(|client| client.settled_in(generation));
            if described.state != State::Stable || !all_in || owned != (0..PARTITIONS).collect::<Vec<u8>>() {
                return Err(format!("{group} is {:?}, all in: {all_in}, owned: {owned:?}", described.state));
            }
            generations.push(generation);
        }
        Ok(generations)
    }

    fn commits_are_there(&mut self) -> Checked {
        for group in self.groups.clone() {
            let request = fetch_of(&group, (0..PARTITIONS).map(i32::from).collect(), true);
            self.arrive(NOBODY, 0, request)?;
        }
        self.run_until(self.now + Duration::from_secs(1))?;
        self.compare()
    }
}

fn deleted_by(request: &Request) -> Vec<(Name, i32)> {
    match request {
        Request::OffsetDelete(delete) => delete.topics[0].1.iter().map(|one| (delete.group.clone(), *one)).collect(),
        Request::DeleteGroups(groups) => (0..2).map(|partition| (groups[0].clone(), partition)).collect(),
        _ => Vec::new(),
    }
}

pub fn time(now: Instant) -> Time {
    Time { now, wall: Wall(1_700_000_000_000_000 + (now.0 / 1_000) as i64) }
}
