//! The files of a backup that hold rows: mutations one after the other, each under a checksum.
//!
//! ```text
//! file  = magic:u64 version:u32 backup:u64 tablet:u64 crc32c:u32 block*
//! block = length:u32 crc32c:u32 content
//! content = of rows: a mutation of the store | of batches: tablet:u64 mutation
//! ```
//!
//! Integers are little-endian. The manifest has the length of each file and a checksum over the checksums of its blocks, so that
//! one that is cut at a block, or put in the place of another, is found out too.

use super::limits::BLOCK_BYTES_MAX;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, GroupId, ShortInput, TabletId, crc32c, crc32c_append};
use holon_kernel::{DiskBuffer, DiskClient, DiskError, DiskErrorKind, DiskFile, OpenOptions};
use holon_store::Mutation;
use thiserror::Error;

const MAGIC: u64 = u64::from_le_bytes(*b"HOLONBKR");
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 32;
const BLOCK_HEADER_BYTES: usize = 8;

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BackupError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{file} is missing: the backup is not whole")]
    Missing { file: String },
    #[error("{file} is damaged at byte {offset}: {detail}; take the backup from another copy")]
    Damaged { file: String, offset: u64, detail: String },
    #[error("{file} has format {version}, this version of holon reads {VERSION} and older: upgrade this node")]
    Newer { file: String, version: u32 },
    #[error("{what}: {size} bytes, {limit} is the most")]
    TooLarge { what: &'static str, size: usize, limit: usize },
}

pub fn damaged(file: &str, offset: usize, detail: impl Into<String>) -> BackupError {
    BackupError::Damaged { file: file.to_owned(), offset: offset as u64, detail: detail.into() }
}

/// What the manifest knows of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    pub tablet: TabletId,
    pub bytes: u64,
    pub blocks: u64,
    pub rows: u64,
    /// Of the checksums of its blocks, in order.
    pub chain: u32,
}

pub struct BlocksWriter {
    file: DiskFile,
    entry: FileEntry,
}

impl BlocksWriter {
    /// Makes a file, which is not there.
    pub async fn create(disk: &DiskClient, path: &str, backup: u64, tablet: TabletId) -> Result<Self, BackupError> {
        let file = disk.open(path, OpenOptions { create: true, direct: false }).await?;
        let mut out = ByteWriter::with_capacity(HEADER_BYTES);
        out.put_u64(MAGIC);
        out.put_u32(VERSION);
        out.put_u64(backup);
        out.put_u64(tablet.0);
        out.put_u32(crc32c(out.as_slice()));
        file.write_at(0, DiskBuffer::from(out.as_slice())).await?;
        let entry = FileEntry { tablet, bytes: HEADER_BYTES as u64, blocks: 0, rows: 0, chain: 0 };
        Ok(BlocksWriter { file, entry })
    }

    pub async fn append(&mut self, content: &[u8], rows: u64) -> Result<(), BackupError> {
        if content.len() > BLOCK_BYTES_MAX {
            return Err(BackupError::TooLarge { what: "a block", size: content.len(), limit: BLOCK_BYTES_MAX });
        }
        let crc = crc32c(content);
        let mut buffer = DiskBuffer::with_capacity(BLOCK_HEADER_BYTES + content.len());
        buffer.extend_from_slice(&(content.len() as u32).to_le_bytes());
        buffer.extend_from_slice(&crc.to_le_bytes());
        buffer.extend_from_slice(content);
        let length = buffer.len() as u64;
        self.file.write_at(self.entry.bytes, buffer).await?;
        self.entry.bytes += length;
        self.entry.blocks += 1;
        self.entry.rows += rows;
        self.entry.chain = crc32c_append(self.entry.chain, &crc.to_le_bytes());
        Ok(())
    }

    /// Durable when this returns, but for its name.
    pub async fn finish(self) -> Result<FileEntry, BackupError> {
        self.file.sync().await?;
        Ok(self.entry)
    }
}

/// Reads blocks in order, and finds out what is wrong with them.
pub struct BlocksReader {
    file: DiskFile,
    entry: FileEntry,
    offset: u64,
    blocks: u64,
    chain: u32,
}

impl BlocksReader {
    pub async fn open(disk: &DiskClient, path: &str, backup: u64, entry: &FileEntry) -> Result<Self, BackupError> {
        let file = open(disk, path).await?;
        if file.length() != entry.bytes {
            let detail = format!("it has {} bytes and should have {}", file.length(), entry.bytes);
            return Err(damaged(path, file.length().min(entry.bytes) as usize, detail));
        }
        let header = file.read_at(0, HEADER_BYTES).await?;
        let cut = |short: ShortInput| damaged(path, short.offset, "the file is cut off");
        let mut input = ByteReader::new(header.clone());
        let (magic, version) = (input.u64().map_err(cut)?, input.u32().map_err(cut)?);
        let (of, tablet) = (input.u64().map_err(cut)?, input.u64().map_err(cut)?);
        if magic != MAGIC {
            return Err(damaged(path, 0, "this is not a file of a backup"));
        }
        if input.u32().map_err(cut)? != crc32c(&header[..HEADER_BYTES - 4]) {
            return Err(damaged(path, HEADER_BYTES - 4, "the checksum of its header is wrong"));
        }
        if version > VERSION {
            return Err(BackupError::Newer { file: path.to_owned(), version });
        }
        if of != backup || tablet != entry.tablet.0 {
            return Err(damaged(path, 12, "it belongs to another backup or to another place in it"));
        }
        Ok(BlocksReader { file, entry: entry.clone(), offset: HEADER_BYTES as u64, blocks: 0, chain: 0 })
    }

    fn damaged(&self, detail: &str) -> BackupError {
        damaged(self.file.path(), self.offset as usize, detail)
    }

    /// `None` at the end, when everything was as it should be.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BackupError> {
        if self.offset == self.entry.bytes {
            let whole = self.blocks == self.entry.blocks && self.chain == self.entry.chain;
            return if whole { Ok(None) } else { Err(self.damaged("these are not the blocks that were written")) };
        }
        let header = self.file.read_at(self.offset, BLOCK_HEADER_BYTES).await?;
        let mut input = ByteReader::new(header);
        let (Ok(length), Ok(crc)) = (input.u32(), input.u32()) else {
            return Err(self.damaged("the file ends within a block"));
        };
        let length = length as usize;
        let left = self.entry.bytes - self.offset - BLOCK_HEADER_BYTES as u64;
        if length > BLOCK_BYTES_MAX || length as u64 > left {
            return Err(self.damaged("a block has an impossible length"));
        }
        let content = self.file.read_at(self.offset + BLOCK_HEADER_BYTES as u64, length).await?;
        if content.len() != length || crc32c(&content) != crc {
            return Err(self.damaged("the checksum of a block is wrong"));
        }
        self.offset += (BLOCK_HEADER_BYTES + length) as u64;
        self.blocks += 1;
        self.chain = crc32c_append(self.chain, &crc.to_le_bytes());
        Ok(Some(content))
    }
}

/// What a block holds: a mutation, and the tablet it was of.
///
/// # Errors
/// What is not what it should be, in words.
pub fn mutation_of(file: &FileEntry, content: Bytes) -> Result<(TabletId, Mutation), String> {
    let mut input = ByteReader::new(content);
    let is_of_batches = file.tablet.group() == GroupId(0);
    let tablet = if is_of_batches { input.u64().map(TabletId) } else { Ok(file.tablet) };
    let tablet = tablet.map_err(|short| short.to_string())?;
    Ok((tablet, Mutation::decode(input.rest()).map_err(|error| error.to_string())?))
}

pub async fn open(disk: &DiskClient, path: &str) -> Result<DiskFile, BackupError> {
    disk.open(path, OpenOptions::default()).await.map_err(|error| match error.kind {
        DiskErrorKind::NotFound => BackupError::Missing { file: path.to_owned() },
        _ => error.into(),
    })
}

/// Removes a directory with all that is in it; fine if it is not there.
pub async fn remove_all(disk: &DiskClient, path: &str) -> Result<(), DiskError> {
    let mut directories = vec![path.to_owned()];
    let mut at = 0;
    while let Some(directory) = directories.get(at).cloned() {
        for entry in disk.list(&directory).await? {
            let inside = format!("{directory}/{}", entry.name);
            if entry.is_directory {
                directories.push(inside);
            } else {
                disk.remove(&inside).await?;
            }
        }
        at += 1;
    }
    for directory in directories.iter().rev() {
        disk.remove_dir(directory).await?;
    }
    Ok(())
}
