//! Produce and Fetch, which are our own: against the encoders and decoders of `kafka-protocol`, in every version, and never copied.

use super::{answer_body, header, header_bytes};
use crate::apis::{Api, Served};
use crate::errors::ErrorCode;
use crate::fetch::{AbortedTransaction, EpochEndOffset, FetchResponse, FetchedPartition, FetchedTopic, ForgottenTopic};
use crate::limits::COPIED_BYTES_MAX;
use crate::produce::{ProduceResponse, ProducedPartition, ProducedTopic, RecordError};
use crate::request::{Request, RequestError};
use crate::response::Response;
use crate::writer::{EncodeError, LeaderIdAndEpoch, NodeEndpoint};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    self, BrokerId, ProducerId, TopicName, TransactionalId, fetch_request, fetch_response, produce_request,
    produce_response,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use uuid::Uuid;

const ID: Uuid = Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn frame(api: Api, version: i16, body: &impl Encodable) -> Bytes {
    let mut bytes = BytesMut::from(&header_bytes(api, version)[..]);
    body.encode(&mut bytes, version).unwrap_or_else(|error| panic!("{api} {version}: {error}"));
    bytes.freeze()
}

fn read(frame: &Bytes) -> Result<Request, RequestError> {
    Request::read(frame, &Served::everything()).map(|(_, request)| request)
}

fn produce_request(version: i16) -> messages::ProduceRequest {
    let partition =
        |index, records| produce_request::PartitionProduceData::default().with_index(index).with_records(records);
    let topic = |partitions| {
        let topic = produce_request::TopicProduceData::default().with_partition_data(partitions);
        if version >= 13 { topic.with_topic_id(ID) } else { topic.with_name(TopicName(text("events"))) }
    };
    let records = Bytes::from(vec![7; 1_000]);
    messages::ProduceRequest::default()
        .with_transactional_id(Some(TransactionalId(text("t-1"))))
        .with_acks(-1)
        .with_timeout_ms(1_500)
        .with_topic_data(vec![
            topic(vec![partition(0, Some(records)), partition(5, None)]),
            topic(vec![partition(1, Some(Bytes::new()))]),
            topic(vec![]),
        ])
}

#[test]
fn produce_requests_come_as_they_were_sent() {
    for version in 3..=13 {
        let sent = produce_request(version);
        let framed = frame(Api::Produce, version, &sent);
        let Ok(Request::Produce(got)) = read(&framed) else { panic!("{version}") };
        assert_eq!(got.transactional_id.as_deref(), Some("t-1"));
        assert_eq!((got.acks, got.timeout_ms, got.topics.len()), (-1, 1_500, 3));
        for (got, sent) in got.topics.iter().zip(&sent.topic_data) {
            assert_eq!((&got.name, got.id), (&sent.name.0, sent.topic_id), "{version}");
            let pairs =
                |partition: &produce_request::PartitionProduceData| (partition.index, partition.records.clone());
            let sent: Vec<_> = sent.partition_data.iter().map(pairs).collect();
            let got: Vec<_> = got.partitions.iter().map(|got| (got.index, got.records.clone())).collect();
            assert_eq!(got, sent, "{version}");
        }
        let records = got.topics[0].partitions[0].records.as_ref().expect("some");
        assert!(framed.as_ptr_range().contains(&records.as_ptr()), "records are a slice of the frame");
        cut_anywhere(&framed);
    }
}

fn cut_anywhere(framed: &Bytes) {
    for length in 0..framed.len() {
        assert!(read(&framed.slice(..length)).is_err(), "cut at {length}");
    }
}

fn fetch_request(version: i16) -> messages::FetchRequest {
    let or = |from: i16, value: i32, otherwise: i32| if version >= from { value } else { otherwise };
    let partition = |index| {
        let partition = fetch_request::FetchPartition::default()
            .with_partition(index)
            .with_current_leader_epoch(or(9, 3, -1))
            .with_fetch_offset(1 << 40)
            .with_last_fetched_epoch(or(12, 2, -1))
            .with_log_start_offset(i64::from(or(5, 9, -1)))
            .with_partition_max_bytes(1 << 20);
        let partition = if version >= 17 { partition.with_replica_directory_id(ID) } else { partition };
        if version >= 18 { partition.with_high_watermark(12) } else { partition }
    };
    let topic = fetch_request::FetchTopic::default().with_partitions(vec![partition(0), partition(9)]);
    let forgotten = fetch_request::ForgottenTopic::default().with_partitions(vec![4, 5]);
    let (topic, forgotten) = if version >= 13 {
        (topic.with_topic_id(ID), forgotten.with_topic_id(ID))
    } else {
        (topic.with_topic(TopicName(text("events"))), forgotten.with_topic(TopicName(text("old"))))
    };
    let request = messages::FetchRequest::default()
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_isolation_level(1)
        .with_session_id(or(7, 77, 0))
        .with_session_epoch(or(7, 4, -1))
        .with_topics(vec![topic])
        .with_rack_id(if version >= 11 { text("rack-b") } else { text("") })
        .with_forgotten_topics_data(if version >= 7 { vec![forgotten] } else { vec![] });
    let request = if version >= 12 { request.with_cluster_id(Some(text("a-cluster"))) } else { request };
    if version >= 15 {
        let state = fetch_request::ReplicaState::default().with_replica_id(BrokerId(6)).with_replica_epoch(1);
        return request.with_replica_state(state);
    }
    request.with_replica_id(BrokerId(6))
}

#[test]
fn fetch_requests_come_as_they_were_sent() {
    for version in 4..=18 {
        let sent = fetch_request(version);
        let framed = frame(Api::Fetch, version, &sent);
        let Ok(Request::Fetch(got)) = read(&framed) else { panic!("{version}") };
        assert_eq!((got.replica_id, got.max_wait_ms, got.min_bytes, got.max_bytes), (6, 500, 1, 50 << 20), "{version}");
        assert_eq!(got.isolation_level, 1);
        assert_eq!((got.session_id, got.session_epoch), (sent.session_id, sent.session_epoch));
        assert_eq!(got.rack_id, sent.rack_id);
        let (name, id) = if version >= 13 { (text(""), ID) } else { (text("events"), Uuid::nil()) };
        assert_eq!((got.topics.len(), &got.topics[0].name, got.topics[0].id), (1, &name, id));
        assert_eq!(got.topics[0].partitions.len(), 2);
        for (got, sent) in got.topics[0].partitions.iter().zip(&sent.topics[0].partitions) {
            let epochs = (got.current_leader_epoch, got.last_fetched_epoch);
            assert_eq!(epochs, (sent.current_leader_epoch, sent.last_fetched_epoch), "{version}");
            let offsets = (got.index, got.fetch_offset, got.log_start_offset, got.max_bytes);
            assert_eq!(offsets, (sent.partition, sent.fetch_offset, sent.log_start_offset, sent.partition_max_bytes));
        }
        let forgotten = ForgottenTopic { name: sent_name(version), id, partitions: vec![4, 5] };
        assert_eq!(got.forgotten, if version >= 7 { vec![forgotten] } else { vec![] }, "{version}");
        cut_anywhere(&framed);
    }
}

fn sent_name(version: i16) -> StrBytes {
    if version >= 13 { text("") } else { text("old") }
}

/// A consumer says nothing of itself in version 15 and later.
#[test]
fn a_consumer_is_no_replica() {
    let framed = frame(Api::Fetch, 18, &messages::FetchRequest::default());
    let Ok(Request::Fetch(got)) = read(&framed) else { panic!("valid") };
    assert_eq!(got.replica_id, -1);
}

#[test]
fn changed_bytes_and_counts_do_no_harm() {
    let frames = (3..=13)
        .map(|version| frame(Api::Produce, version, &produce_request(version)))
        .chain((4..=18).map(|version| frame(Api::Fetch, version, &fetch_request(version))));
    let mut refused = 0;
    for framed in frames {
        for at in 4..framed.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = framed.to_vec();
                bytes[at] = value;
                refused += usize::from(read(&Bytes::from(bytes)).is_err());
            }
            // As large as a count can be, in both encodings.
            for bomb in [[0x7f, 0xff, 0xff, 0xff, 0xff], [0xff, 0xff, 0xff, 0xff, 0x0f]] {
                let mut bytes = framed.to_vec();
                let end = framed.len().min(at + 5);
                bytes[at..end].copy_from_slice(&bomb[..end - at]);
                refused += usize::from(read(&Bytes::from(bytes)).is_err());
            }
        }
    }
    assert!(refused > 1_000, "{refused}");
}

fn endpoint() -> NodeEndpoint {
    NodeEndpoint { node_id: 4, host: text("b4.example"), port: 9092, rack: Some(text("rack-a")) }
}

fn produced() -> ProduceResponse {
    let stored = ProducedPartition {
        index: 0,
        error: ErrorCode::NONE,
        base_offset: 1 << 33,
        log_append_time_ms: 5,
        log_start_offset: 17,
        record_errors: vec![],
        error_message: None,
        leader: None,
    };
    let refused = ProducedPartition {
        record_errors: vec![
            RecordError { index: 3, message: Some(text("no key")) },
            RecordError { index: 4, message: None },
        ],
        leader: Some(LeaderIdAndEpoch { leader_id: 4, leader_epoch: 8 }),
        ..ProducedPartition::refused(1, ErrorCode::INVALID_RECORD, Some(text("bad")))
    };
    let topic = ProducedTopic { name: text("events"), id: ID, partitions: vec![stored, refused] };
    ProduceResponse { topics: vec![topic], throttle_time_ms: 9, endpoints: vec![endpoint()] }
}

/// The same as [`produced`], as `kafka-protocol` has it, with what a version can say.
fn produced_there(version: i16) -> messages::ProduceResponse {
    let partitions = produced().topics[0].partitions.clone().into_iter().map(|partition| {
        let there = produce_response::PartitionProduceResponse::default()
            .with_index(partition.index)
            .with_error_code(partition.error.0)
            .with_base_offset(partition.base_offset)
            .with_log_append_time_ms(partition.log_append_time_ms)
            .with_log_start_offset(if version >= 5 { partition.log_start_offset } else { -1 });
        let error = |error: RecordError| {
            produce_response::BatchIndexAndErrorMessage::default()
                .with_batch_index(error.index)
                .with_batch_index_error_message(error.message)
        };
        let there = if version >= 8 {
            there
                .with_record_errors(partition.record_errors.into_iter().map(error).collect())
                .with_error_message(partition.error_message)
        } else {
            there
        };
        match partition.leader {
            Some(leader) if version >= 10 => there.with_current_leader(
                produce_response::LeaderIdAndEpoch::default()
                    .with_leader_id(BrokerId(leader.leader_id))
                    .with_leader_epoch(leader.leader_epoch),
            ),
            _ => there,
        }
    });
    let topic = produce_response::TopicProduceResponse::default().with_partition_responses(partitions.collect());
    let topic = if version >= 13 { topic.with_topic_id(ID) } else { topic.with_name(TopicName(text("events"))) };
    let there = messages::ProduceResponse::default().with_responses(vec![topic]).with_throttle_time_ms(9);
    let endpoint = produce_response::NodeEndpoint::default()
        .with_node_id(BrokerId(4))
        .with_host(text("b4.example"))
        .with_port(9092)
        .with_rack(Some(text("rack-a")));
    if version >= 10 { there.with_node_endpoints(vec![endpoint]) } else { there }
}

#[test]
fn produce_answers_are_those_of_another_encoder() {
    for version in 3..=13 {
        let pieces = Response::Produce(produced()).encode(&header(Api::Produce, version)).expect("sayable");
        assert_eq!(pieces.len(), 1);
        let there = produced_there(version);
        let mut expected = BytesMut::new();
        there.encode(&mut expected, version).unwrap_or_else(|error| panic!("{version}: {error}"));
        let mut body = answer_body(&pieces, Api::Produce, version);
        assert_eq!(body, expected, "{version}");
        assert_eq!(messages::ProduceResponse::decode(&mut body, version).expect("valid"), there);
    }
}

/// Long pieces, short ones and none.
fn records() -> Vec<Vec<Bytes>> {
    let piece = |byte, bytes| Bytes::from(vec![byte; bytes]);
    vec![
        vec![piece(1, 61), piece(2, 5_000), piece(3, 61), piece(4, COPIED_BYTES_MAX)],
        vec![],
        vec![piece(5, 3_000), piece(6, 4_000)],
        vec![piece(7, COPIED_BYTES_MAX - 1)],
    ]
}

fn fetched(records: Vec<Vec<Bytes>>) -> FetchResponse {
    let mut partitions: Vec<FetchedPartition> = records
        .into_iter()
        .enumerate()
        .map(|(index, records)| FetchedPartition {
            index: index as i32,
            error: ErrorCode::NONE,
            high_watermark: 100,
            last_stable_offset: 90,
            log_start_offset: 10,
            aborted: Some(vec![AbortedTransaction { producer_id: 8, first_offset: 50 }]),
            records,
            ..FetchedPartition::refused(0, ErrorCode::NONE)
        })
        .collect();
    let refused = FetchedPartition::refused(9, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    let leader = Some(LeaderIdAndEpoch { leader_id: 4, leader_epoch: 8 });
    partitions.push(FetchedPartition { leader, ..refused.clone() });
    let diverging = Some(EpochEndOffset { epoch: 7, end_offset: 40 });
    partitions.push(FetchedPartition { diverging, leader, ..refused.clone() });
    partitions.push(FetchedPartition { diverging, preferred_read_replica: 3, ..refused });
    FetchResponse {
        throttle_time_ms: 9,
        error: ErrorCode::NONE,
        session_id: 77,
        topics: vec![FetchedTopic { name: text("events"), id: ID, partitions }, FetchedTopic::default()],
        endpoints: vec![endpoint(), NodeEndpoint { rack: None, ..endpoint() }],
    }
}

fn partition_there(partition: FetchedPartition, version: i16) -> fetch_response::PartitionData {
    let aborted = |aborted: AbortedTransaction| {
        fetch_response::AbortedTransaction::default()
            .with_producer_id(ProducerId(aborted.producer_id))
            .with_first_offset(aborted.first_offset)
    };
    let mut there = fetch_response::PartitionData::default()
        .with_partition_index(partition.index)
        .with_error_code(partition.error.0)
        .with_high_watermark(partition.high_watermark)
        .with_last_stable_offset(partition.last_stable_offset)
        .with_log_start_offset(if version >= 5 { partition.log_start_offset } else { -1 })
        .with_aborted_transactions(partition.aborted.map(|list| list.into_iter().map(aborted).collect()))
        .with_preferred_read_replica(BrokerId(if version >= 11 { partition.preferred_read_replica } else { -1 }))
        .with_records(Some(Bytes::from(partition.records.concat())));
    if let Some(diverging) = partition.diverging.filter(|_| version >= 12) {
        there = there.with_diverging_epoch(
            fetch_response::EpochEndOffset::default().with_epoch(diverging.epoch).with_end_offset(diverging.end_offset),
        );
    }
    if let Some(leader) = partition.leader.filter(|_| version >= 12) {
        there = there.with_current_leader(
            fetch_response::LeaderIdAndEpoch::default()
                .with_leader_id(BrokerId(leader.leader_id))
                .with_leader_epoch(leader.leader_epoch),
        );
    }
    there
}

/// The same as [`fetched`], as `kafka-protocol` has it, with what a version can say.
fn fetched_there(version: i16) -> messages::FetchResponse {
    let ours = fetched(records());
    let topics = ours.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| partition_there(partition, version)).collect();
        let there = fetch_response::FetchableTopicResponse::default().with_partitions(partitions);
        if version >= 13 { there.with_topic_id(topic.id) } else { there.with_topic(TopicName(topic.name)) }
    });
    let there = messages::FetchResponse::default()
        .with_throttle_time_ms(9)
        .with_session_id(if version >= 7 { 77 } else { 0 })
        .with_responses(topics.collect());
    let endpoint = |endpoint: NodeEndpoint| {
        fetch_response::NodeEndpoint::default()
            .with_node_id(BrokerId(endpoint.node_id))
            .with_host(endpoint.host)
            .with_port(endpoint.port)
            .with_rack(endpoint.rack)
    };
    if version >= 16 { there.with_node_endpoints(ours.endpoints.into_iter().map(endpoint).collect()) } else { there }
}

#[test]
fn fetch_answers_are_those_of_another_encoder() {
    for version in 4..=18 {
        let pieces = Response::Fetch(fetched(records())).encode(&header(Api::Fetch, version)).expect("sayable");
        let there = fetched_there(version);
        let mut expected = BytesMut::new();
        there.encode(&mut expected, version).unwrap_or_else(|error| panic!("{version}: {error}"));
        let mut body = answer_body(&pieces, Api::Fetch, version);
        assert_eq!(body, expected, "{version}");
        assert_eq!(messages::FetchResponse::decode(&mut body, version).expect("valid"), there);
    }
}

#[test]
fn fetched_records_are_not_copied() {
    let records = records();
    let long: Vec<_> = records.iter().flatten().filter(|piece| piece.len() >= COPIED_BYTES_MAX).cloned().collect();
    let pieces = Response::Fetch(fetched(records)).encode(&header(Api::Fetch, 18)).expect("sayable");
    // head, records, head, records, records (next to each other), …, head
    let same = |piece: &&Bytes| long.iter().any(|long| long.as_ptr() == piece.as_ptr() && long.len() == piece.len());
    assert_eq!(pieces.iter().filter(same).count(), long.len());
    let copied: usize = pieces.iter().filter(|piece| !same(piece)).map(Bytes::len).sum();
    assert!(copied < 1_200, "{copied} bytes of heads");
    assert!(pieces.iter().all(|piece| !piece.is_empty()));
    // All heads are of one buffer.
    let heads: Vec<_> = pieces.iter().filter(|piece| !same(piece)).collect();
    assert!(heads.len() > 3);
    for pair in heads.windows(2) {
        assert_eq!(pair[0].as_ptr_range().end, pair[1].as_ptr());
    }
}

#[test]
fn a_name_that_is_too_long_for_a_version_is_refused() {
    let long = StrBytes::from_string("x".repeat(40_000));
    let topic = FetchedTopic { name: long, ..FetchedTopic::default() };
    let answer = |version| {
        let response = FetchResponse { topics: vec![topic.clone()], ..FetchResponse::default() };
        Response::Fetch(response).encode(&header(Api::Fetch, version))
    };
    assert!(answer(12).is_ok());
    let error = answer(4).expect_err("too long");
    assert_eq!(error, EncodeError::TextTooLong { api: "Fetch", version: 4, bytes: 40_000 });
}

#[test]
fn more_than_a_frame_can_have_is_refused() {
    let piece = Bytes::from(vec![0; 1 << 20]);
    let response = fetched(vec![vec![piece; 2_048]]);
    let error = Response::Fetch(response).encode(&header(Api::Fetch, 18)).expect_err("2 GiB");
    assert!(matches!(error, EncodeError::TooLarge { bytes } if bytes > 1 << 31), "{error}");
}
