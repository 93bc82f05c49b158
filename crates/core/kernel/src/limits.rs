//! The bounds of the kernel.

use std::time::Duration;

/// Work of a background task between two yields, bytes. At a few GB/s of merging this is about 100 µs, which is what a
/// foreground request may have to wait.
pub const BACKGROUND_SLICE_BYTES: usize = 256 << 10;

/// Requests in flight to one other shard or node. Bounds what the receiver can be made to hold: with requests of
/// 16 KiB on average, 64 MiB.
pub const CREDIT_PER_PEER_REQUESTS: usize = 4096;

/// Longest payload of an envelope, bytes: a CQL frame (16 MiB) and its wrapping.
pub const ENVELOPE_PAYLOAD_BYTES_MAX: usize = 17 << 20;

/// Polls before the shard looks for new inputs again. At about 1 µs each, a millisecond at most.
pub const POLLS_PER_TURN: usize = 1024;

/// How far a wall clock may be from those of other nodes, where nothing else was said. Time daemons keep milliseconds; what is
/// beyond this is not kept by one.
pub const CLOCK_SKEW_MAX_DEFAULT: Duration = Duration::from_millis(500);

/// How long a write waits for a look at other clocks, or for the promise of timestamps to be on disk.
pub const CLOCK_SETTLE_TIMEOUT: Duration = Duration::from_secs(2);

/// The deadline of a call whose caller names none.
pub const CALL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
