//! Every bound of the codec, with its unit and its reason. All are checked before memory is taken.

/// Greatest body of an envelope once the client is authenticated, in bytes. 16 MiB is what Cassandra allows by default
/// (`native_transport_max_frame_size`); one row of that size is already a mistake in the data model.
pub const ENVELOPE_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Greatest body of an envelope before authentication, in bytes: enough for STARTUP and SASL, too little to exhaust
/// memory from connections that have proved nothing.
pub const ENVELOPE_BODY_BYTES_MAX_UNAUTHENTICATED: usize = 64 * 1024;

/// Greatest body that is skipped rather than answered by closing the connection, in bytes: the 256 MiB of section
/// 2.4.1.5.
pub const ENVELOPE_BODY_BYTES_SKIPPABLE: usize = 256 * 1024 * 1024;

/// Greatest body that a client (the simulator, tests) or server will write, in bytes: section 2.4.1.5.
pub const ENVELOPE_BODY_BYTES_WRITABLE: usize = 256 * 1024 * 1024;

/// Greatest payload of a v5 segment, in bytes: its length field has 17 bits.
pub const SEGMENT_PAYLOAD_BYTES_MAX: usize = 128 * 1024 - 1;

/// Smallest body or payload worth compressing, in bytes: below it the header of the compressed form eats the gain.
pub const COMPRESSED_BYTES_MIN: usize = 512;

/// How many times larger than its compressed form a body may claim to be.
pub const DECOMPRESSION_RATIO_MAX: usize = 100;

/// Bodies up to this size may have any ratio, in bytes: LZ4 reaches 255 on a blob of zeros, and a blob of zeros is
/// legal.
pub const DECOMPRESSION_RATIO_FLOOR_BYTES: usize = 4 * 1024 * 1024;

/// How deep types and values may nest. Cassandra sets no limit; recursion without one is a stack overflow on request.
pub const NESTING_MAX: usize = 32;

/// Most elements of a vector type: Cassandra's default for `vector_dimensions`.
pub const VECTOR_DIMENSIONS_MAX: usize = 8192;

/// Greatest length of a type written as a Java class name, in bytes (a [string] cannot be longer).
pub const CLASS_NAME_BYTES_MAX: usize = u16::MAX as usize;

/// Longest text of an error or of a warning, in bytes: longer text is cut at a character, never refused.
pub const ERROR_TEXT_BYTES_MAX: usize = 16 * 1024;

/// Most warnings in one response: the rest is dropped, a [string list] could not count them anyway.
pub const WARNINGS_MAX: usize = 64;
