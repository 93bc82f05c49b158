//! What is known after a failover, and what is said at the end.

use holon_log::groups::{Answer, GroupError, Join, Options, Output, State, Sync};

use super::{Bench, commit, join, sync};

#[test]
fn members_go_on_where_they_were_with_whole_sessions() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable(2);
    bench.commit(&commit(&ids[0], generation, 5));
    bench.pass(9_000);
    bench.fail_over();
    assert_eq!((bench.state(), bench.offset(), bench.members().len()), (State::Stable, 5, 2));
    bench.pass(9_999);
    assert_eq!(bench.beat(&ids[0], generation), None);
    let number = bench.sync(&Sync { protocol: Some("range".into()), ..sync(&ids[0], generation) });
    assert_eq!(bench.synced(number).assignment, [0u8].as_slice());
    bench.pass(1);
    assert_eq!((bench.state(), bench.members()), (State::PreparingRebalance, vec![ids[0].clone()]));
    let number = bench.join(&join(&ids[0]));
    let joined = bench.joined(number);
    assert_eq!((joined.generation, joined.leader), (generation + 1, ids[0].clone()));
}

#[test]
fn a_generation_that_was_told_and_not_assigned_is_forgotten() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable(2);
    let numbers = ids.iter().map(|id| bench.join(&join(id))).collect::<Vec<_>>();
    assert!(numbers.into_iter().all(|number| bench.joined(number).generation == generation + 1));
    bench.fail_over();
    let number = bench.sync(&sync(&ids[0], generation + 1));
    assert_eq!(bench.synced(number).error, Some(GroupError::IllegalGeneration));
    assert_eq!(bench.beat(&ids[0], generation), None);
}

#[test]
fn only_the_chosen_protocol_is_known_so_that_who_says_more_makes_a_new_generation() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable(2);
    bench.fail_over();
    let number = bench.join(&join(&ids[1]));
    assert_eq!(bench.joined(number).generation, generation, "nothing new");
    let protocols = vec![super::protocol("range"), super::protocol("sticky")];
    bench.join(&Join { protocols, ..join(&ids[1]) });
    assert_eq!(bench.state(), State::PreparingRebalance);
}

#[test]
fn static_members_are_known_by_their_instances() {
    let mut bench = Bench::new();
    let number = bench.join(&Join { instance: Some("one".into()), ..join("") });
    bench.pass(3_000);
    let id = bench.joined(number).member;
    bench.assign(std::slice::from_ref(&id), 1);
    bench.fail_over();
    let number = bench.join(&Join { instance: Some("one".into()), ..join("") });
    let joined = bench.joined(number);
    assert_eq!((joined.error, joined.generation, joined.skip_assignment), (None, 1, true));
    bench.fail_over();
    assert_eq!(bench.beat_as(&id, Some("one"), 1), Some(GroupError::FencedInstanceId));
    assert_eq!(bench.beat_as(&joined.member, Some("one"), 1), None);
}

#[test]
fn a_group_that_is_larger_than_it_may_be_now_begins_anew_and_the_last_to_come_are_out() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable(3);
    bench.options = Options { members_max: 2, ..Options::default() };
    bench.fail_over();
    assert_eq!(bench.state(), State::PreparingRebalance);
    let number = bench.commit(&commit(&ids[2], generation, 5));
    assert_eq!(bench.committed(number), None, "it may still say how far it came");
    let numbers: Vec<u64> = ids.iter().map(|id| bench.join(&join(id))).collect();
    assert_eq!(bench.joined(numbers[2]).error, Some(GroupError::GroupMaxSizeReached));
    bench.pass(20_000);
    assert_eq!(bench.joined(numbers[0]).generation, generation + 1);
    assert_eq!(bench.joined(numbers[1]).generation, generation + 1);
}

#[test]
fn when_it_stops_all_who_wait_are_sent_elsewhere() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable(2);
    bench.quick = false;
    let committed = bench.commit(&commit(&ids[0], generation, 5));
    let fetched = bench.fetch(true);
    let joined = bench.join(&join(&ids[0]));
    let mut out = Output::default();
    let next = Bench::new().coordinator;
    std::mem::replace(&mut bench.coordinator, next).stop(&mut out);
    let mut told: Vec<u64> = out
        .answers
        .iter()
        .map(|(number, answer)| {
            let error = match answer {
                Answer::Join(joined) => joined.error,
                Answer::Commit(committed) => committed.topics[0].partitions[0].1,
                Answer::Fetch(fetched) => fetched.error,
                other => panic!("{other:?}"),
            };
            assert_eq!(error, Some(GroupError::NotCoordinator));
            number.0
        })
        .collect();
    told.sort();
    assert_eq!(told, [committed, fetched, joined]);
}
