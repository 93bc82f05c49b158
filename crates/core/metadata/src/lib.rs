//! The metadata log of a node: schema, accounts and the tablet map as entries of one log, applied in order on every shard.
//!
//! ```text
//!   propose ──► shard 0: append, sync ──► apply on every shard, in order ──► answer, when all have applied
//! ```
//!
//! The log is a plain local file on shard 0: a group of one. The interface is the one Raft will stand behind:
//! [`Metadata::propose`] answers with an index or with an unknown outcome, and whoever applies entries sees them in order,
//! each once a start, and must come to the same state everywhere. What changes then is who appends, not who reads.
//!
//! Absent: snapshots of the log. Each start replays it from its first entry (a schema change is a few hundred bytes).

mod identity;
mod log_file;
mod machine;
mod service;
mod start;

pub use identity::{FORMAT_VERSION, Identity, IdentityError, load_or_create};
pub use log_file::{ENTRY_BYTES_MAX, LogError};
pub use machine::Group;
pub use service::{Committed, METADATA_SERVICE, Metadata, ProposeError};
pub use start::{StartError, start_shard, stop_shard};
