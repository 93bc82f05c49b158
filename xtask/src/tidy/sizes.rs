//! Files of at most 600 lines, functions of at most 80: a ratchet. What is larger stands in `xtask/ratchet.toml` with
//! its size, which `cargo xtask fix` lowers and nothing raises.

use super::source::code_only;
use crate::workspace;
use std::collections::BTreeMap;
use toml::{Table, Value};

/// A file longer than this holds more than one thought.
const FILE_LINES_MAX: usize = 600;
/// A function longer than this does not fit a screen and a half.
const FUNCTION_LINES_MAX: usize = 80;
const RATCHET: &str = "xtask/ratchet.toml";
const HEADER: &str = "\
# Files over 600 lines and functions over 80, with their sizes. `cargo xtask fix` lowers them and removes what fits by now.
# Nothing may be added or raised without a reason in the review.
";

/// Everything over its limit: `path` or `path::function` to lines.
fn oversized() -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let folders = ["crates", "xtask", "conformance", "bench", "fuzz", "examples", "console", ".ci"];
    for path in folders.iter().flat_map(|folder| workspace::files(folder)) {
        let (rust, python) = (path.ends_with(".rs"), path.ends_with(".py"));
        if !rust && !python && path != ".ci/run" {
            continue;
        }
        let text = workspace::text(&path);
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            found.insert(path.clone(), lines);
        }
        let functions = if rust { rust_functions(&text) } else { python_functions(&text) };
        for (name, lines) in functions.into_iter().filter(|(_, lines)| *lines > FUNCTION_LINES_MAX) {
            found.insert(format!("{path}::{name}"), lines);
        }
    }
    found
}

fn recorded() -> Table {
    workspace::text(RATCHET).parse().unwrap_or_default()
}

fn recorded_lines(table: &Table, name: &str) -> Option<usize> {
    table.get(name).and_then(Value::as_integer).and_then(|lines| usize::try_from(lines).ok())
}

/// Nothing is over its limit but what is recorded, and that has not grown.
pub fn within_the_ratchet() -> Vec<String> {
    let table = recorded();
    let mut complaints = Vec::new();
    for (name, lines) in oversized() {
        let limit = if name.contains("::") { FUNCTION_LINES_MAX } else { FILE_LINES_MAX };
        match recorded_lines(&table, &name) {
            None => complaints.push(format!("{name} has {lines} lines; at most {limit}")),
            Some(most) if lines > most => {
                complaints.push(format!("{name} has grown from {most} to {lines} lines; it may only shrink"));
            }
            Some(_) => {}
        }
    }
    complaints
}

/// Writes the smaller sizes down; says what changed.
pub fn lower_the_ratchet() -> Result<Vec<String>, String> {
    let (table, sizes) = (recorded(), oversized());
    let (mut kept, mut changes) = (String::from(HEADER), Vec::new());
    for name in table.keys() {
        let before = recorded_lines(&table, name).unwrap_or(0);
        match sizes.get(name) {
            None => changes.push(format!("ratchet: {name} fits its limit now")),
            Some(lines) => {
                if *lines < before {
                    changes.push(format!("ratchet: {name} from {before} to {lines}"));
                }
                kept.push_str(&format!("\"{name}\" = {}\n", before.min(*lines)));
            }
        }
    }
    let path = workspace::root().join(RATCHET);
    std::fs::write(&path, kept).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(changes)
}

/// Names of functions with their number of lines, from `fn` to the closing brace.
fn rust_functions(text: &str) -> Vec<(String, usize)> {
    let code = code_only(text);
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let starts_word = at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        let name: String = code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if !starts_word || name.is_empty() {
            continue;
        }
        if let Some(length) = body_length(&bytes[at..]) {
            let lines = bytes[at..at + length].iter().filter(|byte| **byte == b'\n').count() + 1;
            found.push((name, lines));
        }
    }
    found
}

/// Bytes from the start of a function to its closing brace; `None` for one without a body.
fn body_length(bytes: &[u8]) -> Option<usize> {
    let (mut braces, mut others) = (0_i32, 0_i32);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'(' | b'[' => others += 1,
            b')' | b']' => others -= 1,
            b';' if braces == 0 && others == 0 => return None,
            b'{' => braces += 1,
            b'}' => {
                braces -= 1;
                if braces <= 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Names of functions with their number of lines, by indentation.
fn python_functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(rest) = line.trim_start().trim_start_matches("async ").strip_prefix("def ") else { continue };
        let mut last = start;
        for (at, inner) in lines.iter().enumerate().skip(start + 1) {
            let closing = inner.trim_start().starts_with(')');
            if !inner.trim().is_empty() && indent(inner) <= indent(line) && !closing {
                break;
            }
            if !inner.trim().is_empty() {
                last = at;
            }
        }
        let name = rest.split('(').next().unwrap_or_default().to_string();
        found.push((name, last - start + 1));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{python_functions, rust_functions};

    #[test]
    fn functions_are_measured_from_their_name_to_their_brace() {
        let text =
            "fn a() {\n    // }\n    let x = \"}\";\n}\ntrait T { fn b(&self); }\nfn c(x: [u8; 4]) -> u8 { x[0] }\n";
        let expected = [("a".to_string(), 4), ("c".to_string(), 1)];
        assert_eq!(rust_functions(text), expected);
        let python = "def a(\n    x,\n):\n    y\n\n    z\n\nclass B:\n    def c(self):\n        pass\n";
        assert_eq!(python_functions(python), [("a".to_string(), 6), ("c".to_string(), 2)]);
    }
}
