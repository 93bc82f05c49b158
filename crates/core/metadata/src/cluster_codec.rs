//! The bytes of the cluster's machine, for snapshots of the metadata log: whoever reads one goes on as if it had applied
//! every entry up to it.
//!
//! ```text
//!   state       = version:u8 level:u32 count record* topology replicas waiting replacements forgotten removed
//!                 moves_in_all remembered
//!   topology    = present:u8 length bytes            (of holon-placement)
//!   replicas    = count (service:u16 placement founders)*
//!   placement   = length bytes                       (an entry that would make the group: id, replication, tablets)
//!   founders    = count (ordinal member* present*)*
//! ```

use crate::cluster::{ClusterState, Group, kernel_replication, placed};
use crate::cluster_command::{put_record, read_record};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, GroupId, NodeId, ServiceId, ShortInput, TabletId};
use holon_kernel::{Founders, Replicas};
use holon_placement::{Entry, GroupPlacement, Replication as Placed, Topology};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

const VERSION: u8 = 1;

impl ClusterState {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = ByteWriter::new();
        out.put_u8(VERSION);
        out.put_u32(self.level);
        out.put_varint(self.nodes.len() as u64);
        self.nodes.values().for_each(|record| put_record(record, &mut out));
        out.put_u8(u8::from(self.topology.is_some()));
        self.topology.iter().for_each(|topology| out.put_prefixed(&topology.encode()));
        out.put_varint(self.groups.len() as u64);
        for group in self.groups.values() {
            out.put_u16(group.service.0);
            put_placement(group.id, placed(&group.replication), group.tablets.len() as u32, &mut out);
            out.put_varint(group.founders.len() as u64);
            for (ordinal, founders) in &group.founders {
                out.put_u32(*ordinal);
                put_nodes(founders.members.iter().copied(), &mut out);
                put_nodes(founders.present.iter().copied(), &mut out);
            }
        }
        out.put_varint(self.replication_waiting.len() as u64);
        for (id, replication) in &self.replication_waiting {
            put_placement(*id, replication.clone(), 1, &mut out);
        }
        out.put_varint(self.replacements.len() as u64);
        for (new, dead) in &self.replacements {
            out.put_u128(new.0);
            out.put_u128(dead.0);
        }
        put_nodes(self.forgotten.iter().copied(), &mut out);
        out.put_varint(self.removed.len() as u64);
        for (node, address) in &self.removed {
            out.put_u128(node.0);
            out.put_prefixed(address.to_string().as_bytes());
        }
        out.put_varint(self.moves_in_all as u64);
        out.put_varint(self.remembered.len() as u64);
        self.remembered.iter().for_each(|id| out.put_u128(*id));
        out.freeze()
    }

    /// # Errors
    /// Bytes of another version, or what [`ClusterState::encode`] did not write.
    pub(crate) fn decode(bytes: Bytes) -> Result<ClusterState, ShortInput> {
        let mut input = ByteReader::new(bytes);
        if input.u8()? != VERSION {
            return Err(ShortInput { offset: 0 });
        }
        let mut state = ClusterState { level: input.u32()?, ..ClusterState::default() };
        for _ in 0..input.count()? {
            let record = read_record(&mut input)?;
            state.nodes.insert(record.node, record);
        }
        if input.u8()? == 1 {
            let offset = input.offset();
            state.topology = Some(Topology::decode(input.prefixed()?).map_err(|_| ShortInput { offset })?);
        }
        for _ in 0..input.count()? {
            let group = read_group(&mut input, state.topology.as_ref())?;
            state.groups.insert(group.id, group);
        }
        for _ in 0..input.count()? {
            let (id, replication, _) = read_placement(&mut input)?;
            state.replication_waiting.insert(id, replication);
        }
        for _ in 0..input.count()? {
            state.replacements.insert(NodeId(input.u128()?), NodeId(input.u128()?));
        }
        state.forgotten = read_nodes::<BTreeSet<_>>(&mut input)?;
        for _ in 0..input.count()? {
            let node = NodeId(input.u128()?);
            let offset = input.offset();
            state.removed.push_back((node, input.prefixed_str()?.parse().map_err(|_| ShortInput { offset })?));
        }
        state.moves_in_all = input.varint()? as usize;
        state.remembered = (0..input.count()?).map(|_| input.u128()).collect::<Result<VecDeque<_>, _>>()?;
        state.known = state.remembered.iter().copied().collect();
        input.end()?;
        state.publish_nodes();
        Ok(state)
    }
}

fn read_group(input: &mut ByteReader, topology: Option<&Topology>) -> Result<Group, ShortInput> {
    let service = ServiceId(input.u16()?);
    let offset = input.offset();
    let (id, replication, count) = read_placement(input)?;
    let replication = kernel_replication(replication).ok_or(ShortInput { offset })?;
    let replicas = |ordinal: u32| {
        let now = topology.and_then(|topology| topology.replicas(TabletId::new(id, ordinal)));
        let now = now.map(|now| Replicas { readers: now.readers.into(), joint: now.joint.into(), since: now.since });
        now.unwrap_or_default() // it could not be placed
    };
    let mut founders = BTreeMap::new();
    for _ in 0..input.count()? {
        let ordinal = input.u32()?;
        let (members, present) = (read_nodes::<Rc<[_]>>(input)?, read_nodes::<Rc<[_]>>(input)?);
        founders.insert(ordinal, Founders { members, present });
    }
    let tablets = (0..count).map(replicas).collect();
    Ok(Group { id, service, replication, tablets, founders })
}

fn put_placement(group: GroupId, replication: Placed, tablets: u32, out: &mut ByteWriter) {
    let placement = GroupPlacement { replication, tablets };
    out.put_prefixed(&Entry::CreateGroup { group, placement }.encode());
}

fn read_placement(input: &mut ByteReader) -> Result<(GroupId, Placed, u32), ShortInput> {
    let offset = input.offset();
    match Entry::decode(input.prefixed()?) {
        Ok(Entry::CreateGroup { group, placement }) => Ok((group, placement.replication, placement.tablets)),
        _ => Err(ShortInput { offset }),
    }
}

fn put_nodes(nodes: impl ExactSizeIterator<Item = NodeId>, out: &mut ByteWriter) {
    out.put_varint(nodes.len() as u64);
    nodes.for_each(|node| out.put_u128(node.0));
}

fn read_nodes<C: FromIterator<NodeId>>(input: &mut ByteReader) -> Result<C, ShortInput> {
    (0..input.count()?).map(|_| input.u128().map(NodeId)).collect()
}
