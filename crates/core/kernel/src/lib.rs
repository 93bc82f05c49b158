//! The kernel of a shard: tasks, tickets, timers, envelopes, memory permits, and the contracts of the disk below it and of
//! the services above it.
//!
//! ```text
//!            edge or sim                                      edge or sim
//!    now, bytes, envelopes, completions  ──►  Shard  ──►  bytes, envelopes, disk operations, next deadline
//!                                              │
//!                           tasks ── await ── tickets, timers (nothing else)
//! ```
//!
//! A [`Shard`] is one core of a node: single-threaded, lock-free, and it does no IO: whoever runs it hands in time and inputs,
//! calls [`Shard::run_ready`], and carries out what was asked. The kernel names no service and no protocol. Of the
//! cluster it knows what it is told: a map ([`ClusterMap`]) and who seems alive.

pub mod budget;
pub mod clock;
pub mod cluster;
pub mod disk;
mod disk_client;
pub mod disk_suite;
pub mod envelope;
mod executor;
pub mod holding;
pub mod limits;
pub mod metric;
pub mod outbox;
mod owed;
pub mod permit;
pub mod plant;
pub mod service;
mod shard;
pub mod testing;
mod ticket;
mod timer;

pub use budget::Slice;
pub use clock::{ClockKeeper, ClockRefusal, ClockState, NodeClock};
pub use cluster::{ClusterMap, Founders, NodeRecord, Replicas};
pub use disk::{
    Disk, DiskBuffer, DiskError, DiskErrorKind, DiskOperation, DiskOutput, DiskResult, FileId, OpenOptions, OperationId,
};
pub use disk_client::{DiskClient, DiskFile};
pub use envelope::{Address, CallError, Envelope, EnvelopeKind, Target, Verb};
pub use executor::{Class, Order, Scope, Turn};
pub use outbox::Outbox;
pub use permit::{Permit, Pool};
pub use service::{
    Fill, Flow, LocalFuture, MetadataEffect, NewTablets, Replication, Service, Session, SessionContext, StartContext,
    Tablet, TabletDescriptor,
};
pub use shard::{Router, Shard, ShardOptions};
pub use ticket::{Cancelled, Completer, Ticket, any_of, join_all};
pub use timer::{Elapsed, Sleep};
