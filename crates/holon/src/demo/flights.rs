//! Flights of the shape of nycflights13, made up from a seed: the same rows for the same seed and number. They say nothing about
//! real flights; `cargo xtask flights` loads those.

use super::cql::Value;
use holon_base::Random;

/// The year of all flights; it has no leap day.
pub const YEAR: i32 = 2013;
pub const DAYS: usize = 365;

/// Most flights: a day's share must have numbers of its own below [`NUMBERS`].
pub const FLIGHTS_MAX: usize = DAYS * (NUMBERS - 1);

/// Flight numbers of a day are drawn from so many, a prime.
const NUMBERS: usize = 9973;
/// A generator of the numbers: its multiples modulo a prime do not repeat.
const STRIDE: usize = 7919;

const DAYS_OF_MONTHS: [usize; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const ORIGINS: [&str; 3] = ["EWR", "JFK", "LGA"];
/// With how many of a hundred flights.
const CARRIERS: [(&str, u64); 8] =
    [("UA", 18), ("B6", 17), ("EV", 16), ("DL", 15), ("AA", 11), ("MQ", 9), ("US", 8), ("WN", 6)];
/// With miles from New York.
const DESTINATIONS: [(&str, i32); 12] = [
    ("ATL", 762),
    ("BOS", 187),
    ("BUF", 301),
    ("CLT", 544),
    ("DEN", 1620),
    ("FLL", 1076),
    ("LAX", 2475),
    ("MCO", 944),
    ("MIA", 1089),
    ("ORD", 733),
    ("SEA", 2422),
    ("SFO", 2586),
];

pub const COLUMNS: &str = "year int, month int, day int, carrier text, flight int, tailnum text, origin text, dest text, \
     dep_time int, dep_delay int, arr_delay int, air_time int, distance int";
pub const KEY: &str = "(year, month, day), carrier, flight";
pub const NAMES: &str =
    "year, month, day, carrier, flight, tailnum, origin, dest, dep_time, dep_delay, arr_delay, air_time, distance";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flight {
    /// From 0.
    pub day_of_year: usize,
    pub carrier: &'static str,
    /// No other flight of the day has it.
    pub number: i32,
    pub tail_number: String,
    pub origin: &'static str,
    pub destination: &'static str,
    pub distance_miles: i32,
    /// `None`: it was cancelled.
    pub flown: Option<Flown>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flown {
    /// Hours and minutes as one number: 1345 is 13:45.
    pub departed: i32,
    pub departure_delay_minutes: i32,
    pub arrival_delay_minutes: i32,
    pub air_minutes: i32,
}

/// Month and day of the month, both from 1.
pub fn date(day_of_year: usize) -> (i32, i32) {
    let mut left = day_of_year % DAYS;
    for (month, days) in DAYS_OF_MONTHS.iter().enumerate() {
        if left < *days {
            return (month as i32 + 1, left as i32 + 1);
        }
        left -= days;
    }
    (12, 31)
}

/// How many of `flights` are on a day: as even as whole numbers allow.
pub fn on_day(flights: usize, day_of_year: usize) -> usize {
    flights * (day_of_year + 1) / DAYS - flights * day_of_year / DAYS
}

/// Those of a day. Days do not depend on one another, so that they can be made in any order.
pub fn of_day(seed: u64, flights: usize, day_of_year: usize) -> Vec<Flight> {
    let mut random = Random::new(seed).fork();
    let mut random = Random::new(random.next_u64() ^ day_of_year as u64).fork();
    (0..on_day(flights, day_of_year)).map(|index| one(&mut random, day_of_year, index)).collect()
}

fn one(random: &mut Random, day_of_year: usize, index: usize) -> Flight {
    let mut draw = random.below(CARRIERS.iter().map(|(_, share)| share).sum());
    let carrier = CARRIERS.iter().find(|(_, share)| {
        let found = draw < *share;
        draw = draw.saturating_sub(*share);
        found
    });
    let (destination, distance_miles) = DESTINATIONS[random.below(DESTINATIONS.len() as u64) as usize];
    let flown = (!random.chance(25, 1000)).then(|| flown(random, distance_miles));
    Flight {
        day_of_year,
        carrier: carrier.map_or("UA", |(carrier, _)| carrier),
        number: ((index + 1) * STRIDE % NUMBERS) as i32,
        tail_number: format!("N{:05}", random.below(3_500) + 10_000),
        origin: ORIGINS[random.below(ORIGINS.len() as u64) as usize],
        destination,
        distance_miles,
        flown,
    }
}

/// Most leave some minutes early, a few very late; some of it is made up for in the air.
fn flown(random: &mut Random, distance_miles: i32) -> Flown {
    let late = match random.below(10) {
        0..=6 => random.range(0, 10) as i32 - 7,
        7 | 8 => random.range(3, 60) as i32,
        _ => random.range(60, 300) as i32,
    };
    let planned = random.range(5 * 60, 23 * 60) as i32;
    let departed = (planned + late).rem_euclid(24 * 60);
    Flown {
        departed: departed / 60 * 100 + departed % 60,
        departure_delay_minutes: late,
        arrival_delay_minutes: late + random.range(0, 30) as i32 - 18,
        // Some 440 miles an hour, and a quarter of an hour to climb and descend.
        air_minutes: 15 + distance_miles * 60 / 440 + random.range(0, 12) as i32,
    }
}

impl Flight {
    /// In the order of [`NAMES`].
    pub fn values(&self) -> Vec<Option<Value>> {
        let (month, day) = date(self.day_of_year);
        let text = |text: &str| Some(Value::Text(text.to_string()));
        let int = |number: i32| Some(Value::Int(number));
        let flown = |of: fn(&Flown) -> i32| self.flown.as_ref().map(|flown| Value::Int(of(flown)));
        vec![
            int(YEAR),
            int(month),
            int(day),
            text(self.carrier),
            int(self.number),
            text(&self.tail_number),
            text(self.origin),
            text(self.destination),
            flown(|flown| flown.departed),
            flown(|flown| flown.departure_delay_minutes),
            flown(|flown| flown.arrival_delay_minutes),
            flown(|flown| flown.air_minutes),
            int(self.distance_miles),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_flight_is_on_a_day_and_has_a_number_of_its_own_there() {
        for flights in [0, 1, 364, 365, 3_000, 30_000] {
            let all: Vec<Flight> = (0..DAYS).flat_map(|day| of_day(7, flights, day)).collect();
            assert_eq!(all.len(), flights);
            let keys: BTreeSet<(usize, i32)> = all.iter().map(|flight| (flight.day_of_year, flight.number)).collect();
            assert_eq!(keys.len(), flights, "two flights of a day have one number");
        }
        let crowded = of_day(7, FLIGHTS_MAX, 0);
        let numbers: BTreeSet<i32> = crowded.iter().map(|flight| flight.number).collect();
        assert_eq!(numbers.len(), NUMBERS - 1);
    }

    #[test]
    fn equal_seeds_make_equal_flights_and_others_do_not() {
        assert_eq!(of_day(1, 10_000, 200), of_day(1, 10_000, 200));
        assert_ne!(of_day(1, 10_000, 200), of_day(2, 10_000, 200));
        assert_ne!(of_day(1, 10_000, 200)[0].values()[5..], of_day(1, 10_000, 201)[0].values()[5..]);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!([0, 30, 31, 58, 59, 364].map(date), [(1, 1), (1, 31), (2, 1), (2, 28), (3, 1), (12, 31)]);
    }

    #[test]
    fn flights_look_like_flights() {
        let all: Vec<Flight> = (0..DAYS).flat_map(|day| of_day(7, 30_000, day)).collect();
        let cancelled = all.iter().filter(|flight| flight.flown.is_none()).count();
        assert!((400..1_200).contains(&cancelled), "{cancelled} of 30,000 were cancelled");
        let of_united = all.iter().filter(|flight| flight.carrier == "UA").count();
        assert!((4_500..6_500).contains(&of_united), "{of_united} of 30,000 are United's");
        for flight in &all {
            assert_eq!(flight.values().len(), NAMES.split(", ").count());
            if let Some(flown) = &flight.flown {
                assert!(flown.departed / 100 < 24 && flown.departed % 100 < 60, "{flight:?}");
                assert!((20..420).contains(&flown.air_minutes), "{flight:?}");
            }
        }
    }
}
