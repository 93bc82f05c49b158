//! The bytes of entries of the metadata log about placement: `version u8 │ kind u8 │ fields`.
//!
//! The version also stands for the algorithm by which every node computes the ring after a change.

use crate::change::{ChangeKind, Entry, GroupPlacement};
use crate::codec::DecodeError;
use crate::limits::TABLETS_MAX;
use crate::node::{NodeInfo, Replication};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, GroupId, NodeId, TabletId};
use std::collections::BTreeMap;

/// The version written. All versions ever released are read.
pub const ENTRY_VERSION: u8 = 1;

impl Entry {
    pub fn encode(&self) -> Bytes {
        let mut output = ByteWriter::new();
        output.put_u8(ENTRY_VERSION);
        let report = |output: &mut ByteWriter, kind: u8, tablet: &TabletId, node: &NodeId, since: &u64| {
            output.put_u8(kind);
            output.put_u64(tablet.0);
            output.put_u128(node.0);
            output.put_varint(*since);
        };
        match self {
            Entry::CreateGroup { group, placement } => {
                output.put_u8(0);
                output.put_varint(group.0);
                placement.write(&mut output);
            }
            Entry::RemoveGroup { group } => {
                output.put_u8(1);
                output.put_varint(group.0);
            }
            Entry::Start(kind) => {
                output.put_u8(2);
                kind.write(&mut output);
            }
            Entry::Streamed { tablet, node, since } => report(&mut output, 3, tablet, node, since),
            Entry::Switched { tablet, node, since } => report(&mut output, 4, tablet, node, since),
            Entry::Cleaned { tablet, node, since } => report(&mut output, 5, tablet, node, since),
            Entry::Cancel { started } => {
                output.put_u8(6);
                output.put_varint(*started);
            }
            Entry::Forget { node } => {
                output.put_u8(7);
                output.put_u128(node.0);
            }
        }
        output.freeze()
    }

    pub fn decode(bytes: Bytes) -> Result<Entry, DecodeError> {
        let mut input = ByteReader::new(bytes);
        match input.u8()? {
            ENTRY_VERSION => {}
            version => return Err(DecodeError::Version(version)),
        }
        let entry = match input.u8()? {
            0 => Entry::CreateGroup { group: GroupId(input.varint()?), placement: GroupPlacement::read(&mut input)? },
            1 => Entry::RemoveGroup { group: GroupId(input.varint()?) },
            2 => Entry::Start(ChangeKind::read(&mut input)?),
            kind @ 3..6 => {
                let (tablet, node, since) = (TabletId(input.u64()?), NodeId(input.u128()?), input.varint()?);
                match kind {
                    3 => Entry::Streamed { tablet, node, since },
                    4 => Entry::Switched { tablet, node, since },
                    _ => Entry::Cleaned { tablet, node, since },
                }
            }
            6 => Entry::Cancel { started: input.varint()? },
            7 => Entry::Forget { node: NodeId(input.u128()?) },
            _ => return Err(DecodeError::Value("kind of entry")),
        };
        input.end()?;
        Ok(entry)
    }
}

impl GroupPlacement {
    pub(crate) fn write(&self, output: &mut ByteWriter) {
        self.replication.write(output);
        output.put_varint(u64::from(self.tablets));
    }

    pub(crate) fn read(input: &mut ByteReader) -> Result<GroupPlacement, DecodeError> {
        let replication = Replication::read(input)?;
        match u32::try_from(input.varint()?) {
            Ok(tablets) if (1..=TABLETS_MAX).contains(&tablets) => Ok(GroupPlacement { replication, tablets }),
            _ => Err(DecodeError::Value("number of tablets")),
        }
    }
}

impl ChangeKind {
    pub(crate) fn write(&self, output: &mut ByteWriter) {
        match self {
            ChangeKind::Join { node, info } => {
                output.put_u8(0);
                output.put_u128(node.0);
                info.write(output);
            }
            ChangeKind::Drain { node } => {
                output.put_u8(1);
                output.put_u128(node.0);
            }
            ChangeKind::Replace { dead, new, info } => {
                output.put_u8(2);
                output.put_u128(dead.0);
                output.put_u128(new.0);
                info.write(output);
            }
            ChangeKind::Relocate { node, info } => {
                output.put_u8(3);
                output.put_u128(node.0);
                info.write(output);
            }
            ChangeKind::SetReplication { groups } => {
                output.put_u8(4);
                output.put_varint(groups.len() as u64);
                for (group, replication) in groups {
                    output.put_varint(group.0);
                    replication.write(output);
                }
            }
            ChangeKind::Split { slots } => {
                output.put_u8(5);
                output.put_u32(*slots);
            }
        }
    }

    pub(crate) fn read(input: &mut ByteReader) -> Result<ChangeKind, DecodeError> {
        Ok(match input.u8()? {
            0 => ChangeKind::Join { node: NodeId(input.u128()?), info: NodeInfo::read(input)? },
            1 => ChangeKind::Drain { node: NodeId(input.u128()?) },
            2 => ChangeKind::Replace {
                dead: NodeId(input.u128()?),
                new: NodeId(input.u128()?),
                info: NodeInfo::read(input)?,
            },
            3 => ChangeKind::Relocate { node: NodeId(input.u128()?), info: NodeInfo::read(input)? },
            4 => {
                let mut groups = BTreeMap::new();
                for _ in 0..input.count()? {
                    let group = GroupId(input.varint()?);
                    groups.insert(group, Replication::read(input)?);
                }
                ChangeKind::SetReplication { groups }
            }
            5 => ChangeKind::Split { slots: input.u32()? },
            _ => return Err(DecodeError::Value("kind of change")),
        })
    }
}
