//! Frames written by hand, field by field, from Kafka's descriptions of its messages (`clients/src/main/resources/common/message`).
//!
//! The other tests compare two readers with each other, and both with tables; these compare with the bytes.

use bytes::{Bytes, BytesMut};
use holon_kafka::fetch::{AbortedTransaction, FetchedPartition, FetchedTopic};
use holon_kafka::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use holon_kafka::messages::{BrokerId, MetadataResponse, TopicName};
use holon_kafka::produce::{ProducedPartition, ProducedTopic, RecordError};
use holon_kafka::{
    Api, ErrorCode, FetchResponse, LeaderIdAndEpoch, ProduceResponse, Request, RequestHeader, Response, Served,
    StrBytes, frame,
};

/// A field and its bytes.
type Field = (&'static str, &'static [u8]);

fn bytes(fields: &[Field]) -> Vec<u8> {
    fields.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect()
}

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

/// Reads a whole frame, and looks at its header: correlation id 7, client id "kc".
fn read(fields: &[Field], api: Api, version: i16) -> (RequestHeader, Request) {
    let mut input = BytesMut::from(&bytes(fields)[..]);
    let whole = frame::take(&mut input, 1 << 20).expect("short enough").expect("the length is right");
    assert!(input.is_empty(), "the length is right");
    let (header, request) = Request::read(&whole, &Served::everything()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(header, RequestHeader { api, version, correlation_id: 7, client_id: text("kc") });
    (header, request)
}

#[track_caller]
fn answers(response: Response, header: &RequestHeader, fields: &[Field]) {
    let pieces: Vec<Bytes> = response.encode(header).expect("sayable");
    assert_eq!(pieces.concat(), bytes(fields));
}

fn served() -> Response {
    Response::ApiVersions(Served::least().with(Api::Produce).with_up_to(Api::Fetch, 12).answer())
}

#[test]
fn api_versions_0() {
    let request: &[Field] = &[
        ("length", b"\0\0\0\x0c"),
        ("api key, version", b"\0\x12\0\0"),
        ("correlation id", b"\0\0\0\x07"),
        ("client id", b"\0\x02kc"),
    ];
    let (header, request) = read(request, Api::ApiVersions, 0);
    assert!(matches!(request, Request::ApiVersions(_)));
    let answer: &[Field] = &[
        ("length", b"\0\0\0\x1c"),
        ("correlation id", b"\0\0\0\x07"),
        ("error code", b"\0\0"),
        ("api keys", b"\0\0\0\x03"),
        ("Produce 0 to 13", b"\0\0\0\0\0\x0d"),
        ("Fetch 4 to 12", b"\0\x01\0\x04\0\x0c"),
        ("ApiVersions 0 to 4", b"\0\x12\0\0\0\x04"),
    ];
    answers(served(), &header, answer);
}

#[test]
fn api_versions_3() {
    let request: &[Field] = &[
        ("length", b"\0\0\0\x20"),
        ("api key, version", b"\0\x12\0\x03"),
        ("correlation id", b"\0\0\0\x07"),
        ("client id, not compact", b"\0\x02kc"),
        ("tagged fields of the header", b"\0"),
        ("client software name", b"\x0blibrdkafka"),
        ("client software version", b"\x072.12.1"),
        ("tagged fields", b"\0"),
    ];
    let (header, request) = read(request, Api::ApiVersions, 3);
    let Request::ApiVersions(request) = request else { panic!("{request:?}") };
    assert_eq!(request.client_software_name.as_str(), "librdkafka");
    assert_eq!(request.client_software_version.as_str(), "2.12.1");
    let answer: &[Field] = &[
        ("length", b"\0\0\0\x21"),
        ("correlation id, and no tagged fields of the header", b"\0\0\0\x07"),
        ("error code", b"\0\0"),
        ("api keys, one more than there are", b"\x04"),
        ("Produce 0 to 13, tagged fields", b"\0\0\0\0\0\x0d\0"),
        ("Fetch 4 to 12, tagged fields", b"\0\x01\0\x04\0\x0c\0"),
        ("ApiVersions 0 to 4, tagged fields", b"\0\x12\0\0\0\x04\0"),
        ("throttle time ms", b"\0\0\0\0"),
        ("tagged fields", b"\0"),
    ];
    answers(served(), &header, answer);
}

#[test]
fn metadata_1() {
    let request: &[Field] = &[
        ("length", b"\0\0\0\x16"),
        ("api key, version", b"\0\x03\0\x01"),
        ("correlation id", b"\0\0\0\x07"),
        ("client id", b"\0\x02kc"),
        ("topics", b"\0\0\0\x01"),
        ("name", b"\0\x04logs"),
    ];
    let (header, request) = read(request, Api::Metadata, 1);
    let Request::Metadata(request) = request else { panic!("{request:?}") };
    let topics = request.topics.expect("not null");
    assert_eq!(topics.len(), 1);
    assert_eq!(topics[0].name.as_deref().map(StrBytes::as_str), Some("logs"));
    let partition = MetadataResponsePartition::default()
        .with_partition_index(5)
        .with_leader_id(BrokerId(1))
        .with_replica_nodes(vec![BrokerId(1), BrokerId(2)])
        .with_isr_nodes(vec![BrokerId(1)]);
    let topic = MetadataResponseTopic::default()
        .with_name(Some(TopicName(text("logs"))))
        .with_is_internal(true)
        .with_partitions(vec![partition]);
    let broker = MetadataResponseBroker::default().with_node_id(BrokerId(1)).with_host(text("h")).with_port(9092);
    let response =
        MetadataResponse::default().with_brokers(vec![broker]).with_controller_id(BrokerId(1)).with_topics(vec![topic]);
    let answer: &[Field] = &[
        ("length", b"\0\0\0\x48"),
        ("correlation id", b"\0\0\0\x07"),
        ("brokers", b"\0\0\0\x01"),
        ("node id", b"\0\0\0\x01"),
        ("host", b"\0\x01h"),
        ("port", b"\0\0\x23\x84"),
        ("rack: null", b"\xff\xff"),
        ("controller id", b"\0\0\0\x01"),
        ("topics", b"\0\0\0\x01"),
        ("error code", b"\0\0"),
        ("name", b"\0\x04logs"),
        ("is internal", b"\x01"),
        ("partitions", b"\0\0\0\x01"),
        ("error code", b"\0\0"),
        ("partition index", b"\0\0\0\x05"),
        ("leader id", b"\0\0\0\x01"),
        ("replica nodes", b"\0\0\0\x02\0\0\0\x01\0\0\0\x02"),
        ("isr nodes", b"\0\0\0\x01\0\0\0\x01"),
    ];
    answers(Response::Metadata(response), &header, answer);
}

/// One partition that took its records, and one that did not.
fn produced() -> Response {
    let stored = ProducedPartition {
        index: 2,
        error: ErrorCode::NONE,
        base_offset: 0x0102,
        log_append_time_ms: -1,
        log_start_offset: 3,
        record_errors: Vec::new(),
        error_message: None,
        leader: None,
    };
    let refused = ProducedPartition {
        record_errors: vec![RecordError { index: 4, message: None }],
        // Version 9 cannot say it.
        leader: Some(LeaderIdAndEpoch { leader_id: 1, leader_epoch: 1 }),
        ..ProducedPartition::refused(3, ErrorCode::INVALID_RECORD, Some(text("no")))
    };
    let topic = ProducedTopic { name: text("t"), partitions: vec![stored, refused], ..ProducedTopic::default() };
    Response::Produce(ProduceResponse { topics: vec![topic], throttle_time_ms: 6, endpoints: Vec::new() })
}

#[test]
fn produce_3() {
    let request: &[Field] = &[
        ("length", b"\0\0\0\x2c"),
        ("api key, version", b"\0\0\0\x03"),
        ("correlation id", b"\0\0\0\x07"),
        ("client id", b"\0\x02kc"),
        ("transactional id: null", b"\xff\xff"),
        ("acks: all", b"\xff\xff"),
        ("timeout ms", b"\0\0\x05\xdc"),
        ("topic data", b"\0\0\0\x01"),
        ("name", b"\0\x01t"),
        ("partition data", b"\0\0\0\x01"),
        ("index", b"\0\0\0\x02"),
        ("records", b"\0\0\0\x05batch"),
    ];
    let (header, request) = read(request, Api::Produce, 3);
    let Request::Produce(request) = request else { panic!("{request:?}") };
    assert_eq!((request.transactional_id, request.acks, request.timeout_ms), (None, -1, 1_500));
    assert_eq!((request.topics.len(), request.topics[0].name.as_str()), (1, "t"));
    assert_eq!(request.topics[0].partitions.len(), 1);
    assert_eq!(request.topics[0].partitions[0].index, 2);
    assert_eq!(request.topics[0].partitions[0].records.as_deref(), Some(&b"batch"[..]));
    let answer: &[Field] = &[
        ("length", b"\0\0\0\x3f"),
        ("correlation id", b"\0\0\0\x07"),
        ("responses", b"\0\0\0\x01"),
        ("name", b"\0\x01t"),
        ("partition responses", b"\0\0\0\x02"),
        ("index", b"\0\0\0\x02"),
        ("error code", b"\0\0"),
        ("base offset", b"\0\0\0\0\0\0\x01\x02"),
        ("log append time ms", b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("index", b"\0\0\0\x03"),
        ("error code", b"\0\x57"),
        ("base offset", b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("log append time ms", b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("throttle time ms", b"\0\0\0\x06"),
    ];
    answers(produced(), &header, answer);
}

#[test]
fn produce_9() {
    let request: &[Field] = &[
        ("length", b"\0\0\0\x26"),
        ("api key, version", b"\0\0\0\x09"),
        ("correlation id", b"\0\0\0\x07"),
        ("client id, not compact", b"\0\x02kc"),
        ("tagged fields of the header", b"\0"),
        ("transactional id", b"\x03tx"),
        ("acks: the leader", b"\0\x01"),
        ("timeout ms", b"\0\0\x05\xdc"),
        ("topic data, one more than there are", b"\x02"),
        ("name", b"\x02t"),
        ("partition data", b"\x02"),
        ("index", b"\0\0\0\x02"),
        ("records: null", b"\0"),
        ("tagged fields of the partition: number 9, two bytes", b"\x01\x09\x02xx"),
        ("tagged fields of the topic", b"\0"),
        ("tagged fields", b"\0"),
    ];
    let (header, request) = read(request, Api::Produce, 9);
    let Request::Produce(request) = request else { panic!("{request:?}") };
    assert_eq!((request.transactional_id.as_deref(), request.acks), (Some("tx"), 1));
    assert_eq!((request.topics[0].partitions[0].index, &request.topics[0].partitions[0].records), (2, &None));
    let answer: &[Field] = &[
        ("length", b"\0\0\0\x59"),
        ("correlation id", b"\0\0\0\x07"),
        ("tagged fields of the header", b"\0"),
        ("responses", b"\x02"),
        ("name", b"\x02t"),
        ("partition responses", b"\x03"),
        ("index", b"\0\0\0\x02"),
        ("error code", b"\0\0"),
        ("base offset", b"\0\0\0\0\0\0\x01\x02"),
        ("log append time ms", b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("log start offset", b"\0\0\0\0\0\0\0\x03"),
        ("record errors: none", b"\x01"),
        ("error message: null", b"\0"),
        ("tagged fields of the partition", b"\0"),
        ("index", b"\0\0\0\x03"),
        ("error code", b"\0\x57"),
        ("base offset", b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("log append time ms", b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("log start offset", b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("record errors", b"\x02"),
        ("batch index", b"\0\0\0\x04"),
        ("its message: null", b"\0"),
        ("tagged fields of the record error", b"\0"),
        ("error message", b"\x03no"),
        ("tagged fields of the partition", b"\0"),
        ("tagged fields of the topic", b"\0"),
        ("throttle time ms", b"\0\0\0\x06"),
        ("tagged fields", b"\0"),
    ];
    answers(produced(), &header, answer);
}

fn fetched() -> Response {
    let partition = FetchedPartition {
        high_watermark: 9,
        last_stable_offset: 8,
        log_start_offset: 1,
        aborted: Some(vec![AbortedTransaction { producer_id: 5, first_offset: 6 }]),
        leader: Some(LeaderIdAndEpoch { leader_id: 1, leader_epoch: 4 }),
        records: vec![Bytes::from_static(b"bat"), Bytes::from_static(b"ch")],
        ..FetchedPartition::refused(2, ErrorCode::NONE)
    };
    let empty = FetchedPartition::refused(3, ErrorCode::OFFSET_OUT_OF_RANGE);
    let topic = FetchedTopic { name: text("t"), partitions: vec![partition, empty], ..FetchedTopic::default() };
    Response::Fetch(FetchResponse {
        throttle_time_ms: 6,
        session_id: 0x77,
        topics: vec![topic],
        ..FetchResponse::default()
    })
}

#[test]
fn fetch_4() {
    let request: &[Field] = &[
        ("length", b"\0\0\0\x38"),
        ("api key, version", b"\0\x01\0\x04"),
        ("correlation id", b"\0\0\0\x07"),
        ("client id", b"\0\x02kc"),
        ("replica id", b"\xff\xff\xff\xff"),
        ("max wait ms", b"\0\0\x01\xf4"),
        ("min bytes", b"\0\0\0\x01"),
        ("max bytes", b"\x03\x20\0\0"),
        ("isolation level", b"\x01"),
        ("topics", b"\0\0\0\x01"),
        ("topic", b"\0\x01t"),
        ("partitions", b"\0\0\0\x01"),
        ("partition", b"\0\0\0\x02"),
        ("fetch offset", b"\0\0\0\0\0\0\0\x05"),
        ("partition max bytes", b"\0\x10\0\0"),
    ];
    let (header, request) = read(request, Api::Fetch, 4);
    let Request::Fetch(request) = request else { panic!("{request:?}") };
    assert_eq!((request.replica_id, request.max_wait_ms, request.min_bytes), (-1, 500, 1));
    assert_eq!((request.max_bytes, request.isolation_level), (50 << 20, 1));
    assert_eq!((request.session_id, request.session_epoch), (0, -1));
    let partition = request.topics[0].partitions[0];
    assert_eq!((partition.index, partition.fetch_offset, partition.max_bytes), (2, 5, 1 << 20));
    let answer: &[Field] = &[
        ("length", b"\0\0\0\x64"),
        ("correlation id", b"\0\0\0\x07"),
        ("throttle time ms", b"\0\0\0\x06"),
        ("responses", b"\0\0\0\x01"),
        ("topic", b"\0\x01t"),
        ("partitions", b"\0\0\0\x02"),
        ("partition index", b"\0\0\0\x02"),
        ("error code", b"\0\0"),
        ("high watermark", b"\0\0\0\0\0\0\0\x09"),
        ("last stable offset", b"\0\0\0\0\0\0\0\x08"),
        ("aborted transactions", b"\0\0\0\x01"),
        ("producer id", b"\0\0\0\0\0\0\0\x05"),
        ("first offset", b"\0\0\0\0\0\0\0\x06"),
        ("records", b"\0\0\0\x05batch"),
        ("partition index", b"\0\0\0\x03"),
        ("error code", b"\0\x01"),
        ("high watermark", b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("last stable offset", b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("aborted transactions: null", b"\xff\xff\xff\xff"),
        ("records: none", b"\0\0\0\0"),
    ];
    answers(fetched(), &header, answer);
}

#[test]
fn fetch_12() {
    let request: &[Field] = &[
        ("length", b"\0\0\0\x5f"),
        ("api key, version", b"\0\x01\0\x0c"),
        ("correlation id", b"\0\0\0\x07"),
        ("client id, not compact", b"\0\x02kc"),
        ("tagged fields of the header", b"\0"),
        ("replica id", b"\xff\xff\xff\xff"),
        ("max wait ms", b"\0\0\x01\xf4"),
        ("min bytes", b"\0\0\0\x01"),
        ("max bytes", b"\x03\x20\0\0"),
        ("isolation level", b"\0"),
        ("session id", b"\0\0\0\x77"),
        ("session epoch", b"\0\0\0\x02"),
        ("topics, one more than there are", b"\x02"),
        ("topic", b"\x02t"),
        ("partitions", b"\x02"),
        ("partition", b"\0\0\0\x02"),
        ("current leader epoch", b"\0\0\0\x04"),
        ("fetch offset", b"\0\0\0\0\0\0\0\x05"),
        ("last fetched epoch", b"\0\0\0\x03"),
        ("log start offset", b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("partition max bytes", b"\0\x10\0\0"),
        ("tagged fields of the partition", b"\0"),
        ("tagged fields of the topic", b"\0"),
        ("forgotten topics data", b"\x02"),
        ("topic", b"\x04old"),
        ("partitions", b"\x02\0\0\0\x08"),
        ("tagged fields of the forgotten topic", b"\0"),
        ("rack id", b"\x02r"),
        ("tagged fields: number 0, cluster id", b"\x01\0\x03\x02cc"),
    ];
    let (header, request) = read(request, Api::Fetch, 12);
    let Request::Fetch(request) = request else { panic!("{request:?}") };
    assert_eq!((request.session_id, request.session_epoch, request.rack_id.as_str()), (0x77, 2, "r"));
    let partition = request.topics[0].partitions[0];
    assert_eq!((partition.index, partition.current_leader_epoch, partition.last_fetched_epoch), (2, 4, 3));
    assert_eq!((partition.fetch_offset, partition.log_start_offset, partition.max_bytes), (5, -1, 1 << 20));
    assert_eq!((request.forgotten[0].name.as_str(), &request.forgotten[0].partitions[..]), ("old", &[8][..]));
    let answer: &[Field] = &[
        ("length", b"\0\0\0\x80"),
        ("correlation id", b"\0\0\0\x07"),
        ("tagged fields of the header", b"\0"),
        ("throttle time ms", b"\0\0\0\x06"),
        ("error code", b"\0\0"),
        ("session id", b"\0\0\0\x77"),
        ("responses", b"\x02"),
        ("topic", b"\x02t"),
        ("partitions", b"\x03"),
        ("partition index", b"\0\0\0\x02"),
        ("error code", b"\0\0"),
        ("high watermark", b"\0\0\0\0\0\0\0\x09"),
        ("last stable offset", b"\0\0\0\0\0\0\0\x08"),
        ("log start offset", b"\0\0\0\0\0\0\0\x01"),
        ("aborted transactions", b"\x02"),
        ("producer id", b"\0\0\0\0\0\0\0\x05"),
        ("first offset", b"\0\0\0\0\0\0\0\x06"),
        ("tagged fields of the transaction", b"\0"),
        ("preferred read replica", b"\xff\xff\xff\xff"),
        ("records, one more than there are bytes", b"\x06batch"),
        ("tagged fields of the partition: number 1, nine bytes", b"\x01\x01\x09"),
        ("leader id, leader epoch, tagged fields", b"\0\0\0\x01\0\0\0\x04\0"),
        ("partition index", b"\0\0\0\x03"),
        ("error code", b"\0\x01"),
        ("high watermark", b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("last stable offset", b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("log start offset", b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("aborted transactions: null", b"\0"),
        ("preferred read replica", b"\xff\xff\xff\xff"),
        ("records: none", b"\x01"),
        ("tagged fields of the partition", b"\0"),
        ("tagged fields of the topic", b"\0"),
        ("tagged fields", b"\0"),
    ];
    answers(fetched(), &header, answer);
}
