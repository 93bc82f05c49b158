//! Two logs that were never one: each says of an entry that it is committed, and they differ.

use bytes::Bytes;
use holon_base::{Instant, NodeId, Random};
use holon_raft::{
    Body, Change, Entry, HardState, Members, Message, Options, Output, Payload, Position, Raft, Snapshot, Stored,
};

const LEADER: NodeId = NodeId(2);

/// Three entries of term 1, all of them committed.
fn follower() -> Raft {
    let entry = |index| Entry { index, term: 1, payload: Payload::Normal(Bytes::from_static(b"old")) };
    let hard = HardState { term: 1, vote: None, commit: 3 };
    let members = Members::of_voters([NodeId(1), LEADER, NodeId(3)]);
    let stored = Stored { hard, snapshot: None, entries: (1..=3).map(entry).collect(), members, applied: 3 };
    Raft::new(NodeId(1), Options::default(), stored, Instant(0), Random::new(1)).expect("sound")
}

fn hears(previous: Position, entries: Vec<Entry>) -> (Raft, Output) {
    let (mut raft, mut out) = (follower(), Output::default());
    let body = Body::Append { previous, commit: previous.index, entries };
    raft.receive(Instant(1), LEADER, Message { term: 9, body }, &mut out);
    (raft, out)
}

#[test]
fn a_snapshot_of_another_history_does_not_take_the_place_of_what_is_committed() {
    let members = Members::of_voters([NodeId(1), LEADER, NodeId(3)]);
    for (term, taken) in [(1, true), (0, false)] {
        let (mut raft, mut out) = (follower(), Output::default());
        let snapshot = Snapshot { index: 9, term, members: members.clone(), data: Bytes::from_static(b"theirs") };
        raft.learn_snapshot(Instant(1), snapshot, &mut out);
        assert_eq!(raft.status().last_index, if taken { 9 } else { 3 });
    }
}

#[test]
fn a_member_whose_others_are_lost_goes_on_alone_and_takes_in_new_ones() {
    let (mut raft, mut out) = (follower(), Output::default());
    // Uncommitted, and perhaps acknowledged by the lost ones.
    let body = Body::Append { previous: Position { term: 1, index: 3 }, commit: 3, entries: vec![entry(4, 9)] };
    raft.receive(Instant(1), LEADER, Message { term: 9, body }, &mut out);
    raft.go_on_alone(Instant(2), 1 << 32, &mut out);
    while let Some(number) = out.saves.last().map(|save| save.number) {
        let mut next = Output::default();
        raft.saved(number, &mut next);
        out.committed.extend(std::mem::take(&mut next.committed));
        out.saves = next.saves;
    }
    assert!(raft.is_leader() && raft.term() >= 1 << 32);
    assert_eq!(raft.members(), &Members::of_voters([NodeId(1)]));
    let indexes: Vec<u64> = out.committed.iter().map(|entry| entry.index).collect();
    assert_eq!(indexes, [4, 5, 6], "all that is in the log counts");
    // Again: nothing. And what the lost ones say later is of another time.
    let (term, last) = (raft.term(), raft.status().last_index);
    raft.go_on_alone(Instant(3), 1 << 32, &mut out);
    let body = Body::Append { previous: Position { term: 9, index: 4 }, commit: 5, entries: vec![entry(5, 9)] };
    raft.receive(Instant(4), LEADER, Message { term: 10, body }, &mut out);
    assert_eq!((raft.term(), raft.status().last_index, raft.is_leader()), (term, last, true));
    assert!(raft.change_members(Instant(5), Change::AddLearner(NodeId(7)), &mut out).is_ok());
}

fn entry(index: u64, term: u64) -> Entry {
    Entry { index, term, payload: Payload::Normal(Bytes::from_static(b"new")) }
}

#[test]
fn a_leader_that_contradicts_what_is_committed_is_told_of_and_changes_nothing() {
    for (previous, entries) in [
        (Position { term: 9, index: 3 }, vec![entry(4, 9)]),
        (Position { term: 1, index: 1 }, vec![entry(2, 9), entry(3, 9), entry(4, 9)]),
    ] {
        let (raft, out) = hears(previous, entries);
        assert_eq!(out.contradicted, Some(if previous.index == 3 { 3 } else { 2 }));
        assert_eq!((raft.status().last_index, raft.entry(4)), (3, None));
        assert!(out.messages.iter().all(|(_, message)| !matches!(message.body, Body::Appended { .. })));
    }
    // What agrees is taken, also what is held and committed already.
    let (raft, out) = hears(Position { term: 1, index: 1 }, vec![entry(2, 1), entry(3, 1), entry(4, 9)]);
    assert_eq!((out.contradicted, raft.status().last_index), (None, 4));
}
