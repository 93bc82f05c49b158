//! The simulated cluster: the same machine as in production, under seeds, with its invariants checked at every step
//! (the table is in `checks.rs`), and the checkers checked by planted bugs.
//!
//! `HOLON_RAFT_SEEDS=10000` runs more of them, `HOLON_RAFT_SEED=17` only one. A failure prints its seed.

mod checks;
mod disk;
mod faults;
mod world;

use holon_base::Random;
use holon_raft::plant::Plants;
use world::{Event, MILLISECOND, World, options};

/// What happened in a run, so that a test sees that the faults were there.
#[derive(Debug, Default)]
struct Summary {
    elections: u64,
    crashes: u64,
    committed: u64,
    reads: u64,
    changes: u64,
    snapshots: u64,
}

fn run(seed: u64, plants: Plants) -> Result<Summary, String> {
    let mut random = Random::new(seed);
    let mut options = options(&mut random);
    options.plants = plants;
    let voters = u128::from([1u64, 3, 3, 4, 5][random.below(5) as usize]);
    let nodes = voters.max(3) + u128::from(random.below(2));
    let crash_at_commit = [0, 0, 10, 40][random.below(4) as usize];
    let mut world = World::new(random, options, nodes, voters)?;
    world.crash_at_commit = crash_at_commit;
    world.crash_at_vote = [0, 0, 1, 3][world.random.below(4) as usize];
    let deposes = world.random.chance(1, 3);
    world.after(0, Event::Client);
    world.after(300 * MILLISECOND, Event::Fault);
    world.run(4_000 * MILLISECOND, &mut |world, event| match event {
        Event::Client => faults::client(world),
        _ if deposes => faults::depose(world),
        _ => faults::fault(world),
    })?;
    world.demand_progress()?;
    Ok(Summary {
        elections: world.elections,
        crashes: world.crashes,
        committed: world.checks.highest_committed(),
        reads: world.checks.reads_answered,
        changes: world.checks.members.len() as u64 - 1,
        snapshots: world.snapshots_restored,
    })
}

fn number(variable: &str) -> Option<u64> {
    std::env::var_os(variable)?.to_str()?.parse().ok()
}

#[test]
fn the_invariants_hold_under_faults_and_healing_brings_progress() {
    let only = number("HOLON_RAFT_SEED");
    let seeds = only.map_or(0..number("HOLON_RAFT_SEEDS").unwrap_or(100), |seed| seed..seed + 1);
    let (count, mut total) = (seeds.end - seeds.start, Summary::default());
    for seed in seeds {
        let summary = run(seed, Plants::default()).unwrap_or_else(|complaint| panic!("seed {seed}: {complaint}"));
        total.elections += summary.elections;
        total.crashes += summary.crashes;
        total.committed += summary.committed;
        total.reads += summary.reads;
        total.changes += summary.changes;
        total.snapshots += summary.snapshots;
    }
    println!("{count} seeds: {total:?}");
    // The faults must not be so heavy, nor so light, that nothing is tested.
    let (changes, snapshots) = (total.changes * 2, total.snapshots * 4);
    let each = [total.elections, total.crashes, total.committed / 20, total.reads / 5, changes, snapshots];
    assert!(count < 100 || each.iter().all(|&sum| sum > count), "{count} seeds did too little: {total:?}");
}

#[test]
fn a_seed_gives_the_same_run_every_time() {
    for seed in 0..5 {
        let runs = [run(seed, Plants::default()), run(seed, Plants::default())].map(|run| format!("{run:?}"));
        assert_eq!(runs[0], runs[1]);
    }
}

/// The first of 200 seeds whose run the checkers complain about is complained about by one of these (`a|b`).
fn found(plants: Plants, by: &str) {
    let complaint = |seed| run(seed, plants).err().map(|complaint| (seed, complaint));
    let found = (0..200).find_map(complaint).unwrap_or_else(|| panic!("{plants:?} was not found in 200 seeds"));
    println!("{plants:?}: seed {}: {}", found.0, found.1);
    assert!(by.split('|').any(|checker| found.1.contains(checker)), "not found by {by}: {}", found.1);
}

#[test]
fn a_quorum_of_one_voter_less_is_found() {
    found(Plants { quorum_minus_one: true, ..Plants::default() }, "election safety|leader completeness|state machine");
}

#[test]
fn a_forgotten_vote_is_found() {
    found(Plants { vote_forgotten: true, ..Plants::default() }, "one vote a term|election safety");
}

#[test]
fn a_commit_of_older_terms_by_counting_is_found() {
    found(Plants { commit_older_terms: true, ..Plants::default() }, "leader completeness|state machine safety");
}

#[test]
fn a_read_without_a_round_is_found() {
    found(Plants { read_without_round: true, ..Plants::default() }, "linearizable reads");
}
