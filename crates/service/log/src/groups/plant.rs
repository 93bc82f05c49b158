//! Planted bugs, for the checkers only: each breaks a promise of the coordinator so that a run can show that it would be
//! noticed. Behind the cargo feature `plant`; without it the questions below are constants and the code is gone.

use crate::groups::options::Options;

/// Which promise to break.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plants {
    /// Answer a sync or a heartbeat of any generation as if it was the current one.
    pub any_generation: bool,
    /// Take commits of any generation.
    pub commit_of_any_generation: bool,
    /// Let members stay that did not sync in time.
    pub keep_who_did_not_sync: bool,
    /// Answer commits, and show them, before they are durable.
    pub commit_before_durable: bool,
    /// Tell members their assignments before these are durable.
    pub assign_before_durable: bool,
    /// Show a commit whose write failed.
    pub failed_commit_counts: bool,
    /// Take the second of two assignments for a generation.
    pub second_assignment_counts: bool,
    /// Do not rebalance when a member's session ends.
    pub keep_who_is_silent: bool,
    /// After a failover nobody's session ends.
    pub no_sessions_after_failover: bool,
    /// Forget a join that waits when its member is removed.
    pub forget_a_join: bool,
}

#[cfg(feature = "plant")]
pub(crate) fn plants(options: &Options) -> Plants {
    options.plants
}

#[cfg(not(feature = "plant"))]
pub(crate) const fn plants(_: &Options) -> Plants {
    Plants {
        any_generation: false,
        commit_of_any_generation: false,
        keep_who_did_not_sync: false,
        commit_before_durable: false,
        assign_before_durable: false,
        failed_commit_counts: false,
        second_assignment_counts: false,
        keep_who_is_silent: false,
        no_sessions_after_failover: false,
        forget_a_join: false,
    }
}
