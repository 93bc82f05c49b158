//! Groups of consumers: from Kafka's messages to what a coordinator is asked, and back.
//!
//! A request goes to the shard that has the group's coordinator, as the frame it came in; what comes back is the answer's frame.

use super::cluster::{GROUP_OPERATIONS, operations};
use super::{Connection, commits, text};
use crate::coordinating::{Coordinating, GROUPS_PARTITIONS, GROUPS_TOPIC, partition_of};
use crate::groups::{
    Answer, Coordinator, Fetch, FetchTopic, Fetched, GroupError, Heartbeat, Join, Joined, Leave, Leaver, Left, Name,
    OffsetDelete, Protocol, Sync, Synced,
};
use crate::service::LogService;
use crate::store::LogError;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, TabletId};
use holon_kafka::messages::delete_groups_response::DeletableGroupResult;
use holon_kafka::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use holon_kafka::messages::join_group_response::JoinGroupResponseMember;
use holon_kafka::messages::leave_group_response::MemberResponse;
use holon_kafka::messages::list_groups_response::ListedGroup;
use holon_kafka::messages::offset_delete_request::OffsetDeleteRequestTopic;
use holon_kafka::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use holon_kafka::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use holon_kafka::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
    HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest,
    ListGroupsResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest, OffsetFetchResponse,
    SyncGroupRequest, SyncGroupResponse, TopicName,
};
use holon_kafka::{ErrorCode, Request, RequestHeader, Response, StrBytes, Uuid};
use std::rc::Rc;

/// Of OffsetFetch: several groups in one request.
const SEVERAL_FROM: i16 = 8;

pub(super) fn name(text: &StrBytes) -> Name {
    Name::from(&**text)
}

pub(super) fn names(text: &Option<StrBytes>) -> Option<Name> {
    text.as_ref().map(name)
}

pub(super) fn said(name: &Name) -> StrBytes {
    text(name.to_string())
}

pub(super) fn code(error: Option<GroupError>) -> i16 {
    error.map_or(0, GroupError::code)
}

/// Which group a request is about; `None`: it is about none.
pub(super) fn group_of(request: &Request) -> Option<&str> {
    let group = match request {
        Request::JoinGroup(request) => &request.group_id,
        Request::SyncGroup(request) => &request.group_id,
        Request::Heartbeat(request) => &request.group_id,
        Request::LeaveGroup(request) => &request.group_id,
        Request::OffsetCommit(request) => &request.group_id,
        Request::OffsetDelete(request) => &request.group_id,
        Request::TxnOffsetCommit(request) => &request.group_id,
        Request::OffsetFetch(request) => request.groups.first().map_or(&request.group_id, |group| &group.group_id),
        _ => return None,
    };
    Some(&group.0)
}

/// A frame on its way to the shard that has a coordinator, with where its client is.
pub(crate) fn forwarded(host: &str, tablet: TabletId, frame: &Bytes) -> Bytes {
    let mut out = ByteWriter::with_capacity(host.len() + 12 + frame.len());
    out.put_prefixed(host.as_bytes());
    out.put_u64(tablet.0);
    out.put_slice(frame);
    out.freeze()
}

/// What [`forwarded`] made.
pub(crate) fn received(payload: Bytes) -> Option<(String, TabletId, Bytes)> {
    let mut input = ByteReader::new(payload);
    Some((input.prefixed_str().ok()?, TabletId(input.u64().ok()?), input.rest()))
}

/// The tablet that keeps a group, which is made with all others at the first need.
pub(super) async fn tablet_of(connection: &Connection, group: &str) -> Option<TabletId> {
    let find = |connection: &Connection| {
        connection.service.with_topics(|topics| topics.get(GROUPS_TOPIC)?.tablet(partition_of(group) as i32))
    };
    if let Some(tablet) = find(connection) {
        return Some(tablet);
    }
    connection.make_hidden_topic(GROUPS_TOPIC, GROUPS_PARTITIONS).await;
    find(connection)
}

/// On the shard that has the coordinator.
pub(crate) async fn answer(
    service: &Rc<LogService>,
    tablet: TabletId,
    host: &str,
    header: &RequestHeader,
    request: Request,
) -> Response {
    let coordinating = service.coordinating(tablet);
    let coordinating = coordinating.as_deref();
    match request {
        Request::JoinGroup(request) => Response::JoinGroup(join(service, coordinating, host, header, request).await),
        Request::SyncGroup(request) => Response::SyncGroup(sync(coordinating, request).await),
        Request::Heartbeat(request) => {
            let heartbeat = Heartbeat {
                group: name(&request.group_id.0),
                generation: request.generation_id,
                member: name(&request.member_id),
                instance: names(&request.group_instance_id),
            };
            let answer = ask(coordinating, |machine, time, number, out| {
                machine.heartbeat(time, number, &heartbeat, out);
            });
            let error = match answer.await {
                Ok(Answer::Heartbeat(error)) => code(error),
                Ok(_) => ErrorCode::UNKNOWN_SERVER_ERROR.0,
                Err(error) => error.0,
            };
            Response::Heartbeat(HeartbeatResponse::default().with_error_code(error))
        }
        Request::LeaveGroup(request) => Response::LeaveGroup(leave(coordinating, header.version, request).await),
        Request::OffsetCommit(request) => {
            Response::OffsetCommit(commits::commit(service, coordinating, header.version, request).await)
        }
        Request::OffsetFetch(request) => Response::OffsetFetch(fetch(coordinating, header.version, request).await),
        Request::TxnOffsetCommit(request) => {
            let committed = commits::commit_in_transaction(service, coordinating, header.version, request);
            Response::TxnOffsetCommit(committed.await)
        }
        Request::OffsetDelete(request) => Response::OffsetDelete(delete_offsets(coordinating, request).await),
        Request::DescribeGroups(request) => {
            Response::DescribeGroups(describe(coordinating, header.version, request).await)
        }
        Request::ListGroups(request) => Response::ListGroups(list(coordinating, header.version, request).await),
        Request::DeleteGroups(request) => Response::DeleteGroups(delete(coordinating, request).await),
        // Nothing else is for a coordinator.
        _ => Response::Heartbeat(HeartbeatResponse::default().with_error_code(ErrorCode::INVALID_REQUEST.0)),
    }
}

pub(super) async fn ask(
    coordinating: Option<&Coordinating<Coordinator>>,
    ask: impl FnOnce(&mut Coordinator, crate::groups::Time, crate::groups::RequestNumber, &mut crate::groups::Output),
) -> Result<Answer, ErrorCode> {
    let coordinating = coordinating.ok_or(ErrorCode::NOT_COORDINATOR)?;
    coordinating.ask(ask).await.map_err(|error| match error {
        LogError::NotHere(_) => ErrorCode::NOT_COORDINATOR,
        _ => ErrorCode::COORDINATOR_NOT_AVAILABLE,
    })
}

async fn join(
    service: &Rc<LogService>,
    coordinating: Option<&Coordinating<Coordinator>>,
    host: &str,
    header: &RequestHeader,
    request: JoinGroupRequest,
) -> JoinGroupResponse {
    let protocols = request.protocols.iter();
    let protocols = protocols.map(|one| Protocol { name: name(&one.name), metadata: one.metadata.clone() }).collect();
    let join = Join {
        version: header.version,
        group: name(&request.group_id.0),
        member: name(&request.member_id),
        instance: names(&request.group_instance_id),
        client_id: name(&header.client_id),
        client_host: format!("/{host}").into(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        protocol_type: name(&request.protocol_type),
        protocols,
    };
    let shard = service.shard();
    let random = u128::from(shard.random_u64()) << 64 | u128::from(shard.random_u64());
    let answer = ask(coordinating, |machine, time, number, out| machine.join(time, number, random, join, out)).await;
    let joined = match answer {
        Ok(Answer::Join(joined)) => joined,
        other => {
            let error = other.err().unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR);
            return JoinGroupResponse::default()
                .with_error_code(error.0)
                .with_generation_id(-1)
                .with_protocol_name(Some(text("")))
                .with_member_id(request.member_id);
        }
    };
    joined_response(header.version, joined)
}

fn joined_response(version: i16, joined: Joined) -> JoinGroupResponse {
    let member = |member: &crate::groups::JoinedMember| {
        JoinGroupResponseMember::default()
            .with_member_id(said(&member.member))
            .with_group_instance_id(member.instance.as_ref().map(said).filter(|_| version >= 5))
            .with_metadata(member.metadata.clone())
    };
    // Nullable since version 7.
    let protocol = joined.protocol.as_ref().map(said);
    let protocol = if version >= 7 { protocol } else { Some(protocol.unwrap_or_default()) };
    JoinGroupResponse::default()
        .with_error_code(code(joined.error))
        .with_generation_id(joined.generation)
        .with_protocol_type(joined.protocol_type.as_ref().map(said).filter(|_| version >= 7))
        .with_protocol_name(protocol)
        .with_leader(said(&joined.leader))
        .with_skip_assignment(joined.skip_assignment && version >= 9)
        .with_member_id(said(&joined.member))
        .with_members(joined.members.iter().map(member).collect())
}

async fn sync(coordinating: Option<&Coordinating<Coordinator>>, request: SyncGroupRequest) -> SyncGroupResponse {
    let assignments = request.assignments.iter();
    let sync = Sync {
        group: name(&request.group_id.0),
        generation: request.generation_id,
        member: name(&request.member_id),
        instance: names(&request.group_instance_id),
        protocol_type: names(&request.protocol_type),
        protocol: names(&request.protocol_name),
        assignments: assignments.map(|one| (name(&one.member_id), one.assignment.clone())).collect(),
    };
    match ask(coordinating, |machine, time, number, out| machine.sync(time, number, sync, out)).await {
        Ok(Answer::Sync(Synced { error, protocol_type, protocol, assignment })) => SyncGroupResponse::default()
            .with_error_code(code(error))
            .with_protocol_type(protocol_type.as_ref().map(said))
            .with_protocol_name(protocol.as_ref().map(said))
            .with_assignment(assignment),
        Ok(_) => SyncGroupResponse::default().with_error_code(ErrorCode::UNKNOWN_SERVER_ERROR.0),
        Err(error) => SyncGroupResponse::default().with_error_code(error.0),
    }
}

async fn leave(
    coordinating: Option<&Coordinating<Coordinator>>,
    version: i16,
    request: LeaveGroupRequest,
) -> LeaveGroupResponse {
    let members = match version {
        3.. => request
            .members
            .iter()
            .map(|member| Leaver { member: name(&member.member_id), instance: names(&member.group_instance_id) })
            .collect(),
        _ => vec![Leaver { member: name(&request.member_id), instance: None }],
    };
    let leave = Leave { group: name(&request.group_id.0), members };
    match ask(coordinating, |machine, time, number, out| machine.leave(time, number, leave, out)).await {
        Ok(Answer::Leave(left)) => left_response(version, &left),
        Ok(_) => LeaveGroupResponse::default().with_error_code(ErrorCode::UNKNOWN_SERVER_ERROR.0),
        Err(error) => LeaveGroupResponse::default().with_error_code(error.0),
    }
}

fn left_response(version: i16, left: &Left) -> LeaveGroupResponse {
    if version < 3 {
        return LeaveGroupResponse::default().with_error_code(code(left.single_error()));
    }
    let members = left.members.iter().map(|member| {
        MemberResponse::default()
            .with_member_id(said(&member.member))
            .with_group_instance_id(member.instance.as_ref().map(said))
            .with_error_code(code(member.error))
    });
    LeaveGroupResponse::default().with_error_code(code(left.error)).with_members(members.collect())
}

async fn fetch(
    coordinating: Option<&Coordinating<Coordinator>>,
    version: i16,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    let require_stable = request.require_stable;
    if version < SEVERAL_FROM {
        let topics = request.topics.as_ref().map(|topics| {
            let wanted = topics.iter();
            wanted.map(|topic| (topic.name.clone(), topic.partition_indexes.clone())).collect()
        });
        let fetched = fetch_one(coordinating, request.group_id, topics, require_stable).await;
        let topics = fetched.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.into_iter().map(|partition| {
                OffsetFetchResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_committed_offset(partition.committed_offset)
                    .with_committed_leader_epoch(if version >= 5 { partition.committed_leader_epoch } else { -1 })
                    .with_metadata(partition.metadata)
                    .with_error_code(partition.error_code)
            });
            OffsetFetchResponseTopic::default().with_name(topic.name).with_partitions(partitions.collect())
        });
        return OffsetFetchResponse::default().with_topics(topics.collect()).with_error_code(if version >= 2 {
            fetched.error_code
        } else {
            0
        });
    }
    let mut groups = Vec::with_capacity(request.groups.len());
    for group in request.groups {
        let topics = group.topics.as_ref().map(|topics| {
            let wanted = topics.iter();
            wanted.map(|topic| (topic.name.clone(), topic.partition_indexes.clone())).collect()
        });
        groups.push(fetch_one(coordinating, group.group_id, topics, require_stable).await);
    }
    OffsetFetchResponse::default().with_groups(groups)
}

async fn fetch_one(
    coordinating: Option<&Coordinating<Coordinator>>,
    group: GroupId,
    topics: Option<Vec<(TopicName, Vec<i32>)>>,
    require_stable: bool,
) -> OffsetFetchResponseGroup {
    let wanted = |(topic, partitions): (TopicName, Vec<i32>)| FetchTopic { name: name(&topic.0), id: 0, partitions };
    let topics = topics.map(|topics| topics.into_iter().map(wanted).collect());
    let fetch = Fetch { group: name(&group.0), topics, require_stable };
    let answer = ask(coordinating, |machine, time, number, out| machine.fetch(time, number, fetch, out)).await;
    let response = OffsetFetchResponseGroup::default().with_group_id(group);
    let fetched: Fetched = match answer {
        Ok(Answer::Fetch(fetched)) => fetched,
        other => return response.with_error_code(other.err().unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR).0),
    };
    let topics = fetched.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            OffsetFetchResponsePartitions::default()
                .with_partition_index(partition.partition)
                .with_committed_offset(partition.offset)
                .with_committed_leader_epoch(partition.leader_epoch)
                .with_metadata(Some(said(&partition.metadata)))
                .with_error_code(code(partition.error))
        });
        OffsetFetchResponseTopics::default()
            .with_name(TopicName(said(&topic.name)))
            .with_topic_id(Uuid::from_u128(topic.id))
            .with_partitions(partitions.collect())
    });
    // Topic ids come with version 10, which is not served.
    let topics = topics.map(|topic| topic.with_topic_id(Uuid::nil()));
    response.with_error_code(code(fetched.error)).with_topics(topics.collect())
}

async fn delete_offsets(
    coordinating: Option<&Coordinating<Coordinator>>,
    request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    let wanted = |topic: OffsetDeleteRequestTopic| {
        (name(&topic.name.0), topic.partitions.iter().map(|partition| partition.partition_index).collect())
    };
    let topics = request.topics.into_iter().map(wanted).collect();
    let delete = OffsetDelete { group: name(&request.group_id.0), topics };
    let answer = ask(coordinating, |machine, time, number, out| machine.delete_offsets(time, number, delete, out));
    let deleted = match answer.await {
        Ok(Answer::OffsetDelete(deleted)) => deleted,
        other => {
            let error = other.err().unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR);
            return OffsetDeleteResponse::default().with_error_code(error.0);
        }
    };
    let topics = deleted.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|(index, error)| {
            OffsetDeleteResponsePartition::default().with_partition_index(*index).with_error_code(code(*error))
        });
        OffsetDeleteResponseTopic::default()
            .with_name(TopicName(said(&topic.name)))
            .with_partitions(partitions.collect())
    });
    OffsetDeleteResponse::default().with_error_code(code(deleted.error)).with_topics(topics.collect())
}

async fn describe(
    coordinating: Option<&Coordinating<Coordinator>>,
    version: i16,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let are_asked = request.include_authorized_operations;
    let mut described = Vec::with_capacity(request.groups.len());
    for group in request.groups {
        let wanted = name(&group.0);
        let found = match coordinating {
            Some(coordinating) => coordinating.look(|machine| machine.describe(version, &wanted)).await,
            None => Err(LogError::NotHere(TabletId(0))),
        };
        let result = DescribedGroup::default().with_group_id(group).with_authorized_operations(operations(false, 0));
        let Ok(found) = found else {
            described.push(result.with_error_code(ErrorCode::NOT_COORDINATOR.0));
            continue;
        };
        let members = found.members.iter().map(|member| {
            DescribedGroupMember::default()
                .with_member_id(said(&member.member))
                .with_group_instance_id(member.instance.as_ref().map(said).filter(|_| version >= 4))
                .with_client_id(said(&member.client_id))
                .with_client_host(said(&member.client_host))
                .with_member_metadata(member.metadata.clone())
                .with_member_assignment(member.assignment.clone())
        });
        let why = found.error.filter(|_| version >= 6).map(|error| text(error.to_string()));
        described.push(
            result
                .with_error_code(code(found.error))
                .with_error_message(why)
                .with_group_state(text(found.state.as_str()))
                .with_protocol_type(said(&found.protocol_type))
                .with_protocol_data(said(&found.protocol))
                .with_members(members.collect())
                .with_authorized_operations(operations(are_asked && found.error.is_none(), GROUP_OPERATIONS)),
        );
    }
    DescribeGroupsResponse::default().with_groups(described)
}

async fn list(
    coordinating: Option<&Coordinating<Coordinator>>,
    version: i16,
    request: ListGroupsRequest,
) -> ListGroupsResponse {
    let all = |texts: &[StrBytes]| texts.iter().map(name).collect::<Vec<Name>>();
    let (states, types) = (all(&request.states_filter), all(&request.types_filter));
    let listed = match coordinating {
        Some(coordinating) => coordinating.look(|machine| machine.list(&states, &types)).await,
        None => Err(LogError::NotHere(TabletId(0))),
    };
    let Ok(listed) = listed else {
        return ListGroupsResponse::default().with_error_code(ErrorCode::COORDINATOR_NOT_AVAILABLE.0);
    };
    let groups = listed.iter().map(|group| {
        ListedGroup::default()
            .with_group_id(GroupId(said(&group.group)))
            .with_protocol_type(said(&group.protocol_type))
            .with_group_state(if version >= 4 { text(group.state.as_str()) } else { StrBytes::default() })
            .with_group_type(if version >= 5 { text("classic") } else { StrBytes::default() })
    });
    ListGroupsResponse::default().with_groups(groups.collect())
}

async fn delete(
    coordinating: Option<&Coordinating<Coordinator>>,
    request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let groups: Vec<Name> = request.groups_names.iter().map(|group| name(&group.0)).collect();
    let answer = ask(coordinating, |machine, time, number, out| machine.delete_groups(time, number, groups, out));
    let result =
        |group: GroupId, error: i16| DeletableGroupResult::default().with_group_id(group).with_error_code(error);
    let results = match answer.await {
        Ok(Answer::DeleteGroups(results)) => {
            results.into_iter().map(|(group, error)| result(GroupId(said(&group)), code(error))).collect()
        }
        other => {
            let error = other.err().unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR);
            request.groups_names.into_iter().map(|group| result(group, error.0)).collect()
        }
    };
    DeleteGroupsResponse::default().with_results(results)
}
