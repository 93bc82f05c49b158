//! Batches that say who made them, for the simulator: as a producer sends them, and as a reader finds them.

use bytes::Bytes;
use holon_kafka::{Batches, testing};

/// Of all records of a run.
const TIME_MS: i64 = 1_700_000_000_000;

/// Who made a batch, and which of its batches it is.
pub type Mark = (u32, u32);

/// A batch in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub base_offset: i64,
    pub count: u8,
    pub mark: Mark,
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

/// # Errors
/// What was read is not whole batches of this kind; what it is.
pub fn read(bytes: Bytes) -> Result<Vec<Found>, String> {
    let mut found = Vec::new();
    for batch in Batches::new(bytes) {
        let (header, whole) = batch.map_err(|error| error.to_string())?;
        let value = testing::value_of(&whole).and_then(|value| value.first_chunk::<8>());
        let mark = u64::from_le_bytes(*value.ok_or_else(|| format!("{header:?} has no mark"))?);
        let (count, mark) = (header.count as u8, ((mark >> 32) as u32, mark as u32));
        found.push(Found { base_offset: header.base_offset, count, mark });
    }
    Ok(found)
}
