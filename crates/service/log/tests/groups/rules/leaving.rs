//! Members that leave by themselves.

use holon_log::groups::{GroupError, Join, Record, State, WriteError};

use super::{Bench, join};

#[test]
fn many_members_leave_at_once_each_with_its_own_result() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable(2);
    let number = bench.join(&Join { instance: Some("one".into()), ..join("") });
    let first = bench.join(&join(&ids[0]));
    let second = bench.join(&join(&ids[1]));
    for number in [number, first, second] {
        bench.joined(number);
    }
    let pending = bench.id();
    let leavers: [(&str, Option<&str>); 5] =
        [(&ids[1], None), ("", Some("one")), ("", Some("two")), ("stranger", None), (&pending, None)];
    let number = bench.leave(&leavers);
    let left = bench.left(number);
    let unknown = Some(GroupError::UnknownMemberId);
    let errors: Vec<_> = left.members.iter().map(|member| member.error).collect();
    assert_eq!((left.error, errors), (None, vec![None, None, unknown, unknown, None]));
    let named: Vec<_> = left.members.iter().map(|member| (&*member.member, member.instance.as_deref())).collect();
    assert_eq!(named, leavers);
    assert_eq!((bench.state(), bench.members()), (State::PreparingRebalance, vec![ids[0].clone()]));
    assert_eq!(bench.beat(&ids[0], generation + 1), Some(GroupError::RebalanceInProgress));
    let number = bench.join(&join(&pending));
    assert_eq!(bench.joined(number).error, unknown);
}

#[test]
fn when_the_last_member_leaves_it_is_told_when_that_is_durable() {
    for (outcome, told) in [(Ok(()), None), (Err(WriteError::NotLeader), Some(GroupError::NotCoordinator))] {
        let mut bench = Bench::new();
        let (ids, _) = bench.stable(1);
        bench.quick = false;
        let number = bench.leave(&[(&ids[0], None)]);
        assert!(bench.answer(number).is_none());
        bench.next_write(outcome);
        assert_eq!(bench.left(number).error, told);
        assert_eq!(bench.state(), State::Empty);
        let Some(Record::Group(record)) = bench.log.last() else { panic!("{:?}", bench.log) };
        assert_eq!((record.generation, record.members.len()), if told.is_none() { (2, 0) } else { (1, 1) });
    }
}

#[test]
fn a_member_that_leaves_while_it_waits_is_told_that_it_is_none() {
    let mut bench = Bench::new();
    let (ids, _) = bench.stable(2);
    let waits = bench.join(&join(&ids[0]));
    let number = bench.leave(&[(&ids[0], None)]);
    assert_eq!(bench.joined(waits).error, Some(GroupError::UnknownMemberId));
    assert_eq!(bench.left(number).error, None);
    // The last that the others waited for.
    let waits = bench.join(&join(&ids[1]));
    assert_eq!(bench.joined(waits).generation, 2);
    let id = bench.id();
    let waits = bench.join(&join(&id));
    let number = bench.leave(&[(&ids[1], None)]);
    assert_eq!(bench.left(number).error, None);
    assert_eq!(bench.joined(waits).generation, 3);
}

#[test]
fn an_empty_group_waits_for_its_delay_whoever_leaves() {
    let mut bench = Bench::new();
    let ids = [bench.id(), bench.id()];
    let numbers = ids.each_ref().map(|id| bench.join(&join(id)));
    let number = bench.leave(&[(&ids[0], None)]);
    assert_eq!(bench.left(number).error, None);
    assert_eq!(bench.joined(numbers[0]).error, Some(GroupError::UnknownMemberId));
    assert!(bench.answer(numbers[1]).is_none());
    bench.pass(6_000);
    assert_eq!(bench.joined(numbers[1]).generation, 1);
}

#[test]
fn nobody_can_leave_what_is_not_there() {
    let mut bench = Bench::new();
    let number = bench.leave(&[("somebody", None), ("", Some("one"))]);
    let left = bench.left(number);
    assert_eq!(left.error, None);
    assert!(left.members.iter().all(|member| member.error == Some(GroupError::UnknownMemberId)));
    assert_eq!(left.single_error(), Some(GroupError::UnknownMemberId));
    let leave = holon_log::groups::Leave { group: "".into(), members: Vec::new() };
    let number = bench.call(|coordinator, time, number, out| coordinator.leave(time, number, leave, out));
    assert_eq!(bench.left(number).single_error(), Some(GroupError::InvalidGroupId));
}
