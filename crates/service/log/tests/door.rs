//! The door, by its bytes: every API in every version that ApiVersions tells of, and what a client may do wrong.

mod common;

use bytes::{Bytes, BytesMut};
use common::door::*;
use holon_kafka::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use holon_kafka::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use holon_kafka::messages::delete_topics_request::DeleteTopicState;
use holon_kafka::messages::describe_configs_request::DescribeConfigsResource;
use holon_kafka::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use holon_kafka::messages::metadata_request::MetadataRequestTopic;
use holon_kafka::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use holon_kafka::messages::{
    AlterConfigsRequest, DeleteRecordsRequest, IncrementalAlterConfigsRequest, OffsetForLeaderEpochRequest,
    alter_configs_request, incremental_alter_configs_request,
};
use holon_kafka::messages::{
    ApiVersionsRequest, BrokerId, CreateTopicsRequest, DeleteTopicsRequest, DescribeClusterRequest,
    DescribeConfigsRequest, FetchRequest, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest,
};
use holon_kafka::{Api, BatchHeader, Batches, ErrorCode, Uuid, client, testing};
use holon_kernel::Flow;
use holon_kernel::testing::MemoryDisk;
use holon_log::service::LogConfig;
use std::time::Duration;

#[test]
fn each_api_answers_in_each_version() {
    let node = Node::start();
    let mut client = node.connect();
    let told = versions(&mut client);
    let all = |api: Api| {
        let (from, to) = told[&api.key()];
        from.max(api.versions().0)..=to
    };
    let named = ("test", "1.0");
    for version in all(Api::ApiVersions) {
        let mut request = ApiVersionsRequest::default();
        if version >= 3 {
            request = request.with_client_software_name(said(named.0)).with_client_software_version(said(named.1));
        }
        assert_eq!(client.ask(&request, version).error_code, 0);
    }
    for version in all(Api::CreateTopics) {
        let one = CreatableTopic::default().with_name(topic(&format!("t{version}"))).with_num_partitions(2);
        let request = CreateTopicsRequest::default().with_topics(vec![one.with_replication_factor(1)]);
        assert_eq!(client.ask(&request, version).topics[0].error_code, 0, "{version}");
    }
    let id = id_of(&mut client, "t7");
    for version in all(Api::Metadata) {
        let wanted = vec![MetadataRequestTopic::default().with_name(Some(topic("t7")))];
        let answer = client.ask(&MetadataRequest::default().with_topics(Some(wanted)), version);
        assert_eq!((answer.topics.len(), answer.topics[0].partitions.len()), (1, 2), "{version}");
        assert_eq!(answer.brokers[0].port, 9092);
    }
    let mut end = 0;
    for version in all(Api::Produce) {
        let answer = client.ask(&produce("t7", id, 1, batch(3)), version);
        let partition = &answer.responses[0].partition_responses[0];
        assert_eq!((partition.error_code, partition.base_offset), (0, end), "{version}");
        end += 3;
    }
    for version in all(Api::Fetch) {
        let answer = client.ask(&fetch("t7", id, 1, 4), version);
        let partition = &answer.responses[0].partitions[0];
        assert_eq!((partition.error_code, partition.high_watermark), (0, end), "{version}");
        let batches = Batches::new(partition.records.clone().expect("records"));
        let headers: Vec<BatchHeader> = batches.map(|batch| batch.expect("good").0).collect();
        assert_eq!(headers.first().map(|header| header.base_offset), Some(3), "{version}");
        assert_eq!(headers.last().map(BatchHeader::last_offset), Some(end - 1), "{version}");
    }
    for version in all(Api::ListOffsets) {
        for (timestamp, expected) in [(-1, end), (-2, 0), (1_700_000_000_000, 0), (1_700_000_000_001, -1)] {
            let one = ListOffsetsPartition::default().with_partition_index(1).with_timestamp(timestamp);
            let one = one.with_current_leader_epoch(-1);
            let wanted = ListOffsetsTopic::default().with_name(topic("t7")).with_partitions(vec![one]);
            let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![wanted]);
            let answer = client.ask(&request, version);
            let partition = &answer.topics[0].partitions[0];
            assert_eq!((partition.error_code, partition.offset), (0, expected), "{version} {timestamp}");
        }
    }
}

#[test]
fn each_api_about_the_cluster_answers_in_each_version() {
    let node = Node::start();
    let mut client = node.connect();
    let told = versions(&mut client);
    let all = |api: Api| api.versions().0..=told[&api.key()].1;
    for number in 2..8 {
        assert_eq!(client.create(&format!("t{number}"), 1, &[]), 0);
    }
    for version in all(Api::InitProducerId) {
        let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(1000);
        let answer = client.ask(&request, version);
        assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
    }
    for version in all(Api::DescribeConfigs) {
        let wanted = DescribeConfigsResource::default().with_resource_type(2).with_resource_name(said("t7"));
        let request = DescribeConfigsRequest::default()
            .with_resources(vec![wanted.with_configuration_keys(None)])
            .with_include_synonyms(true)
            .with_include_documentation(version >= 3);
        let answer = client.ask(&request, version);
        assert_eq!(answer.results[0].error_code, 0);
        assert!(answer.results[0].configs.len() > 20, "{version}");
    }
    for version in all(Api::DescribeCluster) {
        assert_eq!(client.ask(&DescribeClusterRequest::default(), version).brokers.len(), 1);
    }
    for version in all(Api::DeleteTopics) {
        let name = topic(&format!("t{}", version.clamp(2, 6)));
        let request = match version {
            6.. => DeleteTopicsRequest::default().with_topics(vec![DeleteTopicState::default().with_name(Some(name))]),
            _ => DeleteTopicsRequest::default().with_topic_names(vec![name]),
        };
        let code = client.ask(&request, version).responses[0].error_code;
        assert!([0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0].contains(&code), "{version}: {code}");
    }
}

#[test]
fn settings_of_a_topic_are_changed_whole_and_one_by_one() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 1, &[("retention.ms", "5"), ("max.message.bytes", "100")]), 0);
    assert_eq!(client.produce("t", 0, batch(9)), Err(ErrorCode::MESSAGE_TOO_LARGE));
    let one = |name: &str, operation: i8, value: Option<&str>| {
        incremental_alter_configs_request::AlterableConfig::default()
            .with_name(said(name))
            .with_config_operation(operation)
            .with_value(value.map(said))
    };
    let mut alter = |version: i16, configs: Vec<incremental_alter_configs_request::AlterableConfig>| {
        let resource = incremental_alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(said("t"))
            .with_configs(configs);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        client.ask(&request, version).responses[0].error_code
    };
    assert_eq!(alter(0, vec![one("max.message.bytes", 1, None), one("cleanup.policy", 2, Some("compact"))]), 0);
    assert_eq!(alter(1, vec![one("retention.ms", 0, Some("never"))]), ErrorCode::INVALID_CONFIG.0);
    assert_eq!(alter(1, vec![one("retention.ms", 2, Some("7"))]), ErrorCode::INVALID_CONFIG.0, "it is no list");
    let set = |client: &mut Client, name: &str| {
        let wanted = DescribeConfigsResource::default().with_resource_type(2).with_resource_name(said("t"));
        let wanted = wanted.with_configuration_keys(Some(vec![said(name)]));
        let answer = client.ask(&DescribeConfigsRequest::default().with_resources(vec![wanted]), 4);
        answer.results[0].configs[0].value.as_ref().map(|value| value.to_string()).unwrap_or_default()
    };
    assert_eq!(set(&mut client, "cleanup.policy"), "delete,compact");
    assert_eq!(set(&mut client, "retention.ms"), "5");
    assert_eq!(client.produce("t", 0, batch(9)), Ok(0), "the limit is the default again");
    for version in 0..=2 {
        let config = alter_configs_request::AlterableConfig::default()
            .with_name(said("retention.bytes"))
            .with_value(Some(said("77")));
        let resource = alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(said("t"))
            .with_configs(vec![config]);
        let request = AlterConfigsRequest::default().with_resources(vec![resource]);
        assert_eq!(client.ask(&request, version).responses[0].error_code, 0);
    }
    assert_eq!(set(&mut client, "retention.bytes"), "77");
    assert_eq!(set(&mut client, "retention.ms"), "604800000", "what is not named is as the default is");
}

#[test]
fn records_are_deleted_and_epochs_end_where_they_do_in_each_version() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 1, &[]), 0);
    for number in 0..5 {
        assert_eq!(client.produce("t", 0, batch(2)), Ok(number * 2));
    }
    for (version, (offset, expected)) in [(3, 3), (5, 5), (-1, 10)].into_iter().enumerate() {
        let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
        let wanted = DeleteRecordsTopic::default().with_name(topic("t")).with_partitions(vec![partition]);
        let request = DeleteRecordsRequest::default().with_topics(vec![wanted]).with_timeout_ms(1000);
        let answer = client.ask(&request, version as i16);
        let partition = &answer.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.low_watermark), (0, expected), "{version}");
    }
    let gone = client.ask(&fetch("t", Uuid::nil(), 0, 9), 12);
    assert_eq!(gone.responses[0].partitions[0].error_code, ErrorCode::OFFSET_OUT_OF_RANGE.0);
    for version in 2..=4 {
        let partition = OffsetForLeaderPartition::default().with_partition(0).with_leader_epoch(0);
        let partition = partition.with_current_leader_epoch(-1);
        let wanted = OffsetForLeaderTopic::default().with_topic(topic("t")).with_partitions(vec![partition]);
        let request = OffsetForLeaderEpochRequest::default().with_replica_id((-1).into()).with_topics(vec![wanted]);
        let answer = client.ask(&request, version);
        let partition = &answer.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.leader_epoch, partition.end_offset), (0, 0, 10), "{version}");
    }
}

#[test]
fn topics_are_made_when_somebody_asks_for_them_and_wrong_ones_are_refused() {
    let node = Node::start();
    let mut client = node.connect();
    let wanted = |name: &str| Some(vec![MetadataRequestTopic::default().with_name(Some(topic(name)))]);
    let asked = MetadataRequest::default().with_topics(wanted("new"));
    let answer = client.ask(&asked.clone().with_allow_auto_topic_creation(false), 12);
    assert_eq!(answer.topics[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0);
    assert_eq!(client.ask(&asked.with_allow_auto_topic_creation(true), 12).topics[0].error_code, 0);
    let bad = MetadataRequest::default().with_topics(wanted("a b")).with_allow_auto_topic_creation(true);
    assert_eq!(client.ask(&bad, 12).topics[0].error_code, ErrorCode::INVALID_TOPIC_EXCEPTION.0);
    let unknown = MetadataRequestTopic::default().with_topic_id(Uuid::from_u128(7));
    let answer = client.ask(&MetadataRequest::default().with_topics(Some(vec![unknown])), 12);
    assert_eq!(answer.topics[0].error_code, ErrorCode::UNKNOWN_TOPIC_ID.0);
    assert_eq!(client.create("new", 1, &[]), ErrorCode::TOPIC_ALREADY_EXISTS.0);
    assert_eq!(client.create("zero", 0, &[]), ErrorCode::INVALID_PARTITIONS.0);
    assert_eq!(client.create("bad", 1, &[("retention.ms", "soon")]), ErrorCode::INVALID_CONFIG.0);
    assert_eq!(client.create("bad", 1, &[("no.such.thing", "1")]), ErrorCode::INVALID_CONFIG.0);
    let all = client.ask(&MetadataRequest::default().with_topics(None), 12);
    assert_eq!(all.topics.len(), 1);
}

#[test]
fn records_that_may_not_be_stored_are_refused_and_the_connection_lives() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 1, &[("max.message.bytes", "200")]), 0);
    let mut torn = batch(1).to_vec();
    *torn.last_mut().expect("some") ^= 1;
    assert_eq!(client.produce("t", 0, torn.into()), Err(ErrorCode::CORRUPT_MESSAGE));
    assert_eq!(client.produce("t", 0, batch(60)), Err(ErrorCode::MESSAGE_TOO_LARGE));
    assert_eq!(client.produce("t", 1, batch(1)), Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    assert_eq!(client.produce("nothing", 0, batch(1)), Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    assert_eq!(client.produce("__holon_groups", 0, batch(1)), Err(ErrorCode::INVALID_TOPIC_EXCEPTION));
    let of = |sequence: i32| {
        let from = testing::From { producer_id: 5, epoch: 0, sequence };
        testing::batch(from, 2, b"v", 1_700_000_000_000)
    };
    assert_eq!(client.produce("t", 0, of(0)), Ok(0));
    assert_eq!(client.produce("t", 0, of(2)), Ok(2));
    assert_eq!(client.produce("t", 0, of(0)), Ok(0), "sent again: where it is");
    assert_eq!(client.produce("t", 0, of(8)), Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    assert_eq!(client.produce("t", 0, batch(1)), Ok(4));
    let beyond = client.ask(&fetch("t", Uuid::nil(), 0, 6), 12);
    assert_eq!(beyond.responses[0].partitions[0].error_code, ErrorCode::OFFSET_OUT_OF_RANGE.0);
}

#[test]
fn requests_that_come_together_keep_their_order_and_share_a_sync() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 2, &[]), 0);
    let store = node.service.store().expect("open");
    let syncs = store.stats().log_syncs;
    let mut frames = BytesMut::new();
    for number in 0..10 {
        let request = produce("t", Uuid::nil(), number % 2, batch(3));
        frames.extend_from_slice(&client::request(&request, 9, number, "test".into()).expect("said"));
    }
    let request = fetch("t", Uuid::nil(), 0, 12);
    frames.extend_from_slice(&client::request(&request, 12, 10, "test".into()).expect("said"));
    assert_eq!(client.send_bytes(&frames), Flow::Continue);
    for number in 0..10 {
        let frame = client.frame().expect("an answer");
        let (correlation, answer) =
            client::answer::<holon_kafka::messages::ProduceRequest>(frame, 9).expect("an answer");
        let partition = &answer.responses[0].partition_responses[0];
        let expected = i64::from(number / 2 * 3);
        assert_eq!((correlation, partition.error_code, partition.base_offset), (number, 0, expected));
    }
    let (correlation, answer) = client::answer::<FetchRequest>(client.frame().expect("an answer"), 12).expect("one");
    assert_eq!((correlation, answer.responses[0].partitions[0].high_watermark), (10, 15), "it has seen all of them");
    assert!(store.stats().log_syncs - syncs <= 2, "{} syncs", store.stats().log_syncs - syncs);
}

#[test]
fn a_fetch_at_the_end_waits_for_what_comes() {
    let node = Node::start();
    let (mut reader, mut writer) = (node.connect(), node.connect());
    assert_eq!(reader.create("t", 2, &[]), 0);
    let began = node.test.shard.now();
    let answer = reader.ask(&fetch("t", Uuid::nil(), 0, 0), 12);
    assert_eq!(answer.responses[0].partitions[0].records.as_ref().map_or(0, Bytes::len), 0);
    let waited = node.test.shard.now().since(began);
    assert!((500..=600).contains(&waited.as_millis()), "{waited:?}");
    reader.send(&fetch("t", Uuid::nil(), 0, 0), 12);
    node.test.advance(Duration::from_millis(20));
    assert_eq!(reader.outbox.pending_bytes(), 0, "it waits");
    writer.produce("t", 1, batch(1)).expect("to the other partition");
    node.test.advance(Duration::from_millis(20));
    assert_eq!(reader.outbox.pending_bytes(), 0, "it still waits");
    writer.produce("t", 0, batch(1)).expect("appended");
    let frame = reader.frame().expect("an answer");
    let (_, answer) = client::answer::<FetchRequest>(frame, 12).expect("an answer");
    assert!(answer.responses[0].partitions[0].records.as_ref().is_some_and(|records| !records.is_empty()));
}

#[test]
fn what_is_no_request_ends_the_connection_and_no_other() {
    let node = Node::start();
    let mut other = node.connect();
    for bytes in [
        &[0xff, 0xff, 0xff, 0xff][..],
        &[0x7f, 0xff, 0xff, 0xff],
        &[0, 0, 0, 4, 0, 99, 0, 0],
        &[0, 0, 0, 10, 0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff],
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut client = node.connect();
        assert_eq!(client.send_bytes(bytes), Flow::Close, "{bytes:?}");
        assert_eq!(client.outbox.pending_bytes(), 0);
        assert!(!versions(&mut other).is_empty());
    }
    // ApiVersions in a version that nobody knows is answered, and the connection goes on (KIP-511).
    let mut client = node.connect();
    let flow = client.send_bytes(&[0, 0, 0, 11, 0, 18, 0, 99, 0, 0, 0, 1, 0xff, 0xff, 0]);
    assert_eq!(flow, Flow::Continue);
    let (_, answer) = client::answer::<ApiVersionsRequest>(client.frame().expect("an answer"), 0).expect("version 0");
    assert_eq!(answer.error_code, ErrorCode::UNSUPPORTED_VERSION.0);
    assert!(!versions(&mut client).is_empty());
}

#[test]
fn a_node_says_how_many_partitions_and_whether_asking_makes_a_topic() {
    let config = LogConfig { partitions_default: 4, auto_create_topics: false, ..LogConfig::default() };
    let node = Node::start_with(MemoryDisk::new(), 1, config);
    let mut client = node.connect();
    let wanted = |name| Some(vec![MetadataRequestTopic::default().with_name(Some(topic(name)))]);
    for version in [3, 12] {
        let asked = MetadataRequest::default().with_topics(wanted("t")).with_allow_auto_topic_creation(true);
        let answer = client.ask(&asked, version);
        assert_eq!(answer.topics[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0, "{version}");
    }
    assert_eq!(client.create("t", -1, &[]), 0);
    let answer = client.ask(&MetadataRequest::default().with_topics(wanted("t")), 12);
    assert_eq!(answer.topics[0].partitions.len(), 4);
    let config = LogConfig { partitions_default: 3, ..LogConfig::default() };
    let node = Node::start_with(MemoryDisk::new(), 1, config);
    let asked = MetadataRequest::default().with_topics(wanted("u")).with_allow_auto_topic_creation(true);
    assert_eq!(node.connect().ask(&asked, 12).topics[0].partitions.len(), 3);
}

#[test]
fn whoever_places_the_partitions_has_to_name_the_node_that_is_there() {
    let node = Node::start();
    let mut client = node.connect();
    let own = client.ask(&MetadataRequest::default(), 12).brokers[0].node_id;
    let other = BrokerId(own.0 ^ 1);
    let mut create = |name: &str, assigned: &[(i32, &[BrokerId])], numbers: (i32, i16)| {
        let one = |(index, ids): &(i32, &[BrokerId])| {
            CreatableReplicaAssignment::default().with_partition_index(*index).with_broker_ids(ids.to_vec())
        };
        let wanted = CreatableTopic::default()
            .with_name(topic(name))
            .with_num_partitions(numbers.0)
            .with_replication_factor(numbers.1)
            .with_assignments(assigned.iter().map(one).collect());
        let answer = client.ask(&CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(1000), 7);
        (answer.topics[0].error_code, answer.topics[0].num_partitions)
    };
    assert_eq!(create("t", &[(1, &[own]), (0, &[own]), (2, &[own])], (-1, -1)), (0, 3));
    let (wrong, invalid) = (ErrorCode::INVALID_REPLICA_ASSIGNMENT.0, ErrorCode::INVALID_REQUEST.0);
    for (assigned, numbers, error) in [
        (&[(0, &[own][..])][..], (1, -1), invalid),
        (&[(0, &[own][..])], (-1, 1), invalid),
        (&[(0, &[other][..])], (-1, -1), wrong),
        (&[(0, &[own, other][..])], (-1, -1), wrong),
        (&[(0, &[own, own][..])], (-1, -1), wrong),
        (&[(0, &[][..])], (-1, -1), wrong),
        (&[(0, &[own][..]), (0, &[own])], (-1, -1), wrong),
        (&[(0, &[own][..]), (2, &[own])], (-1, -1), wrong),
        (&[(1, &[own][..])], (-1, -1), wrong),
    ] {
        assert_eq!(create("u", assigned, numbers), (error, -1), "{assigned:?} {numbers:?}");
    }
}

#[test]
fn whoever_asks_what_is_allowed_is_told_everything_that_there_is() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 1, &[]), 0);
    let bits = |numbers: &[u32]| numbers.iter().fold(0, |bits, number| bits | 1 << number);
    let (of_topic, of_cluster) = (bits(&[3, 4, 5, 6, 7, 8, 10, 11]), bits(&[5, 7, 8, 9, 10, 11, 12]));
    for is_asked in [false, true] {
        let told = |all: i32| if is_asked { all } else { i32::MIN };
        let wanted = ["t", "nothing"].map(|name| MetadataRequestTopic::default().with_name(Some(topic(name)))).to_vec();
        let asked = MetadataRequest::default().with_topics(Some(wanted)).with_allow_auto_topic_creation(false);
        let asked = asked.with_include_topic_authorized_operations(is_asked);
        let answer = client.ask(&asked, 12);
        let operations: Vec<i32> = answer.topics.iter().map(|topic| topic.topic_authorized_operations).collect();
        assert_eq!(operations, [told(of_topic), i32::MIN]);
        let asked = asked.with_include_cluster_authorized_operations(is_asked);
        assert_eq!(client.ask(&asked, 8).cluster_authorized_operations, told(of_cluster));
        let asked = DescribeClusterRequest::default().with_include_cluster_authorized_operations(is_asked);
        assert_eq!(client.ask(&asked, 0).cluster_authorized_operations, told(of_cluster));
    }
}

#[test]
fn an_answer_to_a_fetch_is_no_larger_than_asked_but_for_its_first_batch() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 3, &[]), 0);
    let length = batch(50).len();
    for index in 0..3 {
        assert_eq!(client.produce("t", index, batch(50)), Ok(0));
    }
    let lengths = |client: &mut Client, most: usize, of_partition: usize| -> Vec<usize> {
        let mut request = fetch("t", Uuid::nil(), 0, 0);
        request.max_bytes = most as i32;
        let mut one = request.topics[0].partitions[0].clone();
        one.partition_max_bytes = of_partition as i32;
        let partition = |index| one.clone().with_partition(index);
        request.topics[0].partitions = (0..3).map(partition).collect();
        let answer = client.ask(&request, 11);
        let partitions = answer.responses[0].partitions.iter();
        partitions.map(|partition| partition.records.as_ref().map_or(0, |records| records.len())).collect()
    };
    assert_eq!(lengths(&mut client, 3 * length, length), [length; 3]);
    assert_eq!(lengths(&mut client, 3 * length - 1, length), [length, length, 0], "the third has no room");
    assert_eq!(lengths(&mut client, length + 1, length), [length, 0, 0]);
    assert_eq!(lengths(&mut client, 1, length), [length, 0, 0], "the first comes all the same");
    assert_eq!(lengths(&mut client, 3 * length, length - 1), [length, 0, 0], "the bound of a partition");
}

#[test]
fn offsets_by_time_are_those_of_records_not_of_batches() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 1, &[]), 0);
    let times_ms = [1_700_000_000_000, 1_700_000_000_030, 1_700_000_000_020, 1_700_000_000_030];
    for _ in 0..2 {
        let base = client.produce("t", 0, testing::batch_with_times(&times_ms)).expect("stored");
        assert_eq!(base % 4, 0);
    }
    let ask = |client: &mut Client, time_ms: i64| {
        let partition = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(time_ms);
        let wanted = ListOffsetsTopic::default().with_name(topic("t")).with_partitions(vec![partition]);
        let answer =
            client.ask(&ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![wanted]), 7);
        let partition = &answer.topics[0].partitions[0];
        assert_eq!(partition.error_code, 0);
        (partition.offset, partition.timestamp)
    };
    let newest = -3;
    for (time_ms, found) in [
        (0, (0, times_ms[0])),
        (times_ms[0] + 1, (1, times_ms[1])),
        (times_ms[1], (1, times_ms[1])),
        (times_ms[1] + 1, (-1, -1)),
        (newest, (1, times_ms[1])),
    ] {
        assert_eq!(ask(&mut client, time_ms), found, "{time_ms}");
    }
    // What was removed does not count, also within a batch: the first whose time fits is then in the next one.
    let remove = |client: &mut Client, offset: i64| {
        let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
        let wanted = DeleteRecordsTopic::default().with_name(topic("t")).with_partitions(vec![partition]);
        let answer = client.ask(&DeleteRecordsRequest::default().with_topics(vec![wanted]).with_timeout_ms(1000), 2);
        assert_eq!(answer.topics[0].partitions[0].low_watermark, offset);
    };
    remove(&mut client, 2);
    assert_eq!(ask(&mut client, times_ms[1]), (3, times_ms[3]));
    assert_eq!(ask(&mut client, 0), (2, times_ms[2]));
    remove(&mut client, 4);
    assert_eq!(ask(&mut client, times_ms[1]), (5, times_ms[1]));
}
