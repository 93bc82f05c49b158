//! A mutation: patches of rows and deletions of ranges in one tablet, applied whole or not at all. Its bytes are made
//! once (by the coordinator) and are the same in the envelope, in the log and, row by row, in the tables.
//!
//! ```text
//! mutation = version:u8 (1) rows:varint (key:prefixed row:prefixed)* ranges:varint range*
//! range    = start:prefixed end:prefixed timestamp:svarint local:svarint
//! ```

use crate::error::{Malformed, StoreError};
use crate::limits::{KEY_BYTES_MAX, MUTATION_BYTES_MAX};
use crate::range::RangeTombstone;
use crate::row::RowPatch;
use crate::row_codec::{RowSummary, decode_row, encode_row, summarize_row};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter};
use smallvec::SmallVec;

const MUTATION_VERSION: u8 = 1;

/// A checked mutation. Cheap to clone; keys and rows share the memory of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    bytes: Bytes,
    /// Key and encoded row.
    rows: SmallVec<[(Bytes, Bytes); 1]>,
    ranges: Vec<RangeTombstone>,
    timestamp_min: i64,
}

impl Mutation {
    /// A mutation of one row.
    pub fn row(key: impl AsRef<[u8]>, patch: &RowPatch) -> Result<Mutation, StoreError> {
        let mut builder = MutationBuilder::default();
        builder.row(key, patch);
        builder.finish()
    }

    /// Reads and checks what [`Mutation::bytes`] gave elsewhere.
    ///
    /// # Errors
    /// [`StoreError::Malformed`], [`StoreError::TooLarge`].
    pub fn decode(bytes: Bytes) -> Result<Mutation, StoreError> {
        check_size("a mutation", bytes.len(), MUTATION_BYTES_MAX)?;
        let mut reader = ByteReader::new(bytes.clone());
        if reader.u8().map_err(Malformed::from)? != MUTATION_VERSION {
            return Err(Malformed::new(0, "unknown mutation version").into());
        }
        let mut summary = RowSummary::default();
        let rows = read_rows(&mut reader, &mut summary)?;
        let ranges = read_ranges(&mut reader)?;
        for range in &ranges {
            summary.add_deletion(&range.deletion);
        }
        reader.end().map_err(|short| Malformed::new(short.offset, "bytes after the end of a mutation"))?;
        Ok(Mutation { bytes, rows, ranges, timestamp_min: summary.timestamp_min })
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Keys with their encoded patches, in the order given.
    pub fn encoded_rows(&self) -> &[(Bytes, Bytes)] {
        &self.rows
    }

    /// Keys with their patches, decoded.
    pub fn rows(&self) -> Result<Vec<(Bytes, RowPatch)>, StoreError> {
        self.rows.iter().map(|(key, row)| Ok((key.clone(), decode_row(row)?))).collect()
    }

    /// The earliest timestamp in it; `i64::MAX` if it is empty.
    pub fn timestamp_min(&self) -> i64 {
        self.timestamp_min
    }

    pub fn ranges(&self) -> &[RangeTombstone] {
        &self.ranges
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.ranges.is_empty()
    }
}

fn read_rows(reader: &mut ByteReader, summary: &mut RowSummary) -> Result<SmallVec<[(Bytes, Bytes); 1]>, StoreError> {
    let count = reader.count().map_err(Malformed::from)?;
    let mut rows = SmallVec::with_capacity(count.min(1024));
    for _ in 0..count {
        let key = reader.prefixed().map_err(Malformed::from)?;
        check_size("a key", key.len(), KEY_BYTES_MAX)?;
        let row = reader.prefixed().map_err(Malformed::from)?;
        let base = reader.offset() - row.len();
        let inner = summarize_row(&row).map_err(|inner| Malformed::new(base + inner.offset, inner.detail))?;
        summary.add(&inner);
        rows.push((key, row));
    }
    Ok(rows)
}

fn read_ranges(reader: &mut ByteReader) -> Result<Vec<RangeTombstone>, StoreError> {
    let count = reader.count().map_err(Malformed::from)?;
    let mut ranges = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        let range = RangeTombstone::read(reader).map_err(Malformed::from)?;
        check_size("a key", range.start.len().max(range.end.len()), KEY_BYTES_MAX)?;
        if range.start >= range.end {
            return Err(Malformed::new(reader.offset(), "a deleted range is empty").into());
        }
        ranges.push(range);
    }
    Ok(ranges)
}

fn check_size(what: &'static str, size: usize, limit: usize) -> Result<(), StoreError> {
    if size > limit { Err(StoreError::TooLarge { what, size, limit }) } else { Ok(()) }
}

/// Collects a mutation.
#[derive(Default)]
pub struct MutationBuilder {
    rows: ByteWriter,
    row_count: u64,
    ranges: Vec<RangeTombstone>,
    scratch: ByteWriter,
}

impl MutationBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn row(&mut self, key: impl AsRef<[u8]>, patch: &RowPatch) -> &mut Self {
        self.rows.put_prefixed(key.as_ref());
        encode_row(patch, &mut self.scratch);
        let row = std::mem::take(&mut self.scratch);
        self.rows.put_prefixed(row.as_slice());
        self.row_count += 1;
        self
    }

    /// An empty range is left out.
    pub fn delete_range(&mut self, range: RangeTombstone) -> &mut Self {
        if range.start < range.end {
            self.ranges.push(range);
        }
        self
    }

    /// # Errors
    /// [`StoreError::TooLarge`]; [`StoreError::Malformed`] for a patch whose cells are not strictly ascending.
    pub fn finish(self) -> Result<Mutation, StoreError> {
        check_size("a mutation", self.rows.len(), MUTATION_BYTES_MAX)?;
        let mut out = ByteWriter::with_capacity(self.rows.len() + 16);
        out.put_u8(MUTATION_VERSION);
        out.put_varint(self.row_count);
        out.put_slice(self.rows.as_slice());
        out.put_varint(self.ranges.len() as u64);
        self.ranges.iter().for_each(|range| range.write(&mut out));
        Mutation::decode(out.freeze())
    }
}
