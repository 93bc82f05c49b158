//! Many members, dynamic and static, that join, sync, send heartbeats, commit, leave, crash, hang, sleep and come back;
//! consumers without membership whose group is deleted now and then; a network that loses and delays, writes that fail and
//! coordinators that are lost: everything from one seed. The table of what is checked is in `checks.rs`; that the checks bite
//! is shown with planted bugs.

mod checks;
mod client;
mod faults;
mod world;

use holon_log::groups::Options;
use holon_log::groups::plant::Plants;

use world::{Summary, World};

fn run(seed: u64, plants: Plants) -> Result<Summary, String> {
    let mut world = World::new(seed, Options { plants, ..Options::default() });
    world.run(150_000)?;
    Ok(world.summary)
}

/// `HOLON_SEEDS` of them, from `HOLON_SEED` on.
fn seeds() -> std::ops::Range<u64> {
    let first = number("HOLON_SEED").unwrap_or(0);
    first..first + number("HOLON_SEEDS").unwrap_or(300)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var_os(variable)?.to_str()?.parse().ok()
}

#[test]
fn whatever_happens_ownership_is_single_commits_stay_and_in_the_end_all_is_well() {
    let mut total = Summary::default();
    for seed in seeds() {
        let summary = run(seed, Plants::default()).unwrap_or_else(|trouble| panic!("seed {seed}: {trouble}"));
        total.failovers += summary.failovers;
        total.failed_writes += summary.failed_writes;
        total.assignments += summary.assignments;
        total.commits += summary.commits;
        total.deletions += summary.deletions;
        total.answers += summary.answers;
    }
    let count = seeds().end - seeds().start;
    println!("{count} seeds: {total:?}");
    // Else the run shows nothing.
    assert!(total.failovers > count && total.failed_writes > 2 * count && total.commits > 100 * count);
}

#[test]
fn equal_seeds_give_equal_runs() {
    for seed in [3, 4] {
        let run = || format!("{:?}", run(seed, Plants::default()));
        assert_eq!(run(), run());
    }
}

/// By a complaint with one of these words in it.
fn found(plants: Plants, by: &[&str]) {
    let complaint = |seed| run(seed, plants).err().map(|complaint| (seed, complaint));
    let found = (0..1_000).find_map(complaint).unwrap_or_else(|| panic!("{plants:?} was not found in 1000 seeds"));
    println!("seed {}: {}", found.0, found.1);
    assert!(by.iter().any(|words| found.1.contains(words)), "found by something else: {}", found.1);
}

#[test]
fn a_coordinator_that_does_not_check_generations_is_found() {
    found(Plants { any_generation: true, ..Plants::default() }, &["lives on in generation", "both own"]);
}

#[test]
fn a_coordinator_that_takes_commits_of_any_generation_is_found() {
    found(Plants { commit_of_any_generation: true, ..Plants::default() }, &["a commit of generation"]);
}

#[test]
fn a_coordinator_that_keeps_members_who_do_not_sync_is_found() {
    found(Plants { keep_who_did_not_sync: true, ..Plants::default() }, &["quiet minutes"]);
}

#[test]
fn a_coordinator_that_answers_commits_too_early_is_found() {
    found(Plants { commit_before_durable: true, ..Plants::default() }, &["the sum of the log", "is fetched"]);
}

#[test]
fn a_coordinator_that_tells_assignments_too_early_is_found() {
    found(Plants { assign_before_durable: true, ..Plants::default() }, &["the log says"]);
}

#[test]
fn a_coordinator_that_shows_commits_that_failed_is_found() {
    found(Plants { failed_commit_counts: true, ..Plants::default() }, &["that commit failed", "the sum of the log"]);
}

#[test]
fn a_coordinator_that_takes_two_assignments_for_a_generation_is_found() {
    found(Plants { second_assignment_counts: true, ..Plants::default() }, &["was assigned, then"]);
}

#[test]
fn a_coordinator_that_keeps_silent_members_is_found() {
    found(Plants { keep_who_is_silent: true, ..Plants::default() }, &["quiet minutes"]);
}

#[test]
fn a_coordinator_that_forgets_sessions_in_a_failover_is_found() {
    found(Plants { no_sessions_after_failover: true, ..Plants::default() }, &["quiet minutes"]);
}

#[test]
fn a_coordinator_that_forgets_a_join_is_found() {
    found(Plants { forget_a_join: true, ..Plants::default() }, &["not answered at the end", "a request waits"]);
}
