//! What a node tells of its tables: `system.size_estimates`, holdings for the status page, clients of all shards.

mod support;

use bytes::Bytes;
use holon_cql::request::{Query, QueryParameters};
use holon_cql::response::ResultResponse;
use holon_cql::{Consistency, Request, Response, Value, Version};
use holon_kernel::holding::Holding;
use holon_kernel::{Class, Scope, Service};
use std::cell::RefCell;
use std::rc::Rc;
use support::Connected;
use support::shards::Shards;

fn ask(node: &Shards, client: &mut Connected, text: &str) -> Vec<Vec<Value>> {
    let parameters = QueryParameters::new(Consistency::One);
    let stream = client.send(Request::Query(Query { statement: text.to_string(), parameters }));
    node.settle();
    let answer = client.received().into_iter().find(|message| message.stream == stream).expect("an answer");
    match answer.response {
        Response::Result(ResultResponse::Rows(rows)) => {
            let types: Vec<_> = rows.metadata.columns.iter().map(|column| column.cql_type.clone()).collect();
            let value = |(cell, cql_type): (Option<Bytes>, _)| {
                Value::decode(cql_type, &cell.expect("not null")).expect("a value of its type")
            };
            rows.rows.into_iter().map(|row| row.into_iter().zip(&types).map(value).collect()).collect()
        }
        Response::Error(error) => panic!("{text}: {error:?}"),
        _ => Vec::new(),
    }
}

fn ready(node: &Shards, shard: usize) -> Connected {
    let mut client = node.connect(shard, Version::V5, None);
    let startup = client.client.startup();
    client.send(startup);
    node.settle();
    assert!(matches!(client.received()[..], [ref message] if message.response == Response::Ready));
    client
}

/// Runs an administrator's command on every shard, as `holon` does.
fn command(node: &Shards, words: &[&str]) {
    let done = Rc::new(RefCell::new(0));
    for (shard, service) in node.shards.iter().zip(&node.services) {
        let words = words.iter().map(|word| word.to_string()).collect();
        let (work, done) = (service.clone().command(words, Rc::new(|_| ())), done.clone());
        shard.spawn(Scope::Node, Class::Background, async move {
            work.await.expect("the command succeeds");
            *done.borrow_mut() += 1;
        });
    }
    node.settle();
    assert_eq!(*done.borrow(), node.shards.len());
}

/// The holdings of a table on each shard.
fn holdings(node: &Shards, name: &str) -> Vec<Holding> {
    let of = |service: &Rc<holon_tables::service::TablesService>| {
        service.holdings().into_iter().find(|holding| holding.name == name).expect("the table")
    };
    node.services.iter().map(of).collect()
}

/// 30 partitions of 4 rows each, written through a client of shard 0.
fn with_table() -> (Shards, Connected) {
    let node = Shards::start(3);
    let mut client = ready(&node, 0);
    ask(
        &node,
        &mut client,
        "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    );
    ask(&node, &mut client, "CREATE TABLE k.t (p int, c int, v text, PRIMARY KEY (p, c))");
    ask(&node, &mut client, "CREATE TABLE k.empty (p int PRIMARY KEY)");
    for p in 0..30 {
        for c in 0..4 {
            ask(&node, &mut client, &format!("INSERT INTO k.t (p, c, v) VALUES ({p}, {c}, 'some text')"));
        }
    }
    (node, client)
}

const ESTIMATES: &str = "SELECT range_start, range_end, partitions_count, mean_partition_size FROM system.size_estimates \
                         WHERE keyspace_name = 'k' AND table_name = ";

#[test]
fn size_estimates_count_what_is_in_files_over_the_whole_ring() {
    let (node, _) = with_table();
    let mut client = ready(&node, 2);
    let estimates = |client: &mut Connected, table: &str| -> Vec<(i64, i64, i64, i64)> {
        let mut rows: Vec<_> = ask(&node, client, &format!("{ESTIMATES}'{table}'"))
            .into_iter()
            .map(|row| match &row[..] {
                [Value::Text(start), Value::Text(end), Value::BigInt(partitions), Value::BigInt(mean)] => {
                    (start.parse().expect("a token"), end.parse().expect("a token"), *partitions, *mean)
                }
                other => panic!("{other:?}"),
            })
            .collect();
        rows.sort_unstable();
        assert_eq!((rows[0].0, rows[rows.len() - 1].1), (i64::MIN, i64::MAX), "{rows:?}");
        assert!(rows.windows(2).all(|pair| pair[0].1 == pair[1].0), "{rows:?}");
        rows
    };
    let sum = |rows: &[(i64, i64, i64, i64)]| rows.iter().map(|row| row.2).sum::<i64>();
    assert_eq!(sum(&estimates(&mut client, "t")), 0, "nothing is in files yet");
    command(&node, &["flush"]);
    let rows = estimates(&mut client, "t");
    assert_eq!(sum(&rows), 30);
    assert!(rows.iter().all(|row| row.2 == 0 || (50..1000).contains(&row.3)), "{rows:?}");
    assert_eq!(sum(&estimates(&mut client, "empty")), 0);
    let all =
        ask(&node, &mut client, "SELECT * FROM system.table_estimates WHERE keyspace_name = 'k' AND table_name = 't'");
    assert_eq!(all.len(), 2 * rows.len(), "of both kinds");
}

#[test]
fn holdings_tell_sizes_and_what_is_asked() {
    let (node, mut client) = with_table();
    ask(&node, &mut client, "SELECT * FROM k.t WHERE p = 1");
    let sum = |of: fn(&Holding) -> u64| holdings(&node, "t").iter().map(of).sum::<u64>();
    assert_eq!((sum(|h| h.rows), sum(|h| h.files), sum(|h| h.disk_bytes)), (120, 0, 0));
    assert!(sum(|h| h.memory_bytes) > 0);
    assert_eq!((sum(|h| h.writes.count), sum(|h| h.reads.count)), (120, 1));
    assert_eq!(holdings(&node, "t")[1].writes.count, 0, "the client is on shard 0");
    assert_eq!(holdings(&node, "empty").iter().map(|h| h.rows).sum::<u64>(), 0);
    command(&node, &["flush"]);
    assert_eq!((sum(|h| h.rows), sum(|h| h.partitions)), (120, 30));
    assert!(sum(|h| h.files) > 0 && sum(|h| h.disk_bytes) > 0);
    ask(&node, &mut client, "DROP TABLE k.t");
    assert!(node.services.iter().all(|service| service.holdings().iter().all(|holding| holding.name == "empty")));
}

#[test]
fn options_of_a_table_steer_how_it_is_stored() {
    let node = Shards::start(1);
    let mut client = ready(&node, 0);
    ask(
        &node,
        &mut client,
        "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    );
    let text = "all work and no play makes a dull table ".repeat(10);
    let mut bytes_of = |name: &str, options: &str| {
        ask(
            &node,
            &mut client,
            &format!("CREATE TABLE k.{name} (p int, c int, v text, PRIMARY KEY (p, c)) WITH {options}"),
        );
        for c in 0..200 {
            ask(&node, &mut client, &format!("INSERT INTO k.{name} (p, c, v) VALUES (1, {c}, '{text}{c}')"));
        }
        command(&node, &["flush", "k", name]);
        holdings(&node, name)[0].disk_bytes
    };
    let plain = bytes_of("plain", "compression = {'enabled': false}");
    let lz4 = bytes_of("lz4", "compression = {'class': 'LZ4Compressor'}");
    let zstd = bytes_of("zstd", "compression = {'class': 'ZstdCompressor'}");
    assert!(plain > 200 * 400 && lz4 < plain / 3 && zstd < lz4, "{plain}, {lz4}, {zstd}");
    let wide = bytes_of("wide", "compression = {'enabled': false} AND bloom_filter_fp_chance = 1.0");
    let narrow = bytes_of("narrow", "compression = {'enabled': false} AND bloom_filter_fp_chance = 0.0001");
    // From 1 to 25 bits a key.
    assert!(wide < plain && plain < narrow && narrow - wide > 200 * 2, "{wide}, {plain}, {narrow}");
}

#[test]
fn compaction_of_a_table_is_what_its_options_say_also_after_they_change() {
    let node = Shards::start(1);
    let mut client = ready(&node, 0);
    ask(
        &node,
        &mut client,
        "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    );
    let fill = |client: &mut Connected, name: &str| {
        for round in 0..3 {
            for c in 0..3 {
                ask(&node, client, &format!("INSERT INTO k.{name} (p, c) VALUES (1, {})", c * 3 + round));
            }
            command(&node, &["flush", "k", name]);
        }
        holdings(&node, name)[0].files
    };
    for (name, options, files) in [
        ("tiered", "'SizeTieredCompactionStrategy', 'min_threshold': 4", 3),
        ("levelled", "'LeveledCompactionStrategy'", 1),
        ("unified", "'UnifiedCompactionStrategy', 'scaling_parameters': 'T4, L10'", 3),
        ("flat", "'UnifiedCompactionStrategy', 'scaling_parameters': 'L4'", 1),
    ] {
        let columns = "p int, c int, PRIMARY KEY (p, c)";
        ask(&node, &mut client, &format!("CREATE TABLE k.{name} ({columns}) WITH compaction = {{'class': {options}}}"));
        assert_eq!(fill(&mut client, name), files, "{name}");
    }
    ask(&node, &mut client, "ALTER TABLE k.tiered WITH compaction = {'class': 'LeveledCompactionStrategy'}");
    assert_eq!(fill(&mut client, "tiered"), 1, "from now on levelled");
}
