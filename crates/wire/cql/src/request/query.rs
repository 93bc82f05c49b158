//! QUERY (section 4.1.4): a statement as text.

use crate::error::CqlError;
use crate::frame::Version;
use crate::notation::{Reader, Writer};
use crate::request::parameters::QueryParameters;

/// A statement with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    pub statement: String,
    pub parameters: QueryParameters,
}

impl Query {
    /// Reads the body.
    pub fn decode(reader: &mut Reader, version: Version) -> Result<Query, CqlError> {
        let statement = reader.long_string("statement")?;
        Ok(Query { statement, parameters: QueryParameters::decode(reader, version)? })
    }

    /// Appends the body.
    pub fn encode(&self, writer: &mut Writer<'_>, version: Version) -> Result<(), CqlError> {
        writer.long_string(&self.statement, "statement")?;
        self.parameters.encode(writer, version)
    }
}
