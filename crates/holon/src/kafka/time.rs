//! Times as people give and read them: UTC.

use std::time::{SystemTime, UNIX_EPOCH};

pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// `2026-11-30`, `2026-11-30T12:05:00Z`, or `90s`, `30m`, `12h`, `7d`: so long ago. Milliseconds since 1970.
pub fn parse(text: &str) -> Option<i64> {
    if let Some(unit) = text.chars().last().filter(|last| "smhd".contains(*last)) {
        let count: i64 = text[..text.len() - 1].parse().ok().filter(|count| *count >= 0)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => 86_400,
        };
        return now_ms().checked_sub(count.checked_mul(seconds)?.checked_mul(1000)?);
    }
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let time = time.strip_suffix('Z').unwrap_or(time);
    let mut parts = time.splitn(3, ':');
    let hour: i64 = parts.next()?.parse().ok()?;
    let minute: i64 = parts.next()?.parse().ok()?;
    let second: f64 = parts.next().unwrap_or("0").parse().ok()?;
    let fits = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0.0..60.0).contains(&second);
    if !fits {
        return None;
    }
    let days = days_of(year, month, day);
    Some((days * 86_400 + hour * 3600 + minute * 60) * 1000 + (second * 1000.0).round() as i64)
}

/// Days since 1970 of a day of the Gregorian calendar: counted from 0000-03-01, so that a leap day is a year's last.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

/// `2026-11-30T12:05:00.123Z`; `–` if there is none.
pub fn show(time_ms: i64) -> String {
    if time_ms < 0 {
        return "–".to_string();
    }
    let (seconds, millis) = (time_ms / 1000, time_ms % 1000);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // The year by its length on average, then mended by one if need be.
    let mut year = 1970 + days * 400 / 146_097;
    while days_of(year, 1, 1) > days {
        year -= 1;
    }
    while days_of(year + 1, 1, 1) <= days {
        year += 1;
    }
    let month = (1..=12).rev().find(|month| days_of(year, *month, 1) <= days).unwrap_or(1);
    let day = days - days_of(year, month, 1) + 1;
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_shown() {
        for (text, time_ms) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2000-02-29T23:59:59.999Z", 951_868_799_999),
            ("2013-01-01T05:15:00.000Z", 1_357_017_300_000),
            ("2026-11-30T12:00:00.000Z", 1_796_040_000_000),
            ("2100-03-01T00:00:00.000Z", 4_107_542_400_000),
        ] {
            assert_eq!((show(time_ms).as_str(), parse(text)), (text, Some(time_ms)), "{text}");
        }
        assert_eq!(parse("2026-11-30"), Some(1_796_040_000_000 - 12 * 3_600_000));
        assert_eq!(parse("2026-11-30 12:00"), Some(1_796_040_000_000));
        let hour_ago = parse("1h").expect("a time");
        assert!((now_ms() - hour_ago - 3_600_000).abs() < 10_000);
        for wrong in ["", "h", "-1h", "yesterday", "2026-13-01", "2026-11-30T25:00:00", "99999999999999999999d"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(show(-1), "–");
    }
}
