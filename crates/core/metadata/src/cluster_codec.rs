//! The bytes of the cluster's machine, for snapshots of the metadata log: whoever reads one goes on as if it had applied
//! every entry up to it.
//!
//! ```text
//!   state       = version:u8 level:u32 count record* topology replicas waiting replacements forgotten removed
//!                 moves_in_all term:u64 count (index:u64 term:u64)* remembered       (where the log was begun anew)
//!   topology    = present:u8 length bytes            (of holon-placement)
//!   replicas    = count (service:u16 placement founders)*
//!   placement   = length bytes                       (an entry that would make the group: id, replication, tablets)
//!   founders    = count (ordinal member* present* anew:u128 index:u64)*          (0: none has gone on alone)
//! ```

use crate::cluster::{ClusterState, Group, kernel_replicas, kernel_replication, placed};
use crate::cluster_command::{put_record, read_record};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, GroupId, NodeId, ServiceId, ShortInput, TabletId};
use holon_kernel::Founders;
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
                let (node, index) = founders.anew.unwrap_or((NodeId(0), 0));
                out.put_u128(node.0);
                out.put_u64(index);
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
        out.put_u64(self.term);
        out.put_varint(self.begun_anew.len() as u64);
        for (index, term) in &self.begun_anew {
            out.put_u64(*index);
            out.put_u64(*term);
        }
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
        state.term = input.u64()?;
        for _ in 0..input.count()? {
            state.begun_anew.push((input.u64()?, input.u64()?));
        }
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
        now.map(kernel_replicas).unwrap_or_default() // it could not be placed
    };
    let mut founders = BTreeMap::new();
    for _ in 0..input.count()? {
        let ordinal = input.u32()?;
        let (members, present) = (read_nodes::<Rc<[_]>>(input)?, read_nodes::<Rc<[_]>>(input)?);
        let anew = Some((NodeId(input.u128()?), input.u64()?)).filter(|(_, index)| *index > 0);
        founders.insert(ordinal, Founders { members, present, anew });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::info_of;
    use crate::cluster_command::ClusterCommand;
    use crate::identity::Cluster;
    use crate::options::NodeOptions;
    use holon_base::Random;
    use holon_kernel::{MetadataEffect, NewTablets, NodeRecord, Replication};
    use holon_placement::{ChangeKind, Entry};

    const SERVICE: ServiceId = ServiceId(9);

    fn record(number: u128) -> NodeRecord {
        let options = NodeOptions::member(1, Cluster::founded_by(NodeId(1), 1));
        NodeRecord { address: ([10, 0, 0, number as u8], 7000).into(), ..options.record(NodeId(number), 2) }
    }

    /// What may come next, of all kinds: some of it is refused.
    fn change(state: &ClusterState, index: u64, random: &mut Random) -> Result<ClusterCommand, MetadataEffect> {
        let number = u128::from(random.range(1, 6));
        let node = NodeId(number);
        let groups: Vec<GroupId> = state.groups().map(|group| group.id).collect();
        let group = groups.get(random.below(groups.len().max(1) as u64) as usize).copied().unwrap_or(GroupId(1));
        let replication = Replication::Simple { factor: random.range(1, 4) as u32 };
        let tablet = TabletId::new(group, random.below(4) as u32);
        let split = state.topology().map(|topology| topology.ring().slots() * 2).filter(|slots| *slots <= 256);
        Ok(match random.below(17) {
            16 if split.is_some() && random.chance(1, 4) => {
                ClusterCommand::Placement(Entry::Start(ChangeKind::Split { slots: split.unwrap_or_default() }))
            }
            0 | 1 => ClusterCommand::Node(record(number)),
            2 if random.chance(1, 4) => ClusterCommand::RemoveNode(node),
            3 => ClusterCommand::Placement(Entry::Start(ChangeKind::Join { node, info: info_of(&record(number)) })),
            4 if random.chance(1, 3) => ClusterCommand::Placement(Entry::Start(ChangeKind::Drain { node })),
            5 if random.chance(1, 4) => ClusterCommand::Placement(Entry::Forget { node }),
            6 if random.chance(1, 4) => {
                ClusterCommand::FoundAnew { tablet, node, known: random.below(2) * (index - 1) }
            }
            6 => ClusterCommand::Found(tablet),
            7 if random.chance(1, 4) => ClusterCommand::Replacement { new: NodeId(number + 5), dead: node },
            8 if groups.len() < 5 => {
                let create_tablets = Some(NewTablets { count: 4, replication });
                return Err(MetadataEffect { create_tablets, ..MetadataEffect::default() });
            }
            9 => {
                return Err(MetadataEffect {
                    set_replication: vec![(group, replication)],
                    ..MetadataEffect::default()
                });
            }
            10 if random.chance(1, 4) => {
                return Err(MetadataEffect { remove_groups: vec![group], ..MetadataEffect::default() });
            }
            _ => {
                let topology = state.topology();
                let work = topology.and_then(|topology| topology.next_work(node).into_iter().next());
                let nothing = ClusterCommand::Placement(Entry::Cancel { started: index });
                work.map_or(nothing, |work| ClusterCommand::Placement(work.report(node)))
            }
        })
    }

    #[test]
    fn who_reads_a_snapshot_goes_on_as_if_it_had_applied_every_entry() {
        let (mut moving, mut waiting, mut founded) = (0, 0, 0);
        for seed in 0..300 {
            let mut random = Random::new(seed);
            let (mut state, mut copy) = (ClusterState::default(), None);
            for index in 1..=200 {
                let me = NodeId(u128::from(seed % 5) + 1);
                let id = u128::from(random.next_u64());
                let next = change(&state, index, &mut random);
                let apply = |state: &mut ClusterState| {
                    let is_new = state.is_new(id);
                    match &next {
                        Ok(command) => (is_new, state.apply(index, command.clone(), me).ok()),
                        Err(effect) => (is_new, Some(state.apply_effect(index, SERVICE, effect, me))),
                    }
                };
                let changed = apply(&mut state);
                if let Some(copy) = &mut copy {
                    assert_eq!(apply(copy), changed, "seed {seed}, entry {index}");
                    assert_eq!(copy.encode(), state.encode(), "seed {seed}, entry {index}");
                }
                if random.chance(1, 40) {
                    let again = ClusterState::decode(state.encode()).expect("its own bytes");
                    assert_eq!(again.encode(), state.encode());
                    assert_eq!(again.records(), state.records());
                    assert!(again.groups().eq(state.groups()), "seed {seed}, entry {index}");
                    copy = Some(again);
                }
                moving += u64::from(state.topology().is_some_and(|topology| topology.change().is_some()));
                waiting += state.replication_waiting.len();
                founded += state.groups().map(|group| group.founders.len()).sum::<usize>();
            }
        }
        assert!(moving > 1000 && waiting > 100 && founded > 1000, "{moving} {waiting} {founded}");
    }

    #[test]
    fn what_changed_in_between_is_what_the_entries_would_have_changed() {
        let mut compared = 0;
        for seed in 0..200 {
            let mut random = Random::new(seed + 1000);
            let (mut state, me) = (ClusterState::default(), NodeId(1));
            let mut before = ClusterState::default();
            for index in 1..=150 {
                match change(&state, index, &mut random) {
                    Ok(command) => drop(state.apply(index, command, me)),
                    Err(effect) => drop(state.apply_effect(index, SERVICE, &effect, me)),
                }
                if random.chance(1, 30) {
                    let later = ClusterState::decode(state.encode()).expect("its own bytes");
                    let changes = later.changed_since(&before, me);
                    let held = |state: &ClusterState| -> BTreeSet<TabletId> {
                        state
                            .groups()
                            .flat_map(|group| group.held_by(me).map(|one| one.id).collect::<Vec<_>>())
                            .collect()
                    };
                    let mut jumped = held(&before);
                    jumped.retain(|tablet| !changes.remove.iter().any(|gone| gone.id == *tablet));
                    changes.open.iter().for_each(|come| assert!(jumped.insert(come.id)));
                    assert!(held(&later).is_subset(&jumped));
                    // What is left over is of tables that are there, and is removed when the map says so, or with the node.
                    let left: Vec<TabletId> = jumped.difference(&held(&later)).copied().collect();
                    assert!(left.iter().all(|tablet| later.groups.contains_key(&tablet.group())));
                    compared += changes.open.len() + changes.remove.len();
                    before = later;
                }
            }
        }
        assert!(compared > 200, "{compared}");
    }
}
