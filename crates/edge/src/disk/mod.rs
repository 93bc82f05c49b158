//! The real disk: the kernel's [`Disk`] over the files of a data directory.
//!
//! Reads that the page cache can answer complete at once on the shard's thread (`preadv2` with `RWF_NOWAIT`); everything
//! else goes to a pool of threads that all shards share, and its completion comes back through the shard's inbox.
//!
//! Files opened `direct` have two descriptors: writes go past the page cache through the one with `O_DIRECT`, reads through the
//! other, because they need not be aligned. Where `O_DIRECT` is not offered, the plain one does both.

mod operations;
mod pool;

pub use pool::DiskPool;

use crate::data_dir::DataDir;
use crate::limits;
use bytes::Bytes;
use holon_kernel::{Disk, DiskError, DiskErrorKind, DiskOperation, DiskOutput, DiskResult, FileId, OperationId};
use rustix::io::{Errno, ReadWriteFlags};
use std::collections::HashMap;
use std::fs::File;
use std::io::IoSliceMut;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Takes completions, on whatever thread they happen.
pub type Completions = Arc<dyn Fn(OperationId, DiskResult) + Send + Sync>;

pub(crate) struct OpenFile {
    path: String,
    plain: File,
    /// Absent, or given up, where the file system does not offer it.
    direct: Option<File>,
    direct_works: AtomicBool,
    /// A sync failed: nobody knows what the file holds.
    poisoned: AtomicBool,
    nowait_works: AtomicBool,
}

/// What the shard's thread and the disk threads share of one shard's disk.
pub(crate) struct Files {
    data: Arc<DataDir>,
    open: Mutex<HashMap<FileId, Arc<OpenFile>>>,
    next: AtomicU64,
}

impl Files {
    fn insert(&self, file: OpenFile) -> FileId {
        let id = FileId(self.next.fetch_add(1, Ordering::Relaxed));
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::new(file));
        id
    }

    fn get(&self, id: FileId, operation: &str) -> Result<Arc<OpenFile>, DiskError> {
        let found = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        found.ok_or_else(|| DiskError {
            kind: DiskErrorKind::Io,
            operation: operation.to_string(),
            path: format!("file {}", id.0),
            detail: "not open".to_string(),
        })
    }
}

/// The disk of one shard.
pub struct RealDisk {
    files: Arc<Files>,
    pool: Arc<DiskPool>,
    completions: Completions,
}

impl RealDisk {
    pub fn new(data: Arc<DataDir>, pool: Arc<DiskPool>, completions: Completions) -> RealDisk {
        let files = Files { data, open: Mutex::default(), next: AtomicU64::new(1) };
        RealDisk { files: Arc::new(files), pool, completions }
    }

    fn read(&self, file: FileId, offset: u64, length: usize) -> Option<DiskResult> {
        let file = match self.files.get(file, "read") {
            Ok(file) => file,
            Err(error) => return Some(Err(error)),
        };
        if length <= limits::INLINE_READ_BYTES_MAX
            && file.nowait_works.load(Ordering::Relaxed)
            && let Some(result) = read_from_page_cache(&file, offset, length)
        {
            return Some(result);
        }
        None
    }
}

/// `None`: not all of it is in memory, the disk threads have to wait for it.
fn read_from_page_cache(file: &OpenFile, offset: u64, length: usize) -> Option<DiskResult> {
    if let Err(poisoned) = file.check_not_poisoned("read") {
        return Some(Err(poisoned));
    }
    let mut content = vec![0; length];
    match rustix::io::preadv2(&file.plain, &mut [IoSliceMut::new(&mut content)], offset, ReadWriteFlags::NOWAIT) {
        Ok(count) if count == length => Some(Ok(DiskOutput::Read(Bytes::from(content)))),
        // Short because the file ends, or because the rest is not in memory: its length tells.
        Ok(count) => {
            let end = file.plain.metadata().ok()?.len();
            if offset.saturating_add(count as u64) < end {
                return None;
            }
            content.truncate(count);
            Some(Ok(DiskOutput::Read(Bytes::from(content))))
        }
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
            file.nowait_works.store(false, Ordering::Relaxed);
            None
        }
        Err(_) => None,
    }
}

impl Disk for RealDisk {
    fn submit(&mut self, id: OperationId, operation: DiskOperation) -> Option<DiskResult> {
        match &operation {
            DiskOperation::ReadAt { file, offset, length } => {
                if let Some(result) = self.read(*file, *offset, *length) {
                    return Some(result);
                }
            }
            DiskOperation::Close { file } => {
                let closed = self.files.open.lock().unwrap_or_else(PoisonError::into_inner).remove(file);
                // Closing the last descriptor of a removed file frees its blocks, which may take long.
                self.pool.submit(Box::new(move || drop(closed)));
                return Some(Ok(DiskOutput::Done));
            }
            _ => {}
        }
        let (files, completions) = (self.files.clone(), self.completions.clone());
        self.pool.submit(Box::new(move || completions(id, operations::run(&files, operation))));
        None
    }
}

#[cfg(test)]
pub(crate) mod tests;
