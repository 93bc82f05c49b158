//! The disk as tasks see it: straight-line `async` calls over the completion contract.

use crate::Shard;
use crate::disk::{
    DirectoryEntry, DiskBuffer, DiskError, DiskErrorKind, DiskOperation, DiskOutput, FileId, OpenOptions,
};
use bytes::Bytes;
use std::rc::{Rc, Weak};

/// A handle to the shard's disk.
#[derive(Clone)]
pub struct DiskClient {
    shard: Weak<Shard>,
}

/// An open file. Closed when the last clone is dropped.
#[derive(Clone)]
pub struct DiskFile {
    inner: Rc<OpenFile>,
}

struct OpenFile {
    disk: DiskClient,
    file: FileId,
    path: String,
    length: u64,
}

impl DiskClient {
    pub(crate) fn new(shard: Weak<Shard>) -> Self {
        DiskClient { shard }
    }

    async fn run(&self, what: &str, path: &str, operation: DiskOperation) -> Result<DiskOutput, DiskError> {
        let gone = || DiskError {
            kind: DiskErrorKind::Io,
            operation: what.to_string(),
            path: path.to_string(),
            detail: "the shard has stopped".to_string(),
        };
        let submitted = self.shard.upgrade().ok_or_else(gone)?.submit_disk(operation);
        submitted.await.map_err(|_| gone())?
    }

    pub async fn open(&self, path: &str, options: OpenOptions) -> Result<DiskFile, DiskError> {
        match self.run("open", path, DiskOperation::Open { path: path.to_string(), options }).await? {
            DiskOutput::Opened { file, length } => {
                let inner = OpenFile { disk: self.clone(), file, path: path.to_string(), length };
                Ok(DiskFile { inner: Rc::new(inner) })
            }
            other => Err(unexpected("open", path, &other)),
        }
    }

    /// With its parents. Durable once the parent directories are synced.
    pub async fn create_dir(&self, path: &str) -> Result<(), DiskError> {
        self.run("create directory", path, DiskOperation::CreateDir { path: path.to_string() }).await.map(drop)
    }

    /// The entries of a directory by name; none if it does not exist.
    pub async fn list(&self, path: &str) -> Result<Vec<DirectoryEntry>, DiskError> {
        match self.run("list", path, DiskOperation::List { path: path.to_string() }).await {
            Ok(DiskOutput::Listed(entries)) => Ok(entries),
            Ok(other) => Err(unexpected("list", path, &other)),
            Err(error) if error.kind == DiskErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    pub async fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let operation = DiskOperation::Rename { from: from.to_string(), to: to.to_string() };
        self.run("rename", from, operation).await.map(drop)
    }

    /// Removes a file; fine if it is gone already.
    pub async fn remove(&self, path: &str) -> Result<(), DiskError> {
        gone_is_fine(self.run("remove", path, DiskOperation::Remove { path: path.to_string() }).await)
    }

    /// Removes an empty directory; fine if it is gone already.
    pub async fn remove_dir(&self, path: &str) -> Result<(), DiskError> {
        gone_is_fine(self.run("remove directory", path, DiskOperation::RemoveDir { path: path.to_string() }).await)
    }

    pub async fn link(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.run("link", from, DiskOperation::Link { from: from.to_string(), to: to.to_string() }).await.map(drop)
    }

    pub async fn sync_dir(&self, path: &str) -> Result<(), DiskError> {
        self.run("sync directory", path, DiskOperation::SyncDir { path: path.to_string() }).await.map(drop)
    }
}

impl DiskFile {
    pub fn path(&self) -> &str {
        &self.inner.path
    }

    /// The length when it was opened.
    pub fn length(&self) -> u64 {
        self.inner.length
    }

    async fn run(&self, what: &str, operation: DiskOperation) -> Result<DiskOutput, DiskError> {
        self.inner.disk.run(what, &self.inner.path, operation).await
    }

    /// Up to `length` bytes; fewer only at the end of the file.
    pub async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, DiskError> {
        match self.run("read", DiskOperation::ReadAt { file: self.inner.file, offset, length }).await? {
            DiskOutput::Read(bytes) => Ok(bytes),
            other => Err(unexpected("read", &self.inner.path, &other)),
        }
    }

    /// Writes the whole buffer and hands it back for reuse.
    pub async fn write_at(&self, offset: u64, buffer: DiskBuffer) -> Result<DiskBuffer, DiskError> {
        self.write(offset, buffer, false).await
    }

    /// Writes the whole buffer and makes it durable; other writes to the file are not covered. After an error it is as
    /// after a failed [`DiskFile::sync`].
    pub async fn write_durably_at(&self, offset: u64, buffer: DiskBuffer) -> Result<DiskBuffer, DiskError> {
        self.write(offset, buffer, true).await
    }

    async fn write(&self, offset: u64, buffer: DiskBuffer, durable: bool) -> Result<DiskBuffer, DiskError> {
        match self.run("write", DiskOperation::WriteAt { file: self.inner.file, offset, buffer, durable }).await? {
            DiskOutput::Written(buffer) => Ok(buffer),
            other => Err(unexpected("write", &self.inner.path, &other)),
        }
    }

    /// After an error the file is poisoned and nobody knows what it holds: stop the shard ([`Shard::stop`]).
    pub async fn sync(&self) -> Result<(), DiskError> {
        self.run("sync", DiskOperation::Sync { file: self.inner.file }).await.map(drop)
    }

    pub async fn allocate(&self, length: u64) -> Result<(), DiskError> {
        self.run("allocate", DiskOperation::Allocate { file: self.inner.file, length }).await.map(drop)
    }

    pub async fn truncate(&self, length: u64) -> Result<(), DiskError> {
        self.run("truncate", DiskOperation::Truncate { file: self.inner.file, length }).await.map(drop)
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if let Some(shard) = self.disk.shard.upgrade() {
            drop(shard.submit_disk(DiskOperation::Close { file: self.file }));
        }
    }
}

fn gone_is_fine(result: Result<DiskOutput, DiskError>) -> Result<(), DiskError> {
    match result {
        Err(error) if error.kind != DiskErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn unexpected(operation: &str, path: &str, output: &DiskOutput) -> DiskError {
    DiskError {
        kind: DiskErrorKind::Io,
        operation: operation.to_string(),
        path: path.to_string(),
        detail: format!("the disk answered {output:?}, which does not belong to this operation"),
    }
}
