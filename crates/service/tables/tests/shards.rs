//! What one shard of a node is told, all of them know: changes of the schema, prepared statements.

mod support;

use bytes::Bytes;
use holon_base::{GroupId, ShardId, TabletId};
use holon_cql::request::{EventType, Execute, Prepare, Query, QueryParameters, Register};
use holon_cql::response::{ErrorCode, Event, ResultResponse};
use holon_cql::{Consistency, Request, Response, Version};
use support::Connected;
use support::shards::Shards;

fn query(text: &str) -> Request {
    Request::Query(Query { statement: text.to_string(), parameters: QueryParameters::new(Consistency::One) })
}

fn ask(node: &Shards, client: &mut Connected, request: Request) -> Response {
    let stream = client.send(request);
    node.settle();
    let answers: Vec<_> = client.received().into_iter().filter(|message| message.stream == stream).collect();
    assert_eq!(answers.len(), 1, "{answers:?}");
    answers.into_iter().next().expect("counted").response
}

fn ready(node: &Shards, shard: usize) -> Connected {
    let mut client = node.connect(shard, Version::V5, None);
    let startup = client.client.startup();
    assert_eq!(ask(node, &mut client, startup), Response::Ready);
    client
}

fn prepare(node: &Shards, client: &mut Connected, text: &str) -> (Bytes, Bytes) {
    let request = Request::Prepare(Prepare { statement: text.to_string(), keyspace: None });
    match ask(node, client, request) {
        Response::Result(ResultResponse::Prepared(prepared)) => (prepared.id, prepared.result_metadata_id),
        other => panic!("{other:?}"),
    }
}

fn execute(ids: &(Bytes, Bytes)) -> Request {
    let (id, metadata_id) = ids.clone();
    let parameters = QueryParameters::new(Consistency::One);
    Request::Execute(Execute { id, result_metadata_id: Some(metadata_id), parameters })
}

fn set_keyspace(response: &Response) -> bool {
    matches!(response, Response::Result(ResultResponse::SetKeyspace(_)))
}

const CREATE: &str = "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}";

#[test]
fn a_change_on_one_shard_is_known_and_told_on_all() {
    let node = Shards::start(3);
    let mut watchers: Vec<Connected> = (0..3).map(|shard| ready(&node, shard)).collect();
    for watcher in &mut watchers {
        let register = Request::Register(Register { events: vec![EventType::SchemaChange] });
        assert_eq!(ask(&node, watcher, register), Response::Ready);
    }
    let mut client = ready(&node, 2);
    let created = ask(&node, &mut client, query(CREATE));
    assert!(matches!(created, Response::Result(ResultResponse::SchemaChange(_))), "{created:?}");
    for (shard, watcher) in watchers.iter_mut().enumerate() {
        let events = watcher.received();
        assert!(matches!(&events[..], [message] if matches!(message.response, Response::Event(Event::Schema(_)))));
        assert!(set_keyspace(&ask(&node, watcher, query("USE k"))), "shard {shard}");
    }
    let versions: Vec<u128> = node.services.iter().map(|service| service.schema().version()).collect();
    assert!(versions.iter().all(|version| *version == versions[0]), "{versions:?}");
}

#[test]
fn a_statement_prepared_on_one_shard_is_executed_on_all() {
    let node = Shards::start(3);
    let mut client = ready(&node, 1);
    let ids = prepare(&node, &mut client, "USE system");
    for shard in 0..3 {
        let mut other = ready(&node, shard);
        // Before USE: the keyspace in use is part of the id.
        assert_eq!(prepare(&node, &mut other, "USE system"), ids, "the same id on shard {shard}");
        let mut other = ready(&node, shard);
        assert!(set_keyspace(&ask(&node, &mut other, execute(&ids))), "shard {shard}");
    }
}

#[test]
fn a_shard_that_did_not_hear_of_a_statement_asks_for_it() {
    let mut node = Shards::start(3);
    let mut client = ready(&node, 1);
    node.deaf = Some(ShardId(2));
    let ids = prepare(&node, &mut client, "USE system");
    node.deaf = None;
    let mut other = ready(&node, 2);
    assert!(set_keyspace(&ask(&node, &mut other, execute(&ids))));
    let unknown = (Bytes::from_static(&[7; 16]), Bytes::new());
    match ask(&node, &mut other, execute(&unknown)) {
        Response::Error(error) => assert_eq!(error.code(), ErrorCode::Unprepared),
        answer => panic!("{answer:?}"),
    }
}

#[test]
fn what_is_left_of_dropped_tables_is_removed_at_the_next_start() {
    let node = support::Node::start(holon_tables::service::TablesConfig::default());
    let engine = node.service.engine().expect("open");
    // Of an entry that was never applied here any more, with the log of its group; and one that hints may be in.
    let (left, hints) = (TabletId::new(GroupId(900), 3), TabletId::new(GroupId(0), 0));
    for tablet in [left, left.shadow(), hints] {
        let engine = engine.clone();
        node.test.block_on(async move { engine.create_tablet(tablet).await }).expect("made");
    }
    let node = node.restart();
    let engine = node.service.engine().expect("open");
    assert!(engine.tablets().contains(&hints));
    assert!(!engine.tablets().contains(&left) && !engine.tablets().contains(&left.shadow()));
}
