//! ListOffsets: the ends of partitions, and offsets by time.

use super::Connection;
use super::produce::code_of;
use crate::calls::{FoundTime, Reply, Request};
use holon_kafka::fetch::READ_COMMITTED;
use holon_kafka::messages::list_offsets_request::ListOffsetsPartition;
use holon_kafka::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use holon_kafka::messages::{ListOffsetsRequest, ListOffsetsResponse};
use holon_kafka::{ErrorCode, Uuid};

/// Timestamps that are none (`ListOffsetsRequest` of Kafka 4.1).
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// The record with the greatest timestamp (KIP-734).
const MAX_TIMESTAMP: i64 = -3;
/// Of what is on this node itself; there is nowhere else (KIP-405).
const EARLIEST_LOCAL: i64 = -4;
/// Of what was moved to other storage (KIP-1005): nothing ever is.
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

const UNKNOWN: i64 = -1;

/// Since then an answer names the epoch of the leader that wrote a record.
const EPOCHS_FROM: i16 = 4;

pub(super) async fn list_offsets(
    connection: &Connection,
    version: i16,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let committed = request.isolation_level == READ_COMMITTED;
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let found = connection.topic(&topic.name.0, Uuid::nil());
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let index = asked.partition_index;
            let outcome = match &found {
                Ok(topic) => match topic.tablet(index) {
                    Some(tablet) if connection.is_leader(tablet) => one(connection, tablet, &asked, committed).await,
                    Some(_) => Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
                    None => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
                },
                Err(error) => Err(*error),
            };
            let response = ListOffsetsPartitionResponse::default().with_partition_index(index);
            partitions.push(match outcome {
                Ok(found) => response
                    .with_offset(found.offset)
                    .with_timestamp(found.time_ms)
                    .with_leader_epoch(if version >= EPOCHS_FROM { found.leader_epoch } else { -1 }),
                Err(error) => {
                    response.with_error_code(error.0).with_offset(UNKNOWN).with_timestamp(UNKNOWN).with_leader_epoch(-1)
                }
            });
        }
        topics.push(ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions));
    }
    ListOffsetsResponse::default().with_topics(topics)
}

async fn one(
    connection: &Connection,
    tablet: holon_base::TabletId,
    asked: &ListOffsetsPartition,
    committed: bool,
) -> Result<FoundTime, ErrorCode> {
    let none = FoundTime { offset: UNKNOWN, time_ms: UNKNOWN, leader_epoch: -1 };
    let request = match asked.timestamp {
        LATEST | EARLIEST | EARLIEST_LOCAL => Request::Ends,
        MAX_TIMESTAMP => Request::FindNewest { committed },
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => return Ok(none),
        time_ms if time_ms >= 0 => Request::FindTime { time_ms, committed },
        _ => return Err(ErrorCode::UNSUPPORTED_VERSION),
    };
    match connection.service.ask(tablet, request, connection.deadline(0)).await {
        Ok(Reply::Ends(ends)) => {
            let offset = if asked.timestamp == LATEST { ends.of(committed) } else { ends.start };
            Ok(FoundTime { offset, leader_epoch: 0, ..none })
        }
        Ok(Reply::Found(found)) => Ok(found.unwrap_or(none)),
        Ok(_) => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
        Err(error) => Err(code_of(&error)),
    }
}
