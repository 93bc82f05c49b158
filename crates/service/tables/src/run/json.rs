//! INSERT JSON: the columns come with the values, so what is written is decided here and not in the plan.

use super::Context;
use super::write::{self, PartitionWrites, Stamp, Target, set_column, tablet_of};
use crate::error::{CqlError, CqlResult};
use crate::plan::expression::Environment;
use crate::plan::modification::ModificationPlan;
use crate::schema::{Column, ColumnKind};
use crate::types::json_value::{Json, column_name, serialize};
use crate::types::row_key;
use bytes::Bytes;
use holon_cql::BoundValue;
use holon_cql_language::ast::JsonDefault;
use holon_store::{Liveness, RowPatch};

type Values = Vec<BoundValue>;

/// The value of each column, by place in the table.
fn values(plan: &ModificationPlan, environment: &Environment<'_>) -> CqlResult<Values> {
    let table = &plan.table;
    let Some((text, default)) = &plan.json else { return Ok(Vec::new()) };
    let text = text.optional(environment)?.ok_or_else(|| CqlError::invalid("Got null for INSERT JSON values"))?;
    let text = std::str::from_utf8(&text).map_err(|_| CqlError::invalid("INSERT JSON needs text in UTF-8"))?;
    let entries = match Json::parse(text).map_err(CqlError::Invalid)? {
        Json::Object(entries) => entries,
        Json::Null => return Err(CqlError::invalid("Got null for INSERT JSON values")),
        _ => return Err(CqlError::Invalid(format!("Could not decode JSON string as a map: {text}"))),
    };
    let absent = if *default == JsonDefault::Unset { BoundValue::Unset } else { BoundValue::Null };
    let mut values = vec![absent; table.columns.len()];
    for (key, json) in &entries {
        let name = column_name(key);
        let column = table
            .column(&name)
            .ok_or_else(|| CqlError::Invalid(format!("JSON values map contains unrecognized column: {key}")))?;
        let value = serialize(json, &column.column_type)
            .map_err(|reason| CqlError::Invalid(format!("Error decoding JSON value for {name}: {reason}")))?;
        values[column.index] = value.map_or(BoundValue::Null, BoundValue::Value);
    }
    Ok(values)
}

fn key_values(columns: &[Column], values: &Values) -> CqlResult<Vec<Bytes>> {
    let value = |column: &Column| match &values[column.index] {
        BoundValue::Value(bytes) => Ok(bytes.clone()),
        _ => Err(CqlError::Invalid(format!("Invalid null value in condition for column {}", column.name))),
    };
    columns.iter().map(value).collect()
}

/// What an INSERT JSON writes.
///
/// # Errors
/// Text that is no JSON object, unknown columns, values of other types, null keys.
pub fn targets(
    _: &Context,
    plan: &ModificationPlan,
    environment: &Environment<'_>,
    stamp: Stamp,
) -> CqlResult<Vec<Target>> {
    let table = &plan.table;
    let values = values(plan, environment)?;
    let expiry = write::expiry(plan, environment, stamp)?;
    let partition_key = super::keys::partition_key(&key_values(table.partition_key(), &values)?)?;
    let (prefix, token) = row_key::partition_prefix(&partition_key);
    let clustering = key_values(table.clustering(), &values)?;
    super::keys::check_clustering(clustering.iter())?;
    let clustering = write::clustering_of(table, &clustering);
    let mut writes = PartitionWrites { expiry, ..PartitionWrites::default() };
    let marker = Some(Liveness { timestamp: stamp.timestamp, expiry });
    let mut row = RowPatch { marker, ..RowPatch::default() };
    let mut static_row = RowPatch::default();
    for (column, value) in table.columns.iter().zip(values) {
        match column.kind {
            ColumnKind::Regular => set_column(column, value, stamp, expiry, environment, &mut row),
            ColumnKind::Static => set_column(column, value, stamp, expiry, environment, &mut static_row),
            _ => {}
        }
    }
    if !static_row.is_empty() {
        writes.rows.push((row_key::static_key(&prefix).into(), static_row));
    }
    writes.rows.push((write::row_key_of(&prefix, &clustering), row));
    Ok(vec![Target { tablet: tablet_of(table, token), prefix, writes }])
}

/// The row that an INSERT JSON writes.
///
/// # Errors
/// As [`targets`].
pub fn row_keys(plan: &ModificationPlan, environment: &Environment<'_>, prefix: &[u8]) -> CqlResult<Vec<Bytes>> {
    let values = values(plan, environment)?;
    let clustering = write::clustering_of(&plan.table, &key_values(plan.table.clustering(), &values)?);
    Ok(vec![write::row_key_of(prefix, &clustering)])
}
