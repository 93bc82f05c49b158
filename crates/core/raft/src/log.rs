//! The log in memory, with what is known of its durability and the members it sets.
//!
//! ```text
//!   base            entries                              last
//!    │  ├──────────────────────────────────────────────────┤
//!    │        snapshot ≥ base      durable       (not yet durable)
//! ```
//! `base` is the last entry that is gone; its term stays known, because the entry behind it needs a `previous`. It knows no
//! rule of the protocol: whoever cuts a log must know that it may.

use std::collections::{BTreeMap, VecDeque};

use crate::entry::{Entry, Members, Payload, Position, Snapshot, Stored};
use crate::message::follows;
use crate::output::StoredError;

pub(crate) struct Log {
    base: Position,
    entries: VecDeque<Entry>,
    pub(crate) snapshot: Option<Snapshot>,
    /// Index → the members it set. The first is that of the first start or of the snapshot.
    members: BTreeMap<u64, Members>,
    durable: u64,
    /// Saves handed out and not reported durable: number, and the last entry that is durable with it (lower when the log
    /// was cut since).
    under_way: VecDeque<(u64, u64)>,
    /// Cut and appended since the last save was made.
    truncated_from: Option<u64>,
    unsaved_from: Option<u64>,
}

impl Log {
    pub(crate) fn new(stored: Stored) -> Result<Log, StoredError> {
        let Stored { snapshot, mut entries, members, .. } = stored;
        let start = snapshot.as_ref().map_or_else(Position::default, Snapshot::position);
        let mut base = start;
        if let Some(first) = entries.first()
            && first.index > 1
            && first.index <= start.index
        {
            // Kept behind the snapshot: the term before the first one is unknown, so the first itself becomes the base.
            base = entries.remove(0).position();
        } else if let Some(first) = entries.first()
            && first.index == 1
        {
            base = Position::default();
        }
        let mut before = base;
        for entry in &entries {
            if before.index + 1 != entry.index {
                return Err(StoredError::Gap { index: entry.index });
            }
            if !follows(before, entry) || (entry.index == start.index && entry.term != start.term) {
                return Err(StoredError::Term { index: entry.index, term: entry.term });
            }
            before = entry.position();
        }
        if before.index < start.index {
            // Only what the snapshot covers is left of the log.
            (base, before) = (start, start);
            entries.clear();
        }
        let first_members = snapshot.as_ref().map_or(members, |snapshot| snapshot.members.clone());
        let mut log = Log {
            base,
            entries: entries.into(),
            snapshot,
            members: BTreeMap::from([(start.index, first_members)]),
            durable: before.index,
            under_way: VecDeque::new(),
            truncated_from: None,
            unsaved_from: None,
        };
        for entry in log.entries.iter().filter(|entry| entry.index > start.index) {
            if let Payload::Members(members) = &entry.payload {
                log.members.insert(entry.index, members.clone());
            }
        }
        Ok(log)
    }

    pub(crate) fn base(&self) -> Position {
        self.base
    }

    pub(crate) fn last(&self) -> Position {
        self.entries.back().map_or(self.base, Entry::position)
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable
    }

    pub(crate) fn snapshot_index(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.index)
    }

    pub(crate) fn get(&self, index: u64) -> Option<&Entry> {
        let offset = index.checked_sub(self.base.index + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    /// `None` where the log does not reach, on either side.
    pub(crate) fn term_at(&self, index: u64) -> Option<u64> {
        if index == self.base.index { Some(self.base.term) } else { self.get(index).map(|entry| entry.term) }
    }

    /// The last place up to `limit.index` whose term is at most `limit.term`: beyond it the logs of both sides cannot agree.
    pub(crate) fn last_at_most(&self, limit: Position) -> Position {
        let mut index = limit.index.min(self.last().index);
        while index > self.base.index {
            match self.term_at(index) {
                Some(term) if term > limit.term => index -= 1,
                Some(term) => return Position { term, index },
                None => break,
            }
        }
        self.base
    }

    /// Entries from `from` on, within both bounds, the first one in any case.
    pub(crate) fn slice(&self, from: u64, to: u64, entries_max: usize, bytes_max: usize) -> Vec<Entry> {
        let mut bytes = 0usize;
        let Some(offset) = from.checked_sub(self.base.index + 1).and_then(|offset| usize::try_from(offset).ok()) else {
            return Vec::new();
        };
        if offset >= self.entries.len() {
            return Vec::new();
        }
        self.entries
            .range(offset..)
            .take(entries_max)
            .take_while(|entry| {
                let first = bytes == 0;
                bytes = bytes.saturating_add(entry.size_bytes());
                entry.index < to && (first || bytes <= bytes_max)
            })
            .cloned()
            .collect()
    }

    pub(crate) fn append(&mut self, entry: Entry) {
        debug_assert!(follows(self.last(), &entry), "{entry:?} behind {:?}", self.last());
        if let Payload::Members(members) = &entry.payload {
            self.members.insert(entry.index, members.clone());
        }
        self.unsaved_from.get_or_insert(entry.index);
        self.entries.push_back(entry);
    }

    /// Cuts off `index` and what is behind it. Never below the snapshot: that is committed.
    pub(crate) fn truncate(&mut self, index: u64) {
        debug_assert!(index > self.base.index && index > self.snapshot_index());
        self.entries.truncate(usize::try_from(index - self.base.index - 1).unwrap_or(usize::MAX));
        self.members.split_off(&index);
        self.forget_durable(index);
        self.truncated_from = Some(self.truncated_from.map_or(index, |before| before.min(index)));
        self.unsaved_from = self.unsaved_from.filter(|&from| from < index);
    }

    fn forget_durable(&mut self, from: u64) {
        self.durable = self.durable.min(from - 1);
        for (_, covers) in &mut self.under_way {
            *covers = (*covers).min(from - 1);
        }
    }

    /// A snapshot from the leader. What is behind it stays if the log agrees with it there.
    pub(crate) fn install(&mut self, snapshot: Snapshot) {
        let position = snapshot.position();
        if self.term_at(position.index) == Some(position.term) {
            let dropped = position.index - self.base.index;
            self.entries.drain(..usize::try_from(dropped).unwrap_or(usize::MAX).min(self.entries.len()));
            self.unsaved_from = self
                .unsaved_from
                .map(|from| from.max(position.index + 1))
                .filter(|&from| from <= self.last_or(position));
            let behind = self.members.split_off(&(position.index + 1));
            self.members = behind;
        } else {
            self.entries.clear();
            self.members.clear();
            self.forget_durable(1);
            self.truncated_from = Some(0);
            self.unsaved_from = None;
        }
        self.members.insert(position.index, snapshot.members.clone());
        self.base = position;
        self.snapshot = Some(snapshot);
    }

    fn last_or(&self, base: Position) -> u64 {
        self.entries.back().map_or(base.index, |entry| entry.index)
    }

    /// The own state machine's snapshot: entries up to `through` are forgotten.
    pub(crate) fn compact(&mut self, snapshot: Snapshot, through: u64) {
        debug_assert!(through <= snapshot.index);
        if let Some(term) = self.term_at(through)
            && through > self.base.index
        {
            self.entries.drain(..usize::try_from(through - self.base.index).unwrap_or(0));
            self.base = Position { term, index: through };
        }
        let behind = self.members.split_off(&(snapshot.index + 1));
        self.members = behind;
        self.members.insert(snapshot.index, snapshot.members.clone());
        self.snapshot = Some(snapshot);
    }

    /// The members in force, and the entry that set them.
    pub(crate) fn members(&self) -> (u64, &Members) {
        static NOBODY: Members =
            Members { voters: std::collections::BTreeSet::new(), learners: std::collections::BTreeSet::new() };
        self.members.last_key_value().map_or((0, &NOBODY), |(index, members)| (*index, members))
    }

    /// The members in force at `index`, which is not behind the snapshot.
    pub(crate) fn members_at(&self, index: u64) -> Members {
        self.members.range(..=index).next_back().map(|(_, members)| members.clone()).unwrap_or_default()
    }

    /// What changed since the last save: where to cut, what to append.
    pub(crate) fn take_unsaved(&mut self) -> (Option<u64>, Vec<Entry>) {
        let append = match self.unsaved_from.take() {
            Some(from) => self.slice(from, u64::MAX, usize::MAX, usize::MAX),
            None => Vec::new(),
        };
        (self.truncated_from.take(), append)
    }

    pub(crate) fn is_saved(&self) -> bool {
        self.truncated_from.is_none() && self.unsaved_from.is_none()
    }

    /// A save was handed out: with it, everything up to the end of the log becomes durable.
    pub(crate) fn save_made(&mut self, number: u64) {
        self.under_way.push_back((number, self.last().index));
    }

    pub(crate) fn saved(&mut self, number: u64) {
        while let Some(&(made, covers)) = self.under_way.front()
            && made <= number
        {
            self.durable = self.durable.max(covers);
            self.under_way.pop_front();
        }
    }
}
