//! Triggers and DESCRIBE.

use super::{Identifier, QualifiedName};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTrigger {
    pub if_not_exists: bool,
    pub name: Identifier,
    pub table: QualifiedName,
    /// `USING 'class'`.
    pub using: Box<str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropTrigger {
    pub if_exists: bool,
    pub name: Identifier,
    pub table: QualifiedName,
}

/// The server side of DESCRIBE (`DESC` is the same), as cqlsh 6 sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Describe {
    pub target: DescribeTarget,
    pub with_internals: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DescribeTarget {
    Cluster,
    /// `[FULL] SCHEMA`; full includes the system keyspaces.
    Schema {
        full: bool,
    },
    Keyspaces,
    /// `[ONLY] KEYSPACE [name]`; without a name the keyspace in use; only: without its tables and types.
    Keyspace {
        name: Option<Identifier>,
        only: bool,
    },
    Tables,
    Table(QualifiedName),
    Index(QualifiedName),
    MaterializedView(QualifiedName),
    Types,
    Type(QualifiedName),
    Functions,
    Function(QualifiedName),
    Aggregates,
    Aggregate(QualifiedName),
    /// `DESCRIBE name`: a keyspace, table, view or index of that name, in this order.
    Generic(QualifiedName),
}
