//! The machine: requests, time and what became of writes and markers in; answers, writes and markers out.

use crate::groups::{Name, RequestNumber, Time, WriteError, WriteNumber};
use crate::txns::answer::{Answer, Marked, Marker, Output};
use crate::txns::error::TxnError;
use crate::txns::limits::{IDS_MAX, LOOK_AGAIN, MARKER_RETRY, WAITING_ADDS_MAX};
use crate::txns::options::Options;
use crate::txns::plant::plants;
use crate::txns::record::{Image, Record, State, Txn};
use crate::txns::request::{Add, End, Init, Producer};
use crate::txns::rules::{self, Decision};
use holon_base::{Instant, TabletId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

type Answers = Vec<(RequestNumber, Answer)>;

/// A transactional id.
#[derive(Debug, Default)]
struct Entry {
    /// What the log has of it. None: its first record is being written.
    txn: Option<Txn>,
    /// What is being written of it. Nothing else begins meanwhile.
    writing: Option<WriteNumber>,
    /// Adds that wait until the one that is being written is durable.
    waiting: Vec<(RequestNumber, Add)>,
    /// Partitions of a prepared transaction whose marker is not known to be written, and those of them that were sent one.
    unmarked: BTreeSet<TabletId>,
    sent: BTreeSet<TabletId>,
    /// When it is looked at next.
    timer: Option<Instant>,
}

/// A write under way.
struct Writing {
    record: Record,
    answers: Answers,
    /// When those who wait have waited long enough.
    late: Instant,
}

/// Timers that are due at the same time run in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Write(WriteNumber),
    Id(Name),
}

/// The transactional ids of one log. See the module's text for how it is driven.
pub struct Coordinator {
    options: Options,
    ids: BTreeMap<Name, Entry>,
    writes: BTreeMap<WriteNumber, Writing>,
    last_write: u64,
    due: BTreeSet<(Instant, Timer)>,
}

impl Coordinator {
    /// From what the log says. Prepared transactions go on.
    pub fn new(options: Options, image: Image, time: Time, out: &mut Output) -> Coordinator {
        let (ids, writes, due) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        let mut coordinator = Coordinator { options, ids, writes, last_write: 0, due };
        for (id, txn) in image.ids {
            let forgotten = plants(&coordinator.options).forget_prepared && txn.state.is_prepared();
            let unmarked = if txn.state.is_prepared() { txn.partitions.clone() } else { BTreeSet::new() };
            let entry = Entry { txn: Some(txn), unmarked, ..Entry::default() };
            coordinator.ids.insert(id.clone(), entry);
            if !forgotten {
                coordinator.go_on(time, &id, out);
            }
        }
        coordinator
    }

    /// When to call [`Coordinator::tick`] next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// What is durable: the sum of all records whose writes succeeded.
    pub fn durable(&self) -> Image {
        Image { ids: self.all().map(|(id, txn)| (id.clone(), txn.clone())).collect() }
    }

    /// The same, as records that may take the place of all others.
    pub fn records(&self) -> Vec<Record> {
        self.all().map(|(id, txn)| Record::Txn { id: id.clone(), txn: txn.clone() }).collect()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&Name, &Txn)> {
        self.ids.iter().filter_map(|(id, entry)| Some((id, entry.txn.as_ref()?)))
    }

    pub(crate) fn known(&self, id: &str) -> Option<&Txn> {
        self.ids.get(id)?.txn.as_ref()
    }

    // --- requests ---

    /// InitProducerId with a transactional id. Answered when it is durable.
    pub fn init(&mut self, time: Time, number: RequestNumber, init: Init, out: &mut Output) {
        let now_ms = time.wall.millis();
        let timeout = u64::try_from(init.timeout_ms).ok().filter(|timeout_ms| *timeout_ms > 0);
        let fits = timeout.is_some_and(|timeout_ms| Duration::from_millis(timeout_ms) <= self.options.timeout_max);
        let decision = match self.ids.get(&init.id) {
            _ if init.id.is_empty() => Decision::Refuse(TxnError::InvalidRequest),
            _ if !fits => Decision::Refuse(TxnError::InvalidTransactionTimeout),
            Some(Entry { writing: Some(_), .. } | Entry { txn: None, .. }) => {
                Decision::Refuse(TxnError::ConcurrentTransactions)
            }
            Some(Entry { txn: Some(txn), .. }) => rules::init(txn, &init, now_ms),
            None if self.ids.len() >= IDS_MAX => Decision::Refuse(TxnError::CoordinatorNotAvailable),
            None => match init.fresh {
                Some(fresh) => Decision::Write(rules::begin(fresh, &init, now_ms)),
                None => Decision::NeedsProducer,
            },
        };
        match decision {
            Decision::Write(txn) => {
                let answer = Answer::Init(Ok(txn.producer));
                self.write(time, &init.id, txn, vec![(number, answer)], out);
            }
            Decision::AbortFirst(txn) => {
                // When it is durable the client asks again, and again until the markers are written.
                let answer = Answer::Init(Err(TxnError::ConcurrentTransactions));
                self.write(time, &init.id, txn, vec![(number, answer)], out);
            }
            Decision::NeedsProducer => out.answers.push((number, Answer::NeedsProducer)),
            Decision::Refuse(error) => out.answers.push((number, Answer::Init(Err(error)))),
            Decision::Done => out.answers.push((number, Answer::Init(Err(TxnError::UnknownServerError)))),
        }
    }

    /// AddPartitionsToTxn. Answered at once if all are in the transaction, else when that is durable.
    pub fn add(&mut self, time: Time, number: RequestNumber, add: Add, out: &mut Output) {
        if let Some((checked, Some(writing))) = self.checked(&add).map(|(checked, entry)| (checked, entry.writing)) {
            let is_add = self.writes.get(&writing).is_some_and(
                |writing| matches!(&writing.record, Record::Txn { txn, .. } if txn.state == State::Ongoing),
            );
            let entry = self.ids.get_mut(&add.id);
            match (checked, entry) {
                (Ok(()), Some(entry)) if is_add && entry.waiting.len() < WAITING_ADDS_MAX => {
                    entry.waiting.push((number, add));
                }
                (checked, _) => {
                    let error = checked.err().unwrap_or(TxnError::ConcurrentTransactions);
                    out.answers.push((number, Answer::Add(Err(error))));
                }
            }
            return;
        }
        self.add_all(time, vec![(number, add)], out);
    }

    /// Who adds, of an id that is there.
    fn checked(&self, add: &Add) -> Option<(Result<(), TxnError>, &Entry)> {
        let entry = self.ids.get(&add.id)?;
        let any_epoch = plants(&self.options).any_epoch;
        let checked = match &entry.txn {
            Some(txn) => rules::check_producer(txn, add.producer, any_epoch),
            None => Err(TxnError::InvalidProducerIdMapping),
        };
        Some((checked, entry))
    }

    /// Adds of one id, in one write. Nothing is being written of it.
    fn add_all(&mut self, time: Time, adds: Vec<(RequestNumber, Add)>, out: &mut Output) {
        let (mut answers, mut partitions, mut id) = (Answers::new(), BTreeSet::new(), None);
        for (number, add) in adds {
            let checked = match self.checked(&add) {
                _ if add.id.is_empty() => Err(TxnError::InvalidRequest),
                Some((checked, _)) => checked,
                None => Err(TxnError::InvalidProducerIdMapping),
            };
            match checked {
                Ok(()) => {
                    answers.push((number, Answer::Add(Ok(()))));
                    partitions.extend(add.partitions);
                    id = Some(add.id);
                }
                Err(error) => out.answers.push((number, Answer::Add(Err(error)))),
            }
        }
        let Some((id, txn)) = id.and_then(|id| Some((id.clone(), self.known(&id)?))) else { return };
        match rules::add(txn, &partitions, time.wall.millis()) {
            Decision::Write(txn) => self.write(time, &id, txn, answers, out),
            Decision::Refuse(error) => {
                out.answers.extend(answers.into_iter().map(|(number, answer)| (number, answer.after_failure(error))));
            }
            _ => out.answers.extend(answers),
        }
    }

    /// Whether a partition is in the transaction of a producer (`handleVerifyPartitionsInTransaction`).
    ///
    /// # Errors
    /// It is not, or the producer is another one.
    pub fn verify(&self, id: &str, producer: Producer, partition: TabletId) -> Result<(), TxnError> {
        if id.is_empty() {
            return Err(TxnError::InvalidRequest);
        }
        let txn = self.known(id).ok_or(TxnError::InvalidProducerIdMapping)?;
        rules::check_producer(txn, producer, plants(&self.options).any_epoch)?;
        if txn.state.is_prepared() {
            Err(TxnError::ConcurrentTransactions)
        } else if txn.partitions.contains(&partition) {
            Ok(())
        } else {
            Err(TxnError::TransactionAbortable)
        }
    }

    /// EndTxn. Answered when it is durably decided; the markers come later.
    pub fn end(&mut self, time: Time, number: RequestNumber, end: End, out: &mut Output) {
        let any_epoch = plants(&self.options).any_epoch;
        let decision = match self.ids.get(&end.id) {
            _ if end.id.is_empty() => Decision::Refuse(TxnError::InvalidRequest),
            Some(Entry { txn: Some(txn), writing, .. }) => {
                let decision = rules::end(txn, &end, time.wall.millis(), any_epoch);
                let is_refused =
                    matches!(decision, Decision::Refuse(TxnError::ProducerFenced | TxnError::InvalidProducerIdMapping));
                match writing {
                    Some(_) if !is_refused => Decision::Refuse(TxnError::ConcurrentTransactions),
                    _ => decision,
                }
            }
            Some(Entry { txn: None, .. }) | None => Decision::Refuse(TxnError::InvalidProducerIdMapping),
        };
        match decision {
            Decision::Write(txn) => {
                let answer = (number, Answer::End(Ok(rules::after_completion(&txn))));
                if plants(&self.options).end_before_durable {
                    out.answers.push(answer);
                    self.write(time, &end.id, txn, Answers::new(), out);
                } else {
                    self.write(time, &end.id, txn, vec![answer], out);
                }
            }
            Decision::Done => {
                let producer = self.known(&end.id).map_or(end.producer, |txn| txn.producer);
                out.answers.push((number, Answer::End(Ok(producer))));
            }
            Decision::NeedsProducer => out.answers.push((number, Answer::NeedsProducer)),
            Decision::Refuse(error) => out.answers.push((number, Answer::End(Err(error)))),
            Decision::AbortFirst(_) => out.answers.push((number, Answer::End(Err(TxnError::UnknownServerError)))),
        }
    }

    // --- writes ---

    fn write(&mut self, time: Time, id: &Name, txn: Txn, answers: Answers, out: &mut Output) {
        self.write_record(time, Record::Txn { id: id.clone(), txn }, answers, out);
    }

    fn write_record(&mut self, time: Time, record: Record, answers: Answers, out: &mut Output) {
        self.last_write += 1;
        let (number, late) = (WriteNumber(self.last_write), time.now + self.options.write_timeout);
        self.ids.entry(record.id().clone()).or_default().writing = Some(number);
        self.set_timer(&record.id().clone(), None);
        self.due.insert((late, Timer::Write(number)));
        out.writes.push((number, record.clone()));
        self.writes.insert(number, Writing { record, answers, late });
    }

    /// A write is durable, or failed: then its record is not in the log and never will be. Reports come in the order of the
    /// writes. One whose outcome is not known is not reported; if it can never be known, a new coordinator takes over.
    pub fn written(&mut self, time: Time, number: WriteNumber, outcome: Result<(), WriteError>, out: &mut Output) {
        let Some(Writing { record, answers, late }) = self.writes.remove(&number) else { return };
        self.due.remove(&(late, Timer::Write(number)));
        let id = record.id().clone();
        let Some(entry) = self.ids.get_mut(&id) else { return };
        entry.writing = None;
        let waiting = std::mem::take(&mut entry.waiting);
        match outcome {
            Ok(()) => {
                self.applied(record);
                out.answers.extend(answers);
            }
            Err(error) => {
                let error = TxnError::of_write(error);
                out.answers.extend(answers.into_iter().map(|(number, answer)| (number, answer.after_failure(error))));
                if entry.txn.is_none() {
                    self.ids.remove(&id);
                    return;
                }
                // Not at once: a log that fails does so without a pause.
                self.set_timer(&id, Some(time.now + MARKER_RETRY));
                if !waiting.is_empty() {
                    self.add_all(time, waiting, out);
                }
                return;
            }
        }
        if !waiting.is_empty() {
            self.add_all(time, waiting, out);
        }
        self.go_on(time, &id, out);
    }

    fn applied(&mut self, record: Record) {
        match record {
            Record::Txn { id, txn } => {
                let Some(entry) = self.ids.get_mut(&id) else { return };
                // A decision is durable: now the partitions may be told.
                entry.unmarked = if txn.state.is_prepared() { txn.partitions.clone() } else { BTreeSet::new() };
                entry.sent.clear();
                entry.txn = Some(txn);
            }
            Record::Removed { id } => drop(self.ids.remove(&id)),
        }
    }

    /// What follows from the state of an id that nothing is being written of.
    fn go_on(&mut self, time: Time, id: &Name, out: &mut Output) {
        let Some(Entry { txn: Some(txn), writing: None, unmarked, .. }) = self.ids.get(id) else { return };
        let now_ms = time.wall.millis();
        let after = |at_ms: i64| {
            let left_ms = u64::try_from(at_ms.saturating_sub(now_ms)).unwrap_or(0).max(1);
            time.now + Duration::from_millis(left_ms).min(LOOK_AGAIN)
        };
        match txn.state {
            State::PrepareCommit | State::PrepareAbort if unmarked.is_empty() => {
                let next = rules::complete(txn, now_ms);
                self.write(time, id, next, Answers::new(), out);
            }
            State::PrepareCommit | State::PrepareAbort => {
                if plants(&self.options).abort_prepared {
                    let at = after(txn.started_ms.saturating_add(i64::from(txn.timeout_ms)));
                    self.set_timer(id, Some(at));
                }
                self.send_markers(id, out);
            }
            State::Ongoing => {
                let at = after(txn.started_ms.saturating_add(i64::from(txn.timeout_ms)));
                self.set_timer(id, Some(at));
            }
            State::Empty | State::CompleteCommit | State::CompleteAbort => {
                let at = after(txn.updated_ms.saturating_add(millis(self.options.id_expiration)));
                self.set_timer(id, Some(at));
            }
        }
    }

    // --- markers ---

    /// To all partitions that have none and were not sent one.
    fn send_markers(&mut self, id: &Name, out: &mut Output) {
        let Some(Entry { txn: Some(txn), unmarked, sent, .. }) = self.ids.get_mut(id) else { return };
        for &partition in unmarked.iter() {
            if sent.insert(partition) {
                let (commit, bumps) = (txn.state == State::PrepareCommit, rules::bumps(txn));
                out.markers.push(Marker { id: id.clone(), partition, producer: txn.producer, commit, bumps });
            }
        }
    }

    /// What became of a marker.
    pub fn marked(&mut self, time: Time, marker: &Marker, marked: Marked, out: &mut Output) {
        let at_once = plants(&self.options).first_marker_completes;
        let Some(Entry { txn: Some(txn), unmarked, sent, timer, .. }) = self.ids.get_mut(&marker.id) else { return };
        let commit = txn.state == State::PrepareCommit;
        if !txn.state.is_prepared() || txn.producer != marker.producer || commit != marker.commit {
            return; // of a transaction that is complete
        }
        sent.remove(&marker.partition);
        match marked {
            Marked::Done => {
                unmarked.remove(&marker.partition);
                if at_once {
                    unmarked.clear();
                }
                if unmarked.is_empty() {
                    self.go_on(time, &marker.id, out);
                }
            }
            Marked::Again if timer.is_none() => self.set_timer(&marker.id, Some(time.now + MARKER_RETRY)),
            Marked::Again => {}
        }
    }

    // --- time ---

    /// In place of the one that it has.
    fn set_timer(&mut self, id: &Name, at: Option<Instant>) {
        let Some(entry) = self.ids.get_mut(id) else { return };
        if let Some(old) = std::mem::replace(&mut entry.timer, at) {
            self.due.remove(&(old, Timer::Id(id.clone())));
        }
        if let Some(at) = at {
            self.due.insert((at, Timer::Id(id.clone())));
        }
    }

    /// What is due by now.
    pub fn tick(&mut self, time: Time, out: &mut Output) {
        while self.next_deadline().is_some_and(|at| at <= time.now) {
            match self.due.pop_first() {
                Some((_, Timer::Write(number))) => self.late(number, out),
                Some((_, Timer::Id(id))) => {
                    if let Some(entry) = self.ids.get_mut(&id) {
                        entry.timer = None;
                    }
                    self.look(time, &id, out);
                }
                None => {}
            }
        }
    }

    /// A write takes too long. Whoever waits is told; what comes of it is still to come.
    fn late(&mut self, number: WriteNumber, out: &mut Output) {
        let Some(writing) = self.writes.get_mut(&number) else { return };
        let mut answers = std::mem::take(&mut writing.answers);
        if let Some(entry) = self.ids.get_mut(writing.record.id()) {
            let waiting = std::mem::take(&mut entry.waiting).into_iter();
            answers.extend(waiting.map(|(number, _)| (number, Answer::Add(Ok(())))));
        }
        let error = TxnError::CoordinatorNotAvailable;
        out.answers.extend(answers.into_iter().map(|(number, answer)| (number, answer.after_failure(error))));
    }

    fn look(&mut self, time: Time, id: &Name, out: &mut Output) {
        let Some(Entry { txn: Some(txn), writing: None, .. }) = self.ids.get(id) else { return };
        let now_ms = time.wall.millis();
        let is_old = |since_ms: i64, after_ms: i64| now_ms >= since_ms.saturating_add(after_ms);
        let is_late = is_old(txn.started_ms, i64::from(txn.timeout_ms));
        match txn.state {
            State::Ongoing if is_late => {
                let aborted = rules::abort_by_us(txn, now_ms);
                self.write(time, id, aborted, Answers::new(), out);
            }
            State::PrepareCommit if is_late && plants(&self.options).abort_prepared => {
                let aborted = rules::abort_by_us(txn, now_ms);
                self.write(time, id, aborted, Answers::new(), out);
            }
            State::PrepareCommit | State::PrepareAbort => self.go_on(time, id, out),
            State::Empty | State::CompleteCommit | State::CompleteAbort
                if is_old(txn.updated_ms, millis(self.options.id_expiration)) =>
            {
                self.write_record(time, Record::Removed { id: id.clone() }, Answers::new(), out);
            }
            // The wall clock went back.
            State::Ongoing | State::Empty | State::CompleteCommit | State::CompleteAbort => self.go_on(time, id, out),
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
