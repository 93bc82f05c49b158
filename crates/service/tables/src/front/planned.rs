//! From a tree to what is done with it: a plan for data, or the tree itself for everything that is carried out once
//! (USE, DESCRIBE, changes of the schema, accounts).

use super::statements::StatementId;
use crate::error::{CqlError, CqlResult};
use crate::plan::{self, AccessKind, Plan};
use crate::schema::Schema;
use bytes::BytesMut;
use holon_cql::notation::Writer;
use holon_cql::{ColumnSpec, RowsMetadata, Version};
use holon_cql_language::Parsed;
use holon_cql_language::ast::Statement;
use md5::{Digest, Md5};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

/// What an answer is expected to take before any was made, bytes.
const ANSWER_BYTES_FIRST: usize = 16 << 10;

pub struct Planned {
    /// `None`: carried out from its tree.
    pub plan: Option<Rc<Plan>>,
    /// A digest of the columns of the result: equal on all shards and nodes while they have the same columns.
    pub result_metadata_id: StatementId,
    /// Bytes of the largest answers of late: what the next one is expected to take.
    answer_bytes: Cell<usize>,
}

impl Planned {
    pub fn expected_answer_bytes(&self) -> usize {
        self.answer_bytes.get()
    }

    /// Grows at once, shrinks slowly.
    pub fn note_answer(&self, bytes: usize) {
        let expected = self.answer_bytes.get();
        self.answer_bytes.set(bytes.max(expected - expected / 8).max(ANSWER_BYTES_FIRST));
    }

    pub fn result_columns(&self) -> Option<&Arc<[ColumnSpec]>> {
        self.plan.as_ref().and_then(|plan| plan.result_columns())
    }

    /// It only reads.
    pub fn is_read(&self) -> bool {
        let only_selects = |plan: &Rc<Plan>| plan.accesses().iter().all(|access| access.kind == AccessKind::Select);
        self.plan.as_ref().is_some_and(only_selects)
    }
}

/// Plans a statement as far as it is planned.
///
/// # Errors
/// What is wrong with it in this schema.
pub fn plan(schema: &Rc<Schema>, keyspace: Option<&str>, parsed: &Parsed) -> CqlResult<Planned> {
    let plan = match is_planned(&parsed.statement) {
        true => Some(Rc::new(plan::plan(schema, keyspace, &parsed.statement)?)),
        false => None,
    };
    let result_metadata_id = metadata_id(plan.as_ref().and_then(|plan| plan.result_columns()))?;
    Ok(Planned { plan, result_metadata_id, answer_bytes: Cell::new(ANSWER_BYTES_FIRST) })
}

/// Statements on data; all others are carried out from their tree.
pub fn is_planned(statement: &Statement) -> bool {
    use Statement::{Batch, Delete, Insert, Select, Update};
    matches!(statement, Select(_) | Insert(_) | Update(_) | Delete(_) | Batch(_))
}

fn metadata_id(columns: Option<&Arc<[ColumnSpec]>>) -> CqlResult<StatementId> {
    let mut bytes = BytesMut::new();
    if let Some(columns) = columns {
        let metadata = RowsMetadata::new(columns.clone());
        let encoded = metadata.encode(&mut Writer::new(&mut bytes), Version::GREATEST);
        encoded.map_err(|error| CqlError::Invalid(error.to_string()))?;
    }
    Ok(Md5::digest(&bytes).into())
}
