//! What an operator may change, under Kafka's names.

use std::time::Duration;

/// The defaults are those of Kafka 4.1 (`TransactionStateManagerConfig`).
#[derive(Clone, Debug)]
pub struct Options {
    /// `transaction.max.timeout.ms`
    pub timeout_max: Duration,
    /// `transactional.id.expiration.ms`
    pub id_expiration: Duration,
    /// How long an answer waits for the write that it stands on.
    pub write_timeout: Duration,
    /// Broken promises, for the tests of the checkers.
    #[cfg(feature = "plant")]
    pub plants: crate::txns::plant::Plants,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            timeout_max: Duration::from_secs(15 * 60),
            id_expiration: Duration::from_secs(7 * 24 * 3600),
            write_timeout: Duration::from_secs(5),
            #[cfg(feature = "plant")]
            plants: crate::txns::plant::Plants::default(),
        }
    }
}
