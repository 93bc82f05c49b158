//! What of a node is told as settings of a broker of Kafka, with Kafka's names; and what has settings at all (ListConfigResources).

use super::{Connection, text};
use crate::configs::{self, Kind};
use crate::coordinating::{GROUPS_PARTITIONS, TRANSACTIONS_PARTITIONS, is_hidden};
use crate::groups::Options;
use holon_kafka::ErrorCode;
use holon_kafka::limits::REQUEST_BYTES_MAX;
use holon_kafka::messages::list_config_resources_response::ConfigResource;
use holon_kafka::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};

/// Kinds of resources (`ConfigResource.Type`).
pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

/// Before it, only metrics of clients are listed.
const ALL_FROM: i16 = 1;

/// What a topic has if nothing else is set for it, by the name that a broker has for that.
const OF_TOPICS: &[(&str, &str)] = &[
    ("compression.type", "compression.type"),
    ("log.cleanup.policy", "cleanup.policy"),
    ("log.message.timestamp.after.max.ms", "message.timestamp.after.max.ms"),
    ("log.message.timestamp.before.max.ms", "message.timestamp.before.max.ms"),
    ("log.message.timestamp.type", "message.timestamp.type"),
    ("log.retention.bytes", "retention.bytes"),
    ("log.retention.ms", "retention.ms"),
    ("log.roll.jitter.ms", "segment.jitter.ms"),
    ("log.roll.ms", "segment.ms"),
    ("log.segment.bytes", "segment.bytes"),
    ("message.max.bytes", "max.message.bytes"),
    ("min.insync.replicas", "min.insync.replicas"),
    ("unclean.leader.election.enable", "unclean.leader.election.enable"),
];

/// A setting of a node. It is read only: a node is set by its file, flags and environment.
pub(super) struct OfNode {
    pub name: &'static str,
    pub value: String,
    pub kind: Kind,
    /// Else it is a default, or fixed.
    pub is_set: bool,
    pub help: &'static str,
}

/// By name.
pub(super) fn of_node(connection: &Connection) -> Vec<OfNode> {
    let (config, groups) = (connection.service.config(), Options::default());
    let own = connection.brokers().into_iter().next();
    let (id, door) =
        own.map_or((-1, String::new()), |own| (own.id.0, format!("PLAINTEXT://{}:{}", own.host, own.port)));
    let fixed = |name, kind, value: String, help| OfNode { name, value, kind, is_set: false, help };
    let set = |name, kind, value, help| OfNode { is_set: true, ..fixed(name, kind, value, help) };
    let int = |name, value: i64, help| fixed(name, Kind::Int, value.to_string(), help);
    let millis = |time: std::time::Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let mut all = vec![
        set("advertised.listeners", Kind::Text, door.clone(), "where clients reach this node"),
        set("listeners", Kind::Text, door, "where clients reach this node"),
        set("log.dirs", Kind::Text, config.directory.clone(), "where partitions are"),
        set("node.id", Kind::Int, id.to_string(), "nodes are numbered in the order in which they came"),
        set("broker.id", Kind::Int, id.to_string(), "as node.id"),
        set("num.partitions", Kind::Int, config.partitions_default.to_string(), "--topic-partitions"),
        set("auto.create.topics.enable", Kind::Boolean, config.auto_create_topics.to_string(), "--auto-create-topics"),
        int("default.replication.factor", 1, "nodes that have each partition"),
        int("group.min.session.timeout.ms", millis(groups.session_timeout_min), "of members of groups"),
        int("group.max.session.timeout.ms", millis(groups.session_timeout_max), "of members of groups"),
        int("offset.metadata.max.bytes", groups.offset_metadata_units_max as i64, "of a committed offset"),
        int("offsets.topic.num.partitions", i64::from(GROUPS_PARTITIONS), "that keep groups"),
        int("transaction.state.log.num.partitions", i64::from(TRANSACTIONS_PARTITIONS), "that keep transactional ids"),
        int("producer.id.expiration.ms", millis(config.producer_expiration), "until a silent producer is forgotten"),
        int("socket.request.max.bytes", REQUEST_BYTES_MAX as i64, "of a request"),
    ];
    let of_topics = OF_TOPICS.iter().filter_map(|(name, of_topic)| Some((*name, configs::find(of_topic)?)));
    all.extend(of_topics.map(|(name, found)| fixed(name, found.kind, found.default.to_string(), found.help)));
    all.sort_by_key(|setting| setting.name);
    all
}

pub(super) fn list(
    connection: &Connection,
    version: i16,
    request: &ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    let known: &[i8] =
        if version < ALL_FROM { &[CLIENT_METRICS] } else { &[TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP] };
    let asked = if request.resource_types.is_empty() { known } else { &request.resource_types };
    if asked.iter().any(|kind| !known.contains(kind)) {
        return ListConfigResourcesResponse::default().with_error_code(ErrorCode::UNSUPPORTED_VERSION.0);
    }
    let mut resources = Vec::new();
    let mut push = |kind: i8, names: Vec<String>| {
        resources.extend(
            names
                .into_iter()
                .map(|name| ConfigResource::default().with_resource_type(kind).with_resource_name(text(name))),
        );
    };
    if asked.contains(&TOPIC) {
        push(
            TOPIC,
            connection.service.with_topics(|topics| {
                topics.all().map(|topic| topic.name.to_string()).filter(|name| !is_hidden(name)).collect()
            }),
        );
    }
    if asked.contains(&BROKER) {
        push(BROKER, connection.brokers().iter().map(|broker| broker.id.0.to_string()).collect());
    }
    ListConfigResourcesResponse::default().with_config_resources(resources)
}
