//! Seeded runs of many machines under faults, with checkers: completeness, accuracy after healing, no death without
//! faults, rising incarnations, bounded messages. And bugs put in on purpose, which the checkers must find.

mod common;

use common::{Weather, World, address, id};
use holon_base::Random;
use holon_member::{Event, Options, PlantedBug, State};
use std::time::Duration;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Ten times as fast as in production.
fn fast() -> Options {
    Options {
        probe_interval: Duration::from_millis(100),
        probe_timeout: Duration::from_millis(40),
        gossip_interval: Duration::from_millis(20),
        full_sync_interval: Duration::from_millis(3_000),
        dead_probe_interval: Duration::from_millis(1_000),
        ..Options::default()
    }
}

/// The longest that a crash may stay unseen by anybody: every suspicion unconfirmed, by the sickest node, after a whole
/// round of probes, with loss. A checker's bound, not a typical time.
fn patience(nodes: usize, options: &Options) -> Duration {
    let suspicion = options.suspicion(nodes, 0);
    options.probe_interval * (nodes as u32 + 20) * 2 + suspicion * 3 + options.full_sync_interval * 2
}

/// Nothing goes wrong: nobody may seem dead or even suspect, whatever the seed.
fn calm(seed: u64, options: Options) -> Result<(), String> {
    let mut random = Random::new(seed);
    let nodes = random.range(2, 30) as usize;
    let mut world = World::new(seed, nodes, options);
    world.settle(seconds(10))?;
    world.run_for(seconds(20));
    for (_, who, event) in world.take_events() {
        if matches!(event, Event::Dead(_) | Event::Suspect(_) | Event::Left(_)) {
            return Err(format!("{who} saw {event:?} though nothing happened"));
        }
    }
    if !world.facts_agree() {
        return Err("facts differ after 20 s of calm".to_string());
    }
    world.errors.first().map_or(Ok(()), |error| Err(error.clone()))
}

/// Faults at random, then calm: the checkers at the end demand that all agree.
fn storm(seed: u64, options: Options) -> Result<(), String> {
    let mut random = Random::new(seed ^ 0x5707);
    let nodes = random.range(3, 50) as usize;
    let mut world = World::new(seed, nodes, options);
    let patience = patience(nodes, &world.options);
    world.run_for(seconds(1));
    for _ in 0..random.range(3, 12) {
        world.weather = Weather {
            loss_percent: random.below(31),
            double_percent: random.below(20),
            delay_ms: (1, random.range(2, 60)),
        };
        fault(&mut world, &mut random);
        world.run_for(Duration::from_millis(random.range(10, 4_000)));
        if random.chance(1, 3) {
            world.cut.clear();
        }
    }
    // By now the metadata log names the doors of those that restarted: two that moved while apart cannot find each other.
    world.tell_addresses();
    // The network heals; loss may stay while the crashed must be found.
    world.cut.clear();
    world.weather.loss_percent = random.below(10);
    world.run_for(seconds(8));
    world.weather = Weather { delay_ms: (1, 10), ..Weather::default() };
    let took = world.settle(patience).map_err(|what| format!("{nodes} nodes: {what}"))?;
    // Probes that were lost before the calm still raise suspicion; after that it stays so.
    world.run_for(seconds(3));
    world.settle(patience)?;
    world.take_events();
    world.run_for(seconds(3));
    let wrong = world.take_events().into_iter().find(|(_, _, event)| !matches!(event, Event::Facts(_)));
    if let Some(event) = wrong {
        return Err(format!("{nodes} nodes: agreed after {took:?}, then {event:?}"));
    }
    if !world.facts_agree() {
        world.run_for(world.options.full_sync_interval * 4);
        if !world.facts_agree() {
            return Err(format!("{nodes} nodes: facts differ"));
        }
    }
    world.errors.first().map_or(Ok(()), |error| Err(error.clone()))
}

fn fault(world: &mut World, random: &mut Random) {
    let nodes = world.nodes.len();
    let node = random.below(nodes as u64) as usize;
    match random.below(8) {
        0 | 1 if world.nodes[node].up => world.crash(node),
        0..=2 if !world.nodes[node].up => world.restart(node),
        2 if world.nodes[node].up => world.leave(node),
        3 => world.sleep(node, Duration::from_millis(random.range(50, 20_000))),
        // Two sides.
        4 => {
            let side = random.range(1, nodes as u64) as usize;
            for (a, b) in pairs(nodes).filter(|(a, b)| (*a < side) != (*b < side)) {
                world.cut.insert((a, b));
            }
        }
        // A bridge: two sides that only one node reaches.
        5 => {
            let side = random.range(1, nodes as u64) as usize;
            for (a, b) in pairs(nodes).filter(|(a, b)| (*a < side) != (*b < side) && *a != node && *b != node) {
                world.cut.insert((a, b));
            }
        }
        // One way: a node that hears nobody, or that nobody hears.
        6 => {
            let deaf = random.chance(1, 2);
            for other in (0..nodes).filter(|other| *other != node) {
                world.cut.insert(if deaf { (other, node) } else { (node, other) });
            }
        }
        // New facts.
        _ if world.nodes[node].up => {
            let facts = vec![random.below(256) as u8; random.below(200) as usize];
            let now = world.now;
            world.nodes[node].member.set_facts(now, facts.into()).expect("short facts");
        }
        _ => {}
    }
}

fn pairs(nodes: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..nodes).flat_map(move |a| (0..nodes).map(move |b| (a, b)))
}

/// One crash after calm: seen dead by all within the bound, and by nobody before the suspicion's shortest time.
fn crash(seed: u64, options: Options) -> Result<(), String> {
    let mut random = Random::new(seed ^ 0xC4A5);
    let nodes = random.range(3, 40) as usize;
    let mut world = World::new(seed, nodes, options);
    world.weather = Weather { loss_percent: random.below(20), double_percent: 5, delay_ms: (1, 15) };
    world.run_for(seconds(3));
    let victim = random.below(nodes as u64) as usize;
    world.crash(victim);
    world.take_events();
    let began = world.now;
    let within = patience(nodes, &world.options);
    loop {
        let survivors = || (0..nodes).filter(|node| *node != victim);
        if survivors().all(|node| world.nodes[node].member.state(id(victim)) == Some(State::Dead)) {
            break;
        }
        if world.now.since(began) > within {
            return Err(format!("{nodes} nodes: the crash is not seen by all within {within:?}"));
        }
        world.run_for(Duration::from_millis(10));
    }
    // Loss of a fifth may raise suspicion of the living, but no death: they refute.
    let living =
        world.take_events().into_iter().find(|(_, _, event)| matches!(event, Event::Dead(node) if *node != id(victim)));
    if let Some(event) = living {
        return Err(format!(
            "{nodes} nodes, {} % loss: a living node was declared dead: {event:?}",
            world.weather.loss_percent
        ));
    }
    world.errors.first().map_or(Ok(()), |error| Err(error.clone()))
}

/// A node sleeps for long among healthy ones: when it wakes it must not declare anybody dead.
fn pause(seed: u64, options: Options) -> Result<(), String> {
    let mut random = Random::new(seed ^ 0x9A05E);
    let nodes = random.range(3, 30) as usize;
    let mut world = World::new(seed, nodes, options);
    world.run_for(seconds(2));
    // Another is cut off just long enough to be suspected by the sleeper, and refutes while that one sleeps.
    let (sleeper, suspect) = (0, 1);
    for other in (0..nodes).filter(|other| *other != suspect) {
        world.cut.insert((suspect, other));
    }
    world.run_for(Duration::from_millis(random.range(50, 400)));
    world.sleep(sleeper, Duration::from_millis(random.range(1_000, 60_000)));
    world.cut.clear();
    world.settle(seconds(120))?;
    let deaths: Vec<_> =
        world.take_events().into_iter().filter(|(_, _, event)| matches!(event, Event::Dead(_))).collect();
    // What others declared before, it may have from them; what it declared first is its own.
    let first = |event: &Event| deaths.iter().find(|(_, _, other)| other == event).map(|(_, who, _)| *who);
    let own = deaths.iter().find(|(_, who, event)| *who == sleeper && first(event) == Some(sleeper));
    own.map_or(Ok(()), |event| Err(format!("{nodes} nodes: the sleeper woke and declared {event:?}")))
}

fn all(name: &str, seeds: u64, options: &Options, run: Scenario) {
    let failed: Vec<_> = (0..seeds)
        .filter_map(|seed| run(seed, options.clone()).err().map(|what| format!("seed {seed}: {what}")))
        .collect();
    assert!(failed.is_empty(), "{name}: {} of {seeds} seeds failed\n{}", failed.len(), failed.join("\n"));
}

/// One seed with these options.
type Scenario = fn(u64, Options) -> Result<(), String>;

fn found(what: &str, seeds: u64, options: Options, runs: &[Scenario]) {
    let first = (0..seeds).find_map(|seed| {
        let complaint = runs.iter().find_map(|run| run(seed, options.clone()).err())?;
        Some(format!("planted {what}: seed {seed}: {complaint}"))
    });
    println!("{}", first.unwrap_or_else(|| panic!("planted bug not found in {seeds} seeds: {what}")));
}

/// `HOLON_SEEDS=1000` for more.
#[allow(clippy::disallowed_methods)] // how much is tried, not what
fn seeds(usual: u64) -> u64 {
    std::env::var("HOLON_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn nobody_is_suspected_while_nothing_happens() {
    all("calm", seeds(6), &fast(), calm);
}

#[test]
fn a_crash_is_seen_by_all_and_no_living_node_is_declared_dead() {
    all("crash", seeds(8), &fast(), crash);
}

#[test]
fn a_sleeper_declares_nobody_dead() {
    all("pause", seeds(8), &fast(), pause);
}

#[test]
fn after_any_faults_all_agree() {
    all("storm", seeds(10), &fast(), storm);
}

#[test]
fn planted_bugs_are_found() {
    let planted = |bug| Options { planted: Some(bug), ..fast() };
    found("refutation dropped", 20, planted(PlantedBug::RefutationDropped), &[crash, storm]);
    found("old claims taken", 20, planted(PlantedBug::OldClaimsTaken), &[storm]);
    found("dead never probed", 40, planted(PlantedBug::DeadNeverProbed), &[storm]);
    found("suspicion forgotten", 20, planted(PlantedBug::SuspicionForgotten), &[crash]);
    found("hearsay believed", 20, planted(PlantedBug::HearsayBelieved), &[storm]);
    found("pause ignored", 40, planted(PlantedBug::PauseIgnored), &[pause]);
    found("no suspicion time", 20, Options { suspicion_multiplier: 0, ..fast() }, &[crash]);
}

#[test]
fn a_run_replays_from_its_seed() {
    let run = || {
        let mut world = World::new(11, 12, fast());
        world.weather = Weather { loss_percent: 20, double_percent: 10, delay_ms: (1, 30) };
        world.run_for(seconds(2));
        world.crash(3);
        world.run_for(seconds(5));
        (world.take_events(), world.nodes.iter().map(|node| node.member.stats()).collect::<Vec<_>>())
    };
    assert_eq!(run(), run());
}

/// Two halves that declared each other dead merge by themselves.
#[test]
fn a_healed_partition_merges() {
    for seed in 0..10 {
        let mut world = World::new(seed, 20, fast());
        world.run_for(seconds(2));
        for (a, b) in pairs(20).filter(|(a, b)| (*a < 10) != (*b < 10)) {
            world.cut.insert((a, b));
        }
        world.run_for(seconds(60));
        let halves = pairs(20).all(|(a, b)| {
            let expected = if (a < 10) == (b < 10) { State::Alive } else { State::Dead };
            world.nodes[a].member.state(id(b)) == Some(expected)
        });
        assert!(halves, "seed {seed}: the halves are not apart");
        world.cut.clear();
        let took = world.settle(seconds(30)).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        println!("seed {seed}: merged after {took:?}");
        let own_side = world.take_events().into_iter().find(|(_, who, event)| {
            matches!(event, Event::Dead(node) if (0..20).any(|whom| id(whom) == *node && (whom < 10) == (*who < 10)))
        });
        assert_eq!(own_side, None, "seed {seed}: somebody of the own side was declared dead");
    }
}

/// A node whose messages reach only one other is still not declared dead: that one answers for it.
#[test]
fn asymmetric_reachability_is_bridged_by_helpers() {
    for seed in 0..10 {
        let mut world = World::new(seed, 8, fast());
        world.run_for(seconds(2));
        // 0 hears 1, but 1 does not hear 0.
        world.cut.insert((0, 1));
        world.take_events();
        world.run_for(seconds(30));
        let dead = world.take_events().into_iter().find(|(_, _, event)| matches!(event, Event::Dead(_)));
        assert_eq!(dead, None, "seed {seed}");
    }
}

#[test]
fn a_restarted_node_is_alive_at_its_new_address_at_once() {
    let mut world = World::new(5, 10, fast());
    world.run_for(seconds(2));
    world.crash(4);
    world.settle(seconds(60)).expect("the crash is seen");
    world.restart(4);
    let took = world.settle(seconds(5)).expect("it is seen again");
    assert!(took < seconds(1), "{took:?}");
    world.run_for(seconds(1));
    for node in 0..10 {
        assert_eq!(world.nodes[node].member.address(id(4)), Some(address(4, 2)), "node {node}");
    }
}
