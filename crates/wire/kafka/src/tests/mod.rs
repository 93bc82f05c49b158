//! Whole frames of every API in every version, against the encoders and decoders of `kafka-protocol`; and frames that are wrong.

mod records;
mod requests;
mod response_shapes;
mod responses;

use crate::apis::Api;
use crate::header::RequestHeader;
use bytes::{BufMut, Bytes};
use kafka_protocol::protocol::StrBytes;

const CORRELATION_ID: i32 = 0x0102_0304;

fn header(api: Api, version: i16) -> RequestHeader {
    let client_id = StrBytes::from_static_str("me");
    RequestHeader { api, version, correlation_id: CORRELATION_ID, client_id }
}

/// The header of a request, written by hand: the client's id is never compact, and version 2 has tagged fields, here one.
fn header_bytes(api: Api, version: i16) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.put_i16(api.key());
    bytes.put_i16(version);
    bytes.put_i32(CORRELATION_ID);
    bytes.put_slice(b"\x00\x02me");
    if api.is_flexible(version) {
        bytes.put_slice(b"\x01\x05\x02xx");
    }
    bytes
}

/// Every version that is read of every API.
fn versions() -> impl Iterator<Item = (Api, i16)> {
    Api::ALL.iter().flat_map(|api| {
        let (from, to) = api.versions();
        (from..=to).map(|version| (*api, version))
    })
}

/// The body of an answer, after its length and header were looked at.
fn answer_body(pieces: &[Bytes], api: Api, version: i16) -> Bytes {
    let whole = Bytes::from(pieces.concat());
    assert_eq!(whole[..4], (whole.len() as u32 - 4).to_be_bytes(), "{api} {version}");
    assert_eq!(whole[4..8], CORRELATION_ID.to_be_bytes(), "{api} {version}");
    let tagged = api.is_flexible(version) && api != Api::ApiVersions;
    if tagged {
        assert_eq!(whole[8], 0, "{api} {version}");
    }
    whole.slice(8 + usize::from(tagged)..)
}
