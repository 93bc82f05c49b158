//! From one generation to the next, and who is left behind.

use holon_log::groups::{GroupError, Join, Record, State};

use super::{Bench, join, sync};

#[test]
fn who_does_not_join_again_in_the_longest_time_of_all_is_out() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable(3);
    let third = bench.join(&Join {
        rebalance_timeout_ms: 30_000,
        protocols: vec![super::protocol("range"), super::protocol("x")],
        ..join(&ids[2])
    });
    for _ in 0..29 {
        bench.pass(1_000);
        for id in &ids[..2] {
            assert_eq!(bench.beat(id, generation), Some(GroupError::RebalanceInProgress));
        }
    }
    assert!(bench.answer(third).is_none());
    let second = bench.join(&join(&ids[1]));
    bench.pass(1_000);
    let (second, third) = (bench.joined(second), bench.joined(third));
    assert_eq!((second.generation, third.generation), (2, 2));
    assert_ne!(second.leader, ids[0], "the leader is out, another one leads");
    assert_eq!(second.members.len() + third.members.len(), 2);
    assert_eq!(bench.beat(&ids[0], 1), Some(GroupError::UnknownMemberId));
}

#[test]
fn a_member_that_is_silent_is_out_and_the_others_begin_anew() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable(2);
    bench.pass(9_000);
    assert_eq!(bench.beat(&ids[0], generation), None);
    bench.pass(999);
    assert_eq!((bench.state(), bench.members().len()), (State::Stable, 2));
    bench.pass(1);
    assert_eq!((bench.state(), bench.members()), (State::PreparingRebalance, vec![ids[0].clone()]));
    assert_eq!(bench.beat(&ids[1], generation), Some(GroupError::UnknownMemberId));
    let number = bench.join(&join(&ids[0]));
    assert_eq!(bench.joined(number).generation, 2);
}

#[test]
fn when_the_last_member_is_silent_the_group_is_empty_and_that_is_written() {
    let mut bench = Bench::new();
    bench.stable(1);
    bench.pass(10_000);
    // It has to wait until nobody can join: the time to join of nobody is none.
    assert_eq!(bench.state(), State::Empty);
    let Some(Record::Group(record)) = bench.log.last() else { panic!("{:?}", bench.log) };
    assert_eq!((record.generation, record.members.len(), record.leader.as_ref()), (2, 0, None));
    assert_eq!(record.protocol_type.as_deref(), Some("consumer"));
}

#[test]
fn whoever_waits_for_a_generation_need_not_be_heard_of() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable(2);
    let waits = bench.join(&join(&ids[0]));
    for _ in 0..19 {
        bench.pass(1_000);
        assert_eq!(bench.beat(&ids[1], generation), Some(GroupError::RebalanceInProgress));
    }
    let other = bench.join(&join(&ids[1]));
    assert_eq!((bench.joined(waits).generation, bench.joined(other).generation), (2, 2));
    // And then it has a whole session.
    bench.pass(9_999);
    assert_eq!(bench.members().len(), 2);
}

#[test]
fn who_got_an_id_and_may_still_come_is_waited_for() {
    let mut bench = Bench::new();
    let (ids, _) = bench.stable(1);
    let coming = bench.id();
    let number = bench.join(&join(&ids[0]));
    bench.pass(9_999);
    assert!(bench.answer(number).is_none());
    bench.pass(1);
    assert_eq!(bench.joined(number).generation, 2);
    let late = bench.join(&join(&coming));
    assert_eq!(bench.joined(late).error, Some(GroupError::UnknownMemberId));
}

#[test]
fn heartbeats_are_answered_by_the_state_of_the_group() {
    let mut bench = Bench::new();
    assert_eq!(bench.beat("nobody", 1), Some(GroupError::UnknownMemberId));
    let id = bench.id();
    assert_eq!(bench.beat(&id, -1), Some(GroupError::UnknownMemberId), "not yet a member");
    let number = bench.join(&join(&id));
    assert_eq!(bench.beat(&id, 0), Some(GroupError::RebalanceInProgress));
    bench.pass(3_000);
    bench.joined(number);
    assert_eq!(bench.beat(&id, 1), None, "also before it has its assignment");
    assert_eq!(bench.beat(&id, 0), Some(GroupError::IllegalGeneration));
    bench.assign(std::slice::from_ref(&id), 1);
    assert_eq!(bench.beat(&id, 1), None);
    assert_eq!(bench.beat(&id, 2), Some(GroupError::IllegalGeneration));
    let number = bench.leave(&[(&id, None)]);
    assert_eq!(bench.left(number).members[0].error, None);
    assert_eq!(bench.beat(&id, 1), Some(GroupError::UnknownMemberId), "the group is empty");
}

#[test]
fn members_that_do_not_sync_in_time_are_out() {
    let mut bench = Bench::new();
    let ids = [bench.id(), bench.id(), bench.id()];
    let numbers = ids.each_ref().map(|id| bench.join(&join(id)));
    bench.pass(6_000);
    for number in numbers {
        bench.joined(number);
    }
    let mut leader = sync(&ids[0], 1);
    leader.assignments = ids.iter().map(|id| (id.clone(), bytes::Bytes::from_static(b"x"))).collect();
    let leader = bench.sync(&leader);
    assert_eq!(bench.synced(leader).error, None);
    let second = bench.sync(&sync(&ids[1], 1));
    assert_eq!(bench.synced(second).error, None);
    for _ in 0..19 {
        bench.pass(1_000);
        // The third is alive, and does nothing with it.
        assert!(ids.iter().all(|id| bench.beat(id, 1).is_none()));
    }
    assert_eq!(bench.state(), State::Stable);
    bench.pass(1_000);
    assert_eq!((bench.state(), bench.members().len()), (State::PreparingRebalance, 2));
    assert_eq!(bench.beat(&ids[2], 1), Some(GroupError::UnknownMemberId));
}

#[test]
fn a_leader_that_does_not_sync_is_out_and_those_who_wait_begin_anew() {
    let mut bench = Bench::new();
    let ids = [bench.id(), bench.id()];
    let numbers = ids.each_ref().map(|id| bench.join(&join(id)));
    bench.pass(6_000);
    for number in numbers {
        bench.joined(number);
    }
    let waits = bench.sync(&sync(&ids[1], 1));
    for _ in 0..20 {
        assert_eq!(bench.beat(&ids[0], 1), None);
        bench.pass(1_000);
    }
    assert_eq!(bench.synced(waits).error, Some(GroupError::RebalanceInProgress));
    let number = bench.join(&join(&ids[1]));
    let joined = bench.joined(number);
    assert_eq!((joined.generation, joined.leader, joined.members.len()), (2, ids[1].clone(), 1));
}

#[test]
fn a_new_member_makes_a_new_generation_when_all_have_joined_again() {
    let mut bench = Bench::new();
    let (ids, _) = bench.stable(2);
    let id = bench.id();
    let new = bench.join(&join(&id));
    let first = bench.join(&join(&ids[0]));
    assert!(bench.answer(new).is_none());
    let second = bench.join(&join(&ids[1]));
    for number in [new, first, second] {
        assert_eq!(bench.joined(number).generation, 2, "no delay: the group was not empty");
    }
}
