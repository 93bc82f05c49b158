//! Writes to tablets, of this shard or another, and what their failures mean to a client.

use super::write::Target;
use super::{Context, Parameters, replicas};
use crate::error::{CqlError, CqlResult};
use crate::limits;
use crate::schema::Table;
use crate::tablet::{Hand, Step, Transacted, Transaction, TransactionAnswer, request};
use crate::trace::several;
use bytes::Bytes;
use holon_base::{Instant, TabletId};
use holon_cql::Consistency;
use holon_cql::response::WriteType;
use holon_kernel::{CallError, Verb, join_all};
use holon_replica::consensus::AskError;
use holon_replica::coordinator::Demand;
use holon_replica::{Level, WriteRequest};
use holon_store::{Mutation, MutationBuilder};
use std::collections::BTreeMap;

/// One statement's or batch's way to the tablets.
pub struct Sender<'a> {
    pub context: &'a Context,
    pub parameters: &'a Parameters,
    pub required: u32,
    pub write_type: WriteType,
    pub deadline: Instant,
    /// For messages.
    pub table: &'a Table,
}

impl<'a> Sender<'a> {
    pub fn new(
        context: &'a Context,
        parameters: &'a Parameters,
        required: u32,
        write_type: WriteType,
        table: &'a Table,
    ) -> Sender<'a> {
        let timeout = if write_type == WriteType::Cas { limits::CAS_TIMEOUT } else { limits::WRITE_TIMEOUT };
        let own = context.shard.now() + timeout;
        let deadline = parameters.deadline.map_or(own, |deadline| deadline.min(own));
        Sender { context, parameters, required, write_type, deadline, table }
    }

    pub async fn write(&self, tablet: TabletId, mutation: Mutation) -> CqlResult<()> {
        self.parameters.asked.note(tablet);
        if !self.context.coordinator.is_alone(tablet) {
            return self.write_replicas(tablet, mutation, false).await;
        }
        let again = mutation.clone();
        let (shard, tracing) = (&self.context.shard, &self.parameters.tracing);
        let written = match self.context.tablets.get(tablet) {
            Some(local) => {
                let writing = local.write(mutation, tracing);
                shard.timeout(self.deadline, writing).await.unwrap_or(Err(CallError::Timeout))
            }
            None => {
                let to = tablet.shard(shard.shards()).0;
                tracing.note(|| format!("Sending a mutation of {} bytes to shard {to}", mutation.bytes().len()));
                let request = WriteRequest { mutation: mutation.bytes().clone(), noted: tracing.is_on() };
                let answer = shard.call_tablet(tablet, Verb::APPLY, request.encode(), self.deadline).await;
                answer.map(|events| {
                    tracing.take_in(request::decode_events(events));
                    tracing.note(|| format!("Shard {to} has acknowledged"));
                })
            }
        };
        let moved = !self.context.coordinator.is_alone(tablet);
        match written {
            // It began to move meanwhile: whoever copies it may have read it before.
            Ok(()) if moved => self.write_replicas(tablet, again, true).await,
            // Its shard knows that it moves, and this one may not yet. It may have been written.
            Err(CallError::NotHere) => self.write_replicas(tablet, again, true).await,
            written => written.map_err(|error| self.failure(error)),
        }
    }

    /// `earlier`: some replica may have it already.
    async fn write_replicas(&self, tablet: TabletId, mutation: Mutation, earlier: bool) -> CqlResult<()> {
        let consistency = self.parameters.consistency;
        let level = replicas::level(consistency).unwrap_or(Level::Quorum);
        let promised = replicas::promised(self.context, self.table)?;
        let demand = Demand { tablet, level, replication: Some(&promised), deadline: self.deadline };
        let tracing = &self.parameters.tracing;
        tracing.note(|| {
            let bytes = mutation.bytes().len();
            format!("Sending a mutation of {bytes} bytes to the replicas of tablet {tablet}")
        });
        let notes = |node, events| replicas::note_answer(self.context, tracing, node, events);
        let bytes = mutation.bytes().clone();
        let coordinator = &self.context.coordinator;
        let written = match earlier {
            false => coordinator.write(&demand, bytes, tracing.is_on(), &notes).await,
            true => coordinator.write_again(&demand, bytes, tracing.is_on(), &notes).await,
        };
        written.map_err(|error| {
            replicas::write_error(&self.context.shard, error, self.table, consistency, self.write_type)
        })
    }

    /// Has the leader of the tablet's group carry out a transaction.
    pub async fn transact(&self, tablet: TabletId, transaction: Transaction) -> CqlResult<TransactionAnswer> {
        self.parameters.asked.note(tablet);
        let tracing = &self.parameters.tracing;
        tracing.note(|| {
            let rows = several(transaction.steps.len(), "row");
            format!(
                "Reading and writing {rows} of tablet {tablet}, with the partition locked by the leader of its group"
            )
        });
        let outcome = match self.transact_here(tablet, &transaction).await {
            Some(outcome) => outcome.map(|transacted| (transacted.answer, None)).map_err(|error| self.failure(error)),
            None => self.ask_leader(tablet, &transaction).await,
        };
        tracing.note(|| match &outcome {
            Ok((TransactionAnswer { applied: true, .. }, _)) => "Written".to_string(),
            Ok(_) => "The conditions do not hold: nothing was written".to_string(),
            Err(error) => format!("No success: {error}"),
        });
        let (answer, written) = outcome?;
        if let Some(mutation) = written {
            // A majority of all has it; the level asks for others.
            let mutation = Mutation::decode(mutation).map_err(|error| CqlError::server(error.to_string()))?;
            let written = self.write_replicas(tablet, mutation, true).await;
            // Whatever kept it from the others: it is decided.
            written.map_err(|_| self.failure(CallError::Timeout))?;
        }
        Ok(answer)
    }

    /// If nobody else needs to be asked: without the way over bytes.
    async fn transact_here(
        &self,
        tablet: TabletId,
        transaction: &Transaction,
    ) -> Option<Result<Transacted, CallError>> {
        let local = self.context.tablets.get(tablet)?;
        let alone = self.context.groups.alone(tablet)?;
        let work = local.transact(transaction.clone(), Hand::Alone(alone), self.deadline);
        Some(self.context.shard.timeout(self.deadline, work).await.unwrap_or(Err(CallError::Timeout)))
    }

    async fn ask_leader(
        &self,
        tablet: TabletId,
        transaction: &Transaction,
    ) -> CqlResult<(TransactionAnswer, Option<Bytes>)> {
        let payload = request::encode_transaction(transaction, self.asks_for_more_than_a_majority());
        match self.context.groups.ask(tablet, payload, self.deadline).await {
            Ok(bytes) => request::decode_transacted(bytes)
                .map_err(|short| CqlError::server(format!("a tablet answered unreadably: {short}"))),
            // Whatever the level, it takes a majority of all replicas.
            Err(AskError::Unavailable { required, alive }) => Err(CqlError::Unavailable {
                consistency: Consistency::Serial,
                required: replicas::small(required),
                alive: replicas::small(alive),
            }),
            Err(AskError::NoLeader) => Err(self.no_leader()),
            Err(AskError::Call(error)) => Err(self.failure(error)),
        }
    }

    /// A decision is at a majority of the replicas when it is answered; whether the level asks for more, or others.
    fn asks_for_more_than_a_majority(&self) -> bool {
        let several_centers = || {
            let nodes = self.context.shard.map().map(|map| map.nodes()).unwrap_or_default();
            nodes.windows(2).any(|pair| pair[0].data_center != pair[1].data_center)
        };
        match replicas::level(self.parameters.consistency) {
            Some(Level::Any | Level::Count(1) | Level::LocalCount(1) | Level::Quorum) | None => false,
            Some(Level::LocalQuorum | Level::EachQuorum) => several_centers(),
            Some(_) => true,
        }
    }

    /// Enough replicas seem alive, so it is not unavailable. Nothing was done, for which the protocol has no word: this is what
    /// Cassandra says when its replicas give no promise in time.
    fn no_leader(&self) -> CqlError {
        match (self.failure(CallError::Timeout), self.write_type) {
            (CqlError::WriteTimeout { received, required, write_type, .. }, WriteType::Cas) => {
                let consistency = self.parameters.serial_consistency.unwrap_or(Consistency::Serial);
                CqlError::WriteTimeout { consistency, received, required, write_type }
            }
            (error, _) => error,
        }
    }

    /// What is not known to have failed may have happened: that is a timeout, never a refusal.
    fn failure(&self, error: CallError) -> CqlError {
        match error {
            CallError::Timeout | CallError::Gone => CqlError::WriteTimeout {
                consistency: self.parameters.consistency,
                received: 0,
                required: self.required,
                write_type: self.write_type,
            },
            CallError::Overloaded => {
                CqlError::overloaded("writes are ahead of the disk; nothing was written, try again later")
            }
            CallError::NotHere => CqlError::unknown_table(&self.table.name),
            CallError::Failed(bytes) => CqlError::decode(&bytes),
        }
    }

    /// All targets, side by side: those of one tablet as one mutation, operations that read first as transactions.
    ///
    /// # Errors
    /// The first failure; others may have been written.
    pub async fn send(&self, mut targets: Vec<Target>, timestamp: i64, now_seconds: i64) -> CqlResult<()> {
        targets.retain(|target| !target.writes.is_empty());
        if let [only] = targets.as_slice()
            && only.writes.operations.is_empty()
        {
            let mut builder = MutationBuilder::new();
            only.writes.add_to(&mut builder);
            return self.write(only.tablet, finish(builder)?).await;
        }
        let (reading, plain): (Vec<Target>, Vec<Target>) =
            targets.into_iter().partition(|target| !target.writes.operations.is_empty());
        let mutations = by_tablet(&plain)?;
        let writes = mutations.into_iter().map(|(tablet, mutation)| self.write(tablet, mutation));
        let writes = join_all(writes).await;
        writes.into_iter().collect::<CqlResult<()>>()?;
        let transactions = reading.into_iter().map(|target| {
            let tablet = target.tablet;
            let transaction = transaction_of(target, Some(timestamp), now_seconds);
            async move { self.transact(tablet, transaction).await.map(|_| ()) }
        });
        join_all(transactions).await.into_iter().collect()
    }
}

fn finish(builder: MutationBuilder) -> CqlResult<Mutation> {
    builder.finish().map_err(|error| CqlError::Invalid(error.to_string()))
}

/// One mutation a tablet.
///
/// # Errors
/// A mutation that is too large.
pub fn by_tablet(targets: &[Target]) -> CqlResult<Vec<(TabletId, Mutation)>> {
    let mut builders: BTreeMap<TabletId, MutationBuilder> = BTreeMap::new();
    for target in targets {
        target.writes.add_to(builders.entry(target.tablet).or_default());
    }
    builders.into_iter().map(|(tablet, builder)| Ok((tablet, finish(builder)?))).collect()
}

/// The writes of one partition as a transaction without conditions.
pub fn transaction_of(target: Target, timestamp: Option<i64>, now_seconds: i64) -> Transaction {
    let mut transaction =
        Transaction { timestamp, now_seconds, expiry: target.writes.expiry, ..Transaction::default() };
    add_to_transaction(target, &mut transaction);
    transaction
}

/// Adds the writes of one partition to the steps of a transaction.
pub fn add_to_transaction(target: Target, transaction: &mut Transaction) {
    for (key, patch) in target.writes.rows {
        let step = step_of(transaction, &key);
        step.patch = std::mem::take(&mut step.patch).merge(patch);
    }
    for (key, operation) in target.writes.operations {
        step_of(transaction, &key).operations.push(operation);
    }
    transaction.ranges.extend(target.writes.ranges);
    transaction.expiry = transaction.expiry.or(target.writes.expiry);
}

/// The step of a row, made if there is none yet.
pub fn step_of<'t>(transaction: &'t mut Transaction, key: &Bytes) -> &'t mut Step {
    let steps = &mut transaction.steps;
    let at = steps.iter().position(|step| step.key == *key).unwrap_or_else(|| {
        steps.push(Step { key: key.clone(), ..Step::default() });
        steps.len() - 1
    });
    &mut steps[at]
}
