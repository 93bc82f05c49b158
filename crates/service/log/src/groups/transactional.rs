//! Offsets that are committed in transactions: kept apart until the transaction ends (KIP-447; `OffsetMetadataManager` of Kafka).
//!
//! ```text
//!   commit_transactional ─► pending, by producer ─► end_transaction: commit ─► offsets of the group
//!                                                                    abort ──► nothing
//! ```
//! A commit that comes after the end of its transaction would stay pending until the next one ends, and be part of that. So whoever asks
//! says what it had seen of ends of the producer ([`Coordinator::ends_seen`]) before it asked whether the transaction is open.

use std::collections::{BTreeMap, BTreeSet};

use crate::groups::answer::{Answer, Output};
use crate::groups::coordinator::Coordinator;
use crate::groups::error::GroupError;
use crate::groups::group::{Group, State};
use crate::groups::image::{Offsets, put};
use crate::groups::limits::{ENDED_MAX, ENDED_MS, GROUPS_MAX};
use crate::groups::record::{OffsetRecord, Record};
use crate::groups::request::{Commit, Name, RequestNumber, Time};
use crate::groups::writes::Effect;

/// The last end of a transaction of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) epoch: i16,
    /// Milliseconds of the wall clock.
    pub(crate) at_ms: i64,
}

/// What is durable of open transactions, and of the last ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transactional {
    pending: BTreeMap<i64, BTreeMap<Name, Offsets>>,
    producers: BTreeMap<Name, BTreeSet<i64>>,
    ended: BTreeMap<i64, Ended>,
    /// Of ends that were asked for, durable or not: the epoch, and how many there were.
    asked: BTreeMap<i64, (i16, u64)>,
}

impl Transactional {
    pub(crate) fn put(&mut self, producer_id: i64, group: &Name, offsets: Vec<OffsetRecord>) {
        self.producers.entry(group.clone()).or_default().insert(producer_id);
        put(self.pending.entry(producer_id).or_default().entry(group.clone()).or_default(), offsets);
    }

    /// What was pending, by group.
    pub(crate) fn end(&mut self, producer_id: i64, ended: Ended) -> BTreeMap<Name, Offsets> {
        let last = self.ended.entry(producer_id).or_insert(ended);
        *last = Ended { epoch: last.epoch.max(ended.epoch), at_ms: ended.at_ms };
        if self.ended.len() > ENDED_MAX {
            self.ended.retain(|_, last| ended.at_ms.saturating_sub(last.at_ms) < ENDED_MS);
        }
        let groups = self.pending.remove(&producer_id).unwrap_or_default();
        groups.keys().for_each(|group| self.forget_producer(group, producer_id));
        groups
    }

    fn forget_producer(&mut self, group: &Name, producer_id: i64) {
        if let Some(producers) = self.producers.get_mut(group) {
            producers.remove(&producer_id);
            if producers.is_empty() {
                self.producers.remove(group);
            }
        }
    }

    /// The group is no more.
    pub(crate) fn forget(&mut self, group: &Name) {
        for producer_id in self.producers.remove(group).unwrap_or_default() {
            if let Some(groups) = self.pending.get_mut(&producer_id) {
                groups.remove(group);
                if groups.is_empty() {
                    self.pending.remove(&producer_id);
                }
            }
        }
    }

    pub(crate) fn has(&self, group: &Name) -> bool {
        self.producers.contains_key(group)
    }

    pub(crate) fn holds(&self, group: &Name, topic: &Name, partition: i32) -> bool {
        let pending = |producer_id: &i64| self.pending.get(producer_id)?.get(group)?.get(topic)?.get(&partition);
        self.producers.get(group).is_some_and(|producers| producers.iter().any(|one| pending(one).is_some()))
    }

    fn asked(&mut self, producer_id: i64, epoch: i16) {
        if self.asked.len() >= ENDED_MAX {
            // Nobody asks for so long that it would matter: those that are in the log are compared, too.
            self.asked.clear();
        }
        let (last, count) = self.asked.entry(producer_id).or_insert((epoch, 0));
        (*last, *count) = ((*last).max(epoch), *count + 1);
    }

    fn seen(&self, producer_id: i64) -> u64 {
        self.asked.get(&producer_id).map_or(0, |(_, count)| *count)
    }

    /// An epoch that must not commit any more.
    fn is_fenced(&self, producer_id: i64, epoch: i16) -> bool {
        let durable = self.ended.get(&producer_id).map(|ended| ended.epoch);
        let asked = self.asked.get(&producer_id).map(|(epoch, _)| *epoch);
        durable.max(asked).is_some_and(|last| epoch < last)
    }

    /// As records, from which it can be made again.
    pub(crate) fn records(&self) -> Vec<Record> {
        let ended = self.ended.iter().map(|(&producer_id, &Ended { epoch, at_ms })| Record::TransactionEnded {
            producer_id,
            producer_epoch: epoch,
            commit: false,
            at_ms,
        });
        let pending = self.pending.iter().flat_map(|(&producer_id, groups)| {
            groups.iter().map(move |(group, offsets)| Record::TransactionalOffsets {
                producer_id,
                group: group.clone(),
                offsets: crate::groups::image::records_of(offsets),
            })
        });
        ended.chain(pending).collect()
    }
}

/// TxnOffsetCommit, versions 0 to 5.
#[derive(Clone, Debug)]
pub struct TransactionalCommit {
    pub commit: Commit,
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// Of [`Coordinator::ends_seen`].
    pub ends_seen: u64,
}

impl Coordinator {
    /// How many ends of transactions of a producer were asked for: to be taken before it is asked whether its transaction is open.
    pub fn ends_seen(&self, producer_id: i64) -> u64 {
        self.transactional.seen(producer_id)
    }

    /// Keeps offsets until the transaction ends. The answer comes when they are durable.
    pub fn commit_transactional(
        &mut self,
        time: Time,
        number: RequestNumber,
        request: TransactionalCommit,
        out: &mut Output,
    ) {
        let TransactionalCommit { commit, producer_id, producer_epoch, ends_seen } = request;
        let groups = self.groups.len();
        let (all, mut step) = self.parts(time, out);
        let checked = if step.transactional.is_fenced(producer_id, producer_epoch) {
            Err(GroupError::InvalidProducerEpoch)
        } else if step.transactional.seen(producer_id) != ends_seen {
            Err(GroupError::InvalidTxnState)
        } else {
            match all.get(&commit.group) {
                _ if commit.group.is_empty() => Err(GroupError::InvalidGroupId),
                Some(group) => check_commit(group, &commit),
                None if commit.generation >= 0 => Err(GroupError::IllegalGeneration),
                None if groups >= GROUPS_MAX => Err(GroupError::CoordinatorNotAvailable),
                None => Ok(()),
            }
        };
        let (answer, offsets) = step.commit(&commit, checked);
        if offsets.is_empty() {
            return step.answer(number, Answer::Commit(answer));
        }
        let record = Record::TransactionalOffsets { producer_id, group: commit.group, offsets };
        let write = step.write(vec![record], Effect::None);
        step.answer_after(Some(write), number, Answer::Commit(answer));
    }

    /// A transaction is over: its offsets count from now on, or are forgotten. The answer comes when that is durable.
    pub fn end_transaction(
        &mut self,
        time: Time,
        number: RequestNumber,
        producer: (i64, i16),
        commit: bool,
        out: &mut Output,
    ) {
        let (producer_id, producer_epoch) = producer;
        let (_, mut step) = self.parts(time, out);
        step.transactional.asked(producer_id, producer_epoch);
        let at_ms = step.now_ms();
        let record = Record::TransactionEnded { producer_id, producer_epoch, commit, at_ms };
        let write = step.write(vec![record], Effect::None);
        step.answer_after(Some(write), number, Answer::TransactionEnded(None));
    }
}

/// `ClassicGroup.validateOffsetCommit` of a transaction: who names no member (KIP-447 came later) is believed.
fn check_commit(group: &Group, commit: &Commit) -> Result<(), GroupError> {
    if group.state == State::Dead {
        return Err(GroupError::CoordinatorNotAvailable);
    }
    if commit.generation < 0 && (group.state == State::Empty || commit.member.is_empty() && commit.instance.is_none()) {
        return Ok(());
    }
    group.check_member(&commit.member, commit.instance.as_ref())?;
    if commit.generation == group.generation { Ok(()) } else { Err(GroupError::IllegalGeneration) }
}
