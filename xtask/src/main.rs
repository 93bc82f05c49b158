//! The developer's commands: `cargo xtask <command>`.
//!
//! What it is: the one entry for a person and for continuous integration alike. `check` only reads, `fix` writes,
//! `test` runs every stage and ends with a closing block. What it is not: a build system; cargo and pytest do the work.
//! It guarantees a non-zero exit status when anything failed, and a list of what was not run, with the reason.

mod check;
mod foreign;
mod process;
mod report;
mod stages;
mod tidy;
mod workspace;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <command>

  check                     formatting, clippy with warnings denied, tidy: reads only
  fix                       formatting, clippy --fix, lowers the ratchet of sizes: writes
  test [--all] [STAGE…]     every stage, or the named ones; --all (as root) skips nothing
  sim ARGUMENTS…            the simulator: --seed N | --seeds A..B | kept | planted | ci --cpu-minutes M
  scale [ARGUMENTS…]        gossip and placement at 10 to 75,000 nodes; writes docs/SCALE.md (--print N…: shows only)
  bench NAME [ARGUMENTS…]   the measurement in bench/NAME
  conformance NAME [ARGS…]  one foreign suite (cql, kafka, node) against the release binary; ARGS go to pytest
  flights [ARGUMENTS…]      examples/flights against a node of its own
  flights-log [ARGUMENTS…]  examples/flights_log against a node of its own; needs kcat
  chaos [ARGUMENTS…]        real processes under faults, as root: --seed N, --seconds S, --runs N, --nodes N

stages of `test`: build, unit, tidy, lint, simulation, foreign, node, chaos
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rest: &[String] = arguments.get(1..).unwrap_or_default();
    let outcome = match arguments.first().map(String::as_str) {
        Some("check") => check::check(),
        Some("fix") => check::fix(),
        Some("test") => stages::test(rest),
        Some("sim") => stages::simulator(rest),
        Some("scale") => stages::scale(rest),
        Some("bench") => stages::bench(rest),
        Some("conformance") => stages::conformance(rest),
        Some("flights") => stages::example("flights", foreign::flights, rest),
        Some("flights-log") => stages::example("flights log", foreign::flights_log, rest),
        Some("chaos") => stages::chaos(rest),
        Some("help" | "--help" | "-h") => {
            println!("{USAGE}");
            Ok(())
        }
        Some(other) => Err(format!("`{other}` is not a command\n\n{USAGE}")),
        None => Err(USAGE.to_string()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
