//! Kafka's protocol as a broker speaks it: the bytes of a client's connection to requests, answers to bytes, and record batches, format 2
//! (KIP-98, since Kafka 0.11), that it checks, stamps and hands on, and never takes apart.
//!
//! ```text
//!   socket bytes ─▶ frame::take ─▶ Request::read ─▶ RequestHeader, Request        (which APIs: Served)
//!   Response::encode ─▶ pieces: head, records, head, records, …
//!   client::request, client::answer, records: the other side, for the simulator, tests and `holon topic`
//!
//!   records of a Produce request ─▶ ProducedBatch::check ─▶ stamp(offset, epoch) ─▶ StampedBatch: what is stored and fetched
//!   bytes of a log ─▶ Batches ─▶ BatchHeader, one after the other
//! ```
//!
//! It is not a server: it knows no topic, group or session, packs no records but a client's (`records`), and unpacks them (`unpack`) for a client, and for who looks for a time. It does no
//! IO and keeps no state: what of a frame is still to come stays in the buffer it is read from.
//!
//! It guarantees that no input makes it panic; that it takes no memory for a length or count that it has not first compared with the
//! bytes that are there and with a limit (`limits`), so that a request takes no more memory than its frame and 128 MiB; that records are
//! never copied, neither those that come in (they stay slices of the frame) nor those that go out (they are pieces of the answer); and
//! that what it takes as a good batch has the checksum it bears.
//!
//! Most messages are those of the crate `kafka-protocol`, generated from Kafka's own descriptions, guarded by `shape`. Produce and Fetch are
//! our own. Field names of batches are those of `DefaultRecordBatch` in Kafka 4.1; versions are in `apis`.

pub mod apis;
pub mod batch;
pub mod client;
pub mod error;
pub mod errors;
pub mod fetch;
pub mod frame;
pub mod header;
pub mod limits;
pub mod marker;
pub mod packed;
pub mod produce;
pub mod produced;
mod reader;
pub mod records;
pub mod request;
pub mod response;
mod shape;
pub mod testing;
#[cfg(test)]
mod tests;
pub mod unpack;
mod writer;

pub use apis::{Api, Served};
pub use batch::{Attributes, BatchHeader, Batches, Compression};
pub use error::BatchError;
pub use errors::ErrorCode;
pub use fetch::{FetchRequest, FetchResponse};
pub use frame::FrameError;
pub use header::RequestHeader;
pub use kafka_protocol::messages;
pub use kafka_protocol::protocol::StrBytes;
pub use marker::Marker;
pub use produce::{ProduceRequest, ProduceResponse};
pub use produced::{ProduceRules, ProducedBatch, StampedBatch, Timestamps};
pub use request::{Request, RequestError};
pub use response::Response;
pub use uuid::Uuid;
pub use writer::{EncodeError, LeaderIdAndEpoch, NodeEndpoint};
