//! A workload for several nodes: rows written and read at several consistency levels through any node, and what each read may
//! show.
//!
//! Timestamps are the workload's own and never the same twice, so each row is a register in which the write with the latest
//! timestamp wins. What is checked, for each row:
//!
//! - A read at a level whose replicas meet those of an acknowledged write shows this write or a later one
//!   (*read your quorum writes*); and what such a read has shown, no later one goes behind (*monotonic*).
//! - A read at any level shows nothing that was not written; what was refused with "nothing was done" was not.
//! - At the end, when all faults are over: every row reads the same at every level and through every node.
//! - Conditional statements are linearizable, counters count ([`super::transactions`]).
//! - Rows that nobody read are the same at ONE through every node, and as they were written or deleted ([`quiet`]).
//! - Of writes that the server stamps the later one wins ([`stamped`]).
//! - Both parts of a logged batch are there at the end, or neither; both, if it was acknowledged.

mod batches;
mod quiet;
mod stamped;
mod statements;

use super::asking::{Asking, plain_client, receive};
use super::effect::Effect;
use super::last_write::LastWrite;
use super::transactions::{self, Pending, Transactions};
use super::{Violation, Workload};
use crate::workload::operation::{Named, NamedRow};
use bytes::Bytes;
use holon_base::{Random, Wall};
use holon_cql::request::{Query, QueryParameters};
use holon_cql::response::{ErrorCode, ErrorResponse, ResultResponse};
use holon_cql::{Consistency, Request, Response};
use quiet::{Fate, Quiet};
use stamped::{Stamped, Stamping};
use std::collections::{BTreeMap, BTreeSet};

const KEYSPACE: &str = "holon_cluster";
const PARTITIONS: i32 = 8;
const ROWS: i32 = 4;

type Key = (i32, i32);

#[derive(Clone, Debug)]
enum Operation {
    Startup,
    Setup(usize),
    Transaction(Pending),
    Stamped(Stamping),
    Write {
        keys: Vec<Key>,
        timestamp: i64,
        is_strong: bool,
    },
    Batch {
        number: usize,
    },
    /// All rows that batches wrote.
    ReadBatches {
        pages: Pages,
    },
    /// Of a row that nobody reads.
    Quiet {
        id: usize,
        deletes: bool,
    },
    ReadQuiet {
        pages: Pages,
    },
    Read {
        keys: Vec<Key>,
        floors: BTreeMap<Key, i64>,
        is_strong: bool,
        pages: Pages,
    },
}

#[derive(Clone, Debug)]
struct Pages {
    statement: String,
    consistency: Consistency,
    page_size: Option<i32>,
    rows: Vec<NamedRow>,
}

struct Connection {
    asking: Asking<Operation>,
    next: Option<(Operation, Request)>,
    /// What is still to be read at the end.
    left: Vec<(Consistency, i32)>,
    /// The quiet rows are.
    is_quiet_left: bool,
}

/// What the end of a run goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Working,
    /// Nothing new is begun.
    Paused,
    /// What nobody read, at ONE through every node.
    Quiet,
    /// Everything at QUORUM, then at ALL: which brings all replicas up to date …
    Settling,
    /// … so that every node shows the same at ONE.
    Comparing,
}

pub struct ClusterWorkload {
    connections: Vec<Connection>,
    rows: BTreeMap<Key, LastWrite>,
    /// Whether each was acknowledged.
    batches: Vec<bool>,
    batches_compared: bool,
    quiet: Vec<Quiet>,
    quiet_shown: Option<BTreeSet<i64>>,
    copies_were_lost: bool,
    /// What was refused last, for people.
    pub last_refusal: String,
    last_timestamp: i64,
    next_value: i64,
    set_up: usize,
    stage: Stage,
    factor: u32,
    settled: BTreeMap<Key, Option<(i64, i64)>>,
    transactions: Transactions,
    stamped: Stamped,
    /// Where connections lead to.
    nodes: BTreeMap<usize, usize>,
    figures: BTreeMap<&'static str, u64>,
}

fn setup(factor: u32) -> [String; 7] {
    let replication = format!("{{'class': 'SimpleStrategy', 'replication_factor': {factor}}}");
    let [registers, counters] = transactions::setup(KEYSPACE);
    [
        format!("CREATE KEYSPACE IF NOT EXISTS {KEYSPACE} WITH replication = {replication}"),
        format!("CREATE TABLE IF NOT EXISTS {KEYSPACE}.t (k int, c int, v bigint, PRIMARY KEY (k, c))"),
        format!("CREATE TABLE IF NOT EXISTS {KEYSPACE}.b (id int PRIMARY KEY, v bigint)"),
        quiet::setup(KEYSPACE),
        registers,
        counters,
        Stamped::table(),
    ]
}

fn int(row: &NamedRow, name: &str) -> Option<i64> {
    let bytes = row.iter().find(|(column, _)| **column == *name)?.1.as_ref()?;
    match bytes.len() {
        4 => bytes.first_chunk::<4>().map(|bytes| i32::from_be_bytes(*bytes).into()),
        _ => bytes.first_chunk::<8>().map(|bytes| i64::from_be_bytes(*bytes)),
    }
}

impl ClusterWorkload {
    /// `factor`: replicas of each partition.
    pub fn new(connections: usize, factor: u32) -> ClusterWorkload {
        let connection =
            || Connection { asking: Asking::new(plain_client()), next: None, left: Vec::new(), is_quiet_left: false };
        ClusterWorkload {
            connections: (0..connections).map(|_| connection()).collect(),
            rows: (0..PARTITIONS).flat_map(|k| (0..ROWS).map(move |c| ((k, c), LastWrite::default()))).collect(),
            batches: Vec::new(),
            batches_compared: false,
            quiet: Vec::new(),
            quiet_shown: None,
            copies_were_lost: false,
            last_refusal: String::new(),
            last_timestamp: 0,
            next_value: 0,
            set_up: 0,
            stage: Stage::Working,
            factor,
            settled: BTreeMap::new(),
            transactions: Transactions::default(),
            stamped: Stamped::default(),
            nodes: BTreeMap::new(),
            figures: BTreeMap::new(),
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.figures.entry(what).or_default() += 1;
    }

    fn timestamp(&mut self, wall: Wall) -> i64 {
        self.last_timestamp = wall.micros().max(self.last_timestamp + 1);
        self.last_timestamp
    }

    fn attempt(&mut self, keys: &[Key], timestamp: i64, value: Option<i64>) {
        for key in keys {
            self.rows.entry(*key).or_default().attempt(timestamp, value);
        }
    }

    fn answered(&mut self, number: usize, operation: Operation, response: Response, wall: Wall) -> Result<(), String> {
        let result = match response {
            Response::Ready if matches!(operation, Operation::Startup) => {
                self.connections[number].asking.is_ready = true;
                return Ok(());
            }
            Response::Result(result) => result,
            Response::Error(error) => return self.failed(number, operation, &error),
            other => return Err(format!("{other:?} is no answer to it")),
        };
        match operation {
            Operation::Startup => return Err("a result answers STARTUP".to_string()),
            Operation::Setup(step) => self.set_up = self.set_up.max(step + 1),
            Operation::Write { keys, timestamp, is_strong } => {
                self.count("writes acknowledged");
                for key in keys.iter().filter(|_| is_strong) {
                    self.rows.entry(*key).or_default().raise(timestamp);
                }
            }
            Operation::Transaction(pending) => {
                self.count("transactions answered");
                return self.transactions.answered(pending, &result);
            }
            Operation::Stamped(Stamping::Write(write)) => {
                self.stamped.acknowledged(write, number, wall.micros());
                self.count("server stamps acknowledged");
            }
            Operation::Stamped(Stamping::Read { key, began }) => {
                let ResultResponse::Rows(rows) = result else { return Err("rows are missing".to_string()) };
                let node = self.node_of(number);
                return self.stamped.shown(key, began, node, &rows.named(), wall.micros());
            }
            Operation::Batch { number } => self.batches[number] = true,
            Operation::Quiet { id, deletes } => self.quiet_ended(id, deletes, Fate::Acknowledged),
            Operation::ReadQuiet { mut pages } => match pages.take(result)? {
                None => return self.compare_quiet(number, pages.ids()),
                Some(more) => self.connections[number].next = Some((Operation::ReadQuiet { pages }, more)),
            },
            Operation::ReadBatches { mut pages } => match pages.take(result)? {
                None => return self.compare_batches(&pages.ids()),
                Some(more) => self.connections[number].next = Some((Operation::ReadBatches { pages }, more)),
            },
            Operation::Read { keys, floors, is_strong, mut pages } => match pages.take(result)? {
                None => self.check(number, &keys, &floors, is_strong, &pages)?,
                Some(more) => {
                    let same = Operation::Read { keys, floors, is_strong, pages };
                    self.connections[number].next = Some((same, more));
                }
            },
        }
        Ok(())
    }

    fn check(
        &mut self,
        number: usize,
        keys: &[Key],
        floors: &BTreeMap<Key, i64>,
        is_strong: bool,
        pages: &Pages,
    ) -> Result<(), String> {
        self.count(if is_strong { "strong reads checked" } else { "weak reads checked" });
        let mut shown = BTreeMap::new();
        for row in &pages.rows {
            let (Some(k), Some(c)) = (int(row, "k"), int(row, "c")) else {
                return Err("a row without key".to_string());
            };
            let (Some(v), Some(w)) = (int(row, "v"), int(row, "w")) else {
                return Err("a row without value".to_string());
            };
            let key = (k as i32, c as i32);
            if shown.insert(key, (v, w)).is_some() {
                return Err(format!("row {key:?} twice"));
            }
        }
        if let Some(other) = shown.keys().find(|key| !keys.contains(key)) {
            return Err(format!("row {other:?} was not asked for"));
        }
        for key in keys {
            let found = shown.get(key).copied();
            let row = self.rows.entry(*key).or_default();
            let floor = floors.get(key).copied().unwrap_or(0);
            let timestamp = row.show(found, floor).map_err(|what| format!("row {key:?} {what}"))?;
            if is_strong {
                row.raise(timestamp);
            }
            self.compare(number, *key, found, pages.consistency)?;
        }
        Ok(())
    }

    /// At the end all reads show the same.
    fn compare(
        &mut self,
        number: usize,
        key: Key,
        found: Option<(i64, i64)>,
        level: Consistency,
    ) -> Result<(), String> {
        match self.stage {
            Stage::Settling if level == Consistency::All => {
                self.settled.insert(key, found);
            }
            Stage::Comparing if self.settled.get(&key) != Some(&found) => {
                let settled = self.settled.get(&key);
                return Err(format!("row {key:?} has settled at {settled:?}, and node {number} shows {found:?}"));
            }
            _ => {}
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
            ErrorCode::IsBootstrapping => "refused for the clock",
            ErrorCode::WriteTimeout => "write timeouts",
            ErrorCode::ReadTimeout => "read timeouts",
            _ => "other errors",
        });
        match operation {
            Operation::Write { keys, timestamp, .. } if effect == Effect::None => {
                for key in keys {
                    self.rows.entry(key).or_default().not_done(timestamp);
                }
            }
            Operation::Quiet { id, deletes } if effect == Effect::None => {
                self.quiet_ended(id, deletes, Fate::NotDone);
            }
            Operation::Stamped(Stamping::Write(write)) if effect == Effect::None => self.stamped.refused(write),
            Operation::Transaction(pending) => {
                self.count("transactions refused");
                let not_done = matches!(effect, Effect::None | Effect::NoneIfConditional);
                self.transactions.failed(pending, not_done);
                self.again(number, Operation::Transaction(pending));
            }
            other => self.again(number, other),
        }
        Ok(())
    }

    /// What has to be read at the end is read again.
    fn again(&mut self, number: usize, operation: Operation) {
        if let Operation::Transaction(pending) = operation
            && self.stage != Stage::Working
        {
            return self.transactions.read_again(pending);
        }
        if let Operation::ReadQuiet { .. } = operation {
            self.connections[number].is_quiet_left = true;
            return;
        }
        // One from before the end is not of it.
        if matches!(self.stage, Stage::Settling | Stage::Comparing)
            && let Operation::Read { keys, pages, .. } = operation
            && let Some((k, _)) = keys.first()
        {
            self.connections[number].left.push((pages.consistency, *k));
        }
    }

    /// The next stage of the end, when this one is done.
    fn advance(&mut self) {
        let idle = |connection: &Connection| {
            let left = !connection.left.is_empty() || connection.is_quiet_left;
            !left && connection.asking.doing.is_none() && connection.next.is_none()
        };
        if self.stage == Stage::Quiet && self.connections.iter().all(idle) {
            self.stage = Stage::Settling;
            let levels = [Consistency::All, Consistency::Quorum];
            let left = levels.into_iter().flat_map(|level| (0..PARTITIONS).map(move |k| (level, k)));
            self.connections[0].left = left.collect();
            self.transactions.finish();
            self.stamped.finish(self.connections.len());
        }
        if self.stage == Stage::Settling && self.connections.iter().all(idle) {
            self.stage = Stage::Comparing;
            for connection in &mut self.connections {
                connection.left = (0..PARTITIONS).map(|k| (Consistency::One, k)).collect();
            }
        }
    }

    /// At the very end: whether the transactions were linearizable.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check_transactions(&mut self) -> Result<(), String> {
        let undecided = self.transactions.check()?;
        self.figures.insert("longest history of a register", self.transactions.most_calls() as u64);
        self.figures.insert("all registers decided", u64::from(undecided == 0));
        Ok(())
    }

    /// From now on nothing new is begun.
    pub fn pause(&mut self) {
        self.stage = Stage::Paused;
    }
}

impl Pages {
    /// Takes a page up. The request for the next one, if there is one.
    fn take(&mut self, page: ResultResponse) -> Result<Option<Request>, String> {
        let ResultResponse::Rows(rows) = page else { return Err("rows are missing".to_string()) };
        self.rows.extend(rows.named());
        Ok(rows.metadata.paging_state.clone().map(|state| page_request(self, Some(state))))
    }

    fn ids(&self) -> BTreeSet<i64> {
        self.rows.iter().filter_map(|row| int(row, "id")).collect()
    }
}

fn page_request(pages: &Pages, state: Option<Bytes>) -> Request {
    let parameters =
        QueryParameters { page_size: pages.page_size, paging_state: state, ..QueryParameters::new(pages.consistency) };
    Request::Query(Query { statement: pages.statement.clone(), parameters })
}

impl Workload for ClusterWorkload {
    fn connections(&self) -> usize {
        self.connections.len()
    }

    fn placed(&mut self, connection: usize, node: usize) {
        self.nodes.insert(connection, node);
    }

    fn connected(&mut self, connection: usize) -> Bytes {
        self.disconnected(connection);
        self.connections[connection].asking.startup(Operation::Startup)
    }

    fn next(&mut self, connection: usize, random: &mut Random, wall: Wall) -> Option<Bytes> {
        self.advance();
        let state = self.connections.get_mut(connection)?;
        if !state.asking.is_free() {
            return None;
        }
        if let Some((operation, request)) = state.next.take() {
            return self.send(connection, operation, request);
        }
        let statements = setup(self.factor);
        let (operation, request) = if let Some(text) = statements.get(self.set_up) {
            if connection != 0 {
                return None;
            }
            let parameters = QueryParameters::new(Consistency::One);
            let query = Request::Query(Query { statement: text.clone(), parameters });
            (Operation::Setup(self.set_up), query)
        } else if self.stage == Stage::Paused {
            return None;
        } else if self.stage == Stage::Quiet {
            if !std::mem::take(&mut self.connections[connection].is_quiet_left) {
                return None;
            }
            self.read_quiet()
        } else if self.stage != Stage::Working {
            // The end begins with connection 0; the others may help.
            if let Some((pending, request, _)) = self.transactions.read_back(KEYSPACE) {
                return self.send(connection, Operation::Transaction(pending), request);
            }
            if self.stamped.is_left(connection) {
                let (operation, request) = self.write_stamped(connection, 0, wall);
                return self.send(connection, operation, request);
            }
            let Some((consistency, k)) = self.connections[connection].left.pop() else {
                if connection != 0 || self.stage != Stage::Comparing || self.batches_compared {
                    return None;
                }
                let statement = format!("SELECT id, v FROM {KEYSPACE}.b");
                let pages = Pages { statement, consistency: Consistency::All, page_size: Some(500), rows: Vec::new() };
                let request = page_request(&pages, None);
                return self.send(connection, Operation::ReadBatches { pages }, request);
            };
            self.read_of(Some(k), "", consistency, None, |_| true)
        } else if random.chance(1, 5) {
            let (pending, request, kind) = self.transactions.next(KEYSPACE, random);
            self.count(kind);
            (Operation::Transaction(pending), request)
        } else if random.chance(1, 16) {
            self.quiet_write(random, wall)
        } else if random.chance(1, 5) {
            self.stamped(connection, random, wall)
        } else if random.chance(1, 2) {
            self.write(random, wall)
        } else {
            self.read(random)
        };
        self.send(connection, operation, request)
    }

    fn received(&mut self, number: usize, bytes: &[u8], wall: Wall) -> Result<(), Violation> {
        let answered = |workload: &mut Self, operation, response| workload.answered(number, operation, response, wall);
        receive(self, number, bytes, |workload| &mut workload.connections[number].asking, answered)
    }

    fn is_waiting(&self, connection: usize) -> bool {
        self.connections.get(connection).is_some_and(|state| state.asking.doing.is_some())
    }

    fn disconnected(&mut self, connection: usize) {
        let state = &mut self.connections[connection];
        let lost = state.next.take().map(|(operation, _)| operation);
        let lost: Vec<Operation> = lost.into_iter().chain(state.asking.lose(plain_client())).collect();
        for operation in lost {
            if let Operation::Transaction(pending) = operation {
                self.transactions.failed(pending, false);
            }
            self.again(connection, operation);
        }
    }

    /// Of one node out of several: what it had in flight may still take effect on others.
    fn restarted(&mut self) {
        self.count("restarts");
    }

    fn finish(&mut self) {
        if matches!(self.stage, Stage::Working | Stage::Paused) {
            self.stage = Stage::Quiet;
            self.connections.iter_mut().for_each(|connection| connection.is_quiet_left = true);
        }
    }

    fn is_finished(&self) -> bool {
        let idle = |connection: &Connection| {
            connection.left.is_empty() && connection.asking.doing.is_none() && connection.next.is_none()
        };
        self.stage == Stage::Comparing
            && self.batches_compared
            && self.stamped.is_finished()
            && self.transactions.is_read_back()
            && self.connections.iter().all(idle)
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        self.figures.iter().map(|(name, count)| (*name, *count)).collect()
    }
}

impl ClusterWorkload {
    fn send(&mut self, connection: usize, operation: Operation, request: Request) -> Option<Bytes> {
        self.connections.get_mut(connection)?.asking.send(operation, request)
    }
}
