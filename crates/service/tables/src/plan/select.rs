//! SELECT, planned.

use super::expression::Expression;
use super::markers::MarkerCollector;
use super::relations::{Relations, ValueSet, column};
use super::restrictions::{PartitionRestriction, Restrictions, Use, partition_markers, restrictions};
use super::selection::{SelectionPlan, SelectionPlanner, columns_used, uses_static};
use super::terms::{Receiver, TermPlanner};
use crate::error::{CqlError, CqlResult};
use crate::schema::{ColumnKind, Schema, Table};
use crate::types::json;
use holon_cql::{ColumnSpec, CqlType};
use holon_cql_language::ast::{self, Direction, OrderingKind, Selector};
use std::rc::Rc;
use std::sync::Arc;

/// A planned SELECT.
#[derive(Clone, Debug)]
pub struct SelectPlan {
    pub table: Rc<Table>,
    pub restrictions: Restrictions,
    pub selection: SelectionPlan,
    /// The selection is nothing but these columns.
    pub plain: Option<Vec<usize>>,
    /// Columns of the result as they are sent.
    pub columns: Arc<[ColumnSpec]>,
    pub json: bool,
    pub distinct: bool,
    /// One result per group: how many columns of the primary key make the group (0: all rows are one group).
    pub grouping: Option<usize>,
    pub reversed: bool,
    /// Clustering positions and directions to sort by in memory: several partitions, or directions that mix.
    pub sort: Vec<(usize, Direction)>,
    pub limit: Option<Expression>,
    pub per_partition_limit: Option<Expression>,
    /// Static columns are looked at.
    pub needs_static: bool,
    /// Regular columns or rows are looked at (false for DISTINCT).
    pub needs_rows: bool,
}

fn invalid<T>(text: String) -> CqlResult<T> {
    Err(CqlError::Invalid(text))
}

/// # Errors
/// Everything that Cassandra refuses before it knows values.
pub fn select(
    schema: &Schema,
    table: &Rc<Table>,
    select: &ast::Select,
    markers: &mut MarkerCollector,
) -> CqlResult<SelectPlan> {
    let terms = TermPlanner { schema, keyspace: &table.keyspace, table, markers: &mut *markers };
    let selection = SelectionPlanner::new(table, terms).plan(&select.selection)?;
    let mut terms = TermPlanner { schema, keyspace: &table.keyspace, table, markers: &mut *markers };
    let allow_filtering = select.allow_filtering || table.is_virtual();
    let relations = Relations::plan(table, &select.relations, allow_filtering, &mut terms)?;
    let restrictions = restrictions(table, relations, Use::Select { allow_filtering })?;
    let int = |name| Receiver { name, cql_type: &CqlType::Int };
    let per_partition = select.per_partition_limit.as_ref();
    let per_partition_limit = per_partition.map(|term| terms.term(term, int("[per_partition_limit]"))).transpose()?;
    let limit = select.limit.as_ref().map(|term| terms.term(term, int("[limit]"))).transpose()?;
    for (position, index) in partition_markers(&restrictions.partition) {
        markers.is_partition_key(position, index);
    }
    let grouping = grouping(table, select, &restrictions, &selection)?;
    let (reversed, sort) = ordering(table, select, &restrictions)?;
    let used = used_columns(&selection, &restrictions);
    if select.distinct {
        check_distinct(table, &used, &restrictions, select)?;
    }
    if grouping == Some(0) && per_partition_limit.is_some() {
        return invalid("PER PARTITION LIMIT is not allowed with aggregate queries.".to_string());
    }
    if select.distinct && per_partition_limit.is_some() {
        return invalid("PER PARTITION LIMIT is not allowed with SELECT DISTINCT queries".to_string());
    }
    Ok(SelectPlan {
        plain: if select.json || !selection.aggregates.is_empty() { None } else { selection.plain_columns() },
        columns: result_columns(table, &selection, select.json),
        json: select.json,
        distinct: select.distinct,
        needs_static: uses_static(table, &used),
        needs_rows: !select.distinct,
        table: table.clone(),
        restrictions,
        selection,
        grouping,
        reversed,
        sort,
        limit,
        per_partition_limit,
    })
}

fn result_columns(table: &Table, selection: &SelectionPlan, json: bool) -> Arc<[ColumnSpec]> {
    let (keyspace, name): (Arc<str>, Arc<str>) = ((&*table.keyspace).into(), (&*table.name).into());
    let spec = |column: &str, cql_type: CqlType| ColumnSpec {
        keyspace: keyspace.clone(),
        table: name.clone(),
        name: column.into(),
        cql_type,
    };
    if json {
        return [spec("[json]", CqlType::Text)].into();
    }
    selection.outputs.iter().map(|output| spec(&output.name, output.cql_type.clone())).collect()
}

impl SelectPlan {
    /// The names in the objects of SELECT JSON.
    pub fn json_keys(&self) -> Vec<String> {
        self.selection.outputs.iter().map(|output| json::key_of(&output.name)).collect()
    }

    /// Several results may be needed to make one.
    pub fn is_aggregate(&self) -> bool {
        self.grouping.is_some()
    }
}

fn used_columns(selection: &SelectionPlan, restrictions: &Restrictions) -> Vec<usize> {
    let mut places = Vec::new();
    selection.outputs.iter().for_each(|output| columns_used(&output.expression, &mut places));
    let arguments = selection.aggregates.iter().filter_map(super::aggregate::AggregatePlan::argument);
    arguments.for_each(|argument| columns_used(argument, &mut places));
    places.extend(restrictions.filters.iter().map(|filter| filter.column));
    places
}

fn check_distinct(table: &Table, used: &[usize], restrictions: &Restrictions, select: &ast::Select) -> CqlResult<()> {
    let filtered: Vec<usize> = restrictions.filters.iter().map(|filter| filter.column).collect();
    let allowed =
        |place: &&usize| !matches!(table.columns[**place].kind, ColumnKind::PartitionKey | ColumnKind::Static);
    let clustering = !restrictions.clustering.is_empty() || !restrictions.tuple_filters.is_empty();
    if clustering || filtered.iter().any(|place| allowed(&place)) {
        return invalid(
            "SELECT DISTINCT with WHERE clause only supports restriction by partition key and/or static columns."
                .to_string(),
        );
    }
    if let Some(place) = used.iter().find(allowed) {
        return invalid(format!(
            "SELECT DISTINCT queries must only request partition key columns and/or static columns (not {})",
            table.columns[*place].name
        ));
    }
    let all = matches!(select.selection, ast::Selection::All);
    let missing = table.partition_key().iter().find(|column| !all && !used.contains(&column.index));
    // With only statics selected the partition key may be left out if it is given by values.
    if let Some(column) = missing
        && !matches!(restrictions.partition, PartitionRestriction::Keys(_))
    {
        return invalid(format!(
            "SELECT DISTINCT queries must request all the partition key columns (missing {})",
            column.name
        ));
    }
    Ok(())
}

fn grouping(
    table: &Table,
    select: &ast::Select,
    restrictions: &Restrictions,
    selection: &SelectionPlan,
) -> CqlResult<Option<usize>> {
    if select.group_by.is_empty() {
        return Ok(if selection.aggregates.is_empty() { None } else { Some(0) });
    }
    if select.distinct {
        let on_key = |selector: &Selector| {
            matches!(selector, Selector::Column(name) if table.column(name.as_str())
                .is_some_and(|column| column.kind == ColumnKind::PartitionKey))
        };
        if !select.group_by.iter().all(on_key) {
            return invalid("Grouping on clustering columns is not allowed for SELECT DISTINCT queries".to_string());
        }
    }
    let key: Vec<_> = table.columns.iter().filter(|column| column.kind.is_primary_key()).collect();
    let mut expected = 0;
    for selector in &select.group_by {
        let Selector::Column(name) = selector else {
            return invalid("Group by is only supported on columns of the PRIMARY KEY".to_string());
        };
        let column = column(table, name.as_str())?;
        if !column.kind.is_primary_key() {
            return invalid(format!(
                "Group by is currently only supported on the columns of the PRIMARY KEY, got {}",
                column.name
            ));
        }
        // Columns with one value may be skipped.
        while expected < column.index && has_one_value(restrictions, key[expected].index, table) {
            expected += 1;
        }
        if expected != column.index {
            return invalid(
                "Group by currently only support groups of columns following their declared order in the PRIMARY KEY"
                    .to_string(),
            );
        }
        expected += 1;
    }
    if expected < table.partition_key().len()
        && !table.partition_key()[expected..].iter().all(|column| has_one_value(restrictions, column.index, table))
    {
        return invalid("Group by is not supported on only a part of the partition key".to_string());
    }
    Ok(Some(expected.max(table.partition_key().len())))
}

fn has_one_value(restrictions: &Restrictions, place: usize, table: &Table) -> bool {
    use super::restrictions::ClusteringStep;
    let partition = table.partition_key().len();
    match &restrictions.partition {
        PartitionRestriction::Keys(values) if place < partition => is_one(&values[place]),
        _ if place < partition => false,
        _ => {
            let mut position = partition;
            for step in &restrictions.clustering.steps {
                let (width, one) = match step {
                    ClusteringStep::Values(values) => (1, is_one(values)),
                    ClusteringStep::Tuples { width, tuples } => (*width, tuples.is_one()),
                };
                if place < position + width {
                    return one;
                }
                position += width;
            }
            false
        }
    }
}

/// `= v` and `IN (v)`.
fn is_one(values: &ValueSet) -> bool {
    match values {
        ValueSet::One(_) => true,
        ValueSet::Several(values) => values.len() == 1,
        ValueSet::List(_) => false,
    }
}

/// Whether to read backwards, and what to sort in memory.
fn ordering(
    table: &Table,
    select: &ast::Select,
    restrictions: &Restrictions,
) -> CqlResult<(bool, Vec<(usize, Direction)>)> {
    if select.order_by.is_empty() {
        return Ok((false, Vec::new()));
    }
    let PartitionRestriction::Keys(keys) = &restrictions.partition else {
        return invalid(
            "ORDER BY is only supported when the partition key is restricted by an EQ or an IN.".to_string(),
        );
    };
    let mut reversed: Option<bool> = None;
    let mut expected = 0;
    let mut sort = Vec::new();
    for ordering in &select.order_by {
        if matches!(ordering.kind, OrderingKind::NearestTo(_)) {
            return invalid("ANN ordering by vector requires the column to be indexed".to_string());
        }
        let column = column(table, ordering.column.as_str())?;
        if column.kind != ColumnKind::Clustering {
            return invalid(format!(
                "Order by is currently only supported on the clustered columns of the PRIMARY KEY, got {}",
                column.name
            ));
        }
        while expected < column.position && has_one_value(restrictions, table.clustering()[expected].index, table) {
            expected += 1;
        }
        if column.position != expected {
            return invalid(
                "Order by currently only supports the ordering of columns following their declared order in the \
                 PRIMARY KEY"
                    .to_string(),
            );
        }
        expected += 1;
        sort.push((column.position, ordering.direction));
        let against = (ordering.direction == Direction::Descending) != column.is_descending;
        if reversed.is_some_and(|reversed| reversed != against) {
            return invalid("Unsupported order by relation".to_string());
        }
        reversed = Some(against);
    }
    let several = keys.iter().any(|values| !matches!(values, ValueSet::One(_)));
    Ok((reversed.unwrap_or(false), if several { sort } else { Vec::new() }))
}
