//! The brokers that are measured: each a process of its own, on an address of its own, with its data below one directory.

use crate::connection::Connection;
use holon_kafka::messages::MetadataRequest;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const READY: Duration = Duration::from_secs(90);
const STOPPING: Duration = Duration::from_secs(30);
const KAFKA_PORT: u16 = 9092;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Peer {
    Holon,
    Kafka,
}

impl Peer {
    pub fn name(self) -> &'static str {
        match self {
            Peer::Holon => "holon",
            Peer::Kafka => "kafka",
        }
    }

    /// Of a topic whose records are acknowledged when they are on the medium, or when the broker has them.
    pub fn configs(self, is_synced: bool) -> Vec<(String, String)> {
        let config = |key: &str, value: &str| vec![(key.to_string(), value.to_string())];
        match (self, is_synced) {
            (Peer::Holon, true) => config("durability", "sync"),
            (Peer::Holon, false) => config("durability", "periodic"),
            (Peer::Kafka, true) => config("flush.messages", "1"),
            (Peer::Kafka, false) => Vec::new(),
        }
    }
}

pub struct Server {
    pub peer: Peer,
    pub address: SocketAddr,
    child: Child,
    directory: PathBuf,
}

/// What a process has used since it began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// User and system time of all its threads, in the 10 ms ticks of Linux.
    pub cpu_seconds: f64,
    /// What the kernel wrote, or will write, to the medium for it.
    pub written_bytes: f64,
}

impl Used {
    pub fn since(self, before: Used) -> Used {
        Used {
            cpu_seconds: self.cpu_seconds - before.cpu_seconds,
            written_bytes: self.written_bytes - before.written_bytes,
        }
    }
}

impl Server {
    /// Starts it with nothing in it, and waits until it answers.
    ///
    /// # Errors
    /// For people: what is missing, or where its log is.
    pub fn start(peer: Peer, directory: &Path) -> Result<Server, String> {
        let ip = IpAddr::V4(Ipv4Addr::new(127, 77, 1, 1));
        let address = SocketAddr::new(ip, KAFKA_PORT);
        let directory = directory.join(peer.name());
        fs::remove_dir_all(&directory).ok();
        fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let log = File::create(directory.join("log")).map_err(|error| error.to_string())?;
        let mut command = match peer {
            Peer::Holon => holon(&directory, ip)?,
            Peer::Kafka => kafka(&directory, ip)?,
        };
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        let child = child.map_err(|error| format!("{} does not start: {error}", peer.name()))?;
        let mut server = Server { peer, address, child, directory };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let since = Instant::now();
        loop {
            let asked = Connection::open(self.address).and_then(|mut connection| {
                connection.ask(&MetadataRequest::default().with_topics(Some(Vec::new())), 4)
            });
            let is_there = asked.is_ok_and(|answer| !answer.brokers.is_empty());
            if is_there {
                return Ok(());
            }
            let has_ended = self.child.try_wait().ok().flatten().is_some();
            if has_ended || since.elapsed() > READY {
                let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(8).collect();
                let last: Vec<&str> = last.into_iter().rev().collect();
                return Err(format!("{} is not ready; it said:\n{}", self.peer.name(), last.join("\n")));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub fn used(&self) -> Used {
        let read = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap_or_default();
        let stat = read("stat");
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        let io = read("io");
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        Used {
            cpu_seconds: (ticks(11) + ticks(12)) / 100.0,
            written_bytes: written.and_then(|number| number.trim().parse().ok()).unwrap_or(0.0),
        }
    }

    /// Its memory at its highest, MiB.
    pub fn memory_mib(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let high = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = high.and_then(|text| text.trim().trim_end_matches(" kB").parse::<f64>().ok());
        kib.unwrap_or(0.0) / 1024.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A clean stop first: what it still writes must not fall into the next one's time.
        drop(Command::new("kill").arg(self.child.id().to_string()).status());
        let since = Instant::now();
        while self.child.try_wait().ok().flatten().is_none() {
            if since.elapsed() > STOPPING {
                drop(self.child.kill());
                drop(self.child.wait());
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        fs::remove_dir_all(&self.directory).ok();
    }
}

fn holon(directory: &Path, ip: IpAddr) -> Result<Command, String> {
    let binary = std::env::var("HOLON_BINARY").map_err(|_| "HOLON_BINARY: say where the release binary is")?;
    let mut command = Command::new(binary);
    command.args(["start", "--bind", &ip.to_string(), "--data-dir"]).arg(directory.join("data"));
    Ok(command)
}

/// Kafka as its own scripts start it, with the settings of its `config/server.properties`: one process that is broker and controller.
fn kafka(directory: &Path, ip: IpAddr) -> Result<Command, String> {
    let classes = format!("{}/*", kafka_jars()?.display());
    let data = directory.join("data");
    let properties = directory.join("server.properties");
    let text = format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.bootstrap.servers={ip}:9093\n\
         listeners=PLAINTEXT://{ip}:{KAFKA_PORT},CONTROLLER://{ip}:9093\ninter.broker.listener.name=PLAINTEXT\n\
         controller.listener.names=CONTROLLER\nlog.dirs={}\nnum.network.threads=3\nnum.io.threads=8\n\
         socket.send.buffer.bytes=102400\nsocket.receive.buffer.bytes=102400\nsocket.request.max.bytes=104857600\n\
         offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\nlog.retention.hours=168\nlog.segment.bytes=1073741824\n\
         log.retention.check.interval.ms=300000\n",
        data.display()
    );
    fs::write(&properties, text).map_err(|error| error.to_string())?;
    let java = || {
        let mut command = Command::new("java");
        command.args(["-Xmx1G", "-Xms1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"]);
        command.args(["-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent"]);
        command.args(["-Djava.awt.headless=true", "-cp", &classes]);
        command
    };
    let formatted = java()
        .args(["kafka.tools.StorageTool", "format", "--standalone", "-t", "4L6g3nShT-eMCtK--X86sw", "-c"])
        .arg(&properties)
        .output()
        .map_err(|error| format!("java does not start ({error}): install Java 17"))?;
    if !formatted.status.success() {
        return Err(format!("Kafka's directory: {}", String::from_utf8_lossy(&formatted.stderr)));
    }
    let mut command = java();
    command.arg("kafka.Kafka").arg(&properties);
    Ok(command)
}

/// Where its classes are: fetched by Maven when they are not there.
fn kafka_jars() -> Result<PathBuf, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let base = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| here.join("../../target"), PathBuf::from);
    let jars = base.join("foreign/kafka-4.1.1");
    if jars.join("kafka_2.13-4.1.1.jar").exists() {
        return Ok(jars);
    }
    eprintln!("fetching Apache Kafka 4.1.1 with Maven …");
    let status = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(here.join("kafka.xml"))
        .arg("dependency:copy-dependencies")
        .arg(format!("-DoutputDirectory={}", jars.display()))
        .status();
    match status {
        Ok(status) if status.success() => Ok(jars),
        Ok(status) => Err(format!("Maven could not fetch Kafka ({status})")),
        Err(error) => {
            Err(format!("mvn does not start ({error}): install Maven, or measure Holon alone with --peers holon"))
        }
    }
}
