//! The end of a transaction in a partition: a batch of one record that the broker writes (KIP-98).
//!
//! ```text
//! batch  = a header with the flags transactional and control, the producer's id and epoch, the sequence number -1; one record
//! record = key value, without headers
//! key    = version:i16 type:i16 (0 abort, 1 commit)      value = version:i16 coordinator epoch:i32
//! ```
//! Field names are those of `ControlRecordType` and `EndTransactionMarker` in Kafka 4.1.

use crate::batch::{ATTRIBUTES_AT, Attributes, BatchHeader, CRC_AT, HEADER_BYTES, MAGIC};
use crate::produced::ProducedBatch;
use bytes::Bytes;

const ABORT: i16 = 0;
const COMMIT: i16 = 1;

/// Everything of the record up to its key: sixteen bytes follow the length, attributes, both deltas, a key of four bytes. Numbers
/// are zigzag varints.
const BEFORE_KEY: [u8; 5] = [16 << 1, 0, 0, 0, 4 << 1];
/// A value of six bytes.
const BEFORE_VALUE: u8 = 6 << 1;
const RECORD_BYTES: usize = 17;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Or it aborts.
    pub commits: bool,
    /// Of the coordinator that decided it: an older one is not obeyed any more.
    pub coordinator_epoch: i32,
}

impl Marker {
    /// Of a batch of a log; `None`: it is none, or of a kind that is not known here, which readers pass over.
    pub fn of(header: &BatchHeader, records: &[u8]) -> Option<Marker> {
        let is_one = header.attributes.has(Attributes::CONTROL) && header.attributes.has(Attributes::TRANSACTIONAL);
        let record = records.first_chunk::<RECORD_BYTES>().filter(|_| is_one)?;
        let number = |at: usize| i16::from_be_bytes([record[at], record[at + 1]]);
        if record[..5] != BEFORE_KEY || record[9] != BEFORE_VALUE || number(5) < 0 || number(10) < 0 {
            return None;
        }
        let commits = match number(7) {
            ABORT => false,
            COMMIT => true,
            _ => return None,
        };
        let [.., a, b, c, d, _] = *record;
        Some(Marker { commits, coordinator_epoch: i32::from_be_bytes([a, b, c, d]) })
    }

    /// As a batch that has no place in a log yet.
    pub fn batch(self, producer_id: i64, producer_epoch: i16, time_ms: i64) -> ProducedBatch {
        let mut record = Vec::with_capacity(RECORD_BYTES);
        record.extend_from_slice(&BEFORE_KEY);
        record.extend_from_slice(&0i16.to_be_bytes());
        record.extend_from_slice(&(if self.commits { COMMIT } else { ABORT }).to_be_bytes());
        record.push(BEFORE_VALUE);
        record.extend_from_slice(&0i16.to_be_bytes());
        record.extend_from_slice(&self.coordinator_epoch.to_be_bytes());
        record.push(0);
        let header = BatchHeader {
            base_offset: 0,
            length: HEADER_BYTES + record.len(),
            leader_epoch: -1,
            crc: 0,
            attributes: Attributes(Attributes::TRANSACTIONAL | Attributes::CONTROL),
            last_offset_delta: 0,
            base_timestamp_ms: time_ms,
            max_timestamp_ms: time_ms,
            producer_id,
            producer_epoch,
            base_sequence: -1,
            count: 1,
        };
        ProducedBatch::made(header, &record)
    }
}

impl ProducedBatch {
    /// Of the broker itself: the bytes of a header and its records, with the checksum they have.
    fn made(mut header: BatchHeader, records: &[u8]) -> ProducedBatch {
        let mut bytes = Vec::with_capacity(header.length);
        bytes.extend_from_slice(&header.base_offset.to_be_bytes());
        bytes.extend_from_slice(&((header.length - crate::batch::BEFORE_LENGTH) as i32).to_be_bytes());
        bytes.extend_from_slice(&header.leader_epoch.to_be_bytes());
        bytes.push(MAGIC.cast_unsigned());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&header.attributes.0.to_be_bytes());
        bytes.extend_from_slice(&header.last_offset_delta.to_be_bytes());
        bytes.extend_from_slice(&header.base_timestamp_ms.to_be_bytes());
        bytes.extend_from_slice(&header.max_timestamp_ms.to_be_bytes());
        bytes.extend_from_slice(&header.producer_id.to_be_bytes());
        bytes.extend_from_slice(&header.producer_epoch.to_be_bytes());
        bytes.extend_from_slice(&header.base_sequence.to_be_bytes());
        bytes.extend_from_slice(&header.count.to_be_bytes());
        bytes.extend_from_slice(records);
        header.crc = crc32c::crc32c(&bytes[ATTRIBUTES_AT..]);
        bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&header.crc.to_be_bytes());
        ProducedBatch::of(header, Bytes::from(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::check_crc;

    #[test]
    fn a_marker_is_read_as_it_was_written_and_nothing_else_is_one() {
        for (commits, coordinator_epoch) in [(true, 0), (false, 7), (true, i32::MAX), (false, -1)] {
            let marker = Marker { commits, coordinator_epoch };
            let made = marker.batch(4711, 3, 1_700_000_000_000);
            let stamped = made.stamp(1 << 40, 5, None);
            let whole: Vec<u8> = [stamped.head.clone(), stamped.records.clone()].concat();
            let header = BatchHeader::read(&whole, 0).expect("a batch").expect("whole");
            assert_eq!(header, stamped.header);
            check_crc(&header, &whole, 0).expect("the checksum it bears");
            assert_eq!((header.base_offset, header.leader_epoch, header.count), (1 << 40, 5, 1));
            assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (4711, 3, -1));
            assert_eq!(Marker::of(&header, &stamped.records), Some(marker));
            // Another kind of control record, a record that is cut off, a batch of data.
            let mut other = stamped.records.to_vec();
            other[8] = 2;
            assert_eq!(Marker::of(&header, &other), None);
            assert_eq!(Marker::of(&header, &stamped.records[..RECORD_BYTES - 1]), None);
            let data = BatchHeader { attributes: Attributes(Attributes::TRANSACTIONAL), ..header };
            assert_eq!(Marker::of(&data, &stamped.records), None);
        }
    }

    /// By the tables of the protocol, by hand.
    #[test]
    fn a_marker_has_the_bytes_that_kafka_gives_it() {
        let made = Marker { commits: true, coordinator_epoch: 2 }.batch(9, 1, 0);
        let whole = made.whole();
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(&whole[..17]), "000000000000000000000042ffffffff02");
        assert_eq!(hex(&whole[21..27]), "003000000000");
        assert_eq!(hex(&whole[43..61]), "00000000000000090001ffffffff00000001");
        assert_eq!(hex(&whole[61..]), "2000000008000000010c00000000000200");
    }
}
