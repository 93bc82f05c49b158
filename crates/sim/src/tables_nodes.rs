//! Nodes with the tables service, as several worlds have them: what they run, and what they know of each other.

use crate::world::{Install, World};
use holon_base::Random;
use holon_kernel::ClusterMap;
use holon_tables::service::{TablesConfig, TablesService};
use std::rc::Rc;

/// Small buffers and logs, so that little data is flushed, merged and cut off like much.
pub fn small(random: &mut Random) -> TablesConfig {
    TablesConfig {
        memtable_bytes: random.range(32 << 10, 256 << 10) as usize,
        cache_bytes: random.range(16 << 10, 1 << 20) as usize,
        log_segment_bytes: 4096 * random.range(128, 256),
        log_bytes_max: 8 << 20,
        ..TablesConfig::default()
    }
}

/// What a node runs on each of its shards.
pub fn install(config: TablesConfig) -> Install {
    Rc::new(move |shard, metadata| {
        shard.add_service(TablesService::new(shard.clone(), metadata.clone(), config.clone()));
    })
}

/// The map of that node which knows most of those that are up.
pub fn newest_map(world: &World) -> Option<Rc<dyn ClusterMap>> {
    let up = (0..world.nodes.len()).filter_map(|node| world.up(node)?.first()?.shard.map());
    up.max_by_key(|map| map.epoch())
}
