//! Elections: who campaigns, who votes, who steps down.
//!
//! ```text
//!              silence                  a majority would          a majority did
//!   Follower ───────────► PreCandidate ──────────────► Candidate ──────────────► Leader
//!      ▲                       │                           │                        │
//!      └───────────────────────┴───────────────────────────┴────────────────────────┘
//!          a leader of this term, a higher term, a majority said no, a majority is silent (leader)
//! ```
//! A node that is no voter does not campaign (one whose removal is not committed still does), but votes when asked: the
//! candidate may know of a membership that it does not (§4.2.2).

use holon_base::{Instant, NodeId};
use std::collections::BTreeMap;

use crate::entry::{Payload, Position};
use crate::message::{Body, Message};
use crate::output::{Output, TransferError};
use crate::progress::Progress;
use crate::raft::{Leading, Needs, Raft, State};
use crate::reads::Reads;

impl Raft {
    /// Starts the wait for a leader anew, by a random time so that not all campaign at once (§3.4). The only voter waits for
    /// nobody.
    pub(crate) fn wait_for_leader(&mut self) {
        let timeout = self.options.election_timeout;
        let jitter_ns = self.random.below(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        self.election_due =
            if self.only_voter() { self.now } else { self.now + timeout + std::time::Duration::from_nanos(jitter_ns) };
    }

    fn only_voter(&self) -> bool {
        self.is_voter() && self.members().voters.len() == 1
    }

    /// A leader spoke within the election timeout, or this is one: then nobody needs another (§4.2.3, §6.2).
    fn leader_lives(&self) -> bool {
        self.is_leader() || self.leader_heard.is_some_and(|heard| self.now.since(heard) < self.options.election_timeout)
    }

    pub(crate) fn campaign(&mut self, pre: bool, transfer: bool) {
        let pre = pre && !self.only_voter();
        self.leader = None;
        self.wait_for_leader();
        if !pre {
            self.set_term(self.term + 1, Some(self.me));
        }
        self.state = State::Candidate { pre, votes: BTreeMap::from([(self.me, true)]) };
        let term = if pre { self.term + 1 } else { self.term };
        let others: Vec<NodeId> = self.members().voters.iter().copied().filter(|&node| node != self.me).collect();
        for node in others {
            let body = Body::Vote { pre, transfer, last: self.log.last() };
            self.send_when(Needs::Term, node, Message { term, body });
        }
        self.count_votes();
    }

    fn count_votes(&mut self) {
        let State::Candidate { pre, votes } = &self.state else { return };
        let voters = &self.members().voters;
        let counted =
            |wanted: bool| votes.iter().filter(|(node, yes)| **yes == wanted && voters.contains(node)).count();
        let (pre, won) = (*pre, counted(true) >= self.majority());
        let lost = counted(false) >= self.members().majority();
        if won && pre {
            self.campaign(false, false);
        } else if won {
            self.lead();
        } else if lost {
            self.state = State::Follower;
        }
    }

    fn lead(&mut self) {
        let (now, next) = (self.now, self.log.last().index + 1);
        self.leader = Some(self.me);
        let leading = Leading {
            followers: BTreeMap::new(),
            heartbeat_due: now + self.options.heartbeat_interval,
            quorum_check_due: now + self.options.election_timeout,
            first_own_index: next,
            transfer: None,
            reads: Reads::default(),
        };
        self.state = State::Leader(Box::new(leading));
        self.follow_members();
        // Entries of earlier terms are committed by committing one of the own (§5.4.2).
        self.append_own(Payload::Empty);
    }

    /// Keeps a progress for each other member, and for nobody else.
    pub(crate) fn follow_members(&mut self) {
        let (me, now, next) = (self.me, self.now, self.log.last().index + 1);
        let State::Leader(leading) = &mut self.state else { return };
        let members = self.log.members().1;
        leading.followers.retain(|node, _| members.contains(*node));
        for node in members.all().filter(|&node| node != me) {
            leading.followers.entry(node).or_insert_with(|| Progress::new(next, now));
        }
        if leading.transfer.is_some_and(|(to, _)| !members.voters.contains(&to)) {
            leading.transfer = None;
        }
    }

    /// Follows `leader` (or waits for one) in `term`.
    pub(crate) fn follow(&mut self, term: u64, leader: Option<NodeId>, out: &mut Output) {
        self.fail_reads(out);
        let was_follower = matches!(self.state, State::Follower);
        self.state = State::Follower;
        if term > self.term {
            self.set_term(term, None);
            self.leader = None;
        }
        self.leader = leader.or(self.leader.filter(|_| was_follower));
        if leader.is_some() {
            self.leader_heard = Some(self.now);
        }
        if leader.is_some() || !was_follower {
            self.wait_for_leader();
        }
    }

    /// A leader's clockwork: the check of the quorum, the end of a transfer that failed, heartbeats.
    pub(crate) fn tick_leader(&mut self, out: &mut Output) {
        let now = self.now;
        let State::Leader(leading) = &mut self.state else { return };
        leading.transfer = leading.transfer.filter(|(_, until)| now < *until);
        let (check, beat) = (now >= leading.quorum_check_due, now >= leading.heartbeat_due);
        if check {
            leading.quorum_check_due = now + self.options.election_timeout;
            if !self.heard_majority() {
                self.leader = None;
                self.follow(self.term, None, out);
                return;
            }
        }
        if beat {
            self.heartbeat();
        }
    }

    fn heard_majority(&self) -> bool {
        let State::Leader(leading) = &self.state else { return false };
        let heard = |node: &&NodeId| {
            **node == self.me
                || leading
                    .followers
                    .get(*node)
                    .is_some_and(|progress| self.now.since(progress.heard) <= self.options.election_timeout)
        };
        self.members().voters.iter().filter(heard).count() >= self.majority()
    }

    /// First the terms (§3.3), then the message itself.
    pub(crate) fn dispatch(&mut self, from: NodeId, message: Message, out: &mut Output) {
        let Message { term, body } = message;
        if let Body::Vote { pre, transfer, last } = body {
            return self.asked_for_vote(from, term, pre, transfer, last, out);
        }
        if let Body::VoteReply { pre: true, granted: true } = body {
            // It carries the term that was asked about, which has not begun.
            return self.vote_came(from, true, term == self.term + 1);
        }
        if term < self.term {
            // A leader that does not know of this term would never be followed: it must step down (§9.6, last paragraph).
            if matches!(body, Body::Append { .. } | Body::Heartbeat { .. } | Body::Snapshot(_)) {
                self.send(from, Body::HeartbeatReply { round: 0 });
            }
            return;
        }
        if term > self.term {
            self.follow(term, None, out);
        }
        match body {
            Body::VoteReply { pre, granted } => {
                let State::Candidate { votes, pre: asked } = &mut self.state else { return };
                if *asked == pre {
                    votes.insert(from, granted);
                    self.count_votes();
                }
            }
            Body::TimeoutNow if self.is_voter() && !self.is_leader() => self.campaign(false, true),
            _ => self.replicate(from, body, out),
        }
    }

    fn vote_came(&mut self, from: NodeId, from_pre: bool, this_term: bool) {
        if let State::Candidate { pre, votes } = &mut self.state
            && *pre == from_pre
            && this_term
        {
            votes.insert(from, true);
            self.count_votes();
        }
    }

    fn asked_for_vote(&mut self, from: NodeId, term: u64, pre: bool, transfer: bool, last: Position, out: &mut Output) {
        if term > self.term && self.leader_lives() && !transfer {
            return;
        }
        if term > self.term && !pre {
            self.follow(term, None, out);
        }
        // `Position` orders by term, then index: what "at least as up to date" means (§3.6.1).
        let up_to_date = last >= self.log.last();
        if pre {
            let granted = term > self.term && up_to_date;
            let term = if granted { term } else { self.term };
            self.send_when(Needs::Term, from, Message { term, body: Body::VoteReply { pre, granted } });
            return;
        }
        let granted = term == self.term && up_to_date && self.vote.is_none_or(|vote| vote == from);
        if granted {
            if self.vote.is_none() {
                self.set_term(term, Some(from));
            }
            self.wait_for_leader();
        }
        let needs = if self.plants().vote_forgotten { Needs::Nothing } else { Needs::Term };
        self.send_when(needs, from, Message { term: self.term, body: Body::VoteReply { pre, granted } });
    }

    /// Hands leadership to `to`, or to the voter that is furthest. No proposals are taken meanwhile; after an election timeout
    /// without success it is given up.
    ///
    /// # Errors
    /// This machine does not lead, or there is nobody to lead instead.
    pub fn transfer_leadership(
        &mut self,
        now: Instant,
        to: Option<NodeId>,
        out: &mut Output,
    ) -> Result<(), TransferError> {
        self.now = self.now.max(now);
        let refused = self.not_leader();
        let State::Leader(leading) = &self.state else { return Err(refused.into()) };
        if let Some((to, _)) = leading.transfer {
            return Err(TransferError::InProgress { to });
        }
        let node = match to {
            Some(node) if node == self.me => return Ok(()),
            Some(node) if self.members().voters.contains(&node) => node,
            Some(node) => return Err(TransferError::NotVoter { node }),
            None => self.furthest_voter().ok_or(TransferError::NobodyElse)?,
        };
        let until = self.now + self.options.election_timeout;
        if let State::Leader(leading) = &mut self.state {
            leading.transfer = Some((node, until));
        }
        self.advance_transfer(Some(node));
        self.finish(out);
        Ok(())
    }

    pub(crate) fn furthest_voter(&self) -> Option<NodeId> {
        let State::Leader(leading) = &self.state else { return None };
        let lives = |progress: &Progress| self.now.since(progress.heard) < self.options.election_timeout;
        let voters = leading.followers.iter().filter(|(node, _)| self.members().voters.contains(node));
        voters
            .filter(|(_, progress)| lives(progress))
            .max_by_key(|(_, progress)| progress.matched)
            .map(|(node, _)| *node)
    }

    /// `heard` has everything: it may campaign.
    pub(crate) fn advance_transfer(&mut self, heard: Option<NodeId>) {
        let State::Leader(leading) = &self.state else { return };
        if let Some((to, _)) = leading.transfer
            && heard == Some(to)
            && leading.followers.get(&to).is_some_and(|progress| progress.matched == self.log.last().index)
        {
            self.send(to, Body::TimeoutNow);
        }
    }
}
