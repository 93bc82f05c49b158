//! Metadata, CreateTopics, DeleteTopics.

use super::cluster::{Broker, CLUSTER_OPERATIONS, TOPIC_OPERATIONS, operations};
use super::{Connection, text};
use crate::configs;
use crate::coordinating::is_hidden;
use crate::service::LOG_SERVICE;
use crate::topics::{Refused, Topic, TopicChange, Topics};
use holon_base::GroupId;
use holon_kafka::messages::create_topics_request::CreatableTopic;
use holon_kafka::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use holon_kafka::messages::delete_topics_response::DeletableTopicResult;
use holon_kafka::messages::metadata_request::MetadataRequestTopic;
use holon_kafka::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use holon_kafka::messages::{
    BrokerId, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse, MetadataRequest,
    MetadataResponse, TopicName,
};
use holon_kafka::{ErrorCode, Uuid};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// "Operations that are allowed" when nobody asked for them.
const NOT_ASKED: i32 = i32::MIN;

impl Connection {
    /// A topic by its name, or, if that is empty, by its id.
    pub(crate) fn topic(&self, name: &str, id: Uuid) -> Result<Rc<Topic>, ErrorCode> {
        if is_hidden(name) {
            return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
        }
        if !name.is_empty() {
            let found = self.service.with_topics(|topics| topics.get(name).cloned());
            return found.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        }
        let found = self.service.topic_of_id(id.as_u128()).filter(|topic| !is_hidden(&topic.name));
        found.ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
    }

    pub(crate) fn id_of(&self, group: GroupId) -> Uuid {
        Uuid::from_u128(Topics::id_of(self.service.cluster_id(), group))
    }

    /// A topic that keeps groups or transactional ids is made when it is first needed.
    pub(super) async fn make_hidden_topic(&self, name: &str, partitions: u32) {
        // What snapshots took the place of goes segment by segment.
        let configs = [("retention.ms", "-1"), ("segment.bytes", "4194304")];
        let configs = configs.map(|(name, value)| (name.to_string(), value.to_string())).into();
        let create = TopicChange::Create { name: name.to_string(), partitions, replication: 1, configs };
        // Whoever else did it meanwhile, or what is wrong with it, the next look tells.
        let _ = self.change(create).await;
    }

    /// Puts a change of the topics into the metadata log; waits until all nodes that are alive know it.
    pub(super) async fn change(&self, change: TopicChange) -> Result<u64, (ErrorCode, String)> {
        let proposed = self.service.metadata().propose(LOG_SERVICE, change.encode()).await;
        let committed = proposed.map_err(|error| (ErrorCode::REQUEST_TIMED_OUT, error.to_string()))?;
        self.service.metadata().agree().await;
        match committed.answer {
            Ok(answer) => Ok(answer.first_chunk::<8>().map_or(0, |number| u64::from_le_bytes(*number))),
            Err(refused) => match Refused::decode(&refused) {
                Ok(refused) => Err((code_of(&refused), refused.to_string())),
                Err(_) => Err((ErrorCode::UNKNOWN_SERVER_ERROR, "the answer is not readable".to_string())),
            },
        }
    }
}

pub(super) fn code_of(refused: &Refused) -> ErrorCode {
    match refused {
        Refused::Name | Refused::Collides(_) => ErrorCode::INVALID_TOPIC_EXCEPTION,
        Refused::Exists => ErrorCode::TOPIC_ALREADY_EXISTS,
        Refused::Partitions(_) | Refused::NotMore(_) => ErrorCode::INVALID_PARTITIONS,
        Refused::Replication(_) => ErrorCode::INVALID_REPLICATION_FACTOR,
        Refused::NoTopic => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        Refused::Unreadable(_) => ErrorCode::UNKNOWN_SERVER_ERROR,
    }
}

pub(super) async fn metadata(connection: &Connection, version: i16, request: MetadataRequest) -> MetadataResponse {
    let brokers = connection.brokers();
    let may_create = request.allow_auto_topic_creation || version < 4;
    let may_create = may_create && connection.service.config().auto_create_topics;
    let asked = request.topics.filter(|topics| version > 0 || !topics.is_empty());
    let mut topics: Vec<MetadataResponseTopic> = match asked {
        None => connection.service.with_topics(|topics| {
            let shown = topics.all().filter(|topic| !is_hidden(&topic.name));
            shown.map(|topic| described(connection, topic)).collect()
        }),
        Some(asked) => {
            let mut answered = Vec::with_capacity(asked.len());
            for one in asked {
                answered.push(of_topic(connection, one, may_create).await);
            }
            answered
        }
    };
    let of_cluster = request.include_cluster_authorized_operations;
    if request.include_topic_authorized_operations {
        let good = topics.iter_mut().filter(|topic| topic.error_code == 0);
        good.for_each(|topic| topic.topic_authorized_operations = TOPIC_OPERATIONS);
    }
    let told = |broker: &Broker| {
        MetadataResponseBroker::default()
            .with_node_id(broker.id)
            .with_host(text(broker.host.clone()))
            .with_port(broker.port)
            .with_rack(Some(text(broker.rack.clone())))
    };
    MetadataResponse::default()
        .with_brokers(brokers.iter().map(told).collect())
        .with_cluster_id(Some(text(connection.cluster_id())))
        .with_controller_id(brokers.first().map_or(BrokerId(-1), |broker| broker.id))
        .with_cluster_authorized_operations(operations(of_cluster, CLUSTER_OPERATIONS))
        .with_topics(topics)
}

async fn of_topic(connection: &Connection, asked: MetadataRequestTopic, may_create: bool) -> MetadataResponseTopic {
    let name = asked.name.as_ref().map_or("", |name| &name.0);
    let found = connection.topic(name, asked.topic_id);
    let error = match found {
        Ok(topic) => return described(connection, &topic),
        Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) if may_create => {
            let create = TopicChange::Create {
                name: name.to_string(),
                partitions: connection.service.config().partitions_default,
                replication: 1,
                configs: BTreeMap::new(),
            };
            match connection.change(create).await {
                Ok(_) | Err((ErrorCode::TOPIC_ALREADY_EXISTS, _)) => match connection.topic(name, asked.topic_id) {
                    Ok(topic) => return described(connection, &topic),
                    Err(error) => error,
                },
                Err((error, _)) => error,
            }
        }
        Err(error) => error,
    };
    MetadataResponseTopic::default()
        .with_error_code(error.0)
        .with_name(asked.name)
        .with_topic_id(asked.topic_id)
        .with_topic_authorized_operations(NOT_ASKED)
}

/// The nodes that have a partition, its leader first; none before all know where it is.
pub(super) fn places(connection: &Connection, topic: &Topic, index: i32) -> Vec<BrokerId> {
    let readers = topic.tablet(index).map(|tablet| connection.service.shard().replicas(tablet).readers);
    readers.iter().flat_map(|readers| readers.iter()).filter_map(|node| connection.broker_id(*node)).collect()
}

fn described(connection: &Connection, topic: &Topic) -> MetadataResponseTopic {
    let partition = |index: u32| {
        let nodes = places(connection, topic, index as i32);
        let leader = nodes.first().copied();
        let error = if leader.is_some() { ErrorCode::NONE } else { ErrorCode::LEADER_NOT_AVAILABLE };
        MetadataResponsePartition::default()
            .with_error_code(error.0)
            .with_partition_index(index as i32)
            .with_leader_id(leader.unwrap_or(BrokerId(-1)))
            .with_leader_epoch(0)
            .with_replica_nodes(nodes.clone())
            .with_isr_nodes(nodes)
    };
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(&*topic.name))))
        .with_topic_id(connection.id_of(topic.group))
        .with_topic_authorized_operations(NOT_ASKED)
        .with_partitions((0..topic.partitions).map(partition).collect())
}

pub(super) async fn create_topics(connection: &Connection, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<String> =
        request.topics.iter().map(|topic| topic.name.0.to_string()).filter(|name| !seen.insert(name.clone())).collect();
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let name = topic.name.clone();
        let outcome = match twice.contains(&*name.0) {
            true => Err((ErrorCode::INVALID_REQUEST, "the topic is in the request more than once".to_string())),
            false => create_topic(connection, topic, request.validate_only).await,
        };
        results.push(match outcome {
            Ok(result) => result,
            Err((error, why)) => CreatableTopicResult::default()
                .with_name(name)
                .with_error_code(error.0)
                .with_error_message(Some(text(why)))
                .with_num_partitions(-1)
                .with_replication_factor(-1)
                .with_configs(None),
        });
    }
    CreateTopicsResponse::default().with_topics(results)
}

fn partitions_of(connection: &Connection, topic: &CreatableTopic) -> Result<u32, (ErrorCode, String)> {
    let partitions = match topic.num_partitions {
        -1 => connection.service.config().partitions_default,
        count => u32::try_from(count).unwrap_or(0),
    };
    if partitions == 0 {
        return Err((ErrorCode::INVALID_PARTITIONS, "Number of partitions must be larger than 0.".to_string()));
    }
    if !matches!(topic.replication_factor, -1 | 1) {
        let why = "a partition is on one node: more replicas are not there yet".to_string();
        return Err((ErrorCode::INVALID_REPLICATION_FACTOR, why));
    }
    Ok(partitions)
}

/// Of a topic whose client says where each partition is to be (`ReplicationControlManager.createTopic`). Where there is but one
/// node, that can be done.
fn assigned_partitions(brokers: &[Broker], topic: &CreatableTopic) -> Result<u32, (ErrorCode, String)> {
    let refused = |why: String| Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, why));
    for (given, what) in
        [(topic.replication_factor.into(), "replication factor"), (topic.num_partitions, "numPartitions")]
    {
        if given != -1 {
            let why = format!("A manual partition assignment was specified, but {what} was not set to -1.");
            return Err((ErrorCode::INVALID_REQUEST, why));
        }
    }
    let mut seen = BTreeSet::new();
    for assigned in &topic.assignments {
        let index = assigned.partition_index;
        if !seen.insert(index) {
            return refused(format!("Found multiple manual partition assignments for partition {index}"));
        }
        check_replicas(brokers, &assigned.broker_ids)?;
    }
    if seen.iter().zip(0..).any(|(index, expected)| *index != expected) {
        return refused("partitions should be a consecutive 0-based integer sequence".to_string());
    }
    Ok(seen.len() as u32)
}

/// Of a partition whose client says where it is to be.
pub(super) fn check_replicas(brokers: &[Broker], ids: &[BrokerId]) -> Result<(), (ErrorCode, String)> {
    let refused = |why: String| Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, why));
    let [broker] = brokers else {
        return refused("partitions are placed by the cluster: leave out the assignments".to_string());
    };
    match ids {
        [id] if *id == broker.id => Ok(()),
        [] => refused("The manual partition assignment includes an empty replica list.".to_string()),
        ids => refused(match ids.iter().find(|id| **id != broker.id) {
            Some(id) => {
                format!("The manual partition assignment includes broker {}, but no such broker is registered.", id.0)
            }
            None => format!("The manual partition assignment includes the broker {} more than once.", broker.id.0),
        }),
    }
}

async fn create_topic(
    connection: &Connection,
    topic: CreatableTopic,
    validate_only: bool,
) -> Result<CreatableTopicResult, (ErrorCode, String)> {
    let partitions = match topic.assignments.is_empty() {
        true => partitions_of(connection, &topic)?,
        false => assigned_partitions(&connection.brokers(), &topic)?,
    };
    let mut configs = BTreeMap::new();
    for config in topic.configs {
        let Some(value) = config.value else {
            let why = format!("Null value not supported for topic configs: {}", &*config.name);
            return Err((ErrorCode::INVALID_CONFIG, why));
        };
        configs::check(&config.name, &value).map_err(|why| (ErrorCode::INVALID_CONFIG, why))?;
        configs.insert(config.name.to_string(), value.to_string());
    }
    let name = topic.name.0.to_string();
    let check = connection.service.with_topics(|topics| topics.check_new(&name));
    check.map_err(|refused| (code_of(&refused), refused.to_string()))?;
    let told: Vec<CreatableTopicConfigs> = configs::CONFIGS
        .iter()
        .map(|config| {
            let set = configs.get(config.name);
            CreatableTopicConfigs::default()
                .with_name(text(config.name))
                .with_value(Some(text(set.map_or(config.default, String::as_str))))
                .with_config_source(super::configs::source(set.is_some()))
        })
        .collect();
    let group = match validate_only {
        true => None,
        false => {
            let create = TopicChange::Create { name, partitions, replication: 1, configs };
            Some(GroupId(connection.change(create).await?))
        }
    };
    Ok(CreatableTopicResult::default()
        .with_name(topic.name)
        .with_topic_id(group.map_or(Uuid::nil(), |group| connection.id_of(group)))
        .with_num_partitions(partitions as i32)
        .with_replication_factor(1)
        .with_configs(Some(told)))
}

pub(super) async fn delete_topics(
    connection: &Connection,
    version: i16,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let asked: Vec<(Option<TopicName>, Uuid)> = match version {
        6.. => request.topics.into_iter().map(|topic| (topic.name, topic.topic_id)).collect(),
        _ => request.topic_names.into_iter().map(|name| (Some(name), Uuid::nil())).collect(),
    };
    let mut results = Vec::with_capacity(asked.len());
    for (name, id) in asked {
        let found = connection.topic(name.as_ref().map_or("", |name| &name.0), id);
        let outcome = match &found {
            Ok(topic) => connection.change(TopicChange::Delete { group: topic.group }).await.map(|_| ()),
            Err(error) => Err((*error, "there is no such topic".to_string())),
        };
        let (id, name) = match &found {
            Ok(topic) => (connection.id_of(topic.group), Some(TopicName(text(&*topic.name)))),
            Err(_) => (id, name),
        };
        let result = DeletableTopicResult::default().with_name(name).with_topic_id(id);
        results.push(match outcome {
            Ok(()) => result,
            Err((error, why)) => result.with_error_code(error.0).with_error_message(Some(text(why))),
        });
    }
    DeleteTopicsResponse::default().with_responses(results)
}
