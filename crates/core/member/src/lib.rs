//! Who is in the cluster and who seems alive: SWIM (Das, Gupta, Motivala 2002) with Lifeguard (Dadgar, Phillips, Currey 2018).
//!
//! ```text
//!   the metadata log ── set_members ──►┌────────┐── messages: (node, address, bytes)
//!   the network ────── receive ───────►│ Member │
//!   other traffic ──── heard_from ────►│        │── events: Alive, Suspect, Dead, Left, Facts
//!   the clock ──────── tick ──────────►└────────┘
//! ```
//!
//! It is a machine: no IO, no clock, no randomness of its own. Time is the node's own monotonic time and is never sent.
//!
//! It is *not* membership: the metadata log decides who is a member and hands that in. Gossip about anybody else is
//! ignored. It says who *seems* alive, which may be wrong for a while in both directions; nothing that must be right
//! may rest on it. It also spreads each member's changeable facts: a few opaque bytes, the newest of which arrive.
//!
//! What it gives, with the checkers in `tests/simulation.rs`:
//! - a crashed member is seen dead by every live one within a bound that grows with the logarithm of the cluster;
//! - who hears a member itself does not hold it dead, whatever others say (`tests/cut.rs`);
//! - after faults end, everybody sees everybody alive within a bound, partitions included;
//! - nobody is declared dead in a run without faults; a machine that slept does not take its sleep for others' silence;
//! - what is known of a member only ever gets newer (incarnation, then version of its facts);
//! - no message is longer than told, and the load of a node does not grow with the cluster while nothing happens and
//!   no message is lost (`docs/SCALE.md` has figures, with loss too);
//! - a newcomer's first sync brings the whole list (`tests/pull.rs`).
//!
//! Bytes that peers send are checked; what is wrong is counted in [`Stats`] and dropped.

mod limits;
mod list;
mod member;
mod news;
mod options;
mod permutation;
mod probe;
mod rumor;
mod suspicion;
mod sync;
mod wire;

pub use limits::{FACTS_BYTES_MAX, INCARNATION_END, MESSAGE_BYTES_MIN};
pub use list::BaseList;
pub use member::{Event, Facts, FactsTooLong, Member, Output, State, Stats};
pub use options::{Options, PlantedBug};
