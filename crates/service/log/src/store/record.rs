//! What the write-ahead log of a shard holds of partitions.
//!
//! ```text
//! record = kind:u8 rest
//!   1 batch      a batch as it is stored: its header has its offset, its epoch and its checksum
//!   2 created    the partition begins, empty, at an offset: i64
//!   3 start      records before this offset count no longer: i64
//!   4 removed    the partition is not here any more
//! ```
//! Records of kinds that are not known were written by a newer build, and stop the start.

use crate::store::verifying::Guard;
use bytes::Bytes;
use holon_base::ByteReader;
use holon_kafka::{ProducedBatch, StampedBatch};
use holon_wal::Record;

const BATCH: u8 = 1;
const CREATED: u8 = 2;
const START: u8 = 3;
const REMOVED: u8 = 4;

/// How a batch from a client gets its place.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    pub leader_epoch: i32,
    /// Of the append, if the topic has `message.timestamp.type=LogAppendTime`.
    pub append_time_ms: Option<i64>,
    /// Now, for the producer's age.
    pub wall_ms: i64,
}

/// Who sends a batch, and so what it is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// With the guard that it was verified with, if a transaction may begin with it.
    Client { guard: Option<Guard> },
    /// It is the end of a transaction. With `bumps` its epoch is newer than that of the transaction.
    Coordinator { bumps: bool },
}

/// One on its way into the log.
#[derive(Debug)]
pub enum Entry {
    /// Gets its offset when it is admitted.
    Produced {
        batch: ProducedBatch,
        stamp: Stamp,
        origin: Origin,
    },
    Batch {
        head: Bytes,
        batch: StampedBatch,
    },
    Other {
        bytes: Bytes,
        change: Change,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Created { offset: i64 },
    Start { offset: i64 },
    Removed,
}

/// What is read of a log of before.
#[derive(Clone, Debug)]
pub enum Replayed {
    Batch(Bytes),
    Change(Change),
}

impl Entry {
    pub fn change(change: Change) -> Entry {
        let (kind, offset) = match change {
            Change::Created { offset } => (CREATED, Some(offset)),
            Change::Start { offset } => (START, Some(offset)),
            Change::Removed => (REMOVED, None),
        };
        let mut bytes = vec![kind];
        bytes.extend(offset.into_iter().flat_map(i64::to_le_bytes));
        Entry::Other { bytes: bytes.into(), change }
    }

    /// A batch that has its place.
    pub fn stamped(batch: StampedBatch) -> Entry {
        let mut head = Vec::with_capacity(1 + batch.head.len());
        head.push(BATCH);
        head.extend_from_slice(&batch.head);
        Entry::Batch { head: head.into(), batch }
    }
}

impl Record for Entry {
    fn bytes(&self) -> [&[u8]; 2] {
        match self {
            // Asked for when there is none yet: the number is what counts, and it does not change.
            Entry::Produced { batch, .. } => [&[BATCH], batch.whole()],
            Entry::Batch { head, batch, .. } => [head, &batch.records],
            Entry::Other { bytes, .. } => [bytes, &[]],
        }
    }
}

/// `None`: it is no record of this build.
pub fn replayed(record: Bytes) -> Option<Replayed> {
    let mut input = ByteReader::new(record);
    let change = match input.u8().ok()? {
        BATCH => return Some(Replayed::Batch(input.rest())),
        CREATED => Change::Created { offset: input.i64().ok()? },
        START => Change::Start { offset: input.i64().ok()? },
        REMOVED => Change::Removed,
        _ => return None,
    };
    input.end().ok()?;
    Some(Replayed::Change(change))
}
