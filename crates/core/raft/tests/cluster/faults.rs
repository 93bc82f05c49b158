//! What goes wrong in a run, and what clients ask for meanwhile; all drawn from the seed.

use bytes::Bytes;
use holon_base::NodeId;
use holon_raft::{Change, Compaction};

use crate::checks::Checked;
use crate::world::{Event, MILLISECOND, World};

/// A client's turn: commands and reads at whoever thinks it leads, the deposed included.
pub fn client(world: &mut World) -> Checked {
    client_asks(world)?;
    let delay = world.random.range(2, 25) * MILLISECOND;
    world.after(delay, Event::Client);
    Ok(())
}

fn client_asks(world: &mut World) -> Checked {
    for leader in world.leaders() {
        if world.random.chance(2, 3) {
            let count = world.random.range(1, 5);
            let first = world.tokens;
            world.tokens += count;
            let payloads: Vec<Bytes> =
                (first..first + count).map(|token| Bytes::from(format!("command {token}"))).collect();
            world.step(leader, |raft, now, out| raft.propose_all(now, payloads, out).ok())?;
        }
        if world.random.chance(1, 2) {
            world.tokens += 1;
            let token = world.tokens;
            world.checks.asked(token);
            world.step(leader, |raft, now, out| raft.read_index(now, token, out).ok())?;
        }
    }
    Ok(())
}

pub fn fault(world: &mut World) -> Checked {
    let delay = world.random.range(10, 160) * MILLISECOND;
    world.after(delay, Event::Fault);
    match world.random.below(20) {
        0 | 1 => split(world, false),
        2 => split(world, true),
        3 => one_way(world),
        4 => isolate(world),
        5..=7 => world.cut.clear(),
        8 => {
            let node = world.any_node();
            world.crash(node);
        }
        9 => world.leaders().into_iter().for_each(|leader| world.crash(leader)),
        10 if world.random.chance(1, 4) => world.ids().into_iter().for_each(|node| world.crash(node)),
        11 => {
            let (node, duration) = (world.any_node(), world.random.range(20, 400) * MILLISECOND);
            world.pause(node, duration);
        }
        12 => weather(world),
        13..=15 => change_members(world)?,
        16 => transfer(world)?,
        17 | 18 => compact(world)?,
        _ => learn(world)?,
    }
    Ok(())
}

/// The schedule of figure 8 of the paper, by chance: leaders that have entries nobody else has are cut off, others lead, and
/// the first come back.
pub fn depose(world: &mut World) -> Checked {
    let delay = match world.cut.is_empty() {
        true => {
            client_asks(world)?;
            let ways = world.leaders();
            isolate(world);
            if world.random.chance(1, 2) {
                // Whoever led before is heard again only by some.
                let other = world.any_node();
                world.cut.extend(ways.iter().map(|leader| (*leader, other)));
            }
            if world.random.chance(1, 3) {
                ways.into_iter().for_each(|leader| world.crash(leader));
            }
            world.random.range(100, 260)
        }
        false => {
            world.cut.clear();
            world.random.range(5, 140)
        }
    };
    if world.random.chance(1, 8) {
        weather(world);
    }
    world.after(delay * MILLISECOND, Event::Fault);
    Ok(())
}

fn sides(world: &mut World) -> (Vec<NodeId>, Vec<NodeId>) {
    let mut ids = world.ids();
    world.random.shuffle(&mut ids);
    let middle = world.random.below(ids.len() as u64 + 1) as usize;
    let right = ids.split_off(middle);
    (ids, right)
}

/// Two sides that do not hear each other; with a bridge, one node hears both.
fn split(world: &mut World, bridge: bool) {
    let (left, right) = sides(world);
    world.cut.clear();
    for &a in left.iter().skip(usize::from(bridge)) {
        for &b in &right {
            world.cut.insert((a, b));
            world.cut.insert((b, a));
        }
    }
}

fn one_way(world: &mut World) {
    let (left, right) = sides(world);
    for &a in &left {
        world.cut.extend(right.iter().map(|&b| (a, b)));
    }
}

/// A leader that hears nobody, or whom nobody hears, or both.
fn isolate(world: &mut World) {
    let ways = world.random.below(3);
    for leader in world.leaders() {
        for other in world.ids() {
            if ways != 0 {
                world.cut.insert((leader, other));
            }
            if ways != 1 {
                world.cut.insert((other, leader));
            }
        }
    }
}

fn weather(world: &mut World) {
    world.weather.loss_percent = [0, 0, 5, 30][world.random.below(4) as usize];
    world.weather.double_percent = [0, 5, 30][world.random.below(3) as usize];
    world.weather.delay_max = [1, 10, 60, 250][world.random.below(4) as usize] * MILLISECOND;
    world.weather.save_delay_max = [0, 2, 30, 150][world.random.below(4) as usize] * MILLISECOND;
}

fn change_members(world: &mut World) -> Checked {
    let node = world.any_node();
    let change = match world.random.below(5) {
        0 | 1 => Change::AddVoter(node),
        2 => Change::AddLearner(node),
        _ => Change::Remove(node),
    };
    for leader in world.leaders() {
        world.step(leader, |raft, now, out| raft.change_members(now, change, out).ok())?;
    }
    Ok(())
}

fn transfer(world: &mut World) -> Checked {
    let to = world.any_node();
    let to = world.random.chance(1, 2).then_some(to);
    for leader in world.leaders() {
        world.step(leader, |raft, now, out| raft.transfer_leadership(now, to, out).ok())?;
    }
    Ok(())
}

fn compact(world: &mut World) -> Checked {
    let (node, keep_entries) = (world.any_node(), [0, 0, 1, 20][world.random.below(4) as usize]);
    let machine = world.nodes[&node].machine;
    let compaction = Compaction { index: machine.applied, data: machine.encode(), keep_entries };
    world.step(node, |raft, _, out| raft.compact(compaction, out).ok())?;
    Ok(())
}

/// A node pulls committed entries from another one.
fn learn(world: &mut World) -> Checked {
    let (node, source) = (world.any_node(), world.any_node());
    let Some(raft) = &world.nodes[&node].raft else { return Ok(()) };
    let from = raft.status().commit + 1;
    let Some(raft) = &world.nodes[&source].raft else { return Ok(()) };
    let commit = raft.status().commit;
    if from < raft.status().first_index {
        let Some(snapshot) = raft.snapshot().cloned() else { return Ok(()) };
        world.step(node, |raft, now, out| raft.learn_snapshot(now, snapshot, out))?;
        return Ok(());
    }
    let entries = raft.entries(from, commit + 1, 1 << 20);
    world.step(node, |raft, now, out| raft.learn(now, entries, commit, out))?;
    Ok(())
}
