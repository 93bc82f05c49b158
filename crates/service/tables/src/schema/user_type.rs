//! User-defined types.

use holon_cql::CqlType;
use std::rc::Rc;

/// `CREATE TYPE keyspace.name (…)`.
#[derive(Clone, Debug, PartialEq)]
pub struct UserType {
    pub keyspace: Rc<str>,
    pub name: Rc<str>,
    /// In the order of definition, which is the order of a serialized value. Never empty.
    pub fields: Vec<UserField>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct UserField {
    pub name: Rc<str>,
    pub field_type: CqlType,
    /// A collection or user type that was written without `frozen`. It matters to what DESCRIBE prints and to whether the
    /// type may be used unfrozen; a value of the type is serialized the same.
    pub is_multi_cell: bool,
}

impl UserType {
    pub fn field(&self, name: &str) -> Option<&UserField> {
        self.fields.iter().find(|field| *field.name == *name)
    }
}
