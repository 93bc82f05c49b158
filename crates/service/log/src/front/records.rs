//! DeleteRecords and OffsetForLeaderEpoch: where a partition begins, and where an epoch ended.

use super::Connection;
use super::produce::code_of;
use crate::calls::{Reply, Request};
use holon_base::TabletId;
use holon_kafka::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use holon_kafka::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use holon_kafka::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
};
use holon_kafka::{ErrorCode, Uuid};

/// "Up to the end".
const ALL: i64 = -1;

impl Connection {
    /// A partition of a topic, which this node leads.
    pub(super) fn partition(&self, topic: &str, index: i32) -> Result<TabletId, ErrorCode> {
        let tablet = self.topic(topic, Uuid::nil())?.tablet(index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        if self.is_leader(tablet) { Ok(tablet) } else { Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) }
    }
}

pub(super) async fn delete_records(connection: &Connection, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let deadline = connection.deadline(request.timeout_ms);
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let outcome = match connection.partition(&topic.name.0, asked.partition_index) {
                Ok(tablet) => {
                    let offset = (asked.offset != ALL).then_some(asked.offset);
                    let moved = connection.service.ask(tablet, Request::MoveStart { offset }, deadline).await;
                    moved.map_err(|error| code_of(&error))
                }
                Err(error) => Err(error),
            };
            let result = DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
            partitions.push(match outcome {
                Ok(Reply::Start(start)) => result.with_low_watermark(start),
                Ok(_) => result.with_low_watermark(-1).with_error_code(ErrorCode::UNKNOWN_SERVER_ERROR.0),
                Err(error) => result.with_low_watermark(-1).with_error_code(error.0),
            });
        }
        topics.push(DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions));
    }
    DeleteRecordsResponse::default().with_topics(topics)
}

pub(super) async fn offset_for_leader_epoch(
    connection: &Connection,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let outcome = match connection.partition(&topic.topic.0, asked.partition) {
                Ok(tablet) => {
                    let request = Request::EpochEnd { epoch: asked.leader_epoch };
                    let found = connection.service.ask(tablet, request, connection.deadline(0)).await;
                    found.map_err(|error| code_of(&error))
                }
                Err(error) => Err(error),
            };
            let result = EpochEndOffset::default().with_partition(asked.partition);
            let unknown = result.clone().with_leader_epoch(-1).with_end_offset(-1);
            partitions.push(match outcome {
                Ok(Reply::Found(Some(end))) => result.with_leader_epoch(end.leader_epoch).with_end_offset(end.offset),
                Ok(Reply::Found(None)) => unknown,
                Ok(_) => unknown.with_error_code(ErrorCode::UNKNOWN_SERVER_ERROR.0),
                Err(error) => unknown.with_error_code(error.0),
            });
        }
        topics.push(OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions));
    }
    OffsetForLeaderEpochResponse::default().with_topics(topics)
}
