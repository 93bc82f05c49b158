//! Requests that are encoded once and sent many times, each time with other bytes in every record: what is measured is the server, not
//! how fast a client compresses or copies.

use bytes::Bytes;
use holon_kafka::StrBytes;
use holon_kafka::client;
use holon_kafka::messages::produce_request::{PartitionProduceData, TopicProduceData};
use holon_kafka::messages::{ProduceRequest, TopicName};
use holon_kafka::packed::{pack, unpack};
use holon_kafka::{BatchHeader, Batches};

/// The last one whose batch is the end of the request.
pub const PRODUCE_VERSION: i16 = 8;

/// Each record begins with a number that no other has, and with when it was sent: microseconds of [`crate::load::micros`].
pub const STAMP_BYTES: usize = 16;

const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const CORRELATION_AT: usize = 8;

/// A Produce request with one batch.
pub struct Frame {
    bytes: Vec<u8>,
    batch_at: usize,
    /// Of each record's value, in the frame.
    values_at: Vec<usize>,
}

/// What all frames of a run have in common.
#[derive(Clone, Copy)]
pub struct Shape {
    pub record_bytes: usize,
    pub records: usize,
    /// -1 (all), 0 or 1.
    pub acks: i16,
}

impl Frame {
    /// # Errors
    /// For people: values that no request can have.
    pub fn new(topic: &str, partition: i32, shape: Shape, seed: u64) -> Result<Frame, String> {
        let mut random = seed | 1;
        let values: Vec<Bytes> = (0..shape.records).map(|_| noise(shape.record_bytes, &mut random)).collect();
        let batch = pack(&values, now_ms());
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch.clone()));
        let of_topic = TopicProduceData::default()
            .with_name(TopicName(StrBytes::from_string(topic.to_string())))
            .with_partition_data(vec![data]);
        let request =
            ProduceRequest::default().with_acks(shape.acks).with_timeout_ms(30_000).with_topic_data(vec![of_topic]);
        let name = StrBytes::from_static_str("holon-bench");
        let frame = client::request(&request, PRODUCE_VERSION, 0, name).map_err(|error| error.to_string())?;
        let batch_at = frame.len() - batch.len();
        let header = BatchHeader::read(&batch, 0).ok().flatten().ok_or("a batch that cannot be read")?;
        let shown = unpack(&header, &batch).ok_or("a batch that cannot be taken apart")?;
        let values_at = shown.iter().map(|value| value.as_ptr().addr() - batch.as_ptr().addr() + batch_at).collect();
        Ok(Frame { bytes: frame.to_vec(), batch_at, values_at })
    }

    /// The bytes to send: no record is one that was sent before, if `number` grows by the number of records each time.
    pub fn stamped(&mut self, correlation_id: i32, number: u64, micros: u64) -> &[u8] {
        self.bytes[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&correlation_id.to_be_bytes());
        let micros = micros.to_be_bytes();
        for (record, at) in self.values_at.iter().enumerate() {
            self.bytes[*at..at + 8].copy_from_slice(&(number + record as u64).to_be_bytes());
            self.bytes[at + 8..at + STAMP_BYTES].copy_from_slice(&micros);
        }
        let batch = &mut self.bytes[self.batch_at..];
        let crc = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
        batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
        &self.bytes
    }

    /// Where the first record's stamp is in a batch.
    pub fn stamp_at(&self) -> usize {
        self.values_at.first().map_or(0, |at| at - self.batch_at)
    }
}

/// Bytes that no codec makes smaller (xorshift).
fn noise(bytes: usize, random: &mut u64) -> Bytes {
    let mut value = Vec::with_capacity(bytes + 8);
    while value.len() < bytes {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        value.extend_from_slice(&random.to_le_bytes());
    }
    value.truncate(bytes.max(STAMP_BYTES));
    value.into()
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

/// What a reader saw of a partition's batches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub records: u64,
    pub bytes: u64,
    /// The next offset.
    pub next: i64,
}

impl Seen {
    /// Holds each batch against its checksum and its place; `each` is given its bytes.
    ///
    /// # Errors
    /// For people: an offset that is not the next one, a checksum that is wrong.
    pub fn check(&mut self, records: Bytes, mut each: impl FnMut(&[u8])) -> Result<(), String> {
        for batch in Batches::new(records) {
            let (header, whole) = batch.map_err(|error| error.to_string())?;
            if header.last_offset() < self.next {
                continue; // a fetch from its middle
            }
            holon_kafka::batch::check_crc(&header, &whole, 0).map_err(|error| error.to_string())?;
            if header.base_offset != self.next {
                return Err(format!("offset {} where {} is next", header.base_offset, self.next));
            }
            self.next = header.last_offset() + 1;
            self.records += u64::try_from(header.count).unwrap_or(0);
            self.bytes += whole.len() as u64;
            each(&whole);
        }
        Ok(())
    }
}
