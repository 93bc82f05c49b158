//! Statements resolved against the schema: what is to be read or written, typed.
//!
//! ```text
//!   Statement (a tree of names) + Schema ─▶ plan ─▶ Plan (columns, types, markers) ─▶ run::execute, any number of
//! times
//! ```
//!
//! It reads no data and no values: a plan is made once for a prepared statement and executed often. It guarantees
//! that what does not need values is checked here, with Cassandra's messages. DDL, roles and DESCRIBE are not planned
//! here.

pub mod aggregate;
pub mod expression;
mod markers;
pub mod modification;
pub mod operations;
mod relation_parts;
pub mod relations;
pub mod restrictions;
pub mod select;
pub mod selection;
mod terms;

pub use markers::Markers;

use crate::error::{CqlError, CqlResult};
use crate::schema::{Schema, Table};
use expression::Expression;
use holon_cql::ColumnSpec;
use holon_cql::request::BatchKind;
use holon_cql_language::ast::{self, Modification, QualifiedName, Statement};
use markers::MarkerCollector;
use modification::{ModificationPlan, Planning};
use select::SelectPlan;
use std::rc::Rc;
use std::sync::Arc;

/// A planned statement.
#[derive(Debug)]
pub struct Plan {
    pub(crate) kind: PlanKind,
    markers: Markers,
    accesses: Vec<Access>,
}

#[derive(Debug)]
pub(crate) enum PlanKind {
    Select(Box<SelectPlan>),
    Modification(Box<ModificationPlan>),
    Batch(BatchPlan),
}

/// `BEGIN … BATCH`.
#[derive(Debug)]
pub(crate) struct BatchPlan {
    pub kind: BatchKind,
    pub statements: Vec<ModificationPlan>,
    pub timestamp: Option<Expression>,
}

/// What a statement does to a table: for permissions, and for dropping plans when the table changes.
#[derive(Clone, Debug)]
pub struct Access {
    pub table: Rc<Table>,
    pub kind: AccessKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessKind {
    Select,
    Modify,
}

impl Plan {
    /// The bind markers: what PREPARE answers, and how values find their places.
    pub fn markers(&self) -> &Markers {
        &self.markers
    }

    /// The columns of the result; `None` if it returns none, or (conditional writes) depends on the outcome.
    pub fn result_columns(&self) -> Option<&Arc<[ColumnSpec]>> {
        match &self.kind {
            PlanKind::Select(select) => Some(&select.columns),
            _ => None,
        }
    }

    pub fn accesses(&self) -> &[Access] {
        &self.accesses
    }

    /// An INSERT, UPDATE or DELETE, that is, something that may stand in a BATCH message.
    pub fn is_modification(&self) -> bool {
        matches!(self.kind, PlanKind::Modification(_))
    }

    pub fn is_conditional(&self) -> bool {
        match &self.kind {
            PlanKind::Select(_) => false,
            PlanKind::Modification(modification) => modification.is_conditional(),
            PlanKind::Batch(batch) => batch.statements.iter().any(ModificationPlan::is_conditional),
        }
    }
}

/// Plans a SELECT, INSERT, UPDATE, DELETE or BATCH.
///
/// # Errors
/// Unknown names, types that do not fit, relations that are not possible; and any other statement.
pub fn plan(schema: &Schema, keyspace: Option<&str>, statement: &Statement) -> CqlResult<Plan> {
    match statement {
        Statement::Select(statement) => {
            let table = find_table(schema, keyspace, &statement.from)?;
            let mut markers = MarkerCollector::new(&table.keyspace, &table.name);
            let select = select::select(schema, &table, statement, &mut markers)?;
            let markers = markers.finish(table.partition_key().len())?;
            let accesses = vec![Access { table, kind: AccessKind::Select }];
            Ok(Plan { kind: PlanKind::Select(Box::new(select)), markers, accesses })
        }
        Statement::Insert(insert) => modification(schema, keyspace, &insert.table, |planning| planning.insert(insert)),
        Statement::Update(update) => modification(schema, keyspace, &update.table, |planning| planning.update(update)),
        Statement::Delete(delete) => modification(schema, keyspace, &delete.table, |planning| planning.delete(delete)),
        Statement::Batch(batch) => plan_batch(schema, keyspace, batch),
        _ => Err(CqlError::server("only SELECT, INSERT, UPDATE, DELETE and BATCH are planned here")),
    }
}

fn modification(
    schema: &Schema,
    keyspace: Option<&str>,
    name: &QualifiedName,
    make: impl FnOnce(&mut Planning<'_>) -> CqlResult<ModificationPlan>,
) -> CqlResult<Plan> {
    let table = writable_table(schema, keyspace, name)?;
    let mut markers = MarkerCollector::new(&table.keyspace, &table.name);
    let made = make(&mut Planning { schema, table: &table, markers: &mut markers })?;
    let markers = markers.finish(table.partition_key().len())?;
    let accesses = vec![Access { table, kind: AccessKind::Modify }];
    Ok(Plan { kind: PlanKind::Modification(Box::new(made)), markers, accesses })
}

fn plan_batch(schema: &Schema, keyspace: Option<&str>, batch: &ast::Batch) -> CqlResult<Plan> {
    let mut markers = MarkerCollector::new("", "");
    let mut statements = Vec::with_capacity(batch.statements.len());
    let mut accesses = Vec::new();
    let mut key_columns = 0;
    let mut timestamp = None;
    for (index, statement) in batch.statements.iter().enumerate() {
        let name = match statement {
            Modification::Insert(insert) => &insert.table,
            Modification::Update(update) => &update.table,
            Modification::Delete(delete) => &delete.table,
        };
        let table = writable_table(schema, keyspace, name)?;
        if index == 0 {
            markers = MarkerCollector::new(&table.keyspace, &table.name);
            key_columns = table.partition_key().len();
            let mut planning = Planning { schema, table: &table, markers: &mut markers };
            (timestamp, _) = planning.using(&batch.using)?;
            if batch.using.ttl.is_some() {
                return Err(CqlError::invalid("Global TTL on the BATCH statement is not supported."));
            }
        } else {
            markers.enter_table(&table.keyspace, &table.name);
        }
        let mut planning = Planning { schema, table: &table, markers: &mut markers };
        let made = match statement {
            Modification::Insert(insert) => planning.insert(insert)?,
            Modification::Update(update) => planning.update(update)?,
            Modification::Delete(delete) => planning.delete(delete)?,
        };
        if timestamp.is_some() && batch.kind == ast::BatchKind::Counter {
            return Err(CqlError::invalid("Cannot provide custom timestamp for counter BATCH"));
        }
        if timestamp.is_some() && made.timestamp.is_some() {
            return Err(CqlError::invalid("Timestamp must be set either on BATCH or individual statements"));
        }
        statements.push(made);
        accesses.push(Access { table, kind: AccessKind::Modify });
    }
    let kind = match batch.kind {
        ast::BatchKind::Logged => BatchKind::Logged,
        ast::BatchKind::Unlogged => BatchKind::Unlogged,
        ast::BatchKind::Counter => BatchKind::Counter,
    };
    let markers = markers.finish(key_columns)?;
    Ok(Plan { kind: PlanKind::Batch(BatchPlan { kind, statements, timestamp }), markers, accesses })
}

/// # Errors
/// No keyspace, an unknown one, an unknown table.
pub fn find_table(schema: &Schema, keyspace: Option<&str>, name: &QualifiedName) -> CqlResult<Rc<Table>> {
    let keyspace = name.keyspace.as_ref().map(ast::Identifier::as_str).or(keyspace);
    let keyspace = keyspace.ok_or_else(CqlError::no_keyspace)?;
    let found =
        schema.keyspace(keyspace).ok_or_else(|| CqlError::Invalid(format!("keyspace {keyspace} does not exist")))?;
    found.table(name.name.as_str()).cloned().ok_or_else(|| CqlError::unknown_table(name.name.as_str()))
}

fn writable_table(schema: &Schema, keyspace: Option<&str>, name: &QualifiedName) -> CqlResult<Rc<Table>> {
    let table = find_table(schema, keyspace, name)?;
    if table.is_virtual() {
        return Err(CqlError::Invalid(format!(
            "Modification is not supported by table {}.{}",
            table.keyspace, table.name
        )));
    }
    Ok(table)
}
