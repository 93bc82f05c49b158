//! The token space of the Murmur3 partitioner, cut into equal ranges: by slots of a ring and by tablets of a group.
//!
//! A range is (start, end]: the start belongs to the range before it, the end to the range itself, as in Cassandra.
//! The smallest token, [`i64::MIN`], is never the token of a key there; here it counts to the first range, whose start
//! it is.

/// The tokens of the `ordinal`-th of `count` equal ranges: (exclusive start, inclusive end).
///
/// # Panics
/// If there is no such range.
pub fn token_range(ordinal: u32, count: u32) -> (i64, i64) {
    assert!(ordinal < count, "range {ordinal} of {count}");
    let start = if ordinal == 0 { i64::MIN } else { end_token(ordinal - 1, count) };
    (start, end_token(ordinal, count))
}

/// The last token of the `ordinal`-th of `count` equal ranges.
pub fn end_token(ordinal: u32, count: u32) -> i64 {
    // The first value beyond the range, rounded up: what `ordinal_of` gives for it is `ordinal + 1`.
    let beyond = ((u128::from(ordinal) + 1) << 64).div_ceil(u128::from(count));
    ((beyond - 1) as u64 ^ (1 << 63)).cast_signed()
}

/// Which of `count` equal ranges holds `token`.
pub fn ordinal_of(token: i64, count: u32) -> u32 {
    let flipped = u128::from(token.cast_unsigned() ^ (1 << 63));
    ((flipped * u128::from(count)) >> 64) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_one_another_and_cover_all() {
        for count in [1u32, 2, 3, 16, 1 << 21] {
            let step = (count / 64).max(1);
            for ordinal in (0..count).step_by(step as usize).chain([count - 1]) {
                let (start, end) = token_range(ordinal, count);
                assert_eq!(ordinal_of(end, count), ordinal);
                assert_eq!(ordinal_of(start.saturating_add(1), count), ordinal);
                if ordinal > 0 {
                    assert_eq!(ordinal_of(start, count), ordinal - 1);
                }
            }
            assert_eq!(token_range(0, count).0, i64::MIN);
            assert_eq!(token_range(count - 1, count).1, i64::MAX);
        }
    }
}
