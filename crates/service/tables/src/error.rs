//! What a client is told when its request fails: one enum, and the one table from it to the ERROR bodies of the protocol.
//!
//! It is not a log of what went wrong inside: an error of a disk or of another shard becomes one of these where the request
//! ends. Texts are Cassandra's where drivers or people match on them.
//!
//! An error crosses shards as bytes ([`CqlError::encode`]), inside [`holon_kernel::CallError::Failed`].

use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput};
use holon_kernel::CallError;
use thiserror::Error;

/// The format of [`CqlError::encode`].
const ERROR_FORMAT_VERSION: u8 = 1;

/// Why a request was not (or perhaps not) carried out. Names in the comments are those of section 8 of the protocol.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CqlError {
    /// `0x0000`: something unexpected inside.
    #[error("{0}")]
    Server(String),
    /// `0x000A`: the message is not one the protocol allows here.
    #[error("{0}")]
    Protocol(String),
    /// `0x0100`: wrong name or password.
    #[error("{0}")]
    BadCredentials(String),
    /// `0x1001`: nothing was done; try again later or elsewhere.
    #[error("{0}")]
    Overloaded(String),
    /// `0x1002`: the node is starting; nothing was done.
    #[error("Cannot read from a bootstrapping node")]
    IsBootstrapping,
    /// `0x1003`
    #[error("{0}")]
    Truncate(String),
    /// `0x2000`: not CQL.
    #[error("{0}")]
    Syntax(String),
    /// `0x2100`: the account may not do this.
    #[error("{0}")]
    Unauthorized(String),
    /// `0x2200`: CQL, but not possible: unknown names, values that do not fit, rules of the language.
    #[error("{0}")]
    Invalid(String),
    /// `0x2300`: an option of a table or keyspace is not possible.
    #[error("{0}")]
    Config(String),
    /// `0x2400`; `table` is empty if it is the keyspace that exists.
    #[error("{}", already_exists_text(keyspace, table))]
    AlreadyExists { keyspace: String, table: String },
    /// `0x2500`: no statement with this id; the driver prepares it again.
    #[error(
        "Prepared query with ID {} not found (either the query was not prepared on this host (maybe the host has been \
         restarted?) or you have prepared too many queries and it has been evicted from the internal cache)",
        hexadecimal(id)
    )]
    Unprepared { id: Bytes },
}

/// A result of what a client asked for.
pub type CqlResult<T> = Result<T, CqlError>;

impl CqlError {
    pub fn server(text: impl Into<String>) -> CqlError {
        CqlError::Server(text.into())
    }

    pub fn protocol(text: impl Into<String>) -> CqlError {
        CqlError::Protocol(text.into())
    }

    pub fn overloaded(text: impl Into<String>) -> CqlError {
        CqlError::Overloaded(text.into())
    }

    pub fn syntax(text: impl Into<String>) -> CqlError {
        CqlError::Syntax(text.into())
    }

    pub fn unauthorized(text: impl Into<String>) -> CqlError {
        CqlError::Unauthorized(text.into())
    }

    pub fn invalid(text: impl Into<String>) -> CqlError {
        CqlError::Invalid(text.into())
    }

    pub fn config(text: impl Into<String>) -> CqlError {
        CqlError::Config(text.into())
    }

    pub fn no_keyspace() -> CqlError {
        CqlError::invalid("No keyspace has been specified. USE a keyspace, or explicitly specify keyspace.tablename")
    }

    pub fn unknown_keyspace(keyspace: &str) -> CqlError {
        CqlError::Invalid(format!("Keyspace '{keyspace}' does not exist"))
    }

    /// What drivers call "unconfigured table": an Invalid with this text.
    pub fn unknown_table(table: &str) -> CqlError {
        CqlError::Invalid(format!("table {table} does not exist"))
    }

    /// For the trip between shards.
    pub fn encode(&self) -> Bytes {
        let mut out = ByteWriter::new();
        out.put_u8(ERROR_FORMAT_VERSION);
        out.put_u16(self.code());
        match self {
            CqlError::AlreadyExists { keyspace, table } => {
                out.put_prefixed(keyspace.as_bytes());
                out.put_prefixed(table.as_bytes());
            }
            CqlError::Unprepared { id } => out.put_prefixed(id),
            other => out.put_prefixed(other.to_string().as_bytes()),
        }
        out.freeze()
    }

    /// The reverse of [`CqlError::encode`]; bytes that are not one become a [`CqlError::Server`] that says so.
    pub fn decode(bytes: &Bytes) -> CqlError {
        decode(bytes.clone()).unwrap_or_else(|short| {
            CqlError::Server(format!(
                "another shard answered with an unreadable error ({short}, {} bytes)",
                bytes.len()
            ))
        })
    }

    /// How a failed call between shards reads to the client, where the caller has nothing better to say. For writes and
    /// reads an unknown outcome is a timeout with its replica counts: map those before this.
    pub fn from_call(error: CallError) -> CqlError {
        match error {
            CallError::Failed(bytes) => CqlError::decode(&bytes),
            CallError::Overloaded => CqlError::Overloaded(error.to_string()),
            other => CqlError::Server(other.to_string()),
        }
    }

    /// This error as the answer to another shard.
    pub fn into_call(self) -> CallError {
        CallError::Failed(self.encode())
    }

    /// The code of section 8.
    pub fn code(&self) -> u16 {
        match self {
            CqlError::Server(_) => 0x0000,
            CqlError::Protocol(_) => 0x000A,
            CqlError::BadCredentials(_) => 0x0100,
            CqlError::Overloaded(_) => 0x1001,
            CqlError::IsBootstrapping => 0x1002,
            CqlError::Truncate(_) => 0x1003,
            CqlError::Syntax(_) => 0x2000,
            CqlError::Unauthorized(_) => 0x2100,
            CqlError::Invalid(_) => 0x2200,
            CqlError::Config(_) => 0x2300,
            CqlError::AlreadyExists { .. } => 0x2400,
            CqlError::Unprepared { .. } => 0x2500,
        }
    }
}

fn decode(bytes: Bytes) -> Result<CqlError, ShortInput> {
    let mut input = ByteReader::new(bytes);
    if input.u8()? != ERROR_FORMAT_VERSION {
        return Err(ShortInput { offset: 0 });
    }
    let error = match input.u16()? {
        0x0000 => CqlError::Server(input.prefixed_str()?),
        0x000A => CqlError::Protocol(input.prefixed_str()?),
        0x0100 => CqlError::BadCredentials(input.prefixed_str()?),
        0x1001 => CqlError::Overloaded(input.prefixed_str()?),
        0x1002 => {
            input.prefixed()?;
            CqlError::IsBootstrapping
        }
        0x1003 => CqlError::Truncate(input.prefixed_str()?),
        0x2000 => CqlError::Syntax(input.prefixed_str()?),
        0x2100 => CqlError::Unauthorized(input.prefixed_str()?),
        0x2200 => CqlError::Invalid(input.prefixed_str()?),
        0x2300 => CqlError::Config(input.prefixed_str()?),
        0x2400 => CqlError::AlreadyExists { keyspace: input.prefixed_str()?, table: input.prefixed_str()? },
        0x2500 => CqlError::Unprepared { id: input.prefixed()? },
        _ => return Err(ShortInput { offset: 1 }),
    };
    input.end()?;
    Ok(error)
}

fn already_exists_text(keyspace: &str, table: &str) -> String {
    if table.is_empty() {
        format!("Cannot add existing keyspace \"{keyspace}\"")
    } else {
        format!("Cannot add already existing table \"{table}\" to keyspace \"{keyspace}\"")
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_survive_the_trip_between_shards() {
        let text = || "warum nicht: schön".to_string();
        let errors = [
            CqlError::Server(text()),
            CqlError::Protocol(text()),
            CqlError::BadCredentials(text()),
            CqlError::Overloaded(text()),
            CqlError::IsBootstrapping,
            CqlError::Truncate(text()),
            CqlError::Syntax(text()),
            CqlError::Unauthorized(text()),
            CqlError::Invalid(text()),
            CqlError::Config(text()),
            CqlError::AlreadyExists { keyspace: "k".into(), table: String::new() },
            CqlError::Unprepared { id: Bytes::from_static(&[1, 0xab]) },
        ];
        for error in errors {
            let bytes = error.encode();
            assert_eq!(CqlError::decode(&bytes), error);
            for cut in 0..bytes.len() {
                assert!(matches!(CqlError::decode(&bytes.slice(..cut)), CqlError::Server(_)), "cut at {cut}");
            }
        }
    }

    #[test]
    fn texts_are_those_that_clients_match_on() {
        let exists = |table: &str| CqlError::AlreadyExists { keyspace: "k".into(), table: table.into() }.to_string();
        assert_eq!(exists(""), "Cannot add existing keyspace \"k\"");
        assert_eq!(exists("t"), "Cannot add already existing table \"t\" to keyspace \"k\"");
        let unprepared = CqlError::Unprepared { id: Bytes::from_static(&[1, 0xab]) }.to_string();
        assert!(unprepared.starts_with("Prepared query with ID 01ab not found"), "{unprepared}");
    }
}
