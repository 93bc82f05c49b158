//! The transactions of a partition, as of what is in its log: where those begin that are open, and those that were aborted since the
//! segment began that is written to. Those of full segments are in the segments' files ([`crate::store::aborted`]).
//!
//! ```text
//!   offsets   ├─ segment ─┼─ segment ─┼─ segment that is written to ─┼─ memory ─┤ end
//!   aborted     its file     its file   ├─────────── here ─────────────────────┤
//!                                                 ▲ the first open one: the last stable offset (LSO)
//! ```
//! Whoever reads committed records gets none from the last stable offset on, and before it is told which transactions were aborted
//! (KIP-98). As Kafka's `ProducerStateManager` (`ongoingTxns`) and `TransactionIndex` have it.

use holon_base::{ByteReader, ByteWriter, ShortInput};
use holon_kafka::{BatchHeader, Marker};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A transaction that was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted {
    pub producer_id: i64,
    pub first_offset: i64,
    /// Of its marker.
    pub last_offset: i64,
    /// After the marker. Transactions that begin before it are over, so no marker after this one is of one of them.
    pub last_stable_offset: i64,
}

impl Aborted {
    pub const BYTES: usize = 32;

    pub fn encode(&self, out: &mut ByteWriter) {
        [self.producer_id, self.first_offset, self.last_offset, self.last_stable_offset]
            .into_iter()
            .for_each(|number| out.put_i64(number));
    }

    /// # Errors
    /// There are fewer bytes than one has.
    pub fn decode(input: &mut ByteReader) -> Result<Aborted, ShortInput> {
        Ok(Aborted {
            producer_id: input.i64()?,
            first_offset: input.i64()?,
            last_offset: input.i64()?,
            last_stable_offset: input.i64()?,
        })
    }

    /// Whether it may have records from `offset` on and before `below`.
    pub fn overlaps(&self, offset: i64, below: i64) -> bool {
        self.last_offset >= offset && self.first_offset < below
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transactions {
    /// By producer, and the same in the order of their first offsets.
    open: BTreeMap<i64, i64>,
    firsts: BTreeSet<i64>,
    /// In the order of their markers.
    aborted: VecDeque<Aborted>,
}

impl Transactions {
    pub fn new(open: impl Iterator<Item = (i64, i64)>, aborted: impl IntoIterator<Item = Aborted>) -> Transactions {
        let open: BTreeMap<i64, i64> = open.collect();
        let firsts = open.values().copied().collect();
        Transactions { open, firsts, aborted: aborted.into_iter().collect() }
    }

    /// The next batch of the partition that is of a transaction; a marker if it is one.
    pub fn add(&mut self, header: &BatchHeader, marker: Option<Marker>) {
        let (producer_id, offset) = (header.producer_id, header.base_offset);
        let Some(marker) = marker else {
            if let Entry::Vacant(open) = self.open.entry(producer_id) {
                open.insert(offset);
                self.firsts.insert(offset);
            }
            return;
        };
        let Some(first_offset) = self.open.remove(&producer_id) else { return };
        self.firsts.remove(&first_offset);
        if !marker.commits {
            let last_stable_offset = self.first_open().unwrap_or(offset + 1);
            self.aborted.push_back(Aborted { producer_id, first_offset, last_offset: offset, last_stable_offset });
        }
    }

    /// The first offset of the oldest transaction that is open.
    pub fn first_open(&self) -> Option<i64> {
        self.firsts.first().copied()
    }

    /// Those whose markers are before this offset.
    pub fn aborted_below(&self, offset: i64) -> impl Iterator<Item = &Aborted> {
        self.aborted.iter().take(self.count_below(offset))
    }

    pub fn aborted(&self) -> impl Iterator<Item = &Aborted> {
        self.aborted.iter()
    }

    /// Takes those away whose markers are before this offset.
    pub fn take_aborted_below(&mut self, offset: i64) -> Vec<Aborted> {
        let count = self.count_below(offset);
        self.aborted.drain(..count).collect()
    }

    pub fn count_below(&self, offset: i64) -> usize {
        self.aborted.partition_point(|aborted| aborted.last_offset < offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holon_kafka::testing;

    fn data(transactions: &mut Transactions, producer_id: i64, offset: i64) {
        let from = testing::From { producer_id, epoch: 0, sequence: 0 };
        let bytes = testing::transactional(from, 1, b"x", 0);
        let header = BatchHeader::read(&bytes, 0).expect("a batch").expect("whole");
        transactions.add(&BatchHeader { base_offset: offset, ..header }, None);
    }

    fn end(transactions: &mut Transactions, producer_id: i64, offset: i64, commits: bool) {
        let marker = Marker { commits, coordinator_epoch: 0 };
        transactions.add(&marker.batch(producer_id, 0, 0).stamp(offset, 0, None).header, Some(marker));
    }

    #[test]
    fn the_oldest_open_one_holds_the_stable_offset_and_aborted_ones_are_known() {
        let mut transactions = Transactions::default();
        assert_eq!(transactions.first_open(), None);
        data(&mut transactions, 1, 10);
        data(&mut transactions, 2, 11);
        data(&mut transactions, 1, 12);
        assert_eq!(transactions.first_open(), Some(10));
        end(&mut transactions, 2, 13, false);
        assert_eq!(transactions.first_open(), Some(10));
        data(&mut transactions, 2, 14);
        end(&mut transactions, 1, 15, false);
        assert_eq!(transactions.first_open(), Some(14));
        end(&mut transactions, 2, 16, true);
        end(&mut transactions, 2, 17, false);
        assert_eq!(transactions.first_open(), None);
        let of = |producer_id, first_offset, last_offset, last_stable_offset| Aborted {
            producer_id,
            first_offset,
            last_offset,
            last_stable_offset,
        };
        let expected = [of(2, 11, 13, 10), of(1, 10, 15, 14)];
        assert_eq!(
            transactions.aborted().copied().collect::<Vec<_>>(),
            expected,
            "none of a transaction without records"
        );
        assert_eq!(transactions.aborted_below(15).count(), 1);
        assert_eq!(transactions.take_aborted_below(16), expected);
        assert_eq!(transactions.aborted().count(), 0);
        assert!(expected[1].overlaps(15, 16) && expected[1].overlaps(0, 11));
        assert!(!expected[1].overlaps(16, 20) && !expected[1].overlaps(0, 10));
    }
}
