//! Durations: months, days and nanoseconds, all of one sign; three zig-zag vints when serialized.

use bytes::BytesMut;
use holon_cql::value::vint;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duration {
    pub months: i32,
    pub days: i32,
    pub nanos: i64,
}

impl Duration {
    pub fn new(months: i64, days: i64, nanos: i64) -> Option<Duration> {
        let (months, days) = (i32::try_from(months).ok()?, i32::try_from(days).ok()?);
        let negative = months < 0 || days < 0 || nanos < 0;
        let positive = months > 0 || days > 0 || nanos > 0;
        (!(negative && positive)).then_some(Duration { months, days, nanos })
    }

    /// `1y2mo3w4d5h6m7s8ms9us10ns`, ISO 8601 (`P1Y2M3DT4H5M6S`, `P2W`, `P0001-02-03T04:05:06`), each perhaps with `-`.
    pub fn from_text(text: &str) -> Option<Duration> {
        let (negative, body) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if body.is_empty() {
            return None;
        }
        let [months, days, nanos] = match body.strip_prefix(['P', 'p']) {
            Some(iso) if iso.get(..5).is_some_and(|start| start.ends_with('-')) => alternative(iso)?,
            Some(iso) => iso_units(iso)?,
            None => units(body)?,
        };
        let sign = if negative { -1 } else { 1 };
        Duration::new(months * sign, days * sign, nanos.checked_mul(sign)?)
    }

    pub fn decode(bytes: &[u8]) -> Option<Duration> {
        let mut rest = bytes;
        let mut part = || {
            let (value, length) = vint::read_signed(rest)?;
            rest = rest.get(length..)?;
            Some(value)
        };
        let (months, days, nanos) = (part()?, part()?, part()?);
        if rest.is_empty() { Duration::new(months, days, nanos) } else { None }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = BytesMut::with_capacity(12);
        vint::write_signed(i64::from(self.months), &mut out);
        vint::write_signed(i64::from(self.days), &mut out);
        vint::write_signed(self.nanos, &mut out);
        out.to_vec()
    }
}

/// Why a text is no duration, in Cassandra's words where there are some.
pub fn refusal(text: &str) -> String {
    const NAMES: [(&str, &str); 10] = [
        ("y", "years"),
        ("mo", "months"),
        ("w", "weeks"),
        ("d", "days"),
        ("h", "hours"),
        ("m", "minutes"),
        ("s", "seconds"),
        ("ms", "milliseconds"),
        ("us", "microseconds"),
        ("ns", "nanoseconds"),
    ];
    let lower = text.trim_start_matches('-').to_lowercase().replace('µ', "u");
    let mut rest = lower.as_str();
    let mut previous: Option<usize> = None;
    let mut sums = [0i128; 3];
    while let Some(digits) = Some(rest.bytes().take_while(u8::is_ascii_digit).count()).filter(|digits| *digits > 0) {
        let (amount, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let Some(unit) = NAMES.iter().position(|(unit, _)| *unit == &after[..letters]) else { break };
        match previous {
            Some(before) if before == unit => {
                return format!("Invalid duration. The {} are specified multiple times", NAMES[unit].1);
            }
            Some(before) if before > unit => {
                return format!("Invalid duration. The {} should be after {}", NAMES[before].1, NAMES[unit].1);
            }
            _ => previous = Some(unit),
        }
        let (part, factor) = [(0, 12), (0, 1), (1, 7), (1, 1)].get(unit).copied().unwrap_or((2, 1));
        sums[part] += amount.parse::<i64>().map_or(i128::from(i64::MAX), i128::from) * factor;
        rest = &after[letters..];
    }
    for (sum, what) in sums.iter().zip(["months", "days"]) {
        if rest.is_empty() && *sum > i128::from(i32::MAX) {
            return format!("Invalid duration. The total number of {what} must be less or equal to {}", i32::MAX);
        }
    }
    format!("Unable to convert '{text}' to a duration")
}

/// Adds `number × unit` and refuses what does not fit.
fn add(total: &mut i64, number: i64, unit: i64) -> Option<()> {
    *total = total.checked_add(number.checked_mul(unit)?)?;
    Some(())
}

fn number(text: &str) -> Option<(i64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    Some((text.get(..digits)?.parse().ok()?, &text[digits..]))
}

/// Each unit once, from large to small.
fn units(text: &str) -> Option<[i64; 3]> {
    let lower = text.to_lowercase().replace('µ', "u");
    let mut rest = lower.as_str();
    let (mut months, mut days, mut nanos) = (0i64, 0i64, 0i64);
    let mut previous = 0;
    while !rest.is_empty() {
        let (amount, after) = number(rest)?;
        let unit_length = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(unit_length);
        let (order, target, factor) = match unit {
            "y" => (1, &mut months, 12),
            "mo" => (2, &mut months, 1),
            "w" => (3, &mut days, 7),
            "d" => (4, &mut days, 1),
            "h" => (5, &mut nanos, 3600 * NANOS_PER_SECOND),
            "m" => (6, &mut nanos, 60 * NANOS_PER_SECOND),
            "s" => (7, &mut nanos, NANOS_PER_SECOND),
            "ms" => (8, &mut nanos, 1_000_000),
            "us" => (9, &mut nanos, 1_000),
            "ns" => (10, &mut nanos, 1),
            _ => return None,
        };
        if order <= previous {
            return None;
        }
        previous = order;
        add(target, amount, factor)?;
        rest = after;
    }
    Some([months, days, nanos])
}

fn iso_units(text: &str) -> Option<[i64; 3]> {
    let upper = text.to_uppercase();
    let (date, time) = match upper.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (upper.as_str(), None),
    };
    let (mut months, mut days, mut nanos) = (0i64, 0i64, 0i64);
    let mut rest = date;
    while !rest.is_empty() {
        let (amount, after) = number(rest)?;
        match after.chars().next()? {
            'Y' => add(&mut months, amount, 12)?,
            'M' => add(&mut months, amount, 1)?,
            'W' => add(&mut days, amount, 7)?,
            'D' => add(&mut days, amount, 1)?,
            _ => return None,
        }
        rest = &after[1..];
    }
    let mut rest = time.unwrap_or("");
    while !rest.is_empty() {
        let (amount, after) = number(rest)?;
        match after.chars().next()? {
            'H' => add(&mut nanos, amount, 3600 * NANOS_PER_SECOND)?,
            'M' => add(&mut nanos, amount, 60 * NANOS_PER_SECOND)?,
            'S' => add(&mut nanos, amount, NANOS_PER_SECOND)?,
            _ => return None,
        }
        rest = &after[1..];
    }
    Some([months, days, nanos])
}

/// `yyyy-mm-ddThh:mm:ss`
fn alternative(text: &str) -> Option<[i64; 3]> {
    let upper = text.to_uppercase();
    let (date, time) = upper.split_once('T')?;
    let parts = |text: &str, separator: char| -> Option<[i64; 3]> {
        let numbers: Vec<i64> = text.split(separator).map(|part| part.parse().ok()).collect::<Option<_>>()?;
        <[i64; 3]>::try_from(numbers).ok()
    };
    let [years, months, days] = parts(date, '-')?;
    let [hours, minutes, seconds] = parts(time, ':')?;
    let mut nanos = 0;
    add(&mut nanos, hours, 3600 * NANOS_PER_SECOND)?;
    add(&mut nanos, minutes, 60 * NANOS_PER_SECOND)?;
    add(&mut nanos, seconds, NANOS_PER_SECOND)?;
    Some([years.checked_mul(12)?.checked_add(months)?, days, nanos])
}

impl std::fmt::Display for Duration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.months < 0 || self.days < 0 || self.nanos < 0 {
            f.write_str("-")?;
        }
        let mut any = false;
        let mut part = |f: &mut std::fmt::Formatter<'_>, amount: u64, unit: &str| {
            any |= amount > 0;
            if amount > 0 { write!(f, "{amount}{unit}") } else { Ok(()) }
        };
        let months = u64::from(self.months.unsigned_abs());
        part(f, months / 12, "y")?;
        part(f, months % 12, "mo")?;
        part(f, u64::from(self.days.unsigned_abs()), "d")?;
        let mut nanos = self.nanos.unsigned_abs();
        for (unit, size) in [
            ("h", 3_600_000_000_000),
            ("m", 60_000_000_000),
            ("s", 1_000_000_000),
            ("ms", 1_000_000),
            ("us", 1_000),
            ("ns", 1),
        ] {
            part(f, nanos / size, unit)?;
            nanos %= size;
        }
        if any { Ok(()) } else { f.write_str("0ns") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_every_form() {
        let cases = [
            ("1y2mo3w4d5h6m7s8ms9us10ns", "1y2mo25d5h6m7s8ms9us10ns"),
            ("-2d", "-2d"),
            ("P1Y2M3DT4H5M6S", "1y2mo3d4h5m6s"),
            ("P2W", "14d"),
            ("PT5M", "5m"),
            ("P0001-02-03T04:05:06", "1y2mo3d4h5m6s"),
            ("12h30m", "12h30m"),
            ("89h", "89h"),
            ("0s", "0ns"),
        ];
        for (text, printed) in cases {
            let duration = Duration::from_text(text).expect(text);
            assert_eq!(duration.to_string(), printed);
            assert_eq!(Duration::decode(&duration.encode()), Some(duration));
        }
        for text in ["", "-", "1x", "5m1h", "1h1h", "99999999999y", "P1H"] {
            assert_eq!(Duration::from_text(text), None, "{text}");
        }
        assert_eq!(Duration::new(1, -1, 0), None);
    }
}
