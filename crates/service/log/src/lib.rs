//! The log: topics and partitions, Kafka's protocol.

pub mod calls;
pub mod configs;
mod coordinating;
mod front;
pub mod groups;
mod records;
pub mod service;
pub mod store;
mod tablet;
pub mod topics;
pub mod workload;
