//! The machine of the cluster itself: its nodes and where tablets are. Moved on by committed entries, the same everywhere.
//!
//! A node is a member when the log has its record; it holds tablets when a change of topology has brought it into the
//! ring ([`crate::direct`] starts those).

use crate::cluster_command::ClusterCommand;
use crate::gate::{Gate, LEVEL_FIRST, NoChange, level_of};
use crate::recover::TERMS_AHEAD;
use holon_base::{GroupId, NodeId, ServiceId, TabletId};
use holon_kernel::{Founders, MetadataEffect, NodeRecord, Replicas, Replication, TabletDescriptor};
use holon_placement::{
    Change, ChangeKind, Effects, Entry, GroupPlacement, NodeInfo, NodeState, Refused, Replication as Placed,
    TabletReplicas, Topology, Work,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;

/// Commands that are remembered, so that one which was proposed twice takes effect once. A proposer gives up long before
/// so many others have followed.
const REMEMBERED_COMMANDS: usize = 4096;

/// Nodes that are gone for good and may still have to hear of it.
const REMOVED_MAX: usize = 64;

/// The tablets of one table (topic, …).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub id: GroupId,
    pub service: ServiceId,
    pub replication: Replication,
    /// By ordinal.
    pub tablets: Vec<Replicas>,
    /// Of those tablets that have a consensus group, by ordinal.
    pub founders: BTreeMap<u32, Founders>,
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

/// What an applied entry changes for a node.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) open: Vec<TabletDescriptor>,
    pub(crate) remove: Vec<TabletDescriptor>,
    /// The nodes are others, or elsewhere.
    pub(crate) nodes: bool,
    /// Tablets move, or do so in another way: there may be work.
    pub(crate) moves: bool,
    /// For people.
    pub(crate) tell: Vec<String>,
}

/// Its stored form is in [`crate::cluster_codec`].
pub(crate) struct ClusterState {
    /// What all members know: see [`crate::gate`].
    pub(crate) level: u32,
    pub(crate) nodes: BTreeMap<NodeId, NodeRecord>,
    pub(crate) records: Rc<[NodeRecord]>,
    pub(crate) groups: BTreeMap<GroupId, Group>,
    /// `None` before the first node's entry.
    pub(crate) topology: Option<Topology>,
    /// Groups that are to have other replicas, when the change on its way has ended.
    pub(crate) replication_waiting: BTreeMap<GroupId, Placed>,
    /// Nodes that came, or will come, to take the place of another.
    pub(crate) replacements: BTreeMap<NodeId, NodeId>,
    /// Members that an administrator has given up: they leave the ring as soon as no other change is on its way.
    pub(crate) forgotten: BTreeSet<NodeId>,
    /// Members that are gone for good, the latest last, and where they were reached: they may come back and ask.
    pub(crate) removed: VecDeque<(NodeId, SocketAddr)>,
    /// Moves of the change on its way when it began, or when it was cancelled.
    pub(crate) moves_in_all: usize,
    /// The term of the entry applied last, and those entries (index, term) by which the log was begun anew.
    pub(crate) term: u64,
    pub(crate) begun_anew: Vec<(u64, u64)>,
    pub(crate) remembered: VecDeque<u128>,
    pub(crate) known: BTreeSet<u128>,
}

impl Default for ClusterState {
    fn default() -> ClusterState {
        ClusterState {
            level: LEVEL_FIRST,
            nodes: BTreeMap::new(),
            records: Rc::new([]),
            groups: BTreeMap::new(),
            topology: None,
            replication_waiting: BTreeMap::new(),
            replacements: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            removed: VecDeque::new(),
            moves_in_all: 0,
            term: 0,
            begun_anew: Vec::new(),
            remembered: VecDeque::new(),
            known: BTreeSet::new(),
        }
    }
}

pub(crate) fn placed(replication: &Replication) -> Placed {
    match replication {
        Replication::Simple { factor } => Placed::Simple { factor: *factor },
        Replication::PerDataCenter { factors } => Placed::NetworkTopology { factors: factors.clone() },
    }
}

/// The reverse of [`placed`]; `None` for what no service asks for.
pub(crate) fn kernel_replication(placed: Placed) -> Option<Replication> {
    match placed {
        Placed::Simple { factor } => Some(Replication::Simple { factor }),
        Placed::NetworkTopology { factors } => Some(Replication::PerDataCenter { factors }),
        Placed::Everywhere | Placed::Local => None,
    }
}

/// A tablet's replicas as the topology gives them.
pub(crate) fn kernel_replicas(of: TabletReplicas) -> Replicas {
    Replicas { readers: of.readers.into(), joint: of.joint.into(), since: of.since }
}

pub(crate) fn info_of(record: &NodeRecord) -> NodeInfo {
    NodeInfo::new(&record.data_center, &record.rack, record.shards)
}

/// What became of the change on its way when a node was forgotten that alone was to have what others have now.
fn turned_text(node: NodeId, effects: &Effects, change: Option<&Change>) -> Option<String> {
    let why = "tablets that live elsewhere were to go there alone";
    let goes_back = change.or(effects.finished.as_ref()).is_some_and(|change| change.cancelled);
    match (effects.turned, effects.stuck) {
        (true, _) => {
            let how = if goes_back { "is undone" } else { "is carried out" };
            Some(format!(
                "node {node} is forgotten, and {why}: the change on its way {how}, as far as it can be without"
            ))
        }
        (_, true) => Some(format!("node {node} is forgotten, and {why}: the change on its way waits")),
        _ => None,
    }
}

impl ClusterState {
    pub(crate) fn records(&self) -> Rc<[NodeRecord]> {
        self.records.clone()
    }

    pub(crate) fn record(&self, node: NodeId) -> Option<&NodeRecord> {
        self.nodes.get(&node)
    }

    /// The dead node whose place this one is to take.
    pub(crate) fn replaced_by(&self, new: NodeId) -> Option<NodeId> {
        self.replacements.get(&new).copied().filter(|dead| self.state(*dead).is_some())
    }

    pub(crate) fn forgotten(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.forgotten.iter().copied()
    }

    /// Members that are gone for good, the latest ones.
    pub(crate) fn removed(&self) -> impl Iterator<Item = (NodeId, SocketAddr)> + '_ {
        self.removed.iter().copied()
    }

    pub(crate) fn was_removed(&self, node: NodeId) -> bool {
        self.removed().any(|(removed, _)| removed == node)
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    pub(crate) fn topology(&self) -> Option<&Topology> {
        self.topology.as_ref()
    }

    /// Moves of the change on its way, those that are done included.
    pub(crate) fn moves_in_all(&self) -> usize {
        self.moves_in_all
    }

    pub(crate) fn replicas(&self, tablet: TabletId) -> Option<Replicas> {
        self.groups.get(&tablet.group())?.tablets.get(tablet.ordinal() as usize).cloned()
    }

    pub(crate) fn founders(&self, tablet: TabletId) -> Option<Founders> {
        self.groups.get(&tablet.group())?.founders.get(&tablet.ordinal()).cloned()
    }

    /// The readers of this moment begin the tablet's consensus group, unless others have before.
    fn found(&mut self, tablet: TabletId) {
        let Some(group) = self.groups.get_mut(&tablet.group()) else { return };
        let Some(replicas) = group.tablets.get(tablet.ordinal() as usize) else { return };
        let members = replicas.readers.clone();
        let founders = || Founders { present: members.clone(), members, anew: None };
        group.founders.entry(tablet.ordinal()).or_insert_with(founders);
    }

    /// One member goes on alone, unless another one has since: two of them would both decide.
    fn found_anew(&mut self, index: u64, tablet: TabletId, node: NodeId, known: u64) -> Result<(), NoChange> {
        let holds = self.replicas(tablet).is_some_and(|replicas| replicas.holds(node));
        let group = self.groups.get_mut(&tablet.group());
        let founders = group.and_then(|group| group.founders.get_mut(&tablet.ordinal()));
        let founders = founders.filter(|founders| founders.anew.map_or(0, |(_, index)| index) == known && holds);
        let founders = founders.ok_or(NoChange::NotThat { tablet })?;
        founders.anew = Some((node, index));
        Ok(())
    }

    /// A node no longer has what it promised as a member of the tablet's consensus group.
    fn forgot(&mut self, tablet: TabletId, node: NodeId) {
        let Some(group) = self.groups.get_mut(&tablet.group()) else { return };
        if let Some(founders) = group.founders.get_mut(&tablet.ordinal()) {
            founders.present = founders.present.iter().copied().filter(|present| *present != node).collect();
            founders.anew = founders.anew.map(|(alone, index)| (if alone == node { NodeId(0) } else { alone }, index));
        }
    }

    pub(crate) fn descriptor(&self, tablet: TabletId) -> Option<TabletDescriptor> {
        let (group, ordinal) = (self.groups.get(&tablet.group())?, tablet.ordinal() as usize);
        (ordinal < group.tablets.len()).then(|| group.descriptor(ordinal))
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
    ///
    /// # Errors
    /// Why the entry changes nothing.
    pub(crate) fn apply(&mut self, index: u64, command: ClusterCommand, me: NodeId) -> Result<Changes, NoChange> {
        let mut changes = Changes::default();
        match command {
            ClusterCommand::Node(record) => {
                self.check_level(&record)?;
                let (node, info) = (record.node, info_of(&record));
                // Members ask for it until it is committed, so it may come when the node has been here and is gone.
                if Gate::REMOVED_STAY_OUT.is_open(self.level) && self.was_removed(node) {
                    return Err(NoChange::Removed { node });
                }
                if self.topology.is_none() {
                    self.level = level_of(&record); // the founder: there is nobody else
                }
                self.nodes.insert(node, record);
                self.removed.retain(|(removed, _)| *removed != node);
                if self.topology.is_none() {
                    self.topology = Some(Topology::first(node, info).map_err(Refused::from)?);
                    // Tables that are older than the first node's entry: of a time when it was alone.
                    let ids: Vec<GroupId> = self.groups.keys().copied().collect();
                    ids.into_iter().for_each(|id| self.create(index, id, me, &mut changes));
                }
                changes.nodes = true;
            }
            ClusterCommand::OtherFacts(record) => {
                self.check_level(&record)?;
                if let Some(known) = self.nodes.get_mut(&record.node) {
                    *known = record;
                    changes.nodes = true;
                }
            }
            ClusterCommand::RemoveNode(node) => {
                changes.nodes = self.remove_node(node);
            }
            ClusterCommand::Placement(entry) => {
                self.place(index, &entry, me, &mut changes)?;
                match entry {
                    Entry::Cleaned { tablet, node, .. } => self.forgot(tablet, node),
                    Entry::Forget { node } if self.state(node).is_some() => drop(self.forgotten.insert(node)),
                    _ => {}
                }
            }
            ClusterCommand::Found(tablet) => self.found(tablet),
            ClusterCommand::FoundAnew { tablet, node, known } => self.found_anew(index, tablet, node, known)?,
            ClusterCommand::Level(level) => self.raise_level(level, &mut changes)?,
            ClusterCommand::Replacement { new, dead } => {
                // Whatever is on its way goes on without the dead node: it would wait for ever, and the replacement for it.
                self.place(index, &Entry::Forget { node: dead }, me, &mut changes)?;
                self.replacements.insert(new, dead);
            }
        }
        self.publish(&changes);
        Ok(changes)
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
                // Those it has given away, and was about to remove, nobody else will tell it of any more.
                let of_group = |work: &Work| matches!(work, Work::Clean { tablet, .. } if tablet.group() == *id);
                let work = self.topology.iter().flat_map(|topology| topology.next_work(me));
                let left = work.filter(of_group).map(|work| group.descriptor(work.tablet().ordinal() as usize));
                changes.remove.extend(left);
                self.replication_waiting.remove(id);
                // There is none if it could not be placed.
                let _ = self.place(index, &Entry::RemoveGroup { group: *id }, me, &mut changes);
            }
        }
        if let Some(made) = &effect.create_tablets {
            let id = GroupId(index);
            let (tablets, founders) = (vec![Replicas::default(); made.count as usize], BTreeMap::new());
            self.groups.insert(id, Group { id, service, replication: made.replication.clone(), tablets, founders });
            self.create(index, id, me, &mut changes);
        }
        for (id, replication) in &effect.set_replication {
            if let Some(group) = self.groups.get_mut(id).filter(|group| group.service == service) {
                group.replication = replication.clone();
                self.replication_waiting.insert(*id, placed(replication));
            }
        }
        self.start_waiting(index, me, &mut changes);
        self.publish(&changes);
        changes
    }

    fn create(&mut self, index: u64, id: GroupId, me: NodeId, changes: &mut Changes) {
        let Some(group) = self.groups.get(&id) else { return };
        let placement = GroupPlacement { replication: placed(&group.replication), tablets: group.tablets.len() as u32 };
        if let Err(refused) = self.place(index, &Entry::CreateGroup { group: id, placement }, me, changes) {
            changes.tell.push(format!("the tablets of group {} are nowhere: {refused}", id.0));
        }
    }

    /// A changed replication factor waits for the change on its way; then all that wait begin together.
    fn start_waiting(&mut self, index: u64, me: NodeId, changes: &mut Changes) {
        let idle = self.topology.as_ref().is_some_and(|topology| topology.change().is_none());
        if idle && !self.replication_waiting.is_empty() {
            let groups = std::mem::take(&mut self.replication_waiting);
            let Err(refused) = self.set_replication(index, groups.clone(), me, changes) else { return };
            // One that cannot be must not keep the others waiting.
            let mut left = groups.into_iter();
            for (id, placed) in left.by_ref() {
                match self.set_replication(index, BTreeMap::from([(id, placed.clone())]), me, changes) {
                    Ok(()) => break,
                    // Tried again after the next change: that takes the dead node out, perhaps.
                    Err(Refused::ToTheDead(_)) => drop(self.replication_waiting.insert(id, placed)),
                    Err(_) => {}
                }
            }
            self.replication_waiting.extend(left);
            let waits = if self.replication_waiting.is_empty() { "cannot be reached" } else { "waits" };
            changes.tell.push(format!("another replication factor {waits}: {refused}"));
        }
    }

    fn set_replication(
        &mut self,
        index: u64,
        groups: BTreeMap<GroupId, Placed>,
        me: NodeId,
        changes: &mut Changes,
    ) -> Result<(), Refused> {
        self.place(index, &Entry::Start(ChangeKind::SetReplication { groups }), me, changes)
    }

    fn place(&mut self, index: u64, entry: &Entry, me: NodeId, changes: &mut Changes) -> Result<(), Refused> {
        let Some(topology) = &mut self.topology else { return Ok(()) };
        let changes_turn = Gate::TURNED_CHANGES.is_open(self.level);
        let mut effects = match entry {
            Entry::Forget { node } if changes_turn => topology.forget(index, *node)?,
            entry => topology.apply(index, entry)?,
        };
        match entry {
            Entry::Forget { node } => changes.tell.extend(turned_text(*node, &effects, topology.change())),
            // Older nodes do not tell of those, and so keep their groups.
            Entry::Cancel { .. } if !changes_turn => effects.lost.clear(),
            _ => {}
        }
        let turns = effects.turned || matches!(entry, Entry::Start(_) | Entry::Cancel { .. });
        changes.moves = true;
        if turns {
            let (planned, active) = topology.moves();
            self.moves_in_all = planned.len() + active.len();
        }
        for tablet in &effects.lost {
            changes.tell.push(format!("no node that lives has the data of tablet {tablet}: it begins again empty"));
            // Nor has anybody what its consensus group has decided: that begins again with it.
            if let Some(group) = self.groups.get_mut(&tablet.group()) {
                group.founders.remove(&tablet.ordinal());
            }
        }
        for tablet in effects.changed {
            let (id, ordinal) = (tablet.group(), tablet.ordinal());
            let Some(now) = topology.replicas(tablet) else { continue };
            let Some(group) = self.groups.get_mut(&id) else { continue };
            let before = std::mem::replace(&mut group.tablets[ordinal as usize], kernel_replicas(now));
            if group.tablets[ordinal as usize].holds(me) && !before.holds(me) {
                changes.open.push(group.descriptor(ordinal as usize));
            }
        }
        if effects.finished.is_some() || turns {
            self.follow_ring();
        }
        if let Some(change) = effects.finished {
            self.finished(&change, changes);
            for node in effects.left {
                self.remove_node(node);
                changes.tell.push(format!("node {node}, which was forgotten, is gone"));
            }
            self.start_waiting(index, me, changes);
        }
        Ok(())
    }

    /// The ring is another one: of tablets that do not move the order of the replicas may be another all the same. It has to be the
    /// same everywhere, also where it was read from a snapshot: the first of them looks after the others.
    fn follow_ring(&mut self) {
        let Some(topology) = &self.topology else { return };
        for group in self.groups.values_mut() {
            let id = group.id;
            for (ordinal, replicas) in group.tablets.iter_mut().enumerate() {
                let Some(now) = topology.replicas(TabletId::new(id, ordinal as u32)) else { continue };
                let same = *now.readers == *replicas.readers && *now.joint == *replicas.joint;
                if !same {
                    *replicas = kernel_replicas(now);
                }
            }
        }
    }

    fn finished(&mut self, change: &Change, changes: &mut Changes) {
        let (text, gone) = match (&change.kind, change.cancelled) {
            (ChangeKind::Join { node, .. }, false) => (format!("node {node} has joined"), None),
            (ChangeKind::Drain { node }, false) => (format!("node {node} is drained and gone"), Some(*node)),
            (ChangeKind::Replace { dead, new, .. }, false) => {
                (format!("node {new} has taken the place of {dead}"), Some(*dead))
            }
            (ChangeKind::SetReplication { .. }, false) => ("the new replication factor is reached".to_string(), None),
            (ChangeKind::Split { slots }, false) => (format!("the ring has {slots} slots"), None),
            (ChangeKind::Relocate { node, .. }, false) => (format!("node {node} stands elsewhere"), None),
            // Left to itself it would be taken in again.
            (ChangeKind::Join { node, .. } | ChangeKind::Replace { new: node, .. }, true) => {
                (format!("the join of node {node} is undone"), Some(*node))
            }
            (_, true) => ("the change of topology is undone".to_string(), None),
        };
        if let Some(gone) = gone {
            self.remove_node(gone);
        }
        changes.nodes = true;
        changes.tell.push(text);
    }

    fn remove_node(&mut self, node: NodeId) -> bool {
        self.replacements.retain(|new, dead| *new != node && *dead != node);
        self.forgotten.remove(&node);
        let Some(record) = self.nodes.remove(&node) else { return false };
        self.removed.push_back((node, record.address));
        if self.removed.len() > REMOVED_MAX {
            self.removed.pop_front();
        }
        true
    }

    /// What has changed for a node since `before`, which is any number of entries older. What it gives away of a table that
    /// is still there, it removes when the work on moves tells it to.
    pub(crate) fn changed_since(&self, before: &ClusterState, me: NodeId) -> Changes {
        let held = |state: &ClusterState| {
            let all = state.groups.values().flat_map(|group| group.held_by(me));
            all.map(|descriptor| (descriptor.id, descriptor)).collect::<BTreeMap<_, _>>()
        };
        let (had, has) = (held(before), held(self));
        // Those it had given away already, and was about to remove.
        let work = before.topology.iter().flat_map(|topology| topology.next_work(me));
        let cleaned = work.filter(|work| matches!(work, Work::Clean { .. })).map(|work| work.tablet());
        let cleaned = cleaned.filter_map(|tablet| before.descriptor(tablet));
        let gone = |one: &TabletDescriptor| !self.groups.contains_key(&one.group);
        Changes {
            open: has.iter().filter(|(id, _)| !had.contains_key(id)).map(|(_, one)| *one).collect(),
            remove: had.values().copied().chain(cleaned).filter(gone).collect(),
            nodes: true,
            moves: true,
            tell: Vec::new(),
        }
    }

    /// An entry of this term is applied: terms leap where the log was begun anew.
    pub(crate) fn saw_term(&mut self, index: u64, term: u64) {
        if self.term > 0 && term >= self.term + TERMS_AHEAD {
            self.begun_anew.push((index, term));
        }
        self.term = self.term.max(term);
    }

    fn publish(&mut self, changes: &Changes) {
        if changes.nodes {
            self.publish_nodes();
        }
    }

    pub(crate) fn publish_nodes(&mut self) {
        let mut tokens = self.topology.as_ref().map(|topology| topology.ring().tokens()).unwrap_or_default();
        for (node, record) in &mut self.nodes {
            record.tokens = tokens.remove(node).unwrap_or_default().into();
        }
        self.records = self.nodes.values().cloned().collect();
    }

    /// Where a member stands; `None`: it is no member, or not in the ring yet.
    pub(crate) fn state(&self, node: NodeId) -> Option<NodeState> {
        self.topology.as_ref()?.state(node)
    }
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
