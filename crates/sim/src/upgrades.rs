//! Clusters of two versions: nodes of the one before, which [`World::start`] replaces by the present one, one by one,
//! and [`go_on`] those that are left in the end.

use crate::families::{Families, Family};
use crate::world::World;
use holon_base::Random;
use holon_metadata::{LEVEL, LogOptions};

/// Logs that are cut often, and nodes of the version before, which are upgraded one by one: in a third of the runs that know everything, and in all that
/// know upgrades and not everything else.
pub fn prepare(world: &mut World, seed: u64, families: Families) {
    let mut random = Random::new(seed ^ 0x0010_6f5a_11d5);
    let (entries, keep_entries) = (random.range(10, 300), random.below(60));
    world.metadata_log = LogOptions { entries, keep_entries, ..LogOptions::default() };
    let in_a_third = random.chance(1, 3);
    let of_two_versions = if families == Families::all() { in_a_third } else { families.has(Family::Upgrade) };
    if of_two_versions {
        let is_new = |node: usize, random: &mut Random| node > 0 && random.chance(1, 4);
        (0..world.nodes.len())
            .filter(|node| !is_new(*node, &mut random))
            .for_each(|node| world.nodes[node].level = LEVEL - 1);
    }
}

/// Stops the next node of the version before, when all others run, so that it starts as one of the present one. False when none of
/// these is left to do.
pub fn go_on(world: &mut World, nodes: &[usize]) -> bool {
    let Some(old) = nodes.iter().copied().find(|node| world.nodes[*node].level < LEVEL) else { return false };
    let is_up = world.up(old).is_some();
    if (is_up || world.is_down(old)) && nodes.iter().all(|node| *node == old || world.up(*node).is_some()) {
        if is_up {
            world.stop(old);
        }
        world.upgrade(old);
    }
    true
}
