//! Histories that somebody else recorded, of a cluster of real processes, held against the models of the simulator's workload.
//!
//! The rows, registers and counters are those of [`super::ClusterWorkload`] and [`super::transactions`], and so is what is checked
//! of them; here is only the way from records to models, in the order of their beginnings and ends. Beyond that a history must say
//! something: each object is read after the last change to it, so that an acknowledged change that was lost for good is seen.
//!
//! It knows no file and no format of one.

use super::effect::Effect;
use super::last_write::LastWrite;
use super::linearizability::{Timed, Verdict};
use super::register::Change;
use super::transactions::{Answer, Call, Counter, check_register, not_linearizable};
use holon_cql::response::ErrorCode;
use std::collections::BTreeMap;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    One,
    Quorum,
    All,
}

/// Rows, registers and counters have keys of their own each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// At QUORUM; `None` deletes. No two of one row have one timestamp, and no two one value.
    Write {
        key: i32,
        value: Option<i64>,
        timestamp: i64,
    },
    Read {
        key: i32,
        level: Level,
    },
    Change {
        key: i32,
        change: Change,
    },
    SerialRead {
        key: i32,
    },
    /// By one, at QUORUM.
    Count {
        key: i32,
    },
    /// At QUORUM or ALL.
    CounterRead {
        key: i32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Of a plain write and a count.
    Done,
    /// Value and timestamp of a row, if there is one.
    Row(Option<(i64, i64)>),
    Conditional(Answer),
    Counter(i64),
    Error(ErrorCode, String),
    /// The client waited no longer, or lost its connection.
    None,
}

impl Reply {
    /// An error by its number on the wire.
    ///
    /// # Errors
    /// There is none with this number.
    pub fn error(number: i32, message: &str) -> Result<Reply, String> {
        let code = ErrorCode::from_number(number).ok_or_else(|| format!("{number} is the number of no error"))?;
        Ok(Reply::Error(code, message.to_string()))
    }
}

/// One statement, as its client saw it. Times are of one clock, nanoseconds.
#[derive(Clone, Debug)]
pub struct Record {
    pub client: u32,
    pub node: u32,
    pub begin: u64,
    pub end: u64,
    pub request: Request,
    pub reply: Reply,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |nanos: u64| format!("{}.{:06}", nanos / 1_000_000_000, nanos / 1000 % 1_000_000);
        let (begin, end) = (seconds(self.begin), seconds(self.end));
        write!(f, "{begin}-{end} client {} node {}: {:?} {:?}", self.client, self.node, self.request, self.reply)
    }
}

/// The three kinds of objects, with their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Object {
    Row(i32),
    Register(i32),
    Counter(i32),
}

impl Request {
    fn object(&self) -> Object {
        match *self {
            Request::Write { key, .. } | Request::Read { key, .. } => Object::Row(key),
            Request::Change { key, .. } | Request::SerialRead { key } => Object::Register(key),
            Request::Count { key } | Request::CounterRead { key } => Object::Counter(key),
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Request::Write { value: Some(_), .. } => "write",
            Request::Write { value: None, .. } => "delete",
            Request::Read { level: Level::One, .. } => "read at ONE",
            Request::Read { level: Level::Quorum, .. } => "read at QUORUM",
            Request::Read { level: Level::All, .. } => "read at ALL",
            Request::Change { change: Change::Insert { .. }, .. } => "conditional insert",
            Request::Change { change: Change::Update { .. }, .. } => "conditional update",
            Request::Change { change: Change::Delete, .. } => "conditional delete",
            Request::SerialRead { .. } => "serial read",
            Request::Count { .. } => "count",
            Request::CounterRead { .. } => "counter read",
        }
    }

    fn is_change(&self) -> bool {
        matches!(self, Request::Write { .. } | Request::Change { .. } | Request::Count { .. })
    }

    /// Whether a read of it meets every acknowledged write.
    fn is_strong_read(&self) -> bool {
        !self.is_change() && !matches!(self, Request::Read { level: Level::One, .. })
    }
}

/// What became of a statement, for the checkers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Answered,
    /// Refused, and certainly nothing was done.
    NotDone,
    Unknown,
}

impl Record {
    /// # Errors
    /// An error that no fault explains.
    pub fn outcome(&self) -> Result<Outcome, String> {
        let conditional = matches!(self.request, Request::Change { .. } | Request::Count { .. });
        match &self.reply {
            Reply::None => Ok(Outcome::Unknown),
            Reply::Error(code, message) => match Effect::of(*code, message) {
                Effect::None => Ok(Outcome::NotDone),
                Effect::NoneIfConditional if conditional => Ok(Outcome::NotDone),
                Effect::NoneIfConditional | Effect::Unknown => Ok(Outcome::Unknown),
                Effect::Unexpected => Err(format!("an error that no fault explains: {self}")),
            },
            _ => Ok(Outcome::Answered),
        }
    }
}

#[derive(Debug, Default)]
pub struct Report {
    /// Statements by their kind and outcome.
    pub counts: BTreeMap<(&'static str, Outcome), u64>,
    /// Calls on the register with most of them.
    pub longest: usize,
    pub registers: usize,
    /// Registers whose search was given up.
    pub undecided: Vec<i32>,
    pub violations: Vec<String>,
}

#[derive(Default)]
struct Row {
    last_write: LastWrite,
    /// A read at ALL brings all replicas up to date before it answers: reads at ONE that begin later do not go behind it.
    everywhere: i64,
}

#[derive(Default)]
struct Models {
    rows: BTreeMap<i32, Row>,
    registers: BTreeMap<i32, Vec<Timed<Call>>>,
    /// Which record each call of a register is.
    records: BTreeMap<i32, Vec<usize>>,
    counters: BTreeMap<i32, Counter>,
    /// The last change that may have happened and the last strong read that began.
    changed: BTreeMap<Object, u64>,
    read: BTreeMap<Object, u64>,
}

/// What a statement under way has to remember.
#[derive(Clone, Copy)]
enum Under {
    Floor(i64),
    Call(usize),
    Nothing,
}

/// Holds a history against the models.
pub fn check(history: &[Record]) -> Report {
    let mut report = Report::default();
    let mut outcomes = Vec::with_capacity(history.len());
    for record in history {
        let outcome = record.outcome().unwrap_or_else(|what| {
            report.violations.push(what);
            Outcome::Unknown
        });
        *report.counts.entry((record.request.name(), outcome)).or_default() += 1;
        outcomes.push(outcome);
    }
    // At equal times a beginning goes before an end: both overlap then, which forbids less.
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (place, (record, outcome)) in history.iter().zip(&outcomes).enumerate() {
        match outcome {
            Outcome::NotDone => {}
            Outcome::Unknown => events.extend(record.request.is_change().then_some((record.begin, false, place))),
            Outcome::Answered => events.extend([(record.begin, false, place), (record.end, true, place)]),
        }
    }
    events.sort_unstable();
    let mut models = Models::default();
    let mut under = vec![Under::Nothing; history.len()];
    for (tick, (_, is_end, place)) in (0..).zip(events) {
        let record = &history[place];
        if !is_end {
            under[place] = models.begin(record, place, tick);
        } else if let Err(what) = models.end(record, under[place], tick) {
            report.violations.push(format!("{:?} {what}\n{}", record.request.object(), told(history, record)));
        }
    }
    models.judge(history, &mut report);
    report
}

impl Models {
    fn begin(&mut self, record: &Record, place: usize, tick: u64) -> Under {
        let request = &record.request;
        if request.is_change() {
            self.changed.insert(request.object(), tick);
        } else if request.is_strong_read() {
            self.read.insert(request.object(), tick);
        }
        match *request {
            Request::Write { key, value, timestamp } => {
                self.rows.entry(key).or_default().last_write.attempt(timestamp, value);
                Under::Nothing
            }
            Request::Read { key, level } => {
                let row = self.rows.entry(key).or_default();
                Under::Floor(if level == Level::One { row.everywhere } else { row.last_write.floor() })
            }
            Request::Change { key, change } => self.call(key, place, tick, Some(change)),
            Request::SerialRead { key } => self.call(key, place, tick, None),
            Request::Count { key } => {
                self.counters.entry(key).or_default().begin();
                Under::Nothing
            }
            Request::CounterRead { key } => Under::Floor(self.counters.entry(key).or_default().floor()),
        }
    }

    fn call(&mut self, key: i32, place: usize, tick: u64, change: Option<Change>) -> Under {
        self.records.entry(key).or_default().push(place);
        let calls = self.registers.entry(key).or_default();
        calls.push(Timed { begin: tick, end: None, call: (change, Answer::Unknown) });
        Under::Call(calls.len() - 1)
    }

    fn end(&mut self, record: &Record, under: Under, tick: u64) -> Result<(), String> {
        match (record.request, &record.reply, under) {
            (Request::Write { key, timestamp, .. }, Reply::Done, _) => {
                self.rows.entry(key).or_default().last_write.raise(timestamp);
            }
            (Request::Read { key, level }, Reply::Row(found), Under::Floor(floor)) => {
                let row = self.rows.entry(key).or_default();
                let shown = row.last_write.show(*found, floor)?;
                if level != Level::One {
                    row.last_write.raise(shown);
                }
                if level == Level::All {
                    row.everywhere = row.everywhere.max(shown);
                }
            }
            (
                Request::Change { key, .. } | Request::SerialRead { key },
                Reply::Conditional(answer),
                Under::Call(call),
            ) => {
                let timed = self.registers.entry(key).or_default().get_mut(call).ok_or("has no such call")?;
                (timed.end, timed.call.1) = (Some(tick), *answer);
            }
            (Request::Count { key }, Reply::Done, _) => self.counters.entry(key).or_default().acknowledge(),
            (Request::CounterRead { key }, Reply::Counter(shown), Under::Floor(floor)) => {
                self.counters.entry(key).or_default().show(*shown, floor)?;
            }
            _ => return Err("has an answer to something else".to_string()),
        }
        Ok(())
    }

    /// What can be said when the whole history is known.
    fn judge(&self, history: &[Record], report: &mut Report) {
        report.registers = self.registers.len();
        report.longest = self.registers.values().map(Vec::len).max().unwrap_or(0);
        for (key, calls) in &self.registers {
            match check_register(calls) {
                Verdict::Linearizable => {}
                Verdict::GaveUp => report.undecided.push(*key),
                Verdict::Not { done, stuck } => {
                    let places = &self.records[key];
                    let tell = |call: usize| format!("\n    {}", history[places[call]]);
                    report.violations.push(not_linearizable(*key, &done, &stuck, tell));
                }
            }
        }
        for (object, changed) in &self.changed {
            if self.read.get(object).is_none_or(|read| read < changed) {
                report.violations.push(format!("{object:?} was not read after the last change to it"));
            }
        }
        if history.is_empty() {
            report.violations.push("nothing was recorded".to_string());
        }
    }
}

/// The records that made this one wrong: the last ones of its object that began before it ended.
fn told(history: &[Record], wrong: &Record) -> String {
    let object = wrong.request.object();
    let of_object = |record: &&Record| record.request.object() == object && record.begin <= wrong.end;
    let mut before: Vec<&Record> = history.iter().filter(of_object).collect();
    before.sort_by_key(|record| record.begin);
    let from = before.len().saturating_sub(25);
    before[from..].iter().map(|record| format!("    {record}")).collect::<Vec<_>>().join("\n")
}
