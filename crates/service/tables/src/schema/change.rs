//! The entries of the metadata log that belong to tables: what a statement asks for, with everything in it that is not a
//! function of the schema (names folded, options read, the time of a DROP COLUMN, the number of tablets), so that every
//! node comes to the same result.
//!
//! Functions, aggregates, indexes and views are not here yet. Theirs are the numbers of entries from 14 on, a map each in
//! [`super::Keyspace`] (indexes: in [`super::Table`]), a variant each in `describe::elements`, and the tables of
//! `system_schema` that are empty now.
//!
//! User types stand in a change by name only; [`super::machine`] looks them up when it applies the change.

use super::options::TableOption;
use super::{ColumnKind, Durability, Replication, TableId, UserField};
use holon_cql::CqlType;
use std::rc::Rc;

#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    CreateKeyspace {
        name: Rc<str>,
        if_not_exists: bool,
        replication: Replication,
        durable_writes: bool,
        durability: Durability,
    },
    /// `None` leaves an option as it is.
    AlterKeyspace {
        name: Rc<str>,
        if_exists: bool,
        replication: Option<Replication>,
        durable_writes: Option<bool>,
        durability: Option<Durability>,
    },
    DropKeyspace {
        name: Rc<str>,
        if_exists: bool,
    },
    CreateTable {
        table: QualifiedName,
        if_not_exists: bool,
        /// `WITH ID = …`.
        id: Option<TableId>,
        /// A power of two, chosen by the coordinator.
        tablets: u32,
        columns: Vec<NewColumn>,
        options: OptionChanges,
    },
    AddColumns {
        table: QualifiedName,
        if_exists: bool,
        if_not_exists: bool,
        columns: Vec<NewColumn>,
    },
    DropColumns {
        table: QualifiedName,
        if_exists: bool,
        if_column_exists: bool,
        columns: Vec<Rc<str>>,
        /// Microseconds since the epoch: `USING TIMESTAMP`, or when the coordinator took the statement.
        dropped_at_micros: i64,
    },
    RenameColumns {
        table: QualifiedName,
        if_exists: bool,
        if_column_exists: bool,
        renames: Vec<(Rc<str>, Rc<str>)>,
    },
    SetTableOptions {
        table: QualifiedName,
        if_exists: bool,
        options: OptionChanges,
    },
    DropTable {
        table: QualifiedName,
        if_exists: bool,
    },
    CreateType {
        user_type: QualifiedName,
        if_not_exists: bool,
        fields: Vec<UserField>,
    },
    AddField {
        user_type: QualifiedName,
        if_exists: bool,
        if_not_exists: bool,
        field: UserField,
    },
    RenameFields {
        user_type: QualifiedName,
        if_exists: bool,
        if_field_exists: bool,
        renames: Vec<(Rc<str>, Rc<str>)>,
    },
    DropType {
        user_type: QualifiedName,
        if_exists: bool,
    },
}

/// The options that are set; a later one of the same kind wins.
pub type OptionChanges = Vec<TableOption>;

/// `keyspace.name` of a table or of a user type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QualifiedName {
    pub keyspace: Rc<str>,
    pub name: Rc<str>,
}

impl std::fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.keyspace, self.name)
    }
}

/// A column of CREATE TABLE or ADD. Those of the primary key come in the order of the key.
#[derive(Clone, Debug, PartialEq)]
pub struct NewColumn {
    pub name: Rc<str>,
    pub column_type: CqlType,
    pub kind: ColumnKind,
    /// For clustering columns.
    pub is_descending: bool,
}

impl Change {
    /// The keyspace that is changed or in which something is.
    pub fn keyspace(&self) -> &Rc<str> {
        match self {
            Change::CreateKeyspace { name, .. }
            | Change::AlterKeyspace { name, .. }
            | Change::DropKeyspace { name, .. } => name,
            Change::CreateTable { table, .. }
            | Change::AddColumns { table, .. }
            | Change::DropColumns { table, .. }
            | Change::RenameColumns { table, .. }
            | Change::SetTableOptions { table, .. }
            | Change::DropTable { table, .. } => &table.keyspace,
            Change::CreateType { user_type, .. }
            | Change::AddField { user_type, .. }
            | Change::RenameFields { user_type, .. }
            | Change::DropType { user_type, .. } => &user_type.keyspace,
        }
    }
}
