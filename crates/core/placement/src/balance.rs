//! Which node owns which slot of a data centre, so that replicas are even for every replication factor.
//!
//! The measure is what is wanted itself: for the factors 1, 2, 3 and 5 how many slots' walks (racks respected) meet each
//! node, and the sum of the squares of its distance from the average. A [`Board`] keeps those loads and changes them as a
//! slot changes hands, which touches only the walks that reach the slot. A node that joins takes slots one or two at a time, each
//! time the best of a bounded number of candidates; slots that a leaving node owned go to the best of a bounded number of
//! receivers. So the work is linear in the number of slots, and in what moves.
//!
//! All choices come from hashes of ids and integers: the same inputs give the same ring on every machine. **The outcome is
//! part of the format** (every node computes it from the log): a change of this file needs a new version of the entries.
//!
//! What it is not: the walk that answers requests ([`crate::Ring::replicas`]). The walk here gives up after [`REACH`] slots.

use crate::limits::BALANCED_FACTOR_MAX;
use crate::ring::DataCenter;
use holon_base::NodeId;

/// The owner of a slot whose owner has left.
pub(crate) const NOBODY: u32 = u32::MAX;

/// How far a walk looks. Racks are met within a few slots unless one is far smaller than the others, and then its load is
/// given by its size and not by us.
const REACH: usize = 48;
/// Slots (or receivers) tried for each that moves.
const CANDIDATES: u64 = 96;
/// The factors whose loads are evened, and how much each counts: the square of how far off the share is, not the number.
const FACTORS: [usize; 4] = [1, 2, 3, 5];
const WEIGHTS: [i128; 4] = [900, 225, 100, 36];

/// What a walk finds: the first node of each rack, then other nodes, each in the order met.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Found {
    firsts: [u32; BALANCED_FACTOR_MAX],
    others: [u32; BALANCED_FACTOR_MAX],
    first_count: u8,
    other_count: u8,
    /// Slots looked at.
    reach: u8,
}

impl Found {
    /// The replicas for a factor.
    fn replicas(&self, factor: usize, racks: usize) -> impl Iterator<Item = u32> + Clone + '_ {
        let firsts = usize::from(self.first_count).min(factor);
        let others = usize::from(self.other_count).min(factor.saturating_sub(racks));
        self.firsts[..firsts].iter().chain(&self.others[..others]).copied()
    }
}

/// The owners of one data centre and the loads that follow from them.
pub(crate) struct Board<'a> {
    center: &'a DataCenter,
    owners: Vec<u32>,
    /// Slots of each member.
    counts: Vec<u32>,
    /// Of each factor, of each member: slots of which it is a replica.
    loads: [Vec<i64>; FACTORS.len()],
}

/// A number of a sequence that looks random and is the same everywhere (SplitMix64).
fn scramble(seed: u64, step: u64) -> u64 {
    let mut value = seed.wrapping_add(step.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

fn seed_of(node: NodeId) -> u64 {
    (node.0 as u64) ^ ((node.0 >> 64) as u64).rotate_left(32)
}

/// Owners for nodes that own nothing yet: the members in an order that alternates racks evenly, again and again.
pub(crate) fn fresh(center: &DataCenter, slots: u32) -> Vec<u32> {
    let order = alternating(center);
    let owners = (0..slots as usize).map(|slot| order[slot % order.len()]).collect();
    let mut board = Board::new(center, owners);
    board.polish(slots as usize, scramble(u64::from(slots), order.len() as u64));
    board.owners
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

impl<'a> Board<'a> {
    fn new(center: &'a DataCenter, owners: Vec<u32>) -> Board<'a> {
        let nodes = center.members.len();
        let mut counts = vec![0; nodes];
        owners.iter().for_each(|owner| counts[*owner as usize] += 1);
        let mut board = Board { center, owners, counts, loads: [const { Vec::new() }; FACTORS.len()] };
        board.loads.iter_mut().for_each(|loads| loads.resize(nodes, 0));
        for slot in 0..board.owners.len() {
            let found = board.scan(slot);
            for (place, factor) in FACTORS.into_iter().enumerate() {
                for member in found.replicas(factor, board.racks()) {
                    board.loads[place][member as usize] += 1;
                }
            }
        }
        board
    }

    /// The owners after members came or went: newcomers take their share, the slots of [`NOBODY`] are given away.
    pub(crate) fn adjusted(center: &'a DataCenter) -> Vec<u32> {
        let mut owners = center.owners.clone();
        let mut free = Vec::new();
        // As if the leavers were just not there: the walk goes on to the next. Two rounds, for the end of the ring.
        let mut next = NOBODY;
        for slot in (0..owners.len()).rev().chain((0..owners.len()).rev()) {
            if owners[slot] == NOBODY {
                owners[slot] = next;
            }
            next = owners[slot];
        }
        free.extend((0..owners.len()).filter(|slot| center.owners[*slot] == NOBODY));
        let mut board = Board::new(center, owners);
        let newcomers: Vec<u32> =
            (0..).zip(&board.counts).filter(|(_, c)| **c == 0).map(|(member, _)| member).collect();
        let share = board.owners.len() / center.members.len();
        for member in &newcomers {
            board.take_share(*member, share as u32);
        }
        let seed = scramble(center.members.len() as u64, free.len() as u64);
        free.sort_unstable_by_key(|slot| (scramble(seed, *slot as u64), *slot));
        for slot in &free {
            board.give_away(*slot);
        }
        let moved = free.len() + newcomers.len() * share;
        board.polish(moved / 10, seed);
        board.owners
    }

    fn racks(&self) -> usize {
        usize::from(self.center.rack_count)
    }

    fn mask(&self) -> usize {
        self.owners.len() - 1
    }

    fn scan(&self, slot: usize) -> Found {
        let racks = self.racks();
        let firsts_wanted = racks.min(BALANCED_FACTOR_MAX);
        let spare = self.center.members.len() - racks;
        let others_wanted = (BALANCED_FACTOR_MAX - firsts_wanted).min(spare);
        let mut found = Found { firsts: [NOBODY; 5], others: [NOBODY; 5], first_count: 0, other_count: 0, reach: 0 };
        let (mut first_count, mut other_count) = (0, 0);
        for step in 0..REACH.min(self.owners.len()) {
            if first_count == firsts_wanted && other_count == others_wanted {
                break;
            }
            found.reach = step as u8 + 1;
            let owner = self.owners[(slot + step) & self.mask()];
            let rack = self.center.racks[owner as usize];
            let known = &found.firsts[..first_count];
            let rack_known = known.iter().any(|first| self.center.racks[*first as usize] == rack);
            if !rack_known && first_count < firsts_wanted {
                found.firsts[first_count] = owner;
                first_count += 1;
            } else if rack_known
                && other_count < others_wanted
                && !known.contains(&owner)
                && !found.others[..other_count].contains(&owner)
            {
                found.others[other_count] = owner;
                other_count += 1;
            }
        }
        (found.first_count, found.other_count) = (first_count as u8, other_count as u8);
        found
    }

    /// A member becomes (or is no longer) a replica of one more slot. Gives by how much the sum of squares grows.
    fn bump(&mut self, place: usize, member: u32, up: bool) -> i128 {
        let nodes = self.center.members.len() as i128;
        let total = FACTORS[place].min(self.center.members.len()) as i128 * self.owners.len() as i128;
        let load = &mut self.loads[place][member as usize];
        let distance = i128::from(*load) * nodes - total;
        let sign = if up { 1 } else { -1 };
        *load += sign as i64;
        WEIGHTS[place] * nodes * (2 * sign * distance + nodes)
    }

    /// Gives a slot to another owner. Gives by how much the sum of squares grows.
    fn set(&mut self, slot: usize, owner: u32) -> i128 {
        let old = self.owners[slot];
        if old == owner {
            return 0;
        }
        let mut before = [None; REACH];
        let mut touched = 0;
        while touched < REACH.min(self.owners.len()) {
            let found = self.scan(slot.wrapping_sub(touched) & self.mask());
            if usize::from(found.reach) <= touched {
                break;
            }
            before[touched] = Some(found);
            touched += 1;
        }
        self.owners[slot] = owner;
        self.counts[old as usize] -= 1;
        self.counts[owner as usize] += 1;
        let mut grown = 0;
        for (back, before) in before.iter().enumerate().take(touched) {
            let Some(before) = before else { continue };
            let after = self.scan(slot.wrapping_sub(back) & self.mask());
            if after == *before {
                continue;
            }
            for (place, factor) in FACTORS.into_iter().enumerate() {
                let (was, is) = (before.replicas(factor, self.racks()), after.replicas(factor, self.racks()));
                for member in was.clone().filter(|member| !is.clone().any(|other| other == *member)) {
                    grown += self.bump(place, member, false);
                }
                for member in is.filter(|member| !was.clone().any(|other| other == *member)) {
                    grown += self.bump(place, member, true);
                }
            }
        }
        grown
    }

    /// What giving one slot, or two neighbouring ones, to `member` would do; nothing is changed.
    fn try_take(&mut self, slot: usize, length: usize, member: u32) -> i128 {
        let next = (slot + 1) & self.mask();
        let old = (self.owners[slot], self.owners[next]);
        let grown = self.set(slot, member) + if length == 2 { self.set(next, member) } else { 0 };
        if length == 2 {
            self.set(next, old.1);
        }
        self.set(slot, old.0);
        grown
    }

    fn may_give(&self, slot: usize, share: u32, member: u32) -> bool {
        let owner = self.owners[slot];
        owner != member && self.counts[owner as usize] > share
    }

    /// `member` takes slots until it has `share` of them, from those that have more.
    fn take_share(&mut self, member: u32, share: u32) {
        let seed = seed_of(self.center.members[member as usize]);
        let slots = self.owners.len() as u64;
        let mut own: Vec<usize> = Vec::new();
        while self.counts[member as usize] < share {
            let step = u64::from(self.counts[member as usize]) * CANDIDATES * 4;
            let mut best: Option<(i128, usize, usize)> = None;
            let mut tried = 0;
            let beside = own.iter().flat_map(|slot| [slot + 1, slot + self.mask()]).map(|slot| slot & self.mask());
            let anywhere = (0..CANDIDATES * 4).map(|turn| (scramble(seed, step + turn) % slots) as usize);
            let candidates: Vec<usize> = beside.chain(anywhere).collect();
            for slot in candidates {
                if tried >= CANDIDATES + 2 * own.len() as u64 {
                    break;
                }
                if !self.may_give(slot, share, member) {
                    continue;
                }
                tried += 1;
                let next = (slot + 1) & self.mask();
                let two = self.counts[member as usize] + 2 <= share
                    && self.owners[next] != self.owners[slot]
                    && self.may_give(next, share, member);
                for length in 1..=1 + usize::from(two) {
                    let grown = self.try_take(slot, length, member) * 2 / length as i128;
                    if best.is_none_or(|best| (grown, slot) < (best.0, best.1)) {
                        best = Some((grown, slot, length));
                    }
                }
            }
            // Chance found no slot of a node with too many: look at all.
            let all = || (0..self.owners.len()).find(|slot| self.may_give(*slot, share, member));
            let Some((_, slot, length)) = best.or_else(|| all().map(|slot| (0, slot, 1))) else { return };
            for offset in 0..length {
                let at = (slot + offset) & self.mask();
                self.set(at, member);
                own.push(at);
            }
        }
    }

    /// A slot whose owner has left goes to the best of those that have room.
    fn give_away(&mut self, slot: usize) {
        let nodes = self.center.members.len();
        let most = self.owners.len().div_ceil(nodes) as u32;
        let seed = scramble(slot as u64, nodes as u64);
        let holder = self.owners[slot];
        let mut best = if self.counts[holder as usize] <= most { Some((0, holder)) } else { None };
        let mut tried = 0;
        for turn in 0..CANDIDATES * 4 {
            let member = (scramble(seed, turn) % nodes as u64) as u32;
            if tried == CANDIDATES {
                break;
            }
            if member == holder || self.counts[member as usize] >= most {
                continue;
            }
            tried += 1;
            let grown = self.try_take(slot, 1, member);
            if best.is_none_or(|best| (grown, member) < best) {
                best = Some((grown, member));
            }
        }
        let room = || (0..nodes as u32).find(|member| self.counts[*member as usize] < most);
        if let Some(member) = best.map(|best| best.1).or_else(room) {
            self.set(slot, member);
        }
    }

    /// Exchanges slots of nodes while that evens the loads, at most `budget` of them.
    fn polish(&mut self, budget: usize, seed: u64) {
        let slots = self.owners.len() as u64;
        let mut moved = 0;
        for turn in 0..(slots * 4).min(CANDIDATES * 64) {
            if moved + 2 > budget {
                break;
            }
            let one = (scramble(seed, 2 * turn) % slots) as usize;
            let two = (scramble(seed, 2 * turn + 1) % slots) as usize;
            let (owner, other) = (self.owners[one], self.owners[two]);
            if owner == other {
                continue;
            }
            if self.set(one, other) + self.set(two, owner) < 0 {
                moved += 2;
            } else {
                self.set(two, other);
                self.set(one, owner);
            }
        }
    }
}
