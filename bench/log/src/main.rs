//! Holon's log beside Apache Kafka: the same topics, batches and connections, one after the other on the same machine and file system.
//!
//! ```text
//! cargo xtask bench log                          every case, 10 s each
//! cargo xtask bench log --quick                  one case, 3 s
//! cargo xtask bench log --peers holon --bytes 100 --partitions 100 --durability sync --seconds 60
//! ```
//!
//! The load is *pre-encoded*: requests with one uncompressed batch are made once, and stamped anew (number, time, checksum) each time they are
//! sent, so that every record differs and the client costs little. It says how fast a broker is, not how fast its clients are. Readers hold
//! every batch against its checksum, and every offset against the one before. Client and broker share the machine.
//!
//! What is compared: *sync* is acknowledged from the medium (Kafka with `flush.messages=1`), *default* when the broker has it (Holon with
//! `durability=periodic`).

mod batch;
mod connection;
mod load;
mod report;
mod servers;

use batch::Shape;
use clap::Parser;
use connection::Connection;
use load::Load;
use report::Figures;
use servers::{Peer, Server};
use std::path::PathBuf;
use std::process::ExitCode;

const WARM_SECONDS: f64 = 5.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Durability {
    Sync,
    Default,
}

#[derive(Parser, Debug)]
#[command(about = "Holon's log beside Apache Kafka")]
struct Arguments {
    #[arg(long, value_delimiter = ',', default_value = "holon,kafka")]
    peers: Vec<Peer>,
    /// Bytes of a record's value; one case for each.
    #[arg(long, value_delimiter = ',', default_value = "100,1024")]
    bytes: Vec<usize>,
    #[arg(long, value_delimiter = ',', default_value = "1,100")]
    partitions: Vec<i32>,
    #[arg(long, value_delimiter = ',', default_value = "sync,default")]
    durability: Vec<Durability>,
    /// -1: acknowledged by all replicas in sync; 1: by the leader; 0: not at all.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    acks: i16,
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Of a batch's records.
    #[arg(long, default_value_t = 65_536)]
    batch_bytes: usize,
    /// Connections that produce, and as many that read.
    #[arg(long, default_value_t = 2)]
    connections: i32,
    /// Requests without an answer, of each connection.
    #[arg(long, default_value_t = 5)]
    in_flight: usize,
    /// What readers wait for while as much as possible is produced (`fetch.min.bytes`); when it is paced they take what there is.
    #[arg(long, default_value_t = 262_144)]
    fetch_bytes_min: i32,
    /// Records a second when latency is measured, and the batch then, bytes.
    #[arg(long, default_value_t = 50_000.0)]
    paced_rate: f64,
    #[arg(long, default_value_t = 4_096)]
    paced_batch_bytes: usize,
    /// Where brokers put their data; removed afterwards.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// One case, 3 s.
    #[arg(long)]
    quick: bool,
}

/// What is measured.
#[derive(Clone, Copy)]
struct Case {
    durability: Durability,
    partitions: i32,
    bytes: usize,
}

impl Case {
    fn name(self) -> String {
        let durability = if self.durability == Durability::Sync { "sync" } else { "default" };
        format!("{durability}, {} partitions, {} B", self.partitions, self.bytes)
    }
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if arguments.quick {
        arguments.seconds = arguments.seconds.min(3.0);
        arguments.bytes.truncate(1);
        arguments.partitions = vec![100];
        arguments.durability.truncate(1);
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    println!("{}", report::machine());
    println!(
        "pre-encoded load: batches of {} KiB, {} connections with {} requests in flight, acks={}, {} s a case",
        arguments.batch_bytes >> 10,
        arguments.connections,
        arguments.in_flight,
        arguments.acks,
        arguments.seconds
    );
    let mut cases = Vec::new();
    for durability in &arguments.durability {
        for partitions in &arguments.partitions {
            cases.extend(arguments.bytes.iter().map(|bytes| Case {
                durability: *durability,
                partitions: *partitions,
                bytes: *bytes,
            }));
        }
    }
    for case in cases {
        let mut results = Vec::new();
        for peer in &arguments.peers {
            let figures = measure(arguments, case, *peer).map_err(|error| format!("{}: {error}", peer.name()))?;
            eprintln!("{}: {}", case.name(), figures.line(*peer));
            results.push((*peer, figures));
        }
        println!("{}", report::table(&case.name(), &results));
    }
    Ok(())
}

fn measure(arguments: &Arguments, case: Case, peer: Peer) -> Result<Figures, String> {
    let base = arguments.directory.clone().unwrap_or_else(|| std::env::temp_dir().join("holon-bench-log"));
    let server = Server::start(peer, &base)?;
    let mut connection = Connection::open(server.address)?;
    let configs = peer.configs(case.durability == Durability::Sync);
    let load = |topic: &str, batch_bytes: usize| Load {
        address: server.address,
        topic: topic.to_string(),
        partitions: case.partitions,
        shape: Shape { record_bytes: case.bytes, records: (batch_bytes / case.bytes).max(1), acks: arguments.acks },
        producers: arguments.connections,
        consumers: arguments.connections.min(case.partitions),
        in_flight: arguments.in_flight,
        fetch_bytes_min: 1,
    };
    let mut figures = Figures::default();
    // First seconds that do not count: code is compiled, files are made.
    for (topic, seconds) in [("warm", WARM_SECONDS.min(arguments.seconds)), ("full", arguments.seconds)] {
        connection.create_topic(topic, case.partitions, &configs)?;
        let load = load(topic, arguments.batch_bytes);
        let before = server.used();
        let produced = load.produce(seconds, None)?;
        figures.produce(&produced, server.used().since(before), case.bytes);
        let before = server.used();
        let (seconds, _) = load.consume(produced.records)?;
        figures.fetch(produced.records, seconds, server.used().since(before));
    }
    connection.create_topic("both", case.partitions, &configs)?;
    let before = server.used();
    let both = Load { fetch_bytes_min: arguments.fetch_bytes_min, ..load("both", arguments.batch_bytes) };
    let (produced, seconds, _) = both.both(arguments.seconds, None)?;
    figures.both(produced.records, seconds, server.used().since(before));
    connection.create_topic("paced", case.partitions, &configs)?;
    let paced = load("paced", arguments.paced_batch_bytes);
    let (produced, _, ages) = paced.both(arguments.seconds, Some(arguments.paced_rate))?;
    figures.paced(&produced, &ages);
    figures.memory(server.memory_mib());
    Ok(figures)
}
