//! What a coordinator says: answers by the number of their request, and writes that must be made durable.

use bytes::Bytes;

use crate::groups::error::GroupError;
use crate::groups::record::Record;
use crate::groups::request::{Name, RequestNumber};

/// Numbers of writes grow by one. Afresh with each [`crate::groups::Coordinator`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteNumber(pub u64);

/// Records that must become durable together, in their order, after those of all earlier writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub number: WriteNumber,
    pub records: Vec<Record>,
}

/// What is to be done, in this order.
#[derive(Debug, Default)]
pub struct Output {
    pub writes: Vec<Write>,
    pub answers: Vec<(RequestNumber, Answer)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Join(Joined),
    Sync(Synced),
    Heartbeat(Option<GroupError>),
    Leave(Left),
    Commit(Committed),
    Fetch(Fetched),
    OffsetDelete(OffsetsDeleted),
    DeleteGroups(Vec<(Name, Option<GroupError>)>),
    TransactionEnded(Option<GroupError>),
}

/// To JoinGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    pub error: Option<GroupError>,
    /// -1 with an error.
    pub generation: i32,
    pub protocol_type: Option<Name>,
    pub protocol: Option<Name>,
    /// Empty with an error.
    pub leader: Name,
    /// The leader sends no assignment: that of the generation stays.
    pub skip_assignment: bool,
    pub member: Name,
    /// All members and what they say of themselves: only for the leader.
    pub members: Vec<JoinedMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    pub member: Name,
    pub instance: Option<Name>,
    pub metadata: Bytes,
}

impl Joined {
    pub(crate) fn failed(member: Name, error: GroupError) -> Joined {
        Joined {
            error: Some(error),
            generation: -1,
            protocol_type: None,
            protocol: None,
            leader: "".into(),
            skip_assignment: false,
            member,
            members: Vec::new(),
        }
    }
}

/// To SyncGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    pub error: Option<GroupError>,
    pub protocol_type: Option<Name>,
    pub protocol: Option<Name>,
    pub assignment: Bytes,
}

impl Synced {
    pub(crate) fn failed(error: GroupError) -> Synced {
        Synced { error: Some(error), protocol_type: None, protocol: None, assignment: Bytes::new() }
    }
}

/// To LeaveGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// With one of these there are no members.
    pub error: Option<GroupError>,
    pub members: Vec<LeftMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftMember {
    pub member: Name,
    pub instance: Option<Name>,
    pub error: Option<GroupError>,
}

impl Left {
    /// The whole answer of versions before 3.
    pub fn single_error(&self) -> Option<GroupError> {
        self.error.or_else(|| self.members.first().and_then(|member| member.error))
    }
}

/// To OffsetCommit: a result for each partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub topics: Vec<CommittedTopic>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedTopic {
    pub name: Name,
    pub id: u128,
    pub partitions: Vec<(i32, Option<GroupError>)>,
}

/// To OffsetFetch, for one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub group: Name,
    pub error: Option<GroupError>,
    pub topics: Vec<FetchedTopic>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedTopic {
    pub name: Name,
    pub id: u128,
    pub partitions: Vec<FetchedPartition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedPartition {
    pub partition: i32,
    /// With one there is no offset.
    pub error: Option<GroupError>,
    /// -1: none.
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: Name,
}

/// To OffsetDelete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetsDeleted {
    pub error: Option<GroupError>,
    pub topics: Vec<OffsetsDeletedTopic>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetsDeletedTopic {
    pub name: Name,
    pub partitions: Vec<(i32, Option<GroupError>)>,
}

impl Answer {
    /// The same, when the write that it stands on did not happen, or is not known to have.
    pub(crate) fn after_failure(self, error: GroupError) -> Answer {
        match self {
            Answer::Join(joined) => Answer::Join(Joined::failed(joined.member, error)),
            Answer::Sync(_) => Answer::Sync(Synced::failed(error)),
            Answer::Heartbeat(_) => Answer::Heartbeat(Some(error)),
            Answer::Leave(_) => Answer::Leave(Left { error: Some(error), members: Vec::new() }),
            Answer::Commit(mut committed) => {
                for topic in &mut committed.topics {
                    topic.partitions.iter_mut().for_each(|(_, result)| *result = Some(error));
                }
                Answer::Commit(committed)
            }
            Answer::Fetch(fetched) => {
                Answer::Fetch(Fetched { error: Some(error), topics: Vec::new(), group: fetched.group })
            }
            Answer::TransactionEnded(_) => Answer::TransactionEnded(Some(error)),
            Answer::OffsetDelete(_) => Answer::OffsetDelete(OffsetsDeleted { error: Some(error), topics: Vec::new() }),
            Answer::DeleteGroups(groups) => {
                Answer::DeleteGroups(groups.into_iter().map(|(group, _)| (group, Some(error))).collect())
            }
        }
    }
}
