//! The schema about itself: `system_schema` and `system_virtual_schema`.

use super::rows::{blob, int, put, row, text, text_list, text_map, text_set, uuid};
use super::{Row, SystemContext};
use crate::describe::statements::type_text;
use crate::schema::{Column, ColumnKind, Keyspace, KeyspaceKind, Table};
use holon_cql::Value;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The keyspaces that `system_schema` tells of, which `system_virtual_schema` does not, and the other way round.
fn of_kind(context: &SystemContext, is_virtual: bool) -> Vec<&Rc<Keyspace>> {
    context.schema.all_keyspaces().filter(|keyspace| (keyspace.kind == KeyspaceKind::Virtual) == is_virtual).collect()
}

fn tables_of(context: &SystemContext, is_virtual: bool) -> Vec<&Rc<Table>> {
    of_kind(context, is_virtual).into_iter().flat_map(|keyspace| keyspace.tables.values()).collect()
}

pub(super) fn keyspaces(context: &SystemContext, table: &Table) -> Vec<Row> {
    let described = of_kind(context, false).into_iter().map(|keyspace| {
        let mut replication: BTreeMap<String, String> = keyspace
            .replication
            .options()
            .into_iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        replication.insert("class".to_string(), keyspace.replication.qualified_class());
        row(
            table,
            [
                ("keyspace_name", text(&keyspace.name)),
                ("durable_writes", Value::Boolean(keyspace.durable_writes)),
                ("replication", text_map(&replication)),
            ],
        )
    });
    described.collect()
}

pub(super) fn tables(context: &SystemContext, table: &Table) -> Vec<Row> {
    tables_of(context, false).into_iter().map(|described| table_row(table, described)).collect()
}

fn table_row(table: &Table, described: &Table) -> Row {
    let options = &described.options;
    let flag = if described.is_counter() { vec!["compound", "counter"] } else { vec!["compound"] };
    let extensions = options.extensions.iter().map(|(name, value)| (text(name), Value::Blob(value.clone()))).collect();
    let mut cells = row(
        table,
        [
            ("keyspace_name", text(&described.keyspace)),
            ("table_name", text(&described.name)),
            ("additional_write_policy", text(&options.additional_write_policy.0)),
            ("bloom_filter_fp_chance", Value::Double(options.bloom_filter_fp_chance)),
            ("caching", text_map(&options.caching.map())),
            ("cdc", Value::Boolean(options.cdc)),
            ("comment", text(&options.comment)),
            ("compaction", text_map(&options.compaction)),
            ("compression", text_map(&options.compression)),
            ("crc_check_chance", Value::Double(options.crc_check_chance)),
            // These two mean nothing since 4.0; drivers still select them.
            ("dclocal_read_repair_chance", Value::Double(0.0)),
            ("read_repair_chance", Value::Double(0.0)),
            ("default_time_to_live", int(options.default_time_to_live_seconds)),
            ("extensions", Value::Map(extensions)),
            ("flags", text_set(flag.into_iter().map(str::to_string))),
            ("gc_grace_seconds", int(options.gc_grace_seconds)),
            ("id", uuid(described.id.0)),
            ("max_index_interval", int(options.max_index_interval)),
            ("memtable_flush_period_in_ms", int(options.memtable_flush_period_in_ms)),
            ("min_index_interval", int(options.min_index_interval)),
            ("read_repair", text(options.read_repair.name())),
            ("speculative_retry", text(&options.speculative_retry.0)),
        ],
    );
    // Cassandra leaves the default out, so that nodes without the option can read the row.
    if options.memtable != "default" {
        put(table, &mut cells, "memtable", text(&options.memtable));
    }
    cells
}

pub(super) fn columns(context: &SystemContext, table: &Table) -> Vec<Row> {
    columns_of(context, table, false)
}

pub(super) fn virtual_columns(context: &SystemContext, table: &Table) -> Vec<Row> {
    columns_of(context, table, true)
}

fn columns_of(context: &SystemContext, table: &Table, is_virtual: bool) -> Vec<Row> {
    let described = tables_of(context, is_virtual).into_iter();
    described.flat_map(|of| of.columns.iter().map(move |column| column_row(table, of, column))).collect()
}

fn column_row(table: &Table, described: &Table, column: &Column) -> Row {
    let order = match (column.kind, column.is_descending) {
        (ColumnKind::Clustering, true) => "desc",
        (ColumnKind::Clustering, false) => "asc",
        _ => "none",
    };
    let position = if column.kind.is_primary_key() { int(column.position) } else { Value::Int(-1) };
    row(
        table,
        [
            ("keyspace_name", text(&described.keyspace)),
            ("table_name", text(&described.name)),
            ("column_name", text(&column.name)),
            ("clustering_order", text(order)),
            ("column_name_bytes", blob(column.name.as_bytes())),
            ("kind", text(column.kind.name())),
            ("position", position),
            ("type", text(type_text(&column.column_type))),
        ],
    )
}

pub(super) fn dropped_columns(context: &SystemContext, table: &Table) -> Vec<Row> {
    let of_table = |described: &Rc<Table>| {
        let described = described.clone();
        let rows: Vec<Row> = described
            .dropped
            .values()
            .map(|column| {
                row(
                    table,
                    [
                        ("keyspace_name", text(&described.keyspace)),
                        ("table_name", text(&described.name)),
                        ("column_name", text(&column.name)),
                        ("dropped_time", Value::Timestamp(column.dropped_at_micros.div_euclid(1000))),
                        ("kind", text(column.kind.name())),
                        ("type", text(type_text(&column.column_type))),
                    ],
                )
            })
            .collect();
        rows
    };
    tables_of(context, false).into_iter().flat_map(of_table).collect()
}

pub(super) fn types(context: &SystemContext, table: &Table) -> Vec<Row> {
    let types = of_kind(context, false).into_iter().flat_map(|keyspace| keyspace.types.values()).map(|user_type| {
        let names = user_type.fields.iter().map(|field| field.name.clone());
        let types = user_type.fields.iter().map(|field| type_text(&field.cql_type));
        row(
            table,
            [
                ("keyspace_name", text(&user_type.keyspace)),
                ("type_name", text(&user_type.name)),
                ("field_names", text_list(names)),
                ("field_types", text_list(types)),
            ],
        )
    });
    types.collect()
}

pub(super) fn virtual_keyspaces(context: &SystemContext, table: &Table) -> Vec<Row> {
    let described = of_kind(context, true).into_iter();
    described.map(|keyspace| row(table, [("keyspace_name", text(&keyspace.name))])).collect()
}

pub(super) fn virtual_tables(context: &SystemContext, table: &Table) -> Vec<Row> {
    let described = tables_of(context, true).into_iter().map(|described| {
        row(
            table,
            [
                ("keyspace_name", text(&described.keyspace)),
                ("table_name", text(&described.name)),
                ("comment", text(&described.options.comment)),
            ],
        )
    });
    described.collect()
}
