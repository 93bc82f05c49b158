//! Sessions under pressure: many requests at once, no memory, clients that do not read, garbage.

mod support;

use holon_base::Random;
use holon_cql::limits::ENVELOPE_BODY_BYTES_MAX;
use holon_cql::request::{Prepare, Query, QueryParameters};
use holon_cql::response::{ErrorCode, ResultResponse};
use holon_cql::{Compression, Consistency, Request, Response, ResponseMessage, Version};
use holon_kernel::metric::MetricValue;
use holon_kernel::{Flow, Service};
use holon_tables::limits::{OUTBOX_BYTES_MAX, REQUESTS_PER_CONNECTION_MAX};
use holon_tables::service::TablesConfig;
use std::collections::BTreeSet;
use support::{Connected, Node};

fn query(text: &str) -> Request {
    Request::Query(Query { statement: text.to_string(), parameters: QueryParameters::new(Consistency::One) })
}

fn ready(node: &Node, version: Version, compression: Option<Compression>) -> Connected {
    let mut client = node.connect(version, compression);
    let startup = client.client.startup();
    client.send(startup);
    assert!(matches!(client.received()[..], [ResponseMessage { response: Response::Ready, .. }]));
    client
}

fn gauge(node: &Node, name: &str) -> f64 {
    let mut metrics = Vec::new();
    node.service.metrics(&mut metrics);
    match metrics.into_iter().find(|metric| metric.name == name).map(|metric| metric.value) {
        Some(MetricValue::Gauge(value)) => value,
        other => panic!("{name}: {other:?}"),
    }
}

fn code(message: &ResponseMessage) -> Option<ErrorCode> {
    match &message.response {
        Response::Error(error) => Some(error.code()),
        _ => None,
    }
}

#[test]
fn every_request_is_answered_once_however_many_come_at_once() {
    for (version, compression) in [(Version::V3, None), (Version::V4, None), (Version::V5, Some(Compression::Lz4))] {
        let node = Node::start(TablesConfig::default());
        let mut client = ready(&node, version, compression);
        let requests = REQUESTS_PER_CONNECTION_MAX * 2 + 100;
        let mut bytes = Vec::new();
        let mut waiting = BTreeSet::new();
        for _ in 0..requests {
            let (stream, request) = client.client.request(query("USE system")).expect("fits");
            bytes.extend_from_slice(&request);
            waiting.insert(stream);
        }
        client.send_bytes(&bytes);
        assert_eq!(client.flow, Flow::Pause);
        assert_eq!(client.outbox.in_flight(), REQUESTS_PER_CONNECTION_MAX);
        assert!(gauge(&node, "holon_cql_request_memory_bytes") > 0.0);
        for round in 0.. {
            node.settle();
            for message in client.received() {
                assert!(matches!(message.response, Response::Result(ResultResponse::SetKeyspace(_))), "{message:?}");
                assert!(waiting.remove(&message.stream), "stream {} was answered twice", message.stream);
            }
            if waiting.is_empty() {
                break;
            }
            assert!(round < 10, "{} never answered", waiting.len());
            client.resume();
        }
        assert_eq!(client.flow, Flow::Continue);
        assert_eq!(gauge(&node, "holon_cql_requests_in_flight"), 0.0);
        assert_eq!(gauge(&node, "holon_cql_request_memory_bytes"), 0.0);
    }
}

#[test]
fn without_memory_requests_are_refused_and_the_connection_lives_on() {
    let node = Node::start(TablesConfig { request_bytes: 64 << 10, ..TablesConfig::default() });
    let mut client = ready(&node, Version::V4, None);
    for _ in 0..100 {
        client.send(query("USE system"));
    }
    node.settle();
    let answers = client.received();
    let refused = answers.iter().filter(|message| code(message) == Some(ErrorCode::Overloaded)).count();
    assert_eq!(answers.len(), 100);
    assert!((1..100).contains(&refused), "{refused} refused");
    client.send(query("USE system"));
    node.settle();
    assert_eq!(client.received().iter().filter_map(code).collect::<Vec<_>>(), []);
}

#[test]
fn a_client_that_does_not_read_is_not_worked_for() {
    let node = Node::start(TablesConfig::default());
    let mut client = ready(&node, Version::V4, None);
    let mut sent = 0;
    while client.flow == Flow::Continue {
        client.send(query("DESCRIBE FULL SCHEMA"));
        node.settle();
        sent += 1;
        assert!(sent < 10_000, "{} bytes wait", client.outbox.pending_bytes());
    }
    assert_eq!(client.flow, Flow::Pause);
    assert!(client.outbox.pending_bytes() < 2 * OUTBOX_BYTES_MAX, "{}", client.outbox.pending_bytes());
    let answered = client.received().len();
    client.resume();
    node.settle();
    assert_eq!(answered + client.received().len(), sent);
}

#[test]
fn a_connection_that_goes_away_leaves_nothing_behind() {
    let node = Node::start(TablesConfig::default());
    for _ in 0..50 {
        let mut client = ready(&node, Version::V5, None);
        for _ in 0..20 {
            client.send(query("DESCRIBE KEYSPACES"));
        }
        // Half a message, too.
        let (_, bytes) = client.client.request(query("USE system")).expect("fits");
        client.send_bytes(&bytes[..bytes.len() / 2]);
        client.close(&node);
    }
    node.settle();
    for name in ["holon_cql_requests_in_flight", "holon_cql_request_memory_bytes", "holon_cql_connections"] {
        assert_eq!(gauge(&node, name), 0.0, "{name}");
    }
    assert_eq!(node.test.shard.tasks(), gauge_of_idle_tasks(&node));
}

/// The tasks of a node that nobody talks to (those of its engine).
fn gauge_of_idle_tasks(node: &Node) -> usize {
    let idle = Node::start(node.config.clone());
    idle.settle();
    idle.test.shard.tasks()
}

#[test]
fn garbage_is_answered_or_waited_for_and_never_kept() {
    let node = Node::start(TablesConfig::default());
    let mut random = Random::new(7);
    for _ in 0..3_000 {
        let mut client = node.connect(Version::V4, None);
        let length = random.below(200) as usize;
        let mut bytes: Vec<u8> = (0..length).map(|_| random.next_u64() as u8).collect();
        if random.chance(1, 2) && !bytes.is_empty() {
            bytes[0] = random.range(2, 7) as u8;
        }
        client.send_bytes(&bytes);
        node.settle();
        assert!(client.outbox.pending_bytes() < 4096, "{} bytes answer garbage", client.outbox.pending_bytes());
        client.close(&node);
    }
    assert_eq!(gauge(&node, "holon_cql_request_memory_bytes"), 0.0);
}

#[test]
fn damaged_sessions_break_nobody_else() {
    let node = Node::start(TablesConfig::default());
    let mut random = Random::new(11);
    let mut bystander = ready(&node, Version::V4, None);
    for round in 0..2_000 {
        let kinds = [(Version::V4, None), (Version::V5, None), (Version::V5, Some(Compression::Lz4))];
        let (version, compression) = kinds[round % kinds.len()];
        let mut client = ready(&node, version, compression);
        let mut bytes = Vec::new();
        let prepare = Request::Prepare(Prepare { statement: "USE system".to_string(), keyspace: None });
        for request in [query("USE system"), prepare, query("DESCRIBE TABLES"), query("SELECT")] {
            bytes.extend_from_slice(&client.client.request(request).expect("fits").1);
        }
        for _ in 0..random.range(1, 4) {
            let place = random.below(bytes.len() as u64) as usize;
            bytes[place] ^= 1 << random.below(8);
        }
        client.send_bytes(&bytes);
        node.settle();
        client.close(&node);
    }
    bystander.send(query("USE system"));
    node.settle();
    assert!(matches!(bystander.received()[..], [ResponseMessage { response: Response::Result(_), .. }]));
}

#[test]
fn large_messages_are_taken_up_to_the_limit_and_refused_beyond() {
    let node = Node::start(TablesConfig::default());
    for version in [Version::V4, Version::V5] {
        let mut client = ready(&node, version, None);
        let long = format!("USE system -- {}", "x".repeat(3 << 20));
        client.send(query(&long));
        node.settle();
        let answers = client.received();
        assert!(matches!(answers[..], [ResponseMessage { response: Response::Result(_), .. }]), "{answers:?}");
        client.send(query(&"x".repeat(ENVELOPE_BODY_BYTES_MAX + 1)));
        node.settle();
        assert_eq!(client.received().iter().filter_map(code).collect::<Vec<_>>(), [ErrorCode::Invalid]);
        client.send(query("USE system"));
        node.settle();
        assert!(matches!(client.received()[..], [ResponseMessage { response: Response::Result(_), .. }]));
    }
    assert_eq!(gauge(&node, "holon_cql_request_memory_bytes"), 0.0);
}
