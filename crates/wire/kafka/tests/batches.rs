//! Batches that another client made, and all that may be wrong with one.

use bytes::Bytes;
use holon_kafka::batch::{HEADER_BYTES, check_crc};
use holon_kafka::{
    Attributes, BatchError, BatchHeader, Batches, Compression, ErrorCode, ProduceRules, ProducedBatch, Timestamps,
};
use proptest::prelude::*;

/// Made by kafka-python 3.0: three records, of 1,700,000,000,000 ms and 10 ms more each, one with a header, one with a key.
const PLAIN: &str = "0000000000000000000000610000000002ccbe29b30000000000020000018bcfe568000000018bcfe56814ffffffffff\
    ffffffffffffffffff0000000322000000010e76616c7565203002026802781e001402046b310e76616c75652031001a\
    002804010e76616c7565203200";

/// Two records of producer 4711, epoch 3; the sequence number of the first is the greatest there is.
const IDEMPOTENT: &str = "0000000000000000000000530000000002da85b0a10000000000010000018bcfe568000000018bcfe5680a0000000000\
    00126700037fffffff0000000222000000010e76616c7565203002026802781e001402046b310e76616c7565203100";

/// Sixteen equal records in a transaction of producer 9, packed with gzip.
const GZIP: &str = "0000000000000000000000810000000002cdf15c6c00110000000f0000018bcfe568000000018bcfe568000000000000\
    000009000000000000000000101f8b080015360d6b02ff55c7b10a80201885d19b488484884844fc44afd620b838e9fb\
    d3da77b6639296345b7dc6dbab4c72ac6757766303bbb3914d6c660b7bb0277bb1c6debf7ee019e492f0000000";

const TIME_MS: i64 = 1_700_000_000_000;

fn bytes(hex: &str) -> Bytes {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    (0..hex.len()).step_by(2).map(digit).collect::<Vec<_>>().into()
}

fn rules() -> ProduceRules {
    let timestamps = Timestamps::Create { now_ms: TIME_MS, before_ms_max: i64::MAX, after_ms_max: 3_600_000 };
    ProduceRules { batch_bytes_max: 1 << 20, version: 9, timestamps }
}

fn check(records: &Bytes) -> Result<ProducedBatch, BatchError> {
    ProducedBatch::check(records.clone(), &rules())
}

/// With other bytes at some places, and the checksum that is right for them.
fn changed(original: &Bytes, changes: &[(usize, &[u8])]) -> Bytes {
    let mut bytes = original.to_vec();
    for (at, change) in changes {
        bytes[*at..at + change.len()].copy_from_slice(change);
    }
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

#[test]
fn what_another_client_made_is_read_as_it_meant_it() {
    let batch = check(&bytes(PLAIN)).expect("good").header;
    assert_eq!((batch.length, batch.count, batch.last_offset(), batch.leader_epoch), (109, 3, 2, 0));
    assert_eq!((batch.base_timestamp_ms, batch.max_timestamp_ms), (TIME_MS, TIME_MS + 20));
    assert_eq!((batch.producer_id, batch.producer_epoch, batch.base_sequence), (-1, -1, -1));
    assert_eq!((batch.attributes, batch.last_sequence()), (Attributes(0), None));
    let batch = check(&bytes(IDEMPOTENT)).expect("good").header;
    assert_eq!((batch.producer_id, batch.producer_epoch, batch.base_sequence), (4711, 3, i32::MAX));
    assert_eq!(batch.last_sequence(), Some(0), "numbers begin again after the greatest");
    let batch = check(&bytes(GZIP)).expect("good").header;
    assert_eq!((batch.count, batch.attributes.compression()), (16, Ok(Compression::Gzip)));
    assert!(batch.attributes.has(Attributes::TRANSACTIONAL) && !batch.attributes.has(Attributes::CONTROL));
}

#[test]
fn a_stamped_batch_differs_in_its_place_only_and_shares_its_records() {
    let request = bytes(PLAIN);
    let stamped = check(&request).expect("good").stamp(77_000, 5, None);
    assert_eq!(stamped.records.as_ptr(), request[HEADER_BYTES..].as_ptr(), "not copied");
    let whole: Bytes = [stamped.head, stamped.records].concat().into();
    let differ: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != request[*at]).collect();
    assert!(differ.iter().all(|at| (0..8).contains(at) || (12..16).contains(at)), "{differ:?}");
    let (header, read) = Batches::new(whole.clone()).next().expect("one").expect("good");
    assert_eq!((header, read), (stamped.header, whole.clone()));
    assert_eq!((header.base_offset, header.last_offset(), header.leader_epoch), (77_000, 77_002, 5));
    check_crc(&header, &whole, 0).expect("the checksum is over neither");

    let appended = check(&request).expect("good").stamp(1, 0, Some(TIME_MS + 12_345));
    let whole: Bytes = [appended.head, appended.records].concat().into();
    let header = BatchHeader::read(&whole, 0).expect("good").expect("whole");
    assert_eq!((header, header.max_timestamp_ms), (appended.header, TIME_MS + 12_345));
    assert!(header.attributes.has(Attributes::LOG_APPEND_TIME));
    check_crc(&header, &whole, 0).expect("it is a new one");
}

#[test]
fn batches_follow_each_other_until_one_is_not_whole() {
    let log: Bytes = [bytes(PLAIN), bytes(GZIP), bytes(IDEMPOTENT)].concat().into();
    let counts = |log: Bytes| Batches::new(log).map(|batch| batch.map(|(header, _)| header.count)).collect::<Vec<_>>();
    assert_eq!(counts(log.clone()), [Ok(3), Ok(16), Ok(2)]);
    let mut cut = Batches::new(log.slice(..log.len() - 1));
    assert_eq!(cut.by_ref().count(), 2);
    assert_eq!(cut.at(), log.len() - bytes(IDEMPOTENT).len());
    let mut old = log.to_vec();
    old[109 + 16] = 1;
    assert_eq!(counts(old.into()), [Ok(3), Err(BatchError::Format { at: 109, magic: 1 })]);
}

/// What is wrong, and the code that Kafka answers.
#[test]
fn each_fault_is_told_by_its_code() {
    let plain = bytes(PLAIN);
    let invalid = ErrorCode::INVALID_RECORD;
    let flags = |flags: i16| changed(&plain, &[(21, &flags.to_be_bytes())]);
    let twice: Bytes = [plain.clone(), plain.clone()].concat().into();
    let number = |at: usize, number: i32| changed(&plain, &[(at, &number.to_be_bytes())]);
    let time = |at: usize, time: i64| changed(&plain, &[(at, &time.to_be_bytes())]);
    let cases = [
        ("nothing", Bytes::new(), invalid),
        ("not all of it", plain.slice(..plain.len() - 1), invalid),
        ("two", twice, invalid),
        ("a length of nothing", number(8, 0), ErrorCode::CORRUPT_MESSAGE),
        ("a length below zero", number(8, -1), ErrorCode::CORRUPT_MESSAGE),
        ("a length without a header", number(8, 48), ErrorCode::CORRUPT_MESSAGE),
        ("an old format", changed(&plain, &[(16, &[1])]), invalid),
        ("another offset", time(0, 7), invalid),
        ("no records", number(57, 0), invalid),
        ("more records than offsets", number(57, 4), invalid),
        (
            "fewer records than none",
            changed(&plain, &[(23, &(-2i32).to_be_bytes()), (57, &(-1i32).to_be_bytes())]),
            invalid,
        ),
        ("more records than bytes", changed(&plain, &[(23, &6i32.to_be_bytes()), (57, &7i32.to_be_bytes())]), invalid),
        ("control records", flags(Attributes::CONTROL), invalid),
        ("a delete horizon", flags(Attributes::DELETE_HORIZON), invalid),
        ("a transaction of nobody", flags(Attributes::TRANSACTIONAL), invalid),
        ("a producer without a sequence", time(43, 12), invalid),
        ("a codec of the future", flags(5), ErrorCode::UNSUPPORTED_COMPRESSION_TYPE),
        ("the log's own time", flags(Attributes::LOG_APPEND_TIME), ErrorCode::INVALID_TIMESTAMP),
        ("a time to come", time(35, TIME_MS + 3_600_001), ErrorCode::INVALID_TIMESTAMP),
    ];
    for (what, records, code) in cases {
        let error = check(&records).expect_err(what);
        assert_eq!(error.code(), code, "{what}: {error}");
    }
    let mut damaged = plain.to_vec();
    damaged[100] ^= 1;
    assert!(matches!(check(&damaged.into()), Err(BatchError::Checksum { at: 0, .. })));
    let small = ProduceRules { batch_bytes_max: 108, ..rules() };
    let error = ProducedBatch::check(plain.clone(), &small).expect_err("too large");
    assert_eq!((error.code(), error.to_string().contains("109 bytes")), (ErrorCode::MESSAGE_TOO_LARGE, true));
    let zstd = flags(4);
    check(&zstd).expect("of this version");
    let before = ProduceRules { version: 6, ..rules() };
    assert_eq!(ProducedBatch::check(zstd, &before).map(|_| ()), Err(BatchError::ZstdTooOld { version: 6 }));
}

#[test]
fn what_has_no_time_is_taken_at_any() {
    let none = (-1i64).to_be_bytes();
    check(&changed(&bytes(PLAIN), &[(27, &none), (35, &none)])).expect("no timestamps");
    let strict = Timestamps::Create { now_ms: TIME_MS + 1_000, before_ms_max: 10, after_ms_max: 10 };
    let rules = ProduceRules { timestamps: strict, ..rules() };
    let error = ProducedBatch::check(bytes(PLAIN), &rules).expect_err("too old");
    assert_eq!(error.code(), ErrorCode::INVALID_TIMESTAMP);
    let rules = ProduceRules { timestamps: Timestamps::Append, ..rules };
    ProducedBatch::check(bytes(PLAIN), &rules).expect("the time of the append counts");
}

proptest! {
    /// Whatever a stranger sends: an error or a batch, and if it is a batch, then one whose checksum is right.
    #[test]
    fn no_bytes_make_it_panic(
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        flips in proptest::collection::vec((0usize..109, any::<u8>()), 0..4),
        sealed in any::<bool>(),
    ) {
        let mut batch = bytes(PLAIN).to_vec();
        for (at, value) in flips {
            batch[at] = value;
        }
        let batch = if sealed { changed(&batch.into(), &[]) } else { batch.into() };
        for records in [Bytes::from(noise.clone()), batch.clone(), [&batch[..], &noise].concat().into()] {
            if let Ok(taken) = check(&records) {
                let stamped = taken.stamp(i64::MAX, -1, None);
                let whole = [stamped.head, stamped.records].concat();
                prop_assert!(check_crc(&stamped.header, &whole, 0).is_ok());
                let _ = (stamped.header.last_offset(), stamped.header.last_sequence());
            }
            let given: usize = Batches::new(records.clone()).flatten().map(|(_, whole)| whole.len()).sum();
            prop_assert!(given <= records.len());
        }
    }
}
