//! Random statements against a model: a table as an ordered map. After any of them, whatever was flushed, compacted
//! or cut off by a crash in between, every way to read gives what the model holds: forwards, backwards, in pages, by
//! slice, by filter.

mod data_world;

use data_world::{World, rows_of};
use holon_tables::run::Parameters;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

const PARTITIONS: i32 = 3;
const CLUSTERINGS: i32 = 6;

#[derive(Clone, Debug)]
enum Operation {
    Insert { k: i32, c: i32, v: Option<i32>, ttl: Option<u8> },
    Update { k: i32, c: i32, v: Option<i32>, ttl: Option<u8> },
    SetStatic { k: i32, s: Option<i32> },
    Add { k: i32, c: i32, element: i32 },
    Remove { k: i32, c: i32, element: i32 },
    DeleteRow { k: i32, c: i32 },
    DeleteRange { k: i32, from: i32, to: i32 },
    DeletePartition { k: i32 },
    Batch(Vec<(i32, i32, i32)>),
    InsertIfNotExists { k: i32, c: i32, v: i32 },
    UpdateIf { k: i32, c: i32, v: i32, expected: Option<i32> },
    Pass { seconds: u8 },
    Flush,
    Compact,
    Crash,
}

fn operations() -> impl Strategy<Value = Operation> {
    let key = || (0..PARTITIONS, 0..CLUSTERINGS);
    let value = || proptest::option::weighted(0.8, 0..5i32);
    let ttl = || proptest::option::weighted(0.3, 1..20u8);
    prop_oneof![
        4 => (key(), value(), ttl()).prop_map(|((k, c), v, ttl)| Operation::Insert { k, c, v, ttl }),
        4 => (key(), value(), ttl()).prop_map(|((k, c), v, ttl)| Operation::Update { k, c, v, ttl }),
        2 => (0..PARTITIONS, value()).prop_map(|(k, s)| Operation::SetStatic { k, s }),
        2 => (key(), 0..4i32).prop_map(|((k, c), element)| Operation::Add { k, c, element }),
        1 => (key(), 0..4i32).prop_map(|((k, c), element)| Operation::Remove { k, c, element }),
        1 => key().prop_map(|(k, c)| Operation::DeleteRow { k, c }),
        1 => (key(), 0..CLUSTERINGS).prop_map(|((k, from), to)| Operation::DeleteRange { k, from, to }),
        1 => (0..PARTITIONS).prop_map(|k| Operation::DeletePartition { k }),
        1 => proptest::collection::vec((0..PARTITIONS, 0..CLUSTERINGS, 0..5i32), 1..4).prop_map(Operation::Batch),
        1 => (key(), 0..5i32).prop_map(|((k, c), v)| Operation::InsertIfNotExists { k, c, v }),
        1 => (key(), 0..5i32, value()).prop_map(|((k, c), v, expected)| Operation::UpdateIf { k, c, v, expected }),
        1 => (1..15u8).prop_map(|seconds| Operation::Pass { seconds }),
        1 => Just(Operation::Flush),
        1 => Just(Operation::Compact),
        1 => Just(Operation::Crash),
    ]
}

/// A value, and the second it ends at.
type Timed<T> = Option<(T, i64)>;

#[derive(Clone, Debug, Default)]
struct ModelRow {
    marker: Timed<()>,
    v: Timed<i32>,
    elements: BTreeMap<i32, i64>,
}

#[derive(Default)]
struct Model {
    rows: BTreeMap<(i32, i32), ModelRow>,
    statics: BTreeMap<i32, i32>,
    now: i64,
}

impl Model {
    fn live<T: Copy>(&self, timed: Timed<T>) -> Option<T> {
        timed.filter(|(_, until)| *until > self.now).map(|(value, _)| value)
    }

    fn until(&self, ttl: Option<u8>) -> i64 {
        ttl.map_or(i64::MAX, |ttl| self.now + i64::from(ttl))
    }

    fn elements(&self, row: &ModelRow) -> Vec<i32> {
        row.elements.iter().filter(|(_, until)| **until > self.now).map(|(element, _)| *element).collect()
    }

    fn exists(&self, row: &ModelRow) -> bool {
        self.live(row.marker).is_some() || self.live(row.v).is_some() || !self.elements(row).is_empty()
    }

    fn row(&self, k: i32, c: i32) -> Option<&ModelRow> {
        self.rows.get(&(k, c)).filter(|row| self.exists(row))
    }

    /// `k | c | elements | s | v` of a partition's rows, as SELECT shows them.
    fn partition(&self, k: i32, reversed: bool) -> Vec<String> {
        let text = |value: Option<i32>| value.map_or("null".to_string(), |value| value.to_string());
        let s = text(self.statics.get(&k).copied());
        let mut lines = Vec::new();
        for c in 0..CLUSTERINGS {
            let Some(row) = self.row(k, c) else { continue };
            let elements = self.elements(row);
            let elements = if elements.is_empty() { "null".to_string() } else { format!("{elements:?}") };
            lines.push(format!("{k} | {c} | {s} | {elements} | {}", text(self.live(row.v))));
        }
        if lines.is_empty() && self.statics.contains_key(&k) {
            lines.push(format!("{k} | null | {s} | null | null"));
        }
        if reversed {
            lines.reverse();
        }
        lines
    }
}

fn literal(value: Option<i32>) -> String {
    value.map_or("null".to_string(), |value| value.to_string())
}

fn using(ttl: Option<u8>) -> String {
    ttl.map_or(String::new(), |ttl| format!("USING TTL {ttl}"))
}

fn apply(world: &mut World, model: &mut Model, operation: &Operation) {
    match operation {
        Operation::Insert { k, c, v, ttl } => {
            world.ok(&format!("INSERT INTO t (k, c, v) VALUES ({k}, {c}, {}) {}", literal(*v), using(*ttl)));
            let until = model.until(*ttl);
            let row = model.rows.entry((*k, *c)).or_default();
            row.marker = Some(((), until));
            row.v = v.map(|v| (v, until));
        }
        Operation::Update { k, c, v, ttl } => {
            world.ok(&format!("UPDATE t {} SET v = {} WHERE k = {k} AND c = {c}", using(*ttl), literal(*v)));
            let until = model.until(*ttl);
            model.rows.entry((*k, *c)).or_default().v = v.map(|v| (v, until));
        }
        Operation::SetStatic { k, s } => {
            world.ok(&format!("UPDATE t SET s = {} WHERE k = {k}", literal(*s)));
            match s {
                Some(s) => model.statics.insert(*k, *s),
                None => model.statics.remove(k),
            };
        }
        Operation::Add { k, c, element } => {
            world.ok(&format!("UPDATE t SET e = e + {{{element}}} WHERE k = {k} AND c = {c}"));
            model.rows.entry((*k, *c)).or_default().elements.insert(*element, i64::MAX);
        }
        Operation::Remove { k, c, element } => {
            world.ok(&format!("UPDATE t SET e = e - {{{element}}} WHERE k = {k} AND c = {c}"));
            model.rows.entry((*k, *c)).or_default().elements.remove(element);
        }
        Operation::Batch(rows) => {
            let inserts: Vec<String> =
                rows.iter().map(|(k, c, v)| format!("INSERT INTO t (k, c, v) VALUES ({k}, {c}, {v});")).collect();
            world.ok(&format!("BEGIN BATCH {} APPLY BATCH", inserts.join(" ")));
            let mut largest: BTreeMap<(i32, i32), i32> = BTreeMap::new();
            for (k, c, v) in rows {
                // One timestamp: of equal ones the larger value wins.
                largest.entry((*k, *c)).and_modify(|other| *other = (*other).max(*v)).or_insert(*v);
            }
            for (key, v) in largest {
                let row = model.rows.entry(key).or_default();
                (row.marker, row.v) = (Some(((), i64::MAX)), Some((v, i64::MAX)));
            }
        }
        Operation::InsertIfNotExists { k, c, v } => {
            let answer = world.ok(&format!("INSERT INTO t (k, c, v) VALUES ({k}, {c}, {v}) IF NOT EXISTS"));
            let applied = model.row(*k, *c).is_none();
            assert_eq!(answer.contains("true"), applied, "{operation:?}: {answer}");
            if applied {
                let row = ModelRow { marker: Some(((), i64::MAX)), v: Some((*v, i64::MAX)), ..ModelRow::default() };
                model.rows.insert((*k, *c), row);
            }
        }
        Operation::UpdateIf { k, c, v, expected } => {
            let text = format!("UPDATE t SET v = {v} WHERE k = {k} AND c = {c} IF v = {}", literal(*expected));
            let answer = world.ok(&text);
            let is = model.row(*k, *c).and_then(|row| model.live(row.v));
            assert_eq!(answer.contains("true"), is == *expected, "{operation:?}: {answer}");
            if is == *expected {
                model.rows.entry((*k, *c)).or_default().v = Some((*v, i64::MAX));
            }
        }
        other => apply_rest(world, model, other),
    }
}

fn apply_rest(world: &mut World, model: &mut Model, operation: &Operation) {
    match operation {
        Operation::DeleteRow { k, c } => {
            world.ok(&format!("DELETE FROM t WHERE k = {k} AND c = {c}"));
            model.rows.remove(&(*k, *c));
        }
        Operation::DeleteRange { k, from, to } => {
            world.ok(&format!("DELETE FROM t WHERE k = {k} AND c >= {from} AND c < {to}"));
            model.rows.retain(|(row_k, c), _| row_k != k || !(from..to).contains(&c));
        }
        Operation::DeletePartition { k } => {
            world.ok(&format!("DELETE FROM t WHERE k = {k}"));
            model.rows.retain(|(row_k, _), _| row_k != k);
            model.statics.remove(k);
        }
        Operation::Pass { seconds } => {
            world.test.advance(Duration::from_secs(u64::from(*seconds)));
        }
        Operation::Flush => world.flush(false),
        Operation::Compact => world.flush(true),
        _ => world.crash(),
    }
}

fn lines(answer: &str) -> Vec<String> {
    let is_row = |line: &&str| !line.starts_with('[') && !line.starts_with("warning") && *line != "--";
    answer.lines().filter(is_row).map(str::to_string).collect()
}

fn compare(world: &mut World, model: &mut Model) -> Result<(), TestCaseError> {
    model.now = world.test.shard.wall().seconds();
    let model = &*model;
    let columns = "k, c, s, e, v";
    let mut all = Vec::new();
    for k in 0..PARTITIONS {
        let expected = model.partition(k, false);
        all.extend(expected.iter().cloned());
        let forwards = lines(&world.ok(&format!("SELECT {columns} FROM t WHERE k = {k}")));
        prop_assert_eq!(&forwards, &expected, "partition {}", k);
        let backwards = lines(&world.ok(&format!("SELECT {columns} FROM t WHERE k = {k} ORDER BY c DESC")));
        prop_assert_eq!(&backwards, &model.partition(k, true), "partition {} backwards", k);
        let paged = lines(&world.ok(&format!("PAGES 2 SELECT {columns} FROM t WHERE k = {k} ORDER BY c DESC")));
        prop_assert_eq!(&paged, &model.partition(k, true), "partition {} backwards in pages", k);
        let slice = lines(&world.ok(&format!("SELECT c FROM t WHERE k = {k} AND c > 1 AND c <= 4")));
        let expected: Vec<String> = (2..=4).filter(|c| model.row(k, *c).is_some()).map(|c| c.to_string()).collect();
        prop_assert_eq!(slice, expected, "slice of partition {}", k);
    }
    let order = |lines: Vec<String>| {
        let mut lines = lines;
        lines.sort();
        lines
    };
    let expected = order(all);
    prop_assert_eq!(order(lines(&world.ok(&format!("SELECT {columns} FROM t")))), expected.clone());
    for page in [1, 3] {
        let paged = lines(&world.ok(&format!("PAGES {page} SELECT {columns} FROM t")));
        prop_assert_eq!(order(paged), expected.clone(), "pages of {}", page);
    }
    prop_assert_eq!(lines(&world.ok("SELECT count(*) FROM t")), vec![expected.len().to_string()]);
    let filtered = lines(&world.ok("PAGES 2 SELECT k, c FROM t WHERE v >= 3 ALLOW FILTERING"));
    let large = |(key, row): (&(i32, i32), &ModelRow)| model.live(row.v).filter(|v| *v >= 3).map(|_| *key);
    let expected = model.rows.iter().filter_map(large).map(|(k, c)| format!("{k} | {c}")).collect();
    prop_assert_eq!(order(filtered), order(expected));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_read_gives_what_the_model_holds(
        operations in proptest::collection::vec(operations(), 1..40),
        local in any::<bool>(),
    ) {
        let mut world = World::new(local);
        world.ok("CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
        world.ok("USE k");
        world.ok("CREATE TABLE t (k int, c int, s int static, v int, e set<int>, PRIMARY KEY (k, c))");
        let mut model = Model::default();
        for (index, operation) in operations.iter().enumerate() {
            model.now = world.test.shard.wall().seconds();
            apply(&mut world, &mut model, operation);
            if index % 8 == 7 {
                compare(&mut world, &mut model)?;
            }
        }
        compare(&mut world, &mut model)?;
    }
}

#[test]
fn a_paging_state_is_checked() {
    let mut world = World::new(true);
    world.ok("CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
    world.ok("USE k");
    world.ok("CREATE TABLE t (k int PRIMARY KEY)");
    world.ok("CREATE TABLE other (k int PRIMARY KEY)");
    for k in 0..5 {
        world.ok(&format!("INSERT INTO t (k) VALUES ({k})"));
    }
    let plan = world.plan("SELECT k FROM t").expect("a plan");
    let first = world.execute(&plan, Parameters { page_size: Some(2), ..world.parameters() }).expect("a page");
    let state = rows_of(&first).and_then(|rows| rows.metadata.paging_state).expect("another page");
    for at in 0..state.len() {
        let mut damaged = state.to_vec();
        damaged[at] ^= 1;
        let parameters = Parameters { page_size: Some(2), paging_state: Some(damaged.into()), ..world.parameters() };
        assert!(world.execute(&plan, parameters).is_err(), "byte {at}");
        let parameters = Parameters { paging_state: Some(state.slice(..at)), ..world.parameters() };
        assert!(world.execute(&plan, parameters).is_err(), "cut at {at}");
    }
    let other = world.plan("SELECT k FROM other").expect("a plan");
    let parameters = Parameters { paging_state: Some(state.clone()), ..world.parameters() };
    assert!(world.execute(&other, parameters).is_err(), "of another table");
    // A changed schema and changed rows do not matter.
    world.ok("ALTER TABLE t ADD v int");
    world.ok("INSERT INTO t (k) VALUES (77)");
    let parameters = Parameters { page_size: Some(100), paging_state: Some(state), ..world.parameters() };
    let rest = rows_of(&world.execute(&plan, parameters).expect("the rest")).expect("rows");
    assert!(rest.rows.len() >= 3, "{} rows", rest.rows.len());
}
