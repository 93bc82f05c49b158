//! Bytes of a client's connection to the log: nothing panics, no count or length takes memory that is not there, and whatever is answered
//! has the length that it says.
#![no_main]

use bytes::BytesMut;
use holon_kafka::fetch::{FetchedPartition, FetchedTopic};
use holon_kafka::produce::{ProducedPartition, ProducedTopic};
use holon_kafka::{
    Api, ErrorCode, FetchRequest, FetchResponse, ProduceRequest, ProduceResponse, Request, RequestHeader, Response,
    Served, frame,
};
use libfuzzer_sys::fuzz_target;

const REQUEST_BYTES_MAX: usize = 1 << 16;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, bytes)) = input.split_first() else { return };
    let mut connection = BytesMut::new();
    if choice & 1 != 0 && bytes.len() >= 4 {
        // Past the length, the key and the version, which few inputs have right.
        let api = Api::ALL[usize::from(bytes[0]) % Api::ALL.len()];
        let (from, to) = api.versions();
        let version = from + i16::from(bytes[1]) % (to - from + 1);
        connection.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        connection.extend_from_slice(&api.key().to_be_bytes());
        connection.extend_from_slice(&version.to_be_bytes());
        connection.extend_from_slice(&bytes[4..]);
    } else {
        connection.extend_from_slice(bytes);
    }
    let served = Served::everything();
    while let Ok(Some(whole)) = frame::take(&mut connection, REQUEST_BYTES_MAX) {
        let Ok((header, request)) = Request::read(&whole, &served) else { return };
        answer(&header, request, &served);
    }
});

/// The requests with records name what their answers have to name; a text that came in a version can go out in it.
fn answer(header: &RequestHeader, request: Request, served: &Served) {
    let response = match request {
        Request::Produce(request) => Response::Produce(refuse(request)),
        Request::Fetch(request) => Response::Fetch(echo(request)),
        Request::UnsupportedApiVersions => Response::ApiVersions(served.answer_to_unsupported()),
        Request::ApiVersions(_) => Response::ApiVersions(served.answer()),
        _ => return,
    };
    let pieces = response.encode(header).expect("what was asked can be answered");
    let whole = pieces.concat();
    assert_eq!(whole[..4], (whole.len() as u32 - 4).to_be_bytes());
}

fn refuse(request: ProduceRequest) -> ProduceResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let refused = |index| ProducedPartition::refused(index, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None);
        let partitions = topic.partitions.iter().map(|partition| refused(partition.index)).collect();
        ProducedTopic { name: topic.name, id: topic.id, partitions }
    });
    ProduceResponse { topics: topics.collect(), ..ProduceResponse::default() }
}

fn echo(request: FetchRequest) -> FetchResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let refused = |index| FetchedPartition::refused(index, ErrorCode::NOT_LEADER_OR_FOLLOWER);
        let partitions = topic.partitions.iter().map(|partition| refused(partition.index)).collect();
        FetchedTopic { name: topic.name, id: topic.id, partitions }
    });
    FetchResponse { topics: topics.collect(), ..FetchResponse::default() }
}
