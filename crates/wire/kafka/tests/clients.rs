//! Frames of a client of `kafka-protocol`, through a connection, to a broker and back: every request of the first list in every version.

use bytes::{Bytes, BytesMut};
use holon_kafka::client::{self, ClientError};
use holon_kafka::messages::{
    self, ApiVersionsRequest, BrokerId, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    FindCoordinatorRequest, GroupId, HeartbeatRequest, InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest,
    ListOffsetsRequest, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest, ProducerId, SyncGroupRequest,
    TopicName, TransactionalId,
};
use holon_kafka::{Api, Request, Response, Served, StrBytes, frame};

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

/// Sends `request` in every version of its API (as `request` makes it for that), looks whether it came, answers, and gives the answer
/// as it came back.
macro_rules! exchange {
    ($name:ident, $request:ty, $make:expr, $answer:expr) => {{
        let (from, to) = Api::$name.versions();
        for version in from..=to {
            let sent: $request = $make(version);
            let mut connection = BytesMut::new();
            let framed = client::request(&sent, version, 70 + i32::from(version), text("me"));
            connection.extend_from_slice(&framed.unwrap_or_else(|error| panic!("{error}")));
            let whole = frame::take(&mut connection, 10_000).expect("short enough").expect("whole");
            let (header, request) =
                Request::read(&whole, &Served::everything()).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!((header.api, header.version), (Api::$name, version));
            assert_eq!((header.correlation_id, header.client_id.as_str()), (70 + i32::from(version), "me"));
            assert_eq!(request, Request::$name(sent), "{} {version}", Api::$name);
            let answer = $answer(version);
            let pieces = Response::$name(answer.clone()).encode(&header).unwrap_or_else(|error| panic!("{error}"));
            let mut connection = BytesMut::from(&pieces.concat()[..]);
            let whole = frame::take(&mut connection, 10_000).expect("short enough").expect("whole");
            assert!(connection.is_empty());
            let got = client::answer::<$request>(whole, version).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(got, (70 + i32::from(version), answer), "{} {version}", Api::$name);
        }
    }};
}

#[test]
fn who_is_there() {
    exchange!(
        ApiVersions,
        ApiVersionsRequest,
        |version| {
            let request = ApiVersionsRequest::default();
            if version < 3 {
                return request;
            }
            request.with_client_software_name(text("test")).with_client_software_version(text("1.0"))
        },
        |_| Served::everything().answer()
    );
    exchange!(
        Metadata,
        MetadataRequest,
        |version| {
            let topic = messages::metadata_request::MetadataRequestTopic::default();
            MetadataRequest::default()
                .with_topics(Some(vec![topic.with_name(Some(TopicName(text("t"))))]))
                .with_allow_auto_topic_creation(version != 5)
        },
        |version| {
            let broker = messages::metadata_response::MetadataResponseBroker::default();
            messages::MetadataResponse::default()
                .with_brokers(vec![broker.with_node_id(BrokerId(3)).with_host(text("h")).with_port(1)])
                .with_cluster_id((version >= 2).then(|| text("c")))
        }
    );
    exchange!(
        FindCoordinator,
        FindCoordinatorRequest,
        |version| {
            let request = FindCoordinatorRequest::default();
            if version < 4 {
                request.with_key(text("g"))
            } else {
                request.with_coordinator_keys(vec![text("g"), text("h")])
            }
        },
        |version| {
            let response = messages::FindCoordinatorResponse::default();
            if version < 4 { response.with_host(text("h")).with_port(5) } else { response }
        }
    );
}

#[test]
fn offsets() {
    exchange!(
        ListOffsets,
        ListOffsetsRequest,
        |version| {
            let partition = messages::list_offsets_request::ListOffsetsPartition::default();
            // The earliest offset that is not yet in remote storage: what version 11 is for.
            let timestamp = if version >= 11 { -6 } else { -1 };
            let partition = partition.with_partition_index(4).with_timestamp(timestamp);
            let topic = messages::list_offsets_request::ListOffsetsTopic::default();
            ListOffsetsRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_topics(vec![topic.with_name(TopicName(text("t"))).with_partitions(vec![partition])])
                .with_timeout_ms(if version >= 10 { 900 } else { 0 })
        },
        |_| {
            let partition = messages::list_offsets_response::ListOffsetsPartitionResponse::default();
            let topic = messages::list_offsets_response::ListOffsetsTopicResponse::default();
            let topic = topic.with_name(TopicName(text("t"))).with_partitions(vec![partition.with_offset(77)]);
            messages::ListOffsetsResponse::default().with_topics(vec![topic])
        }
    );
    exchange!(
        OffsetCommit,
        OffsetCommitRequest,
        |_| {
            let partition = messages::offset_commit_request::OffsetCommitRequestPartition::default();
            let partition = partition.with_committed_offset(9).with_committed_metadata(Some(text("m")));
            let topic = messages::offset_commit_request::OffsetCommitRequestTopic::default();
            OffsetCommitRequest::default()
                .with_group_id(GroupId(text("g")))
                .with_generation_id_or_member_epoch(3)
                .with_member_id(text("m-1"))
                .with_topics(vec![topic.with_name(TopicName(text("t"))).with_partitions(vec![partition])])
        },
        |_| messages::OffsetCommitResponse::default()
    );
    exchange!(
        OffsetFetch,
        OffsetFetchRequest,
        |version| {
            let request = OffsetFetchRequest::default();
            if version < 8 {
                let topic = messages::offset_fetch_request::OffsetFetchRequestTopic::default();
                let topic = topic.with_name(TopicName(text("t"))).with_partition_indexes(vec![1, 2]);
                return request.with_group_id(GroupId(text("g"))).with_topics(Some(vec![topic]));
            }
            // Null asks for all topics.
            let group = messages::offset_fetch_request::OffsetFetchRequestGroup::default();
            request.with_groups(vec![group.with_group_id(GroupId(text("g"))).with_topics(None)])
        },
        |_| messages::OffsetFetchResponse::default()
    );
}

#[test]
fn groups() {
    let group = || GroupId(text("g"));
    exchange!(
        JoinGroup,
        JoinGroupRequest,
        |version| {
            let protocol = messages::join_group_request::JoinGroupRequestProtocol::default();
            let protocol = protocol.with_name(text("range")).with_metadata(Bytes::from_static(b"meta"));
            JoinGroupRequest::default()
                .with_group_id(group())
                .with_session_timeout_ms(45_000)
                .with_rebalance_timeout_ms(if version >= 1 { 300_000 } else { -1 })
                .with_group_instance_id((version >= 5).then(|| text("i-1")))
                .with_protocol_type(text("consumer"))
                .with_protocols(vec![protocol])
                .with_reason((version >= 8).then(|| text("because")))
        },
        |_| messages::JoinGroupResponse::default()
            .with_generation_id(4)
            .with_leader(text("m"))
            .with_member_id(text("m"))
    );
    exchange!(
        SyncGroup,
        SyncGroupRequest,
        |version| {
            let assignment = messages::sync_group_request::SyncGroupRequestAssignment::default();
            SyncGroupRequest::default()
                .with_group_id(group())
                .with_generation_id(4)
                .with_member_id(text("m"))
                .with_protocol_name((version >= 5).then(|| text("range")))
                .with_assignments(vec![assignment.with_member_id(text("m")).with_assignment(Bytes::from_static(b"a"))])
        },
        |_| messages::SyncGroupResponse::default().with_assignment(Bytes::from_static(b"a"))
    );
    exchange!(
        Heartbeat,
        HeartbeatRequest,
        |_| HeartbeatRequest::default().with_group_id(group()).with_generation_id(4).with_member_id(text("m")),
        |_| messages::HeartbeatResponse::default().with_error_code(27)
    );
    exchange!(
        LeaveGroup,
        LeaveGroupRequest,
        |version| {
            let request = LeaveGroupRequest::default().with_group_id(group());
            if version < 3 {
                return request.with_member_id(text("m"));
            }
            let member = messages::leave_group_request::MemberIdentity::default();
            request.with_members(vec![member.with_member_id(text("m")).with_group_instance_id(Some(text("i-1")))])
        },
        |_| messages::LeaveGroupResponse::default()
    );
}

#[test]
fn topics_and_producers() {
    exchange!(
        CreateTopics,
        CreateTopicsRequest,
        |_| {
            let config = messages::create_topics_request::CreatableTopicConfig::default();
            let topic = messages::create_topics_request::CreatableTopic::default()
                .with_name(TopicName(text("t")))
                .with_num_partitions(12)
                .with_replication_factor(3)
                .with_configs(vec![config.with_name(text("retention.ms")).with_value(None)]);
            CreateTopicsRequest::default().with_topics(vec![topic]).with_validate_only(true)
        },
        |_| messages::CreateTopicsResponse::default()
    );
    exchange!(
        DeleteTopics,
        DeleteTopicsRequest,
        |version| {
            let request = DeleteTopicsRequest::default().with_timeout_ms(5);
            if version < 6 {
                return request.with_topic_names(vec![TopicName(text("t"))]);
            }
            let topic = messages::delete_topics_request::DeleteTopicState::default();
            request.with_topics(vec![topic.with_name(None).with_topic_id(holon_kafka::Uuid::from_u128(7))])
        },
        |_| messages::DeleteTopicsResponse::default()
    );
    exchange!(
        DescribeConfigs,
        DescribeConfigsRequest,
        |_| {
            let resource = messages::describe_configs_request::DescribeConfigsResource::default();
            let resource = resource.with_resource_type(2).with_resource_name(text("t")).with_configuration_keys(None);
            DescribeConfigsRequest::default().with_resources(vec![resource]).with_include_synonyms(true)
        },
        |_| messages::DescribeConfigsResponse::default()
    );
    exchange!(
        InitProducerId,
        InitProducerIdRequest,
        |_| {
            let id = Some(TransactionalId(text("tx")));
            InitProducerIdRequest::default().with_transactional_id(id).with_transaction_timeout_ms(60_000)
        },
        |_| messages::InitProducerIdResponse::default().with_producer_id(ProducerId(1_000)).with_producer_epoch(2)
    );
}

/// Nothing that is asked for in the first list is left out of the table.
#[test]
fn the_first_list_is_served_as_asked() {
    let asked = [
        (Api::ApiVersions, 0, 4),
        (Api::Metadata, 0, 13),
        (Api::Produce, 3, 13),
        (Api::Fetch, 4, 18),
        (Api::ListOffsets, 1, 11),
        (Api::FindCoordinator, 0, 6),
        (Api::JoinGroup, 0, 9),
        (Api::SyncGroup, 0, 5),
        (Api::Heartbeat, 0, 4),
        (Api::LeaveGroup, 0, 5),
        (Api::OffsetCommit, 2, 9),
        (Api::OffsetFetch, 1, 9),
        (Api::InitProducerId, 0, 5),
        (Api::CreateTopics, 2, 7),
        (Api::DeleteTopics, 1, 6),
        (Api::DescribeConfigs, 1, 4),
    ];
    for (api, from, to) in asked {
        assert_eq!(api.versions(), (from, to), "{api}");
    }
}

#[test]
fn what_is_no_answer_is_not_taken_for_one() {
    let short = client::answer::<HeartbeatRequest>(Bytes::from_static(&[0, 0]), 0);
    assert!(matches!(short, Err(ClientError::Malformed { api: Api::Heartbeat, version: 0, .. })), "{short:?}");
    let long = client::answer::<HeartbeatRequest>(Bytes::from_static(&[0, 0, 0, 1, 0, 0, 9]), 0);
    assert!(matches!(long, Err(ClientError::Malformed { .. })), "{long:?}");
    let unknown = client::request(&messages::VoteRequest::default(), 0, 1, text("me"));
    assert_eq!(unknown, Err(ClientError::UnknownApi { key: 52 }));
    let beyond = client::request(&HeartbeatRequest::default(), 5, 1, text("me"));
    assert!(matches!(beyond, Err(ClientError::Unsayable { .. })), "{beyond:?}");
}
