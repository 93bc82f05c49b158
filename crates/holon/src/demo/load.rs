//! The mixed load: workers that each talk to one node, one request at a time, and check what they are told.
//!
//! ```text
//!   gates   a plain row a gate: its owner writes version 1, 2, 3, … at QUORUM; anybody reads it at QUORUM, through any node
//!   seats   a row a flight, sold one by one: UPDATE … SET sold = n + 1 … IF sold = n
//!   flights what was loaded: a day's flights are read, and must all be there
//! ```
//!
//! Each gate and each row of seats has one owner, so the load knows what may be there: no less than was acknowledged or shown, no
//! more than was tried. Whatever is not, is a broken promise. Requests are never tried again: a failure is counted as one.

use super::cql::{Connection, Consistency, Failure, Statement, Table, Value};
use super::flights;
use super::tally::{Counts, Kind, Outcome, Sample, Tally};
use holon_base::Random;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

pub const KEYSPACE: &str = "demo";

/// Connections to each node, each with one request at a time.
pub const WORKERS_A_NODE: usize = 4;
/// Rows of each table that a worker owns.
const GATES_A_WORKER: usize = 16;
const SEATS_A_WORKER: usize = 2;
/// Between two requests of a worker: the demo shows what happens, not how much a machine can do.
const PAUSE: Duration = Duration::from_millis(4);
/// After a refusal or a lost connection.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);
/// What a node gives a conditional statement: one that began longer before a loss is not hurt by it.
const CONDITIONAL_TIMEOUT: Duration = Duration::from_secs(3);
/// Of a day's flights, as many are read.
const DAY_ROWS_READ_MAX: usize = 100;
/// Broken promises kept word by word; further ones are counted.
const WRONG_KEPT_MAX: usize = 5;

/// What one gate may show.
#[derive(Default)]
struct Gate {
    acknowledged: Cell<i64>,
    shown: Cell<i64>,
    tried: Cell<i64>,
}

/// Seats sold as their owner knows.
#[derive(Default)]
struct Seats {
    sold: Cell<i64>,
    /// One more may have been sold, or may yet be: the statement had no answer.
    unsure: Cell<bool>,
}

#[derive(Clone, Copy)]
struct Loss {
    node: usize,
    at: Instant,
    /// Since when all others take it for dead, or have it back.
    noticed: Option<Instant>,
}

pub struct Load {
    addresses: Vec<SocketAddr>,
    flights: usize,
    seed: u64,
    began: Instant,
    phase: Cell<usize>,
    stopping: Cell<bool>,
    /// The node that was lost to the others last.
    lost: Cell<Option<Loss>>,
    /// Whether workers talk to a node.
    open: Vec<Cell<bool>>,
    tallies: Vec<RefCell<Tally>>,
    /// When the request of each worker began that is under way.
    under_way: Vec<Cell<Option<Instant>>>,
    gates: Vec<Gate>,
    seats: Vec<Seats>,
    wrong: RefCell<Vec<String>>,
    wrong_count: Cell<u64>,
    checked: Cell<u64>,
    acknowledged: Cell<u64>,
    sold: Cell<u64>,
}

impl Load {
    /// For nodes at these addresses; to none of them yet.
    pub fn new(addresses: Vec<SocketAddr>, flights: usize, seed: u64, phases: usize) -> Rc<Load> {
        let workers = addresses.len() * WORKERS_A_NODE;
        Rc::new(Load {
            flights,
            seed,
            began: Instant::now(),
            phase: Cell::new(0),
            stopping: Cell::new(false),
            lost: Cell::new(None),
            open: addresses.iter().map(|_| Cell::new(false)).collect(),
            tallies: addresses.iter().map(|_| RefCell::new(Tally::new(phases))).collect(),
            under_way: (0..workers).map(|_| Cell::new(None)).collect(),
            gates: (0..workers * GATES_A_WORKER).map(|_| Gate::default()).collect(),
            seats: (0..workers * SEATS_A_WORKER).map(|_| Seats::default()).collect(),
            wrong: RefCell::default(),
            wrong_count: Cell::new(0),
            checked: Cell::new(0),
            acknowledged: Cell::new(0),
            sold: Cell::new(0),
            addresses,
        })
    }

    pub fn flights(&self) -> usize {
        self.flights
    }

    pub fn set_phase(&self, phase: usize) {
        self.phase.set(phase);
    }

    /// Workers begin to talk to a node, or cease to.
    pub fn set_open(&self, node: usize, open: bool) {
        self.open[node].set(open);
    }

    /// A node is killed or cut off at this moment. Conditional statements that it leads are left undecided, and so may others
    /// be that it is given until it is taken for dead.
    pub fn note_lost(&self, node: usize) {
        self.lost.set(Some(Loss { node, at: Instant::now(), noticed: None }));
    }

    /// The others take it for dead by now, or have it back; how long that took.
    pub fn note_noticed(&self) -> Option<Duration> {
        let loss = self.lost.get().filter(|loss| loss.noticed.is_none())?;
        self.lost.set(Some(Loss { noticed: Some(Instant::now()), ..loss }));
        Some(loss.at.elapsed())
    }

    /// The node that is lost and not taken for dead yet.
    pub fn unnoticed(&self) -> Option<usize> {
        self.lost.get().filter(|loss| loss.noticed.is_none()).map(|loss| loss.node)
    }

    pub fn counts(&self, phase: usize, node: usize) -> Counts {
        self.tallies[node].borrow().counts(phase)
    }

    /// Of several nodes together.
    pub fn sum(&self, phase: usize, nodes: &[usize]) -> Counts {
        let mut sum = Counts::default();
        nodes.iter().for_each(|node| sum.add(&self.counts(phase, *node)));
        sum
    }

    /// The last failure there, as the node told it.
    pub fn said(&self, phase: usize, nodes: &[usize]) -> Option<String> {
        let said =
            |node: &usize| self.tallies[*node].borrow().said(phase).map(|text| format!("node {}: {text}", node + 1));
        nodes.iter().find_map(said)
    }

    /// When the oldest request began that a node has not answered yet.
    pub fn oldest_under_way(&self, node: usize) -> Option<Instant> {
        let workers = node * WORKERS_A_NODE..(node + 1) * WORKERS_A_NODE;
        self.under_way[workers].iter().filter_map(Cell::get).min()
    }

    pub fn sample(&self) -> Sample {
        let mut sample = Sample { at: self.began.elapsed(), ..Sample::default() };
        for tally in &self.tallies {
            let tally = tally.borrow();
            sample.counts.push(tally.all());
            sample.latencies.iter_mut().zip(tally.latencies()).for_each(|(sum, one)| sum.merge(one));
        }
        sample
    }

    /// Reads compared with what may be there.
    pub fn checked(&self) -> u64 {
        self.checked.get()
    }

    /// Plain writes that were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.get()
    }

    /// Conditional statements that were acknowledged as applied.
    pub fn sold(&self) -> u64 {
        self.sold.get()
    }

    /// What was not as promised: how often, and the first words of it.
    pub fn wrong(&self) -> (u64, Vec<String>) {
        (self.wrong_count.get(), self.wrong.borrow().clone())
    }

    fn note_wrong(&self, what: String) {
        self.wrong_count.set(self.wrong_count.get() + 1);
        let mut wrong = self.wrong.borrow_mut();
        if wrong.len() < WRONG_KEPT_MAX {
            wrong.push(what);
        }
    }

    /// Starts the workers; they end after [`Load::stop`].
    pub fn start(self: &Rc<Self>) -> Vec<tokio::task::JoinHandle<()>> {
        let all = (0..self.addresses.len()).flat_map(|node| (0..WORKERS_A_NODE).map(move |index| (node, index)));
        all.map(|(node, index)| {
            let number = node * WORKERS_A_NODE + index;
            let random = Random::new(self.seed ^ (number as u64 + 1) << 32);
            tokio::task::spawn_local(Worker { load: self.clone(), node, number, random }.run())
        })
        .collect()
    }

    pub fn stop(&self) {
        self.stopping.set(true);
    }

    fn check_gate(&self, gate: usize, floor: i64, version: i64, node: usize) {
        let known = &self.gates[gate];
        self.checked.set(self.checked.get() + 1);
        if version < floor {
            let node = node + 1;
            self.note_wrong(format!("gate {gate}: {floor} was acknowledged or shown, then node {node} gave {version}"));
        }
        if version > known.tried.get() {
            let tried = known.tried.get();
            self.note_wrong(format!("gate {gate}: {tried} was the last written, node {} gave {version}", node + 1));
        }
        known.shown.set(known.shown.get().max(version));
    }

    fn floor(&self, gate: usize) -> i64 {
        let known = &self.gates[gate];
        known.acknowledged.get().max(known.shown.get())
    }

    fn check_seats(&self, row: usize, sold: i64, node: usize) {
        let known = &self.seats[row];
        self.checked.set(self.checked.get() + 1);
        let may_be = known.sold.get()..=known.sold.get() + i64::from(known.unsure.get());
        if !may_be.contains(&sold) {
            let (known, node) = (known.sold.get(), node + 1);
            self.note_wrong(format!("seats {row}: {known} were sold, node {node} gave {sold}"));
        }
        if sold > known.sold.get() {
            // Now it is certain that it was sold, and nothing older can be.
            known.sold.set(sold);
            known.unsure.set(false);
        }
    }

    /// Everything, through one node: gates at QUORUM, seats at SERIAL, and the flights of each day.
    ///
    /// # Errors
    /// A request that failed.
    pub async fn check_all(&self, node: usize) -> Result<(), Failure> {
        let mut client = Client::open(self.addresses[node]).await?;
        for gate in 0..self.gates.len() {
            let floor = self.floor(gate);
            let version = client.read_gate(gate).await?;
            self.check_gate(gate, floor, version, node);
        }
        for row in 0..self.seats.len() {
            let sold = client.read_seats(row).await?;
            self.check_seats(row, sold, node);
        }
        let counted = client.count_days(self.flights, &mut (0..flights::DAYS)).await?;
        for (day, count) in counted {
            self.checked.set(self.checked.get() + 1);
            if count != flights::on_day(self.flights, day) {
                let wanted = flights::on_day(self.flights, day);
                self.note_wrong(format!("day {day}: {wanted} flights were loaded, node {} gave {count}", node + 1));
            }
        }
        Ok(())
    }
}

/// Makes the keyspace and its tables, and rows of seats of which none is sold.
///
/// # Errors
/// A request that failed.
pub async fn make_tables(load: &Load, replicas: usize) -> Result<(), Failure> {
    let mut connection = Connection::open(load.addresses[0]).await?;
    let replication = format!("{{'class': 'SimpleStrategy', 'replication_factor': {replicas}}}");
    for statement in [
        format!("CREATE KEYSPACE {KEYSPACE} WITH replication = {replication}"),
        format!("CREATE TABLE {KEYSPACE}.flights ({}, PRIMARY KEY ({}))", flights::COLUMNS, flights::KEY),
        format!("CREATE TABLE {KEYSPACE}.gates (gate int PRIMARY KEY, version bigint)"),
        format!("CREATE TABLE {KEYSPACE}.seats (flight int PRIMARY KEY, sold bigint)"),
    ] {
        connection.query(&statement, Consistency::Quorum).await?;
    }
    let insert = format!("INSERT INTO {KEYSPACE}.seats (flight, sold) VALUES (?, 0) IF NOT EXISTS");
    let insert = connection.prepare(&insert).await?;
    for row in 0..load.seats.len() {
        connection.execute(&insert, &[int(row)], Consistency::Quorum).await?;
    }
    Ok(())
}

fn int(number: usize) -> Option<Value> {
    Some(Value::Int(i32::try_from(number).unwrap_or(i32::MAX)))
}

/// A bigint, or a count; 0 for a row that is not there.
fn number(table: &Table, column: usize) -> Result<i64, Failure> {
    match table.first().map(|row| row.get(column)) {
        None | Some(Some(None)) => Ok(0),
        Some(Some(Some(Value::BigInt(number)))) => Ok(*number),
        Some(other) => Err(Failure::Damaged(format!("{other:?} is no number"))),
    }
}

/// A connection with the statements of the load.
struct Client {
    connection: Connection,
    read_gate: Statement,
    write_gate: Statement,
    read_seats: Statement,
    sell_seat: Statement,
    read_day: Statement,
    count_day: Statement,
}

impl Client {
    async fn open(address: SocketAddr) -> Result<Client, Failure> {
        let mut connection = Connection::open(address).await?;
        let day = "WHERE year = ? AND month = ? AND day = ?";
        let texts = [
            format!("SELECT version FROM {KEYSPACE}.gates WHERE gate = ?"),
            format!("INSERT INTO {KEYSPACE}.gates (gate, version) VALUES (?, ?)"),
            format!("SELECT sold FROM {KEYSPACE}.seats WHERE flight = ?"),
            format!("UPDATE {KEYSPACE}.seats SET sold = ? WHERE flight = ? IF sold = ?"),
            format!("SELECT carrier, flight, dest, dep_delay FROM {KEYSPACE}.flights {day} LIMIT {DAY_ROWS_READ_MAX}"),
            format!("SELECT count(*) FROM {KEYSPACE}.flights {day}"),
        ];
        let mut made = Vec::new();
        for text in &texts {
            made.push(connection.prepare(text).await?);
        }
        let made: [Statement; 6] = made.try_into().map_err(|_| Failure::Damaged("statements".to_string()))?;
        let [read_gate, write_gate, read_seats, sell_seat, read_day, count_day] = made;
        Ok(Client { connection, read_gate, write_gate, read_seats, sell_seat, read_day, count_day })
    }

    async fn read_gate(&mut self, gate: usize) -> Result<i64, Failure> {
        number(&self.connection.execute(&self.read_gate, &[int(gate)], Consistency::Quorum).await?, 0)
    }

    async fn write_gate(&mut self, gate: usize, version: i64) -> Result<(), Failure> {
        let values = [int(gate), Some(Value::BigInt(version))];
        self.connection.execute(&self.write_gate, &values, Consistency::Quorum).await.map(drop)
    }

    async fn read_seats(&mut self, row: usize) -> Result<i64, Failure> {
        number(&self.connection.execute(&self.read_seats, &[int(row)], Consistency::Serial).await?, 0)
    }

    /// Whether it was sold; else how many are.
    async fn sell_seat(&mut self, row: usize, sold: i64) -> Result<Result<(), i64>, Failure> {
        let values = [Some(Value::BigInt(sold + 1)), int(row), Some(Value::BigInt(sold))];
        let table = self.connection.execute(&self.sell_seat, &values, Consistency::Quorum).await?;
        match table.first().and_then(|row| row.first()) {
            Some(Some(Value::Boolean(true))) => Ok(Ok(())),
            Some(Some(Value::Boolean(false))) => Ok(Err(number(&table, 1)?)),
            other => Err(Failure::Damaged(format!("{other:?} instead of whether it was applied"))),
        }
    }

    fn day(day: usize) -> [Option<Value>; 3] {
        let (month, day) = flights::date(day);
        [flights::YEAR, month, day].map(|part| Some(Value::Int(part)))
    }

    async fn read_day(&mut self, day: usize) -> Result<usize, Failure> {
        Ok(self.connection.execute(&self.read_day, &Client::day(day), Consistency::Quorum).await?.len())
    }

    /// Days with how many flights they have.
    async fn count_days(
        &mut self,
        flights: usize,
        days: &mut dyn Iterator<Item = usize>,
    ) -> Result<Vec<(usize, usize)>, Failure> {
        let mut counted = Vec::new();
        for day in days.filter(|day| flights::on_day(flights, *day) > 0) {
            let table = self.connection.execute(&self.count_day, &Client::day(day), Consistency::Quorum).await?;
            counted.push((day, usize::try_from(number(&table, 0)?).unwrap_or(0)));
        }
        Ok(counted)
    }
}

struct Worker {
    load: Rc<Load>,
    node: usize,
    number: usize,
    random: Random,
}

impl Worker {
    async fn run(mut self) {
        while !self.load.stopping.get() {
            let open = self.load.open[self.node].get();
            let client = match open {
                true => Client::open(self.load.addresses[self.node]).await.ok(),
                false => None,
            };
            match client {
                Some(client) => self.work(client).await,
                None => tokio::time::sleep(PAUSE_AFTER_FAILURE).await,
            }
        }
    }

    /// Until the connection is of no use any more.
    async fn work(&mut self, mut client: Client) {
        while !self.load.stopping.get() && self.load.open[self.node].get() {
            let (began, phase) = (Instant::now(), self.load.phase.get());
            self.load.under_way[self.number].set(Some(began));
            let (kind, done) = self.one(&mut client).await;
            self.load.under_way[self.number].set(None);
            self.record(phase, kind, began, &done);
            tokio::time::sleep(if done.is_err() { PAUSE_AFTER_FAILURE } else { PAUSE }).await;
            if done.is_err_and(|failure| !matches!(failure, Failure::Answered { .. })) {
                return;
            }
        }
    }

    /// What is served counts where it began, what fails where it ended: it fails by what happens then.
    fn record(&self, began_in: usize, kind: Kind, began: Instant, done: &Result<(), Failure>) {
        let mut tally = self.load.tallies[self.node].borrow_mut();
        match done {
            Ok(()) => tally.served(began_in, kind, began.elapsed()),
            Err(failure) => {
                let loss = self.load.lost.get().filter(|loss| loss.node != self.node);
                let leader_lost = loss.is_some_and(|loss| {
                    began + CONDITIONAL_TIMEOUT > loss.at && loss.noticed.is_none_or(|noticed| began < noticed)
                });
                let after = loss.and_then(|loss| began.checked_duration_since(loss.at));
                let when =
                    after.map_or(String::new(), |after| format!(", {:.1} s after the loss", after.as_secs_f64()));
                tally.failed(self.load.phase.get(), kind, failure, &when, leader_lost);
            }
        }
    }

    async fn one(&mut self, client: &mut Client) -> (Kind, Result<(), Failure>) {
        match self.random.below(100) {
            0..=39 => (Kind::Write, self.write(client).await),
            40..=79 => (Kind::Read, self.read(client).await),
            80..=89 if self.load.flights > 0 => (Kind::Read, self.read_day(client).await),
            _ => (Kind::Conditional, self.sell(client).await),
        }
    }

    async fn write(&mut self, client: &mut Client) -> Result<(), Failure> {
        let gate = self.number * GATES_A_WORKER + self.random.below(GATES_A_WORKER as u64) as usize;
        let known = &self.load.gates[gate];
        let version = known.tried.get() + 1;
        known.tried.set(version);
        client.write_gate(gate, version).await?;
        known.acknowledged.set(version);
        self.load.acknowledged.set(self.load.acknowledged.get() + 1);
        Ok(())
    }

    /// Anybody's gate.
    async fn read(&mut self, client: &mut Client) -> Result<(), Failure> {
        let gate = self.random.below(self.load.gates.len() as u64) as usize;
        let floor = self.load.floor(gate);
        let version = client.read_gate(gate).await?;
        self.load.check_gate(gate, floor, version, self.node);
        Ok(())
    }

    async fn read_day(&mut self, client: &mut Client) -> Result<(), Failure> {
        let day = self.random.below(flights::DAYS as u64) as usize;
        let wanted = flights::on_day(self.load.flights, day).min(DAY_ROWS_READ_MAX);
        let found = client.read_day(day).await?;
        self.load.checked.set(self.load.checked.get() + 1);
        if found != wanted {
            let node = self.node + 1;
            self.load.note_wrong(format!("day {day}: {wanted} flights are to be there, node {node} gave {found}"));
        }
        Ok(())
    }

    async fn sell(&mut self, client: &mut Client) -> Result<(), Failure> {
        let row = self.number * SEATS_A_WORKER + self.random.below(SEATS_A_WORKER as u64) as usize;
        let (load, known) = (self.load.clone(), &self.load.seats[row]);
        let sold = known.sold.get();
        match client.sell_seat(row, sold).await {
            Ok(Ok(())) => {
                known.sold.set(sold + 1);
                known.unsure.set(false);
                load.sold.set(load.sold.get() + 1);
            }
            Ok(Err(there)) => {
                load.check_seats(row, there, self.node);
                if there == sold {
                    load.note_wrong(format!("seats {row}: refused because {sold} were not sold, and {there} are"));
                }
            }
            Err(failure) => {
                // Unavailable and overloaded mean that nothing was done.
                let nothing = [Outcome::Unavailable, Outcome::Overloaded].contains(&Outcome::of(&failure));
                known.unsure.set(known.unsure.get() || !nothing);
                return Err(failure);
            }
        }
        Ok(())
    }
}

/// Loads the flights of some days, a batch a partition; `told` hears how many rows were acknowledged.
///
/// # Errors
/// A request that failed: nothing is tried again.
pub async fn fill(load: &Load, node: usize, days: &[usize], told: &dyn Fn(usize)) -> Result<(), Failure> {
    let mut connection = Connection::open(load.addresses[node]).await?;
    let names = flights::NAMES;
    let markers = vec!["?"; names.split(", ").count()].join(", ");
    let insert = connection.prepare(&format!("INSERT INTO {KEYSPACE}.flights ({names}) VALUES ({markers})")).await?;
    for day in days {
        let rows: Vec<_> = flights::of_day(load.seed, load.flights, *day).iter().map(flights::Flight::values).collect();
        for batch in rows.chunks(BATCH_ROWS) {
            connection.batch(&insert, batch, Consistency::Quorum).await?;
            told(batch.len());
        }
    }
    Ok(())
}

/// Rows of a batch, all of one partition: below the 5 KiB from which on servers warn.
const BATCH_ROWS: usize = 20;

/// How many flights some days have, through one node at QUORUM.
///
/// # Errors
/// A request that failed.
pub async fn count(load: &Load, node: usize, days: &mut dyn Iterator<Item = usize>) -> Result<usize, Failure> {
    let mut client = Client::open(load.addresses[node]).await?;
    Ok(client.count_days(load.flights, days).await?.iter().map(|(_, count)| count).sum())
}
