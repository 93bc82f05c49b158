//! Feature gates: what was added to formats and behaviour, and since which level of the cluster it may be used.
//!
//! A node's record says the highest level its binary knows. The leader of the metadata group raises the level of the cluster, by an
//! entry, when all members know a higher one; it never falls. So nothing is written or sent that a member could not read, and a
//! rolling upgrade needs no plan: nodes are exchanged one by one, and what is new begins when the last one is. A binary that
//! knows less than the level of the cluster is refused: at the door when it joins, at its start when it was a member.

use crate::cluster::{Changes, ClusterState};
use holon_base::{NodeId, TabletId};
use holon_kernel::{NodeRecord, plant};
use holon_placement::{NodeState, Refused};
use thiserror::Error;

/// The highest level this binary knows.
pub const LEVEL: u32 = 2;

/// Of nodes that say nothing of it: they are older than levels.
pub(crate) const LEVEL_FIRST: u32 = 1;

/// The fact of a node's record that says its level.
pub(crate) const LEVEL_FACT: &str = "level";

/// What is new, by the level that opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate(u32);

impl Gate {
    /// The metadata log may be cut, and a snapshot be handed to whoever lacks what is gone.
    pub const METADATA_SNAPSHOTS: Gate = Gate(2);
    /// A member of a tablet's consensus group goes on alone, by an entry of the log.
    pub const GROUPS_ANEW: Gate = Gate(2);
    /// A change of topology goes the other way, rather than wait for a node that was forgotten.
    pub(crate) const TURNED_CHANGES: Gate = Gate(2);
    /// Who was removed is not let in again.
    pub(crate) const REMOVED_STAY_OUT: Gate = Gate(2);

    pub(crate) fn is_open(self, level: u32) -> bool {
        level >= self.0
    }
}

/// Why an entry of the cluster's own changes nothing.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum NoChange {
    #[error("{0}")]
    Refused(#[from] Refused),
    #[error(
        "the cluster is at level {level}, the binary of node {node} knows levels up to {knows}: start a newer holon there"
    )]
    TooOld { node: NodeId, knows: u32, level: u32 },
    #[error(
        "node {node} was taken out of the cluster, and does not come back: with an empty data directory it joins as a new one"
    )]
    Removed { node: NodeId },
    #[error("the consensus group of tablet {tablet} goes on another way already, or is not here")]
    NotThat { tablet: TabletId },
    #[error("not all members know level {level} yet, or the cluster is there already")]
    NotYet { level: u32 },
}

/// What the binary of a node knows.
pub(crate) fn level_of(record: &NodeRecord) -> u32 {
    let said = record.facts.iter().find(|(name, _)| name == LEVEL_FACT);
    said.and_then(|(_, level)| level.parse().ok()).unwrap_or(LEVEL_FIRST)
}

impl ClusterState {
    pub(crate) fn check_level(&self, record: &NodeRecord) -> Result<(), NoChange> {
        let (node, knows, level) = (record.node, level_of(record), self.level);
        if knows < level { Err(NoChange::TooOld { node, knows, level }) } else { Ok(()) }
    }

    /// The highest level that all members know. Those that are forgotten never come back to read anything, and the others may need
    /// what a level opens to let them go.
    pub(crate) fn level_known(&self) -> u32 {
        if plant::get().skip_gates {
            return LEVEL;
        }
        let present = self.nodes.values().filter(|record| self.state(record.node) != Some(NodeState::Dead));
        present.map(level_of).min().unwrap_or(LEVEL_FIRST)
    }

    pub(crate) fn raise_level(&mut self, level: u32, changes: &mut Changes) -> Result<(), NoChange> {
        if level <= self.level || self.level_known() < level {
            return Err(NoChange::NotYet { level });
        }
        self.level = level;
        changes.tell.push(format!("all nodes are upgraded: the cluster is at level {level}"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster_command::ClusterCommand;
    use crate::identity::Cluster;
    use crate::options::NodeOptions;

    fn node(number: u128, level: u32) -> NodeRecord {
        let cluster = Cluster::founded_by(NodeId(1), 1);
        NodeOptions { level, ..NodeOptions::member(1, cluster) }.record(NodeId(number), 1)
    }

    #[test]
    fn the_level_rises_when_the_last_member_knows_it_and_then_keeps_older_binaries_out() {
        let mut state = ClusterState::default();
        let mut index = 0;
        let mut apply = |state: &mut ClusterState, command: ClusterCommand| {
            index += 1;
            let command = ClusterCommand::decode(command.encode()).expect("its own bytes");
            state.apply(index, command, NodeId(1)).map(|changes| changes.tell)
        };
        apply(&mut state, ClusterCommand::Node(node(1, 1))).expect("the founder");
        apply(&mut state, ClusterCommand::Node(node(2, 2))).expect("a newer one");
        assert_eq!((state.level, state.level_known()), (1, 1));
        assert_eq!(apply(&mut state, ClusterCommand::Level(2)), Err(NoChange::NotYet { level: 2 }));
        apply(&mut state, ClusterCommand::OtherFacts(node(1, 3))).expect("upgraded");
        assert_eq!(apply(&mut state, ClusterCommand::Level(3)), Err(NoChange::NotYet { level: 3 }));
        let told = apply(&mut state, ClusterCommand::Level(2)).expect("all know it");
        assert!(told[0].contains("level 2"), "{told:?}");
        assert_eq!(apply(&mut state, ClusterCommand::Level(2)), Err(NoChange::NotYet { level: 2 }));
        let too_old = NoChange::TooOld { node: NodeId(4), knows: 1, level: 2 };
        assert!(too_old.to_string().contains("start a newer holon"));
        assert_eq!(apply(&mut state, ClusterCommand::Node(node(4, 1))), Err(too_old));
        let back = apply(&mut state, ClusterCommand::OtherFacts(node(2, 1))).expect_err("a downgrade");
        assert!(matches!(back, NoChange::TooOld { .. }));
        assert_eq!(state.records().len(), 2);
        assert!(Gate::METADATA_SNAPSHOTS.is_open(state.level));
        // A cluster that begins with this binary is at its level at once.
        let mut state = ClusterState::default();
        apply(&mut state, ClusterCommand::Node(node(1, LEVEL))).expect("the founder");
        assert_eq!(state.level, LEVEL);
    }
}
