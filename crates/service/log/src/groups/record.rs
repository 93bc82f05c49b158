//! What a coordinator keeps: records for the log, and their bytes.
//!
//! Each opens with the version of the format and its kind. Hostile or damaged bytes are an error, never a panic or a large
//! allocation (checksums are the log's).

use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput};

use crate::groups::request::Name;

/// The format of every encoding of this module. A reader refuses what it does not know.
pub const FORMAT_VERSION: u8 = 1;

const GROUP: u8 = 1;
const GROUP_REMOVED: u8 = 2;
const OFFSETS: u8 = 3;
const OFFSETS_REMOVED: u8 = 4;
const TRANSACTIONAL_OFFSETS: u8 = 5;
const TRANSACTION_ENDED: u8 = 6;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("a record of a group: {0}")]
    Short(#[from] ShortInput),
    #[error("a record of a group has the format {0}; this version of holon reads 1: run a newer one")]
    Version(u8),
    #[error("a record of a group has the kind {0}, which is not known: run a newer version of holon")]
    Kind(u8),
    #[error("a record of a group has the value {value} for {what}")]
    Value { what: &'static str, value: i64 },
}

/// One change of what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A generation of a group: it takes the place of what was known of the group but its offsets.
    Group(GroupRecord),
    /// The group and what it still has of offsets are gone.
    GroupRemoved {
        group: Name,
    },
    Offsets {
        group: Name,
        offsets: Vec<OffsetRecord>,
    },
    OffsetsRemoved {
        group: Name,
        partitions: Vec<(Name, i32)>,
    },
    /// Offsets that count when the transaction of the producer is committed.
    TransactionalOffsets {
        producer_id: i64,
        group: Name,
        offsets: Vec<OffsetRecord>,
    },
    /// Of all groups.
    TransactionEnded {
        producer_id: i64,
        producer_epoch: i16,
        commit: bool,
        at_ms: i64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRecord {
    pub group: Name,
    pub generation: i32,
    pub protocol_type: Option<Name>,
    pub protocol: Option<Name>,
    pub leader: Option<Name>,
    /// Since when the group is in the state in which this was written; milliseconds of the wall clock.
    pub since_ms: i64,
    pub members: Vec<MemberRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRecord {
    pub member: Name,
    pub instance: Option<Name>,
    pub client_id: Name,
    pub client_host: Name,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    /// What it said of itself for the protocol that was chosen.
    pub metadata: Bytes,
    pub assignment: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetRecord {
    pub topic: Name,
    pub partition: i32,
    pub value: OffsetValue,
}

/// What is kept for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetValue {
    pub offset: i64,
    /// -1: not known.
    pub leader_epoch: i32,
    pub metadata: Name,
    /// Milliseconds of the wall clock, as all times here.
    pub committed_ms: i64,
    /// Only if the client asked for a retention of its own.
    pub expires_ms: Option<i64>,
    /// 0: not known.
    pub topic_id: u128,
}

impl Record {
    pub fn encode(&self) -> Bytes {
        let mut writer = ByteWriter::new();
        self.write(&mut writer);
        writer.freeze()
    }

    pub(crate) fn write(&self, writer: &mut ByteWriter) {
        writer.put_u8(FORMAT_VERSION);
        match self {
            Record::Group(group) => {
                writer.put_u8(GROUP);
                group.write(writer);
            }
            Record::GroupRemoved { group } => {
                writer.put_u8(GROUP_REMOVED);
                put_name(writer, group);
            }
            Record::Offsets { group, offsets } => {
                writer.put_u8(OFFSETS);
                put_name(writer, group);
                put_offsets(writer, offsets);
            }
            Record::TransactionalOffsets { producer_id, group, offsets } => {
                writer.put_u8(TRANSACTIONAL_OFFSETS);
                writer.put_signed_varint(*producer_id);
                put_name(writer, group);
                put_offsets(writer, offsets);
            }
            Record::TransactionEnded { producer_id, producer_epoch, commit, at_ms } => {
                writer.put_u8(TRANSACTION_ENDED);
                writer.put_signed_varint(*producer_id);
                writer.put_signed_varint(i64::from(*producer_epoch));
                writer.put_u8(u8::from(*commit));
                writer.put_signed_varint(*at_ms);
            }
            Record::OffsetsRemoved { group, partitions } => {
                writer.put_u8(OFFSETS_REMOVED);
                put_name(writer, group);
                writer.put_varint(partitions.len() as u64);
                for (topic, partition) in partitions {
                    put_name(writer, topic);
                    writer.put_signed_varint(i64::from(*partition));
                }
            }
        }
    }

    pub fn decode(bytes: Bytes) -> Result<Record, DecodeError> {
        let mut reader = ByteReader::new(bytes);
        let record = Record::read(&mut reader)?;
        reader.end()?;
        Ok(record)
    }

    pub(crate) fn read(reader: &mut ByteReader) -> Result<Record, DecodeError> {
        match reader.u8()? {
            FORMAT_VERSION => {}
            other => return Err(DecodeError::Version(other)),
        }
        match reader.u8()? {
            GROUP => Ok(Record::Group(GroupRecord::read(reader)?)),
            GROUP_REMOVED => Ok(Record::GroupRemoved { group: name(reader)? }),
            OFFSETS => {
                let group = name(reader)?;
                Ok(Record::Offsets { group, offsets: offsets(reader)? })
            }
            TRANSACTIONAL_OFFSETS => {
                let (producer_id, group) = (reader.signed_varint()?, name(reader)?);
                Ok(Record::TransactionalOffsets { producer_id, group, offsets: offsets(reader)? })
            }
            TRANSACTION_ENDED => {
                let (producer_id, epoch) = (reader.signed_varint()?, reader.signed_varint()?);
                let producer_epoch =
                    i16::try_from(epoch).map_err(|_| DecodeError::Value { what: "an epoch", value: epoch })?;
                let (commit, at_ms) = (flag(reader)?, reader.signed_varint()?);
                Ok(Record::TransactionEnded { producer_id, producer_epoch, commit, at_ms })
            }
            OFFSETS_REMOVED => {
                let group = name(reader)?;
                let count = reader.count()?;
                let mut partitions = Vec::new();
                for _ in 0..count {
                    partitions.push((name(reader)?, number(reader, "a partition")?));
                }
                Ok(Record::OffsetsRemoved { group, partitions })
            }
            other => Err(DecodeError::Kind(other)),
        }
    }
}

impl GroupRecord {
    fn write(&self, writer: &mut ByteWriter) {
        put_name(writer, &self.group);
        writer.put_signed_varint(i64::from(self.generation));
        put_option(writer, self.protocol_type.as_ref());
        put_option(writer, self.protocol.as_ref());
        put_option(writer, self.leader.as_ref());
        writer.put_signed_varint(self.since_ms);
        writer.put_varint(self.members.len() as u64);
        for member in &self.members {
            put_name(writer, &member.member);
            put_option(writer, member.instance.as_ref());
            put_name(writer, &member.client_id);
            put_name(writer, &member.client_host);
            writer.put_signed_varint(i64::from(member.session_timeout_ms));
            writer.put_signed_varint(i64::from(member.rebalance_timeout_ms));
            writer.put_prefixed(&member.metadata);
            writer.put_prefixed(&member.assignment);
        }
    }

    fn read(reader: &mut ByteReader) -> Result<GroupRecord, DecodeError> {
        let group = name(reader)?;
        let generation = number(reader, "a generation")?;
        let (protocol_type, protocol, leader) = (option(reader)?, option(reader)?, option(reader)?);
        let since_ms = reader.signed_varint()?;
        let count = reader.count()?;
        let mut members = Vec::new();
        for _ in 0..count {
            members.push(MemberRecord {
                member: name(reader)?,
                instance: option(reader)?,
                client_id: name(reader)?,
                client_host: name(reader)?,
                session_timeout_ms: number(reader, "a session timeout")?,
                rebalance_timeout_ms: number(reader, "a rebalance timeout")?,
                metadata: reader.prefixed()?,
                assignment: reader.prefixed()?,
            });
        }
        Ok(GroupRecord { group, generation, protocol_type, protocol, leader, since_ms, members })
    }
}

impl OffsetValue {
    fn write(&self, writer: &mut ByteWriter) {
        writer.put_signed_varint(self.offset);
        writer.put_signed_varint(i64::from(self.leader_epoch));
        put_name(writer, &self.metadata);
        writer.put_signed_varint(self.committed_ms);
        writer.put_u8(u8::from(self.expires_ms.is_some()));
        if let Some(expires_ms) = self.expires_ms {
            writer.put_signed_varint(expires_ms);
        }
        writer.put_u128(self.topic_id);
    }

    fn read(reader: &mut ByteReader) -> Result<OffsetValue, DecodeError> {
        Ok(OffsetValue {
            offset: reader.signed_varint()?,
            leader_epoch: number(reader, "a leader epoch")?,
            metadata: name(reader)?,
            committed_ms: reader.signed_varint()?,
            expires_ms: if flag(reader)? { Some(reader.signed_varint()?) } else { None },
            topic_id: reader.u128()?,
        })
    }
}

fn put_offsets(writer: &mut ByteWriter, offsets: &[OffsetRecord]) {
    writer.put_varint(offsets.len() as u64);
    for offset in offsets {
        put_name(writer, &offset.topic);
        writer.put_signed_varint(i64::from(offset.partition));
        offset.value.write(writer);
    }
}

fn offsets(reader: &mut ByteReader) -> Result<Vec<OffsetRecord>, DecodeError> {
    let count = reader.count()?;
    let mut offsets = Vec::new();
    for _ in 0..count {
        let topic = name(reader)?;
        let partition = number(reader, "a partition")?;
        offsets.push(OffsetRecord { topic, partition, value: OffsetValue::read(reader)? });
    }
    Ok(offsets)
}

fn put_name(writer: &mut ByteWriter, name: &Name) {
    writer.put_prefixed(name.as_bytes());
}

fn put_option(writer: &mut ByteWriter, name: Option<&Name>) {
    writer.put_u8(u8::from(name.is_some()));
    if let Some(name) = name {
        put_name(writer, name);
    }
}

fn name(reader: &mut ByteReader) -> Result<Name, DecodeError> {
    Ok(reader.prefixed_str()?.into())
}

fn option(reader: &mut ByteReader) -> Result<Option<Name>, DecodeError> {
    if flag(reader)? { Ok(Some(name(reader)?)) } else { Ok(None) }
}

fn flag(reader: &mut ByteReader) -> Result<bool, DecodeError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        value => Err(DecodeError::Value { what: "a flag", value: i64::from(value) }),
    }
}

fn number(reader: &mut ByteReader, what: &'static str) -> Result<i32, DecodeError> {
    let value = reader.signed_varint()?;
    i32::try_from(value).map_err(|_| DecodeError::Value { what, value })
}
