//! JoinGroup: `classicGroupJoin` of Kafka's `GroupMetadataManager`.

use std::fmt::Write as _;

use crate::groups::answer::{Answer, Joined};
use crate::groups::error::GroupError;
use crate::groups::group::{Group, Said, State};
use crate::groups::limits::{NEW_MEMBER_JOIN_TIMEOUT, PENDING_MEMBERS_MAX};
use crate::groups::member::{Member, once_each, rebalance_timeout_ms};
use crate::groups::record::Record;
use crate::groups::request::{Join, Name, RequestNumber};
use crate::groups::step::{Step, joined, millis};
use crate::groups::writes::{Effect, Renamed};

/// Since then a dynamic member gets an id first and joins with it (KIP-394), so that a lost answer leaves no member behind.
const MEMBER_ID_REQUIRED_SINCE: i16 = 4;
/// Since then a leader may be told not to assign (KIP-814).
const SKIP_ASSIGNMENT_SINCE: i16 = 9;

impl Step<'_> {
    pub(crate) fn join(&mut self, group: &mut Group, number: RequestNumber, random: u128, join: &Join) {
        if !self.has_room(group, &join.member) {
            self.drop_member(group, &join.member);
            self.refuse(number, "".into(), GroupError::GroupMaxSizeReached);
        } else if group.state == State::Dead {
            self.refuse(number, join.member.clone(), GroupError::CoordinatorNotAvailable);
        } else if !group.supports(&join.protocol_type, &join.protocols) {
            self.refuse(number, join.member.clone(), GroupError::InconsistentGroupProtocol);
        } else if join.member.is_empty() {
            let id = member_id(join.instance.as_ref().unwrap_or(&join.client_id), random);
            let known = join.instance.as_ref().and_then(|instance| group.instances.get(instance)).cloned();
            match (&join.instance, known) {
                (Some(instance), Some(old)) => self.join_renamed(group, number, join, [instance.clone(), old, id]),
                (None, _) if join.version >= MEMBER_ID_REQUIRED_SINCE => self.ask_back(group, number, join, id),
                _ => self.join_new(group, number, join, id),
            }
        } else if group.pending.contains(&join.member) {
            if join.instance.is_some() {
                // Only dynamic members get an id before they join.
                self.refuse(number, join.member.clone(), GroupError::UnknownServerError);
            } else {
                self.join_new(group, number, join, join.member.clone());
            }
        } else {
            self.join_again(group, number, join);
        }
    }

    fn refuse(&mut self, number: RequestNumber, member: Name, error: GroupError) {
        self.answer(number, Answer::Join(Joined::failed(member, error)));
    }

    /// While a generation forms, those count who have joined: so the last to come are out if the bound was lowered.
    fn has_room(&self, group: &Group, member: &Name) -> bool {
        let known = group.members.get(member);
        match group.state {
            State::Empty | State::Dead => true,
            State::PreparingRebalance => {
                known.is_some_and(|member| member.joining.is_some()) || group.joining < self.options.members_max
            }
            State::CompletingRebalance | State::Stable => {
                known.is_some() || group.members.len() < self.options.members_max
            }
        }
    }

    fn ask_back(&mut self, group: &mut Group, number: RequestNumber, join: &Join, id: Name) {
        if group.pending.len() >= PENDING_MEMBERS_MAX {
            return self.refuse(number, "".into(), GroupError::GroupMaxSizeReached);
        }
        group.pending.insert(id.clone());
        self.set_session(group, &id, millis(join.session_timeout_ms));
        self.refuse(number, id, GroupError::MemberIdRequired);
    }

    fn join_new(&mut self, group: &mut Group, number: RequestNumber, join: &Join, id: Name) {
        if group.state == State::PreparingRebalance && group.previous == State::Empty {
            group.new_member_came = true;
        }
        group.add_of_type(Member::joins(id.clone(), join), &join.protocol_type, number);
        // It has no id to send heartbeats with, and one that is gone cannot be told from one that waits.
        self.set_session(group, &id, NEW_MEMBER_JOIN_TIMEOUT);
        self.rebalance_or_complete(group);
    }

    fn join_again(&mut self, group: &mut Group, number: RequestNumber, join: &Join) {
        let id = &join.member;
        if let Err(error) = group.check_member(id, join.instance.as_ref()) {
            return self.refuse(number, id.clone(), error);
        }
        let same = group.members.get(id).is_some_and(|member| member.protocols == once_each(&join.protocols));
        match group.state {
            // Perhaps its answer was lost.
            State::CompletingRebalance if same => {
                let answer = joined(group, id);
                self.answer(number, Answer::Join(answer));
            }
            // A follower without news; the leader may know of some, for example of new partitions.
            State::Stable if same && !group.is_leader(id) => {
                let answer = joined(group, id);
                self.answer(number, Answer::Join(answer));
            }
            State::PreparingRebalance | State::CompletingRebalance | State::Stable => {
                let before = group.update(id, said(join), Some(number));
                self.answer_repeated_join(before, id);
                self.rebalance_or_complete(group);
            }
            State::Empty | State::Dead => self.refuse(number, id.clone(), GroupError::UnknownMemberId),
        }
    }

    /// A static member has come again, under a new id. If that changes nothing for the others, there is no rebalance.
    fn join_renamed(&mut self, group: &mut Group, number: RequestNumber, join: &Join, names: [Name; 3]) {
        let [instance, old, new] = names;
        let leader = group.leader.clone();
        let said_before = group.members.get(&old).map(|member| Said {
            session_timeout_ms: member.session_timeout_ms,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            protocols: member.protocols.clone(),
        });
        let Some(said_before) = said_before else {
            return self.refuse(number, "".into(), GroupError::UnknownServerError);
        };
        let [joining, syncing] = group.rename(&instance, &old, &new);
        self.cancel_session(group, &old);
        self.fence(&old, joining, syncing);
        self.renew_session(group, &new);
        group.update(&new, said(join), Some(number));
        match group.state {
            State::Stable if group.protocol == group.elect_protocol() => {
                let assignment = group.members.values().map(|member| (member.id.clone(), member.assignment.clone()));
                let record = group.record(&assignment.collect());
                let effect = Renamed {
                    group: group.id.clone(),
                    generation: group.generation,
                    instance,
                    old,
                    new,
                    join: number,
                    version: join.version,
                    said: said_before,
                    leader,
                };
                self.write(vec![Record::Group(record)], Effect::Renamed(Box::new(effect)));
            }
            // Also while the leader assigns: it was told of the old id.
            State::Stable | State::CompletingRebalance => {
                self.prepare_rebalance(group);
            }
            State::PreparingRebalance | State::Empty | State::Dead => {
                self.complete_if_joined(group);
            }
        }
    }

    fn fence(&mut self, old: &Name, joining: Option<RequestNumber>, syncing: Option<RequestNumber>) {
        if let Some(number) = joining {
            self.refuse(number, old.clone(), GroupError::FencedInstanceId);
        }
        if let Some(number) = syncing {
            let answer = crate::groups::answer::Synced::failed(GroupError::FencedInstanceId);
            self.answer(number, Answer::Sync(answer));
        }
    }

    /// The log has the new id, or (with an error) has not.
    pub(crate) fn renamed(&mut self, group: &mut Group, renamed: Renamed, error: Option<GroupError>) {
        let waits = group.members.get(&renamed.new).is_some_and(|member| member.joining == Some(renamed.join));
        if group.state != State::Stable || group.generation != renamed.generation || !waits {
            // A rebalance began since: it answers the join, and writes the new id.
            return;
        }
        let leader_before = renamed.leader.unwrap_or_else(|| "".into());
        let Some(error) = error else {
            let mut answer = joined(group, &renamed.new);
            if renamed.version >= SKIP_ASSIGNMENT_SINCE {
                answer.skip_assignment = group.is_leader(&renamed.new);
            } else {
                // It cannot be told not to assign: so it must not see that it leads.
                answer.leader = leader_before;
                answer.members = Vec::new();
            }
            return self.answer_join(group, &renamed.new, answer);
        };
        let mut answer = Joined::failed("".into(), error);
        answer.generation = group.generation;
        answer.protocol = group.protocol.clone();
        answer.protocol_type = group.protocol_type.clone();
        answer.leader = leader_before;
        self.answer_join(group, &renamed.new, answer);
        group.update(&renamed.new, renamed.said, None);
        group.rename(&renamed.instance, &renamed.new, &renamed.old);
        self.cancel_session(group, &renamed.new);
        self.renew_session(group, &renamed.old);
    }
}

fn said(join: &Join) -> Said {
    Said {
        session_timeout_ms: join.session_timeout_ms,
        rebalance_timeout_ms: rebalance_timeout_ms(join),
        protocols: once_each(&join.protocols),
    }
}

/// As Kafka makes it: the client's id, or the instance's, and a random UUID (version 4).
fn member_id(of: &str, random: u128) -> Name {
    let bits = (random & !(0xf << 76) & !(0b11 << 62)) | (0x4 << 76) | (0b10 << 62);
    let digits = format!("{bits:032x}");
    let mut id = String::with_capacity(of.len() + 37);
    id.push_str(of);
    for part in [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]] {
        // Writing to a String does not fail.
        let _ = write!(id, "-{part}");
    }
    id.into()
}
