//! What became of each transaction, and who may be told of a success.

use holon_base::TabletId;
use holon_log::groups::Name;
use std::collections::{BTreeMap, BTreeSet};

pub type Checked = Result<(), String>;

/// A transaction as its producer sees it.
#[derive(Debug, Default)]
struct Transaction {
    commit_asked: bool,
    /// What its producer was told.
    told: Option<bool>,
    written: BTreeSet<TabletId>,
    ended: BTreeMap<TabletId, bool>,
}

#[derive(Default)]
pub struct Checks {
    transactions: BTreeMap<u64, Transaction>,
    /// The last instance of each id that was told that it is initialised.
    owners: BTreeMap<Name, usize>,
}

impl Checks {
    pub fn commit_asked(&mut self, serial: u64) {
        self.transactions.entry(serial).or_default().commit_asked = true;
    }

    pub fn written(&mut self, serial: u64, partition: TabletId) {
        self.transactions.entry(serial).or_default().written.insert(partition);
    }

    pub fn is_written(&self, serial: u64, partition: TabletId) -> bool {
        self.transactions.get(&serial).is_some_and(|transaction| transaction.written.contains(&partition))
    }

    pub fn told(&mut self, serial: u64, commit: bool) -> Checked {
        let transaction = self.transactions.entry(serial).or_default();
        if transaction.told.is_some_and(|told| told != commit) {
            return Err(format!("transaction {serial} was told of both ends"));
        }
        transaction.told = Some(commit);
        transaction.check(serial)
    }

    /// A marker ended it in a partition.
    pub fn ended(&mut self, serial: u64, partition: TabletId, commit: bool) -> Checked {
        let transaction = self.transactions.entry(serial).or_default();
        transaction.ended.insert(partition, commit);
        transaction.check(serial)
    }

    pub fn all_ended(&self) -> Checked {
        for (serial, transaction) in &self.transactions {
            if let Some(open) = transaction.written.iter().find(|one| !transaction.ended.contains_key(one)) {
                return Err(format!("in the end transaction {serial} is open in {open:?}: {transaction:?}"));
            }
        }
        Ok(())
    }

    pub fn owner(&self, id: &Name) -> Option<usize> {
        self.owners.get(id).copied()
    }

    pub fn initialised(&mut self, id: &Name, client: usize) {
        self.owners.insert(id.clone(), client);
    }

    /// `owner`: the one when it was asked.
    pub fn success(&self, owner: Option<usize>, client: usize, what: &str) -> Checked {
        match owner {
            Some(owner) if owner != client => {
                Err(format!("a success of an earlier instance: {what} of {client}, when {owner} was initialised"))
            }
            _ => Ok(()),
        }
    }
}

impl Transaction {
    fn check(&self, serial: u64) -> Checked {
        let outcomes: BTreeSet<bool> = self.ended.values().copied().collect();
        if outcomes.len() > 1 {
            return Err(format!("transaction {serial} was both committed and aborted: {self:?}"));
        }
        if outcomes.contains(&true) && !self.commit_asked {
            return Err(format!("transaction {serial} was committed and its commit was not asked for: {self:?}"));
        }
        if self.told.is_some_and(|told| outcomes.contains(&!told)) {
            return Err(format!(
                "what was told of transaction {serial} is not what became of it: it was told {self:?}"
            ));
        }
        Ok(())
    }
}
