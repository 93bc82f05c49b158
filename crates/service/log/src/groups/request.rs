//! What is asked of a coordinator, as values. A door makes them of Kafka's messages, versions included where one of them
//! changes what is meant.

use bytes::Bytes;
use holon_base::{Instant, Wall};
use std::sync::Arc;

/// Text that is held in many places: ids of groups, members and topics.
pub type Name = Arc<str>;

/// By which a request is answered; the caller chooses it, and uses it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestNumber(pub u64);

/// When something happens, by both clocks: sessions are measured by the first, offsets expire by the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    pub now: Instant,
    pub wall: Wall,
}

/// A way to assign partitions that a member knows (`range`, `cooperative-sticky`, …), and what it says to the leader about
/// itself if that one is chosen. Only a consumer's subscription is looked at, for its topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    pub name: Name,
    pub metadata: Bytes,
}

/// JoinGroup, versions 0 to 9.
#[derive(Clone, Debug)]
pub struct Join {
    /// Before 1 there is no rebalance timeout; since 4 a dynamic member asks for an id first; since 9 a leader may be told not
    /// to assign anew.
    pub version: i16,
    pub group: Name,
    /// Empty: none yet.
    pub member: Name,
    /// `group.instance.id` of a static member.
    pub instance: Option<Name>,
    pub client_id: Name,
    pub client_host: Name,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    pub protocol_type: Name,
    /// The best first.
    pub protocols: Vec<Protocol>,
}

/// SyncGroup, versions 0 to 5.
#[derive(Clone, Debug)]
pub struct Sync {
    pub group: Name,
    pub generation: i32,
    pub member: Name,
    pub instance: Option<Name>,
    /// Both are compared if they are there (since version 5).
    pub protocol_type: Option<Name>,
    pub protocol: Option<Name>,
    /// Of the leader: what each member gets.
    pub assignments: Vec<(Name, Bytes)>,
}

/// Heartbeat, versions 0 to 4.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    pub group: Name,
    pub generation: i32,
    pub member: Name,
    pub instance: Option<Name>,
}

/// LeaveGroup, versions 0 to 5. Before 3 one member leaves, and its error is the answer's.
#[derive(Clone, Debug)]
pub struct Leave {
    pub group: Name,
    pub members: Vec<Leaver>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaver {
    /// Empty: whoever has the instance id.
    pub member: Name,
    pub instance: Option<Name>,
}

/// OffsetCommit, versions 2 to 10. (That the topics exist, and may be read, is the door's to see.)
#[derive(Clone, Debug)]
pub struct Commit {
    /// Since 9 a group that is not there is GROUP_ID_NOT_FOUND, before it is ILLEGAL_GENERATION.
    pub version: i16,
    /// May be empty, for old clients.
    pub group: Name,
    /// Negative of those who use no membership.
    pub generation: i32,
    pub member: Name,
    pub instance: Option<Name>,
    /// Until when the offsets stay, of versions 2 to 4; -1 for the coordinator's rule.
    pub retention_ms: i64,
    pub topics: Vec<CommitTopic>,
}

#[derive(Clone, Debug)]
pub struct CommitTopic {
    pub name: Name,
    /// 0: not known.
    pub id: u128,
    pub partitions: Vec<CommitPartition>,
}

#[derive(Clone, Debug)]
pub struct CommitPartition {
    pub partition: i32,
    pub offset: i64,
    /// -1: not known.
    pub leader_epoch: i32,
    pub metadata: Option<Name>,
}

/// OffsetFetch of one group, versions 1 to 10.
#[derive(Clone, Debug)]
pub struct Fetch {
    pub group: Name,
    /// None: all that the group has.
    pub topics: Option<Vec<FetchTopic>>,
    /// Answer when what was sent before is decided (since version 7).
    pub require_stable: bool,
}

#[derive(Clone, Debug)]
pub struct FetchTopic {
    pub name: Name,
    /// 0: whatever the offset's is.
    pub id: u128,
    pub partitions: Vec<i32>,
}

/// OffsetDelete.
#[derive(Clone, Debug)]
pub struct OffsetDelete {
    pub group: Name,
    pub topics: Vec<(Name, Vec<i32>)>,
}
