//! Batches: one timestamp for all, one mutation a tablet, and for logged batches over several tablets the batch log
//! ([`crate::tablet::batch_log`]).

use super::batch_size;
use super::conditional::{self, Conditional};
use super::send::{Sender, by_tablet};
use super::write::{self, Stamp, Target};
use super::{Context, Outcome, Parameters, clock, consistency};
use crate::error::{CqlError, CqlResult};
use crate::limits;
use crate::plan::expression::{Environment, Expression};
use crate::plan::modification::ModificationPlan;
use crate::schema::Table;
use crate::tablet::{batch_log, request};
use crate::trace::several;
use holon_base::TabletId;
use holon_cql::BoundValue;
use holon_cql::request::BatchKind;
use holon_cql::response::WriteType;
use holon_kernel::{Verb, join_all};
use holon_store::Mutation;

/// One statement of a batch with its values.
pub struct BatchStatement<'a> {
    pub plan: &'a ModificationPlan,
    pub values: &'a [BoundValue],
}

/// # Errors
/// Statements that do not go together, and what any write may fail with.
pub async fn execute(
    context: &Context,
    kind: BatchKind,
    statements: &[BatchStatement<'_>],
    timestamp: Option<&Expression>,
    parameters: &Parameters,
) -> CqlResult<Outcome> {
    let Some(first) = statements.first() else { return Ok(Outcome::default()) };
    check_kinds(kind, statements)?;
    if statements.iter().any(|statement| statement.plan.is_conditional()) {
        if timestamp.is_some() {
            return Err(CqlError::invalid("Cannot provide custom timestamp for conditional BATCH"));
        }
        let all: Vec<Conditional<'_>> = statements
            .iter()
            .map(|statement| Conditional {
                plan: statement.plan,
                environment: Environment::new(statement.values, &context.shard),
            })
            .collect();
        return conditional::execute(context, &all, parameters, true).await;
    }
    let mut required = 0;
    for statement in statements {
        required = consistency::check_write(context, &statement.plan.table, parameters.consistency)?.max(required);
    }
    let own = clock::stamp(context, timestamp.is_some(), parameters).await?;
    let common = write::timestamp(timestamp, &Environment::new(first.values, &context.shard), own)?;
    let now_seconds = parameters.now_seconds.unwrap_or_else(|| context.shard.wall().seconds());
    let mut targets: Vec<Target> = Vec::new();
    let mut tables: Vec<&Table> = Vec::new();
    for statement in statements {
        let environment = Environment::new(statement.values, &context.shard);
        let own = match &statement.plan.timestamp {
            Some(own) => write::timestamp(Some(own), &environment, common)?,
            None => common,
        };
        let stamp = Stamp { timestamp: own, now_seconds };
        targets.extend(write::targets(context, statement.plan, &environment, stamp)?);
        tables.resize(targets.len(), &statement.plan.table);
    }
    let mut outcome = Outcome::default();
    let writes: Vec<(&Table, &Target)> = tables.into_iter().zip(&targets).collect();
    batch_size::check(kind, &writes, &mut outcome)?;
    let write_type = match kind {
        BatchKind::Logged => WriteType::Batch,
        BatchKind::Unlogged => WriteType::UnloggedBatch,
        BatchKind::Counter => WriteType::Counter,
    };
    let sender = Sender::new(context, parameters, required, write_type, &first.plan.table);
    let (reading, plain): (Vec<Target>, Vec<Target>) =
        targets.into_iter().partition(|target| !target.writes.operations.is_empty());
    let mutations = by_tablet(&plain)?;
    parameters.tracing.note(|| {
        let log = if kind == BatchKind::Logged && mutations.len() > 1 { ", through the batch log" } else { "" };
        let (statements, tablets) = (several(statements.len(), "statement"), several(mutations.len(), "tablet"));
        format!("Writing a batch of {statements} to {tablets}{log}")
    });
    match kind {
        BatchKind::Logged if mutations.len() > 1 => logged(&sender, mutations, common, now_seconds).await?,
        _ => {
            let writes = mutations.into_iter().map(|(tablet, mutation)| sender.write(tablet, mutation));
            join_all(writes).await.into_iter().collect::<CqlResult<()>>()?;
        }
    }
    // Operations that read first follow: what they write depends on the row, so it cannot be in the log before.
    sender.send(merged_by_partition(reading), common, now_seconds).await?;
    Ok(outcome)
}

/// Operations on one partition become one transaction.
fn merged_by_partition(targets: Vec<Target>) -> Vec<Target> {
    let mut merged: Vec<Target> = Vec::new();
    for target in targets {
        match merged.iter_mut().find(|other| other.prefix == target.prefix && other.tablet == target.tablet) {
            Some(other) => {
                other.writes.rows.extend(target.writes.rows);
                other.writes.ranges.extend(target.writes.ranges);
                other.writes.operations.extend(target.writes.operations);
            }
            None => merged.push(target),
        }
    }
    merged
}

fn check_kinds(kind: BatchKind, statements: &[BatchStatement<'_>]) -> CqlResult<()> {
    let counters = statements.iter().filter(|statement| statement.plan.table.is_counter()).count();
    match kind {
        BatchKind::Counter if counters < statements.len() => {
            Err(CqlError::invalid("Cannot include non-counter statement in a counter batch"))
        }
        BatchKind::Logged if counters > 0 => {
            Err(CqlError::invalid("Cannot include a counter statement in a logged batch"))
        }
        BatchKind::Unlogged if counters > 0 && counters < statements.len() => {
            Err(CqlError::invalid("Counter and non-counter mutations cannot exist in the same batch"))
        }
        _ => Ok(()),
    }
}

/// The first tablet's part together with all the others, then the others, then the log is cleared.
async fn logged(
    sender: &Sender<'_>,
    mutations: Vec<(TabletId, Mutation)>,
    timestamp: i64,
    now_seconds: i64,
) -> CqlResult<()> {
    let shard = &sender.context.shard;
    let id = (u128::from(shard.random_u64()) << 64) | u128::from(shard.random_u64());
    // A tablet of this shard keeps the log if there is one: it can then be cleared without a message.
    let at = mutations.iter().position(|(tablet, _)| sender.context.tablets.get(*tablet).is_some()).unwrap_or(0);
    let mut others = mutations;
    let (first, own) = others.remove(at);
    let mut parts: Vec<batch_log::Part> =
        others.iter().map(|(tablet, mutation)| (*tablet, mutation.bytes().clone())).collect();
    if !sender.context.coordinator.is_alone(first) {
        // Perhaps one replica alone gets the log: whoever sees the batch through brings this part to the others, too.
        parts.push((first, own.bytes().clone()));
    }
    let (key, row) = batch_log::entry(id, &parts, timestamp);
    let beginning = batch_log::beginning(Some(&own), &key, &row);
    sender.write(first, beginning.map_err(|error| CqlError::Invalid(error.to_string()))?).await?;
    let writes = others.into_iter().map(|(tablet, mutation)| sender.write(tablet, mutation));
    let written: CqlResult<()> = join_all(writes).await.into_iter().collect();
    match written {
        Ok(()) => {
            let cleared = match batch_log::removal_of(id, timestamp, now_seconds) {
                Ok(removal) => sender.write(first, removal).await,
                Err(error) => Err(CqlError::from_call(error)),
            };
            if cleared.is_err() {
                finish_later(sender, first).await;
            }
            Ok(())
        }
        Err(error) => {
            // It has begun, so it will happen: the answer is "unknown yet", not "refused".
            finish_later(sender, first).await;
            Err(match error {
                CqlError::Overloaded(_) | CqlError::Server(_) => CqlError::WriteTimeout {
                    consistency: sender.parameters.consistency,
                    received: 0,
                    required: sender.required,
                    write_type: WriteType::Batch,
                },
                other => other,
            })
        }
    }
}

/// Leaves the rest of a batch to the tablet where it began. If that cannot be told, the next start of the node
/// finishes it.
async fn finish_later(sender: &Sender<'_>, tablet: TabletId) {
    if !sender.context.coordinator.is_alone(tablet) {
        return; // each replica looks after it since it began
    }
    if let Some(tablet) = sender.context.tablets.get(tablet) {
        batch_log::finish_later(&tablet);
        return;
    }
    let shard = &sender.context.shard;
    let deadline = shard.now() + limits::WRITE_TIMEOUT;
    let _ = shard.call_tablet(tablet, Verb::APPLY, request::encode_finish_batches(), deadline).await;
}
