//! Requests that `kafka-protocol` decodes: bytes made by the shape, read by us, written by it, are the same bytes.

use super::{CORRELATION_ID, header, header_bytes, versions};
use crate::apis::{Api, Served};
use crate::frame;
use crate::request::{Request, RequestError, encode_generated, shape_of};
use crate::shape::sample::Sample;
use bytes::{Bytes, BytesMut};

const SEEDS: u64 = 12;

/// A whole frame, without its length, for each generated request, version and seed.
fn samples() -> impl Iterator<Item = (Api, i16, Sample)> {
    let shaped = versions().filter_map(|(api, version)| Some((api, version, shape_of(api)?)));
    shaped.flat_map(|(api, version, shape)| {
        let made = move |seed| {
            let before = header_bytes(api, version);
            (api, version, Sample::new(seed, &before, shape, version, api.is_flexible(version)))
        };
        (0..SEEDS).map(made)
    })
}

fn read(bytes: &[u8]) -> Result<Request, RequestError> {
    let served = Served::everything();
    Request::read(&Bytes::copy_from_slice(bytes), &served).map(|(_, request)| request)
}

#[test]
fn every_request_comes_back_as_it_came() {
    let mut seen = 0;
    for (api, version, sample) in samples() {
        let mut input = BytesMut::from(&(sample.bytes.len() as u32).to_be_bytes()[..]);
        input.extend_from_slice(&sample.bytes);
        let framed = frame::take(&mut input, 1 << 20).expect("short").expect("whole");
        let (read, request) = Request::read(&framed, &Served::everything()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read, header(api, version));
        let mut again = BytesMut::from(&header_bytes(api, version)[..]);
        encode_generated(&request, version, &mut again);
        assert_eq!(again, sample.bytes, "{api} {version}");
        seen += 1;
    }
    // 57 requests, of which some have one version and some fourteen.
    assert!(seen > 180 * SEEDS, "{seen}");
}

#[test]
fn what_is_cut_off_anywhere_is_no_request() {
    for (api, version, sample) in samples() {
        for length in 0..sample.bytes.len() {
            let cut = read(&sample.bytes[..length]);
            assert!(cut.is_err(), "{api} {version} cut at {length} of {}: {cut:?}", sample.bytes.len());
        }
    }
}

/// As Kafka takes them.
#[test]
fn bytes_after_the_last_field_are_ignored() {
    for (_, _, mut sample) in samples() {
        let exact = read(&sample.bytes).expect("valid");
        sample.bytes.extend_from_slice(b"more");
        assert_eq!(read(&sample.bytes).expect("valid"), exact);
    }
}

/// A client that says it sends 2³¹ - 1 elements, or 2³² - 2, is found out before room is made for them: otherwise this test would end
/// with "memory allocation failed", which no test survives.
#[test]
fn counts_beyond_the_bytes_are_refused() {
    let mut bombs = 0;
    for (api, version, sample) in samples() {
        for at in &sample.counts {
            let bomb = read(&sample.with_bomb(*at));
            assert!(matches!(bomb, Err(RequestError::Malformed { .. })), "{api} {version} at {at}: {bomb:?}");
            bombs += 1;
        }
    }
    assert!(bombs > 1_000, "{bombs}");
}

#[test]
fn changed_bytes_do_no_harm() {
    let (mut good, mut bad) = (0, 0);
    for (api, version, mut sample) in samples() {
        for _ in 0..24 {
            let mut bytes = sample.bytes.to_vec();
            for _ in 0..=sample.below(3) {
                // Past the key and the version, which would make it another request.
                let at = 4 + sample.below(bytes.len() as u64 - 4) as usize;
                bytes[at] = match sample.below(3) {
                    0 => 0xff,
                    1 => 0,
                    _ => sample.below(256) as u8,
                };
            }
            match read(&bytes) {
                Ok(request) => {
                    encode_generated(&request, version, &mut BytesMut::new());
                    good += 1;
                }
                Err(error) => {
                    assert!(error.to_string().contains("malformed"), "{api} {version}: {error}");
                    bad += 1;
                }
            }
        }
    }
    assert!(good > 1_000 && bad > 1_000, "{good} {bad}");
}

#[test]
fn more_elements_than_a_request_may_have() {
    // DeleteGroups 0: an array of texts, here empty ones.
    let elements = |count: usize| {
        let mut bytes = header_bytes(Api::DeleteGroups, 0);
        bytes.extend_from_slice(&(count as u32).to_be_bytes());
        bytes.resize(bytes.len() + 2 * count, 0);
        read(&bytes)
    };
    assert!(elements(1 << 20).is_ok());
    let error = elements((1 << 20) + 1).expect_err("too many").to_string();
    assert!(error.contains("more than 1,048,576 elements"), "{error}");
}

#[test]
fn what_ends_the_connection() {
    let bytes = |key: i16, version: i16| {
        [&key.to_be_bytes()[..], &version.to_be_bytes(), &[0; 4], &[255, 255], &[0; 40]].concat()
    };
    let served = Served::least().with(Api::Produce).with_up_to(Api::Metadata, 8);
    let ask = |key, version| Request::read(&Bytes::from(bytes(key, version)), &served).map(|(_, request)| request);
    assert_eq!(ask(7, 0), Err(RequestError::UnknownApi { key: 7 }));
    assert_eq!(ask(-1, 0), Err(RequestError::UnknownApi { key: -1 }));
    assert_eq!(ask(1, 4), Err(RequestError::NotServed { api: Api::Fetch, version: 4 }));
    assert_eq!(ask(3, 9), Err(RequestError::NotServed { api: Api::Metadata, version: 9 }));
    assert_eq!(ask(0, 2), Err(RequestError::NotServed { api: Api::Produce, version: 2 }));
    assert_eq!(ask(0, 14), Err(RequestError::NotServed { api: Api::Produce, version: 14 }));
    assert!(ask(3, 8).is_ok());
    assert_eq!(read(&[0]), Err(RequestError::Header { at: 0, what: "it ends within a field" }));
}

#[test]
fn api_versions_passes_in_any_version() {
    for version in [5, 100, i16::MAX, -1] {
        let mut frame = header_bytes(Api::ApiVersions, version);
        frame.extend_from_slice(b"whatever it is");
        let (header, request) =
            Request::read(&Bytes::from(frame), &Served::least()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(request, Request::UnsupportedApiVersions);
        assert_eq!((header.version, header.answer_version()), (version, 0));
        assert_eq!(header.correlation_id, CORRELATION_ID);
    }
}

/// A null client id is an empty one.
#[test]
fn a_client_without_a_name() {
    let frame = Bytes::from_static(&[0, 18, 0, 0, 0, 0, 0, 9, 255, 255]);
    let (header, request) = Request::read(&frame, &Served::least()).expect("valid");
    assert_eq!(header.client_id.as_str(), "");
    assert!(matches!(request, Request::ApiVersions(_)));
}

#[test]
fn nulls_and_texts_are_looked_at() {
    let base = |body: &[u8]| [&header_bytes(Api::Metadata, 1)[..], body].concat();
    // Null asks for all topics.
    let Ok(Request::Metadata(all)) = read(&base(&[255, 255, 255, 255])) else { panic!("valid") };
    assert_eq!(all.topics, None);
    let not_utf8 = read(&base(&[0, 0, 0, 1, 0, 1, 0xff]));
    assert!(matches!(not_utf8, Err(RequestError::Refused { .. })), "{not_utf8:?}");
    // Heartbeat's group is never null.
    let mut heartbeat = header_bytes(Api::Heartbeat, 0);
    heartbeat.extend_from_slice(&[255, 255, 0, 0, 0, 1, 0, 0]);
    assert!(matches!(read(&heartbeat), Err(RequestError::Refused { .. })));
}
