//! Planted bugs, for the checkers only: each breaks a promise of the kernel so that a run can show that it would be
//! noticed. Behind the cargo feature `plant`; without it the questions below are constants and the code is gone.

#[cfg(feature = "plant")]
use std::cell::Cell;

/// Which promise to break on this thread's shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plants {
    /// Serve requests for tablets whatever map they were routed by.
    pub accept_old_maps: bool,
    /// Do not take up the clocks of other nodes.
    pub ignore_clocks: bool,
    /// Stamp with the wall clock whatever other nodes say, or this one has promised.
    pub trust_own_clock: bool,
    /// What is new is used whether all members know it or not.
    pub skip_gates: bool,
}

const NONE: Plants = Plants { accept_old_maps: false, ignore_clocks: false, trust_own_clock: false, skip_gates: false };

#[cfg(feature = "plant")]
thread_local! {
    static PLANTS: Cell<Plants> = const { Cell::new(NONE) };
}

#[cfg(feature = "plant")]
pub fn set(plants: Plants) {
    PLANTS.with(|cell| cell.set(plants));
}

#[cfg(feature = "plant")]
pub fn get() -> Plants {
    PLANTS.with(Cell::get)
}

#[cfg(not(feature = "plant"))]
pub const fn get() -> Plants {
    NONE
}
