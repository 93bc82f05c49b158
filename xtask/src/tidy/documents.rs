//! What the texts say: modules open with `//!`, files are reachable, named paths exist, nothing names a machine.

use crate::workspace;

/// Documents whose paths must exist.
const MAPS: &[&str] = &["ARCHITECTURE.md", "README.md", "CONTRIBUTING.md", "docs/GUARANTEES.md", "docs/GLOSSARY.md"];
/// First parts of a path that make a word in backticks a path of this tree.
const TOP: &[&str] = &[
    "crates",
    "base",
    "core",
    "wire",
    "service",
    "edge",
    "sim",
    "holon",
    "conformance",
    "bench",
    "docs",
    "examples",
    "xtask",
    ".ci",
    "fuzz",
    "console",
    ".cargo",
];
/// Words that name a registry's host or a machine's own paths; split so that this file passes its own rule.
const FORBIDDEN: &[&str] = &[
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("maven", ".org"),
    concat!("npmjs", ".org"),
    concat!("golang", ".org/"),
    concat!("debian", ".org"),
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
];
const TEXT_ENDINGS: &[&str] = &[".rs", ".toml", ".md", ".py", ".sh", ".html", ".js", ".css", ".txt", ".cql", ".run"];

fn sources(ending: &str) -> Vec<String> {
    let folders = ["crates", "xtask", "conformance", "bench", "fuzz", "examples"];
    folders.iter().flat_map(|folder| workspace::files(folder)).filter(|path| path.ends_with(ending)).collect()
}

/// Each module says what it is before anything else.
pub fn modules_open_with_a_comment() -> Vec<String> {
    let mut complaints = Vec::new();
    for path in sources(".rs") {
        let text = workspace::text(&path);
        let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("#!"));
        if !first.is_some_and(|line| line.starts_with("//!")) {
            complaints.push(format!("{path} does not open with //!"));
        }
    }
    for path in sources(".py") {
        let text = workspace::text(&path);
        let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        if first.is_some_and(|line| !line.starts_with("\"\"\"")) {
            complaints.push(format!("{path} does not open with a docstring"));
        }
    }
    complaints
}

/// Each source file is a module of some other file, or a root.
pub fn no_dead_files() -> Vec<String> {
    let paths = sources(".rs");
    let mut declared: Vec<(String, String)> = Vec::new();
    for path in &paths {
        for line in workspace::text(path).lines() {
            let line = line.trim().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
            let line = line.trim_start_matches("pub(super) ");
            if let Some(name) = line.strip_prefix("mod ").and_then(|rest| rest.split(';').next()) {
                declared.push((path.clone(), name.trim().to_string()));
            }
        }
        if let Some((_, rest)) = workspace::text(path).split_once("#[path = \"") {
            let name = rest.split('"').next().unwrap_or_default();
            let stem = name.rsplit('/').next().unwrap_or(name).trim_end_matches(".rs");
            declared.push((path.clone(), stem.to_string()));
        }
    }
    let mut complaints = Vec::new();
    for path in &paths {
        let Some((folder, file)) = path.rsplit_once('/') else { continue };
        let is_root = matches!(file, "lib.rs" | "main.rs" | "build.rs")
            || ["/tests", "/benches", "/examples", "/bin", "/fuzz_targets"].iter().any(|end| folder.ends_with(end));
        let name =
            if file == "mod.rs" { folder.rsplit('/').next().unwrap_or("") } else { file.trim_end_matches(".rs") };
        if !is_root && !declared.iter().any(|(by, declared)| by != path && declared == name) {
            complaints.push(format!("{path} is no module of any file"));
        }
    }
    complaints
}

/// Every path that the maps name exists.
pub fn named_paths_exist() -> Vec<String> {
    let mut complaints = Vec::new();
    for document in MAPS {
        let text = workspace::text(document);
        if text.is_empty() {
            complaints.push(format!("{document} is missing"));
        }
        for path in named_paths(document, &text) {
            if !exists(&path) {
                complaints.push(format!("{document} names {path}, which does not exist"));
            }
        }
    }
    complaints
}

fn exists(path: &str) -> bool {
    let root = workspace::root();
    [root.join(path), root.join("crates").join(path)].iter().any(|candidate| candidate.exists())
}

/// The paths in backticks, as from the root, and in links, as from where `document` is, of its text.
fn named_paths(document: &str, text: &str) -> Vec<String> {
    let folder = document.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let mut found = Vec::new();
    for line in text.lines() {
        for word in line.split('`').skip(1).step_by(2) {
            let first = word.split('/').next().unwrap_or_default();
            let plain = word.chars().all(|character| character.is_alphanumeric() || "/_-.{},".contains(character));
            if plain && word.contains('/') && TOP.contains(&first) {
                found.extend(expand(word));
            }
        }
        for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains("://") {
                found.push(format!("{folder}{}", path.trim_start_matches("./")));
            }
        }
    }
    found
}

/// `a/{b,c}` is `a/b` and `a/c`.
fn expand(word: &str) -> Vec<String> {
    let word = word.trim_end_matches('/');
    match (word.split_once('{'), word.split_once('}')) {
        (Some((before, _)), Some((inside, after))) => {
            let names = inside.split_once('{').map_or("", |(_, names)| names);
            names.split(',').map(|name| format!("{before}{}{after}", name.trim())).collect()
        }
        _ => vec![word.to_string()],
    }
}

/// No text names a registry's host or a path of one machine.
pub fn no_hosts_or_machine_paths() -> Vec<String> {
    let mut complaints = Vec::new();
    for path in workspace::files(".") {
        let path = path.trim_start_matches("./");
        let is_text = TEXT_ENDINGS.iter().any(|ending| path.ends_with(ending)) || path == ".ci/run";
        if !is_text || path.ends_with(".lock") {
            continue;
        }
        for (index, line) in workspace::text(path).lines().enumerate() {
            if let Some(word) = FORBIDDEN.iter().find(|word| line.contains(**word)) {
                complaints.push(format!("{path}:{}: names `{word}`", index + 1));
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::named_paths;

    #[test]
    fn paths_are_read_from_backticks_and_links() {
        let text = "`crates/base` and `core/{kernel,store}`, not `a/b` nor `cargo xtask`; [g](docs/GLOSSARY.md#x)";
        assert_eq!(named_paths("README.md", text), ["crates/base", "core/kernel", "core/store", "docs/GLOSSARY.md"]);
    }

    #[test]
    fn links_lead_from_where_their_document_is() {
        let text = "`docs/SCALE.md` [g](GLOSSARY.md) [r](../README.md)";
        assert_eq!(named_paths("docs/GUARANTEES.md", text), ["docs/SCALE.md", "docs/GLOSSARY.md", "docs/../README.md"]);
    }
}
