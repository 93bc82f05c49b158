//! Tables: Cassandra's data model behind its own protocol, CQL.
//!
//! ```text
//!   bytes of a client ─▶ front ─▶ plan ─▶ run ─▶ tablets of this and other shards ─▶ store
//!                          │        ▲
//!                          └▶ ddl ─▶ metadata log ─▶ schema machine ─▶ Schema (a snapshot per shard)
//! ```
//!
//! It is not a storage engine (`holon-store`), not a protocol codec (`holon-cql`) and not a parser
//! (`holon-cql-language`); it knows no socket, file, thread or clock.
//!
//! It guarantees what Cassandra 4.1 guarantees of one statement at a consistency level, and that an acknowledged write
//! is durable as its keyspace asks (`sync`, the default, or `periodic`). Its limits are in [`limits`].

pub mod ddl;
pub mod describe;
pub mod error;
pub mod front;
pub mod limits;
pub mod model;
pub mod plan;
pub mod run;
pub mod schema;
pub mod service;
pub mod system;
pub mod tablet;
pub mod trace;
pub mod types;
pub mod workload;
