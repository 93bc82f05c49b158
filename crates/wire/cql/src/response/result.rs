//! RESULT (section 4.2.5): what QUERY, PREPARE, EXECUTE and BATCH are answered with.

use crate::error::CqlError;
use crate::frame::Version;
use crate::notation::{Reader, Writer};
use crate::response::prepared::Prepared;
use crate::response::schema_change::SchemaChange;
use crate::rows::{EncodedRows, Rows};

const VOID: i32 = 1;
pub(crate) const ROWS: i32 = 2;
const SET_KEYSPACE: i32 = 3;
const PREPARED: i32 = 4;
const SCHEMA_CHANGE: i32 = 5;

/// A result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResultResponse {
    Void,
    /// What a decoder finds; a server may send it, but rather writes with `RowsWriter`.
    Rows(Rows),
    /// What `RowsWriter` made; never found by a decoder.
    EncodedRows(EncodedRows),
    SetKeyspace(String),
    Prepared(Box<Prepared>),
    SchemaChange(SchemaChange),
}

impl ResultResponse {
    /// Reads the body.
    pub fn decode(mut reader: Reader, version: Version) -> Result<ResultResponse, CqlError> {
        let (what, offset) = ("kind of result", reader.offset());
        Ok(match reader.int(what)? {
            VOID => ResultResponse::Void,
            ROWS => ResultResponse::Rows(Rows::decode(reader, version)?),
            SET_KEYSPACE => ResultResponse::SetKeyspace(reader.string("keyspace")?),
            PREPARED => ResultResponse::Prepared(Box::new(Prepared::decode(&mut reader, version)?)),
            SCHEMA_CHANGE => ResultResponse::SchemaChange(SchemaChange::decode(&mut reader)?),
            other => {
                let expected = "1 (void), 2 (rows), 3 (set keyspace), 4 (prepared) or 5 (schema change)";
                return Err(CqlError::UnknownValue { what, offset, value: i64::from(other), expected });
            }
        })
    }

    /// Appends the body.
    pub fn encode(&self, writer: &mut Writer<'_>, version: Version) -> Result<(), CqlError> {
        match self {
            ResultResponse::Void => writer.int(VOID),
            ResultResponse::Rows(rows) => {
                writer.int(ROWS);
                rows.encode(writer, version)?;
            }
            ResultResponse::EncodedRows(rows) => rows.encode(writer, version)?,
            ResultResponse::SetKeyspace(keyspace) => {
                writer.int(SET_KEYSPACE);
                writer.string(keyspace, "keyspace")?;
            }
            ResultResponse::Prepared(prepared) => {
                writer.int(PREPARED);
                prepared.encode(writer, version)?;
            }
            ResultResponse::SchemaChange(change) => {
                writer.int(SCHEMA_CHANGE);
                change.encode(writer, version)?;
            }
        }
        Ok(())
    }
}
