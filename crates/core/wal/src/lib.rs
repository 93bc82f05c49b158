//! The write-ahead log of a shard: one sequence of records for all tablets of one owner (a storage engine, the segments of
//! a log), in preallocated segments that are recycled, with group commit.
//!
//! ```text
//!   Commits::push ─► queue ─► commit task ─► Log ─► segments ─► Owner::committed, in the order of the records
//!   at start:        LogReader, the logs of earlier boots ─► the owner, which says when they may go (retire_old_logs)
//! ```
//!
//! [`format`] is the bytes, [`log`] writes them, [`segments`] provides and takes back segments, [`replay`] reads the
//! logs of earlier boots, [`commit`] decides when records are acknowledged, [`sync`] is what follows when a sync fails.
//! What records mean, and until when they are needed, is the owner's business. It does no IO itself: it runs as tasks
//! of a shard over the kernel's `Disk`.
//!
//! A group of records is written as one *chunk* that begins on a block of its own. Nothing is ever written to a block
//! that holds acknowledged records, so a torn write cannot damage what was promised before; the price is the padding of
//! small groups to 4 KiB.

pub mod commit;
pub mod error;
pub mod format;
pub mod log;
mod lsn;
pub mod plant;
pub mod replay;
pub mod segments;
pub mod sync;

pub use commit::{Commits, Durability, Owner, Pending, Record};
pub use error::WalError;
pub use format::LogName;
pub use log::Log;
pub use lsn::Lsn;
pub use replay::{LogReader, ReplayChunk, old_logs, retire_old_logs};
pub use segments::Segments;
pub use sync::{Gate, GateGuard, Signal};
