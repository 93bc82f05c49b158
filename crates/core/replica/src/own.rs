//! Tablets of the engine that are of no table: what a shard keeps for itself (hints, marks of repairs) in group 0, which no
//! map knows, and the logs of consensus groups, in the shadows of tablets.

use holon_base::{GroupId, TabletId};
use holon_store::{PurgePolicy, TabletOptions};
use std::rc::Rc;

/// Ordinals in group 0 from which on marks lie; hints lie below.
pub(crate) const MARKS_FIRST_ORDINAL: u32 = 1 << 15;

/// Whether a tablet is one of a shard's own, and of no map.
pub fn is_of_no_map(tablet: TabletId) -> bool {
    tablet.group() == GroupId(0)
}

/// How all of them are stored: what was removed is gone at the next compaction.
pub fn tablet_options() -> TabletOptions {
    let purge = |now_seconds: i64| PurgePolicy { repaired: true, before_seconds: now_seconds };
    TabletOptions { purge: Rc::new(purge), ..TabletOptions::default() }
}
