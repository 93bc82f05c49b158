//! Writes under way: what they will have changed once they are durable, and who waits for them.

use bytes::Bytes;
use holon_base::Instant;
use std::collections::BTreeMap;

use crate::groups::answer::{Answer, WriteNumber};
use crate::groups::group::Said;
use crate::groups::record::Record;
use crate::groups::request::{Fetch, Name, RequestNumber};

/// What a write means for the groups in memory, beside what its records say.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Nothing more.
    None,
    /// A group is there, which has nothing yet.
    Created { group: Name },
    /// The leader's assignment for a generation.
    Assigned { group: Name, generation: i32, assignment: BTreeMap<Name, Bytes> },
    /// A static member has another member id.
    Renamed(Box<Renamed>),
    /// Groups are no more.
    Removed { groups: Vec<Name> },
}

#[derive(Debug)]
pub(crate) struct Renamed {
    pub(crate) group: Name,
    pub(crate) generation: i32,
    pub(crate) instance: Name,
    pub(crate) old: Name,
    pub(crate) new: Name,
    /// The join that brought it, and its version.
    pub(crate) join: RequestNumber,
    pub(crate) version: i16,
    /// What the old one said, and who led.
    pub(crate) said: Said,
    pub(crate) leader: Option<Name>,
}

#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) records: Vec<Record>,
    pub(crate) effect: Effect,
    pub(crate) answers: Vec<(RequestNumber, Answer)>,
    /// Fetches that want to see what comes of it.
    pub(crate) fetches: Vec<(RequestNumber, Fetch)>,
    /// When those who wait have waited long enough.
    pub(crate) late: Instant,
}

/// Offsets of a group that are being written.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    /// Commits, how many of each partition.
    pub(crate) commits: BTreeMap<(Name, i32), usize>,
    /// Writes, of commits and of removals.
    writes: usize,
    pub(crate) last: Option<WriteNumber>,
}

#[derive(Debug, Default)]
pub(crate) struct Writes {
    pub(crate) pending: BTreeMap<WriteNumber, Pending>,
    pub(crate) offsets: BTreeMap<Name, InFlight>,
    last: u64,
}

impl Writes {
    pub(crate) fn begin(&mut self, pending: Pending) -> WriteNumber {
        self.last += 1;
        let number = WriteNumber(self.last);
        for record in &pending.records {
            match record {
                Record::Offsets { group, offsets } | Record::TransactionalOffsets { group, offsets, .. } => {
                    let in_flight = self.offsets.entry(group.clone()).or_default();
                    for offset in offsets {
                        *in_flight.commits.entry((offset.topic.clone(), offset.partition)).or_default() += 1;
                    }
                    in_flight.writes += 1;
                    in_flight.last = Some(number);
                }
                Record::OffsetsRemoved { group, .. } => {
                    let in_flight = self.offsets.entry(group.clone()).or_default();
                    in_flight.writes += 1;
                    in_flight.last = Some(number);
                }
                Record::Group(_) | Record::GroupRemoved { .. } | Record::TransactionEnded { .. } => {}
            }
        }
        self.pending.insert(number, pending);
        number
    }

    pub(crate) fn end(&mut self, number: WriteNumber) -> Option<Pending> {
        let pending = self.pending.remove(&number)?;
        for record in &pending.records {
            let (Record::Offsets { group, .. }
            | Record::TransactionalOffsets { group, .. }
            | Record::OffsetsRemoved { group, .. }) = record
            else {
                continue;
            };
            let Some(in_flight) = self.offsets.get_mut(group) else { continue };
            if let Record::Offsets { offsets, .. } | Record::TransactionalOffsets { offsets, .. } = record {
                for offset in offsets {
                    let key = (offset.topic.clone(), offset.partition);
                    match in_flight.commits.get_mut(&key) {
                        Some(count) if *count > 1 => *count -= 1,
                        _ => {
                            in_flight.commits.remove(&key);
                        }
                    }
                }
            }
            in_flight.writes -= 1;
            if in_flight.writes == 0 {
                self.offsets.remove(group);
            }
        }
        Some(pending)
    }
}
