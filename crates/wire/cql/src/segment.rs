//! Segments: the outer framing of v5 (sections 2.1 and 2.2; the specification calls them frames).
//!
//! ```text
//! without compression   3 bytes little endian: payload length (17 bits), self-contained (1), padding (6)
//!                       3 bytes little endian: CRC24 of the 3 bytes before
//! with LZ4              5 bytes little endian: compressed length (17), uncompressed length (17), self-contained (1),
//! padding (5)
//!                       3 bytes little endian: CRC24 of the 5 bytes before
//! both                  payload, then 4 bytes little endian: CRC32 of the payload as it is on the wire
//! ```
//!
//! A self-contained segment holds one or more whole envelopes. A larger envelope is spread over segments that are not
//! self-contained and hold nothing else.

use bytes::{BufMut, BytesMut};

use crate::compression;
use crate::error::CqlError;
use crate::limits::{COMPRESSED_BYTES_MIN, SEGMENT_PAYLOAD_BYTES_MAX};

/// Start value and polynomial of the CRC24 (section 2.1).
const CRC24_START: u32 = 0x87_5060;
const CRC24_POLYNOMIAL: u32 = 0x197_4F0B;

/// Bytes that precede the payload in the CRC32, so that a run of zeros has no checksum of zero.
const CRC32_PREFIX: [u8; 4] = [0xFA, 0x2D, 0x55, 0xCA];

/// Length of the CRC32 after the payload, in bytes.
pub const TRAILER_LENGTH: usize = 4;

/// Length of a segment header in bytes.
pub fn header_length(compressed: bool) -> usize {
    if compressed { 8 } else { 6 }
}

/// The CRC24 of the header bytes.
pub fn crc24(bytes: &[u8]) -> u32 {
    bytes.iter().fold(CRC24_START, |start, &byte| {
        (0..8).fold(start ^ (u32::from(byte) << 16), |crc, _| {
            let shifted = crc << 1;
            if shifted & 0x100_0000 != 0 { shifted ^ CRC24_POLYNOMIAL } else { shifted }
        })
    })
}

/// The CRC32 of a payload.
pub fn crc32(payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&CRC32_PREFIX);
    hasher.update(payload);
    hasher.finalize()
}

/// What the header of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Bytes of payload on the wire.
    pub payload_length: usize,
    /// Bytes of payload after decompression; zero if the payload is not compressed.
    pub uncompressed_length: usize,
    /// True if the payload holds whole envelopes.
    pub self_contained: bool,
}

impl SegmentHeader {
    /// Reads a header from the start of `bytes`; `None` while more bytes are needed.
    ///
    /// # Errors
    /// A checksum that does not match.
    pub fn decode(bytes: &[u8], compressed: bool) -> Result<Option<SegmentHeader>, CqlError> {
        let length = header_length(compressed);
        let Some(header) = bytes.get(..length) else { return Ok(None) };
        let (fields, checksum) = header.split_at(length - 3);
        let (fields_value, received) = (little_endian(fields), little_endian(checksum) as u32);
        let computed = crc24(fields);
        if computed != received {
            return Err(CqlError::SegmentHeaderChecksum { computed, received });
        }
        let low_17_bits = |value: u64| (value & 0x1_FFFF) as usize;
        Ok(Some(if compressed {
            SegmentHeader {
                payload_length: low_17_bits(fields_value),
                uncompressed_length: low_17_bits(fields_value >> 17),
                self_contained: (fields_value >> 34) & 1 == 1,
            }
        } else {
            SegmentHeader {
                payload_length: low_17_bits(fields_value),
                uncompressed_length: 0,
                self_contained: (fields_value >> 17) & 1 == 1,
            }
        }))
    }

    /// Writes the header over the first `header_length(compressed)` bytes of `out`, which must be there.
    fn write(&self, compressed: bool, out: &mut [u8]) {
        let length = header_length(compressed);
        let value = if compressed {
            self.payload_length as u64 | (self.uncompressed_length as u64) << 17 | u64::from(self.self_contained) << 34
        } else {
            self.payload_length as u64 | u64::from(self.self_contained) << 17
        };
        let Some((fields, checksum)) = out.get_mut(..length).map(|header| header.split_at_mut(length - 3)) else {
            debug_assert!(false, "no room was left for the segment header");
            return;
        };
        let fields_length = fields.len();
        fields.copy_from_slice(&value.to_le_bytes()[..fields_length]);
        checksum.copy_from_slice(&crc24(fields).to_le_bytes()[..3]);
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// Compares the payload with the CRC32 after it.
///
/// # Errors
/// A checksum that does not match.
pub fn verify_payload(payload: &[u8], trailer: [u8; TRAILER_LENGTH]) -> Result<(), CqlError> {
    let (computed, received) = (crc32(payload), u32::from_le_bytes(trailer));
    if computed == received { Ok(()) } else { Err(CqlError::SegmentPayloadChecksum { computed, received }) }
}

/// Leaves room for a header at the end of `out`; the payload is appended after it and closed with `seal`.
pub(crate) fn open(compressed: bool, out: &mut BytesMut) {
    out.put_bytes(0, header_length(compressed));
}

/// Closes the segment that was opened at `start`: everything after its header is the payload, at most
/// `SEGMENT_PAYLOAD_BYTES_MAX` bytes.
pub(crate) fn seal(start: usize, compressed: bool, self_contained: bool, out: &mut BytesMut) {
    let payload_start = start + header_length(compressed);
    let plain_length = out.len().saturating_sub(payload_start);
    debug_assert!(plain_length <= SEGMENT_PAYLOAD_BYTES_MAX, "a segment of {plain_length} bytes cannot be written");
    let mut header = SegmentHeader { payload_length: plain_length, uncompressed_length: 0, self_contained };
    if compressed && plain_length >= COMPRESSED_BYTES_MIN {
        let packed = compression::lz4_compress_block(out.get(payload_start..).unwrap_or_default());
        if packed.len() < plain_length {
            out.truncate(payload_start);
            out.put_slice(&packed);
            header = SegmentHeader { payload_length: packed.len(), uncompressed_length: plain_length, self_contained };
        }
    }
    let checksum = crc32(out.get(payload_start..).unwrap_or_default());
    out.put_u32_le(checksum);
    header.write(compressed, out.get_mut(start..).unwrap_or_default());
}

/// Appends `payload` as one segment of its own.
pub fn encode(payload: &[u8], compressed: bool, self_contained: bool, out: &mut BytesMut) -> Result<(), CqlError> {
    if payload.len() > SEGMENT_PAYLOAD_BYTES_MAX {
        let (length, limit) = (payload.len() as u64, SEGMENT_PAYLOAD_BYTES_MAX as u64);
        return Err(CqlError::TooLong { what: "payload of a segment", length, limit });
    }
    let start = out.len();
    open(compressed, out);
    out.put_slice(payload);
    seal(start, compressed, self_contained, out);
    Ok(())
}
