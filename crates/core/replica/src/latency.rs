//! How long replicas take to answer reads, so that a slow one is not waited for.

use crate::limits::{SPECULATION_DEFAULT, SPECULATION_MAX, SPECULATION_MIN};
use std::cell::{Cell, RefCell};
use std::time::Duration;

/// Four buckets for each doubling, from a microsecond to more than an hour.
const BUCKETS: usize = 128;
/// After so many samples the old ones count half.
const HALF_LIFE_SAMPLES: u32 = 1024;
/// With fewer samples a percentile means nothing.
const SAMPLES_MIN: u32 = 64;

/// A histogram that forgets.
pub(crate) struct Latency {
    buckets: RefCell<[u32; BUCKETS]>,
    fresh: Cell<u32>,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency { buckets: RefCell::new([0; BUCKETS]), fresh: Cell::new(0) }
    }
}

fn bucket(micros: u64) -> usize {
    let micros = micros.max(1);
    let octave = micros.ilog2() as usize;
    // The two bits behind the first.
    let quarter = if octave >= 2 { (micros >> (octave - 2)) as usize & 3 } else { 0 };
    (octave * 4 + quarter).min(BUCKETS - 1)
}

/// The upper end of a bucket, microseconds.
fn bound(bucket: usize) -> u64 {
    let (octave, quarter) = (bucket / 4, bucket as u64 % 4);
    (1u64 << octave) + (((quarter + 1) << octave) >> 2)
}

impl Latency {
    pub(crate) fn add(&self, took: Duration) {
        let mut buckets = self.buckets.borrow_mut();
        buckets[bucket(took.as_micros() as u64)] += 1;
        self.fresh.set(self.fresh.get() + 1);
        if self.fresh.get() >= HALF_LIFE_SAMPLES {
            self.fresh.set(0);
            buckets.iter_mut().for_each(|count| *count /= 2);
        }
    }

    /// When a further replica is worth asking: what `percentile` (0 to 1) of answers stayed below.
    pub(crate) fn percentile(&self, percentile: f64) -> Duration {
        let buckets = self.buckets.borrow();
        let all: u32 = buckets.iter().sum();
        if all < SAMPLES_MIN {
            return SPECULATION_DEFAULT;
        }
        let rank = (f64::from(all) * percentile).ceil() as u32;
        let mut seen = 0;
        let at = buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        let micros = bound(at.unwrap_or(BUCKETS - 1));
        Duration::from_micros(micros).clamp(SPECULATION_MIN, SPECULATION_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_that_of_the_samples_and_old_ones_fade() {
        let latency = Latency::default();
        assert_eq!(latency.percentile(0.99), SPECULATION_DEFAULT);
        for at in 0..200 {
            latency.add(Duration::from_millis(if at % 20 == 0 { 100 } else { 10 }));
        }
        let (half, most) = (latency.percentile(0.5), latency.percentile(0.99));
        assert!((10..=13).contains(&half.as_millis()), "{half:?}");
        assert!((100..=126).contains(&most.as_millis()), "{most:?}");
        for _ in 0..20 * HALF_LIFE_SAMPLES {
            latency.add(Duration::from_millis(5));
        }
        assert!(latency.percentile(0.99) < Duration::from_millis(7));
    }

    #[test]
    fn buckets_ascend_and_hold_what_they_bound() {
        for micros in (0..1 << 20).step_by(7).chain([u64::MAX]) {
            let at = bucket(micros);
            assert!(at == BUCKETS - 1 || bound(at) >= micros, "{micros}");
            assert!(at == 0 || at < 8 || bound(at - 1) <= micros.max(1), "{micros}");
        }
    }
}
