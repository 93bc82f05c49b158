//! Feature gates: what was added to formats and behaviour, and since which level of the cluster it may be used.
//!
//! A node's record says the highest level its binary knows. The leader of the metadata group raises the level of the cluster, by an
//! entry, when all members know a higher one; it never falls. So nothing is written or sent that a member could not read, and a
//! rolling upgrade needs no plan: nodes are exchanged one by one, and what is new begins when the last one is. A binary that
//! knows less than the level of the cluster is refused: at the door when it joins, at its start when it was a member.

/// The highest level this binary knows.
pub const LEVEL: u32 = Gate::MetadataSnapshots as u32;

/// Of nodes that say nothing of it: they are older than levels.
pub(crate) const LEVEL_FIRST: u32 = 1;

/// The fact of a node's record that says its level.
pub(crate) const LEVEL_FACT: &str = "level";

/// What is new, by the level that opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Gate {
    /// The metadata log may be cut, and a snapshot be handed to whoever lacks what is gone.
    MetadataSnapshots = 2,
}

impl Gate {
    pub(crate) fn is_open(self, level: u32) -> bool {
        level >= self as u32
    }
}
