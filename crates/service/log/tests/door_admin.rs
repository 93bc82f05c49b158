//! What administrators ask about partitions, nodes and settings, by its bytes, in each version.

mod common;

use common::door::*;
use holon_kafka::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use holon_kafka::messages::create_acls_request::AclCreation;
use holon_kafka::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use holon_kafka::messages::delete_acls_request::DeleteAclsFilter;
use holon_kafka::messages::describe_configs_request::DescribeConfigsResource;
use holon_kafka::messages::describe_log_dirs_request::DescribableLogDirTopic;
use holon_kafka::messages::describe_producers_request::TopicRequest as ProducersOf;
use holon_kafka::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use holon_kafka::messages::elect_leaders_request::TopicPartitions;
use holon_kafka::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, CreateAclsRequest, CreatePartitionsRequest, DeleteAclsRequest,
    DescribeAclsRequest, DescribeConfigsRequest, DescribeLogDirsRequest, DescribeProducersRequest,
    DescribeTopicPartitionsRequest, ElectLeadersRequest, ListConfigResourcesRequest, ListPartitionReassignmentsRequest,
    MetadataRequest,
};
use holon_kafka::{Api, ErrorCode, testing};

fn all(client: &mut Client, api: Api) -> std::ops::RangeInclusive<i16> {
    let (from, to) = versions(client)[&api.key()];
    from.max(api.versions().0)..=to
}

fn own_id(client: &mut Client) -> BrokerId {
    client.ask(&MetadataRequest::default(), 9).brokers[0].node_id
}

#[test]
fn partitions_are_described_by_name_so_many_at_a_time() {
    let node = Node::start();
    let mut client = node.connect();
    for (name, partitions) in [("b", 3), ("a", 2), ("c", 1)] {
        assert_eq!(client.create(name, partitions, &[]), 0);
    }
    let ask = |client: &mut Client, names: &[&str], most: i32, from: Option<(&str, i32)>| {
        let named = |name: &&str| TopicRequest::default().with_name(topic(name));
        let cursor =
            from.map(|(name, index)| Cursor::default().with_topic_name(topic(name)).with_partition_index(index));
        let request = DescribeTopicPartitionsRequest::default()
            .with_topics(names.iter().map(named).collect())
            .with_response_partition_limit(most)
            .with_cursor(cursor);
        let answer = client.ask(&request, 0);
        let told = answer.topics.iter().map(|one| {
            let indexes: Vec<i32> = one.partitions.iter().map(|partition| partition.partition_index).collect();
            (one.name.as_ref().expect("named").0.to_string(), one.error_code, indexes)
        });
        let next = answer.next_cursor.as_ref().map(|next| (next.topic_name.0.to_string(), next.partition_index));
        (told.collect::<Vec<_>>(), next)
    };
    let one = |name: &str, error: ErrorCode, indexes: &[i32]| (name.to_string(), error.0, indexes.to_vec());
    let good = |name: &str, indexes: &[i32]| one(name, ErrorCode::NONE, indexes);
    let whole = vec![good("a", &[0, 1]), good("b", &[0, 1, 2]), good("c", &[0])];
    assert_eq!(ask(&mut client, &[], 2000, None), (whole, None));
    // Page by page, all are told once.
    let (mut told, mut from) = (Vec::new(), None);
    loop {
        let at = from.as_ref().map(|(name, index): &(String, i32)| (name.as_str(), *index));
        let (page, next) = ask(&mut client, &[], 2, at);
        let count = page.iter().map(|(_, _, indexes)| indexes.len()).sum::<usize>();
        assert!(count <= 2, "{page:?}");
        told.extend(
            page.into_iter().flat_map(|(name, _, indexes)| indexes.into_iter().map(move |at| (name.clone(), at))),
        );
        let Some(next) = next else { break };
        from = Some(next);
    }
    let expected = [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("b", 2), ("c", 0)];
    assert_eq!(told, expected.map(|(name, index)| (name.to_string(), index)));
    let (told, _) = ask(&mut client, &["nothing", "no good", "a"], 2000, None);
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let expected =
        vec![good("a", &[0, 1]), one("no good", ErrorCode::INVALID_TOPIC_EXCEPTION, &[]), one("nothing", unknown, &[])];
    assert_eq!(told, expected);
    // A cursor is one of the topics that are asked for, and of a partition.
    for from in [("b", 0), ("a", -1)] {
        let (told, _) = ask(&mut client, &["a"], 2000, Some(from));
        assert_eq!(told, [one("a", ErrorCode::INVALID_REQUEST, &[])], "{from:?}");
    }
    let request = DescribeTopicPartitionsRequest::default().with_response_partition_limit(1);
    let described = &client.ask(&request, 0).topics[0].partitions[0];
    let own = own_id(&mut client);
    assert_eq!((described.leader_id, &described.replica_nodes, &described.isr_nodes), (own, &vec![own], &vec![own]));
}

#[test]
fn a_topic_gets_more_partitions_in_each_version_and_they_are_as_good_as_the_first() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 2, &[]), 0);
    let own = own_id(&mut client);
    let grow =
        |client: &mut Client, version: i16, name: &str, count: i32, assigned: Option<&[&[BrokerId]]>, check: bool| {
            let assign = |ids: &&[BrokerId]| CreatePartitionsAssignment::default().with_broker_ids(ids.to_vec());
            let one = CreatePartitionsTopic::default().with_name(topic(name)).with_count(count);
            let one = one.with_assignments(assigned.map(|all| all.iter().map(assign).collect()));
            let request = CreatePartitionsRequest::default().with_topics(vec![one]).with_validate_only(check);
            client.ask(&request, version).results[0].error_code
        };
    let partitions = |client: &mut Client| {
        let answer = client.ask(&MetadataRequest::default().with_topics(None), 9);
        let topic = answer.topics.iter().find(|one| one.name.as_ref().is_some_and(|name| *name.0 == *"t"));
        topic.expect("there").partitions.iter().map(|one| (one.partition_index, one.error_code)).collect::<Vec<_>>()
    };
    let first = client.produce("t", 1, batch(3)).expect("appended");
    let invalid = ErrorCode::INVALID_PARTITIONS.0;
    let misplaced = ErrorCode::INVALID_REPLICA_ASSIGNMENT.0;
    for (round, version) in all(&mut client, Api::CreatePartitions).enumerate() {
        let has = 2 + 2 * round as i32;
        for count in [has, has - 1, 0, -1] {
            assert_eq!(grow(&mut client, version, "t", count, None, false), invalid, "{version} {count}");
        }
        assert_eq!(grow(&mut client, version, "t", 1 << 20, None, true), invalid);
        assert_eq!(grow(&mut client, version, "nothing", 9, None, false), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0);
        let (good, other): (&[BrokerId], &[BrokerId]) = (&[own], &[BrokerId(7)]);
        for assigned in [&[good][..], &[good, other], &[good, &[]]] {
            assert_eq!(grow(&mut client, version, "t", has + 2, Some(assigned), false), misplaced, "{version}");
        }
        assert_eq!(grow(&mut client, version, "t", has + 2, None, true), 0, "only checked");
        assert_eq!(partitions(&mut client).len() as i32, has);
        let assigned: Option<&[&[BrokerId]]> = if round == 0 { Some(&[good, good]) } else { None };
        assert_eq!(grow(&mut client, version, "t", has + 2, assigned, false), 0, "{version}");
        assert_eq!(partitions(&mut client), (0..has + 2).map(|index| (index, 0)).collect::<Vec<_>>());
        for index in [has, has + 1] {
            assert_eq!(client.produce("t", index, batch(2)), Ok(0), "{version} {index}");
        }
    }
    assert_eq!(client.produce("t", 1, batch(1)), Ok(first + 3), "those that were there stayed");
    // All of it is there after the process ended at once.
    let node = node.crash();
    let mut client = node.connect();
    let count = partitions(&mut client).len() as i32;
    for index in 2..count {
        assert_eq!(client.produce("t", index, batch(1)), Ok(2), "{index}");
    }
    let twice = vec![CreatePartitionsTopic::default().with_name(topic("t")).with_count(90); 2];
    let answer = client.ask(&CreatePartitionsRequest::default().with_topics(twice), 3);
    assert!(answer.results.iter().all(|one| one.error_code == ErrorCode::INVALID_REQUEST.0), "{answer:?}");
}

#[test]
fn the_sizes_of_partitions_are_told_in_each_version() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 2, &[]), 0);
    let records = batch(3);
    let bytes = records.len() as i64;
    client.produce("t", 1, records).expect("appended");
    for version in all(&mut client, Api::DescribeLogDirs) {
        let sizes = |client: &mut Client, asked: Option<&[i32]>| {
            let topics = asked.map(|indexes| {
                vec![DescribableLogDirTopic::default().with_topic(topic("t")).with_partitions(indexes.to_vec())]
            });
            let answer = client.ask(&DescribeLogDirsRequest::default().with_topics(topics), version);
            assert_eq!((answer.error_code, answer.results.len()), (0, 1), "{version}");
            assert_eq!((answer.results[0].error_code, &*answer.results[0].log_dir), (0, "log"));
            let of = |name: &str| answer.results[0].topics.iter().find(|topic| *topic.name.0 == *name);
            let partitions = of("t").map(|topic| topic.partitions.clone()).unwrap_or_default();
            partitions.iter().map(|one| (one.partition_index, one.partition_size)).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&mut client, None), [(0, 0), (1, bytes)], "{version}");
        assert_eq!(sizes(&mut client, Some(&[1, 7])), [(1, bytes)], "{version}");
        assert_eq!(sizes(&mut client, Some(&[])), [], "{version}");
    }
}

#[test]
fn producers_of_a_partition_are_told() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 1, &[]), 0);
    let from = testing::From { producer_id: 9, epoch: 2, sequence: 0 };
    client.produce("t", 0, testing::batch(from, 3, b"v", 1_700_000_000_000)).expect("appended");
    let of = |name: &str, indexes: &[i32]| {
        ProducersOf::default().with_name(topic(name)).with_partition_indexes(indexes.to_vec())
    };
    let request = DescribeProducersRequest::default().with_topics(vec![of("t", &[0, 1]), of("nothing", &[0])]);
    let answer = client.ask(&request, 0);
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
    let codes = answer.topics.iter().flat_map(|one| one.partitions.iter().map(|partition| partition.error_code));
    assert_eq!(codes.collect::<Vec<_>>(), [0, unknown, unknown]);
    let [known] = &answer.topics[0].partitions[0].active_producers[..] else { panic!("{answer:?}") };
    assert_eq!((known.producer_id.0, known.producer_epoch, known.last_sequence), (9, 2, 2));
    assert_eq!((known.coordinator_epoch, known.current_txn_start_offset), (-1, -1));
    assert!(known.last_timestamp > 0);
}

#[test]
fn a_partition_is_where_it_is() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 2, &[]), 0);
    let own = own_id(&mut client);
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
    for version in all(&mut client, Api::ElectLeaders) {
        let elect = |client: &mut Client, partitions: Option<Vec<TopicPartitions>>, kind: i8| {
            let request = ElectLeadersRequest::default().with_topic_partitions(partitions).with_election_type(kind);
            let answer = client.ask(&request, version);
            let results = answer.replica_election_results.iter().flat_map(|topic| &topic.partition_result);
            (answer.error_code, results.map(|one| one.error_code).collect::<Vec<_>>())
        };
        let of = |name: &str, indexes: &[i32]| {
            TopicPartitions::default().with_topic(topic(name)).with_partitions(indexes.to_vec())
        };
        let asked = vec![of("t", &[0, 7]), of("nothing", &[0])];
        let needless = ErrorCode::ELECTION_NOT_NEEDED.0;
        assert_eq!(elect(&mut client, Some(asked.clone()), 0), (0, vec![needless, unknown, unknown]), "{version}");
        assert_eq!(elect(&mut client, None, 0), (0, vec![]), "{version}");
        if version > 0 {
            let (error, results) = elect(&mut client, Some(asked), 5);
            assert_eq!((error, results), (ErrorCode::INVALID_REQUEST.0, vec![]), "{version}");
        }
    }
    let invalid = ErrorCode::INVALID_REPLICA_ASSIGNMENT.0;
    let cases = [
        (0, Some(vec![own]), 0),
        (0, None, ErrorCode::NO_REASSIGNMENT_IN_PROGRESS.0),
        (0, Some(vec![]), invalid),
        (0, Some(vec![own, own]), invalid),
        (0, Some(vec![BrokerId(5)]), invalid),
        (7, Some(vec![own]), unknown),
    ];
    for version in all(&mut client, Api::AlterPartitionReassignments) {
        for (index, replicas, expected) in cases.clone() {
            let one = ReassignablePartition::default().with_partition_index(index).with_replicas(replicas.clone());
            let asked = ReassignableTopic::default().with_name(topic("t")).with_partitions(vec![one]);
            let answer = client.ask(&AlterPartitionReassignmentsRequest::default().with_topics(vec![asked]), version);
            assert_eq!(answer.error_code, 0);
            assert_eq!(answer.responses[0].partitions[0].error_code, expected, "{version} {index} {replicas:?}");
        }
    }
    let answer = client.ask(&ListPartitionReassignmentsRequest::default().with_topics(None), 0);
    assert_eq!((answer.error_code, answer.topics.len()), (0, 0));
}

#[test]
fn a_node_tells_of_its_own_settings() {
    let node = Node::start();
    let mut client = node.connect();
    let own = own_id(&mut client).0.to_string();
    let ask = |client: &mut Client, version: i16, name: &str, keys: Option<&[&str]>| {
        let keys = keys.map(|keys| keys.iter().map(|key| said(key)).collect());
        let broker = DescribeConfigsResource::default().with_resource_type(4).with_resource_name(said(name));
        let request = DescribeConfigsRequest::default().with_resources(vec![broker.with_configuration_keys(keys)]);
        client.ask(&request.with_include_documentation(version >= 3), version).results.remove(0)
    };
    for version in all(&mut client, Api::DescribeConfigs) {
        let result = ask(&mut client, version, &own, None);
        assert_eq!(result.error_code, 0);
        let find = |name: &str| result.configs.iter().find(|config| *config.name == *name).expect("told");
        let value = |name: &str| find(name).value.as_deref().unwrap_or_default().to_string();
        assert_eq!((value("node.id"), value("num.partitions")), (own.clone(), "1".to_string()));
        assert_eq!(
            (value("log.retention.ms"), value("group.min.session.timeout.ms")),
            ("604800000".into(), "6000".into())
        );
        let listeners = find("advertised.listeners");
        assert!(listeners.read_only && listeners.value.as_deref().is_some_and(|value| value.ends_with(":9092")));
        assert_eq!((listeners.config_source, find("log.retention.ms").config_source), (4, 5));
    }
    let result = ask(&mut client, 4, &own, Some(&["node.id", "nothing"]));
    assert_eq!(result.configs.iter().map(|config| &*config.name).collect::<Vec<_>>(), ["node.id"]);
    assert_eq!(ask(&mut client, 4, "", None).configs, []);
    for other in ["7", "somebody"] {
        assert_eq!(ask(&mut client, 4, other, None).error_code, ErrorCode::INVALID_REQUEST.0, "{other}");
    }
}

#[test]
fn there_are_no_permissions_and_who_asks_for_them_is_told() {
    let node = Node::start();
    let mut client = node.connect();
    let disabled = ErrorCode::SECURITY_DISABLED.0;
    for version in all(&mut client, Api::DescribeAcls) {
        let answer = client.ask(&DescribeAclsRequest::default().with_pattern_type_filter(1), version);
        assert_eq!((answer.error_code, answer.resources.len()), (disabled, 0), "{version}");
    }
    for version in all(&mut client, Api::CreateAcls) {
        let one = AclCreation::default().with_resource_pattern_type(3);
        let answer = client.ask(&CreateAclsRequest::default().with_creations(vec![one.clone(), one]), version);
        assert_eq!(answer.results.iter().map(|one| one.error_code).collect::<Vec<_>>(), [disabled, disabled]);
    }
    for version in all(&mut client, Api::DeleteAcls) {
        let one = DeleteAclsFilter::default().with_pattern_type_filter(3);
        let answer = client.ask(&DeleteAclsRequest::default().with_filters(vec![one]), version);
        assert_eq!(answer.filter_results.iter().map(|one| one.error_code).collect::<Vec<_>>(), [disabled]);
    }
}

#[test]
fn what_has_settings_is_listed() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 1, &[]), 0);
    let own = own_id(&mut client).0.to_string();
    let list = |client: &mut Client, version: i16, kinds: &[i8]| {
        let answer = client.ask(&ListConfigResourcesRequest::default().with_resource_types(kinds.to_vec()), version);
        let all = answer.config_resources.iter().map(|one| (one.resource_type, one.resource_name.to_string()));
        (answer.error_code, all.collect::<Vec<_>>())
    };
    assert_eq!(list(&mut client, 0, &[]), (0, vec![]), "settings of client metrics");
    let (topics, nodes) = ((2, "t".to_string()), (4, own));
    assert_eq!(list(&mut client, 1, &[]), (0, vec![topics.clone(), nodes.clone()]));
    assert_eq!(list(&mut client, 1, &[4, 32]), (0, vec![nodes]));
    assert_eq!(list(&mut client, 1, &[2, 3]), (ErrorCode::UNSUPPORTED_VERSION.0, vec![]));
}
