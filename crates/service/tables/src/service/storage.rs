//! The tablets of this shard and the engine under them: how they are opened, stored, and finished after a crash.

use super::TablesService;
use crate::schema::{Durability, Table};
use crate::tablet::{self, TableTablet, TabletTable, batch_log, storage_options};
use crate::types::row_key;
use holon_base::{GroupId, TabletId};
use holon_kernel::holding::Amount;
use holon_kernel::{CallError, ClockState, Fill, Tablet, TabletDescriptor};
use holon_replica::fill::{self, FillError, Sources};
use holon_replica::own;
use holon_store::{Engine, EngineOptions, KeyRange, PurgePolicy, TabletOptions};
use std::rc::Rc;

fn grace_of(table: &Table) -> i64 {
    i64::from(table.options.gc_grace_seconds)
}

impl TablesService {
    pub(super) fn engine_options(&self, boot: u32) -> EngineOptions {
        let mut options = EngineOptions::new(boot, self.shard.id().0, self.shard.shards());
        options.memtable_bytes = self.config.memtable_bytes;
        options.cache_bytes = self.config.cache_bytes;
        options.log_bytes_max = self.config.log_bytes_max;
        options.segment_bytes = self.config.log_segment_bytes;
        options.automatic_compaction = self.config.automatic_compaction;
        let me = self.me.clone();
        options.tell = Rc::new(move |line| {
            if let Some(me) = me.upgrade() {
                me.report(line);
            }
        });
        let me = self.me.clone();
        options.tablet_options =
            Rc::new(move |tablet| me.upgrade().map(|me| me.tablet_options(tablet)).unwrap_or_default());
        options
    }

    /// How a tablet is stored. The schema is asked at each compaction, so that a changed `gc_grace_seconds` is seen.
    pub(super) fn tablet_options(&self, tablet: TabletId) -> TabletOptions {
        if own::is_of_no_map(tablet) || tablet.of_shadow().is_some() {
            return own::tablet_options();
        }
        let (me, group) = (self.me.clone(), tablet.group());
        let purge = move |now_seconds: i64| {
            let Some(me) = me.upgrade() else { return PurgePolicy::NEVER };
            let table = me.schema().table_by_group(group).cloned();
            match table {
                Some(table) => me.purge_policy(tablet, now_seconds.saturating_sub(grace_of(&table))),
                None => PurgePolicy::NEVER,
            }
        };
        let mut options =
            TabletOptions { prefix: row_key::PARTITION_PREFIX, purge: Rc::new(purge), ..TabletOptions::default() };
        options.has_copies = !self.coordinator.is_alone(tablet);
        if let Some(table) = self.schema().table_by_group(group) {
            storage_options::apply(&table.options, &mut options);
        }
        options
    }

    /// Which deletions this replica may forget, of those from before a second.
    fn purge_policy(&self, tablet: TabletId, before_seconds: i64) -> PurgePolicy {
        if self.coordinator.is_alone(tablet) {
            // Nobody else may bring back what was deleted.
            return PurgePolicy { repaired: true, before_seconds };
        }
        if let ClockState::Refused(_) | ClockState::Doubted = self.shard.clock().state(self.shard.wall()) {
            return PurgePolicy::NEVER; // by a clock that is ahead hints that are still on their way would seem to be over
        }
        match self.repairs.mark(tablet) {
            Some(mark) => PurgePolicy { repaired: true, before_seconds: before_seconds.min(mark) },
            None => PurgePolicy::NEVER,
        }
    }

    /// The tablets of this shard, with the seconds that their deletions are kept at least.
    pub(super) fn tablets_with_grace(&self) -> Vec<(TabletId, i64)> {
        let grace = |tablet: TabletId| self.table_of_tablet(tablet).map(|table| grace_of(&table));
        let ids = self.tablets.all().into_iter().map(|tablet| tablet.id());
        ids.filter_map(|id| Some((id, grace(id)?))).collect()
    }

    pub(super) async fn open_table_tablet(&self, descriptor: TabletDescriptor) -> Result<Rc<dyn Tablet>, String> {
        let engine = self.engine().ok_or("the engine is not open")?;
        engine.create_tablet(descriptor.id).await.map_err(|error| error.to_string())?;
        let tablet = self.tablet_over(engine, descriptor.id);
        self.tablets.insert(tablet.clone());
        Ok(tablet)
    }

    fn tablet_over(&self, engine: Engine, id: TabletId) -> Rc<TableTablet> {
        let (me, group) = (self.me.clone(), id.group());
        let table = Rc::new(move || me.upgrade()?.table_of(group));
        TableTablet::new(id, self.shard.clone(), engine, self.coordinator.clone(), table)
    }

    /// Copies what other nodes have of a tablet.
    pub(super) async fn fill_table_tablet(&self, fill: Fill, progress: &dyn Fn(Amount)) -> Result<(), String> {
        let engine = self.engine().ok_or("the engine is not open")?;
        let id = fill.tablet.id;
        if fill.sources.is_empty() && fill.instead_of.is_none() {
            return Ok(()); // nobody has it any more
        }
        let whole = || vec![KeyRange::all()];
        let tell = |done: fill::FillProgress| progress(Amount { rows: done.rows, bytes: done.bytes });
        let throttle = Some(&self.stream_throttle);
        let mut filled = Err(FillError::Sources(CallError::Gone));
        if let Some(source) = fill.instead_of {
            // What one replica has, all of it, takes less than what several have together.
            filled =
                fill::fill(&self.shard, &engine, id, whole(), Sources { nodes: &[source], enough: 1, throttle }, tell)
                    .await;
        }
        if filled.is_err() && !fill.sources.is_empty() {
            filled = fill::fill(
                &self.shard,
                &engine,
                id,
                whole(),
                Sources { nodes: &fill.sources, enough: fill.enough, throttle },
                tell,
            )
            .await;
        }
        filled.map_err(|error| error.to_string())?;
        if let Some(tablet) = self.tablets.get(id) {
            // Batches that began there and are not seen through have come with the rows.
            batch_log::finish_later(&tablet);
        }
        Ok(())
    }

    /// A tablet is about to go. Batches of which only this replica knows must be seen through before: a part of them may have
    /// been seen, and repaired to others without the rest.
    pub(super) async fn finish_batches_of(&self, id: TabletId) -> Result<(), String> {
        // After a restart it is not open any more, but its data is there.
        let left = || self.engine().filter(|engine| engine.has_tablet(id));
        let tablet = self.tablets.get(id).or_else(|| left().map(|engine| self.tablet_over(engine, id)));
        let Some(tablet) = tablet else { return Ok(()) };
        let dropped = self.shard.map().is_none_or(|map| map.replicas(id).is_none());
        match batch_log::replay(&tablet).await {
            Err(error) if !dropped => Err(format!("batches that began in it are not finished yet: {error}")),
            _ => Ok(()),
        }
    }

    /// Members of consensus groups may vote and lead from now on.
    pub(super) fn start_groups(&self) -> Result<(), String> {
        let engine = self.engine().ok_or("the engine is not open")?;
        self.groups.start(&engine, tablet::serve_as_leader(self.tablets.clone(), self.coordinator.clone()));
        Ok(())
    }

    /// A tablet is about to go. What its replica promised to the tablet's group must not be forgotten while it counts.
    pub(super) async fn leave_group_of(&self, tablet: TabletId) -> Result<(), String> {
        let is_there = self.shard.map().is_some_and(|map| map.replicas(tablet).is_some());
        if is_there {
            self.groups.leave(tablet).await?;
        }
        self.groups.remove(tablet).await.map_err(|error| error.to_string())
    }

    /// What is on disk of tables that were dropped while this node was down, or while their tablets were leaving it.
    pub(super) async fn remove_leftovers(&self) -> Result<(), String> {
        let (Some(engine), Some(map)) = (self.engine(), self.shard.map()) else { return Ok(()) };
        let is_left = |id: &TabletId| {
            let of = id.of_shadow().unwrap_or(*id);
            !own::is_of_no_map(of) && map.replicas(of).is_none()
        };
        for tablet in engine.tablets().into_iter().filter(is_left) {
            engine.drop_tablet(tablet).await.map_err(|error| format!("what is left of tablet {tablet}: {error}"))?;
        }
        Ok(())
    }

    pub(super) fn table_of_tablet(&self, tablet: TabletId) -> Option<Rc<Table>> {
        self.schema().table_by_group(tablet.group()).cloned()
    }

    /// What a tablet has to know of its table at this moment.
    fn table_of(&self, group: GroupId) -> Option<TabletTable> {
        let schema = self.schema();
        let table = schema.table_by_group(group)?.clone();
        let durability = match schema.keyspace(&table.keyspace)?.durability {
            Durability::Sync => holon_store::Durability::Sync,
            Durability::Periodic => holon_store::Durability::Periodic,
        };
        Some(TabletTable { table, durability })
    }

    /// Batches that were cut off by a crash are finished before any door opens, by a node alone.
    pub(super) async fn finish_batches(&self) -> Result<(), String> {
        let mut finished = 0;
        let has_others = self.shard.map().is_some_and(|map| map.nodes().len() > 1);
        for tablet in self.tablets.all() {
            if has_others || !self.coordinator.is_alone(tablet.id()) {
                // Parts of it live on other nodes, also if this is the only one with the tablet in which it began: they may be
                // starting too, or be away for long.
                batch_log::finish_later(&tablet);
                continue;
            }
            let replayed = batch_log::replay(&tablet).await;
            finished += replayed.map_err(|error| format!("batches of tablet {}: {error}", tablet.id()))?;
        }
        if finished > 0 {
            self.report(format!("finished {finished} batches that were cut off"));
        }
        Ok(())
    }
}
