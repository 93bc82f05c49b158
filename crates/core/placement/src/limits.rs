//! Every bound of placement, named, with its reason. They are checked before memory is taken, so hostile bytes cost
//! nothing.

/// Slots a ring has at least: a small cluster still spreads the tablets of a table over its nodes and cores.
pub const SLOTS_MIN: u32 = 16;

/// Slots a ring has at most: twenty for each of 104,857 nodes in one data centre.
pub const SLOTS_MAX: u32 = 1 << 21;

/// Slots a node owns at least, unless [`SLOTS_MAX`] forbids. A node owns one slot more or less than the average, so
/// this bounds the imbalance to one twentieth.
pub const SLOTS_PER_NODE_MIN: u32 = 20;

/// Nodes of a ring: the largest known deployment has 75,000.
pub const NODES_MAX: usize = 100_000;

/// Data centres of a ring. Their tokens are told apart by their distance from the end of a slot, which is at least
/// 2^43.
pub const DATA_CENTERS_MAX: usize = 64;

/// Bytes of the name of a data centre or a rack, as in the protocols that carry them.
pub const NAME_BYTES_MAX: usize = 255;

/// Replicas that a replication may ask for, in one data centre or over all.
pub const FACTOR_MAX: u32 = 1024;

/// Tablets of a group, as [`holon_base::TabletId`] has them.
pub const TABLETS_MAX: u32 = holon_base::TabletId::PER_ENTRY_MAX as u32;

/// Replication factors for which loads are balanced; a larger factor has a load that is nearly even anyway.
pub const BALANCED_FACTOR_MAX: usize = 5;

/// Tablets that a node fills or gives up at a time: enough to keep its network busy while one of them waits for the
/// log.
pub const MOVES_PER_NODE_MAX: usize = 4;

/// Waiting moves looked at for each entry, so that applying it stays cheap. The first of them always finds room at
/// last.
pub const MOVES_LOOKED_AT_MAX: usize = 1024;
