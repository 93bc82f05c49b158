//! Readable transcripts: statements as people write them, and what becomes of them.
//!
//! An entry is the text of a statement, then a line with `=> ` and the print of its tree, or `=> error: ` and the
//! message. A line with `#` is a comment between entries; an empty line ends an entry. After a change that is meant,
//! `HOLON_REWRITE=1 cargo test -p holon-cql-language --test transcripts` writes the arrows anew; review the difference.

use holon_cql_language::parse_statement;
use std::path::PathBuf;

struct Entry {
    line: usize,
    text: String,
    expected: String,
}

enum Block {
    /// A comment or an empty line.
    Verbatim(String),
    Entry(Entry),
}

fn read(name: &str) -> (PathBuf, Vec<Block>) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(name);
    let content = std::fs::read_to_string(&path).unwrap();
    let mut blocks = Vec::new();
    let mut text: Vec<&str> = Vec::new();
    for (index, line) in content.lines().chain([""]).enumerate() {
        if let Some(expected) = line.strip_prefix("=> ") {
            let entry = Entry { line: index, text: text.join("\n"), expected: expected.to_owned() };
            blocks.push(Block::Entry(entry));
            text.clear();
        } else if !line.is_empty() && (!text.is_empty() || !line.starts_with('#')) {
            text.push(line);
        } else {
            if !text.is_empty() {
                let entry = Entry { line: index, text: text.join("\n"), expected: String::new() };
                blocks.push(Block::Entry(entry));
                text.clear();
            }
            blocks.push(Block::Verbatim(line.to_owned()));
        }
    }
    blocks.pop();
    (path, blocks)
}

fn outcome(text: &str) -> String {
    match parse_statement(text) {
        Ok(parsed) => parsed.statement.to_string(),
        Err(error) => format!("error: {error}"),
    }
}

/// Runs every entry of a file and returns how many there are.
fn run(name: &str, refused: bool) -> usize {
    let (path, blocks) = read(name);
    let rewrite = std::env::var_os("HOLON_REWRITE").is_some();
    let mut rewritten = String::new();
    let mut problems = Vec::new();
    let mut entries = 0;
    for block in &blocks {
        match block {
            Block::Verbatim(line) => rewritten.push_str(&format!("{line}\n")),
            Block::Entry(entry) => {
                entries += 1;
                let found = outcome(&entry.text);
                let problem = problem(entry, &found, refused, rewrite);
                problems.extend(problem.map(|problem| format!("{name}:{}: {}\n{problem}", entry.line, entry.text)));
                rewritten.push_str(&format!("{}\n=> {found}\n", entry.text));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
    if rewrite {
        std::fs::write(path, rewritten).unwrap();
    }
    entries
}

fn problem(entry: &Entry, found: &str, refused: bool, rewrite: bool) -> Option<String> {
    if found.starts_with("error: ") != refused {
        return Some(found.to_owned());
    }
    if !rewrite && found != entry.expected {
        return Some(format!("found    {found}\nexpected {}", entry.expected));
    }
    if refused { None } else { unstable(&entry.text, found) }
}

/// The print must parse to the same tree and the same bind markers, and print the same.
fn unstable(text: &str, print: &str) -> Option<String> {
    let first = parse_statement(text).unwrap();
    match parse_statement(print) {
        Err(error) => Some(format!("the print {print} is refused: {error}")),
        Ok(second) if second != first => Some(format!("the print {print} is another tree: {first:?}\n{second:?}")),
        Ok(second) if second.statement.to_string() != print => Some(format!("{print} prints otherwise")),
        Ok(_) => None,
    }
}

#[test]
fn statements_are_read_and_printed() {
    let files = ["select.txt", "modification.txt", "term.txt", "schema.txt", "security.txt"];
    let entries: usize = files.iter().map(|name| run(name, false)).sum();
    assert!(entries >= 200, "only {entries} statements");
}

#[test]
fn mistakes_are_refused_with_their_place() {
    assert!(run("errors.txt", true) >= 100);
}
