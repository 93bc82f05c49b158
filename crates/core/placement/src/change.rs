//! The words of a change of topology: what the metadata log says, what nodes are told to do.

use crate::node::{NodeInfo, Replication};
use crate::ring::{Ring, RingError};
use holon_base::{GroupId, NodeId, TabletId};
use std::collections::{BTreeMap, BTreeSet};

/// Where a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It is being filled; it owns no slot yet.
    Joining,
    Normal,
    /// It is being emptied.
    Draining,
    /// It never comes back: nobody waits for it, nothing is read from it.
    Dead,
}

/// The tablets of a group: how many, and how often each is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPlacement {
    pub replication: Replication,
    pub tablets: u32,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Join {
        node: NodeId,
        info: NodeInfo,
    },
    Drain {
        node: NodeId,
    },
    Replace {
        dead: NodeId,
        new: NodeId,
        info: NodeInfo,
    },
    /// A node stands elsewhere than was said.
    Relocate {
        node: NodeId,
        info: NodeInfo,
    },
    SetReplication {
        groups: BTreeMap<GroupId, Replication>,
    },
    /// More slots: to be proposed when [`Ring::slots_wanted`] says so, for joins never do it by themselves.
    Split {
        slots: u32,
    },
}

/// A change on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub kind: ChangeKind,
    /// The entry that started it.
    pub started: u64,
    /// The ring at its end: after a cancel the one it began with.
    pub target: Ring,
    /// It goes back.
    pub cancelled: bool,
}

/// How far the move of a tablet is. See the table in [`crate::quorum`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Planned,
    /// Those that come fetch the data; writes go to old and new; reads ask old.
    Streaming,
    /// Reads ask new; writes still go to both.
    ReadNew,
    /// Reads and writes go to new; those that left remove what they have.
    Clean,
    /// Cancelled while streaming: those that should have come remove what they have.
    Undo,
}

/// One tablet on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    pub from: Vec<NodeId>,
    pub to: Vec<NodeId>,
    pub phase: Phase,
    /// Nodes that have done what this phase asks of them.
    pub reported: BTreeSet<NodeId>,
}

impl Move {
    pub(crate) fn new(from: Vec<NodeId>, to: Vec<NodeId>) -> Move {
        Move { from, to, phase: Phase::Planned, reported: BTreeSet::new() }
    }

    /// Those that are in `to` only.
    pub fn coming(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.to.iter().copied().filter(|node| !self.from.contains(node))
    }

    /// Those that are in `from` only.
    pub fn leaving(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.from.iter().copied().filter(|node| !self.to.contains(node))
    }
}

/// An entry of the metadata log about placement.
///
/// Reports name the entry that began the phase they answer ([`Work::since`]): a proposal may be committed long after it
/// was made, when the tablet is in the same phase of another move. A report made twice, or too late, changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    CreateGroup {
        group: GroupId,
        placement: GroupPlacement,
    },
    RemoveGroup {
        group: GroupId,
    },
    Start(ChangeKind),
    /// `node` has all data of `tablet` that [`Work::Stream`] asked it to fetch, synced.
    Streamed {
        tablet: TabletId,
        node: NodeId,
        since: u64,
    },
    /// `node` has applied [`Phase::ReadNew`] of `tablet` and refuses what was routed by an older map.
    Switched {
        tablet: TabletId,
        node: NodeId,
        since: u64,
    },
    /// `node` has removed its data of `tablet`.
    Cleaned {
        tablet: TabletId,
        node: NodeId,
        since: u64,
    },
    /// Back to where the change began, if it is still the one that this entry started: whoever asks has seen that one.
    Cancel {
        started: u64,
    },
    /// The node never comes back. Drain or replace it next.
    Forget {
        node: NodeId,
    },
}

/// Why an entry changes nothing. It stays in the log; every node refuses it alike.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error("another change is on its way; wait for it or cancel it")]
    Busy,
    #[error("there is no such change to cancel (any more)")]
    NothingToCancel,
    #[error("too late to cancel: tablets would go back to a node that is dead, or to none")]
    TooLate,
    #[error("no node would have some tablets any more: change the replication of their keyspace first, or drop it")]
    Nowhere,
    #[error("tablets would go to node {0}, which is dead: drain or replace it first")]
    ToTheDead(NodeId),
    #[error("group {0:?} exists already")]
    GroupExists(GroupId),
    #[error("there is no group {0:?}")]
    NoGroup(GroupId),
    #[error("replication or number of tablets is out of bounds")]
    InvalidPlacement,
    #[error("node {0} is not a member")]
    NoMember(NodeId),
    /// The entry is before the last one applied.
    #[error("entry {0} was applied already")]
    Old(u64),
}

/// What an entry did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Their replicas are others than before: readers, writers, or what their nodes have to do.
    pub changed: Vec<TabletId>,
    /// It ended with this entry; the ring is a new one.
    pub finished: Option<Change>,
    /// No living replica has their data: they begin again empty.
    pub lost: Vec<TabletId>,
    /// The dead that have left the ring with the change that ended, besides whom it was about.
    pub left: Vec<NodeId>,
    /// The change on its way goes another way: see [`Topology::forget`](crate::Topology::forget).
    pub turned: bool,
    /// It would have to, and whichever way it goes a tablet would be left to the dead: it waits.
    pub stuck: bool,
}

impl Effects {
    /// What followed from the same entry.
    pub fn merge(&mut self, next: Effects) {
        self.changed.extend(next.changed);
        self.lost.extend(next.lost);
        self.left.extend(next.left);
        self.finished = self.finished.take().or(next.finished);
        (self.turned, self.stuck) = (self.turned || next.turned, self.stuck || next.stuck);
    }
}

/// What a node has to do now, then propose [`Work::report`]. It asks again after a restart, and may do things twice.
///
/// `since` is the entry that began the phase. What was done for an earlier one does not count: the copy may have been
/// removed in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Fetch the tablet: all of it from `instead_of`, or from `enough` of `sources`, merged. A source answers only after
    /// it has applied this phase. No sources: the data is lost, begin empty.
    Stream { tablet: TabletId, since: u64, sources: Vec<NodeId>, enough: usize, instead_of: Option<NodeId> },
    /// Nothing but to have applied the phase.
    Switch { tablet: TabletId, since: u64 },
    /// Remove the data of the tablet.
    Clean { tablet: TabletId, since: u64 },
}

impl Work {
    pub fn tablet(&self) -> TabletId {
        match self {
            Work::Stream { tablet, .. } | Work::Switch { tablet, .. } | Work::Clean { tablet, .. } => *tablet,
        }
    }

    /// The entry that began the phase which asks for it.
    pub fn since(&self) -> u64 {
        match self {
            Work::Stream { since, .. } | Work::Switch { since, .. } | Work::Clean { since, .. } => *since,
        }
    }

    /// What `node` proposes when it has done it.
    pub fn report(&self, node: NodeId) -> Entry {
        match *self {
            Work::Stream { tablet, since, .. } => Entry::Streamed { tablet, node, since },
            Work::Switch { tablet, since } => Entry::Switched { tablet, node, since },
            Work::Clean { tablet, since } => Entry::Cleaned { tablet, node, since },
        }
    }
}
