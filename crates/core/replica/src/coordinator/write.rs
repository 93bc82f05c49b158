//! Writes: to all replicas at once, answered when the level is met.

use super::{Coordinator, Demand, ReplicaError, is_unknown};
use crate::gather::Gather;
use crate::level::{Level, Quota};
use crate::message::WriteRequest;
use bytes::Bytes;
use holon_base::{NodeId, TabletId};
use holon_kernel::{CallError, Verb};
use std::collections::BTreeSet;
use std::rc::Rc;

/// What the replicas of one attempt have said.
#[derive(Default)]
struct Tally {
    acknowledged: BTreeSet<NodeId>,
    under_way: BTreeSet<NodeId>,
    overloaded: usize,
    failed: usize,
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
            Err(CallError::Overloaded) => self.overloaded += 1,
            Err(CallError::NotHere) => self.outdated = true,
            Err(CallError::Failed(reason)) => {
                self.failed += 1;
                self.reason.get_or_insert(reason);
            }
            Err(CallError::Timeout | CallError::Gone) => {}
        }
    }

    fn is_met(&self, quotas: &[Quota]) -> bool {
        quotas.iter().all(|quota| quota.is_met(|node| self.acknowledged.contains(&node)))
    }

    fn may_be_met(&self, quotas: &[Quota]) -> bool {
        let hopeful = |node| self.acknowledged.contains(&node) || self.under_way.contains(&node);
        quotas.iter().all(|quota| quota.is_met(hopeful))
    }

    fn error(self, quotas: &[Quota]) -> ReplicaError {
        let short = quotas.iter().find(|quota| !quota.is_met(|node| self.acknowledged.contains(&node)));
        let (required, received) =
            short.map_or((0, 0), |short| (short.needed(), short.count(|node| self.acknowledged.contains(&node))));
        if self.acknowledged.is_empty() && self.overloaded > 0 && self.under_way.is_empty() && self.failed == 0 {
            return ReplicaError::Overloaded;
        }
        match self.failed + self.overloaded {
            0 => ReplicaError::Timeout { received, required, data: false },
            failures => ReplicaError::Failed { received, required, failures, reason: self.reason },
        }
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
        let payload = WriteRequest { mutation: mutation.clone(), noted }.encode();
        loop {
            let replicas = self.shard.replicas(demand.tablet);
            if replicas.readers.is_empty() {
                return Err(ReplicaError::NoTablet);
            }
            let quotas = self.quotas(&replicas, demand);
            let any = demand.level == Level::Any && self.hints().is_some();
            if !any {
                self.check_alive(&quotas)?;
            }
            let gather = Gather::new(&self.shard);
            let mut tally = Tally::default();
            for node in replicas.writers() {
                if self.shard.is_alive(node) {
                    tally.under_way.insert(node);
                    gather.begin(node, self.send(node, demand, payload.clone(), mutation.clone()));
                } else {
                    self.hint_later(node, demand.tablet, &mutation);
                }
            }
            while !tally.is_met(&quotas) && tally.may_be_met(&quotas) {
                let Some((node, outcome)) = gather.next(demand.deadline).await else { break };
                tally.add(node, outcome, notes);
            }
            if tally.is_met(&quotas) {
                return Ok(());
            }
            if tally.outdated && self.wait_for_map(demand.deadline).await {
                continue; // the same mutation with the same timestamps: written twice is written once
            }
            if any && self.hint_all(replicas.writers(), demand.tablet, &mutation).await {
                return Ok(());
            }
            return Err(tally.error(&quotas));
        }
    }

    /// One replica's part, with a hint if it may have missed it.
    fn send(
        &self,
        node: NodeId,
        demand: &Demand<'_>,
        payload: Bytes,
        mutation: Bytes,
    ) -> impl Future<Output = Result<Bytes, CallError>> + 'static {
        let (shard, hints) = (self.shard.clone(), self.hints());
        let (tablet, deadline) = (demand.tablet, demand.deadline);
        async move {
            let outcome = shard.call_replica(node, tablet, Verb::APPLY, payload, deadline).await;
            let missed = matches!(&outcome, Err(error) if is_unknown(error) || *error == CallError::Overloaded);
            if let Some(hints) = hints.filter(|_| missed && node != shard.node()) {
                hints.keep(node, tablet, mutation).await;
            }
            outcome
        }
    }

    fn hint_later(&self, node: NodeId, tablet: TabletId, mutation: &Bytes) {
        let Some(hints) = self.hints() else { return };
        let mutation = mutation.clone();
        let work = async move {
            hints.keep(node, tablet, mutation).await;
        };
        self.shard.spawn(holon_kernel::Scope::Node, holon_kernel::Class::Foreground, work);
    }

    async fn hint_all(&self, nodes: impl Iterator<Item = NodeId>, tablet: TabletId, mutation: &Bytes) -> bool {
        let Some(hints): Option<Rc<_>> = self.hints() else { return false };
        let mut kept = false;
        for node in nodes {
            kept |= hints.keep(node, tablet, mutation.clone()).await;
        }
        kept
    }
}
