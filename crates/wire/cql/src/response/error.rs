//! ERROR (sections 4.2.1 and 8): all codes and all their bodies.

use bytes::Bytes;
use core::net::IpAddr;

use crate::consistency::Consistency;
use crate::error::CqlError;
use crate::frame::Version;
use crate::limits::ERROR_TEXT_BYTES_MAX;
use crate::notation::{Reader, Writer};

/// The code of an error (section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i32)]
pub enum ErrorCode {
    Server = 0x0000,
    Protocol = 0x000A,
    /// Bad credentials.
    Authentication = 0x0100,
    Unavailable = 0x1000,
    Overloaded = 0x1001,
    IsBootstrapping = 0x1002,
    Truncate = 0x1003,
    WriteTimeout = 0x1100,
    ReadTimeout = 0x1200,
    ReadFailure = 0x1300,
    FunctionFailure = 0x1400,
    WriteFailure = 0x1500,
    CdcWriteFailure = 0x1600,
    CasWriteUnknown = 0x1700,
    Syntax = 0x2000,
    Unauthorized = 0x2100,
    Invalid = 0x2200,
    Config = 0x2300,
    AlreadyExists = 0x2400,
    Unprepared = 0x2500,
}

impl ErrorCode {
    /// All codes.
    pub const EVERY: [ErrorCode; 20] = [
        ErrorCode::Server,
        ErrorCode::Protocol,
        ErrorCode::Authentication,
        ErrorCode::Unavailable,
        ErrorCode::Overloaded,
        ErrorCode::IsBootstrapping,
        ErrorCode::Truncate,
        ErrorCode::WriteTimeout,
        ErrorCode::ReadTimeout,
        ErrorCode::ReadFailure,
        ErrorCode::FunctionFailure,
        ErrorCode::WriteFailure,
        ErrorCode::CdcWriteFailure,
        ErrorCode::CasWriteUnknown,
        ErrorCode::Syntax,
        ErrorCode::Unauthorized,
        ErrorCode::Invalid,
        ErrorCode::Config,
        ErrorCode::AlreadyExists,
        ErrorCode::Unprepared,
    ];

    /// The number on the wire.
    pub fn number(self) -> i32 {
        self as i32
    }

    /// The code with this number, if there is one.
    pub fn from_number(number: i32) -> Option<ErrorCode> {
        ErrorCode::EVERY.into_iter().find(|code| code.number() == number)
    }
}

/// What kind of write failed or timed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteType {
    Simple,
    Batch,
    UnloggedBatch,
    Counter,
    BatchLog,
    Cas,
    View,
    Cdc,
}

impl WriteType {
    /// All types.
    pub const EVERY: [WriteType; 8] = [
        WriteType::Simple,
        WriteType::Batch,
        WriteType::UnloggedBatch,
        WriteType::Counter,
        WriteType::BatchLog,
        WriteType::Cas,
        WriteType::View,
        WriteType::Cdc,
    ];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            WriteType::Simple => "SIMPLE",
            WriteType::Batch => "BATCH",
            WriteType::UnloggedBatch => "UNLOGGED_BATCH",
            WriteType::Counter => "COUNTER",
            WriteType::BatchLog => "BATCH_LOG",
            WriteType::Cas => "CAS",
            WriteType::View => "VIEW",
            WriteType::Cdc => "CDC",
        }
    }

    fn decode(reader: &mut Reader) -> Result<WriteType, CqlError> {
        let (what, offset) = ("write type", reader.offset());
        let value = reader.string(what)?;
        let found = WriteType::EVERY.into_iter().find(|write_type| write_type.name() == value);
        let expected = "a write type of section 8 of the protocol specification";
        found.ok_or(CqlError::UnknownName { what, offset, value, expected })
    }
}

/// Which replicas failed and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failures {
    /// Only how many (v3 and v4).
    Count(i32),
    /// Addresses with reason codes (v5): 0 unknown, 1 too many tombstones read, 2 timeout, 3 incompatible schema,
    /// 4 index not available. Written as their number in v4.
    Reasons(Vec<(IpAddr, u16)>),
}

impl Failures {
    fn decode(reader: &mut Reader, version: Version) -> Result<Failures, CqlError> {
        let (what, offset) = ("number of failures", reader.offset());
        let count = reader.int(what)?;
        if version < Version::V5 {
            return Ok(Failures::Count(count));
        }
        let length = i64::from(count);
        let count = u64::try_from(count).map_err(|_| CqlError::NegativeLength { what, offset, length })?;
        let count = reader.check_count(count, 1 + 4 + 2, what)?;
        let reason = |_| Ok((reader.inet_address("replica that failed")?, reader.short("reason of a failure")?));
        (0..count).map(reason).collect::<Result<_, _>>().map(Failures::Reasons)
    }

    fn encode(&self, writer: &mut Writer<'_>, version: Version) -> Result<(), CqlError> {
        match self {
            Failures::Reasons(reasons) if version >= Version::V5 => {
                writer.int_count(reasons.len(), "failures")?;
                for (address, reason) in reasons {
                    writer.inet_address(*address);
                    writer.short(*reason);
                }
            }
            Failures::Reasons(reasons) => writer.int_count(reasons.len(), "failures")?,
            Failures::Count(count) if version < Version::V5 => writer.int(*count),
            // Nobody knows which replicas they were: an empty map is all that v5 can be told.
            Failures::Count(_) => writer.int(0),
        }
        Ok(())
    }
}

/// What an error says beside its text. Errors without a body are `Plain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorBody {
    /// No body: any code that is not one of those below.
    Plain(ErrorCode),
    Unavailable {
        consistency: Consistency,
        required: i32,
        alive: i32,
    },
    WriteTimeout {
        consistency: Consistency,
        received: i32,
        required: i32,
        write_type: WriteType,
        /// How often others won (v5, and only with `WriteType::Cas`, where missing means 0).
        contentions: Option<u16>,
    },
    ReadTimeout {
        consistency: Consistency,
        received: i32,
        required: i32,
        data_present: bool,
    },
    /// v4 and later; in v3 it is written as `ReadTimeout`.
    ReadFailure {
        consistency: Consistency,
        received: i32,
        required: i32,
        failures: Failures,
        data_present: bool,
    },
    /// v4 and later; in v3 it is written as `Invalid`.
    FunctionFailure {
        keyspace: String,
        function: String,
        arguments: Vec<String>,
    },
    /// v4 and later; in v3 it is written as `WriteTimeout`.
    WriteFailure {
        consistency: Consistency,
        received: i32,
        required: i32,
        failures: Failures,
        write_type: WriteType,
    },
    /// v5; before it is written as `WriteTimeout` of type CAS, which is as unknown.
    CasWriteUnknown {
        consistency: Consistency,
        received: i32,
        required: i32,
    },
    /// The table is empty if it is the keyspace that exists.
    AlreadyExists {
        keyspace: String,
        table: String,
    },
    Unprepared {
        id: Bytes,
    },
}

impl ErrorBody {
    /// The code that goes with it.
    pub fn code(&self) -> ErrorCode {
        match self {
            ErrorBody::Plain(code) => *code,
            ErrorBody::Unavailable { .. } => ErrorCode::Unavailable,
            ErrorBody::WriteTimeout { .. } => ErrorCode::WriteTimeout,
            ErrorBody::ReadTimeout { .. } => ErrorCode::ReadTimeout,
            ErrorBody::ReadFailure { .. } => ErrorCode::ReadFailure,
            ErrorBody::FunctionFailure { .. } => ErrorCode::FunctionFailure,
            ErrorBody::WriteFailure { .. } => ErrorCode::WriteFailure,
            ErrorBody::CasWriteUnknown { .. } => ErrorCode::CasWriteUnknown,
            ErrorBody::AlreadyExists { .. } => ErrorCode::AlreadyExists,
            ErrorBody::Unprepared { .. } => ErrorCode::Unprepared,
        }
    }
}

/// An error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorResponse {
    /// For people; shortened to the limit when written.
    pub message: String,
    pub body: ErrorBody,
}

impl ErrorResponse {
    /// An error without a body.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> ErrorResponse {
        ErrorResponse { message: message.into(), body: ErrorBody::Plain(code) }
    }

    /// Its code.
    pub fn code(&self) -> ErrorCode {
        self.body.code()
    }

    /// Reads the body.
    ///
    /// # Errors
    /// Also a code that is not in the specification.
    pub fn decode(reader: &mut Reader, version: Version) -> Result<ErrorResponse, CqlError> {
        let (what, offset) = ("error code", reader.offset());
        let number = reader.int(what)?;
        let Some(code) = ErrorCode::from_number(number) else {
            let expected = "a code of section 8 of the protocol specification";
            return Err(CqlError::UnknownValue { what, offset, value: i64::from(number), expected });
        };
        let message = reader.string("error message")?;
        Ok(ErrorResponse { message, body: decode_body(code, reader, version)? })
    }

    /// Appends the body. What a version does not know is written as the nearest that it does.
    pub fn encode(&self, writer: &mut Writer<'_>, version: Version) -> Result<(), CqlError> {
        let older = downgrade(&self.body, version);
        let body = older.as_ref().unwrap_or(&self.body);
        writer.int(body.code().number());
        writer.shortened(&self.message, ERROR_TEXT_BYTES_MAX);
        encode_body(body, writer, version)
    }
}

/// The nearest error that `version` knows, if it does not know this one.
fn downgrade(body: &ErrorBody, version: Version) -> Option<ErrorBody> {
    match *body {
        ErrorBody::CasWriteUnknown { consistency, received, required } if version < Version::V5 => {
            let write_type = WriteType::Cas;
            Some(ErrorBody::WriteTimeout { consistency, received, required, write_type, contentions: None })
        }
        ErrorBody::ReadFailure { consistency, received, required, data_present, .. } if version < Version::V4 => {
            Some(ErrorBody::ReadTimeout { consistency, received, required, data_present })
        }
        ErrorBody::WriteFailure { consistency, received, required, write_type, .. } if version < Version::V4 => {
            Some(ErrorBody::WriteTimeout { consistency, received, required, write_type, contentions: None })
        }
        ErrorBody::FunctionFailure { .. } | ErrorBody::Plain(ErrorCode::CdcWriteFailure) if version < Version::V4 => {
            Some(ErrorBody::Plain(ErrorCode::Invalid))
        }
        _ => None,
    }
}

fn decode_body(code: ErrorCode, reader: &mut Reader, version: Version) -> Result<ErrorBody, CqlError> {
    Ok(match code {
        ErrorCode::Unavailable => {
            let consistency = reader.consistency("consistency")?;
            let required = reader.int("required replicas")?;
            ErrorBody::Unavailable { consistency, required, alive: reader.int("replicas alive")? }
        }
        ErrorCode::WriteTimeout => {
            let (consistency, received, required) = decode_counts(reader)?;
            let write_type = WriteType::decode(reader)?;
            let counted = version >= Version::V5 && write_type == WriteType::Cas;
            let contentions = if counted { Some(reader.short("contentions")?) } else { None };
            ErrorBody::WriteTimeout { consistency, received, required, write_type, contentions }
        }
        ErrorCode::ReadTimeout => {
            let (consistency, received, required) = decode_counts(reader)?;
            let data_present = reader.byte("data present")? != 0;
            ErrorBody::ReadTimeout { consistency, received, required, data_present }
        }
        ErrorCode::ReadFailure => {
            let (consistency, received, required) = decode_counts(reader)?;
            let failures = Failures::decode(reader, version)?;
            let data_present = reader.byte("data present")? != 0;
            ErrorBody::ReadFailure { consistency, received, required, failures, data_present }
        }
        ErrorCode::FunctionFailure => {
            let keyspace = reader.string("keyspace")?;
            let function = reader.string("function")?;
            ErrorBody::FunctionFailure { keyspace, function, arguments: reader.string_list("arguments")? }
        }
        ErrorCode::WriteFailure => {
            let (consistency, received, required) = decode_counts(reader)?;
            let failures = Failures::decode(reader, version)?;
            let write_type = WriteType::decode(reader)?;
            ErrorBody::WriteFailure { consistency, received, required, failures, write_type }
        }
        ErrorCode::CasWriteUnknown => {
            let (consistency, received, required) = decode_counts(reader)?;
            ErrorBody::CasWriteUnknown { consistency, received, required }
        }
        ErrorCode::AlreadyExists => {
            let keyspace = reader.string("keyspace")?;
            ErrorBody::AlreadyExists { keyspace, table: reader.string("table")? }
        }
        ErrorCode::Unprepared => ErrorBody::Unprepared { id: reader.short_bytes("id of the prepared statement")? },
        plain => ErrorBody::Plain(plain),
    })
}

fn decode_counts(reader: &mut Reader) -> Result<(Consistency, i32, i32), CqlError> {
    Ok((reader.consistency("consistency")?, reader.int("answers received")?, reader.int("answers required")?))
}

fn encode_body(body: &ErrorBody, writer: &mut Writer<'_>, version: Version) -> Result<(), CqlError> {
    let counts = |writer: &mut Writer<'_>, consistency: Consistency, received: i32, required: i32| {
        writer.consistency(consistency);
        writer.int(received);
        writer.int(required);
    };
    match body {
        ErrorBody::Plain(_) => {}
        ErrorBody::Unavailable { consistency, required, alive } => counts(writer, *consistency, *required, *alive),
        ErrorBody::WriteTimeout { consistency, received, required, write_type, contentions } => {
            counts(writer, *consistency, *received, *required);
            writer.string(write_type.name(), "write type")?;
            if version >= Version::V5 && *write_type == WriteType::Cas {
                writer.short(contentions.unwrap_or(0));
            }
        }
        ErrorBody::ReadTimeout { consistency, received, required, data_present } => {
            counts(writer, *consistency, *received, *required);
            writer.byte(u8::from(*data_present));
        }
        ErrorBody::ReadFailure { consistency, received, required, failures, data_present } => {
            counts(writer, *consistency, *received, *required);
            failures.encode(writer, version)?;
            writer.byte(u8::from(*data_present));
        }
        ErrorBody::FunctionFailure { keyspace, function, arguments } => {
            writer.string(keyspace, "keyspace")?;
            writer.string(function, "function")?;
            writer.string_list(arguments, "arguments")?;
        }
        ErrorBody::WriteFailure { consistency, received, required, failures, write_type } => {
            counts(writer, *consistency, *received, *required);
            failures.encode(writer, version)?;
            writer.string(write_type.name(), "write type")?;
        }
        ErrorBody::CasWriteUnknown { consistency, received, required } => {
            counts(writer, *consistency, *received, *required);
        }
        ErrorBody::AlreadyExists { keyspace, table } => {
            writer.string(keyspace, "keyspace")?;
            writer.string(table, "table")?;
        }
        ErrorBody::Unprepared { id } => writer.short_bytes(id, "id of the prepared statement")?,
    }
    Ok(())
}
