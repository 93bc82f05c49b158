//! Every bound of the store, named, with its unit and its reason.

/// Batches of a producer that are known again when they are sent again: so many a client has in flight at most
/// (`max.in.flight.requests.per.connection` with idempotence).
pub const BATCHES_KEPT: usize = 5;

/// Producers that a partition knows; the one that wrote longest ago, and has no transaction open, is forgotten for another. Twice 150
/// bytes each.
pub const PRODUCERS_MAX: usize = 20_000;

/// Bytes between two entries of an index: at most so much, and a batch, is read in vain.
pub const INDEX_INTERVAL_BYTES: u64 = 4096;

/// Bytes of a partition that are gathered before they are written to its segment, unless memory is short or a checkpoint needs them there.
pub const WRITE_BYTES: usize = 512 << 10;

/// What one write to a segment takes at most, bytes.
pub const WRITE_BYTES_MAX: usize = 4 << 20;

/// A segment of a partition, bytes, unless its topic says otherwise (`segment.bytes`).
pub const SEGMENT_BYTES: u64 = 1 << 30;

/// The age of a segment of a partition, ms, unless its topic says otherwise (`segment.ms`).
pub const SEGMENT_MS: i64 = 7 * 24 * 3600 * 1000;

/// Producers of a partition whose coordinator is being asked about a transaction; the one that asked first is forgotten for another, and
/// has to ask again. 60 bytes each.
pub const VERIFYING_MAX: usize = 20_000;

/// Aborted transactions of the segment that is written to, which a checkpoint has in it: a segment that has more is full. 32 bytes each.
pub const ABORTED_OF_A_SEGMENT: usize = 10_000;
