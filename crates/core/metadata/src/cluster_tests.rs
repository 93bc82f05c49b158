//! Of the cluster's machine.

use super::*;
use holon_kernel::NewTablets;

const SERVICE: ServiceId = ServiceId(9);

fn node(number: u128) -> NodeRecord {
    let address = ([10, 0, 0, number as u8], 7000).into();
    let (data_center, rack) = ("dc".into(), format!("rack{number}").into());
    NodeRecord { node: NodeId(number), address, data_center, rack, shards: 1, tokens: Rc::new([]), facts: Rc::new([]) }
}

/// Three nodes in the ring and what is applied next.
fn three() -> (ClusterState, u64) {
    let (mut state, mut index) = (ClusterState::default(), 0);
    for number in 1..=3 {
        index += 1;
        state.apply(index, ClusterCommand::Node(node(number)), NodeId(1)).expect("a node");
        if number > 1 {
            index += 1;
            let join = ChangeKind::Join { node: NodeId(number), info: info_of(&node(number)) };
            let started = state.apply(index, ClusterCommand::Placement(Entry::Start(join)), NodeId(1));
            started.expect("without tablets it is over at once");
        }
    }
    (state, index + 1)
}

fn simple(factor: u32) -> Replication {
    Replication::Simple { factor }
}

fn create(state: &mut ClusterState, index: u64, factor: u32) -> GroupId {
    let made = NewTablets { count: 4, replication: simple(factor) };
    let effect = MetadataEffect { create_tablets: Some(made), ..MetadataEffect::default() };
    state.apply_effect(index, SERVICE, &effect, NodeId(1));
    GroupId(index)
}

#[test]
fn the_first_members_of_a_group_stay_what_they_were_and_who_has_left_does_not_begin_it_again() {
    let (mut state, index) = three();
    let tablet = TabletId::new(create(&mut state, index, 2), 0);
    assert_eq!(state.founders(tablet), None);
    let readers = state.replicas(tablet).expect("placed").readers;
    for again in 1..=2 {
        state.apply(index + again, ClusterCommand::Found(tablet), NodeId(1)).expect("founded");
        let founders = state.founders(tablet).expect("founded");
        assert_eq!((&founders.members, &founders.present), (&readers, &readers));
    }
    state.forgot(tablet, readers[0]);
    let founders = state.founders(tablet).expect("founded");
    assert_eq!((&*founders.members, &*founders.present), (&*readers, &readers[1..]));
    // Of a tablet that is not there nothing is made.
    let command = ClusterCommand::decode(ClusterCommand::Found(TabletId(77)).encode()).expect("its own bytes");
    state.apply(index + 3, command, NodeId(1)).expect("nothing");
    assert_eq!(state.founders(TabletId(77)), None);
}

#[test]
fn of_two_members_that_would_go_on_alone_from_the_same_state_one_does() {
    let (mut state, index) = three();
    let tablet = TabletId::new(create(&mut state, index, 2), 0);
    let readers = state.replicas(tablet).expect("placed").readers;
    let anew = |node, known| ClusterCommand::FoundAnew { tablet, node, known };
    let not_that = Err(NoChange::NotThat { tablet });
    let apply = |state: &mut ClusterState, at: u64, command: ClusterCommand| {
        let command = ClusterCommand::decode(command.encode()).expect("its own bytes");
        state.apply(index + at, command, NodeId(1)).map(|_| ())
    };
    assert_eq!(apply(&mut state, 1, anew(readers[0], 0)), not_that, "nobody has begun it");
    apply(&mut state, 2, ClusterCommand::Found(tablet)).expect("founded");
    let stranger = (1..=3).map(NodeId).find(|node| !readers.contains(node)).expect("one of three");
    assert_eq!(apply(&mut state, 3, anew(stranger, 0)), not_that);
    assert_eq!(apply(&mut state, 4, anew(readers[0], 0)), Ok(()));
    assert_eq!(apply(&mut state, 5, anew(readers[1], 0)), not_that);
    assert_eq!(state.founders(tablet).expect("founded").anew, Some((readers[0], index + 4)));
    assert_eq!(apply(&mut state, 6, anew(readers[1], index + 4)), Ok(()));
    assert_eq!(state.founders(tablet).expect("founded").anew, Some((readers[1], index + 6)));
    // Who gives the tablet away and has it again is a stranger to the group; the proposal before stays the one to beat.
    state.forgot(tablet, readers[1]);
    assert_eq!(state.founders(tablet).expect("founded").anew, Some((NodeId(0), index + 6)));
}

#[test]
fn where_the_log_was_begun_anew_is_remembered() {
    let mut state = ClusterState::default();
    let ahead = 7 + TERMS_AHEAD;
    for (index, term) in [(1, 1), (2, 1), (3, 7), (4, ahead), (5, ahead + 1), (6, ahead + 900)] {
        state.saw_term(index, term);
    }
    assert_eq!(state.begun_anew, [(4, ahead)]);
    let again = ClusterState::decode(state.encode()).expect("its own bytes");
    assert_eq!((again.begun_anew, again.term), (state.begun_anew, ahead + 900));
}

#[test]
fn a_node_that_was_removed_does_not_come_in_again_by_what_it_says_of_itself() {
    let (mut state, index) = three();
    let moved = NodeRecord { address: ([10, 0, 0, 33], 7000).into(), ..node(3) };
    let says = || ClusterCommand::decode(ClusterCommand::OtherFacts(moved.clone()).encode()).expect("its own bytes");
    state.apply(index, says(), NodeId(1)).expect("other facts");
    let known = state.record(NodeId(3)).expect("a member");
    assert_eq!((known.address, known.tokens.is_empty()), (moved.address, false));
    state.apply(index + 1, ClusterCommand::RemoveNode(NodeId(3)), NodeId(1)).expect("removed");
    state.apply(index + 2, says(), NodeId(1)).expect("it says so too late");
    assert_eq!(state.record(NodeId(3)), None);
    assert!(state.removed().any(|(node, _)| node == NodeId(3)));
}

#[test]
fn who_has_yet_to_remove_a_tablet_of_a_dropped_table_is_told_so() {
    let (mut state, index) = three();
    let group = create(&mut state, index, 1);
    let apply = |state: &mut ClusterState, index: &mut u64, entry: Entry| {
        *index += 1;
        state.apply(*index, ClusterCommand::Placement(entry), NodeId(1)).expect("applied");
    };
    let (mut index, leaver) = (index, state.replicas(TabletId::new(group, 0)).expect("placed").readers[0]);
    apply(&mut state, &mut index, Entry::Start(ChangeKind::Drain { node: leaver }));
    // All do what they have to, but for the removal.
    loop {
        let topology = state.topology().expect("there is one");
        let done =
            (1..=3).map(NodeId).flat_map(|node| topology.next_work(node).into_iter().map(move |work| (node, work)));
        let next =
            done.filter(|(_, work)| !matches!(work, Work::Clean { .. })).map(|(node, work)| work.report(node)).next();
        let Some(report) = next else { break };
        apply(&mut state, &mut index, report);
    }
    let gone = TabletId::new(group, 0);
    assert!(!state.replicas(gone).expect("elsewhere").holds(leaver));
    let effect = MetadataEffect { remove_groups: vec![group], ..MetadataEffect::default() };
    let removed = state.apply_effect(index + 1, SERVICE, &effect, leaver).remove;
    assert!(removed.iter().any(|descriptor| descriptor.id == gone), "{removed:?}");
}

#[test]
fn a_replication_factor_that_cannot_be_reached_does_not_take_others_with_it() {
    let (mut state, index) = three();
    let (first, second) = (create(&mut state, index, 1), create(&mut state, index + 1, 1));
    // Longer than any set of replicas may be: refused by placement.
    let changes = vec![(first, simple(u32::MAX)), (second, simple(2))];
    let effect = MetadataEffect { set_replication: changes, ..MetadataEffect::default() };
    let told = state.apply_effect(index + 2, SERVICE, &effect, NodeId(1)).tell;
    assert!(told.iter().any(|line| line.contains("replication factor")), "{told:?}");
    let change = state.topology().and_then(|topology| topology.change().cloned());
    match change.map(|change| change.kind) {
        Some(ChangeKind::SetReplication { groups }) => assert_eq!(groups.keys().collect::<Vec<_>>(), [&second]),
        other => panic!("{other:?}"),
    }
}

/// Of a table without further copies: where it was to go nobody is any more.
#[test]
fn a_change_that_would_wait_for_a_forgotten_node_turns_and_says_so() {
    for level in [1, 2] {
        let (mut state, index) = three();
        state.level = level;
        let group = create(&mut state, index, 1);
        let at =
            |state: &ClusterState| state.groups[&group].tablets.iter().map(|one| one.readers[0]).collect::<Vec<_>>();
        let before = at(&state);
        let drained = before[0];
        let mut index = index;
        let mut apply = |state: &mut ClusterState, entry: Entry| {
            index += 1;
            state.apply(index, ClusterCommand::Placement(entry), NodeId(1)).expect("it can be").tell
        };
        apply(&mut state, Entry::Start(ChangeKind::Drain { node: drained }));
        let to = |state: &ClusterState| {
            state.topology().and_then(|topology| Some(topology.moves().1.values().next()?.to[0]))
        };
        let forgotten = to(&state).expect("a tablet moves");
        let told = apply(&mut state, Entry::Forget { node: forgotten });
        let is_told = told.iter().any(|text| text.contains("the change on its way is undone"));
        assert_eq!(is_told, level == 2, "older nodes would not do it: {told:?}");
        loop {
            let topology = state.topology().expect("there are nodes");
            let living = (1..=3).map(NodeId).filter(|node| *node != forgotten);
            let work = living.into_iter().find_map(|node| Some((node, topology.next_work(node).pop()?)));
            let Some((node, work)) = work else { break };
            apply(&mut state, work.report(node));
        }
        let is_over = state.topology().is_some_and(|topology| topology.change().is_none());
        assert_eq!(is_over, level == 2, "it waits for ever");
        if is_over {
            assert_eq!(at(&state)[0], drained);
        }
    }
}

/// What a level opens may be what the others need to let it go.
#[test]
fn the_level_waits_for_no_node_that_was_given_up() {
    let (mut state, index) = three();
    create(&mut state, index, 1);
    let mut index = index;
    let mut apply = |state: &mut ClusterState, command: ClusterCommand| {
        index += 1;
        state.apply(index, command, NodeId(1)).map(|_| ())
    };
    for number in 1..=2 {
        let facts = [(crate::gate::LEVEL_FACT.to_string(), "2".to_string())];
        let upgraded = NodeRecord { facts: facts.into(), ..node(number) };
        apply(&mut state, ClusterCommand::OtherFacts(upgraded)).expect("upgraded");
    }
    apply(&mut state, ClusterCommand::Placement(Entry::Start(ChangeKind::Drain { node: NodeId(2) }))).expect("begins");
    assert_eq!(apply(&mut state, ClusterCommand::Level(2)), Err(NoChange::NotYet { level: 2 }));
    apply(&mut state, ClusterCommand::Placement(Entry::Forget { node: NodeId(3) })).expect("given up");
    assert_eq!(state.state(NodeId(3)), Some(NodeState::Dead), "it is in the ring until the change is over");
    apply(&mut state, ClusterCommand::Level(2)).expect("those that are left know it");
    assert_eq!(state.level, 2);
}

/// Found by seeds 77188 and 77434 of the simulator's world of clusters.
#[test]
fn who_was_removed_is_not_let_in_again_by_a_member_that_asked_for_it_before() {
    for level in [1, 2] {
        let (mut state, index) = three();
        state.level = level;
        let facts = [(crate::gate::LEVEL_FACT.to_string(), level.to_string())];
        let asked = ClusterCommand::Node(NodeRecord { facts: facts.into(), ..node(3) });
        let drain = ClusterCommand::Placement(Entry::Start(ChangeKind::Drain { node: NodeId(3) }));
        state.apply(index, drain, NodeId(1)).expect("without tablets it is over at once");
        assert!(state.was_removed(NodeId(3)) && state.record(NodeId(3)).is_none());
        let again = state.apply(index + 1, asked, NodeId(1)).map(|_| ());
        match level {
            1 => assert_eq!(again, Ok(()), "older nodes would let it in"),
            _ => assert_eq!(again, Err(NoChange::Removed { node: NodeId(3) })),
        }
        assert_eq!(state.record(NodeId(3)).is_some(), level == 1);
    }
}
