//! What a coordinator says: answers, writes that must be made durable, and markers that must be written.

use crate::groups::{Name, RequestNumber, WriteNumber};
use crate::txns::error::TxnError;
use crate::txns::record::Record;
use crate::txns::request::Producer;
use holon_base::TabletId;

/// What is to be done; writes in this order.
#[derive(Debug, Default)]
pub struct Output {
    /// A record that must become durable after those of all earlier writes.
    pub writes: Vec<(WriteNumber, Record)>,
    pub answers: Vec<(RequestNumber, Answer)>,
    /// Each is answered by [`crate::txns::Coordinator::marked`].
    pub markers: Vec<Marker>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Init(Result<Producer, TxnError>),
    Add(Result<(), TxnError>),
    /// With what the producer is from now on.
    End(Result<Producer, TxnError>),
    /// Nothing was done: it takes a producer id that nobody has.
    NeedsProducer,
}

impl Answer {
    /// The same, when the write that it stands on did not happen, or is not known to have.
    pub(crate) fn after_failure(self, error: TxnError) -> Answer {
        match self {
            Answer::Init(_) => Answer::Init(Err(error)),
            Answer::Add(_) => Answer::Add(Err(error)),
            Answer::End(_) => Answer::End(Err(error)),
            Answer::NeedsProducer => Answer::NeedsProducer,
        }
    }
}

/// The end of a transaction, for one of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    pub id: Name,
    pub partition: TabletId,
    pub producer: Producer,
    pub commit: bool,
    /// Its epoch is later than that of what it ends: it ends nothing that has its own epoch.
    pub bumps: bool,
}

/// What became of a marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marked {
    /// It is durable, or the partition needs none any more: it is gone, or knows a later epoch of the producer.
    Done,
    /// It is not, and what was sent will have no effect any more.
    Again,
}
