//! `holon topic consume`: records as lines.

use super::client::{Cluster, Leaders, name_of, topic_name, version};
use super::{Context, flag, group, is_set, named, subcommand, text_of, time};
use bytes::Bytes;
use clap::{Arg, ArgMatches, Command};
use holon_kafka::messages::FetchRequest;
use holon_kafka::messages::fetch_request::{FetchPartition, FetchTopic};
use holon_kafka::messages::fetch_response::PartitionData;
use holon_kafka::records::{Record, packed_part, unpack_records};
use holon_kafka::unpack::{UnpackLimits, unpack};
use holon_kafka::{Attributes, Batches, ErrorCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::time::Duration;

/// How long a node waits for new records.
const WAIT_MS: i32 = 500;
const ANSWER_BYTES_MAX: i32 = 8 << 20;
const PARTITION_BYTES_MAX: i32 = 1 << 20;
/// A batch as large as brokers take, and the largest windows there are.
const UNPACK_LIMITS: UnpackLimits = UnpackLimits { bytes: 256 << 20, zstd_window_log: 27 };
const PAUSE: Duration = Duration::from_millis(250);

/// Times that are none: the first offset and the next.
const FIRST: i64 = -2;
const NEXT: i64 = -1;

pub fn command(settings: &impl Fn() -> Vec<Arg>) -> Command {
    let count =
        Arg::new("count").long("count").short('n').value_name("N").value_parser(clap::value_parser!(u64).range(1..));
    let partition =
        Arg::new("partition").long("partition").value_name("N").value_parser(clap::value_parser!(i32).range(0..));
    subcommand("consume", "Prints records as lines, and those that come, until it is stopped", settings)
        .arg(named("topic", "its name"))
        .arg(Arg::new("from").long("from").value_name("WHERE").allow_hyphen_values(true).help(
            "beginning, end, an offset, -N (the last N of each partition), a time such as 2026-11-30T12:00:00Z, \
             or 10m: so long ago [default: where --group is, else the beginning]",
        ))
        .arg(Arg::new("group").long("group").short('g').value_name("GROUP").help(
            "goes on where this group is, and moves it on as records are printed; alone, not as one of its members",
        ))
        .arg(flag("exit-at-end", "ends at what is the end now").short('e'))
        .arg(count.help("ends after so many records"))
        .arg(partition.help("only this one"))
        .arg(
            Arg::new("key-separator")
                .long("key-separator")
                .short('k')
                .value_name("TEXT")
                .help("prints keys, and this behind them"),
        )
        .arg(flag("offsets", "prints partition, offset and time before each record"))
}

/// How it is printed.
struct Form {
    json: bool,
    separator: Option<String>,
    offsets: bool,
}

pub fn run(mut context: Context, topic: &str, matches: &ArgMatches) -> Result<(), String> {
    let cluster = &mut context.cluster;
    let mut leaders = cluster.leaders(topic)?;
    if let Some(only) = matches.get_one::<i32>("partition") {
        let count = leaders.partitions.len();
        leaders.partitions.retain(|partition, _| partition == only);
        if leaders.partitions.is_empty() {
            return Err(format!("topic {topic} has no partition {only}: they are 0 to {}", count.saturating_sub(1)));
        }
    }
    let group = text_of(matches, "group");
    let mut next = begin(cluster, topic, &leaders, group, text_of(matches, "from"))?;
    let until = match is_set(matches, "exit-at-end") {
        true => Some(cluster.offsets_at(topic, &leaders, NEXT)?),
        false => None,
    };
    let form = Form {
        json: context.json,
        separator: text_of(matches, "key-separator").map(str::to_string),
        offsets: is_set(matches, "offsets"),
    };
    let mut left = matches.get_one::<u64>("count").copied().unwrap_or(u64::MAX);
    let mut stdout = std::io::stdout().lock();
    while left > 0 && !until.as_ref().is_some_and(|until| is_over(&next, until)) {
        let before = next.clone();
        let records = round(cluster, topic, &mut leaders, &mut next, until.as_ref())?;
        for (partition, record) in records {
            if left == 0 {
                next.insert(partition, record.offset.min(next.get(&partition).copied().unwrap_or(record.offset)));
                continue;
            }
            left -= 1;
            if stdout.write_all(&line(&form, topic, partition, &record)).is_err() {
                return Ok(()); // nobody reads any more
            }
        }
        if stdout.flush().is_err() {
            return Ok(());
        }
        if let Some(group) = group.filter(|_| next != before) {
            group::commit(cluster, group, topic, &next)?;
        }
    }
    Ok(())
}

fn is_over(next: &BTreeMap<i32, i64>, until: &BTreeMap<i32, i64>) -> bool {
    until.iter().all(|(partition, end)| next.get(partition).is_none_or(|next| next >= end))
}

/// The offset at which each partition begins.
fn begin(
    cluster: &mut Cluster,
    topic: &str,
    leaders: &Leaders,
    group: Option<&str>,
    from: Option<&str>,
) -> Result<BTreeMap<i32, i64>, String> {
    if let Some(from) = from {
        return place(cluster, topic, leaders, from);
    }
    let mut first = cluster.offsets_at(topic, leaders, FIRST)?;
    if let Some(group) = group {
        for ((of, partition), offset) in group::committed(cluster, group)? {
            if of == topic
                && let Some(first) = first.get_mut(&partition)
            {
                *first = offset.max(*first);
            }
        }
    }
    Ok(first)
}

/// Offsets of partitions, as people say where: see `--from`.
pub fn place(cluster: &mut Cluster, topic: &str, leaders: &Leaders, place: &str) -> Result<BTreeMap<i32, i64>, String> {
    match place {
        "beginning" => return cluster.offsets_at(topic, leaders, FIRST),
        "end" => return cluster.offsets_at(topic, leaders, NEXT),
        _ => {}
    }
    let (first, next) = (cluster.offsets_at(topic, leaders, FIRST)?, cluster.offsets_at(topic, leaders, NEXT)?);
    let wanted: Box<dyn Fn(i32, i64) -> i64> = if let Ok(number) = place.parse::<i64>() {
        Box::new(move |_, end| if number < 0 { end.saturating_add(number) } else { number })
    } else if let Some(time_ms) = time::parse(place) {
        let found = cluster.offsets_at(topic, leaders, time_ms)?;
        Box::new(move |partition, end| found.get(&partition).copied().filter(|offset| *offset >= 0).unwrap_or(end))
    } else {
        return Err(format!(
            "{place:?} is no place: give beginning, end, an offset, -N, a time such as 2026-11-30T12:00:00Z, or 10m"
        ));
    };
    let of = |(partition, end): (&i32, &i64)| {
        let first = first.get(partition).copied().unwrap_or(0);
        (*partition, wanted(*partition, *end).clamp(first, (*end).max(first)))
    };
    Ok(next.iter().map(of).collect())
}

/// Asks each node once; `next` goes on.
fn round(
    cluster: &mut Cluster,
    topic: &str,
    leaders: &mut Leaders,
    next: &mut BTreeMap<i32, i64>,
    until: Option<&BTreeMap<i32, i64>>,
) -> Result<Vec<(i32, Record)>, String> {
    let mut records = Vec::new();
    let nodes = leaders.by_node();
    let wait_ms = WAIT_MS / (nodes.len().max(1) as i32);
    for (node, partitions) in nodes {
        let one = |index: &i32| {
            FetchPartition::default()
                .with_partition(*index)
                .with_fetch_offset(next.get(index).copied().unwrap_or(0))
                .with_partition_max_bytes(PARTITION_BYTES_MAX)
                .with_current_leader_epoch(-1)
        };
        let wanted = FetchTopic::default().with_topic(topic_name(topic));
        let wanted = wanted.with_partitions(partitions.iter().map(one).collect());
        let request = FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_wait_ms(wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(ANSWER_BYTES_MAX)
            .with_session_epoch(-1)
            .with_topics(vec![wanted]);
        let answer = cluster.ask_node(node, &request, version::FETCH)?;
        for part in answer.responses.into_iter().flat_map(|topic| topic.partitions) {
            let index = part.partition_index;
            match ErrorCode(part.error_code) {
                ErrorCode::NONE => records.extend(taken(topic, part, next, until)?),
                ErrorCode::NOT_LEADER_OR_FOLLOWER => {
                    std::thread::sleep(PAUSE);
                    let only: Vec<i32> = leaders.partitions.keys().copied().collect();
                    *leaders = cluster.leaders(topic)?;
                    leaders.partitions.retain(|partition, _| only.contains(partition));
                }
                ErrorCode::OFFSET_OUT_OF_RANGE => {
                    let first = cluster.offsets_at(topic, leaders, FIRST)?.get(&index).copied().unwrap_or(0);
                    eprintln!("partition {index}: what is before offset {first} is not kept any more; going on there");
                    next.insert(index, first);
                }
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => return Err(format!("topic {topic} was deleted")),
                error => return Err(format!("partition {index} of topic {topic}: {}", name_of(error.0))),
            }
        }
    }
    Ok(records)
}

/// The records of an answer from the offset on that was asked for.
fn taken(
    topic: &str,
    part: PartitionData,
    next: &mut BTreeMap<i32, i64>,
    until: Option<&BTreeMap<i32, i64>>,
) -> Result<Vec<(i32, Record)>, String> {
    let index = part.partition_index;
    let next = next.entry(index).or_insert(0);
    let end = until.and_then(|until| until.get(&index)).copied().unwrap_or(i64::MAX);
    let mut records = Vec::new();
    for batch in Batches::new(part.records.unwrap_or_default()) {
        let (header, whole) = batch.map_err(|error| format!("partition {index} of topic {topic}: {error}"))?;
        let broken = |why: String| {
            let (first, last) = (header.base_offset, header.last_offset());
            format!(
                "offsets {first} to {last} of partition {index} of topic {topic} cannot be read: {why}; \
                 --from {} goes on behind them",
                last + 1
            )
        };
        // Marks of transactions are for clients, not for people.
        if !header.attributes.has(Attributes::CONTROL) {
            let codec = header.attributes.compression().map_err(|error| broken(error.to_string()))?;
            let (packed, mut plain) = (packed_part(&whole), Vec::new());
            let read = unpack(codec, &packed, UNPACK_LIMITS).and_then(|mut input| input.read_to_end(&mut plain));
            read.map_err(|error| broken(error.to_string()))?;
            let all = unpack_records(&header, plain.into()).ok_or_else(|| broken("it is broken".to_string()))?;
            records
                .extend(all.into_iter().filter(|record| (*next..end).contains(&record.offset)).map(|one| (index, one)));
        }
        *next = (header.last_offset() + 1).min(end).max(*next);
    }
    Ok(records)
}

fn line(form: &Form, topic: &str, partition: i32, record: &Record) -> Vec<u8> {
    if form.json {
        let value = json!({
            "topic": topic, "partition": partition, "offset": record.offset, "time": time::show(record.time_ms),
            "key": json_of(record.key.as_ref()), "value": json_of(record.value.as_ref()),
            "headers": record.headers.iter().map(|(name, value)| json!([json_of(Some(name)), json_of(value.as_ref())]))
                .collect::<Vec<Value>>(),
        });
        return format!("{value}\n").into_bytes();
    }
    let mut line = Vec::new();
    if form.offsets {
        line.extend(format!("{partition:>4} {:>12}  {}  ", record.offset, time::show(record.time_ms)).into_bytes());
    }
    if let Some(separator) = &form.separator {
        line.extend_from_slice(record.key.as_deref().unwrap_or_default());
        line.extend_from_slice(separator.as_bytes());
    }
    line.extend_from_slice(record.value.as_deref().unwrap_or_default());
    line.push(b'\n');
    line
}

/// Text where it is text; else `{"hex": "…"}`.
fn json_of(bytes: Option<&Bytes>) -> Value {
    let Some(bytes) = bytes else { return Value::Null };
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}
