//! The bytes of the whole machine, for snapshots of the metadata log: whoever reads one goes on as if it had applied
//! every entry up to it.

use crate::change::{Change, ChangeKind, GroupPlacement, Move, NodeState, Phase};
use crate::codec::DecodeError;
use crate::ring::Ring;
use crate::topology::{GROUP_MAX, Topology, group_of};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, GroupId, NodeId, TabletId};
use std::collections::{BTreeMap, BTreeSet};

/// The version written. All versions ever released are read.
pub const SNAPSHOT_VERSION: u8 = 1;

const STATES: [NodeState; 4] = [NodeState::Joining, NodeState::Normal, NodeState::Draining, NodeState::Dead];
const PHASES: [Phase; 5] = [Phase::Planned, Phase::Streaming, Phase::ReadNew, Phase::Clean, Phase::Undo];

impl Topology {
    pub fn encode(&self) -> Bytes {
        let mut output = ByteWriter::new();
        output.put_u8(SNAPSHOT_VERSION);
        output.put_varint(self.epoch);
        self.ring.write(&mut output);
        output.put_varint(self.members.len() as u64);
        for (node, state) in &self.members {
            output.put_u128(node.0);
            output.put_u8(STATES.iter().position(|known| known == state).unwrap_or_default() as u8);
        }
        output.put_varint(self.groups.len() as u64);
        for (group, placement) in &self.groups {
            output.put_varint(group.0);
            placement.write(&mut output);
        }
        output.put_u8(u8::from(self.change.is_some()));
        if let Some(change) = &self.change {
            change.write(&mut output);
        }
        write_moves(&mut output, &self.planned);
        write_moves(&mut output, &self.active);
        output.put_varint(self.since.len() as u64);
        for (tablet, since) in &self.since {
            output.put_u64(tablet.0);
            output.put_varint(*since);
        }
        output.freeze()
    }

    pub fn decode(bytes: Bytes) -> Result<Topology, DecodeError> {
        let mut input = ByteReader::new(bytes);
        match input.u8()? {
            SNAPSHOT_VERSION => {}
            version => return Err(DecodeError::Version(version)),
        }
        let epoch = input.varint()?;
        let ring = Ring::read(&mut input)?;
        let mut members = BTreeMap::new();
        for _ in 0..input.count()? {
            let node = NodeId(input.u128()?);
            let state = STATES.get(usize::from(input.u8()?)).ok_or(DecodeError::Value("state of a node"))?;
            members.insert(node, *state);
        }
        let mut groups = BTreeMap::new();
        for _ in 0..input.count()? {
            let group = GroupId(input.varint()?);
            if group.0 > GROUP_MAX {
                return Err(DecodeError::Value("id of a group"));
            }
            groups.insert(group, GroupPlacement::read(&mut input)?);
        }
        let change = match input.u8()? {
            0 => None,
            1 => Some(Change::read(&mut input)?),
            _ => return Err(DecodeError::Value("presence of a change")),
        };
        let (planned, active) = (read_moves(&mut input)?, read_moves(&mut input)?);
        let mut since = BTreeMap::new();
        for _ in 0..input.count()? {
            let tablet = TabletId(input.u64()?);
            since.insert(tablet, input.varint()?);
        }
        input.end()?;
        let topology = Topology { epoch, ring, members, groups, change, planned, active, since };
        topology.check()?;
        Ok(topology)
    }

    /// What the machine relies on.
    fn check(&self) -> Result<(), DecodeError> {
        if self.change.is_none() && !(self.planned.is_empty() && self.active.is_empty()) {
            return Err(DecodeError::Value("moves without a change"));
        }
        let exists = |tablet: &TabletId| {
            let (group, ordinal) = group_of(*tablet);
            self.groups.get(&group).is_some_and(|placement| ordinal < placement.tablets)
        };
        if !self.planned.keys().chain(self.active.keys()).chain(self.since.keys()).all(exists) {
            return Err(DecodeError::Value("tablet of no group"));
        }
        if !self.ring.nodes().all(|(node, _)| self.members.contains_key(&node)) {
            return Err(DecodeError::Value("node of the ring that is no member"));
        }
        let after = self.since.values().chain(self.change.as_ref().map(|change| &change.started));
        if after.into_iter().any(|since| *since > self.epoch) {
            return Err(DecodeError::Value("entry after the last"));
        }
        Ok(())
    }
}

impl Change {
    fn write(&self, output: &mut ByteWriter) {
        self.kind.write(output);
        output.put_varint(self.started);
        self.target.write(output);
        output.put_u8(u8::from(self.cancelled));
    }

    fn read(input: &mut ByteReader) -> Result<Change, DecodeError> {
        let (kind, started, target) = (ChangeKind::read(input)?, input.varint()?, Ring::read(input)?);
        match input.u8()? {
            flag @ 0..2 => Ok(Change { kind, started, target, cancelled: flag == 1 }),
            _ => Err(DecodeError::Value("flag of a change")),
        }
    }
}

fn write_nodes<'a>(output: &mut ByteWriter, nodes: impl ExactSizeIterator<Item = &'a NodeId>) {
    output.put_varint(nodes.len() as u64);
    nodes.for_each(|node| output.put_u128(node.0));
}

fn read_nodes<C: FromIterator<NodeId>>(input: &mut ByteReader) -> Result<C, DecodeError> {
    (0..input.count()?).map(|_| Ok(NodeId(input.u128()?))).collect()
}

fn write_moves(output: &mut ByteWriter, moves: &BTreeMap<TabletId, Move>) {
    output.put_varint(moves.len() as u64);
    for (tablet, moving) in moves {
        output.put_u64(tablet.0);
        output.put_u8(PHASES.iter().position(|known| *known == moving.phase).unwrap_or_default() as u8);
        write_nodes(output, moving.from.iter());
        write_nodes(output, moving.to.iter());
        write_nodes(output, moving.reported.iter());
    }
}

fn read_moves(input: &mut ByteReader) -> Result<BTreeMap<TabletId, Move>, DecodeError> {
    let mut moves = BTreeMap::new();
    for _ in 0..input.count()? {
        let tablet = TabletId(input.u64()?);
        let phase = *PHASES.get(usize::from(input.u8()?)).ok_or(DecodeError::Value("phase of a move"))?;
        let (from, to) = (read_nodes(input)?, read_nodes(input)?);
        let reported: BTreeSet<NodeId> = read_nodes(input)?;
        moves.insert(tablet, Move { from, to, phase, reported });
    }
    Ok(moves)
}
