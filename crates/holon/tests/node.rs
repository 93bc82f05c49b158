//! The binary itself: it starts, says where its doors are, answers, refuses with one clear line, and comes back.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

struct Place {
    path: PathBuf,
}

impl Place {
    fn new() -> Place {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("holon-node-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("temporary directory");
        Place { path }
    }

    fn data(&self) -> PathBuf {
        self.path.join("data")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.path));
    }
}

fn holon(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holon"));
    command.args(words).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HOLON_")) {
        command.env_remove(name);
    }
    command
}

fn run(words: &[&str], data: &Path) -> Output {
    holon(words).arg("--data-dir").arg(data).output().expect("the binary runs")
}

/// The one line with which a command refuses.
fn refusal(output: &Output) -> String {
    assert!(!output.status.success(), "it should have failed: {output:?}");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("holon: ")).collect();
    assert_eq!(lines.len(), 1, "not one line: {text}");
    lines[0].to_string()
}

struct Node {
    child: Child,
    /// Everything up to `ready in`.
    banner: Vec<String>,
}

/// Doors at ports that nobody else has.
const ANY_PORTS: [&str; 8] =
    ["--cql-address", ":0", "--kafka-address", ":0", "--console-address", ":0", "--peer-address", ":0"];

impl Node {
    fn start(data: &Path, words: &[&str]) -> Node {
        let mut command = holon(&["start", "--memory", "128MiB"]);
        command.args(ANY_PORTS).args(words).arg("--data-dir").arg(data);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut banner = Vec::new();
        for line in stdout.lines() {
            let line = line.expect("stdout");
            let ready = line.starts_with("ready in ");
            banner.push(line);
            if ready {
                return Node { child, banner };
            }
        }
        panic!("it ended before it was ready: {banner:?}, {:?}", child.wait());
    }

    fn address(&self, door: &str) -> SocketAddr {
        let line = self.banner.iter().find(|line| line.starts_with(door)).expect("a line for the door");
        let address = line[door.len()..].trim().trim_start_matches("http://").trim_end_matches('/');
        address.parse().expect("an address")
    }

    /// Status line and body of what a raw request brings.
    fn http(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address("console")).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
        stream.write_all(request.as_bytes()).expect("write");
        let mut answer = String::new();
        drop(stream.read_to_string(&mut answer));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        (head.lines().next().unwrap_or_default().to_string(), body.to_string())
    }

    fn get(&self, path: &str) -> (String, String) {
        self.http(&format!("GET {path} HTTP/1.1\r\nHost: holon\r\nConnection: close\r\n\r\n"))
    }

    fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.get("/status.json").1).expect("JSON")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_node_starts_answers_and_stops() {
    let place = Place::new();
    let mut node = Node::start(&place.data(), &[]);
    assert!(node.banner.last().expect("banner").ends_with(" ms"), "{:?}", node.banner);
    for (path, status, part) in [
        ("/", "200", "<title>Holon</title>"),
        ("/healthz", "200", "ok"),
        ("/readyz", "200", "ready"),
        ("/metrics", "200", "holon_shard_up{shard=\"0\"} 1"),
        ("/metrics", "200", "# EOF"),
        ("/elsewhere", "404", "/metrics"),
    ] {
        let (found, body) = node.get(path);
        assert!(found.contains(status) && body.contains(part), "{path}: {found}: {body}");
    }
    let status = node.status();
    assert_eq!(status["state"], "ready");
    for (at, name) in ["peers", "cql"].into_iter().enumerate() {
        assert_eq!(status["doors"][at]["name"], name);
        assert_eq!(status["doors"][at]["address"], node.address(name).to_string());
    }
    let shown = run(&["status", "--format", "json"], &place.data());
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(shown["node"], status["node"]);
    let shown = String::from_utf8(run(&["status"], &place.data()).stdout).expect("text");
    assert!(shown.contains(&node.address("cql").to_string()), "{shown}");
    let stopped = run(&["stop"], &place.data());
    assert!(stopped.status.success());
    assert_eq!(node.child.wait().expect("wait").code(), Some(0));
    assert!(refusal(&run(&["status"], &place.data())).contains("no node runs on"));
}

/// A request of the CQL protocol, version 4: its answer's opcode.
fn cql(client: &mut TcpStream, opcode: u8, body: &[u8]) -> u8 {
    let mut frame = vec![4, 0, 0, 0, opcode];
    frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
    frame.extend_from_slice(body);
    client.write_all(&frame).expect("write");
    let mut head = [0; 9];
    client.read_exact(&mut head).expect("an answer");
    let length = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    client.read_exact(&mut vec![0; length as usize]).expect("its body");
    head[4]
}

/// Opcodes of requests and of their answers.
const OPTIONS: (u8, u8) = (5, 6);
const STARTUP: (u8, u8) = (1, 2);
const QUERY: (u8, u8) = (7, 8);

fn query(client: &mut TcpStream, text: &str) {
    let mut body = (text.len() as u32).to_be_bytes().to_vec();
    body.extend_from_slice(text.as_bytes());
    body.extend_from_slice(&[0, 1, 0]); // consistency ONE, no flags
    assert_eq!(cql(client, QUERY.0, &body), QUERY.1, "{text}");
}

#[test]
fn status_tells_of_every_table() {
    use serde_json::json;
    let place = Place::new();
    let node = Node::start(&place.data(), &["--shards", "2"]);
    assert_eq!(node.status()["holdings_total"], 0);
    let mut client = TcpStream::connect(node.address("cql")).expect("connect");
    assert_eq!(cql(&mut client, STARTUP.0, b"\0\x01\0\x0bCQL_VERSION\0\x053.0.0"), STARTUP.1);
    query(&mut client, "CREATE KEYSPACE zoo WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
    query(&mut client, "CREATE TABLE zoo.animals (house text, name text, PRIMARY KEY (house, name))");
    for name in ["Ada", "Bo"] {
        query(&mut client, &format!("INSERT INTO zoo.animals (house, name) VALUES ('cats', '{name}')"));
    }
    assert!(run(&["tables", "flush"], &place.data()).status.success());
    query(&mut client, "SELECT * FROM zoo.animals WHERE house = 'cats'");
    let status = node.status();
    let table = &status["holdings"][0];
    assert_eq!((&table["space"], &table["name"]), (&json!("zoo"), &json!("animals")));
    assert_eq!((&table["rows"], &table["partitions"]), (&json!(2), &json!(1)));
    assert_eq!((&table["reads"]["count"], &table["writes"]["count"]), (&json!(1), &json!(2)));
    assert!(table["disk_bytes"].as_u64() > Some(0) && status["work"].as_array().is_some_and(Vec::is_empty));
    let by_shard = table["tablets_by_shard"].as_array().expect("a list").iter().filter_map(serde_json::Value::as_u64);
    assert_eq!(Some(by_shard.sum::<u64>()), table["tablets"].as_u64());
    let shown = String::from_utf8(run(&["status"], &place.data()).stdout).expect("text");
    let line = shown.lines().find(|line| line.starts_with("zoo.animals")).unwrap_or_else(|| panic!("{shown}"));
    assert!(line.contains("~2") && line.contains("~1") && line.contains(" / "), "{line}");
    let page = node.get("/").1;
    // What the page reads is what the status has, and it has a place for each.
    let read = ["now.holdings", "h.tablets_by_shard", "h.disk_bytes", "h.memory_bytes", "h.partitions", "now.work"];
    let places =
        ["id=\"holdings\"", "id=\"works\"", "id=\"doors\"", "id=\"shards\"", "id=\"rates\"", "id=\"latencies\""];
    for part in read.into_iter().chain(places) {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn commands_reach_the_tables() {
    let place = Place::new();
    let _node = Node::start(&place.data(), &[]);
    assert!(run(&["tables", "flush"], &place.data()).status.success());
    assert!(refusal(&run(&["tables", "explode"], &place.data())).contains("explode"));
    let mut create = holon(&["user", "create", "ada", "--data-dir"]);
    let mut create = create.arg(place.data()).stdin(Stdio::piped()).spawn().expect("runs");
    create.stdin.take().expect("piped").write_all(b"correct horse\n").expect("write");
    assert!(create.wait().expect("wait").success());
    assert_eq!(run(&["user", "list"], &place.data()).stdout, b"ada\n");
    assert!(refusal(&run(&["user", "create", "bob"], &place.data())).contains("no password"));
}

#[test]
fn garbage_on_every_door_harms_nobody() {
    let place = Place::new();
    let mut node = Node::start(&place.data(), &[]);
    let noise: Vec<u8> = (0..50_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let requests: [&[u8]; 5] =
        [b"\0\0\0\0", b"GET / HTTP/1.1\r\n\r\n", &[0xff; 9000], &noise, b"\x04\0\0\0\x01\x7f\xff\xff\xff"];
    for door in ["cql", "console"] {
        for request in requests {
            let mut stream = TcpStream::connect(node.address(door)).expect("connect");
            drop(stream.write_all(request));
            drop(stream.shutdown(std::net::Shutdown::Write));
            stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
            let mut answer = Vec::new();
            match stream.read_to_end(&mut answer) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{door}: it hangs"),
            }
        }
    }
    assert!(node.http("POST / HTTP/1.1\r\nHost: holon\r\nConnection: close\r\n\r\n").0.contains("405"));
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 16));
    assert!(!node.http(&long).0.contains("200"));
    let mut control = control_socket(&place.data());
    control.write_all(b"not json\n").expect("write");
    let mut answer = String::new();
    control.read_to_string(&mut answer).expect("read");
    assert!(answer.contains("failed"), "{answer}");
    assert_eq!(node.status()["state"], "ready");
    assert!(node.child.try_wait().expect("wait").is_none());
}

fn control_socket(data: &Path) -> std::os::unix::net::UnixStream {
    use std::os::unix::fs::PermissionsExt;
    let path = data.join("control.sock");
    let mode = std::fs::metadata(&path).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "only for the owner");
    std::os::unix::net::UnixStream::connect(path).expect("connect")
}

#[test]
fn a_killed_node_comes_back_as_itself() {
    let place = Place::new();
    let mut node = Node::start(&place.data(), &[]);
    let before = node.status();
    node.child.kill().expect("kill");
    node.child.wait().expect("wait");
    // Another number of cores is no other node.
    let node = Node::start(&place.data(), &["--shards", "3"]);
    let after = node.status();
    assert_eq!(before["node"], after["node"]);
    assert_eq!((&before["boot"], &after["boot"]), (&serde_json::json!(1), &serde_json::json!(2)));
    assert_eq!(after["shards"].as_array().map(Vec::len), Some(3));
}

#[test]
fn what_cannot_start_says_so_in_one_line() {
    let place = Place::new();
    let node = Node::start(&place.data(), &[]);
    let start = |words: &[&str], data: &Path| refusal(&run(&[&["start"], &ANY_PORTS[..], words].concat(), data));
    let in_use = start(&[], &place.data());
    assert!(in_use.contains(&format!("process {}", node.child.id())) && in_use.contains("--data-dir"), "{in_use}");
    let other = place.path.join("other");
    let taken = refusal(&run(&["start", "--cql-address", &node.address("cql").to_string()], &other));
    assert!(taken.contains("--cql-address") && taken.contains("taken"), "{taken}");
    let console = node.address("console").to_string();
    let taken = refusal(&run(&["start", "--cql-address", ":0", "--console-address", &console], &other));
    assert!(taken.contains("--console-address"), "{taken}");
    let open = refusal(&run(&["start", "--cql-address", "0.0.0.0:0", "--console-address", ":0"], &other));
    assert!(open.contains("--insecure"), "{open}");
    std::fs::create_dir_all(&other).expect("directory");
    std::fs::write(other.join("photo.jpg"), b"x").expect("write");
    let foreign = start(&[], &other);
    assert!(foreign.contains("photo.jpg"), "{foreign}");
    let left: Vec<_> =
        std::fs::read_dir(&other).expect("list").map(|entry| entry.expect("entry").file_name()).collect();
    assert_eq!(left, ["photo.jpg"], "a directory that is not ours stays as it was");
    let unwritable = start(&[], Path::new("/sys"));
    assert!(unwritable.contains("/sys") && unwritable.contains("--data-dir"), "{unwritable}");
}

#[test]
fn data_of_a_newer_format_is_left_alone() {
    let place = Place::new();
    drop(Node::start(&place.data(), &[]));
    let file = place.data().join("node");
    let mut identity = std::fs::read(&file).expect("identity");
    identity[8] = 99; // the version follows the eight bytes of the magic
    std::fs::write(&file, &identity).expect("write");
    let output = run(&[&["start"], &ANY_PORTS[..]].concat(), &place.data());
    assert!(refusal(&output).contains("newer"), "{output:?}");
    assert_eq!(std::fs::read(&file).expect("identity"), identity);
}

#[test]
fn configuration_comes_from_everywhere_and_wrong_keys_are_named() {
    let place = Place::new();
    let file = place.path.join("holon.toml");
    std::fs::write(&file, "bind = \"127.0.0.3\"\nshards = 2\n").expect("write");
    let mut command = holon(&["config", "--bind", "127.0.0.2", "--config"]);
    let output = command.arg(&file).env("HOLON_LOG", "warn").output().expect("runs");
    let text = String::from_utf8(output.stdout).expect("text");
    for part in ["flag --bind", "variable HOLON_LOG", "file ", "default", "127.0.0.2:9042", "127.0.0.2:7070"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    std::fs::write(&file, "memori = \"1GiB\"\n").expect("write");
    let refused = refusal(&holon(&["start", "--config"]).arg(&file).output().expect("runs"));
    assert!(refused.contains("\"memori\"") && refused.contains("did you mean \"memory\"?"), "{refused}");
    let missing = refusal(&holon(&["start", "--config", "/nowhere.toml"]).output().expect("runs"));
    assert!(missing.contains("/nowhere.toml"), "{missing}");
}

#[test]
fn sigterm_is_a_clean_stop() {
    let place = Place::new();
    let mut node = Node::start(&place.data(), &[]);
    let mut client = TcpStream::connect(node.address("cql")).expect("connect");
    // OPTIONS, answered with SUPPORTED: from here on the connection is the node's, not only the system's.
    assert_eq!(cql(&mut client, OPTIONS.0, &[]), OPTIONS.1);
    let kill = Command::new("kill").arg(node.child.id().to_string()).status().expect("kill");
    assert!(kill.success());
    assert_eq!(node.child.wait().expect("wait").code(), Some(0));
    assert_eq!(client.read(&mut [0; 1]).expect("closed"), 0);
}
