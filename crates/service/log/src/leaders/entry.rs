//! Leaderships and their changes as bytes: of the metadata log and its snapshots.
//!
//! ```text
//! nodes      = count:varint node:u128*
//! leadership = version:u32 epoch:u32 leader:u128 in_sync:nodes eligible:nodes
//! change     = 1 leader:u128 in_sync:nodes                  Begin
//!            | 2 version:u32 leader:u128 in_sync:nodes      Elect
//!            | 3 version:u32 in_sync:nodes                  Alter
//!            | 4 node:u128                                  Lost
//!            | 5 version:u32 leader:u128                    Unclean
//! ```

use super::leadership::{Change, Leadership};
use holon_base::{ByteReader, ByteWriter, NodeId, ShortInput};

const BEGIN: u8 = 1;
const ELECT: u8 = 2;
const ALTER: u8 = 3;
const LOST: u8 = 4;
const UNCLEAN: u8 = 5;

fn put_nodes(out: &mut ByteWriter, nodes: &[NodeId]) {
    out.put_varint(nodes.len() as u64);
    nodes.iter().for_each(|node| out.put_u128(node.0));
}

fn node(input: &mut ByteReader) -> Result<NodeId, ShortInput> {
    Ok(NodeId(input.u128()?))
}

fn nodes(input: &mut ByteReader) -> Result<Vec<NodeId>, ShortInput> {
    (0..input.count()?).map(|_| node(input)).collect()
}

impl Leadership {
    pub fn encode(&self, out: &mut ByteWriter) {
        out.put_u32(self.version);
        out.put_u32(self.epoch.cast_unsigned());
        out.put_u128(self.leader.0);
        put_nodes(out, &self.in_sync);
        put_nodes(out, &self.eligible);
    }

    /// # Errors
    /// It is not what [`Leadership::encode`] wrote.
    pub fn decode(input: &mut ByteReader) -> Result<Leadership, ShortInput> {
        let (version, epoch, leader) = (input.u32()?, input.u32()?.cast_signed(), node(input)?);
        Ok(Leadership { version, epoch, leader, in_sync: nodes(input)?, eligible: nodes(input)? })
    }
}

impl Change {
    pub fn encode(&self, out: &mut ByteWriter) {
        match self {
            Change::Begin { leader, in_sync } => {
                out.put_u8(BEGIN);
                out.put_u128(leader.0);
                put_nodes(out, in_sync);
            }
            Change::Elect { version, leader, in_sync } => {
                out.put_u8(ELECT);
                out.put_u32(*version);
                out.put_u128(leader.0);
                put_nodes(out, in_sync);
            }
            Change::Alter { version, in_sync } => {
                out.put_u8(ALTER);
                out.put_u32(*version);
                put_nodes(out, in_sync);
            }
            Change::Lost { node } => {
                out.put_u8(LOST);
                out.put_u128(node.0);
            }
            Change::Unclean { version, leader } => {
                out.put_u8(UNCLEAN);
                out.put_u32(*version);
                out.put_u128(leader.0);
            }
        }
    }

    /// # Errors
    /// It is of a newer version, or cut off.
    pub fn decode(input: &mut ByteReader) -> Result<Change, ShortInput> {
        Ok(match input.u8()? {
            BEGIN => Change::Begin { leader: node(input)?, in_sync: nodes(input)? },
            ELECT => Change::Elect { version: input.u32()?, leader: node(input)?, in_sync: nodes(input)? },
            ALTER => Change::Alter { version: input.u32()?, in_sync: nodes(input)? },
            LOST => Change::Lost { node: node(input)? },
            UNCLEAN => Change::Unclean { version: input.u32()?, leader: node(input)? },
            _ => return Err(ShortInput { offset: input.offset().saturating_sub(1) }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_was_written_and_what_is_cut_off_is_nothing() {
        let (a, b) = (NodeId(1), NodeId(u128::MAX));
        let changes = [
            Change::Begin { leader: a, in_sync: vec![a, b] },
            Change::Elect { version: 7, leader: b, in_sync: vec![b] },
            Change::Alter { version: u32::MAX, in_sync: vec![] },
            Change::Lost { node: b },
            Change::Unclean { version: 0, leader: a },
        ];
        for change in changes {
            let mut out = ByteWriter::new();
            change.encode(&mut out);
            let bytes = out.freeze();
            assert_eq!(Change::decode(&mut ByteReader::new(bytes.clone())), Ok(change));
            for end in 0..bytes.len() {
                assert!(Change::decode(&mut ByteReader::new(bytes.slice(..end))).is_err());
            }
        }
        let leadership = Leadership { version: 3, epoch: 2, leader: a, in_sync: vec![a], eligible: vec![b] };
        let mut out = ByteWriter::new();
        leadership.encode(&mut out);
        assert_eq!(Leadership::decode(&mut ByteReader::new(out.freeze())), Ok(leadership));
        assert!(Change::decode(&mut ByteReader::new(vec![9].into())).is_err(), "of a newer version");
    }
}
