//! The laws of growth that docs/SCALE.md states, on sizes that cost a few seconds.

use holon_scale::figures::Figures;
use holon_scale::gossip::measure;
use holon_scale::placement;
use holon_scale::world::{Sharing, World};
use std::time::Duration;

const SIZES: [usize; 4] = [10, 30, 100, 300];
const TRIALS: usize = 4;

/// The shortest suspicion of the default options, seconds: what is left of the time to detect is probes and gossip.
fn suspicion(nodes: usize) -> f64 {
    4.0 * (nodes as f64).log10()
}

#[test]
fn load_is_constant_and_times_grow_with_the_logarithm() {
    let rows: Vec<Figures> =
        SIZES.map(|nodes| measure(7, nodes, Sharing::Full, TRIALS).unwrap_or_else(|what| panic!("{what}"))).into();
    let (first, last) = (&rows[0], &rows[SIZES.len() - 1]);
    for (nodes, row) in SIZES.iter().zip(&rows) {
        let of = |name: &str| row.get(name);
        let context = format!("{nodes} nodes");
        // A ping and its answer a second, and a sync every half minute.
        assert!((2.0..2.15).contains(&of("idle_messages")), "{context}: {}", of("idle_messages"));
        assert!((of("idle_bytes") / first.get("idle_bytes") - 1.0).abs() < 0.05, "{context}: {}", of("idle_bytes"));
        assert!(of("crash_peak_messages_max") < 21.0, "{context}: {}", of("crash_peak_messages_max"));
        assert!(of("join_peak_messages_max") < 21.0, "{context}: {}", of("join_peak_messages_max"));
        let waited = of("crash_all") - suspicion(*nodes);
        assert!((1.0..7.0).contains(&waited), "{context}: {waited} s beside the suspicion");
        assert!(of("crash_all") - of("crash_half") < 1.0, "{context}: one tells the others in {row:?}");
        assert!(of("join_all_max") < 1.5, "{context}: a join is known after {}", of("join_all_max"));
        // Only what must grow with the list does: the list itself, and what a newcomer is sent.
        assert!(of("pull_seconds_max") < 3.0, "{context}: {}", of("pull_seconds_max"));
        assert!(of("list_bytes") < 200.0 * (nodes + 5) as f64, "{context}: {}", of("list_bytes"));
    }
    let more = last.get("crash_all") - first.get("crash_all");
    let expected = suspicion(SIZES[3]) - suspicion(SIZES[0]);
    assert!((more - expected).abs() < 4.0, "thirty times the nodes: {more} s more, not {expected}");
    let sent = last.get("pull_busiest_bytes") / SIZES[3] as f64;
    assert!((30.0..100.0).contains(&sent), "{sent} bytes to a newcomer for each node it has to know");
}

/// What large sizes leave out is memory only.
#[test]
fn machines_that_share_their_list_do_the_same_as_machines_that_do_not() {
    let run = |sharing| measure(3, 60, sharing, 2).unwrap_or_else(|what| panic!("{what}"));
    assert_eq!(run(Sharing::Full), run(Sharing::Shared));
}

/// A checker that never complains would pass everything above: a network that loses nearly all must be noticed.
#[test]
fn a_network_that_carries_nothing_is_noticed() {
    let mut world = World::settled(1, 20, Sharing::Shared);
    world.network.loss_per_mille = 1_000;
    world.join();
    assert!(!world.run_until_learned(Duration::from_secs(30)));
    world.run_for(Duration::from_secs(120));
    assert!(world.wrong_deaths > 0, "everybody is silent, and nobody was declared dead");
}

#[test]
fn placement_is_even_and_a_join_moves_its_share() {
    for nodes in [30, 300] {
        let mut figures = Figures::default();
        let ring = placement::weigh(nodes, &mut figures).unwrap_or_else(|what| panic!("{what}"));
        placement::measure(nodes, ring, &mut figures).unwrap_or_else(|what| panic!("{what}"));
        for name in ["tablets_max_over_average", "slots_max_over_average", "grown_max_over_average"] {
            let over = figures.get(name);
            assert!((1.0..1.1).contains(&over), "{nodes} nodes: {name} {over}");
        }
        let moves = figures.get("join_moves_times_nodes");
        assert!((0.8..1.15).contains(&moves), "{nodes} nodes: a join moves {moves} times its share");
    }
}
