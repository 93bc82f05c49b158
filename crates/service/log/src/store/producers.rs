//! Which batches of idempotent producers a partition has: the last five of each, so that one that is sent again is known, and one
//! that would leave a gap is refused. As Kafka's `ProducerStateManager`, `ProducerStateEntry` and `ProducerAppendInfo` do it.

use crate::store::limits::{BATCHES_KEPT, PRODUCERS_MAX};
use holon_base::{ByteReader, ByteWriter, ShortInput};
use holon_kafka::BatchHeader;
use holon_kafka::batch::NONE;
use std::collections::{BTreeMap, VecDeque};

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
    /// Oldest first.
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
    OutOfOrder {
        expected: i32,
        got: i32,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producers(BTreeMap<i64, Producer>);

impl Producers {
    /// Of a batch from a client; changes nothing.
    pub fn judge(&self, header: &BatchHeader) -> Verdict {
        let (true, Some(last)) = (header.producer_id != NONE, header.last_sequence()) else { return Verdict::Append };
        // Nothing is known of it any more, or yet: any number may be next.
        let Some(producer) = self.0.get(&header.producer_id) else { return Verdict::Append };
        let (first, epoch) = (header.base_sequence, header.producer_epoch);
        if epoch < producer.epoch {
            return Verdict::Fenced { epoch, newest: producer.epoch };
        }
        if epoch > producer.epoch {
            return if first == 0 { Verdict::Append } else { Verdict::OutOfOrder { expected: 0, got: first } };
        }
        let same = |written: &&Written| (written.first_sequence, written.last_sequence) == (first, last);
        if let Some(written) = producer.batches.iter().find(same) {
            return Verdict::Duplicate(*written);
        }
        let expected = producer.batches.back().map_or(0, |newest| newest.last_sequence.wrapping_add(1) & i32::MAX);
        if first == expected { Verdict::Append } else { Verdict::OutOfOrder { expected, got: first } }
    }

    /// A batch got its place in the log.
    pub fn written(&mut self, header: &BatchHeader, append_time_ms: i64, wall_ms: i64) {
        let (true, Some(last_sequence)) = (header.producer_id != NONE, header.last_sequence()) else { return };
        let fresh = Producer { epoch: header.producer_epoch, batches: VecDeque::new(), last_ms: wall_ms };
        let producer = self.0.entry(header.producer_id).or_insert(fresh);
        if producer.batches.back().is_some_and(|newest| newest.base_offset >= header.base_offset) {
            return; // it is known: a log is read again from before a checkpoint
        }
        if producer.epoch != header.producer_epoch {
            producer.epoch = header.producer_epoch;
            producer.batches.clear();
        }
        if producer.batches.len() == BATCHES_KEPT {
            producer.batches.pop_front();
        }
        let (first_sequence, base_offset) = (header.base_sequence, header.base_offset);
        producer.batches.push_back(Written { first_sequence, last_sequence, base_offset, append_time_ms });
        producer.last_ms = producer.last_ms.max(wall_ms);
        if self.0.len() > PRODUCERS_MAX {
            let oldest = self.0.iter().min_by_key(|(_, producer)| producer.last_ms).map(|(id, _)| *id);
            oldest.map(|id| self.0.remove(&id));
        }
    }

    /// As far as batches before this offset are concerned.
    pub fn below(&self, offset: i64) -> Producers {
        let mut below = self.clone();
        for producer in below.0.values_mut() {
            producer.batches.retain(|batch| batch.base_offset < offset);
        }
        below.0.retain(|_, producer| !producer.batches.is_empty());
        below
    }

    /// Forgets those that wrote last before this moment (`producer.id.expiration.ms`).
    pub fn expire(&mut self, before_ms: i64) {
        self.0.retain(|_, producer| producer.last_ms >= before_ms);
    }

    pub fn encode(&self, out: &mut ByteWriter) {
        out.put_varint(self.0.len() as u64);
        for (id, producer) in &self.0 {
            out.put_i64(*id);
            out.put_u16(producer.epoch.cast_unsigned());
            out.put_i64(producer.last_ms);
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
            let mut batches = VecDeque::new();
            for _ in 0..input.count()? {
                let first_sequence = input.u32()?.cast_signed();
                let last_sequence = input.u32()?.cast_signed();
                let (base_offset, append_time_ms) = (input.i64()?, input.i64()?);
                batches.push_back(Written { first_sequence, last_sequence, base_offset, append_time_ms });
            }
            producers.insert(id, Producer { epoch, batches, last_ms });
        }
        Ok(Producers(producers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holon_kafka::Attributes;

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
            assert_eq!(producers.judge(&next), Verdict::Append);
            producers.written(&next, 5, 1000 + i64::from(number));
        }
        for number in 2..7 {
            let again = producers.judge(&batch(9, 0, number * 10, 10, 0));
            assert!(
                matches!(again, Verdict::Duplicate(written) if written.base_offset == i64::from(number) * 100),
                "{number}: {again:?}"
            );
        }
        assert_eq!(producers.judge(&batch(9, 0, 10, 10, 0)), Verdict::OutOfOrder { expected: 70, got: 10 });
        // The same first number, and not the same batch.
        assert_eq!(producers.judge(&batch(9, 0, 60, 5, 0)), Verdict::OutOfOrder { expected: 70, got: 60 });
        assert_eq!(producers.judge(&batch(9, 0, 71, 1, 0)), Verdict::OutOfOrder { expected: 70, got: 71 });
        assert_eq!(producers.judge(&batch(8, 0, 71, 1, 0)), Verdict::Append, "nothing is known of this one");
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
        producers.written(&batch(9, 3, 0, 4, 0), 0, 0);
        assert_eq!(producers.judge(&batch(9, 2, 4, 1, 0)), Verdict::Fenced { epoch: 2, newest: 3 });
        assert_eq!(producers.judge(&batch(9, 4, 4, 1, 0)), Verdict::OutOfOrder { expected: 0, got: 4 });
        let next = batch(9, 4, 0, 1, 4);
        assert_eq!(producers.judge(&next), Verdict::Append);
        producers.written(&next, 0, 0);
        assert_eq!(producers.judge(&batch(9, 4, 1, 1, 0)), Verdict::Append);
        assert_eq!(producers.judge(&batch(9, 4, 0, 4, 0)), Verdict::OutOfOrder { expected: 1, got: 0 }, "of before");
    }

    #[test]
    fn numbers_begin_again_at_zero() {
        let mut producers = Producers::default();
        producers.written(&batch(9, 0, i32::MAX - 1, 2, 0), 0, 0);
        assert_eq!(producers.judge(&batch(9, 0, 0, 1, 0)), Verdict::Append);
        producers.written(&batch(9, 0, 0, 1, 2), 0, 0);
        let across = batch(9, 0, i32::MAX, 3, 0);
        assert_eq!(across.last_sequence(), Some(1));
    }
}
