//! BATCH (section 4.1.7): several statements at once.

use bytes::Bytes;

use crate::consistency::Consistency;
use crate::error::CqlError;
use crate::frame::Version;
use crate::notation::{BoundValue, Reader, Writer};
use crate::request::parameters::{NAMES, PAGE_SIZE, PAGING_STATE, SKIP_METADATA, Tail, VALUES, Values};
use crate::request::parameters::{decode_flags, encode_flags};

/// What holds a batch together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BatchKind {
    /// All statements happen or none does.
    Logged,
    /// No such promise.
    Unlogged,
    /// Statements on counters only.
    Counter,
}

/// The statement of a query in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchStatement {
    Text(String),
    Prepared(Bytes),
}

/// One query of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchQuery {
    pub statement: BatchStatement,
    pub values: Vec<BoundValue>,
}

/// Several statements with the parameters they share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub kind: BatchKind,
    pub queries: Vec<BatchQuery>,
    pub consistency: Consistency,
    pub serial_consistency: Option<Consistency>,
    /// In microseconds since 1970, never `i64::MIN`.
    pub timestamp_us: Option<i64>,
    /// Takes the place of the connection's keyspace (v5).
    pub keyspace: Option<String>,
    /// What `now` is, in seconds since 1970 (v5).
    pub now_in_seconds: Option<i32>,
}

/// Fewest bytes of a query: kind, length of the id, number of values.
const QUERY_BYTES_MIN: usize = 1 + 2 + 2;

impl Batch {
    /// Reads the body.
    ///
    /// # Errors
    /// Also named values: their flag stands after them, so that no server can read them (CASSANDRA-10246).
    pub fn decode(reader: &mut Reader, version: Version) -> Result<Batch, CqlError> {
        let offset = reader.offset();
        let kind = match reader.byte("type of the batch")? {
            0 => BatchKind::Logged,
            1 => BatchKind::Unlogged,
            2 => BatchKind::Counter,
            other => {
                let (what, value) = ("type of the batch", i64::from(other));
                let expected = "0 (logged), 1 (unlogged) or 2 (counter)";
                return Err(CqlError::UnknownValue { what, offset, value, expected });
            }
        };
        let count = reader.short("number of queries")?;
        let count = reader.check_count(u64::from(count), QUERY_BYTES_MIN, "queries of the batch")?;
        let queries = (0..count).map(|_| BatchQuery::decode(reader, version)).collect::<Result<_, _>>()?;
        let consistency = reader.consistency("consistency")?;
        let offset = reader.offset();
        let flags = decode_flags(reader, version)?;
        if flags & NAMES != 0 {
            let reason = "values in a batch cannot be named, bind them by position";
            return Err(CqlError::Invalid { what: "flags of the batch", offset, reason });
        }
        if flags & (VALUES | SKIP_METADATA | PAGE_SIZE | PAGING_STATE) != 0 {
            let reason = "a batch has neither values of its own nor pages; clear the four low bits";
            return Err(CqlError::Invalid { what: "flags of the batch", offset, reason });
        }
        let Tail { serial_consistency, timestamp_us, keyspace, now_in_seconds } = Tail::decode(reader, flags)?;
        Ok(Batch { kind, queries, consistency, serial_consistency, timestamp_us, keyspace, now_in_seconds })
    }

    /// Appends the body.
    pub fn encode(&self, writer: &mut Writer<'_>, version: Version) -> Result<(), CqlError> {
        writer.byte(match self.kind {
            BatchKind::Logged => 0,
            BatchKind::Unlogged => 1,
            BatchKind::Counter => 2,
        });
        writer.count(self.queries.len(), "queries of the batch")?;
        self.queries.iter().try_for_each(|query| query.encode(writer, version))?;
        writer.consistency(self.consistency);
        let tail = Tail {
            serial_consistency: self.serial_consistency,
            timestamp_us: self.timestamp_us,
            keyspace: self.keyspace.clone(),
            now_in_seconds: self.now_in_seconds,
        };
        encode_flags(writer, version, tail.flags())?;
        tail.encode(writer)
    }
}

impl BatchQuery {
    fn decode(reader: &mut Reader, version: Version) -> Result<BatchQuery, CqlError> {
        let (what, offset) = ("kind of a query in the batch", reader.offset());
        let statement = match reader.byte(what)? {
            0 => BatchStatement::Text(reader.long_string("statement")?),
            1 => BatchStatement::Prepared(reader.short_bytes("id of the prepared statement")?),
            other => {
                let expected = "0 (text) or 1 (prepared)";
                return Err(CqlError::UnknownValue { what, offset, value: i64::from(other), expected });
            }
        };
        let values = match Values::decode(reader, version, false)? {
            Values::Positional(values) => values,
            Values::Named(named) => named.into_iter().map(|(_, value)| value).collect(),
        };
        Ok(BatchQuery { statement, values })
    }

    fn encode(&self, writer: &mut Writer<'_>, version: Version) -> Result<(), CqlError> {
        match &self.statement {
            BatchStatement::Text(text) => {
                writer.byte(0);
                writer.long_string(text, "statement")?;
            }
            BatchStatement::Prepared(id) => {
                writer.byte(1);
                writer.short_bytes(id, "id of the prepared statement")?;
            }
        }
        writer.count(self.values.len(), "values")?;
        self.values.iter().try_for_each(|value| writer.value(value, version, "value"))
    }
}
