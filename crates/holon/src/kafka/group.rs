//! `holon group`: list, describe, reset, delete.

use super::client::{Cluster, name_of, said, topic_name, version};
use super::{Context, consume, flag, is_set, named, print_json, print_table, subcommand, text_of};
use crate::cli::print;
use crate::text::show_count;
use bytes::{Buf, Bytes};
use clap::{Arg, ArgMatches, Command};
use holon_kafka::ErrorCode;
use holon_kafka::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use holon_kafka::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use holon_kafka::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, GroupId, ListGroupsRequest, OffsetCommitRequest, OffsetFetchRequest,
};
use serde_json::json;
use std::collections::BTreeMap;

const PLACES: &str =
    "beginning, end, an offset, -N (N before each end), a time such as 2026-11-30T12:00:00Z, or 10m: so long ago";

/// Offsets by topic and partition.
type Offsets = BTreeMap<(String, i32), i64>;

pub fn command(settings: &impl Fn() -> Vec<Arg>) -> Command {
    let to = Arg::new("to").long("to").required(true).value_name("WHERE").allow_hyphen_values(true);
    let topic = Arg::new("topic").long("topic").required(true).value_name("TOPIC");
    Command::new("group")
        .about("Works on groups of consumers of the log: list, describe, reset, delete")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(subcommand("list", "Lists all groups", settings))
        .subcommand(
            subcommand(
                "describe",
                "Shows where a group is in each partition, how far behind, and its members",
                settings,
            )
            .arg(named("group", "its id")),
        )
        .subcommand(
            subcommand("reset", "Moves a group without members to another place in a topic", settings)
                .arg(named("group", "its id"))
                .arg(topic.help("in which topic"))
                .arg(to.help(PLACES))
                .arg(flag("dry-run", "only shows what would be")),
        )
        .subcommand(
            subcommand("delete", "Deletes a group without members, with its offsets", settings)
                .arg(named("group", "its id")),
        )
}

pub fn run(context: Context, name: &str, matches: &ArgMatches) -> Result<(), String> {
    let group = text_of(matches, "group").unwrap_or("").to_string();
    match name {
        "list" => list(context),
        "describe" => describe(context, &group),
        "reset" => reset(context, &group, matches),
        _ => delete(context, &group),
    }
}

fn group_id(group: &str) -> GroupId {
    GroupId(said(group))
}

fn no_group(group: &str) -> String {
    format!("there is no group {group}: `holon group list` shows those there are")
}

fn has_members(group: &str) -> String {
    format!("group {group} has members: stop them first (`holon group describe {group}` shows them)")
}

/// Each node lists those it coordinates.
fn list(mut context: Context) -> Result<(), String> {
    let cluster = &mut context.cluster;
    let mut groups = BTreeMap::new();
    for node in cluster.nodes()? {
        let answer = cluster.ask_node(node, &ListGroupsRequest::default(), version::LIST_GROUPS)?;
        if answer.error_code != 0 {
            return Err(format!("node {node} does not list its groups: {}", name_of(answer.error_code)));
        }
        for group in answer.groups {
            groups
                .insert(group.group_id.0.to_string(), (group.group_state.to_string(), group.protocol_type.to_string()));
        }
    }
    if context.json {
        let one = |(group, (state, kind)): (&String, &(String, String))| json!({ "group": group, "state": state, "type": kind });
        print_json(&json!(groups.iter().map(one).collect::<Vec<_>>()));
        return Ok(());
    }
    let rows = groups.into_iter().map(|(group, (state, _))| vec![group, state]).collect();
    print_table(&["group", "state"], rows, 2, "no groups yet: a consumer with a group.id makes one");
    Ok(())
}

fn described(cluster: &mut Cluster, group: &str) -> Result<DescribedGroup, String> {
    let node = cluster.coordinator(group)?;
    let request = DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
    let answer = cluster.ask_node(node, &request, version::DESCRIBE_GROUPS)?;
    let found = answer.groups.into_iter().next().ok_or_else(|| no_group(group))?;
    match ErrorCode(found.error_code) {
        ErrorCode::NONE if &*found.group_state == "Dead" => Err(no_group(group)),
        ErrorCode::NONE => Ok(found),
        error => Err(format!("group {group}: {}", name_of(error.0))),
    }
}

/// What a group has committed.
pub fn committed(cluster: &mut Cluster, group: &str) -> Result<Offsets, String> {
    let node = cluster.coordinator(group)?;
    let request = OffsetFetchRequest::default().with_group_id(group_id(group)).with_topics(None);
    let answer = cluster.ask_node(node, &request, version::OFFSET_FETCH)?;
    if answer.error_code != 0 {
        return Err(format!("group {group}: {}", name_of(answer.error_code)));
    }
    let mut offsets = Offsets::new();
    for topic in answer.topics {
        for partition in topic.partitions.iter().filter(|partition| partition.committed_offset >= 0) {
            offsets.insert((topic.name.0.to_string(), partition.partition_index), partition.committed_offset);
        }
    }
    Ok(offsets)
}

/// As nobody's member, which a group that has some refuses.
pub fn commit(cluster: &mut Cluster, group: &str, topic: &str, offsets: &BTreeMap<i32, i64>) -> Result<(), String> {
    let node = cluster.coordinator(group)?;
    let one = |(partition, offset): (&i32, &i64)| {
        OffsetCommitRequestPartition::default().with_partition_index(*partition).with_committed_offset(*offset)
    };
    let wanted = OffsetCommitRequestTopic::default().with_name(topic_name(topic));
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![wanted.with_partitions(offsets.iter().map(one).collect())]);
    let answer = cluster.ask_node(node, &request, version::OFFSET_COMMIT)?;
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    match partitions.map(|partition| ErrorCode(partition.error_code)).find(|error| *error != ErrorCode::NONE) {
        None => Ok(()),
        Some(ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::ILLEGAL_GENERATION) => Err(has_members(group)),
        Some(error) => Err(format!("group {group} is where it was: {}", name_of(error.0))),
    }
}

/// Topics and partitions of an assignment, as consumers of all clients write it: version, topics, user data.
fn assignment(mut bytes: Bytes) -> Option<Vec<(String, Vec<i32>)>> {
    bytes.try_get_u16().ok()?;
    let mut topics = Vec::new();
    for _ in 0..bytes.try_get_i32().ok()? {
        let length = usize::from(bytes.try_get_u16().ok()?);
        if length > bytes.len() {
            return None;
        }
        let name = String::from_utf8(bytes.split_to(length).to_vec()).ok()?;
        let mut partitions = Vec::new();
        for _ in 0..bytes.try_get_i32().ok()? {
            partitions.push(bytes.try_get_i32().ok()?);
        }
        topics.push((name, partitions));
    }
    Some(topics)
}

fn describe(mut context: Context, group: &str) -> Result<(), String> {
    let cluster = &mut context.cluster;
    let found = described(cluster, group)?;
    let offsets = committed(cluster, group)?;
    let mut owners: BTreeMap<(String, i32), String> = BTreeMap::new();
    let mut members = Vec::new();
    for member in &found.members {
        let assigned = assignment(member.member_assignment.clone()).unwrap_or_default();
        for (topic, partitions) in &assigned {
            for partition in partitions {
                owners.insert((topic.clone(), *partition), member.member_id.to_string());
            }
        }
        let count: usize = assigned.iter().map(|(_, partitions)| partitions.len()).sum();
        members.push((member, count));
    }
    let keys: std::collections::BTreeSet<&(String, i32)> = offsets.keys().chain(owners.keys()).collect();
    let topics: std::collections::BTreeSet<&String> = keys.iter().map(|(topic, _)| topic).collect();
    let mut ends = Offsets::new();
    for topic in topics {
        // One that was deleted has no end, and must not hide the others.
        let Ok(leaders) = cluster.leaders(topic) else { continue };
        for (partition, end) in cluster.offsets_at(topic, &leaders, -1)? {
            ends.insert((topic.clone(), partition), end);
        }
    }
    let lag_of = |key: &(String, i32)| {
        let (end, committed) = (ends.get(key)?, offsets.get(key).copied().unwrap_or(0));
        Some((end - committed).max(0))
    };
    if context.json {
        let partition = |key: &&(String, i32)| {
            json!({
                "topic": key.0, "partition": key.1, "committed_offset": offsets.get(key), "next_offset": ends.get(key),
                "lag": lag_of(key), "member": owners.get(key),
            })
        };
        let member = |(member, _): &(&DescribedGroupMember, usize)| {
            let host = member.client_host.trim_start_matches('/');
            json!({ "member": &*member.member_id, "client": &*member.client_id, "host": host })
        };
        print_json(&json!({
            "group": group, "state": &*found.group_state, "protocol": &*found.protocol_data,
            "members": members.iter().map(member).collect::<Vec<_>>(),
            "partitions": keys.iter().map(partition).collect::<Vec<_>>(),
        }));
        return Ok(());
    }
    let lag: i64 = keys.iter().filter_map(|key| lag_of(key)).sum();
    let shown = show_count(u64::try_from(lag).unwrap_or(0));
    print(&format!("group {group}: {}, {} members, {shown} records behind\n\n", &*found.group_state, members.len()));
    let figure = |number: Option<i64>| {
        number.map_or_else(|| "–".to_string(), |number| show_count(u64::try_from(number).unwrap_or(0)))
    };
    let row = |key: &&(String, i32)| {
        let owner = owners.get(key).cloned().unwrap_or_else(|| "–".to_string());
        let (at, end) = (offsets.get(key).copied(), ends.get(key).copied());
        vec![key.0.clone(), owner, key.1.to_string(), figure(at), figure(end), figure(lag_of(key))]
    };
    let rows = keys.iter().map(row).collect();
    let heads = ["topic", "member", "partition", "committed", "end", "lag"];
    print_table(&heads, rows, 2, "it has committed nothing");
    if !members.is_empty() {
        let row = |(member, count): &(&DescribedGroupMember, usize)| {
            let of = |text: &str| text.to_string();
            vec![
                of(&member.member_id),
                of(&member.client_id),
                of(member.client_host.trim_start_matches('/')),
                count.to_string(),
            ]
        };
        print("\n");
        print_table(&["member", "client", "host", "partitions"], members.iter().map(row).collect(), 3, "");
    }
    Ok(())
}

fn reset(mut context: Context, group: &str, matches: &ArgMatches) -> Result<(), String> {
    let (topic, to) = (text_of(matches, "topic").unwrap_or(""), text_of(matches, "to").unwrap_or(""));
    let cluster = &mut context.cluster;
    let leaders = cluster.leaders(topic)?;
    let before = committed(cluster, group)?;
    let wanted = consume::place(cluster, topic, &leaders, to)?;
    let is_dry = is_set(matches, "dry-run");
    if !is_dry {
        commit(cluster, group, topic, &wanted)?;
    }
    let was = |partition: i32| before.get(&(topic.to_string(), partition)).copied();
    if context.json {
        let one = |(partition, offset): (&i32, &i64)| {
            let before = was(*partition);
            json!({ "partition": partition, "before": before, "offset": offset })
        };
        let partitions: Vec<_> = wanted.iter().map(one).collect();
        print_json(&json!({ "group": group, "topic": topic, "dry_run": is_dry, "partitions": partitions }));
        return Ok(());
    }
    let figure = |number: i64| show_count(u64::try_from(number).unwrap_or(0));
    let row = |(partition, offset): (&i32, &i64)| {
        vec![partition.to_string(), was(*partition).map_or_else(|| "–".to_string(), figure), figure(*offset)]
    };
    let verb = if is_dry { "would be" } else { "is now" };
    print(&format!("group {group} {verb} here in topic {topic}\n\n"));
    print_table(&["partition", "before", "offset"], wanted.iter().map(row).collect(), 0, "no partitions");
    Ok(())
}

fn delete(mut context: Context, group: &str) -> Result<(), String> {
    let node = context.cluster.coordinator(group)?;
    let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(group)]);
    let answer = context.cluster.ask_node(node, &request, version::DELETE_GROUPS)?;
    let result = answer.results.first().ok_or("the node made nothing of it")?;
    match ErrorCode(result.error_code) {
        ErrorCode::NONE => {}
        ErrorCode::GROUP_ID_NOT_FOUND => return Err(no_group(group)),
        ErrorCode::NON_EMPTY_GROUP => return Err(has_members(group)),
        error => return Err(format!("group {group} is not deleted: {}", name_of(error.0))),
    }
    if context.json {
        print_json(&json!({ "deleted": group }));
    } else {
        print(&format!("group {group} is deleted\n"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_read_and_what_is_none_is_not_believed() {
        let bytes =
            [&[0, 1, 0, 0, 0, 1, 0, 2][..], b"ab", &[0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 9, 0xff, 0xff, 0xff, 0xff]];
        let bytes = Bytes::from(bytes.concat());
        assert_eq!(assignment(bytes.clone()), Some(vec![("ab".to_string(), vec![7, 9])]));
        // User data that is missing is fine: some clients leave it out.
        (0..bytes.len() - 4).for_each(|end| assert_eq!(assignment(bytes.slice(..end)), None, "{end}"));
        assert_eq!(assignment(Bytes::from_static(&[0, 0, 0x7f, 0xff, 0xff, 0xff])), None);
    }
}
