//! Where tablets live: the ring of slots, racks respected, and the steps that change it.
//!
//! | part | what it says |
//! | --- | --- |
//! | [`token_range`] | the token space cut into equal ranges |
//! | [`Ring`] | owners of slots, published tokens, replicas by the drivers' walk, the ring after a change |
//! | [`Topology`] | the machine: groups, members, the change on its way, who is read and written, who has to do what |
//! | [`quorum`] | why no acknowledged write is lost on the way |
//!
//! Every node computes all of it when it applies entries of the metadata log. So: pure functions of their inputs, no
//! clock, no randomness but hashes of ids, ordered maps only, a version in every encoding.
//!
//! What it is not: it sends, stores and streams nothing; it does not know whether a node is alive.

mod advance;
mod balance;
mod change;
mod change_codec;
mod codec;
pub mod limits;
mod node;
pub mod quorum;
mod ring;
mod ring_change;
mod ring_codec;
mod token;
mod topology;
mod topology_codec;
mod turn;

pub use change::{Change, ChangeKind, Effects, Entry, GroupPlacement, Move, NodeState, Phase, Refused, Work};
pub use change_codec::ENTRY_VERSION;
pub use codec::DecodeError;
pub use node::{NodeInfo, Replication};
pub use quorum::TabletReplicas;
pub use ring::{Ring, RingError, slots_for};
pub use ring_codec::RING_VERSION;
pub use token::{end_token, ordinal_of, token_range};
pub use topology::Topology;
pub use topology_codec::SNAPSHOT_VERSION;
