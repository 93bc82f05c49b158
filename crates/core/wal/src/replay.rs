//! Reads the logs of earlier boots. See the table in [`super::format`] for what is damage and what is the end.

use crate::error::{WalError, damaged};
use crate::format::{
    BLOCK_BYTES, CHUNK_HEADER_BYTES, ChunkHeader, LogName, RETIRED_NAME, SegmentHeader, parse_segment_name,
    read_records, segment_name,
};
use crate::lsn::Lsn;
use crate::plant;
use crate::sync::{sync_dir_or_stop, sync_or_stop};
use bytes::Bytes;
use holon_base::TabletId;
use holon_kernel::{DiskBuffer, DiskFile, OpenOptions, Shard};
use std::rc::Rc;

/// The logs of boots before this one that still count, in the order of their records.
pub async fn old_logs(shard: &Shard, root: &'static str, boot: u32) -> Result<Vec<LogName>, WalError> {
    let mut logs = Vec::new();
    for name in all_old_logs(shard, root, boot).await? {
        let entries = shard.disk().list(&name.directory()).await?;
        if !entries.iter().any(|entry| entry.name == RETIRED_NAME) {
            logs.push(name);
        }
    }
    Ok(logs)
}

/// With those that are retired but not removed yet.
async fn all_old_logs(shard: &Shard, root: &'static str, boot: u32) -> Result<Vec<LogName>, WalError> {
    let entries = shard.disk().list(root).await?;
    let mut logs: Vec<LogName> = entries.iter().filter_map(|entry| LogName::parse(root, &entry.name)).collect();
    logs.retain(|name| name.boot < boot);
    logs.sort_unstable();
    Ok(logs)
}

/// Removes the logs of boots before this one, when nothing in them is needed any more; the number of them.
pub async fn retire_old_logs(shard: &Shard, root: &'static str, boot: u32) -> Result<u64, WalError> {
    let disk = shard.disk();
    let logs = all_old_logs(shard, root, boot).await?;
    for name in &logs {
        let directory = name.directory();
        // First say, durably, that nothing in it counts: a half-removed log would look damaged.
        let mark = format!("{directory}/{RETIRED_NAME}");
        let file = disk.open(&mark, OpenOptions { create: true, direct: false }).await?;
        file.write_at(0, DiskBuffer::from(b"every record of this log is in tables\n".as_slice())).await?;
        sync_or_stop(shard, &file).await?;
        sync_dir_or_stop(shard, &directory).await?;
        let entries = disk.list(&directory).await?;
        for entry in entries.iter().filter(|entry| entry.name != RETIRED_NAME) {
            disk.remove(&format!("{directory}/{}", entry.name)).await?;
        }
        sync_dir_or_stop(shard, &directory).await?;
        disk.remove(&mark).await?;
        disk.remove_dir(&directory).await?;
    }
    if !logs.is_empty() {
        sync_dir_or_stop(shard, root).await?;
    }
    Ok(logs.len() as u64)
}

/// Records of one chunk.
pub struct ReplayChunk {
    pub file: String,
    pub offset: u64,
    pub first: Lsn,
    pub records: Vec<(TabletId, Bytes)>,
}

/// Read at a time, and looked through before others run.
const SLICE_BYTES: usize = 64 * 1024;

pub struct LogReader {
    shard: Rc<Shard>,
    name: LogName,
    /// Sequence numbers, ascending.
    sequences: Vec<u32>,
    /// The next of them to open.
    next: usize,
    open: Option<OpenSegment>,
    /// The last record read, once there is one to go by.
    last: Option<Lsn>,
    /// Where no valid chunk was found after it.
    gap: Option<(String, u64)>,
    /// The first record missing in gaps that no chunk called durable so far, and where. A later one may.
    missing: Vec<(Lsn, String, u64)>,
    log: Option<u64>,
    pub segments: u64,
    pub torn_groups: u64,
}

struct OpenSegment {
    file: DiskFile,
    path: String,
    header: SegmentHeader,
    offset: u64,
    window: Bytes,
    window_at: u64,
}

impl LogReader {
    /// Segments there are.
    pub fn segments_total(&self) -> u64 {
        self.sequences.len() as u64
    }

    pub async fn open(shard: Rc<Shard>, name: LogName) -> Result<Self, WalError> {
        let directory = name.directory();
        let entries = shard.disk().list(&directory).await?;
        let mut sequences: Vec<u32> = entries.iter().filter_map(|entry| parse_segment_name(&entry.name)).collect();
        sequences.sort_unstable();
        if let Some(pair) = sequences.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
            let missing = format!("{directory}/{}", segment_name(pair[0] + 1));
            return Err(damaged(&missing, 0, "the segment is missing, and later ones are there"));
        }
        let last = (sequences.first() == Some(&0)).then(|| Lsn::new(name.boot, 0));
        Ok(LogReader {
            shard,
            name,
            sequences,
            next: 0,
            open: None,
            last,
            gap: None,
            missing: Vec::new(),
            log: None,
            segments: 0,
            torn_groups: 0,
        })
    }

    /// The next chunk; `None` at the end of the log.
    pub async fn next(&mut self) -> Result<Option<ReplayChunk>, WalError> {
        loop {
            if self.open.is_none() && !self.open_next().await? {
                return Ok(None);
            }
            let Some(open) = &mut self.open else { return Ok(None) };
            if open.offset + BLOCK_BYTES > open.header.length {
                self.open = None;
                self.shard.yield_now().await;
                continue;
            }
            let (header, chunk) = match open.read_chunk().await? {
                Found::Whole(header, chunk) => (header, chunk),
                Found::Broken(torn) => {
                    self.torn_groups += u64::from(torn);
                    self.gap.get_or_insert_with(|| (open.path.clone(), open.offset));
                    open.offset += BLOCK_BYTES;
                    if open.offset.is_multiple_of(SLICE_BYTES as u64) {
                        self.shard.yield_now().await;
                    }
                    continue;
                }
            };
            let (path, offset) = (open.path.clone(), open.offset);
            open.offset += header.stored_bytes();
            self.check_order(&header, &path, offset)?;
            let end = CHUNK_HEADER_BYTES + header.payload_bytes as usize;
            let records = read_records(chunk.slice(CHUNK_HEADER_BYTES..end), header.records);
            let records = match records {
                Ok(records) => records,
                // Only reachable when a planted bug lets broken chunks through.
                Err(_) if plant::skip_checksum() => Vec::new(),
                Err(short) => {
                    let at = offset + (CHUNK_HEADER_BYTES + short.offset) as u64;
                    return Err(damaged(&path, at, "a record runs beyond its chunk"));
                }
            };
            if records.is_empty() {
                continue;
            }
            return Ok(Some(ReplayChunk { file: path, offset, first: header.first, records }));
        }
    }

    async fn open_next(&mut self) -> Result<bool, WalError> {
        let Some(&sequence) = self.sequences.get(self.next) else { return Ok(false) };
        self.next += 1;
        self.segments += 1;
        let path = format!("{}/{}", self.name.directory(), segment_name(sequence));
        let file = self.shard.disk().open(&path, OpenOptions::default()).await?;
        let bytes = file.read_at(0, BLOCK_BYTES as usize).await?;
        let header = SegmentHeader::decode(&bytes, self.name, sequence, &path)?;
        if file.length() < header.length {
            let detail = format!("the segment is cut off, it had {} bytes", header.length);
            return Err(damaged(&path, file.length(), detail));
        }
        if *self.log.get_or_insert(header.log) != header.log {
            return Err(damaged(&path, 0, "this segment belongs to another log"));
        }
        let open = OpenSegment { file, path, header, offset: BLOCK_BYTES, window: Bytes::new(), window_at: 0 };
        self.open = Some(open);
        Ok(true)
    }

    /// Whether a whole chunk follows what was read, or proves that something durable is missing.
    fn check_order(&mut self, header: &ChunkHeader, path: &str, offset: u64) -> Result<(), WalError> {
        // Of a log whose first segments were recycled, any chunk tells where the oldest segment begins.
        let last = self.last.unwrap_or(Lsn(header.segment_first.0.saturating_sub(1)));
        let following = last.plus(1);
        let gap = self.gap.take();
        if header.first < following {
            return Err(damaged(path, offset, format!("record {} comes after record {last}", header.first)));
        }
        if header.first > following {
            let (gap_path, gap_offset) = gap.unwrap_or((path.to_owned(), offset));
            self.missing.push((following, gap_path, gap_offset));
        }
        if let Some((first, path, offset)) = self.missing.iter().find(|(first, ..)| *first <= header.synced) {
            return Err(damaged(path, *offset, format!("record {first} is missing or broken, and was durable")));
        }
        self.last = Some(Lsn(header.first.0 + u64::from(header.records) - 1));
        Ok(())
    }
}

enum Found {
    Whole(ChunkHeader, Bytes),
    /// True: it begins like a chunk of this place.
    Broken(bool),
}

impl OpenSegment {
    async fn read_chunk(&mut self) -> Result<Found, WalError> {
        let block = (self.offset / BLOCK_BYTES) as u32;
        let start = self.read(self.offset, CHUNK_HEADER_BYTES).await?;
        let Some(header) = ChunkHeader::peek(&start, self.header.log, self.header.sequence, block) else {
            return Ok(Found::Broken(false));
        };
        // Before memory is taken: a broken length does not lead beyond the segment.
        if self.offset + header.stored_bytes() > self.header.length {
            return Ok(Found::Broken(true));
        }
        let chunk = self.read(self.offset, header.stored_bytes() as usize).await?;
        let whole = header.is_whole(&chunk) || (plant::skip_checksum() && chunk.len() as u64 == header.stored_bytes());
        Ok(if whole { Found::Whole(header, chunk) } else { Found::Broken(true) })
    }

    async fn read(&mut self, offset: u64, length: usize) -> Result<Bytes, WalError> {
        let end = self.window_at + self.window.len() as u64;
        if offset < self.window_at || offset + length as u64 > end {
            self.window = self.file.read_at(offset, length.max(SLICE_BYTES)).await?;
            self.window_at = offset;
        }
        let start = (offset - self.window_at) as usize;
        let end = (start + length).min(self.window.len());
        Ok(self.window.slice(start..end.max(start)))
    }
}
