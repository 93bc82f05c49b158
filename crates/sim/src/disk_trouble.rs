//! What happens to the disks of single nodes while the others are well: one is full for a while, then there is room again; bits of
//! another's files rot, and writes to it land elsewhere.
//!
//! Replication survives the loss of one copy. So one node of a run has a disk that forgets, and no node breaks for good then.

use crate::faults::DiskFaults;
use crate::world::World;
use holon_base::{Instant, Random, TabletId};
use std::time::Duration;

/// Which disks have trouble, and until when.
#[derive(Default)]
pub struct DiskTrouble {
    full: Option<(usize, Instant)>,
    /// Whose files are damaged again and again.
    rotten: Option<usize>,
}

/// A sorted file of a tablet of a table: other nodes have its data.
fn has_copies(path: &str) -> bool {
    let mut parts = path.split('/');
    let (root, tablet, file) = (parts.next(), parts.next(), parts.next());
    let tablet = tablet.and_then(|name| u64::from_str_radix(name, 16).ok()).map(TabletId);
    let is_of_table = |tablet: TabletId| tablet.of_shadow().is_none() && tablet.group().0 != 0;
    root == Some("tablets") && tablet.is_some_and(is_of_table) && file.is_some_and(|name| name.ends_with(".table"))
}

/// In a log's tail a lone copy cannot tell it from a torn write.
pub fn may_be_misdirected(path: &str, options: &DiskFaults) -> bool {
    if options.misdirects_copies_only { has_copies(path) } else { path.starts_with("tablets/") }
}

impl DiskTrouble {
    /// From now on there is next to no room on the disk of a node. One at a time: two of three replicas that take no writes leave
    /// no quorum.
    pub fn fill_up(&mut self, world: &World, node: usize, random: &mut Random) {
        if self.full.is_some() {
            return;
        }
        let mut disk = world.nodes[node].disk.borrow_mut();
        disk.options.capacity_bytes = disk.used() + random.below(256 << 10) as usize;
        self.full = Some((node, world.now + Duration::from_millis(random.range(1_000, 20_000))));
    }

    /// A bit of some file flips. From the first time on the disk also puts some writes elsewhere.
    pub fn rot(&mut self, world: &World, node: usize, random: &mut Random) {
        let is_first = self.rotten.is_none();
        let mut disk = world.nodes[*self.rotten.get_or_insert(node)].disk.borrow_mut();
        if is_first {
            let per_million = if random.chance(1, 2) { random.range(500, 5_000) } else { 0 };
            disk.options.misdirect_per_million = per_million;
            disk.options.misdirects_copies_only = true;
        }
        disk.rot(has_copies);
    }

    /// Whether copies of data were lost with a disk.
    pub fn has_rotten(&self) -> bool {
        self.rotten.is_some()
    }

    /// Makes room where it is time.
    pub fn look(&mut self, world: &World) {
        if self.full.is_some_and(|(_, until)| world.now >= until) {
            self.make_room(world);
        }
    }

    fn make_room(&mut self, world: &World) {
        if let Some((node, _)) = self.full.take() {
            world.nodes[node].disk.borrow_mut().options.capacity_bytes = usize::MAX;
        }
    }

    /// All is well again, and stays so; what is damaged is.
    pub fn end(&mut self, world: &World) {
        self.make_room(world);
        for node in &world.nodes {
            node.disk.borrow_mut().options = DiskFaults::NONE;
        }
    }
}
