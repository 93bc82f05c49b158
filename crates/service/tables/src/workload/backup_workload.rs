//! A workload for backups: rows that are written once at QUORUM, alone or in batches over two keyspaces, some of them deleted once, by
//! many clients; and what a backup that was taken meanwhile must have of them.
//!
//! - What was acknowledged before the backup was asked for is in it.
//! - *Cause and effect*: what was acknowledged before anything that is in it was asked for is in it too.
//! - A batch is in it whole or not at all.
//!
//! Times are the world's: it has one clock that is right, and all clients go by it, so "before" needs no message between them.
//! At the end the tables are emptied, a backup is brought back, and the tables must show it, through every node.

use super::asking::{Asking, plain_client, receive};
use super::effect::Effect;
use super::operation::{Named, NamedRow};
use super::{Violation, Workload};
use crate::types::row_key::RowKey;
use bytes::Bytes;
use holon_base::{Random, Wall};
use holon_cql::request::{Batch, BatchKind, BatchQuery, BatchStatement, Query, QueryParameters};
use holon_cql::response::{ErrorCode, ResultResponse};
use holon_cql::{Consistency, Request, Response};
use holon_store::Mutation;
use std::collections::{BTreeMap, BTreeSet};

/// Of different numbers of replicas.
const KEYSPACES: [&str; 2] = ["holon_few", "holon_many"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Working,
    Paused,
    Emptying,
    /// A backup is being brought back.
    Restoring,
    Reading,
    Finished,
}

/// Something that was asked for: of these rows, whether they are deleted.
#[derive(Clone, Debug)]
struct Event {
    /// Index of the keyspace, and the row.
    rows: Vec<(usize, i32)>,
    deletes: bool,
    asked_micros: i64,
    /// When it was acknowledged.
    done_micros: Option<i64>,
}

#[derive(Clone, Debug)]
enum Operation {
    Startup,
    Setup,
    Event(usize),
    Truncate,
    Read { keyspace: usize, pages: Vec<NamedRow> },
}

struct Connection {
    asking: Asking<Operation>,
    /// Of what it is doing: where the next page begins.
    next_page: Option<Bytes>,
}

pub struct BackupWorkload {
    connections: Vec<Connection>,
    events: Vec<Event>,
    /// Rows that may be deleted.
    written: Vec<(usize, i32)>,
    next_row: i32,
    few: u32,
    set_up: usize,
    emptied: usize,
    stage: Stage,
    /// What has to be read at the end, and through which connections it was.
    restored: Shown,
    left: Vec<(usize, usize)>,
    last_timestamp: i64,
    pub last_refusal: String,
    figures: BTreeMap<&'static str, u64>,
}

/// Rows that a backup shows and rows that it says are deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    live: BTreeSet<(usize, i32)>,
    deleted: BTreeSet<(usize, i32)>,
}

impl Shown {
    /// # Errors
    /// A table or a key that nobody wrote.
    pub fn of(contents: &[(String, Mutation)]) -> Result<Shown, String> {
        let mut shown = Shown::default();
        for (table, mutation) in contents {
            let keyspace = KEYSPACES.iter().position(|name| *table == format!("{name}.w"));
            let keyspace = keyspace.ok_or_else(|| format!("a backup has a table {table}"))?;
            for (key, row) in mutation.rows().map_err(|error| error.to_string())? {
                let split = RowKey::split(&key).ok_or_else(|| format!("a backup has a key {key:?}"))?;
                let id = split.partition_key.first_chunk::<4>().map(|bytes| i32::from_be_bytes(*bytes));
                let id = id.ok_or_else(|| format!("a backup has a partition {:?}", split.partition_key))?;
                if row.marker.is_some() {
                    shown.live.insert((keyspace, id));
                }
                if row.deletion.is_some() {
                    shown.deleted.insert((keyspace, id));
                }
            }
            for range in mutation.ranges() {
                let prefix = crate::types::row_key::prefix_length(&range.start).map(|end| &range.start[10..end]);
                let id = prefix.and_then(|key| key.first_chunk::<4>()).map(|bytes| i32::from_be_bytes(*bytes));
                shown.deleted.insert((keyspace, id.ok_or_else(|| format!("a backup has a range {range:?}"))?));
            }
        }
        // Parts of batches that were not carried out come beside the rows.
        shown.live.retain(|row| !shown.deleted.contains(row));
        Ok(shown)
    }

    /// Whether an event has happened, by each of its rows. A row is deleted only after it was there.
    fn has(&self, event: &Event) -> Vec<bool> {
        let has = |row: &(usize, i32)| self.deleted.contains(row) || !event.deletes && self.live.contains(row);
        event.rows.iter().map(has).collect()
    }
}

impl BackupWorkload {
    /// `few`: replicas of one of the keyspaces; the other has three.
    pub fn new(connections: usize, few: u32) -> BackupWorkload {
        let connection = || Connection { asking: Asking::new(plain_client()), next_page: None };
        BackupWorkload {
            connections: (0..connections).map(|_| connection()).collect(),
            events: Vec::new(),
            written: Vec::new(),
            next_row: 0,
            few,
            set_up: 0,
            emptied: 0,
            stage: Stage::Working,
            restored: Shown::default(),
            left: Vec::new(),
            last_timestamp: 0,
            last_refusal: String::new(),
            figures: BTreeMap::new(),
        }
    }

    pub fn is_set_up(&self) -> bool {
        self.set_up >= 4
    }

    pub fn count(&mut self, what: &'static str) {
        *self.figures.entry(what).or_default() += 1;
    }

    /// From now on nothing new is begun.
    pub fn pause(&mut self) {
        self.stage = Stage::Paused;
    }

    /// The tables are empty: a backup may be brought back.
    pub fn is_empty(&self) -> bool {
        self.stage == Stage::Restoring
    }

    /// It is: read it through every connection.
    pub fn restored(&mut self, shown: Shown) {
        self.restored = shown;
        self.stage = Stage::Reading;
        self.left = (0..self.connections.len()).flat_map(|number| [(number, 0), (number, 1)]).collect();
    }

    /// Holds a backup that was asked for at this time against what was done.
    ///
    /// # Errors
    /// What is missing.
    pub fn check(&mut self, shown: &Shown, called_micros: i64) -> Result<(), String> {
        let mut reached = called_micros;
        for event in &self.events {
            let has = shown.has(event);
            if event.rows.len() > 1 && has.iter().any(|one| *one != has[0]) {
                return Err(format!("a backup has half a batch: {event:?} {has:?}"));
            }
            if has[0] {
                reached = reached.max(event.asked_micros);
            }
        }
        let is_later = reached > called_micros;
        for event in &self.events {
            if event.done_micros.is_some_and(|done| done < reached) && !shown.has(event)[0] {
                let why = match event.done_micros.is_some_and(|done| done < called_micros) {
                    true => format!("was acknowledged before it was asked for ({called_micros})"),
                    false => format!("was acknowledged before another that is in it was asked for ({reached})"),
                };
                return Err(format!("a backup lacks {event:?}, which {why}"));
            }
        }
        self.count("backups checked");
        if is_later {
            self.count("backups with writes from after they were asked for");
        }
        Ok(())
    }

    fn event(&mut self, random: &mut Random, wall: Wall) -> (Operation, Request) {
        self.last_timestamp = wall.micros().max(self.last_timestamp + 1);
        let timestamp_us = Some(self.last_timestamp);
        let parameters = QueryParameters { timestamp_us, ..QueryParameters::new(Consistency::Quorum) };
        let insert =
            |keyspace: usize, id: i32| format!("INSERT INTO {}.w (id, v) VALUES ({id}, {id})", KEYSPACES[keyspace]);
        let id = self.next_row;
        let (rows, deletes, request) = if random.chance(1, 8) && !self.written.is_empty() {
            let at = random.below(self.written.len() as u64) as usize;
            let (keyspace, id) = self.written.swap_remove(at);
            let statement = format!("DELETE FROM {}.w WHERE id = {id}", KEYSPACES[keyspace]);
            self.count("deletions");
            (vec![(keyspace, id)], true, Request::Query(Query { statement, parameters }))
        } else if random.chance(1, 4) {
            self.next_row += 1;
            self.count("batches");
            let queries = [0, 1].map(|keyspace| BatchQuery {
                statement: BatchStatement::Text(insert(keyspace, id)),
                values: Vec::new(),
            });
            let batch = Batch {
                queries: queries.to_vec(),
                kind: BatchKind::Logged,
                consistency: Consistency::Quorum,
                serial_consistency: None,
                timestamp_us,
                keyspace: None,
                now_in_seconds: None,
            };
            (vec![(0, id), (1, id)], false, Request::Batch(batch))
        } else {
            self.next_row += 1;
            self.count("insertions");
            let keyspace = random.below(2) as usize;
            (vec![(keyspace, id)], false, Request::Query(Query { statement: insert(keyspace, id), parameters }))
        };
        self.events.push(Event { rows, deletes, asked_micros: wall.micros(), done_micros: None });
        (Operation::Event(self.events.len() - 1), request)
    }

    fn setup(&self) -> Option<String> {
        let (keyspace, is_table) = (KEYSPACES[self.set_up % 2], self.set_up >= 2);
        let factor = if self.set_up.is_multiple_of(2) { self.few } else { 3 };
        match self.set_up {
            0..4 if is_table => Some(format!("CREATE TABLE IF NOT EXISTS {keyspace}.w (id int PRIMARY KEY, v int)")),
            0..4 => Some(format!(
                "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {{'class': 'SimpleStrategy', \
                 'replication_factor': {factor}}}"
            )),
            _ => None,
        }
    }

    fn text(statement: String, consistency: Consistency) -> Request {
        Request::Query(Query { statement, parameters: QueryParameters::new(consistency) })
    }

    fn page(keyspace: usize, state: Option<Bytes>) -> Request {
        let parameters =
            QueryParameters { page_size: Some(500), paging_state: state, ..QueryParameters::new(Consistency::One) };
        Request::Query(Query { statement: format!("SELECT id FROM {}.w", KEYSPACES[keyspace]), parameters })
    }

    fn answered(&mut self, number: usize, operation: Operation, response: Response, wall: Wall) -> Result<(), String> {
        match (operation, response) {
            (Operation::Startup, Response::Ready) => self.connections[number].asking.is_ready = true,
            (operation, Response::Error(error)) => {
                self.last_refusal = format!("{:?}: {}", error.code(), error.message);
                if Effect::of(error.code(), &error.message) == Effect::Unexpected {
                    return Err(self.last_refusal.clone());
                }
                self.count(match error.code() {
                    ErrorCode::Unavailable => "unavailable",
                    ErrorCode::Overloaded => "overloaded",
                    ErrorCode::WriteTimeout => "write timeouts",
                    _ => "other refusals",
                });
                self.again(number, operation);
            }
            (Operation::Setup, _) => self.set_up += 1,
            (Operation::Event(event), _) => {
                let event = &mut self.events[event];
                event.done_micros = Some(wall.micros());
                if !event.deletes {
                    self.written.extend(&event.rows);
                }
            }
            (Operation::Truncate, _) => {
                self.emptied += 1;
                if self.emptied == KEYSPACES.len() {
                    self.stage = Stage::Restoring;
                }
            }
            (Operation::Read { keyspace, mut pages }, Response::Result(ResultResponse::Rows(rows))) => {
                pages.extend(rows.named());
                if let Some(state) = rows.metadata.paging_state.clone() {
                    self.connections[number].next_page = Some(state);
                    self.connections[number].asking.doing =
                        Some((Operation::Read { keyspace, pages }, "(next page)".to_string()));
                    return Ok(());
                }
                self.compare(number, keyspace, &pages)?;
            }
            (operation, other) => return Err(format!("{operation:?} is answered by {other:?}")),
        }
        Ok(())
    }

    fn compare(&mut self, number: usize, keyspace: usize, rows: &[NamedRow]) -> Result<(), String> {
        let id = |row: &NamedRow| {
            let value = row.iter().find(|(column, _)| **column == *"id")?.1.as_ref()?;
            value.first_chunk::<4>().map(|bytes| i32::from_be_bytes(*bytes))
        };
        let found: BTreeSet<i32> = rows.iter().filter_map(id).collect();
        let expected = self.restored.live.iter().filter(|(of, _)| *of == keyspace).map(|(_, id)| *id);
        let expected: BTreeSet<i32> = expected.collect();
        if found != expected {
            let (more, less) = (found.difference(&expected).count(), expected.difference(&found).count());
            return Err(format!(
                "connection {number}: {} rows too many and {less} too few after a restore of {} rows",
                more,
                expected.len()
            ));
        }
        self.count("tables compared after a restore");
        if self.left.is_empty() {
            let is_reading =
                |connection: &Connection| matches!(connection.asking.doing, Some((Operation::Read { .. }, _)));
            if !self.connections.iter().any(is_reading) {
                self.stage = Stage::Finished;
            }
        }
        Ok(())
    }

    fn again(&mut self, number: usize, operation: Operation) {
        if let Operation::Read { keyspace, .. } = operation {
            self.left.push((number, keyspace));
        }
        self.connections[number].next_page = None;
    }

    fn send(&mut self, number: usize, operation: Operation, request: Request) -> Option<Bytes> {
        self.connections.get_mut(number)?.asking.send(operation, request)
    }
}

impl Workload for BackupWorkload {
    fn connections(&self) -> usize {
        self.connections.len()
    }

    fn connected(&mut self, number: usize) -> Bytes {
        self.disconnected(number);
        self.connections[number].asking.startup(Operation::Startup)
    }

    fn next(&mut self, number: usize, random: &mut Random, wall: Wall) -> Option<Bytes> {
        let connection = self.connections.get_mut(number)?;
        if let Some(state) = connection.next_page.take()
            && let Some((Operation::Read { keyspace, pages }, _)) = connection.asking.doing.take()
        {
            let request = BackupWorkload::page(keyspace, Some(state));
            return self.send(number, Operation::Read { keyspace, pages }, request);
        }
        if !self.connections.get(number)?.asking.is_free() {
            return None;
        }
        if let Some(statement) = self.setup() {
            let request = BackupWorkload::text(statement, Consistency::One);
            return if number == 0 { self.send(number, Operation::Setup, request) } else { None };
        }
        match self.stage {
            Stage::Working => {
                let (operation, request) = self.event(random, wall);
                self.send(number, operation, request)
            }
            Stage::Emptying if number == 0 => {
                let statement = format!("TRUNCATE {}.w", KEYSPACES[self.emptied % 2]);
                self.send(number, Operation::Truncate, BackupWorkload::text(statement, Consistency::One))
            }
            Stage::Reading => {
                let at = self.left.iter().position(|(of, _)| *of == number)?;
                let (_, keyspace) = self.left.swap_remove(at);
                let operation = Operation::Read { keyspace, pages: Vec::new() };
                self.send(number, operation, BackupWorkload::page(keyspace, None))
            }
            _ => None,
        }
    }

    fn received(&mut self, number: usize, bytes: &[u8], wall: Wall) -> Result<(), Violation> {
        let answered = |workload: &mut Self, operation, response| workload.answered(number, operation, response, wall);
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

    fn restarted(&mut self) {
        self.count("restarts");
    }

    fn finish(&mut self) {
        if self.stage == Stage::Paused {
            self.stage = Stage::Emptying;
        }
    }

    fn is_finished(&self) -> bool {
        self.stage == Stage::Finished
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        self.figures.iter().map(|(name, count)| (*name, *count)).collect()
    }
}
