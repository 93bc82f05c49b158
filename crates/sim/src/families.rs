//! Families of faults that befall a cluster: a run may be told to know some of them only, so that what one alone does, or two of them
//! together, is seen without the others.

use crate::faults::Fault;
use clap::ValueEnum;

/// What befalls a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Family {
    /// Processes end and lose what was not synced.
    Crash,
    /// Nodes are stopped and started again.
    Stop,
    /// Clients lose their connections.
    Session,
    /// Messages are lost, doubled, late and out of order.
    Messages,
    /// Nodes do not hear each other: one way, both ways, some of them.
    Partition,
    /// A node goes by an old map.
    News,
    /// Reads, writes and syncs fail, or take long.
    Disk,
    /// A disk is full for a while.
    Full,
    /// Sorted files of one node rot.
    Rot,
    /// A wall clock jumps or drifts.
    Clock,
    /// Nodes join.
    Join,
    /// Nodes are drained, changes are cancelled.
    Drain,
    /// Nodes break for good, and are replaced or forgotten.
    Loss,
    /// Nodes of the version before are upgraded.
    Upgrade,
}

impl Family {
    /// One of these has to fire in a set of runs that know the family.
    pub fn faults(self) -> &'static [Fault] {
        match self {
            Family::Crash => &[Fault::Crash],
            Family::Stop => &[Fault::CleanStop],
            Family::Session => &[Fault::SessionLost],
            Family::Messages => &[Fault::MessageLost, Fault::MessageDoubled, Fault::MessageDelayed],
            Family::Partition => &[Fault::Partition],
            Family::News => &[Fault::OldMap],
            Family::Disk => &[Fault::ReadError, Fault::WriteError, Fault::SyncError, Fault::SlowDisk],
            Family::Full => &[Fault::DiskFull],
            Family::Rot => &[Fault::BitRot, Fault::MisdirectedWrite],
            Family::Clock => &[Fault::ClockJump, Fault::ClockDrift],
            Family::Join => &[Fault::NodeJoins],
            Family::Drain => &[Fault::NodeDrained, Fault::ChangeCancelled],
            Family::Loss => &[Fault::NodeReplaced, Fault::NodeForgotten, Fault::RemovedNodeReturns],
            Family::Upgrade => &[Fault::Upgrade],
        }
    }

    pub(crate) fn all() -> &'static [Family] {
        Family::value_variants()
    }

    /// As on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_string())
    }
}

/// Some families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Families(u32);

impl Families {
    pub fn all() -> Families {
        Families::of(Family::all())
    }

    pub fn of(families: &[Family]) -> Families {
        Families(families.iter().fold(0, |set, family| set | 1 << *family as u32))
    }

    pub fn has(self, family: Family) -> bool {
        self.0 & 1 << family as u32 != 0
    }
}

/// Each alone, each two, and all of them.
pub fn alone_in_pairs_and_all() -> Vec<Vec<Family>> {
    let mut sets: Vec<Vec<Family>> = Family::all().iter().map(|family| vec![*family]).collect();
    for (at, one) in Family::all().iter().enumerate() {
        sets.extend(Family::all()[at + 1..].iter().map(|other| vec![*one, *other]));
    }
    sets.push(Family::all().to_vec());
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_is_told_from_every_other() {
        let sets = alone_in_pairs_and_all();
        assert_eq!(sets.len(), 14 + 14 * 13 / 2 + 1);
        for set in &sets {
            let families = Families::of(set);
            assert!(Family::all().iter().all(|family| families.has(*family) == set.contains(family)), "{set:?}");
        }
        assert!(Family::all().iter().all(|family| Families::all().has(*family)));
    }
}
