//! Linearizable reads without a log entry (§6.4): the commit index, confirmed by a round of heartbeats.
//!
//! One round is under way at a time; what arrives meanwhile shares the next. A round is confirmed when a majority of the
//! voters has answered it or a later one *in this term*: then no other leader existed when it began, and the commit index taken
//! at its beginning covers every write acknowledged before.

use holon_base::Instant;
use std::collections::VecDeque;

use crate::output::{NotLeader, Output, Read};
use crate::raft::{Raft, State};

#[derive(Default)]
pub(crate) struct Reads {
    /// Not part of a round yet.
    waiting: Vec<u64>,
    /// Token, index, round.
    asked: VecDeque<(u64, u64, u64)>,
    /// The last round begun.
    pub(crate) round: u64,
}

impl Raft {
    /// Asks for an index that a linearizable read must have applied. The answer comes in [`Output::reads`] under `token`.
    ///
    /// # Errors
    /// This machine does not lead, or [`crate::limits::READS_WAITING_MAX`] reads wait already.
    pub fn read_index(&mut self, now: Instant, token: u64, out: &mut Output) -> Result<(), NotLeader> {
        self.now = self.now.max(now);
        let refused = self.not_leader();
        let State::Leader(leading) = &mut self.state else { return Err(refused) };
        if leading.reads.waiting.len() + leading.reads.asked.len() >= crate::limits::READS_WAITING_MAX {
            return Err(refused);
        }
        leading.reads.waiting.push(token);
        if self.plants().read_without_round {
            self.answer_without_round(out);
        }
        self.finish(out);
        Ok(())
    }

    /// Answers what a majority has confirmed, and begins the next round if one is wanted and none under way.
    pub(crate) fn advance_reads(&mut self, out: &mut Output) {
        let confirmed = self.confirmed_round();
        let State::Leader(leading) = &mut self.state else { return };
        while let Some(&(token, index, round)) = leading.reads.asked.front()
            && round <= confirmed
        {
            leading.reads.asked.pop_front();
            out.reads.push(Read { token, index: Some(index) });
        }
        let wanted = !leading.reads.waiting.is_empty() && leading.reads.asked.is_empty();
        if wanted && self.commit >= leading.first_own_index {
            self.heartbeat();
            if self.confirmed_round() == u64::MAX {
                self.advance_reads(out);
            }
        }
    }

    /// Begins a round with everything that waits; called whenever heartbeats go out. Returns its number.
    pub(crate) fn begin_round(&mut self) -> u64 {
        let commit = self.commit;
        let State::Leader(leading) = &mut self.state else { return 0 };
        leading.reads.round += 1;
        let round = leading.reads.round;
        // Until an entry of the own term is committed, the commit index may be behind what an earlier leader acknowledged.
        if commit >= leading.first_own_index {
            leading.reads.asked.extend(leading.reads.waiting.drain(..).map(|token| (token, commit, round)));
        }
        round
    }

    /// The last round that a majority has answered.
    fn confirmed_round(&self) -> u64 {
        let State::Leader(leading) = &self.state else { return 0 };
        self.majority_value(|node| {
            if node == self.me { u64::MAX } else { leading.followers.get(&node).map_or(0, |progress| progress.round) }
        })
    }

    /// Leadership is over: whoever waits has to ask elsewhere.
    pub(crate) fn fail_reads(&mut self, out: &mut Output) {
        let State::Leader(leading) = &mut self.state else { return };
        let asked = leading.reads.asked.drain(..).map(|(token, _, _)| token);
        out.reads.extend(asked.chain(leading.reads.waiting.drain(..)).map(|token| Read { token, index: None }));
    }

    fn answer_without_round(&mut self, out: &mut Output) {
        let commit = self.commit;
        let State::Leader(leading) = &mut self.state else { return };
        if commit >= leading.first_own_index {
            out.reads.extend(leading.reads.waiting.drain(..).map(|token| Read { token, index: Some(commit) }));
        }
    }
}
