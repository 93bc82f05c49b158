//! Which group wants to be looked at, when, and why. Each timer is set and cancelled by the time that its owner remembers.

use holon_base::Instant;
use std::collections::BTreeSet;

use crate::groups::answer::WriteNumber;
use crate::groups::request::Name;

/// Timers that are due at the same time run in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// An answer waits too long for its write.
    Write(WriteNumber),
    /// The group has waited long enough for members to join.
    Join(Name),
    /// The group has waited long enough for members to sync.
    Sync(Name),
    /// A member of a group was not heard of for as long as its session allows: group, member.
    Session(Name, Name),
    /// Offsets of the group may be out of date.
    Retention(Name),
}

#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(Instant, Timer)>,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Instant, timer: Timer) {
        self.due.insert((at, timer));
    }

    pub(crate) fn cancel(&mut self, at: Instant, timer: Timer) {
        self.due.remove(&(at, timer));
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    pub(crate) fn pop(&mut self, now: Instant) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.due.pop_first().map(|(_, timer)| timer)
    }
}
