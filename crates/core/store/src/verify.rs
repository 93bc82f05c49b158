//! Reading everything a tablet has on disk and checking it against itself: checksums of blocks and files, that blocks
//! follow each other without gaps, order of keys, that filters let every key through, counts and bounds against the
//! properties.

use crate::bloom;
use crate::error::{StoreError, damaged};
use crate::inner::Inner;
use crate::limits::SLICE_BYTES;
use crate::manifest::{MANIFEST_NAME, Manifest};
use crate::options::KeyPrefix;
use crate::row_codec::{RowSummary, summarize_row};
use crate::stats::{Progress, VerifyReport};
use crate::table::block::{Block, BlockHandle};
use crate::table::format::FOOTER_BYTES;
use crate::table::{ReadAhead, Table};
use crate::tree::Tree;
use holon_base::crc32c_append;
use std::rc::Rc;

/// Checks all files of a tablet.
pub async fn verify_tree(
    inner: Rc<Inner>,
    tree: Rc<Tree>,
    mut progress: impl FnMut(Progress) + 'static,
) -> Result<VerifyReport, StoreError> {
    let mut report = VerifyReport::default();
    let version = {
        // Behind the gate the manifest on disk and the tree in memory say the same.
        let _gate = tree.gate.enter(&inner.shard).await?;
        let path = format!("{}/{MANIFEST_NAME}", tree.directory);
        let manifest = Manifest::load(&inner.shard, &tree.directory, tree.id).await?;
        let manifest = manifest.ok_or_else(|| damaged(&path, 0, "the manifest is missing"))?;
        tree.damages.check_readable()?;
        let version = tree.version();
        let runs: Vec<_> = version.runs.iter().map(|run| run.entry()).collect();
        if manifest.runs != runs || manifest.flushed != tree.flushed() {
            return Err(damaged(&path, 0, "the manifest is not the one in force"));
        }
        version
    };
    report.files = 1;
    let bytes_total = version.tables().map(|table| table.length()).sum();
    for table in version.tables() {
        verify_table(&inner, table, &mut report, &mut |bytes_done| progress(Progress { bytes_done, bytes_total }))
            .await?;
    }
    for run in &version.runs {
        for pair in run.tables.windows(2) {
            if pair[0].properties().last > pair[1].properties().first {
                return Err(damaged(pair[1].path(), 0, "the table overlaps the one before it in its run"));
            }
        }
    }
    progress(Progress { bytes_done: bytes_total, bytes_total });
    Ok(report)
}

/// Checks a whole table; `done` gets the bytes of all tables checked so far.
pub async fn verify_table(
    inner: &Inner,
    table: &Table,
    report: &mut VerifyReport,
    done: &mut dyn FnMut(u64),
) -> Result<(), StoreError> {
    let mut walk = Walk { prefix: table.prefix(), ..Walk::default() };
    let footer = *table.footer();
    if let Some(top) = table.top() {
        let mut index_offsets = Vec::with_capacity(top.len());
        for at in 0..top.len() {
            let handle = table.handle(top, at, footer.top)?;
            let index = table.block(handle, &inner.cache, Some(&mut ReadAhead::default())).await?;
            check_block(table, &index, handle, top.key(at))?;
            index_offsets.push(handle);
            walk.children(inner, table, &index, handle, report, done).await?;
        }
        for handle in index_offsets {
            walk.follows(table, handle)?;
        }
    }
    if walk.end != footer.filter.offset {
        return Err(damaged(table.path(), walk.end, "there is something between the blocks of the table"));
    }
    walk.check_properties(table)?;
    let mut crc = 0;
    let mut offset = 0;
    let content = table.length() - FOOTER_BYTES as u64;
    while offset < content {
        let length = SLICE_BYTES.min((content - offset) as usize);
        let bytes = table.file().read_at(offset, length).await?;
        if bytes.len() != length {
            return Err(damaged(table.path(), offset + bytes.len() as u64, "the file is cut off"));
        }
        crc = crc32c_append(crc, &bytes);
        offset += length as u64;
        inner.shard.yield_now().await;
    }
    if crc != footer.content_crc {
        return Err(damaged(table.path(), content, "the checksum of the whole file is wrong"));
    }
    report.files += 1;
    report.bytes += FOOTER_BYTES as u64 + content - footer.filter.offset;
    Ok(())
}

fn check_block(table: &Table, block: &Block, handle: BlockHandle, last_key: &[u8]) -> Result<(), StoreError> {
    if !block.is_ascending() {
        return Err(damaged(table.path(), handle.offset, "keys are out of order"));
    }
    if block.key(block.len() - 1) != last_key {
        return Err(damaged(table.path(), handle.offset, "a block does not end with the key that the index says"));
    }
    Ok(())
}

#[derive(Default)]
struct Walk {
    /// Where the next block must begin.
    end: u64,
    rows: u64,
    raw_bytes: u64,
    key_first: Vec<u8>,
    key_last: Vec<u8>,
    summary: RowSummary,
    /// Of the keys, and how many of them differ.
    prefix: KeyPrefix,
    prefixes: u64,
    prefix_last: Vec<u8>,
}

impl Walk {
    fn follows(&mut self, table: &Table, handle: BlockHandle) -> Result<(), StoreError> {
        if handle.offset != self.end {
            return Err(damaged(table.path(), self.end, format!("the next block begins at {}", handle.offset)));
        }
        self.end = handle.offset + u64::from(handle.length);
        Ok(())
    }

    /// Checks the data blocks that an index block names.
    async fn children(
        &mut self,
        inner: &Inner,
        table: &Table,
        index: &Block,
        found_at: BlockHandle,
        report: &mut VerifyReport,
        done: &mut dyn FnMut(u64),
    ) -> Result<(), StoreError> {
        let mut ahead = ReadAhead::default();
        for at in 0..index.len() {
            let handle = table.handle(index, at, found_at)?;
            self.follows(table, handle)?;
            let block = table.block(handle, &inner.cache, Some(&mut ahead)).await?;
            check_block(table, &block, handle, index.key(at))?;
            if self.rows > 0 && block.key(0) <= self.key_last.as_slice() {
                return Err(damaged(table.path(), handle.offset, "keys are out of order"));
            }
            if self.rows == 0 {
                self.key_first = block.key(0).to_vec();
            }
            for at in 0..block.len() {
                if !table.may_contain(bloom::key_hash(block.key(at))) {
                    return Err(damaged(table.path(), table.footer().filter.offset, "the filter misses a key"));
                }
                if let Some(prefix) = self.prefix.of(block.key(at))
                    && (self.prefixes == 0 || self.prefix_last != prefix)
                {
                    self.prefixes += 1;
                    self.prefix_last = prefix.to_vec();
                }
                let row = block.row_bytes(at);
                let summary = summarize_row(&row)
                    .map_err(|error| damaged(table.path(), handle.offset, format!("a row: {}", error.detail)))?;
                self.summary.add(&summary);
                self.raw_bytes += (block.key(at).len() + row.len()) as u64;
            }
            self.rows += block.len() as u64;
            self.key_last = block.key(block.len() - 1).to_vec();
            report.blocks += 1;
            report.rows += block.len() as u64;
            report.bytes += u64::from(handle.length);
            done(report.bytes);
            inner.shard.yield_now().await;
        }
        Ok(())
    }

    fn check_properties(&mut self, table: &Table) -> Result<(), StoreError> {
        let properties = table.properties();
        let wrong = |what: &str| {
            let offset = table.footer().properties.offset;
            Err(damaged(table.path(), offset, format!("the properties state another {what} than the table has")))
        };
        for range in table.ranges().fragments() {
            self.summary.add_deletion(&range.deletion);
        }
        let counted = properties.prefixes > 0 && properties.prefix_id == self.prefix.id();
        if counted && properties.prefixes != self.prefixes {
            return wrong("number of prefixes");
        }
        if properties.rows != self.rows || properties.raw_bytes != self.raw_bytes {
            return wrong("number of rows");
        }
        let summary = &self.summary;
        if (properties.timestamp_min, properties.timestamp_max) != (summary.timestamp_min, summary.timestamp_max)
            || properties.live_until_seconds != summary.live_until_seconds
            || properties.deleted_last_seconds != summary.deleted_last_seconds
        {
            return wrong("span of time");
        }
        if properties.tombstones != summary.tombstones {
            return wrong("number of tombstones");
        }
        if self.rows > 0 && !(properties.spans(&self.key_first) && properties.spans(&self.key_last)) {
            return wrong("span of keys");
        }
        Ok(())
    }
}
