//! The `holon` commands that talk to a running node over its control socket.

use crate::cli::print;
use crate::control::{Answer, Request};
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How long `holon stop` waits for the node to be gone: longer than draining connections and flushing memtables take.
const STOP_PATIENCE: Duration = Duration::from_secs(120);

/// Sends a command, shows its progress on stderr and its answer on stdout.
pub fn run(data_dir: &Path, words: Vec<String>, json: bool) -> Result<ExitCode, String> {
    let stops = words == ["stop"];
    match ask(data_dir, &Request { words, json }, |line| eprintln!("{line}"))? {
        Answer::Done(text) => {
            let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
            print(&format!("{text}{newline}"));
            if stops && !holon_edge::wait_until_free(data_dir, STOP_PATIENCE) {
                return Err(format!("the node still runs after {} s; look at its log", STOP_PATIENCE.as_secs()));
            }
            Ok(ExitCode::SUCCESS)
        }
        Answer::Failed(text) | Answer::Progress(text) => Err(text),
    }
}

/// Sends a request; its last answer. Lines of progress go to `progress`.
pub fn ask(data_dir: &Path, request: &Request, progress: impl Fn(&str)) -> Result<Answer, String> {
    let mut socket = holon_edge::control_connect(data_dir).map_err(|error| error.to_string())?;
    let gone = |error: std::io::Error| format!("the node went away: {error}");
    let mut line = serde_json::to_string(request).map_err(|error| error.to_string())?;
    line.push('\n');
    socket.write_all(line.as_bytes()).map_err(gone)?;
    for line in BufReader::new(socket).lines() {
        let line = line.map_err(gone)?;
        match serde_json::from_str(&line).map_err(|error| format!("the node answered {line:?}: {error}"))? {
            Answer::Progress(text) => progress(&text),
            last => return Ok(last),
        }
    }
    Err("the node went away before it had answered; look at its log".to_string())
}

/// Reads the password of a new account: a line from a pipe, or typed at the terminal. Never an argument, which every user of the
/// machine could read.
pub fn add_password(words: &mut Vec<String>) -> Result<(), String> {
    if std::io::stdin().is_terminal() {
        eprint!("password (shown as you type): ");
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|error| format!("no password: {error}"))?;
    let password = line.trim_end_matches(['\n', '\r']);
    if password.is_empty() {
        return Err("no password: give it on a line of its own".to_string());
    }
    words.push(password.to_string());
    Ok(())
}
