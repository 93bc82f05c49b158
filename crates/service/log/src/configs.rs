//! What may be set for a topic, with Kafka's names and defaults (`TopicConfig`, `LogConfig` of 4.1), and one of our own: `durability`.
//!
//! What has no meaning here is taken and shown all the same if Kafka's tools and clients set it by habit; each says so.

use crate::store::PartitionOptions;
use crate::topics::Topic;
use holon_kafka::Timestamps;
use std::collections::BTreeMap;
use std::time::Duration;

/// As Kafka's DescribeConfigs numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Boolean,
    Text,
    Int,
    Long,
    Double,
    List,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub name: &'static str,
    pub kind: Kind,
    pub default: &'static str,
    /// What a value has to be.
    pub valid: Valid,
    pub help: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub enum Valid {
    Any,
    OneOf(&'static [&'static str]),
    /// A list of these.
    SomeOf(&'static [&'static str]),
    /// Whole numbers from and to.
    Between(i64, i64),
    /// A number from 0 to 1.
    Ratio,
}

const fn config(name: &'static str, kind: Kind, default: &'static str, valid: Valid, help: &'static str) -> Config {
    Config { name, kind, default, valid, help }
}

const INT: i64 = i32::MAX as i64;
const LONG: i64 = i64::MAX;
const NEVER: &str = "9223372036854775807";
const BOOLEAN: Valid = Valid::OneOf(&["true", "false"]);
const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

/// All of them, by name.
pub const CONFIGS: &[Config] = &[
    config(
        "cleanup.policy",
        Kind::List,
        "delete",
        Valid::SomeOf(&["delete", "compact"]),
        "what becomes of old records",
    ),
    config(
        "compression.type",
        Kind::Text,
        "producer",
        Valid::OneOf(CODECS),
        "batches stay as they come: no meaning here",
    ),
    config(
        "delete.retention.ms",
        Kind::Long,
        "86400000",
        Valid::Between(0, LONG),
        "how long tombstones stay in a compacted topic",
    ),
    config(
        "durability",
        Kind::Text,
        "sync",
        Valid::OneOf(&["sync", "periodic"]),
        "acknowledged when synced, or when in the log's buffer",
    ),
    config("file.delete.delay.ms", Kind::Long, "60000", Valid::Between(0, LONG), "files go at once: no meaning here"),
    config("flush.messages", Kind::Long, NEVER, Valid::Between(1, LONG), "see durability: no meaning here"),
    config("flush.ms", Kind::Long, NEVER, Valid::Between(0, LONG), "see durability: no meaning here"),
    config("follower.replication.throttled.replicas", Kind::List, "", Valid::Any, "no meaning here"),
    config("index.interval.bytes", Kind::Int, "4096", Valid::Between(0, INT), "fixed: no meaning here"),
    config("leader.replication.throttled.replicas", Kind::List, "", Valid::Any, "no meaning here"),
    config(
        "max.compaction.lag.ms",
        Kind::Long,
        NEVER,
        Valid::Between(1, LONG),
        "a record is compacted after so long at the latest",
    ),
    config("max.message.bytes", Kind::Int, "1048588", Valid::Between(0, INT), "the largest batch"),
    config(
        "message.timestamp.after.max.ms",
        Kind::Long,
        "3600000",
        Valid::Between(0, LONG),
        "how far a timestamp may be ahead of now",
    ),
    config(
        "message.timestamp.before.max.ms",
        Kind::Long,
        NEVER,
        Valid::Between(0, LONG),
        "how far a timestamp may be behind now",
    ),
    config(
        "message.timestamp.type",
        Kind::Text,
        "CreateTime",
        Valid::OneOf(&["CreateTime", "LogAppendTime"]),
        "whose clock",
    ),
    config(
        "min.cleanable.dirty.ratio",
        Kind::Double,
        "0.5",
        Valid::Ratio,
        "the part of a log that is not compacted yet",
    ),
    config("min.compaction.lag.ms", Kind::Long, "0", Valid::Between(0, LONG), "a record stays so long at least"),
    config(
        "min.insync.replicas",
        Kind::Int,
        "1",
        Valid::Between(1, INT),
        "so many have a batch before acks=all is answered",
    ),
    config("preallocate", Kind::Boolean, "false", BOOLEAN, "no meaning here"),
    config(
        "retention.bytes",
        Kind::Long,
        "-1",
        Valid::Between(-1, LONG),
        "a partition's size, beyond which old segments go",
    ),
    config("retention.ms", Kind::Long, "604800000", Valid::Between(-1, LONG), "the age at which segments go"),
    config("segment.bytes", Kind::Int, "1073741824", Valid::Between(1 << 20, INT), "the size of a segment"),
    config("segment.index.bytes", Kind::Int, "10485760", Valid::Between(4, INT), "no meaning here"),
    config(
        "segment.jitter.ms",
        Kind::Long,
        "0",
        Valid::Between(0, LONG),
        "how much earlier, at random, a segment is full",
    ),
    config("segment.ms", Kind::Long, "604800000", Valid::Between(1, LONG), "the age at which a segment is full"),
    config("unclean.leader.election.enable", Kind::Boolean, "false", BOOLEAN, "by name only: no meaning here"),
];

/// # Errors
/// Why the value is none for it, in the words of Kafka's ConfigException.
pub fn check(name: &str, value: &str) -> Result<(), String> {
    let Some(config) = find(name) else { return Err(format!("Unknown topic config name: {name}")) };
    let invalid = |why: &str| Err(format!("Invalid value {value} for configuration {name}: {why}"));
    match config.valid {
        Valid::Any => Ok(()),
        Valid::OneOf(values) if values.contains(&value) => Ok(()),
        Valid::OneOf(values) => invalid(&format!("String must be one of: {}", values.join(", "))),
        Valid::SomeOf(values) => match value.split(',').map(str::trim).find(|part| !values.contains(part)) {
            Some(_) => invalid(&format!("String must be one of: {}", values.join(", "))),
            None => Ok(()),
        },
        Valid::Between(least, most) => match value.trim().parse::<i64>() {
            Ok(number) if number < least => invalid(&format!("Value must be at least {least}")),
            Ok(number) if number > most => invalid(&format!("Value must be no more than {most}")),
            Ok(_) => Ok(()),
            Err(_) => invalid("Not a number of the right size"),
        },
        Valid::Ratio => match value.trim().parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(()),
            _ => invalid("Value must be from 0 to 1"),
        },
    }
}

pub fn find(name: &str) -> Option<&'static Config> {
    CONFIGS.binary_search_by_key(&name, |config| config.name).ok().map(|at| &CONFIGS[at])
}

/// What a partition goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    pub batch_bytes_max: usize,
    /// Records bear the time of the append.
    pub append_time: bool,
    before_ms_max: i64,
    after_ms_max: i64,
    /// Acknowledged before it is synced.
    pub periodic: bool,
    pub segment_bytes: u64,
    pub segment_ms: i64,
    pub segment_jitter_ms: i64,
    /// `None`: for ever.
    pub retention_ms: Option<i64>,
    /// `None`: whatever its size.
    pub retention_bytes: Option<u64>,
    pub min_in_sync: u32,
    pub compacted: bool,
}

impl TopicSettings {
    /// What was set, and where nothing was, the default.
    pub fn of(configs: &BTreeMap<String, String>) -> TopicSettings {
        let text = |name: &str| {
            let default = find(name).map_or("", |config| config.default);
            configs.get(name).map_or(default, String::as_str)
        };
        let number = |name: &str| text(name).trim().parse::<i64>().unwrap_or(0);
        let natural = |name: &str| u64::try_from(number(name)).ok();
        let policies = text("cleanup.policy");
        let has = |policy: &str| policies.split(',').any(|part| part.trim() == policy);
        TopicSettings {
            batch_bytes_max: usize::try_from(number("max.message.bytes")).unwrap_or(0),
            append_time: text("message.timestamp.type") == "LogAppendTime",
            before_ms_max: number("message.timestamp.before.max.ms"),
            after_ms_max: number("message.timestamp.after.max.ms"),
            periodic: text("durability") == "periodic",
            segment_bytes: natural("segment.bytes").unwrap_or(0),
            segment_ms: number("segment.ms"),
            segment_jitter_ms: number("segment.jitter.ms"),
            retention_ms: Some(number("retention.ms")).filter(|age| *age >= 0 && has("delete")),
            retention_bytes: natural("retention.bytes").filter(|_| has("delete")),
            min_in_sync: u32::try_from(number("min.insync.replicas")).unwrap_or(1),
            compacted: has("compact"),
        }
    }

    pub fn of_topic(topic: &Topic) -> TopicSettings {
        TopicSettings::of(&topic.configs)
    }

    pub fn timestamps(&self, now_ms: i64) -> Timestamps {
        match self.append_time {
            true => Timestamps::Append,
            false => Timestamps::Create { now_ms, before_ms_max: self.before_ms_max, after_ms_max: self.after_ms_max },
        }
    }

    pub fn partition(&self, producer_expiration: Duration) -> PartitionOptions {
        PartitionOptions {
            segment_bytes: self.segment_bytes,
            segment_ms: self.segment_ms,
            segment_jitter_ms: self.segment_jitter_ms,
            producer_expiration,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_default_is_a_value_that_may_be_set_and_names_are_in_order() {
        assert!(CONFIGS.windows(2).all(|pair| pair[0].name < pair[1].name));
        for config in CONFIGS {
            assert_eq!(check(config.name, config.default), Ok(()), "{}", config.name);
        }
    }

    #[test]
    fn values_that_are_none_are_refused_with_the_reason() {
        for (name, value, part) in [
            ("nothing", "1", "Unknown topic config name: nothing"),
            ("retention.ms", "-2", "Value must be at least -1"),
            ("max.message.bytes", "2147483648", "Value must be no more than 2147483647"),
            ("max.message.bytes", "many", "Not a number"),
            ("cleanup.policy", "compact,burn", "must be one of: delete, compact"),
            ("durability", "never", "must be one of: sync, periodic"),
            ("min.cleanable.dirty.ratio", "1.5", "from 0 to 1"),
        ] {
            let error = check(name, value).expect_err(name);
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(check("cleanup.policy", "compact, delete"), Ok(()));
    }

    #[test]
    fn what_is_set_counts_and_the_rest_is_as_the_defaults_are() {
        let defaults = TopicSettings::of(&BTreeMap::new());
        assert_eq!((defaults.batch_bytes_max, defaults.segment_bytes), (1_048_588, 1 << 30));
        assert_eq!((defaults.retention_ms, defaults.retention_bytes), (Some(604_800_000), None));
        assert!(!defaults.periodic && !defaults.append_time && !defaults.compacted);
        let set = [("cleanup.policy", "compact"), ("durability", "periodic"), ("retention.bytes", "5")];
        let set = set.into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let settings = TopicSettings::of(&set);
        assert!(settings.periodic && settings.compacted);
        assert_eq!((settings.retention_ms, settings.retention_bytes), (None, None), "nothing is deleted for its age");
    }
}
