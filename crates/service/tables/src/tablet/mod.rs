//! A token range of a table on this shard, over the storage engine.
//!
//! ```text
//!   coordinators of this shard ── typed requests ──┐
//!   coordinators elsewhere ── bytes (request.rs) ──┴─▶ TableTablet ─▶ Engine
//! ```
//!
//! It knows keys, rows and columns by number, not statements. It guarantees: a mutation is applied whole and answered
//! when its keyspace's durability is reached; [`TableTablet::transact`] (conditions, list indexes, counters) reads
//! and writes with no other transaction of the partition between, even if whoever asked goes away; a batch that began
//! here is finished, also after a crash ([`batch_log`]).

pub mod batch_log;
mod locks;
pub mod request;
pub mod storage_options;
mod transact;
mod transaction;

pub use crate::run::condition::{Condition, ConditionTest, contains};
pub use transact::{Hand, Transacted};
pub use transaction::{ReadOperation, Step, StepCondition, Transaction, TransactionAnswer};

use crate::error::CqlError;
use crate::schema::Table;
use crate::trace::{Tracing, several};
use crate::types::row_key;
use bytes::Bytes;
use holon_base::{Instant, Map, TabletId};
use holon_kernel::{CallError, LocalFuture, Shard, Tablet};
use holon_replica::consensus::{Leadership, Serve};
use holon_replica::{Coordinator, ReadAnswer, ReadRequest, serve};
use holon_store::{Durability, Engine, KeyRange, Mutation, Row, StoreError};
use locks::Locks;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// The tablets of this shard by id, for coordinators on the same shard.
#[derive(Clone, Default)]
pub struct LocalTablets {
    tablets: Rc<RefCell<Map<TabletId, Rc<TableTablet>>>>,
}

impl LocalTablets {
    pub fn get(&self, id: TabletId) -> Option<Rc<TableTablet>> {
        self.tablets.borrow().get(&id).cloned()
    }

    pub fn insert(&self, tablet: Rc<TableTablet>) {
        self.tablets.borrow_mut().insert(tablet.id(), tablet);
    }

    pub fn remove(&self, id: TabletId) {
        self.tablets.borrow_mut().remove(&id);
    }

    pub fn all(&self) -> Vec<Rc<TableTablet>> {
        let mut all: Vec<_> = self.tablets.borrow().values().cloned().collect();
        all.sort_by_key(|tablet| tablet.id());
        all
    }
}

/// What a tablet has to know of its table, as of now.
#[derive(Clone)]
pub struct TabletTable {
    pub table: Rc<Table>,
    pub durability: Durability,
}

/// One tablet.
pub struct TableTablet {
    id: TabletId,
    shard: Rc<Shard>,
    engine: Engine,
    /// Writes parts of batches to wherever they belong.
    coordinator: Rc<Coordinator>,
    /// `None` once the table is dropped.
    table: Rc<dyn Fn() -> Option<TabletTable>>,
    locks: Locks,
    /// The latest timestamp that a transaction was given, microseconds: they never go back, whatever the clock does.
    transacted_at: Cell<i64>,
    /// Batches that began here will be looked for.
    finishing: Cell<bool>,
}

impl TableTablet {
    /// `table` is asked at each request, so that a changed schema is seen.
    pub fn new(
        id: TabletId,
        shard: Rc<Shard>,
        engine: Engine,
        coordinator: Rc<Coordinator>,
        table: Rc<dyn Fn() -> Option<TabletTable>>,
    ) -> Rc<TableTablet> {
        Rc::new(TableTablet {
            id,
            shard,
            engine,
            coordinator,
            table,
            locks: Locks::default(),
            transacted_at: Cell::new(i64::MIN),
            finishing: Cell::new(false),
        })
    }

    pub fn id(&self) -> TabletId {
        self.id
    }

    fn now(&self) -> Result<TabletTable, CallError> {
        (self.table)().ok_or(CallError::NotHere)
    }

    /// Writes a mutation whose timestamps are final.
    pub async fn write(&self, mutation: Mutation, tracing: &Tracing) -> Result<(), CallError> {
        let durability = self.now()?.durability;
        tracing.note(|| format!("Appending {} bytes to the log, for tablet {}", mutation.bytes().len(), self.id));
        self.engine.write(self.id, mutation, durability).await.map(|_| ()).map_err(refusal)?;
        tracing.note(|| match durability {
            Durability::Sync => "The log is synced and the memtable has the mutation".to_string(),
            Durability::Periodic => "The log's buffer and the memtable have the mutation".to_string(),
        });
        Ok(())
    }

    /// One page of rows.
    pub async fn rows(&self, request: ReadRequest, tracing: &Tracing) -> Result<ReadAnswer, CallError> {
        self.trace_read(&request, tracing);
        let answer = self.read_rows(request).await?;
        tracing.note(|| {
            let rest = if answer.rest.is_empty() { "" } else { "; there is more" };
            format!("Merged {} of tablet {}{rest}", several(answer.rows.len(), "live row"), self.id)
        });
        Ok(answer)
    }

    fn trace_read(&self, request: &ReadRequest, tracing: &Tracing) {
        tracing.note(|| {
            let kind = match request.ranges.as_slice() {
                [range] if single_key(range).is_some() => "one row".to_string(),
                ranges => several(ranges.len(), "range") + " of rows",
            };
            let stats = self.engine.tablet_stats(self.id).unwrap_or_default();
            let (memory, files, bytes) = (stats.memtable_bytes, stats.tables, stats.table_bytes);
            let files = several(files as usize, "sorted file");
            let held = format!("{memory} bytes in memtables and {files} of {bytes} bytes");
            format!("Reading {kind} of tablet {}, which has {held}", self.id)
        });
    }

    async fn read_rows(&self, request: ReadRequest) -> Result<ReadAnswer, CallError> {
        let table = (self.table)();
        let shows = |row: &Row| table.as_ref().is_none_or(|known| known.table.shows(row));
        if request.full {
            // What is not shown is merged and repaired like everything else.
            return serve::read(&self.engine, self.id, request).await.map_err(refusal);
        }
        if let [range] = request.ranges.as_slice()
            && let Some(key) = single_key(range)
        {
            let row = self.engine.get(self.id, &key, request.now_seconds).await.map_err(refusal)?;
            let rows = row.filter(shows).map(|row| (key, row)).into_iter().collect();
            return Ok(ReadAnswer { rows, ..ReadAnswer::default() });
        }
        if let Some(most) = request.per_partition_max {
            return self.rows_of_partitions(request, most as usize, shows).await;
        }
        let mut answer = serve::read(&self.engine, self.id, request).await.map_err(refusal)?;
        answer.rows.retain(|(_, row)| shows(row));
        Ok(answer)
    }

    /// At most `most` rows of each partition (static rows not counted): the rest of a partition is jumped over, not
    /// read.
    async fn rows_of_partitions(
        &self,
        request: ReadRequest,
        most: usize,
        shows: impl Fn(&Row) -> bool,
    ) -> Result<ReadAnswer, CallError> {
        let mut ranges: std::collections::VecDeque<KeyRange> = request.ranges.iter().cloned().collect();
        let mut rows = Vec::new();
        let (mut bytes, mut rounds) = (0, 0);
        let mut partition: Bytes = Bytes::new();
        let mut taken = 0;
        while let Some(range) = ranges.pop_front() {
            let mut options = serve::scan_options(&request);
            let left = options.rows_max.saturating_sub(rows.len());
            // Partitions are small or large; a few rows more than wanted tell which at little cost.
            options.rows_max = left.min(most.saturating_mul(2).clamp(2, 256));
            if left == 0 || bytes >= request.bytes_max as usize || rounds >= request.examined_max as usize {
                ranges.push_front(range);
                break;
            }
            rounds += options.rows_max;
            let end = range.end.clone();
            let page = self.engine.scan(self.id, range, options).await.map_err(refusal)?;
            let mut jump = None;
            for (key, row) in page.rows.into_iter().filter(|(_, row)| shows(row)) {
                let Some(split) = row_key::RowKey::split(&key) else { continue };
                if split.prefix != &partition[..] {
                    partition = Bytes::copy_from_slice(split.prefix);
                    taken = 0;
                }
                if !split.is_static {
                    if taken >= most {
                        jump = holon_store::prefix_end(&partition);
                        break;
                    }
                    taken += 1;
                }
                bytes += key.len() + row.cells.iter().map(|entry| entry.cell.value.len() + 16).sum::<usize>();
                rows.push((key, row));
            }
            let rest = match jump {
                Some(start) => Some(KeyRange { start, end }),
                None => page.rest,
            };
            ranges.extend_front_if(rest);
        }
        Ok(ReadAnswer { rows, rest: ranges.into(), ..ReadAnswer::default() })
    }

    /// Reads, tests, and writes if the tests hold, with no other transaction of the partition between. Goes on when the
    /// caller goes away.
    pub async fn transact(
        self: &Rc<Self>,
        transaction: Transaction,
        hand: Hand,
        deadline: Instant,
    ) -> Result<Transacted, CallError> {
        let (completer, answer) = self.shard.ticket();
        let tablet = self.clone();
        // Not of the tablet's: when that is removed while a decision is on its way to the replicas, the lock must be held on.
        let scope = holon_kernel::Scope::Node;
        self.shard.spawn(scope, holon_kernel::Class::Foreground, async move {
            let prefix = transaction.partition_prefix();
            let guard = tablet.locks.acquire(&tablet.shard, prefix).await;
            let result = if tablet.shard.now() < deadline {
                transact::run(&tablet, transaction, &hand, deadline).await
            } else {
                Err(CallError::Timeout) // nobody waits any more
            };
            drop(guard);
            drop(hand);
            completer.complete(result);
        });
        answer.await.unwrap_or(Err(CallError::Gone))
    }

    /// A timestamp later than every one given to a transaction before, and than `seen`; at least `stamp`.
    fn transaction_timestamp(&self, stamp: i64, seen: i64) -> i64 {
        let timestamp = stamp.max(self.transacted_at.get().saturating_add(1)).max(seen.saturating_add(1));
        self.transacted_at.set(timestamp);
        // Plain writes that follow are later.
        self.shard.clock().observe_data(timestamp, self.shard.wall());
        timestamp
    }

    /// Verifies and answers a request that came as bytes.
    async fn answer_apply(self: Rc<Self>, bytes: Bytes) -> Result<Bytes, CallError> {
        match request::decode_apply(bytes).map_err(malformed)? {
            request::Apply::Write { mutation, traced } => {
                let mutation = Mutation::decode(mutation).map_err(refusal)?;
                let begins_batch = batch_log::begins_in(&mutation);
                let tracing = if traced { Tracing::on(&self.shard) } else { Tracing::off() };
                self.write(mutation, &tracing).await?;
                if begins_batch {
                    // If its coordinator does not live to finish it.
                    batch_log::finish_later(&self);
                }
                if !traced {
                    return Ok(Bytes::new());
                }
                Ok(request::encode_events(&tracing.into_events()))
            }
            request::Apply::FinishBatches => {
                batch_log::finish_later(&self);
                Ok(Bytes::new())
            }
        }
    }

    async fn answer_digest(&self, bytes: Bytes) -> Result<Bytes, CallError> {
        let request = ReadRequest::decode(bytes).map_err(malformed)?;
        let digest = serve::read_digest(&self.engine, self.id, request).await.map_err(refusal)?;
        Ok(Bytes::copy_from_slice(&digest.to_be_bytes()))
    }
}

/// What these tablets do with a transaction that has come to the leader of its tablet's group.
pub fn serve_as_leader(tablets: LocalTablets, coordinator: Rc<Coordinator>) -> Serve {
    Rc::new(move |leadership, request, deadline| {
        let (tablets, coordinator) = (tablets.clone(), coordinator.clone());
        Box::pin(async move { transact_as_leader(&tablets, &coordinator, leadership, request, deadline).await })
    })
}

/// [`CallError::NotHere`]: nothing was done, somebody else leads.
async fn transact_as_leader(
    tablets: &LocalTablets,
    coordinator: &Coordinator,
    leadership: Leadership,
    payload: Bytes,
    deadline: Instant,
) -> Result<Bytes, CallError> {
    let (transaction, show) = request::decode_transaction(payload).map_err(malformed)?;
    let tablet = tablets.get(leadership.tablet()).ok_or(CallError::NotHere)?;
    let hand = match leadership.alone(coordinator) {
        Some(alone) => Hand::Alone(alone),
        None => Hand::Leader(leadership),
    };
    if let Err(refusal) = tablet.shard.clock_settled(deadline).await {
        return Err(hand.refused(refusal));
    }
    let transacted = tablet.transact(transaction, hand, deadline).await?;
    Ok(request::encode_transacted(&transacted, show))
}

trait ExtendFront {
    fn extend_front_if(&mut self, range: Option<KeyRange>);
}

impl ExtendFront for std::collections::VecDeque<KeyRange> {
    fn extend_front_if(&mut self, range: Option<KeyRange>) {
        if let Some(range) = range.filter(|range| !range.is_empty()) {
            self.push_front(range);
        }
    }
}

/// The key of a range that holds one key only.
fn single_key(range: &KeyRange) -> Option<Bytes> {
    let (last, key) = range.end.as_ref()?.split_last()?;
    (*last == 0 && key == &range.start[..]).then(|| range.start.clone())
}

fn malformed(short: holon_base::ShortInput) -> CallError {
    CqlError::server(format!("a request to a tablet is unreadable: {short}")).into_call()
}

/// What a caller is told about an error of the engine.
pub(crate) fn refusal(error: StoreError) -> CallError {
    match error {
        StoreError::Overloaded { .. } => CallError::Overloaded,
        StoreError::Stopped { .. } => CallError::Gone,
        StoreError::NoSuchTablet(_) => CallError::NotHere,
        StoreError::TooLarge { .. } => CqlError::Invalid(error.to_string()).into_call(),
        other => CqlError::server(other.to_string()).into_call(),
    }
}

impl Tablet for TableTablet {
    fn apply(self: Rc<Self>, mutation: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(self.answer_apply(mutation))
    }

    fn read(self: Rc<Self>, request: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(async move {
            let request = ReadRequest::decode(request).map_err(malformed)?;
            let tracing = if request.noted { Tracing::on(&self.shard) } else { Tracing::off() };
            let answer = self.rows(request, &tracing).await?;
            let notes = request::encode_events(&tracing.into_events());
            Ok(answer.encode(&notes))
        })
    }

    fn digest(self: Rc<Self>, request: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(async move { self.answer_digest(request).await })
    }
}
