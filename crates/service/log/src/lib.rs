//! The log: topics and partitions, Kafka's protocol.

pub mod calls;
pub mod configs;
mod coordinating;
mod counts;
mod front;
pub mod groups;
pub mod leaders;
mod records;
mod report;
pub mod service;
mod snapshots;
pub mod store;
mod tablet;
pub mod topics;
pub mod txns;
mod watches;
pub mod workload;
