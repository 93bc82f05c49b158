//! The statements: writes and reads at random levels, of random rows.

use super::{ClusterWorkload, KEYSPACE, Key, Operation, PARTITIONS, Pages, ROWS, page_request};
use crate::workload::operation::write_level;
use holon_base::{Random, Wall};
use holon_cql::request::{Query, QueryParameters};
use holon_cql::{Consistency, Request};

impl ClusterWorkload {
    pub(super) fn write(&mut self, random: &mut Random, wall: Wall) -> (Operation, Request) {
        let timestamp = self.timestamp(wall);
        self.next_value += 1;
        let value = self.next_value;
        let (k, c) = (random.below(PARTITIONS as u64) as i32, random.below(ROWS as u64) as i32);
        let consistency = write_level(random);
        let is_strong = !matches!(consistency, Consistency::One | Consistency::Any);
        let insert =
            |k: i32, c: i32, value: i64| format!("INSERT INTO {KEYSPACE}.t (k, c, v) VALUES ({k}, {c}, {value})");
        let query = |statement: String| {
            let parameters = QueryParameters { timestamp_us: Some(timestamp), ..QueryParameters::new(consistency) };
            Request::Query(Query { statement, parameters })
        };
        let (keys, request) = match random.below(20) {
            0 => {
                let keys: Vec<Key> = (0..ROWS).map(|c| (k, c)).collect();
                self.attempt(&keys, timestamp, None);
                self.count("partitions deleted");
                (keys, query(format!("DELETE FROM {KEYSPACE}.t WHERE k = {k}")))
            }
            1 => {
                let keys: Vec<Key> = (c..ROWS).map(|c| (k, c)).collect();
                self.attempt(&keys, timestamp, None);
                self.count("slices deleted");
                (keys, query(format!("DELETE FROM {KEYSPACE}.t WHERE k = {k} AND c >= {c}")))
            }
            2..=3 => {
                self.attempt(&[(k, c)], timestamp, None);
                self.count("rows deleted");
                (vec![(k, c)], query(format!("DELETE FROM {KEYSPACE}.t WHERE k = {k} AND c = {c}")))
            }
            4..=5 if is_strong => return self.batch(consistency, timestamp),
            _ => {
                self.attempt(&[(k, c)], timestamp, Some(value));
                (vec![(k, c)], query(insert(k, c, value)))
            }
        };
        self.count("writes");
        (Operation::Write { keys, timestamp, is_strong }, request)
    }

    pub(super) fn read(&mut self, random: &mut Random) -> (Operation, Request) {
        let k = random.below(PARTITIONS as u64) as i32;
        let consistency = match random.below(10) {
            0 => Consistency::One,
            1 => Consistency::LocalOne,
            2 => Consistency::All,
            3 => Consistency::LocalQuorum,
            _ => Consistency::Quorum,
        };
        let page_size = random.chance(1, 3).then(|| random.range(1, 4) as i32);
        let c = random.below(ROWS as u64) as i32;
        match random.below(10) {
            0 => {
                self.count("scans");
                self.read_of(None, "", consistency, page_size, |_| true)
            }
            1..=4 => self.read_of(Some(k), &format!(" AND c = {c}"), consistency, page_size, |at| at == c),
            5 => self.read_of(Some(k), " ORDER BY c DESC", consistency, page_size, |_| true),
            6 => self.read_of(Some(k), &format!(" AND c > {c}"), consistency, page_size, |at| at > c),
            _ => self.read_of(Some(k), "", consistency, page_size, |_| true),
        }
    }

    pub(super) fn read_of(
        &mut self,
        k: Option<i32>,
        more: &str,
        consistency: Consistency,
        page_size: Option<i32>,
        covers: impl Fn(i32) -> bool,
    ) -> (Operation, Request) {
        self.count("reads");
        let of = k.map(|k| format!(" WHERE k = {k}{more}")).unwrap_or_default();
        let statement = format!("SELECT k, c, v, writetime(v) AS w FROM {KEYSPACE}.t{of}");
        let is_strong = !matches!(consistency, Consistency::One | Consistency::LocalOne);
        let keys: Vec<Key> =
            self.rows.keys().copied().filter(|key| k.is_none_or(|k| key.0 == k) && covers(key.1)).collect();
        let floor = |key: &Key| (*key, if is_strong { self.rows[key].floor() } else { 0 });
        let floors = keys.iter().map(floor).collect();
        let pages = Pages { statement, consistency, page_size, rows: Vec::new() };
        let request = page_request(&pages, None);
        (Operation::Read { keys, floors, is_strong, pages }, request)
    }
}
