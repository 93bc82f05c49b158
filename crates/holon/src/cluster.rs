//! The cluster as one node sees it: for `/status.json`, and as text for `holon status`. It reads values and makes words; what a
//! node, a slot or a move is, is `holon-metadata`'s.

use crate::size::show_bytes;
use crate::text::{columns, list, number, show_count, word};
use holon_kernel::holding::Amount;
use holon_metadata::{ClusterView, MoveView, NodeView, TabletView};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Lines of nodes and of moves in the text of `holon status`.
const TEXT_LINES_MAX: usize = 40;

/// Letters of an id that people are shown: `holon cluster …` takes as few as are clear.
const SHORT_ID: usize = 8;

/// Cells of the bar that shows how far a change is.
const BAR_CELLS: usize = 30;

/// Keyspace and name of a group of tablets, by its number.
pub type Names = BTreeMap<u64, (String, String)>;

/// `{"cluster": …}`, to be put into the status. Nodes are named by their place in `nodes` but for where it says id.
pub fn put_into(status: &mut Value, view: &ClusterView, names: &Names) {
    status["cluster"] = json!({
        "index": view.index,
        "me": view.me,
        "leader": view.leader.map(|node| node.to_string()),
        "voters": view.voters,
        "nodes_total": view.nodes_in_all,
        "nodes": view.nodes.iter().map(node_to_json).collect::<Vec<_>>(),
        "figures_at_seconds": view.figures_at.0 as f64 / 1e9,
        "tablets_total": view.groups.iter().map(|group| group.tablets).sum::<usize>(),
        "ring": view.ring.as_ref().map(|ring| json!({
            "slots": ring.slots, "owners": owners_to_json(&ring.owners), "target": owners_to_json(&ring.target),
        })),
        "change": view.change.as_ref().map(|change| json!({
            "kind": change.kind,
            "node_ids": change.nodes.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "started_index": change.started, "going_back": change.going_back,
            "tablets": change.tablets, "done": change.done, "moving": change.moving, "waiting": change.waiting,
            "waits": change.waits.iter().map(|wait| json!({
                "node_id": wait.node.to_string(), "tablets": wait.tablets,
                "down_seconds": wait.down_for.map(|down| down.as_secs()),
            })).collect::<Vec<_>>(),
            "copied": amount_to_json(change.copied),
        })),
        "moves": view.moves.iter().map(|moving| move_to_json(moving, names)).collect::<Vec<_>>(),
    });
    let groups: BTreeMap<u64, (usize, usize)> =
        view.groups.iter().map(|group| (group.id.0, (group.tablets, group.moving))).collect();
    for holding in status["holdings"].as_array_mut().into_iter().flatten() {
        if let Some((tablets, moving)) = groups.get(&number(&holding["group"])) {
            (holding["tablets_total"], holding["tablets_moving"]) = (json!(tablets), json!(moving));
        }
    }
}

fn amount_to_json(amount: Amount) -> Value {
    json!({ "rows": amount.rows, "bytes": amount.bytes })
}

fn node_to_json(node: &NodeView) -> Value {
    let doors: Map<String, Value> = node.doors.iter().map(|(name, address)| (name.clone(), json!(address))).collect();
    json!({
        "id": node.id.to_string(), "address": node.address, "doors": doors,
        "data_center": node.data_center, "rack": node.rack, "shards": node.shards,
        "state": node.state, "member": node.member, "voter": node.voter, "leader": node.leader,
        "slots": node.slots, "share": node.share, "tablets": node.tablets,
        "requests_total": node.load.map(|load| load.requests), "data_bytes": node.load.map(|load| load.data_bytes),
        "copied": node.copied.map(amount_to_json),
    })
}

fn owners_to_json(owners: &[(String, Vec<Option<usize>>)]) -> Value {
    owners.iter().map(|(center, slots)| (center.clone(), json!(slots))).collect::<Map<String, Value>>().into()
}

fn move_to_json(moving: &MoveView, names: &Names) -> Value {
    let name = names.get(&moving.group.0).map(|(space, name)| format!("{space}.{name}"));
    json!({
        "table": name.unwrap_or_else(|| format!("group {}", moving.group.0)),
        "tablet": moving.ordinal, "slot": moving.slot, "phase": moving.phase, "from": moving.from, "to": moving.to,
        "copied": amount_to_json(moving.copied), "whole": moving.whole.map(amount_to_json),
    })
}

/// The answer to `/status.json?tablets=KEYSPACE.TABLE&from=ORDINAL`. Tokens are text: they are too large for the numbers of
/// many who read JSON.
pub fn tablets_to_json(table: &str, tablets: &[TabletView]) -> Value {
    let ids = |nodes: &[holon_base::NodeId]| nodes.iter().map(ToString::to_string).collect::<Vec<_>>();
    let one = |tablet: &TabletView| {
        json!({
            "tablet": tablet.ordinal, "slot": tablet.slot, "end_token": tablet.end_token.to_string(),
            "phase": tablet.phase, "replica_ids": ids(&tablet.readers), "other_replica_ids": ids(&tablet.joint),
        })
    };
    json!({ "table": table, "tablets": tablets.iter().map(one).collect::<Vec<_>>() })
}

fn short(id: &str) -> String {
    id.chars().take(SHORT_ID).collect()
}

/// The nodes of a cluster, and how far the change on its way is. `before` is an earlier status, for rates. Empty for a node
/// that is alone.
pub fn text(status: &Value, before: &Value) -> Vec<String> {
    let (now, then) = (&status["cluster"], &before["cluster"]);
    if number(&now["nodes_total"]) < 2 {
        return Vec::new();
    }
    let mut lines = vec![String::new()];
    lines.extend(change_text(status, before));
    lines.extend(columns(&node_rows(now, then), 5));
    let hidden = number(&now["nodes_total"]).saturating_sub(list(&now["nodes"]).len().min(TEXT_LINES_MAX) as u64);
    if hidden > 0 {
        lines.push(format!("{hidden} more nodes are not shown"));
    }
    lines
}

/// Seconds between the figures of two statuses; `None`: they are the same.
fn figures_span(now: &Value, then: &Value) -> Option<f64> {
    let at = |cluster: &Value| cluster["figures_at_seconds"].as_f64();
    Some(at(now)? - at(then)?).filter(|span| *span > 0.05)
}

fn node_rows(now: &Value, then: &Value) -> Vec<Vec<String>> {
    let earlier = list(&then["nodes"]);
    let head = ["node", "", "address", "place", "state", "slots", "share", "tablets", "data", "requests/s"];
    let mut rows = vec![head.map(str::to_string).to_vec()];
    for node in list(&now["nodes"]).iter().take(TEXT_LINES_MAX) {
        let was = earlier.iter().find(|was| was["id"] == node["id"]);
        let rate = || {
            let more = number(&node["requests_total"]).checked_sub(was?["requests_total"].as_u64()?)?;
            Some(format!("{:.0}", more as f64 / figures_span(now, then)?))
        };
        let rate = node["requests_total"].as_u64().and_then(|_| rate());
        let role = match (node["leader"] == true, node["voter"] == true) {
            (true, _) => "leader",
            (_, true) => "voter",
            _ => "",
        };
        rows.push(vec![
            short(&word(&node["id"])),
            role.to_string(),
            word(&node["address"]),
            format!("{}/{}", word(&node["data_center"]), word(&node["rack"])),
            format!("{}, {}", word(&node["state"]), word(&node["member"])),
            number(&node["slots"]).to_string(),
            format!("{:.1} %", 100.0 * node["share"].as_f64().unwrap_or(0.0)),
            number(&node["tablets"]).to_string(),
            node["data_bytes"].as_u64().map_or_else(|| "–".to_string(), show_bytes),
            rate.unwrap_or_else(|| "–".to_string()),
        ]);
    }
    rows
}

fn bar(part: f64) -> String {
    let full = ((part * BAR_CELLS as f64) as usize).min(BAR_CELLS);
    format!("{}{}", "█".repeat(full), "░".repeat(BAR_CELLS - full))
}

/// How much of a change is done: its tablets, each that moves by what of it is copied.
pub fn part_done(cluster: &Value) -> f64 {
    let change = &cluster["change"];
    let of_move = |moving: &Value| {
        let whole = number(&moving["whole"]["rows"]);
        match word(&moving["phase"]).as_str() {
            "streaming" if whole > 0 => (number(&moving["copied"]["rows"]) as f64 / whole as f64).min(1.0),
            "read new" | "clean" => 1.0,
            _ => 0.0,
        }
    };
    let moving: f64 = list(&cluster["moves"]).iter().map(of_move).sum();
    let all = number(&change["tablets"]);
    if all == 0 { 1.0 } else { ((number(&change["done"]) as f64 + moving) / all as f64).min(1.0) }
}

fn change_text(status: &Value, before: &Value) -> Vec<String> {
    let (now, then) = (&status["cluster"], &before["cluster"]);
    let change = &now["change"];
    if change.is_null() {
        return Vec::new();
    }
    let whom: Vec<String> = list(&change["node_ids"]).iter().map(|id| short(&word(id))).collect();
    let back = if change["going_back"] == true { ", going back" } else { "" };
    let mut lines = vec![format!(
        "change    {}{}: {} of {} tablets done, {} moving, {} waiting{back}",
        word(&change["kind"]),
        if whom.is_empty() { String::new() } else { format!(" {}", whom.join(" for ")) },
        change["done"],
        change["tablets"],
        change["moving"],
        change["waiting"],
    )];
    lines.extend(list(&change["waits"]).iter().map(wait_text));
    let same = then["change"]["started_index"] == change["started_index"];
    let span = figures_span(now, then).filter(|_| same);
    let rate = |what: &str| {
        let more = number(&change["copied"][what]).saturating_sub(number(&then["change"]["copied"][what]));
        span.map(|span| more as f64 / span)
    };
    let copied = &change["copied"];
    let part = part_done(now);
    let mut told =
        vec![format!("{} rows ({})", show_count(number(&copied["rows"])), show_bytes(number(&copied["bytes"])))];
    if let (Some(rows), Some(bytes)) = (rate("rows"), rate("bytes")) {
        told.push(format!("{} rows/s ({}/s)", show_count(rows as u64), show_bytes(bytes as u64)));
    }
    let gained = part - part_done(then);
    if let Some(span) = span.filter(|_| gained > 1e-6 && part < 1.0) {
        told.push(format!("about {:.0} s left", ((1.0 - part) / gained * span).ceil()));
    }
    lines.push(format!("          {} {:.0} %  {}", bar(part), 100.0 * part, told.join(", ")));
    let moves = list(&now["moves"]);
    lines.extend(moves.iter().take(TEXT_LINES_MAX).map(|moving| move_text(now, moving)));
    lines.push(String::new());
    lines
}

fn wait_text(wait: &Value) -> String {
    let node = short(&word(&wait["node_id"]));
    let since = wait["down_seconds"].as_u64().map(|down| format!(" for {down} s")).unwrap_or_default();
    let ways = format!("start it, or `holon cluster forget {node}` if it never comes back, or `holon cluster cancel`");
    format!("          WAITS for node {node}, which is down{since}: {} tablets; {ways}", wait["tablets"])
}

fn move_text(cluster: &Value, moving: &Value) -> String {
    let names = |places: &Value| {
        let name = |place: &Value| short(&word(&cluster["nodes"][number(place) as usize]["id"]));
        list(places).iter().map(name).collect::<Vec<_>>().join(" ")
    };
    let (copied, whole) = (number(&moving["copied"]["rows"]), moving["whole"]["rows"].as_u64());
    let of = whole.map_or_else(String::new, |whole| format!(" of ~{}", show_count(whole)));
    format!(
        "          {} tablet {}: {} → {}, {}, {}{of} rows",
        word(&moving["table"]),
        moving["tablet"],
        names(&moving["from"]),
        names(&moving["to"]),
        word(&moving["phase"]),
        show_count(copied),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use holon_base::{GroupId, Instant, NodeId};
    use holon_kernel::holding::Load;
    use holon_metadata::{ChangeView, GroupView, RingView, WaitView};

    fn node(number: u128, requests: u64) -> NodeView {
        NodeView {
            id: NodeId(number << 96),
            address: format!("10.0.0.{number}:7000"),
            doors: vec![("cql".to_string(), format!("10.0.0.{number}:9042"))],
            data_center: "home".to_string(),
            rack: "a".to_string(),
            shards: 2,
            state: "up",
            member: if number == 2 { "joining" } else { "normal" },
            voter: true,
            leader: number == 1,
            slots: if number == 1 { 16 } else { 0 },
            share: if number == 1 { 1.0 } else { 0.0 },
            tablets: 4,
            load: Some(Load { requests, data_bytes: 2048 }),
            copied: None,
        }
    }

    /// A node joins: of 10 tablets 5 are done and one is half copied.
    fn joining(at_seconds: u64, requests: u64, rows: u64, done: usize) -> ClusterView {
        let moving = MoveView {
            group: GroupId(7),
            ordinal: 3,
            slot: 3,
            phase: "streaming",
            from: vec![0],
            to: vec![1],
            copied: Amount { rows: 500, bytes: 5000 },
            whole: Some(Amount { rows: 1000, bytes: 10_000 }),
        };
        ClusterView {
            index: 12,
            me: Some(0),
            nodes: vec![node(1, requests), node(2, 0)],
            nodes_in_all: 2,
            figures_at: Instant(at_seconds * 1_000_000_000),
            leader: Some(NodeId(1 << 96)),
            voters: 2,
            ring: Some(RingView {
                slots: 2,
                owners: vec![("home".to_string(), vec![Some(0), None])],
                target: Vec::new(),
            }),
            groups: vec![GroupView { id: GroupId(7), tablets: 10, moving: 5 }],
            change: Some(ChangeView {
                kind: "join",
                nodes: vec![NodeId(2 << 96)],
                started: 11,
                going_back: false,
                tablets: 10,
                done,
                moving: 1,
                waiting: 9 - done,
                waits: Vec::new(),
                copied: Amount { rows, bytes: 10 * rows },
            }),
            moves: vec![moving],
        }
    }

    fn status(view: &ClusterView) -> Value {
        let names = Names::from([(7, ("zoo".to_string(), "animals".to_string()))]);
        let mut status = json!({ "holdings": [{ "space": "zoo", "name": "animals", "group": 7 }] });
        put_into(&mut status, view, &names);
        status
    }

    #[test]
    fn a_change_is_told_with_its_progress_rate_and_time_left() {
        let (before, now) = (status(&joining(10, 100, 4000, 4)), status(&joining(12, 300, 5000, 5)));
        assert_eq!(
            (&now["holdings"][0]["tablets_total"], &now["holdings"][0]["tablets_moving"]),
            (&json!(10), &json!(5))
        );
        assert_eq!(now["cluster"]["ring"]["owners"], json!({ "home": [0, null] }));
        let lines = text(&now, &before);
        assert_eq!(lines[1], "change    join 00000002: 5 of 10 tablets done, 1 moving, 4 waiting");
        assert!(lines[2].contains("55 %  5,000 rows (48.8 KiB), 500 rows/s (4.9 KiB/s), about 9 s left"), "{lines:?}");
        assert_eq!(lines[2].matches('█').count(), 16, "{lines:?}");
        let told = "zoo.animals tablet 3: 00000001 → 00000002, streaming, 500 of ~1,000 rows";
        assert_eq!(lines[3].trim(), told);
        let first: Vec<&str> = lines[6].split_whitespace().collect();
        let wanted = "00000001 leader 10.0.0.1:7000 home/a up, normal 16 100.0 % 4 2 KiB 100";
        assert_eq!(first.join(" "), wanted, "{lines:?}");
    }

    #[test]
    fn a_change_that_waits_says_for_whom_and_since_when() {
        let mut view = joining(10, 100, 0, 0);
        let waits = WaitView { node: NodeId(1 << 96), tablets: 2, down_for: Some(std::time::Duration::from_secs(42)) };
        view.change.as_mut().expect("on its way").waits = vec![waits, WaitView { down_for: None, ..waits }];
        let now = status(&view);
        assert_eq!(now["cluster"]["change"]["waits"][0]["down_seconds"], json!(42));
        let lines = text(&now, &now);
        assert!(lines[2].contains("WAITS for node 00000001, which is down for 42 s: 2 tablets; start it"), "{lines:?}");
        assert!(lines[3].contains("WAITS for node 00000001, which is down: 2 tablets"), "{lines:?}");
    }

    #[test]
    fn what_is_not_known_is_not_made_up() {
        let mut view = joining(10, 100, 0, 0);
        view.moves[0].whole = None;
        view.nodes[1].load = None;
        let now = status(&view);
        let lines = text(&now, &now);
        assert!(lines[2].ends_with("0 %  0 rows (0 bytes)"), "no rate and no time left after one look: {lines:?}");
        let silent: Vec<&str> = lines[7].split_whitespace().rev().take(2).collect();
        assert_eq!(silent, ["–", "–"], "a node that did not answer has no data and no rate: {lines:?}");
        view.nodes.truncate(1);
        view.nodes_in_all = 1;
        assert!(text(&status(&view), &now).is_empty(), "a node alone has no cluster to tell of");
    }
}
