//! The leadership of a partition, as entries of the metadata log make it.

use holon_base::NodeId;
use thiserror::Error;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// Counts its changes: who proposes one names the one that it goes by (Kafka's partition epoch).
    pub version: u32,
    /// Counts elections.
    pub epoch: i32,
    pub leader: NodeId,
    /// They have all that is below the high watermark, and it waits for them; the leader among them.
    pub in_sync: Vec<NodeId>,
    /// They have all that is below the high watermark, too: they left `in_sync` when too few were left for it to move (KIP-966).
    pub eligible: Vec<NodeId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Of a partition that nobody led yet, so that all its replicas are empty.
    Begin { leader: NodeId, in_sync: Vec<NodeId> },
    /// Another node leads, or the same one after it was started anew.
    Elect { version: u32, leader: NodeId, in_sync: Vec<NodeId> },
    /// By the leader: who has caught up, or has not for too long.
    Alter { version: u32, in_sync: Vec<NodeId> },
    /// A node has perhaps lost what it had not synced.
    Lost { node: NodeId },
    /// By an administrator: it leads, whatever is lost by that.
    Unclean { version: u32, leader: NodeId },
}

/// Why nothing changed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Refused {
    #[error("the partition has a leader already")]
    Begun,
    #[error("nobody led the partition yet")]
    NotBegun,
    #[error("the leadership has changed since: it is of version {0}")]
    Version(u32),
    #[error("node {0} does not have all of the partition")]
    NotEligible(NodeId),
    #[error("a leader is in sync itself, and in sync are nodes that were, each once")]
    InSync,
    #[error("nothing is another by it")]
    Nothing,
}

fn is_set_with(nodes: &[NodeId], leader: NodeId) -> bool {
    let is_once = |node: &NodeId| nodes.iter().filter(|other| *other == node).count() == 1;
    nodes.contains(&leader) && nodes.iter().all(is_once)
}

impl Leadership {
    /// What an entry makes of a leadership. `in_sync_min`: the topic's `min.insync.replicas`.
    ///
    /// # Errors
    /// An answer to whoever proposed it; nothing changes.
    pub fn change(current: Option<&Leadership>, change: Change, in_sync_min: usize) -> Result<Leadership, Refused> {
        let Some(current) = current else {
            return match change {
                Change::Begin { leader, in_sync } if is_set_with(&in_sync, leader) => {
                    Ok(Leadership { version: 0, epoch: 0, leader, in_sync, eligible: Vec::new() })
                }
                Change::Begin { .. } => Err(Refused::InSync),
                _ => Err(Refused::NotBegun),
            };
        };
        match change {
            Change::Begin { .. } => Err(Refused::Begun),
            Change::Elect { version, leader, in_sync } => {
                current.check_version(version)?;
                if !current.may_lead(leader) {
                    return Err(Refused::NotEligible(leader));
                }
                // Who is eligible has all of it, and not more than that: the others catch up with it.
                let may_stay = |node: &NodeId| *node == leader || current.in_sync.contains(node);
                if !is_set_with(&in_sync, leader) || !in_sync.iter().all(may_stay) {
                    return Err(Refused::InSync);
                }
                Ok(current.led_by(leader, in_sync, in_sync_min))
            }
            Change::Alter { version, in_sync } => {
                current.check_version(version)?;
                if !is_set_with(&in_sync, current.leader) {
                    return Err(Refused::InSync);
                }
                Ok(current.with(in_sync, in_sync_min))
            }
            Change::Lost { node } => current.without(node, in_sync_min),
            Change::Unclean { version, leader } => {
                current.check_version(version)?;
                let elected = current.led_by(leader, vec![leader], in_sync_min);
                // What the others have is no longer what counts.
                Ok(Leadership { eligible: Vec::new(), ..elected })
            }
        }
    }

    /// Whether a node has all that is below the high watermark.
    pub fn may_lead(&self, node: NodeId) -> bool {
        self.in_sync.contains(&node) || self.eligible.contains(&node)
    }

    fn check_version(&self, version: u32) -> Result<(), Refused> {
        if version == self.version { Ok(()) } else { Err(Refused::Version(self.version)) }
    }

    /// With enough in sync the high watermark moves on without the others; with fewer it stays, and those who were in sync have it.
    fn with(&self, in_sync: Vec<NodeId>, in_sync_min: usize) -> Leadership {
        let before = self.in_sync.iter().chain(&self.eligible);
        let left = before.filter(|node| !in_sync.contains(node)).copied();
        let eligible = if in_sync.len() >= in_sync_min { Vec::new() } else { left.collect() };
        Leadership { version: self.version + 1, in_sync, eligible, ..self.clone() }
    }

    fn led_by(&self, leader: NodeId, in_sync: Vec<NodeId>, in_sync_min: usize) -> Leadership {
        Leadership { epoch: self.epoch + 1, leader, ..self.with(in_sync, in_sync_min) }
    }

    /// Of the last node that has it nobody knows better.
    fn without(&self, node: NodeId, in_sync_min: usize) -> Result<Leadership, Refused> {
        if !self.may_lead(node) {
            return Err(Refused::Nothing);
        }
        let others = |nodes: &[NodeId]| nodes.iter().copied().filter(|other| *other != node).collect::<Vec<_>>();
        let (in_sync, eligible) = (others(&self.in_sync), others(&self.eligible));
        let known = Leadership { eligible: eligible.clone(), ..self.clone() };
        let after = match (in_sync.first(), eligible.first()) {
            (Some(_), _) if self.leader != node => known.with(in_sync, in_sync_min),
            (Some(leader), _) => known.led_by(*leader, in_sync.clone(), in_sync_min),
            (None, Some(leader)) => known.led_by(*leader, vec![*leader], in_sync_min),
            (None, None) => return Err(Refused::Nothing),
        };
        Ok(Leadership { eligible: others(&after.eligible), ..after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);
    const C: NodeId = NodeId(3);

    fn led() -> Leadership {
        Leadership { version: 7, epoch: 4, leader: A, in_sync: vec![A, B, C], eligible: Vec::new() }
    }

    fn change(current: &Leadership, change: Change) -> Result<Leadership, Refused> {
        Leadership::change(Some(current), change, 2)
    }

    #[test]
    fn the_first_of_two_changes_of_a_version_counts() {
        let begin = |leader| Change::Begin { leader, in_sync: vec![A, B] };
        let begun = Leadership::change(None, begin(A), 2).expect("nobody leads");
        assert_eq!((begun.version, begun.epoch, begun.leader), (0, 0, A));
        assert_eq!(change(&begun, begin(B)), Err(Refused::Begun));
        let elect = Change::Elect { version: 0, leader: B, in_sync: vec![B] };
        let elected = change(&begun, elect.clone()).expect("in sync");
        assert_eq!((elected.version, elected.epoch, elected.leader), (1, 1, B));
        assert_eq!(change(&elected, elect), Err(Refused::Version(1)));
        assert_eq!(change(&elected, Change::Alter { version: 0, in_sync: vec![B, A] }), Err(Refused::Version(1)));
    }

    #[test]
    fn who_leaves_when_too_few_are_left_may_lead_again_and_others_not() {
        let alter = |version, in_sync: &[NodeId]| Change::Alter { version, in_sync: in_sync.to_vec() };
        let two = change(&led(), alter(7, &[A, B])).expect("enough are left");
        assert_eq!(two.eligible, []);
        let one = change(&two, alter(8, &[A])).expect("too few");
        assert_eq!(one.eligible, [B]);
        let by_c = Change::Elect { version: 9, leader: C, in_sync: vec![C] };
        assert_eq!(change(&one, by_c), Err(Refused::NotEligible(C)));
        let by_b = change(&one, Change::Elect { version: 9, leader: B, in_sync: vec![B] }).expect("it has all");
        assert_eq!((by_b.leader, by_b.epoch, by_b.eligible.as_slice()), (B, 5, [A].as_slice()));
        let with_a = Change::Elect { version: 9, leader: B, in_sync: vec![B, A] };
        assert_eq!(change(&one, with_a).expect("A is in sync").eligible, []);
        let again = change(&one, alter(9, &[A, C])).expect("enough again");
        assert_eq!(again.eligible, [], "the high watermark moves without it");
    }

    #[test]
    fn a_set_has_each_once_and_the_leader() {
        for in_sync in [vec![], vec![B], vec![A, A]] {
            let change = change(&led(), Change::Alter { version: 7, in_sync: in_sync.clone() });
            assert_eq!(change, Err(Refused::InSync), "{in_sync:?}");
        }
        let stranger = Change::Elect { version: 7, leader: A, in_sync: vec![A, NodeId(9)] };
        assert_eq!(change(&led(), stranger), Err(Refused::InSync));
    }

    #[test]
    fn who_may_have_lost_something_leads_only_if_nobody_else_can() {
        let after = change(&led(), Change::Lost { node: A }).expect("others are there");
        assert_eq!((after.leader, after.epoch, after.in_sync.as_slice()), (B, 5, [B, C].as_slice()));
        let alone = Leadership { in_sync: vec![A], eligible: vec![C], ..led() };
        let after = change(&alone, Change::Lost { node: A }).expect("one is eligible");
        assert_eq!(
            (after.leader, after.in_sync.as_slice(), after.eligible.as_slice()),
            (C, [C].as_slice(), [].as_slice())
        );
        let last = Leadership { in_sync: vec![A], ..led() };
        assert_eq!(change(&last, Change::Lost { node: A }), Err(Refused::Nothing));
        let follower = change(&led(), Change::Lost { node: C }).expect("it was in sync");
        assert_eq!((follower.leader, follower.epoch, follower.in_sync.as_slice()), (A, 4, [A, B].as_slice()));
        let unclean = change(&last, Change::Unclean { version: 7, leader: C }).expect("by name");
        assert_eq!(
            (unclean.leader, unclean.in_sync.as_slice(), unclean.eligible.as_slice()),
            (C, [C].as_slice(), [].as_slice())
        );
    }
}
