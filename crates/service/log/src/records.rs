//! Records within a batch, as far as somebody has to find one by its time: offset and timestamp. Keys, values and headers are passed over.
//!
//! Nothing of what is stored is changed, and nothing unpacked is kept. What a batch may unpack to is bounded ([`UNPACK_LIMITS`]): its
//! bytes come from strangers, and nobody has unpacked them before.

use holon_kafka::batch::HEADER_BYTES;
use holon_kafka::unpack::{UnpackLimits, unpack};
use holon_kafka::{Attributes, BatchHeader};
use std::io::{self, BufReader, Read};
use thiserror::Error;

/// A batch of the usual megabyte that shrank to a thirtieth. More would hold up the shard.
const UNPACK_LIMITS: UnpackLimits = UnpackLimits { bytes: 32 << 20, zstd_window_log: 23 };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordTime {
    pub offset: i64,
    pub time_ms: i64,
}

/// The batch has a good checksum, but its records are none: its client wrote them so.
#[derive(Debug, Error)]
#[error("the records of a batch cannot be read: {0}")]
pub struct Unreadable(#[from] io::Error);

/// The first record from this offset on whose time is not before `time_ms`.
///
/// # Errors
/// [`Unreadable`].
pub fn first_since(
    header: &BatchHeader,
    whole: &[u8],
    from: i64,
    time_ms: i64,
) -> Result<Option<RecordTime>, Unreadable> {
    if header.attributes.has(Attributes::LOG_APPEND_TIME) {
        // All have the time of the batch.
        let found = RecordTime { offset: header.base_offset.max(from), time_ms: header.max_timestamp_ms };
        return Ok(Some(found).filter(|found| found.time_ms >= time_ms && found.offset <= header.last_offset()));
    }
    let mut input = unpacked(header, whole)?;
    for _ in 0..header.count {
        let record = record(header, &mut input)?;
        if record.time_ms >= time_ms && record.offset >= from {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

/// The bytes of the records, as they are read.
fn unpacked<'a>(header: &BatchHeader, whole: &'a [u8]) -> Result<impl Read + 'a, Unreadable> {
    let packed = whole.get(HEADER_BYTES..).ok_or_else(|| wrong("they are not there"))?;
    let compression = header.attributes.compression().map_err(|error| wrong(&error.to_string()))?;
    Ok(BufReader::new(unpack(compression, packed, UNPACK_LIMITS)?))
}

/// One record: length, attributes, time and offset as differences to those of the batch, and what is passed over.
fn record(header: &BatchHeader, input: &mut impl Read) -> Result<RecordTime, Unreadable> {
    let length = varint(input)?.0;
    byte(input)?;
    let (time_delta, time_bytes) = varint(input)?;
    let (offset_delta, offset_bytes) = varint(input)?;
    let rest = length.checked_sub(1 + time_bytes + offset_bytes).and_then(|rest| u64::try_from(rest).ok());
    let rest = rest.ok_or_else(|| wrong("a record is shorter than what it has"))?;
    if io::copy(&mut input.take(rest), &mut io::sink())? != rest {
        return Err(wrong("a record is cut off"));
    }
    let offset = header.base_offset.wrapping_add(offset_delta);
    if !(header.base_offset..=header.last_offset()).contains(&offset) {
        return Err(wrong("a record has an offset outside of its batch"));
    }
    Ok(RecordTime { offset, time_ms: header.base_timestamp_ms.wrapping_add(time_delta) })
}

/// A number of at most 64 bits, its sign in the lowest; and how many bytes it had.
fn varint(input: &mut impl Read) -> Result<(i64, i64), Unreadable> {
    let mut number = 0u64;
    for at in 0..10u8 {
        let byte = byte(input)?;
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(((number >> 1).cast_signed() ^ -(number & 1).cast_signed(), i64::from(at) + 1));
        }
    }
    Err(wrong("a number of more than ten bytes"))
}

fn byte(input: &mut impl Read) -> Result<u8, Unreadable> {
    let mut byte = [0];
    input.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn wrong(why: &str) -> Unreadable {
    Unreadable(io::Error::new(io::ErrorKind::InvalidData, why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use holon_kafka::packed::put_varint;
    use std::io::Write;

    /// Records with these times, and values of 1000 bytes.
    fn records(base_ms: i64, times_ms: &[i64]) -> Vec<u8> {
        let mut out = Vec::new();
        for (delta, time_ms) in times_ms.iter().enumerate() {
            let mut body = vec![0];
            put_varint(&mut body, time_ms - base_ms);
            put_varint(&mut body, delta as i64);
            put_varint(&mut body, -1);
            put_varint(&mut body, 1000);
            body.extend_from_slice(&[b'v'; 1000]);
            put_varint(&mut body, 0);
            put_varint(&mut out, body.len() as i64);
            out.extend_from_slice(&body);
        }
        out
    }

    fn packed(codec: i16, records: &[u8]) -> Vec<u8> {
        match codec {
            0 => records.to_vec(),
            1 => {
                let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                out.write_all(records).expect("packed");
                out.finish().expect("packed")
            }
            2 => snap::raw::Encoder::new().compress_vec(records).expect("packed"),
            3 => {
                let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
                out.write_all(records).expect("packed");
                out.finish().expect("packed")
            }
            _ => zstd::encode_all(records, 3).expect("packed"),
        }
    }

    fn batch(codec: i16, times_ms: &[i64], packed: &[u8]) -> (BatchHeader, Vec<u8>) {
        let header = BatchHeader {
            base_offset: 100,
            length: HEADER_BYTES + packed.len(),
            leader_epoch: 0,
            crc: 0,
            attributes: Attributes(codec),
            last_offset_delta: times_ms.len() as i32 - 1,
            base_timestamp_ms: times_ms[0],
            max_timestamp_ms: times_ms.iter().copied().max().expect("some"),
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            count: times_ms.len() as i32,
        };
        (header, [&[0; HEADER_BYTES], packed].concat())
    }

    const TIMES_MS: [i64; 5] =
        [1_700_000_000_000, 1_700_000_000_050, 1_600_000_000_000, 1_700_000_000_090, 1_700_000_000_090];

    #[test]
    fn a_record_is_found_by_its_time_in_each_codec() {
        let plain = records(TIMES_MS[0], &TIMES_MS);
        for codec in 0..5 {
            let bytes = packed(codec, &plain);
            let (header, whole) = batch(codec, &TIMES_MS, &bytes);
            let find = |from, time_ms| first_since(&header, &whole, from, time_ms).expect("readable");
            let at = |index: usize| Some(RecordTime { offset: 100 + index as i64, time_ms: TIMES_MS[index] });
            assert_eq!(find(0, 0), at(0), "{codec}");
            assert_eq!(find(0, TIMES_MS[0] + 1), at(1), "{codec}");
            assert_eq!(find(0, TIMES_MS[3]), at(3), "{codec}: the first of several");
            assert_eq!(find(102, 0), at(2), "{codec}: not before the offset");
            assert_eq!(find(102, TIMES_MS[0]), at(3), "{codec}");
            assert_eq!(find(0, TIMES_MS[3] + 1), None, "{codec}");
        }
    }

    #[test]
    fn all_records_of_a_batch_with_the_time_of_its_append_have_that() {
        let (mut header, whole) = batch(0, &TIMES_MS, &[]);
        header.attributes.0 |= Attributes::LOG_APPEND_TIME;
        let time_ms = header.max_timestamp_ms;
        let found = |from| first_since(&header, &whole, from, time_ms).expect("not read");
        assert_eq!(found(0), Some(RecordTime { offset: 100, time_ms }));
        assert_eq!(found(103), Some(RecordTime { offset: 103, time_ms }));
        assert_eq!(found(105), None);
        assert_eq!(first_since(&header, &whole, 0, time_ms + 1).expect("not read"), None);
    }

    #[test]
    fn what_is_no_record_is_an_error_and_takes_no_memory() {
        let plain = records(TIMES_MS[0], &TIMES_MS);
        for codec in 0..5 {
            let good = packed(codec, &plain);
            for length in [0, 1, good.len() / 2] {
                let (header, whole) = batch(codec, &TIMES_MS, &good[..length]);
                assert!(first_since(&header, &whole, 0, i64::MAX).is_err(), "{codec} cut to {length}");
            }
            // One record, as good as any but for its size.
            let mut large = Vec::new();
            put_varint(&mut large, 40 << 20);
            large.resize(large.len() + (40 << 20), 0);
            let (header, whole) = batch(codec, &TIMES_MS[..1], &packed(codec, &large));
            assert!(first_since(&header, &whole, 0, i64::MAX).is_err(), "{codec}");
        }
        let (header, whole) = batch(7, &TIMES_MS, &plain);
        assert!(first_since(&header, &whole, 0, 0).is_err());
        for bytes in [&[1][..], &[0xff; 40], &[2, 0, 0, 0], &[0x40, 0, 0, 0x40, 1, 1]] {
            let (header, whole) = batch(0, &TIMES_MS, bytes);
            assert!(first_since(&header, &whole, 0, i64::MAX).is_err(), "{bytes:?}");
        }
    }
}
