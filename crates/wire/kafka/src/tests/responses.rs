//! Answers: bytes made by the shape, decoded by `kafka-protocol` as a client does, written by us, are the same bytes.

use super::{CORRELATION_ID, answer_body, header, response_shapes, versions};
use crate::apis::{Api, Served, with_apis};
use crate::errors::ErrorCode;
use crate::header::RequestHeader;
use crate::request::codec_version;
use crate::response::Response;
use crate::shape::sample::Sample;
use crate::writer::EncodeError;
use bytes::Bytes;
use kafka_protocol::messages::{
    self, ApiVersionsResponse, CreateTopicsResponse, HeartbeatResponse, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::{Decodable, Request, StrBytes};

const SEEDS: u64 = 12;

macro_rules! define_decoder {
    (
        own { $($own:ident($($numbers:tt)*);)* }
        generated {
            $($name:ident($key:literal, $from:literal, $to:literal, $flexible:tt, $shape:ident, $request:ident);)*
        }
    ) => {
        /// As a client decodes it.
        fn decode(api: Api, version: i16, body: &mut Bytes) -> Response {
            let version = codec_version(api, version);
            match api {
                Api::Produce | Api::Fetch => panic!("they have no shape"),
                $(Api::$name => <messages::$request as Request>::Response::decode(body, version)
                    .map(Response::$name)
                    .unwrap_or_else(|error| panic!("{api} {version}: {error}")),)*
            }
        }
    };
}

with_apis!(define_decoder);

#[test]
fn every_answer_goes_out_as_its_fields_say() {
    assert_eq!(response_shapes::all().count(), Api::ALL.len() - 2);
    let mut seen = 0;
    for (api, version) in versions() {
        let Some((_, shape)) = response_shapes::all().find(|(other, _)| *other == api) else { continue };
        for seed in 0..SEEDS {
            let sample = Sample::new(seed, &[], shape, version, api.is_flexible(version));
            let mut body = sample.bytes.freeze();
            let made = body.clone();
            let response = decode(api, version, &mut body);
            assert!(body.is_empty(), "{api} {version}");
            assert_eq!(response.api(), api);
            let pieces = response.encode(&header(api, version)).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(pieces.len(), 1);
            assert_eq!(answer_body(&pieces, api, version), made, "{api} {version}");
            seen += 1;
        }
    }
    assert!(seen > 180 * SEEDS, "{seen}");
}

#[test]
fn api_versions_in_an_unknown_version_is_answered_in_version_0() {
    let asked = header(Api::ApiVersions, 77);
    let pieces = Response::ApiVersions(Served::everything().answer_to_unsupported()).encode(&asked).expect("sayable");
    let expected = [0, 0, 0, 16, 1, 2, 3, 4, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4];
    assert_eq!(pieces.concat(), expected);
}

#[test]
fn api_versions_tells_features_to_those_who_know_them() {
    let answer = Served::everything().answer().with_finalized_features_epoch(7).with_throttle_time_ms(5);
    for version in 0..=4 {
        let pieces = Response::ApiVersions(answer.clone()).encode(&header(Api::ApiVersions, version)).expect("sayable");
        let mut body = answer_body(&pieces, Api::ApiVersions, version);
        let again = ApiVersionsResponse::decode(&mut body, version).expect("valid");
        assert_eq!(again.api_keys, answer.api_keys);
        assert_eq!(again.finalized_features_epoch, if version >= 3 { 7 } else { -1 });
        assert_eq!(again.throttle_time_ms, if version >= 1 { 5 } else { 0 });
    }
}

#[test]
fn an_answer_to_something_else_is_refused() {
    let heartbeat = Response::Heartbeat(HeartbeatResponse::default());
    let error = heartbeat.encode(&header(Api::Metadata, 1)).expect_err("another api");
    assert_eq!(error, EncodeError::OtherApi { asked: "Metadata", answered: "Heartbeat" });
}

#[test]
fn what_a_version_cannot_say_is_refused() {
    // The error of the whole answer came with version 13; before, each topic has its own.
    let answer = || MetadataResponse::default().with_error_code(ErrorCode::REBOOTSTRAP_REQUIRED.0);
    assert!(Response::Metadata(answer()).encode(&header(Api::Metadata, 13)).is_ok());
    let long = StrBytes::from_string("x".repeat(40_000));
    let topic = messages::create_topics_response::CreatableTopicResult::default().with_name(TopicName(long));
    let answer = || CreateTopicsResponse::default().with_topics(vec![topic.clone()]);
    assert!(Response::CreateTopics(answer()).encode(&header(Api::CreateTopics, 7)).is_ok());
    let error = Response::CreateTopics(answer()).encode(&header(Api::CreateTopics, 2)).expect_err("too long");
    assert!(matches!(error, EncodeError::Unsayable { api: "CreateTopics", version: 2, .. }), "{error}");
}

#[test]
fn the_number_of_the_request_comes_back() {
    for correlation_id in [0, -1, i32::MAX, CORRELATION_ID] {
        let asked = RequestHeader { correlation_id, ..header(Api::Heartbeat, 4) };
        let pieces = Response::Heartbeat(HeartbeatResponse::default()).encode(&asked).expect("sayable");
        assert_eq!(pieces[0][4..8], correlation_id.to_be_bytes());
    }
}
