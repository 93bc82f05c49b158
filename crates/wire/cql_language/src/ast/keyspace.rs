//! CREATE, ALTER and DROP KEYSPACE.

use super::{Identifier, Property};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateKeyspace {
    pub if_not_exists: bool,
    pub name: Identifier,
    /// Never empty; the names differ.
    pub properties: Vec<Property>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterKeyspace {
    pub if_exists: bool,
    pub name: Identifier,
    /// Never empty; the names differ.
    pub properties: Vec<Property>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropKeyspace {
    pub if_exists: bool,
    pub name: Identifier,
}
