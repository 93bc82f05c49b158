//! Planted bugs, for the checkers only: each breaks a promise of the log so that a run can show that it would be
//! noticed. Behind the cargo feature `plant`; without it the questions below are constants and the code is gone.

#[cfg(feature = "plant")]
use std::cell::Cell;

/// Which promise to break on this thread's logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plants {
    /// Acknowledge without syncing the log.
    pub skip_fsync: bool,
    /// Use chunks whose checksum is wrong.
    pub skip_checksum: bool,
}

const NONE: Plants = Plants { skip_fsync: false, skip_checksum: false };

#[cfg(feature = "plant")]
thread_local! {
    static PLANTS: Cell<Plants> = const { Cell::new(NONE) };
}

#[cfg(feature = "plant")]
pub fn set(plants: Plants) {
    PLANTS.with(|cell| cell.set(plants));
}

#[cfg(feature = "plant")]
fn get() -> Plants {
    PLANTS.with(Cell::get)
}

#[cfg(not(feature = "plant"))]
const fn get() -> Plants {
    NONE
}

pub(crate) fn skip_fsync() -> bool {
    get().skip_fsync
}

pub(crate) fn skip_checksum() -> bool {
    get().skip_checksum
}
