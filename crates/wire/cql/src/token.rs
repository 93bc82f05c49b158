//! Tokens of Cassandra's Murmur3 partitioner: where a partition key stands on the ring.
//!
//! It is the first half of MurmurHash3 x64 128 with seed 0, except that the bytes of the tail are taken as signed,
//! which is a mistake that Cassandra made once and everybody has to repeat.

/// The token of a serialized partition key.
pub fn token(partition_key: &[u8]) -> i64 {
    if partition_key.is_empty() {
        return i64::MIN;
    }
    // The smallest token is kept for "before everything".
    match hash(partition_key) {
        i64::MIN => i64::MAX,
        token => token,
    }
}

/// Appends one column of a composite partition key (`[length, 2 bytes][bytes][0]`). A key of a single column is its
/// bytes alone.
///
/// Returns false, and appends nothing, if the column has more than 65535 bytes: such a key is invalid.
#[must_use]
pub fn append_composite(column: &[u8], key: &mut Vec<u8>) -> bool {
    let Ok(length) = u16::try_from(column.len()) else { return false };
    key.extend_from_slice(&length.to_be_bytes());
    key.extend_from_slice(column);
    key.push(0);
    true
}

/// The serialized partition key of these columns; `None` if one has more than 65535 bytes.
pub fn partition_key(columns: &[&[u8]]) -> Option<Vec<u8>> {
    if let [only] = columns {
        return u16::try_from(only.len()).is_ok().then(|| only.to_vec());
    }
    let mut key = Vec::with_capacity(columns.iter().map(|column| column.len() + 3).sum());
    columns.iter().all(|column| append_composite(column, &mut key)).then_some(key)
}

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

fn mix_1(lane: u64) -> u64 {
    lane.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn mix_2(lane: u64) -> u64 {
    lane.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn finish(mut lane: u64) -> u64 {
    lane ^= lane >> 33;
    lane = lane.wrapping_mul(0xff51_afd7_ed55_8ccd);
    lane ^= lane >> 33;
    lane = lane.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    lane ^ (lane >> 33)
}

fn hash(bytes: &[u8]) -> i64 {
    let (mut h1, mut h2) = (0u64, 0u64);
    let (blocks, tail) = bytes.as_chunks::<16>();
    for block in blocks {
        let whole = u128::from_le_bytes(*block);
        let (k1, k2) = (whole as u64, (whole >> 64) as u64);
        h1 = (h1 ^ mix_1(k1)).rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 = (h2 ^ mix_2(k2)).rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let signed_lane = |part: &[u8]| {
        part.iter()
            .enumerate()
            .fold(0u64, |lane, (index, &byte)| lane ^ (i64::from(byte.cast_signed()).cast_unsigned() << (8 * index)))
    };
    let (low, high) = tail.split_at(tail.len().min(8));
    if !high.is_empty() {
        h2 ^= mix_2(signed_lane(high));
    }
    if !low.is_empty() {
        h1 ^= mix_1(signed_lane(low));
    }
    let length = bytes.len() as u64;
    h1 ^= length;
    h2 ^= length;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    finish(h1).wrapping_add(finish(h2)).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_tokens() {
        let vectors: [(&[u8], i64); 6] = [
            (&[0xc3, 0xbf, 0xc3, 0xbf, 0xc3, 0xbf], -8_597_896_167_535_610_877),
            (&[0xff, 0xff, 0xff], -9_154_616_442_117_352_147),
            (b"", i64::MIN),
            // Known from other drivers' tests.
            (b"test", -6_017_608_668_500_074_083),
            (b"xd", 4_507_812_186_440_344_727),
            (b"primary_key", -1_632_642_444_691_073_360),
        ];
        for (key, expected) in vectors {
            assert_eq!(token(key), expected, "token of {key:02x?}");
        }
    }

    #[test]
    fn composite_keys_frame_every_column() {
        let key = partition_key(&[b"ab", b"", b"c"]).expect("short columns");
        assert_eq!(key, [0, 2, b'a', b'b', 0, 0, 0, 0, 0, 1, b'c', 0]);
        assert_eq!(partition_key(&[b"ab"]).as_deref(), Some(&b"ab"[..]));
        assert_eq!(partition_key(&[&[0; 65536]]), None);
        assert_eq!(partition_key(&[b"a", &[0; 65536]]), None);
    }
}
