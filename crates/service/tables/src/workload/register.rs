//! One row that only conditional statements write: what its value may be.
//!
//! A conditional statement answers what it found and whether it applied. One without an answer may have applied, or may
//! still: until the node has started anew it stays pending, and whenever its condition holds it may take effect.

use std::collections::BTreeSet;

/// A conditional statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// INSERT … IF NOT EXISTS
    Insert { value: i32 },
    /// UPDATE … SET v = value IF v = expected
    Update { expected: i32, value: i32 },
    /// DELETE … IF EXISTS
    Delete,
}

impl Change {
    /// The value after it, if its condition holds; the outer `None` if it does not.
    pub fn apply(self, found: Option<i32>) -> Option<Option<i32>> {
        match self {
            Change::Insert { value } => found.is_none().then_some(Some(value)),
            Change::Update { expected, value } => (found == Some(expected)).then_some(Some(value)),
            Change::Delete => found.is_some().then_some(None),
        }
    }
}

/// `None`: no row.
#[derive(Clone, Debug)]
pub struct Register {
    possible: BTreeSet<Option<i32>>,
    pending: Vec<Change>,
}

impl Default for Register {
    fn default() -> Self {
        Register { possible: BTreeSet::from([None]), pending: Vec::new() }
    }
}

impl Register {
    /// Any value it may have now.
    pub fn possible(&self) -> BTreeSet<Option<i32>> {
        let mut all = self.possible.clone();
        // Each pending change takes effect at most once, so as many rounds as there are reach everything.
        for _ in 0..self.pending.len() {
            let more: Vec<Option<i32>> =
                all.iter().flat_map(|found| self.pending.iter().filter_map(|change| change.apply(*found))).collect();
            all.extend(more);
        }
        all
    }

    /// A read, or a statement that did not apply, has shown this value.
    ///
    /// # Errors
    /// The value cannot be there.
    pub fn saw(&mut self, found: Option<i32>) -> Result<(), String> {
        let possible = self.possible();
        if !possible.contains(&found) {
            return Err(format!("found {found:?}, possible are {possible:?}"));
        }
        self.possible = BTreeSet::from([found]);
        Ok(())
    }

    /// A statement was answered with `[applied]` true.
    ///
    /// # Errors
    /// Its condition can hold in no state.
    pub fn applied(&mut self, change: Change) -> Result<(), String> {
        let possible = self.possible();
        let after: BTreeSet<Option<i32>> = possible.iter().filter_map(|found| change.apply(*found)).collect();
        if after.is_empty() {
            return Err(format!("{change:?} applied, possible were {possible:?}"));
        }
        self.possible = after;
        Ok(())
    }

    /// A statement was answered with `[applied]` false, and with what it found.
    ///
    /// # Errors
    /// What it found cannot be there, or meets its condition.
    pub fn refused(&mut self, change: Change, found: Option<i32>) -> Result<(), String> {
        if change.apply(found).is_some() {
            return Err(format!("{change:?} did not apply but found {found:?}"));
        }
        self.saw(found)
    }

    /// No answer came.
    pub fn unknown(&mut self, change: Change) {
        self.pending.push(change);
    }

    /// The node has started anew: what has not happened will not.
    pub fn restarted(&mut self) {
        self.possible = self.possible();
        self.pending.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_must_fit_what_was_answered_before() {
        let mut register = Register::default();
        assert!(register.applied(Change::Insert { value: 1 }).is_ok());
        assert!(register.clone().applied(Change::Insert { value: 2 }).is_err());
        assert!(register.clone().saw(None).is_err());
        assert!(register.refused(Change::Insert { value: 2 }, Some(1)).is_ok());
        assert!(register.clone().refused(Change::Update { expected: 1, value: 2 }, Some(1)).is_err());
        assert!(register.applied(Change::Update { expected: 1, value: 2 }).is_ok());
        assert!(register.applied(Change::Delete).is_ok());
        assert_eq!(register.possible(), BTreeSet::from([None]));
    }

    #[test]
    fn without_an_answer_both_are_possible_until_one_is_seen() {
        let mut register = Register::default();
        register.unknown(Change::Insert { value: 1 });
        register.unknown(Change::Update { expected: 1, value: 2 });
        assert_eq!(register.possible(), BTreeSet::from([None, Some(1), Some(2)]));
        // Seen absent: it may still happen, until the node starts anew.
        assert!(register.saw(None).is_ok());
        assert!(register.clone().saw(Some(2)).is_ok());
        register.restarted();
        assert!(register.saw(Some(2)).is_ok());
        assert!(register.saw(None).is_err());
    }
}
