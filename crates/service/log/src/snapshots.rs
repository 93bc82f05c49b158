//! The partition of a coordinator is not to grow for ever, nor a start to read all that it ever was: from time to time all of what is kept is
//! written once more, and what was before counts no longer.
//!
//! ```text
//!   old records │ snapshot, batch after batch │ new records
//!               ▲ the start moves here when the whole snapshot is on the medium, durably
//! ```
//!
//! A snapshot is of what is durable, so it is taken while nothing is on its way into the partition; what comes meanwhile is held back until it
//! is written. Its records say what the records before it say together. So a crash before its end leaves some of them there twice, in the
//! order in which they were true; and a crash before the start has moved leaves a start that reads more than it needs to.

use crate::coordinating::Kept;
use crate::groups::WriteNumber;
use crate::store::{AppendTicket, LogError, LogStore, Retention};
use bytes::Bytes;
use holon_base::TabletId;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// A snapshot comes after so many bytes of records, bytes; or after twice its size, if it is large.
pub const SNAPSHOT_BYTES: usize = 1 << 20;

/// Of one batch of a snapshot, unless one record has more, or records that belong together.
const BATCH_BYTES: usize = 256 << 10;

/// A write that was held back: its number and its records.
pub type Held = (WriteNumber, Vec<Bytes>);

/// When the next one is due, and what waits for it.
pub struct Snapshots {
    after_bytes: usize,
    /// Bytes of records since the last one.
    since: Cell<usize>,
    /// Of the last one, bytes.
    size: Cell<usize>,
    held: RefCell<VecDeque<Held>>,
}

pub fn bytes_of(values: &[Bytes]) -> usize {
    values.iter().map(Bytes::len).sum()
}

impl Snapshots {
    pub fn new(after_bytes: usize) -> Snapshots {
        Snapshots { after_bytes, since: Cell::new(0), size: Cell::new(0), held: RefCell::default() }
    }

    pub fn is_due(&self) -> bool {
        self.since.get() >= self.after_bytes.max(2 * self.size.get())
    }

    /// Records that were read, of which so many bytes are not in a snapshot's worth of them.
    pub fn loaded(&self, read: usize, worth: usize) {
        self.size.set(worth);
        self.since.set(read.saturating_sub(worth));
    }

    pub fn wrote(&self, bytes: usize) {
        self.since.set(self.since.get() + bytes);
    }

    /// Keeps a write until the snapshot is taken.
    pub fn hold(&self, held: Held) {
        self.held.borrow_mut().push_back(held);
    }

    /// One was taken, or could not be: then it is tried again when as much was written once more. What was held may go on.
    pub fn taken(&self, bytes: usize) -> VecDeque<Held> {
        self.size.set(bytes);
        self.since.set(0);
        self.held.take()
    }
}

/// Of what is written at once.
fn batches(kept: &Kept) -> Vec<&[Bytes]> {
    let mut batches: Vec<&[Bytes]> = Vec::new();
    if !kept.together.is_empty() {
        batches.push(&kept.together);
    }
    let mut rest = kept.rest.as_slice();
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |value: &&Bytes| {
            bytes += value.len();
            bytes <= BATCH_BYTES
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (batch, more) = rest.split_at(count);
        batches.push(batch);
        rest = more;
    }
    batches
}

/// Writes a snapshot; the partition begins with it from then on. Nothing else may be on its way into it.
///
/// # Errors
/// It is not whole, or the start did not move: what was there before still counts.
pub async fn write(
    store: &LogStore,
    tablet: TabletId,
    kept: &Kept,
    submit: impl Fn(&[Bytes]) -> Result<AppendTicket, LogError>,
) -> Result<(), LogError> {
    let (_, mut begin) = store.ends(tablet)?;
    let mut tickets = Vec::new();
    let mut is_first = true;
    for batch in batches(kept) {
        if !store.has_room() {
            for ticket in tickets.drain(..) {
                AppendTicket::wait(ticket).await?;
            }
        }
        let ticket = submit(batch)?;
        if is_first {
            begin = ticket.wait().await?.base_offset;
            is_first = false;
        } else {
            tickets.push(ticket);
        }
    }
    for ticket in tickets {
        ticket.wait().await?;
    }
    store.move_start(tablet, begin).await?;
    store.retain(tablet, Retention::default()).await?;
    Ok(())
}
