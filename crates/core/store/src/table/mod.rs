//! Sorted tables: immutable files of rows in key order. [`format`] is the bytes, [`writer`] makes them, [`reader`]
//! reads.

pub mod block;
pub mod format;
pub mod reader;
pub mod writer;

pub use format::TableId;
pub use reader::{ReadAhead, Table};
pub use writer::{TableWriter, WriterOptions, WrittenTable};
