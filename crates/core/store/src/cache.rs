//! The block cache: unpacked blocks under a budget of bytes, replaced by CLOCK with a second chance for blocks that
//! were hit. A block that a scan passed once is the first to go.

use crate::table::block::Block;
use holon_base::Map;
use std::rc::Rc;

/// The table's number in this process (never reused), and the offset of the block.
pub type CacheKey = (u64, u64);

struct Slot {
    key: CacheKey,
    block: Rc<Block>,
    bytes: usize,
    hit: bool,
}

pub struct BlockCache {
    budget: usize,
    used: usize,
    places: Map<CacheKey, usize>,
    slots: Vec<Slot>,
    hand: usize,
    pub hits: u64,
    pub misses: u64,
}

/// Memory of a slot and its place in the map, beside the block.
const SLOT_BYTES: usize = 96;

impl BlockCache {
    pub fn new(budget: usize) -> Self {
        BlockCache { budget, used: 0, places: Map::default(), slots: Vec::new(), hand: 0, hits: 0, misses: 0 }
    }

    pub fn used(&self) -> usize {
        self.used
    }

    pub fn get(&mut self, key: CacheKey) -> Option<Rc<Block>> {
        match self.places.get(&key) {
            Some(&at) => {
                self.hits += 1;
                let slot = &mut self.slots[at];
                slot.hit = true;
                Some(slot.block.clone())
            }
            None => {
                self.misses += 1;
                None
            }
        }
    }

    pub fn insert(&mut self, key: CacheKey, block: Rc<Block>) {
        let bytes = block.bytes() + SLOT_BYTES;
        if bytes > self.budget || self.places.contains_key(&key) {
            return;
        }
        while self.used + bytes > self.budget {
            self.evict_one();
        }
        self.used += bytes;
        self.places.insert(key, self.slots.len());
        self.slots.push(Slot { key, block, bytes, hit: false });
    }

    fn evict_one(&mut self) {
        // Ends: each round clears a mark, and the caller asks only while something is held.
        loop {
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            if std::mem::take(&mut self.slots[self.hand].hit) {
                self.hand += 1;
                continue;
            }
            let slot = self.slots.swap_remove(self.hand);
            self.places.remove(&slot.key);
            if let Some(moved) = self.slots.get(self.hand) {
                self.places.insert(moved.key, self.hand);
            }
            // What was moved here is the newest: let the hand pass it.
            self.hand += 1;
            self.used -= slot.bytes;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::block::put_entry;

    fn block(size: usize) -> Rc<Block> {
        let mut raw = Vec::new();
        put_entry(b"key", &vec![0; size], &mut raw);
        Rc::new(Block::parse(raw.into()).expect("a block"))
    }

    #[test]
    fn keeps_within_its_budget_and_prefers_what_was_hit() {
        let one = block(1000).bytes() + SLOT_BYTES;
        let mut cache = BlockCache::new(one * 10);
        for offset in 0..10 {
            cache.insert((1, offset), block(1000));
        }
        for offset in 0..5 {
            assert!(cache.get((1, offset)).is_some());
        }
        for offset in 10..15 {
            cache.insert((1, offset), block(1000));
            assert!(cache.used() <= one * 10);
        }
        for offset in 0..5 {
            assert!(cache.get((1, offset)).is_some(), "block {offset} was hit and stays");
        }
        cache.insert((2, 0), block(one * 20));
        assert!(cache.get((2, 0)).is_none(), "larger than everything");
    }
}
