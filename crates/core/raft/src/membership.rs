//! Changes of the members, one at a time (§4.1).
//!
//! A change is in force in a log from the moment it is appended there. Majorities before and after it overlap because it adds
//! or removes one voter; that holds only if the change before it is committed, and if the leader has committed an entry of its own
//! term (else two leaders could each start from a different uncommitted past: the correction of 2015 to the thesis).

use holon_base::Instant;

use crate::entry::{Members, Payload, Position};
use crate::limits::MEMBERS_MAX;
use crate::message::Body;
use crate::output::{Change, ChangeError, Output};
use crate::raft::{Raft, State};

impl Raft {
    /// Appends a change of one member. A leader that removes itself leads on until that is committed, then hands over.
    ///
    /// # Errors
    /// This machine does not lead, the change before is not committed, or the change makes no sense.
    pub fn change_members(&mut self, now: Instant, change: Change, out: &mut Output) -> Result<Position, ChangeError> {
        self.now = self.now.max(now);
        let first_own_index = self.ready_leader()?.first_own_index;
        let (index, members) = self.log.members();
        if self.commit < first_own_index {
            return Err(ChangeError::LeaderTooYoung);
        }
        if index > self.commit {
            return Err(ChangeError::InProgress { index });
        }
        let members = changed(members, change)?;
        self.append_own(Payload::Members(members));
        self.follow_members();
        let position = self.log.last();
        self.finish(out);
        Ok(position)
    }

    /// Once its removal is committed, a leader steps down; the furthest voter need not wait for the silence.
    pub(crate) fn leave_if_removed(&mut self, out: &mut Output) {
        if self.is_voter() || self.log.members().0 > self.commit {
            return;
        }
        let State::Leader(_) = &self.state else { return };
        if let Some(heir) = self.furthest_voter() {
            self.send(heir, Body::TimeoutNow);
        }
        self.leader = None;
        self.follow(self.term, None, out);
    }
}

fn changed(members: &Members, change: Change) -> Result<Members, ChangeError> {
    let mut members = members.clone();
    let differs = match change {
        Change::AddVoter(node) => {
            members.learners.remove(&node);
            members.voters.insert(node)
        }
        Change::AddLearner(node) if members.voters.contains(&node) => return Err(ChangeError::Votes { node }),
        Change::AddLearner(node) => members.learners.insert(node),
        Change::Remove(node) if members.voters.len() == 1 && members.voters.contains(&node) => {
            return Err(ChangeError::LastVoter { node });
        }
        Change::Remove(node) => members.voters.remove(&node) | members.learners.remove(&node),
    };
    match differs {
        true if members.all().count() > MEMBERS_MAX => Err(ChangeError::TooMany { limit: MEMBERS_MAX }),
        true => Ok(members),
        false => Err(ChangeError::NoChange),
    }
}
