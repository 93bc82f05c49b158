//! Batches that say who made them, for the simulator: as a producer sends them, and as a reader finds them.

use bytes::Bytes;
use holon_kafka::batch::HEADER_BYTES;
use holon_kafka::{Attributes, Batches, Marker, testing};

/// Of all records of a run.
const TIME_MS: i64 = 1_700_000_000_000;

/// Who made a batch, and which of its batches it is.
pub type Mark = (u32, u32);

/// What a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Plain,
    Transactional,
    /// The end of a transaction.
    Commit,
    Abort,
}

/// The number of the mark of a batch that is the end of a transaction: no producer sent it.
pub const NO_NUMBER: u32 = u32::MAX;

/// A batch in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub base_offset: i64,
    pub count: u8,
    pub mark: Mark,
    pub kind: Kind,
}

impl Found {
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.count) - 1
    }
}

/// A batch of so many records, each with the mark. The producer's id is the first half of the mark.
pub fn batch((producer, number): Mark, sequence: i32, count: u8) -> Bytes {
    let from = testing::From { producer_id: i64::from(producer), epoch: 0, sequence };
    let mark = u64::from(producer) << 32 | u64::from(number);
    testing::batch(from, count, &mark.to_le_bytes(), TIME_MS)
}

/// The same, as part of a transaction.
pub fn transactional_batch((producer, number): Mark, epoch: i16, sequence: i32, count: u8) -> Bytes {
    let from = testing::From { producer_id: i64::from(producer), epoch, sequence };
    let mark = u64::from(producer) << 32 | u64::from(number);
    testing::transactional(from, count, &mark.to_le_bytes(), TIME_MS)
}

/// # Errors
/// What was read is not whole batches of this kind; what it is.
pub fn read(bytes: Bytes) -> Result<Vec<Found>, String> {
    let mut found = Vec::new();
    for batch in Batches::new(bytes) {
        let (header, whole) = batch.map_err(|error| error.to_string())?;
        let count = header.count as u8;
        if let Some(marker) = Marker::of(&header, &whole[HEADER_BYTES..]) {
            let kind = if marker.commits { Kind::Commit } else { Kind::Abort };
            let mark = (header.producer_id as u32, NO_NUMBER);
            found.push(Found { base_offset: header.base_offset, count, mark, kind });
            continue;
        }
        let value = testing::value_of(&whole).and_then(|value| value.first_chunk::<8>());
        let mark = u64::from_le_bytes(*value.ok_or_else(|| format!("{header:?} has no mark"))?);
        let mark = ((mark >> 32) as u32, mark as u32);
        let is_transactional = header.attributes.has(Attributes::TRANSACTIONAL);
        let kind = if is_transactional { Kind::Transactional } else { Kind::Plain };
        found.push(Found { base_offset: header.base_offset, count, mark, kind });
    }
    Ok(found)
}

/// Which of the batches that a reader of committed records got it passes over, as Kafka's client decides it: by the transactions it was told
/// were aborted (producer and first offset), and the markers it meets.
pub fn passed_over(found: &[Found], aborted: &[(i64, i64)]) -> Vec<bool> {
    let mut aborted = aborted.to_vec();
    aborted.sort_by_key(|(_, first_offset)| *first_offset);
    let (mut aborted, mut producers) = (aborted.into_iter().peekable(), Vec::new());
    let passed = |one: &Found| {
        while let Some((producer, _)) = aborted.next_if(|(_, first_offset)| *first_offset <= one.last_offset()) {
            producers.push(producer);
        }
        let producer = i64::from(one.mark.0);
        match one.kind {
            Kind::Plain => false,
            Kind::Transactional => producers.contains(&producer),
            Kind::Commit => true,
            Kind::Abort => {
                producers.retain(|other| *other != producer);
                true
            }
        }
    };
    found.iter().map(passed).collect()
}
