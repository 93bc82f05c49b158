//! Bytes of known messages, kept in `tests/fixtures`: what was once written has to be written and read for ever.
//!
//! Each file holds hexadecimal digits, `#` starts a comment. The files were written by hand or checked against the
//! specification field by field; there is no switch that rewrites them.

use bytes::Bytes;
use holon_cql::limits::ENVELOPE_BODY_BYTES_MAX;
use holon_cql::request::{Execute, Query, QueryParameters, Startup, Values};
use holon_cql::response::{ErrorBody, ErrorResponse, ResultResponse, WriteType};
use holon_cql::{
    BoundValue, ColumnSpec, Consistency, CqlType, Decoder, Direction, Encoder, Request, RequestMessage, Response,
    ResponseMessage, Rows, RowsMetadata, Version,
};

fn bytes_of(text: &str) -> Vec<u8> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let digits: Vec<u32> = lines.flat_map(str::chars).filter_map(|digit| digit.to_digit(16)).collect();
    assert_eq!(digits.len() % 2, 0);
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

fn encoder_and_decoder(version: Version, segmented: bool, direction: Direction) -> (Encoder, Decoder) {
    let (mut encoder, mut decoder) = (Encoder::new(version), Decoder::new(direction, ENVELOPE_BODY_BYTES_MAX));
    if segmented {
        encoder.negotiated(version, None);
        decoder.negotiated(version, None);
    }
    (encoder, decoder)
}

fn check_request(fixture: &str, version: Version, segmented: bool, message: &RequestMessage) {
    let bytes = bytes_of(fixture);
    let (mut encoder, mut decoder) = encoder_and_decoder(version, segmented, Direction::Request);
    encoder.request(message).expect("valid");
    assert_eq!(encoder.take(), bytes, "written");
    decoder.feed(&bytes);
    let envelope = decoder.next_envelope().expect("valid").expect("whole");
    assert_eq!(RequestMessage::decode(&envelope).as_ref(), Ok(message), "read");
}

fn check_response(fixture: &str, version: Version, segmented: bool, message: &ResponseMessage) {
    let bytes = bytes_of(fixture);
    let (mut encoder, mut decoder) = encoder_and_decoder(version, segmented, Direction::Response);
    encoder.response(message).expect("valid");
    assert_eq!(encoder.take(), bytes, "written");
    decoder.feed(&bytes);
    let envelope = decoder.next_envelope().expect("valid").expect("whole");
    assert_eq!(ResponseMessage::decode(&envelope).as_ref(), Ok(message), "read");
}

#[test]
fn startup_v4() {
    let options = [("CQL_VERSION".to_owned(), "3.0.0".to_owned())].into();
    let message = RequestMessage::new(1, Request::Startup(Startup { options }));
    check_request(include_str!("../fixtures/startup_v4.hex"), Version::V4, false, &message);
}

#[test]
fn query_v4() {
    let parameters = QueryParameters {
        values: Values::Positional(vec![BoundValue::from_slice(&[0, 0, 0, 7]), BoundValue::Unset, BoundValue::Null]),
        page_size: Some(5000),
        serial_consistency: Some(Consistency::Serial),
        timestamp_us: Some(1),
        ..QueryParameters::new(Consistency::LocalOne)
    };
    let query = Query { statement: "SELECT".into(), parameters };
    check_request(
        include_str!("../fixtures/query_v4.hex"),
        Version::V4,
        false,
        &RequestMessage::new(2, Request::Query(query)),
    );
}

#[test]
fn execute_v5_in_a_segment() {
    let parameters = QueryParameters {
        skip_metadata: true,
        keyspace: Some("ks".into()),
        now_in_seconds: Some(9),
        ..QueryParameters::new(Consistency::Quorum)
    };
    let execute = Execute {
        id: Bytes::from_static(&[0xAB]),
        result_metadata_id: Some(Bytes::from_static(&[0xCD, 0xEF])),
        parameters,
    };
    check_request(
        include_str!("../fixtures/execute_v5_segment.hex"),
        Version::V5,
        true,
        &RequestMessage::new(3, Request::Execute(execute)),
    );
}

#[test]
fn rows_v4() {
    let column =
        |name: &str, cql_type| ColumnSpec { keyspace: "ks".into(), table: "t".into(), name: name.into(), cql_type };
    let columns = vec![column("a", CqlType::Int), column("b", CqlType::list(CqlType::Text))];
    let metadata = RowsMetadata { paging_state: Some(Bytes::from_static(&[9])), ..RowsMetadata::new(columns) };
    let rows = Rows { metadata, rows: vec![vec![Some(Bytes::from_static(&[0, 0, 0, 1])), None]] };
    let mut message = ResponseMessage::new(4, Response::Result(ResultResponse::Rows(rows)));
    message.warnings.push("w".into());
    check_response(include_str!("../fixtures/rows_v4.hex"), Version::V4, false, &message);
}

#[test]
fn write_timeout_v5() {
    let body = ErrorBody::WriteTimeout {
        consistency: Consistency::Quorum,
        received: 1,
        required: 2,
        write_type: WriteType::Cas,
        contentions: Some(3),
    };
    let message = ResponseMessage::new(5, Response::Error(ErrorResponse { message: "m".into(), body }));
    check_response(include_str!("../fixtures/write_timeout_v5.hex"), Version::V5, false, &message);
}
