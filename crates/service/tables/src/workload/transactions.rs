//! Conditional statements and counters of the cluster's workload, through any node, and what is recorded of them.
//!
//! - Each row of `l` is a register that only conditional statements write, each value once. All calls on it, with their
//!   beginnings and ends, must be linearizable.
//! - Each counter of `n` counts by one: a read at a majority shows no less than was acknowledged, or shown, before it began, and no
//!   more than was tried before it ended.

use super::linearizability::{Model, Timed, Verdict, check};
use super::operation::Named;
use super::register::Change;
use holon_base::Random;
use holon_cql::request::{Query, QueryParameters};
use holon_cql::response::ResultResponse;
use holon_cql::{Consistency, Request};
use std::collections::BTreeMap;

const REGISTERS: i32 = 4;
const COUNTERS: i32 = 3;

/// Steps of one register's search. One that is not decided by then is counted, not believed.
const STEPS_MAX: u64 = 3_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Applied,
    /// The condition did not hold; what was there.
    Refused(Option<i32>),
    /// A read at a serial level.
    Saw(Option<i32>),
    /// None came, or one that says nothing.
    Unknown,
}

/// A call on a register; `None`: a read.
pub type Call = (Option<Change>, Answer);

/// One row, by conditional statements.
pub struct ConditionalRegister;

impl Model for ConditionalRegister {
    type State = Option<i32>;
    type Call = Call;

    fn step(state: &Option<i32>, call: &Call) -> Option<Option<i32>> {
        match *call {
            (Some(change), Answer::Applied | Answer::Unknown) => change.apply(*state),
            (Some(change), Answer::Refused(found)) => {
                (found == *state && change.apply(*state).is_none()).then_some(*state)
            }
            (_, Answer::Saw(found)) => (found == *state).then_some(*state),
            (None, _) => Some(*state),
        }
    }
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    Register { key: i32, call: usize },
    Count { key: i32 },
    CounterRead { key: i32, floor: i64 },
}

/// What is known of a counter that counts by one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter {
    acknowledged: i64,
    tried: i64,
    seen: i64,
}

impl Counter {
    pub fn begin(&mut self) {
        self.tried += 1;
    }

    pub fn acknowledge(&mut self) {
        self.acknowledged += 1;
    }

    /// What was begun did certainly not count.
    pub fn not_done(&mut self) {
        self.tried -= 1;
    }

    /// What a read that begins now shows at least.
    pub fn floor(&self) -> i64 {
        self.acknowledged.max(self.seen)
    }

    /// A read that began at this floor has ended.
    ///
    /// # Errors
    /// It cannot show this.
    pub fn show(&mut self, shown: i64, floor: i64) -> Result<(), String> {
        if shown < floor || shown > self.tried {
            return Err(format!("shows {shown}; {floor} were certain before, {} tried", self.tried));
        }
        self.seen = self.seen.max(shown);
        Ok(())
    }
}

#[derive(Default)]
pub struct Transactions {
    clock: u64,
    registers: BTreeMap<i32, Vec<Timed<Call>>>,
    /// What was there when somebody looked last: conditions that have a chance to hold.
    shown: BTreeMap<i32, Option<i32>>,
    next_value: i32,
    counters: BTreeMap<i32, Counter>,
    /// To be read at the end.
    left: Vec<(bool, i32)>,
}

pub fn setup(keyspace: &str) -> [String; 2] {
    [
        format!("CREATE TABLE IF NOT EXISTS {keyspace}.l (id int PRIMARY KEY, v int)"),
        format!("CREATE TABLE IF NOT EXISTS {keyspace}.n (id int PRIMARY KEY, c counter)"),
    ]
}

impl Transactions {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// The next statement, and its kind for the figures.
    pub fn next(&mut self, keyspace: &str, random: &mut Random) -> (Pending, Request, &'static str) {
        if random.chance(1, 5) {
            let key = random.below(COUNTERS as u64) as i32;
            if random.chance(1, 3) {
                return self.read_counter(keyspace, key);
            }
            self.counters.entry(key).or_default().begin();
            let text = format!("UPDATE {keyspace}.n SET c = c + 1 WHERE id = {key}");
            return (Pending::Count { key }, query(text, Consistency::Quorum, None), "counters counted");
        }
        let key = random.below(REGISTERS as u64) as i32;
        if random.chance(1, 4) {
            return self.read_register(keyspace, key);
        }
        self.next_value += 1;
        let value = self.next_value;
        let change = match self.shown.get(&key).copied().flatten() {
            _ if random.chance(1, 20) => Change::Insert { value },
            None => Change::Insert { value },
            Some(_) if random.chance(1, 10) => Change::Delete,
            Some(expected) => Change::Update { expected, value },
        };
        let text = match change {
            Change::Insert { value } => {
                format!("INSERT INTO {keyspace}.l (id, v) VALUES ({key}, {value}) IF NOT EXISTS")
            }
            Change::Update { expected, value } => {
                format!("UPDATE {keyspace}.l SET v = {value} WHERE id = {key} IF v = {expected}")
            }
            Change::Delete => format!("DELETE FROM {keyspace}.l WHERE id = {key} IF EXISTS"),
        };
        let commit = [Consistency::Quorum, Consistency::One, Consistency::LocalQuorum][random.below(3) as usize];
        let serial = [Consistency::Serial, Consistency::LocalSerial][random.below(2) as usize];
        let call = self.begin(key, Some(change));
        (Pending::Register { key, call }, query(text, commit, Some(serial)), "conditional statements")
    }

    fn begin(&mut self, key: i32, change: Option<Change>) -> usize {
        let begin = self.tick();
        let calls = self.registers.entry(key).or_default();
        calls.push(Timed { begin, end: None, call: (change, Answer::Unknown) });
        calls.len() - 1
    }

    fn read_register(&mut self, keyspace: &str, key: i32) -> (Pending, Request, &'static str) {
        let text = format!("SELECT id, v FROM {keyspace}.l WHERE id = {key}");
        let call = self.begin(key, None);
        (Pending::Register { key, call }, query(text, Consistency::Serial, None), "serial reads")
    }

    fn read_counter(&mut self, keyspace: &str, key: i32) -> (Pending, Request, &'static str) {
        let floor = self.counters.entry(key).or_default().floor();
        let text = format!("SELECT id, c FROM {keyspace}.n WHERE id = {key}");
        (Pending::CounterRead { key, floor }, query(text, Consistency::Quorum, None), "counters read")
    }

    /// # Errors
    /// What the answer may not say.
    pub fn answered(&mut self, pending: Pending, result: &ResultResponse) -> Result<(), String> {
        match pending {
            Pending::Count { key } => self.counters.entry(key).or_default().acknowledge(),
            Pending::CounterRead { key, floor } => {
                let shown = first_row(result)?.map_or(0, |row| row.1.unwrap_or(0));
                let counter = self.counters.entry(key).or_default();
                counter.show(shown, floor).map_err(|what| format!("counter {key} {what}"))?;
            }
            Pending::Register { key, call } => {
                let end = self.tick();
                let timed = self.registers.entry(key).or_default().get_mut(call).ok_or("no such call")?;
                let answer = match timed.call.0 {
                    None => Answer::Saw(first_row(result)?.and_then(|row| row.1).map(|value| value as i32)),
                    Some(_) => conditional_answer(result)?,
                };
                (timed.end, timed.call.1) = (Some(end), answer);
                let after = match (timed.call.0, answer) {
                    (Some(change), Answer::Applied) => match change {
                        Change::Insert { value } | Change::Update { value, .. } => Some(value),
                        Change::Delete => None,
                    },
                    (_, Answer::Refused(found) | Answer::Saw(found)) => found,
                    _ => return Ok(()),
                };
                self.shown.insert(key, after);
            }
        }
        Ok(())
    }

    /// No answer came, or an error; `not_done`: certainly nothing was.
    pub fn failed(&mut self, pending: Pending, not_done: bool) {
        match pending {
            Pending::Count { key } if not_done => self.counters.entry(key).or_default().not_done(),
            Pending::Register { key, call } => {
                let end = self.tick();
                let Some(timed) = self.registers.get_mut(&key).and_then(|calls| calls.get_mut(call)) else { return };
                if not_done {
                    // As good as a read that shows nothing.
                    *timed = Timed { begin: timed.begin, end: Some(end), call: (None, Answer::Unknown) };
                }
            }
            _ => {}
        }
    }

    /// From now on everything is read once more.
    pub fn finish(&mut self) {
        let registers = (0..REGISTERS).map(|key| (true, key));
        self.left = registers.chain((0..COUNTERS).map(|key| (false, key))).collect();
    }

    pub fn read_back(&mut self, keyspace: &str) -> Option<(Pending, Request, &'static str)> {
        let (is_register, key) = self.left.pop()?;
        Some(if is_register { self.read_register(keyspace, key) } else { self.read_counter(keyspace, key) })
    }

    pub fn read_again(&mut self, pending: Pending) {
        match pending {
            Pending::Register { key, .. } => self.left.push((true, key)),
            Pending::CounterRead { key, .. } => self.left.push((false, key)),
            Pending::Count { .. } => {}
        }
    }

    pub fn is_read_back(&self) -> bool {
        self.left.is_empty()
    }

    /// Whether all that was recorded is linearizable, register by register; of how many that could not be decided.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self) -> Result<usize, String> {
        let mut undecided = 0;
        for (key, calls) in &self.registers {
            match check_register(calls) {
                Verdict::Linearizable => {}
                Verdict::GaveUp => undecided += 1,
                Verdict::Not { done, stuck } => {
                    return Err(not_linearizable(*key, &done, &stuck, |place| {
                        let Timed { begin, end, call } = &calls[place];
                        let end = end.map_or("".into(), |end| end.to_string());
                        format!("{begin}-{end} {:?} {:?}", call.0, call.1)
                    }));
                }
            }
        }
        Ok(undecided)
    }

    pub fn most_calls(&self) -> usize {
        self.registers.values().map(Vec::len).max().unwrap_or(0)
    }
}

/// Whether the calls on one register, which began without a row, are linearizable.
pub fn check_register(calls: &[Timed<Call>]) -> Verdict {
    check::<ConditionalRegister>(calls, None, STEPS_MAX)
}

/// A verdict in words; `tell` says what the call at a place of the history was.
pub fn not_linearizable(key: i32, done: &[usize], stuck: &[usize], tell: impl Fn(usize) -> String) -> String {
    let tell = |places: &[usize]| places.iter().map(|place| tell(*place)).collect::<Vec<_>>().join("; ");
    let from = done.len().saturating_sub(8);
    format!(
        "register {key} is not linearizable: after {} calls, at last [{}], none of these fits: [{}]",
        done.len(),
        tell(&done[from..]),
        tell(stuck)
    )
}

fn query(statement: String, consistency: Consistency, serial: Option<Consistency>) -> Request {
    let parameters = QueryParameters { serial_consistency: serial, ..QueryParameters::new(consistency) };
    Request::Query(Query { statement, parameters })
}

type ShownRow = (i64, Option<i64>);

fn number(bytes: &[u8]) -> i64 {
    match bytes.len() {
        4 => bytes.first_chunk::<4>().map_or(0, |bytes| i32::from_be_bytes(*bytes).into()),
        _ => bytes.first_chunk::<8>().map_or(0, |bytes| i64::from_be_bytes(*bytes)),
    }
}

/// Key and value of the only row, if there is one.
fn first_row(result: &ResultResponse) -> Result<Option<ShownRow>, String> {
    let ResultResponse::Rows(rows) = result else { return Err("rows are missing".to_string()) };
    let rows = rows.named();
    if rows.len() > 1 {
        return Err("more rows than one".to_string());
    }
    let Some(row) = rows.first() else { return Ok(None) };
    let column = |at: usize| row.get(at).and_then(|(_, value)| value.as_ref()).map(|bytes| number(bytes));
    Ok(Some((column(0).ok_or("a row without key")?, column(1))))
}

fn conditional_answer(result: &ResultResponse) -> Result<Answer, String> {
    let ResultResponse::Rows(rows) = result else { return Err("rows are missing".to_string()) };
    let rows = rows.named();
    let row = rows.first().ok_or("no row says whether it applied")?;
    let value = |name: &str| row.iter().find(|(column, _)| **column == *name).and_then(|(_, value)| value.as_ref());
    let applied = value("[applied]").ok_or("[applied] is missing")?[..] == [1];
    let found = value("v").map(|bytes| number(bytes) as i32);
    Ok(if applied { Answer::Applied } else { Answer::Refused(found) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(begin: u64, end: impl Into<Option<u64>>, change: Option<Change>, answer: Answer) -> Timed<Call> {
        Timed { begin, end: end.into(), call: (change, answer) }
    }

    fn fits(history: &[Timed<Call>]) -> bool {
        check::<ConditionalRegister>(history, None, STEPS_MAX) == Verdict::Linearizable
    }

    #[test]
    fn two_that_saw_the_same_cannot_both_apply() {
        let insert = timed(1, 2, Some(Change::Insert { value: 1 }), Answer::Applied);
        let one = timed(3, 6, Some(Change::Update { expected: 1, value: 2 }), Answer::Applied);
        let other = Some(Change::Update { expected: 1, value: 3 });
        assert!(!fits(&[insert.clone(), one.clone(), timed(4, 5, other, Answer::Applied)]));
        assert!(fits(&[insert.clone(), one.clone(), timed(4, 5, other, Answer::Refused(Some(2)))]));
        assert!(fits(&[insert.clone(), one.clone(), timed(4, None, other, Answer::Unknown)]));
        // An answer that says less than was there.
        assert!(!fits(&[insert.clone(), one.clone(), timed(7, 8, other, Answer::Refused(None))]));
        assert!(!fits(&[insert, one, timed(7, 8, None, Answer::Saw(Some(1)))]));
    }

    #[test]
    fn what_had_no_answer_may_show_late() {
        let unknown = timed(1, None, Some(Change::Insert { value: 1 }), Answer::Unknown);
        let none = timed(2, 3, None, Answer::Saw(None));
        assert!(fits(&[unknown.clone(), none.clone(), timed(90, 91, None, Answer::Saw(Some(1)))]));
        let deleted = timed(92, 93, Some(Change::Delete), Answer::Applied);
        let again = timed(94, 95, None, Answer::Saw(Some(1)));
        assert!(!fits(&[unknown, none, deleted, timed(90, 91, None, Answer::Saw(Some(1))), again]));
    }
}
