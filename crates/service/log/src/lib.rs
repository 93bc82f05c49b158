//! The log: topics and partitions, Kafka's protocol.

pub mod calls;
pub mod configs;
mod coordinating;
mod front;
pub mod groups;
pub mod service;
pub mod store;
mod tablet;
pub mod topics;
pub mod txns;
pub mod workload;
