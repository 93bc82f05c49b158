//! Random operations on tables, sent as bytes of the CQL protocol, and a model that knows what may come back.
//!
//! ```text
//!   simulator ─ connected, next ─▶ bytes ─▶ a door of the node
//!             ◀─ received, disconnected, restarted ─ what became of it
//! ```
//!
//! [`Workload`] is what a simulator drives; it does no IO and reads no clock, so equal calls give equal bytes. A
//! connection has one request in flight. Partitions belong to connections, so that what happens to one is in an order;
//! timestamps are the workload's own, so that even late writes merge as they must. What was acknowledged has to be
//! there; what was not answered may be there, whole or not at all; what was seen stays.
//!
//! It covers: rows of simple and composite keys, both clustering orders, static columns, collections, times to live,
//! batches of one and of several partitions, simple and prepared statements, deletions of cells, rows, ranges and
//! partitions, reads by key, slice and range with and without pages, in both orders, full scans in token order,
//! conditional statements, and tables that come, change and go.
//!
//! [`recorded`] holds what other clients recorded, of real processes, against the same models.

mod asking;
mod backup_workload;
mod check;
pub mod client;
mod cluster_workload;
mod effect;
mod history;
mod last_write;
pub mod linearizability;
mod moves_workload;
mod open_load;
mod operation;
pub mod recorded;
pub mod register;
mod scratch;
mod shape;
mod table_workload;
pub mod transactions;

use bytes::Bytes;
use holon_base::{Random, Wall};
use std::fmt;

pub use backup_workload::{BackupWorkload, Shown};
pub use cluster_workload::ClusterWorkload;
pub use moves_workload::MovesWorkload;
pub use open_load::OpenLoad;
pub use table_workload::{TablesWorkload, TablesWorkloadOptions};

/// Something that talks to a node and knows what it may answer.
pub trait Workload {
    /// Connections it wants, numbered from 0.
    fn connections(&self) -> usize;

    /// A connection is about to lead to a node (the simulator's number of it).
    fn placed(&mut self, _connection: usize, _node: usize) {}

    /// A connection is open (again): the bytes to begin with.
    fn connected(&mut self, connection: usize) -> Bytes;

    /// The next request of a connection that waits for no answer; `None` if it has nothing to say at the moment.
    fn next(&mut self, connection: usize, random: &mut Random, wall: Wall) -> Option<Bytes>;

    /// Bytes came on a connection.
    ///
    /// # Errors
    /// The node has broken a promise.
    fn received(&mut self, connection: usize, bytes: &[u8], wall: Wall) -> Result<(), Violation>;

    /// The connection waits for an answer.
    fn is_waiting(&self, connection: usize) -> bool;

    /// The connection is gone: the outcome of what waited for an answer is unknown.
    fn disconnected(&mut self, connection: usize);

    /// The node has started anew (all connections were lost before): what was sent earlier can no longer take effect.
    fn restarted(&mut self);

    /// From now on nothing is written: everything is read back once.
    fn finish(&mut self);

    /// Everything has been read back.
    fn is_finished(&self) -> bool;

    /// What was done, by kind: a zero that should not be one is a hole in the workload.
    fn figures(&self) -> Vec<(&'static str, u64)>;
}

/// What the node did that it must not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub connection: usize,
    /// The request, as text.
    pub request: String,
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}: {}: {}", self.connection, self.request, self.detail)
    }
}
