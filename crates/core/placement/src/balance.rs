//! Which node owns which slot of a data centre, so that replicas are even for every replication factor.
//!
//! # Why spacing is enough
//!
//! If any [`WINDOW`] consecutive slots are owned by different nodes, a walk for a factor up to [`WINDOW`] takes just
//! the next `factor` slots, so each slot is in exactly `factor` walks, and a node has `factor` times as many replicas
//! as it owns slots. The same holds with racks when as many consecutive slots as there are racks stand in different
//! racks. What is left is to own equal numbers of slots.
//!
//! - With up to [`COLUMNS_MAX`] racks, slots take racks in turn, and each rack shares its own slots among its nodes:
//!   with a copy in every rack that is the only way to be even, and a join then moves slots within one rack only. The
//!   price: a rack with fewer nodes than the others gives each of its nodes more, for smaller factors too.
//! - With more racks each node owns as much as any other, and racks are kept apart as far as that allows.
//!
//! A node that joins takes its share from those that have most, at even distances, where spacing suffers least (often
//! it mends). The slots of a node that leaves go to nodes with room, again where spacing suffers least. Nothing else
//! moves. So the work is linear in the number of slots. Where a cluster is too small to keep the spacing (fewer than
//! about ten nodes) it is kept for small factors first.
//!
//! # Measured
//!
//! Growing to 40 nodes and shrinking to 2; from 8 nodes on the largest load over the average:
//!
//! | factor and racks | largest over average | a join moves, times the nodes |
//! | --- | --- | --- |
//! | 1, 2, 3 in one or two equal racks | ≤ 1.05 | ≤ 1.1 |
//! | 1, 2, 3 in three equal racks | ≤ 1.07: turns do not come out even at the end of the ring | ≤ 1.1 |
//! | 1, 2, 3 in racks of unequal size | so much · nodes / (racks · nodes of the smallest) | ≤ 1.1 |
//! | 5 | the same with 1.31, worst just after a split in one or three racks | ≤ 1.30 |
//! | first node of a second or third rack | – | 1 for factors ≥ racks, else up to 2: turns change |
//! | a split, factor 3 | – | a sixth of all replicas with one or three racks, half with two |
//!
//! | nodes | slots | ring at once | a join | bytes of the ring | replicas of all slots |
//! | --- | --- | --- | --- | --- | --- |
//! | 1,000 | 32,768 | 2 ms | 1 ms | 86 kB | 3 ms |
//! | 75,000 | 2,097,152 | 54 ms | 58 ms | 7.7 MB (8 MiB in memory) | 210 ms |
//!
//! All choices come from hashes of ids and from integers: the same inputs give the same ring on every machine. **The
//! outcome is part of the format** (every node computes it from the log): who changes it makes a new version of the
//! entries.

use crate::ring::DataCenter;
use holon_base::NodeId;

/// The owner of a slot whose owner has left.
pub(crate) const NOBODY: u32 = u32::MAX;
/// Consecutive slots that should have different owners: the largest factor in use.
const WINDOW: usize = 5;
/// Racks up to which each has an equal share: three copies in three racks is what everybody runs.
const COLUMNS_MAX: u16 = 3;
/// What it costs that the owner of a slot owns another one at this distance, and that another node of its rack does. A
/// short distance spoils the small factors as well.
const NODE_COSTS: [u32; WINDOW] = [0, 1000, 300, 100, 30];
const RACK_COSTS: [u32; WINDOW] = [0, 50, 15, 5, 2];
/// What it is worth to take from a node that has one slot more than its share: more than a flaw that only large
/// factors feel.
const SURPLUS_GAIN: i64 = 150;
/// Slots (or receivers) looked at for each slot that moves, before all are.
const CANDIDATES: usize = 128;

/// A number that looks random and is the same everywhere (SplitMix64).
fn scramble(seed: u64, step: u64) -> u64 {
    let mut value = seed.wrapping_add(step.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

fn seed_of(node: NodeId) -> u64 {
    scramble(node.0 as u64, (node.0 >> 64) as u64)
}

/// Where racks take turns: the rack whose slot this is. With three racks the turn goes the other way round after each
/// split, which is what [`split`] makes of it.
fn rack_of_slot(slot: usize, slots: usize, racks: u16) -> u16 {
    let racks = usize::from(racks);
    let step = if racks == 3 && slots.trailing_zeros() % 2 == 1 { 2 } else { 1 };
    (slot * step % racks) as u16
}

/// Owners for nodes of which none owns anything yet: the members in turn, racks alternating.
pub(crate) fn fresh(center: &DataCenter, slots: u32) -> Vec<u32> {
    let slots = slots as usize;
    if center.rack_count > COLUMNS_MAX {
        return in_turn(&alternating(center), slots);
    }
    let racks = usize::from(center.rack_count);
    let mut members: Vec<Vec<u32>> = vec![Vec::new(); racks];
    (0..).zip(&center.racks).for_each(|(member, rack)| members[usize::from(*rack)].push(member));
    // Which racks have the slots of an incomplete last round depends on the number of slots: one more than needed for
    // some.
    let mut columns: Vec<_> =
        members.iter().map(|members| in_turn(members, slots.div_ceil(racks)).into_iter()).collect();
    (0..slots).filter_map(|slot| columns[usize::from(rack_of_slot(slot, slots, center.rack_count))].next()).collect()
}

/// `length` members, again and again in the same order. Where the length is no multiple of their number some are left
/// out once, each in another round, so that rounds stay whole and no member follows itself closely.
fn in_turn(order: &[u32], length: usize) -> Vec<u32> {
    let count = order.len();
    let rounds = length.div_ceil(count);
    let omitted = rounds * count - length;
    // The i-th to be left out is the member at i·count/omitted, in round i·rounds/omitted.
    let mut owners = Vec::with_capacity(length);
    let mut next = 0;
    for round in 0..rounds {
        for (place, member) in order.iter().enumerate() {
            let is_next = next < omitted && round == next * rounds / omitted && place == next * count / omitted;
            if is_next {
                next += 1;
            } else {
                owners.push(*member);
            }
        }
    }
    owners
}

/// Each rack's members spread evenly over the order: the i-th of m stands at (2i+1)/2m of the way.
fn alternating(center: &DataCenter) -> Vec<u32> {
    let mut sizes = vec![0u64; usize::from(center.rack_count)];
    center.racks.iter().for_each(|rack| sizes[usize::from(*rack)] += 1);
    let mut met = vec![0u64; sizes.len()];
    let mut places: Vec<(u64, u16, u32)> = Vec::with_capacity(center.racks.len());
    for (member, rack) in (0u32..).zip(&center.racks) {
        let at = usize::from(*rack);
        places.push((((2 * met[at] + 1) << 32) / (2 * sizes[at]), *rack, member));
        met[at] += 1;
    }
    places.sort_unstable();
    places.into_iter().map(|(_, _, member)| member).collect()
}

/// Twice as many slots. The parts of slot s go to its owner and to that of slot s+2: the three nodes of a walk from s
/// stay the same for the first part, and one of them changes for the second, so a sixth of the replicas moves for the
/// factor 3, a tenth for 5, and half for 1. (Both parts to one owner would move nothing, and be useless: no node could
/// ever take one of them without upsetting the balance.) With two racks it is slot s+3 (s+2 stands in the same rack),
/// the parts change places in every other slot, and half of the replicas move.
pub(crate) fn split(center: &DataCenter) -> Vec<u32> {
    let owners = &center.owners;
    let mask = owners.len() - 1;
    let parts = |slot: usize| match (center.rack_count, slot % 2) {
        (2, 0) => [owners[slot], owners[(slot + 3) & mask]],
        (2, _) => [owners[(slot + 3) & mask], owners[slot]],
        _ => [owners[slot], owners[(slot + 2) & mask]],
    };
    let doubled = DataCenter { owners: (0..owners.len()).flat_map(parts).collect(), ..center.clone() };
    let mut board = Board::new(&doubled);
    if !board.has_a_receiver_for_each_turn() {
        return fresh(center, doubled.owners.len() as u32);
    }
    // One slot more than others is now two: the part that moves anyway goes to somebody else.
    for slot in 0..board.owners.len() {
        let owner = board.owners[slot];
        let moves = owner != NOBODY && owners[slot / 2] != owner;
        if moves && board.counts[owner as usize] > board.shares[owner as usize] + 1 {
            board.owners[slot] = NOBODY;
            board.counts[owner as usize] -= 1;
        }
    }
    board.give_away();
    board.owners
}

/// The owners after members came or went: newcomers take their share, the slots of [`NOBODY`], and those that are
/// another rack's turn, are given away.
pub(crate) fn adjusted(center: &DataCenter) -> Vec<u32> {
    let mut board = Board::new(center);
    if !board.has_a_receiver_for_each_turn() {
        return fresh(center, center.owners.len() as u32);
    }
    let newcomers: Vec<u32> = (0..).zip(&board.counts).filter(|(_, count)| **count == 0).map(|(m, _)| m).collect();
    board.give_away();
    for member in newcomers {
        board.take_share(member);
    }
    board.owners
}

/// The owners of one data centre while they change.
struct Board<'a> {
    center: &'a DataCenter,
    owners: Vec<u32>,
    /// Slots of each member.
    counts: Vec<u32>,
    /// Slots each member should have at least; at most one more.
    shares: Vec<u32>,
}

impl<'a> Board<'a> {
    fn new(center: &'a DataCenter) -> Board<'a> {
        let slots = center.owners.len();
        let racks = usize::from(center.rack_count);
        let nodes = center.members.len();
        let (mut sizes, mut columns) = (vec![0u32; racks], vec![0u32; racks]);
        center.racks.iter().for_each(|rack| sizes[usize::from(*rack)] += 1);
        (0..slots).for_each(|slot| columns[usize::from(rack_of_slot(slot, slots, center.rack_count))] += 1);
        let in_columns = center.rack_count <= COLUMNS_MAX;
        let share = |rack: &u16| match usize::from(*rack) {
            rack if in_columns => columns[rack] / sizes[rack],
            _ => (slots / nodes) as u32,
        };
        let shares = center.racks.iter().map(share).collect();
        let mut board = Board { center, owners: center.owners.clone(), counts: vec![0; nodes], shares };
        for slot in 0..slots {
            match board.owners[slot] {
                NOBODY => {}
                owner if in_columns && board.rack(owner) != rack_of_slot(slot, slots, center.rack_count) => {
                    board.owners[slot] = NOBODY;
                }
                owner => board.counts[owner as usize] += 1,
            }
        }
        board
    }

    fn rack(&self, member: u32) -> u16 {
        self.center.racks[member as usize]
    }

    fn has_a_receiver_for_each_turn(&self) -> bool {
        let mut present = vec![false; usize::from(self.center.rack_count)];
        let owning = self.counts.iter().zip(&self.center.racks).filter(|(count, _)| **count > 0);
        owning.for_each(|(_, rack)| present[usize::from(*rack)] = true);
        if self.has_columns() { present.iter().all(|present| *present) } else { present.contains(&true) }
    }

    fn has_columns(&self) -> bool {
        self.center.rack_count <= COLUMNS_MAX
    }

    fn mask(&self) -> usize {
        self.owners.len() - 1
    }

    /// What it costs, by the spacing, that `member` owns the slot.
    fn cost(&self, slot: usize, member: u32) -> u32 {
        let rack = self.rack(member);
        let rack_window = usize::from(self.center.rack_count).min(WINDOW);
        let mut cost = 0;
        for distance in 1..WINDOW {
            for at in [(slot + distance) & self.mask(), slot.wrapping_sub(distance) & self.mask()] {
                let other = self.owners[at];
                if other == member && at != slot {
                    cost += NODE_COSTS[distance];
                } else if other != NOBODY && distance < rack_window && self.rack(other) == rack {
                    cost += RACK_COSTS[distance];
                }
            }
        }
        cost
    }

    fn set(&mut self, slot: usize, member: u32) {
        let old = std::mem::replace(&mut self.owners[slot], member);
        if old != NOBODY {
            self.counts[old as usize] -= 1;
        }
        self.counts[member as usize] += 1;
    }

    /// A newcomer takes its share from those that have more than theirs.
    fn take_share(&mut self, member: u32) {
        let wanted = self.shares[member as usize] as usize;
        let start = (seed_of(self.center.members[member as usize]) & self.mask() as u64) as usize;
        for turn in 0..wanted {
            let ideal = start + turn * self.owners.len() / wanted;
            let near = self.owners.len().min(CANDIDATES);
            let first = ideal + self.owners.len() - near / 2;
            let best = self.best_to_take(member, first..first + near, ideal);
            match best.or_else(|| self.best_to_take(member, 0..self.owners.len(), ideal)) {
                Some(slot) => self.set(slot, member),
                None => return, // nobody has more than its share
            }
        }
    }

    fn best_to_take(&self, member: u32, slots: impl Iterator<Item = usize>, ideal: usize) -> Option<usize> {
        let mut best: Option<((i64, usize), usize)> = None;
        for slot in slots.map(|slot| slot & self.mask()) {
            let owner = self.owners[slot];
            if owner == member || self.has_columns() && self.rack(owner) != self.rack(member) {
                continue;
            }
            let surplus = i64::from(self.counts[owner as usize]) - i64::from(self.shares[owner as usize]);
            if surplus <= 0 {
                continue;
            }
            let cost = i64::from(self.cost(slot, member)) - i64::from(self.cost(slot, owner)) - surplus * SURPLUS_GAIN;
            let away = slot.abs_diff(ideal & self.mask());
            let key = (cost, away.min(self.owners.len() - away));
            if best.is_none_or(|best| (key, slot) < best) {
                best = Some((key, slot));
            }
        }
        best.map(|best| best.1)
    }

    /// Slots without an owner go to members with room: of the rack whose turn it is, or any.
    fn give_away(&mut self) {
        let free: Vec<usize> = (0..self.owners.len()).filter(|slot| self.owners[*slot] == NOBODY).collect();
        let staying = (0..self.counts.len() as u32).filter(|member| self.counts[*member as usize] > 0);
        let mut receivers: Vec<Vec<u32>> = vec![Vec::new(); usize::from(self.center.rack_count)];
        let turn = |slot: usize| rack_of_slot(slot, self.owners.len(), self.center.rack_count);
        let group = |rack: u16| if self.has_columns() { usize::from(rack) } else { 0 };
        staying.for_each(|member| receivers[group(self.rack(member))].push(member));
        let turns: Vec<usize> = free.iter().map(|slot| group(turn(*slot))).collect();
        for (slot, turn) in free.iter().zip(turns) {
            let receivers = &receivers[turn];
            let start = scramble(*slot as u64, 0) as usize % receivers.len().max(1);
            let mut best: Option<(std::cmp::Ordering, u32, u32, u32)> = None;
            let mut with_room = 0;
            for member in receivers[start..].iter().chain(&receivers[..start]).copied() {
                let count = self.counts[member as usize];
                let filled = count.cmp(&self.shares[member as usize]);
                let key = (filled, self.cost(*slot, member), count, member);
                if best.is_none_or(|best| key < best) {
                    best = Some(key);
                }
                with_room += usize::from(filled.is_le());
                if with_room == CANDIDATES {
                    break;
                }
            }
            if let Some((_, _, _, member)) = best {
                self.set(*slot, member);
            }
        }
        self.exchange(&free);
    }

    /// Exchanges the new owners of slots that move anyway, while that helps the spacing.
    fn exchange(&mut self, moved: &[usize]) {
        for (place, one) in moved.iter().enumerate() {
            for two in moved[place + 1..].iter().take(CANDIDATES) {
                let (owner, other) = (self.owners[*one], self.owners[*two]);
                let cost = |board: &Self, first: u32, second: u32| board.cost(*one, first) + board.cost(*two, second);
                let apart = owner != other && (!self.has_columns() || self.rack(owner) == self.rack(other));
                if apart && cost(self, other, owner) < cost(self, owner, other) {
                    (self.owners[*one], self.owners[*two]) = (other, owner);
                }
            }
        }
    }
}
