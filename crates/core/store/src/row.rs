//! Rows and their merging. A row is what one key holds: a marker (it was inserted), a deletion, deletions of whole
//! columns (a collection was overwritten) and cells. A patch is a row that changes another by being merged with it:
//! merging is commutative, associative and idempotent, so copies of the same patches in any order give the same row.
//!
//! Rules (those of Cassandra): the later timestamp wins; at equal timestamps, decided cell by cell, a tombstone or an
//! expiring cell beats a live one, a tombstone beats an expiring one, then the later local deletion time, then the
//! larger value. A deletion covers timestamps up to and including its own. An expiring cell past its expiry reads as a
//! tombstone whose local deletion time is the expiry; it is *not* rewritten into one, since that would change how it
//! merges.

use bytes::Bytes;
use std::cmp::Ordering;

/// A column, as the owner numbers them. Order of ids is the order of cells in a row.
pub type ColumnId = u32;

/// Something was deleted: everything with a timestamp up to this one. Ordered by timestamp, then local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deletion {
    /// Microseconds, as writes are stamped.
    pub timestamp: i64,
    /// Seconds since the epoch on the clock of whoever deleted: from when on it may be purged one day.
    pub local_seconds: i64,
}

impl Deletion {
    pub fn covers(&self, timestamp: i64) -> bool {
        timestamp <= self.timestamp
    }

    pub fn later(a: Option<Deletion>, b: Option<Deletion>) -> Option<Deletion> {
        a.max(b)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Expiry {
    pub ttl_seconds: u32,
    /// Seconds since the epoch; gone when `now_seconds >= expires_at_seconds`.
    pub expires_at_seconds: i64,
}

impl Expiry {
    pub fn is_past(&self, now_seconds: i64) -> bool {
        now_seconds >= self.expires_at_seconds
    }
}

/// The row marker: an INSERT happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Liveness {
    pub timestamp: i64,
    pub expiry: Option<Expiry>,
}

impl Liveness {
    pub fn is_live(&self, now_seconds: i64) -> bool {
        self.expiry.is_none_or(|expiry| !expiry.is_past(now_seconds))
    }

    fn rank(&self) -> (i64, Option<(i64, u32)>) {
        (self.timestamp, self.expiry.map(|expiry| (expiry.expires_at_seconds, expiry.ttl_seconds)))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CellKind {
    Live,
    Expiring(Expiry),
    Tombstone { local_seconds: i64 },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cell {
    /// Microseconds.
    pub timestamp: i64,
    pub kind: CellKind,
    /// Empty for a tombstone.
    pub value: Bytes,
}

impl Cell {
    pub fn live(timestamp: i64, value: impl Into<Bytes>) -> Self {
        Cell { timestamp, kind: CellKind::Live, value: value.into() }
    }

    pub fn expiring(timestamp: i64, ttl_seconds: u32, expires_at_seconds: i64, value: impl Into<Bytes>) -> Self {
        let kind = CellKind::Expiring(Expiry { ttl_seconds, expires_at_seconds });
        Cell { timestamp, kind, value: value.into() }
    }

    pub fn tombstone(timestamp: i64, local_seconds: i64) -> Self {
        Cell { timestamp, kind: CellKind::Tombstone { local_seconds }, value: Bytes::new() }
    }

    pub fn is_live(&self, now_seconds: i64) -> bool {
        match self.kind {
            CellKind::Live => true,
            CellKind::Expiring(expiry) => !expiry.is_past(now_seconds),
            CellKind::Tombstone { .. } => false,
        }
    }

    /// Whether this cell replaces `other`. A total order: of two different cells exactly one supersedes the other.
    pub fn supersedes(&self, other: &Cell) -> bool {
        self.compare(other) == Ordering::Greater
    }

    fn compare(&self, other: &Cell) -> Ordering {
        // Rank of kinds, then the local deletion time of those that have one; values come after.
        fn rank(kind: &CellKind) -> (u8, i64) {
            match kind {
                CellKind::Live => (0, 0),
                CellKind::Expiring(expiry) => (1, expiry.expires_at_seconds),
                CellKind::Tombstone { local_seconds } => (2, *local_seconds),
            }
        }
        fn ttl(kind: &CellKind) -> u32 {
            if let CellKind::Expiring(expiry) = kind { expiry.ttl_seconds } else { 0 }
        }
        self.timestamp
            .cmp(&other.timestamp)
            .then_with(|| rank(&self.kind).cmp(&rank(&other.kind)))
            .then_with(|| self.value.cmp(&other.value))
            // Cassandra leaves this case to chance (the values are equal); any fixed rule converges.
            .then_with(|| ttl(&self.kind).cmp(&ttl(&other.kind)))
    }
}

/// A cell with its place: the column, and for an element of a collection its key within it (empty for a simple column).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CellEntry {
    pub column: ColumnId,
    pub path: Bytes,
    pub cell: Cell,
}

impl CellEntry {
    pub fn new(column: ColumnId, cell: Cell) -> Self {
        CellEntry { column, path: Bytes::new(), cell }
    }

    pub fn element(column: ColumnId, path: impl Into<Bytes>, cell: Cell) -> Self {
        CellEntry { column, path: path.into(), cell }
    }

    fn place(&self) -> (ColumnId, &[u8]) {
        (self.column, &self.path)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub marker: Option<Liveness>,
    pub deletion: Option<Deletion>,
    /// One per column at most, by column: all elements of the column up to the timestamp are gone.
    pub column_deletions: Vec<(ColumnId, Deletion)>,
    /// By column, then path; each place once.
    pub cells: Vec<CellEntry>,
}

/// A row that is merged into what is there.
pub type RowPatch = Row;

impl Row {
    pub fn is_empty(&self) -> bool {
        self.marker.is_none() && self.deletion.is_none() && self.column_deletions.is_empty() && self.cells.is_empty()
    }

    /// Bytes of its values and paths.
    pub fn value_bytes(&self) -> usize {
        self.cells.iter().map(|entry| entry.path.len() + entry.cell.value.len()).sum()
    }

    /// The latest timestamp of anything in it, deletions too; `None` if it is empty.
    pub fn latest_timestamp(&self) -> Option<i64> {
        let marker = self.marker.map(|marker| marker.timestamp);
        let deletion = self.deletion.map(|deletion| deletion.timestamp);
        let columns = self.column_deletions.iter().map(|(_, deletion)| deletion.timestamp);
        let cells = self.cells.iter().map(|entry| entry.cell.timestamp);
        marker.into_iter().chain(deletion).chain(columns).chain(cells).max()
    }

    /// Adds one more write to this row, wherever its place is.
    pub fn put(&mut self, entry: CellEntry) {
        match self.cells.binary_search_by(|probe| probe.place().cmp(&entry.place())) {
            Ok(at) => {
                if entry.cell.supersedes(&self.cells[at].cell) {
                    self.cells[at] = entry;
                }
            }
            Err(at) => self.cells.insert(at, entry),
        }
    }

    /// Overwrites or deletes a whole collection.
    pub fn delete_column(&mut self, column: ColumnId, deletion: Deletion) {
        match self.column_deletions.binary_search_by_key(&column, |(column, _)| *column) {
            Ok(at) => self.column_deletions[at].1 = self.column_deletions[at].1.max(deletion),
            Err(at) => self.column_deletions.insert(at, (column, deletion)),
        }
    }

    /// The cell of a simple column.
    pub fn cell(&self, column: ColumnId) -> Option<&Cell> {
        let found = self.cells.binary_search_by(|probe| probe.place().cmp(&(column, &[])));
        found.ok().map(|at| &self.cells[at].cell)
    }

    /// The elements of a collection column, by path.
    pub fn elements(&self, column: ColumnId) -> &[CellEntry] {
        let start = self.cells.partition_point(|entry| entry.column < column);
        let end = self.cells.partition_point(|entry| entry.column <= column);
        &self.cells[start..end]
    }

    /// Merges two rows of one key.
    pub fn merge(self, other: Row) -> Row {
        let mut merged = Row {
            marker: match (self.marker, other.marker) {
                (Some(a), Some(b)) => Some(if b.rank() > a.rank() { b } else { a }),
                (a, b) => a.or(b),
            },
            deletion: Deletion::later(self.deletion, other.deletion),
            column_deletions: merge_column_deletions(self.column_deletions, other.column_deletions),
            cells: merge_cells(self.cells, other.cells),
        };
        merged.drop_covered(None);
        merged
    }

    /// Removes what the row's own deletions or `range` (the deletion of a range it lies in) cover. What remains of the
    /// row says the same to every later merge as long as the covering deletions stay beside it.
    pub fn drop_covered(&mut self, range: Option<Deletion>) {
        if let (Some(own), Some(range)) = (self.deletion, range)
            && range >= own
        {
            self.deletion = None;
        }
        let row_deletion = Deletion::later(self.deletion, range);
        if let Some(deletion) = row_deletion {
            if self.marker.is_some_and(|marker| deletion.covers(marker.timestamp)) {
                self.marker = None;
            }
            self.column_deletions.retain(|(_, own)| !deletion.covers(own.timestamp));
        }
        if row_deletion.is_none() && self.column_deletions.is_empty() {
            return;
        }
        let columns = std::mem::take(&mut self.column_deletions);
        self.cells.retain(|entry| {
            let timestamp = entry.cell.timestamp;
            let column = columns.binary_search_by_key(&entry.column, |(column, _)| *column);
            !row_deletion.is_some_and(|deletion| deletion.covers(timestamp))
                && !column.is_ok_and(|at| columns[at].1.covers(timestamp))
        });
        self.column_deletions = columns;
    }

    /// What a reader sees at `now_seconds`: live cells and a live marker only; `None` if there is neither.
    pub fn visible(mut self, range: Option<Deletion>, now_seconds: i64) -> Option<Row> {
        self.drop_covered(range);
        self.deletion = None;
        self.column_deletions = Vec::new();
        self.marker = self.marker.filter(|marker| marker.is_live(now_seconds));
        if !self.cells.iter().all(|entry| entry.cell.is_live(now_seconds)) {
            self.cells.retain(|entry| entry.cell.is_live(now_seconds));
        }
        (self.marker.is_some() || !self.cells.is_empty()).then_some(self)
    }
}

fn merge_column_deletions(a: Vec<(ColumnId, Deletion)>, b: Vec<(ColumnId, Deletion)>) -> Vec<(ColumnId, Deletion)> {
    if a.is_empty() || b.is_empty() {
        return if a.is_empty() { b } else { a };
    }
    let mut merged: Vec<(ColumnId, Deletion)> = a.into_iter().chain(b).collect();
    merged.sort_unstable();
    // Sorted by column, then deletion: of each column the last is the latest.
    merged.reverse();
    merged.dedup_by_key(|(column, _)| *column);
    merged.reverse();
    merged
}

fn merge_cells(a: Vec<CellEntry>, b: Vec<CellEntry>) -> Vec<CellEntry> {
    if a.is_empty() || b.is_empty() {
        return if a.is_empty() { b } else { a };
    }
    let mut merged = Vec::with_capacity(a.len().max(b.len()));
    let (mut left, mut right) = (a.into_iter().peekable(), b.into_iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (Some(l), Some(r)) => l.place().cmp(&r.place()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return merged,
        };
        match order {
            Ordering::Less => merged.extend(left.next()),
            Ordering::Greater => merged.extend(right.next()),
            Ordering::Equal => {
                if let (Some(l), Some(r)) = (left.next(), right.next()) {
                    merged.push(if r.cell.supersedes(&l.cell) { r } else { l });
                }
            }
        }
    }
}
