//! What went over the connections to other nodes, counted.

use crate::limits;
use holon_base::{NodeId, ShardId};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Of one shard and one other node, so that shards do not fight over a cache line.
#[derive(Default)]
pub(crate) struct PeerCounters {
    /// Envelopes that wait to be written, or are being written.
    pub(crate) waiting: AtomicU64,
    pub(crate) envelopes_out: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) envelopes_in: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) connects: AtomicU64,
    pub(crate) connect_failures: AtomicU64,
    pub(crate) connected_out: AtomicU64,
    pub(crate) connected_in: AtomicU64,
}

pub(crate) fn add(counter: &AtomicU64, amount: usize) {
    counter.fetch_add(amount as u64, Ordering::Relaxed);
}

pub(crate) fn subtract(counter: &AtomicU64, amount: usize) {
    counter.fetch_sub(amount as u64, Ordering::Relaxed);
}

/// A connection that is open, counted until it is dropped.
pub(crate) struct Connected {
    counters: Arc<PeerCounters>,
    of: fn(&PeerCounters) -> &AtomicU64,
}

impl Connected {
    pub(crate) fn new(counters: &Arc<PeerCounters>, of: fn(&PeerCounters) -> &AtomicU64) -> Connected {
        add(of(counters), 1);
        Connected { counters: counters.clone(), of }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        subtract((self.of)(&self.counters), 1);
    }
}

/// Of one other node, all shards of this one together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerFigures {
    pub node: NodeId,
    pub envelopes_out_total: u64,
    pub bytes_out_total: u64,
    pub envelopes_in_total: u64,
    pub bytes_in_total: u64,
    /// Envelopes to it that never left: its queue was full, or it could not be reached.
    pub dropped_total: u64,
    pub connects_total: u64,
    pub connect_failures_total: u64,
    /// Connections to it and from it that are open now.
    pub connected_out: u64,
    pub connected_in: u64,
}

/// Of no node in particular.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeersTotals {
    /// Envelopes to nodes nobody told the router of.
    pub unknown_dropped_total: u64,
    /// Envelopes that came here and were for another node, or for a shard this node does not have.
    pub misdirected_total: u64,
    /// Connections that were refused or ended for what came over them.
    pub refused_total: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    by_peer: Mutex<BTreeMap<(NodeId, ShardId), Arc<PeerCounters>>>,
    pub(crate) unknown_dropped: AtomicU64,
    pub(crate) misdirected: AtomicU64,
    pub(crate) refused: AtomicU64,
}

impl Counters {
    /// Once a connection; beyond the limit the counters are nobody's.
    pub(crate) fn of(&self, node: NodeId, shard: ShardId) -> Arc<PeerCounters> {
        let mut by_peer = self.by_peer.lock().unwrap_or_else(PoisonError::into_inner);
        if by_peer.len() >= limits::PEERS_COUNTED_MAX && !by_peer.contains_key(&(node, shard)) {
            return Arc::default();
        }
        by_peer.entry((node, shard)).or_default().clone()
    }

    pub(crate) fn peers(&self) -> Vec<PeerFigures> {
        let mut figures: Vec<PeerFigures> = Vec::new();
        for ((node, _), counters) in self.by_peer.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            if figures.last().is_none_or(|last| last.node != *node) {
                figures.push(PeerFigures::none(*node));
            }
            let Some(sum) = figures.last_mut() else { continue };
            sum.envelopes_out_total += value(&counters.envelopes_out);
            sum.bytes_out_total += value(&counters.bytes_out);
            sum.envelopes_in_total += value(&counters.envelopes_in);
            sum.bytes_in_total += value(&counters.bytes_in);
            sum.dropped_total += value(&counters.dropped);
            sum.connects_total += value(&counters.connects);
            sum.connect_failures_total += value(&counters.connect_failures);
            sum.connected_out += value(&counters.connected_out);
            sum.connected_in += value(&counters.connected_in);
        }
        figures
    }

    /// Envelopes of all shards that have not left yet.
    pub(crate) fn waiting(&self) -> u64 {
        let by_peer = self.by_peer.lock().unwrap_or_else(PoisonError::into_inner);
        by_peer.values().map(|counters| counters.waiting.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn totals(&self) -> PeersTotals {
        PeersTotals {
            unknown_dropped_total: self.unknown_dropped.load(Ordering::Relaxed),
            misdirected_total: self.misdirected.load(Ordering::Relaxed),
            refused_total: self.refused.load(Ordering::Relaxed),
        }
    }
}

impl PeerFigures {
    fn none(node: NodeId) -> PeerFigures {
        PeerFigures {
            node,
            envelopes_out_total: 0,
            bytes_out_total: 0,
            envelopes_in_total: 0,
            bytes_in_total: 0,
            dropped_total: 0,
            connects_total: 0,
            connect_failures_total: 0,
            connected_out: 0,
            connected_in: 0,
        }
    }
}
