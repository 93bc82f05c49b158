//! Every bound of the machine that never moves, named, with its unit and its reason. What an operator may change is in
//! [`crate::Options`].

/// Members of a group, voters and learners together. A membership is part of messages and snapshots; a leader keeps a
/// progress for each.
pub const MEMBERS_MAX: usize = 1024;

/// Entries of one message. A decoder refuses more before it takes memory for them.
pub const ENTRIES_PER_MESSAGE_MAX: usize = 4096;

/// Read requests of one leader that wait for a round of heartbeats. Beyond it a read is refused as if there was no leader.
pub const READS_WAITING_MAX: usize = 65_536;

/// The largest index, term or round that is read. No cluster gets there; it keeps sums of what a peer claims from overflowing.
pub const NUMBER_MAX: u64 = 1 << 62;
