//! From one generation to the next: `prepareRebalance` to `propagateAssignment` of Kafka's `GroupMetadataManager`.

use bytes::Bytes;
use std::collections::BTreeMap;

use crate::groups::answer::{Answer, Synced, WriteNumber};
use crate::groups::error::GroupError;
use crate::groups::group::{Group, JoinEnd, State};
use crate::groups::plant::plants;
use crate::groups::record::Record;
use crate::groups::request::Name;
use crate::groups::step::{Step, joined};
use crate::groups::writes::Effect;

impl Step<'_> {
    /// Something changed that asks for a new generation, or that may be the last thing the coming one waited for.
    /// Returns the write, if the group is empty now.
    pub(crate) fn rebalance_or_complete(&mut self, group: &mut Group) -> Option<WriteNumber> {
        if group.can_rebalance() { self.prepare_rebalance(group) } else { self.complete_if_joined(group) }
    }

    pub(crate) fn prepare_rebalance(&mut self, group: &mut Group) -> Option<WriteNumber> {
        // Who waits for the assignment of a generation that ends here has to join again.
        if group.state == State::CompletingRebalance {
            self.reset_assignment(group, GroupError::RebalanceInProgress);
        }
        group.not_synced.clear();
        group.assigning = false;
        self.cancel_sync_timer(group);
        let initial = group.state == State::Empty;
        if initial {
            // Members of a new group mostly start together: one generation for them all.
            let delay_ms = u64::try_from(self.options.initial_rebalance_delay.as_millis()).unwrap_or(u64::MAX);
            let remaining_ms = group.rebalance_timeout_ms().saturating_sub(delay_ms);
            self.set_join_timer(group, delay_ms, JoinEnd::Initial { delay_ms, remaining_ms });
        }
        group.go(State::PreparingRebalance, self.now_ms());
        if initial {
            None
        } else if group.all_joined() {
            self.complete_join(group)
        } else {
            let timeout_ms = group.rebalance_timeout_ms();
            self.set_join_timer(group, timeout_ms, JoinEnd::Complete);
            None
        }
    }

    /// An empty group waits for its delay, whoever has joined.
    pub(crate) fn complete_if_joined(&mut self, group: &mut Group) -> Option<WriteNumber> {
        let waits = group.state == State::PreparingRebalance && group.previous != State::Empty;
        if waits && group.all_joined() { self.complete_join(group) } else { None }
    }

    pub(crate) fn join_time_is_up(&mut self, group: &mut Group) {
        let Some((_, end)) = group.join_timer.take() else { return };
        match end {
            JoinEnd::Initial { delay_ms, remaining_ms } if group.new_member_came && remaining_ms != 0 => {
                group.new_member_came = false;
                let delay = u64::try_from(self.options.initial_rebalance_delay.as_millis()).unwrap_or(u64::MAX);
                let next_ms = delay.min(remaining_ms);
                let end = JoinEnd::Initial { delay_ms: next_ms, remaining_ms: remaining_ms.saturating_sub(delay_ms) };
                self.set_join_timer(group, next_ms, end);
            }
            JoinEnd::Initial { .. } | JoinEnd::Complete => {
                self.complete_join(group);
            }
        }
    }

    /// Dynamic members who have not joined are out; static ones stay, and must sync in time. If nobody is left, that is written;
    /// the write is returned.
    pub(crate) fn complete_join(&mut self, group: &mut Group) -> Option<WriteNumber> {
        self.cancel_join_timer(group);
        let absent = group.members.values().filter(|member| member.joining.is_none() && member.instance.is_none());
        let absent: Vec<Name> = absent.map(|member| member.id.clone()).collect();
        for member in &absent {
            self.drop_member(group, member);
        }
        if !group.leader_joined() && !group.members.is_empty() {
            // Only static members, all silent: until their sessions end.
            let timeout_ms = group.rebalance_timeout_ms();
            self.set_join_timer(group, timeout_ms, JoinEnd::Complete);
            return None;
        }
        group.begin_generation(self.now_ms());
        if group.state == State::Empty {
            // If this is not written and the coordinator is lost, the members before it are back, and time out.
            return Some(self.write(vec![Record::Group(group.record(&BTreeMap::new()))], Effect::None));
        }
        let members: Vec<Name> = group.members.keys().cloned().collect();
        for id in &members {
            let answer = joined(group, id);
            self.answer_join(group, id, answer);
            self.renew_session(group, id);
            if let Some(member) = group.members.get_mut(id) {
                member.new = false;
            }
            group.not_synced.insert(id.clone());
        }
        let timeout_ms = group.rebalance_timeout_ms();
        self.set_sync_timer(group, timeout_ms);
        None
    }

    pub(crate) fn sync_time_is_up(&mut self, group: &mut Group) {
        group.sync_timer = None;
        let begun = matches!(group.state, State::CompletingRebalance | State::Stable);
        if !begun || group.not_synced.is_empty() || plants(self.options).keep_who_did_not_sync {
            return;
        }
        for member in std::mem::take(&mut group.not_synced) {
            self.drop_member(group, &member);
        }
        self.prepare_rebalance(group);
    }

    /// A member, or one to come back, was silent for too long.
    pub(crate) fn session_is_over(&mut self, group: &mut Group, member: &Name) {
        group.sessions.remove(member);
        if group.state == State::Dead || plants(self.options).keep_who_is_silent {
            return;
        }
        if group.pending.contains(member) {
            self.drop_member(group, member);
        } else {
            match group.members.get(member) {
                Some(known) if !known.waits() => self.drop_member(group, member),
                // Its session begins anew when what it waits for is there.
                Some(_) | None => return,
            }
            if matches!(group.state, State::Stable | State::CompletingRebalance) {
                self.rebalance_or_complete(group);
                return;
            }
        }
        // Also while an empty group waits: the last one may have gone.
        if group.state == State::PreparingRebalance && group.all_joined() {
            self.complete_join(group);
        }
    }

    // --- assignments ---

    pub(crate) fn reset_assignment(&mut self, group: &mut Group, error: GroupError) {
        for member in group.members.values_mut() {
            member.assignment = Bytes::new();
        }
        self.propagate(group, Some(error));
    }

    pub(crate) fn set_assignment(&mut self, group: &mut Group, assignment: &BTreeMap<Name, Bytes>) {
        for member in group.members.values_mut() {
            member.assignment = assignment.get(&member.id).cloned().unwrap_or_default();
        }
        self.propagate(group, None);
        group.go(State::Stable, self.now_ms());
    }

    /// To all who wait for it. Their sessions begin: the old ones may have ended, which did not count while they waited.
    fn propagate(&mut self, group: &mut Group, error: Option<GroupError>) {
        let waiting = group.members.values_mut().filter_map(|member| Some((member.id.clone(), member.syncing.take()?)));
        for (id, number) in waiting.collect::<Vec<_>>() {
            let answer = match error {
                Some(error) => Synced::failed(error),
                None => synced(group, &id),
            };
            self.answer(number, Answer::Sync(answer));
            self.renew_session(group, &id);
        }
    }
}

/// What a member has in the group's generation.
pub(crate) fn synced(group: &Group, member: &str) -> Synced {
    Synced {
        error: None,
        protocol_type: group.protocol_type.clone(),
        protocol: group.protocol.clone(),
        assignment: group.members.get(member).map(|member| member.assignment.clone()).unwrap_or_default(),
    }
}
