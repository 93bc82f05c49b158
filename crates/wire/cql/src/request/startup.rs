//! STARTUP (section 4.1.1): opens a connection, names its CQL version, compression and driver.

use std::collections::BTreeMap;

use crate::compression::Compression;
use crate::error::CqlError;
use crate::frame::Version;
use crate::notation::{Reader, Writer};

/// The options of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Startup {
    /// `CQL_VERSION` is mandatory; `COMPRESSION`, `DRIVER_NAME`, `DRIVER_VERSION` and others may be there.
    pub options: BTreeMap<String, String>,
}

impl Startup {
    /// An option by name, in upper case.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    /// The compression asked for; an empty name means none, as in Cassandra.
    ///
    /// # Errors
    /// A compression that `version` does not have.
    pub fn compression(&self, version: Version) -> Result<Option<Compression>, CqlError> {
        match self.option("COMPRESSION") {
            None | Some("") => Ok(None),
            Some(name) => Compression::from_name(name, version).map(Some),
        }
    }

    /// Reads the body. Names of options are upper-cased, as Cassandra does.
    pub fn decode(reader: &mut Reader) -> Result<Startup, CqlError> {
        let options = reader.string_map("startup options")?;
        Ok(Startup { options: options.into_iter().map(|(name, value)| (name.to_ascii_uppercase(), value)).collect() })
    }

    /// Appends the body.
    pub fn encode(&self, writer: &mut Writer<'_>) -> Result<(), CqlError> {
        writer.string_map(&self.options, "startup options")
    }
}
