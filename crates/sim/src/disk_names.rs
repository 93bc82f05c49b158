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
            if !names.files.keys().any(|name| name.starts_with(&prefix)) {
                names.directories.remove(path);
            }
        }
    }
}
