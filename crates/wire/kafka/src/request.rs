//! Requests: from a frame to what it asks.
//!
//! ```text
//!   frame ─▶ RequestHeader ─▶ Produce, Fetch: our own reader; records stay slices of the frame
//!                          └▶ the others: walked over by their shape (`shape`), then decoded by kafka-protocol
//! ```
//! Bytes after the last field are ignored, as Kafka ignores them.

use crate::apis::{Api, Served, with_apis};
use crate::fetch::FetchRequest;
use crate::header::RequestHeader;
use crate::produce::ProduceRequest;
use crate::reader::{Flaw, Reader};
use crate::shape::{self, Shape};
use bytes::Bytes;
use kafka_protocol::messages;
use kafka_protocol::protocol::Decodable;

/// Why a frame is no request that is served. Each ends the connection without an answer, as Kafka ends it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("a request has a header that is malformed at its byte {at}: {what}")]
    Header { at: usize, what: &'static str },
    #[error("a request has the api key {key}, which no client's request has")]
    UnknownApi { key: i16 },
    #[error("{api} version {version} is not served; ApiVersions tells what is")]
    NotServed { api: Api, version: i16 },
    #[error("a request {api} version {version} is malformed at its byte {at}: {what}")]
    Malformed { api: Api, version: i16, at: usize, what: &'static str },
    #[error("a request {api} version {version} is malformed: {what}")]
    Refused { api: Api, version: i16, what: String },
}

macro_rules! define_requests {
    (
        own { $($own:ident($($numbers:tt)*);)* }
        generated {
            $($name:ident($key:literal, $from:literal, $to:literal, $flexible:tt, $shape:ident, $request:ident);)*
        }
    ) => {
        /// What is asked. The types are those of `kafka-protocol`, but for the two that carry records.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Request {
            Produce(ProduceRequest),
            Fetch(FetchRequest),
            /// ApiVersions in a version that there is not; nothing of it was read. [`Served::answer_to_unsupported`] is the answer.
            UnsupportedApiVersions,
            $($name(messages::$request),)*
        }

        fn decode(frame: &Bytes, at: usize, header: &RequestHeader) -> Result<Request, RequestError> {
            match header.api {
                Api::Produce => own(frame, at, header, ProduceRequest::read).map(Request::Produce),
                Api::Fetch => own(frame, at, header, FetchRequest::read).map(Request::Fetch),
                $(Api::$name => generated(frame, at, header, shape::$shape).map(Request::$name),)*
            }
        }

        /// The shape of a request that is decoded by `kafka-protocol`, and how that writes it.
        #[cfg(test)]
        pub(crate) fn shape_of(api: Api) -> Option<Shape> {
            match api {
                Api::Produce | Api::Fetch => None,
                $(Api::$name => Some(shape::$shape),)*
            }
        }

        #[cfg(test)]
        pub(crate) fn encode_generated(request: &Request, version: i16, out: &mut bytes::BytesMut) {
            use kafka_protocol::protocol::Encodable;
            match request {
                Request::Produce(_) | Request::Fetch(_) | Request::UnsupportedApiVersions => {}
                $(Request::$name(request) => request
                    .encode(out, codec_version(Api::$name, version))
                    .expect("what was read can be written"),)*
            }
        }
    };
}

with_apis!(define_requests);

impl Request {
    /// Reads a frame, as [`crate::frame::take`] gives it.
    ///
    /// # Errors
    /// It is no request that is served. The connection has to end.
    pub fn read(frame: &Bytes, served: &Served) -> Result<(RequestHeader, Request), RequestError> {
        let (header, at) = RequestHeader::read(frame, served)?;
        if header.api == Api::ApiVersions && !served.has(header.api, header.version) {
            return Ok((header, Request::UnsupportedApiVersions));
        }
        let request = decode(frame, at, &header)?;
        Ok((header, request))
    }
}

/// The version whose fields a version has, as far as `kafka-protocol` 0.18 goes: ListOffsets 11 has those of 10.
pub(crate) fn codec_version(api: Api, version: i16) -> i16 {
    if api == Api::ListOffsets { version.min(10) } else { version }
}

fn own<T>(
    frame: &Bytes,
    at: usize,
    header: &RequestHeader,
    read: impl FnOnce(&mut Reader, i16) -> Result<T, Flaw>,
) -> Result<T, RequestError> {
    let (api, version) = (header.api, header.version);
    let mut reader = Reader::new(frame, at, api.is_flexible(version));
    let Flaw { at, what } = match read(&mut reader, version) {
        Ok(request) => return Ok(request),
        Err(flaw) => flaw,
    };
    Err(RequestError::Malformed { api, version, at, what })
}

fn generated<T: Decodable>(frame: &Bytes, at: usize, header: &RequestHeader, shape: Shape) -> Result<T, RequestError> {
    let (api, version) = (header.api, header.version);
    let end = own(frame, at, header, |reader, version| {
        shape::walk(reader, shape, version)?;
        Ok(reader.at())
    })?;
    // Nothing after the end, so that whoever decodes more than was walked over finds nothing.
    let mut body = frame.slice(at..end);
    let refused = |what: String| RequestError::Refused { api, version, what };
    let request = T::decode(&mut body, codec_version(api, version)).map_err(|error| refused(error.to_string()))?;
    // And whoever decodes less has another idea of the request.
    if !body.is_empty() {
        return Err(refused("its shape is not that of its decoder".to_string()));
    }
    Ok(request)
}
