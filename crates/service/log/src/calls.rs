//! What one shard asks another about a partition. On the own shard nothing is encoded.
//!
//! ```text
//! request = kind:u8 fields        answer = 0:u8 fields | code:u8 fields of an error
//! ```

use crate::store::describing::KnownProducer;
use crate::store::{Appended, Batches, Guard, LogError};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput};
use holon_kafka::batch::NONE;
use holon_kafka::fetch::AbortedTransaction;
use holon_kafka::{BatchError, BatchHeader};
use thiserror::Error;

/// What is asked of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The records of a Produce request of some version; with the guard of [`PartitionError::Unverified`] if the coordinator was asked.
    Produce {
        version: i16,
        records: Bytes,
        guard: Option<Guard>,
    },
    /// `committed`: no record of a transaction that is open, and none after it; and what was aborted is told.
    Fetch {
        offset: i64,
        bytes_max: u32,
        committed: bool,
    },
    Ends,
    /// Answered with the ends when the next offset, or the stable one, is beyond this one, or when the caller's deadline is near.
    Wait {
        beyond: i64,
        committed: bool,
    },
    FindTime {
        time_ms: i64,
        committed: bool,
    },
    /// The batch with the greatest timestamp.
    FindNewest {
        committed: bool,
    },
    /// `None`: up to the end.
    MoveStart {
        offset: Option<i64>,
    },
    /// Where the last epoch that is not after this one ended.
    EpochEnd {
        epoch: i32,
    },
    /// The coordinator ends a transaction: answered as a batch that was appended.
    EndTransaction {
        producer_id: i64,
        producer_epoch: i16,
        coordinator_epoch: i32,
        commit: bool,
        /// See [`crate::store::EndTransaction`].
        version: i16,
    },
    /// Whether a producer has a transaction open here, in this epoch.
    HasTransaction {
        producer_id: i64,
        producer_epoch: i16,
    },
    Producers,
    Size,
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    Appended(Appended),
    Fetched {
        batches: Batches,
        ends: Ends,
        /// The transactions whose records among these were aborted; `None` if all records were asked for.
        aborted: Option<Vec<AbortedTransaction>>,
    },
    Ends(Ends),
    Found(Option<FoundTime>),
    Start(i64),
    HasTransaction(bool),
    Producers(Vec<KnownProducer>),
    /// Bytes.
    Size(u64),
}

/// Where a partition begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The first offset that counts.
    pub start: i64,
    /// Where the first open transaction begins, or the end: who reads committed records gets none from there on.
    pub stable: i64,
    /// The next offset.
    pub end: i64,
}

impl Ends {
    /// The first offset that a reader does not get.
    pub fn of(&self, committed: bool) -> i64 {
        if committed { self.stable } else { self.end }
    }
}

/// A batch may begin a transaction, and its producer's coordinator is to be asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unverified {
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// Goes with the batch when it is sent again.
    pub guard: Guard,
    /// The coordinator is to make the partition part of the transaction (KIP-890, part 2); or it is asked whether it is.
    pub adds: bool,
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
    #[error("the transaction of producer {} is not known to have this partition", .0.producer_id)]
    Unverified(Unverified),
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
            Request::Produce { version, records, guard } => {
                out = ByteWriter::with_capacity(12 + records.len());
                out.put_u8(0);
                out.put_u16(version.cast_unsigned());
                out.put_u8(u8::from(guard.is_some()));
                guard.iter().for_each(|guard| out.put_u64(guard.0));
                out.put_slice(records);
            }
            Request::Fetch { offset, bytes_max, committed } => {
                out.put_u8(1);
                out.put_i64(*offset);
                out.put_u32(*bytes_max);
                out.put_u8(u8::from(*committed));
            }
            Request::Ends => out.put_u8(2),
            Request::FindNewest { committed } => {
                out.put_u8(6);
                out.put_u8(u8::from(*committed));
            }
            Request::Wait { beyond: number, committed } | Request::FindTime { time_ms: number, committed } => {
                out.put_u8(if matches!(self, Request::Wait { .. }) { 3 } else { 4 });
                out.put_i64(*number);
                out.put_u8(u8::from(*committed));
            }
            Request::MoveStart { offset } => {
                out.put_u8(5);
                out.put_i64(offset.unwrap_or(NONE));
            }
            Request::EpochEnd { epoch } => {
                out.put_u8(7);
                out.put_u32(epoch.cast_unsigned());
            }
            Request::EndTransaction { producer_id, producer_epoch, coordinator_epoch, commit, version } => {
                out.put_u8(8);
                out.put_i64(*producer_id);
                out.put_u16(producer_epoch.cast_unsigned());
                out.put_u32(coordinator_epoch.cast_unsigned());
                out.put_u8(u8::from(*commit));
                out.put_u16(version.cast_unsigned());
            }
            Request::HasTransaction { producer_id, producer_epoch } => {
                out.put_u8(9);
                out.put_i64(*producer_id);
                out.put_u16(producer_epoch.cast_unsigned());
            }
            Request::Producers => out.put_u8(10),
            Request::Size => out.put_u8(11),
        }
        out.freeze()
    }

    /// # Errors
    /// It is not what [`Request::encode`] wrote.
    pub fn decode(bytes: Bytes) -> Result<Request, ShortInput> {
        let mut input = ByteReader::new(bytes);
        let request = match input.u8()? {
            0 => {
                let version = input.u16()?.cast_signed();
                let guard = if flag(&mut input)? { Some(Guard(input.u64()?)) } else { None };
                Request::Produce { version, guard, records: input.rest() }
            }
            1 => Request::Fetch { offset: input.i64()?, bytes_max: input.u32()?, committed: flag(&mut input)? },
            2 => Request::Ends,
            3 => Request::Wait { beyond: input.i64()?, committed: flag(&mut input)? },
            4 => Request::FindTime { time_ms: input.i64()?, committed: flag(&mut input)? },
            5 => Request::MoveStart { offset: Some(input.i64()?).filter(|offset| *offset != NONE) },
            7 => Request::EpochEnd { epoch: input.u32()?.cast_signed() },
            6 => Request::FindNewest { committed: flag(&mut input)? },
            8 => Request::EndTransaction {
                producer_id: input.i64()?,
                producer_epoch: input.u16()?.cast_signed(),
                coordinator_epoch: input.u32()?.cast_signed(),
                commit: flag(&mut input)?,
                version: input.u16()?.cast_signed(),
            },
            9 => Request::HasTransaction { producer_id: input.i64()?, producer_epoch: input.u16()?.cast_signed() },
            10 => Request::Producers,
            11 => Request::Size,
            _ => return Err(ShortInput { offset: 0 }),
        };
        input.end()?;
        Ok(request)
    }
}

fn flag(input: &mut ByteReader) -> Result<bool, ShortInput> {
    Ok(input.u8()? != 0)
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
const UNVERIFIED: u8 = 9;
const COORDINATOR_FENCED: u8 = 10;
const NOT_IN_TRANSACTION: u8 = 11;
const IN_TRANSACTION: u8 = 12;

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
            Reply::Fetched { batches, ends, aborted } => {
                out.put_u8(1);
                ends.encode(out);
                out.put_i64(batches.end);
                out.put_u8(u8::from(aborted.is_some()));
                if let Some(aborted) = aborted {
                    out.put_varint(aborted.len() as u64);
                    for AbortedTransaction { producer_id, first_offset } in aborted {
                        [producer_id, first_offset].into_iter().for_each(|number| out.put_i64(*number));
                    }
                }
                batches.pieces.iter().for_each(|piece| out.put_slice(piece));
            }
            Reply::Ends(ends) => {
                out.put_u8(2);
                ends.encode(out);
            }
            Reply::HasTransaction(has) => out.put_slice(&[5, u8::from(*has)]),
            Reply::Producers(known) => {
                out.put_u8(6);
                out.put_varint(known.len() as u64);
                known.iter().for_each(|producer| put_producer(out, producer));
            }
            Reply::Size(bytes) => {
                out.put_u8(7);
                out.put_u64(*bytes);
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
                let (ends, end) = (Ends::decode(input)?, input.i64()?);
                let mut aborted = None;
                if flag(input)? {
                    let count = input.count()?;
                    let one = |_| Ok(AbortedTransaction { producer_id: input.i64()?, first_offset: input.i64()? });
                    aborted = Some((0..count).map(one).collect::<Result<_, ShortInput>>()?);
                }
                let bytes = input.rest();
                let first = BatchHeader::peek(&bytes, 0).ok().flatten();
                let batches = Batches { bytes: bytes.len(), pieces: vec![bytes], first, end };
                Reply::Fetched { batches, ends, aborted }
            }
            2 => Reply::Ends(Ends::decode(input)?),
            3 if input.is_empty() => Reply::Found(None),
            3 => {
                let (offset, time_ms) = (input.i64()?, input.i64()?);
                Reply::Found(Some(FoundTime { offset, time_ms, leader_epoch: input.u32()?.cast_signed() }))
            }
            4 => Reply::Start(input.i64()?),
            5 => Reply::HasTransaction(flag(input)?),
            6 => Reply::Producers((0..input.count()?).map(|_| producer(input)).collect::<Result<_, _>>()?),
            7 => Reply::Size(input.u64()?),
            _ => return Err(ShortInput { offset: 1 }),
        })
    }
}

fn put_producer(out: &mut ByteWriter, producer: &KnownProducer) {
    let KnownProducer { id, epoch, last_sequence, last_ms, coordinator_epoch, open } = *producer;
    out.put_i64(id);
    out.put_u16(epoch.cast_unsigned());
    [last_sequence, coordinator_epoch].into_iter().for_each(|number| out.put_u32(number.cast_unsigned()));
    [last_ms, open.unwrap_or(NONE)].into_iter().for_each(|number| out.put_i64(number));
}

fn producer(input: &mut ByteReader) -> Result<KnownProducer, ShortInput> {
    let (id, epoch) = (input.i64()?, input.u16()?.cast_signed());
    let (last_sequence, coordinator_epoch) = (input.u32()?.cast_signed(), input.u32()?.cast_signed());
    let (last_ms, open) = (input.i64()?, Some(input.i64()?).filter(|first| *first != NONE));
    Ok(KnownProducer { id, epoch, last_sequence, last_ms, coordinator_epoch, open })
}

impl Ends {
    fn encode(&self, out: &mut ByteWriter) {
        [self.start, self.stable, self.end].into_iter().for_each(|number| out.put_i64(number));
    }

    fn decode(input: &mut ByteReader) -> Result<Ends, ShortInput> {
        Ok(Ends { start: input.i64()?, stable: input.i64()?, end: input.i64()? })
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
            PartitionError::Unverified(unverified) => {
                out.put_u8(UNVERIFIED);
                out.put_i64(unverified.producer_id);
                out.put_u16(unverified.producer_epoch.cast_unsigned());
                out.put_u64(unverified.guard.0);
                out.put_u8(u8::from(unverified.adds));
            }
            PartitionError::Log(LogError::CoordinatorFenced { epoch, newest }) => {
                out.put_u8(COORDINATOR_FENCED);
                [epoch, newest].into_iter().for_each(|epoch| out.put_u32(epoch.cast_unsigned()));
            }
            PartitionError::Log(LogError::NotInTransaction) => out.put_u8(NOT_IN_TRANSACTION),
            PartitionError::Log(LogError::InTransaction) => out.put_u8(IN_TRANSACTION),
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
            COORDINATOR_FENCED => {
                LogError::CoordinatorFenced { epoch: input.u32()?.cast_signed(), newest: input.u32()?.cast_signed() }
            }
            NOT_IN_TRANSACTION => LogError::NotInTransaction,
            IN_TRANSACTION => LogError::InTransaction,
            UNVERIFIED => {
                return Ok(PartitionError::Unverified(Unverified {
                    producer_id: input.i64()?,
                    producer_epoch: input.u16()?.cast_signed(),
                    guard: Guard(input.u64()?),
                    adds: flag(input)?,
                }));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_crosses_shards_arrives_as_it_was() {
        let requests = [
            Request::Produce { version: 9, records: Bytes::from_static(b"records"), guard: None },
            Request::Produce { version: 12, records: Bytes::new(), guard: Some(Guard(u64::MAX)) },
            Request::Fetch { offset: 1, bytes_max: 2, committed: true },
            Request::Ends,
            Request::Wait { beyond: 3, committed: false },
            Request::FindTime { time_ms: 4, committed: true },
            Request::FindNewest { committed: true },
            Request::MoveStart { offset: None },
            Request::EpochEnd { epoch: -1 },
            Request::EndTransaction {
                producer_id: 9,
                producer_epoch: -1,
                coordinator_epoch: 77,
                commit: true,
                version: 2,
            },
            Request::HasTransaction { producer_id: 9, producer_epoch: 3 },
            Request::Producers,
            Request::Size,
        ];
        for request in requests {
            assert_eq!(Request::decode(request.encode()), Ok(request));
        }
        let unverified = Unverified { producer_id: 9, producer_epoch: 1, guard: Guard(5), adds: true };
        let errors = [
            PartitionError::Unverified(unverified),
            LogError::CoordinatorFenced { epoch: 1, newest: 2 }.into(),
            LogError::NotInTransaction.into(),
            LogError::InTransaction.into(),
            LogError::Fenced { epoch: -1, newest: 2 }.into(),
        ];
        for error in errors {
            let decoded = decode(encode(&Err(error.clone())));
            assert!(matches!(&decoded, Err(found) if *found == error), "{decoded:?}");
        }
        let ends = Ends { start: 1, stable: 2, end: 3 };
        for told in [None, Some(vec![]), Some(vec![AbortedTransaction { producer_id: 9, first_offset: 4 }])] {
            let batches = Batches { pieces: vec![Bytes::from_static(b"bytes")], bytes: 5, first: None, end: 9 };
            let reply = Reply::Fetched { batches, ends, aborted: told.clone() };
            let Ok(Reply::Fetched { batches, ends: found, aborted }) = decode(encode(&Ok(reply))) else {
                panic!("another answer");
            };
            assert_eq!((batches.pieces.concat(), batches.end, found, aborted), (b"bytes".to_vec(), 9, ends, told));
        }
        let known =
            |open| KnownProducer { id: 9, epoch: 3, last_sequence: -1, last_ms: 77, coordinator_epoch: 5, open };
        let all = vec![known(None), known(Some(4))];
        let found = decode(encode(&Ok(Reply::Producers(all.clone()))));
        assert!(matches!(&found, Ok(Reply::Producers(found)) if *found == all), "{found:?}");
        assert!(matches!(decode(encode(&Ok(Reply::Size(u64::MAX)))), Ok(Reply::Size(u64::MAX))));
        assert!(matches!(decode(encode(&Ok(Reply::HasTransaction(true)))), Ok(Reply::HasTransaction(true))));
    }
}
