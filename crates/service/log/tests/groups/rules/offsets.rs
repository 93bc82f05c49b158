//! Committing, fetching and deleting offsets.

use holon_log::groups::{
    Answer, Commit, Fetch, FetchTopic, GroupError, Join, Name, OffsetDelete, Options, Protocol, State, WriteError,
};

use super::{Bench, GROUP, commit, join};

#[test]
fn a_consumer_without_membership_commits_to_a_group_that_is_empty_or_not_there() {
    let mut bench = Bench::new();
    let number = bench.commit(&commit("", -1, 5));
    assert_eq!(bench.committed(number), None);
    assert_eq!((bench.offset(), bench.state()), (5, State::Empty));
    let number = bench.commit(&commit("some name", -1, 6));
    assert_eq!(bench.committed(number), None, "whatever it calls itself");
    bench.stable(1);
    let number = bench.commit(&commit("", -1, 7));
    assert_eq!(bench.committed(number), Some(GroupError::UnknownMemberId));
    let number = bench.commit(&commit("some name", -1, 7));
    assert_eq!(bench.committed(number), Some(GroupError::UnknownMemberId));
    assert_eq!(bench.offset(), 6);
}

#[test]
fn who_speaks_of_a_group_that_is_not_there_is_told_so_in_the_words_of_its_version() {
    let mut bench = Bench::new();
    for (version, error) in [(8, GroupError::IllegalGeneration), (9, GroupError::GroupIdNotFound)] {
        let number = bench.commit(&Commit { version, ..commit("somebody", 3, 5) });
        assert_eq!(bench.committed(number), Some(error));
    }
    assert_eq!(bench.state(), State::Dead);
    let number = bench.commit(&Commit { group: "".into(), ..commit("", -1, 5) });
    assert_eq!(bench.committed(number), None, "old clients may have a group without a name");
}

#[test]
fn members_commit_in_their_generation_and_while_the_next_one_forms() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable(2);
    let number = bench.commit(&commit(&ids[0], generation, 5));
    assert_eq!(bench.committed(number), None);
    for (member, generation, error) in [
        (&*ids[0], generation - 1, GroupError::IllegalGeneration),
        (&*ids[0], generation + 1, GroupError::IllegalGeneration),
        (&*ids[0], -1, GroupError::IllegalGeneration),
        ("somebody", generation, GroupError::UnknownMemberId),
        ("", generation, GroupError::UnknownMemberId),
    ] {
        let number = bench.commit(&commit(member, generation, 9));
        assert_eq!(bench.committed(number), Some(error));
    }
    let numbers = [bench.join(&join(&ids[0]))];
    assert_eq!(bench.state(), State::PreparingRebalance);
    let number = bench.commit(&commit(&ids[1], generation, 6));
    assert_eq!(bench.committed(number), None);
    bench.join(&join(&ids[1]));
    assert_eq!(bench.joined(numbers[0]).generation, generation + 1);
    let number = bench.commit(&commit(&ids[1], generation + 1, 7));
    assert_eq!(bench.committed(number), Some(GroupError::RebalanceInProgress));
    let number = bench.commit(&commit(&ids[1], generation, 7));
    assert_eq!(bench.committed(number), Some(GroupError::IllegalGeneration));
    assert_eq!(bench.offset(), 6);
}

#[test]
fn whoever_commits_is_alive() {
    let mut bench = Bench::new();
    let (ids, generation) = bench.stable(1);
    for offset in 0..3 {
        bench.pass(9_000);
        let number = bench.commit(&commit(&ids[0], generation, offset));
        assert_eq!(bench.committed(number), None);
    }
    assert_eq!(bench.state(), State::Stable);
}

#[test]
fn a_commit_is_answered_and_seen_when_it_is_durable() {
    let mut bench = Bench::new();
    bench.quick = false;
    let first = bench.commit(&commit("", -1, 5));
    let second = bench.commit(&commit("", -1, 6));
    assert_eq!((bench.offset(), bench.answer(first)), (-1, None));
    bench.next_write(Ok(()));
    assert_eq!((bench.committed(first), bench.offset()), (None, 5));
    bench.next_write(Err(WriteError::NotEnoughReplicas));
    assert_eq!((bench.committed(second), bench.offset()), (Some(GroupError::CoordinatorNotAvailable), 5));
    let late = bench.commit(&commit("", -1, 7));
    bench.pass(5_000);
    assert_eq!((bench.committed(late), bench.offset()), (Some(GroupError::CoordinatorNotAvailable), 5));
    bench.next_write(Ok(()));
    assert_eq!(bench.offset(), 7, "it came after all");
}

#[test]
fn a_fetch_of_what_is_stable_waits_for_the_commits_before_it() {
    let mut bench = Bench::new();
    bench.quick = false;
    for (outcome, seen) in [(Ok(()), 5), (Err(WriteError::NotLeader), 5)] {
        let number = bench.commit(&commit("", -1, 5));
        let stable = bench.fetch(true);
        assert!(bench.answer(stable).is_none());
        bench.next_write(outcome);
        bench.answer(number);
        assert_eq!(bench.fetched(stable).topics[0].partitions[0].offset, seen);
    }
    let now = bench.fetch(true);
    assert_eq!(bench.fetched(now).error, None, "nothing is under way");
    bench.commit(&commit("", -1, 6));
    let waits = bench.fetch(true);
    bench.pass(5_000);
    assert_eq!(bench.fetched(waits).error, Some(GroupError::CoordinatorNotAvailable));
    let later = bench.fetch(true);
    assert_eq!(bench.fetched(later).error, Some(GroupError::CoordinatorNotAvailable), "still nobody knows");
    bench.next_write(Ok(()));
    let now = bench.fetch(true);
    assert_eq!(bench.fetched(now).topics[0].partitions[0].offset, 6);
}

#[test]
fn what_was_committed_comes_back_whole() {
    let mut bench = Bench::new();
    let mut asked = commit("", -1, 5);
    asked.topics[0].id = 77;
    asked.topics[0].partitions[0].metadata = None;
    bench.commit(&asked);
    let mut other = commit("", -1, 9);
    other.topics[0].name = "u".into();
    other.topics[0].partitions[0].partition = 3;
    other.topics[0].partitions[0].leader_epoch = -1;
    bench.commit(&other);
    let all = Fetch { group: GROUP.into(), topics: None, require_stable: false };
    let number = bench.call(|coordinator, time, number, out| coordinator.fetch(time, number, all, out));
    let fetched = bench.fetched(number);
    let flat: Vec<_> = fetched
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|one| (&*topic.name, one)))
        .map(|(topic, one)| (topic, one.partition, one.offset, one.leader_epoch, &*one.metadata))
        .collect();
    assert_eq!(flat, [("t", 0, 5, 4, ""), ("u", 3, 9, -1, "note")]);
    // A topic of the same name that is another one has no offsets.
    for (id, offset) in [(0, 5), (77, 5), (78, -1)] {
        let topics = Some(vec![FetchTopic { name: "t".into(), id, partitions: vec![0, 1] }]);
        let fetch = Fetch { group: GROUP.into(), topics, require_stable: false };
        let number = bench.call(|coordinator, time, number, out| coordinator.fetch(time, number, fetch, out));
        let fetched = bench.fetched(number);
        let offsets: Vec<_> = fetched.topics[0].partitions.iter().map(|one| (one.partition, one.offset)).collect();
        assert_eq!((fetched.topics[0].id, offsets), (id, vec![(0, offset), (1, -1)]));
    }
    let all = Fetch { group: "another".into(), topics: None, require_stable: true };
    let number = bench.call(|coordinator, time, number, out| coordinator.fetch(time, number, all, out));
    let fetched = bench.fetched(number);
    assert_eq!((fetched.error, fetched.topics.len()), (None, 0), "of a group that is not there there are none");
}

#[test]
fn long_metadata_is_refused_for_its_partition_alone() {
    let mut bench = Bench::with(Options { offset_metadata_units_max: 4, ..Options::default() });
    let mut asked = commit("", -1, 5);
    let long = ["four", "five5", "ééés", "🦀🦀", "🦀🦀x"].map(Name::from);
    let template = asked.topics[0].partitions[0].clone();
    asked.topics[0].partitions = (0..)
        .zip(&long)
        .map(|(partition, metadata)| {
            let mut one = template.clone();
            (one.partition, one.metadata) = (partition, Some(metadata.clone()));
            one
        })
        .collect();
    let number = bench.commit(&asked);
    let Some(Answer::Commit(committed)) = bench.answer(number) else { panic!("no answer") };
    let large = Some(GroupError::OffsetMetadataTooLarge);
    assert_eq!(committed.topics[0].partitions, [(0, None), (1, large), (2, None), (3, None), (4, large)]);
    asked.topics[0].partitions.retain(|one| one.partition == 1);
    bench.quick = false;
    let number = bench.commit(&asked);
    assert_eq!(bench.committed(number), large);
    assert!(bench.writes.is_empty(), "nothing is left to write");
}

fn delete(bench: &mut Bench, group: &str, topics: &[&str]) -> (Option<GroupError>, Vec<Option<GroupError>>) {
    let topics = topics.iter().map(|topic| (Name::from(*topic), vec![0])).collect();
    let delete = OffsetDelete { group: group.into(), topics };
    let number = bench.call(|coordinator, time, number, out| coordinator.delete_offsets(time, number, delete, out));
    match bench.answer(number) {
        Some(Answer::OffsetDelete(deleted)) => {
            (deleted.error, deleted.topics.iter().map(|topic| topic.partitions[0].1).collect())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn offsets_of_topics_that_members_read_are_not_deleted() {
    let mut bench = Bench::new();
    assert_eq!(delete(&mut bench, "", &["t"]).0, Some(GroupError::InvalidGroupId));
    assert_eq!(delete(&mut bench, GROUP, &["t"]).0, Some(GroupError::GroupIdNotFound));
    let mut asked = commit("", -1, 5);
    let mut other = asked.topics[0].clone();
    other.name = "u".into();
    asked.topics.push(other);
    bench.commit(&asked);
    let (ids, _) = bench.stable(1);
    let (error, results) = delete(&mut bench, GROUP, &["t", "u", "v"]);
    assert_eq!((error, results), (None, vec![Some(GroupError::GroupSubscribedToTopic), None, None]));
    let all = Fetch { group: GROUP.into(), topics: None, require_stable: false };
    let number = bench.call(|coordinator, time, number, out| coordinator.fetch(time, number, all, out));
    let kept: Vec<Name> = bench.fetched(number).topics.into_iter().map(|topic| topic.name).collect();
    assert_eq!(kept, ["t".into()]);
    bench.leave(&[(&ids[0], None)]);
    assert_eq!(delete(&mut bench, GROUP, &["t"]), (None, vec![None]));
    assert_eq!(bench.offset(), -1);
}

#[test]
fn of_members_whose_topics_are_not_known_nothing_is_deleted() {
    // Not consumers: nobody knows what they read.
    let mut bench = Bench::new();
    bench.join(&Join { version: 3, protocol_type: "connect".into(), ..join("") });
    bench.pass(6_000);
    assert_eq!(delete(&mut bench, GROUP, &["t"]).0, Some(GroupError::NonEmptyGroup));
    // Consumers whose words are not understood.
    for metadata in [&b""[..], b"\0", b"\0\0\0\0\0\x01\0\x05t", b"\xff\xff\0\0\0\0", b"\0\0\x7f\xff\xff\xff\0"] {
        let mut bench = Bench::new();
        let protocols = vec![Protocol { name: "range".into(), metadata: metadata.into() }];
        bench.join(&Join { version: 3, protocols, ..join("") });
        bench.pass(6_000);
        assert_eq!(delete(&mut bench, GROUP, &["t"]), (None, vec![Some(GroupError::GroupSubscribedToTopic)]));
    }
}

#[test]
fn what_is_deleted_is_gone_whatever_was_under_way() {
    let mut bench = Bench::new();
    bench.commit(&commit("", -1, 5));
    bench.quick = false;
    let mut other = commit("", -1, 6);
    other.topics[0].partitions[0].partition = 1;
    bench.commit(&other);
    let topics = vec![("t".into(), vec![0, 1, 2])];
    let delete = OffsetDelete { group: GROUP.into(), topics };
    let number = bench.call(|coordinator, time, number, out| coordinator.delete_offsets(time, number, delete, out));
    assert!(bench.answer(number).is_none());
    bench.durable();
    assert!(bench.answer(number).is_some());
    let all = Fetch { group: GROUP.into(), topics: None, require_stable: false };
    let number = bench.call(|coordinator, time, number, out| coordinator.fetch(time, number, all, out));
    assert_eq!(bench.fetched(number).topics, []);
}

#[test]
fn a_topic_that_is_gone_takes_its_offsets_along() {
    let mut bench = Bench::new();
    for (name, id) in [("t", 7), ("u", 0), ("v", 8), ("w", 9)] {
        let mut asked = commit("", -1, 5);
        (asked.topics[0].name, asked.topics[0].id) = (name.into(), id);
        bench.commit(&asked);
    }
    bench.quick = false;
    let mut under_way = commit("", -1, 6);
    (under_way.topics[0].id, under_way.topics[0].partitions[0].partition) = (7, 1);
    bench.commit(&under_way);
    let gone: [(Name, u128); 3] = [("t".into(), 7), ("u".into(), 5), ("v".into(), 5)];
    bench.call(|coordinator, time, _, out| coordinator.topics_removed(time, &gone, out));
    bench.durable();
    let all = Fetch { group: GROUP.into(), topics: None, require_stable: false };
    let number = bench.call(|coordinator, time, number, out| coordinator.fetch(time, number, all, out));
    let kept: Vec<Name> = bench.fetched(number).topics.into_iter().map(|topic| topic.name).collect();
    assert_eq!(kept, ["v".into(), "w".into()], "v of another id stays");
}
