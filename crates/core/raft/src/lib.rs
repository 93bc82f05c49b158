//! The consensus machine: Raft (Ongaro's thesis, 2014; § are its sections unless said otherwise), as a plain struct without
//! IO, clock, thread or randomness of its own.
//!
//! ```text
//!   tick ─────────┐                      ┌──► saves       make durable, then call `saved(number)`
//!   receive ──────┤                      ├──► messages    send at once
//!   propose ──────┼──►  Raft (a group) ──┼──► restore     load this snapshot
//!   read_index ───┤                      ├──► committed   apply, in order
//!   saved ────────┘                      └──► reads       answer once applied that far
//! ```
//!
//! What it has: pre-vote and check-quorum (§9.6, §6.2), leadership transfer (§3.10), changes of one member at a time with the
//! correction of 2015 (§4.1), learners (§4.2.1), snapshots and compaction (§5), linearizable reads by read index (§6.4),
//! pipelining with bounds (§10.2.1).
//!
//! What it is not: it keeps no state machine, opens no file, sends nothing, forwards nothing to the leader, and does not
//! recognise repeated commands: who proposes gives a command an identity if applying it twice would matter. Snapshots travel
//! in one piece: a driver whose state is large puts a *name* of it into [`Snapshot::data`] and moves the bytes itself.
//! Joint consensus is not needed: changes of more than one voter are sequences.
//!
//! # What it guarantees
//! The paper's figure 3: election safety, leader append-only, log matching, leader completeness, state machine safety. They
//! are checked at every step of the simulated cluster in `tests/`, which also says which code checks which.
//!
//! # Durability
//! What a machine promises is held back *inside* until [`Raft::saved`] reports it durable: no message leaves before the term
//! and the vote it stands on are, no acknowledgement before its entries, and a leader counts its own copy no sooner. Several
//! saves may be under way; they are durable in order. [`Output::committed`] gives an entry when it is committed and durable
//! here.
//!
//! # Time
//! Call [`Raft::tick`] once after [`Raft::new`] and then whenever [`Raft::next_deadline`] has passed. A group whose only voter
//! is this node leads at its first tick and has no timer. Others have: an idle group of three costs a heartbeat per follower
//! and interval. (With thousands of groups a shard, nodes should exchange heartbeats once for all groups they share and groups
//! should rest in between; that is a matter of the driver calling the same machine, and not done yet.)

mod election;
mod entry;
pub mod limits;
mod log;
mod membership;
mod message;
mod options;
mod output;
pub mod plant;
mod progress;
mod raft;
mod reads;
mod replication;

pub use entry::{DecodeError, Entry, FORMAT_VERSION, HardState, Members, Payload, Position, Snapshot, Stored};
pub use message::{Body, Message};
pub use options::Options;
pub use output::{
    Change, ChangeError, CompactError, Compaction, Follower, NotLeader, Output, Read, Role, RoleChange, Save, Status,
    StoredError, TransferError,
};
pub use raft::Raft;
