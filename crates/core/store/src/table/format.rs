//! The layout of a table file, version 1.
//!
//! ```text
//! data block* index block* filter ranges top properties footer
//! ```
//!
//! Everything before the footer is a stored block (see [`super::block`]). Entries of an index block: the last key of a
//! data block → its handle; of the top block: the last key of an index block → its handle. The filter is a bloom
//! filter, ranges and properties are below. The footer is 128 bytes: it names the tablet and the table, so that a file
//! in the wrong place is found out, and holds the checksum of all bytes before it.

use crate::error::{Malformed, StoreError, damaged};
use crate::range::{RangeList, RangeTombstone};
use crate::row::Deletion;
use crate::row_codec::RowSummary;
use crate::table::block::BlockHandle;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput, TabletId, crc32c};
use holon_wal::Lsn;
use std::fmt;

pub const FOOTER_BYTES: usize = 128;
const MAGIC: u64 = u64::from_le_bytes(*b"HOLONTBL");
pub const TABLE_VERSION: u32 = 1;
/// 1: without the number of prefixes. 2: with it.
const PROPERTIES_VERSION: u64 = 2;

/// Unique on a node for ever: the boot in which it was made, then a counter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u64);

impl TableId {
    pub fn file_name(self) -> String {
        format!("{:016x}.table", self.0)
    }

    pub fn from_file_name(name: &str) -> Option<TableId> {
        let digits = name.strip_suffix(".table").filter(|digits| digits.len() == 16)?;
        u64::from_str_radix(digits, 16).ok().map(TableId)
    }
}

impl fmt::Debug for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    pub tablet: TabletId,
    pub table: TableId,
    pub filter: BlockHandle,
    pub ranges: BlockHandle,
    pub top: BlockHandle,
    pub properties: BlockHandle,
    /// Of the whole file.
    pub length: u64,
    /// CRC-32C of everything before the footer.
    pub content_crc: u32,
}

impl Footer {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = ByteWriter::with_capacity(FOOTER_BYTES);
        out.put_u64(MAGIC);
        out.put_u32(TABLE_VERSION);
        out.put_u32(self.content_crc);
        out.put_u64(self.tablet.0);
        out.put_u64(self.table.0);
        out.put_u64(self.length);
        for handle in [self.filter, self.ranges, self.top, self.properties] {
            out.put_u64(handle.offset);
            out.put_u32(handle.length);
        }
        let mut bytes = out.as_slice().to_vec();
        bytes.resize(FOOTER_BYTES - 4, 0);
        let crc = crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads and checks the footer that ends a file of `length` bytes.
    pub fn decode(bytes: &Bytes, file: &str, length: u64) -> Result<Footer, StoreError> {
        let base = length.saturating_sub(FOOTER_BYTES as u64);
        if bytes.len() != FOOTER_BYTES {
            return Err(damaged(file, length, "the file is too short for a table"));
        }
        let short = |error: ShortInput| Malformed::from(error).in_file(file, base);
        let mut reader = ByteReader::new(bytes.clone());
        let magic = reader.u64().map_err(short)?;
        let version = reader.u32().map_err(short)?;
        let crc = bytes[FOOTER_BYTES - 4..].iter().rev().fold(0u32, |crc, byte| (crc << 8) | u32::from(*byte));
        if magic != MAGIC {
            return Err(damaged(file, base, "this is not the end of a table"));
        }
        if crc != crc32c(&bytes[..FOOTER_BYTES - 4]) {
            return Err(damaged(file, base, "the checksum of the footer is wrong"));
        }
        if version > TABLE_VERSION {
            return Err(StoreError::NewerFormat { file: file.to_owned(), version, supported: TABLE_VERSION });
        }
        let content_crc = reader.u32().map_err(short)?;
        let tablet = TabletId(reader.u64().map_err(short)?);
        let table = TableId(reader.u64().map_err(short)?);
        let stated_length = reader.u64().map_err(short)?;
        let mut handles = [BlockHandle { offset: 0, length: 0 }; 4];
        for handle in &mut handles {
            *handle = BlockHandle { offset: reader.u64().map_err(short)?, length: reader.u32().map_err(short)? };
        }
        let [filter, ranges, top, properties] = handles;
        let contiguous = handles.windows(2).all(|pair| pair[0].offset + u64::from(pair[0].length) == pair[1].offset)
            && properties.offset + u64::from(properties.length) == base;
        if stated_length != length || !contiguous {
            return Err(damaged(file, base, format!("the footer is that of a file of {stated_length} bytes")));
        }
        Ok(Footer { tablet, table, filter, ranges, top, properties, length, content_crc })
    }
}

/// What is known about a table without reading its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    pub rows: u64,
    /// The smallest key or start of a deleted range.
    pub first: Bytes,
    /// The largest key or end of a deleted range: nothing in the table concerns keys beyond it.
    pub last: Bytes,
    pub timestamp_min: i64,
    pub timestamp_max: i64,
    /// Deletions of any kind.
    pub tombstones: u64,
    /// From this second on nothing in the table is live (`i64::MAX`: something lives for ever).
    pub live_until_seconds: i64,
    /// The latest local time of a deletion, `i64::MIN` without one.
    pub deleted_last_seconds: i64,
    /// Uncompressed bytes of keys and rows.
    pub raw_bytes: u64,
    /// Every mutation in here has a sequence number up to this.
    pub lsn_last: Lsn,
    /// Names the function whose prefixes are in the filter.
    pub prefix_id: u64,
    pub created_micros: i64,
    /// Different prefixes of its rows; 0 in tables of version 1, which did not count them.
    pub prefixes: u64,
}

impl Properties {
    /// The share that deletions have of the rows.
    pub fn tombstone_ratio(&self) -> f64 {
        self.tombstones as f64 / self.rows.max(1) as f64
    }

    pub fn new() -> Self {
        let summary = RowSummary::default();
        Properties {
            rows: 0,
            first: Bytes::new(),
            last: Bytes::new(),
            timestamp_min: summary.timestamp_min,
            timestamp_max: summary.timestamp_max,
            tombstones: 0,
            live_until_seconds: summary.live_until_seconds,
            deleted_last_seconds: i64::MIN,
            raw_bytes: 0,
            lsn_last: Lsn(0),
            prefix_id: 0,
            created_micros: 0,
            prefixes: 0,
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = ByteWriter::new();
        out.put_varint(PROPERTIES_VERSION);
        out.put_varint(self.rows);
        out.put_prefixed(&self.first);
        out.put_prefixed(&self.last);
        out.put_signed_varint(self.timestamp_min);
        out.put_signed_varint(self.timestamp_max);
        out.put_varint(self.tombstones);
        out.put_signed_varint(self.live_until_seconds);
        out.put_signed_varint(self.deleted_last_seconds);
        out.put_varint(self.raw_bytes);
        out.put_varint(self.lsn_last.0);
        out.put_varint(self.prefix_id);
        out.put_signed_varint(self.created_micros);
        out.put_varint(self.prefixes);
        out.as_slice().to_vec()
    }

    pub fn decode(bytes: Bytes) -> Result<Properties, Malformed> {
        let mut reader = ByteReader::new(bytes);
        let version = reader.varint()?;
        if !(1..=PROPERTIES_VERSION).contains(&version) {
            return Err(Malformed::new(0, "unknown version of table properties"));
        }
        let properties = Properties {
            rows: reader.varint()?,
            first: reader.prefixed()?,
            last: reader.prefixed()?,
            timestamp_min: reader.signed_varint()?,
            timestamp_max: reader.signed_varint()?,
            tombstones: reader.varint()?,
            live_until_seconds: reader.signed_varint()?,
            deleted_last_seconds: reader.signed_varint()?,
            raw_bytes: reader.varint()?,
            lsn_last: Lsn(reader.varint()?),
            prefix_id: reader.varint()?,
            created_micros: reader.signed_varint()?,
            prefixes: if version >= 2 { reader.varint()? } else { 0 },
        };
        reader.end()?;
        Ok(properties)
    }

    /// Whether a key lies where this table may say something about it.
    pub fn spans(&self, key: &[u8]) -> bool {
        self.first.as_ref() <= key && key <= self.last.as_ref()
    }

    /// Whether it may say something about a key of `[start, end)`.
    pub fn overlaps(&self, start: &[u8], end: Option<&[u8]>) -> bool {
        self.last.as_ref() >= start && end.is_none_or(|end| self.first.as_ref() < end)
    }
}

pub fn encode_ranges(ranges: &[RangeTombstone]) -> Vec<u8> {
    let mut out = ByteWriter::new();
    out.put_varint(ranges.len() as u64);
    for range in ranges {
        out.put_prefixed(&range.start);
        out.put_prefixed(&range.end);
        out.put_signed_varint(range.deletion.timestamp);
        out.put_signed_varint(range.deletion.local_seconds);
    }
    out.as_slice().to_vec()
}

pub fn decode_ranges(bytes: Bytes) -> Result<RangeList, Malformed> {
    let mut reader = ByteReader::new(bytes);
    let count = reader.count()?;
    let mut ranges = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        let (start, end) = (reader.prefixed()?, reader.prefixed()?);
        let deletion = Deletion { timestamp: reader.signed_varint()?, local_seconds: reader.signed_varint()? };
        ranges.push(RangeTombstone { start, end, deletion });
    }
    reader.end()?;
    RangeList::new(ranges).ok_or(Malformed::new(0, "deleted ranges overlap"))
}

pub fn encode_handle(handle: BlockHandle) -> [u8; 12] {
    let mut bytes = [0u8; 12];
    bytes[..8].copy_from_slice(&handle.offset.to_le_bytes());
    bytes[8..].copy_from_slice(&handle.length.to_le_bytes());
    bytes
}

pub fn decode_handle(bytes: &[u8]) -> Option<BlockHandle> {
    let (offset, length) = bytes.split_at_checked(8)?;
    Some(BlockHandle {
        offset: u64::from_le_bytes(offset.try_into().ok()?),
        length: u32::from_le_bytes(length.try_into().ok()?),
    })
}
