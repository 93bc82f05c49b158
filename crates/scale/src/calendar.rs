//! What happens when, for many millions of happenings: a ring of buckets for the near future, an ordered map beyond it.
//!
//! Time is counted in ticks of [`TICK_NANOS`]. Happenings of one tick come in the order in which they were planned, so
//! a run replays from its seed. What it is not: exact below a tick.

use std::collections::BTreeMap;

/// Length of a tick. Far below the shortest delay of the network and every interval of the machines.
pub const TICK_NANOS: u64 = 100_000;
/// Ticks of the near future: 1.6 s, so that all messages and most alarms go to the ring.
const NEAR: u64 = 1 << 14;

pub struct Calendar<T> {
    now: u64,
    near: Vec<Vec<T>>,
    far: BTreeMap<u64, Vec<T>>,
}

impl<T> Calendar<T> {
    pub fn new(now: u64) -> Calendar<T> {
        Calendar { now, near: (0..NEAR).map(|_| Vec::new()).collect(), far: BTreeMap::new() }
    }

    pub fn now(&self) -> u64 {
        self.now
    }

    /// Plans for tick `at`, or the next one if that has come already; says which it is.
    pub fn plan(&mut self, at: u64, what: T) -> u64 {
        let at = at.max(self.now + 1);
        if at - self.now < NEAR {
            self.near[(at % NEAR) as usize].push(what);
        } else {
            self.far.entry(at).or_default().push(what);
        }
        at
    }

    /// Goes to the next tick and hands out what happens in it.
    pub fn advance(&mut self) -> Vec<T> {
        self.now += 1;
        // What was planned from afar was planned earlier than what is in the bucket.
        let mut due = match self.far.first_entry() {
            Some(first) if *first.key() == self.now => first.remove(),
            _ => Vec::new(),
        };
        let bucket = std::mem::take(&mut self.near[(self.now % NEAR) as usize]);
        if due.is_empty() {
            return bucket;
        }
        due.extend(bucket);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::{Calendar, NEAR};

    #[test]
    fn everything_happens_at_its_time_in_the_order_planned() {
        let mut calendar = Calendar::new(7);
        for (at, what) in [(3, 'a'), (8, 'b'), (7 + NEAR, 'd'), (20, 'c'), (7 + 3 * NEAR, 'f')] {
            calendar.plan(at, what);
        }
        let mut seen = Vec::new();
        while calendar.now() < 7 + 4 * NEAR {
            let due = calendar.advance();
            seen.extend(due.into_iter().map(|what| (calendar.now(), what)));
            if calendar.now() == 100 {
                assert_eq!(calendar.plan(7 + NEAR, 'e'), 7 + NEAR);
            }
        }
        assert_eq!(seen, [(8, 'a'), (8, 'b'), (20, 'c'), (7 + NEAR, 'd'), (7 + NEAR, 'e'), (7 + 3 * NEAR, 'f')]);
    }
}
