//! Every message of every version survives the way over the wire, in any portions, with any compression.

use holon_cql::limits::ENVELOPE_BODY_BYTES_MAX;
use holon_cql::request::{BatchKind, QueryParameters};
use holon_cql::response::{ErrorBody, ErrorResponse, Failures, ResultResponse, WriteType};
use holon_cql::{
    BoundValue, Compression, Consistency, CqlError, Decoder, Direction, Encoder, Envelope, ErrorCode, Request,
    RequestMessage, Response, ResponseMessage, RowsWriter, Version,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::strategies::{cases, request_message, response_message, rows, version};

/// How messages go over a connection.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    pub version: Version,
    pub compression: Option<Compression>,
    /// Whether STARTUP has been answered.
    pub negotiated: bool,
}

pub fn link() -> BoxedStrategy<Link> {
    let compression = select(vec![None, Some(Compression::Lz4), Some(Compression::Snappy)]);
    (version(), compression, any::<bool>())
        .prop_map(|(version, compression, negotiated)| {
            let snappy_in_v5 = version >= Version::V5 && compression == Some(Compression::Snappy);
            Link { version, compression: if snappy_in_v5 { None } else { compression }, negotiated }
        })
        .boxed()
}

pub fn encoder(link: Link) -> Encoder {
    let mut encoder = Encoder::new(link.version);
    if link.negotiated {
        encoder.negotiated(link.version, link.compression);
    }
    encoder
}

pub fn decoder(link: Link, direction: Direction) -> Decoder {
    let mut decoder = Decoder::new(direction, ENVELOPE_BODY_BYTES_MAX);
    if link.negotiated {
        decoder.negotiated(link.version, link.compression);
    }
    decoder
}

/// All envelopes of `bytes`, fed in portions of the sizes in `portions`, over and over.
fn receive(decoder: &mut Decoder, mut bytes: &[u8], portions: &[usize]) -> Result<Vec<Envelope>, CqlError> {
    let mut envelopes = Vec::new();
    for portion in portions.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (now, later) = bytes.split_at((*portion).min(bytes.len()));
        decoder.feed(now);
        bytes = later;
        while let Some(envelope) = decoder.next_envelope()? {
            envelopes.push(envelope);
        }
    }
    assert_eq!(decoder.buffered_bytes(), 0, "bytes were left over");
    Ok(envelopes)
}

fn portions() -> BoxedStrategy<Vec<usize>> {
    prop_oneof![vec(1..8usize, 1..4), vec(1..5000usize, 1..4)].boxed()
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn requests(
        (link, messages) in link().prop_flat_map(|link| (Just(link), vec(request_message(link.version), 1..5))),
        portions in portions(),
    ) {
        let mut encoder = encoder(link);
        for message in &messages {
            encoder.request(message).expect("a message made for the version");
        }
        let envelopes = receive(&mut decoder(link, Direction::Request), &encoder.take(), &portions).expect("valid");
        let decoded: Result<Vec<_>, _> = envelopes.iter().map(RequestMessage::decode).collect();
        prop_assert_eq!(decoded.expect("valid bodies"), messages);
    }

    #[test]
    fn responses(
        (link, messages) in link().prop_flat_map(|link| (Just(link), vec(response_message(link.version), 1..5))),
        portions in portions(),
    ) {
        let mut encoder = encoder(link);
        for message in &messages {
            encoder.response(message).expect("a message made for the version");
        }
        let envelopes = receive(&mut decoder(link, Direction::Response), &encoder.take(), &portions).expect("valid");
        let decoded: Result<Vec<_>, _> = envelopes.iter().map(ResponseMessage::decode).collect();
        prop_assert_eq!(decoded.expect("valid bodies"), messages);
    }

    #[test]
    fn rows_writer_writes_what_rows_write(
        (version, rows) in version().prop_flat_map(|version| (Just(version), rows(version))),
        in_place in any::<bool>(),
    ) {
        let mut writer = RowsWriter::new(version, rows.metadata.clone());
        for row in &rows.rows {
            for cell in row {
                if in_place {
                    let write = |out: &mut bytes::BytesMut| {
                        out.extend_from_slice(cell.as_deref().unwrap_or(b"taken back"));
                        cell.is_some()
                    };
                    writer.cell_with(write).expect("short");
                } else {
                    writer.cell(cell.as_deref()).expect("short");
                }
            }
            writer.end_row().expect("as many cells as columns");
        }
        if rows.metadata.column_count > 0 {
            writer.cell(Some(b"of a row that is never ended")).expect("short");
        }
        prop_assert_eq!(writer.row_count(), rows.rows.len());
        let encoded = writer.finish(rows.metadata.paging_state.clone()).expect("valid");
        let bytes = |result: ResultResponse| {
            let mut encoder = Encoder::new(version);
            encoder.response(&ResponseMessage::new(3, Response::Result(result))).expect("valid");
            encoder.take()
        };
        prop_assert_eq!(bytes(ResultResponse::EncodedRows(encoded)), bytes(ResultResponse::Rows(rows)));
    }
}

fn response_over(version: Version, body: ErrorBody) -> Response {
    let mut encoder = Encoder::new(version);
    let error = ErrorResponse { message: "m".into(), body };
    encoder.response(&ResponseMessage::new(1, Response::Error(error))).expect("written as something older");
    let mut decoder = Decoder::new(Direction::Response, ENVELOPE_BODY_BYTES_MAX);
    decoder.feed(&encoder.take());
    let envelope = decoder.next_envelope().expect("valid").expect("whole");
    ResponseMessage::decode(&envelope).expect("valid").response
}

#[test]
fn younger_errors_are_told_to_older_versions_as_the_nearest_they_know() {
    let (consistency, received, required) = (Consistency::Quorum, 1, 2);
    let code = |version, body: ErrorBody| match response_over(version, body) {
        Response::Error(error) => error.code(),
        other => panic!("{other:?} is no error"),
    };
    let unknown = ErrorBody::CasWriteUnknown { consistency, received, required };
    assert_eq!(code(Version::V5, unknown.clone()), ErrorCode::CasWriteUnknown);
    let Response::Error(error) = response_over(Version::V4, unknown) else { panic!("an error became no error") };
    let write_type = WriteType::Cas;
    let timeout = ErrorBody::WriteTimeout { consistency, received, required, write_type, contentions: None };
    assert_eq!(error.body, timeout);

    let failures = Failures::Reasons(vec![([127, 0, 0, 1].into(), 1)]);
    let data_present = true;
    let read = ErrorBody::ReadFailure { consistency, received, required, failures: failures.clone(), data_present };
    let Response::Error(error) = response_over(Version::V4, read.clone()) else { panic!("an error became no error") };
    assert!(matches!(error.body, ErrorBody::ReadFailure { failures: Failures::Count(1), .. }), "{error:?}");
    assert_eq!(code(Version::V3, read), ErrorCode::ReadTimeout);
    let write = ErrorBody::WriteFailure { consistency, received, required, failures, write_type };
    assert_eq!(code(Version::V3, write), ErrorCode::WriteTimeout);
    let (keyspace, function, arguments) = ("k".into(), "f".into(), vec!["int".into()]);
    assert_eq!(code(Version::V3, ErrorBody::FunctionFailure { keyspace, function, arguments }), ErrorCode::Invalid);
    assert_eq!(code(Version::V3, ErrorBody::Plain(ErrorCode::CdcWriteFailure)), ErrorCode::Invalid);
}

#[test]
fn what_a_version_cannot_express_is_refused_and_leaves_no_trace() {
    let parameters = QueryParameters { keyspace: Some("k".into()), ..QueryParameters::new(Consistency::One) };
    let query = holon_cql::request::Query { statement: "s".into(), parameters };
    let unset = holon_cql::request::Batch {
        kind: BatchKind::Logged,
        queries: vec![holon_cql::request::BatchQuery {
            statement: holon_cql::request::BatchStatement::Text("s".into()),
            values: vec![BoundValue::Unset],
        }],
        consistency: Consistency::One,
        serial_consistency: None,
        timestamp_us: None,
        keyspace: None,
        now_in_seconds: None,
    };
    for (version, request) in [(Version::V4, Request::Query(query)), (Version::V3, Request::Batch(unset))] {
        let mut encoder = Encoder::new(version);
        let refused = encoder.request(&RequestMessage::new(1, request));
        assert!(matches!(refused, Err(CqlError::NeedsVersion { .. })), "{refused:?}");
        assert!(encoder.take().is_empty());
    }
}

#[test]
fn rows_of_another_version_and_rows_with_a_wrong_number_of_cells_are_refused() {
    let metadata = holon_cql::RowsMetadata::skipped(2);
    let mut writer = RowsWriter::new(Version::V4, metadata);
    writer.cell(None).expect("short");
    assert_eq!(writer.end_row(), Err(CqlError::CellCount { cells: 1, columns: 2 }));
    assert_eq!((writer.row_count(), writer.size_bytes()), (0, 0), "the short row was taken back");
    let rows = writer.finish(None).expect("no rows");
    let message = ResponseMessage::new(1, Response::Result(ResultResponse::EncodedRows(rows)));
    assert!(Encoder::new(Version::V5).response(&message).is_err());
    assert!(Encoder::new(Version::V4).response(&message).is_ok());
}

#[test]
fn no_named_values_are_no_values() {
    // EXECUTE of an empty id at THREE with the flags values, skip metadata and names, and no values.
    let mut decoder = Decoder::new(Direction::Request, ENVELOPE_BODY_BYTES_MAX);
    decoder.feed(&[3, 0, 0, 1, 0x0A, 0, 0, 0, 7, 0, 0, 0, 3, 0x43, 0, 0]);
    let envelope = decoder.next_envelope().expect("valid").expect("whole");
    let message = RequestMessage::decode(&envelope).expect("valid");
    let Request::Execute(execute) = &message.request else { panic!("{message:?} is no EXECUTE") };
    assert_eq!(execute.parameters.values, holon_cql::request::Values::default());
    assert!(execute.parameters.skip_metadata);
}

#[test]
fn long_error_texts_are_cut_at_a_character() {
    let text = "é".repeat(100_000);
    let mut encoder = Encoder::new(Version::V4);
    let error = ErrorResponse::new(ErrorCode::Invalid, text.clone());
    encoder.response(&ResponseMessage::new(1, Response::Error(error))).expect("shortened");
    let mut decoder = Decoder::new(Direction::Response, ENVELOPE_BODY_BYTES_MAX);
    decoder.feed(&encoder.take());
    let envelope = decoder.next_envelope().expect("valid").expect("whole");
    let Response::Error(error) = ResponseMessage::decode(&envelope).expect("valid").response else {
        panic!("an error became no error")
    };
    assert!(text.starts_with(&error.message) && error.message.len() > 10_000, "{}", error.message.len());
}
