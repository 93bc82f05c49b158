//! The storage engine of a shard: a write-ahead log with group commit, shared by all tablets of the shard, and a
//! log-structured merge tree per tablet.
//!
//! ```text
//!   write ─► queue ─► commit task ─► log (holon-wal) ─► memtable ─► flush ─► tables (tablets/<id>/) ─► compaction
//!                                                     └───────── get, scan ─────────┘
//! ```
//!
//! It does no IO itself: it runs as tasks of a shard over the kernel's `Disk`, so that its crashes can be simulated.
//! It knows keys as byte strings in memcmp order and columns as numbers; what they mean, and whose clock stamps a
//! write, is the owner's business. It does not replicate.
//!
//! It guarantees: a write acknowledged under [`Durability::Sync`] survives any crash; a mutation is applied whole or
//! not at all; what is read is the merge (see [`row`]) of all acknowledged mutations and of some whose outcome is
//! unknown; a damaged file is an error that names file and offset, never a wrong answer. Limits: [`limits`].

mod bloom;
mod cache;
mod changed;
mod compaction;
mod cursor;
mod damage;
mod engine;
mod error;
mod flush;
mod hold;
mod inner;
mod lifecycle;
pub mod limits;
mod manifest;
mod memtable;
mod metering;
mod mutation;
mod options;
pub mod plant;
mod range;
mod read;
mod recovery;
pub mod row;
mod row_codec;
mod scan;
mod snapshot;
mod stats;
mod table;
mod tree;
mod verify;

pub use changed::Changed;
pub use damage::Mending;
pub use engine::{Engine, WriteTicket};
pub use error::{Malformed, StoreError};
pub use hold::Pinned;
pub use holon_wal::{Durability, Lsn};
pub use mutation::{Mutation, MutationBuilder};
pub use options::{CompactionOptions, Compression, EngineOptions, KeyPrefix, PurgePolicy, TabletOptions};
pub use range::{RangeSet, RangeTombstone, prefix_end};
pub use read::{KeyRange, Page, ScanOptions, key_after};
pub use row::{Cell, CellEntry, CellKind, ColumnId, Deletion, Expiry, Liveness, Row, RowPatch};
pub use row_codec::{decode_row, row_bytes};
pub use stats::{Progress, RecoveryReport, Stats, TabletStats, VerifyReport};
