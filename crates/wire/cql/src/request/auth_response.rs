//! AUTH_RESPONSE (section 4.1.2): the client's step of a SASL exchange.

use bytes::Bytes;
use std::fmt;

use crate::error::CqlError;
use crate::notation::{Reader, Writer};

/// A SASL token. For PLAIN: `[authorization id] NUL user NUL password`.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthResponse {
    pub token: Option<Bytes>,
}

impl AuthResponse {
    /// User and password, if the token is one of SASL PLAIN (RFC 4616) in UTF-8.
    pub fn plain_credentials(&self) -> Option<(&str, &str)> {
        let token = std::str::from_utf8(self.token.as_deref()?).ok()?;
        let mut parts = token.split('\0');
        let (_authorization, user, password) = (parts.next()?, parts.next()?, parts.next()?);
        parts.next().is_none().then_some((user, password))
    }

    /// The token of SASL PLAIN for a user.
    pub fn plain(user: &str, password: &str) -> AuthResponse {
        AuthResponse { token: Some(Bytes::from(format!("\0{user}\0{password}"))) }
    }

    /// Reads the body.
    pub fn decode(reader: &mut Reader) -> Result<AuthResponse, CqlError> {
        Ok(AuthResponse { token: reader.bytes("authentication token")? })
    }

    /// Appends the body.
    pub fn encode(&self, writer: &mut Writer<'_>) -> Result<(), CqlError> {
        writer.bytes(self.token.as_deref(), "authentication token")
    }
}

impl fmt::Debug for AuthResponse {
    /// Never prints the token: it holds a password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.token.as_ref().map(Bytes::len);
        formatter.debug_struct("AuthResponse").field("token_length_bytes", &length).finish()
    }
}
