//! Figures for metrics and for the status page.

use super::TablesService;
use holon_kernel::metric::Metric;

pub(super) fn metrics(service: &TablesService, out: &mut Vec<Metric>) {
    service.request_metrics.collect(out);
    let counter = |name, help, value| Metric::counter(name, help, value);
    let gauge = |name, help, value: usize| Metric::gauge(name, help, value as f64);
    let connections = service.connections.borrow().len();
    out.push(gauge("holon_cql_connections", "open connections of CQL clients", connections));
    let opened = service.connections_opened.get();
    out.push(counter("holon_cql_connections_opened_total", "connections of CQL clients since the start", opened));
    let in_flight = service.requests_in_flight.get();
    out.push(gauge("holon_cql_requests_in_flight", "requests being worked on", in_flight));
    let used = service.requests.used();
    out.push(gauge("holon_cql_request_memory_bytes", "memory of requests being worked on", used));
    let capacity = service.requests.capacity();
    out.push(gauge("holon_cql_request_memory_limit_bytes", "share of memory for requests", capacity));
    let used = service.answers.used();
    out.push(gauge("holon_cql_answer_memory_bytes", "memory of answers being made", used));
    let statements = &service.statements;
    let prepared = statements.prepared_count();
    out.push(gauge("holon_cql_prepared_statements", "prepared statements that are kept", prepared));
    let counts = [
        ("holon_cql_prepared_total", "statements prepared", &statements.counts.prepared),
        ("holon_cql_prepared_evicted_total", "prepared statements dropped for room", &statements.counts.evicted),
        ("holon_cql_prepared_fetched_total", "prepared statements got from another shard", &statements.counts.fetched),
        ("holon_cql_unprepared_total", "executions of unknown prepared statements", &statements.counts.unprepared),
        ("holon_cql_plan_cache_hits_total", "simple statements whose plan was kept", &statements.counts.simple_hits),
        ("holon_cql_plan_cache_misses_total", "simple statements planned anew", &statements.counts.simple_misses),
    ];
    out.extend(counts.map(|(name, help, value)| counter(name, help, value.get())));
    replication_metrics(service, out);
    engine_metrics(service, out);
}

fn replication_metrics(service: &TablesService, out: &mut Vec<Metric>) {
    let (of, repairs) = (&service.coordinator.counters, &service.repairs.counters);
    let counters = [
        ("holon_replica_digests_differed_total", "reads that found replicas to differ", &of.digests_differed),
        ("holon_replica_repairs_total", "mutations written to replicas that lacked them", &of.repairs),
        ("holon_replica_speculations_total", "further replicas asked because one was slow", &of.speculations),
        ("holon_replica_reroutes_total", "requests routed anew by a newer map", &of.reroutes),
        ("holon_repair_tablets_total", "tablets whose replicas were compared and made equal", &repairs.tablets),
        ("holon_repair_unchanged_total", "of them those in which nothing had changed", &repairs.unchanged),
        ("holon_repair_failed_total", "comparisons that did not end", &repairs.failed),
        ("holon_repair_rows_total", "rows that were compared", &repairs.rows),
        ("holon_repair_bytes_total", "bytes that were compared", &repairs.bytes),
    ];
    out.extend(counters.map(|(name, help, value)| Metric::counter(name, help, value.get())));
    let Some(hints) = service.coordinator.hints() else { return };
    let counters = hints.counters();
    let counts = [
        ("holon_hints_kept_total", "writes kept for a replica that missed them", &counters.kept),
        ("holon_hints_sent_total", "kept writes that their replica has taken", &counters.sent),
        ("holon_hints_dropped_total", "kept writes given up: too old, too many, or for no member", &counters.dropped),
    ];
    out.extend(counts.map(|(name, help, count)| Metric::counter(name, help, count.get())));
    let (waiting, bytes) = hints.waiting();
    out.push(Metric::gauge("holon_hints_waiting", "kept writes not sent yet", waiting as f64));
    out.push(Metric::gauge("holon_hints_waiting_bytes", "their bytes", bytes as f64));
}

/// For people: how old the oldest knowledge is that the replicas of a tablet are equal.
fn repaired(service: &TablesService) -> Option<String> {
    let tablets = service.tablets_with_grace();
    let (oldest, without) = service.repairs.oldest(&tablets);
    let age = |mark: i64| (service.shard.wall().seconds() - mark).max(0) / 60;
    match (oldest, without) {
        (None, 0) => None,
        (None, without) => Some(format!("{without} tablets not compared yet")),
        (Some(mark), 0) => Some(format!("all tablets equal {} min ago", age(mark))),
        (Some(mark), without) => Some(format!("equal {} min ago, but for {without} tablets", age(mark))),
    }
}

fn engine_metrics(service: &TablesService, out: &mut Vec<Metric>) {
    let Some(engine) = service.engine() else { return };
    let stats = engine.stats();
    let counters = [
        ("holon_store_writes_total", "mutations written", stats.writes),
        ("holon_store_written_user_bytes_total", "bytes of mutations as handed in", stats.written_user_bytes),
        ("holon_store_log_bytes_total", "bytes written to the write-ahead log", stats.log_bytes),
        ("holon_store_log_groups_total", "groups committed to the write-ahead log", stats.log_groups),
        ("holon_store_log_syncs_total", "syncs of the write-ahead log", stats.log_syncs),
        ("holon_store_flushes_total", "memtables flushed", stats.flushes),
        ("holon_store_flushed_bytes_total", "bytes of flushed memtables", stats.flushed_bytes),
        ("holon_store_compactions_total", "compactions ended", stats.compactions),
        ("holon_store_compaction_read_bytes_total", "bytes read by compactions", stats.compaction_read_bytes),
        ("holon_store_compaction_written_bytes_total", "bytes written by compactions", stats.compaction_written_bytes),
        ("holon_store_tombstones_purged_total", "tombstones forgotten by compactions", stats.tombstones_purged),
        ("holon_store_cache_hits_total", "blocks found in the cache", stats.cache_hits),
        ("holon_store_cache_misses_total", "blocks read from files", stats.cache_misses),
        ("holon_store_bloom_skips_total", "files skipped thanks to their filter", stats.bloom_skips),
        ("holon_store_gets_total", "reads of one row", stats.gets),
        ("holon_store_scan_pages_total", "pages of scans", stats.scan_pages),
        ("holon_store_rows_examined_total", "rows looked at by reads", stats.rows_examined),
        ("holon_store_stall_micros_total", "time that writes waited for room", stats.stall_micros),
        ("holon_store_damages_total", "damaged places found in files of tablets", stats.damages),
        ("holon_store_mended_total", "tablets whose damage was made good from other replicas", stats.mended),
        ("holon_store_background_errors_total", "flushes and compactions that failed", stats.background_errors),
    ];
    out.extend(counters.map(|(name, help, value)| Metric::counter(name, help, value)));
    let gauges = [
        ("holon_store_log_segments", "segments of the write-ahead log", stats.log_segments),
        ("holon_store_queued_bytes", "mutations waiting for the log", stats.queued_bytes),
        ("holon_store_cache_bytes", "blocks in the cache", stats.cache_bytes),
        ("holon_store_memtable_bytes", "rows not in files yet", stats.memtable_bytes),
        ("holon_store_table_memory_bytes", "filters and indexes of open files", stats.table_memory_bytes),
        ("holon_store_tablets", "tablets on this shard", stats.tablets),
        ("holon_store_files", "sorted files", stats.tables),
        ("holon_store_stuck", "1: memtables do not get to the disk", u64::from(engine.stuck().is_some())),
        ("holon_store_damaged_tablets", "tablets with damaged files", stats.damaged_tablets),
        ("holon_store_file_bytes", "size of the sorted files", stats.table_bytes),
    ];
    out.extend(gauges.map(|(name, help, value)| Metric::gauge(name, help, value as f64)));
}

pub(super) fn status(service: &TablesService) -> Vec<(String, String)> {
    let schema = service.schema();
    let keyspaces = schema.user_keyspaces().count();
    let tables: usize = schema.user_keyspaces().map(|keyspace| keyspace.tables.len()).sum();
    let metrics = &service.request_metrics;
    let millis = |seconds: f64| format!("{:.2} ms", seconds * 1_000.0);
    let mut rows = vec![
        ("keyspaces".to_string(), keyspaces.to_string()),
        ("tables".to_string(), tables.to_string()),
        ("connections".to_string(), service.connections.borrow().len().to_string()),
        ("requests".to_string(), metrics.requests().to_string()),
        ("requests in flight".to_string(), service.requests_in_flight.get().to_string()),
        ("prepared statements".to_string(), service.statements.prepared_count().to_string()),
        ("reads, 99 % within".to_string(), millis(metrics.reads().quantile_seconds(0.99))),
        ("writes, 99 % within".to_string(), millis(metrics.writes().quantile_seconds(0.99))),
    ];
    rows.extend(repaired(service).map(|text| ("replicas".to_string(), text)));
    if let Some(engine) = service.engine() {
        rows.extend(
            engine.stuck().map(|error| ("TROUBLE".to_string(), format!("writes are refused or will be: {error}"))),
        );
        let stats = engine.stats();
        if stats.damaged_tablets > 0 {
            let what =
                format!("{} tablets have damaged files, and are read from other replicas", stats.damaged_tablets);
            rows.push(("DAMAGE".to_string(), what));
        }
        rows.push(("data on disk".to_string(), format!("{:.1} MiB", stats.table_bytes as f64 / f64::from(1 << 20))));
        rows.push(("in memory".to_string(), format!("{:.1} MiB", stats.memtable_bytes as f64 / f64::from(1 << 20))));
    }
    rows
}
