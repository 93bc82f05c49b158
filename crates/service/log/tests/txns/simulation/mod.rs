//! Producers that share transactional ids, commit, abort, are silent and come back; partitions that ask before they begin a transaction; a network
//! that loses and repeats; writes that fail, coordinators and markers that are lost: everything from one seed. That the checks bite is
//! shown with planted bugs.
//!
//! | what is checked | where |
//! | --- | --- |
//! | the markers of a transaction are all commits or all aborts, and commits only if its producer asked for it | `Checks::ended` |
//! | a marker ends a transaction of its own epoch, or of the one before if it bumps that | `Partition::mark` |
//! | what a producer was told of the end of its transaction is what became of it in each partition | `Checks::ended`, `Checks::all_ended` |
//! | nobody is told of a success who asked when a later instance had been initialised | `Checks::success` |
//! | what the coordinator says is durable is the sum of the log | `World::compare` |
//! | in the end all is answered, nothing is open, and each id serves | `World::settled` |

mod checks;
mod client;
mod world;

use holon_log::txns::Options;
use holon_log::txns::plant::Plants;
use world::{Summary, World};

fn run(seed: u64, plants: Plants) -> Result<Summary, String> {
    let mut world = World::new(seed, Options { plants, ..Options::default() });
    world.run(1_500)?;
    Ok(world.summary)
}

/// `HOLON_SEEDS` of them, from `HOLON_SEED` on.
fn seeds() -> std::ops::Range<u64> {
    let first = number("HOLON_SEED").unwrap_or(0);
    first..first + number("HOLON_SEEDS").unwrap_or(1_000)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var_os(variable)?.to_str()?.parse().ok()
}

#[test]
fn whatever_happens_a_transaction_is_all_or_nothing_and_in_the_end_all_is_well() {
    let mut total = Summary::default();
    for seed in seeds() {
        let summary = run(seed, Plants::default()).unwrap_or_else(|trouble| panic!("seed {seed}: {trouble}"));
        total.failovers += summary.failovers;
        total.failed_writes += summary.failed_writes;
        total.commits += summary.commits;
        total.aborts += summary.aborts;
        total.fenced += summary.fenced;
        total.markers += summary.markers;
    }
    let count = seeds().end - seeds().start;
    println!("{count} seeds: {total:?}");
    // Else the run shows nothing.
    assert!(total.failovers > count && total.failed_writes > count && total.fenced > count / 2);
    assert!(total.commits > 2 * count && total.aborts > count && total.markers > 10 * count);
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
    let found = (0..200).find_map(complaint).unwrap_or_else(|| panic!("{plants:?} was not found in 200 seeds"));
    println!("seed {}: {}", found.0, found.1);
    assert!(by.iter().any(|words| found.1.contains(words)), "found by something else: {}", found.1);
}

#[test]
fn a_coordinator_that_answers_before_it_is_durable_is_found() {
    found(Plants { end_before_durable: true, ..Plants::default() }, &["was told", "was not asked", "is part of"]);
}

#[test]
fn a_coordinator_that_does_not_look_at_epochs_is_found() {
    found(
        Plants { any_epoch: true, ..Plants::default() },
        &["a success of an earlier instance", "was not asked", "ends"],
    );
}

#[test]
fn a_coordinator_that_forgets_prepared_transactions_is_found() {
    found(Plants { forget_prepared: true, ..Plants::default() }, &["in the end"]);
}

#[test]
fn a_coordinator_that_completes_with_the_first_marker_is_found() {
    found(
        Plants { first_marker_completes: true, ..Plants::default() },
        &["in the end", "was told", "not asked", "ends", "is part of"],
    );
}

#[test]
fn a_coordinator_that_aborts_what_is_decided_is_found() {
    found(Plants { abort_prepared: true, ..Plants::default() }, &["both", "was told"]);
}
