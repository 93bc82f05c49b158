//! What a compaction may forget. A deletion is forgotten only when
//!
//! 1. the owner allows it (the replicas are repaired, and it is old enough), and
//! 2. nothing that it covers may still be around on this shard outside of the compaction, in a table or a memtable.
//!
//! What is still in the log needs no look: what is above the flushed mark is in a memtable, what is below it is never
//! replayed. (A purge that ignored either would let deleted data come back.)

use crate::bloom;
use crate::options::PurgePolicy;
use crate::plant;
use crate::range::RangeTombstone;
use crate::row::{CellKind, Deletion, Row};
use crate::table::Table;
use crate::tree::Tree;
use bytes::Bytes;
use std::rc::Rc;

/// How long after its expiry a cell keeps its value, seconds: longer than a read takes, pages and all, because a read
/// that began before the expiry still shows it.
const EXPIRED_VALUE_KEPT_SECONDS: i64 = 600;

pub struct Purge<'a> {
    pub tree: &'a Tree,
    /// The tables that are being merged.
    pub inputs: &'a [Rc<Table>],
    pub policy: PurgePolicy,
    pub now_seconds: i64,
}

impl Purge<'_> {
    fn allows(&self, local_seconds: i64) -> bool {
        self.policy.allows(local_seconds) || plant::drop_tombstone_early()
    }

    fn outside(&self) -> impl Iterator<Item = Rc<Table>> {
        let version = self.tree.version();
        let tables: Vec<Rc<Table>> = version.tables().cloned().collect();
        let inputs: Vec<Rc<Table>> = self.inputs.to_vec();
        tables.into_iter().filter(move |table| !inputs.iter().any(|input| Rc::ptr_eq(input, table)))
    }

    /// The earliest timestamp that anything about this key may have outside.
    fn oldest_outside(&self, key: &[u8]) -> i64 {
        if plant::drop_tombstone_early() {
            return i64::MAX;
        }
        let hash = bloom::key_hash(key);
        let concerns = |table: &Rc<Table>| table.properties().spans(key) && table.may_contain(hash);
        let tables = self.outside().filter(concerns).map(|table| table.properties().timestamp_min);
        let memtables = self.tree.memtables();
        let memory = memtables.iter().filter(|memtable| memtable.get(key).is_some()).map(|found| found.timestamp_min());
        tables.chain(memory).min().unwrap_or(i64::MAX)
    }

    /// The same for all keys of `[start, end]`.
    fn oldest_outside_range(&self, start: &[u8], end: &[u8]) -> i64 {
        if plant::drop_tombstone_early() {
            return i64::MAX;
        }
        let concerns =
            |table: &Rc<Table>| table.properties().last.as_ref() >= start && table.properties().first.as_ref() <= end;
        let tables = self.outside().filter(concerns).map(|table| table.properties().timestamp_min);
        let memtables = self.tree.memtables();
        let memory =
            memtables.iter().filter(|memtable| memtable.touches(start, end)).map(|found| found.timestamp_min());
        tables.chain(memory).min().unwrap_or(i64::MAX)
    }

    /// Forgets what may be forgotten of a merged row, and the values of what has expired. How many tombstones went.
    pub fn row(&self, key: &[u8], row: &mut Row) -> u64 {
        let mut oldest = None;
        let mut purged = 0;
        let mut gone = |timestamp: i64, local_seconds: i64| {
            let gone =
                self.allows(local_seconds) && timestamp < *oldest.get_or_insert_with(|| self.oldest_outside(key));
            purged += u64::from(gone);
            gone
        };
        if row.deletion.is_some_and(|deletion| gone(deletion.timestamp, deletion.local_seconds)) {
            row.deletion = None;
        }
        row.column_deletions.retain(|(_, deletion)| !gone(deletion.timestamp, deletion.local_seconds));
        if let Some(marker) = row.marker
            && let Some(expiry) = marker.expiry
            && expiry.is_past(self.now_seconds)
            && gone(marker.timestamp, expiry.expires_at_seconds)
        {
            row.marker = None;
        }
        row.cells.retain_mut(|entry| match entry.cell.kind {
            CellKind::Live => true,
            CellKind::Tombstone { local_seconds } => !gone(entry.cell.timestamp, local_seconds),
            CellKind::Expiring(expiry) if expiry.is_past(self.now_seconds) => {
                if self.now_seconds.saturating_sub(expiry.expires_at_seconds) > EXPIRED_VALUE_KEPT_SECONDS {
                    entry.cell.value = Bytes::new();
                }
                !gone(entry.cell.timestamp, expiry.expires_at_seconds)
            }
            CellKind::Expiring(_) => true,
        });
        purged
    }

    /// Whether the deletion of a range may be forgotten.
    pub fn range(&self, range: &RangeTombstone) -> bool {
        let Deletion { timestamp, local_seconds } = range.deletion;
        self.allows(local_seconds) && timestamp < self.oldest_outside_range(&range.start, &range.end)
    }

    /// Whether nothing in a table is live any more and all of it may be forgotten.
    pub fn whole_table(&self, table: &Table) -> bool {
        let properties = table.properties();
        let dead = properties.live_until_seconds <= self.now_seconds
            && (properties.live_until_seconds == i64::MIN || self.policy.allows(properties.live_until_seconds));
        dead && self.all_tombstones(table)
    }

    /// Whether every tombstone of a table may be forgotten.
    pub fn all_tombstones(&self, table: &Table) -> bool {
        let properties = table.properties();
        let allowed = properties.tombstones == 0 || self.policy.allows(properties.deleted_last_seconds);
        let oldest = || self.oldest_outside_range(&properties.first, &properties.last);
        allowed && self.policy.repaired && properties.timestamp_max < oldest()
    }
}
