//! `holon topic produce`: each line of stdin is a record.

use super::client::{Cluster, Leaders, name_of, topic_name, version};
use super::{Context, named, print_json, subcommand, text_of, time};
use bytes::Bytes;
use clap::{Arg, ArgMatches, Command};
use holon_kafka::ErrorCode;
use holon_kafka::messages::ProduceRequest;
use holon_kafka::messages::produce_request::{PartitionProduceData, TopicProduceData};
use holon_kafka::records::{Record, pack_records};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

/// What goes out together at most: records, and their bytes. By default a topic takes 1 MiB (`max.message.bytes`).
const BATCH_RECORDS: usize = 5000;
const BATCH_BYTES: usize = 512 << 10;

/// Lines that were read and are not sent yet.
const LINES_AHEAD: usize = 10_000;

const TIMEOUT_MS: i32 = 30_000;

/// A partition whose leader moves is tried again.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(250);

pub fn command(settings: &impl Fn() -> Vec<Arg>) -> Command {
    subcommand("produce", "Writes each line of stdin as a record; ends when all are on disk", settings)
        .arg(named("topic", "its name"))
        .arg(Arg::new("key-separator").long("key-separator").short('k').value_name("TEXT").help(
            "what is before it in a line is the key; records of a key go to one partition, as by Kafka's own producer",
        ))
        .arg(
            Arg::new("partition")
                .long("partition")
                .value_name("N")
                .value_parser(clap::value_parser!(i32).range(0..))
                .help("all to this partition"),
        )
}

pub fn run(mut context: Context, topic: &str, matches: &ArgMatches) -> Result<(), String> {
    let separator = text_of(matches, "key-separator").map(|text| text.as_bytes().to_vec());
    if separator.as_ref().is_some_and(Vec::is_empty) {
        return Err("--key-separator is empty: give what ends a key, such as : or a tab".to_string());
    }
    let mut leaders = context.cluster.leaders(topic)?;
    let only = matches.get_one::<i32>("partition").copied();
    if let Some(only) = only.filter(|only| !leaders.partitions.contains_key(only)) {
        let count = leaders.partitions.len();
        return Err(format!("topic {topic} has no partition {only}: they are 0 to {}", count.saturating_sub(1)));
    }
    let lines = lines();
    let (mut sent, mut rounds) = (0u64, 0usize);
    while let Ok(first) = lines.recv() {
        let (mut bytes, mut records) = (0, Vec::new());
        let mut next = Some(first);
        while let Some(line) = next.take() {
            let line = line.map_err(|error| format!("stdin: {error}; {sent} records were written"))?;
            let record = record(&line, separator.as_deref(), sent + records.len() as u64 + 1)?;
            bytes += line.len();
            records.push(record);
            if records.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
                next = lines.try_recv().ok();
            }
        }
        let partitions = leaders.partitions.len().max(1);
        // Records without a key go round by batch: so batches are large.
        let round = (rounds % partitions) as i32;
        rounds += 1;
        let mut by_partition: BTreeMap<i32, Vec<Record>> = BTreeMap::new();
        for record in records {
            let of_key = record.key.as_ref().map(|key| partition_of(key, partitions));
            by_partition.entry(only.or(of_key).unwrap_or(round)).or_default().push(record);
        }
        for (partition, records) in by_partition {
            let count = records.len() as u64;
            send(&mut context.cluster, topic, &mut leaders, partition, &records)
                .map_err(|error| format!("{error}; {sent} records were written before"))?;
            sent += count;
        }
    }
    if context.json {
        print_json(&json!({ "topic": topic, "records": sent }));
    } else {
        eprintln!("{} records written", crate::text::show_count(sent));
    }
    Ok(())
}

/// Of stdin, read beside what is sent, so that a line that somebody types goes out at once.
fn lines() -> Receiver<std::io::Result<Vec<u8>>> {
    let (sender, receiver) = sync_channel(LINES_AHEAD);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().split(b'\n') {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn record(line: &[u8], separator: Option<&[u8]>, number: u64) -> Result<Record, String> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (key, value) = match separator {
        None => (None, line),
        Some(separator) => {
            let at = line.windows(separator.len()).position(|part| part == separator);
            let at = at.ok_or_else(|| {
                let separator = String::from_utf8_lossy(separator);
                format!("line {number} has no {separator:?}: {} records were written", number - 1)
            })?;
            (Some(Bytes::copy_from_slice(&line[..at])), &line[at + separator.len()..])
        }
    };
    let value = Some(Bytes::copy_from_slice(value));
    Ok(Record { offset: 0, time_ms: time::now_ms(), key, value, headers: Vec::new() })
}

fn send(
    cluster: &mut Cluster,
    topic: &str,
    leaders: &mut Leaders,
    partition: i32,
    records: &[Record],
) -> Result<(), String> {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(pack_records(records)));
    let data = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(TIMEOUT_MS).with_topic_data(vec![data]);
    for _ in 0..TRIES {
        let node = leaders.partitions.get(&partition).copied().unwrap_or(-1);
        let answer = cluster.ask_node(node, &request, version::PRODUCE)?;
        let result = answer.responses.iter().flat_map(|topic| &topic.partition_responses).next();
        let result = result.ok_or("the node made nothing of a batch")?;
        match ErrorCode(result.error_code) {
            ErrorCode::NONE => return Ok(()),
            // It was not written: nothing is there twice.
            ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::LEADER_NOT_AVAILABLE => {
                std::thread::sleep(PAUSE);
                *leaders = cluster.leaders(topic)?;
            }
            ErrorCode::MESSAGE_TOO_LARGE if records.len() > 1 => {
                let (left, right) = records.split_at(records.len() / 2);
                send(cluster, topic, leaders, partition, left)?;
                return send(cluster, topic, leaders, partition, right);
            }
            ErrorCode::MESSAGE_TOO_LARGE => {
                return Err(format!(
                    "a line is longer than topic {topic} takes: `holon topic alter {topic} --set max.message.bytes=…`"
                ));
            }
            error => {
                let message = result.error_message.as_ref().map(|text| format!(": {}", &**text)).unwrap_or_default();
                return Err(format!("partition {partition} of topic {topic}: {}{message}", name_of(error.0)));
            }
        }
    }
    Err(format!(
        "partition {partition} of topic {topic} has had no leader for a while: `holon status` shows who is down"
    ))
}

/// As Kafka's own producer has it, so that records of a key meet those that others wrote.
fn partition_of(key: &[u8], partitions: usize) -> i32 {
    ((murmur2(key) & 0x7fff_ffff) as usize % partitions) as i32
}

/// MurmurHash2, 32 bits, with the seed that Kafka's clients have.
fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let mut hash = SEED ^ bytes.len() as u32;
    let mut rest = bytes;
    while let Some((word, more)) = rest.split_first_chunk::<4>() {
        rest = more;
        let mut word = u32::from_le_bytes(*word).wrapping_mul(M);
        word = (word ^ (word >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ word;
    }
    if !rest.is_empty() {
        rest.iter().enumerate().for_each(|(at, byte)| hash ^= u32::from(*byte) << (8 * at));
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_other_clients_put_them() {
        // Of Kafka's own test of its hash.
        for (text, hash) in
            [("21", -973_932_308i32), ("foobar", -790_332_482), ("a-little-bit-long-string", -985_981_536)]
        {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), hash, "{text}");
        }
        assert_eq!(partition_of(b"21", 1), 0);
    }

    #[test]
    fn a_line_is_a_key_and_a_value() {
        let of = |line: &str, separator: Option<&str>| {
            let record = record(line.as_bytes(), separator.map(str::as_bytes), 3)?;
            let text = |bytes: Option<Bytes>| bytes.map(|bytes| String::from_utf8_lossy(&bytes).to_string());
            Ok::<_, String>((text(record.key), text(record.value)))
        };
        let some = |text: &str| Some(text.to_string());
        assert_eq!(of("a:b:c", None), Ok((None, some("a:b:c"))));
        assert_eq!(of("a:b:c\r", Some(":")), Ok((some("a"), some("b:c"))));
        assert_eq!(of("a=>", Some("=>")), Ok((some("a"), some(""))));
        assert_eq!(of("abc", Some(":")), Err("line 3 has no \":\": 2 records were written".to_string()));
    }
}
