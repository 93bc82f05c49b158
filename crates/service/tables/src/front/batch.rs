//! BATCH: modifications as text and as prepared statements, carried out as one.

use super::connection::{Answer, Connection};
use super::execute;
use super::metrics::Operation;
use super::planned::Planned;
use super::run;
use crate::error::{CqlError, CqlResult};
use crate::run::BatchItem;
use crate::service::TablesService;
use crate::trace::{Tracing, several};
use holon_cql::request::{Batch, BatchQuery, BatchStatement, QueryParameters, Values};
use std::rc::Rc;

pub async fn batch(
    service: &Rc<TablesService>,
    connection: &Connection,
    batch: Batch,
    tracing: &Tracing,
) -> CqlResult<Answer> {
    let keyspace = run::keyspace(connection, batch.keyspace.as_deref());
    let mut items = Vec::with_capacity(batch.queries.len());
    for query in batch.queries {
        items.push(item(service, keyspace.as_ref(), query).await?);
    }
    let mut parameters = QueryParameters::new(batch.consistency);
    parameters.serial_consistency = batch.serial_consistency;
    parameters.timestamp_us = batch.timestamp_us;
    parameters.now_in_seconds = batch.now_in_seconds;
    let mut parameters = run::parameters(connection.version(), &parameters, Vec::new());
    parameters.tracing = tracing.clone();
    tracing.note(|| format!("Planned the batch of {}", several(items.len(), "statement")));
    let (context, started) = (service.context(), service.shard().now());
    let outcome = crate::run::execute_batch(&context, batch.kind, &items, &parameters).await;
    let (metrics, took) = (service.requests_metrics(), service.shard().now().since(started));
    metrics.operation(Operation::Write, took);
    items.iter().for_each(|item| metrics.on_tables(item.plan.accesses(), Operation::Write, took));
    outcome.map(run::answer)
}

async fn item(service: &Rc<TablesService>, keyspace: Option<&Rc<str>>, query: BatchQuery) -> CqlResult<BatchItem> {
    let kept = match &query.statement {
        BatchStatement::Text(text) => service.statements().simple(keyspace, text)?,
        BatchStatement::Prepared(id) => execute::find(service, id).await?,
    };
    let planned = kept.planned(&service.schema())?;
    let Planned { plan: Some(plan), .. } = &*planned else {
        let text = "Invalid statement in batch: only UPDATE, INSERT and DELETE statements are allowed.";
        return Err(CqlError::invalid(text));
    };
    let values = plan.markers().positional(Values::Positional(query.values))?;
    Ok(BatchItem { plan: plan.clone(), values })
}
