//! Produce, versions 3 to 13: records come in as slices of the frame, and the answer is small.
//!
//! Versions 0 to 2 are told by ApiVersions and never read (`Api`).

use crate::errors::ErrorCode;
use crate::reader::{Flaw, NULL, Reader};
use crate::writer::{LeaderIdAndEpoch, NodeEndpoint, Writer};
use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

/// From this version on topics go by their id (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProduceRequest {
    pub transactional_id: Option<StrBytes>,
    /// 0: no answer is sent. 1: the leader has it. -1: all in sync have it. Others are wrong (INVALID_REQUIRED_ACKS).
    pub acks: i16,
    pub timeout_ms: i32,
    pub topics: Vec<ProduceTopic>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProduceTopic {
    /// Empty from version 13 on.
    pub name: StrBytes,
    /// Nil before version 13.
    pub id: Uuid,
    pub partitions: Vec<ProducePartition>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducePartition {
    pub index: i32,
    /// For `ProducedBatch::check`. A slice of the frame.
    pub records: Option<Bytes>,
}

impl ProduceRequest {
    pub(crate) fn read(reader: &mut Reader, version: i16) -> Result<ProduceRequest, Flaw> {
        let transactional_id = reader.nullable_text()?;
        let acks = reader.i16()?;
        let timeout_ms = reader.i32()?;
        let topics = reader.list(|reader| ProduceTopic::read(reader, version))?.ok_or(reader.flaw(NULL))?;
        reader.skip_tags()?;
        Ok(ProduceRequest { transactional_id, acks, timeout_ms, topics })
    }
}

impl ProduceTopic {
    fn read(reader: &mut Reader, version: i16) -> Result<ProduceTopic, Flaw> {
        let (name, id) = read_topic(reader, version, TOPIC_IDS_FROM)?;
        let partitions = reader.list(ProducePartition::read)?.ok_or(reader.flaw(NULL))?;
        reader.skip_tags()?;
        Ok(ProduceTopic { name, id, partitions })
    }
}

impl ProducePartition {
    fn read(reader: &mut Reader) -> Result<ProducePartition, Flaw> {
        let index = reader.i32()?;
        let records = reader.nullable_bytes()?;
        reader.skip_tags()?;
        Ok(ProducePartition { index, records })
    }
}

/// A topic's name, or its id from the version `ids_from` on.
pub(crate) fn read_topic(reader: &mut Reader, version: i16, ids_from: i16) -> Result<(StrBytes, Uuid), Flaw> {
    if version >= ids_from { Ok((StrBytes::new(), reader.uuid()?)) } else { Ok((reader.text()?, Uuid::nil())) }
}

pub(crate) fn write_topic(writer: &mut Writer, (name, id): (&str, Uuid), version: i16, ids_from: i16) {
    if version >= ids_from { writer.uuid(id) } else { writer.text(name) }
}

/// What a version cannot say is left out of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProduceResponse {
    pub topics: Vec<ProducedTopic>,
    pub throttle_time_ms: i32,
    /// Of the leaders that partitions name. Since version 10.
    pub endpoints: Vec<NodeEndpoint>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducedTopic {
    /// Up to version 12.
    pub name: StrBytes,
    /// Since version 13.
    pub id: Uuid,
    pub partitions: Vec<ProducedPartition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducedPartition {
    pub index: i32,
    pub error: ErrorCode,
    /// -1 with an error.
    pub base_offset: i64,
    /// -1 if records keep the timestamps of their producer.
    pub log_append_time_ms: i64,
    /// Since version 5; -1 if it is not known.
    pub log_start_offset: i64,
    /// Since version 8: records that the batch was refused for, by their number in it.
    pub record_errors: Vec<RecordError>,
    /// Since version 8.
    pub error_message: Option<StrBytes>,
    /// Since version 10.
    pub leader: Option<LeaderIdAndEpoch>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    pub index: i32,
    pub message: Option<StrBytes>,
}

impl ProducedPartition {
    /// Nothing of it was stored.
    pub fn refused(index: i32, error: ErrorCode, error_message: Option<StrBytes>) -> ProducedPartition {
        ProducedPartition {
            index,
            error,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: Vec::new(),
            error_message,
            leader: None,
        }
    }

    fn write(&self, writer: &mut Writer, version: i16) {
        writer.i32(self.index);
        writer.i16(self.error.0);
        writer.i64(self.base_offset);
        writer.i64(self.log_append_time_ms);
        if version >= 5 {
            writer.i64(self.log_start_offset);
        }
        if version >= 8 {
            writer.count(self.record_errors.len());
            for error in &self.record_errors {
                writer.i32(error.index);
                writer.nullable_text(error.message.as_deref());
                writer.no_tags();
            }
            writer.nullable_text(self.error_message.as_deref());
        }
        match self.leader {
            Some(leader) if version >= 10 => {
                writer.tags(1);
                writer.tag(0, |writer| leader.write(writer));
            }
            _ => writer.no_tags(),
        }
    }
}

impl ProduceResponse {
    pub(crate) fn write(&self, writer: &mut Writer, version: i16) {
        writer.count(self.topics.len());
        for topic in &self.topics {
            write_topic(writer, (&topic.name, topic.id), version, TOPIC_IDS_FROM);
            writer.count(topic.partitions.len());
            for partition in &topic.partitions {
                partition.write(writer, version);
            }
            writer.no_tags();
        }
        writer.i32(self.throttle_time_ms);
        NodeEndpoint::write_all(if version >= 10 { &self.endpoints } else { &[] }, writer);
    }
}
