//! AUTHENTICATE (section 4.2.3): the client has to prove who it is.

use crate::error::CqlError;
use crate::notation::{Reader, Writer};

/// The class by which drivers choose how to authenticate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticate {
    pub authenticator: String,
}

impl Authenticate {
    /// The name that makes every driver use SASL PLAIN.
    pub const PASSWORD_AUTHENTICATOR: &'static str = "org.apache.cassandra.auth.PasswordAuthenticator";

    /// Reads the body.
    pub fn decode(reader: &mut Reader) -> Result<Authenticate, CqlError> {
        Ok(Authenticate { authenticator: reader.string("authenticator")? })
    }

    /// Appends the body.
    pub fn encode(&self, writer: &mut Writer<'_>) -> Result<(), CqlError> {
        writer.string(&self.authenticator, "authenticator")
    }
}
