//! PREPARE (section 4.1.5): a statement to be executed later.

use crate::error::CqlError;
use crate::frame::Version;
use crate::notation::{Reader, Writer};

/// Flag of v5: a keyspace follows.
const WITH_KEYSPACE: i32 = 0x01;

/// A statement to prepare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepare {
    pub statement: String,
    /// Takes the place of the connection's keyspace (v5).
    pub keyspace: Option<String>,
}

impl Prepare {
    /// Reads the body.
    pub fn decode(reader: &mut Reader, version: Version) -> Result<Prepare, CqlError> {
        let statement = reader.long_string("statement")?;
        if version < Version::V5 {
            return Ok(Prepare { statement, keyspace: None });
        }
        let offset = reader.offset();
        let flags = reader.int("flags of PREPARE")?;
        if flags & !WITH_KEYSPACE != 0 {
            let value = i64::from(flags);
            return Err(CqlError::UnknownValue { what: "flags of PREPARE", offset, value, expected: "0 or 1" });
        }
        let keyspace = if flags & WITH_KEYSPACE != 0 { Some(reader.string("keyspace")?) } else { None };
        Ok(Prepare { statement, keyspace })
    }

    /// Appends the body.
    pub fn encode(&self, writer: &mut Writer<'_>, version: Version) -> Result<(), CqlError> {
        writer.long_string(&self.statement, "statement")?;
        match &self.keyspace {
            Some(_) if version < Version::V5 => {
                return Err(CqlError::NeedsVersion { what: "keyspace of a statement", needed: Version::V5, version });
            }
            Some(keyspace) => {
                writer.int(WITH_KEYSPACE);
                writer.string(keyspace, "keyspace")?;
            }
            None if version >= Version::V5 => writer.int(0),
            None => {}
        }
        Ok(())
    }
}
