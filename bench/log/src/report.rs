//! The tables.

use crate::load::{Latencies, Produced};
use crate::servers::{Peer, Used};
use std::fmt::Write;

/// The machine, for whoever keeps the table.
pub fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("").trim_start_matches(['\t', ':', ' ']);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    format!("{model}, {cores} cores; load at start {load}")
}

/// A figure and what it means; whether more of it is better.
type Row = (&'static str, bool, f64);

#[derive(Default)]
pub struct Figures {
    rows: Vec<Row>,
}

fn millis(latencies: &Latencies, quantile: f64) -> f64 {
    latencies.value_at_quantile(quantile) as f64 / 1000.0
}

impl Figures {
    fn put(&mut self, row: Row) {
        self.rows.retain(|(name, _, _)| *name != row.0);
        self.rows.push(row);
    }

    pub fn produce(&mut self, produced: &Produced, used: Used, record_bytes: usize) {
        let records = produced.records as f64;
        self.put(("produce: records/s", true, records / produced.seconds));
        self.put(("produce: records per CPU-second of the broker", true, records / used.cpu_seconds.max(0.01)));
        self.put(("produce: request p50, ms", false, millis(&produced.latencies, 0.5)));
        self.put(("produce: request p99, ms", false, millis(&produced.latencies, 0.99)));
        let user_bytes = records * record_bytes as f64;
        self.put(("produce: bytes written for each of the records'", false, used.written_bytes / user_bytes));
    }

    pub fn fetch(&mut self, records: u64, seconds: f64, used: Used) {
        self.put(("catch up: records/s", true, records as f64 / seconds));
        self.put(("catch up: records per CPU-second of the broker", true, records as f64 / used.cpu_seconds.max(0.01)));
    }

    pub fn both(&mut self, records: u64, seconds: f64, used: Used) {
        self.put(("produced and read at once: records/s", true, records as f64 / seconds));
        self.put(("produced and read: records per CPU-second", true, records as f64 / used.cpu_seconds.max(0.01)));
    }

    pub fn paced(&mut self, produced: &Produced, ages: &Latencies) {
        self.put(("paced: records/s", true, produced.records as f64 / produced.seconds));
        self.put(("paced: request p99, ms", false, millis(&produced.latencies, 0.99)));
        self.put(("paced: producer to consumer p50, ms", false, millis(ages, 0.5)));
        self.put(("paced: producer to consumer p99, ms", false, millis(ages, 0.99)));
    }

    pub fn memory(&mut self, mib: f64) {
        self.put(("memory at its highest, MiB", false, mib));
    }

    fn get(&self, name: &str) -> Option<f64> {
        self.rows.iter().find(|row| row.0 == name).map(|row| row.2)
    }

    /// While a run goes on.
    pub fn line(&self, peer: Peer) -> String {
        let figure = |name| self.get(name).unwrap_or(0.0);
        format!(
            "{} produced {:.2} M/s, read {:.2} M/s, both {:.2} M/s",
            peer.name(),
            figure("produce: records/s") / 1e6,
            figure("catch up: records/s") / 1e6,
            figure("produced and read at once: records/s") / 1e6
        )
    }
}

fn number(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.2} M", value / 1e6),
        value if value >= 1e4 => format!("{:.0} k", value / 1e3),
        value if value >= 100.0 => format!("{value:.0}"),
        value => format!("{value:.2}"),
    }
}

/// The last column says by how much Holon is better: below 1 it is worse.
pub fn table(case: &str, results: &[(Peer, Figures)]) -> String {
    let mut out = String::new();
    let _ = write!(out, "\n{case:<52}");
    for (peer, _) in results {
        let _ = write!(out, "{:>12}", peer.name());
    }
    let of = |peer: Peer| results.iter().find(|(other, _)| *other == peer).map(|(_, figures)| figures);
    let compared = of(Peer::Holon).zip(of(Peer::Kafka));
    let _ = writeln!(out, "{}", if compared.is_some() { "      better" } else { "" });
    let Some((_, first)) = results.first() else { return out };
    for (name, more_is_better, _) in &first.rows {
        let _ = write!(out, "  {name:<50}");
        for (_, figures) in results {
            let _ = write!(out, "{:>12}", figures.get(name).map_or("-".to_string(), number));
        }
        let both = compared.and_then(|(ours, theirs)| Some((ours.get(name)?, theirs.get(name)?)));
        if let Some((ours, theirs)) = both {
            let factor = if *more_is_better { ours / theirs } else { theirs / ours };
            let _ = write!(out, "{factor:>11.2}×");
        }
        let _ = writeln!(out);
    }
    out
}
