//! The clocks of the machine, in the units of the core. Nothing below this crate reads them.

use holon_base::{Instant, Wall};
use holon_kernel::Shard;
use std::time::{SystemTime, UNIX_EPOCH};

/// Monotonic time counted from one origin for all shards of the process, and the wall clock.
#[derive(Clone, Copy)]
pub struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    /// Starts at 0 now.
    pub fn start() -> Clock {
        Clock { origin: std::time::Instant::now() }
    }

    pub fn now(&self) -> Instant {
        Instant(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// When the machine's own clock will show `instant`.
    pub fn machine_time(&self, instant: Instant) -> std::time::Instant {
        self.origin + std::time::Duration::from_nanos(instant.0)
    }

    /// Clocks before 1970 count as 1970.
    pub fn wall(&self) -> Wall {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Wall(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }

    /// Hands both to a shard.
    pub fn advance(&self, shard: &Shard) {
        shard.advance(self.now(), self.wall());
    }
}
