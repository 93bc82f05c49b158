//! What a partition may look like, given what was asked of it and what was answered.
//!
//! A mutation is acknowledged, or its outcome is unknown (a timeout, a crash, a lost connection). Every mutation
//! carries a timestamp of its own, so that the state is the merge of those that happened, in whatever order they did:
//! all that were acknowledged, and any of the unknown ones, each whole or not at all. What a read shows must be one of
//! these states.
//!
//! Two more things are not known exactly: when a cell with a time to live ends (the server's clock decides), and that
//! only for a few seconds around the moment.

use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Unknown mutations, and cells about to expire, of one partition that are told apart; beyond it the partition is left
/// alone. Each doubles the states to compare with.
pub const UNCERTAIN_MAX: usize = 6;

/// Clustering values, in the order of the table's columns.
pub type Clustering = Vec<i32>;

/// Column name → what it becomes.
pub type Cells = BTreeMap<&'static str, CellChange>;

#[derive(Clone, Debug, PartialEq)]
pub enum CellChange {
    /// Serialized.
    Set(Bytes),
    Delete,
    /// Element by element: `None` removes.
    Elements(BTreeMap<i32, Option<i32>>),
    /// All elements at once.
    Overwrite(BTreeMap<i32, Option<i32>>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct RowChange {
    /// `None`: the static row.
    pub clustering: Option<Clustering>,
    /// INSERT: the row is there even if all its cells are null.
    pub marker: bool,
    pub cells: Cells,
}

/// Rows whose clustering begins with `prefix` and goes on between two bounds (inclusive), in the order of values.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    pub prefix: Clustering,
    pub from: i32,
    pub to: i32,
}

impl Range {
    /// The one row.
    pub fn row(clustering: &[i32]) -> Range {
        let (last, prefix) = clustering.split_last().map_or((0, &[][..]), |(last, prefix)| (*last, prefix));
        Range { prefix: prefix.to_vec(), from: last, to: last }
    }

    pub fn holds(&self, clustering: &[i32]) -> bool {
        let next = clustering.get(self.prefix.len());
        clustering.starts_with(&self.prefix) && next.is_none_or(|next| (self.from..=self.to).contains(next))
    }
}

/// When cells with a time to live end: alive before the first, gone after the second; seconds of wall time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expiry {
    pub alive_before: i64,
    pub gone_after: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Acknowledged,
    /// It may have happened, or may still.
    Unknown,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Mutation {
    /// Unique in the partition.
    pub timestamp: i64,
    pub outcome: Outcome,
    pub expiry: Option<Expiry>,
    pub deletes_partition: bool,
    pub deletes: Vec<Range>,
    pub rows: Vec<RowChange>,
}

impl Mutation {
    pub fn new(timestamp: i64) -> Mutation {
        let (outcome, rows) = (Outcome::Unknown, Vec::new());
        Mutation { timestamp, outcome, expiry: None, deletes_partition: false, deletes: Vec::new(), rows }
    }
}

/// A row as a read shows it: column → serialized value.
pub type Row = BTreeMap<&'static str, Bytes>;

/// A partition as a read shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    pub static_row: Row,
    pub rows: BTreeMap<Clustering, Row>,
}

/// All that was asked of one partition.
#[derive(Clone, Debug, Default)]
pub struct History {
    mutations: Vec<Mutation>,
}

/// One way the unknown may have come out.
struct Guess<'a> {
    happened: Vec<&'a Mutation>,
    expired: BTreeSet<i64>,
}

impl History {
    pub fn push(&mut self, mutation: Mutation) {
        self.mutations.push(mutation);
    }

    pub fn mutations(&self) -> usize {
        self.mutations.len()
    }

    pub fn unknown(&self) -> usize {
        self.mutations.iter().filter(|mutation| mutation.outcome == Outcome::Unknown).count()
    }

    /// Mutations and expiries that are not certain at this second.
    pub fn uncertain(&self, now: i64) -> usize {
        self.unknown() + self.mutations.iter().filter(|mutation| is_expiring(mutation, now)).count()
    }

    /// The answer to the mutation with this timestamp has come.
    pub fn settle(&mut self, timestamp: i64, outcome: Option<Outcome>) {
        match outcome {
            Some(outcome) => {
                let found = self.mutations.iter_mut().find(|mutation| mutation.timestamp == timestamp);
                if let Some(mutation) = found {
                    mutation.outcome = outcome;
                }
            }
            None => self.mutations.retain(|mutation| mutation.timestamp != timestamp),
        }
    }

    /// Every state a read may show at this second; the one where nothing unknown happened comes first.
    pub fn views(&self, now: i64) -> Vec<View> {
        self.guesses(now).into_iter().map(|(guess, _)| guess.view(now)).collect()
    }

    /// A read has shown `found`. What happened in all explanations of it has happened, and stays. What happened in none
    /// may still happen, unless it was asked before the node last started (`settled_before`, a timestamp).
    pub fn learn(&mut self, found: &View, now: i64, settled_before: i64) {
        let explanations: Vec<BTreeSet<i64>> = self
            .guesses(now)
            .into_iter()
            .filter(|(guess, _)| guess.view(now) == *found)
            .map(|(_, happened)| happened)
            .collect();
        let unknown: Vec<i64> = self.unknown_timestamps();
        for timestamp in unknown {
            let happened = explanations.iter().filter(|set| set.contains(&timestamp)).count();
            if !explanations.is_empty() && happened == explanations.len() {
                self.settle(timestamp, Some(Outcome::Acknowledged));
            } else if !explanations.is_empty() && happened == 0 && timestamp < settled_before {
                self.settle(timestamp, None);
            }
        }
    }

    fn unknown_timestamps(&self) -> Vec<i64> {
        let unknown = self.mutations.iter().filter(|mutation| mutation.outcome == Outcome::Unknown);
        unknown.map(|mutation| mutation.timestamp).collect()
    }

    /// All combinations, with the unknown mutations that happened in each.
    fn guesses(&self, now: i64) -> Vec<(Guess<'_>, BTreeSet<i64>)> {
        let unknown: Vec<&Mutation> = self.mutations.iter().filter(|m| m.outcome == Outcome::Unknown).collect();
        let expiring: Vec<i64> =
            self.mutations.iter().filter(|m| is_expiring(m, now)).map(|mutation| mutation.timestamp).collect();
        let bits = (unknown.len() + expiring.len()).min(2 * UNCERTAIN_MAX);
        let mut guesses = Vec::new();
        for choice in 0..1u32 << bits {
            let chosen = |bit: usize| choice >> bit & 1 == 1;
            let happened: BTreeSet<i64> = unknown
                .iter()
                .enumerate()
                .filter(|(bit, _)| chosen(*bit))
                .map(|(_, mutation)| mutation.timestamp)
                .collect();
            let expired = expiring.iter().enumerate().filter(|(bit, _)| chosen(unknown.len() + *bit));
            let certain = |mutation: &&Mutation| {
                mutation.outcome == Outcome::Acknowledged || happened.contains(&mutation.timestamp)
            };
            let mutations = self.mutations.iter().filter(certain).collect();
            let expired = expired.map(|(_, timestamp)| *timestamp).collect();
            guesses.push((Guess { happened: mutations, expired }, happened));
        }
        guesses
    }
}

fn is_expiring(mutation: &Mutation, now: i64) -> bool {
    mutation.expiry.is_some_and(|expiry| (expiry.alive_before..=expiry.gone_after).contains(&now))
}

impl Guess<'_> {
    fn is_alive(&self, mutation: &Mutation, now: i64) -> bool {
        match mutation.expiry {
            None => true,
            Some(expiry) if now < expiry.alive_before => true,
            Some(expiry) if now > expiry.gone_after => false,
            Some(_) => !self.expired.contains(&mutation.timestamp),
        }
    }

    fn view(&self, now: i64) -> View {
        let mut keys: BTreeSet<&Clustering> = BTreeSet::new();
        for row in self.happened.iter().flat_map(|mutation| &mutation.rows) {
            keys.extend(&row.clustering);
        }
        let (static_row, _) = self.row(None, now);
        let mut view = View { static_row, rows: BTreeMap::new() };
        for key in keys {
            let (row, is_there) = self.row(Some(key), now);
            if is_there {
                view.rows.insert(key.clone(), row);
            }
        }
        view
    }

    /// The latest deletion over a row.
    fn deleted_at(&self, clustering: Option<&Clustering>) -> i64 {
        let covers = |mutation: &&&Mutation| {
            mutation.deletes_partition
                || clustering.is_some_and(|key| mutation.deletes.iter().any(|range| range.holds(key)))
        };
        self.happened.iter().filter(covers).map(|mutation| mutation.timestamp).max().unwrap_or(i64::MIN)
    }

    /// The cells of a row, and whether there is a row.
    fn row(&self, clustering: Option<&Clustering>, now: i64) -> (Row, bool) {
        let deleted_at = self.deleted_at(clustering);
        let mut changes: Vec<(&Mutation, &RowChange)> = Vec::new();
        for mutation in self.happened.iter().filter(|mutation| mutation.timestamp > deleted_at) {
            let rows = mutation.rows.iter().filter(|row| row.clustering.as_ref() == clustering);
            changes.extend(rows.map(|row| (*mutation, row)));
        }
        changes.sort_by_key(|(mutation, _)| mutation.timestamp);
        let marker = changes.iter().rev().find(|(_, row)| row.marker);
        let mut is_there = marker.is_some_and(|(mutation, _)| self.is_alive(mutation, now));
        let columns: BTreeSet<&'static str> = changes.iter().flat_map(|(_, row)| row.cells.keys().copied()).collect();
        let mut row = Row::new();
        for column in columns {
            if let Some(value) = self.cell(&changes, column, now) {
                row.insert(column, value);
                is_there = true;
            }
        }
        (row, is_there)
    }

    /// The value of a column, from changes in the order of their timestamps.
    fn cell(&self, changes: &[(&Mutation, &RowChange)], column: &str, now: i64) -> Option<Bytes> {
        let mut value = None;
        let mut elements: BTreeMap<i32, (Option<i32>, bool)> = BTreeMap::new();
        for (mutation, row) in changes {
            let alive = self.is_alive(mutation, now);
            match row.cells.get(column) {
                None => {}
                Some(CellChange::Set(bytes)) => value = alive.then(|| bytes.clone()),
                Some(CellChange::Delete) => {
                    value = None;
                    elements.clear();
                }
                Some(CellChange::Overwrite(new)) => {
                    elements = new.iter().map(|(key, value)| (*key, (*value, alive))).collect();
                }
                Some(CellChange::Elements(new)) => {
                    for (key, element) in new {
                        elements.insert(*key, (*element, alive && element.is_some()));
                    }
                }
            }
        }
        let live = elements.into_iter().filter(|(_, (_, alive))| *alive);
        let live: Vec<(i32, i32)> = live.filter_map(|(key, (value, _))| Some((key, value?))).collect();
        if live.is_empty() { value } else { Some(serialize_map(&live)) }
    }
}

/// A `map<int, int>` in the order of its keys.
pub fn serialize_map(entries: &[(i32, i32)]) -> Bytes {
    let mut out = Vec::with_capacity(4 + entries.len() * 16);
    out.extend_from_slice(&(entries.len() as i32).to_be_bytes());
    for number in entries.iter().flat_map(|(key, value)| [*key, *value]) {
        out.extend_from_slice(&4i32.to_be_bytes());
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(clustering: i32, column: &'static str, value: &'static str) -> RowChange {
        let cells = Cells::from([(column, CellChange::Set(Bytes::from_static(value.as_bytes())))]);
        RowChange { clustering: Some(vec![clustering]), marker: true, cells }
    }

    fn acknowledged(timestamp: i64, rows: Vec<RowChange>) -> Mutation {
        Mutation { outcome: Outcome::Acknowledged, rows, ..Mutation::new(timestamp) }
    }

    fn cell(view: &View, clustering: i32, column: &str) -> Option<Bytes> {
        view.rows.get(&vec![clustering]).and_then(|row| row.get(column)).cloned()
    }

    #[test]
    fn acknowledged_is_there_and_unknown_may_be() {
        let mut history = History::default();
        history.push(acknowledged(10, vec![set(1, "v", "a")]));
        history.push(Mutation { rows: vec![set(1, "v", "b"), set(2, "v", "b")], ..Mutation::new(20) });
        let views = history.views(0);
        let seen: Vec<_> = views.iter().map(|view| (cell(view, 1, "v"), cell(view, 2, "v"))).collect();
        // Both rows of the unknown mutation or none: never one.
        let (a, b) = (Some(Bytes::from_static(b"a")), Some(Bytes::from_static(b"b")));
        assert_eq!(seen, [(a.clone(), None), (b.clone(), b.clone())]);
        let mut happened = history.clone();
        happened.learn(&views[1], 0, 0);
        assert_eq!((happened.unknown(), happened.mutations()), (0, 2));
        history.learn(&views[0], 0, 20);
        assert_eq!(history.unknown(), 1, "it may still happen");
        history.learn(&views[0], 0, 21);
        assert_eq!((history.unknown(), history.mutations()), (0, 1));
    }

    #[test]
    fn deletions_cover_what_is_older_and_the_static_row_only_with_its_partition() {
        let mut history = History::default();
        let cells = Cells::from([("s", CellChange::Set(Bytes::from_static(b"s")))]);
        history.push(acknowledged(5, vec![RowChange { clustering: None, marker: false, cells }]));
        history.push(acknowledged(10, vec![set(1, "v", "a"), set(2, "v", "a"), set(3, "v", "a")]));
        let range = Range { prefix: vec![], from: 1, to: 2 };
        history.push(Mutation { deletes: vec![range], ..acknowledged(20, vec![]) });
        history.push(acknowledged(15, vec![set(2, "v", "late")]));
        history.push(acknowledged(25, vec![set(1, "w", "b")]));
        let view = &history.views(0)[0];
        assert_eq!(view.rows.keys().collect::<Vec<_>>(), [&vec![1], &vec![3]]);
        assert_eq!(cell(view, 1, "v"), None);
        assert_eq!(view.static_row.len(), 1);
        history.push(Mutation { deletes_partition: true, ..acknowledged(30, vec![]) });
        assert_eq!(history.views(0), [View::default()]);
    }

    #[test]
    fn expiry_is_certain_except_around_its_moment() {
        let mut history = History::default();
        let expiry = Some(Expiry { alive_before: 100, gone_after: 103 });
        history.push(Mutation { expiry, ..acknowledged(10, vec![set(1, "v", "a")]) });
        let counts = |now| history.views(now).iter().map(|view| view.rows.len()).collect::<Vec<_>>();
        assert_eq!(counts(99), [1]);
        assert_eq!(counts(101), [1, 0]);
        assert_eq!(counts(104), [0]);
    }

    #[test]
    fn elements_are_told_apart_and_an_overwrite_ends_them() {
        let mut history = History::default();
        let change =
            |change| RowChange { clustering: Some(vec![1]), marker: true, cells: Cells::from([("m", change)]) };
        let elements = |entries: &[(i32, Option<i32>)]| entries.iter().copied().collect::<BTreeMap<_, _>>();
        history.push(acknowledged(10, vec![change(CellChange::Overwrite(elements(&[(1, Some(1)), (2, Some(2))])))]));
        history.push(acknowledged(20, vec![change(CellChange::Elements(elements(&[(1, None), (3, Some(3))])))]));
        assert_eq!(cell(&history.views(0)[0], 1, "m"), Some(serialize_map(&[(2, 2), (3, 3)])));
        history.push(acknowledged(15, vec![change(CellChange::Overwrite(elements(&[(9, Some(9))])))]));
        assert_eq!(cell(&history.views(0)[0], 1, "m"), Some(serialize_map(&[(3, 3), (9, 9)])));
        history.push(acknowledged(30, vec![change(CellChange::Delete)]));
        let view = &history.views(0)[0];
        assert_eq!((view.rows.len(), cell(view, 1, "m")), (1, None));
    }
}
