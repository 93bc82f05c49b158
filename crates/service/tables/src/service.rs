//! The tables service of one shard: what the kernel starts, asks and stops.
//!
//! ```text
//!   metadata log ─▶ apply_metadata ─┬▶ SchemaMachine ─▶ Rc<Schema> ─▶ plans, system tables, events to clients
//!                                   └▶ Accounts
//!   door ─▶ open_session ─▶ front     administrator ─▶ command     other shards ─▶ message
//!                  Engine (one a shard) ◀─ tablets
//! ```
//!
//! It holds no logic of the language. Every shard of a node has one, and they share nothing: what one must tell the
//! others goes through the metadata log or as a message.

pub mod backup;
mod commands;
pub mod config;
mod holdings;
mod neighbours;
mod prepared;
mod report;
mod schema_change;
mod storage;
mod system_state;
mod truncate;
mod versions;
mod virtual_rows;

pub use config::{Authentication, STREAM_BYTES_PER_SECOND, TablesConfig};

use crate::error::CqlError;
use crate::front::CqlSession;
use crate::front::accounts::{ACCOUNT_ENTRY_TAG, Accounts};
use crate::front::connection::Connection;
use crate::front::metrics::RequestMetrics;
use crate::front::statements::Statements;
use crate::run::Context;
use crate::schema::{Schema, SchemaMachine};
use crate::system;
use crate::tablet::LocalTablets;
use crate::trace::TraceStore;
use bytes::Bytes;
use holon_base::{ServiceId, TabletId};
use holon_kernel::holding::{Amount, Holding, Load, Work};
use holon_kernel::metric::Metric;
use holon_kernel::{
    Address, CallError, Fill, LocalFuture, MetadataEffect, Pool, Service, Session, SessionContext, Shard, StartContext,
    Tablet, TabletDescriptor, Verb,
};
use holon_metadata::Metadata;
use holon_replica::fill::Throttle;
use holon_replica::{Coordinator, Cuts, Groups, HintStore, Repairs};
use holon_store::{Engine, Progress};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// Given once, stored in the metadata log.
pub const TABLES_SERVICE: ServiceId = ServiceId(1);

/// Between two lines about a long replay.
const RECOVERY_PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

pub struct TablesService {
    me: Weak<TablesService>,
    shard: Rc<Shard>,
    metadata: Rc<Metadata>,
    config: TablesConfig,
    machine: SchemaMachine,
    accounts: Accounts,
    stream_throttle: Throttle,
    statements: Statements,
    engine: RefCell<Option<Engine>>,
    tablets: LocalTablets,
    coordinator: Rc<Coordinator>,
    groups: Rc<Groups>,
    repairs: Rc<Repairs>,
    cuts: Rc<Cuts>,
    /// Backups that are at work on this shard, by name.
    backups: backup::AtWork,
    /// What clients were told of other nodes.
    neighbours: RefCell<neighbours::Neighbours>,
    /// What other nodes said last of their schema.
    schema_versions: RefCell<versions::Versions>,
    /// Made anew when the schema changes.
    context: RefCell<Rc<Context>>,
    connections: RefCell<BTreeMap<u64, Weak<Connection>>>,
    requests: Pool,
    /// A share of its own: who has a request waits for the other, so one share for both could block itself.
    answers: Pool,
    requests_in_flight: Cell<usize>,
    request_metrics: RequestMetrics,
    connections_opened: Cell<u64>,
    progress: RefCell<Rc<dyn Fn(String)>>,
    traces: TraceStore,
    /// Which start of the node this is.
    boot: Cell<u32>,
}

impl TablesService {
    /// Makes the service of a shard. It still has to be added to the shard.
    pub fn new(shard: Rc<Shard>, metadata: Rc<Metadata>, config: TablesConfig) -> Rc<TablesService> {
        let machine = SchemaMachine::new(system::keyspaces());
        let (accounts, tablets) = (Accounts::new(&shard), LocalTablets::default());
        let coordinator = Coordinator::new(&shard, config.data_center.as_str().into());
        let groups = Groups::new(&shard, TABLES_SERVICE, &coordinator);
        let repairs = Repairs::new(&shard, TABLES_SERVICE, &coordinator, &groups);
        let cuts = Cuts::new(&shard);
        let requests = shard.pool("requests", config.request_bytes / 2);
        let answers = shard.pool("answers", config.request_bytes / 2);
        Rc::new_cyclic(|me: &Weak<TablesService>| {
            let rows_of = me.clone();
            let context = Context {
                shard: shard.clone(),
                schema: machine.schema(),
                tablets: tablets.clone(),
                coordinator: coordinator.clone(),
                groups: groups.clone(),
                virtual_rows: Rc::new(move |keyspace, table| {
                    let (service, keyspace, table) = (rows_of.upgrade(), keyspace.to_string(), table.to_string());
                    Box::pin(async move {
                        let service = service.ok_or_else(|| CqlError::server("the node is stopping"))?;
                        service.virtual_rows(keyspace, table).await
                    })
                }),
                data_center: config.data_center.as_str().into(),
            };
            TablesService {
                me: me.clone(),
                shard,
                metadata,
                stream_throttle: Throttle::new(config.stream_bytes_per_second),
                config,
                machine,
                accounts,
                statements: Statements::default(),
                engine: RefCell::new(None),
                tablets,
                coordinator,
                groups,
                repairs,
                cuts,
                backups: backup::AtWork::default(),
                neighbours: RefCell::default(),
                schema_versions: RefCell::default(),
                context: RefCell::new(Rc::new(context)),
                connections: RefCell::default(),
                requests,
                answers,
                requests_in_flight: Cell::new(0),
                request_metrics: RequestMetrics::default(),
                connections_opened: Cell::new(0),
                progress: RefCell::new(Rc::new(|_| ())),
                traces: TraceStore::default(),
                boot: Cell::new(0),
            }
        })
    }

    pub fn shard(&self) -> &Rc<Shard> {
        &self.shard
    }

    pub fn config(&self) -> &TablesConfig {
        &self.config
    }

    pub fn schema(&self) -> Rc<Schema> {
        self.machine.schema()
    }

    /// `None` before the start and after the stop.
    pub fn engine(&self) -> Option<Engine> {
        self.engine.borrow().clone()
    }

    /// Whether this node has the data of a tablet.
    pub(crate) fn is_reader(&self, tablet: TabletId) -> bool {
        self.coordinator.is_reader(tablet)
    }

    pub(crate) fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    pub(crate) fn statements(&self) -> &Statements {
        &self.statements
    }

    pub(crate) fn context(&self) -> Rc<Context> {
        self.context.borrow().clone()
    }

    pub(crate) fn request_pool(&self) -> &Pool {
        &self.requests
    }

    pub(crate) fn answer_pool(&self) -> &Pool {
        &self.answers
    }

    pub(crate) fn requests_metrics(&self) -> &RequestMetrics {
        &self.request_metrics
    }

    pub(crate) fn traces(&self) -> &TraceStore {
        &self.traces
    }

    pub(crate) fn requests_in_flight(&self) -> usize {
        self.requests_in_flight.get()
    }

    pub(crate) fn request_started(&self) {
        self.requests_in_flight.set(self.requests_in_flight.get() + 1);
    }

    pub(crate) fn request_ended(&self) {
        self.requests_in_flight.set(self.requests_in_flight.get().saturating_sub(1));
    }

    pub(crate) fn connection_opened(&self, connection: &Rc<Connection>) {
        self.connections.borrow_mut().insert(connection.id, Rc::downgrade(connection));
        self.connections_opened.set(self.connections_opened.get() + 1);
    }

    pub(crate) fn connection_closed(&self, connection: &Connection) {
        self.connections.borrow_mut().remove(&connection.id);
    }

    /// The connections of this shard.
    pub(crate) fn connections(&self) -> Vec<Rc<Connection>> {
        self.connections.borrow().values().filter_map(Weak::upgrade).collect()
    }
}

impl Service for TablesService {
    fn id(&self) -> ServiceId {
        TABLES_SERVICE
    }

    fn name(&self) -> &'static str {
        "tables"
    }

    fn apply_metadata(&self, index: u64, entry: &Bytes) -> Result<MetadataEffect, Bytes> {
        if entry.first() == Some(&ACCOUNT_ENTRY_TAG) {
            let answer = self.accounts.apply(entry)?;
            return Ok(MetadataEffect { answer, ..MetadataEffect::default() });
        }
        let effect = self.machine.apply(index, entry)?;
        self.schema_changed(&effect.answer);
        Ok(effect)
    }

    fn metadata_snapshot(&self) -> Option<Bytes> {
        Some(self.encode_metadata())
    }

    fn restore_metadata(&self, snapshot: &Bytes) -> Result<(), String> {
        self.decode_metadata(snapshot).map_err(|short| format!("{}: {short}", self.name()))
    }

    fn start(self: Rc<Self>, context: StartContext) -> LocalFuture<Result<(), String>> {
        Box::pin(async move {
            self.boot.set(context.boot);
            *self.progress.borrow_mut() = context.progress;
            let opened = Engine::open(self.shard.clone(), self.engine_options(context.boot)).await;
            *self.engine.borrow_mut() = Some(opened.map_err(|error| error.to_string())?);
            Ok(())
        })
    }

    fn open_tablet(self: Rc<Self>, descriptor: TabletDescriptor) -> LocalFuture<Result<Rc<dyn Tablet>, String>> {
        Box::pin(async move { self.open_table_tablet(descriptor).await })
    }

    fn fill_tablet(self: Rc<Self>, fill: Fill, progress: Rc<dyn Fn(Amount)>) -> LocalFuture<Result<(), String>> {
        Box::pin(async move { self.fill_table_tablet(fill, &*progress).await })
    }

    fn remove_tablet(self: Rc<Self>, tablet: TabletId) -> LocalFuture<Result<(), String>> {
        Box::pin(async move {
            self.finish_batches_of(tablet).await?;
            self.leave_group_of(tablet).await?;
            self.tablets.remove(tablet);
            self.repairs.forget(tablet).await;
            let Some(engine) = self.engine() else { return Ok(()) };
            engine.drop_tablet(tablet).await.map_err(|error| error.to_string())
        })
    }

    fn recover(self: Rc<Self>) -> LocalFuture<Result<(), String>> {
        Box::pin(async move {
            let engine = self.engine().ok_or("the engine is not open")?;
            let report = engine.recover_and_tell(self.recovery_teller()).await.map_err(|error| error.to_string())?;
            if report.records > 0 {
                self.report(format!(
                    "replayed {} of {} records ({} bytes) from {} segments of {} logs",
                    report.replayed, report.records, report.replayed_bytes, report.segments, report.logs
                ));
            }
            Ok(())
        })
    }

    fn recovered_everywhere(self: Rc<Self>) -> LocalFuture<Result<(), String>> {
        Box::pin(async move {
            // Logs of all shards: they may name tablets that lived elsewhere before, so one shard retires them, when
            // all have read them.
            if self.shard.id().0 == 0 {
                let engine = self.engine().ok_or("the engine is not open")?;
                engine.retire_old_logs().await.map_err(|error| error.to_string())?;
            }
            self.remove_leftovers().await?;
            self.start_groups()?;
            self.finish_batches().await?;
            self.watch_neighbours();
            self.start_hints().await?;
            self.start_cuts()?;
            self.start_repairs().await
        })
    }

    fn hand_over(self: Rc<Self>) -> LocalFuture<()> {
        Box::pin(async move { self.groups.hand_over().await })
    }

    fn stop(self: Rc<Self>) -> LocalFuture<()> {
        Box::pin(async move {
            self.coordinator.set_hints(None);
            self.groups.stop();
            self.repairs.close();
            self.cuts.close();
            let engine = self.engine.borrow_mut().take();
            if let Some(engine) = engine
                && let Err(error) = engine.close().await
            {
                self.report(format!("the engine did not close cleanly ({error}); the next start replays its log"));
            }
        })
    }

    fn open_session(self: Rc<Self>, context: SessionContext) -> Box<dyn Session> {
        Box::new(CqlSession::new(self, context))
    }

    fn message(self: Rc<Self>, from: Address, verb: Verb, payload: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(async move {
            match verb {
                verb if Groups::takes(verb) => self.groups.answer(from, verb, payload).await,
                verb if Repairs::takes(verb) => self.repairs.answer(verb, payload).await,
                truncate::FORGET_HINTS => self.forget_hints(payload).await,
                verb if Cuts::takes(verb) => self.cuts.clone().answer(from.node, verb, payload).await,
                truncate::TRUNCATE => self.truncate_here(payload).await,
                versions::SCHEMA_VERSION => Ok(self.answer_schema_version()),
                virtual_rows::VIRTUAL_ROWS => self.answer_virtual_rows(payload),
                _ => self.prepared_message(verb, payload),
            }
        })
    }

    fn command(
        self: Rc<Self>,
        words: Vec<String>,
        progress: Rc<dyn Fn(String)>,
    ) -> LocalFuture<Result<String, String>> {
        Box::pin(async move { commands::run(self, words, progress).await })
    }

    fn metrics(&self, out: &mut Vec<Metric>) {
        report::metrics(self, out);
    }

    fn status(&self) -> Vec<(String, String)> {
        report::status(self)
    }

    fn holdings(&self) -> Vec<Holding> {
        holdings::holdings(self)
    }

    fn work(&self) -> Vec<Work> {
        holdings::work(self)
    }

    fn load(&self) -> Load {
        holdings::load(self)
    }

    fn tablet_amount(&self, tablet: TabletId) -> Option<Amount> {
        holdings::tablet_amount(self, tablet)
    }
}

impl TablesService {
    async fn start_hints(&self) -> Result<(), String> {
        let engine = self.engine().ok_or("the engine is not open")?;
        let me = self.me.clone();
        // Beyond this age what a hint brings could be data that was deleted and whose deletion is forgotten.
        let grace = move |tablet: TabletId| {
            let table = me.upgrade().and_then(|me| me.table_of_tablet(tablet));
            Duration::from_secs(table.map_or(0, |table| table.options.gc_grace_seconds.into()))
        };
        let hints = HintStore::open(&self.shard, &engine, Rc::new(grace)).await;
        let hints = hints.map_err(|error| format!("hints: {error}"))?;
        hints.run();
        self.coordinator.set_hints(Some(hints));
        Ok(())
    }

    fn start_cuts(&self) -> Result<(), String> {
        let engine = self.engine().ok_or("the engine is not open")?;
        let tablets = self.tablets.clone();
        self.cuts.open(&engine, Rc::new(move || tablets.all().into_iter().map(|tablet| tablet.id()).collect()));
        Ok(())
    }

    async fn start_repairs(&self) -> Result<(), String> {
        let engine = self.engine().ok_or("the engine is not open")?;
        self.repairs.open(&engine).await.map_err(|error| format!("marks of repairs: {error}"))?;
        let me = self.me.clone();
        let tablets = move || me.upgrade().map(|me| me.tablets_with_grace()).unwrap_or_default();
        self.repairs.run(self.config.repair_interval, Rc::new(tablets));
        if self.config.mend_damage {
            let me = self.me.clone();
            let tell = move |line: String| me.upgrade().into_iter().for_each(|me| me.report(line.clone()));
            self.repairs.mend_damage(Rc::new(tell));
        }
        Ok(())
    }

    /// Tells of a long replay once a second.
    fn recovery_teller(self: &Rc<Self>) -> impl FnMut(Progress) + use<> {
        let (service, mut told) = (self.clone(), self.shard.now());
        move |Progress { bytes_done, bytes_total }| {
            let now = service.shard.now();
            if now.since(told) >= RECOVERY_PROGRESS_INTERVAL {
                told = now;
                service.report(format!("replaying the log: {} of {} MiB", bytes_done >> 20, bytes_total >> 20));
            }
        }
    }

    /// For people: into the log of the node.
    fn report(&self, text: String) {
        let progress = self.progress.borrow().clone();
        progress(text);
    }
}
