//! Reads a table. Filter, deleted ranges, top index and properties stay in memory while it is open; index and data
//! blocks come through the cache. Every block is checked when it is read from disk.

use crate::bloom::Bloom;
use crate::cache::BlockCache;
use crate::error::{StoreError, damaged};
use crate::limits::SLICE_BYTES;
use crate::manifest::TableEntry;
use crate::options::KeyPrefix;
use crate::range::RangeList;
use crate::table::block::{BLOCK_TRAILER_BYTES, Block, BlockHandle, load_raw};
use crate::table::format::{FOOTER_BYTES, Footer, Properties, TableId, decode_handle, decode_ranges};
use bytes::Bytes;
use holon_base::TabletId;
use holon_kernel::{DiskClient, DiskFile, OpenOptions};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Files that no manifest names any more, and that no reader holds.
pub type Garbage = Rc<RefCell<Vec<String>>>;

pub struct Table {
    file: DiskFile,
    path: String,
    footer: Footer,
    properties: Properties,
    filter: Bloom,
    ranges: RangeList,
    /// `None` if the table has no rows, only deleted ranges.
    top: Option<Block>,
    cache_number: u64,
    prefix: KeyPrefix,
    prefix_matches: bool,
    obsolete: Cell<bool>,
    garbage: Garbage,
}

/// Bytes read ahead of a sequential reader, so that it reads the file in slices and not in blocks.
#[derive(Default)]
pub struct ReadAhead {
    table: u64,
    offset: u64,
    bytes: Bytes,
}

/// What opening a table needs to know.
pub struct OpenTable<'a> {
    pub disk: &'a DiskClient,
    pub directory: &'a str,
    pub tablet: TabletId,
    pub entry: &'a TableEntry,
    pub prefix: KeyPrefix,
    pub cache_number: u64,
    pub garbage: &'a Garbage,
}

impl Table {
    /// Opens the table that a manifest names, and checks that the file is that table.
    pub async fn open(from: OpenTable<'_>) -> Result<Table, StoreError> {
        let path = format!("{}/{}", from.directory, from.entry.table.file_name());
        let file = from.disk.open(&path, OpenOptions::default()).await.map_err(|error| match error.kind {
            holon_kernel::DiskErrorKind::NotFound => {
                damaged(&path, 0, "the file is missing, and the manifest names it")
            }
            _ => error.into(),
        })?;
        let length = file.length();
        if length != from.entry.length {
            let expected = from.entry.length;
            let detail = format!("the file has {length} bytes, and {expected} were written");
            return Err(damaged(&path, length.min(expected), detail));
        }
        let footer_at = length.saturating_sub(FOOTER_BYTES as u64);
        let bytes = file.read_at(footer_at, FOOTER_BYTES).await?;
        let footer = Footer::decode(&bytes, &path, length)?;
        if footer.tablet != from.tablet || footer.table != from.entry.table {
            let detail = format!("this is table {:?} of tablet {}", footer.table, footer.tablet);
            return Err(damaged(&path, footer_at, detail));
        }
        if footer.content_crc != from.entry.content_crc {
            return Err(damaged(&path, footer_at, "this is not the file that the manifest names"));
        }
        let tail_at = footer.filter.offset;
        let tail = file.read_at(tail_at, (footer_at - tail_at) as usize).await?;
        let section = |handle: BlockHandle| -> Result<Bytes, StoreError> {
            let start = ((handle.offset - tail_at) as usize).min(tail.len());
            let end = (start + handle.length as usize).min(tail.len());
            load_raw(tail.slice(start..end), footer.table, handle.offset, &path)
        };
        let malformed = |handle: BlockHandle| {
            let path = path.clone();
            move |error: crate::error::Malformed| error.in_file(&path, handle.offset)
        };
        let filter = Bloom::new(section(footer.filter)?).map_err(malformed(footer.filter))?;
        let ranges = decode_ranges(section(footer.ranges)?).map_err(malformed(footer.ranges))?;
        let top = section(footer.top)?;
        let top = if top.is_empty() { None } else { Some(Block::parse(top).map_err(malformed(footer.top))?) };
        let properties = Properties::decode(section(footer.properties)?).map_err(malformed(footer.properties))?;
        Ok(Table {
            file,
            prefix: from.prefix,
            prefix_matches: properties.prefix_id == from.prefix.id() && properties.prefix_id != 0,
            path,
            footer,
            properties,
            filter,
            ranges,
            top,
            cache_number: from.cache_number,
            obsolete: Cell::new(false),
            garbage: from.garbage.clone(),
        })
    }

    /// What the prefix of a key is, for the tree it was opened for: see [`Properties::prefix_id`].
    pub fn prefix(&self) -> KeyPrefix {
        self.prefix
    }

    pub fn id(&self) -> TableId {
        self.footer.table
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn file(&self) -> &DiskFile {
        &self.file
    }

    pub fn footer(&self) -> &Footer {
        &self.footer
    }

    pub fn length(&self) -> u64 {
        self.footer.length
    }

    pub fn properties(&self) -> &Properties {
        &self.properties
    }

    pub fn ranges(&self) -> &RangeList {
        &self.ranges
    }

    pub fn top(&self) -> Option<&Block> {
        self.top.as_ref()
    }

    pub fn entry(&self) -> TableEntry {
        TableEntry { table: self.footer.table, length: self.footer.length, content_crc: self.footer.content_crc }
    }

    /// Memory held while the table is open.
    pub fn memory_bytes(&self) -> usize {
        let ranges = size_of_val(self.ranges.fragments());
        self.filter.bytes() + ranges + self.top.as_ref().map_or(0, Block::bytes) + size_of::<Table>()
    }

    /// No manifest names the file any more: remove it when the last reader is gone.
    pub fn set_obsolete(&self) {
        self.obsolete.set(true);
    }

    pub fn may_contain(&self, key_hash: u64) -> bool {
        self.filter.may_contain(key_hash)
    }

    pub fn may_contain_prefix(&self, prefix_hash: u64) -> bool {
        !self.prefix_matches || self.filter.may_contain(prefix_hash)
    }

    /// The encoded row of a key. The bloom filter is the caller's business.
    pub async fn get(&self, key: &[u8], cache: &RefCell<BlockCache>) -> Result<Option<Bytes>, StoreError> {
        let Some(top) = &self.top else { return Ok(None) };
        let at = top.lower_bound(key);
        if at == top.len() {
            return Ok(None);
        }
        let index = self.block(self.handle(top, at, self.footer.top)?, cache, None).await?;
        let at = index.lower_bound(key);
        if at == index.len() {
            return Ok(None);
        }
        let data = self.block(self.handle(&index, at, self.footer.top)?, cache, None).await?;
        let at = data.lower_bound(key);
        Ok((at < data.len() && data.key(at) == key).then(|| data.row_bytes(at)))
    }

    /// The handle that entry `at` of an index block holds.
    pub fn handle(&self, index: &Block, at: usize, found_at: BlockHandle) -> Result<BlockHandle, StoreError> {
        let handle = decode_handle(index.row(at)).filter(|handle| {
            handle.offset.checked_add(u64::from(handle.length)).is_some_and(|end| end <= self.footer.filter.offset)
                && handle.length as usize >= BLOCK_TRAILER_BYTES
        });
        handle.ok_or_else(|| damaged(&self.path, found_at.offset, "an index points outside of the table"))
    }

    /// A block through the cache, or through a read-ahead buffer that bypasses it.
    pub async fn block(
        &self,
        handle: BlockHandle,
        cache: &RefCell<BlockCache>,
        ahead: Option<&mut ReadAhead>,
    ) -> Result<Rc<Block>, StoreError> {
        let key = (self.cache_number, handle.offset);
        if ahead.is_none()
            && let Some(block) = cache.borrow_mut().get(key)
        {
            return Ok(block);
        }
        let sequential = ahead.is_some();
        let stored = match ahead {
            Some(ahead) => self.read_ahead(handle, ahead).await?,
            None => self.file.read_at(handle.offset, handle.length as usize).await?,
        };
        if stored.len() != handle.length as usize {
            return Err(damaged(&self.path, handle.offset + stored.len() as u64, "the file ends within a block"));
        }
        let raw = load_raw(stored, self.footer.table, handle.offset, &self.path)?;
        let block = Block::parse(raw).map_err(|error| damaged(&self.path, handle.offset, error.detail))?;
        let block = Rc::new(block);
        if !sequential {
            cache.borrow_mut().insert(key, block.clone());
        }
        Ok(block)
    }

    async fn read_ahead(&self, handle: BlockHandle, ahead: &mut ReadAhead) -> Result<Bytes, StoreError> {
        let length = handle.length as usize;
        let held = ahead.table == self.cache_number
            && handle.offset >= ahead.offset
            && handle.offset + u64::from(handle.length) <= ahead.offset + ahead.bytes.len() as u64;
        if !held {
            let rest = (self.footer.filter.offset - handle.offset) as usize;
            ahead.bytes = self.file.read_at(handle.offset, SLICE_BYTES.max(length).min(rest)).await?;
            ahead.table = self.cache_number;
            ahead.offset = handle.offset;
        }
        let start = (handle.offset - ahead.offset) as usize;
        Ok(ahead.bytes.slice(start..(start + length).min(ahead.bytes.len())))
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if self.obsolete.get() {
            self.garbage.borrow_mut().push(std::mem::take(&mut self.path));
        }
    }
}
