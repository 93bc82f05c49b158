//! Tables and their columns.

use super::TableOptions;
use holon_base::GroupId;
use holon_cql::CqlType;
use holon_store::{CellEntry, Row};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// The uuid of a table, as clients see it. A function of the metadata entry that created the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u128);

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&holon_base::NodeId(self.0), f)
    }
}

impl fmt::Debug for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ColumnKind {
    PartitionKey,
    Clustering,
    Static,
    Regular,
}

impl ColumnKind {
    /// As `system_schema.columns` names it.
    pub fn name(self) -> &'static str {
        match self {
            ColumnKind::PartitionKey => "partition_key",
            ColumnKind::Clustering => "clustering",
            ColumnKind::Static => "static",
            ColumnKind::Regular => "regular",
        }
    }

    pub fn is_primary_key(self) -> bool {
        matches!(self, ColumnKind::PartitionKey | ColumnKind::Clustering)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Unique in the table for ever: a column that is dropped and added again has a new one, so that what was dropped
    /// stays dropped.
    pub id: u32,
    pub name: Rc<str>,
    pub kind: ColumnKind,
    /// With user types resolved and every `frozen` explicit: below the top level, and around tuples at it, Cassandra
    /// implies it.
    pub column_type: CqlType,
    /// Among the partition key columns or the clustering columns, from 0; 0 for all others.
    pub position: usize,
    /// CLUSTERING ORDER BY (… DESC).
    pub is_descending: bool,
    /// Where the column is in [`Table::columns`].
    pub index: usize,
}

impl Column {
    /// A collection or user type without `frozen`: its elements are written and deleted one by one.
    pub fn is_multi_cell(&self) -> bool {
        self.column_type.is_multi_cell()
    }

    pub fn is_static(&self) -> bool {
        self.kind == ColumnKind::Static
    }
}

/// A column that was dropped: the name cannot come back with another type that reads the old bytes wrongly.
#[derive(Clone, Debug, PartialEq)]
pub struct DroppedColumn {
    pub id: u32,
    pub name: Rc<str>,
    pub kind: ColumnKind,
    pub column_type: CqlType,
    /// Microseconds since the epoch.
    pub dropped_at_micros: i64,
}

/// What a table is made of; [`Table::new`] puts it in order and derives the rest.
#[derive(Clone, Debug, PartialEq)]
pub struct TableDefinition {
    pub id: TableId,
    pub keyspace: Rc<str>,
    pub name: Rc<str>,
    /// The tablets of the table. `GroupId(0)` for a virtual table.
    pub group: GroupId,
    /// A power of two; 0 for a virtual table.
    pub tablets: u32,
    pub columns: Vec<Column>,
    /// Larger than the id of any column there ever was.
    pub next_column_id: u32,
    pub dropped: BTreeMap<Rc<str>, DroppedColumn>,
    pub options: TableOptions,
}

/// A table, with what is looked up often. Dereferences to its [`TableDefinition`].
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    definition: TableDefinition,
    by_name: BTreeMap<Rc<str>, usize>,
    by_id: BTreeMap<u32, usize>,
    partition_key_end: usize,
    clustering_end: usize,
    static_end: usize,
    is_counter: bool,
}

impl std::ops::Deref for Table {
    type Target = TableDefinition;

    fn deref(&self) -> &TableDefinition {
        &self.definition
    }
}

impl Table {
    /// Orders the columns as `SELECT *` returns them (partition key, clustering, then the static ones by name, then the
    /// regular ones by name) and numbers them.
    pub fn new(mut definition: TableDefinition) -> Table {
        definition.columns.sort_by(|a, b| {
            a.kind.cmp(&b.kind).then_with(|| a.position.cmp(&b.position)).then_with(|| a.name.cmp(&b.name))
        });
        for (index, column) in definition.columns.iter_mut().enumerate() {
            column.index = index;
        }
        let columns = &definition.columns;
        let end = |last: ColumnKind| columns.iter().take_while(|column| column.kind <= last).count();
        Table {
            by_name: columns.iter().map(|column| (column.name.clone(), column.index)).collect(),
            by_id: columns.iter().map(|column| (column.id, column.index)).collect(),
            partition_key_end: end(ColumnKind::PartitionKey),
            clustering_end: end(ColumnKind::Clustering),
            static_end: end(ColumnKind::Static),
            is_counter: columns
                .iter()
                .map(|column| &column.column_type)
                .chain(definition.dropped.values().map(|column| &column.column_type))
                .any(|cql_type| *cql_type == CqlType::Counter),
            definition,
        }
    }

    pub fn definition(&self) -> &TableDefinition {
        &self.definition
    }

    pub fn column(&self, name: &str) -> Option<&Column> {
        self.by_name.get(name).and_then(|&index| self.columns.get(index))
    }

    pub fn column_by_id(&self, id: u32) -> Option<&Column> {
        self.by_id.get(&id).and_then(|&index| self.columns.get(index))
    }

    /// Never empty, by position.
    pub fn partition_key(&self) -> &[Column] {
        &self.definition.columns[..self.partition_key_end]
    }

    /// By position.
    pub fn clustering(&self) -> &[Column] {
        &self.definition.columns[self.partition_key_end..self.clustering_end]
    }

    /// By name.
    pub fn static_columns(&self) -> &[Column] {
        &self.definition.columns[self.clustering_end..self.static_end]
    }

    /// By name.
    pub fn regular_columns(&self) -> &[Column] {
        &self.definition.columns[self.static_end..]
    }

    pub fn has_static_columns(&self) -> bool {
        self.static_end > self.clustering_end
    }

    /// All columns beside the primary key are counters, and those that were dropped: it never becomes another kind of table.
    pub fn is_counter(&self) -> bool {
        self.is_counter
    }

    /// Whether a stored row is a row still: what was written to columns that were dropped makes none.
    pub fn shows(&self, row: &Row) -> bool {
        let any_dropped = self.next_column_id as usize > self.columns.len();
        let known = |entry: &CellEntry| self.by_id.contains_key(&entry.column);
        !any_dropped || row.marker.is_some() || row.cells.iter().any(known)
    }

    /// Its rows are computed (`system::virtual_table`), not stored.
    pub fn is_virtual(&self) -> bool {
        self.definition.tablets == 0
    }
}
