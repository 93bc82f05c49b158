//! A segment: one file of a partition, batches one after the other, and a sparse index of it.
//!
//! ```text
//! log/partitions/<tablet>-<life>/<offset of its first record>.log     batches as they are sent to clients
//!                                <the same>.index                      of a segment that is full
//!                                <the same>.txnindex                   of one with aborted transactions: [`crate::store::aborted`]
//! index = magic:u64 version:u32 base:i64 length:u64 newest:i64 count:u32 entry* crc32c:u32
//! entry = offset:u32 (from the base) position:u32 newest:i64 (timestamp of all before)
//! ```
//! An index is a convenience: one that is not there, or not as it was written, is made again from the headers of the batches.

use crate::store::error::{LogError, damaged};
use crate::store::limits::INDEX_INTERVAL_BYTES;
use crate::store::options::PartitionOptions;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, TabletId, crc32c};
use holon_kafka::batch::{HEADER_BYTES, check_crc};
use holon_kafka::{BatchHeader, Batches};
use holon_kernel::disk::OpenOptions;
use holon_kernel::{DiskBuffer, DiskClient, DiskFile};
use holon_wal::Lsn;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

pub const PARTITIONS: &str = "log/partitions";
const MAGIC: u64 = u64::from_le_bytes(*b"HOLONIDX");
const VERSION: u32 = 1;
const ENTRY_BYTES: usize = 16;
/// Of one read, when a whole segment is looked through.
const EACH_BYTES: usize = 1 << 20;

/// What was read: the header of the first batch, all bytes, the offset after the last batch.
pub type Read = (BatchHeader, Bytes, i64);

/// Where the files of a partition are, in one life of it: one that was removed and comes back finds nothing of before.
pub fn directory(tablet: TabletId, life: Lsn) -> String {
    format!("{PARTITIONS}/{:016x}-{:016x}", tablet.0, life.0)
}

/// Whose a directory is.
pub fn tablet_of(name: &str) -> Option<TabletId> {
    let (tablet, life) = name.split_once('-').filter(|(tablet, life)| tablet.len() == 16 && life.len() == 16)?;
    u64::from_str_radix(life, 16).ok()?;
    u64::from_str_radix(tablet, 16).ok().map(TabletId)
}

/// The base offset of a segment, by the name of its file.
pub fn base_of(name: &str) -> Option<i64> {
    name.strip_suffix(".log").filter(|digits| digits.len() == 20)?.parse().ok()
}

/// The same of an index.
pub fn index_base_of(name: &str) -> Option<i64> {
    name.strip_suffix(".index").filter(|digits| digits.len() == 20)?.parse().ok()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct IndexEntry {
    offset: u32,
    position: u32,
    /// Of all batches before this one.
    newest_ms: i64,
}

/// Where in a segment offsets and times are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    base: i64,
    entries: Vec<IndexEntry>,
    /// The greatest timestamp.
    newest_ms: i64,
    /// What it knows of the segment.
    length: u64,
}

impl Index {
    pub fn new(base: i64) -> Index {
        Index { base, entries: Vec::new(), newest_ms: i64::MIN, length: 0 }
    }

    /// The next batch of the segment.
    pub fn add(&mut self, header: &BatchHeader) {
        let since = self.entries.last().map_or(u64::MAX, |entry| self.length - u64::from(entry.position));
        if since >= INDEX_INTERVAL_BYTES {
            let offset = u32::try_from(header.base_offset - self.base).unwrap_or(u32::MAX);
            let position = u32::try_from(self.length).unwrap_or(u32::MAX);
            self.entries.push(IndexEntry { offset, position, newest_ms: self.newest_ms });
        }
        self.newest_ms = self.newest_ms.max(header.max_timestamp_ms);
        self.length += header.length as u64;
    }

    /// Forgets what is behind a position, and what was found since the last entry before it.
    fn cut(&mut self, length: u64) {
        if self.length <= length {
            return;
        }
        let left = self.entries.partition_point(|entry| u64::from(entry.position) < length);
        self.entries.truncate(left);
        let last = self.entries.pop();
        self.length = last.map_or(0, |entry| u64::from(entry.position));
        self.newest_ms = last.map_or(i64::MIN, |entry| entry.newest_ms);
    }

    /// Begin here to look for an offset: a position, and the offset of the batch there.
    pub fn place_of(&self, offset: i64) -> (u64, i64) {
        let offset_of = |entry: &IndexEntry| self.base + i64::from(entry.offset);
        let after = self.entries.partition_point(|entry| offset_of(entry) <= offset);
        let before = after.checked_sub(1).map(|at| &self.entries[at]);
        before.map_or((0, self.base), |entry| (u64::from(entry.position), offset_of(entry)))
    }

    /// Begin here to look for the first batch with a timestamp that is not before this one.
    pub fn position_of_time(&self, time_ms: i64) -> u64 {
        let after = self.entries.partition_point(|entry| entry.newest_ms < time_ms);
        after.checked_sub(1).map_or(0, |at| u64::from(self.entries[at].position))
    }

    pub fn encode(&self) -> Bytes {
        let mut out = ByteWriter::with_capacity(48 + ENTRY_BYTES * self.entries.len());
        out.put_u64(MAGIC);
        out.put_u32(VERSION);
        out.put_i64(self.base);
        out.put_u64(self.length);
        out.put_i64(self.newest_ms);
        out.put_u32(self.entries.len() as u32);
        for entry in &self.entries {
            out.put_u32(entry.offset);
            out.put_u32(entry.position);
            out.put_i64(entry.newest_ms);
        }
        out.put_u32(crc32c(out.as_slice()));
        out.freeze()
    }

    /// `None`: it is not one of the segment that begins at `base`.
    pub fn decode(bytes: &Bytes, base: i64) -> Option<Index> {
        let end = bytes.len().checked_sub(4)?;
        let mut input = ByteReader::new(bytes.slice(..end));
        let is_ours = crc32c(&bytes[..end]).to_le_bytes() == bytes[end..]
            && (input.u64().ok()?, input.u32().ok()?, input.i64().ok()?) == (MAGIC, VERSION, base);
        if !is_ours {
            return None;
        }
        let (length, newest_ms, count) = (input.u64().ok()?, input.i64().ok()?, input.u32().ok()?);
        let mut entries = Vec::new();
        for _ in 0..count {
            let (offset, position) = (input.u32().ok()?, input.u32().ok()?);
            entries.push(IndexEntry { offset, position, newest_ms: input.i64().ok()? });
        }
        input.end().ok()?;
        Some(Index { base, entries, newest_ms, length })
    }
}

/// What a reader asks for.
pub struct Wanted<'a> {
    pub offset: i64,
    /// Nothing from here on.
    pub below: i64,
    pub bytes_max: usize,
    /// The leader epoch that the batch at an offset has.
    pub epoch_of: &'a dyn Fn(i64) -> i32,
}

/// A file of a partition and what is known of it.
pub struct Segment {
    directory: Rc<str>,
    pub base: i64,
    /// Bytes of whole batches.
    pub length: Cell<u64>,
    file: RefCell<Option<DiskFile>>,
    /// `None`: not read yet.
    index: RefCell<Option<Index>>,
    /// It has a file of its aborted transactions; which is not synced yet.
    pub has_aborted: Cell<bool>,
    /// By how much earlier it is full by its age; drawn when it began.
    pub jitter_ms: Cell<i64>,
    /// The newest timestamp of its first batch; `None`: not looked at yet.
    pub first_ms: Cell<Option<i64>>,
    /// When it began, or was found, by the wall clock.
    pub since_ms: Cell<i64>,
    pub aborted_unsynced: Cell<bool>,
}

impl fmt::Debug for Segment {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "{} of {} bytes", self.path(), self.length.get())
    }
}

impl Segment {
    pub fn new(directory: Rc<str>, base: i64, length: u64) -> Segment {
        Segment {
            directory,
            base,
            length: Cell::new(length),
            file: RefCell::default(),
            index: RefCell::default(),
            has_aborted: Cell::new(false),
            jitter_ms: Cell::new(0),
            first_ms: Cell::new(None),
            since_ms: Cell::new(0),
            aborted_unsynced: Cell::new(false),
        }
    }

    pub fn path(&self) -> String {
        self.path_of("log")
    }

    pub fn index_path(&self) -> String {
        self.path_of("index")
    }

    pub fn path_of(&self, kind: &str) -> String {
        format!("{}/{:020}.{kind}", self.directory, self.base)
    }

    pub async fn file(&self, disk: &DiskClient, create: bool) -> Result<DiskFile, LogError> {
        if let Some(file) = &*self.file.borrow() {
            return Ok(file.clone());
        }
        let file = disk.open(&self.path(), OpenOptions { create, direct: false }).await?;
        *self.file.borrow_mut() = Some(file.clone());
        Ok(file)
    }

    /// Removes its files. Whoever has one open goes on reading.
    pub async fn remove(&self, disk: &DiskClient) -> Result<(), LogError> {
        self.close();
        if self.has_aborted.get() {
            disk.remove(&self.aborted_path()).await?;
        }
        disk.remove(&self.index_path()).await?;
        Ok(disk.remove(&self.path()).await?)
    }

    /// Lets go of what can be opened and read again.
    pub fn close(&self) {
        self.file.take();
        self.index.take();
    }

    /// The next batches were written.
    pub fn grew(&self, headers: impl Iterator<Item = BatchHeader>) {
        let mut index = self.index.borrow_mut();
        let mut length = self.length.get();
        for header in headers {
            if length == 0 {
                self.first_ms.set(Some(header.max_timestamp_ms));
            }
            length += header.length as u64;
            if let Some(index) = index.as_mut() {
                index.add(&header);
            }
        }
        self.length.set(length);
    }

    /// Its age when a batch comes: by the timestamps of that and of its first batch, or, if that has none, by the clock. As Kafka's
    /// `LogSegment.timeWaitedForRoll`.
    ///
    /// # Errors
    /// The file is damaged, or cannot be read.
    pub async fn age_ms(&self, disk: &DiskClient, next: &BatchHeader, wall_ms: i64) -> Result<i64, LogError> {
        if self.length.get() > 0 && self.first_ms.get().is_none() {
            let first = self.header_at(disk, 0, self.length.get()).await?;
            self.first_ms.set(Some(first.max_timestamp_ms));
        }
        Ok(match self.first_ms.get().filter(|first_ms| *first_ms >= 0) {
            Some(first_ms) => next.max_timestamp_ms.saturating_sub(first_ms),
            None => wall_ms.saturating_sub(self.since_ms.get()),
        })
    }

    /// Beyond this age it is full.
    pub fn age_ms_max(&self, options: &PartitionOptions) -> i64 {
        options.segment_ms - self.jitter_ms.get().min(options.segment_ms)
    }

    /// A new one needs no look at its file.
    pub fn begin(&self) {
        *self.index.borrow_mut() = Some(Index::new(self.base));
    }

    /// Asks the index, which is read or made first if it is not there.
    async fn ask_index<T>(&self, disk: &DiskClient, ask: impl Fn(&Index) -> T) -> Result<T, LogError> {
        loop {
            if let Some(index) = &*self.index.borrow() {
                return Ok(ask(index));
            }
            let stored = self.stored_index(disk).await?.filter(|index| index.length <= self.length.get());
            let mut index = stored.unwrap_or_else(|| Index::new(self.base));
            self.complete(disk, &mut index).await?;
            *self.index.borrow_mut() = Some(index);
        }
    }

    /// Adds what an index does not know yet.
    async fn complete(&self, disk: &DiskClient, index: &mut Index) -> Result<(), LogError> {
        while index.length < self.length.get() {
            let header = self.header_at(disk, index.length, self.length.get()).await?;
            index.add(&header);
        }
        Ok(())
    }

    /// The same as far as this position, where a batch begins. An object of its own: who reads from this one meanwhile knows nothing of it,
    /// nor it of what they find.
    ///
    /// # Errors
    /// The file is damaged, or cannot be read.
    pub async fn cut(&self, disk: &DiskClient, length: u64) -> Result<Segment, LogError> {
        let mut index = self.ask_index(disk, Index::clone).await?;
        index.cut(length);
        let cut = Segment::new(self.directory.clone(), self.base, length);
        cut.file.replace(self.file.borrow().clone());
        cut.complete(disk, &mut index).await?;
        cut.index.replace(Some(index));
        cut.jitter_ms.set(self.jitter_ms.get());
        cut.first_ms.set(self.first_ms.get());
        cut.since_ms.set(self.since_ms.get());
        Ok(cut)
    }

    /// The batch that has an offset, and where it begins. `None`: the segment ends before it.
    ///
    /// # Errors
    /// The file is damaged, or cannot be read.
    pub async fn batch_at(&self, disk: &DiskClient, offset: i64) -> Result<Option<(u64, BatchHeader)>, LogError> {
        let (mut position, mut next) = self.ask_index(disk, |index| index.place_of(offset)).await?;
        let length = self.length.get();
        while position < length {
            let header = self.header_at(disk, position, length).await?;
            if header.base_offset != next {
                let detail = format!("a batch of another place ({}) is where {next} should be", header.base_offset);
                return Err(damaged(&self.path(), position, detail));
            }
            if header.last_offset() >= offset {
                return Ok(Some((position, header)));
            }
            next = header.last_offset() + 1;
            position += header.length as u64;
        }
        Ok(None)
    }

    /// The greatest timestamp of its records.
    pub async fn newest_ms(&self, disk: &DiskClient) -> Result<i64, LogError> {
        self.ask_index(disk, |index| index.newest_ms).await
    }

    /// Whether its index on the disk knows more than there is: it is of what was there before a truncation.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn has_stale_index(&self, disk: &DiskClient) -> Result<bool, LogError> {
        Ok(self.stored_index(disk).await?.is_some_and(|index| index.length > self.length.get()))
    }

    async fn stored_index(&self, disk: &DiskClient) -> Result<Option<Index>, LogError> {
        let options = OpenOptions::default();
        let Ok(file) = disk.open(&self.index_path(), options).await else { return Ok(None) };
        let bytes = file.read_at(0, usize::try_from(file.length()).unwrap_or(0)).await?;
        Ok(Index::decode(&bytes, self.base))
    }

    async fn header_at(&self, disk: &DiskClient, position: u64, length: u64) -> Result<BatchHeader, LogError> {
        let bytes = self.file(disk, false).await?.read_at(position, HEADER_BYTES).await?;
        let header = self.plausible(BatchHeader::peek(&bytes, 0), position)?;
        let header = header.ok_or_else(|| damaged(&self.path(), position, "the file ends within a batch"))?;
        if position + header.length as u64 > length {
            return Err(damaged(&self.path(), position, "a batch runs beyond what was written"));
        }
        Ok(header)
    }

    fn plausible(
        &self,
        header: Result<Option<BatchHeader>, holon_kafka::BatchError>,
        position: u64,
    ) -> Result<Option<BatchHeader>, LogError> {
        header.map_err(|error| damaged(&self.path(), position, error.to_string()))
    }

    /// All its batches between two positions, one after the other.
    ///
    /// # Errors
    /// The file is damaged, or cannot be read.
    pub async fn each(
        &self,
        disk: &DiskClient,
        Range { start: mut position, end: length }: Range<u64>,
        mut look: impl FnMut(&BatchHeader, &Bytes),
    ) -> Result<(), LogError> {
        let (file, mut window_bytes) = (self.file(disk, false).await?, EACH_BYTES);
        while position < length {
            let left = usize::try_from(length - position).unwrap_or(usize::MAX);
            let window = file.read_at(position, left.min(window_bytes)).await?;
            let mut batches = Batches::new(window);
            while let Some(batch) = batches.next() {
                let begin = batches.at();
                let (header, whole) = batch.map_err(|error| damaged(&self.path(), position, error.to_string()))?;
                check_crc(&header, &whole, begin)
                    .map_err(|error| damaged(&self.path(), position, error.to_string()))?;
                look(&header, &whole);
            }
            if batches.at() == 0 {
                window_bytes = self.header_at(disk, position, length).await?.length;
            }
            position += batches.at() as u64;
        }
        Ok(())
    }

    /// Whole batches from the one that has `offset` on, up to `bytes_max` of them, or one; none that has `below` or comes after it. They
    /// are as they were written: what their checksums leave out, the place in the log and the epoch, is held against what is known of
    /// it.
    ///
    /// # Errors
    /// The file is damaged, or cannot be read.
    pub async fn read(&self, disk: &DiskClient, wanted: &Wanted<'_>) -> Result<Option<Read>, LogError> {
        let (mut position, mut next) = self.ask_index(disk, |index| index.place_of(wanted.offset)).await?;
        let (file, length) = (self.file(disk, false).await?, self.length.get());
        let mut window_bytes = wanted.bytes_max.max(HEADER_BYTES) + INDEX_INTERVAL_BYTES as usize;
        loop {
            let left = usize::try_from(length - position).unwrap_or(usize::MAX);
            if left == 0 {
                return Ok(None);
            }
            let window = file.read_at(position, left.min(window_bytes)).await?;
            let mut batches = Batches::new(window.clone());
            let (mut from, mut to, mut first, mut end) = (None, 0, None, 0);
            while let Some(batch) = batches.next() {
                let (header, whole) = batch.map_err(|error| damaged(&self.path(), position, error.to_string()))?;
                let begin = batches.at() - header.length;
                let at = position + begin as u64;
                if header.base_offset != next || header.leader_epoch != (wanted.epoch_of)(next) {
                    let detail = format!("a batch of another place ({}) is where {next} should be", header.base_offset);
                    return Err(damaged(&self.path(), at, detail));
                }
                next = header.last_offset() + 1;
                if header.last_offset() < wanted.offset {
                    continue;
                }
                let start = *from.get_or_insert(begin);
                if first.is_some() && batches.at() - start > wanted.bytes_max {
                    break;
                }
                check_crc(&header, &whole, begin).map_err(|error| damaged(&self.path(), at, error.to_string()))?;
                if header.last_offset() >= wanted.below {
                    break;
                }
                first.get_or_insert(header);
                (to, end) = (batches.at(), next);
            }
            match (from, first) {
                (Some(from), Some(header)) => return Ok(Some((header, window.slice(from..to), end))),
                (Some(_), None) => return Ok(None), // the next one is not to be shown
                (None, _) => {}
            }
            if batches.at() == 0 {
                // It is larger than the window.
                window_bytes = self.header_at(disk, position, length).await?.length;
            }
            position += batches.at() as u64;
        }
    }

    /// The first batch whose newest record is not before this time, of those that end at an offset or after it; as far as the segment is
    /// written.
    pub async fn find_time(&self, disk: &DiskClient, time_ms: i64, from: i64) -> Result<Option<BatchHeader>, LogError> {
        let mut position = self.ask_index(disk, |index| index.position_of_time(time_ms)).await?;
        let length = self.length.get();
        while position < length {
            let header = self.header_at(disk, position, length).await?;
            if header.max_timestamp_ms >= time_ms && header.last_offset() >= from {
                return Ok(Some(header));
            }
            position += header.length as u64;
        }
        Ok(None)
    }

    /// Writes the index of a segment that is full. What goes wrong is found out by who reads it.
    pub async fn store_index(&self, disk: &DiskClient) -> Result<(), LogError> {
        let bytes = self.ask_index(disk, Index::encode).await?;
        let options = OpenOptions { create: true, direct: false };
        let file = disk.open(&self.index_path(), options).await?;
        file.truncate(0).await?;
        file.write_at(0, DiskBuffer::from(&bytes[..])).await?;
        Ok(())
    }
}
