//! The requests to tablets that only tables know, as bytes between shards and nodes; mutations and reads are those of
//! [`holon_replica::message`]. Version 1.
//!
//! ```text
//! apply  = version kind:u8 (2: finish the batches that began here)
//! ask    = version show:u8 transaction      (of the leader of the tablet's group)
//! answer = written:prefixed transaction's answer
//! ```
//!
//! `written`: the mutation, if `show` is set and there is one.
//!
//! The notes of an answer are events of [`crate::trace`]: none unless the request is traced.

use super::{Transacted, Transaction, TransactionAnswer};
use crate::trace::{self, Event};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput};
use holon_replica::message::{KIND_WRITE, KIND_WRITE_NOTED, check_version, decode_apply as decode_kind, put_version};

const KIND_FINISH_BATCHES: u8 = 2;

pub enum Apply {
    Write { mutation: Bytes, traced: bool },
    FinishBatches,
}

pub fn encode_transaction(transaction: &Transaction, show: bool) -> Bytes {
    let mut out = ByteWriter::new();
    put_version(&mut out);
    out.put_u8(show.into());
    transaction.encode(&mut out);
    out.freeze()
}

/// # Errors
/// Another version, or bytes that are cut.
pub fn decode_transaction(bytes: Bytes) -> Result<(Transaction, bool), ShortInput> {
    let mut input = ByteReader::new(bytes);
    check_version(&mut input)?;
    let show = input.u8()? == 1;
    Ok((Transaction::decode(&mut input)?, show))
}

pub fn encode_transacted(transacted: &Transacted, show: bool) -> Bytes {
    let written = transacted.mutation.as_ref().filter(|_| show).map(|mutation| mutation.bytes().clone());
    let mut out = ByteWriter::new();
    out.put_prefixed(&written.unwrap_or_default());
    out.put_slice(&transacted.answer.encode());
    out.freeze()
}

/// The answer, and the mutation if there is one.
///
/// # Errors
/// Another version, or bytes that are cut.
pub fn decode_transacted(bytes: Bytes) -> Result<(TransactionAnswer, Option<Bytes>), ShortInput> {
    let mut input = ByteReader::new(bytes);
    let written = Some(input.prefixed()?).filter(|written| !written.is_empty());
    Ok((TransactionAnswer::decode(input.rest())?, written))
}

pub fn encode_finish_batches() -> Bytes {
    let mut out = ByteWriter::new();
    put_version(&mut out);
    out.put_u8(KIND_FINISH_BATCHES);
    out.freeze()
}

pub fn decode_apply(bytes: Bytes) -> Result<Apply, ShortInput> {
    let (kind, mut input) = decode_kind(bytes)?;
    match kind {
        KIND_WRITE => Ok(Apply::Write { mutation: input.rest(), traced: false }),
        KIND_WRITE_NOTED => Ok(Apply::Write { mutation: input.rest(), traced: true }),
        KIND_FINISH_BATCHES => Ok(Apply::FinishBatches),
        _ => Err(ShortInput { offset: 1 }),
    }
}

/// The notes of an answer.
pub fn encode_events(events: &[Event]) -> Bytes {
    let mut out = ByteWriter::new();
    trace::put_events(events, &mut out);
    out.freeze()
}

/// Events tell of what was done and change nothing about it: unreadable ones are none.
pub fn decode_events(bytes: Bytes) -> Vec<Event> {
    if bytes.is_empty() { Vec::new() } else { trace::read_events(&mut ByteReader::new(bytes)).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tablet::{Condition, ConditionTest, ReadOperation, Step, StepCondition};
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
        let bytes = encode_transaction(&sent, true);
        assert_eq!(decode_transaction(bytes.clone()), Ok((sent, true)));
        let row = (Bytes::from_static(b"k"), Some(patch()));
        let outcome = TransactionAnswer { applied: true, rows: vec![row, (Bytes::new(), None)] };
        assert_eq!(TransactionAnswer::decode(outcome.encode()).as_ref(), Ok(&outcome));
        for cut in 0..bytes.len() {
            assert!(decode_transaction(bytes.slice(..cut)).is_err(), "cut at {cut}");
        }
        for cut in 0..outcome.encode().len() {
            assert!(TransactionAnswer::decode(outcome.encode().slice(..cut)).is_err(), "cut at {cut}");
        }
    }
}
