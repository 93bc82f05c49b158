//! AUTH_CHALLENGE (section 4.2.7): the server's step of a SASL exchange.

use bytes::Bytes;

use crate::error::CqlError;
use crate::notation::{Reader, Writer};

/// A SASL token for the client to answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthChallenge {
    pub token: Option<Bytes>,
}

impl AuthChallenge {
    /// Reads the body.
    pub fn decode(reader: &mut Reader) -> Result<AuthChallenge, CqlError> {
        Ok(AuthChallenge { token: reader.bytes("authentication token")? })
    }

    /// Appends the body.
    pub fn encode(&self, writer: &mut Writer<'_>) -> Result<(), CqlError> {
        writer.bytes(self.token.as_deref(), "authentication token")
    }
}
