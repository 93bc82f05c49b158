//! The leader's side: who follows, how far each is, and what may be shown.

use super::leadership::Leadership;
use crate::store::epochs::Epochs;
use holon_base::{Instant, NodeId};
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub struct LeadingOptions {
    /// `min.insync.replicas`.
    pub in_sync_min: usize,
    /// `replica.lag.time.max.ms`.
    pub lag_max: Duration,
}

/// What a follower asks. All before `offset` is durable there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follow {
    pub node: NodeId,
    /// Of the leader, as it knows it.
    pub epoch: i32,
    /// The next one it has not.
    pub offset: i64,
    /// Of its last batch; -1: it has none.
    pub last_epoch: i32,
}

/// What it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// Batches from its offset on; what is below `high` may be shown.
    Read { offset: i64, high: i64 },
    /// It has what the leader has not: the leader's last epoch that is not after its own ended at `end`.
    Cut { epoch: i32, end: i64 },
    /// It begins anew at the start of the leader: what it has is older than that.
    Restart { start: i64 },
    /// Nobody leads here in that epoch.
    Fenced { epoch: i32 },
}

#[derive(Clone, Copy, Debug)]
struct Follower {
    end: i64,
    /// When it had all that was there at its request before; `None`: never.
    caught_up: Option<Instant>,
    asked: Instant,
    /// The leader's end at its last request.
    end_asked: i64,
}

pub struct Leading {
    me: NodeId,
    epoch: i32,
    /// Where it began: who has less has not all that was acknowledged before.
    epoch_start: i64,
    in_sync: Vec<NodeId>,
    version: u32,
    /// Proposed, and not applied or refused yet.
    proposed: Option<Vec<NodeId>>,
    followers: BTreeMap<NodeId, Follower>,
    end: i64,
    high: i64,
    options: LeadingOptions,
}

impl Leading {
    /// Of a log that is durable up to `end`, of which `high` was shown as far as this node knows.
    pub fn new(leadership: &Leadership, now: Instant, end: i64, high: i64, options: LeadingOptions) -> Leading {
        let me = leadership.leader;
        // They get their time before it counts against them.
        let fresh = Follower { end: -1, caught_up: Some(now), asked: now, end_asked: i64::MAX };
        let others = leadership.in_sync.iter().filter(|node| **node != me);
        let mut leading = Leading {
            me,
            epoch: leadership.epoch,
            epoch_start: end,
            in_sync: leadership.in_sync.clone(),
            version: leadership.version,
            proposed: None,
            followers: others.map(|node| (*node, fresh)).collect(),
            end,
            high: high.min(end),
            options,
        };
        leading.move_high();
        leading
    }

    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    /// What is below it is at all in sync.
    pub fn high(&self) -> i64 {
        self.high
    }

    /// Whether a batch that all are to have would be taken.
    pub fn has_enough(&self) -> bool {
        self.in_sync.len() >= self.options.in_sync_min
    }

    /// Its own log is durable up to here.
    pub fn appended(&mut self, end: i64) {
        self.end = self.end.max(end);
        self.move_high();
    }

    pub fn set_options(&mut self, options: LeadingOptions) {
        self.options = options;
        self.move_high();
    }

    /// The leadership was changed, and this node leads in the same epoch.
    pub fn altered(&mut self, leadership: &Leadership) {
        self.in_sync.clone_from(&leadership.in_sync);
        self.version = leadership.version;
        self.proposed = None;
        self.move_high();
    }

    /// What was proposed was refused, or nobody knows: if it was not applied, it is proposed again.
    pub fn refused(&mut self) {
        self.proposed = None;
    }

    /// A follower asks. `start`: the first offset here; `epochs`: of this log.
    pub fn followed(&mut self, follow: &Follow, start: i64, epochs: &Epochs, now: Instant) -> Followed {
        if follow.epoch != self.epoch {
            return Followed::Fenced { epoch: self.epoch };
        }
        if follow.last_epoch >= 0
            && let Some((epoch, end)) = epochs.end_of(follow.last_epoch, self.end)
            && (epoch < follow.last_epoch || end < follow.offset)
        {
            return Followed::Cut { epoch, end };
        }
        if follow.offset < start || follow.offset > self.end {
            return Followed::Restart { start };
        }
        let fresh = Follower { end: -1, caught_up: None, asked: now, end_asked: i64::MAX };
        let follower = self.followers.entry(follow.node).or_insert(fresh);
        if follow.offset >= self.end {
            follower.caught_up = Some(now);
        } else if follow.offset >= follower.end_asked {
            follower.caught_up = follower.caught_up.max(Some(follower.asked));
        }
        (follower.end, follower.end_asked, follower.asked) = (follow.offset, self.end, now);
        self.move_high();
        Followed::Read { offset: follow.offset, high: self.high }
    }

    /// A follower that is not there any more, or is to be one no longer.
    pub fn forget(&mut self, node: NodeId) {
        self.followers.remove(&node);
    }

    /// Whether a node that is in sync has been at the end all the time lately.
    pub fn keeps_up(&self, node: NodeId, now: Instant) -> bool {
        self.in_sync.contains(&node) && self.has_kept_up(node, now, self.options.lag_max / 2)
    }

    /// Who is to be in sync, if others are by now: to be proposed once.
    pub fn to_propose(&mut self, now: Instant, may_follow: impl Fn(NodeId) -> bool) -> Option<(u32, Vec<NodeId>)> {
        if self.proposed.is_some() {
            return None;
        }
        let lags = |node: NodeId| !self.has_kept_up(node, now, self.options.lag_max);
        let stays = |node: &NodeId| *node == self.me || may_follow(*node) && !lags(*node);
        let mut in_sync: Vec<NodeId> = self.in_sync.iter().copied().filter(stays).collect();
        for (node, follower) in &self.followers {
            // It has all that was acknowledged, also by leaders before.
            let has_all = follower.end >= self.high && follower.end >= self.epoch_start;
            if has_all && !lags(*node) && may_follow(*node) && !self.in_sync.contains(node) {
                in_sync.push(*node);
            }
        }
        if in_sync == self.in_sync {
            return None;
        }
        self.proposed = Some(in_sync.clone());
        Some((self.version, in_sync))
    }

    fn has_kept_up(&self, node: NodeId, now: Instant, within: Duration) -> bool {
        let caught_up = self.followers.get(&node).and_then(|follower| follower.caught_up);
        caught_up.is_some_and(|at| now.since(at) <= within)
    }

    /// It waits for all that are in sync, and for those that will be if what is proposed is applied: when that is, is not known here.
    fn move_high(&mut self) {
        if !self.has_enough() {
            return;
        }
        let waited_for = self.in_sync.iter().chain(self.proposed.iter().flatten());
        let others = waited_for.filter(|node| **node != self.me);
        let ends = others.map(|node| self.followers.get(node).map_or(-1, |follower| follower.end));
        self.high = self.high.max(ends.fold(self.end, i64::min));
    }
}
