//! CreatePartitions: a topic gets more of them, behind those that it has (`ReplicationControlManager.createPartitions`).

use super::topics::{check_replicas, code_of};
use super::{Connection, text};
use crate::topics::TopicChange;
use holon_kafka::messages::create_partitions_request::CreatePartitionsTopic;
use holon_kafka::messages::create_partitions_response::CreatePartitionsTopicResult;
use holon_kafka::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use holon_kafka::{ErrorCode, Uuid};
use std::collections::BTreeMap;

type Refusal = (ErrorCode, String);

pub(super) async fn create_partitions(
    connection: &Connection,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut named: BTreeMap<String, usize> = BTreeMap::new();
    request.topics.iter().for_each(|topic| *named.entry(topic.name.0.to_string()).or_default() += 1);
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let result = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
        let outcome = match named.get(&*topic.name.0) {
            Some(1) => more(connection, &topic, request.validate_only).await,
            _ => Err((ErrorCode::INVALID_REQUEST, "Duplicate topic in request.".to_string())),
        };
        results.push(match outcome {
            Ok(()) => result,
            Err((error, why)) => result.with_error_code(error.0).with_error_message(Some(text(why))),
        });
    }
    CreatePartitionsResponse::default().with_results(results)
}

async fn more(connection: &Connection, asked: &CreatePartitionsTopic, validate_only: bool) -> Result<(), Refusal> {
    let found = connection.topic(&asked.name.0, Uuid::nil());
    let topic = found.map_err(|error| (error, "there is no such topic".to_string()))?;
    let refused = |why| Err((ErrorCode::INVALID_PARTITIONS, why));
    let (has, wanted) = (topic.partitions, asked.count);
    let additional = match i64::from(wanted) - i64::from(has) {
        0 => return refused(format!("Topic already has {has} partition(s).")),
        more if more < 0 => {
            let name = &*topic.name;
            let why = format!("The topic {name} currently has {has} partition(s); {wanted} would not be an increase.");
            return refused(why);
        }
        more => more,
    };
    if let Some(assignments) = &asked.assignments {
        let given = assignments.len();
        if given as i64 != additional {
            let why = format!(
                "Attempted to add {additional} additional partition(s), but only {given} assignment(s) were specified."
            );
            return Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, why));
        }
        let brokers = connection.brokers();
        assignments.iter().try_for_each(|assigned| check_replicas(&brokers, &assigned.broker_ids))?;
    }
    let grow = TopicChange::Grow { group: topic.group, partitions: wanted.cast_unsigned() };
    if validate_only {
        let check = connection.service.with_topics(|topics| topics.check(&grow));
        return check.map_err(|refused| (code_of(&refused), refused.to_string()));
    }
    connection.change(grow).await.map(|_| ())
}
