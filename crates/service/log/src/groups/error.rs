//! What a member of a group may be told instead of what it asked for, and why a write may fail.

/// Kafka's errors, as far as a group coordinator answers with them (`org.apache.kafka.common.protocol.Errors`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum GroupError {
    #[error("the coordinator cannot do this; its log says why")]
    UnknownServerError,
    #[error("the metadata of an offset is longer than offset.metadata.max.bytes allows: send less")]
    OffsetMetadataTooLarge,
    #[error("the coordinator cannot decide this now: ask again")]
    CoordinatorNotAvailable,
    #[error("this is not the group's coordinator any more: look for it again")]
    NotCoordinator,
    #[error("the generation is not the group's current one: join again")]
    IllegalGeneration,
    #[error("the protocol type or none of the protocols is what all members of the group have")]
    InconsistentGroupProtocol,
    #[error("a group needs an id that is not empty")]
    InvalidGroupId,
    #[error("the group has no such member: join again without a member id")]
    UnknownMemberId,
    #[error(
        "the session timeout is not between group.min.session.timeout.ms and group.max.session.timeout.ms: change it"
    )]
    InvalidSessionTimeout,
    #[error("the group is rebalancing: join again")]
    RebalanceInProgress,
    #[error("the group has members: stop them first")]
    NonEmptyGroup,
    #[error("there is no such group")]
    GroupIdNotFound,
    #[error("join again with the member id of this answer")]
    MemberIdRequired,
    #[error("the group has as many members as group.max.size allows")]
    GroupMaxSizeReached,
    #[error("another member has this group.instance.id now: stop one of the two")]
    FencedInstanceId,
    #[error("the producer has a later epoch: another one has its transactional id, or its transaction took too long")]
    InvalidProducerEpoch,
    #[error("the transaction ended meanwhile")]
    InvalidTxnState,
    #[error("the partition has an offset of a transaction that is not over: ask again")]
    UnstableOffsetCommit,
    #[error("members of the group are subscribed to the topic: stop them first")]
    GroupSubscribedToTopic,
}

impl GroupError {
    /// Kafka's number.
    pub fn code(self) -> i16 {
        match self {
            GroupError::UnknownServerError => -1,
            GroupError::OffsetMetadataTooLarge => 12,
            GroupError::CoordinatorNotAvailable => 15,
            GroupError::NotCoordinator => 16,
            GroupError::IllegalGeneration => 22,
            GroupError::InconsistentGroupProtocol => 23,
            GroupError::InvalidGroupId => 24,
            GroupError::UnknownMemberId => 25,
            GroupError::InvalidSessionTimeout => 26,
            GroupError::RebalanceInProgress => 27,
            GroupError::InvalidProducerEpoch => 47,
            GroupError::InvalidTxnState => 48,
            GroupError::NonEmptyGroup => 68,
            GroupError::GroupIdNotFound => 69,
            GroupError::MemberIdRequired => 79,
            GroupError::GroupMaxSizeReached => 81,
            GroupError::FencedInstanceId => 82,
            GroupError::GroupSubscribedToTopic => 86,
            GroupError::UnstableOffsetCommit => 88,
        }
    }
}

/// Why a write is not in the log and never will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    #[error("too few replicas took the write, or too late")]
    NotEnoughReplicas,
    #[error("this node leads the log no more, or cannot write to it")]
    NotLeader,
    #[error("the write is larger than the log takes")]
    TooLarge,
}

impl WriteError {
    /// What a client is told (`appendGroupMetadataErrorToResponseError` of Kafka's `GroupMetadataManager`).
    pub fn told(self) -> GroupError {
        match self {
            WriteError::NotEnoughReplicas => GroupError::CoordinatorNotAvailable,
            WriteError::NotLeader => GroupError::NotCoordinator,
            WriteError::TooLarge => GroupError::UnknownServerError,
        }
    }
}
