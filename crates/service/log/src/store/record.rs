//! What the write-ahead log of a shard holds of partitions.
//!
//! ```text
//! record = kind:u8 rest
//!   1 batch      a batch as it is stored: its header has its offset, its epoch and its checksum
//!   2 created    the partition begins, empty, at an offset: i64
//!   3 start      records before this offset count no longer: i64
//!   4 removed    the partition is not here any more
//!   5 truncated  the partition ends at this offset, at which one of its batches began: i64
//! ```
//! Records of kinds that are not known were written by a newer build, and stop the start.

use crate::store::truncating::Cut;
use crate::store::verifying::Guard;
use bytes::Bytes;
use holon_base::ByteReader;
use holon_kafka::{ProducedBatch, StampedBatch};
use holon_wal::Record;
use std::cell::Cell;
use std::rc::Rc;

const BATCH: u8 = 1;
const CREATED: u8 = 2;
const START: u8 = 3;
const REMOVED: u8 = 4;
const TRUNCATED: u8 = 5;

/// How a batch from a client gets its place.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// One that is older than that of a batch in the log is refused: it has another leader.
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
    /// Has its offset: it was admitted, or is a copy of what a leader has.
    Batch {
        head: Bytes,
        batch: StampedBatch,
        /// Whether one was refused of the copies that came with it.
        is_refused: Rc<Cell<bool>>,
    },
    Truncated {
        bytes: Bytes,
        cut: Box<Cut>,
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
    Truncated { offset: i64 },
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

    pub fn truncated(cut: Cut) -> Entry {
        let mut bytes = vec![TRUNCATED];
        bytes.extend(cut.offset.to_le_bytes());
        Entry::Truncated { bytes: bytes.into(), cut: Box::new(cut) }
    }

    /// A batch that has its place.
    pub fn stamped(batch: StampedBatch) -> Entry {
        Entry::copied(batch, Rc::default())
    }

    pub fn copied(batch: StampedBatch, is_refused: Rc<Cell<bool>>) -> Entry {
        let mut head = Vec::with_capacity(1 + batch.head.len());
        head.push(BATCH);
        head.extend_from_slice(&batch.head);
        Entry::Batch { head: head.into(), batch, is_refused }
    }
}

impl Record for Entry {
    fn bytes(&self) -> [&[u8]; 2] {
        match self {
            // Asked for when there is none yet: the number is what counts, and it does not change.
            Entry::Produced { batch, .. } => [&[BATCH], batch.whole()],
            Entry::Batch { head, batch, .. } => [head, &batch.records],
            Entry::Other { bytes, .. } | Entry::Truncated { bytes, .. } => [bytes, &[]],
        }
    }
}

/// `None`: it is no record of this build.
pub fn replayed(record: Bytes) -> Option<Replayed> {
    let mut input = ByteReader::new(record);
    let found = match input.u8().ok()? {
        BATCH => return Some(Replayed::Batch(input.rest())),
        CREATED => Replayed::Change(Change::Created { offset: input.i64().ok()? }),
        START => Replayed::Change(Change::Start { offset: input.i64().ok()? }),
        REMOVED => Replayed::Change(Change::Removed),
        TRUNCATED => Replayed::Truncated { offset: input.i64().ok()? },
        _ => return None,
    };
    input.end().ok()?;
    Some(found)
}
