//! One row in which the write with the latest timestamp wins: what a read of it may show.
//!
//! It is told of writes when they begin and when they are acknowledged, and of what reads showed. Which levels count as strong (a
//! read at one meets every acknowledged write) is for its callers to know.

use std::collections::BTreeMap;

/// What is known of one row. A value of `None` is a deletion. No two writes have one timestamp.
#[derive(Clone, Debug, Default)]
pub struct LastWrite {
    /// By timestamp; without those of which is known that they did not happen.
    attempted: BTreeMap<i64, Option<i64>>,
    /// Any strong read has to show this write or a later one; 0: not even that there is anything.
    floor: i64,
}

impl LastWrite {
    pub fn attempt(&mut self, timestamp: i64, value: Option<i64>) {
        self.attempted.insert(timestamp, value);
    }

    /// It was refused, and certainly nothing was written.
    pub fn not_done(&mut self, timestamp: i64) {
        self.attempted.remove(&timestamp);
    }

    /// A strong write was acknowledged, or a strong read has shown it.
    pub fn raise(&mut self, timestamp: i64) {
        self.floor = self.floor.max(timestamp);
    }

    /// What a strong read that begins now has to show.
    pub fn floor(&self) -> i64 {
        self.floor
    }

    /// A read that began at this floor has shown a value and its timestamp, or nothing: the timestamp of the write it must have seen.
    ///
    /// # Errors
    /// It cannot be there.
    pub fn show(&self, value: Option<(i64, i64)>, floor: i64) -> Result<i64, String> {
        match value {
            Some((value, timestamp)) => match self.attempted.get(&timestamp) {
                Some(Some(written)) if *written == value && timestamp >= floor => Ok(timestamp),
                Some(Some(written)) if *written == value => {
                    Err(format!("shows the write at {timestamp}, after that at {floor} was acknowledged or seen"))
                }
                other => Err(format!("shows {value} written at {timestamp}, where the model has {other:?}")),
            },
            None if floor == 0 => Ok(0),
            None => {
                let deleted = self.attempted.range(floor..).find(|(_, value)| value.is_none());
                let deleted = deleted.map(|(timestamp, _)| *timestamp);
                deleted.ok_or_else(|| format!("shows nothing, after the write at {floor} was acknowledged or seen"))
            }
        }
    }
}
