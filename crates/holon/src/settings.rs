//! Every setting of a node, once: its key in the configuration file, its flag, its variable, its default and its reading.

use crate::size::{parse_bytes, show_bytes};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

/// A row of the table below. The flag of `cql_address` is `--cql-address`, its variable `HOLON_CQL_ADDRESS`.
pub struct Setting {
    pub key: &'static str,
    pub value_name: &'static str,
    pub default: &'static str,
    pub help: &'static str,
}

/// In the order in which `holon config` and `--help` show them.
pub const SETTINGS: &[Setting] = &[
    Setting { key: "data_dir", value_name: "DIR", default: "holon-data", help: "where this node keeps its data" },
    Setting {
        key: "bind",
        value_name: "IP",
        default: "127.0.0.1",
        help: "the address of every door that has none of its own",
    },
    Setting {
        key: "cql_address",
        value_name: "ADDR",
        default: ":9042",
        help: "the door for Cassandra clients: IP:PORT, or :PORT at --bind",
    },
    Setting {
        key: "kafka_address",
        value_name: "ADDR",
        default: ":9092",
        help: "the door for Kafka clients: IP:PORT, or :PORT at --bind",
    },
    Setting {
        key: "console_address",
        value_name: "ADDR",
        default: ":7070",
        help: "status page, /healthz, /readyz and /metrics",
    },
    Setting {
        key: "peer_address",
        value_name: "ADDR",
        default: ":7000",
        help: "the door for other nodes (TLS 1.3 both ways, unless --insecure)",
    },
    Setting {
        key: "advertise",
        value_name: "IP",
        default: "",
        help: "where others reach this node, if not at the addresses of its doors",
    },
    Setting {
        key: "join",
        value_name: "HOST:PORT,…",
        default: "",
        help: "at the first start: join the cluster of these nodes, through their peer addresses; later: look for the others there, should all have moved",
    },
    Setting { key: "token", value_name: "TOKEN", default: "", help: "lets this node join, from `holon token`" },
    Setting {
        key: "replace",
        value_name: "NODE",
        default: "",
        help: "with --join: take the place of this dead member, named by its address or the beginning of its id",
    },
    Setting { key: "auth", value_name: "none|password", default: "none", help: "what clients must prove" },
    Setting {
        key: "insecure",
        value_name: "BOOL",
        default: "false",
        help: "client doors beyond loopback without TLS, and peers without TLS and tokens",
    },
    Setting {
        key: "memory",
        value_name: "SIZE",
        default: "25%",
        help: "what this node may use, e.g. 4GiB; a share of the machine's with %",
    },
    Setting { key: "shards", value_name: "N", default: "auto", help: "threads that serve requests; auto: one a core" },
    Setting {
        key: "disk_threads",
        value_name: "N",
        default: "auto",
        help: "threads that wait for the disk; auto: 4, or 2 a shard if that is more",
    },
    Setting { key: "connections_max", value_name: "N", default: "8192", help: "open connections at a door" },
    Setting {
        key: "connections_per_address_max",
        value_name: "N",
        default: "4096",
        help: "open connections at a door from one address",
    },
    Setting {
        key: "cluster_name",
        value_name: "NAME",
        default: "holon",
        help: "what clients are told the cluster is called",
    },
    Setting {
        key: "data_center",
        value_name: "NAME",
        default: "datacenter1",
        help: "where this node stands; drivers prefer their own",
    },
    Setting { key: "rack", value_name: "NAME", default: "rack1", help: "where in the data center this node stands" },
    Setting {
        key: "repair_interval",
        value_name: "TIME",
        default: "1h",
        help: "the replicas of each tablet are compared once in this, e.g. 90s, 30m, 12h; off: only by `holon tables repair`",
    },
    Setting {
        key: "stream_throughput",
        value_name: "SIZE",
        default: "auto",
        help: "what this node copies a second of tablets that move to it, e.g. 16MiB; auto: 4 MiB a shard; off: as fast as it can",
    },
    Setting {
        key: "clock_skew_max_ms",
        value_name: "MS",
        default: "500",
        help: "a node whose clock is further than this from most others takes no writes; the same on every node",
    },
    Setting {
        key: "auto_create_topics",
        value_name: "BOOL",
        default: "true",
        help: "a topic is made when a Kafka client asks for one that is not there; the same on every node",
    },
    Setting {
        key: "topic_partitions",
        value_name: "N",
        default: "1",
        help: "partitions of a topic for which nobody says how many; the same on every node",
    },
    Setting {
        key: "log",
        value_name: "FILTER",
        default: "info",
        help: "what is logged: error, warn, info, debug, trace, or e.g. info,holon_edge=debug",
    },
    Setting { key: "log_format", value_name: "text|json", default: "text", help: "how log lines on stderr look" },
];

pub fn flag(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

pub fn variable(key: &str) -> String {
    format!("HOLON_{}", key.to_ascii_uppercase())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    None,
    Password,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// The effective settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub data_dir: PathBuf,
    pub cql_address: SocketAddr,
    pub kafka_address: SocketAddr,
    pub console_address: SocketAddr,
    pub peer_address: SocketAddr,
    pub advertise: Option<IpAddr>,
    /// Peer addresses, as written.
    pub join: Vec<String>,
    pub token: String,
    pub replace: String,
    pub auth: Auth,
    pub insecure: bool,
    pub memory_bytes: u64,
    pub shards: u16,
    pub disk_threads: usize,
    pub connections_max: usize,
    pub connections_per_address_max: usize,
    pub cluster_name: String,
    pub data_center: String,
    pub rack: String,
    /// Zero: off.
    pub repair_interval: Duration,
    /// Bytes a second, by all shards together; zero: no limit; `None`: what is right for each.
    pub stream_throughput: Option<u64>,
    pub clock_skew_max: Duration,
    pub auto_create_topics: bool,
    pub topic_partitions: u32,
    pub log: String,
    pub log_format: LogFormat,
}

/// More cores than any machine has; a shard is a thread with memory of its own.
const SHARDS_MAX: u16 = 1024;
/// Less does not hold a memtable, a block cache and a page of rows for each shard.
const MEMORY_BYTES_MIN: u64 = 64 << 20;
/// A process cannot have more sockets.
const CONNECTIONS_MAX: usize = 1 << 20;

/// More than a topic that nobody planned should ever have.
const TOPIC_PARTITIONS_MAX: usize = 1000;

/// Between round trips of a local network and a clock that nobody would call right.
const CLOCK_SKEW_MS: std::ops::RangeInclusive<usize> = 100..=60_000;

/// What the machine has, for the defaults.
#[derive(Clone, Copy)]
pub struct Machine {
    pub cores: u16,
    pub memory_bytes: u64,
}

impl Machine {
    pub fn this() -> Machine {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        // A machine that does not say how much it has is taken for a small one.
        let memory_bytes = holon_edge::machine_memory_bytes().unwrap_or(2 << 30);
        Machine { cores: u16::try_from(cores).unwrap_or(SHARDS_MAX).min(SHARDS_MAX), memory_bytes }
    }
}

/// Reads the text of a setting; `value(key)` gives it. The error is the key and what is wrong with its value.
pub fn read<'a>(value: impl Fn(&'static str) -> &'a str, machine: Machine) -> Result<Settings, (&'static str, String)> {
    let bind = value("bind");
    let bind: IpAddr = bind.parse().map_err(|_| ("bind", format!("{bind:?} is not an IP address")))?;
    let address = |key| address(value(key), bind).map_err(|wrong| (key, wrong));
    let number = |key, minimum: usize, maximum: usize| -> Result<usize, (&'static str, String)> {
        let text = value(key);
        match text.parse() {
            Ok(number) if (minimum..=maximum).contains(&number) => Ok(number),
            _ => Err((key, format!("{text:?} is not a number from {minimum} to {maximum}"))),
        }
    };
    let automatic = |key, automatic: usize, maximum: usize| {
        if value(key) == "auto" { Ok(automatic) } else { number(key, 1, maximum) }
    };
    let boolean = |key| match value(key) {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        other => Err((key, format!("{other:?} is neither true nor false"))),
    };
    let name = |key| match value(key) {
        "" => Err((key, "it is empty; give a name".to_string())),
        text => Ok(text.to_string()),
    };
    let shards = automatic("shards", usize::from(machine.cores), usize::from(SHARDS_MAX))?;
    let threads_max = holon_edge::limits::DISK_THREADS_MAX;
    let data_dir = value("data_dir");
    if data_dir.is_empty() {
        return Err(("data_dir", "it is empty; name a directory".to_string()));
    }
    if !value("replace").is_empty() && value("join").is_empty() {
        return Err(("replace", format!("a replacement joins the cluster of the dead node: say {} too", flag("join"))));
    }
    Ok(Settings {
        data_dir: PathBuf::from(data_dir),
        cql_address: address("cql_address")?,
        kafka_address: address("kafka_address")?,
        console_address: address("console_address")?,
        peer_address: address("peer_address")?,
        advertise: match value("advertise") {
            "" => None,
            text => Some(text.parse().map_err(|_| ("advertise", format!("{text:?} is not an IP address")))?),
        },
        join: members(value("join")).map_err(|wrong| ("join", wrong))?,
        token: value("token").to_string(),
        replace: value("replace").to_string(),
        auth: match value("auth") {
            "none" => Auth::None,
            "password" => Auth::Password,
            other => return Err(("auth", format!("{other:?} is neither none nor password"))),
        },
        insecure: boolean("insecure")?,
        memory_bytes: memory(value("memory"), machine)?,
        shards: shards as u16,
        disk_threads: automatic("disk_threads", (2 * shards).clamp(4, threads_max), threads_max)?,
        connections_max: number("connections_max", 1, CONNECTIONS_MAX)?,
        connections_per_address_max: number("connections_per_address_max", 1, CONNECTIONS_MAX)?,
        cluster_name: name("cluster_name")?,
        data_center: name("data_center")?,
        rack: name("rack")?,
        repair_interval: time(value("repair_interval")).map_err(|wrong| ("repair_interval", wrong))?,
        stream_throughput: match value("stream_throughput") {
            "auto" => None,
            text => Some(throughput(text).map_err(|wrong| ("stream_throughput", wrong))?),
        },
        clock_skew_max: Duration::from_millis(
            number("clock_skew_max_ms", *CLOCK_SKEW_MS.start(), *CLOCK_SKEW_MS.end())? as u64,
        ),
        auto_create_topics: boolean("auto_create_topics")?,
        topic_partitions: number("topic_partitions", 1, TOPIC_PARTITIONS_MAX)? as u32,
        log: crate::logs::check_filter(value("log")).map_err(|wrong| ("log", wrong))?,
        log_format: match value("log_format") {
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            other => return Err(("log_format", format!("{other:?} is neither text nor json"))),
        },
    })
}

impl Settings {
    /// A door's address as others reach it.
    pub fn advertised(&self, door: SocketAddr) -> SocketAddr {
        SocketAddr::new(self.advertise.unwrap_or(door.ip()), door.port())
    }
}

fn members(text: &str) -> Result<Vec<String>, String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names
        .map(|name| match name.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(name.to_string()),
            _ => Err(format!("{name:?} is not a HOST:PORT")),
        })
        .collect()
}

/// `off` is zero.
fn time(text: &str) -> Result<Duration, String> {
    if text == "off" {
        return Ok(Duration::ZERO);
    }
    let units = [("s", 1), ("m", 60), ("h", 60 * 60), ("d", 24 * 60 * 60)];
    let read =
        |(unit, seconds): (&str, u64)| text.strip_suffix(unit)?.parse::<u32>().ok().map(|n| u64::from(n) * seconds);
    let seconds = units.into_iter().find_map(read).filter(|seconds| *seconds > 0);
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| format!("{text:?} is not a time such as 90s, 30m, 12h, 7d, and not off"))
}

/// `off` is zero.
fn throughput(text: &str) -> Result<u64, String> {
    let bytes = if text == "off" { Some(0) } else { parse_bytes(text).filter(|bytes| *bytes > 0) };
    bytes.ok_or_else(|| format!("{text:?} is not a size such as 64MiB, and not auto or off"))
}

fn memory(text: &str, machine: Machine) -> Result<u64, (&'static str, String)> {
    let bytes = match text.strip_suffix('%') {
        Some(share) => {
            let share = share.trim().parse::<u64>().ok().filter(|share| (1..=100).contains(share));
            share.map(|share| (machine.memory_bytes / 100 * share).max(MEMORY_BYTES_MIN))
        }
        None => parse_bytes(text),
    };
    match bytes {
        None => Err(("memory", format!("{text:?} is not a size such as 4GiB, 512MiB or 25%"))),
        Some(bytes) if bytes < MEMORY_BYTES_MIN => {
            Err(("memory", format!("{text} is too little; give at least {}", show_bytes(MEMORY_BYTES_MIN))))
        }
        Some(bytes) => Ok(bytes),
    }
}

/// `IP:PORT`, `NAME:PORT`, or `:PORT` and `PORT` at the address of `--bind`.
fn address(text: &str, bind: IpAddr) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text);
    if let Ok(port) = port.parse() {
        return Ok(SocketAddr::new(bind, port));
    }
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if text.parse::<IpAddr>().is_ok() {
        return Err(format!("{text:?} has no port; write IP:PORT"));
    }
    let resolved = text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    resolved.ok_or_else(|| format!("{text:?} is not an address such as 127.0.0.1:9042 or :9042"))
}
