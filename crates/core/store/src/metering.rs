//! Admission of writes, and the numbers for metrics.

use crate::compaction::strategy;
use crate::error::StoreError;
use crate::inner::{Inner, stopped};
use crate::stats::{Stats, TabletStats};
use crate::table::Table;
use crate::tree::Tree;
use std::rc::Rc;

impl Inner {
    /// Writes are ahead of the disk: of the log, of flushing, or of compaction.
    pub fn must_wait(&self) -> bool {
        self.commits.queued_bytes() > self.options.queue_bytes_max
            || self.memtable_bytes.get() > self.options.memtable_bytes
            || self.behind.get()
    }

    /// To be called when the number of runs of a tree has changed.
    pub fn runs_changed(&self) {
        let limit = self.options.stall_runs;
        let is_compacted = |tree: &Rc<Tree>| tree.broken.borrow().is_none() && !tree.mending.get();
        let behind = |tree: &Rc<Tree>| tree.run_count() > limit && is_compacted(tree);
        self.behind.set(self.options.automatic_compaction && self.trees.borrow().values().any(behind));
        self.progressed.notify();
    }

    /// Waits until writes may go on, in the order in which they came. Only the first looks whenever something has progressed: if
    /// all did, each group of the log would cost a poll of every write that waits, and the work that they wait for would not get
    /// on for it.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`] when what is waited for cannot happen.
    pub async fn wait_for_room(&self) -> Result<(), StoreError> {
        if !self.must_wait() && !self.entry.is_held() {
            return Ok(());
        }
        let started = self.shard.now();
        let failures = self.flush_failures.get();
        // Whoever comes next looks after this one's write is queued: what is let in here goes on at once.
        let _entry = self.entry.enter(&self.shard).await?;
        while self.must_wait() {
            self.compaction_wanted.notify();
            if self.flush_failures.get() != failures
                && let Some(error) = self.background_error.borrow().clone()
            {
                return Err(error);
            }
            self.progressed.wait(&self.shard).await.map_err(|_| stopped())?;
        }
        let waited = self.shard.now().since(started);
        self.counters.stall_micros.add(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX));
        Ok(())
    }

    pub fn stats(&self) -> Stats {
        let counters = &self.counters;
        let (log_bytes, log_groups, log_syncs) = self.commits.figures();
        let cache = self.cache.borrow();
        let mut stats = Stats {
            writes: counters.writes.get(),
            written_user_bytes: counters.written_user_bytes.get(),
            log_bytes,
            log_groups,
            log_syncs,
            log_segments_created: self.segments.created.get(),
            log_segments_recycled: self.segments.recycled.get(),
            log_segments: self.segments.sealed_count() as u64,
            queued_bytes: self.commits.queued_bytes() as u64,
            flushes: counters.flushes.get(),
            flushed_bytes: counters.flushed_bytes.get(),
            compactions: counters.compactions.get(),
            compaction_read_bytes: counters.compaction_read_bytes.get(),
            compaction_written_bytes: counters.compaction_written_bytes.get(),
            trivial_moves: counters.trivial_moves.get(),
            tables_dropped_expired: counters.tables_dropped_expired.get(),
            tombstones_purged: counters.tombstones_purged.get(),
            cache_hits: cache.hits,
            cache_misses: cache.misses,
            cache_bytes: cache.used() as u64,
            bloom_skips: counters.bloom_skips.get(),
            gets: counters.gets.get(),
            scan_pages: counters.scan_pages.get(),
            rows_examined: counters.rows_examined.get(),
            stall_micros: counters.stall_micros.get(),
            background_errors: counters.background_errors.get(),
            damages: counters.damages.get(),
            mended: counters.mended.get(),
            damaged_tablets: 0,
            memtable_bytes: self.memtable_bytes.get() as u64,
            table_memory_bytes: 0,
            tablets: 0,
            tables: 0,
            table_bytes: 0,
        };
        for tree in self.trees.borrow().values() {
            stats.tablets += 1;
            stats.damaged_tablets += u64::from(tree.damages.any());
            let totals = tree.totals();
            stats.tables += totals.tables;
            stats.table_bytes += totals.bytes;
            stats.table_memory_bytes += totals.memory_bytes;
        }
        stats
    }
}

impl Tree {
    pub fn stats(&self) -> TabletStats {
        let version = self.version();
        let sum = |count: fn(&Table) -> u64| version.tables().map(|table| count(table)).sum::<u64>();
        TabletStats {
            memtable_bytes: self.memtables().iter().map(|memtable| memtable.bytes() as u64).sum(),
            memtables: self.memtables().len() as u64,
            tables: version.totals().tables,
            table_bytes: version.totals().bytes,
            table_rows: sum(|table| table.properties().rows),
            table_prefixes: sum(|table| table.properties().prefixes),
            table_raw_bytes: sum(|table| table.properties().raw_bytes),
            memtable_rows: self.memtables().iter().map(|memtable| memtable.rows() as u64).sum(),
            tombstones: sum(|table| table.properties().tombstones),
            compaction: self.compaction.get(),
            runs: self.runs_by_level(),
            flushed: self.flushed(),
        }
    }

    fn runs_by_level(&self) -> Vec<u64> {
        let levels = strategy::levels(&self.version(), &self.options().compaction);
        levels.iter().map(|runs| runs.len() as u64).collect()
    }
}
