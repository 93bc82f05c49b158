//! Carries out one planned statement, however it came: what QUERY and EXECUTE have in common.

use super::connection::{Answer, Connection};
use super::metrics::Operation;
use super::planned::Planned;
use super::roles;
use crate::error::{CqlError, CqlResult};
use crate::run::{Outcome, Parameters};
use crate::service::TablesService;
use crate::trace::Tracing;
use bytes::Bytes;
use holon_cql::request::QueryParameters;
use holon_cql::response::ResultResponse;
use holon_cql::{BoundValue, Version};
use holon_cql_language::SharedStatement;
use holon_cql_language::ast::{Identifier, Statement};
use std::rc::Rc;

/// A statement on its way.
pub struct Run<'a> {
    pub service: &'a Rc<TablesService>,
    pub connection: &'a Connection,
    /// The keyspace that names without one are looked up in.
    pub keyspace: Option<Rc<str>>,
    pub parsed: &'a SharedStatement,
    pub planned: &'a Planned,
    /// v5: the client's idea of the columns is outdated, this is the id of the new ones.
    pub new_metadata_id: Option<Bytes>,
    pub tracing: &'a Tracing,
}

pub async fn run(run: Run<'_>, mut request: QueryParameters) -> CqlResult<Answer> {
    let Some(plan) = &run.planned.plan else { return run_tree(run, request).await };
    let values = plan.markers().positional(std::mem::take(&mut request.values))?;
    let mut parameters = parameters(run.connection.version(), &request, values);
    parameters.new_metadata_id = run.new_metadata_id;
    parameters.tracing = run.tracing.clone();
    let memory = match run.planned.result_columns() {
        // Its rows take memory: not before there is some, and not for a client that does not read what it has.
        Some(_) => {
            run.connection.wait_while_clogged(run.service.shard()).await;
            Some(run.service.answer_pool().acquire(run.planned.expected_answer_bytes()).await)
        }
        None => None,
    };
    let (context, started) = (run.service.context(), run.service.shard().now());
    let outcome = crate::run::execute(&context, plan, &parameters).await;
    let operation = if run.planned.is_read() { Operation::Read } else { Operation::Write };
    let (metrics, took) = (run.service.requests_metrics(), run.service.shard().now().since(started));
    metrics.operation(operation, took);
    metrics.on_tables(plan.accesses(), operation, took);
    let outcome = outcome?;
    if let Some(rows) = &outcome.rows {
        run.planned.note_answer(rows.len_bytes());
    }
    if let Some(tablet) = parameters.asked.only() {
        metrics.routed(run.service.is_reader(tablet));
    }
    Ok(Answer { memory, ..answer(outcome) })
}

/// Statements that are not planned.
async fn run_tree(run: Run<'_>, request: QueryParameters) -> CqlResult<Answer> {
    let Run { service, connection, keyspace, parsed, .. } = run;
    if !request.values.is_empty() {
        return Err(CqlError::invalid("Invalid amount of bind variables: expected 0"));
    }
    match &parsed.statement {
        Statement::Use(name) => use_keyspace(service, connection, name),
        statement if roles::is_role_statement(statement) => roles::run(service, connection, statement).await,
        Statement::Describe(describe) => {
            service.describe(connection.version(), keyspace.as_deref(), describe, &request)
        }
        statement => service.change_schema(keyspace.as_deref(), statement).await,
    }
}

fn use_keyspace(service: &TablesService, connection: &Connection, name: &Identifier) -> CqlResult<Answer> {
    let schema = service.schema();
    let Some(keyspace) = schema.keyspace(name.as_str()) else {
        return Err(CqlError::unknown_keyspace(name.as_str()));
    };
    connection.set_keyspace(keyspace.name.clone());
    Ok(Answer::result(ResultResponse::SetKeyspace(name.as_str().to_string())))
}

/// The keyspace for names without one: the request's own (v5), or what USE has set.
pub fn keyspace(connection: &Connection, of_request: Option<&str>) -> Option<Rc<str>> {
    of_request.map(Rc::from).or_else(|| connection.keyspace())
}

pub fn parameters(version: Version, request: &QueryParameters, values: Vec<BoundValue>) -> Parameters {
    Parameters {
        serial_consistency: request.serial_consistency,
        values,
        skip_metadata: request.skip_metadata,
        page_size: request.page_size,
        paging_state: request.paging_state.clone(),
        timestamp_us: request.timestamp_us,
        now_seconds: request.now_in_seconds.map(i64::from),
        ..Parameters::new(version, request.consistency)
    }
}

pub fn answer(outcome: Outcome) -> Answer {
    let result = outcome.rows.map_or(ResultResponse::Void, ResultResponse::EncodedRows);
    Answer { warnings: outcome.warnings, ..Answer::result(result) }
}
