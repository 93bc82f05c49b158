//! SUPPORTED (section 4.2.4): the STARTUP options there are, and more that drivers read (shard awareness).

use std::collections::BTreeMap;

use crate::error::CqlError;
use crate::notation::{Reader, Writer};

/// Options with their possible values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Supported {
    pub options: BTreeMap<String, Vec<String>>,
}

impl Supported {
    /// Reads the body.
    pub fn decode(reader: &mut Reader) -> Result<Supported, CqlError> {
        Ok(Supported { options: reader.string_multimap("supported options")? })
    }

    /// Appends the body.
    pub fn encode(&self, writer: &mut Writer<'_>) -> Result<(), CqlError> {
        writer.string_multimap(&self.options, "supported options")
    }
}
