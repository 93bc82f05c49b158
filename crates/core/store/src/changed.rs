//! Where in a tablet something may have changed since somebody looked, so that replicas need to be compared there only.
//!
//! The unit is the first two bytes of a key: of keys that begin with a hash, a 65,536th of all. Memory: 32 bytes for each first
//! byte that occurs. What is known is lost with the process: then it may be anywhere.

use crate::mutation::Mutation;
use crate::read::KeyRange;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput};
use std::collections::BTreeMap;

const WORDS: usize = 4;

/// Places in a tablet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    Anywhere,
    /// By the first byte of the keys: a bit for each second byte.
    At(BTreeMap<u8, [u64; WORDS]>),
}

fn unit(key: &[u8]) -> u16 {
    u16::from_be_bytes([key.first().copied().unwrap_or(0), key.get(1).copied().unwrap_or(0)])
}

/// The smallest key of a unit: a byte that is missing counts as 0.
fn least(unit: u16) -> Bytes {
    let bytes = unit.to_be_bytes();
    let length = if unit == 0 { 0 } else { 1 + usize::from(bytes[1] != 0) };
    Bytes::copy_from_slice(&bytes[..length])
}

impl Changed {
    pub fn nowhere() -> Changed {
        Changed::At(BTreeMap::new())
    }

    /// Wherever these ranges are.
    pub(crate) fn within(ranges: &[KeyRange]) -> Changed {
        let mut changed = Changed::nowhere();
        for KeyRange { start, end } in ranges {
            changed.put(unit(start), end.as_ref().map_or(u16::MAX, |end| unit(end)));
        }
        changed
    }

    pub(crate) fn add(&mut self, mutation: &Mutation) {
        for (key, _) in mutation.encoded_rows() {
            self.put(unit(key), unit(key));
        }
        for range in mutation.ranges() {
            self.put(unit(&range.start), unit(&range.end));
        }
    }

    fn put(&mut self, first: u16, last: u16) {
        let Changed::At(places) = self else { return };
        for unit in first..=last {
            let [high, low] = unit.to_be_bytes();
            places.entry(high).or_default()[usize::from(low) / 64] |= 1 << (low % 64);
        }
    }

    pub fn merge(&mut self, other: Changed) {
        match (&mut *self, other) {
            (Changed::At(ours), Changed::At(theirs)) => {
                for (high, words) in theirs {
                    let ours = ours.entry(high).or_default();
                    (0..WORDS).for_each(|at| ours[at] |= words[at]);
                }
            }
            (_, Changed::Anywhere) => *self = Changed::Anywhere,
            (Changed::Anywhere, _) => {}
        }
    }

    /// In ascending order, what adjoins as one.
    pub fn ranges(&self) -> Vec<KeyRange> {
        let Changed::At(places) = self else { return vec![KeyRange::all()] };
        let is_set = |words: &[u64; WORDS], low: u8| words[usize::from(low) / 64] >> (low % 64) & 1 == 1;
        let units = places.iter().flat_map(|(high, words)| {
            (0..=u8::MAX).filter(move |low| is_set(words, *low)).map(move |low| u16::from_be_bytes([*high, low]))
        });
        let mut spans: Vec<(u16, u16)> = Vec::new();
        for unit in units {
            match spans.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(unit) => *last = unit,
                _ => spans.push((unit, unit)),
            }
        }
        let range = |(first, last): (u16, u16)| KeyRange { start: least(first), end: last.checked_add(1).map(least) };
        spans.into_iter().map(range).collect()
    }

    /// Version 1: `0` for anywhere, or `1 count (first byte, 4 words)*`.
    pub fn put_to(&self, out: &mut ByteWriter) {
        match self {
            Changed::Anywhere => out.put_u8(0),
            Changed::At(places) => {
                out.put_u8(1);
                out.put_varint(places.len() as u64);
                for (high, words) in places {
                    out.put_u8(*high);
                    words.iter().for_each(|word| out.put_u64(*word));
                }
            }
        }
    }

    /// # Errors
    /// Bytes that [`Changed::put_to`] did not write.
    pub fn read(input: &mut ByteReader) -> Result<Changed, ShortInput> {
        let offset = input.offset();
        match input.u8()? {
            0 => Ok(Changed::Anywhere),
            1 => {
                let mut places = BTreeMap::new();
                for _ in 0..input.count()? {
                    let high = input.u8()?;
                    let mut words = [0; WORDS];
                    for word in &mut words {
                        *word = input.u64()?;
                    }
                    places.insert(high, words);
                }
                Ok(Changed::At(places))
            }
            _ => Err(ShortInput { offset }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(units: &[(u16, u16)]) -> Changed {
        let mut changed = Changed::nowhere();
        units.iter().for_each(|(first, last)| changed.put(*first, *last));
        changed
    }

    proptest! {
        #[test]
        fn each_key_that_was_put_is_in_one_range_and_no_other_unit_is(
            keys in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 0..20),
            asked in prop::collection::vec(any::<u8>(), 0..4),
        ) {
            let mut changed = Changed::nowhere();
            keys.iter().for_each(|key| changed.put(unit(key), unit(key)));
            let ranges = changed.ranges();
            for key in &keys {
                prop_assert_eq!(ranges.iter().filter(|range| range.contains(key)).count(), 1);
            }
            let is_near = keys.iter().any(|key| unit(key) == unit(&asked));
            prop_assert_eq!(ranges.iter().any(|range| range.contains(&asked)), is_near);
            prop_assert!(ranges.windows(2).all(|pair| pair[0].end.as_ref() < Some(&pair[1].start)));
            let mut out = ByteWriter::new();
            changed.put_to(&mut out);
            prop_assert_eq!(Changed::read(&mut ByteReader::new(out.freeze())), Ok(changed));
        }
    }

    #[test]
    fn what_adjoins_is_one_range_and_the_last_has_no_end() {
        let range = |start: &'static [u8], end: &'static [u8]| KeyRange::new(start, end);
        assert_eq!(of(&[(0x00ff, 0x0101)]).ranges(), [range(&[0, 255], &[1, 2])]);
        let last = KeyRange { start: Bytes::from_static(&[255, 254]), end: None };
        assert_eq!(of(&[(0, 0), (0xfffe, 0xffff)]).ranges(), [range(&[], &[0, 1]), last]);
        assert_eq!(Changed::nowhere().ranges(), []);
        assert_eq!(Changed::Anywhere.ranges(), [KeyRange::all()]);
    }

    #[test]
    fn merged_it_is_all_of_both() {
        let mut one = of(&[(1, 1)]);
        one.merge(of(&[(3, 3), (700, 700)]));
        assert_eq!(one, of(&[(1, 1), (3, 3), (700, 700)]));
        one.merge(Changed::Anywhere);
        assert_eq!(one, Changed::Anywhere);
        one.merge(of(&[(1, 1)]));
        assert_eq!(one, Changed::Anywhere);
    }
}
