//! Random operations on tables, sent as bytes of the CQL protocol, and a model that knows what may come back. (being written)

pub mod client;
