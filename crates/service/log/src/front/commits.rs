//! OffsetCommit and TxnOffsetCommit: from Kafka's messages to what the coordinator of the group is asked, and back. They say the same
//! in two types of messages; the second is of a transaction, whose coordinator is asked first ([`admission`]).

use super::admission;
use super::groups::{ask, code, name, names, said};
use crate::coordinating::{Coordinating, is_hidden};
use crate::groups::{Answer, Commit, CommitPartition, CommitTopic, Committed, Coordinator, Name};
use crate::service::LogService;
use holon_kafka::ErrorCode;
use holon_kafka::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use holon_kafka::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use holon_kafka::messages::{
    OffsetCommitRequest, OffsetCommitResponse, TopicName, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use std::rc::Rc;

/// Of versions that have no retention: the coordinator's rule.
const NO_RETENTION: i64 = -1;

/// The code of each partition of some topics.
type Codes = Vec<(Name, Vec<(i32, i16)>)>;

pub(super) async fn commit(
    service: &Rc<LogService>,
    coordinating: Option<&Coordinating<Coordinator>>,
    version: i16,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| CommitPartition {
            partition: partition.partition_index,
            offset: partition.committed_offset,
            leader_epoch: partition.committed_leader_epoch,
            metadata: names(&partition.committed_metadata),
        });
        CommitTopic { name: name(&topic.name.0), id: 0, partitions: partitions.collect() }
    });
    let commit = Commit {
        version,
        group: name(&request.group_id.0),
        generation: request.generation_id_or_member_epoch,
        member: name(&request.member_id),
        instance: names(&request.group_instance_id),
        retention_ms: request.retention_time_ms,
        topics: topics.collect(),
    };
    let codes = committed(service, commit, async |commit| {
        ask(coordinating, |machine, time, number, out| machine.commit(time, number, commit, out)).await
    });
    let partition =
        |(index, error)| OffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(error);
    let topic = |(name, partitions): (Name, Vec<(i32, i16)>)| {
        OffsetCommitResponseTopic::default()
            .with_name(TopicName(said(&name)))
            .with_partitions(partitions.into_iter().map(partition).collect())
    };
    OffsetCommitResponse::default().with_topics(codes.await.into_iter().map(topic).collect())
}

pub(super) async fn commit_in_transaction(
    service: &Rc<LogService>,
    coordinating: Option<&Coordinating<Coordinator>>,
    version: i16,
    request: TxnOffsetCommitRequest,
) -> TxnOffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| CommitPartition {
            partition: partition.partition_index,
            offset: partition.committed_offset,
            leader_epoch: partition.committed_leader_epoch,
            metadata: names(&partition.committed_metadata),
        });
        CommitTopic { name: name(&topic.name.0), id: 0, partitions: partitions.collect() }
    });
    let commit = Commit {
        version,
        group: name(&request.group_id.0),
        generation: request.generation_id,
        member: name(&request.member_id),
        instance: names(&request.group_instance_id),
        retention_ms: NO_RETENTION,
        topics: topics.collect(),
    };
    let (id, producer) = (&request.transactional_id.0, (request.producer_id.0, request.producer_epoch));
    let codes = committed(service, commit, async |commit| match coordinating {
        None => Err(ErrorCode::NOT_COORDINATOR),
        Some(_) if id.is_empty() => Err(ErrorCode::INVALID_REQUEST),
        Some(_) if commit.group.is_empty() => Err(ErrorCode::INVALID_GROUP_ID),
        Some(coordinating) => admission::commit_offsets(service, coordinating, version, id, producer, commit).await,
    });
    let partition =
        |(index, error)| TxnOffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(error);
    let topic = |(name, partitions): (Name, Vec<(i32, i16)>)| {
        TxnOffsetCommitResponseTopic::default()
            .with_name(TopicName(said(&name)))
            .with_partitions(partitions.into_iter().map(partition).collect())
    };
    TxnOffsetCommitResponse::default().with_topics(codes.await.into_iter().map(topic).collect())
}

/// Asks for what is there, if that is anything; what each partition is told.
async fn committed(
    service: &LogService,
    mut commit: Commit,
    ask: impl AsyncFnOnce(Commit) -> Result<Answer, ErrorCode>,
) -> Codes {
    let unknown = take_unknown(service, &mut commit.topics);
    let asked: Vec<(Name, Vec<i32>)> = commit.topics.iter().map(|topic| (topic.name.clone(), indexes(topic))).collect();
    let mut codes: Codes = match commit.topics.is_empty() && !unknown.is_empty() {
        true => Vec::new(),
        false => match ask(commit).await {
            Ok(Answer::Commit(committed)) => codes_of(&committed),
            other => all_with(asked, other.err().unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR)),
        },
    };
    for (name, partitions) in all_with(unknown, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) {
        match codes.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => known.extend(partitions),
            None => codes.push((name, partitions)),
        }
    }
    codes
}

/// Takes out of a commit what is not there, as Kafka does before it asks the coordinator.
fn take_unknown(service: &LogService, asked: &mut Vec<CommitTopic>) -> Vec<(Name, Vec<i32>)> {
    let mut unknown = Vec::new();
    service.with_topics(|topics| {
        asked.retain_mut(|asked| {
            let topic = topics.get(&asked.name).filter(|topic| !is_hidden(&topic.name));
            let is_there = |index: i32| topic.is_some_and(|topic| topic.tablet(index).is_some());
            let gone: Vec<i32> = indexes(asked).into_iter().filter(|index| !is_there(*index)).collect();
            if gone.is_empty() {
                return true;
            }
            asked.partitions.retain(|partition| is_there(partition.partition));
            unknown.push((asked.name.clone(), gone));
            !asked.partitions.is_empty()
        });
    });
    unknown
}

fn indexes(topic: &CommitTopic) -> Vec<i32> {
    topic.partitions.iter().map(|partition| partition.partition).collect()
}

fn codes_of(committed: &Committed) -> Codes {
    let of = |partitions: &[(i32, _)]| partitions.iter().map(|(index, error)| (*index, code(*error))).collect();
    committed.topics.iter().map(|topic| (topic.name.clone(), of(&topic.partitions))).collect()
}

fn all_with(topics: Vec<(Name, Vec<i32>)>, error: ErrorCode) -> Codes {
    let of = |indexes: Vec<i32>| indexes.into_iter().map(|index| (index, error.0)).collect();
    topics.into_iter().map(|(name, indexes)| (name, of(indexes))).collect()
}
