//! The machine of the cluster itself: its nodes and the tablet map. Moved on by committed entries, the same everywhere.
//!
//! ```text
//!   command = version:u8 kind:u8 body
//!   body    = 1: a node has come, or has other facts: node:u128 address:text data center:text rack:text shards:u16
//!                count (name:text value:text)*
//!           | 2: a node is gone for good: node:u128
//! ```

use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, GroupId, NodeId, ServiceId, ShortInput, TabletId};
use holon_kernel::{MetadataEffect, NodeRecord, Replicas, Replication, TabletDescriptor};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

const VERSION: u8 = 1;
const NODE: u8 = 1;
const REMOVE_NODE: u8 = 2;

/// Commands that are remembered, so that one which was proposed twice takes effect once. A proposer gives up long before
/// so many others have followed.
const REMEMBERED_COMMANDS: usize = 4096;

/// The tablets of one table (topic, …).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub id: GroupId,
    pub service: ServiceId,
    pub replication: Replication,
    /// By ordinal.
    pub tablets: Vec<Replicas>,
}

impl Group {
    fn descriptor(&self, ordinal: usize) -> TabletDescriptor {
        TabletDescriptor {
            id: TabletId::new(self.id, ordinal as u32),
            service: self.service,
            group: self.id,
            ordinal: ordinal as u32,
            count: self.tablets.len() as u32,
        }
    }

    /// The tablets of which a node holds a replica.
    pub fn held_by(&self, node: NodeId) -> impl Iterator<Item = TabletDescriptor> + '_ {
        let held =
            move |(ordinal, replicas): (usize, &Replicas)| replicas.holds(node).then(|| self.descriptor(ordinal));
        self.tablets.iter().enumerate().filter_map(held)
    }
}

/// What an entry of the cluster's own says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClusterCommand {
    Node(NodeRecord),
    RemoveNode(NodeId),
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
            ClusterCommand::RemoveNode(node) => {
                out.put_u8(REMOVE_NODE);
                out.put_u128(node.0);
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

/// What an applied entry changes for a node.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) open: Vec<TabletDescriptor>,
    pub(crate) remove: Vec<TabletDescriptor>,
    /// The nodes are others, or elsewhere.
    pub(crate) nodes: bool,
}

#[derive(Default)]
pub(crate) struct ClusterState {
    nodes: BTreeMap<NodeId, NodeRecord>,
    records: Rc<[NodeRecord]>,
    groups: BTreeMap<GroupId, Group>,
    remembered: VecDeque<u128>,
    known: BTreeSet<u128>,
}

impl ClusterState {
    pub(crate) fn records(&self) -> Rc<[NodeRecord]> {
        self.records.clone()
    }

    pub(crate) fn record(&self, node: NodeId) -> Option<&NodeRecord> {
        self.nodes.get(&node)
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    pub(crate) fn replicas(&self, tablet: TabletId) -> Option<Replicas> {
        let group = self.groups.get(&GroupId(tablet.0 / TabletId::PER_ENTRY_MAX))?;
        group.tablets.get((tablet.0 % TabletId::PER_ENTRY_MAX) as usize).cloned()
    }

    /// Whether this command is here for the first time.
    pub(crate) fn is_new(&mut self, id: u128) -> bool {
        if id == 0 {
            return true;
        }
        if !self.known.insert(id) {
            return false;
        }
        self.remembered.push_back(id);
        if self.remembered.len() > REMEMBERED_COMMANDS
            && let Some(oldest) = self.remembered.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }

    /// Applies an entry of the cluster's own at `index`; `me` asks what it changes for it.
    pub(crate) fn apply(&mut self, index: u64, command: ClusterCommand, me: NodeId) -> Changes {
        let mut changes = Changes { nodes: true, ..Changes::default() };
        match command {
            ClusterCommand::Node(record) => {
                let first = self.nodes.is_empty();
                self.nodes.insert(record.node, record);
                if first {
                    // Tables that are older than the first node's entry: of a time when it was alone.
                    let ids: Vec<GroupId> = self.groups.keys().copied().collect();
                    ids.into_iter().for_each(|id| self.place(index, id));
                    let held = self.groups.values().flat_map(|group| group.held_by(me));
                    changes.open = held.collect();
                }
            }
            ClusterCommand::RemoveNode(node) => {
                self.nodes.remove(&node);
            }
        }
        self.publish();
        changes
    }

    /// Applies what a service made of its entry at `index`.
    pub(crate) fn apply_effect(
        &mut self,
        index: u64,
        service: ServiceId,
        effect: &MetadataEffect,
        me: NodeId,
    ) -> Changes {
        let mut changes = Changes::default();
        for id in &effect.remove_groups {
            // Of another service, or gone: a service disposes of its own groups only.
            if self.groups.get(id).is_some_and(|group| group.service == service)
                && let Some(group) = self.groups.remove(id)
            {
                changes.remove.extend(group.held_by(me));
            }
        }
        if let Some(made) = &effect.create_tablets {
            let id = GroupId(index);
            let tablets = vec![Replicas::default(); made.count as usize];
            self.groups.insert(id, Group { id, service, replication: made.replication.clone(), tablets });
            self.place(index, id);
            changes.open.extend(self.groups.get(&id).into_iter().flat_map(|group| group.held_by(me)));
        }
        changes
    }

    fn place(&mut self, index: u64, id: GroupId) {
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        let Some(group) = self.groups.get_mut(&id) else { return };
        let Replication::Simple { factor } = group.replication else { return };
        for (ordinal, replicas) in group.tablets.iter_mut().enumerate() {
            let readers = (0..nodes.len().min(factor as usize)).map(|at| nodes[(ordinal + at) % nodes.len()]);
            *replicas = Replicas { readers: readers.collect(), since: index, ..Replicas::default() };
        }
    }

    fn publish(&mut self) {
        self.records = self.nodes.values().cloned().collect();
    }
}
