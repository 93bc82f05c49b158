//! Kafka's record batches, format 2 (KIP-98, since Kafka 0.11), as a broker handles them: bytes that it checks, stamps and hands on, and
//! never takes apart.
//!
//! ```text
//!   records of a Produce request ─▶ ProducedBatch::check ─▶ stamp(offset, epoch) ─▶ StampedBatch: what is stored and fetched
//!   bytes of a log ─▶ Batches ─▶ BatchHeader, one after the other
//! ```
//!
//! It is not a client: it neither packs nor unpacks records, and knows no codec but by its number. It keeps no state and does no IO.
//! It guarantees that no input makes it panic, that the records of a batch are never copied (they stay slices of the request), and that
//! what it takes as good has the checksum it bears.
//!
//! Field names are those of `DefaultRecordBatch` in Kafka 4.1; error codes are those of its protocol (`org.apache.kafka.common.protocol.Errors`).

pub mod batch;
pub mod error;
pub mod produced;

pub use batch::{Attributes, BatchHeader, Batches, Compression};
pub use error::{BatchError, ErrorCode};
pub use produced::{ProduceRules, ProducedBatch, StampedBatch, Timestamps};
