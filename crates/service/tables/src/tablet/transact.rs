//! Transactions: read, test, write, on rows of one partition.
//!
//! A condition holds of what is read under the partition's lock, and the write is stamped under it, later than
//! everything that was read: what is applied is therefore seen by the next transaction, in the order of the locks. One node
//! at a time has the locks: the leader of the tablet's group ([`holon_replica::consensus`]).

use super::transaction::{ReadOperation, StepCondition, Transaction, TransactionAnswer};
use super::{TableTablet, TabletTable, refusal};
use crate::error::CqlError;
use crate::limits::WRITE_TIMEOUT;
use crate::run::clock;
use crate::run::replicas::serial_read_error;
use crate::schema::Table;
use bytes::Bytes;
use holon_base::Instant;
use holon_kernel::{CallError, ClockRefusal};
use holon_replica::consensus::{Alone, Leadership, Undecided};
use holon_replica::coordinator::{Demand, Speculation};
use holon_replica::{Level, ReadRequest, ReplicaError, plant};
use holon_store::{
    Cell, CellEntry, CellKind, Expiry, KeyRange, Mutation, MutationBuilder, RangeTombstone, Row, RowPatch, ScanOptions,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Rows that are read at once to find the first that is there.
const FIRST_ROW_PAGE: usize = 4;

/// Between two tries to bring a write to where its tablet has moved.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A row as it was read: what is visible, and the latest timestamp of anything in it, deletions too.
struct Found {
    row: Option<Row>,
    latest: i64,
    /// Of [`StepCondition::FirstRow`].
    key: Option<Bytes>,
}

/// Who runs a transaction, with the partition locked.
pub enum Hand {
    /// The only replica, of a group with no other member.
    Alone(Alone),
    /// The leader of the tablet's group.
    Leader(Leadership),
}

impl Hand {
    fn latest_timestamp(&self) -> i64 {
        match self {
            Hand::Alone(alone) => alone.latest_timestamp(),
            Hand::Leader(leadership) => leadership.latest_timestamp(),
        }
    }

    /// What whoever asks is told when the clock of this node is wrong, and nothing was done: a leader lets another lead.
    pub(super) fn refused(&self, refusal: ClockRefusal) -> CallError {
        match self {
            Hand::Alone(_) => clock::refused(refusal).into_call(),
            Hand::Leader(leadership) => {
                leadership.hand_over();
                CallError::NotHere
            }
        }
    }
}

/// What a transaction came to.
#[derive(Debug)]
pub struct Transacted {
    pub answer: TransactionAnswer,
    /// What was written, if anything.
    pub mutation: Option<Mutation>,
}

/// A transaction under way.
struct Run<'a> {
    tablet: &'a TableTablet,
    table: &'a TabletTable,
    hand: &'a Hand,
    now_seconds: i64,
    deadline: Instant,
}

/// Runs a transaction; the caller holds the lock of the partition.
pub(super) async fn run(
    tablet: &TableTablet,
    mut transaction: Transaction,
    hand: &Hand,
    deadline: Instant,
) -> Result<Transacted, CallError> {
    let table = tablet.now()?;
    let run = Run { tablet, table: &table, hand, now_seconds: transaction.now_seconds, deadline };
    let mut found = Vec::with_capacity(transaction.steps.len());
    let mut latest = hand.latest_timestamp();
    for step in &transaction.steps {
        let needed = step.condition != StepCondition::None || !step.operations.is_empty();
        let one = match &step.condition {
            StepCondition::FirstRow => run.first_row(&step.key).await?,
            _ if needed => run.read(&step.key).await?,
            _ => Found::none(),
        };
        latest = latest.max(one.latest);
        found.push(one);
    }
    // Whoever is told of it through this node's answer stamps later.
    tablet.shard.clock().observe_data(latest, tablet.shard.wall());
    let mut applied = true;
    let mut rows = Vec::new();
    for (step, found) in transaction.steps.iter().zip(&found) {
        if step.condition == StepCondition::FirstRow {
            rows.extend(found.key.clone().map(|key| (key, found.row.clone())));
            continue;
        }
        applied &= holds(&table.table, &step.condition, found.row.as_ref());
        if step.condition != StepCondition::None {
            rows.push((step.key.clone(), found.row.clone()));
        }
    }
    let answer = TransactionAnswer { applied, rows };
    if !applied {
        return Ok(Transacted { answer, mutation: None });
    }
    let own_timestamp = transaction.timestamp.is_none();
    let timestamp = match transaction.timestamp {
        Some(timestamp) => timestamp,
        None => {
            let stamp = tablet.shard.stamp(deadline).await.map_err(|refusal| hand.refused(refusal))?;
            let timestamp = tablet.transaction_timestamp(stamp, latest);
            transaction.stamp(timestamp);
            timestamp
        }
    };
    let (mutation, latest) = run.mutation(transaction, found, timestamp)?;
    if mutation.is_empty() {
        return Ok(Transacted { answer, mutation: None });
    }
    // One that a client chose says nothing about what others may be.
    run.write(&mutation, if own_timestamp { latest } else { i64::MIN }).await?;
    Ok(Transacted { answer, mutation: Some(mutation) })
}

impl Found {
    fn none() -> Found {
        Found { row: None, latest: i64::MIN, key: None }
    }
}

impl Run<'_> {
    /// What is to be written, and the latest timestamp in it.
    fn mutation(
        &self,
        transaction: Transaction,
        found: Vec<Found>,
        timestamp: i64,
    ) -> Result<(Mutation, i64), CallError> {
        let mut builder = MutationBuilder::new();
        let mut latest = timestamp;
        for (mut step, found) in transaction.steps.into_iter().zip(found) {
            for operation in std::mem::take(&mut step.operations) {
                let context = OperationContext {
                    table: &self.table.table,
                    timestamp,
                    latest: found.latest,
                    now_seconds: self.now_seconds,
                    expiry: transaction.expiry,
                };
                context.apply(operation, found.row.as_ref(), &mut step.patch).map_err(CqlError::into_call)?;
            }
            if !step.patch.is_empty() {
                latest = latest.max(step.patch.latest_timestamp().unwrap_or(i64::MIN));
                builder.row(&step.key, &step.patch);
            }
        }
        for range in transaction.ranges {
            builder.delete_range(range);
        }
        Ok((builder.finish().map_err(refusal)?, latest))
    }

    async fn write(&self, mutation: &Mutation, latest: i64) -> Result<(), CallError> {
        let tablet = self.tablet;
        match self.hand {
            Hand::Alone(alone) => {
                alone.stamped(latest);
                let written = tablet.engine.write(tablet.id, mutation.clone(), self.table.durability).await;
                written.map_err(refusal)?;
                // It began to move meanwhile: whoever copies it may have read it before.
                while !tablet.coordinator.is_alone(tablet.id) {
                    let deadline = tablet.shard.now() + WRITE_TIMEOUT;
                    let demand = Demand { tablet: tablet.id, level: Level::Quorum, replication: None, deadline };
                    let bytes = mutation.bytes().clone();
                    match tablet.coordinator.write(&demand, bytes, false, &|_, _| ()).await {
                        Ok(()) | Err(ReplicaError::NoTablet) => break,
                        // Until it is there nobody else may decide on the partition.
                        Err(_) => tablet.shard.sleep(RETRY_PAUSE).await,
                    }
                }
                Ok(())
            }
            Hand::Leader(leadership) => {
                let decided = leadership.decide(latest, mutation.bytes().clone()).await;
                decided.map_err(|undecided| match undecided {
                    Undecided::Never => CallError::NotHere,
                    Undecided::Perhaps => CallError::Timeout,
                })
            }
        }
    }

    async fn read(&self, key: &Bytes) -> Result<Found, CallError> {
        // With tombstones: a write has to be stamped later than what was deleted, or it would be deleted with it.
        let (rows, ranges) = self.rows_with_tombstones(key).await?;
        let covering = ranges.iter().filter(|range| range.start <= *key && *key < range.end);
        let deletion = covering.map(|range| range.deletion).max();
        let mut latest = deletion.map_or(i64::MIN, |deletion| deletion.timestamp);
        let mut row = None;
        for (found, stored) in rows {
            if found != *key {
                continue;
            }
            latest = latest.max(stored.latest_timestamp().unwrap_or(i64::MIN));
            row = stored.visible(deletion, self.now_seconds).filter(|row| self.table.table.shows(row));
        }
        Ok(Found { row, latest, key: None })
    }

    async fn rows_with_tombstones(&self, key: &Bytes) -> Result<(Vec<(Bytes, Row)>, Vec<RangeTombstone>), CallError> {
        let (tablet, range) = (self.tablet, KeyRange::one(key.clone()));
        if let Hand::Alone(_) = self.hand {
            let options = ScanOptions { keep_tombstones: true, one_prefix: true, ..ScanOptions::new(self.now_seconds) };
            let page = tablet.engine.scan(tablet.id, range, options).await.map_err(refusal)?;
            return Ok((page.rows, page.ranges));
        }
        let request = ReadRequest { full: true, ..self.request(range, 1) };
        let merged = tablet.coordinator.read_whole(&self.demand(), &request).await;
        let merged = merged.map_err(|error| self.read_failure(error))?;
        let ranges = merged.deleted.iter().collect();
        Ok((merged.rows.into_iter().collect(), ranges))
    }

    /// The first row that is there.
    async fn first_row(&self, start: &Bytes) -> Result<Found, CallError> {
        let tablet = self.tablet;
        let mut range = KeyRange::prefix(start.to_vec());
        loop {
            let (rows, rest) = if let Hand::Alone(_) = self.hand {
                let options =
                    ScanOptions { rows_max: FIRST_ROW_PAGE, one_prefix: true, ..ScanOptions::new(self.now_seconds) };
                let page = tablet.engine.scan(tablet.id, range.clone(), options).await.map_err(refusal)?;
                (page.rows, page.rest)
            } else {
                let request = self.request(range.clone(), FIRST_ROW_PAGE as u32);
                let speculation = Speculation::Percentile(0.99);
                let page = tablet.coordinator.read(&self.demand(), &request, speculation, &|_, _| ()).await;
                let page = page.map_err(|error| self.read_failure(error))?;
                (page.rows, page.rest.into_iter().next())
            };
            if let Some((key, row)) = rows.into_iter().find(|(_, row)| self.table.table.shows(row)) {
                return Ok(Found { row: Some(row), latest: i64::MIN, key: Some(key) });
            }
            match rest {
                Some(rest) => range = rest,
                None => return Ok(Found::none()),
            }
        }
    }

    fn demand(&self) -> Demand<'static> {
        let level = if plant::get().read_locally { Level::Count(1) } else { Level::Quorum };
        Demand { tablet: self.tablet.id, level, replication: None, deadline: self.deadline }
    }

    fn request(&self, range: KeyRange, rows_max: u32) -> ReadRequest {
        let grace = i64::from(self.table.table.options.gc_grace_seconds);
        ReadRequest {
            one_partition: true,
            rows_max,
            full: false,
            purgeable_seconds: self.now_seconds.saturating_sub(grace),
            ..ReadRequest::all_of(vec![range], self.now_seconds)
        }
    }

    /// Nothing was written.
    fn read_failure(&self, error: ReplicaError) -> CallError {
        serial_read_error(&self.tablet.shard, error, &self.table.table).into_call()
    }
}

fn holds(table: &Table, condition: &StepCondition, row: Option<&Row>) -> bool {
    match condition {
        StepCondition::None | StepCondition::Show | StepCondition::FirstRow => true,
        StepCondition::NotExists => row.is_none(),
        StepCondition::Exists => row.is_some(),
        StepCondition::Columns(conditions) => conditions.iter().all(|condition| condition.holds(table, row)),
    }
}

struct OperationContext<'a> {
    table: &'a Table,
    timestamp: i64,
    latest: i64,
    now_seconds: i64,
    expiry: Option<Expiry>,
}

impl OperationContext<'_> {
    fn cell(&self, value: Bytes) -> Cell {
        let kind = self.expiry.map_or(CellKind::Live, CellKind::Expiring);
        Cell { timestamp: self.timestamp, kind, value }
    }

    /// The elements of a list as the statement has made it so far.
    fn elements(&self, column: u32, row: Option<&Row>, patch: &RowPatch) -> Vec<CellEntry> {
        let replaced = patch.column_deletions.iter().any(|(deleted, _)| *deleted == column);
        let stored = row.filter(|_| !replaced).map(|row| row.elements(column)).unwrap_or_default();
        let mut elements: BTreeMap<Bytes, CellEntry> =
            stored.iter().map(|entry| (entry.path.clone(), entry.clone())).collect();
        for entry in patch.cells.iter().filter(|entry| entry.column == column) {
            match entry.cell.kind {
                CellKind::Tombstone { .. } => elements.remove(&entry.path),
                _ => elements.insert(entry.path.clone(), entry.clone()),
            };
        }
        elements.into_values().collect()
    }

    fn apply(&self, operation: ReadOperation, row: Option<&Row>, patch: &mut RowPatch) -> Result<(), CqlError> {
        match operation {
            ReadOperation::SetIndex { column, index, value } => {
                let elements = self.elements(column, row, patch);
                if elements.is_empty() {
                    return Err(CqlError::invalid(match value {
                        Some(_) => "Attempted to set an element on a list which is null",
                        None => "Attempted to delete an element from a list which is null",
                    }));
                }
                let found = usize::try_from(index).ok().and_then(|index| elements.get(index));
                let found = found.ok_or_else(|| {
                    CqlError::Invalid(format!("List index {index} out of bound, list has size {}", elements.len()))
                })?;
                let cell = match value {
                    Some(value) => self.cell(value),
                    None => Cell::tombstone(self.timestamp, self.now_seconds),
                };
                patch.put(CellEntry::element(column, found.path.clone(), cell));
            }
            ReadOperation::Discard { column, values } => {
                for element in self.elements(column, row, patch) {
                    if values.contains(&element.cell.value) {
                        let cell = Cell::tombstone(self.timestamp, self.now_seconds);
                        patch.put(CellEntry::element(column, element.path.clone(), cell));
                    }
                }
            }
            ReadOperation::Add { column, elements } => {
                for (path, value) in elements {
                    patch.put(CellEntry::element(column, path, self.cell(value)));
                }
            }
            ReadOperation::Count { column, by } => {
                if self.table.column_by_id(column).is_none() {
                    return Ok(());
                }
                let before = row
                    .and_then(|row| row.cell(column))
                    .map_or(0, |cell| cell.value.first_chunk::<8>().map_or(0, |bytes| i64::from_be_bytes(*bytes)));
                // Within one batch a counter may be counted twice: go on from what the patch has.
                let before = patch
                    .cell(column)
                    .map_or(before, |cell| cell.value.first_chunk::<8>().map_or(0, |bytes| i64::from_be_bytes(*bytes)));
                let again = patch.cell(column).map_or(i64::MIN, |cell| cell.timestamp);
                let timestamp = self.timestamp.max(self.latest.saturating_add(1)).max(again.saturating_add(1));
                let sum = before.wrapping_add(by).to_be_bytes();
                patch.put(CellEntry::new(column, Cell::live(timestamp, Bytes::copy_from_slice(&sum))));
            }
        }
        Ok(())
    }
}
