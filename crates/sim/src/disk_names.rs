//! The names of files and directories on a simulated disk, and what changes them.

use crate::disk::InodeId;
use std::collections::{BTreeMap, BTreeSet};

/// A change of names that is visible but not synced.
#[derive(Clone, Debug)]
pub(crate) enum NameChange {
    Put { path: String, inode: InodeId },
    Rename { from: String, to: String },
    Remove { path: String },
    MakeDir { path: String },
    RemoveDir { path: String },
}

impl NameChange {
    /// The names that may mean another file, or none, after it.
    pub(crate) fn names_of_files(&self) -> (Option<&str>, Option<&str>) {
        match self {
            NameChange::Put { path, .. } | NameChange::Remove { path } => (Some(path), None),
            NameChange::Rename { from, to } => (Some(from), Some(to)),
            NameChange::MakeDir { .. } | NameChange::RemoveDir { .. } => (None, None),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub(crate) files: BTreeMap<String, InodeId>,
    pub(crate) directories: BTreeSet<String>,
}

/// Applies a change if it still makes sense: with changes lost before it, it may not.
pub(crate) fn change_names(names: &mut Names, change: &NameChange) {
    match change {
        NameChange::Put { path, inode } => {
            names.files.insert(path.clone(), *inode);
        }
        NameChange::Rename { from, to } => {
            if let Some(inode) = names.files.remove(from) {
                names.files.insert(to.clone(), inode);
            }
        }
        NameChange::Remove { path } => {
            names.files.remove(path);
        }
        NameChange::MakeDir { path } => {
            names.directories.insert(path.clone());
        }
        NameChange::RemoveDir { path } => {
            let prefix = format!("{path}/");
            let first = names.files.range(prefix.clone()..).next();
            if !first.is_some_and(|(name, _)| name.starts_with(&prefix)) {
                names.directories.remove(path);
            }
        }
    }
}
