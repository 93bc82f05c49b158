//! Is it there? One member is asked each interval, first directly, then through others (SWIM §3.1), with the patience of
//! Lifeguard: who gets no answers from several sides doubts itself first.
//!
//! ```text
//!   me ──ping──► target            no answer within the timeout:
//!   me ──ping request──► helper ──ping──► target
//!   me ◄──── ack, or nack ────── helper ◄──ack──    none by the end of the interval: suspect
//! ```

use crate::limits::{CHOICE_TRIES_MAX, HEARD_SWEEP_AT, RELAYS_MAX};
use crate::member::{Member, Output, State};
use crate::permutation::Permutation;
use crate::wire::Body;
use holon_base::{Instant, NodeId};

/// The probe under way.
pub struct Probe {
    pub target: NodeId,
    number: u64,
    started: Instant,
    /// When helpers are asked; `None` once they were.
    indirect_at: Option<Instant>,
    ends_at: Instant,
    helpers: u32,
    nacks: u32,
}

/// A probe made for another node.
pub struct Relay {
    origin: NodeId,
    origin_number: u64,
    /// When the origin is told that there is no answer yet; `None` once it was.
    nack_at: Option<Instant>,
    ends_at: Instant,
}

impl Probe {
    pub fn next_deadline(&self) -> Instant {
        self.indirect_at.unwrap_or(self.ends_at)
    }
}

impl Relay {
    pub fn next_deadline(&self) -> Instant {
        self.nack_at.unwrap_or(self.ends_at)
    }
}

impl Member {
    pub(crate) fn degrade(&mut self, by: u32) {
        self.local_health = (self.local_health + by).min(self.options.local_health_max);
    }

    pub(crate) fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    pub(crate) fn tick_probe(&mut self, now: Instant, out: &mut Output) {
        if let Some(probe) = &mut self.probe
            && probe.indirect_at.is_some_and(|at| at <= now)
        {
            probe.indirect_at = None;
            let (target, number) = (probe.target, probe.number);
            let helpers = self.choose_peers(self.options.indirect_probes, Some(target));
            if let Some(probe) = &mut self.probe {
                probe.helpers = helpers.len() as u32;
            }
            for helper in helpers {
                self.send(helper, Body::PingRequest { number, target }, out);
            }
        }
        if let Some(probe) = self.probe.take_if(|probe| probe.indirect_at.is_none() && probe.ends_at <= now) {
            self.probe_failed(now, &probe, out);
        }
        if self.probe.is_none() && self.probe_at <= now {
            self.start_probe(now, out);
        }
    }

    fn start_probe(&mut self, now: Instant, out: &mut Output) {
        let patience = if self.is_isolated() { 1 } else { self.local_health + 1 };
        self.probe_at = now + self.options.probe_interval * patience;
        if self.heard.len() > HEARD_SWEEP_AT {
            let recent = self.options.probe_interval * (2 * patience);
            let suspicions = &self.suspicions;
            self.heard.retain(|node, at| now.since(*at) < recent || suspicions.last_by(*node).is_some());
        }
        let Some(target) = self.next_target() else { return };
        let number = self.next_number();
        self.probe = Some(Probe {
            target,
            number,
            started: now,
            indirect_at: Some(now + self.options.probe_timeout * patience),
            ends_at: now + self.options.probe_interval.max(self.options.probe_timeout * 2) * patience,
            helpers: 0,
            nacks: 0,
        });
        self.send(target, Body::Ping { number }, out);
    }

    /// Round-robin in a random order that changes with each round (SWIM §4.3): nobody waits longer than a round.
    fn next_target(&mut self) -> Option<NodeId> {
        for _ in 0..CHOICE_TRIES_MAX {
            let position = match self.walk.next().filter(|_| self.walk_generation == self.list.generation()) {
                Some(position) => position,
                None => {
                    self.walk = Permutation::new(self.list.positions(), &mut self.random);
                    self.walk_generation = self.list.generation();
                    self.walk.next()?
                }
            };
            if let Some((node, record)) = self.list.at(position) {
                let up = matches!(record.state, State::Alive | State::Suspect);
                if up && node != self.me && record.address.is_some() {
                    return Some(node);
                }
            }
        }
        None
    }

    /// Random members that seem alive, at most `count`, without `except`.
    pub(crate) fn choose_peers(&mut self, count: usize, except: Option<NodeId>) -> Vec<NodeId> {
        let order = Permutation::new(self.list.positions(), &mut self.random);
        let fits = |position| {
            let (node, record) = self.list.at(position)?;
            let up = matches!(record.state, State::Alive | State::Suspect) && record.address.is_some();
            (up && node != self.me && Some(node) != except).then_some(node)
        };
        order.take(CHOICE_TRIES_MAX).filter_map(fits).take(count).collect()
    }

    fn probe_failed(&mut self, now: Instant, probe: &Probe, out: &mut Output) {
        let Some(record) = self.list.get(probe.target) else { return };
        if self.heard.get(&probe.target).is_some_and(|at| *at >= probe.started) {
            // It speaks, though not to this probe: the way there is broken, not the node.
            return;
        }
        self.stats.probes_failed += 1;
        let incarnation = record.incarnation;
        // Helpers that did not even say "no answer yet" hint at trouble here (Lifeguard §IV-A).
        let missed = probe.helpers.saturating_sub(probe.nacks);
        self.degrade(if probe.helpers == 0 { 1 } else { missed });
        self.believe_suspect(now, probe.target, incarnation, self.me, out);
    }

    /// An answer to a ping, of a probe of this node's own or of one made for another.
    pub(crate) fn acknowledged(&mut self, now: Instant, number: u64, out: &mut Output) {
        if let Some(relay) = self.relays.remove(&number) {
            self.send(relay.origin, Body::Ack { number: relay.origin_number }, out);
        } else if self.probe.take_if(|probe| probe.number == number && now <= probe.ends_at).is_some() {
            self.local_health = self.local_health.saturating_sub(1);
        }
    }

    pub(crate) fn not_acknowledged(&mut self, number: u64) {
        if let Some(probe) = self.probe.as_mut().filter(|probe| probe.number == number) {
            probe.nacks += 1;
        }
    }

    /// Probes `target` for `origin`.
    pub(crate) fn relay(&mut self, now: Instant, origin: NodeId, number: u64, target: NodeId, out: &mut Output) {
        if target == self.me {
            return self.send(origin, Body::Ack { number }, out);
        }
        if self.relays.len() >= RELAYS_MAX || self.list.get(target).is_none() {
            return;
        }
        let relayed = self.next_number();
        let relay = Relay {
            origin,
            origin_number: number,
            nack_at: Some(now + self.options.probe_timeout * 4 / 5),
            ends_at: now + self.options.probe_interval.max(self.options.probe_timeout * 2),
        };
        self.relays.insert(relayed, relay);
        self.send(target, Body::Ping { number: relayed }, out);
    }

    pub(crate) fn tick_relays(&mut self, now: Instant, out: &mut Output) {
        let mut nacks = Vec::new();
        for relay in self.relays.values_mut() {
            if relay.nack_at.take_if(|at| *at <= now).is_some() {
                nacks.push((relay.origin, relay.origin_number));
            }
        }
        self.relays.retain(|_, relay| relay.ends_at > now);
        for (origin, number) in nacks {
            self.send(origin, Body::Nack { number }, out);
        }
    }
}
