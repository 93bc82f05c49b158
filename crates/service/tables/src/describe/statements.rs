//! Definitions as the statements that would make them again, in the layout of Cassandra 4.1, to the space.

use crate::schema::{Column, Keyspace, KeyspaceKind, Table, TableOptions, UserType};
use holon_cql::CqlType;
use holon_cql_language::{ast, quote_identifier, quote_string};
use std::collections::BTreeMap;
use std::fmt::Write;

/// `CREATE KEYSPACE … ;`
pub fn create_keyspace(keyspace: &Keyspace) -> String {
    let name = quote_identifier(&keyspace.name);
    if keyspace.kind == KeyspaceKind::Virtual {
        return format!(
            "/*\nWarning: Keyspace {name} is a virtual keyspace and cannot be recreated with CQL.\n\
             Structure, for reference:\nVIRTUAL KEYSPACE {name};\n*/"
        );
    }
    // Cassandra has two spaces before this AND.
    let mut text = format!(
        "CREATE KEYSPACE {name} WITH replication = {}  AND durable_writes = {}",
        keyspace.replication, keyspace.durable_writes
    );
    if keyspace.durability != crate::schema::Durability::default() {
        put(&mut text, format_args!(" AND durability = '{}'", keyspace.durability.name()));
    }
    text.push(';');
    text
}

/// `CREATE TYPE … ;`
pub fn create_type(user_type: &UserType) -> String {
    let fields: Vec<String> = user_type
        .fields
        .iter()
        .map(|field| format!("    {} {}", quote_identifier(&field.name), type_text(&field.cql_type)))
        .collect();
    format!("CREATE TYPE {} (\n{}\n);", type_name(Some(&user_type.keyspace), &user_type.name), fields.join(",\n"))
}

/// `CREATE TABLE … ;`, with internals also its id, and its dropped columns with the statements that drop them.
pub fn create_table(table: &Table, is_virtual: bool, with_internals: bool) -> String {
    let name = qualified(&table.keyspace, &table.name);
    let mut text = String::new();
    if is_virtual {
        put(
            &mut text,
            format_args!(
                "/*\nWarning: Table {name} is a virtual table and cannot be recreated with CQL.\n\
                 Structure, for reference:\nVIRTUAL "
            ),
        );
    } else {
        text.push_str("CREATE ");
    }
    put(&mut text, format_args!("TABLE {name} (\n"));
    let has_single_key = table.partition_key().len() == 1 && table.clustering().is_empty();
    put_columns(&mut text, table, has_single_key, with_internals);
    if !has_single_key {
        put_primary_key(&mut text, table);
    }
    text.push_str(") WITH ");
    put_options(&mut text, table, is_virtual, with_internals);
    text.push(';');
    if is_virtual {
        text.push_str("\n*/");
    }
    if with_internals {
        put_dropped(&mut text, table);
    }
    text
}

/// A type as `system_schema` and DESCRIBE show it, reserved words quoted.
pub fn type_text(cql_type: &CqlType) -> String {
    match cql_type {
        CqlType::List(element) => format!("list<{}>", type_text(element)),
        CqlType::Set(element) => format!("set<{}>", type_text(element)),
        CqlType::Map(pair) => format!("map<{}, {}>", type_text(&pair.0), type_text(&pair.1)),
        CqlType::Tuple(elements) => {
            let elements: Vec<String> = elements.iter().map(type_text).collect();
            format!("tuple<{}>", elements.join(", "))
        }
        CqlType::Udt(user) => type_name(None, &user.name),
        CqlType::Vector(vector) => format!("vector<{}, {}>", type_text(&vector.element), vector.dimensions),
        CqlType::Frozen(inner) => format!("frozen<{}>", type_text(inner)),
        other => other.to_string(),
    }
}

/// Writing to a string does not fail.
fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(arguments);
}

fn qualified(keyspace: &str, name: &str) -> String {
    format!("{}.{}", quote_identifier(keyspace), quote_identifier(name))
}

/// The name of a user type. It has to be quoted where other names need not: `int` is a type already.
fn type_name(keyspace: Option<&str>, name: &str) -> String {
    let name = ast::QualifiedName { keyspace: keyspace.map(ast::Identifier::from), name: name.into() };
    ast::CqlType::User(name).to_string()
}

/// The key, then the static and the regular columns; of each, those of one cell come before those of many.
fn in_create_order(table: &Table) -> Vec<&Column> {
    let mut columns: Vec<&Column> = table.columns.iter().collect();
    columns.sort_by_key(|column| (column.kind, column.position, column.is_multi_cell()));
    columns
}

fn column_text(column: &Column) -> String {
    let suffix = if column.is_static() { " static" } else { "" };
    format!("{} {}{suffix}", quote_identifier(&column.name), type_text(&column.column_type))
}

fn put_columns(text: &mut String, table: &Table, has_single_key: bool, with_dropped: bool) {
    // A column that was dropped and added again stands among the dropped ones first: the statements after the table then
    // drop it and add it, as it happened.
    let columns: Vec<&Column> = in_create_order(table)
        .into_iter()
        .filter(|column| !(with_dropped && table.dropped.contains_key(&column.name)))
        .collect();
    let mut lines: Vec<String> = columns
        .iter()
        .map(|column| {
            let is_key = has_single_key && column.kind == crate::schema::ColumnKind::PartitionKey;
            format!("    {}{}", column_text(column), if is_key { " PRIMARY KEY" } else { "" })
        })
        .collect();
    if with_dropped {
        lines.extend(table.dropped.values().map(|dropped| {
            let suffix = if dropped.kind == crate::schema::ColumnKind::Static { " static" } else { "" };
            format!("    {} {}{suffix}", quote_identifier(&dropped.name), type_text(&dropped.column_type))
        }));
    }
    let end = if has_single_key { "\n" } else { ",\n" };
    put(text, format_args!("{}{end}", lines.join(",\n")));
}

fn put_primary_key(text: &mut String, table: &Table) {
    let names = |columns: &[Column]| {
        let names: Vec<_> = columns.iter().map(|column| quote_identifier(&column.name).to_string()).collect();
        names.join(", ")
    };
    let partition = names(table.partition_key());
    if table.partition_key().len() > 1 {
        put(text, format_args!("    PRIMARY KEY (({partition})"));
    } else {
        put(text, format_args!("    PRIMARY KEY ({partition}"));
    }
    if !table.clustering().is_empty() {
        put(text, format_args!(", {}", names(table.clustering())));
    }
    text.push_str(")\n");
}

fn put_options(text: &mut String, table: &Table, is_virtual: bool, with_internals: bool) {
    let mut parts: Vec<String> = Vec::new();
    if with_internals {
        parts.push(format!("ID = {}", table.id));
    }
    if !table.clustering().is_empty() {
        let order: Vec<String> = table
            .clustering()
            .iter()
            .map(|column| {
                let direction = if column.is_descending { "DESC" } else { "ASC" };
                format!("{} {direction}", quote_identifier(&column.name))
            })
            .collect();
        parts.push(format!("CLUSTERING ORDER BY ({})", order.join(", ")));
    }
    if is_virtual {
        parts.push(format!("comment = {}", quote_string(&table.options.comment)));
    } else {
        parts.extend(option_texts(&table.options));
    }
    text.push_str(&parts.join("\n    AND "));
}

/// `name = value` of every option, in the order of Cassandra.
fn option_texts(options: &TableOptions) -> Vec<String> {
    let extensions: BTreeMap<String, String> = options
        .extensions
        .iter()
        .map(|(name, value)| (name.clone(), format!("0x{}", crate::error::hexadecimal(value))))
        .collect();
    vec![
        format!("additional_write_policy = {}", quote_string(&options.additional_write_policy.0)),
        format!("bloom_filter_fp_chance = {}", java_double(options.bloom_filter_fp_chance)),
        format!("caching = {}", map_text(&options.caching.map(), true)),
        format!("cdc = {}", options.cdc),
        format!("comment = {}", quote_string(&options.comment)),
        format!("compaction = {}", map_text(&options.compaction, true)),
        format!("compression = {}", map_text(&options.compression, true)),
        format!("memtable = {}", quote_string(&options.memtable)),
        format!("crc_check_chance = {}", java_double(options.crc_check_chance)),
        format!("default_time_to_live = {}", options.default_time_to_live_seconds),
        format!("extensions = {}", map_text(&extensions, false)),
        format!("gc_grace_seconds = {}", options.gc_grace_seconds),
        format!("max_index_interval = {}", options.max_index_interval),
        format!("memtable_flush_period_in_ms = {}", options.memtable_flush_period_in_ms),
        format!("min_index_interval = {}", options.min_index_interval),
        format!("read_repair = '{}'", options.read_repair.name()),
        format!("speculative_retry = {}", quote_string(&options.speculative_retry.0)),
    ]
}

fn map_text(map: &BTreeMap<String, String>, quotes_values: bool) -> String {
    let entries: Vec<String> = map
        .iter()
        .map(|(name, value)| {
            let value = if quotes_values { quote_string(value) } else { value.clone() };
            format!("{}: {value}", quote_string(name))
        })
        .collect();
    format!("{{{}}}", entries.join(", "))
}

/// As Java prints a double: `0.01`, `1.0`, `1.0E-4`.
fn java_double(value: f64) -> String {
    if value == 0.0 || (1e-3..1e7).contains(&value.abs()) {
        return format!("{value:?}");
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}

fn put_dropped(text: &mut String, table: &Table) {
    let name = qualified(&table.keyspace, &table.name);
    for dropped in table.dropped.values() {
        put(
            text,
            format_args!(
                "\nALTER TABLE {name} DROP {} USING TIMESTAMP {};",
                quote_identifier(&dropped.name),
                dropped.dropped_at_micros
            ),
        );
        if let Some(column) = table.column(&dropped.name) {
            put(text, format_args!("\nALTER TABLE {name} ADD {};", column_text(column)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::java_double;

    #[test]
    fn doubles_are_printed_as_java_prints_them() {
        let cases =
            [(0.01, "0.01"), (1.0, "1.0"), (0.0, "0.0"), (0.001, "0.001"), (0.0001, "1.0E-4"), (0.00015, "1.5E-4")];
        for (value, text) in cases {
            assert_eq!(java_double(value), text);
        }
    }
}
