//! Batches that a broker writes itself: one record for each value, without keys, not compressed.

use crate::batch::{ATTRIBUTES_AT, BatchHeader, CRC_AT, HEADER_BYTES, NONE};
use bytes::{Buf, Bytes};

/// A batch of these values, all of one time; never empty, for a batch has a record.
pub fn pack(values: &[Bytes], time_ms: i64) -> Bytes {
    let mut records = Vec::with_capacity(values.iter().map(|value| value.len() + 16).sum());
    for (delta, value) in values.iter().enumerate() {
        let mut record = vec![0, 0]; // attributes, time delta
        put_varint(&mut record, delta as i64);
        put_varint(&mut record, -1); // no key
        put_varint(&mut record, value.len() as i64);
        record.extend_from_slice(value);
        record.push(0); // no headers
        put_varint(&mut records, record.len() as i64);
        records.extend_from_slice(&record);
    }
    batch(&records, values.len(), time_ms, time_ms)
}

/// A batch of nobody, whose records are packed already.
pub(crate) fn batch(records: &[u8], count: usize, first_ms: i64, newest_ms: i64) -> Bytes {
    let count = count as i32;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + records.len());
    bytes.extend_from_slice(&0i64.to_be_bytes());
    bytes.extend_from_slice(&((HEADER_BYTES - 12 + records.len()) as i32).to_be_bytes());
    bytes.extend_from_slice(&(-1i32).to_be_bytes());
    bytes.push(2);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&0i16.to_be_bytes());
    bytes.extend_from_slice(&(count - 1).to_be_bytes());
    bytes.extend_from_slice(&first_ms.to_be_bytes());
    bytes.extend_from_slice(&newest_ms.to_be_bytes());
    bytes.extend_from_slice(&NONE.to_be_bytes());
    bytes.extend_from_slice(&(-1i16).to_be_bytes());
    bytes.extend_from_slice(&(-1i32).to_be_bytes());
    bytes.extend_from_slice(&count.to_be_bytes());
    bytes.extend_from_slice(records);
    let crc = crc32c::crc32c(&bytes[ATTRIBUTES_AT..]);
    bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

/// The values of a batch that [`pack`] made; `None`: another one did.
pub fn unpack(header: &BatchHeader, whole: &Bytes) -> Option<Vec<Bytes>> {
    let mut left = whole.slice(HEADER_BYTES.min(whole.len())..);
    let mut values = Vec::new();
    for _ in 0..header.count {
        let length = take_varint(&mut left)?;
        let mut record = take(&mut left, length)?;
        take(&mut record, 2)?;
        take_varint(&mut record)?;
        if take_varint(&mut record)? != -1 {
            return None;
        }
        let length = take_varint(&mut record)?;
        values.push(take(&mut record, length)?);
    }
    Some(values)
}

pub fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

pub(crate) fn take_varint(bytes: &mut Bytes) -> Option<i64> {
    let mut zigzag = 0u64;
    for shift in (0..64).step_by(7) {
        if !bytes.has_remaining() {
            return None;
        }
        let byte = bytes.get_u8();
        zigzag |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed());
        }
    }
    None
}

pub(crate) fn take(bytes: &mut Bytes, length: i64) -> Option<Bytes> {
    let length = usize::try_from(length).ok().filter(|length| *length <= bytes.len())?;
    Some(bytes.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::check_crc;
    use crate::{ProduceRules, ProducedBatch, Timestamps};

    #[test]
    fn what_is_packed_is_a_good_batch_and_comes_out_as_it_was() {
        let values: Vec<Bytes> =
            [0usize, 1, 63, 64, 8191, 8192, 100_000].into_iter().map(|length| vec![7; length].into()).collect();
        let bytes = pack(&values, 5);
        let timestamps = Timestamps::Create { now_ms: 5, before_ms_max: 0, after_ms_max: 0 };
        let rules = ProduceRules { batch_bytes_max: 1 << 20, version: 9, timestamps };
        let header = ProducedBatch::check(bytes.clone(), &rules).expect("good").header;
        check_crc(&header, &bytes, 0).expect("its checksum");
        assert_eq!(unpack(&header, &bytes), Some(values));
        for cut in HEADER_BYTES..200 {
            assert_eq!(unpack(&header, &bytes.slice(..cut)), None, "cut at {cut}");
        }
    }
}
