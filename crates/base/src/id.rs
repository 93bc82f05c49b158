//! Names of the parts of a cluster.

use std::fmt;

/// A node, for life: 128 random bits written into its data directory at first start. Shown as a uuid.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u128);

/// A core of a node: 0..shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

/// The unit of placement. Made from the index of the metadata entry that created it, so all nodes agree on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TabletId(pub u64);

/// The tablets that together hold one thing of a service (a table, a topic, …): the index of the metadata entry that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u64);

/// A service (tables, log, files, …). Numbers are given once, in `holon/src/services.rs`, and stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub u16);

impl TabletId {
    /// How many tablets one metadata entry may create.
    pub const PER_ENTRY_MAX: u64 = 1 << 16;

    /// The `ordinal`-th tablet created by the entry at `index`.
    pub fn new(group: GroupId, ordinal: u32) -> Self {
        assert!(u64::from(ordinal) < Self::PER_ENTRY_MAX, "tablet ordinal {ordinal} beyond {}", Self::PER_ENTRY_MAX);
        TabletId(group.0 * Self::PER_ENTRY_MAX + u64::from(ordinal))
    }

    /// The group it belongs to.
    pub fn group(self) -> GroupId {
        GroupId(self.0 / Self::PER_ENTRY_MAX)
    }

    /// Which of its group's tablets it is.
    pub fn ordinal(self) -> u32 {
        (self.0 % Self::PER_ENTRY_MAX) as u32
    }

    /// Marks a tablet of the engine that no map knows: what the replica keeps beside the tablet for itself.
    const SHADOW: u64 = 1 << 63;

    /// The tablet of the engine in which a replica keeps the log of this tablet's consensus group: on the same shard.
    pub fn shadow(self) -> TabletId {
        TabletId(self.0 | TabletId::SHADOW)
    }

    /// The tablet whose shadow this is.
    pub fn of_shadow(self) -> Option<TabletId> {
        (self.0 & TabletId::SHADOW != 0).then_some(TabletId(self.0 & !TabletId::SHADOW))
    }

    /// The shard that holds this tablet on a node of `shards` cores. A pure function of both, so that a restart with
    /// another number of cores needs no migration.
    pub fn shard(self, shards: u16) -> ShardId {
        // The ordinals of one group are spread round-robin: two tablets of a table share a core only when there are more
        // tablets than cores. The group only rotates where the round starts.
        let id = self.0 & !TabletId::SHADOW;
        let group = (id / Self::PER_ENTRY_MAX).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        ShardId(((group + id % Self::PER_ENTRY_MAX) % u64::from(shards)) as u16)
    }
}

impl fmt::Debug for TabletId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Display for TabletId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0;
        let (a, b, c, d, e) =
            (n >> 96, (n >> 80) & 0xffff, (n >> 64) & 0xffff, (n >> 48) & 0xffff, n & 0xffff_ffff_ffff);
        write!(f, "{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tablets_of_one_group_spread_evenly_over_the_cores() {
        for shards in 1..=9u16 {
            for group in [1u64, 2, 77] {
                let mut counts = vec![0; usize::from(shards)];
                for ordinal in 0..u32::from(shards) * 4 {
                    counts[usize::from(TabletId::new(GroupId(group), ordinal).shard(shards).0)] += 1;
                }
                assert!(counts.iter().all(|&count| count == 4), "{shards} shards, group {group}: {counts:?}");
            }
        }
    }

    #[test]
    fn node_ids_read_as_uuids() {
        let id = NodeId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(id.to_string(), "01234567-89ab-cdef-0123-456789abcdef");
    }
}
