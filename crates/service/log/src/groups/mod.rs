//! Groups of consumers: the classic protocol's coordinator (KIP-62, KIP-345, KIP-394, KIP-814) and the offsets that groups commit, as a
//! machine without IO, clock, thread or randomness of its own.
//!
//! ```text
//!   the log: snapshot, records ─► Image ─► Coordinator::new
//!
//!   join, sync, heartbeat, leave ──┐                     ┌──► writes    make durable in their order, then call `written`
//!   commit, fetch, delete_… ───────┼──►  Coordinator  ───┤
//!   tick (at next_deadline) ───────┤                     └──► answers   send at once
//!   written ───────────────────────┘
//! ```
//!
//! It is *not* a door: it knows no bytes of the protocol, no connection and no permission, and does not know which topics there
//! are. It does not choose who coordinates, and does not know which transactions are open.
//!
//! # What it guarantees
//! | what | which code |
//! | --- | --- |
//! | an answer that stands on a write comes after `written` | `writes.rs`; `Coordinator::written` |
//! | one assignment for a generation, durable before a member has it | `Step::sync_completing`, `Step::assigned` |
//! | a generation that a member had an assignment in never comes again | generations grow from the last durable one |
//! | what is fetched is durable, and no older than any commit answered before | `Coordinator::keep` |
//! | each request is answered once, or by `stop` | `Step::drop_member`, `Step::answer_repeated_join` |
//! | a request costs what its group costs, not what all groups do | but `list` and `topics_removed` |
//!
//! As in Kafka a generation is told to members *before* it is durable: after a failover its number may come again with
//! other members, of whom nobody had anything in it.
//!
//! # Where it differs from Kafka 4.1
//! - A second assignment of the leader for a generation, while the first is being written, waits for the first. Kafka writes
//!   both, and after a failover the second counts.
//! - A request that is repeated under the same member id, or whose member is removed, is answered. Kafka forgets some of these.
//! - A removal of a group is in force when it is durable; until then the group is dead (COORDINATOR_NOT_AVAILABLE, ask again).
//! - A static member that was renamed before it synced still has to sync. Kafka waits for the old id, and then rebalances.
//! - An offset of a transaction takes the place of one that was committed without it while it was pending. Kafka leaves the later one.
//! - Each group looks for old offsets at a time of its own.
//! - Members without a preferred order are taken by id where Kafka takes them by hash: the next leader, the list for the leader.

mod admin;
mod answer;
mod coordinator;
mod error;
mod group;
mod image;
mod join;
pub mod limits;
mod member;
mod offsets;
mod options;
pub mod plant;
mod rebalance;
mod record;
mod request;
mod step;
mod subscription;
mod sync;
mod timers;
mod transactional;
mod writes;

pub use admin::{Described, DescribedMember, Listed};
pub use answer::{
    Answer, Committed, CommittedTopic, Fetched, FetchedPartition, FetchedTopic, Joined, JoinedMember, Left, LeftMember,
    OffsetsDeleted, OffsetsDeletedTopic, Output, Synced, Write, WriteNumber,
};
pub use coordinator::Coordinator;
pub use error::{GroupError, WriteError};
pub use group::State;
pub use image::Image;
pub use options::Options;
pub use record::{DecodeError, FORMAT_VERSION, GroupRecord, MemberRecord, OffsetRecord, OffsetValue, Record};
pub use request::{
    Commit, CommitPartition, CommitTopic, Fetch, FetchTopic, Heartbeat, Join, Leave, Leaver, Name, OffsetDelete,
    Protocol, RequestNumber, Sync, Time,
};
pub use transactional::TransactionalCommit;
