//! The kinds of faults, how often each may happen in a run, and how often each did.

use holon_base::Random;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

macro_rules! faults {
    ($($fault:ident $name:literal),* $(,)?) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $($fault),* }

        impl Fault {
            pub const ALL: &[Fault] = &[$(Fault::$fault),*];

            pub fn name(self) -> &'static str {
                match self { $(Fault::$fault => $name),* }
            }
        }
    };
}

faults! {
    Crash "crash",
    CleanStop "clean stop",
    LostWrite "unsynced write lost",
    TornWrite "unsynced write torn",
    LostName "unsynced name lost",
    ReadError "read error",
    WriteError "write error",
    SyncError "sync error",
    DiskFull "disk full",
    BitRot "bit rot",
    MisdirectedWrite "misdirected write",
    SlowDisk "slow disk",
    ClockJump "wall clock jump",
    ClockSkew "wall clock off within the bound",
    ClockDrift "wall clock drifts",
    ShardCountChange "another number of shards",
    SessionLost "session lost",
    MessageLost "message lost",
    MessageDoubled "message doubled",
    MessageDelayed "message delayed",
    Partition "partition",
    OldMap "node without news of the map",
    NodeJoins "node joins under load",
    NodeDrained "node drained under load",
    NodeReplaced "dead node replaced under load",
    NodeForgotten "dead node forgotten under load",
    RemovedNodeReturns "removed node returns",
    ReplicationChange "another number of replicas under load",
    ChangeCancelled "change of topology cancelled",
    Upgrade "node upgraded to another format version",
}

/// Counts what happened. Clones share the counts.
#[derive(Clone, Default)]
pub struct Faults {
    counts: Rc<RefCell<BTreeMap<Fault, u64>>>,
    sometimes: Rc<RefCell<BTreeMap<&'static str, u64>>>,
}

impl Faults {
    pub fn fired(&self, fault: Fault) {
        *self.counts.borrow_mut().entry(fault).or_default() += 1;
    }

    /// A place that a set of runs must reach at least once.
    pub fn sometimes(&self, point: &'static str, reached: bool) {
        *self.sometimes.borrow_mut().entry(point).or_default() += u64::from(reached);
    }

    pub fn counts(&self) -> BTreeMap<Fault, u64> {
        self.counts.borrow().clone()
    }

    pub fn points(&self) -> BTreeMap<&'static str, u64> {
        self.sometimes.borrow().clone()
    }
}

/// How often the disk misbehaves. All zero: it only loses what was not synced, at crashes.
#[derive(Clone, Copy, Debug)]
pub struct DiskFaults {
    pub slow_per_mille: u64,
    pub read_error_per_million: u64,
    pub write_error_per_million: u64,
    pub sync_error_per_million: u64,
    pub misdirect_per_million: u64,
    /// Only where other nodes have copies.
    pub misdirects_copies_only: bool,
    pub capacity_bytes: usize,
}

impl DiskFaults {
    pub const NONE: DiskFaults = DiskFaults {
        slow_per_mille: 0,
        read_error_per_million: 0,
        write_error_per_million: 0,
        sync_error_per_million: 0,
        misdirect_per_million: 0,
        misdirects_copies_only: false,
        capacity_bytes: usize::MAX,
    };

    /// Each kind is on in a quarter of the runs (FoundationDB's rule), and then mild enough that work gets done.
    pub fn random(random: &mut Random) -> DiskFaults {
        let mut some = |low: u64, high: u64| if random.chance(1, 4) { random.range(low, high) } else { 0 };
        DiskFaults {
            slow_per_mille: some(1, 30),
            read_error_per_million: some(10, 400),
            write_error_per_million: some(10, 400),
            sync_error_per_million: some(10, 400),
            misdirect_per_million: some(100, 4000),
            misdirects_copies_only: false,
            capacity_bytes: match some(1 << 20, 8 << 20) {
                0 => usize::MAX,
                bytes => bytes as usize,
            },
        }
    }
}
