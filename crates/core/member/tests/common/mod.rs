//! A seeded world for machines of gossip: a network that loses, delays, doubles, reorders and cuts, nodes that crash,
//! restart and sleep, and the checkers that look at every step.

#![allow(dead_code)] // each test needs another part

use bytes::Bytes;
use holon_base::{Instant, NodeId, Random};
use holon_member::{Event, Facts, Member, Options, Output, State};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::SocketAddr;
use std::time::Duration;

/// What the network does to every message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    pub loss_percent: u64,
    pub double_percent: u64,
    pub delay_ms: (u64, u64),
}

enum Happening {
    Arrive { from: usize, to: SocketAddr, bytes: Bytes },
    Wake { node: usize, life: u64 },
}

pub struct Node {
    pub member: Member,
    pub up: bool,
    pub boots: u64,
    /// Asleep until then: neither ticks nor receives; what arrives waits in its socket.
    pub asleep_until: Instant,
    socket: Vec<(usize, Bytes)>,
    planned: Instant,
    /// The highest incarnation it saw of each member, to check that it only rises.
    seen: BTreeMap<NodeId, u64>,
    /// When it last took in a message of each other one.
    heard: BTreeMap<NodeId, Instant>,
}

pub struct World {
    pub now: Instant,
    pub options: Options,
    pub nodes: Vec<Node>,
    pub random: Random,
    pub weather: Weather,
    /// Directed pairs between which nothing passes.
    pub cut: BTreeSet<(usize, usize)>,
    pub errors: Vec<String>,
    /// Events since the last `take_events`, with who saw them.
    pub events: Vec<(Instant, usize, Event)>,
    pub longest_message: usize,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    count: u64,
}

pub fn id(node: usize) -> NodeId {
    // Spread over the space, as random ids are.
    NodeId(((node as u128 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_0C92_7F4A_7C15)) | 1)
}

pub fn address(node: usize, boots: u64) -> SocketAddr {
    // Another port after each restart.
    SocketAddr::from(([10, 0, (node / 256) as u8, (node % 256) as u8], 7_000 + boots as u16))
}

fn facts(node: usize, boots: u64) -> Facts {
    Facts {
        incarnation: boots << 32,
        address: address(node, boots),
        facts: Bytes::from(vec![node as u8; 8]),
        version: 1,
    }
}

impl World {
    pub fn new(seed: u64, nodes: usize, options: Options) -> World {
        let mut random = Random::new(seed);
        let now = Instant(random.below(1 << 50));
        let mut world = World {
            now,
            nodes: Vec::new(),
            weather: Weather { delay_ms: (1, 10), ..Weather::default() },
            cut: BTreeSet::new(),
            errors: Vec::new(),
            events: Vec::new(),
            longest_message: 0,
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            count: 0,
            random,
            options,
        };
        for node in 0..nodes {
            let member = world.machine(node, 1);
            world.nodes.push(Node {
                member,
                up: true,
                boots: 1,
                asleep_until: Instant(0),
                socket: Vec::new(),
                planned: Instant::FAR_FUTURE,
                seen: BTreeMap::new(),
                heard: BTreeMap::new(),
            });
        }
        (0..nodes).for_each(|node| world.boot(node));
        world
    }

    fn machine(&mut self, node: usize, boots: u64) -> Member {
        let random = self.random.fork();
        Member::new(id(node), self.options.clone(), facts(node, boots), self.now, random)
    }

    /// Hands in the members as the metadata log has them: with the addresses of their first start.
    fn boot(&mut self, node: usize) {
        let members: BTreeMap<_, _> = (0..self.nodes.len()).map(|node| (id(node), Some(address(node, 1)))).collect();
        let mut out = Output::default();
        self.nodes[node].member.set_members(self.now, &members, &mut out);
        self.after(node, out);
    }

    /// The metadata log has everybody's present address.
    pub fn tell_addresses(&mut self) {
        let members: BTreeMap<_, _> =
            (0..self.nodes.len()).map(|node| (id(node), Some(address(node, self.nodes[node].boots)))).collect();
        for node in (0..self.nodes.len()).filter(|node| self.nodes[*node].up).collect::<Vec<_>>() {
            let mut out = Output::default();
            let now = self.now;
            self.nodes[node].member.set_members(now, &members, &mut out);
            self.after(node, out);
        }
    }

    pub fn crash(&mut self, node: usize) {
        self.nodes[node].up = false;
    }

    pub fn restart(&mut self, node: usize) {
        let boots = self.nodes[node].boots + 1;
        self.nodes[node].member = self.machine(node, boots);
        self.nodes[node].boots = boots;
        self.nodes[node].up = true;
        self.nodes[node].asleep_until = Instant(0);
        self.nodes[node].planned = Instant::FAR_FUTURE;
        self.nodes[node].socket.clear();
        self.nodes[node].seen.clear();
        self.nodes[node].heard.clear();
        self.boot(node);
    }

    pub fn sleep(&mut self, node: usize, length: Duration) {
        let until = self.now + length;
        self.nodes[node].asleep_until = until;
        self.schedule(until, Happening::Wake { node, life: self.nodes[node].boots });
    }

    pub fn leave(&mut self, node: usize) {
        let mut out = Output::default();
        let now = self.now;
        self.nodes[node].member.leave(now, &mut out);
        self.after(node, out);
        self.nodes[node].up = false;
    }

    fn schedule(&mut self, at: Instant, happening: Happening) {
        self.count += 1;
        self.happenings.insert(self.count, happening);
        self.queue.push(Reverse((at, self.count)));
    }

    /// Sends what a machine wants sent, plans its next tick, checks what it says.
    fn after(&mut self, node: usize, out: Output) {
        for event in out.events {
            self.the_heard_are_not_dead(node, event);
            self.events.push((self.now, node, event));
        }
        for (_, to, bytes) in out.messages {
            self.longest_message = self.longest_message.max(bytes.len());
            if bytes.len() > self.options.message_bytes_max {
                self.errors.push(format!("node {node} sent {} bytes", bytes.len()));
            }
            let copies = 1 + u64::from(self.random.chance(self.weather.double_percent, 100));
            for _ in 0..copies {
                if !self.random.chance(self.weather.loss_percent, 100) {
                    let (low, high) = self.weather.delay_ms;
                    let delay = Duration::from_micros(self.random.range(low * 1_000, high * 1_000 + 1));
                    self.schedule(self.now + delay, Happening::Arrive { from: node, to, bytes: bytes.clone() });
                }
            }
        }
        let next = self.nodes[node].member.next_deadline();
        if next != self.nodes[node].planned && next != Instant::FAR_FUTURE {
            self.nodes[node].planned = next;
            let life = self.nodes[node].boots;
            self.schedule(next.max(self.now), Happening::Wake { node, life });
        }
        self.incarnations_rise(node);
    }

    /// Nobody takes for dead whom it heard itself less than the shortest suspicion ago.
    fn the_heard_are_not_dead(&mut self, node: usize, event: Event) {
        let Event::Dead(dead) = event else { return };
        let heard = self.nodes[node].heard.get(&dead);
        let Some(silence) = heard.map(|at| self.now.since(*at)) else { return };
        if silence < self.options.suspicion_shortest(self.nodes.len()) {
            self.errors.push(format!("node {node} took {dead} for dead, heard {silence:?} before"));
        }
    }

    fn incarnations_rise(&mut self, node: usize) {
        for other in 0..self.nodes.len() {
            let Some(facts) = self.nodes[node].member.facts(id(other)) else { continue };
            let seen = self.nodes[node].seen.insert(id(other), facts.incarnation).unwrap_or(0);
            if seen > facts.incarnation {
                self.errors.push(format!("node {node} took {other} back from {seen} to {}", facts.incarnation));
            }
        }
    }

    /// Runs until then.
    pub fn run_for(&mut self, length: Duration) {
        let end = self.now + length;
        while let Some(Reverse((at, number))) = self.queue.peek().copied().filter(|Reverse((at, _))| *at <= end) {
            self.queue.pop();
            self.now = at;
            match self.happenings.remove(&number) {
                Some(Happening::Arrive { from, to, bytes }) => self.arrive(from, to, bytes),
                Some(Happening::Wake { node, life }) => self.wake(node, life),
                None => {}
            }
        }
        self.now = end;
    }

    fn arrive(&mut self, from: usize, to: SocketAddr, bytes: Bytes) {
        let reached = (0..self.nodes.len()).find(|node| address(*node, self.nodes[*node].boots) == to);
        let Some(to) = reached.filter(|to| self.nodes[*to].up && !self.cut.contains(&(from, *to))) else { return };
        if self.now < self.nodes[to].asleep_until {
            // A socket's buffer is small.
            if self.nodes[to].socket.len() < 50 {
                self.nodes[to].socket.push((from, bytes));
            }
            return;
        }
        self.receive(to, from, bytes);
    }

    fn receive(&mut self, to: usize, from: usize, bytes: Bytes) {
        let mut out = Output::default();
        let now = self.now;
        self.nodes[to].heard.insert(id(from), now);
        self.nodes[to].member.receive(now, id(from), bytes, &mut out);
        self.after(to, out);
    }

    fn wake(&mut self, node: usize, life: u64) {
        let now = self.now;
        let it = &mut self.nodes[node];
        if !it.up || life != it.boots || now < it.asleep_until {
            return;
        }
        let waiting = std::mem::take(&mut it.socket);
        // Who sleeps may find either first: its timers or its socket.
        let timers_first = self.random.chance(1, 2);
        if timers_first {
            self.tick(node);
        }
        for (from, bytes) in waiting {
            self.receive(node, from, bytes);
        }
        self.tick(node);
    }

    fn tick(&mut self, node: usize) {
        if self.nodes[node].member.next_deadline() <= self.now {
            let mut out = Output::default();
            let now = self.now;
            self.nodes[node].member.tick(now, &mut out);
            self.after(node, out);
        }
    }

    pub fn take_events(&mut self) -> Vec<(Instant, usize, Event)> {
        std::mem::take(&mut self.events)
    }

    /// Pairs (who, of whom) of live nodes in which `who` does not hold the state expected of `whom`.
    pub fn disagreements(&self) -> Vec<(usize, usize, Option<State>)> {
        let mut found = Vec::new();
        for who in (0..self.nodes.len()).filter(|node| self.nodes[*node].up) {
            for whom in 0..self.nodes.len() {
                let held = self.nodes[who].member.state(id(whom));
                let expected = if self.nodes[whom].up { State::Alive } else { State::Dead };
                let agrees = held == Some(expected) || (!self.nodes[whom].up && held == Some(State::Left));
                if !agrees {
                    found.push((who, whom, held));
                }
            }
        }
        found
    }

    /// Runs until everybody sees the living alive and the crashed dead; how long that took, or what still differs.
    pub fn settle(&mut self, within: Duration) -> Result<Duration, String> {
        let began = self.now;
        loop {
            let wrong = self.disagreements();
            if wrong.is_empty() {
                return Ok(self.now.since(began));
            }
            if self.now.since(began) >= within {
                let shown: Vec<_> = wrong.iter().take(5).collect();
                return Err(format!("{} pairs differ after {within:?}: {shown:?}", wrong.len()));
            }
            self.run_for(self.options.probe_interval / 10);
        }
    }

    /// Everybody knows the newest facts of everybody.
    pub fn facts_agree(&self) -> bool {
        let up = |node: &usize| self.nodes[*node].up;
        (0..self.nodes.len()).filter(up).all(|who| {
            (0..self.nodes.len())
                .filter(up)
                .all(|whom| self.nodes[who].member.facts(id(whom)) == self.nodes[whom].member.facts(id(whom)))
        })
    }
}
