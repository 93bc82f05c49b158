//! Records of a Produce request as a stranger sends them: nothing panics, and what is taken has the right checksum, before and after
//! it is stamped.
#![no_main]

use bytes::Bytes;
use holon_kafka::batch::check_crc;
use holon_kafka::{Batches, ProduceRules, ProducedBatch, Timestamps};
use libfuzzer_sys::fuzz_target;

const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, bytes)) = input.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if choice & 1 != 0 && bytes.len() > ATTRIBUTES_AT {
        // Past the checksum, which no fuzzer guesses.
        let crc = crc32c::crc32c(&bytes[ATTRIBUTES_AT..]);
        bytes[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
    }
    let bytes = Bytes::from(bytes);
    let given: usize = Batches::new(bytes.clone()).flatten().map(|(_, whole)| whole.len()).sum();
    assert!(given <= bytes.len());
    let timestamps = if choice & 2 == 0 {
        Timestamps::Append
    } else {
        Timestamps::Create { now_ms: 1 << 40, before_ms_max: 1 << 50, after_ms_max: 1 << 50 }
    };
    let rules = ProduceRules { batch_bytes_max: 1 << 20, version: i16::from(choice >> 4), timestamps };
    let Ok(taken) = ProducedBatch::check(bytes, &rules) else { return };
    let stamped = taken.stamp(i64::MAX, i32::MIN, (choice & 4 != 0).then_some(i64::MIN));
    let whole = [stamped.head, stamped.records].concat();
    check_crc(&stamped.header, &whole, 0).expect("the checksum was right, or is a new one");
});
