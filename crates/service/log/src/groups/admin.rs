//! DescribeGroups, ListGroups and DeleteGroups.

use bytes::Bytes;
use std::collections::BTreeMap;

use crate::groups::answer::{Answer, Output};
use crate::groups::coordinator::Coordinator;
use crate::groups::error::GroupError;
use crate::groups::group::{Group, State};
use crate::groups::record::Record;
use crate::groups::request::{Name, RequestNumber, Time};
use crate::groups::writes::Effect;

/// Since then DescribeGroups says of a group that is not there that it is not; before, that it is dead.
const DESCRIBE_NOT_FOUND_SINCE: i16 = 6;

/// A group, to DescribeGroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub group: Name,
    pub error: Option<GroupError>,
    pub state: State,
    /// Empty: none.
    pub protocol_type: Name,
    /// Empty unless the group is stable.
    pub protocol: Name,
    pub members: Vec<DescribedMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    pub member: Name,
    pub instance: Option<Name>,
    pub client_id: Name,
    pub client_host: Name,
    /// Empty unless the group is stable.
    pub metadata: Bytes,
    pub assignment: Bytes,
}

/// A group, to ListGroups. Its type is "classic".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub group: Name,
    /// Empty: none.
    pub protocol_type: Name,
    pub state: State,
}

impl Coordinator {
    /// DescribeGroups, versions 0 to 6, of one group.
    pub fn describe(&self, version: i16, group: &Name) -> Described {
        match self.groups.get(group) {
            Some(group) => describe(group),
            None => Described {
                group: group.clone(),
                error: (version >= DESCRIBE_NOT_FOUND_SINCE).then_some(GroupError::GroupIdNotFound),
                state: State::Dead,
                protocol_type: "".into(),
                protocol: "".into(),
                members: Vec::new(),
            },
        }
    }

    /// ListGroups. No states, or no types, stand for all; case does not matter; what is not known fits nothing.
    pub fn list(&self, states: &[Name], types: &[Name]) -> Vec<Listed> {
        let fits = |wanted: &Name, is: &str| wanted.trim().eq_ignore_ascii_case(is);
        if !types.is_empty() && !types.iter().any(|wanted| fits(wanted, "classic")) {
            return Vec::new();
        }
        let wanted = |group: &&Group| states.is_empty() || states.iter().any(|state| fits(state, group.state.as_str()));
        let listed = |group: &Group| Listed {
            group: group.id.clone(),
            protocol_type: group.protocol_type.clone().unwrap_or_else(|| "".into()),
            state: group.state,
        };
        self.groups.values().filter(wanted).map(listed).collect()
    }

    /// How many groups are in which state.
    pub fn states(&self) -> Vec<(&'static str, u64)> {
        let mut states: BTreeMap<&'static str, u64> = BTreeMap::new();
        self.groups.values().for_each(|group| *states.entry(group.state.as_str()).or_default() += 1);
        states.into_iter().collect()
    }

    /// Group, topic, partition and offset of what is committed, so many at most.
    pub fn committed(&self, most: usize) -> Vec<(Name, Name, i32, i64)> {
        let of_group = self.groups.values().flat_map(|group| {
            let of_topic = group.offsets.iter().flat_map(|(topic, partitions)| {
                partitions.iter().map(move |(partition, value)| (topic, *partition, value.offset))
            });
            of_topic.map(|(topic, partition, offset)| (group.id.clone(), topic.clone(), partition, offset))
        });
        of_group.take(most).collect()
    }

    /// DeleteGroups: groups without members go, with their offsets. Answered when that is durable.
    pub fn delete_groups(&mut self, time: Time, number: RequestNumber, groups: Vec<Name>, out: &mut Output) {
        let (all, mut step) = self.parts(time, out);
        let (mut results, mut records, mut removed) = (Vec::new(), Vec::new(), Vec::new());
        for id in groups {
            let error = match all.get_mut(&id) {
                None => Some(GroupError::GroupIdNotFound),
                Some(group) => match group.state {
                    State::Dead => Some(GroupError::GroupIdNotFound),
                    State::Empty => {
                        let partitions = step.all_offsets(group);
                        if !partitions.is_empty() {
                            records.push(Record::OffsetsRemoved { group: id.clone(), partitions });
                        }
                        records.push(Record::GroupRemoved { group: id.clone() });
                        // Until it is durable nobody joins, or commits; no `go`, as it may have to come back.
                        group.state = State::Dead;
                        removed.push(id.clone());
                        None
                    }
                    State::PreparingRebalance | State::CompletingRebalance | State::Stable => {
                        Some(GroupError::NonEmptyGroup)
                    }
                },
            };
            results.push((id, error));
        }
        let write = (!records.is_empty()).then(|| step.write(records, Effect::Removed { groups: removed }));
        step.answer_after(write, number, Answer::DeleteGroups(results));
    }
}

fn describe(group: &Group) -> Described {
    let stable = group.state == State::Stable;
    let protocol = group.protocol.clone().filter(|_| stable).unwrap_or_else(|| "".into());
    let members = group.members.values().map(|member| DescribedMember {
        member: member.id.clone(),
        instance: member.instance.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        metadata: if stable { member.metadata(&protocol) } else { Bytes::new() },
        assignment: member.assignment.clone(),
    });
    Described {
        group: group.id.clone(),
        error: None,
        state: group.state,
        protocol_type: group.protocol_type.clone().unwrap_or_else(|| "".into()),
        members: members.collect(),
        protocol,
    }
}
