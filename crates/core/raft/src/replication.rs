//! The log's way from the leader to everyone, and back: appends, acknowledgements, commit, snapshots.
//!
//! A leader sends ahead of the acknowledgements within the bounds of [`crate::Options`]; when an append does not fit, it probes
//! one message at a time, skipping whole terms, until the logs meet. Lost messages show at the next heartbeat.

use holon_base::{Instant, NodeId};

use crate::entry::{Entry, Position, Snapshot};
use crate::message::{Body, Message, follows};
use crate::output::Output;
use crate::progress::{Flow, Progress};
use crate::raft::{Needs, Raft, State};

impl Raft {
    /// Messages of this term that are not about votes.
    pub(crate) fn replicate(&mut self, from: NodeId, body: Body, out: &mut Output) {
        if matches!(body, Body::Append { .. } | Body::Heartbeat { .. } | Body::Snapshot(_)) {
            if self.is_leader() {
                // Somebody claims this machine's own term: two leaders of one term do not exist.
                return;
            }
            self.follow(self.term, Some(from), out);
        }
        match body {
            Body::Append { previous, commit, entries } => self.append(from, previous, commit, entries),
            Body::Heartbeat { commit, round } => {
                // The leader saw an acknowledgement up to there from this node, so the log has it.
                self.commit_up_to(commit);
                if round > 0 {
                    self.send(from, Body::HeartbeatReply { round });
                }
            }
            Body::Snapshot(snapshot) => self.snapshot_came(from, snapshot),
            Body::Appended { matched } => self.appended(from, matched),
            Body::Rejected { previous, hint } => self.rejected(from, previous, hint),
            Body::HeartbeatReply { round } => self.heartbeat_answered(from, round),
            _ => {}
        }
    }

    fn append(&mut self, from: NodeId, previous: Position, commit: u64, entries: Vec<Entry>) {
        let matched = previous.index.saturating_add(entries.len() as u64);
        let differs =
            |at: Position| at.index <= self.commit && self.log.term_at(at.index).is_some_and(|term| term != at.term);
        if let Some(at) = std::iter::once(previous).chain(entries.iter().map(Entry::position)).find(|at| differs(*at)) {
            self.contradicted = Some(at.index);
            return;
        }
        if previous.index > self.commit && self.log.term_at(previous.index) != Some(previous.term) {
            let hint = self.log.last_at_most(previous);
            return self.send(from, Body::Rejected { previous: previous.index, hint });
        }
        if !self.merge(previous, entries) {
            return;
        }
        self.commit_up_to(commit.min(matched));
        self.send_when(Needs::Log, from, Message { term: self.term, body: Body::Appended { matched } });
    }

    /// Takes entries behind `previous`, which is held. What is committed is not looked at: it is the same. What conflicts is cut
    /// off (§3.5). False if the entries are not a log.
    fn merge(&mut self, mut previous: Position, entries: Vec<Entry>) -> bool {
        for entry in &entries {
            if !follows(previous, entry) || entry.term > self.term {
                return false;
            }
            previous = entry.position();
        }
        let had_members = self.log.members().0;
        for entry in entries {
            if entry.index <= self.commit {
                continue;
            }
            match self.log.term_at(entry.index) {
                Some(term) if term == entry.term => continue,
                Some(_) => self.log.truncate(entry.index),
                None => {}
            }
            if !follows(self.log.last(), &entry) {
                return false;
            }
            self.log.append(entry);
        }
        if self.log.members().0 != had_members {
            self.wait_for_leader();
        }
        true
    }

    /// Committed entries that came by another way (non-voters pull the log from any node). The caller vouches that everything up
    /// to `commit` is committed. What is held already, lies behind a gap or beyond `commit` is ignored.
    pub fn learn(&mut self, now: Instant, entries: Vec<Entry>, commit: u64, out: &mut Output) {
        self.now = self.now.max(now);
        let mut taken: Vec<Entry> = Vec::with_capacity(entries.len());
        for entry in entries {
            if entry.index > self.commit && entry.index <= commit {
                taken.push(entry);
            }
        }
        if let (Some(first), Some(last)) = (taken.first(), taken.last())
            && first.index == self.commit + 1
        {
            let last = last.position();
            if last.term > self.term {
                self.follow(last.term, None, out);
            }
            let before = self.log.term_at(self.commit).map(|term| Position { term, index: self.commit });
            // A leader holds all that is committed in its term: what contradicts it is not true.
            let contradicts = |entry: &Entry| self.log.term_at(entry.index) != Some(entry.term);
            let refused = self.is_leader() && taken.iter().any(contradicts);
            if let Some(before) = before
                && !refused
                && self.merge(before, taken)
            {
                self.commit_up_to(last.index);
            }
        }
        self.finish(out);
    }

    /// Takes a snapshot from whoever has it: the bulk of what [`Raft::learn`] would have brought entry by entry.
    pub fn learn_snapshot(&mut self, now: Instant, snapshot: Snapshot, out: &mut Output) {
        self.now = self.now.max(now);
        // Of another history, perhaps: in one that goes on, terms do not fall.
        let is_later = self.log.term_at(self.commit).is_none_or(|term| snapshot.term >= term);
        if !self.is_leader() && is_later && snapshot.index > self.commit && !snapshot.members.voters.is_empty() {
            if snapshot.term > self.term {
                self.follow(snapshot.term, None, out);
            }
            self.install(snapshot);
        }
        self.finish(out);
    }

    pub(crate) fn commit_up_to(&mut self, index: u64) {
        self.commit = self.commit.max(index.min(self.log.last().index));
    }

    fn snapshot_came(&mut self, from: NodeId, snapshot: Snapshot) {
        let matched = snapshot.index;
        if snapshot.term > self.term || snapshot.members.voters.is_empty() {
            return;
        }
        if matched > self.commit {
            self.install(snapshot);
            self.wait_for_leader();
        }
        // If it is older than what is committed here, the logs agree up to it all the same.
        self.send_when(Needs::Log, from, Message { term: self.term, body: Body::Appended { matched } });
    }

    /// The progress of a member that just spoke.
    fn heard(&mut self, from: NodeId) -> Option<&mut Progress> {
        let now = self.now;
        let State::Leader(leading) = &mut self.state else { return None };
        let progress = leading.followers.get_mut(&from)?;
        progress.heard = now;
        Some(progress)
    }

    fn appended(&mut self, from: NodeId, matched: u64) {
        let last = self.log.last().index;
        // More than this log holds cannot be from this leader.
        if let Some(progress) = self.heard(from)
            && matched <= last
        {
            progress.appended(matched);
            self.advance_transfer(Some(from));
        }
    }

    fn rejected(&mut self, from: NodeId, previous: u64, hint: Position) {
        let meets = self.log.last_at_most(hint);
        let Some(progress) = self.heard(from) else { return };
        let late = match progress.flow {
            Flow::Probe { .. } => previous != progress.next - 1,
            Flow::Replicate { .. } => previous <= progress.matched,
            Flow::Snapshot { .. } => true,
        };
        if !late {
            progress.probe((meets.index + 1).min(previous.max(1)));
        }
    }

    fn heartbeat_answered(&mut self, from: NodeId, round: u64) {
        let (now, retry) = (self.now, self.options.election_timeout);
        let (base, last) = (self.log.base().index, self.log.last().index);
        let Some(progress) = self.heard(from) else { return };
        progress.round = progress.round.max(round);
        match &mut progress.flow {
            Flow::Probe { waiting } => *waiting = false,
            Flow::Snapshot { sent, .. } if now.since(*sent) >= retry => progress.probe(progress.matched + 1),
            Flow::Replicate { .. } if progress.matched < last && progress.next > progress.matched + 1 => {
                // Nothing came since the heartbeat before, so something may be lost: ask at the end of what was sent. It is
                // refused if so.
                let previous = progress.next - 1;
                if progress.stalled_at.replace(progress.matched) != Some(progress.matched) {
                    return;
                }
                if previous >= base {
                    return self.send_entries(from, previous, Vec::new());
                }
                // Compacted away since it was sent: it needs the snapshot.
                progress.probe(progress.matched + 1);
            }
            _ => {}
        }
        progress.stalled_at = None;
    }

    /// Everything a leader does at the end of a call: commit, send, answer reads, step down when it was removed.
    pub(crate) fn lead_on(&mut self, out: &mut Output) {
        self.advance_commit();
        self.send_all();
        self.advance_reads(out);
        self.leave_if_removed(out);
    }

    /// The largest value that a majority of the voters reaches.
    pub(crate) fn majority_value(&self, value: impl Fn(NodeId) -> u64) -> u64 {
        let mut values: Vec<u64> = self.members().voters.iter().map(|&node| value(node)).collect();
        values.sort_unstable_by(|a, b| b.cmp(a));
        values.get(self.majority().saturating_sub(1)).copied().unwrap_or(0)
    }

    fn advance_commit(&mut self) {
        let State::Leader(leading) = &self.state else { return };
        let held = self.majority_value(|node| {
            if node == self.me {
                self.log.durable()
            } else {
                leading.followers.get(&node).map_or(0, |progress| progress.matched)
            }
        });
        // Only entries of the own term are committed by counting (§3.6.2, figure 3.7).
        let countable = held >= leading.first_own_index || self.plants().commit_older_terms;
        if held > self.commit && countable {
            self.commit_up_to(held);
        }
    }

    /// Sends every follower what it lacks and the bounds allow; a new commit index also where there is nothing else to say.
    fn send_all(&mut self) {
        let State::Leader(leading) = &self.state else { return };
        let nodes: Vec<NodeId> = leading.followers.keys().copied().collect();
        for node in nodes {
            while self.send_next(node) {}
            self.tell_commit(node);
        }
    }

    /// One message to `node`, if there is something to send and it may be sent.
    fn send_next(&mut self, node: NodeId) -> bool {
        let (entries_max, bytes_max) = (self.options.entries_per_message_max, self.options.bytes_per_message_max);
        let (messages_max, in_flight_max) = (self.options.in_flight_messages_max, self.options.in_flight_bytes_max);
        let last = self.log.last().index;
        let State::Leader(leading) = &mut self.state else { return false };
        let Some(progress) = leading.followers.get_mut(&node) else { return false };
        let probing = matches!(progress.flow, Flow::Probe { .. });
        if !progress.may_send(messages_max, in_flight_max) || (progress.next > last && progress.matched >= last) {
            return false;
        }
        if progress.next > last && !probing {
            return false;
        }
        if progress.next <= self.log.base().index {
            return self.send_snapshot(node);
        }
        let previous = progress.next - 1;
        let entries_max = entries_max.clamp(1, crate::limits::ENTRIES_PER_MESSAGE_MAX);
        let entries = self.log.slice(progress.next, u64::MAX, entries_max, bytes_max);
        progress.sent(previous + entries.len() as u64, entries.iter().map(Entry::size_bytes).sum());
        self.send_entries(node, previous, entries);
        true
    }

    fn send_entries(&mut self, node: NodeId, previous: u64, entries: Vec<Entry>) {
        let commit = self.commit;
        let Some(term) = self.log.term_at(previous) else { return };
        if let State::Leader(leading) = &mut self.state
            && let Some(progress) = leading.followers.get_mut(&node)
            && matches!(progress.flow, Flow::Replicate { .. })
        {
            progress.commit_told = progress.commit_told.max(commit.min(previous + entries.len() as u64));
        }
        self.send(node, Body::Append { previous: Position { term, index: previous }, commit, entries });
    }

    fn send_snapshot(&mut self, node: NodeId) -> bool {
        let now = self.now;
        let Some(snapshot) = self.log.snapshot.clone() else { return false };
        if let State::Leader(leading) = &mut self.state
            && let Some(progress) = leading.followers.get_mut(&node)
        {
            progress.flow = Flow::Snapshot { index: snapshot.index, sent: now };
            progress.next = snapshot.index + 1;
        }
        self.send(node, Body::Snapshot(snapshot));
        false
    }

    fn tell_commit(&mut self, node: NodeId) {
        let commit = self.commit;
        let State::Leader(leading) = &mut self.state else { return };
        let Some(progress) = leading.followers.get_mut(&node) else { return };
        let known = commit.min(progress.matched);
        if progress.commit_told < known {
            progress.commit_told = known;
            self.send(node, Body::Heartbeat { commit: known, round: 0 });
        }
    }

    /// Tells everyone that the leader lives; begins a round for the reads that wait.
    pub(crate) fn heartbeat(&mut self) {
        let (commit, round) = (self.commit, self.begin_round());
        let State::Leader(leading) = &mut self.state else { return };
        leading.heartbeat_due = self.now + self.options.heartbeat_interval;
        let beats: Vec<(NodeId, u64)> =
            leading.followers.iter().map(|(node, progress)| (*node, commit.min(progress.matched))).collect();
        for (node, commit) in beats {
            self.send(node, Body::Heartbeat { commit, round });
        }
    }
}
