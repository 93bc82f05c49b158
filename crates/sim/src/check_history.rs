//! Reads a history that `conformance/chaos` recorded of real processes, and holds it against the models of the worlds
//! ([`holon_tables::workload::recorded`]): the same checkers for both.
//!
//! A history is a file with one JSON object a line, one for each statement:
//!
//! ```text
//! client, node      who asked whom; numbers
//! begin, end        nanoseconds of one clock
//! op, key           write delete read | insert update remove serial_read | count counter_read; the three groups' keys are apart
//! value, timestamp, expected, level       as the operation needs them
//! outcome           "ok", "error" (with `code`, the number on the wire, and `message`) or "none"
//! found, applied    what an answer has shown
//! ```

use holon_tables::workload::recorded::{Level, Outcome, Record, Reply, Report, Request, check};
use holon_tables::workload::register::Change;
use holon_tables::workload::transactions::Answer;
use serde_json::Value;
use std::fmt::Write;
use std::path::Path;

/// Longest text of violations that is printed of one history, violations.
const VIOLATIONS_SHOWN_MAX: usize = 5;

/// # Errors
/// The file cannot be read, or is no history.
pub fn check_file(file: &Path) -> Result<Report, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    check_text(&text)
}

/// # Errors
/// A line is no record.
pub fn check_text(text: &str) -> Result<Report, String> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let records = lines.map(|(number, line)| record(line).map_err(|what| format!("line {number}: {what}: {line}")));
    Ok(check(&records.collect::<Result<Vec<_>, _>>()?))
}

/// Nothing was violated, and everything was decided.
pub fn is_right(report: &Report) -> bool {
    report.violations.is_empty() && report.undecided.is_empty()
}

/// For people.
pub fn words(report: &Report) -> String {
    let mut out = String::new();
    let mut names: Vec<&str> = report.counts.keys().map(|(name, _)| *name).collect();
    names.dedup();
    for name in names {
        let of = |outcome| report.counts.get(&(name, outcome)).copied().unwrap_or(0);
        let (answered, not_done) = (of(Outcome::Answered), of(Outcome::NotDone));
        let unknown = of(Outcome::Unknown);
        let _ = writeln!(out, "{name:<20} {answered:>7} answered {not_done:>6} not done {unknown:>6} unknown");
    }
    let _ = writeln!(out, "{} registers, the longest history has {} calls", report.registers, report.longest);
    for violation in report.violations.iter().take(VIOLATIONS_SHOWN_MAX) {
        let _ = writeln!(out, "VIOLATION: {violation}");
    }
    for key in &report.undecided {
        let _ = writeln!(out, "UNDECIDED: register {key}: the search took too many steps");
    }
    let verdict = match (report.violations.len(), report.undecided.len()) {
        (0, 0) => "the history is right".to_string(),
        (violations, undecided) => format!("{violations} violations, {undecided} registers not decided"),
    };
    out + &format!("verdict: {verdict}")
}

struct Fields(Value);

impl Fields {
    fn number(&self, name: &str) -> Result<i64, String> {
        self.0.get(name).and_then(Value::as_i64).ok_or_else(|| format!("`{name}` is no number"))
    }

    fn small<T: TryFrom<i64>>(&self, name: &str) -> Result<T, String> {
        T::try_from(self.number(name)?).map_err(|_| format!("`{name}` is out of range"))
    }

    fn text(&self, name: &str) -> Result<&str, String> {
        self.0.get(name).and_then(Value::as_str).ok_or_else(|| format!("`{name}` is no text"))
    }

    fn found(&self) -> Result<Option<i32>, String> {
        match self.0.get("found") {
            None => Err("`found` is missing".to_string()),
            Some(Value::Null) => Ok(None),
            Some(_) => self.small("found").map(Some),
        }
    }

    fn row(&self) -> Result<Option<(i64, i64)>, String> {
        match self.0.get("found").ok_or("`found` is missing")? {
            Value::Null => Ok(None),
            found => {
                let at = |place: usize| found.get(place).and_then(Value::as_i64).ok_or("`found` is no row");
                Ok(Some((at(0)?, at(1)?)))
            }
        }
    }

    fn level(&self) -> Result<Level, String> {
        match self.text("level")? {
            "ONE" => Ok(Level::One),
            "QUORUM" => Ok(Level::Quorum),
            "ALL" => Ok(Level::All),
            other => Err(format!("{other:?} is no level that is known here")),
        }
    }

    fn request(&self) -> Result<Request, String> {
        let key = self.small("key")?;
        let change = |change| Ok(Request::Change { key, change });
        match self.text("op")? {
            "write" => {
                let (value, timestamp) = (Some(self.number("value")?), self.number("timestamp")?);
                Ok(Request::Write { key, value, timestamp })
            }
            "delete" => Ok(Request::Write { key, value: None, timestamp: self.number("timestamp")? }),
            "read" => Ok(Request::Read { key, level: self.level()? }),
            "insert" => change(Change::Insert { value: self.small("value")? }),
            "update" => change(Change::Update { expected: self.small("expected")?, value: self.small("value")? }),
            "remove" => change(Change::Delete),
            "serial_read" => Ok(Request::SerialRead { key }),
            "count" => Ok(Request::Count { key }),
            "counter_read" => Ok(Request::CounterRead { key }),
            other => Err(format!("{other:?} is no operation")),
        }
    }

    fn reply(&self, request: Request) -> Result<Reply, String> {
        match self.text("outcome")? {
            "none" => return Ok(Reply::None),
            "error" => return Reply::error(self.small("code")?, self.text("message")?),
            "ok" => {}
            other => return Err(format!("{other:?} is no outcome")),
        }
        Ok(match request {
            Request::Write { .. } | Request::Count { .. } => Reply::Done,
            Request::Read { .. } => Reply::Row(self.row()?),
            Request::Change { .. } => match self.0.get("applied").and_then(Value::as_bool) {
                Some(true) => Reply::Conditional(Answer::Applied),
                Some(false) => Reply::Conditional(Answer::Refused(self.found()?)),
                None => return Err("`applied` is neither true nor false".to_string()),
            },
            Request::SerialRead { .. } => Reply::Conditional(Answer::Saw(self.found()?)),
            Request::CounterRead { .. } => Reply::Counter(self.number("found")?),
        })
    }
}

fn record(line: &str) -> Result<Record, String> {
    let fields = Fields(serde_json::from_str(line).map_err(|error| error.to_string())?);
    let request = fields.request()?;
    let (begin, end) = (fields.small("begin")?, fields.small("end")?);
    if begin > end {
        return Err("it ends before it begins".to_string());
    }
    let (client, node) = (fields.small("client")?, fields.small("node")?);
    Ok(Record { client, node, begin, end, request, reply: fields.reply(request)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A history from lines `client begin end {…}`: the rest of each record.
    fn history(lines: &[(u32, u64, u64, &str)]) -> Report {
        let line = |(client, begin, end, rest): &(u32, u64, u64, &str)| {
            let who = format!("\"client\":{client},\"node\":{client},\"begin\":{begin},\"end\":{end},\"key\":1,");
            format!("{{{who}{}", rest.trim_start_matches('{'))
        };
        check_text(&lines.iter().map(line).collect::<Vec<_>>().join("\n")).expect("a history")
    }

    /// The only violation, which names these words.
    fn only_violation(report: &Report, words: &str) {
        assert!(!is_right(report));
        assert_eq!(report.violations.len(), 1, "{:?}", report.violations);
        assert!(report.violations[0].contains(words), "{}", report.violations[0]);
        assert!(super::words(report).contains("VIOLATION"));
    }

    const WRITE_7: &str = r#"{"op":"write","value":7,"timestamp":100,"outcome":"ok"}"#;
    const WRITE_8: &str = r#"{"op":"write","value":8,"timestamp":200,"outcome":"ok"}"#;
    const WRITE_8_NONE: &str = r#"{"op":"write","value":8,"timestamp":200,"outcome":"none"}"#;
    const READ_7: &str = r#"{"op":"read","level":"QUORUM","outcome":"ok","found":[7,100]}"#;
    const READ_8: &str = r#"{"op":"read","level":"QUORUM","outcome":"ok","found":[8,200]}"#;
    const READ_NOTHING: &str = r#"{"op":"read","level":"QUORUM","outcome":"ok","found":null}"#;
    const ALL_8: &str = r#"{"op":"read","level":"ALL","outcome":"ok","found":[8,200]}"#;
    const ONE_7: &str = r#"{"op":"read","level":"ONE","outcome":"ok","found":[7,100]}"#;

    #[test]
    fn a_lost_write_is_seen() {
        only_violation(&history(&[(1, 1, 2, WRITE_7), (2, 3, 4, READ_NOTHING)]), "shows nothing");
        // Deleted, it may be gone; and read while it is written.
        let delete = r#"{"op":"delete","timestamp":150,"outcome":"ok"}"#;
        assert!(is_right(&history(&[(1, 1, 2, WRITE_7), (1, 3, 4, delete), (2, 5, 6, READ_NOTHING)])));
        assert!(is_right(&history(&[(1, 1, 4, WRITE_7), (2, 2, 3, READ_NOTHING), (2, 5, 6, READ_7)])));
        // Nobody looked afterwards: that is no proof.
        only_violation(&history(&[(1, 1, 2, WRITE_7)]), "was not read after the last change");
    }

    #[test]
    fn a_stale_read_is_seen() {
        let written = [(1, 1, 2, WRITE_7), (1, 3, 4, WRITE_8)];
        only_violation(&history(&[written[0], written[1], (2, 5, 6, READ_7)]), "shows the write at 100");
        assert!(is_right(&history(&[written[0], written[1], (2, 5, 6, READ_8)])));
        // A write without an answer may show or not, but once it was seen it stays.
        let unknown = [(1, 1, 2, WRITE_7), (1, 3, 4, WRITE_8_NONE)];
        assert!(is_right(&history(&[unknown[0], unknown[1], (2, 5, 6, READ_7), (2, 7, 8, READ_8)])));
        let back = [unknown[0], unknown[1], (2, 5, 6, READ_8), (3, 7, 8, READ_7)];
        only_violation(&history(&back), "shows the write at 100");
        // What nobody wrote, and what was refused before anything was done.
        only_violation(&history(&[written[0], (2, 5, 6, READ_8)]), "the model has None");
        let refused = r#"{"op":"write","value":8,"timestamp":200,"outcome":"error","code":4096,"message":"1 of 2"}"#;
        only_violation(&history(&[written[0], (1, 3, 4, refused), (2, 5, 6, READ_8)]), "the model has None");
        // Weak reads may be stale, but not once a read at ALL has brought every replica up to date.
        assert!(is_right(&history(&[written[0], written[1], (2, 5, 6, ONE_7), (2, 7, 8, READ_8)])));
        only_violation(&history(&[written[0], written[1], (2, 5, 6, ALL_8), (2, 7, 8, ONE_7)]), "shows the write");
    }

    const INSERT_1: &str = r#"{"op":"insert","value":1,"outcome":"ok","applied":true}"#;
    const UPDATE_2: &str = r#"{"op":"update","expected":1,"value":2,"outcome":"ok","applied":true}"#;
    const UPDATE_3: &str = r#"{"op":"update","expected":1,"value":3,"outcome":"ok","applied":true}"#;
    const UPDATE_3_NONE: &str = r#"{"op":"update","expected":1,"value":3,"outcome":"none"}"#;
    const UPDATE_3_REFUSED: &str = r#"{"op":"update","expected":1,"value":3,"outcome":"ok","applied":false,"found":2}"#;
    const SAW_1: &str = r#"{"op":"serial_read","outcome":"ok","found":1}"#;
    const SAW_2: &str = r#"{"op":"serial_read","outcome":"ok","found":2}"#;

    #[test]
    fn a_doubly_applied_change_is_seen() {
        let begun = [(1, 1, 2, INSERT_1), (1, 3, 6, UPDATE_2)];
        let not = "not linearizable";
        only_violation(&history(&[begun[0], begun[1], (2, 4, 5, UPDATE_3), (3, 9, 10, SAW_2)]), not);
        assert!(is_right(&history(&[begun[0], begun[1], (2, 4, 5, UPDATE_3_REFUSED), (3, 9, 10, SAW_2)])));
        assert!(is_right(&history(&[begun[0], begun[1], (2, 4, 5, UPDATE_3_NONE), (3, 9, 10, SAW_2)])));
        only_violation(&history(&[begun[0], begun[1], (3, 9, 10, SAW_1)]), not);
        // Refused with what says that nothing was done, and done all the same.
        let refused = r#"{"op":"update","expected":1,"value":2,"outcome":"error","code":4608,"message":"no leader"}"#;
        only_violation(&history(&[begun[0], (1, 3, 4, refused), (3, 9, 10, SAW_2)]), not);
    }

    #[test]
    fn a_counter_that_counts_twice_or_not_at_all_is_seen() {
        let count = r#"{"op":"count","outcome":"ok"}"#;
        let none = r#"{"op":"count","outcome":"none"}"#;
        let shows = |found: u32| format!(r#"{{"op":"counter_read","outcome":"ok","found":{found}}}"#);
        let counted = |found: u32| history(&[(1, 1, 2, count), (1, 3, 4, none), (2, 5, 6, &shows(found))]);
        only_violation(&counted(0), "1 were certain before");
        assert!(is_right(&counted(1)) && is_right(&counted(2)));
        only_violation(&counted(3), "2 tried");
    }

    #[test]
    fn what_is_no_history_is_refused_and_so_is_an_error_that_no_fault_explains() {
        for line in
            ["nonsense", "{}", r#"{"client":1,"node":1,"begin":2,"end":1,"key":1,"op":"remove","outcome":"none"}"#]
        {
            assert!(check_text(line).is_err(), "{line}");
        }
        only_violation(&check_text("").expect("no lines"), "nothing was recorded");
        let syntax = r#"{"op":"read","level":"QUORUM","outcome":"error","code":8192,"message":"line 1"}"#;
        only_violation(&history(&[(1, 1, 2, syntax)]), "no fault explains");
    }
}
