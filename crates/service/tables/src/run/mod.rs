//! Executes plans: mutations, reads, pages, aggregates, batches, conditions.
//!
//! ```text
//!   Plan + Parameters ─▶ execute ─▶ requests to tablets (grouped, side by side) ─▶ rows ─▶ RowsWriter ─▶ Outcome
//! ```
//!
//! It is the coordinator: it runs on the shard that got the request, holds no data, and reaches tablets of this and
//! of other shards and nodes alike. It guarantees that all writes of one statement or batch carry one timestamp, that a page
//! ends at its rows or bytes whatever is asked, and that an outcome it does not know is reported as a timeout, never
//! as a refusal.

mod batch;
mod batch_size;
pub mod cells;
pub mod clock;
pub mod condition;
mod conditional;
mod consistency;
mod filter;
mod json;
mod keys;
mod memory;
mod page;
mod read;
pub mod replicas;
mod rows;
mod send;
mod write;

use crate::error::{CqlError, CqlResult};
use crate::plan::expression::Environment;
use crate::plan::modification::ModificationPlan;
use crate::plan::{Plan, PlanKind};
use crate::schema::Schema;
use crate::trace::Tracing;
use batch::BatchStatement;
use bytes::Bytes;
use conditional::Conditional;
use holon_base::{Instant, TabletId};
use holon_cql::request::BatchKind;
use holon_cql::response::WriteType;
use holon_cql::{BoundValue, Consistency, EncodedRows, Version};
use holon_kernel::{LocalFuture, Shard};
use send::Sender;
use std::cell::Cell;
use std::rc::Rc;
use write::Stamp;

/// Rows of a virtual table, in clustering order, columns as in [`crate::schema::Table::columns`].
pub type VirtualRows = Vec<Vec<Option<Bytes>>>;

/// The rows of a virtual table by keyspace and name, on all shards of the node.
pub type VirtualRowsOf = Rc<dyn Fn(&str, &str) -> LocalFuture<CqlResult<VirtualRows>>>;

/// What execution stands on. One a shard; cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub shard: Rc<Shard>,
    /// The snapshot of the moment; what a plan was made against may be older, and is used as it is.
    pub schema: Rc<Schema>,
    /// Tablets of this shard, to be reached without the detour over bytes.
    pub tablets: crate::tablet::LocalTablets,
    /// The way to tablets with several replicas, or with one on another node.
    pub coordinator: Rc<holon_replica::Coordinator>,
    /// Who decides on writes that depend on what was read.
    pub groups: Rc<holon_replica::Groups>,
    /// The rows of a virtual table (keyspace, table), computed at each read.
    pub virtual_rows: VirtualRowsOf,
    /// The data centre of this node: what LOCAL_… counts.
    pub data_center: Rc<str>,
}

/// What a request says besides its statement.
#[derive(Clone, Debug)]
pub struct Parameters {
    pub version: Version,
    pub consistency: Consistency,
    pub serial_consistency: Option<Consistency>,
    /// By position, one a marker: see [`crate::plan::Markers::positional`].
    pub values: Vec<BoundValue>,
    /// The client has the metadata of the result (it is sent nevertheless with the answer of a conditional write, whose
    /// columns depend on the outcome).
    pub skip_metadata: bool,
    /// Rows a page; `None` or ≤ 0: no paging.
    pub page_size: Option<i32>,
    pub paging_state: Option<Bytes>,
    /// Microseconds; `None`: the server's.
    pub timestamp_us: Option<i64>,
    /// Seconds since 1970, for expiry; `None`: the server's clock.
    pub now_seconds: Option<i64>,
    /// Goes with the metadata (v5) when the client's id is outdated.
    pub new_metadata_id: Option<Bytes>,
    /// When the client stops waiting; `None`: the default of the kind of statement, from now on.
    pub deadline: Option<Instant>,
    /// Takes notes of what is done, if the client wants to know.
    pub tracing: Tracing,
    pub asked: Asked,
}

/// The tablets that a statement went to, as far as it matters to who chose the node: none, one or several.
#[derive(Clone, Debug, Default)]
pub struct Asked(Cell<Option<(TabletId, bool)>>);

impl Asked {
    pub fn note(&self, tablet: TabletId) {
        let several = self.0.get().is_some_and(|(before, several)| several || before != tablet);
        self.0.set(Some((tablet, several)));
    }

    /// The tablet, if there was just one.
    pub fn only(&self) -> Option<TabletId> {
        self.0.get().and_then(|(tablet, several)| (!several).then_some(tablet))
    }
}

impl Parameters {
    /// Parameters with a consistency and nothing else.
    pub fn new(version: Version, consistency: Consistency) -> Parameters {
        Parameters {
            version,
            consistency,
            serial_consistency: None,
            values: Vec::new(),
            skip_metadata: false,
            page_size: None,
            paging_state: None,
            timestamp_us: None,
            now_seconds: None,
            new_metadata_id: None,
            deadline: None,
            tracing: Tracing::off(),
            asked: Asked::default(),
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// `None`: VOID.
    pub rows: Option<EncodedRows>,
    pub warnings: Vec<String>,
}

/// One statement of a BATCH message with its values.
#[derive(Clone)]
pub struct BatchItem {
    pub plan: Rc<Plan>,
    pub values: Vec<BoundValue>,
}

/// Executes a SELECT, INSERT, UPDATE, DELETE or `BEGIN BATCH`.
///
/// # Errors
/// What the client is to be told.
pub async fn execute(context: &Context, plan: &Plan, parameters: &Parameters) -> CqlResult<Outcome> {
    match &plan.kind {
        PlanKind::Select(select) => read::select(context, select, parameters).await,
        PlanKind::Modification(modification) => modify(context, modification, parameters).await,
        PlanKind::Batch(batch) => {
            let values = parameters.values.as_slice();
            let statements: Vec<BatchStatement<'_>> =
                batch.statements.iter().map(|plan| BatchStatement { plan, values }).collect();
            batch::execute(context, batch.kind, &statements, batch.timestamp.as_ref(), parameters).await
        }
    }
}

/// Executes a BATCH message. The `values` of `parameters` are not used.
///
/// # Errors
/// What the client is to be told.
pub async fn execute_batch(
    context: &Context,
    kind: BatchKind,
    items: &[BatchItem],
    parameters: &Parameters,
) -> CqlResult<Outcome> {
    let mut statements = Vec::with_capacity(items.len());
    for item in items {
        let PlanKind::Modification(plan) = &item.plan.kind else {
            return Err(CqlError::invalid(
                "Invalid statement in batch: only UPDATE, INSERT and DELETE statements are allowed.",
            ));
        };
        statements.push(BatchStatement { plan, values: &item.values });
    }
    batch::execute(context, kind, &statements, None, parameters).await
}

async fn modify(context: &Context, plan: &ModificationPlan, parameters: &Parameters) -> CqlResult<Outcome> {
    let environment = Environment::new(&parameters.values, &context.shard);
    if plan.is_conditional() {
        let statement = Conditional { plan, environment };
        return conditional::execute(context, &[statement], parameters, false).await;
    }
    let now_seconds = parameters.now_seconds.unwrap_or_else(|| context.shard.wall().seconds());
    let required = match consistency::check_write(context, &plan.table, parameters.consistency) {
        Ok(required) => required,
        Err(error) => {
            let stamp = Stamp { timestamp: 0, now_seconds };
            let targets = write::targets(context, plan, &environment, stamp)?;
            return Err(consistency::of_tablet(context, error, targets.first().map(|target| target.tablet)));
        }
    };
    let own = clock::stamp(context, plan.timestamp.is_some(), parameters).await?;
    let timestamp = write::timestamp(plan.timestamp.as_ref(), &environment, own)?;
    let targets = write::targets(context, plan, &environment, Stamp { timestamp, now_seconds })?;
    let write_type = if plan.table.is_counter() { WriteType::Counter } else { WriteType::Simple };
    let sender = Sender::new(context, parameters, required, write_type, &plan.table);
    sender.send(targets, timestamp, now_seconds).await?;
    Ok(Outcome::default())
}
