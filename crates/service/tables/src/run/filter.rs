//! Tests of rows that are read: ALLOW FILTERING.

use super::keys::{required, value_set};
use crate::error::CqlResult;
use crate::plan::expression::{Environment, RowValues};
use crate::plan::relations::{Filter, FilterOperator};
use crate::schema::Table;
use crate::tablet::contains;
use crate::types::{collection, compare::compare};
use bytes::Bytes;
use holon_cql::CqlType;

/// A filter with its values.
pub struct RowFilter {
    column: usize,
    cql_type: CqlType,
    element: Option<Bytes>,
    operator: FilterOperator,
    values: Vec<Bytes>,
}

/// # Errors
/// Null values.
pub fn row_filters(table: &Table, filters: &[Filter], environment: &Environment<'_>) -> CqlResult<Vec<RowFilter>> {
    let evaluated = |filter: &Filter| {
        let column = &table.columns[filter.column];
        let element = filter.element.as_ref().map(|key| required(key, environment, &column.name)).transpose()?;
        let values = value_set(&filter.values, environment, &column.name)?;
        let cql_type = column.column_type.clone();
        Ok(RowFilter { column: filter.column, cql_type, element, operator: filter.operator, values })
    };
    filters.iter().map(evaluated).collect()
}

impl RowFilter {
    /// A null is never what a filter asks for.
    pub fn accepts(&self, row: &dyn RowValues) -> bool {
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
