//! The file under the log: checksummed records behind one another, each synced before what it says is told to anybody.
//!
//! ```text
//!   file   = "HOLONLOG" version:u32 node:u128 record*
//!   record = length:u32 crc:u32 kind:u8 body[length]                      crc over kind and body
//!   body   = 4: record*, what was appended at once: all of it or nothing
//!   within a 4:
//!            1: an entry of Raft's log
//!          | 2: Raft's hard state; the last one counts
//!          | 3: entries from this index:u64 on are void
//!          | 5: a snapshot of Raft's; entries begin at most one behind it. Older binaries name the unknown kind and end
//!   version 2: those without a 4 around them
//!   version 1 (a node alone): record = length:u32 crc:u32 index:u64 service:u16 entry[length]
//! ```
//! A bad record with a good one behind it is damage, and an error. A bad record with nothing good behind it is the torn
//! tail of an append nobody was told of, and is cut off. The parts of one append reach the medium in any order: that a
//! later part of it is there while an earlier one is not is no damage, so only whole appends count as good.

use crate::command::Command;
use crate::limits::SNAPSHOT_BYTES_MAX;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, NodeId, ServiceId, crc32c, crc32c_append};
use holon_kernel::{DiskBuffer, DiskClient, DiskError, DiskFile, OpenOptions};
use holon_raft::{Entry, HardState, Members, Payload, Snapshot};
use thiserror::Error;

/// Longest entry, bytes: a schema change is far below; this bounds what a proposal can make every shard hold.
pub const ENTRY_BYTES_MAX: usize = 1 << 20;

const DIRECTORY: &str = "metadata";
const PATH: &str = "metadata/log";
const PATH_NEW: &str = "metadata/log.new";
const MAGIC: &[u8; 8] = b"HOLONLOG";
const VERSION: u32 = 3;
const VERSION_LOOSE: u32 = 2;
const VERSION_ALONE: u32 = 1;
const HEADER_BYTES: usize = 28;
const RECORD_HEADER_BYTES: usize = 9;
const RECORD_HEADER_BYTES_ALONE: usize = 18;

/// Longest body of a record, bytes: an entry and what Raft puts around it.
const BODY_BYTES_MAX: usize = ENTRY_BYTES_MAX + 4096;
const SNAPSHOT_BODY_BYTES_MAX: usize = SNAPSHOT_BYTES_MAX + (1 << 20);

const ENTRY: u8 = 1;
const HARD: u8 = 2;
const VOID_FROM: u8 = 3;
const APPEND: u8 = 4;
const SNAPSHOT: u8 = 5;

/// Records of one append, bytes: more than a Raft machine has under way.
const APPEND_BYTES_MAX: usize = 256 << 20;

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

/// What the file holds.
#[derive(Default)]
pub(crate) struct Content {
    pub(crate) hard: HardState,
    pub(crate) snapshot: Option<Snapshot>,
    /// Without gaps; some may be behind the snapshot.
    pub(crate) entries: Vec<Entry>,
}

impl Content {
    pub(crate) fn last_index(&self) -> u64 {
        let of_snapshot = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.index);
        self.entries.last().map_or(of_snapshot, |entry| entry.index)
    }

    /// Entries that the snapshot stands for are not needed.
    fn drop_through(&mut self, index: u64) {
        let index = index.min(self.snapshot.as_ref().map_or(0, |snapshot| snapshot.index));
        self.entries.retain(|entry| entry.index > index);
    }

    /// In force, as far as the log says; before any change of them the founder alone votes.
    pub(crate) fn members(&self, founder: NodeId) -> Members {
        let said = self.entries.iter().rev().find_map(|entry| match &entry.payload {
            Payload::Members(members) => Some(members),
            _ => None,
        });
        let said = said.or(self.snapshot.as_ref().map(|snapshot| &snapshot.members));
        said.cloned().unwrap_or_else(|| Members::of_voters([founder]))
    }

    fn encode(&self, node: NodeId) -> ByteWriter {
        let mut out = ByteWriter::new();
        out.put_slice(MAGIC);
        out.put_u32(VERSION);
        out.put_u128(node.0);
        let mut head = ByteWriter::new();
        put_hard(&self.hard, &mut head);
        self.snapshot.iter().for_each(|snapshot| put_snapshot(snapshot, &mut head));
        put_record(APPEND, head.as_slice(), &mut out);
        for entry in &self.entries {
            let mut records = ByteWriter::new();
            put_entries(std::slice::from_ref(entry), &mut records);
            put_record(APPEND, records.as_slice(), &mut out);
        }
        // So that no damage before it is taken for the torn tail of an append.
        let mut end = ByteWriter::new();
        put_hard(&self.hard, &mut end);
        put_record(APPEND, end.as_slice(), &mut out);
        out
    }
}

pub(crate) struct LogFile {
    node: NodeId,
    file: DiskFile,
    end: u64,
}

/// Why an append failed.
pub(crate) enum AppendError {
    /// The records are not in the file (they may appear after a crash: the outcome is unknown).
    Write(DiskError),
    /// Nobody knows what the file holds: the shard must stop.
    Sync(DiskError),
}

/// Why the file was not made shorter.
#[derive(Debug, Error)]
pub(crate) enum CompactError {
    #[error("{0}")]
    Kept(#[from] LogError),
    #[error("{0}")]
    Disk(#[from] DiskError),
    /// Nobody knows which file is the log after a crash: the shard must stop.
    #[error("{0}")]
    Place(DiskError),
}

impl LogFile {
    /// Opens or makes the log of a node; gives what it holds.
    pub(crate) async fn open(disk: &DiskClient, node: NodeId) -> Result<(LogFile, Content), LogError> {
        disk.create_dir(DIRECTORY).await?;
        let file = disk.open(PATH, OpenOptions { create: true, direct: false }).await?;
        // At each start: the last one may have ended before these names were durable.
        disk.sync_dir("").await?;
        disk.sync_dir(DIRECTORY).await?;
        let bytes = read_whole(&file).await?;
        drop(file);
        // An append writes header and first record never at once; a file that is shorter than its header, or blank, was
        // never synced.
        let blank = bytes.len() < HEADER_BYTES || bytes.iter().all(|&byte| byte == 0);
        let content = if blank { Content::default() } else { parse(Bytes::from(bytes), node)? };
        // Written anew and synced, without the torn tail and what was replaced: what was read may be in the page cache
        // only, when the last start ended with a failed sync, and the next entry must not rest on that.
        let out = content.encode(node);
        let file = write_anew(disk, out.as_slice()).await?;
        put_in_place(disk).await?;
        Ok((LogFile { node, file, end: out.len() as u64 }, content))
    }

    /// Leaves out what was replaced, and the entries up to this one that the snapshot stands for.
    ///
    /// # Errors
    /// All is as it was, but for `Place`.
    pub(crate) async fn compact(&mut self, disk: &DiskClient, through: u64) -> Result<(), CompactError> {
        let mut content = parse(Bytes::from(read_whole(&self.file).await?), self.node)?;
        content.drop_through(through);
        let out = content.encode(self.node);
        let file = write_anew(disk, out.as_slice()).await?;
        // From here on nobody knows which of the two is the log after a crash.
        put_in_place(disk).await.map_err(CompactError::Place)?;
        (self.file, self.end) = (file, out.len() as u64);
        Ok(())
    }

    /// Appends records; durable when it returns.
    pub(crate) async fn append(&mut self, records: Bytes) -> Result<(), AppendError> {
        let mut out = ByteWriter::with_capacity(records.len() + RECORD_HEADER_BYTES);
        put_record(APPEND, &records, &mut out);
        self.file.write_at(self.end, DiskBuffer::from(out.as_slice())).await.map_err(AppendError::Write)?;
        self.file.sync().await.map_err(AppendError::Sync)?;
        self.end += out.len() as u64;
        Ok(())
    }
}

async fn read_whole(file: &DiskFile) -> Result<Vec<u8>, DiskError> {
    let mut bytes = Vec::with_capacity(file.length() as usize);
    loop {
        let piece = file.read_at(bytes.len() as u64, READ_BYTES).await?;
        if piece.is_empty() {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&piece);
    }
}

/// Writes what is to take the place of the log.
async fn write_anew(disk: &DiskClient, content: &[u8]) -> Result<DiskFile, DiskError> {
    let file = disk.open(PATH_NEW, OpenOptions { create: true, direct: false }).await?;
    file.truncate(0).await?;
    file.write_at(0, DiskBuffer::from(content)).await?;
    file.sync().await?;
    Ok(file)
}

async fn put_in_place(disk: &DiskClient) -> Result<(), DiskError> {
    disk.rename(PATH_NEW, PATH).await?;
    disk.sync_dir(DIRECTORY).await
}

pub(crate) fn put_snapshot(snapshot: &Snapshot, out: &mut ByteWriter) {
    put_record(SNAPSHOT, &snapshot.encode(), out);
}

pub(crate) fn put_void_from(index: u64, out: &mut ByteWriter) {
    put_record(VOID_FROM, &index.to_le_bytes(), out);
}

pub(crate) fn put_hard(hard: &HardState, out: &mut ByteWriter) {
    put_record(HARD, &hard.encode(), out);
}

pub(crate) fn put_entries(entries: &[Entry], out: &mut ByteWriter) {
    entries.iter().for_each(|entry| put_record(ENTRY, &entry.encode(), out));
}

fn put_record(kind: u8, body: &[u8], out: &mut ByteWriter) {
    out.put_u32(body.len() as u32);
    out.put_u32(crc32c_append(crc32c(&[kind]), body));
    out.put_u8(kind);
    out.put_slice(body);
}

fn parse(content: Bytes, node: NodeId) -> Result<Content, LogError> {
    let damaged = |offset: usize, detail: &str| LogError::Damaged { offset, detail: detail.to_string() };
    let mut header = ByteReader::new(content.slice(..HEADER_BYTES));
    if header.bytes(MAGIC.len()).is_ok_and(|magic| magic != MAGIC[..]) {
        return Err(damaged(0, "it does not begin with HOLONLOG"));
    }
    let version = match header.u32() {
        Ok(found) if found > VERSION => return Err(LogError::Newer { found }),
        Ok(found @ (VERSION | VERSION_LOOSE | VERSION_ALONE)) => found,
        _ => return Err(damaged(MAGIC.len(), "format 0")),
    };
    match header.u128().map(NodeId) {
        Ok(found) if found == node => {}
        found => return Err(LogError::OtherNode { found: found.unwrap_or(NodeId(0)), expected: node }),
    }
    match version {
        VERSION => parse_appends(&content),
        VERSION_LOOSE => {
            let mut parsed = Content::default();
            match parse_records(&content, HEADER_BYTES, &mut parsed)? {
                end if end == content.len() => Ok(parsed),
                bad => match (bad + 1..content.len()).find(|&at| record_at(&content, at, BODY_BYTES_MAX).is_some()) {
                    Some(good) => Err(unreadable(bad, good)),
                    None => Ok(parsed),
                },
            }
        }
        _ => parse_alone(&content, node),
    }
}

fn unreadable(offset: usize, good: usize) -> LogError {
    LogError::Damaged { offset, detail: format!("a record is unreadable, a good one follows at {good}") }
}

fn parse_appends(content: &Bytes) -> Result<Content, LogError> {
    let mut parsed = Content::default();
    let mut offset = HEADER_BYTES;
    let append_at = |at: usize| record_at(content, at, APPEND_BYTES_MAX).filter(|(kind, _)| *kind == APPEND);
    while offset < content.len() {
        let Some((_, records)) = append_at(offset) else {
            return match (offset + 1..content.len()).find(|&at| append_at(at).is_some()) {
                Some(good) => Err(unreadable(offset, good)),
                None => Ok(parsed),
            };
        };
        let end = parse_records(&records, 0, &mut parsed)?;
        if end < records.len() {
            let detail = format!("what was appended there is unreadable from its byte {end} on");
            return Err(LogError::Damaged { offset, detail });
        }
        offset += RECORD_HEADER_BYTES + records.len();
    }
    Ok(parsed)
}

/// Takes records in until one is unreadable; where that is, or the end.
fn parse_records(content: &Bytes, from: usize, parsed: &mut Content) -> Result<usize, LogError> {
    let mut offset = from;
    while offset < content.len() {
        let at = offset;
        let damaged = |detail: String| LogError::Damaged { offset: at, detail };
        let Some((kind, body)) = record_at(content, offset, SNAPSHOT_BODY_BYTES_MAX) else { return Ok(offset) };
        offset += RECORD_HEADER_BYTES + body.len();
        match kind {
            ENTRY => {
                let entry = Entry::decode(body).map_err(|error| damaged(error.to_string()))?;
                let last = parsed.last_index();
                // Behind a snapshot the log may go back further than to it.
                let first = parsed.entries.is_empty() && (1..=last).contains(&entry.index);
                if entry.index != last + 1 && !first {
                    return Err(damaged(format!("entry {} follows entry {last}", entry.index)));
                }
                parsed.entries.push(entry);
            }
            SNAPSHOT => {
                let snapshot = Snapshot::decode(body).map_err(|error| damaged(error.to_string()))?;
                if parsed.entries.last().is_some_and(|last| last.index < snapshot.index) {
                    parsed.entries.clear(); // those it stands for, without what followed them
                }
                parsed.snapshot = Some(snapshot);
            }
            HARD => parsed.hard = HardState::decode(body).map_err(|error| damaged(error.to_string()))?,
            VOID_FROM => {
                let index = ByteReader::new(body).u64().map_err(|short| damaged(short.to_string()))?;
                parsed.entries.retain(|entry| entry.index < index);
            }
            kind => return Err(damaged(format!("a record of unknown kind {kind}: start a newer holon"))),
        }
    }
    Ok(offset)
}

fn record_at(content: &Bytes, offset: usize, bytes_max: usize) -> Option<(u8, Bytes)> {
    let mut input = ByteReader::new(content.slice(offset..));
    let length = input.u32().ok()? as usize;
    let crc = input.u32().ok()?;
    if length > bytes_max || length >= input.remaining() {
        return None;
    }
    let (kind, body) = (input.u8().ok()?, input.bytes(length).ok()?);
    // The checksum last: the scan for later records tries every byte, and most fail before it. (A blank stretch is no
    // record: its kind is none.)
    (kind != 0 && crc32c_append(crc32c(&[kind]), &body) == crc).then_some((kind, body))
}

/// The log of a node that was alone: each entry was committed when it was written.
fn parse_alone(content: &Bytes, node: NodeId) -> Result<Content, LogError> {
    let mut entries = Vec::new();
    let mut offset = HEADER_BYTES;
    while offset < content.len() {
        let index = entries.len() as u64 + 1;
        match alone_at(content, offset) {
            Some((found, command)) if found == index => {
                offset += RECORD_HEADER_BYTES_ALONE + command.bytes.len();
                entries.push(Entry { index, term: 1, payload: Payload::Normal(command.encode()) });
            }
            _ => {
                let later = (offset + 1..content.len())
                    .find(|&at| alone_at(content, at).is_some_and(|(found, _)| found > index));
                match later {
                    Some(at) => {
                        let detail = format!("entry {index} is unreadable, a later one follows at {at}");
                        return Err(LogError::Damaged { offset, detail });
                    }
                    None => break,
                }
            }
        }
    }
    let commit = entries.len() as u64;
    Ok(Content { hard: HardState { term: 1, vote: Some(node), commit }, snapshot: None, entries })
}

fn alone_at(content: &Bytes, offset: usize) -> Option<(u64, Command)> {
    let mut input = ByteReader::new(content.slice(offset..));
    let length = input.u32().ok()? as usize;
    let crc = input.u32().ok()?;
    if length > ENTRY_BYTES_MAX || length + 10 > input.remaining() {
        return None;
    }
    let body = offset + 8..offset + RECORD_HEADER_BYTES_ALONE + length;
    let (index, service) = (input.u64().ok()?, ServiceId(input.u16().ok()?));
    let bytes = input.bytes(length).ok()?;
    let good = index > 0 && index < 1 << 40 && crc32c(&content[body]) == crc;
    good.then_some((index, Command { id: 0, service, bytes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64) -> Entry {
        Entry { index, term: 1, payload: Payload::Normal(Bytes::from(vec![index as u8; 40])) }
    }

    /// A file with appends of two entries and a hard state each, and where each append begins.
    fn file(appends: u64) -> (Vec<u8>, Vec<usize>) {
        let mut out = ByteWriter::new();
        out.put_slice(MAGIC);
        out.put_u32(VERSION);
        out.put_u128(7);
        let mut begins = Vec::new();
        for number in 0..appends {
            let mut records = ByteWriter::new();
            put_entries(&[entry(2 * number + 1), entry(2 * number + 2)], &mut records);
            put_hard(&HardState { term: 1, vote: None, commit: number }, &mut records);
            begins.push(out.len());
            put_record(APPEND, records.as_slice(), &mut out);
        }
        (out.as_slice().to_vec(), begins)
    }

    fn read(bytes: Vec<u8>) -> Result<(usize, u64), LogError> {
        parse(Bytes::from(bytes), NodeId(7)).map(|content| (content.entries.len(), content.hard.commit))
    }

    #[test]
    fn an_append_that_is_there_in_part_is_not_there() {
        let (whole, begins) = file(3);
        assert_eq!(read(whole.clone()).ok(), Some((6, 2)));
        // Its first part is missing and all behind it is there: as after a loss of power, nobody was told of it.
        for hole in begins[2]..whole.len() {
            let mut torn = whole.clone();
            torn[begins[2]..hole].fill(0);
            let expected = if hole == begins[2] { (6, 2) } else { (4, 1) };
            assert_eq!(read(torn).ok(), Some(expected), "hole up to {hole}");
        }
        for cut in begins[2]..whole.len() {
            assert_eq!(read(whole[..cut].to_vec()).ok(), Some((4, 1)), "cut at {cut}");
        }
        // One that was synced is not cut off.
        let mut damaged = whole;
        damaged[begins[1] + 20] ^= 1;
        assert!(matches!(read(damaged), Err(LogError::Damaged { offset, .. }) if offset == begins[1]));
    }

    #[test]
    fn the_format_before_is_read() {
        let mut out = ByteWriter::new();
        out.put_slice(MAGIC);
        out.put_u32(VERSION_LOOSE);
        out.put_u128(7);
        put_entries(&[entry(1), entry(2)], &mut out);
        put_hard(&HardState { term: 1, vote: None, commit: 2 }, &mut out);
        assert_eq!(read(out.as_slice().to_vec()).ok(), Some((2, 2)));
    }
}
