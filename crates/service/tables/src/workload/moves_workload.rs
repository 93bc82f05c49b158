//! A workload for tablets that move: a few rows of one table, written and read at several consistency levels through any node, while
//! their keyspace is told again and again to have another number of replicas.
//!
//! Timestamps are the workload's own and never the same twice, so each row is a register ([`LastWrite`]):
//!
//! - A read at a level whose replicas meet those of an acknowledged write shows this write or a later one; and what such a read
//!   has shown, no later one goes behind.
//! - A read at any level shows nothing that was not written; what was refused with "nothing was done" was not.
//! - At the end, when all faults are over: every row reads the same at ALL, and then at ONE through every node.
//!
//! Whether a level is strong depends on its name only, never on how many replicas there were: that is what the cluster promises
//! while it changes them.

use super::asking::{Asking, plain_client, receive};
use super::effect::Effect;
use super::last_write::LastWrite;
use super::operation::{Named, NamedRow, write_level};
use super::{Violation, Workload};
use bytes::Bytes;
use holon_base::{Random, Wall};
use holon_cql::request::{Query, QueryParameters};
use holon_cql::response::{ErrorCode, ErrorResponse, ResultResponse};
use holon_cql::{Consistency, Request, Response};
use std::collections::BTreeMap;

const KEYSPACE: &str = "holon_moves";
const ROWS: i32 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Working,
    /// Nothing new is begun.
    Paused,
    /// Each row at ALL, which brings all its replicas up to date …
    Settling,
    /// … so that every node shows the same at ONE.
    Comparing,
}

#[derive(Clone, Debug)]
enum Operation {
    Startup,
    Setup(usize),
    Change,
    Write {
        key: i32,
        timestamp: i64,
        is_strong: bool,
    },
    /// One row, or all.
    Read {
        key: Option<i32>,
        floors: BTreeMap<i32, i64>,
        is_strong: bool,
    },
}

struct Connection {
    asking: Asking<Operation>,
    /// What is still to be read at the end.
    left: Vec<i32>,
}

pub struct MovesWorkload {
    connections: Vec<Connection>,
    rows: BTreeMap<i32, LastWrite>,
    /// Replicas that the keyspace was last told to have.
    factor: u32,
    is_change_wanted: bool,
    set_up: usize,
    stage: Stage,
    settled: BTreeMap<i32, Option<(i64, i64)>>,
    last_timestamp: i64,
    /// What was refused last, for people.
    pub last_refusal: String,
    figures: BTreeMap<&'static str, u64>,
}

fn is_strong(level: Consistency) -> bool {
    !matches!(level, Consistency::One | Consistency::LocalOne | Consistency::Any)
}

impl MovesWorkload {
    /// `factor`: replicas of each partition, to begin with.
    pub fn new(connections: usize, factor: u32) -> MovesWorkload {
        let connection = || Connection { asking: Asking::new(plain_client()), left: Vec::new() };
        MovesWorkload {
            connections: (0..connections).map(|_| connection()).collect(),
            rows: (0..ROWS).map(|key| (key, LastWrite::default())).collect(),
            factor,
            is_change_wanted: false,
            set_up: 0,
            stage: Stage::Working,
            settled: BTreeMap::new(),
            last_timestamp: 0,
            last_refusal: String::new(),
            figures: BTreeMap::new(),
        }
    }

    pub fn is_set_up(&self) -> bool {
        self.set_up >= 2
    }

    pub fn factor(&self) -> u32 {
        self.factor
    }

    /// One of the clients is to have the keyspace changed.
    pub fn change_factor(&mut self, factor: u32) {
        (self.factor, self.is_change_wanted) = (factor, true);
    }

    /// From now on nothing new is begun.
    pub fn pause(&mut self) {
        (self.stage, self.is_change_wanted) = (Stage::Paused, false);
    }

    fn count(&mut self, what: &'static str) {
        *self.figures.entry(what).or_default() += 1;
    }

    fn setup(&self) -> Option<String> {
        let replication = format!("{{'class': 'SimpleStrategy', 'replication_factor': {}}}", self.factor);
        match self.set_up {
            0 => Some(format!("CREATE KEYSPACE IF NOT EXISTS {KEYSPACE} WITH replication = {replication}")),
            1 => Some(format!("CREATE TABLE IF NOT EXISTS {KEYSPACE}.t (k int PRIMARY KEY, v bigint)")),
            _ if self.is_change_wanted => Some(format!("ALTER KEYSPACE {KEYSPACE} WITH replication = {replication}")),
            _ => None,
        }
    }

    fn write(&mut self, random: &mut Random, wall: Wall) -> (Operation, Request) {
        self.last_timestamp = wall.micros().max(self.last_timestamp + 1);
        let (timestamp, key) = (self.last_timestamp, random.below(ROWS as u64) as i32);
        let level = write_level(random);
        let value = (!random.chance(1, 8)).then_some(timestamp);
        let statement = match value {
            Some(value) => format!("INSERT INTO {KEYSPACE}.t (k, v) VALUES ({key}, {value})"),
            None => format!("DELETE FROM {KEYSPACE}.t WHERE k = {key}"),
        };
        self.rows.entry(key).or_default().attempt(timestamp, value);
        self.count(if value.is_some() { "writes" } else { "rows deleted" });
        let parameters = QueryParameters { timestamp_us: Some(timestamp), ..QueryParameters::new(level) };
        let operation = Operation::Write { key, timestamp, is_strong: is_strong(level) };
        (operation, Request::Query(Query { statement, parameters }))
    }

    fn read(&self, key: Option<i32>, level: Consistency) -> (Operation, Request) {
        let of = key.map(|key| format!(" WHERE k = {key}")).unwrap_or_default();
        let statement = format!("SELECT k, v, writetime(v) AS w FROM {KEYSPACE}.t{of}");
        let asked = self.rows.iter().filter(|(other, _)| key.is_none_or(|key| key == **other));
        let is_strong = is_strong(level);
        let floors = asked.map(|(key, row)| (*key, if is_strong { row.floor() } else { 0 })).collect();
        let request = Request::Query(Query { statement, parameters: QueryParameters::new(level) });
        (Operation::Read { key, floors, is_strong }, request)
    }

    fn random_read(&self, random: &mut Random) -> (Operation, Request) {
        let level = match random.below(10) {
            0 => Consistency::One,
            1 => Consistency::All,
            2 => Consistency::LocalQuorum,
            _ => Consistency::Quorum,
        };
        let key = (!random.chance(1, 10)).then(|| random.below(ROWS as u64) as i32);
        self.read(key, level)
    }

    fn answered(&mut self, number: usize, operation: Operation, response: Response) -> Result<(), String> {
        match (operation, response) {
            (Operation::Startup, Response::Ready) => self.connections[number].asking.is_ready = true,
            (operation, Response::Error(error)) => return self.failed(number, operation, &error),
            (Operation::Setup(step), Response::Result(_)) => self.set_up = self.set_up.max(step + 1),
            (Operation::Change, Response::Result(_)) => self.count("factors changed"),
            (Operation::Write { key, timestamp, is_strong }, Response::Result(_)) => {
                self.count("writes acknowledged");
                if is_strong {
                    self.rows.entry(key).or_default().raise(timestamp);
                }
            }
            (Operation::Read { floors, is_strong, .. }, Response::Result(ResultResponse::Rows(rows))) => {
                return self.check(number, &floors, is_strong, &rows.named());
            }
            (_, other) => return Err(format!("{other:?} is no answer to it")),
        }
        Ok(())
    }

    fn check(
        &mut self,
        number: usize,
        floors: &BTreeMap<i32, i64>,
        is_strong: bool,
        rows: &[NamedRow],
    ) -> Result<(), String> {
        self.count(if is_strong { "strong reads checked" } else { "weak reads checked" });
        let mut shown = BTreeMap::new();
        for row in rows {
            let value = |name: &str| row.iter().find(|(column, _)| **column == *name)?.1.as_deref();
            let long = |name| value(name)?.first_chunk::<8>().map(|bytes| i64::from_be_bytes(*bytes));
            let key = value("k").and_then(|bytes| bytes.first_chunk::<4>()).map(|bytes| i32::from_be_bytes(*bytes));
            let (Some(key), Some(value), Some(timestamp)) = (key, long("v"), long("w")) else {
                return Err("a row without key or value".to_string());
            };
            if !floors.contains_key(&key) || shown.insert(key, (value, timestamp)).is_some() {
                return Err(format!("row {key} twice, or was not asked for"));
            }
        }
        for (key, floor) in floors {
            let found = shown.get(key).copied();
            let row = self.rows.entry(*key).or_default();
            let timestamp = row.show(found, *floor).map_err(|what| format!("row {key} {what}"))?;
            if is_strong {
                row.raise(timestamp);
            }
            match self.stage {
                Stage::Settling if is_strong => drop(self.settled.insert(*key, found)),
                Stage::Comparing if self.settled.get(key) != Some(&found) => {
                    let settled = self.settled.get(key);
                    return Err(format!(
                        "row {key} has settled at {settled:?}, and connection {number} shows {found:?}"
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn failed(&mut self, number: usize, operation: Operation, error: &ErrorResponse) -> Result<(), String> {
        self.last_refusal = format!("connection {number}, {:?}: {}", error.code(), error.message);
        let effect = Effect::of(error.code(), &error.message);
        if effect == Effect::Unexpected {
            return Err(format!("{:?}: {}", error.code(), error.message));
        }
        self.count(match error.code() {
            ErrorCode::Unavailable => "unavailable",
            ErrorCode::WriteTimeout => "write timeouts",
            ErrorCode::ReadTimeout => "read timeouts",
            _ => "other errors",
        });
        match operation {
            Operation::Write { key, timestamp, .. } if effect == Effect::None => {
                self.rows.entry(key).or_default().not_done(timestamp);
            }
            other => self.again(number, other),
        }
        Ok(())
    }

    /// What has to be read at the end is read again.
    fn again(&mut self, number: usize, operation: Operation) {
        if let Operation::Read { key: Some(key), .. } = operation
            && matches!(self.stage, Stage::Settling | Stage::Comparing)
        {
            self.connections[number].left.push(key);
        }
    }

    fn is_idle(&self) -> bool {
        self.connections.iter().all(|connection| connection.left.is_empty() && connection.asking.doing.is_none())
    }

    fn send(&mut self, number: usize, operation: Operation, request: Request) -> Option<Bytes> {
        self.connections.get_mut(number)?.asking.send(operation, request)
    }
}

impl Workload for MovesWorkload {
    fn connections(&self) -> usize {
        self.connections.len()
    }

    fn connected(&mut self, number: usize) -> Bytes {
        self.disconnected(number);
        self.connections[number].asking.startup(Operation::Startup)
    }

    fn next(&mut self, number: usize, random: &mut Random, wall: Wall) -> Option<Bytes> {
        if self.stage == Stage::Settling && self.is_idle() {
            self.stage = Stage::Comparing;
            self.connections.iter_mut().for_each(|connection| connection.left = (0..ROWS).collect());
        }
        if !self.connections.get(number)?.asking.is_free() {
            return None;
        }
        if let Some(statement) = self.setup() {
            let is_change = self.set_up >= 2;
            if !is_change && number != 0 {
                return None;
            }
            self.is_change_wanted = false;
            let operation = if is_change { Operation::Change } else { Operation::Setup(self.set_up) };
            let parameters = QueryParameters::new(Consistency::One);
            return self.send(number, operation, Request::Query(Query { statement, parameters }));
        }
        let (operation, request) = match self.stage {
            Stage::Working if random.chance(1, 2) => self.write(random, wall),
            Stage::Working => self.random_read(random),
            Stage::Paused => return None,
            Stage::Settling | Stage::Comparing => {
                let level = if self.stage == Stage::Settling { Consistency::All } else { Consistency::One };
                let key = self.connections[number].left.pop()?;
                self.read(Some(key), level)
            }
        };
        self.send(number, operation, request)
    }

    fn received(&mut self, number: usize, bytes: &[u8], _wall: Wall) -> Result<(), Violation> {
        let answered = |workload: &mut Self, operation, response| workload.answered(number, operation, response);
        receive(self, number, bytes, |workload| &mut workload.connections[number].asking, answered)
    }

    fn is_waiting(&self, number: usize) -> bool {
        self.connections.get(number).is_some_and(|state| state.asking.doing.is_some())
    }

    fn disconnected(&mut self, number: usize) {
        if let Some(operation) = self.connections[number].asking.lose(plain_client()) {
            self.again(number, operation);
        }
    }

    /// Of one node out of several: what it had in flight may still take effect on others.
    fn restarted(&mut self) {
        self.count("restarts");
    }

    fn finish(&mut self) {
        if self.stage == Stage::Paused {
            self.stage = Stage::Settling;
            self.connections[0].left = (0..ROWS).collect();
        }
    }

    fn is_finished(&self) -> bool {
        self.stage == Stage::Comparing && self.is_idle()
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        self.figures.iter().map(|(name, count)| (*name, *count)).collect()
    }
}
