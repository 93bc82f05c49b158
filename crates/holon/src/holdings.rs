//! What the node holds for its users, added up over its shards: tables with their sizes and what is asked of them.

use crate::cluster::Names;
use crate::report::{ShardReport, histogram_to_json};
use crate::size::show_bytes;
use crate::text::{columns, list, number, word};
use holon_kernel::holding::Holding;
use holon_kernel::metric::Histogram;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Holdings in a report, the largest first; what is beyond is counted. A page of more would be read by nobody.
const SHOWN_MAX: usize = 500;

/// Of them, in the text of `holon status`.
const TEXT_LINES_MAX: usize = 40;

type Key = (&'static str, String, String);

/// `{"holdings": […], "holdings_total": …, "work": […]}`, to be put into the status.
pub fn put_into(status: &mut Value, shards: &[ShardReport]) {
    let all = add_up(shards);
    status["holdings_total"] = json!(all.len());
    let mut all: Vec<(Key, Sum)> = all.into_iter().collect();
    all.sort_by_key(|(key, sum)| (std::cmp::Reverse(sum.whole.disk_bytes + sum.whole.memory_bytes), key.clone()));
    all.truncate(SHOWN_MAX);
    status["holdings"] = all.iter().map(|(key, sum)| to_json(key, sum)).collect();
    status["work"] = shards.iter().flat_map(work_of).collect();
}

/// What the groups of tablets are called.
pub fn names(shards: &[ShardReport]) -> Names {
    let inside = shards.iter().filter_map(|shard| shard.inside.as_ref());
    let holdings = inside.flat_map(|inside| &inside.holdings).flat_map(|(_, all)| all);
    holdings.map(|holding| (holding.group, (holding.space.clone(), holding.name.clone()))).collect()
}

/// A holding of all shards together, and its tablets on each.
#[derive(Default)]
struct Sum {
    whole: Holding,
    tablets_by_shard: Vec<u64>,
}

fn add_up(shards: &[ShardReport]) -> BTreeMap<Key, Sum> {
    let mut sums: BTreeMap<Key, Sum> = BTreeMap::new();
    for (index, shard) in shards.iter().enumerate() {
        let inside = shard.inside.iter().flat_map(|inside| &inside.holdings);
        for (service, holding) in inside.flat_map(|(service, all)| all.iter().map(move |one| (*service, one))) {
            let sum = sums.entry((service, holding.space.clone(), holding.name.clone())).or_default();
            sum.tablets_by_shard.resize(shards.len(), 0);
            sum.tablets_by_shard[index] = holding.tablets;
            let whole = &mut sum.whole;
            whole.group = holding.group;
            whole.tablets += holding.tablets;
            whole.rows += holding.rows;
            whole.partitions += holding.partitions;
            whole.files += holding.files;
            whole.disk_bytes += holding.disk_bytes;
            whole.memory_bytes += holding.memory_bytes;
            Histogram::merge(&mut whole.reads, &holding.reads);
            Histogram::merge(&mut whole.writes, &holding.writes);
        }
    }
    sums
}

fn to_json((service, space, name): &Key, sum: &Sum) -> Value {
    let whole = &sum.whole;
    json!({
        "service": service, "space": space, "name": name, "group": whole.group,
        "tablets": whole.tablets, "tablets_by_shard": sum.tablets_by_shard,
        "rows": whole.rows, "partitions": whole.partitions,
        "files": whole.files, "disk_bytes": whole.disk_bytes, "memory_bytes": whole.memory_bytes,
        "reads": histogram_to_json(&whole.reads), "writes": histogram_to_json(&whole.writes),
    })
}

fn work_of(shard: &ShardReport) -> Vec<Value> {
    let works = shard.inside.iter().flat_map(|inside| &inside.work);
    let one = |(service, work): &(&'static str, holon_kernel::holding::Work)| {
        json!({
            "shard": shard.id, "service": service, "what": work.what,
            "bytes_done": work.bytes_done, "bytes_total": work.bytes_total,
        })
    };
    works.map(one).collect()
}

/// The part of `holon status` that is for people. `before` is the status some `seconds` earlier, for rates.
pub fn text(status: &Value, before: &Value, seconds: f64) -> Vec<String> {
    let earlier = list(&before["holdings"]);
    let mut rows: Vec<Vec<String>> = Vec::new();
    for holding in list(&status["holdings"]).iter().take(TEXT_LINES_MAX) {
        let is_same = |other: &&Value| ["service", "space", "name"].iter().all(|key| other[key] == holding[key]);
        let was = earlier.iter().find(is_same).unwrap_or(&Value::Null);
        let rate = |kind: &str| {
            let more = number(&holding[kind]["count"]).saturating_sub(number(&was[kind]["count"]));
            format!("{:.0}", more as f64 / seconds)
        };
        let quantiles = |kind: &str| {
            let of = |name: &str| show_seconds(holding[kind][name].as_f64().unwrap_or(0.0));
            format!("{} / {}", of("p50_seconds"), of("p99_seconds"))
        };
        let spread: Vec<String> = list(&holding["tablets_by_shard"]).iter().map(|count| count.to_string()).collect();
        rows.push(vec![
            format!("{}.{}", word(&holding["space"]), word(&holding["name"])),
            format!("{} ({})", holding["tablets"], spread.join("+")),
            format!("~{}", holding["rows"]),
            if holding["partitions"] == 0 { "–".to_string() } else { format!("~{}", holding["partitions"]) },
            show_bytes(number(&holding["disk_bytes"])),
            show_bytes(number(&holding["memory_bytes"])),
            rate("reads"),
            quantiles("reads"),
            rate("writes"),
            quantiles("writes"),
        ]);
    }
    let mut lines = Vec::new();
    if !rows.is_empty() {
        let head = [
            "table",
            "tablets",
            "rows",
            "partitions",
            "on disk",
            "in memory",
            "reads/s",
            "p50 / p99",
            "writes/s",
            "p50 / p99",
        ];
        rows.insert(0, head.map(str::to_string).to_vec());
        lines.push(String::new());
        lines.extend(columns(&rows, 1));
    }
    let hidden = number(&status["holdings_total"]).saturating_sub(rows.len().saturating_sub(1) as u64);
    if hidden > 0 {
        lines.push(format!("{hidden} smaller ones are not shown; --format json shows more"));
    }
    for work in list(&status["work"]) {
        let (done, total) = (number(&work["bytes_done"]), number(&work["bytes_total"]));
        lines.push(format!(
            "shard {}: {}: {} of {}",
            work["shard"],
            word(&work["what"]),
            show_bytes(done),
            show_bytes(total)
        ));
    }
    lines
}

fn show_seconds(seconds: f64) -> String {
    match seconds {
        0.0 => "–".to_string(),
        _ if seconds < 1e-3 => format!("{:.0} µs", seconds * 1e6),
        _ if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{seconds:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Inside;
    use holon_kernel::holding::Work;
    use std::time::Duration;

    fn shard(id: u16, tablets: u64) -> ShardReport {
        let mut writes = Histogram::default();
        (0..10 * tablets).for_each(|_| writes.record(Duration::from_micros(900)));
        let holding = Holding {
            space: "zoo".to_string(),
            name: "animals".to_string(),
            tablets,
            rows: 100 * tablets,
            partitions: 10 * tablets,
            files: tablets,
            disk_bytes: 2048 * tablets,
            memory_bytes: 100,
            writes,
            ..Holding::default()
        };
        let small = Holding { space: "zoo".to_string(), name: "ants".to_string(), ..Holding::default() };
        let work = Work { what: "compacting zoo.animals, tablet 1".to_string(), bytes_done: 1024, bytes_total: 4096 };
        let inside = Inside {
            tasks: 1,
            polls: 1,
            tablets: 3,
            metrics: Vec::new(),
            status: Vec::new(),
            holdings: vec![("tables", vec![small, holding])],
            work: vec![("tables", work)],
        };
        ShardReport { id, connections: 0, envelopes_lost: 0, inside: Some(inside) }
    }

    #[test]
    fn shards_are_added_up_and_the_largest_comes_first() {
        let silent = ShardReport { id: 2, connections: 0, envelopes_lost: 0, inside: None };
        let mut status = json!({});
        put_into(&mut status, &[shard(0, 1), shard(1, 2), silent]);
        assert_eq!(status["holdings_total"], 2);
        let first = &status["holdings"][0];
        assert_eq!((&first["space"], &first["name"]), (&json!("zoo"), &json!("animals")));
        assert_eq!((&first["tablets"], &first["tablets_by_shard"]), (&json!(3), &json!([1, 2, 0])));
        assert_eq!(
            (&first["rows"], &first["partitions"], &first["disk_bytes"]),
            (&json!(300), &json!(30), &json!(6144))
        );
        assert_eq!(first["writes"]["count"], 30);
        assert_eq!(status["work"].as_array().map(Vec::len), Some(2));

        let mut before = json!({});
        put_into(&mut before, &[shard(0, 1)]);
        let shown = text(&status, &before, 2.0).join("\n");
        let line = shown.lines().find(|line| line.starts_with("zoo.animals")).expect("a line for the table");
        let cells: Vec<&str> = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        assert_eq!(cells[1..6], ["3 (1+2+0)", "~300", "~30", "6 KiB", "200 bytes"], "{shown}");
        assert_eq!(cells[8], "10", "{shown}");
        assert!(shown.contains("shard 1: compacting zoo.animals, tablet 1: 1 KiB of 4 KiB"), "{shown}");
    }
}
