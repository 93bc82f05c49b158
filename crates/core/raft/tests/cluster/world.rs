//! A cluster of machines under a seed: a network that loses, doubles, delays and cuts; disks that are late; clocks that run at
//! different speeds; nodes that crash and pause. Every step of every node passes through [`World::absorb`], which checks it.

use bytes::Bytes;
use holon_base::{Instant, NodeId, Random};
use holon_raft::{Members, Message, Options, Output, Raft, Save};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::checks::{Checked, Checks, electable};
use crate::disk::{Disk, Machine};

pub const MILLISECOND: u64 = 1_000_000;

pub struct Node {
    pub raft: Option<Raft>,
    pub disk: Disk,
    pub machine: Machine,
    /// Handed out and not durable yet.
    writes: VecDeque<Save>,
    /// The latest time at which a write of this node becomes durable: later ones come later.
    writes_until: u64,
    /// Counts restarts: what was meant for a former run is void.
    run: u32,
    timer: Option<Instant>,
    /// The clock of this run: percent of true speed, and where it began.
    speed: u64,
    started: u64,
    paused_until: u64,
}

pub enum Event {
    Deliver { from: NodeId, to: NodeId, bytes: Bytes },
    Durable { node: NodeId, run: u32, number: u64 },
    Timer { node: NodeId, run: u32 },
    Restart { node: NodeId },
    Client,
    Fault,
}

pub struct Weather {
    pub loss_percent: u64,
    pub double_percent: u64,
    pub delay_max: u64,
    pub save_delay_max: u64,
}

pub struct World {
    pub random: Random,
    pub now: u64,
    pub nodes: BTreeMap<NodeId, Node>,
    pub checks: Checks,
    pub weather: Weather,
    /// From, to.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    /// One in so many leaders crashes in the step in which it commits; 0: none.
    pub crash_at_commit: u64,
    /// One in so many voters crashes in the step in which it gives its vote, and is back at once; 0: none.
    pub crash_at_vote: u64,
    /// The last phase: no faults, no clients.
    pub healed: bool,
    pub tokens: u64,
    pub elections: u64,
    pub crashes: u64,
    pub snapshots_restored: u64,
    options: Options,
    events: BTreeMap<(u64, u64), Event>,
    sequence: u64,
}

impl World {
    pub fn new(mut random: Random, options: Options, nodes: u128, voters: u128) -> Result<World, String> {
        let members = Members::of_voters((1..=voters).map(NodeId));
        let mut world = World {
            now: 0,
            nodes: BTreeMap::new(),
            checks: Checks::new(&members),
            weather: Weather {
                loss_percent: 0,
                double_percent: 0,
                delay_max: 5 * MILLISECOND,
                save_delay_max: random.range(1, 20) * MILLISECOND,
            },
            cut: BTreeSet::new(),
            crash_at_commit: 0,
            crash_at_vote: 0,
            healed: false,
            tokens: 0,
            elections: 0,
            crashes: 0,
            snapshots_restored: 0,
            options,
            events: BTreeMap::new(),
            sequence: 0,
            random,
        };
        for id in (1..=nodes).map(NodeId) {
            let first_members = if members.contains(id) { members.clone() } else { Members::default() };
            let node = Node {
                raft: None,
                disk: Disk { first_members, ..Disk::default() },
                machine: Machine::default(),
                writes: VecDeque::new(),
                writes_until: 0,
                run: 0,
                timer: None,
                speed: 100,
                started: 0,
                paused_until: 0,
            };
            world.nodes.insert(id, node);
            world.start(id)?;
        }
        Ok(world)
    }

    pub fn after(&mut self, delay: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now + delay, self.sequence), event);
    }

    /// Runs until `until`; `Client` and `Fault` events go to `others`.
    pub fn run(&mut self, until: u64, others: &mut dyn FnMut(&mut World, Event) -> Checked) -> Checked {
        while let Some(first) = self.events.first_entry()
            && first.key().0 <= until
        {
            let ((at, _), event) = first.remove_entry();
            self.now = at;
            self.happen(event, others)?;
        }
        self.now = until;
        Ok(())
    }

    fn happen(&mut self, event: Event, others: &mut dyn FnMut(&mut World, Event) -> Checked) -> Checked {
        let node = match &event {
            Event::Deliver { to, .. } => *to,
            Event::Durable { node, .. } | Event::Timer { node, .. } | Event::Restart { node } => *node,
            Event::Client | Event::Fault => return others(self, event),
        };
        let paused = self.nodes[&node].paused_until;
        if paused > self.now {
            self.after(paused - self.now, event);
            return Ok(());
        }
        match event {
            Event::Deliver { from, to, bytes } => {
                let message = Message::decode(bytes).map_err(|error| format!("own bytes refused: {error}"))?;
                self.step(to, |raft, now, out| raft.receive(now, from, message, out))?;
            }
            Event::Durable { node, run, number } if self.nodes[&node].run == run => {
                while let Some(save) = self.next_write(node, number) {
                    self.write_down(node, save)?;
                }
                self.step(node, |raft, _, out| raft.saved(number, out))?;
            }
            Event::Timer { node, run } if self.nodes[&node].run == run => {
                self.step(node, |raft, now, out| raft.tick(now, out))?;
            }
            Event::Restart { node } if self.nodes[&node].raft.is_none() => self.start(node)?,
            _ => {}
        }
        Ok(())
    }

    fn next_write(&mut self, node: NodeId, number: u64) -> Option<Save> {
        let writes = &mut self.nodes.get_mut(&node)?.writes;
        if writes.front()?.number <= number { writes.pop_front() } else { None }
    }

    /// A save is durable.
    fn write_down(&mut self, id: NodeId, save: Save) -> Checked {
        let disk = &mut self.nodes.get_mut(&id).ok_or("no such node")?.disk;
        let appended = save.append.clone();
        disk.write(save);
        for entry in appended {
            let before = disk.term_at(entry.index - 1);
            self.checks.held(id, before, &entry)?;
        }
        Ok(())
    }

    /// One call of a node's machine, if it runs.
    pub fn step<T>(
        &mut self,
        id: NodeId,
        call: impl FnOnce(&mut Raft, Instant, &mut Output) -> T,
    ) -> Result<Option<T>, String> {
        let node = self.nodes.get_mut(&id).ok_or("no such node")?;
        let now = Instant((self.now - node.started) * node.speed / 100);
        let Some(raft) = &mut node.raft else { return Ok(None) };
        let mut out = Output::default();
        let result = call(raft, now, &mut out);
        self.absorb(id, out).map_err(|complaint| format!("at {} ms: {complaint}", self.now / MILLISECOND))?;
        Ok(Some(result))
    }

    fn absorb(&mut self, id: NodeId, out: Output) -> Checked {
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        let Some(raft) = &node.raft else { return Ok(()) };
        self.elections +=
            out.role_changes.iter().filter(|change| change.role == holon_raft::Role::Leader).count() as u64;
        let committed_more = self.checks.roles(id, raft)?;
        for (to, message) in &out.messages {
            self.checks.promised(id, &node.disk, *to, message)?;
        }
        if let Some(snapshot) = &out.restore {
            node.machine = self.checks.snapshot(id, snapshot)?;
            self.snapshots_restored += 1;
        }
        for entry in out.committed.iter().filter(|entry| entry.index > out.restore.as_ref().map_or(0, |s| s.index)) {
            let before = node.machine;
            node.machine.apply(entry);
            self.checks.committed(id, &node.disk, entry, before, node.machine)?;
        }
        for read in out.reads {
            self.checks.read(id, read)?;
        }
        if let Some(index) = out.contradicted {
            return Err(format!("a leader says otherwise of entry {index}, which is committed at {id}"));
        }
        if committed_more && let Some(raft) = &self.nodes[&id].raft {
            electable(id, raft, self.nodes.iter().map(|(id, node)| (*id, &node.disk)))?;
        }
        self.write(id, out.saves);
        if committed_more && !self.healed && self.crash_at_commit > 0 && self.random.chance(1, self.crash_at_commit) {
            self.crash(id);
            return Ok(());
        }
        let votes = out
            .messages
            .iter()
            .any(|(_, message)| matches!(message.body, holon_raft::Body::VoteReply { granted: true, pre: false }));
        for (to, message) in out.messages {
            self.post(id, to, message);
        }
        if votes && !self.healed && self.crash_at_vote > 0 && self.random.chance(1, self.crash_at_vote) {
            self.crash_for(id, 0, MILLISECOND);
            return Ok(());
        }
        self.set_timer(id);
        Ok(())
    }

    fn write(&mut self, id: NodeId, saves: Vec<Save>) {
        for save in saves {
            let delay = self.random.below(self.weather.save_delay_max + 1);
            let Some(node) = self.nodes.get_mut(&id) else { return };
            let at = (self.now + delay).max(node.writes_until);
            node.writes_until = at;
            let (run, number) = (node.run, save.number);
            node.writes.push_back(save);
            self.after(at - self.now, Event::Durable { node: id, run, number });
        }
    }

    fn post(&mut self, from: NodeId, to: NodeId, message: Message) {
        if self.cut.contains(&(from, to)) || self.random.chance(self.weather.loss_percent, 100) {
            return;
        }
        let bytes = message.encode();
        let copies = 1 + u64::from(self.random.chance(self.weather.double_percent, 100));
        for _ in 0..copies {
            let delay = self.random.below(self.weather.delay_max + 1);
            self.after(delay, Event::Deliver { from, to, bytes: bytes.clone() });
        }
    }

    fn set_timer(&mut self, id: NodeId) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let deadline = node.raft.as_ref().and_then(Raft::next_deadline);
        if node.timer == deadline {
            return;
        }
        node.timer = deadline;
        if let Some(deadline) = deadline {
            let at = node.started + deadline.0 * 100 / node.speed + 1;
            let (run, delay) = (node.run, at.saturating_sub(now));
            self.after(delay, Event::Timer { node: id, run });
        }
    }

    pub fn start(&mut self, id: NodeId) -> Checked {
        let (random, speed) = (self.random.fork(), self.random.range(80, 121));
        let options = self.options.clone();
        let now = self.now;
        let node = self.nodes.get_mut(&id).ok_or("no such node")?;
        node.run += 1;
        (node.started, node.speed, node.timer) = (now, speed, None);
        let stored = node.disk.stored(node.machine.applied);
        node.raft = Some(Raft::new(id, options, stored, Instant(0), random).map_err(|error| error.to_string())?);
        self.checks.restarted(id);
        self.step(id, |raft, now, out| raft.tick(now, out)).map(|_| ())
    }

    /// Some of the writes under way make it to the disk, the others are lost; the state machine may be a durable one.
    pub fn crash(&mut self, id: NodeId) {
        let (kept, down) = (self.random.below(4), self.random.below(400 * MILLISECOND));
        self.crash_for(id, kept, down);
    }

    /// The first `kept` of the writes under way are durable.
    fn crash_for(&mut self, id: NodeId, kept: u64, down: u64) {
        let durable_machine = self.random.chance(1, 2);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.raft.take().is_none() {
            return;
        }
        self.crashes += 1;
        // What is found after the restart is looked at as soon as it is used.
        for save in std::mem::take(&mut node.writes).into_iter().take(kept as usize) {
            node.disk.write(save);
        }
        (node.writes_until, node.run) = (0, node.run + 1);
        if !durable_machine {
            let snapshot = node.disk.snapshot.as_ref();
            node.machine = snapshot.and_then(|snapshot| Machine::decode(snapshot.data.clone())).unwrap_or_default();
        }
        self.after(down, Event::Restart { node: id });
    }

    pub fn pause(&mut self, id: NodeId, duration: u64) {
        let until = self.now + duration;
        if let Some(node) = self.nodes.get_mut(&id) {
            node.paused_until = until;
        }
    }

    pub fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    pub fn any_node(&mut self) -> NodeId {
        NodeId(u128::from(self.random.below(self.nodes.len() as u64)) + 1)
    }

    /// All that think they lead; more than one is possible, in different terms.
    pub fn leaders(&self) -> Vec<NodeId> {
        let leads = |node: &Node| node.raft.as_ref().is_some_and(Raft::is_leader);
        self.nodes.iter().filter(|(_, node)| leads(node)).map(|(id, _)| *id).collect()
    }

    /// No more faults: all members must come to apply a new command, in the same state.
    pub fn demand_progress(&mut self) -> Checked {
        self.healed = true;
        self.cut.clear();
        self.weather =
            Weather { loss_percent: 0, double_percent: 0, delay_max: 2 * MILLISECOND, save_delay_max: 2 * MILLISECOND };
        for id in self.ids() {
            self.nodes.get_mut(&id).ok_or("no such node")?.paused_until = 0;
            if self.nodes[&id].raft.is_none() {
                self.start(id)?;
            }
        }
        self.run(self.now + 3_000 * MILLISECOND, &mut |_, _| Ok(()))?;
        let leaders = self.leaders();
        let [leader] = leaders[..] else { return Err(format!("progress: {leaders:?} lead after healing")) };
        let position = self.step(leader, |raft, now, out| raft.propose(now, Bytes::from_static(b"healed"), out))?;
        let Some(Ok(position)) = position else { return Err(format!("progress: {leader} refuses a command")) };
        // Entry by entry, if the options say so, a node that was away long takes long.
        self.run(self.now + 10_000 * MILLISECOND, &mut |_, _| Ok(()))?;
        let members = self.nodes[&leader].raft.as_ref().map(|raft| raft.members().clone()).unwrap_or_default();
        let expected = self.nodes[&leader].machine;
        for id in members.all() {
            let machine = self.nodes[&id].machine;
            if machine != expected || machine.applied < position.index {
                let of = |node: NodeId| self.nodes[&node].raft.as_ref().map(Raft::status);
                let (follower, leading) = (of(id), of(leader));
                return Err(format!(
                    "progress: {id} has {machine:?}, {leader} {expected:?}, asked for {position:?}\n{leading:?}\n{follower:?}"
                ));
            }
        }
        Ok(())
    }
}

/// Short times, so that seconds hold many elections.
pub fn options(random: &mut Random) -> Options {
    let pick = |random: &mut Random, values: &[usize]| values[random.below(values.len() as u64) as usize];
    Options {
        election_timeout: Duration::from_millis(100),
        heartbeat_interval: Duration::from_millis(15),
        entries_per_message_max: pick(random, &[1, 1, 2, 64]),
        bytes_per_message_max: pick(random, &[1, 100, 1 << 20]),
        in_flight_messages_max: pick(random, &[1, 3, 64]),
        in_flight_bytes_max: pick(random, &[100, 1 << 20]),
        ..Options::default()
    }
}
