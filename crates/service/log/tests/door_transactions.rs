//! What the door tells of transactions: batches of none that is known are refused, and readers of committed records get what is decided.

mod common;

use bytes::Bytes;
use common::door::*;
use holon_base::TabletId;
use holon_kafka::messages::fetch_response::PartitionData;
use holon_kafka::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use holon_kafka::messages::{FetchRequest, ListOffsetsRequest, TransactionalId};
use holon_kafka::{Api, Attributes, BatchHeader, Batches, ErrorCode, Marker, Uuid, client, testing};
use holon_log::calls::{PartitionError, Reply, Request};
use std::time::Duration;

const TIME_MS: i64 = 1_700_000_000_000;

fn records(id: i64, epoch: i16, sequence: i32, count: u8) -> Bytes {
    testing::transactional(testing::From { producer_id: id, epoch, sequence }, count, b"value", TIME_MS)
}

fn ask(node: &Node, tablet: TabletId, request: Request) -> Result<Reply, PartitionError> {
    let (service, deadline) = (node.service.clone(), node.test.shard.now() + Duration::from_secs(5));
    node.test.block_on(async move { service.ask(tablet, request, deadline).await })
}

/// As the coordinator of the producer's transaction allows it.
fn write(node: &Node, tablet: TabletId, records: Bytes) -> i64 {
    let first = Request::Produce { version: 12, records: records.clone(), guard: None };
    let result = match ask(node, tablet, first) {
        Err(PartitionError::Unverified(unverified)) => {
            assert!(unverified.adds);
            ask(node, tablet, Request::Produce { version: 12, records, guard: Some(unverified.guard) })
        }
        result => result,
    };
    let Ok(Reply::Appended(appended)) = result else { panic!("{result:?}") };
    appended.base_offset
}

fn end(node: &Node, tablet: TabletId, (producer_id, producer_epoch): (i64, i16), commit: bool) -> i64 {
    let request = Request::EndTransaction { producer_id, producer_epoch, coordinator_epoch: 0, commit, version: 2 };
    let result = ask(node, tablet, request);
    let Ok(Reply::Appended(appended)) = result else { panic!("{result:?}") };
    appended.base_offset
}

fn of_isolation(id: Uuid, offset: i64, level: i8) -> FetchRequest {
    fetch("t", id, 0, offset).with_isolation_level(level).with_max_wait_ms(0)
}

/// As a producer with a transactional id sends it.
fn send(client: &mut Client, records: Bytes) -> Result<i64, ErrorCode> {
    let request = produce("t", Uuid::nil(), 0, records).with_transactional_id(Some(TransactionalId(said("mine"))));
    let answer = client.ask(&request, 9);
    let partition = &answer.responses[0].partition_responses[0];
    if partition.error_code == 0 { Ok(partition.base_offset) } else { Err(ErrorCode(partition.error_code)) }
}

fn offsets(partition: &PartitionData) -> Vec<i64> {
    let batches = Batches::new(partition.records.clone().unwrap_or_default());
    let headers: Vec<BatchHeader> = batches.map(|batch| batch.expect("good").0).collect();
    headers.iter().map(|header| header.base_offset).collect()
}

fn tablet(node: &Node) -> TabletId {
    let found = node.service.with_topics(|topics| topics.all().next().and_then(|topic| topic.tablet(0)));
    found.expect("the topic has a partition")
}

#[test]
fn batches_of_a_transaction_that_no_coordinator_knows_are_refused() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 1, &[]), 0);
    assert_eq!(send(&mut client, records(9, 0, 0, 1)), Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING));
    let forbidden = client.produce("t", 0, records(9, 0, 0, 1));
    assert_eq!(forbidden, Err(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED), "it has no transactional id");
    let marker = Marker { commits: true, coordinator_epoch: 0 }.batch(9, 0, TIME_MS);
    assert_eq!(send(&mut client, marker.whole().to_vec().into()), Err(ErrorCode::INVALID_RECORD));
    assert_eq!(client.produce("t", 0, batch(1)), Ok(0), "the connection lives");
    // While one is open its batches are taken, and no others of its producer.
    let tablet = tablet(&node);
    assert_eq!(write(&node, tablet, records(9, 0, 0, 2)), 1);
    assert_eq!(send(&mut client, records(9, 0, 2, 1)), Ok(3));
    assert_eq!(send(&mut client, records(9, 0, 2, 1)), Ok(3), "sent again");
    let plain = testing::batch(testing::From { producer_id: 9, epoch: 0, sequence: 3 }, 1, b"v", TIME_MS);
    assert_eq!(send(&mut client, plain), Err(ErrorCode::INVALID_TXN_STATE));
    assert!(matches!(
        ask(&node, tablet, Request::HasTransaction { producer_id: 9, producer_epoch: 0 }),
        Ok(Reply::HasTransaction(true))
    ));
    assert_eq!(end(&node, tablet, (9, 1), true), 4);
    assert_eq!(send(&mut client, records(9, 0, 3, 1)), Err(ErrorCode::INVALID_PRODUCER_EPOCH));
    assert_eq!(send(&mut client, records(9, 1, 0, 1)), Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING));
}

#[test]
fn each_version_of_fetch_tells_committed_readers_what_was_aborted() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 1, &[]), 0);
    let (tablet, id) = (tablet(&node), id_of(&mut client, "t"));
    assert_eq!(write(&node, tablet, records(1, 0, 0, 2)), 0);
    assert_eq!(write(&node, tablet, records(2, 0, 0, 1)), 2);
    assert_eq!(end(&node, tablet, (2, 1), false), 3);
    assert_eq!(end(&node, tablet, (1, 1), true), 4);
    assert_eq!(write(&node, tablet, records(1, 1, 0, 1)), 5);
    assert_eq!(client.produce("t", 0, batch(1)), Ok(6));
    for version in 4..=versions(&mut client)[&Api::Fetch.key()].1 {
        let answer = client.ask(&of_isolation(id, 0, 1), version);
        let partition = &answer.responses[0].partitions[0];
        assert_eq!((partition.error_code, partition.high_watermark, partition.last_stable_offset), (0, 7, 5));
        assert_eq!(offsets(partition), [0, 2, 3, 4], "{version}");
        let aborted = partition.aborted_transactions.as_ref().expect("told");
        let aborted: Vec<(i64, i64)> = aborted.iter().map(|one| (one.producer_id.0, one.first_offset)).collect();
        assert_eq!(aborted, [(2, 2)], "{version}");
        let answer = client.ask(&of_isolation(id, 4, 1), version);
        let partition = &answer.responses[0].partitions[0];
        assert_eq!(offsets(partition), [4], "{version}");
        assert_eq!(partition.aborted_transactions.as_ref().map(Vec::len), Some(0), "{version}");
        for offset in [5, 7] {
            let answer = client.ask(&of_isolation(id, offset, 1), version);
            let partition = &answer.responses[0].partitions[0];
            assert_eq!((partition.error_code, offsets(partition)), (0, vec![]), "{version} at {offset}");
        }
        let answer = client.ask(&of_isolation(id, 0, 0), version);
        let partition = &answer.responses[0].partitions[0];
        assert_eq!((offsets(partition), partition.last_stable_offset), (vec![0, 2, 3, 4, 5, 6], 5), "{version}");
        assert_eq!(partition.aborted_transactions, None, "{version}");
    }
}

#[test]
fn offsets_are_those_that_a_reader_of_this_isolation_gets() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 1, &[]), 0);
    let tablet = tablet(&node);
    assert_eq!(client.produce("t", 0, batch(1)), Ok(0));
    assert_eq!(write(&node, tablet, records(1, 0, 0, 2)), 1);
    let mut list = |version: i16, timestamp: i64, level: i8| {
        let one = ListOffsetsPartition::default().with_timestamp(timestamp).with_current_leader_epoch(-1);
        let wanted = ListOffsetsTopic::default().with_name(topic("t")).with_partitions(vec![one]);
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![wanted]);
        let answer = client.ask(&request.with_isolation_level(level), version);
        let partition = &answer.topics[0].partitions[0];
        (partition.error_code, partition.offset)
    };
    for version in 2..=10 {
        assert_eq!(list(version, -1, 0), (0, 3), "{version}");
        assert_eq!(list(version, -1, 1), (0, 1), "{version}");
        assert_eq!(list(version, -2, 1), (0, 0), "{version}");
        assert_eq!(list(version, TIME_MS, 1), (0, 0), "{version}");
    }
    // What is found by time may be one that this reader does not get yet.
    let late =
        testing::transactional(testing::From { producer_id: 1, epoch: 0, sequence: 2 }, 1, b"value", TIME_MS + 1);
    assert_eq!(write(&node, tablet, late), 3);
    for (timestamp, version) in [(TIME_MS + 1, 7), (-3, 7)] {
        assert_eq!(list(version, timestamp, 0), (0, 3));
        assert_eq!(list(version, timestamp, 1), (0, -1));
    }
}

#[test]
fn a_committed_reader_waits_for_the_end_of_the_transaction() {
    let node = Node::start();
    let (mut reader, mut writer) = (node.connect(), node.connect());
    assert_eq!(reader.create("t", 1, &[]), 0);
    let tablet = tablet(&node);
    write(&node, tablet, records(1, 0, 0, 2));
    let request = of_isolation(Uuid::nil(), 0, 1).with_max_wait_ms(3000);
    reader.send(&request, 12);
    node.test.advance(Duration::from_millis(20));
    assert_eq!(reader.outbox.pending_bytes(), 0, "it waits");
    assert_eq!(writer.produce("t", 0, batch(1)), Ok(2));
    node.test.advance(Duration::from_millis(20));
    assert_eq!(reader.outbox.pending_bytes(), 0, "it still waits");
    end(&node, tablet, (1, 1), true);
    node.test.advance(Duration::from_millis(20));
    let (_, answer) = client::answer::<FetchRequest>(reader.frame().expect("an answer"), 12).expect("an answer");
    let partition = &answer.responses[0].partitions[0];
    assert_eq!(offsets(partition), [0, 2, 3]);
    let last = Batches::new(partition.records.clone().expect("records")).last().expect("some").expect("good").0;
    assert!(last.attributes.has(Attributes::CONTROL));
    // After a crash it is as it was.
    drop((reader, writer));
    let node = node.crash();
    let mut reader = node.connect();
    let answer = reader.ask(&of_isolation(Uuid::nil(), 0, 1), 12);
    assert_eq!(offsets(&answer.responses[0].partitions[0]), [0, 2, 3]);
}
