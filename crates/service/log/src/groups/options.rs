//! What an operator may change, under Kafka's names.

use std::time::Duration;

/// The defaults are those of Kafka 4.1 (`GroupCoordinatorConfig`).
#[derive(Clone, Debug)]
pub struct Options {
    /// `group.min.session.timeout.ms`
    pub session_timeout_min: Duration,
    /// `group.max.session.timeout.ms`
    pub session_timeout_max: Duration,
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more members, again and again while some come.
    pub initial_rebalance_delay: Duration,
    /// `group.max.size`: members.
    pub members_max: usize,
    /// `offset.metadata.max.bytes`: of one offset, in UTF-16 units, as Kafka counts them.
    pub offset_metadata_units_max: usize,
    /// `offsets.retention.minutes`
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`: each group looks so often for what is out of date.
    pub offsets_retention_check_interval: Duration,
    /// `offsets.commit.timeout.ms`: how long an answer waits for the write that it stands on.
    pub write_timeout: Duration,
    /// Broken promises, for the tests of the checkers.
    #[cfg(feature = "plant")]
    pub plants: crate::groups::plant::Plants,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            session_timeout_min: Duration::from_secs(6),
            session_timeout_max: Duration::from_secs(30 * 60),
            initial_rebalance_delay: Duration::from_secs(3),
            members_max: i32::MAX as usize,
            offset_metadata_units_max: 4096,
            offsets_retention: Duration::from_secs(7 * 24 * 3600),
            offsets_retention_check_interval: Duration::from_secs(600),
            write_timeout: Duration::from_secs(5),
            #[cfg(feature = "plant")]
            plants: crate::groups::plant::Plants::default(),
        }
    }
}
