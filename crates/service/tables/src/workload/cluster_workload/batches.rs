//! Logged batches over two partitions: both parts are there at the end, or neither.

use super::{ClusterWorkload, KEYSPACE, Operation};
use holon_cql::request::{Batch as BatchMessage, BatchKind, BatchQuery, BatchStatement};
use holon_cql::{Consistency, Request};
use std::collections::BTreeSet;

impl ClusterWorkload {
    /// Writes two new rows of two partitions, which nothing else writes.
    pub(super) fn batch(&mut self, consistency: Consistency, timestamp: i64) -> (Operation, Request) {
        let number = self.batches.len();
        self.batches.push(false);
        self.count("batches");
        let insert = |id: usize| format!("INSERT INTO {KEYSPACE}.b (id, v) VALUES ({id}, {number})");
        let made = BatchMessage {
            queries: [2 * number, 2 * number + 1]
                .map(|id| BatchQuery { statement: BatchStatement::Text(insert(id)), values: Vec::new() })
                .to_vec(),
            kind: BatchKind::Logged,
            consistency,
            serial_consistency: None,
            timestamp_us: Some(timestamp),
            keyspace: None,
            now_in_seconds: None,
        };
        (Operation::Batch { number }, Request::Batch(made))
    }

    /// A node never comes back, or its files rot. It may have been the only one that knew of a batch which was not acknowledged, or of
    /// all of it.
    pub fn copies_lost(&mut self) {
        self.copies_were_lost = true;
    }

    /// Both parts or neither, and both if it was acknowledged.
    pub(super) fn compare_batches(&mut self, ids: &BTreeSet<i64>) -> Result<(), String> {
        self.count("batches compared");
        self.batches_compared = true;
        for (number, acknowledged) in self.batches.iter().enumerate() {
            let parts = [2 * number, 2 * number + 1].map(|id| ids.contains(&(id as i64)));
            let halved = parts[0] != parts[1] && !self.copies_were_lost;
            if halved || *acknowledged && parts != [true, true] {
                let what = if *acknowledged { "was acknowledged" } else { "was not acknowledged" };
                return Err(format!("batch {number} {what}, and of its two parts are there: {parts:?}"));
            }
        }
        Ok(())
    }
}
