//! Transactions: read, test, write, on rows of one partition.
//!
//! A condition holds of what is read under the partition's lock, and the write is stamped under it, later than
//! everything that was read: what is applied is therefore seen by the next transaction, in the order of the locks. One node
//! at a time has the locks: the leader of the tablet's group ([`holon_replica::consensus`]).

use super::{TableTablet, TabletTable, refusal};
use crate::error::CqlError;
use crate::limits::WRITE_TIMEOUT;
use crate::run::condition::Condition;
use crate::run::replicas::read_error;
use crate::schema::Table;
use crate::types::row_key;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, Instant, ShortInput};
use holon_cql::Consistency;
use holon_kernel::CallError;
use holon_replica::consensus::{Alone, Leadership, Undecided};
use holon_replica::coordinator::{Demand, Speculation};
use holon_replica::{Level, ReadRequest, ReplicaError, plant};
use holon_store::{
    Cell, CellEntry, CellKind, Deletion, Expiry, KeyRange, Mutation, MutationBuilder, RangeTombstone, Row, RowPatch,
    ScanOptions, decode_row, row_bytes,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Rows that are read at once to find the first that is there.
const FIRST_ROW_PAGE: usize = 4;

/// Between two tries to bring a write to where its tablet has moved.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// What is to happen if all conditions hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// Microseconds. `None`: the tablet stamps it, and the timestamps of patches and ranges are relative to that (0,
    /// or -1 for what an overwrite deletes).
    pub timestamp: Option<i64>,
    pub now_seconds: i64,
    /// Of cells that are written after reading.
    pub expiry: Option<Expiry>,
    pub steps: Vec<Step>,
    pub ranges: Vec<RangeTombstone>,
}

/// One row: what must hold of it, and what is written to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    pub key: Bytes,
    pub condition: StepCondition,
    pub patch: RowPatch,
    pub operations: Vec<ReadOperation>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StepCondition {
    #[default]
    None,
    /// None, but the row is part of the answer.
    Show,
    NotExists,
    Exists,
    Columns(Vec<Condition>),
    /// None; the answer holds the first row of the partition, whose rows begin at the key of the step: conditions on
    /// static columns alone show by it that there is such a partition.
    FirstRow,
}

/// A write that depends on what is there. `column` is its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadOperation {
    /// `list[index] = value`; `None` removes the element.
    SetIndex { column: u32, index: i32, value: Option<Bytes> },
    /// Removes all elements of a list that are one of these.
    Discard { column: u32, values: Vec<Bytes> },
    /// Puts elements into a list after an earlier operation of the same statement has looked at it: paths and values.
    Add { column: u32, elements: Vec<(Bytes, Bytes)> },
    /// Adds to a counter.
    Count { column: u32, by: i64 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionAnswer {
    pub applied: bool,
    /// The rows with conditions as they were, in the order of the steps; `None` where there is none.
    pub rows: Vec<(Bytes, Option<Row>)>,
}

impl Transaction {
    pub fn partition_prefix(&self) -> Bytes {
        let first = self.steps.first().map(|step| &step.key).or(self.ranges.first().map(|range| &range.start));
        let Some(key) = first else { return Bytes::new() };
        row_key::prefix_length(key).map_or_else(|| key.clone(), |length| key.slice(..length))
    }

    pub(super) fn encode(&self, out: &mut ByteWriter) {
        out.put_u8(self.timestamp.is_some().into());
        out.put_signed_varint(self.timestamp.unwrap_or(0));
        out.put_signed_varint(self.now_seconds);
        out.put_u8(self.expiry.is_some().into());
        if let Some(expiry) = self.expiry {
            out.put_varint(expiry.ttl_seconds.into());
            out.put_signed_varint(expiry.expires_at_seconds);
        }
        out.put_varint(self.steps.len() as u64);
        self.steps.iter().for_each(|step| step.encode(out));
        out.put_varint(self.ranges.len() as u64);
        for range in &self.ranges {
            out.put_prefixed(&range.start);
            out.put_prefixed(&range.end);
            out.put_signed_varint(range.deletion.timestamp);
            out.put_signed_varint(range.deletion.local_seconds);
        }
    }

    pub(super) fn decode(input: &mut ByteReader) -> Result<Transaction, ShortInput> {
        let stamped = input.u8()? != 0;
        let timestamp = input.signed_varint()?;
        let now_seconds = input.signed_varint()?;
        let expiry = if input.u8()? == 0 {
            None
        } else {
            let offset = input.offset();
            let ttl_seconds = u32::try_from(input.varint()?).map_err(|_| ShortInput { offset })?;
            Some(Expiry { ttl_seconds, expires_at_seconds: input.signed_varint()? })
        };
        let steps = (0..input.count()?).map(|_| Step::decode(input)).collect::<Result<_, _>>()?;
        let mut ranges = Vec::new();
        for _ in 0..input.count()? {
            let (start, end) = (input.prefixed()?, input.prefixed()?);
            let deletion = Deletion { timestamp: input.signed_varint()?, local_seconds: input.signed_varint()? };
            ranges.push(RangeTombstone { start, end, deletion });
        }
        input.end()?;
        Ok(Transaction { timestamp: stamped.then_some(timestamp), now_seconds, expiry, steps, ranges })
    }
}

impl Step {
    fn encode(&self, out: &mut ByteWriter) {
        out.put_prefixed(&self.key);
        match &self.condition {
            StepCondition::None => out.put_u8(0),
            StepCondition::Show => out.put_u8(1),
            StepCondition::NotExists => out.put_u8(2),
            StepCondition::Exists => out.put_u8(3),
            StepCondition::Columns(conditions) => {
                out.put_u8(4);
                out.put_varint(conditions.len() as u64);
                conditions.iter().for_each(|condition| condition.encode(out));
            }
            StepCondition::FirstRow => out.put_u8(5),
        }
        out.put_prefixed(&row_bytes(&self.patch));
        out.put_varint(self.operations.len() as u64);
        self.operations.iter().for_each(|operation| operation.encode(out));
    }

    fn decode(input: &mut ByteReader) -> Result<Step, ShortInput> {
        let key = input.prefixed()?;
        let offset = input.offset();
        let condition = match input.u8()? {
            0 => StepCondition::None,
            1 => StepCondition::Show,
            2 => StepCondition::NotExists,
            3 => StepCondition::Exists,
            4 => {
                let count = input.count()?;
                StepCondition::Columns((0..count).map(|_| Condition::decode(input)).collect::<Result<_, _>>()?)
            }
            5 => StepCondition::FirstRow,
            _ => return Err(ShortInput { offset }),
        };
        let offset = input.offset();
        let patch = decode_row(&input.prefixed()?).map_err(|_| ShortInput { offset })?;
        let operations = (0..input.count()?).map(|_| ReadOperation::decode(input)).collect::<Result<_, _>>()?;
        Ok(Step { key, condition, patch, operations })
    }
}

impl ReadOperation {
    /// The id of the column that is looked at.
    pub fn column(&self) -> u32 {
        match self {
            ReadOperation::SetIndex { column, .. }
            | ReadOperation::Discard { column, .. }
            | ReadOperation::Add { column, .. }
            | ReadOperation::Count { column, .. } => *column,
        }
    }

    fn encode(&self, out: &mut ByteWriter) {
        match self {
            ReadOperation::SetIndex { column, index, value } => {
                out.put_u8(0);
                out.put_varint((*column).into());
                out.put_signed_varint((*index).into());
                out.put_u8(value.is_some().into());
                if let Some(value) = value {
                    out.put_prefixed(value);
                }
            }
            ReadOperation::Discard { column, values } => {
                out.put_u8(1);
                out.put_varint((*column).into());
                out.put_varint(values.len() as u64);
                values.iter().for_each(|value| out.put_prefixed(value));
            }
            ReadOperation::Add { column, elements } => {
                out.put_u8(3);
                out.put_varint((*column).into());
                out.put_varint(elements.len() as u64);
                for (path, value) in elements {
                    out.put_prefixed(path);
                    out.put_prefixed(value);
                }
            }
            ReadOperation::Count { column, by } => {
                out.put_u8(2);
                out.put_varint((*column).into());
                out.put_signed_varint(*by);
            }
        }
    }

    fn decode(input: &mut ByteReader) -> Result<ReadOperation, ShortInput> {
        let offset = input.offset();
        let kind = input.u8()?;
        let column = u32::try_from(input.varint()?).map_err(|_| ShortInput { offset })?;
        Ok(match kind {
            0 => {
                let index = i32::try_from(input.signed_varint()?).map_err(|_| ShortInput { offset })?;
                let value = if input.u8()? == 0 { None } else { Some(input.prefixed()?) };
                ReadOperation::SetIndex { column, index, value }
            }
            1 => {
                let count = input.count()?;
                let values = (0..count).map(|_| input.prefixed()).collect::<Result<_, _>>()?;
                ReadOperation::Discard { column, values }
            }
            2 => ReadOperation::Count { column, by: input.signed_varint()? },
            3 => {
                let count = input.count()?;
                let element = |_| Ok((input.prefixed()?, input.prefixed()?));
                ReadOperation::Add { column, elements: (0..count).map(element).collect::<Result<_, ShortInput>>()? }
            }
            _ => return Err(ShortInput { offset }),
        })
    }
}

impl TransactionAnswer {
    pub fn encode(&self) -> Bytes {
        let mut out = ByteWriter::new();
        holon_replica::message::put_version(&mut out);
        out.put_u8(self.applied.into());
        out.put_varint(self.rows.len() as u64);
        for (key, row) in &self.rows {
            out.put_prefixed(key);
            out.put_u8(row.is_some().into());
            if let Some(row) = row {
                out.put_prefixed(&row_bytes(row));
            }
        }
        out.freeze()
    }

    pub fn decode(bytes: Bytes) -> Result<TransactionAnswer, ShortInput> {
        let mut input = ByteReader::new(bytes);
        holon_replica::message::check_version(&mut input)?;
        let applied = input.u8()? != 0;
        let mut rows = Vec::new();
        for _ in 0..input.count()? {
            let key = input.prefixed()?;
            let offset = input.offset();
            let row = match input.u8()? {
                0 => None,
                _ => Some(decode_row(&input.prefixed()?).map_err(|_| ShortInput { offset })?),
            };
            rows.push((key, row));
        }
        input.end()?;
        Ok(TransactionAnswer { applied, rows })
    }
}

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
            let timestamp = tablet.transaction_timestamp(latest);
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
                latest = latest.max(latest_of(&step.patch));
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
            latest = latest.max(latest_of(&stored));
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
        read_error(error, &self.table.table, Consistency::Serial).into_call()
    }
}

fn latest_of(row: &Row) -> i64 {
    let marker = row.marker.map(|marker| marker.timestamp);
    let deletion = row.deletion.map(|deletion| deletion.timestamp);
    let columns = row.column_deletions.iter().map(|(_, deletion)| deletion.timestamp);
    let cells = row.cells.iter().map(|entry| entry.cell.timestamp);
    marker.into_iter().chain(deletion).chain(columns).chain(cells).max().unwrap_or(i64::MIN)
}

fn holds(table: &Table, condition: &StepCondition, row: Option<&Row>) -> bool {
    match condition {
        StepCondition::None | StepCondition::Show | StepCondition::FirstRow => true,
        StepCondition::NotExists => row.is_none(),
        StepCondition::Exists => row.is_some(),
        StepCondition::Columns(conditions) => conditions.iter().all(|condition| condition.holds(table, row)),
    }
}

impl Transaction {
    /// Makes the relative timestamps absolute.
    fn stamp(&mut self, timestamp: i64) {
        let add = |relative: &mut i64| *relative = relative.saturating_add(timestamp);
        for step in &mut self.steps {
            let patch = &mut step.patch;
            patch.marker.iter_mut().for_each(|marker| add(&mut marker.timestamp));
            patch.deletion.iter_mut().for_each(|deletion| add(&mut deletion.timestamp));
            patch.column_deletions.iter_mut().for_each(|(_, deletion)| add(&mut deletion.timestamp));
            patch.cells.iter_mut().for_each(|entry| add(&mut entry.cell.timestamp));
        }
        self.ranges.iter_mut().for_each(|range| add(&mut range.deletion.timestamp));
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
