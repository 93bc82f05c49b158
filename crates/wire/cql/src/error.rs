//! The one error of the codec: what was wrong, where, and what to do about it.
//!
//! Errors of *values* (bytes that do not fit a column's type) are `value::ValueError`; they are answered with INVALID
//! and are the service's to report. Everything here is about the protocol itself.

use crate::frame::Version;
use crate::response::ErrorCode;

/// Why bytes could not be read as a message, or a message could not be written. Offsets count bytes from the start of
/// the body (after decompression).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CqlError {
    #[error("{what} at byte {offset} needs {needed} bytes but {left} are left; send the whole message")]
    Truncated { what: &'static str, offset: usize, needed: usize, left: usize },
    #[error(
        "{what} at byte {offset} announces {count} elements but only {left} bytes are left; send as many as announced"
    )]
    CountTooLarge { what: &'static str, offset: usize, count: u64, left: usize },
    #[error("{what} at byte {offset} has the length {length}; lengths are zero or more")]
    NegativeLength { what: &'static str, offset: usize, length: i64 },
    #[error("{what} at byte {offset} is not valid UTF-8; encode strings as UTF-8")]
    NotUtf8 { what: &'static str, offset: usize },
    #[error("{what} at byte {offset} has the unknown value {value}; use {expected}")]
    UnknownValue { what: &'static str, offset: usize, value: i64, expected: &'static str },
    #[error("unknown name '{value}' for {what} at byte {offset}; use {expected}")]
    UnknownName { what: &'static str, offset: usize, value: String, expected: &'static str },
    #[error("type at byte {offset} nests deeper than {limit} levels; use a flatter type")]
    TooDeep { offset: usize, limit: usize },
    #[error("{what} at byte {offset} is not possible: {reason}")]
    Invalid { what: &'static str, offset: usize, reason: &'static str },
    #[error("{what} has {length} bytes or elements, the protocol allows {limit}; send less")]
    TooLong { what: &'static str, length: u64, limit: u64 },
    #[error("{what} needs protocol version {needed} or greater, this connection uses {version}")]
    NeedsVersion { what: &'static str, needed: Version, version: Version },
    #[error("row has {cells} cells but the result has {columns} columns")]
    CellCount { cells: usize, columns: usize },

    #[error(
        "Invalid or unsupported protocol version ({version}); the lowest supported version is 3 and the greatest is 5"
    )]
    UnsupportedVersion { version: u8, stream: i16 },
    #[error(
        "envelope uses protocol version {received}, this connection has negotiated {negotiated}; use one version per \
         connection"
    )]
    VersionChanged { stream: i16, negotiated: Version, received: Version },
    #[error("message with version byte {byte:#04x} goes the wrong way; clients send requests, servers send responses")]
    WrongDirection { byte: u8, stream: i16 },
    #[error("unknown opcode {opcode:#04x} in this direction; see section 2.4.1.4 of the protocol specification")]
    UnknownOpcode { stream: i16, opcode: u8, body_length: u32 },
    #[error("Request is too big: length {length} exceeds maximum allowed length {limit}.")]
    EnvelopeTooLarge { stream: i16, length: u32, limit: usize },
    #[error(
        "segment header has the CRC24 {received:#08x}, computed {computed:#08x}; the bytes were damaged on the way, \
         reconnect"
    )]
    SegmentHeaderChecksum { computed: u32, received: u32 },
    #[error(
        "segment payload has the CRC32 {received:#010x}, computed {computed:#010x}; the bytes were damaged on the way, \
         reconnect"
    )]
    SegmentPayloadChecksum { computed: u32, received: u32 },
    #[error("segment is not possible: {reason}; reconnect")]
    Segment { reason: &'static str },

    #[error("body of stream {stream} is compressed but no compression was negotiated; name one in STARTUP")]
    CompressionNotNegotiated { stream: i16 },
    #[error("body does not decompress as {algorithm}: {reason}")]
    Decompression { stream: Option<i16>, algorithm: &'static str, reason: String },
    #[error("body would decompress from {compressed} to {length} bytes, allowed are {limit}; send smaller messages")]
    DecompressedTooLarge { stream: Option<i16>, compressed: usize, length: usize, limit: usize },
    #[error("compression '{name}' is not available in protocol version {version}; use {available}")]
    UnknownCompression { name: String, version: Version, available: &'static str },
}

impl CqlError {
    /// The code of the ERROR message that answers this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            CqlError::EnvelopeTooLarge { .. } => ErrorCode::Invalid,
            CqlError::TooLong { .. } | CqlError::CellCount { .. } => ErrorCode::Server,
            _ => ErrorCode::Protocol,
        }
    }

    /// True if the bytes after the offending envelope can still be told apart, so that the connection may be kept.
    /// False if the answer should be the last thing sent.
    pub fn connection_survives(&self) -> bool {
        use CqlError::*;
        match self {
            UnsupportedVersion { .. }
            | VersionChanged { .. }
            | WrongDirection { .. }
            | SegmentHeaderChecksum { .. }
            | SegmentPayloadChecksum { .. }
            | Segment { .. } => false,
            EnvelopeTooLarge { length, limit, .. } => {
                *length as usize <= crate::limits::ENVELOPE_BODY_BYTES_SKIPPABLE
                    && *limit > crate::limits::ENVELOPE_BODY_BYTES_MAX_UNAUTHENTICATED
            }
            UnknownOpcode { body_length, .. } => *body_length as usize <= crate::limits::ENVELOPE_BODY_BYTES_MAX,
            // A payload of a segment that does not decompress has no stream: the envelopes in it are lost.
            Decompression { stream, .. } | DecompressedTooLarge { stream, .. } => stream.is_some(),
            _ => true,
        }
    }

    /// The stream to answer on, if the error arose in the framing and the stream could be read. Errors in a body do not
    /// carry it: the caller has the envelope.
    pub fn stream(&self) -> Option<i16> {
        use CqlError::*;
        match self {
            UnsupportedVersion { stream, .. }
            | VersionChanged { stream, .. }
            | WrongDirection { stream, .. }
            | UnknownOpcode { stream, .. }
            | EnvelopeTooLarge { stream, .. }
            | CompressionNotNegotiated { stream } => Some(*stream),
            Decompression { stream, .. } | DecompressedTooLarge { stream, .. } => *stream,
            _ => None,
        }
    }
}
