//! One partition on several nodes, with everything that may go wrong: nodes crash and lose what they had not synced, messages are lost and late,
//! nodes take each other for dead that are not, entries of the metadata log are seen late. Checked: what was acknowledged stays, at its place;
//! what was shown at an offset is never another; replicas become equal when the faults end.

use super::*;
use crate::store::epochs::Epochs;
use holon_base::{Instant, NodeId, Random};
use std::collections::BTreeMap;
use std::time::Duration;

/// Bugs that a run has to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Planted {
    None,
    /// Answered when the leader has it.
    AcknowledgeAtOnce,
    /// A follower of a new leader cuts what was not shown to it, and does not ask where epochs part (what KIP-101 mended).
    CutToHigh,
    /// Whoever sees no leader leads.
    ElectAnybody,
    /// Followers say that they have what they have not synced.
    SayUnsynced,
    /// A leader of before goes on to acknowledge.
    IgnoreEpochs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Batch {
    epoch: i32,
    value: u64,
}

#[derive(Default)]
struct Node {
    up: bool,
    log: Vec<Batch>,
    synced: usize,
    high: i64,
    /// So many changes of the leadership it knows of.
    seen: usize,
    leading: Option<Leading>,
    /// The epoch in which it was elected last, or that it knew of when it started.
    elected: Option<i32>,
    /// As follower: the epoch whose leader it has asked.
    followed: i32,
    waiting: Vec<(i64, u64)>,
}

enum Message {
    Follow(Follow),
    Batches { epoch: i32, offset: i64, batches: Vec<Batch>, high: i64 },
    Cut { epoch: i32, at: i32, end: i64 },
    Propose(Change),
}

struct World {
    random: Random,
    now: Instant,
    nodes: Vec<Node>,
    /// Leaderships, one after the other.
    history: Vec<Leadership>,
    messages: Vec<(Instant, usize, usize, Message)>,
    /// Who takes whom for dead.
    doubts: BTreeMap<(usize, usize), bool>,
    acknowledged: BTreeMap<i64, u64>,
    shown: BTreeMap<i64, u64>,
    next_value: u64,
    in_sync_min: usize,
    planted: Planted,
    faults: bool,
    produces: bool,
    errors: Vec<String>,
}

const LAG: Duration = Duration::from_millis(400);

fn id(node: usize) -> NodeId {
    NodeId(node as u128 + 1)
}

fn place(node: NodeId) -> usize {
    node.0 as usize - 1
}

impl Node {
    fn epochs(&self) -> Epochs {
        let mut epochs = Epochs::default();
        self.log.iter().enumerate().for_each(|(at, batch)| epochs.wrote(batch.epoch, at as i64));
        epochs
    }

    fn cut(&mut self, end: usize) {
        self.log.truncate(end);
        self.synced = self.synced.min(end);
    }
}

impl World {
    fn new(seed: u64, planted: Planted) -> World {
        let mut random = Random::new(seed);
        let count = 3 + random.below(3) as usize;
        let nodes = (0..count).map(|_| Node { up: true, ..Node::default() }).collect();
        let in_sync_min = 1 + random.below(3) as usize;
        World {
            random,
            now: Instant(1),
            nodes,
            history: Vec::new(),
            messages: Vec::new(),
            doubts: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            shown: BTreeMap::new(),
            next_value: 0,
            in_sync_min,
            planted,
            faults: true,
            produces: true,
            errors: Vec::new(),
        }
    }

    fn options(&self) -> LeadingOptions {
        LeadingOptions { in_sync_min: self.in_sync_min, lag_max: LAG }
    }

    fn is_alive(&self, by: usize, node: usize) -> bool {
        let is_doubted = self.doubts.get(&(by, node)).copied().unwrap_or(false);
        by == node || self.nodes[node].up && !is_doubted
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        if self.faults && self.random.chance(1, 8) {
            return;
        }
        let late = if self.faults { self.random.below(60) } else { 1 };
        self.messages.push((self.now + Duration::from_millis(1 + late), from, to, message));
    }

    fn step(&mut self) {
        self.now = self.now + Duration::from_millis(5);
        let now = self.now;
        let (due, later) = std::mem::take(&mut self.messages).into_iter().partition(|(at, ..)| *at <= now);
        self.messages = later;
        let due: Vec<(Instant, usize, usize, Message)> = due;
        for (_, from, to, message) in due {
            if let Message::Propose(change) = message {
                self.propose(change);
            } else if self.nodes[to].up {
                self.deliver(from, to, message);
            }
        }
        if self.faults {
            self.break_something();
        }
        for node in 0..self.nodes.len() {
            if self.nodes[node].up {
                self.look(node);
                self.work(node);
            }
        }
    }

    fn propose(&mut self, change: Change) {
        let change = match change {
            Change::Elect { leader, .. } if self.planted == Planted::ElectAnybody => {
                let Some(version) = self.history.last().map(|last| last.version) else { return };
                Change::Unclean { version, leader }
            }
            change => change,
        };
        if let Ok(next) = Leadership::change(self.history.last(), change, self.in_sync_min) {
            self.history.push(next);
        }
    }

    fn break_something(&mut self) {
        let node = self.random.below(self.nodes.len() as u64) as usize;
        match self.random.below(60) {
            0 if self.nodes[node].up => {
                // What was not synced is lost, or a part of it.
                let keep = {
                    let Node { log, synced, .. } = &self.nodes[node];
                    *synced + self.random.below((log.len() - synced) as u64 + 1) as usize
                };
                let lost = &mut self.nodes[node];
                lost.up = false;
                lost.log.truncate(keep);
                lost.synced = keep;
                lost.leading = None;
                // What it led before it leads no more, also if it hears of it again.
                lost.elected = lost.seen.checked_sub(1).map(|at| self.history[at].epoch);
                lost.waiting.clear();
                lost.high = 0;
            }
            1..8 if !self.nodes[node].up => self.nodes[node].up = true,
            8..12 => {
                let other = self.random.below(self.nodes.len() as u64) as usize;
                let doubts = self.random.chance(1, 2);
                self.doubts.insert((node, other), doubts);
            }
            _ => {}
        }
    }

    /// A node takes in what the metadata log says, and proposes what it thinks is needed.
    fn look(&mut self, node: usize) {
        let behind = self.nodes[node].seen < self.history.len();
        if behind && (!self.faults || self.random.chance(1, 4)) {
            self.nodes[node].seen += 1;
            self.changed(node);
        }
        let current = self.nodes[node].seen.checked_sub(1).map(|at| self.history[at].clone());
        let replicas: Vec<NodeId> = (0..self.nodes.len()).map(id).collect();
        let change = {
            let is_alive = |other: NodeId| self.is_alive(node, place(other));
            let leading = self.nodes[node].leading.as_ref();
            let view = View {
                me: id(node),
                replicas: &replicas,
                is_alive: &is_alive,
                leads_since_start: leading.is_some(),
                keep_up: &|other| leading.is_some_and(|leading| leading.keeps_up(other, self.now)),
            };
            match decide(current.as_ref(), &view) {
                None if self.planted == Planted::ElectAnybody => current.as_ref().and_then(|current| {
                    let version = current.version;
                    let dead = !is_alive(current.leader);
                    dead.then(|| Change::Elect { version, leader: id(node), in_sync: vec![id(node)] })
                }),
                change => change,
            }
        };
        if let Some(change) = change
            && self.random.chance(1, 4)
        {
            self.send(node, node, Message::Propose(change));
        }
    }

    fn changed(&mut self, node: usize) {
        let (now, options, planted) = (self.now, self.options(), self.planted);
        let at = self.nodes[node].seen - 1;
        let current = self.history[at].clone();
        let me = &mut self.nodes[node];
        if current.leader != id(node) {
            if planted != Planted::IgnoreEpochs {
                me.leading = None;
                me.waiting.clear();
            }
            if me.followed < current.epoch && planted == Planted::CutToHigh {
                me.cut(me.high as usize);
            }
            me.followed = current.epoch;
            return;
        }
        match &mut me.leading {
            Some(leading) if leading.epoch() == current.epoch => leading.altered(&current),
            _ => {
                // Only in an epoch that began after its start; that of before begins anew.
                if me.elected.is_none_or(|epoch| epoch < current.epoch) {
                    me.synced = me.log.len();
                    me.elected = Some(current.epoch);
                    me.leading = Some(Leading::new(&current, now, me.log.len() as i64, me.high, options));
                }
            }
        }
    }

    fn work(&mut self, node: usize) {
        if self.random.chance(1, 2) {
            self.nodes[node].synced = self.nodes[node].log.len();
        }
        if self.nodes[node].leading.is_some() {
            self.lead(node);
        } else {
            self.follow(node);
        }
    }

    fn lead(&mut self, node: usize) {
        let (now, takes) = (self.now, self.produces && self.random.chance(1, 3));
        let nodes = self.nodes.len();
        let alive: Vec<bool> = (0..nodes).map(|other| self.is_alive(node, other)).collect();
        let planted = self.planted;
        let me = &mut self.nodes[node];
        let Some(leading) = me.leading.as_mut() else { return };
        if takes && leading.has_enough() {
            let value = self.next_value;
            self.next_value += 1;
            me.log.push(Batch { epoch: leading.epoch(), value });
            me.waiting.push((me.log.len() as i64 - 1, value));
        }
        leading.appended(me.synced as i64);
        me.high = me.high.max(leading.high());
        let high = leading.high();
        let is_done = |offset: i64| offset < high || planted == Planted::AcknowledgeAtOnce;
        for (offset, value) in me.waiting.iter().filter(|(offset, _)| is_done(*offset)) {
            self.acknowledged.insert(*offset, *value);
        }
        me.waiting.retain(|(offset, _)| !is_done(*offset));
        for (offset, batch) in me.log.iter().take(high as usize).enumerate().skip(high.saturating_sub(20) as usize) {
            let before = *self.shown.entry(offset as i64).or_insert(batch.value);
            if before != batch.value {
                self.errors.push(format!("at {offset} {before} was shown, and now {}", batch.value));
            }
        }
        if let Some((version, in_sync)) = leading.to_propose(now, |other| alive[place(other)]) {
            self.send(node, node, Message::Propose(Change::Alter { version, in_sync }));
        } else if self.random.chance(1, 30)
            && let Some(leading) = self.nodes[node].leading.as_mut()
        {
            // Whoever proposed it does not know whether it is applied: what is proposed next counts only if it was not.
            leading.refused();
        }
    }

    fn follow(&mut self, node: usize) {
        let Some(current) = self.nodes[node].seen.checked_sub(1).map(|at| self.history[at].clone()) else { return };
        let to = place(current.leader);
        if to == node || !self.is_alive(node, to) || !self.random.chance(1, 3) {
            return;
        }
        let me = &self.nodes[node];
        let end = if self.planted == Planted::SayUnsynced { me.log.len() } else { me.synced };
        let last_epoch = end.checked_sub(1).map_or(-1, |at| me.log[at].epoch);
        let follow = Follow { node: id(node), epoch: current.epoch, offset: end as i64, last_epoch };
        self.send(node, to, Message::Follow(follow));
    }

    fn deliver(&mut self, from: usize, to: usize, message: Message) {
        match message {
            Message::Follow(follow) => self.answer(from, to, &follow),
            Message::Batches { epoch, offset, batches, high } => {
                let me = &mut self.nodes[to];
                let knows = me.seen.checked_sub(1).map(|at| self.history[at].epoch);
                // Late answers are of another end, or another leader.
                if me.leading.is_some() || knows != Some(epoch) || me.log.len() as i64 != offset {
                    return;
                }
                me.log.extend(batches);
                me.high = me.high.max(high.min(me.log.len() as i64));
            }
            Message::Cut { epoch, at, end } => {
                let me = &mut self.nodes[to];
                let knows = me.seen.checked_sub(1).map(|at| self.history[at].epoch);
                if me.leading.is_some() || knows != Some(epoch) || self.planted == Planted::CutToHigh {
                    return;
                }
                let own = me.epochs().end_of(at, me.log.len() as i64).map_or(0, |(_, end)| end);
                me.cut(end.min(own).max(0) as usize);
            }
            Message::Propose(_) => {}
        }
    }

    fn answer(&mut self, from: usize, to: usize, follow: &Follow) {
        let now = self.now;
        let me = &mut self.nodes[to];
        let epochs = me.epochs();
        let Some(leading) = me.leading.as_mut() else { return };
        let epoch = leading.epoch();
        let message = match leading.followed(follow, 0, &epochs, now) {
            Followed::Read { offset, high } => {
                // Only what is durable here is given away.
                let batches = me.log.iter().take(me.synced).skip(offset as usize).take(5).copied().collect();
                Message::Batches { epoch, offset, batches, high }
            }
            Followed::Cut { epoch: at, end } => Message::Cut { epoch, at, end },
            Followed::Restart { .. } | Followed::Fenced { .. } => return,
        };
        self.send(to, from, message);
    }

    fn check(&mut self) {
        let Some(leader) = self.nodes.iter().find(|node| node.leading.is_some()) else {
            self.errors.push("nobody leads in the end".to_string());
            return;
        };
        for (offset, value) in &self.acknowledged {
            let there = leader.log.get(*offset as usize).map(|batch| batch.value);
            if there != Some(*value) {
                self.errors.push(format!("{value} was acknowledged at {offset}, where {there:?} is"));
            }
        }
        for node in &self.nodes {
            if node.log != leader.log {
                self.errors.push(format!("replicas differ: {} and {} batches", node.log.len(), leader.log.len()));
            }
        }
    }
}

/// How many batches were acknowledged, and what was wrong.
fn run(seed: u64, planted: Planted) -> (usize, Option<String>) {
    let mut world = World::new(seed, planted);
    for _ in 0..1500 {
        world.step();
    }
    world.faults = false;
    world.doubts.clear();
    world.nodes.iter_mut().for_each(|node| node.up = true);
    for at in 0..1500 {
        world.produces = at < 1000;
        world.step();
    }
    world.check();
    (world.acknowledged.len(), world.errors.first().cloned())
}

#[test]
fn what_was_acknowledged_stays_and_replicas_become_equal() {
    let mut acknowledged = 0;
    for seed in 0..100 {
        let (count, error) = run(seed, Planted::None);
        assert_eq!(error, None, "seed {seed}");
        acknowledged += count;
    }
    assert!(acknowledged > 100 * 50, "{acknowledged}");
}

#[test]
fn planted_bugs_are_found() {
    let planted = [
        Planted::AcknowledgeAtOnce,
        Planted::CutToHigh,
        Planted::ElectAnybody,
        Planted::SayUnsynced,
        Planted::IgnoreEpochs,
    ];
    for bug in planted {
        let found = (0..200).find(|seed| run(*seed, bug).1.is_some());
        assert!(found.is_some(), "{bug:?} was not found");
    }
}
