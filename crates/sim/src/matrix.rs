//! Faults of a cluster alone, in pairs and all together: what one does without the others, and what two do to each other.

use crate::families::{Families, Family, alone_in_pairs_and_all};
use crate::faults::Fault;
use crate::report::RunOptions;
use crate::runner::{WorldKind, run_seeds};
use std::collections::BTreeMap;

/// Runs so many seeds of each set, the first from `first` on; how many passed and failed. A family none of whose faults ever
/// fired is a failure.
pub fn run(kind: &WorldKind, first: u64, each: u64, options: &RunOptions, setup: impl Fn() + Sync) -> (u64, u64) {
    let (mut passed, mut failed, mut fired) = (0, 0, BTreeMap::new());
    for (number, set) in alone_in_pairs_and_all().iter().enumerate() {
        let options = RunOptions { families: Families::of(set), ..*options };
        let totals = run_seeds(kind, first + number as u64 * each, &options, |done| done < each, &setup);
        let names: Vec<&str> = set.iter().map(|family| family.name()).collect();
        let name = if set.len() == Family::ALL.len() { "all".to_string() } else { names.join(" + ") };
        let counts = of_each(set, &totals.faults);
        let said: Vec<String> = counts.iter().map(|(family, count)| format!("{} × {count}", family.name())).collect();
        println!("  {name}: {} seeds, {} operations; {}", totals.seeds, totals.operations, said.join(", "));
        for failure in &totals.failures {
            println!("  FAILED {name}, seed {}: {}\n    options: {}", failure.seed, failure.what, failure.expanded);
            println!("    again: holon-sim --world {} --seed {} --faults {}", kind.name, failure.seed, names.join(","));
        }
        failed += totals.failures.len() as u64;
        passed += totals.seeds - totals.failures.len() as u64;
        counts.into_iter().for_each(|(family, count)| *fired.entry(family.name()).or_insert(0) += count);
    }
    for (name, count) in fired {
        if count == 0 {
            println!("  FAILED: no fault of the family {name} ever fired");
            failed += 1;
        }
    }
    (passed, failed)
}

fn of_each(set: &[Family], counts: &BTreeMap<Fault, u64>) -> Vec<(Family, u64)> {
    let count = |family: &Family| family.faults().iter().filter_map(|fault| counts.get(fault)).sum();
    set.iter().map(|family| (*family, count(family))).collect()
}
