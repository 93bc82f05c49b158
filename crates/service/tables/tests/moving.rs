//! A tablet of one replica begins to move: its core knows, and the core that a client asks does not yet. What is refused for that is
//! neither gone nor undone.

mod support;

use holon_base::NodeId;
use holon_cql::request::{Query, QueryParameters};
use holon_cql::response::{ErrorCode, ResultResponse};
use holon_cql::{Consistency, Request, Response, Version};
use holon_kernel::testing::TestMap;
use holon_kernel::{Replicas, Shard};
use std::rc::Rc;
use support::Connected;
use support::shards::Shards;

const ROWS: usize = 16;

fn ask(node: &Shards, client: &mut Connected, text: &str) -> Response {
    let parameters = QueryParameters::new(Consistency::One);
    let stream = client.send(Request::Query(Query { statement: text.to_string(), parameters }));
    node.settle();
    let answers: Vec<_> = client.received().into_iter().filter(|message| message.stream == stream).collect();
    assert_eq!(answers.len(), 1, "{text}: {answers:?}");
    answers.into_iter().next().expect("counted").response
}

/// A node of two cores, a client of the first, and an empty table.
fn start() -> (Shards, Connected) {
    let node = Shards::start(2);
    let mut client = node.connect(0, Version::V5, None);
    let startup = client.client.startup();
    client.send(startup);
    node.settle();
    client.received();
    let keyspace = "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}";
    for text in [keyspace, "CREATE TABLE k.t (id int PRIMARY KEY, v int)"] {
        let made = ask(&node, &mut client, text);
        assert!(matches!(made, Response::Result(ResultResponse::SchemaChange(_))), "{made:?}");
    }
    (node, client)
}

fn insert(row: usize) -> String {
    format!("INSERT INTO k.t (id, v) VALUES ({row}, {row})")
}

fn has_row(node: &Shards, client: &mut Connected, row: usize) -> bool {
    match ask(node, client, &format!("SELECT v FROM k.t WHERE id = {row}")) {
        Response::Result(ResultResponse::Rows(rows)) => rows.rows.len() == 1,
        other => panic!("row {row}: {other:?}"),
    }
}

#[test]
fn a_write_that_the_tablet_s_core_refuses_is_made_once_more() {
    let (node, mut client) = start();
    let mut refused = 0;
    for row in 0..ROWS {
        node.refuse(1, None);
        let answer = ask(&node, &mut client, &insert(row));
        assert!(matches!(answer, Response::Result(ResultResponse::Void)), "row {row}: {answer:?}");
        refused += node.refused();
    }
    assert!(refused > 2 && refused < ROWS, "{refused} went to the other core");
    node.refuse(0, None);
    assert!((0..ROWS).all(|row| has_row(&node, &mut client, row)));
}

#[test]
fn a_read_that_the_tablet_s_core_refuses_is_routed_anew() {
    let (node, mut client) = start();
    let mut refused = 0;
    for row in 0..ROWS {
        ask(&node, &mut client, &insert(row));
        node.refuse(1, None);
        assert!(has_row(&node, &mut client, row));
        refused += node.refused();
    }
    assert!(refused > 2, "{refused} went to the other core");
}

const AWAY: NodeId = NodeId(77);

/// The map of a node that has moved all tablets away.
fn elsewhere(shard: &Rc<Shard>) -> Rc<TestMap> {
    let replicas = Replicas::only(AWAY);
    let map = shard.map().expect("a map");
    let elsewhere = TestMap::new(shard, move |_| Some(replicas.clone()));
    Rc::new(elsewhere.at_epoch(map.epoch()).with_nodes(map.nodes()))
}

#[test]
fn a_write_that_is_there_is_not_said_to_be_undone_when_the_new_replicas_are_away() {
    let mut refused = 0;
    for row in 0..ROWS {
        let (node, mut client) = start();
        let shard = node.shards[0].clone();
        shard.set_alive(AWAY, false);
        node.refuse(1, Some(Box::new(move || shard.set_map(elsewhere(&shard)))));
        let answer = ask(&node, &mut client, &insert(row));
        if node.refused() == 0 {
            continue;
        }
        refused += 1;
        match answer {
            Response::Error(error) => assert_eq!(error.code(), ErrorCode::WriteTimeout, "{error:?}"),
            other => panic!("{other:?}"),
        }
        if refused == 2 {
            return;
        }
    }
    panic!("none went to the other core");
}
