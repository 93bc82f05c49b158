//! What a node knows about itself at a moment: gathered from its shards, shown by `/status.json`, `/metrics`, `holon status`.

use crate::membership::Membership;
use crate::memory::MemoryShares;
use crate::{cluster, holdings};
use holon_base::{GroupId, NodeId, Wall};
use holon_edge::{Clock, DataDir, Door, ProcessFigures, ShardHandle, process_figures};
use holon_kernel::holding::{Holding, Work};
use holon_kernel::metric::{Histogram, Metric, MetricValue};
use holon_kernel::{Class, ClockState, NodeClock, Shard};
use holon_metadata::{ClusterView, TabletView};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A shard that does not answer within this is reported as stalled.
const SHARD_REPORT_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Starting,
    Ready,
    Stopping,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Ready => "ready",
            State::Stopping => "stopping",
        }
    }
}

/// The node as its main thread sees it.
pub struct NodeView {
    pub node: NodeId,
    pub boot: u32,
    pub clock: Clock,
    pub node_clock: Arc<NodeClock>,
    pub data: Arc<DataDir>,
    pub memory_bytes: u64,
    pub shares: MemoryShares,
    pub shards: Vec<ShardHandle>,
    pub doors: RefCell<Vec<Door>>,
    pub membership: Membership,
    pub console: std::net::SocketAddr,
    pub state: std::cell::Cell<State>,
    /// The last line of progress of the start.
    pub progress: Arc<Mutex<String>>,
}

pub struct ShardReport {
    pub id: u16,
    pub connections: usize,
    pub envelopes_lost: u64,
    /// `None`: it did not answer in time.
    pub inside: Option<Inside>,
}

pub struct Inside {
    pub tasks: usize,
    pub polls: u64,
    pub tablets: usize,
    pub metrics: Vec<Metric>,
    /// Service, and its rows for people.
    pub status: Vec<(&'static str, Vec<(String, String)>)>,
    pub holdings: Vec<(&'static str, Vec<Holding>)>,
    pub work: Vec<(&'static str, Work)>,
}

pub struct Report {
    pub shards: Vec<ShardReport>,
    /// The metrics of all shards, merged by name and labels.
    pub metrics: Vec<Metric>,
    pub process: ProcessFigures,
    pub disk_total_bytes: u64,
    pub disk_free_bytes: u64,
}

fn look_inside(shard: &Rc<Shard>) -> Inside {
    let services = shard.services();
    let mut metrics = Vec::new();
    services.iter().for_each(|service| service.metrics(&mut metrics));
    let status = services.iter().map(|service| (service.name(), service.status())).collect();
    let holdings = services.iter().map(|service| (service.name(), service.holdings())).collect();
    let work = services.iter().flat_map(|service| service.work().into_iter().map(|work| (service.name(), work)));
    let work = work.collect();
    let (tasks, polls, tablets) = (shard.tasks(), shard.polls(), shard.tablet_count());
    Inside { tasks, polls, tablets, metrics, status, holdings, work }
}

impl NodeView {
    pub async fn report(&self) -> Report {
        let mut shards = Vec::new();
        let asked: Vec<_> = self
            .shards
            .iter()
            .map(|handle| {
                let handle = handle.clone();
                tokio::task::spawn_local(async move {
                    let inside = handle.run(Class::Foreground, |shard| Box::pin(async move { look_inside(&shard) }));
                    tokio::time::timeout(SHARD_REPORT_TIMEOUT, inside).await.ok().and_then(Result::ok)
                })
            })
            .collect();
        for (handle, asked) in self.shards.iter().zip(asked) {
            let inside = asked.await.ok().flatten();
            let (connections, envelopes_lost) = (handle.connections(), handle.envelopes_lost());
            shards.push(ShardReport { id: handle.id().0, connections, envelopes_lost, inside });
        }
        let inside = shards.iter().filter_map(|shard| shard.inside.as_ref());
        let metrics = merge(inside.flat_map(|inside| inside.metrics.iter().cloned()));
        let (disk_total_bytes, disk_free_bytes) = self.data.space_bytes().unwrap_or((0, 0));
        Report { shards, metrics, process: process_figures(), disk_total_bytes, disk_free_bytes }
    }

    /// What `/status.json` and `holon status` show.
    pub async fn status(&self) -> Value {
        let (report, view) = tokio::join!(self.report(), self.cluster());
        let mut status = self.to_json(&report);
        if let Some(view) = view {
            cluster::put_into(&mut status, &view, &holdings::names(&report.shards));
        }
        status
    }

    /// `None`: the first shard does not answer, or has not begun.
    async fn cluster(&self) -> Option<ClusterView> {
        let look = |_| -> holon_kernel::LocalFuture<Option<ClusterView>> {
            Box::pin(async {
                match crate::node::metadata() {
                    Some(metadata) => Some(metadata.view().await),
                    None => None,
                }
            })
        };
        let asked = self.shards.first()?.run(Class::Foreground, look);
        tokio::time::timeout(SHARD_REPORT_TIMEOUT, asked).await.ok()?.ok()?
    }

    /// Of a table, `KEYSPACE.TABLE`, the tablets from an ordinal on; `None`: this node holds nothing of that name.
    pub async fn tablets(&self, table: &str, from: u32) -> Option<Value> {
        let names = holdings::names(&self.report().await.shards);
        let group = names.into_iter().find(|(_, (space, name))| format!("{space}.{name}") == table)?.0;
        let look = move |_| -> holon_kernel::LocalFuture<Option<Vec<TabletView>>> {
            Box::pin(async move { Some(crate::node::metadata()?.view_tablets(GroupId(group), from)) })
        };
        let asked = self.shards.first()?.run(Class::Foreground, look);
        let tablets = tokio::time::timeout(SHARD_REPORT_TIMEOUT, asked).await.ok()?.ok()??;
        Some(cluster::tablets_to_json(table, &tablets))
    }

    pub fn progress_line(&self) -> String {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn uptime(&self) -> Duration {
        Duration::from_nanos(self.clock.now().0)
    }

    fn to_json(&self, report: &Report) -> Value {
        let doors: Vec<Value> = self
            .doors
            .borrow()
            .iter()
            .map(|door| {
                let figures = door.figures();
                json!({
                    "name": door.name(), "address": door.address().to_string(), "connections": figures.connections,
                    "accepted_total": figures.accepted_total, "refused_total": figures.refused_total,
                })
            })
            .collect();
        let shares: serde_json::Map<String, Value> =
            self.shares.named().iter().map(|(name, bytes)| (name.to_string(), json!(bytes))).collect();
        let mut status = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "node": self.node.to_string(),
            "boot": self.boot,
            "state": self.state.get().name(),
            "progress": self.progress_line(),
            "uptime_seconds": self.uptime().as_secs_f64(),
            "data_dir": self.data.path().display().to_string(),
            "console": self.console.to_string(),
            "clock": clock_to_json(&self.node_clock, self.clock.wall()),
            "doors": doors,
            "shards": report.shards.iter().map(shard_to_json).collect::<Vec<_>>(),
            "memory": { "budget_bytes": self.memory_bytes, "shares_bytes": shares },
            "disk": { "total_bytes": report.disk_total_bytes, "free_bytes": report.disk_free_bytes },
            "process": {
                "resident_bytes": report.process.resident_bytes, "cpu_seconds": report.process.cpu.as_secs_f64(),
                "open_files": report.process.open_files, "open_files_max": report.process.open_files_max,
                "threads": report.process.threads,
            },
            "metrics": report.metrics.iter().map(metric_to_json).collect::<Vec<_>>(),
        });
        holdings::put_into(&mut status, &report.shards);
        status
    }
}

fn clock_to_json(clock: &NodeClock, wall: Wall) -> Value {
    let state = clock.state(wall);
    let refusal = match &state {
        ClockState::Refused(refusal) => Some(refusal.to_string()),
        _ => None,
    };
    json!({
        "takes_writes": refusal.is_none(), "refusal": refusal, "skew_max_ms": clock.skew_max_micros() / 1000,
        "wall_us": wall.micros(), "last_us": clock.last(), "refused_total": clock.refused(),
        "ignored_total": clock.ignored(),
    })
}

fn shard_to_json(shard: &ShardReport) -> Value {
    let inside = shard.inside.as_ref().map(|inside| {
        let services: serde_json::Map<String, Value> =
            inside.status.iter().map(|(name, rows)| (name.to_string(), json!(rows))).collect();
        json!({ "tasks": inside.tasks, "polls_total": inside.polls, "tablets": inside.tablets, "services": services })
    });
    json!({ "shard": shard.id, "connections": shard.connections, "answers": inside.is_some(), "inside": inside })
}

fn metric_to_json(metric: &Metric) -> Value {
    let labels: serde_json::Map<String, Value> =
        metric.labels.iter().map(|(key, value)| (key.to_string(), json!(value))).collect();
    let mut value = json!({ "name": metric.name, "help": metric.help, "labels": labels });
    match &metric.value {
        MetricValue::Counter(count) => value["counter"] = json!(count),
        MetricValue::Gauge(gauge) => value["gauge"] = json!(gauge),
        MetricValue::Histogram(histogram) => value["histogram"] = histogram_to_json(histogram),
    }
    value
}

pub fn histogram_to_json(histogram: &Histogram) -> Value {
    json!({
        "count": histogram.count, "sum_seconds": histogram.sum_seconds,
        "p50_seconds": histogram.quantile_seconds(0.5), "p99_seconds": histogram.quantile_seconds(0.99),
        // All of them, so that a poller can take the quantiles of what came between two polls.
        "buckets": histogram.buckets.to_vec(),
    })
}

/// Adds up what has the same name and labels.
pub fn merge(metrics: impl IntoIterator<Item = Metric>) -> Vec<Metric> {
    type Key = (&'static str, Vec<(&'static str, String)>);
    let mut merged: BTreeMap<Key, Metric> = BTreeMap::new();
    for metric in metrics {
        let key = (metric.name, metric.labels.clone());
        match merged.get_mut(&key) {
            None => {
                merged.insert(key, metric);
            }
            Some(sum) => match (&mut sum.value, &metric.value) {
                (MetricValue::Counter(sum), MetricValue::Counter(more)) => *sum += more,
                (MetricValue::Gauge(sum), MetricValue::Gauge(more)) => *sum += more,
                (MetricValue::Histogram(sum), MetricValue::Histogram(more)) => Histogram::merge(sum, more),
                _ => {} // one name of two kinds: the first one stays
            },
        }
    }
    merged.into_values().collect()
}
