//! `holon demo`: a cluster of real processes on this machine, under load, to which things happen before the viewer's eyes; and
//! a summary that says which promises were kept, with the numbers.
//!
//! ```text
//!   story ─ acts ─► nodes (processes: holon start …) ◄─ relays of links ─► nodes
//!     │               ▲ requests through the CQL door
//!     └──────────► load (workers, tallies, what may be read)       stage ─► panel ─► screen, or said: a plain log
//! ```
//!
//! It is a client and a supervisor, no test harness: nothing in a node knows of it but that a node ends when the demo does
//! (`holon start --parent`). It is honest: nothing is tried again, every failure is counted and told, and the exit code says
//! whether every promise was kept.

mod acts;
mod cql;
mod flights;
mod links;
mod load;
mod nodes;
mod panel;
mod said;
mod screen;
mod stage;
mod story;
mod tally;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use nodes::{Address, Folder, Nodes};
use said::Said;
use screen::Screen;
use stage::{Promise, Stage};
use std::io::IsTerminal;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Nodes at the start. Fewer than three have no majority without one; more than nine are too many for one machine.
const NODES: std::ops::RangeInclusive<u64> = 3..=9;
/// An act of more than an hour is nobody's.
const SECONDS: std::ops::RangeInclusive<u64> = 1..=3600;
/// The seed of all choices of the load; the processes make no two runs alike.
const SEED: u64 = 2013;
/// Between two frames of the picture.
const FRAME_INTERVAL: Duration = Duration::from_millis(200);
/// The exit code of a process that a signal ended is 128 and the number of the signal.
const EXIT_SIGNAL: u8 = 128;

pub fn command() -> Command {
    let number = |name: &'static str, value: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).default_value(default).help(help)
    };
    let flights = flights::FLIGHTS_MAX as u64;
    Command::new("demo")
        .about("Shows a cluster on this machine: under load, with a node killed, one that joins, and one cut off")
        .long_about(
            "Starts a cluster of nodes on loopback addresses, loads made-up flights with three replicas, and keeps a mixed load on it. \
             A node is killed and brought back, a further one joins, and one is cut off and healed. In the end it says which promises were kept, \
             with the numbers; the exit code is 0 only if all were.",
        )
        .arg(number("nodes", "N", "3", "nodes at the start; one more joins").value_parser(value_parser!(u64).range(NODES)))
        .arg(
            number("flights", "ROWS", "30000", "flights to load; made up, `cargo xtask flights` has real ones")
                .value_parser(value_parser!(u64).range(0..=flights)),
        )
        .arg(
            number("seconds", "S", "10", "how long each act takes, at least")
                .value_parser(value_parser!(u64).range(SECONDS)),
        )
        .arg(
            number("from", "IP", "127.0.0.1", "the address of the first node; the others follow")
                .value_parser(value_parser!(Ipv4Addr)),
        )
        .arg(
            Arg::new("script")
                .long("script")
                .action(ArgAction::SetTrue)
                .help("print a plain log, line by line; so it is too when stdout is no terminal"),
        )
        .arg(
            Arg::new("dir")
                .long("dir")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help("a new directory for data and logs of the nodes, which is kept"),
        )
}

struct Options {
    nodes: usize,
    flights: usize,
    act_time: Duration,
    from: Ipv4Addr,
    plain: bool,
    folder: Option<PathBuf>,
}

impl Options {
    fn read(matches: &ArgMatches) -> Options {
        let number = |name: &str| matches.get_one::<u64>(name).copied().unwrap_or(0);
        Options {
            nodes: number("nodes") as usize,
            flights: number("flights") as usize,
            act_time: Duration::from_secs(number("seconds")),
            from: matches.get_one("from").copied().unwrap_or(Ipv4Addr::LOCALHOST),
            plain: matches.get_flag("script") || !std::io::stdout().is_terminal(),
            folder: matches.get_one("dir").cloned(),
        }
    }
}

/// # Errors
/// Why the demo cannot be shown, in one line.
pub fn run(matches: &ArgMatches) -> Result<ExitCode, String> {
    let options = Options::read(matches);
    holon_edge::raise_open_files_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the system gives no reactor: {error}"))?;
    tokio::task::LocalSet::new().block_on(&runtime, show(options))
}

enum Ended {
    /// The story was told to its end, or could not go on.
    Told(Result<(), String>),
    Signal(u8),
}

async fn show(options: Options) -> Result<ExitCode, String> {
    let mut signals = Signals::new()?;
    let addresses = Address::several(options.from, options.nodes + 1)?;
    let relays = nodes::open_relays(&addresses)?;
    let folder = Folder::make(options.folder.as_deref())?;
    let doors = addresses.iter().map(Address::cql).collect();
    let load = load::Load::new(doors, options.flights, SEED, story::PHASES.len());
    let nodes = Nodes::new(folder.path().to_path_buf(), addresses, relays);
    let stage = Stage::new(nodes, load, Said::new(options.plain), options.act_time);
    let screen = (!options.plain).then(Screen::open);
    let ended = tokio::select! {
        told = story::tell(&stage) => Ended::Told(told),
        ended = stage.until_a_node_ends() => Ended::Told(Err(ended)),
        number = signals.any() => Ended::Signal(number),
        () = stage.watch() => Ended::Told(Ok(())),
        () = draw(&stage, screen.as_ref()) => Ended::Told(Ok(())),
    };
    stage.load.stop();
    stage.nodes.kill_all();
    drop(screen);
    let mut text = summary(&stage, &ended, !options.plain);
    match &options.folder {
        Some(path) => text.push_str(&format!("data and logs of the nodes are in {}\n", path.display())),
        None if failed(&stage, &ended) => text.push_str("with --dir DIR the logs of the nodes are kept\n"),
        None => {}
    }
    crate::cli::print(&text);
    drop(folder); // which can take seconds
    match ended {
        Ended::Signal(number) => Ok(ExitCode::from(EXIT_SIGNAL + number)),
        Ended::Told(Err(reason)) => Err(format!("the demo could not go on: {reason}")),
        Ended::Told(Ok(())) if failed(&stage, &ended) => Ok(ExitCode::FAILURE),
        Ended::Told(Ok(())) => Ok(ExitCode::SUCCESS),
    }
}

/// Not only broken promises: those that were not come to count too.
fn failed(stage: &Stage, ended: &Ended) -> bool {
    let promises = stage.promises();
    match ended {
        Ended::Signal(_) => false,
        Ended::Told(Err(_)) => true,
        Ended::Told(Ok(())) => promises.len() != story::PROMISES || promises.iter().any(|promise| !promise.kept),
    }
}

async fn draw(stage: &Rc<Stage>, screen: Option<&Screen>) {
    let Some(screen) = screen else { return std::future::pending().await };
    loop {
        let (columns, rows) = Screen::size();
        screen.draw(&panel::draw(&stage.picture(), columns, rows)).await;
        tokio::time::sleep(FRAME_INTERVAL).await;
    }
}

/// What stays on the terminal.
fn summary(stage: &Stage, ended: &Ended, after_a_picture: bool) -> String {
    let promises = stage.promises();
    let mut text = String::new();
    if let Ended::Signal(_) = ended {
        text.push_str("ended before its time; the nodes are stopped\n");
    }
    if after_a_picture && matches!(ended, Ended::Told(Err(_))) {
        stage.said.last(10).iter().for_each(|line| text.push_str(&format!("{line}\n")));
    }
    text.push_str(&format!("\nafter {:.0} s:\n", stage.said.elapsed().as_secs_f64()));
    for Promise { promise, kept, numbers, .. } in &promises {
        let sign = if *kept { "kept    " } else { "NOT KEPT" };
        text.push_str(&format!("  {sign}  {promise}\n            {numbers}\n"));
    }
    let kept = promises.iter().filter(|promise| promise.kept).count();
    let missing = story::PROMISES.saturating_sub(promises.len());
    let unseen = if missing > 0 { format!(", {missing} not come to") } else { String::new() };
    text.push_str(&format!("{kept} of {} promises kept{unseen}\n", story::PROMISES));
    text
}

/// Ctrl-C, `kill`, and a terminal that is closed.
struct Signals(Vec<(u8, Signal)>);

impl Signals {
    fn new() -> Result<Signals, String> {
        let one = |kind: SignalKind| match signal(kind) {
            Ok(signal) => Ok((kind.as_raw_value() as u8, signal)),
            Err(error) => Err(format!("signals cannot be received: {error}")),
        };
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
            .map(one)
            .into_iter()
            .collect::<Result<_, _>>()
            .map(Signals)
    }

    async fn any(&mut self) -> u8 {
        let [(interrupt, first), (terminate, second), (hangup, third)] = &mut self.0[..] else {
            return std::future::pending().await; // there are three
        };
        tokio::select! {
            _ = first.recv() => *interrupt,
            _ = second.recv() => *terminate,
            _ = third.recv() => *hangup,
        }
    }
}
