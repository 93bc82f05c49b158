//! The Cassandra native protocol, versions 3, 4 and 5, in both directions: bytes to messages and messages to bytes.
//!
//! ```text
//!   socket bytes ─▶ Decoder ─▶ Envelope ─▶ RequestMessage::decode ─▶ Request        (server)
//!                                          ResponseMessage::decode ─▶ Response      (client: simulator, tests)
//!   Response / Request ─▶ Encoder ─▶ socket bytes
//! ```
//!
//! It is not a server and not a client: it knows no socket, clock, session, schema or query language, and it keeps no
//! state but what framing needs (the negotiated version and compression, bytes of an unfinished envelope).
//!
//! It guarantees that no input makes it panic, and that it takes no memory for a length or count that it has not first
//! compared with a limit (`limits`) or with the bytes that are really there. Values and bodies are slices of the input
//! buffer, not copies. Section numbers in the comments are those of `native_protocol_v5.spec` of Cassandra 4.1 and 5.0.

pub mod compression;
pub mod consistency;
pub mod decoder;
pub mod encoder;
pub mod error;
pub mod frame;
pub mod limits;
pub mod notation;
pub mod request;
pub mod response;
pub mod rows;
pub mod segment;
pub mod token;
pub mod types;
pub mod value;

pub use compression::Compression;
pub use consistency::Consistency;
pub use decoder::Decoder;
pub use encoder::Encoder;
pub use error::CqlError;
pub use frame::{Direction, Envelope, Flags, Header, Opcode, Version};
pub use notation::{BoundValue, Reader, Writer};
pub use request::{Request, RequestMessage};
pub use response::{ErrorCode, Response, ResponseMessage};
pub use rows::{ColumnSpec, EncodedRows, Rows, RowsMetadata, RowsWriter};
pub use types::{CqlType, UdtField, UdtType, VectorType};
pub use value::{Value, ValueError};
