//! TxnOffsetCommit: from Kafka's message to what the coordinator of the group is asked, and back.

use super::admission;
use super::groups::{code, name, names, said};
use crate::coordinating::Coordinating;
use crate::groups::{Answer, Commit, CommitPartition, CommitTopic, Coordinator};
use crate::service::LogService;
use holon_kafka::ErrorCode;
use holon_kafka::messages::txn_offset_commit_request::TxnOffsetCommitRequestTopic;
use holon_kafka::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use holon_kafka::messages::{TopicName, TxnOffsetCommitRequest, TxnOffsetCommitResponse};
use std::rc::Rc;

/// Of versions that have no retention: the coordinator's rule.
const NO_RETENTION: i64 = -1;

pub(super) async fn commit(
    service: &Rc<LogService>,
    coordinating: Option<&Coordinating<Coordinator>>,
    version: i16,
    request: TxnOffsetCommitRequest,
) -> TxnOffsetCommitResponse {
    let commit = Commit {
        version,
        group: name(&request.group_id.0),
        generation: request.generation_id,
        member: name(&request.member_id),
        instance: names(&request.group_instance_id),
        retention_ms: NO_RETENTION,
        topics: request.topics.iter().map(topic).collect(),
    };
    let producer = (request.producer_id.0, request.producer_epoch);
    let answer = match coordinating {
        None => Err(ErrorCode::NOT_COORDINATOR),
        Some(_) if request.transactional_id.0.is_empty() => Err(ErrorCode::INVALID_REQUEST),
        Some(_) if request.group_id.0.is_empty() => Err(ErrorCode::INVALID_GROUP_ID),
        Some(coordinating) => {
            let id = &request.transactional_id.0;
            admission::commit_offsets(service, coordinating, version, id, producer, commit).await
        }
    };
    let partition = |index: i32, error: i16| {
        TxnOffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(error)
    };
    let topics = match answer {
        Ok(Answer::Commit(committed)) => committed
            .topics
            .iter()
            .map(|topic| {
                let partitions = topic.partitions.iter().map(|(index, error)| partition(*index, code(*error)));
                TxnOffsetCommitResponseTopic::default()
                    .with_name(TopicName(said(&topic.name)))
                    .with_partitions(partitions.collect())
            })
            .collect(),
        other => {
            let error = other.err().unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR);
            let refused = |topic: &TxnOffsetCommitRequestTopic| {
                let partitions = topic.partitions.iter().map(|one| partition(one.partition_index, error.0));
                TxnOffsetCommitResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_partitions(partitions.collect())
            };
            request.topics.iter().map(refused).collect()
        }
    };
    TxnOffsetCommitResponse::default().with_topics(topics)
}

fn topic(topic: &TxnOffsetCommitRequestTopic) -> CommitTopic {
    let partitions = topic.partitions.iter().map(|partition| CommitPartition {
        partition: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: names(&partition.committed_metadata),
    });
    CommitTopic { name: name(&topic.name.0), id: 0, partitions: partitions.collect() }
}
