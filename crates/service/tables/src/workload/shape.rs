//! The tables of the workload, and random changes to them as text of CQL with what they mean to the model.

use super::history::{CellChange, Cells, Clustering, Expiry, Mutation, Range, RowChange};
use bytes::Bytes;
use holon_base::Random;
use std::collections::BTreeMap;

pub const KEYSPACE: &str = "workload";

/// Values of a clustering column: few, so that rows are hit again and ranges hold some.
const CLUSTERING_VALUES: u64 = 6;

/// The server may begin to work on a request, and read its clock, so much later than it was sent; and its clock may
/// differ so much from the workload's, seconds.
const CLOCK_SLACK_SECONDS: i64 = 15;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Int,
    Text,
    /// `map<int, int>`, changed by elements and as a whole.
    Map,
    /// `list<int>`, changed as a whole.
    List,
}

#[derive(Debug)]
pub struct Shape {
    pub name: &'static str,
    pub create: &'static str,
    /// The partition key; values follow from the partition's number.
    pub partition: &'static [(&'static str, Kind)],
    /// All int; the flag: descending.
    pub clustering: &'static [(&'static str, bool)],
    pub statics: &'static [(&'static str, Kind)],
    pub regular: &'static [(&'static str, Kind)],
}

pub static SHAPES: [Shape; 3] = [
    Shape {
        name: "plain",
        create: "CREATE TABLE IF NOT EXISTS workload.plain (k int PRIMARY KEY, v int, t text)",
        partition: &[("k", Kind::Int)],
        clustering: &[],
        statics: &[],
        regular: &[("v", Kind::Int), ("t", Kind::Text)],
    },
    Shape {
        name: "clustered",
        create: "CREATE TABLE IF NOT EXISTS workload.clustered (a int, b text, c int, d int, s text static, v int, \
                 t text, PRIMARY KEY ((a, b), c, d)) WITH CLUSTERING ORDER BY (c ASC, d DESC)",
        partition: &[("a", Kind::Int), ("b", Kind::Text)],
        clustering: &[("c", false), ("d", true)],
        statics: &[("s", Kind::Text)],
        regular: &[("v", Kind::Int), ("t", Kind::Text)],
    },
    Shape {
        name: "collections",
        create: "CREATE TABLE IF NOT EXISTS workload.collections (k int, c int, m map<int, int>, l list<int>, v int, \
                 PRIMARY KEY (k, c))",
        partition: &[("k", Kind::Int)],
        clustering: &[("c", false)],
        statics: &[],
        regular: &[("m", Kind::Map), ("l", Kind::List), ("v", Kind::Int)],
    },
];

/// A change as CQL (without timestamp) and as the model sees it.
pub struct Change {
    pub statement: String,
    pub mutation: Mutation,
}

impl Shape {
    /// `k = 7`, or `a = 7 AND b = 'p7'`.
    pub fn partition_relation(&self, partition: u32) -> String {
        let part = |(name, kind): &(&str, Kind)| match kind {
            Kind::Text => format!("{name} = 'p{partition}'"),
            _ => format!("{name} = {partition}"),
        };
        self.partition.iter().map(part).collect::<Vec<_>>().join(" AND ")
    }

    /// The serialized partition key columns.
    pub fn partition_values(&self, partition: u32) -> Vec<Bytes> {
        let part = |(_, kind): &(&str, Kind)| match kind {
            Kind::Text => Bytes::from(format!("p{partition}")),
            _ => Bytes::copy_from_slice(&partition.to_be_bytes()),
        };
        self.partition.iter().map(part).collect()
    }

    pub fn random_clustering(&self, random: &mut Random) -> Clustering {
        self.clustering.iter().map(|_| random.below(CLUSTERING_VALUES) as i32).collect()
    }

    fn clustering_relation(&self, clustering: &[i32]) -> String {
        let relation = |((name, _), value): (&(&str, bool), &i32)| format!(" AND {name} = {value}");
        self.clustering.iter().zip(clustering).map(relation).collect()
    }

    /// The relations of a range.
    pub fn range_relation(&self, range: &Range) -> String {
        let mut text = self.clustering_relation(&range.prefix);
        if let Some((name, _)) = self.clustering.get(range.prefix.len()) {
            text += &match range.from == range.to {
                true => format!(" AND {name} = {}", range.from),
                false => format!(" AND {name} >= {} AND {name} <= {}", range.from, range.to),
            };
        }
        text
    }

    /// A range over the clustering columns; the table has some.
    pub fn random_range(&self, random: &mut Random) -> Range {
        let prefix: Clustering = self.random_clustering(random);
        let length = random.below(self.clustering.len() as u64) as usize;
        let from = random.below(CLUSTERING_VALUES) as i32;
        let to = from + random.below(3) as i32;
        Range { prefix: prefix.into_iter().take(length).collect(), from, to }
    }

    /// Any change of a partition. `seconds`: the wall clock as the workload knows it.
    pub fn random_change(&self, partition: u32, timestamp: i64, seconds: i64, random: &mut Random) -> Change {
        match random.below(20) {
            0 => self.delete_partition(partition, timestamp),
            1..=2 if !self.clustering.is_empty() => self.delete_range(partition, timestamp, random),
            3..=4 => self.delete_row(partition, timestamp, random),
            5..=6 => self.delete_cells(partition, timestamp, random),
            7..=8 if !self.statics.is_empty() => self.update(partition, timestamp, seconds, true, random),
            9..=13 => self.update(partition, timestamp, seconds, false, random),
            _ => self.insert(partition, timestamp, seconds, random),
        }
    }

    fn delete_partition(&self, partition: u32, timestamp: i64) -> Change {
        let statement = format!("DELETE FROM {KEYSPACE}.{} WHERE {}", self.name, self.partition_relation(partition));
        Change { statement, mutation: Mutation { deletes_partition: true, ..Mutation::new(timestamp) } }
    }

    fn delete_range(&self, partition: u32, timestamp: i64, random: &mut Random) -> Change {
        let range = self.random_range(random);
        let (key, relation) = (self.partition_relation(partition), self.range_relation(&range));
        let statement = format!("DELETE FROM {KEYSPACE}.{} WHERE {key}{relation}", self.name);
        Change { statement, mutation: Mutation { deletes: vec![range], ..Mutation::new(timestamp) } }
    }

    fn delete_row(&self, partition: u32, timestamp: i64, random: &mut Random) -> Change {
        if self.clustering.is_empty() {
            return self.delete_partition(partition, timestamp);
        }
        let clustering = self.random_clustering(random);
        let (key, relation) = (self.partition_relation(partition), self.clustering_relation(&clustering));
        let statement = format!("DELETE FROM {KEYSPACE}.{} WHERE {key}{relation}", self.name);
        let deletes = vec![Range::row(&clustering)];
        Change { statement, mutation: Mutation { deletes, ..Mutation::new(timestamp) } }
    }

    fn delete_cells(&self, partition: u32, timestamp: i64, random: &mut Random) -> Change {
        let clustering = self.random_clustering(random);
        let (name, _) = self.regular[random.below(self.regular.len() as u64) as usize];
        let (key, relation) = (self.partition_relation(partition), self.clustering_relation(&clustering));
        let statement = format!("DELETE {name} FROM {KEYSPACE}.{} WHERE {key}{relation}", self.name);
        let cells = Cells::from([(name, CellChange::Delete)]);
        let rows = vec![RowChange { clustering: Some(clustering), marker: false, cells }];
        Change { statement, mutation: Mutation { rows, ..Mutation::new(timestamp) } }
    }

    fn update(&self, partition: u32, timestamp: i64, seconds: i64, is_static: bool, random: &mut Random) -> Change {
        let (ttl, expiry) = random_ttl(seconds, random);
        let (columns, clustering) = match is_static {
            true => (self.statics, None),
            false => (self.regular, Some(self.random_clustering(random))),
        };
        let mut cells = Cells::new();
        let mut assignments = Vec::new();
        for &(name, kind) in columns {
            if cells.is_empty() || random.chance(1, 3) {
                let (text, change) = random_assignment(name, kind, random);
                assignments.push(text);
                cells.insert(name, change);
            }
        }
        let relation = clustering.as_deref().map(|key| self.clustering_relation(key)).unwrap_or_default();
        let key = self.partition_relation(partition);
        let (name, assignments) = (self.name, assignments.join(", "));
        let statement = format!("UPDATE {KEYSPACE}.{name}{ttl} SET {assignments} WHERE {key}{relation}");
        let rows = vec![RowChange { clustering, marker: false, cells }];
        Change { statement, mutation: Mutation { expiry, rows, ..Mutation::new(timestamp) } }
    }

    fn insert(&self, partition: u32, timestamp: i64, seconds: i64, random: &mut Random) -> Change {
        let (ttl, expiry) = random_ttl(seconds, random);
        let clustering = self.random_clustering(random);
        let mut names: Vec<&str> = self.partition.iter().chain(&[]).map(|(name, _)| *name).collect();
        let mut values: Vec<String> = self
            .partition
            .iter()
            .map(|(_, kind)| match kind {
                Kind::Text => format!("'p{partition}'"),
                _ => partition.to_string(),
            })
            .collect();
        for ((name, _), value) in self.clustering.iter().zip(&clustering) {
            names.push(name);
            values.push(value.to_string());
        }
        let mut rows = Vec::new();
        for (columns, is_static) in [(self.statics, true), (self.regular, false)] {
            let mut cells = Cells::new();
            for &(name, kind) in columns {
                if random.chance(if is_static { 1 } else { 2 }, 3) {
                    let (text, change) = random_value(kind, random);
                    names.push(name);
                    values.push(text);
                    cells.insert(name, change);
                }
            }
            let row = RowChange { clustering: (!is_static).then(|| clustering.clone()), marker: !is_static, cells };
            rows.push(row);
        }
        let (names, values) = (names.join(", "), values.join(", "));
        let statement = format!("INSERT INTO {KEYSPACE}.{} ({names}) VALUES ({values}){ttl}", self.name);
        Change { statement, mutation: Mutation { expiry, rows, ..Mutation::new(timestamp) } }
    }
}

/// ` USING TTL n`, seldom; sometimes so short that it ends during the run.
fn random_ttl(seconds: i64, random: &mut Random) -> (String, Option<Expiry>) {
    if !random.chance(1, 8) {
        return (String::new(), None);
    }
    let ttl = if random.chance(1, 2) { random.range(3, 30) as i64 } else { 1_000_000 };
    let end = seconds + ttl;
    let expiry = Expiry { alive_before: end - CLOCK_SLACK_SECONDS, gone_after: end + CLOCK_SLACK_SECONDS };
    (format!(" USING TTL {ttl}"), Some(expiry))
}

fn random_elements(random: &mut Random) -> BTreeMap<i32, Option<i32>> {
    let count = random.below(4);
    (0..count).map(|_| (random.below(8) as i32, Some(random.below(100) as i32))).collect()
}

fn map_text(elements: &BTreeMap<i32, Option<i32>>) -> String {
    let entries = elements.iter().map(|(key, value)| format!("{key}: {}", value.unwrap_or_default()));
    format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
}

/// A literal, or null, with what it does to a cell.
fn random_value(kind: Kind, random: &mut Random) -> (String, CellChange) {
    if random.chance(1, 10) {
        return ("null".to_string(), CellChange::Delete);
    }
    match kind {
        Kind::Int => {
            let value = random.next_u64() as i32;
            (value.to_string(), CellChange::Set(Bytes::copy_from_slice(&value.to_be_bytes())))
        }
        Kind::Text => {
            let text = random_text(random);
            (format!("'{text}'"), CellChange::Set(text.into()))
        }
        Kind::Map => {
            let elements = random_elements(random);
            (map_text(&elements), CellChange::Overwrite(elements))
        }
        Kind::List => {
            let items: Vec<i32> = (0..random.below(4)).map(|_| random.below(100) as i32).collect();
            let text = items.iter().map(i32::to_string).collect::<Vec<_>>().join(", ");
            // An empty list is no list: as if it were deleted.
            let change = if items.is_empty() { CellChange::Delete } else { CellChange::Set(serialize_list(&items)) };
            (format!("[{text}]"), change)
        }
    }
}

/// Short mostly; now and then long enough to fill blocks and pages.
fn random_text(random: &mut Random) -> String {
    let length = if random.chance(1, 20) { random.range(1_000, 5_000) } else { random.below(20) };
    let letter = char::from(b'a' + random.below(26) as u8);
    format!("{}{}", random.below(1_000), letter.to_string().repeat(length as usize))
}

fn random_assignment(name: &'static str, kind: Kind, random: &mut Random) -> (String, CellChange) {
    if kind != Kind::Map || random.chance(1, 3) {
        let (text, change) = random_value(kind, random);
        return (format!("{name} = {text}"), change);
    }
    if random.chance(1, 3) {
        let key = random.below(8) as i32;
        let change = CellChange::Elements(BTreeMap::from([(key, None)]));
        return (format!("{name} = {name} - {{{key}}}"), change);
    }
    let mut elements = random_elements(random);
    elements.insert(random.below(8) as i32, Some(1));
    (format!("{name} = {name} + {}", map_text(&elements)), CellChange::Elements(elements))
}

fn serialize_list(items: &[i32]) -> Bytes {
    let mut out = Vec::with_capacity(4 + items.len() * 8);
    out.extend_from_slice(&(items.len() as i32).to_be_bytes());
    for item in items {
        out.extend_from_slice(&4i32.to_be_bytes());
        out.extend_from_slice(&item.to_be_bytes());
    }
    out.into()
}
