//! CREATE, ALTER and DROP MATERIALIZED VIEW.

use super::{PrimaryKey, Property, QualifiedName, Relation, Selection, TableOption};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateMaterializedView {
    pub if_not_exists: bool,
    pub name: QualifiedName,
    pub selection: Selection,
    pub base: QualifiedName,
    pub relations: Vec<Relation>,
    pub primary_key: PrimaryKey,
    /// Never `COMPACT STORAGE`.
    pub options: Vec<TableOption>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterMaterializedView {
    pub if_exists: bool,
    pub name: QualifiedName,
    /// Never empty; the names differ.
    pub properties: Vec<Property>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropMaterializedView {
    pub if_exists: bool,
    pub name: QualifiedName,
}
