//! Pages of several replicas as one: merged row by row, and what each of them lacks.
//!
//! A replica answers with the beginning of what was asked for and says what is left. Of several answers only the part that all
//! of them have read can be trusted: a row behind it may be deleted on the replica that did not come so far. So
//! the merged page ends where the first of them ended, and the rest is asked for again (*short-read protection*).
//!
//! Merging is commutative, associative and idempotent, so the order of answers means nothing.

use crate::limits::REPAIR_BYTES;
use crate::message::{ReadAnswer, ReadRequest};
use crate::plant;
use bytes::Bytes;
use holon_store::{
    CellKind, Deletion, KeyRange, Mutation, MutationBuilder, RangeSet, RangeTombstone, Row, StoreError, row_bytes,
};
use std::collections::BTreeMap;
use std::hash::Hasher;
use xxhash_rust::xxh3::Xxh3;

/// What several replicas know together.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    /// Ascending by key, whatever the order of the request; with all their deletions but what those cover.
    pub rows: BTreeMap<Bytes, Row>,
    pub deleted: RangeSet,
    /// What of the request none or not all of them have read.
    pub rest: Vec<KeyRange>,
}

/// How much is left: more ranges first, then more of the first one.
fn is_behind(one: &[KeyRange], other: &[KeyRange], reverse: bool) -> bool {
    match (one.first(), other.first()) {
        _ if one.len() != other.len() => one.len() > other.len(),
        (Some(a), Some(b)) if reverse => match (&a.end, &b.end) {
            (Some(a), Some(b)) => a > b,
            (None, Some(_)) => true,
            _ => false,
        },
        (Some(a), Some(b)) => a.start < b.start,
        _ => false,
    }
}

/// Of the ranges of a request those parts that are not in `rest`.
fn covered(ranges: &[KeyRange], rest: &[KeyRange], reverse: bool) -> Vec<KeyRange> {
    let read = ranges.len().saturating_sub(rest.len());
    let mut covered = ranges[..read].to_vec();
    if let (Some(cut), Some(begun)) = (rest.first(), ranges.get(read)) {
        let part = if reverse {
            KeyRange { start: cut.end.clone().unwrap_or_else(|| begun.start.clone()), end: begun.end.clone() }
        } else {
            KeyRange { start: begun.start.clone(), end: Some(cut.start.clone()) }
        };
        // A range of which nothing was read is in the rest as it was.
        if !part.is_empty() && (!reverse || cut.end.is_some()) && *cut != *begun {
            covered.push(part);
        }
    }
    covered
}

fn cut_to(tombstone: &RangeTombstone, range: &KeyRange) -> Option<RangeTombstone> {
    let start = tombstone.start.clone().max(range.start.clone());
    let end = range.end.as_ref().map_or(tombstone.end.clone(), |end| tombstone.end.clone().min(end.clone()));
    (start < end).then_some(RangeTombstone { start, end, deletion: tombstone.deletion })
}

/// Merges answers to one request.
pub fn merge<'a>(request: &ReadRequest, pages: impl Iterator<Item = &'a ReadAnswer> + Clone) -> Merged {
    let mut ends = pages.clone().map(|page| page.rest.as_slice());
    let mut rest = ends.next().unwrap_or_default();
    for end in ends {
        // The one furthest behind; the furthest ahead, if that bug is planted.
        let (behind, other) = if plant::get().trust_short_reads { (rest, end) } else { (end, rest) };
        if is_behind(behind, other, request.reverse) {
            rest = end;
        }
    }
    let read = covered(&request.ranges, rest, request.reverse);
    let mut merged = Merged { rest: rest.to_vec(), ..Merged::default() };
    for page in pages.clone() {
        for range in &read {
            page.deleted.iter().filter_map(|tombstone| cut_to(tombstone, range)).for_each(|part| {
                merged.deleted.add(part);
            });
        }
    }
    for page in pages {
        for (key, row) in page.rows.iter().filter(|(key, _)| !rest.iter().any(|range| range.contains(key))) {
            let known = merged.rows.remove(key).unwrap_or_default();
            merged.rows.insert(key.clone(), known.merge(row.clone()));
        }
    }
    let deleted = &merged.deleted;
    merged.rows.retain(|key, row| {
        row.drop_covered(deleted.covering(key));
        !row.is_empty()
    });
    merged
}

impl Merged {
    /// What a reader sees, in the order of the request.
    pub fn visible(self, request: &ReadRequest) -> ReadAnswer {
        let Merged { rows, deleted, rest } = self;
        let visible = |(key, row): (Bytes, Row)| {
            let row = row.visible(deleted.covering(&key), request.now_seconds)?;
            Some((key, row))
        };
        let mut rows: Vec<(Bytes, Row)> = rows.into_iter().filter_map(visible).collect();
        in_order(&mut rows, request);
        ReadAnswer { rows, deleted: Vec::new(), rest }
    }

    /// Everything, deletions and all, as mutations.
    ///
    /// # Errors
    /// A row that is larger than a mutation may be; it came in one, so there is none.
    pub fn mutations(&self) -> Result<Vec<Mutation>, StoreError> {
        self.lacking(&ReadAnswer::default(), i64::MIN)
    }

    /// What brings the replica that answered with `page` up to this. Deletions from before `purgeable_seconds` alone
    /// are no difference.
    ///
    /// # Errors
    /// As for [`Merged::mutations`].
    pub fn lacking(&self, page: &ReadAnswer, purgeable_seconds: i64) -> Result<Vec<Mutation>, StoreError> {
        let mut theirs = RangeSet::default();
        page.deleted.iter().for_each(|tombstone| {
            theirs.add(tombstone.clone());
        });
        let has = |ours: &RangeTombstone| {
            let parts: Vec<RangeTombstone> = theirs.overlapping(&ours.start, Some(&ours.end)).collect();
            let mut reached = ours.start.clone();
            for part in parts.iter().filter(|part| part.deletion >= ours.deletion) {
                if part.start <= reached {
                    reached = reached.max(part.end.clone());
                }
            }
            reached >= ours.end
        };
        let mut builder = Chunks::default();
        for ours in self.deleted.iter().filter(|ours| ours.deletion.local_seconds >= purgeable_seconds) {
            if !has(&ours) {
                builder.range(ours)?;
            }
        }
        let known: BTreeMap<&Bytes, &Row> = page.rows.iter().map(|(key, row)| (key, row)).collect();
        for (key, ours) in &self.rows {
            let same = known.get(key).is_some_and(|theirs| {
                let mut theirs = (*theirs).clone();
                theirs.drop_covered(self.deleted.covering(key));
                same_but_for_purgeable(&theirs, ours, purgeable_seconds)
            });
            let nothing = || without_purgeable(ours.clone(), purgeable_seconds).is_empty();
            if !same && (known.contains_key(key) || !nothing()) {
                builder.row(key, ours)?;
            }
        }
        builder.finish()
    }
}

/// Mutations of bounded size.
#[derive(Default)]
struct Chunks {
    done: Vec<Mutation>,
    builder: MutationBuilder,
    bytes: usize,
}

impl Chunks {
    fn row(&mut self, key: &Bytes, row: &Row) -> Result<(), StoreError> {
        self.builder.row(key, row);
        self.grow(key.len() + row.value_bytes())
    }

    fn range(&mut self, range: RangeTombstone) -> Result<(), StoreError> {
        let bytes = range.start.len() + range.end.len();
        self.builder.delete_range(range);
        self.grow(bytes)
    }

    fn grow(&mut self, bytes: usize) -> Result<(), StoreError> {
        self.bytes += bytes + 16;
        if self.bytes >= REPAIR_BYTES {
            self.done.push(std::mem::take(&mut self.builder).finish()?);
            self.bytes = 0;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Mutation>, StoreError> {
        if self.bytes > 0 {
            self.done.push(self.builder.finish()?);
        }
        Ok(self.done)
    }
}

/// Rows by key to rows in the order of the request.
fn in_order(rows: &mut [(Bytes, Row)], request: &ReadRequest) {
    if request.reverse {
        rows.reverse();
    }
    let ascending = request.ranges.windows(2).all(|pair| pair[0].start <= pair[1].start);
    let descending = request.ranges.windows(2).all(|pair| pair[0].start >= pair[1].start);
    if request.ranges.len() > 1 && !(if request.reverse { descending } else { ascending }) {
        // Ranges are disjoint: each row has its place by the range it lies in. The sort is stable.
        let place = |key: &Bytes| request.ranges.iter().position(|range| range.contains(key));
        rows.sort_by_key(|(key, _)| place(key));
    }
}

fn purgeable(deletion: Deletion, before_seconds: i64) -> bool {
    deletion.local_seconds < before_seconds
}

/// A row without what a compaction may have removed by now on one replica and not on another.
fn without_purgeable(mut row: Row, before_seconds: i64) -> Row {
    row.deletion = row.deletion.filter(|deletion| !purgeable(*deletion, before_seconds));
    row.column_deletions.retain(|(_, deletion)| !purgeable(*deletion, before_seconds));
    row.marker =
        row.marker.filter(|marker| marker.expiry.is_none_or(|expiry| expiry.expires_at_seconds >= before_seconds));
    row.cells.retain(|entry| match entry.cell.kind {
        CellKind::Live => true,
        CellKind::Expiring(expiry) => expiry.expires_at_seconds >= before_seconds,
        CellKind::Tombstone { local_seconds } => local_seconds >= before_seconds,
    });
    row
}

fn same_but_for_purgeable(one: &Row, other: &Row, before_seconds: i64) -> bool {
    one == other || without_purgeable(one.clone(), before_seconds) == without_purgeable(other.clone(), before_seconds)
}

/// Deleted ranges in as few pieces as can be: one replica may have got in parts what another got whole.
fn joined<'a>(ranges: impl Iterator<Item = &'a RangeTombstone>) -> Vec<RangeTombstone> {
    let mut joined: Vec<RangeTombstone> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.end == range.start && last.deletion == range.deletion => last.end = range.end.clone(),
            _ => joined.push(range.clone()),
        }
    }
    joined
}

/// Equal for pages that say the same, whichever replica answered. Not meant against attackers.
pub fn digest(page: &ReadAnswer, purgeable_seconds: i64) -> u128 {
    let mut hash = Xxh3::new();
    let mut put = |bytes: &[u8]| {
        hash.write_usize(bytes.len());
        hash.update(bytes);
    };
    for (key, row) in &page.rows {
        let row = without_purgeable(row.clone(), purgeable_seconds);
        if !row.is_empty() {
            put(key);
            put(&row_bytes(&row));
        }
    }
    for range in joined(page.deleted.iter().filter(|range| !purgeable(range.deletion, purgeable_seconds))) {
        put(&range.start);
        put(&range.end);
        put(&range.deletion.timestamp.to_be_bytes());
    }
    for range in &page.rest {
        put(&range.start);
        put(range.end.as_deref().unwrap_or_default());
    }
    hash.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;
    use holon_store::{Cell, CellEntry};
    use proptest::prelude::*;

    const NOW: i64 = 1000;

    fn key(number: u8) -> Bytes {
        vec![number].into()
    }

    /// One write: of a value, a row deletion or a range deletion, at a timestamp.
    #[derive(Clone, Debug)]
    enum Write {
        Value(u8, i64, u8),
        DeleteRow(u8, i64),
        DeleteRange(u8, u8, i64),
    }

    fn writes() -> impl Strategy<Value = Vec<(Write, u8)>> {
        let one = prop_oneof![
            (0u8..12, 0i64..20, 0u8..4).prop_map(|(at, time, value)| Write::Value(at, time, value)),
            (0u8..12, 0i64..20).prop_map(|(at, time)| Write::DeleteRow(at, time)),
            (0u8..12, 0u8..13, 0i64..20).prop_map(|(from, to, time)| Write::DeleteRange(from, to, time)),
        ];
        // With each write the replicas (of three) that have it.
        prop::collection::vec((one, 0u8..8), 0..30)
    }

    #[derive(Clone, Default)]
    struct Replica {
        rows: BTreeMap<Bytes, Row>,
        deleted: RangeSet,
    }

    impl Replica {
        fn take(&mut self, write: &Write) {
            match *write {
                Write::Value(at, timestamp, value) => {
                    let mut row = Row::default();
                    row.put(CellEntry::new(1, Cell::live(timestamp, vec![value])));
                    self.patch(key(at), row);
                }
                Write::DeleteRow(at, timestamp) => {
                    let deletion = Some(Deletion { timestamp, local_seconds: NOW });
                    self.patch(key(at), Row { deletion, ..Row::default() });
                }
                Write::DeleteRange(from, to, timestamp) => {
                    let deletion = Deletion { timestamp, local_seconds: NOW };
                    self.deleted.add(RangeTombstone { start: key(from), end: key(to), deletion });
                }
            }
        }

        fn patch(&mut self, key: Bytes, patch: Row) {
            let row = self.rows.remove(&key).unwrap_or_default().merge(patch);
            self.rows.insert(key, row);
        }

        fn apply(&mut self, mutation: &Mutation) {
            for (key, patch) in mutation.rows().expect("well formed") {
                self.patch(key, patch);
            }
            mutation.ranges().iter().for_each(|range| {
                self.deleted.add(range.clone());
            });
        }

        /// As [`crate::serve::read`] answers a full request.
        fn answer(&self, request: &ReadRequest) -> ReadAnswer {
            let mut answer = ReadAnswer::default();
            let mut left = request.rows_max as usize;
            for range in &request.ranges {
                if left == 0 {
                    answer.rest.push(range.clone());
                    continue;
                }
                let mut inside: Vec<&Bytes> = self.rows.keys().filter(|key| range.contains(key)).collect();
                if request.reverse {
                    inside.reverse();
                }
                let mut read = range.clone();
                for key in inside {
                    let mut row = self.rows[key].clone();
                    row.drop_covered(self.deleted.covering(key));
                    if row.is_empty() {
                        continue;
                    }
                    answer.rows.push((key.clone(), row));
                    left -= 1;
                    if left == 0 {
                        let rest = if request.reverse {
                            read.start = key.clone();
                            KeyRange { start: range.start.clone(), end: Some(key.clone()) }
                        } else {
                            let after = holon_store::key_after(key);
                            read.end = Some(after.clone());
                            KeyRange { start: after, end: range.end.clone() }
                        };
                        answer.rest.extend(Some(rest).filter(|rest| !rest.is_empty()));
                        break;
                    }
                }
                let inside = self.deleted.iter().filter_map(|tombstone| cut_to(&tombstone, &read));
                answer.deleted.extend(inside);
            }
            answer
        }

        fn visible(&self, key: &Bytes) -> Option<Row> {
            self.rows.get(key).cloned()?.visible(self.deleted.covering(key), NOW)
        }
    }

    fn requests() -> impl Strategy<Value = ReadRequest> {
        (1u32..8, any::<bool>(), 0u8..12, any::<bool>()).prop_map(|(rows_max, reverse, at, split)| {
            let mut ranges = vec![KeyRange::all()];
            if split {
                ranges =
                    vec![KeyRange { start: Bytes::new(), end: Some(key(at)) }, KeyRange { start: key(at), end: None }];
                if reverse {
                    ranges.reverse();
                }
            }
            ranges.retain(|range| !range.is_empty());
            ReadRequest { rows_max, reverse, ..ReadRequest::all_of(ranges, NOW) }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

        /// Page by page, three replicas of which each missed writes give exactly what one that has all of them would;
        /// and what each lacks, sent to it, makes it answer like the others.
        #[test]
        fn merged_pages_show_what_all_know_and_repairs_make_them_equal(writes in writes(), request in requests()) {
            let mut replicas = vec![Replica::default(); 3];
            let mut all = Replica::default();
            for (write, missed) in &writes {
                // Some replica has it; which did not get it is chance.
                for (at, replica) in replicas.iter_mut().enumerate().filter(|(at, _)| *missed == 7 || missed >> at & 1 == 0) {
                    let _ = at;
                    replica.take(write);
                }
                all.take(write);
            }
            // A write nobody has (missed by all three) is not known.
            for (write, missed) in &writes {
                if *missed == 7 { replicas[0].take(write) }
            }
            let mut left = request.clone();
            let mut seen = Vec::new();
            let mut pages = 0;
            while !left.ranges.is_empty() {
                pages += 1;
                prop_assert!(pages < 200, "no progress: {:?}", left.ranges);
                let answers: Vec<ReadAnswer> = replicas.iter().map(|replica| replica.answer(&left)).collect();
                let merged = merge(&left, answers.iter());
                for (replica, answer) in replicas.iter_mut().zip(&answers) {
                    for mutation in merged.lacking(answer, i64::MIN).expect("small") {
                        replica.apply(&mutation);
                    }
                }
                let visible = merged.visible(&left);
                seen.extend(visible.rows);
                left.ranges = visible.rest;
            }
            let mut expected: Vec<(Bytes, Row)> =
                all.rows.keys().filter_map(|key| Some((key.clone(), all.visible(key)?))).collect();
            if request.reverse { expected.reverse() }
            prop_assert_eq!(seen, expected);
            // Read to the end, all are the same now, and no digest differs.
            let whole = ReadRequest { rows_max: 1000, ..ReadRequest::all_of(vec![KeyRange::all()], NOW) };
            let digests: Vec<u128> = replicas.iter().map(|replica| digest(&replica.answer(&whole), i64::MIN)).collect();
            prop_assert_eq!(digests[0], digests[1]);
            prop_assert_eq!(digests[0], digests[2]);
        }
    }

    /// Of the two only one has purged a deletion: nothing differs, unless the other still holds what was deleted.
    #[test]
    fn purged_deletions_are_no_difference_but_what_they_covered_is() {
        let before = 500;
        let deletion = Deletion { timestamp: 7, local_seconds: 100 };
        let dead = Row { deletion: Some(deletion), ..Row::default() };
        let with = |row: Row| ReadAnswer { rows: vec![(key(1), row)], ..ReadAnswer::default() };
        let (one, other) = (with(dead.clone()), ReadAnswer::default());
        assert_eq!(digest(&one, before), digest(&other, before));
        let request = ReadRequest { purgeable_seconds: before, ..ReadRequest::all_of(vec![KeyRange::all()], NOW) };
        let merged = merge(&request, [&one, &other].into_iter());
        assert!(merged.lacking(&other, before).expect("small").is_empty());
        let mut alive = Row::default();
        alive.put(CellEntry::new(1, Cell::live(6, &b"old"[..])));
        let other = with(alive);
        assert_ne!(digest(&one, before), digest(&other, before));
        let merged = merge(&request, [&one, &other].into_iter());
        assert_eq!(merged.lacking(&other, before).expect("small").len(), 1, "the deletion must reach it");
        assert!(merged.visible(&request).rows.is_empty());
    }
}
