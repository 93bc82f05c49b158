//! What a read asks for and what it gets.

use crate::range::RangeTombstone;
use crate::row::Row;
use bytes::Bytes;

/// `[start, end)`; `end` `None`: to the last key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    pub start: Bytes,
    pub end: Option<Bytes>,
}

impl KeyRange {
    pub fn all() -> Self {
        Self::default()
    }

    pub fn new(start: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        KeyRange { start: start.into(), end: Some(end.into()) }
    }

    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start = prefix.into();
        let end = crate::range::prefix_end(&start);
        KeyRange { start, end }
    }

    pub fn one(key: impl Into<Bytes>) -> Self {
        let start = key.into();
        let end = Some(key_after(&start));
        KeyRange { start, end }
    }

    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_ref() && self.end.as_ref().is_none_or(|end| key < end.as_ref())
    }
}

/// The smallest key greater than `key`.
pub fn key_after(key: &[u8]) -> Bytes {
    let mut after = Vec::with_capacity(key.len() + 1);
    after.extend_from_slice(key);
    after.push(0);
    after.into()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanOptions {
    /// Largest key first.
    pub reverse: bool,
    /// A page ends when it holds so many rows …
    pub rows_max: usize,
    /// … or so many encoded bytes …
    pub bytes_max: usize,
    /// … or so many rows were looked at, tombstones and all: a page may be short or empty and still have a rest.
    pub examined_max: usize,
    /// Seconds since the epoch: what expired by then is not seen.
    pub now_seconds: i64,
    /// Give deletions, tombstones and expired cells too, and the deleted ranges, for replicas to compare and repair.
    /// Rows are then merged but nothing is removed beyond what their own and the ranges' deletions cover.
    pub keep_tombstones: bool,
    /// Read for this partition only: lets bloom filters skip tables. The range must lie within one prefix.
    pub one_prefix: bool,
}

impl ScanOptions {
    pub fn new(now_seconds: i64) -> Self {
        ScanOptions {
            reverse: false,
            rows_max: 1000,
            bytes_max: 1 << 20,
            examined_max: 100_000,
            now_seconds,
            keep_tombstones: false,
            one_prefix: false,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order of the scan.
    pub rows: Vec<(Bytes, Row)>,
    /// The deleted ranges within what was scanned, cut to it, ascending; only with `keep_tombstones`.
    pub ranges: Vec<RangeTombstone>,
    /// What is left to scan; `None`: the range is finished.
    pub rest: Option<KeyRange>,
}
