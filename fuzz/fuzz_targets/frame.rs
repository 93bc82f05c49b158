//! Bytes as a connection gets them, in every version, direction and compression: nothing panics, and a body that is
//! understood can be written and understood again.
#![no_main]

use holon_cql::{
    Compression, Decoder, Direction, Encoder, Envelope, RequestMessage, ResponseMessage, Version, limits, segment,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, bytes)) = input.split_first() else { return };
    let version = Version::EVERY[usize::from(choice & 3) % 3];
    let direction = if choice & 4 == 0 { Direction::Request } else { Direction::Response };
    let compression = match choice >> 3 & 3 {
        0 | 3 => None,
        1 => Some(Compression::Lz4),
        _ if version < Version::V5 => Some(Compression::Snappy),
        _ => None,
    };
    let mut decoder = Decoder::new(direction, limits::ENVELOPE_BODY_BYTES_MAX_UNAUTHENTICATED * 4);
    if choice & 32 != 0 {
        decoder.negotiated(version, compression);
        if version >= Version::V5 && choice & 64 != 0 {
            // Past the checksums, which no fuzzer guesses.
            let mut whole = bytes::BytesMut::new();
            let payload = bytes.get(..limits::SEGMENT_PAYLOAD_BYTES_MAX).unwrap_or(bytes);
            segment::encode(payload, compression.is_some(), choice & 128 != 0, &mut whole).expect("short enough");
            decoder.feed(&whole);
        }
    }
    decoder.feed(bytes);
    loop {
        match decoder.next_envelope() {
            Ok(None) => return,
            Ok(Some(envelope)) => check(&envelope, direction),
            Err(error) if error.connection_survives() => {}
            Err(_) => return,
        }
    }
});

/// What was read must come back after being written, if the version lets it be written.
fn check(envelope: &Envelope, direction: Direction) {
    let version = envelope.header.version;
    let mut encoder = Encoder::new(version);
    let mut again = Decoder::new(direction, limits::ENVELOPE_BODY_BYTES_MAX);
    match direction {
        Direction::Request => {
            let Ok(message) = RequestMessage::decode(envelope) else { return };
            encoder.request(&message).expect("what was read can be written");
            again.feed(&encoder.take());
            let envelope = again.next_envelope().expect("valid").expect("whole");
            assert_eq!(RequestMessage::decode(&envelope), Ok(message));
        }
        Direction::Response => {
            let Ok(message) = ResponseMessage::decode(envelope) else { return };
            // Long texts are shortened, and what v3 does not know is told as something else: not everything comes back.
            if encoder.response(&message).is_err() {
                return;
            }
            again.feed(&encoder.take());
            let envelope = again.next_envelope().expect("valid").expect("whole");
            ResponseMessage::decode(&envelope).expect("what was written can be read");
        }
    }
}
