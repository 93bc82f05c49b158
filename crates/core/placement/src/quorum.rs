//! Who is asked and who must answer while a tablet changes its replicas.
//!
//! *old* and *new* are the tablet's replicas before and after. A move goes through phases, each one an entry of the
//! metadata log:
//!
//! | phase | reads ask | writes go to | a write is acknowledged when its level is met in |
//! | --- | --- | --- | --- |
//! | planned | old | old | old |
//! | streaming | old, and new | old ∪ new | old **and** new |
//! | read new | new, and old | old ∪ new | new **and** old |
//! | clean, done | new | new | new |
//! | undo | old | old | old |
//!
//! # Joint levels, not longer counts
//!
//! Cassandra asks for as many more acknowledgements as there are pending replicas (`blockFor + pending`), of whomever.
//! That is right when each pending replica takes the place of one that leaves. It is wrong when the replication factor
//! changes by more than one: from 5 replicas to 2 it asks 3 of old, which may be just the 3 that leave. We ask that
//! the level be met in both sets, each counted by itself (a node in both counts in both), as Raft's joint consensus
//! does. It often needs fewer answers than the count, holds for each level by itself (also for those of one data
//! centre), and the proof is one line: a quorum of a set meets every quorum of that set. Where only a number can be
//! given, [`TabletReplicas::count_needed`] is the smallest for which any choice of writers meets both.
//!
//! # Who may be behind
//!
//! A quorum write is seen by each quorum read that begins after its acknowledgement, if (writer's phase, reader's
//! phase) is:
//!
//! | writer ↓ reader → | planned | streaming | read new | clean |
//! | --- | --- | --- | --- | --- |
//! | planned | old ∩ old | old ∩ old | by the stream | by the stream |
//! | streaming | old ∩ old | old ∩ old | new ∩ new | new ∩ new |
//! | read new | old ∩ old | old ∩ old | new ∩ new | new ∩ new |
//! | clean | fenced | fenced | new ∩ new | new ∩ new |
//!
//! Coordinators one phase apart are on or beside the diagonal, where all is `∩`. Two barriers close the rest, however
//! far a coordinator is behind. A replica that has applied a phase refuses requests routed by an older one
//! ([`TabletReplicas::since`]).
//!
//! - *By the stream.* What a write needs to be seen is to be known to [`fence`]`(n)` = n − quorum(n) + 1 of n readers:
//!   they meet every quorum. A quorum of writers is enough for that, but a move may leave no more than that. Who is
//!   filled merges the data of a quorum of old, each of which has applied *streaming*: so it knows all that could be
//!   read, also a write of a coordinator still in *planned*, for such a write gets no quorum once a quorum refuses it.
//!   Or it takes all from the one whose place it takes: then it knows what that one knew, and the number of those who
//!   know stays.
//! - Where replicas leave and fewer come, those who know may be just those who leave (of 4 replicas 2 are enough to
//!   meet each quorum; of the 3 that stay perhaps 1 knows). Then those that stay are filled like those that come
//!   ([`stayers_are_filled`]).
//! - Where one of new is dead, a quorum of new may be all that live. So all of them are filled, from a quorum of old if so
//!   many live: nothing depends on what the dead one knew, whether it comes back or not.
//! - *Fenced.* *Clean* begins when [`fence`] old replicas have reported that they applied *read new*. From then no
//!   read of old can gather a quorum.
//!
//! # What was read, and nobody has acknowledged
//!
//! A write that was acknowledged by too few, or by nobody, may be read: it is on a quorum of old, say. Once it was read no
//! later read may miss it; but the copy of a new replica may have been taken before it came, and what was sent to that
//! replica may have got lost. So reads at levels of more than one replica have to meet their level in both sets too, with what they
//! return written to both where it is missing, like any read that repairs. (Found by the simulator: two quorum
//! reads in *streaming* saw a write at ANY, one in *clean* did not.) Then readers in neighbouring phases share a set, in which
//! their quorums meet; those further apart are kept apart by the barriers above, and the stream brings what readers in
//! *planned* could have seen.
//!
//! A cancelled move goes from *streaming* to *undo*: reads never left old, and writes were acknowledged in old all
//! along. The tests check both tables exhaustively, all sets of those who acknowledge and who are asked.

use holon_base::NodeId;

/// What a coordinator needs to know of a tablet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TabletReplicas {
    /// They are asked by reads, in the order in which drivers try them. Writes go to them, and the level must be met
    /// in them.
    pub readers: Vec<NodeId>,
    /// Empty, or the tablet is in motion: the other set in which writes must meet the level as well.
    pub joint: Vec<NodeId>,
    /// The entry of the metadata log that made it so. A replica that has applied it refuses requests routed by an
    /// older map.
    pub since: u64,
}

impl TabletReplicas {
    /// All that a write goes to, readers first.
    pub fn writers(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.readers.iter().copied().chain(self.pending())
    }

    /// Those that are written but not read: being filled, or about to leave.
    pub fn pending(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.joint.iter().copied().filter(|node| !self.readers.contains(node))
    }

    /// Takes part in reads or writes.
    pub fn holds(&self, node: NodeId) -> bool {
        self.readers.contains(&node) || self.joint.contains(&node)
    }

    /// Whether those for whom `acknowledged` holds are enough. `level` gives how many of a set of replicas are; it may
    /// look at their data centres.
    pub fn write_is_met(&self, level: impl Fn(&[NodeId]) -> usize, acknowledged: impl Fn(NodeId) -> bool) -> bool {
        let met = |set: &[NodeId]| set.iter().filter(|node| acknowledged(**node)).count() >= level(set);
        met(&self.readers) && (self.joint.is_empty() || met(&self.joint))
    }

    /// How many acknowledgements are enough whoever gives them. At most one a writer.
    pub fn count_needed(&self, level: impl Fn(&[NodeId]) -> usize) -> usize {
        if self.joint.is_empty() {
            return level(&self.readers);
        }
        let leaving = self.readers.iter().filter(|node| !self.joint.contains(node)).count();
        (level(&self.readers) + self.pending().count()).max(level(&self.joint) + leaving)
    }
}

/// More than half.
pub fn quorum(replicas: usize) -> usize {
    replicas / 2 + 1
}

/// So many of a set meet every quorum of it.
pub fn fence(replicas: usize) -> usize {
    replicas - (quorum(replicas).min(replicas)) + usize::from(replicas > 0)
}

/// Whether a move of `old` replicas, of which `leaving` go, while `coming` come and are filled, may leave a write
/// known to too few of the new ones, so that those that stay must be filled as well.
pub fn stayers_are_filled(old: usize, leaving: usize, coming: usize) -> bool {
    fence(old).saturating_sub(leaving) + coming < fence(old + coming - leaving)
}
