//! Members that did not answer, each with who says so and when that is taken for death.
//!
//! A suspicion that nobody confirms lasts long, for then the fault may be with the one who suspects; each independent
//! confirmation shortens it (Lifeguard §IV-B).

use crate::options::Options;
use holon_base::{Instant, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

struct Suspicion {
    started: Instant,
    deadline: Instant,
    /// No confirmation brings the deadline before this: set when this machine woke from sleep, for what confirmed
    /// meanwhile lies in its socket beside what refuted.
    earliest: Instant,
    /// The first suspect and those who confirmed.
    by: Vec<NodeId>,
}

#[derive(Default)]
pub struct Suspicions {
    of: BTreeMap<NodeId, Suspicion>,
    deadlines: BTreeSet<(Instant, NodeId)>,
}

impl Suspicions {
    pub fn start(&mut self, now: Instant, node: NodeId, by: NodeId, members: usize, options: &Options) {
        self.end(node);
        let deadline = now + options.suspicion(members, 0);
        self.of.insert(node, Suspicion { started: now, deadline, earliest: now, by: vec![by] });
        self.deadlines.insert((deadline, node));
    }

    /// True if this is news: another one suspects too, and fewer than wanted did so far.
    pub fn confirm(&mut self, node: NodeId, by: NodeId, members: usize, options: &Options) -> bool {
        let Some(suspicion) = self.of.get_mut(&node) else { return false };
        if suspicion.by.contains(&by) || suspicion.by.len() > options.suspicion_confirmations as usize {
            return false;
        }
        suspicion.by.push(by);
        self.deadlines.remove(&(suspicion.deadline, node));
        let length = options.suspicion(members, suspicion.by.len() - 1);
        suspicion.deadline = suspicion.deadline.min((suspicion.started + length).max(suspicion.earliest));
        self.deadlines.insert((suspicion.deadline, node));
        true
    }

    pub fn end(&mut self, node: NodeId) {
        if let Some(suspicion) = self.of.remove(&node) {
            self.deadlines.remove(&(suspicion.deadline, node));
        }
    }

    /// The latest who said so: their claim is what is passed on.
    pub fn last_by(&self, node: NodeId) -> Option<NodeId> {
        self.of.get(&node)?.by.last().copied()
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// One whose time has run out; it stays here.
    pub fn due(&self, now: Instant) -> Option<NodeId> {
        let (deadline, node) = *self.deadlines.first()?;
        (deadline <= now).then_some(node)
    }

    /// Gives one that was heard more time.
    pub fn postpone(&mut self, node: NodeId, until: Instant) {
        let Some(suspicion) = self.of.get_mut(&node) else { return };
        self.deadlines.remove(&(suspicion.deadline, node));
        suspicion.deadline = until;
        self.deadlines.insert((until, node));
    }

    /// This machine slept: nobody could answer it meanwhile. Each gets that time, and at least `grace` from now.
    pub fn shift(&mut self, now: Instant, slept: Duration, grace: Duration) {
        self.deadlines.clear();
        for (node, suspicion) in &mut self.of {
            suspicion.started = suspicion.started + slept;
            suspicion.earliest = now + grace;
            suspicion.deadline = (suspicion.deadline + slept).max(suspicion.earliest);
            self.deadlines.insert((suspicion.deadline, *node));
        }
    }

    pub fn len(&self) -> usize {
        self.of.len()
    }
}
