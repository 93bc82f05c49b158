//! CREATE, ALTER and DROP TYPE.

use super::{CqlType, Identifier, QualifiedName, Rename};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateType {
    pub if_not_exists: bool,
    pub name: QualifiedName,
    /// Never empty.
    pub fields: Vec<FieldDefinition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDefinition {
    pub name: Identifier,
    pub field_type: CqlType,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterType {
    pub if_exists: bool,
    pub name: QualifiedName,
    pub action: AlterTypeAction,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlterTypeAction {
    Add {
        if_not_exists: bool,
        field: FieldDefinition,
    },
    /// Never empty.
    Rename {
        if_exists: bool,
        renames: Vec<Rename>,
    },
    /// `ALTER field TYPE type`: known to the grammar, refused by Cassandra since 3.10.
    AlterField {
        field: Identifier,
        to: CqlType,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropType {
    pub if_exists: bool,
    pub name: QualifiedName,
}
