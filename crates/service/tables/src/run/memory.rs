//! SELECT on virtual tables: rows from memory, through the same plan. They are few, so the key relations are tests as
//! well, and there is one page.

use super::read::{finish_memory, memory_rows};
use super::rows::{MemoryRow, RowSink};
use super::{Context, Outcome, keys};
use crate::error::CqlResult;
use crate::plan::expression::{Environment, RowValues};
use crate::plan::restrictions::PartitionRestriction;
use crate::plan::select::SelectPlan;
use crate::trace::{Tracing, several};
use crate::types::ordered;
use bytes::Bytes;
use holon_cql::token::{partition_key, token};

type Row = Vec<Option<Bytes>>;

pub async fn select(
    context: &Context,
    plan: &SelectPlan,
    environment: &Environment<'_>,
    tracing: &Tracing,
    mut sink: RowSink<'_>,
) -> CqlResult<Outcome> {
    let table = &plan.table;
    let rows = (context.virtual_rows)(&table.keyspace, &table.name).await?;
    tracing.note(|| {
        format!("Computed {} of {}.{}, which is not stored", several(rows.len(), "row"), table.keyspace, table.name)
    });
    let mut chosen = of_partitions(plan, environment, rows)?;
    let ranges = keys::clustering_ranges(table, &plan.restrictions.clustering, environment)?;
    if !plan.restrictions.clustering.is_empty() {
        chosen.retain(|row| {
            let clustering = clustering(plan, row);
            ranges
                .iter()
                .any(|range| clustering >= range.start && range.end.as_ref().is_none_or(|end| clustering < *end))
        });
    }
    if plan.reversed {
        chosen.reverse();
    }
    if plan.distinct {
        let columns = table.partition_key().len();
        chosen.dedup_by(|a, b| a[..columns] == b[..columns]);
    }
    memory_rows(&mut sink, &chosen)?;
    finish_memory(sink)
}

fn clustering(plan: &SelectPlan, row: &Row) -> Vec<u8> {
    let mut out = Vec::new();
    for column in plan.table.clustering() {
        let value = row.get(column.index).cloned().flatten().unwrap_or_default();
        ordered::encode(&column.column_type, &value, column.is_descending, &mut out);
    }
    out
}

fn of_partitions(plan: &SelectPlan, environment: &Environment<'_>, rows: Vec<Row>) -> CqlResult<Vec<Row>> {
    let key_of = |row: &Row| -> Option<Vec<u8>> {
        let view = MemoryRow { values: row };
        let values: Vec<Bytes> =
            plan.table.partition_key().iter().map(|column| view.column(column.index).unwrap_or_default()).collect();
        partition_key(&values.iter().map(|value| &value[..]).collect::<Vec<_>>())
    };
    match &plan.restrictions.partition {
        PartitionRestriction::Keys(sets) => {
            let wanted = keys::partition_keys(&plan.table, sets, environment)?;
            let is_wanted = |row: &Row| key_of(row).is_some_and(|key| wanted.iter().any(|other| *other == key));
            Ok(rows.into_iter().filter(is_wanted).collect())
        }
        PartitionRestriction::Tokens { lower: None, upper: None } => Ok(rows),
        PartitionRestriction::Tokens { lower, upper } => {
            let ranges = keys::token_ranges(lower.as_ref(), upper.as_ref(), environment)?;
            let is_within = |row: &Row| {
                let start = key_of(row).map(|key| crate::types::row_key::token_start(token(&key)));
                start.is_some_and(|start| ranges.iter().any(|range| range.contains(&start)))
            };
            Ok(rows.into_iter().filter(is_within).collect())
        }
    }
}
