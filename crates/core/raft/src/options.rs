//! What may differ between groups.

use std::time::Duration;

/// The clockwork and the bounds of one machine. All members of a group should use the same times.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a follower waits for a leader before it campaigns (it waits between once and twice this), and how long a
    /// leader goes on without hearing from a majority.
    pub election_timeout: Duration,
    /// How often a leader tells that it lives. A tenth of the election timeout or less.
    pub heartbeat_interval: Duration,
    /// Entries of one message, at most [`crate::limits::ENTRIES_PER_MESSAGE_MAX`].
    pub entries_per_message_max: usize,
    /// Bytes of entries in one message; a larger single entry still goes, alone.
    pub bytes_per_message_max: usize,
    /// Unacknowledged messages with entries to one follower.
    pub in_flight_messages_max: usize,
    /// Bytes of entries in unacknowledged messages to one follower.
    pub in_flight_bytes_max: usize,
    /// Broken promises, for the tests of the checkers.
    #[cfg(feature = "plant")]
    pub plants: crate::plant::Plants,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            election_timeout: Duration::from_millis(1_000),
            heartbeat_interval: Duration::from_millis(100),
            entries_per_message_max: 1_024,
            bytes_per_message_max: 1 << 20,
            in_flight_messages_max: 64,
            in_flight_bytes_max: 8 << 20,
            #[cfg(feature = "plant")]
            plants: crate::plant::Plants::default(),
        }
    }
}
