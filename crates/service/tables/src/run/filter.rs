//! Tests of rows that are read: ALLOW FILTERING.

use super::keys::{required, tuples_of, value_set};
use crate::error::{CqlError, CqlResult};
use crate::plan::expression::{Environment, Expression, RowValues};
use crate::plan::relations::{Filter, FilterOperator, TupleBound, TupleFilter, ValueSet};
use crate::plan::restrictions::Restrictions;
use crate::schema::{Column, Table};
use crate::tablet::contains;
use crate::types::{collection, compare::compare};
use bytes::Bytes;
use holon_cql::{BoundValue, CqlType};
use std::cmp::Ordering;

/// A filter with its values.
pub enum RowFilter {
    Column(ColumnFilter),
    Tuple(TupleTest),
}

/// A test of one column, or of an element of it.
pub struct ColumnFilter {
    column: usize,
    cql_type: CqlType,
    element: Option<Bytes>,
    operator: FilterOperator,
    values: Vec<Bytes>,
}

/// A test of clustering columns that follow each other: the order to one of the tuples is one of these.
pub struct TupleTest {
    columns: Vec<(usize, CqlType)>,
    tuples: Vec<Vec<Bytes>>,
    wanted: fn(Ordering) -> bool,
}

/// # Errors
/// Null values.
pub fn row_filters(
    table: &Table,
    restrictions: &Restrictions,
    environment: &Environment<'_>,
) -> CqlResult<Vec<RowFilter>> {
    let of_column = |filter: &Filter| {
        let column = &table.columns[filter.column];
        let element = match &filter.element {
            Some(key) => Some(map_part(key, "key", environment, &column.name)?),
            None => None,
        };
        let values = match &filter.values {
            ValueSet::One(value) if element.is_some() => {
                vec![map_part(value, "value", environment, &column.name)?]
            }
            values => value_set(values, environment, &column.name)?,
        };
        let cql_type = column.column_type.clone();
        let filter = ColumnFilter { column: filter.column, cql_type, element, operator: filter.operator, values };
        Ok(RowFilter::Column(filter))
    };
    let of_tuple = |filter: &TupleFilter| tuple_test(table, filter, environment).map(RowFilter::Tuple);
    let columns = restrictions.filters.iter().map(of_column);
    columns.chain(restrictions.tuple_filters.iter().map(of_tuple)).collect()
}

/// The key or the value that an entry of a map is asked for.
fn map_part(part: &Expression, what: &str, environment: &Environment<'_>, column: &str) -> CqlResult<Bytes> {
    match part.evaluate(environment)? {
        BoundValue::Value(bytes) => Ok(bytes),
        BoundValue::Null => Err(CqlError::Invalid(format!("Unsupported null map {what} for column {column}"))),
        BoundValue::Unset => Err(CqlError::Invalid(format!("Unsupported unset map {what} for column {column}"))),
    }
}

fn tuple_test(table: &Table, filter: &TupleFilter, environment: &Environment<'_>) -> CqlResult<TupleTest> {
    let columns = |first: usize, width: usize| table.clustering().get(first..first + width).unwrap_or_default();
    let test = |columns: &[Column], tuples, wanted| {
        let columns = columns.iter().map(|column| (column.index, column.column_type.clone())).collect();
        TupleTest { columns, tuples, wanted }
    };
    let bound = |bound: &TupleBound, wanted| {
        let columns = columns(bound.first, bound.values.len());
        let values = bound.values.iter().zip(columns);
        let values = values.map(|(value, column)| required(value, environment, &column.name));
        Ok(test(columns, vec![values.collect::<CqlResult<_>>()?], wanted))
    };
    match filter {
        TupleFilter::Lower(lower) if lower.inclusive => bound(lower, Ordering::is_ge),
        TupleFilter::Lower(lower) => bound(lower, Ordering::is_gt),
        TupleFilter::Upper(upper) if upper.inclusive => bound(upper, Ordering::is_le),
        TupleFilter::Upper(upper) => bound(upper, Ordering::is_lt),
        TupleFilter::In { first, width, tuples } => {
            let columns = columns(*first, *width);
            Ok(test(columns, tuples_of(columns, tuples, environment)?, Ordering::is_eq))
        }
    }
}

impl TupleTest {
    fn accepts(&self, row: &dyn RowValues) -> bool {
        let values: Option<Vec<Bytes>> = self.columns.iter().map(|(index, _)| row.column(*index)).collect();
        let Some(values) = values else { return false };
        let order = |tuple: &Vec<Bytes>| {
            let parts = values.iter().zip(tuple).zip(&self.columns);
            let orders = parts.map(|((value, wanted), (_, cql_type))| compare(cql_type, value, wanted));
            orders.fold(Ordering::Equal, Ordering::then)
        };
        self.tuples.iter().any(|tuple| (self.wanted)(order(tuple)))
    }
}

impl RowFilter {
    /// A null is never what a filter asks for.
    pub fn accepts(&self, row: &dyn RowValues) -> bool {
        match self {
            RowFilter::Column(filter) => filter.accepts(row),
            RowFilter::Tuple(test) => test.accepts(row),
        }
    }
}

impl ColumnFilter {
    fn accepts(&self, row: &dyn RowValues) -> bool {
        let Some(value) = row.column(self.column) else { return false };
        if let Some(key) = &self.element {
            let CqlType::Map(pair) = self.cql_type.unfrozen() else { return false };
            let found = collection::entries(&value).find(|(other, _)| compare(&pair.0, other, key).is_eq());
            return found.is_some_and(|(_, found)| self.test(&pair.1, found));
        }
        self.test(&self.cql_type, &value)
    }

    fn test(&self, cql_type: &CqlType, value: &[u8]) -> bool {
        let equal = |wanted: &Bytes| compare(cql_type, value, wanted).is_eq();
        let order = || self.values.first().map(|wanted| compare(cql_type, value, wanted));
        match self.operator {
            FilterOperator::In => self.values.iter().any(equal),
            FilterOperator::Less => order().is_some_and(|order| order.is_lt()),
            FilterOperator::LessOrEqual => order().is_some_and(|order| order.is_le()),
            FilterOperator::Greater => order().is_some_and(|order| order.is_gt()),
            FilterOperator::GreaterOrEqual => order().is_some_and(|order| order.is_ge()),
            FilterOperator::Contains => self.values.iter().all(|wanted| contains(cql_type, value, wanted, false)),
            FilterOperator::ContainsKey => self.values.iter().all(|wanted| contains(cql_type, value, wanted, true)),
        }
    }
}
