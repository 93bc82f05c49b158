//! The storage engine as a service with nothing around it, so that the world can crash it.

use bytes::Bytes;
use holon_base::{ServiceId, TabletId};
use holon_kernel::metric::Metric;
use holon_kernel::*;
use holon_store::{CompactionOptions, Engine, EngineOptions, KeyPrefix, PurgePolicy, TabletOptions};
use std::cell::RefCell;
use std::rc::Rc;

pub const STORE: ServiceId = ServiceId(41);
pub const TABLETS: u32 = 3;
/// Bytes of a key that its partition shares with others, for the prefix filters.
pub const PREFIX_BYTES: usize = 2;

/// What a run chooses about its engines.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    pub memtable_bytes: usize,
    pub cache_bytes: usize,
    pub segment_bytes: u64,
    pub block_bytes: usize,
    pub scaling: i32,
    /// Tombstones older than this may be purged, seconds.
    pub purge_after_seconds: i64,
}

pub struct StoreService {
    shard: Rc<Shard>,
    options: StoreOptions,
    pub engine: RefCell<Option<Engine>>,
}

/// The services of the shards that run now, by shard.
pub type Registry = Rc<RefCell<Vec<Rc<StoreService>>>>;

impl StoreService {
    pub fn install(shard: &Rc<Shard>, options: StoreOptions, registry: &Registry) {
        let service = Rc::new(StoreService { shard: shard.clone(), options, engine: RefCell::new(None) });
        let mut registry = registry.borrow_mut();
        registry.truncate(usize::from(shard.id().0)); // the last incarnation's
        registry.push(service.clone());
        shard.add_service(service);
    }

    pub fn engine(&self) -> Option<Engine> {
        self.engine.borrow().clone()
    }

    fn engine_options(&self, boot: u32) -> EngineOptions {
        let options = self.options;
        let mut engine = EngineOptions::new(boot, self.shard.id().0, self.shard.shards());
        engine.memtable_bytes = options.memtable_bytes;
        engine.cache_bytes = options.cache_bytes;
        engine.segment_bytes = options.segment_bytes;
        engine.log_bytes_max = options.segment_bytes * 8;
        engine.periodic_sync_ms = 500;
        engine.tablet_options = Rc::new(move |_| TabletOptions {
            prefix: KeyPrefix::Fixed(PREFIX_BYTES),
            compaction: CompactionOptions {
                scaling: vec![options.scaling],
                level_zero_bytes: options.memtable_bytes as u64 / 2,
                table_bytes: options.memtable_bytes as u64 * 2,
                tombstone_ratio: 0.2,
            },
            block_bytes: options.block_bytes,
            purge: Rc::new(move |now| PurgePolicy {
                repaired: true,
                before_seconds: now - options.purge_after_seconds,
            }),
            ..TabletOptions::default()
        });
        engine
    }
}

struct NoTablet;

impl Tablet for NoTablet {
    fn apply(self: Rc<Self>, _: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(async { Err(CallError::NotHere) })
    }
    fn read(self: Rc<Self>, _: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(async { Err(CallError::NotHere) })
    }
    fn digest(self: Rc<Self>, _: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(async { Err(CallError::NotHere) })
    }
}

impl Service for StoreService {
    fn id(&self) -> ServiceId {
        STORE
    }

    fn name(&self) -> &'static str {
        "store"
    }

    fn apply_metadata(&self, _: u64, _: &Bytes) -> Result<MetadataEffect, Bytes> {
        Ok(MetadataEffect {
            create_tablets: Some(NewTablets { count: TABLETS, replication: Replication::Simple { factor: 1 } }),
            ..MetadataEffect::default()
        })
    }

    fn start(self: Rc<Self>, context: StartContext) -> LocalFuture<Result<(), String>> {
        Box::pin(async move {
            let opened = Engine::open(self.shard.clone(), self.engine_options(context.boot)).await;
            *self.engine.borrow_mut() = Some(opened.map_err(|error| error.to_string())?);
            Ok(())
        })
    }

    fn open_tablet(self: Rc<Self>, descriptor: TabletDescriptor) -> LocalFuture<Result<Rc<dyn Tablet>, String>> {
        Box::pin(async move {
            let engine = self.engine().ok_or("the engine is not open")?;
            engine.create_tablet(descriptor.id).await.map_err(|error| error.to_string())?;
            Ok(Rc::new(NoTablet) as Rc<dyn Tablet>)
        })
    }

    fn remove_tablet(self: Rc<Self>, _: TabletId) -> LocalFuture<Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn recover(self: Rc<Self>) -> LocalFuture<Result<(), String>> {
        Box::pin(async move {
            let engine = self.engine().ok_or("the engine is not open")?;
            engine.recover().await.map(drop).map_err(|error| error.to_string())
        })
    }

    fn recovered_everywhere(self: Rc<Self>) -> LocalFuture<Result<(), String>> {
        Box::pin(async move {
            if self.shard.id().0 != 0 {
                return Ok(());
            }
            let engine = self.engine().ok_or("the engine is not open")?;
            engine.retire_old_logs().await.map(drop).map_err(|error| error.to_string())
        })
    }

    fn stop(self: Rc<Self>) -> LocalFuture<()> {
        Box::pin(async move {
            if let Some(engine) = self.engine() {
                let _ = engine.close().await; // what it could not write is in the log
            }
        })
    }

    fn open_session(self: Rc<Self>, _: SessionContext) -> Box<dyn Session> {
        struct NoDoor;
        impl Session for NoDoor {
            fn handle(&mut self, _: &mut bytes::BytesMut) -> Flow {
                Flow::Close
            }
        }
        Box::new(NoDoor)
    }

    fn message(self: Rc<Self>, _: Address, _: Verb, _: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(async { Err(CallError::NotHere) })
    }

    fn command(self: Rc<Self>, _: Vec<String>, _: Rc<dyn Fn(String)>) -> LocalFuture<Result<String, String>> {
        Box::pin(async { Err("none".to_string()) })
    }

    fn metrics(&self, _: &mut Vec<Metric>) {}

    fn status(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}
