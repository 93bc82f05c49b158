//! Producers whose coordinator is being asked whether a transaction of theirs may begin in a partition (KIP-890, part 1).
//!
//! ```text
//!   a transactional batch, no transaction is open ─► begin: a guard ─► the coordinator is asked ─► the batch comes again, with the guard
//! ```
//! A guard is good until the producer's next batch or marker of a transaction is written: what the coordinator said before that does not
//! count after it. As Kafka's `VerificationStateEntry`. It is in memory alone: after a restart the coordinator is asked again.

use crate::store::limits::VERIFYING_MAX;
use holon_kafka::BatchHeader;
use std::collections::BTreeMap;

/// Names one verification among all of a shard's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard(pub u64);

struct Asked {
    guard: Guard,
    epoch: i16,
    lowest_sequence: i32,
    begins_at_zero: bool,
    since_ms: i64,
}

/// What is known of a producer's verification when a batch of it is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// The batch has the guard.
    pub is_done: bool,
    /// The client bumps its epoch with each transaction: the first batch of one that is not known has the number 0.
    pub begins_at_zero: bool,
    /// Of the batches that were to be verified: those after it have to wait for it.
    pub lowest_sequence: Option<i32>,
}

#[derive(Default)]
pub struct Verifying(BTreeMap<i64, Asked>);

impl Verifying {
    /// The coordinator is to be asked for a batch. The guard is the one of before if it is asked already.
    pub fn begin(&mut self, header: &BatchHeader, begins_at_zero: bool, new: Guard, wall_ms: i64) -> Guard {
        let (epoch, first) = (header.producer_epoch, header.base_sequence);
        if self.0.len() >= VERIFYING_MAX && !self.0.contains_key(&header.producer_id) {
            let oldest = self.0.iter().min_by_key(|(_, asked)| asked.since_ms).map(|(id, _)| *id);
            oldest.map(|id| self.0.remove(&id));
        }
        let fresh = Asked { guard: new, epoch, lowest_sequence: first, begins_at_zero, since_ms: wall_ms };
        let asked = self.0.entry(header.producer_id).or_insert(fresh);
        if epoch == asked.epoch {
            asked.lowest_sequence = asked.lowest_sequence.min(first);
        } else if epoch > asked.epoch {
            (asked.epoch, asked.lowest_sequence) = (epoch, first);
        }
        asked.guard
    }

    pub fn of(&self, producer_id: i64, guard: Option<Guard>) -> Verification {
        self.0.get(&producer_id).map_or_else(Verification::default, |asked| Verification {
            is_done: guard == Some(asked.guard),
            begins_at_zero: asked.begins_at_zero,
            lowest_sequence: Some(asked.lowest_sequence),
        })
    }

    /// A batch or a marker of a transaction was written.
    pub fn end(&mut self, producer_id: i64) {
        self.0.remove(&producer_id);
    }

    pub fn expire(&mut self, until_ms: i64) {
        self.0.retain(|_, asked| asked.since_ms > until_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holon_kafka::{Marker, testing};

    fn batch(producer_id: i64, epoch: i16, sequence: i32) -> BatchHeader {
        let from = testing::From { producer_id, epoch, sequence };
        BatchHeader::read(&testing::transactional(from, 1, b"x", 0), 0).expect("a batch").expect("whole")
    }

    #[test]
    fn a_guard_is_good_until_something_is_written() {
        let mut verifying = Verifying::default();
        assert_eq!(verifying.of(9, Some(Guard(0))), Verification::default());
        let first = verifying.begin(&batch(9, 0, 5), false, Guard(1), 0);
        assert_eq!(verifying.begin(&batch(9, 0, 7), false, Guard(2), 0), first, "it is asked already");
        let of = verifying.of(9, Some(first));
        assert_eq!(of, Verification { is_done: true, begins_at_zero: false, lowest_sequence: Some(5) });
        assert!(!verifying.of(9, Some(Guard(2))).is_done && !verifying.of(9, None).is_done);
        verifying.begin(&batch(9, 0, 3), false, Guard(3), 0);
        assert_eq!(verifying.of(9, None).lowest_sequence, Some(3));
        verifying.begin(&batch(9, 1, 8), false, Guard(4), 0);
        assert_eq!(verifying.of(9, None).lowest_sequence, Some(8), "numbers begin again with an epoch");
        verifying.end(9);
        assert!(!verifying.of(9, Some(first)).is_done);
        assert_ne!(verifying.begin(&batch(9, 1, 8), true, Guard(5), 0), first);
        verifying.expire(1);
        assert_eq!(verifying.of(9, Some(Guard(5))), Verification::default());
    }

    #[test]
    fn so_many_are_asked_for_and_no_more() {
        let mut verifying = Verifying::default();
        let marker = Marker { commits: true, coordinator_epoch: 0 };
        for id in 0..VERIFYING_MAX as i64 + 3 {
            let header = marker.batch(id, 0, 0).header;
            verifying.begin(&header, false, Guard(id.cast_unsigned()), id);
        }
        assert_eq!(verifying.0.len(), VERIFYING_MAX);
        assert!(verifying.of(2, None) == Verification::default() && verifying.of(3, None) != Verification::default());
    }
}
