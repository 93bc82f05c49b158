//! What placement knows of a node, and what a group of tablets asks of it.

use crate::codec::DecodeError;
use crate::limits::{DATA_CENTERS_MAX, FACTOR_MAX, NAME_BYTES_MAX};
use holon_base::{ByteReader, ByteWriter};
use std::collections::BTreeMap;

/// Where a node stands. It is chosen by whoever runs the node and stored in the metadata log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    pub data_center: String,
    pub rack: String,
    /// Cores of its process. Not yet used: all nodes weigh the same.
    pub shards: u16,
}

impl NodeInfo {
    pub fn new(data_center: &str, rack: &str, shards: u16) -> NodeInfo {
        NodeInfo { data_center: data_center.to_string(), rack: rack.to_string(), shards }
    }

    pub(crate) fn is_valid(&self) -> bool {
        let named = |name: &str| !name.is_empty() && name.len() <= NAME_BYTES_MAX;
        named(&self.data_center) && named(&self.rack)
    }

    pub(crate) fn write(&self, output: &mut ByteWriter) {
        output.put_prefixed(self.data_center.as_bytes());
        output.put_prefixed(self.rack.as_bytes());
        output.put_u16(self.shards);
    }

    pub(crate) fn read(input: &mut ByteReader) -> Result<NodeInfo, DecodeError> {
        let info = NodeInfo { data_center: input.prefixed_str()?, rack: input.prefixed_str()?, shards: input.u16()? };
        if info.is_valid() { Ok(info) } else { Err(DecodeError::Value("name of a data centre or rack")) }
    }
}

/// How many copies the tablets of a group have, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Replication {
    /// So many nodes, whatever their data centre and rack.
    Simple { factor: u32 },
    /// So many nodes in each named data centre, in as many racks as possible.
    NetworkTopology { factors: BTreeMap<String, u32> },
    /// Every node of the ring.
    Everywhere,
    /// Each node has its own, which is nobody's copy: no tablet is placed.
    Local,
}

impl Replication {
    pub(crate) fn is_valid(&self) -> bool {
        match self {
            Replication::Simple { factor } => (1..=FACTOR_MAX).contains(factor),
            Replication::NetworkTopology { factors } => {
                factors.len() <= DATA_CENTERS_MAX
                    && factors.iter().all(|(name, factor)| name.len() <= NAME_BYTES_MAX && *factor <= FACTOR_MAX)
            }
            Replication::Everywhere | Replication::Local => true,
        }
    }

    pub(crate) fn write(&self, output: &mut ByteWriter) {
        match self {
            Replication::Simple { factor } => {
                output.put_u8(0);
                output.put_varint(u64::from(*factor));
            }
            Replication::NetworkTopology { factors } => {
                output.put_u8(1);
                output.put_varint(factors.len() as u64);
                for (name, factor) in factors {
                    output.put_prefixed(name.as_bytes());
                    output.put_varint(u64::from(*factor));
                }
            }
            Replication::Everywhere => output.put_u8(2),
            Replication::Local => output.put_u8(3),
        }
    }

    pub(crate) fn read(input: &mut ByteReader) -> Result<Replication, DecodeError> {
        let factor = |input: &mut ByteReader| -> Result<u32, DecodeError> {
            u32::try_from(input.varint()?).map_err(|_| DecodeError::Value("replication factor"))
        };
        let replication = match input.u8()? {
            0 => Replication::Simple { factor: factor(input)? },
            1 => {
                let mut factors = BTreeMap::new();
                for _ in 0..input.count()? {
                    let name = input.prefixed_str()?;
                    if factors.insert(name, factor(input)?).is_some() {
                        return Err(DecodeError::Value("data centre named twice"));
                    }
                }
                Replication::NetworkTopology { factors }
            }
            2 => Replication::Everywhere,
            3 => Replication::Local,
            _ => return Err(DecodeError::Value("kind of replication")),
        };
        if replication.is_valid() { Ok(replication) } else { Err(DecodeError::Value("replication factor")) }
    }
}
