//! What a transaction is, and its bytes between coordinators and leaders (version 1, see [`super::request`]).

use crate::run::condition::Condition;
use crate::types::row_key;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput};
use holon_store::{Expiry, RangeTombstone, Row, RowPatch, decode_row, row_bytes};

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
        self.ranges.iter().for_each(|range| range.write(out));
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
        let ranges = (0..input.count()?).map(|_| RangeTombstone::read(input)).collect::<Result<_, _>>()?;
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

impl Transaction {
    /// Makes the relative timestamps absolute.
    pub(super) fn stamp(&mut self, timestamp: i64) {
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
