//! Runs many seeds, on as many threads as there are cores, and says what was seen.

use crate::determinism::Guard;
use crate::faults::Fault;
use crate::report::{Outcome, RunOptions};
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// A kind of run: what it simulates and what a set of its seeds must have seen.
#[derive(Clone, Copy)]
pub struct WorldKind {
    pub name: &'static str,
    pub about: &'static str,
    pub run: fn(u64, &RunOptions) -> Outcome,
    /// Each must have fired in a set of seeds.
    pub faults: &'static [Fault],
    /// Each `sometimes` point must have been reached in a set of seeds.
    pub points: &'static [&'static str],
}

/// What a set of seeds came to.
pub struct Totals {
    pub seeds: u64,
    pub operations: u64,
    pub simulated: Duration,
    pub faults: BTreeMap<Fault, u64>,
    pub points: BTreeMap<&'static str, u64>,
    pub failures: Vec<Failure>,
}

pub struct Failure {
    pub seed: u64,
    pub what: String,
    pub expanded: String,
}

/// What crosses from a worker to the collector.
struct Done {
    operations: u64,
    simulated: Duration,
    faults: BTreeMap<Fault, u64>,
    points: BTreeMap<&'static str, u64>,
    failure: Option<Failure>,
}

/// Every so many seeds one is run twice and its traces compared.
const REPEAT_EVERY: u64 = 10;

/// Below so many seeds a fault that never fired proves nothing.
pub const SEEDS_FOR_COVERAGE: u64 = 50;

/// Runs one seed under the guard; a panic is a failure like any other.
pub fn run_one(kind: &WorldKind, seed: u64, options: &RunOptions) -> Outcome {
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let _guard = Guard::new();
        (kind.run)(seed, options)
    }));
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string())).unwrap_or_default();
        Outcome {
            seed,
            expanded: String::new(),
            simulated: Duration::ZERO,
            operations: 0,
            trace: 0,
            faults: crate::faults::Faults::default(),
            errors: vec![format!("panic: {text}")],
        }
    })
}

fn run_and_check(kind: &WorldKind, seed: u64, options: &RunOptions) -> Done {
    let outcome = run_one(kind, seed, options);
    let mut what = outcome.errors.first().cloned();
    if what.is_none() && seed.is_multiple_of(REPEAT_EVERY) {
        let again = run_one(kind, seed, options);
        if again.trace != outcome.trace {
            what = Some(format!("two runs differ: traces {:016x} and {:016x}", outcome.trace, again.trace));
        }
    }
    let failure = what.map(|what| Failure { seed, what, expanded: outcome.expanded });
    let (operations, simulated) = (outcome.operations, outcome.simulated);
    Done { operations, simulated, faults: outcome.faults.counts(), points: outcome.faults.points(), failure }
}

/// Runs seeds from `first` on until `more(done, cpu)` says no.
pub fn run_seeds(
    kind: &WorldKind,
    first: u64,
    options: &RunOptions,
    more: impl Fn(u64) -> bool + Sync,
    setup: impl Fn() + Sync,
) -> Totals {
    let next = AtomicU64::new(0);
    let (send, receive) = mpsc::channel::<Done>();
    let mut totals = Totals {
        seeds: 0,
        operations: 0,
        simulated: Duration::ZERO,
        faults: BTreeMap::new(),
        points: BTreeMap::new(),
        failures: Vec::new(),
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (send, next, more, setup) = (send.clone(), &next, &more, &setup);
            scope.spawn(move || {
                setup();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if !more(number) || send.send(run_and_check(kind, first + number, options)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        let mut shown = std::time::Instant::now();
        for done in receive {
            totals.add(done);
            if shown.elapsed() > Duration::from_secs(15) {
                println!("  {}: {} seeds, {} operations …", kind.name, totals.seeds, totals.operations);
                shown = std::time::Instant::now();
            }
        }
    });
    totals.failures.sort_by_key(|failure| failure.seed);
    totals
}

impl Totals {
    fn add(&mut self, done: Done) {
        self.seeds += 1;
        self.operations += done.operations;
        self.simulated += done.simulated;
        for (fault, count) in done.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        for (point, count) in done.points {
            *self.points.entry(point).or_default() += count;
        }
        if let Some(failure) = done.failure {
            println!("  seed {} failed: {}", failure.seed, failure.what);
            self.failures.push(failure);
        }
    }

    /// Faults and points of the kind that a set of this size should have seen and did not.
    pub fn unseen(&self, kind: &WorldKind) -> Vec<String> {
        if self.seeds < SEEDS_FOR_COVERAGE {
            return Vec::new();
        }
        let faults =
            kind.faults.iter().filter(|fault| !self.faults.contains_key(fault)).map(|fault| fault.name().to_string());
        let points = kind.points.iter().filter(|point| self.points.get(*point).copied().unwrap_or(0) == 0);
        faults.chain(points.map(|point| point.to_string())).collect()
    }

    pub fn print(&self, kind: &WorldKind, wall: Duration) {
        let per_hour = self.seeds as f64 * 3600.0 / wall.as_secs_f64().max(0.001);
        println!(
            "{}: {} seeds, {} operations, {:.0} simulated minutes in {:.0} s ({per_hour:.0} seeds an hour)",
            kind.name,
            self.seeds,
            self.operations,
            self.simulated.as_secs_f64() / 60.0,
            wall.as_secs_f64()
        );
        let faults: Vec<String> =
            self.faults.iter().map(|(fault, count)| format!("{} × {count}", fault.name())).collect();
        println!("  faults: {}", faults.join(", "));
        let points: Vec<String> = self.points.iter().map(|(point, count)| format!("{point} × {count}")).collect();
        println!("  sometimes: {}", points.join(", "));
    }
}
