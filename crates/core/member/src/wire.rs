//! Messages between machines, bytes ↔ values. Format version 1.
//!
//! ```text
//!   message = version:u8 kind:u8 incarnation:varint address body claim*
//!   address = 0 | 4 ip:4 port:u16 | 6 ip:16 port:u16
//!   body    = ping number | ack number | nack number | ping request number target | gossip | left
//!           | sync question number (range sum)* | sync answer number part parts item* | sync records
//!   claim   = 0 node incarnation version address facts | 1 node incarnation by | 2 node incarnation | 3 node incarnation
//!   range   = start end, boundaries without their trailing zero bytes; length 17 is the end of the space
//! ```
//!
//! Every message begins with its sender's own incarnation and address: whoever hears a restarted node knows at once
//! where it is. Nothing on the wire is a time.

use crate::limits::{FACTS_BYTES_MAX, INCARNATION_END, SYNC_BRANCHES};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, NodeId, ShortInput};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const VERSION: u8 = 1;
/// More than the header of any message takes: two bytes, a varint of up to 9, an address of up to 19.
pub const HEADER_BYTES_MAX: usize = 32;
/// More than a sync message takes before its first item: number, part, parts, count.
pub const SYNC_BODY_BYTES: usize = 16;
/// The longest a question about one range is.
pub const QUESTION_BYTES_MAX: usize = 17 + 17 + 8;

/// What is wrong with a peer's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error(transparent)]
    Short(#[from] ShortInput),
    #[error("gossip format version {0}, not {VERSION}")]
    Version(u8),
    #[error("no such {0}: {1}")]
    Unknown(&'static str, u8),
    #[error("incarnation {0} is beyond every boot")]
    Incarnation(u64),
    #[error("{0} bytes of facts; at most {FACTS_BYTES_MAX}")]
    Facts(usize),
    #[error("a range that ends before it starts, or a cut outside its range")]
    Range,
}

/// What is said of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    Alive {
        node: NodeId,
        incarnation: u64,
        version: u64,
        address: Option<SocketAddr>,
        facts: Bytes,
    },
    /// `by`: who could not reach it; claims by different ones confirm each other.
    Suspect {
        node: NodeId,
        incarnation: u64,
        by: NodeId,
    },
    Dead {
        node: NodeId,
        incarnation: u64,
    },
    Left {
        node: NodeId,
        incarnation: u64,
    },
}

/// Part of the space of ids: from `start` to before `end`, or to the end of the space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub start: u128,
    pub end: Option<u128>,
}

impl Range {
    pub const ALL: Range = Range { start: 0, end: None };

    #[cfg(test)]
    pub fn contains(&self, node: NodeId) -> bool {
        node.0 >= self.start && self.end.is_none_or(|end| node.0 < end)
    }
}

/// The answer about one range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Equal(Range),
    /// The range in pieces, each with the answerer's sum.
    Cut(Vec<(Range, u64)>),
    /// All the answerer knows of the range.
    Records(Range, Vec<Claim>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Ping {
        number: u64,
    },
    Ack {
        number: u64,
    },
    /// A helper has no answer yet: it lives, and so does the way to it (Lifeguard §IV-A).
    Nack {
        number: u64,
    },
    PingRequest {
        number: u64,
        target: NodeId,
    },
    Gossip,
    SyncQuestion {
        number: u64,
        ranges: Vec<(Range, u64)>,
    },
    SyncAnswer {
        number: u64,
        part: u8,
        parts: u8,
        items: Vec<Item>,
    },
    /// What the answerer lacked. The claims of this message are merged as those of an answer.
    SyncRecords,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub incarnation: u64,
    pub address: Option<SocketAddr>,
    pub body: Body,
    pub claims: Vec<Claim>,
}

pub fn put_header(writer: &mut ByteWriter, kind: u8, incarnation: u64, address: Option<SocketAddr>) {
    writer.put_u8(VERSION);
    writer.put_u8(kind);
    writer.put_varint(incarnation);
    put_address(writer, address);
}

impl Body {
    pub fn kind(&self) -> u8 {
        match self {
            Body::Ping { .. } => 0,
            Body::Ack { .. } => 1,
            Body::Nack { .. } => 2,
            Body::PingRequest { .. } => 3,
            Body::Gossip => 4,
            Body::SyncQuestion { .. } => 5,
            Body::SyncAnswer { .. } => 6,
            Body::SyncRecords => 7,
        }
    }

    pub fn put(&self, writer: &mut ByteWriter) {
        match self {
            Body::Ping { number } | Body::Ack { number } | Body::Nack { number } => writer.put_varint(*number),
            Body::PingRequest { number, target } => {
                writer.put_varint(*number);
                writer.put_u128(target.0);
            }
            Body::Gossip | Body::SyncRecords => {}
            Body::SyncQuestion { number, ranges } => {
                writer.put_varint(*number);
                writer.put_varint(ranges.len() as u64);
                for (range, sum) in ranges {
                    put_range(writer, *range);
                    writer.put_u64(*sum);
                }
            }
            Body::SyncAnswer { number, part, parts, items } => {
                writer.put_varint(*number);
                writer.put_u8(*part);
                writer.put_u8(*parts);
                writer.put_varint(items.len() as u64);
                items.iter().for_each(|item| item.put(writer));
            }
        }
    }

    fn read(kind: u8, reader: &mut ByteReader) -> Result<Body, WireError> {
        Ok(match kind {
            0 => Body::Ping { number: reader.varint()? },
            1 => Body::Ack { number: reader.varint()? },
            2 => Body::Nack { number: reader.varint()? },
            3 => Body::PingRequest { number: reader.varint()?, target: NodeId(reader.u128()?) },
            4 => Body::Gossip,
            5 => {
                let number = reader.varint()?;
                let count = reader.count()?;
                let mut ranges = Vec::new();
                for _ in 0..count {
                    ranges.push((read_range(reader)?, reader.u64()?));
                }
                Body::SyncQuestion { number, ranges }
            }
            6 => {
                let (number, part, parts) = (reader.varint()?, reader.u8()?, reader.u8()?);
                let count = reader.count()?;
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(Item::read(reader)?);
                }
                Body::SyncAnswer { number, part, parts, items }
            }
            7 => Body::SyncRecords,
            other => return Err(WireError::Unknown("kind of message", other)),
        })
    }
}

impl Item {
    pub fn put(&self, writer: &mut ByteWriter) {
        match self {
            Item::Equal(range) => {
                writer.put_u8(0);
                put_range(writer, *range);
            }
            Item::Cut(pieces) => {
                writer.put_u8(1);
                writer.put_varint(pieces.len() as u64);
                // The end of a piece is the start of the next: only the last end is written.
                for (range, sum) in pieces {
                    put_boundary(writer, Some(range.start));
                    writer.put_u64(*sum);
                }
                put_boundary(writer, pieces.last().and_then(|(range, _)| range.end));
            }
            Item::Records(range, claims) => {
                writer.put_u8(2);
                put_range(writer, *range);
                writer.put_varint(claims.len() as u64);
                claims.iter().for_each(|claim| claim.put(writer));
            }
        }
    }

    fn read(reader: &mut ByteReader) -> Result<Item, WireError> {
        Ok(match reader.u8()? {
            0 => Item::Equal(read_range(reader)?),
            1 => {
                let count = reader.count()?;
                if count == 0 || count > SYNC_BRANCHES {
                    return Err(WireError::Range);
                }
                let mut starts = Vec::new();
                for _ in 0..count {
                    starts.push((read_boundary(reader)?.ok_or(WireError::Range)?, reader.u64()?));
                }
                let last = read_boundary(reader)?;
                let ends = starts.iter().skip(1).map(|(start, _)| Some(*start)).chain([last]).collect::<Vec<_>>();
                let pieces: Vec<_> =
                    starts.iter().zip(ends).map(|((start, sum), end)| (Range { start: *start, end }, *sum)).collect();
                if pieces.iter().any(|(range, _)| range.end.is_some_and(|end| end <= range.start)) {
                    return Err(WireError::Range);
                }
                Item::Cut(pieces)
            }
            2 => {
                let range = read_range(reader)?;
                let count = reader.count()?;
                let mut claims = Vec::new();
                for _ in 0..count {
                    claims.push(Claim::read(reader)?);
                }
                Item::Records(range, claims)
            }
            other => return Err(WireError::Unknown("sync item", other)),
        })
    }
}

impl Claim {
    pub fn put(&self, writer: &mut ByteWriter) {
        let (tag, node, incarnation) = match self {
            Claim::Alive { node, incarnation, .. } => (0, node, incarnation),
            Claim::Suspect { node, incarnation, .. } => (1, node, incarnation),
            Claim::Dead { node, incarnation } => (2, node, incarnation),
            Claim::Left { node, incarnation } => (3, node, incarnation),
        };
        writer.put_u8(tag);
        writer.put_u128(node.0);
        writer.put_varint(*incarnation);
        match self {
            Claim::Alive { version, address, facts, .. } => {
                writer.put_varint(*version);
                put_address(writer, *address);
                writer.put_prefixed(facts);
            }
            Claim::Suspect { by, .. } => writer.put_u128(by.0),
            Claim::Dead { .. } | Claim::Left { .. } => {}
        }
    }

    pub fn bytes(&self) -> usize {
        let mut writer = ByteWriter::new();
        self.put(&mut writer);
        writer.len()
    }

    fn read(reader: &mut ByteReader) -> Result<Claim, WireError> {
        let tag = reader.u8()?;
        let (node, incarnation) = (NodeId(reader.u128()?), read_incarnation(reader)?);
        Ok(match tag {
            0 => {
                let (version, address, facts) = (reader.varint()?, read_address(reader)?, reader.prefixed()?);
                if facts.len() > FACTS_BYTES_MAX {
                    return Err(WireError::Facts(facts.len()));
                }
                // A copy: a slice would keep the whole message in memory for as long as the member is known.
                Claim::Alive { node, incarnation, version, address, facts: Bytes::copy_from_slice(&facts) }
            }
            1 => Claim::Suspect { node, incarnation, by: NodeId(reader.u128()?) },
            2 => Claim::Dead { node, incarnation },
            3 => Claim::Left { node, incarnation },
            other => return Err(WireError::Unknown("claim", other)),
        })
    }
}

impl Message {
    pub fn read(bytes: Bytes) -> Result<Message, WireError> {
        let mut reader = ByteReader::new(bytes);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let kind = reader.u8()?;
        let (incarnation, address) = (read_incarnation(&mut reader)?, read_address(&mut reader)?);
        let body = Body::read(kind, &mut reader)?;
        let mut claims = Vec::new();
        while !reader.is_empty() {
            claims.push(Claim::read(&mut reader)?);
        }
        Ok(Message { incarnation, address, body, claims })
    }
}

fn read_incarnation(reader: &mut ByteReader) -> Result<u64, WireError> {
    let incarnation = reader.varint()?;
    if incarnation < INCARNATION_END { Ok(incarnation) } else { Err(WireError::Incarnation(incarnation)) }
}

fn put_address(writer: &mut ByteWriter, address: Option<SocketAddr>) {
    match address.map(|address| (address.ip(), address.port())) {
        None => writer.put_u8(0),
        Some((IpAddr::V4(ip), port)) => {
            writer.put_u8(4);
            writer.put_slice(&ip.octets());
            writer.put_u16(port);
        }
        Some((IpAddr::V6(ip), port)) => {
            writer.put_u8(6);
            writer.put_slice(&ip.octets());
            writer.put_u16(port);
        }
    }
}

fn read_address(reader: &mut ByteReader) -> Result<Option<SocketAddr>, WireError> {
    let ip = match reader.u8()? {
        0 => return Ok(None),
        4 => IpAddr::V4(Ipv4Addr::from(reader.u32()?.to_le_bytes())),
        6 => IpAddr::V6(Ipv6Addr::from(reader.u128()?.to_le_bytes())),
        other => return Err(WireError::Unknown("kind of address", other)),
    };
    Ok(Some(SocketAddr::new(ip, reader.u16()?)))
}

fn put_boundary(writer: &mut ByteWriter, boundary: Option<u128>) {
    let Some(boundary) = boundary else { return writer.put_u8(17) };
    let bytes = boundary.to_be_bytes();
    let length = 16 - (boundary.trailing_zeros() as usize / 8).min(16);
    writer.put_u8(length as u8);
    writer.put_slice(&bytes[..length]);
}

fn read_boundary(reader: &mut ByteReader) -> Result<Option<u128>, WireError> {
    let length = usize::from(reader.u8()?);
    match length {
        17 => Ok(None),
        0..=16 => {
            let mut bytes = [0; 16];
            bytes[..length].copy_from_slice(&reader.bytes(length)?);
            Ok(Some(u128::from_be_bytes(bytes)))
        }
        _ => Err(WireError::Range),
    }
}

fn put_range(writer: &mut ByteWriter, range: Range) {
    put_boundary(writer, Some(range.start));
    put_boundary(writer, range.end);
}

fn read_range(reader: &mut ByteReader) -> Result<Range, WireError> {
    let range = Range { start: read_boundary(reader)?.ok_or(WireError::Range)?, end: read_boundary(reader)? };
    if range.end.is_some_and(|end| end <= range.start) { Err(WireError::Range) } else { Ok(range) }
}
