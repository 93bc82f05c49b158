//! The metadata service of a shard: proposes through shard 0, applies what shard 0 says, in order.

use crate::log_file::{AppendError, ENTRY_BYTES_MAX, Entry, LogFile};
use crate::machine::{Group, TabletMap};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ServiceId, ShardId, ShortInput, TabletId};
use holon_kernel::metric::Metric;
use holon_kernel::{
    Address, CallError, Class, Completer, LocalFuture, MetadataEffect, Pool, Scope, Service, Session, SessionContext,
    Shard, StartContext, Tablet, TabletDescriptor, Target, Verb, join_all,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use thiserror::Error;

pub const METADATA_SERVICE: ServiceId = ServiceId(0);

/// How long a proposer waits: long enough for every shard to open the tablets of a new table.
const PROPOSE_TIMEOUT: Duration = Duration::from_secs(20);
/// A call inside the node is repeated after this.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two tries to open or remove a tablet (a full disk, say).
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Entries handed to another shard at a time, bytes.
const FETCH_BYTES: usize = 1 << 20;

const PROPOSE: Verb = Verb(Verb::SERVICE_FIRST);
const APPLY_ENTRY: Verb = Verb(Verb::SERVICE_FIRST + 1);
pub(crate) const FETCH: Verb = Verb(Verb::SERVICE_FIRST + 2);
pub(crate) const BARRIER: Verb = Verb(Verb::SERVICE_FIRST + 3);
const WAIT: Verb = Verb(Verb::SERVICE_FIRST + 4);

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
    #[error("the metadata log could not take the entry ({detail}); it may still appear after a restart")]
    Write { detail: String },
    #[error("the change was not confirmed in time: its outcome is unknown")]
    Unknown,
}

/// A shard's part of the metadata log.
pub struct Metadata {
    pub(crate) shard: Rc<Shard>,
    pub(crate) boot: u32,
    applied: Cell<u64>,
    /// The last entry whose effect services on this shard show already; its tablets may still be opening.
    shown: Cell<u64>,
    map: RefCell<TabletMap>,
    pending: RefCell<BTreeMap<u64, Entry>>,
    pumping: Cell<bool>,
    /// Tablets are opened as entries create them; before, at start, all at once.
    pub(crate) running: Cell<bool>,
    waiting: RefCell<BTreeMap<u64, Vec<Completer<()>>>>,
    answers: RefCell<BTreeMap<u64, Result<Bytes, Bytes>>>,
    report: RefCell<Rc<dyn Fn(String)>>,
    /// Shard 0 only: the log, and all its entries for the other shards.
    log: RefCell<Option<LogFile>>,
    entries: RefCell<Vec<Entry>>,
    append_turn: Pool,
    is_loaded: Cell<bool>,
    waiting_for_load: RefCell<Vec<Completer<()>>>,
    barriers: RefCell<BTreeMap<u8, Vec<Completer<()>>>>,
}

impl Metadata {
    /// Makes the shard's part and registers it. `boot` comes from [`crate::load_or_create`].
    pub fn new(shard: &Rc<Shard>, boot: u32) -> Rc<Metadata> {
        let metadata = Rc::new(Metadata {
            shard: shard.clone(),
            boot,
            applied: Cell::new(0),
            shown: Cell::new(0),
            map: RefCell::default(),
            pending: RefCell::default(),
            pumping: Cell::new(false),
            running: Cell::new(false),
            waiting: RefCell::default(),
            answers: RefCell::default(),
            report: RefCell::new(Rc::new(|_| ())),
            log: RefCell::new(None),
            entries: RefCell::default(),
            append_turn: shard.pool("metadata append", 1),
            is_loaded: Cell::new(false),
            waiting_for_load: RefCell::default(),
            barriers: RefCell::default(),
        });
        shard.add_service(metadata.clone());
        metadata
    }

    /// The index of the last entry applied on this shard.
    pub fn applied(&self) -> u64 {
        self.applied.get()
    }

    pub fn groups(&self) -> Vec<Group> {
        self.map.borrow().groups().collect()
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
        let reply = self.shard.call(self.leader(), target, PROPOSE, payload.freeze(), deadline).await;
        match reply {
            Ok(reply) => decode_committed(reply).map_err(|_| ProposeError::Unknown),
            Err(CallError::Failed(detail)) => {
                Err(ProposeError::Write { detail: String::from_utf8_lossy(&detail).into_owned() })
            }
            Err(_) => Err(ProposeError::Unknown),
        }
    }

    /// Waits until every shard of this node has applied all that this one shows: whoever is told "it exists already" may
    /// go to any of them.
    pub async fn settle(&self) -> Result<(), ProposeError> {
        let mut index = ByteWriter::new();
        index.put_u64(self.shown.get());
        let (payload, deadline) = (index.freeze(), self.shard.now() + PROPOSE_TIMEOUT);
        let node = self.shard.node();
        let everyone = (0..self.shard.shards()).map(|shard| {
            let to = Address { node, shard: ShardId(shard) };
            self.shard.call(to, Target::Service(METADATA_SERVICE), WAIT, payload.clone(), deadline)
        });
        let answers = join_all(everyone).await;
        if answers.iter().all(Result::is_ok) { Ok(()) } else { Err(ProposeError::Unknown) }
    }

    pub(crate) fn leader(&self) -> Address {
        Address { node: self.shard.node(), shard: ShardId(0) }
    }

    pub(crate) fn set_report(&self, report: Rc<dyn Fn(String)>) {
        *self.report.borrow_mut() = report;
    }

    fn others(&self) -> impl Iterator<Item = Address> {
        let node = self.shard.node();
        (1..self.shard.shards()).map(move |shard| Address { node, shard: ShardId(shard) })
    }

    /// Shard 0: takes over the log it has read.
    pub(crate) fn load(&self, log: LogFile, entries: Vec<Entry>) {
        *self.log.borrow_mut() = Some(log);
        *self.entries.borrow_mut() = entries;
        self.is_loaded.set(true);
        let waiting = self.waiting_for_load.take();
        waiting.into_iter().for_each(|completer| completer.complete(()));
    }

    /// Shard 0: appends, applies everywhere. Runs as a task of the node, because a proposer that leaves must not stop it.
    async fn commit(self: Rc<Self>, service: ServiceId, bytes: Bytes) -> Result<Committed, String> {
        let turn = self.append_turn.acquire(1).await;
        let Some(mut log) = self.log.take() else { return Err("the node is starting".to_string()) };
        let appended = log.append(service, bytes).await;
        *self.log.borrow_mut() = Some(log);
        let entry = match appended {
            Ok(entry) => entry,
            Err(AppendError::Write(error)) => return Err(error.to_string()),
            Err(AppendError::Sync(error)) => {
                self.shard
                    .stop(format!("{error}: what the metadata log holds is not known; check the disk and start again"));
                return Err(error.to_string());
            }
        };
        self.entries.borrow_mut().push(entry.clone());
        drop(turn);
        let index = entry.index;
        let everywhere = join_all(self.others().map(|address| self.clone().send_entry(address, entry.clone())));
        self.clone().enqueue(entry.clone());
        everywhere.await;
        self.wait_applied(index).await;
        let answer = self.answers.borrow_mut().remove(&index).unwrap_or(Ok(Bytes::new()));
        Ok(Committed { index, answer })
    }

    async fn send_entry(self: Rc<Self>, to: Address, entry: Entry) {
        let payload = encode_entries(std::slice::from_ref(&entry));
        loop {
            let deadline = self.shard.now() + CALL_TIMEOUT;
            let target = Target::Service(METADATA_SERVICE);
            if self.shard.call(to, target, APPLY_ENTRY, payload.clone(), deadline).await.is_ok() {
                return;
            }
            self.shard.sleep(Duration::from_millis(10)).await;
        }
    }

    /// Takes an entry in any order, any number of times.
    pub(crate) fn enqueue(self: Rc<Self>, entry: Entry) {
        if entry.index > self.applied() {
            self.pending.borrow_mut().insert(entry.index, entry);
        }
        if !self.pumping.replace(true) {
            let shard = self.shard.clone();
            shard.spawn(Scope::Node, Class::Foreground, self.pump());
        }
    }

    async fn pump(self: Rc<Self>) {
        loop {
            let next = self.pending.borrow_mut().remove(&(self.applied() + 1));
            let Some(entry) = next else { break };
            let (added, removed) = self.apply(&entry);
            self.shown.set(entry.index);
            if self.running.get() {
                for group in removed {
                    self.clone().remove_group(group).await;
                }
                if let Some(group) = added {
                    self.clone().open_group(group).await;
                }
            }
            self.applied.set(entry.index);
            self.wake_waiting(entry.index);
        }
        self.pumping.set(false);
    }

    fn apply(&self, entry: &Entry) -> (Option<Group>, Vec<Group>) {
        let outcome = match self.shard.service(entry.service) {
            Some(service) => service.apply_metadata(entry.index, &entry.bytes),
            None => Err(Bytes::from(format!("no service {} in this binary", entry.service.0))),
        };
        let effect = outcome.as_ref().cloned().unwrap_or_default();
        if self.shard.id() == ShardId(0) && self.running.get() {
            self.answers.borrow_mut().insert(entry.index, outcome.map(|effect| effect.answer));
        }
        self.map.borrow_mut().apply(entry.index, entry.service, &effect)
    }

    fn wake_waiting(&self, applied: u64) {
        let later = self.waiting.borrow_mut().split_off(&(applied + 1));
        let now = std::mem::replace(&mut *self.waiting.borrow_mut(), later);
        now.into_values().flatten().for_each(|completer| completer.complete(()));
    }

    pub(crate) async fn wait_applied(&self, index: u64) {
        if self.applied() < index {
            let (completer, ticket) = self.shard.ticket();
            self.waiting.borrow_mut().entry(index).or_default().push(completer);
            let _ = ticket.await; // cancelled only when the shard stops
        }
    }

    /// Opens the tablets of a group that live on this shard, however long it takes (a full disk is emptied some day).
    pub(crate) async fn open_group(self: Rc<Self>, group: Group) {
        for descriptor in group.descriptors().filter(|d| d.id.shard(self.shard.shards()) == self.shard.id()) {
            let Some(service) = self.shard.service(group.service) else { continue };
            loop {
                match service.clone().open_tablet(descriptor).await {
                    Ok(tablet) => break self.shard.insert_tablet(descriptor.id, tablet),
                    Err(error) if self.running.get() => self.retry("open", descriptor.id, error).await,
                    // At start damage must not be waited for: the node says what is wrong and ends.
                    Err(error) => return self.shard.stop(format!("tablet {}: {error}", descriptor.id)),
                }
            }
        }
    }

    async fn remove_group(self: Rc<Self>, group: Group) {
        for descriptor in group.descriptors().filter(|d| d.id.shard(self.shard.shards()) == self.shard.id()) {
            self.shard.remove_tablet(descriptor.id);
            let Some(service) = self.shard.service(group.service) else { continue };
            while let Err(error) = service.clone().remove_tablet(descriptor.id).await {
                self.retry("remove", descriptor.id, error).await;
            }
        }
    }

    async fn retry(&self, what: &str, tablet: TabletId, error: String) {
        let report = self.report.borrow().clone();
        report(format!("cannot {what} tablet {tablet} ({error}); trying again"));
        self.shard.sleep(RETRY_PAUSE).await;
    }

    async fn fetch(&self, from: u64) -> Bytes {
        if !self.is_loaded.get() {
            let (completer, ticket) = self.shard.ticket();
            self.waiting_for_load.borrow_mut().push(completer);
            let _ = ticket.await; // cancelled only when the shard stops
        }
        let entries = self.entries.borrow();
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(entries.len());
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            bytes += entry.bytes.len() + 16;
            bytes <= FETCH_BYTES + ENTRY_BYTES_MAX
        };
        let piece: Vec<Entry> = entries[from..].iter().take_while(fits).cloned().collect();
        encode_entries(&piece)
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
}

impl Service for Metadata {
    fn id(&self) -> ServiceId {
        METADATA_SERVICE
    }

    fn name(&self) -> &'static str {
        "metadata"
    }

    fn apply_metadata(&self, _: u64, _: &Bytes) -> Result<MetadataEffect, Bytes> {
        Err(Bytes::from_static(b"the metadata service has no entries of its own yet"))
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
        Box::pin(async {})
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

    fn message(self: Rc<Self>, verb: Verb, payload: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(async move {
            let bad = |short: ShortInput| CallError::Failed(Bytes::from(short.to_string()));
            let mut input = ByteReader::new(payload);
            match verb {
                PROPOSE => {
                    let service = ServiceId(input.u16().map_err(bad)?);
                    let (completer, committed) = self.shard.ticket();
                    let (me, entry) = (self.clone(), input.rest());
                    self.shard.spawn(Scope::Node, Class::Foreground, async move {
                        completer.complete(me.commit(service, entry).await);
                    });
                    let committed = committed.await.map_err(|_| CallError::Gone)?;
                    committed.map(encode_committed).map_err(|detail| CallError::Failed(Bytes::from(detail)))
                }
                APPLY_ENTRY => {
                    for entry in decode_entries(&mut input).map_err(bad)? {
                        let index = entry.index;
                        self.clone().enqueue(entry);
                        self.wait_applied(index).await;
                    }
                    Ok(Bytes::new())
                }
                FETCH => Ok(self.fetch(input.u64().map_err(bad)?).await),
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
        })
    }

    fn command(self: Rc<Self>, words: Vec<String>, _: Rc<dyn Fn(String)>) -> LocalFuture<Result<String, String>> {
        Box::pin(async move { Err(format!("the metadata service knows no command {:?}", words.join(" "))) })
    }

    fn metrics(&self, out: &mut Vec<Metric>) {
        if self.shard.id() == ShardId(0) {
            let help = "index of the last applied entry of the metadata log";
            out.push(Metric::gauge("holon_metadata_applied_index", help, self.applied() as f64));
        }
    }

    fn status(&self) -> Vec<(String, String)> {
        vec![("metadata index".to_string(), self.applied().to_string())]
    }
}

fn encode_entries(entries: &[Entry]) -> Bytes {
    let mut out = ByteWriter::new();
    out.put_varint(entries.len() as u64);
    for entry in entries {
        out.put_varint(entry.index);
        out.put_u16(entry.service.0);
        out.put_prefixed(&entry.bytes);
    }
    out.freeze()
}

pub(crate) fn decode_entries(input: &mut ByteReader) -> Result<Vec<Entry>, ShortInput> {
    let count = input.count()?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(Entry { index: input.varint()?, service: ServiceId(input.u16()?), bytes: input.prefixed()? });
    }
    input.end()?;
    Ok(entries)
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
