//! Requests (section 4.1): what clients send. One file a message.

pub mod auth_response;
pub mod batch;
pub mod execute;
pub mod options;
pub mod parameters;
pub mod prepare;
pub mod query;
pub mod register;
pub mod startup;

use bytes::BytesMut;

pub use auth_response::AuthResponse;
pub use batch::{Batch, BatchKind, BatchQuery, BatchStatement};
pub use execute::Execute;
pub use options::Options;
pub use parameters::{QueryParameters, Values};
pub use prepare::Prepare;
pub use query::Query;
pub use register::{EventType, Register};
pub use startup::Startup;

use crate::error::CqlError;
use crate::frame::{Envelope, Flags, Opcode, Version};
use crate::notation::{BytesMap, Reader, Writer};

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    Startup(Startup),
    AuthResponse(AuthResponse),
    Options(Options),
    Query(Query),
    Prepare(Prepare),
    Execute(Execute),
    Batch(Batch),
    Register(Register),
}

impl Request {
    /// Its opcode.
    pub fn opcode(&self) -> Opcode {
        match self {
            Request::Startup(_) => Opcode::Startup,
            Request::AuthResponse(_) => Opcode::AuthResponse,
            Request::Options(_) => Opcode::Options,
            Request::Query(_) => Opcode::Query,
            Request::Prepare(_) => Opcode::Prepare,
            Request::Execute(_) => Opcode::Execute,
            Request::Batch(_) => Opcode::Batch,
            Request::Register(_) => Opcode::Register,
        }
    }
}

/// A request with what its envelope says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestMessage {
    pub stream: i16,
    /// The client wants the request traced.
    pub tracing: bool,
    /// Empty if there is none (v4 and later).
    pub custom_payload: BytesMap,
    pub request: Request,
}

impl RequestMessage {
    /// A request without tracing and custom payload.
    pub fn new(stream: i16, request: Request) -> RequestMessage {
        RequestMessage { stream, tracing: false, custom_payload: BytesMap::new(), request }
    }

    /// Reads the body of a request envelope. Bytes after the message are ignored, as section 2.4 demands.
    ///
    /// # Errors
    /// A body that is not what its opcode promises; the connection can live on.
    pub fn decode(envelope: &Envelope) -> Result<RequestMessage, CqlError> {
        let header = &envelope.header;
        let version = header.version;
        let mut reader = Reader::new(envelope.body.clone());
        let custom_payload = if header.flags.contains(Flags::CUSTOM_PAYLOAD) && version >= Version::V4 {
            reader.bytes_map("custom payload")?
        } else {
            BytesMap::new()
        };
        let request = match header.opcode {
            Opcode::Startup => Request::Startup(Startup::decode(&mut reader)?),
            Opcode::AuthResponse => Request::AuthResponse(AuthResponse::decode(&mut reader)?),
            Opcode::Options => Request::Options(Options),
            Opcode::Query => Request::Query(Query::decode(&mut reader, version)?),
            Opcode::Prepare => Request::Prepare(Prepare::decode(&mut reader, version)?),
            Opcode::Execute => Request::Execute(Execute::decode(&mut reader, version)?),
            Opcode::Batch => Request::Batch(Batch::decode(&mut reader, version)?),
            Opcode::Register => Request::Register(Register::decode(&mut reader)?),
            other => {
                let body_length = header.body_length;
                return Err(CqlError::UnknownOpcode { stream: header.stream, opcode: other.number(), body_length });
            }
        };
        let tracing = header.flags.contains(Flags::TRACING);
        Ok(RequestMessage { stream: header.stream, tracing, custom_payload, request })
    }

    /// Appends the body and tells the flags of the envelope.
    pub(crate) fn encode_body(&self, version: Version, out: &mut BytesMut) -> Result<Flags, CqlError> {
        let mut writer = Writer::new(out);
        let mut flags = if self.tracing { Flags::TRACING } else { Flags::default() };
        if !self.custom_payload.is_empty() {
            if version < Version::V4 {
                return Err(CqlError::NeedsVersion { what: "custom payload", needed: Version::V4, version });
            }
            writer.bytes_map(&self.custom_payload, "custom payload")?;
            flags = flags.with(Flags::CUSTOM_PAYLOAD);
        }
        match &self.request {
            Request::Startup(startup) => startup.encode(&mut writer)?,
            Request::AuthResponse(response) => response.encode(&mut writer)?,
            Request::Options(_) => {}
            Request::Query(query) => query.encode(&mut writer, version)?,
            Request::Prepare(prepare) => prepare.encode(&mut writer, version)?,
            Request::Execute(execute) => execute.encode(&mut writer, version)?,
            Request::Batch(batch) => batch.encode(&mut writer, version)?,
            Request::Register(register) => register.encode(&mut writer)?,
        }
        Ok(flags)
    }
}
