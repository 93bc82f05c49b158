//! Every bound of the coordinator that never moves, named, with its unit and its reason. What an operator may change is in
//! [`crate::groups::Options`]. (Requests are bounded by the frame in which they came.)

use std::time::Duration;

/// Groups of one coordinator. Each costs about a kilobyte without members; beyond it a new one is refused, with
/// COORDINATOR_NOT_AVAILABLE.
pub const GROUPS_MAX: usize = 1_000_000;

/// Producers of whom the last end of a transaction is remembered; beyond it those are forgotten that ended none for [`ENDED_MS`].
pub const ENDED_MAX: usize = 100_000;

/// A day, as long as Kafka remembers a producer that is silent (`producer.id.expiration.ms`), milliseconds.
pub const ENDED_MS: i64 = 24 * 3600 * 1000;

/// Members of a group that were given a member id and did not come back with it. They cost nothing to ask for; Kafka has no bound.
pub const PENDING_MEMBERS_MAX: usize = 10_000;

/// How long a new member may wait for its first generation before it counts as gone: it has no member id and cannot send
/// heartbeats (`CLASSIC_GROUP_NEW_MEMBER_JOIN_TIMEOUT_MS` of Kafka).
pub const NEW_MEMBER_JOIN_TIMEOUT: Duration = Duration::from_secs(5 * 60);
