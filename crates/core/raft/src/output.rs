//! What a machine wants done, collected for whoever drives it.
//!
//! One `Output` may be passed to several calls before it is looked at; everything in it is in order. The driver
//! 1. makes the `saves` durable, in order, and calls [`crate::Raft::saved`] when they are,
//! 2. sends `messages`: at once, they wait for nothing (what promises something was held back until it was durable),
//! 3. loads `restore` if there is one, then applies `committed`.

use bytes::Bytes;
use holon_base::NodeId;

use crate::entry::{Entry, HardState, Members, Snapshot};
use crate::message::Message;

#[derive(Clone, Debug, Default)]
pub struct Output {
    /// In order; numbers rise by one. Several may be under way; they must become durable in this order.
    pub saves: Vec<Save>,
    /// May be sent at once.
    pub messages: Vec<(NodeId, Message)>,
    /// A snapshot that replaces the state of the state machine. Load it first; then skip what is in `committed` up to its
    /// index.
    pub restore: Option<Snapshot>,
    /// In order, each once a run, all kinds of payload. An entry comes here when it is committed *and* durable on this
    /// node, so that what is applied never outruns the own disk.
    pub committed: Vec<Entry>,
    pub reads: Vec<Read>,
    /// Each change of role, leader or term, in order.
    pub role_changes: Vec<RoleChange>,
    /// A leader says otherwise of this entry, which is committed here (Figure 3, State Machine Safety): one of the two logs was
    /// changed by hand or lost a vote. The message was dropped.
    pub contradicted: Option<u64>,
}

/// To be made durable as one: all of it or none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Save {
    pub number: u64,
    /// Replaces the former one. A commit index that moved alone is not worth a write: it comes with the next save.
    pub hard: Option<HardState>,
    /// Replaces the former one.
    pub snapshot: Option<Snapshot>,
    /// Stored entries up to and with this index may be forgotten.
    pub drop_through: Option<u64>,
    /// Stored entries from this index on are void and must be gone: cut before appending.
    pub truncate_from: Option<u64>,
    /// Behind what remains.
    pub append: Vec<Entry>,
}

/// The answer to [`crate::Raft::read_index`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    pub token: u64,
    /// The read is linearizable once this index is applied. `None`: leadership was lost; ask the new leader.
    pub index: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Follower,
    /// Asks whether it could win an election, in its old term.
    PreCandidate,
    Candidate,
    Leader,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleChange {
    pub role: Role,
    pub term: u64,
    pub leader: Option<NodeId>,
}

/// What a leader knows of another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follower {
    pub node: NodeId,
    pub voter: bool,
    /// The last entry it is known to hold durably.
    pub matched: u64,
    /// Heard within the last election timeout.
    pub active: bool,
    /// A snapshot is on its way to it.
    pub snapshot: bool,
}

impl Follower {
    /// Whether it is there and holds the log up to this entry: a learner that would delay nobody as a voter.
    pub fn has(&self, index: u64) -> bool {
        self.active && self.matched >= index
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub node: NodeId,
    pub role: Role,
    pub term: u64,
    pub leader: Option<NodeId>,
    pub commit: u64,
    /// The last entry handed out as committed (or restored by a snapshot).
    pub handed_out: u64,
    pub first_index: u64,
    pub last_index: u64,
    /// The last entry durable on this node.
    pub durable_index: u64,
    pub snapshot_index: u64,
    pub members: Members,
    /// The entry that set `members` is committed.
    pub members_committed: bool,
    /// Only on a leader.
    pub followers: Vec<Follower>,
}

/// A change of one member (§4.1: one voter at a time, so that the majorities before and after overlap).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Best after it was a learner and has caught up, or the group waits for it.
    AddVoter(NodeId),
    AddLearner(NodeId),
    /// Voter or learner.
    Remove(NodeId),
}

/// Ask the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node is not the leader: ask {}", name(.leader))]
pub struct NotLeader {
    pub leader: Option<NodeId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error(transparent)]
    NotLeader(#[from] NotLeader),
    #[error("the change of members at entry {index} is not committed yet: try again when it is")]
    InProgress { index: u64 },
    #[error("no entry of the leader's own term is committed yet: try again in a moment")]
    LeaderTooYoung,
    #[error("the members already are as asked: nothing to do")]
    NoChange,
    #[error("{node} votes: remove it first, then add it as a learner")]
    Votes { node: NodeId },
    #[error("{node} is the last voter: add another one first")]
    LastVoter { node: NodeId },
    #[error("a group has {limit} members at most: remove one first")]
    TooMany { limit: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    #[error(transparent)]
    NotLeader(#[from] NotLeader),
    #[error("leadership is already moving to {to}: wait for an election timeout")]
    InProgress { to: NodeId },
    #[error("{node} is no voter of this group: name one of the voters")]
    NotVoter { node: NodeId },
    #[error("no other voter was heard of lately: wait until one is back")]
    NobodyElse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompactError {
    #[error("entry {index} is not handed out as committed yet: snapshot what is applied, up to {handed_out}")]
    NotApplied { index: u64, handed_out: u64 },
    #[error("a snapshot at entry {snapshot} exists already: nothing to do for {index}")]
    Older { index: u64, snapshot: u64 },
}

/// What is stored contradicts itself: this replica is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    #[error("the stored log misses an entry before {index}: replace this replica")]
    Gap { index: u64 },
    #[error("stored entry {index} has term {term}, which its neighbours exclude: replace this replica")]
    Term { index: u64, term: u64 },
    #[error("entry {applied} was applied but the log ends at {last_index}: replace this replica")]
    Lost { applied: u64, last_index: u64 },
}

fn name(leader: &Option<NodeId>) -> String {
    leader.map_or_else(|| "again when one is elected".to_owned(), |node| node.to_string())
}

/// A snapshot of the state machine, as its driver hands it to [`crate::Raft::compact`].
#[derive(Clone, Debug)]
pub struct Compaction {
    /// The last entry whose effect is in `data`.
    pub index: u64,
    pub data: Bytes,
    /// Entries up to `index` that stay, for followers that lag a little.
    pub keep_entries: u64,
}
