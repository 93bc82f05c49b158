//! Members with a `group.instance.id`.

use bytes::Bytes;
use holon_log::groups::{Commit, GroupError, Join, Name, Record, State, Sync, WriteError};

use super::{Bench, commit, join, protocol, sync};

fn instance(name: &str) -> Join {
    Join { instance: Some(name.into()), ..join("") }
}

/// Two static members, "one" and "two", in generation 1; one leads.
fn stable() -> (Bench, [Name; 2]) {
    let mut bench = Bench::new();
    let numbers = ["one", "two"].map(|name| bench.join(&instance(name)));
    bench.pass(6_000);
    let ids = numbers.map(|number| bench.joined(number).member);
    bench.assign(&ids, 1);
    (bench, ids)
}

#[test]
fn a_static_member_joins_at_once_and_is_named_after_its_instance() {
    let (_, ids) = stable();
    assert!(ids[0].starts_with("one-") && ids[1].starts_with("two-"));
}

#[test]
fn a_follower_that_comes_again_has_a_new_id_and_what_it_had_without_a_new_generation() {
    let (mut bench, ids) = stable();
    bench.quick = false;
    let number = bench.join(&instance("two"));
    assert!(bench.answer(number).is_none(), "not before the new id is durable");
    bench.next_write(Ok(()));
    let joined = bench.joined(number);
    assert_eq!((joined.error, joined.generation, joined.skip_assignment), (None, 1, false));
    assert_eq!((joined.leader, joined.members.len()), (ids[0].clone(), 0));
    assert_ne!(joined.member, ids[1]);
    assert_eq!(bench.state(), State::Stable);
    let number = bench.sync(&Sync { instance: Some("two".into()), ..sync(&joined.member, 1) });
    assert_eq!(bench.synced(number).assignment, [1u8].as_slice());
    let Some(Record::Group(record)) = bench.log.last() else { panic!("{:?}", bench.log) };
    assert!(
        record.members.iter().any(|member| member.member == joined.member && member.assignment == [1u8].as_slice())
    );
    assert_eq!(bench.beat(&ids[0], 1), None);
}

#[test]
fn a_leader_that_comes_again_does_not_assign_again() {
    // Since version 9 it is told who the members are, and not to assign.
    let (mut bench, ids) = stable();
    let number = bench.join(&instance("one"));
    let joined = bench.joined(number);
    assert_eq!((joined.generation, joined.skip_assignment, joined.members.len()), (1, true, 2));
    assert_eq!(joined.leader, joined.member);
    assert_ne!(joined.member, ids[0]);
    // Before, it is not told that it leads.
    let (mut bench, ids) = stable();
    let number = bench.join(&Join { version: 8, ..instance("one") });
    let joined = bench.joined(number);
    assert_eq!((joined.generation, joined.skip_assignment, joined.members.len()), (1, false, 0));
    assert_eq!(joined.leader, ids[0]);
    assert_ne!(joined.member, ids[0]);
    let number = bench.sync(&sync(&joined.member, 1));
    assert_eq!(bench.synced(number).assignment, [0u8].as_slice());
}

#[test]
fn of_two_with_the_same_instance_the_older_is_fenced_whatever_it_asks() {
    let (mut bench, ids) = stable();
    let number = bench.join(&instance("two"));
    let new = bench.joined(number).member;
    let (two, old) = (Some(Name::from("two")), &ids[1]);
    let fenced = Some(GroupError::FencedInstanceId);
    assert_eq!(bench.beat_as(old, Some("two"), 1), fenced);
    let number = bench.join(&Join { instance: two.clone(), ..join(old) });
    assert_eq!(bench.joined(number).error, fenced);
    let number = bench.sync(&Sync { instance: two.clone(), ..sync(old, 1) });
    assert_eq!(bench.synced(number).error, fenced);
    let number = bench.commit(&Commit { instance: two, ..commit(old, 1, 7) });
    assert_eq!(bench.committed(number), fenced);
    let number = bench.leave(&[(old, Some("two"))]);
    assert_eq!(bench.left(number).members[0].error, fenced);
    assert_eq!(bench.beat_as(&new, Some("two"), 1), None);
    assert_eq!(bench.beat(old, 1), Some(GroupError::UnknownMemberId), "without its instance it is nobody");
    assert_eq!(bench.beat_as(&new, Some("three"), 1), Some(GroupError::UnknownMemberId));
}

#[test]
fn if_its_new_id_cannot_be_written_it_has_the_old_one() {
    let (mut bench, ids) = stable();
    bench.quick = false;
    let number = bench.join(&Join {
        session_timeout_ms: 6_000,
        protocols: vec![protocol("range"), protocol("x")],
        ..instance("two")
    });
    bench.next_write(Err(WriteError::NotEnoughReplicas));
    let joined = bench.joined(number);
    assert_eq!((joined.error, &*joined.member), (Some(GroupError::CoordinatorNotAvailable), ""));
    assert_eq!((joined.generation, joined.leader), (1, ids[0].clone()));
    assert_eq!(bench.beat_as(&ids[1], Some("two"), 1), None);
    assert_eq!(bench.members(), ids.to_vec());
    // Also what it said before is what counts: its session is of 10 s.
    bench.pass(9_000);
    assert_eq!(bench.members().len(), 2);
    // The same, too late.
    assert_eq!(bench.beat(&ids[0], 1), None);
    assert_eq!(bench.beat(&ids[1], 1), None);
    let number = bench.join(&instance("two"));
    bench.pass(5_000);
    assert_eq!(bench.joined(number).error, Some(GroupError::CoordinatorNotAvailable));
    assert_eq!(bench.members(), ids.to_vec());
}

#[test]
fn one_that_comes_again_wanting_another_protocol_makes_a_new_generation() {
    let mut bench = Bench::new();
    let numbers = ["one", "two"]
        .map(|name| bench.join(&Join { protocols: vec![protocol("range"), protocol("sticky")], ..instance(name) }));
    bench.pass(6_000);
    let ids = numbers.map(|number| bench.joined(number).member);
    bench.assign(&ids, 1);
    let number = bench.join(&Join { protocols: vec![protocol("sticky")], ..instance("two") });
    assert_eq!(bench.state(), State::PreparingRebalance);
    let other = bench.join(&Join { protocols: vec![protocol("range"), protocol("sticky")], ..join(&ids[0]) });
    let (joined, other) = (bench.joined(number), bench.joined(other));
    assert_eq!((joined.generation, joined.protocol.as_deref()), (2, Some("sticky")));
    assert_eq!(other.generation, 2);
}

#[test]
fn one_that_comes_again_while_the_leader_assigns_makes_a_new_generation() {
    let mut bench = Bench::new();
    let numbers = ["one", "two"].map(|name| bench.join(&instance(name)));
    bench.pass(6_000);
    let ids = numbers.map(|number| bench.joined(number).member);
    let waits = bench.sync(&sync(&ids[1], 1));
    let number = bench.join(&instance("two"));
    assert_eq!(bench.synced(waits).error, Some(GroupError::FencedInstanceId));
    assert_eq!(bench.state(), State::PreparingRebalance);
    let other = bench.join(&join(&ids[0]));
    assert_eq!((bench.joined(number).generation, bench.joined(other).generation), (2, 2));
}

#[test]
fn one_that_comes_again_while_it_waits_takes_its_place() {
    let mut bench = Bench::new();
    let first = bench.join(&instance("one"));
    let second = bench.join(&instance("one"));
    let fenced = bench.joined(first);
    assert_eq!(fenced.error, Some(GroupError::FencedInstanceId));
    bench.pass(6_000);
    let joined = bench.joined(second);
    assert_eq!((joined.generation, joined.members.len(), joined.leader), (1, 1, joined.member));
}

#[test]
fn a_static_member_that_is_away_while_others_join_stays_and_has_to_sync_in_time() {
    let (mut bench, ids) = stable();
    let id = bench.id();
    let new = bench.join(&join(&id));
    let first = bench.join(&join(&ids[0]));
    for _ in 0..20 {
        assert_eq!(bench.beat(&ids[1], 1), Some(GroupError::RebalanceInProgress));
        bench.pass(1_000);
    }
    let joined = bench.joined(first);
    assert_eq!((joined.generation, joined.members.len()), (2, 3), "it is a member of the generation");
    let mut leader = sync(&ids[0], 2);
    leader.assignments = vec![(ids[1].clone(), Bytes::from_static(b"kept"))];
    let leader = bench.sync(&leader);
    assert_eq!(bench.synced(leader).error, None);
    assert_eq!(bench.joined(new).generation, 2);
    let number = bench.sync(&sync(&id, 2));
    assert_eq!(bench.synced(number).error, None);
    let back = bench.join(&instance("two"));
    let back = bench.joined(back);
    assert_eq!((back.error, back.generation), (None, 2));
    for _ in 0..20 {
        assert_eq!(bench.state(), State::Stable);
        for id in [&ids[0], &id, &back.member] {
            assert_eq!(bench.beat(id, 2), None);
        }
        bench.pass(1_000);
    }
    assert_eq!(bench.state(), State::PreparingRebalance, "it came back, and did not sync");
}

#[test]
fn if_only_static_members_are_left_and_all_are_silent_their_sessions_end_first() {
    let mut bench = Bench::new();
    let long = |name: &str| Join { session_timeout_ms: 60_000, rebalance_timeout_ms: 5_000, ..instance(name) };
    let numbers = ["one", "two"].map(|name| bench.join(&long(name)));
    bench.pass(5_000);
    let ids = numbers.map(|number| bench.joined(number).member);
    bench.assign(&ids, 1);
    let id = bench.id();
    bench.join(&Join { rebalance_timeout_ms: 5_000, ..join(&id) });
    let number = bench.leave(&[(&id, None)]);
    assert_eq!(bench.left(number).members[0].error, None);
    bench.pass(5_000);
    assert_eq!(bench.beat(&ids[0], 1), Some(GroupError::RebalanceInProgress), "nobody joined: it goes on waiting");
    bench.pass(55_000);
    assert_eq!(bench.members().len(), 1, "one was heard of later");
    bench.pass(5_000);
    assert_eq!(bench.state(), State::Empty);
}
