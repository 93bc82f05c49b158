//! What a client is told when its request fails: one enum, and the one table from it to the ERROR bodies of the
//! protocol.
//!
//! It is not a log of what went wrong inside: an error of a disk or of another shard becomes one of these where the
//! request ends. Texts are Cassandra's where drivers or people match on them.
//!
//! An error crosses shards as bytes ([`CqlError::encode`]), inside [`holon_kernel::CallError::Failed`].

use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput};
use holon_cql::Consistency;
use holon_cql::response::{ErrorBody, ErrorCode, ErrorResponse, Failures, WriteType};
use holon_kernel::CallError;
use std::net::IpAddr;
use thiserror::Error;

/// The format of [`CqlError::encode`], and that of failures of replicas since they name them.
const ERROR_FORMAT_VERSION: u8 = 1;
const FAILED_FORMAT_VERSION: u8 = 2;

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
    /// `0x1000`: too few replicas are alive; nothing was done.
    #[error("Cannot achieve consistency level {consistency}")]
    Unavailable { consistency: Consistency, required: u32, alive: u32 },
    /// `0x1100`: the outcome is unknown.
    #[error("Operation timed out - received only {received} responses.")]
    WriteTimeout { consistency: Consistency, received: u32, required: u32, write_type: WriteType },
    /// `0x1200`
    #[error("Operation timed out - received only {received} responses.")]
    ReadTimeout { consistency: Consistency, received: u32, required: u32, data_present: bool },
    /// `0x1300`: a replica could not read what it holds.
    #[error("Operation failed - received {received} responses and {failed}")]
    ReadFailure { consistency: Consistency, received: u32, required: u32, failed: Failed, data_present: bool },
    /// `0x1500`: a replica could not write; the outcome is unknown.
    #[error("Operation failed - received {received} responses and {failed}")]
    WriteFailure { consistency: Consistency, received: u32, required: u32, failed: Failed, write_type: WriteType },
    /// `0x1001`: nothing was done; try again later or elsewhere.
    #[error("{0}")]
    Overloaded(String),
    /// `0x1400`: a function or operation failed on the values it was given.
    #[error("{text}")]
    FunctionFailure { function: String, arguments: Vec<String>, text: String },
    /// `0x1002`: this node is not in a state to serve the request; nothing was done, another node can. Stock drivers try the
    /// next host by themselves, also with statements that are not idempotent.
    #[error("{0}")]
    IsBootstrapping(String),
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

/// Which replicas failed, by the address at which other nodes reach them, and what one of them said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failed {
    pub replicas: Vec<IpAddr>,
    /// Empty: none said why.
    pub reason: String,
}

impl Failed {
    /// Of the reasons that the protocol has numbers for none is one of ours.
    fn reasons(&self) -> Failures {
        const UNKNOWN: u16 = 0;
        Failures::Reasons(self.replicas.iter().map(|address| (*address, UNKNOWN)).collect())
    }

    fn encode(&self, out: &mut ByteWriter) {
        out.put_varint(self.replicas.len() as u64);
        for address in &self.replicas {
            match address {
                IpAddr::V4(address) => out.put_prefixed(&address.octets()),
                IpAddr::V6(address) => out.put_prefixed(&address.octets()),
            }
        }
        out.put_prefixed(self.reason.as_bytes());
    }

    fn decode(input: &mut ByteReader) -> Result<Failed, ShortInput> {
        let count = input.count()?;
        let mut replicas = Vec::new();
        for _ in 0..count {
            let offset = input.offset();
            let bytes = input.prefixed()?;
            replicas.push(match (<[u8; 4]>::try_from(&bytes[..]), <[u8; 16]>::try_from(&bytes[..])) {
                (Ok(octets), _) => IpAddr::from(octets),
                (_, Ok(octets)) => IpAddr::from(octets),
                _ => return Err(ShortInput { offset }),
            });
        }
        Ok(Failed { replicas, reason: input.prefixed_str()? })
    }
}

/// As Cassandra says it, and why, which Cassandra leaves to the log of the replica.
impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} failures", self.replicas.len())?;
        for (index, address) in self.replicas.iter().enumerate() {
            write!(f, "{} UNKNOWN from {address}", if index == 0 { ":" } else { "," })?;
        }
        if self.reason.is_empty() { Ok(()) } else { write!(f, " ({})", self.reason) }
    }
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
        let names_replicas = matches!(self, CqlError::ReadFailure { .. } | CqlError::WriteFailure { .. });
        out.put_u8(if names_replicas { FAILED_FORMAT_VERSION } else { ERROR_FORMAT_VERSION });
        out.put_u16(self.code());
        match self {
            CqlError::Unavailable { consistency, required, alive } => {
                put_counts(&mut out, *consistency, *required, *alive);
            }
            CqlError::WriteTimeout { consistency, received, required, write_type } => {
                put_counts(&mut out, *consistency, *required, *received);
                out.put_u8(write_type_number(*write_type));
            }
            CqlError::ReadTimeout { consistency, received, required, data_present } => {
                put_counts(&mut out, *consistency, *required, *received);
                out.put_u8(u8::from(*data_present));
            }
            CqlError::ReadFailure { consistency, received, required, failed, data_present } => {
                put_counts(&mut out, *consistency, *required, *received);
                out.put_u8(u8::from(*data_present));
                failed.encode(&mut out);
            }
            CqlError::WriteFailure { consistency, received, required, failed, write_type } => {
                put_counts(&mut out, *consistency, *required, *received);
                out.put_u8(write_type_number(*write_type));
                failed.encode(&mut out);
            }
            CqlError::AlreadyExists { keyspace, table } => {
                out.put_prefixed(keyspace.as_bytes());
                out.put_prefixed(table.as_bytes());
            }
            CqlError::Unprepared { id } => out.put_prefixed(id),
            CqlError::FunctionFailure { function, arguments, text } => {
                out.put_prefixed(function.as_bytes());
                out.put_varint(arguments.len() as u64);
                arguments.iter().for_each(|argument| out.put_prefixed(argument.as_bytes()));
                out.put_prefixed(text.as_bytes());
            }
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
        self.to_wire().code().number() as u16
    }

    /// The ERROR body that tells a client. **The** table from errors of this service to those of the protocol.
    pub fn to_wire(&self) -> ErrorResponse {
        let body = match self {
            CqlError::Server(_) => ErrorBody::Plain(ErrorCode::Server),
            CqlError::Protocol(_) => ErrorBody::Plain(ErrorCode::Protocol),
            CqlError::BadCredentials(_) => ErrorBody::Plain(ErrorCode::Authentication),
            &CqlError::Unavailable { consistency, required, alive } => {
                ErrorBody::Unavailable { consistency, required: int(required), alive: int(alive) }
            }
            &CqlError::WriteTimeout { consistency, received, required, write_type } => ErrorBody::WriteTimeout {
                consistency,
                received: int(received),
                required: int(required),
                write_type,
                contentions: None,
            },
            &CqlError::ReadTimeout { consistency, received, required, data_present } => {
                ErrorBody::ReadTimeout { consistency, received: int(received), required: int(required), data_present }
            }
            &CqlError::ReadFailure { consistency, received, required, ref failed, data_present } => {
                let (received, required, failures) = (int(received), int(required), failed.reasons());
                ErrorBody::ReadFailure { consistency, received, required, failures, data_present }
            }
            &CqlError::WriteFailure { consistency, received, required, ref failed, write_type } => {
                let (received, required, failures) = (int(received), int(required), failed.reasons());
                ErrorBody::WriteFailure { consistency, received, required, failures, write_type }
            }
            CqlError::Overloaded(_) => ErrorBody::Plain(ErrorCode::Overloaded),
            CqlError::IsBootstrapping(_) => ErrorBody::Plain(ErrorCode::IsBootstrapping),
            CqlError::Truncate(_) => ErrorBody::Plain(ErrorCode::Truncate),
            CqlError::Syntax(_) => ErrorBody::Plain(ErrorCode::Syntax),
            CqlError::Unauthorized(_) => ErrorBody::Plain(ErrorCode::Unauthorized),
            CqlError::Invalid(_) => ErrorBody::Plain(ErrorCode::Invalid),
            CqlError::Config(_) => ErrorBody::Plain(ErrorCode::Config),
            CqlError::AlreadyExists { keyspace, table } => {
                ErrorBody::AlreadyExists { keyspace: keyspace.clone(), table: table.clone() }
            }
            CqlError::Unprepared { id } => ErrorBody::Unprepared { id: id.clone() },
            CqlError::FunctionFailure { function, arguments, .. } => ErrorBody::FunctionFailure {
                keyspace: "system".to_string(),
                function: function.clone(),
                arguments: arguments.clone(),
            },
        };
        ErrorResponse { message: self.to_string(), body }
    }
}

/// Counts of replicas are small; one that is not is a bug that must not become a negative number.
fn int(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn put_counts(out: &mut ByteWriter, consistency: Consistency, required: u32, received: u32) {
    out.put_u16(consistency.code());
    out.put_u32(required);
    out.put_u32(received);
}

fn read_counts(input: &mut ByteReader) -> Result<(Consistency, u32, u32), ShortInput> {
    let offset = input.offset();
    let consistency = Consistency::from_code(input.u16()?).ok_or(ShortInput { offset })?;
    Ok((consistency, input.u32()?, input.u32()?))
}

fn write_type_number(write_type: WriteType) -> u8 {
    WriteType::EVERY.iter().position(|&known| known == write_type).unwrap_or_default() as u8
}

fn read_write_type(input: &mut ByteReader) -> Result<WriteType, ShortInput> {
    let offset = input.offset();
    WriteType::EVERY.get(usize::from(input.u8()?)).copied().ok_or(ShortInput { offset })
}

fn decode(bytes: Bytes) -> Result<CqlError, ShortInput> {
    let mut input = ByteReader::new(bytes);
    let (version, code) = (input.u8()?, input.u16()?);
    let wanted = if matches!(code, 0x1300 | 0x1500) { FAILED_FORMAT_VERSION } else { ERROR_FORMAT_VERSION };
    if version != wanted {
        return Err(ShortInput { offset: 0 });
    }
    let error = match code {
        0x0000 => CqlError::Server(input.prefixed_str()?),
        0x000A => CqlError::Protocol(input.prefixed_str()?),
        0x0100 => CqlError::BadCredentials(input.prefixed_str()?),
        0x1000 => {
            let (consistency, required, alive) = read_counts(&mut input)?;
            CqlError::Unavailable { consistency, required, alive }
        }
        0x1100 => {
            let (consistency, required, received) = read_counts(&mut input)?;
            let write_type = read_write_type(&mut input)?;
            CqlError::WriteTimeout { consistency, received, required, write_type }
        }
        0x1200 => {
            let (consistency, required, received) = read_counts(&mut input)?;
            CqlError::ReadTimeout { consistency, received, required, data_present: input.u8()? != 0 }
        }
        0x1300 => {
            let (consistency, required, received) = read_counts(&mut input)?;
            let data_present = input.u8()? != 0;
            CqlError::ReadFailure { consistency, received, required, failed: Failed::decode(&mut input)?, data_present }
        }
        0x1500 => {
            let (consistency, required, received) = read_counts(&mut input)?;
            let write_type = read_write_type(&mut input)?;
            CqlError::WriteFailure { consistency, received, required, failed: Failed::decode(&mut input)?, write_type }
        }
        0x1400 => {
            let function = input.prefixed_str()?;
            let arguments = (0..input.count()?).map(|_| input.prefixed_str()).collect::<Result<_, _>>()?;
            CqlError::FunctionFailure { function, arguments, text: input.prefixed_str()? }
        }
        0x1001 => CqlError::Overloaded(input.prefixed_str()?),
        0x1002 => CqlError::IsBootstrapping(input.prefixed_str()?),
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
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn errors_survive_the_trip_between_shards() {
        let text = || "warum nicht: schön".to_string();
        let (consistency, write_type) = (Consistency::LocalQuorum, WriteType::Cas);
        let replicas = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let failed = || Failed { replicas: replicas.clone(), reason: text() };
        let errors = [
            CqlError::Unavailable { consistency, required: 2, alive: 1 },
            CqlError::WriteTimeout { consistency, received: 1, required: 2, write_type },
            CqlError::ReadTimeout { consistency, received: 0, required: 1, data_present: true },
            CqlError::ReadFailure { consistency, received: 0, required: 1, failed: failed(), data_present: false },
            CqlError::WriteFailure { consistency, received: 0, required: 1, failed: failed(), write_type },
            CqlError::Server(text()),
            CqlError::Protocol(text()),
            CqlError::BadCredentials(text()),
            CqlError::Overloaded(text()),
            CqlError::IsBootstrapping("the clock is wrong".into()),
            CqlError::Truncate(text()),
            CqlError::Syntax(text()),
            CqlError::Unauthorized(text()),
            CqlError::Invalid(text()),
            CqlError::Config(text()),
            CqlError::AlreadyExists { keyspace: "k".into(), table: String::new() },
            CqlError::Unprepared { id: Bytes::from_static(&[1, 0xab]) },
            CqlError::FunctionFailure { function: "f".into(), arguments: vec!["int".into()], text: text() },
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
