//! Envelopes and segments: sharing, spreading, damage, limits, versions.

use bytes::{BufMut, Bytes, BytesMut};
use holon_cql::limits::{
    DECOMPRESSION_RATIO_FLOOR_BYTES, ENVELOPE_BODY_BYTES_MAX, ENVELOPE_BODY_BYTES_MAX_UNAUTHENTICATED,
    SEGMENT_PAYLOAD_BYTES_MAX,
};
use holon_cql::request::{AuthResponse, Options};
use holon_cql::segment;
use holon_cql::{
    Compression, CqlError, Decoder, Direction, Encoder, ErrorCode, Flags, Header, Opcode, Request, RequestMessage,
    Response, ResponseMessage, Version,
};

use crate::round_trip::{Link, decoder, encoder};

const V5: Link = Link { version: Version::V5, compression: None, negotiated: true };
const V5_LZ4: Link = Link { version: Version::V5, compression: Some(Compression::Lz4), negotiated: true };

/// Bytes that do not compress.
fn noise(length: usize) -> Bytes {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect::<Vec<u8>>().into()
}

fn message(stream: i16, token: Bytes) -> RequestMessage {
    RequestMessage::new(stream, Request::AuthResponse(AuthResponse { token: Some(token) }))
}

fn options(stream: i16) -> RequestMessage {
    RequestMessage::new(stream, Request::Options(Options))
}

fn next_message(decoder: &mut Decoder) -> Result<RequestMessage, CqlError> {
    RequestMessage::decode(&decoder.next_envelope()?.expect("a whole envelope"))
}

#[test]
fn small_envelopes_share_a_segment() {
    let mut encoder = encoder(V5);
    (0..100).for_each(|stream| encoder.request(&options(stream)).expect("valid"));
    let bytes = encoder.take();
    assert_eq!(bytes.len(), 6 + 100 * 9 + 4);
    let mut decoder = decoder(V5, Direction::Request);
    decoder.feed(&bytes);
    (0..100).for_each(|stream| assert_eq!(next_message(&mut decoder), Ok(options(stream))));
    assert_eq!(decoder.next_envelope(), Ok(None));
}

#[test]
fn envelopes_of_all_sizes_keep_their_order() {
    let sizes = [0, 50_000, 90_000, 131_058, 131_059, 10, 300_000, 131_071 * 3 - 13, 20];
    for link in [V5, V5_LZ4] {
        for tokens in [sizes.map(noise), sizes.map(|size| vec![7; size].into())] {
            let messages: Vec<RequestMessage> =
                tokens.into_iter().zip(0..).map(|(token, stream)| message(stream, token)).collect();
            let (mut encoder, mut decoder) = (encoder(link), decoder(link, Direction::Request));
            messages.iter().for_each(|message| encoder.request(message).expect("valid"));
            decoder.feed(&encoder.take());
            messages.iter().for_each(|message| assert_eq!(next_message(&mut decoder).as_ref(), Ok(message)));
            assert_eq!((decoder.next_envelope(), decoder.buffered_bytes()), (Ok(None), 0));
        }
    }
}

#[test]
fn lz4_makes_segments_smaller() {
    let size = |link| {
        let mut encoder = encoder(link);
        encoder.request(&message(1, vec![7; 100_000].into())).expect("valid");
        encoder.take().len()
    };
    assert!(size(V5_LZ4) * 50 < size(V5));
}

#[test]
fn crc24_is_that_of_other_drivers() {
    // The header of a self-contained segment of 93 bytes, as the Java driver sends it.
    assert_eq!(segment::crc24(&[0x5d, 0x00, 0x02]).to_le_bytes()[..3], [0xc5, 0x52, 0x6e]);
}

#[test]
fn every_damaged_bit_of_a_segment_is_found_and_ends_the_connection() {
    for link in [V5, V5_LZ4] {
        let mut encoder = encoder(link);
        encoder.request(&message(1, noise(20))).expect("valid");
        let whole = encoder.take();
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let mut decoder = decoder(link, Direction::Request);
            decoder.feed(&damaged);
            let error = decoder.next_envelope().expect_err("damage at bit {bit}");
            let found =
                matches!(error, CqlError::SegmentHeaderChecksum { .. } | CqlError::SegmentPayloadChecksum { .. });
            assert!(found && !error.connection_survives(), "bit {bit}: {error}");
            decoder.feed(&whole);
            assert_eq!(decoder.next_envelope(), Err(error), "nothing is read after it");
        }
    }
}

fn feed_segment(decoder: &mut Decoder, payload: &[u8], self_contained: bool) {
    let mut out = BytesMut::new();
    segment::encode(payload, false, self_contained, &mut out).expect("short");
    decoder.feed(&out);
}

#[test]
fn segments_that_make_no_sense_end_the_connection() {
    let mut unsegmented = Encoder::new(Version::V5);
    unsegmented.request(&message(1, noise(100))).expect("valid");
    let envelope = unsegmented.take();
    type Segments<'a> = Vec<(&'a [u8], bool)>;
    let cases: [(&str, Segments<'_>); 4] = [
        ("half an envelope", vec![(&envelope[..50], true)]),
        ("half a header", vec![(&envelope[..5], true)]),
        ("whole ones between parts", vec![(&envelope[..50], false), (&envelope, true)]),
        ("a part beyond the end", vec![(&envelope[..50], false), (&envelope, false)]),
    ];
    for (name, segments) in cases {
        let mut decoder = decoder(V5, Direction::Request);
        segments.into_iter().for_each(|(payload, whole)| feed_segment(&mut decoder, payload, whole));
        let error = decoder.next_envelope().expect_err(name);
        assert!(matches!(error, CqlError::Segment { .. }) && !error.connection_survives(), "{name}: {error}");
    }
    // Parts may be of any size, and may even split the header.
    let mut decoder = decoder(V5, Direction::Request);
    for part in envelope.chunks(4) {
        feed_segment(&mut decoder, part, false);
    }
    assert_eq!(next_message(&mut decoder), Ok(message(1, noise(100))));
    let mut out = BytesMut::new();
    assert!(segment::encode(&vec![0; SEGMENT_PAYLOAD_BYTES_MAX + 1], false, true, &mut out).is_err());
}

#[test]
fn an_envelope_beyond_the_limit_is_refused_at_its_header_and_skipped() {
    let limit = 200_000;
    for link in [V5, V5_LZ4, Link { version: Version::V4, compression: None, negotiated: true }] {
        let (mut encoder, mut decoder) = (encoder(link), decoder(link, Direction::Request));
        decoder.set_body_limit_bytes(limit);
        let messages = [options(1), message(2, noise(limit)), options(3), message(4, noise(limit - 4)), options(5)];
        messages.iter().for_each(|message| encoder.request(message).expect("valid"));
        let mut found = Vec::new();
        let mut held_bytes = 0;
        for portion in encoder.take().chunks(1000) {
            decoder.feed(portion);
            loop {
                match decoder.next_envelope() {
                    Ok(None) => break,
                    Ok(Some(envelope)) => found.push(Ok(envelope.header.stream)),
                    Err(error) => {
                        assert!(error.connection_survives() && error.code() == ErrorCode::Invalid, "{error}");
                        found.push(Err(error.stream()));
                    }
                }
            }
            if found.len() == 2 {
                held_bytes = held_bytes.max(decoder.buffered_bytes());
            }
        }
        assert_eq!(found, [Ok(1), Err(Some(2)), Ok(3), Ok(4), Ok(5)], "{link:?}");
        assert!(held_bytes < 2 * SEGMENT_PAYLOAD_BYTES_MAX, "{held_bytes} bytes of a refused envelope were kept");
    }
}

#[test]
fn before_authentication_a_large_envelope_ends_the_connection() {
    let mut decoder = Decoder::new(Direction::Request, ENVELOPE_BODY_BYTES_MAX_UNAUTHENTICATED);
    let body_length = ENVELOPE_BODY_BYTES_MAX_UNAUTHENTICATED as u32 + 1;
    feed_header(&mut decoder, Flags::default(), body_length);
    let error = decoder.next_envelope().expect_err("too large");
    assert!(!error.connection_survives(), "{error}");
    assert_eq!(error.to_string(), "Request is too big: length 65537 exceeds maximum allowed length 65536.");
}

fn feed_header(decoder: &mut Decoder, flags: Flags, body_length: u32) {
    let mut bytes = BytesMut::new();
    let header = Header { version: Version::V4, flags, stream: 5, opcode: Opcode::AuthResponse, body_length };
    header.encode(&mut bytes);
    decoder.feed(&bytes);
}

#[test]
fn unsupported_versions_are_answered_in_words_that_drivers_know() {
    let cases: [(&[u8], u8, i16); 6] = [
        (&[0x01, 0x00, 0x07], 1, 7),
        (&[0x02, 0x00, 0xFF], 2, -1),
        (&[0x06, 0x00, 0x01, 0x02], 6, 0x0102),
        (&[0x41, 0x00, 0x00, 0x09, 0x05, 0, 0, 0, 0], 0x41, 9),
        (&[0x42, 0x10, 0x00, 0x00], 0x42, 0),
        (b"GET / HTTP/1.1", b'G', 0x5420),
    ];
    for (bytes, version, stream) in cases {
        let mut decoder = Decoder::new(Direction::Request, ENVELOPE_BODY_BYTES_MAX);
        decoder.feed(bytes);
        let error = decoder.next_envelope().expect_err("unsupported");
        assert_eq!(error, CqlError::UnsupportedVersion { version, stream });
        assert_eq!((error.code(), error.stream()), (ErrorCode::Protocol, Some(stream)));
        assert!(!error.connection_survives());
        let text = format!(
            "Invalid or unsupported protocol version ({version}); the lowest supported version is 3 and the greatest \
             is 5"
        );
        let mut encoder = Encoder::new(Version::V4);
        encoder.decode_error(&error).expect("always possible");
        let answer = encoder.take();
        if version < 3 {
            // The short header of v1 and v2.
            assert_eq!(answer[..4], [0x80 | version, 0, stream as u8, 0]);
            assert_eq!(&answer[14..], text.as_bytes());
            continue;
        }
        assert_eq!(answer[0], 0x85);
        let mut client = Decoder::new(Direction::Response, ENVELOPE_BODY_BYTES_MAX);
        client.feed(&answer);
        let answer = ResponseMessage::decode(&client.next_envelope().expect("valid").expect("whole")).expect("valid");
        let Response::Error(error) = answer.response else { panic!("an error became no error") };
        assert_eq!((answer.stream, error.code(), error.message), (stream, ErrorCode::Protocol, text));
    }
}

#[test]
fn a_connection_keeps_its_version_and_its_direction() {
    let v4 = Link { version: Version::V4, compression: None, negotiated: true };
    let mut decoder_v4 = decoder(v4, Direction::Request);
    let mut v3 = Encoder::new(Version::V3);
    v3.request(&options(4)).expect("valid");
    decoder_v4.feed(&v3.take());
    let error = decoder_v4.next_envelope().expect_err("another version");
    assert!(matches!(error, CqlError::VersionChanged { stream: 4, .. }) && !error.connection_survives());

    let mut server = decoder(v4, Direction::Request);
    let mut encoder = encoder(v4);
    encoder.response(&ResponseMessage::new(3, Response::Ready)).expect("valid");
    server.feed(&encoder.take());
    let error = server.next_envelope().expect_err("a response to a server");
    assert!(matches!(error, CqlError::WrongDirection { byte: 0x84, stream: 3 }) && !error.connection_survives());
}

#[test]
fn an_unknown_opcode_costs_only_its_envelope() {
    for (opcode, link) in [(0x04, V5), (0x77, V5_LZ4), (0x08, Link { version: Version::V4, ..V5 })] {
        let mut plain = Encoder::new(link.version);
        plain.request(&message(9, noise(30))).expect("valid");
        plain.request(&options(10)).expect("valid");
        let mut bytes = plain.take().to_vec();
        bytes[4] = opcode;
        let mut decoder = decoder(link, Direction::Request);
        if link.version >= Version::V5 {
            let mut out = BytesMut::new();
            segment::encode(&bytes, link.compression.is_some(), true, &mut out).expect("short");
            decoder.feed(&out);
        } else {
            decoder.feed(&bytes);
        }
        let error = decoder.next_envelope().expect_err("unknown");
        assert!(error.connection_survives() && error.stream() == Some(9), "{error}");
        assert_eq!(next_message(&mut decoder), Ok(options(10)));
    }
}

#[test]
fn compressed_bodies_need_a_negotiated_compression() {
    let mut decoder = Decoder::new(Direction::Request, ENVELOPE_BODY_BYTES_MAX);
    feed_header(&mut decoder, Flags::COMPRESSED, 3);
    decoder.feed(&[1, 2, 3]);
    let error = decoder.next_envelope().expect_err("nothing was negotiated");
    assert_eq!(error, CqlError::CompressionNotNegotiated { stream: 5 });
    assert!(error.connection_survives());
    assert!(Compression::from_name("snappy", Version::V5).is_err());
    assert_eq!(Compression::from_name("SNAPPY", Version::V4), Ok(Compression::Snappy));
    assert_eq!(Compression::from_name("LZ4", Version::V5), Ok(Compression::Lz4));
    assert!(Compression::from_name("deflate", Version::V4).is_err());
}

#[test]
fn decompression_is_bounded_before_memory_is_taken() {
    let plain = vec![0_u8; DECOMPRESSION_RATIO_FLOOR_BYTES + 1];
    for compression in [Compression::Lz4, Compression::Snappy] {
        let packed = compression.compress_body(&plain[..100_000]).expect("zeros compress");
        assert_eq!(compression.decompress_body(&packed, 100_000, 1).as_deref(), Ok(&plain[..100_000]));
        let refused = compression.decompress_body(&packed, 99_999, 1);
        assert!(matches!(refused, Err(CqlError::DecompressedTooLarge { length: 100_000, .. })), "{refused:?}");
        for length in [0, 1, 3, packed.len() - 1] {
            assert!(compression.decompress_body(&packed[..length], 100_000, 1).is_err(), "cut to {length}");
        }
        let empty =
            compression.decompress_body(&[0, 0, 0, 0][..if compression == Compression::Lz4 { 4 } else { 1 }], 9, 1);
        assert_eq!(empty, Ok(Bytes::new()));
    }
    // A ratio above 100 is only believed up to the floor.
    let packed = Compression::Lz4.compress_body(&plain).expect("zeros compress");
    let refused = Compression::Lz4.decompress_body(&packed, ENVELOPE_BODY_BYTES_MAX, 1);
    assert!(matches!(refused, Err(CqlError::DecompressedTooLarge { .. })), "{:?}", refused.map(|plain| plain.len()));
    // A length that lies, below all limits.
    let mut lie = BytesMut::new();
    lie.put_u32(5000);
    lie.put_slice(&packed[4..200]);
    assert!(matches!(Compression::Lz4.decompress_body(&lie, 9000, 1), Err(CqlError::Decompression { .. })));
}

#[test]
fn startup_switches_both_sides_to_segments() {
    let mut client = Encoder::new(Version::V5);
    let (mut server_in, mut server_out) =
        (Decoder::new(Direction::Request, ENVELOPE_BODY_BYTES_MAX), Encoder::new(Version::V5));
    let mut startup = holon_cql::request::Startup::default();
    startup.options.insert("CQL_VERSION".into(), "3.0.0".into());
    startup.options.insert("COMPRESSION".into(), "lz4".into());
    client.request(&RequestMessage::new(1, Request::Startup(startup))).expect("valid");
    server_in.feed(&client.take());
    let envelope = server_in.next_envelope().expect("valid").expect("whole");
    let version = envelope.header.version;
    let Ok(RequestMessage { request: Request::Startup(startup), .. }) = RequestMessage::decode(&envelope) else {
        panic!("no STARTUP")
    };
    let compression = startup.compression(version).expect("lz4");
    server_in.negotiated(version, compression);
    server_out.response(&ResponseMessage::new(1, Response::Ready)).expect("valid");
    server_out.negotiated(version, compression);
    server_out.response(&ResponseMessage::new(2, Response::Ready)).expect("valid");

    let answer = server_out.take();
    assert_eq!(answer[..9], [0x85, 0, 0, 1, 2, 0, 0, 0, 0], "READY is not in a segment");
    let mut client_in = Decoder::new(Direction::Response, ENVELOPE_BODY_BYTES_MAX);
    client_in.feed(&answer);
    assert_eq!(client_in.next_envelope().expect("valid").expect("whole").header.stream, 1);
    client_in.negotiated(version, compression);
    client.negotiated(version, compression);
    assert_eq!(client_in.next_envelope().expect("valid").expect("whole").header.stream, 2);
    client.request(&options(3)).expect("valid");
    server_in.feed(&client.take());
    assert_eq!(next_message(&mut server_in), Ok(options(3)));
}
