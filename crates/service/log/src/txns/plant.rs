//! Planted bugs, for the checkers only: each breaks a promise of the coordinator so that a run can show that it would be
//! noticed. Behind the cargo feature `plant`; without it the questions below are constants and the code is gone.

use crate::txns::options::Options;

/// Which promise to break.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plants {
    /// Answer EndTxn before it is durable.
    pub end_before_durable: bool,
    /// Do not look at the epoch of who adds partitions or ends a transaction.
    pub any_epoch: bool,
    /// After a failover leave prepared transactions as they are.
    pub forget_prepared: bool,
    /// A transaction is complete with its first marker.
    pub first_marker_completes: bool,
    /// Abort a transaction that is out of time, though its commit is prepared.
    pub abort_prepared: bool,
}

#[cfg(feature = "plant")]
pub(crate) fn plants(options: &Options) -> Plants {
    options.plants
}

#[cfg(not(feature = "plant"))]
pub(crate) const fn plants(_: &Options) -> Plants {
    Plants {
        end_before_durable: false,
        any_epoch: false,
        forget_prepared: false,
        first_marker_completes: false,
        abort_prepared: false,
    }
}
