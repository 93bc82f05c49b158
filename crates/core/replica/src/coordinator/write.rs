//! Writes: to all replicas at once, answered when the level is met.
//!
//! Hints are left only for writes that were acknowledged: of another nothing is promised, and "nothing was done" must stay
//! true.

use super::{Coordinator, Demand, ReplicaError};
use crate::gather::Gather;
use crate::hints::HintStore;
use crate::level::{Level, Quota};
use crate::message::WriteRequest;
use bytes::Bytes;
use holon_base::{Instant, NodeId, TabletId};
use holon_kernel::{CallError, Class, Scope, Shard, Verb};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

/// What the replicas of one attempt have said.
#[derive(Default)]
struct Tally {
    acknowledged: BTreeSet<NodeId>,
    under_way: BTreeSet<NodeId>,
    overloaded: Vec<NodeId>,
    failed: Vec<NodeId>,
    unknown: usize,
    outdated: bool,
    reason: Option<Bytes>,
}

impl Tally {
    fn add(&mut self, node: NodeId, outcome: Result<Bytes, CallError>, notes: &dyn Fn(NodeId, Bytes)) {
        self.under_way.remove(&node);
        match outcome {
            Ok(said) => {
                self.acknowledged.insert(node);
                notes(node, said);
            }
            Err(CallError::Overloaded) => self.overloaded.push(node),
            // It may have been written, by a map that was changing.
            Err(CallError::NotHere) => self.outdated = true,
            Err(CallError::Failed(reason)) => {
                self.failed.push(node);
                self.reason.get_or_insert(reason);
            }
            Err(CallError::Timeout | CallError::Gone) => self.unknown += 1,
        }
    }

    fn is_met(&self, quotas: &[Quota]) -> bool {
        quotas.iter().all(|quota| quota.is_met(|node| self.acknowledged.contains(&node)))
    }

    fn may_be_met(&self, quotas: &[Quota]) -> bool {
        let hopeful = |node| self.acknowledged.contains(&node) || self.under_way.contains(&node);
        quotas.iter().all(|quota| quota.is_met(hopeful))
    }

    /// Some replica has it, or may have it.
    fn may_be_written(&self) -> bool {
        let certainly_not = self.acknowledged.is_empty() && self.under_way.is_empty();
        !certainly_not || self.outdated || self.unknown > 0 || !self.failed.is_empty()
    }

    fn error(self, quotas: &[Quota], earlier: bool) -> ReplicaError {
        let short = quotas.iter().find(|quota| !quota.is_met(|node| self.acknowledged.contains(&node)));
        let (required, received) =
            short.map_or((0, 0), |short| (short.needed(), short.count(|node| self.acknowledged.contains(&node))));
        if !self.overloaded.is_empty() && !self.may_be_written() && !earlier {
            return ReplicaError::Overloaded;
        }
        let failed = [self.failed, self.overloaded].concat();
        match failed.len() {
            0 => ReplicaError::Timeout { received, required, data: false },
            _ => ReplicaError::Failed { received, required, failed, reason: self.reason },
        }
    }
}

/// Replicas that missed a write, until it is known whether they are to have a hint.
struct Missed {
    shard: Rc<Shard>,
    hints: Option<Rc<HintStore>>,
    tablet: TabletId,
    mutation: Bytes,
    began: Instant,
    acknowledged: Cell<bool>,
    nodes: RefCell<Vec<NodeId>>,
}

impl Missed {
    async fn by(&self, node: NodeId) {
        match &self.hints {
            Some(hints) if self.acknowledged.get() => {
                hints.keep(node, self.tablet, self.mutation.clone(), self.began).await;
            }
            _ => self.nodes.borrow_mut().push(node),
        }
    }

    /// The write is acknowledged: whoever has missed it, or will, gets it later.
    fn acknowledge(self: &Rc<Self>) {
        self.acknowledged.set(true);
        let nodes = self.nodes.take();
        if nodes.is_empty() || self.hints.is_none() {
            return;
        }
        let me = self.clone();
        self.shard.spawn(Scope::Node, Class::Foreground, async move {
            for node in nodes {
                me.by(node).await;
            }
        });
    }

    /// Instead of any replica; false if no hint could be kept.
    async fn all(&self, nodes: impl Iterator<Item = NodeId>) -> bool {
        let Some(hints) = &self.hints else { return false };
        let mut kept = false;
        for node in nodes {
            kept |= hints.keep(node, self.tablet, self.mutation.clone(), self.began).await;
        }
        kept
    }
}

impl Coordinator {
    /// Writes a mutation whose timestamps are final to all replicas of its tablet. Returns when so many have it as the
    /// level asks; the others get it too, or a hint is left for them. `notes` hears what each replica noted, if `noted`.
    ///
    /// # Errors
    /// Too few replicas. Unless it says that nothing was done, the write may be seen, now or later.
    pub async fn write(
        &self,
        demand: &Demand<'_>,
        mutation: Bytes,
        noted: bool,
        notes: &dyn Fn(NodeId, Bytes),
    ) -> Result<(), ReplicaError> {
        self.write_after(demand, mutation, noted, notes, false).await
    }

    /// As [`Coordinator::write`], of a mutation that some replica may have already: no error says that nothing was done.
    ///
    /// # Errors
    /// Too few replicas; [`ReplicaError::NoTablet`].
    pub async fn write_again(
        &self,
        demand: &Demand<'_>,
        mutation: Bytes,
        noted: bool,
        notes: &dyn Fn(NodeId, Bytes),
    ) -> Result<(), ReplicaError> {
        self.write_after(demand, mutation, noted, notes, true).await
    }

    /// `earlier`: an attempt before, by an older map, may have been written somewhere.
    async fn write_after(
        &self,
        demand: &Demand<'_>,
        mutation: Bytes,
        noted: bool,
        notes: &dyn Fn(NodeId, Bytes),
        mut earlier: bool,
    ) -> Result<(), ReplicaError> {
        let payload = WriteRequest { mutation: mutation.clone(), noted }.encode();
        let began = self.shard.now();
        loop {
            let epoch = self.shard.map_epoch();
            let replicas = self.shard.replicas(demand.tablet);
            self.check_there(demand.tablet)?;
            let quotas = self.quotas(&replicas, demand);
            let hints = self.hints();
            let any = demand.level == Level::Any && hints.is_some();
            if let Err(error) = self.check_alive(&quotas)
                && !any
            {
                return Err(if earlier { Tally::default().error(&quotas, true) } else { error });
            }
            let missed = Rc::new(Missed {
                shard: self.shard.clone(),
                hints,
                tablet: demand.tablet,
                mutation: mutation.clone(),
                began,
                acknowledged: Cell::new(false),
                nodes: RefCell::default(),
            });
            let gather = Gather::new(&self.shard);
            let mut tally = Tally::default();
            for node in replicas.writers() {
                if self.shard.is_alive(node) {
                    tally.under_way.insert(node);
                    gather.begin(node, self.send(node, epoch, demand, payload.clone(), missed.clone()));
                } else {
                    missed.nodes.borrow_mut().push(node);
                }
            }
            while !tally.is_met(&quotas) && tally.may_be_met(&quotas) {
                let until = self.look_again(demand.tablet, &replicas, tally.outdated, demand.deadline);
                let Some(until) = until else { break };
                match gather.next(until).await {
                    Some((node, outcome)) => tally.add(node, outcome, notes),
                    None if self.shard.now() >= demand.deadline => break,
                    None => {} // the map is looked at again
                }
            }
            if tally.is_met(&quotas) {
                missed.acknowledge();
                return Ok(());
            }
            if tally.outdated && self.wait_for_map(epoch, demand.deadline).await {
                // The same mutation with the same timestamps: written twice is written once.
                earlier |= tally.may_be_written();
                continue;
            }
            if any && missed.all(replicas.writers()).await {
                return Ok(());
            }
            return Err(tally.error(&quotas, earlier));
        }
    }

    /// One replica's part.
    fn send(
        &self,
        node: NodeId,
        epoch: u64,
        demand: &Demand<'_>,
        payload: Bytes,
        missed: Rc<Missed>,
    ) -> impl Future<Output = Result<Bytes, CallError>> + 'static {
        let shard = self.shard.clone();
        let (tablet, deadline) = (demand.tablet, demand.deadline);
        async move {
            let outcome = shard.call_replica(node, tablet, epoch, Verb::APPLY, payload, deadline).await;
            // One that says why it failed is left a hint, too: its disk is full, perhaps, and will not be for ever.
            let is_missing = outcome.as_ref().is_err_and(|error| *error != CallError::NotHere);
            if is_missing && node != shard.node() {
                missed.by(node).await;
            }
            outcome
        }
    }
}
