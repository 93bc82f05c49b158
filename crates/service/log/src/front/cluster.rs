//! Who serves what: ApiVersions, FindCoordinator, DescribeCluster, and the brokers that Metadata tells of.

use super::{Connection, groups, served, text, txns};
use holon_base::NodeId;
use holon_kafka::messages::api_versions_response::{FinalizedFeatureKey, SupportedFeatureKey};
use holon_kafka::messages::describe_cluster_response::DescribeClusterBroker;
use holon_kafka::messages::find_coordinator_response::Coordinator;
use holon_kafka::messages::{
    ApiVersionsRequest, ApiVersionsResponse, BrokerId, DescribeClusterRequest, DescribeClusterResponse,
    FindCoordinatorRequest, FindCoordinatorResponse,
};
use holon_kafka::{ErrorCode, StrBytes, Uuid, apis};
use holon_kernel::NodeRecord;
use std::net::SocketAddr;

/// The fact of a node's record that says where its door is.
pub(crate) const DOOR: &str = "kafka";

/// Since then ApiVersions tells of features.
const FEATURES_FROM: i16 = 3;

/// The feature by which clients know that the epoch is bumped with each transaction (KIP-890), and its level for that.
const TRANSACTION_VERSION: &str = "transaction.version";
const TRANSACTION_LEVEL: i16 = 2;

/// What FindCoordinator finds (`CoordinatorType`).
const OF_GROUP: i8 = 0;
const OF_TRANSACTION: i8 = 1;

/// What may be done with a topic, a group and the cluster, in bits by the numbers of `AclOperation` (Kafka's
/// `AclEntry.supportedOperations`): all that there is, while there are no permissions.
pub(crate) const TOPIC_OPERATIONS: i32 = bits(&[3, 4, 5, 6, 7, 8, 10, 11]);
pub(crate) const GROUP_OPERATIONS: i32 = bits(&[3, 6, 8, 10, 11]);
pub(crate) const CLUSTER_OPERATIONS: i32 = bits(&[5, 7, 8, 9, 10, 11, 12]);

const fn bits(mut numbers: &[u8]) -> i32 {
    let mut bits = 0;
    while let [number, rest @ ..] = numbers {
        bits |= 1 << *number;
        numbers = rest;
    }
    bits
}

/// "Operations that are allowed", for whoever asked.
pub(crate) fn operations(are_asked: bool, all: i32) -> i32 {
    if are_asked { all } else { i32::MIN }
}

pub(crate) struct Broker {
    pub id: BrokerId,
    pub host: String,
    pub port: i32,
    pub rack: String,
}

impl Connection {
    /// A node as clients know it; `None`: it has no number yet.
    pub(crate) fn broker_id(&self, node: NodeId) -> Option<BrokerId> {
        self.service.with_topics(|topics| topics.broker(node)).map(BrokerId)
    }

    pub(crate) fn own_broker_id(&self) -> BrokerId {
        self.broker_id(self.service.shard().node()).unwrap_or(BrokerId(-1))
    }

    /// Those whose door is known, this node first: it is where the client reached it.
    pub(crate) fn brokers(&self) -> Vec<Broker> {
        let own = self.service.shard().node();
        let records = self.service.shard().map().map_or_else(|| [].into(), |map| map.nodes());
        let door = |record: &NodeRecord| {
            let said = record.facts.iter().find(|(name, _)| name == DOOR)?;
            said.1.parse::<SocketAddr>().ok()
        };
        let mut brokers: Vec<Broker> = Vec::new();
        for record in records.iter() {
            let address = if record.node == own { self.local.or(door(record)) } else { door(record) };
            let (Some(address), Some(id)) = (address, self.broker_id(record.node)) else { continue };
            let (host, port) = (address.ip().to_string(), i32::from(address.port()));
            let rack = format!("{}/{}", record.data_center, record.rack);
            let broker = Broker { id, host, port, rack };
            if record.node == own { brokers.insert(0, broker) } else { brokers.push(broker) }
        }
        brokers
    }

    pub(crate) fn cluster_id(&self) -> String {
        Uuid::from_u128(self.service.cluster_id()).to_string()
    }
}

pub(super) fn api_versions(version: i16, request: &ApiVersionsRequest) -> ApiVersionsResponse {
    let names = [&request.client_software_name, &request.client_software_version];
    if version >= 3 && !names.into_iter().all(|name| apis::names_software(name)) {
        return ApiVersionsResponse::default().with_error_code(ErrorCode::INVALID_REQUEST.0);
    }
    let served = served().answer();
    if version < FEATURES_FROM {
        return served;
    }
    let name = StrBytes::from_static_str(TRANSACTION_VERSION);
    let finalized = FinalizedFeatureKey::default()
        .with_name(name.clone())
        .with_max_version_level(TRANSACTION_LEVEL)
        .with_min_version_level(TRANSACTION_LEVEL);
    let supported = SupportedFeatureKey::default().with_name(name).with_max_version(TRANSACTION_LEVEL);
    // Before version 4 clients take a feature with a level of 0 for a mistake (KIP-1022).
    let supported = if version >= 4 { vec![supported] } else { Vec::new() };
    served.with_supported_features(supported).with_finalized_features_epoch(0).with_finalized_features(vec![finalized])
}

/// The node that leads the partition in which the group, or the transactional id, is kept.
pub(super) async fn find_coordinator(
    connection: &Connection,
    version: i16,
    request: &FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    if version >= 4 {
        let mut coordinators = Vec::with_capacity(request.coordinator_keys.len());
        for key in &request.coordinator_keys {
            coordinators.push(coordinator_of(connection, request.key_type, key).await);
        }
        return FindCoordinatorResponse::default().with_coordinators(coordinators);
    }
    let Coordinator { node_id, host, port, error_code, .. } =
        coordinator_of(connection, request.key_type, &request.key).await;
    FindCoordinatorResponse::default().with_node_id(node_id).with_host(host).with_port(port).with_error_code(error_code)
}

async fn coordinator_of(connection: &Connection, key_type: i8, key: &StrBytes) -> Coordinator {
    let coordinator = Coordinator::default().with_key(key.clone()).with_node_id(BrokerId(-1)).with_port(-1);
    let tablet = match key_type {
        OF_GROUP => groups::tablet_of(connection, key).await,
        OF_TRANSACTION => txns::tablet_of(connection, key).await,
        _ => {
            let why = format!("there are no coordinators of the type {key_type}");
            return coordinator.with_error_code(ErrorCode::INVALID_REQUEST.0).with_error_message(Some(text(why)));
        }
    };
    let leader = tablet.and_then(|tablet| connection.broker_id(connection.service.leader_of(tablet)?));
    match connection.brokers().into_iter().find(|broker| Some(broker.id) == leader) {
        Some(broker) => coordinator.with_node_id(broker.id).with_host(text(broker.host)).with_port(broker.port),
        None => coordinator.with_error_code(ErrorCode::COORDINATOR_NOT_AVAILABLE.0),
    }
}

pub(super) fn describe_cluster(connection: &Connection, request: &DescribeClusterRequest) -> DescribeClusterResponse {
    let response = DescribeClusterResponse::default().with_endpoint_type(request.endpoint_type);
    if request.endpoint_type == 2 {
        let why = "the controllers of this cluster are its brokers";
        let code = ErrorCode::MISMATCHED_ENDPOINT_TYPE.0;
        return response.with_error_code(code).with_error_message(Some(text(why)));
    }
    let brokers = connection.brokers();
    let controller = brokers.first().map_or(BrokerId(-1), |broker| broker.id);
    let described = |broker: Broker| {
        DescribeClusterBroker::default()
            .with_broker_id(broker.id)
            .with_host(text(broker.host))
            .with_port(broker.port)
            .with_rack(Some(text(broker.rack)))
    };
    response
        .with_cluster_id(text(connection.cluster_id()))
        .with_controller_id(controller)
        .with_cluster_authorized_operations(operations(
            request.include_cluster_authorized_operations,
            CLUSTER_OPERATIONS,
        ))
        .with_brokers(brokers.into_iter().map(described).collect())
}
