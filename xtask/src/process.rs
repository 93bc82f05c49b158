//! Children: run with their output passed on, watched for silence, ended at a deadline, measured.
//!
//! Processor time is read from `/proc/self/stat`: user and system time of all children that were waited for, and of
//! theirs. A child that is still running is not in it.

use std::fs;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Ticks of a second in `/proc`: `USER_HZ`, which Linux fixes at 100 for everything it shows to programs.
const TICKS_PER_SECOND: f64 = 100.0;
/// After so long without a line of output, a line says that the work goes on.
const SILENCE: Duration = Duration::from_secs(30);
/// Between the polite signal at a deadline and the other one.
const GRACE: Duration = Duration::from_secs(10);

/// What a child did.
pub struct Finished {
    pub success: bool,
    /// Why it counts as failed, in words; empty on success.
    pub trouble: String,
    /// Every line of standard output and standard error, in the order of arrival.
    pub lines: Vec<String>,
}

/// Processor seconds of all children waited for so far.
pub fn children_cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in parentheses, may hold blanks; what follows the last parenthesis starts at field 3.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(13) + ticks(14)) / TICKS_PER_SECOND
}

/// Runs `command` to its end or to `deadline`, passing its output on and keeping it.
pub fn run(name: &str, command: &mut Command, deadline: Duration) -> Finished {
    println!("  $ {}", describe(command));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // At a terminal the interrupt key must reach the child, so it stays in our group there.
    let own_group = !std::io::stdin().is_terminal();
    if own_group {
        command.process_group(0);
    }
    let started = Instant::now();
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let trouble = format!("cannot start {}: {error}", command.get_program().to_string_lossy());
            println!("  {trouble}");
            return Finished { success: false, trouble, lines: Vec::new() };
        }
    };
    let (sender, receiver) = channel();
    forward(child.stdout.take(), sender.clone());
    forward(child.stderr.take(), sender);
    let (lines, overdue) = collect(name, &receiver, &mut child, own_group, started, deadline);
    let status = child.wait();
    let success = !overdue && status.as_ref().is_ok_and(std::process::ExitStatus::success);
    let trouble = if success {
        String::new()
    } else if overdue {
        format!("{name}: ended after its limit of {} s", deadline.as_secs())
    } else {
        match status {
            Ok(status) => format!("{name}: {status}"),
            Err(error) => format!("{name}: cannot wait for it: {error}"),
        }
    };
    Finished { success, trouble, lines }
}

/// The command line as a person would type it.
pub fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Passes each line of `pipe` to `sender` from a thread that ends with the pipe.
fn forward<R: Read + Send + 'static>(pipe: Option<R>, sender: Sender<String>) {
    let Some(pipe) = pipe else { return };
    thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_string();
            if sender.send(line).is_err() {
                return;
            }
            bytes.clear();
        }
    });
}

/// Gathers lines until both pipes are closed; true when the deadline passed and the child was ended.
fn collect(
    name: &str,
    receiver: &Receiver<String>,
    child: &mut Child,
    own_group: bool,
    started: Instant,
    deadline: Duration,
) -> (Vec<String>, bool) {
    let mut lines = Vec::new();
    let mut overdue = false;
    let mut last_line = Instant::now();
    loop {
        match receiver.recv_timeout(Duration::from_millis(500)) {
            Ok(line) => {
                println!("  {line}");
                last_line = Instant::now();
                lines.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                // A grandchild may hold the pipe open after the child is gone; do not wait for it for ever.
                if child.try_wait().is_ok_and(|status| status.is_some()) && last_line.elapsed() > GRACE {
                    break;
                }
                if last_line.elapsed() >= SILENCE {
                    println!("  … {name}: {} s so far, still running", started.elapsed().as_secs());
                    last_line = Instant::now();
                }
            }
        }
        let _ = std::io::stdout().flush();
        if started.elapsed() > deadline && !overdue {
            overdue = true;
            end(child, own_group);
        }
    }
    (lines, overdue)
}

fn end(child: &mut Child, own_group: bool) {
    let target = if own_group { format!("-{}", child.id()) } else { child.id().to_string() };
    let signal = |signal: &str| Command::new("kill").args([signal, "--", &target]).stderr(Stdio::null()).status();
    let _ = signal("-TERM");
    let asked = Instant::now();
    while asked.elapsed() < GRACE && child.try_wait().is_ok_and(|status| status.is_none()) {
        thread::sleep(Duration::from_millis(100));
    }
    let _ = signal("-KILL");
}

#[cfg(test)]
mod tests {
    use super::{children_cpu_seconds, run};
    use std::process::Command;
    use std::time::{Duration, Instant};

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn lines_of_both_pipes_are_kept_and_failure_is_told() {
        let finished = run("shell", &mut shell("echo out; echo err >&2; exit 3"), Duration::from_secs(20));
        assert!(!finished.success && finished.trouble.contains('3'), "{}", finished.trouble);
        let mut lines = finished.lines;
        lines.sort();
        assert_eq!(lines, ["err", "out"]);
        assert!(!run("nothing", &mut Command::new("no-such-program"), Duration::from_secs(1)).success);
    }

    #[test]
    fn a_child_that_hangs_is_ended_with_its_children() {
        let started = Instant::now();
        let finished = run("hanging", &mut shell("sleep 60 & sleep 60"), Duration::from_millis(300));
        assert!(!finished.success && finished.trouble.contains("limit"), "{}", finished.trouble);
        assert!(started.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn the_time_of_children_is_measured() {
        let before = children_cpu_seconds();
        run("busy", &mut shell("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"), Duration::from_secs(60));
        assert!(children_cpu_seconds() > before);
    }
}
