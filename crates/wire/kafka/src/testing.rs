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
    with_attributes(0, from, count, value, time_ms)
}

/// The same, as part of a transaction.
pub fn transactional(from: From, count: u8, value: &[u8], time_ms: i64) -> Bytes {
    with_attributes(Attributes::TRANSACTIONAL, from, count, value, time_ms)
}

fn with_attributes(attributes: i16, from: From, count: u8, value: &[u8], time_ms: i64) -> Bytes {
    assert!((1..=64).contains(&count) && value.len() < 50, "small enough that each number is a varint of one byte");
    let zigzag = |number: usize| (number * 2) as u8;
    let mut records = Vec::new();
    for delta in 0..count {
        // length, attributes, both deltas, no key, a value, no headers
        records.extend_from_slice(&[zigzag(6 + value.len()), 0, 0, zigzag(usize::from(delta)), 1, zigzag(value.len())]);
        records.extend_from_slice(value);
        records.push(0);
    }
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&0i64.to_be_bytes());
    bytes.extend_from_slice(&(49 + records.len() as i32).to_be_bytes());
    bytes.extend_from_slice(&(-1i32).to_be_bytes());
    bytes.push(2);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&attributes.to_be_bytes());
    bytes.extend_from_slice(&(i32::from(count) - 1).to_be_bytes());
    bytes.extend_from_slice(&time_ms.to_be_bytes());
    bytes.extend_from_slice(&time_ms.to_be_bytes());
    bytes.extend_from_slice(&from.producer_id.to_be_bytes());
    bytes.extend_from_slice(&from.epoch.to_be_bytes());
    bytes.extend_from_slice(&from.sequence.to_be_bytes());
    bytes.extend_from_slice(&i32::from(count).to_be_bytes());
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
