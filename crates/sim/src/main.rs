//! `holon-sim`: runs seeds and says what they found.
//!
//! ```text
//! holon-sim --seed 7 [--world store]      one seed, verbosely
//! holon-sim --seeds 0..100                a range, of every world
//! holon-sim kept                          the seeds that once found something
//! holon-sim planted                       bugs put in on purpose must be found
//! holon-sim ci --cpu-minutes 10           fresh seeds for so long
//! holon-sim matrix --each 2               faults of a cluster alone, in pairs, and all together
//! holon-sim check-history FILE            what conformance/chaos recorded of real processes
//! ```

use clap::{Parser, Subcommand};
use holon_sim::check_history;
use holon_sim::families::{Families, Family};
use holon_sim::faults::Fault;
use holon_sim::matrix;
use holon_sim::plants::Plants;
use holon_sim::report::{Rot, RunOptions};
use holon_sim::runner::{Totals, WorldKind, run_one, run_seeds};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const WORLDS: &[WorldKind] = &[
    WorldKind {
        name: "toy",
        about: "a replicated counter map on three nodes: the contracts of the kernel",
        run: holon_sim::toy_run::run,
        faults: &[
            Fault::Crash,
            Fault::CleanStop,
            Fault::LostWrite,
            Fault::TornWrite,
            Fault::ReadError,
            Fault::WriteError,
            Fault::SyncError,
            Fault::SlowDisk,
            Fault::ClockJump,
            Fault::SessionLost,
            Fault::MessageLost,
            Fault::MessageDoubled,
            Fault::MessageDelayed,
            Fault::Partition,
        ],
        points: &["increment acknowledged", "increment unknown", "read served", "read unavailable"],
    },
    WorldKind {
        name: "store",
        about: "the storage engine against an ordered map",
        run: holon_sim::store_run::run,
        faults: &[
            Fault::Crash,
            Fault::CleanStop,
            Fault::LostWrite,
            Fault::TornWrite,
            Fault::LostName,
            Fault::ReadError,
            Fault::WriteError,
            Fault::SyncError,
            Fault::DiskFull,
            Fault::BitRot,
            Fault::MisdirectedWrite,
            Fault::SlowDisk,
            Fault::ShardCountChange,
        ],
        points: &[
            "node up",
            "read found a row",
            "write refused: disk full",
            "flush",
            "compact",
            "verify",
            "damage found by a read",
            "damage refused with file and offset",
        ],
    },
    WorldKind {
        name: "log",
        about: "topics on one node: producers that send again, readers, restarts, against what was acknowledged and read",
        run: holon_sim::log_run::run,
        faults: &[
            Fault::Crash,
            Fault::CleanStop,
            Fault::LostWrite,
            Fault::TornWrite,
            Fault::LostName,
            Fault::ReadError,
            Fault::WriteError,
            Fault::SyncError,
            Fault::DiskFull,
            Fault::SlowDisk,
            Fault::ShardCountChange,
        ],
        points: &["node up", "batch appended", "batch was there already", "batch read", "topic made", "topic deleted"],
    },
    WorldKind {
        name: "tables",
        about: "CQL sessions on a whole node against the workload's model",
        run: holon_sim::tables_run::run,
        faults: &[
            Fault::Crash,
            Fault::CleanStop,
            Fault::LostWrite,
            Fault::TornWrite,
            Fault::LostName,
            Fault::ReadError,
            Fault::WriteError,
            Fault::SyncError,
            Fault::SlowDisk,
            Fault::SessionLost,
            Fault::ShardCountChange,
        ],
        points: &["writes", "batches", "reads", "pages", "scans", "conditional statements", "restarts"],
    },
    WorldKind {
        name: "cluster",
        about: "3 to 9 nodes with tables of three replicas, every fault between them, against the workload's model",
        run: holon_sim::cluster_run::run,
        faults: &[
            Fault::Crash,
            Fault::CleanStop,
            Fault::LostWrite,
            Fault::TornWrite,
            Fault::LostName,
            Fault::ReadError,
            Fault::WriteError,
            Fault::SyncError,
            Fault::DiskFull,
            Fault::SlowDisk,
            Fault::SessionLost,
            Fault::MessageLost,
            Fault::MessageDoubled,
            Fault::MessageDelayed,
            Fault::Partition,
            Fault::OldMap,
            Fault::NodeJoins,
            Fault::NodeDrained,
            Fault::NodeReplaced,
            Fault::NodeForgotten,
            Fault::RemovedNodeReturns,
            Fault::ChangeCancelled,
            Fault::ClockSkew,
            Fault::ClockDrift,
            Fault::ClockJump,
            Fault::Upgrade,
        ],
        points: &[
            "writes acknowledged",
            "metadata log cut",
            "metadata taken from a snapshot while running",
            "strong reads checked",
            "weak reads checked",
            "scans",
            "batches compared",
            "partitions deleted",
            "slices deleted",
            "rows deleted",
            "unavailable",
            "write timeouts",
            "read timeouts",
            "restarts",
            "conditional statements",
            "serial reads",
            "counters counted",
            "counters read",
            "transactions answered",
            "transactions refused",
            "all registers decided",
            "quiet rows deleted",
            "quiet rows compared",
            "deletions forgotten",
            "tablets found unchanged",
            "replicas made equal",
            "server stamps acknowledged",
            "reads of what the server stamped",
            "refused for the clock",
        ],
    },
    WorldKind {
        name: "moves",
        about: "4 to 6 nodes, a few tablets that move all the time, and nodes that go by an old map of them",
        run: holon_sim::moves_run::run,
        faults: &[
            Fault::Crash,
            Fault::CleanStop,
            Fault::LostWrite,
            Fault::SyncError,
            Fault::SlowDisk,
            Fault::SessionLost,
            Fault::MessageLost,
            Fault::MessageDoubled,
            Fault::MessageDelayed,
            Fault::Partition,
            Fault::OldMap,
            Fault::NodeJoins,
            Fault::NodeDrained,
            Fault::ReplicationChange,
        ],
        points: &[
            "factors changed",
            "requests routed anew",
            "writes acknowledged",
            "rows deleted",
            "strong reads checked",
            "weak reads checked",
            "unavailable",
            "write timeouts",
            "read timeouts",
            "restarts",
        ],
    },
    WorldKind {
        name: "backup",
        about: "backups of 3 to 5 nodes while they are written to and fail: what they have, and that it comes back",
        run: holon_sim::backup_run::run,
        faults: &[
            Fault::Crash,
            Fault::CleanStop,
            Fault::LostWrite,
            Fault::SyncError,
            Fault::SlowDisk,
            Fault::MessageLost,
            Fault::MessageDoubled,
            Fault::MessageDelayed,
            Fault::Partition,
        ],
        points: &[
            "backups checked",
            "backups with writes from after they were asked for",
            "backups refused",
            "backups cut off",
            "a backup came back",
            "tables compared after a restore",
            "batches",
            "deletions",
            "restarts",
        ],
    },
    WorldKind {
        name: "cost",
        about: "3 or 4 nodes under load while the topology changes: what that costs the clients, in a model of costs",
        run: holon_sim::cost_run::run,
        faults: &[],
        points: &["p99 compared", "rows read back"],
    },
    WorldKind {
        name: "clock",
        about: "one node whose wall clock jumps and drifts, also while it is down: no timestamp goes back",
        run: holon_sim::cluster_run::run_alone,
        faults: &[
            Fault::Crash,
            Fault::CleanStop,
            Fault::LostWrite,
            Fault::SlowDisk,
            Fault::SyncError,
            Fault::SessionLost,
            Fault::ClockSkew,
            Fault::ClockDrift,
            Fault::ClockJump,
        ],
        points: &[
            "server stamps acknowledged",
            "reads of what the server stamped",
            "refused for the clock",
            "restarts",
            "conditional statements",
            "counters counted",
            "all registers decided",
        ],
    },
];

/// Bugs the code can be told to have, and the world whose checkers must notice.
const PLANTED: &[(&str, &str)] = &[
    ("skip_fsync", "store"),
    ("skip_fsync", "log"),
    ("skip_checksum", "store"),
    ("drop_tombstone_early", "store"),
    ("majority_minus_one", "cluster"),
    ("skip_read_repair", "cluster"),
    ("trust_short_reads", "cluster"),
    ("ignore_digests", "cluster"),
    ("forget_batches", "cluster"),
    ("transact_twice", "cluster"),
    ("read_locally", "cluster"),
    ("answer_when_decided", "cluster"),
    ("purge_unrepaired", "cluster"),
    ("skip_compare", "cluster"),
    ("ignore_clocks", "cluster"),
    ("trust_own_clock", "cluster"),
    ("trust_own_clock", "clock"),
    ("skip_gates", "cluster"),
    ("unthrottled_copy", "cost"),
    ("accept_old_maps", "moves"),
    ("cut_unheld", "backup"),
];
const PLANTED_SEEDS_MAX: u64 = 200;

/// World and seed of runs that once failed, with what they found.
const KEPT: &str = include_str!("../kept_seeds.txt");

#[derive(Parser)]
#[command(name = "holon-sim", about = "runs Holon in a seeded world of faults")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only this world.
    #[arg(long, global = true)]
    world: Option<String>,
    /// Run one seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Run a range of seeds, as 0..100.
    #[arg(long)]
    seeds: Option<String>,
    /// Simulated time of a seed, seconds.
    #[arg(long, default_value_t = 60, global = true)]
    simulated_seconds: u64,
    /// Let sorted files of one node of a cluster rot.
    #[arg(long, value_enum, default_value_t = Rot::Some, global = true)]
    rot: Rot,
    /// What befalls clusters (comma-separated; default: everything).
    #[arg(long, value_enum, value_delimiter = ',', global = true)]
    faults: Vec<Family>,
    /// Show what the nodes tell people (of clusters).
    #[arg(long)]
    tell: bool,
    /// Put these bugs in (comma-separated).
    #[arg(long, default_value = "", global = true)]
    plant: String,
}

#[derive(Subcommand)]
enum Command {
    /// The seeds that once found something.
    Kept,
    /// Bugs put in on purpose must be found.
    Planted,
    /// Fresh seeds for so long.
    Ci {
        #[arg(long)]
        cpu_minutes: f64,
    },
    /// Faults of a cluster alone, in pairs, and all together.
    Matrix {
        /// Seeds of each.
        #[arg(long, default_value_t = 1)]
        each: u64,
    },
    /// Holds a recorded history of real processes against the models of the worlds.
    #[command(hide = true)]
    CheckHistory { file: std::path::PathBuf },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let worlds: Vec<&WorldKind> = match &arguments.world {
        None => WORLDS.iter().collect(),
        Some(name) => WORLDS.iter().filter(|kind| kind.name == name).collect(),
    };
    if worlds.is_empty() {
        return fail("no such world; there are:", WORLDS.iter().map(|kind| format!("{}: {}", kind.name, kind.about)));
    }
    let plants = match Plants::parse(&arguments.plant) {
        Ok(plants) => plants,
        Err(name) => {
            return fail(
                &format!("no planted bug {name:?}; there are:"),
                PLANTED.iter().map(|(name, _)| name.to_string()),
            );
        }
    };
    let options = RunOptions {
        simulated: Duration::from_secs(arguments.simulated_seconds),
        tell: arguments.tell,
        rot: arguments.rot,
        families: if arguments.faults.is_empty() { Families::all() } else { Families::of(&arguments.faults) },
    };
    let (passed, failed) = match arguments.command {
        Some(Command::CheckHistory { file }) => return history(&file),
        Some(Command::Kept) => kept(&worlds, &options),
        Some(Command::Planted) => planted(&worlds, &options),
        Some(Command::Matrix { each }) => match WORLDS.iter().find(|kind| kind.name == "cluster") {
            Some(kind) => matrix::run(kind, arguments.seed.unwrap_or_else(fresh_seed), each, &options, || plants.set()),
            None => (0, 1),
        },
        Some(Command::Ci { cpu_minutes }) => {
            let each = Duration::from_secs_f64(cpu_minutes * 60.0 / worlds.len() as f64);
            let first = fresh_seed();
            println!("fresh seeds from {first}");
            sets(&worlds, first, &options, plants, Limit::Cpu(each))
        }
        None => match (arguments.seed, arguments.seeds.as_deref().map(range)) {
            (Some(seed), _) => one(&worlds, seed, &options, plants),
            (None, Some(Some((first, count)))) => sets(&worlds, first, &options, plants, Limit::Seeds(count)),
            (None, Some(None)) => return fail("--seeds takes a range:", ["--seeds 0..100".to_string()]),
            (None, None) => sets(&worlds, fresh_seed(), &options, plants, Limit::Seeds(20)),
        },
    };
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn fail(what: &str, lines: impl IntoIterator<Item = String>) -> ExitCode {
    eprintln!("{what}");
    lines.into_iter().for_each(|line| eprintln!("  {line}"));
    ExitCode::FAILURE
}

fn history(file: &std::path::Path) -> ExitCode {
    match check_history::check_file(file) {
        Ok(report) => {
            println!("{}", check_history::words(&report));
            if check_history::is_right(&report) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(what) => fail("cannot check it:", [what]),
    }
}

fn range(text: &str) -> Option<(u64, u64)> {
    let (first, end) = text.split_once("..")?;
    let (first, end): (u64, u64) = (first.parse().ok()?, end.parse().ok()?);
    (first < end).then(|| (first, end - first))
}

/// Fresh for each state of the code, and the same for everybody who runs that state: from the hash of the committed tree
/// of crates/. A multiple of a million, so that a set of seeds reads well and its tenth seeds are the repeated ones.
fn fresh_seed() -> u64 {
    let tree = git(&["rev-parse", "HEAD:crates"]).and_then(|hash| u64::from_str_radix(hash.get(..8)?, 16).ok());
    let clock = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    tree.unwrap_or_else(clock) * 1_000_000
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = std::process::Command::new("git").args(arguments).output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// The commit, for a failure's report.
fn commit() -> String {
    git(&["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".to_string())
}

enum Limit {
    Seeds(u64),
    Cpu(Duration),
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn sets(worlds: &[&WorldKind], first: u64, options: &RunOptions, plants: Plants, limit: Limit) -> (u64, u64) {
    let (mut passed, mut failed) = (0, 0);
    for kind in worlds {
        let (began, cpu) = (Instant::now(), cpu_time());
        let more = |number: u64| match limit {
            Limit::Seeds(count) => number < count,
            Limit::Cpu(most) => cpu_time().saturating_sub(cpu) < most,
        };
        let totals = run_seeds(kind, first, options, more, || plants.set());
        totals.print(kind, began.elapsed());
        let broken = judge(kind, &totals);
        failed += broken;
        passed += totals.seeds - totals.failures.len() as u64;
    }
    (passed, failed)
}

fn judge(kind: &WorldKind, totals: &Totals) -> u64 {
    for failure in totals.failures.iter().take(10) {
        println!("{} seed {}: {}", kind.name, failure.seed, failure.what);
        println!("  options: {}", failure.expanded);
        println!("  commit {}; again: cargo xtask sim --world {} --seed {}", commit(), kind.name, failure.seed);
    }
    let unseen = totals.unseen(kind);
    if !unseen.is_empty() {
        println!("{}: never seen in {} seeds: {}", kind.name, totals.seeds, unseen.join(", "));
    }
    totals.failures.len() as u64 + u64::from(!unseen.is_empty())
}

fn one(worlds: &[&WorldKind], seed: u64, options: &RunOptions, plants: Plants) -> (u64, u64) {
    plants.set();
    let mut failed = 0;
    for kind in worlds {
        let outcome = run_one(kind, seed, options);
        println!("{} seed {seed} at commit {}: {}", kind.name, commit(), outcome.expanded);
        println!("  {} operations, trace {:016x}", outcome.operations, outcome.trace);
        for (fault, count) in outcome.faults.counts() {
            println!("  {} × {count}", fault.name());
        }
        for (point, count) in outcome.faults.points() {
            println!("  sometimes {point} × {count}");
        }
        outcome.errors.iter().take(10).for_each(|error| println!("  FAILED: {error}"));
        failed += u64::from(!outcome.errors.is_empty());
    }
    (worlds.len() as u64 - failed, failed)
}

fn kept(worlds: &[&WorldKind], options: &RunOptions) -> (u64, u64) {
    let (mut passed, mut failed) = (0, 0);
    for line in KEPT.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let (name, seed) = (words.next().unwrap_or(""), words.next().and_then(|word| word.parse().ok()));
        let Some(kind) = worlds.iter().find(|kind| kind.name == name) else { continue };
        let Some(seed) = seed else {
            println!("kept_seeds.txt: no seed in {line:?}");
            failed += 1;
            continue;
        };
        let outcome = run_one(kind, seed, options);
        match outcome.errors.first() {
            None => passed += 1,
            Some(error) => {
                println!("{line}\n  FAILED: {error}\n  options: {}", outcome.expanded);
                failed += 1;
            }
        }
    }
    (passed, failed)
}

fn planted(worlds: &[&WorldKind], options: &RunOptions) -> (u64, u64) {
    let (mut passed, mut failed) = (0, 0);
    for (name, world) in PLANTED {
        let Some(kind) = worlds.iter().find(|kind| kind.name == *world) else { continue };
        let plants = Plants::parse(name).unwrap_or_default();
        plants.set();
        let found = (0..PLANTED_SEEDS_MAX).find_map(|seed| {
            let outcome = run_one(kind, seed, options);
            outcome.errors.into_iter().next().map(|error| (seed, error))
        });
        match found {
            Some((seed, error)) => {
                println!("planted {name}: found by {world} at seed {seed}: {error}");
                passed += 1;
            }
            None => {
                println!("planted {name}: NOT found by {world} in {PLANTED_SEEDS_MAX} seeds");
                failed += 1;
            }
        }
    }
    Plants::default().set();
    (passed, failed)
}
