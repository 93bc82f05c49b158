//! INSERT, UPDATE and DELETE to patches of rows, deleted ranges, and operations that read first; and these to tablets.

use super::Context;
use super::keys;
use crate::error::{CqlError, CqlResult};
use crate::limits::KEY_BYTES_MAX;
use crate::plan::expression::{Environment, Expression};
use crate::plan::modification::{ModificationKind, ModificationPlan};
use crate::plan::operations::{Action, Operation};
use crate::plan::relations::ValueSet;
use crate::plan::restrictions::ClusteringStep;
use crate::schema::{Column, ColumnKind, Table};
use crate::tablet::ReadOperation;
use crate::types::{collection, ordered, row_key};
use bytes::Bytes;
use holon_base::TabletId;
use holon_cql::{BoundValue, CqlType};
use holon_store::{
    Cell, CellEntry, CellKind, Deletion, Expiry, KeyRange, Liveness, MutationBuilder, RangeTombstone, RowPatch,
};

/// Longest time to live, seconds: 20 years, as in Cassandra.
const TTL_SECONDS_MAX: i32 = 20 * 365 * 24 * 60 * 60;

/// Microseconds of 2010-01-01: elements put before a list are stamped backwards from here, as in Cassandra.
const PREPEND_REFERENCE_MICROS: i64 = 1_262_304_000_000_000;

/// When a statement happens.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// Microseconds; 0 for a write that the tablet will stamp.
    pub timestamp: i64,
    pub now_seconds: i64,
}

/// What statements ask of one partition.
#[derive(Default)]
pub struct PartitionWrites {
    pub rows: Vec<(Bytes, RowPatch)>,
    pub ranges: Vec<RangeTombstone>,
    pub operations: Vec<(Bytes, ReadOperation)>,
    /// Of cells that operations write.
    pub expiry: Option<Expiry>,
}

impl PartitionWrites {
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.ranges.is_empty() && self.operations.is_empty()
    }

    pub fn add_to(&self, builder: &mut MutationBuilder) {
        for (key, patch) in &self.rows {
            builder.row(key, patch);
        }
        for range in &self.ranges {
            builder.delete_range(range.clone());
        }
    }
}

/// The writes of one statement, by partition.
pub struct Target {
    pub tablet: TabletId,
    pub prefix: Vec<u8>,
    pub writes: PartitionWrites,
}

/// The tablet of a token.
pub fn tablet_of(table: &Table, token: i64) -> TabletId {
    TabletId::new(table.group, row_key::tablet_ordinal(token, table.tablets))
}

/// The timestamp of a statement; `otherwise` where it has none of its own.
///
/// # Errors
/// A null timestamp.
pub fn timestamp(expression: Option<&Expression>, environment: &Environment<'_>, otherwise: i64) -> CqlResult<i64> {
    if let Some(expression) = expression {
        match expression.evaluate(environment)? {
            BoundValue::Value(bytes) => {
                let value = bytes.first_chunk::<8>().map(|bytes| i64::from_be_bytes(*bytes));
                let value = value.ok_or_else(|| CqlError::invalid("Invalid timestamp value: an empty value"))?;
                if value == i64::MIN {
                    return Err(CqlError::Invalid(format!(
                        "Out of bound timestamp, must be in the range of {} to {}",
                        i64::MIN + 1,
                        i64::MAX
                    )));
                }
                return Ok(value);
            }
            BoundValue::Null => return Err(CqlError::invalid("Invalid null value of timestamp")),
            BoundValue::Unset => {}
        }
    }
    Ok(otherwise)
}

pub fn expiry(plan: &ModificationPlan, environment: &Environment<'_>, stamp: Stamp) -> CqlResult<Option<Expiry>> {
    let default = i64::from(plan.table.options.default_time_to_live_seconds);
    let seconds = match &plan.ttl {
        None => default,
        Some(expression) => match expression.evaluate(environment)? {
            BoundValue::Value(bytes) => {
                let value = bytes.first_chunk::<4>().map(|bytes| i32::from_be_bytes(*bytes));
                let value = value.ok_or_else(|| CqlError::invalid("Invalid TTL value: an empty value"))?;
                if value < 0 {
                    return Err(CqlError::Invalid(format!("A TTL must be greater or equal to 0, but was {value}")));
                }
                if value > TTL_SECONDS_MAX {
                    return Err(CqlError::Invalid(format!(
                        "ttl is too large. requested ({value}) maximum ({TTL_SECONDS_MAX})"
                    )));
                }
                i64::from(value)
            }
            // A null time to live is none, not even the default.
            BoundValue::Null => 0,
            BoundValue::Unset => default,
        },
    };
    let ttl_seconds = u32::try_from(seconds).unwrap_or(0);
    // Times beyond 2038 are as good as any: they have 64 bits.
    let expires_at_seconds = stamp.now_seconds.saturating_add(seconds);
    Ok((ttl_seconds > 0).then_some(Expiry { ttl_seconds, expires_at_seconds }))
}

/// What a statement writes, with these values.
///
/// # Errors
/// Null or missing keys, values out of range.
pub fn targets(
    context: &Context,
    plan: &ModificationPlan,
    environment: &Environment<'_>,
    stamp: Stamp,
) -> CqlResult<Vec<Target>> {
    if plan.json.is_some() {
        return super::json::targets(context, plan, environment, stamp);
    }
    let table = &plan.table;
    let writer = Writer { plan, environment, stamp, expiry: expiry(plan, environment, stamp)? };
    let partitions = keys::partition_keys(table, &plan.partition, environment)?;
    let mut targets = Vec::with_capacity(partitions.len());
    for partition_key in partitions {
        let (prefix, token) = row_key::partition_prefix(&partition_key);
        let mut writes = PartitionWrites { expiry: writer.expiry, ..PartitionWrites::default() };
        writer.partition(&prefix, &mut writes)?;
        targets.push(Target { tablet: tablet_of(table, token), prefix, writes });
    }
    Ok(targets)
}

struct Writer<'a> {
    plan: &'a ModificationPlan,
    environment: &'a Environment<'a>,
    stamp: Stamp,
    expiry: Option<Expiry>,
}

impl Writer<'_> {
    fn deletion(&self) -> Deletion {
        Deletion { timestamp: self.stamp.timestamp, local_seconds: self.stamp.now_seconds }
    }

    fn partition(&self, prefix: &[u8], writes: &mut PartitionWrites) -> CqlResult<()> {
        let plan = self.plan;
        if plan.kind == ModificationKind::Delete && plan.operations.is_empty() {
            return self.delete_rows(prefix, writes);
        }
        let regular = plan.columns_of(ColumnKind::Regular).next().is_some();
        let inserts_row = plan.kind == ModificationKind::Insert && !plan.only_static();
        if regular || inserts_row {
            let clusterings = keys::clustering_prefixes(&plan.table, &plan.clustering, self.environment)?;
            // Encoded values are never half as long: the usual row costs no more than this.
            if clusterings.iter().any(|clustering| clustering.len() > KEY_BYTES_MAX / 2) {
                self.check_clustering()?;
            }
            for clustering in clusterings {
                let key: Bytes = row_key_of(prefix, &clustering);
                let mut patch = RowPatch::default();
                if plan.kind == ModificationKind::Insert {
                    patch.marker = Some(Liveness { timestamp: self.stamp.timestamp, expiry: self.expiry });
                }
                for operation in plan.columns_of(ColumnKind::Regular) {
                    self.operation(operation, &key, &mut patch, writes)?;
                }
                if !patch.is_empty() {
                    writes.rows.push((key, patch));
                }
            }
        }
        if plan.columns_of(ColumnKind::Static).next().is_some() {
            let key: Bytes = row_key::static_key(prefix).into();
            let mut patch = RowPatch::default();
            for operation in plan.columns_of(ColumnKind::Static) {
                self.operation(operation, &key, &mut patch, writes)?;
            }
            if !patch.is_empty() {
                writes.rows.push((key, patch));
            }
        }
        Ok(())
    }

    fn check_clustering(&self) -> CqlResult<()> {
        let one = |step: &ClusteringStep| match step {
            ClusteringStep::Values(ValueSet::One(value)) => value.optional(self.environment),
            _ => Ok(None),
        };
        let values = self.plan.clustering.steps.iter().map(one).collect::<CqlResult<Vec<_>>>()?;
        keys::check_clustering(values.iter().flatten())
    }

    fn delete_rows(&self, prefix: &[u8], writes: &mut PartitionWrites) -> CqlResult<()> {
        let (table, clustering) = (&self.plan.table, &self.plan.clustering);
        if clustering.is_empty() && !table.clustering().is_empty() {
            let range = KeyRange::prefix(prefix.to_vec());
            writes.ranges.extend(self.tombstone(range));
            return Ok(());
        }
        if clustering.prefix_columns() == table.clustering().len() {
            for clustering in keys::clustering_prefixes(table, clustering, self.environment)? {
                let patch = RowPatch { deletion: Some(self.deletion()), ..RowPatch::default() };
                writes.rows.push((row_key_of(prefix, &clustering), patch));
            }
            if table.clustering().is_empty() {
                // The row is the partition.
                let range = KeyRange::prefix(prefix.to_vec());
                writes.rows.clear();
                writes.ranges.extend(self.tombstone(range));
            }
            return Ok(());
        }
        let rows = row_key::rows_start(prefix);
        for range in keys::clustering_ranges(table, clustering, self.environment)? {
            writes.ranges.extend(self.tombstone(range.in_partition(&rows)));
        }
        Ok(())
    }

    fn tombstone(&self, range: KeyRange) -> Option<RangeTombstone> {
        let end = range.end?;
        (range.start < end).then(|| RangeTombstone { start: range.start, end, deletion: self.deletion() })
    }

    fn cell(&self, value: Bytes) -> Cell {
        let kind = self.expiry.map_or(CellKind::Live, CellKind::Expiring);
        Cell { timestamp: self.stamp.timestamp, kind, value }
    }

    fn tombstone_cell(&self) -> Cell {
        Cell::tombstone(self.stamp.timestamp, self.stamp.now_seconds)
    }

    fn operation(
        &self,
        operation: &Operation,
        key: &Bytes,
        patch: &mut RowPatch,
        writes: &mut PartitionWrites,
    ) -> CqlResult<()> {
        let Some(column) = self.plan.table.columns.get(operation.column) else { return Ok(()) };
        let value = |expression: &Expression| expression.evaluate(self.environment);
        match &operation.action {
            Action::Set(expression) => self.set(column, value(expression)?, patch),
            Action::Delete => self.set(column, BoundValue::Null, patch),
            Action::Append(expression) | Action::Prepend(expression) | Action::Put(expression) => {
                let BoundValue::Value(bytes) = value(expression)? else { return Ok(()) };
                // What an earlier operation looks at does not have these yet.
                let looked_at =
                    writes.operations.iter().any(|(other, read)| other == key && read.column() == column.id);
                let mut later = RowPatch::default();
                let target = if looked_at { &mut later } else { patch };
                match operation.action {
                    Action::Prepend(_) => self.prepend(column, &bytes, target),
                    _ => self.put_elements(column, &bytes, target),
                }
                if looked_at {
                    let elements = later.cells.into_iter().map(|entry| (entry.path, entry.cell.value)).collect();
                    writes.operations.push((key.clone(), ReadOperation::Add { column: column.id, elements }));
                }
            }
            Action::Discard(expression) => {
                if let BoundValue::Value(bytes) = value(expression)? {
                    let values = collection::elements(&bytes).map(|element| collection::shared(&bytes, element));
                    let discard = ReadOperation::Discard { column: column.id, values: values.collect() };
                    writes.operations.push((key.clone(), discard));
                }
            }
            Action::Remove(expression) => {
                if let (BoundValue::Value(bytes), Some(key_type)) = (value(expression)?, key_type(column)) {
                    for element in collection::elements(&bytes) {
                        patch.put(CellEntry::element(column.id, path(key_type, element), self.tombstone_cell()));
                    }
                }
            }
            other => return self.element_operation(column, other, key, patch, writes),
        }
        Ok(())
    }

    /// What is done to one element, field or counter.
    fn element_operation(
        &self,
        column: &Column,
        action: &Action,
        key: &Bytes,
        patch: &mut RowPatch,
        writes: &mut PartitionWrites,
    ) -> CqlResult<()> {
        let value = |expression: &Expression| expression.evaluate(self.environment);
        match action {
            Action::SetKey(element, expression) => {
                let Some(key_type) = key_type(column) else { return Ok(()) };
                let path = path(key_type, &self.element_key(element, "map key")?);
                match value(expression)? {
                    BoundValue::Value(bytes) => patch.put(CellEntry::element(column.id, path, self.cell(bytes))),
                    BoundValue::Null => patch.put(CellEntry::element(column.id, path, self.tombstone_cell())),
                    BoundValue::Unset => {}
                }
            }
            Action::DeleteKey(element) => {
                let Some(key_type) = key_type(column) else { return Ok(()) };
                let path = path(key_type, &self.element_key(element, "map key")?);
                patch.put(CellEntry::element(column.id, path, self.tombstone_cell()));
            }
            Action::SetIndex(index, expression) => {
                let index = self.list_index(index)?;
                let value = match value(expression)? {
                    BoundValue::Value(bytes) => Some(bytes),
                    BoundValue::Null => None,
                    BoundValue::Unset => return Ok(()),
                };
                writes.operations.push((key.clone(), ReadOperation::SetIndex { column: column.id, index, value }));
            }
            Action::DeleteIndex(index) => {
                if matches!(value(index)?, BoundValue::Unset) {
                    return Ok(());
                }
                let index = self.list_index(index)?;
                let delete = ReadOperation::SetIndex { column: column.id, index, value: None };
                writes.operations.push((key.clone(), delete));
            }
            Action::SetField(field, expression) => {
                let path = Bytes::copy_from_slice(&(*field as u16).to_be_bytes());
                match value(expression)? {
                    BoundValue::Value(bytes) => patch.put(CellEntry::element(column.id, path, self.cell(bytes))),
                    BoundValue::Null => patch.put(CellEntry::element(column.id, path, self.tombstone_cell())),
                    BoundValue::Unset => {}
                }
            }
            Action::DeleteField(field) => {
                let path = Bytes::copy_from_slice(&(*field as u16).to_be_bytes());
                patch.put(CellEntry::element(column.id, path, self.tombstone_cell()));
            }
            Action::Count { by, negative } => {
                let by = match value(by)? {
                    BoundValue::Value(bytes) => bytes.first_chunk::<8>().map(|bytes| i64::from_be_bytes(*bytes)),
                    BoundValue::Unset => return Ok(()),
                    BoundValue::Null => None,
                };
                let by = by.ok_or_else(|| CqlError::invalid("Invalid null value for counter increment/decrement"))?;
                let by = if *negative { by.checked_neg() } else { Some(by) };
                let by = by.ok_or_else(|| {
                    CqlError::Invalid(format!("The negation of {} overflows supported counter precision", i64::MIN))
                })?;
                writes.operations.push((key.clone(), ReadOperation::Count { column: column.id, by }));
            }
            _ => {}
        }
        Ok(())
    }

    fn element_key(&self, expression: &Expression, what: &str) -> CqlResult<Bytes> {
        match expression.evaluate(self.environment)? {
            BoundValue::Value(bytes) => Ok(bytes),
            BoundValue::Null => Err(CqlError::Invalid(format!("Invalid null {what}"))),
            BoundValue::Unset => Err(CqlError::Invalid(format!("Invalid unset {what}"))),
        }
    }

    fn list_index(&self, expression: &Expression) -> CqlResult<i32> {
        let bytes = match expression.evaluate(self.environment)? {
            BoundValue::Value(bytes) => bytes,
            BoundValue::Null => return Err(CqlError::invalid("Invalid null value for list index")),
            BoundValue::Unset => return Err(CqlError::invalid("Invalid unset value for list index")),
        };
        let index = bytes.first_chunk::<4>().map(|bytes| i32::from_be_bytes(*bytes));
        index.ok_or_else(|| CqlError::invalid("Invalid empty value for list index"))
    }

    fn set(&self, column: &Column, value: BoundValue, patch: &mut RowPatch) {
        set_column(column, value, self.stamp, self.expiry, self.environment, patch);
    }

    fn put_elements(&self, column: &Column, bytes: &Bytes, patch: &mut RowPatch) {
        put_elements(column, bytes, self.stamp, self.expiry, self.environment, patch);
    }

    fn prepend(&self, column: &Column, bytes: &Bytes, patch: &mut RowPatch) {
        let elements: Vec<&[u8]> = collection::elements(bytes).collect();
        // From the last to the first, each before the one put before: `[a, b] + list` begins with a, b.
        for element in elements.iter().rev() {
            let now = self.environment.shard.unique_micros();
            let path = list_path(2 * PREPEND_REFERENCE_MICROS - now, self.environment.shard.random_u64());
            patch.put(CellEntry::element(column.id, path, self.cell(collection::shared(bytes, element))));
        }
    }
}

/// `column = value`; null deletes, unset changes nothing.
pub fn set_column(
    column: &Column,
    value: BoundValue,
    stamp: Stamp,
    expiry: Option<Expiry>,
    environment: &Environment<'_>,
    patch: &mut RowPatch,
) {
    let deletion = |timestamp| Deletion { timestamp, local_seconds: stamp.now_seconds };
    match (value, column.is_multi_cell()) {
        (BoundValue::Unset, _) => {}
        (BoundValue::Null, true) => patch.delete_column(column.id, deletion(stamp.timestamp)),
        (BoundValue::Null, false) => {
            patch.put(CellEntry::new(column.id, Cell::tombstone(stamp.timestamp, stamp.now_seconds)));
        }
        (BoundValue::Value(bytes), false) => {
            let kind = expiry.map_or(CellKind::Live, CellKind::Expiring);
            patch.put(CellEntry::new(column.id, Cell { timestamp: stamp.timestamp, kind, value: bytes }));
        }
        (BoundValue::Value(bytes), true) => {
            // One microsecond before, so that what is written now is not deleted with what was there.
            patch.delete_column(column.id, deletion(stamp.timestamp.saturating_sub(1)));
            put_elements(column, &bytes, stamp, expiry, environment, patch);
        }
    }
}

fn put_elements(
    column: &Column,
    bytes: &Bytes,
    stamp: Stamp,
    expiry: Option<Expiry>,
    environment: &Environment<'_>,
    patch: &mut RowPatch,
) {
    let kind = expiry.map_or(CellKind::Live, CellKind::Expiring);
    let cell = |value: Bytes| Cell { timestamp: stamp.timestamp, kind, value };
    let shared = |part: &[u8]| collection::shared(bytes, part);
    match &column.column_type {
        CqlType::List(_) => {
            for element in collection::elements(bytes) {
                let shard = environment.shard;
                let path = list_path(shard.unique_micros(), shard.random_u64());
                patch.put(CellEntry::element(column.id, path, cell(shared(element))));
            }
        }
        CqlType::Set(element_type) => {
            for element in collection::elements(bytes) {
                patch.put(CellEntry::element(column.id, path(element_type, element), cell(Bytes::new())));
            }
        }
        CqlType::Map(pair) => {
            for (key, value) in collection::entries(bytes) {
                patch.put(CellEntry::element(column.id, path(&pair.0, key), cell(shared(value))));
            }
        }
        CqlType::Udt(_) => {
            for (index, field) in collection::fields(bytes).enumerate() {
                let path = Bytes::copy_from_slice(&(index as u16).to_be_bytes());
                if let Some(field) = field {
                    patch.put(CellEntry::element(column.id, path, cell(shared(field))));
                }
            }
        }
        _ => {}
    }
}

/// Where an element of a list stands: by time, then by chance.
fn list_path(micros: i64, tie: u64) -> Bytes {
    let time = micros.cast_unsigned() ^ (1 << 63);
    Bytes::copy_from_slice(&((u128::from(time) << 64) | u128::from(tie)).to_be_bytes())
}

fn path(key_type: &CqlType, key: &[u8]) -> Bytes {
    ordered::encoded(key_type, key).into()
}

fn key_type(column: &Column) -> Option<&CqlType> {
    match &column.column_type {
        CqlType::Set(element) => Some(element),
        CqlType::Map(pair) => Some(&pair.0),
        _ => None,
    }
}

/// The key of a row.
pub fn row_key_of(prefix: &[u8], clustering: &[u8]) -> Bytes {
    let mut key = Vec::with_capacity(prefix.len() + 1 + clustering.len());
    key.extend_from_slice(prefix);
    row_key::put_row_kind(&mut key);
    key.extend_from_slice(clustering);
    key.into()
}

/// Encodes the clustering of a row from its values.
pub fn clustering_of(table: &Table, values: &[Bytes]) -> Vec<u8> {
    let mut out = Vec::new();
    for (column, value) in table.clustering().iter().zip(values) {
        ordered::encode(&column.column_type, value, column.is_descending, &mut out);
    }
    out
}
