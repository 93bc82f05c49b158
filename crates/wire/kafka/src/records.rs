//! Records as a client has them: keys, values, headers, times. A broker never takes a batch apart; `holon topic` is a client.

use crate::batch::{Attributes, BatchHeader, HEADER_BYTES};
use crate::packed::{batch, put_varint, take, take_varint};
use bytes::Bytes;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Given by the broker.
    pub offset: i64,
    pub time_ms: i64,
    pub key: Option<Bytes>,
    /// `None` deletes the key, in a compacted topic.
    pub value: Option<Bytes>,
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&Bytes>) {
    match bytes {
        Some(bytes) => {
            put_varint(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
        None => put_varint(out, -1),
    }
}

/// A batch of these, not compressed, of nobody in particular; never empty, for a batch has a record.
pub fn pack_records(records: &[Record]) -> Bytes {
    let first_ms = records.first().map_or(0, |record| record.time_ms);
    let newest_ms = records.iter().map(|record| record.time_ms).max().unwrap_or(first_ms);
    let mut packed = Vec::new();
    for (delta, record) in records.iter().enumerate() {
        let mut one = vec![0]; // attributes
        put_varint(&mut one, record.time_ms - first_ms);
        put_varint(&mut one, delta as i64);
        put_bytes(&mut one, record.key.as_ref());
        put_bytes(&mut one, record.value.as_ref());
        put_varint(&mut one, record.headers.len() as i64);
        for (name, value) in &record.headers {
            put_bytes(&mut one, Some(name));
            put_bytes(&mut one, value.as_ref());
        }
        put_varint(&mut packed, one.len() as i64);
        packed.extend_from_slice(&one);
    }
    batch(&packed, records.len(), first_ms, newest_ms)
}

/// The part of a batch that its codec packed.
pub fn packed_part(whole: &Bytes) -> Bytes {
    whole.slice(HEADER_BYTES.min(whole.len())..)
}

/// The records of a batch, whose part behind the header was unpacked; `None`: it is broken.
pub fn unpack_records(header: &BatchHeader, mut packed: Bytes) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    for _ in 0..header.count {
        let length = take_varint(&mut packed)?;
        let mut one = take(&mut packed, length)?;
        records.push(unpack_record(header, &mut one)?);
    }
    Some(records)
}

fn unpack_record(header: &BatchHeader, one: &mut Bytes) -> Option<Record> {
    take(one, 1)?;
    let (time, delta) = (take_varint(one)?, take_varint(one)?);
    let is_append_time = header.attributes.has(Attributes::LOG_APPEND_TIME);
    let time_ms = if is_append_time { header.max_timestamp_ms } else { header.base_timestamp_ms.checked_add(time)? };
    let offset = header.base_offset.checked_add(delta)?;
    let (key, value) = (take_bytes(one)?, take_bytes(one)?);
    let mut headers = Vec::new();
    for _ in 0..take_varint(one)? {
        headers.push((take_bytes(one)??, take_bytes(one)?));
    }
    Some(Record { offset, time_ms, key, value, headers })
}

/// Outer `None`: it is broken; inner: it is null.
fn take_bytes(bytes: &mut Bytes) -> Option<Option<Bytes>> {
    match take_varint(bytes)? {
        -1 => Some(None),
        length => take(bytes, length).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ProduceRules, ProducedBatch, Timestamps};

    #[test]
    fn records_come_out_as_they_were_and_the_batch_is_a_good_one() {
        let some = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        let headers = vec![(Bytes::from_static(b"a"), some("b")), (Bytes::from_static(b"c"), None)];
        let records = [
            Record { offset: 0, time_ms: 7000, key: some("k"), value: some("v"), headers },
            Record { offset: 1, time_ms: 5000, key: None, value: some(""), headers: vec![] },
            Record { offset: 2, time_ms: 9000, key: some(""), value: None, headers: vec![] },
        ];
        let whole = pack_records(&records);
        let timestamps = Timestamps::Create { now_ms: 0, before_ms_max: i64::MAX, after_ms_max: i64::MAX };
        let rules = ProduceRules { batch_bytes_max: 1 << 20, version: 9, timestamps };
        let header = ProducedBatch::check(whole.clone(), &rules).expect("good").header;
        assert_eq!((header.base_timestamp_ms, header.max_timestamp_ms, header.count), (7000, 9000, 3));
        let packed = packed_part(&whole);
        assert_eq!(unpack_records(&header, packed.clone()).as_deref(), Some(&records[..]));
        for cut in 0..packed.len() {
            assert_eq!(unpack_records(&header, packed.slice(..cut)), None, "cut at {cut}");
        }
    }
}
