//! The other side, as the simulator, tests and `holon topic` need it: a request to bytes, an answer from bytes.
//!
//! With the types of `kafka-protocol` in both directions, also for Produce and Fetch, whose records are copied here. It is not for answers
//! of strangers: no shape guards them.

use crate::apis::Api;
use crate::frame::LENGTH_BYTES;
use crate::request::codec_version;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::RequestHeader;
pub use kafka_protocol::protocol::Request;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    #[error("there is no api with the key {key} here")]
    UnknownApi { key: i16 },
    #[error("version {version} of {api} cannot say it: {what}")]
    Unsayable { api: Api, version: i16, what: String },
    #[error("the answer to {api} version {version} cannot be read: {what}")]
    Malformed { api: Api, version: i16, what: String },
}

fn api<R: Request>() -> Result<Api, ClientError> {
    Api::from_key(R::KEY).ok_or(ClientError::UnknownApi { key: R::KEY })
}

/// The whole frame of a request, its length too.
///
/// # Errors
/// It is none that a broker here reads, or says what the version cannot say.
pub fn request<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: StrBytes,
) -> Result<Bytes, ClientError> {
    let api = api::<R>()?;
    let header = RequestHeader::default()
        .with_request_api_key(api.key())
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(client_id));
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    let said = header
        .encode(&mut frame, api.request_header_version(version))
        .and_then(|()| request.encode(&mut frame, codec_version(api, version)));
    said.map_err(|error| ClientError::Unsayable { api, version, what: error.to_string() })?;
    let length = (frame.len() - LENGTH_BYTES) as u32;
    frame[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(frame.freeze())
}

/// The correlation id and the answer in a frame without its length, as [`crate::frame::take`] gives it. `version` is that which was
/// asked in; an answer that ApiVersions is not served in that version is one of version 0.
///
/// # Errors
/// It is not that.
pub fn answer<R: Request>(mut frame: Bytes, version: i16) -> Result<(i32, R::Response), ClientError> {
    let api = api::<R>()?;
    let malformed = |what: &str| ClientError::Malformed { api, version, what: what.to_string() };
    let correlation_id = frame.try_get_i32().map_err(|error| malformed(&error.to_string()))?;
    if api.response_header_version(version) == 1 && frame.try_get_u8() != Ok(0) {
        return Err(malformed("it has tagged fields in its header"));
    }
    let response = R::Response::decode(&mut frame, codec_version(api, version));
    let response = response.map_err(|error| malformed(&error.to_string()))?;
    if frame.is_empty() { Ok((correlation_id, response)) } else { Err(malformed("there is more after its last field")) }
}
