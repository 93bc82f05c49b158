//! Fetch sessions (KIP-227) through the door: each rule of Kafka's `FetchSession` and `FetchManager`, and what they cost.

mod common;

use bytes::Bytes;
use common::door::*;
use holon_kafka::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use holon_kafka::messages::delete_topics_request::DeleteTopicState;
use holon_kafka::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use holon_kafka::messages::{
    DeleteRecordsRequest, DeleteTopicsRequest, FetchRequest, FetchResponse, fetch_response::PartitionData,
};
use holon_kafka::{BatchHeader, Batches, ErrorCode, Uuid, client};
use holon_kernel::Service;
use holon_kernel::metric::{Metric, MetricValue};
use holon_kernel::testing::{MemoryDisk, TestShard};
use holon_log::service::LogConfig;
use std::time::Duration;

/// The last version in which topics go by name, and the last.
const BY_NAME: i16 = 12;
const BY_ID: i16 = 18;

fn part(index: i32, offset: i64) -> FetchPartition {
    FetchPartition::default()
        .with_partition(index)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20)
        .with_current_leader_epoch(-1)
}

/// A topic as a version names it.
#[derive(Clone, Copy)]
struct Named<'a>(&'a str, Uuid);

fn of(named: Named, parts: Vec<FetchPartition>) -> FetchTopic {
    FetchTopic::default().with_topic(topic(named.0)).with_topic_id(named.1).with_partitions(parts)
}

fn request(session: i32, epoch: i32, topics: Vec<FetchTopic>) -> FetchRequest {
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(0)
        .with_min_bytes(0)
        .with_max_bytes(10 << 20)
        .with_session_id(session)
        .with_session_epoch(epoch)
        .with_topics(topics)
}

fn forget(named: Named, parts: Vec<i32>) -> Vec<ForgottenTopic> {
    vec![ForgottenTopic::default().with_topic(topic(named.0)).with_topic_id(named.1).with_partitions(parts)]
}

/// Of each partition that is told: its index, its error, and its first offset.
fn told(answer: &FetchResponse) -> Vec<(i32, i16, Option<i64>)> {
    assert_eq!(answer.error_code, 0, "{answer:?}");
    let one = |part: &PartitionData| {
        let batches = Batches::new(part.records.clone().unwrap_or_default());
        let headers: Vec<BatchHeader> = batches.map(|batch| batch.expect("good").0).collect();
        (part.partition_index, part.error_code, headers.first().map(|header| header.base_offset))
    };
    answer.responses.iter().flat_map(|topic| &topic.partitions).map(one).collect()
}

fn metric(node: &Node, name: &str) -> u64 {
    let mut metrics: Vec<Metric> = Vec::new();
    node.service.metrics(&mut metrics);
    let found = metrics.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("no {name}"));
    match found.value {
        MetricValue::Counter(count) => count,
        MetricValue::Gauge(gauge) => gauge as u64,
        MetricValue::Histogram(_) => panic!("{name} is a histogram"),
    }
}

fn both(client: &mut Client) -> [(i16, &'static str, Uuid); 2] {
    let id = id_of(client, "t");
    [(BY_NAME, "t", Uuid::nil()), (BY_ID, "", id)]
}

#[test]
fn a_session_is_told_only_what_changed() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 3, &[]), 0);
    for (round, (version, name, id)) in both(&mut client).into_iter().enumerate() {
        let (named, base) = (Named(name, id), round as i64 * 4);
        let all = of(named, (0..3).map(|index| part(index, if index == 1 { base } else { 0 })).collect());
        let made = client.ask(&request(0, 0, vec![all]), version);
        let session = made.session_id;
        assert!(session > 0);
        assert_eq!(told(&made).len(), 3, "the first answer has all of them");
        assert_eq!(told(&client.ask(&request(session, 1, vec![]), version)), [], "nothing has changed");
        client.produce("t", 1, batch(2)).expect("appended");
        let answer = client.ask(&request(session, 2, vec![]), version);
        assert_eq!((answer.session_id, told(&answer)), (session, vec![(1, 0, Some(base))]));
        // Asked from where it was asked before, it is told again.
        assert_eq!(told(&client.ask(&request(session, 3, vec![]), version)), [(1, 0, Some(base))]);
        let next = of(named, vec![part(1, base + 2)]);
        assert_eq!(told(&client.ask(&request(session, 4, vec![next]), version)), [], "it has all of it");
        client.produce("t", 1, batch(2)).expect("appended");
        assert_eq!(told(&client.ask(&request(session, 5, vec![]), version)), [(1, 0, Some(base + 2))]);
        let ended = client.ask(&request(session, -1, vec![of(named, vec![part(0, 0)])]), version);
        assert_eq!((ended.session_id, told(&ended)), (0, vec![(0, 0, None)]), "a full fetch without a session");
        let gone = client.ask(&request(session, 6, vec![]), version);
        assert_eq!(gone.error_code, ErrorCode::FETCH_SESSION_ID_NOT_FOUND.0);
    }
    assert_eq!(metric(&node, "holon_kafka_fetch_sessions"), 0);
    assert_eq!(metric(&node, "holon_kafka_fetch_watched_partitions"), 0);
}

#[test]
fn a_request_that_is_not_the_next_of_a_session_is_refused() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 1, &[]), 0);
    let [(_, name, nil), (_, empty, id)] = both(&mut client);
    let make = |client: &mut Client, named, version, old: i32| {
        client.ask(&request(old, 0, vec![of(named, vec![part(0, 0)])]), version).session_id
    };
    let session = make(&mut client, Named(name, nil), BY_NAME, 0);
    let refused = |answer: FetchResponse| {
        assert_eq!((answer.responses.len(), answer.session_id), (0, 0));
        answer.error_code
    };
    let wrong = ErrorCode::INVALID_FETCH_SESSION_EPOCH.0;
    assert_eq!(refused(client.ask(&request(session, 2, vec![]), BY_NAME)), wrong);
    assert_eq!(refused(client.ask(&request(session, -7, vec![]), BY_NAME)), wrong);
    let unknown = ErrorCode::FETCH_SESSION_ID_NOT_FOUND.0;
    assert_eq!(refused(client.ask(&request(session ^ 1, 1, vec![]), BY_NAME)), unknown);
    assert_eq!(refused(client.ask(&request(0, 1, vec![]), BY_NAME)), unknown);
    let mixed = ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR.0;
    assert_eq!(refused(client.ask(&request(session, 1, vec![]), BY_ID)), mixed);
    assert_eq!(told(&client.ask(&request(session, 1, vec![]), BY_NAME)), [], "none of these was the next");
    assert_eq!(refused(client.ask(&request(session, 1, vec![]), BY_NAME)), wrong, "sent again");
    let other = make(&mut client, Named(empty, id), BY_ID, session);
    assert_ne!(other, session);
    assert_eq!(refused(client.ask(&request(session, 2, vec![]), BY_NAME)), unknown, "another took its place");
    assert_eq!(refused(client.ask(&request(other, 1, vec![]), BY_NAME)), mixed);
    // Before sessions there were none.
    let old = client.ask(&request(0, -1, vec![of(Named(name, nil), vec![part(0, 0)])]), 6);
    assert_eq!((old.session_id, told(&old).len()), (0, 1));
}

#[test]
fn partitions_come_and_go() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 3, &[]), 0);
    for (round, (version, name, id)) in both(&mut client).into_iter().enumerate() {
        let named = Named(name, id);
        let session = client.ask(&request(0, 0, vec![of(named, vec![part(0, round as i64)])]), version).session_id;
        let added = client.ask(&request(session, 1, vec![of(named, vec![part(2, 0)])]), version);
        assert_eq!(told(&added).iter().map(|one| one.0).collect::<Vec<_>>(), [2], "its ends are new to the client");
        let asked = request(session, 2, vec![]).with_forgotten_topics_data(forget(named, vec![0, 1]));
        assert_eq!(told(&client.ask(&asked, version)), []);
        client.produce("t", 0, batch(1)).expect("appended");
        assert_eq!(told(&client.ask(&request(session, 3, vec![]), version)), [], "it is not of the session any more");
        let asked = request(session, 4, vec![]).with_forgotten_topics_data(forget(named, vec![2]));
        let last = client.ask(&asked, version);
        assert_eq!((last.session_id, told(&last)), (0, vec![]), "without partitions it ends");
        let gone = client.ask(&request(session, 5, vec![]), version);
        assert_eq!(gone.error_code, ErrorCode::FETCH_SESSION_ID_NOT_FOUND.0);
    }
}

#[test]
fn ends_that_moved_and_errors_are_told() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 2, &[]), 0);
    for _ in 0..3 {
        client.produce("t", 0, batch(2)).expect("appended");
    }
    for (version, name, id) in both(&mut client) {
        let named = Named(name, id);
        let all = of(named, vec![part(0, 6), part(1, 0)]);
        let session = client.ask(&request(0, 0, vec![all]), version).session_id;
        assert_eq!(told(&client.ask(&request(session, 1, vec![]), version)), []);
        let offset = if version == BY_NAME { 2 } else { 4 };
        let one = DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
        let wanted = DeleteRecordsTopic::default().with_name(topic("t")).with_partitions(vec![one]);
        client.ask(&DeleteRecordsRequest::default().with_topics(vec![wanted]).with_timeout_ms(1000), 2);
        let answer = client.ask(&request(session, 2, vec![]), version);
        assert_eq!(told(&answer), [(0, 0, None)]);
        assert_eq!(answer.responses[0].partitions[0].log_start_offset, offset);
        assert_eq!(told(&client.ask(&request(session, 3, vec![]), version)), []);
        let beyond = of(named, vec![part(1, 99)]);
        let out = ErrorCode::OFFSET_OUT_OF_RANGE.0;
        assert_eq!(told(&client.ask(&request(session, 4, vec![beyond]), version)), [(1, out, None)]);
        assert_eq!(told(&client.ask(&request(session, 5, vec![]), version)), [(1, out, None)], "as long as it is one");
        let right = of(named, vec![part(1, 0)]);
        assert_eq!(
            told(&client.ask(&request(session, 6, vec![right]), version)),
            [(1, 0, None)],
            "it is none any more"
        );
        assert_eq!(told(&client.ask(&request(session, 7, vec![]), version)), []);
    }
}

#[test]
fn a_topic_that_is_deleted_and_made_again_is_another_one() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 1, &[]), 0);
    let [(_, name, nil), (_, empty, id)] = both(&mut client);
    let by_name = client.ask(&request(0, 0, vec![of(Named(name, nil), vec![part(0, 0)])]), BY_NAME).session_id;
    let by_id = client.ask(&request(0, 0, vec![of(Named(empty, id), vec![part(0, 0)])]), BY_ID).session_id;
    assert_eq!(told(&client.ask(&request(by_name, 1, vec![]), BY_NAME)), []);
    assert_eq!(told(&client.ask(&request(by_id, 1, vec![]), BY_ID)), []);
    // One that waits is told at once.
    let mut waiting = node.connect();
    waiting.send(&request(by_name, 2, vec![]).with_max_wait_ms(60_000).with_min_bytes(1), BY_NAME);
    node.test.advance(Duration::from_millis(20));
    assert_eq!(waiting.outbox.pending_bytes(), 0, "it waits");
    let state = DeleteTopicState::default().with_name(Some(topic("t")));
    assert_eq!(client.ask(&DeleteTopicsRequest::default().with_topics(vec![state]), 6).responses[0].error_code, 0);
    node.test.advance(Duration::from_millis(20));
    let (_, answer) = client::answer::<FetchRequest>(waiting.frame().expect("an answer"), BY_NAME).expect("one");
    assert_eq!(told(&answer), [(0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0, None)]);
    let unknown = ErrorCode::UNKNOWN_TOPIC_ID.0;
    assert_eq!(told(&client.ask(&request(by_id, 2, vec![]), BY_ID)), [(0, unknown, None)]);
    assert_eq!(client.create("t", 1, &[]), 0);
    client.produce("t", 0, batch(1)).expect("appended");
    assert_eq!(told(&client.ask(&request(by_name, 3, vec![]), BY_NAME)), [(0, 0, Some(0))], "the name has it");
    assert_eq!(told(&client.ask(&request(by_id, 3, vec![]), BY_ID)), [(0, unknown, None)], "the id has not");
}

#[test]
fn a_session_waits_for_what_moves_and_for_nothing_else() {
    let node = Node::start();
    let (mut reader, mut writer) = (node.connect(), node.connect());
    assert_eq!(reader.create("t", 3, &[]), 0);
    let named = Named("t", Uuid::nil());
    let all = of(named, vec![part(0, 0), part(1, 0)]);
    let session = reader.ask(&request(0, 0, vec![all]), BY_NAME).session_id;
    let waiting = |epoch| request(session, epoch, vec![]).with_max_wait_ms(500).with_min_bytes(1);
    let began = node.test.shard.now();
    assert_eq!(told(&reader.ask(&waiting(1), BY_NAME)), []);
    let waited = node.test.shard.now().since(began);
    assert!((500..=600).contains(&waited.as_millis()), "{waited:?}");
    reader.send(&waiting(2), BY_NAME);
    node.test.advance(Duration::from_millis(20));
    writer.produce("t", 2, batch(1)).expect("to a partition that it has not");
    node.test.advance(Duration::from_millis(20));
    assert_eq!(reader.outbox.pending_bytes(), 0, "it still waits");
    writer.produce("t", 1, batch(1)).expect("appended");
    let frame = reader.frame().expect("an answer");
    let (_, answer) = client::answer::<FetchRequest>(frame, BY_NAME).expect("an answer");
    assert_eq!(told(&answer), [(1, 0, Some(0))]);
}

#[test]
fn who_was_answered_waits_for_the_others_where_there_is_room_for_some_only() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 3, &[]), 0);
    for index in 0..3 {
        for _ in 0..3 {
            client.produce("t", index, batch(1)).expect("appended");
        }
    }
    let named = Named("t", Uuid::nil());
    let one = batch(1).len() as i32;
    let all = of(named, (0..3).map(|index| part(index, 0)).collect());
    let made = client.ask(&request(0, 0, vec![all]).with_max_bytes(one), BY_NAME);
    let records = |answer: &FetchResponse| -> Vec<(i32, i64)> {
        told(answer).into_iter().filter_map(|(index, _, first)| Some((index, first?))).collect()
    };
    let mut read = records(&made);
    let mut next = [0i64; 3];
    for epoch in 1..9 {
        let (index, offset) = *read.last().expect("one each time");
        next[index as usize] = offset + 1;
        let asked = of(named, vec![part(index, offset + 1)]);
        let answer = client.ask(&request(made.session_id, epoch, vec![asked]).with_max_bytes(one), BY_NAME);
        let got = records(&answer);
        assert_eq!(got.len(), 1, "room for one");
        read.extend(got);
    }
    let order: Vec<i32> = read.iter().map(|(index, _)| *index).collect();
    for round in order.chunks(3) {
        let mut round = round.to_vec();
        round.sort_unstable();
        assert_eq!(round, [0, 1, 2], "each once before one comes again: {order:?}");
    }
}

#[test]
fn a_fetch_costs_what_changed_and_not_all_that_its_session_has() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 500, &[]), 0);
    let named = Named("t", Uuid::nil());
    let all = of(named, (0..500).map(|index| part(index, 0)).collect());
    let session = client.ask(&request(0, 0, vec![all]), BY_NAME).session_id;
    assert_eq!(told(&client.ask(&request(session, 1, vec![]), BY_NAME)), [], "all of them are looked at once more");
    let mut offset = [0i64; 500];
    for epoch in 2..52 {
        let index = epoch * 7 % 500;
        client.produce("t", index, batch(1)).expect("appended");
        let before = metric(&node, "holon_kafka_fetch_looks_total");
        let answer = client.ask(&request(session, 2 * epoch - 2, vec![]), BY_NAME);
        assert_eq!(told(&answer), [(index, 0, Some(offset[index as usize]))]);
        offset[index as usize] += 1;
        let asked = of(named, vec![part(index, offset[index as usize])]);
        assert_eq!(told(&client.ask(&request(session, 2 * epoch - 1, vec![asked]), BY_NAME)), []);
        assert_eq!(metric(&node, "holon_kafka_fetch_looks_total") - before, 2, "one that moved, one that is asked for");
    }
    assert_eq!(metric(&node, "holon_kafka_fetch_session_partitions"), 500);
}

#[test]
fn sessions_are_bounded_and_old_or_small_ones_go() {
    let disk = MemoryDisk::new();
    // Room for 20 partitions of all sessions.
    let config = LogConfig { wal_segment_bytes: 4 << 20, session_bytes_max: 20 * 512, ..LogConfig::default() };
    let node = Node::start_shard(TestShard::new(disk.clone()), disk, 1, config);
    let mut client = node.connect();
    assert_eq!(client.create("t", 30, &[]), 0);
    let named = Named("t", Uuid::nil());
    let make = |client: &mut Client, count: i32| {
        let all = of(named, (0..count).map(|index| part(index, 0)).collect());
        let answer = client.ask(&request(0, 0, vec![all]), BY_NAME);
        assert_eq!(told(&answer).len(), count as usize, "with or without a session");
        answer.session_id
    };
    let go_on = |client: &mut Client, session: i32, epoch: i32| {
        client.ask(&request(session, epoch, vec![]), BY_NAME).error_code
    };
    let unknown = ErrorCode::FETCH_SESSION_ID_NOT_FOUND.0;
    assert_eq!(make(&mut client, 21), 0, "more than there is room for");
    let small = make(&mut client, 4);
    let large = make(&mut client, 12);
    assert!(small > 0 && large > 0 && small != large);
    assert_eq!(make(&mut client, 6), 0, "there is no room, and both are new");
    assert_eq!((go_on(&mut client, small, 1), go_on(&mut client, large, 1)), (0, 0));
    node.test.advance(Duration::from_secs(100));
    assert_eq!((go_on(&mut client, small, 2), go_on(&mut client, large, 2)), (0, 0));
    node.test.advance(Duration::from_secs(30));
    // Neither is new any more, both were used lately: the smaller one goes for a larger one.
    let larger = make(&mut client, 6);
    assert!(larger > 0);
    assert_eq!((go_on(&mut client, small, 3), go_on(&mut client, large, 3)), (unknown, 0));
    assert_eq!(metric(&node, "holon_kafka_fetch_sessions_evicted_total"), 1);
    // Whoever was not used for two minutes goes for anyone.
    node.test.advance(Duration::from_secs(121));
    assert_eq!(go_on(&mut client, larger, 1), 0);
    assert!(make(&mut client, 3) > 0);
    assert_eq!((go_on(&mut client, large, 4), go_on(&mut client, larger, 2)), (unknown, 0));
    // One that grows beyond the room ends, and its client makes another.
    let more = of(named, (6..30).map(|index| part(index, 0)).collect());
    assert_eq!(client.ask(&request(larger, 3, vec![more]), BY_NAME).error_code, unknown);
    assert_eq!(go_on(&mut client, larger, 4), unknown);
    assert_eq!(metric(&node, "holon_kafka_fetch_session_partitions"), 3);
    let answer = client.ask(&request(0, 0, vec![of(named, vec![part(0, 0)])]), BY_NAME);
    let empty = answer.responses[0].partitions[0].records.as_ref().is_none_or(Bytes::is_empty);
    assert!(empty && answer.session_id > 0);
}
