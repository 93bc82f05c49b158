//! Planted bugs, for the checkers only: each breaks a promise of the engine so that a run can show that it would be
//! noticed. Behind the cargo feature `plant`; without it the questions below are constants and the code is gone.

#[cfg(feature = "plant")]
use std::cell::Cell;

/// Which promise to break on this thread's engines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plants {
    /// Acknowledge without syncing the log.
    pub skip_fsync: bool,
    /// Use blocks and records whose checksum is wrong.
    pub skip_checksum: bool,
    /// Purge tombstones whether or not older data is around.
    pub drop_tombstone_early: bool,
}

const NONE: Plants = Plants { skip_fsync: false, skip_checksum: false, drop_tombstone_early: false };

#[cfg(feature = "plant")]
thread_local! {
    static PLANTS: Cell<Plants> = const { Cell::new(NONE) };
}

#[cfg(feature = "plant")]
pub fn set(plants: Plants) {
    let Plants { skip_fsync, skip_checksum, .. } = plants;
    holon_wal::plant::set(holon_wal::plant::Plants { skip_fsync, skip_checksum });
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

impl Plants {
    /// From a comma-separated list, as an environment variable gives it.
    ///
    /// # Errors
    /// The name that is not one.
    pub fn parse(list: &str) -> Result<Plants, String> {
        let mut plants = Plants::default();
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "skip_fsync" => plants.skip_fsync = true,
                "skip_checksum" => plants.skip_checksum = true,
                "drop_tombstone_early" => plants.drop_tombstone_early = true,
                other => return Err(other.to_owned()),
            }
        }
        Ok(plants)
    }
}

pub(crate) fn skip_checksum() -> bool {
    get().skip_checksum
}

pub(crate) fn drop_tombstone_early() -> bool {
    get().drop_tombstone_early
}
