//! The bind markers of a statement: their types, their names, and where values go.

use crate::error::{CqlError, CqlResult};
use holon_cql::request::Values;
use holon_cql::{BoundValue, ColumnSpec, CqlType};
use std::sync::Arc;

/// All markers, by position.
#[derive(Clone, Debug, Default)]
pub struct Markers {
    specs: Arc<[ColumnSpec]>,
    partition_key_indexes: Arc<[u16]>,
}

impl Markers {
    /// What PREPARE answers.
    pub fn specs(&self) -> &Arc<[ColumnSpec]> {
        &self.specs
    }

    /// The markers that are the partition key, in its order; empty unless all of it is bound by markers.
    pub fn partition_key_indexes(&self) -> &Arc<[u16]> {
        &self.partition_key_indexes
    }

    /// Brings values into the order of the markers.
    ///
    /// # Errors
    /// Too few or too many values, or names that no marker has.
    pub fn positional(&self, values: Values) -> CqlResult<Vec<BoundValue>> {
        match values {
            Values::Positional(values) if values.len() == self.specs.len() => Ok(values),
            Values::Positional(values) => Err(CqlError::Invalid(format!(
                "Invalid amount of bind variables: expected {} but got {}",
                self.specs.len(),
                values.len()
            ))),
            Values::Named(values) => self.by_name(values),
        }
    }

    fn by_name(&self, values: Vec<(String, BoundValue)>) -> CqlResult<Vec<BoundValue>> {
        let find = |name: &str| values.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
        let missing = |name: &str| CqlError::Invalid(format!("Missing value for bind variable '{name}'"));
        self.specs.iter().map(|spec| find(&spec.name).ok_or_else(|| missing(&spec.name))).collect()
    }
}

/// Collects the markers while a statement is planned.
pub struct MarkerCollector {
    keyspace: Arc<str>,
    table: Arc<str>,
    specs: Vec<Option<ColumnSpec>>,
    /// Partition key column of a marker that stands for the whole of one.
    partition_key: Vec<(usize, u16)>,
}

impl MarkerCollector {
    pub fn new(keyspace: &str, table: &str) -> MarkerCollector {
        MarkerCollector { keyspace: keyspace.into(), table: table.into(), specs: Vec::new(), partition_key: Vec::new() }
    }

    /// The following markers belong to another table (of a batch).
    pub fn enter_table(&mut self, keyspace: &str, table: &str) {
        self.keyspace = keyspace.into();
        self.table = table.into();
        self.partition_key.clear();
    }

    /// The type of a marker is known. `name` is used if the marker has none of its own.
    pub fn add(&mut self, index: u16, own_name: Option<&str>, name: &str, cql_type: &CqlType) {
        let index = usize::from(index);
        if self.specs.len() <= index {
            self.specs.resize(index + 1, None);
        }
        self.specs[index] = Some(ColumnSpec {
            keyspace: self.keyspace.clone(),
            table: self.table.clone(),
            name: own_name.unwrap_or(name).into(),
            cql_type: cql_type.clone(),
        });
    }

    pub fn is_partition_key(&mut self, position: usize, index: u16) {
        self.partition_key.push((position, index));
    }

    /// `partition_key_columns`: how many the table has.
    pub fn finish(mut self, partition_key_columns: usize) -> CqlResult<Markers> {
        let specs: Option<Vec<ColumnSpec>> = self.specs.into_iter().collect();
        let specs =
            specs.ok_or_else(|| CqlError::invalid("Cannot infer the type of a bind marker; add a type hint"))?;
        self.partition_key.sort_unstable();
        self.partition_key.dedup_by_key(|(position, _)| *position);
        let complete = self.partition_key.len() == partition_key_columns;
        let indexes: Vec<u16> =
            if complete { self.partition_key.iter().map(|(_, index)| *index).collect() } else { Vec::new() };
        Ok(Markers { specs: specs.into(), partition_key_indexes: indexes.into() })
    }
}
