//! One node is cut off for about as long as it takes to be taken for dead, with the times of production: whoever is heard is not
//! taken for dead, and all are back soon after the cut is healed.

mod common;

use common::{Weather, World, id};
use holon_base::Random;
use holon_member::{Event, Options, PlantedBug, State};
use std::time::Duration;

/// Who was cut off has given up the others within the shortest suspicion, and asks one of them each second.
const BACK_WITHIN: Duration = Duration::from_secs(4);

/// Three to six nodes; the first one is cut off. How long it took until nobody was held dead any more.
fn cut_for(seed: u64, length: Duration, options: Options) -> Result<Duration, String> {
    let mut random = Random::new(seed ^ 0xC07);
    let nodes = random.range(3, 7) as usize;
    let mut world = World::new(seed, nodes, options);
    world.weather = Weather { delay_ms: (0, random.range(1, 20)), ..Weather::default() };
    world.run_for(Duration::from_millis(random.range(3_000, 6_000)));
    world.take_events();
    for other in 1..nodes {
        world.cut.extend([(0, other), (other, 0)]);
    }
    world.run_for(length);
    world.cut.clear();
    let healed = world.now;
    let dead = |world: &World| world.disagreements().iter().any(|(_, _, held)| *held == Some(State::Dead));
    while dead(&world) && world.now.since(healed) < Duration::from_secs(60) {
        world.run_for(Duration::from_millis(10));
    }
    let took = world.now.since(healed);
    world.settle(Duration::from_secs(60)).map_err(|what| format!("{nodes} nodes: {what}"))?;
    // Those that were not cut off heard each other all the time.
    let wrong = |(_, who, event): &(_, usize, Event)| {
        matches!(event, Event::Dead(node) if *who != 0 && *node != id(0)).then_some((*who, *event))
    };
    if let Some((who, event)) = world.take_events().iter().find_map(wrong) {
        return Err(format!("{nodes} nodes: {who} saw {event:?}"));
    }
    world.errors.first().map_or(Ok(took), |error| Err(format!("{nodes} nodes: {error}")))
}

/// Around the times at which each of them gives up.
fn lengths() -> impl Iterator<Item = Duration> {
    (4_600..7_400).step_by(100).map(Duration::from_millis)
}

#[test]
fn who_is_heard_is_not_taken_for_dead() {
    let mut slowest = Duration::ZERO;
    for length in lengths() {
        for seed in 0..20 {
            let took = cut_for(seed, length, Options::default());
            let took = took.unwrap_or_else(|what| panic!("seed {seed}, cut for {length:?}: {what}"));
            slowest = slowest.max(took);
        }
    }
    println!("nobody is held dead after {slowest:?} at most");
    assert!(slowest < BACK_WITHIN, "somebody is still held dead after {slowest:?}");
}

#[test]
fn a_machine_that_believes_hearsay_is_found() {
    let options = Options { planted: Some(PlantedBug::HearsayBelieved), ..Options::default() };
    let complaints: Vec<String> = lengths()
        .flat_map(|length| (0..20).map(move |seed| (seed, length)))
        .filter_map(|(seed, length)| {
            cut_for(seed, length, options.clone()).err().map(|what| format!("seed {seed}, cut for {length:?}: {what}"))
        })
        .collect();
    println!("{} runs, such as: {}", complaints.len(), complaints.first().expect("the fault that was there before"));
}

/// A node that dies just after it was heard is taken for dead as soon as any other.
#[test]
fn who_was_heard_and_died_is_taken_for_dead() {
    for seed in 0..20 {
        let mut world = World::new(seed, 4, Options::default());
        world.run_for(Duration::from_secs(5));
        world.crash(0);
        let crashed = world.now;
        while !(1..4).all(|node| world.nodes[node].member.state(id(0)) == Some(State::Dead)) {
            world.run_for(Duration::from_millis(10));
            assert!(world.now.since(crashed) < Duration::from_secs(10), "seed {seed}");
        }
    }
}
