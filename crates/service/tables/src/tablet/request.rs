//! The requests to tablets and their answers, as bytes between shards. Version 1 of each.
//!
//! ```text
//! apply  = version kind:u8 (0: mutation of the store | 1: transaction | 2: finish the batches that began here |
//!                           3: mutation, traced: answered with the events)
//! read   = version flags:u8 now:svarint rows bytes examined:varint [per partition:varint] ranges
//! answer = version count (key:prefixed row:prefixed)* ranges events
//! ranges = count (start:prefixed has_end:u8 [end:prefixed])*
//! ```
//!
//! `events` are those of [`crate::trace`]: none unless the request is traced.

use super::transact::Transaction;
use crate::trace::{self, Event};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput};
use holon_store::{KeyRange, Row, decode_row, row_bytes};

const VERSION: u8 = 1;
const KIND_WRITE: u8 = 0;
const KIND_TRANSACT: u8 = 1;
const KIND_FINISH_BATCHES: u8 = 2;
const KIND_WRITE_TRACED: u8 = 3;

const REVERSE: u8 = 1;
const ONE_PARTITION: u8 = 2;
const PER_PARTITION: u8 = 4;
const TRACED: u8 = 8;

pub enum Apply {
    Write { mutation: Bytes, traced: bool },
    Transact(Transaction),
    FinishBatches,
}

pub fn encode_write(mutation: &Bytes, traced: bool) -> Bytes {
    let mut out = ByteWriter::with_capacity(mutation.len() + 2);
    out.put_u8(VERSION);
    out.put_u8(if traced { KIND_WRITE_TRACED } else { KIND_WRITE });
    out.put_slice(mutation);
    out.freeze()
}

pub fn encode_transaction(transaction: &Transaction) -> Bytes {
    let mut out = ByteWriter::new();
    out.put_u8(VERSION);
    out.put_u8(KIND_TRANSACT);
    transaction.encode(&mut out);
    out.freeze()
}

pub fn encode_finish_batches() -> Bytes {
    Bytes::from_static(&[VERSION, KIND_FINISH_BATCHES])
}

pub fn decode_apply(bytes: Bytes) -> Result<Apply, ShortInput> {
    let mut input = ByteReader::new(bytes);
    version(&mut input)?;
    match input.u8()? {
        KIND_WRITE => Ok(Apply::Write { mutation: input.rest(), traced: false }),
        KIND_WRITE_TRACED => Ok(Apply::Write { mutation: input.rest(), traced: true }),
        KIND_TRANSACT => Transaction::decode(&mut input).map(Apply::Transact),
        KIND_FINISH_BATCHES => Ok(Apply::FinishBatches),
        _ => Err(ShortInput { offset: 1 }),
    }
}

pub(super) fn version(input: &mut ByteReader) -> Result<(), ShortInput> {
    if input.u8()? == VERSION { Ok(()) } else { Err(ShortInput { offset: 0 }) }
}

pub(super) fn put_version(out: &mut ByteWriter) {
    out.put_u8(VERSION);
}

/// A read of some ranges of one tablet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// In the order in which they are wanted; disjoint.
    pub ranges: Vec<KeyRange>,
    pub reverse: bool,
    /// All ranges lie in one partition.
    pub one_partition: bool,
    pub rows_max: u32,
    pub bytes_max: u32,
    pub examined_max: u32,
    /// Rows of each partition, static ones not counted.
    pub per_partition_max: Option<u32>,
    pub now_seconds: i64,
    /// The answer tells what was done.
    pub traced: bool,
}

impl ReadRequest {
    pub fn encode(&self) -> Bytes {
        let mut out = ByteWriter::with_capacity(128);
        put_version(&mut out);
        let flags = [
            (self.reverse, REVERSE),
            (self.one_partition, ONE_PARTITION),
            (self.per_partition_max.is_some(), PER_PARTITION),
            (self.traced, TRACED),
        ];
        out.put_u8(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum());
        out.put_signed_varint(self.now_seconds);
        out.put_varint(self.rows_max.into());
        out.put_varint(self.bytes_max.into());
        out.put_varint(self.examined_max.into());
        if let Some(most) = self.per_partition_max {
            out.put_varint(most.into());
        }
        put_ranges(&self.ranges, &mut out);
        out.freeze()
    }

    pub fn decode(bytes: Bytes) -> Result<ReadRequest, ShortInput> {
        let mut input = ByteReader::new(bytes);
        version(&mut input)?;
        let flags = input.u8()?;
        let now_seconds = input.signed_varint()?;
        let mut number = || -> Result<u32, ShortInput> {
            let offset = input.offset();
            u32::try_from(input.varint()?).map_err(|_| ShortInput { offset })
        };
        let (rows_max, bytes_max, examined_max) = (number()?, number()?, number()?);
        let per_partition_max = if flags & PER_PARTITION != 0 { Some(number()?) } else { None };
        let ranges = read_ranges(&mut input)?;
        input.end()?;
        Ok(ReadRequest {
            ranges,
            reverse: flags & REVERSE != 0,
            one_partition: flags & ONE_PARTITION != 0,
            rows_max,
            bytes_max,
            examined_max,
            per_partition_max,
            now_seconds,
            traced: flags & TRACED != 0,
        })
    }
}

/// Live rows in the order of the request, and what of its ranges has not been read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadAnswer {
    pub rows: Vec<(Bytes, Row)>,
    pub rest: Vec<KeyRange>,
}

impl ReadAnswer {
    pub fn encode(&self, events: &[Event]) -> Bytes {
        let mut out = ByteWriter::new();
        put_version(&mut out);
        out.put_varint(self.rows.len() as u64);
        for (key, row) in &self.rows {
            out.put_prefixed(key);
            out.put_prefixed(&row_bytes(row));
        }
        put_ranges(&self.rest, &mut out);
        trace::put_events(events, &mut out);
        out.freeze()
    }

    pub fn decode(bytes: Bytes) -> Result<(ReadAnswer, Vec<Event>), ShortInput> {
        let mut input = ByteReader::new(bytes);
        version(&mut input)?;
        let count = input.count()?;
        let mut rows = Vec::with_capacity(count.min(1024));
        for _ in 0..count {
            let key = input.prefixed()?;
            let offset = input.offset();
            let row = decode_row(&input.prefixed()?).map_err(|_| ShortInput { offset })?;
            rows.push((key, row));
        }
        let rest = read_ranges(&mut input)?;
        let events = trace::read_events(&mut input)?;
        input.end()?;
        Ok((ReadAnswer { rows, rest }, events))
    }
}

/// What a traced write answers with.
pub fn encode_events(events: &[Event]) -> Bytes {
    let mut out = ByteWriter::new();
    trace::put_events(events, &mut out);
    out.freeze()
}

/// Events tell of what was done and change nothing about it: unreadable ones are none.
pub fn decode_events(bytes: Bytes) -> Vec<Event> {
    if bytes.is_empty() { Vec::new() } else { trace::read_events(&mut ByteReader::new(bytes)).unwrap_or_default() }
}

fn put_ranges(ranges: &[KeyRange], out: &mut ByteWriter) {
    out.put_varint(ranges.len() as u64);
    for range in ranges {
        out.put_prefixed(&range.start);
        out.put_u8(range.end.is_some().into());
        if let Some(end) = &range.end {
            out.put_prefixed(end);
        }
    }
}

fn read_ranges(input: &mut ByteReader) -> Result<Vec<KeyRange>, ShortInput> {
    let count = input.count()?;
    let mut ranges = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        let start = input.prefixed()?;
        let end = if input.u8()? == 0 { None } else { Some(input.prefixed()?) };
        ranges.push(KeyRange { start, end });
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tablet::{Condition, ConditionTest, ReadOperation, Step, StepCondition, TransactionAnswer};
    use holon_store::{Cell, CellEntry, Deletion, Expiry, RangeTombstone, RowPatch};

    fn patch() -> RowPatch {
        let mut patch = RowPatch::default();
        patch.put(CellEntry::new(3, Cell::live(-1, &b"value"[..])));
        patch.delete_column(4, Deletion { timestamp: -1, local_seconds: 7 });
        patch
    }

    fn transaction() -> Transaction {
        let test = |test| Condition { column: 3, element: Some(Bytes::from_static(b"k")), test, values: vec![None] };
        let operations = vec![
            ReadOperation::SetIndex { column: 1, index: -2, value: None },
            ReadOperation::Discard { column: 1, values: vec![Bytes::from_static(b"x")] },
            ReadOperation::Count { column: 2, by: i64::MIN },
        ];
        let conditions = StepCondition::Columns(vec![test(ConditionTest::In), test(ConditionTest::ContainsKey)]);
        let step = |condition| Step { key: Bytes::from_static(b"key"), condition, patch: patch(), operations: vec![] };
        let mut steps: Vec<Step> =
            [StepCondition::None, StepCondition::Show, StepCondition::NotExists, StepCondition::Exists, conditions]
                .into_iter()
                .map(step)
                .collect();
        steps[0].operations = operations;
        let deletion = Deletion { timestamp: 0, local_seconds: 9 };
        let range = RangeTombstone { start: Bytes::from_static(b"a"), end: Bytes::from_static(b"b"), deletion };
        let expiry = Some(Expiry { ttl_seconds: 5, expires_at_seconds: 1 << 40 });
        Transaction { timestamp: Some(-5), now_seconds: 1, expiry, steps, ranges: vec![range] }
    }

    #[test]
    fn what_is_sent_is_what_arrives_and_what_is_cut_is_refused() {
        let sent = transaction();
        let bytes = encode_transaction(&sent);
        match decode_apply(bytes.clone()) {
            Ok(Apply::Transact(arrived)) => assert_eq!(arrived, sent),
            _ => panic!("a transaction arrives as something else"),
        }
        let range = KeyRange { start: Bytes::from_static(b"a"), end: None };
        let request = ReadRequest {
            ranges: vec![range.clone(), KeyRange::one(&b"z"[..])],
            reverse: true,
            one_partition: true,
            rows_max: 7,
            bytes_max: u32::MAX,
            examined_max: 0,
            per_partition_max: Some(3),
            now_seconds: -1,
            traced: true,
        };
        assert_eq!(ReadRequest::decode(request.encode()).as_ref(), Ok(&request));
        let rows = vec![(Bytes::from_static(b"k"), patch())];
        let answer = ReadAnswer { rows: rows.clone(), rest: vec![range] };
        let event = Event { at: holon_base::Instant(7), shard: 3, activity: "read".to_string() };
        let arrived = ReadAnswer::decode(answer.encode(std::slice::from_ref(&event)));
        assert_eq!(arrived, Ok((answer.clone(), vec![event])));
        let row = rows.into_iter().next().map(|(key, row)| (key, Some(row)));
        let outcome = TransactionAnswer { applied: true, rows: vec![row.expect("one"), (Bytes::new(), None)] };
        assert_eq!(TransactionAnswer::decode(outcome.encode()).as_ref(), Ok(&outcome));
        for cut in 0..bytes.len() {
            assert!(decode_apply(bytes.slice(..cut)).is_err(), "cut at {cut}");
        }
        for cut in 0..request.encode().len() {
            assert!(ReadRequest::decode(request.encode().slice(..cut)).is_err(), "cut at {cut}");
        }
        for cut in 0..answer.encode(&[]).len() {
            assert!(ReadAnswer::decode(answer.encode(&[]).slice(..cut)).is_err(), "cut at {cut}");
        }
        for cut in 0..outcome.encode().len() {
            assert!(TransactionAnswer::decode(outcome.encode().slice(..cut)).is_err(), "cut at {cut}");
        }
    }
}
