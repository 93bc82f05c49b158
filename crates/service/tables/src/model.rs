//! What other services may name of tables: what is defined, and how a refusal reads. Reading and writing rows from
//! another service will be added here with the first that needs it; until then nothing outside this crate reaches a
//! tablet.

pub use crate::error::{CqlError, CqlResult};
pub use crate::schema::{Column, ColumnKind, Keyspace, Schema, Table, TableId};
pub use crate::service::TABLES_SERVICE;
