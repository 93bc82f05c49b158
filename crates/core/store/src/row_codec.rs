//! The bytes of a row, version 1: the same in a mutation, in the log and in a sorted table, so that a row that was
//! written once and never changed is copied, not decoded, on its way down.
//!
//! ```text
//! row    = flags:u8 base:svarint [marker] [deletion] [columns] count:varint cell*
//! flags  = 1 marker | 2 marker expires | 4 deletion | 8 column deletions | 16 something here may be purged one day
//! marker = timestamp [ttl:varint expires:svarint]        timestamp = svarint, relative to base
//! deletion = timestamp local:svarint
//! columns = count:varint (column:varint deletion)*       strictly ascending
//! cell   = column:varint kind:u8 [timestamp] [path] [ttl:varint expires:svarint | local:svarint] [value]
//! kind   = 0 live, 1 expiring, 2 tombstone | 4 has a path | 8 has a timestamp (else base) | 16 has a value
//! ```
//!
//! Cells are strictly ascending by (column, path). The encoding is canonical: a row has one encoding only.

use crate::error::Malformed;
use crate::row::{Cell, CellEntry, CellKind, ColumnId, Deletion, Expiry, Liveness, Row};
use bytes::Bytes;
use holon_base::ByteWriter;

const MARKER: u8 = 1;
const MARKER_EXPIRES: u8 = 2;
const DELETION: u8 = 4;
const COLUMN_DELETIONS: u8 = 8;
const PURGEABLE: u8 = 16;

const KIND_MASK: u8 = 3;
const KIND_EXPIRING: u8 = 1;
const KIND_TOMBSTONE: u8 = 2;
const HAS_PATH: u8 = 4;
const HAS_TIMESTAMP: u8 = 8;
const HAS_VALUE: u8 = 16;

/// What a table needs to know about a row without keeping it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowSummary {
    pub timestamp_min: i64,
    pub timestamp_max: i64,
    /// Deletions and tombstones.
    pub tombstones: u64,
    /// The second from which on nothing in this row is live; `i64::MAX` if something lives for ever, `i64::MIN` if
    /// nothing here ever lived.
    pub live_until_seconds: i64,
    /// The latest local time of a deletion or tombstone; `i64::MIN` without one.
    pub deleted_last_seconds: i64,
}

impl Default for RowSummary {
    fn default() -> Self {
        RowSummary {
            timestamp_min: i64::MAX,
            timestamp_max: i64::MIN,
            tombstones: 0,
            live_until_seconds: i64::MIN,
            deleted_last_seconds: i64::MIN,
        }
    }
}

impl RowSummary {
    pub fn add(&mut self, other: &RowSummary) {
        self.timestamp_min = self.timestamp_min.min(other.timestamp_min);
        self.timestamp_max = self.timestamp_max.max(other.timestamp_max);
        self.tombstones += other.tombstones;
        self.live_until_seconds = self.live_until_seconds.max(other.live_until_seconds);
        self.deleted_last_seconds = self.deleted_last_seconds.max(other.deleted_last_seconds);
    }

    pub fn add_deletion(&mut self, deletion: &Deletion) {
        self.stamp(deletion.timestamp);
        self.tombstone(deletion.local_seconds);
    }

    fn tombstone(&mut self, local_seconds: i64) {
        self.tombstones += 1;
        self.deleted_last_seconds = self.deleted_last_seconds.max(local_seconds);
    }

    fn stamp(&mut self, timestamp: i64) {
        self.timestamp_min = self.timestamp_min.min(timestamp);
        self.timestamp_max = self.timestamp_max.max(timestamp);
    }

    fn lives(&mut self, expiry: Option<Expiry>) {
        let until = expiry.map_or(i64::MAX, |expiry| expiry.expires_at_seconds);
        self.live_until_seconds = self.live_until_seconds.max(until);
    }
}

pub fn encode_row(row: &Row, out: &mut ByteWriter) {
    let marker_time = row.marker.map(|marker| marker.timestamp);
    let base = marker_time.or(row.cells.first().map(|entry| entry.cell.timestamp));
    let base = base.or(row.deletion.map(|deletion| deletion.timestamp)).unwrap_or(0);
    let purgeable = row.deletion.is_some()
        || !row.column_deletions.is_empty()
        || row.marker.is_some_and(|marker| marker.expiry.is_some())
        || row.cells.iter().any(|entry| entry.cell.kind != CellKind::Live);
    let flags = [
        (row.marker.is_some(), MARKER),
        (row.marker.is_some_and(|marker| marker.expiry.is_some()), MARKER_EXPIRES),
        (row.deletion.is_some(), DELETION),
        (!row.column_deletions.is_empty(), COLUMN_DELETIONS),
        (purgeable, PURGEABLE),
    ];
    out.put_u8(flags.iter().fold(0, |all, (set, flag)| if *set { all | flag } else { all }));
    out.put_signed_varint(base);
    if let Some(marker) = row.marker {
        out.put_signed_varint(marker.timestamp.wrapping_sub(base));
        if let Some(expiry) = marker.expiry {
            put_expiry(expiry, out);
        }
    }
    if let Some(deletion) = row.deletion {
        put_deletion(deletion, base, out);
    }
    if !row.column_deletions.is_empty() {
        out.put_varint(row.column_deletions.len() as u64);
        for (column, deletion) in &row.column_deletions {
            out.put_varint(u64::from(*column));
            put_deletion(*deletion, base, out);
        }
    }
    out.put_varint(row.cells.len() as u64);
    for entry in &row.cells {
        put_cell(entry, base, out);
    }
}

fn put_expiry(expiry: Expiry, out: &mut ByteWriter) {
    out.put_varint(u64::from(expiry.ttl_seconds));
    out.put_signed_varint(expiry.expires_at_seconds);
}

fn put_deletion(deletion: Deletion, base: i64, out: &mut ByteWriter) {
    out.put_signed_varint(deletion.timestamp.wrapping_sub(base));
    out.put_signed_varint(deletion.local_seconds);
}

fn put_cell(entry: &CellEntry, base: i64, out: &mut ByteWriter) {
    let cell = &entry.cell;
    let kind = match cell.kind {
        CellKind::Live => 0,
        CellKind::Expiring(_) => KIND_EXPIRING,
        CellKind::Tombstone { .. } => KIND_TOMBSTONE,
    };
    let has_value = !cell.value.is_empty() && kind != KIND_TOMBSTONE;
    let flags = [(!entry.path.is_empty(), HAS_PATH), (cell.timestamp != base, HAS_TIMESTAMP), (has_value, HAS_VALUE)];
    out.put_varint(u64::from(entry.column));
    out.put_u8(flags.iter().fold(kind, |all, (set, flag)| if *set { all | flag } else { all }));
    if cell.timestamp != base {
        out.put_signed_varint(cell.timestamp.wrapping_sub(base));
    }
    if !entry.path.is_empty() {
        out.put_prefixed(&entry.path);
    }
    match cell.kind {
        CellKind::Live => {}
        CellKind::Expiring(expiry) => put_expiry(expiry, out),
        CellKind::Tombstone { local_seconds } => out.put_signed_varint(local_seconds),
    }
    if has_value {
        out.put_prefixed(&cell.value);
    }
}

pub fn row_bytes(row: &Row) -> Bytes {
    let mut out = ByteWriter::with_capacity(64);
    encode_row(row, &mut out);
    out.freeze()
}

/// Whether anything in an encoded row may be purged one day (a deletion, a tombstone, something that expires). If not,
/// a compaction that finds this one version only copies it.
pub fn is_purgeable(row: &[u8]) -> bool {
    row.first().is_none_or(|flags| flags & PURGEABLE != 0)
}

/// Decodes a row that fills `bytes`; values and paths share their memory.
pub fn decode_row(bytes: &Bytes) -> Result<Row, Malformed> {
    let mut row = Row::default();
    walk_row(bytes, &mut row)?;
    Ok(row)
}

/// Checks the encoding and says what is in it, without taking memory.
pub fn summarize_row(bytes: &Bytes) -> Result<RowSummary, Malformed> {
    let mut summary = RowSummary::default();
    walk_row(bytes, &mut summary)?;
    Ok(summary)
}

trait RowVisitor {
    const NEEDS_BYTES: bool;
    fn marker(&mut self, marker: Liveness);
    fn deletion(&mut self, deletion: Deletion);
    fn column_deletion(&mut self, column: ColumnId, deletion: Deletion);
    fn cells(&mut self, count: usize);
    fn cell(&mut self, entry: CellEntry);
}

impl RowVisitor for Row {
    const NEEDS_BYTES: bool = true;
    fn marker(&mut self, marker: Liveness) {
        self.marker = Some(marker);
    }
    fn deletion(&mut self, deletion: Deletion) {
        self.deletion = Some(deletion);
    }
    fn column_deletion(&mut self, column: ColumnId, deletion: Deletion) {
        self.column_deletions.push((column, deletion));
    }
    fn cells(&mut self, count: usize) {
        self.cells.reserve_exact(count);
    }
    fn cell(&mut self, entry: CellEntry) {
        self.cells.push(entry);
    }
}

impl RowVisitor for RowSummary {
    const NEEDS_BYTES: bool = false;
    fn marker(&mut self, marker: Liveness) {
        self.stamp(marker.timestamp);
        self.lives(marker.expiry);
    }
    fn deletion(&mut self, deletion: Deletion) {
        self.add_deletion(&deletion);
    }
    fn column_deletion(&mut self, _: ColumnId, deletion: Deletion) {
        self.add_deletion(&deletion);
    }
    fn cells(&mut self, _: usize) {}
    fn cell(&mut self, entry: CellEntry) {
        match entry.cell.kind {
            CellKind::Live => self.lives(None),
            CellKind::Expiring(expiry) => self.lives(Some(expiry)),
            CellKind::Tombstone { local_seconds } => self.tombstone(local_seconds),
        }
        self.stamp(entry.cell.timestamp);
    }
}

fn walk_row<V: RowVisitor>(bytes: &Bytes, visitor: &mut V) -> Result<(), Malformed> {
    let mut cursor = Cursor { bytes, at: 0 };
    let flags = cursor.u8()?;
    if flags & !(MARKER | MARKER_EXPIRES | DELETION | COLUMN_DELETIONS | PURGEABLE) != 0 {
        return Err(Malformed::new(0, "unknown row flags"));
    }
    let base = cursor.signed()?;
    let mut purgeable = false;
    if flags & MARKER != 0 {
        let timestamp = base.wrapping_add(cursor.signed()?);
        let expiry = if flags & MARKER_EXPIRES != 0 { Some(cursor.expiry()?) } else { None };
        purgeable |= expiry.is_some();
        visitor.marker(Liveness { timestamp, expiry });
    }
    if flags & DELETION != 0 {
        purgeable = true;
        visitor.deletion(cursor.deletion(base)?);
    }
    if flags & COLUMN_DELETIONS != 0 {
        purgeable = true;
        let mut previous = None;
        for _ in 0..cursor.count()? {
            let at = cursor.at;
            let column = cursor.column()?;
            if previous.is_some_and(|previous| previous >= column) {
                return Err(Malformed::new(at, "column deletions are out of order"));
            }
            previous = Some(column);
            let deletion = cursor.deletion(base)?;
            visitor.column_deletion(column, deletion);
        }
    }
    let count = cursor.count()?;
    visitor.cells(count.min(bytes.len() / 2));
    let mut previous: (ColumnId, &[u8]) = (0, &[]);
    for index in 0..count {
        let at = cursor.at;
        let (entry, path) = cursor.cell::<V>(base)?;
        if index > 0 && previous >= (entry.column, path) {
            return Err(Malformed::new(at, "cells are out of order"));
        }
        previous = (entry.column, path);
        purgeable |= entry.cell.kind != CellKind::Live;
        visitor.cell(entry);
    }
    if purgeable != (flags & PURGEABLE != 0) {
        return Err(Malformed::new(0, "row flags contradict the row"));
    }
    if cursor.at != bytes.len() { Err(Malformed::new(cursor.at, "bytes after the end of a row")) } else { Ok(()) }
}

/// A borrowing cursor: decoding a row is the hot path of every read, and slices of [`Bytes`] cost a counter each.
struct Cursor<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn u8(&mut self) -> Result<u8, Malformed> {
        let byte = *self.bytes.get(self.at).ok_or(Malformed::new(self.at, "the row is cut off"))?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::new(start, "a number is too long"))
    }

    fn signed(&mut self) -> Result<i64, Malformed> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn count(&mut self) -> Result<usize, Malformed> {
        let at = self.at;
        match usize::try_from(self.varint()?) {
            Ok(count) if count <= self.bytes.len() - self.at => Ok(count),
            _ => Err(Malformed::new(at, "a count is larger than the row")),
        }
    }

    fn column(&mut self) -> Result<ColumnId, Malformed> {
        let at = self.at;
        ColumnId::try_from(self.varint()?).map_err(|_| Malformed::new(at, "a column id is too large"))
    }

    fn expiry(&mut self) -> Result<Expiry, Malformed> {
        let at = self.at;
        let ttl_seconds = u32::try_from(self.varint()?).map_err(|_| Malformed::new(at, "a ttl is too large"))?;
        Ok(Expiry { ttl_seconds, expires_at_seconds: self.signed()? })
    }

    fn deletion(&mut self, base: i64) -> Result<Deletion, Malformed> {
        Ok(Deletion { timestamp: base.wrapping_add(self.signed()?), local_seconds: self.signed()? })
    }

    /// Where a length-prefixed slice lies.
    fn slice(&mut self) -> Result<(usize, usize), Malformed> {
        let length = self.count()?;
        let start = self.at;
        self.at += length;
        Ok((start, self.at))
    }

    fn cell<V: RowVisitor>(&mut self, base: i64) -> Result<(CellEntry, &'a [u8]), Malformed> {
        let column = self.column()?;
        let at = self.at;
        let flags = self.u8()?;
        if flags & !(KIND_MASK | HAS_PATH | HAS_TIMESTAMP | HAS_VALUE) != 0 {
            return Err(Malformed::new(at, "unknown cell flags"));
        }
        let delta = if flags & HAS_TIMESTAMP != 0 { self.signed()? } else { 0 };
        let path = if flags & HAS_PATH != 0 { self.slice()? } else { (0, 0) };
        let kind = match flags & KIND_MASK {
            0 => CellKind::Live,
            KIND_EXPIRING => CellKind::Expiring(self.expiry()?),
            KIND_TOMBSTONE => CellKind::Tombstone { local_seconds: self.signed()? },
            _ => return Err(Malformed::new(at, "unknown kind of cell")),
        };
        let value = if flags & HAS_VALUE != 0 { self.slice()? } else { (0, 0) };
        let empty_but_flagged = (flags & HAS_PATH != 0 && path.0 == path.1)
            || (flags & HAS_VALUE != 0 && value.0 == value.1)
            || (flags & HAS_TIMESTAMP != 0 && delta == 0);
        if empty_but_flagged || (flags & HAS_VALUE != 0 && flags & KIND_MASK == KIND_TOMBSTONE) {
            return Err(Malformed::new(at, "a cell is not in its canonical form"));
        }
        let owned = |(start, end): (usize, usize)| {
            if V::NEEDS_BYTES && start < end { self.bytes.slice(start..end) } else { Bytes::new() }
        };
        let cell = Cell { timestamp: base.wrapping_add(delta), kind, value: owned(value) };
        Ok((CellEntry { column, path: owned(path), cell }, &self.bytes[path.0..path.1]))
    }
}
