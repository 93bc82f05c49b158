//! Which runs to merge: unified compaction (Cassandra's CEP-26; Dayan, Idreos: *Dostoevsky*, 2018), where one number
//! per level, `w`, reaches from levelled to tiered:
//!
//! | `w` | fan-out | runs of a level that are merged |
//! | --- | --- | --- |
//! | 2, 3, … (tiered) | `w + 2` | `w + 2` |
//! | 0 | 2 | 2 |
//! | −1, −2, … (levelled) | `2 − w` | 2 |
//!
//! The level of a run follows from its size alone, so nothing about it is stored and the options may change at any
//! time.

use crate::limits::{COMPACTION_RUNS_MAX, LEVELS_MAX};
use crate::options::CompactionOptions;
use crate::tree::{Run, Version};
use std::rc::Rc;

fn scaling(options: &CompactionOptions, level: usize) -> i32 {
    options.scaling.get(level).or(options.scaling.last()).copied().unwrap_or(0)
}

fn fan_out(w: i32) -> u64 {
    if w < 0 { 2 + u64::from(w.unsigned_abs()) } else { 2 + w as u64 }
}

fn threshold(w: i32) -> usize {
    if w <= 0 { 2 } else { w as usize + 2 }
}

/// The level of a run of so many bytes.
pub fn level_of(bytes: u64, options: &CompactionOptions) -> usize {
    let mut limit = options.level_zero_bytes.max(1);
    for level in 0..usize::from(LEVELS_MAX) {
        limit = limit.saturating_mul(fan_out(scaling(options, level)));
        if bytes < limit {
            return level;
        }
    }
    usize::from(LEVELS_MAX)
}

/// The runs of each level, as many levels as there are.
pub fn levels(version: &Version, options: &CompactionOptions) -> Vec<Vec<Rc<Run>>> {
    let mut levels: Vec<Vec<Rc<Run>>> = Vec::new();
    for run in &version.runs {
        let level = level_of(run.bytes(), options);
        if levels.len() <= level {
            levels.resize_with(level + 1, Vec::new);
        }
        levels[level].push(run.clone());
    }
    levels
}

/// The runs to merge next, and how far their level is beyond its threshold.
pub fn pick(version: &Version, options: &CompactionOptions) -> Option<(Vec<Rc<Run>>, f64)> {
    let mut best: Option<(Vec<Rc<Run>>, f64)> = None;
    for (level, runs) in levels(version, options).into_iter().enumerate() {
        let threshold = threshold(scaling(options, level));
        let pressure = runs.len() as f64 / threshold as f64;
        // At equal pressure the lower level, which is cheaper and which readers feel more.
        if runs.len() >= threshold && best.as_ref().is_none_or(|(_, other)| pressure > *other) {
            best = Some((runs.into_iter().take(COMPACTION_RUNS_MAX).collect(), pressure));
        }
    }
    best
}

/// Runs that do not overlap may become one without being rewritten.
pub fn joined(runs: &[Rc<Run>]) -> Option<Vec<Rc<Run>>> {
    let mut sorted = runs.to_vec();
    sorted.sort_by(|a, b| a.span().cmp(&b.span()));
    let disjoint = sorted.windows(2).all(|pair| match (pair[0].span(), pair[1].span()) {
        (Some((_, last)), Some((first, _))) => last < first,
        _ => true,
    });
    disjoint.then_some(sorted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(scaling: &[i32]) -> CompactionOptions {
        CompactionOptions { scaling: scaling.to_vec(), level_zero_bytes: 100, ..CompactionOptions::default() }
    }

    #[test]
    fn levels_grow_by_the_fan_out() {
        let tiered = options(&[2]);
        let sizes = [0, 399, 400, 1599, 1600, 6399, 6400];
        let found: Vec<usize> = sizes.iter().map(|size| level_of(*size, &tiered)).collect();
        assert_eq!(found, [0, 0, 1, 1, 2, 2, 3]);
        let levelled = options(&[-8]);
        assert_eq!([999, 1000, 9999, 10_000].map(|size| level_of(size, &levelled)), [0, 1, 1, 2]);
        let mixed = options(&[2, -8]);
        assert_eq!([399, 400, 3999, 4000].map(|size| level_of(size, &mixed)), [0, 1, 1, 2]);
    }

    #[test]
    fn thresholds_of_both_ends() {
        assert_eq!([4, 2, 1, 0, -1, -8].map(threshold), [6, 4, 3, 2, 2, 2]);
        assert_eq!([4, 2, 1, 0, -1, -8].map(fan_out), [6, 4, 3, 2, 3, 10]);
    }
}
