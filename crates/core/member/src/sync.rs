//! Comparing whole lists with one peer, in pieces: range-based set reconciliation (Meyer 2023) over the space of ids.
//!
//! ```text
//!   asker ── question: ranges, each with my digest ──────────► answerer (keeps nothing)
//!   asker ◄── for each: equal | cut into pieces with digests | its records ──
//!   asker ── records that the answerer lacked ───────────────►
//!   again with the pieces that differ, until none does
//! ```
//!
//! Lists that agree cost one small question and answer, however long they are; each difference costs the way down to
//! it. The asker paces itself: one question under way, each answer bounded. A node that knows nothing pulls all there is.

use crate::limits::{
    SYNC_ANSWER_MESSAGES_MAX, SYNC_LEAF_MEMBERS, SYNC_QUESTIONS_MAX, SYNC_RANGES_MAX, SYNC_ROUNDS_MAX,
};
use crate::member::{Member, Output, State};
use crate::options::PlantedBug;
use crate::wire::{Body, Claim, HEADER_BYTES_MAX, Item, QUESTION_BYTES_MAX, Range, SYNC_BODY_BYTES, put_header};
use holon_base::{ByteWriter, Instant, NodeId};

/// A question that gets no answer is asked so many times again.
const RETRIES_MAX: u32 = 3;
/// Parts of an answer, as a set of bits.
const PARTS_MAX: u8 = 64;

/// The comparison under way.
pub struct Sync {
    pub peer: NodeId,
    number: u64,
    pub deadline: Instant,
    /// Ranges of the question under way without an answer yet.
    asked: Vec<Range>,
    /// Ranges that differ and are not asked yet.
    stack: Vec<Range>,
    parts_seen: u64,
    rounds: u32,
    retries: u32,
}

impl Member {
    pub(crate) fn tick_sync(&mut self, now: Instant, out: &mut Output) {
        if self.sync.as_ref().is_some_and(|sync| sync.deadline <= now) {
            self.ask_again(now, out);
        }
        if self.sync.is_none() && self.sync_at <= now {
            let interval = if self.synced { self.options.full_sync_interval } else { self.options.probe_interval };
            self.sync_at = now + interval;
            if let Some(peer) = self.choose_peers(1, None).first() {
                self.start_sync(now, *peer, out);
            }
        }
        let due = self.dead_at <= now && !self.dead.is_empty() && self.sync.is_none();
        if due && self.options.planted != Some(PlantedBug::DeadNeverProbed) {
            self.plan_dead_sync(now);
            if let Some(peer) = self.random_dead() {
                self.start_sync(now, peer, out);
            }
        } else if self.dead_at <= now {
            self.plan_dead_sync(now);
        }
    }

    fn random_dead(&mut self) -> Option<NodeId> {
        let at = self.random.below(self.dead.len() as u64);
        self.dead.iter().nth(usize::try_from(at).ok()?).copied()
    }

    fn start_sync(&mut self, now: Instant, peer: NodeId, out: &mut Output) {
        // One that seems dead is asked once: it will be asked again another time.
        let dead = self.list.get(peer).is_some_and(|record| record.state == State::Dead);
        let retries = if dead { RETRIES_MAX } else { 0 };
        let (number, stack) = (0, vec![Range::ALL]);
        self.sync =
            Some(Sync { peer, number, deadline: now, asked: Vec::new(), stack, parts_seen: 0, rounds: 0, retries });
        self.ask(now, out);
    }

    /// The next question, or the end.
    fn ask(&mut self, now: Instant, out: &mut Output) {
        let number = self.next_number();
        let Some(sync) = &mut self.sync else { return };
        let room = self.options.message_bytes().saturating_sub(HEADER_BYTES_MAX + SYNC_BODY_BYTES + 64);
        let most = (room / QUESTION_BYTES_MAX).clamp(1, SYNC_QUESTIONS_MAX);
        sync.rounds += 1;
        let questions = sync.stack.split_off(sync.stack.len().saturating_sub(most));
        if questions.is_empty() || sync.rounds > SYNC_ROUNDS_MAX {
            self.synced |= questions.is_empty();
            self.sync = None;
            return;
        }
        sync.number = number;
        sync.parts_seen = 0;
        sync.deadline = now + self.options.probe_timeout * 2;
        sync.asked.clone_from(&questions);
        let peer = sync.peer;
        let ranges = questions.into_iter().map(|range| (range, self.list.sum(range))).collect();
        self.send(peer, Body::SyncQuestion { number, ranges }, out);
    }

    fn ask_again(&mut self, now: Instant, out: &mut Output) {
        let Some(sync) = &mut self.sync else { return };
        sync.retries += 1;
        if sync.retries > RETRIES_MAX {
            self.sync = None;
            return;
        }
        let asked = std::mem::take(&mut sync.asked);
        sync.stack.extend(asked);
        self.ask(now, out);
    }

    /// The answer to a peer's question. Nothing is kept: a lost answer is asked for again.
    pub(crate) fn answer_sync(&mut self, to: NodeId, number: u64, ranges: Vec<(Range, u64)>, out: &mut Output) {
        let room = self.options.message_bytes() - HEADER_BYTES_MAX - SYNC_BODY_BYTES - 64;
        let mut parts: Vec<Vec<Item>> = vec![Vec::new()];
        let mut used = 0;
        'all: for (range, sum) in ranges.into_iter().take(SYNC_QUESTIONS_MAX) {
            for item in self.compare(range, sum, room) {
                let mut writer = ByteWriter::new();
                item.put(&mut writer);
                if used + writer.len() > room {
                    if parts.len() == SYNC_ANSWER_MESSAGES_MAX {
                        break 'all;
                    }
                    parts.push(Vec::new());
                    used = 0;
                }
                used += writer.len();
                if let Some(part) = parts.last_mut() {
                    part.push(item);
                }
            }
        }
        let count = parts.len() as u8;
        for (part, items) in parts.into_iter().enumerate() {
            self.send(to, Body::SyncAnswer { number, part: part as u8, parts: count, items }, out);
        }
    }

    /// Equal, cut, or records, in as many items as each fit `room` bytes.
    fn compare(&self, range: Range, sum: u64, room: usize) -> Vec<Item> {
        if self.list.sum(range) == sum {
            return vec![Item::Equal(range)];
        }
        if let Some(pieces) = self.list.cut(range, SYNC_LEAF_MEMBERS) {
            return vec![Item::Cut(pieces.into_iter().map(|piece| (piece, self.list.sum(piece))).collect())];
        }
        let (mut items, mut claims, mut used, mut start) = (Vec::new(), Vec::new(), 0, range.start);
        for (node, record) in self.list.range(range) {
            let Some(claim) = record.claim(node) else { continue };
            let bytes = claim.bytes();
            if used + bytes + QUESTION_BYTES_MAX > room && !claims.is_empty() {
                let end = Some(node.0);
                items.push(Item::Records(Range { start, end }, std::mem::take(&mut claims)));
                (used, start) = (0, node.0);
            }
            used += bytes;
            claims.push(claim);
        }
        items.push(Item::Records(Range { start, end: range.end }, claims));
        items
    }

    /// Part of the answer to the question under way; any other is merged no further than its peer's own header.
    pub(crate) fn sync_answered(
        &mut self,
        now: Instant,
        from: NodeId,
        (number, part, parts): (u64, u8, u8),
        items: Vec<Item>,
        out: &mut Output,
    ) {
        let current = |sync: &&mut Sync| sync.peer == from && sync.number == number;
        let Some(sync) = self.sync.as_mut().filter(current) else { return };
        if part >= parts || parts > PARTS_MAX || sync.parts_seen & (1 << part) != 0 {
            return;
        }
        sync.parts_seen |= 1 << part;
        let complete = sync.parts_seen.count_ones() == u32::from(parts);
        let mut lacking = Vec::new();
        for item in items {
            self.take_item(now, from, item, &mut lacking, out);
        }
        self.send_records(from, lacking, out);
        if complete {
            if let Some(sync) = &mut self.sync {
                sync.retries = 0;
                // What the answer had no room for.
                let asked = std::mem::take(&mut sync.asked);
                sync.stack.extend(asked);
            }
            self.ask(now, out);
        }
    }

    fn take_item(&mut self, now: Instant, from: NodeId, item: Item, lacking: &mut Vec<Claim>, out: &mut Output) {
        match item {
            Item::Equal(range) => self.answered(range),
            Item::Cut(pieces) => {
                let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return };
                let whole = Range { start: first.0.start, end: last.0.end };
                let differ: Vec<Range> = pieces
                    .iter()
                    .filter(|(piece, sum)| self.list.sum(*piece) != *sum)
                    .map(|(piece, _)| *piece)
                    .collect();
                self.answered(whole);
                if let Some(sync) = &mut self.sync {
                    sync.stack.extend(differ);
                    sync.stack.truncate(SYNC_RANGES_MAX);
                }
            }
            Item::Records(range, claims) => {
                // Known here before the merge, and newer than what the peer holds or unknown to it.
                let theirs: Vec<(NodeId, (u64, bool, u64))> = claims.iter().map(age).collect();
                for claim in claims {
                    self.merge(now, from, claim, out);
                }
                for (node, record) in self.list.range(range) {
                    let Some(claim) = record.claim(node) else { continue };
                    let mine = age(&claim).1;
                    if theirs.iter().find(|(other, _)| *other == node).is_none_or(|(_, theirs)| *theirs < mine) {
                        lacking.push(claim);
                    }
                }
                self.answered(range);
            }
        }
    }

    /// An item answers a range that was asked, or its beginning.
    fn answered(&mut self, range: Range) {
        let Some(sync) = &mut self.sync else { return };
        let Some(at) = sync.asked.iter().position(|asked| asked.start == range.start) else { return };
        match range.end {
            Some(end) if sync.asked[at].end != Some(end) => sync.asked[at].start = end,
            _ => {
                sync.asked.swap_remove(at);
            }
        }
    }

    fn send_records(&mut self, to: NodeId, claims: Vec<Claim>, out: &mut Output) {
        let most = self.options.message_bytes();
        let (Some(me), Some(address)) = (self.list.get(self.me), self.address(to)) else { return };
        let (incarnation, mine) = (me.incarnation, me.address);
        let mut messages = Vec::new();
        for claim in claims {
            let full = messages.last().is_none_or(|writer: &ByteWriter| writer.len() + claim.bytes() > most);
            if full {
                if messages.len() == SYNC_ANSWER_MESSAGES_MAX {
                    break;
                }
                let mut writer = ByteWriter::new();
                put_header(&mut writer, Body::SyncRecords.kind(), incarnation, mine);
                messages.push(writer);
            }
            if let Some(writer) = messages.last_mut() {
                claim.put(writer);
            }
        }
        for writer in messages {
            self.send_bytes(to, address, writer.freeze(), out);
        }
    }
}

/// Orders what may be said of one member: incarnation, then death over life, then version.
fn age(claim: &Claim) -> (NodeId, (u64, bool, u64)) {
    match claim {
        Claim::Alive { node, incarnation, version, .. } => (*node, (*incarnation, false, *version)),
        Claim::Suspect { node, incarnation, .. } => (*node, (*incarnation, false, 0)),
        Claim::Dead { node, incarnation } | Claim::Left { node, incarnation } => (*node, (*incarnation, true, 0)),
    }
}
