//! What every crate shares: ids, time, fixed-seed maps, byte cursors, checksums and a seeded random generator.
//!
//! It is not a place for things without a home: whatever knows a protocol, a disk or a task lives elsewhere.

pub mod bytes_io;
pub mod id;
pub mod map;
pub mod random;
pub mod time;

pub use bytes_io::{ByteReader, ByteWriter, ShortInput};
pub use id::{GroupId, NodeId, ServiceId, ShardId, TabletId};
pub use map::{Map, Set};
pub use random::Random;
pub use time::{Instant, Wall};

/// CRC-32C of everything on disk.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// Continues a CRC-32C over more bytes.
pub fn crc32c_append(crc: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc, bytes)
}
