//! What became of the requests: by phase of the story, node, kind and outcome, with latencies.

use super::cql::{ErrorCode, Failure};
use holon_kernel::metric::Histogram;
use std::collections::VecDeque;
use std::time::Duration;

/// Latencies and rates are shown over so many samples.
const WINDOW_SAMPLES: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
    /// A conditional statement, decided by consensus.
    Conditional,
}

pub const KINDS: usize = 3;

impl Kind {
    pub const EVERY: [Kind; KINDS] = [Kind::Read, Kind::Write, Kind::Conditional];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Read => "reads",
            Kind::Write => "writes",
            Kind::Conditional => "conditional",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Served,
    /// Refused: too few replicas seem alive. Nothing was done.
    Unavailable,
    /// The node waited in vain for replicas; the outcome of a write is unknown.
    TimedOut,
    /// Refused: too much to do. Nothing was done.
    Overloaded,
    /// A conditional statement that was given to a leader that is lost, and not taken for dead yet: it is not given to another, since it
    /// might be done twice. The outcome is unknown, and the client is told so.
    Undecided,
    /// The connection ended with the request under way.
    Lost,
    /// Anything else, which no node should ever say.
    Other,
}

const OUTCOMES: usize = 7;

impl Outcome {
    const NAMED: [(Outcome, &'static str); OUTCOMES] = [
        (Outcome::Served, "served"),
        (Outcome::Unavailable, "unavailable"),
        (Outcome::TimedOut, "timed out"),
        (Outcome::Overloaded, "overloaded"),
        (Outcome::Undecided, "left undecided by a lost leader"),
        (Outcome::Lost, "lost in flight"),
        (Outcome::Other, "failed otherwise"),
    ];

    pub fn of(failure: &Failure) -> Outcome {
        match failure {
            Failure::Lost(_) => Outcome::Lost,
            Failure::Silent => Outcome::TimedOut,
            Failure::Damaged(_) => Outcome::Other,
            Failure::Answered { code, .. } => match *code {
                ErrorCode::Unavailable => Outcome::Unavailable,
                ErrorCode::Overloaded => Outcome::Overloaded,
                ErrorCode::WriteTimeout | ErrorCode::ReadTimeout | ErrorCode::CasWriteUnknown => Outcome::TimedOut,
                _ => Outcome::Other,
            },
        }
    }
}

/// How many requests had which outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; OUTCOMES]);

impl Counts {
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }

    pub fn served(&self) -> u64 {
        self.of(Outcome::Served)
    }

    /// All but those served, and those that a lost leader left undecided.
    pub fn failed(&self) -> u64 {
        self.all() - self.served() - self.of(Outcome::Undecided)
    }

    pub fn all(&self) -> u64 {
        self.0.iter().sum()
    }

    pub fn add(&mut self, other: &Counts) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// `3 unavailable, 1 timed out`; `none failed`.
    pub fn failures(&self) -> String {
        let told: Vec<String> = Outcome::NAMED[1..]
            .iter()
            .filter(|(outcome, _)| self.of(*outcome) > 0)
            .map(|(outcome, name)| format!("{} {name}", crate::text::show_count(self.of(*outcome))))
            .collect();
        if told.is_empty() { "none failed".to_string() } else { told.join(", ") }
    }
}

/// The requests made through one node.
pub struct Tally {
    /// By phase.
    counts: Vec<Counts>,
    latencies: [Histogram; KINDS],
    /// The last failure of each phase, in the node's words.
    said: Vec<Option<String>>,
}

impl Tally {
    pub fn new(phases: usize) -> Tally {
        Tally { counts: vec![Counts::default(); phases], latencies: Default::default(), said: vec![None; phases] }
    }

    pub fn served(&mut self, phase: usize, kind: Kind, took: Duration) {
        self.counts[phase].0[Outcome::Served as usize] += 1;
        self.latencies[kind as usize].record(took);
    }

    /// `when`: further words for people; `leader_lost`: the request began before a lost node was taken for dead.
    pub fn failed(&mut self, phase: usize, kind: Kind, failure: &Failure, when: &str, leader_lost: bool) {
        let outcome = match Outcome::of(failure) {
            Outcome::TimedOut if kind == Kind::Conditional && leader_lost => Outcome::Undecided,
            outcome => outcome,
        };
        self.counts[phase].0[outcome as usize] += 1;
        if outcome != Outcome::Undecided {
            self.said[phase] = Some(format!("{}{when}: {failure}", kind.name()));
        }
    }

    pub fn counts(&self, phase: usize) -> Counts {
        self.counts[phase]
    }

    pub fn all(&self) -> Counts {
        let mut all = Counts::default();
        self.counts.iter().for_each(|counts| all.add(counts));
        all
    }

    pub fn said(&self, phase: usize) -> Option<&str> {
        self.said[phase].as_deref()
    }

    pub fn latencies(&self) -> &[Histogram; KINDS] {
        &self.latencies
    }
}

/// Figures at a moment, to take rates and latencies of the last seconds from.
#[derive(Clone, Default)]
pub struct Sample {
    pub at: Duration,
    /// By node.
    pub counts: Vec<Counts>,
    pub latencies: [Histogram; KINDS],
}

/// The last samples.
#[derive(Default)]
pub struct Window(VecDeque<Sample>);

/// What the last seconds were like.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pace {
    /// Served requests a second, by node.
    pub by_node: Vec<f64>,
    /// p50 and p99 in seconds by kind; `None`: there were none of it.
    pub latencies: [Option<(f64, f64)>; KINDS],
}

impl Window {
    pub fn add(&mut self, sample: Sample) {
        self.0.push_back(sample);
        if self.0.len() > WINDOW_SAMPLES {
            self.0.pop_front();
        }
    }

    pub fn pace(&self) -> Pace {
        let (Some(first), Some(last)) = (self.0.front(), self.0.back()) else { return Pace::default() };
        let seconds = (last.at - first.at).as_secs_f64().max(1e-3);
        let rate = |(now, then): (&Counts, &Counts)| (now.served() - then.served()) as f64 / seconds;
        let quantiles = |kind: usize| {
            let recent = since(&last.latencies[kind], &first.latencies[kind]);
            (recent.count > 0).then(|| (recent.quantile_seconds(0.5), recent.quantile_seconds(0.99)))
        };
        Pace {
            by_node: last.counts.iter().zip(&first.counts).map(rate).collect(),
            latencies: std::array::from_fn(quantiles),
        }
    }
}

/// What was recorded after an earlier state of the same histogram.
fn since(now: &Histogram, then: &Histogram) -> Histogram {
    Histogram {
        buckets: std::array::from_fn(|bucket| now.buckets[bucket] - then.buckets[bucket]),
        count: now.count - then.count,
        sum_seconds: now.sum_seconds - then.sum_seconds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> Failure {
        Failure::Lost("it was closed".to_string())
    }

    #[test]
    fn outcomes_are_counted_by_phase_and_told_in_words() {
        let mut tally = Tally::new(3);
        tally.served(1, Kind::Read, Duration::from_millis(1));
        tally.failed(1, Kind::Write, &lost(), "", true);
        tally.failed(2, Kind::Write, &Failure::Silent, "", true);
        tally.failed(2, Kind::Conditional, &Failure::Silent, "", false);
        let second = tally.counts(1);
        assert_eq!((second.served(), second.failed(), second.all(), second.of(Outcome::Lost)), (1, 1, 2, 1));
        assert_eq!(second.failures(), "1 lost in flight");
        assert_eq!(tally.all().failures(), "2 timed out, 1 lost in flight");
        assert_eq!(tally.counts(0).failures(), "none failed");
        assert_eq!(tally.said(1), Some("writes: the connection was lost: it was closed"));
    }

    #[test]
    fn only_conditional_statements_that_timed_out_under_a_lost_leader_are_counted_apart() {
        let mut tally = Tally::new(1);
        tally.failed(0, Kind::Conditional, &Failure::Silent, "", true);
        assert_eq!((tally.counts(0).failed(), tally.counts(0).all(), tally.said(0)), (0, 1, None));
        assert_eq!(tally.counts(0).failures(), "1 left undecided by a lost leader");
        let refused = Failure::Answered { code: ErrorCode::Unavailable, message: String::new() };
        tally.failed(0, Kind::Conditional, &refused, "", true);
        tally.failed(0, Kind::Read, &Failure::Silent, "", true);
        tally.failed(0, Kind::Conditional, &Failure::Silent, "", false);
        assert_eq!(tally.counts(0).failed(), 3);
    }

    #[test]
    fn the_window_forgets_what_is_old() {
        let mut window = Window::default();
        let mut tally = Tally::new(1);
        assert_eq!(window.pace(), Pace::default());
        for second in 0..20u64 {
            // Slow at first, then fast.
            let took = Duration::from_millis(if second < 8 { 900 } else { 2 });
            (0..100).for_each(|_| tally.served(0, Kind::Write, took));
            let counts = vec![tally.all(), Counts::default()];
            window.add(Sample { at: Duration::from_secs(second), counts, latencies: tally.latencies().clone() });
        }
        let pace = window.pace();
        assert_eq!(pace.by_node, [100.0, 0.0]);
        let (p50, p99) = pace.latencies[Kind::Write as usize].expect("writes");
        assert!(p50 < 0.003 && p99 < 0.003, "the slow ones are over: {p50} {p99}");
        assert_eq!(pace.latencies[Kind::Read as usize], None);
    }
}
