//! CREATE, ALTER and DROP TABLE.

use super::{CqlType, Identifier, Property, QualifiedName, Term};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTable {
    pub if_not_exists: bool,
    pub name: QualifiedName,
    /// In the order written; repetitions are for the planner to refuse. Perhaps empty.
    pub columns: Vec<ColumnDefinition>,
    /// `a int PRIMARY KEY` and `PRIMARY KEY (a)` are the same. `None` if there is none (the planner refuses that).
    pub primary_key: Option<PrimaryKey>,
    pub options: Vec<TableOption>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnDefinition {
    pub name: Identifier,
    pub column_type: CqlType,
    pub is_static: bool,
    pub mask: Option<ColumnMask>,
}

/// `MASKED WITH …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnMask {
    /// `None` for `DEFAULT`.
    pub function: Option<QualifiedName>,
    /// Empty for `DEFAULT`.
    pub arguments: Vec<Term>,
}

/// `PRIMARY KEY ((partition), clustering)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrimaryKey {
    /// Never empty.
    pub partition: Vec<Identifier>,
    pub clustering: Vec<Identifier>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableOption {
    /// The names of all properties of a table differ.
    Property(Property),
    CompactStorage,
    /// Never empty.
    ClusteringOrder(Vec<ClusteringOrder>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusteringOrder {
    pub column: Identifier,
    pub direction: Direction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    #[default]
    Ascending,
    Descending,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterTable {
    pub if_exists: bool,
    pub name: QualifiedName,
    pub action: AlterTableAction,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlterTableAction {
    /// `ADD [IF NOT EXISTS] column type` or `ADD (…, …)`; never empty.
    Add {
        if_not_exists: bool,
        columns: Vec<ColumnDefinition>,
    },
    /// `DROP [IF EXISTS] column` or `DROP (a, b)`, never empty; `USING TIMESTAMP` in microseconds, an integer as text.
    Drop {
        if_exists: bool,
        columns: Vec<Identifier>,
        timestamp: Option<Box<str>>,
    },
    /// `RENAME [IF EXISTS] a TO b AND …`, never empty.
    Rename {
        if_exists: bool,
        renames: Vec<Rename>,
    },
    /// `ALTER column TYPE type`: known to the grammar, refused by Cassandra since 3.10.
    AlterType {
        column: Identifier,
        to: CqlType,
    },
    /// `ALTER [IF EXISTS] column MASKED WITH …`, or `… DROP MASKED` if there is no mask.
    Mask {
        if_exists: bool,
        column: Identifier,
        mask: Option<ColumnMask>,
    },
    DropCompactStorage,
    /// `WITH …`, never empty; the names differ.
    With(Vec<Property>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    pub from: Identifier,
    pub to: Identifier,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropTable {
    pub if_exists: bool,
    pub name: QualifiedName,
}
