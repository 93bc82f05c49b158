//! Disk operations as system calls, on the disk threads. All paths are resolved from the descriptor of the data directory.

use super::{Files, OpenFile};
use crate::limits;
use bytes::Bytes;
use holon_kernel::disk::{DISK_ALIGNMENT_BYTES, DirectoryEntry};
use holon_kernel::{DiskBuffer, DiskError, DiskErrorKind, DiskOperation, DiskOutput, DiskResult, OpenOptions};
use rustix::fs::{AtFlags, Dir, FallocateFlags, FileType, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};
use std::fs::File;
use std::io::IoSlice;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const DIRECTORY_MODE: Mode = Mode::RWXU;

pub(super) fn run(files: &Files, operation: DiskOperation) -> DiskResult {
    match operation {
        DiskOperation::Open { path, options } => open(files, path, options),
        // Answered where it was submitted.
        DiskOperation::Close { .. } => Ok(DiskOutput::Done),
        DiskOperation::ReadAt { file, offset, length } => files.get(file, "read")?.read(offset, length),
        DiskOperation::WriteAt { file, offset, buffer, durable } => {
            files.get(file, "write")?.write(offset, buffer, durable)
        }
        DiskOperation::Sync { file } => files.get(file, "sync")?.sync(),
        DiskOperation::Allocate { file, length } => files.get(file, "allocate")?.allocate(length),
        DiskOperation::Truncate { file, length } => {
            let file = files.get(file, "truncate")?;
            file.check_not_poisoned("truncate")?;
            done(rustix::fs::ftruncate(&file.plain, length), "truncate", &file.path)
        }
        names => run_on_names(files.data.root(), names),
    }
}

fn run_on_names(root: BorrowedFd<'_>, operation: DiskOperation) -> DiskResult {
    match operation {
        DiskOperation::SyncDir { path } => {
            let directory = open_directory(root, "sync directory", &path)?;
            done(rustix::fs::fsync(&directory), "sync directory", &path)
        }
        DiskOperation::Rename { from, to } => {
            check_path("rename", &from)?;
            check_path("rename", &to)?;
            done(rustix::fs::renameat(root, &from, root, &to), "rename", &format!("{from} to {to}"))
        }
        DiskOperation::Remove { path } => {
            check_path("remove", &path)?;
            done(rustix::fs::unlinkat(root, &path, AtFlags::empty()), "remove", &path)
        }
        DiskOperation::RemoveDir { path } => {
            check_path("remove directory", &path)?;
            done(rustix::fs::unlinkat(root, &path, AtFlags::REMOVEDIR), "remove directory", &path)
        }
        DiskOperation::Link { from, to } => {
            check_path("link", &from)?;
            check_path("link", &to)?;
            done(rustix::fs::linkat(root, &from, root, &to, AtFlags::empty()), "link", &format!("{from} to {to}"))
        }
        DiskOperation::CreateDir { path } => create_dir(root, &path),
        DiskOperation::List { path } => list(root, &path),
        other => Err(refused("run", &format!("{other:?}"), "this operation names no path".to_string())),
    }
}

// ---- Files

impl OpenFile {
    pub(super) fn check_not_poisoned(&self, operation: &str) -> Result<(), DiskError> {
        if !self.poisoned.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(DiskError {
            kind: DiskErrorKind::Poisoned,
            operation: operation.to_string(),
            path: self.path.clone(),
            detail: "an earlier sync of this file failed, so nobody knows what it holds".to_string(),
        })
    }

    fn read(&self, offset: u64, length: usize) -> DiskResult {
        self.check_not_poisoned("read")?;
        let failed = |error: std::io::Error| failure_io(&error, &format!("read at {offset}"), &self.path);
        let end = self.plain.metadata().map_err(failed)?.len();
        let wanted = length.min(usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX));
        if wanted > limits::DISK_READ_BYTES_MAX {
            let detail = format!("{wanted} bytes at once are more than {}", limits::DISK_READ_BYTES_MAX);
            return Err(refused("read", &self.path, detail));
        }
        let mut content = vec![0; wanted];
        let mut filled = 0;
        while filled < wanted {
            match self.plain.read_at(&mut content[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        content.truncate(filled);
        Ok(DiskOutput::Read(Bytes::from(content)))
    }

    fn write(&self, offset: u64, buffer: DiskBuffer, durable: bool) -> DiskResult {
        self.check_not_poisoned("write")?;
        let written = self.write_content(offset, buffer.as_slice(), durable);
        if durable && written.is_err() {
            // Whether it was the write that failed or its sync nobody can tell.
            self.poisoned.store(true, Ordering::Release);
        }
        written.map(|()| DiskOutput::Written(buffer))
    }

    fn write_content(&self, offset: u64, content: &[u8], durable: bool) -> Result<(), DiskError> {
        let failed = |error: std::io::Error| failure_io(&error, &format!("write at {offset}"), &self.path);
        // With direct IO to blocks that were written before, the whole of it is one write to the device past its cache;
        // a sync after it would be a second wait, for a flush.
        let flags = if durable { ReadWriteFlags::DSYNC } else { ReadWriteFlags::empty() };
        let mut written = 0;
        if let Some(direct) = self.direct.as_ref().filter(|_| self.direct_works.load(Ordering::Relaxed)) {
            let alignment = DISK_ALIGNMENT_BYTES as u64;
            if !offset.is_multiple_of(alignment) || !(content.len() as u64).is_multiple_of(alignment) {
                let detail = format!("{} bytes at {offset} of a direct file are not aligned", content.len());
                return Err(refused("write", &self.path, detail));
            }
            match rustix::io::pwritev2(direct, &[IoSlice::new(content)], offset, flags) {
                Ok(count) => written = count, // if short, the rest goes through the page cache below
                Err(Errno::INVAL) => self.direct_works.store(false, Ordering::Relaxed),
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR) => {}
                Err(errno) => return Err(failed(errno.into())),
            }
        }
        if written < content.len() {
            self.plain.write_all_at(&content[written..], offset + written as u64).map_err(failed)?;
            if durable {
                rustix::fs::fdatasync(&self.plain).map_err(|errno| failed(errno.into()))?;
            }
        }
        Ok(())
    }

    /// Never retried: after a failed sync the kernel may have dropped the dirty pages and marked them clean.
    fn sync(&self) -> DiskResult {
        self.check_not_poisoned("sync")?;
        let synced = rustix::fs::fdatasync(&self.plain);
        if synced.is_err() {
            self.poisoned.store(true, Ordering::Release);
        }
        done(synced, "sync", &self.path)
    }

    fn allocate(&self, length: u64) -> DiskResult {
        self.check_not_poisoned("allocate")?;
        if length == 0 {
            return Ok(DiskOutput::Done);
        }
        let outcome = match rustix::fs::fallocate(&self.plain, FallocateFlags::empty(), 0, length) {
            // Room cannot be reserved on this file system: only the length is set.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => match self.plain.metadata() {
                Ok(metadata) if metadata.len() >= length => Ok(()),
                _ => rustix::fs::ftruncate(&self.plain, length),
            },
            outcome => outcome,
        };
        done(outcome, "allocate", &self.path)
    }
}

fn open(files: &Files, path: String, options: OpenOptions) -> DiskResult {
    check_path("open", &path)?;
    let root = files.data.root();
    let mut flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY;
    if options.create {
        flags |= OFlags::CREATE;
    }
    let plain = rustix::fs::openat(root, &path, flags, FILE_MODE).map_err(|errno| failure(errno, "open", &path))?;
    let plain = File::from(plain);
    let metadata = plain.metadata().map_err(|error| failure_io(&error, "open", &path))?;
    if !metadata.is_file() {
        return Err(refused("open", &path, "not a regular file".to_string()));
    }
    let direct = if options.direct {
        // About speed only: whatever the reason it is not offered for, the plain descriptor serves.
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::DIRECT;
        rustix::fs::openat(root, &path, flags, Mode::empty()).ok().map(File::from)
    } else {
        None
    };
    let direct_works = AtomicBool::new(direct.is_some());
    let (poisoned, nowait_works) = (AtomicBool::new(false), AtomicBool::new(true));
    let file = files.insert(OpenFile { path, plain, direct, direct_works, poisoned, nowait_works });
    Ok(DiskOutput::Opened { file, length: metadata.len() })
}

// ---- Names

fn open_directory(root: BorrowedFd<'_>, operation: &str, path: &str) -> Result<OwnedFd, DiskError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let relative = if path.is_empty() {
        "."
    } else {
        check_path(operation, path)?;
        path
    };
    rustix::fs::openat(root, relative, flags, Mode::empty()).map_err(|errno| failure(errno, operation, path))
}

fn create_dir(root: BorrowedFd<'_>, path: &str) -> DiskResult {
    check_path("create directory", path)?;
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    for end in ends {
        match rustix::fs::mkdirat(root, &path[..end], DIRECTORY_MODE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failure(errno, "create directory", path)),
        }
    }
    // What existed may have been a file.
    open_directory(root, "create directory", path).map(|_| DiskOutput::Done)
}

fn list(root: BorrowedFd<'_>, path: &str) -> DiskResult {
    let directory = open_directory(root, "list", path)?;
    let failed = |errno| failure(errno, "list", path);
    let mut entries = Vec::new();
    for entry in Dir::read_from(&directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if [&b"."[..], b".."].contains(&name.to_bytes()) {
            continue;
        }
        match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                let length = if is_directory { 0 } else { stat.st_size as u64 };
                let name = name.to_string_lossy().into_owned();
                entries.push(DirectoryEntry { name, is_directory, length });
            }
            Err(Errno::NOENT) => {} // removed meanwhile
            Err(errno) => return Err(failed(errno)),
        }
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(DiskOutput::Listed(entries))
}

/// Only names below the data directory: no empty part, no `.`, no `..`, nothing absolute.
fn check_path(operation: &str, path: &str) -> Result<(), DiskError> {
    let part_ok = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    if path.split('/').all(part_ok) {
        return Ok(());
    }
    Err(refused(operation, path, "not a path inside the data directory".to_string()))
}

// ---- Errors

fn done(outcome: Result<(), Errno>, operation: &str, path: &str) -> DiskResult {
    outcome.map(|()| DiskOutput::Done).map_err(|errno| failure(errno, operation, path))
}

fn failure(errno: Errno, operation: &str, path: &str) -> DiskError {
    failure_io(&errno.into(), operation, path)
}

fn failure_io(error: &std::io::Error, operation: &str, path: &str) -> DiskError {
    let kind = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT) => DiskErrorKind::NotFound,
        Some(Errno::EXIST) => DiskErrorKind::AlreadyExists,
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => DiskErrorKind::Full,
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => DiskErrorKind::Permission,
        _ => DiskErrorKind::Io,
    };
    DiskError { kind, operation: operation.to_string(), path: path.to_string(), detail: error.to_string() }
}

fn refused(operation: &str, path: &str, detail: String) -> DiskError {
    DiskError { kind: DiskErrorKind::Io, operation: operation.to_string(), path: path.to_string(), detail }
}
