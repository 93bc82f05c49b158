//! Envelopes: the 9-byte header and its body (section 2.4; in v3 and v4 the whole of the framing).

use bytes::{Bytes, BytesMut};
use std::fmt;

use crate::error::CqlError;

/// Length of the header of an envelope, in bytes.
pub const HEADER_LENGTH: usize = 9;

/// The bit of the version byte that marks a response.
const RESPONSE_BIT: u8 = 0x80;

/// A protocol version that this codec speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Version {
    V3 = 3,
    V4 = 4,
    V5 = 5,
}

impl Version {
    /// All versions, oldest first.
    pub const EVERY: [Version; 3] = [Version::V3, Version::V4, Version::V5];
    /// The lowest supported version.
    pub const LOWEST: Version = Version::V3;
    /// The greatest supported version.
    pub const GREATEST: Version = Version::V5;

    /// The version with this number, without the direction bit.
    pub fn from_number(number: u8) -> Option<Version> {
        match number {
            3 => Some(Version::V3),
            4 => Some(Version::V4),
            5 => Some(Version::V5),
            _ => None,
        }
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.number())
    }
}

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From a client to a server.
    Request,
    /// From a server to a client.
    Response,
}

/// What a message is (section 2.4.1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Opcode {
    Error = 0x00,
    Startup = 0x01,
    Ready = 0x02,
    Authenticate = 0x03,
    Options = 0x05,
    Supported = 0x06,
    Query = 0x07,
    Result = 0x08,
    Prepare = 0x09,
    Execute = 0x0A,
    Register = 0x0B,
    Event = 0x0C,
    Batch = 0x0D,
    AuthChallenge = 0x0E,
    AuthResponse = 0x0F,
    AuthSuccess = 0x10,
}

impl Opcode {
    /// The opcode with this number, if there is one.
    pub fn from_number(number: u8) -> Option<Opcode> {
        Some(match number {
            0x00 => Opcode::Error,
            0x01 => Opcode::Startup,
            0x02 => Opcode::Ready,
            0x03 => Opcode::Authenticate,
            0x05 => Opcode::Options,
            0x06 => Opcode::Supported,
            0x07 => Opcode::Query,
            0x08 => Opcode::Result,
            0x09 => Opcode::Prepare,
            0x0A => Opcode::Execute,
            0x0B => Opcode::Register,
            0x0C => Opcode::Event,
            0x0D => Opcode::Batch,
            0x0E => Opcode::AuthChallenge,
            0x0F => Opcode::AuthResponse,
            0x10 => Opcode::AuthSuccess,
            _ => return None,
        })
    }

    /// The number on the wire.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The way messages of this kind go.
    pub fn direction(self) -> Direction {
        match self {
            Opcode::Startup
            | Opcode::Options
            | Opcode::Query
            | Opcode::Prepare
            | Opcode::Execute
            | Opcode::Register
            | Opcode::Batch
            | Opcode::AuthResponse => Direction::Request,
            _ => Direction::Response,
        }
    }
}

/// Flags of an envelope (section 2.4.1.2). Unknown bits are kept and ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// The body is compressed (v3 and v4 only; ignored in v5).
    pub const COMPRESSED: Flags = Flags(0x01);
    /// Request: trace this. Response: a tracing id leads the body.
    pub const TRACING: Flags = Flags(0x02);
    /// A [bytes map] precedes the message.
    pub const CUSTOM_PAYLOAD: Flags = Flags(0x04);
    /// Response: warnings precede the message.
    pub const WARNING: Flags = Flags(0x08);
    /// The client accepts versions in beta. Of no effect: no version here is in beta.
    pub const USE_BETA: Flags = Flags(0x10);

    /// True if all bits of `other` are set.
    pub fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets of bits.
    pub fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// These bits without those of `other`.
    pub fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }
}

/// The header of an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub version: Version,
    pub flags: Flags,
    /// Chosen by the client and repeated by the server; negative for events.
    pub stream: i16,
    /// Also tells the direction.
    pub opcode: Opcode,
    /// Length of the body that follows, in bytes, as it is on the wire (compressed or not).
    pub body_length: u32,
}

impl Header {
    /// The 9 bytes.
    pub fn to_bytes(&self) -> [u8; HEADER_LENGTH] {
        let direction = match self.opcode.direction() {
            Direction::Request => 0,
            Direction::Response => RESPONSE_BIT,
        };
        let [stream_high, stream_low] = self.stream.to_be_bytes();
        let [length_0, length_1, length_2, length_3] = self.body_length.to_be_bytes();
        let (version, opcode) = (self.version.number() | direction, self.opcode.number());
        [version, self.flags.0, stream_high, stream_low, opcode, length_0, length_1, length_2, length_3]
    }

    /// Appends the 9 bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        out.extend_from_slice(&self.to_bytes());
    }

    /// Reads a header from the start of `bytes`. `None` while more bytes are needed.
    ///
    /// # Errors
    /// An unsupported version (told from as few bytes as carry version and stream: v1 and v2 have shorter headers, and
    /// a client of another protocol may never send nine bytes), a message going the wrong way, an unknown opcode.
    pub fn decode(bytes: &[u8], expected: Direction) -> Result<Option<Header>, CqlError> {
        let &[version_byte, flags, stream_high, ref rest @ ..] = bytes else { return Ok(None) };
        let number = version_byte & !RESPONSE_BIT;
        if matches!(number, 1 | 2) {
            let stream = i16::from(stream_high.cast_signed());
            return Err(CqlError::UnsupportedVersion { version: number, stream });
        }
        let Some(&stream_low) = rest.first() else { return Ok(None) };
        let stream = i16::from_be_bytes([stream_high, stream_low]);
        let Some(version) = Version::from_number(number) else {
            return Err(CqlError::UnsupportedVersion { version: number, stream });
        };
        let direction = if version_byte & RESPONSE_BIT == 0 { Direction::Request } else { Direction::Response };
        if direction != expected {
            return Err(CqlError::WrongDirection { byte: version_byte, stream });
        }
        let &[_, opcode, length_0, length_1, length_2, length_3, ..] = rest else { return Ok(None) };
        let body_length = u32::from_be_bytes([length_0, length_1, length_2, length_3]);
        match Opcode::from_number(opcode) {
            Some(known) if known.direction() == expected => {
                Ok(Some(Header { version, flags: Flags(flags), stream, opcode: known, body_length }))
            }
            _ => Err(CqlError::UnknownOpcode { stream, opcode, body_length }),
        }
    }
}

/// A whole envelope: its body is decompressed, and a slice of the buffer it arrived in where it was not compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    pub header: Header,
    pub body: Bytes,
}
