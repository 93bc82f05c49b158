//! Blocks: what is compressed, checksummed, read and cached as one.
//!
//! ```text
//! stored = payload kind:u8 raw_length:u32 crc32c:u32     kind: 0 as is, 1 LZ4, 2 zstd
//! raw    = (key_length:varint row_length:varint key row)*  keys strictly ascending
//! ```
//!
//! The checksum also covers the table's id and the block's offset, so a block of another table, or of another place in
//! this one, is not taken for the one asked for. In memory a block knows where each of its entries is, so any entry is
//! a restart point: search is binary over whole keys, and keys and rows are slices without copying.

use crate::error::{Malformed, StoreError, damaged};
use crate::limits::BLOCK_BYTES_MAX;
use crate::options::Compression;
use crate::plant;
use crate::table::format::TableId;
use bytes::Bytes;
use holon_base::{crc32c, crc32c_append};

pub const BLOCK_TRAILER_BYTES: usize = 9;

/// zstd's default: three times slower to write than LZ4, a third smaller.
const ZSTD_LEVEL: i32 = 3;

/// Where a stored block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHandle {
    pub offset: u64,
    /// With its trailer.
    pub length: u32,
}

impl BlockHandle {
    pub fn contains(&self, offset: u64) -> bool {
        (self.offset..self.offset + u64::from(self.length)).contains(&offset)
    }
}

fn checksum(table: TableId, offset: u64, stored_without_crc: &[u8]) -> u32 {
    let mut place = [0u8; 16];
    place[..8].copy_from_slice(&table.0.to_le_bytes());
    place[8..].copy_from_slice(&offset.to_le_bytes());
    crc32c_append(crc32c(&place), stored_without_crc)
}

/// Appends a stored block to `out`, whose first byte will be at `base` in the file.
pub fn store_block(raw: &[u8], compression: Compression, table: TableId, base: u64, out: &mut Vec<u8>) -> BlockHandle {
    let start = out.len();
    let kind = match compression {
        Compression::None => 0,
        Compression::Lz4 => {
            // Beyond the longest input that LZ4 takes there is no bound, and the block is stored as it is.
            out.resize(start + lz4::block::compress_bound(raw.len()).unwrap_or(0), 0);
            let length = lz4::block::compress_to_buffer(raw, None, false, &mut out[start..]).unwrap_or(usize::MAX);
            kept(out, start, length, raw, 1)
        }
        Compression::Zstd => {
            out.resize(start + zstd::zstd_safe::compress_bound(raw.len()), 0);
            let length = zstd::bulk::compress_to_buffer(raw, &mut out[start..], ZSTD_LEVEL).unwrap_or(usize::MAX);
            kept(out, start, length, raw, 2)
        }
    };
    if kind == 0 {
        out.truncate(start);
        out.extend_from_slice(raw);
    }
    out.push(kind);
    out.extend_from_slice(&(raw.len() as u32).to_le_bytes());
    let offset = base + start as u64;
    let crc = checksum(table, offset, &out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
    BlockHandle { offset, length: (out.len() - start) as u32 }
}

/// Keeps a compressed form only if it saves an eighth: below that, decompressing costs more than it saves.
fn kept(out: &mut Vec<u8>, start: usize, length: usize, raw: &[u8], kind: u8) -> u8 {
    if length < raw.len() - raw.len() / 8 {
        out.truncate(start + length);
        kind
    } else {
        0
    }
}

/// Checks and unpacks a stored block.
pub fn load_raw(stored: Bytes, table: TableId, offset: u64, file: &str) -> Result<Bytes, StoreError> {
    let Some(payload_length) = stored.len().checked_sub(BLOCK_TRAILER_BYTES) else {
        return Err(damaged(file, offset, "the file ends within a block"));
    };
    let number = |at: usize| u32::from_le_bytes([stored[at], stored[at + 1], stored[at + 2], stored[at + 3]]);
    let crc_at = payload_length + 5;
    if number(crc_at) != checksum(table, offset, &stored[..crc_at]) && !plant::skip_checksum() {
        return Err(damaged(file, offset, "the checksum of a block is wrong"));
    }
    let raw_length = number(payload_length + 1) as usize;
    if raw_length > BLOCK_BYTES_MAX {
        return Err(damaged(file, offset, format!("a block claims to hold {raw_length} bytes")));
    }
    let payload = stored.slice(..payload_length);
    let raw = match stored[payload_length] {
        0 => payload,
        1 => {
            let mut raw = vec![0u8; raw_length];
            let expected = i32::try_from(raw_length).unwrap_or(-1);
            let length = lz4::block::decompress_to_buffer(&payload, Some(expected), &mut raw).unwrap_or(usize::MAX);
            raw.truncate(length);
            raw.into()
        }
        2 => zstd::bulk::decompress(&payload, raw_length).unwrap_or_default().into(),
        kind => return Err(damaged(file, offset, format!("unknown kind {kind} of block"))),
    };
    if raw.len() != raw_length {
        return Err(damaged(file, offset, "a block does not decompress to its length"));
    }
    Ok(raw)
}

#[derive(Clone, Copy)]
struct Entry {
    key: u32,
    key_length: u32,
    row_length: u32,
}

/// A block of entries, unpacked.
pub struct Block {
    raw: Bytes,
    entries: Vec<Entry>,
}

impl Block {
    pub fn parse(raw: Bytes) -> Result<Block, Malformed> {
        let mut entries = Vec::with_capacity(raw.len() / 64 + 1);
        let mut at = 0;
        while at < raw.len() {
            let key_length = read_length(&raw, &mut at)?;
            let row_length = read_length(&raw, &mut at)?;
            let end = (at as u64) + u64::from(key_length) + u64::from(row_length);
            if end > raw.len() as u64 {
                return Err(Malformed::new(at, "an entry runs beyond its block"));
            }
            entries.push(Entry { key: at as u32, key_length, row_length });
            at = end as usize;
        }
        if entries.is_empty() {
            return Err(Malformed::new(0, "a block is empty"));
        }
        Ok(Block { raw, entries })
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Memory this takes.
    pub fn bytes(&self) -> usize {
        self.raw.len() + self.entries.capacity() * size_of::<Entry>() + size_of::<Block>()
    }

    pub fn key(&self, index: usize) -> &[u8] {
        let entry = self.entries[index];
        &self.raw[entry.key as usize..(entry.key + entry.key_length) as usize]
    }

    pub fn row(&self, index: usize) -> &[u8] {
        let entry = self.entries[index];
        let start = (entry.key + entry.key_length) as usize;
        &self.raw[start..start + entry.row_length as usize]
    }

    pub fn key_bytes(&self, index: usize) -> Bytes {
        let entry = self.entries[index];
        self.raw.slice(entry.key as usize..(entry.key + entry.key_length) as usize)
    }

    pub fn row_bytes(&self, index: usize) -> Bytes {
        let entry = self.entries[index];
        let start = (entry.key + entry.key_length) as usize;
        self.raw.slice(start..start + entry.row_length as usize)
    }

    /// The first entry whose key is not smaller; `len()` if there is none.
    pub fn lower_bound(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.entries.len());
        while low < high {
            let middle = (low + high) / 2;
            if self.key(middle) < key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    pub fn is_ascending(&self) -> bool {
        (1..self.len()).all(|index| self.key(index - 1) < self.key(index))
    }
}

fn read_length(raw: &[u8], at: &mut usize) -> Result<u32, Malformed> {
    let start = *at;
    let mut value = 0u32;
    for shift in (0..32).step_by(7) {
        let byte = *raw.get(*at).ok_or(Malformed::new(start, "a length is cut off"))?;
        *at += 1;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed::new(start, "a length is too long"))
}

pub fn put_length(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub fn put_entry(key: &[u8], row: &[u8], out: &mut Vec<u8>) {
    put_length(key.len(), out);
    put_length(row.len(), out);
    out.extend_from_slice(key);
    out.extend_from_slice(row);
}
