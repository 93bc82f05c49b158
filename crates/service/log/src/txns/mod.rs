//! Transactions: Kafka's coordinator (KIP-98, KIP-360, KIP-447, KIP-890) as a machine without IO, clock, thread or randomness of its own.
//!
//! ```text
//!   the log: records ─► Image ─► Coordinator::new
//!
//!   init, add, end ────────────────┐                     ┌──► writes    make durable in their order, then call `written`
//!   tick (at next_deadline) ───────┼──►  Coordinator  ───┼──► answers   send at once
//!   written, marked ───────────────┘                     └──► markers   write into the partition, then call `marked`
//!
//!              add                  end, or out of time                    all markers are written
//!   Empty ───────────► Ongoing ─────────────────────────► PrepareCommit ──────────────────────────► CompleteCommit
//!                         ▲                               PrepareAbort                              CompleteAbort
//!                         └──────────────────────────────────────────────────── add ────────────────────┘
//! ```
//!
//! It is *not* a door: it knows no bytes of the protocol, no topic, no group and no permission. The offsets of a group in a transaction are a
//! partition as any other: the one that keeps the group. It makes no producer ids: if it needs one it says so
//! ([`Answer::NeedsProducer`]), and is asked again.
//!
//! # What it guarantees
//! | what | which code |
//! | --- | --- |
//! | an answer that stands on a write comes after `written` | `Coordinator::written` |
//! | a transaction is decided once, and durably before its first marker goes out | `rules::end`; `Coordinator::applied` |
//! | markers are sent until each was written, also by the next coordinator | `Coordinator::send_markers` |
//! | nothing is added to an id, and nobody is initialised, until all markers are written | `rules::add`, `rules::init` |
//! | whoever has an earlier epoch is refused from when the later one is durable | `rules::check_producer`, `rules::end` |
//!
//! It relies on one thing: after [`Marked::Again`] the marker that was sent has no effect any more. Else it could end the next
//! transaction, of a client of version 1, whose transactions have one epoch.
//!
//! # Where it differs from Kafka 4.1
//! - InitProducerId of a producer that goes on (KIP-360) with neither the current nor the last epoch is refused while a transaction is open, too.
//!   Kafka looks at the producer id alone there, and aborts the transaction of the newer one.
//! - The last epoch is forgotten when the current one is used, and EndTxn is only taken as repeated if it has the last epoch: Kafka takes every
//!   one with the epoch before for repeated, so a client of version 2 may be told of a commit of another one of version 1.
//! - Partitions that are added while others are being added wait for them, and are written together. Kafka says CONCURRENT_TRANSACTIONS.
//! - A transaction is aborted when its time is up; Kafka looks every ten seconds. Its producer may go on with the epoch that it has.
//! - A producer whose last epoch was fenced by a timeout gets a new producer id. Kafka fails with an error of its own there.

mod answer;
mod coordinator;
mod error;
pub mod limits;
mod look;
mod options;
pub mod plant;
mod record;
mod request;
mod rules;

pub use answer::{Answer, Marked, Marker, Output};
pub use coordinator::Coordinator;
pub use error::TxnError;
pub use look::{Described, Filter, Listed};
pub use options::Options;
pub use record::{DecodeError, FORMAT_VERSION, Image, Record, State, Txn};
pub use request::{Add, End, Init, Producer, Version};
