//! What is replicated and what must be durable: entries, members, the hard state, snapshots, and their bytes.
//!
//! It is not the log itself ([`crate::log`]) and knows no rule of the protocol. Every encoding opens with the version of
//! its format and is bounded when it is read: hostile bytes are an error, never a panic or a large allocation.

use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, NodeId, ShortInput};
use std::collections::BTreeSet;

use crate::limits::{MEMBERS_MAX, NUMBER_MAX};

/// The format of every encoding of this crate. A reader refuses what it does not know.
pub const FORMAT_VERSION: u8 = 1;

/// A place in the log: what identifies an entry, by the Log Matching property (§5.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    // The order of the fields makes the derived order "more up to date" (§5.4.1).
    pub term: u64,
    pub index: u64,
}

/// Who takes part. Voters elect and commit; learners only receive the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    pub voters: BTreeSet<NodeId>,
    pub learners: BTreeSet<NodeId>,
}

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// What a new leader appends, to commit what came before it (§5.4.2, §8).
    Empty,
    /// A command for the state machine.
    Normal(Bytes),
    /// The members from this entry on; in force as soon as it is in a log (§4.1).
    Members(Members),
}

/// One entry of the log. The first has index 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub index: u64,
    pub term: u64,
    pub payload: Payload,
}

/// What a machine promised and must never forget: its term and its vote in it. The commit index is only a hint that makes
/// a restart quick: it may be older than the truth, never newer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    pub term: u64,
    pub vote: Option<NodeId>,
    pub commit: u64,
}

/// The state after applying the entry at `index`, in the state machine's own bytes (or a name by which its driver finds
/// them: the machine never looks inside).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub index: u64,
    pub term: u64,
    /// The members in force at `index`.
    pub members: Members,
    pub data: Bytes,
}

/// What was found on disk, or what a new group begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    pub hard: HardState,
    pub snapshot: Option<Snapshot>,
    /// Without gaps; may begin before the snapshot's index.
    pub entries: Vec<Entry>,
    /// The members at the first start. With a snapshot, its members count instead. Empty on a node that waits to be
    /// added: it learns them from the log.
    pub members: Members,
    /// The last entry that the state machine has applied *durably* (0: none). Committed entries are handed out from the
    /// one after it.
    pub applied: u64,
}

/// Why bytes were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{0}: drop the message or restore the record from another replica")]
    Short(#[from] ShortInput),
    #[error("format version {0} is unknown: upgrade this node")]
    Version(u8),
    #[error("{0} is no index or term: drop the message")]
    Number(u64),
    #[error("unknown {what} {value}: upgrade this node")]
    Kind { what: &'static str, value: u8 },
    #[error("{count} {what} exceed the limit of {limit}: send fewer at a time")]
    TooMany { what: &'static str, count: usize, limit: usize },
    #[error("entry {index} of term {term} does not follow the one before it: drop the message")]
    OutOfOrder { index: u64, term: u64 },
}

impl Members {
    /// Voters without learners.
    pub fn of_voters(voters: impl IntoIterator<Item = NodeId>) -> Members {
        Members { voters: voters.into_iter().collect(), learners: BTreeSet::new() }
    }

    pub fn contains(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.learners.contains(&node)
    }

    /// Voters and learners.
    pub fn all(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters.iter().chain(&self.learners).copied()
    }

    /// More than half of the voters.
    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    pub(crate) fn write(&self, writer: &mut ByteWriter) {
        for nodes in [&self.voters, &self.learners] {
            writer.put_varint(nodes.len() as u64);
            for node in nodes {
                writer.put_u128(node.0);
            }
        }
    }

    pub(crate) fn read(reader: &mut ByteReader) -> Result<Members, DecodeError> {
        let mut members = Members::default();
        for nodes in [&mut members.voters, &mut members.learners] {
            let count = reader.count()?;
            if count > MEMBERS_MAX {
                return Err(DecodeError::TooMany { what: "members", count, limit: MEMBERS_MAX });
            }
            for _ in 0..count {
                nodes.insert(NodeId(reader.u128()?));
            }
        }
        Ok(members)
    }
}

impl Entry {
    pub fn position(&self) -> Position {
        Position { term: self.term, index: self.index }
    }

    /// What it takes in a message, about: bounds are counted with it.
    pub fn size_bytes(&self) -> usize {
        const HEAD_BYTES: usize = 24;
        HEAD_BYTES
            + match &self.payload {
                Payload::Empty => 0,
                Payload::Normal(bytes) => bytes.len(),
                Payload::Members(members) => members.all().count() * 16,
            }
    }

    /// As one record of a log on disk, with the version of the format.
    pub fn encode(&self) -> Bytes {
        let mut writer = ByteWriter::with_capacity(self.size_bytes() + 1);
        writer.put_u8(FORMAT_VERSION);
        self.write(&mut writer);
        writer.freeze()
    }

    /// # Errors
    /// Bytes that [`Entry::encode`] did not write.
    pub fn decode(bytes: Bytes) -> Result<Entry, DecodeError> {
        let mut reader = versioned(bytes)?;
        let entry = Entry::read(&mut reader)?;
        reader.end()?;
        Ok(entry)
    }

    pub(crate) fn write(&self, writer: &mut ByteWriter) {
        writer.put_varint(self.index);
        writer.put_varint(self.term);
        match &self.payload {
            Payload::Empty => writer.put_u8(0),
            Payload::Normal(bytes) => {
                writer.put_u8(1);
                writer.put_prefixed(bytes);
            }
            Payload::Members(members) => {
                writer.put_u8(2);
                members.write(writer);
            }
        }
    }

    pub(crate) fn read(reader: &mut ByteReader) -> Result<Entry, DecodeError> {
        let (index, term) = (number(reader)?, number(reader)?);
        let payload = match reader.u8()? {
            0 => Payload::Empty,
            1 => Payload::Normal(reader.prefixed()?),
            2 => Payload::Members(Members::read(reader)?),
            value => return Err(DecodeError::Kind { what: "payload", value }),
        };
        Ok(Entry { index, term, payload })
    }
}

impl HardState {
    pub fn encode(&self) -> Bytes {
        let mut writer = ByteWriter::with_capacity(40);
        writer.put_u8(FORMAT_VERSION);
        writer.put_varint(self.term);
        writer.put_varint(self.commit);
        if let Some(node) = self.vote {
            writer.put_u128(node.0);
        }
        writer.freeze()
    }

    /// # Errors
    /// Bytes that [`HardState::encode`] did not write.
    pub fn decode(bytes: Bytes) -> Result<HardState, DecodeError> {
        let mut reader = versioned(bytes)?;
        let (term, commit) = (number(&mut reader)?, number(&mut reader)?);
        let vote = if reader.is_empty() { None } else { Some(NodeId(reader.u128()?)) };
        reader.end()?;
        Ok(HardState { term, vote, commit })
    }
}

impl Snapshot {
    pub fn position(&self) -> Position {
        Position { term: self.term, index: self.index }
    }

    pub fn encode(&self) -> Bytes {
        let mut writer = ByteWriter::with_capacity(self.data.len() + 64);
        writer.put_u8(FORMAT_VERSION);
        self.write(&mut writer);
        writer.freeze()
    }

    /// # Errors
    /// Bytes that [`Snapshot::encode`] did not write.
    pub fn decode(bytes: Bytes) -> Result<Snapshot, DecodeError> {
        let mut reader = versioned(bytes)?;
        let snapshot = Snapshot::read(&mut reader)?;
        reader.end()?;
        Ok(snapshot)
    }

    pub(crate) fn write(&self, writer: &mut ByteWriter) {
        writer.put_varint(self.index);
        writer.put_varint(self.term);
        self.members.write(writer);
        writer.put_prefixed(&self.data);
    }

    pub(crate) fn read(reader: &mut ByteReader) -> Result<Snapshot, DecodeError> {
        let (index, term) = (number(reader)?, number(reader)?);
        Ok(Snapshot { index, term, members: Members::read(reader)?, data: reader.prefixed()? })
    }
}

/// A reader behind the version byte.
pub(crate) fn versioned(bytes: Bytes) -> Result<ByteReader, DecodeError> {
    let mut reader = ByteReader::new(bytes);
    match reader.u8()? {
        FORMAT_VERSION => Ok(reader),
        version => Err(DecodeError::Version(version)),
    }
}

/// An index, a term or a round.
pub(crate) fn number(reader: &mut ByteReader) -> Result<u64, DecodeError> {
    match reader.varint()? {
        number if number <= NUMBER_MAX => Ok(number),
        number => Err(DecodeError::Number(number)),
    }
}
