//! Clusters of two versions: nodes of the one before, which [`World::start`] replaces by the present one, one by one.

use crate::world::World;
use holon_base::Random;
use holon_metadata::{LEVEL, LogOptions};

/// Logs that are cut often, and in a third of the runs nodes of the version before, which are upgraded one by one.
pub fn prepare(world: &mut World, seed: u64) {
    let mut random = Random::new(seed ^ 0x0010_6f5a_11d5);
    let (entries, keep_entries) = (random.range(10, 300), random.below(60));
    world.metadata_log = LogOptions { entries, keep_entries, ..LogOptions::default() };
    if random.chance(1, 3) {
        let is_new = |node: usize, random: &mut Random| node > 0 && random.chance(1, 4);
        (0..world.nodes.len())
            .filter(|node| !is_new(*node, &mut random))
            .for_each(|node| world.nodes[node].level = LEVEL - 1);
    }
}
