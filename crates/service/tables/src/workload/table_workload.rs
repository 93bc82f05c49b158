//! The workload itself: connections, what each does next, and what their answers mean.

mod answers;

use super::asking::{Asking, receive};
use super::client::Client;
use super::history::{History, UNCERTAIN_MAX};
use super::operation::{self, Operation, Place, Read, Scan};
use super::register::{self, Register};
use super::scratch::Scratch;
use super::shape::{KEYSPACE, SHAPES};
use super::{Violation, Workload};
use bytes::Bytes;
use holon_base::{Random, Wall};
use holon_cql::request::{BatchKind, Values};
use holon_cql::{BoundValue, Compression, Request, Version};
use std::collections::BTreeMap;

/// Timestamps are so far apart, microseconds: overwriting a collection deletes what is one older.
const TIMESTAMP_STEP: i64 = 10;

/// Mutations of a partition, after which another takes its place: checking goes through all of them.
const MUTATIONS_PER_PARTITION_MAX: usize = 120;

#[derive(Clone, Copy, Debug)]
pub struct TablesWorkloadOptions {
    pub connections: usize,
    /// Partitions of each table that a connection works on at a time.
    pub partitions: u32,
    /// Rows that only conditional statements write, each connection.
    pub registers: u32,
}

impl Default for TablesWorkloadOptions {
    fn default() -> Self {
        TablesWorkloadOptions { connections: 4, partitions: 4, registers: 2 }
    }
}

struct Connection {
    asking: Asking<Operation>,
    /// The SELECT of each table: id and id of its metadata.
    prepared: BTreeMap<usize, (Bytes, Bytes)>,
    /// The partitions it works on, by table.
    partitions: Vec<Vec<u32>>,
    /// The next page to ask for.
    next_page: Option<(Operation, Request)>,
    registers: BTreeMap<u32, Register>,
    scratch: Option<Scratch>,
    /// What is still to be read back at the end.
    left: Vec<Operation>,
}

pub struct TablesWorkload {
    options: TablesWorkloadOptions,
    connections: Vec<Connection>,
    histories: BTreeMap<Place, History>,
    next_partition: u32,
    last_timestamp: i64,
    /// What was asked before this timestamp happened before the last start of the node, or never will.
    settled_before: i64,
    /// Statements of the schema that were acknowledged.
    set_up: usize,
    finishing: bool,
    figures: BTreeMap<&'static str, u64>,
}

impl TablesWorkload {
    pub fn new(options: TablesWorkloadOptions) -> TablesWorkload {
        let mut workload = TablesWorkload {
            options,
            connections: Vec::new(),
            histories: BTreeMap::new(),
            next_partition: 0,
            last_timestamp: 0,
            settled_before: 0,
            set_up: 0,
            finishing: false,
            figures: BTreeMap::new(),
        };
        for number in 0..options.connections {
            let partitions = SHAPES.iter().map(|_| (0..options.partitions).map(|_| workload.new_partition()).collect());
            let partitions = partitions.collect();
            let first = number as u32 * options.registers;
            workload.connections.push(Connection {
                asking: Asking::new(client(number)),
                prepared: BTreeMap::new(),
                partitions,
                next_page: None,
                registers: (first..first + options.registers).map(|key| (key, Register::default())).collect(),
                scratch: (number == 0).then(Scratch::default),
                left: Vec::new(),
            });
        }
        workload
    }

    fn new_partition(&mut self) -> u32 {
        self.next_partition += 1;
        self.next_partition
    }

    fn count(&mut self, what: &'static str) {
        *self.figures.entry(what).or_default() += 1;
    }

    /// The next timestamp: near the wall clock, and never the same twice.
    fn timestamp(&mut self, wall: Wall) -> i64 {
        self.last_timestamp = wall.micros().max(self.last_timestamp + TIMESTAMP_STEP);
        self.last_timestamp
    }

    fn send(&mut self, connection: usize, operation: Operation, request: Request) -> Option<Bytes> {
        self.connections.get_mut(connection)?.asking.send(operation, request)
    }

    /// What has to be done before anything else.
    fn prologue(&mut self, number: usize) -> Option<(Operation, Request)> {
        let statements = setup_statements();
        if self.set_up < statements.len() {
            let step = self.set_up;
            return statements.get(step).map(|text| (Operation::Setup(step), operation::query(text.clone())));
        }
        let prepared = &self.connections[number].prepared;
        let missing = (0..SHAPES.len()).find(|table| !prepared.contains_key(table))?;
        let statement = operation::prepared_statement(&SHAPES[missing]);
        Some((Operation::Prepare(missing), operation::prepare(statement)))
    }

    fn choose(&mut self, number: usize, random: &mut Random, wall: Wall) -> Option<(Operation, Request)> {
        match random.below(100) {
            0..=1 => Some(scan(random)),
            2..=9 => Some(self.conditional(number, random)),
            10..=15 if self.connections[number].scratch.is_some() => {
                let text = self.connections[number].scratch.as_mut()?.next(random);
                Some((Operation::Scratch, operation::query(text)))
            }
            16..=23 => self.batch(number, random, wall),
            24..=60 => self.write(number, random, wall),
            _ => {
                let place = self.any_place(number, random);
                let read = random_read(place, random);
                Some(self.read(number, read))
            }
        }
    }

    fn any_place(&self, number: usize, random: &mut Random) -> Place {
        let table = random.below(SHAPES.len() as u64) as usize;
        let partitions = &self.connections[number].partitions[table];
        Place { table, partition: partitions[random.below(partitions.len() as u64) as usize] }
    }

    /// A partition that may be written to. One that is full or too uncertain is left, and another begun.
    fn place_to_write(&mut self, number: usize, random: &mut Random, wall: Wall) -> Place {
        let place = self.any_place(number, random);
        let is_spent = |history: &History| {
            history.mutations() >= MUTATIONS_PER_PARTITION_MAX || history.uncertain(wall.seconds()) >= UNCERTAIN_MAX
        };
        if !self.histories.get(&place).is_some_and(is_spent) {
            return place;
        }
        let partition = self.new_partition();
        let partitions = &mut self.connections[number].partitions[place.table];
        if let Some(slot) = partitions.iter_mut().find(|slot| **slot == place.partition) {
            *slot = partition;
        }
        Place { partition, ..place }
    }

    fn change(&mut self, place: Place, timestamp: i64, random: &mut Random, wall: Wall) -> String {
        let change = SHAPES[place.table].random_change(place.partition, timestamp, wall.seconds(), random);
        self.histories.entry(place).or_default().push(change.mutation);
        change.statement
    }

    fn write(&mut self, number: usize, random: &mut Random, wall: Wall) -> Option<(Operation, Request)> {
        let place = self.place_to_write(number, random, wall);
        let timestamp = self.timestamp(wall);
        let statement = self.change(place, timestamp, random, wall);
        self.count("writes");
        let mut parameters = operation::parameters();
        parameters.timestamp_us = Some(timestamp);
        Some((Operation::Write { places: vec![place], timestamp }, operation::query_with(statement, parameters)))
    }

    /// A few changes at once, of different partitions: each of them is applied whole or not at all.
    fn batch(&mut self, number: usize, random: &mut Random, wall: Wall) -> Option<(Operation, Request)> {
        let mut places = Vec::new();
        for _ in 0..random.range(1, 4) {
            let place = self.place_to_write(number, random, wall);
            if !places.contains(&place) {
                places.push(place);
            }
        }
        let timestamp = self.timestamp(wall);
        let statements = places.iter().map(|place| self.change(*place, timestamp, random, wall)).collect();
        self.count("batches");
        let kind = if random.chance(1, 2) { BatchKind::Logged } else { BatchKind::Unlogged };
        let request = operation::batch(kind, statements, timestamp);
        Some((Operation::Write { places, timestamp }, request))
    }

    fn read(&mut self, number: usize, read: Read) -> (Operation, Request) {
        let shape = &SHAPES[read.place.table];
        let mut parameters = operation::parameters();
        parameters.page_size = read.page_size;
        let connection = &self.connections[number];
        let request = match connection.prepared.get(&read.place.table) {
            Some(prepared) if read.is_prepared => {
                let values = shape.partition_values(read.place.partition).into_iter().map(BoundValue::Value);
                parameters.values = Values::Positional(values.collect());
                operation::execute(prepared, connection.asking.client.version(), parameters)
            }
            _ => operation::query_with(read.statement(shape), parameters),
        };
        self.count("reads");
        (Operation::Read(read), request)
    }

    fn conditional(&mut self, number: usize, random: &mut Random) -> (Operation, Request) {
        let registers = &self.connections[number].registers;
        let index = random.below(registers.len().max(1) as u64) as usize;
        let key = registers.keys().nth(index).copied().unwrap_or_default();
        let table = format!("{KEYSPACE}.register");
        self.count("conditional statements");
        let (statement, operation) = match random.below(4) {
            0 => (format!("SELECT v FROM {table} WHERE k = {key}"), Operation::RegisterRead { key }),
            1 => {
                let value = random.below(4) as i32;
                let text = format!("INSERT INTO {table} (k, v) VALUES ({key}, {value}) IF NOT EXISTS");
                (text, Operation::Register { key, change: register::Change::Insert { value } })
            }
            2 => {
                let (expected, value) = (random.below(4) as i32, random.below(4) as i32);
                let text = format!("UPDATE {table} SET v = {value} WHERE k = {key} IF v = {expected}");
                (text, Operation::Register { key, change: register::Change::Update { expected, value } })
            }
            _ => {
                let text = format!("DELETE FROM {table} WHERE k = {key} IF EXISTS");
                (text, Operation::Register { key, change: register::Change::Delete })
            }
        };
        (operation, operation::query(statement))
    }
}

/// Versions and compressions in turn, so that all are in use.
fn client(number: usize) -> Client {
    let kinds = [
        (Version::V5, None),
        (Version::V4, None),
        (Version::V5, Some(Compression::Lz4)),
        (Version::V4, Some(Compression::Snappy)),
        (Version::V3, Some(Compression::Lz4)),
    ];
    let (version, compression) = kinds[number % kinds.len()];
    Client::new(version, compression)
}

fn setup_statements() -> Vec<String> {
    let replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}";
    let mut statements = vec![format!("CREATE KEYSPACE IF NOT EXISTS {KEYSPACE} WITH replication = {replication}")];
    statements.extend(SHAPES.iter().map(|shape| shape.create.to_string()));
    statements.push(format!("CREATE TABLE IF NOT EXISTS {KEYSPACE}.register (k int PRIMARY KEY, v int)"));
    statements
}

fn random_read(place: Place, random: &mut Random) -> Read {
    let shape = &SHAPES[place.table];
    let has_clustering = !shape.clustering.is_empty();
    let range = (has_clustering && random.chance(1, 3)).then(|| shape.random_range(random));
    let is_reversed = has_clustering && random.chance(1, 4);
    Read {
        place,
        is_prepared: range.is_none() && !is_reversed && random.chance(1, 2),
        range,
        is_reversed,
        page_size: random.chance(1, 3).then(|| random.range(1, 6) as i32),
        pages: 0,
        rows: Vec::new(),
    }
}

fn scan(random: &mut Random) -> (Operation, Request) {
    let table = random.below(SHAPES.len() as u64) as usize;
    let page_size = random.range(2, 50) as i32;
    let scan = Scan { table, page_size, pages: 0, rows: Vec::new() };
    let mut parameters = operation::parameters();
    parameters.page_size = Some(page_size);
    (Operation::Scan(scan), operation::query_with(scan_statement(table), parameters))
}

fn scan_statement(table: usize) -> String {
    format!("SELECT * FROM {KEYSPACE}.{}", SHAPES[table].name)
}

impl Workload for TablesWorkload {
    fn connections(&self) -> usize {
        self.options.connections
    }

    fn connected(&mut self, connection: usize) -> Bytes {
        self.disconnected(connection);
        self.connections[connection].asking.startup(Operation::Startup)
    }

    fn next(&mut self, connection: usize, random: &mut Random, wall: Wall) -> Option<Bytes> {
        let state = self.connections.get_mut(connection)?;
        if !state.asking.is_free() {
            return None;
        }
        if let Some((operation, request)) = state.next_page.take() {
            return self.send(connection, operation, request);
        }
        let chosen = match self.prologue(connection) {
            Some(first) => Some(first),
            None if self.finishing => match self.connections[connection].left.pop()? {
                Operation::Read(read) => Some(self.read(connection, read)),
                Operation::RegisterRead { key } => {
                    let text = format!("SELECT v FROM {KEYSPACE}.register WHERE k = {key}");
                    Some((Operation::RegisterRead { key }, operation::query(text)))
                }
                other => Some((other, scan(random).1)),
            },
            None => self.choose(connection, random, wall),
        };
        let (operation, request) = chosen?;
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
        state.prepared.clear();
        let again = state.next_page.take().map(|(operation, _)| operation);
        let doing = state.asking.lose(client(connection));
        for operation in again.into_iter().chain(doing) {
            self.unknown(connection, operation);
        }
    }

    fn restarted(&mut self) {
        self.settled_before = self.last_timestamp + 1;
        for register in self.connections.iter_mut().flat_map(|connection| connection.registers.values_mut()) {
            register.restarted();
        }
        self.count("restarts");
    }

    fn finish(&mut self) {
        if std::mem::replace(&mut self.finishing, true) {
            return;
        }
        let places: Vec<Place> = self.histories.keys().copied().collect();
        let count = self.connections.len();
        for (index, place) in places.into_iter().enumerate() {
            let (range, rows, page_size) = (None, Vec::new(), Some(20));
            let read = Read { place, range, is_reversed: false, page_size, is_prepared: false, pages: 0, rows };
            self.connections[index % count].left.push(Operation::Read(read));
        }
        for connection in &mut self.connections {
            let reads = connection.registers.keys().map(|key| Operation::RegisterRead { key: *key });
            connection.left.extend(reads);
        }
    }

    fn is_finished(&self) -> bool {
        let idle = |connection: &Connection| {
            connection.left.is_empty() && connection.asking.doing.is_none() && connection.next_page.is_none()
        };
        self.finishing && self.connections.iter().all(idle)
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        self.figures.iter().map(|(name, count)| (*name, *count)).collect()
    }
}
