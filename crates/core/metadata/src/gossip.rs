//! Drives the gossip machine on shard 0: its messages go out as envelopes, its opinions go to every shard of the node.

use crate::service::{ALIVE, GOSSIP, METADATA_SERVICE, Metadata};
use bytes::Bytes;
use holon_base::{ByteWriter, Instant, NodeId, ShardId};
use holon_kernel::{Address, Class, Completer, Scope, Shard, Target};
use holon_member::{Event, Facts, Member, Output, State};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

pub(crate) struct Gossip {
    me: Weak<Gossip>,
    shard: Rc<Shard>,
    metadata: Weak<Metadata>,
    member: RefCell<Member>,
    armed: Cell<Option<Instant>>,
    alarm: RefCell<Option<Completer<()>>>,
    /// When a node was last seen to die.
    dead_since: RefCell<BTreeMap<NodeId, Instant>>,
}

impl Gossip {
    pub(crate) fn new(metadata: &Rc<Metadata>) -> Rc<Gossip> {
        let (shard, options) = (metadata.shard.clone(), &metadata.options);
        let incarnation = u64::from(options.boot) << 32;
        let facts = Facts { incarnation, address: options.address, facts: Bytes::new(), version: 0 };
        let random = crate::consensus::random_of(&shard);
        let member = Member::new(shard.node(), options.gossip.clone(), facts, shard.now(), random);
        Rc::new_cyclic(|me| Gossip {
            me: me.clone(),
            shard,
            metadata: Rc::downgrade(metadata),
            member: RefCell::new(member),
            armed: Cell::new(None),
            alarm: RefCell::new(None),
            dead_since: RefCell::default(),
        })
    }

    /// Lets time pass for it, until the shard stops.
    pub(crate) fn run(&self) {
        let Some(me) = self.me.upgrade() else { return };
        self.shard.clone().spawn(Scope::Node, Class::Foreground, async move {
            loop {
                me.step(|member, now, out| member.tick(now, out));
                let deadline = me.member.borrow().next_deadline();
                let (completer, alarm) = me.shard.ticket();
                *me.alarm.borrow_mut() = Some(completer);
                me.armed.set(Some(deadline));
                let _ = me.shard.timeout(deadline, alarm).await; // time has come, or the deadline has moved
                me.armed.set(None);
            }
        });
    }

    fn step(&self, input: impl FnOnce(&mut Member, Instant, &mut Output)) {
        let mut out = Output::default();
        input(&mut self.member.borrow_mut(), self.shard.now(), &mut out);
        // Before anything is sent there, or clients are told that it is up: where it is.
        let (facts, others) = out.events.into_iter().partition::<Vec<_>, _>(|event| matches!(event, Event::Facts(_)));
        facts.into_iter().for_each(|event| self.tell(event));
        for (to, _, bytes) in out.messages {
            let to = Address { node: to, shard: ShardId(0) };
            self.shard.send(to, Target::Service(METADATA_SERVICE), GOSSIP, bytes);
        }
        others.into_iter().for_each(|event| self.tell(event));
        let deadline = self.member.borrow().next_deadline();
        if self.armed.get().is_some_and(|armed| deadline < armed) {
            drop(self.alarm.borrow_mut().take());
        }
    }

    pub(crate) fn receive(&self, from: NodeId, bytes: Bytes) {
        self.step(|member, now, out| member.receive(now, from, bytes, out));
    }

    /// Who is a member, from the metadata log.
    pub(crate) fn set_members(&self, members: &BTreeMap<NodeId, Option<SocketAddr>>) {
        self.step(|member, now, out| member.set_members(now, members, out));
        let Some(metadata) = self.metadata.upgrade() else { return };
        for node in members.keys() {
            let address = self.member.borrow().address(*node);
            metadata.moved(*node, address);
        }
    }

    /// A member is at this address, if it was not heard yet.
    pub(crate) fn meet(&self, node: NodeId, address: SocketAddr) {
        self.step(|member, now, out| member.meet(now, node, address, out));
    }

    pub(crate) fn leave(&self) {
        self.step(|member, now, out| member.leave(now, out));
    }

    /// Whether the node has said anything: that it is let in says nothing of whether it runs.
    pub(crate) fn has_heard(&self, node: NodeId) -> bool {
        self.member.borrow().facts(node).is_some()
    }

    /// Since when a node has seemed dead.
    pub(crate) fn dead_since(&self, node: NodeId) -> Option<Instant> {
        self.dead_since.borrow().get(&node).copied()
    }

    pub(crate) fn state(&self, node: NodeId) -> Option<State> {
        self.member.borrow().state(node)
    }

    fn tell(&self, event: Event) {
        let (node, alive, what) = match event {
            Event::Alive(node) => (node, true, "is alive"),
            Event::Dead(node) => (node, false, "seems dead"),
            Event::Left(node) => (node, false, "has stopped"),
            Event::Facts(node) => {
                let address = self.member.borrow().address(node);
                if let Some(metadata) = self.metadata.upgrade() {
                    metadata.moved(node, address);
                    metadata.wake_members();
                }
                return;
            }
            Event::Suspect(_) => return,
        };
        let mut dead_since = self.dead_since.borrow_mut();
        match alive {
            true => drop(dead_since.remove(&node)),
            false => drop(dead_since.entry(node).or_insert(self.shard.now())),
        }
        drop(dead_since);
        let mut payload = ByteWriter::new();
        payload.put_u128(node.0);
        payload.put_u8(alive.into());
        let payload = payload.freeze();
        if alive && let Some(keeper) = self.metadata.upgrade().and_then(|metadata| metadata.keeper.borrow().clone()) {
            keeper.heard_of(node);
        }
        self.shard.set_alive(node, alive);
        let Some(metadata) = self.metadata.upgrade() else { return };
        for to in metadata.others() {
            self.shard.send(to, Target::Service(METADATA_SERVICE), ALIVE, payload.clone());
        }
        if node != self.shard.node() {
            metadata.tell(format!("node {node} {what}"));
        }
    }
}

impl Metadata {
    /// Shard 0: nodes or voters may be others.
    pub(crate) fn members_changed(&self) {
        let cluster = self.cluster.borrow();
        let members = cluster.records().iter().map(|record| (record.node, Some(record.address))).collect();
        drop(cluster);
        if let Some(gossip) = self.gossip.borrow().clone() {
            gossip.set_members(&members);
        }
        self.wake_members();
    }

    /// Shard 0: whoever waits for news of members looks again.
    fn wake_members(&self) {
        self.members_ticket.take().into_iter().for_each(|completer| completer.complete(()));
    }

    pub(crate) fn leave(&self) {
        if let Some(gossip) = self.gossip.borrow().clone() {
            gossip.leave();
        }
        if let Some(consensus) = self.consensus().filter(|consensus| consensus.is_leader()) {
            // Somebody else leads at once, instead of after an election timeout. No voter to lead: so be it.
            let _ = consensus.step(|raft, now, out| raft.transfer_leadership(now, None, out));
        }
    }
}

impl Metadata {
    /// Shard 0: the cluster for people, as rows of (label, value).
    pub(crate) fn cluster_status(&self) -> Vec<(String, String)> {
        let cluster = self.cluster.borrow();
        let records = cluster.records();
        let short = |node: NodeId| node.to_string().chars().take(8).collect::<String>();
        let mut rows = Vec::new();
        if let Some(consensus) = self.consensus() {
            let voters: Vec<String> = consensus.status().members.voters.iter().map(|node| short(*node)).collect();
            let leader = self.leader().map_or_else(|| "none".to_string(), short);
            rows.push(("leader".to_string(), leader));
            rows.push(("voters".to_string(), voters.join(" ")));
        }
        for record in records.iter() {
            let alive = if self.shard.is_alive(record.node) { "up" } else { "down" };
            let coming = || match cluster.replaced_by(record.node) {
                Some(dead) => format!("coming (for {})", short(dead)),
                None => "coming".to_string(),
            };
            let state = cluster.state(record.node).map_or_else(coming, |state| format!("{state:?}").to_lowercase());
            let tokens = record.tokens.len();
            let place =
                format!("{alive} {state} {} {}/{} {tokens} tokens", record.address, record.data_center, record.rack);
            rows.push((format!("node {}", short(record.node)), place));
        }
        if let Some((topology, change)) = cluster.topology().and_then(|topology| Some((topology, topology.change()?))) {
            let (planned, active) = topology.moves();
            let kind = format!("{:?}", change.kind);
            let name: String = kind.chars().take_while(|letter| letter.is_alphanumeric()).collect();
            let back = if change.cancelled { ", going back" } else { "" };
            rows.push((
                "change".to_string(),
                format!("{name}: {} tablets move, {} wait{back}", active.len(), planned.len()),
            ));
        }
        for wait in self.waits() {
            let since = wait.down_for.map(|down| format!(", down for {} s", down.as_secs())).unwrap_or_default();
            rows.push(("waits for".to_string(), format!("{}{since}: {} tablets", short(wait.node), wait.tablets)));
        }
        rows
    }
}
