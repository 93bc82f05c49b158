//! Random entries on two machines: equal logs give equal schemas, whatever is in them; every stored form is read back as
//! it was written; what DESCRIBE prints makes the same schema again.

mod schema_changes;
mod schema_world;

use bytes::Bytes;
use holon_base::GroupId;
use holon_cql_language::ast::{Describe, DescribeTarget};
use holon_tables::ddl::{self, Ddl, DdlContext};
use holon_tables::describe::{DescribeContext, describe};
use holon_tables::error::CqlError;
use holon_tables::schema::codec::{decode_answer, decode_change, decode_schema, encode_change, encode_schema};
use holon_tables::schema::{Schema, SchemaMachine};
use holon_tables::system;
use proptest::prelude::*;
use schema_changes::{change, log};
use schema_world::World;
use std::collections::BTreeMap;

fn machine() -> SchemaMachine {
    SchemaMachine::new(system::keyspaces())
}

/// The statements of `DESCRIBE SCHEMA`.
fn described(schema: &Schema) -> Vec<String> {
    let context = DescribeContext { schema, keyspace: None, cluster_name: "holon", ranges: &[] };
    let statement = Describe { target: DescribeTarget::Schema { full: false }, with_internals: false };
    let page = describe(&context, &statement, None, None).expect("a description");
    let text = |row: &Vec<Option<Bytes>>| String::from_utf8(row[3].clone().expect("a statement").to_vec());
    page.rows.iter().map(|row| text(row).expect("text")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn equal_logs_give_equal_schemas(changes in log(60)) {
        let (one, other) = (machine(), machine());
        let mut versions: BTreeMap<u128, Bytes> = BTreeMap::new();
        for (index, change) in changes.iter().enumerate() {
            let entry = encode_change(change);
            prop_assert_eq!(&decode_change(&entry), &Ok(change.clone()));
            let before = one.schema();
            let answer = one.apply(index as u64 + 1, &entry);
            prop_assert_eq!(&answer, &other.apply(index as u64 + 1, &entry));
            if answer.is_err() {
                prop_assert_eq!(&*before, &*one.schema());
            }
            // Equal versions, equal states.
            let state = encode_schema(&one.schema());
            let known = versions.entry(one.schema().version()).or_insert_with(|| state.clone());
            prop_assert_eq!(&*known, &state);
        }
        prop_assert_eq!(&*one.schema(), &*other.schema());
        prop_assert_eq!(one.schema().version(), other.schema().version());
        let read = decode_schema(&one.snapshot(), system::keyspaces());
        prop_assert_eq!(read.as_ref(), Ok(&*one.schema()));
        check_tables(&one.schema())?;
    }

    #[test]
    fn a_rehearsal_says_what_happens(changes in log(30)) {
        let machine = machine();
        for (index, change) in changes.iter().enumerate() {
            let rehearsed = machine.schema().changed_by(u64::MAX, change);
            let applied = machine.apply(index as u64 + 1, &encode_change(change));
            prop_assert_eq!(rehearsed.is_err(), applied.is_err());
        }
    }

    #[test]
    fn what_describe_prints_makes_the_same_again(changes in log(40)) {
        let machine = machine();
        for (index, change) in changes.iter().enumerate() {
            let _ = machine.apply(index as u64 + 1, &encode_change(change));
        }
        let statements = described(&machine.schema());
        let mut world = World::new();
        for statement in &statements {
            let result = world.run(statement);
            prop_assert!(result.starts_with("created "), "{statement}\n{result}");
        }
        prop_assert_eq!(statements, described(&world.system().schema));
    }

    #[test]
    fn damaged_entries_are_refused(change in change(), cut in any::<prop::sample::Index>(), noise in any::<u8>()) {
        let entry = encode_change(&change);
        let cut = cut.index(entry.len());
        prop_assert!(decode_change(&entry.slice(..cut)).is_err());
        // A changed byte may make another change, but nothing worse.
        let mut changed = entry.to_vec();
        changed[cut] ^= noise;
        let machine = machine();
        let _ = machine.apply(1, &Bytes::from(changed));
        let _ = decode_schema(&machine.snapshot().slice(..cut.min(machine.snapshot().len())), system::keyspaces());
    }
}

#[test]
fn of_two_that_race_the_second_is_told() {
    let machine = machine();
    let create = |statement: &str| {
        let schema = machine.schema();
        let parsed = holon_cql_language::parse_statement(statement).expect("a statement");
        let context =
            DdlContext { schema: &schema, keyspace: Some("k"), now_micros: 0, tablets: 1, data_centers: &[], nodes: 1 };
        match ddl::plan(&context, &parsed.statement) {
            Ok(Ddl::Change(planned)) => encode_change(&planned.change),
            other => panic!("{statement}: {other:?}"),
        }
    };
    let keyspace = create("CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy'}");
    machine.apply(1, &keyspace).expect("a keyspace");
    // All planned on the same schema, on which each was possible.
    let (first, second) = (create("CREATE TABLE t (a int PRIMARY KEY)"), create("CREATE TABLE t (b text PRIMARY KEY)"));
    let late = create("CREATE TABLE IF NOT EXISTS t (c int PRIMARY KEY)");
    let drop = create("DROP KEYSPACE k");
    assert_eq!(machine.apply(2, &first).map(|effect| effect.create_tablets.map(|made| made.count)), Ok(Some(1)));
    let error = CqlError::decode(&machine.apply(3, &second).expect_err("there is a table t"));
    assert_eq!(error, CqlError::AlreadyExists { keyspace: "k".into(), table: "t".into() });
    let unchanged = machine.apply(4, &late).expect("nothing to do");
    assert_eq!((decode_answer(&unchanged.answer), unchanged.create_tablets.is_some()), (Ok(None), false));
    assert_eq!(machine.apply(5, &drop).map(|effect| effect.remove_groups), Ok(vec![GroupId(2)]));
    let error = CqlError::decode(&machine.apply(6, &second).expect_err("there is no keyspace k"));
    assert_eq!(error, CqlError::invalid("Keyspace 'k' doesn't exist"));
}

#[test]
fn types_that_grow_by_using_each_other_are_bounded() {
    let mut world = World::new();
    world.run("CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy'}");
    world.run("USE k");
    world.run("CREATE TYPE t0 (a int)");
    // Twice as large with each step: refused long before it hurts.
    let doubled = |step: usize| format!("CREATE TYPE t{step} (a frozen<t{0}>, b frozen<t{0}>)", step - 1);
    let refused =
        (1..40).map(|step| world.run(&doubled(step))).position(|answer| answer.contains("error")).expect("an end");
    assert!((5..12).contains(&refused), "refused after {refused}");
    // The first of them cannot grow either, because the last would.
    let answer = world.run("ALTER TYPE t0 ADD b frozen<tuple<int, int, int, int, int, int, int, int, int, int>>");
    assert!(answer.starts_with("error 0x2200: a type nests at most"), "{answer}");
    // One within the other, and no wider.
    world.run("CREATE TYPE s0 (a int)");
    let nested = |step: usize| format!("CREATE TYPE s{step} (a frozen<s{}>)", step - 1);
    let refused = (1..100).map(|step| world.run(&nested(step))).position(|answer| answer.contains("error"));
    assert_eq!(refused, Some(31));
}

#[test]
fn many_tables_are_replayed_quickly() {
    let mut world = World::new();
    world.run("CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy'}");
    for number in 0..300 {
        world.run(&format!("CREATE TABLE k.t{number} (a int, b text, c int, d list<int>, PRIMARY KEY (a, b))"));
    }
    assert_eq!(world.run("RESTART"), "301 entries");
}

/// What holds of every table, however it came to be.
fn check_tables(schema: &Schema) -> Result<(), TestCaseError> {
    for table in schema.user_keyspaces().flat_map(|keyspace| keyspace.tables.values()) {
        prop_assert!(!table.partition_key().is_empty());
        for column in &table.columns {
            prop_assert!(column.id < table.next_column_id);
            prop_assert_eq!(table.column(&column.name).map(|found| found.id), Some(column.id));
            prop_assert_eq!(table.column_by_id(column.id).map(|found| found.index), Some(column.index));
            prop_assert!(!table.dropped.values().any(|dropped| dropped.id == column.id));
        }
        for (position, column) in table.clustering().iter().enumerate() {
            prop_assert_eq!(column.position, position);
        }
        prop_assert_eq!(schema.table_by_group(table.group).map(|found| found.id), Some(table.id));
        prop_assert_eq!(schema.table_by_id(table.id).map(|found| found.group), Some(table.group));
    }
    Ok(())
}
