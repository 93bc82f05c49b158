//! Reads: data from the nearest replica, digests from as many others as the level asks for; where they differ, all pages,
//! merged, and written back before the answer.
//!
//! While a tablet moves, a level is met in both sets of replicas, as for writes: what a read has shown, the replicas that will
//! be read know too (`placement::quorum` tells why the copy alone does not do). Levels of one replica promise nothing of
//! the kind and ask one that has all the data.

use super::{Coordinator, Demand, ReplicaError, Speculation, count};
use crate::gather::Gather;
use crate::level::{Level, Quota};
use crate::message::{ReadAnswer, ReadRequest, WriteRequest};
use crate::page::{self, Merged};
use crate::plant;
use bytes::Bytes;
use holon_base::{Instant, NodeId, TabletId};
use holon_kernel::{CallError, Shard, Verb};
use holon_store::Mutation;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

enum Reply {
    Page(ReadAnswer, Bytes),
    Digest(u128),
}

type Answered = Result<(Reply, Instant), CallError>;

/// One read: what was asked of whom, and what came back.
struct Attempt<'a> {
    coordinator: &'a Coordinator,
    demand: &'a Demand<'a>,
    request: ReadRequest,
    speculation: Speculation,
    /// What each set of replicas has to give.
    quotas: Vec<Quota>,
    /// One replica is enough, and what it says is said.
    is_alone: bool,
    /// Nearest first, alive when the attempt began.
    candidates: Vec<NodeId>,
    gather: Gather<Answered>,
    asked: BTreeSet<NodeId>,
    under_way: usize,
    /// Data was asked for and has neither come nor failed.
    data_under_way: usize,
    pages: BTreeMap<NodeId, ReadAnswer>,
    digests: BTreeMap<NodeId, u128>,
    failures: usize,
    reason: Option<Bytes>,
    outdated: bool,
    overloaded: bool,
}

/// Why an attempt ended without an answer.
enum Ended {
    /// The map has changed.
    Outdated,
    Error(ReplicaError),
}

/// What was found.
enum Found {
    /// By one replica.
    Page(ReadAnswer),
    Merged(Merged),
}

impl Coordinator {
    /// Reads one page at a level. The answer holds what is live, and no notes of deletions; it may be short, or empty, and still
    /// have a rest. `notes` hears what each replica noted.
    ///
    /// # Errors
    /// Too few replicas.
    pub async fn read(
        &self,
        demand: &Demand<'_>,
        request: &ReadRequest,
        speculation: Speculation,
        notes: &dyn Fn(NodeId, Bytes),
    ) -> Result<ReadAnswer, ReplicaError> {
        match self.read_replicas(demand, request, speculation, notes).await? {
            Found::Page(page) => Ok(page),
            Found::Merged(merged) => Ok(merged.visible(request)),
        }
    }

    /// As [`Coordinator::read`], with the deletions: `request` has to ask for them.
    ///
    /// # Errors
    /// Too few replicas.
    pub async fn read_whole(&self, demand: &Demand<'_>, request: &ReadRequest) -> Result<Merged, ReplicaError> {
        match self.read_replicas(demand, request, Speculation::Percentile(0.99), &|_, _| ()).await? {
            Found::Page(page) => Ok(page::merge(request, std::iter::once(&page))),
            Found::Merged(merged) => Ok(merged),
        }
    }

    async fn read_replicas(
        &self,
        demand: &Demand<'_>,
        request: &ReadRequest,
        speculation: Speculation,
        notes: &dyn Fn(NodeId, Bytes),
    ) -> Result<Found, ReplicaError> {
        loop {
            let mut attempt = self.attempt(demand, request, speculation)?;
            match attempt.run(notes).await {
                Ok(found) => return Ok(found),
                Err(Ended::Outdated) if self.wait_for_map(demand.deadline).await => {}
                Err(Ended::Outdated) => return Err(attempt.short(false)),
                Err(Ended::Error(error)) => return Err(error),
            }
        }
    }

    fn attempt<'a>(
        &'a self,
        demand: &'a Demand<'a>,
        request: &ReadRequest,
        speculation: Speculation,
    ) -> Result<Attempt<'a>, ReplicaError> {
        let replicas = self.shard.replicas(demand.tablet);
        self.check_there(demand.tablet)?;
        let mut quotas = self.quotas(&replicas, demand);
        if matches!(demand.level, Level::Count(1) | Level::LocalCount(1)) {
            quotas.truncate(1); // nothing is promised that would need the others
        }
        self.check_alive(&quotas)?;
        let readers = self.by_distance(&replicas.readers);
        let coming: Vec<NodeId> = replicas.writers().filter(|node| !replicas.readers.contains(node)).collect();
        let candidates = readers.into_iter().chain(self.by_distance(&coming));
        let counts = |node: NodeId| quotas.iter().any(|quota| quota.counts(node));
        let is_asked = |node: &NodeId| self.shard.is_alive(*node) && counts(*node);
        let candidates = candidates.filter(is_asked).collect();
        let alone = matches!(quotas.as_slice(), [only] if only.needed() <= 1);
        // Partitions are cut short by whoever sees the rows of all replicas.
        let per_partition_max = request.per_partition_max.filter(|_| alone);
        Ok(Attempt {
            coordinator: self,
            demand,
            request: ReadRequest { full: !alone || request.full, per_partition_max, ..request.clone() },
            speculation,
            quotas,
            is_alone: alone,
            candidates,
            gather: Gather::new(&self.shard),
            asked: BTreeSet::new(),
            under_way: 0,
            data_under_way: 0,
            pages: BTreeMap::new(),
            digests: BTreeMap::new(),
            failures: 0,
            reason: None,
            outdated: false,
            overloaded: false,
        })
    }
}

impl Attempt<'_> {
    async fn run(&mut self, notes: &dyn Fn(NodeId, Bytes)) -> Result<Found, Ended> {
        let mut chosen = Vec::new();
        self.quotas.iter().for_each(|quota| quota.choose(&self.candidates, &mut chosen));
        for (at, node) in chosen.into_iter().enumerate() {
            if at == 0 { self.ask_page(node) } else { self.ask_digest(node) }
        }
        self.collect(false, notes).await?;
        if self.is_alone {
            let page = self.pages.pop_first().map(|(_, page)| Found::Page(page));
            return page.ok_or_else(|| Ended::Error(self.short(false)));
        }
        if self.all_equal() || plant::get().ignore_digests {
            let merged = page::merge(&self.request, self.pages.values().take(1));
            return Ok(Found::Merged(merged));
        }
        count(&self.coordinator.counters.digests_differed);
        let others: Vec<NodeId> = std::mem::take(&mut self.digests).into_keys().collect();
        others.into_iter().for_each(|node| self.ask_page(node));
        self.collect(true, notes).await?;
        let merged = page::merge(&self.request, self.pages.values());
        if !plant::get().skip_read_repair {
            self.repair(&merged).await?;
        }
        Ok(Found::Merged(merged))
    }

    fn all_equal(&self) -> bool {
        let purgeable = self.request.purgeable_seconds;
        let mut digests =
            self.pages.values().map(|page| page::digest(page, purgeable)).chain(self.digests.values().copied());
        let first = digests.next();
        digests.all(|digest| Some(digest) == first)
    }

    fn ask_page(&mut self, node: NodeId) {
        self.data_under_way += 1;
        let payload = self.request.encode();
        self.ask(node, Verb::READ, payload);
    }

    fn ask_digest(&mut self, node: NodeId) {
        let payload = ReadRequest { noted: false, ..self.request.clone() }.encode();
        self.ask(node, Verb::DIGEST, payload);
    }

    fn ask(&mut self, node: NodeId, verb: Verb, payload: Bytes) {
        self.asked.insert(node);
        self.under_way += 1;
        let work = ask(self.coordinator.shard.clone(), node, self.demand.tablet, verb, payload, self.demand.deadline);
        self.gather.begin(node, work);
    }

    /// A replica that has not been asked yet, if there is one.
    fn ask_another(&mut self, pages_only: bool) -> bool {
        let asked = &self.asked;
        let Some(node) = self.candidates.iter().copied().find(|node| !asked.contains(node)) else { return false };
        if pages_only || (self.pages.is_empty()) {
            self.ask_page(node)
        } else {
            self.ask_digest(node)
        }
        true
    }

    fn is_met(&self, pages_only: bool) -> bool {
        let answered =
            |node: NodeId| self.pages.contains_key(&node) || (!pages_only && self.digests.contains_key(&node));
        !self.pages.is_empty() && self.quotas.iter().all(|quota| quota.is_met(answered))
    }

    /// Until enough have answered; a slow or failing one is replaced by another.
    async fn collect(&mut self, pages_only: bool, notes: &dyn Fn(NodeId, Bytes)) -> Result<(), Ended> {
        let mut patience = self.patience();
        while !self.is_met(pages_only) {
            let until = patience.unwrap_or(Instant::FAR_FUTURE).min(self.demand.deadline);
            match self.gather.next(until).await {
                Some((node, answer)) => self.take(node, answer, pages_only, notes)?,
                None if self.coordinator.shard.now() >= self.demand.deadline => {
                    return Err(Ended::Error(self.short(true)));
                }
                None => {
                    if self.ask_another(pages_only) {
                        count(&self.coordinator.counters.speculations);
                        patience = self.patience();
                    } else {
                        self.ask_for_data_again();
                        patience = None;
                    }
                }
            }
        }
        Ok(())
    }

    /// All have said what they hold but the one that was to give the data.
    fn ask_for_data_again(&mut self) {
        if self.pages.is_empty()
            && let Some(node) = self.digests.keys().next().copied()
        {
            count(&self.coordinator.counters.speculations);
            self.ask_page(node);
        }
    }

    fn patience(&self) -> Option<Instant> {
        let now = self.coordinator.shard.now();
        match self.speculation {
            Speculation::Never => None,
            Speculation::Always => Some(now),
            Speculation::After(duration) => Some(now + duration),
            Speculation::Percentile(percentile) => Some(now + self.coordinator.latency.percentile(percentile)),
        }
    }

    fn take(
        &mut self,
        node: NodeId,
        answer: Answered,
        pages_only: bool,
        notes: &dyn Fn(NodeId, Bytes),
    ) -> Result<(), Ended> {
        self.under_way -= 1;
        match answer {
            Ok((reply, begun)) => {
                let shard = &self.coordinator.shard;
                if node != shard.node() {
                    self.coordinator.latency.add(shard.now().since(begun));
                }
                match reply {
                    Reply::Page(page, said) => {
                        self.data_under_way = self.data_under_way.saturating_sub(1);
                        self.digests.remove(&node);
                        self.pages.insert(node, page);
                        notes(node, said);
                    }
                    Reply::Digest(digest) if !self.pages.contains_key(&node) => {
                        self.digests.insert(node, digest);
                    }
                    Reply::Digest(_) => {}
                }
                return Ok(());
            }
            Err(CallError::NotHere) => self.outdated = true,
            Err(CallError::Overloaded) => self.overloaded = true,
            Err(CallError::Failed(reason)) => {
                self.failures += 1;
                self.reason.get_or_insert(reason);
            }
            Err(CallError::Timeout | CallError::Gone) => {}
        }
        if !self.ask_another(pages_only) {
            if self.data_under_way == 0 {
                self.ask_for_data_again();
            }
            if self.under_way == 0 {
                return Err(if self.outdated { Ended::Outdated } else { Ended::Error(self.short(false)) });
            }
        }
        Ok(())
    }

    /// What a client is told when too few have answered.
    fn short(&self, timed_out: bool) -> ReplicaError {
        let answered = |node: NodeId| self.pages.contains_key(&node) || self.digests.contains_key(&node);
        let (received, required) = self.counts_of(answered);
        if self.overloaded && received == 0 && self.failures == 0 && !timed_out {
            return ReplicaError::Overloaded;
        }
        match self.failures {
            0 => ReplicaError::Timeout { received, required, data: !self.pages.is_empty() },
            failures => ReplicaError::Failed { received, required, failures, reason: self.reason.clone() },
        }
    }

    /// Of the set that is the shortest of what it needs: how many are as `is` says, and how many it takes.
    fn counts_of(&self, is: impl Fn(NodeId) -> bool) -> (usize, usize) {
        let short = self.quotas.iter().find(|quota| !quota.is_met(&is)).or(self.quotas.first());
        short.map_or((0, 0), |quota| (quota.count(&is), quota.needed()))
    }

    /// Brings those that answered to what they know together, and waits until enough of them have it: what this read returns,
    /// every later one finds.
    async fn repair(&mut self, merged: &Merged) -> Result<(), Ended> {
        let mut agree: BTreeSet<NodeId> = BTreeSet::new();
        let gather = Gather::new(&self.coordinator.shard);
        let mut under_way = 0;
        // Instead of one that answered and is gone now, another that was not asked is given all of it.
        let asked: BTreeSet<NodeId> = self.pages.keys().copied().collect();
        let mut others =
            self.candidates.iter().copied().filter(|node| !asked.contains(node)).collect::<Vec<_>>().into_iter();
        for (node, page) in &self.pages {
            // What does not fit one mutation came as one: there is no such row.
            let lacking = merged.lacking(page, self.request.purgeable_seconds).unwrap_or_default();
            if lacking.is_empty() {
                agree.insert(*node);
                continue;
            }
            under_way += 1;
            self.coordinator.counters.repairs.set(self.coordinator.counters.repairs.get() + lacking.len() as u64);
            let (shard, tablet, deadline) = (self.coordinator.shard.clone(), self.demand.tablet, self.demand.deadline);
            gather.begin(*node, bring(shard, *node, tablet, lacking, deadline));
        }
        while !self.quotas.iter().all(|quota| quota.is_met(|node| agree.contains(&node))) {
            let next = if under_way > 0 { gather.next(self.demand.deadline).await } else { None };
            let Some((node, outcome)) = next else {
                let (received, required) = self.counts_of(|node| agree.contains(&node));
                return Err(match self.outdated {
                    true => Ended::Outdated,
                    false => Ended::Error(ReplicaError::Timeout { received, required, data: true }),
                });
            };
            under_way -= 1;
            match outcome {
                Ok(()) => drop(agree.insert(node)),
                Err(CallError::NotHere) => self.outdated = true,
                Err(_) => {
                    if let Some(other) = others.next() {
                        under_way += 1;
                        let all = merged.mutations().unwrap_or_default();
                        let (shard, deadline) = (self.coordinator.shard.clone(), self.demand.deadline);
                        gather.begin(other, bring(shard, other, self.demand.tablet, all, deadline));
                    }
                }
            }
        }
        Ok(())
    }
}

async fn ask(
    shard: Rc<Shard>,
    node: NodeId,
    tablet: TabletId,
    verb: Verb,
    payload: Bytes,
    deadline: Instant,
) -> Answered {
    let begun = shard.now();
    let answer = shard.call_replica(node, tablet, verb, payload, deadline).await?;
    let unreadable = |what: &str| CallError::Failed(Bytes::from(format!("a replica's {what} cannot be read")));
    let reply = match verb {
        Verb::DIGEST => {
            let digest = <[u8; 16]>::try_from(&answer[..]).map_err(|_| unreadable("digest"))?;
            Reply::Digest(u128::from_be_bytes(digest))
        }
        _ => {
            let (page, notes) = ReadAnswer::decode(answer).map_err(|_| unreadable("page"))?;
            Reply::Page(page, notes)
        }
    };
    Ok((reply, begun))
}

/// Writes to one replica what it lacks.
pub(crate) async fn bring(
    shard: Rc<Shard>,
    node: NodeId,
    tablet: TabletId,
    mutations: Vec<Mutation>,
    deadline: Instant,
) -> Result<(), CallError> {
    for mutation in mutations {
        let payload = WriteRequest { mutation: mutation.bytes().clone(), noted: false }.encode();
        shard.call_replica(node, tablet, Verb::APPLY, payload, deadline).await?;
    }
    Ok(())
}
