//! Who may join, and when a generation begins.

use holon_log::groups::limits::PENDING_MEMBERS_MAX;
use holon_log::groups::{GroupError, Join, Options, Protocol, State};
use std::time::Duration;

use super::{Bench, GROUP, join, protocol, seconds, sync};

#[test]
fn since_version_4_a_dynamic_member_gets_an_id_and_joins_with_it() {
    let mut bench = Bench::new();
    let number = bench.join(&Join { version: 4, ..join("") });
    let first = bench.joined(number);
    assert_eq!((first.error, first.generation, &*first.leader), (Some(GroupError::MemberIdRequired), -1, ""));
    assert_eq!(bench.state(), State::Empty);
    let number = bench.join(&Join { version: 4, ..join(&first.member) });
    bench.pass(3_000);
    let joined = bench.joined(number);
    assert_eq!((joined.error, joined.generation, joined.member), (None, 1, first.member));
}

#[test]
fn before_version_4_it_joins_at_once() {
    let mut bench = Bench::new();
    let number = bench.join(&Join { version: 3, ..join("") });
    assert_eq!(bench.state(), State::PreparingRebalance);
    bench.pass(3_000);
    assert_eq!(bench.joined(number).error, None);
}

#[test]
fn a_member_id_is_the_clients_and_a_random_uuid() {
    let mut bench = Bench::new();
    let id = bench.id();
    let uuid = id.strip_prefix("client-").expect("the client's id first");
    assert_eq!(uuid.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    assert!(uuid[14..].starts_with('4') && "89ab".contains(&uuid[19..20]), "{uuid} is not of version 4");
    assert_ne!(id, bench.id());
}

#[test]
fn who_does_not_come_back_with_its_id_in_time_has_to_ask_anew() {
    let mut bench = Bench::new();
    let id = bench.id();
    bench.pass(10_000);
    let number = bench.join(&join(&id));
    assert_eq!(bench.joined(number).error, Some(GroupError::UnknownMemberId));
}

#[test]
fn ids_that_nobody_comes_back_with_are_bounded() {
    let mut bench = Bench::new();
    for _ in 0..PENDING_MEMBERS_MAX {
        bench.id();
    }
    let number = bench.join(&join(""));
    assert_eq!(bench.joined(number).error, Some(GroupError::GroupMaxSizeReached));
}

#[test]
fn what_cannot_be_is_refused() {
    let mut bench = Bench::new();
    let cases = [
        (Join { group: "".into(), ..join("") }, GroupError::InvalidGroupId),
        (Join { session_timeout_ms: 5_999, ..join("") }, GroupError::InvalidSessionTimeout),
        (Join { session_timeout_ms: 1_800_001, ..join("") }, GroupError::InvalidSessionTimeout),
        (Join { session_timeout_ms: -1, ..join("") }, GroupError::InvalidSessionTimeout),
        (join("somebody"), GroupError::UnknownMemberId),
        (Join { protocol_type: "".into(), ..join("") }, GroupError::InconsistentGroupProtocol),
        (Join { protocols: Vec::new(), ..join("") }, GroupError::InconsistentGroupProtocol),
    ];
    for (join, error) in cases {
        let number = bench.join(&join);
        let joined = bench.joined(number);
        assert_eq!((joined.error, joined.member), (Some(error), join.member));
    }
}

#[test]
fn all_members_have_one_protocol_type_and_a_protocol_in_common() {
    let mut bench = Bench::new();
    let (ids, _) = bench.stable(1);
    for wrong in [
        Join { protocol_type: "connect".into(), ..join("") },
        Join { protocols: vec![protocol("sticky")], ..join("") },
        Join { protocols: vec![protocol("sticky")], ..join(&ids[0]) },
    ] {
        // Also the only member: what all know is what it said before.
        let number = bench.join(&wrong);
        assert_eq!(bench.joined(number).error, Some(GroupError::InconsistentGroupProtocol));
    }
    let number = bench.join(&Join { protocols: vec![protocol("sticky"), protocol("range")], ..join(&ids[0]) });
    assert_eq!(bench.joined(number).error, None);
}

#[test]
fn the_protocol_that_most_like_best_is_chosen_among_those_that_all_know() {
    let mut bench = Bench::new();
    let likes = [["sticky", "range", "odd"], ["range", "sticky", "even"], ["sticky", "range", "even"]];
    let numbers: Vec<u64> = likes
        .map(|names| {
            let protocols: Vec<Protocol> = names.map(protocol).to_vec();
            let id = bench.id();
            bench.join(&Join { protocols, ..join(&id) })
        })
        .to_vec();
    bench.pass(6_000);
    for number in numbers {
        let joined = bench.joined(number);
        assert_eq!((joined.protocol.as_deref(), joined.protocol_type.as_deref()), (Some("sticky"), Some("consumer")));
    }
}

#[test]
fn the_first_to_join_leads_and_only_the_leader_is_told_of_all() {
    let mut bench = Bench::new();
    let ids = [bench.id(), bench.id(), bench.id()];
    let numbers = [&ids[2], &ids[0], &ids[1]].map(|id| bench.join(&join(id)));
    bench.pass(6_000);
    let [leader, others @ ..] = numbers.map(|number| bench.joined(number));
    assert_eq!(leader.leader, ids[2]);
    let mut told: Vec<_> = leader.members.iter().map(|member| member.member.clone()).collect();
    told.sort();
    let mut all = ids.to_vec();
    all.sort();
    assert_eq!(told, all);
    assert!(leader.members.iter().all(|member| member.metadata == protocol("range").metadata));
    for other in others {
        assert_eq!((other.leader, other.members.len(), other.generation), (ids[2].clone(), 0, 1));
    }
}

#[test]
fn an_empty_group_waits_on_while_members_come_but_not_longer_than_they_may_take_to_join() {
    let mut bench = Bench::new();
    let ids: Vec<_> = (0..9).map(|_| bench.id()).collect();
    let first = bench.join(&Join { rebalance_timeout_ms: 8_000, ..join(&ids[0]) });
    bench.pass(2_900);
    let second = bench.join(&Join { rebalance_timeout_ms: 8_000, ..join(&ids[1]) });
    bench.pass(3_000);
    assert_eq!(bench.state(), State::PreparingRebalance, "somebody came, so it waits for 3 s more");
    let third = bench.join(&Join { rebalance_timeout_ms: 8_000, ..join(&ids[2]) });
    bench.pass(1_900);
    // 7.8 s; of the 8 s two remained at the last look.
    let fourth = bench.join(&Join { rebalance_timeout_ms: 8_000, ..join(&ids[3]) });
    assert_eq!(bench.state(), State::PreparingRebalance);
    bench.pass(200);
    assert_eq!(bench.state(), State::CompletingRebalance);
    for number in [first, second, third, fourth] {
        assert_eq!(bench.joined(number).generation, 1);
    }
}

#[test]
fn an_empty_group_to_which_nobody_more_comes_begins_after_the_delay() {
    for delay_ms in [0, 700] {
        let initial_rebalance_delay = Duration::from_millis(delay_ms);
        let mut bench = Bench::with(Options { initial_rebalance_delay, ..Options::default() });
        let id = bench.id();
        let number = bench.join(&join(&id));
        assert_eq!(bench.state(), State::PreparingRebalance);
        bench.pass(delay_ms);
        assert_eq!(bench.joined(number).generation, 1);
    }
}

#[test]
fn a_new_member_that_waits_for_five_minutes_counts_as_gone() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable(1);
    let id = bench.id();
    let number = bench.join(&Join { rebalance_timeout_ms: 900_000, ..join(&id) });
    for _ in 0..299 {
        bench.pass(1_000);
        assert_eq!(bench.beat(&ids[0], generation), Some(GroupError::RebalanceInProgress));
    }
    assert!(bench.answer(number).is_none());
    bench.pass(1_000);
    let gone = bench.joined(number);
    assert_eq!((gone.error, &*gone.member), (Some(GroupError::UnknownMemberId), ""));
}

#[test]
fn a_group_takes_as_many_members_as_it_may_have() {
    let mut bench = Bench::with(Options { members_max: 2, ..Options::default() });
    let (ids, _) = bench.stable(2);
    let number = bench.join(&join(""));
    assert_eq!(bench.joined(number).error, Some(GroupError::GroupMaxSizeReached));
    // A member may come again; and while a generation forms, those count who have come.
    let first = bench.join(&join(&ids[0]));
    let again = bench.join(&join(&ids[0]));
    assert_eq!(bench.joined(first).error, Some(GroupError::RebalanceInProgress), "it asked again");
    let number = bench.join(&Join { version: 3, ..join("") });
    let late = bench.join(&join(&ids[1]));
    assert_eq!(bench.joined(late).error, Some(GroupError::GroupMaxSizeReached));
    assert_eq!(bench.members().len(), 2);
    bench.pass(20_000);
    assert_eq!((bench.joined(again).error, bench.joined(number).error), (None, None));
}

#[test]
fn who_joins_again_unchanged_is_told_of_the_generation_that_is() {
    let mut bench = Bench::new();
    let ids = [bench.id(), bench.id()];
    let numbers = [&ids[0], &ids[1]].map(|id| bench.join(&join(id)));
    bench.pass(6_000);
    let told = numbers.map(|number| bench.joined(number));
    // Perhaps the answer was lost: the same once more, for the leader too.
    for (id, told) in ids.iter().zip(&told) {
        let number = bench.join(&join(id));
        assert_eq!(bench.joined(number), *told);
    }
    bench.assign(&ids, 1);
    let number = bench.join(&join(&ids[1]));
    assert_eq!(bench.joined(number), told[1]);
    assert_eq!(bench.state(), State::Stable);
}

#[test]
fn a_leader_that_joins_again_and_a_member_that_changed_make_a_new_generation() {
    let changed = vec![protocol("range"), protocol("sticky")];
    for (who, protocols) in [(0, vec![protocol("range")]), (1, changed.clone()), (0, changed)] {
        let mut bench = Bench::new();
        let (ids, generation) = bench.stable(2);
        let number = bench.join(&Join { protocols, ..join(&ids[who]) });
        assert_eq!(bench.state(), State::PreparingRebalance);
        assert_eq!(bench.beat(&ids[1 - who], generation), Some(GroupError::RebalanceInProgress));
        let other = bench.join(&join(&ids[1 - who]));
        assert_eq!((bench.joined(number).generation, bench.joined(other).generation), (2, 2));
    }
}

#[test]
fn a_member_that_changes_while_the_leader_assigns_makes_a_new_generation() {
    let mut bench = Bench::new();
    let ids = [bench.id(), bench.id()];
    let numbers = [&ids[0], &ids[1]].map(|id| bench.join(&join(id)));
    bench.pass(6_000);
    for number in numbers {
        bench.joined(number);
    }
    let waits = bench.sync(&sync(&ids[0], 1));
    bench.durable();
    // The leader's sync made it stable; again, with the follower waiting this time.
    assert_eq!(bench.synced(waits).error, None);
    let leader = bench.join(&join(&ids[0]));
    let follower = bench.join(&join(&ids[1]));
    assert_eq!((bench.joined(leader).generation, bench.joined(follower).generation), (2, 2));
    let waits = bench.sync(&sync(&ids[1], 2));
    let changed = bench.join(&Join { protocols: vec![protocol("range"), protocol("odd")], ..join(&ids[0]) });
    assert_eq!(bench.synced(waits).error, Some(GroupError::RebalanceInProgress));
    let follower = bench.join(&join(&ids[1]));
    assert_eq!((bench.joined(changed).generation, bench.joined(follower).generation), (3, 3));
}

#[test]
fn a_join_that_is_repeated_is_answered_and_the_last_one_counts() {
    let mut bench = Bench::new();
    let (ids, _) = bench.stable(2);
    let first = bench.join(&join(&ids[0]));
    let second = bench.join(&join(&ids[0]));
    let repeated = bench.joined(first);
    assert_eq!((repeated.error, repeated.member), (Some(GroupError::RebalanceInProgress), ids[0].clone()));
    let other = bench.join(&join(&ids[1]));
    assert_eq!((bench.joined(second).generation, bench.joined(other).generation), (2, 2));
}

#[test]
fn only_dynamic_members_get_an_id_before_they_join() {
    let mut bench = Bench::new();
    let id = bench.id();
    let number = bench.join(&Join { instance: Some("one".into()), ..join(&id) });
    assert_eq!(bench.joined(number).error, Some(GroupError::UnknownServerError));
}

#[test]
fn version_0_may_take_as_long_to_join_as_its_session_lasts() {
    let mut bench = Bench::new();
    let old = bench.join(&Join { version: 0, rebalance_timeout_ms: -1, ..join("") });
    bench.pass(3_000);
    let old = bench.joined(old).member;
    bench.assign(std::slice::from_ref(&old), 1);
    let id = bench.id();
    let number = bench.join(&Join { rebalance_timeout_ms: 1_000, ..join(&id) });
    bench.pass(9_999);
    assert!(bench.answer(number).is_none(), "its session is the longest time to join");
    bench.pass(1);
    assert_eq!((bench.joined(number).generation, bench.members()), (2, vec![id]));
}

#[test]
fn a_group_that_is_new_is_written_and_is_not_there_if_that_fails() {
    let mut bench = Bench::new();
    bench.quick = false;
    let number = bench.join(&Join { version: 3, ..join("") });
    assert_eq!(bench.writes.len(), 1);
    bench.next_write(Err(holon_log::groups::WriteError::NotEnoughReplicas));
    assert_eq!(bench.joined(number).error, Some(GroupError::CoordinatorNotAvailable));
    assert_eq!(bench.state(), State::Dead);
    assert!(bench.coordinator.list(&[], &[]).is_empty());
    assert_eq!(bench.coordinator.next_deadline(), None, "nothing of it is left");
    bench.quick = true;
    bench.pass(seconds(60).as_millis() as u64);
    bench.stable(1);
    assert_eq!(bench.coordinator.list(&[], &[])[0].group, GROUP.into());
}
