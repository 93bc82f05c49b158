//! [unsigned vint] and [vint] (section 3): the number of leading ones in the first byte is that of the bytes to follow.

use bytes::{BufMut, BytesMut};

/// Appends an [unsigned vint].
pub fn write_unsigned(value: u64, out: &mut BytesMut) {
    let bits = 64 - (value | 1).leading_zeros();
    let extra = (bits - 1) / 7;
    let bytes = value.to_be_bytes();
    if extra >= 8 {
        out.put_u8(0xFF);
        out.put_slice(&bytes);
        return;
    }
    let [first, rest @ ..] = bytes.get(7 - extra as usize..).unwrap_or_default() else { return };
    out.put_u8(first | !(0xFF_u8 >> extra));
    out.put_slice(rest);
}

/// Reads an [unsigned vint]: the value and how many bytes it took, `None` if there are too few.
pub fn read_unsigned(bytes: &[u8]) -> Option<(u64, usize)> {
    let (&first, rest) = bytes.split_first()?;
    let extra = first.leading_ones();
    let tail = rest.get(..extra as usize)?;
    let start = u64::from(first & 0xFF_u8.checked_shr(extra).unwrap_or(0));
    Some((tail.iter().fold(start, |value, &byte| value << 8 | u64::from(byte)), 1 + tail.len()))
}

/// Appends a [vint].
pub fn write_signed(value: i64, out: &mut BytesMut) {
    write_unsigned(((value << 1) ^ (value >> 63)).cast_unsigned(), out);
}

/// Reads a [vint]: the value and how many bytes it took, `None` if there are too few.
pub fn read_signed(bytes: &[u8]) -> Option<(i64, usize)> {
    let (value, length) = read_unsigned(bytes)?;
    Some(((value >> 1).cast_signed() ^ -(value & 1).cast_signed(), length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_of_the_specification() {
        let mut out = BytesMut::new();
        write_unsigned(256_000, &mut out);
        assert_eq!(out.as_ref(), [0b1100_0011, 0b1110_1000, 0]);
    }

    #[test]
    fn every_length_round_trips() {
        for shift in 0..64 {
            for value in [(1u64 << shift) - 1, 1 << shift, u64::MAX >> shift] {
                let mut out = BytesMut::new();
                write_unsigned(value, &mut out);
                assert_eq!(read_unsigned(&out), Some((value, out.len())), "value {value}");
                assert_eq!(read_unsigned(&out[..out.len() - 1]), None, "cut value {value}");
                let signed = value.cast_signed();
                out.clear();
                write_signed(signed, &mut out);
                assert_eq!(read_signed(&out), Some((signed, out.len())), "value {signed}");
            }
        }
    }
}
