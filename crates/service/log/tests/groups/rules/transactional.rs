//! Offsets in transactions.

use holon_log::groups::{
    Answer, Commit, FetchedPartition, GroupError, Image, Name, Record, TransactionalCommit, WriteError,
};

use super::{Bench, GROUP, commit, join};

const ME: (i64, i16) = (7, 3);

impl Bench {
    fn ends_seen(&self) -> u64 {
        self.coordinator.ends_seen(ME.0)
    }

    fn commit_in(&mut self, (producer_id, producer_epoch): (i64, i16), ends_seen: u64, commit: Commit) -> u64 {
        let request = TransactionalCommit { commit, producer_id, producer_epoch, ends_seen };
        self.call(|coordinator, time, number, out| coordinator.commit_transactional(time, number, request, out))
    }

    /// Of a consumer that names no member.
    fn pend(&mut self, producer: (i64, i16), offset: i64) -> Option<GroupError> {
        let number = self.commit_in(producer, self.coordinator.ends_seen(producer.0), commit("", -1, offset));
        self.committed(number)
    }

    fn end_of(&mut self, producer: (i64, i16), commit: bool) {
        let number = self
            .call(|coordinator, time, number, out| coordinator.end_transaction(time, number, producer, commit, out));
        assert_eq!(self.answer(number), Some(Answer::TransactionEnded(None)));
    }

    fn stable_offset(&mut self) -> Result<i64, GroupError> {
        let number = self.fetch(true);
        let fetched = self.fetched(number);
        let FetchedPartition { error, offset, .. } = &fetched.topics[0].partitions[0];
        error.map_or(Ok(*offset), Err)
    }
}

#[test]
fn offsets_count_when_their_transaction_is_committed_and_are_forgotten_when_it_is_not() {
    let mut bench = Bench::new();
    assert_eq!(bench.pend(ME, 5), None);
    for fails_over in [false, true] {
        if fails_over {
            bench.fail_over();
        }
        assert_eq!((bench.offset(), bench.stable_offset()), (-1, Err(GroupError::UnstableOffsetCommit)));
    }
    bench.end_of((8, 0), true);
    assert_eq!(bench.offset(), -1, "of another producer");
    bench.end_of((ME.0, 4), true);
    assert_eq!((bench.offset(), bench.stable_offset()), (5, Ok(5)));
    assert_eq!(bench.pend((ME.0, 4), 6), None);
    assert_eq!((bench.offset(), bench.stable_offset()), (5, Err(GroupError::UnstableOffsetCommit)));
    bench.end_of((ME.0, 5), false);
    bench.fail_over();
    assert_eq!((bench.offset(), bench.stable_offset()), (5, Ok(5)));
}

#[test]
fn a_commit_that_comes_after_the_end_of_its_transaction_is_refused() {
    let mut bench = Bench::new();
    let before = bench.ends_seen();
    bench.end_of(ME, true); // the epoch stays, as with version 1
    let number = bench.commit_in(ME, before, commit("", -1, 5));
    assert_eq!(bench.committed(number), Some(GroupError::InvalidTxnState));
    assert_eq!(bench.pend(ME, 5), None, "of the next one");
    bench.end_of((ME.0, 4), false);
    assert_eq!(bench.pend(ME, 6), Some(GroupError::InvalidProducerEpoch));
    bench.fail_over();
    assert_eq!(bench.pend(ME, 6), Some(GroupError::InvalidProducerEpoch), "also by the next coordinator");
    // While the end is being written, too.
    bench.quick = false;
    let before = bench.ends_seen();
    bench.call(|coordinator, time, number, out| coordinator.end_transaction(time, number, (ME.0, 4), true, out));
    let number = bench.commit_in((ME.0, 4), before, commit("", -1, 5));
    assert_eq!(bench.committed(number), Some(GroupError::InvalidTxnState));
}

#[test]
fn what_is_asked_while_it_is_written_waits_and_what_fails_was_never_there() {
    let mut bench = Bench::new();
    bench.quick = false;
    let number = bench.commit_in(ME, 0, commit("", -1, 5));
    assert_eq!(bench.answer(number), None);
    let fetch = bench.fetch(true);
    assert_eq!(bench.answer(fetch), None, "until it is known what comes of it");
    bench.next_write(Err(WriteError::NotLeader));
    assert_eq!(bench.committed(number), Some(GroupError::NotCoordinator));
    assert_eq!(bench.fetched(fetch).topics[0].partitions[0].error, None);
    let number = bench.call(|coordinator, time, number, out| coordinator.end_transaction(time, number, ME, true, out));
    bench.next_write(Err(WriteError::NotEnoughReplicas));
    let failed = Some(Answer::TransactionEnded(Some(GroupError::CoordinatorNotAvailable)));
    assert_eq!(bench.answer(number), failed);
}

#[test]
fn members_commit_in_their_generation() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable(2);
    let mut told = |commit: Commit| {
        let number = bench.commit_in(ME, 0, commit);
        bench.committed(number)
    };
    assert_eq!(told(commit(&ids[0], generation, 5)), None);
    assert_eq!(told(commit("", -1, 5)), None, "an old client names nobody");
    assert_eq!(told(commit(&ids[0], generation - 1, 5)), Some(GroupError::IllegalGeneration));
    assert_eq!(told(commit("somebody", generation, 5)), Some(GroupError::UnknownMemberId));
    let fenced = Commit { instance: Some("i".into()), ..commit(&ids[0], generation, 5) };
    assert_eq!(told(fenced), Some(GroupError::UnknownMemberId));
    assert_eq!(told(Commit { group: "".into(), ..commit("", -1, 5) }), Some(GroupError::InvalidGroupId));
    let elsewhere = Commit { group: "nobody".into(), ..commit("m", 1, 5) };
    assert_eq!(told(elsewhere), Some(GroupError::IllegalGeneration));
    // Also while the next generation waits for its assignment, unlike without a transaction.
    let numbers: Vec<u64> = ids.iter().map(|id| bench.join(&join(id))).collect();
    assert_eq!(bench.joined(numbers[0]).generation, generation + 1);
    let number = bench.commit_in(ME, 0, commit(&ids[0], generation + 1, 6));
    assert_eq!(bench.committed(number), None);
}

#[test]
fn a_group_with_pending_offsets_stays_and_one_that_is_deleted_takes_them_along() {
    let mut bench = Bench::new();
    assert_eq!(bench.pend(ME, 5), None);
    bench.pass(8 * 24 * 3600 * 1000);
    let lives = |bench: &Bench| !bench.coordinator.list(&[], &[]).is_empty();
    assert!(lives(&bench), "though it has no offset and no member");
    let groups = vec![Name::from(GROUP)];
    let number = bench.call(|coordinator, time, number, out| coordinator.delete_groups(time, number, groups, out));
    assert_eq!(bench.answer(number), Some(Answer::DeleteGroups(vec![(GROUP.into(), None)])));
    bench.end_of(ME, true);
    assert_eq!(bench.offset(), -1);
    bench.fail_over();
    assert_eq!(bench.offset(), -1);
    // Aborted, it goes by itself.
    assert_eq!(bench.pend(ME, 5), None);
    bench.end_of(ME, false);
    bench.pass(3600 * 1000);
    assert!(!lives(&bench));
}

#[test]
fn snapshots_have_what_is_pending_and_which_epochs_are_fenced() {
    let mut bench = Bench::new();
    assert_eq!(bench.pend(ME, 5), None);
    bench.end_of((9, 4), true);
    let snapshot = bench.coordinator.snapshot();
    let image = Image::from_snapshot(snapshot.clone()).expect("its own bytes");
    assert_eq!(image.snapshot(), snapshot);
    bench.log = vec![];
    bench.coordinator = holon_log::groups::Coordinator::new(
        bench.options.clone(),
        image,
        super::time(0),
        &mut holon_log::groups::Output::default(),
    );
    assert_eq!(bench.stable_offset(), Err(GroupError::UnstableOffsetCommit));
    assert_eq!(bench.pend((9, 3), 1), Some(GroupError::InvalidProducerEpoch));
    bench.end_of(ME, true);
    assert_eq!(bench.stable_offset(), Ok(5));
    for record in [
        Record::TransactionEnded { producer_id: -1, producer_epoch: i16::MAX, commit: true, at_ms: 9 },
        Record::TransactionalOffsets { producer_id: 5, group: "g".into(), offsets: vec![] },
    ] {
        let bytes = record.encode();
        assert_eq!(Record::decode(bytes.clone()), Ok(record));
        for length in 0..bytes.len() {
            assert!(Record::decode(bytes.slice(..length)).is_err());
        }
    }
}
