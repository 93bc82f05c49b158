//! The header of a batch, and batches one after the other.
//!
//! ```text
//!   at  bytes
//!    0  8  base offset: of the first record            ┐
//!    8  4  length: of all that follows this field      │ outside the checksum: a broker may write them
//!   12  4  partition leader epoch                      │
//!   16  1  magic: 2                                    ┘
//!   17  4  CRC-32C of all that follows this field
//!   21  2  attributes: codec (3 bits), timestamp type, transactional, control, delete horizon
//!   23  4  last offset delta: of the last record, from the base offset
//!   27  8  base timestamp, ms since 1970; with a delete horizon that one
//!   35  8  max timestamp
//!   43  8  producer id, or -1
//!   51  2  producer epoch
//!   53  4  base sequence
//!   57  4  count of records
//!   61     the records, packed as the codec says
//! ```
//! All numbers are big endian.

use crate::error::BatchError;
use bytes::Bytes;

pub const HEADER_BYTES: usize = 61;

/// What the length does not count: itself and the base offset.
pub(crate) const BEFORE_LENGTH: usize = 12;
pub(crate) const EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
pub(crate) const CRC_AT: usize = 17;
pub(crate) const ATTRIBUTES_AT: usize = 21;
pub(crate) const MAX_TIMESTAMP_AT: usize = 35;

/// The only format there is here.
pub const MAGIC: i8 = 2;

/// "No timestamp", "no producer", "no sequence number".
pub const NONE: i64 = -1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// The flags of a batch. Those that have no meaning yet are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub i16);

impl Attributes {
    pub const LOG_APPEND_TIME: i16 = 1 << 3;
    pub const TRANSACTIONAL: i16 = 1 << 4;
    pub const CONTROL: i16 = 1 << 5;
    pub const DELETE_HORIZON: i16 = 1 << 6;

    /// # Errors
    /// A number that no codec has.
    pub fn compression(self) -> Result<Compression, BatchError> {
        match self.0 & 7 {
            0 => Ok(Compression::None),
            1 => Ok(Compression::Gzip),
            2 => Ok(Compression::Snappy),
            3 => Ok(Compression::Lz4),
            4 => Ok(Compression::Zstd),
            codec => Err(BatchError::UnknownCodec { codec: codec as u8 }),
        }
    }

    pub fn has(self, flag: i16) -> bool {
        self.0 & flag != 0
    }
}

/// What a batch says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: i64,
    /// Of the whole batch, in bytes.
    pub length: usize,
    pub leader_epoch: i32,
    pub crc: u32,
    pub attributes: Attributes,
    pub last_offset_delta: i32,
    pub base_timestamp_ms: i64,
    pub max_timestamp_ms: i64,
    /// [`NONE`] if the producer is not idempotent.
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub count: i32,
}

impl BatchHeader {
    /// Of the first batch in some bytes of a log, which begin at `at`; `None` if not all of it is there. Its checksum is not looked at
    /// ([`check_crc`]).
    ///
    /// # Errors
    /// It is no batch of this format.
    pub fn read(bytes: &[u8], at: usize) -> Result<Option<BatchHeader>, BatchError> {
        Ok(BatchHeader::peek(bytes, at)?.filter(|header| bytes.len() >= header.length))
    }

    /// As [`BatchHeader::read`], of a batch of which perhaps not more than the header is there.
    ///
    /// # Errors
    /// It is no batch of this format.
    pub fn peek(bytes: &[u8], at: usize) -> Result<Option<BatchHeader>, BatchError> {
        let Some(start) = bytes.first_chunk::<{ MAGIC_AT + 1 }>() else { return Ok(None) };
        // Of every format there ever was: the length and the magic number are where they are.
        let length = i32::from_be_bytes(field(start, 8));
        let magic = start[MAGIC_AT].cast_signed();
        let whole = usize::try_from(length).unwrap_or(0) + BEFORE_LENGTH;
        let is_old = (0..MAGIC).contains(&magic) && length > 0;
        if magic != MAGIC && (is_old || whole >= HEADER_BYTES) {
            return Err(BatchError::Format { at, magic });
        }
        if whole < HEADER_BYTES {
            return Err(BatchError::Length { at, length: i64::from(length), least: HEADER_BYTES - BEFORE_LENGTH });
        }
        let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        Ok(Some(BatchHeader {
            base_offset: i64::from_be_bytes(field(head, 0)),
            length: whole,
            leader_epoch: i32::from_be_bytes(field(head, EPOCH_AT)),
            crc: u32::from_be_bytes(field(head, CRC_AT)),
            attributes: Attributes(i16::from_be_bytes(field(head, ATTRIBUTES_AT))),
            last_offset_delta: i32::from_be_bytes(field(head, 23)),
            base_timestamp_ms: i64::from_be_bytes(field(head, 27)),
            max_timestamp_ms: i64::from_be_bytes(field(head, MAX_TIMESTAMP_AT)),
            producer_id: i64::from_be_bytes(field(head, 43)),
            producer_epoch: i16::from_be_bytes(field(head, 51)),
            base_sequence: i32::from_be_bytes(field(head, 53)),
            count: i32::from_be_bytes(field(head, 57)),
        }))
    }

    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// The sequence number of the last record: they begin again at 0 after 2³¹ - 1. `None` without a producer.
    pub fn last_sequence(&self) -> Option<i32> {
        let has_one = self.producer_id != NONE && self.base_sequence >= 0;
        has_one.then(|| self.base_sequence.wrapping_add(self.last_offset_delta) & i32::MAX)
    }
}

/// Compares the checksum of a whole batch with its bytes.
///
/// # Errors
/// They differ.
pub fn check_crc(header: &BatchHeader, whole: &[u8], at: usize) -> Result<(), BatchError> {
    let is = crc32c::crc32c(whole.get(ATTRIBUTES_AT..).unwrap_or(&[]));
    if is == header.crc { Ok(()) } else { Err(BatchError::Checksum { at, says: header.crc, is }) }
}

fn field<const HEAD: usize, const N: usize>(head: &[u8; HEAD], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&head[at..at + N]);
    bytes
}

/// Whole batches in bytes of a log, which may end within one. Ends after the first that is none.
pub struct Batches {
    bytes: Bytes,
    at: usize,
    failed: bool,
}

impl Batches {
    pub fn new(bytes: Bytes) -> Batches {
        Batches { bytes, at: 0, failed: false }
    }

    /// How many bytes the batches had that were given out so far.
    pub fn at(&self) -> usize {
        self.at
    }
}

impl Iterator for Batches {
    type Item = Result<(BatchHeader, Bytes), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match BatchHeader::read(&self.bytes[self.at..], self.at) {
            Ok(None) => None,
            Ok(Some(header)) => {
                let whole = self.bytes.slice(self.at..self.at + header.length);
                self.at += header.length;
                Some(Ok((header, whole)))
            }
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}
