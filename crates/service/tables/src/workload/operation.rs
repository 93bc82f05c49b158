//! What a connection waits for, and how a request is made of it.

use super::history::Range;
use super::register;
use super::shape::{KEYSPACE, Shape};
use bytes::Bytes;
use holon_base::Random;
use holon_cql::request::{Batch, BatchKind, BatchQuery, BatchStatement, Execute, Prepare, Query, QueryParameters};
use holon_cql::{Consistency, Request, Rows, Version};

/// A partition of one of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// In `SHAPES`.
    pub table: usize,
    pub partition: u32,
}

#[derive(Clone, Debug)]
pub enum Operation {
    Startup,
    /// A statement that makes what is missing; its number.
    Setup(usize),
    /// The SELECT of a table by partition.
    Prepare(usize),
    /// One mutation each, all with the same timestamp.
    Write {
        places: Vec<Place>,
        timestamp: i64,
    },
    Read(Read),
    Scan(Scan),
    Register {
        key: u32,
        change: register::Change,
    },
    RegisterRead {
        key: u32,
    },
    Scratch,
}

/// A read of one partition, page by page.
#[derive(Clone, Debug)]
pub struct Read {
    pub place: Place,
    pub range: Option<Range>,
    pub is_reversed: bool,
    pub page_size: Option<i32>,
    pub is_prepared: bool,
    pub pages: u32,
    pub rows: Vec<NamedRow>,
}

/// A read of a whole table, page by page.
#[derive(Clone, Debug)]
pub struct Scan {
    pub table: usize,
    pub page_size: i32,
    pub pages: u32,
    pub rows: Vec<NamedRow>,
}

/// A level to write at: mostly QUORUM, each of the others now and then.
pub(super) fn write_level(random: &mut Random) -> Consistency {
    match random.below(10) {
        0 => Consistency::One,
        1 => Consistency::Any,
        2 => Consistency::All,
        3 => Consistency::LocalQuorum,
        4 => Consistency::EachQuorum,
        _ => Consistency::Quorum,
    }
}

/// Columns of the result with their serialized values.
pub type NamedRow = Vec<(std::sync::Arc<str>, Option<Bytes>)>;

impl Read {
    pub fn statement(&self, shape: &Shape) -> String {
        let range = self.range.as_ref().map(|range| shape.range_relation(range)).unwrap_or_default();
        let relation = shape.partition_relation(self.place.partition);
        let order = if self.is_reversed { order_by(shape) } else { String::new() };
        format!("SELECT * FROM {KEYSPACE}.{} WHERE {relation}{range}{order}", shape.name)
    }
}

/// ` ORDER BY` against the order of the table.
fn order_by(shape: &Shape) -> String {
    let columns = shape
        .clustering
        .iter()
        .map(|(name, is_descending)| format!("{name} {}", if *is_descending { "ASC" } else { "DESC" }));
    format!(" ORDER BY {}", columns.collect::<Vec<_>>().join(", "))
}

/// The SELECT that is prepared for a table.
pub fn prepared_statement(shape: &Shape) -> String {
    let relations = shape.partition.iter().map(|(name, _)| format!("{name} = ?")).collect::<Vec<_>>();
    format!("SELECT * FROM {KEYSPACE}.{} WHERE {}", shape.name, relations.join(" AND "))
}

pub fn parameters() -> QueryParameters {
    QueryParameters::new(Consistency::One)
}

pub fn query(statement: String) -> Request {
    Request::Query(Query { statement, parameters: parameters() })
}

pub fn query_with(statement: String, parameters: QueryParameters) -> Request {
    Request::Query(Query { statement, parameters })
}

pub fn prepare(statement: String) -> Request {
    Request::Prepare(Prepare { statement, keyspace: None })
}

pub fn execute(prepared: &(Bytes, Bytes), version: Version, parameters: QueryParameters) -> Request {
    let (id, metadata_id) = prepared.clone();
    let result_metadata_id = (version >= Version::V5).then_some(metadata_id);
    Request::Execute(Execute { id, result_metadata_id, parameters })
}

pub fn batch(kind: BatchKind, statements: Vec<String>, timestamp: i64) -> Request {
    let query = |text| BatchQuery { statement: BatchStatement::Text(text), values: Vec::new() };
    Request::Batch(Batch {
        kind,
        queries: statements.into_iter().map(query).collect(),
        consistency: Consistency::One,
        serial_consistency: None,
        timestamp_us: Some(timestamp),
        keyspace: None,
        now_in_seconds: None,
    })
}

/// For messages about violations.
pub fn describe(request: &Request) -> String {
    match request {
        Request::Query(query) => format!("QUERY {}", query.statement),
        Request::Prepare(prepare) => format!("PREPARE {}", prepare.statement),
        Request::Batch(batch) => {
            let texts = batch.queries.iter().map(|query| match &query.statement {
                BatchStatement::Text(text) => text.as_str(),
                BatchStatement::Prepared(_) => "(prepared)",
            });
            format!("BATCH {}", texts.collect::<Vec<_>>().join("; "))
        }
        other => format!("{other:?}"),
    }
}

pub trait Named {
    /// The rows with the names of their columns.
    fn named(&self) -> Vec<NamedRow>;
}

impl Named for Rows {
    fn named(&self) -> Vec<NamedRow> {
        let names = |row: &Vec<Option<Bytes>>| {
            let columns = self.metadata.columns.iter().map(|column| column.name.clone());
            columns.zip(row.iter().cloned()).collect()
        };
        self.rows.iter().map(names).collect()
    }
}
