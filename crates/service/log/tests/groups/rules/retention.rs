//! Offsets and groups that get old.

use holon_log::groups::{Commit, GroupError, Join, Options, State};

use super::{Bench, commit, join, seconds};

/// Offsets stay for a minute, and each group looks every ten seconds.
fn bench() -> Bench {
    Bench::with(Options {
        offsets_retention: seconds(60),
        offsets_retention_check_interval: seconds(10),
        ..Options::default()
    })
}

#[test]
fn without_membership_an_offset_is_as_old_as_its_commit_and_the_group_goes_with_the_last() {
    let mut bench = bench();
    bench.commit(&commit("", -1, 5));
    bench.pass(50_000);
    let mut other = commit("", -1, 6);
    other.topics[0].name = "u".into();
    bench.commit(&other);
    bench.pass(20_000);
    assert_eq!((bench.offset(), bench.state()), (-1, State::Empty));
    bench.pass(29_999);
    assert_eq!(bench.state(), State::Empty);
    bench.pass(20_001);
    assert_eq!(bench.state(), State::Dead);
    assert_eq!(bench.coordinator.next_deadline(), None);
    bench.fail_over();
    assert_eq!(bench.state(), State::Dead);
}

#[test]
fn offsets_of_a_group_that_was_used_are_as_old_as_it_is_empty() {
    let mut bench = bench();
    let (ids, generation) = bench.stable(1);
    bench.commit(&commit(&ids[0], generation, 5));
    for _ in 0..30 {
        bench.pass(5_000);
        assert_eq!(bench.beat(&ids[0], generation), None);
    }
    assert_eq!(bench.offset(), 5, "somebody reads it");
    bench.leave(&[(&ids[0], None)]);
    bench.pass(59_999);
    assert_eq!(bench.offset(), 5);
    // Also after a failover it is known since when.
    bench.fail_over();
    bench.pass(20_001);
    assert_eq!((bench.offset(), bench.state()), (-1, State::Dead));
}

#[test]
fn what_nobody_reads_any_more_gets_old_beside_what_is_read() {
    let mut bench = bench();
    let mut other = commit("", -1, 6);
    other.topics[0].name = "u".into();
    bench.commit(&other);
    bench.commit(&commit("", -1, 5));
    let (ids, generation) = bench.stable(1);
    for _ in 0..14 {
        bench.pass(5_000);
        assert_eq!(bench.beat(&ids[0], generation), None);
    }
    let all = holon_log::groups::Fetch { group: super::GROUP.into(), topics: None, require_stable: false };
    let number = bench.call(|coordinator, time, number, out| coordinator.fetch(time, number, all, out));
    let kept: Vec<_> = bench.fetched(number).topics.into_iter().map(|topic| topic.name).collect();
    assert_eq!(kept, ["t".into()], "t is subscribed to, u is not");
}

#[test]
fn offsets_of_members_that_are_not_consumers_stay_while_there_are_members() {
    let mut bench = bench();
    bench.commit(&commit("", -1, 5));
    let number = bench.join(&Join { version: 3, protocol_type: "connect".into(), ..join("") });
    bench.pass(3_000);
    let id = bench.joined(number).member;
    bench.assign(std::slice::from_ref(&id), 1);
    for _ in 0..20 {
        bench.pass(5_000);
        assert_eq!(bench.beat(&id, 1), None);
    }
    assert_eq!(bench.offset(), 5);
}

#[test]
fn a_client_may_say_how_long_its_offsets_stay() {
    let mut bench = bench();
    bench.commit(&Commit { version: 4, retention_ms: 5_000, ..commit("", -1, 5) });
    bench.pass(4_999);
    assert_eq!(bench.offset(), 5);
    bench.pass(10_001);
    assert_eq!(bench.offset(), -1);
}

#[test]
fn a_group_without_members_and_offsets_is_gone_at_the_next_look() {
    let mut bench = bench();
    let id = bench.id();
    bench.pass(9_999);
    bench.pass(2);
    assert_eq!(bench.state(), State::Dead);
    let number = bench.join(&join(&id));
    assert_eq!(bench.joined(number).error, Some(GroupError::UnknownMemberId));
}

#[test]
fn an_offset_that_is_being_committed_anew_is_not_old() {
    let mut bench = bench();
    bench.commit(&commit("", -1, 5));
    bench.pass(58_000);
    bench.quick = false;
    let number = bench.commit(&commit("", -1, 6));
    bench.pass(12_001);
    bench.quick = true;
    bench.durable();
    assert_eq!(bench.committed(number), Some(GroupError::CoordinatorNotAvailable), "too late for whoever asked");
    assert_eq!(bench.offset(), 6);
}

#[test]
fn a_group_for_which_something_is_being_committed_stays() {
    let mut bench = bench();
    bench.id();
    bench.quick = false;
    bench.pass(1_000);
    let number = bench.commit(&commit("", -1, 6));
    bench.pass(10_000);
    assert_eq!(bench.state(), State::Empty);
    bench.durable();
    assert_eq!(bench.committed(number), Some(GroupError::CoordinatorNotAvailable), "too late for whoever asked");
    assert_eq!(bench.offset(), 6);
}
