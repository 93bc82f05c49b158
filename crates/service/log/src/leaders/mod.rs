//! Who leads a partition, who has all of it, and what a leader and its followers tell each other: as values without IO, clock, thread or
//! randomness of their own ([how](../../../../docs/decisions/2026-11-30-leaders-of-partitions.md)).
//!
//! ```text
//!   decide ─► Change ─► metadata log ─► Leadership::change, the same on every node
//!                                            │
//!                        Leading ◄───────────┴──────────► follower
//!                 in sync, high watermark   ◄── Follow ──   its end, the epoch of its last batch
//!                                           ── Followed ─►  batches, or where to cut
//! ```
//!
//! # What it guarantees
//! As Kafka's replication with KIP-101, KIP-279, KIP-392 and KIP-966 does:
//!
//! | what | which code |
//! | --- | --- |
//! | what is below the high watermark is at all in sync, and at all that are eligible | [`Leading::high`], [`Leadership::change`] |
//! | only who is in sync or eligible is elected, but by name | [`Leadership::change`] |
//! | an epoch has one leader | each change names the version it goes by |
//! | replicas have the same batch at an offset of the same epoch; a follower cuts where epochs part | [`Leading::followed`] |

mod decide;
mod entry;
mod leadership;
mod leading;
#[cfg(test)]
mod simulation;

pub use decide::{View, decide};
pub use leadership::{Change, Leadership, Refused};
pub use leading::{Follow, Followed, Leading, LeadingOptions};
