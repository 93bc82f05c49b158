//! Writes that the server stamps: of two acknowledged ones the later must win, as far as anybody can know which is later.
//!
//! One is *later* than another if it was begun
//! - through a node that knew the other: it had acknowledged it, or shown it to a reader, in this life or an earlier one; or
//! - [`APART_MICROS`] after the other was acknowledged or shown by any node: more than two nodes that take writes can be apart.
//!
//! In between either may win, and then always the same one. What was refused is never there, what was acknowledged is, or a later one.

use super::{ClusterWorkload, KEYSPACE, Operation, int};
use crate::workload::operation::NamedRow;
use holon_base::{Random, Wall};
use holon_cql::request::{Query, QueryParameters};
use holon_cql::{Consistency, Request};
use std::collections::BTreeMap;

/// Few, so that writes of different nodes meet.
const KEYS: i32 = 3;

/// Timestamps lead a node's clock by at most three times the bound on skew, and two nodes that take writes are within
/// twice the bound of each other; the rest is what a clock drifts until somebody looks. With the bound of 500 ms.
const APART_MICROS: i64 = 3_000_000;

/// A write, or a read of one key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stamping {
    /// The number of the write is the value that it writes.
    Write(usize),
    /// What was acknowledged before it was begun has to be seen. So many writes had been begun.
    Read { key: i32, began: i64 },
}

struct Write {
    key: i32,
    node: usize,
    began: i64,
    acknowledged: Option<i64>,
    refused: bool,
    /// Since when each node has known it.
    known: BTreeMap<usize, i64>,
    /// As it was shown first.
    timestamp: Option<i64>,
}

impl Write {
    /// Since when anybody has known it.
    fn known_anywhere(&self) -> Option<i64> {
        self.known.values().copied().min()
    }

    fn is_before(&self, later: &Write) -> bool {
        let by_node = self.known.get(&later.node).is_some_and(|known| *known < later.began);
        by_node || self.known_anywhere().is_some_and(|known| known.saturating_add(APART_MICROS) < later.began)
    }
}

/// All writes that the server stamped.
#[derive(Default)]
pub(super) struct Stamped {
    writes: Vec<Write>,
    /// At the end: connections through which nothing was written yet.
    left: std::collections::BTreeSet<usize>,
}

impl Stamped {
    pub(super) fn table() -> String {
        format!("CREATE TABLE IF NOT EXISTS {KEYSPACE}.s (k int PRIMARY KEY, v bigint)")
    }

    /// Everybody must be served once more.
    pub(super) fn finish(&mut self, connections: usize) {
        self.left = (0..connections).collect();
    }

    pub(super) fn is_finished(&self) -> bool {
        self.left.is_empty()
    }

    pub(super) fn is_left(&self, connection: usize) -> bool {
        self.left.contains(&connection)
    }

    fn write(&mut self, key: i32, node: usize, now: i64) -> (Stamping, Request) {
        let number = self.writes.len();
        let (known, timestamp) = (BTreeMap::new(), None);
        self.writes.push(Write { key, node, began: now, acknowledged: None, refused: false, known, timestamp });
        let statement = format!("INSERT INTO {KEYSPACE}.s (k, v) VALUES ({key}, {number})");
        (Stamping::Write(number), query(statement))
    }

    fn read(&self, key: i32, now: i64) -> (Stamping, Request) {
        let statement = format!("SELECT v, writetime(v) AS w FROM {KEYSPACE}.s WHERE k = {key}");
        (Stamping::Read { key, began: now }, query(statement))
    }

    /// A write was acknowledged.
    pub(super) fn acknowledged(&mut self, number: usize, connection: usize, now: i64) {
        let write = &mut self.writes[number];
        write.acknowledged = Some(now);
        write.known.entry(write.node).or_insert(now);
        self.left.remove(&connection);
    }

    /// Nothing was done.
    pub(super) fn refused(&mut self, number: usize) {
        self.writes[number].refused = true;
    }

    /// A node has shown the row of a key, or that there is none, to a read that was begun then.
    pub(super) fn shown(
        &mut self,
        key: i32,
        began: i64,
        node: usize,
        rows: &[NamedRow],
        now: i64,
    ) -> Result<(), String> {
        let acknowledged = |write: &&Write| write.key == key && write.acknowledged.is_some_and(|when| when < began);
        let [row] = rows else {
            return match self.writes.iter().position(|write| acknowledged(&write)) {
                Some(lost) => Err(format!("write {lost} was acknowledged, and {} rows are there", rows.len())),
                None if rows.is_empty() => Ok(()),
                None => Err(format!("{} rows of one key", rows.len())),
            };
        };
        let (Some(number), Some(timestamp)) = (int(row, "v"), int(row, "w")) else {
            return Err("a row without value".to_string());
        };
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let found = self.writes.get(number).filter(|write| write.key == key && !write.refused);
        let found = found.ok_or_else(|| format!("value {number} was never written there, or was refused"))?;
        if found.timestamp.is_some_and(|first| first != timestamp) {
            return Err(format!("write {number} had timestamp {:?} before, and now {timestamp}", found.timestamp));
        }
        let hidden = self.writes.iter().enumerate().find(|(_, later)| acknowledged(later) && found.is_before(later));
        if let Some((later, write)) = hidden {
            let known = found.known.get(&write.node).or(found.known_anywhere().as_ref()).copied().unwrap_or_default();
            return Err(format!(
                "write {later} was acknowledged by node {} and is hidden by write {number} of node {}, which was known {} µs \
                 before it was begun; timestamps {:?} and {timestamp}",
                write.node,
                found.node,
                write.began - known,
                write.timestamp,
            ));
        }
        let write = &mut self.writes[number];
        write.timestamp = Some(timestamp);
        write.known.entry(node).or_insert(now);
        Ok(())
    }
}

fn query(statement: String) -> Request {
    Request::Query(Query { statement, parameters: QueryParameters::new(Consistency::Quorum) })
}

impl ClusterWorkload {
    pub(super) fn node_of(&self, connection: usize) -> usize {
        self.nodes.get(&connection).copied().unwrap_or(connection)
    }

    pub(super) fn stamped(&mut self, connection: usize, random: &mut Random, wall: Wall) -> (Operation, Request) {
        let key = random.below(KEYS as u64) as i32;
        if random.chance(1, 2) {
            return self.write_stamped(connection, key, wall);
        }
        self.count("reads of what the server stamped");
        let (stamping, request) = self.stamped.read(key, wall.micros());
        (Operation::Stamped(stamping), request)
    }

    pub(super) fn write_stamped(&mut self, connection: usize, key: i32, wall: Wall) -> (Operation, Request) {
        self.count("writes that the server stamped");
        let node = self.node_of(connection);
        let (stamping, request) = self.stamped.write(key, node, wall.micros());
        (Operation::Stamped(stamping), request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::sync::Arc;

    fn row(number: i64, timestamp: i64) -> Vec<NamedRow> {
        let cell = |name: &str, value: i64| (Arc::from(name), Some(Bytes::copy_from_slice(&value.to_be_bytes())));
        vec![vec![cell("v", number), cell("w", timestamp)]]
    }

    /// Write 0 of node 0, acknowledged at 10; write 1 of node 1, begun and acknowledged then.
    fn two(later_node: usize, began: i64) -> Stamped {
        let mut stamped = Stamped::default();
        stamped.write(0, 0, 0);
        stamped.acknowledged(0, 0, 10);
        stamped.write(0, later_node, began);
        stamped.acknowledged(1, 0, began + 10);
        stamped
    }

    #[test]
    fn the_later_write_must_win_where_it_is_known_to_be_later() {
        let after = APART_MICROS + 100;
        assert!(two(1, 20).shown(0, 40, 2, &row(0, 5), 50).is_ok(), "too close to tell");
        assert!(two(1, after).shown(0, after + 20, 2, &row(0, 5), after + 30).is_err(), "long after");
        assert!(two(0, 20).shown(0, 40, 2, &row(0, 5), 50).is_err(), "through the same node");
        assert!(two(0, 20).shown(0, 25, 2, &row(0, 5), 50).is_ok(), "the read began before it was acknowledged");
        let mut stamped = Stamped::default();
        stamped.write(0, 0, 0);
        stamped.acknowledged(0, 0, 10);
        stamped.shown(0, 11, 1, &row(0, 5), 15).expect("it is there");
        stamped.write(0, 1, 20);
        stamped.acknowledged(1, 0, 30);
        assert!(stamped.shown(0, 40, 2, &row(1, 6), 50).is_ok());
        assert!(stamped.shown(0, 40, 2, &row(0, 5), 50).is_err(), "node 1 had shown it");
    }

    #[test]
    fn what_was_acknowledged_is_there_and_what_was_refused_is_not() {
        assert!(two(1, 20).shown(0, 40, 2, &[], 50).is_err());
        assert!(two(1, 20).shown(0, 5, 2, &[], 50).is_ok());
        let mut stamped = two(1, 20);
        stamped.write(0, 0, 60);
        stamped.refused(2);
        assert!(stamped.shown(0, 70, 2, &row(2, 7), 80).is_err());
        assert!(stamped.shown(0, 70, 2, &row(1, 6), 80).is_ok());
        assert!(stamped.shown(0, 90, 2, &row(1, 7), 99).is_err(), "another timestamp");
    }
}
