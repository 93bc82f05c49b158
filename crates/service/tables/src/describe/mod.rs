//! DESCRIBE, answered by the server: names, kinds, and the statements that would create them again.
//!
//! cqlsh (since 6) prints what comes back and adds nothing, so every form has exactly the columns of Cassandra's answer. It
//! is not a plan: it reads only the schema. Executing what it prints makes an equal definition (a table gets another id,
//! unless the description is WITH INTERNALS).

mod elements;
pub mod statements;

use crate::error::{CqlError, CqlResult};
use crate::schema::Schema;
use bytes::Bytes;
use elements::Element;
use holon_base::{ByteReader, ByteWriter, ShortInput};
use holon_cql::{ColumnSpec, CqlType, Value};
use holon_cql_language::ast::{Describe, DescribeTarget};
use std::sync::Arc;

/// Of the paging state, in case its layout changes while clients page.
const PAGING_STATE_VERSION: u8 = 1;

/// What DESCRIBE knows besides the statement.
pub struct DescribeContext<'a> {
    pub schema: &'a Schema,
    /// The keyspace in use.
    pub keyspace: Option<&'a str>,
    pub cluster_name: &'a str,
    /// End token of each range, with the addresses (`host:port` of the peer door) of its replicas: the answer to DESCRIBE
    /// CLUSTER with a keyspace in use.
    pub ranges: &'a [(i64, Vec<String>)],
}

/// A page of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    pub columns: Arc<[ColumnSpec]>,
    pub rows: Vec<Vec<Option<Bytes>>>,
    /// How to ask for the next page, if there may be one.
    pub paging_state: Option<Bytes>,
}

/// Answers one page: `page_size` rows, or all if it is `None` or not positive.
///
/// # Errors
/// What is described does not exist; or the schema changed since the page before.
pub fn describe(
    context: &DescribeContext<'_>,
    statement: &Describe,
    page_size: Option<i32>,
    paging_state: Option<&Bytes>,
) -> CqlResult<Description> {
    let offset = paging_state.map_or(Ok(0), |state| offset(context, state))?;
    let (columns, rows) = match &statement.target {
        DescribeTarget::Cluster => cluster(context)?,
        target => {
            let elements = elements::of(context, target)?;
            let with_statement = elements::has_statements(target);
            let row = |element: &Element<'_>| element.row(with_statement, statement.with_internals);
            // Statements are long: make those of this page only.
            let limit = page_rows(page_size).unwrap_or(usize::MAX);
            let shown = elements.iter().skip(offset).take(limit);
            let rows: Vec<Vec<Option<Bytes>>> = shown.map(row).collect();
            return Ok(Description {
                columns: element_columns(with_statement),
                paging_state: next(context, page_size, offset, rows.len(), elements.len()),
                rows,
            });
        }
    };
    Ok(Description { columns, rows: rows.into_iter().skip(offset).collect(), paging_state: None })
}

fn page_rows(page_size: Option<i32>) -> Option<usize> {
    page_size.and_then(|rows| usize::try_from(rows).ok()).filter(|rows| *rows > 0)
}

fn column(name: &str, cql_type: CqlType) -> ColumnSpec {
    ColumnSpec { keyspace: "system".into(), table: "describe".into(), name: name.into(), cql_type }
}

fn element_columns(with_statement: bool) -> Arc<[ColumnSpec]> {
    let names = ["keyspace_name", "type", "name", "create_statement"];
    let count = if with_statement { 4 } else { 3 };
    names.iter().take(count).map(|name| column(name, CqlType::Text)).collect()
}

type Answer = (Arc<[ColumnSpec]>, Vec<Vec<Option<Bytes>>>);

fn cluster(context: &DescribeContext<'_>) -> CqlResult<Answer> {
    let text = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
    let mut columns: Vec<ColumnSpec> =
        ["cluster", "partitioner", "snitch"].iter().map(|name| column(name, CqlType::Text)).collect();
    let mut row = vec![text(context.cluster_name), text("Murmur3Partitioner"), text("SimpleSnitch")];
    let shows_ranges =
        context.keyspace.and_then(|name| context.schema.keyspace(name)).is_some_and(|keyspace| !keyspace.is_reserved());
    if shows_ranges {
        let map_type = CqlType::map(CqlType::Text, CqlType::frozen(CqlType::list(CqlType::Text)));
        let entries = context.ranges.iter().map(|(token, replicas)| {
            let replicas = replicas.iter().map(|replica| Value::Text(replica.clone())).collect();
            (Value::Text(token.to_string()), Value::List(replicas))
        });
        let value = Value::Map(entries.collect()).to_bytes(&map_type);
        row.push(Some(value.map_err(|error| CqlError::Server(error.to_string()))?));
        columns.push(column("range_ownership", map_type));
    }
    Ok((columns.into(), vec![row]))
}

fn next(
    context: &DescribeContext<'_>,
    page_size: Option<i32>,
    offset: usize,
    shown: usize,
    total: usize,
) -> Option<Bytes> {
    page_rows(page_size)?;
    if offset + shown >= total {
        return None;
    }
    let mut state = ByteWriter::new();
    state.put_u8(PAGING_STATE_VERSION);
    state.put_u128(context.schema.version());
    state.put_varint((offset + shown) as u64);
    Some(state.freeze())
}

fn offset(context: &DescribeContext<'_>, state: &Bytes) -> CqlResult<usize> {
    let read = || -> Result<(u8, u128, u64), ShortInput> {
        let mut input = ByteReader::new(state.clone());
        let read = (input.u8()?, input.u128()?, input.varint()?);
        input.end()?;
        Ok(read)
    };
    match read() {
        Ok((PAGING_STATE_VERSION, version, offset)) if version == context.schema.version() => {
            Ok(usize::try_from(offset).unwrap_or(usize::MAX))
        }
        Ok((PAGING_STATE_VERSION, _, _)) => Err(CqlError::invalid(
            "The schema has changed since the previous page of the DESCRIBE statement result. Please retry the DESCRIBE \
             statement.",
        )),
        _ => Err(CqlError::protocol("Invalid value for the paging state")),
    }
}
