//! What an administrator is told.

use crate::groups::{Name, Time};
use crate::txns::coordinator::Coordinator;
use crate::txns::error::TxnError;
use crate::txns::record::{State, Txn};
use crate::txns::request::Producer;
use holon_base::TabletId;

/// To DescribeTransactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub producer: Producer,
    pub state: State,
    pub timeout_ms: i32,
    /// -1: there was no transaction.
    pub started_ms: i64,
    pub partitions: Vec<TabletId>,
}

/// To ListTransactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub id: Name,
    pub producer_id: i64,
    pub state: State,
}

/// What of them is asked for; what is empty stands for all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub states: Vec<State>,
    /// States were named, if only ones that there are not.
    pub by_state: bool,
    pub producers: Vec<i64>,
    /// Of transactions that began longer ago than this, if it is not negative.
    pub longer_than_ms: i64,
}

impl Coordinator {
    /// # Errors
    /// It is not there.
    pub fn describe(&self, id: &str) -> Result<Described, TxnError> {
        if id.is_empty() {
            return Err(TxnError::InvalidRequest);
        }
        let txn = self.known(id).ok_or(TxnError::TransactionalIdNotFound)?;
        Ok(Described {
            producer: txn.producer,
            state: txn.state,
            timeout_ms: txn.timeout_ms,
            started_ms: txn.started_ms,
            partitions: txn.partitions.iter().copied().collect(),
        })
    }

    /// Of all ids.
    pub fn list(&self, time: Time, filter: &Filter) -> Vec<Listed> {
        let wanted = |txn: &Txn| {
            (!filter.by_state || filter.states.contains(&txn.state))
                && (filter.producers.is_empty() || filter.producers.contains(&txn.producer.id))
                && (filter.longer_than_ms < 0
                    || time.wall.millis().saturating_sub(txn.started_ms) > filter.longer_than_ms)
        };
        let all = self.all().filter(|(_, txn)| wanted(txn));
        all.map(|(id, txn)| Listed { id: id.clone(), producer_id: txn.producer.id, state: txn.state }).collect()
    }
}
