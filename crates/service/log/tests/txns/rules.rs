//! Each rule alone.

use bytes::Bytes;
use holon_base::{Instant, TabletId, Wall};
use holon_log::groups::{RequestNumber, Time, WriteError, WriteNumber};
use holon_log::txns::{
    Add, Answer, Coordinator, DecodeError, End, Filter, Image, Init, Marked, Marker, Options, Output, Producer, Record,
    State, Txn, TxnError, Version,
};
use std::time::Duration;

const FRESH: i64 = 77;

struct Bench {
    coordinator: Coordinator,
    now_ms: u64,
    number: u64,
    fresh: i64,
    log: Vec<Bytes>,
    markers: Vec<Marker>,
}

fn time(now_ms: u64) -> Time {
    let wall = Wall(1_700_000_000_000_000 + now_ms as i64 * 1000);
    Time { now: Instant(0) + Duration::from_millis(now_ms), wall }
}

fn partitions(numbers: &[u64]) -> std::collections::BTreeSet<TabletId> {
    numbers.iter().copied().map(TabletId).collect()
}

fn producer(id: i64, epoch: i16) -> Producer {
    Producer { id, epoch }
}

impl Bench {
    fn new() -> Bench {
        Bench::of(Image::default(), 0)
    }

    fn of(image: Image, now_ms: u64) -> Bench {
        let mut out = Output::default();
        let coordinator = Coordinator::new(Options::default(), image, time(now_ms), &mut out);
        let mut bench = Bench { coordinator, now_ms, number: 0, fresh: FRESH, log: Vec::new(), markers: Vec::new() };
        bench.take(out);
        bench
    }

    /// Everything is durable at once; the answers.
    fn take(&mut self, out: Output) -> Vec<Answer> {
        let mut answers: Vec<Answer> = out.answers.into_iter().map(|(_, answer)| answer).collect();
        self.markers.extend(out.markers);
        for (number, record) in out.writes {
            self.log.push(record.encode());
            let mut out = Output::default();
            self.coordinator.written(time(self.now_ms), number, Ok(()), &mut out);
            answers.extend(self.take(out));
        }
        answers
    }

    fn ask(&mut self, ask: impl FnOnce(&mut Coordinator, Time, RequestNumber, &mut Output)) -> Output {
        self.number += 1;
        let mut out = Output::default();
        ask(&mut self.coordinator, time(self.now_ms), RequestNumber(self.number), &mut out);
        out
    }

    fn one(&mut self, ask: impl FnOnce(&mut Coordinator, Time, RequestNumber, &mut Output)) -> Answer {
        let out = self.ask(ask);
        let answers = self.take(out);
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers[0].clone()
    }

    fn init(&mut self, expected: Option<Producer>) -> Result<Producer, TxnError> {
        self.fresh += 1;
        let init = Init { id: "a".into(), timeout_ms: 60_000, expected, fresh: Some(self.fresh) };
        match self.one(|coordinator, time, number, out| coordinator.init(time, number, init, out)) {
            Answer::Init(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    fn add(&mut self, producer: Producer, numbers: &[u64]) -> Result<(), TxnError> {
        let add = Add { id: "a".into(), producer, partitions: partitions(numbers) };
        match self.one(|coordinator, time, number, out| coordinator.add(time, number, add, out)) {
            Answer::Add(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    fn end(&mut self, producer: Producer, commit: bool, version: Version) -> Result<Producer, TxnError> {
        self.fresh += 1;
        let end = End { id: "a".into(), producer, commit, version, fresh: Some(self.fresh) };
        match self.one(|coordinator, time, number, out| coordinator.end(time, number, end, out)) {
            Answer::End(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    /// All markers that are out are written.
    fn mark(&mut self) -> Vec<Marker> {
        let markers = std::mem::take(&mut self.markers);
        for marker in &markers {
            let out = self.ask(|coordinator, time, _, out| coordinator.marked(time, marker, Marked::Done, out));
            assert_eq!(self.take(out), []);
        }
        markers
    }

    fn wait(&mut self, milliseconds: u64) {
        self.now_ms += milliseconds;
        let out = self.ask(|coordinator, time, _, out| coordinator.tick(time, out));
        assert_eq!(self.take(out), []);
    }

    fn state(&self) -> State {
        self.coordinator.describe("a").expect("it is there").state
    }

    /// Another coordinator, from the log alone.
    fn fail_over(self) -> Bench {
        let mut image = Image::default();
        self.log.iter().for_each(|record| image.apply(Record::decode(record.clone()).expect("its own bytes")));
        assert_eq!(self.coordinator.durable(), image);
        Bench { log: self.log.clone(), fresh: self.fresh, ..Bench::of(image, self.now_ms) }
    }

    /// As after so many transactions.
    fn at_epoch(epoch: i16, state: State) -> Bench {
        let txn = Txn {
            producer: producer(5, epoch),
            previous_id: -1,
            next_id: -1,
            last_epoch: -1,
            timeout_ms: 60_000,
            state,
            partitions: if state == State::Ongoing { partitions(&[1]) } else { partitions(&[]) },
            started_ms: time(0).wall.millis(),
            updated_ms: time(0).wall.millis(),
        };
        let record = Record::Txn { id: "a".into(), txn };
        let mut image = Image::default();
        image.apply(record.clone());
        Bench { log: vec![record.encode()], ..Bench::of(image, 0) }
    }
}

#[test]
fn a_transaction_of_version_1_keeps_its_epoch() {
    let mut bench = Bench::new();
    let me = bench.init(None).expect("initialised");
    assert_eq!(me, producer(FRESH + 1, 0));
    assert_eq!(bench.end(me, true, Version::V1), Err(TxnError::InvalidTxnState), "nothing was begun");
    assert_eq!(bench.end(me, false, Version::V1), Err(TxnError::InvalidTxnState));
    for _ in 0..2 {
        assert_eq!(bench.add(me, &[1, 2]), Ok(()));
        assert_eq!(bench.coordinator.verify("a", me, TabletId(2)), Ok(()));
        assert_eq!(bench.coordinator.verify("a", me, TabletId(3)), Err(TxnError::TransactionAbortable));
        assert_eq!(bench.end(me, true, Version::V1), Ok(me));
        assert_eq!(bench.state(), State::PrepareCommit);
        assert_eq!(bench.add(me, &[3]), Err(TxnError::ConcurrentTransactions));
        assert_eq!(bench.coordinator.verify("a", me, TabletId(2)), Err(TxnError::ConcurrentTransactions));
        assert_eq!(bench.init(None), Err(TxnError::ConcurrentTransactions));
        assert_eq!(bench.end(me, true, Version::V1), Err(TxnError::ConcurrentTransactions));
        assert_eq!(bench.end(me, false, Version::V1), Err(TxnError::InvalidTxnState));
        let markers = bench.mark();
        let told: Vec<_> = markers.iter().map(|one| (one.partition.0, one.producer, one.commit, one.bumps)).collect();
        assert_eq!(told, [(1, me, true, false), (2, me, true, false)]);
        assert_eq!(bench.state(), State::CompleteCommit);
        assert_eq!(bench.end(me, true, Version::V1), Ok(me), "again");
        assert_eq!(bench.end(me, false, Version::V1), Err(TxnError::InvalidTxnState));
    }
}

#[test]
fn a_transaction_of_version_2_has_an_epoch_of_its_own() {
    let mut bench = Bench::new();
    let first = bench.init(None).expect("initialised");
    let next = |one: Producer| producer(one.id, one.epoch + 1);
    assert_eq!(bench.end(first, true, Version::V2), Err(TxnError::InvalidTxnState), "nothing was begun");
    assert_eq!(bench.add(first, &[1]), Ok(()));
    let second = bench.end(first, true, Version::V2).expect("committed");
    assert_eq!(second, next(first));
    assert_eq!(bench.end(first, true, Version::V2), Err(TxnError::ConcurrentTransactions), "again, while it is marked");
    assert_eq!(bench.end(second, true, Version::V2), Err(TxnError::ProducerFenced), "the next one has not begun");
    let markers = bench.mark();
    assert_eq!((markers[0].producer, markers[0].bumps), (second, true));
    // The same request again is known by its epoch.
    assert_eq!(bench.end(first, true, Version::V2), Ok(second));
    assert_eq!(bench.end(first, false, Version::V2), Err(TxnError::InvalidTxnState));
    assert_eq!(bench.end(second, true, Version::V2), Err(TxnError::InvalidTxnState));
    // An abort of nothing bumps the epoch, too.
    let third = bench.end(second, false, Version::V2).expect("aborted");
    assert_eq!((third, bench.state()), (next(second), State::CompleteAbort));
    assert_eq!(bench.end(second, false, Version::V2), Ok(third));
    assert_eq!(bench.add(second, &[1]), Err(TxnError::ProducerFenced));
    assert_eq!(bench.add(third, &[1]), Ok(()));
    assert_eq!(bench.end(second, false, Version::V2), Err(TxnError::ProducerFenced), "late");
    assert_eq!(bench.end(third, false, Version::V2), Ok(next(third)));
    assert!(!bench.mark()[0].commit);
}

#[test]
fn a_second_instance_fences_the_first_and_aborts_what_it_began() {
    for version in [Version::V1, Version::V2] {
        let mut bench = Bench::new();
        let old = bench.init(None).expect("initialised");
        assert_eq!(bench.add(old, &[1]), Ok(()));
        assert_eq!(bench.init(None), Err(TxnError::ConcurrentTransactions), "first it is aborted");
        assert_eq!(bench.init(None), Err(TxnError::ConcurrentTransactions));
        let markers = bench.mark();
        assert_eq!((markers[0].producer.epoch, markers[0].commit, markers[0].bumps), (1, false, true));
        let new = bench.init(None).expect("initialised");
        assert_eq!(new, producer(old.id, 2));
        assert_eq!(bench.add(old, &[1]), Err(TxnError::ProducerFenced));
        assert_eq!(bench.end(old, true, version), Err(TxnError::ProducerFenced));
        assert_eq!(bench.coordinator.verify("a", old, TabletId(1)), Err(TxnError::ProducerFenced));
        assert_eq!(bench.init(Some(old)), Err(TxnError::ProducerFenced));
        assert_eq!(bench.add(new, &[1]), Ok(()));
        assert_eq!(bench.init(Some(old)), Err(TxnError::ProducerFenced), "and it is not aborted");
        assert_eq!(bench.state(), State::Ongoing);
    }
}

#[test]
fn a_producer_may_go_on_with_what_it_has() {
    let mut bench = Bench::new();
    let first = bench.init(None).expect("initialised");
    let second = bench.init(Some(first)).expect("goes on");
    assert_eq!(second, producer(first.id, 1));
    assert_eq!(bench.init(Some(first)), Ok(second), "it did not hear of it");
    let third = bench.init(None).expect("another one");
    assert_eq!(bench.init(Some(second)), Err(TxnError::ProducerFenced), "from then on");
    // Its own transaction is aborted.
    assert_eq!(bench.add(third, &[1]), Ok(()));
    assert_eq!(bench.init(Some(third)), Err(TxnError::ConcurrentTransactions));
    bench.mark();
    assert_eq!(bench.init(Some(third)), Ok(producer(third.id, third.epoch + 1)));
    assert_eq!(bench.init(Some(producer(9, 0))), Err(TxnError::ProducerFenced), "never had the id");
}

#[test]
fn a_producer_whose_epochs_are_used_up_gets_another_id() {
    const LAST: i16 = i16::MAX - 1;
    let mut bench = Bench::at_epoch(LAST - 1, State::CompleteCommit);
    assert_eq!(bench.init(Some(producer(5, LAST - 1))), Ok(producer(5, LAST)));
    assert_eq!(bench.init(Some(producer(5, LAST - 1))), Ok(producer(5, LAST)), "again");
    let moved = bench.init(Some(producer(5, LAST))).expect("goes on");
    assert_eq!((moved.id > FRESH, moved.epoch), (true, 0));
    assert_eq!(bench.init(Some(producer(5, LAST))), Ok(moved), "it did not hear of it");
    // By the end of a transaction.
    let mut bench = Bench::at_epoch(LAST, State::Ongoing);
    let moved = bench.end(producer(5, LAST), true, Version::V2).expect("committed");
    assert_eq!((moved.id > FRESH, moved.epoch), (true, 0));
    assert_eq!(bench.markers[0].producer, producer(5, i16::MAX));
    let mut bench = bench.fail_over();
    bench.mark();
    assert_eq!(bench.end(producer(5, LAST), true, Version::V2), Ok(moved), "again");
    assert_eq!(bench.add(producer(5, LAST), &[1]), Err(TxnError::InvalidProducerIdMapping));
    assert_eq!(bench.add(moved, &[1]), Ok(()));
    // By a timeout: nobody is told of the epoch that only fences.
    let mut bench = Bench::at_epoch(LAST, State::Ongoing);
    bench.wait(60_001);
    assert_eq!(bench.mark()[0].producer, producer(5, i16::MAX));
    let moved = bench.init(Some(producer(5, LAST))).expect("goes on");
    assert_eq!((moved.id > FRESH, moved.epoch), (true, 0));
    // Without a fresh id it says so.
    let mut bench = Bench::at_epoch(LAST, State::Ongoing);
    let end = End { id: "a".into(), producer: producer(5, LAST), commit: true, version: Version::V2, fresh: None };
    assert_eq!(bench.one(|machine, time, number, out| machine.end(time, number, end, out)), Answer::NeedsProducer);
    assert_eq!(bench.state(), State::Ongoing);
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted_and_its_producer_fenced() {
    let mut bench = Bench::new();
    let me = bench.init(None).expect("initialised");
    assert_eq!(bench.add(me, &[1]), Ok(()));
    bench.wait(30_000);
    assert_eq!(bench.add(me, &[2]), Ok(()));
    bench.wait(29_999);
    assert_eq!(bench.state(), State::Ongoing, "its time counts from its begin");
    bench.wait(2);
    assert_eq!(bench.state(), State::PrepareAbort);
    assert_eq!(bench.mark().len(), 2);
    assert_eq!(bench.end(me, true, Version::V1), Err(TxnError::ProducerFenced));
    assert_eq!(bench.end(me, true, Version::V2), Err(TxnError::InvalidTxnState));
    let next = producer(me.id, 1);
    assert_eq!(bench.end(me, false, Version::V2), Ok(next), "that is what became of it");
    assert_eq!(bench.init(Some(me)), Ok(next), "it may go on");
    // Also when nobody looked meanwhile.
    assert_eq!(bench.add(next, &[1]), Ok(()));
    bench.now_ms += 70_000;
    let mut bench = bench.fail_over();
    bench.wait(10);
    assert_eq!(bench.state(), State::PrepareAbort);
}

#[test]
fn markers_are_sent_until_they_are_written_also_by_the_next_coordinator() {
    let mut bench = Bench::new();
    let me = bench.init(None).expect("initialised");
    assert_eq!(bench.add(me, &[1, 2]), Ok(()));
    assert!(bench.end(me, true, Version::V2).is_ok());
    let markers = std::mem::take(&mut bench.markers);
    let out = bench.ask(|machine, time, _, out| machine.marked(time, &markers[0], Marked::Again, out));
    bench.take(out);
    assert_eq!(bench.markers, [], "not at once");
    bench.wait(100);
    assert_eq!(bench.markers, markers[..1], "and not the one that is on its way");
    let mut bench = bench.fail_over();
    assert_eq!(bench.mark(), markers, "all of them");
    assert_eq!(bench.state(), State::CompleteCommit);
    // One that comes late is of no transaction any more.
    let out = bench.ask(|machine, time, _, out| machine.marked(time, &markers[0], Marked::Again, out));
    assert_eq!(bench.take(out), []);
    bench.wait(1_000);
    assert_eq!(bench.markers, []);
}

#[test]
fn what_is_added_meanwhile_is_written_together() {
    let mut bench = Bench::new();
    let me = bench.init(None).expect("initialised");
    let add = |numbers: &[u64], producer| Add { id: "a".into(), producer, partitions: partitions(numbers) };
    let first = bench.ask(|machine, time, number, out| machine.add(time, number, add(&[1], me), out));
    let mut later = Output::default();
    for (number, (partition, producer)) in [(2, me), (3, me), (4, producer(me.id, 9))].into_iter().enumerate() {
        let number = RequestNumber(100 + number as u64);
        bench.coordinator.add(time(0), number, add(&[partition], producer), &mut later);
    }
    assert_eq!(later.answers, [(RequestNumber(102), Answer::Add(Err(TxnError::ProducerFenced)))]);
    let end = End { id: "a".into(), producer: me, commit: true, version: Version::V2, fresh: None };
    assert_eq!(
        bench.one(|machine, time, number, out| machine.end(time, number, end, out)),
        Answer::End(Err(TxnError::ConcurrentTransactions))
    );
    assert_eq!(bench.take(first), vec![Answer::Add(Ok(())); 3]);
    assert_eq!(bench.log.len(), 3, "two of the three adds in one");
    assert_eq!(bench.coordinator.describe("a").expect("there").partitions.len(), 3);
}

#[test]
fn a_write_that_fails_changes_nothing() {
    let mut bench = Bench::new();
    let init = Init { id: "a".into(), timeout_ms: 1, expected: None, fresh: Some(1) };
    let out = bench.ask(|machine, time, number, out| machine.init(time, number, init.clone(), out));
    assert_eq!(out.answers, []);
    let mut failed = Output::default();
    bench.coordinator.written(time(0), WriteNumber(1), Err(WriteError::NotLeader), &mut failed);
    assert_eq!(failed.answers, [(RequestNumber(1), Answer::Init(Err(TxnError::NotCoordinator)))]);
    assert_eq!(bench.coordinator.describe("a"), Err(TxnError::TransactionalIdNotFound));
    let me = bench.init(None).expect("initialised");
    assert_eq!(bench.add(me, &[1]), Ok(()));
    let end = End { id: "a".into(), producer: me, commit: true, version: Version::V2, fresh: None };
    let out = bench.ask(|machine, time, number, out| machine.end(time, number, end, out));
    let (number, _) = out.writes[0];
    // Whoever waits is told in time, and what came of it later counts.
    let mut late = Output::default();
    bench.coordinator.tick(time(5_000), &mut late);
    assert_eq!(late.answers[0].1, Answer::End(Err(TxnError::CoordinatorNotAvailable)));
    assert_eq!(bench.state(), State::Ongoing);
    let mut failed = Output::default();
    bench.coordinator.written(time(5_001), number, Err(WriteError::NotEnoughReplicas), &mut failed);
    assert!(failed.answers.is_empty() && failed.markers.is_empty());
    assert_eq!(bench.end(me, true, Version::V2), Ok(producer(me.id, 1)));
}

#[test]
fn what_nobody_used_for_a_week_is_forgotten() {
    let mut bench = Bench::new();
    let me = bench.init(None).expect("initialised");
    let week = 7 * 24 * 3600 * 1000;
    bench.wait(week - 1);
    assert_eq!(bench.state(), State::Empty);
    bench.wait(2);
    assert_eq!(bench.coordinator.describe("a"), Err(TxnError::TransactionalIdNotFound));
    assert_eq!(bench.add(me, &[1]), Err(TxnError::InvalidProducerIdMapping));
    let bench = bench.fail_over();
    assert_eq!(bench.coordinator.durable(), Image::default());
}

#[test]
fn what_is_asked_wrongly_is_told_so() {
    let mut bench = Bench::new();
    for (id, timeout_ms, error) in [
        ("", 1, TxnError::InvalidRequest),
        ("a", 0, TxnError::InvalidTransactionTimeout),
        ("a", -1, TxnError::InvalidTransactionTimeout),
        ("a", 900_001, TxnError::InvalidTransactionTimeout),
    ] {
        let init = Init { id: id.into(), timeout_ms, expected: None, fresh: Some(1) };
        let answer = bench.one(|machine, time, number, out| machine.init(time, number, init, out));
        assert_eq!(answer, Answer::Init(Err(error)), "{id:?} {timeout_ms}");
    }
    let me = producer(1, 0);
    assert_eq!(bench.add(me, &[1]), Err(TxnError::InvalidProducerIdMapping), "no such id");
    assert_eq!(bench.end(me, true, Version::V1), Err(TxnError::InvalidProducerIdMapping));
    assert_eq!(bench.coordinator.verify("a", me, TabletId(1)), Err(TxnError::InvalidProducerIdMapping));
    assert_eq!(bench.coordinator.verify("", me, TabletId(1)), Err(TxnError::InvalidRequest));
    let me = bench.init(None).expect("initialised");
    let other = producer(me.id + 1, 0);
    assert_eq!(bench.add(other, &[1]), Err(TxnError::InvalidProducerIdMapping));
    assert_eq!(bench.end(other, true, Version::V2), Err(TxnError::InvalidProducerIdMapping));
    assert_eq!(bench.end(producer(me.id, 1), true, Version::V2), Err(TxnError::ProducerFenced), "from the future");
    assert_eq!(bench.coordinator.describe(""), Err(TxnError::InvalidRequest));
}

#[test]
fn ids_are_listed_by_state_producer_and_age() {
    let mut bench = Bench::new();
    let me = bench.init(None).expect("initialised");
    assert_eq!(bench.add(me, &[1]), Ok(()));
    bench.wait(5_000);
    let list = |bench: &Bench, filter: Filter| bench.coordinator.list(time(bench.now_ms), &filter).len();
    let all = Filter { longer_than_ms: -1, ..Filter::default() };
    assert_eq!(list(&bench, all.clone()), 1);
    assert_eq!(list(&bench, Filter { by_state: true, ..all.clone() }), 0, "states that there are not");
    assert_eq!(list(&bench, Filter { by_state: true, states: vec![State::Ongoing], ..all.clone() }), 1);
    assert_eq!(list(&bench, Filter { producers: vec![me.id], ..all.clone() }), 1);
    assert_eq!(list(&bench, Filter { producers: vec![me.id + 1], ..all.clone() }), 0);
    assert_eq!(list(&bench, Filter { longer_than_ms: 4_999, ..all.clone() }), 1);
    assert_eq!(list(&bench, Filter { longer_than_ms: 5_000, ..all }), 0);
}

#[test]
fn records_are_what_they_were_and_damage_is_an_error() {
    let txn = Txn {
        producer: producer(i64::MAX, i16::MAX),
        previous_id: -1,
        next_id: 12,
        last_epoch: -1,
        timeout_ms: i32::MAX,
        state: State::PrepareAbort,
        partitions: partitions(&[0, 5, u64::MAX]),
        started_ms: -1,
        updated_ms: i64::MIN,
    };
    for record in [Record::Txn { id: "ä".into(), txn }, Record::Removed { id: "b".into() }] {
        let bytes = record.encode();
        assert_eq!(Record::decode(bytes.clone()), Ok(record));
        for length in 0..bytes.len() {
            assert!(Record::decode(bytes.slice(..length)).is_err(), "{length}");
        }
        let with = |at: usize, byte: u8| {
            let mut changed = bytes.to_vec();
            changed[at] = byte;
            Record::decode(changed.into())
        };
        assert_eq!(with(0, 9), Err(DecodeError::Version(9)));
        assert_eq!(with(1, 9), Err(DecodeError::Kind(9)));
    }
}
