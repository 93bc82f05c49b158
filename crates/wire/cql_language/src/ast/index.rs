//! CREATE and DROP INDEX.

use super::{Identifier, Property, QualifiedName};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateIndex {
    /// `CREATE CUSTOM INDEX`.
    pub custom: bool,
    pub if_not_exists: bool,
    pub name: Option<Identifier>,
    pub table: QualifiedName,
    /// Perhaps empty: some custom indexes take no column.
    pub targets: Vec<IndexTarget>,
    /// `USING 'class'`.
    pub using: Option<Box<str>>,
    /// The names differ.
    pub properties: Vec<Property>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexTarget {
    pub kind: IndexTargetKind,
    pub column: Identifier,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IndexTargetKind {
    /// The column by itself; for a collection its values.
    Simple,
    Keys,
    Values,
    Entries,
    /// A frozen collection as a whole.
    Full,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropIndex {
    pub if_exists: bool,
    pub name: QualifiedName,
}
