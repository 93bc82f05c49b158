//! The member list: a base that never changes and may be shared, and this node's own differences from it.
//!
//! ```text
//!   base     ids ▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪  sorted, with running sums of the records' digests; behind an Arc
//!   overlay      ▫     ▫▫    ▫    changed, added or removed since: an ordered map; folded into a new base when large
//! ```
//!
//! Nodes that agree hold equal bases, so whoever runs many machines in one process hands all of them the same one and
//! pays for the differences only. The running sums give the digest of any range of ids in logarithmic time, without a
//! tree of hashes to keep.

use crate::limits::{OVERLAY_MIN, SYNC_BRANCHES};
use crate::member::{Facts, State};
use crate::wire::{Claim, Range};
use bytes::Bytes;
use holon_base::NodeId;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// What is known of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// 0: nothing was heard of it yet.
    pub incarnation: u64,
    /// 0: its facts of this incarnation were not heard yet.
    pub version: u64,
    pub address: Option<SocketAddr>,
    pub facts: Bytes,
    pub state: State,
}

/// The immutable part: see the module. Made of what is known of many members at one time.
#[derive(Debug, Default)]
pub struct BaseList {
    ids: Vec<NodeId>,
    records: Vec<Record>,
    /// `sums[i]` is the digest of the first `i` records.
    sums: Vec<u64>,
}

pub struct MemberList {
    base: Arc<BaseList>,
    /// `None`: removed from the base.
    overlay: BTreeMap<NodeId, Option<Record>>,
    /// Ids in the overlay that the base lacks: they have positions too.
    added: Vec<NodeId>,
    members: usize,
    /// Changes when positions change their meaning.
    generation: u64,
}

/// Mixes 64 bits (SplitMix64's finalizer).
pub fn mix(value: u64) -> u64 {
    let z = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The digest of one record. Suspects count as alive (suspicion passes), and the facts of the dead do not count. The
/// sum of digests over a range is the range's. Against accidents, not against peers that lie: those are authenticated.
fn digest(node: NodeId, record: &Record) -> u64 {
    if record.is_unheard() {
        return 0;
    }
    let (class, version) = match record.state {
        State::Alive | State::Suspect => (1, record.version),
        State::Dead => (2, 0),
        State::Left => (3, 0),
    };
    let id = mix(node.0 as u64 ^ mix((node.0 >> 64) as u64 ^ 0x9E37_79B9_7F4A_7C15));
    mix(id ^ mix(record.incarnation ^ mix(version ^ mix(class))))
}

impl Record {
    pub fn unheard(address: Option<SocketAddr>) -> Record {
        Record { incarnation: 0, version: 0, address, facts: Bytes::new(), state: State::Alive }
    }

    /// Nothing is known but that the metadata log names it.
    pub fn is_unheard(&self) -> bool {
        self.incarnation == 0 && matches!(self.state, State::Alive | State::Suspect)
    }

    /// What a sync says of this member: nothing of one that was never heard of. Suspicion is not spread by syncs.
    pub fn claim(&self, node: NodeId) -> Option<Claim> {
        let incarnation = self.incarnation;
        (!self.is_unheard()).then(|| match self.state {
            State::Alive | State::Suspect => Claim::Alive {
                node,
                incarnation,
                version: self.version,
                address: self.address,
                facts: self.facts.clone(),
            },
            State::Dead => Claim::Dead { node, incarnation },
            State::Left => Claim::Left { node, incarnation },
        })
    }
}

impl BaseList {
    /// Everybody alive with these facts.
    pub fn new(members: &BTreeMap<NodeId, Facts>) -> BaseList {
        BaseList::from_records(members.iter().map(|(node, facts)| {
            let record = Record {
                incarnation: facts.incarnation,
                version: facts.version.max(1),
                address: Some(facts.address),
                facts: facts.facts.clone(),
                state: State::Alive,
            };
            (*node, record)
        }))
    }

    /// `records` in the order of their ids.
    fn from_records(records: impl Iterator<Item = (NodeId, Record)>) -> BaseList {
        let mut base = BaseList { sums: vec![0], ..BaseList::default() };
        let mut sum = 0_u64;
        for (node, record) in records {
            sum = sum.wrapping_add(digest(node, &record));
            base.ids.push(node);
            base.records.push(record);
            base.sums.push(sum);
        }
        // It stays as long as it is: room to grow would be up to half of a node's memory of the cluster.
        base.ids.shrink_to_fit();
        base.records.shrink_to_fit();
        base.sums.shrink_to_fit();
        base
    }

    fn index(&self, node: NodeId) -> Option<usize> {
        self.ids.binary_search(&node).ok()
    }

    fn bounds(&self, range: Range) -> (usize, usize) {
        let at = |boundary: u128| self.ids.partition_point(|id| id.0 < boundary);
        (at(range.start), range.end.map_or(self.ids.len(), at))
    }

    pub fn members(&self) -> usize {
        self.ids.len()
    }

    /// Bytes of memory it takes.
    pub fn memory_bytes(&self) -> usize {
        let facts: usize = self.records.iter().map(|record| record.facts.len()).sum();
        self.ids.len() * (size_of::<NodeId>() + size_of::<Record>() + size_of::<u64>()) + facts
    }
}

impl MemberList {
    pub fn new(base: Arc<BaseList>) -> MemberList {
        let members = base.ids.len();
        MemberList { base, overlay: BTreeMap::new(), added: Vec::new(), members, generation: 0 }
    }

    pub fn members(&self) -> usize {
        self.members
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Positions run from 0 to here; some may be empty.
    pub fn positions(&self) -> usize {
        self.base.ids.len() + self.added.len()
    }

    pub fn at(&self, position: usize) -> Option<(NodeId, &Record)> {
        let base = self.base.ids.len();
        let node = if position < base { self.base.ids.get(position) } else { self.added.get(position - base) };
        let node = *node?;
        match self.overlay.get(&node) {
            Some(record) => record.as_ref().map(|record| (node, record)),
            None => self.base.records.get(position).map(|record| (node, record)),
        }
    }

    pub fn get(&self, node: NodeId) -> Option<&Record> {
        match self.overlay.get(&node) {
            Some(record) => record.as_ref(),
            None => self.base.index(node).map(|index| &self.base.records[index]),
        }
    }

    /// Sets a member's record, new or not.
    pub fn put(&mut self, node: NodeId, record: Record) {
        if self.get(node).is_none() {
            self.members += 1;
        }
        match self.base.index(node) {
            // Back to what everybody else holds: no difference to carry.
            Some(index) if self.base.records[index] == record => {
                self.overlay.remove(&node);
            }
            Some(_) => {
                self.overlay.insert(node, Some(record));
            }
            None => {
                if self.overlay.insert(node, Some(record)).is_none() {
                    self.added.push(node);
                    self.generation += 1;
                }
            }
        }
        self.fold_when_large();
    }

    pub fn remove(&mut self, node: NodeId) {
        if self.get(node).is_none() {
            return;
        }
        self.members -= 1;
        self.generation += 1;
        if self.base.index(node).is_some() {
            self.overlay.insert(node, None);
        } else {
            self.overlay.remove(&node);
            self.added.retain(|added| *added != node);
        }
        self.fold_when_large();
    }

    fn fold_when_large(&mut self) {
        if self.overlay.len() > OVERLAY_MIN.max(self.base.ids.len() / 8) {
            self.fold();
        }
    }

    /// Makes a base of its own of all that is known; afterwards there are no differences.
    pub fn fold(&mut self) -> Arc<BaseList> {
        if !self.overlay.is_empty() {
            let records = self.range(Range::ALL).map(|(node, record)| (node, record.clone()));
            self.base = Arc::new(BaseList::from_records(records));
            self.overlay.clear();
            self.added.clear();
            self.generation += 1;
        }
        self.base.clone()
    }

    /// Members of a range in the order of their ids.
    pub fn range(&self, range: Range) -> impl Iterator<Item = (NodeId, &Record)> + '_ {
        let (mut next, end) = self.base.bounds(range);
        let mut overlay = self.overlay_range(range).peekable();
        std::iter::from_fn(move || {
            loop {
                let base = (next < end).then(|| self.base.ids[next]);
                match (base, overlay.peek().map(|(node, _)| **node)) {
                    (Some(node), None) => {
                        next += 1;
                        return Some((node, &self.base.records[next - 1]));
                    }
                    (Some(node), Some(over)) if node < over => {
                        next += 1;
                        return Some((node, &self.base.records[next - 1]));
                    }
                    (None, None) => return None,
                    (base, Some(over)) => {
                        next += usize::from(base == Some(over));
                        let record = overlay.next().and_then(|(_, record)| record.as_ref());
                        if let Some(record) = record {
                            return Some((over, record));
                        }
                    }
                }
            }
        })
    }

    fn overlay_range(&self, range: Range) -> impl Iterator<Item = (&NodeId, &Option<Record>)> + '_ {
        use std::ops::Bound;
        let end = range.end.map_or(Bound::Unbounded, |end| Bound::Excluded(NodeId(end)));
        self.overlay.range((Bound::Included(NodeId(range.start)), end))
    }

    /// The digest of a range: equal where two nodes know the same.
    pub fn sum(&self, range: Range) -> u64 {
        let (start, end) = self.base.bounds(range);
        let mut sum = self.base.sums.get(end).copied().unwrap_or(0);
        sum = sum.wrapping_sub(self.base.sums.get(start).copied().unwrap_or(0));
        for (node, record) in self.overlay_range(range) {
            if let Some(index) = self.base.index(*node) {
                sum = sum.wrapping_sub(digest(*node, &self.base.records[index]));
            }
            if let Some(record) = record {
                sum = sum.wrapping_add(digest(*node, record));
            }
        }
        sum
    }

    /// Cuts a range into at most [`SYNC_BRANCHES`] pieces of about equally many members; `None` when it holds at most
    /// `leaf` members, or cannot be cut.
    pub fn cut(&self, range: Range, leaf: usize) -> Option<Vec<Range>> {
        let (start, end) = self.base.bounds(range);
        let of_base = end.saturating_sub(start);
        // No smaller than what is sent as records: each piece costs a digest now and a question later.
        let pieces = |members: usize| members.div_ceil(leaf.max(1)).clamp(2, SYNC_BRANCHES);
        let mut boundaries = Vec::new();
        if of_base >= 4 * SYNC_BRANCHES {
            // The overlay is small beside the base: even pieces of the base are even enough.
            let pieces = pieces(of_base);
            for piece in 1..pieces {
                let at = start + of_base * piece / pieces;
                boundaries.push(separator(self.base.ids[at - 1].0, self.base.ids[at].0));
            }
        } else {
            let ids: Vec<NodeId> = self.range(range).map(|(node, _)| node).collect();
            if ids.len() <= leaf {
                return None;
            }
            let pieces = pieces(ids.len());
            for piece in 1..pieces {
                let at = ids.len() * piece / pieces;
                if at > 0 {
                    boundaries.push(separator(ids[at - 1].0, ids[at].0));
                }
            }
        }
        boundaries.dedup();
        let starts = std::iter::once(range.start).chain(boundaries.iter().copied());
        let ends = boundaries.iter().copied().map(Some).chain([range.end]);
        Some(starts.zip(ends).map(|(start, end)| Range { start, end }).collect())
    }

    /// Bytes of memory of the differences: a map's node is about two thirds full.
    pub fn overlay_bytes(&self) -> usize {
        self.overlay.len() * (size_of::<NodeId>() + size_of::<Option<Record>>()) * 3 / 2 + self.added.len() * 16
    }

    pub fn base(&self) -> &Arc<BaseList> {
        &self.base
    }
}

/// The shortest boundary above `low` and not above `high`: few bytes on the wire. `low < high`.
fn separator(low: u128, high: u128) -> u128 {
    let mut bits = 120;
    loop {
        let candidate = high >> bits << bits;
        if candidate > low || bits == 0 {
            return candidate;
        }
        bits -= 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holon_base::Random;

    fn record(random: &mut Random) -> Record {
        let state = [State::Alive, State::Suspect, State::Dead, State::Left][random.below(4) as usize];
        Record { incarnation: random.below(5), version: random.below(3), address: None, facts: Bytes::new(), state }
    }

    /// The list against an ordered map, through many changes and folds.
    #[test]
    fn the_list_is_an_ordered_map_with_sums() {
        for seed in 0..20 {
            let mut random = Random::new(seed);
            let mut list = MemberList::new(Arc::new(BaseList::from_records(std::iter::empty())));
            let mut model: BTreeMap<NodeId, Record> = BTreeMap::new();
            for step in 0..1_500_u32 {
                let node = NodeId(u128::from(random.below(400)) << (8 * (seed % 15)));
                if random.chance(1, 4) {
                    list.remove(node);
                    model.remove(&node);
                } else {
                    let record = record(&mut random);
                    list.put(node, record.clone());
                    model.insert(node, record);
                }
                if step % 50 == 0 {
                    let range = Range { start: u128::from(random.below(200)), end: Some(1 << random.range(8, 127)) };
                    let seen: Vec<_> = list.range(range).map(|(node, record)| (node, record.clone())).collect();
                    let expected: Vec<_> =
                        model.clone().into_iter().filter(|(node, _)| range.contains(*node)).collect();
                    assert_eq!(seen, expected);
                    let sum =
                        expected.iter().fold(0_u64, |sum, (node, record)| sum.wrapping_add(digest(*node, record)));
                    assert_eq!(list.sum(range), sum);
                    assert_eq!(list.members(), model.len());
                    let mut positions: Vec<_> =
                        (0..list.positions()).filter_map(|at| list.at(at)).map(|(node, _)| node).collect();
                    positions.sort();
                    assert_eq!(positions, model.keys().copied().collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn a_range_is_cut_without_gaps_until_it_is_small() {
        let mut random = Random::new(3);
        let mut list = MemberList::new(Arc::new(BaseList::from_records(std::iter::empty())));
        for _ in 0..1_000 {
            let node = NodeId(u128::from(random.next_u64()) << 64 | u128::from(random.next_u64()));
            list.put(node, Record::unheard(None));
        }
        let (mut stack, mut leaves, mut seen) = (vec![Range::ALL], 0, 0);
        while let Some(range) = stack.pop() {
            match list.cut(range, 8) {
                None => {
                    leaves += 1;
                    seen += list.range(range).count();
                }
                Some(pieces) => {
                    assert_eq!(pieces[0].start, range.start);
                    assert_eq!(pieces[pieces.len() - 1].end, range.end);
                    assert!(pieces.windows(2).all(|pair| pair[0].end == Some(pair[1].start)));
                    assert!(pieces.len() > 1);
                    stack.extend(pieces);
                }
            }
        }
        assert_eq!(seen, 1_000);
        assert!(leaves < 1_000, "{leaves} leaves");
    }
}
