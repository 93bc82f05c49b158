//! The stages of `cargo xtask test`, in order, each with its budget in processor minutes.
//!
//! A stage that cannot run (its part of the tree is missing, say) fails; it is never passed over in silence. What only
//! `--all` runs is listed at the end of a run without it.

use crate::report::{Counts, Runner, StageResult, close, counts_of_line};
use crate::{check, foreign, process, tidy, workspace};
use std::process::Command;
use std::time::{Duration, Instant};

/// No stage may hold up a run for longer, whatever its budget; the whole must stay under an hour.
const STAGE_LIMIT: Duration = Duration::from_secs(25 * 60);
/// Fresh seeds of the simulator in a run of the tests; kept and planted ones come on top.
const FRESH_SEEDS_CPU_MINUTES: &str = "10";

/// What a stage is asked to do with.
pub struct Context {
    /// `--all`: as root, nothing left out.
    pub all: bool,
    pub not_run: Vec<String>,
}

/// What a stage hands back before it is measured.
#[derive(Default)]
pub struct Work {
    pub runners: Vec<Runner>,
    pub failures: Vec<String>,
}

struct Stage {
    name: &'static str,
    budget_cpu_minutes: u32,
    run: fn(&mut Context) -> Work,
}

/// Stages that only `--all` runs, unless they are named, and why.
const NOT_BY_THEMSELVES: &[(&str, &str)] = &[
    ("lint", "`cargo xtask check` does it; part of --all"),
    ("chaos", "real processes in network namespaces: needs root; part of --all"),
];

const STAGES: &[Stage] = &[
    Stage { name: "build", budget_cpu_minutes: 20, run: build },
    Stage { name: "unit", budget_cpu_minutes: 5, run: unit },
    Stage { name: "tidy", budget_cpu_minutes: 1, run: tidy_stage },
    Stage { name: "lint", budget_cpu_minutes: 6, run: lint },
    Stage { name: "simulation", budget_cpu_minutes: 15, run: simulation },
    Stage { name: "foreign", budget_cpu_minutes: 12, run: foreign::clients },
    Stage { name: "node", budget_cpu_minutes: 8, run: foreign::node },
    Stage { name: "chaos", budget_cpu_minutes: 4, run: foreign::chaos },
];

impl Work {
    /// Runs a command and books it: its counts, its closing line, its failure.
    pub fn run(&mut self, name: &str, command: &mut Command) -> bool {
        let finished = process::run(name, command, STAGE_LIMIT);
        let mut counts = Counts::default();
        let mut closing_line = String::new();
        for line in &finished.lines {
            if let Some(found) = counts_of_line(line) {
                counts.add(found);
                closing_line = line.trim().to_string();
            }
        }
        if !finished.success {
            self.failures.push(finished.trouble.clone());
        } else if counts.passed + counts.failed == 0 {
            self.failures.push(format!("{name}: executed no test"));
        }
        if closing_line.is_empty() {
            closing_line = if finished.success { "no closing line".to_string() } else { finished.trouble };
        }
        self.runners.push(Runner { name: name.to_string(), counts, closing_line });
        finished.success
    }

    /// Runs a command that executes no tests; only its failure is booked.
    pub fn prepare(&mut self, name: &str, command: &mut Command) -> bool {
        let finished = process::run(name, command, STAGE_LIMIT);
        if !finished.success {
            self.failures.push(finished.trouble);
        }
        finished.success
    }
}

/// A cargo command in the root of the work tree.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).current_dir(workspace::root());
    command
}

/// `cargo xtask test [--all] [STAGE…]`.
pub fn test(arguments: &[String]) -> Result<(), String> {
    let all = arguments.iter().any(|argument| argument == "--all");
    let named: Vec<&str> = arguments.iter().map(String::as_str).filter(|name| *name != "--all").collect();
    if let Some(unknown) = named.iter().find(|name| !STAGES.iter().any(|stage| stage.name == **name)) {
        let known: Vec<&str> = STAGES.iter().map(|stage| stage.name).collect();
        return Err(format!("`{unknown}` is not a stage; the stages are {}", known.join(", ")));
    }
    if all {
        foreign::prepare_machine()?;
    }
    let mut context = Context { all, not_run: Vec::new() };
    let mut results = Vec::new();
    let started = Instant::now();
    for stage in STAGES {
        if let Some((name, reason)) = NOT_BY_THEMSELVES.iter().find(|(name, _)| *name == stage.name)
            && named.is_empty()
            && !all
        {
            context.not_run.push(format!("{name}: {reason}"));
            continue;
        }
        if !named.is_empty() && !named.contains(&stage.name) {
            context.not_run.push(format!("{}: not asked for", stage.name));
            continue;
        }
        println!("\n──── {} (budget {} CPU-minutes) ────", stage.name, stage.budget_cpu_minutes);
        let (stage_started, cpu_before) = (Instant::now(), process::children_cpu_seconds());
        let work = (stage.run)(&mut context);
        let result = StageResult {
            name: stage.name,
            runners: work.runners,
            failures: work.failures,
            wall: stage_started.elapsed(),
            cpu_seconds: process::children_cpu_seconds() - cpu_before,
            budget_cpu_minutes: stage.budget_cpu_minutes,
        };
        println!("──── {}: {:.0} CPU-seconds, {:.0} s", result.name, result.cpu_seconds, result.wall.as_secs_f64());
        results.push(result);
    }
    close(&results, &context.not_run, started.elapsed())
}

/// Everything that later stages run is built here, so that their times are their own.
fn build(context: &mut Context) -> Work {
    let mut work = Work::default();
    if context.all && foreign::planted_binary_possible() {
        let arguments = ["build", "--release", "-p", "holon", "--features", "plant"];
        if work.prepare("build with planted bugs", &mut cargo(&arguments)) {
            work.failures.extend(foreign::keep_planted_binary().err());
        }
    }
    work.prepare("build holon", &mut cargo(&["build", "--release", "-p", "holon"]));
    if foreign::simulator_exists() {
        work.prepare("build holon-sim", &mut cargo(&["build", "--release", "-p", "holon-sim", "--bins"]));
    }
    work.prepare("build tests", &mut cargo(&["test", "--workspace", "--no-run"]));
    foreign::build_rust_driver(&mut work);
    if context.all {
        foreign::build_other_drivers(&mut work);
    }
    work
}

fn unit(_context: &mut Context) -> Work {
    let mut work = Work::default();
    work.run("cargo test", &mut cargo(&["test", "--workspace", "--no-fail-fast"]));
    sum_up(&mut work);
    work
}

/// cargo test closes once a crate; the closing block wants one line.
fn sum_up(work: &mut Work) {
    for runner in &mut work.runners {
        let counts = runner.counts;
        runner.closing_line = format!("{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.skipped);
    }
}

fn tidy_stage(_context: &mut Context) -> Work {
    let outcome = tidy::run();
    outcome.print();
    let failed = outcome.rules_broken() as u64;
    let counts = Counts { passed: outcome.rules as u64 - failed, failed, skipped: 0 };
    let closing_line = format!("{} passed, {} failed", counts.passed, counts.failed);
    let failures = if failed > 0 { vec![format!("{} complaints", outcome.complaints.len())] } else { Vec::new() };
    Work { runners: vec![Runner { name: "tidy".to_string(), counts, closing_line }], failures }
}

fn lint(_context: &mut Context) -> Work {
    Work { runners: Vec::new(), failures: check::lint() }
}

fn simulation(_context: &mut Context) -> Work {
    let mut work = Work::default();
    if !foreign::simulator_exists() {
        work.failures.push("crates/sim has no program holon-sim yet: nothing was simulated".to_string());
        return work;
    }
    work.run("sim kept", &mut simulator_command(&["kept"]));
    work.run("sim planted", &mut simulator_command(&["planted"]));
    work.run("sim fresh", &mut simulator_command(&["ci", "--cpu-minutes", FRESH_SEEDS_CPU_MINUTES]));
    work
}

fn simulator_command(arguments: &[&str]) -> Command {
    let mut command = cargo(&["run", "--quiet", "--release", "-p", "holon-sim", "--bin", "holon-sim", "--"]);
    command.args(arguments);
    command
}

/// `cargo xtask chaos [ARGUMENTS…]`.
pub fn chaos(arguments: &[String]) -> Result<(), String> {
    plain("cargo build", &mut cargo(&["build", "--release", "-p", "holon"]))?;
    plain("cargo build", &mut cargo(&["build", "--release", "-p", "holon-sim", "--bin", "holon-sim"]))?;
    foreign::virtualenv()?;
    let mut command = foreign::chaos_command();
    command.args(arguments);
    plain("chaos", &mut command)
}

fn plain(name: &str, command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("cannot start {name}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{name}: {status}")) }
}

/// `cargo xtask sim …`: the words are the simulator's.
pub fn simulator(arguments: &[String]) -> Result<(), String> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    plain("holon-sim", &mut simulator_command(&arguments))
}

/// `cargo xtask scale …`: the words are those of `crates/scale`.
pub fn scale(arguments: &[String]) -> Result<(), String> {
    let mut command = cargo(&["run", "--quiet", "--release", "-p", "holon-scale", "--"]);
    command.args(arguments);
    plain("holon-scale", &mut command)
}

/// `cargo xtask bench NAME`.
pub fn bench(arguments: &[String]) -> Result<(), String> {
    let known: Vec<String> =
        workspace::files("bench").into_iter().filter(|path| path.ends_with("Cargo.toml")).collect();
    let list = || known.iter().filter_map(|path| path.split('/').nth(1)).collect::<Vec<_>>().join(", ");
    let Some(name) = arguments.first() else {
        return Err(format!("say which one: cargo xtask bench NAME, with NAME one of: {}", list()));
    };
    let manifest = format!("bench/{name}/Cargo.toml");
    if !known.contains(&manifest) {
        return Err(format!("`{name}` is not in bench/; there is: {}", list()));
    }
    let mut command = cargo(&["run", "--release", "--manifest-path", &manifest]);
    match name.as_str() {
        "store" => with_rocksdb(&mut command),
        "log" => {
            plain("cargo build", &mut cargo(&["build", "--release", "-p", "holon"]))?;
            command.env("HOLON_BINARY", workspace::holon());
        }
        _ => {}
    }
    command.arg("--").args(&arguments[1..]);
    plain(name, &mut command)
}

/// The RocksDB of the system (or of `ROCKSDB_LIB_DIR`); without it the comparison goes on, and says what it leaves out.
fn with_rocksdb(command: &mut Command) {
    const VARIABLE: &str = "ROCKSDB_LIB_DIR";
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let found = folders.chain(["/usr/lib64".into()]).find(|folder| folder.join("librocksdb.so").exists());
    match found {
        _ if std::env::var_os(VARIABLE).is_some() => {}
        Some(folder) => drop(command.env(VARIABLE, folder)),
        None => {
            println!("RocksDB is LEFT OUT: install it (Debian: librocksdb-dev libclang-dev), or set {VARIABLE}");
            command.arg("--no-default-features");
        }
    }
}

/// `cargo xtask conformance NAME [ARGS…]`.
pub fn conformance(arguments: &[String]) -> Result<(), String> {
    let Some(name) = arguments.first() else {
        return Err(
            "say which one: cargo xtask conformance NAME, with NAME one of: cql, kafka, librdkafka, node".to_string()
        );
    };
    plain("cargo build", &mut cargo(&["build", "--release", "-p", "holon"]))?;
    foreign::virtualenv()?;
    let arguments = arguments.get(1..).unwrap_or_default();
    if name == "librdkafka" {
        return plain(name, foreign::librdkafka().args(arguments));
    }
    plain(name, &mut foreign::pytest(name, arguments)?)
}

/// `cargo xtask flights [ARGUMENTS…]` and its like.
pub fn example(name: &str, example: fn() -> Command, arguments: &[String]) -> Result<(), String> {
    plain("cargo build", &mut cargo(&["build", "--release", "-p", "holon"]))?;
    foreign::virtualenv()?;
    plain(name, example().args(arguments))
}
