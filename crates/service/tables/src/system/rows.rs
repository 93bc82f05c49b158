//! Rows from named values.

use super::Row;
use crate::schema::Table;
use bytes::Bytes;
use holon_cql::Value;
use std::collections::BTreeMap;

/// A row of the table; columns that are not named are null.
pub(super) fn row<const CELLS: usize>(table: &Table, cells: [(&str, Value); CELLS]) -> Row {
    let mut row: Row = vec![None; table.columns.len()];
    for (name, value) in cells {
        put(table, &mut row, name, value);
    }
    row
}

pub(super) fn put(table: &Table, row: &mut Row, name: &str, value: Value) {
    let encoded = table.column(name).and_then(|column| {
        let bytes = value.to_bytes(&column.column_type).ok()?;
        Some((row.get_mut(column.index)?, bytes))
    });
    // Which columns there are and of what types is settled in `definitions`; a test fills every one.
    debug_assert!(encoded.is_some(), "no column {name} of that type in {}.{}", table.keyspace, table.name);
    if let Some((cell, bytes)) = encoded {
        *cell = Some(bytes);
    }
}

pub(super) fn text(value: impl AsRef<str>) -> Value {
    Value::Text(value.as_ref().to_string())
}

pub(super) fn uuid(value: u128) -> Value {
    Value::Uuid(value.to_be_bytes())
}

pub(super) fn blob(value: &[u8]) -> Value {
    Value::Blob(Bytes::copy_from_slice(value))
}

/// As large as an int can be, if it is larger.
pub(super) fn int(value: impl TryInto<i32>) -> Value {
    Value::Int(value.try_into().unwrap_or(i32::MAX))
}

/// As large as a bigint can be, if it is larger.
pub(super) fn bigint(value: u64) -> Value {
    Value::BigInt(i64::try_from(value).unwrap_or(i64::MAX))
}

/// In the order of the texts, as sets are.
pub(super) fn text_set(values: impl IntoIterator<Item = String>) -> Value {
    let sorted: std::collections::BTreeSet<String> = values.into_iter().collect();
    Value::Set(sorted.into_iter().map(Value::Text).collect())
}

pub(super) fn text_list(values: impl IntoIterator<Item = String>) -> Value {
    Value::List(values.into_iter().map(Value::Text).collect())
}

pub(super) fn text_map(values: &BTreeMap<String, String>) -> Value {
    Value::Map(values.iter().map(|(name, value)| (text(name), text(value))).collect())
}
