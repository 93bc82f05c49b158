//! What one shard asks another about a partition. On the own shard nothing is encoded.
//!
//! ```text
//! request = kind:u8 fields        answer = 0:u8 fields | code:u8 fields of an error
//! ```

use crate::store::{Appended, Batches, LogError};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput};
use holon_kafka::batch::NONE;
use holon_kafka::{BatchError, BatchHeader};
use thiserror::Error;

/// What is asked of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The records of a Produce request of some version.
    Produce {
        version: i16,
        records: Bytes,
    },
    Fetch {
        offset: i64,
        bytes_max: u32,
    },
    Ends,
    /// Answered with the ends when the next offset is beyond this one, or when the caller's deadline is near.
    Wait {
        beyond: i64,
    },
    FindTime {
        time_ms: i64,
    },
    /// The batch with the greatest timestamp.
    FindNewest,
    /// `None`: up to the end.
    MoveStart {
        offset: Option<i64>,
    },
    /// Where the last epoch that is not after this one ended.
    EpochEnd {
        epoch: i32,
    },
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    Appended(Appended),
    /// With the first offset that counts and the next one.
    Fetched {
        batches: Batches,
        start: i64,
        end: i64,
    },
    Ends {
        start: i64,
        end: i64,
    },
    Found(Option<FoundTime>),
    Start(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundTime {
    pub offset: i64,
    pub time_ms: i64,
    pub leader_epoch: i32,
}

/// Why it was not done.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PartitionError {
    /// The batch is not one that may be stored.
    #[error("{reason}")]
    Refused { code: i16, reason: String },
    #[error(transparent)]
    Log(LogError),
    /// The shard that has it did not answer in time, or is not there.
    #[error("the partition does not answer: {0}")]
    Unreachable(String),
}

impl From<LogError> for PartitionError {
    fn from(error: LogError) -> Self {
        PartitionError::Log(error)
    }
}

impl Request {
    pub fn encode(&self) -> Bytes {
        let mut out = ByteWriter::new();
        match self {
            Request::Produce { version, records } => {
                out = ByteWriter::with_capacity(3 + records.len());
                out.put_u8(0);
                out.put_u16(version.cast_unsigned());
                out.put_slice(records);
            }
            Request::Fetch { offset, bytes_max } => {
                out.put_u8(1);
                out.put_i64(*offset);
                out.put_u32(*bytes_max);
            }
            Request::Ends => out.put_u8(2),
            Request::FindNewest => out.put_u8(6),
            Request::Wait { beyond: number } | Request::FindTime { time_ms: number } => {
                out.put_u8(if matches!(self, Request::Wait { .. }) { 3 } else { 4 });
                out.put_i64(*number);
            }
            Request::MoveStart { offset } => {
                out.put_u8(5);
                out.put_i64(offset.unwrap_or(NONE));
            }
            Request::EpochEnd { epoch } => {
                out.put_u8(7);
                out.put_u32(epoch.cast_unsigned());
            }
        }
        out.freeze()
    }

    /// # Errors
    /// It is not what [`Request::encode`] wrote.
    pub fn decode(bytes: Bytes) -> Result<Request, ShortInput> {
        let mut input = ByteReader::new(bytes);
        let request = match input.u8()? {
            0 => Request::Produce { version: input.u16()?.cast_signed(), records: input.rest() },
            1 => Request::Fetch { offset: input.i64()?, bytes_max: input.u32()? },
            2 => Request::Ends,
            3 => Request::Wait { beyond: input.i64()? },
            4 => Request::FindTime { time_ms: input.i64()? },
            5 => Request::MoveStart { offset: Some(input.i64()?).filter(|offset| *offset != NONE) },
            7 => Request::EpochEnd { epoch: input.u32()?.cast_signed() },
            6 => Request::FindNewest,
            _ => return Err(ShortInput { offset: 0 }),
        };
        input.end()?;
        Ok(request)
    }
}

/// Errors of a store that cross shards as they are; whoever asked answers clients by them.
const OUT_OF_RANGE: u8 = 1;
const DUPLICATE: u8 = 2;
const FENCED: u8 = 3;
const OUT_OF_ORDER: u8 = 4;
const OVERLOADED: u8 = 5;
const TOO_LARGE: u8 = 6;
/// A batch that is not good: the code that its client is told, and why.
const BATCH: u8 = 7;
/// All others, as text.
const OTHER: u8 = 8;

/// An answer as bytes.
pub fn encode(answer: &Result<Reply, PartitionError>) -> Bytes {
    let mut out = ByteWriter::new();
    match answer {
        Ok(reply) => {
            out.put_u8(0);
            reply.encode(&mut out);
        }
        Err(error) => error.encode(&mut out),
    }
    out.freeze()
}

/// # Errors
/// Those of the partition; bytes that are no answer are one, too.
pub fn decode(bytes: Bytes) -> Result<Reply, PartitionError> {
    let short = |short: ShortInput| PartitionError::Unreachable(short.to_string());
    let mut input = ByteReader::new(bytes);
    match input.u8().map_err(short)? {
        0 => Reply::decode(&mut input).map_err(short),
        kind => Err(PartitionError::decode(kind, &mut input).map_err(short)?),
    }
}

impl Reply {
    fn encode(&self, out: &mut ByteWriter) {
        match self {
            Reply::Appended(Appended { base_offset, append_time_ms, start }) => {
                out.put_u8(0);
                out.put_i64(*base_offset);
                out.put_i64(append_time_ms.unwrap_or(NONE));
                out.put_i64(*start);
            }
            Reply::Fetched { batches, start, end } => {
                out.put_u8(1);
                out.put_i64(*start);
                out.put_i64(*end);
                batches.pieces.iter().for_each(|piece| out.put_slice(piece));
            }
            Reply::Ends { start, end } => {
                out.put_u8(2);
                out.put_i64(*start);
                out.put_i64(*end);
            }
            Reply::Found(found) => {
                out.put_u8(3);
                if let Some(FoundTime { offset, time_ms, leader_epoch }) = found {
                    out.put_i64(*offset);
                    out.put_i64(*time_ms);
                    out.put_u32(leader_epoch.cast_unsigned());
                }
            }
            Reply::Start(start) => {
                out.put_u8(4);
                out.put_i64(*start);
            }
        }
    }

    fn decode(input: &mut ByteReader) -> Result<Reply, ShortInput> {
        Ok(match input.u8()? {
            0 => {
                let (base_offset, append_time_ms, start) = (input.i64()?, input.i64()?, input.i64()?);
                let append_time_ms = Some(append_time_ms).filter(|time_ms| *time_ms != NONE);
                Reply::Appended(Appended { base_offset, append_time_ms, start })
            }
            1 => {
                let (start, end, bytes) = (input.i64()?, input.i64()?, input.rest());
                let first = BatchHeader::peek(&bytes, 0).ok().flatten();
                Reply::Fetched { batches: Batches { bytes: bytes.len(), pieces: vec![bytes], first }, start, end }
            }
            2 => Reply::Ends { start: input.i64()?, end: input.i64()? },
            3 if input.is_empty() => Reply::Found(None),
            3 => {
                let (offset, time_ms) = (input.i64()?, input.i64()?);
                Reply::Found(Some(FoundTime { offset, time_ms, leader_epoch: input.u32()?.cast_signed() }))
            }
            4 => Reply::Start(input.i64()?),
            _ => return Err(ShortInput { offset: 1 }),
        })
    }
}

impl PartitionError {
    fn encode(&self, out: &mut ByteWriter) {
        match self {
            PartitionError::Log(LogError::OutOfRange { offset, start, end }) => {
                out.put_u8(OUT_OF_RANGE);
                [offset, start, end].into_iter().for_each(|number| out.put_i64(*number));
            }
            PartitionError::Log(LogError::Duplicate { base_offset, append_time_ms }) => {
                out.put_u8(DUPLICATE);
                [base_offset, append_time_ms].into_iter().for_each(|number| out.put_i64(*number));
            }
            PartitionError::Log(LogError::Fenced { epoch, newest }) => {
                out.put_u8(FENCED);
                [epoch, newest].into_iter().for_each(|epoch| out.put_u16(epoch.cast_unsigned()));
            }
            PartitionError::Log(LogError::OutOfOrder { expected, got }) => {
                out.put_u8(OUT_OF_ORDER);
                [expected, got].into_iter().for_each(|number| out.put_u32(number.cast_unsigned()));
            }
            PartitionError::Log(LogError::Overloaded { queued_bytes }) => {
                out.put_u8(OVERLOADED);
                out.put_u64(*queued_bytes as u64);
            }
            PartitionError::Log(LogError::TooLarge { size, limit, .. }) => {
                out.put_u8(TOO_LARGE);
                [size, limit].into_iter().for_each(|number| out.put_u64(*number as u64));
            }
            PartitionError::Refused { code, reason } => {
                out.put_u8(BATCH);
                out.put_u16(code.cast_unsigned());
                out.put_prefixed(reason.as_bytes());
            }
            PartitionError::Log(_) | PartitionError::Unreachable(_) => {
                out.put_u8(OTHER);
                out.put_prefixed(self.to_string().as_bytes());
            }
        }
    }

    fn decode(kind: u8, input: &mut ByteReader) -> Result<PartitionError, ShortInput> {
        Ok(PartitionError::Log(match kind {
            OUT_OF_RANGE => LogError::OutOfRange { offset: input.i64()?, start: input.i64()?, end: input.i64()? },
            DUPLICATE => LogError::Duplicate { base_offset: input.i64()?, append_time_ms: input.i64()? },
            FENCED => LogError::Fenced { epoch: input.u16()?.cast_signed(), newest: input.u16()?.cast_signed() },
            OUT_OF_ORDER => {
                LogError::OutOfOrder { expected: input.u32()?.cast_signed(), got: input.u32()?.cast_signed() }
            }
            OVERLOADED => LogError::Overloaded { queued_bytes: input.u64()? as usize },
            TOO_LARGE => {
                let (size, limit) = (input.u64()? as usize, input.u64()? as usize);
                LogError::TooLarge { what: "a batch", size, limit }
            }
            BATCH => {
                let (code, reason) = (input.u16()?.cast_signed(), input.prefixed_str()?);
                return Ok(PartitionError::Refused { code, reason });
            }
            _ => return Ok(PartitionError::Unreachable(input.prefixed_str()?)),
        }))
    }
}

impl From<&BatchError> for PartitionError {
    fn from(error: &BatchError) -> Self {
        PartitionError::Refused { code: error.code().0, reason: error.to_string() }
    }
}
