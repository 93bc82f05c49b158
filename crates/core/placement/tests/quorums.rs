//! The table of phases of [`holon_placement::quorum`], checked for all changes of up to five replicas into up to five,
//! and all sets of those who acknowledge and who are asked.

use holon_base::NodeId;
use holon_placement::TabletReplicas;
use holon_placement::quorum::{fence, quorum, stayers_are_filled};

/// Nodes 0..old are the old replicas; the new ones are the last `kept` of them and others.
fn sets(old: usize, new: usize, kept: usize) -> (Vec<NodeId>, Vec<NodeId>) {
    let node = |number: usize| NodeId(number as u128);
    ((0..old).map(node).collect(), (old - kept..old - kept + new).map(node).collect())
}

fn phases(old: &[NodeId], new: &[NodeId]) -> [TabletReplicas; 4] {
    let replicas = |readers: &[NodeId], joint: &[NodeId]| TabletReplicas {
        readers: readers.to_vec(),
        joint: joint.to_vec(),
        since: 0,
    };
    [replicas(old, &[]), replicas(old, new), replicas(new, old), replicas(new, &[])]
}

fn has(set: u32, node: NodeId) -> bool {
    set >> node.0 & 1 == 1
}

fn mask(nodes: &[NodeId]) -> u32 {
    nodes.iter().fold(0, |mask, node| mask | 1 << node.0)
}

fn acknowledged(phase: &TabletReplicas, set: u32) -> bool {
    phase.write_is_met(|replicas| quorum(replicas.len()), |node| has(set, node))
}

fn for_all(mut check: impl FnMut(&[NodeId], &[NodeId], &[TabletReplicas; 4])) {
    for old in 1..=5 {
        for new in 1..=5 {
            for kept in 0..=old.min(new) {
                let (old, new) = sets(old, new, kept);
                check(&old, &new, &phases(&old, &new));
            }
        }
    }
}

fn quorums(nodes: &[NodeId]) -> impl Iterator<Item = u32> {
    let (all, size) = (mask(nodes), quorum(nodes.len()) as u32);
    (0..=all).filter(move |set| set & !all == 0 && set.count_ones() >= size)
}

#[test]
fn quorums_of_neighbouring_phases_meet() {
    let mut pairs = 0u64;
    for_all(|old, new, phases| {
        let all = mask(old) | mask(new);
        for (writer, written) in phases.iter().enumerate() {
            for (reader, read) in phases.iter().enumerate() {
                // Planned and streaming, and read new and clean, are one phase apart from each other; so are streaming
                // and read new.
                let by_sets = match (writer, reader) {
                    (0 | 1, 0 | 1) | (1 | 2, _) | (3, 2 | 3) => true,
                    (0, _) | (3, _) => false, // by the stream; fenced
                    _ => unreachable!(),
                };
                if by_sets {
                    assert!(writer.abs_diff(reader) <= 2);
                    for acknowledgers in (0..=all).filter(|set| acknowledged(written, *set)) {
                        for asked in quorums(&read.readers) {
                            pairs += 1;
                            assert!(acknowledgers & asked != 0, "{old:?} {new:?}: {writer} {reader}");
                        }
                    }
                } else {
                    assert!(writer.abs_diff(reader) >= 2, "neighbours need no barrier");
                }
            }
        }
    });
    println!("{pairs} pairs of writers and readers meet");
    assert!(pairs > 100_000);
}

/// What a quorum of old would have read, a quorum of new reads, whichever quorums the new replicas are filled from.
#[test]
fn streams_hold_what_could_be_read_before() {
    let mut filled_stayers = 0;
    for_all(|old, new, _| {
        let coming: Vec<NodeId> = new.iter().copied().filter(|node| !old.contains(node)).collect();
        let leaving: Vec<NodeId> = old.iter().copied().filter(|node| !new.contains(node)).collect();
        let all = stayers_are_filled(old.len(), leaving.len(), coming.len());
        filled_stayers += usize::from(all);
        let knowing = (0..=mask(old)).filter(|set| set.count_ones() as usize >= fence(old.len()));
        for before in knowing {
            assert!(quorums(old).all(|asked| asked & before != 0), "so each quorum that one is filled from knows");
            let filled = if all { mask(new) } else { mask(&coming) };
            let merged = before & mask(new) | filled;
            assert!(quorums(new).all(|asked| asked & merged != 0), "merged: {old:?} {new:?} {before:b}");
            if old.len() == new.len() {
                // Each takes all from the one whose place it takes.
                let mut knows = before & mask(new);
                for (coming, leaving) in coming.iter().zip(&leaving) {
                    knows |= u32::from(has(before, *leaving)) << coming.0;
                }
                assert!(quorums(new).all(|asked| asked & knows != 0), "one from one");
            }
        }
        if !all && leaving.len() > coming.len() {
            return;
        }
        // Not needlessly: without it some write would be missed.
        let missed = |before: u32| quorums(new).any(|asked| asked & (before & mask(new) | mask(&coming)) == 0);
        let known = |set: &u32| set.count_ones() as usize >= fence(old.len());
        assert_eq!(all, (0..=mask(old)).filter(known).any(missed), "{old:?} {new:?}");
    });
    assert!(filled_stayers > 0);
}

/// Once so many old replicas refuse, nobody can read old.
#[test]
fn fences_leave_no_quorum() {
    for_all(|old, _, _| {
        for refusing in (0..=mask(old)).filter(|set| set.count_ones() as usize >= fence(old.len())) {
            assert!(quorums(old).all(|asked| asked & refusing != 0));
        }
    });
}

/// The rule of a longer count alone would lose writes: it is not what we do, and the check would notice.
#[test]
fn counting_the_pending_is_not_enough_when_factors_jump() {
    let mut lost = 0;
    let mut needed_more = 0;
    for_all(|old, new, phases| {
        let all = mask(old) | mask(new);
        let pending = phases[1].pending().count();
        let count = quorum(old.len()) + pending;
        let missed = |set: u32| quorums(new).any(|asked| asked & set == 0);
        let counted = |count: usize| (0..=all).filter(move |set| set.count_ones() as usize >= count);
        if counted(count).any(missed) {
            lost += 1;
            assert!(new.len() + 1 < old.len(), "only when more leave than come");
        }
        let level = |replicas: &[NodeId]| quorum(replicas.len());
        for phase in phases {
            let enough = phase.count_needed(level);
            assert!(enough <= phase.writers().count());
            assert!(counted(enough).filter(|set| set & !mask_of(phase) == 0).all(|set| acknowledged(phase, set)));
        }
        needed_more += usize::from(phases[1].count_needed(level) > count);
    });
    assert!(lost > 0 && needed_more > 0);
}

fn mask_of(phase: &TabletReplicas) -> u32 {
    phase.writers().fold(0, |mask, node| mask | 1 << node.0)
}
