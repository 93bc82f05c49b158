//! The Rust driver, with its defaults, against a server: `rust_driver HOST:PORT`; or `rust_driver HOST:PORT write TABLE N`,
//! which writes rows 0 to N of a table with columns k and v, for whoever counts where they come; or `… follow TABLE`, which
//! tells of the cluster as the driver sees it (`follow.rs`).
//!
//! Each case prints `ok NAME` or `FAILED NAME: why`; the last line is `N passed, N failed`, and the exit status says the
//! same. It is no benchmark, and it knows nothing of the server but CQL.

mod follow;

use futures::{StreamExt, TryStreamExt};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::routing::Token;
use scylla::statement::Statement;
use scylla::statement::batch::{Batch, BatchType};
use scylla::value::{Counter, CqlTimestamp, MaybeUnset, Row};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::process::ExitCode;
use std::time::Duration;
use uuid::Uuid;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

const KEYSPACE: &str = "rust_driver";
/// Longer than any case may take.
const CASE_LIMIT: Duration = Duration::from_secs(60);

fn same<T: PartialEq + Debug>(got: T, expected: T) -> Outcome {
    if got == expected { Ok(()) } else { Err(format!("got {got:?}, expected {expected:?}").into()) }
}

/// A table of the given name, new and empty.
async fn table(session: &Session, name: &str, columns: &str) -> Outcome {
    session.query_unpaged(format!("DROP TABLE IF EXISTS {name}"), ()).await?;
    session.query_unpaged(format!("CREATE TABLE {name} ({columns})"), ()).await?;
    session.await_schema_agreement().await?;
    Ok(())
}

async fn metadata(session: &Session) -> Outcome {
    table(session, "metadata", "a int, b text, c int, s int static, v list<int>, PRIMARY KEY ((a, b), c)").await?;
    session.refresh_metadata().await?;
    let state = session.get_cluster_state();
    same(state.get_nodes_info().len(), 1)?;
    let keyspace = state.get_keyspace(KEYSPACE).ok_or("the keyspace is not in the metadata")?;
    let table = keyspace.tables.get("metadata").ok_or("the table is not in the metadata")?;
    same(table.partition_key.clone(), vec!["a".to_string(), "b".to_string()])?;
    same(table.clustering_key.clone(), vec!["c".to_string()])?;
    same(table.columns.len(), 5)
}

async fn simple_statements(session: &Session) -> Outcome {
    table(session, "simple", "k int PRIMARY KEY, v text").await?;
    session.query_unpaged("INSERT INTO simple (k, v) VALUES (?, ?)", (1, "one")).await?;
    let rows = session.query_unpaged("SELECT k, v FROM simple", ()).await?.into_rows_result()?;
    same(rows.single_row::<(i32, String)>()?, (1, "one".to_string()))
}

async fn prepared_statements(session: &Session) -> Outcome {
    table(session, "prepared", "k bigint PRIMARY KEY, v text").await?;
    let insert = session.prepare("INSERT INTO prepared (k, v) VALUES (?, ?)").await?;
    let select = session.prepare("SELECT v FROM prepared WHERE k = ?").await?;
    futures::stream::iter(0..2000_i64)
        .map(|key| session.execute_unpaged(&insert, (key, format!("value {key}"))).into_future_boxed())
        .buffer_unordered(128)
        .try_collect::<Vec<_>>()
        .await?;
    for key in (0..2000_i64).step_by(37) {
        let rows = session.execute_unpaged(&select, (key,)).await?.into_rows_result()?;
        same(rows.single_row::<(String,)>()?.0, format!("value {key}"))?;
    }
    same(session.execute_unpaged(&select, (-1_i64,)).await?.into_rows_result()?.rows_num(), 0)
}

async fn tokens_are_the_servers(session: &Session) -> Outcome {
    table(session, "tokens", "a int, b text, c int, PRIMARY KEY ((a, b), c)").await?;
    let insert = session.prepare("INSERT INTO tokens (a, b, c) VALUES (?, ?, 0)").await?;
    let select = session.prepare("SELECT token(a, b) FROM tokens WHERE a = ? AND b = ?").await?;
    for key in 0..50_i32 {
        let values = (key, format!("k{key}"));
        session.execute_unpaged(&insert, &values).await?;
        let rows = session.execute_unpaged(&select, &values).await?.into_rows_result()?;
        let token = insert.calculate_token(&values)?.ok_or("the driver found no partition key in the statement")?;
        same(Token::new(rows.single_row::<(i64,)>()?.0), token)?;
    }
    same(insert.is_token_aware(), true)
}

async fn paging(session: &Session) -> Outcome {
    table(session, "paging", "p int, c int, v text, PRIMARY KEY (p, c)").await?;
    let insert = session.prepare("INSERT INTO paging (p, c, v) VALUES (?, ?, ?)").await?;
    for clustering in 0..500_i32 {
        session.execute_unpaged(&insert, (clustering % 5, clustering, "x".repeat(50))).await?;
    }
    for page_size in [1, 7, 100, 5000] {
        let mut select = session.prepare("SELECT p, c FROM paging").await?;
        select.set_page_size(page_size);
        let mut stream = session.execute_iter(select, ()).await?.rows_stream::<(i32, i32)>()?;
        let mut seen = HashSet::new();
        let mut count = 0;
        while let Some(row) = stream.try_next().await? {
            seen.insert(row);
            count += 1;
        }
        same((seen.len(), count), (500, 500))?;
    }
    Ok(())
}

async fn batches(session: &Session) -> Outcome {
    table(session, "batches", "k int PRIMARY KEY, v text").await?;
    for kind in [BatchType::Logged, BatchType::Unlogged] {
        let mut batch = Batch::new(kind);
        batch.append_statement("INSERT INTO batches (k, v) VALUES (?, ?)");
        batch.append_statement("INSERT INTO batches (k, v) VALUES (2, 'two')");
        batch.append_statement("DELETE FROM batches WHERE k = ?");
        session.batch(&batch, ((1, "one"), (), (3,))).await?;
        let rows = session.query_unpaged("SELECT k, v FROM batches", ()).await?.into_rows_result()?;
        let mut got = rows.rows::<(i32, String)>()?.collect::<Result<Vec<_>, _>>()?;
        got.sort();
        same(got, vec![(1, "one".to_string()), (2, "two".to_string())])?;
    }
    Ok(())
}

type Everything = (
    i32,
    Option<String>,
    Option<Vec<i64>>,
    Option<HashSet<String>>,
    Option<BTreeMap<String, f64>>,
    Option<(i32, String)>,
    Option<Uuid>,
    Option<CqlTimestamp>,
    Option<Vec<u8>>,
);

async fn values(session: &Session) -> Outcome {
    let columns = "k int PRIMARY KEY, t text, l list<bigint>, s set<text>, m map<text, double>, u tuple<int, text>, i uuid, \
                   w timestamp, b blob";
    table(session, "everything", columns).await?;
    let insert = session.prepare("INSERT INTO everything (k, t, l, s, m, u, i, w, b) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)").await?;
    let full: Everything = (
        1,
        Some("ünïcode".to_string()),
        Some(vec![3, 1, 2]),
        Some(HashSet::from(["a".to_string(), "b".to_string()])),
        Some(BTreeMap::from([("x".to_string(), 1.5)])),
        Some((1, "t".to_string())),
        Some(Uuid::new_v4()),
        Some(CqlTimestamp(1_700_000_000_123)),
        Some(vec![0, 255]),
    );
    let empty: Everything = (2, None, None, None, None, None, None, None, None);
    for row in [&full, &empty] {
        session.execute_unpaged(&insert, row).await?;
        let select = "SELECT k, t, l, s, m, u, i, w, b FROM everything WHERE k = ?";
        let rows = session.query_unpaged(select, (row.0,)).await?.into_rows_result()?;
        same(&rows.single_row::<Everything>()?, row)?;
    }
    let unset = session.prepare("INSERT INTO everything (k, t) VALUES (?, ?)").await?;
    session.execute_unpaged(&unset, (1, MaybeUnset::<String>::Unset)).await?;
    let rows = session.query_unpaged("SELECT t FROM everything WHERE k = 1", ()).await?.into_rows_result()?;
    same(rows.single_row::<(Option<String>,)>()?.0, full.1)
}

async fn conditions(session: &Session) -> Outcome {
    table(session, "conditions", "k int PRIMARY KEY, v int").await?;
    for (expected, value) in [(true, 1), (false, 2)] {
        let result = session.query_unpaged("INSERT INTO conditions (k, v) VALUES (1, ?) IF NOT EXISTS", (value,)).await?;
        let rows = result.into_rows_result()?;
        let row: Row = rows.first_row()?;
        let applied = row.columns.first().and_then(|value| value.as_ref()?.as_boolean());
        same(applied, Some(expected))?;
    }
    Ok(())
}

async fn counters(session: &Session) -> Outcome {
    table(session, "counters", "k int PRIMARY KEY, n counter").await?;
    let add = session.prepare("UPDATE counters SET n = n + ? WHERE k = 1").await?;
    for step in 1..=10_i64 {
        session.execute_unpaged(&add, (Counter(step),)).await?;
    }
    let rows = session.query_unpaged("SELECT n FROM counters", ()).await?.into_rows_result()?;
    same(rows.single_row::<(Counter,)>()?.0, Counter(55))
}

async fn errors(session: &Session) -> Outcome {
    for text in ["SELEC 1", "SELECT * FROM no_such_table", "INSERT INTO simple (k) VALUES ('text')"] {
        if session.query_unpaged(Statement::new(text), ()).await.is_ok() {
            return Err(format!("`{text}` was accepted").into());
        }
    }
    Ok(())
}

async fn statement_after_alter(session: &Session) -> Outcome {
    table(session, "altered", "k int PRIMARY KEY, v int").await?;
    session.query_unpaged("INSERT INTO altered (k, v) VALUES (1, 2)", ()).await?;
    let select = session.prepare("SELECT * FROM altered").await?;
    session.query_unpaged("ALTER TABLE altered ADD w int", ()).await?;
    session.query_unpaged("UPDATE altered SET w = 3 WHERE k = 1", ()).await?;
    let rows = session.execute_unpaged(&select, ()).await?.into_rows_result()?;
    let by_name: HashMap<&str, usize> =
        rows.column_specs().iter().enumerate().map(|(index, column)| (column.name(), index)).collect();
    let row: Row = rows.single_row()?;
    let value = by_name.get("w").and_then(|index| row.columns.get(*index)?.as_ref()?.as_int());
    same(value, Some(3))
}

/// Boxes a future, so that a stream of them can be buffered.
trait IntoFutureBoxed<'a>: Future + Send + Sized + 'a {
    fn into_future_boxed(self) -> std::pin::Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>> {
        Box::pin(self)
    }
}
impl<'a, F: Future + Send + 'a> IntoFutureBoxed<'a> for F {}

async fn connect(address: &str) -> Result<Session, Box<dyn std::error::Error + Send + Sync>> {
    let session = SessionBuilder::new().known_node(address).build().await?;
    let replication = "{'class': 'NetworkTopologyStrategy', 'replication_factor': 1}";
    session.query_unpaged(format!("CREATE KEYSPACE IF NOT EXISTS {KEYSPACE} WITH replication = {replication}"), ()).await?;
    session.use_keyspace(KEYSPACE, false).await?;
    Ok(session)
}

async fn run_all(address: &str) -> (u32, u32) {
    let session = match tokio::time::timeout(CASE_LIMIT, connect(address)).await {
        Ok(Ok(session)) => session,
        Ok(Err(error)) => {
            println!("FAILED connect: {error}");
            return (0, 1);
        }
        Err(_) => {
            println!("FAILED connect: no answer in {CASE_LIMIT:?}");
            return (0, 1);
        }
    };
    println!("ok connect");
    let (mut passed, mut failed) = (1, 0);
    macro_rules! cases {
        ($($case:ident),+ $(,)?) => { $(
            match tokio::time::timeout(CASE_LIMIT, $case(&session)).await {
                Ok(Ok(())) => { println!("ok {}", stringify!($case)); passed += 1; }
                Ok(Err(error)) => { println!("FAILED {}: {error}", stringify!($case)); failed += 1; }
                Err(_) => { println!("FAILED {}: not done in {CASE_LIMIT:?}", stringify!($case)); failed += 1; }
            }
        )+ };
    }
    cases!(
        metadata,
        simple_statements,
        prepared_statements,
        tokens_are_the_servers,
        paging,
        batches,
        values,
        conditions,
        counters,
        errors,
        statement_after_alter,
    );
    (passed, failed)
}

async fn write_rows(address: &str, table: &str, rows: i32) -> Outcome {
    let session = SessionBuilder::new().known_node(address).build().await?;
    let insert = session.prepare(format!("INSERT INTO {table} (k, v) VALUES (?, ?)")).await?;
    futures::stream::iter(0..rows)
        .map(|key| session.execute_unpaged(&insert, (key, key)).into_future_boxed())
        .buffer_unordered(32)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        [address] => return all_cases(address).await,
        [address, "write", table, rows] => write_rows(address, table, rows.parse().unwrap_or(0)).await,
        [address, "follow", table] => follow::follow(address, table).await,
        _ => Err("usage: rust_driver HOST:PORT [write TABLE N | follow TABLE]".into()),
    };
    done.map_or_else(
        |error| {
            eprintln!("{error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

async fn all_cases(address: &str) -> ExitCode {
    let (passed, failed) = run_all(address).await;
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
