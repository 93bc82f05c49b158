//! A node whose wall clock goes back: timestamps do not, a clock that is far behind what was stamped takes no writes and says
//! so, reads go on, and both ways back work.

mod support;

use holon_base::Wall;
use holon_cql::request::{Query, QueryParameters};
use holon_cql::response::{ErrorCode, ErrorResponse, ResultResponse};
use holon_cql::{Consistency, Request, Response, ResponseMessage, Version};
use holon_tables::service::TablesConfig;
use std::time::Duration;
use support::{Connected, Node};

const SECOND: i64 = 1_000_000;

/// With the bound of 500 ms a timestamp may lead the clock by 1.5 s, and what leads it by a second more is waited for. The promise, after which a
/// start begins, is up to 0.5 s ahead.
const BRIDGED: i64 = SECOND;
const WAITED_FOR: i64 = SECOND;

struct Client(Connected);

impl Client {
    fn of(node: &Node) -> Client {
        let mut client = node.connect(Version::V4, None);
        let startup = client.client.startup();
        client.send(startup);
        client.received();
        Client(client)
    }

    fn ask(&mut self, node: &Node, statement: &str, timestamp_us: Option<i64>) -> Response {
        let parameters = QueryParameters { timestamp_us, ..QueryParameters::new(Consistency::One) };
        self.0.send(Request::Query(Query { statement: statement.to_string(), parameters }));
        for _ in 0..50 {
            node.test.advance(Duration::from_millis(100));
            if let Some(ResponseMessage { response, .. }) = self.0.received().pop() {
                return response;
            }
        }
        panic!("{statement}: no answer");
    }

    fn ok(&mut self, node: &Node, statement: &str) {
        let response = self.ask(node, statement, None);
        assert!(matches!(response, Response::Result(_)), "{statement}: {response:?}");
    }

    fn refusal(&mut self, node: &Node, statement: &str, timestamp_us: Option<i64>) -> ErrorResponse {
        match self.ask(node, statement, timestamp_us) {
            Response::Error(error) => error,
            other => panic!("{statement}: {other:?}"),
        }
    }

    /// The value and the timestamp of row 1.
    fn row(&mut self, node: &Node) -> (i64, i64) {
        let response = self.ask(node, "SELECT v, writetime(v) AS w FROM k.t WHERE k = 1", None);
        let Response::Result(ResultResponse::Rows(rows)) = response else { panic!("{response:?}") };
        assert_eq!(rows.rows.len(), 1, "{rows:?}");
        let number = |at: usize| {
            let bytes = rows.rows[0][at].as_ref().and_then(|bytes| bytes.first_chunk::<8>());
            i64::from_be_bytes(*bytes.expect("a number"))
        };
        (number(0), number(1))
    }
}

fn start() -> (Node, Client) {
    let node = Node::start(TablesConfig::default());
    let mut client = Client::of(&node);
    client.ok(&node, "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
    client.ok(&node, "CREATE TABLE k.t (k int PRIMARY KEY, v bigint)");
    client.ok(&node, "INSERT INTO k.t (k, v) VALUES (1, 1)");
    (node, client)
}

#[test]
fn timestamps_do_not_go_back_with_the_clock_while_the_node_runs() {
    let (node, mut client) = start();
    let (_, before) = client.row(&node);
    node.test.shard.advance(node.test.shard.now(), Wall(before - SECOND));
    client.ok(&node, "INSERT INTO k.t (k, v) VALUES (1, 2)");
    let (value, after) = client.row(&node);
    assert_eq!(value, 2);
    assert!(after > before, "{after} after {before}");
}

#[test]
fn a_restart_with_a_clock_that_went_back_a_little_serves_soon_and_stamps_later() {
    for back in [0, SECOND / 2, BRIDGED - 100_000, BRIDGED + WAITED_FOR - 100_000] {
        let (node, mut client) = start();
        let (_, before) = client.row(&node);
        let node = node.crash_at(Wall(before - back));
        let mut client = Client::of(&node);
        let asked = node.test.shard.now();
        client.ok(&node, "INSERT INTO k.t (k, v) VALUES (1, 2)");
        let waited = node.test.shard.now().since(asked);
        let longest = if back < BRIDGED { 0 } else { WAITED_FOR };
        assert!(waited <= Duration::from_micros(longest as u64 + 100_000), "it waited {waited:?}, back {back}");
        let (value, after) = client.row(&node);
        assert_eq!(value, 2, "back {back}");
        assert!(after > before, "{after} after {before}, back {back}");
    }
}

#[test]
fn a_clock_that_went_far_back_takes_no_writes_until_it_is_right() {
    let (node, mut client) = start();
    let (_, before) = client.row(&node);
    let node = node.crash_at(Wall(before - 3600 * SECOND));
    let mut client = Client::of(&node);
    for (statement, timestamp) in [
        ("INSERT INTO k.t (k, v) VALUES (1, 2)", None),
        ("INSERT INTO k.t (k, v) VALUES (1, 2)", Some(before + 1)),
        ("UPDATE k.t USING TIMESTAMP 7 SET v = 2 WHERE k = 1", None),
        ("UPDATE k.t SET v = 2 WHERE k = 1 IF v = 1", None),
        ("DELETE FROM k.t WHERE k = 1", None),
        ("BEGIN BATCH INSERT INTO k.t (k, v) VALUES (1, 2); APPLY BATCH", None),
    ] {
        let error = client.refusal(&node, statement, timestamp);
        assert_eq!(error.code(), ErrorCode::IsBootstrapping, "{statement}: {error:?}");
        assert!(error.message.contains("behind timestamps that it has given"), "{}", error.message);
    }
    assert_eq!(client.row(&node), (1, before), "reads go on, and nothing was written");
    let shown: Vec<String> =
        node.metadata_status().into_iter().map(|(name, value)| format!("{name} {value}")).collect();
    assert!(shown.iter().any(|row| row.starts_with("clock TAKES NO WRITES: ")), "{shown:?}");
    // Somebody sets it right.
    node.test.shard.advance(node.test.shard.now(), Wall(before + SECOND));
    client.ok(&node, "INSERT INTO k.t (k, v) VALUES (1, 2)");
    assert_eq!(client.row(&node).0, 2);
}

#[test]
fn an_administrator_lets_timestamps_begin_anew_when_the_earlier_clock_was_the_wrong_one() {
    let (node, mut client) = start();
    let (_, before) = client.row(&node);
    let right = Wall(before - 3600 * SECOND);
    let node = node.crash_at(right);
    let mut client = Client::of(&node);
    client.refusal(&node, "INSERT INTO k.t (k, v) VALUES (2, 2)", None);
    node.cluster_command(&["clock", "begin-anew"]).expect("done");
    client.ok(&node, "INSERT INTO k.t (k, v) VALUES (2, 2)");
    // As the documentation says: what the wrong clock stamped wins until the right one gets there.
    client.ok(&node, "INSERT INTO k.t (k, v) VALUES (1, 2)");
    assert_eq!(client.row(&node), (1, before));
    // And it holds after a restart.
    let node = node.crash_at(Wall(right.micros() + 10 * SECOND));
    let mut client = Client::of(&node);
    client.ok(&node, "INSERT INTO k.t (k, v) VALUES (2, 3)");
    node.test.shard.advance(node.test.shard.now(), Wall(before + SECOND));
    client.ok(&node, "INSERT INTO k.t (k, v) VALUES (1, 3)");
    assert_eq!(client.row(&node).0, 3);
}

#[test]
fn an_idle_node_promises_nothing() {
    let (node, _client) = start();
    node.test.advance(Duration::from_secs(10));
    let promises = node.metric("holon_clock_promises_total");
    assert!((1.0..=3.0).contains(&promises), "{promises}");
    node.test.advance(Duration::from_secs(100));
    assert_eq!(node.metric("holon_clock_promises_total"), promises);
}
