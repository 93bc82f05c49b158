//! What is still to be told: members of whom something changed, each with the number of times it was told (SWIM §4.1).
//!
//! Only names are kept; what is said is read from the list when it is sent, so it is always the newest. What was told
//! least goes first, of that the newest.

use holon_base::NodeId;
use std::cmp::Reverse;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct News {
    order: BTreeMap<(u32, Reverse<u64>), NodeId>,
    places: BTreeMap<NodeId, (u32, Reverse<u64>)>,
    count: u64,
}

impl News {
    /// Something new is known of `node`: tell it from the beginning.
    pub fn push(&mut self, node: NodeId) {
        self.remove(node);
        self.count += 1;
        self.place(node, (0, Reverse(self.count)));
    }

    pub fn remove(&mut self, node: NodeId) {
        if let Some(place) = self.places.remove(&node) {
            self.order.remove(&place);
        }
    }

    fn place(&mut self, node: NodeId, place: (u32, Reverse<u64>)) {
        self.places.insert(node, place);
        self.order.insert(place, node);
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Offers names in order; `tell` returns whether there was room, or `None` if it is no news to whom it would tell. Those told
    /// `limit` times are dropped.
    pub fn tell(&mut self, limit: u32, mut tell: impl FnMut(NodeId) -> Option<bool>) {
        let mut refused = 0;
        let mut told = Vec::new();
        for (place, node) in &self.order {
            match tell(*node) {
                Some(true) => told.push((*place, *node)),
                // One long record must not keep short ones back; a full message is not searched to the end.
                Some(false) if refused == 2 => break,
                Some(false) => refused += 1,
                None => {}
            }
        }
        for ((times, age), node) in told {
            self.remove(node);
            if times + 1 < limit {
                self.place(node, (times + 1, age));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_told_goes_first_and_everything_is_told_so_many_times() {
        let mut news = News::default();
        (1..=3).for_each(|id| news.push(NodeId(id)));
        let mut said = Vec::new();
        while !news.is_empty() {
            let mut room = 2;
            news.tell(2, |node| {
                room -= 1;
                if room >= 0 {
                    said.push(node.0);
                }
                Some(room >= 0)
            });
        }
        assert_eq!(said, [3, 2, 1, 3, 2, 1]);
    }
}
