//! Every bound of replication, with its unit and its reason.

use std::time::Duration;

/// A refused request waits so long for the map it was refused by, before it is routed anew.
pub const REROUTE_PAUSE: Duration = Duration::from_millis(20);

/// Before the first samples, a read asks a further replica after this: longer than a disk takes, shorter than people notice.
pub const SPECULATION_DEFAULT: Duration = Duration::from_millis(50);

/// A further replica is never asked earlier than this: the answer is on its way.
pub const SPECULATION_MIN: Duration = Duration::from_millis(2);

/// Nor later than this: a replica that slow is as good as dead, whatever its past.
pub const SPECULATION_MAX: Duration = Duration::from_secs(1);

/// Bytes of one mutation that brings a replica up to date: far below what a mutation may have, so that one large row on top still
/// fits.
pub const REPAIR_BYTES: usize = 1 << 20;

/// Rows of one page of a fill or a repair: about a millisecond of work for whoever merges and writes them.
pub const FILL_ROWS: u32 = 256;

/// Bytes of one page of a fill or a repair: what a source reads, and a target writes, at a time while its clients wait. With 1 MiB
/// their p99 is two to five times that at rest (the simulator's world `cost`).
pub const FILL_BYTES: u32 = 128 << 10;

/// One page of a fill or a repair takes no longer than this, or it is asked for again.
pub const FILL_TIMEOUT: Duration = Duration::from_secs(10);

/// A replica that is asked where it has changed answers within this, or the comparison ends.
pub const REPAIR_TIMEOUT: Duration = Duration::from_secs(5);

/// Deletions that were stamped in the last while before a comparison may not be on any replica yet: a request takes no longer, and
/// clocks differ by less.
pub const REPAIR_MARGIN: Duration = Duration::from_secs(15);

/// Between two looks for damage that is to be made good.
pub const MEND_LOOK: Duration = Duration::from_secs(1);

/// Damaged tablets of a shard that are made good at a time: most of that is waiting.
pub const MENDS_MAX: usize = 8;

/// What is lost of a damaged tablet is copied from other replicas so long after it was found: no request takes longer, so nobody
/// counts any more that this replica has taken something.
pub const MEND_MARGIN: Duration = REPAIR_MARGIN;

/// Ranges of one request of a comparison.
pub const REPAIR_RANGES: usize = 64;

/// Comparisons read at this rate at most, bytes a second and shard, beside what clients do.
pub const REPAIR_BYTES_PER_SECOND: u64 = 8 << 20;

/// Between two looks for tablets that are to be compared: a 64th of the interval, within these.
pub const REPAIR_LOOK_MIN: Duration = Duration::from_secs(1);
pub const REPAIR_LOOK_MAX: Duration = Duration::from_secs(60);

/// Hints of one shard, bytes: of a node that is away longer, the rest is left to repair.
pub const HINT_BYTES_MAX: u64 = 256 << 20;

/// A hint that is older is left to repair: Cassandra's `max_hint_window`.
pub const HINT_WINDOW: Duration = Duration::from_secs(3 * 60 * 60);

/// A mutation that is replayed takes no longer than this, or the node is left alone for a while.
pub const HINT_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two looks for nodes that are back and have hints here.
pub const HINT_INTERVAL: Duration = Duration::from_secs(1);

/// Between two looks whether the hints of a truncated table are out of the way.
pub const HINT_LOOK: Duration = Duration::from_millis(5);

/// Hints that a node refuses in one round (its disk is full, say) before it is left alone until the next.
pub const HINT_REFUSALS_MAX: u32 = 4;

/// Hints read at a time.
pub const HINT_PAGE_ROWS: usize = 64;

/// Hints are sent at this rate at most, bytes a second and shard, so that a node that comes back is not met by a flood:
/// Cassandra's `hinted_handoff_throttle` is 1 MiB/s a thread.
pub const HINT_BYTES_PER_SECOND: u64 = 4 << 20;

/// A member of a consensus group waits between once and twice this for a leader, then campaigns; a leader goes on so long without a
/// majority. The stall after the loss of a leader is about this, and what it takes to notice.
pub const GROUP_ELECTION: Duration = Duration::from_millis(500);

/// How often a leader of a group that is awake tells that it lives.
pub const GROUP_HEARTBEAT: Duration = Duration::from_millis(50);

/// A group that nobody asked for so long goes to sleep: no heartbeats, no elections.
pub const GROUP_AWAKE: Duration = Duration::from_secs(10);

/// Groups are looked at this often at most.
pub const GROUP_TICK: Duration = Duration::from_millis(10);

/// Decisions in a group's log before those that the replicas have are forgotten.
pub const GROUP_LOG_ENTRIES: u64 = 64;

/// Bytes of Raft messages in one envelope; a longer message goes alone.
pub const GROUP_BATCH_BYTES: usize = 256 << 10;

/// A member that is asked for its leader and has none waits so long for an election, then says so.
pub const GROUP_LEAD_PATIENCE: Duration = Duration::from_millis(1_500);

/// Who has asked all members without finding a leader waits so long before the next round.
pub const GROUP_ASK_PAUSE: Duration = Duration::from_millis(50);

/// A leader whose answer takes longer is looked around: others are asked whether they lead. Longer than a transaction takes.
pub const GROUP_SCOUT_PATIENCE: Duration = Duration::from_millis(250);

/// A node that owed an answer is not asked for so long, if others can be.
pub const GROUP_DOUBT: Duration = Duration::from_secs(3);

/// So long a copy of a transaction that was begun is known as one: longer than any network holds a message back.
pub const GROUP_REQUEST_MEMORY: Duration = Duration::from_secs(10);

/// How long a replica that gives its tablet away waits for the group to let it go, before it says that it has to wait.
pub const GROUP_LEAVE_PATIENCE: Duration = Duration::from_secs(10);

/// How long a planned stop waits for others to lead what its node has led.
pub const GROUP_HAND_OVER: Duration = Duration::from_secs(1);

/// A proposal that is not decided on within this has an unknown outcome: longer than a few elections.
pub const DECIDE_TIMEOUT: Duration = Duration::from_secs(5);

/// A decision is brought to the replicas, try by try, of this length …
pub const APPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// … with this between them.
pub const APPLY_PAUSE: Duration = Duration::from_millis(100);

/// A shard flushes all its tablets for a cut within this, or has no part in it.
pub const CUT_PREPARE_TIMEOUT: Duration = Duration::from_secs(120);

/// Writes are held for a cut so long at most: less than a client waits for a write.
pub const CUT_HOLD_MAX: Duration = Duration::from_millis(1_500);

/// Each of the two steps while writes are held; both together are shorter than [`CUT_HOLD_MAX`].
pub const CUT_STEP_TIMEOUT: Duration = Duration::from_millis(600);

/// A cut that nobody asks for is given up after this: whoever took it is gone.
pub const CUT_IDLE_MAX: Duration = Duration::from_secs(60);

/// How often whoever reads a cut tells all shards that it does.
pub const CUT_KEEP_INTERVAL: Duration = Duration::from_secs(10);

/// A cut that could not be taken (a shard was slow, a tablet moved) is tried so often, …
pub const CUT_TRIES: u32 = 5;

/// … with this between.
pub const CUT_PAUSE: Duration = Duration::from_secs(1);

/// A replica that does not answer is asked for a page of a cut so often, then done without.
pub const CUT_READ_TRIES: u32 = 3;
