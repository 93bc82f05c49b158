//! How long a task may work before it lets others: counted in bytes and rows, never in time, so that it is deterministic.

use crate::Shard;
use std::rc::Rc;

/// A slice of work. Spend from it; when it is used up, the task yields and gets a new one.
pub struct Slice {
    shard: Rc<Shard>,
    bytes: usize,
    left: usize,
}

impl Slice {
    /// `bytes` a turn; for a background task [`crate::limits::BACKGROUND_SLICE_BYTES`].
    pub fn new(shard: &Rc<Shard>, bytes: usize) -> Self {
        Slice { shard: shard.clone(), bytes, left: bytes }
    }

    /// Counts `amount` bytes of work and yields if the turn is over.
    pub async fn spend(&mut self, amount: usize) {
        if amount < self.left {
            self.left -= amount;
        } else {
            self.left = self.bytes;
            self.shard.yield_now().await;
        }
    }
}
