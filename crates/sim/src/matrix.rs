//! Faults of a cluster alone, in pairs and all together: what one does without the others, and what two do to each other.

use crate::families::{Families, Family, alone_in_pairs_and_all};
use crate::faults::Fault;
use crate::report::RunOptions;
use crate::runner::{Totals, WorldKind, run_seeds};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Runs so many seeds of each set, the first from `first` on; how many passed and failed. A family none of whose faults ever
/// fired is a failure.
pub fn run(kind: &WorldKind, first: u64, each: u64, options: &RunOptions, setup: impl Fn() + Sync) -> (u64, u64) {
    let sets = alone_in_pairs_and_all();
    let next = AtomicUsize::new(0);
    let total = Mutex::new((0, 0, BTreeMap::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((number, set)) = take(&sets, &next) {
                    let options = RunOptions { families: Families::of(set), ..*options };
                    let from = first + number as u64 * each;
                    let totals = run_seeds(kind, from, &options, |done| done < each, &setup);
                    let counts = tell(kind, set, &totals);
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    total.0 += totals.seeds - totals.failures.len() as u64;
                    total.1 += totals.failures.len() as u64;
                    counts.into_iter().for_each(|(family, count)| *total.2.entry(family.name()).or_insert(0) += count);
                }
            });
        }
    });
    let (passed, mut failed, fired) = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (name, count) in fired {
        if count == 0 {
            println!("  FAILED: no fault of the family {name} ever fired");
            failed += 1;
        }
    }
    (passed, failed)
}

/// The next set that nobody has taken.
fn take<'a>(sets: &'a [Vec<Family>], next: &AtomicUsize) -> Option<(usize, &'a Vec<Family>)> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    Some((number, sets.get(number)?))
}

/// What came of a set, for people; how often each family fired.
fn tell(kind: &WorldKind, set: &[Family], totals: &Totals) -> Vec<(Family, u64)> {
    let names: Vec<String> = set.iter().map(|family| family.name()).collect();
    let name = if set.len() == Family::all().len() { "all".to_string() } else { names.join(" + ") };
    let counts = of_each(set, &totals.faults);
    let said: Vec<String> = counts.iter().map(|(family, count)| format!("{} × {count}", family.name())).collect();
    println!("  {name}: {} seeds, {} operations; {}", totals.seeds, totals.operations, said.join(", "));
    for failure in &totals.failures {
        println!("  FAILED {name}, seed {}: {}\n    options: {}", failure.seed, failure.what, failure.expanded);
        println!("    again: holon-sim --world {} --seed {} --faults {}", kind.name, failure.seed, names.join(","));
    }
    counts
}

fn of_each(set: &[Family], counts: &BTreeMap<Fault, u64>) -> Vec<(Family, u64)> {
    let count = |family: &Family| family.faults().iter().filter_map(|fault| counts.get(fault)).sum();
    set.iter().map(|family| (*family, count(family))).collect()
}
