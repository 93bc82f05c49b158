//! Responses (section 4.2): what servers send. One file a message.

pub mod auth_challenge;
pub mod auth_success;
pub mod authenticate;
pub mod error;
pub mod event;
pub mod prepared;
pub mod result;
pub mod schema_change;
pub mod supported;

use bytes::BytesMut;

pub use auth_challenge::AuthChallenge;
pub use auth_success::AuthSuccess;
pub use authenticate::Authenticate;
pub use error::{ErrorBody, ErrorCode, ErrorResponse, Failures, WriteType};
pub use event::{Event, StatusChange, TopologyChange};
pub use prepared::{Prepared, PreparedMetadata};
pub use result::ResultResponse;
pub use schema_change::{SchemaChange, SchemaChangeKind, SchemaTarget};
pub use supported::Supported;

use crate::error::CqlError;
use crate::frame::{Envelope, Flags, Opcode, Version};
use crate::limits::{ERROR_TEXT_BYTES_MAX, WARNINGS_MAX};
use crate::notation::{BytesMap, Reader, Writer};

/// The stream of every event (section 4.2.6).
pub const EVENT_STREAM: i16 = -1;

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    Error(ErrorResponse),
    /// READY (section 4.2.2): STARTUP or REGISTER is done. It has no body.
    Ready,
    Authenticate(Authenticate),
    Supported(Supported),
    Result(ResultResponse),
    Event(Event),
    AuthChallenge(AuthChallenge),
    AuthSuccess(AuthSuccess),
}

impl Response {
    /// Its opcode.
    pub fn opcode(&self) -> Opcode {
        match self {
            Response::Error(_) => Opcode::Error,
            Response::Ready => Opcode::Ready,
            Response::Authenticate(_) => Opcode::Authenticate,
            Response::Supported(_) => Opcode::Supported,
            Response::Result(_) => Opcode::Result,
            Response::Event(_) => Opcode::Event,
            Response::AuthChallenge(_) => Opcode::AuthChallenge,
            Response::AuthSuccess(_) => Opcode::AuthSuccess,
        }
    }
}

/// A response with what its envelope says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseMessage {
    /// That of the request, or `EVENT_STREAM`.
    pub stream: i16,
    /// The session under which the request was traced.
    pub tracing_id: Option<[u8; 16]>,
    /// Texts for the user (v4 and later). They are shortened and dropped beyond the limits, and dropped in v3.
    pub warnings: Vec<String>,
    /// Empty if there is none (v4 and later).
    pub custom_payload: BytesMap,
    pub response: Response,
}

impl ResponseMessage {
    /// A response without tracing, warnings and custom payload.
    pub fn new(stream: i16, response: Response) -> ResponseMessage {
        ResponseMessage { stream, tracing_id: None, warnings: Vec::new(), custom_payload: BytesMap::new(), response }
    }

    /// The answer to an error of the codec on a stream.
    pub fn from_error(stream: i16, error: &CqlError) -> ResponseMessage {
        let error = ErrorResponse::new(error.code(), error.to_string());
        ResponseMessage::new(stream, Response::Error(error))
    }

    /// Reads the body of a response envelope. Bytes after the message are ignored.
    ///
    /// # Errors
    /// A body that is not what its opcode promises.
    pub fn decode(envelope: &Envelope) -> Result<ResponseMessage, CqlError> {
        let header = &envelope.header;
        let (version, flags) = (header.version, header.flags);
        let mut reader = Reader::new(envelope.body.clone());
        let tracing_id = if flags.contains(Flags::TRACING) { Some(reader.uuid("tracing id")?) } else { None };
        let warnings = if flags.contains(Flags::WARNING) { reader.string_list("warnings")? } else { Vec::new() };
        let custom_payload =
            if flags.contains(Flags::CUSTOM_PAYLOAD) { reader.bytes_map("custom payload")? } else { BytesMap::new() };
        let response = match header.opcode {
            Opcode::Error => Response::Error(ErrorResponse::decode(&mut reader, version)?),
            Opcode::Ready => Response::Ready,
            Opcode::Authenticate => Response::Authenticate(Authenticate::decode(&mut reader)?),
            Opcode::Supported => Response::Supported(Supported::decode(&mut reader)?),
            Opcode::Result => Response::Result(ResultResponse::decode(reader, version)?),
            Opcode::Event => Response::Event(Event::decode(&mut reader)?),
            Opcode::AuthChallenge => Response::AuthChallenge(AuthChallenge::decode(&mut reader)?),
            Opcode::AuthSuccess => Response::AuthSuccess(AuthSuccess::decode(&mut reader)?),
            other => {
                let body_length = header.body_length;
                return Err(CqlError::UnknownOpcode { stream: header.stream, opcode: other.number(), body_length });
            }
        };
        Ok(ResponseMessage { stream: header.stream, tracing_id, warnings, custom_payload, response })
    }

    /// Appends the body and tells the flags of the envelope.
    pub(crate) fn encode_body(&self, version: Version, out: &mut BytesMut) -> Result<Flags, CqlError> {
        let mut writer = Writer::new(out);
        let mut flags = Flags::default();
        if let Some(tracing_id) = &self.tracing_id {
            writer.uuid(tracing_id);
            flags = flags.with(Flags::TRACING);
        }
        if !self.warnings.is_empty() && version >= Version::V4 {
            let warnings = self.warnings.get(..WARNINGS_MAX).unwrap_or(&self.warnings);
            writer.count(warnings.len(), "warnings")?;
            warnings.iter().for_each(|warning| writer.shortened(warning, ERROR_TEXT_BYTES_MAX));
            flags = flags.with(Flags::WARNING);
        }
        if !self.custom_payload.is_empty() {
            if version < Version::V4 {
                return Err(CqlError::NeedsVersion { what: "custom payload", needed: Version::V4, version });
            }
            writer.bytes_map(&self.custom_payload, "custom payload")?;
            flags = flags.with(Flags::CUSTOM_PAYLOAD);
        }
        match &self.response {
            Response::Error(error) => error.encode(&mut writer, version)?,
            Response::Ready => {}
            Response::Authenticate(authenticate) => authenticate.encode(&mut writer)?,
            Response::Supported(supported) => supported.encode(&mut writer)?,
            Response::Result(result) => result.encode(&mut writer, version)?,
            Response::Event(event) => event.encode(&mut writer, version)?,
            Response::AuthChallenge(challenge) => challenge.encode(&mut writer)?,
            Response::AuthSuccess(success) => success.encode(&mut writer)?,
        }
        Ok(flags)
    }
}
