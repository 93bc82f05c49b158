//! `holon topic`: create, list, describe, alter, delete; produce and consume are files of their own.

use super::client::{Cluster, name_of, said, topic_name, version};
use super::{Context, consume, flag, is_set, named, print_json, print_table, produce, subcommand, text_of};
use crate::cli::print;
use crate::text::show_count;
use clap::{Arg, ArgAction, ArgMatches, Command};
use holon_kafka::ErrorCode;
use holon_kafka::messages::create_partitions_request::CreatePartitionsTopic;
use holon_kafka::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use holon_kafka::messages::describe_configs_request::DescribeConfigsResource;
use holon_kafka::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use holon_kafka::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    IncrementalAlterConfigsRequest,
};
use serde_json::json;
use std::collections::BTreeMap;

const TOPIC: i8 = 2;
/// Of a setting that somebody set for the topic (`DYNAMIC_TOPIC_CONFIG`).
const SET_FOR_TOPIC: i8 = 1;
/// Operations on a setting.
const SET: i8 = 0;
const DELETE: i8 = 1;

const TIMEOUT_MS: i32 = 30_000;

pub fn command(settings: &impl Fn() -> Vec<Arg>) -> Command {
    let config = |help| Arg::new("set").long("set").value_name("NAME=VALUE").action(ArgAction::Append).help(help);
    let unset = Arg::new("unset").long("unset").value_name("NAME").action(ArgAction::Append);
    Command::new("topic")
        .about("Works on topics of the log: create, list, describe, alter, delete, produce, consume")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            subcommand("create", "Makes a topic", settings)
                .arg(named("topic", "its name"))
                .arg(
                    Arg::new("partitions")
                        .long("partitions")
                        .short('p')
                        .value_name("N")
                        .default_value("1")
                        .value_parser(clap::value_parser!(i32).range(1..))
                        .help("how many partitions it has"),
                )
                .arg(config("a setting, e.g. retention.ms=86400000; may be given again")),
        )
        .subcommand(subcommand("list", "Lists all topics", settings))
        .subcommand(
            subcommand("describe", "Shows a topic's partitions, and its settings that are not as by default", settings)
                .arg(named("topic", "its name"))
                .arg(flag("all", "all settings")),
        )
        .subcommand(
            subcommand("alter", "Changes settings of a topic, or gives it more partitions", settings)
                .arg(named("topic", "its name"))
                .arg(
                    Arg::new("partitions")
                        .long("partitions")
                        .short('p')
                        .value_name("N")
                        .value_parser(clap::value_parser!(i32).range(1..))
                        .help("how many partitions it has then, more than now; keys may go to others then"),
                )
                .arg(config("a setting, e.g. retention.ms=86400000; may be given again"))
                .arg(unset.help("a setting that is to be as by default again; may be given again")),
        )
        .subcommand(
            subcommand("delete", "Deletes a topic and all that is in it", settings).arg(named("topic", "its name")),
        )
        .subcommand(produce::command(settings))
        .subcommand(consume::command(settings))
}

pub fn run(context: Context, name: &str, matches: &ArgMatches) -> Result<(), String> {
    let topic = text_of(matches, "topic").unwrap_or("").to_string();
    match name {
        "create" => create(context, &topic, matches),
        "list" => list(context),
        "describe" => describe(context, &topic, is_set(matches, "all")),
        "alter" => alter(context, &topic, matches),
        "delete" => delete(context, &topic),
        "produce" => produce::run(context, &topic, matches),
        _ => consume::run(context, &topic, matches),
    }
}

/// `NAME=VALUE`, as often as it is given.
fn settings_of(matches: &ArgMatches) -> Result<Vec<(String, String)>, String> {
    let given = matches.get_many::<String>("set").into_iter().flatten();
    let split = |text: &String| {
        let parts = text.split_once('=').map(|(name, value)| (name.to_string(), value.to_string()));
        parts.ok_or_else(|| format!("--set {text}: it has to be NAME=VALUE"))
    };
    given.map(split).collect()
}

/// What a node said of an error, or its name.
fn told(code: i16, message: Option<&str>) -> String {
    message.filter(|message| !message.is_empty()).map_or_else(|| name_of(code), str::to_string)
}

fn create(mut context: Context, name: &str, matches: &ArgMatches) -> Result<(), String> {
    let partitions = matches.get_one::<i32>("partitions").copied().unwrap_or(1);
    let configs = settings_of(matches)?;
    let config = |(name, value): &(String, String)| {
        CreatableTopicConfig::default().with_name(said(name)).with_value(Some(said(value)))
    };
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(-1)
        .with_configs(configs.iter().map(config).collect());
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(TIMEOUT_MS);
    let answer = context.cluster.ask(&request, version::CREATE_TOPICS)?;
    let result = answer.topics.first().ok_or("the node made nothing of it")?;
    match ErrorCode(result.error_code) {
        ErrorCode::NONE => {}
        ErrorCode::TOPIC_ALREADY_EXISTS => {
            return Err(format!("there is a topic {name} already: `holon topic describe {name}` shows it"));
        }
        ErrorCode::INVALID_CONFIG => {
            let what = told(result.error_code, result.error_message.as_deref());
            return Err(format!("{what}; `holon topic describe TOPIC --all` shows all settings there are"));
        }
        error => return Err(format!("topic {name}: {}", told(error.0, result.error_message.as_deref()))),
    }
    if context.json {
        print_json(&json!({ "topic": name, "partitions": partitions }));
    } else {
        let s = if partitions == 1 { "" } else { "s" };
        print(&format!("topic {name} with {} partition{s}\n", show_count(partitions as u64)));
    }
    Ok(())
}

/// First and next offsets of a topic.
type Ends = (BTreeMap<i32, i64>, BTreeMap<i32, i64>);

fn ends(cluster: &mut Cluster, name: &str) -> Result<Ends, String> {
    let leaders = cluster.leaders(name)?;
    Ok((cluster.offsets_at(name, &leaders, -2)?, cluster.offsets_at(name, &leaders, -1)?))
}

fn count((first, next): &Ends) -> u64 {
    let of = |(partition, next): (&i32, &i64)| next - first.get(partition).copied().unwrap_or(0);
    u64::try_from(next.iter().map(of).sum::<i64>()).unwrap_or(0)
}

fn list(mut context: Context) -> Result<(), String> {
    let topics = context.cluster.metadata(None)?.topics;
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    for topic in topics {
        let name = topic.name.map(|name| name.0.to_string()).unwrap_or_default();
        // One whose node is down has no figures, and must not hide the others.
        let records = ends(&mut context.cluster, &name).ok().map(|ends| count(&ends));
        let partitions = topic.partitions.len();
        let shown = records.map_or_else(|| "–".to_string(), show_count);
        values.push(json!({ "topic": name, "partitions": partitions, "records": records }));
        rows.push(vec![name, show_count(partitions as u64), shown]);
    }
    if context.json {
        print_json(&json!(values));
    } else {
        print_table(&["topic", "partitions", "records"], rows, 1, "no topics yet: `holon topic create NAME` makes one");
    }
    Ok(())
}

fn describe(mut context: Context, name: &str, all: bool) -> Result<(), String> {
    let cluster = &mut context.cluster;
    let topic = cluster.topic(name)?;
    let ends = ends(cluster, name)?;
    let wanted = DescribeConfigsResource::default().with_resource_type(TOPIC).with_resource_name(said(name));
    let request = DescribeConfigsRequest::default().with_resources(vec![wanted.with_configuration_keys(None)]);
    let answer = cluster.ask(&request, version::DESCRIBE_CONFIGS)?;
    let configs = answer.results.into_iter().next().map(|result| result.configs).unwrap_or_default();
    let shown = configs.iter().filter(|config| all || config.config_source == SET_FOR_TOPIC);
    let shown: Vec<(String, String)> = shown
        .map(|config| {
            (config.name.to_string(), config.value.as_ref().map(|value| value.to_string()).unwrap_or_default())
        })
        .collect();
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    for partition in &topic.partitions {
        let index = partition.partition_index;
        let of = |ends: &BTreeMap<i32, i64>| ends.get(&index).copied().unwrap_or(0);
        let (first, next) = (of(&ends.0), of(&ends.1));
        let ids = |nodes: &[holon_kafka::messages::BrokerId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
        let (replicas, in_sync) = (ids(&partition.replica_nodes), ids(&partition.isr_nodes));
        values.push(json!({
            "partition": index, "leader": partition.leader_id.0, "replicas": replicas, "in_sync": in_sync,
            "first_offset": first, "next_offset": next,
        }));
        let figure = |number: i64| show_count(u64::try_from(number).unwrap_or(0));
        let in_sync = format!("{} of {}", in_sync.len(), replicas.len());
        let leader = partition.leader_id.0.to_string();
        rows.push(vec![index.to_string(), leader, in_sync, figure(first), figure(next), figure(next - first)]);
    }
    if context.json {
        let settings: BTreeMap<String, String> = shown.into_iter().collect();
        print_json(&json!({ "topic": name, "partitions": values, "settings": settings }));
        return Ok(());
    }
    let partitions = topic.partitions.len();
    print(&format!(
        "topic {name}: {} partitions, {} records\n\n",
        show_count(partitions as u64),
        show_count(count(&ends))
    ));
    print_table(
        &["partition", "leader", "in sync", "first offset", "next offset", "records"],
        rows,
        0,
        "no partitions",
    );
    let rows = shown.into_iter().map(|(name, value)| vec![name, value]).collect();
    print("\n");
    print_table(&["setting", "value"], rows, 2, "all settings are as by default; --all shows them");
    Ok(())
}

fn alter(mut context: Context, name: &str, matches: &ArgMatches) -> Result<(), String> {
    let one = |name: &str, operation, value: Option<&str>| {
        AlterableConfig::default().with_name(said(name)).with_config_operation(operation).with_value(value.map(said))
    };
    let mut configs: Vec<AlterableConfig> =
        settings_of(matches)?.iter().map(|(name, value)| one(name, SET, Some(value))).collect();
    configs.extend(matches.get_many::<String>("unset").into_iter().flatten().map(|name| one(name, DELETE, None)));
    let partitions = matches.get_one::<i32>("partitions").copied();
    if configs.is_empty() && partitions.is_none() {
        return Err("nothing to change: give --set NAME=VALUE, --unset NAME or --partitions N".to_string());
    }
    context.cluster.topic(name)?;
    if let Some(partitions) = partitions {
        grow(&mut context, name, partitions)?;
    }
    if configs.is_empty() {
        return Ok(());
    }
    let count = configs.len();
    let resource = AlterConfigsResource::default().with_resource_type(TOPIC).with_resource_name(said(name));
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource.with_configs(configs)]);
    let answer = context.cluster.ask(&request, version::INCREMENTAL_ALTER_CONFIGS)?;
    if let Some(result) = answer.responses.iter().find(|result| result.error_code != 0) {
        let what = told(result.error_code, result.error_message.as_deref());
        return Err(format!("nothing was changed: {what}; `holon topic describe {name} --all` shows all settings"));
    }
    if context.json {
        print_json(&json!({ "topic": name, "changed": count }));
    } else {
        let s = if count == 1 { "" } else { "s" };
        print(&format!("topic {name}: {count} setting{s} changed\n"));
    }
    Ok(())
}

fn grow(context: &mut Context, name: &str, partitions: i32) -> Result<(), String> {
    let topic = CreatePartitionsTopic::default().with_name(topic_name(name)).with_count(partitions);
    let request = CreatePartitionsRequest::default().with_topics(vec![topic.with_assignments(None)]);
    let answer = context.cluster.ask(&request.with_timeout_ms(TIMEOUT_MS), version::CREATE_PARTITIONS)?;
    if let Some(result) = answer.results.iter().find(|result| result.error_code != 0) {
        return Err(format!("nothing was changed: {}", told(result.error_code, result.error_message.as_deref())));
    }
    if context.json {
        print_json(&json!({ "topic": name, "partitions": partitions }));
    } else {
        print(&format!("topic {name} has {partitions} partitions\n"));
    }
    Ok(())
}

fn delete(mut context: Context, name: &str) -> Result<(), String> {
    context.cluster.topic(name)?;
    let request = DeleteTopicsRequest::default().with_topic_names(vec![topic_name(name)]).with_timeout_ms(TIMEOUT_MS);
    let answer = context.cluster.ask(&request, version::DELETE_TOPICS)?;
    if let Some(result) = answer.responses.iter().find(|result| result.error_code != 0) {
        return Err(format!("topic {name} is not deleted: {}", name_of(result.error_code)));
    }
    if context.json {
        print_json(&json!({ "deleted": name }));
    } else {
        print(&format!("topic {name} is deleted\n"));
    }
    Ok(())
}
