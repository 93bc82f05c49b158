//! Transcripts of statements about the schema: `tests/schema_transcripts/*.txt`.
//!
//! ```text
//! > CREATE KEYSPACE …;        a statement; it may go on over lines, up to a line that ends with `;`
//! created keyspace k          what came of it, up to the next statement
//! ```
//!
//! Besides CQL: `> ROWS keyspace.table [column, column]` shows a virtual table without what it says of the system's own
//! keyspaces (`> ALL ROWS …` with it); `> RESTART` replays the log on a fresh
//! machine and goes on with that one, and compares the two; `> PAGES n DESCRIBE …` asks in pages of n rows.
//!
//! To rebuild the files: `REBUILD_TRANSCRIPTS=1 cargo test -p holon-tables --test schema`, then review the difference.

mod schema_world;

use schema_world::World;
use std::fmt::Write;

fn check(name: &str) {
    let path = format!("{}/tests/schema_transcripts/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let expected = std::fs::read_to_string(&path).expect("a transcript");
    let mut world = World::new();
    let mut actual = String::new();
    for statement in statements(&expected) {
        let _ = write!(actual, "> {statement}\n{}\n", world.run(&statement).trim_end());
        actual.push('\n');
    }
    let actual = format!("{}\n", actual.trim_end());
    if option_env!("REBUILD_TRANSCRIPTS").is_some() {
        std::fs::write(&path, actual).expect("the transcript is written");
        return;
    }
    assert!(!actual.trim().is_empty(), "{name} has no statements");
    for (number, (got, wanted)) in actual.lines().zip(expected.lines()).enumerate() {
        assert_eq!(got, wanted, "{name}.txt line {}", number + 1);
    }
    assert_eq!(actual.lines().count(), expected.lines().count(), "{name}.txt has another length");
}

fn statements(transcript: &str) -> Vec<String> {
    let mut statements: Vec<String> = Vec::new();
    let mut open = false;
    for line in transcript.lines() {
        if let Some(first) = line.strip_prefix("> ") {
            statements.push(first.to_string());
            open = true;
        } else if open {
            let last = statements.last_mut().expect("a line before this one");
            let _ = write!(last, "\n{line}");
        }
        let is_command = ["> ROWS", "> ALL ROWS", "> RESTART"].iter().any(|command| line.starts_with(command));
        open &= !line.ends_with(';') && !is_command;
    }
    statements
}

#[test]
fn keyspaces() {
    check("keyspaces");
}

#[test]
fn tables() {
    check("tables");
}

#[test]
fn table_options() {
    check("table_options");
}

#[test]
fn altering_tables() {
    check("altering_tables");
}

#[test]
fn user_types() {
    check("user_types");
}

#[test]
fn describe() {
    check("describe");
}

#[test]
fn describe_system() {
    check("describe_system");
}

#[test]
fn system_tables() {
    check("system_tables");
}

#[test]
fn refusals() {
    check("refusals");
}
