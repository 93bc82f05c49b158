//! Every bound of the engine, named, with its unit and its reason. What an operator may want to change is in
//! [`crate::EngineOptions`]; these are the edges that never move.

/// A key is a partition prefix and a clustering suffix: CQL allows 64 KiB a component, and memcmp encodings may double
/// it.
pub const KEY_BYTES_MAX: usize = 256 * 1024;

/// One mutation is one log record and must fit into a segment with room to spare (half a default segment).
pub const MUTATION_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A row after merging. Collections are read whole, so a row must stay a thing that fits in memory many times over.
pub const ROW_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A block as it comes out of the decompressor: bounds what a damaged length field can make us allocate. A block holds
/// at least one row, so this is the largest row plus its key and two lengths.
pub const BLOCK_BYTES_MAX: usize = ROW_BYTES_MAX + KEY_BYTES_MAX + 64;

/// What background work reads, writes or merges before it lets others run: 150 µs, about what a round of foreground tasks takes, so
/// that under load a compaction has half of the core at most.
pub const SLICE_BYTES: usize = 64 * 1024;

/// Rows examined before a scan lets others run: about as long as a slice of bytes takes.
pub const SLICE_ROWS: usize = 2048;

/// Sorted runs that one compaction merges: each holds a read-ahead buffer of [`SLICE_BYTES`].
pub const COMPACTION_RUNS_MAX: usize = 32;

/// A manifest lists tables of at least a few MiB; this many bytes describe a million of them.
pub const MANIFEST_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Places of damage that are known of one tablet; where there are more, all of it counts as lost.
pub const DAMAGES_MAX: usize = 64;

/// Levels of a tree: with the smallest fan-out of 2 and 1 MiB at the bottom this reaches 2^64 bytes.
pub const LEVELS_MAX: u8 = 44;

/// The name of a snapshot becomes the name of a directory.
pub const SNAPSHOT_NAME_BYTES_MAX: usize = 128;
