//! The data directory: made if missing, proved writable, locked against a second node, and the root of every path.

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Held locked while the node runs; holds its process id, for messages.
const LOCK_FILE: &str = "lock";

#[derive(Debug, Error)]
pub enum DataDirError {
    #[error("data directory {path} cannot be made: {source}; choose another with --data-dir")]
    Create { path: String, source: std::io::Error },
    #[error("data directory {path} cannot be opened: {source}; choose another with --data-dir")]
    Open { path: String, source: std::io::Error },
    #[error(
        "data directory {path} is not writable: {source}; make it writable for this user, or choose another with --data-dir"
    )]
    NotWritable { path: String, source: std::io::Error },
    #[error(
        "data directory {path} is in use by another node{}; stop that one, or choose another directory with --data-dir",
        .process.map(|id| format!(" (process {id})")).unwrap_or_default()
    )]
    InUse { path: String, process: Option<u32> },
}

/// An open, locked data directory. The lock goes with the process, however it ends.
pub struct DataDir {
    path: PathBuf,
    root: OwnedFd,
    _lock: File,
    lock_is_new: bool,
}

impl DataDir {
    /// Opens `path`, making it (mode 0700) with its parents if it is missing.
    pub fn open(path: &Path) -> Result<DataDir, DataDirError> {
        let shown = path.display().to_string();
        make_durably(path).map_err(|source| DataDirError::Create { path: shown.clone(), source })?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| DataDirError::Open { path: shown.clone(), source: errno.into() })?;
        let lock_is_new = rustix::fs::statat(&root, LOCK_FILE, AtFlags::SYMLINK_NOFOLLOW).is_err();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let lock = rustix::fs::openat(&root, LOCK_FILE, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| DataDirError::NotWritable { path: shown.clone(), source: errno.into() })?;
        let mut lock = File::from(lock);
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut text = String::new();
            let process = lock.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(DataDirError::InUse { path: shown, process });
        }
        let written =
            lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| writeln!(lock, "{}", std::process::id()));
        written.map_err(|source| DataDirError::NotWritable { path: shown, source })?;
        Ok(DataDir { path: path.to_path_buf(), root, _lock: lock, lock_is_new })
    }

    /// The directory turned out not to be ours: takes our lock away again, if it was not there before.
    pub fn leave_as_found(&self) {
        if self.lock_is_new
            && let Err(error) = rustix::fs::unlinkat(&self.root, LOCK_FILE, AtFlags::empty())
        {
            tracing::warn!(%error, "the lock stays in the data directory");
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Bytes in all and free for this user on the file system that holds the directory.
    pub fn space_bytes(&self) -> std::io::Result<(u64, u64)> {
        let space = rustix::fs::fstatvfs(&self.root)?;
        Ok((space.f_blocks * space.f_frsize, space.f_bavail * space.f_frsize))
    }
}

/// Makes a directory with its parents, and syncs the entry of each one that is new: what is acknowledged later must not vanish
/// with the directory it is in.
fn make_durably(path: &Path) -> std::io::Result<()> {
    let path = std::path::absolute(path)?;
    let missing: Vec<&Path> = path.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
    for parent in missing.into_iter().filter_map(Path::parent) {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Waits until no node holds the directory; false if one still does after `patience`.
pub fn wait_until_free(path: &Path, patience: std::time::Duration) -> bool {
    let give_up = std::time::Instant::now() + patience;
    loop {
        let Ok(lock) = File::open(path.join(LOCK_FILE)) else { return true };
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared).is_ok() {
            return true;
        }
        if std::time::Instant::now() >= give_up {
            return false;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_node_on_the_same_data_is_told_who_has_it() {
        let place = crate::disk::tests::TestDir::new("lock");
        let first = DataDir::open(&place.path.join("a/b")).expect("made with its parents");
        let refused = DataDir::open(&place.path.join("a/b")).err().expect("locked").to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        assert!(refused.contains("--data-dir"), "{refused}");
        drop(first);
        DataDir::open(&place.path.join("a/b")).expect("free again");
    }

    #[test]
    fn a_file_in_the_way_is_one_clear_line() {
        let place = crate::disk::tests::TestDir::new("file");
        std::fs::write(place.path.join("data"), b"x").expect("write");
        let refused = DataDir::open(&place.path.join("data")).err().expect("not a directory").to_string();
        assert!(refused.contains("/data") && refused.contains("--data-dir") && !refused.contains('\n'), "{refused}");
    }
}
