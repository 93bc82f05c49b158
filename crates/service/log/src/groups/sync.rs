//! SyncGroup, Heartbeat and LeaveGroup: `classicGroupSync`, `classicGroupHeartbeat` and `classicGroupLeave` of Kafka's
//! `GroupMetadataManager`.

use bytes::Bytes;
use std::collections::BTreeMap;

use crate::groups::answer::{Answer, Left, LeftMember, Synced};
use crate::groups::error::GroupError;
use crate::groups::group::{Group, State};
use crate::groups::plant::plants;
use crate::groups::rebalance::synced;
use crate::groups::record::Record;
use crate::groups::request::{Heartbeat, Leave, Leaver, Name, RequestNumber, Sync};
use crate::groups::step::Step;
use crate::groups::writes::Effect;

impl Step<'_> {
    pub(crate) fn sync(&mut self, group: &mut Group, number: RequestNumber, sync: Sync) {
        if let Err(error) = self.check_sync(group, &sync) {
            return self.answer(number, Answer::Sync(Synced::failed(error)));
        }
        match group.state {
            State::CompletingRebalance => self.sync_completing(group, number, sync),
            State::Stable => {
                self.has_synced(group, &sync.member);
                let answer = synced(group, &sync.member);
                self.answer(number, Answer::Sync(answer));
            }
            State::PreparingRebalance => {
                self.answer(number, Answer::Sync(Synced::failed(GroupError::RebalanceInProgress)));
            }
            State::Empty | State::Dead => {
                self.answer(number, Answer::Sync(Synced::failed(GroupError::UnknownMemberId)));
            }
        }
    }

    fn check_sync(&self, group: &Group, sync: &Sync) -> Result<(), GroupError> {
        match group.state {
            State::Empty => return Err(GroupError::UnknownMemberId),
            State::Dead => return Err(GroupError::CoordinatorNotAvailable),
            State::PreparingRebalance | State::CompletingRebalance | State::Stable => {}
        }
        group.check_member(&sync.member, sync.instance.as_ref())?;
        if sync.generation != group.generation && !plants(self.options).any_generation {
            return Err(GroupError::IllegalGeneration);
        }
        let differs = |said: &Option<Name>, known: &Option<Name>| said.is_some() && known.is_some() && said != known;
        if differs(&sync.protocol_type, &group.protocol_type) || differs(&sync.protocol, &group.protocol) {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn has_synced(&mut self, group: &mut Group, member: &Name) {
        group.not_synced.remove(member);
        if group.not_synced.is_empty() {
            self.cancel_sync_timer(group);
        }
    }

    fn sync_completing(&mut self, group: &mut Group, number: RequestNumber, sync: Sync) {
        self.has_synced(group, &sync.member);
        let before = group.members.get_mut(&sync.member).and_then(|member| member.syncing.replace(number));
        if let Some(before) = before {
            // Repeated: nobody waits for the first any more. (Kafka forgets it.)
            self.answer(before, Answer::Sync(Synced::failed(GroupError::RebalanceInProgress)));
        }
        // One assignment for a generation. Kafka writes a second one that comes before the first is durable, and after a failover
        // some members have the first and some the second.
        let second = group.assigning && !plants(self.options).second_assignment_counts;
        if !group.is_leader(&sync.member) || second {
            return;
        }
        let mut assignment: BTreeMap<Name, Bytes> = sync.assignments.into_iter().collect();
        assignment.retain(|member, _| group.members.contains_key(member));
        let record = group.record(&assignment);
        group.assigning = true;
        if plants(self.options).assign_before_durable {
            self.set_assignment(group, &assignment);
        }
        let effect = Effect::Assigned { group: group.id.clone(), generation: group.generation, assignment };
        self.write(vec![Record::Group(record)], effect);
    }

    /// The assignment of a generation is in the log, or (with an error) is not.
    pub(crate) fn assigned(
        &mut self,
        group: &mut Group,
        generation: i32,
        assignment: &BTreeMap<Name, Bytes>,
        error: Option<GroupError>,
    ) {
        if group.state != State::CompletingRebalance || group.generation != generation {
            return;
        }
        group.assigning = false;
        match error {
            None => self.set_assignment(group, assignment),
            Some(error) => {
                self.reset_assignment(group, error);
                self.rebalance_or_complete(group);
            }
        }
    }

    pub(crate) fn heartbeat(&mut self, group: &mut Group, heartbeat: &Heartbeat) -> Result<(), GroupError> {
        if group.state == State::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        group.check_member(&heartbeat.member, heartbeat.instance.as_ref())?;
        if heartbeat.generation != group.generation && !plants(self.options).any_generation {
            return Err(GroupError::IllegalGeneration);
        }
        self.renew_session(group, &heartbeat.member);
        if group.state == State::PreparingRebalance { Err(GroupError::RebalanceInProgress) } else { Ok(()) }
    }

    /// If nobody is left, members hear of it when that is durable.
    pub(crate) fn leave(&mut self, group: &mut Group, number: RequestNumber, leave: Leave) {
        if group.state == State::Dead {
            let answer = Left { error: Some(GroupError::CoordinatorNotAvailable), members: Vec::new() };
            return self.answer(number, Answer::Leave(answer));
        }
        let mut members = Vec::with_capacity(leave.members.len());
        for leaver in leave.members {
            let error = self.leave_one(group, &leaver).err();
            members.push(LeftMember { member: leaver.member, instance: leaver.instance, error });
        }
        let any = members.iter().any(|member| member.error.is_none());
        let write = match group.state {
            State::Stable | State::CompletingRebalance if any => self.rebalance_or_complete(group),
            State::PreparingRebalance if any => self.complete_if_joined(group),
            _ => None,
        };
        self.answer_after(write, number, Answer::Leave(Left { error: None, members }));
    }

    fn leave_one(&mut self, group: &mut Group, leaver: &Leaver) -> Result<(), GroupError> {
        let member = if leaver.member.is_empty() {
            // An administrator, who knows instances.
            let named = leaver.instance.as_ref().and_then(|instance| group.instances.get(instance));
            named.cloned().ok_or(GroupError::UnknownMemberId)?
        } else {
            if !group.pending.contains(&leaver.member) {
                group.check_member(&leaver.member, leaver.instance.as_ref())?;
            }
            leaver.member.clone()
        };
        self.drop_member(group, &member);
        Ok(())
    }
}
