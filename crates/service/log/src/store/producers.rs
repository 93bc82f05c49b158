//! Which batches of idempotent producers a partition has: the last five of each, so that one that is sent again is known, and one
//! that would leave a gap is refused; and which of them have a transaction open here. As Kafka's `ProducerStateManager`,
//! `ProducerStateEntry` and `ProducerAppendInfo` do it.
//!
//! A partition has two: one as of the last batch that got its offset, by which the next one is judged, and one as of the last that is in
//! a segment, which goes to the checkpoint. Both are made of the same batches in the same order.

use crate::store::describing::KnownProducer;
use crate::store::limits::{BATCHES_KEPT, PRODUCERS_MAX};
use crate::store::verifying::Verification;
use holon_base::{ByteReader, ByteWriter, ShortInput};
use holon_kafka::batch::NONE;
use holon_kafka::{Attributes, BatchHeader, Marker};
use std::collections::{BTreeMap, VecDeque};

/// Of a coordinator that never wrote a marker here.
const NO_COORDINATOR: i32 = -1;

/// One batch that is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub first_sequence: i32,
    pub last_sequence: i32,
    pub base_offset: i64,
    /// As the broker answered it.
    pub append_time_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    /// Of the coordinator that wrote its last marker.
    coordinator_epoch: i32,
    /// The first offset of its open transaction.
    open: Option<i64>,
    /// Of this epoch, oldest first.
    batches: VecDeque<Written>,
    /// When it wrote last, by the wall clock.
    last_ms: i64,
}

/// What is to become of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is next.
    Append,
    /// It is there already.
    Duplicate(Written),
    /// Its producer was given a newer epoch.
    Fenced {
        epoch: i16,
        newest: i16,
    },
    /// Another coordinator has taken the place of the one that wrote it.
    CoordinatorFenced {
        epoch: i32,
        newest: i32,
    },
    OutOfOrder {
        expected: i32,
        got: i32,
    },
    /// It is of a transaction, and its producer has none open here.
    NotInTransaction,
    /// It is of no transaction, and its producer has one open here.
    InTransaction,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producers(BTreeMap<i64, Producer>);

impl Producers {
    /// Of a batch from a client; changes nothing. A transaction begins with a batch that was verified.
    pub fn judge(&self, header: &BatchHeader, verification: &Verification) -> Verdict {
        let (true, Some(last)) = (header.producer_id > NONE, header.last_sequence()) else { return Verdict::Append };
        let (first, epoch) = (header.base_sequence, header.producer_epoch);
        let is_transactional = header.attributes.has(Attributes::TRANSACTIONAL);
        let producer = self.0.get(&header.producer_id);
        if let Some(producer) = producer {
            let same = |written: &&Written| (written.first_sequence, written.last_sequence) == (first, last);
            if epoch < producer.epoch {
                return Verdict::Fenced { epoch, newest: producer.epoch };
            }
            if epoch == producer.epoch
                && let Some(written) = producer.batches.iter().find(same)
            {
                return Verdict::Duplicate(*written);
            }
        }
        if is_transactional && !verification.is_done && !self.has_open(header.producer_id, epoch) {
            return Verdict::NotInTransaction;
        }
        let knows_none = producer.is_none_or(|producer| producer.batches.is_empty());
        if verification.begins_at_zero && knows_none && first != 0 {
            return Verdict::OutOfOrder { expected: 0, got: first };
        }
        if let Some(lowest) = verification.lowest_sequence.filter(|lowest| first > *lowest) {
            return Verdict::OutOfOrder { expected: lowest, got: first };
        }
        // Nothing is known of it any more, or yet: any number may be next.
        let Some(producer) = producer else { return Verdict::Append };
        let expected = match producer.batches.back().filter(|_| epoch == producer.epoch) {
            Some(newest) => newest.last_sequence.wrapping_add(1) & i32::MAX,
            None => 0,
        };
        match first == expected {
            false => Verdict::OutOfOrder { expected, got: first },
            true if producer.open.is_some() && !is_transactional => Verdict::InTransaction,
            true => Verdict::Append,
        }
    }

    /// Of the end of a transaction. With KIP-890 (`bumps`) its epoch is newer than that of the transaction's batches: one of the same
    /// epoch is late, and must not end the transaction that came after. One that was written before may come again.
    pub fn judge_marker(&self, (id, epoch): (i64, i16), coordinator_epoch: i32, bumps: bool) -> Verdict {
        let Some(producer) = self.0.get(&id) else { return Verdict::Append };
        let is_late = bumps && epoch == producer.epoch && producer.open.is_some();
        if epoch < producer.epoch || is_late {
            return Verdict::Fenced { epoch, newest: producer.epoch };
        }
        if coordinator_epoch < producer.coordinator_epoch {
            return Verdict::CoordinatorFenced { epoch: coordinator_epoch, newest: producer.coordinator_epoch };
        }
        Verdict::Append
    }

    /// A batch got its place in the log.
    pub fn written(&mut self, header: &BatchHeader, marker: Option<Marker>, append_time_ms: i64, wall_ms: i64) {
        let epoch = header.producer_epoch;
        if header.producer_id <= NONE || marker.is_none() && header.last_sequence().is_none() {
            return;
        }
        let producer = self.0.entry(header.producer_id).or_insert_with(|| Producer {
            epoch,
            coordinator_epoch: NO_COORDINATOR,
            open: None,
            batches: VecDeque::new(),
            last_ms: wall_ms,
        });
        if producer.epoch != epoch {
            producer.epoch = epoch;
            producer.batches.clear();
        }
        producer.last_ms = producer.last_ms.max(wall_ms);
        match (marker, header.last_sequence()) {
            (Some(marker), _) => {
                producer.coordinator_epoch = marker.coordinator_epoch;
                producer.open = None;
            }
            (None, Some(last_sequence)) => {
                if producer.batches.len() == BATCHES_KEPT {
                    producer.batches.pop_front();
                }
                let (first_sequence, base_offset) = (header.base_sequence, header.base_offset);
                producer.batches.push_back(Written { first_sequence, last_sequence, base_offset, append_time_ms });
                if header.attributes.has(Attributes::TRANSACTIONAL) {
                    producer.open.get_or_insert(base_offset);
                }
            }
            (None, None) => {}
        }
        if self.0.len() > PRODUCERS_MAX {
            let idle = self.0.iter().filter(|(_, producer)| producer.open.is_none());
            let oldest = idle.min_by_key(|(_, producer)| producer.last_ms).map(|(id, _)| *id);
            oldest.map(|id| self.0.remove(&id));
        }
    }

    /// Whether a producer has a transaction open, in this epoch.
    pub fn has_open(&self, id: i64, epoch: i16) -> bool {
        self.0.get(&id).is_some_and(|producer| producer.open.is_some() && producer.epoch == epoch)
    }

    /// The newest epoch of a producer.
    pub fn epoch_of(&self, id: i64) -> Option<i16> {
        self.0.get(&id).map(|producer| producer.epoch)
    }

    /// Who has a transaction open, and where it begins.
    pub fn open(&self) -> impl Iterator<Item = (i64, i64)> {
        self.0.iter().filter_map(|(id, producer)| Some((*id, producer.open?)))
    }

    /// Forgets those that wrote last at this moment or before it (`producer.id.expiration.ms`), and have no transaction open.
    /// All that are known, by their ids.
    pub fn known(&self) -> impl Iterator<Item = KnownProducer> {
        self.0.iter().map(|(id, producer)| KnownProducer {
            id: *id,
            epoch: producer.epoch,
            last_sequence: producer.batches.back().map_or(-1, |batch| batch.last_sequence),
            last_ms: producer.last_ms,
            coordinator_epoch: producer.coordinator_epoch,
            open: producer.open,
        })
    }

    pub fn expire(&mut self, until_ms: i64) {
        self.0.retain(|_, producer| producer.last_ms > until_ms || producer.open.is_some());
    }

    pub fn encode(&self, out: &mut ByteWriter) {
        out.put_varint(self.0.len() as u64);
        for (id, producer) in &self.0 {
            out.put_i64(*id);
            out.put_u16(producer.epoch.cast_unsigned());
            out.put_i64(producer.last_ms);
            out.put_u32(producer.coordinator_epoch.cast_unsigned());
            out.put_i64(producer.open.unwrap_or(NONE));
            out.put_varint(producer.batches.len() as u64);
            for batch in &producer.batches {
                out.put_u32(batch.first_sequence.cast_unsigned());
                out.put_u32(batch.last_sequence.cast_unsigned());
                out.put_i64(batch.base_offset);
                out.put_i64(batch.append_time_ms);
            }
        }
    }

    /// # Errors
    /// It is not what [`Producers::encode`] wrote.
    pub fn decode(input: &mut ByteReader) -> Result<Producers, ShortInput> {
        let mut producers = BTreeMap::new();
        for _ in 0..input.count()? {
            let (id, epoch, last_ms) = (input.i64()?, input.u16()?.cast_signed(), input.i64()?);
            let coordinator_epoch = input.u32()?.cast_signed();
            let open = Some(input.i64()?).filter(|first| *first != NONE);
            let mut batches = VecDeque::new();
            for _ in 0..input.count()? {
                let first_sequence = input.u32()?.cast_signed();
                let last_sequence = input.u32()?.cast_signed();
                let (base_offset, append_time_ms) = (input.i64()?, input.i64()?);
                batches.push_back(Written { first_sequence, last_sequence, base_offset, append_time_ms });
            }
            producers.insert(id, Producer { epoch, coordinator_epoch, open, batches, last_ms });
        }
        Ok(Producers(producers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOT_ASKED: Verification = Verification { is_done: false, begins_at_zero: false, lowest_sequence: None };
    const VERIFIED: Verification = Verification { is_done: true, ..NOT_ASKED };

    fn batch(id: i64, epoch: i16, first: i32, count: i32, base_offset: i64) -> BatchHeader {
        BatchHeader {
            base_offset,
            length: 100,
            leader_epoch: 0,
            crc: 0,
            attributes: Attributes(0),
            last_offset_delta: count - 1,
            base_timestamp_ms: 0,
            max_timestamp_ms: 0,
            producer_id: id,
            producer_epoch: epoch,
            base_sequence: first,
            count,
        }
    }

    #[test]
    fn of_each_producer_the_last_five_batches_are_known_again() {
        let mut producers = Producers::default();
        for number in 0..7 {
            let next = batch(9, 0, number * 10, 10, i64::from(number) * 100);
            assert_eq!(producers.judge(&next, &NOT_ASKED), Verdict::Append);
            producers.written(&next, None, 5, 1000 + i64::from(number));
        }
        for number in 2..7 {
            let again = producers.judge(&batch(9, 0, number * 10, 10, 0), &NOT_ASKED);
            assert!(
                matches!(again, Verdict::Duplicate(written) if written.base_offset == i64::from(number) * 100),
                "{number}: {again:?}"
            );
        }
        assert_eq!(producers.judge(&batch(9, 0, 10, 10, 0), &NOT_ASKED), Verdict::OutOfOrder { expected: 70, got: 10 });
        // The same first number, and not the same batch.
        assert_eq!(producers.judge(&batch(9, 0, 60, 5, 0), &NOT_ASKED), Verdict::OutOfOrder { expected: 70, got: 60 });
        assert_eq!(producers.judge(&batch(9, 0, 71, 1, 0), &NOT_ASKED), Verdict::OutOfOrder { expected: 70, got: 71 });
        assert_eq!(
            producers.judge(&batch(8, 0, 71, 1, 0), &NOT_ASKED),
            Verdict::Append,
            "nothing is known of this one"
        );
        let mut out = ByteWriter::new();
        producers.encode(&mut out);
        let mut input = ByteReader::new(out.freeze());
        assert_eq!(Producers::decode(&mut input), Ok(producers.clone()));
        input.end().expect("nothing is left");
        producers.expire(2000);
        assert_eq!(producers, Producers::default());
    }

    #[test]
    fn a_newer_epoch_begins_at_zero_and_an_older_one_is_fenced() {
        let mut producers = Producers::default();
        producers.written(&batch(9, 3, 0, 4, 0), None, 0, 0);
        assert_eq!(producers.judge(&batch(9, 2, 4, 1, 0), &NOT_ASKED), Verdict::Fenced { epoch: 2, newest: 3 });
        assert_eq!(producers.judge(&batch(9, 4, 4, 1, 0), &NOT_ASKED), Verdict::OutOfOrder { expected: 0, got: 4 });
        let next = batch(9, 4, 0, 1, 4);
        assert_eq!(producers.judge(&next, &NOT_ASKED), Verdict::Append);
        producers.written(&next, None, 0, 0);
        assert_eq!(producers.judge(&batch(9, 4, 1, 1, 0), &NOT_ASKED), Verdict::Append);
        assert_eq!(
            producers.judge(&batch(9, 4, 0, 4, 0), &NOT_ASKED),
            Verdict::OutOfOrder { expected: 1, got: 0 },
            "of before"
        );
    }

    #[test]
    fn numbers_begin_again_at_zero() {
        let mut producers = Producers::default();
        producers.written(&batch(9, 0, i32::MAX - 1, 2, 0), None, 0, 0);
        assert_eq!(producers.judge(&batch(9, 0, 0, 1, 0), &NOT_ASKED), Verdict::Append);
        producers.written(&batch(9, 0, 0, 1, 2), None, 0, 0);
        let across = batch(9, 0, i32::MAX, 3, 0);
        assert_eq!(across.last_sequence(), Some(1));
    }

    fn transactional(id: i64, epoch: i16, first: i32, count: i32, base_offset: i64) -> BatchHeader {
        BatchHeader { attributes: Attributes(Attributes::TRANSACTIONAL), ..batch(id, epoch, first, count, base_offset) }
    }

    fn end(producers: &mut Producers, id: i64, epoch: i16, coordinator_epoch: i32, offset: i64) {
        let marker = Marker { commits: true, coordinator_epoch };
        let header = marker.batch(id, epoch, 0).stamp(offset, 0, None).header;
        producers.written(&header, Some(marker), NONE, 0);
    }

    #[test]
    fn a_transaction_begins_with_a_batch_that_was_verified_and_takes_no_other() {
        let mut producers = Producers::default();
        let first = transactional(9, 0, 0, 2, 10);
        assert_eq!(producers.judge(&first, &NOT_ASKED), Verdict::NotInTransaction);
        assert_eq!(producers.judge(&first, &VERIFIED), Verdict::Append);
        producers.written(&first, None, NONE, 0);
        assert_eq!(producers.open().collect::<Vec<_>>(), [(9, 10)]);
        assert!(producers.has_open(9, 0) && !producers.has_open(9, 1) && !producers.has_open(8, 0));
        let second = transactional(9, 0, 2, 1, 12);
        assert_eq!(producers.judge(&second, &NOT_ASKED), Verdict::Append);
        producers.written(&second, None, NONE, 0);
        assert_eq!(producers.open().collect::<Vec<_>>(), [(9, 10)], "its first offset");
        assert_eq!(producers.judge(&batch(9, 0, 3, 1, 13), &NOT_ASKED), Verdict::InTransaction);
        assert_eq!(producers.judge(&batch(9, 0, 5, 1, 13), &NOT_ASKED), Verdict::OutOfOrder { expected: 3, got: 5 });
        assert_eq!(producers.judge(&batch(9, 1, 0, 1, 13), &NOT_ASKED), Verdict::InTransaction, "of any epoch");
        assert_eq!(producers.judge(&transactional(9, 1, 0, 1, 13), &NOT_ASKED), Verdict::NotInTransaction);
        assert!(matches!(producers.judge(&second, &NOT_ASKED), Verdict::Duplicate(_)), "it is there, verified or not");
        // It is neither too old nor one too many as long as it is open.
        producers.expire(i64::MAX);
        for id in 100..100 + PRODUCERS_MAX as i64 + 5 {
            producers.written(&batch(id, 0, 0, 1, 20 + id), None, NONE, id);
        }
        assert!(producers.has_open(9, 0));
        end(&mut producers, 9, 0, 0, 50_000);
        assert!(!producers.has_open(9, 0));
        producers.expire(i64::MAX);
        assert_eq!(producers, Producers::default());
    }

    #[test]
    fn sequences_go_on_after_a_marker_of_the_same_epoch_and_begin_again_after_one_of_a_newer() {
        for epoch in [0, 1] {
            let mut producers = Producers::default();
            producers.written(&transactional(9, 0, 0, 4, 0), None, NONE, 0);
            end(&mut producers, 9, epoch, 0, 4);
            let next = |first: i32| producers.judge(&transactional(9, epoch, first, 1, 5), &VERIFIED);
            let (good, bad) = if epoch == 0 { (4, 0) } else { (0, 4) };
            assert_eq!(next(good), Verdict::Append);
            assert_eq!(next(bad), Verdict::OutOfOrder { expected: good, got: bad });
            if epoch == 1 {
                assert_eq!(
                    producers.judge(&transactional(9, 0, 4, 1, 5), &VERIFIED),
                    Verdict::Fenced { epoch: 0, newest: 1 }
                );
            }
        }
    }

    #[test]
    fn markers_of_older_epochs_are_refused_and_with_bumped_epochs_late_ones_as_well() {
        let mut producers = Producers::default();
        assert_eq!(producers.judge_marker((9, 0), 0, true), Verdict::Append, "nothing is known: it is written anyway");
        producers.written(&transactional(9, 3, 0, 4, 0), None, NONE, 0);
        assert_eq!(producers.judge_marker((9, 2), 5, false), Verdict::Fenced { epoch: 2, newest: 3 });
        assert_eq!(producers.judge_marker((9, 3), 5, false), Verdict::Append);
        assert_eq!(producers.judge_marker((9, 3), 5, true), Verdict::Fenced { epoch: 3, newest: 3 }, "late");
        assert_eq!(producers.judge_marker((9, 4), 5, true), Verdict::Append);
        end(&mut producers, 9, 4, 5, 4);
        assert_eq!(producers.judge_marker((9, 4), 5, true), Verdict::Append, "the same again");
        assert_eq!(producers.judge_marker((9, 4), 4, true), Verdict::CoordinatorFenced { epoch: 4, newest: 5 });
        assert_eq!(producers.judge_marker((9, 4), 6, true), Verdict::Append);
        // The next transaction of this epoch is not ended by the last one's marker.
        producers.written(&transactional(9, 4, 0, 1, 5), None, NONE, 0);
        assert_eq!(producers.judge_marker((9, 4), 5, true), Verdict::Fenced { epoch: 4, newest: 4 });
        let mut out = ByteWriter::new();
        producers.encode(&mut out);
        assert_eq!(Producers::decode(&mut ByteReader::new(out.freeze())), Ok(producers));
    }

    #[test]
    fn while_one_is_verified_the_lowest_sequence_comes_first() {
        let producers = Producers::default();
        let asked = Verification { is_done: true, begins_at_zero: false, lowest_sequence: Some(3) };
        let judge = |first: i32, asked: &Verification| producers.judge(&transactional(9, 0, first, 1, 0), asked);
        assert_eq!(judge(3, &asked), Verdict::Append);
        assert_eq!(judge(4, &asked), Verdict::OutOfOrder { expected: 3, got: 4 });
        let of_zero = Verification { begins_at_zero: true, ..asked };
        assert_eq!(judge(3, &of_zero), Verdict::OutOfOrder { expected: 0, got: 3 });
        assert_eq!(judge(0, &of_zero), Verdict::Append);
    }
}
