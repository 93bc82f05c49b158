//! Copies of rows on several nodes, where the last write wins: how many have to answer, what their answers mean together,
//! and how they become the same again.
//!
//! ```text
//!   service ─▶ Coordinator ─┬ write: to all replicas, answered when the level is met; a hint for each that missed it
//!                           └ read: data from one, digests from others ─▶ equal: done
//!                                                                      └▶ not: all pages, merged, written back
//!   replica: serve::{read, digest} over the engine
//! ```
//!
//! It knows rows, ranges and tablets by number, not tables; which keys make a partition and what is shown of a row is the
//! service's business.
//!
//! Guaranteed, for levels R and W of one tablet that together exceed its replicas, of writes that were acknowledged and
//! not overtaken by a later timestamp: each read that begins after the acknowledgement sees the write, also while
//! the tablet moves (see the metadata's placement for the phases); and what a read at such a level has returned, no later one
//! misses (repair before the answer). A write that was not acknowledged may be seen by some reads and not by
//! others until one of them, a hint or a repair has brought it to a majority.
//!
//! Writes that depend on what was read are not merged but agreed upon, by a consensus group a tablet: [`consensus`].

pub mod consensus;
pub mod coordinator;
pub mod cut;
pub mod fill;
mod gather;
pub mod hints;
mod latency;
pub mod level;
pub mod limits;
pub mod message;
pub mod own;
pub mod page;
pub mod plant;
pub mod repair;
pub mod serve;

pub use consensus::Groups;
pub use coordinator::{Coordinator, ReplicaError, Speculation};
pub use cut::Cuts;
pub use hints::HintStore;
pub use level::{Level, Quota};
pub use message::{ReadAnswer, ReadRequest, WriteRequest};
pub use repair::Repairs;
