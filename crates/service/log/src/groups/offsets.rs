//! Offsets of groups: `OffsetMetadataManager` of Kafka. Those of transactions are in [`crate::groups::transactional`].
//!
//! What is fetched is durable. A commit under way counts only where something is to be removed: a removal after it in the log
//! would take it too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::groups::answer::{
    Answer, Committed, CommittedTopic, Fetched, FetchedPartition, FetchedTopic, OffsetsDeleted, OffsetsDeletedTopic,
    Output,
};
use crate::groups::coordinator::Coordinator;
use crate::groups::error::GroupError;
use crate::groups::group::{Group, State};
use crate::groups::image::put;
use crate::groups::limits::GROUPS_MAX;
use crate::groups::options::Options;
use crate::groups::plant::plants;
use crate::groups::record::{OffsetRecord, OffsetValue, Record};
use crate::groups::request::{Commit, CommitPartition, Fetch, Name, OffsetDelete, RequestNumber, Time};
use crate::groups::step::Step;
use crate::groups::writes::Effect;

/// Since then a commit to a group that is not there is told so.
const GROUP_ID_NOT_FOUND_SINCE: i16 = 9;

impl Coordinator {
    /// Keeps offsets. The answer comes when they are durable.
    pub fn commit(&mut self, time: Time, number: RequestNumber, commit: Commit, out: &mut Output) {
        let groups = self.groups.len();
        let (all, mut step) = self.parts(time, out);
        let checked = match all.get_mut(&commit.group) {
            Some(group) => check_commit(step.options, group, &commit).map(|()| {
                if matches!(group.state, State::Stable | State::PreparingRebalance) {
                    step.renew_session(group, &commit.member);
                }
            }),
            // Of a consumer without membership: the first durable offset makes the group.
            None if commit.generation < 0 && groups < GROUPS_MAX => Ok(()),
            None if commit.generation < 0 => Err(GroupError::CoordinatorNotAvailable),
            None if commit.version >= GROUP_ID_NOT_FOUND_SINCE => Err(GroupError::GroupIdNotFound),
            None => Err(GroupError::IllegalGeneration),
        };
        let (answer, offsets) = step.commit(&commit, checked);
        if offsets.is_empty() {
            return step.answer(number, Answer::Commit(answer));
        }
        if plants(step.options).commit_before_durable
            && let Some(group) = all.get_mut(&commit.group)
        {
            put(&mut group.offsets, offsets.clone());
            step.answer(number, Answer::Commit(answer));
            step.write(vec![Record::Offsets { group: commit.group, offsets }], Effect::None);
            return;
        }
        let write = step.write(vec![Record::Offsets { group: commit.group, offsets }], Effect::None);
        step.answer_after(Some(write), number, Answer::Commit(answer));
    }

    /// What is kept for partitions. Offsets that are not there are -1, also of groups that are not there.
    pub fn fetch(&mut self, time: Time, number: RequestNumber, fetch: Fetch, out: &mut Output) {
        let (_, mut step) = self.parts(time, out);
        if fetch.require_stable {
            let last = step.writes.offsets.get(&fetch.group).and_then(|in_flight| in_flight.last);
            if let Some(pending) = last.and_then(|last| step.writes.pending.get_mut(&last)) {
                if pending.late > step.time.now {
                    pending.fetches.push((number, fetch));
                } else {
                    let (group, error) = (fetch.group, Some(GroupError::CoordinatorNotAvailable));
                    step.answer(number, Answer::Fetch(Fetched { group, error, topics: Vec::new() }));
                }
                return;
            }
        }
        let answer = self.fetched(fetch);
        out.answers.push((number, Answer::Fetch(answer)));
    }

    pub(crate) fn fetched(&self, fetch: Fetch) -> Fetched {
        let none = Default::default();
        let offsets = self.groups.get(&fetch.group).map_or(&none, |group| &group.offsets);
        let is_unstable = |topic: &Name, partition: i32| {
            fetch.require_stable && self.transactional.holds(&fetch.group, topic, partition)
        };
        let topics = match fetch.topics {
            Some(topics) => topics
                .into_iter()
                .map(|topic| {
                    let kept = offsets.get(&topic.name);
                    let one = |partition: i32| {
                        if is_unstable(&topic.name, partition) {
                            return unstable_partition(partition);
                        }
                        let value = kept.and_then(|partitions| partitions.get(&partition));
                        // A topic that was removed and made again is another one.
                        let other = |value: &&OffsetValue| value.topic_id != topic.id;
                        let known = |value: &&OffsetValue| value.topic_id != 0 && topic.id != 0;
                        fetched_partition(partition, value.filter(|value| !(known(value) && other(value))))
                    };
                    let partitions = topic.partitions.iter().map(|&partition| one(partition)).collect();
                    FetchedTopic { name: topic.name, id: topic.id, partitions }
                })
                .collect(),
            None => offsets
                .iter()
                .map(|(name, kept)| {
                    let partitions = kept.iter().map(|(&partition, value)| match is_unstable(name, partition) {
                        true => unstable_partition(partition),
                        false => fetched_partition(partition, Some(value)),
                    });
                    FetchedTopic { name: name.clone(), id: 0, partitions: partitions.collect() }
                })
                .collect(),
        };
        Fetched { group: fetch.group, error: None, topics }
    }

    /// Removes offsets of topics to which no member is subscribed.
    pub fn delete_offsets(&mut self, time: Time, number: RequestNumber, delete: OffsetDelete, out: &mut Output) {
        let (all, mut step) = self.parts(time, out);
        let checked = match all.get(&delete.group) {
            _ if delete.group.is_empty() => Err(GroupError::InvalidGroupId),
            Some(group) => check_delete(group).map(|()| group),
            None => Err(GroupError::GroupIdNotFound),
        };
        let group = match checked {
            Ok(group) => group,
            Err(error) => {
                let answer = OffsetsDeleted { error: Some(error), topics: Vec::new() };
                return step.answer(number, Answer::OffsetDelete(answer));
            }
        };
        let (mut topics, mut removed) = (Vec::new(), Vec::new());
        for (topic, partitions) in delete.topics {
            let subscribed = group.is_subscribed_to(&topic);
            let refused = subscribed.then_some(GroupError::GroupSubscribedToTopic);
            let results = partitions.iter().map(|&partition| (partition, refused)).collect();
            topics.push(OffsetsDeletedTopic { name: topic.clone(), partitions: results });
            if !subscribed {
                let there = partitions.into_iter().filter(|&partition| step.holds(group, &topic, partition));
                removed.extend(there.map(|partition| (topic.clone(), partition)));
            }
        }
        let answer = Answer::OffsetDelete(OffsetsDeleted { error: None, topics });
        if removed.is_empty() {
            return step.answer(number, answer);
        }
        let records = vec![Record::OffsetsRemoved { group: delete.group, partitions: removed }];
        let write = step.write(records, Effect::None);
        step.answer_after(Some(write), number, answer);
    }

    /// Topics are gone (name, id; an id of 0 stands for any): so are their offsets. This alone looks at all groups.
    pub fn topics_removed(&mut self, time: Time, topics: &[(Name, u128)], out: &mut Output) {
        let (all, mut step) = self.parts(time, out);
        let is_gone = |topic: &Name, value: &OffsetValue| {
            let fits = |id: u128| value.topic_id == 0 || id == 0 || value.topic_id == id;
            topics.iter().any(|(name, id)| name == topic && fits(*id))
        };
        let mut gone: BTreeMap<Name, BTreeSet<(Name, i32)>> = BTreeMap::new();
        for group in all.values() {
            for (topic, _) in topics {
                for (partition, value) in group.offsets.get(topic).into_iter().flatten() {
                    if is_gone(topic, value) {
                        gone.entry(group.id.clone()).or_default().insert((topic.clone(), *partition));
                    }
                }
            }
        }
        // Commits under way come before this in the log.
        for record in step.writes.pending.values().flat_map(|pending| &pending.records) {
            let Record::Offsets { group, offsets } = record else { continue };
            for offset in offsets.iter().filter(|offset| is_gone(&offset.topic, &offset.value)) {
                gone.entry(group.clone()).or_default().insert((offset.topic.clone(), offset.partition));
            }
        }
        let record = |(group, partitions): (Name, BTreeSet<_>)| Record::OffsetsRemoved {
            group,
            partitions: partitions.into_iter().collect(),
        };
        let records: Vec<Record> = gone.into_iter().map(record).collect();
        if !records.is_empty() {
            step.write(records, Effect::None);
        }
    }
}

impl Step<'_> {
    /// The answer to a commit, and what of it is to be kept.
    pub(crate) fn commit(&self, commit: &Commit, checked: Result<(), GroupError>) -> (Committed, Vec<OffsetRecord>) {
        let now_ms = self.now_ms();
        let expires_ms = (commit.retention_ms >= 0).then(|| now_ms.saturating_add(commit.retention_ms));
        let mut offsets = Vec::new();
        let mut one = |topic: &Name, topic_id: u128, asked: &CommitPartition| {
            checked?;
            let units = |metadata: &Name| metadata.encode_utf16().count();
            if asked.metadata.as_ref().map_or(0, units) > self.options.offset_metadata_units_max {
                return Err(GroupError::OffsetMetadataTooLarge);
            }
            let value = OffsetValue {
                offset: asked.offset,
                leader_epoch: asked.leader_epoch.max(-1),
                metadata: asked.metadata.clone().unwrap_or_else(|| "".into()),
                committed_ms: now_ms,
                expires_ms,
                topic_id,
            };
            offsets.push(OffsetRecord { topic: topic.clone(), partition: asked.partition, value });
            Ok(())
        };
        let mut topics = Vec::with_capacity(commit.topics.len());
        for topic in &commit.topics {
            let result = |asked: &CommitPartition| (asked.partition, one(&topic.name, topic.id, asked).err());
            let partitions = topic.partitions.iter().map(result).collect();
            topics.push(CommittedTopic { name: topic.name.clone(), id: topic.id, partitions });
        }
        (Committed { topics }, offsets)
    }

    /// Kept for the partition, or about to be.
    fn holds(&self, group: &Group, topic: &Name, partition: i32) -> bool {
        group.offsets.get(topic).is_some_and(|partitions| partitions.contains_key(&partition))
            || self.is_committing(group, topic, partition)
    }

    fn is_committing(&self, group: &Group, topic: &Name, partition: i32) -> bool {
        let commits = self.writes.offsets.get(&group.id).map(|in_flight| &in_flight.commits);
        commits.is_some_and(|commits| commits.contains_key(&(topic.clone(), partition)))
    }

    /// All that is kept for a group, or about to be.
    pub(crate) fn all_offsets(&self, group: &Group) -> Vec<(Name, i32)> {
        let kept = group.offsets.iter();
        let mut all: Vec<(Name, i32)> = kept
            .flat_map(|(topic, partitions)| partitions.keys().map(|partition| (topic.clone(), *partition)))
            .collect();
        if let Some(in_flight) = self.writes.offsets.get(&group.id) {
            all.extend(in_flight.commits.keys().cloned());
            all.sort();
            all.dedup();
        }
        all
    }

    /// Offsets that are out of date go, and with the last one a group without members.
    pub(crate) fn look_for_old(&mut self, group: &mut Group) {
        self.set_retention_timer(group, self.options.offsets_retention_check_interval);
        if group.state == State::Dead {
            return;
        }
        let Some(old) = self.old_offsets(group) else { return };
        let mut records = Vec::new();
        if !old.is_empty() {
            records.push(Record::OffsetsRemoved { group: group.id.clone(), partitions: old.clone() });
        }
        let mut effect = Effect::None;
        let is_unused = group.state == State::Empty && !self.transactional.has(&group.id);
        if is_unused && self.all_offsets(group).len() == old.len() {
            records.push(Record::GroupRemoved { group: group.id.clone() });
            effect = Effect::Removed { groups: vec![group.id.clone()] };
            // No `go`: if the write fails it is empty since when it was.
            group.state = State::Dead;
        }
        if !records.is_empty() {
            self.write(records, effect);
        }
    }

    /// None: nothing of this group gets old now (`offsetExpirationCondition`).
    fn old_offsets(&self, group: &Group) -> Option<Vec<(Name, i32)>> {
        if group.offsets.is_empty() {
            return Some(Vec::new());
        }
        let since_ms = match group.state {
            // A group that was used: its offsets are as old as it is empty.
            State::Empty if group.protocol_type.is_some() => Some(group.since_ms),
            _ if group.protocol_type.is_none() => None,
            State::Stable if group.uses_consumer_protocol() && group.subscribed.is_some() => None,
            _ => return None,
        };
        let now_ms = self.now_ms();
        let retention_ms = duration_ms(self.options.offsets_retention);
        let is_old = |value: &OffsetValue| match value.expires_ms {
            Some(expires_ms) => now_ms >= expires_ms,
            None => now_ms.saturating_sub(since_ms.unwrap_or(value.committed_ms)) >= retention_ms,
        };
        let mut old = Vec::new();
        for (topic, partitions) in group.offsets.iter().filter(|(topic, _)| !group.is_subscribed_to(topic)) {
            let of_topic = partitions
                .iter()
                .filter(|(partition, value)| is_old(value) && !self.is_committing(group, topic, **partition))
                .filter(|(partition, _)| !self.transactional.holds(&group.id, topic, **partition));
            old.extend(of_topic.map(|(partition, _)| (topic.clone(), *partition)));
        }
        Some(old)
    }
}

/// `ClassicGroup.validateOffsetCommit`
fn check_commit(options: &Options, group: &Group, commit: &Commit) -> Result<(), GroupError> {
    if group.state == State::Dead {
        return Err(GroupError::CoordinatorNotAvailable);
    }
    if commit.generation < 0 && group.state == State::Empty {
        // Of an administrator, or of a consumer without membership.
        return Ok(());
    }
    if commit.generation < 0 && commit.member.is_empty() && commit.instance.is_none() {
        return Err(GroupError::UnknownMemberId);
    }
    group.check_member(&commit.member, commit.instance.as_ref())?;
    if commit.generation != group.generation && !plants(options).commit_of_any_generation {
        return Err(GroupError::IllegalGeneration);
    }
    // It knows of the generation but not what it has in it. While the next one forms it may still say how far it came.
    if group.state == State::CompletingRebalance { Err(GroupError::RebalanceInProgress) } else { Ok(()) }
}

/// `ClassicGroup.validateOffsetDelete`
fn check_delete(group: &Group) -> Result<(), GroupError> {
    match group.state {
        State::Dead => Err(GroupError::GroupIdNotFound),
        State::Empty => Ok(()),
        // Of consumers the topics are known: each is looked at.
        State::Stable | State::PreparingRebalance | State::CompletingRebalance if group.uses_consumer_protocol() => {
            Ok(())
        }
        State::Stable | State::PreparingRebalance | State::CompletingRebalance => Err(GroupError::NonEmptyGroup),
    }
}

fn fetched_partition(partition: i32, value: Option<&OffsetValue>) -> FetchedPartition {
    match value {
        Some(value) => FetchedPartition {
            partition,
            error: None,
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata.clone(),
        },
        None => FetchedPartition { partition, error: None, offset: -1, leader_epoch: -1, metadata: "".into() },
    }
}

fn unstable_partition(partition: i32) -> FetchedPartition {
    FetchedPartition { error: Some(GroupError::UnstableOffsetCommit), ..fetched_partition(partition, None) }
}

fn duration_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
