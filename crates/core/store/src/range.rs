//! Deletions of ranges of keys: `[start, end)` up to a timestamp. A partition deletion is one over the partition's
//! prefix.
//!
//! A set of them is kept fragmented: fragments are disjoint and sorted, each with the latest deletion that covers it.
//! That loses nothing, since an older deletion under a later one changes no read and no merge.

use crate::row::Deletion;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput};
use std::collections::BTreeMap;
use std::ops::Bound;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeTombstone {
    /// Inclusive.
    pub start: Bytes,
    /// Exclusive.
    pub end: Bytes,
    pub deletion: Deletion,
}

impl RangeTombstone {
    /// `start:prefixed end:prefixed timestamp:svarint local:svarint`, as in mutations and messages.
    pub fn write(&self, out: &mut ByteWriter) {
        out.put_prefixed(&self.start);
        out.put_prefixed(&self.end);
        out.put_signed_varint(self.deletion.timestamp);
        out.put_signed_varint(self.deletion.local_seconds);
    }

    /// # Errors
    /// Bytes that are cut.
    pub fn read(input: &mut ByteReader) -> Result<RangeTombstone, ShortInput> {
        let (start, end) = (input.prefixed()?, input.prefixed()?);
        let deletion = Deletion { timestamp: input.signed_varint()?, local_seconds: input.signed_varint()? };
        Ok(RangeTombstone { start, end, deletion })
    }
}

/// The first key after all keys that begin with `prefix`; `None` if there is none (all bytes are 0xff).
pub fn prefix_end(prefix: &[u8]) -> Option<Bytes> {
    let keep = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(end.into())
}

/// A growing set of fragments, for memtables and merges.
#[derive(Clone, Debug, Default)]
pub struct RangeSet {
    /// Start → (end, deletion).
    fragments: BTreeMap<Bytes, (Bytes, Deletion)>,
}

impl RangeSet {
    pub fn is_empty(&self) -> bool {
        self.fragments.is_empty()
    }

    /// Adds a deletion; an empty or inverted range adds nothing. Returns the bytes of memory this took (an estimate).
    pub fn add(&mut self, range: RangeTombstone) -> usize {
        let RangeTombstone { start, end, deletion } = range;
        if start >= end {
            return 0;
        }
        let before = self.fragments.len();
        self.split_at(&start);
        self.split_at(&end);
        // After the splits every fragment that begins inside lies inside.
        let inside: Vec<(Bytes, Bytes, Deletion)> = self
            .fragments
            .range::<Bytes, _>((Bound::Included(&start), Bound::Excluded(&end)))
            .map(|(start, (end, deletion))| (start.clone(), end.clone(), *deletion))
            .collect();
        // `open`: where the part of the new range begins that no later deletion covers.
        let mut open = start;
        for (from, to, existing) in inside {
            if existing < deletion {
                self.fragments.remove(&from);
                continue;
            }
            if open < from {
                self.fragments.insert(open, (from, deletion));
            }
            open = to;
        }
        if open < end {
            self.fragments.insert(open, (end, deletion));
        }
        self.fragments.len().saturating_sub(before) * 112
    }

    fn split_at(&mut self, key: &Bytes) {
        let Some((start, (end, deletion))) = self.fragments.range::<Bytes, _>(..key).next_back() else { return };
        if end > key {
            let (start, end, deletion) = (start.clone(), end.clone(), *deletion);
            self.fragments.insert(start, (key.clone(), deletion));
            self.fragments.insert(key.clone(), (end, deletion));
        }
    }

    /// The deletion that covers `key`.
    pub fn covering(&self, key: &[u8]) -> Option<Deletion> {
        let (_, (end, deletion)) =
            self.fragments.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()?;
        (key < end.as_ref()).then_some(*deletion)
    }

    /// The fragments that touch `[start, end)` (`None`: without end), whole.
    pub fn overlapping<'a>(&'a self, start: &'a [u8], end: Option<&'a [u8]>) -> impl Iterator<Item = RangeTombstone> {
        let before = self.fragments.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(start))).next_back();
        let before = before.filter(move |(_, (end, _))| end.as_ref() > start);
        let upper = end.map_or(Bound::Unbounded, Bound::Excluded);
        let valid = end.is_none_or(|end| start < end);
        let inside = valid.then(|| self.fragments.range::<[u8], _>((Bound::Included(start), upper)));
        before.into_iter().filter(move |_| valid).chain(inside.into_iter().flatten()).map(|(start, (end, deletion))| {
            RangeTombstone { start: start.clone(), end: end.clone(), deletion: *deletion }
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = RangeTombstone> + '_ {
        self.fragments.iter().map(|(start, (end, deletion))| RangeTombstone {
            start: start.clone(),
            end: end.clone(),
            deletion: *deletion,
        })
    }
}

/// A fixed, sorted list of fragments, as a table holds it.
#[derive(Clone, Debug, Default)]
pub struct RangeList {
    fragments: Vec<RangeTombstone>,
}

impl RangeList {
    /// `None` if the fragments overlap, are empty or are out of order.
    pub fn new(fragments: Vec<RangeTombstone>) -> Option<Self> {
        let ordered = fragments.windows(2).all(|pair| pair[0].end <= pair[1].start);
        (ordered && fragments.iter().all(|fragment| fragment.start < fragment.end)).then_some(RangeList { fragments })
    }

    pub fn is_empty(&self) -> bool {
        self.fragments.is_empty()
    }

    pub fn fragments(&self) -> &[RangeTombstone] {
        &self.fragments
    }

    pub fn covering(&self, key: &[u8]) -> Option<Deletion> {
        if self.fragments.is_empty() {
            return None;
        }
        let after = self.fragments.partition_point(|fragment| fragment.start.as_ref() <= key);
        let fragment = &self.fragments[after.checked_sub(1)?];
        (key < fragment.end.as_ref()).then_some(fragment.deletion)
    }

    /// The fragments that touch `[start, end)`, whole.
    pub fn overlapping(&self, start: &[u8], end: Option<&[u8]>) -> &[RangeTombstone] {
        let from = self.fragments.partition_point(|fragment| fragment.end.as_ref() <= start);
        let to = end.map_or(self.fragments.len(), |end| {
            self.fragments.partition_point(|fragment| fragment.start.as_ref() < end)
        });
        self.fragments.get(from..to).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(number: u8) -> Bytes {
        vec![number].into()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

        /// Every key has the latest deletion of the ranges it lies in; fragments are disjoint, ascending and not empty.
        #[test]
        fn fragments_say_what_the_ranges_say(
            ranges in prop::collection::vec((0u8..24, 0u8..24, 0i64..6, 0i64..3), 0..24),
            from in 0u8..24,
            to in 0u8..24,
        ) {
            let mut set = RangeSet::default();
            let mut plain = Vec::new();
            for (start, end, timestamp, local_seconds) in ranges {
                let deletion = Deletion { timestamp, local_seconds };
                plain.push((start, end, deletion));
                set.add(RangeTombstone { start: key(start), end: key(end), deletion });
            }
            let list = RangeList::new(set.iter().collect()).expect("disjoint and ascending");
            for number in 0..25 {
                let inside = plain.iter().filter(|(start, end, _)| (*start..*end).contains(&number));
                let expected = inside.map(|(_, _, deletion)| *deletion).max();
                prop_assert_eq!(set.covering(&key(number)), expected);
                prop_assert_eq!(list.covering(&key(number)), expected);
            }
            let touches = |range: &RangeTombstone| range.end > key(from) && range.start < key(to) && from < to;
            let expected: Vec<RangeTombstone> = set.iter().filter(touches).collect();
            let found: Vec<RangeTombstone> = set.overlapping(&key(from), Some(&key(to))).collect();
            prop_assert_eq!(&found, &expected);
            if from < to {
                prop_assert_eq!(list.overlapping(&key(from), Some(&key(to))), expected.as_slice());
            }
        }
    }

    #[test]
    fn prefixes_end_before_the_next_prefix() {
        assert_eq!(prefix_end(b"ab").as_deref(), Some(b"ac".as_slice()));
        assert_eq!(prefix_end(&[1, 0xff, 0xff]).as_deref(), Some([2].as_slice()));
        assert_eq!(prefix_end(&[0xff, 0xff]), None);
        assert_eq!(prefix_end(b""), None);
    }
}
