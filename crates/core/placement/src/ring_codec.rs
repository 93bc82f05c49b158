//! The bytes of a ring: what a snapshot of the metadata log holds.
//!
//! ```text
//!   version u8 │ log2(slots) u8 │ nodes: count, (id u128, data centre, rack, shards)… │ for each data centre by name,
//!   for each slot: the place of its owner among the nodes of the data centre by id, varint
//! ```

use crate::codec::DecodeError;
use crate::limits::{DATA_CENTERS_MAX, NODES_MAX, SLOTS_MAX, SLOTS_MIN};
use crate::node::NodeInfo;
use crate::ring::{DataCenter, Ring};
use crate::ring_change::within;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// The version written. All versions ever released are read.
pub const RING_VERSION: u8 = 1;

impl Ring {
    pub fn encode(&self) -> Bytes {
        let mut output = ByteWriter::new();
        self.write(&mut output);
        output.freeze()
    }

    pub fn decode(bytes: Bytes) -> Result<Ring, DecodeError> {
        let mut input = ByteReader::new(bytes);
        let ring = Ring::read(&mut input)?;
        input.end()?;
        Ok(ring)
    }

    pub(crate) fn write(&self, output: &mut ByteWriter) {
        output.put_u8(RING_VERSION);
        output.put_u8(self.slots.trailing_zeros() as u8);
        output.put_varint(self.nodes.len() as u64);
        for (node, info) in self.nodes.iter() {
            output.put_u128(node.0);
            info.write(output);
        }
        for center in self.data_centers.values() {
            center.owners.iter().for_each(|owner| output.put_varint(u64::from(*owner)));
        }
    }

    pub(crate) fn read(input: &mut ByteReader) -> Result<Ring, DecodeError> {
        match input.u8()? {
            RING_VERSION => {}
            version => return Err(DecodeError::Version(version)),
        }
        let slots = 1u32.checked_shl(u32::from(input.u8()?)).unwrap_or(0);
        if !(SLOTS_MIN..=SLOTS_MAX).contains(&slots) {
            return Err(DecodeError::Value("number of slots"));
        }
        let count = input.count()?;
        if count == 0 || count > NODES_MAX {
            return Err(DecodeError::Value("number of nodes"));
        }
        let mut nodes: BTreeMap<NodeId, NodeInfo> = BTreeMap::new();
        for _ in 0..count {
            let node = NodeId(input.u128()?);
            if nodes.last_key_value().is_some_and(|(last, _)| *last >= node) {
                return Err(DecodeError::Value("nodes out of order"));
            }
            nodes.insert(node, NodeInfo::read(input)?);
        }
        let names: BTreeSet<&str> = nodes.values().map(|info| info.data_center.as_str()).collect();
        if names.len() > DATA_CENTERS_MAX {
            return Err(DecodeError::Value("number of data centres"));
        }
        let mut data_centers = BTreeMap::new();
        for name in names {
            let center = read_owners(input, DataCenter::of(within(&nodes, name)), slots)?;
            data_centers.insert(name.to_string(), Rc::new(center));
        }
        Ok(Ring { slots, nodes: Rc::new(nodes), data_centers })
    }
}

fn read_owners(input: &mut ByteReader, mut center: DataCenter, slots: u32) -> Result<DataCenter, DecodeError> {
    if input.remaining() < slots as usize {
        return Err(DecodeError::Value("fewer owners than slots"));
    }
    center.owners.reserve_exact(slots as usize);
    let mut owns = vec![false; center.members.len()];
    for _ in 0..slots {
        let owner = usize::try_from(input.varint()?).unwrap_or(usize::MAX);
        *owns.get_mut(owner).ok_or(DecodeError::Value("owner of a slot"))? = true;
        center.owners.push(owner as u32);
    }
    if owns.iter().all(|owns| *owns) { Ok(center) } else { Err(DecodeError::Value("node without a slot")) }
}
