//! The shadow of a store: what each cell may show, given what was acknowledged, what was refused, and what nobody knows.
//!
//! Every mutation has a timestamp of its own, so for each cell the highest applied one decides. A mutation is in flight,
//! acknowledged, refused (never applied), or unknown (a crash took the answer). A read must show, for each cell, the highest
//! acknowledged mutation or a higher one in flight or unknown. What a read shows is known from then on: a later read may
//! not go back behind it, and, since a mutation is applied whole, neither behind its other cells. Acknowledged with
//! `periodic` durability is kept only until a crash.

use holon_store::{CellKind, Durability, Row};
use std::collections::BTreeMap;

pub const COLUMNS: u32 = 3;

/// tablet number, key, column
pub type CellName = (u32, Vec<u8>, u32);

#[derive(Clone, PartialEq, Eq)]
pub enum Effect {
    Value { value: Vec<u8>, expires_at_seconds: Option<i64> },
    Deleted,
}

impl std::fmt::Debug for Effect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Effect::Value { value, expires_at_seconds: None } => write!(f, "{} bytes", value.len()),
            Effect::Value { value, expires_at_seconds: Some(at) } => write!(f, "{} bytes until {at}", value.len()),
            Effect::Deleted => write!(f, "deleted"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    InFlight,
    /// Applied for certain; reads that began after this step must show it.
    Known {
        since: u64,
    },
    Unknown,
}

struct MutationShadow {
    state: State,
    durability: Durability,
    cells: Vec<CellName>,
}

#[derive(Default)]
pub struct Model {
    mutations: BTreeMap<i64, MutationShadow>,
    /// Timestamp → effect, of each cell that was ever written.
    cells: BTreeMap<CellName, BTreeMap<i64, Effect>>,
    /// Counts events, to order "known" and "began".
    clock: u64,
    /// When the reads began that have not been checked yet.
    reading: std::collections::BTreeSet<u64>,
}

impl Model {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// A read goes out; the number goes to [`Model::check`] and, when all its keys are checked, to [`Model::read_ended`].
    pub fn read_begins(&mut self) -> u64 {
        let began = self.tick();
        self.reading.insert(began);
        began
    }

    pub fn read_ended(&mut self, began: u64) {
        self.reading.remove(&began);
    }

    /// A mutation goes out. `timestamp` is larger than that of any before it.
    pub fn begin(&mut self, timestamp: i64, durability: Durability, effects: Vec<(CellName, Effect)>) {
        let cells = effects.iter().map(|(name, _)| name.clone()).collect();
        for (name, effect) in effects {
            self.cells.entry(name).or_default().insert(timestamp, effect);
        }
        self.mutations.insert(timestamp, MutationShadow { state: State::InFlight, durability, cells });
    }

    pub fn acknowledged(&mut self, timestamp: i64) {
        self.learn(timestamp);
    }

    /// It was not written, and will not be.
    pub fn refused(&mut self, timestamp: i64) {
        if let Some(mutation) = self.mutations.remove(&timestamp) {
            for name in mutation.cells {
                self.cells.entry(name).or_default().remove(&timestamp);
            }
        }
    }

    /// Nobody will say whether it was written.
    pub fn unknown(&mut self, timestamp: i64) {
        if let Some(mutation) = self.mutations.get_mut(&timestamp)
            && mutation.state == State::InFlight
        {
            mutation.state = State::Unknown;
        }
    }

    /// The power went, or the process ended by itself: nothing is in flight any more, and what was not promised to be synced may be gone.
    pub fn crashed(&mut self) {
        self.reading.clear();
        for mutation in self.mutations.values_mut() {
            if mutation.state == State::InFlight || mutation.durability == Durability::Periodic {
                mutation.state = State::Unknown;
            }
        }
    }

    /// A clean stop: what was acknowledged is there, what was in flight nobody knows.
    pub fn ended(&mut self) {
        self.reading.clear();
        for mutation in self.mutations.values_mut() {
            if mutation.state == State::InFlight {
                mutation.state = State::Unknown;
            }
        }
    }

    /// Keys that were ever written, of a tablet.
    pub fn keys(&self, tablet: u32) -> Vec<Vec<u8>> {
        let mut keys: Vec<Vec<u8>> = self
            .cells
            .range((tablet, Vec::new(), 0)..(tablet + 1, Vec::new(), 0))
            .map(|((_, key, _), _)| key.clone())
            .collect();
        keys.dedup();
        keys
    }

    /// Holds the row of a key that a read gave against what is known. `began`: from [`Model::read_begins`].
    pub fn check(
        &mut self,
        tablet: u32,
        key: &[u8],
        row: Option<&Row>,
        began: u64,
        now_seconds: i64,
    ) -> Result<(), String> {
        for column in 0..COLUMNS {
            let seen = row.and_then(|row| row.cell(column));
            if seen.is_some_and(|cell| !matches!(cell.kind, CellKind::Live | CellKind::Expiring { .. })) {
                return Err(format!("tablet {tablet} key {key:?} column {column}: a read shows a tombstone"));
            }
            let seen = seen.map(|cell| (cell.timestamp, cell.value.to_vec()));
            self.check_cell((tablet, key.to_vec(), column), seen, began, now_seconds)?;
        }
        Ok(())
    }

    fn known_before(&self, timestamp: i64, began: u64) -> bool {
        matches!(self.mutations.get(&timestamp), Some(MutationShadow { state: State::Known { since }, .. }) if *since <= began)
    }

    fn check_cell(
        &mut self,
        name: CellName,
        seen: Option<(i64, Vec<u8>)>,
        began: u64,
        now_seconds: i64,
    ) -> Result<(), String> {
        let empty = BTreeMap::new();
        let history = self.cells.get(&name).unwrap_or(&empty);
        let certain = history.keys().rev().copied().find(|timestamp| self.known_before(*timestamp, began));
        let certain_effect = certain.and_then(|timestamp| history.get(&timestamp));
        let wrong = |what: String| {
            let tail: Vec<_> = history
                .iter()
                .rev()
                .take(6)
                .map(|(t, e)| (t, e, self.mutations.get(t).map(|m| (m.state, m.durability))))
                .collect();
            Err(format!(
                "tablet {} key {:?} column {}: {what}; certain: {certain:?}; began {began} at second {now_seconds}; history: {tail:?}",
                name.0, name.1, name.2
            ))
        };
        match seen {
            Some((timestamp, value)) => {
                if certain.is_some_and(|certain| timestamp < certain) {
                    return wrong(format!("shows {} bytes at {timestamp}, older than what is certain", value.len()));
                }
                match history.get(&timestamp) {
                    Some(Effect::Value { value: written, .. }) if *written == value => {}
                    other => {
                        return wrong(format!(
                            "shows {} bytes at {timestamp}, where {other:?} was written",
                            value.len()
                        ));
                    }
                }
                if expired(history.get(&timestamp), now_seconds) {
                    return wrong(format!(
                        "shows {} bytes at {timestamp}, which has expired by {now_seconds}",
                        value.len()
                    ));
                }
                self.learn(timestamp);
            }
            None => {
                let shows_nothing = |effect: &Effect| *effect == Effect::Deleted || expired(Some(effect), now_seconds);
                let explained = certain_effect.is_none_or(shows_nothing);
                let later = history.range(certain.map_or(i64::MIN, |certain| certain + 1)..);
                if !explained && !later.into_iter().any(|(_, effect)| shows_nothing(effect)) {
                    return wrong("shows nothing".to_string());
                }
            }
        }
        self.forget_older(&name);
        Ok(())
    }

    /// It was acknowledged, or a read has shown it: it is applied, whatever becomes of the answer.
    fn learn(&mut self, timestamp: i64) {
        let since = self.tick();
        if let Some(mutation) = self.mutations.get_mut(&timestamp)
            && !matches!(mutation.state, State::Known { .. })
        {
            mutation.state = State::Known { since };
        }
    }

    /// Below the highest synced mutation that is known for good nothing can show again to a read that begins now: only a
    /// lie would, and it is then missing from the history and found all the same.
    fn forget_older(&mut self, name: &CellName) {
        let Some(history) = self.cells.get_mut(name) else { return };
        let oldest_read = self.reading.first().copied().unwrap_or(u64::MAX);
        let durable = |timestamp: &i64| {
            let mutation = self.mutations.get(timestamp);
            let known = |state| matches!(state, State::Known { since } if since <= oldest_read);
            mutation.is_some_and(|m| m.durability == Durability::Sync && known(m.state))
        };
        if let Some(keep) = history.keys().rev().copied().find(durable) {
            *history = history.split_off(&keep);
        }
    }
}

fn expired(effect: Option<&Effect>, now_seconds: i64) -> bool {
    matches!(effect, Some(Effect::Value { expires_at_seconds: Some(at), .. }) if *at <= now_seconds)
}
