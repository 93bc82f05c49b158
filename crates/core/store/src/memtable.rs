//! What was written last, in memory, until it is flushed. Rows stay encoded, copied side by side into chunks, so that a
//! million rows are a few hundred allocations and not a million. A key that is written again keeps its patches side by side
//! and merges those of similar size, so that many small patches of one large row cost no rewriting of the large one each
//! time.

use crate::error::StoreError;
use crate::mutation::Mutation;
use crate::range::RangeSet;
use crate::row::Deletion;
use crate::row_codec::{decode_row, row_bytes};
use bytes::{Bytes, BytesMut};
use holon_wal::Lsn;
use smallvec::SmallVec;
use std::borrow::Borrow;
use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

/// Encoded patches of one key, to be merged.
pub type Patches = SmallVec<[Bytes; 2]>;

/// Memory of an entry beside its payload: key, slot, its share of a node, the counter of its bytes.
const ENTRY_BYTES: usize = 144;

/// Keys and rows are copied into chunks of this size …
const CHUNK_BYTES: usize = 128 << 10;
/// … unless they are larger than this: then they stay where they came.
const COPIED_BYTES_MAX: usize = 8 << 10;

/// A key with its first bytes at hand, so that most comparisons touch no other memory.
struct MemoryKey {
    head: u64,
    bytes: Bytes,
}

fn head(key: &[u8]) -> u64 {
    let mut head = [0u8; 8];
    let length = key.len().min(8);
    head[..length].copy_from_slice(&key[..length]);
    u64::from_be_bytes(head)
}

/// What a key and a borrowed key have in common.
trait KeyView {
    fn view(&self) -> (u64, &[u8]);
}

impl KeyView for MemoryKey {
    fn view(&self) -> (u64, &[u8]) {
        (self.head, &self.bytes)
    }
}

impl KeyView for (u64, &[u8]) {
    fn view(&self) -> (u64, &[u8]) {
        *self
    }
}

impl<'a> Borrow<dyn KeyView + 'a> for MemoryKey {
    fn borrow(&self) -> &(dyn KeyView + 'a) {
        self
    }
}

impl PartialEq for dyn KeyView + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.view() == other.view()
    }
}
impl Eq for dyn KeyView + '_ {}
impl PartialOrd for dyn KeyView + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for dyn KeyView + '_ {
    // The head ties where keys differ only beyond it or in trailing zeroes; the whole keys decide then.
    fn cmp(&self, other: &Self) -> Ordering {
        self.view().cmp(&other.view())
    }
}
impl PartialEq for MemoryKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}
impl Eq for MemoryKey {}
impl PartialOrd for MemoryKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for MemoryKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.view().cmp(&other.view())
    }
}

enum Slot {
    /// In a chunk, whose bytes were counted when it came and stay there with the chunk.
    First(Bytes),
    One(Bytes),
    /// Ever smaller towards the end.
    Many(Vec<Bytes>),
}

impl Slot {
    fn patches(&self) -> Patches {
        match self {
            Slot::First(row) | Slot::One(row) => SmallVec::from_iter([row.clone()]),
            Slot::Many(rows) => rows.iter().cloned().collect(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Slot::First(_) => 0,
            Slot::One(row) => row.len() + 48,
            Slot::Many(rows) => rows.iter().map(|row| row.len() + 48).sum(),
        }
    }

    fn add(&mut self, patch: Bytes) -> Result<(), StoreError> {
        let mut rows = match std::mem::replace(self, Slot::Many(Vec::new())) {
            Slot::First(row) | Slot::One(row) => vec![row],
            Slot::Many(rows) => rows,
        };
        let mut patch = patch;
        while let Some(last) = rows.last()
            && last.len() <= patch.len().saturating_mul(2)
        {
            let merged = decode_row(last)?.merge(decode_row(&patch)?);
            patch = row_bytes(&merged);
            rows.pop();
        }
        *self = if rows.is_empty() {
            Slot::One(patch)
        } else {
            rows.push(patch);
            Slot::Many(rows)
        };
        Ok(())
    }
}

pub struct Memtable {
    /// The chunk that is being filled.
    chunk: RefCell<BytesMut>,
    rows: RefCell<BTreeMap<MemoryKey, Slot>>,
    ranges: RefCell<RangeSet>,
    bytes: Cell<usize>,
    timestamp_min: Cell<i64>,
    lsn_first: Cell<Lsn>,
    lsn_last: Cell<Lsn>,
}

impl Memtable {
    pub fn new() -> Self {
        Memtable {
            chunk: RefCell::default(),
            rows: RefCell::default(),
            ranges: RefCell::default(),
            bytes: Cell::new(0),
            timestamp_min: Cell::new(i64::MAX),
            lsn_first: Cell::new(Lsn(u64::MAX)),
            lsn_last: Cell::new(Lsn(0)),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.lsn_last.get() == Lsn(0)
    }

    /// Keys in here.
    pub fn rows(&self) -> usize {
        self.rows.borrow().len()
    }

    /// Memory this takes (an estimate from above).
    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }

    pub fn timestamp_min(&self) -> i64 {
        self.timestamp_min.get()
    }

    /// The first record in here; larger than any if it is empty.
    pub fn lsn_first(&self) -> Lsn {
        self.lsn_first.get()
    }

    pub fn lsn_last(&self) -> Lsn {
        self.lsn_last.get()
    }

    /// Applies a mutation whole. Sequence numbers ascend.
    pub fn apply(&self, mutation: &Mutation, lsn: Lsn) -> Result<(), StoreError> {
        let mut rows = self.rows.borrow_mut();
        let mut bytes = self.bytes.get();
        for (key, row) in mutation.encoded_rows() {
            let probe = (head(key), key.as_ref());
            if let Some(slot) = rows.get_mut(&probe as &dyn KeyView) {
                let before = slot.bytes();
                slot.add(row.clone())?;
                bytes = (bytes + slot.bytes()).saturating_sub(before);
                continue;
            }
            bytes += key.len() + row.len() + ENTRY_BYTES;
            let (key, row) = self.keep(key, row);
            rows.insert(MemoryKey { head: head(&key), bytes: key }, Slot::First(row));
        }
        let mut ranges = self.ranges.borrow_mut();
        for range in mutation.ranges() {
            bytes += range.start.len() + range.end.len() + ranges.add(range.clone());
        }
        self.bytes.set(bytes);
        self.timestamp_min.set(self.timestamp_min.get().min(mutation.timestamp_min()));
        self.lsn_first.set(self.lsn_first.get().min(lsn));
        self.lsn_last.set(self.lsn_last.get().max(lsn));
        Ok(())
    }

    /// Copies a key and its row into the chunk.
    fn keep(&self, key: &Bytes, row: &Bytes) -> (Bytes, Bytes) {
        let length = key.len() + row.len();
        if length > COPIED_BYTES_MAX {
            return (key.clone(), row.clone());
        }
        let mut chunk = self.chunk.borrow_mut();
        if chunk.capacity() < length {
            *chunk = BytesMut::with_capacity(CHUNK_BYTES);
        }
        chunk.extend_from_slice(key);
        chunk.extend_from_slice(row);
        let mut both = chunk.split().freeze();
        let key = both.split_to(key.len());
        (key, both)
    }

    pub fn get(&self, key: &[u8]) -> Option<Patches> {
        let probe = (head(key), key);
        self.rows.borrow().get(&probe as &dyn KeyView).map(Slot::patches)
    }

    pub fn covering(&self, key: &[u8]) -> Option<Deletion> {
        let ranges = self.ranges.borrow();
        if ranges.is_empty() { None } else { ranges.covering(key) }
    }

    pub fn has_ranges(&self) -> bool {
        !self.ranges.borrow().is_empty()
    }

    pub fn ranges(&self) -> std::cell::Ref<'_, RangeSet> {
        self.ranges.borrow()
    }

    /// Whether a row or a deletion may lie in `[start, end]`.
    pub fn touches(&self, start: &[u8], end: &[u8]) -> bool {
        let rows = self.rows.borrow();
        let (from, to) = ((head(start), start), (head(end), end));
        let bounds = (Bound::Included(&from as &dyn KeyView), Bound::Included(&to as &dyn KeyView));
        let end_after = crate::read::key_after(end);
        rows.range::<dyn KeyView, _>(bounds).next().is_some()
            || self.ranges.borrow().overlapping(start, Some(&end_after)).next().is_some()
    }

    /// Up to `limit` entries of a range, ascending from its start or descending from its end.
    pub fn batch(&self, start: Bound<&[u8]>, end: Bound<&[u8]>, reverse: bool, limit: usize) -> Vec<(Bytes, Patches)> {
        let rows = self.rows.borrow();
        let (low, high) = (start.map(|key| (head(key), key)), end.map(|key| (head(key), key)));
        if let (Bound::Included(low) | Bound::Excluded(low), Bound::Included(high) | Bound::Excluded(high)) =
            (&low, &high)
        {
            let empty = low.1 > high.1
                || (low.1 == high.1 && !matches!((start, end), (Bound::Included(_), Bound::Included(_))));
            if empty {
                return Vec::new();
            }
        }
        fn erase<'a>(bound: &'a Bound<(u64, &'a [u8])>) -> Bound<&'a (dyn KeyView + 'a)> {
            match bound {
                Bound::Included(key) => Bound::Included(key as &dyn KeyView),
                Bound::Excluded(key) => Bound::Excluded(key as &dyn KeyView),
                Bound::Unbounded => Bound::Unbounded,
            }
        }
        let range = rows.range::<dyn KeyView, _>((erase(&low), erase(&high)));
        let entry = |(key, slot): (&MemoryKey, &Slot)| (key.bytes.clone(), slot.patches());
        if reverse { range.rev().take(limit).map(entry).collect() } else { range.take(limit).map(entry).collect() }
    }
}
