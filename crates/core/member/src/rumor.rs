//! What is believed of whom. One table:
//!
//! ```text
//!   claim ↓ \ held →   alive j       suspect j            dead j or left j
//!   alive i            i > j         i > j                i > j
//!   suspect i          i ≥ j         i > j; = confirms    i > j
//!   dead, left i       i ≥ j         i ≥ j                i > j; left also i = j over dead
//! ```
//!
//! Only a member itself raises its incarnation: at a restart, and to refute a claim that it is suspect, dead or gone.
//!
//! What a node hears itself counts more than what it is told. Whoever was heard within the shortest time that a suspicion takes
//! cannot have been silent that long: a claim that it is dead is taken for a suspicion, it is asked, and refutes. And one that
//! is held dead and speaks is suspect again, until it has refuted. So two members that hear each other do not hold each other
//! dead, whatever a third one says that was cut off and hears nobody yet.

use crate::limits::DOUBTS_MAX;
use crate::list::Record;
use crate::member::{Event, Member, Output, State};
use crate::options::PlantedBug;
use crate::wire::{Body, Claim};
use bytes::Bytes;
use holon_base::{Instant, NodeId};
use std::net::SocketAddr;
use std::time::Duration;

/// Beyond so much untold news, what a sync taught is not told as well: others have syncs of their own.
const NEWS_FOR_SYNC_MAX: usize = 32;

impl Member {
    /// A claim that came by gossip of `from`.
    pub(crate) fn believe(&mut self, now: Instant, from: NodeId, claim: Claim, out: &mut Output) {
        match claim {
            Claim::Alive { node, incarnation, version, address, facts } => {
                if self.believe_alive(now, node, (incarnation, version), address, facts, out) {
                    self.news.push(node);
                }
            }
            Claim::Suspect { node, incarnation, by } => self.believe_suspect(now, node, incarnation, by, out),
            Claim::Dead { node, incarnation } if self.silent_at(node).is_some_and(|silent| now < silent) => {
                self.doubt(now, node, incarnation, from, out);
            }
            Claim::Dead { node, incarnation } => self.believe_dead(now, node, incarnation, State::Dead, out),
            Claim::Left { node, incarnation } => self.believe_dead(now, node, incarnation, State::Left, out),
        }
    }

    /// A claim that came by a sync with `from`. Its dead may be those of another side of a partition: a member that
    /// seems alive here is asked itself, and suspected by the word of `from`, before it is given up.
    pub(crate) fn merge(&mut self, now: Instant, from: NodeId, claim: Claim, out: &mut Output) {
        match claim {
            Claim::Alive { node, incarnation, version, address, facts } => {
                let newer = self.believe_alive(now, node, (incarnation, version), address, facts, out);
                if newer && self.news.len() < NEWS_FOR_SYNC_MAX {
                    self.news.push(node);
                }
            }
            Claim::Dead { node, incarnation } => {
                let Some(record) = self.list.get(node) else { return };
                let doubtful =
                    record.state == State::Alive && record.incarnation > 0 && incarnation >= record.incarnation;
                if node == self.me {
                    self.refute(now, incarnation, out);
                } else if record.incarnation == 0 {
                    self.believe_dead(now, node, incarnation, State::Dead, out);
                } else if doubtful && self.suspicions.len() < DOUBTS_MAX {
                    self.doubt(now, node, incarnation, from, out);
                }
            }
            other => self.believe(now, from, other, out),
        }
    }

    /// Whether it is dead as `from` says, it is asked itself; the question tells it what it is to refute.
    fn doubt(&mut self, now: Instant, node: NodeId, incarnation: u64, from: NodeId, out: &mut Output) {
        self.believe_suspect(now, node, incarnation, from, out);
        let number = self.next_number();
        self.send(node, Body::Ping { number }, out);
    }

    /// When the silence of a member will have lasted for the shortest time that a suspicion takes; `None`: it was not heard lately.
    pub(crate) fn silent_at(&self, node: NodeId) -> Option<Instant> {
        if self.options.planted == Some(PlantedBug::HearsayBelieved) {
            return None;
        }
        let heard = *self.heard.get(&node)?;
        Some(heard + self.options.suspicion_shortest(self.list.members()))
    }

    /// A message came from a member itself, of this incarnation.
    pub(crate) fn hear(&mut self, now: Instant, from: NodeId, incarnation: u64, out: &mut Output) {
        self.heard.insert(from, now);
        let held =
            self.list.get(from).filter(|record| record.state == State::Dead && record.incarnation == incarnation);
        let Some(record) = held.filter(|_| self.options.planted != Some(PlantedBug::HearsayBelieved)) else { return };
        // Not alive: should this message be the last of one that died meanwhile, nobody is asked to prove it.
        let (record, members) = (Record { state: State::Suspect, ..record.clone() }, self.list.members());
        self.list.put(from, record);
        self.dead.remove(&from);
        self.suspicions.start(now, from, self.me, members, &self.options);
        out.events.push(Event::Alive(from));
        let number = self.next_number();
        self.send(from, Body::Ping { number }, out);
    }

    /// What a message's sender says of itself in its header.
    pub(crate) fn believe_header(
        &mut self,
        now: Instant,
        from: NodeId,
        incarnation: u64,
        address: Option<SocketAddr>,
        out: &mut Output,
    ) {
        let Some(record) = self.list.get(from).filter(|record| incarnation > record.incarnation) else { return };
        let facts = record.facts.clone();
        // Version 0: its facts of this incarnation are still to come.
        self.believe_alive(now, from, (incarnation, 0), address, facts, out);
    }

    /// Whether it was newer than what was known.
    fn believe_alive(
        &mut self,
        now: Instant,
        node: NodeId,
        (incarnation, version): (u64, u64),
        address: Option<SocketAddr>,
        facts: Bytes,
        out: &mut Output,
    ) -> bool {
        let Some(record) = self.list.get(node) else { return false };
        if node == self.me {
            // An earlier life that this one does not remember, a data directory from a backup: outbid it.
            if (incarnation, version) > (record.incarnation, record.version) {
                self.refute(now, incarnation, out);
            }
            return false;
        }
        let planted = self.options.planted == Some(PlantedBug::OldClaimsTaken);
        if (incarnation, version) <= (record.incarnation, record.version) && !planted {
            return false;
        }
        let (held, rises) = (record.state, incarnation > record.incarnation || planted);
        let state = if rises { State::Alive } else { held };
        let address = address.or(record.address);
        self.list.put(node, Record { incarnation, version, address, facts, state });
        if rises {
            self.suspicions.end(node);
            self.dead.remove(&node);
            if held != State::Alive {
                out.events.push(Event::Alive(node));
            }
        }
        out.events.push(Event::Facts(node));
        true
    }

    pub(crate) fn believe_suspect(
        &mut self,
        now: Instant,
        node: NodeId,
        incarnation: u64,
        by: NodeId,
        out: &mut Output,
    ) {
        if node == self.me {
            return self.refute(now, incarnation, out);
        }
        let Some(record) = self.list.get(node) else { return };
        let (held, members) = (record.state, self.list.members());
        let newer = match held {
            State::Alive => incarnation >= record.incarnation,
            State::Suspect | State::Dead | State::Left => incarnation > record.incarnation,
        };
        if newer {
            let version = if incarnation > record.incarnation { 0 } else { record.version };
            self.list.put(node, Record { incarnation, version, state: State::Suspect, ..record.clone() });
            self.dead.remove(&node);
            self.suspicions.start(now, node, by, members, &self.options);
            self.news.push(node);
            self.notice_isolation(now);
            out.events.push(Event::Suspect(node));
        } else if held == State::Suspect
            && incarnation == record.incarnation
            && self.suspicions.confirm(node, by, members, &self.options)
        {
            self.news.push(node);
        }
    }

    /// `state`: dead or left.
    pub(crate) fn believe_dead(
        &mut self,
        now: Instant,
        node: NodeId,
        incarnation: u64,
        state: State,
        out: &mut Output,
    ) {
        if node == self.me {
            return self.refute(now, incarnation, out);
        }
        let Some(record) = self.list.get(node) else { return };
        let newer = match record.state {
            State::Alive | State::Suspect => incarnation >= record.incarnation,
            State::Dead if state == State::Left => incarnation >= record.incarnation,
            State::Dead | State::Left => incarnation > record.incarnation,
        };
        if !newer {
            return;
        }
        let version = if incarnation > record.incarnation { 0 } else { record.version };
        let told = record.state != state;
        self.list.put(node, Record { incarnation, version, state, ..record.clone() });
        self.suspicions.end(node);
        self.probe.take_if(|probe| probe.target == node);
        self.news.push(node);
        if state == State::Dead {
            self.dead.insert(node);
            self.plan_dead_sync(now);
        } else {
            self.dead.remove(&node);
        }
        self.notice_isolation(now);
        if told {
            out.events.push(if state == State::Dead { Event::Dead(node) } else { Event::Left(node) });
        }
    }

    /// Somebody says that this node is suspect, dead or gone: say otherwise, louder, and soon.
    pub(crate) fn refute(&mut self, now: Instant, claimed: u64, _out: &mut Output) {
        let mine = self.list.get(self.me).map_or(0, |record| record.incarnation);
        if claimed < mine || self.options.planted == Some(PlantedBug::RefutationDropped) {
            return;
        }
        self.stats.refutations += 1;
        self.change_self(|record| record.incarnation = claimed + 1);
        // It may well be this node's own slowness that made it suspect (Lifeguard §IV-A).
        self.degrade(1);
        self.gossip_at = self.gossip_at.min(now);
    }

    /// A member that seems dead is asked by the whole cluster about once a probe interval, however large that is. Who finds
    /// nobody alive was probably cut off itself, and asks one of them each probe interval.
    pub(crate) fn plan_dead_sync(&mut self, now: Instant) {
        let alive = self.list.members().saturating_sub(self.dead.len());
        let each = self.options.probe_interval * u32::try_from(alive / self.dead.len().max(1)).unwrap_or(u32::MAX);
        let interval =
            if self.is_isolated() { self.options.probe_interval } else { self.options.dead_probe_interval.max(each) };
        let half = u64::try_from(interval.as_nanos() / 2).unwrap_or(u64::MAX);
        self.dead_at = now + interval / 2 + Duration::from_nanos(self.random.below(half.saturating_mul(2)));
    }

    /// Nobody else seems well: it was probably this node that was cut off.
    pub(crate) fn is_isolated(&self) -> bool {
        let everyone = self.list.range(crate::wire::Range::ALL);
        everyone.filter(|(node, _)| *node != self.me).all(|(_, record)| record.state != State::Alive)
    }

    /// Who is cut off has to notice soon that it no longer is: patience with others would only delay that.
    fn notice_isolation(&mut self, now: Instant) {
        if self.is_isolated() {
            self.probe = None;
            self.probe_at = self.probe_at.min(now + self.options.probe_interval);
            if !self.dead.is_empty() {
                self.plan_dead_sync(now);
            }
        }
    }
}
