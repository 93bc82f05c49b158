//! The keys of rows in a tablet.
//!
//! ```text
//! key = token (8, big-endian, sign flipped) · length of the partition key (2) · partition key · kind (1) · clustering
//!       └──────────────────────── partition prefix ─────────────────────────┘
//! ```
//!
//! Rows lie in the order of tokens, then of clustering; kind 0 is the static row, which comes first, kind 1 a row. The
//! partition key is as it is hashed (one column alone, several as `[length][bytes][0]` each): within one token its
//! order means nothing, and with the length before it the prefix can be told from the key alone. Clustering columns are
//! [`super::ordered`] components.

use super::ordered;
use crate::schema::Table;
use bytes::Bytes;
use holon_cql::token::token;
use holon_store::KeyPrefix;

const TOKEN_BYTES: usize = 8;
const HEAD_BYTES: usize = TOKEN_BYTES + 2;
const STATIC_ROW: u8 = 0;
const ROW: u8 = 1;

/// For bloom filters: the partition of a key.
pub const PARTITION_PREFIX: KeyPrefix = KeyPrefix::Function { id: 1, length: prefix_length };

/// The bytes of the partition prefix of a key, if it is one.
pub fn prefix_length(key: &[u8]) -> Option<usize> {
    let length = key.get(TOKEN_BYTES..HEAD_BYTES)?.first_chunk::<2>()?;
    let end = HEAD_BYTES + usize::from(u16::from_be_bytes(*length));
    (end <= key.len()).then_some(end)
}

/// The first key of a token.
pub fn token_start(token: i64) -> [u8; TOKEN_BYTES] {
    (token.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// Appends the partition prefix. The key has at most 65535 bytes.
pub fn put_prefix(partition_key: &[u8], token: i64, out: &mut Vec<u8>) {
    out.extend(token_start(token));
    out.extend((partition_key.len() as u16).to_be_bytes());
    out.extend_from_slice(partition_key);
}

/// The partition prefix with its token.
pub fn partition_prefix(partition_key: &[u8]) -> (Vec<u8>, i64) {
    let token = token(partition_key);
    // Room for a usual clustering after it.
    let mut out = Vec::with_capacity(HEAD_BYTES + partition_key.len() + 32);
    put_prefix(partition_key, token, &mut out);
    (out, token)
}

/// Turns a prefix into the key of the static row.
pub fn static_key(prefix: &[u8]) -> Vec<u8> {
    [prefix, &[STATIC_ROW]].concat()
}

/// Turns a prefix into where rows begin.
pub fn rows_start(prefix: &[u8]) -> Vec<u8> {
    [prefix, &[ROW]].concat()
}

pub fn put_row_kind(out: &mut Vec<u8>) {
    out.push(ROW);
}

/// A key taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowKey<'a> {
    pub prefix: &'a [u8],
    pub partition_key: &'a [u8],
    pub is_static: bool,
    pub clustering: &'a [u8],
}

impl<'a> RowKey<'a> {
    /// `None` for what is not the key of a row.
    pub fn split(key: &'a [u8]) -> Option<RowKey<'a>> {
        let end = prefix_length(key)?;
        let (prefix, rest) = key.split_at(end);
        let (kind, clustering) = rest.split_first()?;
        let is_static = match *kind {
            STATIC_ROW => true,
            ROW => false,
            _ => return None,
        };
        Some(RowKey { prefix, partition_key: &prefix[HEAD_BYTES..], is_static, clustering })
    }

    pub fn token(&self) -> i64 {
        token_of(self.prefix)
    }
}

/// The token that a key begins with.
pub fn token_of(key: &[u8]) -> i64 {
    let flipped = key.first_chunk::<TOKEN_BYTES>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    (flipped ^ (1 << 63)).cast_signed()
}

/// The partition key columns of a serialized partition key.
pub fn partition_columns(table: &Table, partition_key: &Bytes) -> Option<Vec<Bytes>> {
    let columns = table.partition_key().len();
    if columns == 1 {
        return Some(vec![partition_key.clone()]);
    }
    let mut values = Vec::with_capacity(columns);
    let mut at = 0;
    for _ in 0..columns {
        let length = usize::from(u16::from_be_bytes(*partition_key.get(at..)?.first_chunk::<2>()?));
        let end = at + 2 + length;
        if end >= partition_key.len() {
            return None;
        }
        values.push(partition_key.slice(at + 2..end));
        at = end + 1;
    }
    (at == partition_key.len()).then_some(values)
}

/// The clustering columns of a row.
pub fn clustering_columns(table: &Table, clustering: &[u8]) -> Option<Vec<Bytes>> {
    let mut decoder = ordered::Decoder::new(clustering);
    let columns = table.clustering().iter();
    let values =
        columns.map(|column| decoder.next(&column.column_type, column.is_descending)).collect::<Option<_>>()?;
    decoder.is_at_end().then_some(values)
}

/// Which of `tablets` equal ranges of tokens a token lies in. `tablets` is a power of two.
pub fn tablet_ordinal(token: i64, tablets: u32) -> u32 {
    let flipped = u128::from(token.cast_unsigned() ^ (1 << 63));
    ((flipped * u128::from(tablets)) >> 64) as u32
}

/// The first key of a tablet.
pub fn tablet_start(ordinal: u32, tablets: u32) -> [u8; TOKEN_BYTES] {
    let first = (u128::from(ordinal) << 64) / u128::from(tablets.max(1));
    (first as u64).to_be_bytes()
}

/// The end of all keys of rows: what a service keeps for itself in a tablet lies from here on.
pub const ROWS_END: [u8; 10] = [0xff; 10];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_apart_as_they_were_put_together() {
        let (prefix, token) = partition_prefix(b"key");
        let row = [rows_start(&prefix).as_slice(), b"cc"].concat();
        let split = RowKey::split(&row).expect("a row");
        assert_eq!((split.partition_key, split.is_static, split.clustering), (&b"key"[..], false, &b"cc"[..]));
        assert_eq!((split.token(), split.prefix), (token, &prefix[..]));
        assert!(static_key(&prefix) < rows_start(&prefix));
        assert!(RowKey::split(&static_key(&prefix)).expect("a row").is_static);
        for cut in 0..=prefix.len() {
            assert_eq!(RowKey::split(&prefix[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn tablets_cover_the_ring_without_a_gap() {
        for tablets in [1u32, 2, 16] {
            for ordinal in 0..tablets {
                let first = token_of(&tablet_start(ordinal, tablets));
                assert_eq!(tablet_ordinal(first, tablets), ordinal);
                if first > i64::MIN {
                    assert_eq!(tablet_ordinal(first - 1, tablets), ordinal - 1);
                }
            }
            assert_eq!(tablet_ordinal(i64::MAX, tablets), tablets - 1);
        }
    }
}
