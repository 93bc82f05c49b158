//! The bytes of what is kept.

use bytes::Bytes;
use holon_log::groups::{DecodeError, GroupRecord, Image, MemberRecord, Name, OffsetRecord, OffsetValue, Record};

fn name(name: &str) -> Name {
    name.into()
}

fn records() -> Vec<Record> {
    let member = |id: &str, instance: Option<&str>| MemberRecord {
        member: name(id),
        instance: instance.map(name),
        client_id: name("client"),
        client_host: name("/10.0.0.1"),
        session_timeout_ms: 45_000,
        rebalance_timeout_ms: -1,
        metadata: Bytes::from_static(b"\0\x01"),
        assignment: Bytes::new(),
    };
    let value = |expires_ms, topic_id| OffsetValue {
        offset: 1 << 40,
        leader_epoch: -1,
        metadata: name("schön"),
        committed_ms: 1_700_000_000_000,
        expires_ms,
        topic_id,
    };
    vec![
        Record::Group(GroupRecord {
            group: name("g"),
            generation: 7,
            protocol_type: Some(name("consumer")),
            protocol: Some(name("range")),
            leader: Some(name("a")),
            since_ms: -5,
            members: vec![member("a", None), member("b", Some("one"))],
        }),
        Record::Group(GroupRecord {
            group: name(""),
            generation: i32::MAX,
            protocol_type: None,
            protocol: None,
            leader: None,
            since_ms: i64::MAX,
            members: Vec::new(),
        }),
        Record::Offsets {
            group: name("g"),
            offsets: vec![
                OffsetRecord { topic: name("t"), partition: 0, value: value(None, 0) },
                OffsetRecord { topic: name("t"), partition: i32::MAX, value: value(Some(-1), u128::MAX) },
            ],
        },
        Record::OffsetsRemoved { group: name("g"), partitions: vec![(name("t"), 3)] },
        Record::GroupRemoved { group: name("g") },
    ]
}

#[test]
fn what_is_written_is_read_and_what_is_cut_is_refused() {
    for record in records() {
        let bytes = record.encode();
        assert_eq!(Record::decode(bytes.clone()).as_ref(), Ok(&record));
        for cut in 0..bytes.len() {
            assert!(Record::decode(bytes.slice(..cut)).is_err(), "cut at {cut}: {record:?}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(Record::decode(longer.into()).is_err());
        // No flipped bit makes it panic, or take much memory.
        for place in 0..bytes.len() * 8 {
            let mut damaged = bytes.to_vec();
            damaged[place / 8] ^= 1 << (place % 8);
            if let Ok(other) = Record::decode(damaged.into()) {
                assert_ne!(other, record);
            }
        }
    }
}

#[test]
fn formats_and_kinds_that_are_not_known_are_refused() {
    assert_eq!(Record::decode(Bytes::from_static(&[2, 1])), Err(DecodeError::Version(2)));
    assert_eq!(Record::decode(Bytes::from_static(&[1, 9])), Err(DecodeError::Kind(9)));
    assert!(matches!(Image::from_snapshot(Bytes::from_static(&[2, 0])), Err(DecodeError::Version(2))));
    // More records than there are bytes.
    assert!(Image::from_snapshot(Bytes::from_static(&[1, 0xff, 0xff, 0xff, 0xff, 0xf])).is_err());
    let flag = [&[1u8, 1, 1][..], b"g", &[2, 9]].concat();
    assert_eq!(Record::decode(flag.into()), Err(DecodeError::Value { what: "a flag", value: 9 }));
    let generation = [&[1u8, 1, 1][..], b"g", &[0x80, 0x80, 0x80, 0x80, 0x40]].concat();
    let too_large = DecodeError::Value { what: "a generation", value: 1 << 33 };
    assert_eq!(Record::decode(generation.into()), Err(too_large));
}

/// Written by the first version of the format. They stay as they are; new code reads them.
const FIRST: [&str; 5] = [
    "010101670e0108636f6e73756d6572010572616e6765010161090201610006636c69656e74092f31302e302e302e3190bf05\
     0102000100016201036f6e6506636c69656e74092f31302e302e302e3190bf050102000100",
    "010100feffffff0f000000feffffffffffffffff0100",
    "01030167020174008080808080400106736368c3b66e80a0abfef96200000000000000000000000000000000000174feffff\
     ff0f8080808080400106736368c3b66e80a0abfef9620101ffffffffffffffffffffffffffffffff",
    "0104016701017406",
    "01020167",
];

#[test]
fn bytes_of_the_first_format_are_read() {
    let hex = |bytes: Bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let now: Vec<String> = records().iter().map(|record| hex(record.encode())).collect();
    assert_eq!(now, FIRST);
    for (record, hex) in records().iter().zip(FIRST) {
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("two digits");
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        assert_eq!(Record::decode(bytes.into()).as_ref(), Ok(record));
    }
}

#[test]
fn a_snapshot_is_the_sum_of_the_records() {
    let mut image = Image::default();
    for record in records() {
        image.apply(record);
        let copy = Image::from_snapshot(image.snapshot()).expect("its own bytes");
        assert_eq!(copy.snapshot(), image.snapshot());
    }
    // Of "g" nothing is left, and the other one has no offsets.
    let mut expected = Image::default();
    expected.apply(records().remove(1));
    assert_eq!(image.snapshot(), expected.snapshot());
}
