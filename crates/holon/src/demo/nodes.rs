//! The nodes of the demo: processes of this very binary, started, watched, killed, and asked how they are.

use super::links::{Links, Place};
use crate::control::{Answer, Request};
use crate::text::{list, number, word};
use holon_edge::BoundDoor;
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const CQL_PORT: u16 = 9042;
const KAFKA_PORT: u16 = 9092;
const CONSOLE_PORT: u16 = 7070;
const PEER_PORT: u16 = 7000;

/// Memory of each node: the demo is to run on a small machine.
const NODE_MEMORY: &str = "256MiB";
/// A node that is not ready after so long is taken to be stuck; the start of a small one takes below a second.
const READY_LIMIT: Duration = Duration::from_secs(60);
const READY_LOOKS: Duration = Duration::from_millis(25);
/// A page of the console, and the most of it that is read, bytes.
const PAGE_LIMIT: Duration = Duration::from_secs(3);
const PAGE_BYTES_MAX: u64 = 16 << 20;
/// Lines of a node's log that are shown when it ends by itself.
const LOG_LINES_SHOWN: usize = 5;

/// Where one node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Of its doors, and of the relay before its door for peers.
    pub ip: Ipv4Addr,
    /// Of its real door for peers, where its calls to others come from.
    pub behind: Ipv4Addr,
}

impl Address {
    /// Of so many nodes from a first address on.
    ///
    /// # Errors
    /// Addresses that are not there.
    pub fn several(first: Ipv4Addr, count: usize) -> Result<Vec<Address>, String> {
        let [a, b, c, d] = first.octets();
        let last = usize::from(d) + count;
        if a != 127 || c == 255 || d == 0 || last > 255 {
            return Err(format!("--from {first}: {count} nodes need loopback addresses; give one such as 127.0.0.1"));
        }
        let one = |number: usize| {
            let d = d + number as u8; // at most 254, as was checked
            Address { ip: Ipv4Addr::new(a, b, c, d), behind: Ipv4Addr::new(a, b, c + 1, d) }
        };
        Ok((0..count).map(one).collect())
    }

    pub fn cql(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.ip), CQL_PORT)
    }

    fn kafka(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.ip), KAFKA_PORT)
    }

    pub fn console(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.ip), CONSOLE_PORT)
    }

    /// Where others are told to reach it: the relay.
    pub fn peers(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.ip), PEER_PORT)
    }

    fn peers_behind(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.behind), PEER_PORT)
    }
}

/// What the viewer is told of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Absent,
    Starting,
    Running,
    Killed,
    CutOff,
}

pub struct Nodes {
    folder: PathBuf,
    addresses: Vec<Address>,
    running: Vec<RefCell<Option<Child>>>,
    /// Killed, and perhaps not gone yet: the system waits for what it was writing.
    dying: Vec<RefCell<Option<Child>>>,
    conditions: Vec<Cell<Condition>>,
    /// The last answer of each; null if it has given none since its start.
    statuses: Vec<RefCell<Value>>,
    shards: usize,
    pub links: Rc<Links>,
}

/// Finds out whether every door can open, and opens the relays.
///
/// # Errors
/// Which door cannot, and what to do.
pub fn open_relays(addresses: &[Address]) -> Result<Vec<TcpListener>, String> {
    let mut relays = Vec::new();
    for (place, address) in addresses.iter().enumerate() {
        let doors = [
            ("for Cassandra clients", address.cql()),
            ("for Kafka clients", address.kafka()),
            ("of the console", address.console()),
            ("for other nodes", address.peers()),
            ("for other nodes, behind the relay of this demo", address.peers_behind()),
        ];
        for (kind, door) in doors {
            let bound = BoundDoor::bind("demo", door, "--from").and_then(BoundDoor::listen);
            let listener = bound.map_err(|error| cannot_open(place, kind, door, &error))?;
            if door == address.peers() {
                relays.push(listener);
            }
        }
    }
    Ok(relays)
}

fn cannot_open(place: Place, kind: &str, door: SocketAddr, error: &holon_edge::DoorError) -> String {
    let what = format!("the door {kind} of node {} cannot open at {door}", place + 1);
    match error {
        holon_edge::DoorError::Taken { .. } => format!(
            "{what}: another process listens there; stop it (a node? `holon stop`), or give other addresses with --from 127.0.10.1"
        ),
        holon_edge::DoorError::NotLocal { .. } => {
            format!("{what}: this machine has no such address; make it an alias of the loopback interface")
        }
        error => format!("{what}: {error}"),
    }
}

impl Nodes {
    /// None of them runs yet. The relays serve as long as the demo does.
    pub fn new(folder: PathBuf, addresses: Vec<Address>, relays: Vec<TcpListener>) -> Rc<Nodes> {
        let links = Links::new(addresses.iter().map(|address| IpAddr::V4(address.behind)).collect());
        for (place, (relay, address)) in relays.into_iter().zip(&addresses).enumerate() {
            links.serve(relay, place, address.peers_behind());
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Rc::new(Nodes {
            folder,
            running: addresses.iter().map(|_| RefCell::default()).collect(),
            dying: addresses.iter().map(|_| RefCell::default()).collect(),
            conditions: addresses.iter().map(|_| Cell::new(Condition::Absent)).collect(),
            statuses: addresses.iter().map(|_| RefCell::default()).collect(),
            // All nodes share the cores of this machine.
            shards: (cores / addresses.len()).clamp(1, 4),
            addresses,
            links,
        })
    }

    pub fn count(&self) -> usize {
        self.addresses.len()
    }

    pub fn address(&self, place: Place) -> &Address {
        &self.addresses[place]
    }

    pub fn condition(&self, place: Place) -> Condition {
        self.conditions[place].get()
    }

    fn data_dir(&self, place: Place) -> PathBuf {
        self.folder.join(format!("node{}", place + 1))
    }

    fn log(&self, place: Place) -> PathBuf {
        self.folder.join(format!("node{}.log", place + 1))
    }

    /// Starts a node and waits until it serves. `token` lets it join at its first start, through the first node.
    ///
    /// # Errors
    /// It could not be started, ended, or is not ready in time.
    pub async fn start(&self, place: Place, token: Option<String>) -> Result<Duration, String> {
        self.gone(place).await;
        let began = Instant::now();
        let child = self.spawn(place, token).map_err(|error| format!("node {} cannot start: {error}", place + 1))?;
        *self.running[place].borrow_mut() = Some(child);
        self.conditions[place].set(Condition::Starting);
        while began.elapsed() < READY_LIMIT {
            if let Some(ended) = self.ended(place) {
                return Err(ended);
            }
            if matches!(page(self.addresses[place].console(), "/readyz").await, Ok((200, _))) {
                self.conditions[place].set(Condition::Running);
                return Ok(began.elapsed());
            }
            tokio::time::sleep(READY_LOOKS).await;
        }
        Err(format!("node {} is not ready after {} s{}", place + 1, READY_LIMIT.as_secs(), self.last_lines(place)))
    }

    fn spawn(&self, place: Place, token: Option<String>) -> std::io::Result<Child> {
        let address = &self.addresses[place];
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log(place))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("start").arg("--data-dir").arg(self.data_dir(place));
        command.args(["--bind", &address.ip.to_string(), "--advertise", &address.ip.to_string()]);
        command.args(["--peer-address", &address.peers_behind().to_string()]);
        command.args(["--rack", &format!("rack{}", place + 1), "--cluster-name", "demo"]);
        command.args(["--memory", NODE_MEMORY, "--shards", &self.shards.to_string()]);
        command.args(["--parent", &std::process::id().to_string()]);
        if let Some(token) = token {
            command.args(["--join", &self.addresses[0].peers().to_string(), "--token", &token]);
        }
        // Settings of whoever runs the demo are not meant for its nodes. Planted bugs are: they must be noticed.
        for (name, _) in std::env::vars_os() {
            let ours = name.to_str().is_some_and(|name| name.starts_with("HOLON_") && name != "HOLON_TEST_PLANT");
            if ours {
                command.env_remove(name);
            }
        }
        // Ctrl-C at the terminal is for the demo; it ends its nodes.
        command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
    }

    /// A token of the first node, with which one more may join.
    ///
    /// # Errors
    /// The node's own words.
    pub async fn token(&self) -> Result<String, String> {
        let data_dir = self.data_dir(0);
        let request = Request { words: vec!["token".to_string(), "60".to_string()], json: false };
        let asked = tokio::task::spawn_blocking(move || crate::client::ask(&data_dir, &request, |_| ()));
        let answer = asked.await.map_err(|error| error.to_string())??;
        let (Answer::Done(text) | Answer::Failed(text) | Answer::Progress(text)) = answer;
        let token = text.split_whitespace().skip_while(|word| *word != "--token").nth(1).map(str::to_string);
        token.ok_or(format!("node 1 gave no token: {text}"))
    }

    /// kill -9. It is not waited for: the lines and the load go on meanwhile.
    pub fn kill(&self, place: Place) {
        if let Some(mut child) = self.running[place].borrow_mut().take() {
            drop(child.kill()); // it may have ended by itself
            *self.dying[place].borrow_mut() = Some(child);
        }
        self.conditions[place].set(Condition::Killed);
        *self.statuses[place].borrow_mut() = Value::Null;
    }

    /// Its directory is free for another start.
    async fn gone(&self, place: Place) {
        while self.dying[place].borrow_mut().as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None))) {
            tokio::time::sleep(READY_LOOKS).await;
        }
    }

    /// And waits until they are gone.
    pub fn kill_all(&self) {
        (0..self.count()).filter(|place| self.running[*place].borrow().is_some()).for_each(|place| self.kill(place));
        for child in &self.dying {
            if let Some(mut child) = child.borrow_mut().take() {
                drop(child.wait());
            }
        }
    }

    pub fn cut(&self, place: Place) {
        self.links.cut(place);
        self.conditions[place].set(Condition::CutOff);
    }

    pub fn heal(&self, place: Place) {
        self.links.heal(place);
        self.conditions[place].set(Condition::Running);
    }

    /// That a node has ended by itself, with its last words.
    pub fn ended(&self, place: Place) -> Option<String> {
        let status = self.running[place].borrow_mut().as_mut()?.try_wait().ok()??;
        Some(format!("node {} ended by itself ({status}){}", place + 1, self.last_lines(place)))
    }

    fn last_lines(&self, place: Place) -> String {
        let text = std::fs::read(self.log(place)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        if last.is_empty() { String::new() } else { format!("; its log ends with:\n  {}", last.join("\n  ")) }
    }

    /// Asks all that run how they are.
    pub async fn look(&self) {
        for place in 0..self.count() {
            if self.running[place].borrow().is_none() || self.condition(place) == Condition::Starting {
                continue;
            }
            let answer = page(self.addresses[place].console(), "/status.json").await;
            let status = answer.ok().and_then(|(_, body)| serde_json::from_slice(&body).ok());
            // One killed while it was asked has said nothing that is still true.
            if self.running[place].borrow().is_some() {
                *self.statuses[place].borrow_mut() = status.unwrap_or(Value::Null);
            }
        }
    }

    /// The last answer of a node.
    pub fn status(&self, place: Place) -> std::cell::Ref<'_, Value> {
        self.statuses[place].borrow()
    }

    /// A counter or gauge over some nodes, as they said last.
    pub fn metric(&self, name: &str, places: &[Place]) -> u64 {
        places.iter().map(|place| metric(&self.status(*place), name)).sum()
    }

    /// The node at a place of a status' list of nodes.
    pub fn place_of(&self, cluster: &Value, index: usize) -> Option<Place> {
        let address = word(&list(&cluster["nodes"]).get(index)?["address"]);
        self.addresses.iter().position(|known| known.peers().to_string() == address)
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.kill_all();
    }
}

fn metric(status: &Value, name: &str) -> u64 {
    let metrics = status["metrics"].as_array().into_iter().flatten();
    let of_name = metrics.filter(|metric| metric["name"] == name);
    of_name.map(|metric| number(&metric["counter"]) + metric["gauge"].as_f64().unwrap_or(0.0) as u64).sum()
}

/// GET of a page of a console: its status and body.
async fn page(address: SocketAddr, path: &str) -> std::io::Result<(u16, Vec<u8>)> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(PAGE_BYTES_MAX).read_to_end(&mut answer).await?;
        split_answer(&answer).ok_or_else(|| std::io::Error::other("no HTTP"))
    };
    let late = || std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer");
    tokio::time::timeout(PAGE_LIMIT, asked).await.unwrap_or_else(|_| Err(late()))
}

fn split_answer(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer[end + 4..].to_vec()))
}

/// A folder for the data and logs of the nodes; one of its own is removed in the end.
pub struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    /// `named` must be empty, or not there.
    ///
    /// # Errors
    /// It is not, or cannot be made.
    pub fn make(named: Option<&Path>) -> Result<Folder, String> {
        let failed = |path: &Path, error: std::io::Error| format!("{} cannot be used: {error}", path.display());
        let Some(path) = named else {
            let random = holon_edge::random_u128().map_err(|error| error.to_string())? as u32;
            let path = std::env::temp_dir().join(format!("holon-demo-{}-{random:08x}", std::process::id()));
            std::fs::create_dir(&path).map_err(|error| failed(&path, error))?;
            return Ok(Folder { path, temporary: true });
        };
        std::fs::create_dir_all(path).map_err(|error| failed(path, error))?;
        if std::fs::read_dir(path).map_err(|error| failed(path, error))?.next().is_some() {
            return Err(format!("--dir {}: it is not empty; name a new one", path.display()));
        }
        Ok(Folder { path: path.to_path_buf(), temporary: false })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            eprintln!("holon: {} is left behind: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_have_addresses_side_by_side_and_doors_behind() {
        let several = Address::several(Ipv4Addr::new(127, 0, 0, 1), 4).expect("addresses");
        assert_eq!(several[3].cql().to_string(), "127.0.0.4:9042");
        assert_eq!(several[3].peers().to_string(), "127.0.0.4:7000");
        assert_eq!(several[3].peers_behind().to_string(), "127.0.1.4:7000");
        assert_eq!(Address::several(Ipv4Addr::new(127, 0, 0, 250), 5).map(|all| all.len()), Ok(5));
        for (first, count) in [([127, 0, 0, 251], 5), ([127, 0, 255, 1], 1), ([10, 0, 0, 1], 3), ([127, 0, 0, 0], 2)] {
            assert!(Address::several(Ipv4Addr::from(first), count).is_err(), "{first:?}");
        }
    }

    #[test]
    fn metrics_are_found_in_a_status() {
        let status = serde_json::json!({ "metrics": [
            { "name": "a_total", "counter": 3 }, { "name": "a_total", "counter": 4 }, { "name": "b", "gauge": 2.0 },
        ] });
        assert_eq!((metric(&status, "a_total"), metric(&status, "b"), metric(&status, "c")), (7, 2, 0));
        assert_eq!(metric(&Value::Null, "a_total"), 0);
    }

    #[test]
    fn answers_of_a_console_are_read() {
        assert_eq!(split_answer(b"HTTP/1.1 503 No\r\nA: b\r\n\r\nbody"), Some((503, b"body".to_vec())));
        assert_eq!(split_answer(b"HTTP/1.1 200 OK\r\nA: b\r\n"), None);
    }

    #[test]
    fn a_folder_with_files_in_it_is_refused_and_left_alone() {
        let own = Folder::make(None).expect("a folder");
        let path = own.path().to_path_buf();
        std::fs::write(path.join("file"), "x").expect("written");
        assert!(Folder::make(Some(&path)).is_err_and(|error| error.contains("not empty")));
        let named = Folder::make(Some(&path.join("new"))).expect("a new one");
        drop(named);
        assert!(path.join("new").exists());
        drop(own);
        assert!(!path.exists());
    }
}
