//! Walking sorted sources in step: runs of tables and memtables, up or down, each key once with all its patches.

use crate::cache::BlockCache;
use crate::error::StoreError;
use crate::memtable::{Memtable, Patches};
use crate::read::KeyRange;
use crate::table::block::Block;
use crate::table::{ReadAhead, Table};
use crate::tree::Run;
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Bound;
use std::rc::Rc;

/// Entries taken from a memtable at a time.
const MEMORY_BATCH: usize = 256;

/// Walks a run within a range. At an entry, or in need of loading, or at the end.
pub struct RunCursor {
    run: Rc<Run>,
    range: KeyRange,
    reverse: bool,
    ahead: Option<ReadAhead>,
    prefix_hash: Option<u64>,
    /// Tables that are still to come, as places in the run, next last.
    tables: Vec<usize>,
    table: Option<Rc<Table>>,
    /// The next entry of the top block, of the index block; where we are in the data block.
    top_at: Option<usize>,
    index: Option<(Rc<Block>, crate::table::block::BlockHandle)>,
    index_at: Option<usize>,
    data: Option<Rc<Block>>,
    data_at: usize,
    /// Not positioned in the range yet.
    seeking: bool,
    done: bool,
}

impl RunCursor {
    pub fn new(run: Rc<Run>, range: KeyRange, reverse: bool, prefix_hash: Option<u64>, read_ahead: bool) -> Self {
        let overlaps = |table: &Rc<Table>| table.properties().overlaps(&range.start, range.end.as_deref());
        let mut tables: Vec<usize> =
            run.tables.iter().enumerate().filter(|(_, table)| overlaps(table)).map(|(at, _)| at).collect();
        if !reverse {
            tables.reverse();
        }
        RunCursor {
            run,
            range,
            reverse,
            ahead: read_ahead.then(ReadAhead::default),
            prefix_hash,
            tables,
            table: None,
            top_at: None,
            index: None,
            index_at: None,
            data: None,
            data_at: 0,
            seeking: true,
            done: false,
        }
    }

    /// Where to begin in an index: the first child that may hold a key of the range.
    fn start_in_index(&self, block: &Block) -> Option<usize> {
        match (self.reverse, self.seeking) {
            (false, true) => Some(block.lower_bound(&self.range.start)).filter(|at| *at < block.len()),
            (false, false) => Some(0),
            (true, true) => {
                let bound = self.range.end.as_ref().map_or(block.len(), |end| block.lower_bound(end));
                Some(bound.min(block.len() - 1))
            }
            (true, false) => Some(block.len() - 1),
        }
    }

    fn start_in_data(&self, block: &Block) -> Option<usize> {
        match (self.reverse, self.seeking) {
            (false, true) => Some(block.lower_bound(&self.range.start)).filter(|at| *at < block.len()),
            (false, false) => Some(0),
            (true, true) => {
                let bound = self.range.end.as_ref().map_or(block.len(), |end| block.lower_bound(end));
                bound.checked_sub(1)
            }
            (true, false) => Some(block.len() - 1),
        }
    }

    fn step(&self, block: &Block, at: usize) -> Option<usize> {
        if self.reverse { at.checked_sub(1) } else { Some(at + 1).filter(|next| *next < block.len()) }
    }

    /// The key here, if the cursor is at one.
    pub fn key(&self) -> Option<&[u8]> {
        self.data.as_ref().map(|block| block.key(self.data_at))
    }

    pub fn needs_load(&self) -> bool {
        self.data.is_none() && !self.done
    }

    fn advance(&mut self) {
        let Some(block) = &self.data else { return };
        match self.step(block, self.data_at) {
            Some(at) => {
                self.data_at = at;
                self.check_end();
            }
            None => self.data = None,
        }
    }

    /// Ends the walk when it has left the range.
    fn check_end(&mut self) {
        let outside = self.key().is_some_and(|key| {
            if self.reverse {
                key < self.range.start.as_ref()
            } else {
                self.range.end.as_ref().is_some_and(|end| key >= end.as_ref())
            }
        });
        if outside {
            self.data = None;
            self.done = true;
        }
    }

    /// Loads what is needed to be at the next entry.
    pub async fn load(&mut self, cache: &RefCell<BlockCache>) -> Result<(), StoreError> {
        while self.needs_load() {
            let Some(table) = self.table.clone() else {
                self.next_table();
                continue;
            };
            if let (Some((index, found_at)), Some(at)) = (self.index.clone(), self.index_at) {
                if self.is_behind_end(&index, at) {
                    self.done = true;
                    return Ok(());
                }
                let handle = table.handle(&index, at, found_at)?;
                let block = table.block(handle, cache, self.ahead.as_mut()).await?;
                self.index_at = self.step(&index, at);
                if let Some(at) = self.start_in_data(&block) {
                    self.data = Some(block);
                    self.data_at = at;
                    self.seeking = false;
                    self.check_end();
                }
            } else if let (Some(top), Some(at)) = (table.top(), self.top_at) {
                let handle = table.handle(top, at, table.footer().top)?;
                // Index blocks go through the cache in any case: they are few and lie behind the data.
                let index = table.block(handle, cache, None).await?;
                self.top_at = self.step(top, at);
                self.index_at = self.start_in_index(&index);
                self.index = Some((index, handle));
            } else {
                self.table = None;
            }
        }
        Ok(())
    }

    /// Going up, entry `at` begins after the last key of the entry before it: beyond the range there is nothing to
    /// load.
    fn is_behind_end(&self, index: &Block, at: usize) -> bool {
        let Some(end) = self.range.end.as_ref().filter(|_| !self.reverse && at > 0) else { return false };
        index.key(at - 1) >= end.as_ref()
    }

    fn next_table(&mut self) {
        let Some(place) = self.tables.pop() else {
            self.done = true;
            return;
        };
        let table = self.run.tables[place].clone();
        if self.prefix_hash.is_some_and(|hash| !table.may_contain_prefix(hash)) {
            return;
        }
        self.index = None;
        self.index_at = None;
        self.top_at = table.top().and_then(|top| self.start_in_index(top));
        self.table = Some(table);
    }
}

pub struct MemoryCursor {
    memtable: Rc<Memtable>,
    range: KeyRange,
    reverse: bool,
    batch: VecDeque<(Bytes, Patches)>,
    exhausted: bool,
}

impl MemoryCursor {
    /// Takes the first `limit` entries at once, so that a page of that size sees mutations whole.
    pub fn new(memtable: Rc<Memtable>, range: KeyRange, reverse: bool, limit: usize) -> Self {
        let mut cursor = MemoryCursor { memtable, range, reverse, batch: VecDeque::new(), exhausted: false };
        cursor.fill(None, limit.clamp(1, 16 * MEMORY_BATCH));
        cursor
    }

    fn fill(&mut self, after: Option<&Bytes>, limit: usize) {
        let mut start = Bound::Included(self.range.start.as_ref());
        let mut end = self.range.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        if let Some(after) = after {
            if self.reverse {
                end = Bound::Excluded(after);
            } else {
                start = Bound::Excluded(after);
            }
        }
        let batch = self.memtable.batch(start, end, self.reverse, limit);
        self.exhausted = batch.len() < limit;
        self.batch = batch.into();
    }

    fn key(&self) -> Option<&[u8]> {
        self.batch.front().map(|(key, _)| key.as_ref())
    }

    fn take(&mut self, patches: &mut Patches) -> Option<Bytes> {
        let (key, found) = self.batch.pop_front()?;
        patches.extend(found);
        if self.batch.is_empty() && !self.exhausted {
            self.fill(Some(&key), MEMORY_BATCH);
        }
        Some(key)
    }
}

pub enum Source {
    Run(RunCursor),
    Memory(MemoryCursor),
}

impl Source {
    fn key(&self) -> Option<&[u8]> {
        match self {
            Source::Run(cursor) => cursor.key(),
            Source::Memory(cursor) => cursor.key(),
        }
    }

    /// Takes the patches here and moves on.
    fn take(&mut self, patches: &mut Patches) -> Option<Bytes> {
        match self {
            Source::Run(cursor) => {
                let block = cursor.data.as_ref()?;
                let key = block.key_bytes(cursor.data_at);
                patches.push(block.row_bytes(cursor.data_at));
                cursor.advance();
                Some(key)
            }
            Source::Memory(cursor) => cursor.take(patches),
        }
    }
}

/// Walks all sources in step.
pub struct Merge {
    sources: Vec<Source>,
    reverse: bool,
}

impl Merge {
    pub fn new(sources: Vec<Source>, reverse: bool) -> Self {
        Merge { sources, reverse }
    }

    /// The next key, with its patches in `patches` (cleared first).
    pub async fn next(
        &mut self,
        patches: &mut Patches,
        cache: &RefCell<BlockCache>,
    ) -> Result<Option<Bytes>, StoreError> {
        patches.clear();
        for source in &mut self.sources {
            if let Source::Run(cursor) = source
                && cursor.needs_load()
            {
                cursor.load(cache).await?;
            }
        }
        Ok(self.take_next(patches))
    }

    fn take_next(&mut self, patches: &mut Patches) -> Option<Bytes> {
        let mut best: Option<(usize, &[u8])> = None;
        let mut ties = false;
        for (at, source) in self.sources.iter().enumerate() {
            let Some(key) = source.key() else { continue };
            match best {
                Some((_, smallest)) if key == smallest => ties = true,
                Some((_, smallest)) if (key < smallest) == self.reverse => {}
                _ => {
                    best = Some((at, key));
                    ties = false;
                }
            }
        }
        let (first, _) = best?;
        let key = self.sources[first].take(patches)?;
        if ties {
            for source in &mut self.sources[first + 1..] {
                if source.key() == Some(key.as_ref()) {
                    source.take(patches);
                }
            }
        }
        Some(key)
    }
}
