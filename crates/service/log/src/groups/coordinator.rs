//! The machine: requests and time in, answers and writes out.

use bytes::Bytes;
use holon_base::Instant;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::groups::answer::{Answer, Fetched, Joined, Left, LeftMember, Output, Synced, WriteNumber};
use crate::groups::error::{GroupError, WriteError};
use crate::groups::group::{Group, State};
use crate::groups::image::{Image, put, records, records_of, remove, snapshot};
use crate::groups::limits::GROUPS_MAX;
use crate::groups::options::Options;
use crate::groups::plant::plants;
use crate::groups::record::Record;
use crate::groups::request::{Heartbeat, Join, Leave, Name, RequestNumber, Sync, Time};
use crate::groups::step::{Step, millis};
use crate::groups::timers::{Timer, Timers};
use crate::groups::transactional::{Ended, Transactional};
use crate::groups::writes::{Effect, Pending, Writes};

/// The groups of one log. See the module's text for how it is driven.
pub struct Coordinator {
    options: Options,
    pub(crate) groups: BTreeMap<Name, Group>,
    timers: Timers,
    writes: Writes,
    pub(crate) transactional: Transactional,
}

impl Coordinator {
    /// From what the log says. Sessions of members begin now: they looked for the coordinator meanwhile.
    pub fn new(options: Options, image: Image, time: Time, out: &mut Output) -> Coordinator {
        let (groups, timers, writes) = (BTreeMap::new(), Timers::default(), Writes::default());
        let (kept, transactional) = image.into_parts();
        let mut coordinator = Coordinator { options, groups, timers, writes, transactional };
        for (name, kept) in kept {
            let mut group = Group::restored(name.clone(), kept, time.wall.millis());
            let (groups, mut step) = coordinator.parts(time, out);
            step.watch_retention(&mut group);
            for member in group.members.keys().cloned().collect::<Vec<_>>() {
                if !plants(step.options).no_sessions_after_failover {
                    step.renew_session(&mut group, &member);
                }
            }
            if group.members.len() > step.options.members_max {
                // The bound was lowered: the last to join will be out, and all can commit before.
                step.prepare_rebalance(&mut group);
            }
            groups.insert(name, group);
        }
        coordinator
    }

    /// What is durable, for [`Image::from_snapshot`]: the sum of all records whose writes succeeded.
    pub fn snapshot(&self) -> Bytes {
        let groups = self.groups.values().map(|group| (&group.id, group.durable.as_ref(), &group.offsets));
        snapshot(groups, &self.transactional)
    }

    /// The same, as records that may take the place of all others: with those of [`Coordinator::records_of_transactions`] before them.
    pub fn records(&self) -> Vec<Record> {
        records(self.groups.values().map(|group| (&group.id, group.durable.as_ref(), &group.offsets)))
    }

    /// What is in transactions. After some of these alone an open transaction might seem to be ended.
    pub fn records_of_transactions(&self) -> Vec<Record> {
        self.transactional.records()
    }

    /// When to call [`Coordinator::tick`] next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    pub(crate) fn parts<'a>(
        &'a mut self,
        time: Time,
        out: &'a mut Output,
    ) -> (&'a mut BTreeMap<Name, Group>, Step<'a>) {
        let Coordinator { options, groups, timers, writes, transactional } = self;
        (groups, Step { time, options, timers, writes, transactional, out })
    }

    // --- requests ---

    /// JoinGroup. Answered when the generation begins, which may take as long as the longest rebalance timeout of the members.
    /// `random` becomes part of the member id, if a new one is needed.
    pub fn join(&mut self, time: Time, number: RequestNumber, random: u128, join: Join, out: &mut Output) {
        let count = self.groups.len();
        let (groups, mut step) = self.parts(time, out);
        let mut refuse = |error| {
            let answer = Answer::Join(Joined::failed(join.member.clone(), error));
            step.out.answers.push((number, answer));
        };
        if join.group.is_empty() {
            return refuse(GroupError::InvalidGroupId);
        }
        let session_timeout = millis(join.session_timeout_ms);
        if session_timeout < step.options.session_timeout_min || session_timeout > step.options.session_timeout_max {
            return refuse(GroupError::InvalidSessionTimeout);
        }
        if let Some(group) = groups.get_mut(&join.group) {
            return step.join(group, number, random, &join);
        }
        if !join.member.is_empty() {
            return refuse(GroupError::UnknownMemberId);
        }
        if count >= GROUPS_MAX {
            return refuse(GroupError::CoordinatorNotAvailable);
        }
        let mut group = Group::new(join.group.clone(), step.now_ms());
        let record = Record::Group(group.record(&BTreeMap::new()));
        step.watch_retention(&mut group);
        step.join(&mut group, number, random, &join);
        step.write(vec![record], Effect::Created { group: join.group.clone() });
        groups.insert(join.group, group);
    }

    /// SyncGroup. Answered when the leader's assignment is durable.
    pub fn sync(&mut self, time: Time, number: RequestNumber, sync: Sync, out: &mut Output) {
        let (groups, mut step) = self.parts(time, out);
        let error = match groups.get_mut(&sync.group) {
            _ if sync.group.is_empty() => GroupError::InvalidGroupId,
            Some(group) => return step.sync(group, number, sync),
            None => GroupError::UnknownMemberId,
        };
        step.answer(number, Answer::Sync(Synced::failed(error)));
    }

    /// Heartbeat. Answered at once.
    pub fn heartbeat(&mut self, time: Time, number: RequestNumber, heartbeat: &Heartbeat, out: &mut Output) {
        let (groups, mut step) = self.parts(time, out);
        let result = match groups.get_mut(&heartbeat.group) {
            _ if heartbeat.group.is_empty() => Err(GroupError::InvalidGroupId),
            Some(group) => step.heartbeat(group, heartbeat),
            None => Err(GroupError::UnknownMemberId),
        };
        step.answer(number, Answer::Heartbeat(result.err()));
    }

    /// LeaveGroup. Answered at once, or when it is durable that the group is empty.
    pub fn leave(&mut self, time: Time, number: RequestNumber, leave: Leave, out: &mut Output) {
        let (groups, mut step) = self.parts(time, out);
        let answer = match groups.get_mut(&leave.group) {
            _ if leave.group.is_empty() => Left { error: Some(GroupError::InvalidGroupId), members: Vec::new() },
            Some(group) => return step.leave(group, number, leave),
            None => {
                let error = Some(GroupError::UnknownMemberId);
                let members = leave.members.into_iter();
                let members =
                    members.map(|leaver| LeftMember { member: leaver.member, instance: leaver.instance, error });
                Left { error: None, members: members.collect() }
            }
        };
        step.answer(number, Answer::Leave(answer));
    }

    // --- time ---

    /// What is due by now.
    pub fn tick(&mut self, time: Time, out: &mut Output) {
        while let Some(timer) = self.timers.pop(time.now) {
            let (groups, mut step) = self.parts(time, out);
            let id = match &timer {
                Timer::Write(number) => {
                    self.late(time, *number, out);
                    continue;
                }
                Timer::Join(id) | Timer::Sync(id) | Timer::Session(id, _) | Timer::Retention(id) => id,
            };
            let Some(group) = groups.get_mut(id) else { continue };
            match &timer {
                Timer::Join(_) => step.join_time_is_up(group),
                Timer::Sync(_) => step.sync_time_is_up(group),
                Timer::Session(_, member) => step.session_is_over(group, member),
                Timer::Retention(_) => {
                    group.retention_timer = None;
                    step.look_for_old(group);
                }
                Timer::Write(_) => {}
            }
        }
    }

    // --- writes ---

    /// A write is durable, or failed: then its records are not in the log and never will be. Reports come in the order of the
    /// writes. One whose outcome is not known is not reported; if it can never be known, a new coordinator takes over.
    pub fn written(&mut self, time: Time, number: WriteNumber, outcome: Result<(), WriteError>, out: &mut Output) {
        debug_assert!(
            self.writes.pending.range(..number).next().is_none(),
            "{number:?} is reported before older writes"
        );
        let Some(pending) = self.writes.end(number) else { return };
        self.timers.cancel(pending.late, Timer::Write(number));
        let Pending { records, effect, answers, fetches, late: _ } = pending;
        let error = outcome.err().map(WriteError::told);
        if error.is_none() || plants(&self.options).failed_commit_counts {
            for record in records {
                self.keep(time, record, out);
            }
        }
        self.take_effect(time, effect, error, out);
        for (number, answer) in answers {
            let answer = match error {
                Some(error) => answer.after_failure(error),
                None => answer,
            };
            out.answers.push((number, answer));
        }
        for (number, fetch) in fetches {
            out.answers.push((number, Answer::Fetch(self.fetched(fetch))));
        }
    }

    /// A write takes too long. Whoever waits is told; what comes of it is still to come.
    fn late(&mut self, time: Time, number: WriteNumber, out: &mut Output) {
        let error = GroupError::CoordinatorNotAvailable;
        let Some(pending) = self.writes.pending.get_mut(&number) else { return };
        let answers = std::mem::take(&mut pending.answers);
        let fetches = std::mem::take(&mut pending.fetches);
        let effect = match &mut pending.effect {
            // What these are about is decided by the log alone.
            Effect::Removed { .. } | Effect::Created { .. } | Effect::None => Effect::None,
            effect @ (Effect::Assigned { .. } | Effect::Renamed(_)) => std::mem::replace(effect, Effect::None),
        };
        out.answers.extend(answers.into_iter().map(|(number, answer)| (number, answer.after_failure(error))));
        for (number, fetch) in fetches {
            let answer = Fetched { group: fetch.group, error: Some(error), topics: Vec::new() };
            out.answers.push((number, Answer::Fetch(answer)));
        }
        self.take_effect(time, effect, Some(error), out);
    }

    /// A durable record.
    fn keep(&mut self, time: Time, record: Record, out: &mut Output) {
        match record {
            Record::Group(record) => {
                let group = record.group.clone();
                self.known(time, &group, out).durable = Some(record);
            }
            Record::Offsets { group, offsets } => put(&mut self.known(time, &group, out).offsets, offsets),
            Record::OffsetsRemoved { group, partitions } => {
                if let Some(group) = self.groups.get_mut(&group) {
                    remove(&mut group.offsets, &partitions);
                }
            }
            Record::GroupRemoved { group } => self.forget(time, &group, out),
            Record::TransactionalOffsets { producer_id, group, offsets } => {
                self.known(time, &group, out);
                self.transactional.put(producer_id, &group, offsets);
            }
            Record::TransactionEnded { producer_id, producer_epoch, commit, at_ms } => {
                for (group, offsets) in self.transactional.end(producer_id, Ended { epoch: producer_epoch, at_ms }) {
                    if commit {
                        put(&mut self.known(time, &group, out).offsets, records_of(&offsets));
                    }
                }
            }
        }
    }

    /// The group, which a durable record makes if it is not there.
    fn known<'a>(&'a mut self, time: Time, id: &Name, out: &'a mut Output) -> &'a mut Group {
        let (groups, mut step) = self.parts(time, out);
        groups.entry(id.clone()).or_insert_with(|| {
            let mut group = Group::new(id.clone(), step.now_ms());
            step.watch_retention(&mut group);
            group
        })
    }

    fn forget(&mut self, time: Time, id: &Name, out: &mut Output) {
        let (groups, mut step) = self.parts(time, out);
        step.transactional.forget(id);
        if let Some(mut group) = groups.remove(id) {
            for member in group.members.keys().cloned().collect::<Vec<_>>() {
                step.drop_member(&mut group, &member);
            }
            step.cancel_all(&mut group);
        }
    }

    fn take_effect(&mut self, time: Time, effect: Effect, error: Option<GroupError>, out: &mut Output) {
        let (groups, mut step) = self.parts(time, out);
        match (effect, error) {
            (Effect::Assigned { group, generation, assignment }, error) => {
                if let Some(group) = groups.get_mut(&group) {
                    step.assigned(group, generation, &assignment, error);
                }
            }
            (Effect::Renamed(renamed), error) => {
                if let Some(group) = groups.get_mut(&renamed.group) {
                    step.renamed(group, *renamed, error);
                }
            }
            (Effect::Created { group }, Some(error)) => self.not_created(time, &group, error, out),
            (Effect::Removed { groups: removed }, Some(_)) => {
                for id in removed {
                    if let Some(group) = groups.get_mut(&id).filter(|group| group.state == State::Dead) {
                        group.state = State::Empty;
                    }
                }
            }
            (Effect::Created { .. } | Effect::Removed { .. } | Effect::None, _) => {}
        }
    }

    /// The first record of a group failed: it is not there, unless something else of it was written since.
    fn not_created(&mut self, time: Time, id: &Name, error: GroupError, out: &mut Output) {
        let (groups, mut step) = self.parts(time, out);
        let Some(group) = groups.get_mut(id) else { return };
        let began = group.state == State::PreparingRebalance && group.previous == State::Empty;
        let new = group.generation == 0 && (group.state == State::Empty || began);
        let has_offsets = !group.offsets.is_empty() || step.transactional.has(id);
        if !new || group.durable.is_some() || has_offsets || step.writes.offsets.contains_key(id) {
            return;
        }
        for member in group.members.keys().cloned().collect::<Vec<_>>() {
            step.answer_join(group, &member, Joined::failed("".into(), error));
        }
        self.forget(time, id, out);
    }

    /// This node coordinates no more: all who wait are told to look elsewhere. Of writes under way nothing is known.
    pub fn stop(mut self, out: &mut Output) {
        let error = GroupError::NotCoordinator;
        for group in self.groups.values_mut() {
            for member in group.members.values_mut() {
                if let Some(number) = member.joining.take() {
                    out.answers.push((number, Answer::Join(Joined::failed(member.id.clone(), error))));
                }
                if let Some(number) = member.syncing.take() {
                    out.answers.push((number, Answer::Sync(Synced::failed(error))));
                }
            }
        }
        for pending in std::mem::take(&mut self.writes.pending).into_values() {
            let answers = pending.answers.into_iter();
            out.answers.extend(answers.map(|(number, answer)| (number, answer.after_failure(error))));
            for (number, fetch) in pending.fetches {
                let answer = Fetched { group: fetch.group, error: Some(error), topics: Vec::new() };
                out.answers.push((number, Answer::Fetch(answer)));
            }
        }
    }
}

impl Step<'_> {
    /// Groups look for old offsets at different times, so that no moment belongs to all of them.
    fn watch_retention(&mut self, group: &mut Group) {
        let interval_ms = u64::try_from(self.options.offsets_retention_check_interval.as_millis()).unwrap_or(u64::MAX);
        let part = u64::from(holon_base::crc32c(group.id.as_bytes())) % interval_ms.max(1);
        self.set_retention_timer(group, Duration::from_millis(part + 1));
    }
}
