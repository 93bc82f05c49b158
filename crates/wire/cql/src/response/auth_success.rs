//! AUTH_SUCCESS (section 4.2.8): the client has proved who it is.

use bytes::Bytes;

use crate::error::CqlError;
use crate::notation::{Reader, Writer};

/// The last token of a SASL exchange; null for PLAIN.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthSuccess {
    pub token: Option<Bytes>,
}

impl AuthSuccess {
    /// Reads the body.
    pub fn decode(reader: &mut Reader) -> Result<AuthSuccess, CqlError> {
        Ok(AuthSuccess { token: reader.bytes("authentication token")? })
    }

    /// Appends the body.
    pub fn encode(&self, writer: &mut Writer<'_>) -> Result<(), CqlError> {
        writer.bytes(self.token.as_deref(), "authentication token")
    }
}
