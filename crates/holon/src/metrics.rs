//! A report as Prometheus reads it (OpenMetrics text).

use crate::report::{NodeView, Report};
use holon_kernel::metric::{Histogram, Metric, MetricValue};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Of the 64 buckets of a histogram every fourth is shown: each is 4 times the one before, from 1 µs to about an hour.
const BUCKETS_TOGETHER: usize = 4;

#[derive(Debug)]
struct Values(Vec<Metric>);

impl Collector for Values {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let mut rest = self.0.as_slice();
        while let Some(first) = rest.first() {
            let family = rest.iter().take_while(|metric| metric.name == first.name).count();
            let (metrics, others) = rest.split_at(family);
            let kind = match first.value {
                MetricValue::Counter(_) => MetricType::Counter,
                MetricValue::Gauge(_) => MetricType::Gauge,
                MetricValue::Histogram(_) => MetricType::Histogram,
            };
            // The encoder adds the suffix and the full stop itself.
            let name = first.name.strip_suffix("_total").unwrap_or(first.name);
            let help = first.help.trim_end_matches('.');
            let mut described = encoder.encode_descriptor(name, help, None, kind)?;
            for metric in metrics.iter().filter(|metric| same_kind(&metric.value, &first.value)) {
                let labels: Vec<(&str, String)> =
                    metric.labels.iter().map(|(key, value)| (*key, escape(value))).collect();
                if labels.is_empty() {
                    encode(&mut described, &metric.value)?;
                } else {
                    encode(&mut described.encode_family(&labels)?, &metric.value)?;
                }
            }
            rest = others;
        }
        Ok(())
    }
}

/// The encoder writes label values as they are; a quote in one would end it.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn same_kind(a: &MetricValue, b: &MetricValue) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

fn encode(encoder: &mut MetricEncoder<'_>, value: &MetricValue) -> Result<(), std::fmt::Error> {
    match value {
        MetricValue::Counter(count) => encoder.encode_counter::<NoLabelSet, u64, u64>(count, None),
        MetricValue::Gauge(gauge) => encoder.encode_gauge(gauge),
        MetricValue::Histogram(histogram) => {
            let last = Histogram::BUCKETS - 1;
            let buckets: Vec<(f64, u64)> = (0..Histogram::BUCKETS / BUCKETS_TOGETHER)
                .map(|group| {
                    let first = group * BUCKETS_TOGETHER;
                    let end = first + BUCKETS_TOGETHER - 1;
                    let count = histogram.buckets[first..=end].iter().sum();
                    // The last bucket also holds what is longer than its bound.
                    let bound = if end == last { f64::MAX } else { Histogram::upper_bound_seconds(end) };
                    (bound, count)
                })
                .collect();
            encoder.encode_histogram::<NoLabelSet>(histogram.sum_seconds, histogram.count, &buckets, None)
        }
    }
}

/// The figures of the node itself, as metrics.
fn of_the_node(node: &NodeView, report: &Report) -> Vec<Metric> {
    let process = &report.process;
    let mut metrics = vec![
        Metric::gauge("holon_build_info", "Always 1; the version is a label", 1.0)
            .label("version", env!("CARGO_PKG_VERSION")),
        Metric::gauge("holon_uptime_seconds", "Time since the process started", node.uptime().as_secs_f64()),
        Metric::gauge("holon_memory_budget_bytes", "What the node may use", node.memory_bytes as f64),
        Metric::gauge(
            "holon_disk_free_bytes",
            "Free on the file system of the data directory",
            report.disk_free_bytes as f64,
        ),
        Metric::gauge("process_resident_memory_bytes", "Resident memory", process.resident_bytes as f64),
        Metric::gauge("process_open_fds", "Open file descriptors", process.open_files as f64),
        Metric::gauge("process_max_fds", "Most file descriptors the process may have", process.open_files_max as f64),
        Metric::gauge("process_threads", "Threads", process.threads as f64),
        Metric::gauge("process_cpu_seconds", "Processor time used since the start", process.cpu.as_secs_f64()),
    ];
    for door in node.doors.borrow().iter() {
        let figures = door.figures();
        let own = [
            Metric::gauge("holon_door_connections", "Open connections", figures.connections as f64),
            Metric::counter("holon_door_accepted_total", "Connections accepted", figures.accepted_total),
            Metric::counter("holon_door_refused_total", "Connections refused by a limit", figures.refused_total),
        ];
        metrics.extend(own.into_iter().map(|metric| metric.label("door", door.name())));
    }
    for shard in &report.shards {
        let answers = f64::from(u8::from(shard.inside.is_some()));
        let mut own = vec![
            Metric::gauge("holon_shard_up", "1 if the shard answers", answers),
            Metric::gauge("holon_shard_connections", "Open connections", shard.connections as f64),
            Metric::counter("holon_shard_envelopes_lost_total", "Envelopes lost at a full inbox", shard.envelopes_lost),
        ];
        if let Some(inside) = &shard.inside {
            own.push(Metric::gauge("holon_shard_tasks", "Tasks that have not ended", inside.tasks as f64));
            own.push(Metric::gauge("holon_shard_tablets", "Tablets", inside.tablets as f64));
            own.push(Metric::counter("holon_shard_polls_total", "Polls of tasks", inside.polls));
        }
        metrics.extend(own.into_iter().map(|metric| metric.label("shard", shard.id.to_string())));
    }
    metrics
}

pub fn text(node: &NodeView, report: &Report) -> String {
    let mut metrics = of_the_node(node, report);
    metrics.extend(report.metrics.iter().cloned());
    encode_text(metrics)
}

fn encode_text(mut metrics: Vec<Metric>) -> String {
    metrics.sort_by(|a, b| a.name.cmp(b.name));
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Values(metrics)));
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => text,
        Err(error) => format!("# the metrics could not be written: {error}\n# EOF\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn counters_gauges_and_histograms_are_written_as_prometheus_reads_them() {
        let mut histogram = Histogram::default();
        for micros in [1, 500, 501, 10_000_000_000_000] {
            histogram.record(Duration::from_micros(micros));
        }
        let text = encode_text(vec![
            Metric::counter("b_requests_total", "Requests.", 7).label("kind", "read \"x\""),
            Metric::counter("b_requests_total", "Requests.", 8).label("kind", "write"),
            Metric::gauge("a_bytes", "Bytes", 1.5),
            Metric::histogram("c_seconds", "Latency", histogram),
        ]);
        for line in [
            "# TYPE b_requests counter",
            "b_requests_total{kind=\"read \\\"x\\\"\"} 7",
            "b_requests_total{kind=\"write\"} 8",
            "a_bytes 1.5",
            "c_seconds_count 4",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?} in\n{text}");
        }
        let buckets: Vec<u64> = text
            .lines()
            .filter(|line| line.starts_with("c_seconds_bucket"))
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
            .collect();
        assert!(buckets.is_sorted() && buckets.last() == Some(&4), "{text}");
    }
}
