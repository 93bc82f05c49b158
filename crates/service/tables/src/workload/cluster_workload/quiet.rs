//! Rows that are written once, some of them deleted once, and read by nobody until the end: then each node shows them at ONE,
//! without a read before that could have made replicas equal. Only hints and comparisons of replicas have seen to it, and deletions
//! that were forgotten meanwhile must not be missed.

use super::{ClusterWorkload, KEYSPACE, Operation, Pages, page_request};
use holon_base::{Random, Wall};
use holon_cql::request::{Query, QueryParameters};
use holon_cql::{Consistency, Request};
use std::collections::BTreeSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Unknown,
    Acknowledged,
    /// Certainly nothing was written.
    NotDone,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quiet {
    inserted: Fate,
    deleted: Option<Fate>,
}

pub(super) fn setup(keyspace: &str) -> String {
    format!("CREATE TABLE IF NOT EXISTS {keyspace}.q (id int PRIMARY KEY, v int) WITH gc_grace_seconds = 3")
}

impl ClusterWorkload {
    pub(super) fn quiet_write(&mut self, random: &mut Random, wall: Wall) -> (Operation, Request) {
        let is_candidate = |row: &Quiet| row.inserted == Fate::Acknowledged && row.deleted.is_none();
        let chosen = random.below(self.quiet.len().max(1) as u64) as usize;
        let deletes = random.chance(1, 2) && self.quiet.get(chosen).is_some_and(is_candidate);
        let (id, statement) = if deletes {
            self.count("quiet rows deleted");
            self.quiet[chosen].deleted = Some(Fate::Unknown);
            (chosen, format!("DELETE FROM {KEYSPACE}.q WHERE id = {chosen}"))
        } else {
            let id = self.quiet.len();
            self.quiet.push(Quiet { inserted: Fate::Unknown, deleted: None });
            (id, format!("INSERT INTO {KEYSPACE}.q (id, v) VALUES ({id}, {id})"))
        };
        let timestamp = self.timestamp(wall);
        let parameters = QueryParameters { timestamp_us: Some(timestamp), ..QueryParameters::new(Consistency::Quorum) };
        (Operation::Quiet { id, deletes }, Request::Query(Query { statement, parameters }))
    }

    pub(super) fn quiet_ended(&mut self, id: usize, deletes: bool, fate: Fate) {
        let row = &mut self.quiet[id];
        if deletes {
            row.deleted = Some(fate);
        } else {
            row.inserted = fate;
        }
    }

    pub(super) fn read_quiet(&self) -> (Operation, Request) {
        let statement = format!("SELECT id, v FROM {KEYSPACE}.q");
        let pages = Pages { statement, consistency: Consistency::One, page_size: Some(1000), rows: Vec::new() };
        let request = page_request(&pages, None);
        (Operation::ReadQuiet { pages }, request)
    }

    /// What one node shows at the end, at ONE.
    pub(super) fn compare_quiet(&mut self, number: usize, shown: BTreeSet<i64>) -> Result<(), String> {
        self.count("quiet rows compared");
        for (id, row) in self.quiet.iter().enumerate() {
            let is_there = shown.contains(&(id as i64));
            let must = match (row.inserted, row.deleted) {
                (_, Some(Fate::Acknowledged)) | (Fate::NotDone, _) => Some(false),
                (Fate::Acknowledged, None | Some(Fate::NotDone)) => Some(true),
                _ => None,
            };
            if must.is_some_and(|must| must != is_there) {
                let shows = if is_there { "shows" } else { "does not show" };
                return Err(format!("connection {number} {shows} row {id} of q, of which is known: {row:?}"));
            }
        }
        match &self.quiet_shown {
            None => self.quiet_shown = Some(shown),
            Some(before) if *before != shown => {
                let differ: Vec<&i64> = before.symmetric_difference(&shown).collect();
                return Err(format!("connection {number} shows other rows of q than one before: {differ:?}"));
            }
            Some(_) => {}
        }
        Ok(())
    }
}
