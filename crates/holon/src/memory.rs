//! The one memory budget of a node, cut into named shares.

/// What each part of a node may hold, bytes; the sum is the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryShares {
    /// Rows not yet in tables.
    pub memtables: u64,
    /// Blocks of tables.
    pub cache: u64,
    /// Batches of the log that are in no segment yet, and those that are kept for readers.
    pub log: u64,
    /// Requests being worked on.
    pub requests: u64,
    /// Input and output of connections.
    pub connections: u64,
    /// Compactions, indexes and filters of tables, the process itself, and what an allocator cannot give back.
    pub reserve: u64,
}

impl MemoryShares {
    pub fn of(budget_bytes: u64) -> MemoryShares {
        let percent = |share| budget_bytes / 100 * share;
        let (memtables, cache, log) = (percent(22), percent(25), percent(10));
        let (requests, connections) = (percent(12), percent(8));
        let reserve = budget_bytes - memtables - cache - log - requests - connections;
        MemoryShares { memtables, cache, log, requests, connections, reserve }
    }

    pub fn named(&self) -> [(&'static str, u64); 6] {
        [
            ("memtables", self.memtables),
            ("cache", self.cache),
            ("log", self.log),
            ("requests", self.requests),
            ("connections", self.connections),
            ("reserve", self.reserve),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_the_budget() {
        for budget in [64 << 20, (1 << 30) + 17] {
            let total: u64 = MemoryShares::of(budget).named().iter().map(|(_, bytes)| bytes).sum();
            assert_eq!(total, budget);
        }
    }
}
