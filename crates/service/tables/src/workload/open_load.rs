//! An open load: requests that come when it is their time, however many are under way. Reads and writes of single rows at QUORUM, over
//! rows that were written before in batches; how long each took is kept, and no answer may be wrong.
//!
//! Each row carries the number of the write that wrote it. A read that was sent after a write was acknowledged must show this write or a
//! later one; so must the reading back of everything at the end.

use super::client::{Client, STREAMS};
use super::operation::{Named, NamedRow};
use bytes::{BufMut, Bytes, BytesMut};
use holon_base::{Instant, Random};
use holon_cql::request::{Batch, BatchKind, BatchQuery, BatchStatement, Query, QueryParameters, Values};
use holon_cql::response::ResultResponse;
use holon_cql::{BoundValue, Consistency, Request, Response, Version};
use std::collections::BTreeMap;
use std::time::Duration;

/// Bytes of a value.
const VALUE_BYTES: usize = 1000;

/// Rows of a partition, which are written by one batch: as much as a batch may have.
const PARTITION_ROWS: usize = 40;

const INSERT: &str = "INSERT INTO holon_load.t (p, c, v) VALUES (?, ?, ?) USING TIMESTAMP ?";
const SELECT_ROW: &str = "SELECT p, c, v FROM holon_load.t WHERE p = ? AND c = ?";
const SELECT_PARTITION: &str = "SELECT p, c, v FROM holon_load.t WHERE p = ?";

enum Asked {
    Startup,
    Setup,
    Fill,
    Write {
        row: usize,
        number: u64,
    },
    /// With the number that each row must show at least.
    Read {
        first: usize,
        least: Vec<u64>,
    },
}

struct Connection {
    client: Client,
    is_ready: bool,
    asked: BTreeMap<i16, (Instant, Asked)>,
}

pub struct OpenLoad {
    connections: Vec<Connection>,
    factor: u32,
    /// The number that each row has at least, as was acknowledged.
    acknowledged: Vec<u64>,
    next_number: u64,
    set_up: usize,
    filled: usize,
    read_back: usize,
    checked: usize,
    /// How long requests took that were answered since they were last taken out.
    pub latencies: Vec<Duration>,
    /// What was refused, and why the last was.
    pub refused: (u64, String),
}

impl OpenLoad {
    pub fn new(connections: usize, bytes: usize, factor: u32) -> OpenLoad {
        let connection =
            || Connection { client: Client::new(Version::V5, None), is_ready: false, asked: BTreeMap::new() };
        let partitions = bytes / VALUE_BYTES / PARTITION_ROWS;
        OpenLoad {
            connections: (0..connections).map(|_| connection()).collect(),
            factor,
            acknowledged: vec![0; partitions * PARTITION_ROWS],
            next_number: 0,
            set_up: 0,
            filled: 0,
            read_back: 0,
            checked: 0,
            latencies: Vec::new(),
            refused: (0, String::new()),
        }
    }

    pub fn connected(&mut self, number: usize) -> Bytes {
        self.connections[number].asked.clear();
        let startup = self.connections[number].client.startup();
        self.send(number, Instant(0), Asked::Startup, startup)
    }

    pub fn is_ready(&self, number: usize) -> bool {
        self.connections[number].is_ready
    }

    /// A connection is gone, and what was under way on it may have happened or not.
    pub fn lost(&mut self, number: usize) {
        self.connections[number].asked.clear();
    }

    /// Requests under way.
    pub fn waiting(&self) -> usize {
        self.connections.iter().map(|connection| connection.asked.len()).sum()
    }

    /// The next statement of the schema; `None`: it is all there.
    pub fn setup(&mut self, number: usize, now: Instant) -> Option<Bytes> {
        let statement = match self.set_up {
            0 => self.replication("CREATE KEYSPACE", self.factor),
            1 => "CREATE TABLE holon_load.t (p int, c int, v blob, PRIMARY KEY (p, c))".to_string(),
            _ => return None,
        };
        Some(self.statement(number, now, statement))
    }

    /// Has each row kept so often.
    pub fn set_factor(&mut self, number: usize, now: Instant, factor: u32) -> Bytes {
        let statement = self.replication("ALTER KEYSPACE", factor);
        self.statement(number, now, statement)
    }

    fn replication(&self, verb: &str, factor: u32) -> String {
        format!("{verb} holon_load WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': {factor}}}")
    }

    fn statement(&mut self, number: usize, now: Instant, statement: String) -> Bytes {
        let parameters = QueryParameters::new(Consistency::One);
        self.send(number, now, Asked::Setup, Request::Query(Query { statement, parameters }))
    }

    /// The next batch of rows that must be there before the load begins.
    pub fn fill(&mut self, number: usize, now: Instant, random: &mut Random) -> Option<Bytes> {
        if self.filled * PARTITION_ROWS >= self.acknowledged.len() {
            return None;
        }
        let first = self.filled * PARTITION_ROWS;
        self.filled += 1;
        let query = |row| BatchQuery {
            statement: BatchStatement::Text(INSERT.to_string()),
            values: insert_values(row, 0, random),
        };
        let batch = Batch {
            queries: (first..first + PARTITION_ROWS).map(query).collect(),
            kind: BatchKind::Unlogged,
            consistency: Consistency::Quorum,
            serial_consistency: None,
            timestamp_us: None,
            keyspace: None,
            now_in_seconds: None,
        };
        Some(self.send(number, now, Asked::Fill, Request::Batch(batch)))
    }

    /// A request whose time has come.
    ///
    /// # Errors
    /// So many are under way that the connection has no stream for it: the cluster cannot keep up.
    pub fn arrive(&mut self, number: usize, now: Instant, random: &mut Random) -> Result<Bytes, String> {
        if self.connections[number].asked.len() >= STREAMS {
            return Err(format!("{STREAMS} requests are under way on connection {number}: too many came"));
        }
        let row = random.below(self.acknowledged.len() as u64) as usize;
        if random.chance(1, 2) {
            self.next_number += 1;
            let write = self.next_number;
            let request = query(INSERT, insert_values(row, write, random));
            return Ok(self.send(number, now, Asked::Write { row, number: write }, request));
        }
        let least = vec![self.acknowledged[row]];
        let request = query(SELECT_ROW, key_values(row).to_vec());
        Ok(self.send(number, now, Asked::Read { first: row, least }, request))
    }

    /// The next partition that is read at the end.
    pub fn read_back(&mut self, number: usize, now: Instant) -> Option<Bytes> {
        let first = self.read_back * PARTITION_ROWS;
        let least = self.acknowledged.get(first..first + PARTITION_ROWS)?.to_vec();
        self.read_back += 1;
        let request = query(SELECT_PARTITION, key_values(first)[..1].to_vec());
        Some(self.send(number, now, Asked::Read { first, least }, request))
    }

    /// How many rows were found as they must be, at the end and before.
    pub fn checked(&self) -> usize {
        self.checked
    }

    fn send(&mut self, number: usize, now: Instant, asked: Asked, request: Request) -> Bytes {
        let connection = &mut self.connections[number];
        connection.client.skip(|stream| connection.asked.contains_key(&stream));
        let (stream, bytes) = connection.client.request(request).expect("a request of this workload can be written");
        connection.asked.insert(stream, (now, asked));
        bytes
    }

    /// What came on a connection at this moment.
    ///
    /// # Errors
    /// An answer that is wrong.
    pub fn received(&mut self, number: usize, bytes: &[u8], now: Instant) -> Result<(), String> {
        let messages = self.connections[number].client.feed(bytes).map_err(|error| error.to_string())?;
        for message in messages {
            let asked = self.connections[number].asked.remove(&message.stream);
            let (since, asked) = asked.ok_or_else(|| format!("{:?} answers nothing", message.response))?;
            if matches!(asked, Asked::Write { .. } | Asked::Read { .. }) {
                self.latencies.push(now.since(since));
            }
            self.answered(number, asked, message.response)?;
        }
        Ok(())
    }

    fn answered(&mut self, number: usize, asked: Asked, response: Response) -> Result<(), String> {
        match (asked, response) {
            (Asked::Startup, Response::Ready) => self.connections[number].is_ready = true,
            (asked, Response::Error(error)) => {
                let what = format!("{:?}: {}", error.code(), error.message);
                self.refused = (self.refused.0 + 1, what.clone());
                if !matches!(asked, Asked::Write { .. } | Asked::Read { .. }) {
                    return Err(what);
                }
            }
            (Asked::Setup, _) => self.set_up += 1,
            (Asked::Fill, _) => {}
            (Asked::Write { row, number }, _) => {
                self.acknowledged[row] = self.acknowledged[row].max(number);
            }
            (Asked::Read { first, least }, Response::Result(ResultResponse::Rows(rows))) => {
                let found: Vec<NamedRow> = rows.named();
                if found.len() != least.len() {
                    return Err(format!("of {} rows from {first} on {} are there", least.len(), found.len()));
                }
                for (place, (row, least)) in found.iter().zip(least).enumerate() {
                    let value = row.iter().find(|(column, _)| **column == *"v").and_then(|(_, value)| value.as_ref());
                    let shown =
                        value.and_then(|value| value.first_chunk::<8>()).map(|bytes| u64::from_be_bytes(*bytes));
                    if shown.is_none_or(|shown| shown < least) {
                        return Err(format!("row {} shows write {shown:?}, not {least} or later", first + place));
                    }
                }
                self.checked += found.len();
            }
            (_, other) => return Err(format!("an unexpected answer: {other:?}")),
        }
        Ok(())
    }
}

fn query(statement: &str, values: Vec<BoundValue>) -> Request {
    let parameters =
        QueryParameters { values: Values::Positional(values), ..QueryParameters::new(Consistency::Quorum) };
    Request::Query(Query { statement: statement.to_string(), parameters })
}

fn int(value: i32) -> BoundValue {
    BoundValue::Value(Bytes::copy_from_slice(&value.to_be_bytes()))
}

fn key_values(row: usize) -> [BoundValue; 2] {
    [int((row / PARTITION_ROWS) as i32), int((row % PARTITION_ROWS) as i32)]
}

/// The number of a write is its timestamp too, so the order of writes is that of their numbers. Values do not compress.
fn insert_values(row: usize, number: u64, random: &mut Random) -> Vec<BoundValue> {
    let mut value = BytesMut::with_capacity(VALUE_BYTES);
    value.put_u64(number);
    while value.len() < VALUE_BYTES {
        value.put_u64(random.next_u64());
    }
    let [p, c] = key_values(row);
    let timestamp = BoundValue::Value(Bytes::copy_from_slice(&(number as i64 + 1).to_be_bytes()));
    vec![p, c, BoundValue::Value(value.freeze()), timestamp]
}
