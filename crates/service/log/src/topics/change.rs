//! What is asked of the topics, as bytes of the metadata log, and why it was refused, as bytes of the answer.

use crate::leaders;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, GroupId, NodeId, ShortInput, TabletId};
use std::collections::BTreeMap;
use thiserror::Error;

const CREATE: u8 = 1;
const DELETE: u8 = 2;
const CONFIGURE: u8 = 3;
const TAKE_PRODUCERS: u8 = 4;
const LEAD: u8 = 5;
const NUMBER: u8 = 6;
const GROW: u8 = 7;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicChange {
    /// The answer is the index of the entry, which is the topic's group.
    Create {
        name: String,
        partitions: u32,
        replication: u32,
        configs: BTreeMap<String, String>,
    },
    Delete {
        group: GroupId,
    },
    /// Without a value: as the default is.
    Configure {
        group: GroupId,
        configs: Vec<(String, Option<String>)>,
    },
    /// The answer is the first of so many ids of producers ([`super::PRODUCER_BLOCK`]).
    TakeProducers,
    /// Each counts or not by itself: whoever proposed it sees that in the leadership.
    Lead {
        changes: Vec<(TabletId, leaders::Change)>,
    },
    /// The topic has so many partitions from now on, more than before.
    Grow {
        group: GroupId,
        partitions: u32,
    },
    /// A node is a broker from now on. Fine if it was.
    Number {
        node: NodeId,
    },
}

/// Why nothing was changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refused {
    #[error("the entry is not readable by this version (byte {0}): upgrade this node")]
    Unreadable(u32),
    #[error(
        "the name of a topic has 1 to 249 of the characters a-z, A-Z, 0-9, '.', '_' and '-', and is not '.' or '..'"
    )]
    Name,
    #[error("there is such a topic already")]
    Exists,
    #[error("the name differs from that of {0} in '.' and '_' only")]
    Collides(String),
    #[error("a topic has 1 to 65535 partitions, not {0}")]
    Partitions(u32),
    #[error("a partition is on 1 node or more, not {0}")]
    Replication(u32),
    #[error("there is no such topic")]
    NoTopic,
    #[error("the topic has {0} partitions already")]
    NotMore(u32),
}

impl TopicChange {
    pub fn encode(&self) -> Bytes {
        let mut out = ByteWriter::new();
        match self {
            TopicChange::Create { name, partitions, replication, configs } => {
                out.put_u8(CREATE);
                out.put_prefixed(name.as_bytes());
                out.put_u32(*partitions);
                out.put_u32(*replication);
                put_configs(&mut out, configs.iter().map(|(key, value)| (key, Some(value))));
            }
            TopicChange::Delete { group } => {
                out.put_u8(DELETE);
                out.put_u64(group.0);
            }
            TopicChange::Configure { group, configs } => {
                out.put_u8(CONFIGURE);
                out.put_u64(group.0);
                put_configs(&mut out, configs.iter().map(|(key, value)| (key, value.as_ref())));
            }
            TopicChange::TakeProducers => out.put_u8(TAKE_PRODUCERS),
            TopicChange::Lead { changes } => {
                out.put_u8(LEAD);
                out.put_varint(changes.len() as u64);
                for (tablet, change) in changes {
                    out.put_u64(tablet.0);
                    change.encode(&mut out);
                }
            }
            TopicChange::Grow { group, partitions } => {
                out.put_u8(GROW);
                out.put_u64(group.0);
                out.put_u32(*partitions);
            }
            TopicChange::Number { node } => {
                out.put_u8(NUMBER);
                out.put_u128(node.0);
            }
        }
        out.freeze()
    }

    /// # Errors
    /// It is of a newer version, or cut off.
    pub fn decode(entry: &Bytes) -> Result<TopicChange, ShortInput> {
        let mut input = ByteReader::new(entry.clone());
        let change = match input.u8()? {
            CREATE => {
                let (name, partitions, replication) = (input.prefixed_str()?, input.u32()?, input.u32()?);
                let configs = configs(&mut input)?.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
                TopicChange::Create { name, partitions, replication, configs }
            }
            DELETE => TopicChange::Delete { group: GroupId(input.u64()?) },
            CONFIGURE => TopicChange::Configure { group: GroupId(input.u64()?), configs: configs(&mut input)? },
            TAKE_PRODUCERS => TopicChange::TakeProducers,
            LEAD => {
                let change = |input: &mut ByteReader| Ok((TabletId(input.u64()?), leaders::Change::decode(input)?));
                let count = input.count()?;
                TopicChange::Lead { changes: (0..count).map(|_| change(&mut input)).collect::<Result<_, _>>()? }
            }
            GROW => TopicChange::Grow { group: GroupId(input.u64()?), partitions: input.u32()? },
            NUMBER => TopicChange::Number { node: NodeId(input.u128()?) },
            _ => return Err(ShortInput { offset: 0 }),
        };
        input.end()?;
        Ok(change)
    }
}

pub fn put_configs<'a>(out: &mut ByteWriter, configs: impl ExactSizeIterator<Item = (&'a String, Option<&'a String>)>) {
    out.put_varint(configs.len() as u64);
    for (key, value) in configs {
        out.put_prefixed(key.as_bytes());
        out.put_u8(u8::from(value.is_some()));
        value.into_iter().for_each(|value| out.put_prefixed(value.as_bytes()));
    }
}

pub fn configs(input: &mut ByteReader) -> Result<Vec<(String, Option<String>)>, ShortInput> {
    let mut configs = Vec::new();
    for _ in 0..input.count()? {
        let key = input.prefixed_str()?;
        let value = if input.u8()? == 0 { None } else { Some(input.prefixed_str()?) };
        configs.push((key, value));
    }
    Ok(configs)
}

impl Refused {
    pub fn encode(&self) -> Bytes {
        let mut out = ByteWriter::new();
        let (kind, number, text) = match self {
            Refused::Unreadable(at) => (0, *at, ""),
            Refused::Name => (1, 0, ""),
            Refused::Exists => (2, 0, ""),
            Refused::Collides(other) => (3, 0, other.as_str()),
            Refused::Partitions(count) => (4, *count, ""),
            Refused::Replication(count) => (5, *count, ""),
            Refused::NoTopic => (6, 0, ""),
            Refused::NotMore(count) => (7, *count, ""),
        };
        out.put_u8(kind);
        out.put_u32(number);
        out.put_prefixed(text.as_bytes());
        out.freeze()
    }

    /// # Errors
    /// It is not what [`Refused::encode`] wrote.
    pub fn decode(bytes: &Bytes) -> Result<Refused, ShortInput> {
        let mut input = ByteReader::new(bytes.clone());
        let (kind, number, text) = (input.u8()?, input.u32()?, input.prefixed_str()?);
        input.end()?;
        Ok(match kind {
            0 => Refused::Unreadable(number),
            1 => Refused::Name,
            2 => Refused::Exists,
            3 => Refused::Collides(text),
            4 => Refused::Partitions(number),
            5 => Refused::Replication(number),
            6 => Refused::NoTopic,
            7 => Refused::NotMore(number),
            _ => return Err(ShortInput { offset: 0 }),
        })
    }
}
