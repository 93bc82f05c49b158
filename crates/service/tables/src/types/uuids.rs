//! Uuids: text, versions, the timestamps of version 1, and the order of CQL.

use super::calendar;
use std::cmp::Ordering;

/// 100 ns steps between 1582-10-15 and 1970-01-01.
const GREGORIAN_TO_UNIX_STEPS: i64 = 0x01b2_1dd2_1381_4000;

pub fn from_text(text: &str) -> Option<u128> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 {
        return None;
    }
    let mut value = 0u128;
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return None;
            }
            continue;
        }
        value = (value << 4) | u128::from((*byte as char).to_digit(16)?);
    }
    Some(value)
}

pub fn to_text(value: u128) -> String {
    holon_base::NodeId(value).to_string()
}

pub fn from_bytes(bytes: &[u8]) -> Option<u128> {
    Some(u128::from_be_bytes(bytes.try_into().ok()?))
}

pub fn version(value: u128) -> u8 {
    ((value >> 76) & 0xf) as u8
}

/// The 60-bit time of a version 1 uuid, 100 ns steps since 1582.
fn steps(value: u128) -> u64 {
    let most = (value >> 64) as u64;
    ((most & 0x0fff) << 48) | ((most >> 16) & 0xffff) << 32 | (most >> 32)
}

/// Milliseconds since 1970 of a version 1 uuid.
pub fn unix_millis(value: u128) -> i64 {
    (steps(value).cast_signed() - GREGORIAN_TO_UNIX_STEPS).div_euclid(10_000)
}

/// Microseconds since 1970 of a version 1 uuid.
pub fn unix_micros(value: u128) -> i64 {
    (steps(value).cast_signed() - GREGORIAN_TO_UNIX_STEPS).div_euclid(10)
}

fn time_based(steps_since_1582: u64, clock_and_node: u64) -> u128 {
    let steps = steps_since_1582;
    let most = (steps << 32) | ((steps >> 16) & 0xffff_0000) | 0x1000 | ((steps >> 48) & 0x0fff);
    (u128::from(most) << 64) | u128::from(clock_and_node)
}

/// A version 1 uuid. `tie` makes it unique among those of the same microsecond and node: the clock sequence and node.
pub fn time_uuid(micros: i64, tie: u64) -> u128 {
    let steps = micros.wrapping_mul(10).wrapping_add(GREGORIAN_TO_UNIX_STEPS).cast_unsigned() & ((1 << 60) - 1);
    // Variant bits 10; the multicast bit says that the node is not a hardware address.
    let clock_and_node = (tie & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000 | 0x0000_0100_0000_0000;
    time_based(steps, clock_and_node)
}

/// The smallest version 1 uuid of a millisecond in CQL's order (its bytes compare as signed).
pub fn minimum(millis: i64) -> u128 {
    let steps = millis.wrapping_mul(10_000).wrapping_add(GREGORIAN_TO_UNIX_STEPS).cast_unsigned() & ((1 << 60) - 1);
    time_based(steps, 0x8080_8080_8080_8080)
}

/// The largest version 1 uuid of a millisecond.
pub fn maximum(millis: i64) -> u128 {
    let steps = (millis.wrapping_add(1).wrapping_mul(10_000) - 1).wrapping_add(GREGORIAN_TO_UNIX_STEPS);
    time_based(steps.cast_unsigned() & ((1 << 60) - 1), 0x7f7f_7f7f_7f7f_7f7f)
}

/// A version 4 uuid of these random bits.
pub fn random(bits: u128) -> u128 {
    (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62)
}

/// The upper half with the time first: compares as the time does.
fn reordered(value: u128) -> u64 {
    let most = (value >> 64) as u64;
    (most << 48) | ((most << 16) & 0xffff_0000_0000) | (most >> 32)
}

/// Sixteen bytes whose order is that of `timeuuid`: by time, then by the rest as signed bytes.
pub fn time_uuid_to_ordered(value: u128) -> [u8; 16] {
    let least = (value as u64) ^ 0x8080_8080_8080_8080;
    ((u128::from(reordered(value)) << 64) | u128::from(least)).to_be_bytes()
}

pub fn time_uuid_from_ordered(bytes: [u8; 16]) -> u128 {
    let ordered = u128::from_be_bytes(bytes);
    let time = (ordered >> 64) as u64;
    let most = (time >> 48) | ((time >> 16) & 0xffff_0000) | (time << 32);
    (u128::from(most) << 64) | u128::from((ordered as u64) ^ 0x8080_8080_8080_8080)
}

/// Seventeen bytes whose order is that of `uuid`: by version, then version 1 by time, others by their bytes.
pub fn uuid_to_ordered(value: u128) -> [u8; 17] {
    let mut out = [0; 17];
    out[0] = version(value);
    let most = if out[0] == 1 { reordered(value) } else { (value >> 64) as u64 };
    out[1..9].copy_from_slice(&most.to_be_bytes());
    out[9..].copy_from_slice(&(value as u64).to_be_bytes());
    out
}

pub fn uuid_from_ordered(bytes: [u8; 17]) -> u128 {
    let mut rest = [0; 16];
    rest.copy_from_slice(&bytes[1..]);
    let value = u128::from_be_bytes(rest);
    if bytes[0] != 1 {
        return value;
    }
    let time = (value >> 64) as u64;
    let most = (time >> 48) | ((time >> 16) & 0xffff_0000) | (time << 32);
    (u128::from(most) << 64) | u128::from(value as u64)
}

pub fn compare_uuid(a: u128, b: u128) -> Ordering {
    uuid_to_ordered(a).cmp(&uuid_to_ordered(b))
}

pub fn compare_time_uuid(a: u128, b: u128) -> Ordering {
    time_uuid_to_ordered(a).cmp(&time_uuid_to_ordered(b))
}

/// The day of a version 1 uuid, as the number of a date.
pub fn date(value: u128) -> Option<u32> {
    calendar::date_of_timestamp(unix_millis(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_time_uuid() {
        let value = from_text("d2177dd0-eaa2-11de-a572-001b779c76e3").expect("a uuid");
        assert_eq!((version(value), unix_millis(value)), (1, 1_261_009_589_805));
        assert_eq!(to_text(value), "d2177dd0-eaa2-11de-a572-001b779c76e3");
        assert!(compare_time_uuid(minimum(1_261_009_589_805), value).is_le());
        assert!(compare_time_uuid(value, maximum(1_261_009_589_805)).is_le());
        assert!(compare_time_uuid(value, minimum(1_261_009_589_806)).is_lt());
        assert_eq!(from_text("d2177dd0-eaa2-11de-a572-001b779c76e"), None);
        assert_eq!(from_text("d2177dd0xeaa2-11de-a572-001b779c76e3"), None);
    }

    #[test]
    fn orders_are_reversible_and_times_come_back() {
        let mut random_bits = holon_base::Random::new(3);
        for _ in 0..1000 {
            let bits = (u128::from(random_bits.next_u64()) << 64) | u128::from(random_bits.next_u64());
            for value in [bits, random(bits), time_uuid((bits >> 80) as i64, bits as u64)] {
                assert_eq!(uuid_from_ordered(uuid_to_ordered(value)), value);
                assert_eq!(time_uuid_from_ordered(time_uuid_to_ordered(value)), value);
            }
        }
        assert_eq!(unix_micros(time_uuid(1_700_000_000_123_456, 5)), 1_700_000_000_123_456);
        assert_eq!(version(random(0)), 4);
        assert_eq!(version(time_uuid(0, 0)), 1);
    }
}
