//! Fetch, versions 4 to 18: what is asked, and an answer whose records are never copied.
//!
//! What only Kafka's own followers ask with is read over: the id of a cluster, of a directory, a follower's high watermark. The
//! snapshots of its metadata log are never answered.

use crate::errors::ErrorCode;
use crate::limits::COPIED_BYTES_MAX;
use crate::produce::{read_topic, write_topic};
use crate::reader::{Flaw, NULL, Reader};
use crate::writer::{LeaderIdAndEpoch, NodeEndpoint, Writer};
use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

/// From this version on topics go by their id (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;
/// From this version on a follower says who it is in a tagged field (KIP-903).
const REPLICA_STATE_FROM: i16 = 15;
/// From this version on the answer tells where leaders are (KIP-951).
const ENDPOINTS_FROM: i16 = 16;

/// The isolation level of who reads no records but those of transactions that are committed (and of none).
pub const READ_COMMITTED: i8 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    /// -1 of a consumer.
    pub replica_id: i32,
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    /// 0: read uncommitted. 1: read committed.
    pub isolation_level: i8,
    /// 0: none, since version 7 (KIP-227).
    pub session_id: i32,
    /// -1: no session, 0: a new one, before version 7 always -1.
    pub session_epoch: i32,
    pub topics: Vec<FetchTopic>,
    /// Partitions that leave the session.
    pub forgotten: Vec<ForgottenTopic>,
    /// Since version 11; empty if it is not known.
    pub rack_id: StrBytes,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchTopic {
    /// Empty from version 13 on.
    pub name: StrBytes,
    /// Nil before version 13.
    pub id: Uuid,
    pub partitions: Vec<FetchPartition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPartition {
    pub index: i32,
    /// Since version 9; -1 if the client knows none.
    pub current_leader_epoch: i32,
    pub fetch_offset: i64,
    /// Since version 12, of the last record that the client has; -1 if none.
    pub last_fetched_epoch: i32,
    /// Since version 5, a follower's; -1 of a consumer.
    pub log_start_offset: i64,
    pub max_bytes: i32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForgottenTopic {
    pub name: StrBytes,
    pub id: Uuid,
    pub partitions: Vec<i32>,
}

impl FetchRequest {
    pub(crate) fn read(reader: &mut Reader, version: i16) -> Result<FetchRequest, Flaw> {
        let mut replica_id = if version < REPLICA_STATE_FROM { reader.i32()? } else { -1 };
        let max_wait_ms = reader.i32()?;
        let min_bytes = reader.i32()?;
        let max_bytes = reader.i32()?;
        let isolation_level = reader.i8()?;
        let (session_id, session_epoch) = if version >= 7 { (reader.i32()?, reader.i32()?) } else { (0, -1) };
        let topics = reader.list(|reader| FetchTopic::read(reader, version))?.ok_or(reader.flaw(NULL))?;
        let forgotten = if version >= 7 {
            reader.list(|reader| ForgottenTopic::read(reader, version))?.ok_or(reader.flaw(NULL))?
        } else {
            Vec::new()
        };
        let rack_id = if version >= 11 { reader.text()? } else { StrBytes::new() };
        reader.tags(|tag, reader| {
            if tag == 1 && version >= REPLICA_STATE_FROM {
                replica_id = reader.i32()?;
            }
            Ok(())
        })?;
        Ok(FetchRequest {
            replica_id,
            max_wait_ms,
            min_bytes,
            max_bytes,
            isolation_level,
            session_id,
            session_epoch,
            topics,
            forgotten,
            rack_id,
        })
    }
}

impl FetchTopic {
    fn read(reader: &mut Reader, version: i16) -> Result<FetchTopic, Flaw> {
        let (name, id) = read_topic(reader, version, TOPIC_IDS_FROM)?;
        let partitions = reader.list(|reader| FetchPartition::read(reader, version))?.ok_or(reader.flaw(NULL))?;
        reader.skip_tags()?;
        Ok(FetchTopic { name, id, partitions })
    }
}

impl FetchPartition {
    fn read(reader: &mut Reader, version: i16) -> Result<FetchPartition, Flaw> {
        let index = reader.i32()?;
        let current_leader_epoch = if version >= 9 { reader.i32()? } else { -1 };
        let fetch_offset = reader.i64()?;
        let last_fetched_epoch = if version >= 12 { reader.i32()? } else { -1 };
        let log_start_offset = if version >= 5 { reader.i64()? } else { -1 };
        let max_bytes = reader.i32()?;
        reader.skip_tags()?;
        Ok(FetchPartition {
            index,
            current_leader_epoch,
            fetch_offset,
            last_fetched_epoch,
            log_start_offset,
            max_bytes,
        })
    }
}

impl ForgottenTopic {
    fn read(reader: &mut Reader, version: i16) -> Result<ForgottenTopic, Flaw> {
        let (name, id) = read_topic(reader, version, TOPIC_IDS_FROM)?;
        let partitions = reader.list(Reader::i32)?.ok_or(reader.flaw(NULL))?;
        reader.skip_tags()?;
        Ok(ForgottenTopic { name, id, partitions })
    }
}

/// What a version cannot say is left out of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchResponse {
    pub throttle_time_ms: i32,
    /// Of the session, since version 7.
    pub error: ErrorCode,
    /// Since version 7.
    pub session_id: i32,
    pub topics: Vec<FetchedTopic>,
    /// Of the leaders that partitions name. Since version 16.
    pub endpoints: Vec<NodeEndpoint>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchedTopic {
    /// Up to version 12.
    pub name: StrBytes,
    /// Since version 13.
    pub id: Uuid,
    pub partitions: Vec<FetchedPartition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedPartition {
    pub index: i32,
    pub error: ErrorCode,
    /// -1 with an error.
    pub high_watermark: i64,
    /// Who reads committed records gets none from here on; -1 if it is not known.
    pub last_stable_offset: i64,
    /// Since version 5.
    pub log_start_offset: i64,
    /// Since version 12: where what the client has leaves what is here.
    pub diverging: Option<EpochEndOffset>,
    /// Since version 12.
    pub leader: Option<LeaderIdAndEpoch>,
    /// Null to whoever reads uncommitted records.
    pub aborted: Option<Vec<AbortedTransaction>>,
    /// Since version 11; -1 if the client is to stay here.
    pub preferred_read_replica: i32,
    /// Batches, one after the other, cut into pieces anywhere. Pieces of some length go out as they are.
    pub records: Vec<Bytes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEndOffset {
    pub epoch: i32,
    pub end_offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
}

impl FetchedPartition {
    /// Nothing of it is told.
    pub fn refused(index: i32, error: ErrorCode) -> FetchedPartition {
        FetchedPartition {
            index,
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging: None,
            leader: None,
            aborted: None,
            preferred_read_replica: -1,
            records: Vec::new(),
        }
    }

    fn write(self, writer: &mut Writer, version: i16) {
        writer.i32(self.index);
        writer.i16(self.error.0);
        writer.i64(self.high_watermark);
        writer.i64(self.last_stable_offset);
        if version >= 5 {
            writer.i64(self.log_start_offset);
        }
        match &self.aborted {
            None => writer.null_array(),
            Some(aborted) => {
                writer.count(aborted.len());
                for transaction in aborted {
                    writer.i64(transaction.producer_id);
                    writer.i64(transaction.first_offset);
                    writer.no_tags();
                }
            }
        }
        if version >= 11 {
            writer.i32(self.preferred_read_replica);
        }
        writer.records(self.records);
        let (diverging, leader) = if version >= 12 { (self.diverging, self.leader) } else { (None, None) };
        match usize::from(diverging.is_some()) + usize::from(leader.is_some()) {
            0 => return writer.no_tags(),
            count => writer.tags(count),
        }
        if let Some(EpochEndOffset { epoch, end_offset }) = diverging {
            writer.tag(0, |writer| {
                writer.i32(epoch);
                writer.i64(end_offset);
                writer.no_tags();
            });
        }
        if let Some(leader) = leader {
            writer.tag(1, |writer| leader.write(writer));
        }
    }
}

impl FetchResponse {
    /// About what it takes beside its records, so that all heads are slices of one buffer.
    pub(crate) fn head_bytes(&self) -> usize {
        const OF_ALL: usize = 128;
        const OF_A_TOPIC: usize = 32;
        const OF_A_PARTITION: usize = 128;
        const OF_A_TRANSACTION: usize = 17;
        let of = |partition: &FetchedPartition| {
            let short = partition.records.iter().map(Bytes::len).filter(|bytes| *bytes < COPIED_BYTES_MAX);
            OF_A_PARTITION + OF_A_TRANSACTION * partition.aborted.as_ref().map_or(0, Vec::len) + short.sum::<usize>()
        };
        let topics = self.topics.iter();
        let topics = topics.map(|topic| OF_A_TOPIC + topic.name.len() + topic.partitions.iter().map(of).sum::<usize>());
        OF_ALL + topics.sum::<usize>()
    }

    pub(crate) fn write(self, writer: &mut Writer, version: i16) {
        writer.i32(self.throttle_time_ms);
        if version >= 7 {
            writer.i16(self.error.0);
            writer.i32(self.session_id);
        }
        writer.count(self.topics.len());
        for topic in self.topics {
            write_topic(writer, (&topic.name, topic.id), version, TOPIC_IDS_FROM);
            writer.count(topic.partitions.len());
            for partition in topic.partitions {
                partition.write(writer, version);
            }
            writer.no_tags();
        }
        NodeEndpoint::write_all(if version >= ENDPOINTS_FROM { &self.endpoints } else { &[] }, writer);
    }
}
