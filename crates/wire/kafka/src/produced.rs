//! A batch from a producer, from its check to what is stored.
//!
//! What is checked is what Kafka's `ProduceRequest.validateRecords`, `UnifiedLog.analyzeAndValidateRecords` and
//! `LogValidator.validateBatch` check, in that order, and answered with their codes. Two things differ on purpose: the records are not
//! taken apart, so a timestamp is judged by the first and the greatest that the header has; and a client that sets the flag of a
//! delete horizon, which would change what its base timestamp means, is refused.

use crate::batch::{
    ATTRIBUTES_AT, Attributes, BatchHeader, CRC_AT, Compression, EPOCH_AT, HEADER_BYTES, MAX_TIMESTAMP_AT, NONE,
    check_crc,
};
use crate::error::BatchError;
use bytes::{Bytes, BytesMut};

/// A record has seven fields of a byte or more: its length, attributes, both deltas, the lengths of key and value, the count of headers.
pub const RECORD_BYTES_LEAST: usize = 7;

/// `message.timestamp.type` and what goes with it.
#[derive(Clone, Copy, Debug)]
pub enum Timestamps {
    /// As the producer says, if it is not too far from now.
    Create { now_ms: i64, before_ms_max: i64, after_ms_max: i64 },
    /// The moment of the append, for all records of the batch.
    Append,
}

/// What a topic takes.
#[derive(Clone, Copy, Debug)]
pub struct ProduceRules {
    /// `max.message.bytes`.
    pub batch_bytes_max: usize,
    /// Of the Produce request.
    pub version: i16,
    pub timestamps: Timestamps,
}

/// A batch that may be stored.
#[derive(Clone, Debug)]
pub struct ProducedBatch {
    pub header: BatchHeader,
    whole: Bytes,
}

impl ProducedBatch {
    /// Takes the records of one partition of a Produce request.
    ///
    /// # Errors
    /// They may not be stored; the error says why, and its code what to answer.
    pub fn check(records: Bytes, rules: &ProduceRules) -> Result<ProducedBatch, BatchError> {
        let Some(header) = BatchHeader::read(&records, 0)? else {
            return Err(BatchError::NotOne { what: "none that is whole" });
        };
        let compression = header.attributes.compression()?;
        if compression == Compression::Zstd && rules.version < 7 {
            return Err(BatchError::ZstdTooOld { version: rules.version });
        }
        // Bytes of a batch that is not whole are no batch, to Kafka.
        let after = BatchHeader::read(&records[header.length..], header.length);
        if matches!(after, Ok(Some(_)) | Err(BatchError::Format { .. })) {
            return Err(BatchError::NotOne { what: "more than one" });
        }
        after?;
        let whole = records.slice(..header.length);
        if header.base_offset != 0 {
            return Err(BatchError::BaseOffset { base_offset: header.base_offset });
        }
        if header.length > rules.batch_bytes_max {
            return Err(BatchError::TooLarge { bytes: header.length, most: rules.batch_bytes_max });
        }
        check_crc(&header, &whole, 0)?;
        check_counts(&header, compression)?;
        check_flags(&header)?;
        check_timestamps(&header, rules.timestamps)?;
        Ok(ProducedBatch { header, whole })
    }

    /// One that is good because it was made here.
    pub(crate) fn of(header: BatchHeader, whole: Bytes) -> ProducedBatch {
        ProducedBatch { header, whole }
    }

    /// Its bytes as they came.
    pub fn whole(&self) -> &[u8] {
        &self.whole
    }

    /// Gives the batch its place in the log of a partition. With `append_time_ms` all its records bear that time.
    pub fn stamp(&self, base_offset: i64, leader_epoch: i32, append_time_ms: Option<i64>) -> StampedBatch {
        let mut head = BytesMut::from(&self.whole[..HEADER_BYTES]);
        let records = self.whole.slice(HEADER_BYTES..);
        let mut header = BatchHeader { base_offset, leader_epoch, ..self.header };
        head[..8].copy_from_slice(&base_offset.to_be_bytes());
        head[EPOCH_AT..EPOCH_AT + 4].copy_from_slice(&leader_epoch.to_be_bytes());
        if let Some(time_ms) = append_time_ms {
            header.attributes.0 |= Attributes::LOG_APPEND_TIME;
            header.max_timestamp_ms = time_ms;
            head[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&header.attributes.0.to_be_bytes());
            head[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&time_ms.to_be_bytes());
            header.crc = crc32c::crc32c_append(crc32c::crc32c(&head[ATTRIBUTES_AT..]), &records);
            head[CRC_AT..CRC_AT + 4].copy_from_slice(&header.crc.to_be_bytes());
        }
        StampedBatch { header, head: head.freeze(), records }
    }
}

/// A batch as it is stored and fetched: its bytes are `head`, then `records`.
#[derive(Clone, Debug)]
pub struct StampedBatch {
    pub header: BatchHeader,
    pub head: Bytes,
    /// A slice of the request that brought it.
    pub records: Bytes,
}

fn check_counts(header: &BatchHeader, compression: Compression) -> Result<(), BatchError> {
    let (count, last) = (header.count, header.last_offset_delta);
    if count <= 0 || last != count - 1 {
        return Err(BatchError::Count { count, last });
    }
    let bytes = header.length - HEADER_BYTES;
    if compression == Compression::None && bytes / RECORD_BYTES_LEAST < count as usize {
        return Err(BatchError::TooFewBytes { count, bytes, least: RECORD_BYTES_LEAST });
    }
    Ok(())
}

fn check_flags(header: &BatchHeader) -> Result<(), BatchError> {
    let BatchHeader { attributes, producer_id, base_sequence, .. } = *header;
    if attributes.has(Attributes::CONTROL) {
        return Err(BatchError::Control);
    }
    if attributes.has(Attributes::DELETE_HORIZON) {
        return Err(BatchError::DeleteHorizon);
    }
    if producer_id > NONE && base_sequence < 0 {
        return Err(BatchError::Sequence { producer_id, sequence: base_sequence });
    }
    if producer_id <= NONE && attributes.has(Attributes::TRANSACTIONAL) {
        return Err(BatchError::NoProducer);
    }
    Ok(())
}

fn check_timestamps(header: &BatchHeader, timestamps: Timestamps) -> Result<(), BatchError> {
    if header.attributes.has(Attributes::LOG_APPEND_TIME) {
        return Err(BatchError::TimestampType);
    }
    let Timestamps::Create { now_ms, before_ms_max, after_ms_max } = timestamps else { return Ok(()) };
    let (least_ms, most_ms) = (now_ms.saturating_sub(before_ms_max), now_ms.saturating_add(after_ms_max));
    let stated = [header.base_timestamp_ms, header.max_timestamp_ms];
    match stated.into_iter().find(|time_ms| *time_ms != NONE && !(least_ms..=most_ms).contains(time_ms)) {
        Some(timestamp_ms) => Err(BatchError::TimestampRange { timestamp_ms, least_ms, most_ms }),
        None => Ok(()),
    }
}
