//! The metadata service of a shard: proposes through shard 0, applies what is committed, answers other shards and nodes.

use crate::addresses::{Addresses, MOVED};
use crate::apply::{decode_entries, encode_entries};
use crate::clock::Keeper;
use crate::cluster::{ClusterState, Group};
use crate::command::Command;
use crate::consensus::Consensus;
use crate::figures::{Copies, Told};
use crate::gate::Gate;
use crate::gossip::Gossip;
use crate::limits::{AGREE_SHARDS_MAX, AGREE_TIMEOUT};
use crate::log_file::ENTRY_BYTES_MAX;
use crate::moves::UnderWay;
use crate::options::NodeOptions;
use crate::snapshot::SinceSnapshot;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, NodeId, ServiceId, ShardId, ShortInput, TabletId};
use holon_kernel::metric::Metric;
use holon_kernel::{
    Address, CallError, Class, Completer, LocalFuture, MetadataEffect, Scope, Service, Session, SessionContext, Shard,
    StartContext, Tablet, TabletDescriptor, Target, Verb, join_all,
};
use holon_raft::{Entry, Snapshot};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::{Rc, Weak};
use std::time::Duration;
use thiserror::Error;

pub const METADATA_SERVICE: ServiceId = ServiceId(0);

/// How long a proposer waits: long enough for an election, and for every shard to open the tablets of a new table.
const PROPOSE_TIMEOUT: Duration = Duration::from_secs(20);
/// A command that a leader took and that was not committed is proposed again after this.
const OFFER_PATIENCE: Duration = Duration::from_secs(2);
/// Where there is no leader, the next look for one.
const LEADER_PATIENCE: Duration = Duration::from_millis(50);
/// Entries handed over at a time, bytes.
const FETCH_BYTES: usize = 1 << 20;
/// A node that pulls the log and has all of it is told of nothing new after this.
const FETCH_PATIENCE: Duration = Duration::from_secs(2);

pub(crate) const fn verb(number: u8) -> Verb {
    Verb(Verb::SERVICE_FIRST + number)
}
// Within a node, to shard 0.
pub(crate) const PROPOSE: Verb = verb(0);
pub(crate) const BARRIER: Verb = verb(3);
pub(crate) const CLOCK_SETTLE: Verb = verb(15);
pub(crate) const CLOCK_RENEW: Verb = verb(16);
const WAIT: Verb = verb(4);
// Within a node, from shard 0.
/// By these the log comes to a node: for simulators that keep one uninformed.
pub const LOG_VERBS: [Verb; 2] = [RAFT, FETCH_NEWS];

pub(crate) const APPLY: Verb = verb(1);
pub(crate) const RESTORE: Verb = verb(18);
pub(crate) const ALIVE: Verb = verb(5);
pub(crate) const FILL: Verb = verb(10);
pub(crate) const CLEAN: Verb = verb(11);
pub(crate) const OWN_FIGURES: Verb = verb(13);
// To shard 0 of this or another node.
pub(crate) const FETCH: Verb = verb(2);
pub(crate) const FETCH_NEWS: Verb = verb(6);
pub(crate) const OFFER: Verb = verb(7);
pub(crate) const RAFT: Verb = verb(8);
pub(crate) const GOSSIP: Verb = verb(9);
pub(crate) const FIGURES: Verb = verb(12);
pub(crate) const CATCH_UP: Verb = verb(14);
pub(crate) const CLOCK_ASK: Verb = verb(17);

/// Why a node ends that was drained, replaced or forgotten.
pub(crate) const REMOVED: &str = "this node was taken out of the cluster (drained, replaced or forgotten) and cannot come back with \
                                  its data; with an empty data directory it may join as a new one";

/// How long clients have to leave a node that is no member any more.
const REMOVED_PATIENCE: Duration = Duration::from_secs(5);
/// How long a voter of the metadata group waits to be taken out of it.
const REMOVED_VOTER_PATIENCE: Duration = Duration::from_secs(60);

/// What became of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub index: u64,
    /// What the service made of it; `Err` changed nothing.
    pub answer: Result<Bytes, Bytes>,
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ProposeError {
    #[error("entry of {bytes} bytes is longer than {ENTRY_BYTES_MAX}: make the change in smaller steps")]
    TooLong { bytes: usize },
    #[error("the change was not confirmed in time: its outcome is unknown")]
    Unknown,
}

type Outcome = (u64, Result<Bytes, Bytes>);

/// Takes a line for people.
type Tell = Rc<dyn Fn(String)>;

/// A shard's part of the metadata log.
pub struct Metadata {
    me: Weak<Metadata>,
    pub(crate) shard: Rc<Shard>,
    pub(crate) options: NodeOptions,
    applied: Cell<u64>,
    /// The last entry whose effect services on this shard show already; its tablets may still be opening.
    pub(crate) shown: Cell<u64>,
    pub(crate) cluster: RefCell<ClusterState>,
    pub(crate) pending: RefCell<BTreeMap<u64, Entry>>,
    /// The latest that came.
    pub(crate) snapshot_pending: RefCell<Option<Snapshot>>,
    pub(crate) since_snapshot: SinceSnapshot,
    pub(crate) pumping: Cell<bool>,
    /// Tablets are opened as entries create them; before, at start, all at once.
    pub(crate) running: Cell<bool>,
    pub(crate) waiting: RefCell<BTreeMap<u64, Vec<Completer<()>>>>,
    pub(crate) addresses: Addresses,
    pub(crate) copies: RefCell<Copies>,
    /// Tablets that are being removed from this shard, and who waits until they are.
    pub(crate) leaving: RefCell<BTreeMap<TabletId, Vec<Completer<()>>>>,
    /// Nodes that are known to have a newer log.
    pub(crate) news_expected: RefCell<BTreeSet<NodeId>>,
    report: RefCell<Tell>,
    /// What is to happen when this node is no member any more, and why.
    end: RefCell<Option<Tell>>,
    // Shard 0 only.
    consensus: RefCell<Option<Rc<Consensus>>>,
    pub(crate) gossip: RefCell<Option<Rc<Gossip>>>,
    pub(crate) keeper: RefCell<Option<Rc<Keeper>>>,
    /// To be told when nodes or voters may be others.
    pub(crate) members_ticket: RefCell<Vec<Completer<()>>>,
    /// By the node the log was pulled from last.
    pub(crate) leader_heard_of: Cell<Option<NodeId>>,
    /// Work on tablets that move.
    pub(crate) under_way: RefCell<UnderWay>,
    /// For those who look.
    pub(crate) figures: RefCell<Option<Told>>,
    /// Proposals of this node by their id.
    pub(crate) proposals: RefCell<BTreeMap<u128, Completer<Outcome>>>,
    commands_made: Cell<u32>,
    waiting_for_load: RefCell<Vec<Completer<()>>>,
    barriers: RefCell<BTreeMap<u8, Vec<Completer<()>>>>,
}

impl Metadata {
    /// Makes the shard's part and registers it.
    pub fn new(shard: &Rc<Shard>, options: NodeOptions) -> Rc<Metadata> {
        let metadata = Rc::new_cyclic(|me| Metadata {
            me: me.clone(),
            shard: shard.clone(),
            options,
            applied: Cell::new(0),
            shown: Cell::new(0),
            cluster: RefCell::default(),
            pending: RefCell::default(),
            snapshot_pending: RefCell::default(),
            since_snapshot: SinceSnapshot::default(),
            pumping: Cell::new(false),
            running: Cell::new(false),
            waiting: RefCell::default(),
            addresses: Addresses::default(),
            copies: RefCell::default(),
            leaving: RefCell::default(),
            news_expected: RefCell::default(),
            report: RefCell::new(Rc::new(|_| ())),
            end: RefCell::default(),
            consensus: RefCell::new(None),
            gossip: RefCell::new(None),
            keeper: RefCell::new(None),
            members_ticket: RefCell::default(),
            leader_heard_of: Cell::new(None),
            under_way: RefCell::default(),
            figures: RefCell::default(),
            proposals: RefCell::default(),
            commands_made: Cell::new(0),
            waiting_for_load: RefCell::default(),
            barriers: RefCell::default(),
        });
        shard.add_service(metadata.clone());
        shard.set_map(metadata.clone());
        metadata
    }

    /// Of a node that founded its cluster, with all else as usual.
    pub fn alone(shard: &Rc<Shard>, boot: u32) -> Rc<Metadata> {
        Metadata::new(shard, NodeOptions::founder(shard.node(), boot))
    }

    /// Of the cluster, for ever.
    pub fn cluster_id(&self) -> u128 {
        self.options.cluster.id
    }

    pub(crate) fn me(&self) -> Rc<Metadata> {
        self.me.upgrade().expect("held by its shard while it runs")
    }

    /// The index of the last entry applied on this shard.
    pub fn applied(&self) -> u64 {
        self.applied.get()
    }

    pub(crate) fn set_applied(&self, index: u64) {
        self.applied.set(index);
    }

    pub fn groups(&self) -> Vec<Group> {
        self.cluster.borrow().groups().cloned().collect()
    }

    /// Puts an entry into the log. Returns when every shard of this node has applied it.
    pub async fn propose(&self, service: ServiceId, entry: Bytes) -> Result<Committed, ProposeError> {
        if entry.len() > ENTRY_BYTES_MAX {
            return Err(ProposeError::TooLong { bytes: entry.len() });
        }
        let mut payload = ByteWriter::with_capacity(2 + entry.len());
        payload.put_u16(service.0);
        payload.put_slice(&entry);
        let deadline = self.shard.now() + PROPOSE_TIMEOUT;
        let target = Target::Service(METADATA_SERVICE);
        let reply = self.shard.call(self.first_shard(), target, PROPOSE, payload.freeze(), deadline).await;
        reply.ok().and_then(|reply| decode_committed(reply).ok()).ok_or(ProposeError::Unknown)
    }

    /// Waits until every shard of this node has applied all that this one shows: whoever is told "it exists already" may
    /// go to any of them.
    pub async fn settle(&self) -> Result<(), ProposeError> {
        self.settle_at(self.shown.get()).await
    }

    pub(crate) async fn settle_at(&self, index: u64) -> Result<(), ProposeError> {
        let mut payload = ByteWriter::new();
        payload.put_u64(index);
        let (payload, deadline) = (payload.freeze(), self.shard.now() + PROPOSE_TIMEOUT);
        let node = self.shard.node();
        let everyone = (0..self.shard.shards()).map(|shard| {
            let to = Address { node, shard: ShardId(shard) };
            self.shard.call(to, Target::Service(METADATA_SERVICE), WAIT, payload.clone(), deadline)
        });
        let answers = join_all(everyone).await;
        if answers.iter().all(Result::is_ok) { Ok(()) } else { Err(ProposeError::Unknown) }
    }

    /// Waits until the other members, too, have applied all that this shard shows: whoever was told that a change was made may go
    /// to any node next. One that seems dead, or does not answer within [`AGREE_TIMEOUT`], follows when it can.
    pub async fn agree(&self) {
        let mut payload = ByteWriter::new();
        payload.put_u64(self.shown.get());
        let (payload, deadline) = (payload.freeze(), self.shard.now() + AGREE_TIMEOUT);
        let (own, members) = (self.shard.node(), self.cluster.borrow().records());
        let others = members.iter().filter(|record| record.node != own && self.shard.is_alive(record.node));
        let shards = others
            .flat_map(|record| (0..record.shards).map(|shard| Address { node: record.node, shard: ShardId(shard) }));
        let calls = shards
            .take(AGREE_SHARDS_MAX)
            .map(|to| self.shard.call(to, Target::Service(METADATA_SERVICE), WAIT, payload.clone(), deadline));
        join_all(calls).await;
    }

    pub(crate) fn first_shard(&self) -> Address {
        Address { node: self.shard.node(), shard: ShardId(0) }
    }

    pub(crate) fn others(&self) -> impl Iterator<Item = Address> {
        let node = self.shard.node();
        (1..self.shard.shards()).map(move |shard| Address { node, shard: ShardId(shard) })
    }

    pub(crate) fn set_report(&self, report: Rc<dyn Fn(String)>) {
        *self.report.borrow_mut() = report;
    }

    /// Whoever runs the node ends it when it is no member any more; unless they say how, the shard stops.
    pub fn when_removed(&self, end: Rc<dyn Fn(String)>) {
        *self.end.borrow_mut() = Some(end);
    }

    pub(crate) fn is_removed(&self) -> bool {
        let me = self.shard.node();
        self.cluster.borrow().was_removed(me)
    }

    /// Shard 0: a node that is no member any more serves clients for a moment, while the others tell them to go, and ends.
    pub(crate) fn see_whether_removed(&self) {
        if !self.running.get() || !self.is_removed() {
            return;
        }
        let me = self.me();
        self.shard.spawn(Scope::Node, Class::Foreground, async move {
            me.tell(REMOVED.to_string());
            let removed = me.shard.now();
            me.shard.sleep(REMOVED_PATIENCE).await;
            // Its vote may be needed to vote it out.
            let votes = || me.voters().contains(&me.shard.node());
            while votes() && me.shard.now() < removed + REMOVED_VOTER_PATIENCE {
                me.wait_for_members(Duration::from_millis(100)).await;
            }
            let end = me.end.borrow().clone();
            match end {
                _ if !me.is_removed() => {} // it was let in again, by a cluster of the first level
                Some(end) => end(REMOVED.to_string()),
                None => me.shard.stop(REMOVED.to_string()),
            }
        });
    }

    /// For people: into the log of the node.
    pub(crate) fn tell(&self, text: String) {
        let report = self.report.borrow().clone();
        report(text);
    }

    pub(crate) fn consensus(&self) -> Option<Rc<Consensus>> {
        self.consensus.borrow().clone()
    }

    /// Shard 0: every shard of the node opens tablets as entries create them, so that entries may come.
    pub(crate) fn takes_part(&self) -> bool {
        self.gossip.borrow().is_some()
    }

    /// Shard 0: the log has been read.
    pub(crate) fn load(&self, consensus: Rc<Consensus>) {
        *self.consensus.borrow_mut() = Some(consensus);
        let waiting = self.waiting_for_load.take();
        waiting.into_iter().for_each(|completer| completer.complete(()));
    }

    /// Shard 0: proposes until it is committed, under one id. Runs as a task of the node, because a proposer that leaves
    /// must not stop it.
    pub(crate) async fn commit(&self, service: ServiceId, bytes: Bytes) -> Option<Committed> {
        let id = self.next_command_id();
        let (completer, mut committed) = self.shard.ticket();
        self.proposals.borrow_mut().insert(id, completer);
        let command = Command { id, service, bytes }.encode();
        let deadline = self.shard.now() + PROPOSE_TIMEOUT;
        let outcome = loop {
            if self.offer(&command).await {
                // Accepted by a leader that may fall: proposed again, after a while, under the same id.
                let until = deadline.min(self.shard.now() + OFFER_PATIENCE);
                if let Ok(outcome) = self.shard.timeout(until, &mut committed).await {
                    break outcome.ok();
                }
            } else if let Some(consensus) = self.consensus() {
                consensus.changed(deadline.min(self.shard.now() + LEADER_PATIENCE)).await;
            }
            if self.shard.now() >= deadline {
                break None;
            }
        };
        self.proposals.borrow_mut().remove(&id);
        let (index, answer) = outcome?;
        self.settle_at(index).await.ok()?;
        Some(Committed { index, answer })
    }

    /// Of this node, this start, and this command.
    fn next_command_id(&self) -> u128 {
        let node = self.shard.node().0;
        let node = ((node >> 64) as u64).rotate_left(17) ^ node as u64;
        let number = self.commands_made.get() + 1;
        self.commands_made.set(number);
        (u128::from(node) << 64) | (u128::from(self.options.boot) << 32) | u128::from(number)
    }

    /// Hands a command to the leader, wherever it is; true if it took it.
    async fn offer(&self, command: &Bytes) -> bool {
        let Some(consensus) = self.consensus() else { return false };
        let may = self.may_take(self.shard.node(), command).is_ok();
        if may && consensus.step(|raft, now, out| raft.propose(now, command.clone(), out)).is_ok() {
            return true;
        }
        let Some(leader) = self.leader().filter(|leader| *leader != self.shard.node()) else { return false };
        let (to, target) = (Address { node: leader, shard: ShardId(0) }, Target::Service(METADATA_SERVICE));
        let deadline = self.shard.now() + Duration::from_secs(1);
        self.shard.call(to, target, OFFER, command.clone(), deadline).await.is_ok()
    }

    async fn fetch(&self, from: u64) -> Bytes {
        let consensus = loop {
            if let Some(consensus) = self.consensus() {
                break consensus;
            }
            let (completer, ticket) = self.shard.ticket();
            self.waiting_for_load.borrow_mut().push(completer);
            let _ = ticket.await; // cancelled only when the shard stops
        };
        consensus.committed_from(from, FETCH_BYTES).encode()
    }

    /// For a node that pulls the log: what was committed from an index on, now or soon; the commit index and the leader.
    ///
    /// ```text
    ///   news = commit:varint leader:u128 handed term_before:u64   (0: what is before `from` is not known here)
    ///   a node of the first level says nothing behind the entries
    /// ```
    async fn fetch_news(&self, from: u64) -> Result<Bytes, CallError> {
        let consensus = self.consensus().ok_or(CallError::NotHere)?;
        let deadline = self.shard.now() + FETCH_PATIENCE;
        while consensus.status().commit < from && self.shard.now() < deadline {
            consensus.changed(deadline).await;
        }
        let handed = consensus.committed_from(from, FETCH_BYTES);
        let mut out = ByteWriter::new();
        out.put_varint(consensus.status().commit);
        out.put_u128(self.leader().map_or(0, |leader| leader.0));
        if !Gate::METADATA_SNAPSHOTS.is_open(self.options.level) {
            out.put_slice(&encode_entries(&handed.entries));
            return Ok(out.freeze());
        }
        out.put_slice(&handed.encode());
        out.put_u64(consensus.committed_term(from.saturating_sub(1)).unwrap_or(0));
        Ok(out.freeze())
    }

    /// Shard 0: answers when every shard of the node has come to the barrier.
    async fn barrier(&self, number: u8) {
        let (completer, ticket) = self.shard.ticket();
        let all = {
            let mut barriers = self.barriers.borrow_mut();
            let arrived = barriers.entry(number).or_default();
            arrived.push(completer);
            if arrived.len() == usize::from(self.shard.shards()) { barriers.remove(&number) } else { None }
        };
        all.into_iter().flatten().for_each(|completer| completer.complete(()));
        let _ = ticket.await; // cancelled only when the shard stops
    }

    async fn answer(self: Rc<Self>, from: Address, verb: Verb, payload: Bytes) -> Result<Bytes, CallError> {
        let bad = |short: ShortInput| bad_text(&short);
        self.check_sender(from.node, verb)?;
        let mut input = ByteReader::new(payload);
        match verb {
            PROPOSE => {
                let service = ServiceId(input.u16().map_err(bad)?);
                let (completer, committed) = self.shard.ticket();
                let (me, entry) = (self.clone(), input.rest());
                self.shard.spawn(Scope::Node, Class::Foreground, async move {
                    completer.complete(me.commit(service, entry).await);
                });
                committed.await.ok().flatten().map(encode_committed).ok_or(CallError::Timeout)
            }
            OFFER => self.take_offer(from.node, input.rest()),
            RAFT => {
                if let Some(consensus) = self.consensus().filter(|_| self.takes_part()) {
                    consensus.receive(from.node, input.rest());
                }
                Ok(Bytes::new())
            }
            GOSSIP => {
                if let Some(gossip) = self.gossip.borrow().clone() {
                    gossip.receive(from.node, input.rest());
                }
                Ok(Bytes::new())
            }
            ALIVE => {
                let (node, alive) = (NodeId(input.u128().map_err(bad)?), input.u8().map_err(bad)? == 1);
                self.shard.set_alive(node, alive);
                Ok(Bytes::new())
            }
            FILL => self.fill_here(input.rest()).await,
            FIGURES => Ok(self.node_figures(input.rest()).await),
            OWN_FIGURES => self.own_figures(input.rest()).map_err(bad),
            CLOCK_SETTLE | CLOCK_RENEW | CLOCK_ASK => self.answer_clock(verb).await,
            CLEAN => self.clean_here(input.rest()).await,
            APPLY => {
                for entry in decode_entries(&mut input).map_err(bad)? {
                    let index = entry.index;
                    self.enqueue(entry);
                    self.wait_applied(index).await;
                }
                Ok(Bytes::new())
            }
            RESTORE => {
                let snapshot = Snapshot::decode(input.rest()).map_err(|error| bad_text(&error))?;
                let index = snapshot.index;
                self.take_snapshot(snapshot);
                self.wait_applied(index).await;
                Ok(Bytes::new())
            }
            FETCH => Ok(self.fetch(input.u64().map_err(bad)?).await),
            FETCH_NEWS => {
                let index = input.u64().map_err(bad)?;
                self.asked_from(from.node, &mut input);
                self.fetch_news(index).await
            }
            MOVED => self.take_moved(input.rest()).map(|()| Bytes::new()).map_err(bad),
            CATCH_UP => {
                let (index, node) = (input.u64().map_err(bad)?, NodeId(input.u128().map_err(bad)?));
                self.catch_up_with(index, node).await.map(|()| Bytes::new())
            }
            BARRIER => {
                self.barrier(input.u8().map_err(bad)?).await;
                Ok(Bytes::new())
            }
            WAIT => {
                self.wait_applied(input.u64().map_err(bad)?).await;
                Ok(Bytes::new())
            }
            Verb(_) => Err(CallError::NotHere),
        }
    }
}

impl Service for Metadata {
    fn id(&self) -> ServiceId {
        METADATA_SERVICE
    }

    fn name(&self) -> &'static str {
        "metadata"
    }

    fn apply_metadata(&self, _: u64, _: &Bytes) -> Result<MetadataEffect, Bytes> {
        Err(Bytes::from_static(b"entries of the cluster itself are applied by its own machine"))
    }

    fn start(self: Rc<Self>, _: StartContext) -> LocalFuture<Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn open_tablet(self: Rc<Self>, descriptor: TabletDescriptor) -> LocalFuture<Result<Rc<dyn Tablet>, String>> {
        Box::pin(async move { Err(format!("the metadata service has no tablets, asked for {}", descriptor.id)) })
    }

    fn remove_tablet(self: Rc<Self>, _: TabletId) -> LocalFuture<Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn recover(self: Rc<Self>) -> LocalFuture<Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn recovered_everywhere(self: Rc<Self>) -> LocalFuture<Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn stop(self: Rc<Self>) -> LocalFuture<()> {
        Box::pin(async move { self.leave() })
    }

    fn open_session(self: Rc<Self>, _: SessionContext) -> Box<dyn Session> {
        struct NoSession;
        impl Session for NoSession {
            fn handle(&mut self, _: &mut bytes::BytesMut) -> holon_kernel::Flow {
                holon_kernel::Flow::Close
            }
        }
        Box::new(NoSession) // it has no door
    }

    fn message(self: Rc<Self>, from: Address, verb: Verb, payload: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(self.answer(from, verb, payload))
    }

    fn command(self: Rc<Self>, words: Vec<String>, _: Rc<dyn Fn(String)>) -> LocalFuture<Result<String, String>> {
        Box::pin(async move { self.cluster_command(&words).await })
    }

    fn metrics(&self, out: &mut Vec<Metric>) {
        if self.shard.id() == ShardId(0) {
            let help = "index of the last applied entry of the metadata log";
            out.push(Metric::gauge("holon_metadata_applied_index", help, self.applied() as f64));
            self.snapshot_metrics(out);
            self.clock_metrics(out);
        }
    }

    fn status(&self) -> Vec<(String, String)> {
        let mut rows = vec![("metadata index".to_string(), self.applied().to_string())];
        if self.shard.id() == ShardId(0) {
            rows.extend(self.clock_status());
            rows.extend(self.cluster_status());
        }
        rows
    }
}

fn bad_text(error: &dyn std::error::Error) -> CallError {
    CallError::Failed(Bytes::from(error.to_string()))
}

fn encode_committed(committed: Committed) -> Bytes {
    let mut out = ByteWriter::new();
    out.put_varint(committed.index);
    out.put_u8(u8::from(committed.answer.is_ok()));
    let (Ok(answer) | Err(answer)) = committed.answer;
    out.put_slice(&answer);
    out.freeze()
}

fn decode_committed(bytes: Bytes) -> Result<Committed, ShortInput> {
    let mut input = ByteReader::new(bytes);
    let (index, good) = (input.varint()?, input.u8()? == 1);
    let answer = input.rest();
    Ok(Committed { index, answer: if good { Ok(answer) } else { Err(answer) } })
}
