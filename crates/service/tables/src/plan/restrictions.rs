//! WHERE: which partitions, which rows of them, and what is left to be filtered.
//!
//! ```text
//! relations ─▶ by column ─▶ partition key: values, or a range of tokens
//!                       ├─▶ clustering: a prefix by values, then a slice
//!                       └─▶ filters: everything else, only with ALLOW FILTERING
//! ```

use super::expression::Expression;
use super::relations::{
    Bound, ColumnRestriction, Filter, FilterOperator, Relations, TupleBound, TupleFilter, TupleSet, ValueSet,
};
use crate::error::{CqlError, CqlResult};
use crate::schema::{Column, ColumnKind, Table};

pub const NEEDS_FILTERING: &str = "Cannot execute this query as it might involve data filtering and thus may have \
     unpredictable performance. If you want to execute this query despite the performance unpredictability, use ALLOW \
     FILTERING";

/// What the key part of a WHERE clause says.
#[derive(Clone, Debug)]
pub struct Restrictions {
    pub partition: PartitionRestriction,
    /// Of partitions that are named, those whose tokens lie between two bounds.
    pub tokens: TokenBounds,
    pub clustering: ClusteringRestriction,
    pub filters: Vec<Filter>,
    /// Filters on several clustering columns at once.
    pub tuple_filters: Vec<TupleFilter>,
    /// Some restriction chooses rows: a partition without any is then no result, even if it has static columns.
    pub chooses_rows: bool,
}

impl Restrictions {
    /// Some rows that are read are no results.
    pub fn filters_rows(&self) -> bool {
        !self.filters.is_empty() || !self.tuple_filters.is_empty()
    }
}

pub type TokenBounds = (Option<Bound>, Option<Bound>);

#[derive(Clone, Debug)]
pub enum PartitionRestriction {
    /// A set of values per column of the partition key.
    Keys(Vec<ValueSet>),
    /// Tokens between two bounds.
    Tokens { lower: Option<Bound>, upper: Option<Bound> },
}

#[derive(Clone, Debug, Default)]
pub struct ClusteringRestriction {
    pub steps: Vec<ClusteringStep>,
    pub lower: Option<TupleBound>,
    pub upper: Option<TupleBound>,
}

/// Values for one clustering column, or for several at once.
#[derive(Clone, Debug)]
pub enum ClusteringStep {
    Values(ValueSet),
    Tuples { width: usize, tuples: TupleSet },
}

impl ClusteringStep {
    /// One value for one column.
    pub fn is_one(&self) -> bool {
        matches!(self, ClusteringStep::Values(ValueSet::One(_)))
    }

    fn width(&self) -> usize {
        match self {
            ClusteringStep::Values(_) => 1,
            ClusteringStep::Tuples { width, .. } => *width,
        }
    }
}

impl ClusteringRestriction {
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.lower.is_none() && self.upper.is_none()
    }

    pub fn is_slice(&self) -> bool {
        self.lower.is_some() || self.upper.is_some()
    }

    /// How many columns have values.
    pub fn prefix_columns(&self) -> usize {
        self.steps.iter().map(ClusteringStep::width).sum()
    }
}

/// What a statement may do with its WHERE clause.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Use {
    Select { allow_filtering: bool },
    Update,
    Delete,
}

/// # Errors
/// Relations that cannot be combined, or that need filtering which is not allowed.
pub fn restrictions(table: &Table, mut relations: Relations, usage: Use) -> CqlResult<Restrictions> {
    let mut filters = std::mem::take(&mut relations.filters);
    let select = match usage {
        Use::Select { allow_filtering } => Some(allow_filtering),
        _ => None,
    };
    let partition = partition_restriction(table, &mut relations, select, usage, &mut filters)?;
    let is_range = matches!(partition, PartitionRestriction::Tokens { .. });
    let before = filters.len();
    let clustering = clustering_restriction(table, &mut relations, select, is_range)?;
    let tuple_filters = rest_of_clustering(table, &mut relations, select, &mut filters)?;
    let clustering_filtered = filters.len() > before || !tuple_filters.is_empty();
    let columns = table.columns.as_slice();
    for (index, restriction) in std::mem::take(&mut relations.columns) {
        let column = &columns[index];
        if select.is_none() {
            let names = format!("Non PRIMARY KEY columns found in where clause: {} ", column.name);
            return Err(CqlError::Invalid(names));
        }
        to_filters(column, restriction, &mut filters);
    }
    if let (Some(filter), None) = (filters.first(), select) {
        let name = columns.get(filter.column).map_or("", |column| &column.name);
        return Err(CqlError::Invalid(format!("Non PRIMARY KEY columns found in where clause: {name} ")));
    }
    if !(filters.is_empty() && tuple_filters.is_empty()) && select == Some(false) {
        return Err(CqlError::invalid(NEEDS_FILTERING));
    }
    let on_regular = filters.iter().any(|filter| columns[filter.column].kind == ColumnKind::Regular);
    let chooses_rows = !clustering.is_empty() || clustering_filtered || on_regular;
    let tokens = std::mem::take(&mut relations.token);
    Ok(Restrictions { partition, tokens, clustering, filters, tuple_filters, chooses_rows })
}

fn partition_restriction(
    table: &Table,
    relations: &mut Relations,
    select: Option<bool>,
    usage: Use,
    filters: &mut Vec<Filter>,
) -> CqlResult<PartitionRestriction> {
    let key = table.partition_key();
    let by_token = relations.token.0.is_some() || relations.token.1.is_some();
    if by_token && select.is_none() {
        let name = if usage == Use::Update { "UPDATE" } else { "DELETE" };
        return Err(CqlError::Invalid(format!(
            "The token function cannot be used in WHERE clauses for {name} statements"
        )));
    }
    let by_values =
        |column: &Column| matches!(relations.columns.get(&column.index), Some(ColumnRestriction::Values(_)));
    if key.iter().all(by_values) {
        let values = key.iter().filter_map(|column| relations.columns.remove(&column.index));
        let values = values.filter_map(|restriction| match restriction {
            ColumnRestriction::Values(values) => Some(values),
            _ => None,
        });
        return Ok(PartitionRestriction::Keys(values.collect()));
    }
    let is_restricted = key.iter().any(|column| relations.columns.contains_key(&column.index));
    if !is_restricted && by_token {
        let (lower, upper) = std::mem::take(&mut relations.token);
        return Ok(PartitionRestriction::Tokens { lower, upper });
    }
    let missing: Vec<&str> = key
        .iter()
        .filter(|column| !relations.columns.contains_key(&column.index))
        .map(|column| &*column.name)
        .collect();
    match select {
        None if missing.is_empty() => {
            let name = if usage == Use::Update { "UPDATE" } else { "DELETE" };
            return Err(CqlError::Invalid(format!(
                "Only EQ and IN relation are supported on the partition key (unless you use the token() function) for \
                 {name} statements"
            )));
        }
        None => {
            return Err(CqlError::Invalid(format!("Some partition key parts are missing: {}", missing.join(", "))));
        }
        Some(false) if missing.len() < key.len() => return Err(CqlError::invalid(NEEDS_FILTERING)),
        Some(_) => {}
    }
    for column in key {
        if let Some(restriction) = relations.columns.remove(&column.index) {
            to_filters(column, restriction, filters);
        }
    }
    let (lower, upper) = std::mem::take(&mut relations.token);
    Ok(PartitionRestriction::Tokens { lower, upper })
}

fn clustering_restriction(
    table: &Table,
    relations: &mut Relations,
    select: Option<bool>,
    is_range: bool,
) -> CqlResult<ClusteringRestriction> {
    let mut restriction = ClusteringRestriction::default();
    let columns = table.clustering();
    if select != Some(true) {
        refuse_gaps(columns, relations)?;
    }
    // Rows of many partitions do not lie together: what is said about clustering can only be filtered.
    while !is_range && restriction.prefix_columns() < columns.len() {
        let position = restriction.prefix_columns();
        if let Some((width, tuples)) = relations.tuple_values.remove(&position) {
            restriction.steps.push(ClusteringStep::Tuples { width, tuples });
            continue;
        }
        if let Some(slice) = relations.slices.remove(&position) {
            restriction.lower = slice.lower;
            restriction.upper = slice.upper;
            break;
        }
        let index = columns[position].index;
        match relations.columns.remove(&index) {
            Some(ColumnRestriction::Values(values)) => restriction.steps.push(ClusteringStep::Values(values)),
            Some(other) => {
                relations.columns.insert(index, other);
                break;
            }
            None => break,
        }
    }
    Ok(restriction)
}

/// Without filtering every restricted column follows another that is, and none is looked into.
fn refuse_gaps(columns: &[Column], relations: &Relations) -> CqlResult<()> {
    let contains = |column: &&Column| {
        matches!(relations.columns.get(&column.index), Some(ColumnRestriction::Filter(_)))
            || relations.filters.iter().any(|filter| filter.column == column.index)
    };
    if columns.iter().any(|column| contains(&column)) {
        return Err(CqlError::invalid(
            "Clustering columns can only be restricted with CONTAINS with a secondary index or filtering",
        ));
    }
    let mut expected = 0;
    for (position, column) in columns.iter().enumerate() {
        let width = match (relations.tuple_values.get(&position), relations.slices.get(&position)) {
            (Some((width, _)), _) => *width,
            (None, Some(_)) => 1,
            (None, None) => usize::from(relations.columns.contains_key(&column.index)),
        };
        if width > 0 && position > expected {
            return Err(CqlError::Invalid(format!(
                "PRIMARY KEY column \"{}\" cannot be restricted as preceding column \"{}\" is not restricted",
                column.name, columns[expected].name
            )));
        }
        expected = expected.max(position + width);
    }
    Ok(())
}

/// What the prefix did not take becomes a filter, or is an error.
fn rest_of_clustering(
    table: &Table,
    relations: &mut Relations,
    select: Option<bool>,
    filters: &mut Vec<Filter>,
) -> CqlResult<Vec<TupleFilter>> {
    let mut tuple_filters = Vec::new();
    for column in table.clustering() {
        if let Some(restriction) = relations.columns.remove(&column.index) {
            to_filters(column, restriction, filters);
        }
        if let Some((width, tuples)) = relations.tuple_values.remove(&column.position) {
            tuple_filters.push(TupleFilter::In { first: column.position, width, tuples });
        }
        if let Some(slice) = relations.slices.remove(&column.position) {
            tuple_filters.extend(slice.lower.map(TupleFilter::Lower));
            tuple_filters.extend(slice.upper.map(TupleFilter::Upper));
        }
    }
    if select.is_none() && !tuple_filters.is_empty() {
        return Err(CqlError::invalid("Multi-column relations have to follow each other in this statement"));
    }
    Ok(tuple_filters)
}

fn to_filters(column: &Column, restriction: ColumnRestriction, filters: &mut Vec<Filter>) {
    let filter =
        |operator: FilterOperator, values: ValueSet| Filter { column: column.index, element: None, operator, values };
    match restriction {
        ColumnRestriction::Values(values) => filters.push(filter(FilterOperator::In, values)),
        ColumnRestriction::Slice { lower, upper } => {
            let one = |bound: Bound| ValueSet::One(bound.value);
            if let Some(bound) = lower {
                let operator = if bound.inclusive { FilterOperator::GreaterOrEqual } else { FilterOperator::Greater };
                filters.push(filter(operator, one(bound)));
            }
            if let Some(bound) = upper {
                let operator = if bound.inclusive { FilterOperator::LessOrEqual } else { FilterOperator::Less };
                filters.push(filter(operator, one(bound)));
            }
        }
        ColumnRestriction::Filter(all) => filters.extend(all),
    }
}

/// The markers that are the partition key, one for each of its columns if all are plain markers.
pub fn partition_markers(partition: &PartitionRestriction) -> Vec<(usize, u16)> {
    let PartitionRestriction::Keys(values) = partition else { return Vec::new() };
    let markers = values.iter().enumerate().filter_map(|(position, values)| match values {
        ValueSet::One(Expression::Marker(marker)) => Some((position, marker.index)),
        _ => None,
    });
    markers.collect()
}
