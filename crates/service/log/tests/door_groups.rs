//! Groups of consumers through the door, in every version.

mod common;

use bytes::Bytes;
use common::door::*;
use holon_kafka::messages::join_group_request::JoinGroupRequestProtocol;
use holon_kafka::messages::leave_group_request::MemberIdentity;
use holon_kafka::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use holon_kafka::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use holon_kafka::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use holon_kafka::messages::sync_group_request::SyncGroupRequestAssignment;
use holon_kafka::messages::{DeleteGroupsRequest, DescribeGroupsRequest, ListGroupsRequest, OffsetDeleteRequest};
use holon_kafka::messages::{
    FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest,
    OffsetFetchRequest, SyncGroupRequest,
};
use holon_kafka::{Api, ErrorCode, StrBytes};

fn join(version: i16, name: &str, member: &StrBytes) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default().with_name(said("range")).with_metadata(Bytes::from_static(b"m"));
    let request = JoinGroupRequest::default()
        .with_group_id(group(name))
        .with_member_id(member.clone())
        .with_session_timeout_ms(10_000)
        .with_protocol_type(said("consumer"))
        .with_protocols(vec![protocol]);
    if version >= 1 { request.with_rebalance_timeout_ms(10_000) } else { request }
}

#[test]
fn a_group_of_one_goes_through_its_life_in_each_version() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 2, &[]), 0);
    let told = versions(&mut client);
    let to = |api: Api| told[&api.key()].1;
    for version in 0..=to(Api::JoinGroup) {
        let of = |api: Api| version.clamp(api.versions().0, to(api));
        let name = format!("g{version}");
        let find = of(Api::FindCoordinator);
        let request = match find {
            4.. => FindCoordinatorRequest::default().with_coordinator_keys(vec![said(&name)]),
            _ => FindCoordinatorRequest::default().with_key(said(&name)),
        };
        let answer = client.ask(&request, find);
        let port = if find >= 4 { answer.coordinators[0].port } else { answer.port };
        assert_eq!(port, 9092, "{version}");
        let mut joined = client.ask(&join(version, &name, &said("")), version);
        if version >= 4 {
            assert_eq!(joined.error_code, ErrorCode::MEMBER_ID_REQUIRED.0);
            let member = joined.member_id.clone();
            joined = client.ask(&join(version, &name, &member), version);
        }
        assert_eq!((joined.error_code, joined.generation_id), (0, 1), "{version}");
        assert_eq!((&joined.leader, joined.members.len()), (&joined.member_id, 1));
        let (generation, member) = (joined.generation_id, joined.member_id);
        let assignment = SyncGroupRequestAssignment::default().with_member_id(member.clone());
        let mut sync = SyncGroupRequest::default()
            .with_group_id(group(&name))
            .with_generation_id(generation)
            .with_member_id(member.clone())
            .with_assignments(vec![assignment.with_assignment(Bytes::from_static(b"a"))]);
        if of(Api::SyncGroup) >= 5 {
            sync = sync.with_protocol_type(Some(said("consumer"))).with_protocol_name(Some(said("range")));
        }
        let synced = client.ask(&sync, of(Api::SyncGroup));
        assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"a"[..]), "{version}");
        let heartbeat = HeartbeatRequest::default().with_group_id(group(&name)).with_member_id(member.clone());
        let beat = client.ask(&heartbeat.with_generation_id(generation), of(Api::Heartbeat));
        assert_eq!(beat.error_code, 0);
        commit_and_fetch(&mut client, &name, (generation, &member), of(Api::OffsetCommit), of(Api::OffsetFetch));
        let leave = LeaveGroupRequest::default().with_group_id(group(&name));
        let leave = match of(Api::LeaveGroup) {
            3.. => leave.with_members(vec![MemberIdentity::default().with_member_id(member)]),
            _ => leave.with_member_id(member),
        };
        assert_eq!(client.ask(&leave, of(Api::LeaveGroup)).error_code, 0);
    }
    // All of it is there after the process ended at once.
    let node = node.crash();
    let mut client = node.connect();
    for version in 0..=to(Api::JoinGroup) {
        assert_eq!(fetched(&mut client, &format!("g{version}"), 5), 42, "{version}");
    }
}

fn commit_and_fetch(client: &mut Client, name: &str, member: (i32, &StrBytes), commit: i16, fetch: i16) {
    let partition = OffsetCommitRequestPartition::default().with_partition_index(1).with_committed_offset(42);
    let wanted = OffsetCommitRequestTopic::default().with_name(topic("t")).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group(name))
        .with_generation_id_or_member_epoch(member.0)
        .with_member_id(member.1.clone())
        .with_topics(vec![wanted]);
    let committed = client.ask(&request, commit);
    assert_eq!(committed.topics[0].partitions[0].error_code, 0, "{commit}");
    assert_eq!(fetched(client, name, fetch), 42, "{fetch}");
}

fn fetched(client: &mut Client, name: &str, version: i16) -> i64 {
    if version >= 8 {
        let wanted = OffsetFetchRequestTopics::default().with_name(topic("t")).with_partition_indexes(vec![1]);
        let asked = OffsetFetchRequestGroup::default().with_group_id(group(name)).with_topics(Some(vec![wanted]));
        let answer = client.ask(&OffsetFetchRequest::default().with_groups(vec![asked]), version);
        assert_eq!(answer.groups[0].error_code, 0);
        return answer.groups[0].topics[0].partitions[0].committed_offset;
    }
    let wanted = OffsetFetchRequestTopic::default().with_name(topic("t")).with_partition_indexes(vec![1]);
    let request = OffsetFetchRequest::default().with_group_id(group(name)).with_topics(Some(vec![wanted]));
    let answer = client.ask(&request, version);
    answer.topics[0].partitions[0].committed_offset
}

#[test]
fn groups_are_listed_described_and_deleted_in_each_version() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 2, &[]), 0);
    let told = versions(&mut client);
    let all = |api: Api| api.versions().0..=told[&api.key()].1;
    let listed = client.ask(&ListGroupsRequest::default(), 4);
    assert_eq!((listed.error_code, listed.groups.len()), (0, 0), "before there was any");
    let described = client.ask(&DescribeGroupsRequest::default().with_groups(vec![group("a")]), 5);
    assert_eq!((described.groups[0].error_code, &*described.groups[0].group_state), (0, "Dead"));
    // Groups of consumers without membership, and one with a member.
    let nobody = (-1, &said(""));
    for name in ["a", "b", "c", "d"] {
        commit_and_fetch(&mut client, name, nobody, 7, 5);
    }
    let asked = client.ask(&join(3, "e", &said("")), 3);
    assert_eq!(asked.error_code, 0);
    for version in all(Api::ListGroups) {
        let answer = client.ask(&ListGroupsRequest::default(), version);
        let names: Vec<String> = answer.groups.iter().map(|group| group.group_id.0.to_string()).collect();
        let sorted: std::collections::BTreeSet<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(sorted.into_iter().collect::<Vec<_>>(), ["a", "b", "c", "d", "e"], "{version}");
    }
    let wanted = DescribeGroupsRequest::default().with_groups(vec![group("a"), group("nobody")]);
    let answer = client.ask(&wanted.with_include_authorized_operations(true), 6);
    let operations: Vec<i32> = answer.groups.iter().map(|group| group.authorized_operations).collect();
    assert_eq!(operations, [1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11, i32::MIN]);
    for version in all(Api::DescribeGroups) {
        let wanted = vec![group("a"), group("e"), group("nobody")];
        let answer = client.ask(&DescribeGroupsRequest::default().with_groups(wanted), version);
        let states: Vec<&str> = answer.groups.iter().map(|group| &*group.group_state).collect();
        assert_eq!(states, ["Empty", "CompletingRebalance", "Dead"], "{version}");
        assert_eq!(&*answer.groups[1].members[0].client_host, "/127.0.0.1");
        assert_eq!(answer.groups[2].error_code, if version >= 6 { ErrorCode::GROUP_ID_NOT_FOUND.0 } else { 0 });
    }
    let partition = OffsetDeleteRequestPartition::default().with_partition_index(1);
    let wanted = OffsetDeleteRequestTopic::default().with_name(topic("t")).with_partitions(vec![partition]);
    let request = OffsetDeleteRequest::default().with_group_id(group("d")).with_topics(vec![wanted]);
    assert_eq!(client.ask(&request, 0).topics[0].partitions[0].error_code, 0);
    assert_eq!(fetched(&mut client, "d", 5), -1);
    for (version, name) in all(Api::DeleteGroups).zip(["a", "b", "c"]) {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group(name), group("e"), group("f")]);
        let codes: Vec<i16> = client.ask(&request, version).results.iter().map(|one| one.error_code).collect();
        assert_eq!(codes, [0, ErrorCode::NON_EMPTY_GROUP.0, ErrorCode::GROUP_ID_NOT_FOUND.0], "{version}");
        assert_eq!(fetched(&mut client, name, 5), -1);
    }
}

#[test]
fn offsets_are_kept_only_for_partitions_that_are_there() {
    let node = Node::start();
    let mut client = node.connect();
    assert_eq!(client.create("t", 2, &[]), 0);
    let of = |name: &str, indexes: &[i32]| {
        let partition = |index: &i32| {
            OffsetCommitRequestPartition::default().with_partition_index(*index).with_committed_offset(42)
        };
        let partitions = indexes.iter().map(partition).collect();
        OffsetCommitRequestTopic::default().with_name(topic(name)).with_partitions(partitions)
    };
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
    let wanted = [
        (vec![of("t", &[1, 2, -1])], vec![("t", 1, 0), ("t", 2, unknown), ("t", -1, unknown)]),
        (
            vec![of("nothing", &[0]), of("t", &[1]), of("__holon_groups", &[0])],
            vec![("t", 1, 0), ("nothing", 0, unknown), ("__holon_groups", 0, unknown)],
        ),
        (vec![of("nothing", &[0, 1])], vec![("nothing", 0, unknown), ("nothing", 1, unknown)]),
    ];
    for (topics, expected) in wanted {
        let request = OffsetCommitRequest::default()
            .with_group_id(group("g"))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(topics);
        let answer = client.ask(&request, 7);
        let partitions = |name: &str, index: i32| {
            let topic = answer.topics.iter().find(|topic| *topic.name.0 == *name).expect("it is answered");
            topic.partitions.iter().find(|partition| partition.partition_index == index).map(|one| one.error_code)
        };
        for (name, index, error) in &expected {
            assert_eq!(partitions(name, *index), Some(*error), "{name} {index}");
        }
        assert_eq!(answer.topics.iter().map(|topic| topic.partitions.len()).sum::<usize>(), expected.len());
    }
    assert_eq!(fetched(&mut client, "g", 5), 42);
}
