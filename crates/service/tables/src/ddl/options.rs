//! `WITH …` of tables: values read, checked and brought into the form that Cassandra shows them in.

use super::properties;
use crate::error::{CqlError, CqlResult};
use crate::schema::options::{COMPACTION_PACKAGE, COMPRESSION_PACKAGE};
use crate::schema::{Caching, ReadRepair, RowsCached, SpeculativeRetry, TableOption};
use crate::tablet::storage_options::parse_scaling;
use bytes::Bytes;
use holon_cql_language::ast::Property;
use std::collections::BTreeMap;

/// Chance of a false positive of the bloom filters of levelled tables, if a statement does not say.
const LEVELED_BLOOM_FILTER_FP_CHANCE: f64 = 0.1;

/// The options of CREATE TABLE (`id` is not one of them).
pub(super) fn for_new_table(given: &[&Property]) -> CqlResult<Vec<TableOption>> {
    let mut options = for_table(given)?;
    let has_chance = options.iter().any(|option| matches!(option, TableOption::BloomFilterFpChance(_)));
    let is_leveled = options.iter().any(|option| match option {
        TableOption::Compaction(map) => {
            map.get("class").is_some_and(|class| class.ends_with("LeveledCompactionStrategy"))
        }
        _ => false,
    });
    if is_leveled && !has_chance {
        options.push(TableOption::BloomFilterFpChance(LEVELED_BLOOM_FILTER_FP_CHANCE));
    }
    Ok(options)
}

pub(super) fn for_table(given: &[&Property]) -> CqlResult<Vec<TableOption>> {
    given.iter().map(|property| table_option(property)).collect()
}

fn table_option(property: &Property) -> CqlResult<TableOption> {
    Ok(match property.name.as_str() {
        "additional_write_policy" => TableOption::AdditionalWritePolicy(speculative_retry(property)?),
        "bloom_filter_fp_chance" => TableOption::BloomFilterFpChance(properties::double(property)?),
        "caching" => TableOption::Caching(caching(&properties::map(property)?)?),
        "cdc" => TableOption::Cdc(properties::boolean(property)?),
        "comment" => TableOption::Comment(properties::text(property)?),
        "compaction" => TableOption::Compaction(compaction(properties::map(property)?)?),
        "compression" => TableOption::Compression(compression(properties::map(property)?)?),
        "memtable" => TableOption::Memtable(memtable(properties::text(property)?)?),
        "crc_check_chance" => TableOption::CrcCheckChance(properties::double(property)?),
        "default_time_to_live" => TableOption::DefaultTimeToLive(properties::integer(property)?),
        "extensions" => TableOption::Extensions(extensions(properties::map(property)?)?),
        "gc_grace_seconds" => TableOption::GcGraceSeconds(properties::integer(property)?),
        "max_index_interval" => TableOption::MaxIndexInterval(properties::integer(property)?),
        "memtable_flush_period_in_ms" => TableOption::MemtableFlushPeriod(properties::integer(property)?),
        "min_index_interval" => TableOption::MinIndexInterval(properties::integer(property)?),
        "read_repair" => TableOption::ReadRepair(read_repair(property)?),
        "speculative_retry" => TableOption::SpeculativeRetry(speculative_retry(property)?),
        _ => return Err(properties::unknown(property)),
    })
}

fn memtable(name: String) -> CqlResult<String> {
    match name.as_str() {
        "default" => Ok(name),
        _ => Err(CqlError::Config(format!("Memtable configuration \"{name}\" not found."))),
    }
}

fn read_repair(property: &Property) -> CqlResult<ReadRepair> {
    let value = properties::text(property)?;
    match value.to_ascii_uppercase().as_str() {
        "BLOCKING" => Ok(ReadRepair::Blocking),
        "NONE" => Ok(ReadRepair::None),
        _ => Err(CqlError::Config(format!("Invalid value '{value}' for read_repair; it is 'BLOCKING' or 'NONE'"))),
    }
}

fn caching(map: &BTreeMap<String, String>) -> CqlResult<Caching> {
    let mut caching = Caching::default();
    for (name, value) in map {
        let upper = value.to_ascii_uppercase();
        match name.as_str() {
            "keys" => {
                caching.keys = match upper.as_str() {
                    "ALL" => true,
                    "NONE" => false,
                    _ => {
                        return Err(CqlError::config(
                            "Invalid value for caching sub-option 'keys': only 'ALL' and 'NONE' are allowed",
                        ));
                    }
                };
            }
            "rows_per_partition" => {
                caching.rows = match (upper.as_str(), value.parse::<u32>()) {
                    ("ALL", _) => RowsCached::All,
                    ("NONE", _) | (_, Ok(0)) => RowsCached::None,
                    (_, Ok(rows)) => RowsCached::Head(rows),
                    _ => {
                        return Err(CqlError::config(
                            "Invalid value for caching sub-option 'rows_per_partition': only 'ALL', 'NONE', and integer \
                             values are allowed",
                        ));
                    }
                };
            }
            _ => {
                let names: Vec<&str> = map.keys().map(String::as_str).collect();
                return Err(CqlError::Config(format!(
                    "Invalid caching sub-options {}: only 'keys' and 'rows_per_partition' are allowed",
                    names.join(", ")
                )));
            }
        }
    }
    Ok(caching)
}

const COMPACTION_COMMON: [&str; 9] = [
    "class",
    "enabled",
    "log_all",
    "max_threshold",
    "min_threshold",
    "only_purge_repaired_tombstones",
    "provide_overlapping_tombstones",
    "tombstone_compaction_interval",
    "tombstone_threshold",
];

/// The strategies that Cassandra 4.1 and 5.0 have: what each takes beyond the common options, and whether thresholds are
/// among them.
const COMPACTION_STRATEGIES: [(&str, bool, &[&str]); 4] = [
    (
        "SizeTieredCompactionStrategy",
        true,
        &["bucket_high", "bucket_low", "min_sstable_size", "unchecked_tombstone_compaction"],
    ),
    (
        "LeveledCompactionStrategy",
        false,
        &["fanout_size", "single_sstable_uplevel", "sstable_size_in_mb", "unchecked_tombstone_compaction"],
    ),
    (
        "TimeWindowCompactionStrategy",
        true,
        &[
            "bucket_high",
            "bucket_low",
            "compaction_window_size",
            "compaction_window_unit",
            "expired_sstable_check_frequency_seconds",
            "min_sstable_size",
            "timestamp_resolution",
            "unchecked_tombstone_compaction",
            "unsafe_aggressive_sstable_expiration",
        ],
    ),
    (
        "UnifiedCompactionStrategy",
        false,
        &[
            "base_shard_count",
            "expired_sstable_check_frequency_seconds",
            "flush_size_override",
            "min_sstable_size",
            "overlap_inclusion_method",
            "scaling_parameters",
            "sstable_growth",
            "target_sstable_size",
            "unchecked_tombstone_compaction",
            "unsafe_aggressive_sstable_expiration",
        ],
    ),
];

fn compaction(mut map: BTreeMap<String, String>) -> CqlResult<BTreeMap<String, String>> {
    let class = map
        .get("class")
        .ok_or_else(|| CqlError::config("Missing sub-option 'class' for the 'compaction' option."))?
        .clone();
    let short = class.strip_prefix(COMPACTION_PACKAGE).unwrap_or(&class);
    let Some((name, has_thresholds, own)) = COMPACTION_STRATEGIES.iter().find(|(name, _, _)| *name == short) else {
        let qualified = qualified(&class, COMPACTION_PACKAGE);
        return Err(CqlError::Config(format!("Unable to find compaction strategy class '{qualified}'")));
    };
    let is_threshold = |option: &str| matches!(option, "max_threshold" | "min_threshold");
    let is_known = |option: &str| {
        own.contains(&option) || (COMPACTION_COMMON.contains(&option) && (*has_thresholds || !is_threshold(option)))
    };
    let unknown: Vec<&str> = map.keys().map(String::as_str).filter(|option| !is_known(option)).collect();
    if !unknown.is_empty() {
        return Err(CqlError::Config(format!(
            "Properties specified [{}] are not understood by {name}",
            unknown.join(", ")
        )));
    }
    if let Some(scaling) = map.get("scaling_parameters") {
        parse_scaling(scaling).map_err(CqlError::Config)?;
    }
    map.insert("class".to_string(), format!("{COMPACTION_PACKAGE}{name}"));
    if *has_thresholds {
        let min = threshold(&mut map, "min_threshold", 4)?;
        let max = threshold(&mut map, "max_threshold", 32)?;
        if min < 2 {
            return Err(CqlError::Config(format!("Min compaction threshold cannot be less than 2 (got {min})")));
        }
        if max < min {
            return Err(CqlError::Config(format!(
                "Min compaction threshold ({min}) cannot be greater than max ({max})"
            )));
        }
    }
    Ok(map)
}

fn threshold(map: &mut BTreeMap<String, String>, name: &str, default: u32) -> CqlResult<u32> {
    let text = map.entry(name.to_string()).or_insert_with(|| default.to_string());
    text.parse().map_err(|_| {
        CqlError::Config(format!("Invalid value {text} for '{name}' compaction sub-option - must be an integer"))
    })
}

/// The compressors, and what each takes beyond the common options.
const COMPRESSORS: [(&str, &[&str]); 5] = [
    ("LZ4Compressor", &["lz4_compressor_type", "lz4_high_compressor_level"]),
    ("ZstdCompressor", &["compression_level"]),
    ("SnappyCompressor", &[]),
    ("DeflateCompressor", &[]),
    ("NoopCompressor", &[]),
];

fn compression(mut map: BTreeMap<String, String>) -> CqlResult<BTreeMap<String, String>> {
    let off = BTreeMap::from([("enabled".to_string(), "false".to_string())]);
    if map.is_empty() {
        return Ok(off);
    }
    if let Some(enabled) = map.remove("enabled") {
        match enabled.to_ascii_lowercase().as_str() {
            "true" => {}
            "false" if map.is_empty() => return Ok(off),
            "false" => {
                return Err(CqlError::config(
                    "If the 'enabled' option is set to false no other options must be specified",
                ));
            }
            _ => return Err(CqlError::Config(format!("Invalid value '{enabled}' for 'enabled'; it is true or false"))),
        }
    }
    let older_name = map.remove("sstable_compression");
    let class = map.remove("class").or(older_name);
    let class = class.ok_or_else(|| CqlError::config("Missing sub-option 'class' for the 'compression' option."))?;
    if class.is_empty() {
        return Ok(off);
    }
    // Cassandra takes this old place of the option and forgets it; the option of the table is what counts.
    map.remove("crc_check_chance");
    let short = class.strip_prefix(COMPRESSION_PACKAGE).unwrap_or(&class);
    let Some((name, own)) = COMPRESSORS.iter().find(|(name, _)| *name == short) else {
        let qualified = qualified(&class, COMPRESSION_PACKAGE);
        return Err(CqlError::Config(format!("Could not create Compression for type {qualified}")));
    };
    let is_known =
        |option: &str| own.contains(&option) || matches!(option, "chunk_length_in_kb" | "min_compress_ratio");
    if let Some(unknown) = map.keys().find(|option| !is_known(option)) {
        return Err(CqlError::Config(format!("Unknown compression options {unknown}")));
    }
    let chunk = map.entry("chunk_length_in_kb".to_string()).or_insert_with(|| "16".to_string());
    match chunk.parse::<u32>() {
        Ok(length) if length.is_power_of_two() => {}
        Ok(_) => return Err(CqlError::config("chunk_length_in_kb must be a power of 2")),
        Err(_) => {
            return Err(CqlError::Config(format!("Invalid value for chunk_length_in_kb: {chunk}")));
        }
    }
    map.insert("class".to_string(), format!("{COMPRESSION_PACKAGE}{name}"));
    Ok(map)
}

fn qualified(class: &str, package: &str) -> String {
    if class.contains('.') { class.to_string() } else { format!("{package}{class}") }
}

/// Values in hexadecimal, with `0x`.
fn extensions(map: BTreeMap<String, String>) -> CqlResult<BTreeMap<String, Bytes>> {
    map.into_iter()
        .map(|(name, text)| {
            let bytes = text.strip_prefix("0x").and_then(from_hexadecimal).ok_or_else(|| {
                CqlError::Config(format!("Invalid value '{text}' for extension '{name}'; write a blob such as 0x0a"))
            })?;
            Ok((name, bytes))
        })
        .collect()
}

fn from_hexadecimal(digits: &str) -> Option<Bytes> {
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return None;
    }
    let pair = |start: usize| u8::from_str_radix(digits.get(start..start + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(pair).collect()
}

/// `99p`, `99percentile`, `50ms`, `ALWAYS`, `NEVER` (older: `NONE`), `MIN(99p,50ms)`, `MAX(…)`.
fn speculative_retry(property: &Property) -> CqlResult<SpeculativeRetry> {
    let text = properties::text(property)?;
    let canonical = retry_policy(&text, true)
        .ok_or_else(|| CqlError::Config(format!("Specified Speculative Retry Policy [{text}] is not supported")))?;
    Ok(SpeculativeRetry(canonical))
}

fn retry_policy(text: &str, may_combine: bool) -> Option<String> {
    let upper = text.trim().to_ascii_uppercase();
    match upper.as_str() {
        "ALWAYS" => return Some("ALWAYS".to_string()),
        "NEVER" | "NONE" => return Some("NEVER".to_string()),
        _ => {}
    }
    for function in ["MIN", "MAX"] {
        if let Some(arguments) = upper.strip_prefix(function) {
            let inner = arguments.trim().strip_prefix('(')?.strip_suffix(')')?;
            let (first, second) = inner.split_once(',')?;
            let combined = may_combine && first.trim().ends_with("MS") != second.trim().ends_with("MS");
            return combined.then(|| {
                Some(format!("{function}({},{})", retry_policy(first, false)?, retry_policy(second, false)?))
            })?;
        }
    }
    let non_negative = |digits: &str| digits.trim().parse::<f64>().ok().filter(|number| (0.0..1e9).contains(number));
    if let Some(milliseconds) = upper.strip_suffix("MS") {
        return Some(format!("{}ms", non_negative(milliseconds)?));
    }
    let digits = upper.strip_suffix("PERCENTILE").or_else(|| upper.strip_suffix('P'))?;
    let percentile = non_negative(digits)?;
    (percentile > 0.0 && percentile < 100.0).then(|| format!("{percentile}p"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_policies_are_shown_as_cassandra_shows_them() {
        let cases = [
            ("99p", Some("99p")),
            ("99PERCENTILE", Some("99p")),
            ("99.9percentile", Some("99.9p")),
            ("50ms", Some("50ms")),
            ("none", Some("NEVER")),
            ("Always", Some("ALWAYS")),
            ("MIN(99p, 50ms)", Some("MIN(99p,50ms)")),
            ("max(1ms,99.5p)", Some("MAX(1ms,99.5p)")),
            ("MIN(99p,98p)", None),
            ("MIN(MIN(99p,1ms),50ms)", None),
            ("100p", None),
            ("p", None),
            ("", None),
            ("-1ms", None),
        ];
        for (text, expected) in cases {
            assert_eq!(retry_policy(text, true).as_deref(), expected, "{text}");
        }
    }
}
