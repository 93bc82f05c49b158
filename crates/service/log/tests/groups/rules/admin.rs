//! Describing, listing and deleting groups.

use holon_log::groups::{Answer, GroupError, Name, Record, State, WriteError};

use super::{Bench, GROUP, commit, join, protocol};

fn delete(bench: &mut Bench, groups: &[&str]) -> u64 {
    let groups: Vec<Name> = groups.iter().map(|group| Name::from(*group)).collect();
    bench.call(|coordinator, time, number, out| coordinator.delete_groups(time, number, groups, out))
}

fn deleted(bench: &mut Bench, number: u64) -> Vec<Option<GroupError>> {
    match bench.answer(number) {
        Some(Answer::DeleteGroups(groups)) => groups.into_iter().map(|(_, error)| error).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stable_group_is_described_with_what_its_members_say_and_have() {
    let mut bench = Bench::new();
    let (ids, _) = bench.stable(2);
    let described = bench.coordinator.describe(6, &GROUP.into());
    assert_eq!((described.error, described.state, &*described.protocol), (None, State::Stable, "range"));
    assert_eq!(&*described.protocol_type, "consumer");
    for (index, id) in ids.iter().enumerate() {
        let member = described.members.iter().find(|member| member.member == *id).expect("all are there");
        assert_eq!((&*member.client_id, &*member.client_host), ("client", "/127.0.0.1"));
        assert_eq!(member.metadata, protocol("range").metadata);
        assert_eq!(member.assignment, [index as u8].as_slice());
    }
    bench.join(&join(&ids[0]));
    let described = bench.coordinator.describe(6, &GROUP.into());
    assert_eq!((described.state, &*described.protocol, described.members.len()), (State::PreparingRebalance, "", 2));
    assert!(described.members.iter().all(|member| member.metadata.is_empty()));
}

#[test]
fn a_group_that_is_not_there_is_dead_and_since_version_6_not_found() {
    let bench = Bench::new();
    for (version, error) in [(5, None), (6, Some(GroupError::GroupIdNotFound))] {
        let described = bench.coordinator.describe(version, &GROUP.into());
        assert_eq!((described.error, described.state, described.members.len()), (error, State::Dead, 0));
    }
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut bench = Bench::new();
    bench.stable(1);
    let mut simple = commit("", -1, 5);
    simple.group = "simple".into();
    bench.commit(&simple);
    let cases: [(&[&str], &[&str], &[&str]); 8] = [
        (&[], &[], &[GROUP, "simple"]),
        (&["stable"], &[], &[GROUP]),
        (&[" STABLE ", "Empty"], &[], &[GROUP, "simple"]),
        (&["empty"], &["Classic"], &["simple"]),
        (&["preparingrebalance"], &[], &[]),
        (&["nonsense"], &[], &[]),
        (&[], &["consumer"], &[]),
        (&[], &["share", "classic"], &[GROUP, "simple"]),
    ];
    let names = |names: &[&str]| names.iter().map(|name| Name::from(*name)).collect::<Vec<_>>();
    for (states, types, expected) in cases {
        let listed = bench.coordinator.list(&names(states), &names(types));
        let groups: Vec<Name> = listed.iter().map(|listed| listed.group.clone()).collect();
        assert_eq!(groups, names(expected), "{states:?} {types:?}");
    }
    let listed = bench.coordinator.list(&[], &[]);
    assert_eq!((&*listed[0].protocol_type, &*listed[1].protocol_type), ("consumer", ""));
    assert_eq!((listed[0].state.as_str(), listed[1].state.as_str()), ("Stable", "Empty"));
}

#[test]
fn groups_without_members_are_deleted_with_their_offsets() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable(1);
    bench.commit(&commit(&ids[0], generation, 5));
    let number = delete(&mut bench, &[GROUP, "another"]);
    let refused = [Some(GroupError::NonEmptyGroup), Some(GroupError::GroupIdNotFound)];
    assert_eq!(deleted(&mut bench, number), refused);
    bench.leave(&[(&ids[0], None)]);
    bench.quick = false;
    let number = delete(&mut bench, &[GROUP, "another"]);
    assert!(bench.answer(number).is_none());
    bench.durable();
    assert_eq!(deleted(&mut bench, number), [None, Some(GroupError::GroupIdNotFound)]);
    assert_eq!((bench.state(), bench.offset()), (State::Dead, -1));
    bench.fail_over();
    assert_eq!((bench.state(), bench.offset()), (State::Dead, -1));
}

#[test]
fn until_that_is_durable_nobody_joins_and_what_was_there_is_there() {
    let mut bench = Bench::new();
    bench.commit(&commit("", -1, 5));
    bench.quick = false;
    for failure in [WriteError::NotEnoughReplicas, WriteError::NotLeader] {
        let number = delete(&mut bench, &[GROUP]);
        let again = delete(&mut bench, &[GROUP]);
        assert_eq!(deleted(&mut bench, again), [Some(GroupError::GroupIdNotFound)]);
        let joins = [bench.join(&join("")), bench.join(&join("somebody"))];
        for number in joins {
            assert_eq!(bench.joined(number).error, Some(GroupError::CoordinatorNotAvailable));
        }
        let committed = bench.commit(&commit("", -1, 6));
        assert_eq!(bench.committed(committed), Some(GroupError::CoordinatorNotAvailable));
        assert_eq!(bench.beat("somebody", 1), Some(GroupError::CoordinatorNotAvailable));
        assert_eq!((bench.offset(), bench.state()), (5, State::Dead));
        bench.next_write(Err(failure));
        assert_eq!(deleted(&mut bench, number), [Some(failure.told())]);
        assert_eq!((bench.offset(), bench.state()), (5, State::Empty));
    }
    let committed = bench.commit(&commit("", -1, 6));
    let number = delete(&mut bench, &[GROUP]);
    bench.durable();
    assert_eq!((bench.committed(committed), deleted(&mut bench, number)), (None, vec![None]));
    assert_eq!((bench.offset(), bench.state()), (-1, State::Dead), "the commit was before it");
}

#[test]
fn a_deletion_names_each_offset_that_it_takes() {
    // Readers of the log who keep the last of each partition see that it is gone.
    let mut bench = Bench::new();
    bench.commit(&commit("", -1, 5));
    bench.quick = false;
    let mut under_way = commit("", -1, 6);
    under_way.topics[0].partitions[0].partition = 1;
    bench.commit(&under_way);
    delete(&mut bench, &[GROUP]);
    let partitions = vec![("t".into(), 0), ("t".into(), 1)];
    let expected =
        [Record::OffsetsRemoved { group: GROUP.into(), partitions }, Record::GroupRemoved { group: GROUP.into() }];
    assert_eq!(bench.writes.last().expect("a write").records, expected);
}

#[test]
fn errors_have_kafkas_numbers() {
    use GroupError::*;
    let codes = [
        (UnknownServerError, -1),
        (OffsetMetadataTooLarge, 12),
        (CoordinatorNotAvailable, 15),
        (NotCoordinator, 16),
        (IllegalGeneration, 22),
        (InconsistentGroupProtocol, 23),
        (InvalidGroupId, 24),
        (UnknownMemberId, 25),
        (InvalidSessionTimeout, 26),
        (RebalanceInProgress, 27),
        (NonEmptyGroup, 68),
        (GroupIdNotFound, 69),
        (MemberIdRequired, 79),
        (GroupMaxSizeReached, 81),
        (FencedInstanceId, 82),
        (GroupSubscribedToTopic, 86),
    ];
    for (error, code) in codes {
        assert_eq!(error.code(), code, "{error}");
    }
}
