//! The write-ahead log of a shard: one sequence of records for all its tablets, in preallocated segments that are
//! recycled.
//!
//! [`format`] is the bytes, [`log`] writes them, [`segments`] provides and takes back segments, [`replay`] reads the
//! logs of earlier boots. When records are acknowledged is decided in [`crate::commit`].
//!
//! A group of records is written as one *chunk* that begins on a block of its own. Nothing is ever written to a block
//! that holds acknowledged records, so a torn write cannot damage what was promised before; the price is the padding of
//! small groups to 4 KiB.

pub mod format;
pub mod log;
pub mod replay;
pub mod segments;
