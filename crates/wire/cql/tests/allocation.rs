//! How much memory hostile input makes the codec take: a binary of its own, because it counts every allocation.

use bytes::Bytes;
use holon_cql::limits::ENVELOPE_BODY_BYTES_MAX;
use holon_cql::value::validate;
use holon_cql::{
    Compression, CqlType, Decoder, Direction, Envelope, Flags, Header, Opcode, RequestMessage, ResponseMessage, Value,
    Version,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static TAKEN_BYTES: Cell<usize> = const { Cell::new(0) };
    static TAKEN_TIMES: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// Counting needs a global allocator, and its trait is unsafe: everything is handed on unchanged to the system's.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN_BYTES.set(TAKEN_BYTES.get() + layout.size());
        TAKEN_TIMES.set(TAKEN_TIMES.get() + 1);
        // SAFETY: the caller keeps to the contract of `alloc`, and so do we.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System` through `alloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Bytes taken in all, freed or not, and how many times.
fn taken(run: impl FnOnce()) -> (usize, usize) {
    let before = (TAKEN_BYTES.get(), TAKEN_TIMES.get());
    run();
    (TAKEN_BYTES.get() - before.0, TAKEN_TIMES.get() - before.1)
}

/// Bodies in which every place that might be a count or a length says "very many".
fn greedy_bodies() -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    for prefix_length in 0..40 {
        for prefix in [0_u8, 1, 2, 4] {
            for count in [&[0x7F_u8, 0xFF, 0xFF, 0xFF][..], &[0xFF, 0xFF], &[0x00, 0xFF, 0xFF, 0xFF]] {
                bodies.push([&vec![prefix; prefix_length][..], count, &[0; 12]].concat());
            }
        }
    }
    bodies
}

#[test]
fn counts_that_lie_take_no_memory() {
    // What a real message of that size may take: its names and lists, and the text of an error.
    let allowed_bytes = 4096;
    for body in greedy_bodies() {
        let body = Bytes::from(body);
        for version in Version::EVERY {
            for opcode in (0..=16).filter_map(Opcode::from_number) {
                for flags in [0, 2, 4, 8] {
                    let header =
                        Header { version, flags: Flags(flags), stream: 0, opcode, body_length: body.len() as u32 };
                    let envelope = Envelope { header, body: body.clone() };
                    let (bytes, _) = taken(|| {
                        drop(RequestMessage::decode(&envelope));
                        drop(ResponseMessage::decode(&envelope));
                    });
                    assert!(bytes <= allowed_bytes, "{bytes} bytes were taken for {opcode:?} {flags} {body:02x?}");
                }
            }
        }
    }
}

#[test]
fn headers_that_lie_take_no_memory() {
    let mut decoder = Decoder::new(Direction::Request, ENVELOPE_BODY_BYTES_MAX);
    let mut bytes = bytes::BytesMut::new();
    let body_length = ENVELOPE_BODY_BYTES_MAX as u32;
    let flags = Flags::default();
    Header { version: Version::V4, flags, stream: 0, opcode: Opcode::Query, body_length }.encode(&mut bytes);
    let (bytes, _) = taken(|| {
        decoder.feed(&bytes);
        assert_eq!(decoder.next_envelope(), Ok(None));
    });
    assert!(bytes <= 16 * 1024, "{bytes} bytes were taken for a header");
}

#[test]
fn compressed_bodies_that_lie_take_no_memory() {
    for length in [0x7FFF_FFFF_u32, 0xFFFF_FFFF, ENVELOPE_BODY_BYTES_MAX as u32 - 1] {
        let packed = [&length.to_be_bytes()[..], &[0; 20]].concat();
        let (bytes, _) = taken(|| {
            assert!(Compression::Lz4.decompress_body(&packed, ENVELOPE_BODY_BYTES_MAX, 0).is_err());
        });
        assert!(bytes <= 4096, "{bytes} bytes were taken for {length}");
    }
    let packed = [0xFF, 0xFF, 0xFF, 0xFF, 0x07, 0, 0, 0];
    let (bytes, _) = taken(|| {
        assert!(Compression::Snappy.decompress_body(&packed, ENVELOPE_BODY_BYTES_MAX, 0).is_err());
    });
    assert!(bytes <= 4096, "{bytes} bytes were taken for a snappy body");
}

#[test]
fn values_are_checked_without_memory() {
    let map = CqlType::frozen(CqlType::map(CqlType::Text, CqlType::list(CqlType::vector(CqlType::Text, 2))));
    let text = |text: &str| Value::Text(text.into());
    let vector = Value::Vector(vec![text("a"), text("b")]);
    let value = Value::Map(vec![(text("k"), Value::List(vec![vector.clone(), vector]))]);
    let bytes = value.to_bytes(&map).expect("a value of the type");
    assert_eq!(taken(|| assert_eq!(validate(&map, &bytes), Ok(()))), (0, 0));
    let short = &bytes[..bytes.len() - 1];
    assert_eq!(taken(|| assert!(validate(&map, short).is_err())), (0, 0));

    let lie = Bytes::from([&[0x7F, 0xFF, 0xFF, 0xFF][..], &[0; 40]].concat());
    for cql_type in [CqlType::list(CqlType::Int), CqlType::set(CqlType::Int), CqlType::map(CqlType::Int, CqlType::Int)]
    {
        let (bytes, _) = taken(|| assert!(Value::decode(&cql_type, &lie).is_err()));
        assert!(bytes <= 1024, "{bytes} bytes were taken for a value of {cql_type}");
    }
}
