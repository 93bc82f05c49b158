//! Under which leader each part of a partition was written: Kafka's leader epoch cache (KIP-101).

use holon_base::{ByteReader, ByteWriter, ShortInput};

/// The first offset of each epoch that wrote something, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Epochs(Vec<(i32, i64)>);

impl Epochs {
    /// A batch of this epoch was appended. Of an epoch that is not newer than the last nothing changes.
    pub fn wrote(&mut self, epoch: i32, base_offset: i64) {
        if self.0.last().is_none_or(|(newest, _)| epoch > *newest) {
            self.0.push((epoch, base_offset));
        }
    }

    /// The last one.
    pub fn newest(&self) -> Option<i32> {
        self.0.last().map(|(epoch, _)| *epoch)
    }

    /// Of the batch at an offset; -1: nothing is known of it.
    pub fn of(&self, offset: i64) -> i32 {
        let after = self.0.partition_point(|(_, first)| *first <= offset);
        after.checked_sub(1).map_or(-1, |at| self.0[at].0)
    }

    /// The greatest epoch that is not after this one, and the offset at which it ended, if the log ends at `end`; as
    /// OffsetForLeaderEpoch answers it. One that is older than all here ended where the first of them begins: who has more of it has
    /// what is not here (`LeaderEpochFileCache.endOffsetFor`). `None`: nothing was ever written here.
    pub fn end_of(&self, epoch: i32, end: i64) -> Option<(i32, i64)> {
        let after = self.0.partition_point(|(one, _)| *one <= epoch);
        let next = self.0.get(after).map(|(_, first)| *first);
        match after.checked_sub(1) {
            Some(at) => Some((self.0[at].0, next.unwrap_or(end))),
            None => next.map(|first| (epoch, first)),
        }
    }

    /// As far as what is before this offset is concerned.
    pub fn below(&self, offset: i64) -> Epochs {
        Epochs(self.0.iter().copied().filter(|(_, first)| *first < offset).collect())
    }

    pub fn encode(&self, out: &mut ByteWriter) {
        out.put_varint(self.0.len() as u64);
        for (epoch, first) in &self.0 {
            out.put_u32(epoch.cast_unsigned());
            out.put_i64(*first);
        }
    }

    /// # Errors
    /// It is not what [`Epochs::encode`] wrote.
    pub fn decode(input: &mut ByteReader) -> Result<Epochs, ShortInput> {
        let count = input.count()?;
        (0..count).map(|_| Ok((input.u32()?.cast_signed(), input.i64()?))).collect::<Result<_, _>>().map(Epochs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_offset_has_the_epoch_it_was_written_in_and_each_epoch_an_end() {
        let mut epochs = Epochs::default();
        assert_eq!((epochs.of(0), epochs.end_of(5, 0)), (-1, None));
        for (epoch, offset) in [(2, 0), (2, 10), (3, 20), (7, 20 + 5), (6, 30)] {
            epochs.wrote(epoch, offset);
        }
        let of: Vec<i32> = [0, 19, 20, 24, 25, 1000].into_iter().map(|offset| epochs.of(offset)).collect();
        assert_eq!(of, [2, 2, 3, 3, 7, 7]);
        assert_eq!(epochs.end_of(1, 40), Some((1, 0)), "older than all");
        assert_eq!(epochs.end_of(2, 40), Some((2, 20)));
        assert_eq!(epochs.end_of(5, 40), Some((3, 25)), "the last before one that wrote nothing");
        assert_eq!(epochs.end_of(9, 40), Some((7, 40)));
        assert_eq!(epochs.below(25), Epochs(vec![(2, 0), (3, 20)]));
        let mut out = ByteWriter::new();
        epochs.encode(&mut out);
        assert_eq!(Epochs::decode(&mut ByteReader::new(out.freeze())), Ok(epochs));
    }
}
