//! The client's end of a connection, for the workload and for tests: requests to bytes, bytes to responses. No driver:
//! it does one thing at a time and retries nothing.

use bytes::Bytes;
use holon_cql::notation::BytesMap;
use holon_cql::request::{AuthResponse, Startup};
use holon_cql::{
    Compression, CqlError, Decoder, Direction, Encoder, Request, RequestMessage, Response, ResponseMessage, Version,
};
use std::collections::BTreeMap;

/// Greatest response that is read, bytes: a page is far smaller.
const RESPONSE_BYTES_MAX: usize = 64 << 20;

pub struct Client {
    version: Version,
    compression: Option<Compression>,
    encoder: Encoder,
    decoder: Decoder,
    /// STARTUP was sent: the answer to it changes the framing.
    starting: bool,
    next_stream: i16,
}

/// Streams of a connection: the protocol gives them 15 bits.
pub const STREAMS: usize = 1 << 15;

fn after(stream: i16) -> i16 {
    stream.wrapping_add(1) & i16::MAX
}

impl Client {
    pub fn new(version: Version, compression: Option<Compression>) -> Client {
        Client {
            version,
            compression,
            encoder: Encoder::new(version),
            decoder: Decoder::new(Direction::Response, RESPONSE_BYTES_MAX),
            starting: false,
            next_stream: 0,
        }
    }

    pub fn version(&self) -> Version {
        self.version
    }

    /// The next request is not on one of these streams: their answers have yet to come. Some other has to be free.
    pub fn skip(&mut self, is_taken: impl Fn(i16) -> bool) {
        while is_taken(self.next_stream) {
            self.next_stream = after(self.next_stream);
        }
    }

    /// The bytes of a request, and the stream its answer will have.
    ///
    /// # Errors
    /// A request that this version cannot express.
    pub fn request(&mut self, request: Request) -> Result<(i16, Bytes), CqlError> {
        let stream = self.next_stream;
        self.next_stream = after(stream);
        self.starting |= matches!(request, Request::Startup(_));
        let message = RequestMessage { stream, tracing: false, custom_payload: BytesMap::new(), request };
        self.message(&message).map(|bytes| (stream, bytes))
    }

    /// The bytes of a whole message, as it is.
    ///
    /// # Errors
    /// A message that this version cannot express.
    pub fn message(&mut self, message: &RequestMessage) -> Result<Bytes, CqlError> {
        self.starting |= matches!(message.request, Request::Startup(_));
        self.encoder.request(message)?;
        Ok(self.encoder.take())
    }

    /// STARTUP with the compression of this client.
    pub fn startup(&self) -> Request {
        let mut options = BTreeMap::from([("CQL_VERSION".to_string(), "3.0.0".to_string())]);
        if let Some(compression) = self.compression {
            options.insert("COMPRESSION".to_string(), compression.name().to_string());
        }
        Request::Startup(Startup { options })
    }

    pub fn credentials(name: &str, password: &str) -> Request {
        Request::AuthResponse(AuthResponse::plain(name, password))
    }

    /// The responses that are whole now.
    ///
    /// # Errors
    /// Bytes that no server may send.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<ResponseMessage>, CqlError> {
        self.decoder.feed(bytes);
        let mut responses = Vec::new();
        while let Some(envelope) = self.decoder.next_envelope()? {
            let message = ResponseMessage::decode(&envelope)?;
            let accepted = matches!(message.response, Response::Ready | Response::Authenticate(_));
            if self.starting && accepted {
                self.starting = false;
                self.decoder.negotiated(self.version, self.compression);
                self.encoder.negotiated(self.version, self.compression);
            }
            responses.push(message);
        }
        Ok(responses)
    }
}
