//! What an entry of the cluster's own says.
//!
//! ```text
//!   command = version:u8 kind:u8 body
//!   body    = 1: a node has come: node:u128 address:text data center:text rack:text shards:u16
//!                count (name:text value:text)*
//!           | 2: a node is gone for good: node:u128
//!           | 3: an entry of placement: its bytes
//!           | 4: a tablet is to have a consensus group, with its readers as first members: tablet:u64
//!           | 5: a node that is to come takes the place of a dead one: new:u128 dead:u128
//!           | 6: a member has other facts: as 1
//!           | 8: of a tablet's consensus group one member goes on alone: tablet:u64 node:u128 known:u64 (0: as the first)
//!           | 7: all members know a level: level:u32 (only when they do: older ones cannot read this entry)
//! ```

use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, NodeId, ShortInput, TabletId};
use holon_kernel::NodeRecord;
use holon_placement::Entry;
use std::rc::Rc;

const VERSION: u8 = 1;
const NODE: u8 = 1;
const REMOVE_NODE: u8 = 2;
const PLACEMENT: u8 = 3;
const FOUND: u8 = 4;
const REPLACEMENT: u8 = 5;
const OTHER_FACTS: u8 = 6;
const LEVEL: u8 = 7;
const FOUND_ANEW: u8 = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClusterCommand {
    Node(NodeRecord),
    /// Said by the node itself: one that was removed meanwhile does not come in by that.
    OtherFacts(NodeRecord),
    RemoveNode(NodeId),
    Placement(Entry),
    Found(TabletId),
    /// `known`: the entry by which a member went on alone before, as far as the proposer knows.
    FoundAnew {
        tablet: TabletId,
        node: NodeId,
        known: u64,
    },
    /// See [`crate::gate`].
    Level(u32),
    Replacement {
        new: NodeId,
        dead: NodeId,
    },
}

impl ClusterCommand {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = ByteWriter::new();
        out.put_u8(VERSION);
        match self {
            ClusterCommand::Node(record) => {
                out.put_u8(NODE);
                put_record(record, &mut out);
            }
            ClusterCommand::OtherFacts(record) => {
                out.put_u8(OTHER_FACTS);
                put_record(record, &mut out);
            }
            ClusterCommand::RemoveNode(node) => {
                out.put_u8(REMOVE_NODE);
                out.put_u128(node.0);
            }
            ClusterCommand::Placement(entry) => {
                out.put_u8(PLACEMENT);
                out.put_slice(&entry.encode());
            }
            ClusterCommand::Found(tablet) => {
                out.put_u8(FOUND);
                out.put_u64(tablet.0);
            }
            ClusterCommand::FoundAnew { tablet, node, known } => {
                out.put_u8(FOUND_ANEW);
                out.put_u64(tablet.0);
                out.put_u128(node.0);
                out.put_u64(*known);
            }
            ClusterCommand::Level(level) => {
                out.put_u8(LEVEL);
                out.put_u32(*level);
            }
            ClusterCommand::Replacement { new, dead } => {
                out.put_u8(REPLACEMENT);
                out.put_u128(new.0);
                out.put_u128(dead.0);
            }
        }
        out.freeze()
    }

    pub(crate) fn decode(bytes: Bytes) -> Result<ClusterCommand, ShortInput> {
        let mut input = ByteReader::new(bytes);
        if input.u8()? != VERSION {
            return Err(ShortInput { offset: 0 });
        }
        let command = match input.u8()? {
            NODE => ClusterCommand::Node(read_record(&mut input)?),
            REMOVE_NODE => ClusterCommand::RemoveNode(NodeId(input.u128()?)),
            PLACEMENT => {
                let offset = input.offset();
                let entry = Entry::decode(input.rest()).map_err(|_| ShortInput { offset })?;
                return Ok(ClusterCommand::Placement(entry));
            }
            FOUND_ANEW => {
                let (tablet, node) = (TabletId(input.u64()?), NodeId(input.u128()?));
                ClusterCommand::FoundAnew { tablet, node, known: input.u64()? }
            }
            LEVEL => ClusterCommand::Level(input.u32()?),
            FOUND => ClusterCommand::Found(TabletId(input.u64()?)),
            OTHER_FACTS => ClusterCommand::OtherFacts(read_record(&mut input)?),
            REPLACEMENT => ClusterCommand::Replacement { new: NodeId(input.u128()?), dead: NodeId(input.u128()?) },
            _ => return Err(ShortInput { offset: 1 }),
        };
        input.end()?;
        Ok(command)
    }
}

/// All but the tokens, which follow from the other nodes.
pub(crate) fn put_record(record: &NodeRecord, out: &mut ByteWriter) {
    out.put_u128(record.node.0);
    out.put_prefixed(record.address.to_string().as_bytes());
    out.put_prefixed(record.data_center.as_bytes());
    out.put_prefixed(record.rack.as_bytes());
    out.put_u16(record.shards);
    out.put_varint(record.facts.len() as u64);
    for (name, value) in record.facts.iter() {
        out.put_prefixed(name.as_bytes());
        out.put_prefixed(value.as_bytes());
    }
}

pub(crate) fn read_record(input: &mut ByteReader) -> Result<NodeRecord, ShortInput> {
    let node = NodeId(input.u128()?);
    let offset = input.offset();
    let address = input.prefixed_str()?.parse().map_err(|_| ShortInput { offset })?;
    let (data_center, rack) = (input.prefixed_str()?.into(), input.prefixed_str()?.into());
    let shards = input.u16()?;
    let count = input.count()?;
    let mut facts = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        facts.push((input.prefixed_str()?, input.prefixed_str()?));
    }
    Ok(NodeRecord { node, address, data_center, rack, shards, tokens: Rc::new([]), facts: facts.into() })
}
