//! Dates, times, timestamps: their text in all forms that Cassandra takes, and the text it shows.
//!
//! All calendars are proleptic Gregorian; all functions are pure. A timestamp without a zone is UTC.

const DAY_MS: i64 = 86_400_000;
pub const DAY_NANOS: i64 = 86_400_000_000_000;
/// Where day 0 (1970-01-01) lies in the unsigned number of a serialized date.
pub const DATE_CENTER: i64 = 1 << 31;

/// Days since 1970-01-01 (Hinnant, "chrono-compatible low-level date algorithms").
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month, day of a number of days since 1970-01-01.
pub fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

pub fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

struct Text<'a> {
    rest: &'a str,
}

impl<'a> Text<'a> {
    fn eat(&mut self, expected: char) -> bool {
        match self.rest.strip_prefix(expected) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Between `least` and `most` digits.
    fn number(&mut self, least: usize, most: usize) -> Option<i64> {
        let digits = self.rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        if digits < least {
            return None;
        }
        let (number, rest) = self.rest.split_at(digits);
        self.rest = rest;
        number.parse().ok()
    }

    /// `-?yyyy-mm-dd`, month and day of one or two digits.
    fn date(&mut self) -> Option<i64> {
        let negative = self.eat('-');
        if !negative {
            self.eat('+');
        }
        let year = self.number(1, 9)?;
        let year = if negative { -year } else { year };
        let month = if self.eat('-') { self.number(1, 2)? } else { return None };
        let day = if self.eat('-') { self.number(1, 2)? } else { return None };
        let valid = (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
        valid.then(|| days_from_civil(year, month, day))
    }

    /// `HH:mm[:ss[.fraction]]` in nanoseconds.
    fn clock(&mut self, fraction_digits: usize) -> Option<i64> {
        let hours = self.number(1, 2)?;
        let minutes = if self.eat(':') { self.number(2, 2)? } else { return None };
        let seconds = if self.eat(':') { self.number(2, 2)? } else { 0 };
        let mut nanos = 0;
        if self.eat('.') {
            let before = self.rest.len();
            let number = self.number(1, fraction_digits)?;
            let digits = before - self.rest.len();
            nanos = number * 10i64.pow(9 - digits as u32);
        }
        let valid = hours < 24 && minutes < 60 && seconds < 60;
        valid.then(|| ((hours * 60 + minutes) * 60 + seconds) * 1_000_000_000 + nanos)
    }

    /// `Z`, `+hh`, `+hhmm`, `+hh:mm`, ` UTC`, ` GMT`, or nothing: the offset from UTC in seconds.
    fn zone(&mut self) -> Option<i64> {
        self.rest = self.rest.trim_start_matches(' ');
        if self.rest.is_empty() || self.eat('Z') || self.eat('z') {
            return Some(0);
        }
        if matches!(self.rest, "UTC" | "GMT") {
            self.rest = "";
            return Some(0);
        }
        let negative = self.eat('-');
        if !negative && !self.eat('+') {
            return None;
        }
        let hours = self.number(2, 2)?;
        let minutes = if self.eat(':') || !self.rest.is_empty() { self.number(2, 2)? } else { 0 };
        let valid = hours <= 18 && minutes < 60;
        valid.then(|| (hours * 3600 + minutes * 60) * if negative { -1 } else { 1 })
    }
}

/// Milliseconds since 1970 of a text: a number of milliseconds, or a date, perhaps with a time and a zone.
pub fn timestamp_from_text(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(millis) = text.parse::<i64>() {
        return Some(millis);
    }
    let mut input = Text { rest: text };
    let days = input.date()?;
    let mut nanos = 0;
    let mut offset = 0;
    let clock_follows = input.rest.trim_start_matches(' ').starts_with(|first: char| first.is_ascii_digit());
    if input.eat('T') || input.eat('t') || clock_follows {
        input.rest = input.rest.trim_start_matches(' ');
        nanos = input.clock(9)?;
        offset = input.zone()?;
    } else if !input.rest.is_empty() {
        offset = input.zone()?;
    }
    if !input.rest.is_empty() {
        return None;
    }
    days.checked_mul(DAY_MS)?.checked_add(nanos / 1_000_000)?.checked_sub(offset * 1000)
}

/// `2011-02-03T04:05:00.000Z`, as JSON and CAST show it.
pub fn timestamp_to_text(millis: i64) -> String {
    let (days, of_day) = (millis.div_euclid(DAY_MS), millis.rem_euclid(DAY_MS));
    let (seconds, fraction) = (of_day / 1000, of_day % 1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{}T{hours:02}:{minutes:02}:{seconds:02}.{fraction:03}Z", days_to_text(days))
}

/// The unsigned number of a date: days with 1970-01-01 at 2³¹. From a text `yyyy-mm-dd` or that number itself.
pub fn date_from_text(text: &str) -> Option<u32> {
    let text = text.trim();
    if let Ok(raw) = text.parse::<i64>() {
        return u32::try_from(raw).ok();
    }
    let mut input = Text { rest: text };
    let days = input.date()?;
    if !input.rest.is_empty() {
        return None;
    }
    u32::try_from(days + DATE_CENTER).ok()
}

pub fn date_to_text(raw: u32) -> String {
    days_to_text(i64::from(raw) - DATE_CENTER)
}

fn days_to_text(days: i64) -> String {
    let (year, month, day) = civil_from_days(days);
    if year < 0 { format!("-{:04}-{month:02}-{day:02}", -year) } else { format!("{year:04}-{month:02}-{day:02}") }
}

/// Nanoseconds since midnight: `HH:mm:ss[.fffffffff]`, or a number.
pub fn time_from_text(text: &str) -> Option<i64> {
    let text = text.trim();
    let nanos = match text.parse::<i64>() {
        Ok(nanos) => nanos,
        Err(_) => {
            let mut input = Text { rest: text };
            if text.bytes().filter(|byte| *byte == b':').count() != 2 {
                return None;
            }
            let nanos = input.clock(9)?;
            if !input.rest.is_empty() {
                return None;
            }
            nanos
        }
    };
    (0..DAY_NANOS).contains(&nanos).then_some(nanos)
}

pub fn time_to_text(nanos: i64) -> String {
    let (seconds, fraction) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{fraction:09}")
}

/// The day of a timestamp, as the number of a date.
pub fn date_of_timestamp(millis: i64) -> Option<u32> {
    u32::try_from(millis.div_euclid(DAY_MS) + DATE_CENTER).ok()
}

/// Midnight (UTC) of a date, milliseconds since 1970.
pub fn timestamp_of_date(raw: u32) -> i64 {
    (i64::from(raw) - DATE_CENTER) * DAY_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_in_every_form() {
        let expected = 1_296_705_900_000;
        let texts = [
            "1296705900000",
            "2011-02-03 04:05+0000",
            "2011-02-03 04:05:00+0000",
            "2011-02-03 04:05:00.000+0000",
            "2011-02-03T04:05+0000",
            "2011-02-03T04:05:00Z",
            "2011-02-03T04:05:00.000+00:00",
            "2011-02-03 05:05:00+01",
            "2011-02-03 04:05:00 UTC",
            "2011-02-03 04:05",
        ];
        for text in texts {
            assert_eq!(timestamp_from_text(text), Some(expected), "{text}");
        }
        assert_eq!(timestamp_from_text("2011-02-03"), Some(1_296_691_200_000));
        assert_eq!(timestamp_from_text("2011-02-03+0000"), Some(1_296_691_200_000));
        assert_eq!(timestamp_from_text("-1"), Some(-1));
        assert_eq!(timestamp_to_text(expected), "2011-02-03T04:05:00.000Z");
        assert_eq!(timestamp_to_text(-1), "1969-12-31T23:59:59.999Z");
        for text in ["", "2011-02-30", "2011-13-01", "2011-02-03 25:00", "2011-02-03X", "now", "2011-02-03 04"] {
            assert_eq!(timestamp_from_text(text), None, "{text}");
        }
    }

    #[test]
    fn dates_and_times() {
        assert_eq!(date_from_text("1970-01-01"), Some(1 << 31));
        assert_eq!(date_from_text("2147483648"), Some(1 << 31));
        assert_eq!(date_from_text("-0100-02-03").map(date_to_text).as_deref(), Some("-0100-02-03"));
        assert_eq!(date_from_text("1970-02-29"), None);
        assert_eq!(time_from_text("08:12:54.123456789"), Some(29_574_123_456_789));
        assert_eq!(time_from_text("08:12:54"), Some(29_574_000_000_000));
        assert_eq!(time_to_text(29_574_123_456_789), "08:12:54.123456789");
        assert_eq!(time_from_text("86400000000000"), None);
        assert_eq!(time_from_text("08:12"), None);
        for days in [-1_000_000, -719_468, -1, 0, 59, 60, 18_321, 1_000_000] {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
    }
}
