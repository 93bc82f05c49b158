//! A batch over several tablets that a crash cuts in two is whole after the next start; conditions and counters side by side
//! count each other.

mod data_world;

use data_world::{World, rows_of};
use holon_base::{NodeId, TabletId};
use holon_cql::Consistency;
use holon_cql::response::WriteType;
use holon_kernel::testing::TestMap;
use holon_kernel::{Replicas, Shard, Verb};
use holon_replica::ReadRequest;
use holon_store::{Cell, CellEntry, Durability, KeyRange, Mutation, MutationBuilder, RowPatch};
use holon_tables::error::CqlError;
use holon_tables::plan::Plan;
use holon_tables::run::{self, Parameters};
use holon_tables::tablet::batch_log;
use holon_tables::types::row_key;
use std::rc::Rc;

fn world() -> World {
    let mut world = World::new(true);
    world.ok("CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
    world.ok("USE k");
    world.ok("CREATE TABLE t (k int PRIMARY KEY, v int, n list<int>)");
    world
}

/// A mutation that sets `v` of a key, as a coordinator makes it, and the tablet it goes to.
fn part(world: &World, k: i32, v: i32) -> batch_log::Part {
    let table = world.context().schema.table("k", "t").expect("the table").clone();
    let (prefix, token) = row_key::partition_prefix(&k.to_be_bytes());
    let column = table.column("v").expect("the column").id;
    let mut patch = RowPatch::default();
    patch.put(CellEntry::new(column, Cell::live(1, v.to_be_bytes().to_vec())));
    let mut builder = MutationBuilder::new();
    builder.row(row_key::rows_start(&prefix), &patch);
    let tablet = holon_base::TabletId::new(table.group, row_key::tablet_ordinal(token, table.tablets));
    (tablet, builder.finish().expect("a mutation").bytes().clone())
}

#[test]
fn a_batch_cut_off_after_its_first_part_is_finished_at_the_next_start() {
    let mut world = world();
    let parts: Vec<batch_log::Part> = (1..=8).map(|k| part(&world, k, k * 10)).collect();
    let (first, _) = parts[0];
    // What reached the disk before the crash: the entry, and none of the parts.
    let (key, row) = batch_log::entry(7, &parts, 1);
    let mut builder = MutationBuilder::new();
    builder.row(&key, &row);
    let (engine, mutation) = (world.engine.clone(), builder.finish().expect("a mutation"));
    world.test.block_on(async move { engine.write(first, mutation, Durability::Sync).await }).expect("written");
    assert_eq!(world.ok("SELECT count(*) FROM t").lines().last(), Some("0"), "the entry itself is no row");
    world.crash();
    let sum = world.ok("SELECT count(*), sum(v) FROM t");
    assert_eq!(sum.lines().last(), Some("8 | 360"));
    // It is gone from the log: what is deleted now stays deleted at the start after that.
    world.ok("DELETE FROM t WHERE k = 1");
    world.crash();
    assert_eq!(world.ok("SELECT count(*), sum(v) FROM t").lines().last(), Some("7 | 350"));
}

const ELSEWHERE: [NodeId; 2] = [NodeId(77), NodeId(78)];

/// One tablet has two further replicas; of all others this node has the only one.
fn shared(shard: &Rc<Shard>, tablet: Option<TabletId>) -> Rc<TestMap> {
    let here = shard.node();
    let readers = Rc::new([here, ELSEWHERE[0], ELSEWHERE[1]]);
    Rc::new(TestMap::new(shard, move |asked| {
        let is_shared = tablet == Some(asked);
        Some(if is_shared {
            Replicas { readers: readers.clone(), ..Replicas::default() }
        } else {
            Replicas::only(here)
        })
    }))
}

/// Whoever asks the other two would find that part without the batch.
#[test]
fn a_replica_that_alone_knows_of_a_batch_writes_no_other_part_before_a_majority_knows() {
    let mut world = world();
    // As a coordinator writes them: what goes to the tablet in which it begins comes last.
    let (first, own) = part(&world, 8, 80);
    let mut parts: Vec<(i32, batch_log::Part)> = (1..=8).map(|k| (k, part(&world, k, k * 10))).collect();
    parts.sort_by_key(|(_, (tablet, _))| *tablet == first);
    let elsewhere: Vec<i32> = parts.iter().filter(|(_, (tablet, _))| *tablet != first).map(|(k, _)| *k).collect();
    assert!(!elsewhere.is_empty());
    let parts: Vec<batch_log::Part> = parts.into_iter().map(|(_, part)| part).collect();
    let (key, row) = batch_log::entry(7, &parts, 1);
    let own = Mutation::decode(own).expect("a mutation");
    let beginning = batch_log::beginning(Some(&own), &key, &row).expect("small");
    let engine = world.engine.clone();
    world.test.block_on(async move { engine.write(first, beginning, Durability::Sync).await }).expect("written");
    let tablet = world.context().tablets.get(first).expect("open");
    let replay = |world: &World| {
        let tablet = tablet.clone();
        world.test.block_on(async move { batch_log::replay(&tablet).await })
    };

    world.test.shard.set_map(shared(&world.test.shard, Some(first)));
    ELSEWHERE.into_iter().for_each(|node| world.test.shard.set_alive(node, false));
    replay(&world).expect_err("the others are away");
    for k in &elsewhere {
        let shown = world.ok(&format!("SELECT v FROM t WHERE k = {k}"));
        assert_eq!(shown.lines().last(), Some("[v]"), "of a batch that others may not know of");
    }

    world.test.shard.set_map(shared(&world.test.shard, None));
    assert_eq!(replay(&world), Ok(1));
    assert_eq!(world.ok("SELECT count(*), sum(v) FROM t").lines().last(), Some("8 | 360"));
}

/// The others seem alive, and nobody leads; then they do not. What lives and what is needed is said as it is.
#[test]
fn without_a_leader_it_is_a_timeout_and_with_too_few_replicas_unavailable() {
    let world = world();
    let conditional = world.plan("INSERT INTO t (k, v) VALUES (1, 0) IF NOT EXISTS").expect("a plan");
    let reading = world.plan("UPDATE t SET n[0] = 1 WHERE k = 1").expect("a plan");
    let (tablet, _) = part(&world, 1, 0);
    world.test.shard.set_map(shared(&world.test.shard, Some(tablet)));
    let refused = |world: &World, plan: &Rc<Plan>| {
        let (context, plan, parameters) = (world.context(), plan.clone(), world.parameters());
        world.test.block_on(async move { run::execute(&context, &plan, &parameters).await }).expect_err("nobody leads")
    };
    world.test.shard.set_alive(ELSEWHERE[0], false);
    for (plan, write_type, level) in [
        (&conditional, WriteType::Cas, Consistency::Serial),
        (&reading, WriteType::Simple, world.parameters().consistency),
    ] {
        match refused(&world, plan) {
            CqlError::WriteTimeout { consistency, received: 0, write_type: told, .. } => {
                assert_eq!((consistency, told), (level, write_type));
            }
            other => panic!("{other:?}"),
        }
    }
    world.test.shard.set_alive(ELSEWHERE[1], false);
    for plan in [&conditional, &reading] {
        match refused(&world, plan) {
            CqlError::Unavailable { consistency: Consistency::Serial, required: 2, alive: 1 } => {}
            other => panic!("{other:?}"),
        }
    }
}

fn together(world: &World, plan: &Rc<Plan>, times: usize) -> Vec<bool> {
    let context = world.context();
    let (plan, parameters) = (plan.clone(), world.parameters());
    world.test.block_on(async move {
        let one = || run::execute(&context, &plan, &parameters);
        let outcomes = holon_kernel::join_all((0..times).map(|_| one())).await;
        outcomes
            .into_iter()
            .map(|outcome| {
                let rows = rows_of(&outcome.expect("an answer"));
                rows.is_none_or(|rows| rows.rows[0][0].as_deref() == Some(&[1]))
            })
            .collect()
    })
}

#[test]
fn of_many_at_once_one_is_applied() {
    let mut world = world();
    let insert = world.plan("INSERT INTO t (k, v) VALUES (1, 0) IF NOT EXISTS").expect("a plan");
    assert_eq!(together(&world, &insert, 20).into_iter().filter(|applied| *applied).count(), 1);
    let update = world.plan("UPDATE t SET v = 1 WHERE k = 1 IF v = 0").expect("a plan");
    assert_eq!(together(&world, &update, 20).into_iter().filter(|applied| *applied).count(), 1);
    world.ok("CREATE TABLE c (k int PRIMARY KEY, n counter)");
    let count = world.plan("UPDATE c SET n = n + 3 WHERE k = 1").expect("a plan");
    together(&world, &count, 50);
    assert_eq!(world.ok("SELECT n FROM c").lines().last(), Some("150"));
}

#[test]
fn a_caller_that_goes_away_does_not_break_the_order_of_transactions() {
    let mut world = world();
    world.ok("INSERT INTO t (k, v) VALUES (1, 0)");
    let plan = world.plan("UPDATE t SET v = 1 WHERE k = 1 IF v = 0").expect("a plan");
    let (context, parameters) = (world.context(), world.parameters());
    // The client leaves at its deadline, which is now: the outcome is unknown to it, and the next one sees it or not, but
    // never both.
    let deadline = Some(world.test.shard.now());
    let gone = Parameters { deadline, ..parameters.clone() };
    let (first, second) = world.test.block_on(async move {
        let first = run::execute(&context, &plan, &gone).await;
        let second = run::execute(&context, &plan, &parameters).await;
        (first, second)
    });
    let applied = |outcome: Result<run::Outcome, CqlError>| match outcome {
        Ok(outcome) => rows_of(&outcome).map(|rows| rows.rows[0][0].as_deref() == Some(&[1])),
        Err(error) => {
            assert_eq!(error.code(), 0x1100, "{error}");
            None
        }
    };
    let (first, second) = (applied(first), applied(second));
    assert!(!(first == Some(true) && second == Some(true)), "{first:?} {second:?}");
    assert_eq!(world.ok("SELECT v FROM t").lines().last(), Some("1"));
}

/// The digests of all tablets of `k.t`.
fn digests(world: &World) -> Vec<bytes::Bytes> {
    let table = world.context().schema.table("k", "t").expect("the table").clone();
    let request = ReadRequest::all_of(vec![KeyRange::all()], 1_700_000_000);
    let of_tablet = |ordinal: u32| {
        let tablet = holon_base::TabletId::new(table.group, ordinal);
        let (shard, payload) = (world.test.shard.clone(), request.encode());
        let deadline = shard.now() + std::time::Duration::from_secs(10);
        let asked = async move { shard.call_tablet(tablet, Verb::DIGEST, payload, deadline).await };
        world.test.block_on(asked).expect("a digest")
    };
    (0..table.tablets).map(of_tablet).collect()
}

#[test]
fn equal_data_has_equal_digests_however_it_came() {
    let write = |world: &mut World, k: i32| {
        world.ok(&format!("INSERT INTO t (k, v) VALUES ({k}, {k}) USING TIMESTAMP {}", 100 + k));
    };
    let (mut forwards, mut backwards) = (world(), world());
    (0..20).for_each(|k| write(&mut forwards, k));
    forwards.ok("DELETE FROM t USING TIMESTAMP 105 WHERE k = 5");
    backwards.ok("DELETE FROM t USING TIMESTAMP 105 WHERE k = 5");
    for k in (0..20).rev() {
        write(&mut backwards, k);
        if k % 7 == 0 {
            backwards.ok("FLUSH");
        }
    }
    assert_eq!(digests(&forwards), digests(&backwards));
    backwards.ok("UPDATE t USING TIMESTAMP 200 SET v = 0 WHERE k = 3");
    assert_ne!(digests(&forwards), digests(&backwards));
}

#[test]
fn reads_that_take_many_requests_lose_and_double_nothing() {
    let mut world = world();
    world.ok("CREATE TABLE big (k int, c int, s int static, PRIMARY KEY (k, c))");
    world.ok("CREATE TABLE plain (k int, c int, PRIMARY KEY (k, c))");
    for (k, rows) in [(1, 5_300), (2, 5_100), (3, 10)] {
        for table in ["big", "plain"] {
            for start in (0..rows).step_by(100) {
                let one = |c: i32| format!("INSERT INTO {table} (k, c) VALUES ({k}, {c});");
                let inserts: String = (start..(start + 100).min(rows)).map(one).collect();
                world.ok(&format!("BEGIN BATCH {inserts} APPLY BATCH"));
            }
        }
        world.ok(&format!("UPDATE big SET s = {k} WHERE k = {k}"));
    }
    world.ok("UPDATE big SET s = 4 WHERE k = 4");
    let last = |answer: String| answer.lines().last().unwrap_or_default().to_string();
    let rows = |answer: String| answer.lines().count() - 1;
    assert_eq!(last(world.ok("SELECT count(*), max(c), sum(s) FROM big")), "10411 | 5299 | 15534");
    assert_eq!(last(world.ok("SELECT count(*), max(c), min(k) FROM plain")), "10410 | 5299 | 1");
    assert_eq!(last(world.ok("SELECT count(*) FROM plain WHERE k IN (1, 2, 3)")), "10410");
    assert_eq!(rows(world.ok("SELECT k, c FROM plain WHERE k IN (2, 1, 9)")), 10_400);
    assert_eq!(rows(world.ok("SELECT k, c FROM big")), 10_411);
    assert_eq!(last(world.ok("SELECT c FROM big WHERE k = 1 ORDER BY c DESC")), "0");
    assert_eq!(rows(world.ok("SELECT DISTINCT k, s FROM big")), 4);
    assert_eq!(rows(world.ok("SELECT k, c FROM big PER PARTITION LIMIT 2")), 7);
    assert_eq!(last(world.ok("SELECT k, count(*) FROM big WHERE k = 2 GROUP BY k")), "2 | 5100");
    let paged = world.ok("PAGES 5150 SELECT k, c FROM big");
    assert_eq!(paged.lines().filter(|line| line.contains(" | ") && !line.starts_with('[')).count(), 10_411);
    // Nothing but tombstones for a while.
    world.ok("DELETE FROM plain WHERE k = 1 AND c < 5290");
    assert_eq!(last(world.ok("SELECT count(*) FROM plain")), "5120");
    assert_eq!(rows(world.ok("SELECT c FROM plain WHERE k = 1")), 10);
}
