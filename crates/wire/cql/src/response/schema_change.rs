//! What changed in the schema: the result of a statement (section 4.2.5.5) and an event (section 4.2.6).

use crate::error::CqlError;
use crate::frame::Version;
use crate::notation::{Reader, Writer};

/// What happened to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SchemaChangeKind {
    Created,
    Updated,
    Dropped,
}

/// What was changed. A change of an index or of a view is a change of its table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SchemaTarget {
    Keyspace,
    Table {
        name: String,
    },
    /// A user-defined type.
    Type {
        name: String,
    },
    /// v4 and later; arguments are CQL types.
    Function {
        name: String,
        arguments: Vec<String>,
    },
    /// v4 and later; arguments are CQL types.
    Aggregate {
        name: String,
        arguments: Vec<String>,
    },
}

/// A change of the schema.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SchemaChange {
    pub kind: SchemaChangeKind,
    pub keyspace: String,
    pub target: SchemaTarget,
}

impl SchemaChange {
    /// Reads change, target and options.
    pub fn decode(reader: &mut Reader) -> Result<SchemaChange, CqlError> {
        let (what, offset) = ("kind of schema change", reader.offset());
        let kind = match reader.string(what)?.as_str() {
            "CREATED" => SchemaChangeKind::Created,
            "UPDATED" => SchemaChangeKind::Updated,
            "DROPPED" => SchemaChangeKind::Dropped,
            other => {
                let expected = "CREATED, UPDATED or DROPPED";
                return Err(CqlError::UnknownName { what, offset, value: other.to_owned(), expected });
            }
        };
        let (what, offset) = ("target of a schema change", reader.offset());
        let target = reader.string(what)?;
        let keyspace = reader.string("keyspace")?;
        let target = match target.as_str() {
            "KEYSPACE" => SchemaTarget::Keyspace,
            "TABLE" => SchemaTarget::Table { name: reader.string("table")? },
            "TYPE" => SchemaTarget::Type { name: reader.string("type")? },
            "FUNCTION" => {
                let name = reader.string("function")?;
                SchemaTarget::Function { name, arguments: reader.string_list("arguments")? }
            }
            "AGGREGATE" => {
                let name = reader.string("aggregate")?;
                SchemaTarget::Aggregate { name, arguments: reader.string_list("arguments")? }
            }
            _ => {
                let expected = "KEYSPACE, TABLE, TYPE, FUNCTION or AGGREGATE";
                return Err(CqlError::UnknownName { what, offset, value: target, expected });
            }
        };
        Ok(SchemaChange { kind, keyspace, target })
    }

    /// Appends change, target and options. v3 knows no functions and aggregates: there it is the keyspace that changed,
    /// as Cassandra tells it.
    pub fn encode(&self, writer: &mut Writer<'_>, version: Version) -> Result<(), CqlError> {
        let kind = match self.kind {
            SchemaChangeKind::Created => "CREATED",
            SchemaChangeKind::Updated => "UPDATED",
            SchemaChangeKind::Dropped => "DROPPED",
        };
        let (target, name, arguments) = match &self.target {
            SchemaTarget::Keyspace => ("KEYSPACE", None, None),
            SchemaTarget::Table { name } => ("TABLE", Some(name), None),
            SchemaTarget::Type { name } => ("TYPE", Some(name), None),
            SchemaTarget::Function { .. } | SchemaTarget::Aggregate { .. } if version < Version::V4 => {
                writer.string("UPDATED", "kind of schema change")?;
                writer.string("KEYSPACE", "target of a schema change")?;
                return writer.string(&self.keyspace, "keyspace");
            }
            SchemaTarget::Function { name, arguments } => ("FUNCTION", Some(name), Some(arguments)),
            SchemaTarget::Aggregate { name, arguments } => ("AGGREGATE", Some(name), Some(arguments)),
        };
        writer.string(kind, "kind of schema change")?;
        writer.string(target, "target of a schema change")?;
        writer.string(&self.keyspace, "keyspace")?;
        if let Some(name) = name {
            writer.string(name, "name of the schema element")?;
        }
        if let Some(arguments) = arguments {
            writer.string_list(arguments, "arguments")?;
        }
        Ok(())
    }
}
