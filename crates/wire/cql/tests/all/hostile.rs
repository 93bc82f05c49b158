//! Input that no honest peer sends: cut short, changed, invented. Nothing may panic, and what is cut must not be
//! believed.

use bytes::Bytes;
use holon_cql::limits::{ENVELOPE_BODY_BYTES_MAX, NESTING_MAX};
use holon_cql::value::validate;
use holon_cql::{
    CqlError, CqlType, Decoder, Direction, Encoder, Envelope, Header, Opcode, Reader, RequestMessage, ResponseMessage,
    Value, ValueError, Version, Writer,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::round_trip::{Link, decoder, encoder, link};
use crate::strategies::{cases, cql_type, request_message, response_message, version};

fn envelope(version: Version, direction: Direction, bytes: &[u8]) -> Envelope {
    let mut decoder = Decoder::new(direction, ENVELOPE_BODY_BYTES_MAX);
    decoder.feed(bytes);
    let envelope = decoder.next_envelope().expect("valid").expect("whole");
    assert_eq!(envelope.header.version, version);
    envelope
}

/// Reads as a server or client would, until nothing is left or the connection is over.
fn read_all(link: Link, direction: Direction, bytes: &[u8]) {
    let mut decoder = decoder(link, direction);
    decoder.feed(bytes);
    for _ in 0..10_000 {
        match decoder.next_envelope() {
            Ok(None) => return,
            Ok(Some(envelope)) if direction == Direction::Request => drop(RequestMessage::decode(&envelope)),
            Ok(Some(envelope)) => drop(ResponseMessage::decode(&envelope)),
            Err(error) if !error.connection_survives() => return,
            Err(_) => {}
        }
    }
    panic!("{} bytes were read as more than 10000 envelopes", bytes.len());
}

fn mutate(bytes: &mut [u8], mutations: &[(usize, u8)]) {
    if bytes.is_empty() {
        return;
    }
    for (position, change) in mutations {
        bytes[position % bytes.len()] ^= change;
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_cut_request_is_an_error(
        (version, message) in version().prop_flat_map(|version| (Just(version), request_message(version))),
    ) {
        let mut encoder = Encoder::new(version);
        encoder.request(&message).expect("valid");
        let whole = envelope(version, Direction::Request, &encoder.take());
        for length in 0..whole.body.len() {
            let cut = Envelope { header: whole.header, body: whole.body.slice(..length) };
            prop_assert!(RequestMessage::decode(&cut).is_err(), "{} bytes of {:?}", length, message);
        }
    }

    #[test]
    fn a_cut_response_is_an_error(
        (version, message) in version().prop_flat_map(|version| (Just(version), response_message(version))),
    ) {
        let mut encoder = Encoder::new(version);
        encoder.response(&message).expect("valid");
        let whole = envelope(version, Direction::Response, &encoder.take());
        for length in 0..whole.body.len() {
            let cut = Envelope { header: whole.header, body: whole.body.slice(..length) };
            prop_assert!(ResponseMessage::decode(&cut).is_err(), "{} bytes of {:?}", length, message);
        }
    }

    #[test]
    fn bytes_after_a_message_are_ignored(
        (version, message) in version().prop_flat_map(|version| (Just(version), request_message(version))),
        more in vec(any::<u8>(), 1..20),
    ) {
        let mut encoder = Encoder::new(version);
        encoder.request(&message).expect("valid");
        let whole = envelope(version, Direction::Request, &encoder.take());
        let body = [&whole.body[..], &more].concat().into();
        prop_assert_eq!(RequestMessage::decode(&Envelope { header: whole.header, body }), Ok(message));
    }

    #[test]
    fn changed_requests_never_panic(
        (link, messages) in link().prop_flat_map(|link| (Just(link), vec(request_message(link.version), 1..4))),
        mutations in vec((any::<usize>(), any::<u8>()), 1..6),
    ) {
        let mut encoder = encoder(link);
        messages.iter().for_each(|message| encoder.request(message).expect("valid"));
        let mut bytes = encoder.take().to_vec();
        mutate(&mut bytes, &mutations);
        read_all(link, Direction::Request, &bytes);
    }

    /// The checksums of segments keep changes away from what is behind them: here they are changed before.
    #[test]
    fn changed_bodies_never_panic(
        (version, request, response) in version()
            .prop_flat_map(|version| (Just(version), request_message(version), response_message(version))),
        mutations in vec((any::<usize>(), any::<u8>()), 1..6),
    ) {
        let mut encoder = Encoder::new(version);
        encoder.request(&request).expect("valid");
        let whole = envelope(version, Direction::Request, &encoder.take());
        let mut body = whole.body.to_vec();
        mutate(&mut body, &mutations);
        drop(RequestMessage::decode(&Envelope { header: whole.header, body: body.into() }));
        encoder.response(&response).expect("valid");
        let whole = envelope(version, Direction::Response, &encoder.take());
        let mut body = whole.body.to_vec();
        mutate(&mut body, &mutations);
        drop(ResponseMessage::decode(&Envelope { header: whole.header, body: body.into() }));
    }

    #[test]
    fn noise_never_panics(link in link(), response in any::<bool>(), bytes in vec(any::<u8>(), 0..200)) {
        read_all(link, if response { Direction::Response } else { Direction::Request }, &bytes);
    }

    #[test]
    fn noise_in_bodies_never_panics(
        version in version(),
        opcode in select(vec![0_u8, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
        flags in 0..32_u8,
        body in vec(prop_oneof![Just(0_u8), Just(1), Just(0xFF), any::<u8>()], 0..120),
    ) {
        let opcode = Opcode::from_number(opcode).expect("known");
        let flags = holon_cql::Flags(flags);
        let header = Header { version, flags, stream: 0, opcode, body_length: body.len() as u32 };
        let envelope = Envelope { header, body: body.into() };
        drop(RequestMessage::decode(&envelope));
        drop(ResponseMessage::decode(&envelope));
    }

    #[test]
    fn validate_and_decode_agree_on_noise(
        cql_type in cql_type(),
        bytes in vec(prop_oneof![3 => Just(0_u8), 1 => 1..9_u8, 1 => any::<u8>()], 0..40),
    ) {
        let bytes = Bytes::from(bytes);
        let (valid, decoded) = (validate(&cql_type, &bytes), Value::decode(&cql_type, &bytes));
        prop_assert_eq!(valid, decoded.map(|_| ()));
    }
}

#[test]
fn types_and_values_nest_no_deeper_than_the_limit() {
    let nested = |levels: usize| (1..levels).fold(CqlType::Int, |inner, _| CqlType::list(inner));
    for version in Version::EVERY {
        let write = |cql_type: &CqlType| {
            let mut out = bytes::BytesMut::new();
            cql_type.encode(&mut Writer::new(&mut out), version).map(|()| out.freeze())
        };
        let deepest = nested(NESTING_MAX);
        assert_eq!(deepest.depth(), NESTING_MAX);
        let bytes = write(&deepest).expect("just within the limit");
        assert_eq!(CqlType::decode(&mut Reader::new(bytes.clone())), Ok(deepest.clone()));
        assert!(matches!(write(&nested(NESTING_MAX + 1)), Err(CqlError::TooDeep { .. })));
        // One more list around it, and a million more.
        for more in [1, 1_000_000] {
            let deeper = [&[0, 0x20].repeat(more)[..], &bytes].concat();
            let decoded = CqlType::decode(&mut Reader::new(deeper.into()));
            assert!(matches!(decoded, Err(CqlError::TooDeep { .. })), "{decoded:?}");
        }
    }
    // An empty list at each level.
    let too_deep = nested(NESTING_MAX + 1);
    let value = (1..NESTING_MAX + 1).fold(Vec::new(), |inner: Vec<u8>, level| {
        if level == 1 {
            return vec![0; 4];
        }
        [&1_i32.to_be_bytes()[..], &(inner.len() as i32).to_be_bytes(), &inner].concat()
    });
    assert_eq!(validate(&nested(NESTING_MAX), &value[8..]), Ok(()));
    // Without elements at the innermost level, the last level is never reached.
    assert_eq!(validate(&too_deep, &value), Ok(()));
    let whole = [&1_i32.to_be_bytes()[..], &4_i32.to_be_bytes(), &7_i32.to_be_bytes()].concat();
    let full = (2..NESTING_MAX + 1)
        .fold(whole, |inner, _| [&1_i32.to_be_bytes()[..], &(inner.len() as i32).to_be_bytes(), &inner].concat());
    assert_eq!(validate(&too_deep, &full), Err(ValueError::TooDeep { limit: NESTING_MAX }));
    assert_eq!(Value::decode(&too_deep, &full.into()), Err(ValueError::TooDeep { limit: NESTING_MAX }));
}

#[test]
fn class_names_nest_no_deeper_than_the_limit() {
    let name = |levels: usize| {
        let list = "org.apache.cassandra.db.marshal.ListType(";
        format!("{}Int32Type{}", list.repeat(levels - 1), ")".repeat(levels - 1))
    };
    assert_eq!(CqlType::from_class_name(&name(NESTING_MAX), NESTING_MAX).map(|found| found.depth()), Some(NESTING_MAX));
    assert_eq!(CqlType::from_class_name(&name(NESTING_MAX + 1), NESTING_MAX), None);
    assert_eq!(CqlType::from_class_name(&name(1000), NESTING_MAX), None);
    let frozen = format!("{}Int32Type{}", "FrozenType(".repeat(5000), ")".repeat(5000));
    assert_eq!(CqlType::from_class_name(&frozen, NESTING_MAX), Some(CqlType::Custom(frozen.as_str().into())));
}
