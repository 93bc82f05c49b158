//! `cargo xtask check` reads, `cargo xtask fix` writes; both do the same three things: format, clippy, tidy.

use crate::{process, tidy, workspace};
use std::process::Command;
use std::time::Duration;

/// Long enough for a cold build of every dependency on two cores.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// One step, by the words that follow `cargo`.
pub fn cargo(name: &str, arguments: &[&str]) -> Result<Vec<String>, String> {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).current_dir(workspace::root());
    let finished = process::run(name, &mut command, LIMIT);
    if finished.success { Ok(finished.lines) } else { Err(finished.trouble) }
}

/// Formatting and clippy, without writing.
pub fn lint() -> Vec<String> {
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    [cargo("fmt", &["fmt", "--all", "--check"]), cargo("clippy", &clippy)].into_iter().filter_map(Result::err).collect()
}

/// `cargo xtask check`.
pub fn check() -> Result<(), String> {
    let mut failures = lint();
    let outcome = tidy::run();
    outcome.print();
    if !outcome.complaints.is_empty() {
        failures.push(format!("tidy: {} complaints", outcome.complaints.len()));
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

/// `cargo xtask fix`.
pub fn fix() -> Result<(), String> {
    let clippy = ["clippy", "--fix", "--allow-dirty", "--allow-staged", "--workspace", "--all-targets"];
    cargo("clippy --fix", &clippy)?;
    cargo("fmt", &["fmt", "--all"])?;
    for line in tidy::sizes::lower_the_ratchet()? {
        println!("{line}");
    }
    let outcome = tidy::run();
    outcome.print();
    if outcome.complaints.is_empty() { Ok(()) } else { Err("what is left needs a person".to_string()) }
}
