//! Figures for metrics and for the status page.

use crate::coordinating::is_hidden;
use crate::groups::Name;
use crate::service::LogService;
use crate::topics::Topic;
use crate::{calls, store};
use holon_base::TabletId;
use holon_kafka::ErrorCode;
use holon_kernel::metric::Metric;
use holon_kernel::{Class, Scope};
use holon_kernel::{holding::Holding, holding::Load};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// Partitions of groups whose lag a shard tells of. What is beyond is told by `holon group describe`.
const LAGS_MAX: usize = 2000;

/// Between looks at how far groups are.
const LAG_INTERVAL: Duration = Duration::from_secs(10);

/// By group, topic and partition.
pub(crate) type Lags = BTreeMap<(Name, Name, i32), i64>;

pub(crate) fn metrics(service: &LogService, out: &mut Vec<Metric>) {
    door_metrics(service, out);
    session_metrics(service, out);
    if let Some(store) = service.store() {
        store_metrics(&store.stats(), out);
    }
    group_metrics(service, out);
}

fn door_metrics(service: &LogService, out: &mut Vec<Metric>) {
    let counts = service.counts();
    let counter = |name, help, value| Metric::counter(name, help, value);
    let connections = counts.connections.get() as f64;
    out.push(Metric::gauge("holon_kafka_connections", "open connections of Kafka clients", connections));
    out.extend([
        counter(
            "holon_kafka_connections_opened_total",
            "connections of Kafka clients since the start",
            counts.connections_opened.get(),
        ),
        counter("holon_kafka_received_bytes_total", "bytes of requests", counts.received_bytes.get()),
        counter("holon_kafka_sent_bytes_total", "bytes of answers", counts.sent_bytes.get()),
        counter("holon_kafka_refused_total", "connections ended for what came over them", service.refused().0),
    ]);
    for (api, count) in &*counts.requests.borrow() {
        let metric = counter("holon_kafka_requests_total", "requests, by API", *count);
        out.push(metric.label("api", api.name()));
    }
    for ((api, code), count) in &*counts.errors.borrow() {
        let metric = counter("holon_kafka_errors_total", "errors that answers told of, by API", *count);
        let error = ErrorCode(*code).name().map_or_else(|| code.to_string(), str::to_string);
        out.push(metric.label("api", api.name()).label("error", error));
    }
}

fn session_metrics(service: &LogService, out: &mut Vec<Metric>) {
    let sessions = service.sessions().borrow();
    let (count, partitions) = sessions.counts();
    let gauge = |name, help, value: usize| Metric::gauge(name, help, value as f64);
    out.push(gauge("holon_kafka_fetch_sessions", "fetch sessions that are kept", count));
    out.push(gauge("holon_kafka_fetch_session_partitions", "partitions of fetch sessions", partitions));
    let (watches, watched) = service.watches().borrow().counts();
    out.push(gauge("holon_kafka_fetch_watches", "fetch sessions that watch partitions of a shard", watches));
    out.push(gauge("holon_kafka_fetch_watched_partitions", "partitions that fetch sessions watch", watched));
    let evicted = sessions.evicted;
    out.push(Metric::counter("holon_kafka_fetch_sessions_evicted_total", "sessions dropped for room", evicted));
    let looks = service.counts().looks.get();
    out.push(Metric::counter("holon_kafka_fetch_looks_total", "partitions that fetches looked at", looks));
}

fn store_metrics(stats: &store::Stats, out: &mut Vec<Metric>) {
    let gauges = [
        ("holon_log_partitions", "partitions of this node", stats.partitions),
        ("holon_log_unwritten_bytes", "batches that are in no segment yet", stats.unwritten_bytes),
        ("holon_log_kept_bytes", "batches in memory for readers that follow", stats.kept_bytes),
    ];
    out.extend(gauges.map(|(name, help, value)| Metric::gauge(name, help, value as f64)));
    let counters = [
        ("holon_log_batches_total", "batches appended", stats.appended_batches),
        ("holon_log_batch_bytes_total", "bytes of batches appended", stats.appended_bytes),
        ("holon_log_duplicates_total", "batches that were sent again and were there", stats.duplicates),
        ("holon_log_wal_bytes_total", "bytes written to the shared log", stats.log_bytes),
        ("holon_log_wal_syncs_total", "syncs of the shared log", stats.log_syncs),
        ("holon_log_segment_bytes_total", "bytes written to segments", stats.written_bytes),
        ("holon_log_checkpoints_total", "checkpoints made", stats.checkpoints),
        ("holon_log_reads_of_memory_total", "reads that memory answered", stats.reads_of_memory),
        ("holon_log_reads_of_files_total", "reads of segments", stats.reads_of_files),
    ];
    out.extend(counters.map(|(name, help, value)| Metric::counter(name, help, value)));
}

fn group_metrics(service: &LogService, out: &mut Vec<Metric>) {
    let mut states: BTreeMap<&'static str, u64> = BTreeMap::new();
    for coordinating in service.coordinators() {
        for (state, count) in coordinating.states() {
            *states.entry(state).or_default() += count;
        }
    }
    for (state, count) in states {
        let metric = Metric::gauge("holon_log_groups", "groups of consumers, by state", count as f64);
        out.push(metric.label("state", state));
    }
    for ((group, topic, partition), lag) in &*service.lags().borrow() {
        let metric = Metric::gauge("holon_log_group_lag", "records that a group has not committed yet", *lag as f64);
        let metric = metric.label("group", group.to_string()).label("topic", topic.to_string());
        out.push(metric.label("partition", partition.to_string()));
    }
}

/// Looks again and again how far groups are, until the shard stops.
pub(crate) fn keep_lags(service: &Rc<LogService>) {
    let (shard, weak) = (service.shard().clone(), Rc::downgrade(service));
    service.shard().spawn(Scope::Node, Class::Background, async move {
        loop {
            shard.sleep(LAG_INTERVAL).await;
            let Some(service) = weak.upgrade().filter(|service| service.store().is_some()) else { return };
            let lags = lags(&service).await;
            *service.lags().borrow_mut() = lags;
            let topics: std::collections::BTreeSet<_> =
                service.with_topics(|topics| topics.all().map(|topic| topic.group).collect());
            service.counts().keep_topics(|topic| topics.contains(&topic));
        }
    });
}

async fn lags(service: &Rc<LogService>) -> Lags {
    let mut lags = Lags::new();
    let mut ends: BTreeMap<TabletId, Option<i64>> = BTreeMap::new();
    for coordinating in service.coordinators() {
        for (group, topic, partition, committed) in coordinating.committed(LAGS_MAX - lags.len()) {
            let tablet = service.with_topics(|topics| topics.get(&topic)?.tablet(partition));
            let Some(tablet) = tablet else { continue };
            let end = match ends.get(&tablet) {
                Some(end) => *end,
                None => {
                    let deadline = service.shard().now() + LAG_INTERVAL;
                    let end = match service.ask(tablet, calls::Request::Ends, deadline).await {
                        Ok(calls::Reply::Ends(ends)) => Some(ends.end),
                        _ => None,
                    };
                    ends.insert(tablet, end);
                    end
                }
            };
            if let Some(end) = end {
                lags.insert((group, topic, partition), (end - committed).max(0));
            }
        }
    }
    lags
}

pub(crate) fn status(service: &LogService) -> Vec<(String, String)> {
    let topics = service.with_topics(|topics| topics.all().filter(|topic| is_shown(topic)).count());
    let mut rows = vec![("topics".to_string(), topics.to_string())];
    if let Some(store) = service.store() {
        let stats = store.stats();
        rows.push(("partitions here".to_string(), stats.partitions.to_string()));
        rows.push(("batches appended".to_string(), stats.appended_batches.to_string()));
        if stats.duplicates > 0 {
            rows.push(("batches sent again".to_string(), stats.duplicates.to_string()));
        }
    }
    let groups: u64 =
        service.coordinators().iter().flat_map(|coordinating| coordinating.states()).map(|(_, count)| count).sum();
    rows.push(("groups coordinated here".to_string(), groups.to_string()));
    if let Some(((group, ..), lag)) = service.lags().borrow().iter().max_by_key(|(_, lag)| **lag) {
        rows.push(("most behind".to_string(), format!("group {group}, {lag} records")));
    }
    let (sessions, partitions) = service.sessions().borrow().counts();
    rows.push(("fetch sessions".to_string(), format!("{sessions} of {partitions} partitions")));
    if let (count, Some(reason)) = service.refused() {
        rows.push(("connections ended for a request".to_string(), format!("{count}; the last: {reason}")));
    }
    rows
}

fn is_shown(topic: &Topic) -> bool {
    !is_hidden(&topic.name)
}

/// Topics as holdings: a tablet is a partition, a row is a record.
pub(crate) fn holdings(service: &LogService) -> Vec<Holding> {
    let topics: Vec<Rc<Topic>> =
        service.with_topics(|topics| topics.all().filter(|topic| is_shown(topic)).cloned().collect());
    let Some(store) = service.store() else { return Vec::new() };
    let holding = |topic: &Rc<Topic>| {
        let times = service.counts().times_of(topic.group);
        let mut holding = Holding {
            space: "log".to_string(),
            name: topic.name.to_string(),
            group: topic.group.0,
            reads: times.reads,
            writes: times.writes,
            ..Holding::default()
        };
        for tablet in (0..topic.partitions).filter_map(|index| topic.tablet(index.cast_signed())) {
            let Some(amount) = store.amount(tablet) else { continue };
            holding.tablets += 1;
            holding.rows += amount.records;
            holding.files += amount.segments;
            holding.disk_bytes += amount.segment_bytes;
            holding.memory_bytes += amount.unwritten_bytes;
        }
        holding
    };
    topics.iter().map(holding).collect()
}

pub(crate) fn load(service: &LogService) -> Load {
    let Some(store) = service.store() else { return Load::default() };
    let amounts = store.partitions().into_iter().filter_map(|tablet| store.amount(tablet));
    Load {
        requests: service.counts().requests.borrow().values().sum(),
        data_bytes: amounts.map(|amount| amount.segment_bytes + amount.unwritten_bytes).sum(),
    }
}
