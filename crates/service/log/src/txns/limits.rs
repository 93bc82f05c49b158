//! Every bound of the coordinator that never moves, named, with its unit and its reason. What an operator may change is in
//! [`crate::txns::Options`]. (Requests are bounded by the frame in which they came.)

use std::time::Duration;

/// Transactional ids of one coordinator. Each costs some hundred bytes; beyond it a new one is refused, with
/// COORDINATOR_NOT_AVAILABLE.
pub const IDS_MAX: usize = 1_000_000;

/// After a marker was not written, and before it is sent again.
pub const MARKER_RETRY: Duration = Duration::from_millis(100);

/// Adds of one transactional id that wait for the one that is being written; beyond it they are told CONCURRENT_TRANSACTIONS.
pub const WAITING_ADDS_MAX: usize = 1_000;

/// The wall clock, by which times are remembered, is looked at again so often.
pub const LOOK_AGAIN: Duration = Duration::from_secs(24 * 3600);
