//! EXECUTE (section 4.1.6): runs a prepared statement.

use bytes::Bytes;

use crate::error::CqlError;
use crate::frame::Version;
use crate::notation::{Reader, Writer};
use crate::request::parameters::QueryParameters;

/// A prepared statement with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execute {
    /// The id that PREPARE was answered with.
    pub id: Bytes,
    /// The id of the result metadata that the client knows; `Some` in v5 and only there.
    pub result_metadata_id: Option<Bytes>,
    pub parameters: QueryParameters,
}

impl Execute {
    /// Reads the body.
    pub fn decode(reader: &mut Reader, version: Version) -> Result<Execute, CqlError> {
        let id = reader.short_bytes("id of the prepared statement")?;
        let result_metadata_id =
            if version >= Version::V5 { Some(reader.short_bytes("id of the result metadata")?) } else { None };
        Ok(Execute { id, result_metadata_id, parameters: QueryParameters::decode(reader, version)? })
    }

    /// Appends the body. In v5 a missing result metadata id is written as an empty one, which no server knows.
    pub fn encode(&self, writer: &mut Writer<'_>, version: Version) -> Result<(), CqlError> {
        writer.short_bytes(&self.id, "id of the prepared statement")?;
        if version >= Version::V5 {
            let id = self.result_metadata_id.as_deref().unwrap_or_default();
            writer.short_bytes(id, "id of the result metadata")?;
        }
        self.parameters.encode(writer, version)
    }
}
