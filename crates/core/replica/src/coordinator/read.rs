//! Reads: data from the nearest replica, digests from as many others as the level asks for; where they differ, all pages,
//! merged, and written back before the answer.
//!
//! While a tablet moves, a level is met in both sets of replicas, as for writes: what a read has shown, the replicas that will
//! be read know too (`placement::quorum` tells why the copy alone does not do). Levels of one replica promise nothing of
//! the kind and ask one that has all the data.

use super::{Coordinator, Demand, ReplicaError, Speculation, count};
use crate::gather::Gather;
use crate::level::{Level, Quota};
use crate::limits::SPECULATION_MIN;
use crate::message::{ReadAnswer, ReadRequest, WriteRequest};
use crate::page::{self, Merged};
use crate::plant;
use bytes::Bytes;
use holon_base::{Instant, NodeId, TabletId};
use holon_kernel::{CallError, Replicas, Shard, Verb};
use holon_store::Mutation;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::rc::Rc;

enum Reply {
    Page(ReadAnswer, Bytes),
    Digest(u128),
}

/// What was asked for, and what became of it.
type Answered = (Verb, Result<(Reply, Instant), CallError>);

/// One read: what was asked of whom, and what came back.
struct Attempt<'a> {
    coordinator: &'a Coordinator,
    demand: &'a Demand<'a>,
    request: ReadRequest,
    speculation: Speculation,
    /// By the map of this epoch.
    epoch: u64,
    replicas: Replicas,
    /// What each set of replicas has to give.
    quotas: Vec<Quota>,
    /// One replica is enough, and what it says is said.
    is_alone: bool,
    /// Nearest first, alive when the attempt began.
    candidates: Vec<NodeId>,
    gather: Gather<Answered>,
    asked: BTreeSet<NodeId>,
    asked_for_page: BTreeSet<NodeId>,
    /// What has neither come nor failed.
    under_way: Vec<(NodeId, Verb)>,
    pages: BTreeMap<NodeId, ReadAnswer>,
    digests: BTreeMap<NodeId, u128>,
    failed: Vec<NodeId>,
    reason: Option<Bytes>,
    /// Some replica did not take it, because it knows a newer map or an older one.
    outdated: bool,
    overloaded: bool,
    /// Some replica fell away while it was asked.
    lost: bool,
}

/// Why an attempt ended without an answer.
enum Ended {
    /// The map has changed.
    Outdated,
    /// Replicas that were asked are gone, and no others were left.
    Lost,
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
                Err(Ended::Outdated) if self.wait_for_map(attempt.epoch, demand.deadline).await => {}
                // Others may seem alive by now; if not, it is refused as unavailable.
                Err(Ended::Lost) if self.shard.now() < demand.deadline => {
                    count(&self.counters.reroutes);
                    self.shard.sleep(SPECULATION_MIN).await;
                }
                Err(Ended::Outdated | Ended::Lost) => return Err(attempt.short(false)),
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
        let epoch = self.shard.map_epoch();
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
            epoch,
            replicas,
            quotas,
            is_alone: alone,
            candidates,
            gather: Gather::new(&self.shard),
            asked: BTreeSet::new(),
            asked_for_page: BTreeSet::new(),
            under_way: Vec::new(),
            pages: BTreeMap::new(),
            digests: BTreeMap::new(),
            failed: Vec::new(),
            reason: None,
            outdated: false,
            overloaded: false,
            lost: false,
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
        self.asked_for_page.insert(node);
        let payload = self.request.encode();
        self.ask(node, Verb::READ, payload);
    }

    fn ask_digest(&mut self, node: NodeId) {
        let payload = ReadRequest { noted: false, ..self.request.clone() }.encode();
        self.ask(node, Verb::DIGEST, payload);
    }

    fn ask(&mut self, node: NodeId, verb: Verb, payload: Bytes) {
        self.asked.insert(node);
        self.under_way.push((node, verb));
        let (shard, tablet, deadline) = (self.coordinator.shard.clone(), self.demand.tablet, self.demand.deadline);
        self.gather.begin(node, ask(shard, node, tablet, self.epoch, verb, payload, deadline));
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

    /// Whether enough have answered, or still may.
    fn may_be_met(&self, pages_only: bool) -> bool {
        // A digest that comes late is followed by the page.
        let waited_for = |node: NodeId| self.under_way.iter().any(|(asked, _)| *asked == node);
        let answered = |node: NodeId| {
            self.pages.contains_key(&node) || (!pages_only && self.digests.contains_key(&node)) || waited_for(node)
        };
        let data = !self.pages.is_empty() || !self.under_way.is_empty();
        data && self.quotas.iter().all(|quota| quota.is_met(answered))
    }

    /// Until enough have answered; a slow or failing one is replaced by another.
    async fn collect(&mut self, pages_only: bool, notes: &dyn Fn(NodeId, Bytes)) -> Result<(), Ended> {
        let mut patience = self.patience();
        while !self.is_met(pages_only) {
            let until = self.look_again(patience)?;
            match self.gather.next(until).await {
                Some((node, answer)) => self.take(node, answer, pages_only, notes)?,
                None if self.coordinator.shard.now() >= self.demand.deadline => {
                    return Err(Ended::Error(self.short(true)));
                }
                None if self.is_over(patience) => {
                    if self.ask_another(pages_only) {
                        count(&self.coordinator.counters.speculations);
                        patience = self.patience();
                    } else {
                        if self.ask_for_data_again() {
                            count(&self.coordinator.counters.speculations);
                        }
                        patience = None;
                    }
                }
                None => {} // the map is looked at again
            }
        }
        Ok(())
    }

    /// Until when to wait for answers: until patience ends, unless the tablet is elsewhere by now. Then those that are silent,
    /// or would not take it either, need not be waited for.
    fn look_again(&self, patience: Option<Instant>) -> Result<Instant, Ended> {
        let until = patience.unwrap_or(Instant::FAR_FUTURE).min(self.demand.deadline);
        let until = self.coordinator.look_again(self.demand.tablet, &self.replicas, self.outdated, until);
        until.ok_or(Ended::Outdated)
    }

    fn is_over(&self, patience: Option<Instant>) -> bool {
        patience.is_some_and(|patience| self.coordinator.shard.now() >= patience)
    }

    /// All have said what they hold but the one that was to give the data. False if it cannot be asked of another.
    fn ask_for_data_again(&mut self) -> bool {
        if !self.pages.is_empty() {
            return false;
        }
        let next = self.digests.keys().copied().find(|node| !self.asked_for_page.contains(node));
        next.inspect(|node| self.ask_page(*node)).is_some()
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
        (verb, answer): Answered,
        pages_only: bool,
        notes: &dyn Fn(NodeId, Bytes),
    ) -> Result<(), Ended> {
        if let Some(at) = self.under_way.iter().position(|asked| *asked == (node, verb)) {
            self.under_way.swap_remove(at);
        }
        match answer {
            Ok((reply, begun)) => {
                let shard = &self.coordinator.shard;
                // Who never asks another may read far more at a time than others do.
                if node != shard.node() && self.speculation != Speculation::Never {
                    self.coordinator.latency.add(shard.now().since(begun));
                }
                match reply {
                    Reply::Page(page, said) => {
                        self.digests.remove(&node);
                        self.pages.insert(node, page);
                        notes(node, said);
                    }
                    Reply::Digest(_) if self.pages.contains_key(&node) => {}
                    // Late: the others were found to differ meanwhile.
                    Reply::Digest(_) if pages_only => self.ask_page(node),
                    Reply::Digest(digest) => drop(self.digests.insert(node, digest)),
                }
                return Ok(());
            }
            Err(CallError::NotHere) => self.outdated = true,
            Err(CallError::Overloaded) => self.overloaded = true,
            Err(CallError::Failed(reason)) => {
                self.failed.push(node);
                self.reason.get_or_insert(reason);
            }
            Err(CallError::Gone) => self.lost = true,
            Err(CallError::Timeout) => {}
        }
        let data_under_way = self.under_way.iter().any(|(_, verb)| *verb == Verb::READ);
        let again = self.ask_another(pages_only) || (!data_under_way && self.ask_for_data_again());
        if !again && !self.may_be_met(pages_only) {
            return Err(match self.failed.len() {
                _ if self.outdated => Ended::Outdated,
                0 if self.lost => Ended::Lost,
                _ => Ended::Error(self.short(false)),
            });
        }
        Ok(())
    }

    /// What a client is told when too few have answered.
    fn short(&self, timed_out: bool) -> ReplicaError {
        let answered = |node: NodeId| self.pages.contains_key(&node) || self.digests.contains_key(&node);
        let (received, required) = self.counts_of(answered);
        if self.overloaded && received == 0 && self.failed.is_empty() && !timed_out {
            return ReplicaError::Overloaded;
        }
        match self.failed.len() {
            0 => ReplicaError::Timeout { received, required, data: !self.pages.is_empty() },
            _ => ReplicaError::Failed { received, required, failed: self.failed.clone(), reason: self.reason.clone() },
        }
    }

    /// Of the set that is the shortest of what it needs: how many are as `is` says, and how many it takes.
    fn counts_of(&self, is: impl Fn(NodeId) -> bool) -> (usize, usize) {
        let short = self.quotas.iter().find(|quota| !quota.is_met(&is)).or(self.quotas.first());
        short.map_or((0, 0), |quota| (quota.count(&is), quota.needed()))
    }

    /// Brings those that answered to what they know together, and waits until enough of them have it: what this read returns,
    /// every later one finds. Instead of one that fails or is slow, another that was not read is given all of it.
    async fn repair(&mut self, merged: &Merged) -> Result<(), Ended> {
        let gather = Gather::new(&self.coordinator.shard);
        let (mut agree, mut under_way, mut lost) = (BTreeSet::new(), BTreeSet::new(), false);
        let read: BTreeSet<NodeId> = self.pages.keys().copied().collect();
        let others: Vec<NodeId> = self.candidates.iter().copied().filter(|node| !read.contains(node)).collect();
        let mut others = others.into_iter();
        for (node, page) in &self.pages {
            // What does not fit one mutation came as one: there is no such row.
            let lacking = merged.lacking(page, self.request.purgeable_seconds).unwrap_or_default();
            if lacking.is_empty() {
                agree.insert(*node);
                continue;
            }
            under_way.insert(*node);
            self.coordinator.counters.repairs.set(self.coordinator.counters.repairs.get() + lacking.len() as u64);
            gather.begin(*node, self.bring(*node, lacking));
        }
        let mut patience = Some(self.repair_patience());
        while !self.quotas.iter().all(|quota| quota.is_met(|node| agree.contains(&node))) {
            let until = self.look_again(patience)?;
            let mut replace = false;
            match gather.next(until).await {
                Some((node, outcome)) => {
                    under_way.remove(&node);
                    match outcome {
                        Ok(()) => drop(agree.insert(node)),
                        Err(error) => {
                            self.outdated |= error == CallError::NotHere;
                            lost |= error == CallError::Gone;
                            replace = true;
                        }
                    }
                }
                None => replace = self.is_over(patience),
            }
            if replace && let Some(other) = others.next() {
                under_way.insert(other);
                gather.begin(other, self.bring(other, merged.mutations().unwrap_or_default()));
                patience = Some(self.repair_patience());
            } else if replace {
                patience = None;
            }
            let hopeful = |node: NodeId| agree.contains(&node) || under_way.contains(&node);
            let is_late = self.coordinator.shard.now() >= self.demand.deadline;
            if is_late || !self.quotas.iter().all(|quota| quota.is_met(hopeful)) {
                let (received, required) = self.counts_of(|node| agree.contains(&node));
                return Err(match self.outdated {
                    true => Ended::Outdated,
                    false if lost && !is_late => Ended::Lost,
                    false => Ended::Error(ReplicaError::Timeout { received, required, data: true }),
                });
            }
        }
        Ok(())
    }

    fn bring(&self, node: NodeId, mutations: Vec<Mutation>) -> impl Future<Output = Result<(), CallError>> + 'static {
        let (shard, tablet, deadline) = (self.coordinator.shard.clone(), self.demand.tablet, self.demand.deadline);
        bring(shard, node, tablet, self.epoch, mutations, deadline)
    }

    /// How long a repair takes at most, as a rule: whatever the table says of its reads, as Cassandra has a policy of its own for
    /// these writes (`additional_write_policy`).
    fn repair_patience(&self) -> Instant {
        self.coordinator.shard.now() + self.coordinator.latency.percentile(0.99)
    }
}

async fn ask(
    shard: Rc<Shard>,
    node: NodeId,
    tablet: TabletId,
    epoch: u64,
    verb: Verb,
    payload: Bytes,
    deadline: Instant,
) -> Answered {
    let begun = shard.now();
    let answer = shard.call_replica(node, tablet, epoch, verb, payload, deadline).await;
    (verb, answer.and_then(|answer| decode(verb, answer)).map(|reply| (reply, begun)))
}

fn decode(verb: Verb, answer: Bytes) -> Result<Reply, CallError> {
    let unreadable = |what: &str| CallError::Failed(Bytes::from(format!("a replica's {what} cannot be read")));
    match verb {
        Verb::DIGEST => {
            let digest = <[u8; 16]>::try_from(&answer[..]).map_err(|_| unreadable("digest"))?;
            Ok(Reply::Digest(u128::from_be_bytes(digest)))
        }
        _ => {
            let (page, notes) = ReadAnswer::decode(answer).map_err(|_| unreadable("page"))?;
            Ok(Reply::Page(page, notes))
        }
    }
}

/// Writes to one replica what it lacks.
pub(crate) async fn bring(
    shard: Rc<Shard>,
    node: NodeId,
    tablet: TabletId,
    epoch: u64,
    mutations: Vec<Mutation>,
    deadline: Instant,
) -> Result<(), CallError> {
    for mutation in mutations {
        let payload = WriteRequest { mutation: mutation.bytes().clone(), noted: false }.encode();
        shard.call_replica(node, tablet, epoch, Verb::APPLY, payload, deadline).await?;
    }
    Ok(())
}
