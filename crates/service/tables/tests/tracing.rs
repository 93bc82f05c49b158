//! Traced requests: what they answer with, and what `system_traces` then holds, on whichever shard it is asked.

mod support;

use bytes::Bytes;
use holon_cql::notation::BytesMap;
use holon_cql::request::{
    Batch, BatchKind, BatchQuery, BatchStatement, Execute, Prepare, Query, QueryParameters, Values,
};
use holon_cql::response::ResultResponse;
use holon_cql::{BoundValue, Consistency, Request, RequestMessage, Response, ResponseMessage, Value, Version};
use holon_tables::limits;
use std::time::Duration;
use support::Connected;
use support::shards::Shards;

fn query(text: &str) -> Request {
    Request::Query(Query { statement: text.to_string(), parameters: QueryParameters::new(Consistency::One) })
}

fn ask(node: &Shards, client: &mut Connected, request: Request, tracing: bool) -> ResponseMessage {
    let message = RequestMessage { stream: 77, tracing, custom_payload: BytesMap::new(), request };
    client.send_message(&message);
    node.settle();
    let answers: Vec<_> = client.received().into_iter().filter(|message| message.stream == 77).collect();
    assert_eq!(answers.len(), 1, "{answers:?}");
    answers.into_iter().next().expect("counted")
}

fn ready(node: &Shards, shard: usize) -> Connected {
    let mut client = node.connect(shard, Version::V5, None);
    let startup = client.client.startup();
    assert_eq!(ask(node, &mut client, startup, false).response, Response::Ready);
    client
}

fn rows(message: ResponseMessage) -> Vec<Vec<Value>> {
    let Response::Result(ResultResponse::Rows(rows)) = message.response else { panic!("{message:?}") };
    let types: Vec<_> = rows.metadata.columns.iter().map(|column| column.cql_type.clone()).collect();
    let value = |(cell, cql_type): (Option<Bytes>, _)| match cell {
        Some(bytes) => Value::decode(cql_type, &bytes).expect("a value of its type"),
        None => Value::Text("null".to_string()),
    };
    rows.rows.into_iter().map(|row| row.into_iter().zip(&types).map(value).collect()).collect()
}

fn hexadecimal(id: [u8; 16]) -> String {
    let digits: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

/// Session (duration, request, parameters) and activities of a trace, as a client on `shard` sees them.
fn trace(node: &Shards, shard: usize, id: [u8; 16]) -> Option<(String, Vec<String>)> {
    let (mut client, id) = (ready(node, shard), hexadecimal(id));
    let text = format!("SELECT duration, request, parameters FROM system_traces.sessions WHERE session_id = {id}");
    let sessions = rows(ask(node, &mut client, query(&text), false));
    let text = format!("SELECT activity, event_id, thread FROM system_traces.events WHERE session_id = {id}");
    let events = rows(ask(node, &mut client, query(&text), false));
    let activities = events.iter().map(|row| match &row[..] {
        [Value::Text(activity), Value::TimeUuid(_), Value::Text(thread)] => format!("{thread}: {activity}"),
        other => panic!("{other:?}"),
    });
    let activities = activities.collect();
    sessions.first().map(|session| (format!("{session:?}"), activities))
}

/// A node with a table, and a client of shard 0.
fn with_table() -> (Shards, Connected) {
    let node = Shards::start(3);
    let mut client = ready(&node, 0);
    let create = "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}";
    ask(&node, &mut client, query(create), false);
    ask(&node, &mut client, query("CREATE TABLE k.t (p int, c int, v text, PRIMARY KEY (p, c))"), false);
    (node, client)
}

#[test]
fn a_traced_write_and_read_tell_what_happened_on_every_shard_that_is_asked() {
    let (node, mut client) = with_table();
    // Of eight partitions some lie on other shards than the one the client is connected to.
    for p in 0..8 {
        let text = format!("INSERT INTO k.t (p, c, v) VALUES ({p}, 1, 'x')");
        let id = ask(&node, &mut client, query(&text), true).tracing_id.expect("a tracing id");
        for shard in 0..3 {
            let (session, activities) = trace(&node, shard, id).expect("the trace is there");
            assert!(session.contains("Execute CQL3 query") && session.contains(&text), "{session}");
            assert!(session.contains("\"consistency_level\"") && session.contains("\"ONE\""), "{session}");
            let all = activities.join("\n");
            for part in [&format!("Parsing {text}"), "Planned the statement", "Appending", "The log is synced"] {
                assert!(all.contains(part), "{part} in\n{all}");
            }
        }
    }
    let read = query("SELECT * FROM k.t");
    let id = ask(&node, &mut client, read, true).tracing_id.expect("a tracing id");
    let (_, activities) = trace(&node, 1, id).expect("the trace is there");
    let all = activities.join("\n");
    assert!(["shard-0: ", "shard-1: ", "shard-2: "].iter().all(|thread| all.contains(thread)), "{all}");
    assert!(all.contains("a scan of") && all.contains("Read everything that was asked for: 8 results"), "{all}");
    assert!(all.contains("bytes in memtables and 0 sorted files"), "{all}");
    let merged =
        activities.iter().filter_map(|line| line.split("Merged ").nth(1)?.split(' ').next()?.parse::<u32>().ok());
    assert_eq!(merged.sum::<u32>(), 8, "{all}");
}

#[test]
fn what_is_not_traced_leaves_nothing_and_answers_without_an_id() {
    let (node, mut client) = with_table();
    assert_eq!(ask(&node, &mut client, query("SELECT * FROM k.t"), false).tracing_id, None);
    assert_eq!(rows(ask(&node, &mut client, query("SELECT * FROM system_traces.sessions"), false)).len(), 0);
    assert_eq!(rows(ask(&node, &mut client, query("SELECT * FROM system_traces.events"), false)).len(), 0);
}

#[test]
fn prepared_statements_batches_and_failures_are_traced_too() {
    let (node, mut client) = with_table();
    let text = "INSERT INTO k.t (p, c, v) VALUES (?, ?, ?)";
    let answer =
        ask(&node, &mut client, Request::Prepare(Prepare { statement: text.to_string(), keyspace: None }), true);
    let (session, _) = trace(&node, 0, answer.tracing_id.expect("an id")).expect("a trace");
    assert!(session.contains("Preparing CQL3 query") && session.contains(text), "{session}");
    let Response::Result(ResultResponse::Prepared(prepared)) = answer.response else { panic!("{answer:?}") };
    let int = |value: i32| BoundValue::from_slice(&value.to_be_bytes());
    let values = vec![int(1), int(2), BoundValue::from_slice(b"it's")];
    let parameters =
        QueryParameters { values: Values::Positional(values.clone()), ..QueryParameters::new(Consistency::Quorum) };
    let execute =
        Execute { id: prepared.id.clone(), result_metadata_id: Some(prepared.result_metadata_id.clone()), parameters };
    let answer = ask(&node, &mut client, Request::Execute(execute), true);
    let (session, activities) = trace(&node, 0, answer.tracing_id.expect("an id")).expect("a trace");
    for part in ["Execute CQL3 prepared query", "bound_var_0_p", "bound_var_2_v", "'it''s'", "QUORUM", text] {
        assert!(session.contains(part), "{part} in {session}");
    }
    assert!(activities.iter().any(|line| line.contains("The plan was made before")), "{activities:?}");
    let item = |statement| BatchQuery { statement, values: values.clone() };
    let batch = Batch {
        kind: BatchKind::Logged,
        queries: vec![item(BatchStatement::Prepared(prepared.id.clone())); 2],
        consistency: Consistency::One,
        serial_consistency: None,
        timestamp_us: None,
        keyspace: None,
        now_in_seconds: None,
    };
    let answer = ask(&node, &mut client, Request::Batch(batch), true);
    let (session, activities) = trace(&node, 0, answer.tracing_id.expect("an id")).expect("a trace");
    assert!(session.contains("Execute batch of CQL3 queries"), "{session}");
    assert!(activities.iter().any(|line| line.contains("a batch of 2 statements to 1 tablet")), "{activities:?}");
    let answer = ask(&node, &mut client, query("SELECT * FROM k.nothing"), true);
    assert!(matches!(answer.response, Response::Error(_)));
    let (_, activities) = trace(&node, 0, answer.tracing_id.expect("an id")).expect("a trace");
    assert!(activities.last().is_some_and(|line| line.contains("The request failed")), "{activities:?}");
}

#[test]
fn traces_expire() {
    let (node, mut client) = with_table();
    let id = ask(&node, &mut client, query("SELECT * FROM k.t"), true).tracing_id.expect("an id");
    assert!(trace(&node, 0, id).is_some());
    node.pass(limits::TRACE_TTL - Duration::from_secs(60));
    assert!(trace(&node, 0, id).is_some());
    node.pass(Duration::from_secs(60));
    assert!(trace(&node, 0, id).is_none());
}
