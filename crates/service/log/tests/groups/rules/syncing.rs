//! Assignments: told, written, failed.

use bytes::Bytes;
use holon_log::groups::{GroupError, Name, Record, State, Sync, WriteError};

use super::{Bench, join, sync};

/// Two members that know of generation 1; the first leads. Writes are told how they end.
fn completing() -> (Bench, [Name; 2]) {
    let mut bench = Bench::new();
    let ids = [bench.id(), bench.id()];
    let numbers = ids.each_ref().map(|id| bench.join(&join(id)));
    bench.pass(6_000);
    for number in numbers {
        bench.joined(number);
    }
    bench.quick = false;
    (bench, ids)
}

fn leads(ids: &[Name; 2], generation: i32, parts: [&'static [u8]; 2]) -> Sync {
    let assignments = ids.iter().cloned().zip(parts.map(Bytes::from_static)).collect();
    Sync { assignments, ..sync(&ids[0], generation) }
}

#[test]
fn assignments_are_told_when_they_are_durable() {
    let (mut bench, ids) = completing();
    let follower = bench.sync(&sync(&ids[1], 1));
    let leader = bench.sync(&leads(&ids, 1, [b"a", b"b"]));
    assert!(bench.answer(follower).is_none() && bench.answer(leader).is_none());
    assert_eq!(bench.state(), State::CompletingRebalance);
    bench.next_write(Ok(()));
    let (leader, follower) = (bench.synced(leader), bench.synced(follower));
    assert_eq!((&leader.assignment[..], &follower.assignment[..]), (&b"a"[..], &b"b"[..]));
    assert_eq!(follower.protocol.as_deref(), Some("range"));
    assert_eq!(follower.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(bench.state(), State::Stable);
    let Some(Record::Group(record)) = bench.log.last() else { panic!("{:?}", bench.log) };
    assert_eq!((record.generation, record.leader.as_ref()), (1, Some(&ids[0])));
    // Whoever asks again gets it again.
    let again = bench.sync(&sync(&ids[1], 1));
    assert_eq!(bench.synced(again), follower);
}

#[test]
fn members_of_whom_the_leader_says_nothing_get_nothing() {
    let (mut bench, ids) = completing();
    let mut said = leads(&ids, 1, [b"a", b"b"]);
    said.assignments[1].0 = "a stranger".into();
    let leader = bench.sync(&said);
    let follower = bench.sync(&sync(&ids[1], 1));
    bench.durable();
    assert_eq!(&bench.synced(leader).assignment[..], b"a");
    let follower = bench.synced(follower);
    assert_eq!((follower.error, follower.assignment.len()), (None, 0));
}

#[test]
fn what_does_not_fit_the_generation_is_refused() {
    let (mut bench, ids) = completing();
    let wrong_name = Sync { protocol: Some("sticky".into()), ..sync(&ids[0], 1) };
    let wrong_type = Sync { protocol_type: Some("connect".into()), ..sync(&ids[0], 1) };
    let cases = [
        (Sync { group: "".into(), ..sync(&ids[0], 1) }, GroupError::InvalidGroupId),
        (Sync { group: "another".into(), ..sync(&ids[0], 1) }, GroupError::UnknownMemberId),
        (sync("somebody", 1), GroupError::UnknownMemberId),
        (Sync { instance: Some("one".into()), ..sync(&ids[0], 1) }, GroupError::UnknownMemberId),
        (sync(&ids[0], 0), GroupError::IllegalGeneration),
        (sync(&ids[0], 2), GroupError::IllegalGeneration),
        (wrong_name, GroupError::InconsistentGroupProtocol),
        (wrong_type, GroupError::InconsistentGroupProtocol),
    ];
    for (sync, error) in cases {
        let number = bench.sync(&sync);
        let synced = bench.synced(number);
        assert_eq!((synced.error, synced.protocol, synced.assignment.len()), (Some(error), None, 0));
    }
    let good = Sync { protocol: Some("range".into()), protocol_type: Some("consumer".into()), ..sync(&ids[0], 1) };
    let number = bench.sync(&good);
    bench.durable();
    assert_eq!(bench.synced(number).error, None);
    bench.join(&join(&ids[0]));
    let number = bench.sync(&sync(&ids[1], 1));
    assert_eq!(bench.synced(number).error, Some(GroupError::RebalanceInProgress));
}

#[test]
fn if_the_assignment_cannot_be_written_all_are_told_so_and_join_again() {
    let errors = [
        (WriteError::NotEnoughReplicas, GroupError::CoordinatorNotAvailable),
        (WriteError::NotLeader, GroupError::NotCoordinator),
        (WriteError::TooLarge, GroupError::UnknownServerError),
    ];
    for (failure, told) in errors {
        let (mut bench, ids) = completing();
        let follower = bench.sync(&sync(&ids[1], 1));
        let leader = bench.sync(&leads(&ids, 1, [b"a", b"b"]));
        bench.next_write(Err(failure));
        assert_eq!(bench.synced(leader).error, Some(told));
        assert_eq!(bench.synced(follower).error, Some(told));
        assert_eq!(bench.state(), State::PreparingRebalance);
        let numbers = ids.each_ref().map(|id| bench.join(&join(id)));
        assert_eq!(numbers.map(|number| bench.joined(number).generation), [2, 2]);
    }
}

#[test]
fn an_assignment_that_takes_too_long_to_write_is_given_up_whatever_becomes_of_it() {
    let (mut bench, ids) = completing();
    let leader = bench.sync(&leads(&ids, 1, [b"a", b"b"]));
    bench.pass(4_999);
    assert!(bench.answer(leader).is_none());
    bench.pass(1);
    assert_eq!(bench.synced(leader).error, Some(GroupError::CoordinatorNotAvailable));
    assert_eq!(bench.state(), State::PreparingRebalance);
    bench.next_write(Ok(()));
    assert_eq!(bench.state(), State::PreparingRebalance);
    let numbers = ids.each_ref().map(|id| bench.join(&join(id)));
    assert_eq!(numbers.map(|number| bench.joined(number).generation), [2, 2]);
}

#[test]
fn a_second_assignment_for_a_generation_does_not_count() {
    let (mut bench, ids) = completing();
    let first = bench.sync(&leads(&ids, 1, [b"a", b"b"]));
    let second = bench.sync(&leads(&ids, 1, [b"b", b"a"]));
    assert_eq!(bench.synced(first).error, Some(GroupError::RebalanceInProgress), "it asked again");
    assert_eq!(bench.writes.len(), 1);
    bench.durable();
    assert_eq!(&bench.synced(second).assignment[..], b"a");
}

#[test]
fn a_generation_that_ends_while_its_assignment_is_written_is_over() {
    let (mut bench, ids) = completing();
    let leader = bench.sync(&leads(&ids, 1, [b"a", b"b"]));
    let id = bench.id();
    let new = bench.join(&join(&id));
    assert_eq!(bench.synced(leader).error, Some(GroupError::RebalanceInProgress));
    bench.next_write(Ok(()));
    assert_eq!(bench.state(), State::PreparingRebalance);
    let numbers = ids.each_ref().map(|id| bench.join(&join(id)));
    assert_eq!(numbers.map(|number| bench.joined(number).generation), [2, 2]);
    assert_eq!(bench.joined(new).generation, 2);
}

#[test]
fn whoever_waits_for_the_leader_has_a_whole_session_afterwards() {
    let (mut bench, ids) = completing();
    let follower = bench.sync(&sync(&ids[1], 1));
    for _ in 0..15 {
        bench.pass(1_000);
        assert_eq!(bench.beat(&ids[0], 1), None);
    }
    bench.sync(&leads(&ids, 1, [b"a", b"b"]));
    bench.durable();
    assert_eq!(bench.synced(follower).error, None);
    bench.pass(9_999);
    assert_eq!((bench.state(), bench.members().len()), (State::Stable, 2));
    // And not more: it ended while it waited, which did not count, and began again.
    bench.pass(1);
    assert_eq!((bench.state(), bench.members().len()), (State::Empty, 0));
}
