//! Log sequence numbers.

use std::fmt;

/// The place of a record in the history of a shard's log: the boot of the node, then a counter that starts at 1. Larger
/// is later, also over restarts and over a change of the number of shards, since a tablet's records of one boot are all
/// in one log.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    const COUNTER_BITS: u32 = 40;

    pub fn new(boot: u32, counter: u64) -> Self {
        debug_assert!(counter < 1 << Self::COUNTER_BITS);
        Lsn((u64::from(boot) << Self::COUNTER_BITS) | counter)
    }

    pub fn boot(self) -> u32 {
        (self.0 >> Self::COUNTER_BITS) as u32
    }

    pub fn counter(self) -> u64 {
        self.0 & ((1 << Self::COUNTER_BITS) - 1)
    }

    /// The one `count` later, in the same boot.
    pub fn plus(self, count: u64) -> Lsn {
        Lsn(self.0 + count)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.boot(), self.counter())
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
