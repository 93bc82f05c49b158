//! What a group needs while something happens to it: the time, its timers, and where answers and writes go.

use std::time::Duration;

use crate::groups::answer::{Answer, Joined, JoinedMember, Output, Synced, Write, WriteNumber};
use crate::groups::error::GroupError;
use crate::groups::group::{Group, JoinEnd};
use crate::groups::options::Options;
use crate::groups::record::Record;
use crate::groups::request::{Name, RequestNumber, Time};
use crate::groups::timers::{Timer, Timers};
use crate::groups::transactional::Transactional;
use crate::groups::writes::{Effect, Pending, Writes};

pub(crate) struct Step<'a> {
    pub(crate) time: Time,
    pub(crate) options: &'a Options,
    pub(crate) timers: &'a mut Timers,
    pub(crate) writes: &'a mut Writes,
    pub(crate) transactional: &'a mut Transactional,
    pub(crate) out: &'a mut Output,
}

impl Step<'_> {
    pub(crate) fn answer(&mut self, number: RequestNumber, answer: Answer) {
        self.out.answers.push((number, answer));
    }

    /// At once, or when the write is durable.
    pub(crate) fn answer_after(&mut self, write: Option<WriteNumber>, number: RequestNumber, answer: Answer) {
        match write.and_then(|write| self.writes.pending.get_mut(&write)) {
            Some(pending) => pending.answers.push((number, answer)),
            None => self.answer(number, answer),
        }
    }

    pub(crate) fn write(&mut self, records: Vec<Record>, effect: Effect) -> WriteNumber {
        let late = self.time.now + self.options.write_timeout;
        let (answers, fetches) = (Vec::new(), Vec::new());
        let number = self.writes.begin(Pending { records: records.clone(), effect, answers, fetches, late });
        self.timers.set(late, Timer::Write(number));
        self.out.writes.push(Write { number, records });
        number
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.time.wall.millis()
    }

    // --- timers ---

    /// Of a member or of one to come back: from now.
    pub(crate) fn set_session(&mut self, group: &mut Group, member: &Name, timeout: Duration) {
        self.cancel_session(group, member);
        let at = self.time.now + timeout;
        group.sessions.insert(member.clone(), at);
        self.timers.set(at, Timer::Session(group.id.clone(), member.clone()));
    }

    /// As long as the member asked for.
    pub(crate) fn renew_session(&mut self, group: &mut Group, member: &Name) {
        if let Some(timeout_ms) = group.members.get(member).map(|member| member.session_timeout_ms) {
            self.set_session(group, member, millis(timeout_ms));
        }
    }

    pub(crate) fn cancel_session(&mut self, group: &mut Group, member: &Name) {
        if let Some(at) = group.sessions.remove(member) {
            self.timers.cancel(at, Timer::Session(group.id.clone(), member.clone()));
        }
    }

    pub(crate) fn set_join_timer(&mut self, group: &mut Group, after_ms: u64, end: JoinEnd) {
        self.cancel_join_timer(group);
        let at = self.time.now + Duration::from_millis(after_ms);
        group.join_timer = Some((at, end));
        self.timers.set(at, Timer::Join(group.id.clone()));
    }

    pub(crate) fn cancel_join_timer(&mut self, group: &mut Group) {
        if let Some((at, _)) = group.join_timer.take() {
            self.timers.cancel(at, Timer::Join(group.id.clone()));
        }
    }

    pub(crate) fn set_sync_timer(&mut self, group: &mut Group, after_ms: u64) {
        self.cancel_sync_timer(group);
        let at = self.time.now + Duration::from_millis(after_ms);
        group.sync_timer = Some(at);
        self.timers.set(at, Timer::Sync(group.id.clone()));
    }

    pub(crate) fn cancel_sync_timer(&mut self, group: &mut Group) {
        if let Some(at) = group.sync_timer.take() {
            self.timers.cancel(at, Timer::Sync(group.id.clone()));
        }
    }

    pub(crate) fn set_retention_timer(&mut self, group: &mut Group, after: Duration) {
        self.cancel_retention_timer(group);
        let at = self.time.now + after;
        group.retention_timer = Some(at);
        self.timers.set(at, Timer::Retention(group.id.clone()));
    }

    pub(crate) fn cancel_retention_timer(&mut self, group: &mut Group) {
        if let Some(at) = group.retention_timer.take() {
            self.timers.cancel(at, Timer::Retention(group.id.clone()));
        }
    }

    /// Before a group is forgotten.
    pub(crate) fn cancel_all(&mut self, group: &mut Group) {
        self.cancel_join_timer(group);
        self.cancel_sync_timer(group);
        self.cancel_retention_timer(group);
        for (member, at) in std::mem::take(&mut group.sessions) {
            self.timers.cancel(at, Timer::Session(group.id.clone(), member));
        }
    }

    // --- members ---

    /// A member, or one to come back, is no more. Whatever of it waits is told so: if it is alive it joins anew.
    pub(crate) fn drop_member(&mut self, group: &mut Group, member: &Name) {
        self.cancel_session(group, member);
        let Some(removed) = group.remove(member) else { return };
        if let Some(number) = removed.joining
            && !crate::groups::plant::plants(self.options).forget_a_join
        {
            self.answer(number, Answer::Join(Joined::failed("".into(), GroupError::UnknownMemberId)));
        }
        if let Some(number) = removed.syncing {
            self.answer(number, Answer::Sync(Synced::failed(GroupError::UnknownMemberId)));
        }
    }

    /// A request that somebody repeated under the same member id gets an answer too; Kafka forgets it.
    pub(crate) fn answer_repeated_join(&mut self, number: Option<RequestNumber>, member: &Name) {
        if let Some(number) = number {
            self.answer(number, Answer::Join(Joined::failed(member.clone(), GroupError::RebalanceInProgress)));
        }
    }

    /// The join that waits, if one does.
    pub(crate) fn answer_join(&mut self, group: &mut Group, member: &Name, answer: Joined) {
        let Some(number) = group.members.get_mut(member).and_then(|member| member.joining.take()) else { return };
        group.joining -= 1;
        self.answer(number, Answer::Join(answer));
    }
}

/// The group's generation, as a member is told of it. Only the leader learns who the members are.
pub(crate) fn joined(group: &Group, member: &Name) -> Joined {
    let members = if group.is_leader(member) { members_of(group) } else { Vec::new() };
    Joined {
        error: None,
        generation: group.generation,
        protocol_type: group.protocol_type.clone(),
        protocol: group.protocol.clone(),
        leader: group.leader.clone().unwrap_or_else(|| "".into()),
        skip_assignment: false,
        member: member.clone(),
        members,
    }
}

fn members_of(group: &Group) -> Vec<JoinedMember> {
    let protocol = group.protocol.as_deref().unwrap_or("");
    let told = group.members.values().map(|member| JoinedMember {
        member: member.id.clone(),
        instance: member.instance.clone(),
        metadata: member.metadata(protocol),
    });
    told.collect()
}

/// Nothing for what is negative.
pub(crate) fn millis(milliseconds: i32) -> Duration {
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
}
