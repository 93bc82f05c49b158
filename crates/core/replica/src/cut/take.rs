//! Whoever takes a cut, and reads it.

use super::{CLOSE, CUT, CutAnswer, HOLD, KEEP, PREPARE, READ, RELEASE, read_request, request};
use crate::coordinator::address_of;
use crate::limits::{
    CUT_KEEP_INTERVAL, CUT_PAUSE, CUT_PREPARE_TIMEOUT, CUT_READ_TRIES, CUT_STEP_TIMEOUT, CUT_TRIES, FILL_TIMEOUT,
};
use crate::message::{ReadAnswer, ReadRequest};
use crate::page::{self, Merged};
use bytes::Bytes;
use holon_base::{NodeId, ServiceId, ShardId, TabletId};
use holon_kernel::{Address, CallError, Class, Scope, Shard, Target, Verb, join_all};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::{Rc, Weak};
use std::time::Duration;
use thiserror::Error;

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CutError {
    /// Nothing was done.
    #[error("node {0}: {1}")]
    Refused(NodeId, String),
    /// In words: which nodes seem to be away.
    #[error("{taken} of {replicas} replicas of tablet {tablet} took part, {enough} are needed; {away}")]
    TooFew { tablet: TabletId, taken: usize, replicas: usize, enough: usize, away: String },
    #[error("tablet {0} moves: its replicas were not the same everywhere when the cut was taken")]
    Moves(TabletId),
    #[error("{left} replicas of tablet {tablet} still have their part of the cut, {enough} are needed ({why})")]
    Lost { tablet: TabletId, left: usize, enough: usize, why: String },
    #[error("this node could not merge what the replicas gave: {0}")]
    Unreadable(String),
}

/// All tablets at one moment. Kept by the shards for as long as this lives.
pub struct Cut {
    shard: Rc<Shard>,
    service: ServiceId,
    /// Of this try, and of the one before: its messages may be late.
    run: u64,
    before: u64,
    asked: Vec<Address>,
    /// Replicas that have kept a tablet, and how many of them are a majority.
    kept: BTreeMap<TabletId, (Vec<NodeId>, usize)>,
    /// Members that had no part.
    pub away: Vec<NodeId>,
    /// Micros since the epoch, by the clock of this node, while writes were held.
    pub wall_micros: i64,
    /// How long they were, at most.
    pub held: Duration,
}

/// What one try has seen.
struct Seen {
    /// With the epoch of each shard's map.
    kept: BTreeMap<TabletId, Vec<NodeId>>,
    epoch_min: u64,
    epoch_max: u64,
    wall_micros: i64,
}

impl Cut {
    /// Takes a cut of all nodes that seem alive. `wanted`: tablets, and whether the cut is of no use without, asked when the map
    /// of this node is as new as that of any other.
    ///
    /// # Errors
    /// Nothing is kept anywhere.
    pub async fn take(
        shard: &Rc<Shard>,
        service: ServiceId,
        wanted: impl Fn() -> Vec<(TabletId, bool)>,
        tell: impl Fn(String),
    ) -> Result<Rc<Cut>, CutError> {
        let mut tries = 1;
        let mut cut = Cut::begin(shard, service);
        loop {
            match cut.try_once(&wanted).await {
                Ok(()) => {
                    let cut = Rc::new(cut);
                    cut.keep();
                    return Ok(cut);
                }
                Err(error @ CutError::Refused(..)) => return Err(error),
                Err(error) if tries >= CUT_TRIES => return Err(error),
                Err(error) => tell(format!("{error}; trying again")),
            }
            tries += 1;
            shard.sleep(CUT_PAUSE).await;
        }
    }

    fn begin(shard: &Rc<Shard>, service: ServiceId) -> Cut {
        Cut {
            shard: shard.clone(),
            service,
            run: 0,
            before: 0,
            asked: Vec::new(),
            kept: BTreeMap::new(),
            away: Vec::new(),
            wall_micros: 0,
            held: Duration::ZERO,
        }
    }

    /// All shards of the members that seem alive.
    fn look_around(&mut self) {
        let shard = &self.shard;
        let nodes = shard.map().map(|map| map.nodes()).unwrap_or_default();
        let own = (shard.node(), shard.shards());
        let others = nodes.iter().map(|record| (record.node, record.shards)).filter(|(node, _)| *node != own.0);
        let (there, away): (Vec<_>, Vec<_>) =
            std::iter::once(own).chain(others).partition(|(node, _)| shard.is_alive(*node));
        let all = there.into_iter();
        let asked =
            all.flat_map(|(node, shards)| (0..shards).map(move |shard| Address { node, shard: ShardId(shard) }));
        self.asked = asked.collect();
        self.away = away.into_iter().map(|(node, _)| node).collect();
        self.kept.clear();
    }

    async fn ask(&self, of: &[Address], verb: Verb, timeout: Duration) -> Vec<(Address, Result<Bytes, CallError>)> {
        let mut payload = request(self.run);
        if verb == PREPARE {
            payload.put_u64(self.before);
        }
        let (payload, deadline) = (payload.freeze(), self.shard.now() + timeout);
        let asked =
            of.iter().map(|to| self.shard.call(*to, Target::Service(self.service), verb, payload.clone(), deadline));
        of.iter().copied().zip(join_all(asked).await).collect()
    }

    async fn try_once(&mut self, wanted: &impl Fn() -> Vec<(TabletId, bool)>) -> Result<(), CutError> {
        (self.before, self.run) = (self.run, self.shard.random_u64());
        self.look_around();
        let mut ready = Vec::new();
        for (address, answer) in self.ask(&self.asked, PREPARE, CUT_PREPARE_TIMEOUT).await {
            match answer {
                Ok(_) => ready.push(address),
                Err(CallError::Failed(why)) => {
                    return Err(CutError::Refused(address.node, String::from_utf8_lossy(&why).into_owned()));
                }
                Err(_) => self.is_away(address.node),
            }
        }
        let seen = self.hold_and_cut(&ready).await;
        self.wall_micros = seen.wall_micros;
        if let Some(map) = self.shard.map() {
            // What this node says of replicas must not be older than what any of them went by.
            let caught_up = self.shard.timeout(self.shard.now() + CUT_STEP_TIMEOUT, map.reached(seen.epoch_max));
            let _ = caught_up.await;
            if map.epoch() < seen.epoch_max {
                return Err(CutError::Moves(TabletId(0)));
            }
        }
        for (tablet, is_needed) in wanted() {
            let replicas = self.shard.replicas(tablet);
            let kept = seen.kept.get(&tablet).map(Vec::as_slice).unwrap_or_default();
            let kept: Vec<NodeId> = replicas.readers.iter().copied().filter(|node| kept.contains(node)).collect();
            let (taken, replicas, since) = (kept.len(), replicas.readers.len(), replicas.since);
            let enough = replicas / 2 + 1;
            if taken >= enough && since <= seen.epoch_min {
                self.kept.insert(tablet, (kept, enough));
            } else if is_needed && taken < enough {
                return Err(CutError::TooFew { tablet, taken, replicas, enough, away: self.who_is_away() });
            } else if is_needed {
                return Err(CutError::Moves(tablet));
            }
        }
        Ok(())
    }

    fn is_away(&mut self, node: NodeId) {
        if !self.away.contains(&node) {
            self.away.push(node);
        }
    }

    fn who_is_away(&self) -> String {
        match self.away.as_slice() {
            [] => "all nodes seem to be up, some were too slow".to_string(),
            away => {
                let names: Vec<String> = away.iter().map(|node| node.to_string()).collect();
                format!("away: node {}", names.join(", node "))
            }
        }
    }

    /// What is kept by shards that held their writes from before the first kept anything until after the last had.
    async fn hold_and_cut(&mut self, ready: &[Address]) -> Seen {
        let begun = self.shard.now();
        let held = self.ask(ready, HOLD, CUT_STEP_TIMEOUT).await;
        let (held, late): (Vec<_>, Vec<_>) = held.into_iter().partition(|(_, answer)| answer.is_ok());
        late.iter().for_each(|(address, _)| self.is_away(address.node));
        let held: Vec<Address> = held.into_iter().map(|(address, _)| address).collect();
        let wall_micros = self.shard.wall_micros();
        let cut = self.ask(&held, CUT, CUT_STEP_TIMEOUT).await;
        // Also those that did not answer: they may hold.
        let released = self.ask(ready, RELEASE, CUT_STEP_TIMEOUT).await;
        self.held = self.shard.now().since(begun);
        let unbroken: BTreeSet<Address> =
            released.into_iter().filter(|(_, answer)| answer.is_ok()).map(|(address, _)| address).collect();
        let mut seen = Seen { kept: BTreeMap::new(), epoch_min: u64::MAX, epoch_max: 0, wall_micros };
        for (address, answer) in cut {
            let told = answer.ok().filter(|_| unbroken.contains(&address));
            match told.and_then(|bytes| CutAnswer::decode(bytes).ok()) {
                Some(told) => {
                    seen.epoch_min = seen.epoch_min.min(told.epoch);
                    seen.epoch_max = seen.epoch_max.max(told.epoch);
                    for tablet in told.tablets {
                        seen.kept.entry(tablet).or_default().push(address.node);
                    }
                }
                None => self.is_away(address.node),
            }
        }
        seen
    }

    /// Tells the shards, as long as somebody has this.
    fn keep(self: &Rc<Self>) {
        let (me, shard): (Weak<Cut>, Rc<Shard>) = (Rc::downgrade(self), self.shard.clone());
        self.shard.spawn(Scope::Node, Class::Background, async move {
            loop {
                shard.sleep(CUT_KEEP_INTERVAL).await;
                let Some(cut) = me.upgrade() else { return };
                cut.tell_all(KEEP);
            }
        });
    }

    fn tell_all(&self, verb: Verb) {
        for to in &self.asked {
            self.shard.send(*to, Target::Service(self.service), verb, request(self.run).freeze());
        }
    }

    /// Who gives a tablet, for [`Cut::read`] to begin with; nobody if it is not in the cut.
    pub fn sources(&self, tablet: TabletId) -> Vec<NodeId> {
        self.kept.get(&tablet).map(|(nodes, _)| nodes.clone()).unwrap_or_default()
    }

    /// The page that all `sources` give together. One that has lost its part is left out from then on.
    ///
    /// # Errors
    /// Too few are left.
    pub async fn read(
        &self,
        tablet: TabletId,
        read: &ReadRequest,
        sources: &mut Vec<NodeId>,
    ) -> Result<Merged, CutError> {
        let enough = self.kept.get(&tablet).map_or(1, |(_, enough)| *enough);
        let answers = join_all(sources.iter().map(|node| self.page_of(*node, tablet, read))).await;
        let (mut pages, mut left, mut why) = (Vec::new(), Vec::new(), String::new());
        for (node, answer) in sources.iter().zip(answers) {
            match answer {
                Ok(page) => {
                    left.push(*node);
                    pages.push(page);
                }
                Err(error) => why = format!("node {node}: {error}"),
            }
        }
        *sources = left;
        if pages.len() < enough {
            return Err(CutError::Lost { tablet, left: pages.len(), enough, why });
        }
        Ok(page::merge(read, pages.iter()))
    }

    async fn page_of(&self, node: NodeId, tablet: TabletId, read: &ReadRequest) -> Result<ReadAnswer, String> {
        let (to, payload) = (address_of(&self.shard, node, tablet), read_request(self.run, tablet, read));
        let mut tries = 1;
        loop {
            let deadline = self.shard.now() + FILL_TIMEOUT;
            let answer = self.shard.call(to, Target::Service(self.service), READ, payload.clone(), deadline).await;
            match answer {
                Ok(bytes) => {
                    let page =
                        ReadAnswer::decode(bytes).map_err(|short| format!("its page is unreadable ({short})"))?;
                    return Ok(page.0);
                }
                Err(CallError::NotHere) => return Err("it has no part in the cut any more".to_string()),
                Err(CallError::Failed(why)) => return Err(String::from_utf8_lossy(&why).into_owned()),
                Err(error) if tries >= CUT_READ_TRIES => return Err(error.to_string()),
                Err(_) => {}
            }
            tries += 1;
            self.shard.sleep(CUT_PAUSE).await;
        }
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.tell_all(CLOSE);
    }
}
