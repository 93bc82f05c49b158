//! What becomes of a transactional id that nothing is being written for: `TransactionMetadata` and the state tables of
//! `TransactionCoordinator` of Kafka 4.1, as functions of what is durable.

use crate::txns::error::TxnError;
use crate::txns::record::{NO_EPOCH, NONE, State, Txn};
use crate::txns::request::{End, Init, Producer, Version};
use holon_base::TabletId;
use std::collections::BTreeSet;

/// The last epoch that a producer is given. The one after it only ever fences.
pub(crate) const LAST_EPOCH: i16 = i16::MAX - 1;

/// What follows from a request.
pub(crate) enum Decision {
    Write(Txn),
    /// It was done before.
    Done,
    Refuse(TxnError),
    /// It takes a producer id that nobody has.
    NeedsProducer,
    /// The transaction of whoever had the id before has to be aborted first.
    AbortFirst(Txn),
}

/// Of an id that is new.
pub(crate) fn begin(producer_id: i64, init: &Init, now_ms: i64) -> Txn {
    Txn {
        producer: Producer { id: producer_id, epoch: 0 },
        previous_id: NONE,
        next_id: NONE,
        last_epoch: NO_EPOCH,
        timeout_ms: init.timeout_ms,
        state: State::Empty,
        partitions: BTreeSet::new(),
        started_ms: NONE,
        updated_ms: now_ms,
    }
}

/// `prepareInitProducerIdTransit`
pub(crate) fn init(txn: &Txn, init: &Init, now_ms: i64) -> Decision {
    // A producer that goes on has the current epoch, or missed the answer that told it of that (KIP-360).
    let (is_current, is_retry) = match init.expected {
        None => (false, false),
        Some(expected) if expected.id == txn.producer.id => {
            (expected.epoch == txn.producer.epoch, expected.epoch == txn.last_epoch)
        }
        Some(expected) => (false, expected.id == txn.previous_id && expected.epoch == txn.last_epoch),
    };
    if init.expected.is_some() && !is_current && !is_retry {
        return Decision::Refuse(TxnError::ProducerFenced);
    }
    match txn.state {
        State::PrepareCommit | State::PrepareAbort => return Decision::Refuse(TxnError::ConcurrentTransactions),
        State::Ongoing => return Decision::AbortFirst(abort_by_us(txn, now_ms)),
        State::Empty | State::CompleteCommit | State::CompleteAbort => {}
    }
    let mut next = Txn { timeout_ms: init.timeout_ms, updated_ms: now_ms, ..txn.clone() };
    (next.state, next.started_ms) = (State::Empty, NONE);
    if is_retry && txn.producer.epoch <= LAST_EPOCH {
        return Decision::Write(next);
    }
    next.last_epoch = if is_current || is_retry { txn.producer.epoch } else { NO_EPOCH };
    if txn.producer.epoch < LAST_EPOCH {
        next.producer.epoch += 1;
        return Decision::Write(next);
    }
    let Some(fresh) = init.fresh else { return Decision::NeedsProducer };
    // Whoever asks again has what it had: the epoch that only fences it was never told.
    next.last_epoch = init.expected.map_or(NO_EPOCH, |expected| expected.epoch);
    next.previous_id = txn.producer.id;
    next.producer = Producer { id: fresh, epoch: 0 };
    Decision::Write(next)
}

/// `handleAddPartitionsToTransaction`: who may add.
pub(crate) fn check_producer(txn: &Txn, producer: Producer, any_epoch: bool) -> Result<(), TxnError> {
    if txn.producer.id != producer.id {
        Err(TxnError::InvalidProducerIdMapping)
    } else if txn.producer.epoch != producer.epoch && !any_epoch {
        Err(TxnError::ProducerFenced)
    } else {
        Ok(())
    }
}

pub(crate) fn add(txn: &Txn, partitions: &BTreeSet<TabletId>, now_ms: i64) -> Decision {
    match txn.state {
        State::PrepareCommit | State::PrepareAbort => Decision::Refuse(TxnError::ConcurrentTransactions),
        State::Ongoing if partitions.is_subset(&txn.partitions) => Decision::Done,
        State::Ongoing | State::Empty | State::CompleteCommit | State::CompleteAbort => {
            let mut next = Txn { state: State::Ongoing, updated_ms: now_ms, ..txn.clone() };
            if txn.state != State::Ongoing {
                // Whoever uses its epoch has heard of it: nothing that has the one before is of this producer.
                (next.started_ms, next.last_epoch) = (now_ms, NO_EPOCH);
            }
            next.partitions.extend(partitions);
            Decision::Write(next)
        }
    }
}

/// `endTransaction` and `endTransactionWithTV1`.
pub(crate) fn end(txn: &Txn, end: &End, now_ms: i64, any_epoch: bool) -> Decision {
    let Producer { id, epoch } = end.producer;
    // With version 2 the epoch tells a repeated request from one for the next transaction.
    let bumped = id == txn.producer.id && epoch.checked_add(1) == Some(txn.producer.epoch);
    let moved = id == txn.previous_id && epoch == LAST_EPOCH && txn.producer.epoch == 0;
    let is_retry = end.version == Version::V2 && epoch == txn.last_epoch && (bumped || moved);
    if txn.producer.id != id && !is_retry {
        return Decision::Refuse(TxnError::InvalidProducerIdMapping);
    }
    let is_current = txn.producer == end.producer || any_epoch;
    let fits = match (end.version, txn.state) {
        (Version::V1, _) | (_, State::Ongoing | State::Empty) => is_current,
        (Version::V2, State::PrepareCommit | State::PrepareAbort) => is_retry,
        (Version::V2, State::CompleteCommit | State::CompleteAbort) => is_current || is_retry,
    };
    if !fits {
        return Decision::Refuse(TxnError::ProducerFenced);
    }
    match (txn.state, end.commit) {
        (State::Ongoing, _) => decide(txn, end, now_ms),
        (State::PrepareCommit, true) | (State::PrepareAbort, false) => {
            Decision::Refuse(TxnError::ConcurrentTransactions)
        }
        (State::CompleteCommit, true) | (State::CompleteAbort, false) if is_retry || end.version == Version::V1 => {
            Decision::Done
        }
        // A transaction in which nothing was written still has an epoch that ends with it.
        (State::Empty | State::CompleteCommit | State::CompleteAbort, false)
            if end.version == Version::V2 && !is_retry =>
        {
            decide(&Txn { started_ms: now_ms, ..txn.clone() }, end, now_ms)
        }
        _ => Decision::Refuse(TxnError::InvalidTxnState),
    }
}

fn decide(txn: &Txn, end: &End, now_ms: i64) -> Decision {
    let state = if end.commit { State::PrepareCommit } else { State::PrepareAbort };
    let mut next = Txn { state, updated_ms: now_ms, ..txn.clone() };
    if end.version == Version::V2 {
        if txn.producer.epoch >= LAST_EPOCH {
            let Some(fresh) = end.fresh else { return Decision::NeedsProducer };
            next.next_id = fresh;
        }
        next.last_epoch = txn.producer.epoch;
        next.producer.epoch = txn.producer.epoch.saturating_add(1);
    }
    Decision::Write(next)
}

/// The abort of a transaction that its producer did not ask for: a later epoch, so that it is fenced from then on; but it may go on
/// with what it has.
pub(crate) fn abort_by_us(txn: &Txn, now_ms: i64) -> Txn {
    let producer = Producer { epoch: txn.producer.epoch.saturating_add(1), ..txn.producer };
    Txn { state: State::PrepareAbort, producer, last_epoch: txn.producer.epoch, updated_ms: now_ms, ..txn.clone() }
}

/// Whether the markers of a prepared transaction have a later epoch than what they end. The last epoch is forgotten when a transaction
/// begins, so it is there only if the decision made the current one.
pub(crate) fn bumps(txn: &Txn) -> bool {
    txn.last_epoch != NO_EPOCH
}

/// All markers are written (`prepareComplete`).
pub(crate) fn complete(txn: &Txn, now_ms: i64) -> Txn {
    let state = if txn.state == State::PrepareCommit { State::CompleteCommit } else { State::CompleteAbort };
    let mut next = Txn { state, partitions: BTreeSet::new(), updated_ms: now_ms, ..txn.clone() };
    next.producer = after_completion(txn);
    if txn.next_id != NONE {
        (next.previous_id, next.next_id) = (txn.producer.id, NONE);
    }
    next
}

/// Who the producer of a prepared transaction is when that is complete.
pub(crate) fn after_completion(txn: &Txn) -> Producer {
    if txn.next_id == NONE { txn.producer } else { Producer { id: txn.next_id, epoch: 0 } }
}
