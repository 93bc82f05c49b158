//! The core does no IO: words that `core/`, `wire/` and `service/` may not hold.
//!
//! clippy bans most of them too (`clippy.toml` in those folders), but it sees only what resolves for one target and one
//! set of features; this reads the text.

use super::source::code_only;
use crate::workspace;

/// The word, and why it is banned.
const BANNED: &[(&str, &str)] = &[
    ("Instant::now", "time is an argument"),
    ("SystemTime", "time is an argument"),
    ("std::thread", "one thread a shard, made by edge"),
    ("thread::spawn", "one thread a shard, made by edge"),
    ("thread::sleep", "time is an argument"),
    ("thread_local!", "a shard's state is passed, so that the simulator can hold many shards in one thread"),
    ("std::fs", "files are reached through the Disk contract"),
    ("std::net", "sockets live in edge"),
    ("tokio", "runtimes live in edge"),
    ("collections::HashMap", "its order differs between runs; use holon_base::Map or BTreeMap"),
    ("collections::HashSet", "its order differs between runs; use holon_base::Set or BTreeSet"),
    ("RandomState", "its order differs between runs"),
    ("std::env", "configuration is handed in"),
];
/// Names that may not stand inside the braces of a `use std::{…}` either.
const BANNED_IN_GROUPS: &[&str] = &["fs", "net", "thread", "env"];
/// Addresses are values like any other (the inet type of CQL, the peer of a session); the rest of `std::net` is sockets.
const PLAIN_VALUES: &[&str] = &["std::net::IpAddr", "std::net::Ipv4Addr", "std::net::Ipv6Addr", "std::net::SocketAddr"];
/// Files that may hold one of the words, each with its reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("crates/core/wal/src/plant.rs", "thread_local!", "a planted bug is a switch of the whole test process"),
    ("crates/core/store/src/plant.rs", "thread_local!", "a planted bug is a switch of the whole test process"),
    ("crates/core/kernel/src/plant.rs", "thread_local!", "a planted bug is a switch of the whole test process"),
    ("crates/core/replica/src/plant.rs", "thread_local!", "a planted bug is a switch of the whole test process"),
];
/// What stays banned in tests and examples, which may read fixtures, variables and the clock.
const BANNED_IN_TESTS: &[&str] = &["tokio", "std::net", "thread::sleep"];

/// No banned word in the folders that do no IO.
pub fn core_does_no_io() -> Vec<String> {
    let mut complaints = Vec::new();
    for folder in ["crates/core", "crates/wire", "crates/service"] {
        for path in workspace::files(folder).iter().filter(|path| path.ends_with(".rs")) {
            for (line, word, reason) in scan(&workspace::text(path)) {
                let outside = !path.contains("/src/") && !BANNED_IN_TESTS.contains(&word);
                let excepted = EXCEPTIONS.iter().any(|(file, excepted, _)| path == file && *excepted == word);
                if !outside && !excepted {
                    complaints.push(format!("{path}:{line}: `{word}`: {reason}"));
                }
            }
        }
        if workspace::text(&format!("{folder}/clippy.toml")).is_empty() {
            complaints.push(format!("{folder}/clippy.toml is missing"));
        }
    }
    complaints
}

fn scan(text: &str) -> Vec<(usize, &'static str, &'static str)> {
    let mut found = Vec::new();
    for (index, line) in code_only(text).lines().enumerate() {
        let mut line = line.to_string();
        for value in PLAIN_VALUES {
            line = line.replace(value, "");
        }
        if line.contains("std::net::{") && only_addresses(&line) {
            line = line.replace("std::net::{", "");
        }
        for (word, reason) in BANNED {
            if line.contains(word) {
                found.push((index + 1, *word, *reason));
            }
        }
        if let Some((_, group)) = line.split_once("use std::{") {
            for name in group.split([',', '}', ';']).map(|part| part.trim().split("::").next().unwrap_or("")) {
                if let Some(banned) = BANNED_IN_GROUPS.iter().find(|banned| **banned == name) {
                    found.push((index + 1, *banned, "the core does no IO"));
                }
            }
        }
    }
    found
}

fn only_addresses(line: &str) -> bool {
    let inside = line.split_once("std::net::{").map_or("", |(_, rest)| rest).split('}').next().unwrap_or("");
    inside.split(',').map(str::trim).filter(|name| !name.is_empty()).all(|name| name.ends_with("Addr"))
}

#[cfg(test)]
mod tests {
    use super::scan;

    #[test]
    fn banned_words_are_found_in_code_and_not_in_prose() {
        let banned = [
            "let now = Instant::now();",
            "use std::collections::HashMap;",
            "use std::{fs, io};",
            "use std::net::TcpStream;",
            "tokio::spawn(x);",
            "use std::net::{IpAddr, TcpStream};",
        ];
        for line in banned {
            assert_eq!(scan(line).len(), 1, "{line}");
        }
        let fine = ["// tokio", "let x = \"std::fs\";", "use std::net::{IpAddr, Ipv4Addr};", "use std::{fmt, io};"];
        for line in fine {
            assert!(scan(line).is_empty(), "{line}");
        }
    }
}
