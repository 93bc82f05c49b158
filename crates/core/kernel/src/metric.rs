//! Figures a shard and its services report, as plain values; `holon` turns them into Prometheus text.

/// One figure. Names follow the Prometheus conventions: unit last, counters end in `_total`.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    pub name: &'static str,
    pub help: &'static str,
    pub labels: Vec<(&'static str, String)>,
    pub value: MetricValue,
}

#[derive(Clone, Debug, PartialEq)]
pub enum MetricValue {
    Counter(u64),
    Gauge(f64),
    Histogram(Box<Histogram>),
}

impl Metric {
    pub fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Metric { name, help, labels: Vec::new(), value: MetricValue::Counter(value) }
    }

    pub fn gauge(name: &'static str, help: &'static str, value: f64) -> Self {
        Metric { name, help, labels: Vec::new(), value: MetricValue::Gauge(value) }
    }

    pub fn histogram(name: &'static str, help: &'static str, value: Histogram) -> Self {
        Metric { name, help, labels: Vec::new(), value: MetricValue::Histogram(Box::new(value)) }
    }

    pub fn label(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.labels.push((key, value.into()));
        self
    }
}

/// Counts of durations in buckets that grow by √2 from 1 µs: 64 buckets reach about an hour, each within ± 20 %.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    pub buckets: [u64; Histogram::BUCKETS],
    pub count: u64,
    pub sum_seconds: f64,
}

impl Histogram {
    pub const BUCKETS: usize = 64;

    /// The upper bound of a bucket, seconds.
    pub fn upper_bound_seconds(bucket: usize) -> f64 {
        1e-6 * 2f64.powf(bucket as f64 / 2.0)
    }

    pub fn record(&mut self, duration: std::time::Duration) {
        let nanos = duration.as_nanos() as f64;
        let bucket = if nanos <= 1_000.0 { 0 } else { ((nanos / 1_000.0).log2() * 2.0).ceil() as usize };
        self.buckets[bucket.min(Self::BUCKETS - 1)] += 1;
        self.count += 1;
        self.sum_seconds += nanos * 1e-9;
    }

    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum_seconds += other.sum_seconds;
    }

    /// The upper bound of the bucket that holds the `quantile` (0 to 1), seconds; 0 when nothing was recorded.
    pub fn quantile_seconds(&self, quantile: f64) -> f64 {
        let rank = (quantile * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Self::upper_bound_seconds(bucket);
            }
        }
        0.0
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: [0; Self::BUCKETS], count: 0, sum_seconds: 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn quantiles_are_within_a_bucket() {
        let mut histogram = Histogram::default();
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (quantile, exact) in [(0.5, 500e-6), (0.99, 990e-6)] {
            let found = histogram.quantile_seconds(quantile);
            assert!((exact..exact * 1.42).contains(&found), "{quantile}: {found}");
        }
        assert_eq!(histogram.count, 1000);
    }
}
