//! What a table's WITH says, as the engine's own settings.
//!
//! | option | the engine's |
//! | --- | --- |
//! | `compression` | codec of the blocks of new files: LZ4, zstd, or none; Snappy and Deflate become LZ4 |
//! | `bloom_filter_fp_chance` | bits of filter a key |
//! | `compaction`: SizeTiered, TimeWindow | tiered, `min_threshold` runs at a time |
//! | `compaction`: Leveled | levelled, `fanout_size`; files of `sstable_size_in_mb` |
//! | `compaction`: Unified | `scaling_parameters`, level by level; files of `target_sstable_size` |
//! | `compaction`: `tombstone_threshold` | share of tombstones from which a file is rewritten alone |
//!
//! What else those maps may say is kept and shown and steers nothing: see [`crate::schema::options`]. New settings hold for
//! files that are written from then on; older ones are read as they are until they are compacted.

use crate::schema::TableOptions;
use crate::schema::options::{COMPACTION_PACKAGE, COMPRESSION_PACKAGE};
use holon_store::{CompactionOptions, Compression, TabletOptions};
use std::collections::BTreeMap;

/// Bits of the filter that one key sets: the engine's, see `holon_store`.
const BLOOM_PROBES: f64 = 6.0;

/// More bits a key are not worth their memory: 32 let through one absent key in about 40,000.
const BLOOM_BITS_MAX: u32 = 32;

/// The bounds of fan-outs: wider ones would never merge, or need more runs at once than a merge takes.
const FAN_OUT_MIN: i32 = 2;
const FAN_OUT_MAX: i32 = 32;

/// Files of a run are cut at this size at least and at most, bytes.
const FILE_BYTES_MIN: u64 = 1 << 20;
const FILE_BYTES_MAX: u64 = 4 << 30;

/// Puts the table's options over those of the engine.
pub fn apply(options: &TableOptions, tablet: &mut TabletOptions) {
    let codec = codec(&options.compression);
    (tablet.compression, tablet.bottom_compression) = (codec, codec);
    tablet.bloom_bits = bloom_bits(options.bloom_filter_fp_chance);
    tablet.compaction = compaction(&options.compaction);
}

fn codec(compression: &BTreeMap<String, String>) -> Compression {
    let class = compression.get("class").map_or("", String::as_str);
    match class.strip_prefix(COMPRESSION_PACKAGE).unwrap_or(class) {
        "" | "NoopCompressor" => Compression::None,
        "ZstdCompressor" => Compression::Zstd,
        _ => Compression::Lz4,
    }
}

/// The fewest bits a key with which no more absent keys pass.
fn bloom_bits(chance: f64) -> u32 {
    let passes = |bits: u32| (1.0 - (-BLOOM_PROBES / f64::from(bits)).exp()).powf(BLOOM_PROBES);
    (1..BLOOM_BITS_MAX).find(|bits| passes(*bits) <= chance).unwrap_or(BLOOM_BITS_MAX)
}

fn compaction(map: &BTreeMap<String, String>) -> CompactionOptions {
    let number = |name: &str| map.get(name).and_then(|text| text.trim().parse::<f64>().ok());
    let class = map.get("class").map_or("", String::as_str);
    let mut options = CompactionOptions::default();
    match class.strip_prefix(COMPACTION_PACKAGE).unwrap_or(class) {
        "LeveledCompactionStrategy" => {
            options.scaling = vec![levelled(number("fanout_size").unwrap_or(10.0) as i32)];
            options.table_bytes = file_bytes(number("sstable_size_in_mb").unwrap_or(160.0) * f64::from(1 << 20));
        }
        "UnifiedCompactionStrategy" => {
            let text = map.get("scaling_parameters").map_or("T4", String::as_str);
            options.scaling = parse_scaling(text).unwrap_or(options.scaling);
            if let Some(bytes) = map.get("target_sstable_size").and_then(|text| size_in_bytes(text)) {
                options.table_bytes = file_bytes(bytes);
            }
        }
        _ => options.scaling = vec![tiered(number("min_threshold").unwrap_or(4.0) as i32)],
    }
    if let Some(ratio) = number("tombstone_threshold").filter(|ratio| *ratio > 0.0) {
        options.tombstone_ratio = ratio;
    }
    options
}

/// The engine's `w` for so many runs at a time, and for a level so many times larger than the one below.
fn tiered(fan_out: i32) -> i32 {
    fan_out.clamp(FAN_OUT_MIN, FAN_OUT_MAX) - 2
}

fn levelled(fan_out: i32) -> i32 {
    2 - fan_out.clamp(FAN_OUT_MIN, FAN_OUT_MAX)
}

fn file_bytes(bytes: f64) -> u64 {
    (bytes as u64).clamp(FILE_BYTES_MIN, FILE_BYTES_MAX)
}

/// `T4, L10, N, -8`: one a level, the last for all above. The error is Cassandra's.
pub fn parse_scaling(text: &str) -> Result<Vec<i32>, String> {
    text.split(',').map(|part| parse_scaling_of_level(part.trim())).collect()
}

fn parse_scaling_of_level(text: &str) -> Result<i32, String> {
    let wrong = || format!("Scaling parameter {text} must match N|L[0-9]+|T[0-9]+|[+-]?[0-9]+");
    let fan_out = |digits: &str| match digits.parse::<i32>() {
        Ok(fan_out) if digits.bytes().all(|byte| byte.is_ascii_digit()) && fan_out >= FAN_OUT_MIN => Ok(fan_out),
        Ok(_) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(format!("Fan factor cannot be lower than 2 in {text}"))
        }
        _ => Err(wrong()),
    };
    match text.split_at_checked(1) {
        _ if text == "N" => Ok(0),
        Some(("T", digits)) => fan_out(digits).map(tiered),
        Some(("L", digits)) => fan_out(digits).map(levelled),
        _ => {
            let w = text.parse::<i32>().map_err(|_| wrong())?;
            Ok(w.clamp(2 - FAN_OUT_MAX, FAN_OUT_MAX - 2))
        }
    }
}

/// `1GiB`, `512 MiB`, `1.5GB`; a number alone is of bytes.
fn size_in_bytes(text: &str) -> Option<f64> {
    let text = text.trim();
    let end = text.find(|character: char| character.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let scale = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "kib" | "kb" | "k" => 10,
        "mib" | "mb" | "m" => 20,
        "gib" | "gb" | "g" => 30,
        _ => return None,
    };
    number.trim().parse::<f64>().ok().map(|number| number * f64::from(1u32 << scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn cassandras_defaults_are_the_engines() {
        let mut tablet = TabletOptions::default();
        apply(&TableOptions::default(), &mut tablet);
        let default = TabletOptions::default();
        assert_eq!((tablet.compression, tablet.bottom_compression), (default.compression, default.bottom_compression));
        assert_eq!((tablet.bloom_bits, tablet.compaction), (default.bloom_bits, default.compaction));
    }

    #[test]
    fn chances_become_bits() {
        let bits = [1.0, 0.1, 0.01, 0.001, 0.0001, 1e-9].map(bloom_bits);
        assert_eq!(bits, [1, 6, 10, 16, 25, BLOOM_BITS_MAX]);
    }

    #[test]
    fn strategies_become_scaling() {
        let scaling = |entries: &[(&str, &str)]| compaction(&map(entries)).scaling;
        let class = |name: &'static str| ("class", name);
        assert_eq!(scaling(&[class("SizeTieredCompactionStrategy")]), [2]);
        assert_eq!(scaling(&[class("SizeTieredCompactionStrategy"), ("min_threshold", "8")]), [6]);
        assert_eq!(scaling(&[class("TimeWindowCompactionStrategy"), ("min_threshold", "2")]), [0]);
        assert_eq!(scaling(&[class("LeveledCompactionStrategy")]), [-8]);
        assert_eq!(scaling(&[class("LeveledCompactionStrategy"), ("fanout_size", "4")]), [-2]);
        let unified = class("UnifiedCompactionStrategy");
        assert_eq!(scaling(&[unified]), [2]);
        assert_eq!(scaling(&[unified, ("scaling_parameters", "T8, N, L10, -3, 5")]), [6, 0, -8, -3, 5]);
        let levelled = map(&[class("LeveledCompactionStrategy"), ("sstable_size_in_mb", "8")]);
        assert_eq!(compaction(&levelled).table_bytes, 8 << 20);
        let unified = map(&[unified, ("target_sstable_size", "2GiB"), ("tombstone_threshold", "0.5")]);
        assert_eq!((compaction(&unified).table_bytes, compaction(&unified).tombstone_ratio), (2 << 30, 0.5));
    }

    #[test]
    fn scaling_that_is_none_is_refused() {
        for wrong in ["", "Q4", "T", "Tx", "4.5", "T4,,L4", "T-4"] {
            assert!(parse_scaling(wrong).is_err_and(|error| error.contains("must match")), "{wrong}");
        }
        assert_eq!(parse_scaling("L1"), Err("Fan factor cannot be lower than 2 in L1".to_string()));
    }
}
