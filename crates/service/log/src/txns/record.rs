//! What a coordinator keeps: records for the log, their bytes, and their sum.
//!
//! Each opens with the version of the format and its kind. Hostile or damaged bytes are an error, never a panic or a large
//! allocation (checksums are the log's).

use crate::groups::Name;
use crate::txns::request::Producer;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput, TabletId};
use std::collections::{BTreeMap, BTreeSet};

/// The format of every encoding of this module. A reader refuses what it does not know.
pub const FORMAT_VERSION: u8 = 1;

const TXN: u8 = 1;
const REMOVED: u8 = 2;

/// "No epoch".
pub(crate) const NO_EPOCH: i16 = -1;
/// "No time", "no producer id".
pub(crate) const NONE: i64 = -1;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("a record of a transactional id: {0}")]
    Short(#[from] ShortInput),
    #[error("a record of a transactional id has the format {0}; this version of holon reads 1: run a newer one")]
    Version(u8),
    #[error("a record of a transactional id has the kind {0}, which is not known: run a newer version of holon")]
    Kind(u8),
    #[error("a record of a transactional id has the value {value} for {what}")]
    Value { what: &'static str, value: i64 },
}

/// `TransactionState` of Kafka, with its numbers; without the one that it never writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// No transaction since the producer was initialised.
    Empty = 0,
    Ongoing = 1,
    /// Decided; markers are being written.
    PrepareCommit = 2,
    PrepareAbort = 3,
    /// All markers are written.
    CompleteCommit = 4,
    CompleteAbort = 5,
}

impl State {
    pub const ALL: [State; 6] = [
        State::Empty,
        State::Ongoing,
        State::PrepareCommit,
        State::PrepareAbort,
        State::CompleteCommit,
        State::CompleteAbort,
    ];

    /// What clients see.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::Ongoing => "Ongoing",
            State::PrepareCommit => "PrepareCommit",
            State::PrepareAbort => "PrepareAbort",
            State::CompleteCommit => "CompleteCommit",
            State::CompleteAbort => "CompleteAbort",
        }
    }

    pub fn is_prepared(self) -> bool {
        matches!(self, State::PrepareCommit | State::PrepareAbort)
    }
}

/// What is known of a transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Txn {
    /// While a transaction is prepared: that of its markers.
    pub producer: Producer,
    /// The producer id before, if its epochs were used up; -1: none.
    pub previous_id: i64,
    /// The producer id from when the markers are written, if the epochs of this one are used up; -1: this one.
    pub next_id: i64,
    /// The epoch before, if its producer is still the same and may not have heard of this one; -1: none.
    pub last_epoch: i16,
    pub timeout_ms: i32,
    pub state: State,
    /// Of the transaction, until it is complete.
    pub partitions: BTreeSet<TabletId>,
    /// Of the last transaction; milliseconds of the wall clock, as all times here; -1: there was none.
    pub started_ms: i64,
    pub updated_ms: i64,
}

/// One change of what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// It takes the place of what was known of the id.
    Txn { id: Name, txn: Txn },
    /// Nobody used it for long.
    Removed { id: Name },
}

impl Record {
    pub fn id(&self) -> &Name {
        match self {
            Record::Txn { id, .. } | Record::Removed { id } => id,
        }
    }

    pub fn encode(&self) -> Bytes {
        let mut writer = ByteWriter::new();
        writer.put_u8(FORMAT_VERSION);
        match self {
            Record::Txn { id, txn } => {
                writer.put_u8(TXN);
                writer.put_prefixed(id.as_bytes());
                txn.write(&mut writer);
            }
            Record::Removed { id } => {
                writer.put_u8(REMOVED);
                writer.put_prefixed(id.as_bytes());
            }
        }
        writer.freeze()
    }

    /// # Errors
    /// It is not what [`Record::encode`] wrote.
    pub fn decode(bytes: Bytes) -> Result<Record, DecodeError> {
        let mut reader = ByteReader::new(bytes);
        match reader.u8()? {
            FORMAT_VERSION => {}
            other => return Err(DecodeError::Version(other)),
        }
        let kind = reader.u8()?;
        let id: Name = reader.prefixed_str()?.into();
        let record = match kind {
            TXN => Record::Txn { id, txn: Txn::read(&mut reader)? },
            REMOVED => Record::Removed { id },
            other => return Err(DecodeError::Kind(other)),
        };
        reader.end()?;
        Ok(record)
    }
}

impl Txn {
    fn write(&self, writer: &mut ByteWriter) {
        writer.put_signed_varint(self.producer.id);
        writer.put_signed_varint(i64::from(self.producer.epoch));
        writer.put_signed_varint(self.previous_id);
        writer.put_signed_varint(self.next_id);
        writer.put_signed_varint(i64::from(self.last_epoch));
        writer.put_signed_varint(i64::from(self.timeout_ms));
        writer.put_u8(self.state as u8);
        writer.put_signed_varint(self.started_ms);
        writer.put_signed_varint(self.updated_ms);
        writer.put_varint(self.partitions.len() as u64);
        self.partitions.iter().for_each(|partition| writer.put_u64(partition.0));
    }

    fn read(reader: &mut ByteReader) -> Result<Txn, DecodeError> {
        let producer = Producer { id: reader.signed_varint()?, epoch: number(reader, "an epoch")? };
        let (previous_id, next_id) = (reader.signed_varint()?, reader.signed_varint()?);
        let (last_epoch, timeout_ms) = (number(reader, "the last epoch")?, number(reader, "a timeout")?);
        let state = reader.u8()?;
        let known = State::ALL.into_iter().find(|known| *known as u8 == state);
        let state = known.ok_or(DecodeError::Value { what: "a state", value: i64::from(state) })?;
        let (started_ms, updated_ms) = (reader.signed_varint()?, reader.signed_varint()?);
        let mut partitions = BTreeSet::new();
        for _ in 0..reader.count()? {
            partitions.insert(TabletId(reader.u64()?));
        }
        Ok(Txn { producer, previous_id, next_id, last_epoch, timeout_ms, state, partitions, started_ms, updated_ms })
    }
}

fn number<T: TryFrom<i64>>(reader: &mut ByteReader, what: &'static str) -> Result<T, DecodeError> {
    let value = reader.signed_varint()?;
    T::try_from(value).map_err(|_| DecodeError::Value { what, value })
}

/// What the log says of all transactional ids: the sum of its records. A coordinator starts from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    pub(crate) ids: BTreeMap<Name, Txn>,
}

impl Image {
    /// The next record of the log.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Txn { id, txn } => drop(self.ids.insert(id, txn)),
            Record::Removed { id } => drop(self.ids.remove(&id)),
        }
    }

    pub fn get(&self, id: &str) -> Option<&Txn> {
        self.ids.get(id)
    }
}
