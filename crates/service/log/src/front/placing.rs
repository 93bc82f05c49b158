//! ElectLeaders, AlterPartitionReassignments and ListPartitionReassignments. The cluster places partitions by itself, and each is on one node:
//! what is asked for is there already, or cannot be.

use super::topics::places;
use super::{Connection, text};
use crate::topics::Topic;
use holon_kafka::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use holon_kafka::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use holon_kafka::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, BrokerId, ElectLeadersRequest,
    ElectLeadersResponse, ListPartitionReassignmentsResponse,
};
use holon_kafka::{ErrorCode, Uuid};
use std::rc::Rc;

type Refusal = (ErrorCode, &'static str);

/// Kinds of elections (`ElectionType`).
const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

pub(super) fn elect_leaders(connection: &Connection, request: ElectLeadersRequest) -> ElectLeadersResponse {
    if ![PREFERRED, UNCLEAN].contains(&request.election_type) {
        return ElectLeadersResponse::default().with_error_code(ErrorCode::INVALID_REQUEST.0);
    }
    // Of all partitions those are told of for which there was an election, or should have been.
    let results = request.topic_partitions.into_iter().flatten().map(|asked| {
        let topic = connection.topic(&asked.topic.0, Uuid::nil());
        let of = |index: i32| {
            let (error, why) = elected(connection, &topic, index, request.election_type);
            PartitionResult::default()
                .with_partition_id(index)
                .with_error_code(error.0)
                .with_error_message(Some(text(why)))
        };
        let partitions = asked.partitions.into_iter().map(of).collect();
        ReplicaElectionResult::default().with_topic(asked.topic.clone()).with_partition_result(partitions)
    });
    ElectLeadersResponse::default().with_replica_election_results(results.collect())
}

fn elected(connection: &Connection, topic: &Result<Rc<Topic>, ErrorCode>, index: i32, kind: i8) -> Refusal {
    let tablet = match topic {
        Ok(topic) => topic.tablet(index),
        Err(error) => return (*error, "there is no such topic"),
    };
    let Some(tablet) = tablet else {
        return (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "there is no such partition");
    };
    let shard = connection.service.shard();
    let leads = shard.replicas(tablet).readers.first().is_some_and(|leader| shard.is_alive(*leader));
    match (leads, kind) {
        (true, _) => (ErrorCode::ELECTION_NOT_NEEDED, "the node that is to lead it does"),
        (false, PREFERRED) => (ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE, "its node seems dead"),
        (false, _) => (ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE, "no living node has it"),
    }
}

pub(super) fn alter_partition_reassignments(
    connection: &Connection,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let brokers: Vec<BrokerId> = connection.brokers().iter().map(|broker| broker.id).collect();
    let responses = request.topics.into_iter().map(|asked| {
        let topic = connection.topic(&asked.name.0, Uuid::nil());
        let partitions = asked.partitions.into_iter().map(|partition| {
            let index = partition.partition_index;
            let response = ReassignablePartitionResponse::default().with_partition_index(index);
            match reassigned(connection, &brokers, &topic, index, partition.replicas) {
                Ok(()) => response,
                Err((error, why)) => response.with_error_code(error.0).with_error_message(Some(text(why))),
            }
        });
        ReassignableTopicResponse::default().with_partitions(partitions.collect()).with_name(asked.name)
    });
    AlterPartitionReassignmentsResponse::default()
        .with_allow_replication_factor_change(request.allow_replication_factor_change)
        .with_responses(responses.collect())
}

fn reassigned(
    connection: &Connection,
    brokers: &[BrokerId],
    topic: &Result<Rc<Topic>, ErrorCode>,
    index: i32,
    replicas: Option<Vec<BrokerId>>,
) -> Result<(), Refusal> {
    let topic = topic.as_ref().map_err(|error| (*error, "there is no such topic"))?;
    if topic.tablet(index).is_none() {
        return Err((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "there is no such partition"));
    }
    let replicas = replicas.ok_or((ErrorCode::NO_REASSIGNMENT_IN_PROGRESS, "the partition does not move"))?;
    let refused = |why| Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, why));
    let is_twice = |at: usize| replicas[..at].contains(&replicas[at]);
    if replicas.is_empty() {
        return refused("a partition is on one node or more");
    }
    if (1..replicas.len()).any(is_twice) {
        return refused("a node is named twice");
    }
    if !replicas.iter().all(|replica| brokers.contains(replica)) {
        return refused("there is no such node");
    }
    if replicas != places(connection, topic, index) {
        return refused("the cluster places partitions by itself: drain or replace nodes instead");
    }
    Ok(())
}

/// None is ever under way.
pub(super) fn list_partition_reassignments() -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default()
}
