//! `holon status --watch`: asks a node each second and shows what it says, until it is stopped or the node goes away.
//!
//! On a terminal the screen is drawn anew; elsewhere one text follows another, and with `--format json` each status is one
//! line of JSON.

use crate::control::{Answer, Request};
use crate::{cluster, control, holdings};
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Rates are taken over so many looks, so that a page more or less does not make them jump.
const LOOKS_REMEMBERED: usize = 3;

/// To the top left corner; and from the cursor on, nothing.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_REST: &str = "\x1b[J";

/// # Errors
/// Why the node can be asked no more. Whoever reads no more ends it without one.
pub fn run(data_dir: &Path, json: bool) -> Result<ExitCode, String> {
    let mut stdout = std::io::stdout();
    let terminal = stdout.is_terminal() && !json;
    let mut past: VecDeque<Value> = VecDeque::new();
    if terminal {
        drop(stdout.write_all(b"\x1b[2J"));
    }
    loop {
        let status = look(data_dir)?;
        let shown = match json {
            true => format!("{status}\n"),
            false => screen(&text(&status, before(&past, &status)), terminal),
        };
        if stdout.write_all(shown.as_bytes()).and_then(|()| stdout.flush()).is_err() {
            return Ok(ExitCode::SUCCESS);
        }
        past.push_back(status);
        if past.len() > LOOKS_REMEMBERED {
            past.pop_front();
        }
        std::thread::sleep(INTERVAL);
    }
}

/// What rates are taken from: the oldest look that saw the change which is on its way now, or the oldest of all.
fn before<'a>(past: &'a VecDeque<Value>, status: &'a Value) -> &'a Value {
    let change = |look: &Value| look["cluster"]["change"]["started_index"].clone();
    past.iter().find(|look| change(look) == change(status)).or(past.front()).unwrap_or(status)
}

fn look(data_dir: &Path) -> Result<Value, String> {
    let request = Request { words: vec!["status".to_string()], json: true };
    match crate::client::ask(data_dir, &request, |_| ())? {
        Answer::Done(text) => {
            serde_json::from_str(&text).map_err(|error| format!("the node answered {text:?}: {error}"))
        }
        Answer::Failed(text) | Answer::Progress(text) => Err(text),
    }
}

fn text(status: &Value, before: &Value) -> String {
    let mut lines = control::node_text(status);
    lines.extend(cluster::text(status, before));
    lines.extend(holdings::text(status, before, control::seconds_between(before, status)));
    lines.join("\n") + "\n"
}

/// Over what was there before, without a moment in which the screen is empty.
fn screen(text: &str, terminal: bool) -> String {
    match terminal {
        true => format!("{HOME}{}{CLEAR_REST}", text.replace('\n', &format!("{CLEAR_LINE}\n"))),
        false => format!("{text}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rates_are_taken_from_the_same_change_where_one_was_seen() {
        let look = |number: u64, change: Option<u64>| json!({ "look": number, "cluster": { "change": change.map(|index| json!({ "started_index": index })) } });
        let past = VecDeque::from([look(1, None), look(2, Some(7)), look(3, Some(7))]);
        let chosen = |now: Value, past: &VecDeque<Value>| before(past, &now)["look"].clone();
        assert_eq!(chosen(look(4, Some(7)), &past), 2);
        assert_eq!(chosen(look(4, Some(9)), &past), 1, "requests have rates whatever changes");
        assert_eq!(chosen(look(4, None), &past), 1);
        assert_eq!(chosen(look(4, None), &VecDeque::new()), 4);
    }

    #[test]
    fn a_screen_is_drawn_over_the_one_before() {
        assert_eq!(screen("a\nb\n", false), "a\nb\n\n");
        assert_eq!(screen("a\nb\n", true), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
    }
}
