//! What gossip takes and how fast it is, for one size of a cluster: idle, then joins, then crashes, one after
//! the other.

use crate::figures::Figures;
use crate::world::{Sharing, Traffic, World};
use holon_member::Stats;
use std::time::Duration;

/// After this much the rates of the start have passed.
const WARM_UP: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(20);
/// After an event, until its gossip has ended.
const AFTER: Duration = Duration::from_secs(4);
/// Of a thousand messages so many are lost in the lossy part.
pub const LOSS_PER_MILLE: u64 = 10;
/// No event takes longer to be known, or it counts as never known.
const BOUND: Duration = Duration::from_secs(600);

/// How often crashes and joins are tried, so that large and small sizes take comparable effort.
pub fn trials(nodes: usize) -> usize {
    (20_000 / nodes.max(1)).clamp(2, 20)
}

/// Runs it all: without loss, then with the loss of [`LOSS_PER_MILLE`], whose figures are named `lossy_…`; crashes come
/// under loss only. What cannot be, such as a living node declared dead, is an error.
pub fn measure(seed: u64, nodes: usize, sharing: Sharing, trials: usize) -> Result<Figures, String> {
    let mut figures = Figures::default();
    let mut world = World::settled(seed, nodes, sharing);
    world.network.loss_per_mille = 0;
    world.run_for(WARM_UP);
    idle(&mut world, "", &mut figures);
    // Before the crashes: a newcomer takes the dead of the log for alive, and would ask them.
    joins(&mut world, trials, "", &mut figures)?;
    world.network.loss_per_mille = LOSS_PER_MILLE;
    let lossy_from = world.age();
    world.run_for(WARM_UP);
    idle(&mut world, "lossy_", &mut figures);
    joins(&mut world, trials.div_ceil(4).min(trials - 1).max(1), "lossy_", &mut figures)?;

    crashes(&mut world, trials.min(nodes / 3).max(1), &mut figures)?;
    if world.wrong_deaths > 0 {
        return Err(format!("{nodes} nodes: {} times a living node was declared dead", world.wrong_deaths));
    }
    let memory = || world.members.iter().map(holon_member::Member::memory_bytes);
    figures.set("own_state_bytes", memory().map(|(own, _)| own as f64).sum::<f64>() / world.members.len() as f64);
    figures.set("own_state_bytes_max", memory().map(|(own, _)| own as f64).fold(0.0, f64::max));
    figures.set("list_bytes", memory().map(|(_, list)| list as f64).fold(0.0, f64::max));
    let sum = |of: fn(&Stats) -> u64| world.members.iter().map(|member| of(&member.stats())).sum::<u64>() as f64;
    let node_hours = world.living() as f64 * (world.age() - lossy_from).as_secs_f64() / 3_600.0;
    figures.set("false_suspicions_per_hour", sum(|stats| stats.refutations) / node_hours * world.living() as f64);
    figures.set("simulated_seconds", world.age().as_secs_f64());
    figures.set("messages_simulated", sum(|stats| stats.messages_sent));
    Ok(figures)
}

fn per_node_second(traffic: Traffic, nodes: usize, time: Duration) -> (f64, f64, f64) {
    let over = nodes as f64 * time.as_secs_f64();
    (traffic.messages as f64 / over, traffic.bytes as f64 / over, traffic.sync_bytes as f64 / over)
}

fn idle(world: &mut World, prefix: &str, figures: &mut Figures) {
    world.count_traffic();
    world.run_for(IDLE);
    let (messages, bytes, sync_bytes) = per_node_second(world.traffic, world.living(), IDLE);
    figures.set(&format!("{prefix}idle_messages"), messages);
    figures.set(&format!("{prefix}idle_bytes"), bytes);
    figures.set(&format!("{prefix}idle_sync_bytes"), sync_bytes);
}

/// The busiest second of what was counted, a node: messages and bytes.
fn peak(world: &World) -> (f64, f64) {
    let nodes = world.living() as f64;
    let most = |of: fn(&Traffic) -> u64| world.seconds.iter().map(of).max().unwrap_or(0) as f64 / nodes;
    (most(|traffic| traffic.messages), most(|traffic| traffic.bytes))
}

/// The most bytes that one node sent since `before`, in messages of all kinds.
fn busiest(world: &World, before: &[u64], except: usize) -> f64 {
    let sent = |(node, member): (usize, &holon_member::Member)| {
        let earlier = before.get(node).copied().unwrap_or(0);
        if node == except { 0 } else { member.stats().bytes_sent - earlier }
    };
    world.members.iter().enumerate().map(sent).max().unwrap_or(0) as f64
}

fn bytes_sent(world: &World) -> Vec<u64> {
    world.members.iter().map(|member| member.stats().bytes_sent).collect()
}

fn crashes(world: &mut World, trials: usize, figures: &mut Figures) -> Result<(), String> {
    let mut of_all = Vec::new();
    for _ in 0..trials {
        let mut figures = Figures::default();
        let (before, began) = (bytes_sent(world), world.now());
        world.count_traffic();
        let node = world.any();
        world.crash(node);
        if !world.run_until_learned(BOUND) {
            return Err(format!("{} nodes: a crash was not seen by all within {BOUND:?}", world.members.len()));
        }
        if let Some(watch) = world.watch.take() {
            figures.set("crash_suspected", watch.first_suspected.map_or(f64::NAN, |since| since.as_secs_f64()));
            figures.set("crash_first", watch.seconds(0.0));
            figures.set("crash_half", watch.seconds(0.5));
            figures.set("crash_most", watch.seconds(0.99));
            figures.set("crash_all", watch.seconds(1.0));
        }
        world.run_for(AFTER);
        let (messages, bytes) = peak(world);
        figures.set("crash_peak_messages", messages);
        figures.set("crash_peak_bytes", bytes);
        let took = world.now().since(began);
        figures.set("crash_messages", per_node_second(world.traffic, world.living(), took).0);
        figures.set("crash_bytes", per_node_second(world.traffic, world.living(), took).1);
        figures.set("crash_busiest_bytes", busiest(world, &before, node) / took.as_secs_f64());
        of_all.push(figures);
    }
    figures.take_means("", &of_all);
    figures.set("crash_trials", trials as f64);
    Ok(())
}

fn joins(world: &mut World, trials: usize, prefix: &str, figures: &mut Figures) -> Result<(), String> {
    let mut of_all = Vec::new();
    for _ in 0..trials {
        let mut figures = Figures::default();
        let (before, began) = (bytes_sent(world), world.now());
        world.count_traffic();
        let node = world.join();
        if !world.run_until_learned(BOUND) || !world.run_until_complete(BOUND) {
            return Err(format!("{} nodes: a join was not known by all within {BOUND:?}", world.members.len()));
        }
        if let Some(watch) = world.watch.take() {
            figures.set("join_half", watch.seconds(0.5));
            figures.set("join_most", watch.seconds(0.99));
            figures.set("join_all", watch.seconds(1.0));
        }
        let complete = world.learners.get(&node).and_then(|learner| learner.complete);
        figures.set("pull_seconds", complete.map_or(f64::NAN, |at| at.since(began).as_secs_f64()));
        figures.set("pull_busiest_bytes", busiest(world, &before, node));
        figures.set("pull_asked_bytes", world.members[node].stats().bytes_sent as f64);
        figures.set("joiner_own_bytes", world.members[node].memory_bytes().0 as f64);
        world.run_for(AFTER);
        let (messages, bytes) = peak(world);
        figures.set("join_peak_messages", messages);
        figures.set("join_peak_bytes", bytes);
        of_all.push(figures);
        world.learners.clear();
    }
    figures.take_means(prefix, &of_all);
    figures.set(&format!("{prefix}join_trials"), trials as f64);
    Ok(())
}

/// All nodes start at once, each with what the log says and nothing else; until everybody has heard everybody.
pub fn cold_start(seed: u64, nodes: usize, figures: &mut Figures) -> Result<(), String> {
    let mut world = World::cold(seed, nodes);
    if !world.run_until_complete(BOUND) {
        return Err(format!("{nodes} nodes: after a cold start they do not know each other within {BOUND:?}"));
    }
    figures.set("cold_seconds", world.age().as_secs_f64());
    figures.set("cold_messages", world.traffic.messages as f64 / nodes as f64);
    figures.set("cold_bytes", world.traffic.bytes as f64 / nodes as f64);
    figures.set("cold_sync_bytes", world.traffic.sync_bytes as f64 / nodes as f64);
    Ok(())
}
