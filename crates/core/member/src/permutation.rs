//! A random order of the numbers below a bound, in a few bytes: SWIM probes members round-robin in random order (§4.3),
//! and a stored order of 75,000 positions would be most of a machine's memory.
//!
//! A Feistel network of four rounds over the next even power of two; numbers outside the bound are walked over.

use crate::list::mix;
use holon_base::Random;

#[derive(Clone, Debug, Default)]
pub struct Permutation {
    key: u64,
    bound: u64,
    half_bits: u32,
    next: u64,
}

impl Permutation {
    pub fn new(bound: usize, random: &mut Random) -> Permutation {
        let bits = u64::BITS - (bound.max(2) as u64 - 1).leading_zeros();
        Permutation { key: random.next_u64(), bound: bound as u64, half_bits: bits.div_ceil(2), next: 0 }
    }

    fn image(&self, value: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for round in 0..4 {
            (left, right) = (right, left ^ (mix(self.key ^ mix(right ^ (round << 40))) & mask));
        }
        left << self.half_bits | right
    }
}

impl Iterator for Permutation {
    type Item = usize;

    /// `None` after all, once.
    fn next(&mut self) -> Option<usize> {
        if self.next >= self.bound {
            return None;
        }
        let mut value = self.image(self.next);
        self.next += 1;
        // A walk along a cycle that contains a number below the bound, namely where it began: it ends.
        while value >= self.bound {
            value = self.image(value);
        }
        usize::try_from(value).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_once_in_an_order_that_differs() {
        let mut random = Random::new(1);
        for bound in [0, 1, 2, 3, 10, 100, 1_000, 4_097] {
            let order: Vec<usize> = Permutation::new(bound, &mut random).collect();
            let mut sorted = order.clone();
            sorted.sort();
            assert_eq!(sorted, (0..bound).collect::<Vec<_>>());
            if bound >= 10 {
                assert_ne!(order, Permutation::new(bound, &mut random).collect::<Vec<_>>());
            }
        }
    }
}
