//! The file under the log: checksummed records behind one another, each synced before its entry counts.
//!
//! ```text
//!   file   = "HOLONLOG" version:u32 node:u128 record*
//!   record = length:u32 crc:u32 index:u64 service:u16 entry[length]       crc over index, service, entry
//! ```
//! A bad record with a good one of a later index behind it is damage, and an error. A bad record with nothing good behind
//! it is the torn tail of an append nobody was told of, and is cut off.

use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, NodeId, ServiceId, crc32c};
use holon_kernel::{DiskBuffer, DiskClient, DiskError, DiskFile, OpenOptions};
use thiserror::Error;

/// Longest entry, bytes: a schema change is far below; this bounds what a proposal can make every shard hold.
pub const ENTRY_BYTES_MAX: usize = 1 << 20;

const DIRECTORY: &str = "metadata";
const PATH: &str = "metadata/log";
const PATH_NEW: &str = "metadata/log.new";
const MAGIC: &[u8; 8] = b"HOLONLOG";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 28;
const RECORD_HEADER_BYTES: usize = 18;

/// Read at a time while loading, bytes.
const READ_BYTES: usize = 1 << 20;

#[derive(Debug, Error)]
pub enum LogError {
    #[error("{0}")]
    Disk(#[from] DiskError),
    #[error(
        "{PATH} is damaged at byte {offset}: {detail}; restore the data directory from a backup (nothing was changed)"
    )]
    Damaged { offset: usize, detail: String },
    #[error(
        "{PATH} belongs to another node ({found}; the file `node` beside it says {expected}): files of two data directories were mixed, put back the right ones"
    )]
    OtherNode { found: NodeId, expected: NodeId },
    #[error("{PATH} has format {found}, this binary knows up to {VERSION}: start a newer holon")]
    Newer { found: u32 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) index: u64,
    pub(crate) service: ServiceId,
    pub(crate) bytes: Bytes,
}

pub(crate) struct LogFile {
    file: DiskFile,
    end: u64,
    index: u64,
}

/// Why an append failed.
pub(crate) enum AppendError {
    /// The entry is not in the log (it may appear after a crash: the outcome is unknown).
    Write(DiskError),
    /// Nobody knows what the file holds: the shard must stop.
    Sync(DiskError),
}

impl LogFile {
    /// Opens or makes the log of a node; gives all its entries.
    pub(crate) async fn open(disk: &DiskClient, node: NodeId) -> Result<(LogFile, Vec<Entry>), LogError> {
        disk.create_dir(DIRECTORY).await?;
        let file = disk.open(PATH, OpenOptions { create: true, direct: false }).await?;
        // At each start: the last one may have ended before these names were durable.
        disk.sync_dir("").await?;
        disk.sync_dir(DIRECTORY).await?;
        let mut content = Vec::with_capacity(file.length() as usize);
        loop {
            let piece = file.read_at(content.len() as u64, READ_BYTES).await?;
            if piece.is_empty() {
                break;
            }
            content.extend_from_slice(&piece);
        }
        // An append writes at once header and first record never; a file that is shorter than its header, or blank, was
        // never synced.
        if content.len() < HEADER_BYTES || content.iter().all(|&byte| byte == 0) {
            file.truncate(0).await?;
            let mut header = ByteWriter::new();
            header.put_slice(MAGIC);
            header.put_u32(VERSION);
            header.put_u128(node.0);
            file.write_at(0, DiskBuffer::from(header.as_slice())).await?;
            file.sync().await?;
            return Ok((LogFile { file, end: HEADER_BYTES as u64, index: 0 }, Vec::new()));
        }
        let content = Bytes::from(content);
        let (entries, end) = parse(content.clone(), node)?;
        drop(file);
        // Written anew and synced, without the torn tail: what was read may be in the page cache only, when the last start
        // ended with a failed sync, and the next entry must not rest on that.
        let file = disk.open(PATH_NEW, OpenOptions { create: true, direct: false }).await?;
        file.truncate(0).await?;
        file.write_at(0, DiskBuffer::from(&content[..end as usize])).await?;
        file.sync().await?;
        disk.rename(PATH_NEW, PATH).await?;
        disk.sync_dir(DIRECTORY).await?;
        let index = entries.len() as u64;
        Ok((LogFile { file, end, index }, entries))
    }

    /// Appends an entry; durable when it returns.
    pub(crate) async fn append(&mut self, service: ServiceId, bytes: Bytes) -> Result<Entry, AppendError> {
        let entry = Entry { index: self.index + 1, service, bytes };
        let record = encode(&entry);
        self.file.write_at(self.end, DiskBuffer::from(record.as_ref())).await.map_err(AppendError::Write)?;
        self.file.sync().await.map_err(AppendError::Sync)?;
        self.end += record.len() as u64;
        self.index = entry.index;
        Ok(entry)
    }
}

fn encode(entry: &Entry) -> Bytes {
    let mut body = ByteWriter::with_capacity(10 + entry.bytes.len());
    body.put_u64(entry.index);
    body.put_u16(entry.service.0);
    body.put_slice(&entry.bytes);
    let mut out = ByteWriter::with_capacity(RECORD_HEADER_BYTES + entry.bytes.len());
    out.put_u32(entry.bytes.len() as u32);
    out.put_u32(crc32c(body.as_slice()));
    out.put_slice(body.as_slice());
    out.freeze()
}

fn parse(content: Bytes, node: NodeId) -> Result<(Vec<Entry>, u64), LogError> {
    let damaged = |offset: usize, detail: &str| LogError::Damaged { offset, detail: detail.to_string() };
    let mut header = ByteReader::new(content.slice(..HEADER_BYTES));
    if header.bytes(MAGIC.len()).is_ok_and(|magic| magic != MAGIC[..]) {
        return Err(damaged(0, "it does not begin with HOLONLOG"));
    }
    match header.u32() {
        Ok(VERSION) => {}
        Ok(found) if found > VERSION => return Err(LogError::Newer { found }),
        _ => return Err(damaged(MAGIC.len(), "format 0")),
    }
    match header.u128().map(NodeId) {
        Ok(found) if found == node => {}
        found => return Err(LogError::OtherNode { found: found.unwrap_or(NodeId(0)), expected: node }),
    }
    let mut entries = Vec::new();
    let mut offset = HEADER_BYTES;
    while offset < content.len() {
        let index = entries.len() as u64 + 1;
        match record_at(&content, offset) {
            Some(entry) if entry.index == index => {
                offset += RECORD_HEADER_BYTES + entry.bytes.len();
                entries.push(entry);
            }
            _ => {
                let later =
                    (offset + 1..content.len()).find(|&at| record_at(&content, at).is_some_and(|e| e.index > index));
                match later {
                    Some(at) => {
                        return Err(damaged(
                            offset,
                            &format!("entry {index} is unreadable, a later one follows at {at}"),
                        ));
                    }
                    None => break,
                }
            }
        }
    }
    Ok((entries, offset as u64))
}

fn record_at(content: &Bytes, offset: usize) -> Option<Entry> {
    let mut input = ByteReader::new(content.slice(offset..));
    let length = input.u32().ok()? as usize;
    let crc = input.u32().ok()?;
    if length > ENTRY_BYTES_MAX || length + 10 > input.remaining() {
        return None;
    }
    let body = offset + 8..offset + RECORD_HEADER_BYTES + length;
    let (index, service) = (input.u64().ok()?, ServiceId(input.u16().ok()?));
    let bytes = input.bytes(length).ok()?;
    // The checksum last: the scan for later records tries every byte, and most fail before it.
    (index > 0 && index < 1 << 40 && crc32c(&content[body]) == crc).then_some(Entry { index, service, bytes })
}
