//! Where things lie: the root of the work tree, the target directory, the files that tidy reads.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold nothing written by hand.
const SKIPPED_FOLDERS: &[&str] =
    &["target", "data", "holon-data", "node_modules", "__pycache__", "corpus", "artifacts"];

/// The root of the work tree, found from the place of this crate.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or_else(|| here.to_path_buf(), Path::to_path_buf)
}

/// Cargo's target directory: `CARGO_TARGET_DIR` when set, else `target` under the root.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(path) if Path::new(&path).is_absolute() => PathBuf::from(path),
        Some(path) => root().join(path),
        None => root().join("target"),
    }
}

/// The release binary.
pub fn holon() -> PathBuf {
    target().join("release").join("holon")
}

/// The simulator's program, which also checks recorded histories.
pub fn simulator() -> PathBuf {
    target().join("release").join("holon-sim")
}

/// The release binary that carries the planted bugs; made by `test --all` only.
pub fn holon_planted() -> PathBuf {
    target().join("foreign").join("holon-planted")
}

/// The virtual environment of the foreign clients.
pub fn virtualenv() -> PathBuf {
    target().join("foreign").join("venv")
}

/// Every hand-written file below `folder`, relative to the root with `/` as separator, in order.
pub fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found.sort();
    found
}

fn walk(folder: &Path, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            if !SKIPPED_FOLDERS.contains(&name.as_str()) && (!name.starts_with('.') || name == ".ci") {
                walk(&path, found);
            }
        } else if let Ok(relative) = path.strip_prefix(root()) {
            found.push(relative.to_string_lossy().into_owned());
        }
    }
}

/// The text of a file of the work tree; bytes that are not UTF-8 are replaced.
pub fn text(relative: &str) -> String {
    fs::read(root().join(relative)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
