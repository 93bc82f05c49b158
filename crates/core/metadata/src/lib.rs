//! The metadata log of the cluster: schema, accounts, nodes and the tablet map as entries of one log, applied in order on
//! every shard of every node.
//!
//! ```text
//!   propose ──► shard 0 ──► the leader's shard 0: Raft ──► committed ──► shard 0 of every node ──► every shard, in order
//!                                                          (voters by Raft, all others by pulling)
//! ```
//!
//! On one node the group has one voter and an entry costs a local append. [`Metadata::propose`] answers when every shard of
//! this node has applied the entry, or with an unknown outcome; whoever applies entries sees them in order, each once a
//! start, and must come to the same state everywhere. Gossip runs beside it and says who seems alive; it decides
//! nothing.
//! What was applied long ago is in a snapshot; new kinds of entries wait behind gates until every node can read them.

mod addresses;
mod admit;
mod apply;
mod clock;
mod clock_file;
mod cluster;
mod cluster_codec;
mod cluster_command;
mod command;
mod consensus;
mod direct;
mod figures;
mod follow;
mod gate;
mod gossip;
mod identity;
mod leave;
mod limits;
mod log_file;
mod map;
mod moves;
mod offers;
mod options;
mod recover;
mod service;
mod snapshot;
mod start;
mod view;
mod voters;

pub use admit::{AdmitError, JoinRequest};
pub use cluster::Group;
pub use direct::ChangeError;
pub use gate::{Gate, LEVEL};
pub use identity::{Cluster, FORMAT_VERSION, Identity, IdentityError, load_or_create, save};
pub use leave::WaitView;
pub use limits::VIEW_TABLETS_MAX;
pub use log_file::{ENTRY_BYTES_MAX, LogError};
pub use options::{LogOptions, NodeOptions, PEERS_PORT};
pub use recover::{LogPosition, RecoverError, begin_anew, look};
pub use service::{Committed, LOG_VERBS, METADATA_SERVICE, Metadata, ProposeError};
pub use start::{StartError, start_shard, stop_shard};
pub use view::{ChangeView, ClusterView, GroupView, MoveView, NodeView, RingView, TabletView};
