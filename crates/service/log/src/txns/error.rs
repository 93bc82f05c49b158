//! What a coordinator of transactions refuses, and Kafka's numbers for it (`org.apache.kafka.common.protocol.Errors`).

use crate::groups::WriteError;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum TxnError {
    #[error("the coordinator cannot do this; its log says why")]
    UnknownServerError,
    #[error("the coordinator cannot decide this now: ask again")]
    CoordinatorNotAvailable,
    #[error("this is not the coordinator of the transactional id any more: look for it again")]
    NotCoordinator,
    #[error("a transactional id is not empty")]
    InvalidRequest,
    #[error("the transaction is in a state in which this cannot be done")]
    InvalidTxnState,
    #[error("the transactional id has another producer id: initialise the producer again")]
    InvalidProducerIdMapping,
    #[error("the timeout is not between 1 and transaction.max.timeout.ms: change it")]
    InvalidTransactionTimeout,
    #[error("something else of the transactional id is under way: ask again")]
    ConcurrentTransactions,
    #[error("another producer has the transactional id now: stop one of the two")]
    ProducerFenced,
    #[error("there is no such transactional id")]
    TransactionalIdNotFound,
    #[error("the partition is not in the transaction: abort it")]
    TransactionAbortable,
}

impl TxnError {
    /// Kafka's number.
    pub fn code(self) -> i16 {
        match self {
            TxnError::UnknownServerError => -1,
            TxnError::CoordinatorNotAvailable => 15,
            TxnError::NotCoordinator => 16,
            TxnError::InvalidRequest => 42,
            TxnError::InvalidTxnState => 48,
            TxnError::InvalidProducerIdMapping => 49,
            TxnError::InvalidTransactionTimeout => 50,
            TxnError::ConcurrentTransactions => 51,
            TxnError::ProducerFenced => 90,
            TxnError::TransactionalIdNotFound => 105,
            TxnError::TransactionAbortable => 120,
        }
    }

    /// What a client is told of a write that failed (`appendTransactionToLog` of Kafka's `TransactionStateManager`).
    pub(crate) fn of_write(error: WriteError) -> TxnError {
        match error {
            WriteError::NotEnoughReplicas => TxnError::CoordinatorNotAvailable,
            WriteError::NotLeader => TxnError::NotCoordinator,
            WriteError::TooLarge => TxnError::UnknownServerError,
        }
    }
}
