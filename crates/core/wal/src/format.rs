//! The layout of log segments, version 1.
//!
//! ```text
//! <root>/<boot>-<shard>/<sequence>.log = segment header (one block), chunks (whole blocks), stale or zero blocks
//! segment header = magic:u64 version:u32 boot:u32 shard:u32 sequence:u32 log:u64 length:u64 crc32c:u32
//! chunk   = chunk header (72 bytes), record*, zeroes to the end of the block
//! record  = tablet:u64 length:u32 mutation
//! ```
//!
//! A chunk names the log (a random number), the segment and its own place, so that neither stale chunks of a recycled
//! segment nor bytes that a client chose are taken for one. It says up to where the log was synced when it was written:
//! a missing or broken chunk below that mark is damage; one above it was being written when the node went down.
//!
//! | what is found | what it means |
//! | --- | --- |
//! | a chunk that follows the last one | more of the log |
//! | no valid chunk, none valid after it | the end; the last group was torn or is not there |
//! | no valid chunk, a later one says it was synced | damage, an error |
//! | no valid chunk, a later one says it was not | unsynced groups (`Periodic`) landed out of order: the later one is used |

use crate::error::{WalError, damaged};
use crate::lsn::Lsn;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput, TabletId, crc32c, crc32c_append};
use holon_kernel::{DiskBuffer, disk::DISK_ALIGNMENT_BYTES};

pub const BLOCK_BYTES: u64 = DISK_ALIGNMENT_BYTES as u64;
const SEGMENT_MAGIC: u64 = u64::from_le_bytes(*b"HOLONLOG");
const CHUNK_MAGIC: u32 = u32::from_le_bytes(*b"HCHK");
const LOG_VERSION: u32 = 1;
const SEGMENT_HEADER_BYTES: usize = 44;
pub const CHUNK_HEADER_BYTES: usize = 72;
pub const RECORD_HEADER_BYTES: usize = 12;
/// Marks a log directory whose records are all in tables.
pub const RETIRED_NAME: &str = "RETIRED";

/// A log of one boot and shard, in a directory for all logs of its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogName {
    pub root: &'static str,
    pub boot: u32,
    pub shard: u16,
}

impl LogName {
    pub fn directory(&self) -> String {
        format!("{}/{:08x}-{:04x}", self.root, self.boot, self.shard)
    }

    pub fn parse(root: &'static str, name: &str) -> Option<LogName> {
        let (boot, shard) = name.split_once('-').filter(|(boot, shard)| boot.len() == 8 && shard.len() == 4)?;
        Some(LogName { root, boot: u32::from_str_radix(boot, 16).ok()?, shard: u16::from_str_radix(shard, 16).ok()? })
    }
}

pub fn segment_name(sequence: u32) -> String {
    format!("{sequence:08x}.log")
}

pub fn parse_segment_name(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 8)?;
    u32::from_str_radix(digits, 16).ok()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub name: LogName,
    pub sequence: u32,
    /// Random; the same in all segments of one log.
    pub log: u64,
    pub length: u64,
}

impl SegmentHeader {
    pub fn encode(&self) -> DiskBuffer {
        let mut out = ByteWriter::with_capacity(SEGMENT_HEADER_BYTES);
        out.put_u64(SEGMENT_MAGIC);
        out.put_u32(LOG_VERSION);
        out.put_u32(self.name.boot);
        out.put_u32(u32::from(self.name.shard));
        out.put_u32(self.sequence);
        out.put_u64(self.log);
        out.put_u64(self.length);
        let crc = crc32c(out.as_slice());
        out.put_u32(crc);
        let mut buffer = DiskBuffer::from(out.as_slice());
        buffer.pad_to(DISK_ALIGNMENT_BYTES);
        buffer
    }

    /// Reads the header of a segment that lies where `name` and `sequence` say.
    pub fn decode(bytes: &Bytes, name: LogName, sequence: u32, file: &str) -> Result<Self, WalError> {
        if bytes.len() < BLOCK_BYTES as usize {
            return Err(damaged(file, bytes.len() as u64, "the file ends within the header of a log segment"));
        }
        let short = |error: ShortInput| damaged(file, error.offset as u64, "the header of a log segment is cut off");
        let mut reader = ByteReader::new(bytes.slice(..SEGMENT_HEADER_BYTES + 4));
        let magic = reader.u64().map_err(short)?;
        let version = reader.u32().map_err(short)?;
        let boot = reader.u32().map_err(short)?;
        let shard = reader.u32().map_err(short)?;
        let found = reader.u32().map_err(short)?;
        let log = reader.u64().map_err(short)?;
        let length = reader.u64().map_err(short)?;
        let crc = reader.u32().map_err(short)?;
        if magic != SEGMENT_MAGIC {
            return Err(damaged(file, 0, "this is not a log segment"));
        }
        if crc != crc32c(&bytes[..40]) {
            return Err(damaged(file, 0, "the checksum of the header of a log segment is wrong"));
        }
        // What pads the header must be zero: every byte of a synced block is accounted for.
        if let Some(at) = bytes[44..].iter().position(|byte| *byte != 0) {
            return Err(damaged(file, 44 + at as u64, "the padding of the header of a log segment is not zero"));
        }
        if version > LOG_VERSION {
            return Err(WalError::NewerFormat { file: file.to_owned(), version, supported: LOG_VERSION });
        }
        if boot != name.boot || shard != u32::from(name.shard) || found != sequence {
            let detail = format!("this is segment {found:08x} of the log {boot:08x}-{shard:04x}");
            return Err(damaged(file, 0, detail));
        }
        Ok(SegmentHeader { name, sequence, log, length })
    }
}

/// What a chunk says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHeader {
    pub log: u64,
    pub sequence: u32,
    /// Where it lies in its segment, in blocks.
    pub block: u32,
    pub payload_bytes: u32,
    pub records: u32,
    /// Of the first record; the others follow without gaps. Of the next record, if there is none.
    pub first: Lsn,
    /// Everything up to here was on the medium when this chunk was written.
    pub synced: Lsn,
    /// The first record of the segment.
    pub segment_first: Lsn,
}

impl ChunkHeader {
    /// Fills the header into a buffer that holds room for it and the payload.
    pub fn seal(&self, buffer: &mut DiskBuffer) {
        let mut out = ByteWriter::with_capacity(CHUNK_HEADER_BYTES);
        out.put_u32(CHUNK_MAGIC);
        out.put_u32(LOG_VERSION);
        out.put_u64(self.log);
        out.put_u32(self.sequence);
        out.put_u32(self.block);
        out.put_u32(self.payload_bytes);
        out.put_u32(self.records);
        out.put_u64(self.first.0);
        out.put_u64(self.synced.0);
        out.put_u64(self.segment_first.0);
        out.put_u64(0); // reserved
        out.put_u32(0);
        let head = out.as_slice();
        let crc = crc32c_append(crc32c(head), &buffer.as_slice()[CHUNK_HEADER_BYTES..]);
        buffer.as_mut_slice()[..68].copy_from_slice(head);
        buffer.as_mut_slice()[68..72].copy_from_slice(&crc.to_le_bytes());
    }

    /// The header at the start of a block, if it is one of this log, segment and place. Its checksum is not checked
    /// yet.
    pub fn peek(bytes: &Bytes, log: u64, sequence: u32, block: u32) -> Option<ChunkHeader> {
        if bytes.len() < CHUNK_HEADER_BYTES || bytes[..4] != CHUNK_MAGIC.to_le_bytes() {
            return None;
        }
        let mut reader = ByteReader::new(bytes.slice(4..CHUNK_HEADER_BYTES));
        let version = reader.u32().ok()?;
        let header = ChunkHeader {
            log: reader.u64().ok()?,
            sequence: reader.u32().ok()?,
            block: reader.u32().ok()?,
            payload_bytes: reader.u32().ok()?,
            records: reader.u32().ok()?,
            first: Lsn(reader.u64().ok()?),
            synced: Lsn(reader.u64().ok()?),
            segment_first: Lsn(reader.u64().ok()?),
        };
        let here = version == LOG_VERSION && header.log == log && header.sequence == sequence && header.block == block;
        here.then_some(header)
    }

    /// Bytes of the chunk with its padding.
    pub fn stored_bytes(&self) -> u64 {
        (CHUNK_HEADER_BYTES as u64 + u64::from(self.payload_bytes)).next_multiple_of(BLOCK_BYTES)
    }

    /// Whether `chunk` (header, payload and padding) is whole.
    pub fn is_whole(&self, chunk: &[u8]) -> bool {
        if chunk.len() as u64 != self.stored_bytes() {
            return false;
        }
        let crc = [chunk[68], chunk[69], chunk[70], chunk[71]];
        u32::from_le_bytes(crc) == crc32c_append(crc32c(&chunk[..68]), &chunk[CHUNK_HEADER_BYTES..])
    }
}

/// The records of a whole chunk.
pub fn read_records(payload: Bytes, records: u32) -> Result<Vec<(TabletId, Bytes)>, ShortInput> {
    let mut reader = ByteReader::new(payload);
    let mut out = Vec::new();
    for _ in 0..records {
        let tablet = TabletId(reader.u64()?);
        let length = reader.u32()? as usize;
        out.push((tablet, reader.bytes(length)?));
    }
    reader.end()?;
    Ok(out)
}
