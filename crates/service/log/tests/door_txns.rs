//! Transactions through the door, in every version, and what a client may do wrong.

mod common;

use bytes::Bytes;
use common::door::*;
use holon_kafka::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use holon_kafka::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use holon_kafka::messages::txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
use holon_kafka::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, ApiVersionsRequest, DescribeTransactionsRequest, EndTxnRequest,
    FindCoordinatorRequest, InitProducerIdRequest, ListTransactionsRequest, OffsetFetchRequest, ProducerId,
    TransactionalId, TxnOffsetCommitRequest,
};
use holon_kafka::{Api, Batches, ErrorCode, Uuid, testing};
use std::time::Duration;

const TIME_MS: i64 = 1_700_000_000_000;

type Producer = (i64, i16);

fn id(name: &str) -> TransactionalId {
    TransactionalId(said(name))
}

fn init_as(client: &mut Client, name: &str, version: i16, timeout_ms: i32, producer: Producer) -> (i16, Producer) {
    let mut request = InitProducerIdRequest::default()
        .with_transactional_id(Some(id(name)))
        .with_transaction_timeout_ms(timeout_ms)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    if version >= 3 {
        request = request.with_producer_id(ProducerId(producer.0)).with_producer_epoch(producer.1);
    }
    let answer = client.ask(&request, version);
    (answer.error_code, (answer.producer_id.0, answer.producer_epoch))
}

/// As often as it takes to end what was begun before.
fn init(client: &mut Client, name: &str, version: i16) -> Producer {
    for _ in 0..20 {
        match init_as(client, name, version, 60_000, (-1, -1)) {
            (0, producer) => return producer,
            (code, _) => assert_eq!(code, ErrorCode::CONCURRENT_TRANSACTIONS.0),
        }
        client.wait(Duration::from_millis(100));
    }
    panic!("{name} is not initialised");
}

fn add_topics(name: &str, partitions: &[i32]) -> Vec<AddPartitionsToTxnTopic> {
    vec![AddPartitionsToTxnTopic::default().with_name(topic(name)).with_partitions(partitions.to_vec())]
}

/// The codes of the partitions.
fn add(
    client: &mut Client,
    name: &str,
    version: i16,
    producer: Producer,
    topics: Vec<AddPartitionsToTxnTopic>,
) -> Vec<i16> {
    let request = match version {
        4.. => AddPartitionsToTxnRequest::default().with_transactions(vec![
            AddPartitionsToTxnTransaction::default()
                .with_transactional_id(id(name))
                .with_producer_id(ProducerId(producer.0))
                .with_producer_epoch(producer.1)
                .with_topics(topics),
        ]),
        _ => AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(id(name))
            .with_v3_and_below_producer_id(ProducerId(producer.0))
            .with_v3_and_below_producer_epoch(producer.1)
            .with_v3_and_below_topics(topics),
    };
    let answer = client.ask(&request, version);
    let results = match version {
        4.. => answer.results_by_transaction.into_iter().flat_map(|one| one.topic_results).collect(),
        _ => answer.results_by_topic_v3_and_below,
    };
    results.iter().flat_map(|topic| &topic.results_by_partition).map(|one| one.partition_error_code).collect()
}

fn records((producer_id, epoch): Producer, sequence: i32) -> Bytes {
    testing::transactional(testing::From { producer_id, epoch, sequence }, 1, b"value", TIME_MS)
}

fn write(client: &mut Client, name: &str, version: i16, producer: Producer, sequence: i32) -> i16 {
    let request = produce("t", Uuid::nil(), 0, records(producer, sequence)).with_transactional_id(Some(id(name)));
    let answer = client.ask(&request, version);
    answer.responses[0].partition_responses[0].error_code
}

fn add_offsets(client: &mut Client, name: &str, version: i16, producer: Producer, group_id: &str) -> i16 {
    let request = AddOffsetsToTxnRequest::default()
        .with_transactional_id(id(name))
        .with_producer_id(ProducerId(producer.0))
        .with_producer_epoch(producer.1)
        .with_group_id(group(group_id));
    client.ask(&request, version).error_code
}

fn commit(name: &str, producer: Producer, group_id: &str, offset: i64) -> TxnOffsetCommitRequest {
    let one = TxnOffsetCommitRequestPartition::default().with_partition_index(1).with_committed_offset(offset);
    let wanted = TxnOffsetCommitRequestTopic::default().with_name(topic("t")).with_partitions(vec![one]);
    TxnOffsetCommitRequest::default()
        .with_transactional_id(id(name))
        .with_group_id(group(group_id))
        .with_producer_id(ProducerId(producer.0))
        .with_producer_epoch(producer.1)
        .with_topics(vec![wanted])
}

fn committed(client: &mut Client, request: &TxnOffsetCommitRequest, version: i16) -> i16 {
    client.ask(request, version).topics[0].partitions[0].error_code
}

fn end_as(client: &mut Client, name: &str, version: i16, producer: Producer, commit: bool) -> (i16, Producer) {
    let request = EndTxnRequest::default()
        .with_transactional_id(id(name))
        .with_producer_id(ProducerId(producer.0))
        .with_producer_epoch(producer.1)
        .with_committed(commit);
    let answer = client.ask(&request, version);
    (answer.error_code, (answer.producer_id.0, answer.producer_epoch))
}

/// The offset of a group, or the error.
fn fetched(client: &mut Client, name: &str, stable: bool) -> Result<i64, i16> {
    let wanted = OffsetFetchRequestTopics::default().with_name(topic("t")).with_partition_indexes(vec![1]);
    let asked = OffsetFetchRequestGroup::default().with_group_id(group(name)).with_topics(Some(vec![wanted]));
    let answer = client.ask(&OffsetFetchRequest::default().with_groups(vec![asked]).with_require_stable(stable), 8);
    let partition = &answer.groups[0].topics[0].partitions[0];
    if partition.error_code == 0 { Ok(partition.committed_offset) } else { Err(partition.error_code) }
}

/// Until no offset of a transaction is pending.
fn settled(client: &mut Client, name: &str) -> i64 {
    for _ in 0..100 {
        match fetched(client, name, true) {
            Ok(offset) => return offset,
            Err(code) => assert_eq!(code, ErrorCode::UNSTABLE_OFFSET_COMMIT.0),
        }
        client.wait(Duration::from_millis(50));
    }
    panic!("an offset of {name} stays pending");
}

/// The base offsets of the data that a reader of committed records gets, and the last stable offset.
fn read_committed(client: &mut Client) -> (Vec<i64>, i64) {
    let answer = client.ask(&fetch("t", Uuid::nil(), 0, 0).with_isolation_level(1).with_max_wait_ms(0), 11);
    let partition = &answer.responses[0].partitions[0];
    assert_eq!(partition.error_code, 0);
    let mut aborted: Vec<(i64, i64)> = partition
        .aborted_transactions
        .as_deref()
        .unwrap_or_default()
        .iter()
        .map(|one| (one.producer_id.0, one.first_offset))
        .collect();
    let (mut seen, mut skipped) = (Vec::new(), Vec::new());
    for batch in Batches::new(partition.records.clone().unwrap_or_default()) {
        let (header, _) = batch.expect("good");
        aborted.retain(|(producer, first)| {
            let begins = *first <= header.last_offset();
            skipped.extend(begins.then_some(*producer));
            !begins
        });
        let is_marker = header.attributes.has(holon_kafka::Attributes::CONTROL);
        if is_marker {
            skipped.retain(|producer| *producer != header.producer_id);
        } else if !skipped.contains(&header.producer_id) {
            seen.push(header.base_offset);
        }
    }
    (seen, partition.last_stable_offset)
}

/// Until nothing is open in the partition.
fn all_decided(client: &mut Client, end: i64) -> Vec<i64> {
    for _ in 0..100 {
        let (seen, stable) = read_committed(client);
        if stable == end {
            return seen;
        }
        client.wait(Duration::from_millis(50));
    }
    panic!("a transaction stays open: {:?}", read_committed(client));
}

#[test]
fn a_transaction_goes_through_its_life_in_each_version() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 2, &[]), 0);
    let told = versions(&mut client);
    let (mut end, mut expected) = (0, Vec::new());
    for version in 0..=5 {
        let of = |api: Api| version.clamp(api.versions().0, told[&api.key()].1);
        let name = format!("id{version}");
        let find = of(Api::FindCoordinator);
        if find > 0 {
            let request = FindCoordinatorRequest::default().with_key_type(1);
            let request = match find {
                4.. => request.with_coordinator_keys(vec![said(&name)]),
                _ => request.with_key(said(&name)),
            };
            let answer = client.ask(&request, find);
            let port = if find >= 4 { answer.coordinators[0].port } else { answer.port };
            assert_eq!((answer.error_code, port), (0, 9092), "{version}");
        }
        let mut producer = init(&mut client, &name, of(Api::InitProducerId));
        assert_eq!(producer.1, 0);
        for (round, commits) in [true, false, true].into_iter().enumerate() {
            let group_id = format!("g{version}");
            let bumps = version >= 5;
            let sequence = if bumps { 0 } else { round as i32 };
            if bumps {
                assert_eq!(write(&mut client, &name, 12, producer, sequence), 0, "adds itself");
            } else {
                assert_eq!(
                    add(&mut client, &name, of(Api::AddPartitionsToTxn), producer, add_topics("t", &[0, 1])),
                    [0, 0]
                );
                assert_eq!(write(&mut client, &name, 3 + version, producer, sequence), 0, "{version}");
                assert_eq!(add_offsets(&mut client, &name, of(Api::AddOffsetsToTxn), producer, &group_id), 0);
            }
            let offset = 40 + round as i64;
            let request = commit(&name, producer, &group_id, offset);
            assert_eq!(committed(&mut client, &request, of(Api::TxnOffsetCommit)), 0, "{version}");
            assert_eq!(fetched(&mut client, &group_id, true), Err(ErrorCode::UNSTABLE_OFFSET_COMMIT.0));
            let before = [-1, 40, 40][round];
            assert_eq!(fetched(&mut client, &group_id, false), Ok(before), "{version} {round}");
            let (code, after) = end_as(&mut client, &name, of(Api::EndTxn), producer, commits);
            assert_eq!(code, 0, "{version} {round}");
            if bumps {
                assert_eq!(after, (producer.0, producer.1 + 1));
                producer = after;
            }
            expected.extend(commits.then_some(end));
            end += 2;
            assert_eq!(all_decided(&mut client, end), expected, "{version} {round}");
            assert_eq!(settled(&mut client, &group_id), [40, 40, 42][round], "{version} {round}");
        }
    }
    // All of it is there after the process ended at once.
    let node = node.crash();
    let mut client = node.connect();
    assert_eq!(all_decided(&mut client, end), expected);
    for version in 0..=5 {
        assert_eq!(fetched(&mut client, &format!("g{version}"), true), Ok(42));
        assert_eq!(init(&mut client, &format!("id{version}"), 4).1, if version == 5 { 4 } else { 1 });
    }
}

#[test]
fn offsets_of_a_transaction_are_kept_only_for_partitions_that_are_there() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 2, &[]), 0);
    let producer = init(&mut client, "a", 4);
    assert_eq!(add_offsets(&mut client, "a", 3, producer, "g"), 0);
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
    let elsewhere = |name: &str, index: i32| {
        let one = TxnOffsetCommitRequestPartition::default().with_partition_index(index).with_committed_offset(40);
        TxnOffsetCommitRequestTopic::default().with_name(topic(name)).with_partitions(vec![one])
    };
    let mut request = commit("a", producer, "g", 40);
    request.topics.push(elsewhere("nothing", 0));
    request.topics.push(elsewhere("__holon_transactions", 0));
    let answer = client.ask(&request, 3);
    let codes = answer.topics.iter().map(|topic| (topic.name.0.to_string(), topic.partitions[0].error_code));
    let expected = [("t", 0), ("nothing", unknown), ("__holon_transactions", unknown)];
    assert_eq!(codes.collect::<Vec<_>>(), expected.map(|(name, code)| (name.to_string(), code)));
    // Nobody is asked for what is not there, so it does not matter who commits.
    let stranger = TxnOffsetCommitRequest::default().with_transactional_id(id("b")).with_group_id(group("g"));
    let answer = client.ask(&stranger.with_topics(vec![elsewhere("t", 7)]), 3);
    assert_eq!(answer.topics[0].partitions[0].error_code, unknown);
    assert_eq!(end_as(&mut client, "a", 3, producer, true).0, 0);
    assert_eq!(settled(&mut client, "g"), 40);
}

#[test]
fn a_second_instance_fences_the_first_in_each_version() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 2, &[]), 0);
    let old = init(&mut client, "a", 4);
    assert_eq!(add(&mut client, "a", 3, old, add_topics("t", &[0])), [0]);
    assert_eq!(write(&mut client, "a", 9, old, 0), 0);
    let new = init(&mut client, "a", 4);
    assert_eq!(new, (old.0, 2), "the first one is to abort what was begun");
    assert!(all_decided(&mut client, 2).is_empty());
    let fenced = |first_new: i16, version: i16| match version >= first_new {
        true => ErrorCode::PRODUCER_FENCED.0,
        false => ErrorCode::INVALID_PRODUCER_EPOCH.0,
    };
    for version in 0..=5 {
        assert_eq!(add(&mut client, "a", version, old, add_topics("t", &[1])), [fenced(2, version)], "{version}");
        assert_eq!(end_as(&mut client, "a", version, old, true), (fenced(2, version), (-1, -1)), "{version}");
        let request = commit("a", old, "g", 1);
        let code = committed(&mut client, &request, version);
        assert_eq!(code, ErrorCode::INVALID_PRODUCER_EPOCH.0, "{version}");
    }
    for version in 0..=4 {
        // Who asks for offsets makes the topic of groups.
        assert_eq!(add_offsets(&mut client, "a", version, old, "g"), fenced(2, version), "{version}");
    }
    for version in 3..=5 {
        assert_eq!(init_as(&mut client, "a", version, 1000, old), (fenced(4, version), (-1, -1)), "{version}");
    }
    for version in [3, 9, 11, 12] {
        assert_eq!(write(&mut client, "a", version, old, 1), ErrorCode::INVALID_PRODUCER_EPOCH.0, "{version}");
    }
    assert_eq!(add(&mut client, "a", 3, new, add_topics("t", &[0])), [0]);
    assert_eq!(init_as(&mut client, "a", 4, 1000, old).0, ErrorCode::PRODUCER_FENCED.0);
    assert_eq!(write(&mut client, "a", 9, new, 0), 0);
    assert_eq!(end_as(&mut client, "a", 1, new, true).0, 0);
    assert_eq!(all_decided(&mut client, 4), [2]);
}

#[test]
fn what_a_client_does_wrong_is_told() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 2, &[]), 0);
    let code = |error: ErrorCode| (error.0, (-1, -1));
    let none = (-1, -1);
    for timeout_ms in [-1, 0, 900_001] {
        let answer = init_as(&mut client, "a", 4, timeout_ms, none);
        assert_eq!(answer, code(ErrorCode::INVALID_TRANSACTION_TIMEOUT), "{timeout_ms}");
    }
    assert_eq!(init_as(&mut client, "", 4, 1000, none), code(ErrorCode::INVALID_REQUEST));
    assert_eq!(init_as(&mut client, "a", 4, 1000, (5, -1)), code(ErrorCode::INVALID_REQUEST));
    assert_eq!(init_as(&mut client, "a", 4, 1000, (-1, 5)), code(ErrorCode::INVALID_REQUEST));
    // Nobody was initialised with it.
    let mapping = ErrorCode::INVALID_PRODUCER_ID_MAPPING.0;
    for version in 0..=5 {
        assert_eq!(add(&mut client, "a", version, (1, 0), add_topics("t", &[0])), [mapping], "{version}");
        assert_eq!(end_as(&mut client, "a", version, (1, 0), true).0, mapping, "{version}");
        assert_eq!(committed(&mut client, &commit("a", (1, 0), "g", 1), version), mapping, "{version}");
        let empty = commit("", (1, 0), "g", 1);
        assert_eq!(committed(&mut client, &empty, version), ErrorCode::INVALID_REQUEST.0, "{version}");
        let empty = commit("a", (1, 0), "", 1);
        assert_eq!(committed(&mut client, &empty, version), ErrorCode::INVALID_GROUP_ID.0, "{version}");
        assert_eq!(end_as(&mut client, "", version, (1, 0), true).0, ErrorCode::INVALID_REQUEST.0, "{version}");
    }
    for version in [9, 11, 12] {
        assert_eq!(write(&mut client, "a", version, (1, 0), 0), mapping, "{version}");
    }
    let without_id = produce("t", Uuid::nil(), 0, records((1, 0), 0));
    let answer = client.ask(&without_id, 9);
    let refused = answer.responses[0].partition_responses[0].error_code;
    assert_eq!(refused, ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED.0);

    let me = init(&mut client, "a", 4);
    let state = ErrorCode::INVALID_TXN_STATE.0;
    for version in 0..=4 {
        assert_eq!(end_as(&mut client, "a", version, me, true).0, state, "{version}");
        assert_eq!(end_as(&mut client, "a", version, me, false).0, state, "{version}");
    }
    // All or none of the partitions.
    let (unknown, not_done) = (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0, ErrorCode::OPERATION_NOT_ATTEMPTED.0);
    for version in 0..=5 {
        assert_eq!(add(&mut client, "a", version, me, add_topics("t", &[0, 2])), [not_done, unknown], "{version}");
        for hidden in ["__holon_groups", "__holon_transactions"] {
            assert_eq!(add(&mut client, "a", version, me, add_topics(hidden, &[0])), [unknown], "{version}");
        }
    }
    // It has to be added before it is written to.
    for (version, error) in [(9, state), (10, state), (11, ErrorCode::TRANSACTION_ABORTABLE.0)] {
        assert_eq!(write(&mut client, "a", version, me, 0), error, "{version}");
    }
    for (version, error) in [(2, state), (3, state), (4, ErrorCode::TRANSACTION_ABORTABLE.0)] {
        assert_eq!(committed(&mut client, &commit("a", me, "g", 1), version), error, "{version}");
    }
    assert_eq!(client.produce("t", 0, batch(1)), Ok(0), "nothing was written");
}

#[test]
fn offsets_of_a_transaction_are_checked_as_those_of_a_member() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 2, &[]), 0);
    let me = init(&mut client, "a", 4);
    let of_member = commit("a", me, "g", 7).with_generation_id(3).with_member_id(said("m"));
    for version in 3..=5 {
        if version < 5 {
            assert_eq!(add_offsets(&mut client, "a", 3, me, "g"), 0);
        }
        assert_eq!(committed(&mut client, &of_member, version), ErrorCode::ILLEGAL_GENERATION.0, "{version}");
    }
    assert_eq!(committed(&mut client, &commit("a", me, "g", 7), 5), 0);
    assert_eq!(committed(&mut client, &of_member, 5), ErrorCode::UNKNOWN_MEMBER_ID.0, "the group is there now");
    // Pending it stays, also when the process ends; and it is what the transaction becomes.
    let node = node.crash();
    let mut client = node.connect();
    assert_eq!(fetched(&mut client, "g", true), Err(ErrorCode::UNSTABLE_OFFSET_COMMIT.0));
    assert_eq!(fetched(&mut client, "g", false), Ok(-1));
    let (code, me) = end_as(&mut client, "a", 5, me, true);
    assert_eq!(code, 0);
    assert_eq!(settled(&mut client, "g"), 7);
    assert_eq!(committed(&mut client, &commit("a", me, "g", 8), 5), 0);
    assert_eq!(end_as(&mut client, "a", 5, me, false).0, 0);
    assert_eq!(settled(&mut client, "g"), 7);
    let node = node.crash();
    assert_eq!(fetched(&mut node.connect(), "g", true), Ok(7));
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted_though_nobody_asks() {
    for crashes in [false, true] {
        let mut node = Node::start();
        let mut client = node.connect();
        assert_eq!(client.create("t", 1, &[]), 0);
        let (code, me) = init_as(&mut client, "a", 4, 2_000, (-1, -1));
        assert_eq!(code, 0);
        assert_eq!(write(&mut client, "a", 12, me, 0), 0);
        assert_eq!(read_committed(&mut client), (vec![], 0));
        if crashes {
            node = node.crash();
        }
        node.test.advance(Duration::from_secs(3));
        let mut client = node.connect();
        assert!(all_decided(&mut client, 2).is_empty(), "{crashes}");
        assert_eq!(write(&mut client, "a", 12, me, 1), ErrorCode::INVALID_PRODUCER_EPOCH.0);
        assert_eq!(end_as(&mut client, "a", 1, me, true).0, ErrorCode::INVALID_PRODUCER_EPOCH.0);
        // It may go on, with a new epoch.
        let (code, next) = init_as(&mut client, "a", 4, 2_000, me);
        assert_eq!((code, next), (0, (me.0, 1)));
        assert_eq!(write(&mut client, "a", 12, next, 0), 0);
        assert_eq!(end_as(&mut client, "a", 5, next, true).0, 0);
        assert_eq!(all_decided(&mut client, 4), [2], "{crashes}");
    }
}

#[test]
fn transactions_are_listed_and_described() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 3, &[]), 0);
    let listed = client.ask(&ListTransactionsRequest::default(), 0);
    assert_eq!((listed.error_code, listed.transaction_states.len()), (0, 0), "before there was any");
    let describe = |names: &[&str]| {
        DescribeTransactionsRequest::default().with_transactional_ids(names.iter().map(|name| id(name)).collect())
    };
    let code = client.ask(&describe(&["a"]), 0).transaction_states[0].error_code;
    assert_eq!(code, ErrorCode::TRANSACTIONAL_ID_NOT_FOUND.0);
    for name in ["a", "b", "c"] {
        init(&mut client, name, 4);
    }
    let me = init(&mut client, "a", 4);
    assert_eq!(add(&mut client, "a", 3, me, add_topics("t", &[0, 2])), [0, 0]);
    assert_eq!(committed(&mut client, &commit("a", me, "g", 7), 5), 0);
    for version in 0..=versions(&mut client)[&Api::ListTransactions.key()].1 {
        let all = client.ask(&ListTransactionsRequest::default(), version);
        let mut names: Vec<&str> = all.transaction_states.iter().map(|one| &*one.transactional_id.0).collect();
        names.sort_unstable();
        assert_eq!(names, ["a", "b", "c"], "{version}");
        let states = vec![said("Ongoing"), said("Sleeping")];
        let some = client.ask(&ListTransactionsRequest::default().with_state_filters(states), version);
        assert_eq!(some.unknown_state_filters, [said("Sleeping")]);
        assert_eq!(some.transaction_states.len(), 1);
        assert_eq!(
            (&*some.transaction_states[0].transaction_state, some.transaction_states[0].producer_id.0),
            ("Ongoing", me.0)
        );
    }
    let answer = client.ask(&describe(&["a", "", "nobody", "b"]), 0);
    let codes: Vec<i16> = answer.transaction_states.iter().map(|one| one.error_code).collect();
    assert_eq!(codes, [0, ErrorCode::INVALID_REQUEST.0, ErrorCode::TRANSACTIONAL_ID_NOT_FOUND.0, 0]);
    let one = &answer.transaction_states[0];
    assert_eq!((&*one.transaction_state, one.transaction_timeout_ms), ("Ongoing", 60_000));
    assert_eq!((one.producer_id.0, one.producer_epoch), me);
    let topics: Vec<(&str, usize)> = one.topics.iter().map(|one| (&*one.topic.0, one.partitions.len())).collect();
    assert_eq!(topics, [("__consumer_offsets", 1), ("t", 2)]);
}

#[test]
fn features_and_coordinators_are_told_as_kafka_tells_them() {
    let node = Node::start();
    let mut client = node.connect();
    for version in 0..=4 {
        let mut request = ApiVersionsRequest::default();
        if version >= 3 {
            request = request.with_client_software_name(said("test")).with_client_software_version(said("1.0"));
        }
        let answer = client.ask(&request, version);
        let finalized: Vec<_> = answer
            .finalized_features
            .iter()
            .map(|one| (&*one.name, one.min_version_level, one.max_version_level))
            .collect();
        let supported: Vec<_> =
            answer.supported_features.iter().map(|one| (&*one.name, one.min_version, one.max_version)).collect();
        let name = "transaction.version";
        assert_eq!(finalized, if version >= 3 { vec![(name, 2, 2)] } else { vec![] }, "{version}");
        assert_eq!(supported, if version >= 4 { vec![(name, 0, 2)] } else { vec![] }, "{version}");
    }
    for version in 1..=6 {
        for key_type in [2, 7] {
            let request = FindCoordinatorRequest::default().with_key_type(key_type);
            let (code, node) = match version {
                4.. => {
                    let answer = client.ask(&request.with_coordinator_keys(vec![said("a")]), version);
                    (answer.coordinators[0].error_code, answer.coordinators[0].node_id.0)
                }
                _ => {
                    let answer = client.ask(&request.with_key(said("a")), version);
                    (answer.error_code, answer.node_id.0)
                }
            };
            assert_eq!((code, node), (ErrorCode::INVALID_REQUEST.0, -1), "{version} {key_type}");
        }
    }
}

#[test]
fn several_transactions_in_one_request_are_asked_one_by_one() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 2, &[]), 0);
    let (a, b) = (init(&mut client, "a", 4), init(&mut client, "b", 4));
    let one = |name: &str, producer: Producer, verify: bool| {
        AddPartitionsToTxnTransaction::default()
            .with_transactional_id(id(name))
            .with_producer_id(ProducerId(producer.0))
            .with_producer_epoch(producer.1)
            .with_verify_only(verify)
            .with_topics(add_topics("t", &[0, 1]))
    };
    for version in 4..=5 {
        let request = AddPartitionsToTxnRequest::default().with_transactions(vec![
            one("a", a, version == 5),
            one("b", b, true),
            one("c", a, false),
        ]);
        let answer = client.ask(&request, version);
        let codes: Vec<Vec<i16>> = answer
            .results_by_transaction
            .iter()
            .map(|one| one.topic_results[0].results_by_partition.iter().map(|one| one.partition_error_code).collect())
            .collect();
        let (abortable, mapping) = (ErrorCode::TRANSACTION_ABORTABLE.0, ErrorCode::INVALID_PRODUCER_ID_MAPPING.0);
        assert_eq!(codes, [vec![0, 0], vec![abortable; 2], vec![mapping; 2]], "{version}");
    }
}
