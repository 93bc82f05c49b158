//! Arrows between crates: who may depend on whom, read from every Cargo.toml; and where a wire crate may be used.
//!
//! ```text
//!   base <- core <- service <- holon        wire <- its own service, under `front` only
//!           core and service <- edge, sim   nothing depends on sim, nor on scale, which uses core only
//! ```

use super::source::code_only;
use crate::workspace;
use std::collections::BTreeMap;
use toml::{Table, Value};

/// Arrows inside `core/`, from the crate to those it may use.
const CORE: &[(&str, &[&str])] = &[
    ("kernel", &[]),
    ("wal", &["kernel"]),
    ("store", &["kernel", "wal"]),
    // Machines without tasks: they know no shard.
    ("raft", &[]),
    ("member", &[]),
    ("placement", &[]),
    // Drives the three machines above on shard 0 of every node.
    ("metadata", &["kernel", "store", "raft", "member", "placement"]),
    ("replica", &["kernel", "store", "metadata", "raft"]),
];
/// The wire crates of each service.
const WIRES: &[(&str, &[&str])] = &[("tables", &["cql", "cql_language"]), ("log", &["kafka"])];
/// Services that may use another one's `model`; without cycles.
const SERVICES: &[(&str, &[&str])] = &[];
/// Places outside `front` that may name a wire crate, by the beginning of the path, each with its reason.
const WIRE_OUTSIDE_FRONT: &[(&str, &str)] = &[
    ("crates/service/tables/src/error.rs", "the one table from errors of the domain to codes of the protocol"),
    ("crates/service/tables/src/schema/", "the types of CQL are the types of columns; its changes are CQL's events"),
    ("crates/service/tables/src/types/", "the types of CQL are the types of columns"),
    (
        "crates/service/tables/src/plan/",
        "the planner reads the syntax tree, and binds values as the protocol brings them",
    ),
    ("crates/service/tables/src/ddl/", "statements of the language become changes of the schema"),
    ("crates/service/tables/src/describe/", "the schema becomes statements of the language"),
    ("crates/service/tables/src/system/", "the system tables tell drivers about protocol and language"),
    ("crates/service/tables/src/run/", "values and rows go from the store to the wire without another form between"),
    (
        "crates/service/tables/src/service/schema_change.rs",
        "turns a statement into an entry, and the entry into events",
    ),
    ("crates/service/tables/src/service/neighbours.rs", "tells clients by events which nodes come, go and seem dead"),
    ("crates/service/tables/src/workload/", "the workload speaks the protocol as a client does"),
    ("crates/service/log/src/store/", "batches are what partitions hold: checked and stamped, never taken apart"),
    ("crates/service/log/src/calls.rs", "a refused batch is told by the protocol's own code"),
    ("crates/service/log/src/tablet.rs", "batches are checked where they are appended"),
    ("crates/service/log/src/records.rs", "an offset by time is that of a record: its batch is taken apart for it"),
    ("crates/service/log/src/configs.rs", "the settings of a topic are the protocol's"),
    ("crates/service/log/src/coordinating/mod.rs", "groups are kept in batches of a partition"),
    ("crates/service/log/src/counts.rs", "requests and errors are counted by the protocol's APIs and codes"),
    ("crates/service/log/src/report.rs", "requests and errors are told by the protocol's names"),
    ("crates/service/log/src/workload.rs", "the workload makes and reads batches as a client does"),
    ("crates/service/log/tests/", "the tests make batches as a client does"),
    ("crates/holon/src/kafka/", "`holon topic` and `holon group` are clients"),
    ("crates/holon/src/demo/cql.rs", "the load of the demo comes through the door, as any client's does"),
    ("crates/service/tables/tests/", "the transcripts speak the protocol as a client does"),
];

/// Which layer a crate is in, by its folder, and its name there.
fn layer(folder: &str) -> (&str, &str) {
    let mut parts = folder.strip_prefix("crates/").unwrap_or(folder).splitn(2, '/');
    let first = parts.next().unwrap_or_default();
    match parts.next() {
        Some(name) => (first, name),
        None => (first, first),
    }
}

fn listed(table: &[(&str, &[&str])], from: &str, to: &str) -> bool {
    table.iter().any(|(name, allowed)| *name == from && allowed.contains(&to))
}

/// Whether the crate in `from` may depend on the crate in `to`, both folders.
fn allowed(from: &str, to: &str) -> bool {
    let ((from_layer, from_name), (to_layer, to_name)) = (layer(from), layer(to));
    match (from_layer, to_layer) {
        ("base" | "xtask", _) | (_, "sim" | "scale" | "xtask" | "holon") => false,
        (_, "base") | ("holon", _) => true,
        ("core", "core") => listed(CORE, from_name, to_name),
        ("service", "service") => listed(SERVICES, from_name, to_name),
        ("service", "wire") => listed(WIRES, from_name, to_name),
        ("service" | "edge" | "sim" | "scale", "core") | ("edge" | "sim", "service") => true,
        _ => false,
    }
}

fn manifests() -> BTreeMap<String, Table> {
    let paths = workspace::files("crates").into_iter().chain(workspace::files("xtask"));
    let mut found = BTreeMap::new();
    for path in paths.filter(|path| path.ends_with("/Cargo.toml")) {
        if let Ok(table) = workspace::text(&path).parse::<Table>() {
            found.insert(path.trim_end_matches("/Cargo.toml").to_string(), table);
        }
    }
    found
}

fn package_name(manifest: &Table) -> Option<String> {
    Some(manifest.get("package")?.get("name")?.as_str()?.to_string())
}

/// The tables of dependencies of a manifest, those of single targets included.
fn dependencies(manifest: &Table) -> Vec<(&'static str, &Table)> {
    const KINDS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];
    let targets = manifest.get("target").and_then(Value::as_table);
    let holders = std::iter::once(manifest)
        .chain(targets.into_iter().flat_map(|targets| targets.values().filter_map(Value::as_table)));
    let mut found = Vec::new();
    for holder in holders {
        for kind in KINDS {
            found.extend(holder.get(kind).and_then(Value::as_table).map(|table| (kind, table)));
        }
    }
    found
}

/// Every arrow between our crates is one of the design's.
pub fn between_crates() -> Vec<String> {
    let manifests = manifests();
    let folders: BTreeMap<String, &String> =
        manifests.iter().filter_map(|(folder, manifest)| Some((package_name(manifest)?, folder))).collect();
    let mut complaints = Vec::new();
    for (folder, manifest) in &manifests {
        for (kind, table) in dependencies(manifest) {
            for name in table.keys() {
                let Some(target) = folders.get(name) else { continue };
                // A crate's own tests may ask for its features.
                let own_tests = folder == *target && kind == "dev-dependencies";
                if !own_tests && !allowed(folder, target) {
                    complaints.push(format!("{folder} -> {target} ({kind}) is not an arrow of the design"));
                }
            }
        }
    }
    complaints
}

/// A service names its wire crates only in files under `front`.
pub fn wire_only_under_front() -> Vec<String> {
    let manifests = manifests();
    let wires: Vec<String> = manifests
        .iter()
        .filter(|(folder, _)| folder.starts_with("crates/wire/"))
        .filter_map(|(_, manifest)| Some(package_name(manifest)?.replace('-', "_")))
        .collect();
    let mut complaints = Vec::new();
    for path in workspace::files("crates").iter().filter(|path| path.ends_with(".rs")) {
        if path.starts_with("crates/wire/") || under_front(path) {
            continue;
        }
        let code = code_only(&workspace::text(path));
        for wire in wires.iter().filter(|wire| names(&code, wire)) {
            if !WIRE_OUTSIDE_FRONT.iter().any(|(prefix, _)| path.starts_with(prefix)) {
                complaints.push(format!("{path} names {wire}, which belongs under `front` of its service"));
            }
        }
    }
    complaints
}

fn under_front(path: &str) -> bool {
    path.starts_with("crates/service/") && (path.contains("/src/front/") || path.ends_with("/src/front.rs"))
}

/// Whether `code` holds `name` as a whole word.
fn names(code: &str, name: &str) -> bool {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(name)
        .any(|(at, _)| !code[..at].ends_with(is_word) && !code[at + name.len()..].starts_with(is_word))
}

/// Each dependency of the workspace says why it is there; each crate takes its own from the workspace.
pub fn dependencies_have_reasons() -> Vec<String> {
    let mut complaints = Vec::new();
    let mut inside = false;
    for line in workspace::text("Cargo.toml").lines() {
        if line.starts_with('[') {
            inside = line.trim() == "[workspace.dependencies]";
        } else if inside && line.contains('=') && !line.contains("path =") && !line.trim_start().starts_with('#') {
            let reason = line.rsplit_once('#').map_or("", |(_, reason)| reason.trim());
            if reason.len() < 10 || reason.contains('"') {
                complaints
                    .push(format!("Cargo.toml: no reason beside `{}`", line.split('=').next().unwrap_or("").trim()));
            }
        }
    }
    for (folder, manifest) in manifests() {
        for (kind, table) in dependencies(&manifest) {
            for (name, value) in table {
                if value.get("workspace").and_then(Value::as_bool) != Some(true) {
                    complaints.push(format!("{folder}: `{name}` in {kind} is not taken from the workspace"));
                }
            }
        }
    }
    complaints
}

/// `cargo run -- start` of the README must find one binary: holon is the only default member.
pub fn one_default_member() -> Vec<String> {
    let manifest: Table = workspace::text("Cargo.toml").parse().unwrap_or_default();
    let members = manifest.get("workspace").and_then(|table| table.get("default-members")).and_then(Value::as_array);
    let names: Vec<&str> = members.into_iter().flatten().filter_map(Value::as_str).collect();
    if names == ["crates/holon"] {
        Vec::new()
    } else {
        vec![format!("default-members are {names:?}, not crates/holon alone")]
    }
}

#[cfg(test)]
mod tests {
    use super::{allowed, names};

    #[test]
    fn arrows_point_down_only() {
        for (from, to) in [
            ("crates/core/kernel", "crates/base"),
            ("crates/core/store", "crates/core/kernel"),
            ("crates/service/tables", "crates/wire/cql"),
            ("crates/service/tables", "crates/core/store"),
            ("crates/edge", "crates/core/kernel"),
            ("crates/sim", "crates/service/tables"),
            ("crates/holon", "crates/edge"),
            ("crates/scale", "crates/core/member"),
        ] {
            assert!(allowed(from, to), "{from} -> {to}");
        }
        for (from, to) in [
            ("crates/base", "crates/core/kernel"),
            ("crates/core/kernel", "crates/core/store"),
            ("crates/core/store", "crates/service/tables"),
            ("crates/core/kernel", "crates/edge"),
            ("crates/core/store", "crates/wire/cql"),
            ("crates/edge", "crates/wire/cql"),
            ("crates/holon", "crates/sim"),
            ("crates/holon", "crates/scale"),
            ("crates/scale", "crates/service/tables"),
            ("crates/core/kernel", "crates/sim"),
            ("crates/service/log", "crates/wire/cql"),
            ("crates/service/log", "crates/service/tables"),
            ("crates/wire/cql", "crates/core/kernel"),
            ("xtask", "crates/base"),
        ] {
            assert!(!allowed(from, to), "{from} -> {to}");
        }
    }

    #[test]
    fn a_name_is_a_whole_word() {
        assert!(names("use holon_cql::Frame;", "holon_cql"));
        assert!(!names("use holon_cql_language::Statement;", "holon_cql"));
    }
}
