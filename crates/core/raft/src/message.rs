//! What machines of one group say to each other, and its bytes.
//!
//! Delivery may lose, double, delay and reorder messages: the protocol stands on none of it. Who sent a message is told by
//! whoever received it, not by the message; this is no defence against members that lie (Raft is not Byzantine).

use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter};

use crate::entry::{DecodeError, Entry, FORMAT_VERSION, Position, Snapshot, number, versioned};
use crate::limits::ENTRIES_PER_MESSAGE_MAX;

/// A message with its sender's term (for pre-votes: the term it would campaign in).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub term: u64,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// RequestVote (§3.4); with `pre`, only asks whether it would be granted (§9.6). `transfer`: the old leader asked for
    /// this election, so that nobody needs to wait for its silence (§4.2.3).
    Vote {
        pre: bool,
        transfer: bool,
        last: Position,
    },
    VoteReply {
        pre: bool,
        granted: bool,
    },
    /// AppendEntries (§3.5). `previous` is the entry before the first one.
    Append {
        previous: Position,
        commit: u64,
        entries: Vec<Entry>,
    },
    /// The sender holds durably everything the leader holds up to `matched`.
    Appended {
        matched: u64,
    },
    /// The entry `previous` was not there. `hint`: the last place where the logs may agree, which skips whole terms (§5.3,
    /// last paragraphs).
    Rejected {
        previous: u64,
        hint: Position,
    },
    /// A leader lives. `commit` never exceeds what the receiver is known to hold. `round` is echoed by the reply and confirms
    /// reads (§6.4); 0 asks for no reply: it only brings the commit index.
    Heartbeat {
        commit: u64,
        round: u64,
    },
    HeartbeatReply {
        round: u64,
    },
    /// InstallSnapshot (§5.1), whole. Answered by `Appended`.
    Snapshot(Snapshot),
    /// Campaign at once (§3.10).
    TimeoutNow,
}

impl Message {
    pub fn encode(&self) -> Bytes {
        let mut writer = ByteWriter::new();
        writer.put_u8(FORMAT_VERSION);
        writer.put_varint(self.term);
        match &self.body {
            Body::Vote { pre, transfer, last } => {
                writer.put_u8(1);
                writer.put_u8(u8::from(*pre) | u8::from(*transfer) << 1);
                write_position(&mut writer, *last);
            }
            Body::VoteReply { pre, granted } => {
                writer.put_u8(2);
                writer.put_u8(u8::from(*pre) | u8::from(*granted) << 1);
            }
            Body::Append { previous, commit, entries } => {
                writer.put_u8(3);
                write_position(&mut writer, *previous);
                writer.put_varint(*commit);
                writer.put_varint(entries.len() as u64);
                entries.iter().for_each(|entry| entry.write(&mut writer));
            }
            Body::Appended { matched } => {
                writer.put_u8(4);
                writer.put_varint(*matched);
            }
            Body::Rejected { previous, hint } => {
                writer.put_u8(5);
                writer.put_varint(*previous);
                write_position(&mut writer, *hint);
            }
            Body::Heartbeat { commit, round } => {
                writer.put_u8(6);
                writer.put_varint(*commit);
                writer.put_varint(*round);
            }
            Body::HeartbeatReply { round } => {
                writer.put_u8(7);
                writer.put_varint(*round);
            }
            Body::Snapshot(snapshot) => {
                writer.put_u8(8);
                snapshot.write(&mut writer);
            }
            Body::TimeoutNow => writer.put_u8(9),
        }
        writer.freeze()
    }

    /// # Errors
    /// Bytes that [`Message::encode`] did not write: cut short, too long, of another version, or entries that do not follow
    /// each other.
    pub fn decode(bytes: Bytes) -> Result<Message, DecodeError> {
        let mut reader = versioned(bytes)?;
        let term = number(&mut reader)?;
        let body = match reader.u8()? {
            1 => {
                let (pre, transfer) = read_flags(&mut reader)?;
                Body::Vote { pre, transfer, last: read_position(&mut reader)? }
            }
            2 => {
                let (pre, granted) = read_flags(&mut reader)?;
                Body::VoteReply { pre, granted }
            }
            3 => read_append(&mut reader, term)?,
            4 => Body::Appended { matched: number(&mut reader)? },
            5 => Body::Rejected { previous: number(&mut reader)?, hint: read_position(&mut reader)? },
            6 => Body::Heartbeat { commit: number(&mut reader)?, round: number(&mut reader)? },
            7 => Body::HeartbeatReply { round: number(&mut reader)? },
            8 => Body::Snapshot(Snapshot::read(&mut reader)?),
            9 => Body::TimeoutNow,
            value => return Err(DecodeError::Kind { what: "message", value }),
        };
        reader.end()?;
        Ok(Message { term, body })
    }
}

fn write_position(writer: &mut ByteWriter, position: Position) {
    writer.put_varint(position.index);
    writer.put_varint(position.term);
}

fn read_position(reader: &mut ByteReader) -> Result<Position, DecodeError> {
    let (index, term) = (number(reader)?, number(reader)?);
    Ok(Position { term, index })
}

fn read_flags(reader: &mut ByteReader) -> Result<(bool, bool), DecodeError> {
    match reader.u8()? {
        value @ 0..=3 => Ok((value & 1 != 0, value & 2 != 0)),
        value => Err(DecodeError::Kind { what: "flags", value }),
    }
}

fn read_append(reader: &mut ByteReader, term: u64) -> Result<Body, DecodeError> {
    let (previous, commit) = (read_position(reader)?, number(reader)?);
    let count = reader.count()?;
    if count > ENTRIES_PER_MESSAGE_MAX {
        return Err(DecodeError::TooMany { what: "entries", count, limit: ENTRIES_PER_MESSAGE_MAX });
    }
    // Each entry is checked before the next is read, and takes at least three bytes of the input.
    let mut entries = Vec::with_capacity(count.min(reader.remaining() / 3));
    let mut before = previous;
    for _ in 0..count {
        let entry = Entry::read(reader)?;
        if !follows(before, &entry) || entry.term > term {
            return Err(DecodeError::OutOfOrder { index: entry.index, term: entry.term });
        }
        before = entry.position();
        entries.push(entry);
    }
    Ok(Body::Append { previous, commit, entries })
}

/// Indexes rise by one; terms never fall along a log.
pub(crate) fn follows(before: Position, entry: &Entry) -> bool {
    before.index.checked_add(1) == Some(entry.index) && before.term <= entry.term
}
