//! DescribeTopicPartitions, DescribeLogDirs and DescribeProducers: what there is of partitions, for administrators.

use super::cluster::TOPIC_OPERATIONS;
use super::produce::code_of;
use super::topics::places;
use super::{Connection, text};
use crate::calls::{Reply, Request};
use crate::coordinating::is_hidden;
use crate::store::describing::KnownProducer;
use crate::topics::{Refused, Topic};
use holon_kafka::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use holon_kafka::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use holon_kafka::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use holon_kafka::messages::{
    BrokerId, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeProducersRequest, DescribeProducersResponse,
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, ProducerId, TopicName,
};
use holon_kafka::{ErrorCode, Uuid};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Partitions of one answer (`max.request.partition.size.limit`).
const PARTITIONS_MAX: i32 = 2000;

/// "Nobody looked", of bytes of a file system.
const UNKNOWN_BYTES: i64 = -1;

/// By name, so many partitions at a time (KIP-966).
pub(super) fn describe_topic_partitions(
    connection: &Connection,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let names_all = request.topics.is_empty();
    let mut names: BTreeSet<String> = match names_all {
        true => connection.service.with_topics(|topics| topics.all().map(|topic| topic.name.to_string()).collect()),
        false => request.topics.iter().map(|topic| topic.name.0.to_string()).collect(),
    };
    let (from, first) = match &request.cursor {
        Some(cursor) => (cursor.topic_name.0.to_string(), cursor.partition_index),
        None => (String::new(), 0),
    };
    if first < 0 || !names_all && !from.is_empty() && !names.contains(&from) {
        let refused = names.iter().map(|name| not_described(name, ErrorCode::INVALID_REQUEST));
        return DescribeTopicPartitionsResponse::default().with_topics(refused.collect());
    }
    names.retain(|name| *name >= from && !(names_all && is_hidden(name)));
    let mut room = request.response_partition_limit.clamp(1, PARTITIONS_MAX);
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names {
        let next = |index| Cursor::default().with_topic_name(TopicName(text(&*name))).with_partition_index(index);
        if room == 0 {
            return response.with_next_cursor(Some(next(0)));
        }
        let topic = match connection.topic(&name, Uuid::nil()) {
            Ok(topic) => topic,
            Err(_) if names_all => continue,
            Err(error) => {
                let check = connection.service.with_topics(|topics| topics.check_new(&name));
                let is_name = !matches!(check, Err(Refused::Name));
                let error = if is_name { error } else { ErrorCode::INVALID_TOPIC_EXCEPTION };
                response.topics.push(not_described(&name, error));
                continue;
            }
        };
        let first = if name == from { first } else { 0 };
        let end = (topic.partitions as i32).min(first.saturating_add(room));
        let partitions: Vec<_> = (first..end).map(|index| partition(connection, &topic, index)).collect();
        room -= partitions.len() as i32;
        let described = not_described(&name, ErrorCode::NONE)
            .with_topic_id(connection.id_of(topic.group))
            .with_topic_authorized_operations(TOPIC_OPERATIONS);
        response.topics.push(described.with_partitions(partitions));
        if end < topic.partitions as i32 {
            return response.with_next_cursor(Some(next(end)));
        }
    }
    response
}

fn not_described(name: &str, error: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(error.0)
        .with_name(Some(TopicName(text(name))))
        .with_topic_authorized_operations(i32::MIN)
}

fn partition(connection: &Connection, topic: &Topic, index: i32) -> DescribeTopicPartitionsResponsePartition {
    let nodes = places(connection, topic, index);
    let leader = nodes.first().copied();
    let error = if leader.is_some() { ErrorCode::NONE } else { ErrorCode::LEADER_NOT_AVAILABLE };
    DescribeTopicPartitionsResponsePartition::default()
        .with_error_code(error.0)
        .with_partition_index(index)
        .with_leader_id(leader.unwrap_or(BrokerId(-1)))
        .with_leader_epoch(0)
        .with_replica_nodes(nodes.clone())
        .with_isr_nodes(nodes)
        .with_eligible_leader_replicas(Some(Vec::new()))
        .with_last_known_elr(Some(Vec::new()))
}

/// Of this node. It has one directory for all partitions.
pub(super) async fn describe_log_dirs(
    connection: &Connection,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let own = connection.own_broker_id();
    let all: Vec<Rc<Topic>> = connection.service.with_topics(|topics| topics.all().cloned().collect());
    let asked = request.topics.map(|topics| {
        let of = |topic: holon_kafka::messages::describe_log_dirs_request::DescribableLogDirTopic| {
            (topic.topic.0.to_string(), topic.partitions.into_iter().collect::<BTreeSet<i32>>())
        };
        topics.into_iter().map(of).collect::<BTreeMap<_, _>>()
    });
    let is_asked = |topic: &Topic, index: i32| {
        asked.as_ref().is_none_or(|asked| asked.get(&*topic.name).is_some_and(|indexes| indexes.contains(&index)))
    };
    let mut told = Vec::new();
    for topic in all {
        let mut partitions = Vec::new();
        for index in (0..topic.partitions as i32).filter(|index| is_asked(&topic, *index)) {
            let here = places(connection, &topic, index).contains(&own);
            let Some(tablet) = topic.tablet(index).filter(|_| here) else { continue };
            // One that is being made, or taken away, has no size.
            if let Ok(Reply::Size(bytes)) = connection.service.ask(tablet, Request::Size, connection.deadline(0)).await
            {
                let size = i64::try_from(bytes).unwrap_or(i64::MAX);
                partitions
                    .push(DescribeLogDirsPartition::default().with_partition_index(index).with_partition_size(size));
            }
        }
        if !partitions.is_empty() {
            let name = TopicName(text(&*topic.name));
            told.push(DescribeLogDirsTopic::default().with_name(name).with_partitions(partitions));
        }
    }
    let result = DescribeLogDirsResult::default()
        .with_log_dir(text(connection.service.config().directory.clone()))
        .with_topics(told)
        .with_total_bytes(UNKNOWN_BYTES)
        .with_usable_bytes(UNKNOWN_BYTES);
    DescribeLogDirsResponse::default().with_results(vec![result])
}

pub(super) async fn describe_producers(
    connection: &Connection,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let found = connection.topic(&topic.name.0, Uuid::nil());
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for index in topic.partition_indexes {
            let response = PartitionResponse::default().with_partition_index(index);
            let asked = match connection.fetchable(&found, index) {
                Ok(tablet) => {
                    let asked = connection.service.ask(tablet, Request::Producers, connection.deadline(0));
                    asked.await.map_err(|error| code_of(&error))
                }
                Err(error) => Err(error),
            };
            partitions.push(match asked {
                Ok(Reply::Producers(known)) => response.with_active_producers(known.iter().map(producer).collect()),
                other => response.with_error_code(other.err().unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR).0),
            });
        }
        topics.push(TopicResponse::default().with_name(topic.name).with_partitions(partitions));
    }
    DescribeProducersResponse::default().with_topics(topics)
}

fn producer(known: &KnownProducer) -> ProducerState {
    ProducerState::default()
        .with_producer_id(ProducerId(known.id))
        .with_producer_epoch(known.epoch.into())
        .with_last_sequence(known.last_sequence)
        .with_last_timestamp(known.last_ms)
        .with_coordinator_epoch(known.coordinator_epoch)
        .with_current_txn_start_offset(known.open.unwrap_or(-1))
}
