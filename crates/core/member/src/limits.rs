//! Every bound of this crate, with its unit and its reason.

/// A member's own facts, bytes. A record with the longest facts must fit a message beside its header and a claim.
pub const FACTS_BYTES_MAX: usize = 512;

/// The shortest message a node may be told to keep to: one record with the longest facts, header and claim included.
pub const MESSAGE_BYTES_MIN: usize = 800;

/// The first incarnation that is refused. Incarnations start at boot number << 32, so no honest node comes near, and
/// adding one to an accepted incarnation never overflows.
pub const INCARNATION_END: u64 = 1 << 62;

/// Probes relayed for others at a time. A peer that asks for more is not helped; it has other helpers.
pub const RELAYS_MAX: usize = 256;

/// Members doubted because a peer believes them dead, waiting to be asked themselves. More are found by the next sync.
pub const DOUBTS_MAX: usize = 64;

/// Positions looked at for one random choice of peers: covers a small cluster whole, and a large one that is mostly dead.
pub const CHOICE_TRIES_MAX: usize = 256;

/// Peers told directly of a planned stop. They tell the rest.
pub const LEAVE_MESSAGES_MAX: usize = 16;

/// Differences a list carries beside its shared base before it makes a base of its own: this many, or an eighth of it.
pub const OVERLAY_MIN: usize = 64;

/// Signs of life remembered before old ones are swept out.
pub const HEARD_SWEEP_AT: usize = 128;

/// Questions in one message at most: with leaves of short records, its answer fits the messages it may take.
pub const SYNC_QUESTIONS_MAX: usize = 24;

/// Ranges a sync may still have to compare; what is beyond is left to the next one. Depth-first, so that at each level
/// no more wait than the branches of one message's questions: enough for 2^32 members.
pub const SYNC_RANGES_MAX: usize = 8 * SYNC_QUESTIONS_MAX * SYNC_BRANCHES;

/// Branches into which a differing range of the list is cut.
pub const SYNC_BRANCHES: usize = 16;

/// A range of at most so many members is sent as records instead of being cut again.
pub const SYNC_LEAF_MEMBERS: usize = 8;

/// Messages that answer one sync message: bounds what a small question can make a node send.
pub const SYNC_ANSWER_MESSAGES_MAX: usize = 16;

/// Rounds of question and answer in one sync; what is left differs until the next one.
pub const SYNC_ROUNDS_MAX: u32 = 1_000;
