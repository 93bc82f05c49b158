//! Names: of columns, tables, keyspaces, types, functions, roles.

/// A name in its canonical form: lower case if it was written without quotes, as written otherwise, `""` undone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identifier(Box<str>);

impl Identifier {
    /// Takes a name that is canonical already, such as one that comes from the schema. Folds nothing.
    pub fn new(canonical: impl Into<Box<str>>) -> Identifier {
        Identifier(canonical.into())
    }

    /// The name without quotes, as the schema keys it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Identifier {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Identifier {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Identifier {
    fn from(canonical: &str) -> Identifier {
        Identifier::new(canonical)
    }
}

impl From<Identifier> for String {
    fn from(identifier: Identifier) -> String {
        identifier.0.into()
    }
}

impl PartialEq<str> for Identifier {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for Identifier {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

/// `[keyspace.]name`, of a table, view, index, type, function or aggregate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QualifiedName {
    /// `None`: the keyspace in use decides.
    pub keyspace: Option<Identifier>,
    pub name: Identifier,
}
