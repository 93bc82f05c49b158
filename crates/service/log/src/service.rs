//! The log service of one shard: what the kernel starts, asks and stops.
//!
//! ```text
//!   metadata log ─▶ apply_metadata ─▶ Topics          door ─▶ open_session ─▶ front
//!   tablets ─▶ LogStore (one a shard) ◀─ calls of other shards
//! ```
//!
//! Every shard of a node has one, and they share nothing.

use crate::calls::{self, PartitionError, Reply, Request};
use crate::configs::TopicSettings;
use crate::coordinating::{self, Coordinating, TRANSACTIONS_TOPIC};
use crate::counts::Counts;
use crate::front::sessions::Sessions;
use crate::front::{self, END_OFFSETS, GROUP, KafkaSession, TRANSACTION};
use crate::groups;
use crate::report;
use crate::snapshots::SNAPSHOT_BYTES;
use crate::store::{LogStore, PartitionOptions, Retention, StoreOptions};
use crate::tablet::PartitionTablet;
use crate::topics::{Topic, TopicChange, Topics};
use crate::txns;
use crate::watches::{WATCH, Watches};
use bytes::Bytes;
use holon_base::{GroupId, Instant, NodeId, ServiceId, TabletId};
use holon_kernel::holding::{Holding, Load};
use holon_kernel::metric::Metric;
use holon_kernel::{
    Address, CallError, Class, LocalFuture, MetadataEffect, Scope, Service, Session, SessionContext, Shard,
    StartContext, Tablet, TabletDescriptor, Verb,
};
use holon_metadata::Metadata;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// Given once, stored in the metadata log.
pub const LOG_SERVICE: ServiceId = ServiceId(2);

/// Between looks for records that are too old (`log.retention.check.interval.ms`).
const RETENTION_INTERVAL: Duration = Duration::from_secs(300);

/// Between looks whether this node has its number, and for how long a client waits for that.
const NUMBER_LOOK: Duration = Duration::from_millis(10);
const NUMBER_RETRY: Duration = Duration::from_millis(250);
const NUMBER_WAIT: Duration = Duration::from_secs(10);

/// What a node decides about its log, for each shard.
#[derive(Clone, Debug)]
pub struct LogConfig {
    pub wal_segment_bytes: u64,
    pub wal_bytes_max: u64,
    pub queue_bytes_max: usize,
    pub unwritten_bytes_max: usize,
    pub kept_bytes_max: usize,
    /// Of fetch sessions.
    pub session_bytes_max: usize,
    /// What a coordinator writes before a snapshot takes its place, bytes.
    pub group_snapshot_bytes: usize,
    /// `producer.id.expiration.ms`.
    pub producer_expiration: Duration,
    /// Of a topic that is made by somebody who does not say how many (`num.partitions`).
    pub partitions_default: u32,
    /// Whether a topic is made because somebody asks for it (`auto.create.topics.enable`).
    pub auto_create_topics: bool,
    /// Where the node keeps its logs, for people.
    pub directory: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        let store = StoreOptions::new(0);
        LogConfig {
            wal_segment_bytes: store.wal_segment_bytes,
            wal_bytes_max: store.wal_bytes_max,
            queue_bytes_max: store.queue_bytes_max,
            unwritten_bytes_max: store.unwritten_bytes_max,
            kept_bytes_max: store.kept_bytes_max,
            session_bytes_max: 16 << 20,
            group_snapshot_bytes: SNAPSHOT_BYTES,
            producer_expiration: PartitionOptions::default().producer_expiration,
            partitions_default: 1,
            auto_create_topics: true,
            directory: "log".to_string(),
        }
    }
}

pub struct LogService {
    me: Weak<LogService>,
    shard: Rc<Shard>,
    metadata: Rc<Metadata>,
    config: LogConfig,
    topics: RefCell<Topics>,
    /// Topics by their ids; made when somebody asks, and anew when topics change.
    ids: RefCell<Option<BTreeMap<u128, GroupId>>>,
    /// Of topics, by group; what is not here is made of the topic.
    settings: RefCell<BTreeMap<u64, TopicSettings>>,
    store: RefCell<Option<LogStore>>,
    recovered: Cell<bool>,
    /// Partitions of this shard that were opened before the logs were read.
    to_create: RefCell<BTreeSet<TabletId>>,
    progress: RefCell<Rc<dyn Fn(String)>>,
    /// Ids for producers that this shard may give.
    producer_ids: RefCell<Range<u64>>,
    /// Groups that this shard coordinates, by the partition that keeps them.
    coordinating: RefCell<BTreeMap<TabletId, Rc<Coordinating<groups::Coordinator>>>>,
    /// Transactional ids, as those.
    transactions: RefCell<BTreeMap<TabletId, Rc<Coordinating<txns::Coordinator>>>>,
    sessions: RefCell<Sessions>,
    watches: RefCell<Watches>,
    /// Grows with each change of the topics.
    topics_version: Cell<u64>,
    counts: Counts,
    lags: RefCell<report::Lags>,
    refused_requests: Cell<u64>,
    refused_last: RefCell<Option<String>>,
}

impl LogService {
    /// Makes the service of a shard. It still has to be added to the shard.
    pub fn new(shard: Rc<Shard>, metadata: Rc<Metadata>, config: LogConfig) -> Rc<LogService> {
        let sessions = Sessions::new(config.session_bytes_max, shard.id(), shard.shards());
        Rc::new_cyclic(|me| LogService {
            me: me.clone(),
            shard,
            metadata,
            config,
            sessions: RefCell::new(sessions),
            watches: RefCell::default(),
            topics_version: Cell::new(0),
            counts: Counts::default(),
            lags: RefCell::default(),
            topics: RefCell::default(),
            ids: RefCell::default(),
            settings: RefCell::default(),
            store: RefCell::new(None),
            recovered: Cell::new(false),
            to_create: RefCell::default(),
            progress: RefCell::new(Rc::new(|_| ())),
            producer_ids: RefCell::new(0..0),
            coordinating: RefCell::default(),
            transactions: RefCell::default(),
            refused_requests: Cell::new(0),
            refused_last: RefCell::new(None),
        })
    }

    pub fn shard(&self) -> &Rc<Shard> {
        &self.shard
    }

    pub fn metadata(&self) -> &Rc<Metadata> {
        &self.metadata
    }

    pub(crate) fn config(&self) -> &LogConfig {
        &self.config
    }

    pub(crate) fn me(&self) -> Option<Rc<LogService>> {
        self.me.upgrade()
    }

    pub(crate) fn group_snapshot_bytes(&self) -> usize {
        self.config.group_snapshot_bytes
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How far groups were behind a while ago.
    pub(crate) fn lags(&self) -> &RefCell<report::Lags> {
        &self.lags
    }

    pub(crate) fn sessions(&self) -> &RefCell<Sessions> {
        &self.sessions
    }

    pub(crate) fn watches(&self) -> &RefCell<Watches> {
        &self.watches
    }

    pub(crate) fn topics_version(&self) -> u64 {
        self.topics_version.get()
    }

    /// Coordinators that are at work on this shard.
    pub(crate) fn coordinators(&self) -> Vec<Rc<Coordinating<groups::Coordinator>>> {
        self.coordinating.borrow().values().cloned().collect()
    }

    /// How many requests ended their connection, and the last of them.
    pub(crate) fn refused(&self) -> (u64, Option<String>) {
        (self.refused_requests.get(), self.refused_last.borrow().clone())
    }

    pub(crate) fn cluster_id(&self) -> u128 {
        self.metadata.cluster_id()
    }

    /// Whether clients are to ask this node for a partition.
    pub(crate) fn is_leader(&self, tablet: TabletId) -> bool {
        self.leader_of(tablet) == Some(self.shard.node())
    }

    /// The node that clients are to ask for a partition; `None`: nobody has it.
    pub(crate) fn leader_of(&self, tablet: TabletId) -> Option<NodeId> {
        self.shard.replicas(tablet).readers.first().copied()
    }

    /// The shard that has a partition, or the coordinator that keeps its state in it.
    pub(crate) fn place_of(&self, tablet: TabletId) -> Option<Address> {
        let node = self.leader_of(tablet)?;
        if node == self.shard.node() {
            return Some(self.shard.locate(tablet));
        }
        let nodes = self.shard.map()?.nodes();
        let record = nodes.iter().find(|record| record.node == node)?;
        Some(Address { node, shard: tablet.shard(record.shards.max(1)) })
    }

    /// The coordinator of a partition of groups; `None`: it is not on this shard.
    pub(crate) fn coordinating(&self, tablet: TabletId) -> Option<Rc<Coordinating<groups::Coordinator>>> {
        let me = self.me.upgrade()?;
        if !self.store().is_some_and(|store| store.has(tablet)) {
            return None;
        }
        let mut coordinating = self.coordinating.borrow_mut();
        Some(coordinating.entry(tablet).or_insert_with(|| Coordinating::new(&me, tablet)).clone())
    }

    /// The coordinator of a partition of transactional ids; `None`: it is not on this shard.
    pub(crate) fn transactions(&self, tablet: TabletId) -> Option<Rc<Coordinating<txns::Coordinator>>> {
        let me = self.me.upgrade()?;
        if !self.store().is_some_and(|store| store.has(tablet)) {
            return None;
        }
        let mut transactions = self.transactions.borrow_mut();
        Some(transactions.entry(tablet).or_insert_with(|| Coordinating::new(&me, tablet)).clone())
    }

    /// Transactions that were decided when this node stopped are brought to their end, and those that are out of time.
    fn go_on_with_transactions(&self) {
        let Some(topic) = self.with_topics(|topics| topics.get(TRANSACTIONS_TOPIC).cloned()) else { return };
        let here = (0..topic.partitions).filter_map(|index| topic.tablet(index as i32));
        for coordinating in here.filter_map(|tablet| self.transactions(tablet)) {
            let me = self.me.clone();
            self.shard.spawn(Scope::Node, Class::Background, async move {
                if let (Err(error), Some(service)) = (coordinating.load().await, me.upgrade()) {
                    service.tell(format!("transactions wait until somebody asks for them: {error}"));
                }
            });
        }
    }

    /// A node is numbered when it starts for the first time; before that it does not know what to call itself.
    pub(crate) async fn wait_for_number(&self) {
        let give_up = self.shard.now() + NUMBER_WAIT;
        while self.with_topics(|topics| topics.broker(self.shard.node())).is_none() && self.shard.now() < give_up {
            self.shard.sleep(NUMBER_LOOK).await;
        }
    }

    fn take_number(self: &Rc<Self>) {
        let service = self.clone();
        self.shard.spawn(Scope::Node, Class::Foreground, async move {
            let node = service.shard.node();
            while service.with_topics(|topics| topics.broker(node)).is_none() {
                let proposed = service.metadata.propose(LOG_SERVICE, TopicChange::Number { node }.encode()).await;
                service.shard.sleep(if proposed.is_ok() { NUMBER_LOOK } else { NUMBER_RETRY }).await;
            }
        });
    }

    pub(crate) fn take_producer_id(&self) -> Option<u64> {
        self.producer_ids.borrow_mut().next()
    }

    pub(crate) fn set_producer_ids(&self, ids: Range<u64>) {
        *self.producer_ids.borrow_mut() = ids;
    }

    /// A connection ends because of what came over it. Counted, not told: whoever scans ports would fill the log.
    pub(crate) fn refused_request(&self, reason: &str) {
        self.refused_requests.set(self.refused_requests.get() + 1);
        *self.refused_last.borrow_mut() = Some(reason.to_string());
    }

    /// `None` before the start and after the stop.
    pub fn store(&self) -> Option<LogStore> {
        self.store.borrow().clone()
    }

    pub fn with_topics<T>(&self, look: impl FnOnce(&Topics) -> T) -> T {
        look(&self.topics.borrow())
    }

    pub(crate) fn topic_of_id(&self, id: u128) -> Option<Rc<Topic>> {
        let topics = self.topics.borrow();
        let mut ids = self.ids.borrow_mut();
        let all = || topics.all().map(|topic| (Topics::id_of(self.cluster_id(), topic.group), topic.group)).collect();
        let group = *ids.get_or_insert_with(all).get(&id)?;
        topics.of_group(group).cloned()
    }

    fn topics_changed(&self) {
        self.topics_version.set(self.topics_version.get() + 1);
        self.settings.borrow_mut().clear();
        *self.ids.borrow_mut() = None;
    }

    pub(crate) fn settings_of(&self, tablet: TabletId) -> TopicSettings {
        let group = tablet.group();
        let make = || {
            let topics = self.topics.borrow();
            topics
                .of_group(group)
                .map_or_else(|| TopicSettings::of(&BTreeMap::new()), |topic| TopicSettings::of_topic(topic))
        };
        *self.settings.borrow_mut().entry(group.0).or_insert_with(make)
    }

    /// Asks for a partition whoever leads it, on whatever shard of which node that is.
    ///
    /// # Errors
    /// Those of the partition; [`PartitionError::Unreachable`].
    pub async fn ask(&self, tablet: TabletId, request: Request, deadline: Instant) -> Result<Reply, PartitionError> {
        if self.place_of(tablet) == Some(self.shard.address()) && self.store().is_some_and(|store| store.has(tablet)) {
            return self.carry_out(tablet, request).await;
        }
        let verb = match request {
            Request::Produce { .. } | Request::MoveStart { .. } | Request::EndTransaction { .. } => Verb::APPLY,
            _ => Verb::READ,
        };
        let node = self.leader_of(tablet).ok_or_else(|| PartitionError::Unreachable("no node has it".to_string()))?;
        let (epoch, payload) = (self.shard.map_epoch(), request.encode());
        match self.shard.call_replica(node, tablet, epoch, verb, payload, deadline).await {
            Ok(answer) => calls::decode(answer),
            Err(error) => Err(PartitionError::Unreachable(error.to_string())),
        }
    }

    fn store_options(&self, boot: u32) -> StoreOptions {
        let config = &self.config;
        let (me, expiration) = (self.me.clone(), config.producer_expiration);
        let (told, moves) = (self.me.clone(), self.me.clone());
        let moved = move |tablet| {
            moves.upgrade().into_iter().for_each(|service| service.watches.borrow_mut().moved(tablet));
        };
        StoreOptions {
            wal_segment_bytes: config.wal_segment_bytes,
            wal_bytes_max: config.wal_bytes_max,
            queue_bytes_max: config.queue_bytes_max,
            unwritten_bytes_max: config.unwritten_bytes_max,
            kept_bytes_max: config.kept_bytes_max,
            partition: Rc::new(move |tablet| {
                let settings = me.upgrade().map(|service| service.settings_of(tablet));
                settings.map_or_else(PartitionOptions::default, |settings| settings.partition(expiration))
            }),
            moved: Rc::new(moved),
            tell: Rc::new(move |line| told.upgrade().into_iter().for_each(|service| service.tell(line.clone()))),
            ..StoreOptions::new(boot)
        }
    }

    fn tell(&self, line: String) {
        let progress = self.progress.borrow().clone();
        progress(line);
    }

    async fn open(&self, descriptor: TabletDescriptor) -> Result<Rc<dyn Tablet>, String> {
        let store = self.store().ok_or("the log is not open")?;
        if self.recovered.get() {
            store.create(descriptor.id, 0).await.map_err(|error| error.to_string())?;
        } else {
            self.to_create.borrow_mut().insert(descriptor.id);
        }
        Ok(Rc::new(PartitionTablet { service: self.me.clone(), id: descriptor.id }))
    }

    /// Looks again and again for what is too old, or too much, until the shard stops.
    fn keep_what_topics_keep(self: &Rc<Self>) {
        let service = self.clone();
        self.shard.spawn(Scope::Node, Class::Background, async move {
            loop {
                service.shard.sleep(RETENTION_INTERVAL).await;
                let Some(store) = service.store() else { return };
                for partition in store.partitions() {
                    let settings = service.settings_of(partition);
                    let now_ms = service.shard.wall().micros() / 1000;
                    let before_ms = settings.retention_ms.map(|age_ms| now_ms.saturating_sub(age_ms));
                    let keep = Retention { before_ms, bytes: settings.retention_bytes };
                    if keep != Retention::default()
                        && let Err(error) = store.retain(partition, keep).await
                    {
                        service.tell(format!("old records of partition {partition} stay: {error}"));
                    }
                }
            }
        });
    }

    async fn read_logs(&self) -> Result<(), String> {
        let store = self.store().ok_or("the log is not open")?;
        let report = store.recover().await.map_err(|error| error.to_string())?;
        if report.replayed > 0 {
            self.tell(format!("replayed {} of {} records from {} logs", report.replayed, report.records, report.logs));
        }
        self.recovered.set(true);
        let to_create = self.to_create.take();
        // What the map does not place here any more was removed while this node was down.
        for gone in store.partitions().into_iter().filter(|partition| !to_create.contains(partition)) {
            store.remove(gone).await.map_err(|error| error.to_string())?;
        }
        for partition in to_create {
            store.create(partition, 0).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

impl Service for LogService {
    fn id(&self) -> ServiceId {
        LOG_SERVICE
    }

    fn name(&self) -> &'static str {
        "log"
    }

    fn apply_metadata(&self, index: u64, entry: &Bytes) -> Result<MetadataEffect, Bytes> {
        let effect = self.topics.borrow_mut().apply(index, entry)?;
        self.topics_changed();
        Ok(effect)
    }

    fn metadata_snapshot(&self) -> Option<Bytes> {
        Some(self.topics.borrow().snapshot())
    }

    fn restore_metadata(&self, snapshot: &Bytes) -> Result<(), String> {
        let topics = Topics::restore(snapshot).map_err(|short| format!("{}: {short}", self.name()))?;
        *self.topics.borrow_mut() = topics;
        self.topics_changed();
        Ok(())
    }

    fn start(self: Rc<Self>, context: StartContext) -> LocalFuture<Result<(), String>> {
        Box::pin(async move {
            *self.progress.borrow_mut() = context.progress;
            let opened = LogStore::open(self.shard.clone(), self.store_options(context.boot)).await;
            *self.store.borrow_mut() = Some(opened.map_err(|error| error.to_string())?);
            Ok(())
        })
    }

    fn open_tablet(self: Rc<Self>, descriptor: TabletDescriptor) -> LocalFuture<Result<Rc<dyn Tablet>, String>> {
        Box::pin(async move { self.open(descriptor).await })
    }

    fn remove_tablet(self: Rc<Self>, tablet: TabletId) -> LocalFuture<Result<(), String>> {
        Box::pin(async move {
            self.to_create.borrow_mut().remove(&tablet);
            self.coordinating.borrow_mut().remove(&tablet);
            self.transactions.borrow_mut().remove(&tablet);
            let Some(store) = self.store().filter(|_| self.recovered.get()) else { return Ok(()) };
            store.remove(tablet).await.map_err(|error| error.to_string())
        })
    }

    fn recover(self: Rc<Self>) -> LocalFuture<Result<(), String>> {
        Box::pin(async move { self.read_logs().await })
    }

    fn recovered_everywhere(self: Rc<Self>) -> LocalFuture<Result<(), String>> {
        Box::pin(async move {
            self.keep_what_topics_keep();
            report::keep_lags(&self);
            self.go_on_with_transactions();
            // Logs of all shards: they may name partitions that lived elsewhere before, so one shard retires them, when all
            // have read them.
            if self.shard.id().0 != 0 {
                return Ok(());
            }
            self.take_number();
            let store = self.store().ok_or("the log is not open")?;
            store.retire_old_logs().await.map_err(|error| error.to_string())
        })
    }

    fn stop(self: Rc<Self>) -> LocalFuture<()> {
        Box::pin(async move {
            let store = self.store.borrow_mut().take();
            if let Some(store) = store
                && let Err(error) = store.close().await
            {
                self.tell(format!("the log did not close cleanly ({error}); the next start replays it"));
            }
        })
    }

    fn open_session(self: Rc<Self>, context: SessionContext) -> Box<dyn Session> {
        Box::new(KafkaSession::new(self, context))
    }

    fn message(self: Rc<Self>, from: Address, verb: Verb, payload: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(async move {
            match verb {
                GROUP | TRANSACTION => front::answer_forwarded(&self, payload).await.ok_or(CallError::NotHere),
                END_OFFSETS => {
                    let (tablet, producer, commit) =
                        coordinating::decode_end(payload).map_err(|_| CallError::NotHere)?;
                    let is_done = coordinating::end_offsets(&self, tablet, producer, commit).await;
                    Ok(Bytes::copy_from_slice(&[u8::from(is_done)]))
                }
                WATCH if from.node == self.shard.node() => self.answer_watch(from, payload).await,
                _ => Err(CallError::NotHere),
            }
        })
    }

    fn command(self: Rc<Self>, _: Vec<String>, _: Rc<dyn Fn(String)>) -> LocalFuture<Result<String, String>> {
        let instead = "the log is worked on through its door: see `holon topic --help` and `holon group --help`";
        Box::pin(async move { Err(instead.to_string()) })
    }

    fn metrics(&self, out: &mut Vec<Metric>) {
        report::metrics(self, out);
    }

    fn status(&self) -> Vec<(String, String)> {
        report::status(self)
    }

    fn holdings(&self) -> Vec<Holding> {
        report::holdings(self)
    }

    fn load(&self) -> Load {
        report::load(self)
    }
}
