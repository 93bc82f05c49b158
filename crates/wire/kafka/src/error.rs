//! What may be wrong with a batch, and the code by which a client is told.

use crate::errors::ErrorCode;

/// Offsets count bytes from the start of the records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error(
        "the batch at byte {at} says that it has {length} bytes; a batch has {least} or more, all of them sent with it"
    )]
    Length { at: usize, length: i64, least: usize },
    #[error(
        "the batch at byte {at} has the checksum {says:#010x} and bytes whose checksum is {is:#010x}: send it again"
    )]
    Checksum { at: usize, says: u32, is: u32 },
    #[error(
        "the batch at byte {at} has the format {magic}; only format 2 is taken, which clients send since Kafka 0.11"
    )]
    Format { at: usize, magic: i8 },
    #[error("a Produce request has one batch for each partition, this one has {what}")]
    NotOne { what: &'static str },
    #[error("the batch has {bytes} bytes, more than the {most} that its topic takes (max.message.bytes)")]
    TooLarge { bytes: usize, most: usize },
    #[error("the batch begins at offset {base_offset}; producers number records from 0")]
    BaseOffset { base_offset: i64 },
    #[error("the batch says that it has {count} records and that its last one is number {last}")]
    Count { count: i32, last: i32 },
    #[error("the batch says that it has {count} records in {bytes} bytes; each takes {least} or more")]
    TooFewBytes { count: i32, bytes: usize, least: usize },
    #[error("clients do not write control records")]
    Control,
    #[error("the flag of a delete horizon is for the log's cleaner alone")]
    DeleteHorizon,
    #[error("the batch of producer {producer_id} has the sequence number {sequence}; they begin at 0")]
    Sequence { producer_id: i64, sequence: i32 },
    #[error("a transactional batch needs a producer id (InitProducerId)")]
    NoProducer,
    #[error("codec {codec} is not known; 0 to 4 are none, gzip, snappy, lz4 and zstd")]
    UnknownCodec { codec: u8 },
    #[error("zstd needs version 7 or later of Produce, this is version {version}")]
    ZstdTooOld { version: i16 },
    #[error("the timestamp {timestamp_ms} is out of range; this topic takes {least_ms} to {most_ms}")]
    TimestampRange { timestamp_ms: i64, least_ms: i64, most_ms: i64 },
    #[error("producers do not set the timestamp type to LogAppendTime")]
    TimestampType,
}

impl BatchError {
    /// As Kafka answers it.
    pub fn code(&self) -> ErrorCode {
        match self {
            BatchError::Length { .. } | BatchError::Checksum { .. } => ErrorCode::CORRUPT_MESSAGE,
            BatchError::TooLarge { .. } => ErrorCode::MESSAGE_TOO_LARGE,
            BatchError::TimestampRange { .. } | BatchError::TimestampType => ErrorCode::INVALID_TIMESTAMP,
            BatchError::UnknownCodec { .. } | BatchError::ZstdTooOld { .. } => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
            BatchError::Format { .. }
            | BatchError::NotOne { .. }
            | BatchError::BaseOffset { .. }
            | BatchError::Count { .. }
            | BatchError::TooFewBytes { .. }
            | BatchError::Control
            | BatchError::DeleteHorizon
            | BatchError::Sequence { .. }
            | BatchError::NoProducer => ErrorCode::INVALID_RECORD,
        }
    }
}
