//! Whole sessions as text: what a client says, and what it is told.
//!
//! ```text
//!   @v5lz4 a                      a connection `a`, protocol version 5, LZ4 (v3, v4, v5, each plain, lz4 or snappy)
//!   a STARTUP                     a message
//!       0: READY                  what comes back: stream, message, rows
//!   @restart  @crash  @advance 10 the node starts again, after a clean stop or without one; seconds pass
//! ```
//!
//! `REBUILD=1 cargo test -p holon-tables --test transcripts` writes the answers anew; read the difference.

#[path = "support/render.rs"]
mod render;
#[path = "support/script.rs"]
mod script;
mod support;

use holon_cql::{Compression, Version};
use holon_tables::service::{Authentication, TablesConfig};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use support::{Connected, Node};

/// The answers are indented so far.
const INDENT: &str = "    ";

struct Play {
    node: Option<Node>,
    connections: BTreeMap<String, Connected>,
    ids: BTreeMap<String, script::PreparedIds>,
    paging: BTreeMap<String, bytes::Bytes>,
}

impl Play {
    fn new(config: TablesConfig) -> Play {
        let node = Some(Node::start(config));
        Play { node, connections: BTreeMap::new(), ids: BTreeMap::new(), paging: BTreeMap::new() }
    }

    fn node(&self) -> &Node {
        self.node.as_ref().expect("there is a node between two lines")
    }

    /// Plays a line and gives what came back.
    fn line(&mut self, line: &str) -> Vec<String> {
        if let Some(directive) = line.strip_prefix('@') {
            return self.directive(directive);
        }
        let (name, message) = line.split_once(' ').unwrap_or_else(|| panic!("no message in {line:?}"));
        let paging = self.paging.get(name).cloned();
        let connection = self.connections.get_mut(name).unwrap_or_else(|| panic!("no connection {name:?}"));
        match message.split_once(' ') {
            Some(("BYTES", bytes)) => connection.send_bytes(&script::from_hexadecimal(bytes)),
            _ => {
                let ids = self.ids.entry(name.to_string()).or_default();
                let request = script::request(message, ids, paging, connection.client.version());
                let request = request.unwrap_or_else(|| connection.client.startup());
                connection.send(request);
            }
        }
        self.collect()
    }

    /// What all connections got, the speaker's and the others'.
    fn collect(&mut self) -> Vec<String> {
        self.node().settle();
        let mut lines = Vec::new();
        for (name, connection) in &mut self.connections {
            let messages = connection.received_or_bytes().unwrap_or_else(|bytes| {
                lines.push(format!("{INDENT}{name} bytes {}", bytes.escape_ascii()));
                Vec::new()
            });
            for message in messages {
                self.ids.entry(name.clone()).or_default().learn(&message);
                if let Some(state) = script::paging_state(&message) {
                    self.paging.insert(name.clone(), state);
                }
                lines.extend(render::render(&message).into_iter().map(|line| format!("{INDENT}{name} {line}")));
            }
            if connection.is_closed() && connection.outbox.pending_bytes() == 0 {
                lines.push(format!("{INDENT}{name} closed"));
            }
        }
        let closed: Vec<String> =
            self.connections.iter().filter(|(_, c)| c.is_closed()).map(|(name, _)| name.clone()).collect();
        for name in closed {
            let connection = self.connections.remove(&name).expect("found above");
            connection.close(self.node());
        }
        lines
    }

    fn directive(&mut self, directive: &str) -> Vec<String> {
        let words: Vec<&str> = directive.split_whitespace().collect();
        match words[..] {
            ["restart"] | ["crash"] => {
                self.connections.clear();
                let node = self.node.take().expect("there is a node between two lines");
                self.node = Some(if directive == "restart" { node.restart() } else { node.crash() });
            }
            ["advance", seconds] => {
                let seconds = seconds.parse().expect("a number of seconds");
                self.node().test.advance(Duration::from_secs(seconds));
            }
            ["command", ref command @ ..] => {
                return match self.node().command(command) {
                    Ok(text) => text.lines().map(|line| format!("{INDENT}{line}")).collect(),
                    Err(text) => vec![format!("{INDENT}error: {text}")],
                };
            }
            [kind, name] => {
                let (version, compression) = connection_kind(kind);
                let connection = self.node().connect(version, compression);
                self.connections.insert(name.to_string(), connection);
            }
            _ => panic!("no directive @{directive}"),
        }
        self.collect()
    }
}

fn connection_kind(kind: &str) -> (Version, Option<Compression>) {
    let version = kind.get(1..2).and_then(|number| number.parse().ok()).and_then(Version::from_number);
    let version = version.unwrap_or_else(|| panic!("no version in @{kind}"));
    let compression = match &kind[2..] {
        "" => None,
        name => Some(Compression::from_name(name, version).expect("a compression")),
    };
    (version, compression)
}

/// Plays a transcript and gives it back with the answers that came.
fn play(text: &str) -> String {
    let with_password = text.lines().any(|line| line == "# auth password");
    let authentication = if with_password { Authentication::Password } else { Authentication::Off };
    let mut play = Play::new(TablesConfig { authentication, ..TablesConfig::default() });
    let mut out = String::new();
    for line in text.lines().filter(|line| !line.starts_with(INDENT)) {
        out += line;
        out.push('\n');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        for answer in play.line(line) {
            out += answer.trim_end();
            out.push('\n');
        }
    }
    out
}

fn transcripts() -> Vec<(PathBuf, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let entries = std::fs::read_dir(&folder).expect("the folder of transcripts");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read_to_string(&path).expect("a transcript"))).collect()
}

#[test]
fn sessions_go_as_written() {
    let all = transcripts();
    assert!(!all.is_empty());
    for (path, expected) in all {
        let found = play(&expected);
        if std::env::var_os("REBUILD").is_some() {
            std::fs::write(&path, found).expect("written");
            continue;
        }
        let differs = expected.lines().zip(found.lines()).position(|(expected, found)| expected != found);
        if let Some(line) = differs {
            let at = |text: &str| text.lines().skip(line.saturating_sub(2)).take(6).collect::<Vec<_>>().join("\n");
            panic!("{}:{}: expected\n{}\nfound\n{}", path.display(), line + 1, at(&expected), at(&found));
        }
        assert_eq!(expected.lines().count(), found.lines().count(), "{}", path.display());
    }
}
