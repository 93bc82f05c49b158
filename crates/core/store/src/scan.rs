//! Reads: one key, or a page of a range.

use crate::bloom;
use crate::cursor::{MemoryCursor, Merge, RunCursor, Source};
use crate::error::{Malformed, StoreError};
use crate::inner::Inner;
use crate::limits::SLICE_ROWS;
use crate::memtable::Patches;
use crate::range::{RangeSet, RangeTombstone};
use crate::read::{KeyRange, Page, ScanOptions, key_after};
use crate::row::{Deletion, Row};
use crate::row_codec::decode_row;
use crate::tree::{Tree, View};
use bytes::Bytes;

/// Merges the patches of a key. They passed the checksum of their block, or came through the front door.
pub fn merge_patches(patches: &[Bytes]) -> Result<Row, Malformed> {
    let mut rows = patches.iter();
    let Some(first) = rows.next() else { return Ok(Row::default()) };
    let mut row = decode_row(first)?;
    for patch in rows {
        row = row.merge(decode_row(patch)?);
    }
    Ok(row)
}

fn undecodable(tree: &Tree, error: Malformed) -> StoreError {
    crate::error::damaged(&tree.directory, error.offset as u64, format!("a row cannot be decoded: {}", error.detail))
}

/// The merged row of a key with the deletion of the ranges it lies in; `None` if there is neither.
pub async fn get_merged(inner: &Inner, tree: &Tree, key: &[u8]) -> Result<(Option<Row>, Option<Deletion>), StoreError> {
    tree.damages.check_readable()?;
    let View { version, memtables } = tree.view();
    let hash = bloom::key_hash(key);
    let mut patches = Patches::new();
    let mut deletion = None;
    for run in &version.runs {
        let Some(table) = run.find(key) else { continue };
        deletion = Deletion::later(deletion, table.ranges().covering(key));
        if !table.may_contain(hash) {
            inner.counters.bloom_skips.add(1);
            continue;
        }
        patches.extend(table.get(key, &inner.cache).await?);
    }
    // Memory comes last and without a wait in between: a mutation that was applied meanwhile is seen whole.
    for memtable in &memtables {
        deletion = Deletion::later(deletion, memtable.covering(key));
        if let Some(found) = memtable.get(key) {
            patches.extend(found);
        }
    }
    inner.counters.gets.add(1);
    inner.counters.rows_examined.add(patches.len() as u64);
    if patches.is_empty() {
        return Ok((None, deletion));
    }
    Ok((Some(merge_patches(&patches).map_err(|error| undecodable(tree, error))?), deletion))
}

/// Where the deleted ranges of a view are looked up.
struct Ranges<'a> {
    view: &'a View,
    any: bool,
}

impl<'a> Ranges<'a> {
    fn new(view: &'a View) -> Self {
        let any = view.version.tables().any(|table| !table.ranges().is_empty())
            || view.memtables.iter().any(|memtable| memtable.has_ranges());
        Ranges { view, any }
    }

    fn covering(&self, key: &[u8]) -> Option<Deletion> {
        let mut deletion = None;
        if self.any {
            for run in &self.view.version.runs {
                deletion = Deletion::later(deletion, run.find(key).and_then(|table| table.ranges().covering(key)));
            }
        }
        for memtable in &self.view.memtables {
            deletion = Deletion::later(deletion, memtable.covering(key));
        }
        deletion
    }

    /// The deleted ranges in `range`, cut to it.
    fn within(&self, range: &KeyRange) -> Vec<RangeTombstone> {
        let mut set = RangeSet::default();
        let end = range.end.as_deref();
        for table in self.view.version.tables() {
            for fragment in table.ranges().overlapping(&range.start, end) {
                set.add(cut(fragment.clone(), range));
            }
        }
        for memtable in &self.view.memtables {
            for fragment in memtable.ranges().overlapping(&range.start, end) {
                set.add(cut(fragment, range));
            }
        }
        set.iter().collect()
    }
}

/// The part of a deleted range that lies in `range`.
pub fn cut(mut fragment: RangeTombstone, range: &KeyRange) -> RangeTombstone {
    if fragment.start < range.start {
        fragment.start = range.start.clone();
    }
    if let Some(end) = &range.end
        && fragment.end > *end
    {
        fragment.end = end.clone();
    }
    fragment
}

/// One page of a range.
pub async fn scan(inner: &Inner, tree: &Tree, range: KeyRange, options: &ScanOptions) -> Result<Page, StoreError> {
    scan_view(inner, tree, &tree.view(), range, options).await
}

/// One page of a range, of what a view holds.
pub async fn scan_view(
    inner: &Inner,
    tree: &Tree,
    view: &View,
    range: KeyRange,
    options: &ScanOptions,
) -> Result<Page, StoreError> {
    let mut page = Page::default();
    if range.is_empty() {
        return Ok(page);
    }
    tree.damages.check_readable()?;
    let ranges = Ranges::new(view);
    let mut merge = sources(tree, view, &range, options);
    let mut patches = Patches::new();
    let (mut bytes, mut examined) = (0usize, 0usize);
    let mut scanned = range.clone();
    while let Some(key) = merge.next(&mut patches, &inner.cache).await? {
        examined += patches.len();
        let mut row = merge_patches(&patches).map_err(|error| undecodable(tree, error))?;
        // Replicas that hold the same end their pages at the same place, however many patches each has of it.
        let size = key.len()
            + match options.keep_tombstones {
                true => row.value_bytes(),
                false => patches.iter().map(Bytes::len).sum::<usize>(),
            };
        let deletion = ranges.covering(&key);
        let kept = if options.keep_tombstones {
            row.drop_covered(deletion);
            (!row.is_empty()).then_some(row)
        } else {
            row.visible(deletion, options.now_seconds)
        };
        let taken = usize::from(kept.is_some());
        bytes += size * taken;
        let full = page.rows.len() + taken >= options.rows_max
            || bytes >= options.bytes_max
            || examined >= options.examined_max;
        if full {
            page.rest = Some(split(&mut scanned, &key, options.reverse)).filter(|rest| !rest.is_empty());
        }
        page.rows.extend(kept.map(|row| (key, row)));
        if full {
            break;
        }
        if examined % SLICE_ROWS < patches.len() {
            inner.shard.yield_now().await;
        }
    }
    if options.keep_tombstones {
        page.ranges = ranges.within(&scanned);
    }
    inner.counters.scan_pages.add(1);
    inner.counters.rows_examined.add(examined as u64);
    Ok(page)
}

/// One page over several disjoint ranges, in the order given, of a view or of the tree as it is; the rest of them comes back
/// with it. The `rest` of the page itself is `None`.
pub async fn scan_ranges(
    inner: &Inner,
    tree: &Tree,
    view: Option<&View>,
    ranges: Vec<KeyRange>,
    options: ScanOptions,
) -> Result<(Page, Vec<KeyRange>), StoreError> {
    let mut whole = Page::default();
    let mut rest = Vec::new();
    let mut left = options;
    let mut full = false;
    for range in ranges {
        if full {
            rest.push(range);
            continue;
        }
        let mut page = match view {
            Some(view) => scan_view(inner, tree, view, range, &left).await?,
            None => scan(inner, tree, range, &left).await?,
        };
        left.rows_max = left.rows_max.saturating_sub(page.rows.len());
        let bytes: usize = page.rows.iter().map(|(key, row)| key.len() + row.value_bytes()).sum();
        left.bytes_max = left.bytes_max.saturating_sub(bytes);
        whole.rows.append(&mut page.rows);
        whole.ranges.append(&mut page.ranges);
        full = page.rest.is_some() || left.rows_max == 0 || left.bytes_max == 0;
        rest.extend(page.rest);
    }
    Ok((whole, rest))
}

/// Cuts what was scanned at the last key, and gives the rest.
fn split(scanned: &mut KeyRange, key: &Bytes, reverse: bool) -> KeyRange {
    if reverse {
        let rest = KeyRange { start: scanned.start.clone(), end: Some(key.clone()) };
        scanned.start = key.clone();
        rest
    } else {
        let after = key_after(key);
        let rest = KeyRange { start: after.clone(), end: scanned.end.clone() };
        scanned.end = Some(after);
        rest
    }
}

fn sources(tree: &Tree, view: &View, range: &KeyRange, options: &ScanOptions) -> Merge {
    let prefix = tree.options().prefix;
    let prefix_hash = prefix.of(&range.start).filter(|_| options.one_prefix).map(bloom::prefix_hash);
    let mut sources = Vec::with_capacity(view.version.runs.len() + view.memtables.len());
    for memtable in &view.memtables {
        if !memtable.is_empty() {
            let limit = options.rows_max.saturating_add(1);
            let cursor = MemoryCursor::new(memtable.clone(), range.clone(), options.reverse, limit);
            sources.push(Source::Memory(cursor));
        }
    }
    for run in &view.version.runs {
        let overlaps = run.span().is_some_and(|(first, last)| {
            last >= range.start.as_ref() && range.end.as_ref().is_none_or(|end| first < end.as_ref())
        });
        if overlaps {
            let cursor = RunCursor::new(run.clone(), range.clone(), options.reverse, prefix_hash, false);
            sources.push(Source::Run(cursor));
        }
    }
    Merge::new(sources, options.reverse)
}
