//! Batches as a plain producer makes them, for tests and simulations: not packed, all records alike.

use crate::batch::{ATTRIBUTES_AT, Attributes, CRC_AT, NONE};
use bytes::Bytes;

/// Of whom a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct From {
    pub producer_id: i64,
    pub epoch: i16,
    pub sequence: i32,
}

/// A producer without an id.
pub const NOBODY: From = From { producer_id: NONE, epoch: -1, sequence: -1 };

/// So many records, at most 64, of one time, each with this value.
pub fn batch(from: From, count: u8, value: &[u8], time_ms: i64) -> Bytes {
    with_attributes(0, from, &vec![time_ms; usize::from(count)], value)
}

/// The same, as part of a transaction.
pub fn transactional(from: From, count: u8, value: &[u8], time_ms: i64) -> Bytes {
    with_attributes(Attributes::TRANSACTIONAL, from, &vec![time_ms; usize::from(count)], value)
}

/// Records with these times, each less than 64 ms after the first and none before it.
pub fn batch_with_times(times_ms: &[i64]) -> Bytes {
    with_attributes(0, NOBODY, times_ms, b"value")
}

fn with_attributes(attributes: i16, from: From, times_ms: &[i64], value: &[u8]) -> Bytes {
    let count = times_ms.len();
    let fits = |delta: &i64| (0..64).contains(delta);
    let deltas: Vec<i64> = times_ms.iter().map(|time_ms| time_ms - times_ms[0]).collect();
    let all_fit = (1..=64).contains(&count) && value.len() < 50 && deltas.iter().all(fits);
    assert!(all_fit, "small enough that each number is a varint of one byte");
    let zigzag = |number: usize| (number * 2) as u8;
    let mut records = Vec::new();
    for (at, delta) in deltas.iter().enumerate() {
        // length, attributes, both deltas, no key, a value, no headers
        let head = [zigzag(6 + value.len()), 0, zigzag(*delta as usize), zigzag(at), 1, zigzag(value.len())];
        records.extend_from_slice(&head);
        records.extend_from_slice(value);
        records.push(0);
    }
    let newest_ms = times_ms.iter().copied().max().unwrap_or_default();
    let (count, time_ms) = (count as i32, times_ms[0]);
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&0i64.to_be_bytes());
    bytes.extend_from_slice(&(49 + records.len() as i32).to_be_bytes());
    bytes.extend_from_slice(&(-1i32).to_be_bytes());
    bytes.push(2);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&attributes.to_be_bytes());
    bytes.extend_from_slice(&(count - 1).to_be_bytes());
    bytes.extend_from_slice(&time_ms.to_be_bytes());
    bytes.extend_from_slice(&newest_ms.to_be_bytes());
    bytes.extend_from_slice(&from.producer_id.to_be_bytes());
    bytes.extend_from_slice(&from.epoch.to_be_bytes());
    bytes.extend_from_slice(&from.sequence.to_be_bytes());
    bytes.extend_from_slice(&count.to_be_bytes());
    bytes.extend_from_slice(&records);
    let crc = crc32c::crc32c(&bytes[ATTRIBUTES_AT..]);
    bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

/// The value of the first record of such a batch.
pub fn value_of(whole: &[u8]) -> Option<&[u8]> {
    let records = whole.get(crate::batch::HEADER_BYTES..)?;
    let length = usize::from(records.get(5)? / 2);
    records.get(6..6 + length)
}
