//! The toy service under every fault, a few seeds; each seed twice gives the same trace.

use holon_sim::report::RunOptions;
use holon_sim::toy_run::run;
use std::time::Duration;

#[test]
fn counters_keep_what_they_acknowledged_and_runs_repeat() {
    let mut operations = 0;
    let options = RunOptions { simulated: Duration::from_secs(10), ..RunOptions::default() };
    for seed in 0..4 {
        let (first, second) = (run(seed, &options), run(seed, &options));
        assert_eq!(first.errors, Vec::<String>::new(), "seed {seed}: {}", first.expanded);
        assert_eq!(first.trace, second.trace, "seed {seed} does not repeat");
        operations += first.operations;
    }
    assert!(operations > 4_000, "{operations}");
}
