//! The table.

use crate::measure::Figure;
use crate::workload::{Plan, SYNC_CLIENTS};
use std::fmt::Write;

/// The machine and the day, for whoever keeps the table.
pub fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("").trim_start_matches(['\t', ':', ' ']);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    format!("{model}, {cores} cores; load at start {load}")
}

/// Higher is better in all rows but those that say otherwise; the ratio is Holon's figure over the best of the others.
pub fn table(plan: &Plan, results: &[(String, Vec<Figure>)]) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "\n{} rows, 16 B keys, {} B values, {} MiB cache, LZ4, bloom filters; one client, synced writes from {SYNC_CLIENTS}",
        plan.rows,
        plan.value_bytes,
        plan.cache_bytes >> 20
    );
    let _ = write!(out, "{:<32}", "operations a second (CPU µs each)");
    for (engine, _) in results {
        let _ = write!(out, "{engine:>24}");
    }
    let _ = writeln!(out, "{:>8}", "ratio");
    let Some((_, first)) = results.first() else { return out };
    for figure in first {
        let find = |figures: &[Figure]| figures.iter().find(|other| other.phase == figure.phase).cloned();
        let rates: Vec<Option<Figure>> = results.iter().map(|(_, figures)| find(figures)).collect();
        let single = figure.seconds == 1.0 && figure.cpu_seconds == 0.0;
        let note = if single { format!("{} (lower is better)", figure.phase) } else { figure.phase.clone() };
        let _ = write!(out, "{note:<32}");
        for rate in &rates {
            let text = match rate {
                Some(rate) if single => format!("{:.2}", rate.operations),
                Some(rate) => {
                    let each = rate.cpu_seconds * 1e6 / rate.operations;
                    format!("{:.0} ({each:.1})", rate.operations / rate.seconds)
                }
                None => "-".to_owned(),
            };
            let _ = write!(out, "{text:>24}");
        }
        let _ = writeln!(out, "{:>8}", ratio(results, &rates, single));
    }
    out
}

fn ratio(results: &[(String, Vec<Figure>)], rates: &[Option<Figure>], lower_is_better: bool) -> String {
    let rate = |figure: &Figure| figure.operations / figure.seconds;
    let mut ours = None;
    let mut best: Option<f64> = None;
    for ((engine, _), figure) in results.iter().zip(rates) {
        let Some(figure) = figure else { continue };
        if engine == "holon" {
            ours = Some(rate(figure));
        } else {
            let other = rate(figure);
            best = Some(best.map_or(other, |best| if lower_is_better { best.min(other) } else { best.max(other) }));
        }
    }
    match (ours, best) {
        (Some(ours), Some(best)) => format!("{:.2}", ours / best),
        _ => "-".to_owned(),
    }
}
