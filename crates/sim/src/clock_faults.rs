//! Wall clocks that go wrong: they are off, drift and jump, also while their node is down, and are set right again.

use crate::faults::Fault;
use crate::world::World;
use holon_base::{Instant, Random};
use std::collections::BTreeMap;
use std::time::Duration;

/// How a wall clock differs from the world's time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WallClock {
    pub(crate) skew_micros: i64,
    pub(crate) since: Instant,
    /// Microseconds gained a second.
    pub(crate) drift_per_million: i64,
}

impl WallClock {
    pub(crate) fn off_micros(&self, now: Instant) -> i64 {
        self.skew_micros + (now.since(self.since).as_micros() as i64) * self.drift_per_million / 1_000_000
    }
}

/// A clock that somebody keeps is within so much of the true time: any two of them are within the bound on skew (500 ms).
const RIGHT_MICROS: u64 = 200_000;

/// Which clocks are wrong, until when.
#[derive(Default)]
pub struct WrongClocks {
    until: BTreeMap<usize, Instant>,
}

impl WrongClocks {
    /// As right as clocks are.
    pub fn set_right(&mut self, world: &mut World, node: usize, random: &mut Random) {
        self.until.remove(&node);
        let off = random.below(2 * RIGHT_MICROS) as i64 - RIGHT_MICROS as i64;
        world.set_clock(node, off, 0);
        world.faults.fired(Fault::ClockSkew);
    }

    /// Jumps by seconds to a minute, or drifts by up to a tenth. One at a time: two wrong clocks that happen to agree outnumber
    /// the right one of a third node, and nobody can tell (seed 5057 once found such two).
    pub fn go_wrong(&mut self, world: &mut World, node: usize, random: &mut Random) {
        if self.until.keys().any(|wrong| *wrong != node) {
            return;
        }
        let way = if random.chance(1, 2) { 1 } else { -1 };
        if random.chance(1, 3) {
            world.set_clock(node, world.off_micros(node), way * random.range(5_000, 100_000) as i64);
            world.faults.fired(Fault::ClockDrift);
        } else {
            world.set_clock(node, way * random.range(600_000, 60_000_000) as i64, 0);
            world.faults.fired(Fault::ClockJump);
        }
        self.until.insert(node, world.now + Duration::from_millis(random.range(100, 20_000)));
    }

    /// Sets right what is to be set right.
    pub fn look(&mut self, world: &mut World, nodes: usize, random: &mut Random) {
        for node in 0..nodes {
            if self.until.get(&node).is_some_and(|until| world.now >= *until) {
                self.set_right(world, node, random);
            }
        }
    }
}
