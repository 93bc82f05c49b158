//! A coordinator, its log, partitions and producers, with mail between them that is delivered in any order, lost and repeated.

use super::checks::{Checked, Checks};
use super::client::{Client, Step};
use bytes::Bytes;
use holon_base::{Instant, Random, TabletId, Wall};
use holon_log::groups::{Name, RequestNumber, Time, WriteError, WriteNumber};
use holon_log::txns::{
    Add, Answer, Coordinator, End, Image, Init, Marked, Marker, Options, Output, Producer, Record, TxnError, Version,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

const IDS: [&str; 2] = ["red", "blue"];
/// So often, in steps, a client asks again.
const AGAIN: u64 = 60;
const TIMEOUT_MS: i32 = 20_000;

#[derive(Clone, Debug)]
enum Ask {
    Init(Option<Producer>),
    Add(BTreeSet<TabletId>),
    End(bool),
}

/// A batch on its way, and the ends that the partition had seen of its producer when it was verified.
#[derive(Clone, Debug)]
struct Append {
    client: usize,
    round: u64,
    producer: Producer,
    serial: u64,
    partition: TabletId,
    verified: Option<u64>,
}

#[derive(Clone, Debug)]
enum Mail {
    Ask { client: usize, round: u64, producer: Producer, serial: u64, ask: Ask },
    Answer { client: usize, round: u64, answer: Answer },
    Append(Append),
    Appended(Append, Result<(), TxnError>),
    Marker(Marker),
    Marked(Marker, Marked),
}

struct Asked {
    who: Who,
    owner: Option<usize>,
    id: Name,
}

enum Who {
    Client { client: usize, round: u64, serial: u64, ask: Ask },
    Partition(Append),
}

#[derive(Default)]
struct Partition {
    epochs: BTreeMap<i64, i16>,
    open: BTreeMap<i64, (i16, u64)>,
    ends: BTreeMap<i64, u64>,
}

impl Partition {
    /// What it ended.
    fn mark(&mut self, marker: &Marker) -> Result<Option<u64>, String> {
        let Producer { id, epoch } = marker.producer;
        let known = self.epochs.get(&id).copied().unwrap_or(-1);
        if epoch < known || marker.bumps && epoch == known {
            return Ok(None);
        }
        self.epochs.insert(id, epoch);
        *self.ends.entry(id).or_default() += 1;
        match self.open.remove(&id) {
            Some((open, serial)) if epoch == open + i16::from(marker.bumps) => Ok(Some(serial)),
            Some((open, serial)) => Err(format!("{marker:?} ends transaction {serial} of epoch {open}")),
            None => Ok(None),
        }
    }
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Summary {
    pub failovers: u64,
    pub failed_writes: u64,
    pub commits: u64,
    pub aborts: u64,
    pub fenced: u64,
    pub markers: u64,
}

pub struct World {
    random: Random,
    pub summary: Summary,
    now_ms: u64,
    steps: u64,
    options: Options,
    coordinator: Option<Coordinator>,
    log: Vec<Bytes>,
    sum: Image,
    /// Under way, and whether they will be durable.
    writes: VecDeque<(WriteNumber, Record, bool)>,
    asked: BTreeMap<u64, Asked>,
    numbers: u64,
    mail: Vec<Mail>,
    partitions: BTreeMap<TabletId, Partition>,
    clients: Vec<Client>,
    producers: i64,
    checks: Checks,
    faulty: bool,
}

impl World {
    pub fn new(seed: u64, options: Options) -> World {
        let mut world = World {
            random: Random::new(seed),
            summary: Summary::default(),
            now_ms: 0,
            steps: 0,
            options,
            coordinator: None,
            log: Vec::new(),
            sum: Image::default(),
            writes: VecDeque::new(),
            asked: BTreeMap::new(),
            numbers: 0,
            mail: Vec::new(),
            partitions: BTreeMap::new(),
            clients: Vec::new(),
            producers: 0,
            checks: Checks::default(),
            faulty: true,
        };
        world.birth();
        world
    }

    fn time(&self) -> Time {
        let wall = Wall(1_700_000_000_000_000 + self.now_ms as i64 * 1000);
        Time { now: Instant(0) + Duration::from_millis(self.now_ms), wall }
    }

    fn birth(&mut self) {
        let id = Name::from(IDS[usize::from(self.random.chance(1, 3))]);
        let version = if self.random.chance(1, 2) { Version::V1 } else { Version::V2 };
        self.clients.push(Client::new(id, version));
    }

    /// So many steps of faults, then rest, until all is well.
    pub fn run(&mut self, steps: u64) -> Checked {
        while self.steps < steps {
            self.step()?;
        }
        self.faulty = false;
        for client in &mut self.clients {
            client.step = Step::Dead;
        }
        for _ in 0..3_000 {
            self.step()?;
        }
        self.settled()
    }

    fn step(&mut self) -> Checked {
        self.steps += 1;
        let most_ms = if self.random.chance(1, 50) { 8_000 } else { 40 };
        self.now_ms += self.random.below(most_ms);
        if self.coordinator.is_none() && self.random.chance(1, 5) {
            self.recover()?;
        }
        let deadline = self.coordinator.as_ref().and_then(Coordinator::next_deadline);
        if deadline.is_some_and(|deadline| deadline <= self.time().now) {
            self.coordinate(Coordinator::tick)?;
        }
        match self.random.below(10) {
            0..=1 => self.written()?,
            2..=6 if !self.mail.is_empty() => self.deliver()?,
            7..=8 if self.faulty => self.client(),
            9 if self.faulty && self.random.chance(1, 12) => self.fault()?,
            _ => {}
        }
        if self.random.chance(1, 10) { self.compare() } else { Ok(()) }
    }

    fn fault(&mut self) -> Checked {
        let index = self.random.below(self.clients.len() as u64) as usize;
        match self.random.below(4) {
            0 | 1 if self.clients.len() < 12 => self.birth(),
            2 => self.clients[index].again_at = self.steps + 400, // silent
            3 if self.coordinator.is_some() => self.fail_over()?,
            _ => {}
        }
        Ok(())
    }

    /// The coordinator is lost. Of what was being written the log has some first part; of its markers some are written.
    fn fail_over(&mut self) -> Checked {
        self.summary.failovers += 1;
        self.coordinator = None;
        self.asked.clear();
        let survive = self.random.below(self.writes.len() as u64 + 1) as usize;
        for (_, record, durable) in std::mem::take(&mut self.writes).into_iter().take(survive) {
            if durable {
                self.append(record);
            }
        }
        for mail in std::mem::take(&mut self.mail) {
            match mail {
                Mail::Marker(marker) if self.random.chance(1, 2) => drop(self.mark(&marker)?),
                Mail::Ask { .. } | Mail::Marker(_) | Mail::Marked(..) => {}
                mail => self.mail.push(mail),
            }
        }
        Ok(())
    }

    fn recover(&mut self) -> Checked {
        let mut image = Image::default();
        for record in &self.log {
            image.apply(Record::decode(record.clone()).map_err(|error| error.to_string())?);
        }
        if image != self.sum {
            return Err("the log is not its sum".to_string());
        }
        let (mut out, time) = (Output::default(), self.time());
        self.coordinator = Some(Coordinator::new(self.options.clone(), image, time, &mut out));
        self.take(out)
    }

    fn append(&mut self, record: Record) {
        self.log.push(record.encode());
        self.sum.apply(record);
    }

    // --- the coordinator ---

    fn coordinate(&mut self, what: impl FnOnce(&mut Coordinator, Time, &mut Output)) -> Checked {
        let (mut out, time) = (Output::default(), self.time());
        let Some(coordinator) = &mut self.coordinator else { return Ok(()) };
        what(coordinator, time, &mut out);
        self.take(out)
    }

    fn take(&mut self, out: Output) -> Checked {
        for (number, record) in out.writes {
            let read = Record::decode(record.encode()).map_err(|error| error.to_string())?;
            if read != record {
                return Err(format!("{record:?} became {read:?}"));
            }
            let durable = !(self.faulty && self.random.chance(1, 12));
            self.writes.push_back((number, record, durable));
        }
        self.mail.extend(out.markers.into_iter().map(Mail::Marker));
        out.answers.into_iter().try_for_each(|(number, answer)| self.answered(number.0, answer))
    }

    fn written(&mut self) -> Checked {
        let Some((number, record, durable)) = self.writes.pop_front() else { return Ok(()) };
        let outcome = if durable {
            self.append(record);
            Ok(())
        } else {
            self.summary.failed_writes += 1;
            Err(WriteError::NotEnoughReplicas)
        };
        self.coordinate(|coordinator, time, out| coordinator.written(time, number, outcome, out))
    }

    fn compare(&self) -> Checked {
        match &self.coordinator {
            Some(coordinator) if coordinator.durable() != self.sum => {
                Err("what the coordinator says is durable is not the sum of the log".to_string())
            }
            _ => Ok(()),
        }
    }

    fn ask(&mut self, who: Who) -> Checked {
        if self.coordinator.is_none() {
            return Ok(());
        }
        let (client, producer, ask) = match &who {
            Who::Client { client, ask, .. } => (*client, self.clients[*client].producer, ask.clone()),
            Who::Partition(append) => (append.client, append.producer, Ask::Add(BTreeSet::from([append.partition]))),
        };
        let (id, version) = (self.clients[client].id.clone(), self.clients[client].version);
        self.numbers += 1;
        let number = RequestNumber(self.numbers);
        self.asked.insert(number.0, Asked { who, owner: self.checks.owner(&id), id: id.clone() });
        self.producers += 1;
        let fresh = Some(self.producers);
        self.coordinate(|coordinator, time, out| match ask {
            Ask::Init(expected) => {
                coordinator.init(time, number, Init { id, timeout_ms: TIMEOUT_MS, expected, fresh }, out);
            }
            Ask::Add(partitions) => coordinator.add(time, number, Add { id, producer, partitions }, out),
            Ask::End(commit) => coordinator.end(time, number, End { id, producer, commit, version, fresh }, out),
        })
    }

    fn answered(&mut self, number: u64, answer: Answer) -> Checked {
        let asked = self.asked.remove(&number).ok_or_else(|| format!("{number} is answered twice: {answer:?}"))?;
        let fenced = TxnError::ProducerFenced;
        let is_fenced = [Answer::Init(Err(fenced)), Answer::Add(Err(fenced)), Answer::End(Err(fenced))];
        self.summary.fenced += u64::from(is_fenced.contains(&answer));
        let is_success = matches!(answer, Answer::Init(Ok(_)) | Answer::Add(Ok(())) | Answer::End(Ok(_)));
        match asked.who {
            Who::Client { client, round, serial, ask } => {
                if is_success && !matches!(ask, Ask::Init(None)) {
                    self.checks.success(asked.owner, client, &format!("{ask:?}"))?;
                }
                match (&ask, &answer) {
                    (Ask::Init(_), Answer::Init(Ok(_))) => self.checks.initialised(&asked.id, client),
                    (Ask::End(commit), Answer::End(Ok(_))) => {
                        self.checks.told(serial, *commit)?;
                        *(if *commit { &mut self.summary.commits } else { &mut self.summary.aborts }) += 1;
                    }
                    _ => {}
                }
                self.mail.push(Mail::Answer { client, round, answer });
            }
            Who::Partition(append) => match answer {
                Answer::Add(Ok(())) => {
                    self.checks.success(asked.owner, append.client, "a batch")?;
                    self.mail.push(Mail::Append(append));
                }
                Answer::Add(Err(error)) => self.mail.push(Mail::Appended(append, Err(error))),
                other => return Err(format!("{other:?} to a partition")),
            },
        }
        Ok(())
    }

    // --- mail ---

    fn deliver(&mut self) -> Checked {
        let index = self.random.below(self.mail.len() as u64) as usize;
        let mail = self.mail.swap_remove(index);
        let is_lost = self.faulty && self.random.chance(1, 15);
        match mail {
            // Who gives a marker up knows that it has no effect any more.
            Mail::Marker(marker) if is_lost => self.mail.push(Mail::Marked(marker, Marked::Again)),
            Mail::Marker(marker) => {
                self.mark(&marker)?;
                // Written, but nobody heard of it.
                let marked = if self.faulty && self.random.chance(1, 15) { Marked::Again } else { Marked::Done };
                self.mail.push(Mail::Marked(marker, marked));
            }
            Mail::Marked(marker, marked) => {
                self.coordinate(|coordinator, time, out| coordinator.marked(time, &marker, marked, out))?;
            }
            _ if is_lost => {}
            Mail::Ask { client, round, producer, serial, ask } => {
                // What was sent before the last answer was heard does not come after it, on one connection. Version 2 does not need that
                // to know a transaction's end from that of the next one.
                let may_be_late = self.clients[client].version == Version::V2 && matches!(ask, Ask::End(_));
                if self.clients[client].round != round && !may_be_late {
                    return Ok(());
                }
                // A request is of who its producer was when it was sent.
                let now = std::mem::replace(&mut self.clients[client].producer, producer);
                if let Ask::End(true) = ask {
                    self.checks.commit_asked(serial);
                }
                let asked = self.ask(Who::Client { client, round, serial, ask });
                self.clients[client].producer = now;
                asked?;
            }
            Mail::Answer { client, round, answer } => {
                if self.clients[client].round == round && !matches!(self.clients[client].step, Step::Dead) {
                    self.clients[client].hear(&answer);
                }
            }
            Mail::Append(append) => self.append_to(append)?,
            Mail::Appended(append, outcome) => {
                let client = &mut self.clients[append.client];
                if client.round == append.round && matches!(client.step, Step::Append) {
                    match outcome {
                        Ok(()) => client.appended(append.partition),
                        Err(error) => client.failed(error),
                    }
                }
            }
        }
        Ok(())
    }

    fn mark(&mut self, marker: &Marker) -> Checked {
        self.summary.markers += 1;
        let ended = self.partitions.entry(marker.partition).or_default().mark(marker)?;
        match ended {
            Some(serial) => self.checks.ended(serial, marker.partition, marker.commit),
            None => Ok(()),
        }
    }

    /// A batch comes to its partition.
    fn append_to(&mut self, append: Append) -> Checked {
        let Producer { id, epoch } = append.producer;
        if self.checks.is_written(append.serial, append.partition) {
            // Known by its sequence number.
            self.mail.push(Mail::Appended(append, Ok(())));
            return Ok(());
        }
        let partition = self.partitions.entry(append.partition).or_default();
        let ends = partition.ends.get(&id).copied().unwrap_or(0);
        let known = partition.epochs.get(&id).copied().unwrap_or(-1);
        if epoch < known {
            self.mail.push(Mail::Appended(append, Err(TxnError::ProducerFenced)));
            return Ok(());
        }
        let is_open = partition.open.get(&id).is_some_and(|(open, _)| *open == epoch);
        if is_open || append.verified == Some(ends) {
            partition.epochs.insert(id, epoch);
            let (_, serial) = *partition.open.entry(id).or_insert((epoch, append.serial));
            if serial != append.serial {
                return Err(format!("{append:?} is part of transaction {serial}"));
            }
            self.checks.written(append.serial, append.partition);
            self.mail.push(Mail::Appended(append, Ok(())));
        } else if append.verified.is_some() {
            self.mail.push(Mail::Appended(append, Err(TxnError::InvalidTxnState)));
        } else {
            let append = Append { verified: Some(ends), ..append };
            let client = &self.clients[append.client];
            if client.version == Version::V2 {
                return self.ask(Who::Partition(append));
            }
            let Some(coordinator) = &self.coordinator else { return Ok(()) };
            let verified = coordinator.verify(&client.id, append.producer, append.partition);
            self.mail.push(match verified {
                Ok(()) => Mail::Append(append),
                Err(error) => Mail::Appended(append, Err(error)),
            });
        }
        Ok(())
    }

    // --- producers ---

    fn client(&mut self) {
        let index = self.random.below(self.clients.len() as u64) as usize;
        if self.clients[index].again_at > self.steps {
            return;
        }
        if matches!(self.clients[index].step, Step::Idle) {
            if self.random.chance(1, 4) {
                self.numbers += 1;
                let serial = self.numbers;
                self.clients[index].begin(serial, &mut self.random);
            }
            return;
        }
        let client = &mut self.clients[index];
        client.again_at = self.steps + AGAIN;
        let (round, producer, serial) = (client.round, client.producer, client.serial);
        let ask = match &client.step {
            Step::Init(expected) => Ask::Init(*expected),
            Step::Add => Ask::Add(client.partitions.clone()),
            Step::End => Ask::End(client.commit),
            Step::Append => {
                let one = |partition: &TabletId| Append {
                    client: index,
                    round,
                    producer,
                    serial,
                    partition: *partition,
                    verified: None,
                };
                self.mail.extend(client.left.iter().map(one).map(Mail::Append));
                return;
            }
            Step::Idle | Step::Dead => return,
        };
        self.mail.push(Mail::Ask { client: index, round, producer, serial, ask });
    }

    // --- rest ---

    /// Nothing waits, nothing is open, and both ids can be used.
    fn settled(&mut self) -> Checked {
        if let Some((number, asked)) = self.asked.first_key_value() {
            return Err(format!("in the end request {number} of {} is not answered", asked.id));
        }
        self.checks.all_ended()?;
        if let Some((tablet, _)) = self.partitions.iter().find(|(_, partition)| !partition.open.is_empty()) {
            return Err(format!("in the end a transaction is open in {tablet:?}"));
        }
        for id in IDS {
            let described = self.coordinator.as_ref().ok_or("in the end there is no coordinator")?.describe(id);
            if let Ok(described) = described
                && (described.state.is_prepared() || !described.partitions.is_empty())
            {
                return Err(format!("in the end {id} is {described:?}"));
            }
        }
        self.compare()
    }
}
